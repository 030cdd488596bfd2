//! TCP.

use crate::fd::Async;
use crate::net::lookup::{each, resolve};
use crate::net::split::Halves;
use crate::net::{OwnedReadHalf, OwnedWriteHalf, TcpSocket, ToSocketAddrs};
use crate::readiness::{Interest, Ready};
use crate::sys;
use futures_core::Stream;
use futures_io::{AsyncRead, AsyncWrite};
use std::io::{self, IoSlice, IoSliceMut, Read};
use std::net::{Shutdown, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// How many connections wait for `accept` unless it is said otherwise.
const BACKLOG: u32 = 1024;

/// Accepts TCP connections.
///
/// # Counterpart
///
/// `loop.sock_accept`, and what `asyncio.start_server` stands on. Tokio's `TcpListener`.
#[derive(Debug)]
#[doc(alias = "start_server")]
#[doc(alias = "sock_accept")]
pub struct TcpListener {
    io: Async<std::net::TcpListener>,
}

impl TcpListener {
    pub(super) fn from_async(io: Async<std::net::TcpListener>) -> Self {
        Self { io }
    }

    /// Listens at the first address that can be bound. Port 0 lets the system choose. Use [`TcpSocket`] for options.
    ///
    /// # Errors
    ///
    /// What the system says, such as `AddrInUse`; outside of a runtime; if the runtime is gone.
    ///
    /// # Cancel safety
    ///
    /// Nothing is left behind.
    pub async fn bind(address: impl ToSocketAddrs) -> io::Result<Self> {
        let target = address.to_target();
        drop(address);
        let addresses = resolve(target?).await?;
        each(addresses, |address| async move {
            let socket = TcpSocket::new_for(address)?;
            socket.set_reuse_for_listener()?;
            socket.bind(address)?;
            socket.listen(BACKLOG)
        })
        .await
    }

    /// The next connection, and where it comes from. Ready to be read and written; costs one system call.
    ///
    /// # Errors
    ///
    /// What the system says: of a connection that went away before it was accepted (go on), or that there are no more
    /// file descriptors (close some, or wait a little). If the runtime is gone.
    ///
    /// # Cancel safety
    ///
    /// No connection is lost.
    pub async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let accepted = self
            .io
            .run(Interest::Readable, sys::accept_tcp, |_| false)
            .await;
        accepted.and_then(Self::register)
    }

    /// [`accept`](TcpListener::accept) for `poll` methods. Only the last waker is woken.
    ///
    /// # Errors
    ///
    /// As for `accept`.
    pub fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(TcpStream, SocketAddr)>> {
        let accepted = ready!(
            self.io
                .poll_run(cx, Interest::Readable, sys::accept_tcp, |_| false)
        );
        Poll::Ready(accepted.and_then(Self::register))
    }

    fn register(
        (stream, address): (std::net::TcpStream, SocketAddr),
    ) -> io::Result<(TcpStream, SocketAddr)> {
        let io = Async::assume(stream, Ready::READABLE | Ready::WRITABLE)?;
        Ok((TcpStream::from_async(io), address))
    }

    /// The connections, one after the other. It never ends.
    pub fn incoming(&self) -> Incoming<'_> {
        Incoming(self)
    }

    /// Where it listens.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.io.get_ref().local_addr()
    }

    /// The standard library's listener, in non-blocking mode.
    ///
    /// # Errors
    ///
    /// None today.
    pub fn into_std(self) -> io::Result<std::net::TcpListener> {
        self.io.into_inner()
    }
}

source_of_std!(TcpListener, std::net::TcpListener, Ready::READABLE);

/// The connections of a listener. Made by [`TcpListener::incoming`].
#[derive(Debug)]
pub struct Incoming<'a>(&'a TcpListener);

impl Stream for Incoming<'_> {
    type Item = io::Result<TcpStream>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0
            .poll_accept(cx)
            .map(|accepted| Some(accepted.map(|(stream, _)| stream)))
    }
}

/// A TCP connection.
///
/// Reads and writes through `futures_io`, by reference too, so that one task may read while another one writes. Through those
/// methods one task at a time may wait in each direction.
///
/// # Cancel safety
///
/// A read or write that is dropped has not moved a byte.
///
/// # Counterpart
///
/// `asyncio.open_connection`, `loop.sock_recv`, `loop.sock_sendall`. Tokio's `TcpStream`.
#[derive(Debug)]
#[doc(alias = "open_connection")]
#[doc(alias = "sock_recv")]
#[doc(alias = "sock_sendall")]
#[doc(alias = "sock_connect")]
pub struct TcpStream {
    io: Async<std::net::TcpStream>,
}

byte_stream!(TcpStream, std::net::TcpStream);

impl TcpStream {
    /// Connects to the first address that answers. Use [`TcpSocket`] for options.
    ///
    /// # Errors
    ///
    /// What the system says of the last address; outside of a runtime; if the runtime is gone.
    ///
    /// # Cancel safety
    ///
    /// The attempt is given up.
    pub async fn connect(address: impl ToSocketAddrs) -> io::Result<Self> {
        let target = address.to_target();
        drop(address);
        let addresses = resolve(target?).await?;
        each(addresses, |address| async move {
            TcpSocket::new_for(address)?.connect(address).await
        })
        .await
    }

    /// Looks at what would be read next, without taking it.
    ///
    /// # Errors
    ///
    /// What the system says; if the runtime is gone.
    ///
    /// # Cancel safety
    ///
    /// Nothing is taken.
    pub async fn peek(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.io
            .run(Interest::Readable, |io| io.peek(buffer), |_| false)
            .await
    }

    /// The address of this side.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.io.get_ref().local_addr()
    }

    /// The address of the other side.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.io.get_ref().peer_addr()
    }

    /// Whether small writes are sent at once.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn nodelay(&self) -> io::Result<bool> {
        self.io.get_ref().nodelay()
    }

    /// Sends small writes at once, instead of waiting for the answer to the last one.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        self.io.get_ref().set_nodelay(nodelay)
    }

    /// The time to live of what is sent.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn ttl(&self) -> io::Result<u32> {
        self.io.get_ref().ttl()
    }

    /// Sets the time to live of what is sent.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        self.io.get_ref().set_ttl(ttl)
    }
}

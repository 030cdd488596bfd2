//! Unix domain sockets.

use crate::fd::Async;
use crate::net::split::Halves;
use crate::net::{OwnedReadHalf, OwnedWriteHalf};
use crate::readiness::{Interest, Ready};
use crate::sys;
use futures_io::{AsyncRead, AsyncWrite};
use socket2::{SockAddr, Type};
use std::io::{self, IoSlice, IoSliceMut, Read};
use std::net::Shutdown;
use std::os::unix::net::{self as std_unix, SocketAddr};
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};

const BOTH: Ready = Ready::READABLE.union(Ready::WRITABLE);

/// Accepts connections at a path.
///
/// # Counterpart
///
/// `asyncio.start_unix_server`. Tokio's `UnixListener`.
#[derive(Debug)]
#[doc(alias = "start_unix_server")]
pub struct UnixListener {
    io: Async<std_unix::UnixListener>,
}

impl UnixListener {
    /// Listens at a path, which must not exist. It is not removed at the end.
    ///
    /// # Errors
    ///
    /// What the system says, such as `AddrInUse`; outside of a runtime; if the runtime is gone.
    pub fn bind(path: impl AsRef<Path>) -> io::Result<Self> {
        std_unix::UnixListener::bind(path)?.try_into()
    }

    /// The next connection, and where it comes from. Ready to be read and written.
    ///
    /// # Errors
    ///
    /// What the system says; if the runtime is gone.
    ///
    /// # Cancel safety
    ///
    /// No connection is lost.
    pub async fn accept(&self) -> io::Result<(UnixStream, SocketAddr)> {
        let stream = self
            .io
            .run(Interest::Readable, sys::accept_unix, |_| false)
            .await?;
        let address = stream.peer_addr()?;
        Ok((
            UnixStream::from_async(Async::assume(stream, BOTH)?),
            address,
        ))
    }

    /// Where it listens.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.io.get_ref().local_addr()
    }
}

source_of_std!(UnixListener, std_unix::UnixListener, Ready::READABLE);

/// A connection between two processes of one machine. As [`TcpStream`](crate::net::TcpStream) in all else.
///
/// # Counterpart
///
/// `asyncio.open_unix_connection`. Tokio's `UnixStream`.
#[derive(Debug)]
#[doc(alias = "open_unix_connection")]
pub struct UnixStream {
    io: Async<std_unix::UnixStream>,
}

byte_stream!(UnixStream, std_unix::UnixStream);

impl UnixStream {
    /// Connects to the listener at a path.
    ///
    /// # Errors
    ///
    /// What the system says, such as `NotFound` or `ConnectionRefused`; outside of a runtime; if the runtime is gone.
    ///
    /// # Cancel safety
    ///
    /// The attempt is given up.
    pub async fn connect(path: impl AsRef<Path>) -> io::Result<Self> {
        let address = SockAddr::unix(path)?;
        let socket = sys::new_unix(Type::STREAM)?;
        match socket.connect(&address) {
            Ok(()) => Ok(Self::from_async(Async::assume(socket.into(), BOTH)?)),
            Err(error) if sys::in_progress(&error) => {
                let io: Async<std_unix::UnixStream> = Async::assume(socket.into(), Ready::EMPTY)?;
                io.ready(Interest::Writable).await?;
                match io.get_ref().take_error()? {
                    Some(error) => Err(error),
                    None => Ok(Self::from_async(io)),
                }
            }
            Err(error) => Err(error),
        }
    }

    /// Two streams that are connected to each other.
    ///
    /// # Errors
    ///
    /// What the system says; outside of a runtime; if the runtime is gone.
    pub fn pair() -> io::Result<(Self, Self)> {
        let (a, b) = std_unix::UnixStream::pair()?;
        Ok((a.try_into()?, b.try_into()?))
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
}

/// Datagrams between processes of one machine.
///
/// # Cancel safety
///
/// An operation that is dropped has neither sent nor taken a datagram.
///
/// # Counterpart
///
/// Tokio's `UnixDatagram`.
#[derive(Debug)]
pub struct UnixDatagram {
    io: Async<std_unix::UnixDatagram>,
}

source_of_std!(UnixDatagram, std_unix::UnixDatagram, BOTH);

impl UnixDatagram {
    /// A socket at a path, which must not exist. It is not removed at the end.
    ///
    /// # Errors
    ///
    /// What the system says; outside of a runtime; if the runtime is gone.
    pub fn bind(path: impl AsRef<Path>) -> io::Result<Self> {
        std_unix::UnixDatagram::bind(path)?.try_into()
    }

    /// A socket without an address.
    ///
    /// # Errors
    ///
    /// What the system says; outside of a runtime; if the runtime is gone.
    pub fn unbound() -> io::Result<Self> {
        std_unix::UnixDatagram::unbound()?.try_into()
    }

    /// Two sockets that are connected to each other.
    ///
    /// # Errors
    ///
    /// What the system says; outside of a runtime; if the runtime is gone.
    pub fn pair() -> io::Result<(Self, Self)> {
        let (a, b) = std_unix::UnixDatagram::pair()?;
        Ok((a.try_into()?, b.try_into()?))
    }

    /// Sends to, and receives from, this path only.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn connect(&self, path: impl AsRef<Path>) -> io::Result<()> {
        self.io.get_ref().connect(path)
    }

    /// Sends a datagram to the connected path.
    ///
    /// # Errors
    ///
    /// What the system says; if the runtime is gone.
    pub async fn send(&self, data: &[u8]) -> io::Result<usize> {
        self.io.write_with(|io| io.send(data)).await
    }

    /// Sends a datagram.
    ///
    /// # Errors
    ///
    /// What the system says; if the runtime is gone.
    pub async fn send_to(&self, data: &[u8], path: impl AsRef<Path>) -> io::Result<usize> {
        self.io
            .write_with(|io| io.send_to(data, path.as_ref()))
            .await
    }

    /// Receives a datagram. What does not fit is lost.
    ///
    /// # Errors
    ///
    /// What the system says; if the runtime is gone.
    pub async fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.io.read_with(|io| io.recv(buffer)).await
    }

    /// Receives a datagram, and says where it comes from.
    ///
    /// # Errors
    ///
    /// What the system says; if the runtime is gone.
    pub async fn recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.io.read_with(|io| io.recv_from(buffer)).await
    }

    /// The address of this side.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.io.get_ref().local_addr()
    }
}

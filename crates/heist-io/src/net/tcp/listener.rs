//! A socket that takes connections.

use super::TcpStream;
use crate::fd::{Async, Interest, Ready};
use crate::net::ToSocketAddrs;
use crate::net::address::{first, resolve};
use crate::net::methods::{socket, ttl};
use crate::sys;
use futures_core::Stream;
use socket2::{Domain, Type};
use std::io;
use std::net::{self, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};

/// How many connections wait for `accept` at most, unless [`TcpSocket`](super::TcpSocket) says otherwise.
const BACKLOG: i32 = 1024;

/// A TCP socket that takes connections.
///
/// # Examples
///
/// ```no_run
/// # use heist_io as heist;
/// # async fn serve() -> std::io::Result<()> {
/// use heist::net::TcpListener;
///
/// let listener = TcpListener::bind("127.0.0.1:0").await?;
/// let (stream, peer) = listener.accept().await?;
/// # drop((stream, peer)); Ok(())
/// # }
/// ```
///
/// # Counterpart
///
/// `asyncio.start_server`, one level below: the caller accepts and spawns.
#[doc(alias = "start_server")]
#[doc(alias = "sock_accept")]
#[derive(Debug)]
pub struct TcpListener {
    pub(crate) io: Async<net::TcpListener>,
}

impl TcpListener {
    /// Listens on the first of the addresses that can be used. On Unix with `SO_REUSEADDR`, as the standard library
    /// does.
    ///
    /// # Errors
    ///
    /// What the system says about the last address; outside of any runtime; when a name cannot be looked up.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    #[doc(alias = "create_server")]
    #[doc(alias = "start_server")]
    pub async fn bind(addresses: impl ToSocketAddrs) -> io::Result<Self> {
        first(&resolve(addresses).await?, |address| {
            let socket = sys::new_socket(Domain::for_address(address), Type::STREAM)?;
            sys::prepare_listener(&socket)?;
            socket.bind(&address.into())?;
            socket.listen(BACKLOG)?;
            Self::from_nonblocking(socket.into())
        })
    }

    pub(super) fn from_nonblocking(listener: net::TcpListener) -> io::Result<Self> {
        Ok(Self {
            io: Async::assume(listener, Ready::EMPTY)?,
        })
    }

    /// Waits for a connection. Any number of tasks may wait.
    ///
    /// # Errors
    ///
    /// What the system says: above all that there are no file descriptors left. The connection then still waits and the
    /// next call fails at once; let some time pass before it. When the runtime has been shut down.
    ///
    /// # Cancel safety
    ///
    /// Safe: no connection is lost.
    ///
    /// # Counterpart
    ///
    /// `loop.sock_accept`.
    pub async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let (stream, peer) = self
            .io
            .run(Interest::Readable, sys::accept_tcp, |_| false)
            .await?;
        Ok((TcpStream::accepted(stream)?, peer))
    }

    /// Ready with a connection, as [`accept`](Self::accept). Of several tasks only the last one is woken.
    ///
    /// # Errors
    ///
    /// As [`accept`](Self::accept).
    pub fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(TcpStream, SocketAddr)>> {
        self.io
            .poll_run(cx, Interest::Readable, sys::accept_tcp, |_| false)
            .map(|accepted| {
                accepted.and_then(|(stream, peer)| Ok((TcpStream::accepted(stream)?, peer)))
            })
    }

    /// The connections as a stream that never ends. An error is an item like others.
    ///
    /// Of several tasks that poll streams of one listener, only the last one is woken; [`accept`](Self::accept) is for
    /// those.
    ///
    /// # Counterpart
    ///
    /// `asyncio.Server.serve_forever`, as a stream instead of callbacks.
    pub fn incoming(&self) -> Incoming<'_> {
        Incoming { listener: self }
    }

    /// Where it listens; with the port, if the system chose it.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.io.get_ref().local_addr()
    }
}

socket!(TcpListener => net::TcpListener);
ttl!(TcpListener);

/// The connections of a listener. Made by [`TcpListener::incoming`].
#[derive(Debug)]
#[must_use = "streams do nothing unless they are polled"]
pub struct Incoming<'a> {
    listener: &'a TcpListener,
}

impl Stream for Incoming<'_> {
    type Item = io::Result<TcpStream>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.listener
            .poll_accept(cx)
            .map(|accepted| Some(accepted.map(|(stream, _)| stream)))
    }
}

//! A socket in the file system that takes connections.

use super::UnixStream;
use crate::fd::{Async, Interest};
use crate::net::methods::socket;
use crate::sys;
use std::fs;
use std::io;
use std::os::unix::net::{self, SocketAddr};
use std::path::Path;
use std::task::{Context, Poll};

/// A Unix-domain socket that takes connections.
///
/// Dropping it leaves its file where it is.
///
/// # Counterpart
///
/// `asyncio.start_unix_server`, one level below: the caller accepts and spawns.
#[doc(alias = "start_unix_server")]
#[derive(Debug)]
pub struct UnixListener {
    pub(crate) io: Async<net::UnixListener>,
}

impl UnixListener {
    /// Listens at a path that does not exist yet.
    ///
    /// # Errors
    ///
    /// What the system says; outside of any runtime.
    #[doc(alias = "create_unix_server")]
    pub fn bind(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path.as_ref();
        // A socket that could not be used would be in the way of the next attempt.
        Self::from_std(net::UnixListener::bind(path)?).inspect_err(|_| drop(fs::remove_file(path)))
    }

    /// Waits for a connection. Any number of tasks may wait.
    ///
    /// The address of a peer that is bound to an abstract name comes as an unnamed one; ask the stream for it.
    ///
    /// # Errors
    ///
    /// As [`TcpListener::accept`](crate::net::TcpListener::accept).
    ///
    /// # Cancel safety
    ///
    /// Safe: no connection is lost.
    #[doc(alias = "sock_accept")]
    pub async fn accept(&self) -> io::Result<(UnixStream, SocketAddr)> {
        let (stream, peer) = self
            .io
            .run(Interest::Readable, sys::accept_unix, |_| false)
            .await?;
        Ok((UnixStream::accepted(stream)?, peer))
    }

    /// Ready with a connection. Of several tasks that poll this, only the last one is woken.
    ///
    /// # Errors
    ///
    /// As [`accept`](Self::accept).
    pub fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(UnixStream, SocketAddr)>> {
        self.io
            .poll_run(cx, Interest::Readable, sys::accept_unix, |_| false)
            .map(|accepted| {
                accepted.and_then(|(stream, peer)| Ok((UnixStream::accepted(stream)?, peer)))
            })
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

socket!(UnixListener => net::UnixListener);

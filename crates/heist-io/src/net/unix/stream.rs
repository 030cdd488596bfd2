//! A connection inside of one machine.

use crate::fd::{Async, Ready};
use crate::net::methods::{readiness, socket};
use crate::net::stream::{Sealed, Socket, stream};
use crate::sys;
use socket2::{SockAddr, Type};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::{self, SocketAddr};
use std::path::Path;

/// A Unix-domain connection.
///
/// Reads and writes as [`TcpStream`](crate::net::TcpStream) does.
///
/// # Counterpart
///
/// `asyncio.open_unix_connection`.
#[doc(alias = "open_unix_connection")]
#[derive(Debug)]
pub struct UnixStream {
    pub(crate) io: Async<net::UnixStream>,
}

impl UnixStream {
    /// Connects to the listener at a path.
    ///
    /// # Errors
    ///
    /// What the system says; [`WouldBlock`](io::ErrorKind::WouldBlock) if too many connections wait there already, which
    /// nothing reports the end of. Outside of any runtime.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    #[doc(alias = "open_unix_connection")]
    #[doc(alias = "create_unix_connection")]
    pub async fn connect(path: impl AsRef<Path>) -> io::Result<Self> {
        let address = SockAddr::unix(path)?;
        let socket = sys::new_unix(Type::STREAM)?;
        let begun = socket.connect(&address);
        let stream = Self {
            io: Async::assume(OwnedFd::from(socket).into(), Ready::EMPTY)?,
        };
        match begun {
            Ok(()) => return Ok(stream),
            Err(error) if sys::in_progress(&error) => stream.io.writable().await?,
            Err(error) => return Err(error),
        }
        match stream.take_error()? {
            None => Ok(stream),
            Some(error) => Err(error),
        }
    }

    pub(super) fn accepted(stream: net::UnixStream) -> io::Result<Self> {
        Ok(Self {
            io: Async::assume(stream, Ready::READABLE | Ready::WRITABLE)?,
        })
    }

    /// Two that are connected to each other.
    ///
    /// # Errors
    ///
    /// What the system says; outside of any runtime.
    pub fn pair() -> io::Result<(Self, Self)> {
        let (one, other) = net::UnixStream::pair()?;
        Ok((Self::from_std(one)?, Self::from_std(other)?))
    }

    /// The address on this side.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.io.get_ref().local_addr()
    }

    /// The address on the other side.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.io.get_ref().peer_addr()
    }
}

socket!(UnixStream => net::UnixStream);
readiness!(UnixStream);
stream!(UnixStream => net::UnixStream);

impl Socket for net::UnixStream {
    /// A message that carries descriptors ends a read early, with more behind it and no event to come.
    const SHORT_READ_DRAINS: bool = false;
}

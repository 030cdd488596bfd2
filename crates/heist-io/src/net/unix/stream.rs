//! A connection inside of one machine.

use crate::fd::{Async, Interest, Ready};
use crate::net::stream::{ignore_not_connected, stream_traits};
use crate::sys;
use socket2::{SockAddr, Type};
use std::io::{self, Read};
use std::net::Shutdown;
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

    /// Closes one direction of the connection, or both. That it is not connected is not an error.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        ignore_not_connected(self.io.get_ref().shutdown(how))
    }

    /// Waits until a read may go ahead. See [`Async::readable`].
    ///
    /// # Errors
    ///
    /// When the runtime has been shut down.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub async fn readable(&self) -> io::Result<()> {
        self.io.readable().await
    }

    /// Waits until a write may go ahead. See [`Async::writable`].
    ///
    /// # Errors
    ///
    /// When the runtime has been shut down.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub async fn writable(&self) -> io::Result<()> {
        self.io.writable().await
    }

    /// Reads what is there.
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) if nothing is; what the system says; when the runtime has been shut
    /// down.
    pub fn try_read(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.io.try_io(Interest::Readable, |mut io| io.read(buf))
    }

    /// Writes as much as there is room for.
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) if there is none; what the system says; when the runtime has been shut
    /// down.
    pub fn try_write(&self, buf: &[u8]) -> io::Result<usize> {
        self.io.try_io(Interest::Writable, |io| sys::send(io, buf))
    }

    /// The error that the socket keeps, if it has one, which is taken.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.io.get_ref().take_error()
    }

    /// Watches a standard stream, as [`TryFrom`].
    ///
    /// # Errors
    ///
    /// As [`Async::new`].
    pub fn from_std(stream: net::UnixStream) -> io::Result<Self> {
        Ok(Self {
            io: Async::new(stream)?,
        })
    }

    /// The standard stream, still in non-blocking mode.
    ///
    /// # Errors
    ///
    /// None today.
    pub fn into_std(self) -> io::Result<net::UnixStream> {
        self.io.into_inner()
    }
}

stream_traits!(UnixStream, &UnixStream);

//! The standard traits by which file descriptors are lent and taken out; and what only Unix has.

use crate::net::{
    TcpListener, TcpSocket, TcpStream, UdpSocket, UnixDatagram, UnixListener, UnixStream,
};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};

/// For a type that has its socket in `io`.
macro_rules! handles {
    ($($type:ty),*) => {$(
        impl AsFd for $type {
            fn as_fd(&self) -> BorrowedFd<'_> {
                self.io.get_ref().as_fd()
            }
        }

        impl AsRawFd for $type {
            fn as_raw_fd(&self) -> RawFd {
                self.io.get_ref().as_raw_fd()
            }
        }

        /// The descriptor stays in non-blocking mode.
        impl IntoRawFd for $type {
            fn into_raw_fd(self) -> RawFd {
                self.io.take_inner().into_raw_fd()
            }
        }

        /// The descriptor stays in non-blocking mode.
        impl From<$type> for OwnedFd {
            fn from(socket: $type) -> Self {
                socket.io.take_inner().into()
            }
        }
    )*};
}

handles!(
    TcpListener,
    TcpStream,
    UdpSocket,
    UnixListener,
    UnixStream,
    UnixDatagram
);

impl AsFd for TcpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for TcpSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

/// The descriptor stays in non-blocking mode.
impl IntoRawFd for TcpSocket {
    fn into_raw_fd(self) -> RawFd {
        self.socket.into_raw_fd()
    }
}

/// The descriptor stays in non-blocking mode.
impl From<TcpSocket> for OwnedFd {
    fn from(socket: TcpSocket) -> Self {
        socket.socket.into()
    }
}

impl TcpSocket {
    /// Lets several sockets listen on one address; the system spreads the connections. Unix only.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn set_reuse_port(&self, reuse: bool) -> io::Result<()> {
        self.socket.set_reuse_port(reuse)
    }
}

//! The standard traits by which file descriptors are lent, taken out and put in; and what only Unix has.

use crate::net::{
    TcpListener, TcpSocket, TcpStream, UdpSocket, UnixDatagram, UnixListener, UnixStream,
};
use std::io;
use std::net;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::net as unix;

/// For a type that has its socket in `io`.
macro_rules! handles {
    ($($type:ty => $std:ty),* $(,)?) => {$(
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

        /// Puts it into non-blocking mode and watches it with the current runtime.
        impl TryFrom<$std> for $type {
            type Error = io::Error;

            fn try_from(socket: $std) -> io::Result<Self> {
                Self::from_std(socket)
            }
        }

        /// The socket stays in non-blocking mode.
        impl TryFrom<$type> for $std {
            type Error = io::Error;

            fn try_from(socket: $type) -> io::Result<Self> {
                socket.into_std()
            }
        }
    )*};
}

handles! {
    TcpListener => net::TcpListener,
    TcpStream => net::TcpStream,
    UdpSocket => net::UdpSocket,
    UnixListener => unix::UnixListener,
    UnixStream => unix::UnixStream,
    UnixDatagram => unix::UnixDatagram,
}

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

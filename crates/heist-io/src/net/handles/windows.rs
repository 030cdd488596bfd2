//! The standard traits by which sockets are lent, taken out and put in.

use crate::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};
use std::io;
use std::net;
use std::os::windows::io::{AsRawSocket, AsSocket, BorrowedSocket, IntoRawSocket, RawSocket};

/// For a type that has its socket in `io`.
macro_rules! handles {
    ($($type:ty => $std:ty),* $(,)?) => {$(
        impl AsSocket for $type {
            fn as_socket(&self) -> BorrowedSocket<'_> {
                self.io.get_ref().as_socket()
            }
        }

        impl AsRawSocket for $type {
            fn as_raw_socket(&self) -> RawSocket {
                self.io.get_ref().as_raw_socket()
            }
        }

        /// The socket stays in non-blocking mode.
        impl IntoRawSocket for $type {
            fn into_raw_socket(self) -> RawSocket {
                self.io.take_inner().into_raw_socket()
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
}

impl AsSocket for TcpSocket {
    fn as_socket(&self) -> BorrowedSocket<'_> {
        self.socket.as_socket()
    }
}

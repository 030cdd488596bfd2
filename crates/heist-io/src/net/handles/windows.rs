//! The standard traits by which sockets are lent and taken out.

use crate::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};
use std::os::windows::io::{
    AsRawSocket, AsSocket, BorrowedSocket, IntoRawSocket, OwnedSocket, RawSocket,
};

/// For a type that has its socket in `io`.
macro_rules! handles {
    ($($type:ty),*) => {$(
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

        /// The socket stays in non-blocking mode.
        impl From<$type> for OwnedSocket {
            fn from(socket: $type) -> Self {
                socket.io.take_inner().into()
            }
        }
    )*};
}

handles!(TcpListener, TcpStream, UdpSocket);

impl AsSocket for TcpSocket {
    fn as_socket(&self) -> BorrowedSocket<'_> {
        self.socket.as_socket()
    }
}

impl AsRawSocket for TcpSocket {
    fn as_raw_socket(&self) -> RawSocket {
        self.socket.as_raw_socket()
    }
}

/// The socket stays in non-blocking mode.
impl IntoRawSocket for TcpSocket {
    fn into_raw_socket(self) -> RawSocket {
        self.socket.into_raw_socket()
    }
}

/// The socket stays in non-blocking mode.
impl From<TcpSocket> for OwnedSocket {
    fn from(socket: TcpSocket) -> Self {
        socket.socket.into()
    }
}

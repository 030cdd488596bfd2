//! Sockets.
//!
//! Each is one source of the reactor: registered once, for both directions. Operations try first and wait only when that
//! would block. All take part in the cooperative budget of their task.

mod lookup;
mod split;
#[macro_use]
mod stream;
mod tcp;
mod tcp_socket;
mod udp;
#[cfg(unix)]
mod unix;

#[doc(hidden)]
pub use lookup::Target;
pub use lookup::{ToSocketAddrs, lookup_host};
pub use split::{Halves, OwnedReadHalf, OwnedWriteHalf, ReuniteError};
pub use tcp::{Incoming, TcpListener, TcpStream};
pub use tcp_socket::TcpSocket;
pub use udp::UdpSocket;
#[cfg(unix)]
pub use unix::{UnixDatagram, UnixListener, UnixStream};

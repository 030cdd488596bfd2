//! Sockets: TCP, UDP, and Unix-domain ones on Unix.
//!
//! Each is a standard socket in non-blocking mode inside of an [`Async`](crate::fd::Async), and can be made from one and
//! turned into one. Operations are tried first where they may go ahead and wait for readiness where they may not; each
//! takes one unit of the cooperative budget. Streams are [`futures_io::AsyncRead`] and [`futures_io::AsyncWrite`], also
//! by reference.
//!
//! In the `poll_*` functions and in the stream traits the last task to poll one direction of a socket is the one that is
//! woken. The async functions serve any number of tasks at once.
//!
//! An IP address is used as it is; a host name is looked up on a thread that may block.

mod address;
#[cfg_attr(unix, path = "net/handles/unix.rs")]
#[cfg_attr(windows, path = "net/handles/windows.rs")]
mod handles;
mod methods;
mod split;
pub(crate) mod stream;
mod tcp;
mod udp;
#[cfg(unix)]
mod unix;

pub use address::{ToSocketAddrs, lookup_host};
pub use split::{OwnedReadHalf, OwnedWriteHalf, ReuniteError};
pub use stream::Connection;
pub use tcp::{Incoming, TcpListener, TcpSocket, TcpStream};
pub use udp::UdpSocket;
#[cfg(unix)]
pub use unix::{UnixDatagram, UnixListener, UnixStream};

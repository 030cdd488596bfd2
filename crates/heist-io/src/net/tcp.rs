//! TCP: listeners, streams, and sockets that are not yet either.

mod listener;
mod socket;
mod stream;

pub use listener::{Incoming, TcpListener};
pub use socket::TcpSocket;
pub use stream::TcpStream;

use socket2::{Socket, TcpKeepalive};
use std::io;
use std::time::Duration;

fn set_keepalive(socket: &Socket, idle: Option<Duration>) -> io::Result<()> {
    match idle {
        None => socket.set_keepalive(false),
        Some(idle) => socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(idle)),
    }
}

//! A socket that is not yet a listener or a connection: the place for options.

use super::{TcpListener, TcpStream, set_keepalive};
use crate::sys;
use socket2::{Domain, Socket, Type};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

/// A TCP socket that is neither bound nor connected, for options that have to be set before.
///
/// # Examples
///
/// ```no_run
/// # use heist_io as heist;
/// # async fn serve() -> std::io::Result<()> {
/// use heist::net::TcpSocket;
///
/// let socket = TcpSocket::new_v4()?;
/// socket.set_reuse_address(true)?;
/// socket.bind(([127, 0, 0, 1], 8080).into())?;
/// let listener = socket.listen(128)?;
/// # drop(listener); Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct TcpSocket {
    pub(crate) socket: Socket,
}

impl TcpSocket {
    /// A socket for IPv4.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn new_v4() -> io::Result<Self> {
        Ok(Self {
            socket: sys::new_socket(Domain::IPV4, Type::STREAM)?,
        })
    }

    /// A socket for IPv6.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn new_v6() -> io::Result<Self> {
        Ok(Self {
            socket: sys::new_socket(Domain::IPV6, Type::STREAM)?,
        })
    }

    /// Lets the address be bound although connections of an earlier listener are still closing.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn set_reuse_address(&self, reuse: bool) -> io::Result<()> {
        self.socket.set_reuse_address(reuse)
    }

    /// Sends small packets at once.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        self.socket.set_tcp_nodelay(nodelay)
    }

    /// Has the system probe a connection that was idle for this long; `None`: never.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn set_keepalive(&self, idle: Option<Duration>) -> io::Result<()> {
        set_keepalive(&self.socket, idle)
    }

    /// Sets the size of the system's buffer for what is sent. A hint.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn set_send_buffer_size(&self, bytes: usize) -> io::Result<()> {
        self.socket.set_send_buffer_size(bytes)
    }

    /// Sets the size of the system's buffer for what is received. A hint.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn set_recv_buffer_size(&self, bytes: usize) -> io::Result<()> {
        self.socket.set_recv_buffer_size(bytes)
    }

    /// What closing does with unsent data: sends it in the background (`None`), or for at most this long; zero resets
    /// the connection.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn set_linger(&self, linger: Option<Duration>) -> io::Result<()> {
        self.socket.set_linger(linger)
    }

    /// Restricts a socket for IPv6 to it.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn set_only_v6(&self, only: bool) -> io::Result<()> {
        self.socket.set_only_v6(only)
    }

    /// Binds it to an address of this machine.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn bind(&self, address: SocketAddr) -> io::Result<()> {
        self.socket.bind(&address.into())
    }

    /// The address it is bound to.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket
            .local_addr()?
            .as_socket()
            .ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// Listens, with room for `backlog` connections that wait for `accept`.
    ///
    /// # Errors
    ///
    /// What the system says; outside of any runtime.
    pub fn listen(self, backlog: u32) -> io::Result<TcpListener> {
        self.socket
            .listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
        TcpListener::from_nonblocking(self.socket.into())
    }

    /// Connects.
    ///
    /// # Errors
    ///
    /// What the system or the other side says; outside of any runtime.
    ///
    /// # Cancel safety
    ///
    /// Safe: the connection that was being made is dropped.
    pub async fn connect(self, address: SocketAddr) -> io::Result<TcpStream> {
        TcpStream::connect_socket(self.socket, address).await
    }
}

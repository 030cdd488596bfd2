//! A TCP socket before it listens or is connected: the place for options.

use crate::fd::Async;
use crate::net::{TcpListener, TcpStream};
use crate::readiness::{Interest, Ready};
use crate::sys;
use socket2::{Domain, Socket, TcpKeepalive, Type};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

/// A TCP socket that neither listens nor is connected.
///
/// # Counterpart
///
/// The options of `loop.create_server` and `loop.create_connection`. Tokio's `TcpSocket`.
#[derive(Debug)]
#[doc(alias = "create_server")]
#[doc(alias = "create_connection")]
pub struct TcpSocket(Socket);

impl TcpSocket {
    /// A socket for IPv4.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn new_v4() -> io::Result<Self> {
        sys::new_socket(Domain::IPV4, Type::STREAM).map(Self)
    }

    /// A socket for IPv6.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn new_v6() -> io::Result<Self> {
        sys::new_socket(Domain::IPV6, Type::STREAM).map(Self)
    }

    pub(super) fn new_for(address: SocketAddr) -> io::Result<Self> {
        if address.is_ipv4() {
            Self::new_v4()
        } else {
            Self::new_v6()
        }
    }

    /// As the standard library's listeners: an address that waits for its last packets can be bound again.
    pub(super) fn set_reuse_for_listener(&self) -> io::Result<()> {
        // On Windows the option means something else.
        if cfg!(windows) {
            Ok(())
        } else {
            self.set_reuseaddr(true)
        }
    }

    /// Lets an address be bound that is still waiting for its last packets.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn set_reuseaddr(&self, reuse: bool) -> io::Result<()> {
        self.0.set_reuse_address(reuse)
    }

    /// Lets several sockets listen at one address; the system spreads connections over them.
    ///
    /// # Errors
    ///
    /// What the system says.
    #[cfg(unix)]
    pub fn set_reuseport(&self, reuse: bool) -> io::Result<()> {
        self.0.set_reuse_port(reuse)
    }

    /// Sends small writes at once.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        self.0.set_tcp_nodelay(nodelay)
    }

    /// Asks an idle peer after this time whether it is still there; `None`: never.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn set_keepalive(&self, idle: Option<Duration>) -> io::Result<()> {
        match idle {
            Some(idle) => self
                .0
                .set_tcp_keepalive(&TcpKeepalive::new().with_time(idle)),
            None => self.0.set_keepalive(false),
        }
    }

    /// Sets the size of the system's buffer for what is sent, in bytes.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn set_send_buffer_size(&self, bytes: usize) -> io::Result<()> {
        self.0.set_send_buffer_size(bytes)
    }

    /// Sets the size of the system's buffer for what is received, in bytes.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn set_recv_buffer_size(&self, bytes: usize) -> io::Result<()> {
        self.0.set_recv_buffer_size(bytes)
    }

    /// Binds it to an address of this machine.
    ///
    /// # Errors
    ///
    /// What the system says, such as `AddrInUse`.
    pub fn bind(&self, address: SocketAddr) -> io::Result<()> {
        self.0.bind(&address.into())
    }

    /// Listens. `backlog` connections may wait for `accept`.
    ///
    /// # Errors
    ///
    /// What the system says; outside of a runtime; if the runtime is gone.
    pub fn listen(self, backlog: u32) -> io::Result<TcpListener> {
        self.0.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
        let io = Async::assume(self.0.into(), Ready::READABLE)?;
        Ok(TcpListener::from_async(io))
    }

    /// Connects.
    ///
    /// # Errors
    ///
    /// What the system says, such as `ConnectionRefused`; outside of a runtime; if the runtime is gone.
    ///
    /// # Cancel safety
    ///
    /// The attempt is given up.
    pub async fn connect(self, address: SocketAddr) -> io::Result<TcpStream> {
        match self.0.connect(&address.into()) {
            Ok(()) => {
                let io = Async::assume(self.0.into(), Ready::READABLE | Ready::WRITABLE)?;
                return Ok(TcpStream::from_async(io));
            }
            Err(error) if sys::in_progress(&error) => {}
            Err(error) => return Err(error),
        }
        let io: Async<std::net::TcpStream> = Async::assume(self.0.into(), Ready::EMPTY)?;
        io.ready(Interest::Writable).await?;
        match io.get_ref().take_error()? {
            Some(error) => Err(error),
            None => Ok(TcpStream::from_async(io)),
        }
    }
}

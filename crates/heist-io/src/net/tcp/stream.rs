//! A connection.

use super::set_keepalive;
use crate::fd::{Async, Ready};
use crate::net::ToSocketAddrs;
use crate::net::address::resolve;
use crate::net::methods::{readiness, socket, ttl};
use crate::net::stream::{Sealed, stream};
use crate::sys;
use socket2::{Domain, SockRef, Socket, Type};
use std::io;
use std::net::{self, SocketAddr};
use std::time::Duration;

/// A TCP connection.
///
/// Reads and writes through [`futures_io::AsyncRead`] and [`futures_io::AsyncWrite`], also by reference. Closing the
/// writer of those traits shuts down the write side. Writing to a connection whose peer is gone is an error, never a
/// SIGPIPE.
///
/// # Counterpart
///
/// `asyncio.open_connection` and the reader and writer that it gives; `loop.sock_connect`, `sock_recv`, `sock_sendall`.
#[doc(alias = "open_connection")]
#[doc(alias = "sock_connect")]
#[doc(alias = "StreamReader")]
#[doc(alias = "StreamWriter")]
#[derive(Debug)]
pub struct TcpStream {
    pub(crate) io: Async<net::TcpStream>,
}

impl TcpStream {
    /// Connects to the first of the addresses that answers, trying them one after the other.
    ///
    /// # Errors
    ///
    /// What the last address answered, for example that it refuses; outside of any runtime; when a name cannot be
    /// looked up.
    ///
    /// # Cancel safety
    ///
    /// Safe: the connection that was being made is dropped.
    #[doc(alias = "open_connection")]
    #[doc(alias = "create_connection")]
    #[doc(alias = "sock_connect")]
    pub async fn connect(addresses: impl ToSocketAddrs) -> io::Result<Self> {
        let addresses = resolve(addresses).await?;
        let mut last = io::ErrorKind::InvalidInput.into();
        for address in addresses {
            let connected = match sys::new_socket(Domain::for_address(address), Type::STREAM) {
                Ok(socket) => Self::connect_socket(socket, address).await,
                Err(error) => Err(error),
            };
            match connected {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Connects a socket that is in non-blocking mode.
    pub(super) async fn connect_socket(socket: Socket, address: SocketAddr) -> io::Result<Self> {
        // Registering comes after `connect`: an unconnected socket would be reported as closed, which is for ever.
        match socket.connect(&address.into()) {
            Ok(()) => {
                return Ok(Self {
                    io: Async::assume(socket.into(), Ready::WRITABLE)?,
                });
            }
            Err(error) if sys::in_progress(&error) => {}
            Err(error) => return Err(error),
        }
        let stream = Self {
            io: Async::assume(socket.into(), Ready::EMPTY)?,
        };
        stream.io.writable().await?;
        match stream.take_error()? {
            None => Ok(stream),
            Some(error) => Err(error),
        }
    }

    /// One that comes from `accept`: there is room to write, and most clients speak first.
    pub(super) fn accepted(stream: net::TcpStream) -> io::Result<Self> {
        Ok(Self {
            io: Async::assume(stream, Ready::READABLE | Ready::WRITABLE)?,
        })
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

    /// Reads without taking: the next read gets the same data.
    ///
    /// # Errors
    ///
    /// What the system says; when the runtime has been shut down.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub async fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.io.read_with(|io| io.peek(buf)).await
    }

    /// Whether small packets are sent at once.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn nodelay(&self) -> io::Result<bool> {
        self.io.get_ref().nodelay()
    }

    /// Chooses whether small packets are sent at once, instead of being gathered (Nagle's algorithm).
    ///
    /// # Errors
    ///
    /// What the system says.
    ///
    /// # Counterpart
    ///
    /// asyncio sets it on every connection; here it is off until it is set.
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        self.io.get_ref().set_nodelay(nodelay)
    }

    /// What closing does with unsent data, as [`set_linger`](Self::set_linger) has it.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn linger(&self) -> io::Result<Option<Duration>> {
        SockRef::from(self.io.get_ref()).linger()
    }

    /// What closing does with unsent data: sends it in the background (`None`), or for at most this long, in whole
    /// seconds; zero resets the connection.
    ///
    /// With a time above zero the drop may wait, and then blocks the thread that it happens on.
    ///
    /// # Errors
    ///
    /// What the system says.
    ///
    /// # Counterpart
    ///
    /// `transport.abort` is closing with zero.
    pub fn set_linger(&self, linger: Option<Duration>) -> io::Result<()> {
        SockRef::from(self.io.get_ref()).set_linger(linger)
    }

    /// Whether the system probes the connection while it is idle.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn keepalive(&self) -> io::Result<bool> {
        SockRef::from(self.io.get_ref()).keepalive()
    }

    /// Has the system probe the connection when it was idle for this long, in whole seconds; `None`: never.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn set_keepalive(&self, idle: Option<Duration>) -> io::Result<()> {
        set_keepalive(&SockRef::from(self.io.get_ref()), idle)
    }
}

socket!(TcpStream => net::TcpStream);
readiness!(TcpStream);
stream!(TcpStream => net::TcpStream);
ttl!(TcpStream);

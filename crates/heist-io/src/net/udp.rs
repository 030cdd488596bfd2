//! UDP.

use crate::fd::Async;
use crate::net::ToSocketAddrs;
use crate::net::lookup::{each, resolve};
use crate::readiness::Ready;
use crate::sys;
use socket2::{Domain, Type};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

/// Sends and receives datagrams.
///
/// All methods take `&self`: several tasks may wait at once. An error that a datagram brought back (such as that nobody listens) is given
/// to the next operation, once.
///
/// # Cancel safety
///
/// An operation that is dropped has neither sent nor taken a datagram.
///
/// # Counterpart
///
/// `loop.create_datagram_endpoint`. Tokio's `UdpSocket`.
#[derive(Debug)]
#[doc(alias = "create_datagram_endpoint")]
pub struct UdpSocket {
    io: Async<std::net::UdpSocket>,
}

impl UdpSocket {
    /// A socket at the first address that can be bound. Port 0 lets the system choose.
    ///
    /// # Errors
    ///
    /// What the system says; outside of a runtime; if the runtime is gone.
    pub async fn bind(address: impl ToSocketAddrs) -> io::Result<Self> {
        let target = address.to_target();
        drop(address);
        let addresses = resolve(target?).await?;
        each(addresses, |address| async move {
            let socket = sys::new_socket(Domain::for_address(address), Type::DGRAM)?;
            socket.bind(&address.into())?;
            Ok(Self {
                io: Async::assume(socket.into(), Ready::READABLE | Ready::WRITABLE)?,
            })
        })
        .await
    }

    /// Sends to, and receives from, this address only.
    ///
    /// # Errors
    ///
    /// What the system says; those of looking up a name.
    pub async fn connect(&self, address: impl ToSocketAddrs) -> io::Result<()> {
        let target = address.to_target();
        drop(address);
        let addresses = resolve(target?).await?;
        each(addresses, |address| async move {
            self.io.get_ref().connect(address)
        })
        .await
    }

    /// Sends a datagram to the connected address.
    ///
    /// # Errors
    ///
    /// What the system says; if the runtime is gone.
    pub async fn send(&self, data: &[u8]) -> io::Result<usize> {
        self.io.write_with(|io| io.send(data)).await
    }

    /// Sends a datagram.
    ///
    /// # Errors
    ///
    /// What the system says; those of looking up a name; if the runtime is gone.
    pub async fn send_to(&self, data: &[u8], address: impl ToSocketAddrs) -> io::Result<usize> {
        let target = address.to_target();
        drop(address);
        let addresses = resolve(target?).await?;
        let none = || io::Error::new(io::ErrorKind::InvalidInput, "the name has no address");
        let address = addresses.first().copied().ok_or_else(none)?;
        self.io.write_with(|io| io.send_to(data, address)).await
    }

    /// Receives a datagram. What does not fit is lost.
    ///
    /// # Errors
    ///
    /// What the system says; if the runtime is gone.
    pub async fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.io.read_with(|io| io.recv(buffer)).await
    }

    /// Receives a datagram, and says where it comes from. What does not fit is lost.
    ///
    /// # Errors
    ///
    /// What the system says; if the runtime is gone.
    pub async fn recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.io.read_with(|io| io.recv_from(buffer)).await
    }

    /// Looks at the next datagram, without taking it.
    ///
    /// # Errors
    ///
    /// What the system says; if the runtime is gone.
    pub async fn peek_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.io.read_with(|io| io.peek_from(buffer)).await
    }

    /// Waits until something can be received.
    ///
    /// # Errors
    ///
    /// If the runtime is gone.
    pub async fn readable(&self) -> io::Result<()> {
        self.io.readable().await
    }

    /// Waits until something can be sent.
    ///
    /// # Errors
    ///
    /// If the runtime is gone.
    pub async fn writable(&self) -> io::Result<()> {
        self.io.writable().await
    }

    /// The address of this side.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.io.get_ref().local_addr()
    }

    /// The address that it is connected to.
    ///
    /// # Errors
    ///
    /// What the system says, such as `NotConnected`.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.io.get_ref().peer_addr()
    }

    /// Lets it send to broadcast addresses.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn set_broadcast(&self, broadcast: bool) -> io::Result<()> {
        self.io.get_ref().set_broadcast(broadcast)
    }

    /// Joins a multicast group.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn join_multicast_v4(&self, group: Ipv4Addr, interface: Ipv4Addr) -> io::Result<()> {
        self.io.get_ref().join_multicast_v4(&group, &interface)
    }

    /// Joins a multicast group.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn join_multicast_v6(&self, group: &Ipv6Addr, interface: u32) -> io::Result<()> {
        self.io.get_ref().join_multicast_v6(group, interface)
    }

    /// The standard library's socket, in non-blocking mode.
    ///
    /// # Errors
    ///
    /// None today.
    pub fn into_std(self) -> io::Result<std::net::UdpSocket> {
        self.io.into_inner()
    }
}

source_of_std!(
    UdpSocket,
    std::net::UdpSocket,
    Ready::READABLE | Ready::WRITABLE
);

//! Datagrams.

use crate::fd::{Async, Interest, Ready};
use crate::net::ToSocketAddrs;
use crate::net::address::{first, resolve};
use crate::net::methods::{readiness, socket, ttl};
use crate::sys;
use socket2::{Domain, Type};
use std::io;
use std::net::{self, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::task::{Context, Poll};

/// A UDP socket.
///
/// All operations take `&self`; any number of tasks may send and receive at once. A datagram that is longer than the
/// buffer is cut.
///
/// # Counterpart
///
/// `loop.create_datagram_endpoint`, without a protocol object; `loop.sock_recvfrom`, `sock_sendto`.
#[doc(alias = "create_datagram_endpoint")]
#[doc(alias = "sock_recvfrom")]
#[doc(alias = "sock_sendto")]
#[derive(Debug)]
pub struct UdpSocket {
    pub(crate) io: Async<net::UdpSocket>,
}

impl UdpSocket {
    /// Binds to the first of the addresses that can be used.
    ///
    /// # Errors
    ///
    /// What the system says about the last address; outside of any runtime; when a name cannot be looked up.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    #[doc(alias = "create_datagram_endpoint")]
    pub async fn bind(addresses: impl ToSocketAddrs) -> io::Result<Self> {
        first(&resolve(addresses).await?, |address| {
            let socket = sys::new_socket(Domain::for_address(address), Type::DGRAM)?;
            socket.bind(&address.into())?;
            Ok(Self {
                io: Async::assume(socket.into(), Ready::WRITABLE)?,
            })
        })
    }

    /// Sets where [`send`](Self::send) sends to, and the only address that is received from.
    ///
    /// # Errors
    ///
    /// What the system says about the last address; when a name cannot be looked up.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub async fn connect(&self, addresses: impl ToSocketAddrs) -> io::Result<()> {
        first(&resolve(addresses).await?, |address| {
            self.io.get_ref().connect(address)
        })
    }

    /// Sends a datagram to the connected address.
    ///
    /// # Errors
    ///
    /// What the system says; when the runtime has been shut down.
    ///
    /// # Cancel safety
    ///
    /// Safe: either it was sent, or it was not.
    pub async fn send(&self, buf: &[u8]) -> io::Result<usize> {
        self.io.write_with(|io| io.send(buf)).await
    }

    /// Receives a datagram from the connected address.
    ///
    /// # Errors
    ///
    /// What the system says, for example that an earlier one could not be delivered; when the runtime has been shut
    /// down.
    ///
    /// # Cancel safety
    ///
    /// Safe: no datagram is lost.
    pub async fn recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.io.read_with(|io| io.recv(buf)).await
    }

    /// Sends a datagram to the first of the addresses.
    ///
    /// # Errors
    ///
    /// What the system says; when a name cannot be looked up; when the runtime has been shut down.
    ///
    /// # Cancel safety
    ///
    /// Safe: either it was sent, or it was not.
    pub async fn send_to(&self, buf: &[u8], addresses: impl ToSocketAddrs) -> io::Result<usize> {
        let address = resolve(addresses).await?[0];
        self.io.write_with(|io| io.send_to(buf, address)).await
    }

    /// Receives a datagram, and says from where.
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv).
    ///
    /// # Cancel safety
    ///
    /// Safe: no datagram is lost.
    pub async fn recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.io.read_with(|io| io.recv_from(buf)).await
    }

    /// Receives a datagram from the connected address without taking it: the next call gets the same one.
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv).
    ///
    /// # Cancel safety
    ///
    /// Safe: nothing is consumed.
    pub async fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.io.read_with(|io| io.peek(buf)).await
    }

    /// As [`peek`](Self::peek), of a socket that need not be connected, and says from where.
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv).
    ///
    /// # Cancel safety
    ///
    /// Safe: nothing is consumed.
    pub async fn peek_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.io.read_with(|io| io.peek_from(buf)).await
    }

    /// Ready with a datagram. Of several tasks that poll this, only the last one is woken.
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv).
    pub fn poll_recv_from(
        &self,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<(usize, SocketAddr)>> {
        self.io
            .poll_run(cx, Interest::Readable, |io| io.recv_from(buf), |_| false)
    }

    /// Ready when a datagram was sent. Of several tasks that poll this, only the last one is woken.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub fn poll_send_to(
        &self,
        cx: &mut Context<'_>,
        buf: &[u8],
        to: SocketAddr,
    ) -> Poll<io::Result<usize>> {
        self.io
            .poll_run(cx, Interest::Writable, |io| io.send_to(buf, to), |_| false)
    }

    /// Receives a datagram from the connected address if there is one.
    ///
    /// Goes by what the runtime knows: one that came just now may be seen only after [`readable`](Self::readable).
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) if there is none; as [`recv`](Self::recv).
    ///
    /// # Counterpart
    ///
    /// tokio's method of this name.
    pub fn try_recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.io.try_io(Interest::Readable, |io| io.recv(buf))
    }

    /// Sends a datagram to the connected address if there is room.
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) if there is none; as [`send`](Self::send).
    ///
    /// # Counterpart
    ///
    /// tokio's method of this name.
    pub fn try_send(&self, buf: &[u8]) -> io::Result<usize> {
        self.io.try_io(Interest::Writable, |io| io.send(buf))
    }

    /// As [`try_recv`](Self::try_recv), of a socket that need not be connected, and says from where.
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) if there is none; as [`recv`](Self::recv).
    pub fn try_recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.io.try_io(Interest::Readable, |io| io.recv_from(buf))
    }

    /// As [`try_send`](Self::try_send), of a socket that need not be connected, to this address.
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) if there is none; as [`send`](Self::send).
    pub fn try_send_to(&self, buf: &[u8], to: SocketAddr) -> io::Result<usize> {
        self.io.try_io(Interest::Writable, |io| io.send_to(buf, to))
    }

    /// The address it is bound to.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.io.get_ref().local_addr()
    }

    /// The address it is connected to.
    ///
    /// # Errors
    ///
    /// What the system says, for example that it is not.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.io.get_ref().peer_addr()
    }

    /// Whether it may send to broadcast addresses.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn broadcast(&self) -> io::Result<bool> {
        self.io.get_ref().broadcast()
    }

    /// Chooses whether it may send to broadcast addresses.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn set_broadcast(&self, on: bool) -> io::Result<()> {
        self.io.get_ref().set_broadcast(on)
    }

    /// Whether multicast packets come back to this machine.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn multicast_loop_v4(&self) -> io::Result<bool> {
        self.io.get_ref().multicast_loop_v4()
    }

    /// Chooses whether multicast packets come back to this machine.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn set_multicast_loop_v4(&self, on: bool) -> io::Result<()> {
        self.io.get_ref().set_multicast_loop_v4(on)
    }

    /// Joins a multicast group, on the interface with this address.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn join_multicast_v4(&self, group: Ipv4Addr, interface: Ipv4Addr) -> io::Result<()> {
        self.io.get_ref().join_multicast_v4(&group, &interface)
    }

    /// Leaves a multicast group.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn leave_multicast_v4(&self, group: Ipv4Addr, interface: Ipv4Addr) -> io::Result<()> {
        self.io.get_ref().leave_multicast_v4(&group, &interface)
    }

    /// Joins a multicast group, on the interface with this index; 0 for any.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn join_multicast_v6(&self, group: &Ipv6Addr, interface: u32) -> io::Result<()> {
        self.io.get_ref().join_multicast_v6(group, interface)
    }

    /// Leaves a multicast group.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn leave_multicast_v6(&self, group: &Ipv6Addr, interface: u32) -> io::Result<()> {
        self.io.get_ref().leave_multicast_v6(group, interface)
    }
}

socket!(UdpSocket => net::UdpSocket);
readiness!(UdpSocket);
ttl!(UdpSocket);

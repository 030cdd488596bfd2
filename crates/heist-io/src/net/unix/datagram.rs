//! Datagrams inside of one machine.

use crate::fd::{Async, Interest};
use crate::net::methods::{readiness, socket};
use std::fs;
use std::io;
use std::net::Shutdown;
use std::os::unix::net::{self, SocketAddr};
use std::path::Path;

/// A Unix-domain socket for datagrams.
///
/// Any number of tasks may send and receive at once. A datagram that is longer than the buffer is cut.
///
/// Where the system gives no word of room in the *peer's* queue (Apple's and the BSDs), a send to a full one is an
/// error; on Linux it waits.
///
/// # Examples
///
/// ```no_run
/// # use heist_io as heist;
/// # async fn work() -> std::io::Result<()> {
/// use heist::net::UnixDatagram;
///
/// let (one, other) = UnixDatagram::pair()?;
/// one.send(b"hello").await?;
/// let length = other.recv(&mut [0; 16]).await?;
/// # assert_eq!(length, 5); Ok(())
/// # }
/// ```
///
/// # Counterpart
///
/// `loop.create_datagram_endpoint` with the family `AF_UNIX`, without a protocol object.
#[derive(Debug)]
pub struct UnixDatagram {
    pub(crate) io: Async<net::UnixDatagram>,
}

impl UnixDatagram {
    /// Binds to a path that does not exist yet.
    ///
    /// # Errors
    ///
    /// What the system says; outside of any runtime.
    #[doc(alias = "create_datagram_endpoint")]
    pub fn bind(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path.as_ref();
        // A socket that could not be used would be in the way of the next attempt.
        Self::from_std(net::UnixDatagram::bind(path)?).inspect_err(|_| drop(fs::remove_file(path)))
    }

    /// One without an address, to send from.
    ///
    /// # Errors
    ///
    /// What the system says; outside of any runtime.
    pub fn unbound() -> io::Result<Self> {
        Self::from_std(net::UnixDatagram::unbound()?)
    }

    /// Two that are connected to each other.
    ///
    /// # Errors
    ///
    /// What the system says; outside of any runtime.
    pub fn pair() -> io::Result<(Self, Self)> {
        let (one, other) = net::UnixDatagram::pair()?;
        Ok((Self::from_std(one)?, Self::from_std(other)?))
    }

    /// Sets where [`send`](Self::send) sends to.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn connect(&self, path: impl AsRef<Path>) -> io::Result<()> {
        self.io.get_ref().connect(path)
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

    /// Receives a datagram.
    ///
    /// # Errors
    ///
    /// What the system says; when the runtime has been shut down.
    ///
    /// # Cancel safety
    ///
    /// Safe: no datagram is lost.
    pub async fn recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.io.read_with(|io| io.recv(buf)).await
    }

    /// Sends a datagram to a path.
    ///
    /// While the receiver is full, Linux says of a socket that is not connected to it that there is room, whatever the
    /// last try has found: the call then tries again and again, and lets other tasks run in between. One that is
    /// [connected](Self::connect) sleeps.
    ///
    /// # Errors
    ///
    /// What the system says; when the runtime has been shut down.
    ///
    /// # Cancel safety
    ///
    /// Safe: either it was sent, or it was not.
    pub async fn send_to(&self, buf: &[u8], path: impl AsRef<Path>) -> io::Result<usize> {
        self.io
            .write_with(|io| io.send_to(buf, path.as_ref()))
            .await
    }

    /// Receives a datagram, and says from where.
    ///
    /// # Errors
    ///
    /// What the system says; when the runtime has been shut down.
    ///
    /// # Cancel safety
    ///
    /// Safe: no datagram is lost.
    pub async fn recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.io.read_with(|io| io.recv_from(buf)).await
    }

    /// Receives a datagram if there is one.
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

    /// As [`try_recv`](Self::try_recv), and says from where.
    ///
    /// # Errors
    ///
    /// As [`try_recv`](Self::try_recv).
    ///
    /// # Counterpart
    ///
    /// tokio's method of this name.
    pub fn try_recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.io.try_io(Interest::Readable, |io| io.recv_from(buf))
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

    /// Sends a datagram to a path if there is room.
    ///
    /// # Errors
    ///
    /// As [`try_send`](Self::try_send).
    ///
    /// # Counterpart
    ///
    /// tokio's method of this name.
    pub fn try_send_to(&self, buf: &[u8], path: impl AsRef<Path>) -> io::Result<usize> {
        self.io
            .try_io(Interest::Writable, |io| io.send_to(buf, path.as_ref()))
    }

    /// Closes one direction, or both.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.io.get_ref().shutdown(how)
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
    /// What the system says.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.io.get_ref().peer_addr()
    }
}

socket!(UnixDatagram => net::UnixDatagram);
readiness!(UnixDatagram);

//! Systems with `accept4`, `SOCK_NONBLOCK` and `MSG_NOSIGNAL`: no further system call puts a socket into its mode.

use rustix::net::{SendFlags, SocketFlags, accept_with, acceptfrom_with};
use socket2::{Domain, SockRef, Socket, Type};
use std::io::{self, IoSlice};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::{self as unix, UnixListener, UnixStream};

const FLAGS: SocketFlags = SocketFlags::NONBLOCK.union(SocketFlags::CLOEXEC);

pub(crate) fn accept_tcp(listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    let (fd, address) = acceptfrom_with(listener, FLAGS)?;
    let address = address.and_then(|address| SocketAddr::try_from(address).ok());
    Ok((fd.into(), address.ok_or(io::ErrorKind::InvalidData)?))
}

/// The address is asked for by itself, of std, which takes paths of every length that the system gives.
pub(crate) fn accept_unix(listener: &UnixListener) -> io::Result<(UnixStream, unix::SocketAddr)> {
    let stream = UnixStream::from(accept_with(listener, FLAGS)?);
    let address = stream.peer_addr().or_else(|_| nameless())?;
    Ok((stream, address))
}

/// Of a peer that went away at once: the connection, and what was sent over it, is still there.
fn nameless() -> io::Result<unix::SocketAddr> {
    unix::SocketAddr::from_pathname("")
}

pub(crate) fn new_socket(domain: Domain, kind: Type) -> io::Result<Socket> {
    Socket::new(domain, kind.nonblocking(), None)
}

pub(crate) fn new_unix(kind: Type) -> io::Result<Socket> {
    new_socket(Domain::UNIX, kind)
}

/// Sends, and gets an error instead of SIGPIPE from a closed peer.
pub(crate) fn send(io: &impl AsFd, data: &[u8]) -> io::Result<usize> {
    Ok(rustix::net::send(io, data, SendFlags::NOSIGNAL)?)
}

pub(crate) fn send_vectored(io: &impl AsFd, data: &[IoSlice<'_>]) -> io::Result<usize> {
    SockRef::from(io).send_vectored_with_flags(data, SendFlags::NOSIGNAL.bits() as i32)
}

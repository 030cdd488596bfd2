//! Systems with `accept4`, `SOCK_NONBLOCK` and `MSG_NOSIGNAL`: no further system call puts a socket into its mode.

use rustix::net::{SendFlags, SocketAddrUnix, SocketFlags, acceptfrom_with};
use socket2::{Domain, SockRef, Socket, Type};
use std::ffi::OsStr;
use std::io::{self, IoSlice};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{self as unix, UnixListener, UnixStream};

const FLAGS: SocketFlags = SocketFlags::NONBLOCK.union(SocketFlags::CLOEXEC);

pub(crate) fn accept_tcp(listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    let (fd, address) = acceptfrom_with(listener, FLAGS)?;
    let address = address.and_then(|address| SocketAddr::try_from(address).ok());
    Ok((fd.into(), address.ok_or(io::ErrorKind::InvalidData)?))
}

pub(crate) fn accept_unix(listener: &UnixListener) -> io::Result<(UnixStream, unix::SocketAddr)> {
    let (fd, address) = acceptfrom_with(listener, FLAGS)?;
    let address = address.and_then(|address| SocketAddrUnix::try_from(address).ok());
    Ok((fd.into(), unix_address(address.as_ref())?))
}

/// The standard type, which std makes of a path only.
fn unix_address(address: Option<&SocketAddrUnix>) -> io::Result<unix::SocketAddr> {
    let path = address.and_then(SocketAddrUnix::path);
    let path = path
        .as_deref()
        .map_or(OsStr::new(""), |path| OsStr::from_bytes(path.to_bytes()));
    unix::SocketAddr::from_pathname(path)
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

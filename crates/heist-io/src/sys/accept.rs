//! Systems (Apple's) where a new socket has to be put into its mode, and where SIGPIPE is kept away by an option that
//! std and `socket2` set on each socket they make.

use socket2::{Domain, SockRef, Socket, Type};
use std::io::{self, IoSlice};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::{self as unix, UnixListener, UnixStream};

pub(crate) fn accept_tcp(listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    let (stream, address) = listener.accept()?;
    super::set_nonblocking(&stream)?;
    Ok((stream, address))
}

pub(crate) fn accept_unix(listener: &UnixListener) -> io::Result<(UnixStream, unix::SocketAddr)> {
    let (stream, address) = listener.accept()?;
    super::set_nonblocking(&stream)?;
    Ok((stream, address))
}

pub(crate) fn new_socket(domain: Domain, kind: Type) -> io::Result<Socket> {
    let socket = Socket::new(domain, kind, None)?;
    super::set_nonblocking(&socket)?;
    Ok(socket)
}

pub(crate) fn new_unix(kind: Type) -> io::Result<Socket> {
    new_socket(Domain::UNIX, kind)
}

pub(crate) fn send(io: &impl AsFd, data: &[u8]) -> io::Result<usize> {
    SockRef::from(io).send(data)
}

pub(crate) fn send_vectored(io: &impl AsFd, data: &[IoSlice<'_>]) -> io::Result<usize> {
    SockRef::from(io).send_vectored(data)
}

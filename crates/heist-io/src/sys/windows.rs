//! Sockets on Windows. There is nothing else that `polling` can watch there.

use socket2::{Domain, SockRef, Socket, Type};
use std::io::{self, IoSlice};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::windows::io::{AsRawSocket, BorrowedSocket, RawSocket};

pub(crate) use std::os::windows::io::AsSocket as AsSource;

/// For `polling`, which wants a number to add.
pub(crate) fn raw(io: &impl AsSource) -> RawSocket {
    io.as_socket().as_raw_socket()
}

/// Small for each that is open: handles are multiples of four.
pub(crate) fn number(io: &impl AsSource) -> usize {
    (io.as_socket().as_raw_socket() / 4) as usize
}

/// For `polling`, which wants a borrow for the rest.
pub(crate) fn borrow(io: &impl AsSource) -> BorrowedSocket<'_> {
    io.as_socket()
}

pub(crate) fn set_nonblocking(io: &impl AsSource) -> io::Result<()> {
    SockRef::from(io).set_nonblocking(true)
}

/// Whether a `connect` has begun.
pub(crate) fn in_progress(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
}

pub(crate) fn accept_tcp(listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    let (stream, address) = listener.accept()?;
    set_nonblocking(&stream)?;
    Ok((stream, address))
}

pub(crate) fn new_socket(domain: Domain, kind: Type) -> io::Result<Socket> {
    let socket = Socket::new(domain, kind, None)?;
    set_nonblocking(&socket)?;
    Ok(socket)
}

pub(crate) fn send(io: &impl AsSource, data: &[u8]) -> io::Result<usize> {
    SockRef::from(io).send(data)
}

pub(crate) fn send_vectored(io: &impl AsSource, data: &[IoSlice<'_>]) -> io::Result<usize> {
    SockRef::from(io).send_vectored(data)
}

/// Here that is the default, and the option of that name would let anybody take the address over.
pub(crate) fn prepare_listener(_socket: &Socket) -> io::Result<()> {
    Ok(())
}

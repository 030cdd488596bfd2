//! File descriptors and sockets on Unix.

#[cfg_attr(
    any(target_os = "linux", target_os = "android", target_os = "freebsd"),
    path = "accept4.rs"
)]
#[cfg_attr(
    not(any(target_os = "linux", target_os = "android", target_os = "freebsd")),
    path = "accept.rs"
)]
mod flags;

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

pub(crate) use flags::{accept_tcp, accept_unix, new_socket, new_unix, send, send_vectored};
pub(crate) use std::os::fd::AsFd as AsSource;

/// For `polling`, which wants a number to add.
#[cfg_attr(
    any(target_os = "linux", target_os = "android"),
    expect(dead_code, reason = "epoll needs it not")
)]
pub(crate) fn raw(io: &impl AsSource) -> RawFd {
    io.as_fd().as_raw_fd()
}

/// Small for each that is open.
pub(crate) fn number(io: &impl AsSource) -> usize {
    // None is negative.
    io.as_fd().as_raw_fd().unsigned_abs() as usize
}

/// For `polling`, which wants a borrow for the rest.
#[cfg_attr(
    any(target_os = "linux", target_os = "android"),
    expect(dead_code, reason = "epoll needs it not")
)]
pub(crate) fn borrow(io: &impl AsSource) -> BorrowedFd<'_> {
    io.as_fd()
}

pub(crate) fn set_nonblocking(io: &impl AsSource) -> io::Result<()> {
    Ok(rustix::io::ioctl_fionbio(io, true)?)
}

/// Whether a `connect` has begun.
pub(crate) fn in_progress(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::INPROGRESS.raw_os_error())
}

/// An address whose last connections are still closing may be bound again.
pub(crate) fn prepare_listener(socket: &socket2::Socket) -> io::Result<()> {
    socket.set_reuse_address(true)
}

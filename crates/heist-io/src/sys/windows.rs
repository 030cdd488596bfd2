//! Sources are sockets.

use std::os::windows::io::{AsRawSocket, AsSocket, BorrowedSocket, RawSocket};

/// Something that a reactor can watch.
pub(crate) trait AsSource: AsSocket {}

impl<T: AsSocket> AsSource for T {}

/// For registering with `polling`.
pub(crate) fn raw(io: &impl AsSource) -> RawSocket {
    io.as_socket().as_raw_socket()
}

/// For everything else with `polling`.
pub(crate) fn borrow(io: &impl AsSource) -> BorrowedSocket<'_> {
    io.as_socket()
}

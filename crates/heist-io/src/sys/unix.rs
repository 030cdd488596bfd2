//! Sources are file descriptors.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

/// Something that a reactor can watch.
pub(crate) trait AsSource: AsFd {}

impl<T: AsFd> AsSource for T {}

/// For registering with `polling`.
#[allow(dead_code, reason = "epoll is used without `polling`")]
pub(crate) fn raw(io: &impl AsSource) -> RawFd {
    io.as_fd().as_raw_fd()
}

/// For everything else with `polling`.
#[allow(dead_code, reason = "epoll is used without `polling`")]
pub(crate) fn borrow(io: &impl AsSource) -> BorrowedFd<'_> {
    io.as_fd()
}

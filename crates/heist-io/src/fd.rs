//! Readiness for any file descriptor.

use crate::readiness::{Interest, Ready};
use crate::source::Registered;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::task::{Context, Poll};

/// Any file descriptor that can be polled: waits until it is ready, then tries.
///
/// There is no safe way to change the descriptor inside: what is registered is what is used. Regular files cannot be polled;
/// use `spawn_blocking` for them.
///
/// # Counterpart
///
/// `loop.add_reader`, `loop.add_writer`, `loop.sock_*`. Tokio's `AsyncFd`, async-io's `Async`.
#[derive(Debug)]
#[doc(alias = "AsyncFd")]
#[doc(alias = "add_reader")]
#[doc(alias = "add_writer")]
pub struct Async<T: AsFd + std::fmt::Debug>(Registered<T>);

impl<T: AsFd + std::fmt::Debug> Async<T> {
    /// Makes `io` non-blocking and registers it.
    ///
    /// # Errors
    ///
    /// Outside of a runtime; if the runtime is gone; for a descriptor that cannot be polled.
    pub fn new(io: T) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&io, true)?;
        Registered::new(io, Ready::READABLE | Ready::WRITABLE).map(Self)
    }

    /// What is inside.
    pub fn get_ref(&self) -> &T {
        self.0.get()
    }

    /// Takes it out of the reactor. It stays non-blocking.
    pub fn into_inner(self) -> T {
        self.0.into_inner()
    }

    /// Waits until a read may succeed. It may still find nothing: [`read_with`](Async::read_with) waits on then.
    ///
    /// # Errors
    ///
    /// If the runtime is gone.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    pub async fn readable(&self) -> io::Result<Ready> {
        self.0.ready(Interest::Readable).await
    }

    /// Waits until a write may succeed. See [`readable`](Async::readable).
    ///
    /// # Errors
    ///
    /// If the runtime is gone.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    pub async fn writable(&self) -> io::Result<Ready> {
        self.0.ready(Interest::Writable).await
    }

    /// Calls `f` whenever it may be readable, until it does something else than `WouldBlock`.
    ///
    /// # Errors
    ///
    /// Those of `f`; if the runtime is gone.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost: when `f` has succeeded the future is ready.
    pub async fn read_with<R>(&self, f: impl FnMut(&T) -> io::Result<R>) -> io::Result<R> {
        self.0.io(Interest::Readable, f).await
    }

    /// Calls `f` whenever it may be writable, until it does something else than `WouldBlock`.
    ///
    /// # Errors
    ///
    /// Those of `f`; if the runtime is gone.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost: when `f` has succeeded the future is ready.
    pub async fn write_with<R>(&self, f: impl FnMut(&T) -> io::Result<R>) -> io::Result<R> {
        self.0.io(Interest::Writable, f).await
    }

    /// Calls `f` once, unless it is known that it would block.
    ///
    /// # Errors
    ///
    /// Those of `f`; `WouldBlock`.
    pub fn try_io<R>(
        &self,
        interest: Interest,
        f: impl FnOnce(&T) -> io::Result<R>,
    ) -> io::Result<R> {
        self.0.try_io(interest, f)
    }

    /// [`readable`](Async::readable) for `poll` methods. Only the last waker is woken.
    ///
    /// # Errors
    ///
    /// If the runtime is gone.
    pub fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        self.0.poll_ready(cx, Interest::Readable)
    }

    /// [`writable`](Async::writable) for `poll` methods. Only the last waker is woken.
    ///
    /// # Errors
    ///
    /// If the runtime is gone.
    pub fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        self.0.poll_ready(cx, Interest::Writable)
    }
}

impl<T: AsFd + std::fmt::Debug> AsFd for Async<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.get().as_fd()
    }
}

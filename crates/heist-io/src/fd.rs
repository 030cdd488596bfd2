//! Readiness of any file descriptor: what asyncio's `add_reader` and `add_writer` are for.
//!
//! An operation runs in four steps: take a unit of the budget; look at the word of the source; if it says that the
//! operation may go ahead, try it; if it would block, clear the bit (unless an event came meanwhile) and wait. Nothing
//! is kept between calls, so an operation that is dropped has either happened and been reported, or not happened.

use crate::readiness::Snapshot;
use crate::source::{Registration, Waiter};
use crate::sys::{self, AsSource};
use heist_core::budget::poll_proceed;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, ready};

pub use crate::readiness::{Interest, Ready};

/// An I/O object whose readiness the runtime watches.
///
/// On Unix anything that has a file descriptor which the system's poller takes: sockets, pipes, terminals, device
/// files; not regular files. On Windows sockets only.
///
/// The object can be reached by reference only while it is watched: another descriptor put in its place would be
/// watched by nobody. [`into_inner`](Self::into_inner) gives it back.
///
/// # Counterpart
///
/// `loop.add_reader`, `loop.add_writer` and their `remove_` twins. A waiting call takes the place of the callback;
/// dropping it removes the "reader".
#[doc(alias = "add_reader")]
#[doc(alias = "add_writer")]
#[doc(alias = "remove_reader")]
#[doc(alias = "remove_writer")]
pub struct Async<T: AsSource> {
    /// Taken by `into_inner` and `drop` only.
    io: Option<T>,
    registration: Registration,
}

impl<T: AsSource> Async<T> {
    /// Puts `io` into non-blocking mode and watches it, with the current runtime or else the process-wide one.
    ///
    /// # Errors
    ///
    /// What the system says, for example that the poller does not take such a descriptor; outside of any runtime; on
    /// one that has been shut down.
    pub fn new(io: T) -> io::Result<Self> {
        sys::set_nonblocking(&io)?;
        Self::assume(io, Ready::EMPTY)
    }

    /// Watches `io`, which is in non-blocking mode already, and takes it to be `ready` until that proves wrong.
    pub(crate) fn assume(io: T, ready: Ready) -> io::Result<Self> {
        let registration = Registration::new(&io, ready)?;
        Ok(Self {
            io: Some(io),
            registration,
        })
    }

    /// The object itself.
    ///
    /// # Panics
    ///
    /// Never: the object is there until `self` is consumed.
    #[inline]
    #[must_use]
    pub fn get_ref(&self) -> &T {
        match &self.io {
            Some(io) => io,
            None => unreachable!("the object is taken when this is consumed"),
        }
    }

    /// Stops watching the object and returns it. It stays in non-blocking mode.
    ///
    /// # Errors
    ///
    /// None today; the signature leaves room for a system where it can fail.
    pub fn into_inner(self) -> io::Result<T> {
        Ok(self.take_inner())
    }

    pub(crate) fn take_inner(mut self) -> T {
        self.registration.deregister(self.get_ref());
        match self.io.take() {
            Some(io) => io,
            None => unreachable!("the object is taken when this is consumed"),
        }
    }

    /// Waits until a read may go ahead: data, a connection, the end of the stream, or an error.
    ///
    /// Any number of tasks may wait. May be ready although a read would block; [`read_with`](Self::read_with) and
    /// [`try_io`](Self::try_io) put that right, a read of another kind does not.
    ///
    /// # Errors
    ///
    /// When the runtime has been shut down.
    ///
    /// # Cancel safety
    ///
    /// Safe: nothing is consumed.
    #[doc(alias = "add_reader")]
    pub async fn readable(&self) -> io::Result<()> {
        self.ready(Interest::Readable).await.map(drop)
    }

    /// Waits until a write may go ahead, or the other side has closed.
    ///
    /// Otherwise as [`readable`](Self::readable).
    ///
    /// # Errors
    ///
    /// When the runtime has been shut down.
    ///
    /// # Cancel safety
    ///
    /// Safe: nothing is consumed.
    #[doc(alias = "add_writer")]
    pub async fn writable(&self) -> io::Result<()> {
        self.ready(Interest::Writable).await.map(drop)
    }

    /// Waits as [`readable`](Self::readable) or [`writable`](Self::writable) do, and says what else is known.
    ///
    /// # Errors
    ///
    /// When the runtime has been shut down.
    ///
    /// # Cancel safety
    ///
    /// Safe: nothing is consumed.
    pub async fn ready(&self, interest: Interest) -> io::Result<Ready> {
        let mut waiter = self.registration.waiter();
        poll_fn(|cx| self.poll_for(cx, interest, Some(&mut waiter))).await
    }

    /// Ready when a read may go ahead. Of several tasks that poll this, only the last one is woken.
    ///
    /// # Errors
    ///
    /// When the runtime has been shut down.
    #[doc(alias = "poll_read_ready")]
    pub fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_for(cx, Interest::Readable, None).map_ok(drop)
    }

    /// Ready when a write may go ahead. Of several tasks that poll this, only the last one is woken.
    ///
    /// # Errors
    ///
    /// When the runtime has been shut down.
    #[doc(alias = "poll_write_ready")]
    pub fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_for(cx, Interest::Writable, None).map_ok(drop)
    }

    fn poll_for(
        &self,
        cx: &mut Context<'_>,
        interest: Interest,
        waiter: Option<&mut Waiter<'_>>,
    ) -> Poll<io::Result<Ready>> {
        let coop = ready!(poll_proceed(cx));
        let seen =
            ready!(
                self.registration
                    .poll_ready(self.get_ref(), cx, interest, waiter, None)
            )?;
        coop.made_progress();
        Poll::Ready(Ok(seen.ready))
    }

    /// Calls `op` when a read may go ahead, again and again while it returns [`WouldBlock`](io::ErrorKind::WouldBlock).
    ///
    /// `op` has to read from this object, in non-blocking mode: what it would block on must be what is waited for.
    ///
    /// # Errors
    ///
    /// Those of `op`, and when the runtime has been shut down.
    ///
    /// # Cancel safety
    ///
    /// Safe: what `op` has done when it returned a result is reported at once.
    #[doc(alias = "async_io")]
    pub async fn read_with<R>(&self, op: impl FnMut(&T) -> io::Result<R>) -> io::Result<R> {
        self.run(Interest::Readable, op, |_| false).await
    }

    /// Calls `op` when a write may go ahead. Otherwise as [`read_with`](Self::read_with).
    ///
    /// # Errors
    ///
    /// Those of `op`, and when the runtime has been shut down.
    ///
    /// # Cancel safety
    ///
    /// Safe: what `op` has done when it returned a result is reported at once.
    #[doc(alias = "async_io")]
    pub async fn write_with<R>(&self, op: impl FnMut(&T) -> io::Result<R>) -> io::Result<R> {
        self.run(Interest::Writable, op, |_| false).await
    }

    /// Calls `op` once if the operation may go ahead as far as is known, and notes it if it would block.
    ///
    /// # Errors
    ///
    /// Those of `op`; [`WouldBlock`](io::ErrorKind::WouldBlock) if the object is known not to be ready; when the
    /// runtime has been shut down.
    pub fn try_io<R>(
        &self,
        interest: Interest,
        op: impl FnOnce(&T) -> io::Result<R>,
    ) -> io::Result<R> {
        let seen = self.registration.snapshot();
        if seen.ready.intersects(Ready::GONE) {
            return Err(heist_core::error::RuntimeGone.into());
        }
        if !seen.allows(interest, None) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let result = op(self.get_ref());
        if would_block(&result) {
            self.registration.clear(interest, seen);
        }
        result
    }

    /// The async form of [`poll_run`](Self::poll_run), for any number of tasks at once.
    pub(crate) async fn run<R>(
        &self,
        interest: Interest,
        mut op: impl FnMut(&T) -> io::Result<R>,
        drained: impl Fn(&R) -> bool,
    ) -> io::Result<R> {
        let mut waiter = self.registration.waiter();
        poll_fn(|cx| self.poll_with(cx, interest, Some(&mut waiter), &mut op, &drained)).await
    }

    /// Runs one operation. `drained` says of its result that the next one would block.
    #[inline]
    pub(crate) fn poll_run<R>(
        &self,
        cx: &mut Context<'_>,
        interest: Interest,
        mut op: impl FnMut(&T) -> io::Result<R>,
        drained: impl Fn(&R) -> bool,
    ) -> Poll<io::Result<R>> {
        self.poll_with(cx, interest, None, &mut op, &drained)
    }

    fn poll_with<R>(
        &self,
        cx: &mut Context<'_>,
        interest: Interest,
        mut waiter: Option<&mut Waiter<'_>>,
        op: &mut impl FnMut(&T) -> io::Result<R>,
        drained: &impl Fn(&R) -> bool,
    ) -> Poll<io::Result<R>> {
        let coop = ready!(poll_proceed(cx));
        let io = self.get_ref();
        let mut tried = None;
        loop {
            let seen = ready!(self.registration.poll_ready(
                io,
                cx,
                interest,
                waiter.as_deref_mut(),
                tried
            ))?;
            match op(io) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.registration.clear(interest, seen);
                    tried = Some(seen.tick);
                }
                result => {
                    self.after(interest, seen, &result, drained);
                    coop.made_progress();
                    return Poll::Ready(result);
                }
            }
        }
    }

    /// Saves the next operation from finding out that nothing is left.
    #[inline]
    fn after<R>(
        &self,
        interest: Interest,
        seen: Snapshot,
        result: &io::Result<R>,
        drained: &impl Fn(&R) -> bool,
    ) {
        // Out-of-band data ends a read early, with more behind it.
        let certain = crate::reactor::SHORT_READ_DRAINS && !seen.ready.intersects(Ready::PRIORITY);
        if certain && result.as_ref().is_ok_and(drained) {
            self.registration.clear(interest, seen);
        }
    }
}

impl<T: AsSource> Drop for Async<T> {
    fn drop(&mut self) {
        if let Some(io) = &self.io {
            self.registration.deregister(io);
        }
    }
}

impl<T: AsSource + fmt::Debug> fmt::Debug for Async<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Async")
            .field("io", self.get_ref())
            .field("ready", &self.registration.snapshot().ready)
            .finish_non_exhaustive()
    }
}

fn would_block<R>(result: &io::Result<R>) -> bool {
    matches!(result, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
}

//! One registered source: its readiness, and who waits for it.
//!
//! An operation looks at the word ([`Readiness`]), tries the system call, and only when that would block becomes a waiter. There are two
//! kinds of waiters: one *slot* per direction, for `poll_…` methods, where the last waker counts; and a *list*, for futures, each with an
//! entry of its own that goes when the future is dropped.
//!
//! ```text
//! waiter:   lock; leave the waker; unlock;  read the word;  pending
//! event:    change the word;                lock; take the wakers; unlock;  wake
//! ```
//!
//! # Invariants
//! * INV-1: a waker is left before the word is read, an event is in the word before wakers are taken. Both go through the lock, so either
//!   the event takes the waker or the waiter sees the event.
//! * INV-2: no waker is woken, cloned or dropped under the lock.
//! * INV-3: an I/O object is deregistered before it is dropped or given away.

use crate::context::{no_runtime_error, with_driver};
use crate::reactor::{Key, Reactor, SHORT_READ_DRAINS};
use crate::readiness::{Interest, Readiness, Ready, Snapshot};
use crate::sync::{Arc, Mutex, mutated};
use crate::sys::AsSource;
use crate::wake::WakeList;
use heist_core::budget::poll_proceed;
use heist_core::error::RuntimeGone;
use slab::Slab;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, Waker, ready};

/// The reactor's half of a registered source.
#[derive(Debug)]
pub struct Source {
    readiness: Readiness,
    waiters: Mutex<Waiters>,
}

#[derive(Debug, Default)]
struct Waiters {
    reader: Option<Waker>,
    writer: Option<Waker>,
    /// Made when the first future waits.
    list: Option<Box<Slab<Waiter>>>,
}

#[derive(Debug)]
struct Waiter {
    interest: Interest,
    /// `None` once it was woken.
    waker: Option<Waker>,
}

impl Waiters {
    fn slot(&mut self, interest: Interest) -> &mut Option<Waker> {
        match interest {
            Interest::Readable => &mut self.reader,
            Interest::Writable => &mut self.writer,
        }
    }

    /// Leaves a waker at a place. Gives back the one that was there.
    fn leave(&mut self, place: &mut Place, interest: Interest, waker: Waker) -> Option<Waker> {
        match place {
            Place::Slot => self.slot(interest).replace(waker),
            Place::Entry(at) => {
                let list = self.list.get_or_insert_default();
                match at.and_then(|at| list.get_mut(at)) {
                    Some(entry) => entry.waker.replace(waker),
                    None => {
                        *at = Some(list.insert(Waiter { interest, waker: Some(waker) }));
                        None
                    }
                }
            }
        }
    }

    /// Who waits in this direction.
    fn interests(&self) -> Vec<Interest> {
        let listed = self.list.iter().flat_map(|list| list.iter());
        let listed = listed.filter(|(_, waiter)| waiter.waker.is_some());
        let slots = [(Interest::Readable, &self.reader), (Interest::Writable, &self.writer)];
        let slots = slots.into_iter().filter(|(_, slot)| slot.is_some()).map(|(interest, _)| interest);
        slots.chain(listed.map(|(_, waiter)| waiter.interest)).collect()
    }
}

/// Where a waiter leaves its waker.
#[derive(Debug)]
enum Place {
    Slot,
    Entry(Option<usize>),
}

impl Source {
    /// A source of which `ready` is assumed.
    #[must_use]
    pub fn new(ready: Ready) -> Self {
        Self { readiness: Readiness::new(ready), waiters: Mutex::new(Waiters::default()) }
    }

    /// The reactor reports something. `everyone`: each waiter has to look, not only those of the direction.
    pub(crate) fn on_event(&self, ready: Ready, everyone: bool, wakers: &mut WakeList) {
        self.readiness.on_event(ready);
        let mut waiters = self.waiters.lock();
        let concerns = |interest| everyone || ready.allows(interest);
        for interest in [Interest::Readable, Interest::Writable] {
            if concerns(interest) {
                wakers.extend(waiters.slot(interest).take());
            }
        }
        if let Some(list) = &mut waiters.list {
            let concerned = list.iter_mut().filter(|(_, waiter)| concerns(waiter.interest));
            wakers.extend(concerned.filter_map(|(_, waiter)| waiter.waker.take()));
        }
    }

    /// Ready when an operation of this direction, which failed at the tick `tried`, may go ahead.
    fn poll_ready(
        &self,
        cx: &mut Context<'_>,
        place: &mut Place,
        interest: Interest,
        tried: Option<u64>,
    ) -> Poll<io::Result<Snapshot>> {
        if let Some(seen) = self.check(interest, tried)? {
            return Poll::Ready(Ok(seen));
        }
        let waker = cx.waker().clone();
        let mut waiters = self.waiters.lock();
        let old = waiters.leave(place, interest, waker);
        drop(waiters);
        drop(old);
        if mutated("readiness-no-recheck") {
            return Poll::Pending;
        }
        match self.check(interest, tried)? {
            Some(seen) => Poll::Ready(Ok(seen)),
            None => Poll::Pending,
        }
    }

    #[inline]
    fn check(&self, interest: Interest, tried: Option<u64>) -> io::Result<Option<Snapshot>> {
        let seen = self.readiness.load();
        if seen.ready.intersects(Ready::GONE) {
            return Err(RuntimeGone.into());
        }
        Ok(seen.allows(interest, tried).then_some(seen))
    }

    fn forget(&self, at: usize) {
        let mut waiters = self.waiters.lock();
        let gone = waiters.list.as_mut().and_then(|list| list.try_remove(at));
        drop(waiters);
        drop(gone);
    }
}

/// An I/O object and its registration with a reactor.
pub(crate) struct Registered<T: AsSource> {
    /// `None` only while it is dropped or given away.
    io: Option<T>,
    source: Arc<Source>,
    reactor: Arc<Reactor>,
    key: Key,
}

impl<T: AsSource> Registered<T> {
    /// Registers `io`, which does not block, with the reactor of the current runtime, else of the process-wide one.
    pub(crate) fn new(io: T, ready: Ready) -> io::Result<Self> {
        let reactor = with_driver(|driver| Arc::clone(driver.reactor()));
        let reactor = reactor.ok_or_else(no_runtime_error)?;
        let source = Arc::new(Source::new(ready));
        let key = reactor.register(&io, &source)?;
        Ok(Self { io: Some(io), source, reactor, key })
    }

    #[inline]
    pub(crate) fn get(&self) -> &T {
        match &self.io {
            Some(io) => io,
            None => unreachable!("it is there until the end"),
        }
    }

    /// Takes it out of the reactor.
    pub(crate) fn into_inner(mut self) -> T {
        match self.release() {
            Some(io) => io,
            None => unreachable!("it is there until the end"),
        }
    }

    fn release(&mut self) -> Option<T> {
        let io = self.io.take()?;
        self.reactor.deregister(&io, self.key);
        Some(io)
    }

    /// Waits at a place; where the system has no edges, asks for the next event.
    fn poll_at(
        &self,
        cx: &mut Context<'_>,
        place: &mut Place,
        interest: Interest,
        tried: Option<u64>,
    ) -> Poll<io::Result<Snapshot>> {
        let polled = self.source.poll_ready(cx, place, interest, tried)?;
        if polled.is_pending() && self.reactor.is_oneshot() {
            let interests = self.source.waiters.lock().interests();
            self.reactor.rearm(self.get(), self.key, &interests)?;
        }
        polled.map(Ok)
    }

    fn poll_op<R>(
        &self,
        cx: &mut Context<'_>,
        place: &mut Place,
        interest: Interest,
        mut f: impl FnMut(&T) -> io::Result<R>,
        drained: impl Fn(&R) -> bool,
    ) -> Poll<io::Result<R>> {
        let proceed = ready!(poll_proceed(cx));
        let mut tried = None;
        loop {
            let seen = ready!(self.poll_at(cx, place, interest, tried))?;
            match f(self.get()) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.source.readiness.clear(interest, seen.tick);
                    tried = Some(seen.tick);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => {
                    if SHORT_READ_DRAINS && result.as_ref().is_ok_and(&drained) {
                        self.source.readiness.clear(interest, seen.tick);
                    }
                    proceed.made_progress();
                    return Poll::Ready(result);
                }
            }
        }
    }

    /// An operation of a `poll_…` method: one waiter per direction, the last waker counts.
    pub(crate) fn poll_io<R>(
        &self,
        cx: &mut Context<'_>,
        interest: Interest,
        f: impl FnMut(&T) -> io::Result<R>,
    ) -> Poll<io::Result<R>> {
        self.poll_op(cx, &mut Place::Slot, interest, f, |_| false)
    }

    /// The same for bytes of a stream: fewer than `wanted` mean that there are no more for now.
    #[inline]
    pub(crate) fn poll_transfer(
        &self,
        cx: &mut Context<'_>,
        interest: Interest,
        wanted: usize,
        f: impl FnMut(&T) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        self.poll_op(cx, &mut Place::Slot, interest, f, |moved| 0 < *moved && *moved < wanted)
    }

    /// Waits for readiness, by the slot of the direction.
    pub(crate) fn poll_ready(
        &self,
        cx: &mut Context<'_>,
        interest: Interest,
    ) -> Poll<io::Result<Ready>> {
        let proceed = ready!(poll_proceed(cx));
        let seen = ready!(self.poll_at(cx, &mut Place::Slot, interest, None))?;
        proceed.made_progress();
        Poll::Ready(Ok(seen.ready))
    }

    /// An operation of a future, which is a waiter of its own.
    pub(crate) async fn io<R>(
        &self,
        interest: Interest,
        mut f: impl FnMut(&T) -> io::Result<R>,
    ) -> io::Result<R> {
        let mut entry = Listed::new(&self.source);
        poll_fn(|cx| self.poll_op(cx, &mut entry.place, interest, &mut f, |_| false)).await
    }

    /// The same for bytes of a stream.
    pub(crate) async fn transfer(
        &self,
        interest: Interest,
        wanted: usize,
        mut f: impl FnMut(&T) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let mut entry = Listed::new(&self.source);
        let drained = |moved: &usize| 0 < *moved && *moved < wanted;
        poll_fn(|cx| self.poll_op(cx, &mut entry.place, interest, &mut f, drained)).await
    }

    /// Waits for readiness, as a waiter of its own.
    pub(crate) async fn ready(&self, interest: Interest) -> io::Result<Ready> {
        let mut entry = Listed::new(&self.source);
        poll_fn(|cx| {
            let proceed = ready!(poll_proceed(cx));
            let seen = ready!(self.poll_at(cx, &mut entry.place, interest, None))?;
            proceed.made_progress();
            Poll::Ready(Ok(seen.ready))
        })
        .await
    }

    /// Tries once. `WouldBlock` without a system call if it is known not to be ready.
    pub(crate) fn try_io<R>(
        &self,
        interest: Interest,
        f: impl FnOnce(&T) -> io::Result<R>,
    ) -> io::Result<R> {
        let Some(seen) = self.source.check(interest, None)? else {
            return Err(io::ErrorKind::WouldBlock.into());
        };
        let result = f(self.get());
        if result.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) {
            self.source.readiness.clear(interest, seen.tick);
        }
        result
    }
}

impl<T: AsSource> Drop for Registered<T> {
    fn drop(&mut self) {
        drop(self.release());
    }
}

impl<T: AsSource + fmt::Debug> fmt::Debug for Registered<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registered")
            .field("io", self.get())
            .field("ready", &self.source.readiness.load().ready)
            .finish()
    }
}

/// The entry of one future in the list, taken out when the future ends.
struct Listed<'a> {
    source: &'a Source,
    place: Place,
}

impl<'a> Listed<'a> {
    fn new(source: &'a Source) -> Self {
        Self { source, place: Place::Entry(None) }
    }
}

impl Drop for Listed<'_> {
    fn drop(&mut self) {
        if let Place::Entry(Some(at)) = self.place {
            self.source.forget(at);
        }
    }
}

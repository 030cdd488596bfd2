//! One registered source: its readiness word and who waits for it.
//!
//! # Waiters
//!
//! Each direction has a slot for the `poll_*` functions (the last caller's waker counts) and the source has a list for
//! async functions, so that any number of tasks may wait in `accept` or `readable` of one source. All stand under one
//! mutex, which only an operation that has to wait and an event take.
//!
//! # Invariants
//!
//! * INV-1: no wakeup is lost. An event changes the word first and takes the lock after that; a waiter takes the lock,
//!   looks at the word and then leaves its waker. Whichever has the lock first, the other sees what it did.
//! * INV-2: wakers are woken, replaced and dropped without the lock.
//! * INV-3: the place of a `Waiter` in the list lives exactly as long as the `Waiter`.
//! * INV-4: a registration is taken out of the reactor before its I/O object is dropped or given away.

use crate::context::with_driver;
use crate::reactor::{Key, Reactor};
use crate::readiness::{Interest, Readiness, Ready, Snapshot};
use crate::sync::{Arc, Mutex, mutated};
use crate::sys::AsSource;
use crate::wake::WakeList;
use heist_core::error::RuntimeGone;
use slab::Slab;
use std::io;
use std::task::{Context, Poll, Waker};

/// What the reactor knows of a source.
#[derive(Debug)]
pub struct Source {
    word: Readiness,
    waiters: Mutex<Waiters>,
}

/// Who waits for a source.
#[derive(Debug)]
pub struct Waiters {
    reader: Option<Waker>,
    writer: Option<Waker>,
    list: Slab<Listed>,
}

#[derive(Debug)]
struct Listed {
    interest: Interest,
    waker: Option<Waker>,
}

impl Source {
    /// One that nobody waits for, about which `ready` is known.
    #[must_use]
    pub fn new(ready: Ready) -> Self {
        let waiters = Waiters {
            reader: None,
            writer: None,
            list: Slab::new(),
        };
        Self {
            word: Readiness::new(ready),
            waiters: Mutex::new(waiters),
        }
    }

    /// Something happened: notes it, and collects the wakers of whom it concerns, or of everyone.
    pub fn on_event(&self, ready: Ready, everyone: bool, wakers: &mut WakeList) {
        self.word.on_event(ready);
        let mut waiters = self.waiters.lock();
        let everyone = everyone || ready.intersects(Ready::ERROR | Ready::GONE);
        let concerns = |interest| everyone || ready.allows(interest);
        if concerns(Interest::Readable) {
            wakers.extend(waiters.reader.take());
        }
        if concerns(Interest::Writable) {
            wakers.extend(waiters.writer.take());
        }
        for (_, listed) in &mut waiters.list {
            if concerns(listed.interest) {
                wakers.extend(listed.waker.take());
            }
        }
    }

    /// Ready when an operation may go ahead that has been tried at the tick `tried`. Else leaves the waker, in the slot of
    /// its direction or in the list, and calls `arm` under the lock.
    ///
    /// # Errors
    ///
    /// [`RuntimeGone`], and what `arm` says.
    #[inline]
    pub fn poll_ready(
        &self,
        cx: &mut Context<'_>,
        interest: Interest,
        listed: Option<&mut Option<usize>>,
        tried: Option<u64>,
        arm: impl FnOnce(&Waiters) -> io::Result<()>,
    ) -> Poll<io::Result<Snapshot>> {
        match self.check(interest, tried) {
            Some(result) => Poll::Ready(result),
            None => self.poll_wait(cx, interest, listed, tried, arm),
        }
    }

    fn poll_wait(
        &self,
        cx: &mut Context<'_>,
        interest: Interest,
        listed: Option<&mut Option<usize>>,
        tried: Option<u64>,
        arm: impl FnOnce(&Waiters) -> io::Result<()>,
    ) -> Poll<io::Result<Snapshot>> {
        // A clone is the user's code: not under the lock (INV-2). Mostly the event has taken the last one, so that asking
        // first whether it is still there would only cost another round of the lock.
        let waker = cx.waker().clone();
        let mut waiters = self.waiters.lock();
        // INV-1: an event that is not seen here finds the waker.
        let seen = if mutated("readiness-no-recheck") {
            None
        } else {
            self.check(interest, tried)
        };
        let (old, result) = match seen {
            Some(result) => (Some(waker), Poll::Ready(result)),
            None => {
                let old = waiters.place(interest, listed).replace(waker);
                match arm(&waiters) {
                    Ok(()) => (old, Poll::Pending),
                    Err(error) => (old, Poll::Ready(Err(error))),
                }
            }
        };
        drop(waiters);
        drop(old);
        result
    }

    /// An operation that started at `seen` found less than it asked for.
    pub fn clear(&self, interest: Interest, seen: Snapshot) {
        self.word.clear(interest, seen.tick);
    }

    /// Whether an operation may go ahead that has been tried at the tick `tried`.
    #[inline]
    fn check(&self, interest: Interest, tried: Option<u64>) -> Option<io::Result<Snapshot>> {
        let seen = self.word.load();
        if seen.ready.intersects(Ready::GONE) {
            return Some(Err(RuntimeGone.into()));
        }
        seen.allows(interest, tried).then_some(Ok(seen))
    }
}

impl Waiters {
    /// The place where a waiter of this direction leaves its waker.
    fn place(
        &mut self,
        interest: Interest,
        listed: Option<&mut Option<usize>>,
    ) -> &mut Option<Waker> {
        match (listed, interest) {
            (None, Interest::Readable) => &mut self.reader,
            (None, Interest::Writable) => &mut self.writer,
            (Some(at), _) => {
                let at = *at.get_or_insert_with(|| {
                    self.list.insert(Listed {
                        interest,
                        waker: None,
                    })
                });
                &mut self.list[at].waker
            }
        }
    }

    /// The directions that somebody waits for.
    fn interests(&self) -> Vec<Interest> {
        let listed = |interest| {
            self.list
                .iter()
                .any(|(_, it)| it.interest == interest && it.waker.is_some())
        };
        let mut interests = Vec::new();
        if self.reader.is_some() || listed(Interest::Readable) {
            interests.push(Interest::Readable);
        }
        if self.writer.is_some() || listed(Interest::Writable) {
            interests.push(Interest::Writable);
        }
        interests
    }
}

/// A source in a reactor.
#[derive(Debug)]
pub(crate) struct Registration {
    source: Arc<Source>,
    reactor: Arc<Reactor>,
    pub(crate) key: Key,
}

impl Registration {
    /// Registers `io` with the current runtime, else the process-wide one. `ready` is assumed until it proves wrong.
    pub(crate) fn new(io: &impl AsSource, ready: Ready) -> io::Result<Self> {
        let reactor = with_driver(|driver| Arc::clone(driver.reactor()))?;
        Self::with(reactor, io, ready)
    }

    /// Registers `io` with this reactor.
    pub(crate) fn with(
        reactor: Arc<Reactor>,
        io: &impl AsSource,
        ready: Ready,
    ) -> io::Result<Self> {
        let source = Arc::new(Source::new(ready));
        let key = reactor.register(io, &source)?;
        Ok(Self {
            source,
            reactor,
            key,
        })
    }

    /// Takes it out of its reactor (INV-4).
    pub(crate) fn deregister(&self, io: &impl AsSource) {
        self.reactor.deregister(io, self.key);
    }

    /// What is known now.
    pub(crate) fn snapshot(&self) -> Snapshot {
        self.source.word.load()
    }

    /// Ready when an operation may go ahead that has been tried at the tick `tried`.
    ///
    /// # Errors
    ///
    /// [`RuntimeGone`]; a source that cannot be armed.
    pub(crate) fn poll_ready(
        &self,
        io: &impl AsSource,
        cx: &mut Context<'_>,
        interest: Interest,
        waiter: Option<&mut Waiter<'_>>,
        tried: Option<u64>,
    ) -> Poll<io::Result<Snapshot>> {
        let arm = |waiters: &Waiters| match self.reactor.is_oneshot() {
            true => self.reactor.rearm(io, self.key, &waiters.interests()),
            false => Ok(()),
        };
        let listed = waiter.map(|waiter| &mut waiter.at);
        self.source.poll_ready(cx, interest, listed, tried, arm)
    }

    /// An operation that started at `seen` found less than it asked for.
    pub(crate) fn clear(&self, interest: Interest, seen: Snapshot) {
        self.source.clear(interest, seen);
    }

    /// A place in the list of waiters, for one call of an async function.
    pub(crate) fn waiter(&self) -> Waiter<'_> {
        Waiter {
            source: &self.source,
            at: None,
        }
    }
}

/// One waiter of the list. Leaves it when dropped (INV-3).
#[derive(Debug)]
pub(crate) struct Waiter<'a> {
    source: &'a Source,
    at: Option<usize>,
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        if let Some(at) = self.at {
            let left = self.source.waiters.lock().list.try_remove(at);
            drop(left);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn waiting(source: &Source, interest: Interest) -> Arc<Count> {
        let count = Arc::new(Count::default());
        let waker = Some(Waker::from(Arc::clone(&count)));
        source
            .waiters
            .lock()
            .list
            .insert(Listed { interest, waker });
        count
    }

    #[test]
    fn an_event_wakes_whom_it_concerns() {
        for (ready, reads, writes) in [
            (Ready::READABLE, 1, 0),
            (Ready::WRITABLE, 0, 1),
            (Ready::READ_CLOSED, 1, 0),
            (Ready::WRITE_CLOSED, 0, 1),
            (Ready::ERROR, 1, 1),
            (Ready::GONE, 1, 1),
            (Ready::EMPTY, 0, 0),
        ] {
            let source = Source::new(Ready::EMPTY);
            let readers = [
                waiting(&source, Interest::Readable),
                waiting(&source, Interest::Readable),
            ];
            let writer = waiting(&source, Interest::Writable);
            let mut wakers = WakeList::new();
            source.on_event(ready, false, &mut wakers);
            wakers.wake_all();
            for reader in readers {
                assert_eq!(reader.0.load(Ordering::Relaxed), reads, "{ready:?}");
            }
            assert_eq!(writer.0.load(Ordering::Relaxed), writes, "{ready:?}");
        }
    }

    #[test]
    fn everyone_looks_when_an_event_disarms_the_source() {
        let source = Source::new(Ready::EMPTY);
        let writer = waiting(&source, Interest::Writable);
        let mut wakers = WakeList::new();
        source.on_event(Ready::READABLE, true, &mut wakers);
        assert_eq!(wakers.wake_all(), 1);
        assert_eq!(writer.0.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_source_that_is_gone_fails_even_if_it_is_readable() {
        let source = Source::new(Ready::READABLE);
        source.on_event(Ready::GONE, true, &mut WakeList::new());
        let error = source.check(Interest::Readable, None).unwrap().unwrap_err();
        assert!(error.get_ref().unwrap().is::<RuntimeGone>());
    }
}

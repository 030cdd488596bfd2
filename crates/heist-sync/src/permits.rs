//! A number of permits, and a line of those who want some: what semaphores and locks are made of.
//!
//! One word says how many permits are free and whether anybody stands in line. While somebody does, nobody takes a permit but the
//! first in line, and the word changes under the lock of the line alone; else it is one exchange to take or to give.
//!
//! # Orderings
//! To give is a Release, to take an Acquire: what the last owner did happens before what the next one does. Permits that go by
//! the line take the same way: whoever serves has read the word with Acquire. Tag: `permits`.

use std::future::Future;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use heist_core::budget::poll_proceed;

use crate::sync::{Acquire, AtomicUsize, Relaxed, Release, mutated};
use crate::wait_list::{Ends, Left, Locked, Primitive, Wait, WaitList};

/// The word: whether somebody stands in line, and how many permits are free.
pub(crate) struct Permits(AtomicUsize);

const LINE: usize = 1;
const ONE: usize = 2;

/// How many there may be, free or taken: a sum of them does not overflow.
pub(crate) const MOST: usize = usize::MAX / ONE / 4;

impl Primitive for Permits {
    type Guarded = ();
    /// How many are wanted.
    type Value = usize;
    type Lines = [Ends<Self::Value>; 1];

    fn on_leave(line: &mut Locked<'_, Self>, left: Left<usize>) -> Option<usize> {
        match left {
            // Whoever stood behind may want less.
            Left::Waiting(_) => hand_out(line, 0),
            Left::Served(_) if mutated("turn-kept") => {}
            Left::Served(count) => hand_out(line, count),
        }
        None
    }
}

/// Serves those who can be, with `count` permits more than are free.
fn hand_out(line: &mut Locked<'_, Permits>, count: usize) {
    let word = &line.open.0;
    if word.load(Relaxed) & LINE == 0 {
        // Nobody stands in line, and nobody can come while it is locked.
        // ORDERING(permits): gives what this thread did to whoever takes them.
        word.fetch_add(count * ONE, Release);
        return;
    }
    // ORDERING(permits): takes what those did who gave the free ones; each who is served gets it by way of the line.
    let mut free = word.load(Acquire) / ONE + count;
    while let Some(wanted) = line.first(|wanted| *wanted) {
        if wanted > free {
            break;
        }
        free -= wanted;
        line.serve();
    }
    let waits = if line.waiting() > 0 { LINE } else { 0 };
    // ORDERING(permits): if the line is empty now, the next to take needs no lock.
    word.store(free * ONE + waits, Release);
}

impl WaitList<Permits> {
    pub(crate) fn with_permits(count: usize) -> Self {
        Self::new(Permits(AtomicUsize::new(count * ONE)), ())
    }

    /// How many are free, for a moment.
    pub(crate) fn free(&self) -> usize {
        self.open.0.load(Relaxed) / ONE
    }

    /// Whether [`try_take`](Self::try_take) would do, for a moment.
    pub(crate) fn has(&self, count: usize) -> bool {
        let word = self.open.0.load(Relaxed);
        word & LINE == 0 && word / ONE >= count
    }

    /// Takes `count`, unless fewer are free or somebody stands in line.
    #[inline]
    pub(crate) fn try_take(&self, count: usize) -> bool {
        self.open.try_take(count)
    }

    /// Takes `count` when it is the caller's turn.
    #[inline]
    pub(crate) fn take(&self, count: usize) -> Take<'_> {
        Take {
            wait: self.wait(),
            count,
        }
    }

    /// Gives `count`: those that were taken, or new ones. The caller sees to it that there are no more than [`MOST`], free or taken.
    #[inline]
    pub(crate) fn give(&self, count: usize) {
        let word = &self.open.0;
        let mut seen = word.load(Relaxed);
        while seen & LINE == 0 {
            let next = seen + count * ONE;
            // ORDERING(permits): gives what the owner did to whoever takes them.
            match word.compare_exchange_weak(seen, next, Release, Relaxed) {
                Ok(_) => return,
                Err(now) => seen = now,
            }
        }
        self.give_to_the_line(count);
    }

    #[cold]
    fn give_to_the_line(&self, count: usize) {
        hand_out(&mut self.lock(), count);
    }
}

impl Permits {
    #[inline]
    fn try_take(&self, count: usize) -> bool {
        let mut seen = self.0.load(Relaxed);
        while seen & LINE == 0 && seen / ONE >= count {
            // ORDERING(permits): takes what the last owner did.
            match self
                .0
                .compare_exchange_weak(seen, seen - count * ONE, Acquire, Relaxed)
            {
                Ok(_) => return true,
                Err(now) => seen = now,
            }
        }
        false
    }

    /// Under the lock: takes `count`, or says that somebody stands in line, for that is what the caller will do.
    fn take_or_announce(&self, count: usize) -> bool {
        while !self.try_take(count) {
            let seen = self.0.load(Relaxed);
            let announced = seen & LINE != 0
                || seen / ONE < count
                    // Relaxed: it carries nothing, and whoever sees it takes the lock.
                    && self.0.compare_exchange(seen, seen | LINE, Relaxed, Relaxed).is_ok();
            if announced || mutated("line-unannounced") {
                return false;
            }
        }
        true
    }
}

pin_project_lite::pin_project! {
    /// Ready when its permits are taken. They are the caller's from then on.
    pub(crate) struct Take<'a> {
        #[pin]
        wait: Wait<'a, Permits>,
        count: usize,
    }
}

impl Future for Take<'_> {
    type Output = ();

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        let proceed = ready!(poll_proceed(cx));
        let count = *this.count;
        if !(this.wait.is_new() && this.wait.list.try_take(count)) {
            let _ = ready!(this.wait.poll(cx, |line| {
                if line.open.take_or_announce(count) {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(count)
                }
            }));
        }
        proceed.made_progress();
        Poll::Ready(())
    }
}

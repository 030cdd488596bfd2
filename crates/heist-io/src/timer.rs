//! Timers: one wheel per shard, and the agreement with the thread that sleeps for them.
//!
//! A [`Timer`] lies pinned in its future. Its first poll links it into the wheel of the shard that the polling thread
//! serves; it keeps a count of that shard, so that it can be cancelled from anywhere: lock, unlink. One that was never
//! polled touches nothing.
//!
//! ```text
//!        poll                 due
//! IDLE ────────► ARMED ─────────────► FIRED
//!   ▲  ◄─────────  │ reset, drop        (ready, for ever)
//!   └──────────────┘ └──shutdown────► GONE (polling it panics)
//! ```
//!
//! | state        | owner of the `Timer` may             | a thread that holds the shard's lock may      |
//! |--------------|--------------------------------------|-----------------------------------------------|
//! | IDLE         | everything                           | nothing, it does not know the entry           |
//! | ARMED        | the same, under the lock             | unlink it, take its waker, store FIRED or GONE |
//! | FIRED, GONE  | everything                           | nothing                                       |
//!
//! # Invariants
//!
//! * INV-1: an entry is linked exactly while its state is ARMED, into the wheel of the shard its timer counts.
//! * INV-2: only the owner moves the state to ARMED and back to IDLE; only who has the lock moves it from ARMED to FIRED
//!   or GONE, and that store is the last touch: the owner may free the entry as soon as it has read it.
//! * INV-3: a timer that was polled is pinned, and its drop disarms it first.
//! * INV-4: `Shard::next` is not later than the first deadline of its wheel, whenever the lock is free.
//!
//! # The sleeper
//!
//! At most one thread sleeps for all shards. It may not take their locks (parking would stop every other thread that
//! arms), so it reads `next` of each; who arms an earlier timer meanwhile has to wake it:
//!
//! ```text
//! arm:    next = d;  fence;  if d < published: wake        sleep:  published = min(next);  fence;  re-read next;  sleep
//! ```
//!
//! Of two SeqCst fences one is first: either the sleeper reads the new `next`, or the other one reads what the sleeper
//! published. While nobody sleeps `published` is 0, and nobody is woken. Tag `timer-alarm`; removing a fence is the
//! mutation `timer-no-fence`.
//!
//! # Orderings
//!
//! Tag `timer-state`: the store of FIRED or GONE is Release, the owner's load Acquire, so that the last touch of the
//! entry happens before its memory is reused. All else is ordered by the lock of the shard.

mod shard;
mod wheel;

#[cfg(any(test, fuzzing))]
pub use wheel::model;

use crate::context;
use crate::driver::IoDriver;
use crate::sync::SeqCst;
use crate::sync::{Acquire, Arc, AtomicU64, Relaxed, fence, mutated};
use heist_core::error::RuntimeGone;
use shard::Node;
pub use shard::Shard;
use std::fmt;
use std::marker::PhantomPinned;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// A deadline that no clock reaches.
pub const NEVER: u64 = u64::MAX;

const IDLE: u8 = 0;
const ARMED: u8 = 1;
const FIRED: u8 = 2;
const GONE: u8 = 3;

/// How many timers fire under one lock.
const BATCH: usize = 64;

/// All timers of one runtime. Deadlines are ns since its epoch.
#[derive(Debug)]
pub struct Timers {
    shards: Box<[Arc<Shard>]>,
    alarm: Arc<Alarm>,
}

/// What arming needs of the sleeper.
struct Alarm {
    /// Until when the sleeper sleeps; 0 while there is none.
    published: AtomicU64,
    wake: Box<dyn Fn() + Send + Sync>,
    epoch: Instant,
}

impl Timers {
    /// Timers in `shards` wheels, which count from `epoch`; `wake` makes the sleeper return.
    pub fn new(shards: usize, epoch: Instant, wake: Box<dyn Fn() + Send + Sync>) -> Self {
        let alarm = Arc::new(Alarm {
            published: AtomicU64::new(0),
            wake,
            epoch,
        });
        let shards = (0..shards.max(1))
            .map(|_| Arc::new(Shard::new(&alarm)))
            .collect();
        Self { shards, alarm }
    }

    /// The shard of this index; one that belongs to another runtime's worker is taken modulo.
    pub fn shard(&self, index: usize) -> &Arc<Shard> {
        &self.shards[index % self.shards.len()]
    }

    /// How many shards there are.
    pub fn shards(&self) -> usize {
        self.shards.len()
    }

    /// When the first timer of any shard is due, or [`NEVER`]. Takes no lock.
    pub fn next_deadline(&self) -> u64 {
        // ORDERING(timer-alarm): the fence of `before_sleep` orders these loads where it matters; elsewhere they guess.
        self.shards
            .iter()
            .map(|shard| shard.next.load(Relaxed))
            .min()
            .unwrap_or(NEVER)
    }

    /// The caller will sleep, for at most until `limit`. Returns until when it may; then calls
    /// [`after_sleep`](Self::after_sleep).
    pub fn before_sleep(&self, limit: u64) -> u64 {
        let first = self.next_deadline().min(limit);
        // ORDERING(timer-alarm): the fence orders it before the loads below; pairs with the fence in `Shard::rang`.
        self.alarm.published.store(first, Relaxed);
        if !mutated("timer-no-fence") {
            fence(SeqCst);
        }
        self.next_deadline().min(first)
    }

    /// Nobody sleeps any more.
    pub fn after_sleep(&self) {
        // ORDERING(timer-alarm): who still reads the old value wakes a thread that is awake, which does no harm.
        self.alarm.published.store(0, Relaxed);
    }

    /// Fires what is due in one shard at `now`. Returns the number of wakers woken.
    pub fn fire(&self, shard: usize, now: u64) -> usize {
        let shard = self.shard(shard);
        // ORDERING(timer-alarm): a guess; who armed later than this wakes the sleeper.
        if shard.next.load(Relaxed) > now {
            return 0;
        }
        shard.fire(now, FIRED)
    }

    /// Fires what is due in every shard at `now`. Returns the number of wakers woken.
    pub fn fire_all(&self, now: u64) -> usize {
        (0..self.shards.len())
            .map(|shard| self.fire(shard, now))
            .sum()
    }

    /// No timer fires any more; what waits is woken and finds out.
    pub fn shut_down(&self) {
        for shard in &self.shards {
            shard.close();
        }
    }
}

impl fmt::Debug for Alarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Alarm")
            .field("published", &self.published)
            .finish_non_exhaustive()
    }
}

/// An instant as a wheel counts it that began at `epoch`.
pub(crate) fn nanos_since(epoch: Instant, at: Instant) -> u64 {
    u64::try_from(at.saturating_duration_since(epoch).as_nanos()).unwrap_or(NEVER)
}

/// One timer: a deadline, and the waker of who waits for it.
#[derive(Debug)]
pub struct Timer {
    node: Node,
    /// Set at the first poll.
    shard: Option<Arc<Shard>>,
    deadline: Due,
    _pinned: PhantomPinned,
}

/// When a timer is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// At once.
    Now(Instant),
    /// At an instant that lay ahead when it was set.
    Ahead(Instant),
    /// At an instant that has to be compared with the clock first.
    At(Instant),
    /// Later than an `Instant` can say.
    Never,
}

impl Due {
    /// In so much time from now.
    pub fn after(duration: Duration) -> Self {
        let now = context::now();
        match now.checked_add(duration) {
            _ if duration.is_zero() => Self::Now(now),
            Some(at) => Self::Ahead(at),
            None => Self::Never,
        }
    }
}

// SAFETY: the raw pointers are in `node`, which other threads reach through the wheel only, under its lock; what it
// holds besides is a `Waker`, which is `Send`.
unsafe impl Send for Timer {}
// SAFETY: `&Timer` gives the deadline and an atomic state only.
unsafe impl Sync for Timer {}

impl Timer {
    pub fn new(deadline: Due) -> Self {
        Self {
            node: Node::new(),
            shard: None,
            deadline,
            _pinned: PhantomPinned,
        }
    }

    pub fn deadline(&self) -> Due {
        self.deadline
    }

    /// Whether it is known to be over, without looking at the clock.
    pub fn is_elapsed(&self) -> bool {
        // Relaxed: it tells the time. Whoever goes on with what the timer was for polls it.
        matches!(self.deadline, Due::Now(_)) || self.node.state.load(Relaxed) == FIRED
    }

    /// Ready when the deadline is over. Arms at the first call.
    ///
    /// # Panics
    ///
    /// Outside of a runtime, and when the runtime that it is armed in has been shut down.
    #[track_caller]
    pub fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        // ORDERING(timer-state): pairs with the store in `take_due`.
        match self.node.state.load(Acquire) {
            FIRED => Poll::Ready(()),
            ARMED => self.poll_armed(cx),
            GONE => gone(),
            _ => self.poll_idle(cx),
        }
    }

    fn poll_armed(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(shard) = &self.shard else {
            unreachable!("a timer is armed in no shard")
        };
        // SAFETY: it is ours, and was armed in this shard.
        let old = unsafe { shard.set_waker(&self.node, cx.waker()) };
        drop(old);
        // ORDERING(timer-state): pairs with the store in `take_due`. It may have fired before the waker was in place.
        match self.node.state.load(Acquire) {
            FIRED => Poll::Ready(()),
            GONE => gone(),
            _ => Poll::Pending,
        }
    }

    #[track_caller]
    fn poll_idle(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        // SAFETY: nothing is moved out of it; it stays pinned.
        let this = unsafe { self.get_unchecked_mut() };
        let placed = context::with_driver(|driver| this.place(driver));
        match placed {
            Ok(Some(deadline)) => this.arm(deadline, cx),
            Ok(None) => Poll::Ready(()),
            Err(error) => panic!("`sleep` needs a heist runtime with a timer: {error}"),
        }
    }

    /// As [`poll`](Self::poll), but the first call arms it in the given shard, at a time that lies ahead. For models.
    pub fn poll_in(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        shard: &Arc<Shard>,
        at: u64,
    ) -> Poll<()> {
        // ORDERING(timer-state): pairs with the store in `take_due`.
        if self.node.state.load(Acquire) != IDLE {
            return self.poll(cx);
        }
        // SAFETY: nothing is moved out of it; it stays pinned.
        let this = unsafe { self.get_unchecked_mut() };
        this.shard = Some(Arc::clone(shard));
        this.arm(at, cx)
    }

    /// Arms it in `self.shard`. Only called on one that is pinned, and IDLE.
    fn arm(&mut self, deadline: u64, cx: &mut Context<'_>) -> Poll<()> {
        let Some(shard) = &self.shard else {
            unreachable!("the callers set it")
        };
        // SAFETY: the node is ours, IDLE and pinned; `drop` and `reset` disarm it (INV-3).
        match unsafe { shard.arm(&self.node, deadline, cx.waker().clone()) } {
            Ok(()) => Poll::Pending,
            Err(_waker) => gone(),
        }
    }

    /// Chooses the shard, and says when the timer is due by the clock of the driver; `None` if it is.
    fn place(&mut self, driver: &IoDriver) -> Option<u64> {
        let at = match self.deadline {
            Due::Now(_) => return None,
            Due::Never => NEVER,
            Due::At(at) if at <= driver.now() => return None,
            Due::At(at) | Due::Ahead(at) => driver.nanos(at),
        };
        self.shard = Some(Arc::clone(
            driver.timers().shard(heist_core::context::shard()),
        ));
        Some(at)
    }

    /// Sets another deadline. Who waits keeps waiting, now for that one; a timer that had fired is armed by its next
    /// poll.
    pub fn reset(self: Pin<&mut Self>, deadline: Due) {
        // SAFETY: nothing is moved out of it; it stays pinned.
        let this = unsafe { self.get_unchecked_mut() };
        this.deadline = deadline;
        // ORDERING(timer-state): pairs with the store in `take_due`: after that one, nobody touches the node.
        match (this.node.state.load(Acquire), &this.shard) {
            (ARMED, Some(shard)) => {
                let at = match deadline {
                    Due::Never => NEVER,
                    Due::Now(at) | Due::Ahead(at) | Due::At(at) => shard.nanos(at),
                };
                // SAFETY: it is ours, pinned, and was armed in this shard.
                unsafe { shard.rearm(&this.node, at) };
            }
            // ORDERING(timer-state): it is ours alone.
            (FIRED, _) => this.node.state.store(IDLE, Relaxed),
            _ => {}
        }
    }

    /// Makes it IDLE, whatever it was. Returns the waker if somebody waited.
    ///
    /// # Safety
    ///
    /// The timer does not fire meanwhile for anybody but the caller, who owns it.
    unsafe fn disarm(&mut self) -> Option<Waker> {
        // ORDERING(timer-state): pairs with the store in `take_due`: after that one, nobody touches the node.
        if self.node.state.load(Acquire) != ARMED {
            // ORDERING(timer-state): it is ours alone.
            self.node.state.store(IDLE, Relaxed);
            return None;
        }
        let shard = self.shard.as_ref()?;
        // SAFETY: it is ours, and was armed there (INV-1).
        unsafe { shard.disarm(&self.node) }
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        // SAFETY: it is ours.
        let waker = unsafe { self.disarm() };
        drop(waker);
    }
}

#[cold]
#[track_caller]
fn gone() -> ! {
    panic!("{RuntimeGone}")
}

#[cfg(test)]
mod tests;

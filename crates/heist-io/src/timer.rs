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

mod wheel;

use crate::context;
use crate::driver::IoDriver;
use crate::sync::{
    Acquire, Arc, AtomicU8, AtomicU64, Mutex, Relaxed, Release, full_fence, mutated,
};
use crate::wake::WakeList;
use heist_core::error::RuntimeGone;
use std::fmt;
use std::marker::PhantomPinned;
use std::pin::Pin;
use std::ptr::NonNull;
use std::task::{Context, Poll, Waker};
use std::time::Instant;
use wheel::{Entry, Wheel};

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
            full_fence();
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
            shard.state.lock().closed = true;
            shard.fire(NEVER, GONE);
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

/// One wheel. On cache lines of its own: each worker arms and cancels in its own shard nearly always.
#[derive(Debug)]
#[repr(align(128))]
pub struct Shard {
    state: Mutex<State>,
    /// INV-4. Written under the lock.
    next: AtomicU64,
    alarm: Arc<Alarm>,
}

#[derive(Debug)]
struct State {
    wheel: Wheel,
    closed: bool,
}

impl Shard {
    fn new(alarm: &Arc<Alarm>) -> Self {
        let state = Mutex::new(State {
            wheel: Wheel::new(),
            closed: false,
        });
        Self {
            state,
            next: AtomicU64::new(NEVER),
            alarm: Arc::clone(alarm),
        }
    }

    /// An instant as the wheel counts it. 584 years are as good as never.
    fn nanos(&self, at: Instant) -> u64 {
        nanos_since(self.alarm.epoch, at)
    }

    /// Links the entry; `Err` if the runtime is gone.
    ///
    /// # Safety
    ///
    /// The caller owns the node, its state is IDLE, and it stays alive and in its place until it is disarmed here, or
    /// read as FIRED or GONE (INV-3).
    unsafe fn arm(&self, node: &Node, deadline: u64, waker: Waker) -> Result<(), Waker> {
        let earlier = {
            let mut state = self.state.lock();
            if state.closed {
                return Err(waker);
            }
            // ORDERING(timer-state): the lock publishes it; before this nobody else knew the node.
            node.state.store(ARMED, Relaxed);
            // SAFETY: IDLE, so linked nowhere (INV-1); the caller keeps it in place.
            unsafe {
                state
                    .wheel
                    .insert(NonNull::from(&node.entry), deadline, waker)
            };
            self.note(&state.wheel)
        };
        if earlier {
            self.rang(deadline);
        }
        Ok(())
    }

    /// Unlinks the entry if it still is in the wheel, and makes it IDLE.
    ///
    /// # Safety
    ///
    /// The caller owns the node, and armed it here.
    unsafe fn disarm(&self, node: &Node) -> Option<Waker> {
        let mut state = self.state.lock();
        // SAFETY: the caller owns it, so it is alive; INV-1 names this wheel as the only one.
        let waker = unsafe { state.wheel.remove(NonNull::from(&node.entry)) };
        // ORDERING(timer-state): the lock orders it; nobody else knows the node any more.
        node.state.store(IDLE, Relaxed);
        self.note(&state.wheel);
        waker
    }

    /// Moves an armed entry to another deadline. One that fired meanwhile becomes IDLE; its waiter has been woken.
    ///
    /// # Safety
    ///
    /// As for [`disarm`](Self::disarm).
    unsafe fn rearm(&self, node: &Node, deadline: u64) {
        let entry = NonNull::from(&node.entry);
        let earlier = {
            let mut state = self.state.lock();
            // SAFETY: the caller owns it, so it is alive; INV-1 names this wheel as the only one.
            let Some(waker) = (unsafe { state.wheel.remove(entry) }) else {
                if !state.closed {
                    // ORDERING(timer-state): the lock orders it; nobody else knows the node any more.
                    node.state.store(IDLE, Relaxed);
                }
                return;
            };
            // SAFETY: it was just unlinked, and stays in place as before.
            unsafe { state.wheel.insert(entry, deadline, waker) };
            self.note(&state.wheel)
        };
        if earlier {
            self.rang(deadline);
        }
    }

    /// Replaces the waker of an armed entry. Returns what has to be dropped, without the lock.
    ///
    /// # Safety
    ///
    /// As for [`disarm`](Self::disarm).
    unsafe fn set_waker(&self, node: &Node, waker: &Waker) -> Option<Waker> {
        let entry = NonNull::from(&node.entry);
        let same = |stored: &mut Option<Waker>| {
            stored.as_ref().is_none_or(|stored| stored.will_wake(waker))
        };
        // SAFETY: the caller owns the node, and it is in no other wheel.
        if unsafe { self.state.lock().wheel.waker(entry, same) } {
            return None;
        }
        // A clone is the user's code: not under the lock. If the timer fires meanwhile, the clone comes back.
        let clone = waker.clone();
        // SAFETY: as above.
        unsafe {
            self.state.lock().wheel.waker(entry, |stored| match stored {
                Some(stored) => Some(std::mem::replace(stored, clone)),
                None => Some(clone),
            })
        }
    }

    /// Fires what is due, a batch at a time, so that nobody waits long for the lock.
    fn fire(&self, now: u64, to: u8) -> usize {
        let mut woken = 0;
        loop {
            let mut wakers = WakeList::new();
            let more = self.take_due(now, to, &mut wakers);
            woken += wakers.wake_all();
            if !more {
                return woken;
            }
        }
    }

    fn take_due(&self, now: u64, to: u8, wakers: &mut WakeList) -> bool {
        let mut state = self.state.lock();
        let mut more = true;
        for _ in 0..BATCH {
            let Some((entry, waker)) = state.wheel.pop_due(now) else {
                more = false;
                break;
            };
            wakers.extend(waker);
            // SAFETY: the entry was linked until now, so its node is alive and its owner cannot get past the lock.
            let node = unsafe { Node::of(entry) };
            // SAFETY: as above. The last touch (INV-2).
            let state = unsafe { &(*node).state };
            // ORDERING(timer-state): pairs with the owner's Acquire load.
            state.store(to, Release);
        }
        self.note(&state.wheel);
        more
    }

    /// Writes `next` after a change. Returns whether it became earlier.
    fn note(&self, wheel: &Wheel) -> bool {
        let next = wheel.next_deadline().unwrap_or(NEVER);
        // ORDERING(timer-alarm): only written under the lock, which the caller holds.
        let was = self.next.load(Relaxed);
        if next != was {
            // ORDERING(timer-alarm): the fence in `rang` orders it for the sleeper.
            self.next.store(next, Relaxed);
        }
        next < was
    }

    /// Wakes the sleeper if it would sleep past `deadline`.
    fn rang(&self, deadline: u64) {
        if !mutated("timer-no-fence") {
            full_fence();
        }
        // ORDERING(timer-alarm): the fence above orders `next` before it; pairs with the fence in `before_sleep`.
        if deadline < self.alarm.published.load(Relaxed) {
            (self.alarm.wake)();
        }
    }
}

/// An instant as a wheel counts it that began at `epoch`.
pub(crate) fn nanos_since(epoch: Instant, at: Instant) -> u64 {
    u64::try_from(at.saturating_duration_since(epoch).as_nanos()).unwrap_or(NEVER)
}

/// What others see of a timer.
#[derive(Debug)]
#[repr(C)]
struct Node {
    entry: Entry,
    state: AtomicU8,
}

impl Node {
    /// # Safety
    ///
    /// `entry` is the first field of a node.
    unsafe fn of(entry: NonNull<Entry>) -> *const Self {
        entry.as_ptr().cast_const().cast()
    }
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

// SAFETY: the raw pointers are in `node`, which other threads reach through the wheel only, under its lock; what it
// holds besides is a `Waker`, which is `Send`.
unsafe impl Send for Timer {}
// SAFETY: `&Timer` gives the deadline and an atomic state only.
unsafe impl Sync for Timer {}

impl Timer {
    pub fn new(deadline: Due) -> Self {
        let node = Node {
            entry: Entry::new(),
            state: AtomicU8::new(IDLE),
        };
        Self {
            node,
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
        // ORDERING(timer-state): as in `poll`.
        matches!(self.deadline, Due::Now(_)) || self.node.state.load(Acquire) == FIRED
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
        let deadline = match placed {
            Some(Some(deadline)) => deadline,
            Some(None) => return Poll::Ready(()),
            None => context::no_runtime("sleep"),
        };
        let Some(shard) = &this.shard else {
            unreachable!("`place` sets it")
        };
        // SAFETY: the node is ours, IDLE and pinned; `drop` and `reset` disarm it (INV-3).
        match unsafe { shard.arm(&this.node, deadline, cx.waker().clone()) } {
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

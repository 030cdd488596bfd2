//! One wheel under its lock: arming, cancelling and firing. States and invariants are those of `timer`.

use super::wheel::{Entry, Wheel};
use super::{ARMED, Alarm, BATCH, GONE, IDLE, NEVER, nanos_since};
use crate::sync::SeqCst;
use crate::sync::{Arc, AtomicU8, AtomicU64, Mutex, Relaxed, Release, fence, mutated};
use crate::wake::WakeList;
use std::ptr::NonNull;
use std::task::Waker;
use std::time::Instant;

/// One wheel. On cache lines of its own: each worker arms and cancels in its own shard nearly always.
#[derive(Debug)]
#[repr(align(128))]
pub struct Shard {
    state: Mutex<State>,
    /// INV-4. Written under the lock.
    pub(super) next: AtomicU64,
    alarm: Arc<Alarm>,
}

#[derive(Debug)]
struct State {
    wheel: Wheel,
    closed: bool,
}

impl Shard {
    pub(super) fn new(alarm: &Arc<Alarm>) -> Self {
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
    pub(super) fn nanos(&self, at: Instant) -> u64 {
        nanos_since(self.alarm.epoch, at)
    }

    /// Links the entry; `Err` if the runtime is gone.
    ///
    /// # Safety
    ///
    /// The caller owns the node, its state is IDLE, and it stays alive and in its place until it is disarmed here, or
    /// read as FIRED or GONE (INV-3).
    pub(super) unsafe fn arm(&self, node: &Node, deadline: u64, waker: Waker) -> Result<(), Waker> {
        let earlier = {
            let mut state = self.state.lock();
            if state.closed {
                return Err(waker);
            }
            // ORDERING(timer-state): the lock publishes it; before this nobody else knew the node.
            node.state.store(ARMED, Relaxed);
            // SAFETY: IDLE, so linked nowhere (INV-1); the caller keeps it in place.
            unsafe { state.wheel.insert(node.entry(), deadline, waker) };
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
    pub(super) unsafe fn disarm(&self, node: &Node) -> Option<Waker> {
        let mut state = self.state.lock();
        // SAFETY: the caller owns it, so it is alive; INV-1 names this wheel as the only one.
        let waker = unsafe { state.wheel.remove(node.entry()) };
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
    pub(super) unsafe fn rearm(&self, node: &Node, deadline: u64) {
        let entry = node.entry();
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
    pub(super) unsafe fn set_waker(&self, node: &Node, waker: &Waker) -> Option<Waker> {
        let entry = node.entry();
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

    /// Nothing can be armed any more; what waits is woken and finds out.
    pub(super) fn close(&self) {
        self.state.lock().closed = true;
        self.fire(NEVER, GONE);
    }

    /// Fires what is due, a batch at a time, so that nobody waits long for the lock.
    pub(super) fn fire(&self, now: u64, to: u8) -> usize {
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
            if !mutated("timer-fired-untold") {
                state.store(to, Release);
            }
        }
        if !mutated("timer-fired-unnoted") {
            self.note(&state.wheel);
        }
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
            fence(SeqCst);
        }
        // ORDERING(timer-alarm): the fence above orders `next` before it; pairs with the fence in `before_sleep`.
        if deadline < self.alarm.published.load(Relaxed) {
            (self.alarm.wake)();
        }
    }
}

/// What others see of a timer.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Node {
    entry: Entry,
    pub(super) state: AtomicU8,
}

impl Node {
    pub(super) fn new() -> Self {
        Self {
            entry: Entry::new(),
            state: AtomicU8::new(IDLE),
        }
    }

    /// The entry, by a pointer that leads to the whole node.
    fn entry(&self) -> NonNull<Entry> {
        NonNull::from(self).cast()
    }

    /// # Safety
    ///
    /// `entry` comes from [`entry`](Self::entry).
    unsafe fn of(entry: NonNull<Entry>) -> *const Self {
        entry.as_ptr().cast_const().cast()
    }
}

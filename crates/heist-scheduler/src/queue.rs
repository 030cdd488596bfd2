//! Where runnable tasks wait: three places per worker slot, and one injector.
//!
//! ```text
//!                    ┌──────────── displaced by a spawn ──► stack ──┐
//!  spawn, wake ──► LIFO slot                                  │ newest
//!  on the worker      └──────────── displaced by a wake ──► queue ──┼──► the worker
//!  yield, driver ──────────────────────────────────────────►  │ oldest
//!  any other thread ──► injector ──(batches)───────────────►  │
//!                                                        thieves: oldest of either
//! ```
//!
//! * What a running task makes runnable runs next: its data is warm. It goes to the LIFO slot, and only what it
//!   displaces there goes further. A push into an empty LIFO slot wakes nobody: most often this worker takes the task
//!   a microsecond later, and a wake-up costs five.
//! * Spawned tasks that were displaced are stacked: the owner takes the newest, thieves the oldest. A tree of tasks is
//!   thus walked depth first, with few of them alive at a time, and is stolen near the root.
//! * Everything else waits in the queue, oldest first: what wakes displaced, a task that woke itself while it ran, what
//!   a turn of the driver woke, and what came from the injector.
//! * After [`LIFO_STREAK`](crate::sync::LIFO_STREAK) polls from the slot in a row it is passed over once. Queue and stack have turns, each for as
//!   many polls as it had tasks when its turn began: a task that yields runs again after about those that were ready
//!   before it. The oldest of the stack are moved to the queue every millisecond, for newer ones may keep coming. So
//!   nothing waits for ever.
//! * Past [`LOCAL_CAPACITY`] in the queue more of them go to the injector.
//! * The injector is looked at before each poll, which costs two loads, and has its turn at most every
//!   [`INJECTOR_REST`] polls and between two turns, so that neither a flood from outside starves the rest nor the other way
//!   round, and who yields alone lets go ahead what waits outside.
//!
//! # Invariants
//! * INV-1: a slot's queue and stack are pushed to by the thread that holds its seat, and only inside of the worker
//!   frame.
//! * INV-2: whenever queue or stack are not empty, `stealable` reads `true`. Only the owner writes it, and lowers it only
//!   when it has found both empty, which nobody else fills.
//!
//! # Orderings
//! The queues synchronise by themselves. `stealable` is a hint without an order of its own: the push that raised it is
//! followed by the fence of `Sleep::must_wake`, and a sleeper reads it after its own. Tag: `stealable`.
//!
//! # Dropped
//! One first-in-first-out deque for all: trees are then walked breadth first, a million tasks of
//! `skynet` alive at a time; `fork_join_fib` took twice as long.

use std::cell::Cell;

use heist_core::registry::LocalShard;
use heist_core::task::{Runnable, RunnableSlot};

use crate::activity::Occupant;
use crate::metrics::Counters;
use crate::sync::{
    Arc, AtomicBool, AtomicUsize, CachePadded, Deque, Injector, LOCAL_CAPACITY, Mutex, Relaxed,
    Steal, Stealer,
};

/// One place to work at, as all other threads see it.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) own: CachePadded<Own>,
    pub(crate) queue: Stealer<Runnable>,
    pub(crate) stack: Stealer<Runnable>,
    /// Here while no thread has the slot.
    seat: Mutex<Option<Seat>>,
    /// The thread that has it, or had it last.
    occupant: Mutex<Occupant>,
}

/// The line that the owner writes.
#[derive(Debug)]
pub(crate) struct Own {
    pub(crate) lifo: RunnableSlot,
    /// Odd while a task is being polled. Two equal readings at different times: the owner has not moved on.
    pub(crate) poll_seq: AtomicUsize,
    /// Which task that is, or was: see [`Registry::find`](heist_core::registry::Registry::find).
    pub(crate) polled: AtomicUsize,
    /// Whether thieves may find something in the queue or on the stack.
    pub(crate) stealable: AtomicBool,
    pub(crate) counters: Counters,
}

/// What the owner of a slot has for itself.
#[derive(Debug)]
pub(crate) struct Seat {
    queue: Deque<Runnable>,
    stack: Deque<Runnable>,
    shard: LocalShard,
}

impl Slot {
    pub(crate) fn new(shard: LocalShard) -> Self {
        let (queue, stack) = (Deque::new_fifo(), Deque::new_lifo());
        Self {
            own: CachePadded::new(Own {
                lifo: RunnableSlot::new(),
                poll_seq: AtomicUsize::new(0),
                polled: AtomicUsize::new(0),
                stealable: AtomicBool::new(false),
                counters: Counters::default(),
            }),
            queue: queue.stealer(),
            stack: stack.stealer(),
            seat: Mutex::new(Some(Seat {
                queue,
                stack,
                shard,
            })),
            occupant: Mutex::new(Occupant::default()),
        }
    }

    pub(crate) fn occupy(&self, thread: Occupant) {
        *self.occupant.lock() = thread;
    }

    pub(crate) fn occupant(&self) -> Occupant {
        self.occupant.lock().clone()
    }

    /// Whether thieves find something in the queue or on the stack.
    pub(crate) fn has_stealable(&self) -> bool {
        // ORDERING(stealable): a hint; where it matters, the caller has fenced. Verified, because it stays raised
        // while its owner is stuck and thieves have taken everything.
        self.own.stealable.load(Relaxed) && !(self.queue.is_empty() && self.stack.is_empty())
    }

    pub(crate) fn take_seat(&self) -> Option<Seat> {
        self.seat.lock().take()
    }

    /// Gives the seat back, or drops it: the registry's shard with it.
    pub(crate) fn give_seat(&self, seat: Option<Seat>) {
        let before = std::mem::replace(&mut *self.seat.lock(), seat);
        drop(before);
    }
}

/// What the frame of a worker offers to `Schedule`.
#[derive(Debug)]
pub(crate) struct Local {
    pub(crate) index: usize,
    pub(crate) slot: Arc<Slot>,
    pub(crate) queue: Deque<Runnable>,
    pub(crate) stack: Deque<Runnable>,
    /// Whether the stack may have something in it: only the owner pushes, so that `false` is certain.
    stacked: Cell<bool>,
    pub(crate) shard: LocalShard,
    /// Inside of a turn of the driver: what is woken goes to the deque, and the worker notifies once, afterwards.
    pub(crate) gathering: Cell<bool>,
}

impl Local {
    pub(crate) fn new(index: usize, slot: Arc<Slot>, seat: Seat) -> Self {
        Self {
            index,
            slot,
            queue: seat.queue,
            stack: seat.stack,
            stacked: Cell::new(true),
            shard: seat.shard,
            gathering: Cell::new(false),
        }
    }

    pub(crate) fn into_seat(self) -> Seat {
        Seat {
            queue: self.queue,
            stack: self.stack,
            shard: self.shard,
        }
    }

    /// To the back of the queue. Wakes nobody.
    #[inline]
    pub(crate) fn push(&self, injector: &Injector<Runnable>, runnable: Runnable) {
        if self.queue.len() >= LOCAL_CAPACITY {
            injector.push(runnable);
            return;
        }
        self.push_again(runnable);
    }

    /// The same for a task that was taken from here just before: it makes nothing longer.
    #[inline]
    pub(crate) fn push_again(&self, runnable: Runnable) {
        self.queue.push(runnable);
        self.raise();
    }

    /// How many are on the stack.
    #[inline]
    pub(crate) fn stacked(&self) -> usize {
        if !self.stacked.get() {
            return 0;
        }
        let stacked = self.stack.len();
        self.stacked.set(stacked > 0);
        stacked
    }

    /// On top of the stack. Wakes nobody.
    #[inline]
    pub(crate) fn stack_up(&self, runnable: Runnable) {
        self.stack.push(runnable);
        self.stacked.set(true);
        self.raise();
    }

    /// Tells thieves that this worker is worth a visit.
    #[inline]
    pub(crate) fn raise(&self) {
        if !self.slot.own.stealable.load(Relaxed) {
            // ORDERING(stealable): see the module's documentation.
            self.slot.own.stealable.store(true, Relaxed);
        }
    }

    /// Tells thieves that it is not. The caller has found queue and stack empty.
    #[inline]
    pub(crate) fn lower(&self) {
        if self.slot.own.stealable.load(Relaxed) {
            self.slot.own.stealable.store(false, Relaxed);
        }
    }

    /// Whether there is nothing that thieves could take at once.
    #[inline]
    pub(crate) fn is_bare(&self) -> bool {
        self.queue.is_empty() && self.stack.is_empty()
    }

    /// Moves what is in the LIFO slot to the queue, where thieves take it at once.
    pub(crate) fn hand_over(&self, injector: &Injector<Runnable>) {
        if let Some(runnable) = self.slot.own.lifo.take() {
            self.push(injector, runnable);
        }
    }

    /// Moves the oldest of the stack to the queue: newer ones may keep coming.
    pub(crate) fn settle(&self) {
        for _ in 0..SETTLED_AT_ONCE {
            match self.slot.stack.steal() {
                Steal::Success(runnable) => self.queue.push(runnable),
                Steal::Retry | Steal::Empty => return,
            }
        }
    }

    /// A fair share of the injector: one to run, the rest into the queue.
    pub(crate) fn take_injected(
        &self,
        injector: &Injector<Runnable>,
        workers: usize,
    ) -> Option<Runnable> {
        let room = LOCAL_CAPACITY.saturating_sub(self.queue.len()).max(1);
        let share = injector.len() / workers + 1;
        let limit = share.min(LARGEST_BATCH).min(room);
        loop {
            match injector.steal_batch_with_limit_and_pop(&self.queue, limit) {
                Steal::Success(runnable) => {
                    if !self.queue.is_empty() {
                        self.raise();
                    }
                    return Some(runnable);
                }
                Steal::Empty => return None,
                Steal::Retry => {}
            }
        }
    }
}

/// Tasks that are moved from one queue to another at a time, at most.
pub(crate) const LARGEST_BATCH: usize = 128;

/// Polls between two turns of the injector while there is other work.
pub(crate) const INJECTOR_REST: u32 = 3;

/// Tasks that are moved from the bottom of the stack to the queue at a time.
const SETTLED_AT_ONCE: usize = 32;

//! How workers fall asleep and who wakes them. The protocol and its proof are in `README.md` beside this file.
//!
//! ```text
//!            try_search                 fall_asleep
//!   busy ───────────────► searching ───────────────► asleep ──┐
//!    ▲ ◄───end_search─────    ▲                         │     │ leave (a turn of the driver brought work,
//!    │                        └───take_sleeper──────────┘     │ the time is over, shutdown)
//!    └─────────────────────────────────────────────────◄──────┘
//! ```
//!
//! The list of sleepers, under a mutex, is the truth about who is asleep; the word in [`counters`] is a summary of it
//! that a busy worker reads without the lock. Sleeping and waking cost microseconds anyway, a lock of 15 ns is nothing
//! beside that. Wake-ups themselves are tokens ([`Parker`], `Driver::unpark`): one that comes too late makes the next
//! sleep of that worker return early, and it goes to sleep again.
//!
//! # Invariants
//! * INV-1: a worker is in the list exactly from `fall_asleep` until it is taken by a waker (who counts it as searching
//!   in the same step) or leaves by itself. A worker that wakes up therefore learns from `leave` which one it was.
//! * INV-2: a worker checks all queues between `fall_asleep` and its sleep. `fall_asleep` ends with a full fence.
//! * INV-3: whoever publishes work calls `must_wake`, which begins with a full fence.
//! * INV-4: at most one sleeper is the watcher, and it is the last of the parked ones to be taken.
//! * INV-5: a worker that falls asleep while another one is awake is the watcher, or there is one. Whoever gets up where
//!   all slept, and leaves work of which it tells nobody, appoints one.
//!
//! # Dropped
//! A state word per worker (empty, notified, parked, parked in the driver): the list entry says where
//! its worker sleeps, and both kinds of bed have a token, so that the word decided nothing.

use std::fmt;

use heist_core::platform::Parker;

use crate::sync::{Arc, AtomicU8, CachePadded, Mutex, Relaxed, full_fence, mutation};

pub(crate) mod counters;
pub(crate) mod models;
pub(crate) mod role;

use counters::{Change, Idle, Snapshot};

/// Where a worker sleeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bed {
    /// On its parker.
    Parker,
    /// In a turn of the driver.
    Driver,
}

/// What became of a worker that wanted to sleep.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rest {
    /// It is in the list. It must look for work once more, then sleep.
    Asleep {
        /// It looks after the driver and after blocked workers: it sleeps for a bounded time only.
        watch: bool,
    },
    /// There are more workers than there should be. It gives its slot back.
    Retire,
}

/// What a waker owes.
#[must_use = "a sleeper that was taken and is not woken is a lost wakeup"]
#[derive(Debug)]
pub(crate) enum Wake {
    /// Nobody has to be woken.
    Nobody,
    /// `Parker::unpark`.
    Parker(Arc<dyn Parker>),
    /// `Driver::unpark`.
    Driver,
    /// A spare thread takes this slot: the waiting one if there is one, else a new one.
    Spare {
        /// The free slot.
        slot: usize,
        /// The thread that waits for one.
        waiting: Option<Arc<Waiting>>,
    },
}

/// A retired thread that waits for a slot.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) parker: Arc<dyn Parker>,
    assigned: Mutex<Option<usize>>,
}

/// The sleepers of one runtime.
pub(crate) struct Sleep {
    idle: CachePadded<Idle>,
    /// A copy of what the list says: `NOBODY`, `WATCHED` or `UNWATCHED`.
    watch: CachePadded<AtomicU8>,
    list: Mutex<List>,
    workers: usize,
}

/// Nobody sleeps.
const NOBODY: u8 = 0;
/// One of those who sleep is the watcher.
const WATCHED: u8 = 1;
/// Somebody sleeps, and nobody is the watcher.
const UNWATCHED: u8 = 2;

struct List {
    asleep: Vec<Sleeper>,
    /// One per slot: the parker of the thread that has it.
    parkers: Vec<Option<Arc<dyn Parker>>>,
    /// Slots that no thread has.
    free: Vec<usize>,
    /// Retired threads.
    waiting: Vec<Arc<Waiting>>,
    /// Threads that have a slot and have not said that they are blocked.
    serving: usize,
    /// Blocked workers in whose place nobody serves yet. Each counts as a sleeper.
    owed: usize,
    /// Blocked workers in whose place nobody can serve, for want of a slot.
    uncovered: usize,
    /// Where blocked workers wait that try again if no thread can be started.
    blocked: Vec<Arc<dyn Parker>>,
    /// Workers more than there should be, because blocked ones have returned.
    excess: usize,
    /// The last attempt to start a thread failed.
    failed: bool,
    closed: bool,
}

#[derive(Clone, Copy)]
struct Sleeper {
    index: usize,
    bed: Bed,
    watch: bool,
}

impl Sleep {
    /// For `slots` slots, none of which has a thread yet, and `workers` threads that should run.
    pub(crate) fn new(slots: usize, workers: usize) -> Self {
        Self {
            idle: CachePadded::new(Idle::new()),
            watch: CachePadded::new(AtomicU8::new(NOBODY)),
            list: Mutex::new(List {
                asleep: Vec::with_capacity(slots),
                parkers: (0..slots).map(|_| None).collect(),
                free: (0..slots).rev().collect(),
                waiting: Vec::new(),
                serving: 0,
                owed: 0,
                uncovered: 0,
                blocked: Vec::new(),
                excess: 0,
                failed: false,
                closed: false,
            }),
            workers,
        }
    }

    /// A free slot for one of the threads that a runtime starts with.
    pub(crate) fn first_slot(&self) -> Option<usize> {
        self.list.lock().free.pop()
    }

    /// The thread that took slot `index` has this parker.
    pub(crate) fn move_in(&self, index: usize, parker: Arc<dyn Parker>) {
        let mut list = self.list.lock();
        list.parkers[index] = Some(parker);
        list.serving += 1;
        list.failed = false;
    }

    /// Both counts, for metrics and decisions that may be wrong.
    pub(crate) fn glance(&self) -> Snapshot {
        self.idle.load()
    }

    /// Whether the caller, who has just published work, has to wake somebody with [`take_sleeper`](Self::take_sleeper).
    #[inline(always)]
    pub(crate) fn must_wake(&self) -> bool {
        // ORDERING(sleep-dekker): the work was written before, the word is read after; `fall_asleep` has the other one.
        full_fence("notify-fence");
        self.idle.load().wants_wake()
    }

    /// Takes one sleeper out of the list and counts it as searching. Prefers parked workers to the one in the driver,
    /// and those to starting another. Unless somebody searches already, or `anyway`.
    ///
    /// A thread that has yet to be started is not counted: nobody may rely on its search before it can look.
    #[cold]
    pub(crate) fn take_sleeper(&self, anyway: bool) -> Wake {
        let mut list = self.list.lock();
        if !anyway && !self.idle.load().wants_wake() {
            return Wake::Nobody;
        }
        let wake = list.take();
        if !matches!(wake, Wake::Nobody) {
            let starts = matches!(wake, Wake::Spare { waiting: None, .. });
            if starts && !mutation("spare-relied-upon") {
                self.idle.change(Change::GET_UP);
            } else if !mutation("taken-uncounted") {
                self.idle.change(Change::GET_UP.and(Change::START_SEARCH));
            }
            self.publish_watch(&list);
        }
        wake
    }

    /// Counts the caller, a busy worker, as searching, unless enough workers are.
    pub(crate) fn try_search(&self) -> bool {
        // The count may be exceeded by a race; it is a throttle, nothing depends on it.
        if !self.idle.load().admits_searcher(self.workers) {
            return false;
        }
        self.idle.change(Change::START_SEARCH);
        true
    }

    /// The caller has found work. Whether it was the last one who searched: it must then look whether there is more,
    /// because whoever published that relied on the search.
    pub(crate) fn end_search(&self) -> bool {
        let before = self.idle.change(Change::STOP_SEARCH);
        debug_assert!(before.searching() > 0, "{before:?}");
        // ORDERING(sleep-dekker): the word is written before, the queues are read after; `must_wake` has the other one.
        full_fence("last-searcher-fence");
        before.searching() == 1
    }

    /// Puts worker `index` into the list. `quiet`: it was the watcher, and the driver needs no watching.
    pub(crate) fn fall_asleep(&self, index: usize, bed: Bed, searching: bool, quiet: bool) -> Rest {
        let mut list = self.list.lock();
        let stop = if searching {
            Change::STOP_SEARCH
        } else {
            Change::FALL_ASLEEP.and(Change::GET_UP)
        };
        // The one in the driver stays: if nobody else is awake, nobody else would go there.
        let rest = if list.excess > 0 && bed == Bed::Parker && !list.closed {
            list.excess -= 1;
            list.serving -= 1;
            list.parkers[index] = None;
            self.idle.change(stop);
            Rest::Retire
        } else {
            let others_awake = list.asleep.len() + 1 < list.serving && !mutation("watch-alone");
            let wanted = others_awake || (bed == Bed::Parker && !quiet);
            let watch = wanted && !list.is_watched();
            list.asleep.push(Sleeper { index, bed, watch });
            self.idle.change(stop.and(Change::FALL_ASLEEP));
            self.publish_watch(&list);
            Rest::Asleep { watch }
        };
        drop(list);
        // ORDERING(sleep-dekker): the word is written before, the queues are read after; `must_wake` has the other one.
        full_fence("sleep-fence");
        rest
    }

    /// Takes worker `index` out of the list. `false`: somebody else did, and counted it as searching.
    pub(crate) fn leave(&self, index: usize) -> bool {
        self.leave_as(index, Change::GET_UP)
    }

    /// The same, and counts it as searching in either case.
    pub(crate) fn leave_searching(&self, index: usize) {
        self.leave_as(index, Change::GET_UP.and(Change::START_SEARCH));
    }

    fn leave_as(&self, index: usize, change: Change) -> bool {
        let mut list = self.list.lock();
        let Some(at) = list
            .asleep
            .iter()
            .position(|sleeper| sleeper.index == index)
        else {
            return false;
        };
        list.asleep.remove(at);
        self.idle.change(change);
        self.publish_watch(&list);
        true
    }

    /// The caller leaves the driver with work. If nobody watches meanwhile, one of the parked workers shall.
    pub(crate) fn ensure_watch(&self) -> Wake {
        // ORDERING(watch-lock): the caller has just left the list. A watcher that retires does so under the list's lock:
        // after that, it sees that somebody is awake, and stays; before that, it is seen here.
        if self.watch.load(Relaxed) == WATCHED || self.idle.load().sleeping() == 0 {
            return Wake::Nobody;
        }
        self.appoint_watcher()
    }

    /// Whether the caller, who is awake and leaves work of which it tells nobody, has to appoint a watcher with
    /// [`ensure_watch`](Self::ensure_watch).
    #[inline(always)]
    pub(crate) fn is_unwatched(&self) -> bool {
        // ORDERING(watch-lock): the caller got up since all slept. Whoever took it out of the list wrote this before.
        self.watch.load(Relaxed) == UNWATCHED && !mutation("watch-unseen")
    }

    /// The caller was taken out of the list. Whether others were awake before it, for whom it may have been the watcher.
    pub(crate) fn leaves_others_unwatched(&self) -> bool {
        self.is_unwatched() && self.idle.load().sleeping() + 1 < self.workers
    }

    #[cold]
    fn appoint_watcher(&self) -> Wake {
        let mut list = self.list.lock();
        if list.is_watched() {
            return Wake::Nobody;
        }
        let Some(at) = list
            .asleep
            .iter()
            .rposition(|sleeper| sleeper.bed == Bed::Parker)
        else {
            drop(list);
            // The one in the driver, or somebody who is owed, will do, and lie down as the watcher once it has found nothing.
            return self.take_sleeper(true);
        };
        // It stays in the list: it wakes up, finds itself still there, and lies down again as the watcher.
        list.asleep[at].watch = true;
        self.publish_watch(&list);
        list.parker(list.asleep[at].index)
    }

    /// Wakes everybody, to make them look at something else than the queues.
    pub(crate) fn wake_all(&self) -> Vec<Wake> {
        let list = self.list.lock();
        let waiting = list
            .waiting
            .iter()
            .map(|waiting| Wake::Parker(Arc::clone(&waiting.parker)));
        list.asleep
            .iter()
            .map(|sleeper| match sleeper.bed {
                Bed::Parker => list.parker(sleeper.index),
                Bed::Driver => Wake::Driver,
            })
            .chain(waiting)
            .collect()
    }

    /// A worker announces that it will block, on this parker. Somebody else shall serve in its place, once there is a
    /// reason. `false`: from now on nobody can, for want of a slot, and somebody should be told.
    pub(crate) fn block(&self, parker: &Arc<dyn Parker>) -> bool {
        let mut list = self.list.lock();
        list.blocked.push(Arc::clone(parker));
        list.serving -= 1;
        if list.excess > 0 {
            list.excess -= 1;
        } else if list.owed < list.free.len() && !list.closed {
            list.owed += 1;
            self.idle.change(Change::FALL_ASLEEP);
        } else {
            list.uncovered += 1;
        }
        list.uncovered != 1 || list.closed
    }

    /// It is back. The one who serves in its place, if there is one, is one too many.
    pub(crate) fn unblock(&self, parker: &Arc<dyn Parker>) {
        let mut list = self.list.lock();
        list.blocked.retain(|other| !Arc::ptr_eq(other, parker));
        list.serving += 1;
        if list.owed > 0 {
            list.owed -= 1;
            self.idle.change(Change::GET_UP);
        } else if list.uncovered > 0 {
            list.uncovered -= 1;
        } else {
            list.excess += 1;
        }
    }

    /// Whether a blocked worker has nobody in its place because no thread could be started.
    pub(crate) fn is_short(&self) -> bool {
        self.list.lock().failed
    }

    /// No thread could be started for the slot that [`Wake::Spare`] named: it is owed again. If that is news, whoever
    /// is blocked is to be woken: they try again by the clock from now on.
    pub(crate) fn spare_failed(&self, slot: usize) -> Option<Vec<Arc<dyn Parker>>> {
        let mut list = self.list.lock();
        list.free.push(slot);
        if list.excess > 0 {
            // The blocked one has returned meanwhile, and has counted the one who does not come as one too many.
            list.excess -= 1;
        } else {
            list.owed += 1;
            self.idle.change(Change::FALL_ASLEEP);
            if mutation("spare-relied-upon") {
                self.idle.change(Change::STOP_SEARCH);
            }
        }
        let news = !std::mem::replace(&mut list.failed, true);
        news.then(|| list.blocked.clone())
    }

    /// A retired thread gives slot `index` back and waits for another one.
    pub(crate) fn retire(&self, index: usize, parker: Arc<dyn Parker>) -> Arc<Waiting> {
        let waiting = Arc::new(Waiting {
            parker,
            assigned: Mutex::new(None),
        });
        let mut list = self.list.lock();
        list.free.push(index);
        list.waiting.push(Arc::clone(&waiting));
        waiting
    }

    /// The slot that a waiting thread was given. `give_up`: it waits no longer if it was given none.
    pub(crate) fn assigned(&self, waiting: &Arc<Waiting>, give_up: bool) -> Option<usize> {
        let mut list = self.list.lock();
        let slot = waiting.assigned.lock().take();
        if slot.is_none() && give_up {
            list.waiting.retain(|other| !Arc::ptr_eq(other, waiting));
        }
        slot
    }

    /// From now on nobody is owed and nobody retires.
    pub(crate) fn close(&self) {
        let mut list = self.list.lock();
        list.closed = true;
        for _ in 0..list.owed {
            self.idle.change(Change::GET_UP);
        }
        list.uncovered += list.owed;
        list.owed = 0;
    }

    fn publish_watch(&self, list: &List) {
        let watch = if list.is_watched() {
            WATCHED
        } else if list.asleep.is_empty() {
            NOBODY
        } else {
            UNWATCHED
        };
        self.watch.store(watch, Relaxed); // ORDERING(watch-lock): see `ensure_watch` and `is_unwatched`.
    }
}

impl List {
    fn is_watched(&self) -> bool {
        self.asleep.iter().any(|sleeper| sleeper.watch)
    }

    fn parker(&self, index: usize) -> Wake {
        self.parkers[index]
            .as_ref()
            .map_or(Wake::Nobody, |parker| Wake::Parker(Arc::clone(parker)))
    }

    fn take(&mut self) -> Wake {
        let last = |wanted: fn(&Sleeper) -> bool| self.asleep.iter().rposition(wanted);
        let at = last(|sleeper| sleeper.bed == Bed::Parker && !sleeper.watch)
            .or_else(|| last(|sleeper| sleeper.bed == Bed::Parker))
            .or_else(|| last(|_| true));
        if let Some(at) = at {
            let sleeper = self.asleep.remove(at);
            return match sleeper.bed {
                Bed::Parker => self.parker(sleeper.index),
                Bed::Driver => Wake::Driver,
            };
        }
        if self.owed == 0 {
            return Wake::Nobody;
        }
        let Some(slot) = self.free.pop() else {
            return Wake::Nobody;
        };
        self.owed -= 1;
        let waiting = self.waiting.pop();
        if let Some(waiting) = &waiting {
            *waiting.assigned.lock() = Some(slot);
        }
        Wake::Spare { slot, waiting }
    }
}

impl fmt::Debug for Sleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Sleep").field(&self.idle.load()).finish()
    }
}

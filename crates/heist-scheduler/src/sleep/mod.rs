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
//! * INV-4: the monitor rests only while every worker that serves is in the list. Whoever leaves the list, or is back from
//!   being blocked, looks afterwards whether it does, and calls it.
//! * INV-5: a worker that is counted as stalled learns that before it sleeps, and as soon as it looks at the clock.
//!
//! # Dropped
//! A state word per worker (empty, notified, parked, parked in the driver): the list entry says where
//! its worker sleeps, and both kinds of bed have a token, so that the word decided nothing.

use std::fmt;

use heist_core::platform::Parker;

use crate::sync::{Arc, AtomicBool, CachePadded, Mutex, Relaxed, full_fence, mutation};

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

/// What became of a worker that wanted to sleep, and whom it has to wake.
#[must_use]
#[derive(Debug)]
pub(crate) enum Rest {
    /// It is in the list. It must look for work once more, then sleep. A spare that is one too many is woken: it retires.
    Asleep(Wake),
    /// There are more workers than there should be. It gives its slot back. If it would have slept in the driver, another one
    /// is woken that can.
    Retire(Wake),
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
    /// Whether the monitor waits to be called. Set under the list's lock.
    monitor_rests: CachePadded<AtomicBool>,
    /// One per slot: a copy of what the list says, for its worker.
    stalled: Box<[AtomicBool]>,
    list: Mutex<List>,
    workers: usize,
}

struct List {
    asleep: Vec<Sleeper>,
    /// How often somebody wanted to sleep.
    falls: u64,
    /// One per slot.
    places: Vec<Place>,
    /// Slots that no thread has.
    free: Vec<usize>,
    /// Threads that have been told to retire and have yet to give their slots back.
    retiring: usize,
    /// Retired threads.
    waiting: Vec<Arc<Waiting>>,
    /// Threads that have a slot and are not blocked.
    serving: usize,
    /// Blocked workers in whose place nobody serves yet. Each counts as a sleeper.
    owed: usize,
    /// Blocked workers in whose place nobody can serve, for want of a slot.
    uncovered: usize,
    /// Somebody was told of that, and not all have been back since.
    told: bool,
    /// Workers more than there should be, because blocked ones have returned.
    excess: usize,
    /// The last attempt to start a thread failed.
    failed: bool,
    closed: bool,
}

/// What is known of the thread that has a slot.
#[derive(Default)]
struct Place {
    parker: Option<Arc<dyn Parker>>,
    /// How often it has said that it is blocked: `block_on` nests.
    announced: usize,
    /// How often that has changed, going round.
    announcements: usize,
    /// The monitor found it in one poll for too long.
    stalled: bool,
}

impl Place {
    fn is_blocked(&self) -> bool {
        self.announced > 0 || self.stalled
    }
}

#[derive(Clone, Copy)]
struct Sleeper {
    index: usize,
    bed: Bed,
}

impl Sleep {
    /// For `slots` slots, none of which has a thread yet, and `workers` threads that should run.
    pub(crate) fn new(slots: usize, workers: usize) -> Self {
        Self {
            idle: CachePadded::new(Idle::new()),
            monitor_rests: CachePadded::new(AtomicBool::new(false)),
            stalled: (0..slots).map(|_| AtomicBool::new(false)).collect(),
            list: Mutex::new(List {
                asleep: Vec::with_capacity(slots),
                falls: 0,
                places: (0..slots).map(|_| Place::default()).collect(),
                free: (0..slots).rev().collect(),
                retiring: 0,
                waiting: Vec::new(),
                serving: 0,
                owed: 0,
                uncovered: 0,
                told: false,
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
        list.places[index].parker = Some(parker);
        list.serving += 1;
        list.failed = false;
    }

    /// Both counts, for metrics and decisions that may be wrong.
    pub(crate) fn glance(&self) -> Snapshot {
        self.idle.load()
    }

    /// How often somebody has fallen asleep or retired, if every thread that serves is in the list.
    pub(crate) fn all_asleep(&self) -> Option<u64> {
        let list = self.list.lock();
        (list.asleep.len() == list.serving).then_some(list.falls)
    }

    /// How many threads have a slot and are neither blocked nor stalled.
    pub(crate) fn serving(&self) -> usize {
        self.list.lock().serving
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

    /// Puts worker `index` into the list.
    pub(crate) fn fall_asleep(&self, index: usize, bed: Bed, searching: bool) -> Rest {
        let mut list = self.list.lock();
        list.falls += 1;
        self.stall_is_over(&mut list, index);
        let stop = if searching {
            Change::STOP_SEARCH
        } else {
            Change::FALL_ASLEEP.and(Change::GET_UP)
        };
        let too_many = list.excess > 0 && !list.closed;
        let is_spare = |index: usize| index >= self.workers || mutation("workers-retire");
        let mut wake = match bed {
            _ if !too_many => Wake::Nobody,
            // A worker that was there from the start stays, and one that stood in goes: work does not wander from thread to thread.
            _ if !is_spare(index) => self.take_one_of(&mut list, is_spare),
            // Somebody else has to be in the driver.
            Bed::Driver => self.take_one_of(&mut list, |other| !is_spare(other)),
            Bed::Parker => Wake::Nobody,
        };
        let can_go = bed == Bed::Parker || !matches!(wake, Wake::Nobody);
        let rest = if too_many && is_spare(index) && can_go {
            list.excess -= 1;
            list.serving -= 1;
            list.retiring += 1;
            list.places[index] = Place::default();
            self.idle.change(stop);
            if list.excess > 0 && bed == Bed::Parker {
                wake = self.take_one_of(&mut list, is_spare);
            }
            Rest::Retire(wake)
        } else {
            list.asleep.push(Sleeper { index, bed });
            self.idle.change(stop.and(Change::FALL_ASLEEP));
            Rest::Asleep(wake)
        };
        drop(list);
        // ORDERING(sleep-dekker): the word is written before, the queues are read after; `must_wake` has the other one.
        full_fence("sleep-fence");
        rest
    }

    /// Takes the last sleeper of those with such an index out of the list, and counts it as searching.
    fn take_one_of(&self, list: &mut List, wanted: impl Fn(usize) -> bool) -> Wake {
        let wake = list.take_last(|sleeper| wanted(sleeper.index));
        if wake.is_some() {
            self.idle.change(Change::GET_UP.and(Change::START_SEARCH));
        }
        wake.unwrap_or(Wake::Nobody)
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
        true
    }

    /// Lets the monitor rest, unless a worker is awake or `needed` says otherwise: it then waits until it is called.
    pub(crate) fn may_rest(&self, needed: impl FnOnce() -> bool) -> bool {
        let list = self.list.lock();
        let all_asleep =
            list.asleep.len() == list.serving && !list.places.iter().any(|p| p.stalled);
        let rests =
            (all_asleep || mutation("monitor-rests-alone")) && !list.is_short() && !needed();
        // ORDERING(monitor-lock): a worker that is in the list now takes the lock when it leaves it, and looks after that.
        self.monitor_rests.store(rests, Relaxed);
        rests
    }

    /// Whether the monitor rests. The caller calls it then, once for all: it has left the list, or has changed what was
    /// `needed` before it took the lock.
    #[inline]
    pub(crate) fn must_call_monitor(&self) -> bool {
        // ORDERING(monitor-lock): see `may_rest`.
        self.monitor_rests.load(Relaxed)
            && self.monitor_rests.swap(false, Relaxed)
            && !mutation("monitor-uncalled")
    }

    /// The same for who has not taken the lock yet.
    pub(crate) fn must_call_monitor_for_news(&self) -> bool {
        let _list = self.list.lock();
        self.must_call_monitor()
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

    /// Worker `index` announces that it will block. Somebody else shall serve in its place, once there is a reason.
    /// `false`: from now on nobody can, for want of a slot, and somebody should be told.
    pub(crate) fn block(&self, index: usize) -> bool {
        let mut list = self.list.lock();
        let place = &mut list.places[index];
        let known = place.is_blocked() || place.parker.is_none();
        place.announced += 1;
        place.announcements = place.announcements.wrapping_add(1);
        if known {
            return true;
        }
        self.cover(&mut list);
        list.uncovered == 0 || !list.shall_tell()
    }

    /// Whether it has announced that it blocks, and how often it has begun or ended to. What it makes runnable meanwhile goes the
    /// way of foreign threads.
    pub(crate) fn announcements(&self, index: usize) -> (bool, usize) {
        let place = &self.list.lock().places[index];
        (place.announced > 0, place.announcements)
    }

    /// It is back. The one who serves in its place, if there is one, is one too many. As
    /// [`must_call_monitor`](Self::must_call_monitor), for it is awake and in no list.
    #[must_use]
    pub(crate) fn unblock(&self, index: usize) -> bool {
        let mut list = self.list.lock();
        let place = &mut list.places[index];
        place.announced -= 1;
        place.announcements = place.announcements.wrapping_add(1);
        if !place.is_blocked() && place.parker.is_some() {
            self.uncover(&mut list);
        }
        self.must_call_monitor()
    }

    /// The monitor finds worker `index` blocked, although it has announced nothing: `still` tells whether it is in that
    /// very poll. `false`: it has moved on.
    pub(crate) fn stall(&self, index: usize, still: impl FnOnce() -> bool) -> bool {
        let mut list = self.list.lock();
        let place = &list.places[index];
        let asleep = list.asleep.iter().any(|sleeper| sleeper.index == index);
        // It may move on right after this: it looks at `stalled` before it sleeps.
        if list.closed || place.parker.is_none() || place.is_blocked() || asleep || !still() {
            return false;
        }
        list.places[index].stalled = true;
        // ORDERING(stall-lock): a hint for a worker that is busy; under the lock the list itself says it.
        self.stalled[index].store(true, Relaxed);
        self.cover(&mut list);
        true
    }

    /// Whether there is a blocked worker in whose place nobody can serve, for want of a slot.
    pub(crate) fn is_uncovered(&self) -> bool {
        self.list.lock().uncovered > 0
    }

    /// Whether somebody shall be told of that: the first who asks tells.
    pub(crate) fn shall_tell_uncovered(&self) -> bool {
        self.list.lock().shall_tell()
    }

    /// Whether worker `index`, the caller, is counted as stalled, and has to say that it is not.
    #[inline]
    pub(crate) fn is_stalled(&self, index: usize) -> bool {
        self.stalled[index].load(Relaxed) // ORDERING(stall-lock): see `stall`.
    }

    /// It has come out of its poll.
    #[cold]
    pub(crate) fn end_stall(&self, index: usize) {
        let mut list = self.list.lock();
        self.stall_is_over(&mut list, index);
    }

    fn stall_is_over(&self, list: &mut List, index: usize) {
        if !list.places[index].stalled || mutation("stall-never-over") {
            return;
        }
        list.places[index].stalled = false;
        self.stalled[index].store(false, Relaxed); // ORDERING(stall-lock): see `stall`.
        if !list.places[index].is_blocked() {
            self.uncover(list);
        }
    }

    fn cover(&self, list: &mut List) {
        list.serving -= 1;
        if list.excess > 0 {
            list.excess -= 1;
        } else if list.owed < list.places_to_come() && !list.closed {
            list.owed += 1;
            self.idle.change(Change::FALL_ASLEEP);
        } else {
            list.uncovered += 1;
        }
    }

    fn uncover(&self, list: &mut List) {
        list.serving += 1;
        list.told &= list.places.iter().any(Place::is_blocked);
        if list.owed > 0 {
            list.owed -= 1;
            // Nobody has to be started any more.
            list.failed &= list.owed > 0;
            self.idle.change(Change::GET_UP);
        } else if list.uncovered > 0 {
            list.uncovered -= 1;
        } else {
            list.excess += 1;
        }
    }

    /// Whether a blocked worker has nobody in its place because no thread could be started, and nobody sleeps who could be woken.
    pub(crate) fn is_short(&self) -> bool {
        self.list.lock().is_short()
    }

    /// No thread could be started for the slot that [`Wake::Spare`] named: it is owed again. Whether that is news: the
    /// monitor tries again by the clock from now on.
    pub(crate) fn spare_failed(&self, slot: usize) -> bool {
        let mut list = self.list.lock();
        list.free.push(slot);
        if list.excess > 0 {
            // The blocked one has returned meanwhile, and has counted the one who does not come as one too many.
            list.excess -= 1;
            return false;
        }
        if list.closed {
            list.uncovered += 1;
            return false;
        }
        list.owed += 1;
        self.idle.change(Change::FALL_ASLEEP);
        if mutation("spare-relied-upon") {
            self.idle.change(Change::STOP_SEARCH);
        }
        !std::mem::replace(&mut list.failed, true)
    }

    /// A retired thread gives slot `index` back and waits for another one.
    pub(crate) fn retire(&self, index: usize, parker: Arc<dyn Parker>) -> Arc<Waiting> {
        let waiting = Arc::new(Waiting {
            parker,
            assigned: Mutex::new(None),
        });
        let mut list = self.list.lock();
        list.retiring -= 1;
        if list.owed > list.places_to_come() {
            // Somebody has blocked since it gave its place up, and relies on it.
            list.owed -= 1;
            self.idle.change(Change::GET_UP.and(Change::START_SEARCH));
            *waiting.assigned.lock() = Some(index);
        } else {
            list.free.push(index);
            list.waiting.push(Arc::clone(&waiting));
        }
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
}

impl List {
    /// Slots that are free, or will be in a moment.
    fn places_to_come(&self) -> usize {
        if mutation("retiring-uncounted") {
            return self.free.len();
        }
        self.free.len() + self.retiring
    }

    fn shall_tell(&mut self) -> bool {
        !std::mem::replace(&mut self.told, true) && !self.closed
    }

    fn is_short(&self) -> bool {
        self.failed && self.owed > 0 && self.asleep.is_empty()
    }

    fn parker(&self, index: usize) -> Wake {
        self.places[index]
            .parker
            .as_ref()
            .map_or(Wake::Nobody, |parker| Wake::Parker(Arc::clone(parker)))
    }

    fn take_last(&mut self, wanted: impl Fn(&Sleeper) -> bool) -> Option<Wake> {
        let at = self.asleep.iter().rposition(wanted)?;
        let sleeper = self.asleep.remove(at);
        Some(match sleeper.bed {
            Bed::Parker => self.parker(sleeper.index),
            Bed::Driver => Wake::Driver,
        })
    }

    fn take(&mut self) -> Wake {
        let parked = self.take_last(|sleeper| sleeper.bed == Bed::Parker);
        if let Some(wake) = parked.or_else(|| self.take_last(|_| true)) {
            return wake;
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

#[cfg(test)]
mod tests;

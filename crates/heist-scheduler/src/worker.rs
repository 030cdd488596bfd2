//! The loop of a worker: the next runnable, run it, now and then look up, and sleep when there is nothing.
//!
//! ```text
//!          ┌────────────────────────── poll ◄─────────────────────────┐
//!          ▼                                                           │
//!   maintenance due? ─► injector's turn? ─► LIFO slot ─► stack ─► queue ┤
//!   (driver, clock)                                        │ empty     │
//!                                                          ▼           │
//!                                     injector ─► steal (steal.rs) ────┘
//!                                                   │ nothing
//!                                                   ▼
//!                                      sleep in the driver, or on the parker
//! ```
//!
//! *Maintenance* reads the clock, and turns the driver without waiting if nobody is inside it and nobody was for
//! [`DRIVER_INTERVAL`]. It is due after a number of polls that is chosen so that about [`MAINTENANCE_INTERVAL`] goes by:
//! each one measures the polls since the last, and the number at most doubles from one to the next, so that polls that
//! become slow are noticed. It is due at once when another thread has moved the coarse clock on.
//!
//! # Invariants
//! * INV-1: only the thread that runs this loop polls tasks of this slot, and it polls nothing while it is inside of a
//!   blocking call of a task.
//! * INV-2: `searching` tells whether the word in `sleep` counts this worker as searching. It never polls while it
//!   does.

use std::convert::Infallible;
use std::io;
use std::time::{Duration, Instant};

use heist_core::driver::Wait;
use heist_core::error::{ExceptionContext, ExceptionKind};
use heist_core::platform::Parker;
use heist_core::schedule::worker_frame;
use heist_core::task::{Ran, Runnable, TaskRef};

use crate::queue::{INJECTOR_REST, Local, Slot};
use crate::rng::Rng;
use crate::shared::{CLOSING, OPEN, STOPPING, Shared, guarded};
use crate::sleep::{Bed, Rest, Waiting};
use crate::sync::{Arc, LIFO_STREAK, LONGEST_INTERVAL, Relaxed};
use crate::threads::drop_quietly;
use heist_core::context::RuntimeContext;

/// Starts a worker thread on a free slot. `called`: in the place of a blocked worker, by somebody who has counted it as
/// searching.
pub(crate) fn start(shared: &Arc<Shared>, slot: usize, called: bool) -> io::Result<()> {
    let number = shared.workers_started.fetch_add(1, Relaxed);
    let name = format!("{}-{number}", shared.config.thread_name);
    let body = {
        let shared = Arc::clone(shared);
        move || serve(&shared, slot, called)
    };
    shared.threads.start(&shared.config, name, body)
}

/// What a worker thread does: serve on a slot, wait for another one as a spare, and so on.
fn serve(shared: &Arc<Shared>, first: usize, mut called: bool) {
    let parker = shared.platform.parker();
    let mut next = Some(first);
    while let Some(slot) = next {
        next = match serve_on(shared, slot, &parker, called) {
            Leave::Stop => None,
            Leave::Retire => spare(shared, slot, &parker),
        };
        called = true;
    }
    finish(shared);
}

fn serve_on(shared: &Arc<Shared>, index: usize, parker: &Arc<dyn Parker>, called: bool) -> Leave {
    let slot = &shared.slots[index];
    let Some(seat) = slot.take_seat() else {
        // Shutdown takes the seats of free slots away.
        return Leave::Stop;
    };
    shared.slots_used.fetch_max(index + 1, Relaxed);
    shared.sleep.move_in(index, Arc::clone(parker));
    let local = Local::new(index, Arc::clone(slot), seat);
    let leave = worker_frame(shared, &local, index, || {
        Worker::new(shared, &local, &**parker, called).work()
    });
    let seat = local.into_seat();
    slot.give_seat((leave == Leave::Retire).then_some(seat));
    leave
}

/// Waits for a slot, for a bounded time.
fn spare(shared: &Shared, old: usize, parker: &Arc<dyn Parker>) -> Option<usize> {
    let waiting: Arc<Waiting> = shared.sleep.retire(old, Arc::clone(parker));
    let deadline = shared.platform.now() + SPARE_KEEP_ALIVE;
    loop {
        let give_up = shared.phase() == STOPPING || shared.platform.now() >= deadline;
        if let Some(slot) = shared.sleep.assigned(&waiting, give_up) {
            return Some(slot);
        }
        if give_up {
            return None;
        }
        parker.park(Some(deadline));
    }
}

/// The thread ends. The last one leaves nothing in the queues.
fn finish(shared: &Shared) {
    if shared.phase() == STOPPING {
        shared.drop_queued();
        shared.registry.release();
    }
}

/// Why a worker leaves its slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leave {
    /// There are too many workers.
    Retire,
    /// The runtime stops.
    Stop,
}

/// One worker at work on one slot.
pub(crate) struct Worker<'a> {
    pub(crate) shared: &'a Shared,
    counted: &'a Arc<Shared>,
    pub(crate) local: &'a Local,
    pub(crate) slot: &'a Slot,
    parker: &'a dyn Parker,
    pub(crate) rng: Rng,
    /// Polls until maintenance, and how many that were after the last one.
    left: u32,
    interval: u32,
    /// Polls from the LIFO slot in a row.
    streak: u32,
    /// Whether it is the turn of the stack, not of the queue, and for how many more polls.
    stack_turn: bool,
    turn_left: usize,
    /// The injector has its turn once fewer polls than this are left.
    injector_from: u32,
    debug: bool,
    pub(crate) searching: bool,
    phase: u8,
    /// The coarse clock at the last maintenance.
    clock: u32,
    /// The last look at the clock.
    looked: Instant,
    /// When somebody was last known to be in the driver, and how many turns there were then.
    driven: Instant,
    turns: usize,
    /// When the oldest of the stack were last moved to the queue.
    settled: Instant,
    /// As the watcher: turns of the driver at the last round; what to do about the next sleep.
    watched_turns: usize,
    quiet: bool,
    yields_role: bool,
    /// What `poll_seq` of each victim was in the first pass of a search.
    pub(crate) seen: Vec<usize>,
}

impl<'a> Worker<'a> {
    fn new(
        shared: &'a Arc<Shared>,
        local: &'a Local,
        parker: &'a dyn Parker,
        called: bool,
    ) -> Self {
        let now = shared.platform.now();
        Self {
            shared,
            counted: shared,
            local,
            slot: &local.slot,
            parker,
            rng: Rng::new(shared.platform.seed()),
            left: 1,
            interval: 1,
            streak: 0,
            stack_turn: false,
            turn_left: 0,
            injector_from: u32::MAX,
            debug: shared.config.debug,
            searching: called,
            phase: OPEN,
            clock: 0,
            looked: now,
            driven: now,
            turns: 0,
            settled: now,
            watched_turns: 0,
            quiet: false,
            yields_role: false,
            seen: Vec::new(),
        }
    }

    fn work(&mut self) -> Leave {
        let Err(leave) = self.work_until();
        leave
    }

    fn work_until(&mut self) -> Result<Infallible, Leave> {
        if self.searching {
            let runnable = self.find()?;
            self.poll(runnable);
        }
        loop {
            let runnable = match self.next() {
                Some(runnable) => runnable,
                None => self.find()?,
            };
            self.poll(runnable);
        }
    }

    #[inline(always)]
    fn poll(&mut self, runnable: Runnable) {
        let sequence = &self.slot.own.poll_seq;
        let before = sequence.load(Relaxed);
        sequence.store(before.wrapping_add(1), Relaxed);
        let ran = if self.debug {
            self.run_timed(runnable)
        } else {
            runnable.run()
        };
        sequence.store(before.wrapping_add(2), Relaxed);
        if let Ran::Yielded(runnable) = ran {
            self.requeue(runnable);
        }
    }

    /// A task that woke itself goes to the back.
    #[inline(always)]
    fn requeue(&mut self, runnable: Runnable) {
        self.local.push_again(runnable);
        // No fence: this worker takes it again unless it is stuck before, and a worker that falls asleep at this very
        // moment watches (`sleep`, INV-5) while this one is awake.
        if self.shared.sleep.glance().wants_wake() {
            self.offer_yielded();
        }
    }

    /// A task that yielded alone is next here: that is no reason to wake anybody.
    #[cold]
    fn offer_yielded(&mut self) {
        let alone = self.local.queue.len() < 2
            && self.local.stacked() == 0
            && self.slot.own.lifo.is_empty();
        if !alone {
            self.shared.notify();
        }
    }

    /// What this worker has at hand.
    #[inline(always)]
    fn next(&mut self) -> Option<Runnable> {
        if self.left == 0 || self.clock != self.shared.clock() {
            self.maintain();
        }
        self.left -= 1;
        if self.left < self.injector_from && !self.shared.injector.is_empty() {
            if let Some(runnable) = self.next_injected() {
                return Some(runnable);
            }
        }
        if !self.slot.own.lifo.is_empty() && self.streak < LIFO_STREAK {
            if let Some(runnable) = self.slot.own.lifo.take() {
                self.streak += 1;
                self.slot.own.counters.lifo_polls.add(1);
                return Some(runnable);
            }
        }
        self.streak = 0;
        if self.turn_left == 0 {
            self.change_turn();
            if self.turn_left == 0 {
                return self.last_at_hand();
            }
        }
        self.turn_left -= 1;
        let popped = if self.stack_turn {
            self.local.stack.pop()
        } else {
            self.local.queue.pop()
        };
        popped.or_else(|| self.last_at_hand())
    }

    /// Stack and queue have turns. One lasts for as many polls as there were tasks when it began, so that no task
    /// waits for more than were there before it.
    #[inline(always)]
    fn change_turn(&mut self) {
        let (stacked, queued) = (self.local.stacked(), self.local.queue.len());
        self.stack_turn = stacked > 0 && (queued == 0 || !self.stack_turn);
        self.turn_left = if self.stack_turn { stacked } else { queued };
    }

    /// The turn is over early: there is nothing, or thieves were faster.
    #[cold]
    fn last_at_hand(&mut self) -> Option<Runnable> {
        self.turn_left = 0;
        let runnable = self.local.stack.pop().or_else(|| self.local.queue.pop());
        if runnable.is_some() {
            return runnable;
        }
        self.local.lower();
        // It may have been passed over.
        self.slot.own.lifo.take()
    }

    #[cold]
    fn next_injected(&mut self) -> Option<Runnable> {
        self.injector_from = self.left.saturating_sub(INJECTOR_REST);
        let workers = self.shared.config.worker_threads;
        let runnable = self.local.take_injected(&self.shared.injector, workers)?;
        // A task that yielded alone relied on being next; and the rest of the batch is for all.
        if !self.local.is_bare() {
            self.shared.notify();
        }
        Some(runnable)
    }

    /// Looks further, and sleeps, until there is something to poll.
    #[cold]
    fn find(&mut self) -> Result<Runnable, Leave> {
        let mut found = None;
        loop {
            if let Some(runnable) = found.or_else(|| self.search()) {
                self.end_search();
                return Ok(runnable);
            }
            self.sleep()?;
            found = self.look_again();
        }
    }

    #[inline(never)]
    fn look_again(&mut self) -> Option<Runnable> {
        self.next()
    }

    fn end_search(&mut self) {
        if std::mem::take(&mut self.searching) && self.shared.sleep.end_search() && self.more_work()
        {
            self.shared.notify();
        }
    }

    /// Whether there is anything that another worker could do.
    fn more_work(&self) -> bool {
        !self.local.is_bare() || self.shared.has_work()
    }

    #[cold]
    fn maintain(&mut self) {
        let now = self.shared.platform.now();
        self.adapt(now);
        self.looked = now;
        self.clock = self.shared.set_clock(now);
        self.look_at_phase();
        if now.saturating_duration_since(self.settled) >= SETTLE_INTERVAL {
            self.settled = now;
            self.local.settle();
        }
        if !self.local.is_bare() {
            // Nothing relies on it; it bounds the time for which a wrong guess about wake-ups holds.
            self.shared.notify();
        }
        let turns = self.shared.role.turns();
        if turns != self.turns {
            self.turns = turns;
            self.driven = now;
        } else if now.saturating_duration_since(self.driven) >= DRIVER_INTERVAL {
            self.driven = now;
            self.glance_at_driver();
        }
        if self.shared.pool.is_starved() {
            self.shared.pool.retry(self.counted);
        }
    }

    /// Chooses how many polls make up the next interval.
    fn adapt(&mut self, now: Instant) {
        let polls = self.interval - self.left.min(self.interval);
        let took = now.saturating_duration_since(self.looked);
        let each = took.as_nanos() as u64 / u64::from(polls.max(1));
        let wanted = MAINTENANCE_INTERVAL.as_nanos() as u64 / each.max(1);
        let most = LONGEST_INTERVAL.min(self.interval.saturating_mul(2));
        self.interval = u32::try_from(wanted).unwrap_or(u32::MAX).clamp(1, most);
        self.left = self.interval;
        self.injector_from = u32::MAX;
        self.slot.own.counters.busy_ns.add(took.as_nanos() as u64);
    }

    /// One turn of the driver that does not wait, unless somebody is inside.
    fn glance_at_driver(&mut self) {
        if !self.shared.role.try_acquire(self.local.index) {
            return;
        }
        let before = self.local.queue.len();
        self.turn(Wait::Never);
        self.turns = self.shared.role.turns();
        if self.local.queue.len() > before {
            self.shared.notify();
        }
    }

    /// Makes a turn and gives the role back. What it wakes is in the deque afterwards, and nobody was told.
    fn turn(&self, wait: Wait) {
        self.local.gathering.set(true);
        guarded(self.shared, || {
            self.shared.driver.turn(self.local.index, wait)
        });
        self.local.gathering.set(false);
        self.slot.own.counters.driver_turns.add(1);
        self.shared.role.release();
    }

    /// Sees to a phase that the runtime has entered since the last look.
    fn look_at_phase(&mut self) {
        let phase = self.shared.phase();
        if phase == self.phase {
            return;
        }
        self.phase = phase;
        // A spawn of this worker that raced with the close was not in the list that shutdown went through.
        self.local.shard.for_each(|task: TaskRef| {
            if phase == CLOSING {
                task.cancel_with(crate::shutdown::REASON);
            } else {
                task.abort();
            }
        });
    }

    /// Sleeps once, or finds that it should not. Afterwards `searching` says what this worker is counted as.
    fn sleep(&mut self) -> Result<(), Leave> {
        let shared = self.shared;
        self.look_at_phase();
        if self.phase == STOPPING {
            self.end_search();
            self.drop_own();
            return Err(Leave::Stop);
        }
        shared.check_empty();
        let index = self.local.index;
        let bed = if !std::mem::take(&mut self.yields_role) && shared.role.try_acquire(index) {
            Bed::Driver
        } else {
            Bed::Parker
        };
        let quiet = std::mem::take(&mut self.quiet);
        let rest = shared.sleep.fall_asleep(index, bed, self.searching, quiet);
        self.searching = false;
        let Rest::Asleep { watch } = rest else {
            self.leave_bed(bed);
            // Somebody may have relied on this worker's search.
            if shared.has_work() {
                shared.notify();
            }
            return Err(Leave::Retire);
        };
        if shared.has_work() || shared.phase() != self.phase {
            self.leave_bed(bed);
            shared.sleep.leave_searching(index);
            self.searching = true;
            return Ok(());
        }
        self.lie(bed, watch);
        Ok(())
    }

    fn leave_bed(&self, bed: Bed) {
        if bed == Bed::Driver {
            self.shared.role.release();
        }
    }

    fn lie(&mut self, bed: Bed, watch: bool) {
        let shared = self.shared;
        let now = shared.platform.now();
        self.slot.own.counters.parks.add(1);
        self.slot.own.counters.busy_ns.add(since(self.looked, now));
        let bounded = watch || shared.pool.is_starved();
        let deadline = bounded.then(|| now + WATCH_PERIOD);
        match bed {
            Bed::Driver => self.turn(deadline.map_or(Wait::Forever, Wait::Until)),
            Bed::Parker => self.parker.park(deadline),
        }
        let now = shared.platform.now();
        self.looked = now;
        self.driven = now;
        self.turns = shared.role.turns();
        self.clock = shared.set_clock(now);
        self.interval = INTERVAL_AFTER_SLEEP;
        self.left = INTERVAL_AFTER_SLEEP;
        self.injector_from = u32::MAX;
        let by_itself = shared.sleep.leave(self.local.index);
        self.searching = !by_itself;
        if bed == Bed::Driver {
            self.after_turn();
        } else if by_itself && watch {
            self.watch();
        }
    }

    /// The worker comes out of the driver, perhaps with work.
    fn after_turn(&self) {
        let woken = self.local.queue.len();
        if woken > 1 {
            self.shared.notify();
        }
        if woken > 0 {
            // Nobody is in the driver until the first of these has been polled, however long that takes.
            self.shared.wake(self.shared.sleep.ensure_watch());
        }
    }

    /// One round of the watcher: how shall it sleep next?
    fn watch(&mut self) {
        let turns = self.shared.role.turns();
        let moved = turns != self.watched_turns;
        self.watched_turns = turns;
        let attended = self.shared.role.is_held();
        // Somebody goes in and out of the driver all the time: it would only change places with this worker.
        self.yields_role = moved && !attended;
        self.quiet = attended && !moved && !self.shared.pool.is_starved();
        if self.shared.pool.is_starved() {
            self.shared.pool.retry(self.counted);
        }
    }

    /// Times the poll, in debug mode.
    #[cold]
    fn run_timed(&self, runnable: Runnable) -> Ran {
        let task = runnable.task_ref();
        let before = self.shared.platform.now();
        let ran = runnable.run();
        let took = self.shared.platform.now().saturating_duration_since(before);
        if took >= self.shared.config.slow_poll_threshold {
            let name = task.name();
            let message = format!("a poll took {took:?}");
            let exception = ExceptionContext::new(ExceptionKind::Runtime, &message);
            self.shared
                .report(&exception.with_task(task.id(), &name, task.spawn_location()));
        }
        ran
    }

    /// Ends what this worker has left, without polling it. Dropping may wake more.
    fn drop_own(&self) {
        while let Some(runnable) = self
            .slot
            .own
            .lifo
            .take()
            .or_else(|| self.local.stack.pop().or_else(|| self.local.queue.pop()))
        {
            drop_quietly(runnable);
        }
    }
}

impl Shared {
    /// Ends what is in the queues, without polling it.
    pub(crate) fn drop_queued(&self) {
        while let Some(runnable) = self.take_any() {
            drop_quietly(runnable);
        }
    }

    fn take_any(&self) -> Option<Runnable> {
        crate::steal::take_one(&self.injector).or_else(|| {
            self.used_slots()
                .iter()
                .find_map(|slot| crate::steal::rob(slot))
        })
    }
}

fn since(before: Instant, now: Instant) -> u64 {
    now.saturating_duration_since(before).as_nanos() as u64
}

/// Between two looks at the clock, about.
const MAINTENANCE_INTERVAL: Duration = Duration::from_micros(60);

/// Between two turns of the driver that do not wait, at least.
const DRIVER_INTERVAL: Duration = Duration::from_micros(250);

/// Between two times that the oldest of the stack are moved to the queue, at least.
const SETTLE_INTERVAL: Duration = Duration::from_millis(1);

/// Polls until the first look at the clock after a sleep.
const INTERVAL_AFTER_SLEEP: u32 = 8;

/// How long the watcher sleeps.
const WATCH_PERIOD: Duration = Duration::from_millis(10);

/// How long a spare thread waits for a slot.
const SPARE_KEEP_ALIVE: Duration = Duration::from_secs(10);

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
//! *Maintenance* goes by the clock (`maintenance.rs`): it turns the driver without waiting if nobody is inside it and nobody was
//! for some time.
//!
//! # Invariants
//! * INV-1: only the thread that runs this loop polls tasks of this slot, and it polls nothing while it is inside of a
//!   blocking call of a task.
//! * INV-2: `searching` tells whether the word in `sleep` counts this worker as searching. It never polls while it
//!   does.

use std::convert::Infallible;
use std::time::Instant;

use heist_core::context::RuntimeContext;
use heist_core::error::{ExceptionContext, ExceptionKind};
use heist_core::platform::Parker;
use heist_core::task::{Ran, Runnable};

use crate::config::Config;
use crate::queue::{INJECTOR_REST, Local, Slot};
use crate::rng::Rng;
use crate::shared::{OPEN, Shared};
use crate::sync::{LIFO_STREAK, Relaxed};

mod maintenance;
mod rest;
mod thread;

pub(crate) use thread::start;

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
    /// What `poll_seq` of each victim was in the first pass of a search.
    pub(crate) seen: Vec<usize>,
}

impl<'a> Worker<'a> {
    fn new(shared: &'a Shared, local: &'a Local, parker: &'a dyn Parker, called: bool) -> Self {
        let now = shared.platform.now();
        Self {
            shared,
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
            seen: Vec::new(),
        }
    }

    fn work(&mut self) -> Leave {
        let Err(leave) = self.work_until();
        leave
    }

    fn work_until(&mut self) -> Result<Infallible, Leave> {
        if self.searching {
            // It comes in the place of a blocked one: timers and I/O have waited for long enough.
            self.glance_at_driver();
            let runnable = match self.look_again() {
                Some(runnable) => {
                    self.end_search();
                    runnable
                }
                None => self.find()?,
            };
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
        let own = &self.slot.own;
        // For the monitor, which has seen the same poll for milliseconds before it reads this.
        own.polled.store(runnable.address(), Relaxed);
        let sequence = &own.poll_seq;
        let before = sequence.load(Relaxed);
        sequence.store(before.wrapping_add(1), Relaxed);
        let ran = if self.debug {
            run_timed(self.shared, &self.shared.config, runnable)
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
        // No fence: this worker takes it again unless it is stuck before, and then the monitor sees to it.
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
        let injector_due = self.left < self.injector_from || self.turn_left == 0;
        if injector_due && !self.shared.injector.is_empty() {
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
        if self.turn_left == 0 {
            // The round that comes next is not put off by another batch.
            self.change_turn();
        }
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
}

/// Polls a task and reports it if that took too long: debug mode.
#[cold]
pub(crate) fn run_timed(runtime: &dyn RuntimeContext, config: &Config, runnable: Runnable) -> Ran {
    let task = runnable.task_ref();
    let now = || runtime.platform().now();
    let before = now();
    let ran = runnable.run();
    let took = now().saturating_duration_since(before);
    if took >= config.slow_poll_threshold {
        let name = task.name();
        let message = format!("a poll took {took:?}");
        let exception = ExceptionContext::new(ExceptionKind::Runtime, &message);
        runtime.report(&exception.with_task(task.id(), &name, task.spawn_location()));
    }
    ran
}

//! What the threads of one runtime share, and what its tasks and leaf futures ask of it.
//!
//! # Phases
//! ```text
//! OPEN ──shutdown──► CLOSING ──empty, or the grace is over──► STOPPING ──► threads end
//! ```
//! * OPEN: everything goes.
//! * CLOSING: nothing is accepted any more; what is left was asked to cancel, and runs until it has ended.
//! * STOPPING: what is left was aborted; workers empty the queues, which ends it, and go.
//!
//! # Orderings
//! A phase is written before all sleepers are woken, and read by a worker that goes to sleep after it has entered the
//! list of sleepers under the same lock: it either sees the phase or is woken. Tag: `phase`.

use std::any::Any;
use std::fmt;
use std::time::Instant;

use heist_core::context::{Job, RuntimeContext};
use heist_core::driver::Driver;
use heist_core::error::{ExceptionContext, ExceptionKind};
use heist_core::platform::Platform;
use heist_core::registry::{LocalShard, Registry};
use heist_core::schedule::{Schedule, Why};
use heist_core::task::Runnable;

use crate::blocking::{self, Host, Pool};
use crate::call::{Caller, Calls, OnceJob};
use crate::config::Config;
use crate::metrics::{Metrics, WorkerMetrics};
use crate::monitor::Monitor;
use crate::queue::{Local, Slot};
use crate::shutdown;
use crate::sleep::role::Role;
use crate::sleep::{Sleep, Wake};
use crate::stop::Stop;
use crate::sync::{
    self, Acquire, Arc, AtomicU8, AtomicU32, AtomicUsize, Injector, Relaxed, Release, Weak,
    full_fence, mutation,
};
use crate::threads::{self, Threads};

/// The shared half of a [`Scheduler`](crate::scheduler::Scheduler).
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) platform: Arc<dyn Platform>,
    pub(crate) driver: Arc<dyn Driver>,
    pub(crate) role: Role,
    pub(crate) registry: Registry,
    pub(crate) slots: Box<[Arc<Slot>]>,
    /// Slots from here on never had a thread.
    pub(crate) slots_used: AtomicUsize,
    pub(crate) injector: Injector<Runnable>,
    pub(crate) sleep: Sleep,
    pub(crate) monitor: Monitor,
    pub(crate) pool: Pool,
    pub(crate) calls: Calls,
    pub(crate) stop: Stop,
    pub(crate) threads: Arc<Threads>,
    phase: AtomicU8,
    shutdown: AtomicU8,
    /// Milliseconds since the start, as read by some worker not long ago.
    clock_ms: AtomicU32,
    started: Instant,
    /// The process that it was started in.
    process: u32,
    /// Worker threads that were ever started, for their names.
    pub(crate) workers_started: AtomicUsize,
    me: Weak<Shared>,
}

pub(crate) const OPEN: u8 = 0;
pub(crate) const CLOSING: u8 = 1;
pub(crate) const STOPPING: u8 = 2;

const NOT_STARTED: u8 = 0;
const STARTED: u8 = 1;
const FINISHED: u8 = 2;

impl Shared {
    pub(crate) fn new(
        config: Config,
        platform: Arc<dyn Platform>,
        driver: Arc<dyn Driver>,
    ) -> Arc<Self> {
        let count = slot_count(&config);
        let registry = Registry::new(count);
        let slots = (0..count)
            .map(|index| {
                registry
                    .local_shard(index)
                    .expect("nobody has a shard of a new registry")
            })
            .map(|shard| Arc::new(Slot::new(shard)))
            .collect();
        let shared = Arc::new_cyclic(|me| Self {
            role: Role::new(),
            slots,
            slots_used: AtomicUsize::new(0),
            injector: Injector::new(),
            sleep: Sleep::new(count, config.worker_threads),
            monitor: Monitor::new(),
            pool: Pool::new(config.max_blocking_threads, config.blocking_keep_alive),
            calls: Calls::new(),
            stop: Stop::new(),
            threads: Arc::new(Threads::new()),
            phase: AtomicU8::new(OPEN),
            shutdown: AtomicU8::new(NOT_STARTED),
            clock_ms: AtomicU32::new(0),
            started: platform.now(),
            process: sync::process(),
            workers_started: AtomicUsize::new(0),
            me: Weak::clone(me),
            registry,
            config,
            platform,
            driver,
        });
        shared.registry.anchor(&shared);
        shared
    }

    /// Work was published: wakes somebody to look for it, if nobody looks.
    #[inline(always)]
    pub(crate) fn notify(&self) {
        if self.sleep.must_wake() {
            self.wake_one();
        }
    }

    /// The caller is awake, and has left the list of sleepers: the monitor shall be, too.
    #[inline]
    pub(crate) fn call_monitor(&self) {
        if self.sleep.must_call_monitor() {
            self.monitor.call();
        }
    }

    #[cold]
    fn wake_one(&self) {
        self.wake(self.sleep.take_sleeper(false));
    }

    /// Does what a waker owes.
    pub(crate) fn wake(&self, wake: Wake) {
        match wake {
            Wake::Nobody => {}
            Wake::Parker(parker) => parker.unpark(),
            Wake::Driver => self.driver.unpark(),
            Wake::Spare {
                waiting: Some(waiting),
                ..
            } => waiting.parker.unpark(),
            Wake::Spare {
                slot,
                waiting: None,
            } => self.start_spare(slot),
        }
    }

    fn start_spare(&self, slot: usize) {
        // Whoever wakes works for a runtime that lives.
        let Some(shared) = self.me.upgrade() else {
            return;
        };
        if let Err(error) = crate::worker::start(&shared, slot) {
            let news = self.sleep.spare_failed(slot);
            self.call_monitor_for_news();
            if news {
                self.report(&ExceptionContext::new(
                    ExceptionKind::Runtime,
                    &format!("nobody serves in the place of a blocked worker: {error}"),
                ));
            }
        }
    }

    /// Something has happened that the monitor sees to.
    fn call_monitor_for_news(&self) {
        if self.sleep.must_call_monitor_for_news() {
            self.monitor.call();
        }
    }

    pub(crate) fn wake_all(&self) {
        for wake in self.sleep.wake_all() {
            self.wake(wake);
        }
        self.monitor.call();
    }

    /// Whether there is work that a worker who is about to sleep would miss. The caller has fenced.
    pub(crate) fn has_work(&self) -> bool {
        !self.injector.is_empty() || self.used_slots().iter().any(|slot| slot.has_stealable())
    }

    /// The slots that may have something in them.
    pub(crate) fn used_slots(&self) -> &[Arc<Slot>] {
        // A slot is counted before its first push, and the push is published by fences or by the queue.
        &self.slots[..self.slots_used.load(Relaxed)]
    }

    /// No thread serves on a free slot any more, and its part of the registry is given back.
    pub(crate) fn take_seats(&self) {
        for slot in &self.slots {
            slot.give_seat(None);
        }
    }

    /// How many workers are inside of a poll.
    pub(crate) fn polls_under_way(&self) -> usize {
        let odd = |slot: &&Arc<Slot>| slot.own.poll_seq.load(Relaxed) % 2 == 1;
        self.used_slots().iter().filter(odd).count()
    }

    pub(crate) fn phase(&self) -> u8 {
        // ORDERING(phase): pairs with the store in `enter_phase`.
        self.phase.load(Acquire)
    }

    pub(crate) fn enter_phase(&self, phase: u8) {
        // ORDERING(phase): what was done before, such as the close of the registry, is seen by who sees the phase.
        self.phase.store(phase, Release);
        self.wake_all();
    }

    /// Whether this is a child that was forked while it ran: its threads are the parent's, and so is the state of its locks.
    pub(crate) fn is_inherited(&self) -> bool {
        sync::process() != self.process
    }

    /// `false`: somebody has.
    pub(crate) fn start_shutdown(&self) -> bool {
        // Relaxed is right: only one of several callers may win, and the phase orders the rest.
        self.shutdown
            .compare_exchange(NOT_STARTED, STARTED, Relaxed, Relaxed)
            .is_ok()
    }

    /// Shutdown has done all that it does.
    pub(crate) fn finish_shutdown(&self) {
        // ORDERING(shutdown-finished): pairs with the load in `is_finished`.
        let order = if mutation("finish-relaxed") {
            Relaxed
        } else {
            Release
        };
        self.shutdown.store(FINISHED, order);
        // ORDERING(late-dekker): the end is written before, the queues are read after; `schedule_remote` has the other one.
        full_fence("finish-fence");
        self.drop_queued();
    }

    pub(crate) fn is_finished(&self) -> bool {
        // ORDERING(shutdown-finished): pairs with the store in `finish_shutdown`.
        self.shutdown.load(Acquire) == FINISHED
    }

    /// The caller ran out of work, or ended a task that no worker runs. While closing: is it all over?
    pub(crate) fn check_empty(&self) {
        // ORDERING(empty-dekker): each thread writes its own count of ended tasks, fences, and reads the others': of
        // two that end the last two tasks, one sees both gone. Shutdown writes the phase, fences, and reads the counts: it
        // sees the last one gone, or who ended that sees the phase.
        full_fence("empty-fence");
        if self.phase() == OPEN {
            return;
        }
        if self.registry.is_empty() {
            self.threads.gate.signal();
        }
    }

    /// Makes `now` the time by which ages are counted.
    pub(crate) fn set_clock(&self, now: Instant) -> u32 {
        let ms = now.saturating_duration_since(self.started).as_millis() as u32;
        if self.clock_ms.load(Relaxed) != ms {
            self.clock_ms.store(ms, Relaxed);
        }
        ms
    }

    /// The time as of the last look at the clock.
    #[inline(always)]
    pub(crate) fn clock(&self) -> u32 {
        self.clock_ms.load(Relaxed)
    }

    pub(crate) fn metrics(&self) -> Metrics {
        let idle = self.sleep.glance();
        let (blocking_threads, idle_blocking_threads, queued_blocking) = self.pool.counts();
        Metrics {
            workers: self
                .used_slots()
                .iter()
                .map(|slot| worker_metrics(slot))
                .collect(),
            injector_depth: self.injector.len(),
            live_tasks: self.registry.len(),
            sleeping_workers: idle.sleeping(),
            searching_workers: idle.searching(),
            blocking_threads,
            idle_blocking_threads,
            queued_blocking,
            stalls: self.monitor.stalls(),
            stalled: self.monitor.stalled(),
        }
    }
}

fn worker_metrics(slot: &Slot) -> WorkerMetrics {
    let own = &slot.own;
    let sequence = own.poll_seq.load(Relaxed);
    WorkerMetrics {
        polls: (sequence / 2) as u64,
        lifo_polls: own.counters.lifo_polls.get(),
        steals: own.counters.steals.get(),
        stolen_tasks: own.counters.stolen.get(),
        parks: own.counters.parks.get(),
        driver_turns: own.counters.driver_turns.get(),
        busy: std::time::Duration::from_nanos(own.counters.busy_ns.get()),
        queued: slot.queue.len() + slot.stack.len(),
        lifo: !own.lifo.is_empty(),
        polling: sequence % 2 == 1,
    }
}

/// Slots for the workers and for those that serve in the place of blocked ones.
pub(crate) fn slot_count(config: &Config) -> usize {
    config.worker_threads + config.max_spare_workers
}

#[expect(
    unsafe_code,
    reason = "the promises of a scheduler to its tasks; no other unsafe code is in this crate"
)]
// SAFETY: `new` anchors the one registry before anybody has the value; the shards that its frames offer are taken from that
// registry; it stands in an `Arc` of its own and holds no other scheduler. Local tasks are
// never spawned on it.
unsafe impl Schedule for Shared {
    type Local = Local;

    #[inline]
    fn schedule_local(&self, local: &Local, runnable: Runnable, why: Why) {
        if local.gathering.get() {
            local.push(&self.injector, runnable);
            return;
        }
        // Into an empty LIFO slot: this worker takes it next, see the design of `queue`.
        let Some(displaced) = local.slot.own.lifo.swap(runnable) else {
            return;
        };
        match why {
            Why::Spawned => local.stack_up(displaced),
            Why::Woken => local.push(&self.injector, displaced),
        }
        self.notify();
    }

    fn schedule_remote(self: &Arc<Self>, runnable: Runnable, _why: Why) {
        self.injector.push(runnable);
        self.notify();
        // ORDERING(late-dekker): the push was written before `notify`, which fences, the end is read after.
        if self.is_finished() && !mutation("late-push-forgotten") {
            shutdown::sweep(self, &self.config, Self::drop_queued);
        }
    }

    #[inline]
    fn registry(&self) -> &Registry {
        &self.registry
    }

    #[inline]
    fn local_shard(local: &Local) -> &LocalShard {
        &local.shard
    }

    fn context(self: &Arc<Self>) -> Arc<dyn RuntimeContext> {
        Arc::clone(self) as Arc<dyn RuntimeContext>
    }

    #[inline]
    fn clock_ms(&self) -> u32 {
        self.clock()
    }
}

impl RuntimeContext for Shared {
    fn driver(&self) -> &Arc<dyn Driver> {
        &self.driver
    }

    fn platform(&self) -> &Arc<dyn Platform> {
        &self.platform
    }

    fn started(&self) -> Instant {
        self.started
    }

    fn call(&self, job: Job) -> Result<(), Job> {
        let Some(shared) = self.me.upgrade() else {
            return Err(job);
        };
        OnceJob::spawn(&shared, job)
    }

    fn call_blocking(&self, job: Job) -> Result<(), Job> {
        blocking::call(self.me.upgrade(), job)
    }

    fn report(&self, exception: &ExceptionContext<'_>) {
        threads::report(self.config.exception_handler.as_ref(), exception);
    }

    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

impl Host for Shared {
    fn pool(&self) -> &Pool {
        &self.pool
    }

    fn threads(&self) -> &Arc<Threads> {
        &self.threads
    }

    fn config(&self) -> &Config {
        &self.config
    }

    fn task_ended(&self) {
        self.check_empty();
    }

    fn starved(&self) {
        self.call_monitor_for_news();
    }
}

impl Caller for Shared {
    fn calls(&self) -> &Calls {
        &self.calls
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scheduler")
            .field("workers", &self.config.worker_threads)
            .field("tasks", &self.registry.len())
            .field("sleep", &self.sleep)
            .finish_non_exhaustive()
    }
}

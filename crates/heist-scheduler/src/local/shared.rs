//! What the owner of a local scheduler shares with other threads.

use std::any::Any;
use std::fmt;
use std::time::{Duration, Instant};

use heist_core::context::{Job, RuntimeContext};
use heist_core::driver::Driver;
use heist_core::error::{ExceptionContext, drop_quietly};
use heist_core::platform::{Parker, Platform};
use heist_core::registry::{LocalShard, Registry};
use heist_core::schedule::{Schedule, Why};
use heist_core::task::Runnable;

use super::Queue;
use crate::blocking::{self, Host, Pool};
use crate::call::{Caller, Calls, OnceJob};
use crate::config::Config;
use crate::metrics::{Counter, Metrics, WorkerMetrics};
use crate::shutdown;
use crate::steal::take_one;
use crate::sync::{
    self, Arc, AtomicBool, AtomicU32, Injector, Relaxed, ThreadId, Weak, full_fence, mutation,
    thread,
};
use crate::threads::{self, Threads};

pub(crate) struct LocalShared {
    pub(super) config: Config,
    pub(super) platform: Arc<dyn Platform>,
    pub(super) driver: Arc<dyn Driver>,
    pub(crate) registry: Registry,
    pub(crate) inbox: Injector<Runnable>,
    /// The owner sleeps in the driver, or is about to.
    pub(super) asleep: AtomicBool,
    /// The owner has ended it, and looks at the inbox no more.
    ended: AtomicBool,
    /// Somebody asked `run_forever` to return.
    pub(super) stopped: AtomicBool,
    pub(crate) pool: Pool,
    pub(super) calls: Calls,
    pub(super) threads: Arc<Threads>,
    /// The thread that made the scheduler, the only one that can run it.
    pub(super) owner: ThreadId,
    pub(super) clock_ms: AtomicU32,
    pub(super) started: Instant,
    /// The process that it was made in.
    process: u32,
    /// Twice the polls; odd inside of one.
    pub(super) poll_seq: Counter,
    pub(super) lifo_polls: Counter,
    pub(super) parks: Counter,
    pub(super) turns: Counter,
    pub(super) busy_ns: Counter,
    /// Tasks in the queue, and in the LIFO slot, when the last poll began.
    pub(super) queued: Counter,
    pub(super) in_slot: Counter,
    pub(super) me: Weak<LocalShared>,
}

impl LocalShared {
    /// What a new scheduler shares, and the registry's shard of its owner.
    ///
    /// # Panics
    ///
    /// If 65535 runtimes live at once.
    pub(super) fn new(
        config: Config,
        driver: Arc<dyn Driver>,
        platform: Arc<dyn Platform>,
    ) -> (Arc<Self>, LocalShard) {
        let started = platform.now();
        let registry = Registry::new(1);
        let shard = registry
            .local_shard(0)
            .expect("nobody has a shard of a new registry");
        let shared = Arc::new_cyclic(|me| Self {
            pool: Pool::new(config.max_blocking_threads, config.blocking_keep_alive),
            config,
            platform,
            driver,
            registry,
            inbox: Injector::new(),
            asleep: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            calls: Calls::new(),
            threads: Arc::new(Threads::new()),
            owner: thread::current().id(),
            clock_ms: AtomicU32::new(0),
            started,
            process: sync::process(),
            poll_seq: Counter::default(),
            lifo_polls: Counter::default(),
            parks: Counter::default(),
            turns: Counter::default(),
            busy_ns: Counter::default(),
            queued: Counter::default(),
            in_slot: Counter::default(),
            me: Weak::clone(me),
        });
        shared.registry.anchor(&shared);
        (shared, shard)
    }

    pub(super) fn parker(&self) -> Arc<dyn Parker> {
        Arc::new(OwnerParker(Weak::clone(&self.me)))
    }

    /// Whether this is a child that was forked since: what it would wait for in the driver is the parent's.
    pub(super) fn is_inherited(&self) -> bool {
        sync::process() != self.process
    }

    /// Something changed that the owner must not sleep through.
    pub(super) fn unpark(&self) {
        // ORDERING(local-sleep-dekker): what changed was written before, the flag is read after.
        full_fence("local-wake-fence");
        if self.asleep.load(Relaxed) && self.asleep.swap(false, Relaxed) {
            self.driver.unpark();
        }
    }

    /// The owner looks at the inbox for the last time.
    pub(super) fn end(&self) {
        self.ended.store(true, Relaxed);
        // ORDERING(local-late-dekker): the end is written before, the inbox is read after; `schedule_remote` has the other one.
        full_fence("finish-fence");
        self.drop_inbox();
    }

    /// Ends what is left there. A task that is not `Send` and was woken by a thread that got no further is leaked, elsewhere than
    /// on its thread.
    fn drop_inbox(&self) {
        while let Some(runnable) = take_one(&self.inbox) {
            drop_quietly(runnable);
        }
    }

    pub(super) fn set_clock(&self, now: Instant) {
        let ms = now.saturating_duration_since(self.started).as_millis() as u32;
        self.clock_ms.store(ms, Relaxed);
    }

    pub(super) fn metrics(&self) -> Metrics {
        let (blocking_threads, idle_blocking_threads, queued_blocking) = self.pool.counts();
        let asleep = self.asleep.load(Relaxed);
        let sequence = self.poll_seq.get();
        let worker = WorkerMetrics {
            polls: sequence / 2,
            lifo_polls: self.lifo_polls.get(),
            parks: self.parks.get(),
            driver_turns: self.turns.get(),
            busy: Duration::from_nanos(self.busy_ns.get()),
            queued: self.queued.get() as usize,
            lifo: self.in_slot.get() != 0,
            polling: sequence % 2 == 1,
            ..WorkerMetrics::default()
        };
        Metrics {
            workers: vec![worker],
            injector_depth: self.inbox.len(),
            live_tasks: self.registry.len(),
            sleeping_workers: usize::from(asleep),
            searching_workers: 0,
            blocking_threads,
            idle_blocking_threads,
            queued_blocking,
            stalls: 0,
            stalled: Vec::new(),
        }
    }
}

#[expect(
    unsafe_code,
    reason = "the promises of a scheduler to its tasks; no other unsafe code is in this crate"
)]
// SAFETY: `new` anchors the one registry before anybody has the value; the shards that its frames offer are taken from that
// registry; it stands in an `Arc` of its own and holds no other scheduler. Worker frames
// are made by the owner alone, on its thread.
unsafe impl Schedule for LocalShared {
    type Local = Queue;

    fn schedule_local(&self, local: &Queue, runnable: Runnable, why: Why) {
        // New tasks start in the order in which they were spawned.
        if local.gathering.get() || why == Why::Spawned {
            local.push(runnable);
        } else if let Some(displaced) = local.lifo.replace(Some(runnable)) {
            local.push(displaced);
        }
    }

    fn schedule_remote(self: &Arc<Self>, runnable: Runnable, _why: Why) {
        self.inbox.push(runnable);
        self.unpark();
        // ORDERING(local-late-dekker): the push was written before `unpark`, which fences, the end is read after.
        if self.ended.load(Relaxed) && !mutation("late-push-forgotten") {
            shutdown::sweep(self, &self.config, Self::drop_inbox);
        }
    }

    fn registry(&self) -> &Registry {
        &self.registry
    }

    fn local_shard(local: &Queue) -> &LocalShard {
        &local.shard
    }

    fn context(self: &Arc<Self>) -> Arc<dyn RuntimeContext> {
        Arc::clone(self) as Arc<dyn RuntimeContext>
    }

    fn clock_ms(&self) -> u32 {
        self.clock_ms.load(Relaxed)
    }
}

impl RuntimeContext for LocalShared {
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

impl Host for LocalShared {
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
        // ORDERING(local-end-dekker): the count of tasks was written before, the close is read after; `sleep` has the fence
        // between the close and the look at the count. Here it is that of the registry: a task that ends elsewhere than on the
        // owner's thread is followed by one (tag `registry-release-dekker`).
        if self.registry.is_closed() {
            self.unpark();
        }
    }

    fn starved(&self) {
        self.unpark();
    }
}

impl Caller for LocalShared {
    fn calls(&self) -> &Calls {
        &self.calls
    }
}

impl fmt::Debug for LocalShared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalScheduler")
            .field("tasks", &self.registry.len())
            .finish_non_exhaustive()
    }
}

/// Wakes the owner out of its driver. It parks there, not here.
#[derive(Debug)]
struct OwnerParker(Weak<LocalShared>);

impl Parker for OwnerParker {
    fn park(&self, _deadline: Option<Instant>) {
        // Only core's clean-up after a panic comes here, and asks again until its task is over.
        crate::sync::thread::yield_now();
    }

    fn unpark(&self) {
        if let Some(shared) = self.0.upgrade() {
            shared.unpark();
        }
    }
}

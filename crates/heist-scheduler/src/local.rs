//! The scheduler that runs everything on the thread that owns it.
//!
//! It has the same tasks, driver, callbacks and pool for blocking closures as the multi-threaded one, and futures that
//! are not `Send`. Tasks run while the owner is inside of `block_on`, `run_forever` or `shutdown`, and at no other time.
//!
//! ```text
//!  this thread: spawn, wake ──► LIFO slot ──► queue ──┐
//!  other threads: wake ──► inbox ──(batch)────────────┴─► run; between two runs of tasks a turn of the driver
//! ```
//!
//! # Orderings
//! The owner writes `asleep`, fences, looks at the inbox, at its root and at `stopped`, and then sleeps in the driver.
//! Whoever changes one of these does so, fences, and reads `asleep`. Tag: `local-sleep-dekker`.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::io;
use std::marker::PhantomData;
use std::time::{Duration, Instant};

use heist_core::context::{Job, RuntimeContext};
use heist_core::driver::{Driver, Wait};
use heist_core::error::ExceptionContext;
use heist_core::platform::{Parker, Platform};
use heist_core::registry::{LocalShard, Registry};
use heist_core::schedule::{Schedule, Why, with_local, worker_frame};
use heist_core::task::{self, LocalTask, Meta, Ran, Runnable, Task, TaskError, TaskRef};

use crate::block_on::Blocked;
use crate::blocking::{Host, Pool};
use crate::call::{Call, CallHandle, Caller, Calls, OnceJob};
use crate::config::Config;
use crate::metrics::{Counter, Metrics, WorkerMetrics};
use crate::shared::guarded;
use crate::shutdown::{REASON, ShutdownReport, outlived};
use crate::sync::{
    Arc, AtomicBool, AtomicU32, Injector, LIFO_STREAK, LONGEST_INTERVAL, Relaxed, Steal, Weak,
    full_fence,
};
use crate::threads::{self, Threads, drop_quietly};

/// A scheduler whose tasks run on one thread: the one that made it.
pub struct LocalScheduler {
    shared: Arc<LocalShared>,
    queue: Queue,
    not_send: PhantomData<*const ()>,
}

/// A handle of a [`LocalScheduler`], for any thread. Clones are handles of the same one.
#[derive(Clone)]
pub struct LocalHandle {
    shared: Arc<LocalShared>,
}

pub(crate) struct LocalShared {
    config: Config,
    platform: Arc<dyn Platform>,
    driver: Arc<dyn Driver>,
    registry: Registry,
    inbox: Injector<Runnable>,
    /// The owner sleeps in the driver, or is about to.
    asleep: AtomicBool,
    /// Somebody asked `run_forever` to return.
    stopped: AtomicBool,
    pool: Pool,
    calls: Calls,
    threads: Arc<Threads>,
    clock_ms: AtomicU32,
    started: Instant,
    polls: Counter,
    lifo_polls: Counter,
    parks: Counter,
    turns: Counter,
    me: Weak<LocalShared>,
}

/// What only the owner touches.
pub(crate) struct Queue {
    ready: RefCell<VecDeque<Runnable>>,
    lifo: Cell<Option<Runnable>>,
    streak: Cell<u32>,
    /// Inside of a turn of the driver: what is woken goes to the queue, in order.
    gathering: Cell<bool>,
    /// When the driver was last looked at.
    driven: Cell<Instant>,
    shard: LocalShard,
}

impl LocalScheduler {
    /// A scheduler for the calling thread. `driver` is told how many shards it needs.
    ///
    /// # Errors
    ///
    /// A setting is out of its range (see [`Config::validate`]), or `driver` failed.
    ///
    /// # Panics
    ///
    /// If 65535 runtimes live at once.
    pub fn new(
        config: Config,
        driver: impl FnOnce(usize) -> io::Result<Arc<dyn Driver>>,
        platform: Arc<dyn Platform>,
    ) -> io::Result<Self> {
        config.validate()?;
        let driver = driver(1)?;
        let started = platform.now();
        let registry = Registry::new(1);
        let shard = registry
            .local_shard(0)
            .expect("nobody has a shard of a new registry");
        let shared = Arc::new_cyclic(|me| LocalShared {
            pool: Pool::new(config.max_blocking_threads),
            config,
            platform,
            driver,
            registry,
            inbox: Injector::new(),
            asleep: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            calls: Calls::new(),
            threads: Arc::new(Threads::new()),
            clock_ms: AtomicU32::new(0),
            started,
            polls: Counter::default(),
            lifo_polls: Counter::default(),
            parks: Counter::default(),
            turns: Counter::default(),
            me: Weak::clone(me),
        });
        shared.registry.anchor(&shared);
        let queue = Queue {
            ready: RefCell::new(VecDeque::new()),
            lifo: Cell::new(None),
            streak: Cell::new(0),
            gathering: Cell::new(false),
            driven: Cell::new(started),
            shard,
        };
        Ok(Self {
            shared,
            queue,
            not_send: PhantomData,
        })
    }

    /// A handle for any thread.
    #[must_use]
    pub fn handle(&self) -> LocalHandle {
        LocalHandle {
            shared: Arc::clone(&self.shared),
        }
    }

    /// Spawns a task whose body may stay on this thread. It runs inside of the next `block_on`.
    pub fn spawn_local<F>(&self, future: F, meta: Meta) -> LocalTask<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        if with_local(&*self.shared, |_| ()).is_some() {
            return task::spawn_local(&self.shared, future, meta);
        }
        worker_frame(&self.shared, &self.queue, 0, || {
            task::spawn_local(&self.shared, future, meta)
        })
    }

    /// Runs a future on this thread, and the tasks beside it, until it is over.
    ///
    /// # Errors
    ///
    /// The future was cancelled or panicked, or the runtime is shut down.
    ///
    /// # Panics
    ///
    /// Inside of one of its own tasks.
    #[track_caller]
    pub fn block_on<F: Future>(&self, future: F, meta: Meta) -> Result<F::Output, TaskError> {
        self.enter("block_on", || {
            let parker: Arc<dyn Parker> = Arc::new(OwnerParker(Weak::clone(&self.shared.me)));
            task::block_on(&self.shared, future, meta, parker, |root| {
                self.turn(|| !root.is_woken());
            })
        })
    }

    /// Runs tasks until [`LocalHandle::stop`]. One that was called before makes it return after one round.
    ///
    /// # Panics
    ///
    /// Inside of one of its own tasks.
    #[track_caller]
    pub fn run_forever(&self) {
        self.enter("run_forever", || {
            loop {
                self.turn(|| !self.shared.stopped.load(Relaxed));
                if self.shared.stopped.swap(false, Relaxed) {
                    return;
                }
            }
        });
    }

    /// Ends it: cancels what is left, runs it until it has ended or the grace is over, and drops it.
    ///
    /// # Panics
    ///
    /// Inside of one of its own tasks.
    #[track_caller]
    pub fn shutdown(&self, grace: Duration) -> ShutdownReport {
        self.enter("shutdown", || self.shut_down(grace))
    }

    #[track_caller]
    fn enter<R>(&self, what: &str, f: impl FnOnce() -> R) -> R {
        assert!(
            with_local(&*self.shared, |_| ()).is_none(),
            "{what} of a local runtime inside of one of its own tasks: its only thread would wait for itself; \
             await instead, or use a multi-threaded runtime"
        );
        let _blocked = Blocked::announce_current();
        worker_frame(&self.shared, &self.queue, 0, f)
    }

    /// A round of ready tasks and a turn of the driver, which waits if nothing is ready and `may_sleep`.
    fn turn(&self, may_sleep: impl Fn() -> bool) {
        let mut polls = 0;
        while polls < LONGEST_INTERVAL {
            let Some(runnable) = self.next() else { break };
            self.poll(runnable);
            polls += 1;
            if polls % CHECK_INTERVAL == 0 && !may_sleep() {
                break;
            }
        }
        if !self.queue.is_empty() || !may_sleep() {
            let now = self.shared.platform.now();
            self.shared.set_clock(now);
            if now.saturating_duration_since(self.queue.driven.get()) >= DRIVER_INTERVAL {
                self.drive(Wait::Never);
            }
            return;
        }
        self.sleep(may_sleep);
    }

    fn sleep(&self, may_sleep: impl Fn() -> bool) {
        let shared = &*self.shared;
        shared.asleep.store(true, Relaxed);
        // ORDERING(local-sleep-dekker): the flag is written before, what would be slept through is read after.
        full_fence("local-sleep-fence");
        let wait = if shared.inbox.is_empty() && self.queue.is_empty() && may_sleep() {
            shared.parks.add(1);
            if shared.pool.is_starved() {
                Wait::Until(shared.platform.now() + RETRY)
            } else {
                Wait::Forever
            }
        } else {
            Wait::Never
        };
        self.drive(wait);
        shared.asleep.store(false, Relaxed);
        if shared.pool.is_starved() {
            shared.pool.retry(&self.shared);
        }
    }

    fn drive(&self, wait: Wait) {
        self.queue.gathering.set(true);
        guarded(&*self.shared, || self.shared.driver.turn(0, wait));
        self.queue.gathering.set(false);
        self.shared.turns.add(1);
        let now = self.shared.platform.now();
        self.queue.driven.set(now);
        self.shared.set_clock(now);
    }

    fn next(&self) -> Option<Runnable> {
        self.take_inbox();
        if self.queue.streak.get() < LIFO_STREAK || self.queue.ready.borrow().is_empty() {
            if let Some(runnable) = self.queue.lifo.take() {
                self.queue.streak.set(self.queue.streak.get() + 1);
                self.shared.lifo_polls.add(1);
                return Some(runnable);
            }
        } else if let Some(runnable) = self.queue.lifo.take() {
            self.queue.push(runnable);
        }
        self.queue.streak.set(0);
        self.queue.ready.borrow_mut().pop_front()
    }

    /// Moves what other threads have sent to the back of the queue, in order, a bounded number at a time.
    fn take_inbox(&self) {
        for _ in 0..INBOX_BATCH {
            if self.shared.inbox.is_empty() {
                return;
            }
            if let Steal::Success(runnable) = self.shared.inbox.steal() {
                self.queue.push(runnable);
            }
        }
    }

    fn poll(&self, runnable: Runnable) {
        if let Ran::Yielded(runnable) = runnable.run() {
            self.queue.push(runnable);
        }
        self.shared.polls.add(1);
    }

    fn shut_down(&self, grace: Duration) -> ShutdownReport {
        let shared = &*self.shared;
        let begun = shared.platform.now();
        let deadline = begun.checked_add(grace);
        shared.registry.close();
        shared.registry.for_each(|task| {
            task.cancel_with(REASON);
        });
        self.run_until_empty(deadline);
        let left = outlived(&shared.registry);
        shared.registry.for_each(|task| {
            task.abort();
        });
        shared.pool.close();
        while let Some(runnable) = self.next() {
            drop_quietly(runnable);
        }
        let limit = shared.platform.now() + LAST_ROUND;
        shared
            .threads
            .gate
            .wait(&*shared.platform, Some(limit), || {
                shared.threads.running() <= shared.pool.running().len()
            });
        guarded(shared, || shared.driver.shut_down());
        shared.threads.join_ended();
        self.report(begun, left)
    }

    fn run_until_empty(&self, deadline: Option<Instant>) {
        let shared = &*self.shared;
        while !shared.registry.is_empty() {
            if deadline.is_some_and(|at| shared.platform.now() >= at) {
                return;
            }
            while let Some(runnable) = self.next() {
                self.poll(runnable);
                if deadline.is_some_and(|at| shared.platform.now() >= at) {
                    return;
                }
            }
            shared.asleep.store(true, Relaxed);
            // ORDERING(local-sleep-dekker): as in `sleep`; a pool thread that ends a task wakes the owner.
            full_fence("local-sleep-fence");
            if shared.inbox.is_empty() && !shared.registry.is_empty() {
                self.drive(deadline.map_or(Wait::Forever, Wait::Until));
            }
            shared.asleep.store(false, Relaxed);
        }
    }

    fn report(&self, begun: Instant, left: Vec<TaskRef>) -> ShutdownReport {
        let shared = &*self.shared;
        ShutdownReport::new(
            &shared.registry,
            &shared.pool,
            &shared.threads,
            left,
            || shared.platform.now().saturating_duration_since(begun),
        )
    }
}

impl Drop for LocalScheduler {
    fn drop(&mut self) {
        // Its queue goes with it: what was not shut down ends now.
        if !self.shared.registry.is_closed() && with_local(&*self.shared, |_| ()).is_none() {
            self.shutdown(self.shared.config.shutdown_grace);
        }
    }
}

impl LocalHandle {
    /// Spawns a task, from any thread.
    pub fn spawn<F>(&self, future: F, meta: Meta) -> Task<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        task::spawn(&self.shared, future, meta)
    }

    /// Spawns a task whose body may stay on the scheduler's thread.
    ///
    /// # Panics
    ///
    /// Outside of the scheduler's tasks and of its `block_on`.
    #[track_caller]
    pub fn spawn_local<F>(&self, future: F, meta: Meta) -> LocalTask<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        task::spawn_local(&self.shared, future, meta)
    }

    /// Whether this thread is inside of the scheduler's tasks or of its `block_on`.
    #[must_use]
    pub fn is_inside(&self) -> bool {
        with_local(&*self.shared, |_| ()).is_some()
    }

    /// Runs a closure on a thread that may block.
    pub fn spawn_blocking<F, T>(&self, f: F, meta: Meta) -> Task<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        task::spawn_blocking(&self.shared, f, meta, |runnable| {
            self.shared.pool.submit(&self.shared, runnable);
        })
    }

    /// Runs a future as one of the scheduler's roots on this thread, which is not the scheduler's own. The scheduler
    /// does not run meanwhile, unless its thread runs it.
    ///
    /// # Errors
    ///
    /// The future was cancelled or panicked, or the runtime is shut down.
    ///
    /// # Panics
    ///
    /// On the scheduler's own thread, inside of its tasks.
    #[track_caller]
    pub fn block_on<F: Future>(&self, future: F, meta: Meta) -> Result<F::Output, TaskError> {
        assert!(
            !self.is_inside(),
            "block_on of a local runtime inside of one of its own tasks: its only thread would wait for itself; \
             await instead, or use a multi-threaded runtime"
        );
        let blocked = Blocked::announce_current();
        let parker = self.shared.platform.parker();
        let run = || {
            let _entered = heist_core::context::enter(self.shared.context());
            let own = Arc::clone(&parker);
            task::block_on(&self.shared, future, meta, own, |_| parker.park(None))
        };
        let result = if blocked.is_worker() {
            heist_core::schedule::leave_frame(run)
        } else {
            run()
        };
        self.shared.task_ended();
        result
    }

    /// Runs a callback soon. See [`Call`].
    pub fn call_soon(&self, f: impl FnOnce() + Send + 'static) -> CallHandle {
        let (call, handle) = Call::new(f);
        self.call(call);
        handle
    }

    /// Runs a callback soon that was made before.
    pub fn call(&self, call: Call) {
        self.shared.calls.push(&self.shared, call);
    }

    /// Makes `run_forever` return, now or the next time.
    pub fn stop(&self) {
        self.shared.stopped.store(true, Relaxed);
        self.shared.unpark();
    }

    /// All tasks that are not over.
    #[must_use]
    pub fn tasks(&self) -> Vec<TaskRef> {
        self.shared.registry.tasks()
    }

    /// What it has done and what it is doing.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        self.shared.metrics()
    }

    /// The settings that it was made with.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.shared.config
    }

    /// The same runtime, as leaf futures see it.
    #[must_use]
    pub fn context(&self) -> Arc<dyn RuntimeContext> {
        self.shared.context()
    }

    /// The scheduler behind a context. `None`: it is of another kind.
    #[must_use]
    pub fn from_context(context: Arc<dyn RuntimeContext>) -> Option<Self> {
        let shared = context.as_any().downcast::<LocalShared>().ok()?;
        Some(Self { shared })
    }

    /// Whether both are handles of one scheduler.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// Whether new tasks are refused.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.shared.registry.is_closed()
    }
}

impl Queue {
    fn push(&self, runnable: Runnable) {
        self.ready.borrow_mut().push_back(runnable);
    }

    fn is_empty(&self) -> bool {
        let lifo = self.lifo.take();
        let empty = lifo.is_none() && self.ready.borrow().is_empty();
        self.lifo.set(lifo);
        empty
    }
}

impl LocalShared {
    /// Something changed that the owner must not sleep through.
    fn unpark(&self) {
        // ORDERING(local-sleep-dekker): what changed was written before, the flag is read after.
        full_fence("local-wake-fence");
        if self.asleep.load(Relaxed) && self.asleep.swap(false, Relaxed) {
            self.driver.unpark();
        }
    }

    fn set_clock(&self, now: Instant) {
        let ms = now.saturating_duration_since(self.started).as_millis() as u32;
        self.clock_ms.store(ms, Relaxed);
    }

    fn metrics(&self) -> Metrics {
        let (blocking_threads, idle_blocking_threads, queued_blocking) = self.pool.counts();
        let asleep = self.asleep.load(Relaxed);
        let worker = WorkerMetrics {
            polls: self.polls.get(),
            lifo_polls: self.lifo_polls.get(),
            parks: self.parks.get(),
            driver_turns: self.turns.get(),
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
        }
    }
}

impl Schedule for LocalShared {
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
        if self.registry.is_closed() {
            return Err(job);
        }
        OnceJob::spawn(&shared, job);
        Ok(())
    }

    fn call_blocking(&self, job: Job) -> Result<(), Job> {
        let Some(shared) = self.me.upgrade() else {
            return Err(job);
        };
        if self.registry.is_closed() {
            return Err(job);
        }
        let handle = LocalHandle { shared };
        handle.spawn_blocking(job, Meta::caller()).detach();
        Ok(())
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
        if self.registry.is_closed() {
            self.unpark();
        }
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

impl fmt::Debug for LocalScheduler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared.fmt(f)
    }
}

impl fmt::Debug for LocalHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared.fmt(f)
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

/// Polls between two looks whether the root is to be polled.
const CHECK_INTERVAL: u32 = 8;

/// Tasks from other threads that are taken between two polls, at most.
const INBOX_BATCH: usize = 32;

/// Between two turns of the driver that do not wait, at least.
const DRIVER_INTERVAL: Duration = Duration::from_micros(50);

/// Between two attempts to start a thread for blocking closures.
const RETRY: Duration = Duration::from_millis(10);

/// How long shutdown waits for threads after the grace.
const LAST_ROUND: Duration = Duration::from_millis(100);

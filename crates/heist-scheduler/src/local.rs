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

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::io;
use std::marker::PhantomData;
use std::time::{Duration, Instant};

use heist_core::driver::{Driver, Wait};
use heist_core::error::{ExceptionKind, drop_quietly, guarded};
use heist_core::platform::Platform;
use heist_core::registry::LocalShard;
use heist_core::schedule::{with_local, worker_frame};
use heist_core::task::{self, LocalTask, Meta, Ran, Runnable, TaskError, TaskRef};

use crate::block_on::Blocked;
use crate::config::Config;
use crate::shutdown::{REASON, ShutdownReport, outlived};
use crate::sync::{Arc, LIFO_STREAK, LONGEST_INTERVAL, Relaxed, Steal, full_fence};
use crate::worker::run_timed;

mod handle;
mod shared;

pub use handle::LocalHandle;
use shared::LocalShared;

/// A scheduler whose tasks run on one thread: the one that made it.
pub struct LocalScheduler {
    shared: Arc<LocalShared>,
    queue: Queue,
    /// Dropped after the queue, which has a part of the registry.
    _anchored: Anchored,
    not_send: PhantomData<*const ()>,
}

/// What only the owner touches.
pub(crate) struct Queue {
    ready: RefCell<VecDeque<Runnable>>,
    lifo: Cell<Option<Runnable>>,
    streak: Cell<u32>,
    /// The owner is inside of `block_on`, `run_forever` or `shutdown`, however far below on its stack.
    running: Cell<bool>,
    /// Inside of a turn of the driver: what is woken goes to the queue, in order.
    gathering: Cell<bool>,
    /// When the driver was last looked at, and up to when the busy time is counted.
    driven: Cell<Instant>,
    counted: Cell<Instant>,
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
        let (shared, shard) = LocalShared::new(config, driver, platform);
        let queue = Queue {
            ready: RefCell::new(VecDeque::new()),
            lifo: Cell::new(None),
            streak: Cell::new(0),
            running: Cell::new(false),
            gathering: Cell::new(false),
            driven: Cell::new(shared.started),
            counted: Cell::new(shared.started),
            shard,
        };
        Ok(Self {
            _anchored: Anchored(Arc::clone(&shared)),
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
        if self.shared.is_inherited() {
            return Err(task::refuse::<F::Output>(meta));
        }
        self.enter("block_on", || {
            let parker = self.shared.parker();
            task::block_on(&self.shared, future, meta, parker, |root| {
                self.turn(None, || !root.is_woken());
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
        if self.shared.is_inherited() {
            return;
        }
        self.enter("run_forever", || {
            loop {
                self.turn(None, || !self.shared.stopped.load(Relaxed));
                if self.shared.stopped.load(Relaxed) {
                    // Relaxed: two stops at once are one.
                    self.shared.stopped.store(false, Relaxed);
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
            !self.queue.running.get(),
            "{what} of a local runtime inside of one of its own tasks: its only thread would wait for itself; \
             await instead, or use a multi-threaded runtime"
        );
        let _running = Running::begin(&self.queue.running);
        let _blocked = Blocked::announce();
        self.queue.counted.set(self.shared.platform.now());
        worker_frame(&self.shared, &self.queue, 0, f)
    }

    /// A round of ready tasks and a turn of the driver, which waits if nothing is ready and `may_sleep`, at most until then.
    fn turn(&self, until: Option<Instant>, may_sleep: impl Fn() -> bool) {
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
            let now = self.count_busy();
            if now.saturating_duration_since(self.queue.driven.get()) >= DRIVER_INTERVAL {
                self.drive(Wait::Never);
            }
            return;
        }
        self.sleep(until, may_sleep);
    }

    fn sleep(&self, until: Option<Instant>, may_sleep: impl Fn() -> bool) {
        let shared = &*self.shared;
        shared.asleep.store(true, Relaxed);
        // ORDERING(local-sleep-dekker): the flag is written before, what would be slept through is read after.
        // ORDERING(local-end-dekker): so is the count of tasks, once the registry is closed.
        full_fence("local-sleep-fence");
        let wait = if shared.inbox.is_empty() && self.queue.is_empty() && may_sleep() {
            shared.parks.add(1);
            let retry = shared
                .pool
                .is_starved()
                .then(|| shared.platform.now() + RETRY);
            let until = until.into_iter().chain(retry).min();
            until.map_or(Wait::Forever, Wait::Until)
        } else {
            Wait::Never
        };
        self.drive(wait);
        shared.asleep.store(false, Relaxed);
    }

    fn drive(&self, wait: Wait) {
        self.count_busy();
        self.queue.gathering.set(true);
        guarded(ExceptionKind::Waker, Some(&*self.shared), || {
            self.shared.driver.turn(0, wait);
        });
        self.queue.gathering.set(false);
        self.shared.turns.add(1);
        let now = self.shared.platform.now();
        self.queue.driven.set(now);
        self.queue.counted.set(now);
        self.shared.set_clock(now);
        if self.shared.pool.is_starved() {
            self.shared.pool.retry(&self.shared);
        }
    }

    /// Counts the time since the last look at the clock as busy. Returns the time.
    fn count_busy(&self) -> Instant {
        let now = self.shared.platform.now();
        let took = now.saturating_duration_since(self.queue.counted.replace(now));
        self.shared.busy_ns.add(took.as_nanos() as u64);
        self.shared.set_clock(now);
        now
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
        let shared = &*self.shared;
        let (queued, in_slot) = self.queue.lengths();
        shared.queued.set(queued as u64);
        shared.in_slot.set(in_slot as u64);
        shared.poll_seq.add(1);
        let ran = if shared.config.debug {
            run_timed(shared, &shared.config, runnable)
        } else {
            runnable.run()
        };
        shared.poll_seq.add(1);
        if let Ran::Yielded(runnable) = ran {
            self.queue.push(runnable);
        }
    }

    fn shut_down(&self, grace: Duration) -> ShutdownReport {
        let shared = &*self.shared;
        let begun = shared.platform.now();
        let deadline = begun.checked_add(grace);
        shared.registry.close();
        if !shared.is_inherited() {
            shared.registry.for_each(|task| {
                task.cancel_at_the_end(REASON);
            });
            self.run_until_empty(deadline);
        }
        let left = outlived(&shared.registry);
        shared.registry.for_each(|task| {
            task.abort();
        });
        shared.pool.close().into_iter().for_each(drop_quietly);
        while let Some(runnable) = self.next() {
            drop_quietly(runnable);
        }
        if shared.is_inherited() {
            shared.end();
            return self.report(begun, left);
        }
        let last = shared.platform.now() + LAST_ROUND;
        let limit = deadline.map(|deadline| deadline.max(last));
        shared.threads.gate.wait(&*shared.platform, limit, || {
            shared.threads.running() <= shared.pool.under_way(&shared.registry)
        });
        guarded(ExceptionKind::Waker, Some(shared), || {
            shared.driver.shut_down();
        });
        shared.threads.join_ended();
        shared.end();
        self.report(begun, left)
    }

    fn run_until_empty(&self, deadline: Option<Instant>) {
        let shared = &*self.shared;
        let in_time = || deadline.is_none_or(|at| shared.platform.now() < at);
        while !shared.registry.is_empty() && in_time() {
            // A pool thread that ends a task wakes the owner.
            self.turn(deadline, || !shared.registry.is_empty());
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
        if !self.shared.registry.is_closed() && !self.queue.running.get() {
            self.shutdown(self.shared.config.shutdown_grace);
        }
    }
}

/// The registry keeps what is shared until this goes and the last task has ended.
struct Anchored(Arc<LocalShared>);

impl Drop for Anchored {
    fn drop(&mut self) {
        if self.0.registry.is_closed() {
            self.0.registry.release();
        }
    }
}

/// Inside of the frame that runs the scheduler.
struct Running<'a>(&'a Cell<bool>);

impl<'a> Running<'a> {
    fn begin(running: &'a Cell<bool>) -> Self {
        running.set(true);
        Self(running)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

impl Queue {
    fn push(&self, runnable: Runnable) {
        self.ready.borrow_mut().push_back(runnable);
    }

    fn is_empty(&self) -> bool {
        self.lengths() == (0, 0)
    }

    /// Tasks in the queue, and in the LIFO slot.
    fn lengths(&self) -> (usize, usize) {
        let lifo = self.lifo.take();
        let in_slot = usize::from(lifo.is_some());
        self.lifo.set(lifo);
        (self.ready.borrow().len(), in_slot)
    }
}

impl fmt::Debug for LocalScheduler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared.fmt(f)
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

//! A scheduler of one task: its queue is one slot, so that it adds no interleavings of its own.

use heist_core::context::{Job, RuntimeContext};
use heist_core::driver::{Driver, Wait};
use heist_core::error::ExceptionContext;
use heist_core::platform::{Parker, Platform};
use heist_core::registry::{LocalShard, Registry};
use heist_core::schedule::{Schedule, Why, worker_frame};
use heist_core::task::{Ran, Runnable, RunnableSlot};
use loom::sync::Mutex;
use loom::sync::atomic::AtomicBool;
use loom::sync::atomic::Ordering::{Acquire, Release};
use std::any::Any;
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

/// The queue of one task.
pub struct Scheduler {
    slot: RunnableSlot,
    calls: Mutex<VecDeque<Job>>,
    registry: Registry,
    driver: Arc<dyn Driver>,
    platform: Arc<dyn Platform>,
    started: Instant,
    ended: AtomicBool,
}

impl Drop for Scheduler {
    fn drop(&mut self) {
        self.ended.store(true, Release);
    }
}

impl fmt::Debug for Scheduler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scheduler")
    }
}

/// What the frame of the worker offers.
#[derive(Debug)]
pub struct Local(LocalShard);

// SAFETY: `new` anchors its registry, whose shards its frames offer; it is in an `Arc` of its own; its frames are on one thread.
unsafe impl Schedule for Scheduler {
    type Local = Local;

    fn schedule_local(&self, _: &Local, runnable: Runnable, _: Why) {
        assert!(
            self.slot.swap(runnable).is_none(),
            "a task has one runnable"
        );
    }

    fn schedule_remote(self: &Arc<Self>, runnable: Runnable, _: Why) {
        assert!(
            self.slot.swap(runnable).is_none(),
            "a task has one runnable"
        );
        // As a notification would: the task may be over by now, and all others may have let go.
        assert!(!self.ended.load(Acquire), "a use after the end");
    }

    fn registry(&self) -> &Registry {
        &self.registry
    }

    fn local_shard(local: &Local) -> &LocalShard {
        &local.0
    }

    fn context(self: &Arc<Self>) -> Arc<dyn RuntimeContext> {
        Arc::clone(self) as Arc<dyn RuntimeContext>
    }

    fn clock_ms(&self) -> u32 {
        0
    }
}

impl RuntimeContext for Scheduler {
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
        lock(&self.calls).push_back(job);
        Ok(())
    }

    fn call_blocking(&self, job: Job) -> Result<(), Job> {
        self.call(job)
    }

    fn report(&self, exception: &ExceptionContext<'_>) {
        // A panic anywhere fails the model.
        panic!("{exception}");
    }

    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

fn lock<T>(mutex: &Mutex<T>) -> loom::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// A scheduler and the end of it.
#[derive(Clone, Debug)]
pub struct Runtime(pub Arc<Scheduler>);

impl Default for Runtime {
    fn default() -> Self {
        Self::new()
    }
}

impl Runtime {
    /// A scheduler with one worker slot.
    pub fn new() -> Self {
        let scheduler = Arc::new(Scheduler {
            slot: RunnableSlot::new(),
            calls: Mutex::new(VecDeque::new()),
            registry: Registry::new(1),
            driver: Arc::new(Nothing),
            platform: Arc::new(Nothing),
            started: Instant::now(),
            ended: AtomicBool::new(false),
        });
        scheduler.registry.anchor(&scheduler);
        Self(scheduler)
    }

    /// Queues a runnable.
    pub fn submit(&self, runnable: Runnable) {
        assert!(
            self.0.slot.swap(runnable).is_none(),
            "a task has one runnable"
        );
    }

    /// Runs the task once if it is queued, on a thread that is no worker. Puts it back if it yields.
    pub fn run_once(&self) -> bool {
        let Some(runnable) = self.0.slot.take() else {
            return false;
        };
        if let Ran::Yielded(again) = runnable.run() {
            assert!(self.0.slot.swap(again).is_none(), "a task has one runnable");
        }
        true
    }

    /// The same inside of a worker's frame.
    pub fn run_once_as_worker(&self) -> bool {
        self.frame(|| self.run_once())
    }

    /// Calls `f` inside of a worker's frame.
    pub fn frame<R>(&self, f: impl FnOnce() -> R) -> R {
        let local = Local(
            self.0
                .registry
                .local_shard(0)
                .expect("one worker at a time"),
        );
        worker_frame(&self.0, &local, 0, f)
    }

    /// Runs everything that is queued, calls included.
    pub fn run_all(&self) {
        loop {
            let call = lock(&self.0.calls).pop_front();
            match call {
                Some(call) => call(),
                None if self.run_once() => {}
                None => return,
            }
        }
    }

    /// Takes the runtime down.
    pub fn close(&self) {
        self.0.registry.close();
        assert!(self.0.registry.release(), "a task is left");
    }
}

#[derive(Debug)]
struct Nothing;

impl Driver for Nothing {
    fn turn(&self, _: usize, _: Wait) -> usize {
        0
    }

    fn unpark(&self) {}

    fn next_deadline(&self) -> Option<Instant> {
        None
    }

    fn advance(&self, _: usize) -> usize {
        0
    }

    fn shut_down(&self) {}

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Parker for Nothing {
    fn park(&self, _: Option<Instant>) {
        loom::thread::yield_now();
    }

    fn unpark(&self) {}
}

impl Platform for Nothing {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn parker(&self) -> Arc<dyn Parker> {
        Arc::new(Nothing)
    }

    fn seed(&self) -> u64 {
        1
    }
}

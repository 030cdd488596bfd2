//! The multi-threaded scheduler, as the facade sees it.

use std::fmt;
use std::future::Future;
use std::io;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use heist_core::context::{self, RuntimeContext};
use heist_core::driver::Driver;
use heist_core::platform::Platform;
use heist_core::schedule::{self, Schedule};
use heist_core::task::{self, Meta, Task, TaskError, TaskRef};

use crate::block_on;
use crate::blocking;
use crate::call::{Call, CallHandle, Kept};
use crate::config::Config;
use crate::metrics::Metrics;
use crate::monitor;
use crate::shared::{Shared, slot_count};
use crate::shutdown::{self, ShutdownReport};
use crate::sync::Arc;
use crate::worker;

/// A handle of a multi-threaded scheduler. Clones are handles of the same one.
///
/// The scheduler does not end with its handles: [`shutdown`](Scheduler::shutdown) ends it.
#[derive(Clone)]
pub struct Scheduler {
    pub(crate) shared: Arc<Shared>,
}

impl Scheduler {
    /// Starts the workers. `driver` is told how many shards it needs.
    ///
    /// # Errors
    ///
    /// A setting is out of its range (see [`Config::validate`]), `driver` failed, or a thread could not be started: the
    /// system's error with the thread's name. What was started is stopped.
    ///
    /// # Panics
    ///
    /// If 65535 runtimes live at once.
    pub fn start(
        config: Config,
        driver: impl FnOnce(usize) -> io::Result<Arc<dyn Driver>>,
        platform: Arc<dyn Platform>,
    ) -> io::Result<Self> {
        config.validate()?;
        let driver = driver(slot_count(&config))?;
        let workers = config.worker_threads;
        let shared = Shared::new(config, platform, driver);
        for _ in 0..workers {
            let slot = shared
                .sleep
                .first_slot()
                .expect("there are at least as many slots as workers");
            if let Err(error) = worker::start(&shared, slot) {
                shutdown::undo_start(&shared);
                return Err(error);
            }
        }
        if let Err(error) = monitor::start(&shared) {
            shutdown::undo_start(&shared);
            return Err(error);
        }
        Ok(Self { shared })
    }

    /// Runs a closure that may block on this thread. Inside of a task, another thread serves in the place of its worker meanwhile.
    pub fn block_in_place<R>(f: impl FnOnce() -> R) -> R {
        block_on::blocking(f)
    }

    /// Spawns a task.
    #[inline]
    pub fn spawn<F>(&self, future: F, meta: Meta) -> Task<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        task::spawn(&self.shared, future, meta)
    }

    /// Spawns a task on the scheduler for which this thread works, without counting it.
    ///
    /// # Errors
    ///
    /// Gives the future back if this thread is no worker, or has entered another runtime.
    #[inline]
    pub fn spawn_here<F>(future: F, meta: Meta) -> Result<Task<F::Output>, (F, Meta)>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        schedule::with_scheduler::<Shared, _>(|shared| match shared {
            Some(shared) => Ok(task::spawn(shared, future, meta)),
            None => Err((future, meta)),
        })
    }

    /// Runs a closure on a thread that may block.
    pub fn spawn_blocking<F, T>(&self, f: F, meta: Meta) -> Task<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        blocking::spawn(&self.shared, f, meta)
    }

    /// Runs a future on this thread and waits for it. Anywhere, also inside of a task.
    ///
    /// # Errors
    ///
    /// The future was cancelled or panicked, or the runtime is shut down.
    pub fn block_on<F: Future>(&self, future: F, meta: Meta) -> Result<F::Output, TaskError> {
        if self.shared.is_inherited() {
            return Err(task::refuse::<F::Output>(meta));
        }
        block_on::block_on(&self.shared, future, meta)
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

    /// Keeps a callback that was made before until it is due. The caller has the timer.
    pub fn keep_call(&self, when: Instant, call: Call) -> Kept {
        self.shared.calls.keep(when, call)
    }

    /// Runs soon what was kept and is not due later than this one.
    pub fn release_calls(&self, key: Kept) {
        self.shared.calls.release(&self.shared, key);
    }

    /// Drops what was kept and has not been released.
    pub fn forget_call(&self, key: Kept) {
        self.shared.calls.forget(key);
    }

    /// Ends one [`poll_stopped`](Scheduler::poll_stopped), now or the next time.
    pub fn stop(&self) {
        self.shared.stop.stop();
    }

    /// Waits for a [`stop`](Scheduler::stop), and takes it.
    pub fn poll_stopped(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.shared.stop.poll(cx)
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

    /// The settings that it was started with.
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
        let shared = context.as_any().downcast::<Shared>().ok()?;
        Some(Self { shared })
    }

    /// The scheduler that this thread is in.
    #[must_use]
    pub fn current() -> Option<Self> {
        context::try_current().and_then(Self::from_context)
    }

    /// Whether new tasks are refused.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.shared.registry.is_closed()
    }

    /// Ends it: see [`ShutdownReport`]. Inside of one of its own tasks it starts that, and waits for nothing.
    pub fn shutdown(&self, grace: Duration) -> ShutdownReport {
        shutdown::shutdown(&self.shared, grace)
    }
}

impl fmt::Debug for Scheduler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared.fmt(f)
    }
}

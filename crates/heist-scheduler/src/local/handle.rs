//! What any thread may ask of a scheduler that runs on one thread.

use std::fmt;
use std::future::Future;
use std::time::Instant;

use heist_core::context::RuntimeContext;
use heist_core::schedule::{Schedule, with_frame};
use heist_core::task::{self, LocalTask, Meta, Task, TaskError, TaskRef};

use super::shared::LocalShared;
use crate::block_on::block_on;
use crate::blocking;
use crate::call::{Call, CallHandle, Kept};
use crate::config::Config;
use crate::metrics::Metrics;
use crate::sync::{Arc, Relaxed, thread};

/// A handle of a [`LocalScheduler`](super::LocalScheduler), for any thread. Clones are handles of the same one.
#[derive(Clone)]
pub struct LocalHandle {
    pub(crate) shared: Arc<LocalShared>,
}

impl LocalHandle {
    /// The scheduler that runs on this thread right now, whatever other runtime is entered.
    #[must_use]
    pub fn running() -> Option<Self> {
        with_frame::<LocalShared, _>(|shared, _| Self {
            shared: Arc::clone(shared),
        })
    }

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

    /// Whether this is the only thread that can run the scheduler.
    #[must_use]
    pub fn is_owner(&self) -> bool {
        thread::current().id() == self.shared.owner
    }

    /// Runs a closure on a thread that may block.
    pub fn spawn_blocking<F, T>(&self, f: F, meta: Meta) -> Task<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        blocking::spawn(&self.shared, f, meta)
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
    /// On the scheduler's own thread, unless it is shut down.
    #[track_caller]
    pub fn block_on<F: Future>(&self, future: F, meta: Meta) -> Result<F::Output, TaskError> {
        assert!(
            !self.is_owner() || self.shared.registry.is_closed(),
            "block_on by a handle, on the thread of a local runtime: its only thread would wait for itself; await inside of \
             its tasks, or call block_on of the LocalRuntime"
        );
        block_on(&self.shared, future, meta)
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

    /// Whether new tasks are refused.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.shared.registry.is_closed()
    }
}

impl fmt::Debug for LocalHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared.fmt(f)
    }
}

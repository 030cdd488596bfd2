//! Runtimes: event loops with threads of their own, or on the calling thread.
//!
//! A [`Runtime`] is owned, and ends with its owner. A [`Handle`] is the shared view of one: it is cloned into other threads,
//! and does not keep the runtime from ending. A [`LocalRuntime`] has no thread but the one that drives it.
//!
//! ```
//! use std::time::Duration;
//!
//! # fn main() -> std::io::Result<()> {
//! let runtime = heist::Runtime::builder().worker_threads(2).build()?;
//! let handle = runtime.handle().clone();
//! std::thread::spawn(move || handle.spawn(async { println!("from another thread") }));
//! let report = runtime.shutdown(Duration::from_secs(1));
//! println!("{report:?}");
//! # Ok(())
//! # }
//! ```

mod builder;
mod handle;
mod local;
pub(crate) mod watch;

use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use heist_core::task::Meta;
use heist_io::virtual_time::set_probe;
use heist_scheduler::{Scheduler, SystemPlatform};

use crate::shim;
use crate::task::{Scope, Task};
use handle::Engine;
pub(crate) use handle::output;

pub use crate::global::BuildGlobalError;
pub use builder::{Builder, EnvironmentError};
pub use handle::{EnterGuard, Handle};
pub use heist_core::error::{ExceptionContext, ExceptionKind, RuntimeGone};
pub use heist_scheduler::{
    Activity, CallHandle, ConfigError, Metrics, ShutdownReport, Stall, Syscall, WorkerMetrics,
};
pub use local::LocalRuntime;

/// What a fuzzer tries.
#[cfg(fuzzing)]
#[doc(hidden)]
pub fn workers_of(value: &std::ffi::OsStr) -> Result<usize, EnvironmentError> {
    builder::workers_of(value)
}

/// An event loop: workers that run tasks, steal them from each other, and share one driver for I/O and timers.
///
/// Dropping it shuts it down with the configured grace: what is left is cancelled, and gets that long for its clean-up. From
/// inside of one of its own tasks the drop starts this and waits for nothing.
///
/// # Examples
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let runtime = heist::Runtime::new()?;
/// let task = runtime.spawn(async { 6 * 7 });
/// assert_eq!(runtime.block_on(task)?, 42);
/// # Ok(())
/// # }
/// ```
///
/// # Counterpart
///
/// The event loop of asyncio, with `asyncio.Runner` for its life. `tokio::runtime::Runtime`.
#[doc(alias = "event loop")]
#[doc(alias = "AbstractEventLoop")]
#[doc(alias = "new_event_loop")]
pub struct Runtime {
    scheduler: Scheduler,
    handle: Handle,
}

impl Runtime {
    /// Starts a runtime with one worker per available core, or as many as `HEIST_WORKERS` says.
    ///
    /// # Errors
    ///
    /// As [`Builder::build`].
    #[doc(alias = "new_event_loop")]
    pub fn new() -> io::Result<Self> {
        Self::builder().build()
    }

    /// The settings of a runtime that is about to be built.
    pub fn builder() -> Builder {
        Builder::new()
    }

    pub(crate) fn start(config: heist_scheduler::Config, virtual_time: bool) -> io::Result<Self> {
        let platform = Arc::new(SystemPlatform::new());
        let clock = Arc::clone(&platform);
        let driver = |shards| shim::driver(shards, clock, virtual_time);
        let scheduler = Scheduler::start(config, driver, platform)?;
        if virtual_time {
            set_probe(&*scheduler.context(), scheduler.quiet_probe());
        }
        let handle = Handle::new(Engine::Multi(scheduler.clone()));
        Ok(Self { scheduler, handle })
    }

    /// The shared view.
    #[must_use]
    #[doc(alias = "get_running_loop")]
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Runs a future on the calling thread until it is over.
    ///
    /// It is a task: listed, and cancellable. Only the calling thread polls and drops it, so it may borrow and need not be `Send`.
    ///
    /// # Panics
    ///
    /// If `future` panics, with its panic; if it is cancelled, or the runtime is shut down, with the
    /// [`TaskError`](crate::TaskError) as payload.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// let text = String::from("borrowed");
    /// let length = heist::Runtime::new()?.block_on(async { text.len() });
    /// assert_eq!(length, 8);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Counterpart
    ///
    /// `loop.run_until_complete`; `tokio::runtime::Runtime::block_on`. It works inside of tasks, too.
    #[doc(alias = "run_until_complete")]
    #[track_caller]
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.handle.block_on_with(future, Meta::caller())
    }

    /// Spawns a task on this runtime. See [`heist::spawn`](crate::spawn).
    #[doc(alias = "create_task")]
    #[track_caller]
    pub fn spawn<F>(&self, future: F) -> Task<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.handle.spawn_with(future, Meta::caller())
    }

    /// Runs a closure that may block. See [`heist::spawn_blocking`](crate::spawn_blocking).
    #[doc(alias = "run_in_executor")]
    #[track_caller]
    pub fn spawn_blocking<F, T>(&self, f: F) -> Task<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.handle.spawn_blocking_with(f, Meta::caller())
    }

    /// Runs `f`, whose tasks may borrow what is outside of it, and waits for them. See [`Handle::scope`].
    ///
    /// # Panics
    ///
    /// As there.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// let runtime = heist::Runtime::new()?;
    /// let mut words = ["to", "be", "or", "not"];
    /// runtime.scope(|scope| {
    ///     for word in &mut words {
    ///         scope.spawn(async move { *word = "is" });
    ///     }
    /// });
    /// assert_eq!(words, ["is"; 4]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn scope<'env, T>(&self, f: impl for<'scope> FnOnce(Scope<'scope, 'env>) -> T) -> T {
        self.handle.scope(f)
    }

    /// Makes this the runtime that the calling thread is in, until the guard is dropped.
    pub fn enter(&self) -> EnterGuard<'_> {
        self.handle.enter()
    }

    /// Waits until [`Handle::stop`] is called. Tasks run meanwhile, as they do without it.
    ///
    /// A stop that came before is taken, and this returns at once.
    ///
    /// # Counterpart
    ///
    /// `loop.run_forever`. Tasks do not pause after it: they have workers of their own.
    #[track_caller]
    pub fn run_forever(&self) {
        let meta = Meta::caller().named("run_forever");
        self.handle
            .block_on_with(poll_fn(|cx| self.scheduler.poll_stopped(cx)), meta);
    }

    /// Ends the runtime, and says what it left behind.
    ///
    /// Nothing is accepted any more; what is left is cancelled and runs until it has ended, clean-up included, or until `grace` is
    /// over; what is left then is dropped. A blocking closure that runs, and a poll that is stuck, cannot be ended: they are
    /// in the report, and their threads are left behind. So are threads that are in
    /// [`on_thread_stop`](Builder::on_thread_stop) or in a destructor of a thread-local when the time is over.
    ///
    /// From inside of one of its own tasks this starts all that, waits for nothing, and lists the caller.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let runtime = heist::Runtime::new()?;
    /// runtime.spawn(std::future::pending::<()>());
    /// let report = runtime.shutdown(Duration::from_secs(1));
    /// assert!(report.is_clean());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Counterpart
    ///
    /// `loop.close`, `shutdown_default_executor(timeout)`; `tokio::runtime::Runtime::shutdown_timeout`.
    #[doc(alias = "shutdown_timeout")]
    #[doc(alias = "shutdown_default_executor")]
    pub fn shutdown(self, grace: Duration) -> ShutdownReport {
        self.scheduler.shutdown(grace)
        // The drop finds nothing left to do.
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        if self.scheduler.is_closed() {
            return;
        }
        let config = self.scheduler.config();
        let report = self.scheduler.shutdown(config.shutdown_grace);
        if config.debug {
            report_pending(&self.scheduler, &report);
        }
    }
}

/// asyncio's "Task was destroyed but it is pending!".
fn report_pending(scheduler: &Scheduler, report: &ShutdownReport) {
    let runtime = scheduler.context();
    for task in report.tasks.iter().chain(&report.blocking) {
        let name = task.name();
        let message = "the task was pending when its runtime was dropped and the grace was over";
        let exception = ExceptionContext::new(ExceptionKind::Runtime, message);
        runtime.report(&exception.with_task(task.id(), &name, task.spawn_location()));
    }
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Runtime").field(&self.scheduler).finish()
    }
}

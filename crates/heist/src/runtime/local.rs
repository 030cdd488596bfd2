//! A runtime on the calling thread.

use std::fmt;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use heist_core::task::{LocalTask, Meta};
use heist_core::variables::Inherited;
use heist_io::virtual_time::set_probe;
use heist_scheduler::{Config, LocalScheduler, ShutdownReport, SystemPlatform};

use super::handle::{Engine, local_body, output};
use super::{EnterGuard, Handle};
use crate::context::InContext;
use crate::shim;

/// An event loop without threads: its tasks run on the thread that made it, inside of `block_on` and `run_forever`.
///
/// Its tasks may be such that are not `Send`. Others can spawn on it from any thread, through its [`Handle`]. Blocking closures
/// have threads of their own. Dropping it shuts it down as [`Runtime`](super::Runtime) does.
///
/// # Examples
///
/// ```
/// use std::rc::Rc;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let runtime = heist::LocalRuntime::new()?;
/// let shared = Rc::new(7);
/// let task = runtime.spawn_local(async move { *shared });
/// assert_eq!(runtime.block_on(task)?, 7);
/// # Ok(())
/// # }
/// ```
///
/// # Counterpart
///
/// The event loop of asyncio, which has one thread, too. `tokio::runtime::LocalRuntime`, `LocalSet`.
#[doc(alias = "LocalSet")]
#[doc(alias = "current_thread")]
pub struct LocalRuntime {
    scheduler: LocalScheduler,
    handle: Handle,
}

impl LocalRuntime {
    /// Makes a runtime for the calling thread.
    ///
    /// # Errors
    ///
    /// If the reactor cannot be made.
    pub fn new() -> io::Result<Self> {
        super::Builder::new().build_local()
    }

    pub(super) fn start(config: Config, virtual_time: bool) -> io::Result<Self> {
        let platform = Arc::new(SystemPlatform::new());
        let clock = Arc::clone(&platform);
        let driver = |shards| shim::driver(shards, clock, virtual_time);
        let scheduler = LocalScheduler::new(config, driver, platform)?;
        let local = scheduler.handle();
        if virtual_time {
            set_probe(&*local.context(), local.quiet_probe());
        }
        let handle = Handle::new(Engine::Local(local));
        Ok(Self { scheduler, handle })
    }

    /// The shared view, by which other threads spawn here.
    #[must_use]
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Runs the tasks of this runtime until `future` is over.
    ///
    /// # Panics
    ///
    /// If `future` panics, with its panic; if it is cancelled, with the [`TaskError`](crate::TaskError) as payload. Inside of
    /// another `block_on` of this runtime: nobody else could run its tasks meanwhile.
    ///
    /// # Counterpart
    ///
    /// `loop.run_until_complete`.
    #[doc(alias = "run_until_complete")]
    #[track_caller]
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.block_on_with(future, Meta::caller())
    }

    pub(crate) fn block_on_with<F: Future>(&self, future: F, meta: Meta) -> F::Output {
        output(
            self.scheduler
                .block_on(InContext::new(Inherited::here(), future), meta),
        )
    }

    /// Spawns a task that stays on this thread. It begins to run in the next `block_on` or `run_forever`.
    ///
    /// # Counterpart
    ///
    /// `loop.create_task`.
    #[doc(alias = "create_task")]
    #[track_caller]
    pub fn spawn_local<F>(&self, future: F) -> LocalTask<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        match Inherited::here() {
            None => self.scheduler.spawn_local(future, Meta::caller()),
            Some(inherited) => {
                let future = local_body(inherited, future);
                self.scheduler.spawn_local(future, Meta::caller())
            }
        }
    }

    /// Makes this the runtime that the calling thread is in, until the guard is dropped.
    pub fn enter(&self) -> EnterGuard<'_> {
        self.handle.enter()
    }

    /// Runs the tasks of this runtime until [`Handle::stop`] is called.
    ///
    /// A stop that came before is taken: a few tasks that are ready run, and this returns.
    ///
    /// # Panics
    ///
    /// As [`block_on`](LocalRuntime::block_on).
    ///
    /// # Counterpart
    ///
    /// `loop.run_forever`.
    pub fn run_forever(&self) {
        self.scheduler.run_forever();
    }

    /// Ends the runtime, and says what it left behind. See [`Runtime::shutdown`](super::Runtime::shutdown).
    #[doc(alias = "shutdown_default_executor")]
    pub fn shutdown(self, grace: Duration) -> ShutdownReport {
        self.scheduler.shutdown(grace)
    }
}

impl fmt::Debug for LocalRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LocalRuntime")
            .field(&self.scheduler)
            .finish()
    }
}

//! Tasks: spawning them, asking them, cancelling them.
//!
//! A [`Task`] is a future that its runtime runs, and a future of that one's result. It has a name, a state that can be
//! printed, and done-callbacks. Dropping it lets the task go on.
//!
//! ```
//! # fn main() -> Result<(), heist::TaskError> {
//! heist::run(async {
//!     let task = heist::task::Builder::new().name("greeter").spawn(async { "hello" });
//!     task.add_done_callback(|finished| println!("{} is over", finished.name()));
//!     assert_eq!(task.await?, "hello");
//!     Ok(())
//! })
//! # }
//! ```
//!
//! # Cancellation
//!
//! [`Task::cancel`] is a request. Without a catcher the body is dropped at its next scheduling point. [`catch_cancel`]
//! is asyncio's `except CancelledError`: its body is dropped instead, and the code after it may clean up and await, and
//! then goes on or passes the request on with [`Cancelled::resume`].
//!
//! ```
//! use heist::task::catch_cancel;
//!
//! # fn main() -> Result<(), heist::TaskError> {
//! heist::run(async {
//!     let task = heist::spawn(async {
//!         match catch_cancel(std::future::pending::<()>()).await {
//!             Ok(()) => "went through",
//!             Err(_cancelled) => "was asked to end, and did so in good order",
//!         }
//!     });
//!     heist::task::yield_now().await;
//!     task.cancel();
//!     let _ = task.await; // cancelled, if it had not begun
//!     Ok(())
//! })
//! # }
//! ```

mod combine;
mod finalizers;
mod group;
pub(crate) mod scope;
mod token;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use heist_core::task::Meta;
use heist_core::variables;

use crate::runtime::{Handle, output};
use crate::shim;
use heist_scheduler::Scheduler;

pub use heist_core::cancel::{Cancelled, CatchCancel, Resume, catch_cancel};
pub use heist_core::task::{
    CallbackId, CancelOnDrop, Finished, LocalTask, Task, TaskError, TaskId, TaskRef, TaskState,
    current, try_current,
};

pub use combine::{
    AsCompleted, ReturnWhen, Waited, as_completed, gather, race, race_staggered, shield,
    try_gather, wait, wait_for,
};
pub use finalizers::Finalizers;
pub use group::{
    BoxError, Child, ChildError, GroupBuilder, GroupError, Outcome, Policy, Ready, SpawnError,
    StartError, TaskGroup,
};
pub use scope::{Scope, ScopedTask};
pub use token::{CancellationToken, DropGuard};

/// Lets every other ready task run before this one goes on.
///
/// # Cancel safety
///
/// It keeps nothing.
///
/// # Examples
///
/// ```
/// heist::run(async {
///     heist::task::yield_now().await;
/// });
/// ```
///
/// # Counterpart
///
/// `asyncio.sleep(0)`; `tokio::task::yield_now`.
#[doc(alias = "sleep(0)")]
pub fn yield_now() -> YieldNow {
    YieldNow { yielded: false }
}

/// The future of [`yield_now`].
#[derive(Debug)]
#[must_use = "a future does nothing unless it is awaited"]
pub struct YieldNow {
    yielded: bool,
}

impl Future for YieldNow {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if std::mem::replace(&mut self.yielded, true) {
            return Poll::Ready(());
        }
        // A task that wakes itself goes to the back of the queue.
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// Spawns a task: it runs beside the caller from now on.
///
/// On the runtime that this thread is in, else on the process-wide one, which starts on first use.
///
/// # Panics
///
/// If the process-wide runtime is needed and cannot be started.
///
/// # Examples
///
/// ```
/// # fn main() -> Result<(), heist::TaskError> {
/// let task = heist::spawn(async { 6 * 7 });
/// assert_eq!(heist::block_on(task)?, 42);
/// # Ok(())
/// # }
/// ```
///
/// # Counterpart
///
/// `asyncio.create_task`, `ensure_future`, and from other threads `run_coroutine_threadsafe`. The task starts at once, not
/// when the caller awaits next, and the runtime owns it: it goes on without a reference. `tokio::spawn` panics outside
/// of a runtime.
#[doc(alias = "create_task")]
#[doc(alias = "ensure_future")]
#[doc(alias = "run_coroutine_threadsafe")]
#[track_caller]
pub fn spawn<F>(future: F) -> Task<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    Builder::new().spawn_at(future, Meta::caller())
}

/// Runs a closure that may block, on a thread for such closures.
///
/// # Panics
///
/// If the process-wide runtime is needed and cannot be started.
///
/// # Cancel safety
///
/// A closure that already runs cannot be cancelled: [`Task::cancel`] is `false` then.
///
/// # Examples
///
/// ```
/// # fn main() -> Result<(), heist::TaskError> {
/// let sum = heist::spawn_blocking(|| (1..=10).sum::<i32>());
/// assert_eq!(heist::block_on(sum)?, 55);
/// # Ok(())
/// # }
/// ```
///
/// # Counterpart
///
/// `asyncio.to_thread`, `loop.run_in_executor`; `tokio::task::spawn_blocking`.
#[doc(alias = "to_thread")]
#[doc(alias = "run_in_executor")]
#[track_caller]
pub fn spawn_blocking<F, T>(f: F) -> Task<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    Handle::current_or_global().spawn_blocking_with(f, Meta::caller())
}

/// Runs a closure that may block, here and now.
///
/// Inside of a task of a multi-threaded runtime another thread serves in the place of this worker meanwhile: at once, and not only
/// after [`blocked_worker_threshold`](crate::Builder::blocked_worker_threshold). Anywhere else it just runs.
///
/// Inside of the closure this thread is no worker: what it spawns goes the way of foreign threads, and
/// [`current`] does not know the task. The task cannot be cancelled before the closure returns.
///
/// # Panics
///
/// If the closure does.
///
/// # Examples
///
/// ```
/// # fn main() -> Result<(), heist::TaskError> {
/// let task = heist::spawn(async {
///     let path = String::from("borrowed");
///     heist::task::block_in_place(|| path.len()) // reads a file, say
/// });
/// assert_eq!(heist::block_on(task)?, 8);
/// # Ok(())
/// # }
/// ```
///
/// # Counterpart
///
/// `tokio::task::block_in_place`, which panics on a single-threaded runtime. asyncio has `to_thread` only.
pub fn block_in_place<R>(f: impl FnOnce() -> R) -> R {
    Scheduler::block_in_place(f)
}

/// Spawns a task that stays on this thread, so that it need not be `Send`.
///
/// # Panics
///
/// Where no [`LocalRuntime`](crate::LocalRuntime) runs on this thread, inside of its `block_on` or `run_forever`. Which runtime is
/// entered there has nothing to do with it.
///
/// # Examples
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let runtime = heist::LocalRuntime::new()?;
/// let three = runtime.block_on(async {
///     let shared = std::rc::Rc::new(3);
///     heist::spawn_local(async move { *shared }).await
/// })?;
/// assert_eq!(three, 3);
/// # Ok(())
/// # }
/// ```
///
/// # Counterpart
///
/// Every task of asyncio, whose loop has one thread. `tokio::task::spawn_local`.
#[track_caller]
pub fn spawn_local<F>(future: F) -> LocalTask<F::Output>
where
    F: Future + 'static,
    F::Output: 'static,
{
    Builder::new().spawn_local(future)
}

/// Settings of a task that is about to be spawned.
///
/// # Examples
///
/// ```
/// # fn main() -> Result<(), heist::TaskError> {
/// let task = heist::task::Builder::new().name("answer").spawn(async { 42 });
/// assert_eq!(task.name(), "answer");
/// # heist::block_on(task)?;
/// # Ok(())
/// # }
/// ```
///
/// # Counterpart
///
/// The keyword arguments of `asyncio.create_task`; `tokio::task::Builder`.
#[derive(Clone, Default)]
#[must_use = "nothing is spawned yet"]
pub struct Builder {
    name: Option<String>,
    handle: Option<Handle>,
}

impl Builder {
    /// Settings like those of [`spawn`].
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives the task a name, instead of `Task-` and its id.
    #[doc(alias = "set_name")]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Spawns on this runtime, wherever the caller is.
    pub fn on(mut self, handle: &Handle) -> Self {
        self.handle = Some(handle.clone());
        self
    }

    /// As [`spawn`].
    ///
    /// # Panics
    ///
    /// If the process-wide runtime is needed and cannot be started.
    #[track_caller]
    pub fn spawn<F>(self, future: F) -> Task<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.spawn_at(future, Meta::caller())
    }

    /// The same, and whoever called is `meta`'s.
    pub(crate) fn spawn_at<F>(self, future: F, meta: Meta) -> Task<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        if self.handle.is_some() || self.name.is_some() || variables::any() {
            let (handle, meta) = self.resolve(meta);
            return handle.spawn_with(future, meta);
        }
        match Scheduler::spawn_here(future, meta) {
            Ok(task) => task,
            Err((future, meta)) => Handle::current_or_global().spawn_with(future, meta),
        }
    }

    /// As [`spawn_blocking`].
    ///
    /// # Panics
    ///
    /// If the process-wide runtime is needed and cannot be started.
    #[track_caller]
    pub fn spawn_blocking<F, T>(self, f: F) -> Task<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let (handle, meta) = self.resolve(Meta::caller());
        handle.spawn_blocking_with(f, meta)
    }

    /// As [`Scope::spawn`]. The runtime is that of the scope.
    ///
    /// # Counterpart
    ///
    /// `std::thread::Builder::spawn_scoped`.
    #[track_caller]
    pub fn spawn_scoped<'scope, F>(
        self,
        scope: Scope<'scope, '_>,
        future: F,
    ) -> ScopedTask<'scope, F::Output>
    where
        F: Future + Send + 'scope,
        F::Output: Send + 'scope,
    {
        let mut meta = Meta::caller();
        meta.name = self.name;
        scope.spawn_with(future, meta)
    }

    /// As [`spawn_local`].
    ///
    /// # Panics
    ///
    /// Where no [`LocalRuntime`](crate::LocalRuntime) runs on this thread, or not that of [`on`](Builder::on).
    #[track_caller]
    pub fn spawn_local<F>(self, future: F) -> LocalTask<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        let mut meta = Meta::caller();
        meta.name = self.name;
        match self.handle.or_else(Handle::running_local) {
            Some(handle) => handle.spawn_local_with(future, meta),
            None => panic!(
                "spawn_local is for code that runs on a LocalRuntime; no such runtime runs on this thread"
            ),
        }
    }

    fn resolve(self, mut meta: Meta) -> (Handle, Meta) {
        meta.name = self.name;
        (self.handle.unwrap_or_else(Handle::current_or_global), meta)
    }
}

/// How a thread waits for a task: what core asks of the runtime for [`Task::wait_blocking`].
pub(crate) fn wait_on_thread(poll: &mut dyn FnMut(&mut Context<'_>) -> bool) {
    let mut ready = std::future::poll_fn(|cx| match poll(cx) {
        true => Poll::Ready(()),
        false => Poll::Pending,
    });
    let Some(handle) = Handle::try_current() else {
        // No runtime misses this thread, and none is needed to wait for one.
        return shim::wait(ready);
    };
    if let Err(error) = handle.try_block_on(&mut ready, Meta::caller()) {
        // What has come is not lost because the runtime goes away at the same time.
        let mut cx = Context::from_waker(Waker::noop());
        if error.is_panic() || Pin::new(&mut ready).poll(&mut cx).is_pending() {
            output(Err(error))
        }
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

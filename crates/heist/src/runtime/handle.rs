//! The shared view of a runtime.

use std::fmt;
use std::future::{Future, poll_fn};
use std::marker::PhantomData;
use std::panic::resume_unwind;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use heist_core::context::{self, RuntimeContext};
use heist_core::task::{LocalTask, Meta};
use heist_core::variables::Inherited;
use heist_io::time::sleep_until;
use heist_io::virtual_time;
use heist_scheduler::{Call, CallHandle, Kept, LocalHandle, Metrics, Scheduler};

use super::watch::Watch;
use crate::context::{InContext, carrying};
use crate::global;
use crate::task::{Scope, Task, TaskError, TaskRef, scope};
use crate::time::{Due, deadline};

/// A runtime, shared: clone it into other threads, and spawn from there.
///
/// It does not keep the runtime from ending. What is spawned after that is cancelled at once.
///
/// # Examples
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let runtime = heist::Runtime::new()?;
/// let handle = runtime.handle().clone();
/// let thread = std::thread::spawn(move || handle.block_on(async { 3 }));
/// assert_eq!(thread.join().unwrap(), 3);
/// # Ok(())
/// # }
/// ```
///
/// # Counterpart
///
/// The loop of asyncio as other threads see it; `tokio::runtime::Handle`.
#[derive(Clone)]
#[doc(alias = "get_running_loop")]
pub struct Handle {
    engine: Engine,
}

#[derive(Clone)]
pub(super) enum Engine {
    Multi(Scheduler),
    Local(LocalHandle),
}

impl Handle {
    pub(super) fn new(engine: Engine) -> Self {
        Self { engine }
    }

    /// The runtime that this thread is in.
    ///
    /// # Panics
    ///
    /// Outside of a runtime; [`try_current`](Handle::try_current) does not.
    ///
    /// # Counterpart
    ///
    /// `asyncio.get_running_loop`.
    #[doc(alias = "get_running_loop")]
    #[doc(alias = "get_event_loop")]
    #[must_use]
    #[track_caller]
    pub fn current() -> Self {
        match Self::try_current() {
            Some(handle) => handle,
            None => panic!("this thread is in no heist runtime; enter one, or use `try_current`"),
        }
    }

    /// The runtime that this thread is in, if there is one: that of the running task, or the one entered last.
    #[must_use]
    pub fn try_current() -> Option<Self> {
        let engine = Scheduler::current().map(Engine::Multi);
        let local = || context::try_current().and_then(LocalHandle::from_context);
        engine.or_else(|| local().map(Engine::Local)).map(Self::new)
    }

    /// The local runtime that runs on this thread, whatever other runtime is entered.
    pub(crate) fn running_local() -> Option<Self> {
        LocalHandle::running().map(Engine::Local).map(Self::new)
    }

    /// That of [`try_current`](Handle::try_current), else the process-wide one.
    #[track_caller]
    pub(crate) fn current_or_global() -> Self {
        match Self::try_current() {
            Some(handle) => handle,
            None => Self::global(),
        }
    }

    #[cold]
    #[track_caller]
    fn global() -> Self {
        match global::handle() {
            Some(Ok(handle)) => handle,
            Some(Err(error)) => panic!("{error}"),
            None => {
                panic!("there is no process-wide runtime in a model; build a runtime and enter it")
            }
        }
    }

    pub(crate) fn context(&self) -> Arc<dyn RuntimeContext> {
        match &self.engine {
            Engine::Multi(scheduler) => scheduler.context(),
            Engine::Local(local) => local.context(),
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        match &self.engine {
            Engine::Multi(scheduler) => scheduler.is_closed(),
            Engine::Local(local) => local.is_closed(),
        }
    }

    /// Spawns a task on this runtime, from any thread. See [`heist::spawn`](crate::spawn).
    ///
    /// On a runtime that is shut down the future is dropped, and the task is cancelled at once:
    /// [`TaskError::is_runtime_gone`].
    #[doc(alias = "create_task")]
    #[doc(alias = "run_coroutine_threadsafe")]
    #[track_caller]
    pub fn spawn<F>(&self, future: F) -> Task<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.spawn_with(future, Meta::caller())
    }

    pub(crate) fn spawn_with<F>(&self, future: F, meta: Meta) -> Task<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        match Inherited::here() {
            None => self.spawn_bare(future, meta),
            // In a box: one more future to compile for each output, and not for each future.
            Some(inherited) => {
                let future: Pin<Box<dyn Future<Output = F::Output> + Send>> = match deadline() {
                    Some(at) => Box::pin(Due::at(at, future)),
                    None => Box::pin(future),
                };
                self.spawn_bare(InContext::new(inherited, future), meta)
            }
        }
    }

    fn spawn_bare<F>(&self, future: F, meta: Meta) -> Task<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        match &self.engine {
            Engine::Multi(scheduler) => scheduler.spawn(future, meta),
            Engine::Local(local) => local.spawn(future, meta),
        }
    }

    /// Runs a closure that may block. See [`heist::spawn_blocking`](crate::spawn_blocking).
    #[doc(alias = "run_in_executor")]
    #[track_caller]
    pub fn spawn_blocking<F, T>(&self, f: F) -> Task<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.spawn_blocking_with(f, Meta::caller())
    }

    pub(crate) fn spawn_blocking_with<F, T>(&self, f: F, meta: Meta) -> Task<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let f = carrying(f);
        match &self.engine {
            Engine::Multi(scheduler) => scheduler.spawn_blocking(f, meta),
            Engine::Local(local) => local.spawn_blocking(f, meta),
        }
    }

    #[track_caller]
    pub(crate) fn spawn_local_with<F>(&self, future: F, meta: Meta) -> LocalTask<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        match &self.engine {
            Engine::Multi(_) => panic!(
                "spawn_local is for code that runs on a LocalRuntime; this one has many threads"
            ),
            Engine::Local(local) => match Inherited::here() {
                None => local.spawn_local(future, meta),
                Some(inherited) => local.spawn_local(local_body(inherited, future), meta),
            },
        }
    }

    /// Runs a future on the calling thread until it is over. See [`Runtime::block_on`](super::Runtime::block_on).
    ///
    /// # Panics
    ///
    /// If `future` panics, with its panic; if it is cancelled, or the runtime is shut down, with the [`TaskError`] as payload.
    /// On the thread of a [`LocalRuntime`](super::LocalRuntime) whose handle this is: only
    /// [`its own`](super::LocalRuntime::block_on) runs it.
    #[doc(alias = "run_until_complete")]
    #[track_caller]
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.block_on_with(future, Meta::caller())
    }

    pub(crate) fn block_on_with<F: Future>(&self, future: F, meta: Meta) -> F::Output {
        output(self.try_block_on(future, meta))
    }

    /// The same, and that it was cancelled or has panicked is an error.
    pub(crate) fn try_block_on<F: Future>(
        &self,
        future: F,
        meta: Meta,
    ) -> Result<F::Output, TaskError> {
        let future = InContext::new(Inherited::here(), future);
        let root = virtual_time::root(&*self.context(), future);
        match &self.engine {
            Engine::Multi(scheduler) => scheduler.block_on(root, meta),
            Engine::Local(local) => local.block_on(root, meta),
        }
    }

    /// Runs `f`, whose tasks may borrow what is outside of it, and waits for them.
    ///
    /// It returns when what was spawned in it, by whomever, is over: futures, outputs that nobody took, done-callbacks. It blocks the
    /// calling thread meanwhile; inside of a task another worker takes over, as with [`block_in_place`](crate::task::block_in_place).
    /// If `f` panics, what is left is cancelled, and gets its time to clean up.
    ///
    /// # Panics
    ///
    /// If `f` does. If a task of the scope has panicked and nobody has [awaited](crate::task::ScopedTask) it. With the handle of a
    /// [`LocalRuntime`](super::LocalRuntime): the thread that waits may be the one that would have to run the tasks.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> Result<(), heist::TaskError> {
    /// let text = String::from("to be or not to be");
    /// let task = heist::spawn(async {
    ///     let handle = heist::Handle::current();
    ///     heist::spawn_blocking(move || {
    ///         handle.scope(|scope| {
    ///             let words = scope.spawn(async { text.split(' ').count() });
    ///             let letters = scope.spawn(async { text.len() });
    ///             Ok((words.wait_blocking()?, letters.wait_blocking()?))
    ///         })
    ///     })
    ///     .await?
    /// });
    /// assert_eq!(heist::block_on(task)??, (6, 18));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Counterpart
    ///
    /// `std::thread::scope`. Neither asyncio nor tokio has one: in Rust, a scope that can be awaited cannot be sound.
    pub fn scope<'env, T>(&self, f: impl for<'scope> FnOnce(Scope<'scope, 'env>) -> T) -> T {
        assert!(
            matches!(self.engine, Engine::Multi(_)),
            "a scope blocks its thread until its tasks are over, and a LocalRuntime may have no other; use a TaskGroup"
        );
        scope::run(self.clone(), f)
    }

    /// Makes this the runtime that the calling thread is in, until the guard is dropped.
    ///
    /// Guards may be forgotten, dropped out of order, and held over an await; inside of a task the effect ends with the poll.
    ///
    /// # Counterpart
    ///
    /// `asyncio.set_event_loop`; `tokio::runtime::Handle::enter`.
    #[doc(alias = "set_event_loop")]
    pub fn enter(&self) -> EnterGuard<'_> {
        EnterGuard {
            guard: context::enter(self.context()),
            handle: PhantomData,
        }
    }

    /// Has `f` called soon, on a thread of the runtime, from any thread.
    ///
    /// Calls from one thread start in order, one at a time. A panic goes to the exception handler. On a runtime that is shut down
    /// `f` is dropped, and the handle says that it was cancelled.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let runtime = heist::Runtime::new()?;
    /// let (promise, deferred) = heist::promise();
    /// runtime.handle().call_soon(move || { let _ = promise.set_result(1); });
    /// assert_eq!(runtime.block_on(deferred)?, 1);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Counterpart
    ///
    /// `loop.call_soon` and `call_soon_threadsafe`, which are one here.
    #[doc(alias = "call_soon_threadsafe")]
    pub fn call_soon(&self, f: impl FnOnce() + Send + 'static) -> CallHandle {
        let (call, handle) = Call::new(carrying(f));
        self.call(call);
        handle
    }

    fn call(&self, call: Call) {
        match &self.engine {
            Engine::Multi(scheduler) => scheduler.call(call),
            Engine::Local(local) => local.call(call),
        }
    }

    fn keep_call(&self, when: Instant, call: Call) -> Timed {
        let key = match &self.engine {
            Engine::Multi(scheduler) => scheduler.keep_call(when, call),
            Engine::Local(local) => local.keep_call(when, call),
        };
        Timed {
            handle: self.clone(),
            key,
        }
    }

    /// Has `f` called after `delay`. See [`call_soon`](Handle::call_soon).
    ///
    /// # Counterpart
    ///
    /// `loop.call_later`.
    pub fn call_later(&self, delay: Duration, f: impl FnOnce() + Send + 'static) -> CallHandle {
        let now = virtual_time::now_of(&*self.context());
        // A time that no clock reaches is as good as never.
        let when = now.checked_add(delay).unwrap_or_else(|| now + FAR);
        self.call_at(when, f)
    }

    /// Has `f` called at `when`; at once if that is past. See [`call_soon`](Handle::call_soon).
    ///
    /// Calls that one thread asked for at equal times start in the order in which it did.
    ///
    /// # Counterpart
    ///
    /// `loop.call_at`.
    pub fn call_at(&self, when: Instant, f: impl FnOnce() + Send + 'static) -> CallHandle {
        let (call, cancel) = Call::new(carrying(f));
        // Dropped instead of called, as on a runtime that is shut down, it says that it was cancelled.
        if !self.is_closed() {
            let timed = self.keep_call(when, call);
            let cancelled = cancel.clone();
            Watch::start(self, async move {
                let mut sleep = pin!(sleep_until(when));
                let over = poll_fn(|cx| match cancelled.poll_cancelled(cx) {
                    Poll::Ready(()) => Poll::Ready(false),
                    Poll::Pending => sleep.as_mut().poll(cx).map(|()| true),
                });
                if over.await {
                    timed.release();
                }
            });
        }
        cancel
    }

    /// Ends the `run_forever` that is under way, or the next one.
    ///
    /// # Counterpart
    ///
    /// `loop.stop`.
    pub fn stop(&self) {
        match &self.engine {
            Engine::Multi(scheduler) => scheduler.stop(),
            Engine::Local(local) => local.stop(),
        }
    }

    /// Every task that is not over, the futures of `block_on` included. From any thread; waits for nobody.
    ///
    /// # Examples
    ///
    /// ```
    /// let names = heist::run(async {
    ///     let tasks = heist::Handle::current().all_tasks();
    ///     tasks.iter().map(|task| task.name()).collect::<Vec<_>>()
    /// });
    /// assert!(!names.is_empty());
    /// ```
    ///
    /// # Counterpart
    ///
    /// `asyncio.all_tasks`.
    #[must_use]
    pub fn all_tasks(&self) -> Vec<TaskRef> {
        match &self.engine {
            Engine::Multi(scheduler) => scheduler.tasks(),
            Engine::Local(local) => local.tasks(),
        }
    }

    /// What the runtime has done and what it is doing.
    ///
    /// # Counterpart
    ///
    /// `tokio::runtime::RuntimeMetrics`; asyncio has none.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        match &self.engine {
            Engine::Multi(scheduler) => scheduler.metrics(),
            Engine::Local(local) => local.metrics(),
        }
    }
}

/// What a root gave, or the end of who waits for it.
pub(crate) fn output<T>(result: Result<T, TaskError>) -> T {
    match result {
        Ok(output) => output,
        // The panic hook has spoken when the root panicked, and has nothing to say about a cancellation.
        Err(error) => match error.try_into_panic() {
            Ok(payload) => resume_unwind(payload),
            Err(error) => resume_unwind(Box::new(error)),
        },
    }
}

/// The body of a local task that inherits something.
pub(super) fn local_body<F>(inherited: Inherited, future: F) -> impl Future<Output = F::Output>
where
    F: Future + 'static,
{
    let future: Pin<Box<dyn Future<Output = F::Output>>> = match deadline() {
        Some(at) => Box::pin(Due::at(at, future)),
        None => Box::pin(future),
    };
    InContext::new(inherited, future)
}

/// Some hundred years.
const FAR: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// A callback that is kept until its time. Dropped before that, it is cancelled.
struct Timed {
    handle: Handle,
    key: Kept,
}

impl Timed {
    fn release(&self) {
        match &self.handle.engine {
            Engine::Multi(scheduler) => scheduler.release_calls(self.key),
            Engine::Local(local) => local.release_calls(self.key),
        }
    }
}

impl Drop for Timed {
    fn drop(&mut self) {
        match &self.handle.engine {
            Engine::Multi(scheduler) => scheduler.forget_call(self.key),
            Engine::Local(local) => local.forget_call(self.key),
        }
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.engine {
            Engine::Multi(scheduler) => f.debug_tuple("Handle").field(scheduler).finish(),
            Engine::Local(local) => f.debug_tuple("Handle").field(local).finish(),
        }
    }
}

/// Keeps a runtime current on this thread. Made by [`Handle::enter`] and [`Runtime::enter`](super::Runtime::enter).
#[derive(Debug)]
#[must_use = "the runtime is left when the guard is dropped"]
pub struct EnterGuard<'a> {
    #[expect(dead_code, reason = "it is there to be dropped")]
    guard: context::EnterGuard,
    handle: PhantomData<&'a Handle>,
}

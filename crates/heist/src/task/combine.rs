//! Waiting for several tasks.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use futures_core::Stream;
use heist_core::budget::poll_proceed;
use heist_sync::Notify;

use super::{CallbackId, Task, TaskError, TaskState, spawn};
use crate::shim::Lock;
use crate::time::{Duration, Elapsed, sleep, timeout};

/// Waits for all tasks, and gives what each has given, in their order: results and errors alike.
///
/// A task that fails changes nothing for the others. None at all is ready at once.
///
/// # Panics
///
/// For a task whose result was taken before; so does [`try_gather`].
///
/// # Cancel safety
///
/// If it is dropped, or its task is cancelled, so are all tasks that are not over.
///
/// # Examples
///
/// ```
/// use heist::task::gather;
///
/// heist::run(async {
///     let results = gather((1..=3).map(|number| heist::spawn(async move { number * 10 }))).await;
///     let numbers: Result<Vec<_>, _> = results.into_iter().collect();
///     assert_eq!(numbers.unwrap(), [10, 20, 30]);
/// });
/// ```
///
/// # Counterpart
///
/// `asyncio.gather(…, return_exceptions=True)`; `JoinSet::join_all`, which panics for a panic.
#[doc(alias = "join_all")]
pub fn gather<T>(
    tasks: impl IntoIterator<Item = Task<T>>,
) -> impl Future<Output = Vec<Result<T, TaskError>>> {
    let mut slots = Slots::new(tasks);
    async move {
        poll_fn(|cx| slots.poll(cx, |_| false).map(drop)).await;
        let over = |slot| match slot {
            Slot::Over(result) => result,
            Slot::Waits(_) => unreachable!("all are over"),
        };
        slots.take().into_iter().map(over).collect()
    }
}

/// Tasks and what they have given. If it is dropped, it cancels those that are not over.
struct Slots<T>(Vec<Slot<T>>);

enum Slot<T> {
    Waits(Task<T>),
    Over(Result<T, TaskError>),
}

impl<T> Slots<T> {
    fn new(tasks: impl IntoIterator<Item = Task<T>>) -> Self {
        Self(tasks.into_iter().map(Slot::Waits).collect())
    }

    /// Ready when all are over, or one with such a result: where it is.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        enough: impl Fn(&Result<T, TaskError>) -> bool,
    ) -> Poll<Option<usize>> {
        let mut all = true;
        for (at, slot) in self.0.iter_mut().enumerate() {
            if let Slot::Waits(task) = slot {
                match Pin::new(task).poll(cx) {
                    Poll::Ready(result) => {
                        let enough = enough(&result);
                        *slot = Slot::Over(result);
                        if enough {
                            return Poll::Ready(Some(at));
                        }
                    }
                    Poll::Pending => all = false,
                }
            }
        }
        if all {
            Poll::Ready(None)
        } else {
            Poll::Pending
        }
    }

    /// Nobody is cancelled any more.
    fn take(&mut self) -> Vec<Slot<T>> {
        std::mem::take(&mut self.0)
    }
}

impl<T> Drop for Slots<T> {
    fn drop(&mut self) {
        for slot in &self.0 {
            if let Slot::Waits(task) = slot {
                task.cancel();
            }
        }
    }
}

/// Waits for all tasks, or for the first that is cancelled or panics, and gives what they have given in their order.
///
/// After an error the others go on, without their handles. For others that shall end there is [`TaskGroup`](super::TaskGroup).
///
/// # Errors
///
/// The first one.
///
/// # Cancel safety
///
/// If it is dropped, or its task is cancelled, so are all tasks that are not over.
///
/// # Examples
///
/// ```
/// use heist::task::try_gather;
///
/// heist::run(async {
///     let tasks = (1..=3).map(|number| heist::spawn(async move { number * 10 }));
///     assert_eq!(try_gather(tasks).await.unwrap(), [10, 20, 30]);
/// });
/// ```
///
/// # Counterpart
///
/// `asyncio.gather(…)`.
#[doc(alias = "try_join_all")]
pub fn try_gather<T>(
    tasks: impl IntoIterator<Item = Task<T>>,
) -> impl Future<Output = Result<Vec<T>, TaskError>> {
    let mut slots = Slots::new(tasks);
    async move {
        let failed = poll_fn(|cx| slots.poll(cx, Result::is_err)).await;
        let mut slots = slots.take();
        if let Some(at) = failed {
            if let Slot::Over(Err(error)) = slots.swap_remove(at) {
                return Err(error);
            }
        }
        let value = |slot| match slot {
            Slot::Over(result) => result,
            Slot::Waits(_) => unreachable!("all are over"),
        };
        slots.into_iter().map(value).collect()
    }
}

/// When [`wait`] returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReturnWhen {
    /// One is over.
    FirstCompleted,
    /// One was cancelled or has panicked, or all are over.
    FirstFailed,
    /// All are over.
    AllCompleted,
}

/// What [`wait`] has found. The tasks are in the order in which they were given.
#[derive(Debug)]
pub struct Waited<T> {
    /// Those that are over; to await one gives its result as soon as its callbacks have run.
    pub done: Vec<Task<T>>,
    /// Those that are not.
    pub pending: Vec<Task<T>>,
}

/// Waits for some of the tasks, and gives all of them back. It cancels none, also not after `limit`.
///
/// # Cancel safety
///
/// The handles are dropped, and the tasks go on.
///
/// # Panics
///
/// With a limit, as [`timeout`].
///
/// # Examples
///
/// ```
/// use heist::task::{ReturnWhen, wait};
///
/// heist::run(async {
///     let tasks = [heist::spawn(async { 1 }), heist::spawn(std::future::pending())];
///     let waited = wait(tasks, ReturnWhen::FirstCompleted, None).await;
///     assert_eq!((waited.done.len(), waited.pending.len()), (1, 1));
///     for task in waited.pending {
///         task.cancel();
///     }
/// });
/// ```
///
/// # Counterpart
///
/// `asyncio.wait`, where no task at all is an error; here it is nothing to wait for.
pub async fn wait<T: Send + 'static>(
    tasks: impl IntoIterator<Item = Task<T>>,
    when: ReturnWhen,
    limit: Option<Duration>,
) -> Waited<T> {
    let tasks = Watched::new(tasks);
    let enough = async {
        while !tasks.enough(when) {
            tasks.changed.notified().await;
        }
    };
    match limit {
        None => enough.await,
        // To be late is no error.
        Some(limit) => drop(timeout(limit, enough).await),
    }
    tasks.split()
}

/// Tasks of which each tells when it is over.
struct Watched<T: Send + 'static> {
    /// One that was over already tells nothing.
    tasks: Vec<(Task<T>, Option<CallbackId>)>,
    changed: Arc<Notify>,
}

impl<T: Send + 'static> Watched<T> {
    fn new(tasks: impl IntoIterator<Item = Task<T>>) -> Self {
        let changed = Arc::new(Notify::new());
        let watch = |task: Task<T>| {
            let changed = Arc::clone(&changed);
            let callback = (!task.is_finished())
                .then(|| task.add_done_callback(move |_| changed.notify_one()));
            (task, callback)
        };
        let tasks = tasks.into_iter().map(watch).collect();
        Self { tasks, changed }
    }

    fn enough(&self, when: ReturnWhen) -> bool {
        let mut states = self.tasks.iter().map(|(task, _)| task.state());
        let all = || self.tasks.iter().all(|(task, _)| task.is_finished());
        match when {
            ReturnWhen::AllCompleted => all(),
            ReturnWhen::FirstCompleted => {
                self.tasks.is_empty() || states.any(|state| state != TaskState::Pending)
            }
            ReturnWhen::FirstFailed => {
                let failed = |state| matches!(state, TaskState::Cancelled | TaskState::Panicked);
                states.any(failed) || all()
            }
        }
    }

    fn split(mut self) -> Waited<T> {
        let tasks = std::mem::take(&mut self.tasks);
        let unwatch = |(task, callback): (Task<T>, Option<_>)| {
            callback.map(|id| task.remove_done_callback(id));
            task
        };
        let tasks = tasks.into_iter().map(unwatch);
        let (done, pending) = tasks.partition(|task| task.is_finished());
        Waited { done, pending }
    }
}

impl<T: Send + 'static> Drop for Watched<T> {
    fn drop(&mut self) {
        for (task, callback) in &self.tasks {
            callback.map(|id| task.remove_done_callback(id));
        }
    }
}

/// The tasks in the order in which they end, as a stream.
///
/// # Cancel safety
///
/// If the stream is dropped, the tasks go on without their handles.
///
/// # Examples
///
/// ```
/// use futures_util::StreamExt;
/// use heist::task::as_completed;
///
/// heist::run(async {
///     let tasks = (0..3).map(|number| heist::spawn(async move { number }));
///     let mut sum = 0;
///     let mut completed = as_completed(tasks);
///     while let Some(task) = completed.next().await {
///         sum += task.await.unwrap();
///     }
///     assert_eq!(sum, 3);
/// });
/// ```
///
/// # Counterpart
///
/// `async for` over `asyncio.as_completed`. Tokio's `JoinSet::join_next`, `FuturesUnordered`.
#[doc(alias = "FuturesUnordered")]
#[doc(alias = "join_next")]
pub fn as_completed<T: Send + 'static>(tasks: impl IntoIterator<Item = Task<T>>) -> AsCompleted<T> {
    let over = Arc::new(Lock::new(Over::default()));
    let watch = |(at, task): (usize, Task<T>)| {
        let over = Arc::clone(&over);
        task.task_ref().add_done_callback(move |_| {
            let mut over = over.lock();
            over.places.push_back(at);
            let waker = over.waker.take();
            drop(over);
            if let Some(waker) = waker {
                waker.wake();
            }
        });
        Some(task)
    };
    let tasks: Vec<_> = tasks.into_iter().enumerate().map(watch).collect();
    AsCompleted {
        left: tasks.len(),
        tasks,
        over,
    }
}

/// The stream of [`as_completed`]. Each task is over when it comes.
#[derive(Debug)]
#[must_use = "a stream does nothing unless it is polled"]
pub struct AsCompleted<T> {
    tasks: Vec<Option<Task<T>>>,
    /// How many have not come.
    left: usize,
    over: Arc<Lock<Over>>,
}

/// Which tasks are over and have not come yet, and who waits for one.
#[derive(Debug, Default)]
struct Over {
    places: VecDeque<usize>,
    waker: Option<Waker>,
}

impl<T> Stream for AsCompleted<T> {
    type Item = Task<T>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Task<T>>> {
        let this = self.get_mut();
        let proceed = ready!(poll_proceed(cx));
        let new = cx.waker().clone();
        let mut over = this.over.lock();
        let place = over.places.pop_front();
        let left = this.left > 0;
        let old = if place.is_none() && left {
            over.waker.replace(new)
        } else {
            None
        };
        drop(over);
        drop(old);
        if place.is_none() && left {
            return Poll::Pending;
        }
        proceed.made_progress();
        this.left -= usize::from(place.is_some());
        Poll::Ready(place.and_then(|at| this.tasks[at].take()))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

/// Runs `future` as a task that goes on if whoever awaits it is cancelled, or drops the handle.
///
/// That is what [`spawn`] does: a task that awaits another leaves it alive.
///
/// # Panics
///
/// As [`spawn`].
///
/// # Cancel safety
///
/// If the handle is dropped, the task goes on, and its result is lost. A panic that nobody saw is told to the exception handler.
///
/// # Examples
///
/// ```
/// use heist::sync::Event;
/// use heist::task::shield;
///
/// # use std::sync::Arc;
/// heist::run(async {
///     let saved = Arc::new(Event::new());
///     let told = Arc::clone(&saved);
///     let request = heist::spawn(async move {
///         shield(async move { told.set() }).await // not cut short if the request is
///     });
///     heist::task::yield_now().await;
///     request.cancel();
///     # if request.await.is_ok_and(|saved| saved.is_ok()) {
///     saved.wait().await;
///     # }
/// });
/// ```
///
/// # Counterpart
///
/// `asyncio.shield`.
#[track_caller]
pub fn shield<F>(future: F) -> Task<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    spawn(future)
}

/// Waits for a task, asks it to end after `limit`, and waits until it has.
///
/// What it gives counts also after that, so that no result is lost: [`Elapsed`] is given only if it ended because it was cancelled.
///
/// # Errors
///
/// [`Elapsed`], or what the task's own error is.
///
/// # Panics
///
/// As [`timeout`].
///
/// # Cancel safety
///
/// If it is dropped, the task is cancelled.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// use heist::task::{catch_cancel, wait_for};
///
/// heist::run(async {
///     let task = heist::spawn(async {
///         catch_cancel(std::future::pending::<()>()).await.unwrap_err();
///         "saved what there was"
///     });
///     heist::task::yield_now().await;
///     let saved = wait_for(task, Duration::from_millis(10)).await;
///     # if let Ok(saved) = saved {
///     assert_eq!(saved.unwrap(), "saved what there was");
///     # }
/// });
/// ```
///
/// # Counterpart
///
/// `asyncio.wait_for`. [`timeout`] drops its future at once.
pub fn wait_for<T>(
    task: Task<T>,
    limit: Duration,
) -> impl Future<Output = Result<Result<T, TaskError>, Elapsed>> {
    let mut task = task.cancel_on_drop();
    async move {
        match timeout(limit, &mut task).await {
            Ok(result) => Ok(result),
            Err(elapsed) => {
                task.task().cancel();
                match task.await {
                    Err(error) if error.is_cancelled() => Err(elapsed),
                    result => Ok(result),
                }
            }
        }
    }
}

/// Polls all futures, and gives what the first that is ready gives, and where it stood. The others are dropped. None at all is never ready.
///
/// They are polled in their order: the first of several that are ready wins.
///
/// # Cancel safety
///
/// As safe as the futures are.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// use heist::task::race;
/// use heist::time::sleep;
///
/// heist::run(async {
///     let sleeps = [1000, 1].map(|ms| sleep(Duration::from_millis(ms)));
///     assert_eq!(race(sleeps).await, (1, ()));
/// });
/// ```
///
/// # Counterpart
///
/// `asyncio.wait(…, return_when=FIRST_COMPLETED)` and a cancel of the rest. `futures::future::select_all`.
#[doc(alias = "select_all")]
pub async fn race<F: Future>(futures: impl IntoIterator<Item = F>) -> (usize, F::Output) {
    let mut futures: Vec<_> = futures.into_iter().map(Box::pin).collect();
    poll_fn(|cx| {
        for (at, future) in futures.iter_mut().enumerate() {
            if let Poll::Ready(output) = future.as_mut().poll(cx) {
                return Poll::Ready((at, output));
            }
        }
        Poll::Pending
    })
    .await
}

/// Begins the futures one after the other, each when the one before has failed or `delay` has passed, and gives the first success. The
/// others are dropped.
///
/// # Errors
///
/// All errors, in the order in which they came, if none has succeeded.
///
/// # Panics
///
/// As [`sleep`](crate::time::sleep).
///
/// # Cancel safety
///
/// As safe as the futures are.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// use heist::task::race_staggered;
///
/// heist::run(async {
///     let addresses = [Err("no route"), Ok("connected")];
///     let connects = addresses.map(|answer| async move { answer });
///     let first = race_staggered(Duration::from_millis(250), connects).await;
///     assert_eq!(first, Ok("connected"));
/// });
/// ```
///
/// # Counterpart
///
/// `asyncio.staggered.staggered_race`, of which "happy eyeballs" is made.
#[doc(alias = "staggered_race")]
#[doc(alias = "happy_eyeballs")]
pub async fn race_staggered<T, E, F: Future<Output = Result<T, E>>>(
    delay: Duration,
    futures: impl IntoIterator<Item = F>,
) -> Result<T, Vec<E>> {
    let mut waiting = futures.into_iter().fuse();
    let mut running: Vec<Pin<Box<F>>> = Vec::new();
    let mut errors = Vec::new();
    let mut pause = pin!(sleep(delay));
    let (mut begins, mut more) = (true, true);
    poll_fn(|cx| {
        loop {
            let mut at = 0;
            while at < running.len() {
                match running[at].as_mut().poll(cx) {
                    Poll::Ready(Ok(value)) => return Poll::Ready(Ok(value)),
                    Poll::Ready(Err(error)) => {
                        errors.push(error);
                        drop(running.remove(at));
                        begins = true;
                    }
                    Poll::Pending => at += 1,
                }
            }
            if !begins && (!more || pause.as_mut().poll(cx).is_pending()) {
                return if more || !running.is_empty() {
                    Poll::Pending
                } else {
                    Poll::Ready(Err(std::mem::take(&mut errors)))
                };
            }
            begins = false;
            match waiting.next() {
                Some(future) => {
                    running.push(Box::pin(future));
                    pause.set(sleep(delay));
                }
                None => more = false,
            }
        }
    })
    .await
}

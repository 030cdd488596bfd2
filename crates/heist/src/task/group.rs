//! Task groups: tasks that are over when the block that spawned them is.

mod error;
mod run;
mod state;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use heist_core::task::Meta;
use heist_sync::{OwnedPermit, Semaphore, oneshot};

use self::run::Run;
use self::state::{Shared, Ticket};
use super::{Builder, Task, TaskRef, try_current};
use crate::shim::{Lock, caught};

pub use error::{BoxError, ChildError, GroupError, SpawnError, StartError};

/// What a group does when a child ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Policy {
    /// The first failure cancels the others and the body. asyncio's, and the default.
    #[default]
    FailFast,
    /// Nobody is cancelled for another's failure. The errors come together at the end.
    Supervise,
    /// The first success cancels the others, and failures of children count only if there is none. The body goes on, and can spawn nothing more.
    FirstSuccess,
}

/// Tasks that belong together: [`run`](Self::run) returns when all of them are over, and what their futures owned is gone. A value that
/// nobody has awaited, and done-callbacks, may come a moment later.
///
/// The body gets the group, spawns children into it, and may hand clones of it to them. If one fails, the others are cancelled, and
/// all errors come back in one [`GroupError`]. If the task that runs the group is cancelled, so are the children, and it goes on only when they
/// have ended, clean-up included.
///
/// # Examples
///
/// ```
/// use heist::task::TaskGroup;
///
/// # fn main() -> Result<(), heist::task::GroupError> {
/// heist::run(async {
///     let sum = TaskGroup::run(async |group| {
///         let one = group.spawn(async { Ok::<_, std::io::Error>(1) })?;
///         let two = group.spawn(async { Ok::<_, std::io::Error>(2) })?;
///         Ok(one.await? + two.await?)
///     })
///     .await?;
///     assert_eq!(sum, 3);
///     Ok(())
/// })
/// # }
/// ```
///
/// # Counterpart
///
/// `asyncio.TaskGroup`. There a failure cancels the task that runs the body, which may catch that; here the body is dropped where it
/// waits. Trio's nursery, gevent's `Pool` (with a [limit](GroupBuilder::limit)), Kotlin's `coroutineScope`. Tokio's `JoinSet` neither waits nor
/// cancels for a failure.
#[doc(alias = "nursery")]
#[doc(alias = "Pool")]
#[doc(alias = "JoinSet")]
#[derive(Clone)]
pub struct TaskGroup {
    shared: Arc<Shared>,
    /// Of the next children.
    name: Option<String>,
}

/// Settings of a group.
#[derive(Clone, Debug, Default)]
#[must_use = "nothing runs yet"]
pub struct GroupBuilder {
    limit: Option<usize>,
    policy: Policy,
}

impl TaskGroup {
    /// Runs `body` with a new group, and waits until all its children are over.
    ///
    /// # Errors
    ///
    /// Children or the body have failed or panicked, or the group was [cancelled](Self::cancel) before the body was over.
    ///
    /// # Panics
    ///
    /// If the body does, after all children are over.
    ///
    /// # Cancel safety
    ///
    /// The first cancel request is passed to the children, and awaited. Of two groups that run side by side in one task, in a `join!`, one takes
    /// it, and the other is dropped. If the future is dropped, the children are cancelled, and nobody waits for them.
    pub async fn run<T>(
        body: impl AsyncFnOnce(Self) -> Result<T, BoxError>,
    ) -> Result<T, GroupError> {
        Self::builder().run(body).await
    }

    /// Settings of a group.
    pub fn builder() -> GroupBuilder {
        GroupBuilder::default()
    }

    /// This group, whose next children have this name.
    pub fn named(&self, name: impl Into<String>) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            name: Some(name.into()),
        }
    }

    /// Spawns a child.
    ///
    /// It fails if it gives an error or panics. One that was cancelled has not failed, nor has one that passes on that another
    /// task was cancelled, or that the group is ending.
    ///
    /// # Errors
    ///
    /// The group is over or is being cancelled, or it has a limit that is reached. The future is dropped.
    #[track_caller]
    #[doc(alias = "create_task")]
    #[doc(alias = "start_soon")]
    pub fn spawn<F>(&self, future: F) -> Result<Child<<F::Output as Outcome>::Value>, SpawnError>
    where
        F: Future<Output: Outcome> + Send + 'static,
    {
        let ticket = self.shared.enter(self.try_place()?)?;
        Ok(self.spawn_with(future, ticket, None, Meta::caller()))
    }

    /// Spawns a child as soon as the [limit](GroupBuilder::limit) allows it.
    ///
    /// # Errors
    ///
    /// The group is over or is being cancelled. The future is dropped.
    ///
    /// # Cancel safety
    ///
    /// Nothing was spawned.
    #[track_caller]
    pub fn spawn_wait<F>(
        &self,
        future: F,
    ) -> impl Future<Output = Result<Child<<F::Output as Outcome>::Value>, SpawnError>>
    where
        F: Future<Output: Outcome> + Send + 'static,
    {
        let meta = Meta::caller();
        async move {
            let place = match &self.shared.places {
                Some(places) => Some(Arc::clone(places).acquire_owned().await),
                None => None,
            };
            let ticket = self.shared.enter(place)?;
            Ok(self.spawn_with(future, ticket, None, meta))
        }
    }

    /// Runs a closure that may block, as a child.
    ///
    /// # Errors
    ///
    /// As [`spawn`](Self::spawn).
    ///
    /// # Cancel safety
    ///
    /// If it already runs it cannot be cancelled, and the group waits for it.
    #[track_caller]
    #[doc(alias = "to_thread")]
    pub fn spawn_blocking<T: Outcome + 'static>(
        &self,
        f: impl FnOnce() -> T + Send + 'static,
    ) -> Result<Child<T::Value>, SpawnError> {
        let ticket = self.shared.enter(self.try_place()?)?;
        let (shared, child) = (Arc::clone(&self.shared), ticket.child);
        // As a whole, so that `f` goes before the ticket if it is never called.
        let job = (f, ticket);
        let task = self.builder_of_child().spawn_blocking(move || {
            let job = job;
            let (f, ticket) = job;
            let output = caught(|| f().into_result());
            ticket.settle(output, true)
        });
        shared.spawned(child, &task.task_ref());
        Ok(Child(task))
    }

    /// Spawns a child, and waits until it says that it is ready.
    ///
    /// # Errors
    ///
    /// The child ended before, and why: that is not counted as a failure of the group. Or the group takes no children.
    ///
    /// # Cancel safety
    ///
    /// If this is dropped before the child is ready, the child is cancelled.
    ///
    /// # Examples
    ///
    /// ```
    /// use heist::task::TaskGroup;
    ///
    /// # fn main() -> Result<(), heist::task::GroupError> {
    /// heist::run(async {
    ///     TaskGroup::run(async |group| {
    ///         let (port, server) = group
    ///             .start(|ready| async move {
    ///                 ready.set(8080); // bound, say
    ///             })
    ///             .await?;
    ///         assert_eq!(port, 8080);
    ///         server.await?;
    ///         Ok(())
    ///     })
    ///     .await
    /// })
    /// # }
    /// ```
    ///
    /// # Counterpart
    ///
    /// Trio's `nursery.start`, whose `task_status.started(value)` is [`Ready::set`].
    #[track_caller]
    #[expect(clippy::type_complexity, reason = "as an async fn it would be none")]
    pub fn start<V, F>(
        &self,
        child: impl FnOnce(Ready<V>) -> F,
    ) -> impl Future<Output = Result<(V, Child<<F::Output as Outcome>::Value>), StartError>>
    where
        V: Send + 'static,
        F: Future<Output: Outcome> + Send + 'static,
    {
        let meta = Meta::caller();
        async move {
            let ticket = self.shared.enter(self.try_place()?)?;
            let (sender, receiver) = oneshot::channel();
            let starting = Arc::new(Lock::new(Starting::Waited(sender)));
            let ready = Ready(Arc::clone(&starting));
            let child = self.spawn_with(child(ready), ticket, Some(starting), meta);
            let unless_ready = CancelOnDrop(Some(child.task_ref()));
            match receiver.await {
                Ok(value) => {
                    unless_ready.disarm();
                    Ok((value, child))
                }
                Err(_) => Err(match child.await {
                    Ok(_) => StartError::NotReady,
                    Err(error) => StartError::Failed(error),
                }),
            }
        }
    }

    /// Cancels the body and all children. [`run`](Self::run) then returns when they are over: what the body gave if it was over, else an error
    /// that [`is_cancelled`](GroupError::is_cancelled).
    ///
    /// # Counterpart
    ///
    /// `asyncio.TaskGroup.cancel`.
    pub fn cancel(&self) {
        self.shared.abort(self.shared.state.lock(), None);
    }

    /// How many children are not over.
    pub fn len(&self) -> usize {
        self.shared.state.lock().children.len()
    }

    /// Whether all children are over.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether nobody can be spawned any more.
    pub fn is_closed(&self) -> bool {
        self.shared.is_ending()
    }

    fn try_place(&self) -> Result<Option<OwnedPermit>, SpawnError> {
        match &self.shared.places {
            None => Ok(None),
            Some(places) => match Arc::clone(places).try_acquire_owned() {
                Ok(place) => Ok(Some(place)),
                Err(_) if self.is_closed() => Err(SpawnError::Closed),
                Err(_) => Err(SpawnError::Full),
            },
        }
    }

    fn builder_of_child(&self) -> Builder {
        match &self.name {
            Some(name) => Builder::new().name(name.clone()),
            None => Builder::new(),
        }
    }

    fn spawn_with<F>(
        &self,
        future: F,
        ticket: Ticket,
        starting: Option<Arc<dyn Start>>,
        meta: Meta,
    ) -> Child<<F::Output as Outcome>::Value>
    where
        F: Future<Output: Outcome> + Send + 'static,
    {
        let child = ticket.child;
        let body = Body {
            future: Some(future),
            starting: starting.map(NotReady),
            ticket,
        };
        let task = self.builder_of_child().spawn_at(body, meta);
        self.shared.spawned(child, &task.task_ref());
        Child(task)
    }
}

impl fmt::Debug for TaskGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.shared.state.lock();
        let (phase, errors) = (state.phase, state.errors.len());
        let children: Vec<_> = state
            .children
            .iter()
            .filter_map(|(_, entry)| entry.task.clone())
            .collect();
        drop(state);
        f.debug_struct("TaskGroup")
            .field("phase", &phase)
            .field("children", &children)
            .field("errors", &errors)
            .finish()
    }
}

impl GroupBuilder {
    /// At most so many children at once: [`spawn`](TaskGroup::spawn) is an error beyond that, and [`spawn_wait`](TaskGroup::spawn_wait) waits.
    ///
    /// # Panics
    ///
    /// For none.
    #[track_caller]
    pub fn limit(mut self, limit: usize) -> Self {
        assert!(
            limit > 0,
            "a group with a limit of 0 can have no child; leave the limit out for any number"
        );
        // More than can be counted is no limit.
        self.limit = (limit <= Semaphore::MAX_PERMITS).then_some(limit);
        self
    }

    /// What the group does when a child ends.
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// As [`TaskGroup::run`].
    ///
    /// # Errors
    ///
    /// As there.
    ///
    /// # Panics
    ///
    /// As there.
    ///
    /// # Cancel safety
    ///
    /// As there.
    pub async fn run<T>(
        self,
        body: impl AsyncFnOnce(TaskGroup) -> Result<T, BoxError>,
    ) -> Result<T, GroupError> {
        let mut run = Run::new(Shared::new(self.policy, self.limit));
        let group = TaskGroup {
            shared: Arc::clone(&run.shared),
            name: None,
        };
        let value = run.body(|| body(group)).await;
        run.children().await;
        run.finish(value).await
    }
}

/// What a child may give: nothing, or a result.
#[diagnostic::on_unimplemented(
    message = "a child of a group gives `()` or a `Result`, and not `{Self}`",
    note = "where it cannot fail, `Ok::<_, std::convert::Infallible>(value)` will do"
)]
pub trait Outcome: Send + Sized {
    /// What it gives if it does not fail.
    type Value: Send + 'static;

    /// Whether it failed.
    ///
    /// # Errors
    ///
    /// It did.
    fn into_result(self) -> Result<Self::Value, BoxError>;
}

impl Outcome for () {
    type Value = ();

    fn into_result(self) -> Result<(), BoxError> {
        Ok(())
    }
}

impl<T: Send + 'static, E: Into<BoxError> + Send> Outcome for Result<T, E> {
    type Value = T;

    fn into_result(self) -> Result<T, BoxError> {
        self.map_err(Into::into)
    }
}

impl Ticket {
    /// Tells the group how its child has ended, if that counts.
    fn settle<T>(
        &self,
        output: std::thread::Result<Result<T, BoxError>>,
        counts: bool,
    ) -> Result<T, ChildError> {
        let task = try_current();
        let result = match output {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(ChildError::failed(task.as_ref(), error)),
            Err(payload) => Err(ChildError::panicked(task.as_ref(), payload)),
        };
        // Whoever passes on that another task was cancelled, or that the group is ending, is cancelled by that.
        let passed_on = result.as_ref().is_err_and(|error| {
            error.is_cancelled() || (error.is_closed() && self.shared.is_ending())
        });
        if counts && !passed_on {
            self.shared
                .ended(self.child, result.as_ref().err().cloned());
        }
        result
    }
}

pin_project_lite::pin_project! {
    /// What a child's task runs.
    struct Body<F> {
        #[pin]
        future: Option<F>,
        starting: Option<NotReady>,
        // Dropped last: the group waits for that.
        ticket: Ticket,
    }
}

impl<F: Future<Output: Outcome>> Future for Body<F> {
    type Output = Result<<F::Output as Outcome>::Value, ChildError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let polled = caught(|| match this.future.as_mut().as_pin_mut() {
            Some(future) => future.poll(cx).map(Outcome::into_result),
            None => Poll::Pending,
        });
        let output = match polled {
            Ok(poll) => Ok(ready!(poll)),
            Err(payload) => Err(payload),
        };
        // Its destructors may panic as it may itself.
        let output = match caught(|| this.future.set(None)) {
            Ok(()) => output,
            Err(payload) => output.and(Err(payload)),
        };
        let counts = this.starting.take().is_none_or(|starting| starting.0.end());
        Poll::Ready(this.ticket.settle(output, counts))
    }
}

/// A child of a group, and a future of what it gives. Dropping it lets the child go on.
pub struct Child<T>(Task<Result<T, ChildError>>);

impl<T> Child<T> {
    /// Its task.
    pub fn task_ref(&self) -> TaskRef {
        self.0.task_ref()
    }

    /// Asks it to end. That is no failure.
    pub fn cancel(&self) -> bool {
        self.0.cancel()
    }

    /// The task itself: for [`as_completed`](super::as_completed), [`wait`](super::wait()), [`gather`](super::gather), and what else takes tasks.
    pub fn into_task(self) -> Task<Result<T, ChildError>> {
        self.0
    }
}

impl<T> Future for Child<T> {
    type Output = Result<T, ChildError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let task = &mut self.get_mut().0;
        let output = ready!(Pin::new(&mut *task).poll(cx));
        Poll::Ready(match output {
            Ok(result) => result,
            Err(error) => Err(ChildError::ended(task.name(), error)),
        })
    }
}

impl<T> fmt::Debug for Child<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// By which a child says that it is ready, to whoever [started](TaskGroup::start) it.
#[must_use = "whoever started the child waits for it"]
pub struct Ready<V>(Arc<Lock<Starting<V>>>);

/// Whether a child that was started is ready.
enum Starting<V> {
    Waited(oneshot::Sender<V>),
    Ready,
    /// The child has ended before, or the [`Ready`] was dropped.
    Never,
}

impl<V> Starting<V> {
    /// Makes the end of waiting known, once; what was before.
    fn end(this: &Lock<Self>, with: Self) -> Option<oneshot::Sender<V>> {
        let mut starting = this.lock();
        match std::mem::replace(&mut *starting, with) {
            Self::Waited(sender) => Some(sender),
            before => {
                *starting = before;
                None
            }
        }
    }
}

/// A [`Starting`] whose value is somebody else's.
trait Start: Send + Sync {
    /// The child ends. Whether it was ready before.
    fn end(&self) -> bool;
}

impl<V: Send> Start for Lock<Starting<V>> {
    fn end(&self) -> bool {
        drop(Starting::end(self, Starting::Never));
        matches!(*self.lock(), Starting::Ready)
    }
}

/// Tells that the child will not be ready if its future is dropped.
struct NotReady(Arc<dyn Start>);

impl Drop for NotReady {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl<V> Ready<V> {
    /// The child is ready. A failure is one of the group from now on. If it has ended by now, nothing happens.
    #[doc(alias = "started")]
    pub fn set(self, value: V) {
        if let Some(sender) = Starting::end(&self.0, Starting::Ready) {
            // Whoever does not wait any more has cancelled the child.
            let _ = sender.send(value);
        }
    }
}

impl<V> Drop for Ready<V> {
    fn drop(&mut self) {
        drop(Starting::end(&self.0, Starting::Never));
    }
}

impl<V> fmt::Debug for Ready<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ready").finish_non_exhaustive()
    }
}

/// Cancels a task unless it is disarmed.
struct CancelOnDrop(Option<TaskRef>);

impl CancelOnDrop {
    fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        if let Some(task) = self.0.take() {
            task.cancel();
        }
    }
}

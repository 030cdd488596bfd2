//! Scopes: tasks that borrow from the stack of a function that is not async.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use heist_core::scope::{self, Lender, LentClosure};
use heist_core::task::Meta;
use heist_scheduler::Scheduler;

use super::{CallbackId, Task, TaskError, TaskRef};
use crate::runtime::Handle;
use crate::shim::{self, Lock};

/// By which tasks are spawned that may borrow what outlives `'scope`. Made by [`Runtime::scope`](crate::Runtime::scope); copies are the same scope.
///
/// # Examples
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// let runtime = heist::Runtime::new()?;
/// let numbers = vec![1, 2, 3, 4];
/// let sum: i32 = runtime.scope(|scope| {
///     let halves = numbers.split_at(2);
///     let first = scope.spawn(async move { halves.0.iter().sum::<i32>() });
///     let second = scope.spawn(async move { halves.1.iter().sum::<i32>() });
///     first.wait_blocking().unwrap() + second.wait_blocking().unwrap()
/// });
/// assert_eq!(sum, 10);
/// # Ok(())
/// # }
/// ```
///
/// # Counterpart
///
/// `std::thread::Scope`.
#[derive(Clone, Copy)]
pub struct Scope<'scope, 'env: 'scope> {
    lender: &'scope Lender<'scope, 'env, Arc<Shared>>,
}

/// What the tasks of one scope have in common.
struct Shared {
    handle: Handle,
    tasks: Lock<Tasks>,
}

#[derive(Default)]
struct Tasks {
    /// All that live, and some that are over.
    list: Vec<TaskRef>,
    /// How long the list may become before those are thrown out.
    room: usize,
    /// What is spawned from now on is cancelled too.
    cancelled: bool,
    /// How many have panicked, and nobody has awaited that.
    unseen: usize,
}

/// As [`Handle::scope`].
pub(crate) fn run<'env, T>(
    handle: Handle,
    f: impl for<'scope> FnOnce(Scope<'scope, 'env>) -> T,
) -> T {
    let shared = Arc::new(Shared {
        handle,
        tasks: Lock::new(Tasks::default()),
    });
    let output = scope::scope(
        Arc::clone(&shared),
        |lender| {
            let all = CancelAll(&lender.data().tasks);
            let output = f(Scope { lender });
            std::mem::forget(all);
            output
        },
        |poll| wait(&shared.handle, poll),
    );
    let unseen = shared.tasks.lock().unseen;
    assert!(
        unseen == 0,
        "{unseen} of the tasks of a scope have panicked, and nobody has awaited that"
    );
    output
}

/// Waits on this thread, whatever becomes of the runtime.
fn wait(handle: &Handle, poll: &mut dyn FnMut(&mut Context<'_>) -> bool) {
    if poll(&mut Context::from_waker(Waker::noop())) {
        return;
    }
    let mut over = poll_fn(|cx| match poll(cx) {
        true => Poll::Ready(()),
        false => Poll::Pending,
    });
    // A root that is cancelled has no say in this.
    while let Err(error) = handle.try_block_on(&mut over, Meta::caller().named("scope")) {
        if error.is_runtime_gone() {
            let over = heist_io::virtual_time::root(&*handle.context(), over);
            return Scheduler::block_in_place(|| shim::wait(over));
        }
    }
}

/// Cancels what is left of a scope whose closure has panicked.
struct CancelAll<'a>(&'a Lock<Tasks>);

impl Drop for CancelAll<'_> {
    fn drop(&mut self) {
        let mut tasks = self.0.lock();
        tasks.cancelled = true;
        let list = std::mem::take(&mut tasks.list);
        drop(tasks);
        for task in list {
            task.cancel();
        }
    }
}

impl<'scope> Scope<'scope, '_> {
    /// Spawns a task that may borrow what outlives the scope.
    ///
    /// On a runtime that is shut down the future is dropped, and the task is cancelled at once.
    #[track_caller]
    pub fn spawn<F>(self, future: F) -> ScopedTask<'scope, F::Output>
    where
        F: Future + Send + 'scope,
        F::Output: Send + 'scope,
    {
        self.spawn_with(future, Meta::caller())
    }

    pub(super) fn spawn_with<F>(self, future: F, meta: Meta) -> ScopedTask<'scope, F::Output>
    where
        F: Future + Send + 'scope,
        F::Output: Send + 'scope,
    {
        let shared = self.lender.data();
        let slot = Arc::<Slot<_>>::default();
        let its_slot = Arc::clone(&slot);
        let body = self.lender.future(async move {
            let mut future = pin!(future);
            let poll = |cx: &mut Context<'_>| its_slot.telling(shared, || future.as_mut().poll(cx));
            let value = poll_fn(poll).await;
            its_slot.put(value);
        });
        self.track(shared.handle.spawn_with(body, meta), slot)
    }

    /// Runs a closure that may block and may borrow what outlives the scope.
    #[track_caller]
    pub fn spawn_blocking<T: Send + 'scope>(
        self,
        f: impl FnOnce() -> T + Send + 'scope,
    ) -> ScopedTask<'scope, T> {
        let shared = self.lender.data();
        let slot = Arc::<Slot<_>>::default();
        let its_slot = Arc::clone(&slot);
        let job = self.lender.closure(move || {
            let value = its_slot.telling(shared, f);
            its_slot.put(value);
        });
        let call = move || job.call();
        let task = shared.handle.spawn_blocking_with(call, Meta::caller());
        self.track(task, slot)
    }

    fn track<T>(self, task: Task<()>, slot: Arc<Slot<T>>) -> ScopedTask<'scope, T> {
        let tasks = &self.lender.data().tasks;
        let mut guard = tasks.lock();
        if guard.list.len() >= guard.room {
            guard.list.retain(|task| !task.is_finished());
            guard.room = 2 * guard.list.len() + 16;
        }
        guard.list.push(task.task_ref());
        let cancelled = guard.cancelled;
        drop(guard);
        if cancelled {
            task.cancel();
        }
        ScopedTask {
            task,
            slot,
            scope: self.lender,
        }
    }
}

impl fmt::Debug for Scope<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut list = self.lender.data().tasks.lock().list.clone();
        list.retain(|task| !task.is_finished());
        f.debug_struct("Scope").field("tasks", &list).finish()
    }
}

/// A task of a [`Scope`], and a future of what it gives. Dropping it lets the task go on, and the scope waits for it.
///
/// # Cancel safety
///
/// Whoever awaits `&mut task` loses nothing.
///
/// # Counterpart
///
/// `std::thread::ScopedJoinHandle`.
pub struct ScopedTask<'scope, T> {
    task: Task<()>,
    slot: Arc<Slot<T>>,
    scope: &'scope dyn Lend<'scope>,
}

impl<'scope, T> ScopedTask<'scope, T> {
    /// Waits on this thread.
    ///
    /// # Errors
    ///
    /// The task has panicked or was cancelled.
    pub fn wait_blocking(self) -> Result<T, TaskError> {
        let result = self.task.wait_blocking();
        self.slot.output(result, self.scope.shared())
    }

    /// Has `f` called when the task is over, before whoever awaits it goes on; soon, if it is over.
    ///
    /// The scope waits for that too. A panic goes to the exception handler.
    pub fn add_done_callback(&self, f: impl FnOnce(&TaskRef) + Send + 'scope) -> CallbackId {
        let task = self.task.task_ref();
        let call = self.scope.closure(Box::new(move || f(&task)));
        self.task.add_done_callback(move |_| call.call())
    }

    /// Asks it to end. `false` if it is over.
    pub fn cancel(&self) -> bool {
        self.task.cancel()
    }

    /// Whether it is over.
    pub fn is_finished(&self) -> bool {
        self.task.is_finished()
    }

    /// The task, without what it gives.
    pub fn task_ref(&self) -> TaskRef {
        self.task.task_ref()
    }
}

/// A [`Lender`], whatever outlives it.
trait Lend<'scope>: Sync {
    fn closure(&'scope self, f: Box<dyn FnOnce() + Send + 'scope>) -> LentClosure;
    fn shared(&self) -> &Shared;
}

impl<'scope> Lend<'scope> for Lender<'scope, '_, Arc<Shared>> {
    fn closure(&'scope self, f: Box<dyn FnOnce() + Send + 'scope>) -> LentClosure {
        Lender::closure(self, f)
    }

    fn shared(&self) -> &Shared {
        self.data()
    }
}

/// Where a task puts what it gives.
struct Slot<T>(Lock<Output<T>>);

struct Output<T> {
    value: Option<T>,
    /// Counted as one that nobody has seen.
    panicked: bool,
}

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self(Lock::new(Output {
            value: None,
            panicked: false,
        }))
    }
}

impl<T> Slot<T> {
    fn put(&self, value: T) {
        self.0.lock().value = Some(value);
    }

    /// Runs code of the task, whose panic is one that somebody should see.
    fn telling<R>(&self, shared: &Shared, f: impl FnOnce() -> R) -> R {
        struct Unseen<'a, T>(&'a Slot<T>, &'a Shared);

        impl<T> Drop for Unseen<'_, T> {
            fn drop(&mut self) {
                self.0.0.lock().panicked = true;
                self.1.tasks.lock().unseen += 1;
            }
        }

        let unless_over = Unseen(self, shared);
        let value = f();
        std::mem::forget(unless_over);
        value
    }

    /// What the one gets who awaits a task that has ended so.
    fn output(&self, result: Result<(), TaskError>, shared: &Shared) -> Result<T, TaskError> {
        let mut output = self.0.lock();
        if std::mem::take(&mut output.panicked) {
            shared.tasks.lock().unseen -= 1;
        }
        let value = output.value.take();
        drop(output);
        result.map(|()| value.expect("a task that is over has put its output here"))
    }
}

impl<T> Future for ScopedTask<'_, T> {
    type Output = Result<T, TaskError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let result = ready!(Pin::new(&mut this.task).poll(cx));
        Poll::Ready(this.slot.output(result, this.scope.shared()))
    }
}

impl<T> fmt::Debug for ScopedTask<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.task.fmt(f)
    }
}

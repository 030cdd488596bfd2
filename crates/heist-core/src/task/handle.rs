//! The owner's handle: awaits the output, or lets the task go its way.

use super::Meta;
use super::cell::{Cell, Header, Origin, Stage, settle};
use super::harness::{Anywhere, BodyKind, OneThread, bodyless::Promised};
use super::id::TaskId;
use super::root::is_inside;
use super::state::{Action, Snapshot, TaskState};
use super::task_ref::TaskRef;
use crate::budget::poll_proceed;
use crate::callback::{self, CallbackId, Finished};
use crate::context::RuntimeKey;
use crate::error::TaskError;
use crate::shared::Shared;
use crate::sync::spin;
use std::borrow::Cow;
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::pin::Pin;
use std::ptr::NonNull;
use std::task::{Context, Poll, Waker, ready};

/// The flag `join` of a cell with an output of type `T`: what [`Task`], [`LocalTask`] and `Deferred` have in common.
pub(crate) struct Join<T> {
    header: NonNull<Header>,
    output: PhantomData<T>,
}

impl<T> Join<T> {
    /// # Safety
    ///
    /// The cell's output is a `T`, its `join` is set, and the caller gives it to this value.
    pub(crate) unsafe fn from_header(header: NonNull<Header>) -> Self {
        Self {
            header,
            output: PhantomData,
        }
    }

    /// A cell that is over from the start, as cancelled.
    pub(crate) fn gone<K: BodyKind>(meta: Meta) -> Self {
        let origin = Origin {
            location: meta.location,
            scheduler: std::ptr::null(),
            vtable: Promised::<K, T>::GONE,
            state: Snapshot::GONE,
            place: None,
            runtime: RuntimeKey::NONE,
            born: 0,
        };
        let header = Cell::<(), T>::allocate(
            origin,
            Stage {
                body: ManuallyDrop::new(()),
            },
        );
        // SAFETY: just made.
        let id = unsafe { header.as_ref() }.id;
        // SAFETY: a cell of these types.
        let stage = unsafe { Cell::<(), T>::stage(header) };
        let output = ManuallyDrop::new(Err(TaskError::runtime_gone(id)));
        // SAFETY: nobody else has seen the cell.
        stage.with_mut(|stage| unsafe { stage.write(Stage { output }) });
        // SAFETY: `GONE` has `join` set.
        let join = unsafe { Self::from_header(header) };
        if meta.name.is_some() {
            join.header().extras_or_new().lock().name = meta.name;
        }
        join
    }

    /// The error of a cell that is gone.
    pub(crate) fn into_error(self) -> TaskError {
        TaskError::runtime_gone(self.header().id)
    }

    pub(crate) fn header(&self) -> &Header {
        // SAFETY: `join` keeps the cell.
        unsafe { self.header.as_ref() }
    }

    pub(crate) fn pointer(&self) -> NonNull<Header> {
        self.header
    }

    pub(crate) fn task_ref(&self) -> TaskRef {
        // SAFETY: `join` keeps the cell.
        unsafe { TaskRef::from_header(self.header) }
    }

    /// Whether whoever is being polled here would wait for itself.
    pub(crate) fn is_current(&self) -> bool {
        is_inside(self.header)
    }

    fn output(&self) -> *mut Result<T, TaskError> {
        // SAFETY: the cell is live; what is done with the pointer answers for itself.
        unsafe { (self.header().vtable.output)(self.header) }.cast()
    }

    pub(crate) fn result(&self) -> Option<Result<&T, &TaskError>> {
        let seen = self.header().state.load();
        if !seen.is_over() || seen.has(Snapshot::TAKEN) {
            return None;
        }
        // SAFETY: CELL-1: over and not taken, so the output is there; this handle alone takes it, and is borrowed.
        let output = unsafe { &*self.output().cast_const() };
        Some(output.as_ref().inspect_err(|error| error.retrieved()))
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<T, TaskError>> {
        if self.is_current() {
            return Poll::Ready(Err(TaskError::self_await(self.header().id)));
        }
        let proceed = ready!(poll_proceed(cx));
        let output = ready!(self.poll_unbudgeted(cx));
        proceed.made_progress();
        Poll::Ready(output)
    }

    /// The same outside of any budget: for a thread that waits in its own name.
    pub(crate) fn poll_unbudgeted(&mut self, cx: &mut Context<'_>) -> Poll<Result<T, TaskError>> {
        loop {
            match self.header().state.take() {
                Action::Take => {
                    // SAFETY: CELL-1: this thread has just set `taken`: the output is moved out, once.
                    let output = unsafe { self.output().read() };
                    return Poll::Ready(output.inspect_err(|error| error.retrieved()));
                }
                Action::Gone => panic!("a task was polled again after it gave its result"),
                _ => {}
            }
            if self.register(cx.waker()) {
                return Poll::Pending;
            }
        }
    }

    /// Leaves a waker. `false` if the output has become ready.
    fn register(&self, waker: &Waker) -> bool {
        if self.header().state.load().has(Snapshot::JOIN_WAKER) {
            match self.header().state.unset_join_waker() {
                Action::Pending => {}
                Action::Ready => return false,
                _ => {
                    // Another thread takes the old waker out at this very moment.
                    waker.wake_by_ref();
                    return true;
                }
            }
        }
        let old = self.replace_waker(None);
        let new = match old {
            Some(old) if old.will_wake(waker) => old,
            old => {
                drop(old);
                waker.clone()
            }
        };
        // The slot is empty: cloning and dropping are user code, and may have panicked.
        self.replace_waker(Some(new));
        if self.header().state.set_join_waker() == Action::Ready {
            drop(self.replace_waker(None));
            return false;
        }
        true
    }

    /// Takes back the waker of an await that was given up.
    pub(crate) fn withdraw_waker(&self) {
        while self.header().state.load().has(Snapshot::JOIN_WAKER) {
            match self.header().state.unset_join_waker() {
                Action::Pending => return callback::drop_waker(self.replace_waker(None)),
                // Another thread takes it out: a few instructions, without user code. A late callback must not find it here.
                _ => spin(),
            }
        }
    }

    /// Leaves the one waker that a shared handle ever leaves. `false` if the output has become ready.
    ///
    /// The caller keeps other awaiters away meanwhile.
    pub(crate) fn register_shared(&self, waker: impl FnOnce() -> Waker) -> bool {
        let seen = self.header().state.load();
        if seen.has(Snapshot::JOIN_WAKER) {
            // Also with `waking`: it will be woken by then.
            return !seen.is_ready();
        }
        self.register(&waker())
    }

    /// Fills or empties the slot, which is this handle's.
    fn replace_waker(&self, waker: Option<Waker>) -> Option<Waker> {
        self.header().join_waker.with_mut(|slot| {
            // SAFETY: CELL-3: `join_waker` is clear.
            let slot = unsafe { &mut *slot };
            std::mem::replace(slot, waker)
        })
    }
}

impl<T> Drop for Join<T> {
    #[inline]
    fn drop(&mut self) {
        loop {
            match self.header().state.drop_join() {
                // SAFETY: `join` keeps the cell, and the action set `taken` for this handle.
                Action::DropOutput => unsafe { callback::drop_output(self.header) },
                Action::DropWaker => callback::drop_waker(self.replace_waker(None)),
                Action::WakePromise => {
                    // SAFETY: the action turned `join` into a counted handle, which is this one.
                    let handle = unsafe { TaskRef::adopt(self.header) };
                    return callback::wake_promise(handle.header());
                }
                action => {
                    // SAFETY: `join` was given up.
                    unsafe { settle(self.header, action) };
                    return;
                }
            }
        }
    }
}

/// A task: a future that its runtime runs, and a future of what that one returns.
///
/// Dropping it lets the task go on ([`detach`](Task::detach)); nothing is cancelled by that. Its `Debug` is a picture of the
/// task: `<Task pending name="Task-1" at src/main.rs:9:5>`.
///
/// # Panics
///
/// Polling it again after it has given its result.
///
/// # Cancel safety
///
/// Nothing is lost when the await is dropped and begun again.
///
/// # Counterpart
///
/// `asyncio.Task`. Cancelling a task that awaits another one leaves that one alive; asyncio cancels it too.
/// Tokio's `JoinHandle`.
#[doc(alias = "JoinHandle")]
pub struct Task<T>(Join<T>);

// SAFETY: the handle moves the output (`T: Send`) out, or lends it where the method asks for `T: Sync`.
unsafe impl<T: Send> Send for Task<T> {}
// SAFETY: through a shared handle the output is reached only by `result`, which asks for `T: Sync` itself.
unsafe impl<T: Send> Sync for Task<T> {}

impl<T> Unpin for Task<T> {}

/// A task of a [`spawn_local`](super::spawn_local): as [`Task`], but it, its output and its callbacks stay on one thread.
#[doc(alias = "Task")]
#[doc(alias = "JoinHandle")]
pub struct LocalTask<T> {
    join: Join<T>,
    not_send: PhantomData<*const ()>,
}

impl<T> Unpin for LocalTask<T> {}

macro_rules! common {
    ($self:ident => $join:expr) => {
        /// The id, unique in the process.
        pub fn id(&$self) -> TaskId {
            $join.header().id
        }

        /// The name: what it was given, else `Task-` and its id.
        ///
        /// # Counterpart
        ///
        /// `Task.get_name`.
        #[doc(alias = "get_name")]
        pub fn name(&$self) -> String {
            $join.header().name()
        }

        /// Gives it another name.
        pub fn set_name(&$self, name: impl Into<String>) {
            $self.task_ref().set_name(name);
        }

        /// Pending, or how it ended.
        pub fn state(&$self) -> TaskState {
            $join.header().state.load().outcome()
        }

        /// Whether it is over, in any way.
        ///
        /// # Counterpart
        ///
        /// `Task.done`.
        #[doc(alias = "done")]
        pub fn is_finished(&$self) -> bool {
            $join.header().state.load().is_over()
        }

        /// Whether it ended as cancelled.
        ///
        /// # Counterpart
        ///
        /// `Task.cancelled`.
        #[doc(alias = "cancelled")]
        pub fn is_cancelled(&$self) -> bool {
            $self.state() == TaskState::Cancelled
        }

        /// Where it was spawned.
        pub fn spawn_location(&$self) -> &'static std::panic::Location<'static> {
            $join.header().location
        }

        /// Asks the task to end, from any thread, at any time. Returns whether that can still take effect.
        ///
        /// Without a [`catch_cancel`](crate::cancel::catch_cancel) the task's future is dropped at its next scheduling point: never
        /// in the middle of a poll, never on this thread. A poll that is running and returns a value wins.
        ///
        /// # Counterpart
        ///
        /// `Task.cancel`. Unlike there, a task that was asked and returns without another await has finished.
        pub fn cancel(&$self) -> bool {
            $self.task_ref().cancel()
        }

        /// [`cancel`](Self::cancel) with a reason, which the error carries.
        pub fn cancel_with(&$self, reason: impl Into<Cow<'static, str>>) -> bool {
            $self.task_ref().cancel_with(reason)
        }

        /// Ends the task at its next scheduling point, past any `catch_cancel`: no clean-up but `Drop`.
        ///
        /// # Counterpart
        ///
        /// Tokio's `JoinHandle::abort`.
        pub fn abort(&$self) -> bool {
            $self.task_ref().abort()
        }

        /// Takes a done-callback back. Returns whether it was there.
        pub fn remove_done_callback(&$self, id: CallbackId) -> bool {
            callback::remove(&$self.task_ref(), id, true)
        }

        /// The untyped view, which can be kept and cloned.
        #[doc(alias = "abort_handle")]
        pub fn task_ref(&$self) -> TaskRef {
            $join.task_ref()
        }

        /// Lets the task go on by itself. The same as dropping the handle.
        pub fn detach(self) {}
    };
}

impl<T> Task<T> {
    /// # Safety
    ///
    /// As for `Join::from_header`, of a cell whose output may be sent if `T` may.
    pub(crate) unsafe fn from_header(header: NonNull<Header>) -> Self {
        // SAFETY: handed on.
        Self(unsafe { Join::from_header(header) })
    }

    /// A task for a runtime that is gone: cancelled at once, [`TaskError::is_runtime_gone`].
    #[doc(hidden)]
    pub fn gone(meta: Meta) -> Self {
        Self(Join::gone::<Anywhere>(meta))
    }

    common!(self => self.0);

    /// What the task left: `None` while it is pending, and again after an await has taken it.
    ///
    /// # Counterpart
    ///
    /// `Task.result` and `Task.exception`, which raise where this is `None`.
    #[doc(alias = "exception")]
    pub fn result(&self) -> Option<Result<&T, &TaskError>>
    where
        T: Sync,
    {
        self.0.result()
    }

    /// Has `f` called with the finished task, soon after it is over.
    ///
    /// Callbacks run once each, in the order of registration, one at a time, on a thread of the runtime, before an await of the
    /// task continues; never inside of this call. One that is added when the task is over runs as a small task of its own and
    /// holds the output back until then. If the runtime is gone it runs here. A panic in it goes to the exception handler.
    ///
    /// # Counterpart
    ///
    /// `Task.add_done_callback`. More arguments are captured by the closure.
    pub fn add_done_callback(&self, f: impl FnOnce(&Finished<'_, T>) + Send + 'static) -> CallbackId
    where
        T: Send + 'static,
    {
        // SAFETY: the output of this cell is a `T`; closure and output are `Send`.
        unsafe { callback::add_typed(&self.task_ref(), f, false) }
    }

    /// A handle that can be cloned and awaited many times; each await gets a clone of the output.
    pub fn share(self) -> Shared<T>
    where
        T: Clone + Send + Sync,
    {
        Shared::new(self.0)
    }

    /// Blocks this thread until the task is over, and gives its result.
    ///
    /// Works everywhere on a multi-threaded runtime: inside a task, another thread serves in its place meanwhile.
    /// There are four such threads per core, at most; the exception handler is told when they do not suffice.
    ///
    /// # Errors
    ///
    /// Why there is no value. Inside of the task itself that is at once
    /// [`is_self_await`](TaskError::is_self_await).
    ///
    /// # Panics
    ///
    /// Unless the task is over: on a local runtime's own thread, inside of its tasks or where it is entered, since it would wait for
    /// itself; and where the runtime that this thread is in has ended or does so meanwhile, as its `block_on`.
    ///
    /// # Counterpart
    ///
    /// `concurrent.futures.Future.result`, which `run_coroutine_threadsafe` gives.
    pub fn wait_blocking(mut self) -> Result<T, TaskError> {
        // What is over needs no runtime to wait with, unless late callbacks still hold the output back.
        let mut cx = Context::from_waker(Waker::noop());
        if self.is_finished() {
            if let Poll::Ready(output) = self.0.poll_unbudgeted(&mut cx) {
                return output;
            }
        }
        let mut result = None;
        crate::context::block_on(&mut |cx| match self.0.poll(cx) {
            Poll::Ready(output) => {
                result = Some(output);
                true
            }
            Poll::Pending => false,
        });
        match result {
            Some(result) => result,
            None => unreachable!("the wait ends when the task has given its result"),
        }
    }

    /// Asks it to end, and waits until it has, clean-up included.
    ///
    /// # Errors
    ///
    /// It is cancelled, as it was asked to be, or it has panicked. One that was over already, or that swallows the request, gives
    /// its output.
    ///
    /// # Cancel safety
    ///
    /// The request is made at once, and stays; the task goes on to its end without its handle.
    ///
    /// # Counterpart
    ///
    /// `task.cancel()`, and `await task` in a `try` that expects `CancelledError`.
    pub fn cancel_and_wait(self) -> impl Future<Output = Result<T, TaskError>> {
        self.cancel();
        self
    }

    /// A handle that cancels the task when it is dropped. It is a future, too.
    ///
    /// # Counterpart
    ///
    /// What awaiting a task does in asyncio, where cancelling the one who waits cancels the task.
    #[doc(alias = "AbortOnDropHandle")]
    pub fn cancel_on_drop(self) -> CancelOnDrop<T> {
        CancelOnDrop(self)
    }
}

impl<T> LocalTask<T> {
    /// # Safety
    ///
    /// As for `Join::from_header`, on the thread of the task.
    pub(crate) unsafe fn from_header(header: NonNull<Header>) -> Self {
        Self {
            // SAFETY: handed on.
            join: unsafe { Join::from_header(header) },
            not_send: PhantomData,
        }
    }

    /// A task for a runtime that is gone: cancelled at once, [`TaskError::is_runtime_gone`].
    #[doc(hidden)]
    pub fn gone(meta: Meta) -> Self {
        Self {
            join: Join::gone::<OneThread>(meta),
            not_send: PhantomData,
        }
    }

    common!(self => self.join);

    /// What the task left: `None` while it is pending, and again after an await has taken it.
    pub fn result(&self) -> Option<Result<&T, &TaskError>> {
        self.join.result()
    }

    /// Has `f` called with the finished task, soon after it is over, on this thread. See [`Task::add_done_callback`].
    pub fn add_done_callback(&self, f: impl FnOnce(&Finished<'_, T>) + 'static) -> CallbackId
    where
        T: 'static,
    {
        // SAFETY: the output of this cell is a `T`, and handles of local tasks stay on the thread of the task.
        unsafe { callback::add_typed(&self.task_ref(), f, true) }
    }
}

impl<T> Future for Task<T> {
    type Output = Result<T, TaskError>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.poll(cx)
    }
}

impl<T> Future for LocalTask<T> {
    type Output = Result<T, TaskError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.join.poll(cx)
    }
}

impl<T> fmt::Debug for Task<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.task_ref().fmt(f)
    }
}

impl<T> fmt::Debug for LocalTask<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.task_ref().fmt(f)
    }
}

/// A task that is cancelled when this handle is dropped. Made by [`Task::cancel_on_drop`].
///
/// # Cancel safety
///
/// Dropping it is the cancellation.
#[derive(Debug)]
#[doc(alias = "AbortOnDropHandle")]
pub struct CancelOnDrop<T>(Task<T>);

impl<T> CancelOnDrop<T> {
    /// The task, for questions.
    pub fn task(&self) -> &Task<T> {
        &self.0
    }
}

impl<T> Future for CancelOnDrop<T> {
    type Output = Result<T, TaskError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx)
    }
}

impl<T> Drop for CancelOnDrop<T> {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

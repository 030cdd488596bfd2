//! A value that somebody completes and somebody else awaits: the task's word and callbacks, without a body.
//!
//! The flag `alive` of the cell belongs to the [`Promise`], `join` to the [`Deferred`]. Who wants to store an output claims `run`
//! first, so a result and a cancellation never meet.

use crate::callback::{self, CallbackId, Finished};
use crate::context::RuntimeKey;
use crate::error::TaskError;
use crate::shared::Shared;
use crate::sync::{mutated, spin};
use crate::task::cell::{Cell, Header, Origin, Stage, settle};
use crate::task::handle::Join;
use crate::task::harness::{Anywhere, bodyless::Promised};
use crate::task::state::{Action, Snapshot};
use crate::task::{TaskId, TaskRef, TaskState};
use std::borrow::Cow;
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::panic::Location;
use std::pin::Pin;
use std::ptr::NonNull;
use std::task::{Context, Poll};

/// A pair: whoever has the promise completes it, whoever has the deferred side waits.
///
/// # Counterpart
///
/// `loop.create_future()`, whose result can be set by anybody who has it. Tokio's `oneshot::channel`.
#[doc(alias = "create_future")]
#[doc(alias = "oneshot")]
#[track_caller]
pub fn promise<T>() -> (Promise<T>, Deferred<T>) {
    let origin = Origin {
        location: Location::caller(),
        scheduler: std::ptr::null(),
        vtable: Promised::<Anywhere, T>::VTABLE,
        state: Snapshot::PROMISED,
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
    // SAFETY: `PROMISED` has `join` set, and the cell's output is a `T`.
    let join = unsafe { Join::from_header(header) };
    (
        Promise {
            header,
            output: PhantomData,
        },
        Deferred(join),
    )
}

/// The side that completes. Dropping it cancels the other.
#[doc(alias = "Sender")]
#[doc(alias = "Future")]
pub struct Promise<T> {
    header: NonNull<Header>,
    /// Takes a `T` in, which whoever has the other side gets out as the `T` it was made for: neither co- nor contravariant.
    output: PhantomData<fn(T) -> T>,
}

// SAFETY: a value of type `T: Send` may be put in on any thread.
unsafe impl<T: Send> Send for Promise<T> {}
// SAFETY: nothing of the value is reachable through a shared promise.
unsafe impl<T: Send> Sync for Promise<T> {}

impl<T> Unpin for Promise<T> {}

/// Stores an output in a promise's cell, if nobody has before. Gives it back otherwise.
///
/// # Safety
///
/// The caller keeps the cell, whose output is a `T`.
pub(crate) unsafe fn complete<T>(
    pointer: NonNull<Header>,
    outcome: TaskState,
    output: Result<T, TaskError>,
) -> Result<(), Result<T, TaskError>> {
    // SAFETY: the caller keeps the cell.
    let header = unsafe { pointer.as_ref() };
    if header.state.claim() == Action::Refused && !mutated("promise-unclaimed") {
        return Err(output);
    }
    let unwanted = !header
        .state
        .load()
        .has(Snapshot::JOIN | Snapshot::CALLBACKS);
    if outcome == TaskState::Finished && unwanted {
        let _ = header.state.unclaim();
        return Err(output);
    }
    // SAFETY: the types are the caller's word.
    let stage = unsafe { Cell::<(), T>::stage(pointer) };
    let output = ManuallyDrop::new(output);
    stage.with_mut(|stage| {
        // SAFETY: CELL-1: `run` was claimed, and nothing is stored yet.
        unsafe { stage.write(Stage { output }) };
    });
    let (before, action) = header.state.complete(outcome);
    match action {
        // SAFETY: `waking` was set for this thread; the caller keeps the cell.
        Action::WakeJoin => unsafe { callback::wake_join(pointer, |state| state.woken()) },
        // SAFETY: the action set `taken` for this thread; the caller keeps the cell.
        Action::DropOutput if !mutated("promise-output-forgotten") => unsafe {
            callback::drop_output(pointer);
        },
        // SAFETY: a handle was counted for the one who drains.
        Action::Drain => callback::drain_soon(unsafe { TaskRef::adopt(pointer) }),
        _ => {}
    }
    if before.has(Snapshot::WATCH) {
        callback::wake_promise(header);
    }
    Ok(())
}

impl<T> Promise<T> {
    fn header(&self) -> &Header {
        // SAFETY: `alive` keeps the cell.
        unsafe { self.header.as_ref() }
    }

    /// The id, unique in the process.
    pub fn id(&self) -> TaskId {
        self.header().id
    }

    /// Completes the deferred side with a value. Callbacks run soon, never inside of this call.
    ///
    /// # Errors
    ///
    /// Gives the value back if the deferred side was cancelled, or dropped without callbacks.
    ///
    /// # Counterpart
    ///
    /// `Future.set_result`, which raises `InvalidStateError` the second time; here there is no second time.
    pub fn set_result(self, value: T) -> Result<(), T> {
        // SAFETY: `self` keeps the cell, whose output is a `T`.
        let refused = unsafe { complete(self.header, TaskState::Finished, Ok(value)) };
        refused.map_err(|output| match output {
            Ok(value) => value,
            Err(_) => unreachable!("a value was given"),
        })
    }

    /// Cancels the deferred side. The same as dropping the promise.
    pub fn cancel(self) {}

    /// Whether a value would be given back: the deferred side was cancelled, or dropped without callbacks.
    pub fn is_cancelled(&self) -> bool {
        let seen = self.header().state.load();
        seen.is_over() || !seen.has(Snapshot::JOIN | Snapshot::CALLBACKS)
    }

    /// Waits until [`is_cancelled`](Promise::is_cancelled).
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    ///
    /// # Counterpart
    ///
    /// Tokio's `oneshot::Sender::closed`.
    pub fn cancelled(&mut self) -> Cancellation<'_> {
        Cancellation {
            header: self.header,
            promise: PhantomData,
        }
    }
}

impl<T> Drop for Promise<T> {
    fn drop(&mut self) {
        let header = self.header();
        if !header.state.load().is_over() {
            let error = TaskError::cancelled(header.id, Some("the promise was dropped".into()));
            // SAFETY: `self` keeps the cell, whose output is a `T`.
            let refused = unsafe { complete::<T>(self.header, TaskState::Cancelled, Err(error)) };
            drop(refused);
            // The other side may have claimed it just now: a few instructions, without user code, and it is over.
            while !header.state.load().is_over() {
                spin();
            }
        }
        let action = header.state.release();
        // SAFETY: `alive` was given up.
        unsafe { settle(self.header, action) };
    }
}

impl<T> fmt::Debug for Promise<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (id, state) = (self.id(), self.header().state.load().outcome());
        write!(f, "<Promise {state} id={id} at {}>", self.header().location)
    }
}

/// Waits until the other side of a promise is gone. Made by [`Promise::cancelled`].
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct Cancellation<'a> {
    header: NonNull<Header>,
    promise: PhantomData<&'a mut ()>,
}

// SAFETY: it only looks at the header's word and at what its lock guards.
unsafe impl Send for Cancellation<'_> {}
// SAFETY: see `Send`.
unsafe impl Sync for Cancellation<'_> {}

impl Future for Cancellation<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        // SAFETY: the borrowed promise keeps the cell.
        let header = unsafe { self.header.as_ref() };
        let waker = cx.waker().clone();
        let old = header.extras_or_new().lock().cancel_waker.replace(waker);
        callback::drop_waker(old);
        // The event that ends the wait sees the flag, or this one sees that it has been.
        let refused = header.state.watch() == Action::Refused;
        let seen = header.state.load();
        let over = refused || !seen.has(Snapshot::JOIN | Snapshot::CALLBACKS);
        if over && !mutated("cancellation-no-recheck") {
            return Poll::Ready(());
        }
        Poll::Pending
    }
}

/// The side that waits: a future of what the promise is completed with.
///
/// It is cancelled when the promise is dropped without a value.
///
/// # Cancel safety
///
/// Nothing is lost when the await is dropped and begun again.
///
/// # Counterpart
///
/// `asyncio.Future`. Tokio's `oneshot::Receiver`.
#[doc(alias = "Future")]
pub struct Deferred<T>(Join<T>);

// SAFETY: as for `Task`.
unsafe impl<T: Send> Send for Deferred<T> {}
// SAFETY: as for `Task`.
unsafe impl<T: Send> Sync for Deferred<T> {}

impl<T> Unpin for Deferred<T> {}

impl<T> Deferred<T> {
    fn header(&self) -> &Header {
        self.0.header()
    }

    /// The id, unique in the process.
    pub fn id(&self) -> TaskId {
        self.header().id
    }

    /// Pending, or how it ended.
    pub fn state(&self) -> TaskState {
        self.header().state.load().outcome()
    }

    /// Whether it is over, in any way.
    #[doc(alias = "done")]
    pub fn is_finished(&self) -> bool {
        self.header().state.load().is_over()
    }

    /// Whether it was cancelled, or its promise dropped.
    #[doc(alias = "cancelled")]
    pub fn is_cancelled(&self) -> bool {
        self.state() == TaskState::Cancelled
    }

    /// What it was completed with: `None` while it is pending, and again after an await has taken it.
    pub fn result(&self) -> Option<Result<&T, &TaskError>>
    where
        T: Sync,
    {
        self.0.result()
    }

    /// Cancels it, at once. Returns whether it was still pending.
    pub fn cancel(&self) -> bool {
        self.cancel_for(None)
    }

    /// [`cancel`](Deferred::cancel) with a reason, which the error carries.
    pub fn cancel_with(&self, reason: impl Into<Cow<'static, str>>) -> bool {
        self.cancel_for(Some(reason.into()))
    }

    fn cancel_for(&self, reason: Option<Cow<'static, str>>) -> bool {
        let error = TaskError::cancelled(self.id(), reason);
        // SAFETY: `join` keeps the cell, whose output is a `T`.
        unsafe { complete::<T>(self.0.pointer(), TaskState::Cancelled, Err(error)) }.is_ok()
    }

    /// Has `f` called with it, soon after it is over. See [`Task::add_done_callback`](crate::task::Task::add_done_callback).
    ///
    /// The first callback binds it to the runtime that is current then, else to the process-wide one: callbacks run there. Where there
    /// is none, they run on the thread that completes or adds.
    pub fn add_done_callback(&self, f: impl FnOnce(&Finished<'_, T>) + Send + 'static) -> CallbackId
    where
        T: Send + 'static,
    {
        // SAFETY: the output of this cell is a `T`; closure and output are `Send`.
        unsafe { callback::add_typed(&self.0.task_ref(), f, false) }
    }

    /// Takes a done-callback back. Returns whether it was there.
    pub fn remove_done_callback(&self, id: CallbackId) -> bool {
        callback::remove(&self.0.task_ref(), id, true)
    }

    /// A handle that can be cloned and awaited many times; each await gets a clone of the value.
    ///
    /// The value borrows nothing: a done-callback that is added to the shared handle's view keeps it for as long as it likes.
    pub fn share(self) -> Shared<T>
    where
        T: Clone + Send + Sync + 'static,
    {
        Shared::new(self.0)
    }
}

impl<T> Future for Deferred<T> {
    type Output = Result<T, TaskError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.poll(cx)
    }
}

impl<T> fmt::Debug for Deferred<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (id, state) = (self.id(), self.state());
        write!(
            f,
            "<Deferred {state} id={id} at {}>",
            self.header().location
        )
    }
}

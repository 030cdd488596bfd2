//! The untyped, clonable view of a task.

use super::cell::{Header, settle};
use super::id::TaskId;
use super::root::is_below;
use super::state::{Action, Snapshot, TaskState};
use crate::callback::{self, CallbackId};
use crate::context::FRAME;
use crate::sync::mutated;
use std::borrow::Cow;
use std::fmt;
use std::panic::Location;
use std::ptr::NonNull;
use std::time::Duration;

/// A task without its type: what it is called, how it is, and how to end it.
///
/// Keeps the task's block of memory, not the task: the future is dropped when the task is over.
///
/// # Counterpart
///
/// An entry of `asyncio.all_tasks()`. Tokio's `AbortHandle`.
#[doc(alias = "AbortHandle")]
pub struct TaskRef(NonNull<Header>);

// SAFETY: through the header only atomics, constants and what locks guard can be reached; the cell is counted.
unsafe impl Send for TaskRef {}
// SAFETY: see `Send`.
unsafe impl Sync for TaskRef {}

impl TaskRef {
    /// Counts a new handle.
    ///
    /// # Safety
    ///
    /// The cell is live, and something keeps it during this call.
    pub(crate) unsafe fn from_header(header: NonNull<Header>) -> Self {
        // SAFETY: the caller keeps the cell.
        unsafe { header.as_ref() }.state.add_handle();
        Self(header)
    }

    /// Takes over a handle that an event has counted.
    ///
    /// # Safety
    ///
    /// The count is the caller's.
    pub(crate) unsafe fn adopt(header: NonNull<Header>) -> Self {
        Self(header)
    }

    pub(crate) fn header(&self) -> &Header {
        // SAFETY: this handle is counted, so the cell is live.
        unsafe { self.0.as_ref() }
    }

    pub(crate) fn pointer(&self) -> NonNull<Header> {
        self.0
    }

    /// The id, unique in the process.
    pub fn id(&self) -> TaskId {
        self.header().id
    }

    /// The name: what it was given, else `Task-` and its id.
    #[doc(alias = "get_name")]
    pub fn name(&self) -> String {
        self.header().name()
    }

    /// Gives it another name.
    pub fn set_name(&self, name: impl Into<String>) {
        let name = name.into();
        let old = self.header().extras_or_new().lock().name.replace(name);
        drop(old);
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

    /// Whether it ended as cancelled.
    #[doc(alias = "cancelled")]
    pub fn is_cancelled(&self) -> bool {
        self.state() == TaskState::Cancelled
    }

    /// Where it was spawned.
    pub fn spawn_location(&self) -> &'static Location<'static> {
        self.header().location
    }

    /// How long ago it was spawned, to the precision of the runtime's cached clock. Zero once its runtime is gone.
    pub fn age(&self) -> Duration {
        let header = self.header();
        match header.runtime().upgrade() {
            Some(runtime) => {
                let now = runtime
                    .platform()
                    .now()
                    .saturating_duration_since(runtime.started());
                now.saturating_sub(Duration::from_millis(header.born.into()))
            }
            None => Duration::ZERO,
        }
    }

    /// How many wakers of it exist. A pending task that is not queued and has none can never be woken.
    pub fn wakers(&self) -> usize {
        self.header().state.load().wakers() as usize
    }

    /// How many handles of it exist: its [`Task`](crate::task::Task) and all `TaskRef`s, this one included.
    pub fn handles(&self) -> usize {
        self.header().state.load().handles() as usize
    }

    /// Asks it to end. See [`Task::cancel`](crate::task::Task::cancel).
    pub fn cancel(&self) -> bool {
        self.request(None, false)
    }

    /// [`cancel`](TaskRef::cancel) with a reason, for [`TaskError::reason`](crate::error::TaskError::reason).
    pub fn cancel_with(&self, reason: impl Into<Cow<'static, str>>) -> bool {
        self.request(Some(reason.into()), false)
    }

    /// Ends it without clean-up. See [`Task::abort`](crate::task::Task::abort).
    pub fn abort(&self) -> bool {
        self.request(None, !mutated("abort-as-cancel"))
    }

    fn request(&self, reason: Option<Cow<'static, str>>, abort: bool) -> bool {
        // SAFETY: this handle keeps the cell.
        unsafe { (self.header().vtable.request)(self.0, reason, abort) }
    }

    /// [`cancel_with`](TaskRef::cancel_with) for the end of the runtime: of many such calls one takes effect, so that the clean-up
    /// that it starts is not taken for one that refuses to end.
    #[doc(hidden)]
    pub fn cancel_at_the_end(&self, reason: impl Into<Cow<'static, str>>) -> bool {
        let mut extras = self.header().extras_or_new().lock();
        let first = !std::mem::replace(&mut extras.told_of_the_end, true);
        drop(extras);
        first && self.request(Some(reason.into()), false)
    }

    /// How many cancel requests have been made and not been taken back.
    pub fn cancelling(&self) -> usize {
        self.header()
            .extras()
            .map_or(0, |extras| extras.lock().requests)
    }

    /// Takes one cancel request back, and returns how many are left. At none, a request that was not delivered yet is void.
    pub fn uncancel(&self) -> usize {
        let header = self.header();
        let Some(extras) = header.extras() else {
            return 0;
        };
        let mut extras = extras.lock();
        extras.requests = extras.requests.saturating_sub(1);
        if extras.requests == 0 {
            let _ = header.state.uncancel();
        }
        extras.requests
    }

    /// Has `f` called with this task, soon after it is over: on a thread of its runtime, in the order of registration.
    /// See [`Task::add_done_callback`](crate::task::Task::add_done_callback).
    pub fn add_done_callback(&self, f: impl FnOnce(&TaskRef) + Send + 'static) -> CallbackId {
        callback::add(self, f)
    }

    /// Takes a callback back. Returns whether it was there; those that were added to a `LocalTask` itself are not found from here.
    pub fn remove_done_callback(&self, id: CallbackId) -> bool {
        callback::remove(self, id, false)
    }

    /// Makes it runnable, as a waker would.
    pub(crate) fn wake(&self) {
        let action = self.header().state.wake();
        // SAFETY: the action is `Enqueue`, with which the runnable comes, or nothing.
        unsafe { settle(self.0, action) };
    }

    /// Whether it cannot end before what this thread does now: it is on the stack.
    #[doc(hidden)]
    pub fn is_polled_here(&self) -> bool {
        is_below(self.0)
    }

    /// Whether it is queued or polled.
    #[doc(hidden)]
    pub fn is_stirring(&self) -> bool {
        self.header()
            .state
            .load()
            .has(Snapshot::SCHED | Snapshot::RUN)
    }

    /// Whether a cancel request was made that has not been delivered yet.
    pub fn is_cancel_pending(&self) -> bool {
        self.header().state.load().has(Snapshot::CANCEL)
    }

    /// Whether it was asked to end without clean-up.
    pub fn is_aborted(&self) -> bool {
        self.header().state.load().has(Snapshot::ABORT)
    }

    /// Whether a request waits that a catcher may take.
    pub(crate) fn has_request(&self) -> bool {
        let seen = self.header().state.load();
        seen.has(Snapshot::CANCEL) && !seen.has(Snapshot::ABORT)
    }
}

impl Clone for TaskRef {
    fn clone(&self) -> Self {
        // SAFETY: this handle keeps the cell.
        unsafe { Self::from_header(self.0) }
    }
}

impl Drop for TaskRef {
    fn drop(&mut self) {
        let action = self.header().state.drop_handle();
        // SAFETY: this handle's count was given up.
        unsafe { settle(self.0, action) };
    }
}

impl PartialEq for TaskRef {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl Eq for TaskRef {}

impl fmt::Debug for TaskRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (state, name, at) = (self.state(), self.name(), self.spawn_location());
        write!(f, "<Task {state} name={name:?} at {at}>")
    }
}

/// The task that is being polled on this thread, if there is one.
#[doc(alias = "current_task")]
#[doc(alias = "try_id")]
pub fn try_current() -> Option<TaskRef> {
    let header = current_header()?;
    // SAFETY: the poll that set the pointer is on this thread's stack and keeps the cell.
    Some(unsafe { TaskRef::from_header(header) })
}

/// The task that is being polled on this thread.
///
/// # Panics
///
/// Outside of a task; [`try_current`] does not.
///
/// # Counterpart
///
/// `asyncio.current_task()`.
#[doc(alias = "current_task")]
#[track_caller]
pub fn current() -> TaskRef {
    try_current().expect("current() is for code that runs inside of a task")
}

/// The id of the task that is being polled on this thread, if there is one. Cheaper than [`try_current`]: nothing is counted.
#[inline]
pub fn current_id() -> Option<TaskId> {
    // SAFETY: the cell is live while its task is being polled.
    current_header().map(|header| unsafe { header.as_ref() }.id)
}

/// That of the task that is being polled, or else of the one in whose poll this thread is about to block.
#[doc(hidden)]
pub fn waiting_id() -> Option<TaskId> {
    current_id().or_else(|| {
        let task = NonNull::new(
            FRAME
                .with(|frame| frame.suspended.get())
                .cast_mut()
                .cast::<Header>(),
        );
        // SAFETY: its poll is under way below this frame.
        task.map(|header| unsafe { header.as_ref() }.id)
    })
}

pub(crate) fn current_header() -> Option<NonNull<Header>> {
    NonNull::new(FRAME.with(|frame| frame.task.get()).cast_mut().cast())
}

/// For the vtable of tasks: asks one to end. See [`Vtable::request`](super::cell::Vtable::request).
///
/// # Safety
///
/// The caller keeps the cell.
pub(crate) unsafe fn request<const BLOCKING: bool>(
    pointer: NonNull<Header>,
    reason: Option<Cow<'static, str>>,
    abort: bool,
) -> bool {
    // SAFETY: the caller keeps the cell.
    let header = unsafe { pointer.as_ref() };
    let mut extras = header.extras_or_new().lock();
    let action = header.state.request(abort, BLOCKING);
    let mut wakers = Vec::new();
    let mut old = None;
    if action != Action::Refused {
        extras.requests += 1;
        if reason.is_some() || !abort {
            old = std::mem::replace(&mut extras.reason, reason);
        }
        wakers = extras.catchers.wakers();
    }
    drop(extras);
    drop(old);
    // SAFETY: `Enqueue` gave this thread the runnable; the caller keeps the cell.
    unsafe { settle(pointer, action) };
    callback::wake_each(wakers);
    action != Action::Refused
}

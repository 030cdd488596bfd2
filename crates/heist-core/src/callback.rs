//! Done-callbacks: in order, exactly once each, one at a time, never inline.
//!
//! The list sits in the task's side node, under its lock; the flag `hold` of the task word says that one thread runs it.
//!
//! ```text
//! add, not over:        push, set `callbacks`                  the one who ends the task drains (Action::Drain)
//! add, over, hold:      push                                   the one who drains finds it
//! add, over, no hold:   push, set `hold`, take a handle        a small task on the runtime drains (Action::Late)
//! drain:                pop and run, until the list is empty; then, still under the lock, clear `hold`
//! ```
//! A local task that is over is not held by other threads: who adds from one pushes, and asks the task's runtime to drain.
//!
//! # Invariants
//! * CB-1: pushing and the event that goes with it happen under the lock, and so do finding the list empty and clearing
//!   `hold`: no callback is left in a list that nobody drains or has been asked to drain.
//! * CB-2: `hold` is set by one event and cleared by the thread that this event named: callbacks never overlap. (But for a local
//!   task whose runtime is gone: there, callbacks that other threads add run on these, beside those of the task's own thread.)
//! * CB-3: while `hold` is set the output is neither taken nor dropped, so callbacks may read it.
//! * CB-4: `hold` of a local task is set by events on its own thread alone, so what comes after it, and the callbacks that are
//!   bound to that thread, stay there: its runtime runs jobs on that thread, or gives them back (`Schedule`).

use crate::context::{self, Leave, RuntimeContext};
use crate::error::{ExceptionKind, TaskError, drop_quietly, guarded};
use crate::sync::{Arc, Weak, caught, mutated};
use crate::task::cell::{Header, Kind, settle};
use crate::task::extras::Callback;
use crate::task::harness::report;
use crate::task::state::{Action, Snapshot, State};
use crate::task::{TaskId, TaskRef};
use crate::variables::{self, Inherited};
use std::fmt;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;
use std::task::Waker;

/// Names a callback, for `remove_done_callback`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CallbackId(u64);

/// A task that is over, as its done-callbacks see it.
///
/// # Counterpart
///
/// The `future` argument of asyncio's done-callbacks.
pub struct Finished<'a, T> {
    task: &'a TaskRef,
    taken: Option<TaskError>,
    /// Lends the output: shared between threads only where `T` is.
    output: PhantomData<&'a T>,
}

impl<'a, T> Finished<'a, T> {
    fn new(task: &'a TaskRef) -> Self {
        let header = task.header();
        let taken = header
            .state
            .load()
            .has(Snapshot::TAKEN)
            .then(|| TaskError::taken(header.id));
        Self {
            task,
            taken,
            output: PhantomData,
        }
    }

    /// The id of the task.
    pub fn id(&self) -> TaskId {
        self.task.id()
    }

    /// The name of the task.
    pub fn name(&self) -> String {
        self.task.name()
    }

    /// The task, for more questions.
    pub fn task_ref(&self) -> TaskRef {
        self.task.clone()
    }

    /// What the task left. An error that is looked at here counts as retrieved.
    ///
    /// # Errors
    ///
    /// Why there is no value; also if the callback was added after an await took the value.
    pub fn result(&self) -> Result<&T, &TaskError> {
        if let Some(taken) = &self.taken {
            return Err(taken);
        }
        let header = self.task.header();
        // SAFETY: the task is over and its output was stored; CB-3 keeps it for as long as callbacks run.
        let output = unsafe { (header.vtable.output)(self.task.pointer()) };
        // SAFETY: `Finished<T>` is made for cells with an output of this type alone.
        let output = unsafe { &*output.cast_const().cast::<Result<T, TaskError>>() };
        output.as_ref().inspect_err(|error| error.retrieved())
    }
}

impl<T> fmt::Debug for Finished<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.task, f)
    }
}

/// Adds a callback that reads the output. Never runs it inline, unless the runtime is gone.
///
/// # Safety
///
/// The output of the cell is a `T`. Either the callback may be run and dropped on any thread, or the task is `local` and this is
/// its thread.
pub(crate) unsafe fn add_typed<T: 'static>(
    task: &TaskRef,
    f: impl FnOnce(&Finished<'_, T>) + 'static,
    local: bool,
) -> CallbackId {
    let header = task.header();
    debug_assert_eq!(local, header.kind() == Kind::Local);
    let run = Box::new(move |task: &TaskRef| f(&Finished::new(task)));
    let (id, action) = push(header, run, local, State::add_callback);
    follow(task, action);
    id
}

/// Adds a callback that may run anywhere. Never runs it inline, unless the runtime is gone.
pub(crate) fn add(task: &TaskRef, f: impl FnOnce(&TaskRef) + Send + 'static) -> CallbackId {
    let header = task.header();
    if header.kind() != Kind::Local {
        let (id, action) = push(header, Box::new(f), false, State::add_callback);
        follow(task, action);
        return id;
    }
    let (id, action) = push(header, Box::new(f), false, State::add_early_callback);
    if action == Action::Refused {
        let added = Added(task.clone());
        match header.runtime().upgrade() {
            Some(runtime) => drop(runtime.call(Box::new(move || added.drain()))),
            None => drop(added),
        }
    }
    id
}

fn push(
    header: &Header,
    run: Box<dyn FnOnce(&TaskRef)>,
    local: bool,
    event: impl FnOnce(&State) -> Action,
) -> (CallbackId, Action) {
    let run = match Inherited::here() {
        Some(inherited) => Box::new(move |task: &TaskRef| inherited.during(|| run(task))),
        None => run,
    };
    let id = TaskId::next().get();
    let extras = header.extras_or_new();
    if header.kind() == Kind::Promise && extras.lock().bound.is_none() {
        // May start the process-wide runtime, which is not a thing to do under the lock.
        let runtime = context::current_or_global().ok();
        let runtime = runtime.map(|runtime| Arc::downgrade(&runtime));
        let mut extras = extras.lock();
        extras.bound = extras.bound.take().or(runtime);
    }
    let mut extras = extras.lock();
    extras.callbacks.push_back(Callback { id, run, local });
    (CallbackId(id), event(&header.state))
}

fn follow(task: &TaskRef, action: Action) {
    if action == Action::Late && !mutated("late-callback-forgotten") {
        // SAFETY: `Late` counted a handle for the one who drains.
        drain_soon(unsafe { TaskRef::adopt(task.pointer()) });
    }
}

/// A callback that was added to a local task after its end, on whatever thread.
struct Added(TaskRef);

impl Added {
    /// As a job of the task's runtime, which keeps the scheduler: on the thread of the task, unless it was thrown away.
    fn drain(self) {
        let header = self.0.header();
        if !header.is_framed() && !mutated("refused-job-run-anywhere") {
            return drop(self);
        }
        let extras = header.extras_or_new().lock();
        // Somebody else may have drained it by now, or have taken it back.
        let action = if extras.callbacks.is_empty() {
            Action::Nothing
        } else {
            header.state.add_callback()
        };
        drop(extras);
        if action == Action::Late {
            // SAFETY: `Late` counted a handle for the one who drains.
            let task = unsafe { TaskRef::adopt(self.0.pointer()) };
            // SAFETY: `Late` set `hold`, and named this thread.
            unsafe { drain_late(task) };
        }
    }
}

impl Drop for Added {
    /// Where the runtime is gone the callback runs here, unless some thread runs callbacks of this task and will find it.
    /// Others that may run anywhere come after it; those of the task's thread may not run here.
    fn drop(&mut self) {
        let header = self.0.header();
        let extras = header.extras_or_new();
        let mut inner = extras.lock();
        if inner.outside || header.state.load().has(Snapshot::HOLD) {
            return;
        }
        loop {
            let next = inner.callbacks.iter().position(|next| !next.local);
            let callback = next.and_then(|next| inner.callbacks.remove(next));
            inner.outside = callback.is_some();
            drop(inner);
            let Some(callback) = callback else { return };
            call(callback, &self.0);
            inner = extras.lock();
        }
    }
}

/// Takes a callback back, unless it was started. `here`: whether this is the thread of the task.
pub(crate) fn remove(task: &TaskRef, id: CallbackId, here: bool) -> bool {
    let Some(extras) = task.header().extras() else {
        return false;
    };
    let mut extras = extras.lock();
    let found = extras
        .callbacks
        .iter()
        .position(|other| other.id == id.0 && (here || !other.local));
    let removed = found.and_then(|at| extras.callbacks.remove(at));
    // What the callback captured is the user's: dropped without the lock.
    drop(extras);
    removed.is_some()
}

fn call(callback: Callback, task: &TaskRef) {
    let _leave = Leave::what_is_entered_from_now_on();
    // Callbacks see what was set where they were added, and not where they happen to run.
    let _hidden = variables::hidden();
    if let Err(payload) = caught(|| (callback.run)(task)) {
        report(task.header(), ExceptionKind::Callback, &*payload);
        drop_quietly(payload);
    }
}

/// Has the callbacks run by a small task of their own; on this thread if the runtime is gone.
pub(crate) fn drain_soon(task: TaskRef) {
    /// Also drains if the runtime throws the job away.
    struct Late(ManuallyDrop<TaskRef>);
    impl Drop for Late {
        fn drop(&mut self) {
            // SAFETY: taken once, here.
            let task = unsafe { ManuallyDrop::take(&mut self.0) };
            // SAFETY: `hold` is set and this thread was named to clear it.
            unsafe { drain_late(task) };
        }
    }
    let runtime = runtime_of(task.header());
    let late = Late(ManuallyDrop::new(task));
    match runtime {
        Some(runtime) => drop(runtime.call(Box::new(move || drop(late)))),
        None => drop(late),
    }
}

fn runtime_of(header: &Header) -> Option<Arc<dyn RuntimeContext>> {
    if header.kind() == Kind::Promise {
        let extras = header.extras()?.lock();
        return extras.bound.as_ref().and_then(Weak::upgrade);
    }
    header.runtime().upgrade()
}

/// Runs callbacks until there are none, and clears `hold`. Tells what is owed.
fn drain(task: &TaskRef) -> Action {
    let header = task.header();
    let extras = header.extras_or_new();
    loop {
        let mut inner = extras.lock();
        let Some(callback) = inner.callbacks.pop_front() else {
            if mutated("callback-drained-unlocked") {
                drop(inner);
            }
            return header.state.drained();
        };
        drop(inner);
        call(callback, task);
    }
}

/// # Safety
///
/// `hold` is set, and this thread was named to clear it.
unsafe fn drain_late(task: TaskRef) {
    match drain(&task) {
        // SAFETY: the action gave this thread what it owes.
        Action::WakeJoin if !mutated("held-awaiter-forgotten") => unsafe {
            wake_join(task.pointer(), |state| state.woken());
        },
        // SAFETY: the action set `taken` for this thread; the handle keeps the cell.
        Action::DropOutput if !mutated("held-output-forgotten") => unsafe {
            drop_output(task.pointer());
        },
        _ => {}
    }
}

/// What is left to do after a task has ended: callbacks, the waiter, the output.
///
/// # Safety
///
/// The caller holds `alive`, which is given up here, and `action` comes from `finish`.
#[cold]
pub(crate) unsafe fn after_end(header: NonNull<Header>, mut action: Action) {
    if action == Action::Drain {
        // SAFETY: `alive` keeps the cell.
        let task = unsafe { TaskRef::from_header(header) };
        action = drain(&task);
    }
    match action {
        // SAFETY: `waking` was set for this thread, which holds `alive`.
        Action::WakeJoin => return unsafe { wake_join(header, |state| state.release_woken()) },
        // SAFETY: the action set `taken` for this thread, which holds `alive`.
        Action::DropOutput => unsafe { drop_output(header) },
        _ => {}
    }
    // SAFETY: `alive` keeps the cell until this event.
    let action = unsafe { header.as_ref() }.state.release();
    // SAFETY: `alive` was given up.
    unsafe { settle(header, action) };
}

/// Takes the waker of the handle, lets go by `release`, and wakes.
///
/// # Safety
///
/// `waking` was set for this thread, and `release` gives it up, and with it what kept the cell if it was `alive`.
pub(crate) unsafe fn wake_join(header: NonNull<Header>, release: impl FnOnce(&State) -> Action) {
    // SAFETY: what is given up below keeps the cell until then.
    let cell = unsafe { header.as_ref() };
    let waker = cell.join_waker.with_mut(|slot| {
        // SAFETY: CELL-3: `waking` makes the slot this thread's.
        let slot = unsafe { &mut *slot };
        slot.take()
    });
    let action = release(&cell.state);
    // SAFETY: this thread's part was given up by `release`.
    unsafe { settle(header, action) };
    if let Some(waker) = waker {
        wake(waker);
    }
}

/// Wakes a waker that may be anybody's.
pub(crate) fn wake(waker: Waker) {
    guarded(ExceptionKind::Waker, None, || waker.wake());
}

/// Wakes the wakers of catchers.
pub(crate) fn wake_each(wakers: Vec<Arc<Waker>>) {
    for waker in wakers {
        guarded(ExceptionKind::Waker, None, || waker.wake_by_ref());
        drop_quietly(waker);
    }
}

/// Drops the output.
///
/// # Safety
///
/// The caller keeps the cell, and has just set `taken` on a stored output (CELL-1).
pub(crate) unsafe fn drop_output(header: NonNull<Header>) {
    // SAFETY: the caller keeps the cell.
    let cell = unsafe { header.as_ref() };
    // SAFETY: handed on.
    if let Err(payload) = caught(|| unsafe { (cell.vtable.drop_output)(header) }) {
        report(cell, ExceptionKind::Drop, &*payload);
        drop_quietly(payload);
    }
}

/// Drops a waker that may be anybody's.
pub(crate) fn drop_waker(waker: Option<Waker>) {
    drop_quietly(waker);
}

/// Wakes the owner of a promise, who waits for the other side to go.
#[cold]
pub(crate) fn wake_promise(header: &Header) {
    let waker = header
        .extras()
        .and_then(|extras| extras.lock().cancel_waker.take());
    if let Some(waker) = waker {
        wake(waker);
    }
}

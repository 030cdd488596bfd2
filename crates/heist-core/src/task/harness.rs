//! One poll of a task, and its end. All panics of user code stop here.

use super::cell::{Cell, Header, Kind, Stage, Vtable, schedule, settle, with_scheduler};
use super::runnable::{Ran, Runnable};
use super::state::{Action, Snapshot, TaskState};
use super::{task_ref, waker};
use crate::budget;
use crate::callback;
use crate::context::{self, FRAME, Leave};
use crate::error::{ExceptionContext, ExceptionKind, Panic, TaskError, drop_quietly};
use crate::registry::LocalShard;
use crate::schedule::{Schedule, Why, local_of};
use crate::sync::{Arc, caught, mutated};
use std::any::Any;
use std::future::Future;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::pin::Pin;
use std::ptr::NonNull;
use std::task::{Context, Poll};

/// The kinds of cells that have a body, as types.
pub(crate) trait BodyKind {
    const KIND: Kind;
}

/// See [`Kind::Task`].
pub(crate) struct Anywhere;
/// See [`Kind::Local`].
pub(crate) struct OneThread;
/// See [`Kind::Blocking`].
pub(crate) struct Blocking;

impl BodyKind for Anywhere {
    const KIND: Kind = Kind::Task;
}
impl BodyKind for OneThread {
    const KIND: Kind = Kind::Local;
}
impl BodyKind for Blocking {
    const KIND: Kind = Kind::Blocking;
}

/// The functions for a cell with body `B` on a scheduler `S`.
pub(crate) struct Harness<K, B, S>(PhantomData<(K, B, S)>);

impl<K: BodyKind, B: Future, S: Schedule> Harness<K, B, S> {
    pub(crate) const VTABLE: &'static Vtable = &Vtable {
        kind: K::KIND,
        run: Self::run,
        schedule: schedule::<S>,
        discard: Self::discard,
        request: if matches!(K::KIND, Kind::Blocking) {
            task_ref::request::<true>
        } else {
            task_ref::request::<false>
        },
        output: Cell::<B, B::Output>::output,
        drop_output: Cell::<B, B::Output>::drop_output,
        free: Cell::<B, B::Output>::free,
    };

    /// For the vtable: polls once.
    ///
    /// # Safety
    ///
    /// The caller owns the runnable of a live cell of these types.
    unsafe fn run(header: NonNull<Header>) -> Ran {
        Run::<K, B, S> {
            header,
            types: PhantomData,
        }
        .poll_once()
    }

    /// For the vtable: ends a task whose runnable is thrown away.
    ///
    /// # Safety
    ///
    /// As for `run`.
    unsafe fn discard(header: NonNull<Header>) {
        if K::KIND == Kind::Local {
            // SAFETY: the runnable keeps the cell.
            let scheduler = unsafe { with_scheduler::<S, _>(header, |s| s.is_ok()) };
            if !scheduler {
                // Its body must not be touched here. The task stays queued for ever, which is what a lost queue means.
                return;
            }
        }
        // SAFETY: the runnable keeps the cell.
        let action = unsafe { header.as_ref() }
            .state
            .request(true, K::KIND == Kind::Blocking);
        debug_assert_ne!(action, Action::Enqueue, "the runnable exists");
        // SAFETY: handed on; the request makes `start` drop the body.
        let _ = unsafe { Self::run(header) };
    }
}

/// One run of a task.
struct Run<K, B, S> {
    header: NonNull<Header>,
    types: PhantomData<(K, B, S)>,
}

impl<K: BodyKind, B: Future, S: Schedule> Run<K, B, S> {
    #[inline]
    fn header(&self) -> &Header {
        // SAFETY: whoever runs a task keeps its cell until it gives up `run`.
        unsafe { self.header.as_ref() }
    }

    #[inline]
    fn poll_once(&self) -> Ran {
        if K::KIND == Kind::Local {
            // SAFETY: the runnable keeps the cell and, with it, the scheduler.
            let here =
                unsafe { with_scheduler::<S, _>(self.header, |scheduler| scheduler.is_ok()) };
            if !here {
                wrong_thread();
            }
        }
        match self.header().state.start() {
            Action::Poll => {}
            _ => return self.cancelled(),
        }
        let poll = Frame::enter(self.header);
        let polled = caught(|| self.poll_body());
        let resumed = poll.leave();
        match polled {
            Ok(Poll::Pending) if !resumed => match self.header().state.pending() {
                Action::Idle => Ran::Idle,
                Action::Requeue if mutated("requeue-forgotten") => Ran::Idle,
                // SAFETY: `sched` is set and `run` was given up: the right is this thread's.
                Action::Requeue => Ran::Yielded(unsafe { Runnable::from_header(self.header) }),
                _ => self.cancelled(),
            },
            Ok(Poll::Ready(output)) if !resumed => self.ready(output),
            Ok(polled) => {
                // A request was passed on to the task itself: nothing that this poll gave counts.
                self.guarded(ExceptionKind::Drop, || drop(polled));
                self.cancelled()
            }
            Err(payload) => {
                self.drop_body();
                self.panicked(payload)
            }
        }
    }

    #[inline]
    fn poll_body(&self) -> Poll<B::Output> {
        // SAFETY: the cell outlives the poll.
        let waker = unsafe { waker::borrowed(self.header) };
        let mut cx = Context::from_waker(&waker);
        // SAFETY: a cell of these types.
        let stage = unsafe { Cell::<B, B::Output>::stage(self.header) };
        stage.with_mut(|stage| {
            // SAFETY: CELL-1, CELL-2: this thread owns `run`, and the body has not been dropped.
            let stage = unsafe { &mut *stage };
            // SAFETY: as above.
            let body = unsafe { &mut stage.body };
            // SAFETY: the body stays where it is until it is dropped in place.
            unsafe { Pin::new_unchecked(&mut **body) }.poll(&mut cx)
        })
    }

    /// Drops the body in place. Returns the payload if that panicked.
    #[inline]
    fn drop_body_caught(&self) -> Result<(), Box<dyn Any + Send>> {
        // SAFETY: a cell of these types.
        let stage = unsafe { Cell::<B, B::Output>::stage(self.header) };
        if !std::mem::needs_drop::<B>() {
            return Ok(());
        }
        let _leave = Leave::what_is_entered_from_now_on();
        caught(|| {
            stage.with_mut(|stage| {
                // SAFETY: CELL-1, CELL-2: this thread owns `run`, and drops the body once.
                let stage = unsafe { &mut *stage };
                // SAFETY: as above.
                let body = unsafe { &mut stage.body };
                // SAFETY: as above.
                unsafe { ManuallyDrop::drop(body) };
            });
        })
    }

    #[cold]
    fn drop_body(&self) {
        let task = Frame::enter(self.header);
        if let Err(payload) = self.drop_body_caught() {
            self.report(ExceptionKind::Drop, &*payload);
            drop_quietly(payload);
        }
        // A `resume` in a destructor ends nothing.
        task.leave();
    }

    #[inline]
    fn ready(&self, output: B::Output) -> Ran {
        match self.drop_body_caught() {
            Ok(()) => self.end(TaskState::Finished, Ok(output)),
            Err(payload) => {
                self.guarded(ExceptionKind::Drop, || drop(output));
                self.panicked(payload)
            }
        }
    }

    #[cold]
    fn cancelled(&self) -> Ran {
        self.drop_body();
        let header = self.header();
        let reason = header
            .extras()
            .and_then(|extras| extras.lock().reason.clone());
        self.end(
            TaskState::Cancelled,
            Err(TaskError::cancelled(header.id, reason)),
        )
    }

    #[cold]
    fn panicked(&self, payload: Box<dyn Any + Send>) -> Ran {
        let header = self.header();
        let task = (header.id, header.name());
        let runtime = header
            .runtime()
            .upgrade()
            .map(|runtime| Arc::downgrade(&runtime));
        let panic = Panic::new(payload, task, header.location, runtime);
        self.end(TaskState::Panicked, Err(TaskError::panic(header.id, panic)))
    }

    /// The task is over: its body is gone, `result` is what it leaves.
    #[inline]
    fn end(&self, outcome: TaskState, result: Result<B::Output, TaskError>) -> Ran {
        let header = self.header();
        // SAFETY: this thread owns `run`, which keeps the cell and, until the task is taken out, the scheduler.
        unsafe { with_scheduler::<S, _>(self.header, |scheduler| self.take_out(scheduler)) };
        let action = if header
            .state
            .load()
            .has(Snapshot::JOIN | Snapshot::CALLBACKS)
        {
            // SAFETY: a cell of these types.
            let stage = unsafe { Cell::<B, B::Output>::stage(self.header) };
            stage.with_mut(|stage| {
                // SAFETY: CELL-1: the body is gone; this thread still owns `run`.
                unsafe {
                    stage.write(Stage {
                        output: ManuallyDrop::new(result),
                    })
                };
            });
            header.state.finish(outcome)
        } else {
            self.guarded(ExceptionKind::Drop, || drop(result));
            header.state.finish_bare(outcome)
        };
        match action {
            Action::Nothing => {}
            // SAFETY: `alive`, which was this thread's, is given up.
            Action::Free => unsafe { settle(self.header, Action::Free) },
            // SAFETY: this thread has `alive`, and what the action owes.
            action => unsafe { callback::after_end(self.header, action) },
        }
        Ran::Over
    }

    /// Whoever ends a task takes it out of the registry first (REG-1).
    #[inline]
    fn take_out(&self, scheduler: Result<(&S, &S::Local), &Arc<S>>) {
        let header = self.header();
        match scheduler {
            Ok((scheduler, local)) => {
                let shard: &LocalShard = S::local_shard(local);
                scheduler
                    .registry()
                    .remove(header.shard, header.slot, Some(shard));
            }
            Err(scheduler) => scheduler.registry().remove(header.shard, header.slot, None),
        }
    }

    /// Runs user code that must not take the worker down.
    #[inline]
    fn guarded(&self, kind: ExceptionKind, f: impl FnOnce()) {
        let _leave = Leave::what_is_entered_from_now_on();
        if let Err(payload) = caught(f) {
            self.report(kind, &*payload);
            drop_quietly(payload);
        }
    }

    #[cold]
    fn report(&self, kind: ExceptionKind, payload: &(dyn Any + Send)) {
        report(self.header(), kind, payload);
    }
}

/// Tells the exception handler of a task's runtime about a panic.
#[cold]
pub(crate) fn report(header: &Header, kind: ExceptionKind, payload: &(dyn Any + Send)) {
    let name = header.name();
    let message = crate::error::panic_message(payload);
    ExceptionContext::new(kind, message)
        .with_payload(payload)
        .with_task(header.id, &name, header.location)
        .report(header.runtime().upgrade());
}

#[cold]
fn wrong_thread() -> ! {
    panic!("a task that is not Send was about to run on another thread; it is leaked instead");
}

/// Makes a task the current one of this thread, for one poll.
///
/// A poll that begins inside of no other one finds everything but `task` and `budget` at rest, and leaves it so.
struct Frame {
    /// The name of the first runtime that would be entered inside of the poll.
    next_entry: u64,
    /// Boxed, since it is rare, and one pointer is all that the common case has to keep.
    outer: Option<Box<Outer>>,
}

/// What belongs to the poll that this one is nested in.
struct Outer {
    task: *const (),
    catcher: u64,
    resumed: Option<u64>,
    budget: u8,
}

impl Frame {
    #[inline]
    fn enter(header: NonNull<Header>) -> Self {
        FRAME.with(|frame| {
            let before = frame.task.replace(header.as_ptr().cast_const().cast());
            let outer = if before.is_null() {
                None
            } else {
                Some(Outer::put_aside(before))
            };
            frame.budget.set(budget::FULL);
            Self {
                next_entry: frame.next_entry.get(),
                outer,
            }
        })
    }

    /// Ends the poll, and tells whether a `resume` in it ends the task.
    #[inline]
    fn leave(self) -> bool {
        FRAME.with(|frame| frame.resumed.get().is_some()) && Self::resumed()
    }

    #[cold]
    fn resumed() -> bool {
        FRAME.with(|frame| frame.resumed.take()) == Some(0)
    }
}

impl Drop for Frame {
    #[inline]
    fn drop(&mut self) {
        let next_entry = FRAME.with(|frame| {
            frame.task.set(std::ptr::null());
            frame.next_entry.get()
        });
        if next_entry != self.next_entry {
            context::truncate(self.next_entry);
        }
        if let Some(outer) = &self.outer {
            outer.restore();
        }
    }
}

impl Outer {
    #[cold]
    #[inline(never)]
    fn put_aside(task: *const ()) -> Box<Self> {
        FRAME.with(|frame| {
            Box::new(Self {
                task,
                catcher: frame.catcher.replace(0),
                resumed: frame.resumed.take(),
                budget: frame.budget.get(),
            })
        })
    }

    #[cold]
    #[inline(never)]
    fn restore(&self) {
        FRAME.with(|frame| {
            frame.task.set(self.task);
            frame.catcher.set(self.catcher);
            frame.resumed.set(self.resumed);
            frame.budget.set(self.budget);
        });
    }
}

/// The vtable of cells that have no body and are never queued.
pub(crate) mod bodyless {
    use super::*;
    use crate::future::complete;
    use std::borrow::Cow;

    pub(crate) struct Promised<K, T>(PhantomData<(K, T)>);

    impl<K: BodyKind, T> Promised<K, T> {
        /// Of a promise.
        pub(crate) const VTABLE: &'static Vtable = &Self::table(Kind::Promise);
        /// Of what takes the place of a task that was refused: its callbacks stay where those of the task would run.
        pub(crate) const GONE: &'static Vtable = &Self::table(K::KIND);

        const fn table(kind: Kind) -> Vtable {
            Vtable {
                kind,
                run: |_| Ran::Over,
                schedule: |_, _: Why| {},
                discard: |_| {},
                request: Self::request,
                output: Cell::<(), T>::output,
                drop_output: Cell::<(), T>::drop_output,
                free: Cell::<(), T>::free,
            }
        }

        /// For the vtable: there is nobody to ask, so it ends at once.
        ///
        /// # Safety
        ///
        /// The caller keeps the cell, which is one of these types.
        unsafe fn request(
            pointer: NonNull<Header>,
            reason: Option<Cow<'static, str>>,
            _abort: bool,
        ) -> bool {
            // SAFETY: the caller keeps the cell.
            let error = TaskError::cancelled(unsafe { pointer.as_ref() }.id, reason);
            // SAFETY: handed on.
            unsafe { complete::<T>(pointer, TaskState::Cancelled, Err(error)) }.is_ok()
        }
    }
}

/// Whether this thread is in a frame of `scheduler`.
pub(crate) fn is_local<S: Schedule>(scheduler: &Arc<S>) -> bool {
    local_of(Arc::as_ptr(scheduler)).is_some()
}

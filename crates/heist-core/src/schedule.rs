//! What a task asks of its scheduler, and how a scheduler tells that this thread works for it.
//!
//! A task holds a bare pointer to its scheduler: a counted one would cost two writes of a line that all workers share,
//! per task. What makes the pointer good:
//!
//! * SCHED-1: a task that is not over is in its scheduler's [`Registry`], and a registry that is not empty keeps its
//!   scheduler alive ([`Registry::anchor`]). The pointer is followed only by the thread that owns the
//!   runnable or the `run` flag; until that thread lets go the task cannot be over.
//! * SCHED-2: on a thread in a [`worker_frame`] of that very scheduler the frame holds a counted reference for longer than any
//!   call it makes. Everywhere else one is taken *before* the runnable is handed over: the task may be over, and
//!   the scheduler gone, before the hand-over returns.

use crate::context::{self, FRAME, RuntimeContext};
use crate::registry::{LocalShard, Registry};
use crate::sync::Arc;
use crate::task::Runnable;
use crate::task::block::Cache;
use crate::variables;
use std::any::TypeId;

/// Why a task becomes runnable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It is new.
    Spawned,
    /// Something that it waited for happened, or somebody cancelled it.
    Woken,
}

/// A queue of runnable tasks with threads behind it.
///
/// `schedule_*` are called by wakers, from anywhere: they must not run or drop user code, and must not unwind.
///
/// # Safety
///
/// Tasks follow bare pointers to it, and rely on what its author alone can see to:
///
/// * [`registry`](Schedule::registry) always gives the same registry, which was [anchored](Registry::anchor) to this value before the
///   first spawn, and is [released](Registry::release) by nobody else;
/// * [`local_shard`](Schedule::local_shard) gives a shard of that registry;
/// * no other scheduler, with another `Local`, has the same address: it is not a field of one, and none is a field of it;
/// * if [`spawn_local`](crate::task::spawn_local) is called for it, all its worker frames are on one thread, and what its
///   [`context`](Schedule::context) is given to [`call`](RuntimeContext::call) is run and dropped there, or given back.
pub unsafe trait Schedule: Send + Sync + Sized + 'static {
    /// What a worker's frame offers to [`schedule_local`](Schedule::schedule_local).
    type Local;

    /// Queues a runnable, on a thread inside of a [`worker_frame`] of this scheduler.
    fn schedule_local(&self, local: &Self::Local, runnable: Runnable, why: Why);

    /// Queues a runnable, on any thread.
    fn schedule_remote(self: &Arc<Self>, runnable: Runnable, why: Why);

    /// Where its tasks are listed.
    fn registry(&self) -> &Registry;

    /// The part of the registry that belongs to the worker of this frame.
    fn local_shard(local: &Self::Local) -> &LocalShard;

    /// The same runtime, as leaf futures see it.
    fn context(self: &Arc<Self>) -> Arc<dyn RuntimeContext>;

    /// Milliseconds since the runtime's start, from a clock that some worker read not long ago.
    fn clock_ms(&self) -> u32;
}

/// Restores the frame of this thread, also on unwind.
struct Restore {
    scheduler: *const (),
    local: *const (),
    counted: *const (),
    kind: Option<TypeId>,
    entry: u64,
    cache: *const Cache,
    shard: usize,
    task: *const (),
    suspended: *const (),
    catcher: u64,
    resumed: Option<u64>,
    budget: u8,
}

impl Restore {
    fn replace(scheduler: *const (), local: *const (), shard: usize) -> Self {
        FRAME.with(|frame| {
            let task = frame.task.replace(std::ptr::null());
            let suspended = frame.suspended.get();
            if !task.is_null() {
                frame.suspended.set(task);
            }
            Self {
                scheduler: frame.scheduler.replace(scheduler),
                local: frame.local.replace(local),
                counted: frame.counted.replace(std::ptr::null()),
                kind: frame.kind.take(),
                entry: frame.entry.get(),
                cache: frame.cache.get(),
                shard: frame.shard.replace(shard),
                task,
                suspended,
                catcher: frame.catcher.replace(0),
                resumed: frame.resumed.replace(None),
                budget: frame.budget.get(),
            }
        })
    }
}

impl Drop for Restore {
    fn drop(&mut self) {
        FRAME.with(|frame| {
            frame.scheduler.set(self.scheduler);
            frame.local.set(self.local);
            frame.counted.set(self.counted);
            frame.kind.set(self.kind);
            frame.entry.set(self.entry);
            frame.cache.set(self.cache);
            frame.shard.set(self.shard);
            frame.task.set(self.task);
            frame.suspended.set(self.suspended);
            frame.catcher.set(self.catcher);
            frame.resumed.set(self.resumed);
            frame.budget.set(self.budget);
        });
    }
}

/// Runs `f` with this thread as a worker of `scheduler`, in slot `shard`. Frames nest; the inner one counts.
pub fn worker_frame<S: Schedule, R>(
    scheduler: &Arc<S>,
    local: &S::Local,
    shard: usize,
    f: impl FnOnce() -> R,
) -> R {
    let held = Arc::clone(scheduler);
    let cache = Cache::new();
    let _hidden = variables::hidden();
    let _restore = Restore::replace(
        Arc::as_ptr(&held).cast(),
        std::ptr::from_ref(local).cast(),
        shard,
    );
    FRAME.with(|frame| {
        frame.counted.set(std::ptr::from_ref(&held).cast());
        frame.kind.set(Some(TypeId::of::<S>()));
        frame.cache.set(&raw const cache);
    });
    context::entered(held.context(), f)
}

/// Runs `f` as if this thread were no worker: it is about to block in somebody else's name.
///
/// What `f` spawns and wakes takes the way that foreign threads take. It sees the variables of its task.
pub fn leave_frame<R>(f: impl FnOnce() -> R) -> R {
    let shard = context::shard();
    let f = variables::through(f);
    let _restore = Restore::replace(std::ptr::null(), std::ptr::null(), shard);
    f()
}

/// Calls `f` with the scheduler for which this thread works, if it is an `S` and no other runtime is entered meanwhile.
///
/// Costs no count, unlike [`context::try_current`].
#[inline]
pub fn with_scheduler<S: Schedule, R>(f: impl FnOnce(Option<&Arc<S>>) -> R) -> R {
    let innermost = FRAME.with(|frame| frame.innermost.get() == frame.entry.get());
    // SAFETY: the closure, whose parameter may have any lifetime, ends before the frame that this runs in.
    f(innermost.then(|| unsafe { framed::<S>() }).flatten())
}

/// Calls `f` with the scheduler for which this thread works, and with what the frame offers, whatever runtime is entered.
pub fn with_frame<S: Schedule, R>(f: impl FnOnce(&Arc<S>, &S::Local) -> R) -> Option<R> {
    // SAFETY: as in `with_scheduler`.
    let scheduler = unsafe { framed::<S>() }?;
    with_local(&**scheduler, |local| f(scheduler, local))
}

/// The frame's own reference.
///
/// # Safety
///
/// It is not used after the end of the innermost frame.
#[inline]
unsafe fn framed<'a, S: Schedule>() -> Option<&'a Arc<S>> {
    let counted = FRAME.with(|frame| {
        let found = frame.kind.get() == Some(TypeId::of::<S>());
        found.then(|| frame.counted.get().cast::<Arc<S>>())
    })?;
    // SAFETY: SCHED-2: the frame that set the pointer is still on this thread's stack, with its reference; the type is
    // the one that was set along with it.
    Some(unsafe { &*counted })
}

/// Calls `f` with what the frame of this thread offers, if it is one of `scheduler`.
#[inline]
pub fn with_local<S: Schedule, R>(scheduler: &S, f: impl FnOnce(&S::Local) -> R) -> Option<R> {
    let local = local_of(scheduler)?;
    // SAFETY: SCHED-2: the frame that set the pointer is still on this thread's stack and borrows the
    // value for as long as it is; `local_of` checked that it belongs to this scheduler, whose type fixes the pointee's.
    let local = unsafe { &*local };
    Some(f(local))
}

/// Whether the innermost frame is of the scheduler at this address.
pub(crate) fn is_framed(scheduler: *const ()) -> bool {
    FRAME.with(|frame| frame.scheduler.get() == scheduler)
}

/// The frame's pointer, if the innermost frame is of the scheduler at this address.
#[inline]
pub(crate) fn local_of<S: Schedule>(scheduler: *const S) -> Option<*const S::Local> {
    FRAME.with(|frame| {
        // Both live in an `Arc` of their own while this is read, so one address is one scheduler.
        (frame.scheduler.get() == scheduler.cast()).then(|| frame.local.get().cast())
    })
}

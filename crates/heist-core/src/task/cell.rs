//! The heap block of a task, and everything that is unsafe about it.
//!
//! ```text
//! ┌ Header, 96 bytes ──────────────────────────────────────────────────────────────────────────────┐
//! │ word │ vtable │ scheduler │ join waker │ extras │ location │ id │ place in registry │ wait site │ age │
//! ├ Stage ─────────────────────────────────────────────────────────────────────────────────────────┤
//! │ body: the future                — then, in the same place —      output: Result<T, TaskError>  │
//! └────────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```
//! The cell is aligned to 8, not to a cache line: an over-aligned allocation costs more than it saves. Everything that
//! few tasks need (name, callbacks, cancel requests, catchers) sits in a side node, made on first use.
//!
//! # Invariants
//! * CELL-1: the stage holds the body from the start until the owner of `run` drops it; then, if it was stored, the
//!   output until the one who set `taken` moves or drops it. (See the table of [`state`](super::state).)
//! * CELL-2: the owner of `run` alone touches the body. While `hold` is set only the one runner of the callbacks and `result()`
//!   readers touch the output, by reference; once `over` is set without `hold`, the handle.
//! * CELL-3: the waker slot belongs to the handle while `join_waker` is clear, to nobody while it is set without `waking`, and
//!   to the one who set `waking` until that is cleared.
//! * CELL-4: the cell is freed by the event whose action is `Free`, and by then the stage and the waker slot are empty.
//! * CELL-5: `scheduler` is followed by owners of a runnable or of `run` alone (SCHED-1).

use super::block;
use super::extras::Extras;
use super::id::TaskId;
use super::runnable::{Ran, Runnable};
use super::state::{Action, Snapshot, State};
use crate::context::RuntimeKey;
use crate::error::{TaskError, drop_quietly};
use crate::registry::LocalShard;
use crate::schedule::{Schedule, Why, is_framed, local_of};
use crate::sync::{Acquire, Arc, AtomicPtr, AtomicUsize, Relaxed, Release, UnsafeCell, mutated};
use std::alloc::Layout;
use std::borrow::Cow;
use std::fmt;
use std::mem::ManuallyDrop;
use std::panic::Location;
use std::ptr::NonNull;
use std::task::Waker;

/// What differs between kinds of cells, beside their types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Runs on any worker.
    Task,
    /// Its body is not `Send`: runs and ends on one thread.
    Local,
    /// A closure for the blocking pool: cannot be cancelled once it runs.
    Blocking,
    /// Has no body.
    Promise,
}

/// The part of a cell that every holder of a pointer can name.
#[repr(C)]
pub struct Header {
    pub(crate) state: State,
    pub(crate) vtable: &'static Vtable,
    scheduler: *const (),
    pub(crate) join_waker: UnsafeCell<Option<Waker>>,
    extras: AtomicPtr<Extras>,
    pub(crate) location: &'static Location<'static>,
    pub(crate) id: TaskId,
    pub(crate) slot: u32,
    pub(crate) shard: u16,
    runtime_index: u16,
    runtime_generation: u32,
    /// Milliseconds from the runtime's start to the spawn.
    pub(crate) born: u32,
    /// What the task waits for, for inspectors: a kind and an address. Written by leaf futures.
    pub(crate) wait_site: [AtomicUsize; 2],
}

impl fmt::Debug for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Header")
            .field("id", &self.id)
            .field("state", &self.state)
            .finish()
    }
}

/// The operations that need the cell's types.
pub(crate) struct Vtable {
    pub(crate) kind: Kind,
    /// Polls once. The caller owns the runnable.
    pub(crate) run: unsafe fn(NonNull<Header>) -> Ran,
    /// Hands a runnable to the scheduler. The caller owns it.
    pub(crate) schedule: unsafe fn(NonNull<Header>, Why),
    /// Ends a task whose runnable was thrown away. The caller owns it.
    pub(crate) discard: unsafe fn(NonNull<Header>),
    /// Asks for the end, for a reason; `true`: past all catchers. The caller keeps the cell. `false`: it is too late.
    pub(crate) request: unsafe fn(NonNull<Header>, Option<Cow<'static, str>>, bool) -> bool,
    pub(crate) output: unsafe fn(NonNull<Header>) -> *mut (),
    pub(crate) drop_output: unsafe fn(NonNull<Header>),
    pub(crate) free: unsafe fn(NonNull<Header>),
}

#[repr(C)]
pub(crate) union Stage<B, T> {
    pub(crate) body: ManuallyDrop<B>,
    pub(crate) output: ManuallyDrop<Result<T, TaskError>>,
}

#[repr(C)]
pub(crate) struct Cell<B, T> {
    header: Header,
    stage: UnsafeCell<Stage<B, T>>,
}

/// What a new cell starts with.
pub(crate) struct Origin<'a> {
    pub(crate) location: &'static Location<'static>,
    pub(crate) scheduler: *const (),
    pub(crate) vtable: &'static Vtable,
    pub(crate) state: Snapshot,
    pub(crate) place: Option<(&'a LocalShard, u32)>,
    pub(crate) runtime: RuntimeKey,
    pub(crate) born: u32,
}

impl<B, T> Cell<B, T> {
    const LAYOUT: Layout = Layout::new::<Self>();

    /// Allocates a cell with its stage.
    #[inline]
    pub(crate) fn allocate(origin: Origin<'_>, stage: Stage<B, T>) -> NonNull<Header> {
        let (shard, slot) = origin
            .place
            .map_or((0, 0), |(shard, slot)| (shard.place(), slot));
        let header = Header {
            state: State::new(origin.state),
            vtable: origin.vtable,
            scheduler: origin.scheduler,
            join_waker: UnsafeCell::new(None),
            extras: AtomicPtr::new(std::ptr::null_mut()),
            location: origin.location,
            id: TaskId::next(),
            slot,
            shard,
            runtime_index: origin.runtime.index,
            runtime_generation: origin.runtime.generation,
            born: origin.born,
            wait_site: [AtomicUsize::new(0), AtomicUsize::new(0)],
        };
        let memory = block::allocate(Self::LAYOUT).cast::<Self>();
        let Some(cell) = NonNull::new(memory) else {
            std::alloc::handle_alloc_error(Self::LAYOUT)
        };
        // SAFETY: freshly allocated with the layout of `Self`.
        unsafe {
            cell.write(Self {
                header,
                stage: UnsafeCell::new(stage),
            })
        };
        cell.cast()
    }

    /// The stage of the cell behind `header`.
    ///
    /// # Safety
    ///
    /// `header` is the header of a live `Cell<B, T>`.
    #[inline]
    pub(crate) unsafe fn stage<'a>(header: NonNull<Header>) -> &'a UnsafeCell<Stage<B, T>> {
        // SAFETY: `repr(C)`: the header comes first, and the caller knows the types.
        let cell = unsafe { header.cast::<Self>().as_ref() };
        &cell.stage
    }

    /// For the vtable: see [`Vtable::output`].
    ///
    /// # Safety
    ///
    /// `header` is the header of a live `Cell<B, T>`. The result may be used as CELL-1 and CELL-2 allow.
    pub(crate) unsafe fn output(header: NonNull<Header>) -> *mut () {
        // SAFETY: handed on.
        let stage = unsafe { Self::stage(header) };
        // Loom sees the access where the pointer is used: through `access_output`.
        stage.with(|stage| stage.cast_mut().cast())
    }

    /// For the vtable: drops the stored output.
    ///
    /// # Safety
    ///
    /// As for [`stage`](Cell::stage), and the caller has just set `taken` on a stored output (CELL-1).
    pub(crate) unsafe fn drop_output(header: NonNull<Header>) {
        // SAFETY: handed on.
        let stage = unsafe { Self::stage(header) };
        stage.with_mut(|stage| {
            // SAFETY: CELL-1: `taken` was set by the caller, so the output is there and is the caller's.
            let stage = unsafe { &mut *stage };
            // SAFETY: as above.
            let output = unsafe { &mut stage.output };
            // SAFETY: it is dropped once, by whoever set `taken`.
            unsafe { ManuallyDrop::drop(output) };
        });
    }

    /// For the vtable: frees the cell, whose stage and waker slot are empty.
    ///
    /// # Safety
    ///
    /// As for [`stage`](Cell::stage), and the caller was told `Free` (CELL-4).
    pub(crate) unsafe fn free(header: NonNull<Header>) {
        // SAFETY: nobody else has the cell any more.
        let extras = unsafe { header.as_ref() }.extras.load(Relaxed);
        if !extras.is_null() {
            // A waker or a callback may be left in it, which are the user's.
            // SAFETY: made by `Box::into_raw` in `make_extras`, and freed only here.
            drop_quietly(unsafe { Box::from_raw(extras) });
        }
        // SAFETY: the header's fields are dropped in place; the stage is empty (CELL-4), a union drops nothing.
        unsafe { header.cast::<Self>().drop_in_place() };
        // SAFETY: `allocate` made it with this layout.
        unsafe { block::free(header.cast(), Self::LAYOUT) };
    }
}

impl Header {
    pub(crate) fn kind(&self) -> Kind {
        self.vtable.kind
    }

    /// Whether this thread is in a frame of the task's scheduler, which the caller keeps.
    pub(crate) fn is_framed(&self) -> bool {
        !self.scheduler.is_null() && is_framed(self.scheduler)
    }

    pub(crate) fn runtime(&self) -> RuntimeKey {
        RuntimeKey {
            index: self.runtime_index,
            generation: self.runtime_generation,
        }
    }

    /// The side node, if it was ever needed.
    pub(crate) fn extras(&self) -> Option<&Extras> {
        // ORDERING(task-extras): sees the node that the Release exchange published.
        let extras = self.extras.load(Acquire);
        // SAFETY: it was made by `make_extras` and lives as long as the cell.
        unsafe { extras.as_ref() }
    }

    /// The side node, made now if need be.
    pub(crate) fn extras_or_new(&self) -> &Extras {
        match self.extras() {
            Some(extras) => extras,
            None => self.make_extras(),
        }
    }

    #[cold]
    fn make_extras(&self) -> &Extras {
        let made = Box::into_raw(Box::new(Extras::new()));
        // ORDERING(task-extras): Release publishes the node, Acquire sees somebody else's.
        let exchange = self
            .extras
            .compare_exchange(std::ptr::null_mut(), made, Release, Acquire);
        let extras = match exchange {
            Ok(_) => made,
            Err(theirs) => {
                // SAFETY: nobody has seen our node.
                drop(unsafe { Box::from_raw(made) });
                theirs
            }
        };
        // SAFETY: it lives as long as the cell.
        unsafe { &*extras }
    }

    /// The name: as set, else from the id.
    pub(crate) fn name(&self) -> String {
        let set = self.extras().and_then(|extras| extras.lock().name.clone());
        set.unwrap_or_else(|| format!("Task-{}", self.id))
    }
}

/// Calls `f` with the scheduler of a task, and with what this thread's frame offers if it is one of that scheduler.
///
/// # Safety
///
/// The caller owns the runnable or `run` of a live cell whose scheduler is an `S` (CELL-5), and keeps it at least until it
/// has been handed to `f`.
#[inline]
pub(crate) unsafe fn with_scheduler<S: Schedule, R>(
    header: NonNull<Header>,
    f: impl FnOnce(Result<(&S, &S::Local), &Arc<S>>) -> R,
) -> R {
    // SAFETY: the caller owns a part of the cell.
    let scheduler = unsafe { header.as_ref() }.scheduler.cast::<S>();
    if let Some(local) = local_of(scheduler) {
        // SAFETY: SCHED-2: the frame holds a count for longer than this call.
        let scheduler = unsafe { &*scheduler };
        // SAFETY: SCHED-2: the frame borrows it for longer than this call.
        let local = unsafe { &*local };
        return f(Ok((scheduler, local)));
    }
    if mutated("hand-over-uncounted") {
        // SAFETY: none: a model plants this defect, and keeps the memory.
        let borrowed = unsafe { Arc::from_raw(scheduler) };
        return f(Err(&ManuallyDrop::new(borrowed)));
    }
    // SAFETY: SCHED-1: the task is not over, so the registry's anchor keeps the scheduler alive up to here.
    unsafe { Arc::increment_strong_count(scheduler) };
    // SAFETY: the count that was just added.
    let counted = unsafe { Arc::from_raw(scheduler) };
    f(Err(&counted))
}

/// For the vtable: see [`Vtable::schedule`].
///
/// # Safety
///
/// The caller owns the runnable of a live cell whose scheduler is an `S`.
pub(crate) unsafe fn schedule<S: Schedule>(header: NonNull<Header>, why: Why) {
    let hand_over = |scheduler: Result<(&S, &S::Local), &Arc<S>>| {
        // SAFETY: the caller owns the runnable, and gives it to this value.
        let runnable = unsafe { Runnable::from_header(header) };
        match scheduler {
            Ok((scheduler, local)) => scheduler.schedule_local(local, runnable, why),
            Err(scheduler) => scheduler.schedule_remote(runnable, why),
        }
    };
    // SAFETY: handed on.
    unsafe { with_scheduler::<S, _>(header, hand_over) }
}

/// Does what a transition left to do for an owner of the cell who has now let go.
///
/// # Safety
///
/// The action comes from an event by which the caller gave up its part of the cell.
#[inline]
pub(crate) unsafe fn settle(header: NonNull<Header>, action: Action) {
    match action {
        Action::Free => {
            // SAFETY: `Free` says that nobody else has the cell; the vtable is static.
            let free = unsafe { header.as_ref() }.vtable.free;
            // SAFETY: CELL-4.
            unsafe { free(header) };
        }
        Action::Enqueue => {
            // SAFETY: `Enqueue` makes the caller the owner of the runnable, which keeps the cell.
            let schedule = unsafe { header.as_ref() }.vtable.schedule;
            // SAFETY: as above.
            unsafe { schedule(header, Why::Woken) };
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_pointer_width = "64")]
    fn an_empty_task_fits_in_a_block_of_112_bytes() {
        // With the allocator's word in front: 104 and 8.
        assert!(size_of::<Cell<u64, ()>>() <= 104);
        assert_eq!(align_of::<Cell<u64, ()>>(), 8);
    }
}

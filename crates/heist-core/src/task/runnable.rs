//! The right to poll a task once, and a place for one such right.

use super::cell::Header;
use super::id::TaskId;
use super::task_ref::TaskRef;
use crate::sync::{AcqRel, Acquire, AtomicPtr, Relaxed, Release, mutated};
use std::fmt;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;

/// The right to poll a task once. Whoever sets `sched` in the task's word makes one, so there is at most one per task.
///
/// One that is dropped ends its task as cancelled.
pub struct Runnable(NonNull<Header>);

// SAFETY: a runnable is moved between threads to be run there; the body of a task that is not `Send` is touched only on its own
// thread, which `run` and `discard` of its vtable check.
unsafe impl Send for Runnable {}
// SAFETY: nothing is reachable through a shared reference but the header's atomics and constants.
unsafe impl Sync for Runnable {}

/// What became of a task that was polled.
#[derive(Debug)]
#[must_use = "a task that yielded must be queued again"]
pub enum Ran {
    /// It is over.
    Over,
    /// It waits.
    Idle,
    /// It was woken while it ran.
    Yielded(Runnable),
}

impl Runnable {
    /// # Safety
    ///
    /// The caller owns the right (it was told `Enqueue` or `Requeue`, or the cell is new) and gives it away.
    #[inline]
    pub(crate) unsafe fn from_header(header: NonNull<Header>) -> Self {
        Self(header)
    }

    #[inline]
    fn into_header(self) -> NonNull<Header> {
        ManuallyDrop::new(self).0
    }

    fn header(&self) -> &Header {
        // SAFETY: the right keeps the cell: a task whose `sched` is set is not over.
        unsafe { self.0.as_ref() }
    }

    /// Polls the task. Catches its panics.
    ///
    /// # Panics
    ///
    /// If the task is not `Send` and this is not its thread; it is leaked then.
    #[inline]
    pub fn run(self) -> Ran {
        let header = self.into_header();
        // SAFETY: the right keeps the cell; the vtable is static.
        let run = unsafe { header.as_ref() }.vtable.run;
        // SAFETY: the right is given away.
        unsafe { run(header) }
    }

    /// The task, for inspection.
    pub fn task_ref(&self) -> TaskRef {
        // SAFETY: the right keeps the cell.
        unsafe { TaskRef::from_header(self.0) }
    }

    /// What stands for the task as long as it is not over, for [`Registry::find`](crate::registry::Registry::find).
    #[inline]
    pub fn address(&self) -> usize {
        self.0.as_ptr().addr()
    }

    /// The id of the task.
    pub fn id(&self) -> TaskId {
        self.header().id
    }
}

impl Drop for Runnable {
    fn drop(&mut self) {
        let discard = self.header().vtable.discard;
        // SAFETY: the right is given away: `self` is not used again.
        unsafe { discard(self.0) };
    }
}

impl fmt::Debug for Runnable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Runnable({})", self.id())
    }
}

/// A place for one [`Runnable`] that any thread may fill and empty: a worker's LIFO slot.
///
/// # Orderings
/// * `runnable-slot`: the Release half of the exchange that puts a runnable in pairs with the Acquire half of the one that takes it out.
#[derive(Default)]
pub struct RunnableSlot(AtomicPtr<Header>);

impl RunnableSlot {
    /// An empty slot.
    pub fn new() -> Self {
        Self(AtomicPtr::new(std::ptr::null_mut()))
    }

    /// Whether it is empty: a guess, unless nobody else has access.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.load(Relaxed).is_null()
    }

    /// Puts `runnable` in and gives back what was there.
    #[inline]
    pub fn swap(&self, runnable: Runnable) -> Option<Runnable> {
        // ORDERING(runnable-slot): Release hands the task over, Acquire takes the one that was there.
        let order = if mutated("slot-relaxed") {
            Release
        } else {
            AcqRel
        };
        Self::own(self.0.swap(runnable.into_header().as_ptr(), order))
    }

    /// Takes what is there.
    #[inline]
    pub fn take(&self) -> Option<Runnable> {
        if self.is_empty() {
            return None;
        }
        // ORDERING(runnable-slot): Acquire takes the task over.
        let order = if mutated("slot-relaxed") {
            Relaxed
        } else {
            Acquire
        };
        Self::own(self.0.swap(std::ptr::null_mut(), order))
    }

    #[inline]
    fn own(header: *mut Header) -> Option<Runnable> {
        // SAFETY: a pointer in the slot came from `into_header`, and the exchange gave it to this thread alone.
        NonNull::new(header).map(|header| unsafe { Runnable::from_header(header) })
    }
}

impl Drop for RunnableSlot {
    fn drop(&mut self) {
        drop(self.take());
    }
}

impl fmt::Debug for RunnableSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_empty() {
            "RunnableSlot(empty)"
        } else {
            "RunnableSlot(full)"
        })
    }
}

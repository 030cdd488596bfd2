//! The side node of a task: what few tasks need, behind one small lock that no user code runs under.

use super::task_ref::TaskRef;
use crate::cancel::Catchers;
use crate::context::RuntimeContext;
use crate::sync::{Mutex, MutexGuard, Weak};
use std::borrow::Cow;
use std::collections::VecDeque;
use std::task::Waker;

/// A done-callback, with the types of its task erased. It gets the cell it was added to.
pub(crate) struct Callback {
    pub(crate) id: u64,
    pub(crate) run: Box<dyn FnOnce(&TaskRef)>,
    /// Bound to the thread of a local task: run and dropped there alone.
    pub(crate) local: bool,
}

pub(crate) struct Extras(Mutex<Inner>);

#[derive(Default)]
pub(crate) struct Inner {
    pub(crate) name: Option<String>,
    pub(crate) callbacks: VecDeque<Callback>,
    /// A thread runs callbacks of a local task whose runtime is gone, those that may run anywhere.
    pub(crate) outside: bool,
    /// Cancel requests that nobody took back.
    pub(crate) requests: usize,
    pub(crate) reason: Option<Cow<'static, str>>,
    /// The runtime's end has been made known to the task.
    pub(crate) told_of_the_end: bool,
    pub(crate) catchers: Catchers,
    /// Of a promise: who waits for the cancellation of the other side.
    pub(crate) cancel_waker: Option<Waker>,
    /// Of a promise: the runtime on which its callbacks run.
    pub(crate) bound: Option<Weak<dyn RuntimeContext>>,
}

// SAFETY: callbacks that are not `local` are `Send` (the public methods say so), and the others are run and dropped on their thread
// (CB-4); everything else is `Send` by itself. The lock guards them all.
unsafe impl Send for Extras {}
// SAFETY: see `Send`.
unsafe impl Sync for Extras {}

impl Extras {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Inner::default()))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock()
    }
}

//! `block_on`: a task whose body stays with the thread that waits for it.
//!
//! The root is listed and can be woken and cancelled as any task. What differs is where its runnable goes: not into
//! a queue but into the slot of a [`Root`], from which only the thread in `block_on` takes it. The slot has a scheduler type of its
//! own, so that the task's protocol is the same to the letter.

use super::handle::Join;
use super::harness::Anywhere;
use super::runnable::{Ran, Runnable, RunnableSlot};
use super::spawn::make;
use super::{Meta, TaskRef};
use crate::context::RuntimeContext;
use crate::error::TaskError;
use crate::platform::Parker;
use crate::registry::{LocalShard, Registry};
use crate::schedule::{Schedule, Why};
use crate::sync::Arc;
use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::task::{Context, Poll, Wake, Waker};

/// Where a thread in [`block_on`] waits.
pub struct Root {
    slot: RunnableSlot,
    parker: Arc<dyn Parker>,
}

impl Root {
    /// Whether the root's future is to be polled.
    pub fn is_woken(&self) -> bool {
        !self.slot.is_empty()
    }

    /// Sleeps until woken, or spuriously for a shorter time.
    pub fn park(&self) {
        self.parker.park(None);
    }
}

impl Wake for Root {
    fn wake(self: Arc<Self>) {
        self.parker.unpark();
    }
}

impl fmt::Debug for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Root")
            .field("woken", &self.is_woken())
            .finish()
    }
}

/// The scheduler of one root: its queue is a slot, its only worker the thread in `block_on`.
struct RootScheduler<S> {
    root: Arc<Root>,
    runtime: Arc<S>,
}

impl<S: Schedule> Schedule for RootScheduler<S> {
    type Local = Infallible;

    fn schedule_local(&self, local: &Infallible, _: Runnable, _: Why) {
        match *local {}
    }

    fn schedule_remote(self: &Arc<Self>, runnable: Runnable, _: Why) {
        // The count that the caller took keeps the parker while the root may already be running.
        let before = self.root.slot.swap(runnable);
        debug_assert!(before.is_none(), "a task has one runnable");
        self.root.parker.unpark();
    }

    fn registry(&self) -> &Registry {
        self.runtime.registry()
    }

    fn local_shard(local: &Infallible) -> &LocalShard {
        match *local {}
    }

    fn context(self: &Arc<Self>) -> Arc<dyn RuntimeContext> {
        self.runtime.context()
    }

    fn clock_ms(&self) -> u32 {
        self.runtime.clock_ms()
    }
}

/// Runs `future` on this thread, as a task of `scheduler`'s runtime, until it is over.
///
/// `parker` is one of this thread. `wait` is called whenever the root is not to be polled. It returns when the root [`is_woken`](Root::is_woken), or earlier; it may sleep
///
/// # Errors
///
/// The root was cancelled or panicked, or the runtime takes no more tasks.
pub fn block_on<S: Schedule, F: Future>(
    scheduler: &Arc<S>,
    future: F,
    meta: Meta,
    parker: Arc<dyn Parker>,
    mut wait: impl FnMut(&Root),
) -> Result<F::Output, TaskError> {
    // Made here: a slot that two threads could take from would move bodies that are not `Send`.
    let root = &Arc::new(Root {
        slot: RunnableSlot::new(),
        parker,
    });
    let mut wait = || wait(root);
    let own = Arc::new(RootScheduler {
        root: Arc::clone(root),
        runtime: Arc::clone(scheduler),
    });
    let Ok((header, runnable)) = make::<Anywhere, _, F>(&own, future, &meta) else {
        return Err(Join::<F::Output>::gone(meta).into_error());
    };
    // SAFETY: the new cell has this output, and its `join` is ours.
    let mut join = unsafe { Join::<F::Output>::from_header(header) };
    let ends = Ends {
        task: join.task_ref(),
        root,
    };
    run_to_end(runnable, root, &mut wait);
    drop(ends);
    // Its callbacks may still run on another thread.
    let waker = Waker::from(Arc::clone(root));
    let mut cx = Context::from_waker(&waker);
    loop {
        match join.poll(&mut cx) {
            Poll::Ready(result) => return result,
            Poll::Pending => wait(),
        }
    }
}

fn run_to_end(mut runnable: Runnable, root: &Root, wait: &mut impl FnMut()) {
    loop {
        match runnable.run() {
            Ran::Over => return,
            Ran::Idle => {}
            Ran::Yielded(again) => {
                drop(root.slot.swap(again));
                root.parker.unpark();
                // Once, so that whoever shares this thread gets a turn.
                wait();
            }
        }
        runnable = loop {
            match root.slot.take() {
                Some(runnable) => break runnable,
                None => wait(),
            }
        };
    }
}

/// Ends the root if `wait` unwinds: its body borrows from the frames below.
struct Ends<'a> {
    task: TaskRef,
    root: &'a Root,
}

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        if self.task.is_finished() {
            return;
        }
        self.task.abort();
        let park = || self.root.park();
        while !self.task.is_finished() {
            match self.root.slot.take() {
                Some(runnable) => {
                    let _ = runnable.run();
                }
                None => park(),
            }
        }
    }
}

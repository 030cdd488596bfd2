//! `block_on`: a task whose body stays with the thread that waits for it.
//!
//! The root is listed and can be woken and cancelled as any task. What differs is where its runnable goes: not into
//! a queue but into the slot of a [`Root`], from which only the thread in `block_on` takes it. The slot has a scheduler type of its
//! own, so that the task's protocol is the same to the letter.

use super::Meta;
use super::cell::Header;
use super::handle::Join;
use super::harness::Anywhere;
use super::runnable::{Ran, Runnable, RunnableSlot};
use super::spawn::make;
use crate::context::{FRAME, RuntimeContext};
use crate::error::{TaskError, drop_quietly};
use crate::platform::Parker;
use crate::registry::{LocalShard, Registry};
use crate::schedule::{Schedule, Why};
use crate::sync::{Arc, AtomicBool, Relaxed, mutated, spin};
use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::ptr::NonNull;
use std::task::{Context, Poll, Wake, Waker};

/// Where a thread in [`block_on`] waits.
pub struct Root {
    slot: RunnableSlot,
    /// The root is over, and the last of its callbacks has run.
    over: AtomicBool,
    parker: Arc<dyn Parker>,
}

impl Root {
    /// Whether the root's future is to be polled, or has given its output.
    pub fn is_woken(&self) -> bool {
        // What was written before an unpark is seen after it: that is the parker's promise.
        !self.slot.is_empty() || self.over.load(Relaxed)
    }

    /// Sleeps until woken, or spuriously for a shorter time.
    pub fn park(&self) {
        self.parker.park(None);
    }
}

impl Wake for Root {
    fn wake(self: Arc<Self>) {
        self.over.store(!mutated("root-end-untold"), Relaxed);
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

// SAFETY: the registry is the runtime's, which is anchored to that, and not to this value: `block_on` itself keeps this one until its
// only task is over. It has no frames, so there is no `Local` of it.
unsafe impl<S: Schedule> Schedule for RootScheduler<S> {
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
        over: AtomicBool::new(false),
        parker,
    });
    let mut wait = || wait(root);
    let own = Arc::new(RootScheduler {
        root: Arc::clone(root),
        runtime: Arc::clone(scheduler),
    });
    let Ok((header, runnable)) = make::<Anywhere, _, F>(&own, future, &meta) else {
        return Err(refuse::<F::Output>(meta));
    };
    let inner = InnerRoot::new(header);
    let _outer = inner.link();
    let mut ends = Ends {
        // SAFETY: the new cell has this output, and its `join` is ours.
        join: unsafe { Join::<F::Output>::from_header(header) },
        root,
        over: false,
    };
    run_to_end(runnable, root, &mut wait);
    // Its callbacks may still run on another thread.
    let waker = Waker::from(Arc::clone(root));
    let mut cx = Context::from_waker(&waker);
    loop {
        match ends.join.poll_unbudgeted(&mut cx) {
            Poll::Ready(result) => {
                ends.over = true;
                return result;
            }
            Poll::Pending => wait(),
        }
    }
}

/// What [`block_on`] gives where the runtime takes no more tasks.
pub fn refuse<T>(meta: Meta) -> TaskError {
    Join::<T>::gone::<Anywhere>(meta).into_error()
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

/// A root on this thread, and the task, if any, in whose poll its `block_on` was called: that cannot go on before the root is over.
#[derive(Debug)]
pub(crate) struct InnerRoot {
    root: *const (),
    task: *const (),
    outer: *const InnerRoot,
}

impl InnerRoot {
    fn new(root: NonNull<Header>) -> Self {
        FRAME.with(|frame| {
            let (task, suspended) = (frame.task.get(), frame.suspended.get());
            Self {
                root: root.as_ptr().cast_const().cast(),
                task: if task.is_null() { suspended } else { task },
                outer: frame.inner_root.get(),
            }
        })
    }

    /// Makes this the innermost one until what it returns is dropped.
    fn link(&self) -> impl Drop + use<'_> {
        struct Unlink<'a>(&'a InnerRoot);
        impl Drop for Unlink<'_> {
            fn drop(&mut self) {
                FRAME.with(|frame| frame.inner_root.set(self.0.outer));
            }
        }
        FRAME.with(|frame| frame.inner_root.set(self));
        Unlink(self)
    }
}

/// Whether the task that is being polled is this one, or a root that this one waits for, so that it would wait for itself.
#[inline]
pub(super) fn is_inside(task: NonNull<Header>) -> bool {
    let task: *const () = task.as_ptr().cast_const().cast();
    let (mut current, mut inner) = FRAME.with(|frame| (frame.task.get(), frame.inner_root.get()));
    while current != task {
        if inner.is_null() {
            return false;
        }
        // SAFETY: what is linked is on the stack of a `block_on` of this thread, which unlinks it before it returns.
        let InnerRoot { root, task, outer } = unsafe { &*inner };
        if *root == current {
            current = *task;
        }
        inner = *outer;
    }
    true
}

/// Whether this thread is inside of `block_on` of this root, or of a poll of this task, however deep.
pub(super) fn is_below(task: NonNull<Header>) -> bool {
    let task: *const () = task.as_ptr().cast_const().cast();
    let (current, mut inner) = FRAME.with(|frame| (frame.task.get(), frame.inner_root.get()));
    let mut found = current == task;
    while !found && !inner.is_null() {
        // SAFETY: what is linked is on the stack of a `block_on` of this thread, which unlinks it before it returns.
        let link = unsafe { &*inner };
        found = link.root == task || link.task == task;
        inner = link.outer;
    }
    found
}

/// Ends the root if `wait` unwinds: its body and its output borrow from the frames below.
struct Ends<'a, T> {
    join: Join<T>,
    root: &'a Root,
    /// The output was taken.
    over: bool,
}

impl<T> Drop for Ends<'_, T> {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        // It may be over without that.
        let task = self.join.task_ref();
        task.abort();
        while !task.is_finished() {
            match self.root.slot.take() {
                Some(runnable) => {
                    let _ = runnable.run();
                }
                None => self.root.park(),
            }
        }
        // Taken, so that nobody who runs late callbacks drops it elsewhere.
        let mut cx = Context::from_waker(Waker::noop());
        loop {
            match self.join.poll_unbudgeted(&mut cx) {
                Poll::Ready(output) => return drop_quietly(output),
                Poll::Pending => spin(),
            }
        }
    }
}

//! A task whose every part is counted.

use crate::scheduler::Runtime;
use heist_core::task::{self, Meta, Task, TaskRef};
use loom::sync::atomic::{AtomicBool, Ordering};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Poll, Wake, Waker};

/// What happened. Plain std atomics: loom must not see them, they order nothing.
#[derive(Debug, Default)]
pub struct Counts {
    /// Bodies dropped.
    pub bodies: AtomicUsize,
    /// Outputs made and dropped.
    pub made: AtomicUsize,
    /// See `made`.
    pub outputs: AtomicUsize,
    /// Callbacks added and run.
    pub added: AtomicUsize,
    /// See `added`.
    pub ran: AtomicUsize,
    /// Wakes of the one who awaits.
    pub woken: AtomicUsize,
}

/// Pending until opened.
#[derive(Debug)]
pub struct Body {
    opened: Arc<AtomicBool>,
    waker: Arc<std::sync::Mutex<Option<Waker>>>,
    counts: Arc<Counts>,
}

/// What the body leaves.
#[derive(Debug)]
pub struct Output(Arc<Counts>);

impl Future for Body {
    type Output = Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Output> {
        // Relaxed: it is the wake that must make the store visible.
        if self.opened.load(Ordering::Relaxed) {
            self.counts.made.fetch_add(1, SeqCst);
            return Poll::Ready(Output(Arc::clone(&self.counts)));
        }
        let mut slot = self.waker.lock().expect("never poisoned");
        if slot.is_none() {
            *slot = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        self.counts.bodies.fetch_add(1, SeqCst);
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        self.0.outputs.fetch_add(1, SeqCst);
    }
}

/// The waker of the one who awaits.
#[derive(Debug)]
pub struct Counting(pub Arc<Counts>);

impl Wake for Counting {
    fn wake(self: Arc<Self>) {
        self.0.woken.fetch_add(1, SeqCst);
    }
}

/// A runtime with one task, and everything that can happen to it.
#[derive(Debug)]
pub struct World {
    /// Where the task runs.
    pub runtime: Runtime,
    /// Its handle.
    pub task: Option<Task<Output>>,
    /// The same, untyped.
    pub view: TaskRef,
    /// See [`Counts`].
    pub counts: Arc<Counts>,
    opened: Arc<AtomicBool>,
    waker: Arc<std::sync::Mutex<Option<Waker>>>,
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

impl World {
    /// A task that is queued.
    pub fn new() -> Self {
        let runtime = Runtime::new();
        let opened = Arc::new(AtomicBool::new(false));
        let waker = Arc::default();
        let counts = Arc::<Counts>::default();
        let body = Body {
            opened: Arc::clone(&opened),
            waker: Arc::clone(&waker),
            counts: Arc::clone(&counts),
        };
        let task = task::spawn(&runtime.0, body, Meta::caller());
        Self {
            view: task.task_ref(),
            runtime,
            task: Some(task),
            counts,
            opened,
            waker,
        }
    }

    /// A task that waits.
    pub fn idle() -> Self {
        let world = Self::new();
        world.runtime.run_all();
        world
    }

    /// A task that is over; its output waits.
    pub fn over() -> Self {
        let world = Self::new();
        world.opened.store(true, Ordering::Relaxed);
        world.runtime.run_all();
        world
    }

    /// What the body waits for.
    pub fn opener(&self) -> Opener {
        let waker = self.waker.lock().expect("never poisoned").clone();
        Opener {
            opened: Arc::clone(&self.opened),
            waker,
        }
    }

    /// Adds an untyped callback.
    pub fn add_callback(view: &TaskRef, counts: &Arc<Counts>) {
        counts.added.fetch_add(1, SeqCst);
        let counts = Arc::clone(counts);
        view.add_done_callback(move |task| {
            assert!(task.is_finished());
            counts.ran.fetch_add(1, SeqCst);
        });
    }

    /// Polls the handle once with a waker that counts.
    pub fn poll(task: &mut Task<Output>, counts: &Arc<Counts>) -> bool {
        let waker = Waker::from(Arc::new(Counting(Arc::clone(counts))));
        Pin::new(task)
            .poll(&mut Context::from_waker(&waker))
            .is_ready()
    }

    /// Lets the task end and looks whether everything happened exactly once.
    ///
    /// # Panics
    ///
    /// If something did not.
    pub fn check(mut self) {
        self.opener().open_by_ref();
        self.runtime.run_all();
        assert!(self.view.is_finished(), "a wake was lost");
        self.waker.lock().expect("never poisoned").take();
        drop(self.task.take());
        drop(self.view);
        self.runtime.run_all();
        let counts = &self.counts;
        let read = |count: &AtomicUsize| count.load(SeqCst);
        assert_eq!(read(&counts.bodies), 1, "the body is dropped once");
        assert_eq!(
            read(&counts.made),
            read(&counts.outputs),
            "outputs are dropped once"
        );
        assert_eq!(read(&counts.added), read(&counts.ran), "callbacks run once");
        self.runtime.close();
    }
}

/// Opens the body's gate and wakes its task.
#[derive(Clone, Debug)]
pub struct Opener {
    opened: Arc<AtomicBool>,
    waker: Option<Waker>,
}

impl Opener {
    /// By the waker's value.
    pub fn open(self) {
        self.opened.store(true, Ordering::Relaxed);
        if let Some(waker) = self.waker {
            waker.wake();
        }
    }

    /// By reference.
    pub fn open_by_ref(&self) {
        self.opened.store(true, Ordering::Relaxed);
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }
}

//! A task whose every part is counted.

use crate::scheduler::Runtime;
use heist_core::cancel::{CatchCancel, catch_cancel};
use heist_core::task::{self, Finished, LocalTask, Meta, Task, TaskRef};
use loom::sync::atomic::{AtomicBool, Ordering};
use std::future::{Future, Pending, pending, ready};
use std::pin::{Pin, pin};
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

impl Counts {
    /// An output that counts its drop.
    pub fn output(self: &Arc<Self>) -> Output {
        self.made.fetch_add(1, SeqCst);
        Output(Arc::clone(self))
    }

    /// What every callback does in the end.
    pub fn callback(self: &Arc<Self>) -> impl FnOnce() + Send + use<> {
        self.added.fetch_add(1, SeqCst);
        let counts = Arc::clone(self);
        move || {
            counts.ran.fetch_add(1, SeqCst);
        }
    }

    /// Adds an untyped one.
    pub fn add_callback(self: &Arc<Self>, view: &TaskRef) {
        let ran = self.callback();
        view.add_done_callback(move |task| {
            assert!(task.is_finished());
            ran();
        });
    }

    /// What a typed one does: it reads the output, if that is still there.
    pub fn typed_callback(self: &Arc<Self>) -> impl FnOnce(&Finished<'_, Output>) + Send + use<> {
        let ran = self.callback();
        move |task| {
            let _ = task.result().map(|output| output.0.made.load(SeqCst));
            ran();
        }
    }

    /// Looks whether everything happened exactly once.
    pub fn check(&self) {
        let read = |count: &AtomicUsize| count.load(SeqCst);
        assert_eq!(
            read(&self.made),
            read(&self.outputs),
            "outputs are dropped once"
        );
        assert_eq!(read(&self.added), read(&self.ran), "callbacks run once");
    }
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
            return Poll::Ready(self.counts.output());
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

/// A body that catches. Its first poll only leaves a waker; each later one makes a catcher and ends it, then polls one that
/// others can take away, and then one that has the rest of the body in it.
struct Catching {
    waker: Option<Arc<std::sync::Mutex<Option<Waker>>>>,
    beside: Beside,
    body: Pin<Box<CatchCancel<Body>>>,
    counts: Arc<Counts>,
}

/// A catcher that waits for nothing else.
pub type Beside = Arc<std::sync::Mutex<Option<Pin<Box<CatchCancel<Pending<()>>>>>>>;

impl Future for Catching {
    type Output = Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Output> {
        if let Some(waker) = self.waker.take() {
            *waker.lock().expect("never poisoned") = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let short = pin!(catch_cancel(ready(()))).poll(cx);
        assert!(short.is_ready());
        let place = || self.beside.lock().expect("never poisoned");
        let taken = place().take();
        if let Some(mut beside) = taken {
            if beside.as_mut().poll(cx).is_ready() {
                return Poll::Ready(self.counts.output());
            }
            *place() = Some(beside);
        }
        match self.body.as_mut().poll(cx) {
            Poll::Ready(caught) => Poll::Ready(caught.unwrap_or_else(|_| self.counts.output())),
            Poll::Pending => Poll::Pending,
        }
    }
}

/// The owner's handle.
pub trait Handle {
    /// Polls once with a waker that counts.
    fn poll(&mut self, counts: &Arc<Counts>) -> bool;

    /// Adds a typed callback.
    fn add_callback(&self, counts: &Arc<Counts>);
}

pub(crate) fn poll(handle: &mut (impl Future + Unpin), counts: &Arc<Counts>) -> bool {
    let waker = Waker::from(Arc::new(Counting(Arc::clone(counts))));
    Pin::new(handle)
        .poll(&mut Context::from_waker(&waker))
        .is_ready()
}

impl Handle for Task<Output> {
    fn poll(&mut self, counts: &Arc<Counts>) -> bool {
        poll(self, counts)
    }

    fn add_callback(&self, counts: &Arc<Counts>) {
        self.add_done_callback(counts.typed_callback());
    }
}

impl Handle for LocalTask<Output> {
    fn poll(&mut self, counts: &Arc<Counts>) -> bool {
        poll(self, counts)
    }

    fn add_callback(&self, counts: &Arc<Counts>) {
        self.add_done_callback(counts.typed_callback());
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
pub struct World<H = Task<Output>> {
    /// Where the task runs.
    pub runtime: Runtime,
    /// Its handle.
    pub task: Option<H>,
    /// The same, untyped.
    pub view: TaskRef,
    /// See [`Counts`].
    pub counts: Arc<Counts>,
    /// The catcher of [`catching`](World::catching) that can be taken away.
    pub beside: Beside,
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
        Self::with(Task::task_ref, |runtime, body, _| {
            task::spawn(&runtime.0, body, Meta::caller())
        })
    }

    /// A task that waits.
    pub fn idle() -> Self {
        let world = Self::new();
        world.runtime.run_all();
        world
    }

    /// A task that is over; its output waits.
    pub fn over() -> Self {
        let world = Self::idle();
        world.opener().open_by_ref();
        world.run()
    }

    /// A task that waits, and will catch requests when it is polled.
    pub fn catching() -> Self {
        let world = Self::with(Task::task_ref, |runtime, body, beside| {
            *beside.lock().expect("never poisoned") = Some(Box::pin(catch_cancel(pending())));
            let catching = Catching {
                waker: Some(Arc::clone(&body.waker)),
                beside: Arc::clone(beside),
                counts: Arc::clone(&body.counts),
                body: Box::pin(catch_cancel(body)),
            };
            task::spawn(&runtime.0, catching, Meta::caller())
        });
        world.runtime.run_all();
        world
    }

    /// A task that catches requests.
    pub fn caught() -> Self {
        let world = Self::catching();
        world.opener().nudge();
        world.run()
    }

    /// The same after its abort: the other catcher is still there.
    pub fn aborted() -> Self {
        let world = Self::caught();
        world.view.abort();
        world.run()
    }

    /// A closure that may block, and is queued.
    pub fn blocking() -> Self {
        Self::with(Task::task_ref, |runtime, body, _| {
            let call = move || body.counts.output();
            task::spawn_blocking(&runtime.0, call, Meta::caller(), |runnable| {
                runtime.submit(runnable);
            })
        })
    }
}

impl World<LocalTask<Output>> {
    /// A task that is not `Send`, and is queued.
    pub fn local() -> Self {
        Self::with(LocalTask::task_ref, |runtime, body, _| {
            runtime.frame(|| task::spawn_local(&runtime.0, body, Meta::caller()))
        })
    }

    /// The same, and waits.
    pub fn local_idle() -> Self {
        let world = Self::local();
        world.runtime.frame(|| world.runtime.run_all());
        world
    }

    /// The same, and is over.
    pub fn local_over() -> Self {
        let world = Self::local_idle();
        world.opener().open_by_ref();
        world.runtime.frame(|| world.runtime.run_all());
        world
    }
}

impl<H: Handle> World<H> {
    fn with(
        view: impl FnOnce(&H) -> TaskRef,
        spawn: impl FnOnce(&Runtime, Body, &Beside) -> H,
    ) -> Self {
        let runtime = Runtime::new();
        let opened = Arc::new(AtomicBool::new(false));
        let waker = Arc::default();
        let counts = Arc::<Counts>::default();
        let body = Body {
            opened: Arc::clone(&opened),
            waker: Arc::clone(&waker),
            counts: Arc::clone(&counts),
        };
        let beside = Beside::default();
        let task = spawn(&runtime, body, &beside);
        Self {
            view: view(&task),
            runtime,
            task: Some(task),
            counts,
            beside,
            opened,
            waker,
        }
    }

    /// The same, awaited.
    #[must_use]
    pub fn awaited(mut self) -> Self {
        let handle = self.task.as_mut().expect("the handle");
        assert!(!handle.poll(&self.counts));
        self
    }

    /// The same, without its handle.
    #[must_use]
    pub fn detached(mut self) -> Self {
        self.task = None;
        self
    }

    /// The same, with a callback.
    #[must_use]
    pub fn watched(self) -> Self {
        self.counts.add_callback(&self.view);
        self
    }

    /// The same, with a callback of its owner.
    #[must_use]
    pub fn watched_by_owner(self) -> Self {
        let handle = self.task.as_ref().expect("the handle");
        handle.add_callback(&self.counts);
        self
    }

    /// The same, asked to end.
    #[must_use]
    pub fn requested(self) -> Self {
        self.view.cancel();
        self
    }

    /// The same after a run of all that is queued.
    #[must_use]
    pub fn run(self) -> Self {
        self.runtime.run_all();
        self
    }

    /// What the body waits for.
    pub fn opener(&self) -> Opener {
        let waker = self.waker.lock().expect("never poisoned").clone();
        Opener {
            opened: Arc::clone(&self.opened),
            waker,
        }
    }

    /// Lets the task end and looks whether everything happened exactly once.
    pub fn check(mut self) {
        self.settle();
        self.close();
    }

    /// Lets the task end, where it can be run.
    pub fn settle(&mut self) {
        self.opener().open_by_ref();
        self.runtime.run_all();
        assert!(self.view.is_finished(), "a wake was lost");
        self.waker.lock().expect("never poisoned").take();
        let left = self.beside.lock().expect("never poisoned").take();
        drop(left);
        drop(self.task.take());
        self.runtime.run_all();
    }

    /// The second half of [`check`](World::check).
    pub fn close(self) {
        drop(self.view);
        assert_eq!(
            self.counts.bodies.load(SeqCst),
            1,
            "the body is dropped once"
        );
        self.counts.check();
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

    /// Wakes, and opens nothing.
    pub fn nudge(&self) {
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }

    /// By reference.
    pub fn open_by_ref(&self) {
        self.opened.store(true, Ordering::Relaxed);
        self.nudge();
    }
}

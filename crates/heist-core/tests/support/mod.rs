//! The smallest scheduler: one queue, run by whoever calls `run`.

#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    missing_debug_implementations,
    clippy::unwrap_used,
    reason = "each test binary uses a part of it, and fails by panicking"
)]

use heist_core::context::{Job, RuntimeContext};
use heist_core::driver::{Driver, Wait};
use heist_core::error::ExceptionContext;
use heist_core::platform::{Parker, Platform};
use heist_core::registry::{LocalShard, Registry};
use heist_core::schedule::{Schedule, Why, worker_frame};
use heist_core::task::{self, LocalTask, Meta, Ran, Root, Runnable, Task, TaskError};
use std::any::Any;
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Instant;

pub struct Scheduler {
    queue: Mutex<VecDeque<Runnable>>,
    registry: Registry,
    platform: Arc<dyn Platform>,
    driver: Arc<dyn Driver>,
    started: Instant,
    pub reports: Mutex<Vec<String>>,
}

impl std::fmt::Debug for Scheduler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Scheduler")
    }
}

/// What the frame of the one worker offers.
pub struct Local(LocalShard);

/// Owns the scheduler, and takes it down: a registry that is not empty keeps it for ever.
pub struct Runtime(pub Arc<Scheduler>);

// SAFETY: `new` anchors its registry, whose shards its frames offer; it is in an `Arc` of its own; its frames are on one thread.
unsafe impl Schedule for Scheduler {
    type Local = Local;

    fn schedule_local(&self, _: &Local, runnable: Runnable, _: Why) {
        self.queue.lock().unwrap().push_back(runnable);
    }

    fn schedule_remote(self: &Arc<Self>, runnable: Runnable, _: Why) {
        self.queue.lock().unwrap().push_back(runnable);
    }

    fn registry(&self) -> &Registry {
        &self.registry
    }

    fn local_shard(local: &Local) -> &LocalShard {
        &local.0
    }

    fn context(self: &Arc<Self>) -> Arc<dyn RuntimeContext> {
        Arc::clone(self) as Arc<dyn RuntimeContext>
    }

    fn clock_ms(&self) -> u32 {
        0
    }
}

impl RuntimeContext for Scheduler {
    fn driver(&self) -> &Arc<dyn Driver> {
        &self.driver
    }

    fn platform(&self) -> &Arc<dyn Platform> {
        &self.platform
    }

    fn started(&self) -> Instant {
        self.started
    }

    fn call(&self, job: Job) -> Result<(), Job> {
        if self.registry.is_closed() {
            return Err(job);
        }
        self.calls().push_back(job);
        Ok(())
    }

    fn call_blocking(&self, job: Job) -> Result<(), Job> {
        self.call(job)
    }

    fn report(&self, exception: &ExceptionContext<'_>) {
        self.reports.lock().unwrap().push(exception.to_string());
    }

    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

impl Scheduler {
    fn calls(&self) -> std::sync::MutexGuard<'_, VecDeque<Job>> {
        self.platform_calls().lock().unwrap()
    }

    fn platform_calls(&self) -> &Mutex<VecDeque<Job>> {
        let driver: &Still = self.driver.as_any().downcast_ref().unwrap();
        &driver.0
    }
}

impl Runtime {
    pub fn new() -> Self {
        let scheduler = Arc::new(Scheduler {
            queue: Mutex::default(),
            registry: Registry::new(1),
            platform: Arc::new(Clock),
            driver: Arc::new(Still(Mutex::default())),
            started: Instant::now(),
            reports: Mutex::default(),
        });
        scheduler.registry.anchor(&scheduler);
        Self(scheduler)
    }

    #[track_caller]
    pub fn spawn<F>(&self, future: F) -> Task<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        task::spawn(&self.0, future, Meta::caller())
    }

    /// Runs everything that is runnable, as a worker. Returns how many polls that took.
    pub fn run(&self) -> usize {
        self.frame(|| self.run_in_frame())
    }

    pub fn frame<R>(&self, f: impl FnOnce() -> R) -> R {
        let local = Local(
            self.0
                .registry
                .local_shard(0)
                .expect("one worker at a time"),
        );
        worker_frame(&self.0, &local, 0, f)
    }

    pub fn run_in_frame(&self) -> usize {
        let mut polls = 0;
        loop {
            let job = self.0.calls().pop_front();
            if let Some(job) = job {
                job();
                continue;
            }
            let runnable = self.0.queue.lock().unwrap().pop_front();
            let Some(runnable) = runnable else {
                return polls;
            };
            polls += 1;
            if let Ran::Yielded(again) = runnable.run() {
                self.0.queue.lock().unwrap().push_back(again);
            }
        }
    }

    /// Runs at most one task. Returns whether there was one.
    pub fn run_one(&self) -> bool {
        let runnable = self.0.queue.lock().unwrap().pop_front();
        let Some(runnable) = runnable else {
            return false;
        };
        if let Ran::Yielded(again) = runnable.run() {
            self.0.queue.lock().unwrap().push_back(again);
        }
        true
    }

    pub fn spawn_local<F: Future + 'static>(&self, future: F) -> LocalTask<F::Output> {
        task::spawn_local(&self.0, future, Meta::caller())
    }

    pub fn block_on<F: Future>(&self, future: F) -> Result<F::Output, TaskError> {
        let parker = Arc::new(Token::default());
        task::block_on(&self.0, future, Meta::caller(), parker, |root: &Root| {
            if self.run_in_frame() == 0 && !root.is_woken() {
                std::thread::yield_now();
            }
        })
    }

    pub fn live(&self) -> usize {
        self.0.registry.len()
    }

    pub fn names(&self) -> Vec<String> {
        self.0
            .registry
            .tasks()
            .iter()
            .map(|task| task.name())
            .collect()
    }

    pub fn reports(&self) -> Vec<String> {
        self.0.reports.lock().unwrap().clone()
    }

    pub fn close(&self) {
        self.0.registry.close();
        self.0.registry.for_each(|task| {
            task.abort();
        });
        self.run();
        assert!(self.0.registry.release(), "all tasks are over");
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        if !self.0.registry.is_closed() && !std::thread::panicking() {
            self.close();
        }
    }
}

#[derive(Debug)]
struct Clock;

impl Platform for Clock {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn parker(&self) -> Arc<dyn Parker> {
        Arc::new(Token::default())
    }

    fn seed(&self) -> u64 {
        1
    }
}

#[derive(Debug, Default)]
struct Token(AtomicBool);

impl Parker for Token {
    fn park(&self, _: Option<Instant>) {
        if !self.0.swap(false, Ordering::AcqRel) {
            std::thread::yield_now();
        }
    }

    fn unpark(&self) {
        self.0.store(true, Ordering::Release);
    }
}

/// No I/O, no timers; keeps the calls.
struct Still(Mutex<VecDeque<Job>>);

impl std::fmt::Debug for Still {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Still")
    }
}

impl Driver for Still {
    fn turn(&self, _: usize, _: Wait) -> usize {
        0
    }

    fn unpark(&self) {}

    fn next_deadline(&self) -> Option<Instant> {
        None
    }

    fn advance(&self, _: usize) -> usize {
        0
    }

    fn shut_down(&self) {}

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// A waker that counts.
#[derive(Default)]
pub struct Count(pub AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Count {
    pub fn get(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

/// Counts its drops.
#[derive(Clone)]
pub struct Dropped(pub Arc<AtomicUsize>);

impl Dropped {
    pub fn new() -> (Self, Arc<AtomicUsize>) {
        let count = Arc::new(AtomicUsize::new(0));
        (Self(Arc::clone(&count)), count)
    }
}

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Polls once with a waker that does nothing.
pub fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// Pending until opened; keeps the last waker.
#[derive(Clone, Default)]
pub struct Gate(Arc<Mutex<(bool, Option<Waker>)>>);

impl Gate {
    pub fn open(&self) {
        let mut state = self.0.lock().unwrap();
        state.0 = true;
        let waker = state.1.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Future for Gate {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.0.lock().unwrap();
        if state.0 {
            return Poll::Ready(());
        }
        state.1 = Some(cx.waker().clone());
        Poll::Pending
    }
}

/// Pending once, woken at once.
#[derive(Default)]
pub struct YieldNow(bool);

impl Future for YieldNow {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if std::mem::replace(&mut self.0, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

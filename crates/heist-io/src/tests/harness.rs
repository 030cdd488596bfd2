//! A runtime of one thread for the tests of this crate: one root future, turned by hand.

use crate::driver::IoDriver;
use crate::sync::{Acquire, AtomicU32, Release};
use heist_core::context::{Job, RuntimeContext, enter};
use heist_core::driver::{Driver, Wait};
use heist_core::error::{ExceptionContext, ExceptionKind};
use heist_core::platform::{Parker, Platform};
use std::any::Any;
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

/// No wait of a test is longer.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// The machine's clock, or one that stands until it is moved.
#[derive(Debug)]
pub(crate) struct TestPlatform(Option<Mutex<Instant>>);

impl Platform for TestPlatform {
    fn now(&self) -> Instant {
        self.0
            .as_ref()
            .map_or_else(Instant::now, |now| *now.lock().unwrap())
    }

    fn parker(&self) -> Arc<dyn Parker> {
        unreachable!("the harness turns its driver instead")
    }

    fn seed(&self) -> u64 {
        1
    }
}

#[derive(Debug)]
pub(crate) struct TestRuntime {
    pub(crate) io: Arc<IoDriver>,
    driver: Arc<dyn Driver>,
    platform: Arc<dyn Platform>,
    clock: Arc<TestPlatform>,
    closed: AtomicU32,
    /// Wakers whose panic was reported, and problems of the runtime that were. Nothing else may be.
    pub(crate) panics: AtomicU32,
    pub(crate) problems: AtomicU32,
    started: Instant,
}

impl TestRuntime {
    pub(crate) fn new() -> Arc<Self> {
        Self::with(TestPlatform(None))
    }

    /// One whose clock is moved by [`advance`](Self::advance).
    pub(crate) fn with_clock() -> Arc<Self> {
        Self::with(TestPlatform(Some(Mutex::new(Instant::now()))))
    }

    fn with(platform: TestPlatform) -> Arc<Self> {
        let clock = Arc::new(platform);
        let platform: Arc<dyn Platform> = clock.clone();
        let io = IoDriver::new(2, platform.clone()).unwrap();
        let started = clock.now();
        Arc::new(Self {
            driver: io.clone(),
            io,
            platform,
            clock,
            closed: AtomicU32::new(0),
            panics: AtomicU32::new(0),
            problems: AtomicU32::new(0),
            started,
        })
    }

    pub(crate) fn now(&self) -> Instant {
        self.clock.now()
    }

    /// Moves the clock, and fires what is due then. Returns the number of wakers woken.
    pub(crate) fn advance(&self, by: Duration) -> usize {
        *self.clock.0.as_ref().unwrap().lock().unwrap() += by;
        self.driver.turn(0, Wait::Never)
    }

    /// Polls `future` on this thread until it is ready, turning the driver in between.
    #[track_caller]
    pub(crate) fn block_on<F: Future>(self: &Arc<Self>, future: F) -> F::Output {
        let _entered = enter(self.clone());
        let flag = Arc::new(Flag {
            woken: AtomicU32::new(1),
            driver: self.driver.clone(),
        });
        let waker = Waker::from(flag.clone());
        let mut future = pin!(future);
        let end = Instant::now() + LIMIT;
        loop {
            if flag.woken.swap(0, std::sync::atomic::Ordering::AcqRel) == 1 {
                if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker))
                {
                    return output;
                }
            }
            assert!(Instant::now() < end, "a test waits for too long");
            let wait = if flag.woken.load(Acquire) == 1 {
                Wait::Never
            } else {
                Wait::Until(self.now() + LIMIT)
            };
            self.driver.turn(0, wait);
        }
    }

    pub(crate) fn shut_down(&self) {
        self.closed.store(1, Release);
        self.driver.shut_down();
    }
}

struct Flag {
    woken: AtomicU32,
    driver: Arc<dyn Driver>,
}

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        if self.woken.swap(1, std::sync::atomic::Ordering::AcqRel) == 0 {
            self.driver.unpark();
        }
    }
}

impl RuntimeContext for TestRuntime {
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
        self.call_blocking(job)
    }

    fn call_blocking(&self, job: Job) -> Result<(), Job> {
        if self.closed.load(Acquire) == 1 {
            return Err(job);
        }
        thread::spawn(job);
        Ok(())
    }

    fn report(&self, exception: &ExceptionContext<'_>) {
        let count = match exception.kind() {
            ExceptionKind::Waker => &self.panics,
            ExceptionKind::Runtime => &self.problems,
            _ => panic!("{exception:?}"),
        };
        count.fetch_add(1, std::sync::atomic::Ordering::AcqRel);
    }

    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

/// Polls both until both are ready.
pub(crate) async fn both<A: Future, B: Future>(a: A, b: B) -> (A::Output, B::Output) {
    let (mut a, mut b) = (pin!(a), pin!(b));
    let (mut first, mut second) = (None, None);
    std::future::poll_fn(move |cx| {
        if first.is_none() {
            if let Poll::Ready(output) = a.as_mut().poll(cx) {
                first = Some(output);
            }
        }
        if second.is_none() {
            if let Poll::Ready(output) = b.as_mut().poll(cx) {
                second = Some(output);
            }
        }
        match (first.take(), second.take()) {
            (Some(one), Some(other)) => Poll::Ready((one, other)),
            (one, other) => {
                (first, second) = (one, other);
                Poll::Pending
            }
        }
    })
    .await
}

/// Polls once.
pub(crate) fn poll_once<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

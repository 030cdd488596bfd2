//! A driver without an operating system, and waits that end and say what they waited for.

#![allow(
    dead_code,
    unreachable_pub,
    missing_debug_implementations,
    missing_docs,
    reason = "each test file uses a part of it"
)]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::any::Any;
use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use heist_core::driver::{Driver, Wait};
use heist_core::task::Meta;
use heist_scheduler::{Config, Scheduler, SystemPlatform};

/// Timers, and sources that become ready when a test says so.
#[derive(Debug, Default)]
pub struct FakeDriver {
    state: Mutex<State>,
    changed: Condvar,
    /// Turns that slept, and all turns.
    pub sleeps: AtomicUsize,
    pub turns: AtomicUsize,
}

#[derive(Debug, Default)]
struct State {
    inside: bool,
    token: bool,
    gone: bool,
    timers: BTreeMap<(Instant, u64), Waker>,
    made: u64,
    /// Sources by number: ready, and who waits.
    sources: BTreeMap<u64, (bool, Option<Waker>)>,
}

impl FakeDriver {
    /// A source becomes ready; whoever waits for it is woken by the next turn.
    pub fn make_ready(&self, source: u64) {
        self.state
            .lock()
            .unwrap()
            .sources
            .entry(source)
            .or_default()
            .0 = true;
        self.changed.notify_all();
    }

    /// Whether a thread sleeps in here.
    pub fn is_inside(&self) -> bool {
        self.state.lock().unwrap().inside
    }

    fn due(state: &mut State) -> Vec<Waker> {
        let now = Instant::now();
        let later = state.timers.split_off(&(now, u64::MAX));
        let due = std::mem::replace(&mut state.timers, later);
        let ready = state.sources.values_mut().filter(|(ready, _)| *ready);
        due.into_values()
            .chain(ready.filter_map(|(_, waker)| waker.take()))
            .collect()
    }
}

impl Driver for FakeDriver {
    fn turn(&self, _shard: usize, wait: Wait) -> usize {
        let mut state = self.state.lock().unwrap();
        assert!(
            !std::mem::replace(&mut state.inside, true),
            "two threads are inside of the driver"
        );
        self.turns.fetch_add(1, Ordering::Relaxed);
        let limit = match wait {
            Wait::Never => Some(Instant::now()),
            Wait::Forever => None,
            Wait::Until(at) => Some(at),
        };
        let due = loop {
            let due = Self::due(&mut state);
            let now = Instant::now();
            if !due.is_empty()
                || std::mem::take(&mut state.token)
                || limit.is_some_and(|at| at <= now)
            {
                break due;
            }
            let timer = state.timers.keys().next().map(|(at, _)| *at);
            self.sleeps.fetch_add(1, Ordering::Relaxed);
            state = match limit.into_iter().chain(timer).min() {
                Some(at) => {
                    self.changed
                        .wait_timeout(state, at - now.min(at))
                        .unwrap()
                        .0
                }
                None => self.changed.wait(state).unwrap(),
            };
        };
        state.inside = false;
        drop(state);
        let woken = due.len();
        due.into_iter().for_each(Waker::wake);
        woken
    }

    fn unpark(&self) {
        self.state.lock().unwrap().token = true;
        self.changed.notify_all();
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.state
            .lock()
            .unwrap()
            .timers
            .keys()
            .next()
            .map(|(at, _)| *at)
    }

    fn advance(&self, _shard: usize) -> usize {
        0
    }

    fn shut_down(&self) {
        let mut state = self.state.lock().unwrap();
        state.gone = true;
        let timers = std::mem::take(&mut state.timers);
        drop(state);
        timers.into_values().for_each(Waker::wake);
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// Waits until a source of the driver is ready.
pub struct Readiness(pub Arc<FakeDriver>, pub u64);

impl Future for Readiness {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.0.state.lock().unwrap();
        let source = state.sources.entry(self.1).or_default();
        if std::mem::take(&mut source.0) {
            return Poll::Ready(());
        }
        source.1 = Some(cx.waker().clone());
        Poll::Pending
    }
}

/// A sleep on the driver's timers.
pub struct Sleep(Arc<FakeDriver>, Instant);

pub fn sleep(driver: &Arc<FakeDriver>, length: Duration) -> Sleep {
    Sleep(Arc::clone(driver), Instant::now() + length)
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if Instant::now() >= self.1 {
            return Poll::Ready(());
        }
        let mut state = self.0.state.lock().unwrap();
        let number = state.made;
        state.made += 1;
        let first = state
            .timers
            .keys()
            .next()
            .is_none_or(|(at, _)| self.1 < *at);
        state.timers.insert((self.1, number), cx.waker().clone());
        drop(state);
        if first {
            self.0.changed.notify_all();
        }
        Poll::Pending
    }
}

/// Lets the other tasks run once.
#[derive(Default)]
pub struct YieldNow(bool);

pub fn yield_now() -> YieldNow {
    YieldNow(false)
}

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

pub fn meta() -> Meta {
    Meta::caller()
}

/// A scheduler with `workers` workers, and its driver.
pub fn start(workers: usize) -> (Scheduler, Arc<FakeDriver>) {
    start_with(workers, |_| ())
}

pub fn start_with(
    workers: usize,
    change: impl FnOnce(&mut Config),
) -> (Scheduler, Arc<FakeDriver>) {
    let driver = Arc::new(FakeDriver::default());
    let mut config = Config::default();
    config.worker_threads = workers;
    change(&mut config);
    let own: Arc<dyn Driver> = driver.clone();
    let scheduler = Scheduler::start(
        config,
        |_| io::Result::Ok(own),
        Arc::new(SystemPlatform::new()),
    )
    .unwrap();
    (scheduler, driver)
}

/// Ends a scheduler and checks that nothing was left.
pub fn stop(scheduler: &Scheduler) {
    let report = scheduler.shutdown(Duration::from_secs(20));
    assert!(report.is_clean(), "{report:?}");
}

/// Something that happens once, and how a thread waits for it.
#[derive(Clone, Debug, Default)]
pub struct Flag(Arc<(Mutex<bool>, Condvar)>);

impl Flag {
    pub fn raise(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    pub fn is_raised(&self) -> bool {
        *self.0.0.lock().unwrap()
    }

    /// Blocks until raised. Fails with `what` after a time in which it must have happened.
    #[track_caller]
    pub fn wait(&self, what: &str) {
        assert!(self.wait_for(LIMIT), "waited {LIMIT:?} in vain: {what}");
    }

    pub fn wait_for(&self, limit: Duration) -> bool {
        let raised = self.0.0.lock().unwrap();
        let (raised, _) = self
            .0
            .1
            .wait_timeout_while(raised, limit, |raised| !*raised)
            .unwrap();
        *raised
    }
}

/// Blocks until `reached`. Fails with `what` after a time in which it must have happened.
#[track_caller]
pub fn wait_until(what: &str, mut reached: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !reached() {
        assert!(begun.elapsed() < LIMIT, "waited {LIMIT:?} in vain: {what}");
        std::thread::yield_now();
    }
}

/// Runs `body` on a thread of its own and fails with its name if it does not end.
#[track_caller]
pub fn bounded(what: &str, body: impl FnOnce() + Send + 'static) {
    let done = Flag::default();
    let end = done.clone();
    let thread = std::thread::spawn(move || {
        let ran = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
        end.raise();
        if let Err(payload) = ran {
            std::panic::resume_unwind(payload);
        }
    });
    done.wait(what);
    if let Err(payload) = thread.join() {
        std::panic::resume_unwind(payload);
    }
}

pub const LIMIT: Duration = Duration::from_secs(60);

/// How often a test does what it does: less often under Miri, which takes a thousand times as long.
pub const fn times(often: usize) -> usize {
    if cfg!(miri) {
        often.div_ceil(1000)
    } else {
        often
    }
}

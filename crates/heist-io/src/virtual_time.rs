//! A clock that stands still while anything runs, and jumps to the next timer when nothing does. For tests.
//!
//! Whoever would sleep in the driver asks first whether the runtime is *quiet*: no task is queued or polled, no blocking closure waits
//! or runs. If it is, and somebody waits for that or for a time, the next step is made instead:
//!
//! 1. whoever [settles](settle) is told, and the clock stands still;
//! 2. else the clock goes to the next timer, which fires, or to the end of an [`advance`], whichever comes first.
//!
//! If it is not, it looks again a moment later: somebody runs who will not tell.
//!
//! Whether a runtime is quiet is the scheduler's to say, by the function that it is given to the driver with. What it cannot know are
//! the polls of roots, on threads of others: those are counted here.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::OnceLock;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use heist_core::context::RuntimeContext;
use heist_core::future::{Deferred, Promise, promise};
use heist_core::task::{TaskId, waiting_id};

pub use crate::context::now_of;
use crate::context::with_driver;
use crate::driver::IoDriver;
use crate::sync::{Arc, AtomicU64, Mutex, ProcessWideFlag, Relaxed};
use crate::timer::NEVER;

/// Says whether nothing is queued, polled, or runs, but these tasks, which wait inside of a poll.
pub type Probe = Box<dyn Fn(&[TaskId]) -> bool + Send + Sync>;

/// The virtual clock of one runtime.
pub(crate) struct VirtualTime {
    epoch: Instant,
    /// Nanoseconds. Written by the thread in the driver.
    passed: AtomicU64,
    plan: Mutex<Plan>,
    roots: Mutex<Roots>,
    probe: OnceLock<Probe>,
}

/// Who waits for what.
#[derive(Default)]
struct Plan {
    /// The clock jumps for `advance` alone.
    stands: bool,
    settling: Vec<Promise<()>>,
    /// When they end, in nanoseconds.
    advancing: Vec<(u64, Promise<()>)>,
}

/// What is known of the futures of `block_on`.
#[derive(Default)]
struct Roots {
    /// How many polls have ended.
    polls: u64,
    /// Tasks that wait for a `block_on` in the middle of a poll.
    blocked: Vec<TaskId>,
}

/// Whether any runtime of this process has ever had one: whoever asks for the time need not look at the driver otherwise.
static USED: ProcessWideFlag = ProcessWideFlag::new(false);

#[inline]
pub(crate) fn is_used() -> bool {
    // Relaxed: whoever is in such a runtime has taken that over with it.
    USED.load(Relaxed)
}

impl VirtualTime {
    pub(crate) fn new(epoch: Instant) -> Arc<Self> {
        USED.store(true, Relaxed);
        Arc::new(Self {
            epoch,
            passed: AtomicU64::new(0),
            plan: Mutex::new(Plan::default()),
            roots: Mutex::new(Roots::default()),
            probe: OnceLock::new(),
        })
    }

    pub(crate) fn now(&self) -> Instant {
        // Relaxed: whoever was woken by a timer has taken the clock over with that.
        self.epoch + Duration::from_nanos(self.passed.load(Relaxed))
    }

    /// Whether anybody waits for a time, or for the others. `next`: when the next timer is due.
    pub(crate) fn has_plan(&self, next: u64) -> bool {
        let plan = self.plan.lock();
        let waits = !plan.settling.is_empty() || !plan.advancing.is_empty();
        waits || (next != NEVER && !plan.stands)
    }

    pub(crate) fn is_quiet(&self) -> bool {
        let Some(probe) = self.probe.get() else {
            return false;
        };
        let (before, blocked) = {
            let roots = self.roots.lock();
            (roots.polls, roots.blocked.clone())
        };
        // A root that was polled meanwhile may have woken somebody behind the probe's back.
        probe(&blocked) && self.roots.lock().polls == before
    }

    /// Goes on by one step. Returns how many were told.
    pub(crate) fn step(&self, next: u64) -> usize {
        let mut plan = self.plan.lock();
        let mut told = std::mem::take(&mut plan.settling);
        if told.is_empty() {
            let ends = plan.advancing.iter().map(|(end, _)| *end);
            let (first, last) = (ends.clone().min(), ends.max());
            let due = next != NEVER && (!plan.stands || last.is_some_and(|last| next <= last));
            match first {
                Some(end) if !due || end < next => {
                    self.passed.fetch_max(end, Relaxed);
                    let all = std::mem::take(&mut plan.advancing);
                    let (over, rest) = all.into_iter().partition(|(at, _)| *at <= end);
                    plan.advancing = rest;
                    told = Vec::into_iter(over).map(|(_, promise)| promise).collect();
                }
                _ if due => {
                    self.passed.fetch_max(next, Relaxed);
                }
                _ => {}
            }
        }
        drop(plan);
        let count = told.len();
        for promise in told {
            // Whoever does not wait any more need not be told.
            let _ = promise.set_result(());
        }
        count
    }
}

impl fmt::Debug for VirtualTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let passed = Duration::from_nanos(self.passed.load(Relaxed));
        f.debug_struct("VirtualTime")
            .field("passed", &passed)
            .finish_non_exhaustive()
    }
}

/// Tells the driver of this runtime, if its time is virtual, how it learns that nothing runs.
pub fn set_probe(runtime: &dyn RuntimeContext, probe: Probe) {
    if let Some(time) = of(runtime) {
        // A driver has one scheduler, which says so once.
        let _ = time.probe.set(probe);
    }
}

#[cold]
pub(crate) fn of(runtime: &dyn RuntimeContext) -> Option<&Arc<VirtualTime>> {
    let driver: &IoDriver = runtime.driver().as_any().downcast_ref()?;
    driver.virtual_time()
}

pin_project_lite::pin_project! {
    /// The future of a `block_on`, which somebody else's thread polls.
    pub struct Root<F> {
        #[pin]
        future: F,
        time: Option<Arc<VirtualTime>>,
        // Who waits for it here.
        outer: Option<TaskId>,
        // From inside of the first poll until the future is gone, inside of the last one: before and after that, `outer` runs.
        blocked: Option<Blocked>,
    }
}

/// `future`, for a `block_on`: if the time of its runtime is virtual, that takes notice of its polls, and of the task that waits for
/// it here.
pub fn root<F>(runtime: &dyn RuntimeContext, future: F) -> Root<F> {
    let time = of(runtime).cloned();
    let outer = time.as_ref().and_then(|_| waiting_id());
    Root {
        future,
        time,
        outer,
        blocked: None,
    }
}

/// A task that waits in the middle of a poll.
struct Blocked(Arc<VirtualTime>, TaskId);

impl Drop for Blocked {
    fn drop(&mut self) {
        let mut roots = self.0.roots.lock();
        if let Some(at) = roots.blocked.iter().rposition(|id| *id == self.1) {
            roots.blocked.swap_remove(at);
        }
        roots.polls += 1;
    }
}

impl<F: Future> Future for Root<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        struct Polled<'a>(&'a VirtualTime);

        impl Drop for Polled<'_> {
            fn drop(&mut self) {
                self.0.roots.lock().polls += 1;
            }
        }

        let this = self.project();
        let _polled = this.time.as_deref().map(Polled);
        if let (Some(time), Some(outer)) = (&*this.time, this.outer.take()) {
            time.roots.lock().blocked.push(outer);
            *this.blocked = Some(Blocked(Arc::clone(time), outer));
        }
        this.future.poll(cx)
    }
}

impl<F> fmt::Debug for Root<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Root").finish_non_exhaustive()
    }
}

/// Changes the plan of the current runtime's virtual time, and has whoever is in the driver look at it.
#[track_caller]
fn change<R>(f: impl FnOnce(&VirtualTime, &mut Plan) -> R) -> R {
    let changed = with_driver(|driver| {
        let time = driver.virtual_time()?;
        let changed = f(time, &mut time.plan.lock());
        driver.reactor().unpark();
        Some(changed)
    });
    match changed {
        Ok(Some(changed)) => changed,
        _ => panic!(
            "the time of this runtime is not virtual: build it with `Builder::virtual_time`, or test with `#[heist::test(virtual_time)]`"
        ),
    }
}

/// Waits until everybody else waits: no task but those that settle can go on before the clock does, or somebody outside.
///
/// # Panics
///
/// On a runtime whose time is not virtual.
///
/// # Cancel safety
///
/// It keeps nothing.
///
/// # Counterpart
///
/// `synctest.Wait` of Go, `wait_all_tasks_blocked` of Trio.
#[doc(alias = "wait_all_tasks_blocked")]
pub async fn settle() {
    let settled = change(|_, plan| {
        let (promise, deferred) = promise();
        plan.settling.push(promise);
        deferred
    });
    told(settled).await;
}

/// Lets so much time pass: the clock goes from timer to timer, and waits at each for what that has begun.
///
/// # Panics
///
/// On a runtime whose time is not virtual.
///
/// # Cancel safety
///
/// The time passes all the same.
///
/// # Counterpart
///
/// `tokio::time::advance`, `autojump_clock` of Trio.
pub async fn advance(time: Duration) {
    let advanced = change(|clock, plan| {
        let (promise, deferred) = promise();
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(NEVER);
        let end = clock.passed.load(Relaxed).saturating_add(nanos);
        plan.advancing.push((end.min(NEVER - 1), promise));
        deferred
    });
    told(advanced).await;
}

/// Whether the clock jumps by itself when nothing else goes on. It does at first.
///
/// # Panics
///
/// On a runtime whose time is not virtual.
///
/// # Counterpart
///
/// `tokio::time::pause` and `resume`: there it jumps always.
#[track_caller]
pub fn set_auto_advance(on: bool) {
    change(|_, plan| plan.stands = !on);
}

async fn told(deferred: Deferred<()>) {
    // An error: the runtime goes away, and nobody waits for anything any more.
    let _ = deferred.await;
}

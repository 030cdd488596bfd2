//! The workloads that run inside of one process, each written once for all backends.

mod blocking;
mod gate;
pub(crate) mod graph;
mod heartbeat;
mod kit;
mod memory;
mod spawn;
mod timer;
mod wake;

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use futures_channel::oneshot;

use crate::backend::Backend;
use crate::figures::Figures;
use crate::kit::SmolKit;

/// A workload on one backend.
#[derive(Clone, Copy, Debug)]
pub struct Workload<B> {
    /// What the command line calls it.
    pub name: &'static str,
    /// How many operations a run makes unless told otherwise.
    pub operations: u64,
    /// Makes a run.
    pub run: fn(B, u64) -> Figures,
}

/// The names of [`all`], for those who have no backend at hand.
#[must_use]
pub fn names() -> Vec<&'static str> {
    all::<crate::backend::Tokio>()
        .iter()
        .map(|workload| workload.name)
        .collect()
}

/// Looks a workload up.
#[must_use]
pub fn find<B: Backend>(name: &str) -> Option<Workload<B>> {
    all().into_iter().find(|workload| workload.name == name)
}

/// Every workload.
#[must_use]
pub fn all<B: Backend>() -> Vec<Workload<B>> {
    let workload = |name, operations, run| Workload {
        name,
        operations,
        run,
    };
    vec![
        workload(
            "spawn_local",
            100_000,
            spawn::local::<B> as fn(B, u64) -> Figures,
        ),
        workload("spawn_detached", 100_000, spawn::detached),
        workload("spawn_remote", 100_000, spawn::remote),
        workload("spawn_remote_busy", 10_000, spawn::remote_busy),
        workload("yield_many", 200_000, wake::yield_many),
        workload("ping_pong", 20_000, wake::ping_pong),
        workload("chan_ping_pong", 50_000, wake::chan_ping_pong),
        workload("wake_latency_idle", 3_000, wake::latency_idle),
        workload("wake_latency_busy", 3_000, wake::latency_busy),
        workload("chained_spawn", 100_000, graph::chained_spawn),
        workload("skynet", 1_000_000, graph::skynet),
        workload("fork_join_fib", 100_000, graph::fork_join_fib),
        // The same primitives for every runtime: what differs is who is woken, where and when.
        workload("mpsc", 200_000, kit::channel_mpsc::<B, SmolKit>),
        workload(
            "mutex_contended",
            100_000,
            kit::mutex_contended::<B, SmolKit>,
        ),
        workload("channel_mpsc", 200_000, kit::channel_mpsc::<B, B::Kit>),
        workload("queue_mpmc", 200_000, kit::queue_mpmc),
        workload("oneshot", 500_000, kit::oneshot),
        workload("mutex_uncontended", 1_000_000, kit::mutex_uncontended),
        workload(
            "mutex_contended_own",
            100_000,
            kit::mutex_contended::<B, B::Kit>,
        ),
        workload("semaphore", 100_000, kit::semaphore),
        workload("notify", 100_000, kit::notify),
        workload("broadcast", 200_000, kit::broadcast),
        workload("watch", 100_000, kit::watch),
        workload("group_spawn_join", 100_000, kit::group_spawn_join),
        workload("timeout_ready", 500_000, kit::timeout_ready),
        workload("spawn_blocking", 10_000, blocking::tiny),
        workload("timer_churn", 200_000, timer::churn),
        workload("timers_many", 100_000, timer::many),
        workload("timer_lateness", 20_000, timer::lateness),
        workload("sleep_1ms", 500, timer::sleep_1ms),
        workload("fairness", 1_000, heartbeat::fairness),
        workload("blocked_workers", 1_000, heartbeat::blocked_workers),
        workload("memory_pending", 1_000_000, memory::pending),
        workload("memory_sleeping", 1_000_000, memory::sleeping),
        workload("gate_spawn", 6_000, gate::spawn),
        workload("gate_join", 6_000, gate::join),
        workload("gate_wake", 6_000, gate::wake),
        workload("gate_sleep", 6_000, gate::sleep),
        workload("gate_yield", 6_000, gate::yields),
    ]
}

/// Runs `future` as a task and waits for it on the calling thread.
fn on_worker<B, F>(backend: B, future: F) -> F::Output
where
    B: Backend,
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    backend.block_on(backend.spawn_outside(future))
}

/// A future that wakes itself once and lets the others go first; the same for every runtime.
#[derive(Debug, Default)]
struct SelfWake {
    woken: bool,
}

impl Future for SelfWake {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.woken {
            return Poll::Ready(());
        }
        self.woken = true;
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

/// Counts tasks down and tells when the last one has ended. It lives as long as the process: no task pays for a count.
#[derive(Debug)]
struct Latch {
    left: AtomicU64,
    done: std::sync::Mutex<Option<oneshot::Sender<()>>>,
}

impl Latch {
    fn new(tasks: u64) -> (&'static Self, oneshot::Receiver<()>) {
        let (sender, receiver) = oneshot::channel();
        let latch = Self {
            left: AtomicU64::new(tasks),
            done: Some(sender).into(),
        };
        (Box::leak(Box::new(latch)), receiver)
    }

    fn count_down(&self) {
        if self.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            let done = self
                .done
                .lock()
                .expect("nothing panics under this lock")
                .take();
            let sent = done.expect("only the last one comes here").send(());
            debug_assert!(sent.is_ok(), "the measuring side waits for the last task");
        }
    }
}

/// Computes for about `thousands` microseconds.
fn compute(thousands: u32) {
    let mut value = 1_u64;
    for step in 0..thousands * 1000 {
        value = std::hint::black_box(
            value
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(u64::from(step)),
        );
    }
}

/// Tasks that compute for some microseconds and yield, until told to stop: they keep every worker busy.
struct BusyWorkers {
    stop: &'static std::sync::atomic::AtomicBool,
}

impl BusyWorkers {
    fn start<B: Backend>(backend: B) -> Self {
        let stop: &'static _ = Box::leak(Box::default());
        let busy = Self { stop };
        for _ in 0..8 {
            B::detach(backend.spawn_outside(async {
                while !stop.load(Ordering::Relaxed) {
                    compute(2);
                    SelfWake::default().await;
                }
            }));
        }
        busy
    }
}

impl Drop for BusyWorkers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::{NAMES, Visitor, with};

    /// A run that is too short to measure anything.
    struct Short;

    impl Visitor for Short {
        type Output = ();

        fn visit<B: Backend>(self) {
            let backend = B::start(2).expect("a runtime starts");
            for workload in all::<B>()
                .iter()
                .filter(|workload| !workload.name.starts_with("memory"))
            {
                let figures = (workload.run)(backend, 100);
                assert!(
                    !figures.to_string().is_empty(),
                    "{} on {}",
                    workload.name,
                    B::NAME
                );
            }
            backend.stop();
        }
    }

    #[test]
    fn every_workload_ends_on_every_backend() {
        for name in NAMES {
            with(name, Short).expect("a listed backend exists");
        }
    }

    #[test]
    fn names_are_unique() {
        let mut names = names();
        names.sort_unstable();
        let listed = names.len();
        names.dedup();
        assert_eq!(names.len(), listed);
    }
}

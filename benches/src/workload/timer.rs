//! Timers: made and dropped, many at once, one after the other.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use super::{SelfWake, on_worker};
use crate::backend::Backend;
use crate::figures::{Figures, Stopwatch};

/// Eight tasks create a long sleep, poll it once and drop it, `n` times in all.
pub(super) fn churn<B: Backend>(backend: B, n: u64) -> Figures {
    const TASKS: u64 = 8;
    let each = n.div_ceil(TASKS);
    on_worker(backend, async move {
        let watch = Stopwatch::start();
        let tasks: Vec<_> = (0..TASKS)
            .map(|_| backend.spawn(churn_one(backend, each)))
            .collect();
        for task in tasks {
            task.await;
        }
        watch.stop(TASKS * each)
    })
}

pub(super) async fn churn_one<B: Backend>(backend: B, rounds: u64) {
    for round in 1..=rounds {
        let mut sleep = pin!(backend.sleep(Duration::from_secs(60)));
        poll_fn(|context| {
            assert!(
                sleep.as_mut().poll(context).is_pending(),
                "a minute has not passed"
            );
            Poll::Ready(())
        })
        .await;
        // No more polls than a cooperative budget allows: one that is used up polls no timer.
        if round % 50 == 0 {
            SelfWake::default().await;
        }
    }
}

/// `n` tasks sleep for 1 to 100 ms.
pub(super) fn many<B: Backend>(backend: B, n: u64) -> Figures {
    on_worker(backend, async move {
        let watch = Stopwatch::start();
        let sleep = |index: u64| async move {
            let duration = Duration::from_millis(1 + index * 7919 % 100);
            let start = Instant::now();
            backend.sleep(duration).await;
            (start.elapsed().saturating_sub(duration)).as_nanos() as u64
        };
        let tasks: Vec<_> = (0..n).map(|index| backend.spawn(sleep(index))).collect();
        let mut late = Vec::with_capacity(tasks.len());
        for task in tasks {
            late.push(task.await);
        }
        let figures = watch.stop(n);
        late.sort_unstable();
        figures.and(
            "late_p99_ns",
            late.get(late.len() * 99 / 100)
                .map_or(0.0, |value| *value as f64),
        )
    })
}

/// `n` tasks sleep for 1 to 100 ms, each for another number of microseconds; the figures are how much later they wake.
pub(super) fn lateness<B: Backend>(backend: B, n: u64) -> Figures {
    on_worker(backend, async move {
        let sleep = |index: u64| async move {
            let duration = Duration::from_micros(1000 + index * 7919 % 99_000);
            let start = Instant::now();
            backend.sleep(duration).await;
            let late = start.elapsed().checked_sub(duration);
            late.expect("no timer rings early").as_nanos() as u64
        };
        let tasks: Vec<_> = (0..n).map(|index| backend.spawn(sleep(index))).collect();
        let mut late = Vec::with_capacity(tasks.len());
        for task in tasks {
            late.push(task.await);
        }
        Figures::percentiles(&mut late)
    })
}

/// One task of an idle runtime sleeps for 1 ms, `n` times; the figures are how much later it wakes.
pub(super) fn sleep_1ms<B: Backend>(backend: B, n: u64) -> Figures {
    const SLEEP: Duration = Duration::from_millis(1);
    on_worker(backend, async move {
        let mut late = Vec::new();
        for _ in 0..n {
            let start = Instant::now();
            backend.sleep(SLEEP).await;
            late.push(start.elapsed().saturating_sub(SLEEP).as_nanos() as u64);
        }
        Figures::percentiles(&mut late)
    })
}

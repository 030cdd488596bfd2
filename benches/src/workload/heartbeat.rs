//! A heartbeat of one millisecond beside tasks that leave little room for it. The figures are the gaps between two beats.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::{SelfWake, on_worker};
use crate::backend::Backend;
use crate::figures::Figures;

/// As many as there are workers at most: each has one.
const TASKS: usize = 8;

const BLOCKED: Duration = Duration::from_millis(200);

/// However slow the beats are.
const LIMIT: Duration = Duration::from_secs(10);

/// Beside tasks that block their threads for 200 ms at a time.
pub(super) fn blocked_workers<B: Backend>(backend: B, n: u64) -> Figures {
    beside(backend, n, |over| async move {
        while !over.load(Ordering::Relaxed) {
            thread::sleep(BLOCKED);
            SelfWake::default().await;
        }
    })
}

/// Beside tasks that wake themselves for ever.
pub(super) fn fairness<B: Backend>(backend: B, n: u64) -> Figures {
    beside(backend, n, |over| async move {
        while !over.load(Ordering::Relaxed) {
            SelfWake::default().await;
        }
    })
}

fn beside<B, F>(backend: B, beats: u64, disturb: fn(Arc<AtomicBool>) -> F) -> Figures
where
    B: Backend,
    F: Future<Output = ()> + Send + 'static,
{
    on_worker(backend, async move {
        let over = Arc::new(AtomicBool::new(false));
        let tasks: Vec<_> = (0..TASKS)
            .map(|_| backend.spawn(disturb(Arc::clone(&over))))
            .collect();
        let gaps = backend.spawn(async move {
            let begun = Instant::now();
            let mut last = begun;
            let mut gaps = Vec::new();
            while (gaps.len() as u64) < beats && last - begun < LIMIT {
                backend.sleep(Duration::from_millis(1)).await;
                let now = Instant::now();
                gaps.push((now - last).as_nanos() as u64);
                last = now;
            }
            gaps
        });
        let mut gaps = gaps.await;
        over.store(true, Ordering::Relaxed);
        for task in tasks {
            task.await;
        }
        let longest = gaps.iter().copied().max().unwrap_or(0);
        Figures::percentiles(&mut gaps).and("max_ns", longest as f64)
    })
}

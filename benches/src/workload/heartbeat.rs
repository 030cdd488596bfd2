//! A heartbeat of one millisecond beside tasks that leave little room for it. The figures are the gaps between two beats.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use super::SelfWake;
use crate::backend::Backend;
use crate::figures::Figures;

/// As many as there are workers at most: each has one.
const TASKS: usize = 8;

const BLOCKED: Duration = Duration::from_millis(200);

/// However slow the beats are. It is kept from outside: the tasks may never be polled again.
const LIMIT: Duration = Duration::from_secs(5);

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
    let over = Arc::new(AtomicBool::new(false));
    let tasks: Vec<_> = (0..TASKS)
        .map(|_| backend.spawn_outside(disturb(Arc::clone(&over))))
        .collect();
    let (beat, heard) = mpsc::channel();
    let begun = Instant::now();
    B::detach(backend.spawn_outside(async move {
        for _ in 0..beats {
            backend.sleep(Duration::from_millis(1)).await;
            // Nobody listens any more when the limit has passed.
            if beat.send(Instant::now()).is_err() {
                return;
            }
        }
    }));
    let mut last = begun;
    let mut gaps = Vec::new();
    loop {
        match heard.recv_timeout(LIMIT.saturating_sub(begun.elapsed())) {
            Ok(now) => {
                gaps.push((now - last).as_nanos() as u64);
                last = now;
            }
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                // The beat that has not come yet.
                gaps.push(last.elapsed().as_nanos() as u64);
                break;
            }
        }
    }
    over.store(true, Ordering::Relaxed);
    for task in tasks {
        backend.block_on(task);
    }
    let longest = gaps.iter().copied().max().unwrap_or(0);
    Figures::percentiles(&mut gaps).and("max_ns", longest as f64)
}

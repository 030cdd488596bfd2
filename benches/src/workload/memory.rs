//! Resident memory per task. A process runs one of these once: what it takes, it keeps.

use std::future;
use std::mem;
use std::time::Duration;

use super::{SelfWake, on_worker};
use crate::backend::Backend;
use crate::figures::{Figures, resident_bytes};

/// `n` empty tasks that wait for ever.
pub(super) fn pending<B: Backend>(backend: B, n: u64) -> Figures {
    per_task(backend, n, future::pending::<()>)
}

/// `n` tasks that sleep for an hour.
pub(super) fn sleeping<B: Backend>(backend: B, n: u64) -> Figures {
    per_task(backend, n, move || backend.sleep(Duration::from_secs(3600)))
}

fn per_task<B, F>(backend: B, n: u64, future: impl Fn() -> F + Copy + Send + 'static) -> Figures
where
    B: Backend,
    F: Future<Output = ()> + Send + 'static,
{
    // A few tasks first, so that threads, queues and arenas are not counted.
    spawn_parked(backend, 1000, future);
    let before = resident();
    spawn_parked(backend, n, future);
    let grown = resident().saturating_sub(before);
    Figures::of("bytes", grown as f64 / n as f64)
}

/// Spawns in small batches, so that the queues stay short, and gives the tasks the time to be polled.
fn spawn_parked<B, F>(backend: B, n: u64, future: impl Fn() -> F + Send + 'static)
where
    B: Backend,
    F: Future<Output = ()> + Send + 'static,
{
    const BATCH: u64 = 200;
    on_worker(backend, async move {
        for spawned in 1..=n {
            // Where nobody owns a task that nothing can wake, its handle keeps it: for ever, and without memory of its own.
            mem::forget(backend.spawn(future()));
            if spawned % BATCH == 0 {
                SelfWake::default().await;
            }
        }
        backend.sleep(Duration::from_millis(100)).await;
    });
}

fn resident() -> u64 {
    resident_bytes("self").expect("memory is measured where there is a /proc")
}

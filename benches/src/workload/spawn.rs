//! What a task costs from its spawn to its end.

use std::thread;

use super::{BusyWorkers, Latch, on_worker};
use crate::backend::Backend;
use crate::figures::{Figures, Stopwatch};

/// One task spawns `n` empty ones, then awaits all handles.
pub(super) fn local<B: Backend>(backend: B, n: u64) -> Figures {
    on_worker(backend, async move {
        let watch = Stopwatch::start();
        let handles: Vec<_> = (0..n).map(|_| backend.spawn(async {})).collect();
        for handle in handles {
            handle.await;
        }
        watch.stop(n)
    })
}

/// One task spawns `n` without keeping a handle; the last one wakes the waiter.
pub(super) fn detached<B: Backend>(backend: B, n: u64) -> Figures {
    on_worker(backend, async move {
        let (latch, done) = Latch::new(n);
        let watch = Stopwatch::start();
        for _ in 0..n {
            B::detach(backend.spawn(async { latch.count_down() }));
        }
        done.await.expect("the latch outlives its waiter");
        watch.stop(n)
    })
}

/// A thread outside spawns `n` tasks.
pub(super) fn remote<B: Backend>(backend: B, n: u64) -> Figures {
    let (latch, done) = Latch::new(n);
    let watch = Stopwatch::start();
    for _ in 0..n {
        B::detach(backend.spawn_outside(async { latch.count_down() }));
    }
    backend
        .block_on(done)
        .expect("the latch outlives its waiter");
    watch.stop(n)
}

/// Two threads outside spawn `n` tasks between them while every worker is busy.
pub(super) fn remote_busy<B: Backend>(backend: B, n: u64) -> Figures {
    let half = n / 2;
    let (latch, done) = Latch::new(2 * half);
    let busy = BusyWorkers::start(backend);
    let watch = Stopwatch::start();
    let spawners = [(); 2].map(|()| {
        thread::spawn(move || {
            for _ in 0..half {
                B::detach(backend.spawn_outside(async { latch.count_down() }));
            }
        })
    });
    backend
        .block_on(done)
        .expect("the latch outlives its waiter");
    let figures = watch.stop(2 * half);
    drop(busy);
    for spawner in spawners {
        spawner.join().expect("a spawning thread does not panic");
    }
    figures
}

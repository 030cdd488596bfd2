//! What a wake costs, and how long it takes to arrive.

use std::thread;
use std::time::{Duration, Instant};

use futures_channel::oneshot;

use super::{BusyWorkers, Latch, SelfWake, on_worker};
use crate::backend::Backend;
use crate::figures::{Figures, Stopwatch};

/// 200 tasks wake themselves, `n` times in all.
pub(super) fn yield_many<B: Backend>(backend: B, n: u64) -> Figures {
    const TASKS: u64 = 200;
    let each = n.div_ceil(TASKS);
    on_worker(backend, async move {
        let (latch, done) = Latch::new(TASKS);
        let watch = Stopwatch::start();
        for _ in 0..TASKS {
            B::detach(backend.spawn(async move {
                for _ in 0..each {
                    SelfWake::default().await;
                }
                latch.count_down();
            }));
        }
        done.await.expect("the latch outlives its waiter");
        watch.stop(TASKS * each)
    })
}

/// `n` pairs of tasks, at most 1000 at a time, exchange a ping and a pong over two oneshots.
pub(super) fn ping_pong<B: Backend>(backend: B, n: u64) -> Figures {
    const BATCH: u64 = 1000;
    let batches = n.div_ceil(BATCH);
    on_worker(backend, async move {
        let watch = Stopwatch::start();
        for _ in 0..batches {
            let (latch, done) = Latch::new(BATCH);
            for _ in 0..BATCH {
                B::detach(backend.spawn(pair(backend, latch)));
            }
            done.await.expect("the latch outlives its waiter");
        }
        watch.stop(batches * BATCH)
    })
}

async fn pair<B: Backend>(backend: B, latch: &'static Latch) {
    let (ping, pinged) = oneshot::channel();
    let (pong, ponged) = oneshot::channel();
    B::detach(backend.spawn(async move {
        pinged.await.expect("the other task sends a ping");
        pong.send(()).expect("the other task waits for the pong");
    }));
    ping.send(()).expect("the spawned task waits for the ping");
    ponged.await.expect("the spawned task answers");
    latch.count_down();
}

/// Two tasks send one message back and forth over two channels, `n` round trips.
pub(super) fn chan_ping_pong<B: Backend>(backend: B, n: u64) -> Figures {
    on_worker(backend, async move {
        let watch = Stopwatch::start();
        back_and_forth(backend, n).await;
        watch.stop(n)
    })
}

pub(super) async fn back_and_forth<B: Backend>(backend: B, rounds: u64) {
    let (to, from) = async_channel::bounded::<u64>(1);
    let (back_to, back_from) = async_channel::bounded::<u64>(1);
    let echo = backend.spawn(async move {
        while let Ok(value) = from.recv().await {
            back_to
                .send(value)
                .await
                .expect("the other task waits for the answer");
        }
    });
    for round in 0..rounds {
        to.send(round).await.expect("the echo task is there");
        let answer = back_from.recv().await;
        debug_assert_eq!(answer, Ok(round), "each message comes back");
    }
    drop(to);
    echo.await;
}

/// A thread outside wakes a parked task of an idle runtime, `n` times.
pub(super) fn latency_idle<B: Backend>(backend: B, n: u64) -> Figures {
    latency(backend, n)
}

/// The same beside tasks that keep every worker busy with polls of about two microseconds.
pub(super) fn latency_busy<B: Backend>(backend: B, n: u64) -> Figures {
    let _busy = BusyWorkers::start(backend);
    latency(backend, n)
}

fn latency<B: Backend>(backend: B, n: u64) -> Figures {
    let (sender, receiver) = async_channel::unbounded::<Instant>();
    let waiter = backend.spawn_outside(async move {
        let mut latencies = Vec::new();
        while let Ok(sent) = receiver.recv().await {
            latencies.push(sent.elapsed().as_nanos() as u64);
        }
        latencies
    });
    for _ in 0..n {
        // Long enough for the workers to park again.
        thread::sleep(Duration::from_micros(300));
        sender
            .try_send(Instant::now())
            .expect("the waiter is there");
    }
    drop(sender);
    Figures::percentiles(&mut backend.block_on(waiter))
}

//! How often threads sleep and wake each other.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]
#![cfg(target_os = "linux")]

#[path = "support/proc.rs"]
mod proc;
mod support;

use std::fs;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::thread;

use heist::task::yield_now;
use heist::{Runtime, promise};
use support::{alone, lone_worker, runtime};

fn sleeps(runtime: &Runtime) -> u64 {
    let workers = runtime.handle().metrics().workers;
    workers.iter().map(|worker| worker.parks).sum()
}

/// How often somebody was waked out of a poller: its counter is never read, so it has each write in it.
fn rings() -> u64 {
    proc::event_counters().iter().map(|(_, count)| count).sum()
}

#[test]
fn tasks_that_are_woken_at_once_wake_no_herd_of_workers() {
    // How often a worker finds nothing left and sleeps in between varies much from storm to storm, and less in their sum.
    const STORMS: usize = 8;
    const TASKS: usize = 100_000 / STORMS;
    alone(|| {
        let runtime = runtime(4);
        let (mut slept, mut rung) = (0, 0);
        for storm in 0..STORMS {
            let (open, gate) = promise::<()>();
            let gate = gate.share();
            // Polls that are left until all wait, and until all are over.
            let left = Arc::new([AtomicUsize::new(TASKS), AtomicUsize::new(TASKS)]);
            let (told, hears) = channel();
            for _ in 0..TASKS {
                let (mut gate, left, told) = (gate.clone(), Arc::clone(&left), told.clone());
                let waits = poll_fn(move |cx| {
                    let polled = Pin::new(&mut gate).poll(cx);
                    let over = polled.is_ready();
                    if left[usize::from(over)].fetch_sub(1, Ordering::SeqCst) == 1 {
                        told.send(over).unwrap();
                    }
                    polled
                });
                runtime.spawn(waits).detach();
            }
            assert!(!hears.recv().unwrap());
            while runtime.handle().metrics().sleeping_workers < 4 {
                thread::yield_now();
            }

            let before = (sleeps(&runtime), rings());
            if storm % 2 == 0 {
                open.set_result(()).unwrap();
            } else {
                runtime.spawn(async move { open.set_result(()) }).detach();
            }
            assert!(hears.recv().unwrap());
            slept += sleeps(&runtime) - before.0;
            rung += rings() - before.1;
        }
        assert!(slept < 5_000, "{slept} sleeps");
        assert!(rung < 100, "{rung} wake-ups out of the poller");
    });
}

/// How often the calling thread has given its processor away because it had to wait.
fn waits() -> u64 {
    let status = fs::read_to_string("/proc/thread-self/status").unwrap();
    let mut lines = status.lines();
    let count = lines.find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    count.unwrap().trim().parse().unwrap()
}

#[test]
fn a_worker_that_spawns_never_waits_for_inspectors() {
    const BATCHES: usize = 100;
    const BATCH: usize = 1_000;
    alone(|| {
        let runtime = lone_worker();
        let over = Arc::new(AtomicBool::new(false));
        let looks = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
        let inspectors = [0, 1].map(|which| {
            let handle = runtime.handle().clone();
            let (looks, over) = (Arc::clone(&looks), Arc::clone(&over));
            thread::spawn(move || {
                while !over.load(Ordering::SeqCst) {
                    drop(handle.all_tasks());
                    looks[which].fetch_add(1, Ordering::SeqCst);
                }
            })
        });
        let spawner = runtime.spawn(async move {
            let done = Arc::new(AtomicUsize::new(0));
            let mut waited = 0;
            let looked = |look: &AtomicUsize| look.load(Ordering::SeqCst) >= BATCHES;
            for batch in 1.. {
                let before = waits();
                for _ in 0..BATCH {
                    let done = Arc::clone(&done);
                    heist::spawn(async move { done.fetch_add(1, Ordering::Relaxed) }).detach();
                }
                waited += waits() - before;
                while done.load(Ordering::Relaxed) < batch * BATCH {
                    yield_now().await;
                }
                if batch >= BATCHES && looks.iter().all(looked) {
                    break;
                }
            }
            waited
        });
        let waited = spawner.wait_blocking().unwrap();
        over.store(true, Ordering::SeqCst);
        for inspector in inspectors {
            inspector.join().unwrap();
        }
        // A page that the system has to find is waited for, too.
        assert!(waited < 10, "{waited} times");
    });
}

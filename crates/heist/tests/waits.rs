//! How often threads sleep and wake each other.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]
#![cfg(target_os = "linux")]

#[path = "support/proc.rs"]
mod proc;
mod support;

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::thread;

use heist::{Runtime, promise};
use support::{alone, runtime};

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

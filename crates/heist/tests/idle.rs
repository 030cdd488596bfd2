//! An idle runtime sleeps.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]
#![cfg(target_os = "linux")]

#[path = "support/proc.rs"]
mod proc;
mod support;

use std::collections::BTreeMap;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use heist::Runtime;
use support::bounded;

#[test]
fn an_idle_runtime_never_wakes_up() {
    bounded(|| {
        let builder = Runtime::builder().worker_threads(4).thread_name("idle");
        let runtime = builder.build().unwrap();
        runtime.block_on(runtime.spawn(async {})).unwrap();
        never_wakes_up("idle-", 4);
        drop(runtime);
    });
}

#[test]
fn a_runtime_whose_workers_were_blocked_never_wakes_up_either() {
    const WORKERS: usize = 2;
    bounded(|| {
        let builder = Runtime::builder().thread_name("rested");
        let runtime = builder.worker_threads(WORKERS).build().unwrap();
        let all = Arc::new(Barrier::new(2 * WORKERS));
        let blocked: Vec<_> = (0..2 * WORKERS)
            .map(|_| {
                let all = Arc::clone(&all);
                runtime.spawn(async move { _ = all.wait() })
            })
            .collect();
        for blocked in blocked {
            runtime.block_on(blocked).unwrap();
        }
        assert!(runtime.handle().metrics().workers.len() >= 2 * WORKERS);
        // Those who served in their place wait for the next time, for longer than that.
        never_wakes_up("rested-", 2 * WORKERS);
        drop(runtime);
    });
}

/// At least so many threads have names that begin with this, and all of them stay asleep.
fn never_wakes_up(name: &str, threads: usize) {
    // It may take a moment until all have gone to sleep.
    let mut before = switches(name);
    loop {
        thread::sleep(Duration::from_millis(50));
        let now = switches(name);
        if now == before {
            break;
        }
        before = now;
    }
    assert!(before.len() >= threads, "{before:?}");
    // What is measured here is time in which nothing may happen.
    thread::sleep(Duration::from_secs(2));
    assert_eq!(switches(name), before);
}

/// How often each thread of the runtime has gone to sleep or was put aside: every system call that waits counts.
fn switches(name: &str) -> BTreeMap<String, String> {
    let threads = proc::threads(name);
    let status = threads.iter().map(|thread| proc::status(thread));
    status
        .map(|status| (proc::field(&status, "Pid:").to_owned(), counts(&status)))
        .collect()
}

fn counts(status: &str) -> String {
    status
        .lines()
        .filter(|line| line.contains("ctxt_switches"))
        .collect::<Vec<_>>()
        .join(" ")
}

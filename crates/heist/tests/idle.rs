//! An idle runtime sleeps.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]
#![cfg(target_os = "linux")]

mod support;

use std::collections::BTreeMap;
use std::fs;
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

        // It may take a moment until all have gone to sleep.
        let mut before = switches();
        loop {
            thread::sleep(Duration::from_millis(50));
            let now = switches();
            if now == before {
                break;
            }
            before = now;
        }
        assert!(before.len() >= 4, "{before:?}");
        // What is measured here is time in which nothing may happen.
        thread::sleep(Duration::from_secs(2));
        assert_eq!(switches(), before);
        drop(runtime);
    });
}

/// How often each thread of the runtime has gone to sleep or was put aside: every system call that waits counts.
fn switches() -> BTreeMap<String, String> {
    let threads = fs::read_dir("/proc/self/task").unwrap();
    let status =
        threads.filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("status")).ok());
    status
        .filter(|status| status.starts_with("Name:\tidle-"))
        .map(|status| (field(&status, "Pid:"), counts(&status)))
        .collect()
}

fn field(status: &str, name: &str) -> String {
    status
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .unwrap_or_default()
        .trim()
        .to_owned()
}

fn counts(status: &str) -> String {
    status
        .lines()
        .filter(|line| line.contains("ctxt_switches"))
        .collect::<Vec<_>>()
        .join(" ")
}

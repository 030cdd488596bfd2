//! What the kernel knows of this process.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::collections::BTreeSet;
use std::fs;
use std::os::fd::RawFd;

/// The descriptors that are open.
pub(crate) fn open() -> BTreeSet<RawFd> {
    // The list has the descriptor with which it is read, which is closed by then.
    let list = fs::read_dir("/proc/self/fd").expect("proc");
    let numbers: Vec<RawFd> = list
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    let still = |number: &RawFd| fs::read_link(format!("/proc/self/fd/{number}")).is_ok();
    numbers.into_iter().filter(still).collect()
}

/// The counters that wake a thread out of the poller, by their number, and what each stands at.
pub(crate) fn event_counters() -> Vec<(RawFd, u64)> {
    let count = |number| {
        let info = fs::read_to_string(format!("/proc/self/fdinfo/{number}")).ok()?;
        let count = info
            .lines()
            .find_map(|line| line.strip_prefix("eventfd-count:"))?;
        let count = u64::from_str_radix(count.trim(), 16).expect("a hexadecimal number");
        Some((number, count))
    };
    open().into_iter().filter_map(count).collect()
}

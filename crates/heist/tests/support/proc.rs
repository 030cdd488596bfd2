//! What the kernel knows of this process.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::collections::BTreeSet;
use std::fs;
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};

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

/// The folders of this process's threads whose names begin like this.
pub(crate) fn threads(name: &str) -> Vec<PathBuf> {
    let threads = fs::read_dir("/proc/self/task").expect("proc");
    let named = |thread: &PathBuf| {
        let own = fs::read_to_string(thread.join("comm"));
        own.is_ok_and(|own| own.starts_with(name))
    };
    threads
        .filter_map(|thread| Some(thread.ok()?.path()))
        .filter(named)
        .collect()
}

/// What `status` says of a thread; nothing if it has gone.
pub(crate) fn status(thread: &Path) -> String {
    fs::read_to_string(thread.join("status")).unwrap_or_default()
}

/// The field of a `status` with this name.
pub(crate) fn field<'a>(status: &'a str, name: &str) -> &'a str {
    let mut lines = status.lines();
    let field = lines.find_map(|line| line.strip_prefix(name));
    field.unwrap_or_default().trim()
}

/// Whether a thread is parked without a deadline: what it waits with is a futex, whose fourth argument that is.
pub(crate) fn is_parked_for_ever(thread: &Path) -> bool {
    let call = fs::read_to_string(thread.join("syscall")).unwrap_or_default();
    let mut words = call.split_whitespace();
    let number = words.next().and_then(|number| number.parse().ok());
    number == Some(libc::SYS_futex) && words.nth(3) == Some("0x0")
}

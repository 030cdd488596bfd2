//! What is over leaves no memory behind. Each test measures a process of its own.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]
#![cfg(target_os = "linux")]

mod support;

use std::collections::VecDeque;
use std::fs;
use std::future::pending;
use std::sync::{Arc, Barrier};
use std::task::{Context, Waker};
use std::thread;
use std::time::Duration;

use heist::time::timeout;
use rustix::time::{ClockId, clock_gettime};
use support::{alone, lone_worker, runtime};

const TIMES: usize = 50_000;
const HOUR: Duration = Duration::from_secs(3600);

/// Far below what it would be if each time left a hundred bytes behind.
const LIMIT: usize = 2 << 20;

fn resident() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.unwrap().trim().trim_end_matches(" kB");
    kilobytes.parse::<usize>().unwrap() * 1024
}

/// Fails if `round` leaves memory behind each time. The first rounds may: caches fill.
fn stays_flat(mut round: impl FnMut()) {
    (0..TIMES / 10).for_each(|_| round());
    let before = resident();
    (0..TIMES).for_each(|_| round());
    let grown = resident().saturating_sub(before);
    assert!(grown < LIMIT, "{grown} bytes after {TIMES} times");
}

#[test]
fn a_cancelled_call_leaves_no_timer() {
    alone(|| {
        let runtime = lone_worker();
        let handle = runtime.handle().clone();
        stays_flat(|| {
            let call = handle.call_later(HOUR, || unreachable!("it was cancelled"));
            assert!(call.cancel());
        });
    });
}

#[test]
fn a_timeout_that_was_not_needed_leaves_no_timer() {
    alone(|| {
        let runtime = lone_worker();
        stays_flat(|| {
            let task = runtime.spawn(timeout(HOUR, heist::task::yield_now()));
            assert!(runtime.block_on(task).unwrap().is_ok());
        });
    });
}

#[test]
fn a_cancelled_task_leaves_nothing() {
    alone(|| {
        let runtime = lone_worker();
        stays_flat(|| {
            let task = runtime.spawn(timeout(HOUR, pending::<()>()));
            task.add_done_callback(|_| ());
            task.cancel();
            assert!(runtime.block_on(task).unwrap_err().is_cancelled());
        });
    });
}

/// Many at a time, on several workers, which take each other's timers away.
#[test]
fn many_timeouts_at_once_leave_nothing() {
    const AT_ONCE: usize = 10_000;
    alone(|| {
        let runtime = runtime(4);
        let round = || {
            let tasks: Vec<_> = (0..AT_ONCE)
                .map(|_| runtime.spawn(timeout(HOUR, pending::<()>())))
                .collect();
            for task in &tasks {
                task.cancel();
            }
            for task in tasks {
                assert!(runtime.block_on(task).unwrap_err().is_cancelled());
            }
        };
        (0..5).for_each(|_| round());
        let before = resident();
        (0..10).for_each(|_| round());
        let grown = resident().saturating_sub(before);
        assert!(grown < 4 * LIMIT, "{grown} bytes");
    });
}

/// A timer is cancelled at a place that many others are linked into, by threads that all use the same wheel.
#[test]
fn a_million_timeouts_that_are_dropped_early_leave_nothing_and_do_not_slow_down() {
    const THREADS: usize = 8;
    const EACH: usize = 1_000_000 / THREADS;
    const KEPT: usize = 1_000 / THREADS;
    alone(|| {
        let runtime = lone_worker();
        let quarters = Arc::new(Barrier::new(THREADS + 1));
        let threads: Vec<_> = (0..THREADS)
            .map(|_| {
                let (handle, quarters) = (runtime.handle().clone(), Arc::clone(&quarters));
                thread::spawn(move || {
                    let _entered = handle.enter();
                    let mut cx = Context::from_waker(Waker::noop());
                    let mut kept = VecDeque::new();
                    let mut quarter = || {
                        let before = used_by_this_thread();
                        for number in 0..EACH / 4 {
                            let mut limited = Box::pin(timeout(HOUR, pending::<()>()));
                            assert!(limited.as_mut().poll(&mut cx).is_pending());
                            if number % 16 == 0 {
                                kept.push_back(limited);
                            }
                            if kept.len() > KEPT {
                                kept.pop_front();
                            }
                        }
                        let used = used_by_this_thread() - before;
                        // Nobody allocates while the size is read.
                        quarters.wait();
                        quarters.wait();
                        used
                    };
                    [quarter(), quarter(), quarter(), quarter()]
                })
            })
            .collect();
        let sizes = [(); 4].map(|()| {
            quarters.wait();
            let size = resident();
            quarters.wait();
            size
        });
        let used: Vec<_> = threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect();
        let used = |quarter: usize| used.iter().map(|each| each[quarter]).sum::<Duration>();
        assert!(sizes[3].saturating_sub(sizes[0]) < LIMIT, "{sizes:?}");
        let (first, last) = (used(0), used(3));
        assert!(last < 4 * first, "{last:?} after {first:?}");
    });
}

/// The time that the processors have spent on the calling thread.
fn used_by_this_thread() -> Duration {
    let used = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(used.tv_sec as u64, used.tv_nsec as u32)
}

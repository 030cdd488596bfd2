//! Where the system gives no thread.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

mod support;

use std::fs;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Barrier, OnceLock};
use std::thread;
use std::time::Duration;

use futures_lite::future::{block_on, poll_once};
use heist::{Builder, Handle, Runtime, promise};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use support::{alone, runtime};

const STACK: usize = 256 << 20;

fn threads() -> usize {
    fs::read_dir("/proc/self/task").unwrap().count()
}

/// Lets the address space of this process grow by so much more.
fn limit_memory(more: u64) {
    let pages = fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = pages.split(' ').next().unwrap().parse().unwrap();
    let current = Some(pages * 4096 + more);
    let maximum = getrlimit(Resource::As).maximum;
    setrlimit(Resource::As, Rlimit { current, maximum }).unwrap();
}

fn unlimit_memory() {
    let maximum = getrlimit(Resource::As).maximum;
    let current = maximum;
    setrlimit(Resource::As, Rlimit { current, maximum }).unwrap();
}

/// Workers that are past their start: a thread that gets no memory while it starts ends the process.
fn started(workers: usize, builder: Builder) -> Runtime {
    let (start, starts) = channel();
    let runtime = builder
        .worker_threads(workers)
        .thread_stack_size(STACK)
        .on_thread_start(move || {
            let _ = start.send(());
        })
        .build()
        .unwrap();
    for _ in 0..workers {
        starts.recv_timeout(Duration::from_secs(5)).unwrap();
    }
    runtime
}

#[test]
fn a_runtime_that_gets_no_thread_names_it_and_takes_back_the_others() {
    alone(|| {
        drop(runtime(1));
        let before = threads();
        limit_memory(3 * STACK as u64);
        let builder = Runtime::builder()
            .worker_threads(8)
            .thread_name("few")
            .thread_stack_size(STACK);
        let error = builder.build().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock, "{error}");
        assert!(error.to_string().contains("\"few-"), "{error}");
        assert_eq!(first_cause(&error), Some(rustix::io::Errno::AGAIN));
        unlimit_memory();
        assert_eq!(threads(), before, "threads were left");
    });
}

#[test]
fn a_process_wide_runtime_that_cannot_be_started_says_why() {
    alone(|| {
        let before = getrlimit(Resource::Nofile);
        let current = Some(0);
        setrlimit(Resource::Nofile, Rlimit { current, ..before }).unwrap();
        let socket = heist::net::UdpSocket::bind("127.0.0.1:0");
        let lookup = heist::net::lookup_host("localhost:80");
        let lookup = block_on(lookup).err().unwrap();
        let refused = catch_unwind(|| drop(heist::spawn(async {}))).unwrap_err();
        let sleep = heist::time::sleep(Duration::ZERO);
        let sleep = catch_unwind(AssertUnwindSafe(|| block_on(poll_once(sleep)))).unwrap_err();
        let socket = block_on(socket).unwrap_err();
        setrlimit(Resource::Nofile, before).unwrap();
        for told in [
            lookup.to_string(),
            *refused.downcast::<String>().unwrap(),
            *sleep.downcast::<String>().unwrap(),
        ] {
            assert!(told.contains("the process-wide runtime"), "{told}");
        }
        assert_eq!(first_cause(&lookup), Some(rustix::io::Errno::MFILE));
        assert!(first_cause(&socket).is_some());
        // It can be started now.
        assert_eq!(heist::spawn(async { 5 }).wait_blocking().unwrap(), 5);
    });
}

/// What the system said.
fn first_cause(error: &io::Error) -> Option<rustix::io::Errno> {
    let mut cause = error;
    while let Some(next) = std::error::Error::source(cause) {
        cause = next.downcast_ref()?;
    }
    rustix::io::Errno::from_io_error(cause)
}

#[test]
fn a_blocking_job_that_gets_no_thread_is_reported_and_runs_when_there_is_one() {
    alone(|| {
        let (report, reports) = channel();
        let runtime = started(
            2,
            Runtime::builder().exception_handler(move |exception| {
                let _ = report.send(exception.to_string());
            }),
        );
        limit_memory(STACK as u64 / 2);
        let job = runtime.spawn_blocking(|| 5);
        let told = reports.recv_timeout(Duration::from_secs(5)).unwrap();
        assert!(told.contains("cannot start thread"), "{told}");
        assert_eq!(runtime.block_on(runtime.spawn(async { 6 })).unwrap(), 6);
        assert!(!job.is_finished());
        unlimit_memory();
        assert_eq!(runtime.block_on(job).unwrap(), 5);
    });
}

/// Nobody but sleeping workers is there to try again.
#[test]
fn a_blocking_job_of_an_idle_runtime_gets_a_thread_as_soon_as_there_are_any() {
    alone(|| {
        for workers in [1, 2] {
            let (report, reports) = channel();
            let builder = Runtime::builder().exception_handler(move |exception| {
                let _ = report.send(exception.to_string());
            });
            let runtime = started(workers, builder);
            limit_memory(STACK as u64 / 2);
            let job = runtime.spawn_blocking(|| 5);
            let told = reports.recv_timeout(Duration::from_secs(5)).unwrap();
            assert!(told.contains("cannot start thread"), "{told}");
            unlimit_memory();
            assert_eq!(job.wait_blocking().unwrap(), 5);
            assert!(reports.try_recv().is_err(), "told twice");
        }
    });
}

/// The only thread of the pool waits for a closure that gets none.
#[test]
fn a_blocking_job_behind_a_blocked_one_gets_a_thread_as_soon_as_there_are_any() {
    alone(|| {
        let (report, reports) = channel();
        let builder = Runtime::builder().exception_handler(move |exception| {
            let _ = report.send(exception.to_string());
        });
        let runtime = started(1, builder);
        let (start, starts) = channel();
        let (release, released) = channel();
        let first = runtime.spawn_blocking(move || {
            start.send(()).unwrap();
            released.recv_timeout(Duration::from_secs(20)).unwrap();
        });
        starts.recv_timeout(Duration::from_secs(5)).unwrap();
        limit_memory(STACK as u64 / 2);
        let second = runtime.spawn_blocking(move || release.send(()).unwrap());
        let told = reports.recv_timeout(Duration::from_secs(5)).unwrap();
        assert!(told.contains("cannot start thread"), "{told}");
        assert!(!second.is_finished());
        unlimit_memory();
        first.wait_blocking().unwrap();
        second.wait_blocking().unwrap();
        assert!(reports.try_recv().is_err(), "told twice");
    });
}

/// The only thread of the pool asks for another one, and waits for what that would run.
#[test]
fn a_blocking_job_that_blocks_on_another_one_gets_a_thread_as_soon_as_there_are_any() {
    alone(|| {
        for workers in [1, 2] {
            let (report, reports) = channel();
            let builder = Runtime::builder().exception_handler(move |exception| {
                let _ = report.send(exception.to_string());
            });
            let runtime = started(workers, builder);
            let (start, starts) = channel();
            let (go, going) = channel();
            let outer = runtime.spawn_blocking(move || {
                start.send(()).unwrap();
                going.recv_timeout(Duration::from_secs(5)).unwrap();
                let inner = heist::spawn_blocking(|| thread::current().id());
                (inner.wait_blocking().unwrap(), thread::current().id())
            });
            starts.recv_timeout(Duration::from_secs(5)).unwrap();
            limit_memory(STACK as u64 / 2);
            go.send(()).unwrap();
            let told = reports.recv_timeout(Duration::from_secs(5)).unwrap();
            assert!(told.contains("cannot start thread"), "{told}");
            assert!(!outer.is_finished());
            unlimit_memory();
            let (inner, outer) = outer.wait_blocking().unwrap();
            assert_ne!(inner, outer, "a thread of the pool runs one job at a time");
            assert!(reports.try_recv().is_err(), "told twice");
        }
    });
}

#[test]
fn a_handler_that_spawns_is_told_once_that_no_spare_can_be_started() {
    alone(|| {
        let told = Arc::new(AtomicUsize::new(0));
        let own: Arc<OnceLock<Handle>> = Arc::default();
        let (count, handle) = (Arc::clone(&told), Arc::clone(&own));
        let runtime = started(
            2,
            Runtime::builder().exception_handler(move |_| {
                count.fetch_add(1, Ordering::SeqCst);
                if let Some(handle) = handle.get() {
                    handle.spawn(async {}).detach();
                }
            }),
        );
        own.set(runtime.handle().clone()).unwrap();
        limit_memory(STACK as u64 / 2);
        let both = Arc::new(Barrier::new(2));
        let blockers: Vec<_> = (0..2)
            .map(|_| {
                let (handle, both) = (runtime.handle().clone(), Arc::clone(&both));
                // Both workers at once, so that a spare is wanted.
                runtime.spawn(async move {
                    both.wait();
                    handle.block_on(async { heist::time::sleep(Duration::from_millis(10)).await });
                })
            })
            .collect();
        while told.load(Ordering::SeqCst) == 0 {
            thread::yield_now();
        }
        // More attempts, and more who ask for a worker.
        for _ in 0..100 {
            runtime.spawn(async {}).detach();
            thread::sleep(Duration::from_millis(1));
        }
        unlimit_memory();
        for blocker in blockers {
            blocker.wait_blocking().unwrap();
        }
        assert_eq!(told.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn a_worker_that_blocks_where_no_spare_can_be_started_still_returns() {
    alone(|| {
        let runtime = started(2, Runtime::builder().exception_handler(|_| ()));
        limit_memory(STACK as u64 / 2);
        let handle = runtime.handle().clone();
        let outer = runtime.spawn(async move {
            let inner = handle.spawn(async { 7 });
            handle.block_on(inner).unwrap()
        });
        assert_eq!(runtime.block_on(outer).unwrap(), 7);
        unlimit_memory();
    });
}

/// It waits already when the thread in its place turns out not to come, and the other worker is stuck.
#[test]
fn a_worker_that_has_blocked_gets_a_spare_as_soon_as_there_are_any() {
    alone(|| {
        let (report, reports) = channel();
        let builder = Runtime::builder().exception_handler(move |exception| {
            let _ = report.send(exception.to_string());
        });
        let runtime = started(2, builder);
        let handle = runtime.handle().clone();
        limit_memory(STACK as u64 / 2);
        let (start, starts) = channel();
        let (open, gate) = promise();
        let begun = start.clone();
        let announced = runtime.spawn(async move {
            handle.block_on(async {
                begun.send(()).unwrap();
                gate.await.unwrap()
            })
        });
        starts.recv_timeout(Duration::from_secs(5)).unwrap();
        let (release, released) = channel();
        let stuck = runtime.spawn(async move {
            start.send(()).unwrap();
            released.recv_timeout(Duration::from_secs(20)).unwrap()
        });
        starts.recv_timeout(Duration::from_secs(5)).unwrap();
        let last = async move {
            release.send(6).unwrap();
            open.set_result(7).unwrap();
        };
        runtime.spawn(last).detach();
        let told = reports.recv_timeout(Duration::from_secs(5)).unwrap();
        assert!(told.contains("in the place of a blocked worker"), "{told}");
        unlimit_memory();
        assert_eq!(announced.wait_blocking().unwrap(), 7);
        assert_eq!(stuck.wait_blocking().unwrap(), 6);
    });
}

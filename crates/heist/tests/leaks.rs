//! A runtime that was built, used for everything and let go of, a thousand times: no thread, no descriptor and no memory is left.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]
#![cfg(target_os = "linux")]

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::fs;
use std::future::pending;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use futures_lite::{AsyncReadExt, AsyncWriteExt};
use heist::net::{TcpListener, TcpStream, UnixStream};
use heist::runtime::Builder;
use heist::signal::{SignalKind, signal};
use heist::time::{sleep, timeout};
use heist::{Handle, Runtime, promise};
use rustix::process::{Signal, getpid, kill_process};
use support::alone;

/// The system's allocator, which knows how many bytes are out.
struct Counting;

static OUT: AtomicUsize = AtomicUsize::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: everything is the system's allocator's.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        OUT.fetch_add(layout.size(), Relaxed);
        // SAFETY: handed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        OUT.fetch_sub(layout.size(), Relaxed);
        // SAFETY: handed on.
        unsafe { System.dealloc(block, layout) }
    }
}

const TIMES: usize = 1000;
const WINDOW: usize = 100;

/// In bytes. No round leaves a task, of a hundred bytes, without getting far above it.
const LIMIT: usize = 64 << 10;

fn count(folder: &str) -> usize {
    fs::read_dir(folder).unwrap().count()
}

fn threads() -> usize {
    count("/proc/self/task")
}

fn descriptors() -> usize {
    count("/proc/self/fd")
}

/// The kernel takes a thread off its list a moment after it was joined.
fn wait_for(threads_at_first: usize) {
    let deadline = Instant::now() + Duration::from_secs(5);
    while threads() > threads_at_first {
        assert!(Instant::now() < deadline, "{} threads are left", threads());
        thread::yield_now();
    }
}

/// Fails if `round` leaves anything. The first rounds may: what the process needs once is made.
fn leaves_nothing(mut round: impl FnMut()) {
    (0..WINDOW).for_each(|_| round());
    let (tasks, files) = (threads(), descriptors());
    let before = least(&mut round);
    (0..TIMES).for_each(|_| round());
    let grown = least(&mut round).saturating_sub(before);
    wait_for(tasks);
    assert_eq!(descriptors(), files, "descriptors are left");
    assert!(grown <= LIMIT, "{grown} bytes are left after {TIMES} times");
}

/// The fewest bytes that are out after one of so many rounds: the queues' garbage waits for a while until it is collected.
fn least(mut round: impl FnMut()) -> usize {
    let after_each = (0..WINDOW).map(|_| {
        round();
        OUT.load(Relaxed)
    });
    after_each.min().unwrap()
}

/// Tasks that end, fail, are cancelled and are left, with callbacks, calls, promises, timers, sockets, signals.
async fn use_everything() {
    let ends = heist::spawn(async { vec![1; 100] });
    ends.add_done_callback(|_| ());
    let cancelled = heist::spawn(pending::<()>());
    cancelled.cancel();
    heist::spawn(pending::<()>()).detach();
    let (kept, waits) = promise();
    let own = Handle::current();
    drop(own.call_soon(move || kept.set_result(vec![2; 100]).unwrap()));
    drop(own.call_later(Duration::from_secs(3600), || ()));
    let blocking = heist::spawn_blocking(|| vec![3; 100]);
    assert_eq!(ends.await.unwrap().len(), 100);
    assert!(cancelled.await.unwrap_err().is_cancelled());
    assert_eq!(waits.await.unwrap().len(), 100);
    assert_eq!(blocking.await.unwrap().len(), 100);
    sleep(Duration::from_micros(10)).await;
    let hour = Duration::from_secs(3600);
    assert!(timeout(hour, heist::task::yield_now()).await.is_ok());

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let client = heist::spawn(async move {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"hello").await.unwrap();
        stream
    });
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut buffer = [0; 5];
    stream.read_exact(&mut buffer).await.unwrap();
    // One that is left waiting in the reactor when the runtime goes.
    let (mut waits, left) = UnixStream::pair().unwrap();
    heist::spawn(async move {
        let _left = left;
        let _ = waits.read(&mut [0]).await;
    })
    .detach();
    drop(client.await.unwrap());

    let mut signals = signal(SignalKind::user_defined1()).unwrap();
    kill_process(getpid(), Signal::USR1).unwrap();
    signals.recv().await.unwrap();
}

fn builder() -> Builder {
    Runtime::builder().worker_threads(2)
}

#[test]
fn a_runtime_leaves_nothing() {
    alone(|| {
        leaves_nothing(|| {
            let runtime = builder().build().unwrap();
            runtime.block_on(use_everything());
            assert!(runtime.shutdown(Duration::from_secs(5)).is_clean());
        });
    });
}

#[test]
fn a_local_runtime_leaves_nothing() {
    alone(|| {
        leaves_nothing(|| {
            let runtime = builder().build_local().unwrap();
            runtime.block_on(use_everything());
            let report = runtime.shutdown(Duration::from_secs(5));
            assert!(report.is_clean(), "{report:?}");
        });
    });
}

/// A panic in a body, and handles, wakers and sources that outlive their runtime.
#[test]
fn what_outlives_a_runtime_leaves_nothing_either() {
    alone(|| {
        leaves_nothing(|| {
            let runtime = builder().exception_handler(|_| ()).build().unwrap();
            let handle = runtime.handle().clone();
            let task = handle.spawn(pending::<()>());
            let panics = handle.spawn(async { std::panic::resume_unwind(Box::new(1)) });
            let panics = runtime.block_on(panics);
            let (near, far) = runtime.block_on(async { UnixStream::pair().unwrap() });
            let (kept, waits) = runtime.block_on(async {
                let (kept, waits) = promise::<Vec<u8>>();
                waits.add_done_callback(|_| ());
                (kept, waits)
            });
            let view = task.task_ref();
            drop(runtime);
            let late = handle.spawn(async {});
            assert!(late.wait_blocking().unwrap_err().is_runtime_gone());
            assert!(task.wait_blocking().unwrap_err().is_cancelled());
            drop((near, far, kept, waits, view, panics));
        });
    });
}

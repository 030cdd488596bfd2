//! Where the system gives no thread, where the process forks, and where a thread is nearly over.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

mod support;

use std::cell::RefCell;
use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Barrier, Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use futures_lite::future::{block_on, poll_once};
use futures_lite::{AsyncReadExt, AsyncWriteExt};
use heist::net::{UnixDatagram, UnixStream};
use heist::{Builder, Handle, LocalRuntime, Runtime, TaskError, promise};
use rustix::process::{
    Resource, Rlimit, Signal, getrlimit, set_parent_process_death_signal, setrlimit,
};
use support::{alone, bounded, runtime};

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

#[test]
fn a_program_that_is_executed_inherits_no_descriptor() {
    alone(|| {
        let list = || {
            let output = Command::new("ls").arg("/proc/self/fd").output().unwrap();
            String::from_utf8(output.stdout).unwrap()
        };
        let before = list();
        let runtime = runtime(2);
        let path = std::env::temp_dir().join(format!("heist-inherits-{}", std::process::id()));
        let _open = runtime.block_on(async {
            let listener = heist::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let stream = heist::net::TcpStream::connect(address).await.unwrap();
            let accepted = listener.accept().await.unwrap();
            let datagrams = heist::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
            let unix = heist::net::UnixListener::bind(&path).unwrap();
            let client = UnixStream::connect(&path).await.unwrap();
            let server = unix.accept().await.unwrap();
            let local = (UnixStream::pair().unwrap(), UnixDatagram::pair().unwrap());
            let user = heist::signal::signal(heist::signal::SignalKind::user_defined1()).unwrap();
            (
                listener,
                stream,
                accepted,
                datagrams,
                (unix, client, server, local, user),
            )
        });
        fs::remove_file(path).unwrap();
        assert_eq!(list(), before);
    });
}

/// Runs `child` in a process that is forked off this thread.
fn forked(mut child: impl FnMut() -> io::Result<()> + Send + Sync + 'static) {
    let mut command = Command::new("true");
    let in_the_child = move || {
        // One that hangs ends with this process.
        set_parent_process_death_signal(Some(Signal::KILL))?;
        child()
    };
    // SAFETY: nothing that other threads of the parent may hold is touched but the allocator, which glibc prepares for
    // a fork.
    let command = unsafe { command.pre_exec(in_the_child) };
    assert!(command.status().unwrap().success());
}

fn holds(what: bool, otherwise: &str) -> io::Result<()> {
    what.then_some(())
        .ok_or_else(|| io::Error::other(otherwise.to_owned()))
}

#[test]
fn a_forked_child_may_build_a_runtime_of_its_own() {
    alone(|| {
        let parent = runtime(2);
        parent.block_on(parent.spawn(async {})).unwrap();
        forked(|| {
            let runtime = Runtime::builder().worker_threads(2).build()?;
            let slept = runtime.spawn(heist::time::sleep(Duration::from_millis(1)));
            runtime.block_on(slept).map_err(io::Error::other)?;
            let report = runtime.shutdown(Duration::from_secs(5));
            holds(report.is_clean(), "something was left")
        });
        let slept = parent.spawn(heist::time::sleep(Duration::from_millis(1)));
        parent.block_on(slept).unwrap();
        assert!(parent.shutdown(Duration::from_secs(5)).is_clean());
    });
}

#[test]
fn a_forked_child_that_drops_a_socket_takes_nothing_from_its_parent() {
    alone(|| {
        let parent = runtime(2);
        let (mut near, far) = parent.block_on(async { UnixStream::pair().unwrap() });
        let far = Arc::new(Mutex::new(Some(far)));
        let inherited = Arc::clone(&far);
        forked(move || {
            drop(inherited.lock().unwrap().take());
            Ok(())
        });
        let mut far = far.lock().unwrap().take().unwrap();
        let mut byte = [0];
        parent.block_on(async {
            let mut read = pin!(far.read_exact(&mut byte));
            assert!(poll_once(read.as_mut()).await.is_none());
            near.write_all(b"x").await.unwrap();
            read.await.unwrap();
        });
        assert_eq!(byte, *b"x");
    });
}

thread_local! {
    /// The runtime that a forked child inherits, of its only thread.
    static INHERITED: RefCell<Option<LocalRuntime>> = const { RefCell::new(None) };
}

/// A local runtime with a task in it whose clean-up waits.
fn local_with_a_clean_up() -> LocalRuntime {
    let local = LocalRuntime::new().unwrap();
    let waits = async {
        let _ = heist::task::catch_cancel(std::future::pending::<()>()).await;
        heist::time::sleep(Duration::from_millis(5)).await;
    };
    local.spawn_local(waits).detach();
    local.block_on(heist::task::yield_now());
    local
}

/// The child drops what it inherits, and this thread has it back.
fn dropped_by_a_child(local: LocalRuntime) -> LocalRuntime {
    INHERITED.set(Some(local));
    forked(|| {
        let local = INHERITED
            .take()
            .expect("this is the thread that was forked");
        let refused = catch_unwind(AssertUnwindSafe(|| local.block_on(async {})));
        holds(refused.is_err(), "it ran in the child")?;
        drop(local);
        Ok(())
    });
    INHERITED.take().expect("only the child dropped it")
}

#[test]
fn a_forked_child_that_drops_a_local_runtime_takes_no_event_from_its_parent() {
    alone(|| {
        let local = local_with_a_clean_up();
        let (mut near, far) = std::os::unix::net::UnixStream::pair().unwrap();
        let mut far = local.block_on(async { UnixStream::try_from(far).unwrap() });
        let mut byte = [0];
        local.block_on(async {
            let mut read = pin!(far.read_exact(&mut byte));
            assert!(poll_once(read.as_mut()).await.is_none());
        });
        io::Write::write_all(&mut near, b"x").unwrap();
        let local = dropped_by_a_child(local);
        local
            .block_on(async { far.read_exact(&mut byte).await })
            .unwrap();
        assert_eq!(byte, *b"x");
    });
}

#[test]
fn a_forked_child_that_drops_a_local_runtime_takes_no_timer_from_its_parent() {
    alone(|| {
        let local = local_with_a_clean_up();
        let mut nap = Box::pin(heist::time::sleep(Duration::from_millis(100)));
        let (promise, deferred) = promise::<()>();
        let waker = thread::spawn(move || {
            thread::sleep(Duration::from_millis(10));
            promise.set_result(()).unwrap();
        });
        // The driver sleeps for the timer, and is woken before.
        local.block_on(async {
            assert!(poll_once(&mut nap).await.is_none());
            deferred.await.unwrap();
        });
        waker.join().unwrap();
        let local = dropped_by_a_child(local);
        local.block_on(nap);
    });
}

#[test]
fn a_forked_child_that_drops_a_runtime_waits_for_nobody() {
    alone(|| {
        let parent = runtime(2);
        let (mut near, mut far) = parent.block_on(async { UnixStream::pair().unwrap() });
        let read = parent.spawn(async move {
            let mut byte = [0];
            far.read_exact(&mut byte).await.map(|()| byte)
        });
        let own = Arc::new(Mutex::new(Some(parent)));
        let inherited = Arc::clone(&own);
        forked(move || {
            let parent = inherited.lock().unwrap().take().expect("it is there");
            let gone = catch_unwind(AssertUnwindSafe(|| parent.block_on(async {})));
            let gone = gone.expect_err("nobody would run its tasks");
            let gone = gone.downcast::<TaskError>().expect("the reason");
            holds(gone.is_runtime_gone(), "another reason")?;
            let begun = Instant::now();
            let report = parent.shutdown(Duration::from_secs(60));
            holds(report.tasks.len() == 1, "the task is not listed")?;
            holds(begun.elapsed() < Duration::from_secs(5), "it waited")
        });
        let parent = own
            .lock()
            .unwrap()
            .take()
            .expect("only the child dropped it");
        parent.block_on(near.write_all(b"x")).unwrap();
        assert_eq!(parent.block_on(read).unwrap().unwrap(), *b"x");
        assert!(parent.shutdown(Duration::from_secs(5)).is_clean());
    });
}

/// Runs a closure when its thread is nearly over.
struct AtTheEnd(Option<Box<dyn FnOnce()>>);

impl Drop for AtTheEnd {
    fn drop(&mut self) {
        if let Some(last) = self.0.take() {
            last();
        }
    }
}

thread_local! {
    static EARLY: RefCell<AtTheEnd> = const { RefCell::new(AtTheEnd(None)) };
    static LATE: RefCell<AtTheEnd> = const { RefCell::new(AtTheEnd(None)) };
}

/// Calls `last` in the destructor of a thread-local that was made before those of the runtime, or after them.
fn while_a_thread_ends(before: bool, last: impl FnOnce() + Send + 'static) {
    let key = if before { &EARLY } else { &LATE };
    let ending = thread::spawn(move || {
        if before {
            key.with_borrow_mut(|key| key.0 = None);
        }
        let own = runtime(1);
        own.block_on(async { heist::task::yield_now().await });
        key.with_borrow_mut(|key| key.0 = Some(Box::new(last)));
    });
    ending.join().unwrap();
}

#[test]
fn a_thread_that_is_nearly_over_can_spawn_wake_and_end_a_runtime() {
    for before in [false, true] {
        bounded(move || {
            let shared = runtime(2);
            let (spawned, ran) = channel();
            let handle = shared.handle().clone();
            while_a_thread_ends(before, move || {
                handle.spawn(async move { spawned.send(()).unwrap() });
            });
            ran.recv_timeout(Duration::from_secs(5)).unwrap();

            let (promise, deferred) = promise();
            while_a_thread_ends(before, move || promise.set_result(3).unwrap());
            assert_eq!(shared.block_on(deferred).unwrap(), 3);

            let (told, report) = channel();
            while_a_thread_ends(before, move || {
                let own = runtime(1);
                let task = own.spawn(async { 4 });
                told.send(own.block_on(task).unwrap()).unwrap();
                told.send(i32::from(own.shutdown(Duration::from_secs(5)).is_clean()))
                    .unwrap();
            });
            assert_eq!(report.iter().collect::<Vec<_>>(), [4, 1]);

            let (told, report) = channel();
            while_a_thread_ends(before, move || {
                let own = Runtime::builder().worker_threads(1).thread_name("own");
                let child = own.build().unwrap().block_on(async {
                    heist::time::sleep(Duration::from_millis(1)).await;
                    heist::spawn(async { thread::current().name().map(str::to_owned) }).await
                });
                told.send(child.unwrap()).unwrap();
            });
            assert_eq!(report.recv().unwrap().as_deref(), Some("own-0"));

            let kept = runtime(1);
            while_a_thread_ends(before, move || drop(kept));
        });
    }
}

//! Where the process executes another program, or forks.

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
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use futures_lite::future::poll_once;
use futures_lite::{AsyncReadExt, AsyncWriteExt};
use heist::net::{UnixDatagram, UnixStream};
use heist::{LocalRuntime, Runtime, TaskError, promise};
use rustix::process::{Signal, set_parent_process_death_signal};
use support::{alone, runtime};

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

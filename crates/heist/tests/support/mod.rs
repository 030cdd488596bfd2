//! What the tests share: a watchdog, runtimes of a given size, and a guard that tells when it is dropped.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use heist::{Handle, LocalRuntime, Runtime};

/// Runs a test on a thread of its own and fails it after ten seconds.
pub(crate) fn bounded(test: impl FnOnce() + Send + 'static) {
    bounded_by(Duration::from_secs(10), test);
}

/// The same with another limit.
pub(crate) fn bounded_by(limit: Duration, test: impl FnOnce() + Send + 'static) {
    let name = thread::current().name().unwrap_or("test").to_owned();
    let (done, over) = channel();
    let body = thread::Builder::new().name(name.clone()).spawn(move || {
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(test));
        let _ = done.send(());
        outcome
    });
    let body = body.expect("a thread for the test");
    if over.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
        panic!("{name} hangs: not over within {limit:?}");
    }
    if let Err(payload) = body.join().and_then(|outcome| outcome) {
        std::panic::resume_unwind(payload);
    }
}

/// A runtime with this many workers.
pub(crate) fn runtime(workers: usize) -> Runtime {
    Runtime::builder()
        .worker_threads(workers)
        .build()
        .expect("a runtime")
}

/// Workers that nobody helps, whatever they do, and nobody looks at: that would open files.
pub(crate) fn left_alone(workers: usize) -> Runtime {
    let builder = Runtime::builder()
        .worker_threads(workers)
        .blocked_worker_threshold(None);
    builder.build().expect("a runtime")
}

/// One of them: what it has not polled, nobody has.
pub(crate) fn lone_worker() -> Runtime {
    left_alone(1)
}

/// Calls `f` beside a local runtime that runs on a thread of its own.
pub(crate) fn beside_a_local_runtime(f: impl FnOnce(&Handle)) {
    let (give, take) = channel();
    let local = thread::spawn(move || {
        let runtime = LocalRuntime::new().expect("a runtime");
        give.send(runtime.handle().clone())
            .expect("it is waited for");
        runtime.run_forever();
    });
    let own = take.recv().expect("a handle");
    f(&own);
    own.stop();
    local.join().expect("nobody panics there");
}

/// Counts its drops.
#[derive(Clone, Debug, Default)]
pub(crate) struct Drops(Arc<AtomicUsize>);

impl Drops {
    /// A value whose drop is counted.
    pub(crate) fn guard(&self) -> Guard {
        Guard(Arc::clone(&self.0))
    }

    /// How many guards have been dropped.
    pub(crate) fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

/// Made by [`Drops::guard`].
#[derive(Debug)]
pub(crate) struct Guard(Arc<AtomicUsize>);

impl Guard {
    /// Uses the guard without giving it away: its future drops it.
    pub(crate) fn count_at_the_end(&self) {}
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Runs the calling test once more, in a process of its own, if this is not that process yet.
///
/// `None`: this is the child, which is to do the work. `Some`: a command for it.
pub(crate) fn child() -> Option<std::process::Command> {
    if std::env::var_os(CHILD).is_some() {
        return None;
    }
    let name = thread::current()
        .name()
        .expect("a test thread has a name")
        .to_owned();
    let mut command =
        std::process::Command::new(std::env::current_exe().expect("this program has a path"));
    command
        .args([&name, "--exact", "--nocapture", "--test-threads=1"])
        .env(CHILD, "1");
    Some(command)
}

const CHILD: &str = "HEIST_TEST_CHILD";

/// Runs `test` in a process of its own.
pub(crate) fn alone(test: impl FnOnce() + Send + 'static) {
    let Some(mut command) = child() else {
        return bounded(test);
    };
    // What it has forked, and hangs, would keep its output open.
    let (done, over) = channel();
    thread::spawn(move || done.send(command.output()));
    let output = over
        .recv_timeout(Duration::from_secs(60))
        .expect("the process of the test hangs: not over within 60 s");
    let output = output.expect("this program runs once more");
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}\n{errors}");
    assert!(text.contains("1 passed"), "{text}");
}

//! The cache on heist under loom: `RUSTFLAGS="--cfg loom" cargo test --release -p single-flight --test model`.
//!
//! `PLANTED` in the environment plants a defect in the models: `check-then-insert`, `any-load` or `panic`.

#![cfg(loom)]
#![expect(clippy::unwrap_used, reason = "a model fails where it panics")]

use std::convert::Infallible;
use std::env;
use std::future::{pending, ready};
use std::num::NonZeroUsize;
use std::process::Command;
use std::time::Duration;

use heist::Runtime;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use single_flight::{Cache, Planted};

/// Explores `body` beside one worker. The thread of the model is the second one: `block_on` polls on it.
fn model(preemptions: usize, body: impl Fn(&Runtime) + Send + Sync + 'static) {
    let execution = move || {
        let runtime = Runtime::builder().worker_threads(1).build().unwrap();
        body(&runtime);
        // Time stands still in a model: the grace never passes.
        assert!(runtime.shutdown(Duration::from_secs(1)).is_clean());
    };
    if env::var_os("LOOM_LOG").is_some() {
        // Only this prints a trace, and it takes its bounds from the environment alone.
        return loom::model(execution);
    }
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(preemptions));
    builder.max_branches = builder.max_branches.max(4_000);
    builder.check(execution);
}

fn planted(defect: &str) -> bool {
    env::var("PLANTED").is_ok_and(|planted| planted == defect)
}

fn cache() -> Arc<Cache<u8, usize, Infallible>> {
    let planted = if planted("check-then-insert") {
        Planted::CheckThenInsert
    } else if planted("any-load") {
        Planted::AnyLoad
    } else {
        Planted::Nothing
    };
    Arc::new(Cache::with_planted(NonZeroUsize::MIN, planted))
}

#[test]
fn two_callers_load_once() {
    model(2, |runtime| {
        let cache = cache();
        let loads = Arc::new(AtomicUsize::new(0));
        let (theirs, counted) = (Arc::clone(&cache), Arc::clone(&loads));
        let task = runtime.spawn(async move {
            let load = |_| async move {
                assert!(!planted("panic"), "a bug in a load");
                Ok(counted.fetch_add(1, Relaxed))
            };
            theirs.get(7, load).await
        });
        let load = |_| ready(Ok(loads.fetch_add(1, Relaxed)));
        let ours = runtime.block_on(cache.get(7, load));
        let theirs = runtime.block_on(task).unwrap();
        assert_eq!(loads.load(Relaxed), 1, "the value was loaded twice");
        assert_eq!((ours, theirs), (Ok(0), Ok(0)));
    });
}

#[test]
fn an_old_value_does_not_come_back() {
    model(2, |runtime| {
        let cache = cache();
        let version = Arc::new(AtomicUsize::new(1));
        let (theirs, seen) = (Arc::clone(&cache), Arc::clone(&version));
        let task = runtime.spawn(async move {
            let load = |_| ready(Ok(seen.load(Relaxed)));
            theirs.get(7, load).await
        });
        version.store(2, Relaxed);
        cache.invalidate(&7);
        let load = |_| ready(Ok(version.load(Relaxed)));
        assert_eq!(runtime.block_on(cache.get(7, load)), Ok(2));
        runtime.block_on(task).unwrap().unwrap();
        let again = runtime.block_on(cache.get(7, load));
        assert_eq!(again, Ok(2), "an old value is back");
    });
}

/// A wake that is lost here is a deadlock, which loom reports.
#[test]
fn a_cancelled_load_lets_the_next_one_load() {
    model(1, |runtime| {
        let cache = cache();
        let theirs = Arc::clone(&cache);
        let task = runtime.spawn(async move { theirs.get(7, |_| pending()).await });
        task.cancel();
        assert_eq!(runtime.block_on(cache.get(7, |_| ready(Ok(2)))), Ok(2));
        // Or it found our value in the poll that was under way.
        match runtime.block_on(task) {
            Ok(value) => assert_eq!(value, Ok(2)),
            Err(error) => assert!(error.is_cancelled()),
        }
    });
}

/// Runs a model of this file with a defect, in a process of its own: loom may abort the one in which a model fails.
fn assert_found(defect: &str, model: &str, message: &str) {
    let ran = Command::new(env::current_exe().unwrap())
        .args(["--exact", model, "--nocapture"])
        .env("PLANTED", defect)
        .env("RUST_BACKTRACE", "0")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&[ran.stdout, ran.stderr].concat()).into_owned();
    assert!(!ran.status.success(), "{defect} was missed:\n{text}");
    assert!(text.contains(message), "not for {message:?}:\n{text}");
}

#[test]
fn a_check_then_insert_is_found() {
    let message = "the value was loaded twice";
    assert_found("check-then-insert", "two_callers_load_once", message);
}

#[test]
fn a_load_that_replaces_a_newer_one_is_found() {
    let message = "an old value is back";
    assert_found("any-load", "an_old_value_does_not_come_back", message);
}

#[test]
fn a_panic_in_a_task_fails_the_model() {
    assert_found("panic", "two_callers_load_once", "a bug in a load");
}

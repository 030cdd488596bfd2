//! What users model: their own code, on a runtime of this project.

#![cfg(loom)]

use heist::{Runtime, promise};
use heist_loom_tests::{explore, explore_with_fewer, planted};
use loom::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

fn runtime(workers: usize) -> Runtime {
    Runtime::builder()
        .worker_threads(workers)
        .build()
        .expect("a model has threads")
}

fn end(runtime: Runtime) {
    assert!(runtime.shutdown(Duration::from_secs(1)).is_clean());
}

#[test]
fn a_user_spawns_and_joins() {
    explore("a_user_spawns_and_joins", || {
        let runtime = runtime(1);
        let task = runtime.spawn(async {
            assert!(!planted("panic-in-a-task"), "a panic fails the model");
            7
        });
        assert_eq!(runtime.block_on(task).expect("it went through"), 7);
        end(runtime);
    });
}

#[test]
fn a_user_adds_a_callback() {
    explore_with_fewer(1, "a_user_adds_a_callback", || {
        let runtime = runtime(1);
        let seen = Arc::new(AtomicUsize::new(0));
        let task = runtime.spawn(async { 7 });
        let noted = Arc::clone(&seen);
        task.add_done_callback(move |finished| {
            noted.store(*finished.result().expect("it went through"), Relaxed);
        });
        assert!(task.wait_blocking().is_ok());
        // Callbacks run before the one who awaits.
        assert_eq!(seen.load(Relaxed), 7);
        end(runtime);
    });
}

#[test]
fn a_user_cancels() {
    explore_with_fewer(1, "a_user_cancels", || {
        let runtime = runtime(1);
        let task = runtime.spawn(std::future::pending::<()>());
        assert!(task.cancel());
        let error = runtime.block_on(task).expect_err("nobody catches it");
        assert!(error.is_cancelled());
        end(runtime);
    });
}

#[test]
fn a_user_keeps_a_promise() {
    explore_with_fewer(1, "a_user_keeps_a_promise", || {
        let runtime = runtime(1);
        let (promise, deferred) = promise();
        let task = runtime.spawn(async move { promise.set_result(7).is_ok() });
        assert_eq!(runtime.block_on(deferred).expect("the promise is kept"), 7);
        assert!(runtime.block_on(task).expect("it went through"));
        end(runtime);
    });
}

#[test]
fn a_user_who_is_in_no_runtime_is_told_so() {
    explore("a_user_who_is_in_no_runtime_is_told_so", || {
        let told = |f: &dyn Fn()| {
            let payload = catch_unwind(AssertUnwindSafe(f)).expect_err("there is no runtime here");
            let message = payload.downcast_ref::<&str>().expect("a text");
            assert_eq!(
                *message,
                "there is no process-wide runtime in a model; build a runtime and enter it"
            );
        };
        let runtime = runtime(1);
        let entered = planted("runtime-entered").then(|| runtime.enter());
        told(&|| heist::spawn(async {}).detach());
        told(&|| heist::spawn_blocking(|| ()).detach());
        told(&|| heist::block_on(async {}));
        let built = Runtime::builder().worker_threads(1).build_global();
        let error = built.expect_err("a model has none");
        assert!(!error.is_already_started());
        assert_eq!(
            error.to_string(),
            "there is no process-wide runtime in a model; build one and enter it"
        );
        drop(entered);
        end(runtime);
    });
}

//! What users model: their own code, on a runtime of this project.

#![cfg(loom)]

use heist::task::{Finalizers, catch_cancel, yield_now};
use heist::{Runtime, TaskGroup, promise};
use heist_loom_tests::{explore, explore_with_fewer, planted};
use loom::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::future::pending;
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

/// Notes that it was dropped.
struct Noted(Arc<AtomicUsize>);

impl Drop for Noted {
    fn drop(&mut self) {
        self.0.store(1, Relaxed);
    }
}

/// Notes what was noted when it was dropped.
struct Last(Arc<AtomicUsize>, Arc<AtomicUsize>);

impl Drop for Last {
    fn drop(&mut self) {
        self.1.store(self.0.load(Relaxed), Relaxed);
    }
}

/// The child is over when the task that runs its group is, whether that was cancelled or not.
#[test]
fn a_child_ends_while_its_group_is_cancelled() {
    explore_with_fewer(1, "a_child_ends_while_its_group_is_cancelled", || {
        let runtime = runtime(1);
        // Whether the child is over, and whether it was when the group was.
        let (over, before) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (child_over, group_over) = (Noted(Arc::clone(&over)), Arc::clone(&before));
        let (begins, begun) = promise();
        let task = runtime.spawn(async move {
            let _last = Last(over, group_over);
            TaskGroup::run(async move |group: TaskGroup| {
                group.spawn(async move {
                    let _over = child_over;
                    let _ = begins.set_result(());
                    // It cleans up for longer than the group takes to end.
                    if catch_cancel(yield_now()).await.is_err() {
                        yield_now().await;
                        yield_now().await;
                    }
                })?;
                Ok(())
            })
            .await
        });
        runtime.block_on(begun).expect("the child begins");
        task.cancel();
        match runtime.block_on(task) {
            Ok(result) => assert!(result.is_ok()),
            Err(error) => assert!(error.is_cancelled()),
        }
        assert_eq!(before.load(Relaxed), 1);
        end(runtime);
    });
}

/// What a task of a scope has borrowed is given back when the scope returns, also if the task is cancelled meanwhile.
#[test]
fn a_scope_ends_while_its_task_is_cancelled() {
    explore_with_fewer(1, "a_scope_ends_while_its_task_is_cancelled", || {
        let runtime = runtime(1);
        let over = Arc::new(AtomicUsize::new(0));
        let borrowed = Noted(Arc::clone(&over));
        runtime.scope(|scope| {
            let task = scope.spawn(async move {
                let _borrowed = borrowed;
                yield_now().await;
            });
            task.cancel();
        });
        assert_eq!(over.load(Relaxed), 1);
        end(runtime);
    });
}

/// A task that is aborted while it is cancelled is over after its clean-up, or that has been dropped; none goes on elsewhere.
#[test]
fn a_clean_up_races_with_an_abort() {
    explore_with_fewer(1, "a_clean_up_races_with_an_abort", || {
        let runtime = runtime(1);
        let over = Arc::new(AtomicUsize::new(0));
        let deferred = Noted(Arc::clone(&over));
        let (begins, begun) = promise();
        let task = runtime.spawn(Finalizers::run(
            Duration::MAX,
            async move |finalizers: Finalizers| {
                finalizers.defer_async(async move {
                    let _deferred = deferred;
                    yield_now().await;
                });
                let _ = begins.set_result(());
                pending::<()>().await;
            },
        ));
        runtime.block_on(begun).expect("the body begins");
        task.cancel();
        task.abort();
        let _ = runtime.block_on(task);
        assert_eq!(over.load(Relaxed), 1);
        end(runtime);
    });
}

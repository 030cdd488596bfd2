//! Scopes: tasks that borrow from the stack.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

mod support;

use std::future::{pending, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::task::Poll;

use heist::task::{self, Scope, ScopedTask, catch_cancel, yield_now};
use heist::{LocalRuntime, Runtime, TaskState, promise};
use support::{Drops, bounded, lone_worker, runtime};

/// Panics on purpose that the tests want no report of.
fn quiet(workers: usize) -> Runtime {
    Runtime::builder()
        .worker_threads(workers)
        .exception_handler(|_| {})
        .build()
        .unwrap()
}

#[test]
fn tasks_of_a_scope_borrow_and_are_over_when_it_ends() {
    bounded(|| {
        let mut numbers = vec![0; 100];
        let count = AtomicUsize::new(0);
        runtime(2).scope(|scope| {
            for (index, number) in numbers.iter_mut().enumerate() {
                let count = &count;
                scope.spawn(async move {
                    yield_now().await;
                    *number = index;
                    count.fetch_add(1, Ordering::Relaxed);
                });
            }
        });
        assert_eq!(count.into_inner(), 100);
        assert_eq!(numbers, (0..100).collect::<Vec<_>>());
    });
}

#[test]
fn what_a_task_gives_may_borrow_too() {
    bounded(|| {
        let text = String::from("to be or not to be");
        let longest = runtime(2).scope(|scope| {
            let first = scope.spawn(async { text.split(' ').max_by_key(|word| word.len()) });
            // Awaited by a task of the same scope.
            let second = scope.spawn(async move { first.await.unwrap().unwrap() });
            second.wait_blocking().unwrap().len()
        });
        assert_eq!(longest, 3);
    });
}

#[test]
fn tasks_of_a_scope_spawn_more_when_its_closure_is_over() {
    fn tree<'scope>(scope: Scope<'scope, '_>, count: &'scope AtomicUsize, depth: usize) {
        scope.spawn(async move {
            yield_now().await;
            count.fetch_add(1, Ordering::Relaxed);
            if depth > 0 {
                tree(scope, count, depth - 1);
                tree(scope, count, depth - 1);
            }
        });
    }

    bounded(|| {
        let count = AtomicUsize::new(0);
        runtime(2).scope(|scope| tree(scope, &count, 6));
        assert_eq!(count.into_inner(), 127);
    });
}

#[test]
fn blocking_closures_of_a_scope_borrow() {
    bounded(|| {
        let numbers = [1, 2, 3];
        let sum = runtime(1).scope(|scope| {
            let task = scope.spawn_blocking(|| numbers.iter().sum::<i32>());
            task.wait_blocking().unwrap()
        });
        assert_eq!(sum, 6);
    });
}

#[test]
fn a_scope_waits_for_callbacks_which_may_borrow() {
    bounded(|| {
        let seen = AtomicUsize::new(0);
        runtime(2).scope(|scope| {
            let task = scope.spawn(yield_now());
            task.add_done_callback(|task| {
                assert_eq!(task.state(), TaskState::Finished);
                seen.fetch_add(1, Ordering::Relaxed);
            });
        });
        assert_eq!(seen.into_inner(), 1);
    });
}

#[test]
fn a_panic_that_nobody_awaits_is_one_of_the_scope_after_all_are_over() {
    bounded(|| {
        let runtime = quiet(2);
        let (drops, finished) = (Drops::default(), AtomicBool::new(false));
        let guard = drops.guard();
        let result = catch_unwind(AssertUnwindSafe(|| {
            runtime.scope(|scope| {
                let (promise, deferred) = promise::<()>();
                scope.spawn(async move {
                    let _guard = guard;
                    let _promise = promise;
                    panic_any("on purpose");
                });
                let finished = &finished;
                scope.spawn(async move {
                    let _ = deferred.await;
                    finished.store(true, Ordering::Relaxed);
                });
            })
        }));
        let message = *result.unwrap_err().downcast::<String>().unwrap();
        assert!(
            message.starts_with("1 of the tasks of a scope"),
            "{message}"
        );
        assert_eq!(drops.count(), 1);
        assert!(finished.into_inner());
    });
}

#[test]
fn a_panic_that_somebody_awaits_is_none_of_the_scope() {
    bounded(|| {
        let error = quiet(2).scope(|scope| {
            let task: ScopedTask<'_, ()> = scope.spawn(async { panic_any("on purpose") });
            task.wait_blocking().unwrap_err()
        });
        assert!(error.is_panic());
    });
}

#[test]
fn a_panic_of_a_destructor_leaves_the_scope_sound() {
    struct Bomb<'a>(&'a AtomicUsize);

    impl Drop for Bomb<'_> {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
            panic_any("on purpose");
        }
    }

    bounded(|| {
        let drops = AtomicUsize::new(0);
        let runtime = quiet(2);
        runtime.scope(|scope| {
            // In the future, and in what it gives and nobody takes.
            let bomb = Bomb(&drops);
            let cancelled = scope.spawn(async move {
                let _bomb = bomb;
                pending::<()>().await;
            });
            cancelled.cancel();
            let _ = cancelled.wait_blocking();
            // Nobody has the handle any more when it gives that.
            let (go, wait) = promise::<()>();
            let drops = &drops;
            drop(scope.spawn(async move {
                let _ = wait.await;
                Bomb(drops)
            }));
            go.set_result(()).unwrap();
        });
        assert_eq!(drops.into_inner(), 2);
    });
}

#[test]
fn a_closure_that_panics_has_its_tasks_cancelled_and_waits_for_their_clean_up() {
    bounded(|| {
        let cleaned = AtomicUsize::new(0);
        let runtime = quiet(2);
        let result = catch_unwind(AssertUnwindSafe(|| {
            runtime.scope(|scope| {
                let (began, wait) = mpsc::channel();
                for _ in 0..3 {
                    let (began, cleaned) = (began.clone(), &cleaned);
                    scope.spawn(async move {
                        began.send(()).unwrap();
                        let _ = catch_cancel(pending::<()>()).await;
                        yield_now().await;
                        cleaned.fetch_add(1, Ordering::Relaxed);
                    });
                }
                for _ in 0..3 {
                    wait.recv().unwrap();
                }
                // Nobody waits for these but the scope.
                scope.spawn(pending::<()>());
                panic_any("on purpose");
            })
        }));
        assert_eq!(
            *result.unwrap_err().downcast::<&str>().unwrap(),
            "on purpose"
        );
        assert_eq!(cleaned.into_inner(), 3);
    });
}

#[test]
fn a_handle_that_is_leaked_does_not_keep_the_scope() {
    bounded(|| {
        let count = AtomicUsize::new(0);
        runtime(2).scope(|scope| {
            let task = scope.spawn(async {
                count.fetch_add(1, Ordering::Relaxed);
                &count
            });
            std::mem::forget(task);
        });
        assert_eq!(count.into_inner(), 1);
    });
}

#[test]
fn a_scope_ends_when_its_runtime_is_shut_down_elsewhere() {
    bounded(|| {
        let runtime = runtime(2);
        let handle = runtime.handle().clone();
        let drops = Drops::default();
        let (in_scope, inside) = mpsc::channel();
        std::thread::scope(|threads| {
            threads.spawn(|| {
                handle.scope(|scope| {
                    let guard = drops.guard();
                    scope.spawn(async move {
                        let _guard = guard;
                        pending::<()>().await;
                    });
                    in_scope.send(()).unwrap();
                });
                // What comes late is cancelled at once.
                let late = handle.scope(|scope| scope.spawn(async { 1 }).wait_blocking());
                assert!(late.unwrap_err().is_runtime_gone());
            });
            inside.recv().unwrap();
            drop(runtime);
        });
        assert_eq!(drops.count(), 1);
    });
}

#[test]
fn a_scope_in_a_task_of_the_only_worker_does_not_stop_it() {
    bounded(|| {
        let runtime = lone_worker();
        let handle = runtime.handle().clone();
        let sum = runtime.block_on(runtime.spawn(async move {
            let numbers = [1, 2, 3];
            let mut sum = 0;
            handle.scope(|scope| {
                scope.spawn(async {
                    yield_now().await;
                    sum = numbers.iter().sum();
                });
            });
            sum
        }));
        assert_eq!(sum.unwrap(), 6);
    });
}

#[test]
fn a_scope_of_a_local_runtime_is_refused() {
    let runtime = LocalRuntime::new().unwrap();
    let result = catch_unwind(AssertUnwindSafe(|| runtime.handle().scope(|_| ())));
    let message = *result.unwrap_err().downcast::<&str>().unwrap();
    assert!(message.contains("TaskGroup"), "{message}");
}

#[test]
fn tasks_of_a_scope_are_listed_by_name() {
    bounded(|| {
        let runtime = runtime(2);
        runtime.scope(|scope| {
            let (promise, deferred) = promise();
            let task = task::Builder::new()
                .name("borrower")
                .spawn_scoped(scope, async move {
                    let _ = deferred.await;
                });
            let listed = runtime.handle().all_tasks();
            assert!(listed.iter().any(|task| task.name() == "borrower"));
            assert!(format!("{scope:?}").contains("borrower"));
            assert!(format!("{task:?}").starts_with("<Task pending"), "{task:?}");
            promise.set_result(()).unwrap();
        });
    });
}

#[test]
fn a_future_that_is_dropped_half_way_has_given_back_what_it_borrowed() {
    bounded(|| {
        let runtime = runtime(2);
        let mut value = 1;
        for _ in 0..100 {
            runtime.scope(|scope| {
                let task = scope.spawn(async {
                    let value = &mut value;
                    poll_fn(|_| Poll::<()>::Pending).await;
                    *value += 1;
                });
                task.cancel();
            });
            value += 1;
        }
        assert_eq!(value, 101);
    });
}

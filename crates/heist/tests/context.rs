//! Variables of a task, and those that tasks inherit.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

mod support;

use std::cell::Cell;
use std::future::{Future, pending, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::pin;
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use heist::context::Context as Variables;
use heist::task::{TaskGroup, block_in_place, yield_now};
use heist::{Handle, LocalRuntime, context_var, promise, spawn, spawn_blocking, task_local};
use support::{bounded, lone_worker, runtime};

context_var! {
    static REQUEST: u64;
    static USER: &'static str;
}

task_local! {
    static DEPTH: Cell<u32>;
}

fn depth() -> Option<u32> {
    DEPTH.with(|depth| depth.map(Cell::get))
}

#[test]
fn a_variable_is_set_while_its_future_is_polled_and_hides_the_outer_one() {
    bounded(|| {
        runtime(2).block_on(async {
            assert_eq!(REQUEST.get(), None);
            REQUEST
                .scope(1, async {
                    REQUEST
                        .scope(2, async { assert_eq!(REQUEST.get(), Some(2)) })
                        .await;
                    yield_now().await;
                    assert_eq!(REQUEST.get(), Some(1));
                    assert_eq!(USER.get(), None);
                })
                .await;
            assert_eq!(REQUEST.get(), None);
        });
    });
}

#[test]
fn tasks_and_blocking_closures_inherit_a_context_variable_and_no_task_local() {
    bounded(|| {
        let runtime = runtime(2);
        let work = async {
            let grandchild = async { spawn(async { (REQUEST.get(), depth()) }).await.unwrap() };
            assert_eq!(spawn(grandchild).await.unwrap(), (Some(7), None));
            let blocking = spawn_blocking(|| (REQUEST.get(), depth()));
            assert_eq!(blocking.await.unwrap(), (Some(7), None));
            let named = heist::task::Builder::new()
                .name("n")
                .spawn(async { REQUEST.get() });
            assert_eq!(named.await.unwrap(), Some(7));
            let in_group = TaskGroup::run(async |group| {
                let child = group.spawn(async { Ok::<_, std::io::Error>(REQUEST.get()) })?;
                Ok(child.await?)
            });
            assert_eq!(in_group.await.unwrap(), Some(7));
            assert_eq!((REQUEST.get(), depth()), (Some(7), Some(1)));
        };
        runtime.block_on(REQUEST.scope(7, DEPTH.scope(Cell::new(1), work)));
    });
}

#[test]
fn what_a_child_sets_its_parent_does_not_see() {
    bounded(|| {
        runtime(2).block_on(REQUEST.scope(1, async {
            let child = spawn(REQUEST.scope(2, async { REQUEST.get() }));
            assert_eq!(child.await.unwrap(), Some(2));
            assert_eq!(REQUEST.get(), Some(1));
        }));
    });
}

#[test]
fn callbacks_see_the_variables_of_who_added_them() {
    bounded(|| {
        let runtime = runtime(2);
        let (seen, calls) = mpsc::channel();
        runtime.block_on(async {
            let (promise, deferred) = promise();
            let task = spawn(async move { deferred.await.unwrap() });
            let add = |number| {
                let seen = seen.clone();
                task.add_done_callback(move |_| seen.send((number, REQUEST.get())).unwrap());
            };
            REQUEST.sync_scope(1, || add(1));
            add(2);
            promise.set_result(()).unwrap();
            task.await.unwrap();
        });
        assert_eq!(calls.recv().unwrap(), (1, Some(1)));
        assert_eq!(calls.recv().unwrap(), (2, None));
        let handle = runtime.handle();
        REQUEST.sync_scope(3, || {
            let also = seen.clone();
            handle.call_soon(move || seen.send((3, REQUEST.get())).unwrap());
            handle.call_later(Duration::ZERO, move || {
                also.send((4, REQUEST.get())).unwrap()
            });
        });
        let mut last = [calls.recv().unwrap(), calls.recv().unwrap()];
        last.sort_unstable();
        assert_eq!(last, [(3, Some(3)), (4, Some(3))]);
    });
}

#[test]
fn block_on_and_block_in_place_see_what_their_caller_sees() {
    bounded(|| {
        let runtime = lone_worker();
        let handle = runtime.handle().clone();
        let task = runtime.spawn(REQUEST.scope(
            1,
            DEPTH.scope(Cell::new(2), async move {
                let in_place = block_in_place(|| (REQUEST.get(), depth()));
                let inner = handle.block_on(async {
                    yield_now().await;
                    REQUEST.get()
                });
                (in_place, inner)
            }),
        ));
        assert_eq!(
            runtime.block_on(task).unwrap(),
            ((Some(1), Some(2)), Some(1))
        );
        let outside = USER.sync_scope("eve", || runtime.block_on(async { USER.get() }));
        assert_eq!(outside, Some("eve"));
    });
}

#[test]
fn a_task_that_is_polled_on_the_stack_of_another_one_sees_nothing_of_it() {
    bounded(|| {
        let local = LocalRuntime::new().unwrap();
        let other = local.spawn_local(async { (REQUEST.get(), depth()) });
        let (called, call) = mpsc::channel();
        local
            .handle()
            .call_soon(move || called.send(REQUEST.get()).unwrap());
        let seen = REQUEST.sync_scope(1, || {
            DEPTH.sync_scope(Cell::new(1), || local.block_on(other))
        });
        assert_eq!(seen.unwrap(), (None, None));
        assert_eq!(call.recv().unwrap(), None);
        // What was spawned inside has inherited.
        let inherits = REQUEST.sync_scope(1, || local.spawn_local(async { REQUEST.get() }));
        assert_eq!(local.block_on(inherits).unwrap(), Some(1));
    });
}

#[test]
fn a_future_is_dropped_with_its_variables_set() {
    struct Look(mpsc::Sender<(Option<u64>, Option<u32>)>);

    impl Drop for Look {
        fn drop(&mut self) {
            self.0.send((REQUEST.get(), depth())).unwrap();
        }
    }

    bounded(|| {
        let (sender, looked) = mpsc::channel();
        let look = Look(sender);
        let task = runtime(2).spawn(REQUEST.scope(
            1,
            DEPTH.scope(Cell::new(2), async move {
                let _look = look;
                pending::<()>().await;
            }),
        ));
        task.cancel();
        assert_eq!(looked.recv().unwrap(), (Some(1), Some(2)));
    });
}

#[test]
fn a_panic_leaves_nothing_set() {
    let result = catch_unwind(AssertUnwindSafe(|| {
        REQUEST.sync_scope(1, || {
            DEPTH.sync_scope(Cell::new(1), || resume_unwind(Box::new(())))
        })
    }));
    assert!(result.is_err());
    assert_eq!((REQUEST.get(), depth()), (None, None));
}

#[test]
fn a_value_is_shared_and_dropped_by_the_last_one_that_inherits_it() {
    context_var! {
        static SHARED: Arc<()>;
    }

    bounded(|| {
        let value = Arc::new(());
        let runtime = runtime(2);
        let task = SHARED.sync_scope(Arc::clone(&value), || runtime.spawn(pending::<()>()));
        assert_eq!(Arc::strong_count(&value), 2);
        task.cancel();
        assert!(task.wait_blocking().is_err());
        runtime.shutdown(Duration::from_secs(10));
        assert_eq!(Arc::strong_count(&value), 1);
    });
}

#[test]
fn a_context_is_taken_to_a_thread_of_ones_own() {
    let context = REQUEST.sync_scope(1, || USER.sync_scope("eve", Variables::current));
    let thread = std::thread::spawn(move || {
        let first = context.sync_scope(|| (REQUEST.get(), USER.get()));
        let mut second = pin!(context.scope(async { REQUEST.get() }));
        let mut cx = Context::from_waker(Waker::noop());
        (first, second.as_mut().poll(&mut cx))
    });
    let seen = thread.join().unwrap();
    assert_eq!(seen, ((Some(1), Some("eve")), Poll::Ready(Some(1))));
}

#[test]
fn futures_side_by_side_in_one_task_have_values_of_their_own() {
    bounded(|| {
        runtime(2).block_on(async {
            let mut left = pin!(REQUEST.scope(1, async {
                yield_now().await;
                REQUEST.get()
            }));
            let mut right = pin!(REQUEST.scope(2, async { REQUEST.get() }));
            let both = poll_fn(|cx| {
                let first = left.as_mut().poll(cx);
                assert_eq!(REQUEST.get(), None);
                assert!(first.is_pending());
                right.as_mut().poll(cx)
            });
            assert_eq!(both.await, Some(2));
            assert_eq!(left.await, Some(1));
        });
    });
}

#[test]
fn a_variable_has_a_name() {
    assert_eq!(REQUEST.name(), "REQUEST");
    assert_eq!(format!("{DEPTH:?}"), "TaskLocal(\"DEPTH\")");
    assert!(Handle::try_current().is_none());
}

#[test]
fn a_callback_sees_nothing_of_the_thread_that_it_happens_to_run_on() {
    bounded(|| {
        let runtime = runtime(1);
        let (seen, sees) = mpsc::channel();
        let root = REQUEST.sync_scope(7, || {
            runtime.block_on(async {
                let root = heist::task::current();
                let added = root.clone();
                let adder = std::thread::spawn(move || {
                    added.add_done_callback(move |_| seen.send(REQUEST.get()).unwrap());
                });
                adder.join().unwrap();
                root
            })
        });
        assert_eq!(sees.recv().unwrap(), None);
        drop(root);
    });
}

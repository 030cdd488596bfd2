//! Promises and what waits for them.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

mod support;

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use heist::{TaskState, promise};
use support::{bounded, runtime};

thread_local! {
    /// Set while this thread is inside of the call that must not run callbacks.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

fn inside<R>(f: impl FnOnce() -> R) -> R {
    INSIDE.set(true);
    let result = f();
    INSIDE.set(false);
    result
}

#[test]
fn callbacks_run_in_order_once_and_never_inline() {
    bounded(|| {
        let runtime = runtime(1);
        let task = runtime.spawn(async {
            let log = Arc::new(Mutex::new(Vec::new()));
            let entry = |name: &'static str| {
                let log = Arc::clone(&log);
                move |finished: &heist::task::Finished<'_, u32>| {
                    assert!(!INSIDE.get(), "{name} ran inline");
                    log.lock()
                        .unwrap()
                        .push((name, finished.result().copied().ok()));
                }
            };
            let (promise, deferred) = promise();
            deferred.add_done_callback(entry("a"));
            deferred.add_done_callback(entry("b"));
            inside(|| promise.set_result(1)).unwrap();
            inside(|| deferred.add_done_callback(entry("c")));
            assert_eq!(deferred.await.unwrap(), 1);
            let log = log.lock().unwrap();
            assert_eq!(*log, [("a", Some(1)), ("b", Some(1)), ("c", Some(1))]);
        });
        runtime.block_on(task).unwrap();
    });
}

#[test]
fn a_removed_callback_does_not_run() {
    bounded(|| {
        let runtime = runtime(1);
        let ran = Arc::new(AtomicUsize::new(0));
        runtime.block_on(async {
            let (promise, deferred) = promise();
            let (first, second) = (Arc::clone(&ran), Arc::clone(&ran));
            let id = deferred.add_done_callback(move |_| {
                let _ = first.fetch_add(1, Ordering::SeqCst);
            });
            deferred.add_done_callback(move |_| {
                let _ = second.fetch_add(10, Ordering::SeqCst);
            });
            assert!(deferred.remove_done_callback(id));
            assert!(!deferred.remove_done_callback(id));
            promise.set_result(()).unwrap();
            deferred.await.unwrap();
        });
        assert_eq!(ran.load(Ordering::SeqCst), 10);
    });
}

#[test]
fn a_dropped_promise_cancels_the_waiting_side() {
    bounded(|| {
        let runtime = runtime(1);
        let (promise, mut deferred) = promise::<()>();
        drop(promise);
        assert!(runtime.block_on(&mut deferred).unwrap_err().is_cancelled());
        assert_eq!(deferred.state(), TaskState::Cancelled);
    });
}

#[test]
fn a_pending_deferred_has_no_result_and_a_finished_one_cannot_be_cancelled() {
    bounded(|| {
        let (promise, deferred) = promise();
        assert!(deferred.result().is_none());
        assert_eq!(deferred.state(), TaskState::Pending);
        promise.set_result(4).unwrap();
        assert!(!deferred.cancel());
        assert_eq!(deferred.state(), TaskState::Finished);
        assert_eq!(deferred.result().unwrap().unwrap(), &4);
    });
}

#[test]
fn a_promise_whose_waiting_side_was_cancelled_gives_the_value_back() {
    let (promise, deferred) = promise();
    assert!(deferred.cancel());
    assert!(promise.is_cancelled());
    assert_eq!(promise.set_result(4), Err(4));
}

#[test]
fn a_promise_can_wait_for_its_cancellation() {
    bounded(|| {
        let runtime = runtime(2);
        let (mut promise, deferred) = promise::<u8>();
        let task = runtime.spawn(async move {
            promise.cancelled().await;
            promise.set_result(1)
        });
        deferred.cancel();
        assert_eq!(runtime.block_on(task).unwrap(), Err(1));
    });
}

#[test]
fn every_awaiter_of_a_shared_deferred_gets_the_value() {
    bounded(|| {
        let runtime = runtime(4);
        let runtime_handle = runtime.handle().clone();
        runtime.block_on(async move {
            for round in 0..1000_usize {
                let (promise, deferred) = promise();
                let shared = deferred.share();
                let awaiters: Vec<_> = (0..8)
                    .map(|_| runtime_handle.spawn(shared.clone()))
                    .collect();
                promise.set_result(round).unwrap();
                for awaiter in awaiters {
                    assert_eq!(awaiter.await.unwrap().unwrap(), round);
                }
            }
        });
    });
}

#[test]
fn a_promise_is_kept_from_any_thread() {
    bounded(|| {
        let runtime = runtime(1);
        let (promise, deferred) = promise();
        let thread = std::thread::spawn(move || promise.set_result(8));
        assert_eq!(runtime.block_on(deferred).unwrap(), 8);
        thread.join().unwrap().unwrap();
    });
}

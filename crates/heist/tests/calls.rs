//! Callbacks of the loop: in order, one at a time, at their times.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

mod support;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use heist::task::yield_now;
use heist::time::sleep;
use heist::{LocalRuntime, promise};
use support::{bounded, runtime};

#[test]
fn calls_start_in_order_and_one_at_a_time() {
    bounded(|| {
        let runtime = runtime(4);
        let log = Arc::new(Mutex::new(Vec::new()));
        let busy = Arc::new(AtomicBool::new(false));
        for i in 0..1000 {
            let (log, busy) = (Arc::clone(&log), Arc::clone(&busy));
            runtime.handle().call_soon(move || {
                assert!(!busy.swap(true, Ordering::SeqCst), "two at a time");
                log.lock().unwrap().push(i);
                busy.store(false, Ordering::SeqCst);
            });
        }
        let (told, heard) = promise();
        runtime.handle().call_soon(move || {
            let _ = told.set_result(());
        });
        runtime.block_on(heard).unwrap();
        assert_eq!(*log.lock().unwrap(), (0..1000).collect::<Vec<_>>());
    });
}

#[test]
fn calls_keep_their_order_while_the_queue_runs_empty_again_and_again() {
    const CALLS: usize = 20_000;
    bounded(|| {
        let runtime = runtime(4);
        let (next, busy) = (
            Arc::new(AtomicUsize::new(0)),
            Arc::new(AtomicBool::new(false)),
        );
        for number in 0..CALLS {
            let (next, busy) = (Arc::clone(&next), Arc::clone(&busy));
            runtime.handle().call_soon(move || {
                assert!(!busy.swap(true, Ordering::SeqCst), "two at a time");
                assert_eq!(next.swap(number + 1, Ordering::SeqCst), number);
                busy.store(false, Ordering::SeqCst);
            });
            if number % 3 == 0 {
                thread::yield_now();
            }
        }
        while next.load(Ordering::SeqCst) < CALLS {
            thread::yield_now();
        }
    });
}

#[test]
fn calls_go_on_after_all_tasks_were_cancelled() {
    bounded(|| {
        let runtime = LocalRuntime::new().unwrap();
        // The task that runs them is among all tasks, whatever it has run by then.
        for calls in 1..100 {
            for _ in 1..calls {
                runtime.handle().call_soon(|| ());
            }
            let handle = runtime.handle().clone();
            let cancel_all = move || {
                for task in handle.all_tasks() {
                    if task.name() == "call_soon" {
                        task.cancel();
                    }
                }
            };
            runtime.handle().call_soon(cancel_all);
            runtime.block_on(async {
                for _ in 0..2 * calls {
                    yield_now().await;
                }
            });
            let (told, heard) = promise();
            runtime.handle().call_soon(move || {
                let _ = told.set_result(());
            });
            runtime.block_on(heard).unwrap();
        }
    });
}

#[test]
fn timed_calls_run_in_the_order_of_their_times() {
    bounded(|| {
        let runtime = runtime(1);
        let handle = runtime.handle();
        let log = Arc::new(Mutex::new(Vec::new()));
        let note = |name: &'static str| {
            let log = Arc::clone(&log);
            move || log.lock().unwrap().push(name)
        };
        let (told, heard) = promise();
        let start = Instant::now();
        handle.call_at(start + Duration::from_millis(40), note("at 40"));
        handle.call_later(Duration::from_millis(20), note("later 20"));
        handle.call_soon(note("soon"));
        let never = handle.call_later(Duration::from_millis(30), note("cancelled"));
        assert!(never.cancel());
        handle.call_at(start + Duration::from_millis(60), move || {
            let _ = told.set_result(());
        });
        runtime.block_on(heard).unwrap();
        assert_eq!(*log.lock().unwrap(), ["soon", "later 20", "at 40"]);
        assert!(start.elapsed() >= Duration::from_millis(60));
    });
}

#[test]
fn run_forever_ends_with_stop() {
    bounded(|| {
        let runtime = runtime(1);
        let handle = runtime.handle().clone();
        runtime
            .handle()
            .call_later(Duration::from_millis(5), move || handle.stop());
        runtime.run_forever();

        let local = LocalRuntime::new().unwrap();
        let handle = local.handle().clone();
        let ran = std::rc::Rc::new(std::cell::Cell::new(false));
        let flag = std::rc::Rc::clone(&ran);
        local.spawn_local(async move {
            sleep(Duration::from_millis(5)).await;
            flag.set(true);
            handle.stop();
        });
        local.run_forever();
        assert!(ran.get());
    });
}

#[test]
fn calls_at_equal_times_start_in_order_even_if_the_time_comes_in_between() {
    bounded(|| {
        let runtime = runtime(2);
        for round in 0..3000 {
            let log = Arc::new(Mutex::new(Vec::new()));
            let (told, heard) = promise();
            let mut told = Some(told);
            // From past to shortly ahead, so that it comes before, between and after the calls.
            let when = Instant::now() + Duration::from_nanos(round % 200 * 100);
            for number in 0..4 {
                let log = Arc::clone(&log);
                let told = if number == 3 { told.take() } else { None };
                runtime.handle().call_at(when, move || {
                    log.lock().unwrap().push(number);
                    if let Some(told) = told {
                        let _ = told.set_result(());
                    }
                });
            }
            runtime.block_on(heard).unwrap();
            assert_eq!(*log.lock().unwrap(), [0, 1, 2, 3]);
        }
    });
}

//! Done-callbacks and promises.

mod support;

use heist_core::context::{self, RuntimeContext};
use heist_core::future::promise;
use heist_core::schedule::Schedule;
use heist_core::task::{LocalTask, Meta, TaskError, TaskState};
use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use support::*;

type Log = Arc<Mutex<Vec<String>>>;

fn note(log: &Log, text: impl Into<String>) {
    log.lock().expect("never poisoned").push(text.into());
}

fn taken(log: &Log) -> Vec<String> {
    std::mem::take(&mut log.lock().expect("never poisoned"))
}

#[test]
fn callbacks_run_once_in_order_before_the_awaiter_continues() {
    let runtime = Runtime::new();
    let log = Log::default();
    let task = runtime.spawn(async { "Done after 2s" });
    for extra in [1, 2] {
        let log = Arc::clone(&log);
        task.add_done_callback(move |task| {
            note(&log, format!("{extra} {}", task.result().unwrap()))
        });
    }
    let at_await = Arc::clone(&log);
    runtime
        .block_on(async {
            task.await.unwrap();
            note(&at_await, "awaited");
        })
        .unwrap();
    assert_eq!(
        taken(&log),
        ["1 Done after 2s", "2 Done after 2s", "awaited"]
    );
}

#[test]
fn callbacks_of_a_deferred_never_run_inline() {
    let runtime = Runtime::new();
    let log = Log::default();
    let _entered = context::enter(runtime.0.context());
    let (promise, mut deferred) = promise();
    for name in ["a", "b"] {
        let log = Arc::clone(&log);
        deferred
            .add_done_callback(move |done| note(&log, format!("{name}{}", done.result().unwrap())));
    }
    promise.set_result(1).unwrap();
    assert!(taken(&log).is_empty(), "not inside of set_result");
    runtime.run();
    assert_eq!(taken(&log), ["a1", "b1"]);
    let late = Arc::clone(&log);
    deferred.add_done_callback(move |done| note(&late, format!("c{}", done.result().unwrap())));
    assert!(taken(&log).is_empty(), "not inside of add_done_callback");
    assert!(
        poll_once(&mut deferred).is_pending(),
        "a late callback holds the output back"
    );
    assert_eq!(deferred.result().unwrap().unwrap(), &1);
    runtime.run();
    assert_eq!(taken(&log), ["c1"]);
    assert!(matches!(poll_once(&mut deferred), Poll::Ready(Ok(1))));
}

#[test]
fn a_removed_callback_does_not_run() {
    let runtime = Runtime::new();
    let log = Log::default();
    let task = runtime.spawn(async {});
    let add = |name: &'static str| {
        let log = Arc::clone(&log);
        task.add_done_callback(move |_| note(&log, name))
    };
    let first = add("first");
    add("second");
    assert!(task.remove_done_callback(first));
    assert!(!task.remove_done_callback(first));
    runtime.run();
    assert_eq!(taken(&log), ["second"]);
}

#[test]
fn a_panicking_callback_stops_nothing_and_is_reported() {
    let runtime = Runtime::new();
    let log = Log::default();
    let task = runtime.spawn(async {});
    task.add_done_callback(|_| panic!("in callback"));
    let second = Arc::clone(&log);
    task.add_done_callback(move |_| note(&second, "second"));
    runtime.run();
    assert_eq!(taken(&log), ["second"]);
    assert!(
        runtime.reports()[0].contains("in callback"),
        "{:?}",
        runtime.reports()
    );
}

#[test]
fn a_callback_may_add_cancel_spawn_and_drop_the_last_handle() {
    let runtime = Arc::new(Runtime::new());
    let log = Log::default();
    let held = Arc::new(Mutex::new(None));
    let task = runtime.spawn(async { 5 });
    let (inner_log, inner_held) = (Arc::clone(&log), Arc::clone(&held));
    task.add_done_callback(move |done| {
        let again = Arc::clone(&inner_log);
        done.task_ref()
            .add_done_callback(move |task| note(&again, format!("added {}", task.state())));
        assert!(!done.task_ref().cancel());
        drop(inner_held.lock().unwrap().take());
        note(&inner_log, format!("outer {}", done.result().unwrap()));
    });
    *held.lock().unwrap() = Some(task);
    runtime.run();
    assert_eq!(taken(&log), ["outer 5", "added finished"]);
}

#[test]
fn callbacks_of_a_cancelled_task_see_the_error() {
    let runtime = Runtime::new();
    let log = Log::default();
    let task = runtime.spawn(std::future::pending::<()>());
    let seen = Arc::clone(&log);
    task.add_done_callback(move |done| note(&seen, done.result().unwrap_err().reason().unwrap()));
    task.cancel_with("enough");
    runtime.run();
    assert_eq!(taken(&log), ["enough"]);
}

#[test]
fn without_a_runtime_callbacks_run_where_they_are_added_or_completed() {
    let log = Log::default();
    let (promise, deferred) = promise();
    let early = Arc::clone(&log);
    deferred.add_done_callback(move |_| note(&early, "early"));
    promise.set_result(3).unwrap();
    assert_eq!(taken(&log), ["early"]);
    let late = Arc::clone(&log);
    deferred.add_done_callback(move |_| note(&late, "late"));
    assert_eq!(taken(&log), ["late"]);
    // The same for a task whose runtime has gone.
    let runtime = Runtime::new();
    let task = runtime.spawn(async { 4 });
    runtime.run();
    drop(runtime);
    let after = Arc::clone(&log);
    task.add_done_callback(move |done| note(&after, done.result().unwrap().to_string()));
    assert_eq!(taken(&log), ["4"]);
}

#[test]
fn a_callback_after_the_output_was_taken_is_told_so() {
    let runtime = Runtime::new();
    let log = Log::default();
    let mut task = runtime.spawn(async { 1 });
    runtime.block_on(&mut task).unwrap().unwrap();
    let seen = Arc::clone(&log);
    task.add_done_callback(move |done| note(&seen, done.result().unwrap_err().to_string()));
    runtime.run();
    assert!(taken(&log)[0].contains("already been taken"));
}

#[test]
fn late_callbacks_that_are_thrown_away_by_a_closing_runtime_still_run() {
    let runtime = Runtime::new();
    let log = Log::default();
    let task = runtime.spawn(async {});
    runtime.run();
    let seen = Arc::clone(&log);
    task.add_done_callback(move |_| note(&seen, "ran"));
    runtime.close();
    assert_eq!(taken(&log), ["ran"]);
}

#[test]
fn a_dropped_promise_cancels_and_a_value_that_nobody_waits_for_comes_back() {
    let (promise_a, mut deferred) = promise::<u8>();
    drop(promise_a);
    assert_eq!(deferred.state(), TaskState::Cancelled);
    let Poll::Ready(Err(error)) = poll_once(&mut deferred) else {
        panic!("over")
    };
    assert!(error.is_cancelled());

    let (promise_b, deferred) = promise();
    assert!(!promise_b.is_cancelled());
    assert!(deferred.cancel());
    assert!(!deferred.cancel());
    assert!(promise_b.is_cancelled());
    assert_eq!(promise_b.set_result(1), Err(1));

    let (promise_c, deferred) = promise();
    drop(deferred);
    assert!(promise_c.is_cancelled());
    assert_eq!(promise_c.set_result(2), Err(2));

    let (promise_d, deferred) = promise();
    promise_d.set_result(3).unwrap();
    assert!(!deferred.cancel(), "a finished one stays finished");
    assert_eq!(deferred.state(), TaskState::Finished);
}

#[test]
fn a_promise_can_wait_for_cancellation() {
    for how in ["cancel", "drop"] {
        let runtime = Runtime::new();
        let (mut promise, deferred) = promise::<()>();
        let task = runtime.spawn(async move { promise.cancelled().await });
        runtime.run();
        assert!(!task.is_finished());
        match how {
            "cancel" => assert!(deferred.cancel()),
            _ => drop(deferred),
        }
        runtime.run();
        assert!(task.is_finished(), "{how}");
    }
}

#[test]
fn a_value_that_is_not_static_can_be_passed() {
    let text = String::from("here");
    let (promise, mut deferred) = promise::<&str>();
    promise.set_result(&text).unwrap();
    assert!(matches!(poll_once(&mut deferred), Poll::Ready(Ok("here"))));
}

#[test]
fn adding_races_with_the_end_and_no_callback_is_lost_or_doubled() {
    let rounds = if cfg!(miri) { 10 } else { 2000 };
    let ran = Arc::new(AtomicUsize::new(0));
    let runtime = Runtime::new();
    for _ in 0..rounds {
        let task = runtime.spawn(async {});
        let (a, b) = (Arc::clone(&ran), Arc::clone(&ran));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                task.add_done_callback(move |_| {
                    a.fetch_add(1, Ordering::SeqCst);
                });
                task.task_ref().add_done_callback(move |_| {
                    b.fetch_add(1, Ordering::SeqCst);
                });
            });
            runtime.run();
        });
        runtime.run();
        drop(task);
    }
    assert_eq!(ran.load(Ordering::SeqCst), 2 * rounds);
}

#[test]
fn a_late_callback_races_with_the_await_and_the_last_handle() {
    let rounds = if cfg!(miri) { 10 } else { 2000 };
    let runtime = Runtime::new();
    let ran = Arc::new(AtomicUsize::new(0));
    for round in 0..rounds {
        let (dropped, drops) = Dropped::new();
        let mut task = runtime.spawn(async move { dropped });
        runtime.run();
        let other = task.task_ref();
        let count = Arc::clone(&ran);
        std::thread::scope(|scope| {
            scope.spawn(move || {
                other.add_done_callback(move |_| {
                    count.fetch_add(1, Ordering::SeqCst);
                });
            });
            if round % 2 == 0 {
                drop(poll_once(&mut task));
            }
            drop(task);
            runtime.run();
        });
        runtime.run();
        assert_eq!(drops.load(Ordering::SeqCst), 1);
    }
    assert_eq!(ran.load(Ordering::SeqCst), rounds);
}

#[test]
fn callbacks_of_a_local_task_that_was_refused_stay_on_its_thread() {
    let runtime = Runtime::new();
    let context: Arc<dyn RuntimeContext> = runtime.0.clone();
    let _entered = context::enter(context);
    let task = LocalTask::<()>::gone(Meta::caller());
    let ran = Rc::new(Cell::new(0));
    let (own, theirs) = (ran.clone(), ran.clone());
    task.add_done_callback(move |finished| {
        assert!(finished.result().is_err_and(TaskError::is_runtime_gone));
        own.set(own.get() + 1);
    });
    assert_eq!(ran.get(), 1, "it went to a runtime that is not the task's");
    let early = task.task_ref();
    assert!(!std::thread::spawn(move || early.cancel()).join().unwrap());
    task.add_done_callback(move |_| theirs.set(theirs.get() + 1));
    assert_eq!(ran.get(), 2);
}

#[test]
fn a_view_of_a_promise_cancels_it() {
    let (promise, deferred) = promise::<u8>();
    let mut shared = deferred.share();
    let view = shared.task_ref();
    assert!(view.cancel_with("enough"));
    assert!(!view.cancel() && !view.abort());
    assert!(promise.is_cancelled());
    assert_eq!(promise.set_result(1), Err(1));
    let Poll::Ready(Err(error)) = poll_once(&mut shared) else {
        panic!("still pending")
    };
    assert!(error.is_cancelled());
    assert_eq!(error.reason(), Some("enough"));
}

/// Polls a future as soon as it is woken, on the thread that wakes.
struct Inline(Mutex<Option<Pin<Box<dyn Future<Output = ()> + Send>>>>);

impl Wake for Inline {
    fn wake(self: Arc<Self>) {
        let Some(mut body) = self.0.lock().expect("never poisoned").take() else {
            return;
        };
        let waker = Waker::from(Arc::clone(&self));
        let polled = body.as_mut().poll(&mut Context::from_waker(&waker));
        if polled.is_pending() {
            *self.0.lock().expect("never poisoned") = Some(body);
        }
    }
}

#[test]
fn who_is_woken_when_the_other_side_goes_finds_it_gone() {
    let (mut promise, deferred) = promise::<u8>();
    let waiting = async move { promise.cancelled().await };
    let inline = Arc::new(Inline(Mutex::new(Some(Box::pin(waiting)))));
    Arc::clone(&inline).wake();
    assert!(inline.0.lock().unwrap().is_some());
    drop(deferred);
    assert!(inline.0.lock().unwrap().is_none());
}

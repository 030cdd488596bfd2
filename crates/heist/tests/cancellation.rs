//! Cancellation: requests, catchers, counts.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

mod support;

use std::future::{Future, pending};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::stream::{FuturesUnordered, StreamExt};
use heist::task::{catch_cancel, current, yield_now};
use heist::time::sleep;
use heist::{TaskState, promise};
use support::{Drops, bounded, lone_worker, runtime};

const LONG: Duration = Duration::from_secs(3600);

#[test]
fn a_task_cancelled_before_its_first_poll_never_starts() {
    bounded(|| {
        let runtime = lone_worker();
        let began = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&began);
        let outer = runtime.spawn(async move {
            // The only worker is here: nobody can have polled it yet.
            let task = heist::spawn(async move { flag.store(true, Ordering::SeqCst) });
            assert!(task.cancel_with("m"));
            task.await.unwrap_err()
        });
        let error = runtime.block_on(outer).unwrap();
        assert!(error.is_cancelled());
        assert_eq!(error.reason(), Some("m"));
        assert!(!began.load(Ordering::SeqCst));
    });
}

#[test]
fn the_locals_of_a_cancelled_task_are_gone_when_the_await_returns() {
    bounded(|| {
        let runtime = runtime(2);
        let drops = Drops::default();
        let held = drops.guard();
        let (told, asleep) = promise();
        let task = runtime.spawn(async move {
            let _held = held;
            let _ = told.set_result(());
            sleep(LONG).await;
        });
        runtime.block_on(async {
            asleep.await.unwrap();
            assert!(task.cancel());
            assert!(task.await.unwrap_err().is_cancelled());
            assert_eq!(drops.count(), 1);
        });
    });
}

#[test]
fn a_caught_request_may_be_swallowed() {
    bounded(|| {
        let runtime = runtime(2);
        let (told, asleep) = promise();
        let mut task = runtime.spawn(async move {
            let caught = catch_cancel(async {
                let _ = told.set_result(());
                sleep(LONG).await;
            });
            let cancelled = caught.await.unwrap_err();
            assert_eq!(cancelled.reason(), Some("enough"));
            assert_eq!(current().cancelling(), 1);
            42
        });
        runtime.block_on(async {
            asleep.await.unwrap();
            assert!(task.cancel_with("enough"));
            assert_eq!((&mut task).await.unwrap(), 42);
        });
        assert!(!task.is_cancelled());
        assert_eq!(task.state(), TaskState::Finished);
    });
}

#[test]
fn a_caught_request_may_be_passed_on_after_clean_up() {
    bounded(|| {
        let runtime = runtime(2);
        let (told, asleep) = promise();
        let cleaned = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&cleaned);
        let task = runtime.spawn(async move {
            let caught = catch_cancel(async {
                let _ = told.set_result(());
                sleep(LONG).await;
            });
            let cancelled = caught.await.unwrap_err();
            sleep(Duration::from_millis(10)).await;
            flag.store(true, Ordering::SeqCst);
            cancelled.resume::<u32>().await
        });
        runtime.block_on(async {
            asleep.await.unwrap();
            task.cancel();
            assert!(task.await.unwrap_err().is_cancelled());
        });
        assert!(cleaned.load(Ordering::SeqCst));
    });
}

#[test]
fn the_innermost_catcher_takes_the_request_and_passes_it_outwards() {
    bounded(|| {
        let runtime = runtime(2);
        let (told, asleep) = promise();
        let task = runtime.spawn(async move {
            let mut path = Vec::new();
            let outer = catch_cancel(async {
                let inner = catch_cancel(async {
                    let _ = told.set_result(());
                    pending::<()>().await;
                });
                let cancelled = inner.await.unwrap_err();
                path.push("inner");
                cancelled.resume::<()>().await;
            });
            assert!(outer.await.is_err());
            path.push("outer");
            path
        });
        runtime.block_on(async {
            asleep.await.unwrap();
            task.cancel();
            assert_eq!(task.await.unwrap(), ["inner", "outer"]);
        });
    });
}

#[test]
fn an_abort_cannot_be_caught() {
    bounded(|| {
        let runtime = runtime(2);
        let (told, asleep) = promise();
        let task = runtime.spawn(async move {
            let _ = catch_cancel(async {
                let _ = told.set_result(());
                pending::<()>().await;
            })
            .await;
            unreachable!("an abort was caught");
        });
        runtime.block_on(async {
            asleep.await.unwrap();
            assert!(task.abort());
            let error = task.await.map(|(): ()| ()).unwrap_err();
            assert!(error.is_cancelled());
        });
    });
}

#[test]
fn cancelling_oneself_takes_effect_at_the_next_await() {
    bounded(|| {
        let runtime = runtime(1);
        let went_on = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&went_on);
        let mut task = runtime.spawn(async move {
            assert!(current().cancel());
            flag.store(true, Ordering::SeqCst);
            yield_now().await;
            unreachable!("the await went on");
        });
        let error = runtime.block_on(&mut task).map(|(): ()| ()).unwrap_err();
        assert!(error.is_cancelled());
        assert!(went_on.load(Ordering::SeqCst));
    });
}

#[test]
fn cancelling_what_is_over_changes_nothing() {
    bounded(|| {
        let runtime = runtime(1);
        let mut task = runtime.spawn(async { 3 });
        let task_ref = task.task_ref();
        assert_eq!(runtime.block_on(&mut task).unwrap(), 3);
        assert!(!task.cancel());
        assert!(!task_ref.cancel_with("late"));
        assert!(!task.abort());
        assert_eq!(task.state(), TaskState::Finished);
    });
}

#[test]
fn a_cancelled_task_leaves_alive_what_it_awaits() {
    bounded(|| {
        let runtime = runtime(2);
        let (open, gate) = promise();
        let (told, waiting) = promise();
        let awaited = runtime.spawn(async move { gate.await.map(|()| 7) });
        let watch = awaited.task_ref();
        let (over, heard) = promise();
        awaited.add_done_callback(move |finished| {
            let _ = over.set_result(finished.result().is_ok());
        });
        let task = runtime.spawn(announced(told, awaited));
        runtime.block_on(async {
            waiting.await.unwrap();
            task.cancel();
            assert!(task.await.is_err());
            assert_eq!(watch.state(), TaskState::Pending);
            open.set_result(()).unwrap();
            assert!(heard.await.unwrap());
        });
    });
}

#[test]
fn cancel_on_drop_links_the_awaited_task() {
    bounded(|| {
        let runtime = runtime(2);
        let (told, waiting) = promise();
        let awaited = runtime.spawn(pending::<()>());
        let (over, heard) = promise();
        awaited.add_done_callback(move |finished| {
            let _ = over.set_result(finished.result().is_err_and(|error| error.is_cancelled()));
        });
        let task = runtime.spawn(announced(told, awaited.cancel_on_drop()));
        runtime.block_on(async {
            waiting.await.unwrap();
            task.cancel();
            assert!(task.await.is_err());
            assert!(heard.await.unwrap());
        });
    });
}

#[test]
fn uncancel_before_delivery_voids_the_request() {
    bounded(|| {
        let runtime = lone_worker();
        let task = runtime.spawn(async {
            let this = current();
            assert!(this.cancel());
            assert!(this.cancel());
            assert_eq!(this.cancelling(), 2);
            assert_eq!(this.uncancel(), 1);
            assert_eq!(this.uncancel(), 0);
            assert_eq!(this.uncancel(), 0);
            yield_now().await;
            "went on"
        });
        assert_eq!(runtime.block_on(task).unwrap(), "went on");
    });
}

/// Awaits `inner`, and tells when it has been polled and was not ready.
/// Waits until it is cancelled, and then takes its time.
async fn cleans_up(asleep: heist::Promise<()>) -> &'static str {
    let caught = catch_cancel(async {
        asleep.set_result(()).unwrap();
        pending::<()>().await;
    });
    caught.await.unwrap_err();
    sleep(Duration::from_millis(1)).await;
    "cleaned up"
}

/// Cancels a task that waits in the way that `wait` says, and gives what it gave.
fn cancelled_in<F, T>(wait: impl FnOnce(heist::Promise<()>) -> F) -> T
where
    F: Future<Output = T> + Send + 'static,
    T: Send + 'static,
{
    let runtime = runtime(2);
    let (told, asleep) = promise();
    let task = runtime.spawn(wait(told));
    runtime.block_on(async {
        asleep.await.unwrap();
        assert!(task.cancel());
        task.await.unwrap()
    })
}

#[test]
fn a_catcher_in_a_join_takes_the_request_while_the_others_go_on() {
    bounded(|| {
        let joined = cancelled_in(|told| async {
            let other = async {
                sleep(Duration::from_millis(5)).await;
                "went on"
            };
            futures_util::join!(other, cleans_up(told))
        });
        assert_eq!(joined, ("went on", "cleaned up"));
        // Each child has a waker of its own there, so that a wake of the task alone would not reach it.
        let joined = cancelled_in(|told| async {
            let ready = std::future::ready("went on");
            let all: Vec<futures_util::future::BoxFuture<'static, &'static str>> =
                vec![Box::pin(ready), Box::pin(cleans_up(told))];
            futures_util::future::join_all(all).await
        });
        assert_eq!(joined, ["went on", "cleaned up"]);
    });
}

#[test]
fn a_catcher_in_a_select_takes_the_request() {
    bounded(|| {
        let selected = cancelled_in(|told| async {
            let mut catches = std::pin::pin!(cleans_up(told).fuse());
            let mut never = std::pin::pin!(pending::<()>().fuse());
            futures_util::select! {
                outcome = catches => outcome,
                () = never => unreachable!("it never ends"),
            }
        });
        assert_eq!(selected, "cleaned up");
    });
}

#[test]
fn a_catcher_among_unordered_futures_takes_the_request() {
    bounded(|| {
        let outcomes = cancelled_in(|told| async {
            let (told_too, asleep) = promise();
            let mut all = FuturesUnordered::new();
            // Polled last, it is the one that takes.
            let last = async {
                asleep.await.unwrap();
                cleans_up(told).await
            };
            let (open, gate) = promise::<()>();
            let first = async {
                cleans_up(told_too).await;
                unreachable!("it was not polled last");
            };
            let other = async {
                gate.await.unwrap();
                "went on"
            };
            all.push(last.left_future());
            all.push(first.left_future().right_future());
            all.push(other.right_future().right_future());
            let taken = all.next().await;
            open.set_result(()).unwrap();
            (taken, all.next().await)
        });
        assert_eq!(outcomes, (Some("cleaned up"), Some("went on")));
    });
}

#[test]
fn a_blocking_closure_that_runs_cannot_be_cancelled_and_one_that_waits_can() {
    bounded(|| {
        let builder = heist::Runtime::builder().worker_threads(1);
        let runtime = builder.max_blocking_threads(1).build().unwrap();
        let (begun, begins) = std::sync::mpsc::channel();
        let (release, released) = std::sync::mpsc::channel::<()>();
        let runs = runtime.spawn_blocking(move || {
            begun.send(()).unwrap();
            released.recv().unwrap_err();
            7
        });
        begins.recv().unwrap();
        let drops = Drops::default();
        let held = drops.guard();
        let waits = runtime.spawn_blocking(move || {
            held.count_at_the_end();
            unreachable!("it was cancelled");
        });
        for _ in 0..2 {
            assert!(!runs.cancel() && !runs.cancel_with("enough") && !runs.abort());
            assert!(!runs.task_ref().cancel());
            assert_eq!(runs.state(), TaskState::Pending);
        }
        assert!(waits.cancel());
        drop(release);
        assert_eq!(runtime.block_on(runs).unwrap(), 7);
        let error = runtime.block_on(waits).map(|(): ()| ()).unwrap_err();
        assert!(error.is_cancelled());
        assert_eq!(drops.count(), 1);
    });
}

async fn announced<F: Future>(told: heist::Promise<()>, inner: F) -> F::Output {
    let mut told = Some(told);
    let mut inner = std::pin::pin!(inner);
    std::future::poll_fn(move |cx| {
        let polled = inner.as_mut().poll(cx);
        if let (Poll::Pending, Some(told)) = (&polled, told.take()) {
            let _ = told.set_result(());
        }
        polled
    })
    .await
}

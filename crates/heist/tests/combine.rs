//! Waiting for several tasks, and tokens.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

mod support;

use std::cell::Cell;
use std::future::{pending, ready};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::{FutureExt, Stream, StreamExt};
use heist::sync::Event;
use heist::task::{
    CancellationToken, ReturnWhen, as_completed, catch_cancel, gather, race, race_staggered,
    shield, try_gather, wait, wait_for, yield_now,
};
use heist::{Task, TaskError, TaskState, promise};
use support::{bounded, lone_worker, runtime};

const LONG: Duration = Duration::from_secs(3600);

fn failing() -> Task<i32> {
    let task = heist::spawn(pending());
    task.cancel_with("planned");
    task
}

/// Three tasks, each of which gives its number when its gate is opened.
fn gated() -> (Vec<Arc<Event>>, Vec<Task<usize>>) {
    let gates: Vec<_> = (0..3).map(|_| Arc::new(Event::new())).collect();
    let spawn = |(number, gate): (usize, &Arc<Event>)| {
        let gate = Arc::clone(gate);
        heist::spawn(async move {
            gate.wait().await;
            number
        })
    };
    let tasks = gates.iter().enumerate().map(spawn).collect();
    (gates, tasks)
}

#[test]
fn gather_keeps_the_order_and_gives_errors_and_results_alike() {
    bounded(|| {
        runtime(2).block_on(async {
            let tasks = [
                heist::spawn(async { 1 }),
                failing(),
                heist::spawn(async { 3 }),
            ];
            let results = gather(tasks).await;
            assert_eq!(results[0].as_ref().unwrap(), &1);
            assert_eq!(results[1].as_ref().unwrap_err().reason(), Some("planned"));
            assert_eq!(results[2].as_ref().unwrap(), &3);
        });
        assert_eq!(gather::<()>([]).now_or_never().unwrap().len(), 0);
        assert_eq!(try_gather::<()>([]).now_or_never().unwrap().unwrap(), []);
    });
}

#[test]
fn the_first_error_of_a_gather_comes_at_once_and_the_others_go_on() {
    bounded(|| {
        runtime(2).block_on(async {
            let (go, wait) = promise();
            let slow = heist::spawn(async move { wait.await.unwrap() });
            let kept = slow.task_ref();
            let error = try_gather([slow, failing()]).await.unwrap_err();
            assert_eq!(error.reason(), Some("planned"));
            assert_eq!((kept.state(), kept.cancelling()), (TaskState::Pending, 0));
            let (told, over) = promise();
            kept.add_done_callback(move |task| {
                let _ = told.set_result(task.state());
            });
            go.set_result(1).unwrap();
            assert_eq!(over.await.unwrap(), TaskState::Finished);
        });
    });
}

#[test]
fn who_is_cancelled_while_it_gathers_cancels_all() {
    bounded(|| {
        let runtime = runtime(2);
        let tasks: Vec<_> = (0..3).map(|_| runtime.spawn(pending::<()>())).collect();
        let refs: Vec<_> = tasks.iter().map(Task::task_ref).collect();
        let (told, began) = promise();
        let gathering = runtime.spawn(async move {
            told.set_result(()).unwrap();
            gather(tasks).await.len()
        });
        runtime.block_on(began).unwrap();
        gathering.cancel();
        assert!(gathering.wait_blocking().unwrap_err().is_cancelled());
        runtime.block_on(async {
            while refs.iter().any(|task| !task.is_finished()) {
                yield_now().await;
            }
        });
        assert!(refs.iter().all(|task| task.state() == TaskState::Cancelled));
    });
}

#[test]
fn what_gathers_cancels_all_also_if_it_is_dropped_before_it_has_begun() {
    bounded(|| {
        let runtime = lone_worker();
        let tasks = [runtime.spawn(pending::<()>()), runtime.spawn(pending())];
        let refs = tasks.each_ref().map(Task::task_ref);
        drop(gather(tasks));
        runtime.block_on(async {
            while refs.iter().any(|task| !task.is_finished()) {
                yield_now().await;
            }
        });
    });
}

#[test]
fn wait_gives_all_handles_back_and_cancels_none() {
    bounded(|| {
        runtime(2).block_on(async {
            let (gates, tasks) = gated();
            gates[1].set();
            let waited = wait(tasks, ReturnWhen::FirstCompleted, None).await;
            assert_eq!((waited.done.len(), waited.pending.len()), (1, 2));
            let all = waited.done.into_iter().chain(waited.pending);
            let waited = wait(all, ReturnWhen::AllCompleted, Some(Duration::ZERO)).await;
            assert_eq!((waited.done.len(), waited.pending.len()), (1, 2));
            gates[0].set();
            gates[2].set();
            let all = waited.done.into_iter().chain(waited.pending);
            let waited = wait(all, ReturnWhen::AllCompleted, None).await;
            assert_eq!((waited.done.len(), waited.pending.len()), (3, 0));
            let mut numbers = Vec::new();
            for task in waited.done {
                numbers.push(task.await.unwrap());
            }
            assert_eq!(numbers, [1, 0, 2]);
            let failed = [heist::spawn(pending()), failing()];
            let waited = wait(failed, ReturnWhen::FirstFailed, None).await;
            assert_eq!((waited.done.len(), waited.pending.len()), (1, 1));
            let nothing = wait::<()>([], ReturnWhen::FirstCompleted, None).await;
            assert!(nothing.done.is_empty() && nothing.pending.is_empty());
        });
    });
}

#[test]
fn tasks_come_in_the_order_in_which_they_end() {
    bounded(|| {
        runtime(2).block_on(async {
            let (gates, tasks) = gated();
            let mut completed = as_completed(tasks);
            assert_eq!(completed.size_hint(), (3, Some(3)));
            for next in [2, 0, 1] {
                gates[next].set();
                let task = completed.next().await.unwrap();
                assert!(task.is_finished());
                assert_eq!(task.await.unwrap(), next);
            }
            assert!(completed.next().await.is_none());
        });
    });
}

#[test]
fn what_is_shielded_goes_on_when_who_awaits_it_is_cancelled() {
    bounded(|| {
        let runtime = runtime(2);
        let (go, gate) = promise::<()>();
        let (told, inner) = promise();
        let outer = runtime.spawn(async move {
            let work = shield(async move {
                gate.await.unwrap();
                9
            });
            told.set_result(work.task_ref()).unwrap();
            work.await
        });
        let inner = runtime.block_on(inner).unwrap();
        outer.cancel();
        assert!(outer.wait_blocking().unwrap_err().is_cancelled());
        assert!(!inner.is_finished());
        let (told, over) = promise();
        inner.add_done_callback(move |task| {
            let _ = told.set_result(task.state());
        });
        go.set_result(()).unwrap();
        assert_eq!(runtime.block_on(over).unwrap(), TaskState::Finished);
    });
}

#[test]
fn who_waits_for_a_time_waits_until_the_task_has_cleaned_up_and_loses_no_result() {
    bounded(|| {
        lone_worker().block_on(async {
            let cleaned = Arc::new(AtomicUsize::new(0));
            let stubborn = |gives: bool| {
                let cleaned = Arc::clone(&cleaned);
                let (told, begun) = promise();
                let task = heist::spawn(async move {
                    let _ = told.set_result(());
                    let cancelled = catch_cancel(pending::<()>()).await.unwrap_err();
                    yield_now().await;
                    cleaned.fetch_add(1, Ordering::SeqCst);
                    if !gives {
                        cancelled.resume::<()>().await;
                    }
                    7
                });
                (task, begun)
            };
            let (task, begun) = stubborn(true);
            begun.await.unwrap();
            let saved = wait_for(task, Duration::ZERO).await;
            assert_eq!(saved.unwrap().unwrap(), 7);
            let (task, begun) = stubborn(false);
            begun.await.unwrap();
            let lost = wait_for(task, Duration::ZERO).await;
            assert!(lost.is_err());
            assert_eq!(cleaned.load(Ordering::SeqCst), 2);
            let done = heist::spawn(async { 1 });
            while !done.is_finished() {
                yield_now().await;
            }
            assert_eq!(wait_for(done, Duration::ZERO).await.unwrap().unwrap(), 1);
        });
    });
}

#[test]
fn the_first_that_is_ready_wins_and_the_others_are_dropped() {
    assert_eq!(race([ready(1), ready(2)]).now_or_never(), Some((0, 1)));
    assert_eq!(race::<std::future::Ready<()>>([]).now_or_never(), None);
}

#[test]
fn of_a_staggered_race_the_next_one_begins_when_one_fails_or_time_has_passed() {
    bounded(|| {
        runtime(1).block_on(async {
            let begun = Cell::new(0);
            let attempt = |result: Option<Result<i32, i32>>| {
                let begun = &begun;
                async move {
                    begun.set(begun.get() + 1);
                    match result {
                        Some(result) => result,
                        None => pending().await,
                    }
                }
            };
            // A failure begins the next one at once.
            let first = race_staggered(LONG, [Some(Err(1)), Some(Ok(2)), None].map(attempt)).await;
            assert_eq!((first, begun.replace(0)), (Ok(2), 2));
            // Time does, where nothing happens.
            let short = Duration::from_millis(1);
            let first = race_staggered(short, [None, Some(Ok(3))].map(attempt)).await;
            assert_eq!((first, begun.replace(0)), (Ok(3), 2));
            let none = race_staggered(LONG, [Some(Err(1)), Some(Err(2))].map(attempt)).await;
            assert_eq!(none, Err(vec![1, 2]));
            let nothing: [std::future::Ready<Result<(), ()>>; 0] = [];
            assert_eq!(race_staggered(LONG, nothing).await, Err(vec![]));
        });
    });
}

#[test]
fn a_token_cancels_its_children_and_not_its_parent() {
    let parent = CancellationToken::new();
    let (one, other) = (parent.child(), parent.child());
    let grandchild = one.child();
    one.cancel();
    assert!(one.is_cancelled() && grandchild.is_cancelled());
    assert!(!parent.is_cancelled() && !other.is_cancelled());
    assert!(one.child().is_cancelled(), "it came late");
    assert_eq!(other.cancelled().now_or_never(), None);
    // Although nobody has the one between.
    let far = parent.child().child();
    parent.cancel();
    parent.cancel();
    other.cancelled().now_or_never().unwrap();
    other.wait_blocking();
    assert!(far.is_cancelled());
    let guarded = CancellationToken::new();
    let kept = guarded.clone().drop_guard().disarm();
    assert!(!kept.is_cancelled());
    drop(kept.drop_guard());
    assert!(guarded.is_cancelled());
    // A deep line of descent takes no stack.
    let root = CancellationToken::new();
    let mut line = vec![root.child()];
    for _ in 0..100_000 {
        line.push(line[line.len() - 1].child());
    }
    root.cancel();
    assert!(line.iter().all(CancellationToken::is_cancelled));
}

#[test]
fn what_runs_until_a_token_is_cancelled_is_dropped_then() {
    bounded(|| {
        runtime(2).block_on(async {
            let token = CancellationToken::new();
            assert_eq!(token.run_until_cancelled(async { 1 }).await, Some(1));
            let task = heist::spawn({
                let token = token.clone();
                async move { token.run_until_cancelled(pending::<()>()).await }
            });
            token.cancel();
            let ended: Result<Option<()>, TaskError> = task.await;
            assert_eq!(ended.unwrap(), None);
            assert_eq!(token.run_until_cancelled(async { 2 }).await, Some(2));
        });
    });
}

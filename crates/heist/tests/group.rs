//! Task groups.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

mod support;

use std::error::Error;
use std::future::pending;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_lite::future::{or, poll_once};
use heist::sync::{Barrier, Semaphore};
use heist::task::{
    GroupError, Policy, SpawnError, StartError, TaskGroup, catch_cancel, current, yield_now,
};
use heist::{TaskState, promise};
use support::{Drops, bounded, lone_worker, runtime};

fn boom(name: &str) -> Result<(), io::Error> {
    Err(io::Error::other(name.to_owned()))
}

fn messages(error: &GroupError) -> Vec<String> {
    error.errors().iter().map(ToString::to_string).collect()
}

#[test]
fn all_children_are_over_when_the_group_returns() {
    bounded(|| {
        let drops = Drops::default();
        let guards = [(); 10].map(|()| drops.guard());
        let sum = runtime(2).block_on(TaskGroup::run(async |group| {
            let mut children = Vec::new();
            for (number, guard) in guards.into_iter().enumerate() {
                let child = group.spawn(async move {
                    let _guard = guard;
                    yield_now().await;
                    Ok::<_, io::Error>(number)
                })?;
                children.push(child);
            }
            let mut sum = 0;
            for child in children.drain(..5) {
                sum += child.await?;
            }
            // The others go on without their handles.
            Ok(sum)
        }));
        assert_eq!(sum.unwrap(), 10);
        assert_eq!(drops.count(), 10);
    });
}

#[test]
fn the_first_failure_cancels_the_siblings_and_the_body_and_all_errors_come_together() {
    bounded(|| {
        let result = lone_worker().block_on(async {
            let result = TaskGroup::run(async |group| {
                group.named("b").spawn(async {
                    let cancelled = catch_cancel(pending::<()>()).await.unwrap_err();
                    assert_eq!(cancelled.reason(), None);
                    boom("failed while it cleaned up")
                })?;
                let sleeper = group.named("c").spawn(pending::<()>())?;
                yield_now().await;
                group.named("a").spawn(async { boom("failed first") })?;
                // Neither this nor the five seconds of `c` is waited for.
                let _ = sleeper.await;
                pending::<()>().await;
                Ok(())
            });
            let result = result.await;
            assert_eq!(current().cancelling(), 0);
            result
        });
        let error = result.unwrap_err();
        assert_eq!(
            messages(&error),
            ["a: failed first", "b: failed while it cleaned up"]
        );
        assert_eq!(
            error.to_string(),
            "2 errors in a group of tasks: a: failed first; b: failed while it cleaned up"
        );
        assert_eq!(error.source().unwrap().to_string(), "a: failed first");
        assert!(error.errors()[0].downcast_ref::<io::Error>().is_some());
    });
}

#[test]
fn a_body_that_fails_cancels_the_children() {
    bounded(|| {
        let drops = Drops::default();
        let guard = drops.guard();
        let error = runtime(2).block_on(TaskGroup::run(async |group| {
            group.spawn(async move {
                let _guard = guard;
                pending::<()>().await;
            })?;
            boom("x")?;
            Ok(())
        }));
        assert_eq!(messages(&error.unwrap_err()), ["the body of the group: x"]);
        assert_eq!(drops.count(), 1);
    });
}

#[test]
fn what_a_child_has_told_and_the_body_passes_on_is_told_once() {
    bounded(|| {
        let run = TaskGroup::builder().policy(Policy::Supervise);
        let error = runtime(2).block_on(run.run(async |group| {
            group.named("a").spawn(async { boom("once") })?.await?;
            Ok(())
        }));
        assert_eq!(messages(&error.unwrap_err()), ["a: once"]);
    });
}

#[test]
fn a_child_that_panics_fails_and_its_payload_can_be_taken() {
    bounded(|| {
        let error = runtime(2).block_on(TaskGroup::run(async |group| {
            group.named("p").spawn(async {
                if true {
                    panic!("a planned panic");
                }
            })?;
            pending().await
        }));
        let error: GroupError = Result::<(), _>::unwrap_err(error);
        assert_eq!(messages(&error), ["p panicked: a planned panic"]);
        let payload = error.errors()[0].take_panic().unwrap();
        assert_eq!(payload.downcast_ref::<&str>(), Some(&"a planned panic"));
        assert!(error.errors()[0].take_panic().is_none());
    });
}

#[test]
fn a_body_that_panics_does_so_when_the_children_are_over() {
    bounded(|| {
        let drops = Drops::default();
        let guard = drops.guard();
        let runtime = runtime(2);
        let task = runtime.spawn(TaskGroup::run(async move |group: TaskGroup| {
            group.spawn(async move {
                let _guard = guard;
                pending::<()>().await;
            })?;
            if true {
                panic!("the body");
            }
            Ok(())
        }));
        let error = task.wait_blocking().unwrap_err();
        assert!(error.is_panic());
        assert_eq!(drops.count(), 1);
    });
}

#[test]
fn a_group_that_is_over_takes_nobody() {
    bounded(|| {
        let drops = Drops::default();
        runtime(2).block_on(async {
            let group = TaskGroup::run(async |group| Ok(group)).await.unwrap();
            let guard = drops.guard();
            let late = group.spawn(async move {
                let _guard = guard;
                assert!(current().is_finished(), "it is never polled");
            });
            let late: Result<_, SpawnError> = late.map(|child: heist::task::Child<()>| drop(child));
            assert_eq!(late, Err(SpawnError::Closed));
            assert!(group.is_closed() && group.is_empty());
        });
        assert_eq!(drops.count(), 1);
    });
}

#[test]
fn children_spawn_grandchildren_also_when_the_body_is_over() {
    bounded(|| {
        let completed = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&completed);
        runtime(2)
            .block_on(TaskGroup::run(async move |group| {
                for _ in 0..2 {
                    let (group_of_child, count) = (group.clone(), Arc::clone(&count));
                    group.spawn(async move {
                        for _ in 0..10 {
                            yield_now().await;
                        }
                        for _ in 0..3 {
                            let count = Arc::clone(&count);
                            group_of_child.spawn(async move {
                                yield_now().await;
                                count.fetch_add(1, Ordering::Relaxed);
                            })?;
                        }
                        count.fetch_add(1, Ordering::Relaxed);
                        Ok::<_, SpawnError>(())
                    })?;
                }
                Ok(())
            }))
            .unwrap();
        assert_eq!(completed.load(Ordering::Relaxed), 8);
    });
}

#[test]
fn a_limit_lets_only_so_many_children_be() {
    bounded(|| {
        let (alive, both) = (Arc::new(AtomicUsize::new(0)), Arc::new(Barrier::new(2)));
        runtime(2)
            .block_on(TaskGroup::builder().limit(2).run(async |group| {
                for _ in 0..8 {
                    let (alive, both) = (Arc::clone(&alive), Arc::clone(&both));
                    let child = async move {
                        assert!(alive.fetch_add(1, Ordering::SeqCst) < 2);
                        // Two at a time there must be.
                        both.wait().await.unwrap();
                        alive.fetch_sub(1, Ordering::SeqCst);
                    };
                    group.spawn_wait(child).await?;
                }
                Ok(())
            }))
            .unwrap();
        let full = runtime(1).block_on(TaskGroup::builder().limit(1).run(async |group| {
            group.spawn(pending::<()>())?;
            let second = group.spawn(async {}).map(drop);
            group.cancel();
            Ok(second)
        }));
        assert_eq!(full.unwrap(), Err(SpawnError::Full));
    });
}

#[test]
#[should_panic(expected = "a limit of 0")]
fn a_limit_of_none_is_a_panic() {
    let _ = TaskGroup::builder().limit(0);
}

#[test]
fn whoever_starts_a_child_waits_until_it_is_ready() {
    bounded(|| {
        runtime(2)
            .block_on(TaskGroup::run(async |group| {
                let (value, child) = group
                    .start(|ready| async move {
                        yield_now().await;
                        ready.set(7);
                        Ok::<_, io::Error>(8)
                    })
                    .await?;
                assert_eq!((value, child.await?), (7, 8));
                // One that fails before is not counted.
                let server = group.named("server");
                let failed = server.start::<(), _>(|_ready| async { boom("no port") });
                let failed = failed.await.map(drop).unwrap_err();
                assert_eq!(failed.to_string(), "before it was ready, server: no port");
                let silent = group.start::<(), _>(|ready| async { drop(ready) }).await;
                assert!(matches!(silent, Err(StartError::NotReady)));
                Ok(())
            }))
            .unwrap();
    });
}

#[test]
fn a_start_that_is_dropped_cancels_the_child() {
    bounded(|| {
        let drops = Drops::default();
        let guard = drops.guard();
        runtime(2)
            .block_on(TaskGroup::run(async |group| {
                // Also one that can never be ready.
                let start = group.start::<(), _>(|_ready| pending::<()>());
                assert!(poll_once(start).await.is_none());
                let start = group.start::<(), _>(|ready| async move {
                    let _held = (guard, ready);
                    pending::<()>().await;
                });
                assert!(poll_once(start).await.is_none());
                Ok(())
            }))
            .unwrap();
        assert_eq!(drops.count(), 1);
    });
}

#[test]
fn a_supervised_group_cancels_nobody_for_a_failure() {
    bounded(|| {
        let error = runtime(2).block_on(TaskGroup::builder().policy(Policy::Supervise).run(
            async |group| {
                let barrier = Arc::new(Barrier::new(2));
                let other = Arc::clone(&barrier);
                group
                    .named("a")
                    .spawn(async { boom("1") })?
                    .await
                    .unwrap_err();
                group
                    .named("b")
                    .spawn(async move { other.wait().await.map(drop) })?;
                barrier.wait().await?;
                group.named("c").spawn(async { boom("2") })?;
                Ok(())
            },
        ));
        assert_eq!(messages(&error.unwrap_err()), ["a: 1", "c: 2"]);
    });
}

#[test]
fn the_first_success_cancels_the_others() {
    bounded(|| {
        let first = || TaskGroup::builder().policy(Policy::FirstSuccess);
        runtime(2)
            .block_on(first().run(async |group| {
                group.spawn(async { boom("not counted") })?;
                group.spawn(pending::<()>())?;
                group.spawn(async {})?;
                Ok(())
            }))
            .unwrap();
        // The body is no other: it goes on, and takes what there is.
        let value = runtime(2).block_on(first().run(async |group| {
            let winner = group.spawn(async { Ok::<_, io::Error>(7) })?;
            let loser = group.spawn(pending::<()>());
            let value = winner.await?;
            yield_now().await;
            assert!(loser.is_err() || loser?.await.is_err());
            Ok(value)
        }));
        assert_eq!(value.unwrap(), 7);
        let none = runtime(2).block_on(first().run(async |group| {
            group.named("a").spawn(async { boom("1") })?;
            group.named("b").spawn(async { boom("2") })?;
            Ok(())
        }));
        assert_eq!(none.unwrap_err().errors().len(), 2);
    });
}

#[test]
fn a_group_that_is_cancelled_from_inside_is_over_without_an_error_of_a_child() {
    bounded(|| {
        let error = runtime(2).block_on(TaskGroup::run(async |group| {
            let own = group.clone();
            group.spawn(async move { own.cancel() })?;
            pending::<()>().await;
            Ok(())
        }));
        let error = error.unwrap_err();
        assert!(error.is_cancelled() && error.errors().is_empty());
        assert_eq!(error.to_string(), "the group was cancelled");
    });
}

#[test]
fn whoever_is_cancelled_while_it_runs_a_group_goes_on_when_the_children_have_cleaned_up() {
    bounded(|| {
        let runtime = runtime(2);
        // In the body, and when it is over.
        for in_body in [true, false] {
            let cleaned = Arc::new(AtomicUsize::new(0));
            let (told, began) = promise();
            let task = runtime.spawn({
                let cleaned = Arc::clone(&cleaned);
                TaskGroup::run(async move |group: TaskGroup| {
                    group.spawn(async move {
                        let _ = told.set_result(());
                        let cancelled = catch_cancel(pending::<()>()).await.unwrap_err();
                        yield_now().await;
                        cleaned.fetch_add(1, Ordering::SeqCst);
                        cancelled.resume::<()>().await;
                    })?;
                    if in_body {
                        pending::<()>().await;
                    }
                    Ok(())
                })
            });
            runtime.block_on(began).unwrap();
            assert!(task.cancel_with("enough"));
            let error = task.wait_blocking().unwrap_err();
            assert_eq!(error.reason(), Some("enough"));
            assert_eq!(cleaned.load(Ordering::SeqCst), 1);
        }
    });
}

#[test]
fn errors_come_before_a_cancel_request_which_is_delivered_next() {
    bounded(|| {
        let runtime = runtime(2);
        let (told, began) = promise();
        let task = runtime.spawn(async move {
            let error = TaskGroup::run(async move |group: TaskGroup| {
                group.named("a").spawn(async move {
                    let _ = told.set_result(());
                    let _ = catch_cancel(pending::<()>()).await;
                    boom("while it was cancelled")
                })?;
                pending::<()>().await;
                Ok(())
            })
            .await
            .unwrap_err();
            assert_eq!(messages(&error), ["a: while it was cancelled"]);
            assert_eq!(current().cancelling(), 1);
            let caught = catch_cancel(pending::<()>()).await.unwrap_err();
            assert_eq!(caught.reason(), Some("outside"));
            7
        });
        runtime.block_on(began).unwrap();
        assert!(task.cancel_with("outside"));
        assert_eq!(task.wait_blocking().unwrap(), 7);
    });
}

#[test]
fn the_children_of_a_group_that_is_dropped_are_cancelled() {
    bounded(|| {
        let runtime = runtime(2);
        let over = Arc::new(Semaphore::new(0));
        let ended = Arc::clone(&over);
        runtime.block_on(async move {
            let (told, begun) = promise();
            let group = TaskGroup::run(async move |group: TaskGroup| {
                group.spawn(async move {
                    let _ = told.set_result(());
                    let cancelled = catch_cancel(pending::<()>()).await;
                    ended.release(1).unwrap();
                    assert!(cancelled.is_err());
                })?;
                pending::<()>().await;
                Ok(())
            });
            let begun = async {
                begun.await.unwrap();
                None
            };
            assert!(or(begun, async { Some(group.await) }).await.is_none());
            drop(over.acquire().await);
        });
    });
}

#[test]
fn groups_nest_and_the_error_of_the_inner_one_is_one_of_the_outer() {
    bounded(|| {
        let error = runtime(2).block_on(TaskGroup::run(async |outer| {
            outer
                .named("inner")
                .spawn(TaskGroup::run(async |inner: TaskGroup| {
                    inner.named("a").spawn(async { boom("1") })?;
                    pending::<()>().await;
                    Ok(())
                }))?;
            pending::<()>().await;
            Ok(())
        }));
        assert_eq!(messages(&error.unwrap_err()), ["inner: a: 1"]);
    });
}

#[test]
fn a_closure_that_blocks_may_be_a_child() {
    bounded(|| {
        let result = runtime(2).block_on(TaskGroup::run(async |group| {
            let child = group.spawn_blocking(|| Ok::<_, io::Error>(6 * 7))?;
            assert_eq!(child.await?, 42);
            let failing = group.named("job").spawn_blocking(|| boom("no disk"))?;
            let _ = failing.await;
            pending::<()>().await;
            Ok(())
        }));
        assert_eq!(messages(&result.unwrap_err()), ["job: no disk"]);
    });
}

#[test]
fn a_child_that_is_cancelled_is_no_failure() {
    bounded(|| {
        runtime(2)
            .block_on(TaskGroup::run(async |group| {
                let child = group.spawn(pending::<()>())?;
                assert!(child.cancel());
                let task = child.task_ref();
                let error = child.await.unwrap_err();
                assert!(error.is_cancelled());
                assert_eq!(
                    (error.id(), task.state()),
                    (Some(task.id()), TaskState::Cancelled)
                );
                Ok(())
            }))
            .unwrap();
    });
}

#[test]
fn groups_work_outside_of_a_task() {
    bounded(|| {
        let runtime = runtime(2);
        let _entered = runtime.enter();
        let sum = futures_lite::future::block_on(TaskGroup::run(async |group| {
            Ok(group.spawn(async { Ok::<_, io::Error>(1) })?.await?)
        }));
        assert_eq!(sum.unwrap(), 1);
    });
}

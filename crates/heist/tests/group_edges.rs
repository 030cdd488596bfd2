//! Task groups whose errors, bodies and children do what nobody expects.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

mod support;

use std::error::Error;
use std::future::pending;
use std::io;
use std::sync::Arc;

use futures_lite::StreamExt;
use heist::promise;
use heist::task::{
    BoxError, Child, Policy, StartError, TaskGroup, as_completed, catch_cancel, yield_now,
};
use support::{Drops, bounded, lone_worker, runtime};

fn boom(name: &str) -> Result<(), io::Error> {
    Err(io::Error::other(name.to_owned()))
}

/// An error that uses its group when it is dropped.
#[derive(Debug)]
struct Nosy(TaskGroup);

impl std::fmt::Display for Nosy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("nosy")
    }
}

impl Error for Nosy {}

impl Drop for Nosy {
    fn drop(&mut self) {
        assert!(self.0.is_closed());
    }
}

#[test]
fn errors_that_do_not_count_are_dropped_outside_of_the_group() {
    bounded(|| {
        let first = TaskGroup::builder().policy(Policy::FirstSuccess);
        runtime(2)
            .block_on(first.run(async |group| {
                let own = group.clone();
                drop(group.spawn(async move { Err::<(), _>(Nosy(own)) })?.await);
                group.spawn(async {})?;
                Ok(())
            }))
            .unwrap();
    });
}

#[test]
fn the_error_of_the_body_counts_also_after_a_success() {
    bounded(|| {
        let first = TaskGroup::builder().policy(Policy::FirstSuccess);
        let error = runtime(2).block_on(first.run(async |group| {
            group.spawn(async {})?.await?;
            boom("disk full")?;
            Ok(())
        }));
        assert_eq!(
            error.unwrap_err().to_string(),
            "the body of the group: disk full"
        );
    });
}

/// Panics when it is dropped.
struct Mine;

impl Drop for Mine {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            panic!("a planned panic of a destructor");
        }
    }
}

#[test]
fn a_body_whose_destructor_panics_or_that_never_begins_does_so_when_the_children_are_over() {
    bounded(|| {
        let runtime = runtime(2);
        for begins in [true, false] {
            let drops = Drops::default();
            let guard = drops.guard();
            let task = runtime.spawn(async move {
                let spawn = move |group: &TaskGroup| {
                    group.spawn(async move {
                        let _guard = guard;
                        let _ = catch_cancel(pending::<()>()).await;
                        for _ in 0..10 {
                            yield_now().await;
                        }
                    })
                };
                if begins {
                    TaskGroup::run(async move |group: TaskGroup| {
                        let _mine = Mine;
                        spawn(&group)?;
                        group.cancel();
                        pending::<()>().await;
                        Ok(())
                    })
                    .await
                } else {
                    TaskGroup::run(move |group: TaskGroup| {
                        spawn(&group).unwrap();
                        assert!(group.is_empty(), "a planned panic");
                        std::future::ready(Ok(()))
                    })
                    .await
                }
            });
            assert!(task.wait_blocking().unwrap_err().is_panic());
            assert_eq!(drops.count(), 1);
        }
    });
}

#[test]
fn a_child_that_ends_before_it_is_ready_is_told_of_wherever_its_ready_is() {
    bounded(|| {
        let kept = Arc::new(std::sync::Mutex::new(None));
        runtime(2)
            .block_on(TaskGroup::run(async |group| {
                let place = Arc::clone(&kept);
                let failed = group.start(|ready| async move {
                    *place.lock().unwrap() = Some(ready);
                    boom("too early")
                });
                assert!(matches!(failed.await, Err(StartError::Failed(_))));
                // It comes too late, and changes nothing.
                let late: Option<heist::task::Ready<i32>> = kept.lock().unwrap().take();
                late.unwrap().set(1);
                Ok(())
            }))
            .unwrap();
    });
}

#[test]
fn a_child_knows_where_and_as_what_it_was_spawned() {
    bounded(|| {
        runtime(2)
            .block_on(TaskGroup::run(async |group| {
                let group = group.named("worker");
                let child = group.spawn_wait(pending::<()>()).await?;
                assert_eq!(child.task_ref().spawn_location().file(), file!());
                child.cancel();
                assert_eq!(child.await.unwrap_err().name(), Some("worker"));
                Ok(())
            }))
            .unwrap();
    });
}

#[test]
fn a_child_that_passes_on_a_cancellation_has_not_failed() {
    bounded(|| {
        // That the group is ending.
        let result = lone_worker().block_on(TaskGroup::run(async |group: TaskGroup| {
            let own = group.clone();
            let child = group.spawn(async move {
                own.cancel();
                own.spawn(async {})?;
                Ok::<_, BoxError>(())
            })?;
            Ok(child.await?)
        }));
        assert!(result.unwrap_err().is_cancelled());
        // That a sibling was cancelled: by somebody, or with the group.
        for with_the_group in [false, true] {
            let result = runtime(2).block_on(TaskGroup::run(async |group: TaskGroup| {
                let sibling = group.spawn(pending::<()>())?;
                let task = sibling.task_ref();
                let (begins, begun) = promise();
                let awaits = group.spawn(async move {
                    let _ = begins.set_result(());
                    sibling.await
                })?;
                begun.await?;
                if with_the_group {
                    group.cancel();
                    pending::<()>().await;
                }
                task.cancel();
                let error = awaits.await.unwrap_err();
                assert!(error.is_cancelled(), "{error}");
                Ok(())
            }));
            match result {
                Ok(()) => assert!(!with_the_group),
                Err(error) => assert!(with_the_group && error.is_cancelled(), "{error}"),
            }
        }
    });
}

#[test]
fn children_are_tasks_for_the_combinators() {
    bounded(|| {
        let sum = runtime(2).block_on(TaskGroup::run(async |group: TaskGroup| {
            let children: Result<Vec<_>, _> = (1..=3)
                .map(|number| group.spawn(async move { Ok::<_, BoxError>(number) }))
                .collect();
            let mut tasks = as_completed(children?.into_iter().map(Child::into_task));
            let mut sum = 0;
            while let Some(task) = tasks.next().await {
                sum += task.await??;
            }
            Ok(sum)
        }));
        assert_eq!(sum.unwrap(), 6);
    });
}

#[test]
fn a_body_that_passes_on_a_failure_beside_a_success_has_failed() {
    bounded(|| {
        for succeeds in [true, false] {
            let group = TaskGroup::builder().policy(Policy::FirstSuccess);
            let result = lone_worker().block_on(group.run(async |group: TaskGroup| {
                let fails = group.spawn(async { Err::<(), _>(io::Error::other("boom")) })?;
                let error = fails.await.unwrap_err();
                if succeeds {
                    group.spawn(async {})?.await?;
                }
                Err::<(), BoxError>(error.into())
            }));
            let error = result.unwrap_err();
            assert!(!error.is_cancelled());
            assert_eq!(error.errors().len(), 1, "{error}");
            assert_eq!(error.errors()[0].id().is_none(), succeeds);
        }
    });
}

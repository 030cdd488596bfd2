//! The end of a runtime: what is asked to end, what is waited for, what is reported.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

mod support;

use std::future::{pending, poll_fn};
use std::panic::Location;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant};

use heist::task::{catch_cancel, yield_now};
use heist::time::sleep;
use heist::{LocalRuntime, Runtime, TaskState, promise};
use support::{Drops, bounded, runtime};

#[test]
fn a_spawn_on_a_runtime_that_is_gone_is_cancelled_at_once() {
    bounded(|| {
        let runtime = runtime(2);
        let handle = runtime.handle().clone();
        runtime.shutdown(Duration::from_secs(1));

        let drops = Drops::default();
        let held = drops.guard();
        let mut task = handle.spawn(async move {
            drop(held);
            unreachable!("polled on a runtime that is gone")
        });
        assert_eq!(task.state(), TaskState::Cancelled);
        assert_eq!(drops.count(), 1);
        let other = support::runtime(1);
        let error = other.block_on(&mut task).map(|(): ()| ()).unwrap_err();
        assert!(error.is_runtime_gone());
        assert!(error.is_cancelled());
    });
}

#[test]
fn a_handle_outlives_its_runtime() {
    bounded(|| {
        let runtime = runtime(1);
        let handle = runtime.handle().clone();
        let mut pending = runtime.spawn(pending::<()>());
        drop(runtime);
        assert!(pending.is_cancelled());
        assert!(!pending.cancel());
        assert!(handle.all_tasks().is_empty());
        let ran = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&ran);
        handle.call_soon(move || flag.store(true, Ordering::SeqCst));
        assert!(support::runtime(1).block_on(&mut pending).is_err());
        assert!(!ran.load(Ordering::SeqCst));
    });
}

#[test]
fn left_tasks_are_cancelled_and_get_their_clean_up() {
    bounded(|| {
        let runtime = runtime(2);
        let (told, asleep) = promise();
        let cleaned = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&cleaned);
        let task = runtime.spawn(async move {
            let caught = catch_cancel(async {
                let _ = told.set_result(());
                pending::<()>().await;
            });
            if let Err(cancelled) = caught.await {
                sleep(Duration::from_millis(10)).await;
                flag.store(true, Ordering::SeqCst);
                cancelled.resume::<()>().await;
            }
        });
        runtime.block_on(asleep).unwrap();
        let report = runtime.shutdown(Duration::from_secs(5));
        assert!(report.tasks.is_empty(), "{report:?}");
        assert!(cleaned.load(Ordering::SeqCst));
        assert!(task.is_cancelled());
    });
}

#[test]
fn a_task_that_a_task_has_spawned_gets_its_clean_up_at_the_end() {
    bounded(|| {
        for workers in [1, 2, 4] {
            let runtime = runtime(workers);
            let cleaned = Arc::new(AtomicBool::new(false));
            let flag = Arc::clone(&cleaned);
            let (told, asleep) = promise();
            // Listed where its worker is, which looks through its own tasks when the end comes.
            let parent = runtime.spawn(async move {
                heist::spawn(async move {
                    let caught = catch_cancel(async {
                        let _ = told.set_result(());
                        pending::<()>().await;
                    });
                    if caught.await.is_err() {
                        for _ in 0..20 {
                            sleep(Duration::from_millis(1)).await;
                        }
                        flag.store(true, Ordering::SeqCst);
                    }
                })
                .detach();
            });
            runtime.block_on(parent).unwrap();
            runtime.block_on(asleep).unwrap();
            let report = runtime.shutdown(Duration::from_secs(5));
            assert!(report.is_clean(), "{report:?}");
            assert!(cleaned.load(Ordering::SeqCst), "{workers} workers");
        }
    });
}

#[test]
fn a_stuck_blocking_job_is_reported_with_its_location() {
    bounded(|| {
        let runtime = runtime(2);
        let (begun, begins) = channel();
        let (release, released) = channel::<()>();
        let line = Location::caller().line() + 1;
        let job = runtime.spawn_blocking(move || {
            begun.send(()).unwrap();
            let _ = released.recv();
        });
        begins.recv().unwrap();
        let grace = Duration::from_millis(100);
        let start = Instant::now();
        let report = runtime.shutdown(grace);
        assert!(start.elapsed() >= grace);
        assert_eq!(report.blocking.len(), 1, "{report:?}");
        assert_eq!(report.blocking[0].id(), job.id());
        let location = report.blocking[0].spawn_location();
        assert_eq!((location.file(), location.line()), (file!(), line));
        assert!(report.tasks.is_empty(), "{report:?}");
        release.send(()).unwrap();
    });
}

#[test]
fn a_stubborn_task_is_reported_and_dropped_after_the_grace() {
    bounded(|| {
        let runtime = runtime(2);
        let drops = Drops::default();
        let held = drops.guard();
        let (told, asleep) = promise();
        let mut told = Some(told);
        let task: heist::Task<()> = runtime.spawn(async move {
            let _held = held;
            loop {
                let told = told.take();
                let _ = catch_cancel(async move {
                    told.map(|told| told.set_result(()));
                    pending::<()>().await;
                })
                .await;
            }
        });
        runtime.block_on(asleep).unwrap();
        let report = runtime.shutdown(Duration::from_millis(100));
        assert_eq!(report.tasks.len(), 1, "{report:?}");
        assert_eq!(report.tasks[0].id(), task.id());
        assert_eq!(drops.count(), 1);
    });
}

#[test]
fn dropping_a_runtime_shuts_it_down() {
    bounded(|| {
        let drops = Drops::default();
        let runtime = runtime(2);
        let held = drops.guard();
        let task = runtime.spawn(async move {
            let _held = held;
            pending::<()>().await;
        });
        drop(runtime);
        assert_eq!(drops.count(), 1);
        assert!(task.is_cancelled());
    });
}

#[test]
fn a_runtime_dropped_inside_its_own_task_waits_for_nothing() {
    bounded(|| {
        let runtime = runtime(2);
        let (give, take) = promise::<Runtime>();
        let (done, over) = channel();
        let task = runtime.spawn(async move {
            let runtime = take.await.unwrap();
            drop(runtime);
            done.send(()).unwrap();
        });
        assert!(give.set_result(runtime).is_ok());
        over.recv().unwrap();
        drop(task);
    });
}

#[test]
fn a_runtime_that_ends_inside_a_root_of_another_inside_its_own_root_waits_for_nothing() {
    bounded(|| {
        let (outer, inner) = (runtime(1), runtime(1));
        let handle = outer.handle().clone();
        let report =
            handle.block_on(async { inner.block_on(async { outer.shutdown(Duration::MAX) }) });
        assert_eq!(report.tasks.len(), 1, "{report:?}");
    });
}

#[test]
fn a_runtime_that_ends_in_a_local_task_inside_its_own_root_waits_for_nothing() {
    bounded(|| {
        let (outer, local) = (runtime(1), LocalRuntime::new().unwrap());
        let handle = outer.handle().clone();
        let report = handle.block_on(async {
            let ends = local.spawn_local(async move { outer.shutdown(Duration::MAX) });
            local.block_on(ends).unwrap()
        });
        assert_eq!(report.tasks.len(), 1, "{report:?}");
    });
}

#[test]
fn a_runtime_that_is_dropped_with_its_own_root_waits_for_nothing() {
    bounded(|| {
        let builder = Runtime::builder().shutdown_grace(Duration::MAX);
        let runtime = builder.build().unwrap();
        let handle = runtime.handle().clone();
        handle.block_on(poll_fn(move |_| {
            // Goes with the future, after its last poll.
            let _runtime = &runtime;
            Poll::Ready(())
        }));
        assert!(handle.spawn(async {}).wait_blocking().is_err());
    });
}

#[test]
fn a_shutdown_inside_its_own_task_lists_the_caller() {
    bounded(|| {
        let runtime = runtime(2);
        let (give, take) = promise::<Runtime>();
        let (done, over) = channel();
        let task = runtime.spawn(async move {
            let runtime = take.await.unwrap();
            let start = Instant::now();
            let report = runtime.shutdown(Duration::from_secs(60));
            done.send((report, start.elapsed())).unwrap();
        });
        let id = task.id();
        assert!(give.set_result(runtime).is_ok());
        let (report, elapsed) = over.recv().unwrap();
        assert!(
            report.tasks.iter().any(|task| task.id() == id),
            "{report:?}"
        );
        assert!(elapsed < Duration::from_secs(5));
    });
}

#[test]
fn queued_callbacks_still_run_when_the_runtime_goes() {
    bounded(|| {
        for _ in 0..100 {
            let runtime = runtime(2);
            let (sent, received) = channel();
            let task = runtime.spawn(pending::<()>());
            task.add_done_callback(move |finished| {
                let _ = sent.send(finished.result().is_err());
            });
            drop(runtime);
            assert!(received.recv().unwrap());
        }
    });
}

#[test]
fn a_promise_that_outlives_the_runtime_calls_back_where_it_is_kept() {
    bounded(|| {
        let runtime = runtime(1);
        let (promise, deferred) = promise();
        let (sent, received) = channel();
        let entered = runtime.enter();
        deferred.add_done_callback(move |finished| {
            let _ = sent.send(finished.result().copied().ok());
        });
        drop(entered);
        drop(runtime);
        promise.set_result(3).unwrap();
        assert_eq!(received.recv().unwrap(), Some(3));
    });
}

#[test]
fn a_clean_up_that_sleeps_goes_on_beside_one_that_is_always_ready() {
    bounded(|| {
        let runtime = LocalRuntime::new().unwrap();
        let slept = Arc::new(AtomicBool::new(false));
        let (set, seen) = (Arc::clone(&slept), slept);
        runtime.block_on(async {
            heist::spawn_local(async move {
                let _ = catch_cancel(pending::<()>()).await;
                sleep(Duration::from_millis(1)).await;
                set.store(true, Ordering::SeqCst);
            })
            .detach();
            heist::spawn_local(async move {
                let _ = catch_cancel(pending::<()>()).await;
                while !seen.load(Ordering::SeqCst) {
                    yield_now().await;
                }
            })
            .detach();
            yield_now().await;
        });
        let report = runtime.shutdown(Duration::from_secs(5));
        assert!(report.is_clean(), "{report:?}");
        assert!(report.elapsed < Duration::from_secs(5));
    });
}

/// Says that it is being dropped, and waits until it may be.
struct SlowDrop(Sender<()>, Receiver<()>);

impl Drop for SlowDrop {
    fn drop(&mut self) {
        self.0.send(()).unwrap();
        let _ = self.1.recv();
    }
}

#[test]
fn a_shutdown_waits_for_the_drop_of_a_blocking_closures_output() {
    bounded(|| {
        let runtime = runtime(1);
        let (begun, begins) = channel();
        let (release, released) = channel();
        let output = SlowDrop(begun, released);
        let (go_on, goes_on) = channel();
        let job = runtime.spawn_blocking(move || {
            goes_on.recv().unwrap();
            output
        });
        // Nobody but the pool's thread is left to drop the output.
        job.detach();
        go_on.send(()).unwrap();
        begins.recv().unwrap();
        let (ended, report) = channel();
        let ends = thread::spawn(move || {
            let report = runtime.shutdown(Duration::from_secs(9));
            ended.send(report).unwrap();
        });
        // It is to take as long as nobody releases the drop.
        let early = report.recv_timeout(Duration::from_millis(100));
        release.send(()).unwrap();
        ends.join().unwrap();
        assert!(early.is_err(), "{early:?}");
        let report = report.recv().unwrap();
        assert!(report.is_clean(), "{report:?}");
    });
}

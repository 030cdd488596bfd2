//! How long an end takes: the grace, and what is stuck.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

mod support;

use std::future::pending;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use heist::task::{block_in_place, catch_cancel, current, yield_now};
use heist::{LocalRuntime, Runtime, TaskError, TaskState, block_on};
use support::{Drops, bounded, runtime};

const MS: Duration = Duration::from_millis(1);

/// Takes no hint.
async fn stubborn() {
    loop {
        let _ = catch_cancel(pending::<()>()).await;
    }
}

#[test]
fn the_drop_of_a_runtime_waits_for_the_configured_grace() {
    bounded(|| {
        let grace = 150 * MS;
        let builder = Runtime::builder().worker_threads(1).shutdown_grace(grace);
        let (drops, (begun, begins)) = (Drops::default(), channel());
        let body = |held: support::Guard| {
            let begun = begun.clone();
            async move {
                held.count_at_the_end();
                let waits = catch_cancel(async {
                    begun.send(()).unwrap();
                    pending::<()>().await;
                });
                waits.await.unwrap_err();
                stubborn().await;
            }
        };
        let runtime = builder.clone().build().unwrap();
        runtime.spawn(body(drops.guard())).detach();
        begins.recv().unwrap();
        let start = Instant::now();
        drop(runtime);
        let elapsed = start.elapsed();
        assert!(grace <= elapsed && elapsed < 2000 * MS, "{elapsed:?}");
        assert_eq!(drops.count(), 1);

        let local = builder.build_local().unwrap();
        local.spawn_local(body(drops.guard())).detach();
        local.block_on(async {
            while begins.try_recv().is_err() {
                yield_now().await;
            }
        });
        let start = Instant::now();
        drop(local);
        let elapsed = start.elapsed();
        assert!(grace <= elapsed && elapsed < 2000 * MS, "{elapsed:?}");
        assert_eq!(drops.count(), 2);
    });
}

#[test]
fn the_grace_is_five_seconds_where_nobody_has_said_otherwise() {
    let settings = format!("{:?}", Runtime::builder());
    assert!(settings.contains("shutdown_grace: 5s"), "{settings}");
}

#[test]
fn an_end_without_a_grace_does_not_wait_for_polls_that_are_stuck() {
    bounded(|| {
        let runtime = runtime(4);
        let (begun, begins) = channel();
        let drops = Drops::default();
        let stuck: Vec<_> = (0..4)
            .map(|_| {
                let (begun, held) = (begun.clone(), drops.guard());
                let (release, released) = channel::<()>();
                let task = runtime.spawn(async move {
                    begun.send(()).unwrap();
                    let _ = released.recv();
                    yield_now().await;
                    held.count_at_the_end();
                });
                (task, release)
            })
            .collect();
        stuck.iter().for_each(|_| begins.recv().unwrap());
        let start = Instant::now();
        let report = runtime.shutdown(Duration::ZERO);
        assert!(start.elapsed() < 2000 * MS, "{report:?}");
        let sizes = (report.tasks.len(), report.threads.len());
        assert_eq!(sizes, (4, 4), "{report:?}");
        assert_eq!(drops.count(), 0);
        for (task, release) in stuck {
            drop(release);
            assert!(task.wait_blocking().unwrap_err().is_cancelled());
        }
        assert_eq!(drops.count(), 4);
    });
}

/// Ways to block until everybody has dropped the other end.
const WAYS_TO_BLOCK: [fn(&Receiver<()>); 3] = [
    |held| _ = held.recv(),
    |held| _ = block_in_place(|| held.recv()),
    |held| _ = block_on(async { held.recv() }),
];

#[test]
fn a_poll_that_blocks_until_other_tasks_are_dropped_delays_no_end() {
    for workers in [1, 2, 4] {
        for block in WAYS_TO_BLOCK {
            bounded(move || {
                for _ in 0..10 {
                    let runtime = runtime(workers);
                    let (hold, held) = channel::<()>();
                    let keep = |hold: Sender<()>| async move {
                        let _hold = hold;
                        pending::<()>().await;
                    };
                    runtime.spawn(keep(hold.clone())).detach();
                    let (begun, begins) = channel();
                    let ended = Drops::default();
                    let end = ended.guard();
                    let blocks = runtime.spawn(async move {
                        // One in the queue of this worker, one in its LIFO slot.
                        heist::spawn(keep(hold.clone())).detach();
                        heist::spawn(keep(hold)).detach();
                        begun.send(()).unwrap();
                        block(&held);
                        drop(end);
                    });
                    begins.recv().unwrap();
                    let report = runtime.shutdown(8000 * MS);
                    assert!(report.is_clean(), "{report:?}");
                    assert!(report.elapsed < 8000 * MS, "{report:?}");
                    assert_eq!(ended.count(), 1);
                    // A root unwinds, as cancelled.
                    _ = blocks.wait_blocking();
                }
            });
        }
    }
}

#[test]
fn a_root_that_is_stuck_is_reported_and_unwinds_when_its_poll_returns() {
    bounded(|| {
        let runtime = runtime(1);
        let own = runtime.handle().clone();
        let (begun, begins) = channel();
        let (release, released) = channel::<()>();
        let drops = Drops::default();
        let held = drops.guard();
        let root = thread::spawn(move || {
            let body = async move {
                current().set_name("stuck");
                begun.send(()).unwrap();
                let _ = released.recv();
                yield_now().await;
                held.count_at_the_end();
                unreachable!("polled after the end");
            };
            catch_unwind(AssertUnwindSafe(|| own.block_on(body))).map(|(): ()| ())
        });
        begins.recv().unwrap();
        let grace = 100 * MS;
        let report = runtime.shutdown(grace);
        assert!(report.elapsed >= grace, "{report:?}");
        assert!(report.elapsed < 2000 * MS, "{report:?}");
        let names: Vec<_> = report.tasks.iter().map(|task| task.name()).collect();
        assert_eq!(names, ["stuck"], "{report:?}");
        assert_eq!(drops.count(), 0);
        drop(release);
        let payload = root.join().unwrap().unwrap_err();
        let error = payload.downcast::<TaskError>().unwrap();
        assert!(error.is_cancelled() && !error.is_panic(), "{error}");
        assert_eq!(drops.count(), 1);
    });
}

#[test]
fn the_roots_of_other_threads_end_with_a_local_runtime() {
    bounded(|| {
        let local = LocalRuntime::new().unwrap();
        let (begun, begins) = channel();
        let begin = |own: heist::Handle, obeys: bool| {
            let begun = begun.clone();
            thread::spawn(move || {
                let body = async move {
                    let waits = catch_cancel(async {
                        begun.send(()).unwrap();
                        pending::<()>().await;
                    });
                    waits.await.unwrap_err();
                    yield_now().await;
                    if !obeys {
                        stubborn().await;
                    }
                };
                catch_unwind(AssertUnwindSafe(|| own.block_on(body)))
            })
        };
        let own = || local.handle().clone();
        let roots = [begin(own(), true), begin(own(), true), begin(own(), false)];
        roots.iter().for_each(|_| begins.recv().unwrap());
        let grace = 100 * MS;
        let report = local.shutdown(grace);
        assert!(report.elapsed >= grace, "{report:?}");
        assert!(report.elapsed < 2000 * MS, "{report:?}");
        assert_eq!(report.tasks.len(), 1, "{report:?}");
        let [first, second, third] = roots.map(|root| root.join().unwrap());
        assert!(first.is_ok() && second.is_ok());
        let error = third.unwrap_err().downcast::<TaskError>().unwrap();
        assert!(error.is_cancelled(), "{error}");
    });
}

#[test]
fn the_end_of_a_local_runtime_waits_for_a_poll_that_is_stuck_since_it_is_its_own() {
    bounded(|| {
        let local = LocalRuntime::new().unwrap();
        let (begun, begins) = channel();
        let (release, released) = channel::<()>();
        let task = local.spawn_local(async move {
            let waits = catch_cancel(async {
                begun.send(()).unwrap();
                pending::<()>().await;
            });
            waits.await.unwrap_err();
            released.recv().unwrap_err();
        });
        local.block_on(async {
            while begins.try_recv().is_err() {
                yield_now().await;
            }
        });
        let stuck_for = 300 * MS;
        let start = Instant::now();
        let releases = thread::spawn(move || {
            thread::sleep(stuck_for);
            drop(release);
        });
        let report = local.shutdown(10 * MS);
        assert!(start.elapsed() >= stuck_for, "{report:?}");
        // Over when the poll is, whatever the grace was.
        assert!(report.is_clean(), "{report:?}");
        assert_eq!(task.state(), TaskState::Finished);
        releases.join().unwrap();
    });
}

//! Virtual time: clocks that jump, are stepped by hand, and stand still.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

mod support;

use std::future::{Future, pending};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_lite::StreamExt;
use heist::task::{BoxError, ReturnWhen, TaskGroup, as_completed, wait, yield_now};
use heist::testing::{advance, set_auto_advance, settle};
use heist::time::{
    MissedTickBehavior, PeriodicCallback, interval, now, sleep, sleep_until, timeout, timeout_with,
    with_deadline,
};
use heist::{Handle, Runtime, promise, spawn, spawn_blocking};
use support::{bounded, lone_worker};

const MS: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_secs(3600);

fn virtual_runtime(workers: usize) -> Runtime {
    Runtime::builder()
        .worker_threads(workers)
        .virtual_time(true)
        .build()
        .unwrap()
}

#[test]
fn hours_pass_in_no_time_on_any_number_of_workers() {
    bounded(|| {
        for workers in [1, 2, 4] {
            let runtime = virtual_runtime(workers);
            let real = Instant::now();
            runtime.block_on(async {
                let begun = now();
                let sleeps = (1..=3).map(|hours| {
                    spawn(async move {
                        sleep(hours * HOUR).await;
                        now()
                    })
                });
                let mut hours = 0;
                for ended in sleeps.collect::<Vec<_>>() {
                    hours += 1;
                    assert_eq!(ended.await.unwrap() - begun, hours * HOUR);
                }
                assert_eq!(now() - begun, 3 * HOUR);
            });
            assert!(real.elapsed() < HOUR);
        }
    });
}

#[heist::test(virtual_time)]
async fn the_attribute_takes_it() {
    let begun = now();
    sleep(HOUR).await;
    assert_eq!(now() - begun, HOUR);
}

#[heist::test(virtual_time, local)]
async fn a_local_runtime_has_it_too() {
    let begun = now();
    let other = heist::spawn_local(sleep(2 * HOUR));
    sleep(HOUR).await;
    assert!(!other.is_finished());
    other.await.unwrap();
    assert_eq!(now() - begun, 2 * HOUR);
    settle().await;
    advance(HOUR).await;
    assert_eq!(now() - begun, 3 * HOUR);
}

#[test]
fn a_clock_that_is_stepped_goes_as_far_as_it_is_told() {
    bounded(|| {
        virtual_runtime(2).block_on(async {
            set_auto_advance(false);
            let begun = now();
            let log = Arc::new(Mutex::new(Vec::new()));
            for time in [30, 10, 20, 50] {
                let log = Arc::clone(&log);
                spawn(async move {
                    sleep(time * MS).await;
                    // What it starts at its time is over before the next timer.
                    spawn(yield_now()).await.unwrap();
                    log.lock().unwrap().push((time, now() - begun));
                })
                .detach();
            }
            settle().await;
            assert_eq!(now(), begun);
            advance(9 * MS).await;
            assert_eq!(*log.lock().unwrap(), []);
            advance(31 * MS).await;
            settle().await;
            let expected = [10, 20, 30].map(|time| (time, time * MS));
            assert_eq!(*log.lock().unwrap(), expected);
            assert_eq!(now() - begun, 40 * MS);
        });
    });
}

#[test]
fn a_blocking_closure_holds_the_clock() {
    bounded(|| {
        let runtime = virtual_runtime(2);
        let handle = runtime.handle().clone();
        let turns = move || -> u64 {
            let metrics = handle.metrics();
            let workers = metrics.workers.iter();
            workers.map(|worker| worker.driver_turns).sum()
        };
        runtime.block_on(async {
            let begun = now();
            let late = spawn(sleep(HOUR));
            let job = spawn_blocking(move || {
                // The driver looks again and again whether it may go on.
                let before = turns();
                while turns() < before + 10 {
                    std::thread::yield_now();
                }
                now()
            });
            assert_eq!(job.await.unwrap(), begun);
            late.await.unwrap();
            assert_eq!(now() - begun, HOUR);
        });
    });
}

#[test]
fn who_waits_inside_of_a_poll_does_not_hold_the_clock() {
    bounded(|| {
        for workers in [1, 2] {
            let runtime = virtual_runtime(workers);
            let handle = runtime.handle().clone();
            let begun = runtime.block_on(async { now() });
            // In a root, in a root inside of that, and in a task.
            runtime.block_on(async {
                handle.block_on(async { handle.block_on(sleep(HOUR)) });
                let inner = handle.clone();
                let task = spawn(async move { inner.block_on(sleep(HOUR)) });
                task.await.unwrap();
            });
            assert_eq!(runtime.block_on(async { now() }) - begun, 2 * HOUR);
        }
    });
}

#[test]
fn settle_waits_until_all_others_wait() {
    bounded(|| {
        for workers in [1, 2, 4] {
            virtual_runtime(workers).block_on(async {
                for _ in 0..100 {
                    let (promise, deferred) = promise();
                    let tasks: Vec<_> = (0..8)
                        .map(|number| {
                            spawn(async move {
                                for _ in 0..number {
                                    yield_now().await;
                                }
                                spawn_blocking(|| ()).await.unwrap();
                            })
                        })
                        .collect();
                    let waits = spawn(deferred);
                    settle().await;
                    assert!(tasks.iter().all(heist::Task::is_finished));
                    assert!(!waits.is_finished());
                    promise.set_result(()).unwrap();
                    settle().await;
                    assert!(waits.is_finished());
                }
            });
        }
    });
}

#[test]
fn many_may_settle_at_once() {
    bounded(|| {
        virtual_runtime(2).block_on(async {
            let both = [spawn(settle()), spawn(settle())];
            for one in both {
                one.await.unwrap();
            }
        });
    });
}

#[test]
fn a_clock_that_is_no_virtual_one_is_not_moved() {
    bounded(|| {
        let refused = |moves: &mut dyn FnMut(&Runtime)| {
            let runtime = lone_worker();
            let result = catch_unwind(AssertUnwindSafe(|| moves(&runtime)));
            let message = *result.unwrap_err().downcast::<&str>().unwrap();
            assert!(message.contains("Builder::virtual_time"), "{message}");
        };
        refused(&mut |runtime| runtime.block_on(settle()));
        refused(&mut |runtime| runtime.block_on(advance(HOUR)));
        refused(&mut |runtime| runtime.block_on(async { set_auto_advance(true) }));
    });
}

#[test]
fn a_shutdown_needs_no_virtual_time() {
    bounded(|| {
        let runtime = virtual_runtime(2);
        runtime.spawn(pending::<()>()).detach();
        runtime
            .spawn(async {
                let _ = heist::task::catch_cancel(pending::<()>()).await;
                // It does not end.
                pending::<()>().await;
            })
            .detach();
        runtime.block_on(settle());
        let report = runtime.shutdown(20 * MS);
        assert_eq!(report.tasks.len(), 1, "{report:?}");
    });
}

// What the combinators do about time, exactly.

#[heist::test(virtual_time)]
async fn tasks_come_in_the_order_in_which_they_end() {
    let begun = now();
    let tasks = [30, 10, 20].map(|time| {
        spawn(async move {
            sleep(time * MS).await;
            time
        })
    });
    let mut ended = as_completed(tasks);
    for time in [10, 20, 30] {
        assert_eq!(ended.next().await.unwrap().await.unwrap(), time);
        assert_eq!(now() - begun, time * MS);
    }
}

#[heist::test(virtual_time)]
async fn a_wait_for_the_first_gives_it_and_the_others_back() {
    let tasks: Vec<_> = [10, 20, 30].map(|time| spawn(sleep(time * MS))).into();
    let first = wait(tasks, ReturnWhen::FirstCompleted, None).await;
    assert_eq!((first.done.len(), first.pending.len()), (1, 2));
    let none = wait(
        first.pending,
        ReturnWhen::AllCompleted,
        Some(Duration::ZERO),
    )
    .await;
    assert_eq!((none.done.len(), none.pending.len()), (0, 2));
    let rest = wait(none.pending, ReturnWhen::AllCompleted, None).await;
    assert_eq!((rest.done.len(), rest.pending.len()), (2, 0));
}

#[heist::test(virtual_time)]
async fn of_nested_limits_the_outer_one_is_over() {
    let begun = now();
    let mut inner_expired = true;
    let outer = timeout(10 * MS, async {
        let _ = timeout_with(5000 * MS, async |limit| {
            inner_expired = limit.expired();
            pending::<()>().await;
        })
        .await;
    });
    assert!(outer.await.is_err());
    assert!(!inner_expired);
    assert_eq!(now() - begun, 10 * MS);
}

#[heist::test(virtual_time)]
async fn a_limit_that_is_moved_in_time_is_not_over() {
    let done = timeout_with(10 * MS, async |limit| {
        limit.reschedule(Some(now() + 1000 * MS));
        sleep(30 * MS).await;
        limit.expired()
    });
    assert_eq!(done.await, Ok(false));
}

#[heist::test(virtual_time)]
async fn calls_come_in_the_order_of_their_times() {
    let (log, entries) = mpsc::channel();
    let handle = Handle::current();
    let note = |what: &'static str| {
        let log = log.clone();
        move || log.send(what).unwrap()
    };
    handle.call_later(20 * MS, note("20"));
    handle.call_later(10 * MS, note("10"));
    handle.call_soon(note("soon"));
    handle.call_later(15 * MS, note("cancelled")).cancel();
    sleep(30 * MS).await;
    settle().await;
    assert_eq!(entries.try_iter().collect::<Vec<_>>(), ["soon", "10", "20"]);
}

#[test]
fn equal_deadlines_fire_in_the_order_of_registration() {
    bounded(|| {
        virtual_runtime(1).block_on(async {
            let log = Arc::new(Mutex::new(Vec::new()));
            let at = now() + 10 * MS;
            for number in 0..1000 {
                let log = Arc::clone(&log);
                spawn(async move {
                    sleep_until(at).await;
                    log.lock().unwrap().push(number);
                })
                .detach();
                // One after the other is armed.
                settle().await;
                assert!(now() < at);
            }
            sleep_until(at + MS).await;
            assert_eq!(*log.lock().unwrap(), (0..1000).collect::<Vec<_>>());
        });
    });
}

#[heist::test(virtual_time)]
async fn missed_ticks_come_when_they_were_asked_for() {
    for (behavior, expected) in [
        (MissedTickBehavior::Burst, [0, 35, 35, 35, 40]),
        (MissedTickBehavior::Delay, [0, 35, 45, 55, 65]),
        (MissedTickBehavior::Skip, [0, 35, 40, 50, 60]),
    ] {
        let begun = now();
        let mut ticks = interval(10 * MS);
        ticks.set_missed_tick_behavior(behavior);
        let mut times = Vec::new();
        for _ in 0..5 {
            ticks.tick().await;
            times.push((now() - begun).as_millis());
            if times.len() == 1 {
                sleep(35 * MS).await;
            }
        }
        assert_eq!(times, expected, "{behavior:?}");
    }
}

#[heist::test(virtual_time)]
async fn a_group_with_a_limit_of_two_takes_twice_as_long_for_four() {
    let begun = now();
    let group = TaskGroup::builder().limit(2);
    let run = group.run(async |group| {
        for _ in 0..4 {
            group.spawn_wait(sleep(50 * MS)).await?;
            assert!(group.len() <= 2);
        }
        Ok::<_, BoxError>(now() - begun)
    });
    assert_eq!(run.await.unwrap(), 50 * MS);
    assert_eq!(now() - begun, 100 * MS);
}

#[heist::test(virtual_time, local)]
async fn local_tasks_inherit_a_deadline_too() {
    let mut child = None;
    let late = with_deadline(now() + HOUR, async {
        child = Some(heist::spawn_local(sleep(2 * HOUR)));
        sleep(2 * HOUR).await;
    });
    assert!(late.await.is_err());
    assert!(child.unwrap().await.unwrap_err().is_cancelled());
}

#[test]
fn a_scope_whose_wait_is_cancelled_waits_all_the_same() {
    bounded(|| {
        let runtime = virtual_runtime(2);
        let handle = runtime.handle().clone();
        let begun = runtime.block_on(async { now() });
        runtime.block_on(async {
            let scope = handle.clone();
            let task = spawn(async move {
                scope.scope(|scope| {
                    scope.spawn(sleep(HOUR));
                });
                now()
            });
            settle().await;
            for task in handle.all_tasks() {
                if task.name() == "scope" {
                    assert!(task.cancel());
                }
            }
            assert_eq!(task.await.unwrap() - begun, HOUR);
        });
    });
}

#[heist::test(virtual_time)]
async fn a_periodic_callback_survives_a_destructor_that_panics() {
    struct Bomb(Arc<Mutex<u32>>);

    impl Future for Bomb {
        type Output = ();

        fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
            Poll::Ready(())
        }
    }

    impl Drop for Bomb {
        fn drop(&mut self) {
            let first = {
                let mut drops = self.0.lock().unwrap();
                *drops += 1;
                *drops == 1
            };
            assert!(!first, "on purpose");
        }
    }

    let drops = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&drops);
    let beat = PeriodicCallback::new(MS, move || Bomb(Arc::clone(&counted))).start();
    sleep(5 * MS + MS / 2).await;
    assert_eq!(*drops.lock().unwrap(), 5);
    assert!(beat.cancel());
}

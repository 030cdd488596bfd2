//! Threads that block inside of the scheduler.

mod support;

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use heist_core::future::promise;
use support::{Flag, Readiness, bounded, meta, sleep, start, start_with, stop, wait_until};

#[test]
fn io_goes_on_while_the_worker_that_held_the_driver_is_blocked() {
    bounded("a blocked driver holder", || {
        for _ in 0..20 {
            let (scheduler, driver) = start(2);
            let released = Flag::default();
            let (first, second) = (Readiness(driver.clone(), 1), Readiness(driver.clone(), 2));
            let (gate, signal) = (released.clone(), driver.clone());
            let blocker = scheduler.spawn(
                async move {
                    first.await;
                    // Woken by the driver, alone: nobody else was told. Now block until another source was served.
                    signal.make_ready(2);
                    gate.wait("the second source is served while this worker is blocked");
                },
                meta(),
            );
            let other = scheduler.spawn(
                async move {
                    second.await;
                    released.raise();
                },
                meta(),
            );
            wait_until("all sleep", || scheduler.metrics().sleeping_workers == 2);
            driver.make_ready(1);
            let begun = Instant::now();
            scheduler
                .block_on(
                    async { (blocker.await.unwrap(), other.await.unwrap()) },
                    meta(),
                )
                .unwrap();
            assert!(
                begun.elapsed() < Duration::from_secs(1),
                "{:?}",
                begun.elapsed()
            );
            stop(&scheduler);
        }
    });
}

#[test]
fn block_on_inside_of_a_task_of_a_single_worker_completes() {
    bounded("nested block_on on one worker", || {
        let (scheduler, driver) = start(1);
        let own = scheduler.clone();
        let task = scheduler.spawn(
            async move {
                let inner = own.spawn(async { 1 }, meta());
                let first = own.block_on(inner, meta()).unwrap().unwrap();
                let deeper = own.clone();
                let second = own
                    .block_on(
                        async move {
                            let inner = deeper.spawn(async { 2 }, meta());
                            deeper.block_on(inner, meta()).unwrap().unwrap()
                        },
                        meta(),
                    )
                    .unwrap();
                let third = own
                    .block_on(
                        async {
                            sleep(&driver, Duration::from_millis(5)).await;
                            3
                        },
                        meta(),
                    )
                    .unwrap();
                first + second + third
            },
            meta(),
        );
        assert_eq!(scheduler.block_on(task, meta()).unwrap().unwrap(), 6);
        stop(&scheduler);
    });
}

#[test]
fn block_on_inside_of_a_blocking_closure_and_of_another_runtime_completes() {
    bounded("block_on in other places", || {
        let (a, _) = start(1);
        let (b, _) = start(1);
        let (inner_a, inner_b) = (a.clone(), b.clone());
        let closure = a.spawn_blocking(
            move || inner_a.block_on(async { 1 }, meta()).unwrap(),
            meta(),
        );
        assert_eq!(a.block_on(closure, meta()).unwrap().unwrap(), 1);
        // A task of `a` waits for a task of `b`, which waits for one of `a`: both have a single worker.
        let (deep_a, deep_b) = (a.clone(), b.clone());
        let task = a.spawn(
            async move {
                let there = deep_b.spawn(
                    async move {
                        let back = deep_a.spawn(async { 7 }, meta());
                        deep_a.block_on(back, meta()).unwrap().unwrap()
                    },
                    meta(),
                );
                inner_b.block_on(there, meta()).unwrap().unwrap()
            },
            meta(),
        );
        assert_eq!(a.block_on(task, meta()).unwrap().unwrap(), 7);
        stop(&a);
        stop(&b);
    });
}

#[test]
fn a_worker_that_blocks_with_another_runtime_entered_is_missed_by_its_own() {
    bounded("a blocked worker inside of another runtime", || {
        let (a, _) = start(1);
        let (b, _) = start(1);
        let (own, other) = (a.clone(), b.clone());
        let task = a.spawn(
            async move {
                let value = own.spawn(async { 5 }, meta());
                let _entered = heist_core::context::enter(other.context());
                other.block_on(value, meta()).unwrap().unwrap()
            },
            meta(),
        );
        assert_eq!(a.block_on(task, meta()).unwrap().unwrap(), 5);
        stop(&a);
        stop(&b);
    });
}

#[test]
fn the_handler_is_told_when_all_threads_are_blocked() {
    bounded("one blocked worker too many", || {
        let (report, reports) = channel();
        let (scheduler, _) = start_with(1, |config| {
            config.max_spare_workers = 1;
            config.exception_handler = Some(Arc::new(move |exception| {
                let _ = report.send(exception.message().to_owned());
            }));
        });
        let (promise, deferred) = promise();
        let (outer, inner) = (scheduler.clone(), scheduler.clone());
        let task = scheduler.spawn(
            async move {
                let nested = async move { inner.block_on(deferred, meta()).unwrap().unwrap() };
                let nested = outer.spawn(nested, meta());
                outer.block_on(nested, meta()).unwrap().unwrap()
            },
            meta(),
        );
        let told = reports.recv().unwrap();
        assert!(told.contains("no further thread"), "{told}");
        promise.set_result(3).unwrap();
        assert_eq!(scheduler.block_on(task, meta()).unwrap().unwrap(), 3);
        stop(&scheduler);
        assert!(reports.try_recv().is_err(), "told twice");
    });
}

#[test]
fn a_hundred_workers_block_at_once_and_the_rest_goes_on() {
    bounded("many announced blockers", || {
        let (scheduler, _) = start_with(2, |config| config.max_spare_workers = 128);
        for _ in 0..5 {
            let tasks: Vec<_> = (0..100)
                .map(|n| {
                    let own = scheduler.clone();
                    scheduler.spawn(
                        async move {
                            let inner = own.spawn(async move { n }, meta());
                            own.block_on(inner, meta()).unwrap().unwrap()
                        },
                        meta(),
                    )
                })
                .collect();
            let sum = scheduler.block_on(
                async move {
                    let mut sum = 0;
                    for task in tasks {
                        sum += task.await.unwrap();
                    }
                    sum
                },
                meta(),
            );
            assert_eq!(sum.unwrap(), 4950);
        }
        stop(&scheduler);
    });
}

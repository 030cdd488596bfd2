//! Sleeps, timeouts and intervals by the real clock, on several workers. None of them is early; how late they are is
//! measured elsewhere.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

mod support;

use std::future::pending;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use futures_lite::future::{or, poll_once};
use heist::task::{Finalizers, catch_cancel, yield_now};
use heist::time::{
    MissedTickBehavior, PeriodicCallback, Sleep, deadline, interval, interval_at, now, sleep,
    sleep_until, timeout, timeout_at, timeout_with, with_deadline,
};
use heist::{Runtime, promise};
use support::{bounded, lone_worker, runtime};

const MS: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn no_sleep_is_early_on_several_workers() {
    bounded(|| {
        let runtime = runtime(4);
        let sleeps: Vec<_> = (0..4000_u32)
            .map(|n| {
                runtime.spawn(async move {
                    // From 0 to 40 ms, in steps that are no whole number of anything.
                    let time = n * Duration::from_nanos(10_007);
                    let begun = Instant::now();
                    sleep(time).await;
                    begun.elapsed() >= time
                })
            })
            .collect();
        for sleep in sleeps {
            assert!(runtime.block_on(sleep).unwrap(), "a sleep was early");
        }
    });
}

/// Polls it on whichever worker the task is on, and then lets another one have it.
async fn armed(mut sleep: Pin<Box<Sleep>>) -> Pin<Box<Sleep>> {
    assert!(poll_once(&mut sleep).await.is_none());
    sleep
}

#[test]
fn a_sleep_that_is_reset_elsewhere_ends_at_its_new_time() {
    bounded(|| {
        let runtime = runtime(2);
        for n in 0..50 {
            let earlier = runtime.spawn(async {
                let mut sleep = heist::spawn(armed(Box::pin(sleep(HOUR)))).await.unwrap();
                let new = Instant::now() + MS;
                sleep.as_mut().reset(new);
                sleep.await;
                Instant::now() >= new
            });
            let later = runtime.spawn(async move {
                let old = Instant::now() + MS;
                let mut sleep = heist::spawn(armed(Box::pin(sleep_until(old + 9 * MS))))
                    .await
                    .unwrap();
                let new = old + 10 * MS + n * MS / 10;
                sleep.as_mut().reset(new);
                sleep.await;
                Instant::now() >= new
            });
            assert!(runtime.block_on(earlier).unwrap(), "early");
            assert!(runtime.block_on(later).unwrap(), "early");
        }
    });
}

#[test]
fn a_sleep_may_be_awaited_on_another_runtime_than_it_was_armed_on() {
    bounded(|| {
        let (first, second) = (runtime(1), runtime(1));
        let begun = Instant::now();
        let sleep = first.spawn(armed(Box::pin(sleep(20 * MS))));
        let sleep = first.block_on(sleep).unwrap();
        second.block_on(second.spawn(sleep)).unwrap();
        assert!(begun.elapsed() >= 20 * MS);
    });
}

#[test]
fn the_ticks_of_an_interval_do_not_drift() {
    bounded(|| {
        let runtime = runtime(2);
        let start = Instant::now();
        let ticks = runtime.spawn(async move {
            let mut interval = interval_at(start, MS);
            let mut ticks = Vec::new();
            for _ in 0..200 {
                let tick = interval.tick().await;
                assert!(Instant::now() >= tick, "a tick was early");
                ticks.push(tick);
            }
            ticks
        });
        let ticks = runtime.block_on(ticks).unwrap();
        let expected: Vec<_> = (0..200).map(|n| start + n * MS).collect();
        assert_eq!(ticks, expected);
        assert!(start.elapsed() >= 199 * MS);
    });
}

#[test]
fn a_tick_that_was_missed_is_made_up_for_as_was_asked() {
    bounded(|| {
        let runtime = lone_worker();
        runtime.block_on(async {
            let now = |behavior| async move {
                let mut interval = interval(10 * MS);
                interval.set_missed_tick_behavior(behavior);
                let first = interval.tick().await;
                thread::sleep(35 * MS);
                let late = interval.tick().await - first;
                let next = interval.tick().await - first;
                (late, next)
            };
            let (late, next) = now(MissedTickBehavior::Burst).await;
            assert_eq!((late, next), (10 * MS, 20 * MS));
            let (late, next) = now(MissedTickBehavior::Delay).await;
            assert!(late == 10 * MS && next >= 45 * MS, "{late:?} {next:?}");
            let (late, next) = now(MissedTickBehavior::Skip).await;
            assert!(late == 10 * MS && next >= 40 * MS, "{late:?} {next:?}");
            assert_eq!(next.as_nanos() % (10 * MS).as_nanos(), 0);
        });
    });
}

#[test]
fn a_timeout_drops_what_it_waited_for_and_one_that_is_ready_wins() {
    bounded(|| {
        let runtime = runtime(2);
        let drops = support::Drops::default();
        let guard = drops.guard();
        let never = async move {
            let _guard = guard;
            std::future::pending::<()>().await;
        };
        let begun = Instant::now();
        let late = runtime.block_on(timeout(5 * MS, never));
        assert!(late.is_err() && begun.elapsed() >= 5 * MS);
        assert_eq!(drops.count(), 1);
        let past = Instant::now() - MS;
        assert_eq!(runtime.block_on(timeout_at(past, async { 3 })).unwrap(), 3);
        assert_eq!(runtime.block_on(timeout(HOUR, async { 4 })).unwrap(), 4);
        runtime.block_on(or(sleep(HOUR), sleep(MS)));
    });
}

/// A worker that sleeps for an hour is woken by a timer that another thread arms.
#[test]
fn an_earlier_timer_of_another_thread_wakes_who_sleeps_for_a_later_one() {
    bounded(|| {
        let runtime = lone_worker();
        let far = runtime.spawn(sleep(HOUR));
        for _ in 0..100 {
            // The root polls on this thread, and arms its timer here.
            let begun = Instant::now();
            runtime.block_on(sleep(MS));
            assert!(begun.elapsed() >= MS);
        }
        assert!(!far.is_finished());
    });
}

#[test]
fn of_nested_limits_that_which_was_over_first_says_so() {
    bounded(|| {
        runtime(1).block_on(async {
            let mut inner = None;
            let outer = timeout_with(Duration::from_millis(10), async |_| {
                let place = &mut inner;
                timeout_with(HOUR, async |limit| {
                    *place = Some(limit);
                    pending::<()>().await
                })
                .await
            })
            .await;
            assert!(outer.is_err());
            assert!(!inner.unwrap().expired());
        });
    });
}

#[test]
fn a_limit_of_zero_polls_once() {
    bounded(|| {
        runtime(1).block_on(async {
            let ready = timeout_with(Duration::ZERO, async |_| 1).await;
            assert_eq!(ready, Ok(1));
            let late = timeout_with(Duration::ZERO, async |_| heist::task::yield_now().await);
            assert!(late.await.is_err());
            assert!(
                timeout(Duration::ZERO, heist::task::yield_now())
                    .await
                    .is_err()
            );
        });
    });
}

#[test]
fn a_limit_that_is_moved_is_over_then_and_not_before() {
    bounded(|| {
        runtime(2).block_on(async {
            // It is over by the second poll, unless it was moved.
            let kept = timeout_with(Duration::from_nanos(1), async |limit| {
                limit.reschedule(None);
                heist::task::yield_now().await;
                (limit.expired(), limit.when())
            });
            assert_eq!(kept.await, Ok((false, None)));
            // By somebody else, and to a time that is past.
            let (told, limit) = heist::promise();
            heist::spawn(async move {
                let limit: heist::time::Limit = limit.await.unwrap();
                limit.reschedule(Some(Instant::now()));
            });
            let moved = timeout_with(HOUR, async |limit| {
                let _ = told.set_result(limit);
                pending::<()>().await
            });
            assert!(moved.await.is_err());
        });
    });
}

/// In which a deadline comes when nothing else goes on.
fn virtual_runtime() -> Runtime {
    Runtime::builder()
        .worker_threads(2)
        .virtual_time(true)
        .build()
        .unwrap()
}

#[test]
fn tasks_inherit_a_deadline_and_are_cancelled_by_it() {
    bounded(|| {
        let runtime = virtual_runtime();
        let at = runtime.block_on(async { now() }) + HOUR;
        let children = promise();
        let late = runtime.block_on(with_deadline(at, async {
            assert_eq!(deadline(), Some(at));
            let grandchild = heist::spawn(async {
                assert!(deadline().is_some());
                heist::spawn(pending::<()>()).await
            });
            let cleans_up = heist::spawn(async {
                match catch_cancel(pending::<()>()).await {
                    Ok(()) => unreachable!("it waits for ever"),
                    Err(request) => request.reason().map(str::to_owned),
                }
            });
            let asks = heist::spawn_blocking(deadline).await.unwrap();
            children
                .0
                .set_result((grandchild, cleans_up, asks))
                .unwrap();
            pending::<()>().await;
        }));
        assert!(late.is_err());
        assert_eq!(runtime.block_on(async { now() }), at);
        let (grandchild, cleans_up, asks) = runtime.block_on(children.1).unwrap();
        // Whichever of the two is cancelled first.
        let cancelled = runtime.block_on(grandchild).and_then(|inner| inner);
        assert!(cancelled.unwrap_err().is_cancelled());
        let reason = runtime.block_on(cleans_up).unwrap();
        assert_eq!(reason.as_deref(), Some("its deadline is over"));
        assert_eq!(asks, Some(at));
        assert_eq!(deadline(), None);
    });
}

#[test]
fn of_nested_deadlines_the_earlier_one_counts_and_clean_up_has_none() {
    bounded(|| {
        let runtime = virtual_runtime();
        let begun = runtime.block_on(async { now() });
        let (near, far) = (begun + MS, begun + HOUR);
        let cleaned = promise();
        let late = runtime.block_on(with_deadline(near, async {
            with_deadline(far, async {
                assert_eq!(deadline(), Some(near));
                Finalizers::run(Duration::MAX, async |finalizers: Finalizers| {
                    finalizers.defer_async(async move {
                        // What it spawns is not late from the start.
                        let child = heist::spawn(async {
                            yield_now().await;
                            deadline()
                        });
                        cleaned.0.set_result(child.await).unwrap();
                    });
                    pending::<()>().await;
                })
                .await;
            })
            .await
        }));
        assert!(late.is_err());
        assert_eq!(runtime.block_on(cleaned.1).unwrap().unwrap(), None);
    });
}

#[test]
fn a_periodic_callback_does_not_overlap_survives_its_panics_and_ends_when_it_is_cancelled() {
    bounded(|| {
        let (told, tell) = mpsc::channel();
        let told = Mutex::new(told);
        let runtime = Runtime::builder()
            .worker_threads(2)
            .exception_handler(move |exception| {
                let message = exception.message().to_owned();
                told.lock().unwrap().send(message).unwrap();
            })
            .build()
            .unwrap();
        let (called, calls) = mpsc::channel();
        let busy = Arc::new(AtomicUsize::new(0));
        let mut count = 0;
        let beat = {
            let _entered = runtime.enter();
            PeriodicCallback::new(MS, move || {
                count += 1;
                let (number, called, busy) = (count, called.clone(), Arc::clone(&busy));
                async move {
                    assert_eq!(busy.fetch_add(1, Ordering::Relaxed), 0);
                    // Longer than its period.
                    sleep(3 * MS).await;
                    busy.fetch_sub(1, Ordering::Relaxed);
                    let _ = called.send(number);
                    assert_ne!(number, 2, "on purpose");
                }
            })
            .jitter(MS / 2)
            .start()
        };
        for number in 1..=4 {
            assert_eq!(calls.recv().unwrap(), number);
        }
        assert!(tell.recv().unwrap().contains("on purpose"));
        assert!(
            runtime
                .block_on(beat.cancel_and_wait())
                .unwrap_err()
                .is_cancelled()
        );
    });
}

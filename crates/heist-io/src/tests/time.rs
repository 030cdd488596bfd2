#[cfg(feature = "hyper")]
mod hyper;

use crate::sync::Acquire;
use crate::tests::harness::{LIMIT, TestRuntime, both, poll_once};
use crate::time::{
    Interval, MissedTickBehavior, interval, interval_at, sleep, sleep_until, timeout, timeout_at,
};
use heist_core::driver::{Driver, Wait};
use std::cell::{Cell, RefCell};
use std::future::{pending, poll_fn, ready};
use std::io;
use std::pin::pin;
use std::sync::{Arc, Barrier};
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant};

const MS: Duration = Duration::from_millis(1);

#[test]
fn a_sleep_never_ends_early_and_at_the_median_within_a_tenth_of_a_millisecond() {
    let runtime = TestRuntime::new();
    for length in [Duration::from_micros(300), MS, 3 * MS, 120 * MS] {
        let rounds = if length > 50 * MS { 3 } else { 41 };
        let mut late: Vec<_> = (0..rounds)
            .map(|_| {
                let start = Instant::now();
                runtime.block_on(sleep(length));
                let took = start.elapsed();
                assert!(took >= length, "{took:?}");
                took - length
            })
            .collect();
        late.sort();
        let median = late[late.len() / 2];
        println!("sleep({length:?}): {median:?} late at the median");
        // Wide: other tests run beside this one. What is printed is read by people.
        assert!(median < 20 * MS, "{median:?}");
    }
}

#[test]
fn zero_and_past_are_ready_at_once_and_touch_no_driver() {
    let runtime = TestRuntime::with_clock();
    let past = runtime.now() - MS;
    runtime.block_on(async {
        assert!(poll_once(pin!(sleep(Duration::ZERO))).is_ready());
        assert!(poll_once(pin!(sleep_until(past))).is_ready());
        assert!(poll_once(pin!(sleep(MS))).is_pending());
    });
    assert_eq!(runtime.io.next_deadline(), None, "the last one was dropped");
}

#[test]
fn a_sleep_that_is_not_polled_is_not_armed() {
    let runtime = TestRuntime::with_clock();
    runtime.block_on(async {
        let sleep = sleep(MS);
        assert_eq!(runtime.io.next_deadline(), None);
        let mut sleep = pin!(sleep);
        assert!(poll_once(sleep.as_mut()).is_pending());
        assert_eq!(runtime.io.next_deadline(), sleep.deadline());
    });
}

#[test]
fn far_future_never_fires() {
    let runtime = TestRuntime::with_clock();
    runtime.block_on(async {
        let mut never = pin!(sleep(Duration::MAX));
        assert_eq!(never.deadline(), None);
        assert!(poll_once(never.as_mut()).is_pending());
        assert_eq!(runtime.io.next_deadline(), None);
        let mut later = pin!(sleep(Duration::from_secs(400 * 365 * 86_400)));
        assert!(poll_once(later.as_mut()).is_pending());
        runtime.advance(Duration::from_secs(300 * 365 * 86_400));
        assert!(poll_once(later.as_mut()).is_pending());
        runtime.advance(Duration::from_secs(100 * 365 * 86_400));
        assert!(poll_once(later).is_ready());
        assert!(poll_once(never).is_pending());
    });
}

#[test]
fn equal_deadlines_fire_in_the_order_of_registration() {
    let runtime = TestRuntime::with_clock();
    let order = RefCell::new(Vec::new());
    runtime.block_on(async {
        let at = runtime.now() + 5 * MS;
        let sleeps: Vec<_> = (0..100).map(|_| Box::pin(sleep_until(at))).collect();
        let wakers: Vec<_> = (0..100).map(|index| Arc::new(Order(index))).collect();
        let mut sleeps = sleeps;
        for (sleep, waker) in sleeps.iter_mut().zip(&wakers) {
            let waker = waker.clone().into();
            let mut cx = std::task::Context::from_waker(&waker);
            assert!(std::future::Future::poll(sleep.as_mut(), &mut cx).is_pending());
        }
        LOG.with_borrow_mut(Vec::clear);
        assert_eq!(runtime.advance(5 * MS - Duration::from_nanos(1)), 0);
        assert_eq!(runtime.advance(Duration::from_nanos(1)), 100);
        order.borrow_mut().extend(LOG.with_borrow(Clone::clone));
    });
    assert_eq!(*order.borrow(), (0..100).collect::<Vec<_>>());
}

thread_local!(static LOG: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) });

struct Order(usize);

impl std::task::Wake for Order {
    fn wake(self: Arc<Self>) {
        LOG.with_borrow_mut(|log| log.push(self.0));
    }
}

#[test]
fn reset_earlier_and_later_without_another_poll() {
    let runtime = TestRuntime::with_clock();
    runtime.block_on(async {
        let start = runtime.now();
        let mut sleep = pin!(sleep(10 * MS));
        assert!(poll_once(sleep.as_mut()).is_pending());
        sleep.as_mut().reset(start + 20 * MS);
        assert_eq!(runtime.advance(10 * MS), 0);
        sleep.as_mut().reset(start + 12 * MS);
        assert_eq!(runtime.io.next_deadline(), Some(start + 12 * MS));
        assert_eq!(runtime.advance(2 * MS), 1);
        assert!(sleep.is_elapsed());
        assert!(poll_once(sleep.as_mut()).is_ready());
        assert!(poll_once(sleep.as_mut()).is_ready(), "it stays ready");
        sleep.as_mut().reset(start + 30 * MS);
        assert!(poll_once(sleep.as_mut()).is_pending());
        sleep.as_mut().reset(start);
        assert_eq!(
            runtime.advance(Duration::ZERO),
            1,
            "the past is due at once"
        );
        assert!(poll_once(sleep).is_ready());
    });
}

#[test]
fn an_earlier_timer_of_another_thread_wakes_the_sleeper() {
    let runtime = TestRuntime::new();
    for _ in 0..200 {
        let start = Arc::new(Barrier::new(2));
        let armed = thread::spawn({
            let (runtime, start) = (runtime.clone(), start.clone());
            move || {
                let _entered = heist_core::context::enter(runtime.clone());
                let mut sleep = Box::pin(sleep(Duration::from_micros(50)));
                start.wait();
                let pending = poll_once(sleep.as_mut()).is_pending();
                (sleep, pending)
            }
        });
        start.wait();
        // Sleeps for ever unless the other thread's timer ends it, or it was armed before.
        let begin = Instant::now();
        let mut woken = 0;
        while woken == 0 {
            woken = runtime.io.turn(0, Wait::Until(Instant::now() + LIMIT));
            assert!(begin.elapsed() < LIMIT);
        }
        let (mut sleep, pending) = armed.join().unwrap();
        assert!(pending);
        assert!(poll_once(sleep.as_mut()).is_ready());
    }
}

#[test]
fn a_sleep_moves_between_wakers_and_is_cancelled_from_another_thread() {
    let runtime = TestRuntime::with_clock();
    runtime.block_on(async {
        let mut sleep = Box::pin(sleep(MS));
        assert!(poll_once(sleep.as_mut()).is_pending());
        let wakers: Vec<_> = (0..2).map(|index| Arc::new(Order(index))).collect();
        for waker in &wakers {
            let waker = waker.clone().into();
            let mut cx = std::task::Context::from_waker(&waker);
            assert!(std::future::Future::poll(sleep.as_mut(), &mut cx).is_pending());
        }
        assert_eq!(Arc::strong_count(&wakers[0]), 1, "the old waker is gone");
        thread::spawn(move || drop(sleep)).join().unwrap();
        assert_eq!(Arc::strong_count(&wakers[1]), 1);
        assert_eq!(runtime.io.next_deadline(), None);
    });
}

#[test]
fn a_timeout_polls_its_future_before_the_clock() {
    let runtime = TestRuntime::new();
    runtime.block_on(async {
        let polls = Cell::new(0);
        let counted = poll_fn(|_| {
            polls.set(polls.get() + 1);
            Poll::<()>::Pending
        });
        let elapsed = timeout(Duration::ZERO, counted).await.unwrap_err();
        assert_eq!(polls.get(), 1);
        assert_eq!(io::Error::from(elapsed).kind(), io::ErrorKind::TimedOut);
        assert_eq!(timeout(Duration::ZERO, ready(5)).await, Ok(5));
        assert_eq!(timeout_at(Instant::now() - MS, ready(6)).await, Ok(6));
        assert_eq!(timeout(Duration::MAX, ready(7)).await, Ok(7));
        assert!(timeout(MS, pending::<()>()).await.is_err());
    });
}

#[test]
fn the_future_of_a_timeout_is_dropped_before_elapsed_comes_out() {
    let runtime = TestRuntime::new();
    let token = Arc::new(());
    let held = token.clone();
    let future = async move {
        let _held = held;
        pending::<()>().await;
    };
    let mut timeout = Box::pin(timeout(MS, future));
    runtime.block_on(timeout.as_mut()).unwrap_err();
    assert_eq!(Arc::strong_count(&token), 1);
    assert!(timeout.get_ref().is_none());
}

#[test]
fn the_outer_of_two_timeouts_elapses_alone() {
    let runtime = TestRuntime::with_clock();
    let inner_elapsed = Cell::new(false);
    runtime.block_on(async {
        let inner = async {
            let result = timeout(5000 * MS, pending::<()>()).await;
            inner_elapsed.set(result.is_err());
        };
        let mut outer = Box::pin(timeout(10 * MS, inner));
        assert!(poll_once(outer.as_mut()).is_pending());
        runtime.advance(10 * MS);
        assert!(matches!(poll_once(outer.as_mut()), Poll::Ready(Err(_))));
    });
    assert!(!inner_elapsed.get());
    assert_eq!(runtime.io.next_deadline(), None, "both limits are dropped");
}

#[test]
fn the_future_of_a_timeout_is_given_back() {
    let runtime = TestRuntime::with_clock();
    runtime.block_on(async {
        let limited = timeout(MS, ready(5));
        assert!(limited.get_ref().is_some());
        assert_eq!(limited.into_inner().unwrap().await, 5);
    });
}

#[test]
#[should_panic(expected = "must not be zero")]
fn an_interval_of_zero_panics() {
    let _ = interval(Duration::ZERO);
}

#[test]
fn an_interval_keeps_its_beat() {
    let runtime = TestRuntime::with_clock();
    runtime.block_on(async {
        let start = runtime.now();
        let mut beat = interval(10 * MS);
        assert_eq!(take(&mut beat), Some(start));
        for tick in 1..=10_000 {
            assert_eq!(take(&mut beat), None);
            runtime.advance(10 * MS);
            assert_eq!(take(&mut beat), Some(start + 10 * MS * tick));
        }
    });
}

#[test]
fn missed_ticks_are_made_up_for_delayed_or_left_out() {
    use MissedTickBehavior::{Burst, Delay, Skip};
    // For when each tick was set, and when it was taken.
    for (behavior, set, taken) in [
        (Burst, [0, 10, 20, 30, 40], [0, 35, 35, 35, 40]),
        (Delay, [0, 10, 45, 55, 65], [0, 35, 45, 55, 65]),
        (Skip, [0, 10, 40, 50, 60], [0, 35, 40, 50, 60]),
    ] {
        let runtime = TestRuntime::with_clock();
        runtime.block_on(async {
            let start = runtime.now();
            let mut beat = interval_at(start, 10 * MS);
            beat.set_missed_tick_behavior(behavior);
            assert_eq!(take(&mut beat), Some(start));
            runtime.advance(35 * MS);
            for (set, taken) in set.into_iter().zip(taken).skip(1) {
                let tick = loop {
                    if let Some(tick) = take(&mut beat) {
                        break tick;
                    }
                    runtime.advance(MS);
                };
                assert_eq!(tick - start, set * MS, "{behavior:?}");
                assert_eq!(runtime.now() - start, taken * MS, "{behavior:?}");
            }
        });
    }
}

fn take(beat: &mut Interval) -> Option<Instant> {
    match poll_once(pin!(beat.tick())) {
        Poll::Ready(tick) => Some(tick),
        Poll::Pending => None,
    }
}

#[test]
#[should_panic(expected = "needs a heist runtime")]
fn a_sleep_outside_of_any_runtime_says_what_to_do() {
    let _ = poll_once(pin!(sleep(MS)));
}

#[test]
fn a_waker_that_panics_keeps_no_other_from_being_woken() {
    struct Panics;
    impl std::task::Wake for Panics {
        fn wake(self: Arc<Self>) {
            panic!("a waker that panics, as the test wants");
        }
    }
    let runtime = TestRuntime::with_clock();
    runtime.block_on(async {
        let mut first = pin!(sleep(MS));
        let waker = Arc::new(Panics).into();
        let polled =
            std::future::Future::poll(first.as_mut(), &mut std::task::Context::from_waker(&waker));
        assert!(polled.is_pending());
        let mut second = pin!(sleep(MS));
        assert!(poll_once(second.as_mut()).is_pending());
        assert_eq!(runtime.advance(MS), 2);
        assert!(poll_once(second).is_ready());
    });
    assert_eq!(runtime.panics.load(Acquire), 1, "reported");
}

/// The printed figure is read by people, in a release build.
#[test]
fn timeouts_that_are_made_and_dropped_leave_nothing() {
    let runtime = TestRuntime::new();
    runtime.block_on(async {
        let rounds = 1_000_000;
        let start = Instant::now();
        for _ in 0..rounds {
            let mut sleep = pin!(sleep(Duration::from_secs(3600)));
            assert!(poll_once(sleep.as_mut()).is_pending());
        }
        println!(
            "create, poll, drop: {:.1} ns",
            start.elapsed().as_nanos() as f64 / f64::from(rounds)
        );
    });
    assert_eq!(runtime.io.next_deadline(), None);
}

#[test]
fn two_sleeps_at_once() {
    let runtime = TestRuntime::new();
    let start = Instant::now();
    runtime.block_on(both(sleep(2 * MS), sleep(4 * MS)));
    assert!(start.elapsed() >= 4 * MS);
}

#[test]
fn a_jittered_tick_is_late_by_less_than_its_jitter_and_keeps_the_beat() {
    let runtime = TestRuntime::with_clock();
    runtime.block_on(async {
        let start = runtime.now();
        let mut interval = interval(10 * MS);
        interval.set_jitter(4 * MS);
        assert_eq!(interval.tick().await, start);
        for n in 1..=100_u32 {
            runtime.advance(start + n * 10 * MS - runtime.now() - Duration::from_nanos(1));
            assert!(
                poll_once(pin!(interval.tick())).is_pending(),
                "{n} is early"
            );
            runtime.advance(4 * MS + Duration::from_nanos(1));
            let tick = poll_once(pin!(interval.tick()));
            assert_eq!(tick, std::task::Poll::Ready(start + n * 10 * MS));
        }
    });
}

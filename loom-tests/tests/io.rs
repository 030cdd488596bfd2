//! Readiness and timers: events, clears and waiters; arming, cancelling and firing; the sleeper's alarm.

#![cfg(loom)]

use heist_io::park::Park;
use heist_io::readiness::{Interest, Ready};
use heist_io::source::Source;
use heist_io::timer::{Due, NEVER, Timer, Timers};
use heist_io::wake::WakeList;
use heist_loom_tests::explore;
use loom::future::block_on;
use loom::sync::atomic::AtomicUsize;
use loom::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use loom::thread;
use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

/// What an operation does: wait, try, clear, wait again.
fn take_all(source: &Source, data: &AtomicUsize) -> impl Future<Output = usize> {
    poll_fn(move |cx: &mut Context<'_>| {
        let mut tried = None;
        loop {
            let polled = source.poll_ready(cx, Interest::Readable, None, tried, |_| Ok(()));
            let Poll::Ready(seen) = polled else {
                return Poll::Pending;
            };
            let seen = seen.expect("the runtime is there");
            match data.swap(0, AcqRel) {
                0 => {
                    source.clear(Interest::Readable, seen);
                    tried = Some(seen.tick);
                }
                taken => return Poll::Ready(taken),
            }
        }
    })
}

#[test]
fn an_event_races_with_the_clear_and_the_waiter() {
    explore("an_event_races_with_the_clear_and_the_waiter", || {
        let source = Arc::new(Source::new(Ready::EMPTY));
        // What the kernel has: written, then told.
        let data = Arc::new(AtomicUsize::new(0));
        let (events, written) = (Arc::clone(&source), Arc::clone(&data));
        let kernel = thread::spawn(move || {
            for _ in 0..2 {
                written.fetch_add(1, AcqRel);
                let mut wakers = WakeList::new();
                events.on_event(Ready::READABLE, false, &mut wakers);
                wakers.wake_all();
            }
        });
        let mut taken = 0;
        while taken < 2 {
            taken += block_on(take_all(&source, &data));
        }
        kernel.join().expect("the model's thread");
    });
}

#[test]
fn what_was_done_before_an_unpark_is_seen_after_the_sleep() {
    explore(
        "what_was_done_before_an_unpark_is_seen_after_the_sleep",
        || {
            // Neither what was done nor what wakes the poller orders anything: that is the word's to do.
            let world = Arc::new((Park::new(), AtomicUsize::new(0), AtomicUsize::new(0)));
            let other = thread::spawn({
                let world = Arc::clone(&world);
                move || {
                    let (park, done, poller) = &*world;
                    done.store(1, Relaxed);
                    if park.unpark() {
                        poller.store(1, Relaxed);
                    }
                }
            });
            let (park, done, poller) = &*world;
            if park.begin_sleep() {
                while poller.load(Relaxed) == 0 {
                    thread::yield_now();
                }
                park.end_sleep();
            }
            assert_eq!(done.load(Relaxed), 1);
            other.join().expect("the model's thread");
        },
    );
}

#[test]
fn the_end_of_the_runtime_wakes_a_waiter() {
    explore("the_end_of_the_runtime_wakes_a_waiter", || {
        let source = Arc::new(Source::new(Ready::EMPTY));
        let events = Arc::clone(&source);
        let end = thread::spawn(move || {
            let mut wakers = WakeList::new();
            events.on_event(Ready::GONE, true, &mut wakers);
            wakers.wake_all();
        });
        let waited = block_on(poll_fn(|cx| {
            source.poll_ready(cx, Interest::Readable, None, None, |_| Ok(()))
        }));
        assert!(waited.is_err());
        end.join().expect("the model's thread");
    });
}

#[test]
fn an_earlier_timer_wakes_the_sleeper() {
    explore("an_earlier_timer_wakes_the_sleeper", || {
        let woken = Arc::new(AtomicUsize::new(0));
        let alarm = Arc::clone(&woken);
        let wake = Box::new(move || alarm.store(1, Release));
        let timers = Arc::new(Timers::new(1, Instant::now(), wake));
        let arming = Arc::clone(&timers);
        let other = thread::spawn(move || {
            let mut timer = Box::pin(Timer::new(Due::Never));
            let mut cx = Context::from_waker(Waker::noop());
            let polled = timer.as_mut().poll_in(&mut cx, arming.shard(0), 5);
            assert!(polled.is_pending());
            timer
        });
        let until = timers.before_sleep(100);
        let timer = other.join().expect("the model's thread");
        if until == 100 {
            assert_eq!(woken.load(Acquire), 1, "slept past a timer");
        } else {
            assert_eq!(until, 5);
        }
        timers.after_sleep();
        drop(timer);
    });
}

#[test]
fn a_timer_is_dropped_while_it_fires() {
    explore("a_timer_is_dropped_while_it_fires", || {
        let timers = Arc::new(Timers::new(1, Instant::now(), Box::new(|| {})));
        let mut timer = Box::pin(Timer::new(Due::Never));
        let mut cx = Context::from_waker(Waker::noop());
        assert!(
            timer
                .as_mut()
                .poll_in(&mut cx, timers.shard(0), 5)
                .is_pending()
        );
        let firing = Arc::clone(&timers);
        let other = thread::spawn(move || firing.fire_all(5));
        let ready = timer
            .as_mut()
            .poll_in(&mut cx, timers.shard(0), 5)
            .is_ready();
        drop(timer);
        let fired = other.join().expect("the model's thread");
        assert!(!ready || fired == 1);
        assert_eq!(timers.next_deadline(), NEVER);
    });
}

#[test]
fn a_timer_is_awaited_while_it_fires() {
    explore("a_timer_is_awaited_while_it_fires", || {
        let timers = Arc::new(Timers::new(1, Instant::now(), Box::new(|| {})));
        let firing = Arc::clone(&timers);
        let other = thread::spawn(move || {
            while firing.next_deadline() == NEVER {
                thread::yield_now();
            }
            firing.fire_all(5)
        });
        let mut timer = Box::pin(Timer::new(Due::Never));
        let shard = Arc::clone(timers.shard(0));
        block_on(poll_fn(|cx| timer.as_mut().poll_in(cx, &shard, 5)));
        other.join().expect("the model's thread");
    });
}

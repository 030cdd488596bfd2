//! The line, and what is built on it, polled by hand.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;

mod channels;
mod queue;

use crate::{Barrier, Event, Mutex, RwLock, Semaphore};

fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// The output of a future that has to be ready.
fn ready<F: Future>(future: F) -> F::Output {
    match poll(pin!(future)) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("it waits"),
    }
}

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Relaxed);
    }
}

#[test]
fn whoever_waits_gets_the_mutex_in_the_order_of_coming() {
    let mutex = Mutex::new(Vec::new());
    let guard = ready(mutex.lock());
    let mut waiting: Vec<_> = (0..3).map(|_| Box::pin(mutex.lock())).collect();
    for future in &mut waiting {
        assert!(poll(future.as_mut()).is_pending());
    }
    drop(guard);
    for at in 0..3 {
        for later in &mut waiting[at + 1..] {
            assert!(poll(later.as_mut()).is_pending());
        }
        let Poll::Ready(mut guard) = poll(waiting[at].as_mut()) else {
            panic!("it is the turn of {at}")
        };
        guard.push(at);
    }
    drop(waiting);
    assert_eq!(mutex.into_inner(), [0, 1, 2]);
}

#[test]
fn nobody_overtakes_whoever_was_served_and_has_not_run_yet() {
    let mutex = Mutex::new(());
    let guard = ready(mutex.lock());
    let mut next = pin!(mutex.lock());
    assert!(poll(next.as_mut()).is_pending());
    drop(guard);
    assert!(mutex.is_locked() && mutex.try_lock().is_err());
    assert!(poll(pin!(mutex.lock())).is_pending());
    assert!(poll(next.as_mut()).is_ready());
    assert!(mutex.try_lock().is_ok());
}

#[test]
fn whoever_goes_away_passes_the_turn_on() {
    for served in [false, true] {
        let mutex = Mutex::new(());
        let guard = ready(mutex.lock());
        let mut waiting: Vec<_> = (0..3).map(|_| Box::pin(mutex.lock())).collect();
        for future in &mut waiting {
            assert!(poll(future.as_mut()).is_pending());
        }
        if served {
            drop(guard);
            drop(waiting.remove(0));
        } else {
            drop(waiting.remove(1));
            drop(waiting.remove(0));
            drop(guard);
        }
        for mut future in waiting {
            assert!(poll(future.as_mut()).is_ready());
        }
        assert!(!mutex.is_locked());
    }
}

#[test]
fn who_is_first_waits_for_many_and_nobody_takes_few_meanwhile() {
    let semaphore = Semaphore::new(3);
    let (one, two) = (ready(semaphore.acquire()), ready(semaphore.acquire_many(2)));
    let mut many = Box::pin(semaphore.acquire_many(3));
    let mut few = Box::pin(semaphore.acquire());
    assert!(poll(many.as_mut()).is_pending() && poll(few.as_mut()).is_pending());
    drop(two);
    assert_eq!(semaphore.available_permits(), 2);
    assert!(semaphore.is_exhausted() && semaphore.try_acquire().is_err());
    assert!(poll(few.as_mut()).is_pending());
    // Whoever stood in front goes away: now there are enough.
    drop(many);
    let few = poll(few.as_mut());
    assert!(few.is_ready());
    drop((one, few));
    assert_eq!(semaphore.available_permits(), 3);
}

#[test]
fn permits_over_the_maximum_are_an_error() {
    let bounded = Semaphore::bounded(2);
    let error = bounded.release(1).unwrap_err();
    assert_eq!(error.most(), 2);
    assert!(error.to_string().contains("may have 2 permits"));
    let held = bounded.try_acquire().unwrap();
    assert!(bounded.release(1).is_err(), "one that is held comes back");
    drop(held);
    assert_eq!(bounded.available_permits(), 2);
    bounded.try_acquire_many(2).unwrap().forget();
    assert!(bounded.release(3).is_err());
    bounded.release(2).unwrap();
    assert_eq!(bounded.available_permits(), 2);
    let semaphore = Semaphore::new(Semaphore::MAX_PERMITS);
    assert!(semaphore.release(1).is_err());
    assert!(semaphore.release(usize::MAX).is_err());
    // The same while somebody waits.
    let all = semaphore
        .try_acquire_many(Semaphore::MAX_PERMITS - 1)
        .unwrap();
    let mut waiting = pin!(semaphore.acquire_many(2));
    assert!(poll(waiting.as_mut()).is_pending());
    assert!(semaphore.release(Semaphore::MAX_PERMITS).is_err());
    drop(all);
    assert!(poll(waiting.as_mut()).is_ready());
}

#[test]
#[should_panic(expected = "never has more than 2 permits")]
fn who_asks_for_more_than_there_will_ever_be_is_told_so() {
    let _ = poll(pin!(Semaphore::bounded(2).acquire_many(3)));
}

#[test]
#[should_panic(expected = "at most")]
fn a_semaphore_of_too_many_permits_is_a_panic() {
    let _ = Semaphore::new(usize::MAX);
}

#[test]
fn a_writer_waits_for_readers_and_later_readers_for_it() {
    let lock = RwLock::new(1);
    let (one, other) = (ready(lock.read()), ready(lock.read()));
    let mut writer = pin!(lock.write());
    let mut reader = pin!(lock.read());
    assert!(poll(writer.as_mut()).is_pending() && poll(reader.as_mut()).is_pending());
    drop(one);
    assert!(poll(writer.as_mut()).is_pending());
    drop(other);
    let Poll::Ready(mut written) = poll(writer.as_mut()) else {
        panic!("nobody reads any more")
    };
    *written += 1;
    assert!(lock.try_read().is_err());
    let shared = crate::RwLockWriteGuard::downgrade(written);
    let Poll::Ready(reader) = poll(reader.as_mut()) else {
        panic!("nobody writes any more")
    };
    assert_eq!(*shared + *reader, 4);
    assert!(lock.try_write().is_err());
}

#[test]
fn an_event_lets_everybody_go_on_even_if_it_is_cleared_at_once() {
    let event = Event::new();
    let mut waiting: Vec<_> = (0..100).map(|_| Box::pin(event.wait())).collect();
    for future in &mut waiting {
        assert!(poll(future.as_mut()).is_pending());
    }
    // One of them goes away.
    drop(waiting.remove(40));
    event.set();
    event.clear();
    assert!(!event.is_set());
    for future in &mut waiting {
        assert!(poll(future.as_mut()).is_ready());
    }
    assert!(poll(pin!(event.wait())).is_pending());
    event.set();
    ready(event.wait());
}

#[test]
fn a_barrier_gives_each_a_number_and_begins_anew() {
    let barrier = Barrier::new(3);
    for _ in 0..2 {
        let mut waiting: Vec<_> = (0..3).map(|_| Box::pin(barrier.wait())).collect();
        assert!(poll(waiting[0].as_mut()).is_pending());
        // Who goes away has not come.
        assert!(poll(pin!(barrier.wait())).is_pending());
        assert!(poll(waiting[1].as_mut()).is_pending());
        assert_eq!(poll(waiting[2].as_mut()), Poll::Ready(Ok(2)));
        assert_eq!(poll(waiting[1].as_mut()), Poll::Ready(Ok(1)));
        assert_eq!(poll(waiting[0].as_mut()), Poll::Ready(Ok(0)));
    }
}

#[test]
fn a_barrier_sends_those_away_who_wait_for_it() {
    let barrier = Barrier::new(2);
    for abort in [false, true] {
        let mut waiting = Box::pin(barrier.wait());
        assert!(poll(waiting.as_mut()).is_pending());
        if abort {
            barrier.abort();
        } else {
            barrier.reset();
        }
        assert!(matches!(poll(waiting.as_mut()), Poll::Ready(Err(_))));
        assert_eq!(barrier.is_broken(), abort);
    }
    assert!(ready(barrier.wait()).is_err());
    assert!(ready(barrier.wait()).is_err());
    barrier.reset();
    assert!(!barrier.is_broken());
    assert!(poll(pin!(barrier.wait())).is_pending());
}

#[test]
fn the_last_waker_is_the_one_that_is_woken() {
    let event = Event::new();
    let (first, last) = (Arc::new(Count::default()), Arc::new(Count::default()));
    let mut waiting = pin!(event.wait());
    for count in [&first, &last, &last] {
        let waker = Waker::from(Arc::clone(count));
        let mut cx = Context::from_waker(&waker);
        assert!(waiting.as_mut().poll(&mut cx).is_pending());
    }
    assert_eq!(Arc::strong_count(&first), 1, "it is not kept");
    event.set();
    assert_eq!((first.0.load(Relaxed), last.0.load(Relaxed)), (0, 1));
    assert!(poll(waiting).is_ready());
}

#[test]
fn what_a_lock_guards_is_dropped_once() {
    let value = Arc::new(());
    let mutex = Arc::new(Mutex::new(Arc::clone(&value)));
    let guard = ready(Arc::clone(&mutex).lock_owned());
    let mut waiting = Box::pin(Arc::clone(&mutex).lock_owned());
    assert!(poll(waiting.as_mut()).is_pending());
    drop(mutex);
    drop(guard);
    // Served, and never polled again.
    drop(waiting);
    assert_eq!(Arc::strong_count(&value), 1);
}

#[test]
fn people_see_who_waits() {
    let mutex = Mutex::new(7);
    assert_eq!(format!("{mutex:?}"), "Mutex { value: 7, waiting: 0 }");
    let guard = ready(mutex.lock());
    let mut waiting = pin!(mutex.lock());
    assert!(poll(waiting.as_mut()).is_pending());
    assert_eq!(
        format!("{mutex:?}"),
        "Mutex { value: <locked>, waiting: 1 }"
    );
    drop(guard);
    let semaphore = Semaphore::new(2);
    assert_eq!(
        format!("{semaphore:?}"),
        "Semaphore { available: 2, waiting: 0, .. }"
    );
    let lock = RwLock::new(1);
    let _one = ready(lock.read());
    assert_eq!(
        format!("{lock:?}"),
        "RwLock { value: 1, readers: 1, waiting: 0 }"
    );
}

#[test]
fn threads_that_race_for_a_mutex_have_it_one_at_a_time() {
    let rounds = if cfg!(miri) { 5 } else { 1000 };
    let mutex = Mutex::new(0);
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for round in 0..rounds {
                    if round % 3 == 0 {
                        // Stands in line, and may be served at the moment in which it goes away.
                        drop(poll(pin!(mutex.lock())));
                    }
                    *mutex.lock_blocking() += 1;
                }
            });
        }
    });
    assert_eq!(mutex.into_inner(), 3 * rounds);
}

#[test]
fn readers_and_writers_that_race_see_no_half_of_a_change() {
    let rounds = if cfg!(miri) { 5 } else { 1000 };
    let lock = RwLock::new((0, 0));
    thread::scope(|scope| {
        for reads in [true, true, false, false] {
            let lock = &lock;
            scope.spawn(move || {
                for _ in 0..rounds {
                    if reads {
                        let pair = lock.read_blocking();
                        assert_eq!(pair.0, pair.1);
                    } else {
                        let mut pair = lock.write_blocking();
                        pair.0 += 1;
                        pair.1 += 1;
                    }
                }
            });
        }
    });
    assert_eq!(lock.into_inner(), (2 * rounds, 2 * rounds));
}

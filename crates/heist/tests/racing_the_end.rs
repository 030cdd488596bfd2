//! What others do to a runtime while it ends, and to what it leaves behind.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

mod support;

use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Barrier, Mutex};
use std::task::{Poll, Waker};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use heist::task::{self, yield_now};
use heist::{Handle, LocalRuntime, TaskRef, promise};
use support::{Drops, bounded, runtime};

/// Longer than any clean-up here takes.
const GRACE: Duration = Duration::from_secs(9);

/// Asks `own` for one thing after the other until it is gone. Whatever was accepted is over exactly once.
fn ask_until_it_is_gone(own: &Handle, drops: &Drops, ran: &AtomicUsize) -> usize {
    let mut asked = 0;
    let (called, calls) = channel();
    loop {
        let held: Vec<_> = (0..6).map(|_| drops.guard()).collect();
        let mut jobs = held.into_iter().map(|guard| {
            let called = called.clone();
            move || {
                drop(guard);
                called.send(()).unwrap();
            }
        });
        let mut next = || jobs.next().unwrap();
        let (first, second, third) = (next(), next(), next());
        let later = Instant::now() + Duration::from_micros(50);
        let outcomes = [
            own.spawn(async move { first() }),
            own.spawn_blocking(second),
            task::Builder::new().on(own).spawn(async move { third() }),
        ];
        let calls_made = [
            own.call_soon(next()),
            own.call_later(Duration::from_micros(50), next()),
            own.call_at(later, next()),
        ];
        asked += 6;
        let mut gone = false;
        for outcome in outcomes {
            if let Err(error) = outcome.wait_blocking() {
                assert!(error.is_cancelled(), "{error}");
                gone = true;
            }
        }
        if gone {
            // A call that the end throws away says so.
            drop(called);
            ran.fetch_add(calls.iter().count(), Ordering::SeqCst);
            assert!(calls_made.iter().all(|call| !call.cancel()));
            return asked;
        }
    }
}

#[test]
fn what_is_asked_of_a_runtime_while_it_ends_is_over_exactly_once() {
    bounded(|| {
        for _ in 0..30 {
            let runtime = runtime(2);
            let (drops, ran) = (Drops::default(), Arc::new(AtomicUsize::new(0)));
            let begun = Arc::new(Barrier::new(3));
            let askers: Vec<_> = (0..2)
                .map(|_| {
                    let own = runtime.handle().clone();
                    let (drops, ran, begun) = (drops.clone(), Arc::clone(&ran), Arc::clone(&begun));
                    thread::spawn(move || {
                        begun.wait();
                        ask_until_it_is_gone(&own, &drops, &ran)
                    })
                })
                .collect();
            begun.wait();
            let report = runtime.shutdown(GRACE);
            assert!(report.is_clean(), "{report:?}");
            let asked: usize = askers.into_iter().map(|asker| asker.join().unwrap()).sum();
            assert_eq!(drops.count(), asked);
            assert!(ran.load(Ordering::SeqCst) <= asked);
        }
    });
}

#[test]
fn what_is_asked_of_a_local_runtime_while_it_ends_is_over_exactly_once() {
    bounded(|| {
        for _ in 0..30 {
            let runtime = LocalRuntime::new().unwrap();
            let (drops, ran) = (Drops::default(), Arc::new(AtomicUsize::new(0)));
            let own = runtime.handle().clone();
            let (inside, into) = (drops.clone(), Arc::clone(&ran));
            let asker = thread::spawn(move || ask_until_it_is_gone(&own, &inside, &into));
            // Until it has been asked for something.
            runtime.block_on(async {
                while drops.count() == 0 {
                    yield_now().await;
                }
            });
            let report = runtime.shutdown(GRACE);
            assert!(report.is_clean(), "{report:?}");
            let asked = asker.join().unwrap();
            assert_eq!(drops.count(), asked);
            assert!(ran.load(Ordering::SeqCst) <= asked);
        }
    });
}

/// Sends a waker of whoever polls it, for each number of them that is asked for.
fn wakers(count: usize) -> (impl Future<Output = ()> + Send, Receiver<Waker>) {
    let (send, wakers) = channel();
    let polled = poll_fn(move |cx| {
        for _ in 0..count {
            // Nobody wants them any more, once the other side is over.
            let _ = send.send(cx.waker().clone());
        }
        Poll::Pending
    });
    (polled, wakers)
}

#[test]
fn wakers_fire_on_other_threads_while_their_runtime_goes() {
    bounded(|| {
        for round in 0..200 {
            let runtime = runtime(1 + round % 2);
            let drops = Drops::default();
            let (polled, wakers) = wakers(3);
            let held = drops.guard();
            let task = runtime.spawn(async move {
                let _held = held;
                polled.await;
            });
            let first = wakers.recv().unwrap();
            let going = Arc::new(Barrier::new(2));
            let goes = Arc::clone(&going);
            let storm = thread::spawn(move || {
                goes.wait();
                let mut last = first;
                for (number, waker) in wakers.iter().enumerate() {
                    match number % 3 {
                        0 => waker.wake_by_ref(),
                        1 => drop(waker),
                        _ => std::mem::replace(&mut last, waker).wake(),
                    }
                }
                last
            });
            going.wait();
            drop(runtime);
            assert!(task.is_cancelled());
            assert_eq!(drops.count(), 1);
            // The last one outlives all of it.
            let last = storm.join().unwrap();
            last.wake_by_ref();
            drop(task);
            last.wake();
            assert_eq!(drops.count(), 1);
        }
    });
}

#[test]
fn two_runtimes_that_wake_each_others_tasks_survive_each_other() {
    bounded(|| {
        for round in 0..50 {
            let (one, other) = (runtime(2), runtime(2));
            let turns = Arc::new(AtomicUsize::new(0));
            let (ask, asked) = channel::<heist::Promise<()>>();
            let asked = Arc::new(Mutex::new(asked));
            // Each turn is a wake from one runtime in the other, and back.
            let server = other.spawn({
                let asked = Arc::clone(&asked);
                async move {
                    loop {
                        let next = asked.lock().unwrap().try_recv();
                        match next {
                            Ok(answer) => drop(answer.set_result(())),
                            Err(_) => yield_now().await,
                        }
                    }
                }
            });
            let client = one.spawn({
                let turns = Arc::clone(&turns);
                async move {
                    loop {
                        let (answer, answered) = promise();
                        if ask.send(answer).is_err() || answered.await.is_err() {
                            break;
                        }
                        turns.fetch_add(1, Ordering::SeqCst);
                    }
                }
            });
            while turns.load(Ordering::SeqCst) < 10 {
                thread::yield_now();
            }
            if round % 2 == 0 {
                drop(one);
                assert!(client.is_finished());
                assert!(!server.is_finished());
                drop(other);
                assert!(server.is_cancelled());
            } else {
                drop(other);
                assert!(server.is_cancelled());
                // What was asked last is never answered: its promise goes with the queue.
                drop(asked);
                assert!(client.wait_blocking().is_ok());
            }
        }
    });
}

/// Says on which thread it is dropped.
struct Here(Rc<RefCell<u32>>, Arc<Mutex<Vec<ThreadId>>>);

impl Drop for Here {
    fn drop(&mut self) {
        *self.0.borrow_mut() += 1;
        self.1.lock().unwrap().push(thread::current().id());
    }
}

#[test]
fn a_local_task_is_dropped_on_its_own_thread_whoever_holds_it_last() {
    bounded(|| {
        for _ in 0..200 {
            let dropped = Arc::new(Mutex::new(Vec::new()));
            let (polled, wakers) = wakers(10);
            let inside = Arc::clone(&dropped);
            let local = thread::spawn(move || {
                let runtime = LocalRuntime::new().unwrap();
                let (mine, output) = (Rc::new(RefCell::new(0)), Arc::clone(&inside));
                let body = Here(Rc::clone(&mine), Arc::clone(&inside));
                let waits = runtime.spawn_local(async move {
                    let _body = body;
                    polled.await;
                });
                let ended = runtime.spawn_local(async move { Here(mine, output) });
                let views: [TaskRef; 2] = [waits.task_ref(), ended.task_ref()];
                runtime.block_on(async {
                    while !ended.is_finished() {
                        yield_now().await;
                    }
                });
                // The handle of what has ended goes after its runtime, here.
                drop(runtime);
                drop(ended);
                (views, thread::current().id())
            });
            // A thread that wakes and lets go, all along.
            let storm = thread::spawn(move || {
                let mut kept = wakers.recv().unwrap();
                for waker in wakers.iter() {
                    waker.wake_by_ref();
                    drop(std::mem::replace(&mut kept, waker));
                }
                kept
            });
            let (views, own) = local.join().unwrap();
            assert_eq!(*dropped.lock().unwrap(), [own; 2]);
            let last = storm.join().unwrap();
            last.wake_by_ref();
            for view in views {
                view.cancel();
                view.abort();
            }
            last.wake();
            assert_eq!(dropped.lock().unwrap().len(), 2);
        }
    });
}

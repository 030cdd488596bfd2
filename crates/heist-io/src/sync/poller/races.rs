//! The reactor behind the stand-in for the poller: sources that come and go, sleepers and events at once.

use super::ONESHOT;
use crate::reactor::{Key, Reactor};
use crate::readiness::{Interest, Ready};
use crate::source::{Registration, Waiter};
use std::future::{Future, poll_fn};
use std::io;
use std::os::unix::net::UnixStream;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, channel};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

const ROUNDS: usize = 6;

fn reactor(oneshot: bool) -> Arc<Reactor> {
    ONESHOT.set(oneshot);
    Arc::new(Reactor::new().unwrap())
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// A wakeup that is lost is a deadlock, of which Miri tells.
fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        thread::park();
    }
}

/// Waits for a source that is registered with `reactor`, in the list of waiters.
fn wait(source: &Registration, io: &UnixStream, interest: Interest) -> io::Result<()> {
    let mut waiter: Waiter<'_> = source.waiter();
    let ready = poll_fn(|cx| source.poll_ready(io, cx, interest, Some(&mut waiter), None));
    block_on(ready).map(drop)
}

/// Makes turns until it is `over`, and an `unpark` says so.
fn turn(reactor: &Reactor, over: &AtomicBool) {
    while !over.load(Relaxed) {
        if reactor.begin_sleep() {
            reactor.wait(None, || {});
        }
    }
}

/// Tells that each key that comes is readable, and that those which came before are writable.
fn tell(reactor: &Reactor, keys: &Receiver<Key>) {
    let mut former = Vec::new();
    for key in keys {
        for stale in &former {
            reactor.selector.tell(*stale, Ready::WRITABLE);
        }
        reactor.selector.tell(key, Ready::READABLE);
        former.push(key);
    }
}

fn events_race_with_sources_that_come_and_go(oneshot: bool) {
    let reactor = reactor(oneshot);
    let over = AtomicBool::new(false);
    let (sent, keys) = channel();
    thread::scope(|scope| {
        scope.spawn(|| turn(&reactor, &over));
        scope.spawn({
            let reactor = &reactor;
            move || tell(reactor, &keys)
        });
        for _ in 0..ROUNDS {
            let (io, _other) = UnixStream::pair().unwrap();
            let source = Registration::with(Arc::clone(&reactor), &io, Ready::EMPTY).unwrap();
            sent.send(source.key).unwrap();
            wait(&source, &io, Interest::Readable).unwrap();
            let ready = source.snapshot().ready;
            assert!(ready.is_readable() && !ready.is_writable(), "{ready:?}");
            source.deregister(&io);
        }
        drop(sent);
        over.store(true, Relaxed);
        reactor.unpark();
    });
}

#[test]
fn edges_race_with_sources_that_come_and_go() {
    events_race_with_sources_that_come_and_go(false);
}

#[test]
fn events_that_are_asked_for_race_with_sources_that_come_and_go() {
    events_race_with_sources_that_come_and_go(true);
}

/// One thread reads, the other writes, and where an event has to be asked for each asks for both.
fn two_directions_race(oneshot: bool) {
    let reactor = reactor(oneshot);
    let over = AtomicBool::new(false);
    let (io, _other) = UnixStream::pair().unwrap();
    let source = Registration::with(Arc::clone(&reactor), &io, Ready::EMPTY).unwrap();
    let waiting = |interest| {
        for _ in 0..ROUNDS {
            wait(&source, &io, interest).unwrap();
            source.clear(interest, source.snapshot());
            let ready = match interest {
                Interest::Readable => Ready::READABLE,
                _ => Ready::WRITABLE,
            };
            reactor.selector.tell(source.key, ready);
        }
    };
    thread::scope(|scope| {
        let turns = scope.spawn(|| turn(&reactor, &over));
        let both = [Interest::Readable, Interest::Writable]
            .map(|interest| scope.spawn(move || waiting(interest)));
        reactor
            .selector
            .tell(source.key, Ready::READABLE | Ready::WRITABLE);
        both.into_iter().for_each(|thread| thread.join().unwrap());
        over.store(true, Relaxed);
        reactor.unpark();
        turns.join().unwrap();
    });
    source.deregister(&io);
}

#[test]
fn two_directions_of_edges_race() {
    two_directions_race(false);
}

#[test]
fn two_directions_that_are_asked_for_race() {
    two_directions_race(true);
}

#[test]
fn a_notification_races_with_the_sleep_and_brings_what_came_before_it() {
    let reactor = reactor(false);
    let (value, seen) = (AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            for round in 1..=ROUNDS {
                // A sleeper that does not see the new value sleeps for ever.
                while value.load(Relaxed) < round {
                    if reactor.begin_sleep() {
                        reactor.wait(None, || {});
                    }
                }
                seen.store(round, Relaxed);
            }
        });
        for round in 1..=ROUNDS {
            value.store(round, Relaxed);
            reactor.unpark();
            while seen.load(Relaxed) < round {
                thread::yield_now();
            }
        }
    });
}

#[test]
fn the_end_races_with_waits_and_registrations() {
    for oneshot in [false, true] {
        let reactor = reactor(oneshot);
        thread::scope(|scope| {
            for interest in [Interest::Readable, Interest::Writable] {
                let reactor = &reactor;
                scope.spawn(move || {
                    let (io, _other) = UnixStream::pair().unwrap();
                    match Registration::with(Arc::clone(reactor), &io, Ready::EMPTY) {
                        Ok(source) => {
                            assert!(wait(&source, &io, interest).is_err());
                            source.deregister(&io);
                        }
                        Err(error) => assert_eq!(error.kind(), io::ErrorKind::Other),
                    }
                });
            }
            reactor.shut_down();
        });
    }
}

//! Wakers that panic when they are cloned, woken or dropped.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

#[path = "support/panics.rs"]
mod panics;
mod support;
#[path = "support/waker.rs"]
mod waker;

use std::future::{Future, pending, poll_fn};
use std::net::TcpStream as StdStream;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::thread;
use std::time::Duration;

use heist::io::{Async, Interest};
use heist::net::TcpListener;
use heist::promise;
use heist::runtime::ExceptionKind;
use heist::task::{catch_cancel, current, yield_now};
use heist::time::{sleep, timeout};
use panics::{Bomb, goes_on, hears, start, text};
use support::bounded;
use waker::{Event, poll_with, waker};

const MS: Duration = Duration::from_millis(1);

/// A waker that panics when this is done to it, unless that would end the process.
fn panics_at(event: Event) -> Waker {
    waker(move |done| {
        if done == event && !thread::panicking() {
            panic!("waker");
        }
    })
}

/// Polls with a waker that panics at `event`. Where the poll itself does that to it, it unwinds.
fn poll_panicking<F: Future + Unpin>(future: &mut F, event: Event) {
    let waker = panics_at(event);
    let polled = catch_unwind(AssertUnwindSafe(|| poll_with(future, &waker).is_pending()));
    match polled {
        Ok(pending) => assert!(pending && event != Event::Clone),
        Err(payload) => assert_eq!((text(payload), event), ("waker".to_owned(), Event::Clone)),
    }
    // Its own drop is not what the test is about.
    let_go(waker);
}

const EVENTS: [Event; 3] = [Event::Clone, Event::Wake, Event::Drop];

/// Polls `future` with a waker that panics at `event`, then with a good one, whose drop is harmless.
fn replace_panicking<F: Future + Unpin>(future: &mut F, event: Event) {
    poll_panicking(future, event);
    let again = || assert!(poll_with(future, Waker::noop()).is_pending());
    let polled = catch_unwind(AssertUnwindSafe(again));
    assert!(polled.is_ok() || event == Event::Drop);
}

/// Lets go of what was polled. A waker that panics as it is dropped may unwind from here, and no further.
fn let_go<T>(polled: T) {
    let _ = catch_unwind(AssertUnwindSafe(|| drop(polled)));
}

/// Runs `body` on the one worker of a runtime, once for each event.
fn for_each_event<F>(body: impl Fn(Event) -> F, wakes_are_heard: usize)
where
    F: Future<Output = ()> + Send + 'static,
{
    for event in EVENTS {
        let (runtime, told) = start();
        runtime.block_on(runtime.spawn(body(event))).unwrap();
        if event == Event::Wake {
            for _ in 0..wakes_are_heard {
                hears(&told, ExceptionKind::Waker, "waker");
            }
        }
        goes_on(runtime, &told);
    }
}

#[test]
fn a_panicking_waker_of_an_await_takes_nobody_down() {
    bounded(|| {
        let body = |event| async move {
            let (open, gate) = promise::<()>();
            let mut task = heist::spawn(gate);
            poll_panicking(&mut task, event);
            open.set_result(()).unwrap();
            while !task.is_finished() {
                yield_now().await;
            }
            assert!(task.await.unwrap().is_ok());

            let mut task = heist::spawn(pending::<()>());
            replace_panicking(&mut task, event);
            poll_panicking(&mut task, event);
            drop(task);
        };
        for_each_event(body, 1);
    });
}

#[test]
fn a_panicking_waker_of_a_promise_takes_nobody_down() {
    bounded(|| {
        let body = |event| async move {
            let (open, mut gate) = promise();
            replace_panicking(&mut gate, event);
            poll_panicking(&mut gate, event);
            open.set_result(1).unwrap();
            assert_eq!(gate.await.unwrap(), 1);

            let (mut promise, deferred) = promise::<()>();
            replace_panicking(&mut promise.cancelled(), event);
            poll_panicking(&mut promise.cancelled(), event);
            assert!(deferred.cancel());
            drop(deferred);
            // Left behind by a wait that is over at once.
            let late = panics_at(event);
            let poll = || poll_with(&mut promise.cancelled(), &late).is_ready();
            let ready = catch_unwind(AssertUnwindSafe(poll));
            assert!(ready.unwrap_or(event == Event::Clone));
            let_go(late);
            drop(promise);
        };
        for_each_event(body, 2);
    });
}

#[test]
fn a_panicking_waker_of_a_shared_handle_keeps_nobody_else_waiting() {
    bounded(|| {
        let body = |event| async move {
            let (open, gate) = promise();
            let (mut first, mut second) = {
                let shared = gate.share();
                (shared.clone(), shared)
            };
            replace_panicking(&mut first, event);
            poll_panicking(&mut first, event);
            let other = heist::spawn(second.clone());
            poll_panicking(&mut second, event);
            drop(second);
            yield_now().await;
            open.set_result(1).unwrap();
            assert_eq!(first.await.unwrap(), 1);
            assert_eq!(other.await.unwrap().unwrap(), 1);
        };
        for_each_event(body, 1);
    });
}

#[test]
fn a_panicking_waker_of_a_catcher_takes_nobody_down() {
    bounded(|| {
        let body = |event| async move {
            let mut outer = Box::pin(catch_cancel(pending::<()>()));
            replace_panicking(&mut outer, event);
            poll_panicking(&mut outer, event);
            current().cancel();
            assert!(outer.await.is_err());
            let mut dropped = Box::pin(catch_cancel(pending::<()>()));
            poll_panicking(&mut dropped, event);
            drop(dropped);
        };
        for_each_event(body, 1);
    });
}

#[test]
fn a_panicking_waker_of_a_timer_keeps_no_other_timer_from_firing() {
    bounded(|| {
        let body = |event| async move {
            let (mut first, mut second) = (Box::pin(sleep(MS)), Box::pin(sleep(MS)));
            poll_panicking(&mut first, event);
            replace_panicking(&mut second, event);
            second.await;
            first.await;
            let mut dropped = Box::pin(sleep(1000 * MS));
            poll_panicking(&mut dropped, event);
            let_go(dropped);
            sleep(MS).await;
        };
        for_each_event(body, 1);
    });
}

#[test]
fn a_panicking_waker_of_a_source_keeps_nobody_else_waiting() {
    bounded(|| {
        let body = |event| async move {
            let listener = Arc::new(TcpListener::bind("127.0.0.1:0").await.unwrap());
            let accept = || {
                let listener = Arc::clone(&listener);
                Box::pin(async move { listener.accept().await.unwrap() })
            };
            let mut futures = [(); 3].map(|()| accept());
            for future in &mut futures {
                poll_panicking(future, event);
            }
            let [mut woken, mut replaced, dropped] = futures;
            if event != Event::Clone {
                // One that unwound, as a clone makes it, cannot be polled again.
                let poll = || poll_with(&mut replaced, Waker::noop()).is_pending();
                let pending = catch_unwind(AssertUnwindSafe(poll));
                assert!(pending.unwrap_or(event == Event::Drop));
            }
            let_go(replaced);
            let_go(dropped);
            let other = heist::spawn(accept());
            yield_now().await;
            let address = listener.local_addr().unwrap();
            let clients = [(); 2].map(|()| StdStream::connect(address).unwrap());
            if event == Event::Clone {
                woken = accept();
            }
            other.await.unwrap();
            woken.await;
            drop(clients);
        };
        for_each_event(body, 1);
    });
}

/// What becomes of a panic in the drop of a waker that was left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// It unwinds from where the user's own code has the waker dropped.
    Unwinds,
    /// It goes no further, and nobody is told.
    Swallowed,
}

/// What becomes of it when another waker takes its place, and when the future goes.
fn ends<F: Future + Unpin>(make: impl Fn() -> F) -> (End, End) {
    let end = |unwound: bool| {
        if unwound {
            End::Unwinds
        } else {
            End::Swallowed
        }
    };
    let mut replaced = make();
    poll_panicking(&mut replaced, Event::Drop);
    let again = || assert!(poll_with(&mut replaced, Waker::noop()).is_pending());
    let first = catch_unwind(AssertUnwindSafe(again)).is_err();
    let_go(replaced);
    let mut dropped = make();
    poll_panicking(&mut dropped, Event::Drop);
    let second = catch_unwind(AssertUnwindSafe(|| drop(dropped))).is_err();
    (end(first), end(second))
}

#[test]
fn a_panic_in_the_drop_of_a_waker_unwinds_from_the_users_own_call_or_is_swallowed() {
    bounded(|| {
        let (runtime, told) = start();
        let task = runtime.spawn(async {
            let swallowed = (End::Swallowed, End::Swallowed);
            let unwinds = (End::Unwinds, End::Unwinds);
            let replaced = (End::Unwinds, End::Swallowed);
            assert_eq!(ends(|| heist::spawn(pending::<()>())), replaced);
            let (_open, gate) = promise::<()>();
            let gate = gate.share();
            assert_eq!(ends(|| gate.clone()), replaced);
            let deferred = || {
                let (open, mut gate) = promise::<()>();
                poll_fn(move |cx| {
                    let _ = &open;
                    Pin::new(&mut gate).poll(cx)
                })
            };
            assert_eq!(ends(deferred), replaced);
            let cancelled = || {
                let (mut open, gate) = promise::<()>();
                poll_fn(move |cx| {
                    let _ = &gate;
                    Pin::new(&mut open.cancelled()).poll(cx)
                })
            };
            assert_eq!(ends(cancelled), swallowed);
            let catcher = || Box::pin(catch_cancel(pending::<()>()));
            assert_eq!(ends(catcher), swallowed);

            assert_eq!(ends(|| Box::pin(sleep(1000 * MS))), unwinds);
            let limited = || Box::pin(timeout(1000 * MS, pending::<()>()));
            assert_eq!(ends(limited), unwinds);
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            assert_eq!(ends(|| Box::pin(listener.accept())), unwinds);
            let readable = || {
                let (ours, theirs) = UnixStream::pair().unwrap();
                let source = Async::new(ours).unwrap();
                poll_fn(move |cx| {
                    let _ = &theirs;
                    source.poll_readable(cx)
                })
            };
            assert_eq!(ends(readable), unwinds);
        });
        runtime.block_on(task).unwrap();
        goes_on(runtime, &told);
    });
}

#[test]
fn a_panic_in_the_drop_that_ends_a_wake_is_reported() {
    bounded(|| {
        let (runtime, told) = start();
        let task = runtime.spawn(async {
            let last = || {
                let bomb = Bomb;
                waker(move |_| bomb.hold())
            };
            let mut timer = Box::pin(sleep(MS));
            assert!(poll_with(&mut timer, &last()).is_pending());
            sleep(2 * MS).await;
            let (open, mut gate) = promise();
            assert!(poll_with(&mut gate, &last()).is_pending());
            open.set_result(()).unwrap();
        });
        runtime.block_on(task).unwrap();
        for _ in 0..2 {
            hears(&told, ExceptionKind::Waker, "bomb");
        }
        goes_on(runtime, &told);
    });
}

#[test]
fn the_panic_of_a_waker_of_a_timer_or_of_a_source_is_reported() {
    bounded(|| {
        let (runtime, told) = start();
        let waker = waker(|event| assert!(event != Event::Wake, "waker"));
        let task = runtime.spawn(async move {
            let mut first = Box::pin(sleep(MS));
            assert!(poll_with(&mut first, &waker).is_pending());
            sleep(2 * MS).await;
            let (ours, theirs) = UnixStream::pair().unwrap();
            let source = Async::new(ours).unwrap();
            let cx = &mut Context::from_waker(&waker);
            while source.poll_readable(cx).is_ready() {
                let read = |io: &UnixStream| std::io::Read::read(&mut &*io, &mut [0]);
                assert!(source.try_io(Interest::Readable, read).is_err());
            }
            drop(theirs);
            source
        });
        let source = runtime.block_on(task).unwrap();
        for _ in 0..2 {
            hears(&told, ExceptionKind::Waker, "waker");
        }
        drop(source);
        goes_on(runtime, &told);
    });
}

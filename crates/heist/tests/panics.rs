//! Panics of the user's code, wherever it may panic: who hears of it, and that everything else goes on.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

#[path = "support/panics.rs"]
mod panics;
mod support;

use std::future::{Future, pending};
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};
use std::pin::Pin;
use std::sync::mpsc::channel;
use std::task::{Context, Poll};
use std::thread;
use std::time::{Duration, Instant};

use heist::runtime::ExceptionKind;
use heist::task::{Finished, yield_now};
use heist::{TaskError, promise};
use panics::{Bomb, goes_on, hears, panicked, start, text};
use support::bounded;

#[test]
fn a_panic_in_a_body_ends_that_task_alone() {
    bounded(|| {
        let (runtime, told) = start();
        let worker = runtime.block_on(runtime.spawn(async { thread::current().id() }));
        let awaited = runtime.spawn(async { panic!("text") });
        let formatted = runtime.spawn(async {
            yield_now().await;
            panic!("a {}", "String")
        });
        let typed = runtime.spawn(async { panic_any(7_u8) });
        runtime.block_on(async {
            assert_eq!(panicked::<()>(awaited.await), "text");
            assert_eq!(panicked::<()>(formatted.await), "a String");
            let error: TaskError = typed.await.map(|(): ()| ()).unwrap_err();
            let payload = error.try_into_panic().unwrap();
            assert_eq!(*payload.downcast::<u8>().unwrap(), 7);
        });
        runtime.spawn(async { panic!("nobody looks") }).detach();
        hears(&told, ExceptionKind::NeverRetrieved, "nobody looks");
        let after = runtime.block_on(runtime.spawn(async { thread::current().id() }));
        assert_eq!(worker.unwrap(), after.unwrap(), "the worker was replaced");
        goes_on(runtime, &told);
    });
}

struct Both;

impl Future for Both {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        panic!("poll")
    }
}

impl Drop for Both {
    fn drop(&mut self) {
        panic!("bomb too")
    }
}

#[test]
fn a_panic_in_the_drop_of_a_future_ends_that_task_alone() {
    bounded(|| {
        let (runtime, told) = start();
        // After the end of its body that is the result of the task.
        let returned = runtime.spawn(async { Bomb.hold() });
        assert_eq!(panicked(runtime.block_on(returned)), "bomb");
        let held = Bomb;
        let returned = runtime.spawn(async move { held.hold() });
        assert_eq!(panicked(runtime.block_on(returned)), "bomb");

        // Else the result stays, and the handler hears.
        for abort in [false, true] {
            let held = Bomb;
            let (told_asleep, asleep) = promise();
            let task = runtime.spawn(async move {
                held.hold();
                let _ = told_asleep.set_result(());
                pending::<()>().await;
            });
            runtime.block_on(asleep).unwrap();
            assert!(if abort { task.abort() } else { task.cancel() });
            assert!(runtime.block_on(task).unwrap_err().is_cancelled());
            hears(&told, ExceptionKind::Drop, "bomb");
        }
        // A body that panics, and panics again as it is dropped.
        let both = runtime.spawn(Both);
        assert_eq!(panicked(runtime.block_on(both)), "poll");
        hears(&told, ExceptionKind::Drop, "bomb too");

        let left = Bomb;
        runtime.spawn(async move {
            left.hold();
            pending::<()>().await;
        });
        let report = runtime.shutdown(Duration::from_secs(5));
        assert!(report.is_clean(), "{report:?}");
        hears(&told, ExceptionKind::Drop, "bomb");
        assert!(told.try_recv().is_err());
    });
}

#[test]
fn a_panic_in_the_drop_of_an_output_is_reported_wherever_that_is_dropped() {
    bounded(|| {
        let (runtime, told) = start();
        // On the worker: nobody wants it any more.
        runtime.spawn(async { Bomb }).detach();
        hears(&told, ExceptionKind::Drop, "bomb");
        let task = runtime.spawn(async { Bomb });
        task.add_done_callback(|_| {});
        drop(task);
        hears(&told, ExceptionKind::Drop, "bomb");

        // Where the last handle goes, which is not unwound.
        let _entered = runtime.enter();
        let finished = |task: &heist::Task<Bomb>| {
            while !task.is_finished() {
                thread::yield_now();
            }
        };
        let task = runtime.spawn(async { Bomb });
        finished(&task);
        drop(task);
        hears(&told, ExceptionKind::Drop, "bomb");
        let task = runtime.spawn(async { Bomb });
        finished(&task);
        runtime
            .block_on(runtime.spawn(async move { drop(task) }))
            .unwrap();
        hears(&told, ExceptionKind::Drop, "bomb");
        drop(_entered);
        goes_on(runtime, &told);
    });
}

#[test]
fn a_panic_in_the_drop_of_a_completed_value_is_reported() {
    #[derive(Clone)]
    struct Shared(#[expect(dead_code, reason = "it is dropped")] std::sync::Arc<Bomb>);

    bounded(|| {
        let (runtime, told) = start();
        let task = runtime.spawn(async {
            let (promise, deferred) = promise();
            assert!(promise.set_result(Bomb).is_ok());
            drop(deferred);
            let (promise, deferred) = heist::promise();
            let shared = deferred.share();
            let value = Shared(std::sync::Arc::new(Bomb));
            assert!(promise.set_result(value).is_ok());
            drop(shared);
        });
        runtime.block_on(task).unwrap();
        hears(&told, ExceptionKind::Drop, "bomb");
        hears(&told, ExceptionKind::Drop, "bomb");
        goes_on(runtime, &told);
    });
}

#[test]
fn a_panic_in_a_callback_stops_no_other_callback() {
    bounded(|| {
        let (runtime, told) = start();
        let task = runtime.spawn(async { 1 });
        let view = task.task_ref();
        task.add_done_callback(|_| panic!("typed"));
        view.add_done_callback(|_| panic!("untyped"));
        let held = Bomb;
        task.add_done_callback(move |_| held.hold());
        let (called, heard) = promise();
        task.add_done_callback(move |finished: &Finished<'_, i32>| {
            let _ = called.set_result(*finished.result().unwrap());
        });
        assert_eq!(runtime.block_on(heard).unwrap(), 1);
        assert_eq!(runtime.block_on(task).unwrap(), 1);
        for message in ["typed", "untyped", "bomb"] {
            hears(&told, ExceptionKind::Callback, message);
        }
        view.add_done_callback(|_| panic!("late"));
        hears(&told, ExceptionKind::Callback, "late");

        let (promise, deferred) = heist::promise::<()>();
        let entered = runtime.enter();
        deferred.add_done_callback(|_| panic!("of a promise"));
        drop(entered);
        drop(promise);
        hears(&told, ExceptionKind::Callback, "of a promise");
        goes_on(runtime, &told);
    });
}

#[test]
fn a_panic_in_call_soon_call_later_or_call_at_stops_no_other_call() {
    bounded(|| {
        let (runtime, told) = start();
        let handle = runtime.handle();
        let ms = Duration::from_millis(1);
        handle.call_soon(|| panic!("soon"));
        let held = Bomb;
        handle.call_soon(move || held.hold());
        hears(&told, ExceptionKind::Callback, "soon");
        hears(&told, ExceptionKind::Callback, "bomb");
        handle.call_later(ms, || panic!("later"));
        hears(&told, ExceptionKind::Callback, "later");
        handle.call_at(Instant::now() + ms, || panic!("at"));
        hears(&told, ExceptionKind::Callback, "at");
        handle.call_at(Instant::now() - ms, || panic!("past"));
        hears(&told, ExceptionKind::Callback, "past");
        let (called, heard) = promise();
        handle.call_later(ms, move || called.set_result(()).unwrap_or(()));
        runtime.block_on(heard).unwrap();
        goes_on(runtime, &told);
    });
}

#[test]
fn a_callback_that_is_taken_back_panics_where_that_is_done() {
    fn takes_back(take_back: impl FnOnce() -> bool) {
        let unwound = catch_unwind(AssertUnwindSafe(take_back));
        assert_eq!(text(unwound.unwrap_err()), "bomb");
    }

    bounded(|| {
        let (runtime, told) = start();
        let (open, gate) = promise();
        let task = runtime.spawn(gate);
        let held = Bomb;
        let id = task.add_done_callback(move |_| held.hold());
        takes_back(|| task.remove_done_callback(id));
        assert!(!task.remove_done_callback(id), "it is gone");
        let held = Bomb;
        let id = task.task_ref().add_done_callback(move |_| held.hold());
        takes_back(|| task.task_ref().remove_done_callback(id));

        for delay in [Duration::ZERO, Duration::from_secs(3600)] {
            // The worker is not there to run it.
            let (blocking, blocked) = channel();
            let (release, released) = channel::<()>();
            let busy = runtime.spawn(async move {
                blocking.send(()).unwrap();
                released.recv().is_err()
            });
            blocked.recv().unwrap();
            let held = Bomb;
            let call = match delay {
                Duration::ZERO => runtime.handle().call_soon(move || held.hold()),
                delay => runtime.handle().call_later(delay, move || held.hold()),
            };
            takes_back(|| call.cancel());
            assert!(call.is_cancelled());
            drop(release);
            assert!(runtime.block_on(busy).unwrap());
        }
        open.set_result(()).unwrap();
        runtime.block_on(task).unwrap().unwrap();
        goes_on(runtime, &told);
    });
}

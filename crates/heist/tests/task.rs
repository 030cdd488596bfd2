//! Tasks: life, state, callbacks, output.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

mod support;

use std::future::{Future, poll_fn};
use std::panic::Location;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::task::Poll;
use std::thread;

use heist::task::yield_now;
use heist::{LocalRuntime, Task, TaskError, TaskRef, TaskState, promise};
use support::{Drops, bounded, lone_worker, runtime};

#[test]
fn a_coroutine_runs_only_when_it_is_driven() {
    bounded(|| {
        static WAITING: AtomicUsize = AtomicUsize::new(0);
        async fn do_some_work(x: u32) {
            assert_eq!(x, 2);
            WAITING.fetch_add(1, Ordering::SeqCst);
        }

        let runtime = runtime(1);
        drop(do_some_work(2));
        assert_eq!(WAITING.load(Ordering::SeqCst), 0);
        runtime.block_on(do_some_work(2));
        assert_eq!(WAITING.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn debug_shows_state_name_and_spawn_location() {
    bounded(|| {
        let runtime = runtime(1);
        let (open, gate) = promise();
        let line = Location::caller().line() + 1;
        let mut task = runtime.spawn(gate);
        let (name, before) = (task.name(), format!("{task:?}"));
        open.set_result(()).unwrap();
        runtime.block_on(&mut task).unwrap().unwrap();
        let after = format!("{task:?}");

        let rest = format!(" name={name:?} at {}:{line}:", file!());
        assert!(
            before.starts_with(&format!("<Task pending{rest}")),
            "{before}"
        );
        assert!(
            after.starts_with(&format!("<Task finished{rest}")),
            "{after}"
        );
    });
}

#[test]
fn debug_tells_how_a_task_ended() {
    bounded(|| {
        let runtime = runtime(1);
        let mut cancelled = runtime.spawn(std::future::pending::<()>());
        assert!(cancelled.cancel());
        assert!(runtime.block_on(&mut cancelled).unwrap_err().is_cancelled());
        assert!(
            format!("{cancelled:?}").starts_with("<Task cancelled"),
            "{cancelled:?}"
        );
        assert!(cancelled.is_cancelled());
        assert_eq!(cancelled.state(), TaskState::Cancelled);

        let mut panicked = runtime.spawn(async { panic!("as it should") });
        assert!(runtime.block_on(&mut panicked).unwrap_err().is_panic());
        assert!(
            format!("{panicked:?}").starts_with("<Task panicked"),
            "{panicked:?}"
        );
        assert_eq!(panicked.state(), TaskState::Panicked);
    });
}

#[test]
fn a_task_has_the_name_that_it_was_given() {
    bounded(|| {
        let runtime = runtime(1);
        let _entered = runtime.enter();
        let task = heist::spawn(async {});
        assert_eq!(task.name(), format!("Task-{}", task.id()));
        task.set_name("renamed");
        assert_eq!(task.name(), "renamed");
        let named = heist::task::Builder::new()
            .name("mine")
            .spawn(async { heist::task::current().name() });
        assert_eq!(named.task_ref().name(), "mine");
        assert_eq!(named.wait_blocking().unwrap(), "mine");
    });
}

#[test]
fn callbacks_have_run_before_the_awaiting_side_goes_on() {
    bounded(|| {
        for workers in [1, 4] {
            let runtime = runtime(workers);
            for _ in 0..200 {
                let seen = Arc::new(Mutex::new(Vec::new()));
                let task = runtime.spawn(async { "Done after 2s" });
                let log = Arc::clone(&seen);
                task.add_done_callback(move |finished| {
                    log.lock()
                        .unwrap()
                        .push((0, finished.result().copied().ok()))
                });
                let (t, log) = (2, Arc::clone(&seen));
                task.add_done_callback(move |finished| {
                    log.lock()
                        .unwrap()
                        .push((t, finished.result().copied().ok()))
                });
                assert_eq!(runtime.block_on(task).unwrap(), "Done after 2s");
                let done = Some("Done after 2s");
                assert_eq!(*seen.lock().unwrap(), [(0, done), (2, done)]);
            }
        }
    });
}

#[test]
fn callbacks_see_how_a_task_failed() {
    bounded(|| {
        let runtime = runtime(1);
        let (told, heard) = promise();
        let task = runtime.spawn(async { panic!("boom") });
        task.add_done_callback(move |finished: &heist::task::Finished<'_, ()>| {
            let panicked = finished.result().is_err_and(TaskError::is_panic);
            let _ = told.set_result((panicked, finished.name()));
        });
        let name = task.name();
        assert_eq!(runtime.block_on(heard).unwrap(), (true, name));
    });
}

#[test]
fn a_callback_may_spawn_cancel_add_and_drop_the_last_handle() {
    bounded(|| {
        let runtime = runtime(2);
        let (told, heard) = promise();
        let victim = runtime.spawn(std::future::pending::<()>());
        let task = runtime.spawn(async {});
        let task_ref = task.task_ref();
        let handle = runtime.handle().clone();
        task.add_done_callback(move |_| {
            victim.cancel();
            task_ref.add_done_callback(move |_: &TaskRef| {
                handle.spawn(async move { told.set_result(victim.await.is_err()) });
            });
        });
        drop(task);
        assert!(runtime.block_on(heard).unwrap());
    });
}

#[test]
fn a_task_is_a_future_of_a_result_as_deferred_and_shared_are() {
    async fn wait_all<J, T>(j: J) -> T
    where
        J: Future<Output = Result<T, TaskError>>,
    {
        j.await.unwrap()
    }

    bounded(|| {
        let runtime = runtime(2);
        let task = runtime.spawn(async { 1 });
        let (promise, deferred) = promise();
        promise.set_result(2).unwrap();
        let shared = runtime.spawn(async { 3 }).share();
        let all = async {
            (
                wait_all(task).await,
                wait_all(deferred).await,
                wait_all(shared).await,
            )
        };
        assert_eq!(runtime.block_on(all), (1, 2, 3));
    });
}

#[test]
fn a_callback_added_while_a_task_ends_runs_exactly_once() {
    const ROUNDS: usize = 100_000;
    bounded(|| {
        let runtime = runtime(2);
        let ran = Arc::new(AtomicUsize::new(0));
        let start = Arc::new(Barrier::new(2));
        let (promises, mut deferreds): (Vec<_>, Vec<_>) =
            (0..ROUNDS).map(|_| promise::<usize>()).unzip();
        let completer = thread::spawn({
            let start = Arc::clone(&start);
            move || {
                for (round, promise) in promises.into_iter().enumerate() {
                    // So that the two stay close to each other.
                    if round % 64 == 0 {
                        start.wait();
                    }
                    promise.set_result(round).unwrap();
                }
            }
        });
        let entered = runtime.enter();
        for (round, deferred) in deferreds.iter_mut().enumerate() {
            if round % 64 == 0 {
                start.wait();
            }
            let ran = Arc::clone(&ran);
            deferred.add_done_callback(move |_| {
                ran.fetch_add(1, Ordering::SeqCst);
            });
        }
        drop(entered);
        completer.join().unwrap();
        runtime.block_on(async {
            for (round, deferred) in deferreds.into_iter().enumerate() {
                assert_eq!(deferred.await.unwrap(), round);
            }
        });
        assert_eq!(ran.load(Ordering::SeqCst), ROUNDS);
    });
}

#[test]
fn an_output_is_dropped_exactly_once() {
    bounded(|| {
        let runtime = runtime(1);

        // The handle goes before the task is over.
        let drops = Drops::default();
        let (open, gate) = promise();
        let output = drops.guard();
        let task = runtime.spawn(async move {
            gate.await.unwrap();
            output
        });
        let watch = task.task_ref();
        let (told, over) = promise();
        watch.add_done_callback(move |_| {
            let _ = told.set_result(());
        });
        drop(task);
        open.set_result(()).unwrap();
        runtime.block_on(over).unwrap();
        // The callback's borrow may be the last holder: the registry's view is over when nobody is listed.
        drop(watch);
        settle(|| drops.count() == 1);

        // It goes afterwards.
        let drops = Drops::default();
        let output = drops.guard();
        let task = runtime.spawn(async move { output });
        settle(|| task.is_finished());
        drop(task);
        settle(|| drops.count() == 1);

        // It is awaited.
        let drops = Drops::default();
        let output = drops.guard();
        let task = runtime.spawn(async move { output });
        let output = runtime.block_on(task).unwrap();
        assert_eq!(drops.count(), 0);
        drop(output);
        assert_eq!(drops.count(), 1);
    });
}

#[test]
fn a_panic_while_an_output_is_dropped_takes_nothing_else_down() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            if !thread::panicking() {
                panic!("a drop that panics");
            }
        }
    }

    bounded(|| {
        let told = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&told);
        let builder = heist::Runtime::builder().worker_threads(1);
        let runtime = builder
            .exception_handler(move |_| {
                let _ = count.fetch_add(1, Ordering::SeqCst);
            })
            .build()
            .unwrap();
        runtime.spawn(async { Bomb }).detach();
        settle(|| told.load(Ordering::SeqCst) == 1);
        assert_eq!(runtime.block_on(runtime.spawn(async { 5 })).unwrap(), 5);
    });
}

#[test]
fn the_future_is_dropped_before_the_awaiting_side_goes_on() {
    bounded(|| {
        let runtime = runtime(4);
        for _ in 0..500 {
            let drops = Drops::default();
            let held = drops.guard();
            let task = runtime.spawn(async move { held.count_at_the_end() });
            runtime.block_on(task).unwrap();
            assert_eq!(drops.count(), 1);
        }
    });
}

#[test]
fn dropping_the_handle_detaches() {
    bounded(|| {
        let runtime = runtime(2);
        let (open, gate) = promise();
        let (told, heard) = promise();
        drop(runtime.spawn(async move {
            gate.await.unwrap();
            told.set_result("went on")
        }));
        open.set_result(()).unwrap();
        assert_eq!(runtime.block_on(heard).unwrap(), "went on");
    });
}

#[test]
fn awaiting_oneself_fails_at_once() {
    bounded(|| {
        let runtime = runtime(1);
        let (give, take) = promise::<Task<()>>();
        let (told, heard) = promise();
        let task = runtime.spawn(async move {
            let this = take.await.unwrap();
            let _ = told.set_result(this.await.unwrap_err());
        });
        assert!(give.set_result(task).is_ok());
        assert!(runtime.block_on(heard).unwrap().is_self_await());
    });
}

#[test]
fn blocking_on_oneself_fails_at_once() {
    fn told(wait: impl FnOnce(Task<()>) -> TaskError + Send + 'static) {
        let runtime = runtime(1);
        let (give, take) = promise::<Task<()>>();
        let (told, heard) = promise();
        let task = runtime.spawn(async move {
            let _ = told.set_result(wait(take.await.unwrap()));
        });
        assert!(give.set_result(task).is_ok());
        assert!(runtime.block_on(heard).unwrap().is_self_await());
    }
    bounded(|| {
        told(|this| this.wait_blocking().unwrap_err());
        told(|this| heist::block_on(this).unwrap_err());
        told(|this| heist::block_on(async { heist::block_on(this.share()).unwrap_err() }));
        told(|this| {
            let local = LocalRuntime::new().unwrap();
            local.block_on(async { this.await.unwrap_err() })
        });
        // Another task may wait for the one that blocks.
        told(|mut this| {
            let other = runtime(1);
            let waiting = other.spawn(async move {
                let first = poll_fn(|cx| Poll::Ready(Pin::new(&mut this).poll(cx))).await;
                (first.is_pending(), this)
            });
            heist::block_on(async {
                let (is_pending, this) = waiting.await.unwrap();
                assert!(is_pending);
                this.await.unwrap_err()
            })
        });
    });
}

#[test]
fn a_panic_comes_to_the_awaiting_side_with_its_payload() {
    bounded(|| {
        let runtime = runtime(1);
        let error = runtime
            .block_on(runtime.spawn(async { std::panic::panic_any(17_u8) }))
            .map(|(): ()| ())
            .unwrap_err();
        let payload = error.try_into_panic().unwrap();
        assert_eq!(payload.downcast_ref::<u8>(), Some(&17));
    });
}

#[test]
fn the_result_can_be_looked_at_until_it_is_taken() {
    bounded(|| {
        let runtime = runtime(1);
        let (open, gate) = promise();
        let mut task = runtime.spawn(async move { gate.await.map_or(0, |()| 9) });
        assert!(task.result().is_none());
        open.set_result(()).unwrap();
        settle(|| task.is_finished());
        assert_eq!(task.result().unwrap().unwrap(), &9);
        assert_eq!(runtime.block_on(&mut task).unwrap(), 9);
        assert!(task.result().is_none());
    });
}

/// Notes its letter twice, with a yield behind each.
async fn take_turns(letter: char, log: Arc<Mutex<String>>) {
    for _ in 0..2 {
        log.lock().unwrap().push(letter);
        yield_now().await;
    }
}

#[test]
fn yields_take_turns() {
    bounded(|| {
        let runtime = LocalRuntime::new().unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let a = runtime.spawn_local(take_turns('a', Arc::clone(&log)));
        let b = runtime.spawn_local(take_turns('b', Arc::clone(&log)));
        runtime.block_on(async {
            a.await.unwrap();
            b.await.unwrap();
        });
        assert_eq!(*log.lock().unwrap(), "abab");
    });
}

#[test]
fn yields_take_turns_on_a_single_worker() {
    bounded(|| {
        let runtime = lone_worker();
        let log = Arc::new(Mutex::new(String::new()));
        let (a, b) = (
            take_turns('a', Arc::clone(&log)),
            take_turns('b', Arc::clone(&log)),
        );
        // Both are spawned in one poll, so that neither has begun when the other comes. Which one begins is not a promise.
        let both = runtime.spawn(async { (heist::spawn(a), heist::spawn(b)) });
        runtime.block_on(async {
            let (a, b) = both.await.unwrap();
            a.await.unwrap();
            b.await.unwrap();
        });
        assert!(
            ["abab", "baba"].contains(&log.lock().unwrap().as_str()),
            "{log:?}"
        );
    });
}

#[test]
fn a_local_task_needs_no_send() {
    bounded(|| {
        let runtime = LocalRuntime::new().unwrap();
        let shared = std::rc::Rc::new(std::cell::Cell::new(1));
        let inner = std::rc::Rc::clone(&shared);
        let task = runtime.spawn_local(async move {
            inner.set(2);
            inner
        });
        assert_eq!(shared.get(), 1);
        let back = runtime.block_on(task).unwrap();
        assert_eq!(back.get(), 2);
        assert!(std::rc::Rc::ptr_eq(&back, &shared));
    });
}

#[test]
fn waiting_for_what_is_over_needs_nobody_to_wait_with() {
    bounded(|| {
        let (local, ended) = (LocalRuntime::new().unwrap(), runtime(1));
        let gone = ended.handle().clone();
        drop(ended);
        local.block_on(async {
            let over = heist::spawn(async { 1 });
            while !over.is_finished() {
                yield_now().await;
            }
            // Until the budget of this poll is used up, too.
            for _ in 0..1000 {
                let other = gone.spawn(async {});
                assert!(other.wait_blocking().unwrap_err().is_runtime_gone());
            }
            assert_eq!(over.wait_blocking().unwrap(), 1);
        });
        let alive = runtime(1);
        let _entered = gone.enter();
        let over = alive.spawn(async { 2 });
        settle(|| over.is_finished());
        assert_eq!(over.wait_blocking().unwrap(), 2);
    });
}

/// Waits for something that another thread does soon and tells nobody.
#[track_caller]
fn settle(mut done: impl FnMut() -> bool) {
    while !done() {
        thread::yield_now();
    }
}

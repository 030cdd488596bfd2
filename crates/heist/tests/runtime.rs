//! Runtimes: spawning from everywhere, stealing, fairness, settings and hooks.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

mod support;

use std::collections::HashSet;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::thread;
use std::time::Duration;

use heist::runtime::ConfigError;
use heist::task::yield_now;
use heist::time::sleep;
use heist::{Handle, LocalRuntime, Runtime, promise};
use support::{bounded, lone_worker, runtime};

#[test]
fn spawns_from_many_threads_all_run_once() {
    const THREADS: usize = 16;
    const SPAWNS: usize = 10_000;
    bounded(|| {
        let runtime = runtime(4);
        let ran = Arc::new(AtomicUsize::new(0));
        let tasks: Vec<_> = thread::scope(|scope| {
            let spawn_all = || {
                let spawn = |_| {
                    let ran = Arc::clone(&ran);
                    runtime.spawn(async move { ran.fetch_add(1, Ordering::SeqCst) })
                };
                (0..SPAWNS).map(spawn).collect::<Vec<_>>()
            };
            let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(spawn_all)).collect();
            threads
                .into_iter()
                .flat_map(|thread| thread.join().unwrap())
                .collect()
        });
        runtime.block_on(async {
            let mut seen = HashSet::new();
            for task in tasks {
                assert!(seen.insert(task.await.unwrap()));
            }
            assert_eq!(seen.len(), THREADS * SPAWNS);
        });
        assert_eq!(ran.load(Ordering::SeqCst), THREADS * SPAWNS);
    });
}

#[test]
fn a_chain_of_tasks_hands_its_result_through() {
    bounded(|| {
        let runtime = runtime(4);
        let mut last = runtime.spawn(async { 1 });
        for _ in 1..1000 {
            let previous = last;
            last = runtime.spawn(async move { previous.await.unwrap() + 1 });
        }
        assert_eq!(runtime.block_on(last).unwrap(), 1000);
    });
}

#[test]
fn work_of_one_worker_is_stolen_by_others() {
    const CHILDREN: usize = 100_000;
    bounded(|| {
        let runtime = runtime(4);
        let threads = Arc::new(Mutex::new(HashSet::new()));
        let seen = Arc::clone(&threads);
        let parent = runtime.spawn(async move {
            let child = |_| {
                let seen = Arc::clone(&seen);
                heist::spawn(async move { seen.lock().unwrap().insert(thread::current().id()) })
            };
            let children: Vec<_> = (0..CHILDREN).map(child).collect();
            // Whoever runs a child now has taken it from here.
            while seen.lock().unwrap().is_empty() {
                thread::yield_now();
            }
            for child in children {
                child.await.unwrap();
            }
        });
        runtime.block_on(parent).unwrap();
        assert!(threads.lock().unwrap().len() >= 2);
        assert!(runtime.handle().metrics().steals() > 0);
    });
}

#[test]
fn two_tasks_that_wake_each_other_keep_nobody_waiting() {
    bounded(|| {
        let runtime = lone_worker();
        let wakers: Arc<[Mutex<Option<Waker>>; 2]> = Arc::default();
        let stop = Arc::new(AtomicBool::new(false));
        let polls = Arc::new(AtomicUsize::new(0));
        let player = |mine: usize| {
            let (wakers, stop) = (Arc::clone(&wakers), Arc::clone(&stop));
            let polls = Arc::clone(&polls);
            poll_fn(move |cx| {
                polls.fetch_add(1, Ordering::SeqCst);
                if stop.load(Ordering::SeqCst) {
                    return Poll::Ready(());
                }
                *wakers[mine].lock().unwrap() = Some(cx.waker().clone());
                let other = wakers[1 - mine].lock().unwrap().take();
                other.inspect(Waker::wake_by_ref);
                Poll::Pending
            })
        };
        let (ping, pong) = (runtime.spawn(player(0)), runtime.spawn(player(1)));
        let count = Arc::clone(&polls);
        let third = runtime.spawn(async move {
            let before = count.load(Ordering::SeqCst);
            for _ in 0..100 {
                yield_now().await;
            }
            count.load(Ordering::SeqCst) - before
        });
        let meanwhile = runtime.block_on(third).unwrap();
        // A few of theirs for each of its own.
        assert!(meanwhile < 1000, "{meanwhile}");
        stop.store(true, Ordering::SeqCst);
        for player in [ping, pong] {
            player.abort();
            let _ = runtime.block_on(player);
        }
    });
}

#[test]
fn an_always_ready_leaf_lets_timers_fire() {
    bounded(|| {
        // Nobody else can help: it is the budget alone that makes room.
        let runtime = lone_worker();
        let ticks = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&ticks);
        let busy = runtime.spawn(async move {
            let (promise, deferred) = promise();
            promise.set_result(()).unwrap();
            let ready = deferred.share();
            while ticks.load(Ordering::SeqCst) < 5 {
                ready.clone().await.unwrap();
            }
        });
        let ticker = runtime.spawn(async move {
            loop {
                sleep(Duration::from_millis(10)).await;
                counter.fetch_add(1, Ordering::SeqCst);
            }
        });
        runtime.block_on(busy).unwrap();
        ticker.cancel();
    });
}

#[test]
fn a_handle_is_current_where_it_was_entered() {
    bounded(|| {
        assert!(Handle::try_current().is_none());
        let (outer, inner) = (runtime(1), runtime(1));
        let first = outer.enter();
        let second = inner.enter();
        let on = |runtime: &Runtime| {
            let name = heist::spawn(async { thread::current().name().map(str::to_owned) })
                .wait_blocking()
                .unwrap();
            let there = runtime
                .spawn(async { thread::current().name().map(str::to_owned) })
                .wait_blocking()
                .unwrap();
            (name, there)
        };
        let (name, there) = on(&inner);
        assert_eq!(name, there);
        // Out of order, which guards may be.
        drop(first);
        assert!(Handle::try_current().is_some());
        drop(second);
        assert!(Handle::try_current().is_none());
    });
}

#[test]
fn a_guard_may_be_dropped_inside_of_what_was_entered_later() {
    bounded(|| {
        let (outer, other) = (runtime(1), runtime(1));
        let local = LocalRuntime::new().unwrap();
        let guard = outer.enter();
        let name = || async { thread::current().name().map(str::to_owned) };
        local.block_on(async move {
            drop(guard);
            let here = heist::spawn(name()).await.unwrap();
            let _other = other.enter();
            let elsewhere = heist::spawn(name()).await.unwrap();
            assert_eq!(here, thread::current().name().map(str::to_owned));
            assert_ne!(elsewhere, here);
        });
        assert!(Handle::try_current().is_none());
    });
}

#[test]
fn a_setting_out_of_range_is_named_with_its_range() {
    bounded(|| {
        let cases: [(heist::Builder, &str, &str); 3] = [
            (Runtime::builder().worker_threads(0), "worker_threads", "0"),
            (
                Runtime::builder().worker_threads(1025),
                "worker_threads",
                "1025",
            ),
            (
                Runtime::builder().thread_stack_size(1000),
                "thread_stack_size",
                "1000",
            ),
        ];
        for (builder, field, value) in cases {
            let error = builder.build().unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
            let inner = error
                .get_ref()
                .unwrap()
                .downcast_ref::<ConfigError>()
                .unwrap();
            assert_eq!((inner.field(), inner.value()), (field, value));
        }
    });
}

#[test]
fn hooks_run_on_each_thread_at_its_start_and_end() {
    bounded(|| {
        let (started, stopped) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (up, down) = (Arc::clone(&started), Arc::clone(&stopped));
        let runtime = Runtime::builder()
            .worker_threads(2)
            .thread_name("hooked")
            .on_thread_start(move || {
                let _ = up.fetch_add(1, Ordering::SeqCst);
            })
            .on_thread_stop(move || {
                let _ = down.fetch_add(1, Ordering::SeqCst);
            })
            .build()
            .unwrap();
        let name = runtime
            .block_on(runtime.spawn(async { thread::current().name().map(str::to_owned) }))
            .unwrap();
        assert!(name.unwrap().starts_with("hooked"));
        runtime.shutdown(Duration::from_secs(1));
        assert!(started.load(Ordering::SeqCst) >= 2);
        assert_eq!(
            started.load(Ordering::SeqCst),
            stopped.load(Ordering::SeqCst)
        );
    });
}

#[test]
fn spawn_local_is_of_the_runtime_that_runs_on_the_thread() {
    fn panics(f: impl FnOnce()) {
        let payload = catch_unwind(AssertUnwindSafe(f)).unwrap_err();
        let message = payload.downcast_ref::<&str>().unwrap();
        assert!(message.contains("spawn_local"), "{message}");
    }
    bounded(|| {
        let (multi, local) = (runtime(1), LocalRuntime::new().unwrap());
        let other = LocalRuntime::new().unwrap();
        let spawn = || drop(heist::spawn_local(async {}));
        let task = multi.spawn(async move { panics(spawn) });
        multi.block_on(task).unwrap();
        panics(spawn);
        {
            let _entered = local.handle().enter();
            panics(spawn);
        }
        for entered in [multi.handle(), other.handle()] {
            local.block_on(async {
                let here = heist::task::current().id();
                let _entered = entered.enter();
                let three = heist::spawn_local(async { std::rc::Rc::new(3) });
                let listed = local.handle().all_tasks();
                assert!(listed.iter().any(|task| task.id() == three.id()));
                assert!(listed.iter().any(|task| task.id() == here));
                assert_eq!(*three.await.unwrap(), 3);
            });
        }
        let builder = || heist::task::Builder::new().name("here");
        local.block_on(async {
            panics(|| drop(builder().on(other.handle()).spawn_local(async {})));
            let task = builder().on(local.handle()).spawn_local(async {});
            assert_eq!(task.name(), "here");
        });
    });
}

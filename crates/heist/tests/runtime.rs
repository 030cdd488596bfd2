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
    type Case = (heist::Builder, &'static str, &'static str, &'static str);
    const WORKERS: &str = "from 1 to 1024";
    const STACK: &str = "from 65536 to 1073741824";
    const BLOCKING: &str = "from 1 to 65536";
    const NAME: &str = "a name without NUL bytes";
    bounded(|| {
        let new = Runtime::builder;
        let cases: [Case; 9] = [
            (new().worker_threads(0), "worker_threads", "0", WORKERS),
            (
                new().worker_threads(1025),
                "worker_threads",
                "1025",
                WORKERS,
            ),
            (new().thread_stack_size(0), "thread_stack_size", "0", STACK),
            (
                new().thread_stack_size(1000),
                "thread_stack_size",
                "1000",
                STACK,
            ),
            (
                new().thread_stack_size(65535),
                "thread_stack_size",
                "65535",
                STACK,
            ),
            (
                new().thread_stack_size((1 << 30) + 1),
                "thread_stack_size",
                "1073741825",
                STACK,
            ),
            (
                new().max_blocking_threads(0),
                "max_blocking_threads",
                "0",
                BLOCKING,
            ),
            (
                new().max_blocking_threads((1 << 16) + 1),
                "max_blocking_threads",
                "65537",
                BLOCKING,
            ),
            (new().thread_name("a\0b"), "thread_name", r#""a\0b""#, NAME),
        ];
        for (builder, field, value, range) in cases {
            let local = builder.clone().build_local().map(drop);
            for built in [builder.build().map(drop), local] {
                let error = built.unwrap_err();
                assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
                let inner = error.get_ref().unwrap();
                let inner = inner.downcast_ref::<ConfigError>().unwrap();
                let named = (inner.field(), inner.value(), inner.range());
                assert_eq!(named, (field, value, range));
                let all = format!("{field} is {value}; it must be {range}");
                assert_eq!(error.to_string(), all);
            }
        }
    });
}

#[test]
fn the_bounds_of_a_setting_are_within_its_range() {
    bounded(|| {
        let new = || Runtime::builder().worker_threads(1);
        for builder in [
            new().thread_stack_size(64 << 10),
            new().thread_stack_size(1 << 30),
            new().max_blocking_threads(1),
            new().max_blocking_threads(1 << 16),
            new().thread_name(""),
        ] {
            let local = builder.clone().build_local().unwrap();
            let runtime = builder.build().unwrap();
            let there = runtime.spawn(async { 1 });
            assert_eq!(local.block_on(there).unwrap(), 1);
            let job = runtime.spawn_blocking(|| 2);
            assert_eq!(local.block_on(job).unwrap(), 2);
        }
        // As many threads would take longer to start than a test may.
        let most = new().worker_threads(1024).build_local().unwrap();
        assert_eq!(most.block_on(async { 3 }), 3);
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

//! What a runtime says about itself, while it is at it.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

mod support;

use std::future::pending;
use std::sync::mpsc::channel;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use heist::task::{Builder, yield_now};
use heist::{Handle, LocalRuntime, Runtime};
use support::{bounded, lone_worker};

/// Blocks until `reached`, within the time of the test.
fn until(mut reached: impl FnMut() -> bool) {
    while !reached() {
        thread::yield_now();
    }
}

/// What another thread sees while a task stands still in its poll, with five tasks behind it.
fn seen_in_a_poll(handle: &Handle) -> impl Future<Output = ()> + Send + 'static {
    let (inside, outside) = (Arc::new(Barrier::new(2)), handle.clone());
    let gate = Arc::clone(&inside);
    let observer = thread::spawn(move || {
        inside.wait();
        let metrics = outside.metrics();
        inside.wait();
        metrics
    });
    let own = handle.clone();
    async move {
        // What a runtime knows of its queue is of the beginning of a poll.
        let behind: Vec<_> = (0..5).map(|_| own.spawn(pending::<()>())).collect();
        own.spawn(async move {
            gate.wait();
            gate.wait();
        })
        .detach();
        let more: Vec<_> = (0..5).map(|_| own.spawn(pending::<()>())).collect();
        while !observer.is_finished() {
            yield_now().await;
        }
        let metrics = observer.join().unwrap();
        let worker = &metrics.workers[0];
        assert!(worker.polling, "{metrics:?}");
        assert!(worker.queued >= 5, "{metrics:?}");
        assert!(metrics.live_tasks >= 12, "{metrics:?}");
        behind.iter().chain(&more).for_each(|task| {
            task.cancel();
        });
        for task in behind.into_iter().chain(more) {
            assert!(task.await.unwrap_err().is_cancelled());
        }
    }
}

#[test]
fn a_poll_and_the_queue_behind_it_are_seen_from_outside() {
    bounded(|| {
        let multi = lone_worker();
        multi
            .block_on(multi.spawn(seen_in_a_poll(multi.handle())))
            .unwrap();
        let local = LocalRuntime::new().unwrap();
        let seen = local.handle().spawn(seen_in_a_poll(local.handle()));
        local.block_on(seen).unwrap();
        for handle in [multi.handle(), local.handle()] {
            until(|| handle.metrics().live_tasks == 0);
            let metrics = handle.metrics();
            assert!(metrics.polls() >= 22, "{metrics:?}");
        }
    });
}

#[test]
fn busy_time_is_that_outside_of_sleep() {
    const SPIN: Duration = Duration::from_millis(50);
    async fn spin_and_sleep() {
        for _ in 0..2 {
            let begun = Instant::now();
            while begun.elapsed() < SPIN / 2 {}
            heist::time::sleep(SPIN * 4).await;
        }
    }
    bounded(|| {
        let begun = Instant::now();
        let multi = lone_worker();
        multi.block_on(multi.spawn(spin_and_sleep())).unwrap();
        let local = LocalRuntime::new().unwrap();
        local.block_on(spin_and_sleep());
        for metrics in [multi.handle().metrics(), local.handle().metrics()] {
            let worker = &metrics.workers[0];
            assert!(worker.busy >= SPIN, "{metrics:?}");
            assert!(worker.parks >= 2, "{metrics:?}");
            assert!(worker.busy + SPIN * 8 <= begun.elapsed(), "{metrics:?}");
        }
    });
}

#[test]
fn blocking_closures_that_wait_for_a_thread_are_counted() {
    bounded(|| {
        let runtime = Runtime::builder().max_blocking_threads(1).build().unwrap();
        let (release, released) = channel::<()>();
        let first = runtime.spawn_blocking(move || released.recv().unwrap_err());
        let second = runtime.spawn_blocking(|| ());
        until(|| runtime.handle().metrics().queued_blocking == 1);
        let metrics = runtime.handle().metrics();
        assert_eq!(
            (metrics.blocking_threads, metrics.idle_blocking_threads),
            (1, 0)
        );
        drop(release);
        runtime.block_on(async {
            first.await.unwrap();
            second.await.unwrap();
        });
        until(|| runtime.handle().metrics().idle_blocking_threads == 1);
        assert_eq!(runtime.handle().metrics().queued_blocking, 0);
    });
}

#[test]
fn a_thief_counts_what_it_took() {
    bounded(|| {
        let runtime = Runtime::builder().worker_threads(2).build().unwrap();
        let handle = runtime.handle().clone();
        let victim = runtime.spawn(async move {
            let stolen: Vec<_> = (0..100).map(|_| heist::spawn(async {})).collect();
            // All of them, since this worker does nothing else.
            until(|| stolen.iter().all(|task| task.is_finished()));
            handle.metrics()
        });
        let metrics = runtime.block_on(victim).unwrap();
        let stolen: u64 = metrics.workers.iter().map(|w| w.stolen_tasks).sum();
        // The task itself may have been stolen, too.
        assert!((100..=101).contains(&stolen), "{metrics:?}");
    });
}

#[test]
fn debug_mode_reports_a_slow_poll_with_its_task() {
    bounded(|| {
        let build = || {
            let (told, tells) = channel();
            let builder = Runtime::builder()
                .worker_threads(1)
                .debug(true)
                .slow_poll_threshold(Duration::from_millis(20))
                .exception_handler(move |exception| {
                    let task = exception.task().map(|(_, name)| name.to_owned());
                    told.send((task, exception.to_string())).unwrap();
                });
            (builder, tells)
        };
        let slow = || async { thread::sleep(Duration::from_millis(30)) };
        let (builder, multi_tells) = build();
        let multi = builder.build().unwrap();
        let task = Builder::new().name("slow").on(multi.handle());
        multi.block_on(task.spawn(slow())).unwrap();
        let (builder, local_tells) = build();
        let local = builder.build_local().unwrap();
        let task = Builder::new().name("slow").on(local.handle());
        local.block_on(task.spawn(slow())).unwrap();
        for tells in [multi_tells, local_tells] {
            let (task, text) = tells.recv().unwrap();
            assert_eq!(task.as_deref(), Some("slow"));
            assert!(text.contains("a poll took"), "{text}");
            assert!(text.contains("metrics.rs:"), "{text}");
            assert!(tells.try_recv().is_err(), "told twice");
        }
    });
}

#[test]
fn debug_mode_reports_what_is_pending_when_its_runtime_is_dropped() {
    bounded(|| {
        let (tell, told) = std::sync::mpsc::channel();
        let tell = std::sync::Mutex::new(tell);
        let runtime = heist::Runtime::builder()
            .worker_threads(1)
            .debug(true)
            .shutdown_grace(Duration::from_millis(10))
            .exception_handler(move |exception| {
                let task = exception.task().map(|(_, name)| name.to_owned());
                tell.lock()
                    .unwrap()
                    .send((task, exception.message().to_owned()))
                    .unwrap();
            })
            .build()
            .unwrap();
        let (begins, begun) = heist::promise();
        let stubborn = heist::task::Builder::new()
            .name("stubborn")
            .on(runtime.handle());
        let task = stubborn.spawn(async move {
            begins.set_result(()).unwrap();
            let _ = heist::task::catch_cancel(std::future::pending::<()>()).await;
            std::future::pending::<()>().await;
        });
        runtime.block_on(begun).unwrap();
        drop(runtime);
        let (task_told, message) = told.recv().unwrap();
        assert_eq!(task_told.as_deref(), Some("stubborn"));
        assert!(message.contains("pending"), "{message}");
        drop(task);
    });
}

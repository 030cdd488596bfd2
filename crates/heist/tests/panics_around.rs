//! Panics around tasks: in payloads, hooks, the exception handler, blocking closures and roots, and at the end.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

#[path = "support/panics.rs"]
mod panics;
mod support;

use std::future::pending;
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use heist::runtime::ExceptionKind;
use heist::task::{current, yield_now};
use heist::time::sleep;
use heist::{Handle, LocalRuntime, Runtime};
use panics::{Bomb, goes_on, hears, panicked, reporting, start, text};
use support::{bounded, child};

const MS: Duration = Duration::from_millis(1);

/// Panics with another one of its kind whenever it is dropped.
struct Endless;

impl Drop for Endless {
    fn drop(&mut self) {
        if !thread::panicking() {
            panic_any(Endless);
        }
    }
}

#[test]
fn a_payload_that_panics_when_it_is_dropped_takes_nobody_down() {
    const NO_TEXT: &str = "message";
    bounded(|| {
        let (builder, told) = reporting();
        let hook = || panic_any(Endless);
        let builder = builder.on_thread_start(hook).on_thread_stop(hook);
        let runtime = builder.build().unwrap();
        hears(&told, ExceptionKind::Hook, "on_thread_start");

        runtime.spawn(async { panic_any(Bomb) }).detach();
        hears(&told, ExceptionKind::NeverRetrieved, NO_TEXT);
        runtime.spawn(async { panic_any(Endless) }).detach();
        hears(&told, ExceptionKind::NeverRetrieved, NO_TEXT);
        let kept = runtime.spawn(async { panic_any(Endless) });
        while !kept.is_finished() {
            thread::yield_now();
        }
        drop(kept);
        hears(&told, ExceptionKind::NeverRetrieved, NO_TEXT);

        let task = runtime.spawn(async {});
        task.add_done_callback(|_| panic_any(Endless));
        runtime.block_on(task).unwrap();
        hears(&told, ExceptionKind::Callback, NO_TEXT);
        runtime.handle().call_soon(|| panic_any(Endless));
        hears(&told, ExceptionKind::Callback, NO_TEXT);
        runtime.spawn(async { Endless }).detach();
        hears(&told, ExceptionKind::Drop, NO_TEXT);

        runtime.spawn_blocking(|| panic_any(Endless)).detach();
        hears(&told, ExceptionKind::Hook, "on_thread_start");
        hears(&told, ExceptionKind::NeverRetrieved, NO_TEXT);
        // It was told before the closure is over.
        while runtime.handle().metrics().idle_blocking_threads == 0 {
            thread::yield_now();
        }
        let report = runtime.shutdown(Duration::from_secs(5));
        assert!(report.is_clean(), "{report:?}");
        hears(&told, ExceptionKind::Hook, "on_thread_stop");
        hears(&told, ExceptionKind::Hook, "on_thread_stop");
    });
}

#[test]
fn a_panic_in_a_hook_takes_no_thread_down() {
    bounded(|| {
        let (builder, told) = reporting();
        let runtime = builder
            .worker_threads(3)
            .on_thread_start(|| panic!("start"))
            .on_thread_stop(|| panic!("stop"))
            .build()
            .unwrap();
        for _ in 0..3 {
            hears(
                &told,
                ExceptionKind::Hook,
                "on_thread_start panicked: start",
            );
        }
        let job = runtime.spawn_blocking(|| 3);
        assert_eq!(runtime.block_on(job).unwrap(), 3);
        hears(
            &told,
            ExceptionKind::Hook,
            "on_thread_start panicked: start",
        );
        assert_eq!(runtime.block_on(runtime.spawn(async { 4 })).unwrap(), 4);
        let report = runtime.shutdown(Duration::from_secs(5));
        assert!(report.is_clean(), "{report:?}");
        for _ in 0..4 {
            hears(&told, ExceptionKind::Hook, "on_thread_stop panicked: stop");
        }
        assert!(told.try_recv().is_err());
    });
}

#[test]
fn a_panic_in_the_exception_handler_takes_nobody_down() {
    bounded(|| {
        let count = Arc::new(AtomicUsize::new(0));
        let own = Arc::clone(&count);
        let (builder, told) = reporting();
        let builder = builder
            .on_thread_start(|| panic!("a hook"))
            .exception_handler(move |_| match own.fetch_add(1, Ordering::SeqCst) % 3 {
                0 => panic!("the handler"),
                1 => panic_any(Bomb),
                _ => panic_any(Endless),
            });
        let runtime = builder.build().unwrap();
        // The worker's hook, and then three of each.
        for round in 0..3 {
            runtime.spawn(async { panic!("a body") }).detach();
            runtime.spawn(async { Bomb }).detach();
            runtime.handle().call_soon(|| panic!("a call"));
            let task = runtime.spawn(async {});
            task.add_done_callback(|_| panic!("a callback"));
            runtime.block_on(task).unwrap();
            while count.load(Ordering::SeqCst) < 1 + 4 * (round + 1) {
                thread::yield_now();
            }
        }
        goes_on(runtime, &told);
        // And that of the pool thread.
        assert_eq!(count.load(Ordering::SeqCst), 1 + 4 * 3 + 1);
    });
}

#[test]
fn a_panic_in_the_exception_handler_and_what_it_was_told_go_to_standard_error() {
    let Some(mut command) = child() else {
        // What remains is what the runtime writes.
        std::panic::set_hook(Box::new(|_| ()));
        let builder = Runtime::builder().worker_threads(1);
        let builder = builder.exception_handler(|exception| {
            panic!("I cannot cope with {:?}", exception.kind());
        });
        let runtime = builder.build().unwrap();
        let named = heist::task::Builder::new().on(runtime.handle());
        named.name("unlucky").spawn(async { panic!("a body") });
        runtime.handle().call_soon(|| panic!("a call"));
        // Its place in the queue is behind both.
        runtime.block_on(runtime.spawn(yield_now())).unwrap();
        assert!(runtime.shutdown(Duration::from_secs(5)).is_clean());
        return;
    };
    bounded(move || {
        let output = command.output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{errors}");
        for told in [
            "panic: the exception handler panicked: I cannot cope with NeverRetrieved\n",
            "Task exception was never retrieved\n  task: \"unlucky\" spawned at crates/heist/tests/",
            "panic: a body\n",
            "panic: the exception handler panicked: I cannot cope with Callback\n",
            "Exception in callback\n",
            "panic: a call\n",
        ] {
            assert_eq!(errors.matches(told).count(), 1, "{told:?} in {errors}");
        }
    });
}

#[test]
fn the_exception_handler_may_use_the_runtime() {
    bounded(|| {
        let (sent, told) = channel();
        let sent = Mutex::new(sent);
        // Emptied at the end: a handle in its own runtime's handler keeps both for ever.
        let slot: Arc<Mutex<Option<Handle>>> = Arc::default();
        let own = Arc::clone(&slot);
        let builder = Runtime::builder()
            .worker_threads(1)
            .exception_handler(move |exception| {
                let handle = own.lock().unwrap().clone().unwrap();
                let tasks = handle.all_tasks();
                if let Some((id, name)) = exception.task() {
                    // The one that it is about may be over, and is left alone.
                    for task in tasks.iter().filter(|task| task.id() == id) {
                        assert_eq!(task.name(), name);
                        task.add_done_callback(|_| {});
                        task.cancel();
                    }
                }
                let spawned = handle.spawn(async { 5 });
                let waited = handle.block_on(spawned).unwrap();
                let kind = exception.kind();
                sent.lock().unwrap().send((kind, waited)).unwrap();
            });
        let runtime = builder.build().unwrap();
        *slot.lock().unwrap() = Some(runtime.handle().clone());

        runtime.spawn(async { panic!("a body") }).detach();
        assert_eq!(told.recv().unwrap(), (ExceptionKind::NeverRetrieved, 5));
        runtime.spawn(async { Bomb }).detach();
        assert_eq!(told.recv().unwrap(), (ExceptionKind::Drop, 5));
        let task = runtime.spawn(async {});
        task.add_done_callback(|_| panic!("a callback"));
        runtime.block_on(task).unwrap();
        assert_eq!(told.recv().unwrap(), (ExceptionKind::Callback, 5));
        runtime.handle().call_soon(|| panic!("a call"));
        assert_eq!(told.recv().unwrap(), (ExceptionKind::Callback, 5));
        let held = Bomb;
        let cancelled = runtime.spawn(async move {
            held.hold();
            pending::<()>().await;
        });
        runtime.block_on(runtime.spawn(yield_now())).unwrap();
        cancelled.cancel();
        assert!(runtime.block_on(cancelled).unwrap_err().is_cancelled());
        assert_eq!(told.recv().unwrap(), (ExceptionKind::Drop, 5));
        *slot.lock().unwrap() = None;
        let report = runtime.shutdown(Duration::from_secs(5));
        assert!(report.is_clean(), "{report:?}");
    });
}

#[test]
fn a_panic_in_a_blocking_closure_ends_that_closure_alone() {
    bounded(|| {
        let (builder, told) = reporting();
        let runtime = builder.max_blocking_threads(1).build().unwrap();
        let before = runtime.block_on(runtime.spawn_blocking(|| thread::current().id()));
        let job = runtime.spawn_blocking(|| panic!("blocking"));
        assert_eq!(panicked::<()>(runtime.block_on(job)), "blocking");
        runtime.spawn_blocking(|| panic!("detached")).detach();
        hears(&told, ExceptionKind::NeverRetrieved, "detached");
        let held = Bomb;
        let job = runtime.spawn_blocking(move || held.hold());
        assert_eq!(panicked(runtime.block_on(job)), "bomb");
        runtime.spawn_blocking(|| Bomb).detach();
        hears(&told, ExceptionKind::Drop, "bomb");
        let job = runtime.spawn_blocking(|| ());
        job.add_done_callback(|_| panic!("after it"));
        runtime.block_on(job).unwrap();
        hears(&told, ExceptionKind::Callback, "after it");
        let after = runtime.block_on(runtime.spawn_blocking(|| thread::current().id()));
        assert_eq!(before.unwrap(), after.unwrap(), "the thread was replaced");
        goes_on(runtime, &told);
    });
}

#[test]
fn a_panic_in_a_root_unwinds_from_block_on_alone() {
    fn unwinds(run: impl FnOnce()) -> String {
        text(catch_unwind(AssertUnwindSafe(run)).unwrap_err())
    }

    bounded(|| {
        let (runtime, told) = start();
        let beside = runtime.spawn(pending::<()>());
        let root = async {
            yield_now().await;
            panic!("root")
        };
        assert_eq!(unwinds(|| runtime.block_on(root)), "root");
        assert_eq!(unwinds(|| runtime.block_on(async { Bomb.hold() })), "bomb");
        // Inside of a task it is that task's panic.
        let handle = runtime.handle().clone();
        let task = runtime.spawn(async move { handle.block_on(async { panic!("nested") }) });
        assert_eq!(panicked::<()>(runtime.block_on(task)), "nested");
        // A callback of a root runs on its thread.
        runtime.block_on(async {
            current().add_done_callback(|_| panic!("of a root"));
        });
        hears(&told, ExceptionKind::Callback, "of a root");
        // Cancelled, with a body whose drop panics.
        let cancelled = catch_unwind(AssertUnwindSafe(|| {
            runtime.block_on(async {
                let held = Bomb;
                current().cancel();
                yield_now().await;
                held.hold();
            });
        }));
        let error = cancelled.unwrap_err().downcast::<heist::TaskError>();
        assert!(error.unwrap().is_cancelled());
        hears(&told, ExceptionKind::Drop, "bomb");
        assert!(!beside.is_finished());
        drop(beside);
        goes_on(runtime, &told);
    });
}

#[test]
fn a_local_runtime_outlives_every_panic_on_its_thread() {
    bounded(|| {
        let (builder, told) = reporting();
        let local: LocalRuntime = builder.build_local().unwrap();
        let body = local.spawn_local(async { panic!("body") });
        assert_eq!(panicked::<()>(local.block_on(body)), "body");
        local.spawn_local(async { panic!("detached") }).detach();
        local.spawn_local(async { Bomb }).detach();
        let task = local.spawn_local(async { 1 });
        task.add_done_callback(|_| panic!("local callback"));
        task.task_ref()
            .add_done_callback(|_| panic!("any callback"));
        local.handle().call_soon(|| panic!("soon"));
        local.handle().call_later(MS, || panic!("later"));
        assert_eq!(local.block_on(task).unwrap(), 1);
        let job = local.handle().spawn_blocking(|| panic!("blocking"));
        assert_eq!(panicked::<()>(local.block_on(job)), "blocking");
        local.block_on(sleep(2 * MS));
        let mut heard: Vec<_> = told.try_iter().map(|(_, message)| message).collect();
        heard.sort();
        let all = [
            "any callback",
            "bomb",
            "detached",
            "later",
            "local callback",
            "soon",
        ];
        assert_eq!(heard, all);

        let held = Bomb;
        let cancelled = local.spawn_local(async move {
            held.hold();
            pending::<()>().await;
        });
        local.block_on(yield_now());
        cancelled.cancel();
        assert!(local.block_on(cancelled).unwrap_err().is_cancelled());
        hears(&told, ExceptionKind::Drop, "bomb");
        let root = AssertUnwindSafe(|| local.block_on(async { panic!("root") }));
        let unwound: Result<(), _> = catch_unwind(root);
        assert_eq!(text(unwound.unwrap_err()), "root");

        assert_eq!(local.block_on(local.spawn_local(async { 2 })).unwrap(), 2);
        local.spawn_local(async {
            let held = Bomb;
            pending::<()>().await;
            held.hold();
        });
        local.block_on(yield_now());
        let report = local.shutdown(Duration::from_secs(5));
        assert!(report.is_clean(), "{report:?}");
        hears(&told, ExceptionKind::Drop, "bomb");
        assert!(told.try_recv().is_err());
    });
}

#[test]
fn what_a_shutdown_throws_away_may_panic_when_it_is_dropped() {
    bounded(|| {
        let (runtime, told) = start();
        let (blocking, blocked) = channel();
        let (release, released) = channel::<()>();
        let busy = runtime.spawn(async move {
            blocking.send(()).unwrap();
            released.recv().is_err()
        });
        blocked.recv().unwrap();
        let bombs = || {
            let held = Bomb;
            move || held.hold()
        };
        let handle = runtime.handle();
        let calls = [
            handle.call_soon(bombs()),
            handle.call_soon(bombs()),
            handle.call_later(1000 * MS, bombs()),
        ];
        let held = Bomb;
        let never = runtime.spawn(async move { held.hold() });
        let ends = thread::spawn(move || runtime.shutdown(Duration::from_secs(5)));
        while !never.task_ref().is_cancel_pending() {
            thread::yield_now();
        }
        drop(release);
        let report = ends.join().unwrap();
        assert!(report.is_clean(), "{report:?}");
        assert!(busy.is_finished() && never.is_cancelled());
        for call in calls {
            assert!(call.is_cancelled());
        }
        hears(&told, ExceptionKind::Drop, "bomb");
    });
}

#[test]
fn the_panic_in_the_drop_of_a_call_that_a_shutdown_throws_away_is_reported() {
    bounded(|| {
        let (runtime, told) = start();
        let held = Bomb;
        let hour = Duration::from_secs(3600);
        let call = runtime.handle().call_later(hour, move || held.hold());
        drop(runtime);
        assert!(call.is_cancelled());
        hears(&told, ExceptionKind::Drop, "bomb");
    });
}

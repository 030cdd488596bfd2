//! The process-wide runtime: who has the role, what starts it, and the first task of a process. Each test has a process of
//! its own.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

mod support;

use std::future::pending;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use heist::task::{catch_cancel, current};
use heist::{Handle, Runtime, promise};
use support::{alone, bounded, child};

fn thread_name() -> String {
    thread::current().name().unwrap_or_default().to_owned()
}

/// Where a spawn from a thread that is in no runtime goes.
fn elsewhere() -> String {
    let spawns = || heist::spawn(async { thread_name() }).wait_blocking();
    thread::spawn(spawns).join().unwrap().unwrap()
}

#[test]
fn the_first_task_of_a_process_is_task_1() {
    bounded(|| {
        let Some(first) = std::env::var_os("HEIST_TEST_FIRST") else {
            for first in ["run", "spawn", "runtime", "block_on"] {
                let mut command = child().unwrap();
                command.env("HEIST_TEST_FIRST", first);
                let output = command.output().unwrap();
                let text = String::from_utf8_lossy(&output.stdout);
                assert!(text.contains("1 passed"), "{first}: {text}");
            }
            return;
        };
        let name = match first.to_str().unwrap() {
            "run" => heist::run(async { current().name() }),
            "spawn" => heist::spawn(async {}).name(),
            "runtime" => support::runtime(2).spawn(async {}).name(),
            "block_on" => support::runtime(2).block_on(async { current().name() }),
            other => unreachable!("{other}"),
        };
        assert_eq!(name, "Task-1");
    });
}

#[cfg(target_os = "linux")]
fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}

#[cfg(target_os = "linux")]
#[test]
fn a_promise_starts_nothing_until_it_has_a_callback() {
    alone(|| {
        let before = threads();
        let (open, gate) = promise();
        open.set_result(3).unwrap();
        assert_eq!(gate.result().unwrap().unwrap(), &3);
        assert_eq!(futures_lite::future::block_on(gate).unwrap(), 3);
        let (open, gate) = promise::<()>();
        assert!(gate.cancel());
        drop((open, gate));
        assert_eq!(threads(), before);
        assert!(Handle::try_current().is_none());

        let (open, gate) = promise();
        let (called, calls) = channel();
        gate.add_done_callback(move |_| called.send(thread_name()).unwrap());
        open.set_result(()).unwrap();
        // On the process-wide one, which has started for it.
        assert!(calls.recv().unwrap().starts_with("heist-worker"));
        assert!(threads() > before);
        assert!(Runtime::builder().build_global().is_err());
    });
}

#[test]
fn a_promise_belongs_to_the_runtime_of_its_first_callback() {
    bounded(|| {
        let named = |name| {
            let builder = Runtime::builder().worker_threads(1);
            builder.thread_name(name).build().unwrap()
        };
        let (first, second) = (named("first"), named("second"));
        let (open, gate) = promise();
        let (called, calls) = channel();
        let add = || {
            let called = called.clone();
            gate.add_done_callback(move |_| called.send(thread_name()).unwrap());
        };
        {
            let _entered = first.enter();
            add();
        }
        let _entered = second.enter();
        add();
        open.set_result(()).unwrap();
        add();
        for _ in 0..3 {
            let on = calls.recv().unwrap();
            assert!(on.starts_with("first"), "on {on}");
        }
    });
}

#[test]
fn a_run_inside_or_beside_another_one_leaves_it_the_role() {
    alone(|| {
        let named = |name: &str| Runtime::builder().worker_threads(1).thread_name(name);
        let (begun, begins) = channel();
        let (end, ends) = channel::<()>();
        let beside = named("first").run(async {
            assert!(elsewhere().starts_with("first"));
            // Inside of main, of a task, of a closure.
            let nested = move || {
                named("nested").run(async move {
                    let own = heist::spawn(async { thread_name() }).await.unwrap();
                    (own, elsewhere())
                })
            };
            let in_a_task = heist::spawn(async move { nested() }).await.unwrap();
            let in_a_closure = heist::spawn_blocking(nested).await.unwrap();
            for (own, elsewhere) in [nested(), in_a_task, in_a_closure] {
                assert!(own.starts_with("nested"), "{own}");
                assert!(elsewhere.starts_with("first"), "{elsewhere}");
            }
            assert!(elsewhere().starts_with("first"));
            // Beside it, and longer than it.
            let beside = thread::spawn(move || {
                named("second").run(async {
                    begun.send(elsewhere()).unwrap();
                    ends.recv().unwrap_err();
                    elsewhere()
                })
            });
            assert!(begins.recv().unwrap().starts_with("first"));
            beside
        });
        // The role is nobody's after that, and not handed on.
        drop(end);
        let third = beside.join().unwrap();
        assert!(third.starts_with("heist-worker"), "{third}");
    });
}

#[test]
fn a_spawn_from_elsewhere_while_a_run_drains_is_told_that_it_is_gone() {
    alone(|| {
        let (told, tells) = channel();
        heist::run(async {
            let (ready, is_ready) = promise();
            heist::spawn(async move {
                let waits = catch_cancel(async {
                    ready.set_result(()).unwrap();
                    pending::<()>().await;
                });
                waits.await.unwrap_err();
                let spawns = || heist::spawn(async { unreachable!("it drains") }).wait_blocking();
                let late = thread::spawn(spawns).join().unwrap();
                told.send(late.map(|(): ()| ()).unwrap_err()).unwrap();
            })
            .detach();
            is_ready.await.unwrap();
        });
        let error = tells.recv_timeout(Duration::from_secs(5)).unwrap();
        assert!(error.is_runtime_gone(), "{error}");
        // Now it is nobody's, and the next one starts.
        assert!(elsewhere().starts_with("heist-worker"));
    });
}

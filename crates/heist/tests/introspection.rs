//! What can be seen from outside: tasks, reports of panics, metrics.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

mod support;

use std::collections::HashSet;
use std::panic::Location;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::thread;

use heist::runtime::ExceptionKind;
use heist::{Runtime, TaskState, promise};
use support::{bounded, runtime};

#[test]
fn a_panic_that_nobody_looks_at_is_told_once() {
    bounded(|| {
        let (sent, told) = channel();
        let sent = Mutex::new(sent);
        let runtime = Runtime::builder()
            .worker_threads(2)
            .exception_handler(move |exception| {
                let task = exception.task().map(|(_, name)| name.to_owned());
                let location = exception.location().map(|at| (at.file(), at.line()));
                let report = (
                    exception.kind(),
                    exception.message().to_owned(),
                    task,
                    location,
                );
                sent.lock().unwrap().send(report).unwrap();
            })
            .build()
            .unwrap();

        let awaited = runtime.spawn(async { panic!("looked at") });
        assert!(runtime.block_on(awaited).map(|(): ()| ()).is_err());

        let line = Location::caller().line() + 1;
        let task = runtime.spawn(async { panic!("boom") });
        let name = task.name();
        task.detach();
        let (kind, message, task, location) = told.recv().unwrap();
        assert_eq!(kind, ExceptionKind::NeverRetrieved);
        assert_eq!(message, "boom");
        assert_eq!(task, Some(name));
        assert_eq!(location, Some((file!(), line)));

        drop(runtime);
        assert!(
            told.try_recv().is_err(),
            "told twice, or about the one that was awaited"
        );
    });
}

#[test]
fn a_panic_that_a_callback_looks_at_counts_as_retrieved() {
    bounded(|| {
        let (sent, told) = channel();
        let sent = Mutex::new(sent);
        let runtime = Runtime::builder()
            .worker_threads(1)
            .exception_handler(move |exception| {
                let message = exception.message().to_owned();
                sent.lock().unwrap().send(message).unwrap();
            })
            .build()
            .unwrap();
        let gate = promise::<()>();
        let (open, gate) = (gate.0, gate.1.share());
        let panics = |message: &'static str| {
            let gate = gate.clone();
            runtime.spawn(async move {
                gate.await.unwrap();
                panic!("{message}")
            })
        };
        let looked_at: heist::Task<()> = panics("looked at");
        looked_at.add_done_callback(|finished| {
            assert!(finished.result().unwrap_err().is_panic());
        });
        looked_at.detach();
        // One that does not ask for the result has not seen it.
        let passed_by: heist::Task<()> = panics("passed by");
        passed_by.add_done_callback(|finished| _ = finished.name());
        passed_by.detach();
        let untyped: heist::Task<()> = panics("untyped");
        let view = untyped.task_ref();
        view.add_done_callback(|task| assert_eq!(task.state(), TaskState::Panicked));
        untyped.detach();
        open.set_result(()).unwrap();
        let mut heard = [told.recv().unwrap(), told.recv().unwrap()];
        heard.sort();
        assert_eq!(heard, ["passed by", "untyped"]);
        drop(view);
        drop(runtime);
        assert!(told.try_recv().is_err());
    });
}

#[test]
fn a_panic_in_a_callback_stops_nothing_else() {
    bounded(|| {
        let (sent, told) = channel();
        let sent = Mutex::new(sent);
        let runtime = Runtime::builder()
            .worker_threads(1)
            .exception_handler(move |exception| {
                sent.lock()
                    .unwrap()
                    .send((exception.kind(), exception.message().to_owned()))
                    .unwrap();
                panic!("the handler too");
            })
            .build()
            .unwrap();
        let (tell, heard) = promise();
        let task = runtime.spawn(async {});
        task.add_done_callback(|_| panic!("a bad callback"));
        task.add_done_callback(move |_| {
            let _ = tell.set_result(());
        });
        runtime.block_on(task).unwrap();
        runtime.block_on(heard).unwrap();
        assert_eq!(
            told.recv().unwrap(),
            (ExceptionKind::Callback, "a bad callback".to_owned())
        );
        assert_eq!(runtime.block_on(runtime.spawn(async { 6 })).unwrap(), 6);
    });
}

#[test]
fn all_tasks_are_listed_with_the_root() {
    bounded(|| {
        let runtime = runtime(4);
        let handle = runtime.handle().clone();
        let (ready, begin) = channel();
        let (open, gate) = promise::<()>();
        let gate = gate.share();
        let observer = thread::spawn({
            let handle = handle.clone();
            move || {
                let expected: HashSet<String> = begin.recv().unwrap();
                let tasks = handle.all_tasks();
                assert_eq!(tasks.len(), 101);
                assert!(tasks.iter().all(|task| task.state() == TaskState::Pending));
                let names: HashSet<_> = tasks.iter().map(|task| task.name()).collect();
                assert_eq!(names, expected);
                open.set_result(()).unwrap();
            }
        });
        runtime.block_on(async {
            let root = heist::task::current();
            let spawn = |i: usize| {
                let gate = gate.clone();
                heist::task::Builder::new()
                    .name(format!("child {i}"))
                    .spawn(gate)
            };
            let children: Vec<_> = (0..100).map(spawn).collect();
            let names = children
                .iter()
                .map(|task| task.name())
                .chain([root.name()])
                .collect();
            ready.send(names).unwrap();
            for child in children {
                child.await.unwrap().unwrap();
            }
        });
        observer.join().unwrap();
    });
}

#[test]
fn a_snapshot_of_the_tasks_is_never_torn() {
    const SNAPSHOTS: usize = 10_000;
    bounded(|| {
        let runtime = runtime(4);
        let stop = Arc::new(AtomicBool::new(false));
        let churn: Vec<_> = (0..4)
            .map(|_| {
                let stop = Arc::clone(&stop);
                runtime.spawn(async move {
                    while !stop.load(Ordering::SeqCst) {
                        let named = heist::task::Builder::new()
                            .name("churn")
                            .spawn(heist::task::yield_now());
                        named.await.unwrap();
                    }
                })
            })
            .collect();
        let parents: HashSet<_> = churn.iter().map(|task| task.id()).collect();
        for _ in 0..SNAPSHOTS {
            let tasks = runtime.handle().all_tasks();
            let ids: HashSet<_> = tasks.iter().map(|task| task.id()).collect();
            assert_eq!(ids.len(), tasks.len(), "a task stands there twice");
            assert!(parents.is_subset(&ids), "a live task is missing");
            for task in tasks.iter().filter(|task| !parents.contains(&task.id())) {
                assert_eq!(task.name(), "churn");
                assert_eq!(task.spawn_location().file(), file!());
            }
        }
        stop.store(true, Ordering::SeqCst);
        runtime.block_on(async {
            for task in churn {
                task.await.unwrap();
            }
        });
    });
}

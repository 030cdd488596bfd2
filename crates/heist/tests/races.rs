//! Very many tasks at once, and ends, aborts, callbacks and inspectors that race with the workers.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

mod support;

use std::collections::HashSet;
use std::future::{Future, pending, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Barrier, Mutex};
use std::task::Poll;
use std::thread;

use heist::task::yield_now;
use heist::{Runtime, Task, TaskRef, TaskState, promise};
use support::{Drops, bounded, lone_worker, runtime};

/// Waits for something that other threads do soon and tell nobody.
fn settle(mut done: impl FnMut() -> bool) {
    while !done() {
        thread::yield_now();
    }
}

#[test]
fn a_hundred_thousand_tasks_that_are_woken_at_once_all_run() {
    const TASKS: usize = 100_000;
    bounded(|| {
        let runtime = runtime(4);
        for from_a_task in [false, true] {
            let (open, gate) = promise::<()>();
            let gate = gate.share();
            let waiting = Arc::new(AtomicUsize::new(0));
            let (all_wait, told) = channel();
            let wait = |_| {
                let (mut gate, waiting) = (gate.clone(), Arc::clone(&waiting));
                let all_wait = all_wait.clone();
                let mut counted = false;
                runtime.spawn(poll_fn(move |cx| {
                    let polled = Pin::new(&mut gate).poll(cx);
                    if !std::mem::replace(&mut counted, true) {
                        assert!(polled.is_pending());
                        if waiting.fetch_add(1, Ordering::SeqCst) == TASKS - 1 {
                            all_wait.send(()).unwrap();
                        }
                    }
                    polled
                }))
            };
            let tasks: Vec<_> = (0..TASKS).map(wait).collect();
            told.recv().unwrap();

            if from_a_task {
                let opening = runtime.spawn(async move { open.set_result(()) });
                runtime.block_on(opening).unwrap().unwrap();
            } else {
                open.set_result(()).unwrap();
            }
            let all = runtime.spawn(async move {
                for task in tasks {
                    task.await.unwrap().unwrap();
                }
            });
            runtime.block_on(all).unwrap();
        }
    });
}

#[test]
fn a_task_that_is_aborted_and_let_go_at_once_is_dropped_exactly_once() {
    const ROUNDS: usize = 5_000;
    bounded(|| {
        let runtime = runtime(2);
        let drops = Drops::default();
        let (aborted, told) = channel::<TaskRef>();
        let aborter = thread::spawn(move || told.iter().filter(TaskRef::abort).count());
        for round in 0..ROUNDS {
            let held = drops.guard();
            let task = runtime.spawn(async move {
                for _ in 0..round % 4 {
                    yield_now().await;
                }
                held
            });
            if round % 2 == 0 {
                aborted.send(task.task_ref()).unwrap();
                drop(task);
            } else {
                task.abort();
                drop(task);
            }
        }
        drop(aborted);
        assert!(aborter.join().unwrap() <= ROUNDS / 2);
        let report = runtime.shutdown(std::time::Duration::from_secs(5));
        assert!(report.is_clean(), "{report:?}");
        assert_eq!(drops.count(), ROUNDS);
    });
}

#[test]
fn a_task_that_is_aborted_before_its_first_poll_never_starts() {
    bounded(|| {
        let runtime = lone_worker();
        let drops = Drops::default();
        let began = Arc::new(AtomicBool::new(false));
        let mut tasks = Vec::new();
        for kept in [true, false] {
            let (held, flag) = (drops.guard(), Arc::clone(&began));
            let outer = runtime.spawn(async move {
                // The only worker is here: nobody can have polled it yet.
                let task = heist::spawn(async move {
                    flag.store(true, Ordering::SeqCst);
                    drop(held);
                });
                assert!(task.abort());
                kept.then_some(task)
            });
            tasks.extend(runtime.block_on(outer).unwrap());
        }
        let task = tasks.pop().unwrap();
        assert!(runtime.block_on(task).unwrap_err().is_cancelled());
        drop(runtime);
        assert!(!began.load(Ordering::SeqCst));
        assert_eq!(drops.count(), 2);
    });
}

#[test]
fn an_abort_during_a_poll_counts_unless_that_poll_ends_the_task() {
    bounded(|| {
        let runtime = runtime(2);
        for round in 0..200 {
            let (returns, kept) = (round % 2 == 0, round % 4 < 2);
            let drops = Drops::default();
            let held = drops.guard();
            let inside = Arc::new(Barrier::new(2));
            let own = Arc::clone(&inside);
            let mut task = runtime.spawn(poll_fn(move |_| {
                held.count_at_the_end();
                own.wait();
                own.wait();
                if returns {
                    Poll::Ready(round)
                } else {
                    Poll::Pending
                }
            }));
            inside.wait();
            assert!(task.abort());
            assert!(!task.is_finished());
            assert_eq!(drops.count(), 0, "dropped in the middle of a poll");
            let view = task.task_ref();
            if kept {
                inside.wait();
                match runtime.block_on(&mut task) {
                    Ok(output) => assert!(returns && output == round),
                    Err(error) => assert!(!returns && error.is_cancelled()),
                }
                assert!(!task.abort());
            } else {
                drop(task);
                inside.wait();
                settle(|| view.is_finished());
                assert_eq!(view.is_cancelled(), !returns);
                settle(|| drops.count() == 1);
            }
            assert_eq!(drops.count(), 1);
        }
    });
}

#[test]
fn an_abort_after_the_end_changes_nothing() {
    bounded(|| {
        let runtime = runtime(2);
        let drops = Drops::default();
        for awaited in [true, false] {
            let held = drops.guard();
            let task = runtime.spawn(async move { held });
            settle(|| task.is_finished());
            assert!(!task.abort());
            assert_eq!(task.state(), TaskState::Finished);
            if awaited {
                assert!(runtime.block_on(task).is_ok());
            } else {
                drop(task);
            }
        }
        settle(|| drops.count() == 2);
    });
}

#[test]
fn callbacks_that_another_thread_adds_around_the_end_run_once_each_and_in_order() {
    const ROUNDS: usize = 150;
    const CALLBACKS: usize = 60;
    bounded(|| {
        let runtime = runtime(2);
        for round in 0..ROUNDS {
            let log = Arc::new(Mutex::new(Vec::new()));
            let (open, gate) = promise();
            let task = runtime.spawn(async move { gate.await.unwrap() });
            let view = task.task_ref();
            let (added, ends) = channel();
            let adder = thread::spawn({
                let log = Arc::clone(&log);
                move || {
                    for i in 0..CALLBACKS {
                        if i == round % CALLBACKS {
                            added.send(()).unwrap();
                        }
                        let log = Arc::clone(&log);
                        task.add_done_callback(move |finished| {
                            // Nobody else is in a callback of this task.
                            let mut log = log.try_lock().unwrap();
                            assert_eq!(finished.result().unwrap(), &7);
                            log.push(i);
                        });
                    }
                    task
                }
            });
            ends.recv().unwrap();
            open.set_result(7).unwrap();
            let task: Task<i32> = adder.join().unwrap();
            // All of them, since the output is held back until the last one has run.
            assert_eq!(runtime.block_on(task).unwrap(), 7);
            assert!(log.lock().unwrap().iter().copied().eq(0..CALLBACKS));

            // Long after the end, and after the output was taken.
            let (sent, late) = channel();
            for i in 0..3 {
                let sent = sent.clone();
                view.add_done_callback(move |task| sent.send((i, task.state())).unwrap());
            }
            drop(sent);
            let finished = |i| (i, TaskState::Finished);
            assert!(late.iter().eq((0..3).map(finished)));
        }
    });
}

#[test]
fn callbacks_from_several_threads_each_run_once_and_never_overlap() {
    const ROUNDS: usize = 150;
    const EACH: usize = 20;
    bounded(|| {
        let runtime = runtime(2);
        for _ in 0..ROUNDS {
            let (inside, ran) = (
                Arc::new(AtomicBool::new(false)),
                Arc::new(AtomicUsize::new(0)),
            );
            let task = runtime.spawn(yield_now());
            let adders: Vec<_> = (0..3)
                .map(|_| {
                    let (view, inside) = (task.task_ref(), Arc::clone(&inside));
                    let ran = Arc::clone(&ran);
                    thread::spawn(move || {
                        for _ in 0..EACH {
                            let (inside, ran) = (Arc::clone(&inside), Arc::clone(&ran));
                            view.add_done_callback(move |task| {
                                assert!(!inside.swap(true, Ordering::SeqCst), "two at once");
                                assert!(task.is_finished());
                                ran.fetch_add(1, Ordering::SeqCst);
                                inside.store(false, Ordering::SeqCst);
                            });
                        }
                    })
                })
                .collect();
            runtime.block_on(task).unwrap();
            for adder in adders {
                adder.join().unwrap();
            }
            settle(|| ran.load(Ordering::SeqCst) == 3 * EACH);
        }
    });
}

/// Enters a runtime for ever when it is dropped.
struct Forgets(heist::Handle);

impl Drop for Forgets {
    fn drop(&mut self) {
        std::mem::forget(self.0.enter());
    }
}

#[test]
fn a_guard_that_is_forgotten_in_a_callback_or_a_destructor_is_left() {
    bounded(|| {
        let other = runtime(1);
        let builder = Runtime::builder().worker_threads(1).thread_name("own");
        let runtime = builder.build().unwrap();
        let entered = other.handle().clone();
        let task = runtime.spawn(async {});
        task.add_done_callback(move |_| std::mem::forget(entered.enter()));
        runtime.block_on(task).unwrap();
        let (body, output) = (Forgets(other.handle().clone()), other.handle().clone());
        let polled = runtime.spawn(poll_fn(move |_| {
            let _held = &body;
            Poll::Ready(())
        }));
        runtime.block_on(polled).unwrap();
        runtime.spawn(async move { Forgets(output) }).detach();
        let after = runtime.spawn(async {
            let child = heist::spawn(async { thread::current().name().map(str::to_owned) });
            child.await.unwrap().unwrap()
        });
        let name = runtime.block_on(after).unwrap();
        assert!(
            name.starts_with("own"),
            "spawned on the other runtime: {name}"
        );
    });
}

#[test]
fn two_inspectors_see_no_torn_list_while_very_many_tasks_come_and_go() {
    const SPAWNERS: usize = 4;
    const EACH: usize = 25_000;
    bounded(|| {
        let runtime = runtime(4);
        let _entered = runtime.enter();
        let named = |name: &str| heist::task::Builder::new().name(name);
        // A worker that is blocked all the time.
        let (release, released) = channel::<()>();
        let blocked = named("stays").spawn(async move { released.recv().is_err() });
        let stays: Vec<_> = (0..100)
            .map(|_| named("stays").spawn(pending::<()>()))
            .collect();
        let mut ids: HashSet<_> = stays.iter().map(Task::id).collect();
        ids.insert(blocked.id());

        let over = Arc::new(AtomicBool::new(false));
        let inspectors = [(); 2].map(|()| {
            let (handle, over) = (runtime.handle().clone(), Arc::clone(&over));
            let ids = ids.clone();
            thread::spawn(move || {
                let mut snapshots = 0;
                while !over.load(Ordering::SeqCst) {
                    let tasks = handle.all_tasks();
                    let seen: HashSet<_> = tasks.iter().map(TaskRef::id).collect();
                    assert_eq!(seen.len(), tasks.len(), "a task stands there twice");
                    assert!(ids.is_subset(&seen), "a live task is missing");
                    for task in &tasks {
                        let stays = ids.contains(&task.id());
                        let name = task.name();
                        assert!(name == if stays { "stays" } else { "goes" }, "{name}");
                        assert!(stays <= (task.state() == TaskState::Pending));
                        assert_eq!(task.spawn_location().file(), file!());
                    }
                    snapshots += 1;
                }
                snapshots
            })
        });
        let spawners: Vec<_> = (0..SPAWNERS)
            .map(|_| {
                named("goes").spawn(async {
                    for _ in 0..EACH / 50 {
                        let batch: Vec<_> = (0..50)
                            .map(|_| heist::task::Builder::new().name("goes").spawn(yield_now()))
                            .collect();
                        for task in batch {
                            task.await.unwrap();
                        }
                    }
                })
            })
            .collect();
        for spawner in spawners {
            settle(|| spawner.is_finished());
        }
        over.store(true, Ordering::SeqCst);
        for inspector in inspectors {
            assert!(inspector.join().unwrap() > 0);
        }
        drop(release);
        assert!(blocked.wait_blocking().unwrap());
    });
}

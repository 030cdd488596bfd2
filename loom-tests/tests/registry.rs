//! The registry: inspectors against the end of tasks and the reuse of slots; the scheduler's life.

#![cfg(loom)]

use std::future::pending;

use heist_core::schedule::Schedule;
use heist_core::sync::without_waiting;
use heist_core::task::{self, Meta, Task};
use heist_loom_tests::{Runtime, World, explore, explore_with_two};
use loom::thread;

#[test]
fn an_inspector_races_with_the_end_of_a_task() {
    explore("an_inspector_races_with_the_end_of_a_task", || {
        let runtime = Runtime::new();
        // Nobody but the registry and the runtime keeps it.
        drop(task::spawn(&runtime.0, async {}, Meta::caller()));
        let inspected = runtime.clone();
        let other = thread::spawn(move || {
            inspected
                .0
                .registry()
                .tasks()
                .iter()
                .for_each(|task| drop(task.name()));
        });
        runtime.run_once();
        other.join().expect("the model's thread");
        assert_eq!(runtime.0.registry().len(), 0);
        runtime.close();
    });
}

#[test]
fn an_inspector_races_with_the_first_task() {
    explore("an_inspector_races_with_the_first_task", || {
        let runtime = Runtime::new();
        let inspected = runtime.clone();
        let other = thread::spawn(move || {
            inspected
                .0
                .registry()
                .tasks()
                .iter()
                .for_each(|task| assert!(!task.name().is_empty()));
        });
        runtime.frame(|| {
            drop(task::spawn(&runtime.0, async {}, Meta::caller()));
            runtime.run_once();
        });
        other.join().expect("the model's thread");
        assert_eq!(runtime.0.registry().len(), 0);
        runtime.close();
    });
}

#[test]
fn a_slot_is_reused_while_an_inspector_looks() {
    explore("a_slot_is_reused_while_an_inspector_looks", || {
        let world = World::new();
        world.opener().open();
        let runtime = world.runtime.clone();
        let other = thread::spawn(move || {
            runtime.0.registry().tasks().iter().for_each(|task| {
                assert!(!task.name().is_empty());
            });
        });
        world.runtime.run_once();
        let next = task::spawn(&world.runtime.0, async {}, Meta::caller());
        world.runtime.run_once();
        assert!(next.is_finished());
        other.join().expect("the model's thread");
        drop(next);
        world.check();
    });
}

#[test]
fn the_end_elsewhere_races_with_a_spawn_on_the_worker() {
    explore("the_end_elsewhere_races_with_a_spawn_on_the_worker", || {
        let runtime = Runtime::new();
        let first = runtime.frame(|| task::spawn(&runtime.0, async {}, Meta::caller()));
        let elsewhere = runtime.clone();
        let other = thread::spawn(move || elsewhere.run_once());
        while !first.is_finished() {
            thread::yield_now();
        }
        let second = runtime.frame(|| {
            let second = task::spawn(&runtime.0, async {}, Meta::caller());
            runtime.run_once();
            second
        });
        assert!(second.is_finished());
        other.join().expect("the model's thread");
        assert_eq!(runtime.0.registry().len(), 0);
        drop((first, second));
        runtime.close();
    });
}

#[test]
fn the_end_elsewhere_races_with_the_release() {
    explore("the_end_elsewhere_races_with_the_release", || {
        let runtime = heist_loom_tests::Runtime::new();
        let weak = std::sync::Arc::downgrade(&runtime.0);
        drop(runtime.frame(|| task::spawn(&runtime.0, async {}, Meta::caller())));
        let elsewhere = runtime.clone();
        let other = thread::spawn(move || {
            assert!(elsewhere.run_once());
        });
        // Whoever is later lets go of the scheduler.
        runtime.0.registry().close();
        runtime.0.registry().release();
        drop(runtime);
        other.join().expect("the model's thread");
        assert!(weak.upgrade().is_none(), "nobody let go of the scheduler");
    });
}

#[test]
fn a_remote_wake_races_with_the_end_of_the_runtime() {
    explore("a_remote_wake_races_with_the_end_of_the_runtime", || {
        let mut world = World::idle();
        drop(world.task.take());
        let opener = world.opener();
        // Also keeps the memory, so that a use after the end is seen.
        let weak = std::sync::Arc::downgrade(&world.runtime.0);
        let other = thread::spawn(move || opener.open());
        world.view.abort();
        while !world.view.is_finished() {
            if !world.runtime.run_once() {
                thread::yield_now();
            }
        }
        world.runtime.close();
        let World { runtime, view, .. } = world;
        drop((runtime, view));
        other.join().expect("the model's thread");
        assert!(
            weak.upgrade().is_none(),
            "the scheduler goes with its last user"
        );
    });
}

/// A task that never ends, and the place of one that has.
fn one_that_stays(runtime: &Runtime) -> Task<()> {
    runtime.frame(|| {
        let stays = task::spawn(&runtime.0, pending(), Meta::caller());
        assert!(runtime.run_once());
        drop(task::spawn(&runtime.0, async {}, Meta::caller()));
        assert!(runtime.run_once());
        stays
    })
}

/// Lists all tasks, on a thread of its own, and looks whether this one is there exactly once.
fn inspector(runtime: &Runtime, stays: &Task<()>) -> thread::JoinHandle<()> {
    let (runtime, id) = (runtime.clone(), stays.id());
    thread::spawn(move || {
        let tasks = runtime.0.registry().tasks();
        assert_eq!(tasks.iter().filter(|task| task.id() == id).count(), 1);
    })
}

/// Ends the one that stays, and the runtime.
fn end(runtime: &Runtime, stays: Task<()>) {
    assert!(stays.abort());
    assert!(runtime.run_once());
    assert_eq!(runtime.0.registry().len(), 0);
    drop(stays);
    runtime.close();
}

#[test]
fn a_worker_that_spawns_does_not_wait_for_an_inspector() {
    explore(
        "a_worker_that_spawns_does_not_wait_for_an_inspector",
        || {
            let runtime = Runtime::new();
            let stays = one_that_stays(&runtime);
            let other = inspector(&runtime, &stays);
            without_waiting(|| {
                runtime.frame(|| drop(task::spawn(&runtime.0, async {}, Meta::caller())));
            });
            other.join().expect("the model's thread");
            assert!(runtime.run_once());
            end(&runtime, stays);
        },
    );
}

#[test]
fn a_spawn_from_outside_does_not_wait_for_an_inspector() {
    explore(
        "a_spawn_from_outside_does_not_wait_for_an_inspector",
        || {
            let runtime = Runtime::new();
            let stays = one_that_stays(&runtime);
            let other = inspector(&runtime, &stays);
            without_waiting(|| drop(task::spawn(&runtime.0, async {}, Meta::caller())));
            other.join().expect("the model's thread");
            assert!(runtime.run_once());
            end(&runtime, stays);
        },
    );
}

#[test]
fn two_inspectors_and_a_task_that_stays() {
    // With three pre-emptions, threads that spin read old values for longer than loom goes on.
    explore_with_two("two_inspectors_and_a_task_that_stays", || {
        let runtime = Runtime::new();
        let stays = one_that_stays(&runtime);
        drop(runtime.frame(|| task::spawn(&runtime.0, async {}, Meta::caller())));
        let others = [(); 2].map(|()| inspector(&runtime, &stays));
        assert!(runtime.run_once());
        for other in others {
            other.join().expect("the model's thread");
        }
        end(&runtime, stays);
    });
}

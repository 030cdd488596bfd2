//! The registry: inspectors against the end of tasks and the reuse of slots; the scheduler's life.

#![cfg(loom)]

use heist_core::schedule::Schedule;
use heist_core::task::{self, Meta};
use heist_loom_tests::{World, explore};
use loom::thread;

#[test]
fn an_inspector_races_with_the_end_of_a_task() {
    explore("an_inspector_races_with_the_end_of_a_task", || {
        let runtime = heist_loom_tests::Runtime::new();
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
        let runtime = heist_loom_tests::Runtime::new();
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
        let runtime = heist_loom_tests::Runtime::new();
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

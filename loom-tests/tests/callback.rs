//! Done-callbacks, early and late, against the end, the await and the last handle.

#![cfg(loom)]

use heist_loom_tests::{Handle, World, explore};
use loom::thread;
use std::sync::Arc;

#[test]
fn a_callback_races_with_the_end() {
    explore("a_callback_races_with_the_end", || {
        let world = World::new();
        world.opener().open();
        world.counts.add_callback(&world.view);
        let (view, counts) = (world.view.clone(), Arc::clone(&world.counts));
        let other = thread::spawn(move || {
            counts.add_callback(&view);
        });
        world.runtime.run_once();
        other.join().expect("the model's thread");
        world.check();
    });
}

#[test]
fn a_callback_added_late_races_with_the_drain() {
    explore("a_callback_added_late_races_with_the_drain", || {
        let world = World::over();
        world.counts.add_callback(&world.view);
        let (view, counts) = (world.view.clone(), Arc::clone(&world.counts));
        let other = thread::spawn(move || counts.add_callback(&view));
        world.runtime.run_all();
        other.join().expect("the model's thread");
        world.check();
    });
}

#[test]
fn a_late_callback_races_with_the_take_and_the_handles_drop() {
    explore(
        "a_late_callback_races_with_the_take_and_the_handles_drop",
        || {
            let mut world = World::over();
            let mut task = world.task.take().expect("the handle");
            let (view, counts) = (world.view.clone(), Arc::clone(&world.counts));
            let adder = thread::spawn(move || counts.add_callback(&view));
            let (runtime, counts) = (world.runtime.clone(), Arc::clone(&world.counts));
            let runner = thread::spawn(move || runtime.run_all());
            let _ = task.poll(&counts);
            drop(task);
            adder.join().expect("the model's thread");
            runner.join().expect("the model's thread");
            world.check();
        },
    );
}

#[test]
fn an_awaiter_that_a_late_callback_holds_back_is_woken() {
    explore(
        "an_awaiter_that_a_late_callback_holds_back_is_woken",
        || {
            let mut world = World::over();
            world.counts.add_callback(&world.view);
            let mut task = world.task.take().expect("the handle");
            let runtime = world.runtime.clone();
            let runner = thread::spawn(move || runtime.run_all());
            let ready = task.poll(&world.counts);
            runner.join().expect("the model's thread");
            let woken = world.counts.woken.load(std::sync::atomic::Ordering::SeqCst);
            assert!(ready || woken >= 1, "the wake was lost");
            assert!(ready || task.poll(&world.counts));
            world.check();
        },
    );
}

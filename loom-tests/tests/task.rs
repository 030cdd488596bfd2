//! The task word and the cell: every pair of events that two threads can race, in every phase of a task's life.

#![cfg(loom)]

use heist_loom_tests::actors::{act, act_local, local_pairs, pairs};
use heist_loom_tests::kinds::{BLOCKING, CATCHING, LOCAL, TASK};
use heist_loom_tests::races::{all_met, race};
use heist_loom_tests::{Handle, World, explore};
use loom::thread;
use std::sync::Arc;

#[test]
fn racing_pairs_of_a_task() {
    let scenes: [(&str, fn() -> World); 9] = [
        ("queued", World::new),
        ("idle", World::idle),
        ("awaited", || World::idle().awaited()),
        ("detached", || World::idle().detached()),
        ("watched", || World::idle().watched()),
        ("requested", || World::idle().requested()),
        ("over", World::over),
        ("over and held", || World::over().watched()),
        ("held and awaited", || World::over().watched().awaited()),
    ];
    for (name, scene) in scenes {
        race(name, &pairs(), move |one, two| act(one, two, scene()));
    }
    all_met(&TASK);
}

#[test]
fn racing_pairs_of_a_task_that_catches() {
    let scenes: [(&str, fn() -> World); 4] = [
        ("awaited", || World::catching().awaited()),
        ("requested", || World::caught().requested()),
        ("catching, detached", || World::catching().detached()),
        ("held and awaited", || World::aborted().watched().awaited()),
    ];
    for (name, scene) in scenes {
        race(name, &pairs(), move |one, two| act(one, two, scene()));
    }
    all_met(&CATCHING);
}

#[test]
fn racing_pairs_of_a_blocking_closure() {
    let scenes: [(&str, fn() -> World); 5] = [
        ("queued", World::blocking),
        ("awaited", || World::blocking().awaited()),
        ("detached", || World::blocking().detached()),
        ("held", || World::blocking().run().watched().awaited()),
        ("requested and held", || {
            World::blocking().requested().run().watched().awaited()
        }),
    ];
    for (name, scene) in scenes {
        race(name, &pairs(), move |one, two| act(one, two, scene()));
    }
    all_met(&BLOCKING);
}

#[test]
fn racing_pairs_of_a_local_task() {
    let scenes: [(&str, fn() -> World<_>); 6] = [
        ("queued", World::local),
        ("idle", World::local_idle),
        ("awaited", || World::local_idle().awaited()),
        ("requested", || World::local_idle().requested()),
        ("over", World::local_over),
        ("held", || World::local_over().watched_by_owner().awaited()),
    ];
    for (name, scene) in scenes {
        race(name, &local_pairs(), move |one, two| {
            act_local(one, two, scene())
        });
    }
    all_met(&LOCAL);
}

#[test]
fn a_wake_by_value_races_with_the_poll() {
    explore("a_wake_by_value_races_with_the_poll", || {
        let world = World::idle();
        let opener = world.opener();
        let runtime = world.runtime.clone();
        world.opener().open_by_ref();
        let other = thread::spawn(move || opener.open());
        runtime.run_once();
        other.join().expect("the model's thread");
        world.check();
    });
}

#[test]
fn two_wakes_and_a_cancel_race_with_the_poll() {
    explore("two_wakes_and_a_cancel_race_with_the_poll", || {
        let world = World::idle();
        let (a, b, view) = (world.opener(), world.opener(), world.view.clone());
        let one = thread::spawn(move || a.open());
        let two = thread::spawn(move || {
            b.open_by_ref();
            view.cancel();
        });
        world.runtime.run_once();
        one.join().expect("the model's thread");
        two.join().expect("the model's thread");
        world.check();
    });
}

#[test]
fn the_handle_is_polled_and_dropped_while_the_task_ends() {
    explore(
        "the_handle_is_polled_and_dropped_while_the_task_ends",
        || {
            let mut world = World::new();
            world.opener().open();
            let mut task = world.task.take().expect("the handle");
            let counts = Arc::clone(&world.counts);
            let other = thread::spawn(move || {
                if !task.poll(&counts) && !task.poll(&counts) {
                    drop(task);
                }
            });
            world.runtime.run_once();
            other.join().expect("the model's thread");
            world.check();
        },
    );
}

#[test]
fn the_awaiter_is_woken_or_sees_the_end() {
    explore("the_awaiter_is_woken_or_sees_the_end", || {
        let mut world = World::new();
        world.opener().open();
        let mut task = world.task.take().expect("the handle");
        let counts = Arc::clone(&world.counts);
        let other = thread::spawn(move || {
            let ready = task.poll(&counts);
            (ready, task)
        });
        world.runtime.run_all();
        let (ready, task) = other.join().expect("the model's thread");
        let woken = world.counts.woken.load(std::sync::atomic::Ordering::SeqCst);
        assert!(ready || woken == 1, "the wake was lost");
        world.task = (!ready).then_some(task);
        world.check();
    });
}

//! The task word and the cell: every pair of events that two threads can race, in every phase of a task's life.

#![cfg(loom)]

use heist_core::task::{Task, TaskRef};
use heist_loom_tests::{Counts, Runtime, World, explore};
use loom::thread;
use std::sync::Arc;

type Handle = Task<heist_loom_tests::Output>;

/// What one thread does. `bool`: whether it needs the owner's handle, which only one can have.
const EVENTS: &[(&str, bool)] = &[
    ("run", false),
    ("wake_and_run", false),
    ("wake_by_value", false),
    ("wake", false),
    ("cancel", false),
    ("abort", false),
    ("uncancel", false),
    ("add_callback", false),
    ("inspect", false),
    ("clone_and_drop", false),
    ("poll_handle", true),
    ("poll_handle_twice", true),
    ("drop_handle", true),
    ("poll_and_drop_handle", true),
    ("typed_callback", true),
];

struct Actor {
    event: &'static str,
    runtime: Runtime,
    view: TaskRef,
    counts: Arc<Counts>,
    handle: Option<Handle>,
    opener: Box<dyn FnOnce(bool) + Send>,
}

impl Actor {
    fn new(event: &'static str, world: &mut World, needs_handle: bool) -> Self {
        let opener = world.opener();
        Self {
            event,
            runtime: world.runtime.clone(),
            view: world.view.clone(),
            counts: Arc::clone(&world.counts),
            handle: if needs_handle {
                world.task.take()
            } else {
                None
            },
            opener: Box::new(move |by_value| {
                if by_value {
                    opener.open()
                } else {
                    opener.open_by_ref()
                }
            }),
        }
    }

    fn act(mut self) -> Option<Handle> {
        match self.event {
            "run" => {
                self.runtime.run_once();
            }
            "wake_and_run" => {
                (self.opener)(false);
                self.runtime.run_once();
            }
            "wake_by_value" => (self.opener)(true),
            "wake" => (self.opener)(false),
            "cancel" => {
                self.view.cancel();
            }
            "abort" => {
                self.view.abort();
            }
            "uncancel" => {
                self.view.uncancel();
            }
            "add_callback" => World::add_callback(&self.view, &self.counts),
            "inspect" => {
                use heist_core::schedule::Schedule;
                self.runtime.0.registry().for_each(|task| drop(task.name()));
            }
            "clone_and_drop" => drop(self.view.clone()),
            "poll_handle" => self.poll(),
            "poll_handle_twice" => {
                self.poll();
                self.poll();
            }
            "drop_handle" => drop(self.handle.take()),
            "poll_and_drop_handle" => {
                self.poll();
                drop(self.handle.take());
            }
            "typed_callback" => {
                let counts = Arc::clone(&self.counts);
                counts
                    .added
                    .fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                if let Some(handle) = &self.handle {
                    handle.add_done_callback(move |task| {
                        let _ = task.result().is_ok();
                        counts.ran.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                    });
                }
            }
            other => panic!("no such event: {other}"),
        }
        self.handle
    }

    fn poll(&mut self) {
        let ready = self
            .handle
            .as_mut()
            .is_some_and(|task| World::poll(task, &self.counts));
        if ready {
            self.handle = None;
        }
    }
}

fn racing_pairs(name: &'static str, start: fn() -> World) {
    let total = std::sync::Mutex::new(0);
    for (i, first) in EVENTS.iter().enumerate() {
        for second in &EVENTS[i..] {
            if first.1 && second.1 {
                continue;
            }
            let pair = move || {
                let mut world = start();
                let one = Actor::new(first.0, &mut world, first.1);
                let two = Actor::new(second.0, &mut world, second.1);
                let other = thread::spawn(move || one.act());
                let mine = two.act();
                let theirs = other.join().expect("the model's thread");
                world.task = world.task.take().or(mine).or(theirs);
                world.check();
            };
            explore(&format!("{name}:{}+{}", first.0, second.0), pair);
            *total.lock().expect("never poisoned") += 1;
        }
    }
    assert_eq!(
        total.into_inner().expect("never poisoned"),
        105,
        "pairs of events"
    );
}

#[test]
fn racing_pairs_of_a_queued_task() {
    racing_pairs("racing_pairs_of_a_queued_task", World::new);
}

#[test]
fn racing_pairs_of_an_idle_task() {
    racing_pairs("racing_pairs_of_an_idle_task", World::idle);
}

#[test]
fn racing_pairs_of_a_finished_task() {
    racing_pairs("racing_pairs_of_a_finished_task", World::over);
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
                if !World::poll(&mut task, &counts) && !World::poll(&mut task, &counts) {
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
            let ready = World::poll(&mut task, &counts);
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

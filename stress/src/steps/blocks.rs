//! Threads that are kept from their work, and what they wait for.

mod gate;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use heist::task::{block_in_place, try_current};
use heist::{Handle, Task, TaskId};

use super::acts::perform;
use super::{Scene, run};
use crate::counts::Counted;
use crate::oracle::{Kind, World, lock, patience, unowned};
use crate::program::{Block, Body, How, Leave, Step};
use crate::run::{caught, micros};
use crate::watched::{Boxed, Output, Watched, ignore};
use gate::Gate;

pub(super) async fn do_block(
    scene: &Scene,
    step: &Step,
    block: Block,
    kept: &mut Vec<Task<Output>>,
) {
    if let (Some(act), Some(owner), Some(task)) = (block.meanwhile, &scene.owner, try_current()) {
        perform(scene, owner, task, act).await;
    }
    scene.world.count(Counted::Block);
    let early = (!block.late).then(|| begin(scene, step, block, kept));
    let before = try_current().map(|task| task.id());
    let closure = || {
        if block.in_place > 0 {
            check_inside(scene);
        }
        let wait = early.unwrap_or_else(|| begin(scene, step, block, kept));
        wait();
        match block.leave {
            Leave::Return => {}
            Leave::Caught => resume_unwind(Box::new(unowned())),
            Leave::Panic => resume_unwind(Box::new(scene.payload())),
        }
    };
    if block.leave == Leave::Caught {
        let panic = catch_unwind(AssertUnwindSafe(|| {
            in_place(scene, block.in_place, closure);
        }));
        if let Err(payload) = panic {
            ignore(payload);
        }
    } else {
        in_place(scene, block.in_place, closure);
    }
    let after = try_current().map(|task| task.id());
    if before != after {
        scene.world.fail(&format!(
            "step {} ran in {before:?} before it blocked, and in {after:?} afterwards",
            step.number
        ));
    }
}

/// Runs `f` inside of so many calls of `block_in_place`.
fn in_place(scene: &Scene, times: u8, f: impl FnOnce()) {
    if times == 0 {
        return f();
    }
    scene.world.count(Counted::InPlace);
    let f: Box<dyn FnOnce() + '_> = Box::new(f);
    block_in_place(|| in_place(scene, times - 1, f));
}

/// A thread that was a worker is none, and still belongs to its runtime.
fn check_inside(scene: &Scene) {
    if scene.owner.is_none() || scene.local.is_some() {
        return;
    }
    if let Some(task) = try_current() {
        scene
            .world
            .fail(&format!("{task:?} inside of block_in_place"));
    }
    if Handle::try_current().is_none() {
        scene.world.fail("no runtime inside of block_in_place");
    }
}

/// Starts what a thread is about to wait for. Returns the wait.
fn begin<'a>(
    scene: &'a Scene,
    step: &'a Step,
    block: Block,
    kept: &mut Vec<Task<Output>>,
) -> Box<dyn FnOnce() + 'a> {
    let world = &scene.world;
    let number = step.number;
    match block.how {
        How::Sleep(time) => Box::new(move || thread::sleep(micros(time))),
        How::Compute(time) => Box::new(move || compute(micros(time))),
        How::Told => {
            // The root of a `block_on` is not what the worker polls.
            let owned = scene.owner.is_some();
            let task = try_current().filter(|_| owned).map(|task| task.id());
            Box::new(move || wait_until_told(world, number, task))
        }
        How::Root { on } => {
            world.count(Counted::Wait);
            Box::new(move || {
                let inner = run(Scene::outside(world), Arc::clone(&step.bodies[0]));
                caught(|| world.place(on).handle().block_on(inner));
            })
        }
        How::Gate { on } => {
            let gate = Gate::new(1);
            kept.push(opener(scene, step, on, gate.arrival()));
            Box::new(move || gate.wait(world, number))
        }
        How::Channel { on } => {
            let (sender, receiver) = channel::<()>();
            kept.push(opener(scene, step, on, sender));
            Box::new(move || {
                world.count(Counted::Wait);
                if receiver.recv_timeout(patience()) == Err(RecvTimeoutError::Timeout) {
                    world.fail(&format!("step {number} waits for a channel in vain"));
                }
            })
        }
        How::Mutex { on, time } => mutex(scene, step, on, micros(time), kept),
        How::Meeting { on, tasks } => {
            let gate = Gate::new(usize::from(tasks) + 1);
            let own = gate.arrival();
            for _ in 0..tasks {
                let (inner, arrival) = (scene.clone(), gate.arrival());
                let body = async move {
                    in_place(&inner, block.in_place, || {
                        arrival.arrive().wait(&inner.world, number);
                    });
                };
                kept.push(spawn(scene, step, on, Box::pin(body)));
            }
            Box::new(move || own.arrive().wait(world, number))
        }
    }
}

/// A task that runs the body of `step` and drops `opens` when that is over, or when it is gone itself.
fn opener(scene: &Scene, step: &Step, on: u8, opens: impl Send + 'static) -> Task<Output> {
    let body: Body = Arc::clone(&step.bodies[0]);
    let may_go_on = true;
    let place = scene.world.place(on);
    let record = scene
        .world
        .record(step.number, &place, Kind::Task, may_go_on, false);
    let inner = run(scene.of(&record), body);
    let body = Box::pin(async move {
        let _opens = opens;
        inner.await;
    });
    let task = place
        .handle()
        .spawn(Watched::new(&scene.world, &record, body, false, false));
    record.note(task.task_ref(), true);
    task
}

/// The same with another body.
fn spawn(scene: &Scene, step: &Step, on: u8, body: Boxed) -> Task<Output> {
    let place = scene.world.place(on);
    let record = scene
        .world
        .record(step.number, &place, Kind::Task, false, false);
    let task = place
        .handle()
        .spawn(Watched::new(&scene.world, &record, body, false, false));
    record.note(task.task_ref(), true);
    task
}

/// One task holds it while it sleeps. Whoever waits knows that it does, or that it never will.
fn mutex<'a>(
    scene: &'a Scene,
    step: &Step,
    on: u8,
    time: Duration,
    kept: &mut Vec<Task<Output>>,
) -> Box<dyn FnOnce() + 'a> {
    let number = step.number;
    let mutex = Arc::new(Mutex::new(()));
    let gate = Gate::new(1);
    let (held, arrival) = (Arc::clone(&mutex), gate.arrival());
    let body = async move {
        let _held = lock(&held);
        drop(arrival);
        thread::sleep(time);
    };
    kept.push(spawn(scene, step, on, Box::pin(body)));
    Box::new(move || {
        gate.wait(&scene.world, number);
        drop(lock(&mutex));
    })
}

fn compute(time: Duration) {
    let until = Instant::now() + time;
    while Instant::now() < until {
        std::hint::spin_loop();
    }
}

/// Until the runtime of this thread says that it is stuck, or is about to end.
fn wait_until_told(world: &World, number: u32, task: Option<TaskId>) {
    let Some(place) = world.place_here() else {
        return;
    };
    let begun = Instant::now();
    while !place.is_closing() {
        if place.stalls.lasts_here(task) {
            // The task that was here before may have been told of late: one that lasts is this.
            thread::sleep(Duration::from_millis(1));
            if place.stalls.lasts_here(task) {
                return;
            }
        }
        if begun.elapsed() > patience() {
            world.fail(&format!("nobody is told that step {number} blocks"));
        }
        thread::sleep(Duration::from_micros(200));
    }
}

//! Steps that start a task or a blocking job, and what becomes of it.

use std::future::Future;
use std::sync::Arc;
use std::task::Poll;

use heist::task::yield_now;
use heist::{Task, TaskError, promise};

use super::acts::perform;
use super::callbacks::{add_untyped, habits, register, register_on_task};
use super::{Scene, poll_once, run};
use crate::oracle::{Expected, Kind, Outcome, Record, Registered, World, stamp};
use crate::program::{Act, Spawn, Step, Then, What, catches};
use crate::run::caught;
use crate::watched::{Held, Output, Watched};

/// A task that was started, with what is known about it.
pub(super) struct Started {
    task: Task<Output>,
    record: Arc<Record>,
}

pub(super) async fn do_spawn(
    scene: &Scene,
    step: &Step,
    spec: Spawn,
    kept: &mut Vec<Task<Output>>,
) {
    let world = &scene.world;
    let place = world.place(spec.on);
    let uncancels = |act: &Act| act.what == What::CancelAndUncancel;
    let may_go_on = catches(&step.bodies[0]) || spec.acts.iter().flatten().any(uncancels);
    let record = world.record(step.number, &place, Kind::Task, may_go_on, spec.drop_panics);
    let body = run(scene.of(&record), Arc::clone(&step.bodies[0]));
    let output_panics =
        spec.output_panics && matches!(spec.then, Then::Detach | Then::Keep | Then::PollOnce);
    let watched = Watched::new(world, &record, body, spec.drop_panics, output_panics);
    let task = place.handle().spawn(watched);
    record.note(task.task_ref(), spec.watched);
    register_on_task(world, &record, spec.callbacks, &task);
    for act in spec.acts.into_iter().flatten() {
        perform(scene, &record, task.task_ref(), act).await;
    }
    finish(scene, Started { task, record }, spec.then, kept).await;
}

pub(super) fn do_blocking(
    scene: &Scene,
    step: &Step,
    on: u8,
    callbacks: u8,
    cancel: bool,
) -> Started {
    let world = &scene.world;
    let place = world.place(on);
    let record = world.record(step.number, &place, Kind::Blocking, true, false);
    let held = Held::new(world, &record, false);
    let (inner, body) = (Scene::outside(world), Arc::clone(&step.bodies[0]));
    let handle = place.handle().clone();
    let task = place.handle().spawn_blocking(move || {
        let Held { world, record, .. } = &held;
        record.on_call(world);
        caught(|| handle.block_on(run(inner, body)));
        record.on_return();
        Output::new(world, record.number(), false)
    });
    record.note(task.task_ref(), callbacks.is_multiple_of(2));
    register_on_task(world, &record, callbacks, &task);
    if cancel {
        record.ask();
        task.cancel();
    }
    Started { task, record }
}

/// What is done with a task that was started.
pub(super) async fn finish(
    scene: &Scene,
    started: Started,
    then: Then,
    kept: &mut Vec<Task<Output>>,
) {
    let Started { mut task, record } = started;
    let world = Arc::clone(&scene.world);
    let late = task.task_ref();
    match then {
        Then::Await => wait(&world, &record, task).await,
        Then::Detach => task.detach(),
        Then::Keep => kept.push(task),
        Then::PollOnce => {
            let begun = stamp();
            if let Poll::Ready(result) = poll_once(&mut task).await {
                judge(&world, &record, begun, result);
            }
        }
        Then::Share(count) => {
            let shared = task.share();
            let mut others = Vec::new();
            for _ in 1..count {
                let (world, record, shared) =
                    (Arc::clone(&world), Arc::clone(&record), shared.clone());
                let other = async move { wait(&world, &record, shared).await };
                others.push(scene.world.place(0).handle().spawn(other));
            }
            wait(&world, &record, shared).await;
            for other in others {
                let _ = other.await;
            }
        }
        Then::CancelOnDrop { wait: waits } => {
            record.ask();
            let mut linked = task.cancel_on_drop();
            let begun = stamp();
            if waits {
                judge(&world, &record, begun, linked.await);
            } else if let Poll::Ready(result) = poll_once(&mut linked).await {
                judge(&world, &record, begun, result);
            }
        }
        Then::WaitBlocking if scene.local.is_none() => {
            let begun = stamp();
            // A root that waits here may be cancelled.
            if let Some(result) = caught(|| task.wait_blocking()) {
                judge(&world, &record, begun, result);
            }
        }
        Then::WaitBlocking => wait(&world, &record, task).await,
        Then::WaitOnThread => {
            let (inner, record) = (Arc::clone(&world), Arc::clone(&record));
            world.thread(move || {
                let begun = stamp();
                judge(&inner, &record, begun, task.wait_blocking());
            });
        }
        Then::WaitOnTask(on) => {
            let (inner, record) = (Arc::clone(&world), Arc::clone(&record));
            let other = async move { wait(&inner, &record, task).await };
            world.place(on).handle().spawn(other).detach();
        }
    }
    if record.number().is_multiple_of(3) {
        // Late, or early yet where nobody has waited.
        add_untyped(&world, &record, &late, habits(&record, 9));
    }
}

/// Awaits something that gives the result of `record`, and checks it.
pub(super) async fn wait<F>(world: &Arc<World>, record: &Arc<Record>, future: F)
where
    F: Future<Output = Result<Output, TaskError>>,
{
    let begun = stamp();
    let result = future.await;
    judge(world, record, begun, result);
}

pub(super) fn judge(world: &World, record: &Record, begun: u64, result: Result<Output, TaskError>) {
    record.on_look();
    let outcome = Outcome::of(result.as_ref().map(|output| output.value));
    match result.map(Output::take) {
        // Of those that share a result one gets the payload.
        Err(error) if error.is_panic() => {
            if let Ok(payload) = error.try_into_panic() {
                if !payload.is::<Expected>() && !world.is_closing() {
                    world.fail(&format!(
                        "the panic of {record:?} came with another payload"
                    ));
                }
                record.on_payload(world);
            } else if !record.is_payload_taken() {
                world.fail(&format!("the panic of {record:?} came without its payload"));
            }
        }
        Err(error) => record.check_reason(world, &error),
        Ok(_) => {}
    }
    record.on_result(world, begun, outcome);
}

pub(super) async fn do_spawn_local(
    scene: &Scene,
    step: &Step,
    act: Option<Act>,
    callbacks: u8,
    waits: bool,
) {
    let Some(place) = &scene.local else {
        return yield_now().await;
    };
    let world = &scene.world;
    let may_go_on = true;
    let record = world.record(step.number, place, Kind::Task, may_go_on, false);
    let inner = scene.of(&record).local(place);
    let body = run(inner, Arc::clone(&step.bodies[0]));
    let watched = Watched::new(world, &record, body, false, false);
    let (over, end) = promise();
    let task = {
        let task = heist::spawn_local(watched);
        record.note(task.task_ref(), true);
        let add = |function: Registered| {
            task.add_done_callback(move |finished| {
                let outcome = Outcome::of(finished.result().map(|output| output.value));
                function(&finished.task_ref(), Some(outcome));
            })
        };
        let remove = |id| task.remove_done_callback(id);
        register(world, &record, callbacks, add, remove);
        task.add_done_callback(move |_| {
            let _ = over.set_result(());
        });
        task.task_ref()
    };
    if let Some(act) = act {
        perform(scene, &record, task, act).await;
    }
    if waits {
        let _ = end.await;
    }
}

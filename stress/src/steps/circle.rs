//! Groups of tasks, and their members.

mod family;
mod kin;

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use heist::task::{StartError, TaskGroup, yield_now};

use super::acts::have;
use super::tasks::wait;
use super::{Scene, run};
use crate::counts::Counted;
use crate::oracle::{Kind, Record, unowned};
use crate::program::{After, By, Circle, CircleEnd, Member, Policy, Step, Way};
use crate::watched::{Boxed, Output, Watched};
use family::{Family, Fault};
use kin::{Job, Kin};

type Child = heist::task::Child<Output>;

/// A place in a group.
#[derive(Clone)]
pub(crate) struct Ring {
    family: Arc<Family>,
    group: TaskGroup,
}

impl Ring {
    /// Whether the body of the group is what `task` runs.
    pub(super) fn is_run_by(&self, task: &Record) -> bool {
        self.family.owner.number() == task.number()
    }
}

/// The task that runs the step. `None`: none, or one on the only thread of its runtime.
fn task_of(scene: &Scene) -> Option<&Arc<Record>> {
    let inside = !scene.foreign && scene.local.is_none();
    scene.owner.as_ref().filter(|_| inside)
}

pub(super) async fn do_group(scene: &Scene, step: &Step, circle: Circle) {
    scene.world.count(Counted::Group);
    if let Some(owner) = task_of(scene) {
        return run_group(scene, owner, step, circle).await;
    }
    let world = &scene.world;
    let place = world.place(0);
    let record = world.record(step.number, &place, Kind::Task, true, false);
    let (inner, owner, step) = (scene.of(&record), Arc::clone(&record), step.clone());
    let body = Box::pin(async move { run_group(&inner, &owner, &step, circle).await });
    let watched = Watched::new(world, &record, body, false, false);
    let task = place.handle().spawn(watched);
    record.note(task.task_ref(), true);
    wait(world, &record, task).await;
}

async fn run_group(scene: &Scene, owner: &Arc<Record>, step: &Step, circle: Circle) {
    let family = Family::new(&scene.world, owner, step.number, circle);
    let mut builder = TaskGroup::builder().policy(match circle.policy {
        Policy::FailFast => heist::task::Policy::FailFast,
        Policy::Supervise => heist::task::Policy::Supervise,
        Policy::FirstSuccess => heist::task::Policy::FirstSuccess,
    });
    if let Some(limit) = circle.limit {
        builder = builder.limit(limit.into());
    }
    let body = step.bodies.first().cloned().unwrap_or_default();
    let (inner, kept) = (scene.clone(), Arc::clone(&family));
    let future = builder.run(async move |group| {
        let begun = Begun(&kept);
        let ring = Ring {
            family: Arc::clone(&kept),
            group,
        };
        let inner = Scene {
            ring: Some(ring),
            ..inner
        };
        run(inner, body).await;
        let passed_on = kept.take_passed();
        match (circle.end, passed_on) {
            (CircleEnd::PassOn, Some(error)) => {
                kept.on_body_failure();
                return Err(error.into());
            }
            (CircleEnd::Fail, _) => {
                kept.on_body_failure();
                return Err(Fault.into());
            }
            (CircleEnd::Panic, _) => resume_unwind(Box::new(unowned())),
            (CircleEnd::Return | CircleEnd::PassOn, _) => {}
        }
        std::mem::forget(begun);
        Ok(())
    });
    let mut whole = Whole {
        family: &family,
        future: Some(Box::pin(future)),
    };
    let polled = poll_fn(|cx| {
        let Some(future) = &mut whole.future else {
            return Poll::Pending;
        };
        match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(result)) => Poll::Ready(Ok(result)),
            Err(payload) => Poll::Ready(Err(payload)),
        }
    });
    let result = polled.await;
    family.on_over();
    whole.future = None;
    match result {
        Ok(result) => family.check(&result),
        Err(payload) => resume_unwind(payload),
    }
}

/// The body of a group runs. If it does not come to a good end, all others are cancelled.
struct Begun<'a>(&'a Family);

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        self.0.on_doom();
    }
}

/// A group that runs. If it is dropped, the children are cancelled, and nobody waits for them.
struct Whole<'a, F> {
    family: &'a Family,
    future: Option<Pin<Box<F>>>,
}

impl<F> Drop for Whole<'_, F> {
    fn drop(&mut self) {
        if self.future.is_some() {
            self.family.on_doom();
            // It may have passed on a request.
            self.family.owner.may_be_over();
        }
    }
}

pub(super) async fn do_member(scene: &Scene, step: &Step, member: Member) {
    let (Some(ring), Some(task)) = (&scene.ring, task_of(scene)) else {
        return yield_now().await;
    };
    let world = &scene.world;
    let kind = match member.way {
        Way::Blocking => Kind::Blocking,
        _ => Kind::Task,
    };
    let record = world.record(step.number, &task.place, kind, true, false);
    ring.family.enlist(&record);
    let body = step.bodies.first().cloned().unwrap_or_default();
    let kin = || {
        let body = run(scene.of(&record), body.clone());
        let body = if member.idles {
            idle(&record, body)
        } else {
            body
        };
        Kin::new(&ring.family, &record, body, member)
    };
    if member.idles {
        crowd(ring, task, &record, member);
    }
    let group = &ring.group;
    let spawned = match member.way {
        Way::Spawn => group.spawn(kin()),
        Way::Wait => group.spawn_wait(kin()).await,
        Way::Start { ready } => {
            // If this is dropped meanwhile the child is cancelled.
            record.ask();
            let kin = kin();
            let started = group.start(move |is_ready| kin.with_ready(ready.then_some(is_ready)));
            match started.await {
                Ok(((), child)) => Ok(child),
                Err(StartError::Spawn(error)) => Err(error),
                Err(StartError::Failed(error)) => return ring.family.check_error(&record, &error),
                Err(StartError::NotReady) if !ready || record.may_be_cancelled() => return,
                Err(error) => ring.family.fail(&format!("{error:?} of {record:?}")),
            }
        }
        Way::Blocking => {
            let handle = task.place.handle().clone();
            let job = Job::new(&ring.family, &record, member);
            let inner = Scene::outside(world);
            group.spawn_blocking(move || job.run(|| handle.block_on(run(inner, body))))
        }
    };
    match spawned {
        Ok(child) => {
            world.count(Counted::Member);
            record.note(child.task_ref(), false);
            attend_to(ring, task, &record, child, member.then).await;
        }
        Err(error) => {
            world.count(Counted::Refused);
            ring.family.check_refusal(error);
        }
    }
}

/// Goes on after `body` until its task is cancelled.
fn idle(record: &Arc<Record>, body: Boxed) -> Boxed {
    let own = Arc::clone(record);
    Box::pin(async move {
        body.await;
        // There is one request, and the body may have caught it.
        if !own.may_be_cancelled() {
            std::future::pending().await
        }
    })
}

/// Some more that idle, one right after the other: a group that is cancelled meanwhile must not miss one.
fn crowd(ring: &Ring, task: &Record, like: &Record, member: Member) {
    let world = &ring.family.world;
    for _ in 0..CROWD {
        let record = world.record(like.step(), &task.place, Kind::Task, true, false);
        ring.family.enlist(&record);
        let body = idle(&record, Box::pin(yield_now()));
        match ring
            .group
            .spawn(Kin::new(&ring.family, &record, body, member))
        {
            Ok(child) => record.note(child.task_ref(), false),
            Err(error) => return ring.family.check_refusal(error),
        }
    }
}

const CROWD: usize = 12;

/// Does with a child what shall be done.
async fn attend_to(ring: &Ring, task: &Record, record: &Arc<Record>, child: Child, then: After) {
    let waits = match then {
        After::Drop => false,
        After::Await => true,
        After::Cancel { wait } => {
            record.ask();
            child.cancel();
            wait
        }
        After::Abort => {
            record.ask_abort();
            child.task_ref().abort();
            false
        }
    };
    if !waits {
        return;
    }
    match child.await {
        Ok(output) => {
            let value = output.take();
            if value != record.number() || !record.is_dropped() {
                ring.family.fail(&format!("{value} came from {record:?}"));
            }
        }
        Err(error) => {
            ring.family.check_error(record, &error);
            if ring.is_run_by(task) && !error.is_cancelled() {
                ring.family.pass(error);
            }
        }
    }
}

pub(super) fn cancel_group(scene: &Scene, step: &Step, by: By) {
    let Some(ring) = &scene.ring else { return };
    ring.family.on_cancel();
    let group = ring.group.clone();
    let place = scene.world.place(0);
    have(scene, &place, by, step.number as u8 % 16, move || {
        group.cancel()
    });
}

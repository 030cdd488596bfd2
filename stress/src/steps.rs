//! What each step of a program does.

mod acts;
mod arena;
mod blocks;
mod callbacks;
mod calls;
mod catch;
mod circle;
mod promises;
mod storm;
mod tasks;

use std::future::{Future, poll_fn};
use std::panic::resume_unwind;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use heist::Task;
use heist::task::{race, try_current, yield_now};
use heist::time::{interval, sleep, timeout};

use crate::counts::Counted;
use crate::oracle::{Expected, Kind, Place, Record, World, unowned};
use crate::program::{Body, Op, Step, Timer};
use crate::run::{caught, micros};
use crate::streams;
use crate::watched::{Boxed, Output, Watched};
use arena::{Seat, do_arena, do_use};
use blocks::do_block;
use calls::do_calls;
use catch::do_catch;
use circle::{Ring, cancel_group, do_group, do_member};
use promises::do_promise;
use storm::storm;
use tasks::{do_blocking, do_spawn, do_spawn_local, finish, wait};

/// Where steps run.
#[derive(Clone)]
pub(crate) struct Scene {
    pub(crate) world: Arc<World>,
    /// The task whose body this is.
    owner: Option<Arc<Record>>,
    /// On an executor that is not heist's: nobody can cancel what waits here.
    foreign: bool,
    /// On the thread of a local runtime.
    local: Option<Arc<Place>>,
    /// The arena around it.
    seat: Option<Seat>,
    /// The group around it.
    ring: Option<Ring>,
}

impl Scene {
    pub(crate) fn outside(world: &Arc<World>) -> Self {
        Self {
            world: Arc::clone(world),
            owner: None,
            foreign: false,
            local: None,
            seat: None,
            ring: None,
        }
    }

    pub(crate) fn foreign(self) -> Self {
        Self {
            foreign: true,
            ..self
        }
    }

    pub(crate) fn local(self, place: &Arc<Place>) -> Self {
        Self {
            local: Some(Arc::clone(place)),
            ..self
        }
    }

    fn of(&self, record: &Arc<Record>) -> Self {
        Self {
            owner: Some(Arc::clone(record)),
            seat: self.seat.clone(),
            ring: self.ring.clone(),
            ..Self::outside(&self.world)
        }
    }

    /// What a panic here is to carry. That of the body of a group may be dropped with the group, and nobody is told.
    fn payload(&self) -> Expected {
        let in_body = |owner: &&Arc<Record>| {
            let ring = self.ring.as_ref();
            ring.is_some_and(|ring| ring.is_run_by(owner))
        };
        match self.owner.as_ref().filter(|owner| !in_body(owner)) {
            Some(owner) => Expected::ends(&self.world, owner),
            None => unowned(),
        }
    }
}

/// Runs a body.
pub(crate) fn run(scene: Scene, body: Body) -> Boxed {
    Box::pin(async move {
        // Tasks whose handles are dropped when the body is over.
        let mut kept = Vec::new();
        for step in body.iter() {
            scene.world.step();
            one(&scene, step, &mut kept).await;
        }
    })
}

async fn one(scene: &Scene, step: &Step, kept: &mut Vec<Task<Output>>) {
    match step.op {
        Op::Yield(count) => yields(count).await,
        Op::Spin(time) => {
            let until = Instant::now() + micros(time);
            while Instant::now() < until {
                std::hint::spin_loop();
            }
        }
        Op::Block(block) => do_block(scene, step, block, kept).await,
        Op::Sleep { time, how } => do_sleep(scene, micros(time), how).await,
        Op::Timeout(time) => do_timeout(scene, micros(time), step).await,
        Op::Interval { time, ticks } => do_interval(scene, micros(time), ticks).await,
        Op::Spawn(spec) => do_spawn(scene, step, spec, kept).await,
        Op::SpawnLocal {
            act,
            callbacks,
            wait,
        } => do_spawn_local(scene, step, act, callbacks, wait).await,
        Op::Blocking {
            on,
            callbacks,
            cancel,
            then,
        } => {
            let task = do_blocking(scene, step, on, callbacks, cancel);
            finish(scene, task, then, kept).await;
        }
        Op::BlockOn { on } => {
            scene.world.count(Counted::Wait);
            let place = scene.world.place(on);
            let body = Arc::clone(&step.bodies[0]);
            let inner = Scene::outside(&scene.world);
            caught(|| place.handle().block_on(run(inner, body)));
        }
        Op::Call { .. } => do_calls(scene, step),
        Op::Promise {
            on,
            by,
            keep,
            callbacks,
            then,
        } => do_promise(scene, step, on, by, keep, callbacks, then).await,
        Op::Storm { tasks, threads } => storm(scene, tasks, threads).await,
        Op::Stream { kind, bytes } if !scene.foreign => {
            streams::exchange(&scene.world, kind, bytes).await;
        }
        Op::Catch { end } => do_catch(scene, step, end).await,
        Op::CancelSelf => end_myself(scene, false).await,
        Op::AbortSelf => end_myself(scene, true).await,
        Op::UncancelSelf => {
            if let (Some(task), Some(owner)) = (try_current(), &scene.owner) {
                task.cancel();
                // With an older request, which it went on after, this one stays.
                if task.uncancel() > 0 {
                    owner.ask();
                }
            }
            yield_now().await;
        }
        Op::Pending if !scene.foreign => std::future::pending().await,
        Op::Panic => resume_unwind(Box::new(scene.payload())),
        Op::Runtime { grace } => nested_runtime(scene, step, micros(grace)).await,
        Op::Race => do_race(scene, step).await,
        Op::Arena(arena) => do_arena(scene, step, arena, kept).await,
        Op::Use(deed) => do_use(scene, step, deed).await,
        Op::Group(circle) => do_group(scene, step, circle).await,
        Op::Member(member) => do_member(scene, step, member).await,
        Op::CancelGroup(by) => cancel_group(scene, step, by),
        // An arena starts its parties itself.
        Op::Party(_) => {}
        Op::Stream { .. } | Op::Pending => yield_now().await,
    }
}

pub(crate) async fn yields(count: u8) {
    for _ in 0..count {
        yield_now().await;
    }
}

/// Polls once.
async fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    poll_fn(|cx| Poll::Ready(Pin::new(&mut *future).poll(cx))).await
}

async fn do_sleep(scene: &Scene, time: Duration, how: Timer) {
    let begun = Instant::now();
    let mut nap = Box::pin(sleep(time));
    match how {
        Timer::Unpolled => return,
        Timer::FirstPoll if poll_once(&mut nap).await.is_pending() => return,
        Timer::FirstPoll => {}
        Timer::Await => nap.await,
        Timer::Reset => {
            let first = if time.as_micros().is_multiple_of(2) {
                time / 4
            } else {
                time * 4
            };
            nap.as_mut().reset(begun + first);
            let _ = poll_once(&mut nap).await;
            nap.as_mut().reset(begun + time);
            nap.await;
        }
    }
    if begun.elapsed() < time {
        let late = begun.elapsed();
        scene
            .world
            .fail(&format!("a sleep of {time:?} took {late:?}"));
    }
}

async fn do_timeout(scene: &Scene, limit: Duration, step: &Step) {
    let begun = Instant::now();
    let body = run(scene.clone(), Arc::clone(&step.bodies[0]));
    if timeout(limit, body).await.is_err() && begun.elapsed() < limit {
        let late = begun.elapsed();
        scene
            .world
            .fail(&format!("a limit of {limit:?} was over after {late:?}"));
    }
}

async fn do_race(scene: &Scene, step: &Step) {
    let bodies = step.bodies.iter();
    let bodies = bodies.map(|body| run(scene.clone(), Arc::clone(body)));
    let mut racing = Racing {
        owner: scene.owner.as_deref(),
        race: Box::pin(race(bodies)),
    };
    racing.race.as_mut().await;
    scene.world.count(Counted::Race);
}

/// Some bodies, side by side in one task.
struct Racing<'a, F> {
    owner: Option<&'a Record>,
    race: Pin<Box<F>>,
}

impl<F> Drop for Racing<'_, F> {
    fn drop(&mut self) {
        // Of those that would catch a request one takes it and passes it on, and the others are dropped, before that one is perhaps.
        if let Some(owner) = self.owner.filter(|owner| owner.may_be_cancelled()) {
            owner.may_be_over();
        }
    }
}

async fn do_interval(scene: &Scene, period: Duration, ticks: u8) {
    let begun = Instant::now();
    let mut interval = interval(period);
    for tick in 0..ticks {
        interval.tick().await;
        let (late, due) = (begun.elapsed(), period * tick.into());
        if late < due {
            scene
                .world
                .fail(&format!("tick {tick} of {period:?} came after {late:?}"));
        }
    }
}

async fn end_myself(scene: &Scene, abort: bool) {
    if let (Some(task), false) = (try_current(), scene.foreign) {
        if let Some(owner) = &scene.owner {
            if abort {
                owner.ask_abort();
            } else {
                owner.ask();
            }
        }
        let accepted = if abort { task.abort() } else { task.cancel() };
        if !accepted && scene.owner.is_some() {
            scene.world.fail("a task that runs cannot be ended");
        }
    }
    yield_now().await;
}

/// A runtime of its own, which ends here, in the middle of a poll.
async fn nested_runtime(scene: &Scene, step: &Step, grace: Duration) {
    let world = &scene.world;
    let place = world.add_place(1);
    let builder = place.builder(world).shutdown_grace(grace);
    let runtime = match builder.build() {
        Ok(runtime) => runtime,
        Err(error) => world.fail(&format!("no runtime: {error}")),
    };
    place.open(runtime.handle().clone());
    // If this is dropped while it waits, before the runtime is.
    let closing = Closing(&place, grace);
    let record = world.record(step.number, &place, Kind::Task, true, false);
    let body = run(scene.of(&record), Arc::clone(&step.bodies[0]));
    let task = runtime.spawn(Watched::new(world, &record, body, false, false));
    record.note(task.task_ref(), true);
    yields(3).await;
    drop(closing);
    let report = runtime.shutdown(grace);
    place.close(world, Some((&report, grace)));
    wait(world, &record, task).await;
}

/// Tells that a runtime is about to be dropped.
struct Closing<'a>(&'a Place, Duration);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.0.begin_closing(self.1);
    }
}

//! Arenas: something to wait for, and tasks and threads that do.
//!
//! Whatever becomes of a party, what it had to give comes to an end: when the last one that gives is gone, those who take go on without, and
//! when the last one that takes is gone, so do those who give. So each wait in an arena ends, and one that does not is a hang.
//! What must hold in the end is checked where the last one lets go of the arena.

mod item;
mod lines;
mod locks;
mod pool;
mod signals;
mod trade;

use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Weak};
use std::task::Poll;

use heist::Task;
use heist::task::{race, yield_now};
use heist::time::timeout;

use super::acts::perform;
use super::tasks::wait;
use super::{Scene, poll_once, run};
use crate::counts::Counted;
use crate::guard::Guard;
use crate::oracle::{Kind, Record, World};
use crate::program::{
    Act, Arena as Spec, Ask, Body, Common, Op, Party, Step, Use, What, Who, catches,
};
use crate::run::{caught, micros, wait_for};
use crate::watched::{Output, Watched};
use locks::Locks;
use pool::Pool;
use signals::Signals;
use trade::Trade;

/// Something to wait for.
pub(super) struct Arena {
    number: u32,
    world: Arc<World>,
    shared: Shared,
    /// Parties that are not over.
    givers: AtomicUsize,
    takers: AtomicUsize,
    #[expect(dead_code, reason = "it is there to be dropped")]
    guard: Guard,
}

enum Shared {
    Locks(Locks),
    Pool(Pool),
    Trade(Trade),
    Signals(Signals),
}

/// A place in an arena.
#[derive(Clone)]
pub(crate) struct Seat {
    arena: Arc<Arena>,
    gives: bool,
}

/// One party, until it is over.
struct Attendance(Seat);

impl Arena {
    fn new(world: &Arc<World>, number: u32, common: Common, parties: usize) -> Arc<Self> {
        let shared = match common {
            Common::Mutex | Common::RwLock | Common::Semaphore { .. } | Common::Once => {
                Shared::Locks(Locks::new(common))
            }
            Common::Condvar => Shared::Pool(Pool::new()),
            Common::Queue { line, room, hook } => {
                Shared::Trade(Trade::new(world, number, line, room, hook))
            }
            Common::Notify | Common::Event | Common::Barrier { .. } | Common::Broadcast { .. } => {
                Shared::Signals(Signals::new(common, parties))
            }
        };
        Arc::new(Self {
            number,
            world: Arc::clone(world),
            shared,
            givers: AtomicUsize::new(0),
            takers: AtomicUsize::new(0),
            guard: world.guard(),
        })
    }

    fn attend(self: &Arc<Self>, gives: bool) -> Attendance {
        let arena = Arc::clone(self);
        arena.side(gives).fetch_add(1, SeqCst);
        Attendance(Seat { arena, gives })
    }

    fn side(&self, gives: bool) -> &AtomicUsize {
        if gives { &self.givers } else { &self.takers }
    }

    fn fail(&self, problem: &str) -> ! {
        self.world
            .fail(&format!("step {}: {problem}: {self:?}", self.number))
    }

    /// Nobody of this side will come any more.
    fn on_side_gone(self: &Arc<Self>, gives: bool) {
        match &self.shared {
            Shared::Locks(_) => {}
            Shared::Pool(_) if gives => Pool::on_givers_gone(self),
            Shared::Pool(_) => {}
            Shared::Trade(trade) => trade.on_side_gone(gives),
            Shared::Signals(signals) if gives => signals.on_givers_gone(),
            Shared::Signals(_) => {}
        }
    }
}

impl fmt::Debug for Arena {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<arena of step {}, ", self.number)?;
        match &self.shared {
            Shared::Locks(locks) => locks.fmt(f)?,
            Shared::Pool(pool) => pool.fmt(f)?,
            Shared::Trade(trade) => trade.fmt(f)?,
            Shared::Signals(signals) => signals.fmt(f)?,
        }
        let [givers, takers] = [&self.givers, &self.takers].map(|count| count.load(SeqCst));
        write!(f, ", {givers} give, {takers} take>")
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        let problem = match &mut self.shared {
            Shared::Locks(locks) => locks.check_end(),
            Shared::Pool(pool) => pool.check_end(),
            Shared::Trade(trade) => trade.check_end(),
            Shared::Signals(signals) => signals.check_end(),
        };
        if let Some(problem) = problem {
            self.fail(&format!("in the end {problem}"));
        }
    }
}

impl Drop for Attendance {
    fn drop(&mut self) {
        let Seat { arena, gives } = &self.0;
        if let Shared::Signals(signals) = &arena.shared {
            signals.on_party_gone();
        }
        if arena.side(*gives).fetch_sub(1, SeqCst) == 1 {
            arena.on_side_gone(*gives);
        }
    }
}

pub(super) async fn do_arena(scene: &Scene, step: &Step, spec: Spec, kept: &mut Vec<Task<Output>>) {
    let [parties, own] = &step.bodies[..] else {
        return;
    };
    let arena = Arena::new(&scene.world, step.number, spec.common, parties.len() + 1);
    let attendance = arena.attend(true);
    // All of them at once: whoever comes first does not find that nobody else is there.
    let parties: Vec<_> = parties
        .iter()
        .filter_map(|step| match step.op {
            Op::Party(party) => Some((step, party, arena.attend(party.gives))),
            _ => None,
        })
        .collect();
    if arena.takers.load(SeqCst) == 0 {
        arena.on_side_gone(false);
    }
    let mut tasks = Vec::new();
    let mut acts = Vec::new();
    for (step, party, attendance) in parties {
        scene.world.count(Counted::Party);
        if let Some((record, task)) = begin(scene, step, party, attendance) {
            acts.extend(
                party
                    .act
                    .map(|act| (act, Arc::clone(&record), task.task_ref())),
            );
            tasks.push((record, task));
        }
    }
    for (act, record, task) in acts {
        perform(scene, &record, task, act).await;
    }
    let inner = Scene {
        seat: Some(attendance.0.clone()),
        ..scene.clone()
    };
    run(inner, Arc::clone(own)).await;
    drop(attendance);
    for (record, task) in tasks {
        if spec.wait {
            wait(&scene.world, &record, task).await;
        } else {
            kept.push(task);
        }
    }
}

/// Starts a party.
fn begin(
    scene: &Scene,
    step: &Step,
    party: Party,
    attendance: Attendance,
) -> Option<(Arc<Record>, Task<Output>)> {
    let world = &scene.world;
    let seat = Some(attendance.0.clone());
    let body: Body = step.bodies.first().cloned().unwrap_or_default();
    let on = match party.who {
        Who::Task(on) => on,
        Who::Thread(on) => {
            let place = world.place(on);
            let outside = Scene::outside(world).foreign();
            let inner = Scene { seat, ..outside };
            world.thread(move || {
                let _attendance = attendance;
                let _entered = place.handle().enter();
                caught(|| wait_for(run(inner, body)));
            });
            return None;
        }
    };
    let place = world.place(on);
    let uncancels = |act: Act| act.what == What::CancelAndUncancel;
    let may_go_on = catches(&body) || party.act.is_some_and(uncancels);
    let record = world.record(step.number, &place, Kind::Task, may_go_on, false);
    let inner = Scene {
        seat,
        ..scene.of(&record)
    };
    let body = Box::pin(async move {
        let _attendance = attendance;
        run(inner, body).await;
    });
    let watched = Watched::new(world, &record, body, false, false);
    let task = place.handle().spawn(watched);
    record.note(task.task_ref(), true);
    Some((record, task))
}

/// Uses the arena around the step.
pub(super) async fn do_use(scene: &Scene, step: &Step, mut deed: Use) {
    let Some(seat) = &scene.seat else {
        return yield_now().await;
    };
    // The thread of a local runtime is the only one that its tasks have.
    let async_only = scene.local.is_some()
        || matches!(&seat.arena.shared, Shared::Locks(locks) if locks.is_async_only());
    if deed.how == Ask::Blocking && async_only {
        deed.how = Ask::Await;
    }
    let attempt = Attempt {
        scene,
        seat,
        step,
        deed,
    };
    match &seat.arena.shared {
        Shared::Locks(locks) => locks.hold(&attempt).await,
        Shared::Pool(pool) => pool.use_it(&attempt).await,
        Shared::Trade(trade) => trade.use_it(&attempt).await,
        Shared::Signals(signals) => signals.use_it(&attempt).await,
    }
}

/// Somebody who uses an arena.
struct Attempt<'a> {
    scene: &'a Scene,
    seat: &'a Seat,
    step: &'a Step,
    deed: Use,
}

/// Tells if a wait is dropped, or given up.
struct Patience<'a> {
    world: &'a World,
    over: bool,
}

impl Drop for Patience<'_> {
    fn drop(&mut self) {
        if !self.over {
            self.world.count(Counted::GivenUp);
        }
    }
}

impl Attempt<'_> {
    fn arena(&self) -> &Arc<Arena> {
        &self.seat.arena
    }

    /// What is done while somebody has something.
    async fn inside(&self) {
        let body = self.step.bodies.first().cloned().unwrap_or_default();
        run(self.scene.clone(), body).await;
    }

    /// Waits in the way of this attempt. `None`: it was given up.
    async fn wait<T, F: Future<Output = T>>(
        &self,
        begin: impl Fn() -> F,
        blocking: impl FnOnce() -> T,
        at_once: impl FnOnce() -> Option<T>,
    ) -> Option<T> {
        let world = &self.scene.world;
        let what: Weak<Arena> = Arc::downgrade(self.arena());
        let _waits = world.waits(self.step.number, what);
        let mut patience = Patience { world, over: false };
        let got = match self.deed.how {
            Ask::Await | Ask::Owned => Some(begin().await),
            Ask::Timeout(time) => timeout(micros(time), begin()).await.ok(),
            Ask::Polls(count) => {
                let mut future = pin!(begin());
                let mut got = None;
                for _ in 0..count {
                    if let Poll::Ready(ready) = poll_once(&mut future).await {
                        got = Some(ready);
                        break;
                    }
                    yield_now().await;
                }
                got
            }
            Ask::Race => Some(race([begin(), begin()]).await.1),
            Ask::Try => at_once(),
            // A root that waits here may be cancelled.
            Ask::Blocking => caught(blocking),
        };
        patience.over = got.is_some();
        got
    }
}

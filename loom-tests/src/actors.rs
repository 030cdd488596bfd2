//! What one thread can do to a task.

use crate::races::together;
use crate::scheduler::Runtime;
use crate::task::{Beside, Counts, Handle, Opener, Output, World};
use heist_core::schedule::Schedule;
use heist_core::task::{Task, TaskRef};
use std::sync::Arc;

/// Each of them acts once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "`act` says it in fewer words")]
pub enum Actor {
    Run,
    RunAll,
    WakeAndRun,
    NudgeAndRun,
    NudgeRunWakeAndRun,
    AddCallbackAndRunAll,
    AbortAndRunAll,
    Nudge,
    Wake,
    WakeByValue,
    Cancel,
    Abort,
    Uncancel,
    CancelAndUncancel,
    AddCallback,
    Inspect,
    CloneAndDrop,
    DropCatcher,
    PollHandle,
    PollHandleTwice,
    DropHandle,
    PollAndDropHandle,
    TypedCallback,
    AddCallbackPollHandleAndRunAll,
}

use Actor::*;

/// Who runs the task.
pub const WORKER: &[Actor] = &[
    Run,
    RunAll,
    WakeAndRun,
    NudgeAndRun,
    NudgeRunWakeAndRun,
    AddCallbackAndRunAll,
    AbortAndRunAll,
];

/// Who has a view of the task, or a waker.
pub const ANYBODY: &[Actor] = &[
    Nudge,
    Wake,
    WakeByValue,
    Cancel,
    Abort,
    Uncancel,
    CancelAndUncancel,
    AddCallback,
    Inspect,
    CloneAndDrop,
    DropCatcher,
];

/// Who owns the handle: the compiler allows for one.
pub const OWNER: &[Actor] = &[
    PollHandle,
    PollHandleTwice,
    DropHandle,
    PollAndDropHandle,
    TypedCallback,
    AddCallbackPollHandleAndRunAll,
];

/// All pairs in which one handle suffices.
pub fn pairs() -> Vec<(Actor, Actor)> {
    let all = [WORKER, ANYBODY, OWNER].concat();
    let both_own = |pair: &(Actor, Actor)| OWNER.contains(&pair.0) && OWNER.contains(&pair.1);
    (0..all.len())
        .flat_map(|i| all[i..].iter().map(move |second| (i, *second)))
        .map(|(i, second)| (all[i], second))
        .filter(|pair| !both_own(pair))
        .collect()
}

/// The same for a task that is not `Send`, with the actor on its thread first: the other one is anybody.
pub fn local_pairs() -> Vec<(Actor, Actor)> {
    let here = [WORKER, ANYBODY, OWNER].concat();
    here.into_iter()
        .flat_map(|first| ANYBODY.iter().map(move |second| (first, *second)))
        .collect()
}

/// Two act in `world` at once, the second one on another thread.
pub fn act<H: Handle + Send + 'static>(first: Actor, second: Actor, mut world: World<H>) {
    let one = Acting::new(first, &mut world);
    let two = Acting::new(second, &mut world);
    let (theirs, mine) = together(move || two.act(), || one.act());
    world.task = world.task.take().or(mine).or(theirs);
    world.check();
}

/// The same in the world of a task that is not `Send`, in the frame of its worker.
pub fn act_local<H: Handle>(first: Actor, second: Actor, mut world: World<H>) {
    let runtime = world.runtime.clone();
    runtime.frame(|| {
        let one = Acting::new(first, &mut world);
        let two = Acting::<Task<Output>>::without_handle(second, &world);
        let ((), mine) = together(move || drop(two.act()), || one.act());
        world.task = world.task.take().or(mine);
        world.settle();
    });
    world.close();
}

/// An actor and all that it needs.
struct Acting<H> {
    actor: Actor,
    runtime: Runtime,
    view: TaskRef,
    counts: Arc<Counts>,
    opener: Opener,
    beside: Beside,
    handle: Option<H>,
}

impl<H: Handle> Acting<H> {
    fn new(actor: Actor, world: &mut World<H>) -> Self {
        let mut acting = Self::without_handle(actor, world);
        if OWNER.contains(&actor) {
            acting.handle = world.task.take();
        }
        acting
    }

    fn without_handle<O: Handle>(actor: Actor, world: &World<O>) -> Self {
        Self {
            actor,
            runtime: world.runtime.clone(),
            view: world.view.clone(),
            counts: Arc::clone(&world.counts),
            opener: world.opener(),
            beside: Arc::clone(&world.beside),
            handle: None,
        }
    }

    fn act(mut self) -> Option<H> {
        match self.actor {
            Run => {
                self.runtime.run_once();
            }
            RunAll => self.runtime.run_all(),
            WakeAndRun => {
                self.opener.open_by_ref();
                self.runtime.run_once();
            }
            AddCallbackAndRunAll => {
                self.counts.add_callback(&self.view);
                self.runtime.run_all();
            }
            NudgeAndRun => {
                self.opener.nudge();
                self.runtime.run_once();
            }
            NudgeRunWakeAndRun => {
                self.opener.nudge();
                self.runtime.run_once();
                self.opener.open_by_ref();
                self.runtime.run_once();
            }
            AbortAndRunAll => {
                self.view.abort();
                self.runtime.run_all();
            }
            AddCallbackPollHandleAndRunAll => {
                self.counts.add_callback(&self.view);
                self.poll();
                self.runtime.run_all();
            }
            Nudge => self.opener.nudge(),
            Wake => self.opener.open_by_ref(),
            WakeByValue => self.opener.open(),
            Cancel => {
                self.view.cancel();
            }
            Abort => {
                self.view.abort();
            }
            Uncancel => {
                self.view.uncancel();
            }
            CancelAndUncancel => {
                self.view.cancel();
                self.view.uncancel();
            }
            AddCallback => self.counts.add_callback(&self.view),
            Inspect => {
                let registry = self.runtime.0.registry();
                registry.for_each(|task| drop(task.name()));
            }
            CloneAndDrop => drop(self.view.clone()),
            DropCatcher => {
                let catcher = self.beside.lock().expect("never poisoned").take();
                drop(catcher);
            }
            PollHandle => self.poll(),
            PollHandleTwice => {
                self.poll();
                self.poll();
            }
            DropHandle => drop(self.handle.take()),
            PollAndDropHandle => {
                self.poll();
                drop(self.handle.take());
            }
            TypedCallback => {
                if let Some(handle) = &self.handle {
                    handle.add_callback(&self.counts);
                }
            }
        }
        self.handle
    }

    fn poll(&mut self) {
        let ready = self.handle.as_mut().is_some_and(|h| h.poll(&self.counts));
        if ready {
            self.handle = None;
        }
    }
}

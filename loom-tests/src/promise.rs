//! A promise, and what two threads can do to its two ends.

use crate::races::together;
use crate::scheduler::Runtime;
use crate::task::{Counting, Counts, Output, poll};
use heist_core::context;
use heist_core::future::{Deferred, Promise, promise};
use heist_core::schedule::Schedule;
use heist_core::task::TaskRef;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::task::{Context, Waker};

/// Each of them acts once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "`act` says it in fewer words")]
pub enum PromiseActor {
    SetResult,
    DropPromise,
    AwaitCancelled,
    AwaitCancelledAndSetResult,
    Cancel,
    TypedCallback,
    TypedCallbackAndRunAll,
    RunAll,
    Poll,
    PollTwice,
    Drop,
    PollAndDrop,
    CancelAndDrop,
    CallbackPollAndRunAll,
    CallbackByView,
    CallbackByViewAndRunAll,
}

use PromiseActor::*;

/// Who has the promise.
const PROMISER: &[PromiseActor] = &[
    SetResult,
    DropPromise,
    AwaitCancelled,
    AwaitCancelledAndSetResult,
];

/// Who has a reference of the handle, or none.
const SHARED: &[PromiseActor] = &[Cancel, TypedCallback, TypedCallbackAndRunAll, RunAll];

/// Who has the handle.
const OWNER: &[PromiseActor] = &[
    Poll,
    PollTwice,
    Drop,
    PollAndDrop,
    CancelAndDrop,
    CallbackPollAndRunAll,
];

/// Who has a view of it, which its callbacks can get.
const VIEWER: &[PromiseActor] = &[CallbackByView, CallbackByViewAndRunAll];

/// All pairs that the compiler lets two threads make.
pub fn promise_pairs() -> Vec<(PromiseActor, PromiseActor)> {
    let across = |these: &[PromiseActor], those: &[PromiseActor]| -> Vec<_> {
        let pairs = these
            .iter()
            .flat_map(|a| those.iter().map(move |b| (*a, *b)));
        pairs.collect()
    };
    [
        across(PROMISER, SHARED),
        across(PROMISER, OWNER),
        // With few pre-emptions loom finds some interleavings only from the other end.
        across(OWNER, PROMISER),
        across(SHARED, SHARED),
        across(OWNER, &[RunAll]),
        across(&[PROMISER, SHARED, OWNER, VIEWER].concat(), VIEWER),
    ]
    .concat()
}

/// A promise, its other end, and the runtime of its callbacks.
#[derive(Debug)]
pub struct PromiseWorld {
    runtime: Runtime,
    counts: Arc<Counts>,
    promise: Option<Promise<Output>>,
    deferred: Option<Arc<Deferred<Output>>>,
    view: Option<TaskRef>,
}

impl Default for PromiseWorld {
    fn default() -> Self {
        Self::new()
    }
}

impl PromiseWorld {
    /// Nothing has happened yet.
    pub fn new() -> Self {
        let (promise, deferred) = promise();
        Self {
            runtime: Runtime::new(),
            counts: Arc::default(),
            promise: Some(promise),
            deferred: Some(Arc::new(deferred)),
            view: None,
        }
    }

    /// The same after a callback that keeps a view of it.
    #[must_use]
    pub fn viewed(mut self) -> Self {
        let (sender, receiver) = channel();
        let deferred = self.deferred.as_ref().expect("the handle");
        let _entered = context::enter(self.runtime.0.context());
        deferred.add_done_callback(move |task| drop(sender.send(task.task_ref())));
        self.runtime.run_all();
        self.view = receiver.try_recv().ok();
        assert!(self.view.is_some(), "the callback has not run");
        self
    }

    /// The same after what `actor` does.
    #[must_use]
    pub fn after(mut self, actor: PromiseActor) -> Self {
        let acting = Acting::new(actor, &mut self);
        let left = acting.act();
        self.take_back(left);
        self
    }

    fn take_back(&mut self, (promise, deferred): Ends) {
        self.promise = self.promise.take().or(promise);
        self.deferred = self.deferred.take().or(deferred);
    }

    fn check(self) {
        drop(self.promise);
        self.runtime.run_all();
        drop((self.deferred, self.view));
        self.runtime.run_all();
        self.counts.check();
        self.runtime.close();
    }
}

type Ends = (Option<Promise<Output>>, Option<Arc<Deferred<Output>>>);

/// Two act at once.
pub fn act(first: PromiseActor, second: PromiseActor, mut world: PromiseWorld) {
    let one = Acting::new(first, &mut world);
    let two = Acting::new(second, &mut world);
    let (theirs, mine) = together(move || two.act(), || one.act());
    world.take_back(theirs);
    world.take_back(mine);
    world.check();
}

struct Acting {
    actor: PromiseActor,
    runtime: Runtime,
    counts: Arc<Counts>,
    promise: Option<Promise<Output>>,
    deferred: Option<Arc<Deferred<Output>>>,
    view: Option<TaskRef>,
}

impl Acting {
    fn new(actor: PromiseActor, world: &mut PromiseWorld) -> Self {
        let deferred = match actor {
            _ if OWNER.contains(&actor) => world.deferred.take(),
            RunAll => None,
            _ if SHARED.contains(&actor) => world.deferred.clone(),
            _ => None,
        };
        let promise = world.promise.take_if(|_| PROMISER.contains(&actor));
        Self {
            actor,
            runtime: world.runtime.clone(),
            counts: Arc::clone(&world.counts),
            promise,
            deferred,
            view: world.view.clone(),
        }
    }

    fn act(mut self) -> Ends {
        // The runtime of the callbacks.
        let _entered = context::enter(self.runtime.0.context());
        match self.actor {
            SetResult => self.set_result(),
            DropPromise => drop(self.promise.take()),
            AwaitCancelled => self.await_cancelled(),
            AwaitCancelledAndSetResult => {
                self.await_cancelled();
                self.set_result();
            }
            Cancel => self.cancel(),
            TypedCallback => self.add_callback(),
            TypedCallbackAndRunAll => {
                self.add_callback();
                self.runtime.run_all();
            }
            RunAll => self.runtime.run_all(),
            CallbackByView => self.add_callback_by_view(),
            CallbackByViewAndRunAll => {
                self.add_callback_by_view();
                self.runtime.run_all();
            }
            Poll => self.poll(),
            PollTwice => {
                self.poll();
                self.poll();
            }
            Drop => drop(self.deferred.take()),
            PollAndDrop => {
                self.poll();
                drop(self.deferred.take());
            }
            CancelAndDrop => {
                self.cancel();
                drop(self.deferred.take());
            }
            CallbackPollAndRunAll => {
                self.add_callback();
                self.poll();
                self.runtime.run_all();
            }
        }
        (self.promise, self.deferred)
    }

    fn set_result(&mut self) {
        if let Some(promise) = self.promise.take() {
            // The other side may have cancelled it, or be gone.
            drop(promise.set_result(self.counts.output()));
        }
    }

    fn await_cancelled(&mut self) {
        if let Some(promise) = &mut self.promise {
            let waker = Waker::from(Arc::new(Counting(Arc::clone(&self.counts))));
            let _ = pin!(promise.cancelled()).poll(&mut Context::from_waker(&waker));
        }
    }

    fn cancel(&self) {
        if let Some(deferred) = &self.deferred {
            deferred.cancel();
        }
    }

    fn add_callback(&self) {
        if let Some(deferred) = &self.deferred {
            deferred.add_done_callback(self.counts.typed_callback());
        }
    }

    fn add_callback_by_view(&self) {
        if let Some(view) = &self.view {
            self.counts.add_callback(view);
        }
    }

    fn poll(&mut self) {
        let Some(mut deferred) = self.deferred.take().and_then(Arc::into_inner) else {
            return;
        };
        if !poll(&mut deferred, &self.counts) {
            self.deferred = Some(Arc::new(deferred));
        }
    }
}

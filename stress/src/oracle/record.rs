//! One task, blocking job or promise.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use heist::{TaskError, TaskId, TaskRef, TaskState};

use super::{Callback, PLACE, POLLING, Place, World, lock};

/// What a record is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Task,
    Blocking,
    Promise,
}

/// What is known about one task.
pub(crate) struct Record {
    pub(super) number: u64,
    pub(super) step: u32,
    pub(super) kind: Kind,
    pub(crate) place: Arc<Place>,
    /// A request may be caught, or taken back.
    pub(super) may_go_on: bool,
    pub(super) drop_panics: bool,
    pub(super) id: OnceLock<TaskId>,
    pub(super) task: OnceLock<TaskRef>,
    pub(super) polling: AtomicBool,
    pub(super) begun: AtomicBool,
    /// The body has given its value, which the caller of the poll may not take.
    pub(super) returned: AtomicBool,
    pub(super) panicked: AtomicBool,
    pub(super) resumed: AtomicBool,
    /// When it first caught a request.
    pub(super) caught_at: OnceLock<Instant>,
    /// The task that runs its group: it is cancelled with that.
    pub(super) above: OnceLock<Arc<Record>>,
    /// Somebody is about to ask it to cancel, or has.
    pub(super) asked: AtomicBool,
    /// The same without a reason.
    pub(super) asked_plainly: AtomicBool,
    /// How often, at most.
    pub(super) requests: AtomicU32,
    /// How many requests were caught and not passed on.
    pub(super) catches: AtomicU32,
    /// A request was accepted that cannot be caught or taken back.
    pub(super) stopped: AtomicBool,
    /// Somebody is about to abort it, or has.
    pub(super) abort_asked: AtomicBool,
    /// The payload of its panic was given away.
    pub(super) payload_taken: AtomicBool,
    pub(super) polls_after: AtomicU32,
    pub(super) dropped: AtomicBool,
    pub(super) looked_at: AtomicBool,
    /// Of a promise: whether its value was taken when it was kept.
    pub(super) kept: OnceLock<bool>,
    /// Of a promise: somebody saw its value, somebody saw that it was cancelled.
    pub(super) seen: [AtomicBool; 2],
    pub(super) in_callback: AtomicBool,
    pub(super) callbacks: Mutex<Vec<Arc<Callback>>>,
}

impl std::fmt::Debug for Record {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "<{:?} of step {}: id {:?}, begun {:?}, returned {:?}, panicked {:?}, asked {:?}, dropped {:?}, task {:?}>",
            self.kind,
            self.step,
            self.id.get(),
            self.begun,
            self.returned,
            self.panicked,
            self.asked,
            self.dropped,
            self.task.get(),
        )
    }
}

/// How a task ended, for whoever looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Value(u64),
    Cancelled,
    Gone,
    Panicked,
    Other,
}

impl Outcome {
    pub(crate) fn of(result: Result<u64, &TaskError>) -> Self {
        match result {
            Ok(value) => Self::Value(value),
            Err(error) if error.is_runtime_gone() => Self::Gone,
            Err(error) if error.is_cancelled() => Self::Cancelled,
            Err(error) if error.is_panic() => Self::Panicked,
            Err(_) => Self::Other,
        }
    }
}

impl Record {
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    pub(crate) fn step(&self) -> u32 {
        self.step
    }

    pub(crate) fn note(&self, task: TaskRef, keep: bool) {
        let _ = self.id.set(task.id());
        if keep {
            let _ = self.task.set(task);
        }
    }

    pub(crate) fn is_dropped(&self) -> bool {
        self.dropped.load(SeqCst)
    }

    pub(crate) fn is_asked(&self) -> bool {
        self.asked.load(SeqCst)
    }

    pub(crate) fn may_be_cancelled(&self) -> bool {
        self.is_asked() || self.place.is_closing() || self.may_be_cancelled_from_above()
    }

    fn may_be_cancelled_from_above(&self) -> bool {
        let above = self.above.get();
        above.is_some_and(|above| above.may_be_cancelled())
    }

    pub(crate) fn is_below(&self, above: &Arc<Self>) {
        let _ = self.above.set(Arc::clone(above));
    }

    pub(crate) fn id(&self) -> Option<TaskId> {
        self.id.get().copied()
    }

    pub(crate) fn has_begun(&self) -> bool {
        self.begun.load(SeqCst)
    }

    /// It has come to an end that may be a failure.
    pub(crate) fn has_failed(&self) -> bool {
        self.returned.load(SeqCst) || self.panicked.load(SeqCst)
    }

    pub(crate) fn ask(&self) {
        self.asked_plainly.store(true, SeqCst);
        self.ask_with_reason();
    }

    /// The same with a reason, which is told unless somebody asks without one.
    pub(crate) fn ask_with_reason(&self) {
        self.requests.fetch_add(1, SeqCst);
        self.asked.store(true, SeqCst);
    }

    pub(crate) fn check_reason(&self, world: &World, error: &TaskError) {
        let other = self.asked_plainly.load(SeqCst) || self.place.is_closing();
        if error.is_cancelled() && !other && error.reason().is_none() {
            world.fail(&format!("cancelled without the reason: {self:?}"));
        }
    }

    /// The same, past all catchers.
    pub(crate) fn ask_abort(&self) {
        self.abort_asked.store(true, SeqCst);
        self.ask();
    }

    /// It is dropped inside of a catcher, which was not told of any request.
    pub(crate) fn on_missed_catch(&self, world: &World) {
        // Inside of a poll its own code drops it: a timeout that is over, or a panic. And who passes a request on inside of a timeout
        // that is over at this moment goes on for the rest of that poll.
        if POLLING.get() || self.abort_asked.load(SeqCst) || self.resumed.load(SeqCst) {
            return;
        }
        if !self.place.is_grace_over() {
            world.fail(&format!(
                "dropped in a catcher that was not asked, before the grace was over: {self:?}"
            ));
        }
    }

    /// A request was accepted.
    pub(crate) fn accepted(&self, abort: bool) {
        if abort || !self.may_go_on {
            self.stopped.store(true, SeqCst);
        }
    }

    pub(crate) fn on_catch(&self, world: &World) {
        let _ = self.caught_at.set(Instant::now());
        if !self.may_be_cancelled() {
            world.fail(&format!("caught what nobody asked for: {self:?}"));
        }
        let catches = self.catches.fetch_add(1, SeqCst) + 1;
        // The end of a runtime is one more, and so is what comes from above.
        let other = [self.place.is_closing(), self.may_be_cancelled_from_above()];
        let most = other.map(u32::from).iter().sum::<u32>() + self.requests.load(SeqCst);
        if catches > most {
            world.fail(&format!(
                "{catches} catchers took {most} requests: {self:?}"
            ));
        }
    }

    /// It caught the request of its runtime's shutdown before the grace was over, and has not come to an end of its own.
    pub(super) fn was_given_up(&self, deadline: Instant) -> bool {
        let ends = [&self.returned, &self.panicked, &self.resumed, &self.asked];
        self.caught_at
            .get()
            .is_some_and(|caught| *caught < deadline)
            && !ends.iter().any(|end| end.load(SeqCst))
    }

    /// The request goes on to the next catcher, or ends the task.
    pub(crate) fn on_resume(&self) {
        self.catches.fetch_sub(1, SeqCst);
        self.may_be_over();
    }

    /// What it gives in this poll may not count.
    pub(crate) fn may_be_over(&self) {
        self.resumed.store(true, SeqCst);
    }

    pub(crate) fn on_return(&self) {
        self.returned.store(true, SeqCst);
    }

    pub(crate) fn on_panic(&self) {
        self.panicked.store(true, SeqCst);
    }

    pub(crate) fn on_poll(&self, world: &World) {
        world.beat();
        let fail = |what: &str| world.fail(&format!("{what}: {self:?}"));
        self.begun.store(true, SeqCst);
        if self.polling.swap(true, SeqCst) {
            fail("polled twice at once");
        }
        if POLLING.replace(true) {
            fail("polled inside of the poll of another task");
        }
        if self.returned.load(SeqCst) || self.panicked.load(SeqCst) {
            fail("polled after it was over");
        }
        if self.is_dropped() {
            fail("polled after it was dropped");
        }
        if PLACE.get() != self.place.key {
            fail("polled on a thread that is not of its runtime");
        }
        if self.stopped.load(SeqCst) && self.polls_after.fetch_add(1, SeqCst) > 0 {
            fail("polled again after a request that nobody can catch");
        }
        self.check_open(world, "polled");
    }

    pub(crate) fn after_poll(&self) {
        POLLING.set(false);
        self.polling.store(false, SeqCst);
    }

    pub(super) fn check_open(&self, world: &World, what: &str) {
        if self.place.is_closed() {
            let reported = lock(&self.place.reported);
            let listed = self.id.get().is_some_and(|id| reported.contains(id));
            drop(reported);
            if !listed {
                world.fail(&format!("{what} after the shutdown returned: {self:?}"));
            }
        }
    }

    /// The closure of a blocking job begins.
    pub(crate) fn on_call(&self, world: &World) {
        world.beat();
        if self.begun.swap(true, SeqCst) {
            world.fail(&format!("called twice: {self:?}"));
        }
        if PLACE.get() != self.place.key {
            world.fail(&format!(
                "called on a thread that is not of its runtime: {self:?}"
            ));
        }
        self.check_open(world, "called");
    }

    pub(crate) fn on_drop(&self, world: &World) {
        world.beat();
        if self.polling.load(SeqCst) {
            world.fail(&format!("dropped while it is polled: {self:?}"));
        }
        if PLACE.get() != self.place.key && !self.place.is_closing() {
            world.fail(&format!(
                "dropped on a thread that is not of its runtime: {self:?}"
            ));
        }
        let ended = self.returned.load(SeqCst) || self.panicked.load(SeqCst);
        if !ended && !self.may_be_cancelled() {
            world.fail(&format!(
                "dropped before its end, and nobody asked: {self:?}"
            ));
        }
        if self.dropped.swap(true, SeqCst) {
            world.fail(&format!("dropped twice: {self:?}"));
        }
    }

    /// Somebody has its result, and is about to look.
    pub(crate) fn on_look(&self) {
        self.looked_at.store(true, SeqCst);
    }

    /// Somebody was given the payload of the panic that ended it.
    pub(crate) fn on_payload(&self, world: &World) {
        if self.payload_taken.swap(true, SeqCst) {
            world.fail(&format!("two were given the payload of {self:?}"));
        }
    }

    /// Whether somebody was, or is just about to be.
    pub(crate) fn is_payload_taken(&self) -> bool {
        let begun = Instant::now();
        while !self.payload_taken.load(SeqCst) && begun.elapsed() < Duration::from_secs(2) {
            std::thread::yield_now();
        }
        self.payload_taken.load(SeqCst)
    }

    /// The payload of the panic that ended it goes: where nobody has looked, the runtime has told of it before.
    pub(super) fn on_payload_drop(&self, world: &World) {
        let told = self.id.get().map(|id| {
            let exceptions = lock(&self.place.exceptions);
            exceptions.get(&id.get()).copied().unwrap_or(0)
        });
        if told == Some(0) && !self.looked_at.load(SeqCst) && !self.place.is_closing() {
            world.fail(&format!("nobody was told of the panic of {self:?}"));
        }
    }

    /// Somebody who awaits it, since `begun`, has this.
    pub(crate) fn on_result(&self, world: &World, begun: u64, outcome: Outcome) {
        self.check(world, outcome, "awaited");
        for callback in lock(&self.callbacks).iter() {
            let early = callback.added.load(SeqCst);
            let late = callback.ended.load(SeqCst) == 0 && !callback.removed.load(SeqCst);
            if early != 0 && early < begun && late {
                world.fail(&format!(
                    "an await of {self:?} went on before {callback:?} had run"
                ));
            }
        }
    }

    pub(super) fn check(&self, world: &World, outcome: Outcome, how: &str) {
        let returned = self.returned.load(SeqCst);
        let panicked = self.panicked.load(SeqCst);
        let right = match outcome {
            Outcome::Value(value) => returned && !panicked && value == self.number,
            Outcome::Panicked => panicked || (returned && self.drop_panics),
            Outcome::Gone => self.place.is_closing() && !self.begun.load(SeqCst),
            Outcome::Cancelled => {
                let given = returned && !self.resumed.load(SeqCst);
                self.may_be_cancelled() && (!given || self.kind == Kind::Promise) && !panicked
            }
            Outcome::Other => false,
        };
        if !right {
            world.fail(&format!("{how} as {outcome:?}: {self:?}"));
        }
        let cancelled = !matches!(outcome, Outcome::Value(_));
        self.seen[usize::from(cancelled)].store(true, SeqCst);
        if !self.is_dropped() {
            world.fail(&format!("{how} before its future was dropped: {self:?}"));
        }
    }

    /// The promise was kept; `taken`: somebody was there to take the value.
    pub(crate) fn on_keep(&self, taken: bool) {
        let _ = self.kept.set(taken);
    }

    /// A promise whose value was taken gives it to all who look, another one to nobody.
    pub(super) fn check_promise(&self, world: &World) {
        let [value, cancelled] = [&self.seen[0], &self.seen[1]].map(|seen| seen.load(SeqCst));
        let taken = self.kept.get() == Some(&true);
        if self.kind == Kind::Promise && (taken && cancelled || !taken && value) {
            world.fail(&format!(
                "kept {:?}, seen {:?}: {self:?}",
                self.kept, self.seen
            ));
        }
    }

    /// What its state must be in the end.
    pub(super) fn check_state(&self, world: &World) {
        let Some(task) = self.task.get() else { return };
        let returned = self.returned.load(SeqCst);
        let resumed = self.resumed.load(SeqCst);
        let right = match task.state() {
            TaskState::Pending => false,
            TaskState::Finished => returned && !self.drop_panics,
            TaskState::Panicked => self.panicked.load(SeqCst) || (returned && self.drop_panics),
            TaskState::Cancelled => (!returned || resumed) && self.may_be_cancelled(),
        };
        if !right && self.kind != Kind::Promise {
            world.fail(&format!("a wrong state in the end: {self:?}"));
        }
    }

    pub(super) fn is_settled(&self) -> bool {
        let over = |callback: &Arc<Callback>| {
            callback.removed.load(SeqCst) || callback.ended.load(SeqCst) != 0
        };
        self.is_dropped()
            && lock(&self.callbacks).iter().all(over)
            && self.task.get().is_none_or(TaskRef::is_finished)
    }

    pub(super) fn check_callbacks(&self, world: &World) {
        let mut ran = lock(&self.callbacks).clone();
        ran.retain(|callback| !callback.removed.load(SeqCst));
        ran.sort_by_key(|callback| callback.began.load(SeqCst));
        for (index, later) in ran.iter().enumerate() {
            for earlier in &ran[..index] {
                if earlier.ended.load(SeqCst) > later.began.load(SeqCst) {
                    world.fail(&format!("{earlier:?} and {later:?} overlap: {self:?}"));
                }
                if later.added.load(SeqCst) < earlier.adding {
                    world.fail(&format!(
                        "{earlier:?} ran before {later:?}, which was added first: {self:?}"
                    ));
                }
            }
        }
    }
}

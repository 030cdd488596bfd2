#![doc = include_str!("transitions.md")]
//!
//! # Orderings
//! Every event is one read-modify-write of one word, AcqRel: what a thread did before its event is visible to
//! whoever sees the event's flag in a later one. That hands over, by tag:
//! * `task-word`: the body and the output, from each thread that ran or woke the task to the next one that
//!   polls, reads or drops them; and, through the counts, everything to the thread that frees the cell.
//!
//! [`Task`]: crate::task::Task
//! [`TaskRef`]: crate::task::TaskRef
//! [`Promise`]: crate::future::Promise
//! [`Deferred`]: crate::future::Deferred

use crate::sync::{AcqRel, Acquire, AtomicU64, Relaxed, mutated, note};
use std::fmt;

mod snapshot;

pub(crate) use snapshot::Snapshot;

/// How a task ended, or that it has not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TaskState {
    /// Not over yet: waiting, queued or running.
    Pending,
    /// The body returned.
    Finished,
    /// Cancelled or aborted.
    Cancelled,
    /// The body panicked.
    Panicked,
}

impl fmt::Display for TaskState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pending => "pending",
            Self::Finished => "finished",
            Self::Cancelled => "cancelled",
            Self::Panicked => "panicked",
        })
    }
}

/// What the thread that caused an event owes.
#[must_use = "an action that is dropped is a lost wakeup or a leak"]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Nothing,
    Free,
    Enqueue,
    Requeue,
    Idle,
    Poll,
    DropBody,
    Drain,
    WakeJoin,
    DropOutput,
    DropWaker,
    WakePromise,
    Claimed,
    Requested,
    Refused,
    Taken,
    Early,
    Append,
    Late,
    Pending,
    Take,
    Gone,
    Ready,
    Retry,
}

/// The events, in the order of the table.
impl Snapshot {
    #[inline]
    const fn on_wake(self) -> (Self, Action) {
        if self.is_over() || self.has(Self::SCHED) {
            return (self, Action::Nothing);
        }
        // While it runs, whoever polls requeues.
        let action = if self.has(Self::RUN) {
            Action::Nothing
        } else {
            Action::Enqueue
        };
        (self.with(Self::SCHED), action)
    }

    #[inline]
    const fn on_wake_by_value(self) -> (Self, Action) {
        if self.is_over() {
            return self.less(Self::ONE_WAKER).or_free();
        }
        let (next, action) = self.on_wake();
        (next.less(Self::ONE_WAKER), action)
    }

    /// Whether an undelivered request ends the body here, rather than in a catcher.
    const fn is_deliverable(self) -> bool {
        self.has(Self::CANCEL) && (self.has(Self::ABORT) || !self.has(Self::CATCH))
    }

    #[inline]
    const fn on_start(self) -> (Self, Action) {
        debug_assert!(self.has(Self::SCHED) && !self.has(Self::RUN | Self::OVER));
        // Takes `sched` away and sets `run`, in one instruction.
        let next = Self(self.0 ^ (Self::SCHED | Self::RUN));
        // The rare case apart, so that the other one is short.
        let deliver = self.has(Self::CANCEL) && self.is_deliverable();
        (
            next,
            if deliver {
                Action::DropBody
            } else {
                Action::Poll
            },
        )
    }

    #[inline]
    const fn on_pending(self) -> (Self, Action) {
        debug_assert!(self.has(Self::RUN) && !self.is_over());
        if self.has(Self::CANCEL) {
            return self.on_pending_cancelled();
        }
        self.parked()
    }

    #[cold]
    #[inline(never)]
    const fn on_pending_cancelled(self) -> (Self, Action) {
        if self.is_deliverable() {
            (self, Action::DropBody)
        } else {
            self.parked()
        }
    }

    #[inline]
    const fn parked(self) -> (Self, Action) {
        let action = if self.has(Self::SCHED) {
            Action::Requeue
        } else {
            Action::Idle
        };
        (Self(self.0 ^ Self::RUN), action)
    }

    #[inline]
    const fn on_finish(self, outcome: TaskState) -> (Self, Action) {
        debug_assert!(self.has(Self::RUN) && !self.is_over());
        let next = self.ended(outcome);
        if self.has(Self::CALLBACKS) {
            (next.with(Self::HOLD), Action::Drain)
        } else if !self.has(Self::JOIN) {
            (next.with(Self::TAKEN), Action::DropOutput)
        } else if self.has(Self::JOIN_WAKER) {
            (next.with(Self::WAKING), Action::WakeJoin)
        } else {
            (next.without(Self::ALIVE), Action::Nothing)
        }
    }

    #[inline]
    const fn on_finish_bare(self, outcome: TaskState) -> (Self, Action) {
        debug_assert!(self.has(Self::RUN) && !self.has(Self::OVER | Self::JOIN));
        let next = self.ended(outcome).with(Self::TAKEN);
        if self.has(Self::CALLBACKS) {
            (next.with(Self::HOLD), Action::Drain)
        } else {
            next.without(Self::ALIVE).or_free()
        }
    }

    const fn on_complete(self, outcome: TaskState) -> (Self, Action) {
        let (next, action) = self.on_finish(outcome);
        match action {
            Action::Drain => (next.with_handle(), action),
            // A promise lets go by itself, later.
            Action::Nothing => (next.with(self.0 & Self::ALIVE), action),
            _ => (next, action),
        }
    }

    const fn on_drained(self) -> (Self, Action) {
        debug_assert!(self.is_over() && self.has(Self::HOLD));
        let next = self.without(Self::HOLD);
        if !self.has(Self::JOIN) && !self.has(Self::TAKEN) {
            (next.with(Self::TAKEN), Action::DropOutput)
        } else if self.has(Self::JOIN) && self.has(Self::JOIN_WAKER) && !self.has(Self::WAKING) {
            (next.with(Self::WAKING), Action::WakeJoin)
        } else {
            (next, Action::Nothing)
        }
    }

    const fn on_release(self) -> (Self, Action) {
        debug_assert!(self.is_over() && self.has(Self::ALIVE));
        self.without(Self::ALIVE).or_free()
    }

    const fn on_release_woken(self) -> (Self, Action) {
        debug_assert!(self.has(Self::WAKING) && self.has(Self::ALIVE));
        self.without(Self::ALIVE | Self::WAKING | Self::JOIN_WAKER)
            .or_free()
    }

    const fn on_woken(self) -> (Self, Action) {
        debug_assert!(self.has(Self::WAKING));
        (
            self.without(Self::WAKING | Self::JOIN_WAKER),
            Action::Nothing,
        )
    }

    const fn on_claim(self) -> (Self, Action) {
        if self.has(Self::OVER | Self::RUN) {
            return (self, Action::Refused);
        }
        (self.with(Self::RUN), Action::Claimed)
    }

    const fn on_unclaim(self) -> (Self, Action) {
        debug_assert!(self.has(Self::RUN));
        (self.without(Self::RUN), Action::Nothing)
    }

    const fn on_request(self, flags: u64) -> (Self, Action) {
        if self.is_over() {
            return (self, Action::Refused);
        }
        let action = if self.has(Self::RUN | Self::SCHED) {
            Action::Requested
        } else {
            Action::Enqueue
        };
        (self.with(Self::SCHED | flags), action)
    }

    const fn on_cancel(self) -> (Self, Action) {
        self.on_request(Self::CANCEL)
    }

    const fn on_abort(self) -> (Self, Action) {
        self.on_request(Self::CANCEL | Self::ABORT)
    }

    const fn on_cancel_blocking(self) -> (Self, Action) {
        if self.has(Self::RUN) {
            return (self, Action::Refused);
        }
        self.on_abort()
    }

    const fn on_deliver(self) -> (Self, Action) {
        if self.has(Self::CANCEL) && !self.has(Self::ABORT) {
            (self.without(Self::CANCEL), Action::Taken)
        } else {
            (self, Action::Nothing)
        }
    }

    const fn on_uncancel(self) -> (Self, Action) {
        (self.on_deliver().0, Action::Nothing)
    }

    const fn on_catch(self) -> (Self, Action) {
        if self.is_over() {
            return (self, Action::Refused);
        }
        (self.with(Self::CATCH), Action::Nothing)
    }

    const fn on_watch(self) -> (Self, Action) {
        if self.is_over() {
            return (self, Action::Refused);
        }
        (self.with(Self::WATCH), Action::Nothing)
    }

    const fn on_uncatch(self) -> (Self, Action) {
        (self.without(Self::CATCH), Action::Nothing)
    }

    const fn on_add_callback(self) -> (Self, Action) {
        if !self.is_over() {
            (self.with(Self::CALLBACKS), Action::Early)
        } else if self.has(Self::HOLD) {
            (self, Action::Append)
        } else {
            (self.with(Self::HOLD).with_handle(), Action::Late)
        }
    }

    const fn on_add_early_callback(self) -> (Self, Action) {
        if self.is_over() {
            return (self, Action::Refused);
        }
        (self.with(Self::CALLBACKS), Action::Early)
    }

    #[inline]
    const fn on_take(self) -> (Self, Action) {
        debug_assert!(self.has(Self::JOIN));
        if !self.is_ready() {
            (self, Action::Pending)
        } else if self.has(Self::TAKEN) {
            (self, Action::Gone)
        } else {
            (self.with(Self::TAKEN), Action::Take)
        }
    }

    const fn on_set_join_waker(self) -> (Self, Action) {
        debug_assert!(self.has(Self::JOIN) && !self.has(Self::JOIN_WAKER));
        if self.is_ready() {
            return (self, Action::Ready);
        }
        (self.with(Self::JOIN_WAKER), Action::Pending)
    }

    const fn on_unset_join_waker(self) -> (Self, Action) {
        debug_assert!(self.has(Self::JOIN));
        if self.is_ready() {
            (self, Action::Ready)
        } else if self.has(Self::WAKING) {
            (self, Action::Retry)
        } else {
            (self.without(Self::JOIN_WAKER), Action::Pending)
        }
    }

    #[inline]
    const fn on_drop_join(self) -> (Self, Action) {
        debug_assert!(self.has(Self::JOIN));
        if self.is_ready() {
            return if self.has(Self::TAKEN) {
                self.without(Self::JOIN).or_free()
            } else {
                (self.with(Self::TAKEN), Action::DropOutput)
            };
        }
        if self.has(Self::JOIN_WAKER) && !self.has(Self::WAKING) {
            (self.without(Self::JOIN_WAKER), Action::DropWaker)
        } else if self.has(Self::WATCH) {
            let without = self.without(Self::WATCH | Self::JOIN);
            (without.with_handle(), Action::WakePromise)
        } else {
            (self.without(Self::JOIN), Action::Nothing)
        }
    }

    #[inline]
    const fn on_drop_waker(self) -> (Self, Action) {
        self.less(Self::ONE_WAKER).or_free()
    }

    const fn on_drop_handle(self) -> (Self, Action) {
        self.less(Self::ONE_HANDLE).or_free()
    }
}

/// The word itself.
pub(crate) struct State(AtomicU64);

macro_rules! events {
    ($($(#[$meta:meta])* $name:ident => $transition:ident;)*) => {
        impl State {
            $($(#[$meta])* #[inline] pub(crate) fn $name(&self) -> Action {
                self.step(stringify!($name), Snapshot::$transition).1
            })*
        }
    };
}

events! {
    wake => on_wake;
    wake_by_value => on_wake_by_value;
    start => on_start;
    pending => on_pending;
    drained => on_drained;
    release => on_release;
    release_woken => on_release_woken;
    woken => on_woken;
    claim => on_claim;
    unclaim => on_unclaim;
    deliver => on_deliver;
    uncancel => on_uncancel;
    catch => on_catch;
    watch => on_watch;
    uncatch => on_uncatch;
    add_callback => on_add_callback;
    add_early_callback => on_add_early_callback;
    take => on_take;
    set_join_waker => on_set_join_waker;
    unset_join_waker => on_unset_join_waker;
    drop_join => on_drop_join;
    drop_waker => on_drop_waker;
    drop_handle => on_drop_handle;
}

impl State {
    pub(crate) fn new(initial: Snapshot) -> Self {
        Self(AtomicU64::new(initial.0))
    }

    #[inline]
    pub(crate) fn load(&self) -> Snapshot {
        // ORDERING(task-word): Acquire, so that a reader that sees `over` also sees the stored output.
        Snapshot(self.0.load(Acquire))
    }

    /// The body ended; its output is stored.
    #[inline]
    pub(crate) fn finish(&self, outcome: TaskState) -> Action {
        self.step("finish", |seen| seen.on_finish(outcome)).1
    }

    /// The body ended; nobody wants its output, which is gone.
    #[inline]
    pub(crate) fn finish_bare(&self, outcome: TaskState) -> Action {
        self.step("finish_bare", |seen| seen.on_finish_bare(outcome))
            .1
    }

    /// A promise is over. Also tells what the word was before.
    pub(crate) fn complete(&self, outcome: TaskState) -> (Snapshot, Action) {
        self.step("complete", |seen| seen.on_complete(outcome))
    }

    /// Somebody asks for the end.
    pub(crate) fn request(&self, abort: bool, blocking: bool) -> Action {
        match (blocking, abort) {
            (true, _) => self.step("cancel_blocking", Snapshot::on_cancel_blocking),
            (false, true) => self.step("abort", Snapshot::on_abort),
            (false, false) => self.step("cancel", Snapshot::on_cancel),
        }
        .1
    }

    #[inline]
    pub(crate) fn add_waker(&self) {
        self.add(Snapshot::ONE_WAKER);
    }

    #[inline]
    pub(crate) fn add_handle(&self) {
        self.add(Snapshot::ONE_HANDLE);
    }

    #[inline]
    fn add(&self, one: u64) {
        // Relaxed is right: who clones already has access, and the count orders nothing.
        let seen = Snapshot(self.0.fetch_add(one, Relaxed));
        if seen.has(Snapshot::FULL) {
            self.saturate(one);
        }
    }

    /// Stops counting for ever. The count that was just added goes back, so that it never overflows.
    #[cold]
    fn saturate(&self, one: u64) {
        self.0.fetch_or(Snapshot::SATURATED, Relaxed);
        self.0.fetch_sub(one, Relaxed);
    }

    /// The only read-modify-write loop here. It writes even when nothing changes: a wake must
    /// synchronise with the poll that it causes. Models are told which event it was.
    #[inline(always)]
    fn step(
        &self,
        event: &'static str,
        transition: impl Fn(Snapshot) -> (Snapshot, Action),
    ) -> (Snapshot, Action) {
        note(event);
        // ORDERING(task-word): a guess; the exchange decides.
        let mut seen = Snapshot(self.0.load(Relaxed));
        // ORDERING(task-word): Release hands over what this thread wrote, Acquire takes what the last one wrote.
        let success = if mutated("task-word-relaxed") {
            Relaxed
        } else {
            AcqRel
        };
        loop {
            let (next, action) = transition(seen);
            match self
                .0
                .compare_exchange_weak(seen.0, next.0, success, Relaxed)
            {
                Ok(_) => return (seen, action),
                Err(actual) => seen = Snapshot(actual),
            }
        }
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.load().fmt(f)
    }
}

#[cfg(test)]
mod tests;

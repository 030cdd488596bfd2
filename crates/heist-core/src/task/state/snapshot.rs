//! The bits of the task word, and questions to them. What they mean is said in the table.

use super::{Action, TaskState};
use std::fmt;

/// One value read from a [`State`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Snapshot(pub(super) u64);

macro_rules! flags {
    ($($name:ident = $bit:literal, $text:literal;)*) => {
        impl Snapshot {
            $(pub(crate) const $name: u64 = 1 << $bit;)*
            const NAMES: &'static [(&'static str, u64)] = &[$(($text, Self::$name)),*];
        }
    };
}

flags! {
    SCHED = 0, "sched";
    RUN = 1, "run";
    FINISHED = 2, "finished";
    CANCELLED = 3, "cancelled";
    HOLD = 4, "hold";
    CALLBACKS = 5, "callbacks";
    JOIN = 6, "join";
    JOIN_WAKER = 7, "join_waker";
    WAKING = 8, "waking";
    TAKEN = 9, "taken";
    ALIVE = 10, "alive";
    CANCEL = 11, "cancel";
    ABORT = 12, "abort";
    CATCH = 13, "catch";
    WATCH = 14, "watch";
    SATURATED = 15, "saturated";
}

impl Snapshot {
    /// Both bits together say `panicked`.
    pub(super) const OVER: u64 = Self::FINISHED | Self::CANCELLED;
    /// What ends when the task is over.
    pub(super) const LIFE: u64 = Self::RUN
        | Self::SCHED
        | Self::CALLBACKS
        | Self::CANCEL
        | Self::ABORT
        | Self::CATCH
        | Self::WATCH;
    pub(super) const ONE_WAKER: u64 = 1 << 16;
    pub(super) const ONE_HANDLE: u64 = 1 << 40;
    pub(super) const COUNT: u64 = (1 << 24) - 1;
    /// The top bit of each count: reached by nobody who does not leak on purpose.
    pub(super) const FULL: u64 = (Self::ONE_WAKER | Self::ONE_HANDLE) << 23;

    /// A task that is queued, with its handle.
    pub(crate) const SPAWNED: Self = Self(Self::SCHED | Self::JOIN | Self::ALIVE);
    /// A promise and its deferred side.
    pub(crate) const PROMISED: Self = Self(Self::JOIN | Self::ALIVE);
    /// A task for a runtime that is gone: over from the start.
    pub(crate) const GONE: Self = Self(Self::JOIN | Self::CANCELLED);

    /// Any of `flags`.
    #[inline]
    pub(crate) const fn has(self, flags: u64) -> bool {
        self.0 & flags != 0
    }

    #[inline]
    pub(super) const fn with(self, flags: u64) -> Self {
        Self(self.0 | flags)
    }

    #[inline]
    pub(super) const fn without(self, flags: u64) -> Self {
        Self(self.0 & !flags)
    }

    #[inline]
    pub(crate) const fn is_over(self) -> bool {
        self.has(Self::OVER)
    }

    /// Over, and nobody holds the output back.
    pub(crate) const fn is_ready(self) -> bool {
        self.is_over() && !self.has(Self::HOLD)
    }

    pub(crate) const fn outcome(self) -> TaskState {
        match (self.has(Self::FINISHED), self.has(Self::CANCELLED)) {
            (false, false) => TaskState::Pending,
            (true, false) => TaskState::Finished,
            (false, true) => TaskState::Cancelled,
            (true, true) => TaskState::Panicked,
        }
    }

    pub(crate) const fn wakers(self) -> u64 {
        self.0 >> 16 & Self::COUNT
    }

    pub(crate) const fn handles(self) -> u64 {
        (self.0 >> 40 & Self::COUNT) + self.has(Self::JOIN) as u64
    }

    /// One waker or handle less, unless the counts stick.
    #[inline]
    pub(super) const fn less(self, one: u64) -> Self {
        if self.has(Self::SATURATED) {
            self
        } else {
            Self(self.0 - one)
        }
    }

    /// One handle more, unless the counts stick.
    #[inline]
    pub(super) const fn with_handle(self) -> Self {
        if self.has(Self::SATURATED) {
            self
        } else {
            Self(self.0 + Self::ONE_HANDLE)
        }
    }

    #[inline]
    pub(super) const fn is_unowned(self) -> bool {
        self.0 >> 16 == 0 && !self.has(Self::ALIVE | Self::JOIN | Self::SATURATED)
    }

    #[inline]
    pub(super) const fn or_free(self) -> (Self, Action) {
        (
            self,
            if self.is_unowned() {
                Action::Free
            } else {
                Action::Nothing
            },
        )
    }

    /// The end of a life, with the outcome decided.
    pub(super) const fn ended(self, outcome: TaskState) -> Self {
        self.without(Self::LIFE).with(match outcome {
            TaskState::Finished => Self::FINISHED,
            TaskState::Cancelled => Self::CANCELLED,
            TaskState::Panicked => Self::FINISHED | Self::CANCELLED,
            TaskState::Pending => panic!("a task cannot end as pending"),
        })
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = Self::NAMES
            .iter()
            .filter(|(_, flag)| self.has(*flag))
            .map(|(name, _)| *name);
        write!(f, "{} wakers, {} handles", self.wakers(), self.handles())?;
        names.into_iter().try_for_each(|name| write!(f, ", {name}"))
    }
}

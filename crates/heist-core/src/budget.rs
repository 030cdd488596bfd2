//! The cooperative budget: how often leaf futures may be ready in one poll of a task.
//!
//! A task that is always ready would keep its worker for ever. Each leaf future takes one unit before it
//! does its work; when none is left it wakes the task and is pending, so that others get their turn.

use crate::context::FRAME;
use crate::sync::BUDGET;
use std::task::{Context, Poll};

/// One unit of the budget, given back unless [`made_progress`](Proceed::made_progress) is called.
#[derive(Debug)]
#[must_use = "the unit is given back when this is dropped"]
pub struct Proceed {
    refund: bool,
}

impl Proceed {
    /// Keeps the unit: the leaf future did something.
    pub fn made_progress(mut self) {
        self.refund = false;
    }
}

impl Drop for Proceed {
    fn drop(&mut self) {
        if self.refund {
            FRAME.with(|frame| frame.budget.set(frame.budget.get().saturating_add(1)));
        }
    }
}

/// Takes one unit, or wakes the task and is pending. Outside of a task there is no budget.
#[inline]
pub fn poll_proceed(cx: &mut Context<'_>) -> Poll<Proceed> {
    FRAME.with(|frame| {
        if frame.task.get().is_null() {
            return Poll::Ready(Proceed { refund: false });
        }
        match frame.budget.get().checked_sub(1) {
            Some(left) => {
                frame.budget.set(left);
                Poll::Ready(Proceed { refund: true })
            }
            None => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        }
    })
}

/// Runs `f` outside of the budget: it only looks, and is not called again for what it misses.
pub fn unbudgeted<R>(f: impl FnOnce() -> R) -> R {
    struct Restore(u8);

    impl Drop for Restore {
        fn drop(&mut self) {
            FRAME.with(|frame| frame.budget.set(self.0));
        }
    }

    let _restore = Restore(FRAME.with(|frame| frame.budget.replace(FULL)));
    f()
}

/// What a poll begins with.
pub(crate) const FULL: u8 = BUDGET;

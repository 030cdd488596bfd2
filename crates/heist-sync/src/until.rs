//! Waiting until something is so: what events and joins are made of.

use std::future::Future;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use heist_core::budget::poll_proceed;

use crate::sync::mutated;
use crate::wait_list::{Left, Locked, Primitive, Wait, WaitList};

/// What can be so. Whoever makes it so serves everybody in line, after that and under the lock.
pub(crate) trait Condition {
    /// Takes what was done before it became so.
    fn holds(&self) -> bool;
}

impl<C: Condition> Primitive for C {
    type Guarded = ();
    type Value = ();

    fn on_leave(_: &mut Locked<'_, Self>, _: Left<()>) -> Option<()> {
        None
    }
}

impl<C: Condition> WaitList<C> {
    /// Ready when it is so, or was when somebody served those in line.
    pub(crate) fn until(&self) -> Until<'_, C> {
        Until { wait: self.wait() }
    }
}

pin_project_lite::pin_project! {
    pub(crate) struct Until<'a, C: Condition> {
        #[pin]
        wait: Wait<'a, C>,
    }
}

impl<C: Condition> Future for Until<'_, C> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let wait = self.project().wait;
        let proceed = ready!(poll_proceed(cx));
        if !(wait.is_new() && wait.list.open.holds()) {
            let _ = ready!(wait.poll(cx, |line| {
                if line.open.holds() && !mutated("condition-unlooked") {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            }));
        }
        proceed.made_progress();
        Poll::Ready(())
    }
}

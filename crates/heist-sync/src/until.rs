//! Waiting until something is so: what events, joins and news are made of.

use std::future::{Future, poll_fn};
use std::ops::ControlFlow;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use heist_core::budget::{Proceed, poll_proceed};

use crate::sync::mutated;
use crate::wait_list::{Ends, Left, Locked, Primitive, Wait, WaitList};

/// What can be so, and can be read without the lock. Whoever makes it so serves everybody in line, after that and under the lock.
pub(crate) trait Condition: Sized {
    /// What the lock guards besides.
    type Guarded;
}

impl<C: Condition> Primitive for C {
    type Guarded = C::Guarded;
    type Value = ();
    type Lines = [Ends<()>; 1];

    fn on_leave(_: &mut Locked<'_, Self>, _: Left<()>) -> Option<()> {
        None
    }
}

impl<C: Condition> WaitList<C> {
    /// Ready when it `holds`, or did when somebody served those in line. `holds` takes what was done before it became so.
    pub(crate) fn until<H: Fn(&C) -> bool>(&self, holds: H) -> Until<'_, C, H> {
        Until {
            wait: self.wait(),
            holds,
        }
    }
}

pin_project_lite::pin_project! {
    pub(crate) struct Until<'a, C: Condition, H> {
        #[pin]
        wait: Wait<'a, C>,
        holds: H,
    }
}

impl<C: Condition, H: Fn(&C) -> bool> Future for Until<'_, C, H> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        let proceed = ready!(poll_proceed(cx));
        let list = this.wait.list;
        if !(this.wait.is_new() && (this.holds)(&list.open)) {
            let _ = ready!(this.wait.poll(cx, |line| {
                if (this.holds)(line.open) && !mutated("condition-unlooked") {
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

/// Takes part in the budget, for what does not wait.
pub(crate) async fn proceed() {
    poll_fn(|cx| poll_proceed(cx).map(Proceed::made_progress)).await;
}

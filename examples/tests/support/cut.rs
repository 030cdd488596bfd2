//! Futures that are cut short where they wait.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use heist::task::{catch_cancel, current, yield_now};

/// How a future ends before its time.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cut {
    Dropped,
    /// Its task is asked to end, and what it does then is awaited.
    Cancelled,
}

impl Cut {
    pub(crate) const ALL: [Self; 2] = [Self::Dropped, Self::Cancelled];

    /// Polls a future so many times at most, and cuts it short then. `None`: that came first.
    pub(crate) async fn after<T>(self, polls: usize, future: impl Future<Output = T>) -> Option<T> {
        match self {
            Self::Dropped => dropped_after(polls, future).await,
            Self::Cancelled => cancelled_after(polls, future).await,
        }
    }
}

async fn dropped_after<T>(polls: usize, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    let mut left = polls;
    poll_fn(|cx| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        future.as_mut().poll(cx).map(Some)
    })
    .await
}

async fn cancelled_after<T>(polls: usize, future: impl Future<Output = T>) -> Option<T> {
    let mut left = Some(polls);
    let outcome = {
        let mut future = pin!(future);
        let counted = poll_fn(|cx| {
            // Before its first poll, or while it waits.
            ask_to_end_at_0(&mut left);
            let poll = future.as_mut().poll(cx);
            if poll.is_pending() {
                left = left.map(|left| left - 1);
                ask_to_end_at_0(&mut left);
            }
            poll
        });
        catch_cancel(counted).await
    };
    if left.is_none() {
        current().uncancel();
    }
    // What it gives after the request does not count.
    outcome.ok().filter(|_| left.is_some())
}

/// Once.
fn ask_to_end_at_0(left: &mut Option<usize>) {
    if *left == Some(0) {
        *left = None;
        current().cancel();
    }
}

/// Lets others run until something is so. The test's own limit bounds it.
pub(crate) async fn until(mut condition: impl FnMut() -> bool) {
    while !condition() {
        yield_now().await;
    }
}

//! One deadline: a [`Timer`] with a budget.

use crate::timer::{Due, Timer};
use heist_core::budget::poll_proceed;
use pin_project_lite::pin_project;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

/// Waits until `duration` from now is over, and never less.
///
/// On the runtime of whoever polls it first, else on the process-wide one. The time runs from this call, not from the first poll. A duration that leads further than an [`Instant`] can say
/// never ends.
///
/// # Panics
///
/// The future panics when it is polled and its runtime is gone, or there is none.
///
/// # Cancel safety
///
/// Safe: dropping it takes the timer back.
///
/// # Counterpart
///
/// `asyncio.sleep`. It has no `result`; `sleep(Duration::ZERO)` is ready at once, use `yield_now` to let others run.
#[doc(alias = "asyncio.sleep")]
pub fn sleep(duration: Duration) -> Sleep {
    Sleep::at(Due::after(duration))
}

/// Waits until `deadline`. One that is over already is ready at once.
///
/// # Panics
///
/// The future panics when it is polled and its runtime is gone, or there is none.
///
/// # Cancel safety
///
/// Safe: dropping it takes the timer back.
///
/// # Counterpart
///
/// `tokio::time::sleep_until`.
pub fn sleep_until(deadline: Instant) -> Sleep {
    Sleep {
        timer: Timer::new(Due::At(deadline)),
    }
}

pin_project! {
    /// Waits until an instant. Made by [`sleep`] and [`sleep_until`].
    ///
    /// Ready for ever once the instant is over, until it is [`reset`](Sleep::reset).
    #[derive(Debug)]
    #[must_use = "futures do nothing unless they are polled"]
    pub struct Sleep {
        #[pin]
        timer: Timer,
    }
}

impl Sleep {
    pub(super) fn at(due: Due) -> Self {
        Self {
            timer: Timer::new(due),
        }
    }

    /// When it ends; `None` if never.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        match self.timer.deadline() {
            Due::Now(at) | Due::Ahead(at) | Due::At(at) => Some(at),
            Due::Never => None,
        }
    }

    /// Whether it is known to be over. It may be over and not known to be: the clock is not read.
    #[must_use]
    pub fn is_elapsed(&self) -> bool {
        self.timer.is_elapsed()
    }

    /// Sets another deadline, later or earlier.
    ///
    /// A task that waits for it keeps waiting, now for this one, and need not poll again.
    pub fn reset(self: Pin<&mut Self>, deadline: Instant) {
        self.reset_to(Due::At(deadline));
    }

    pub(super) fn reset_to(self: Pin<&mut Self>, due: Due) {
        self.project().timer.reset(due);
    }

    /// As [`Future::poll`], but outside of the budget: for who has paid already.
    #[track_caller]
    pub(super) fn poll_elapsed(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.project().timer.poll(cx)
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let coop = ready!(poll_proceed(cx));
        ready!(self.poll_elapsed(cx));
        coop.made_progress();
        Poll::Ready(())
    }
}

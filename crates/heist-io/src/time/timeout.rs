//! A future and a limit.

use super::sleep::{Sleep, sleep_until};
use crate::timer::Due;
use pin_project_lite::pin_project;
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// Waits for `future`, for at most `limit`.
///
/// Polls `future` before the clock, so one that is ready always wins; a limit of zero polls it once. The clock is read when the
/// first poll has not given a result: `limit` counts from then.
///
/// # Errors
///
/// [`Elapsed`] after `limit`; `future` has been dropped by then.
///
/// # Panics
///
/// The future panics when it has to wait and its runtime is gone, or there is none.
///
/// # Cancel safety
///
/// As safe as `future`: nothing is kept across calls.
///
/// # Counterpart
///
/// `asyncio.timeout`, `asyncio.wait_for`. The future is dropped, which runs none of its code but destructors; asyncio throws a
/// `CancelledError` into it and waits for what it does then.
#[doc(alias = "wait_for")]
pub fn timeout<F: IntoFuture>(limit: Duration, future: F) -> Timeout<F::IntoFuture> {
    Timeout {
        future: Some(future.into_future()),
        after: Some(limit),
        limit: Sleep::at(Due::Never),
    }
}

/// Waits for `future`, until `deadline` at most. Otherwise as [`timeout`].
///
/// # Errors
///
/// [`Elapsed`] after `deadline`; `future` has been dropped by then.
///
/// # Panics
///
/// The future panics when it has to wait and its runtime is gone, or there is none.
///
/// # Cancel safety
///
/// As safe as `future`: nothing is kept across calls.
///
/// # Counterpart
///
/// `asyncio.timeout_at`, for one future instead of a block.
pub fn timeout_at<F: IntoFuture>(deadline: Instant, future: F) -> Timeout<F::IntoFuture> {
    Timeout {
        future: Some(future.into_future()),
        after: None,
        limit: sleep_until(deadline),
    }
}

pin_project! {
    /// A future with a limit. Made by [`timeout`] and [`timeout_at`].
    #[derive(Debug)]
    #[must_use = "futures do nothing unless they are polled"]
    pub struct Timeout<F> {
        // `None` once it is over.
        #[pin]
        future: Option<F>,
        // The limit, until the clock has been read.
        after: Option<Duration>,
        #[pin]
        limit: Sleep,
    }
}

impl<F> Timeout<F> {
    /// The future, until the timeout is over.
    pub fn get_ref(&self) -> Option<&F> {
        self.future.as_ref()
    }

    /// The future, without its limit, until the timeout is over.
    pub fn into_inner(self) -> Option<F> {
        self.future
    }

    /// The future, pinned, until the timeout is over.
    pub fn get_pin_mut(self: Pin<&mut Self>) -> Option<Pin<&mut F>> {
        self.project().future.as_pin_mut()
    }
}

impl<F: Future> Future for Timeout<F> {
    type Output = Result<F::Output, Elapsed>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let Some(future) = this.future.as_mut().as_pin_mut() else {
            panic!("a `Timeout` was polled after it was over");
        };
        if let Poll::Ready(output) = future.poll(cx) {
            this.future.set(None);
            return Poll::Ready(Ok(output));
        }
        if let Some(after) = this.after.take() {
            this.limit.as_mut().reset_to(Due::after(after));
        }
        // Not through the budget: a future that uses it up in each poll must not outlive its limit.
        if this.limit.poll_elapsed(cx).is_pending() {
            return Poll::Pending;
        }
        this.future.set(None);
        Poll::Ready(Err(Elapsed::NEW))
    }
}

/// The limit of a [`Timeout`] was over first.
///
/// # Counterpart
///
/// `TimeoutError`.
#[doc(alias = "TimeoutError")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed {
    _private: (),
}

impl Elapsed {
    pub(super) const NEW: Self = Self { _private: () };
}

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the time limit was over before the future was ready")
    }
}

impl Error for Elapsed {}

impl From<Elapsed> for io::Error {
    fn from(elapsed: Elapsed) -> Self {
        io::Error::new(io::ErrorKind::TimedOut, elapsed)
    }
}

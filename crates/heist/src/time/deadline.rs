//! A time by which something has to be done, together with all that it spawns.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use heist_core::variables;
use heist_io::time::{Elapsed, Sleep, sleep_until, timeout_at};

use crate::task::try_current;

crate::context_var! {
    /// `None`: there was one, and it does not count here.
    static DEADLINE: Option<Instant>;
}

/// Waits for `future`, until `at` at most, and has all tasks that are spawned meanwhile asked to end by then, too.
///
/// Those tasks inherit the deadline, and what they spawn does: when it is over, each that is not is [cancelled](crate::Task::cancel), and may
/// catch that and clean up. They inherit the earlier one of nested deadlines. Blocking closures can only [ask](deadline).
///
/// # Errors
///
/// [`Elapsed`] when the time is over; `future` has been dropped by then.
///
/// # Panics
///
/// When it has to wait and its runtime is gone, or there is none.
///
/// # Cancel safety
///
/// As safe as `future`.
///
/// # Examples
///
/// ```
/// use heist::time::{Duration, now, sleep, with_deadline};
///
/// # fn main() -> Result<(), heist::TaskError> {
/// heist::run(async {
///     let at = now() + Duration::from_millis(10);
///     let mut child = None;
///     let late = with_deadline(at, async {
///         child = Some(heist::spawn(sleep(Duration::from_secs(60))));
///         sleep(Duration::from_secs(60)).await;
///     });
///     assert!(late.await.is_err());
///     if let Some(child) = child {
///         assert!(child.await.unwrap_err().is_cancelled());
///     }
///     Ok(())
/// })
/// # }
/// ```
///
/// # Counterpart
///
/// Trio's `fail_at`, Go's `context.WithDeadline`. `asyncio.timeout_at` reaches no other task.
#[doc(alias = "fail_at")]
#[doc(alias = "WithDeadline")]
pub async fn with_deadline<F: IntoFuture>(at: Instant, future: F) -> Result<F::Output, Elapsed> {
    let earlier = deadline().map_or(at, |outer| outer.min(at));
    // That the outer one is over, says the outer one.
    timeout_at(at, DEADLINE.scope(Some(earlier), future.into_future())).await
}

/// By when what runs here has to be done, if anybody has [said](with_deadline) so. To tell a server, say.
///
/// # Counterpart
///
/// Trio's `current_effective_deadline`, `ctx.Deadline()` of Go.
#[doc(alias = "current_effective_deadline")]
pub fn deadline() -> Option<Instant> {
    DEADLINE.get().flatten()
}

/// Runs `future` as if there were no deadline: clean-up that has to be done also when it is over.
pub(crate) fn without_deadline<F: Future>(future: F) -> impl Future<Output = F::Output> {
    // Where nothing is set there is nothing to hide.
    let hidden = variables::any() && deadline().is_some();
    async move {
        if hidden {
            DEADLINE.scope(None, future).await
        } else {
            future.await
        }
    }
}

pin_project_lite::pin_project! {
    /// The future of a task that has inherited a deadline: it cancels its task when that is over.
    pub(crate) struct Due<F> {
        #[pin]
        future: F,
        // `None`: it is over.
        #[pin]
        deadline: Option<Sleep>,
    }
}

impl<F> Due<F> {
    pub(crate) fn at(deadline: Instant, future: F) -> Self {
        Self {
            future,
            deadline: Some(sleep_until(deadline)),
        }
    }
}

impl<F: Future> Future for Due<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let mut this = self.project();
        if let Poll::Ready(output) = this.future.poll(cx) {
            return Poll::Ready(output);
        }
        if let Some(deadline) = this.deadline.as_mut().as_pin_mut() {
            ready!(deadline.poll(cx));
            this.deadline.set(None);
            if let Some(task) = try_current() {
                task.cancel_with("its deadline is over");
            }
        }
        Poll::Pending
    }
}

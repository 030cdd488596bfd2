//! A callback again and again.

use std::fmt;
use std::future::{Future, poll_fn};
use std::task::Poll;
use std::time::Duration;

use heist_core::error::{ExceptionKind, drop_quietly, guarded};
use heist_core::task::Meta;
use heist_io::time::{MissedTickBehavior, interval};

use crate::runtime::Handle;
use crate::task::Task;

/// Calls something again and again, and never while the last call is not over: a tick that finds it busy is left out.
///
/// A panic of the callback goes to the exception handler, and the next tick comes.
///
/// # Examples
///
/// ```
/// use std::sync::atomic::{AtomicU32, Ordering};
/// use std::time::Duration;
/// use heist::time::{PeriodicCallback, sleep};
///
/// static CALLS: AtomicU32 = AtomicU32::new(0);
///
/// heist::run(async {
///     let beat = PeriodicCallback::new(Duration::from_millis(1), || async {
///         CALLS.fetch_add(1, Ordering::Relaxed);
///     })
///     .start();
///     while CALLS.load(Ordering::Relaxed) < 3 {
///         sleep(Duration::from_millis(1)).await;
///     }
///     beat.cancel();
/// });
/// ```
///
/// # Counterpart
///
/// `PeriodicCallback` of tornado: its `stop` is [`Task::cancel`], its `is_running` is `!is_finished()`.
pub struct PeriodicCallback<C> {
    period: Duration,
    jitter: Duration,
    callback: C,
}

impl<C, F> PeriodicCallback<C>
where
    C: FnMut() -> F + Send + 'static,
    F: Future<Output = ()> + Send,
{
    /// One that is called every `period`, the first time one period after it is started.
    ///
    /// # Panics
    ///
    /// If `period` is zero.
    #[track_caller]
    #[must_use = "it is not started yet"]
    pub fn new(period: Duration, callback: C) -> Self {
        assert!(
            !period.is_zero(),
            "the period of a periodic callback must not be zero"
        );
        Self {
            period,
            jitter: Duration::ZERO,
            callback,
        }
    }

    /// Has each call come later than its time, by a random time of `most` at most. The beat stays.
    ///
    /// # Panics
    ///
    /// If that is a whole period or more.
    #[track_caller]
    #[must_use = "it is not started yet"]
    pub fn jitter(mut self, most: Duration) -> Self {
        assert!(
            most < self.period,
            "the jitter of a periodic callback must be shorter than its period"
        );
        self.jitter = most;
        self
    }

    /// Starts it as a task, on the runtime that this thread is in, else on the process-wide one. It ends when that task is
    /// cancelled: not in the middle of a call that catches it.
    ///
    /// # Panics
    ///
    /// If the process-wide runtime is needed and cannot be started.
    #[track_caller]
    #[must_use = "whoever drops the handle cannot stop it"]
    pub fn start(mut self) -> Task<()> {
        let ticking = async move {
            let mut ticks = interval(self.period);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
            ticks.set_jitter(self.jitter);
            ticks.tick().await;
            loop {
                ticks.tick().await;
                // One that panics is over.
                if let Some(call) = guarded(ExceptionKind::Callback, None, &mut self.callback) {
                    let mut call = Box::pin(call);
                    poll_fn(|cx| {
                        let poll = || call.as_mut().poll(cx);
                        guarded(ExceptionKind::Callback, None, poll).unwrap_or(Poll::Ready(()))
                    })
                    .await;
                    drop_quietly(call);
                }
            }
        };
        Handle::current_or_global().spawn_with(ticking, Meta::caller())
    }
}

impl<C> fmt::Debug for PeriodicCallback<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeriodicCallback")
            .field("period", &self.period)
            .field("jitter", &self.jitter)
            .finish_non_exhaustive()
    }
}

//! A time limit that can be moved while it runs.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Poll, Waker};

use std::time::{Duration, Instant};

use super::sleep::Sleep;
use super::timeout::Elapsed;
use crate::context;
use crate::sync::Mutex;
use crate::timer::Due;

/// Runs `body` with a limit that it, or whoever it hands the [`Limit`] to, can look at and move.
///
/// `body` is polled before the clock: one that is ready always wins.
///
/// # Errors
///
/// [`Elapsed`] when the limit is over; the body has been dropped by then. If limits nest, only that which was over first says so.
///
/// # Panics
///
/// When it has to wait and its runtime is gone, or there is none.
///
/// # Cancel safety
///
/// As safe as the body.
///
/// # Counterpart
///
/// `async with asyncio.timeout(delay) as limit`, whose body is cancelled and may catch that; here it is dropped.
#[doc(alias = "asyncio.timeout")]
pub async fn timeout_with<T>(
    limit: Duration,
    body: impl AsyncFnOnce(Limit) -> T,
) -> Result<T, Elapsed> {
    let shared = Limit(Arc::new(Mutex::new(State {
        when: context::now().checked_add(limit),
        moved: false,
        expired: false,
        waker: None,
    })));
    let mut sleep = pin!(Sleep::at(due(shared.when())));
    let mut body = pin!(body(shared.clone()));
    let over = poll_fn(|cx| {
        if let Poll::Ready(output) = body.as_mut().poll(cx) {
            return Poll::Ready(Some(output));
        }
        loop {
            if let Some(when) = shared.moved(cx.waker()) {
                sleep.as_mut().reset_to(due(when));
            }
            if sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            if shared.expire() {
                return Poll::Ready(None);
            }
        }
    });
    over.await.ok_or(Elapsed::NEW)
}

fn due(when: Option<Instant>) -> Due {
    when.map_or(Due::Never, Due::At)
}

/// The limit of a [`timeout_with`]. A clone is the same limit.
///
/// # Counterpart
///
/// `asyncio.Timeout`.
#[derive(Clone)]
pub struct Limit(Arc<Mutex<State>>);

struct State {
    /// `None`: never.
    when: Option<Instant>,
    /// Whoever waits does not know yet.
    moved: bool,
    expired: bool,
    waker: Option<Waker>,
}

impl Limit {
    /// When it is over. `None`: never.
    pub fn when(&self) -> Option<Instant> {
        self.0.lock().when
    }

    /// Sets another time; `None`: never. One that is past is over at once. When the limit is over it changes nothing.
    pub fn reschedule(&self, when: Option<Instant>) {
        let mut state = self.0.lock();
        state.when = when;
        state.moved = true;
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Whether it was over before the body.
    pub fn expired(&self) -> bool {
        self.0.lock().expired
    }

    /// The new time, if it was moved. Else `waker` is woken when it is.
    fn moved(&self, waker: &Waker) -> Option<Option<Instant>> {
        let new = waker.clone();
        let mut state = self.0.lock();
        let old = state.waker.replace(new);
        let moved = std::mem::take(&mut state.moved).then_some(state.when);
        drop(state);
        drop(old);
        moved
    }

    /// It is over, unless it was moved meanwhile.
    fn expire(&self) -> bool {
        let mut state = self.0.lock();
        state.expired = !state.moved;
        state.expired
    }
}

impl fmt::Debug for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.0.lock();
        let (when, expired) = (state.when, state.expired);
        drop(state);
        f.debug_struct("Limit")
            .field("when", &when)
            .field("expired", &expired)
            .finish()
    }
}

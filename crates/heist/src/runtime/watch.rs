//! Futures that wait for the driver and are no tasks: timed callbacks, and Ctrl-C under `run`.
//!
//! Such a future is polled by its own waker, on the thread that wakes it, which is mostly the one in the driver. It must
//! therefore be short, and has no place in the list of tasks. What wakes in an order is polled in that order, which tasks
//! on several workers would not be: this is why `call_at` keeps the order of equal times.
//!
//! ```text
//!            wake, `start`                    pending, not woken meanwhile
//!   WAITING ───────────────► POLLED by one thread ──────────────────────► WAITING
//!                             │  ▲ woken meanwhile: once more
//!                             │  └─────┘
//!                             └──ready, runtime closed, or `end`──► OVER, the future is dropped
//! ```
//!
//! # Invariants
//!
//! * WATCH-1: the future is in the state while nobody polls it, and with the one who polls otherwise.
//! * WATCH-2: no lock is held while it is polled or dropped.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use heist_core::schedule::leave_frame;

use super::Handle;
use crate::shim::{Mutex, PoisonError};

type Body = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A future that is polled by its waker.
pub(crate) struct Watch {
    handle: Handle,
    state: Mutex<State>,
}

struct State {
    /// `None`: it is being polled, or it is over.
    body: Option<Body>,
    /// Whether it was woken while it was polled.
    woken: bool,
    over: bool,
}

impl Watch {
    /// Polls `future` for the first time, here, on the runtime of `handle`.
    pub(crate) fn start(
        handle: &Handle,
        future: impl Future<Output = ()> + Send + 'static,
    ) -> Arc<Self> {
        let body: Body = Box::pin(future);
        let state = State {
            body: Some(body),
            woken: false,
            over: false,
        };
        let watch = Arc::new(Self {
            handle: handle.clone(),
            state: Mutex::new(state),
        });
        let _entered = handle.enter();
        watch.look();
        watch
    }

    /// Drops the future, now or when its poll returns. The waker that it left somewhere goes with it.
    pub(crate) fn end(&self) {
        let body = self.with(|state| {
            state.over = true;
            state.body.take()
        });
        drop(body);
    }

    fn look(self: &Arc<Self>) {
        let taken = self.with(|state| {
            state.woken = true;
            state.body.take()
        });
        // As if outside of a task: its budget has nothing to do with this.
        leave_frame(|| {
            let mut body = taken;
            while let Some(mut polled) = body.take() {
                self.with(|state| state.woken = false);
                let over = self.poll(&mut polled);
                body = self.settle(polled, over);
            }
        });
    }

    /// Whether it is over.
    fn poll(self: &Arc<Self>, body: &mut Body) -> bool {
        let waker = Waker::from(Arc::clone(self));
        // A shutdown wakes all sleeps, and polling them after that is an error.
        if self.handle.is_closed() {
            return true;
        }
        let poll = || body.as_mut().poll(&mut Context::from_waker(&waker)) == Poll::Ready(());
        match catch_unwind(AssertUnwindSafe(poll)) {
            Ok(over) => over,
            // It ended since the look.
            Err(_) if self.handle.is_closed() => true,
            Err(payload) => resume_unwind(payload),
        }
    }

    /// After a poll: drops the future, puts it back, or returns it to be polled again.
    fn settle(&self, body: Body, over: bool) -> Option<Body> {
        let (again, dropped) = self.with(|state| {
            state.over |= over;
            if state.over {
                (None, Some(body))
            } else if state.woken {
                (Some(body), None)
            } else {
                state.body = Some(body);
                (None, None)
            }
        });
        drop(dropped);
        again
    }

    fn with<R>(&self, f: impl FnOnce(&mut State) -> R) -> R {
        f(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Wake for Watch {
    fn wake(self: Arc<Self>) {
        self.look();
    }
}

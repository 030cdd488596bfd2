//! `run_forever` and `stop` of a scheduler with workers.
//!
//! A stop is kept until somebody takes it, so that one that comes before `run_forever` is not lost. It ends one of them.

use std::task::{Context, Poll, Waker};

use heist_core::error::{ExceptionKind, guarded};

use crate::sync::Mutex;

pub(crate) struct Stop(Mutex<State>);

struct State {
    stopped: bool,
    waiting: Vec<Waker>,
}

impl Stop {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(State {
            stopped: false,
            waiting: Vec::new(),
        }))
    }

    /// Stops one of those who wait, or who will.
    pub(crate) fn stop(&self) {
        let mut state = self.0.lock();
        state.stopped = true;
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        // Whoever is not the first finds nothing, and waits again.
        for waker in waiting {
            guarded(ExceptionKind::Waker, None, || waker.wake());
        }
    }

    /// Waits until stopped.
    pub(crate) fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        // Wakers are the user's: they are cloned and dropped without the lock.
        let waker = cx.waker().clone();
        let mut state = self.0.lock();
        if std::mem::take(&mut state.stopped) {
            return Poll::Ready(());
        }
        let known = state.waiting.iter().any(|other| other.will_wake(&waker));
        let spare = if known {
            Some(waker)
        } else {
            state.waiting.push(waker);
            None
        };
        drop(state);
        drop(spare);
        Poll::Pending
    }
}

//! `run_forever` and `stop` of a scheduler with workers.
//!
//! A stop is kept until somebody takes it, so that one that comes before `run_forever` is not lost. It ends one of them.

use std::task::{Context, Poll, Waker};

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
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Waits until stopped.
    pub(crate) fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.0.lock();
        if std::mem::take(&mut state.stopped) {
            return Poll::Ready(());
        }
        if !state
            .waiting
            .iter()
            .any(|other| other.will_wake(cx.waker()))
        {
            state.waiting.push(cx.waker().clone());
        }
        Poll::Pending
    }
}

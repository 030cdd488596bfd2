//! `run_forever` and `stop` of a runtime with workers.
//!
//! A stop is kept until somebody takes it, so that one that comes before `run_forever` is not lost. A handle that was found
//! through a thread's context knows its scheduler only; the flag is found in a table, by the address of the platform, which
//! each runtime has its own of.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::Handle;
use crate::shim::{Mutex, PoisonError, process_wide};

/// The stop of one runtime.
#[derive(Debug, Default)]
pub(super) struct Stop {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    stopped: bool,
    waker: Option<Waker>,
}

impl Stop {
    /// Stops whoever waits, or will.
    fn stop(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.stopped = true;
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Waits until stopped.
    pub(super) fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if std::mem::take(&mut state.stopped) {
            return Poll::Ready(());
        }
        state.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

process_wide! {
    /// The stops of all runtimes that live.
    static STOPS: Mutex<Vec<(usize, Arc<Stop>)>> = Mutex::new(Vec::new());
}

pub(super) fn register(handle: &Handle) -> Arc<Stop> {
    let stop = Arc::new(Stop::default());
    STOPS
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push((handle.key(), Arc::clone(&stop)));
    stop
}

pub(super) fn deregister(handle: &Handle) {
    let key = handle.key();
    STOPS
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .retain(|(other, _)| *other != key);
}

/// Stops the runtime of this handle, if it lives.
pub(super) fn stop(handle: &Handle) {
    let key = handle.key();
    let stops = STOPS.lock().unwrap_or_else(PoisonError::into_inner);
    let stop = stops
        .iter()
        .find(|(other, _)| *other == key)
        .map(|(_, stop)| Arc::clone(stop));
    drop(stops);
    if let Some(stop) = stop {
        stop.stop();
    }
}

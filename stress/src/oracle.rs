//! What must hold for every program, written down while it runs and checked then and at its end.
//!
//! Each task, blocking job and promise has a [`Record`]. Times are numbers of one counter: of two stamps the smaller one was taken
//! first.

mod callback;
mod place;
mod record;
mod watch;
mod world;

pub(crate) use callback::{Callback, Habits, Registered, add_callback};
pub(crate) use place::Place;
pub(crate) use record::{Kind, Outcome, Record};
pub(crate) use watch::{FAIL, fail_anywhere, watch_panics, watchdog};
pub(crate) use world::World;

use std::cell::Cell;
use std::panic::panic_any;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The payload of every panic that a program asks for.
pub(crate) struct Expected;

/// Panics as a program asks for.
pub(crate) fn panic_as_asked() -> ! {
    panic_any(Expected)
}

/// How long nothing may happen.
const QUIET: Duration = Duration::from_secs(20);

static CLOCK: AtomicU64 = AtomicU64::new(1);

/// The next stamp.
pub(crate) fn stamp() -> u64 {
    CLOCK.fetch_add(1, SeqCst)
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

thread_local! {
    /// The runtime that this thread belongs to.
    static PLACE: Cell<u64> = const { Cell::new(0) };
    /// Whether this thread is inside of the poll of a task.
    static POLLING: Cell<bool> = const { Cell::new(false) };
    /// The record to which this thread is adding a callback.
    static ADDING: Cell<u64> = const { Cell::new(0) };
}

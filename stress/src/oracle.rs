//! What must hold for every program, written down while it runs and checked then and at its end.
//!
//! Each task, blocking job and promise has a [`Record`]. Times are numbers of one counter: of two stamps the smaller one was taken
//! first.

mod callback;
mod place;
mod record;
mod stalls;
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
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::guard::Guard;

/// The payload of every panic that a program asks for.
pub(crate) struct Expected(
    #[expect(dead_code, reason = "it is there to be dropped")] Option<Thrown>,
);

/// A payload that must be dropped exactly once, and of which somebody must know.
struct Thrown {
    #[expect(dead_code, reason = "it is there to be dropped")]
    guard: Guard,
    world: Arc<World>,
    record: Arc<Record>,
}

impl Expected {
    /// The panic that ends the task of `record`.
    pub(crate) fn ends(world: &Arc<World>, record: &Arc<Record>) -> Self {
        Self(Some(Thrown {
            guard: world.guard(),
            world: Arc::clone(world),
            record: Arc::clone(record),
        }))
    }
}

impl Drop for Thrown {
    fn drop(&mut self) {
        self.record.on_payload_drop(&self.world);
    }
}

/// Panics as a program asks for.
pub(crate) fn panic_as_asked() -> ! {
    panic_any(Expected(None))
}

/// The payload of a panic of which no task is the owner.
pub(crate) fn unowned() -> Expected {
    Expected(None)
}

/// How long nothing may happen, in seconds.
static QUIET: AtomicU64 = AtomicU64::new(20);

fn quiet() -> Duration {
    Duration::from_secs(QUIET.load(SeqCst))
}

/// How long threads wait at most for what must come: less than it takes to see that nothing happens.
pub(crate) fn patience() -> Duration {
    quiet() * 4 / 5
}

/// Candidates of a shrink that hang shall not take long.
pub(crate) fn set_quiet(seconds: u64) {
    QUIET.store(seconds, SeqCst);
}

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

//! A flag to wait for.

use std::fmt;
use std::future::Future;

use crate::blocking;
use crate::sync::{Acquire, AtomicBool, Relaxed, Release, mutated};
use crate::until::Condition;
use crate::wait_list::WaitList;

/// A flag, and those who wait until it is set.
///
/// [`set`](Self::set) lets everybody go on who waits, also if the flag is cleared right after.
///
/// # Counterpart
///
/// `asyncio.Event`.
pub struct Event(WaitList<Flag>);

struct Flag(AtomicBool);

impl Condition for Flag {
    type Guarded = ();
}

impl Flag {
    fn is_set(&self) -> bool {
        // ORDERING(event): takes what was done before it was set.
        self.0.load(Acquire)
    }
}

impl Event {
    /// One that is not set.
    pub fn new() -> Self {
        Self(WaitList::new(Flag(AtomicBool::new(false)), ()))
    }

    /// Sets the flag: everybody who waits goes on, and nobody waits from now on.
    pub fn set(&self) {
        let line = self.0.lock();
        // ORDERING(event): gives what this thread did to whoever finds it set; those in line get it by way of that.
        line.open.0.store(true, Release);
        self.0.serve_all(line);
    }

    /// Takes the flag back: who comes from now on waits.
    pub fn clear(&self) {
        if mutated("clear-unlocked") {
            return self.0.open.0.store(false, Relaxed);
        }
        // The lock, because whoever clears it looks next whether there is anything to wait for: either what was done before the last
        // `set` is seen there, or that `set` comes after this. A store alone might come after both.
        self.0.lock().open.0.store(false, Relaxed);
    }

    /// Whether it is set.
    pub fn is_set(&self) -> bool {
        self.0.open.is_set()
    }

    /// Waits until it is set.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    pub fn wait(&self) -> impl Future<Output = ()> + Send + '_ {
        self.0.until(Flag::is_set)
    }

    /// [`wait`](Self::wait) from code that is not async: blocks the thread. Another one serves in the place of a worker.
    ///
    /// # Panics
    ///
    /// As `heist::block_on`, if it has to wait.
    pub fn wait_blocking(&self) {
        blocking::wait(self.wait());
    }
}

impl Default for Event {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waiting = self.0.lock().waiting();
        f.debug_struct("Event")
            .field("set", &self.is_set())
            .field("waiting", &waiting)
            .finish()
    }
}

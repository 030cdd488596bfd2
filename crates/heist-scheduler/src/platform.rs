//! The platform that a runtime has unless it is given another one: the machine's clock, `thread::park`, and seeds
//! from the keys of the standard library's hasher.
//!
//! # Orderings
//! A parker's token carries what its writer wrote before `unpark` to the `park` that takes it. Tag: `parker-token`.
//! The token is the parker's own: the one of `std::thread::park` may be taken by user code that parks on this thread.

use std::time::Instant;

use heist_core::platform::{Parker, Platform};

use crate::sync::{self, Acquire, Arc, AtomicBool, AtomicU64, Relaxed, Release, thread};

/// Clock, parkers and randomness of the machine.
#[derive(Debug)]
pub struct SystemPlatform {
    key: u64,
    handed_out: AtomicU64,
}

impl SystemPlatform {
    /// A platform whose seeds differ from run to run.
    #[must_use]
    pub fn new() -> Self {
        Self::with_key(sync::random_key())
    }

    /// A platform that hands out the same seeds in each run.
    #[must_use]
    pub fn with_key(key: u64) -> Self {
        Self {
            key,
            handed_out: AtomicU64::new(0),
        }
    }
}

impl Default for SystemPlatform {
    fn default() -> Self {
        Self::new()
    }
}

impl Platform for SystemPlatform {
    fn now(&self) -> Instant {
        sync::now()
    }

    fn parker(&self) -> Arc<dyn Parker> {
        Arc::new(ThreadParker {
            token: AtomicBool::new(false),
            thread: thread::current(),
        })
    }

    fn seed(&self) -> u64 {
        let index = self.handed_out.fetch_add(1, Relaxed); // Only has to differ from call to call.
        self.key
            .wrapping_add(index.wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }
}

#[derive(Debug)]
struct ThreadParker {
    token: AtomicBool,
    thread: thread::Thread,
}

impl ThreadParker {
    fn take_token(&self) -> bool {
        // ORDERING(parker-token): Acquire pairs with the Release in `unpark`.
        self.token.swap(false, Acquire)
    }
}

impl Parker for ThreadParker {
    fn park(&self, deadline: Option<Instant>) {
        if self.take_token() && !sync::mutation("parker-token-ignored") {
            return;
        }
        let limit = deadline.map(|at| at.saturating_duration_since(sync::now()));
        if limit.is_none_or(|limit| !limit.is_zero()) {
            sync::park(limit);
        }
        self.take_token();
    }

    fn unpark(&self) {
        // ORDERING(parker-token): Release pairs with the Acquire in `take_token`.
        if !self.token.swap(true, Release) {
            self.thread.unpark();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_token_is_taken_once() {
        let parker = SystemPlatform::with_key(1).parker();
        parker.unpark();
        parker.unpark();
        parker.park(None);
        let before = Instant::now();
        parker.park(Some(before + Duration::from_millis(5)));
        // Either it timed out, or it returned early because of the thread's own token. Both are allowed; a hang is not.
        parker.park(Some(before));
    }

    #[test]
    fn seeds_differ_and_repeat() {
        let (a, b) = (SystemPlatform::with_key(7), SystemPlatform::with_key(7));
        let seeds: Vec<u64> = (0..4).map(|_| a.seed()).collect();
        assert_eq!(seeds, (0..4).map(|_| b.seed()).collect::<Vec<_>>());
        assert_ne!(seeds[0], seeds[1]);
    }
}

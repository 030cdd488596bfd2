//! The word by which a sleep in the poller is announced, and ended from elsewhere.
//!
//! ```text
//!            begin_sleep                 unpark
//!   EMPTY ────────────────► SLEEPING ─────────────► NOTIFIED      unpark of SLEEPING: one write to the poller
//!     │ ▲                    │    end_sleep           │           unpark of EMPTY:    no write
//!     │ └────────────────────┘                        │           unpark of NOTIFIED: nothing
//!     │ unpark                                        │
//!     └──────────► NOTIFIED ──begin_sleep, end_sleep──┴─► EMPTY
//! ```
//! A write that arrives after its notification was taken makes a later sleep return early, once.
//!
//! # Orderings
//! What was done before an `unpark` happens before what is done after the `begin_sleep` or `end_sleep` that takes the notification.
//! Of several notifications each is in the release sequence of the one before. Nothing goes the other way. Tag: `reactor-park`.

use crate::sync::{Acquire, AtomicU32, Relaxed, Release, mutated};

const EMPTY: u32 = 0;
const SLEEPING: u32 = 1;
const NOTIFIED: u32 = 2;

/// The word.
#[derive(Debug)]
pub struct Park(AtomicU32);

impl Park {
    #[expect(clippy::new_without_default, reason = "it is made in one place")]
    pub fn new() -> Self {
        Self(AtomicU32::new(EMPTY))
    }

    /// Announces a sleep. `false` if a notification came first; it is taken.
    pub fn begin_sleep(&self) -> bool {
        // Relaxed: an `unpark` takes nothing from the sleeper, and what it gives is taken below.
        let announced = self
            .0
            .compare_exchange(EMPTY, SLEEPING, Relaxed, Relaxed)
            .is_ok();
        if !announced {
            self.end_sleep();
        }
        announced
    }

    /// Takes the notification, if there is one.
    pub fn end_sleep(&self) {
        // ORDERING(reactor-park): takes what was done before the notification.
        self.0.swap(EMPTY, Acquire);
    }

    /// Lets the sleeper go on, or else the next one not sleep. `true`: somebody sleeps, and the poller has to be woken.
    #[must_use]
    pub fn unpark(&self) -> bool {
        let order = if mutated("park-relaxed") {
            Relaxed
        } else {
            Release
        };
        // ORDERING(reactor-park): gives what this thread did.
        self.0.swap(NOTIFIED, order) == SLEEPING
    }
}

//! Who is inside of the driver.
//!
//! A try-lock without a waiting side. One idle worker holds it while it sleeps in the driver, and a busy worker for
//! the length of one turn that does not wait.
//!
//! # Orderings
//! What a holder did inside of the driver is visible to the next one, and so is how many turns there were. Tag: `driver-role`.

use crate::sync::{Acquire, AtomicUsize, Relaxed, Release, mutation};

/// The right to call `Driver::turn`.
#[derive(Debug)]
pub(crate) struct Role {
    /// Zero, or one more than the index of the worker that is inside.
    holder: AtomicUsize,
    /// Turns that have ended. Written by holders alone.
    turns: AtomicUsize,
}

impl Role {
    pub(crate) fn new() -> Self {
        Self {
            holder: AtomicUsize::new(0),
            turns: AtomicUsize::new(0),
        }
    }

    /// Takes the role unless somebody has it.
    pub(crate) fn try_acquire(&self, index: usize) -> bool {
        // ORDERING(driver-role): Relaxed, a guess that spares the exchange; Acquire pairs with `release`.
        let order = if mutation("role-relaxed") {
            Relaxed
        } else {
            Acquire
        };
        self.holder.load(Relaxed) == 0
            && self
                .holder
                .compare_exchange(0, index + 1, order, Relaxed)
                .is_ok()
    }

    /// Gives it back. Only its holder does.
    pub(crate) fn release(&self) {
        debug_assert!(self.is_held(), "the driver role was released twice");
        self.turns.store(self.turns().wrapping_add(1), Relaxed);
        // ORDERING(driver-role): Release pairs with the Acquire in `try_acquire`.
        self.holder.store(0, Release);
    }

    /// Whether somebody is inside. A guess, unless the caller has fenced.
    pub(crate) fn is_held(&self) -> bool {
        self.holder.load(Relaxed) != 0
    }

    /// How many turns have ended. Tells whether somebody was inside lately.
    pub(crate) fn turns(&self) -> usize {
        self.turns.load(Relaxed)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time() {
        let role = Role::new();
        assert!(role.try_acquire(0));
        assert!(!role.try_acquire(1));
        assert!(role.is_held());
        role.release();
        assert!(!role.is_held());
        assert_eq!(role.turns(), 1);
        assert!(role.try_acquire(7));
    }
}

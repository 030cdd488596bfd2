//! How many workers search and how many sleep, packed in one word.
//!
//! ```text
//! 31        16 15         0
//! | searching |  sleeping  |
//! ```
//! * *sleeping* counts the workers that a wake-up could bring: those in the list of sleepers, and those that are owed
//!   in the place of blocked ones.
//! * *searching* counts the workers that look for work and are promised to find whatever is there.
//!
//! # Invariants
//! * INV-1: *sleeping* equals the length of the list plus the number of owed workers whenever the list is unlocked.
//!   It only changes under that lock.
//! * INV-2: a worker adds itself to *searching* at most once. There are fewer than 2^16 worker slots, so that neither
//!   half overflows into the other.
//!
//! # Orderings
//! All are Relaxed. Whoever reads the word to decide that nobody has to be woken, and whoever changed it before looking
//! at the queues, has a full fence in between (`sleep/README.md`); the word itself carries nothing.

use std::fmt;

use crate::sync::{AtomicU32, Relaxed};

/// The word.
#[derive(Debug)]
pub(crate) struct Idle(AtomicU32);

impl Idle {
    pub(crate) fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    /// What the word says. Callers put a full fence before it where it matters.
    #[inline(always)]
    pub(crate) fn load(&self) -> Snapshot {
        Snapshot(self.0.load(Relaxed))
    }

    /// Changes both halves in one step and returns what was there before.
    pub(crate) fn change(&self, change: Change) -> Snapshot {
        Snapshot(self.0.fetch_add(change.0, Relaxed))
    }
}

/// One value read from [`Idle`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Snapshot(u32);

impl Snapshot {
    pub(crate) const fn searching(self) -> usize {
        (self.0 / ONE_SEARCHING) as usize
    }

    pub(crate) const fn sleeping(self) -> usize {
        (self.0 % ONE_SEARCHING) as usize
    }

    /// Whether new work is a reason to wake somebody: there is somebody, and nobody is looking already.
    #[inline(always)]
    pub(crate) const fn wants_wake(self) -> bool {
        self.0 != 0 && self.0 < ONE_SEARCHING
    }

    /// Whether one more worker may search: at most half of `workers` do, and one always may.
    pub(crate) const fn admits_searcher(self, workers: usize) -> bool {
        2 * self.searching() < workers
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} searching, {} sleeping",
            self.searching(),
            self.sleeping()
        )
    }
}

/// A difference to both halves, to be added with wrap-around.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Change(u32);

impl Change {
    pub(crate) const START_SEARCH: Self = Self(ONE_SEARCHING);
    pub(crate) const STOP_SEARCH: Self = Self(ONE_SEARCHING.wrapping_neg());
    pub(crate) const FALL_ASLEEP: Self = Self(ONE_SLEEPING);
    pub(crate) const GET_UP: Self = Self(ONE_SLEEPING.wrapping_neg());

    /// One change that does both.
    pub(crate) const fn and(self, other: Self) -> Self {
        Self(self.0.wrapping_add(other.0))
    }
}

const ONE_SLEEPING: u32 = 1;
const ONE_SEARCHING: u32 = 1 << 16;

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn word(searching: u32, sleeping: u32) -> Snapshot {
        Snapshot(searching * ONE_SEARCHING + sleeping)
    }

    fn apply(before: Snapshot, change: Change) -> Snapshot {
        Snapshot(before.0.wrapping_add(change.0))
    }

    const CASES: [u32; 5] = [1, 2, 3, 1535, 65_000];

    #[test]
    fn the_halves_do_not_touch() {
        for searching in CASES {
            for sleeping in CASES {
                let before = word(searching, sleeping);
                assert_eq!(
                    (before.searching(), before.sleeping()),
                    (searching as usize, sleeping as usize)
                );
                assert_eq!(
                    apply(before, Change::START_SEARCH),
                    word(searching + 1, sleeping)
                );
                assert_eq!(
                    apply(before, Change::STOP_SEARCH),
                    word(searching - 1, sleeping)
                );
                assert_eq!(
                    apply(before, Change::FALL_ASLEEP),
                    word(searching, sleeping + 1)
                );
                assert_eq!(apply(before, Change::GET_UP), word(searching, sleeping - 1));
                let wake = Change::GET_UP.and(Change::START_SEARCH);
                assert_eq!(apply(before, wake), word(searching + 1, sleeping - 1));
                let give_up = Change::FALL_ASLEEP.and(Change::STOP_SEARCH);
                assert_eq!(apply(before, give_up), word(searching - 1, sleeping + 1));
            }
        }
    }

    #[test]
    fn somebody_is_woken_only_if_nobody_looks() {
        assert!(!word(0, 0).wants_wake());
        assert!(!word(1, 0).wants_wake());
        for sleeping in CASES {
            assert!(word(0, sleeping).wants_wake());
            for searching in CASES {
                assert!(!word(searching, sleeping).wants_wake());
            }
        }
    }

    #[test]
    fn half_of_the_workers_search_at_most() {
        assert!(word(0, 0).admits_searcher(1));
        assert!(!word(1, 0).admits_searcher(1));
        assert!(!word(1, 1).admits_searcher(2));
        assert!(word(1, 1).admits_searcher(3));
        assert!(word(3, 9).admits_searcher(8));
        assert!(!word(4, 9).admits_searcher(8));
    }

    #[test]
    fn a_change_returns_what_was_there() {
        let idle = Idle::new();
        assert_eq!(idle.change(Change::START_SEARCH), word(0, 0));
        assert_eq!(
            idle.change(Change::STOP_SEARCH.and(Change::FALL_ASLEEP)),
            word(1, 0)
        );
        assert_eq!(idle.load(), word(0, 1));
        assert_eq!(format!("{:?}", idle.load()), "0 searching, 1 sleeping");
    }
}

//! The only place that says `cfg(loom)`: what the cache shares between threads comes from here.

#[cfg(not(loom))]
pub(crate) use std::sync::{Mutex, MutexGuard};

#[cfg(loom)]
pub(crate) use loom::sync::{Mutex, MutexGuard};

/// A defect that a model plants, to see that it would be found.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Planted {
    /// What ships.
    #[default]
    Nothing,
    /// Looks for the key and inserts it in two critical sections.
    CheckThenInsert,
    /// A load that is over replaces whatever is there, a newer load too.
    AnyLoad,
}

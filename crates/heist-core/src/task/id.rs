//! Ids of tasks: unique in the process, from blocks per thread, so that a spawn writes no shared line.

use crate::context::FRAME;
use crate::sync::{AtomicU64, Relaxed, process_wide};
use std::fmt;
use std::num::NonZeroU64;

/// Names a task, uniquely in the process. The first task is 1; the numbers are not dense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[doc(alias = "Id")]
pub struct TaskId(NonZeroU64);

impl TaskId {
    pub(crate) fn next() -> Self {
        Self(NonZeroU64::new(next()).unwrap_or(NonZeroU64::MAX))
    }

    /// The number.
    pub fn get(self) -> u64 {
        self.0.get()
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Ids that a thread takes at once.
const BLOCK: u64 = 1024;

process_wide! {
    static NEXT_BLOCK: AtomicU64 = AtomicU64::new(0);
}

/// A number that nobody else in the process gets.
#[inline]
pub(crate) fn next() -> u64 {
    FRAME.with(|frame| {
        let (mut next, mut end) = frame.ids.get();
        if next == end {
            (next, end) = refill();
        }
        frame.ids.set((next + 1, end));
        next
    })
}

#[cold]
fn refill() -> (u64, u64) {
    // Relaxed is right: only the number counts.
    let block = NEXT_BLOCK.fetch_add(1, Relaxed) * BLOCK;
    (block + 1, block + 1 + BLOCK)
}

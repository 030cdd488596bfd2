//! Values whose drops are counted, one by one, without trusting the memory that they are in.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

/// A value that must be dropped exactly once.
#[derive(Debug)]
pub(crate) struct Guard(u64);

/// The name of a guard, to ask whether it has been dropped.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GuardId(u64);

/// The number of a guard, doubled; plus one once it has been dropped. Old entries are overwritten.
static TABLE: [AtomicU64; SIZE] = [const { AtomicU64::new(0) }; SIZE];
static NEXT: AtomicU64 = AtomicU64::new(1);
const SIZE: usize = 1 << 20;

fn entry(number: u64) -> &'static AtomicU64 {
    &TABLE[usize::try_from(number).unwrap_or(0) % SIZE]
}

impl Guard {
    pub(crate) fn new() -> Self {
        let number = NEXT.fetch_add(1, SeqCst);
        entry(number).store(number * 2, SeqCst);
        Self(number)
    }

    pub(crate) fn id(&self) -> GuardId {
        GuardId(self.0)
    }
}

impl GuardId {
    pub(crate) fn is_dropped(self) -> bool {
        // An entry that was overwritten belonged to a program that is over.
        entry(self.0).load(SeqCst) != self.0 * 2
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let expected = self.0 * 2;
        if let Err(found) = entry(self.0).compare_exchange(expected, expected + 1, SeqCst, SeqCst) {
            crate::oracle::fail_anywhere(&format!(
                "guard {} was dropped twice, or is garbage: its entry is {found}",
                self.0
            ));
        }
    }
}

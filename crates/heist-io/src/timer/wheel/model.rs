//! The wheel beside a sorted map, which it must agree with.

use super::*;
use std::collections::BTreeMap;

/// One thing that is done to both. Times are in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub enum Op {
    /// An entry that is not linked comes in, to be due so much later than now.
    Insert { entry: u8, ahead: u64 },
    /// The same, so that many have the same deadline.
    InsertOnGrid { entry: u8, ahead: u64 },
    /// The same, due already.
    InsertPast { entry: u8, ago: u64 },
    /// The same, at a time.
    InsertAt { entry: u8, deadline: u64 },
    /// An entry goes, if it is linked.
    Remove { entry: u8 },
    /// Time goes on.
    Advance { by: u64 },
    /// Time goes on to where the wheel says that something may be due.
    AdvanceToNext,
}

/// Does all of it, and in the end waits for all that is left.
///
/// # Panics
///
/// Where the wheel and the map disagree.
pub fn agree(start: u64, ops: impl IntoIterator<Item = Op>) {
    const ENTRIES: usize = 64;
    let mut bench = Bench::new(ENTRIES, start);
    for op in ops {
        bench.apply(op);
        bench.check();
    }
    bench.advance(u64::MAX);
    assert!(bench.model.is_empty(), "the wheel has lost some");
    assert_eq!(bench.wheel.next_deadline(), None);
}

/// Entries that stay where they are, under numbers.
pub(super) struct Bench {
    pub(super) wheel: Wheel,
    #[expect(clippy::vec_box, reason = "the wheel has pointers to them")]
    entries: Vec<Box<Entry>>,
    /// (deadline, order of insertion) of what is linked.
    pub(super) model: BTreeMap<(u64, u64), usize>,
    keys: Vec<Option<(u64, u64)>>,
    stamp: u64,
    now: u64,
}

impl Bench {
    pub(super) fn new(entries: usize, start: u64) -> Self {
        let mut wheel = Wheel::new();
        assert!(wheel.pop_due(start).is_none());
        Self {
            wheel,
            entries: (0..entries).map(|_| Box::new(Entry::new())).collect(),
            model: BTreeMap::new(),
            keys: vec![None; entries],
            stamp: 0,
            now: start,
        }
    }

    fn apply(&mut self, op: Op) {
        let (entry, deadline) = match op {
            Op::Insert { entry, ahead } => (entry, self.now.saturating_add(ahead)),
            Op::InsertOnGrid { entry, ahead } => {
                (entry, self.now.saturating_add(ahead) >> 12 << 12)
            }
            Op::InsertPast { entry, ago } => (entry, self.now.saturating_sub(ago)),
            Op::InsertAt { entry, deadline } => (entry, deadline),
            Op::Remove { entry } => return self.remove(self.index(entry)),
            Op::Advance { by } => {
                self.advance(self.now.saturating_add(by));
                return;
            }
            Op::AdvanceToNext => {
                let next = self.wheel.next_deadline().unwrap_or(0).max(self.now);
                self.advance(next);
                return;
            }
        };
        let index = self.index(entry);
        if self.keys[index].is_none() {
            self.insert(index, deadline);
        }
    }

    fn index(&self, entry: u8) -> usize {
        usize::from(entry) % self.entries.len()
    }

    fn entry(&self, index: usize) -> NonNull<Entry> {
        NonNull::from(&*self.entries[index])
    }

    pub(super) fn insert(&mut self, index: usize, deadline: u64) {
        let key = (deadline, self.stamp);
        self.stamp += 1;
        self.keys[index] = Some(key);
        self.model.insert(key, index);
        // SAFETY: the box outlives the wheel's use of it, and `keys` says that it is not linked.
        unsafe {
            self.wheel
                .insert(self.entry(index), deadline, Waker::noop().clone())
        };
    }

    fn remove(&mut self, index: usize) {
        let was = self.keys[index].take();
        // SAFETY: the box is alive and in no other wheel.
        let waker = unsafe { self.wheel.remove(self.entry(index)) };
        assert_eq!(waker.is_some(), was.is_some());
        if let Some(key) = was {
            self.model.remove(&key);
        }
    }

    pub(super) fn advance(&mut self, to: u64) -> usize {
        self.now = to;
        let mut popped = 0;
        while let Some((entry, waker)) = self.wheel.pop_due(to) {
            assert!(waker.is_some());
            let ((deadline, stamp), index) = self.model.pop_first().expect("the model has one too");
            assert_eq!(
                self.entry(index),
                entry,
                "deadline {deadline}, stamp {stamp}, now {to}"
            );
            assert!(deadline <= to, "never early");
            self.keys[index] = None;
            popped += 1;
        }
        assert!(
            self.model
                .first_key_value()
                .is_none_or(|((deadline, _), _)| *deadline > to)
        );
        popped
    }

    pub(super) fn check(&self) {
        let first = self
            .model
            .first_key_value()
            .map(|((deadline, _), _)| *deadline);
        let next = self.wheel.next_deadline();
        assert_eq!(next.is_some(), first.is_some());
        assert!(next <= first, "a bound that is not later");
        for level in 0..LEVELS {
            for slot in 0..SLOTS {
                let occupied = self.wheel.occupied[level] & (1 << slot) != 0;
                assert_eq!(
                    occupied,
                    !self.wheel.slots[level][slot].head.is_null(),
                    "INV-4"
                );
            }
            assert_eq!(
                self.wheel.levels & (1 << level) != 0,
                self.wheel.occupied[level] != 0,
                "INV-4"
            );
        }
    }
}

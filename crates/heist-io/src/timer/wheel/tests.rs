use super::*;
use std::collections::BTreeMap;

/// Entries that stay where they are, under numbers.
struct Bench {
    wheel: Wheel,
    #[expect(clippy::vec_box, reason = "the wheel has pointers to them")]
    entries: Vec<Box<Entry>>,
    /// (deadline, order of insertion) of what is linked.
    model: BTreeMap<(u64, u64), usize>,
    keys: Vec<Option<(u64, u64)>>,
    stamp: u64,
    now: u64,
}

impl Bench {
    fn new(entries: usize, start: u64) -> Self {
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

    fn entry(&self, index: usize) -> NonNull<Entry> {
        NonNull::from(&*self.entries[index])
    }

    fn insert(&mut self, index: usize, deadline: u64) {
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

    fn advance(&mut self, to: u64) -> usize {
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

    fn check(&self) {
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

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

#[test]
fn random_operations_agree_with_a_sorted_map() {
    for seed in 0..60 {
        let mut random = Random(seed);
        let start = if seed % 3 == 0 {
            0
        } else {
            random.next() >> random.below(50)
        };
        let mut bench = Bench::new(64, start);
        // How far deadlines and steps reach: from within one slot to over several levels.
        let reach = 8 + random.below(38);
        for _ in 0..800 {
            let index = random.below(64) as usize;
            match random.below(8) {
                0..=3 if bench.keys[index].is_none() => {
                    let bits = random.below(reach) + 1;
                    let ahead = random.below(1 << bits);
                    let deadline = match random.below(10) {
                        0 => bench.now.saturating_sub(ahead),
                        1 => u64::MAX - random.below(3),
                        2..=4 => bench.now.saturating_add(ahead) >> 12 << 12,
                        _ => bench.now.saturating_add(ahead),
                    };
                    bench.insert(index, deadline);
                }
                4 | 5 => bench.remove(index),
                6 => {
                    let to = bench.now.saturating_add(random.below(1 << reach));
                    bench.advance(to);
                }
                _ => {
                    let to = bench.wheel.next_deadline().unwrap_or(0).max(bench.now);
                    bench.advance(to.min(u64::MAX - 4));
                }
            }
            bench.check();
        }
        bench.advance(u64::MAX);
        assert!(bench.model.is_empty());
    }
}

#[test]
fn equal_deadlines_keep_their_order_through_every_level() {
    for bits in 0..63 {
        let mut bench = Bench::new(30, 12_345);
        let deadline = 12_345 + (1 << bits);
        for index in 0..10 {
            bench.insert(index, deadline);
        }
        bench.advance(12_345 + (1 << bits) / 2);
        for index in 10..20 {
            bench.insert(index, deadline);
        }
        bench.advance(deadline - 1);
        for index in 20..30 {
            bench.insert(index, deadline);
        }
        bench.check();
        assert_eq!(bench.advance(deadline - 1), 0);
        assert_eq!(bench.advance(deadline), 30);
    }
}

/// Far beyond what a wheel of 2^36 ms could hold, across the borders of every level.
#[test]
fn deadlines_at_the_borders_of_each_level() {
    for level in 0..LEVELS {
        let border = 1_u64
            .checked_shl(shift_of(level) + SLOT_BITS)
            .unwrap_or(u64::MAX - 2);
        for start in [0, 1, border / 2, border - 1] {
            let mut bench = Bench::new(3, start);
            for (index, deadline) in [border - 1, border, border + 1].into_iter().enumerate() {
                bench.insert(index, deadline);
                bench.check();
            }
            for deadline in [border - 1, border, border + 1] {
                assert_eq!(bench.wheel.next_deadline(), Some(deadline));
                assert_eq!(bench.advance(deadline), 1);
            }
        }
    }
}

#[test]
fn without_removals_the_next_deadline_is_exact() {
    let mut random = Random(7);
    let mut bench = Bench::new(200, 99);
    for index in 0..200 {
        let deadline = 99 + random.below(1 << (10 + index % 40));
        bench.insert(index, deadline);
    }
    while let Some((first, _)) = bench.model.keys().next().copied() {
        assert_eq!(bench.wheel.next_deadline(), Some(first));
        bench.advance(first);
    }
    assert_eq!(bench.wheel.next_deadline(), None);
}

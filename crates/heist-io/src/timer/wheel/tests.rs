use super::model::{Bench, Op, agree};
use super::*;

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
    let (seeds, steps) = if cfg!(miri) { (3, 60) } else { (60, 800) };
    for seed in 0..seeds {
        let mut random = Random(seed);
        let start = if seed % 3 == 0 {
            0
        } else {
            random.next() >> random.below(50)
        };
        // How far deadlines and steps reach: from within one slot to over several levels.
        let reach = 8 + random.below(38);
        let ops = (0..steps).map(|_| {
            let entry = random.below(64) as u8;
            match random.below(8) {
                0..=3 => {
                    let ahead = random.next() >> (63 - random.below(reach));
                    match random.below(10) {
                        0 => Op::InsertPast { entry, ago: ahead },
                        1 => Op::InsertAt {
                            entry,
                            deadline: u64::MAX - random.below(3),
                        },
                        2..=4 => Op::InsertOnGrid { entry, ahead },
                        _ => Op::Insert { entry, ahead },
                    }
                }
                4 | 5 => Op::Remove { entry },
                6 => Op::Advance {
                    by: random.below(1 << reach),
                },
                _ => Op::AdvanceToNext,
            }
        });
        agree(start, ops);
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

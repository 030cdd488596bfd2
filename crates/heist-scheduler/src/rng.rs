//! Victim order: a small generator per worker, seeded by the platform.
//!
//! Xorshift (Marsaglia), 64 bits, with a multiplication at the end. Nothing here needs to be unpredictable; it only
//! has to keep thieves from all starting at the same victim.

/// One worker's generator.
#[derive(Debug)]
pub(crate) struct Rng(u64);

impl Rng {
    /// Any seed will do, zero too.
    pub(crate) const fn new(seed: u64) -> Self {
        // Zero is the one state that xorshift never leaves.
        Self(seed ^ 0x9E37_79B9_7F4A_7C15 | 1)
    }

    fn next(&mut self) -> u32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32) as u32
    }

    /// A number below `limit`, which is not zero.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        // Multiply and shift: no division, and the bias is far below what a victim order would notice.
        ((u64::from(self.next()) * limit as u64) >> 32) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_victim_comes_up() {
        for seed in [0, 1, u64::MAX, 0x9E37_79B9_7F4A_7C15] {
            let mut rng = Rng::new(seed);
            let mut seen = [0_u32; 7];
            for _ in 0..7_000 {
                seen[rng.below(7)] += 1;
            }
            assert!(seen.iter().all(|&n| n > 700), "{seed}: {seen:?}");
        }
    }

    #[test]
    fn one_victim_is_always_chosen() {
        let mut rng = Rng::new(3);
        assert!((0..100).all(|_| rng.below(1) == 0));
    }
}

//! What programs did, as a child tells its parent, in the order of [`NAMES`].

use std::fmt;
use std::ops::AddAssign;

/// One number for each of [`NAMES`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts(pub(crate) [u64; NAMES.len()]);

/// What is counted. *Stand-ins* are the workers that a runtime had beyond its own.
const NAMES: [&str; 6] = [
    "operations",
    "blocks",
    "in place",
    "waits",
    "stalls",
    "stand-ins",
];

impl Counts {
    /// The words of [`words`](Self::words). `None`: something else.
    pub(crate) fn parse(words: &[&str]) -> Option<Self> {
        let numbers: Option<Vec<u64>> = words.iter().map(|word| word.parse().ok()).collect();
        Some(Self(numbers?.try_into().ok()?))
    }

    pub(crate) fn words(&self) -> String {
        self.0.map(|number| number.to_string()).join(" ")
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        for (sum, number) in self.0.iter_mut().zip(other.0) {
            *sum += number;
        }
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (number, name)) in self.0.iter().zip(NAMES).enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{number} {name}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_understood() {
        let mut counts = Counts([1, 2, 3, 4, 5, 6]);
        let words = counts.words();
        let words: Vec<&str> = words.split(' ').collect();
        assert_eq!(Counts::parse(&words), Some(counts));
        assert_eq!(Counts::parse(&words[1..]), None);
        assert_eq!(Counts::parse(&["1", "2", "3", "4", "5", "x"]), None);
        counts += counts;
        assert_eq!(
            counts.to_string(),
            "2 operations, 4 blocks, 6 in place, 8 waits, 10 stalls, 12 stand-ins"
        );
    }
}

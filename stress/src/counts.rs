//! What programs did, as a child tells its parent, in the order of [`NAMES`].

use std::fmt;
use std::ops::AddAssign;

/// One number for each of [`NAMES`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts(pub(crate) [u64; NAMES.len()]);

/// What is counted.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Counted {
    Operation,
    /// An operation that blocks its thread.
    Block,
    /// A call of `block_in_place`.
    InPlace,
    /// A thread that waited for what others do.
    Wait,
    Stall,
    /// A worker that a runtime had beyond its own.
    StandIn,
    /// A request that was caught.
    Catch,
    /// A loser that was dropped where it was.
    Race,
    Group,
    Member,
    /// A child that a group did not take.
    Refused,
    Party,
    /// A lock or permits that somebody got.
    Lock,
    Put,
    Get,
    /// An item that was not delivered: reported, dropped, or given back.
    Undelivered,
    /// A wait until all items were done.
    Join,
    /// A wait for a condition, notification, event, barrier or broadcast that was over.
    Signal,
    /// A wait for any of these that was given up, or dropped.
    GivenUp,
}

const NAMES: [&str; 19] = [
    "operations",
    "blocks",
    "in place",
    "waits",
    "stalls",
    "stand-ins",
    "catches",
    "races",
    "groups",
    "members",
    "refused",
    "parties",
    "locks",
    "puts",
    "gets",
    "undelivered",
    "joins",
    "signals",
    "given up",
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

    pub(crate) fn add(&mut self, what: Counted, number: u64) {
        self.0[what as usize] += number;
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
        let mut counts = Counts::default();
        for (number, place) in (1..).zip(&mut counts.0) {
            *place = number;
        }
        counts.add(Counted::GivenUp, 100);
        let words = counts.words();
        let words: Vec<&str> = words.split(' ').collect();
        assert_eq!(Counts::parse(&words), Some(counts));
        assert_eq!(Counts::parse(&words[1..]), None);
        let mut wrong = words.clone();
        wrong[3] = "x";
        assert_eq!(Counts::parse(&wrong), None);
        counts += counts;
        let text = counts.to_string();
        assert!(text.starts_with("2 operations, 4 blocks, 6 in place, 8 waits, "));
        assert!(text.ends_with(", 238 given up"));
    }
}

//! The counts that are kept in the repository: what an operation cost when somebody last looked.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use crate::process::Outcome;
use crate::project::{self, number};

/// How much more than what is kept passes: code that moves takes some instructions along.
const TOLERANCE: f64 = 0.04;

/// And so much in all, for counts that are all but nothing.
const SLACK: f64 = 0.02;

const HEAD: &str = "\
# What one operation costs, by the counts of `cargo xtask gates`. It fails where a count is more than 4 % above what is kept
# here. `cargo xtask gates --keep` writes the counts of today: say in the commit why they have changed.
";

/// Counts by the name of their gate.
#[derive(Clone)]
pub(super) struct Kept(BTreeMap<String, f64>);

impl Kept {
    pub(super) fn read() -> Outcome<Self> {
        let text = project::read(&path())?;
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let count = |line: &str| {
            let (name, count) = line
                .split_once(' ')
                .ok_or_else(|| format!("no line of counts: {line:?}"))?;
            Ok((name.to_owned(), number(count.trim())?))
        };
        lines.map(count).collect::<Outcome<_>>().map(Self)
    }

    /// What is kept for this gate.
    pub(super) fn of(&self, gate: &str) -> Option<f64> {
        self.0.get(gate).copied()
    }

    /// The most that passes; without an entry, nothing is too much.
    pub(super) fn limit(&self, gate: &str) -> f64 {
        self.of(gate)
            .map_or(f64::INFINITY, |kept| kept * (1.0 + TOLERANCE) + SLACK)
    }

    /// Takes these in the place of what was kept for them.
    pub(super) fn keep<'a>(mut self, counts: impl Iterator<Item = (&'a str, f64)>) -> Outcome {
        for (gate, count) in counts {
            self.0.insert(gate.to_owned(), count);
        }
        let mut text = HEAD.to_owned();
        for (gate, count) in &self.0 {
            // Writing to a String does not fail.
            let _ = writeln!(text, "{gate:<20} {count:.2}");
        }
        let path = path();
        fs::write(&path, text).map_err(|error| format!("cannot write {}: {error}", path.display()))
    }
}

fn path() -> PathBuf {
    project::root().join("benches/counts.txt")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_little_more_passes() {
        let kept = Kept(BTreeMap::from([
            ("spawn".to_owned(), 100.0),
            ("idle".to_owned(), 0.0),
        ]));
        assert!(104.0 <= kept.limit("spawn") && kept.limit("spawn") < 104.5);
        assert!(kept.limit("idle") < 0.05);
        assert_eq!(kept.limit("unknown"), f64::INFINITY);
    }
}

//! `stress`: hands over to the stress package, built as it is shipped.

use crate::process::{self, Outcome};
use crate::project;

/// Runs the stress program with `words` as its arguments.
pub(crate) fn run(words: &[&str]) -> Outcome {
    process::show(project::cargo("run --quiet --release -p heist-stress --").args(words))
}

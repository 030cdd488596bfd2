//! `races`: the tests in which two sides meet at another moment in each round, with so many rounds that rare ones come.

use std::time::Instant;

use crate::process::{Outcome, capture};
use crate::project::{cargo, number};

/// The tests that take their rounds from `HEIST_RACES`, and where they are. Their limits grow with the rounds.
const TESTS: [(&str, &str); 3] = [
    (
        "-p heist --test scheduling",
        "a_spawn_that_races_with_the_last_worker_falling_asleep_in_the_driver_is_run",
    ),
    (
        "-p heist --test scheduling",
        "a_spawn_that_races_with_a_local_runtime_falling_asleep_is_run",
    ),
    (
        "-p heist-io --lib",
        "tests::source::an_unpark_that_races_with_the_sleep_is_never_lost",
    ),
];

/// Runs each of them alone, `words[0]` rounds long.
pub(crate) fn run(words: &[&str]) -> Outcome {
    let rounds: usize = match words {
        [] => 1_000_000,
        [rounds] => number(rounds)?,
        _ => return Err("usage: cargo xtask races [N]".to_owned()),
    };
    for (program, test) in TESTS {
        let mut command = cargo(&format!(
            "test --quiet --release {program} -- --exact --nocapture {test}"
        ));
        let begun = Instant::now();
        let output = capture(command.env("HEIST_RACES", rounds.to_string()))?;
        if !output.contains("1 passed") {
            return Err(format!("there is no test {test} in {program}"));
        }
        let took = begun.elapsed().as_secs();
        println!("races: {test}: {rounds} rounds, {took} s with its build");
    }
    Ok(())
}

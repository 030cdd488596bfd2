//! The project's own checks: `cargo xtask COMMAND`. Needs nothing but cargo and what a command says it needs.
#![allow(
    clippy::print_stdout,
    reason = "the output is the purpose of this program"
)]

mod ci;
mod code;
mod compare;
mod fuzz;
mod gates;
mod load;
mod loom;
mod miri;
mod process;
mod project;
mod races;
mod repeat;
mod sanitize;
mod server;
mod soak;
mod stress;
mod tidy;
mod tools;
mod weaken;

use std::env;
use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask COMMAND

  ci [--full]                 everything that must be green; --full adds the long runs
  tidy                        layering, imports, ORDERING tags, tests named in documents
  loom [--bound N] [FILTER]   every loom model, then every mutation that a model must catch
  miri [--quick | --full]     Miri over heist-core
  gates [--csv FILE] [--backend NAME] [--keep] [GATE...]
                              counted costs: instructions, atomic operations, allocations, syscalls, memory
  compare [WORKLOAD...] [--rounds N] [--workers 1,2] [--backends a,b] [--csv FILE]
                              heist and its peers, interleaved
  benchmarks [WORKLOAD...] [--rounds N]
                              the same with 1, 2 and 8 workers, into docs/benchmarks.md
  load [--seconds N]          the HTTP example under wrk, beside 10 000 idle connections
  soak [--seconds N]          the HTTP example for half an hour under all that clients do
  fuzz [--seconds N] [TARGET...]
                              what comes from outside, each target for N seconds
  repeat [N]                  every test binary N times, on one thread, and beside a CPU hog
  races [N]                   the tests of falling asleep, with N rounds each
  stress [ARGUMENTS...]       the seeded random runs of the stress package
  sanitize thread|address stress|test [ARGUMENTS...]
                              random programs or tests, under a sanitizer
  weaken [--bound N] [FILTER] every ordering made weaker: who notices?";

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["ci", rest @ ..] => ci::run(rest),
        ["tidy"] => tidy::run(),
        ["loom", rest @ ..] => loom::run(rest),
        ["miri", rest @ ..] => miri::run(rest),
        ["gates", rest @ ..] => gates::run(rest),
        ["compare", rest @ ..] => compare::run(rest),
        ["benchmarks", rest @ ..] => compare::benchmarks(rest),
        ["load", rest @ ..] => load::run(rest),
        ["soak", rest @ ..] => soak::run(rest),
        ["fuzz", rest @ ..] => fuzz::run(rest),
        ["repeat", rest @ ..] => repeat::run(rest),
        ["races", rest @ ..] => races::run(rest),
        ["stress", rest @ ..] => stress::run(rest),
        ["sanitize", rest @ ..] => sanitize::run(rest),
        ["weaken", rest @ ..] => weaken::run(rest),
        _ => Err(USAGE.to_owned()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("xtask: {problem}");
            ExitCode::FAILURE
        }
    }
}

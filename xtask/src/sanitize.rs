//! `sanitize`: the random programs, or the tests, under ThreadSanitizer or AddressSanitizer, the standard library included.

use std::process::Command;

use crate::process::{self, Outcome, show};
use crate::project::{self, cargo};
use crate::tools::Tool;

const USAGE: &str = "usage: cargo xtask sanitize thread|address stress|test [ARGUMENTS...]";

/// `stress` and what follows goes to the stress package, `test` to cargo.
pub(crate) fn run(words: &[&str]) -> Outcome {
    let [
        sanitizer @ ("thread" | "address"),
        what @ ("stress" | "test"),
        rest @ ..,
    ] = words
    else {
        return Err(USAGE.to_owned());
    };
    Tool::Miri.provide(false)?;
    let host = process::capture(Command::new("rustc").args(["+nightly", "--print", "host-tuple"]))?;
    let mut command = cargo(match *what {
        "stress" => "+nightly run --quiet --release -p heist-stress",
        _ if rest.is_empty() => "+nightly test --workspace --lib --tests",
        _ => "+nightly test",
    });
    command
        .args(["-Zbuild-std", "--target", host.trim()])
        .env(
            "CARGO_TARGET_DIR",
            project::target("sanitize").join(sanitizer),
        )
        // ThreadSanitizer knows no fences: crossbeam has another way for it. The kernel's own fences order words that
        // publish nothing.
        .env(
            "RUSTFLAGS",
            format!("-Zsanitizer={sanitizer} --cfg crossbeam_sanitize_thread"),
        )
        // A report is a failure, and names what it saw.
        .env("TSAN_OPTIONS", "halt_on_error=1:second_deadlock_stack=1");
    if *what == "stress" {
        command.arg("--");
    }
    show(command.args(rest))
}

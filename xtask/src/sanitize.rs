//! `sanitize`: the random programs, or the tests, under ThreadSanitizer or AddressSanitizer, the standard library included.

use std::process::Command;

use crate::process::{self, Outcome, show};
use crate::project::{self, cargo};
use crate::tools::Tool;

/// Tests that measure what the sanitizer uses itself, memory above all, and locks, and one that compares what the stable compiler says.
const UNFIT: [&str; 5] = [
    "leaves_nothing",
    "leaves_no_timer",
    "leave_nothing",
    "never_waits_for_inspectors",
    "misuse_is_explained",
];

/// Tests that count what all threads of the process do, that fork it, or that signal a child whose main thread waits to join another: ThreadSanitizer has a thread of
/// its own, none after a fork, and keeps the signal until that thread goes on.
const UNFIT_FOR_THREAD: [&str; 7] = [
    "an_idle_runtime_never_wakes_up",
    "a_leaf_future_may_be_the_first",
    "a_forked_child",
    "the_first_interrupt",
    "the_second_interrupt",
    "an_interrupt_while_the_rest_drains",
    "after_run_an_interrupt",
];

const USAGE: &str = "usage: cargo xtask sanitize thread|address stress|test [ARGUMENTS...]";

/// `stress` and what follows goes to the stress package, `test` to the tests.
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
    match *what {
        "stress" => show(
            under(sanitizer, "run --quiet --release -p heist-stress")?
                .arg("--")
                .args(rest),
        ),
        _ => {
            // Their tests start them as programs.
            show(&mut under(
                sanitizer,
                "build --release -p heist-examples --examples",
            )?)?;
            let unfit = match *sanitizer {
                "thread" => UNFIT_FOR_THREAD.as_slice(),
                _ => &[],
            };
            let tests = "test --release --workspace --lib --tests --no-fail-fast";
            show(
                under(sanitizer, tests)?
                    .arg("--")
                    .args(UNFIT.iter().chain(unfit).flat_map(|test| ["--skip", test]))
                    .args(rest),
            )
        }
    }
}

/// A command of cargo whose programs have the sanitizer, the standard library included.
fn under(sanitizer: &str, words: &str) -> Outcome<Command> {
    let host = process::capture(Command::new("rustc").args(["+nightly", "--print", "host-tuple"]))?;
    let explained = project::root().join(format!("xtask/src/sanitize/{sanitizer}.txt"));
    let explained = format!("suppressions={}", explained.display());
    let mut command = cargo(&format!("+nightly {words}"));
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
            format!(
                "-Zsanitizer={sanitizer} --cfg crossbeam_sanitize_thread --cfg rustix_use_libc"
            ),
        )
        .env(
            "TSAN_OPTIONS",
            format!("halt_on_error=1:second_deadlock_stack=1:{explained}"),
        )
        .env("LSAN_OPTIONS", format!("print_suppressions=0:{explained}"))
        // Of panics that tests want, which take seconds each.
        .env("RUST_BACKTRACE", "0");
    Ok(command)
}

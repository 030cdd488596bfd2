//! Seeded random programs against a whole runtime, with an oracle.
//!
//! ```text
//! stress --seconds N [--workers W] [--seed S] [--threads T] [--off KIND,...] [--no-shrink]
//! stress --replay S [--workers W] [--without STEP,...] [--short STEP=TIME,...] [--times N] [--off KIND,...] [--quiet SECONDS]
//! ```
//!
//! The first runs programs with the seeds from S on, T at a time, in a child process: what fails may be a hang or the
//! end of the process. A failing program is run again with fewer and fewer steps, then with shorter ones, each time in a child, and
//! the smallest one that still fails is printed. The second runs one program, which is printed first.
#![allow(
    clippy::print_stdout,
    reason = "the output is the purpose of this program"
)]

mod arguments;
mod counts;
mod guard;
mod oracle;
mod parent;
mod program;
mod run;
mod shrink;
mod steps;
mod streams;
mod watched;

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use arguments::{Arguments, Mode};
use counts::Counts;
use program::Program;

fn main() -> ExitCode {
    let arguments = match Arguments::read() {
        Ok(arguments) => arguments,
        Err(problem) => {
            eprintln!("stress: {problem}");
            return ExitCode::FAILURE;
        }
    };
    oracle::set_quiet(arguments.quiet);
    match arguments.mode {
        Mode::Run => parent::run(&arguments),
        Mode::Child => {
            watch();
            many(&arguments);
            ExitCode::SUCCESS
        }
        Mode::Replay => {
            watch();
            replay(&arguments);
            ExitCode::SUCCESS
        }
    }
}

fn watch() {
    oracle::watch_panics();
    thread::spawn(|| oracle::watchdog());
}

/// The work of a child: programs until the time is over. Tells the parent about each.
fn many(arguments: &Arguments) {
    let next = AtomicU64::new(arguments.seed);
    let descriptors = open_descriptors();
    let begun = Instant::now();
    let end = Duration::from_secs(arguments.seconds);
    thread::scope(|scope| {
        for _ in 0..arguments.threads {
            scope.spawn(|| {
                while begun.elapsed() < end {
                    let seed = next.fetch_add(1, SeqCst);
                    println!("{BEGIN} {seed}");
                    let counts = run::execute(program(arguments, seed));
                    println!("{END} {seed} {}", counts.words());
                    if arguments.threads == 1 {
                        check_descriptors(descriptors, &format!("{} seed={seed}", oracle::FAIL));
                    }
                }
            });
        }
    });
    check_descriptors(descriptors, oracle::FAIL);
}

/// All runtimes are gone, and so must be what they had.
fn check_descriptors(at_first: usize, blame: &str) {
    let begun = Instant::now();
    while open_descriptors() > at_first {
        if begun.elapsed() > LEAK_AFTER {
            let now = open_descriptors();
            println!("{blame}: {at_first} descriptors were open at first, {now} are now");
            std::process::abort();
        }
        thread::sleep(Duration::from_millis(1));
    }
}

/// How long threads that were left behind have to end.
const LEAK_AFTER: Duration = Duration::from_secs(15);

/// As far as the system tells.
fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}

/// What a child says about a program.
const BEGIN: &str = "begin";
const END: &str = "end";

fn replay(arguments: &Arguments) {
    print!("{}", program(arguments, arguments.seed));
    let mut counts = Counts::default();
    for _ in 0..arguments.times {
        counts += run::execute(program(arguments, arguments.seed));
    }
    println!("passed {} times, {counts}", arguments.times);
}

fn program(arguments: &Arguments, seed: u64) -> Program {
    Program::generate(seed, arguments.workers, &arguments.cuts)
}

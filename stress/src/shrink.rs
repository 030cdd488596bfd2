//! Makes a failing program smaller.

use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use crate::arguments::Arguments;
use crate::parent::this_program;
use crate::program::Program;

/// How often a candidate is run: most failures are races.
const TIMES: u32 = 40;
/// How long a candidate may take, and all of them.
const LIMIT: Duration = Duration::from_secs(60);
const ALL: Duration = Duration::from_secs(240);

/// Prints the smallest program found that still fails.
pub(crate) fn shrink(arguments: &Arguments, seed: u64) {
    let begun = Instant::now();
    let mut without = arguments.without.clone();
    let command = |without: &str| {
        let words = arguments.words().join(" ");
        format!("--replay {seed} {words} --without {without} --times {TIMES}")
    };
    if !fails(arguments, seed, &join(&without)) {
        println!("stress: seed {seed} did not fail again: {}", command(""));
        return;
    }
    let all = Program::generate(seed, arguments.workers, &without, &arguments.off).steps();
    // Outer steps come first, and take their bodies with them.
    let mut size = all.len().div_ceil(2).max(1);
    loop {
        for part in all.chunks(size) {
            let mut fewer = without.clone();
            fewer.extend(part);
            if fewer.len() > without.len() && fails(arguments, seed, &join(&fewer)) {
                without = fewer;
            }
            if begun.elapsed() > ALL {
                break;
            }
        }
        if size == 1 || begun.elapsed() > ALL {
            break;
        }
        size = size.div_ceil(2);
    }
    let smallest = Program::generate(seed, arguments.workers, &without, &arguments.off);
    println!(
        "stress: the smallest that still fails: {}",
        command(&join(&without))
    );
    println!("{smallest}");
}

fn join(numbers: &std::collections::BTreeSet<u32>) -> String {
    let words: Vec<String> = numbers.iter().map(u32::to_string).collect();
    words.join(",")
}

/// Whether the program fails, or hangs, in one of some runs.
fn fails(arguments: &Arguments, seed: u64, without: &str) -> bool {
    let child = this_program()
        .args(["--replay", &seed.to_string(), "--without", without])
        .args(["--times", &TIMES.to_string()])
        .args(arguments.words())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut child) = child else { return false };
    let begun = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return !status.success(),
            Ok(None) if begun.elapsed() < LIMIT => thread::sleep(Duration::from_millis(5)),
            _ => {
                let _ = child.kill();
                let _ = child.wait();
                return true;
            }
        }
    }
}

//! Makes a failing program smaller.

use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use crate::arguments::Arguments;
use crate::parent::this_program;
use crate::program::Program;

/// How often a candidate is run: most failures are races.
const TIMES: u32 = 40;
/// The same for the rarest ones.
const MOST: u32 = TIMES * 64;
/// After how many seconds without an event a candidate hangs: few, since each one that hangs costs them.
const QUIET: &str = "5";
/// How long a candidate may take, and all of them.
const LIMIT: Duration = Duration::from_secs(60);
const ALL: Duration = Duration::from_secs(240);

/// Prints the smallest program found that still fails.
pub(crate) fn shrink(arguments: &Arguments, seed: u64) {
    let begun = Instant::now();
    let mut without = arguments.without.clone();
    let command = |without: &str, times: u32| {
        let words = arguments.words().join(" ");
        format!("--replay {seed} {words} --without {without} --times {times}")
    };
    let mut times = TIMES;
    while !fails(arguments, seed, &join(&without), times) {
        times *= 4;
        if times > MOST {
            let command = command(&join(&without), MOST);
            println!("stress: seed {seed} did not fail again: {command}");
            return;
        }
    }
    // It has just failed at about half of these: a candidate gets a fair chance.
    let times = if times > TIMES {
        MOST.min(times * 2)
    } else {
        TIMES
    };
    let all = Program::generate(seed, arguments.workers, &without, &arguments.off).steps();
    // Outer steps come first, and take their bodies with them.
    let mut size = all.len().div_ceil(2).max(1);
    loop {
        for part in all.chunks(size) {
            let mut fewer = without.clone();
            fewer.extend(part);
            if fewer.len() > without.len() && fails(arguments, seed, &join(&fewer), times) {
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
        command(&join(&without), times)
    );
    println!("{smallest}");
}

fn join(numbers: &std::collections::BTreeSet<u32>) -> String {
    let words: Vec<String> = numbers.iter().map(u32::to_string).collect();
    words.join(",")
}

/// Whether the program fails, or hangs, in one of some runs.
fn fails(arguments: &Arguments, seed: u64, without: &str, times: u32) -> bool {
    let child = this_program()
        .args(["--replay", &seed.to_string(), "--without", without])
        .args(["--times", &times.to_string()])
        .args(["--quiet", QUIET])
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
                // So few runs take that long only if one of them hangs; the child itself knows of those that only wait.
                return times <= TIMES;
            }
        }
    }
}

//! The process that starts others and survives them.

use std::collections::BTreeSet;
use std::env;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use crate::arguments::Arguments;
use crate::counts::Counts;
use crate::shrink;

/// How often a line is printed.
const TICK: Duration = Duration::from_secs(10);

/// This program once more.
pub(crate) fn this_program() -> Command {
    match env::current_exe() {
        Ok(path) => Command::new(path),
        Err(error) => {
            eprintln!("stress: where is this program? {error}");
            std::process::exit(1);
        }
    }
}

/// Runs programs in a child until the time is over or one fails.
pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    println!(
        "stress: {} s from seed {}, {} programs at a time, workers {:?}",
        arguments.seconds, arguments.seed, arguments.threads, arguments.workers
    );
    let mut command = this_program();
    command
        .args(["--child", "--seconds", &arguments.seconds.to_string()])
        .args(["--seed", &arguments.seed.to_string()])
        .args(["--threads", &arguments.threads.to_string()])
        .args(arguments.words())
        .args(arguments.cuts.words())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            eprintln!("stress: no child: {error}");
            return ExitCode::FAILURE;
        }
    };
    let running = follow(&mut child);
    match child.wait() {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        status => {
            println!("stress: failed ({status:?}); seeds under way: {running:?}");
            if arguments.shrink {
                for seed in running {
                    shrink::shrink(arguments, seed);
                }
            }
            ExitCode::FAILURE
        }
    }
}

/// Reads what the child says. Returns the seeds of what it had not ended.
fn follow(child: &mut Child) -> BTreeSet<u64> {
    let mut running = BTreeSet::new();
    let mut blamed = BTreeSet::new();
    let (mut programs, mut counts) = (0_u64, Counts::default());
    let begun = Instant::now();
    let mut next = TICK;
    let mut tell = |programs: u64, counts: Counts, last: bool| {
        if last || begun.elapsed() >= next {
            next = begun.elapsed() + TICK;
            let seconds = begun.elapsed().as_secs();
            println!("{seconds:5} s: {programs} programs, {counts}");
        }
    };
    let Some(output) = child.stdout.take() else {
        return running;
    };
    for line in BufReader::new(output).lines().map_while(Result::ok) {
        let words: Vec<&str> = line.split(' ').collect();
        let seed = words.get(1).and_then(|word| word.parse::<u64>().ok());
        let done = words.get(2..).and_then(Counts::parse);
        match (words[0], seed, done) {
            (crate::BEGIN, Some(seed), _) => {
                running.insert(seed);
            }
            (crate::END, Some(seed), Some(done)) => {
                running.remove(&seed);
                programs += 1;
                counts += done;
                tell(programs, counts, false);
            }
            _ => {
                let named = words.get(1).and_then(|word| word.strip_prefix("seed="));
                if let (crate::oracle::FAIL, Some(Ok(seed))) = (words[0], named.map(str::parse)) {
                    blamed.insert(seed);
                }
                println!("{line}");
            }
        }
    }
    tell(programs, counts, true);
    if blamed.is_empty() { running } else { blamed }
}

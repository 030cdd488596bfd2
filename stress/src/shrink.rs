//! Makes a failing program smaller.

use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use crate::arguments::Arguments;
use crate::parent::this_program;
use crate::program::{Cuts, Program};

/// How often a candidate is run: most failures are races.
const TIMES: u32 = 40;
/// The same for the rarest ones.
const MOST: u32 = TIMES * 64;
/// After how many seconds without an event a candidate hangs: few, since each one that hangs costs them.
const QUIET: &str = "5";
/// How long a candidate may take, and all of them.
const LIMIT: Duration = Duration::from_secs(60);
const ALL: Duration = Duration::from_secs(240);
/// Below so many microseconds a step is short.
const SHORTEST: u32 = 100;

/// Prints the smallest program found that still fails.
pub(crate) fn shrink(arguments: &Arguments, seed: u64) {
    let begun = Instant::now();
    let mut shrink = Shrink {
        arguments,
        seed,
        times: TIMES,
        until: begun + ALL,
        cuts: arguments.cuts.clone(),
    };
    while !shrink.fails(&shrink.cuts) {
        shrink.times *= 4;
        if shrink.times > MOST {
            shrink.times = MOST;
            let command = shrink.command();
            println!("stress: seed {seed} did not fail again: {command}");
            return;
        }
    }
    // It has just failed at about half of these: a candidate gets a fair chance.
    if shrink.times > TIMES {
        shrink.times = MOST.min(shrink.times * 2);
    }
    shrink.drop_steps();
    shrink.shorten_steps();
    println!(
        "stress: the smallest that still fails: {}",
        shrink.command()
    );
    println!("{}", shrink.program());
}

/// A program that gets smaller.
struct Shrink<'a> {
    arguments: &'a Arguments,
    seed: u64,
    /// How often a candidate is run.
    times: u32,
    until: Instant,
    /// What it fails without.
    cuts: Cuts,
}

impl Shrink<'_> {
    fn program(&self) -> Program {
        Program::generate(self.seed, self.arguments.workers, &self.cuts)
    }

    fn command(&self) -> String {
        let mut words = self.arguments.words();
        words.extend(self.cuts.words());
        let (seed, words, times) = (self.seed, words.join(" "), self.times);
        format!("--replay {seed} {words} --times {times}")
    }

    fn is_over(&self) -> bool {
        Instant::now() > self.until
    }

    /// Makes these cuts, unless it then fails no more.
    fn try_cuts(&mut self, cuts: Cuts) -> bool {
        let fails = self.fails(&cuts);
        if fails {
            self.cuts = cuts;
        }
        fails
    }

    fn drop_steps(&mut self) {
        let all: Vec<u32> = self.program().steps().iter().map(|s| s.number).collect();
        // Outer steps come first, and take their bodies with them.
        let mut size = all.len().div_ceil(2).max(1);
        loop {
            for part in all.chunks(size) {
                let mut cuts = self.cuts.clone();
                cuts.without.extend(part);
                if cuts.without.len() > self.cuts.without.len() {
                    self.try_cuts(cuts);
                }
                if self.is_over() {
                    return;
                }
            }
            if size == 1 {
                return;
            }
            size = size.div_ceil(2);
        }
    }

    fn shorten_steps(&mut self) {
        let program = self.program();
        for step in program.steps() {
            let mut op = step.op;
            let Some(time) = op.time() else { continue };
            while *time > SHORTEST && !self.is_over() {
                *time /= 4;
                let mut cuts = self.cuts.clone();
                cuts.short.insert(step.number, *time);
                if !self.try_cuts(cuts) {
                    break;
                }
            }
        }
    }

    /// Whether the program fails, or hangs, in one of some runs.
    fn fails(&self, cuts: &Cuts) -> bool {
        let child = this_program()
            .args(["--replay", &self.seed.to_string()])
            .args(["--times", &self.times.to_string()])
            .args(["--quiet", QUIET])
            .args(self.arguments.words())
            .args(cuts.words())
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
                    return self.times <= TIMES;
                }
            }
        }
    }
}

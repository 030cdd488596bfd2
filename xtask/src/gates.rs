//! `gates`: costs that are counted, not timed, and that may not rise above their bars.
//!
//! Instructions and atomic read-modify-writes come from callgrind: the same operation 1000 and 6000 times, the
//! difference by 5000. Syscalls come from the kernel's own counter, over a window in which exactly the counted round
//! trips take place. Memory is the growth of the resident set.

mod callgrind;
mod syscalls;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use self::callgrind::Counts;
use crate::process::{Outcome, capture};
use crate::project::{self, number, take_option};
use crate::tools::{Tool, strict};

/// A cost and how high it may be.
struct Gate {
    name: &'static str,
    what: &'static str,
    /// Above it the check fails.
    bar: f64,
    /// Where it should come to.
    goal: f64,
    measure: fn(&Subject) -> Outcome<f64>,
}

const GATES: &[Gate] = &[
    Gate {
        name: "spawn-instructions",
        what: "instructions, spawn + run + free on a worker",
        bar: 780.0,
        goal: 700.0,
        measure: |subject| Ok(subject.spawn()?.instructions),
    },
    Gate {
        name: "spawn-rmw",
        what: "atomic RMW and fences, spawn + run + free",
        bar: 9.0,
        goal: 8.0,
        measure: |subject| Ok(subject.spawn()?.atomics()),
    },
    Gate {
        name: "spawn-shared",
        what: "RMW on shared lines per 1024 local spawns",
        bar: 2.0,
        goal: 1.0,
        measure: |subject| Ok(subject.spawn()?.shared() * 1024.0),
    },
    Gate {
        name: "yield-instructions",
        what: "instructions, self-wake + reschedule + poll",
        bar: 230.0,
        goal: 200.0,
        measure: |subject| Ok(subject.yields()?.instructions),
    },
    Gate {
        name: "yield-rmw",
        what: "atomic RMW and fences, self-wake + reschedule + poll",
        bar: 6.0,
        goal: 5.0,
        measure: |subject| Ok(subject.yields()?.atomics()),
    },
    Gate {
        name: "echo-1",
        what: "syscalls per echo round trip, 1 worker, 1 connection",
        bar: 3.05,
        goal: 3.0,
        measure: |subject| syscalls::per_round_trip(subject, 1),
    },
    Gate {
        name: "echo-32",
        what: "syscalls per echo round trip, 1 worker, 32 connections",
        bar: 2.15,
        goal: 2.05,
        measure: |subject| syscalls::per_round_trip(subject, 32),
    },
    Gate {
        name: "memory",
        what: "resident bytes per pending empty task, 10^6 of them",
        bar: 132.0,
        goal: 112.0,
        measure: memory,
    },
    Gate {
        name: "idle",
        what: "syscalls in 2 s of an idle runtime",
        bar: 0.0,
        goal: 0.0,
        measure: syscalls::while_idle,
    },
];

/// How many operations lie between the two counted runs.
const SHORT: u32 = 1000;
const LONG: u32 = 6000;

/// The least of a few counts: what a worker does by the clock comes on top, and the program is fifty times slower here.
const RUNS: usize = 3;

/// What is measured: the program, and the runtime that it is told to use.
struct Subject {
    program: PathBuf,
    backend: String,
    spawn: std::cell::OnceCell<Counts>,
    yields: std::cell::OnceCell<Counts>,
}

impl Subject {
    fn spawn(&self) -> Outcome<&Counts> {
        self.counted(&self.spawn, "gate_spawn")
    }

    fn yields(&self) -> Outcome<&Counts> {
        self.counted(&self.yields, "gate_yield")
    }

    /// What a workload executes, counted once, with a table of every place that has an atomic operation.
    fn counted<'a>(
        &'a self,
        cell: &'a std::cell::OnceCell<Counts>,
        workload: &str,
    ) -> Outcome<&'a Counts> {
        if cell.get().is_none() {
            let runs = (0..RUNS)
                .map(|_| callgrind::difference(self, workload, SHORT, LONG))
                .collect::<Outcome<Vec<Counts>>>()?;
            let counts = runs
                .into_iter()
                .min_by(|one, other| one.instructions.total_cmp(&other.instructions))
                .ok_or_else(|| format!("{workload} was not run"))?;
            println!(
                "{workload} on {}, atomic operations per operation by place:\n{counts}",
                self.backend
            );
            // It was empty a moment ago, and nobody else has it.
            let _ = cell.set(counts);
        }
        cell.get()
            .ok_or_else(|| format!("{workload} was not counted"))
    }

    fn command(&self, words: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.arg(&self.backend).args(words.split_whitespace());
        command
    }
}

/// Measures the gates whose names begin with one of `words`, all of them without any.
pub(crate) fn run(words: &[&str]) -> Outcome {
    let mut names = words.to_vec();
    let csv = take_option(&mut names, "--csv")?;
    let backend = take_option(&mut names, "--backend")?.unwrap_or("heist");
    for tool in [Tool::Valgrind, Tool::Objdump, Tool::Perf] {
        tool.provide(strict())?;
    }
    let program = project::build_bench_one_to_count()?;
    let subject = Subject {
        program,
        backend: backend.to_owned(),
        spawn: Default::default(),
        yields: Default::default(),
    };
    let chosen =
        |gate: &&Gate| names.is_empty() || names.iter().any(|name| gate.name.starts_with(name));
    let results: Vec<(&Gate, Outcome<f64>)> = GATES
        .iter()
        .filter(chosen)
        .map(|gate| (gate, (gate.measure)(&subject)))
        .collect();
    print_table(backend, &results);
    if let Some(path) = csv {
        write_csv(Path::new(path), &results)?;
    }
    let missed = results
        .iter()
        .filter(|(gate, measured)| !passes(gate, measured))
        .count();
    match (results.len(), missed) {
        (0, _) => Err("there is no gate of that name".to_owned()),
        (_, 0) => Ok(()),
        (all, missed) => Err(format!("{missed} of {all} gates failed")),
    }
}

fn passes(gate: &Gate, measured: &Outcome<f64>) -> bool {
    measured
        .as_ref()
        .is_ok_and(|measured| *measured <= gate.bar)
}

fn print_table(backend: &str, results: &[(&Gate, Outcome<f64>)]) {
    println!(
        "{:<20} {:<58} {:>9} {:>8} {:>8}",
        backend, "what", "measured", "bar", "goal"
    );
    for (gate, measured) in results {
        let verdict = if passes(gate, measured) {
            "PASS"
        } else {
            "FAIL"
        };
        let value = measured
            .as_ref()
            .map_or_else(|_| "-".to_owned(), |value| format!("{value:.2}"));
        println!(
            "{:<20} {:<58} {value:>9} {:>8} {:>8} {verdict}",
            gate.name, gate.what, gate.bar, gate.goal
        );
        if let Err(problem) = measured {
            println!("    {problem}");
        }
    }
}

fn write_csv(path: &Path, results: &[(&Gate, Outcome<f64>)]) -> Outcome {
    let line = |(gate, measured): &(&Gate, Outcome<f64>)| {
        let value = measured
            .as_ref()
            .map_or_else(|_| String::new(), f64::to_string);
        format!("{},{value},{},{}\n", gate.name, gate.bar, gate.goal)
    };
    let text =
        "gate,measured,bar,goal\n".to_owned() + &results.iter().map(line).collect::<String>();
    fs::write(path, text).map_err(|error| format!("cannot write {}: {error}", path.display()))
}

fn memory(subject: &Subject) -> Outcome<f64> {
    let line = capture(&mut subject.command("memory_pending --workers 1 --n 1000000"))?;
    line.trim()
        .strip_prefix("bytes ")
        .map_or_else(|| Err(format!("bench-one said {line:?}")), number)
}

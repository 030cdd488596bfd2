//! `gates`: costs that are counted, not timed, and that may not rise above their bars.
//!
//! Instructions and atomic read-modify-writes come from callgrind: the same operation 1000 and 6000 times, the
//! difference by 5000. Syscalls come from the kernel's own counter, over a window in which exactly the counted round
//! trips take place. Memory is the growth of the resident set.

mod callgrind;
mod kept;
mod syscalls;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;

use self::callgrind::Counts;
use self::kept::Kept;
use crate::process::{Outcome, capture};
use crate::project::{self, number, take_option, take_switch};
use crate::tools::{Tool, strict};

/// A cost and how high it may be.
struct Gate {
    name: &'static str,
    what: &'static str,
    /// Above it the check fails.
    bar: f64,
    /// Where it should come to.
    goal: f64,
    measure: Measure,
}

type Measure = fn(&Subject) -> Outcome<f64>;

/// A count that has no bar: it must not rise above what is kept.
const fn kept(name: &'static str, what: &'static str, measure: Measure) -> Gate {
    gate(name, what, f64::INFINITY, f64::INFINITY, measure)
}

const fn gate(
    name: &'static str,
    what: &'static str,
    bar: f64,
    goal: f64,
    measure: Measure,
) -> Gate {
    Gate {
        name,
        what,
        bar,
        goal,
        measure,
    }
}

const GATES: &[Gate] = &[
    gate(
        "spawn-instructions",
        "instructions, spawn + run + free on a worker",
        780.0,
        700.0,
        |subject| Ok(subject.counts("gate_spawn")?.instructions),
    ),
    gate(
        "spawn-rmw",
        "atomic RMW and fences, spawn + run + free",
        9.0,
        8.0,
        |subject| Ok(subject.counts("gate_spawn")?.atomics()),
    ),
    gate(
        "spawn-shared",
        "RMW on shared lines per 1024 local spawns",
        2.0,
        1.0,
        |subject| Ok(subject.counts("gate_spawn")?.shared() * 1024.0),
    ),
    kept(
        "spawn-allocations",
        "allocations, spawn + run + free on a worker",
        |subject| Ok(subject.counts("gate_spawn")?.allocations),
    ),
    gate(
        "yield-instructions",
        "instructions, self-wake + reschedule + poll",
        230.0,
        200.0,
        |subject| Ok(subject.counts("gate_yield")?.instructions),
    ),
    gate(
        "yield-rmw",
        "atomic RMW and fences, self-wake + reschedule + poll",
        6.0,
        5.0,
        |subject| Ok(subject.counts("gate_yield")?.atomics()),
    ),
    kept(
        "yield-allocations",
        "allocations, self-wake + reschedule + poll",
        |subject| Ok(subject.counts("gate_yield")?.allocations),
    ),
    kept(
        "join-instructions",
        "instructions, spawn + await on a worker",
        |subject| Ok(subject.counts("gate_join")?.instructions),
    ),
    kept(
        "join-rmw",
        "atomic RMW and fences, spawn + await on a worker",
        |subject| Ok(subject.counts("gate_join")?.atomics()),
    ),
    kept(
        "wake-instructions",
        "instructions, message + wake + poll between two tasks",
        |subject| Ok(subject.counts("gate_wake")?.instructions),
    ),
    kept(
        "wake-rmw",
        "atomic RMW and fences, message + wake + poll",
        |subject| Ok(subject.counts("gate_wake")?.atomics()),
    ),
    kept(
        "sleep-instructions",
        "instructions, a long sleep made, polled once, dropped",
        |subject| Ok(subject.counts("gate_sleep")?.instructions),
    ),
    kept(
        "sleep-rmw",
        "atomic RMW and fences, a long sleep",
        |subject| Ok(subject.counts("gate_sleep")?.atomics()),
    ),
    kept(
        "sleep-allocations",
        "allocations, a long sleep",
        |subject| Ok(subject.counts("gate_sleep")?.allocations),
    ),
    gate(
        "echo-1",
        "syscalls per echo round trip, 1 worker, 1 connection",
        3.05,
        3.0,
        |subject| syscalls::per_round_trip(subject, 1),
    ),
    gate(
        "echo-32",
        "syscalls per echo round trip, 1 worker, 32 connections",
        2.15,
        2.05,
        |subject| syscalls::per_round_trip(subject, 32),
    ),
    gate(
        "memory",
        "resident bytes per pending empty task, 10^6 of them",
        132.0,
        112.0,
        memory,
    ),
    gate(
        "idle",
        "syscalls in 2 s of an idle runtime",
        0.0,
        0.0,
        syscalls::while_idle,
    ),
];

/// The backend whose counts are kept.
const OURS: &str = "heist";

/// How many operations lie between the two counted runs.
const SHORT: u32 = 1000;
const LONG: u32 = 6000;

/// The least of a few counts: what a worker does by the clock comes on top, and the program is fifty times slower here.
const RUNS: usize = 3;

/// What is measured: the program, and the runtime that it is told to use.
struct Subject {
    program: PathBuf,
    backend: String,
    counted: RefCell<BTreeMap<&'static str, Rc<Counts>>>,
}

impl Subject {
    /// What a workload executes, counted once, with a table of every place that has an atomic operation.
    fn counts(&self, workload: &'static str) -> Outcome<Rc<Counts>> {
        if let Some(counts) = self.counted.borrow().get(workload) {
            return Ok(Rc::clone(counts));
        }
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
        let counts = Rc::new(counts);
        self.counted
            .borrow_mut()
            .insert(workload, Rc::clone(&counts));
        Ok(counts)
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
    let backend = take_option(&mut names, "--backend")?.unwrap_or(OURS);
    let keep = take_switch(&mut names, "--keep");
    for tool in [Tool::Valgrind, Tool::Objdump, Tool::Perf] {
        tool.provide(strict())?;
    }
    let program = project::build_bench_one_to_count()?;
    let subject = Subject {
        program,
        backend: backend.to_owned(),
        counted: RefCell::default(),
    };
    let chosen =
        |gate: &&Gate| names.is_empty() || names.iter().any(|name| gate.name.starts_with(name));
    let results: Vec<(&Gate, Outcome<f64>)> = GATES
        .iter()
        .filter(chosen)
        .map(|gate| (gate, (gate.measure)(&subject)))
        .collect();
    // What is kept are our counts, not those of another runtime.
    let kept = (backend == OURS).then(Kept::read).transpose()?;
    if let (Some(kept), true) = (&kept, keep) {
        let counts = results
            .iter()
            .filter_map(|(gate, measured)| Some((gate.name, *measured.as_ref().ok()?)));
        kept.clone().keep(counts)?;
    }
    print_table(backend, &results, kept.as_ref());
    if let Some(path) = csv {
        write_csv(Path::new(path), &results)?;
    }
    let missed = results
        .iter()
        .filter(|(gate, measured)| verdict(gate, measured, kept.as_ref()) != PASS)
        .count();
    match (results.len(), missed) {
        (0, _) => Err("there is no gate of that name".to_owned()),
        (_, 0) => Ok(()),
        (all, missed) => Err(format!("{missed} of {all} gates failed")),
    }
}

const PASS: &str = "PASS";

fn verdict(gate: &Gate, measured: &Outcome<f64>, kept: Option<&Kept>) -> &'static str {
    match measured {
        Ok(measured) if *measured > gate.bar => "FAIL",
        Ok(measured) if kept.is_some_and(|kept| *measured > kept.limit(gate.name)) => {
            "MORE THAN WAS KEPT"
        }
        Ok(_) => PASS,
        Err(_) => "FAIL",
    }
}

fn print_table(backend: &str, results: &[(&Gate, Outcome<f64>)], kept: Option<&Kept>) {
    println!(
        "{:<20} {:<58} {:>9} {:>9} {:>8} {:>8}",
        backend, "what", "measured", "kept", "bar", "goal"
    );
    let shown = |value: Option<f64>| {
        value
            .filter(|value| value.is_finite())
            .map_or_else(|| "-".to_owned(), |value| format!("{value:.2}"))
    };
    for (gate, measured) in results {
        println!(
            "{:<20} {:<58} {:>9} {:>9} {:>8} {:>8} {}",
            gate.name,
            gate.what,
            shown(measured.as_ref().ok().copied()),
            shown(kept.and_then(|kept| kept.of(gate.name))),
            shown(Some(gate.bar)),
            shown(Some(gate.goal)),
            verdict(gate, measured, kept)
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

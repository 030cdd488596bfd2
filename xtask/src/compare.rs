//! `compare`: heist and its peers side by side.
//!
//! Every figure comes from a process of its own. The backends take turns inside of each round, so that what else the
//! machine does hits all of them; the first round is dropped; the ratio to the reference is taken round by round.

mod bars;
mod table;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::process::{self, Outcome, capture};
use crate::project::{self, number, take_option};
use crate::tools::{Tool, strict};

/// The backend that the others are compared with.
const REFERENCE: &str = "tokio";

/// The one that is judged.
const SUBJECT: &str = "heist";

const BACKENDS: &str = "tokio,smol,smol-static,heist,rayon,bare";

/// What is no executor of tasks, but shows what the work costs without one, and the workloads that it has.
const FLOORS: &[(&str, &[&str])] = &[
    ("rayon", &["skynet", "fork_join_fib"]),
    (
        "bare",
        &["tcp_echo_1", "tcp_echo_64", "tcp_echo_1000", "tcp_accept"],
    ),
];

/// How many workers the bars are for.
const JUDGED_WORKERS: usize = 2;

const WORKLOADS: &[&str] = &[
    "spawn_local",
    "spawn_detached",
    "spawn_remote",
    "spawn_remote_busy",
    "yield_many",
    "ping_pong",
    "chan_ping_pong",
    "chained_spawn",
    "skynet",
    "fork_join_fib",
    "mpsc",
    "mutex_contended",
    "channel_mpsc",
    "queue_mpmc",
    "oneshot",
    "mutex_uncontended",
    "mutex_contended_own",
    "semaphore",
    "notify",
    "broadcast",
    "watch",
    "group_spawn_join",
    "timeout_ready",
    "spawn_blocking",
    "timer_churn",
    "timers_many",
    "timer_lateness",
    "sleep_1ms",
    "wake_latency_idle",
    "wake_latency_busy",
    "fairness",
    "blocked_workers",
    "memory_pending",
    "memory_sleeping",
    "tcp_echo_1",
    "tcp_echo_64",
    "tcp_echo_1000",
    "tcp_accept",
    "http",
    "idle_conns",
    "idle_conns_http",
];

/// Measured rounds where nothing else is said.
const ROUNDS: usize = 5;

/// What is to be run.
struct Plan<'a> {
    workloads: Vec<&'a str>,
    backends: Vec<&'a str>,
    workers: Vec<usize>,
    rounds: usize,
    csv: Option<&'a str>,
}

impl<'a> Plan<'a> {
    fn parse(words: &[&'a str]) -> Outcome<Self> {
        let mut words = words.to_vec();
        let rounds = take_option(&mut words, "--rounds")?.map_or(Ok(ROUNDS), number)?;
        let workers = take_option(&mut words, "--workers")?.unwrap_or("2");
        let backends = take_option(&mut words, "--backends")?
            .unwrap_or(BACKENDS)
            .split(',')
            .collect();
        let csv = take_option(&mut words, "--csv")?;
        let workers = workers.split(',').map(number).collect::<Outcome<_>>()?;
        let workloads = if words.is_empty() {
            WORKLOADS.to_vec()
        } else {
            words
        };
        Ok(Self {
            workloads,
            backends,
            workers,
            rounds: rounds.max(1),
            csv,
        })
    }
}

/// One figure of one run.
#[derive(Clone, Debug, PartialEq)]
struct Sample {
    backend: usize,
    round: usize,
    metric: String,
    value: f64,
}

/// Runs the plan and prints a row per workload and metric as soon as it is measured, then a row per bar.
pub(crate) fn run(words: &[&str]) -> Outcome {
    let plan = Plan::parse(words)?;
    let measured = execute(&plan)?;
    plan.csv
        .map_or(Ok(()), |path| write(Path::new(path), &measured.raw))
}

/// Measures everything, with one, two and eight workers unless told otherwise, and writes it into the document, with pictures.
pub(crate) fn benchmarks(words: &[&str]) -> Outcome {
    let mut words = words.to_vec();
    if !words.contains(&"--workers") {
        words.extend(["--workers", "1,2,8"]);
    }
    let plan = Plan::parse(&words)?;
    let document = project::root().join("docs/benchmarks.md");
    let folder = project::root().join("docs/benchmarks");
    fs::create_dir_all(&folder)
        .map_err(|error| format!("cannot make {}: {error}", folder.display()))?;
    let measured = execute(&plan)?;
    let text = project::read(&document)?;
    let (before, rest) = text
        .split_once(BEGIN)
        .ok_or_else(|| format!("{} has no {BEGIN}", project::relative(&document)))?;
    let (_, after) = rest
        .split_once(END)
        .ok_or_else(|| format!("{} has no {END}", project::relative(&document)))?;
    let table = measured.table;
    write(&document, &format!("{before}{BEGIN}\n{table}{END}{after}"))?;
    let figures = folder.join("figures.csv");
    write(&figures, &measured.raw)?;
    let mut draw = project::cargo("run --quiet --release -p heist-benches --bin bench-draw --");
    process::show(draw.arg(figures).arg(folder))
}

const BEGIN: &str = "<!-- measured:begin -->";
const END: &str = "<!-- measured:end -->";

fn write(path: &Path, text: &str) -> Outcome {
    fs::write(path, text).map_err(|error| format!("cannot write {}: {error}", path.display()))
}

/// What came out of a plan.
#[derive(Default)]
struct Measured {
    /// For people.
    table: String,
    /// For programs.
    raw: String,
}

impl Measured {
    fn line(&mut self, line: &str) {
        println!("{line}");
        self.table.push_str(line);
        self.table.push('\n');
    }
}

fn execute(plan: &Plan<'_>) -> Outcome<Measured> {
    if plan.workloads.contains(&"http") {
        Tool::Wrk.provide(strict())?;
    }
    let program = project::build_bench_one()?;
    let mut measured = Measured::default();
    measured.line(&format!(
        "Costs: lower is better. Median; for the others than {REFERENCE} the ratio to it and [min..max] of that ratio by round.\n"
    ));
    measured.line(&format!(
        "| workload | workers | metric | {} |",
        plan.backends.join(" | ")
    ));
    measured.line(&format!(
        "|---|---|---|{}",
        "---|".repeat(plan.backends.len())
    ));
    measured.raw = String::from("workload,workers,metric,backend,round,value,bar\n");
    let mut verdicts = Vec::new();
    for workers in &plan.workers {
        for workload in &plan.workloads {
            let samples = measure(&program, plan, workload, *workers)?;
            for row in table::rows(&samples, &plan.backends) {
                measured.line(&format!("| {workload} | {workers} | {row}"));
            }
            if *workers == JUDGED_WORKERS {
                verdicts.extend(table::judge(&samples, &plan.backends, workload));
            }
            for sample in &samples {
                let backend = plan.backends[sample.backend];
                let bar = bars::of_reference(workload, &sample.metric);
                // Writing to a String does not fail.
                let _ = writeln!(
                    measured.raw,
                    "{workload},{workers},{},{backend},{},{},{bar}",
                    sample.metric, sample.round, sample.value
                );
            }
        }
    }
    if !verdicts.is_empty() {
        measured.line(&format!("\nRatios of medians, {JUDGED_WORKERS} workers.\n"));
        measured.line(&format!(
            "| workload | metric | {SUBJECT} | bar | goal | of the best other | of the floor | verdict |"
        ));
        measured.line("|---|---|---|---|---|---|---|---|");
    }
    for verdict in verdicts {
        measured.line(&verdict);
    }
    Ok(measured)
}

fn measure(
    program: &Path,
    plan: &Plan<'_>,
    workload: &str,
    workers: usize,
) -> Outcome<Vec<Sample>> {
    let mut samples = Vec::new();
    for round in 0..=plan.rounds {
        for turn in 0..plan.backends.len() {
            // Nobody is always first.
            let backend = (turn + round) % plan.backends.len();
            if !has(plan.backends[backend], workload) {
                continue;
            }
            let mut command = Command::new(program);
            command.args([
                plan.backends[backend],
                workload,
                "--workers",
                &workers.to_string(),
            ]);
            let line = capture(&mut command)?;
            let figures = figures(&line).into_iter().map(|(metric, value)| Sample {
                backend,
                round,
                metric,
                value,
            });
            samples.extend(figures.filter(|sample| sample.round > 0));
        }
    }
    Ok(samples)
}

/// Whether it is a backend that has the workload: all executors have all of them.
fn has(backend: &str, workload: &str) -> bool {
    FLOORS
        .iter()
        .find(|(floor, _)| *floor == backend)
        .is_none_or(|(_, workloads)| workloads.contains(&workload))
}

fn is_floor(backend: &str) -> bool {
    FLOORS.iter().any(|(floor, _)| *floor == backend)
}

/// "name value name value …"
fn figures(line: &str) -> Vec<(String, f64)> {
    let words: Vec<&str> = line.split_whitespace().collect();
    words
        .chunks_exact(2)
        .filter_map(|pair| Some((pair[0].to_owned(), pair[1].parse().ok()?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_figures_is_taken_apart() {
        assert_eq!(
            figures("ns 12.5 cpu_ns 30\n"),
            [("ns".to_owned(), 12.5), ("cpu_ns".to_owned(), 30.0)]
        );
    }
}

//! `compare`: heist and its peers side by side.
//!
//! Every figure comes from a process of its own. The backends take turns inside of each round, so that what else the
//! machine does hits all of them; the first round is dropped; the ratio to the reference is taken round by round.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::process::{Outcome, capture};
use crate::project::{self, number, take_option};
use crate::tools::{Tool, strict};

/// The backend that the others are compared with.
const REFERENCE: &str = "tokio";

const BACKENDS: &str = "tokio,smol,smol-static,heist";

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
    "timer_churn",
    "timers_many",
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

/// Runs the plan and prints a row per workload and metric as soon as it is measured.
pub(crate) fn run(words: &[&str]) -> Outcome {
    let plan = Plan::parse(words)?;
    if plan.workloads.contains(&"http") {
        Tool::Wrk.provide(strict())?;
    }
    let program = project::build_bench_one()?;
    println!(
        "Costs: lower is better. Median; for the others than {REFERENCE} the ratio to it and [min..max] of that ratio by round."
    );
    println!(
        "| workload | workers | metric | {} |",
        plan.backends.join(" | ")
    );
    println!("|---|---|---|{}", "---|".repeat(plan.backends.len()));
    let mut raw = String::from("workload,workers,metric,backend,round,value\n");
    for workers in &plan.workers {
        for workload in &plan.workloads {
            let samples = measure(&program, &plan, workload, *workers)?;
            for row in rows(&samples, &plan.backends) {
                println!("| {workload} | {workers} | {row}");
            }
            for sample in &samples {
                let backend = plan.backends[sample.backend];
                // Writing to a String does not fail.
                let _ = writeln!(
                    raw,
                    "{workload},{workers},{},{backend},{},{}",
                    sample.metric, sample.round, sample.value
                );
            }
        }
    }
    plan.csv.map_or(Ok(()), |path| {
        fs::write(path, raw).map_err(|error| format!("cannot write {path}: {error}"))
    })
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

/// "name value name value …"
fn figures(line: &str) -> Vec<(String, f64)> {
    let words: Vec<&str> = line.split_whitespace().collect();
    words
        .chunks_exact(2)
        .filter_map(|pair| Some((pair[0].to_owned(), pair[1].parse().ok()?)))
        .collect()
}

/// One row of the table for each metric, in the order in which the program tells them.
fn rows(samples: &[Sample], backends: &[&str]) -> Vec<String> {
    let mut metrics: Vec<&str> = Vec::new();
    for sample in samples {
        if !metrics.contains(&sample.metric.as_str()) {
            metrics.push(&sample.metric);
        }
    }
    let reference = backends.iter().position(|backend| *backend == REFERENCE);
    let row = |metric: &&str| {
        let series = |backend: usize| values(samples, metric, backend);
        let cells = (0..backends.len()).map(|backend| {
            cell(
                &series(backend),
                reference.filter(|it| *it != backend).map(series),
            )
        });
        format!("{metric} | {} |", cells.collect::<Vec<_>>().join(" | "))
    };
    metrics.iter().map(row).collect()
}

/// The values of one backend by round.
fn values(samples: &[Sample], metric: &str, backend: usize) -> Vec<f64> {
    let mut found: Vec<&Sample> = samples
        .iter()
        .filter(|sample| sample.backend == backend && sample.metric == metric)
        .collect();
    found.sort_by_key(|sample| sample.round);
    found.into_iter().map(|sample| sample.value).collect()
}

fn cell(values: &[f64], reference: Option<Vec<f64>>) -> String {
    let text = format!("{:.1}", median(values));
    let Some(reference) = reference else {
        return format!("{text} [{:.1}..{:.1}]", least(values), most(values));
    };
    let ratios: Vec<f64> = values
        .iter()
        .zip(&reference)
        .map(|(value, reference)| value / reference)
        .collect();
    format!(
        "{text} ({:.2} [{:.2}..{:.2}])",
        median(&ratios),
        least(&ratios),
        most(&ratios)
    )
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

fn least(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::INFINITY, f64::min)
}

fn most(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::NEG_INFINITY, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_taken_round_by_round() {
        let sample = |backend, round, value| Sample {
            backend,
            round,
            metric: "ns".to_owned(),
            value,
        };
        let samples = [
            sample(0, 1, 100.0),
            sample(1, 1, 50.0),
            sample(1, 2, 100.0),
            sample(0, 2, 400.0),
            sample(0, 3, 200.0),
            sample(1, 3, 80.0),
        ];
        assert_eq!(
            rows(&samples, &["tokio", "heist"]),
            ["ns | 200.0 [100.0..400.0] | 80.0 (0.40 [0.25..0.50]) |"]
        );
    }

    #[test]
    fn a_line_of_figures_is_taken_apart() {
        assert_eq!(
            figures("ns 12.5 cpu_ns 30\n"),
            [("ns".to_owned(), 12.5), ("cpu_ns".to_owned(), 30.0)]
        );
    }
}

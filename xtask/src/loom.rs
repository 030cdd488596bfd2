//! `loom`: every model on the code that ships, then every mutation that a model must catch.
//!
//! What the package `heist-loom-tests` agrees on with this program:
//!
//! * every test is a model, but for the one that is called `mutations`;
//! * a model prints `model NAME iterations N`, once for each thing that it explores;
//! * `mutations` prints a line `mutation MODEL MUTATION` for each pair;
//! * with `HEIST_MUTATION=MUTATION` in the environment, the test MODEL fails.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crate::process::{Outcome, Ran, bounded, capture};
use crate::project::{self, cargo, number, take_option};
use crate::repeat::programs;

/// A run that takes longer has failed, a mutation that runs longer was missed.
const LIMIT: Duration = Duration::from_secs(600);

/// A model and the program that has it.
pub(crate) struct Model {
    program: PathBuf,
    pub(crate) name: String,
}

/// A model and the mutation that it must catch.
type Pair = (String, String);

/// One run of a model.
struct Job<'m> {
    model: &'m Model,
    mutation: Option<String>,
}

/// Runs all models whose name has one of the filters in it.
pub(crate) fn run(words: &[&str]) -> Outcome {
    let mut filters = words.to_vec();
    let bound = take_option(&mut filters, "--bound")?.map_or(Ok(2), number::<u32>)?;
    let Models { models, mutations } = Models::build(&project::root(), &project::target("loom"))?;
    let chosen =
        |name: &str| filters.is_empty() || filters.iter().any(|filter| name.contains(filter));
    let mut jobs: Vec<Job<'_>> = models
        .iter()
        .filter(|model| chosen(&model.name))
        .map(|model| Job {
            model,
            mutation: None,
        })
        .collect();
    for (name, mutation) in mutations.into_iter().filter(|(name, _)| chosen(name)) {
        let model = models.iter().find(|model| model.name == name);
        let model = model.ok_or_else(|| {
            format!("the mutation {mutation} names a model that does not exist: {name}")
        })?;
        jobs.push(Job {
            model,
            mutation: Some(mutation),
        });
    }
    if jobs.is_empty() {
        return Err("there is no model of that name in loom-tests".to_owned());
    }
    println!("loom: {} runs, at most {bound} pre-emptions", jobs.len());
    let failures = all(&jobs, bound)?;
    if failures == 0 {
        Ok(())
    } else {
        Err(format!("{failures} of {} loom runs failed", jobs.len()))
    }
}

/// Runs the models of the example, as its author would: they find their defects themselves.
pub(crate) fn example() -> Outcome {
    let mut command = cargo("test --release -p single-flight --test model");
    let ran = bounded(under_loom(&mut command, &project::target("loom")), LIMIT)?;
    println!("{}", ran.tail(40));
    match ran.status {
        Some(status) if status.success() => Ok(()),
        Some(status) => Err(format!("the models of the example ended with {status}")),
        None => Err("the models of the example did not end".to_owned()),
    }
}

/// How everything of loom's is built.
fn under_loom<'c>(command: &'c mut Command, target: &Path) -> &'c mut Command {
    command
        .env("CARGO_TARGET_DIR", target)
        .env("RUSTFLAGS", "--cfg loom")
        // Loom is slow without optimisation, and the invariants shall be checked.
        .env("CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS", "true")
}

/// What the package has.
pub(crate) struct Models {
    pub(crate) models: Vec<Model>,
    mutations: Vec<Pair>,
}

impl Models {
    /// Builds the package of the project at `root` once, then asks it.
    pub(crate) fn build(root: &Path, target: &Path) -> Outcome<Self> {
        let mut build =
            cargo("test --quiet -p heist-loom-tests --release --no-run --message-format=json");
        under_loom(&mut build, target).current_dir(root);
        let mut models = Vec::new();
        let mut mutations = Vec::new();
        for program in programs(&capture(&mut build)?) {
            let list = capture(Command::new(&program.path).args(["--list", "--format=terse"]))?;
            for name in list.lines().filter_map(|line| line.strip_suffix(": test")) {
                if name == "mutations" {
                    let mut command = Command::new(&program.path);
                    command.args(["--exact", "mutations", "--nocapture"]);
                    mutations.extend(pairs(&capture(&mut command)?));
                } else {
                    models.push(Model {
                        program: program.path.clone(),
                        name: name.to_owned(),
                    });
                }
            }
        }
        Ok(Self { models, mutations })
    }

    /// Runs models in this order until one fails, and tells which. Notes how long the others took.
    pub(crate) fn first_that_fails(
        order: &[&Model],
        bound: u32,
        took: &Mutex<BTreeMap<String, Duration>>,
    ) -> Outcome<Option<String>> {
        let failed = Mutex::new(None);
        let queue = Mutex::new(order.iter());
        on_all_cores(|| {
            while failed.lock().is_ok_and(|failed| failed.is_none()) {
                let Some(model) = queue.lock().map_or(None, |mut models| models.next()) else {
                    break;
                };
                let ran = bounded(&mut command(model, None, bound), LIMIT)?;
                // A run that finds no end has noticed that something never happens.
                if ran.success() {
                    let mut took = took.lock().map_err(|_| "a run panicked")?;
                    took.insert(model.name.clone(), ran.elapsed);
                } else {
                    failed
                        .lock()
                        .map_err(|_| "a run panicked")?
                        .get_or_insert_with(|| model.name.clone());
                }
            }
            Ok(())
        })?;
        failed.into_inner().map_err(|_| "a run panicked".to_owned())
    }
}

fn pairs(listing: &str) -> Vec<Pair> {
    let pair = |line: &str| {
        // The test runner's own words may come first.
        let (before, pair) = line.split_once("mutation ")?;
        let (model, mutation) = pair.trim().split_once(' ')?;
        let named = before.is_empty() || before.ends_with("... ");
        named.then(|| (model.to_owned(), mutation.to_owned()))
    };
    listing.lines().filter_map(pair).collect()
}

fn all(jobs: &[Job<'_>], bound: u32) -> Outcome<usize> {
    let queue = Mutex::new(jobs.iter());
    let failures = AtomicUsize::new(0);
    on_all_cores(|| {
        while let Some(job) = queue.lock().map_or(None, |mut jobs| jobs.next()) {
            failures.fetch_add(usize::from(!one(job, bound)?), Ordering::Relaxed);
        }
        Ok(())
    })?;
    Ok(failures.into_inner())
}

/// As many at a time as there are cores: a model is one thread.
fn on_all_cores(work: impl Fn() -> Outcome + Sync) -> Outcome {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..cores).map(|_| scope.spawn(&work)).collect();
        let join = |thread: thread::ScopedJoinHandle<'_, Outcome>| {
            thread
                .join()
                .unwrap_or_else(|_| Err("a run panicked".to_owned()))
        };
        threads.into_iter().try_for_each(join)
    })
}

/// The run of one model.
fn command(model: &Model, mutation: Option<&str>, bound: u32) -> Command {
    let mut command = Command::new(&model.program);
    command
        .args(["--exact", &model.name, "--nocapture", "--test-threads=1"])
        .env("LOOM_MAX_PREEMPTIONS", bound.to_string())
        .env("RUST_BACKTRACE", "0")
        .env_remove("HEIST_MUTATION");
    if let Some(mutation) = mutation {
        command.env("HEIST_MUTATION", mutation);
    }
    command
}

/// Runs one and prints its line; true when it went as it must.
fn one(job: &Job<'_>, bound: u32) -> Outcome<bool> {
    let mut command = command(job.model, job.mutation.as_deref(), bound);
    let ran = bounded(&mut command, LIMIT)?;
    let (good, verdict) = job
        .mutation
        .as_ref()
        .map_or_else(|| judge_model(&ran), |_| judge_mutation(&ran));
    let name = job.mutation.as_ref().map_or_else(
        || job.model.name.clone(),
        |mutation| format!("{} with {mutation}", job.model.name),
    );
    println!(
        "loom: {name:<64} {verdict:>24} {:>7.1} s",
        ran.elapsed.as_secs_f64()
    );
    if !good {
        println!("{}", ran.tail(25));
    }
    Ok(good)
}

fn judge_model(ran: &Ran) -> (bool, String) {
    let iterations: u64 = ran.output.lines().filter_map(iterations).sum();
    match (ran.status.is_none(), ran.success(), iterations) {
        (true, ..) => (false, "TIMED OUT".to_owned()),
        (_, false, _) => (false, "FAILED".to_owned()),
        (_, _, 0) => (false, "SAYS NO ITERATIONS".to_owned()),
        (_, _, iterations) => (true, format!("{iterations} interleavings")),
    }
}

fn iterations(line: &str) -> Option<u64> {
    let (_, number) = line.split_once("model ")?.1.split_once(" iterations ")?;
    number.parse().ok()
}

/// A mutation is caught by an assertion or by a deadlock that loom sees, not by a run that finds no end.
fn judge_mutation(ran: &Ran) -> (bool, String) {
    let endless = ran.output.contains("exceeded maximum number of branches");
    let (good, verdict) = match (ran.status, endless) {
        (None, _) => (false, "TIMED OUT"),
        (_, true) => (false, "RAN WITHOUT END"),
        (Some(status), _) if status.success() => (false, "MISSED"),
        (Some(_), _) => (true, "caught"),
    };
    (good, verdict.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_found_behind_the_words_of_the_test_runner() {
        let line = "model over and held:Run+Wake iterations 445";
        assert_eq!(iterations(line), Some(445));
        assert_eq!(iterations(&format!("test racing ... {line}")), Some(445));
        assert_eq!(iterations("this model is good"), None);
    }

    #[test]
    fn mutations_are_listed_as_pairs() {
        let listing =
            "running 1 test\ntest mutations ... mutation idle no_fence\nmutation wake lost\nok\n";
        let expected =
            [("idle", "no_fence"), ("wake", "lost")].map(|(a, b)| (a.to_owned(), b.to_owned()));
        assert_eq!(pairs(listing), expected);
    }
}

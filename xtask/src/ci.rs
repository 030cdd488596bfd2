//! `ci`: everything that must be green, one step after the other, a line for each at the end.
//!
//! A step that fails does not stop the others. A step whose tool is missing is reported as skipped, never as passed;
//! where `CI` is set its tool is installed, and the step fails if that is not possible.

mod examples;

use std::time::Instant;

use crate::process::{self, Outcome, show};
use crate::project::{self, cargo, library_packages, take_switch};
use crate::tools::{FOREIGN_TARGETS, MSRV, Tool, strict};
use crate::{fuzz, gates, loom, miri, stress, tidy};

/// One check.
struct Step {
    name: &'static str,
    tools: &'static [Tool],
    run: fn() -> Outcome,
}

const STEPS: &[Step] = &[
    Step {
        name: "test",
        tools: &[],
        run: || show(&mut cargo("test --workspace")),
    },
    Step {
        name: "fmt",
        tools: &[Tool::Rustfmt],
        run: || {
            show(&mut cargo("fmt --all --check"))?;
            show(&mut cargo("fmt --manifest-path fuzz/Cargo.toml --check"))
        },
    },
    Step {
        name: "tidy",
        tools: &[],
        run: tidy::run,
    },
    Step {
        name: "clippy",
        tools: &[Tool::Clippy],
        run: || {
            show(&mut cargo(
                "clippy --workspace --all-targets --all-features -- -D warnings",
            ))
        },
    },
    Step {
        name: "fuzz targets",
        tools: &[Tool::Clippy],
        run: fuzz::check,
    },
    Step {
        name: "doc",
        tools: &[],
        run: doc,
    },
    Step {
        name: "test, all features",
        tools: &[],
        run: || {
            show(&mut cargo(&format!(
                "test --all-features {}",
                library_packages()?
            )))
        },
    },
    Step {
        name: "dependencies",
        tools: &[],
        run: dependencies,
    },
    Step {
        name: "examples",
        tools: &[],
        run: examples::run,
    },
    Step {
        name: "benches, one run each",
        tools: &[],
        run: || show(&mut cargo("test -p heist-benches --benches")),
    },
    Step {
        name: "random programs, for a moment",
        tools: &[],
        run: || stress::run(&["--seconds", "20"]),
    },
    Step {
        name: "loom, 2 pre-emptions",
        tools: &[],
        run: || loom::run(&["--bound", "2"]),
    },
    Step {
        name: "loom, a program on heist",
        tools: &[],
        run: loom::example,
    },
    Step {
        name: "miri, a subset",
        tools: &[Tool::Miri],
        run: || miri::run(&["--quick"]),
    },
    Step {
        name: "oldest toolchain",
        tools: &[Tool::OldToolchain],
        run: oldest_toolchain,
    },
    Step {
        name: "foreign platforms",
        tools: &[Tool::ForeignTargets],
        run: foreign_platforms,
    },
    Step {
        name: "gates",
        tools: &[Tool::Valgrind, Tool::Objdump, Tool::Perf],
        run: || gates::run(&[]),
    },
];

/// What `--full` adds.
const LONG_STEPS: &[Step] = &[
    Step {
        name: "loom, 3 pre-emptions",
        tools: &[],
        run: || loom::run(&["--bound", "3"]),
    },
    Step {
        name: "miri, all of it",
        tools: &[Tool::Miri],
        run: || miri::run(&["--full"]),
    },
    Step {
        name: "each feature alone",
        tools: &[],
        run: each_feature,
    },
    Step {
        name: "oldest dependencies",
        tools: &[Tool::Nightly],
        run: oldest_dependencies,
    },
    Step {
        name: "deny",
        tools: &[Tool::Deny],
        run: || show(&mut cargo("deny check")),
    },
    Step {
        name: "stress",
        tools: &[],
        run: || stress::run(&[]),
    },
];

/// `cargo tree` of the default facade stays below this many crates.
const MOST_CRATES: usize = 40;

/// How a step ended.
enum End {
    Passed,
    Failed(String),
    Skipped(String),
}

/// Runs all steps and fails when one has failed.
pub(crate) fn run(words: &[&str]) -> Outcome {
    let mut words = words.to_vec();
    let full = take_switch(&mut words, "--full");
    if !words.is_empty() {
        return Err("usage: cargo xtask ci [--full]".to_owned());
    }
    let long = if full { LONG_STEPS } else { &[] };
    let mut lines = Vec::new();
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    for step in STEPS.iter().chain(long) {
        println!("\n=== {}", step.name);
        let start = Instant::now();
        let end = one(step);
        let seconds = start.elapsed().as_secs_f64();
        let (word, count, reason) = match end {
            End::Passed => ("PASS", &mut passed, String::new()),
            End::Failed(reason) => ("FAIL", &mut failed, reason),
            End::Skipped(reason) => ("SKIPPED", &mut skipped, reason),
        };
        *count += 1;
        println!("=== {}: {word} {reason}", step.name);
        lines.push(format!(
            "{:<24} {word:<8} {seconds:>7.1} s  {}",
            step.name,
            reason.lines().next().unwrap_or_default()
        ));
    }
    println!("\n{}", lines.join("\n"));
    println!("\n{passed} passed, {failed} failed, {skipped} skipped");
    if failed == 0 {
        Ok(())
    } else {
        Err(format!("{failed} steps failed"))
    }
}

fn one(step: &Step) -> End {
    for tool in step.tools {
        match tool.provide(strict()) {
            Ok(()) => {}
            Err(reason) if strict() => return End::Failed(reason),
            Err(reason) => return End::Skipped(reason),
        }
    }
    match (step.run)() {
        Ok(()) => End::Passed,
        Err(reason) => End::Failed(reason),
    }
}

fn doc() -> Outcome {
    show(cargo("doc --workspace --no-deps --all-features").env("RUSTDOCFLAGS", "-D warnings"))
}

/// The default build stays small.
fn dependencies() -> Outcome {
    let tree = process::capture(&mut cargo(
        "tree --package heist --edges normal --prefix none --no-dedupe",
    ))?;
    let mut crates: Vec<&str> = tree
        .lines()
        .map(|line| line.split(" (").next().unwrap_or(line))
        .filter(|line| !line.is_empty())
        .collect();
    crates.sort_unstable();
    crates.dedup();
    println!("{} crates in the default build of heist", crates.len());
    if crates.len() < MOST_CRATES {
        Ok(())
    } else {
        Err(format!(
            "{} crates, must stay below {MOST_CRATES}:\n{}",
            crates.len(),
            crates.join("\n")
        ))
    }
}

fn oldest_toolchain() -> Outcome {
    let mut command = cargo(&format!(
        "+{MSRV} check --all-features {}",
        library_packages()?
    ));
    show(command.env("CARGO_TARGET_DIR", project::target("msrv")))
}

fn foreign_platforms() -> Outcome {
    let packages = library_packages()?;
    for target in FOREIGN_TARGETS {
        show(&mut cargo(&format!(
            "check --all-features --target {target} {packages}"
        )))?;
    }
    Ok(())
}

/// Each feature of each library crate builds without the others.
fn each_feature() -> Outcome {
    for folder in project::library_crates()? {
        let package = project::name(&folder);
        show(&mut cargo(&format!(
            "check -p {package} --no-default-features"
        )))?;
        for feature in features(&project::read(&folder.join("Cargo.toml"))?) {
            show(&mut cargo(&format!(
                "check -p {package} --no-default-features --features {feature}"
            )))?;
        }
    }
    Ok(())
}

/// The keys of the table of features.
fn features(manifest: &str) -> Vec<&str> {
    let table = manifest
        .lines()
        .skip_while(|line| line.trim() != "[features]")
        .skip(1)
        .take_while(|line| !line.starts_with('['));
    table
        .filter_map(|line| Some(line.split_once('=')?.0.trim()))
        .filter(|name| *name != "default")
        .collect()
}

/// The library crates build with the oldest versions that their manifests allow.
fn oldest_dependencies() -> Outcome {
    let lock = project::root().join("Cargo.lock");
    let kept = project::read(&lock)?;
    let update = show(&mut cargo("+nightly update -Z direct-minimal-versions"));
    let checked = update.and_then(|()| {
        let mut command = cargo(&format!(
            "+nightly check --all-features {}",
            library_packages()?
        ));
        show(command.env("CARGO_TARGET_DIR", project::target("minimal")))
    });
    std::fs::write(&lock, kept).map_err(|error| format!("cannot restore Cargo.lock: {error}"))?;
    checked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_are_read_from_a_manifest() {
        let manifest = "[package]\nname = \"x\"\n[features]\ndefault = [\"a\"]\na = []\nb = [\n  \"dep:c\",\n]\n[dependencies]\nd = \"1\"\n";
        assert_eq!(features(manifest), ["a", "b"]);
    }
}

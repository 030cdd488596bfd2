//! `fuzz`: coverage-guided input for what comes from outside, each target against a naive model of it.

use crate::process::{Outcome, show};
use crate::project::{self, cargo, files, number, take_option};
use crate::tools::Tool;

/// Runs the targets that are named, or all.
pub(crate) fn run(words: &[&str]) -> Outcome {
    let mut names = words.to_vec();
    let seconds = take_option(&mut names, "--seconds")?.map_or(Ok(60), number::<u32>)?;
    Tool::Miri.provide(false)?;
    Tool::Fuzz.provide(false)?;
    let all = targets()?;
    if let Some(unknown) = names
        .iter()
        .find(|name| !all.iter().any(|all| all == *name))
    {
        return Err(format!("there is no target {unknown}: {}", all.join(", ")));
    }
    for target in &all {
        if names.is_empty() || names.contains(&target.as_str()) {
            // Inputs that reached something new stay for the next time.
            let corpus = project::target("fuzz").join("corpus").join(target);
            std::fs::create_dir_all(&corpus)
                .map_err(|error| format!("cannot make {}: {error}", corpus.display()))?;
            let mut command = cargo(&format!("+nightly fuzz run {target}"));
            command
                .env("CARGO_TARGET_DIR", project::target("fuzz"))
                .arg(corpus)
                .args(["--", "-print_final_stats=1", "-max_len=8192"])
                .arg(format!("-max_total_time={seconds}"));
            show(&mut command)?;
        }
    }
    Ok(())
}

/// The targets are built, without what instruments them.
pub(crate) fn check() -> Outcome {
    let mut clippy = cargo("clippy --manifest-path fuzz/Cargo.toml --all-targets -- -D warnings");
    clippy
        .env("RUSTFLAGS", "--cfg fuzzing")
        .env("CARGO_TARGET_DIR", project::target("fuzz"));
    show(&mut clippy)
}

fn targets() -> Outcome<Vec<String>> {
    let mut names: Vec<String> = files(&project::root().join("fuzz/fuzz_targets"), "rs")?
        .iter()
        .filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()))
        .collect();
    names.sort_unstable();
    Ok(names)
}

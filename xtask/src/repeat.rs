//! `repeat`: the test programs of the workspace again and again, to find what fails one time in many.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::process::{Outcome, Owned, bounded, capture};
use crate::project::{cargo, number};

/// One run of one program may take this long.
const LIMIT: Duration = Duration::from_secs(300);

/// How often each harder way is tried.
const HARD_ROUNDS: usize = 5;

/// Runs each program `words[0]` times as it is, then on one thread, then beside a process that burns a core.
pub(crate) fn run(words: &[&str]) -> Outcome {
    let rounds = match words {
        [] => 20,
        [rounds] => number(rounds)?,
        _ => return Err("usage: cargo xtask repeat [N]".to_owned()),
    };
    let programs = programs(&capture(&mut cargo(
        "test --workspace --no-run --message-format=json",
    ))?);
    let mut failures = series(&programs, rounds, &[], "as it is")?;
    failures += series(
        &programs,
        HARD_ROUNDS,
        &["--test-threads=1"],
        "on one thread",
    )?;
    let hog = hog()?;
    failures += series(&programs, HARD_ROUNDS, &[], "beside a CPU hog")?;
    drop(hog);
    if failures == 0 {
        Ok(())
    } else {
        Err(format!("{failures} runs failed"))
    }
}

fn series(programs: &[Program], rounds: usize, arguments: &[&str], how: &str) -> Outcome<usize> {
    let mut failures = 0;
    for round in 1..=rounds {
        for program in programs {
            failures += usize::from(!passes(program, arguments, how)?);
        }
        println!("repeat: {how}, round {round} of {rounds}: {failures} failures so far");
    }
    Ok(failures)
}

fn passes(program: &Program, arguments: &[&str], how: &str) -> Outcome<bool> {
    let ran = bounded(
        Command::new(&program.path)
            .args(arguments)
            // As cargo sets it; ours would be that of this program.
            .env("CARGO_MANIFEST_DIR", &program.folder)
            .current_dir(&program.folder),
        LIMIT,
    )?;
    if !ran.success() {
        let ended = ran.status.map_or_else(
            || format!("no end after {} s", LIMIT.as_secs()),
            |status| status.to_string(),
        );
        println!(
            "repeat: FAIL {} {how}: {ended}\n{}",
            program.path.display(),
            ran.tail(60)
        );
    }
    Ok(ran.success())
}

/// A process that does nothing but use up a core; it is killed when the value is dropped.
fn hog() -> Outcome<Owned> {
    Owned::spawn(
        Command::new("sh")
            .args(["-c", "while :; do :; done"])
            .stdin(Stdio::null()),
    )
}

/// A test program that cargo has built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Program {
    pub(crate) path: PathBuf,
    /// The folder of its package, in which cargo runs it.
    pub(crate) folder: PathBuf,
}

/// The test programs that a `cargo test --no-run --message-format=json` has built.
pub(crate) fn programs(messages: &str) -> Vec<Program> {
    let text = |line: &str, key: &str| {
        Some(
            line.split_once(&format!("\"{key}\":\""))?
                .1
                .split_once('"')?
                .0
                .to_owned(),
        )
    };
    let program = |line: &str| {
        let manifest = text(line, "manifest_path")?;
        let folder = Path::new(&manifest).parent()?.to_owned();
        // A program that the tests start, built beside them, has no test profile.
        let profile = line.split_once("\"profile\":{")?.1.split_once('}')?.0;
        profile.contains("\"test\":true").then_some(Program {
            path: text(line, "executable")?.into(),
            folder,
        })
    };
    messages.lines().filter_map(program).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_read_from_the_messages_of_cargo() {
        let message = |test: bool, executable: &str| {
            let target = "\"manifest_path\":\"/p/Cargo.toml\",\"target\":{\"test\":true}";
            format!(
                "{{{target},\"profile\":{{\"opt_level\":\"0\",\"test\":{test}}},\"executable\":{executable}}}\n"
            )
        };
        let messages =
            message(true, "null") + &message(false, "\"/t/b\"") + &message(true, "\"/t/deps/a-1\"");
        assert_eq!(
            programs(&messages),
            [Program {
                path: "/t/deps/a-1".into(),
                folder: "/p".into()
            }]
        );
    }
}

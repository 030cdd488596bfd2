//! Every example, run for real.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::process::{Outcome, bounded, show};
use crate::project::{self, cargo, name};

/// The arguments of the examples that do not end by themselves without any.
const ARGUMENTS: &[(&str, &[&str])] = &[
    ("chat_server", &["0", "--demo"]),
    ("http_server", &["--load", "2", "--port", "0"]),
    ("pipeline", &["README.md", "CHANGELOG.md"]),
];

/// An example ends within this time.
const LIMIT: Duration = Duration::from_secs(60);

/// Builds all examples of the package, then runs each of them.
pub(super) fn run() -> Outcome {
    show(&mut cargo("build -p heist-examples --examples"))?;
    let mut failures = Vec::new();
    let examples = examples()?;
    for example in &examples {
        if let Err(problem) = one(example) {
            println!("{problem}");
            failures.push(example.as_str());
        }
    }
    match (examples.len(), failures.as_slice()) {
        (0, _) => Err("the package of examples has none".to_owned()),
        (_, []) => Ok(()),
        (_, failures) => Err(format!("failed: {}", failures.join(", "))),
    }
}

/// A file is an example, and so is a folder with a main.rs.
fn examples() -> Outcome<Vec<String>> {
    let folder = project::root().join("examples/examples");
    let own = |path: &PathBuf| {
        path.parent() == Some(&folder)
            || (name(path) == "main.rs"
                && path.parent().and_then(|it| it.parent()) == Some(&folder))
    };
    let title = |path: PathBuf| {
        let named = if path.parent() == Some(&folder) {
            path.as_path()
        } else {
            path.parent().unwrap_or(&folder)
        };
        name(named).trim_end_matches(".rs").to_owned()
    };
    Ok(project::files(&folder, "rs")?
        .into_iter()
        .filter(own)
        .map(title)
        .collect())
}

fn one(example: &str) -> Outcome {
    let arguments = ARGUMENTS
        .iter()
        .find(|(name, _)| *name == example)
        .map_or(&[][..], |(_, arguments)| arguments);
    let program = project::target("debug/examples").join(example);
    let ran = bounded(
        Command::new(program)
            .args(arguments)
            .current_dir(project::root()),
        LIMIT,
    )?;
    println!(
        "--- {example} {} ({:.1} s)\n{}",
        arguments.join(" "),
        ran.elapsed.as_secs_f64(),
        ran.tail(30)
    );
    match ran.status {
        Some(status) if status.success() => Ok(()),
        Some(status) => Err(format!("{example} ended with {status}")),
        None => Err(format!(
            "{example} did not end; if it needs arguments, add them to the table in xtask/src/ci/examples.rs"
        )),
    }
}

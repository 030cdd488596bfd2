//! `weaken`: each ordering of the kernel made weaker and each fence left out, one at a time, in a copy of the project.
//!
//! Some model must fail then, or else a test under Miri. What neither answers needs a reason in `docs/verification.md`,
//! in its table of orderings: a row that begins with the place and the code as this program prints them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use crate::code;
use crate::loom::{Model, Models};
use crate::miri;
use crate::process::{Outcome, bounded, capture};
use crate::project::{self, cargo, files, number, read, take_option};

/// The crates that have protocols.
const KERNEL: [&str; 5] = [
    "heist-core",
    "heist-scheduler",
    "heist-io",
    "heist-sync",
    "heist",
];

/// Files in which an ordering is none of the kernel's: models, tests, and what stands in for other crates in models.
const LEFT_OUT: [&str; 4] = ["/tests", "models.rs", "/sync/", "/sync.rs"];

/// What a word becomes. The halves of `AcqRel` are tried apart: if each is needed, both are.
const WEAKER: [(&str, &[&str]); 5] = [
    ("Acquire", &[RELAXED]),
    ("Release", &[RELAXED]),
    ("AcqRel", &[ACQUIRE, RELEASE]),
    ("full_fence", &[NOTHING]),
    ("fence", &[NOTHING]),
];

const RELAXED: &str = "std::sync::atomic::Ordering::Relaxed";
const ACQUIRE: &str = "std::sync::atomic::Ordering::Acquire";
const RELEASE: &str = "std::sync::atomic::Ordering::Release";
/// In place of the name of a function: its argument is thrown away.
const NOTHING: &str = "drop";

/// A run under Miri that takes longer has not answered.
const LIMIT: Duration = Duration::from_secs(900);

/// One weakened ordering.
struct Mutant {
    /// As in `heist-core/src/registry.rs`.
    file: String,
    /// The byte at which the word begins.
    at: usize,
    word: &'static str,
    weaker: &'static str,
    line: usize,
    /// The code of that line.
    code: String,
}

impl Mutant {
    /// How it stands in the table of reasons.
    fn row(&self) -> String {
        format!("| `{}` | `{}` | {} |", self.file, self.code, self.change())
    }

    fn change(&self) -> String {
        let weaker = self.weaker.rsplit("::").next().unwrap_or_default();
        if self.weaker == NOTHING {
            "without the fence".to_owned()
        } else {
            format!("{} -> {weaker}", self.word)
        }
    }

    fn name(&self) -> String {
        format!("{}:{} {}", self.file, self.line, self.change())
    }

    fn package(&self) -> &str {
        self.file.split('/').next().unwrap_or_default()
    }
}

pub(crate) fn run(words: &[&str]) -> Outcome {
    let mut filters = words.to_vec();
    let bound = take_option(&mut filters, "--bound")?.map_or(Ok(2), number::<u32>)?;
    let copy = copy()?;
    let mut mutants = Vec::new();
    for name in KERNEL {
        for path in files(&project::root().join("crates").join(name).join("src"), "rs")? {
            let file = project::relative(&path);
            let file = file.trim_start_matches("crates/").to_owned();
            if !LEFT_OUT.iter().any(|part| file.contains(part)) {
                mutants.extend(find(&file, &read(&path)?));
            }
        }
    }
    mutants.retain(|mutant| {
        filters.is_empty() || filters.iter().any(|word| mutant.name().contains(word))
    });
    println!("weaken: {} changes", mutants.len());
    let reasons = read(&project::root().join("docs/verification.md"))?;
    let mut judge = Judge {
        copy,
        bound,
        caught: BTreeMap::new(),
        took: Mutex::default(),
    };
    judge.trust(&mutants)?;
    let mut missed = 0;
    for mutant in &mutants {
        let answer = judge.answer(mutant)?;
        let verdict = match answer {
            Some(answer) => format!("caught by {answer}"),
            None if reasons.contains(&mutant.row()) => "has a written reason".to_owned(),
            None => {
                missed += 1;
                format!("MISSED: {}", mutant.row())
            }
        };
        println!("weaken: {:<64} {verdict}", mutant.name());
    }
    if missed == 0 {
        Ok(())
    } else {
        Err(format!(
            "{missed} of {} weaker orderings went unnoticed",
            mutants.len()
        ))
    }
}

/// The orderings of one file.
fn find(file: &str, source: &str) -> Vec<Mutant> {
    let stripped = code::strip(source);
    let code = code::without_tests(&stripped);
    let mut found = Vec::new();
    for (word, weaker) in WEAKER {
        for (at, _) in code.match_indices(word) {
            if is_part(code, at, word) || in_import(code, at) || is_definition(code, at) {
                continue;
            }
            let line = code[..at].matches('\n').count();
            let text = source.lines().nth(line).unwrap_or_default();
            let text = text.split("//").next().unwrap_or_default().trim();
            found.extend(weaker.iter().map(|&weaker| Mutant {
                file: file.to_owned(),
                at,
                word,
                weaker,
                line: line + 1,
                code: text.to_owned(),
            }));
        }
    }
    found.sort_by_key(|mutant| mutant.at);
    found
}

/// Whether the word is a part of a longer one.
fn is_part(code: &str, at: usize, word: &str) -> bool {
    let is_name = |byte: Option<&u8>| byte.is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_');
    let bytes = code.as_bytes();
    is_name(at.checked_sub(1).and_then(|before| bytes.get(before)))
        || is_name(bytes.get(at + word.len()))
}

/// Whether the statement around it is a `use`.
fn in_import(code: &str, at: usize) -> bool {
    let start = code[..at].rfind(';').map_or(0, |end| end + 1);
    let statement = code[start..at].trim_start();
    ["use ", "pub use ", "pub(crate) use "]
        .iter()
        .any(|head| statement.contains(head))
        && !statement.contains("fn ")
}

fn is_definition(code: &str, at: usize) -> bool {
    code[..at].trim_end().ends_with("fn")
}

/// A copy of what git knows of the working tree, so that nobody is disturbed.
fn copy() -> Outcome<PathBuf> {
    let copy = project::target("weaken").join("source");
    let root = project::root();
    let list = capture(
        std::process::Command::new("git")
            .args(["ls-files", "--cached", "--others", "--exclude-standard"])
            .current_dir(&root),
    )?;
    for file in list.lines().chain(["Cargo.lock"]) {
        let (from, to) = (root.join(file), copy.join(file));
        if from.is_file() {
            write(&to, &read_bytes(&from)?)?;
        }
    }
    Ok(copy)
}

fn read_bytes(path: &Path) -> Outcome<Vec<u8>> {
    fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))
}

/// Writes only what changes, so that cargo builds only that.
fn write(path: &Path, bytes: &[u8]) -> Outcome {
    if fs::read(path).is_ok_and(|there| there == bytes) {
        return Ok(());
    }
    path.parent()
        .map_or(Ok(()), fs::create_dir_all)
        .and_then(|()| fs::write(path, bytes))
        .map_err(|error| format!("cannot write {}: {error}", path.display()))
}

struct Judge {
    copy: PathBuf,
    bound: u32,
    /// The model that caught the last change of a file: it is asked first.
    caught: BTreeMap<String, String>,
    /// How long each model takes: the quick ones are asked before the others.
    took: Mutex<BTreeMap<String, Duration>>,
}

impl Judge {
    /// Fails if somebody complains although nothing was changed.
    fn trust(&mut self, mutants: &[Mutant]) -> Outcome {
        let mut failed = self.models("")?;
        let packages: BTreeSet<&str> = mutants.iter().map(Mutant::package).collect();
        for package in packages {
            if failed.is_none() {
                failed = self.miri(package)?;
            }
        }
        failed.map_or(Ok(()), |failed| {
            Err(format!("{failed} fails with no change at all"))
        })
    }

    /// Who notices the change, if anybody does.
    fn answer(&mut self, mutant: &Mutant) -> Outcome<Option<String>> {
        let path = self.copy.join("crates").join(&mutant.file);
        let original = read(&project::root().join("crates").join(&mutant.file))?;
        let mut changed = original.clone();
        changed.replace_range(mutant.at..mutant.at + mutant.word.len(), mutant.weaker);
        write(&path, changed.as_bytes())?;
        let answer = self.models(&mutant.file).and_then(|answer| {
            answer.map_or_else(|| self.miri(mutant.package()), |model| Ok(Some(model)))
        });
        write(&path, original.as_bytes())?;
        answer
    }

    fn models(&mut self, file: &str) -> Outcome<Option<String>> {
        let models = Models::build(&self.copy, &project::target("weaken").join("loom"))?;
        let mut order: Vec<&Model> = models.models.iter().collect();
        let first = self.caught.get(file);
        let took = self.took.lock().map_err(|_| "a run panicked")?.clone();
        order.sort_by_key(|model| (Some(&model.name) != first, took.get(&model.name)));
        let failed = Models::first_that_fails(&order, self.bound, &self.took)?;
        if let Some(model) = &failed {
            self.caught.insert(file.to_owned(), model.clone());
        }
        Ok(failed)
    }

    /// The tests that race, with a few seeds each.
    fn miri(&self, package: &str) -> Outcome<Option<String>> {
        let what = match package {
            "heist-core" => miri::CORE_RACES,
            "heist-io" => miri::IO_RACES,
            "heist-sync" => miri::SYNC_RACES,
            _ => return Ok(None),
        };
        let mut command = cargo(&format!("+nightly miri test {what}"));
        command
            .current_dir(&self.copy)
            .env("MIRIFLAGS", "-Zmiri-many-seeds=0..16")
            .env("CARGO_TARGET_DIR", project::target("weaken").join("miri"));
        let ran = bounded(&mut command, LIMIT)?;
        let failed = ran.status.is_some_and(|status| !status.success());
        Ok(failed.then(|| "Miri".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orderings_are_found_where_they_are_used() {
        let source = "use x::{\n    Acquire, Release,\n};\nfn full_fence() {}\n\
            fn f() {\n    // Acquire\n    a.load(Acquire); // why\n    full_fence(\"Release\");\n    a.swap(1, AcqRel);\n}\n";
        let found: Vec<(String, String)> = find("f.rs", source)
            .iter()
            .map(|mutant| (mutant.name(), mutant.code.clone()))
            .collect();
        let expected = [
            ("f.rs:7 Acquire -> Relaxed", "a.load(Acquire);"),
            ("f.rs:8 without the fence", "full_fence(\"Release\");"),
            ("f.rs:9 AcqRel -> Acquire", "a.swap(1, AcqRel);"),
            ("f.rs:9 AcqRel -> Release", "a.swap(1, AcqRel);"),
        ];
        let expected = expected.map(|(name, code)| (name.to_owned(), code.to_owned()));
        assert_eq!(found, expected);
    }
}

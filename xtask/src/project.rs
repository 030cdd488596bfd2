//! Where things are in this project, and how cargo is called on it.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::{self, Outcome};

/// The root of the workspace. Cargo tells where this package is now, which may be elsewhere than where it was built.
pub(crate) fn root() -> PathBuf {
    let here = env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    here.parent()
        .map_or_else(|| here.clone(), Path::to_path_buf)
}

/// The target directory, or one below it for builds whose flags differ.
pub(crate) fn target(part: &str) -> PathBuf {
    let base = env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    if part.is_empty() {
        base
    } else {
        base.join(part)
    }
}

/// A cargo command at the root. `words` are separated by blanks; the first may be a toolchain, as `+nightly`.
pub(crate) fn cargo(words: &str) -> Command {
    let mut command = Command::new("cargo");
    command.args(words.split_whitespace()).current_dir(root());
    // This program was started by cargo, which has told it things that are not for another cargo of another toolchain.
    for name in [
        "CARGO",
        "RUSTUP_TOOLCHAIN",
        "RUSTC",
        "RUSTDOC",
        "CARGO_MANIFEST_DIR",
        "CARGO_PKG_NAME",
        "CARGO_PKG_VERSION",
    ] {
        command.env_remove(name);
    }
    command
}

/// The folders of the library crates, in the order of their names.
pub(crate) fn library_crates() -> Outcome<Vec<PathBuf>> {
    let mut crates: Vec<PathBuf> = children(&root().join("crates"))?
        .into_iter()
        .filter(|path| path.join("Cargo.toml").is_file())
        .collect();
    crates.sort();
    Ok(crates)
}

/// `-p NAME` for each library crate.
pub(crate) fn library_packages() -> Outcome<String> {
    let names = library_crates()?
        .iter()
        .map(|path| format!("-p {}", name(path)))
        .collect::<Vec<_>>();
    Ok(names.join(" "))
}

/// The last part of a path.
pub(crate) fn name(path: &Path) -> String {
    path.file_name()
        .map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

/// The files below a folder of this project that end in `.EXTENSION`, sorted.
pub(crate) fn files(folder: &Path, extension: &str) -> Outcome<Vec<PathBuf>> {
    let mut found = Vec::new();
    if folder.is_dir() {
        collect(folder, extension, &mut found)?;
    }
    found.sort();
    Ok(found)
}

fn collect(folder: &Path, extension: &str, found: &mut Vec<PathBuf>) -> Outcome {
    for path in children(folder)? {
        let hidden = name(&path).starts_with('.') || name(&path) == "target";
        if path.is_dir() && !hidden {
            collect(&path, extension, found)?;
        } else if path.extension().is_some_and(|found| found == extension) {
            found.push(path);
        }
    }
    Ok(())
}

fn children(folder: &Path) -> Outcome<Vec<PathBuf>> {
    let entries = fs::read_dir(folder)
        .map_err(|error| format!("cannot list {}: {error}", folder.display()))?;
    Ok(entries
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .collect())
}

/// The text of a file.
pub(crate) fn read(path: &Path) -> Outcome<String> {
    fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))
}

/// A path as it is written in this project.
pub(crate) fn relative(path: &Path) -> String {
    path.strip_prefix(root())
        .unwrap_or(path)
        .display()
        .to_string()
}

/// The only platform whose instructions are counted.
const COUNTED: &str = "x86_64-unknown-linux-gnu";

/// Builds `bench-one` as it is measured and returns its path.
pub(crate) fn build_bench_one() -> Outcome<PathBuf> {
    process::show(&mut bench_one())?;
    // The bench profile inherits from release and shares its folder.
    Ok(target("release/bench-one"))
}

/// The same with fixed addresses: those in the file are those of the run.
pub(crate) fn build_bench_one_to_count() -> Outcome<PathBuf> {
    let folder = target("gates");
    let mut command = bench_one();
    // With a target the flags leave the procedural macros alone, which are shared libraries.
    command
        .args(["--target", COUNTED])
        .env("CARGO_TARGET_DIR", &folder)
        .env("RUSTFLAGS", "-C relocation-model=static");
    process::show(&mut command)?;
    Ok(folder.join(COUNTED).join("release/bench-one"))
}

fn bench_one() -> Command {
    let mut command = cargo("build --quiet -p heist-benches --bin bench-one --profile bench");
    command
        .env("CARGO_PROFILE_BENCH_LTO", "thin")
        .env("CARGO_PROFILE_BENCH_CODEGEN_UNITS", "1");
    command
}

/// The value after an option such as `--rounds`, taken out of `words`.
pub(crate) fn take_option<'a>(words: &mut Vec<&'a str>, option: &str) -> Outcome<Option<&'a str>> {
    let Some(index) = words.iter().position(|word| *word == option) else {
        return Ok(None);
    };
    words.remove(index);
    if index < words.len() {
        Ok(Some(words.remove(index)))
    } else {
        Err(format!("{option} needs a value"))
    }
}

/// Whether a switch such as `--full` is there; it is taken out of `words`.
pub(crate) fn take_switch(words: &mut Vec<&str>, switch: &str) -> bool {
    let before = words.len();
    words.retain(|word| *word != switch);
    words.len() < before
}

/// Parses a number and names it where it is none.
pub(crate) fn number<T: std::str::FromStr>(word: &str) -> Outcome<T> {
    word.trim()
        .parse()
        .map_err(|_| format!("{word:?} is no number in range"))
}

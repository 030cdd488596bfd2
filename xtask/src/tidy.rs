//! `tidy`: the rules of this project that neither the compiler nor clippy knows.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use crate::code;
use crate::process::Outcome;
use crate::project::{self, files, name, read, relative, root};

/// The crates of ours that each crate may depend on, in any section of its manifest.
const EDGES: &[(&str, &[&str])] = &[
    ("heist-core", &[]),
    ("heist-macros", &[]),
    ("heist-scheduler", &["heist-core"]),
    ("heist-io", &["heist-core"]),
    ("heist-sync", &["heist-core"]),
    (
        "heist",
        &[
            "heist-core",
            "heist-scheduler",
            "heist-io",
            "heist-sync",
            "heist-macros",
        ],
    ),
];

/// What only the `sync` module of a library crate may say.
const SHIMMED: &[&str] = &[
    "std::sync::atomic",
    "core::sync::atomic",
    "parking_lot::",
    "loom::",
    "crossbeam_",
];

/// What is nowhere in this project.
const FORBIDDEN: &[&str] = &["todo!", "unimplemented!", "dbg!", "#[ignore"];

/// Lines of code from which on a file is mentioned.
const LONG_FILE: usize = 500;

/// A file with its text and its code.
struct Source {
    path: PathBuf,
    text: String,
    code: String,
}

/// Checks everything and reports all that is wrong at once.
pub(crate) fn run() -> Outcome {
    let sources = sources()?;
    let mut problems = Vec::new();
    edges(&mut problems)?;
    for source in &sources {
        imports(source, &mut problems);
        accesses(source, &mut problems);
        leftovers(source, &mut problems);
    }
    tags(&sources, &mut problems);
    documents(&sources, &mut problems)?;
    places(&mut problems)?;
    for source in sources
        .iter()
        .filter(|source| code::lines(&source.code) > LONG_FILE)
    {
        println!(
            "tidy: warning: {} has {} lines of code",
            relative(&source.path),
            code::lines(&source.code)
        );
    }
    for problem in &problems {
        println!("tidy: {problem}");
    }
    if problems.is_empty() {
        Ok(())
    } else {
        Err(format!("tidy found {} problems", problems.len()))
    }
}

fn sources() -> Outcome<Vec<Source>> {
    let source = |path: PathBuf| {
        let text = read(&path)?;
        let code = code::strip(&text);
        Ok(Source { path, text, code })
    };
    files(&root(), "rs")?.into_iter().map(source).collect()
}

/// The layering, in dependencies of every kind.
fn edges(problems: &mut Vec<String>) -> Outcome {
    for folder in project::library_crates()? {
        let this = name(&folder);
        let Some((_, allowed)) = EDGES.iter().find(|(name, _)| *name == this) else {
            problems.push(format!(
                "{this} has no row in the table of edges in xtask/src/tidy.rs"
            ));
            continue;
        };
        for other in own_dependencies(&read(&folder.join("Cargo.toml"))?) {
            if !allowed.contains(&other.as_str()) {
                problems.push(format!(
                    "{this} depends on {other}; it may depend on {allowed:?}"
                ));
            }
        }
    }
    Ok(())
}

/// The crates of ours that a manifest names as dependencies.
fn own_dependencies(manifest: &str) -> BTreeSet<String> {
    let mut section = "";
    let mut found = BTreeSet::new();
    for line in manifest.lines().map(str::trim) {
        if let Some(header) = line.strip_prefix('[') {
            section = header.trim_end_matches(']');
            let (table, key) = section.rsplit_once('.').unwrap_or(("", ""));
            if table.ends_with("dependencies") && is_ours(key) {
                found.insert(key.to_owned());
            }
        } else if section.ends_with("dependencies") {
            let key = line.split(['=', '.', ' ']).next().unwrap_or_default();
            if is_ours(key) {
                found.insert(key.to_owned());
            }
        }
    }
    found
}

fn is_ours(name: &str) -> bool {
    name == "heist" || name.starts_with("heist-")
}

/// Atomics, locks and the switch between real and modelled ones come through the `sync` module.
fn imports(source: &Source, problems: &mut Vec<String>) {
    let path = relative(&source.path);
    if !is_library(&path)
        || is_sync(&path)
        || path.ends_with("tests.rs")
        || path.contains("/tests/")
    {
        return;
    }
    for (number, line) in numbered(code::without_tests(&source.code)) {
        let shimmed = SHIMMED.iter().find(|word| names_crate(line, word)).copied();
        let switched =
            line.contains("cfg") && ["loom", "miri"].iter().any(|word| has_word(line, word));
        if let Some(word) = shimmed.or(switched.then_some("a cfg of loom or miri")) {
            problems.push(format!(
                "{path}:{number}: {word} belongs into the sync module of this crate"
            ));
        }
    }
}

/// Whether `line` has the path `word`, and not as the end of a longer one.
fn names_crate(line: &str, word: &str) -> bool {
    line.match_indices(word)
        .any(|(at, _)| !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_'))
}

fn has_word(line: &str, word: &str) -> bool {
    line.split(|c: char| !c.is_alphanumeric() && c != '_')
        .any(|found| found == word)
}

fn is_library(path: &str) -> bool {
    path.starts_with("crates/") && path.contains("/src/")
}

/// `sync.rs` and what is below `sync/` right in a crate's `src`.
fn is_sync(path: &str) -> bool {
    path.split_once("/src/")
        .is_some_and(|(_, inner)| inner == "sync.rs" || inner.starts_with("sync/"))
}

/// Only fences are sequentially consistent: loom models nothing else, and a reader sees where the barrier is.
fn accesses(source: &Source, problems: &mut Vec<String>) {
    let path = relative(&source.path);
    if !is_library(&path) {
        return;
    }
    for (number, line) in numbered(&source.code) {
        if has_word(line, "SeqCst") && !line.contains("fence(") && !line.contains("use ") {
            problems.push(format!(
                "{path}:{number}: SeqCst on something that is no fence"
            ));
        }
    }
}

fn leftovers(source: &Source, problems: &mut Vec<String>) {
    for (number, line) in numbered(&source.code) {
        for word in FORBIDDEN.iter().filter(|word| line.contains(**word)) {
            problems.push(format!("{}:{number}: {word}", relative(&source.path)));
        }
    }
}

/// An ordering is an agreement of two places: a tag that is there once has lost its other end.
fn tags(sources: &[Source], problems: &mut Vec<String>) {
    let mut places: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for source in sources
        .iter()
        .filter(|source| is_library(&relative(&source.path)))
    {
        for (number, line) in numbered(&source.text) {
            for tag in between(line, "ORDERING(", ")") {
                places
                    .entry(tag)
                    .or_default()
                    .push(format!("{}:{number}", relative(&source.path)));
            }
        }
    }
    for (tag, places) in places {
        if let [only] = places.as_slice() {
            problems.push(format!(
                "{only}: ORDERING({tag}) is nowhere else; what does it pair with?"
            ));
        }
    }
}

/// A document that says "`loom: name`" or "`test: name`" names a test that exists.
fn documents(sources: &[Source], problems: &mut Vec<String>) -> Outcome {
    let functions = |loom: bool| -> BTreeSet<&str> {
        let chosen = sources
            .iter()
            .filter(|source| !loom || relative(&source.path).starts_with("loom-tests/"));
        chosen
            .flat_map(|source| between(&source.code, "fn ", "("))
            .collect()
    };
    let (all, models) = (functions(false), functions(true));
    for path in files(&root(), "md")? {
        let text = read(&path)?;
        for (number, line) in numbered(&text) {
            for (kind, known) in [("`loom: ", &models), ("`test: ", &all)] {
                let named = between(line, kind, "`")
                    .into_iter()
                    .flat_map(|names| names.split(','))
                    .map(str::trim);
                for name in
                    named.filter(|name| !known.contains(name.rsplit("::").next().unwrap_or(name)))
                {
                    problems.push(format!(
                        "{}:{number}: there is no {}{name}",
                        relative(&path),
                        &kind[1..]
                    ));
                }
            }
        }
    }
    Ok(())
}

/// No file names a folder of the machine that it was written on.
fn places(problems: &mut Vec<String>) -> Outcome {
    let machine = ["work", "root", "home"].map(|folder| format!("/{folder}/"));
    for extension in ["rs", "md", "toml", "yml", "sh"] {
        for path in files(&root(), extension)? {
            let text = read(&path)?;
            for (number, line) in numbered(&text) {
                for folder in machine.iter().filter(|folder| starts_path(line, folder)) {
                    problems.push(format!(
                        "{}:{number}: the path {folder} is of one machine only",
                        relative(&path)
                    ));
                }
            }
        }
    }
    Ok(())
}

/// Whether an absolute path that begins with `folder` is in `line`.
fn starts_path(line: &str, folder: &str) -> bool {
    line.match_indices(folder)
        .any(|(at, _)| !line[..at].ends_with(|c: char| c.is_alphanumeric() || "_-.}*~".contains(c)))
}

fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line))
}

/// The parts of `text` that stand between `open` and the next `close`.
fn between<'t>(text: &'t str, open: &str, close: &str) -> Vec<&'t str> {
    text.split(open)
        .skip(1)
        .filter_map(|rest| {
            Some(
                rest.split_once(close)?
                    .0
                    .split('<')
                    .next()
                    .unwrap_or_default(),
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn library(code: &str) -> Source {
        let path = root().join("crates/heist-core/src/task.rs");
        Source {
            path,
            text: code.to_owned(),
            code: code::strip(code),
        }
    }

    fn found(check: impl Fn(&Source, &mut Vec<String>), code: &str) -> usize {
        let mut problems = Vec::new();
        check(&library(code), &mut problems);
        problems.len()
    }

    #[test]
    fn dependencies_are_found_in_every_form() {
        let manifest = "[dependencies]\nheist-core.workspace = true\n[dev-dependencies]\nheist-io = { path = \"x\" }\n\
                        [dependencies.heist-sync]\nversion = \"1\"\n[package]\nheist-none = 1\n";
        let found: Vec<String> = own_dependencies(manifest).into_iter().collect();
        assert_eq!(found, ["heist-core", "heist-io", "heist-sync"]);
    }

    #[test]
    fn the_walls_of_the_sync_module_hold() {
        assert_eq!(found(imports, "use std::sync::atomic::AtomicUsize;"), 1);
        assert_eq!(found(imports, "#[cfg(not(loom))]\nfn f() {}"), 1);
        assert_eq!(
            found(
                imports,
                "use crate::sync::atomic; // std::sync::atomic\nlet bloom::x = 1;"
            ),
            0
        );
        assert_eq!(
            found(
                imports,
                "#[cfg(test)]\nmod tests { use std::sync::atomic; }"
            ),
            0
        );
        assert!(
            is_sync("crates/heist-core/src/sync/cell.rs")
                && !is_sync("crates/heist-io/src/net/sync.rs")
        );
    }

    #[test]
    fn only_fences_are_sequentially_consistent() {
        assert_eq!(
            found(
                accesses,
                "use atomic::Ordering::SeqCst;\nfence(SeqCst);\nword.load(SeqCst);"
            ),
            1
        );
    }

    #[test]
    fn leftovers_are_found_in_code_only() {
        assert_eq!(
            found(leftovers, "todo!() // dbg!\nlet text = \"todo!\";"),
            1
        );
    }

    #[test]
    fn a_tag_needs_a_partner() {
        let mut problems = Vec::new();
        tags(
            &[library(
                "// ORDERING(a): x\n// ORDERING(b): y\n// ORDERING(a): z",
            )],
            &mut problems,
        );
        assert_eq!(problems.len(), 1, "{problems:?}");
    }

    #[test]
    fn paths_of_one_machine_are_told_from_others() {
        assert!(starts_path(
            &["see ", "/work", "/main"].concat(),
            &["/wo", "rk/"].concat()
        ));
        assert!(!starts_path(
            &["target", "/work", "/main"].concat(),
            &["/wo", "rk/"].concat()
        ));
    }
}

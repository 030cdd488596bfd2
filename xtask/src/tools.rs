//! What the checks need beside cargo: found, installed where that is wanted, or said to be missing.

use std::env;
use std::process::{Command, Stdio};

use crate::process::{self, Outcome, exists};
use crate::project;

/// The toolchain that the library crates promise to build with.
pub(crate) const MSRV: &str = "1.85.0";

/// The platforms that the library crates are checked for, beside this one.
pub(crate) const FOREIGN_TARGETS: &[&str] = &[
    "x86_64-apple-darwin",
    "x86_64-unknown-freebsd",
    "aarch64-unknown-linux-gnu",
    "x86_64-pc-windows-gnu",
];

/// Something that a check needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tool {
    Clippy,
    Rustfmt,
    Miri,
    Nightly,
    Deny,
    Fuzz,
    OldToolchain,
    ForeignTargets,
    Valgrind,
    Perf,
    Wrk,
    Objdump,
}

impl Tool {
    /// Makes sure that it is there. Where `install` is false nothing is changed.
    pub(crate) fn provide(self, install: bool) -> Outcome {
        if self.present() {
            return Ok(());
        }
        if install {
            self.install()?;
        }
        if self.present() {
            Ok(())
        } else {
            Err(format!("{self:?} is missing: {}", self.advice()))
        }
    }

    fn present(self) -> bool {
        match self {
            Self::Clippy => succeeds("cargo", "clippy --version"),
            Self::Rustfmt => succeeds("cargo", "fmt --version"),
            Self::Miri => succeeds("cargo", "+nightly miri --version"),
            Self::Nightly => succeeds("rustc", "+nightly --version"),
            Self::Deny => succeeds("cargo", "deny --version"),
            Self::Fuzz => succeeds("cargo", "fuzz --version"),
            Self::OldToolchain => succeeds("rustc", &format!("+{MSRV} --version")),
            Self::ForeignTargets => {
                let installed = process::capture(Command::new("rustup").args([
                    "target",
                    "list",
                    "--installed",
                ]))
                .unwrap_or_default();
                FOREIGN_TARGETS
                    .iter()
                    .all(|target| installed.lines().any(|line| line == *target))
            }
            Self::Valgrind => exists("valgrind"),
            Self::Perf => succeeds("perf", "--version"),
            // wrk answers --version with a failure.
            Self::Wrk => exists("wrk"),
            Self::Objdump => exists("objdump") && exists("addr2line"),
        }
    }

    fn install(self) -> Outcome {
        match self {
            Self::Clippy => rustup("component add clippy"),
            Self::Rustfmt => rustup("component add rustfmt"),
            Self::Miri => {
                rustup("toolchain install nightly --profile minimal")?;
                rustup("component add --toolchain nightly miri rust-src")
            }
            Self::Nightly => rustup("toolchain install nightly --profile minimal"),
            Self::Deny => process::show(&mut project::cargo("install --locked cargo-deny")),
            Self::Fuzz => process::show(&mut project::cargo("install --locked cargo-fuzz")),
            Self::OldToolchain => rustup(&format!("toolchain install {MSRV} --profile minimal")),
            Self::ForeignTargets => rustup(&format!("target add {}", FOREIGN_TARGETS.join(" "))),
            Self::Valgrind => apt("valgrind"),
            Self::Perf => apt("linux-perf"),
            Self::Wrk => apt("wrk"),
            Self::Objdump => apt("binutils"),
        }
    }

    fn advice(self) -> &'static str {
        match self {
            Self::Clippy => "rustup component add clippy",
            Self::Rustfmt => "rustup component add rustfmt",
            Self::Miri => "rustup toolchain install nightly --component miri,rust-src",
            Self::Nightly => "rustup toolchain install nightly --profile minimal",
            Self::Deny => "cargo install --locked cargo-deny",
            Self::Fuzz => "cargo install --locked cargo-fuzz",
            Self::OldToolchain => "rustup toolchain install 1.85.0 --profile minimal",
            Self::ForeignTargets => {
                "rustup target add each of the foreign targets in xtask/src/tools.rs"
            }
            Self::Valgrind => "install valgrind",
            Self::Perf => {
                "install linux-perf, and run as root or with kernel.perf_event_paranoid=-1"
            }
            Self::Wrk => "install wrk",
            Self::Objdump => "install binutils",
        }
    }
}

/// Whether this is a run that must not skip anything.
pub(crate) fn strict() -> bool {
    env::var("CI").is_ok_and(|value| !value.is_empty() && value != "false")
}

fn succeeds(program: &str, words: &str) -> bool {
    let mut command = Command::new(program);
    command
        .args(words.split_whitespace())
        .current_dir(project::root())
        .env_remove("RUSTUP_TOOLCHAIN")
        .env_remove("CARGO");
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

fn rustup(words: &str) -> Outcome {
    process::show(
        Command::new("rustup")
            .args(words.split_whitespace())
            .current_dir(project::root())
            .env_remove("RUSTUP_TOOLCHAIN"),
    )
}

fn apt(package: &str) -> Outcome {
    let install = || {
        let mut command = Command::new("apt-get");
        process::show(
            command
                .args(["install", "--yes", "--no-install-recommends", package])
                .env("DEBIAN_FRONTEND", "noninteractive"),
        )
    };
    // The lists of packages may be old or not there yet.
    install().or_else(|_| {
        process::show(Command::new("apt-get").arg("update"))?;
        install()
    })
}

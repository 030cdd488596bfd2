//! A pipeline: one stage reads lines, several hash them, one writes them in their order. Bounded queues are between them.
//!
//! ```text
//! cargo run --example pipeline -- README.md CHANGELOG.md
//! seq 100000 | cargo run --release --example pipeline -- --workers 2 --window 32 > /dev/null
//! yes | cargo run --example pipeline | head -3
//! cargo run --example pipeline      # type lines; Ctrl-D ends it in good order, Ctrl-C at once
//! ```
//!
//! It prints each line after its SHA-256, as `sha256sum` prints files. At the end it says on standard error how many lines there were,
//! and how the stages held each other back: however long the input is and however slow the reader of the output, only as many
//! lines as fit into the window are in memory. `--rounds` makes the middle stage the slow one.

mod pipeline;

use std::fmt::Display;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use heist::task::{ChildError, GroupError};
use lexopt::prelude::*;

use pipeline::{Pipeline, Settings, Totals};

#[heist::main]
async fn main() -> ExitCode {
    let (settings, files) = match options() {
        Ok(options) => options,
        Err(error) => return complain(&error),
    };
    let Err(error) = run(settings, files).await else {
        return ExitCode::SUCCESS;
    };
    let mut errors = error.errors().iter();
    match errors.find_map(ChildError::downcast_ref::<io::Error>) {
        // Whoever reads the output has enough, as `head`.
        Some(error) if error.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Some(error) => complain(error),
        None => complain(&error),
    }
}

async fn run(settings: Settings, files: Vec<PathBuf>) -> Result<(), GroupError> {
    let pipeline = Arc::new(Pipeline::new(settings));
    let inputs = files.into_iter().map(|path| move || open(&path));
    let output = BufWriter::new(io::stdout());
    let Totals { lines, different } = pipeline.run(inputs, output).await?;
    let (gauge, bound) = (pipeline.gauge(), pipeline.bound());
    // Whoever has closed standard error does not miss it.
    let _ = writeln!(
        io::stderr(),
        "{lines} lines, {different} different; at most {} under way, of {bound}; the reader waited {} times",
        gauge.most(),
        gauge.waits(),
    );
    Ok(())
}

fn open(path: &Path) -> io::Result<Box<dyn BufRead>> {
    if path == Path::new("-") {
        return Ok(Box::new(io::stdin().lock()));
    }
    match File::open(path) {
        Ok(file) => Ok(Box::new(BufReader::new(file))),
        Err(error) => Err(io::Error::new(
            error.kind(),
            format!("{}: {error}", path.display()),
        )),
    }
}

fn complain(error: &dyn Display) -> ExitCode {
    eprintln!("pipeline: {error}");
    ExitCode::FAILURE
}

fn options() -> Result<(Settings, Vec<PathBuf>), lexopt::Error> {
    let mut settings = Settings {
        workers: 4,
        window: 64,
        rounds: 1,
    };
    let mut files = Vec::new();
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("workers") => settings.workers = parser.value()?.parse_with(positive)?,
            Long("window") => settings.window = parser.value()?.parse_with(positive)?,
            Long("rounds") => settings.rounds = parser.value()?.parse()?,
            Value(path) => files.push(path.into()),
            _ => return Err(argument.unexpected()),
        }
    }
    if files.is_empty() {
        files.push("-".into());
    }
    Ok((settings, files))
}

fn positive(text: &str) -> Result<usize, &'static str> {
    match text.parse() {
        Ok(0) | Err(_) => Err("not a number from 1 on"),
        Ok(number) => Ok(number),
    }
}

//! The command line.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::str::FromStr;

use crate::program::Cuts;

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Run,
    Child,
    Replay,
}

/// How to do it.
pub(crate) struct Arguments {
    pub(crate) mode: Mode,
    pub(crate) seconds: u64,
    pub(crate) seed: u64,
    pub(crate) workers: Option<usize>,
    pub(crate) threads: usize,
    pub(crate) times: u32,
    /// After how many seconds without an event a program hangs.
    pub(crate) quiet: u64,
    pub(crate) shrink: bool,
    pub(crate) cuts: Cuts,
}

impl Arguments {
    pub(crate) fn read() -> Result<Self, String> {
        let mut all = Self {
            mode: Mode::Run,
            seconds: 10,
            seed: fastrand::u64(..1 << 40),
            workers: None,
            threads: 2,
            times: 1,
            quiet: 20,
            shrink: true,
            cuts: Cuts::default(),
        };
        let mut words = env::args().skip(1);
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(format!("{word} needs a value"));
            match word.as_str() {
                "--seconds" => all.seconds = number(&value()?)?,
                "--seed" => all.seed = number(&value()?)?,
                "--workers" => all.workers = Some(number(&value()?)?),
                "--threads" => all.threads = number(&value()?)?,
                "--times" => all.times = number(&value()?)?,
                "--quiet" => all.quiet = number(&value()?)?,
                "--no-shrink" => all.shrink = false,
                "--child" => all.mode = Mode::Child,
                "--replay" => (all.mode, all.seed) = (Mode::Replay, number(&value()?)?),
                "--without" => all.cuts.without = list(&value()?)?,
                "--off" => all.cuts.off = list(&value()?)?,
                "--short" => all.cuts.short = pairs(&value()?)?,
                _ => {
                    return Err(format!(
                        "what is {word:?}? See the head of stress/src/main.rs"
                    ));
                }
            }
        }
        Ok(all)
    }

    /// The words for a child that is to do the same with other numbers.
    pub(crate) fn words(&self) -> Vec<String> {
        let mut words = Vec::new();
        if let Some(workers) = self.workers {
            words.extend(["--workers".to_owned(), workers.to_string()]);
        }
        words
    }
}

fn number<T: FromStr>(word: &str) -> Result<T, String> {
    word.parse().map_err(|_| format!("{word:?} is no number"))
}

fn list<T: FromStr + Ord>(word: &str) -> Result<BTreeSet<T>, String> {
    let words = word.split(',').filter(|word| !word.is_empty());
    words.map(number).collect()
}

fn pairs(word: &str) -> Result<BTreeMap<u32, u32>, String> {
    let words = word.split(',').filter(|word| !word.is_empty());
    words
        .map(|word| {
            let (step, time) = word
                .split_once('=')
                .ok_or(format!("{word:?} is no STEP=TIME"))?;
            Ok((number(step)?, number(time)?))
        })
        .collect()
}

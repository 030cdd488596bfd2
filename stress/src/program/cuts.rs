//! What a smaller program is without.

use std::collections::{BTreeMap, BTreeSet};

use super::{Body, Op, Step};

/// What is left out of the program of a seed, and what takes less time there.
#[derive(Clone, Default)]
pub(crate) struct Cuts {
    /// Numbers of steps.
    pub(crate) without: BTreeSet<u32>,
    /// Kinds of steps.
    pub(crate) off: BTreeSet<String>,
    /// The times of some steps, in microseconds.
    pub(crate) short: BTreeMap<u32, u32>,
}

impl Cuts {
    /// The words of the command line that say the same.
    pub(crate) fn words(&self) -> Vec<String> {
        let mut words = Vec::new();
        let mut add = |name: &str, values: Vec<String>| {
            if !values.is_empty() {
                words.extend([name.to_owned(), values.join(",")]);
            }
        };
        add("--off", self.off.iter().cloned().collect());
        add(
            "--without",
            self.without.iter().map(u32::to_string).collect(),
        );
        let short = self.short.iter();
        add(
            "--short",
            short.map(|(step, time)| format!("{step}={time}")).collect(),
        );
        words
    }

    pub(super) fn apply(&self, body: &Body) -> Body {
        let kept = body.iter().filter(|step| {
            !self.without.contains(&step.number) && !self.off.contains(step.op.kind().as_str())
        });
        kept.map(|step| {
            let mut op = step.op;
            if let (Some(short), Some(time)) = (self.short.get(&step.number), op.time()) {
                *time = (*time).min(*short);
            }
            Step {
                number: step.number,
                op,
                bodies: step.bodies.iter().map(|body| self.apply(body)).collect(),
            }
        })
        .collect()
    }
}

impl Op {
    /// Its name, as `--off` takes it.
    pub(crate) fn kind(&self) -> String {
        let text = format!("{self:?}");
        let end = text.find([' ', '(']).unwrap_or(text.len());
        text[..end].to_lowercase()
    }
}

//! The timer wheel against a sorted map: order, never early, nothing lost, a bound on the next deadline that is never late.

#![no_main]

use arbitrary::Arbitrary;
use heist_io::timer::model::{Op, agree};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
enum Step {
    Insert { entry: u8, ahead: Span },
    InsertOnGrid { entry: u8, ahead: Span },
    InsertPast { entry: u8, ago: Span },
    InsertAt { entry: u8, deadline: u64 },
    Remove { entry: u8 },
    Advance { by: Span },
    AdvanceToNext,
}

/// So that short spans are as likely as long ones.
#[derive(Arbitrary, Clone, Copy, Debug)]
struct Span {
    value: u64,
    shift: u8,
}

impl From<Span> for u64 {
    fn from(span: Span) -> Self {
        span.value >> (span.shift % 64)
    }
}

impl From<Step> for Op {
    fn from(step: Step) -> Self {
        match step {
            Step::Insert { entry, ahead } => Self::Insert {
                entry,
                ahead: ahead.into(),
            },
            Step::InsertOnGrid { entry, ahead } => Self::InsertOnGrid {
                entry,
                ahead: ahead.into(),
            },
            Step::InsertPast { entry, ago } => Self::InsertPast {
                entry,
                ago: ago.into(),
            },
            Step::InsertAt { entry, deadline } => Self::InsertAt { entry, deadline },
            Step::Remove { entry } => Self::Remove { entry },
            Step::Advance { by } => Self::Advance { by: by.into() },
            Step::AdvanceToNext => Self::AdvanceToNext,
        }
    }
}

fuzz_target!(|program: (Span, Vec<Step>)| {
    let (start, steps) = program;
    agree(start.into(), steps.into_iter().map(Op::from));
});

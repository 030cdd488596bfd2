//! Programs as data: made from a seed, printed, and made smaller.
//!
//! A program is a tree of steps. The steps are numbered in the order in which they are made, so a smaller program is the seed and
//! the numbers that were left out.

mod maker;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use fastrand::Rng;
use maker::Maker;

/// Steps, one after the other.
pub(crate) type Body = Arc<[Step]>;

/// One step, and the bodies that belong to it.
#[derive(Clone)]
pub(crate) struct Step {
    pub(crate) number: u32,
    pub(crate) op: Op,
    pub(crate) bodies: Vec<Body>,
}

/// What a step does. `on` is the index of a runtime, times are in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    Yield(u8),
    Spin(u32),
    /// Blocks the thread, as no task should.
    Block(u32),
    Sleep {
        time: u32,
        how: Timer,
    },
    Timeout(u32),
    Interval {
        time: u32,
        ticks: u8,
    },
    Spawn(Spawn),
    SpawnLocal {
        act: Option<Act>,
        callbacks: u8,
        wait: bool,
    },
    Blocking {
        on: u8,
        callbacks: u8,
        cancel: bool,
        then: Then,
    },
    BlockOn {
        on: u8,
    },
    Call {
        on: u8,
        delay: Option<u32>,
        count: u8,
        cancel: bool,
        panic: bool,
    },
    Promise {
        on: u8,
        by: By,
        keep: bool,
        callbacks: u8,
        then: Wait,
    },
    Storm {
        tasks: u8,
        threads: u8,
    },
    Stream {
        kind: Stream,
        bytes: u32,
    },
    Catch {
        end: CatchEnd,
    },
    CancelSelf,
    AbortSelf,
    /// Asks, and takes that back before anybody heard it.
    UncancelSelf,
    /// Waits until it is cancelled.
    Pending,
    Panic,
    /// Starts a runtime, runs the body on it and drops it, here.
    Runtime {
        grace: u32,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Timer {
    Await,
    Unpolled,
    FirstPoll,
    /// Armed for another time first.
    Reset,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spawn {
    pub(crate) on: u8,
    pub(crate) acts: [Option<Act>; 2],
    pub(crate) callbacks: u8,
    /// The body's guard panics when it is dropped.
    pub(crate) drop_panics: bool,
    /// The output panics when the runtime drops it.
    pub(crate) output_panics: bool,
    /// Whether the oracle keeps the task's memory, to ask it in the end.
    pub(crate) watched: bool,
    pub(crate) then: Then,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    Await,
    Detach,
    Keep,
    PollOnce,
    Share(u8),
    CancelOnDrop { wait: bool },
    WaitBlocking,
    WaitOnThread,
    WaitOnTask(u8),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Act {
    pub(crate) what: What,
    pub(crate) by: By,
    pub(crate) yields: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Cancel,
    CancelWith,
    Abort,
    CancelAndUncancel,
}

/// Who does something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    Here,
    Task,
    Thread,
    Blocking,
    Call,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    Await,
    Drop,
    Cancel,
    Share(u8),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    Unix,
    Tcp,
    Pipe,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CatchEnd {
    Swallow,
    Uncancel,
    Resume,
}

/// Who runs a body from outside of the runtimes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outside {
    /// As a root of this runtime.
    Root(u8),
    /// On an executor of its own, in the context of this runtime.
    Foreign(u8),
    /// On a local runtime, which the thread makes.
    Local,
}

/// How a runtime ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Shutdown,
    Drop,
    Inside,
    DropInside,
}

pub(crate) struct Program {
    pub(crate) seed: u64,
    pub(crate) workers: usize,
    pub(crate) runtimes: u8,
    pub(crate) outside: Vec<(Outside, Body)>,
    /// How long the runtimes live; `None`: until all is done.
    pub(crate) life: Option<u32>,
    pub(crate) ends: Vec<(End, u32)>,
    /// Some runtimes look after blocked workers at once, some never.
    pub(crate) blocked_threshold: Option<u32>,
}

impl Program {
    /// The program of a seed, without the steps in `without`, and without the kinds of steps in `off`.
    pub(crate) fn generate(
        seed: u64,
        workers: Option<usize>,
        without: &BTreeSet<u32>,
        off: &BTreeSet<String>,
    ) -> Self {
        // Without a number of workers they vary.
        let workers = workers.unwrap_or([1, 2, 3, 8][(seed % 4) as usize]);
        let mut maker = Maker {
            rng: Rng::with_seed(seed),
            next: 0,
            left: 0,
            runtimes: 1,
            endless: false,
        };
        let rng = &mut maker.rng;
        maker.runtimes = if rng.u8(..10) < 6 { 1 } else { 2 };
        maker.left = i32::from(rng.u8(2..120));
        let life = rng.bool().then(|| rng.u32(..20_000));
        maker.endless = life.is_some() || rng.bool();
        let rng = &mut maker.rng;
        let blocked_threshold = [Some(1_000), Some(10_000), None][rng.usize(..3)];
        let ends = (0..maker.runtimes)
            .map(|_| {
                let end = match rng.u8(..8) {
                    0..4 => End::Shutdown,
                    4..6 => End::Drop,
                    6 => End::Inside,
                    _ => End::DropInside,
                };
                let grace = [0, 1_000, 20_000, 200_000][rng.usize(..4)];
                (end, grace)
            })
            .collect();
        let threads = rng.u8(1..4);
        let outside = (0..threads)
            .map(|_| {
                let on = maker.on();
                let kind = match maker.rng.u8(..8) {
                    0..5 => Outside::Root(on),
                    5..7 => Outside::Foreign(on),
                    _ if off.contains("local") => Outside::Root(on),
                    _ => Outside::Local,
                };
                (kind, maker.body(0))
            })
            .map(|(kind, body)| (kind, prune(&body, without, off)))
            .collect();
        Self {
            seed,
            workers,
            runtimes: maker.runtimes,
            outside,
            life,
            ends,
            blocked_threshold,
        }
    }

    /// Whether no step waits until it is cancelled.
    pub(crate) fn ends_by_itself(&self) -> bool {
        fn finite(body: &Body) -> bool {
            body.iter()
                .all(|step| step.op != Op::Pending && step.bodies.iter().all(finite))
        }
        self.outside.iter().all(|(_, body)| finite(body))
    }

    /// The numbers of all steps, outer ones first.
    pub(crate) fn steps(&self) -> Vec<u32> {
        fn walk(body: &Body, into: &mut Vec<u32>) {
            for step in body.iter() {
                into.push(step.number);
                step.bodies.iter().for_each(|body| walk(body, into));
            }
        }
        let mut steps = Vec::new();
        self.outside
            .iter()
            .for_each(|(_, body)| walk(body, &mut steps));
        steps
    }
}

fn prune(body: &Body, without: &BTreeSet<u32>, off: &BTreeSet<String>) -> Body {
    let kept = body
        .iter()
        .filter(|step| !without.contains(&step.number) && !off.contains(step.op.kind().as_str()));
    kept.map(|step| Step {
        bodies: step
            .bodies
            .iter()
            .map(|body| prune(body, without, off))
            .collect(),
        ..step.clone()
    })
    .collect()
}

impl Op {
    /// Its name, as `--off` takes it.
    pub(crate) fn kind(&self) -> String {
        let text = format!("{self:?}");
        let end = text.find([' ', '(']).unwrap_or(text.len());
        text[..end].to_lowercase()
    }
}

/// Whether the code of a body may catch a request of its own task.
pub(crate) fn catches(body: &Body) -> bool {
    body.iter().any(|step| match step.op {
        Op::Catch { .. } => true,
        Op::Timeout(_) => step.bodies.iter().any(catches),
        _ => false,
    })
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn write(body: &Body, indent: usize, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            for step in body.iter() {
                writeln!(f, "{:indent$}{}: {:?}", "", step.number, step.op)?;
                for body in &step.bodies {
                    writeln!(f, "{:indent$}  {{", "")?;
                    write(body, indent + 4, f)?;
                    writeln!(f, "{:indent$}  }}", "")?;
                }
            }
            Ok(())
        }
        writeln!(
            f,
            "seed {}: {} runtimes of {} workers, life {:?}, ends {:?}, blocked after {:?}",
            self.seed, self.runtimes, self.workers, self.life, self.ends, self.blocked_threshold
        )?;
        for (kind, body) in &self.outside {
            writeln!(f, "  thread {kind:?}")?;
            write(body, 4, f)?;
        }
        Ok(())
    }
}

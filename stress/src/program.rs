//! Programs as data: made from a seed, printed, and made smaller.
//!
//! A program is a tree of steps. The steps are numbered in the order in which they are made, so a smaller program is the seed and
//! the numbers that were left out.
//!
//! # Programs that end
//! A worker that waits in the middle of a poll for what another poll does is missing. A runtime with so many workers and spares
//! promises to go on while fewer than all of these are, and where nobody looks after blocked workers, while fewer than the
//! workers are that have not announced it. No program keeps more of them waiting than that, whatever the order in which its
//! tasks run: each step that waits takes a place when it is made, and there are so many places ([`Waits`]).
//! Those that only sleep, or compute, come back by themselves. Whoever has a lock, or an item, waits for nobody ([`shared`]), and
//! nothing blocks its thread beside other steps of its own task.

mod cuts;
mod maker;
mod shared;

use std::fmt;
use std::sync::Arc;

pub(crate) use cuts::Cuts;
use fastrand::Rng;
use maker::{Maker, Waits};
/// How somebody waits for what others have; the steps that block have a `How` of their own.
pub(crate) use shared::How as Ask;
pub(crate) use shared::{
    After, Arena, Circle, CircleEnd, Common, Deed, Line, Member, Party, Policy, Room, Use, Way, Who,
};

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
    Block(Block),
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
    /// Runs its bodies side by side; the others are dropped where they are when the first is over.
    Race,
    Arena(Arena),
    Party(Party),
    Use(Use),
    Group(Circle),
    Member(Member),
    /// Cancels the group around it.
    CancelGroup(By),
}

/// How a thread is kept from its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) how: How,
    /// How many calls of `block_in_place` it is inside of.
    pub(crate) in_place: u8,
    /// Tasks are spawned inside of these, not before.
    pub(crate) late: bool,
    /// What is done to the task that blocks, most often while it does.
    pub(crate) meanwhile: Option<Act>,
    /// How the outermost `block_in_place` ends.
    pub(crate) leave: Leave,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    Sleep(u32),
    Compute(u32),
    /// Until the runtime has told of it.
    Told,
    /// Until a task that runs the body opens a gate, or is gone.
    Gate {
        on: u8,
    },
    /// The same by a channel.
    Channel {
        on: u8,
    },
    /// For a mutex, which a task holds for some time while it blocks, too.
    Mutex {
        on: u8,
        time: u32,
    },
    /// Until so many tasks block as well.
    Meeting {
        on: u8,
        tasks: u8,
    },
    /// For a root that runs the body.
    Root {
        on: u8,
    },
}

/// How a closure ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leave {
    Return,
    /// It panics, and the task ends.
    Panic,
    /// It panics, and the task goes on.
    Caught,
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
    /// How many serve in the place of blocked workers at most.
    pub(crate) spares: usize,
}

impl Program {
    /// The program of a seed, but for what is cut.
    pub(crate) fn generate(seed: u64, workers: Option<usize>, cuts: &Cuts) -> Self {
        // Without a number of workers they vary.
        let workers = workers.unwrap_or([1, 2, 3, 8][(seed % 4) as usize]);
        let mut maker = Maker::new(Rng::with_seed(seed));
        let rng = &mut maker.rng;
        maker.runtimes = if rng.u8(..10) < 6 { 1 } else { 2 };
        maker.left = i32::from(rng.u8(2..120));
        let life = rng.bool().then(|| rng.u32(..20_000));
        maker.endless = life.is_some() || rng.bool();
        let rng = &mut maker.rng;
        maker.blocks = [0, 0, 0, 1, 2, 3][rng.usize(..6)];
        let blocked_threshold = if maker.blocks > 0 {
            [Some(1_000), Some(1_000), Some(2_000), Some(10_000), None][rng.usize(..5)]
        } else {
            [Some(1_000), Some(10_000), None][rng.usize(..3)]
        };
        maker.tells = blocked_threshold.is_some();
        let spares = [0, 1, 1, 2, 3, 8, 8, 8][rng.usize(..8)];
        maker.waits = vec![Waits::of(workers, spares, maker.tells); maker.runtimes.into()];
        maker.nested = Waits::of(1, spares, maker.tells);
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
                    _ if cuts.off.contains("local") => Outside::Root(on),
                    _ => Outside::Local,
                };
                // A thread that nobody misses.
                (kind, maker.body_on(None, 0))
            })
            .map(|(kind, body)| (kind, cuts.apply(&body)))
            .collect();
        Self {
            seed,
            workers,
            runtimes: maker.runtimes,
            outside,
            life,
            ends,
            blocked_threshold,
            spares,
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

    /// All steps, outer ones first.
    pub(crate) fn steps(&self) -> Vec<&Step> {
        fn walk<'a>(body: &'a Body, into: &mut Vec<&'a Step>) {
            for step in body.iter() {
                into.push(step);
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

impl Op {
    /// How long it takes, if that may be changed.
    pub(crate) fn time(&mut self) -> Option<&mut u32> {
        match self {
            Self::Spin(time)
            | Self::Sleep { time, .. }
            | Self::Timeout(time)
            | Self::Use(Use {
                how: Ask::Timeout(time),
                ..
            }) => Some(time),
            Self::Block(Block {
                how: How::Sleep(time) | How::Compute(time) | How::Mutex { time, .. },
                ..
            }) => Some(time),
            _ => None,
        }
    }
}

/// Whether the code of a body may catch a request of its own task.
pub(crate) fn catches(body: &Body) -> bool {
    body.iter().any(|step| match step.op {
        // Whoever runs a group waits for its children when it is asked to end.
        Op::Catch { .. } | Op::Group(_) => true,
        Op::Timeout(_) | Op::Race | Op::Use(_) | Op::Arena(_) => step.bodies.iter().any(catches),
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
            "seed {}: {} runtimes of {} workers and {} spares, life {:?}, ends {:?}, blocked after {:?}",
            self.seed,
            self.runtimes,
            self.workers,
            self.spares,
            self.life,
            self.ends,
            self.blocked_threshold
        )?;
        for (kind, body) in &self.outside {
            writeln!(f, "  thread {kind:?}")?;
            write(body, 4, f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;

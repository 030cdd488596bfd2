//! Makes the steps of a program, one draw after the other.

mod shared;

use fastrand::Rng;
use shared::Around;

use super::{Act, Block, Body, By, How, Leave, Op, Spawn, Step, Stream, Then, Timer, Wait, What};

pub(super) struct Maker {
    pub(super) rng: Rng,
    pub(super) next: u32,
    pub(super) left: i32,
    pub(super) runtimes: u8,
    pub(super) endless: bool,
    /// Steps that may yet block.
    pub(super) blocks: u8,
    /// Whether the runtimes tell of stalls.
    pub(super) tells: bool,
    /// For each runtime what is left; at the end those that are made by steps.
    pub(super) waits: Vec<Waits>,
    /// What a runtime has that a step makes.
    pub(super) nested: Waits,
    /// On whose workers the steps run that are made now; `None`: on a thread that nobody misses.
    home: Option<usize>,
    /// Inside of a root there: the worker has announced that it blocks.
    rooted: bool,
    around: Around,
}

/// How many workers of a runtime may yet be kept waiting for other polls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Waits {
    all: usize,
    /// Of these, without an announcement.
    silent: usize,
}

impl Waits {
    pub(super) fn of(workers: usize, spares: usize, looked_after: bool) -> Self {
        let all = workers + spares - 1;
        Self {
            all,
            silent: if looked_after { all } else { workers - 1 },
        }
    }

    fn has(&self, count: usize, announced: bool) -> bool {
        count <= self.all && (announced || count <= self.silent)
    }

    fn take(&mut self, count: usize, announced: bool) {
        self.all -= count;
        // A place that is taken is one less for the others, whoever takes it.
        self.silent = if announced {
            self.silent.min(self.all)
        } else {
            self.silent - count
        };
    }
}

impl Maker {
    pub(super) fn new(rng: Rng) -> Self {
        Self {
            rng,
            next: 0,
            left: 0,
            runtimes: 1,
            endless: false,
            blocks: 0,
            tells: false,
            waits: Vec::new(),
            nested: Waits { all: 0, silent: 0 },
            home: None,
            rooted: false,
            around: Around::default(),
        }
    }

    pub(super) fn on(&mut self) -> u8 {
        self.rng.u8(..self.runtimes)
    }

    /// A body that runs on workers of `home`.
    pub(super) fn body_on(&mut self, home: Option<usize>, depth: u8) -> Body {
        self.body_in(home, false, depth)
    }

    fn body_in(&mut self, home: Option<usize>, rooted: bool, depth: u8) -> Body {
        let outer = (self.home, self.rooted);
        (self.home, self.rooted) = (home, rooted);
        let body = self.body(depth);
        (self.home, self.rooted) = outer;
        body
    }

    /// The same for a task of its own, which may be in a circle, but is not its body.
    fn body_of_task(&mut self, home: Option<usize>, depth: u8) -> Body {
        let outer = self.around;
        (self.around.in_body, self.around.raced) = (false, false);
        let body = self.body_in(home, false, depth);
        self.around = outer;
        body
    }

    /// Whether the thread may wait for other polls. Takes its place, if it is a worker.
    fn may_wait(&mut self, announced: bool) -> bool {
        if self.around.raced {
            return false;
        }
        let Some(home) = self.home else {
            return true;
        };
        let may = self.waits[home].has(1, announced);
        if may {
            self.waits[home].take(1, announced);
        }
        may
    }

    fn body(&mut self, depth: u8) -> Body {
        let busy = std::mem::take(&mut self.around.busy);
        let count = match depth {
            _ if busy => self.rng.u8(1..7),
            0 => self.rng.u8(1..12),
            1..4 => self.rng.u8(..7),
            _ if self.around.is_used() => self.rng.u8(..4),
            _ => self.rng.u8(..2),
        };
        let mut steps = Vec::new();
        for _ in 0..count {
            if self.left <= 0 && !busy {
                break;
            }
            steps.push(self.step(depth));
        }
        steps.into()
    }

    fn step(&mut self, depth: u8) -> Step {
        self.left -= 1;
        let number = self.next;
        self.next += 1;
        let op = self.shared_op(depth).unwrap_or_else(|| self.op(depth));
        Step {
            number,
            op,
            bodies: self.bodies(op, depth + 1),
        }
    }

    fn bodies(&mut self, op: Op, depth: u8) -> Vec<Body> {
        let on = |on: u8| Some(usize::from(on));
        let (count, home, rooted) = match op {
            Op::Timeout(_) => (1, self.home, self.rooted),
            Op::Catch { .. } => (2, self.home, self.rooted),
            Op::BlockOn { .. } => (1, self.home, true),
            Op::Race | Op::Arena(_) | Op::Party(_) | Op::Use(_) | Op::Group(_) | Op::Member(_) => {
                return self.shared_bodies(op, depth);
            }
            Op::Spawn(spawn) => return vec![self.body_of_task(on(spawn.on), depth)],
            Op::Call { on: index, .. } => (1, on(index), false),
            Op::SpawnLocal { .. } | Op::Blocking { .. } => (1, None, false),
            Op::Block(Block { how, .. }) => match how {
                How::Root { .. } => (1, self.home, true),
                How::Gate { on: index } | How::Channel { on: index } => (1, on(index), false),
                _ => return Vec::new(),
            },
            Op::Runtime { .. } => {
                let home = self.waits.len();
                self.waits.push(self.nested);
                let body = self.body_on(Some(home), depth);
                self.waits.pop();
                return vec![body];
            }
            _ => return Vec::new(),
        };
        (0..count)
            .map(|_| self.body_in(home, rooted, depth))
            .collect()
    }

    fn op(&mut self, depth: u8) -> Op {
        let short = self.rng.u32(..3_000);
        match self.rng.u8(..105) {
            0..9 => Op::Yield(self.rng.u8(1..8)),
            9..12 => Op::Spin(self.rng.u32(..500)),
            12..13 => Op::Block(self.plain_block()),
            13..20 => Op::Sleep {
                time: short,
                how: self.timer(),
            },
            20..25 => Op::Timeout(short),
            25..27 => Op::Interval {
                time: 1 + short / 3,
                ticks: self.rng.u8(1..4),
            },
            27..52 => Op::Spawn(self.spawn()),
            52..54 => Op::SpawnLocal {
                act: self.act(),
                callbacks: self.callbacks(),
                wait: self.rng.bool(),
            },
            54..59 => Op::Blocking {
                on: self.on(),
                callbacks: self.callbacks(),
                cancel: self.rng.u8(..4) == 0,
                then: self.then(),
            },
            59..63 if depth < 4 && self.may_wait(true) => Op::BlockOn { on: self.on() },
            63..69 => Op::Call {
                on: self.on(),
                delay: self.rng.bool().then_some(short),
                count: self.rng.u8(1..4),
                cancel: self.rng.u8(..4) == 0,
                panic: self.rng.u8(..8) == 0,
            },
            69..78 => Op::Promise {
                on: self.on(),
                by: self.by(),
                keep: self.rng.u8(..5) > 0,
                callbacks: self.callbacks(),
                then: self.wait(),
            },
            78..82 => Op::Storm {
                tasks: self.rng.u8(1..6),
                threads: self.rng.u8(..2),
            },
            82..86 => Op::Stream {
                kind: [Stream::Unix, Stream::Unix, Stream::Tcp, Stream::Pipe][self.rng.usize(..4)],
                bytes: self.rng.u32(1..200_000),
            },
            86..93 => Op::Catch {
                end: self.catch_end(),
            },
            93..94 if depth > 0 => Op::CancelSelf,
            94..95 if depth > 0 => [Op::AbortSelf, Op::UncancelSelf][self.rng.usize(..2)],
            95..97 if depth > 0 && self.endless => Op::Pending,
            97..98 if depth > 0 => Op::Panic,
            98..99 if depth < 2 => Op::Runtime {
                grace: [0, 5_000][self.rng.usize(..2)],
            },
            99.. if self.blocks > 0 => {
                self.blocks -= 1;
                Op::Block(self.block(depth))
            }
            _ => Op::Yield(1),
        }
    }

    /// As any program may have it.
    fn plain_block(&mut self) -> Block {
        Block {
            how: How::Sleep(self.rng.u32(..15_000)),
            in_place: 0,
            late: false,
            meanwhile: None,
            leave: Leave::Return,
        }
    }

    fn block(&mut self, depth: u8) -> Block {
        let in_place = [0, 0, 0, 1, 1, 2][self.rng.usize(..6)];
        let leave = if in_place == 0 || depth == 0 || self.rng.u8(..4) > 0 {
            Leave::Return
        } else {
            [Leave::Panic, Leave::Caught][self.rng.usize(..2)]
        };
        let what = [What::Cancel, What::CancelWith, What::Abort][self.rng.usize(..3)];
        let meanwhile = Act {
            what,
            by: self.by(),
            yields: self.rng.u8(..4),
        };
        Block {
            how: self.how(in_place > 0, depth),
            in_place,
            late: self.rng.bool(),
            meanwhile: (self.rng.u8(..4) == 0).then_some(meanwhile),
            leave,
        }
    }

    fn how(&mut self, announced: bool, depth: u8) -> How {
        let on = self.on();
        // Most are longer than the threshold, few are much longer.
        let most = [3_000, 3_000, 8_000, 40_000][self.rng.usize(..4)];
        let time = self.rng.u32(500..most);
        match self.rng.u8(..16) {
            0..3 => How::Compute(time.min(8_000)),
            3..5 if self.is_told(announced) => How::Told,
            5..8 if self.may_wait(announced) => How::Gate { on },
            8..10 if self.may_wait(announced) => How::Channel { on },
            10..12 if self.may_wait(announced) => How::Mutex { on, time },
            12..14 => self.meeting(on, announced).unwrap_or(How::Sleep(time)),
            14..16 if depth < 4 && self.may_wait(true) => How::Root { on },
            _ => How::Sleep(time),
        }
    }

    /// Whether somebody is told of a poll that takes too long: not if the worker has announced that it blocks.
    fn is_told(&self, announced: bool) -> bool {
        self.tells && self.home.is_some() && !self.rooted && !announced
    }

    /// Of those who meet all but the last one wait.
    fn meeting(&mut self, on: u8, announced: bool) -> Option<How> {
        let tasks = self.rng.u8(1..5);
        if self.around.raced {
            return None;
        }
        let is_home = self.home == Some(on.into());
        let wait = usize::from(tasks) - usize::from(!is_home);
        if !self.waits[usize::from(on)].has(wait, announced) {
            return None;
        }
        if !is_home && !self.may_wait(announced) {
            return None;
        }
        self.waits[usize::from(on)].take(wait, announced);
        Some(How::Meeting { on, tasks })
    }

    fn timer(&mut self) -> Timer {
        [
            Timer::Await,
            Timer::Await,
            Timer::Unpolled,
            Timer::FirstPoll,
            Timer::Reset,
        ][self.rng.usize(..5)]
    }

    fn callbacks(&mut self) -> u8 {
        self.rng.u8(..8).saturating_sub(4)
    }

    fn spawn(&mut self) -> Spawn {
        Spawn {
            on: self.on(),
            acts: [self.act(), self.act()],
            callbacks: self.callbacks(),
            drop_panics: self.rng.u8(..40) == 0,
            output_panics: self.rng.u8(..40) == 0,
            watched: self.rng.bool(),
            then: self.then(),
        }
    }

    fn act(&mut self) -> Option<Act> {
        (self.rng.u8(..5) == 0).then(|| Act {
            what: [
                What::Cancel,
                What::CancelWith,
                What::Abort,
                What::CancelAndUncancel,
            ][self.rng.usize(..4)],
            by: self.by(),
            yields: self.rng.u8(..4),
        })
    }

    fn by(&mut self) -> By {
        [
            By::Here,
            By::Here,
            By::Task,
            By::Thread,
            By::Blocking,
            By::Call,
        ][self.rng.usize(..6)]
    }

    fn wait(&mut self) -> Wait {
        match self.rng.u8(..6) {
            0..3 => Wait::Await,
            3 => Wait::Drop,
            4 => Wait::Cancel,
            _ => Wait::Share(self.rng.u8(1..4)),
        }
    }

    fn then(&mut self) -> Then {
        match self.rng.u8(..16) {
            0..5 => Then::Await,
            5..7 => Then::Detach,
            7..9 => Then::Keep,
            9 => Then::PollOnce,
            10..12 => Then::Share(self.rng.u8(1..4)),
            12 => Then::CancelOnDrop {
                wait: self.rng.bool(),
            },
            13 if self.may_wait(true) => Then::WaitBlocking,
            13 => Then::Await,
            14 => Then::WaitOnThread,
            _ => Then::WaitOnTask(self.on()),
        }
    }
}

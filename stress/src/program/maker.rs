//! Makes the steps of a program, one draw after the other.

use fastrand::Rng;

use super::{Act, Body, By, CatchEnd, Op, Spawn, Step, Stream, Then, Timer, Wait, What};

pub(super) struct Maker {
    pub(super) rng: Rng,
    pub(super) next: u32,
    pub(super) left: i32,
    pub(super) runtimes: u8,
    pub(super) endless: bool,
}

impl Maker {
    pub(super) fn on(&mut self) -> u8 {
        self.rng.u8(..self.runtimes)
    }

    pub(super) fn body(&mut self, depth: u8) -> Body {
        let count = match depth {
            0 => self.rng.u8(1..12),
            1..4 => self.rng.u8(..7),
            _ => self.rng.u8(..2),
        };
        let mut steps = Vec::new();
        for _ in 0..count {
            if self.left <= 0 {
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
        let op = self.op(depth);
        let count = match op {
            Op::Timeout(_)
            | Op::Spawn(_)
            | Op::SpawnLocal { .. }
            | Op::Blocking { .. }
            | Op::BlockOn { .. }
            | Op::Call { .. }
            | Op::Runtime { .. } => 1,
            Op::Catch { .. } => 2,
            _ => 0,
        };
        let bodies = (0..count).map(|_| self.body(depth + 1)).collect();
        Step { number, op, bodies }
    }

    fn op(&mut self, depth: u8) -> Op {
        let short = self.rng.u32(..3_000);
        match self.rng.u8(..100) {
            0..9 => Op::Yield(self.rng.u8(1..8)),
            9..12 => Op::Spin(self.rng.u32(..500)),
            12..13 => Op::Block(self.rng.u32(..15_000)),
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
            59..63 if depth < 4 => Op::BlockOn { on: self.on() },
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
                end: [CatchEnd::Swallow, CatchEnd::Uncancel, CatchEnd::Resume][self.rng.usize(..3)],
            },
            93..94 if depth > 0 => Op::CancelSelf,
            94..95 if depth > 0 => [Op::AbortSelf, Op::UncancelSelf][self.rng.usize(..2)],
            95..97 if depth > 0 && self.endless => Op::Pending,
            97..98 if depth > 0 => Op::Panic,
            98..99 if depth < 2 => Op::Runtime {
                grace: [0, 5_000][self.rng.usize(..2)],
            },
            _ => Op::Yield(1),
        }
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
            13 => Then::WaitBlocking,
            14 => Then::WaitOnThread,
            _ => Then::WaitOnTask(self.on()),
        }
    }
}

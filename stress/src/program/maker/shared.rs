//! Makes arenas and circles.

use super::Maker;
use crate::program::{
    Act, After, Arena, Ask, Body, CatchEnd, Circle, CircleEnd, Common, Deed, Line, Member, Op,
    Party, Policy, Room, Step, Timer, Use, Way, Who,
};

/// What is around the steps that are made now.
#[derive(Clone, Copy, Default)]
pub(super) struct Around {
    /// The innermost arena, and whether its party gives.
    arena: Option<(Common, bool)>,
    /// In a circle, and whether it is its body that runs, and whether it has only so many places.
    circle: bool,
    pub(super) in_body: bool,
    limited: bool,
    /// Its children are cancelled in the end, whatever happens.
    doomed: bool,
    /// Most steps of the arena's parties use it, whatever the depth.
    pub(super) busy: bool,
    /// Somebody has a lock, or an item: the steps wait for nobody.
    holds: bool,
    /// Beside other steps of the same task, which may have something that whoever blocks the thread would wait for.
    pub(super) raced: bool,
}

impl Around {
    /// Whether there is something to use that nobody has yet.
    pub(super) fn is_used(&self) -> bool {
        self.arena.is_some() && !self.holds
    }
}

impl Maker {
    /// A step that has to do with what is around it, or begins something to be in. `None`: another one.
    pub(super) fn shared_op(&mut self, depth: u8) -> Option<Op> {
        if self.around.holds {
            return Some(self.leaf(depth));
        }
        let draw = self.rng.u8(..100);
        match self.around.arena {
            Some((common, gives)) if draw < 45 => return Some(self.use_of(common, gives)),
            // Clean-up that waits, too.
            Some(_) if draw < 56 => {
                return Some(Op::Catch {
                    end: self.catch_end(),
                });
            }
            _ => {}
        }
        if self.around.circle && draw < 76 {
            return Some(match draw % 10 {
                0 => Op::CancelGroup(self.by()),
                1 | 2 => Op::Catch {
                    end: self.catch_end(),
                },
                _ => Op::Member(self.member()),
            });
        }
        match draw {
            80..83 => Some(Op::Race),
            83..93 if depth < 4 => Some(Op::Arena(self.arena())),
            93..100 if depth < 4 => Some(Op::Group(self.circle())),
            _ => None,
        }
    }

    pub(super) fn shared_bodies(&mut self, op: Op, depth: u8) -> Vec<Body> {
        let outer = self.around;
        let (home, rooted) = (self.home, self.rooted);
        let bodies = match op {
            Op::Race => {
                self.around.raced = true;
                vec![
                    self.body_in(home, rooted, depth),
                    self.body_in(home, rooted, depth),
                ]
            }
            Op::Arena(arena) => {
                self.around.arena = Some((arena.common, true));
                vec![
                    self.parties(arena.common, depth),
                    self.body_in(home, rooted, depth),
                ]
            }
            Op::Party(party) => {
                let home = match party.who {
                    Who::Task(on) => Some(on.into()),
                    Who::Thread(_) => None,
                };
                let common = outer.arena.map(|(common, _)| common);
                self.around.arena = common.map(|common| (common, party.gives));
                self.around.busy = true;
                vec![self.body_of_task(home, depth)]
            }
            Op::Use(_) if outer.arena.is_some_and(has_something) => {
                self.around.holds = true;
                vec![self.leaves(depth)]
            }
            Op::Group(circle) => {
                self.around.circle = true;
                self.around.in_body = true;
                self.around.limited = circle.limit.is_some();
                self.around.doomed = matches!(circle.end, CircleEnd::Fail | CircleEnd::Panic);
                // Without a task around it the step makes one, on the first runtime.
                let home = home.filter(|_| !rooted).or(Some(0));
                vec![self.body_in(home, false, depth)]
            }
            Op::Member(Member { way, .. }) => {
                let home = home.filter(|_| way != Way::Blocking);
                vec![self.body_of_task(home, depth)]
            }
            _ => Vec::new(),
        };
        self.around = outer;
        bodies
    }

    fn leaves(&mut self, depth: u8) -> Body {
        let count = self.rng.u8(..3);
        let steps: Vec<Step> = (0..count).map(|_| self.step(depth)).collect();
        steps.into()
    }

    /// A step that waits for nobody.
    fn leaf(&mut self, depth: u8) -> Op {
        let time = self.rng.u32(..1_500);
        let deep = depth > 6 || self.left <= 0;
        match self.rng.u8(..64) {
            0..24 => Op::Yield(self.rng.u8(1..4)),
            24..32 => Op::Spin(time / 8),
            32..46 => Op::Sleep {
                time,
                how: Timer::Await,
            },
            46..50 if !deep => Op::Timeout(time),
            50..53 if !deep => Op::Race,
            53..58 if !deep => Op::Catch {
                end: self.catch_end(),
            },
            58..60 => Op::CancelSelf,
            60 => Op::AbortSelf,
            61 => Op::Panic,
            62 if self.endless => Op::Pending,
            _ => Op::Yield(1),
        }
    }

    pub(super) fn catch_end(&mut self) -> CatchEnd {
        [CatchEnd::Swallow, CatchEnd::Uncancel, CatchEnd::Resume][self.rng.usize(..3)]
    }

    fn arena(&mut self) -> Arena {
        let small = self.rng.u8(1..4);
        let common = match self.rng.u8(..28) {
            0..3 => Common::Mutex,
            3..6 => Common::RwLock,
            6..9 => Common::Semaphore {
                permits: self.rng.u8(1..6),
            },
            9..10 => Common::Once,
            10..13 => Common::Condvar,
            13..21 => self.queue(),
            21..24 => Common::Notify,
            24..25 => Common::Event,
            25..26 => Common::Barrier { parties: small + 1 },
            _ => Common::Broadcast { keeps: small },
        };
        Arena {
            common,
            wait: self.rng.u8(..3) > 0,
        }
    }

    fn queue(&mut self) -> Common {
        let line = [
            Line::Fifo,
            Line::Fifo,
            Line::Lifo,
            Line::Priority,
            Line::Channel,
            Line::Channel,
        ][self.rng.usize(..6)];
        let ordered = matches!(line, Line::Fifo | Line::Channel);
        let room = match self.rng.u8(..6) {
            0 if ordered => Room::None,
            0..4 => Room::Bounded(self.rng.u8(1..4)),
            _ => Room::Unbounded,
        };
        Common::Queue {
            line,
            room,
            hook: self.rng.u8(..4) > 0,
        }
    }

    /// The parties of an arena, each of them a step.
    fn parties(&mut self, common: Common, depth: u8) -> Body {
        let one_takes = matches!(
            common,
            Common::Queue {
                line: Line::Channel,
                ..
            }
        );
        let count = self.rng.u8(1..6);
        let mut steps = Vec::new();
        for index in 0..count {
            self.left -= 1;
            let number = self.next;
            self.next += 1;
            let on = self.on();
            let op = Op::Party(Party {
                who: match self.rng.u8(..5) {
                    0 => Who::Thread(on),
                    _ => Who::Task(on),
                },
                // The first one takes: the step itself gives.
                gives: index > 0 && (one_takes || self.rng.u8(..5) < 2),
                act: self.act_at_some_time(),
            });
            steps.push(Step {
                number,
                op,
                bodies: self.shared_bodies(op, depth + 1),
            });
        }
        steps.into()
    }

    /// Parties are disturbed when they are in the middle of something.
    fn act_at_some_time(&mut self) -> Option<Act> {
        let act = self.act().or_else(|| self.act()).or_else(|| self.act());
        act.map(|act| Act {
            yields: self.rng.u8(..40),
            ..act
        })
    }

    fn use_of(&mut self, common: Common, gives: bool) -> Op {
        let queue = matches!(common, Common::Queue { .. });
        let what = match self.rng.u8(..40) {
            0..5 if queue && gives => Deed::Join,
            5 if queue => Deed::Close,
            6 if queue => Deed::CloseNow,
            _ => Deed::Move,
        };
        Op::Use(Use {
            how: self.ask(),
            amount: self.rng.u8(1..6),
            what,
        })
    }

    fn ask(&mut self) -> Ask {
        match self.rng.u8(..20) {
            0..7 => Ask::Await,
            7..9 => Ask::Owned,
            9..12 => Ask::Timeout(self.rng.u32(..1_500)),
            12..15 => Ask::Polls(self.rng.u8(1..4)),
            15..17 => Ask::Race,
            17 => Ask::Try,
            _ if self.may_wait(true) => Ask::Blocking,
            _ => Ask::Await,
        }
    }

    fn circle(&mut self) -> Circle {
        Circle {
            policy: [
                Policy::FailFast,
                Policy::FailFast,
                Policy::Supervise,
                Policy::FirstSuccess,
            ][self.rng.usize(..4)],
            limit: (self.rng.u8(..3) == 0).then(|| self.rng.u8(1..4)),
            end: match self.rng.u8(..12) {
                0..7 => CircleEnd::Return,
                7..9 => CircleEnd::PassOn,
                9..11 => CircleEnd::Fail,
                _ => CircleEnd::Panic,
            },
        }
    }

    fn member(&mut self) -> Member {
        // Those who have a place and wait for another would wait for each other: only the body does.
        let may_wait = self.around.in_body || !self.around.limited;
        // Whoever waits for a place, or for this one, would wait for ever.
        let may_idle = self.around.doomed && !self.around.limited;
        if may_idle && self.rng.u8(..3) == 0 {
            return Member {
                way: [Way::Spawn, Way::Wait][self.rng.usize(..2)],
                fails: false,
                idles: true,
                then: After::Drop,
            };
        }
        Member {
            idles: false,
            way: match self.rng.u8(..12) {
                0..5 => Way::Spawn,
                5..8 if may_wait => Way::Wait,
                8..10 => Way::Start {
                    ready: self.rng.u8(..3) > 0,
                },
                10 => Way::Blocking,
                _ => Way::Spawn,
            },
            fails: self.rng.u8(..5) == 0,
            then: match self.rng.u8(..10) {
                0..5 => After::Drop,
                5..8 => After::Await,
                8 => After::Cancel {
                    wait: self.rng.bool(),
                },
                _ => After::Abort,
            },
        }
    }
}

/// Whether somebody has something while the step's body runs.
fn has_something((common, gives): (Common, bool)) -> bool {
    match common {
        Common::Mutex | Common::RwLock | Common::Semaphore { .. } | Common::Once => true,
        Common::Queue { .. } => !gives,
        _ => false,
    }
}

//! That programs are what their seeds say, and end.

use std::collections::BTreeMap;

use super::*;

const SEEDS: std::ops::Range<u64> = 0..4_000;

fn whole(seed: u64) -> Program {
    Program::generate(seed, None, &Cuts::default())
}

/// How many workers of each runtime a program can keep waiting: all, and those that announce nothing.
#[derive(Default)]
struct Waiting {
    all: BTreeMap<usize, usize>,
    silent: BTreeMap<usize, usize>,
}

impl Waiting {
    fn add(&mut self, home: Option<usize>, count: usize, announced: bool) {
        if let Some(home) = home {
            *self.all.entry(home).or_default() += count;
            *self.silent.entry(home).or_default() += if announced { 0 } else { count };
        }
    }

    /// `home`: the runtime on whose workers `body` runs, in a root there if `rooted`; `next`: the one that a step makes.
    fn count(&mut self, body: &Body, home: Option<usize>, rooted: bool, next: &mut usize) {
        for step in body.iter() {
            let on = |on: u8| Some(usize::from(on));
            let mut inner = home;
            let mut in_root = false;
            match step.op {
                Op::Timeout(_) | Op::Catch { .. } | Op::Race | Op::Arena(_) => in_root = rooted,
                Op::Use(deed) => {
                    in_root = rooted;
                    if deed.how == Ask::Blocking {
                        self.add(home, 1, true);
                    }
                }
                Op::Party(party) => {
                    inner = match party.who {
                        Who::Task(index) => on(index),
                        Who::Thread(_) => None,
                    };
                }
                // Without a task around it the step makes one.
                Op::Group(_) => inner = home.filter(|_| !rooted).or(Some(0)),
                Op::Member(member) if member.way == Way::Blocking => inner = None,
                Op::BlockOn { .. } => {
                    in_root = true;
                    self.add(home, 1, true);
                }
                Op::Spawn(Spawn { on: index, .. }) | Op::Call { on: index, .. } => {
                    inner = on(index);
                }
                Op::SpawnLocal { .. } | Op::Blocking { .. } => inner = None,
                Op::Runtime { .. } => {
                    inner = Some(*next);
                    *next += 1;
                }
                Op::Block(block) => {
                    let announced = block.in_place > 0;
                    match block.how {
                        How::Sleep(_) | How::Compute(_) | How::Told => {}
                        How::Root { .. } => {
                            in_root = true;
                            self.add(home, 1, true);
                        }
                        How::Gate { on: index } | How::Channel { on: index } => {
                            self.add(home, 1, announced);
                            inner = on(index);
                        }
                        How::Mutex { .. } => self.add(home, 1, announced),
                        // All but the last one wait.
                        How::Meeting { on: index, tasks } => {
                            self.add(home, 1, announced);
                            self.add(on(index), usize::from(tasks) - 1, announced);
                        }
                    }
                }
                _ => {}
            }
            if let Op::Spawn(Spawn {
                then: Then::WaitBlocking,
                ..
            })
            | Op::Blocking {
                then: Then::WaitBlocking,
                ..
            } = step.op
            {
                self.add(home, 1, true);
            }
            for body in &step.bodies {
                self.count(body, inner, in_root, next);
            }
        }
    }
}

#[test]
fn no_program_keeps_more_workers_waiting_than_may_be() {
    let mut most = false;
    for seed in SEEDS {
        let program = whole(seed);
        let runtimes = usize::from(program.runtimes);
        let mut waiting = Waiting::default();
        let mut next = runtimes;
        for (_, body) in &program.outside {
            waiting.count(body, None, false, &mut next);
        }
        for (home, count) in waiting.all {
            let workers = if home < runtimes { program.workers } else { 1 };
            let all = workers + program.spares;
            assert!(count < all, "{program}");
            most |= count + 1 == all;
            let nobody_looks = program.blocked_threshold.is_none();
            if nobody_looks {
                assert!(waiting.silent[&home] < workers, "{program}");
            }
        }
    }
    assert!(most, "some do as much as may be");
}

#[test]
fn a_seed_gives_one_program() {
    for seed in SEEDS.take(200) {
        assert_eq!(whole(seed).to_string(), whole(seed).to_string());
    }
}

#[test]
fn each_way_to_block_is_there() {
    let mut ways = std::collections::BTreeSet::new();
    let mut blocking = 0;
    for seed in SEEDS {
        let program = whole(seed);
        let steps = program.steps();
        let blocks = steps.iter().filter_map(|step| match step.op {
            Op::Block(block) => Some(block),
            _ => None,
        });
        let mut some = false;
        for block in blocks {
            some = true;
            let how = format!("{:?}", block.how);
            let end = how.find([' ', '(']).unwrap_or(how.len());
            ways.insert((how[..end].to_owned(), block.in_place > 0));
            ways.insert((format!("{:?}", block.leave), block.meanwhile.is_some()));
        }
        blocking += u64::from(some);
    }
    // Eight ways to block, all but one in place or not; three ways to leave, with somebody who asks it to end or without.
    assert_eq!(ways.len(), 8 * 2 - 1 + 3 * 2, "{ways:?}");
    // Many do not, so that the rate of programs does not suffer.
    let programs = SEEDS.end - SEEDS.start;
    assert!(
        (programs / 4..programs * 3 / 4).contains(&blocking),
        "{blocking}"
    );
}

#[test]
fn each_thing_to_share_is_there() {
    let mut kinds = std::collections::BTreeSet::new();
    for seed in SEEDS {
        for step in whole(seed).steps() {
            let text = match step.op {
                Op::Arena(arena) => format!("{:?}", arena.common),
                Op::Use(deed) => format!("{:?} {:?}", deed.what, deed.how),
                Op::Group(circle) => format!("{:?} {:?}", circle.policy, circle.end),
                Op::Member(member) => format!("{:?} {:?}", member.way, member.then),
                _ => continue,
            };
            // The numbers in it do not matter.
            kinds.insert(text.replace(|c: char| c.is_ascii_digit(), ""));
        }
    }
    let count = |first: &str| kinds.iter().filter(|kind| kind.starts_with(first)).count();
    assert_eq!(count("Semaphore") + count("Mutex") + count("RwLock"), 3);
    // Two that keep an order with three kinds of room, two that do not with two, all with a hook and without.
    assert_eq!(count("Queue"), (2 * 3 + 2 * 2) * 2, "{kinds:?}");
    // Four deeds in seven ways.
    let deeds = ["Move ", "Join ", "Close ", "CloseNow "];
    assert_eq!(deeds.map(count), [7; 4], "{kinds:?}");
    let policies = ["FailFast", "Supervise", "FirstSuccess"];
    assert_eq!(policies.map(count), [4; 3], "{kinds:?}");
    // Five ways to go on, and five ways to come about.
    let ways = [
        "Spawn",
        "Wait",
        "Start { ready: true",
        "Start { ready: false",
        "Blocking",
    ];
    assert_eq!(ways.map(count), [5; 5], "{kinds:?}");
}

/// Whoever has something waits for nobody: neither for what the others have nor for other tasks.
#[test]
fn whoever_has_something_waits_for_nobody() {
    fn check(body: &Body, holds: bool) {
        for step in body.iter() {
            let leaf = matches!(
                step.op,
                Op::Yield(_)
                    | Op::Spin(_)
                    | Op::Sleep { .. }
                    | Op::Timeout(_)
                    | Op::Race
                    | Op::Catch { .. }
                    | Op::CancelSelf
                    | Op::AbortSelf
                    | Op::Panic
                    | Op::Pending
            );
            assert!(leaf || !holds, "{:?}", step.op);
            let holds = holds || matches!(step.op, Op::Use(_));
            step.bodies.iter().for_each(|body| check(body, holds));
        }
    }
    each_outermost_body(|body| check(body, false));
}

fn each_outermost_body(check: impl Fn(&Body)) {
    for seed in SEEDS {
        let program = whole(seed);
        program.outside.iter().for_each(|(_, body)| check(body));
    }
}

/// Beside others of its own task nothing blocks the thread to wait: they may have what it waits for.
#[test]
fn whoever_races_does_not_block() {
    fn check(body: &Body, raced: bool) {
        for step in body.iter() {
            let blocks = match step.op {
                Op::Use(deed) => deed.how == Ask::Blocking,
                Op::BlockOn { .. } => true,
                Op::Block(block) => {
                    !matches!(block.how, How::Sleep(_) | How::Compute(_) | How::Told)
                }
                Op::Spawn(spawn) => spawn.then == Then::WaitBlocking,
                _ => false,
            };
            assert!(!blocks || !raced, "{:?}", step.op);
            let own = matches!(step.op, Op::Spawn(_) | Op::Party(_) | Op::Member(_));
            let raced = !own && (raced || step.op == Op::Race);
            step.bodies.iter().for_each(|body| check(body, raced));
        }
    }
    each_outermost_body(|body| check(body, false));
}

#[test]
fn a_cut_changes_nothing_else() {
    for seed in SEEDS.take(200) {
        let program = whole(seed);
        for step in program.steps() {
            let mut cuts = Cuts::default();
            cuts.without.insert(step.number);
            let text = Program::generate(seed, None, &cuts).to_string();
            let all = program.to_string();
            let lines: Vec<&str> = all.lines().collect();
            let mut rest = lines.iter();
            // What is left is there in the same order.
            assert!(text.lines().all(|line| rest.any(|other| *other == line)));
            assert!(text.lines().count() < lines.len());
        }
    }
}

#[test]
fn a_step_is_shortened_where_it_stands() {
    let mut shortened = 0;
    for seed in SEEDS.take(500) {
        let program = whole(seed);
        for step in program.steps() {
            let mut op = step.op;
            let Some(time) = op.time().filter(|time| **time > 7) else {
                continue;
            };
            *time = 7;
            let mut cuts = Cuts::default();
            cuts.short.insert(step.number, 7);
            let shorter = Program::generate(seed, None, &cuts);
            let steps = shorter.steps();
            let found = steps.iter().find(|other| other.number == step.number);
            assert_eq!(found.map(|step| step.op), Some(op));
            assert_eq!(steps.len(), program.steps().len());
            shortened += 1;
        }
    }
    assert!(shortened > 0);
}

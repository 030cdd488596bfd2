//! Every pair of events that two threads can race, by the transition table of the task word.
//!
//! A *scene* is a task in some phase of its life; two actors do something to it, each on a thread of its own. [`race`]
//! explores all pairs of actors of a scene and listens to the word meanwhile. When all scenes of a kind of task have been
//! played, [`all_met`] asks of the events that came:
//!
//! * they are those that the kind is listed with here, and each event of the table is in one of the lists;
//! * each two of them came from two threads in one execution, unless one right is behind both, or they are apart.

use crate::explore_with_two;
use crate::kinds::KINDS;
use heist_core::sync::{start_noting, stop_noting};
use loom::thread;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt::Debug;

const TABLE: &str = include_str!("../../crates/heist-core/src/task/transitions.md");

/// A kind of cell: its events, and those that cannot meet.
#[derive(Debug)]
pub struct Kind {
    /// The events that come.
    pub events: &'static [&'static str],
    /// What one thread at a time has, and the events for which it is needed.
    pub rights: &'static [(&'static str, &'static [&'static str])],
    /// Two events that do not meet for another reason.
    pub apart: &'static [(&'static str, &'static str, &'static str)],
}

type Pair = (&'static str, &'static str);

std::thread_local! {
    /// Pairs of events that came on two threads, and events that came at all.
    static RACED: RefCell<(BTreeSet<Pair>, BTreeSet<&'static str>)> = RefCell::default();
}

/// The events of the table.
fn events() -> BTreeSet<&'static str> {
    let begin = TABLE.find("| event |").expect("the table of events");
    let rows = TABLE[begin..].lines().skip(2);
    rows.take_while(|line| line.starts_with('|'))
        .filter_map(|line| line.trim_matches('|').split('|').next())
        .map(str::trim)
        .collect()
}

/// Explores `model`, which uses [`together`], with each of the pairs.
pub fn race<A, B>(
    scene: &str,
    pairs: &[(A, B)],
    model: impl Fn(A, B) + Copy + Send + Sync + 'static,
) where
    A: Copy + Debug + Send + Sync + 'static,
    B: Copy + Debug + Send + Sync + 'static,
{
    for &(first, second) in pairs {
        let name = format!("{scene}:{first:?}+{second:?}");
        explore_with_two(&name, move || model(first, second));
    }
}

/// Runs both at once, and notes what came.
pub fn together<R, T: Send + 'static>(
    theirs: impl FnOnce() -> T + Send + 'static,
    mine: impl FnOnce() -> R,
) -> (T, R) {
    start_noting();
    let other = thread::spawn(theirs);
    let result = mine();
    let theirs = other.join().expect("the model's thread");
    let events = stop_noting();
    RACED.with_borrow_mut(|(pairs, seen)| {
        for (i, &(thread, event)) in events.iter().enumerate() {
            seen.insert(event);
            let others = events[i + 1..].iter().filter(|(other, _)| *other != thread);
            pairs.extend(others.map(|&(_, other)| pair(event, other)));
        }
    });
    (theirs, result)
}

fn pair(a: &'static str, b: &'static str) -> Pair {
    (a.min(b), a.max(b))
}

/// Looks whether every two events met that can.
pub fn all_met(kind: &Kind) {
    let (met, seen) = RACED.take();
    let every = KINDS.iter().flat_map(|kind| kind.events).copied();
    assert_eq!(every.collect::<BTreeSet<_>>(), events(), "the table");
    let listed: BTreeSet<&str> = kind.events.iter().copied().collect();
    assert_eq!(seen, listed, "what came, and what the kind is listed with");
    let all = seen.iter().flat_map(|a| seen.iter().map(|b| pair(a, b)));
    let all: BTreeSet<Pair> = all.collect();
    let missing: Vec<&Pair> = all
        .difference(&met)
        .filter(|pair| kind.can_meet(pair))
        .collect();
    assert!(missing.is_empty(), "these did not meet: {missing:?}");
    for &(a, b, _) in kind.apart {
        assert!(
            all.contains(&(a, b)) && !met.contains(&(a, b)),
            "{a} and {b} are not apart"
        );
    }
}

impl Kind {
    fn can_meet(&self, &(a, b): &&Pair) -> bool {
        let both = |events: &[&str]| events.contains(a) && events.contains(b);
        let one_right = self.rights.iter().any(|(_, events)| both(events));
        !one_right && !self.apart.iter().any(|&(x, y, _)| (x, y) == (a, b))
    }
}

//! What a runtime tells of polls that take too long: a begin, then an end.
//!
//! Each begin has its end once nothing is left that runs, whatever else happens, and when a shutdown has returned that left no threads.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, Weak};
use std::thread;
use std::time::{Duration, Instant};

use heist::TaskId;
use heist::runtime::{ExceptionContext, ExceptionKind, Metrics, Stall};
use heist::task::yield_now;

use super::{Place, Record, World, lock, panic_as_asked, patience};
use crate::run::micros;

/// How often in a row a runtime must be found at rest.
const LOOKS: u32 = 3;

/// What one runtime has told.
#[derive(Default)]
pub(crate) struct Stalls {
    told: Mutex<Told>,
    /// Panics of the hook, and of these, how many were reported.
    panics: AtomicU64,
    reports: AtomicU64,
}

#[derive(Default)]
struct Told {
    begins: u64,
    /// Those that have no end yet.
    open: Vec<Stall>,
}

impl Stalls {
    /// The hook.
    pub(super) fn on_stall(world: &Weak<World>, place: &Weak<Place>, stall: &Stall) {
        let (Some(world), Some(place)) = (world.upgrade(), place.upgrade()) else {
            return;
        };
        world.beat();
        let problem = check(&world, &place, stall)
            .or_else(|| place.stalls.note(stall).err())
            .or_else(|| check_listed(&place, stall));
        if let Some(problem) = problem {
            world.fail(&format!("{problem}: {stall:?}"));
        }
        if stall.elapsed.subsec_nanos().is_multiple_of(7) {
            place.stalls.panics.fetch_add(1, SeqCst);
            panic_as_asked();
        }
    }

    fn note(&self, stall: &Stall) -> Result<(), String> {
        let mut told = lock(&self.told);
        let here = |open: &Stall| open.thread == stall.thread;
        let begin = told.open.iter().position(here);
        match (begin, stall.ended) {
            (None, false) => {
                told.begins += 1;
                told.open.push(stall.clone());
            }
            (Some(begin), true) => {
                let begin = told.open.remove(begin);
                if begin.task != stall.task || begin.elapsed > stall.elapsed {
                    return Err(format!("the end of a stall that began as {begin:?}"));
                }
            }
            (Some(begin), false) => {
                let begin = &told.open[begin];
                return Err(format!("told of besides {begin:?}"));
            }
            (None, true) => return Err("the end of a stall without a begin".to_owned()),
        }
        Ok(())
    }

    pub(super) fn on_exception(&self, exception: &ExceptionContext<'_>) {
        if exception.kind() == ExceptionKind::Hook && exception.to_string().contains("on_stall") {
            self.reports.fetch_add(1, SeqCst);
        }
    }

    /// Whether one was told of that lasts, of this thread, and of `task` if that is known.
    pub(crate) fn lasts_here(&self, task: Option<TaskId>) -> bool {
        let thread = thread::current();
        let mine = |stall: &Stall| {
            let other = |id| stall.task.as_ref().is_none_or(|task| task.id() != id);
            Some(stall.thread.as_str()) == thread.name() && !task.is_some_and(other)
        };
        lock(&self.told).open.iter().any(mine)
    }

    pub(super) fn begins(&self) -> u64 {
        lock(&self.told).begins
    }

    /// What is wrong with what was told, once nobody tells anything any more.
    fn problem(&self, metrics: &Metrics, left_threads: bool) -> Option<String> {
        let told = lock(&self.told);
        let (panics, reports) = (self.panics.load(SeqCst), self.reports.load(SeqCst));
        if (metrics.stalls, &metrics.stalled) != (told.begins, &told.open) {
            Some(format!(
                "{} stalls were told of, {:?} of them last",
                told.begins, told.open
            ))
        } else if !told.open.is_empty() && !left_threads {
            Some(format!("nobody is told of the ends of {:?}", told.open))
        } else if panics != reports {
            Some(format!(
                "a hook panicked {panics} times, which was reported {reports} times"
            ))
        } else {
            None
        }
    }
}

fn check(world: &World, place: &Place, stall: &Stall) -> Option<String> {
    let threshold = world.program.blocked_threshold.map(micros);
    if threshold.is_none_or(|threshold| stall.elapsed < threshold) {
        return Some("a stall that is none yet".to_owned());
    }
    if place.is_closed() && !place.has_left_threads.load(SeqCst) {
        return Some("a stall is told of after the shutdown returned".to_owned());
    }
    let id = stall.task.as_ref()?.id();
    let elsewhere = |record: &Arc<Record>| {
        record.place.key != place.key && record.id.get().is_some_and(|other| *other == id)
    };
    let found = lock(&world.records).iter().any(elsewhere);
    found.then(|| "a stall of another runtime's task".to_owned())
}

/// Those that last are listed, and no others. Nobody tells anything else before the hook returns.
fn check_listed(place: &Place, stall: &Stall) -> Option<String> {
    let metrics = place.handle.get()?.metrics();
    let here = |other: &Stall| other.thread == stall.thread;
    let listed = metrics.stalled.iter().any(here);
    let wrong = listed == stall.ended || metrics.stalls < place.stalls.begins();
    wrong.then(|| format!("a stall is told of that is listed otherwise, in {metrics:?}"))
}

impl Place {
    /// Nothing is left that runs: all stalls are over, and no more workers are there than should be.
    pub(super) fn check_rest(self: &Arc<Self>, world: &World) {
        let Some(handle) = self.handle.get() else {
            return;
        };
        let begun = Instant::now();
        // One who is awake for a moment must not stand for one who is too many.
        let mut looks = 0;
        while looks < LOOKS && !self.is_closing() {
            let metrics = handle.metrics();
            let over = metrics.stalled.is_empty() && lock(&self.stalls.told).open.is_empty();
            if over && metrics.sleeping_workers == self.workers {
                looks += 1;
            } else if over {
                looks = 0;
                // Who is one too many gives its place back when it would sleep.
                handle.spawn(yield_now()).detach();
            }
            if begun.elapsed() > patience() {
                world.fail(&format!(
                    "stalls that are over, or workers that are too many: {:?}, {metrics:?}",
                    lock(&self.stalls.told).open
                ));
            }
            thread::sleep(Duration::from_micros(200));
        }
    }

    /// The runtime is gone, and so is who told of stalls, but perhaps for a moment.
    pub(super) fn check_stalls(&self, world: &World) {
        let Some(handle) = self.handle.get() else {
            return;
        };
        let begun = Instant::now();
        let left_threads = self.has_left_threads.load(SeqCst);
        while let Some(problem) = self.stalls.problem(&handle.metrics(), left_threads) {
            if begun.elapsed() > patience() {
                world.fail(&format!("{problem}: {:?}", handle.metrics()));
            }
            thread::sleep(Duration::from_micros(200));
        }
    }
}

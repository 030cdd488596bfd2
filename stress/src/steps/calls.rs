//! Calls: soon, later, taken back.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use heist::runtime::CallHandle;

use super::{Scene, run};
use crate::oracle::{Kind, Place, World, lock, panic_as_asked};
use crate::program::{Op, Step};
use crate::run::micros;
use crate::watched::Watched;

/// Calls of one step: which have run, in which order.
#[derive(Default)]
struct Calls {
    ran: Mutex<Vec<u8>>,
    running: AtomicBool,
}

/// Tells if a call is dropped that nobody has cancelled, instead of run.
struct Due {
    world: Arc<World>,
    home: Arc<Place>,
    step: u32,
    /// It has begun, or the program is about to cancel it.
    excused: Arc<AtomicBool>,
}

impl Drop for Due {
    fn drop(&mut self) {
        if !self.excused.load(SeqCst) && !self.home.is_closing() {
            let step = self.step;
            self.world.fail(&format!("a call of step {step} was lost"));
        }
    }
}

pub(super) fn do_calls(scene: &Scene, step: &Step) {
    let Op::Call {
        on,
        delay,
        count,
        cancel,
        panic,
    } = step.op
    else {
        return;
    };
    let world = &scene.world;
    let place = world.place(on);
    let calls = Arc::new(Calls::default());
    let mut handles: Vec<CallHandle> = Vec::new();
    // Equal times, which are promised an order, or times one after the other.
    let equal = delay
        .filter(|_| step.number.is_multiple_of(2))
        .map(|delay| Instant::now() + micros(delay));
    for index in 0..count {
        let (inner, calls) = (Arc::clone(world), Arc::clone(&calls));
        let (home, guard) = (Arc::clone(&place), world.guard());
        let last = index + 1 == count;
        let body = last.then(|| Arc::clone(&step.bodies[0]));
        let number = step.number;
        let begun = equal.map_or_else(Instant::now, |when| when - micros(delay.unwrap_or(0)));
        let excused = Arc::new(AtomicBool::new(cancel && index == 0));
        let due = Due {
            world: Arc::clone(world),
            home: Arc::clone(&place),
            step: number,
            excused: Arc::clone(&excused),
        };
        let call = move || {
            let _guard = guard;
            excused.store(true, SeqCst);
            let _due = due;
            if delay.is_some_and(|delay| begun.elapsed() < micros(delay)) {
                inner.fail(&format!("call_later of step {number} came early"));
            }
            if home.is_closed() {
                inner.fail(&format!(
                    "a call of step {number} after the shutdown returned"
                ));
            }
            if calls.running.swap(true, SeqCst) && delay.is_none() {
                inner.fail(&format!("calls of step {number} overlap"));
            }
            lock(&calls.ran).push(index);
            if let Some(body) = body.filter(|body| !body.is_empty()) {
                let record = inner.record(number, &home, Kind::Task, true, false);
                let scene = Scene::outside(&inner).of(&record);
                let watched = Watched::new(&inner, &record, run(scene, body), false, false);
                let task = home.handle().spawn(watched);
                record.note(task.task_ref(), false);
            }
            calls.running.store(false, SeqCst);
            if panic && last {
                panic_as_asked();
            }
        };
        handles.push(match delay {
            None => place.handle().call_soon(call),
            Some(delay) => match equal {
                Some(when) => place.handle().call_at(when, call),
                None => place.handle().call_later(micros(delay), call),
            },
        });
    }
    let ordered = delay.is_none() || equal.is_some();
    let prevented = cancel && handles[0].cancel();
    let number = step.number;
    world.in_the_end(move || {
        let ran = lock(&calls.ran).clone();
        let in_order = ran.is_sorted() || !ordered;
        let mut once = ran.clone();
        once.sort_unstable();
        once.dedup();
        let prevented_ran = prevented && ran.contains(&0);
        // Those that did not run were cancelled: by the program, or by the end of the runtime.
        let lost = handles
            .iter()
            .zip(0..)
            .any(|(handle, index)| handle.is_cancelled() == ran.contains(&index));
        let wrong = !in_order || once.len() != ran.len() || prevented_ran || lost;
        wrong.then(|| {
            format!("calls of step {number}: ran {ran:?} of {handles:?}, prevented {prevented}")
        })
    });
}

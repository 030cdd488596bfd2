//! Done-callbacks: once, in order, one at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

use heist::TaskRef;
use heist::task::yield_now;

use super::{ADDING, Kind, Outcome, PLACE, Record, World, lock, panic_as_asked, stamp};

/// One done-callback.
#[derive(Debug)]
pub(crate) struct Callback {
    /// Stamps around its registration.
    pub(super) adding: u64,
    pub(super) added: AtomicU64,
    pub(super) began: AtomicU64,
    pub(super) ended: AtomicU64,
    pub(super) removed: AtomicBool,
}

impl Callback {
    pub(crate) fn on_removed(&self, world: &World) {
        self.removed.store(true, SeqCst);
        if self.began.load(SeqCst) != 0 {
            world.fail(&format!("removed although it ran: {self:?}"));
        }
    }
}

/// What a callback does besides being counted.
#[derive(Clone, Copy)]
pub(crate) struct Habits {
    pub(crate) panics: bool,
    pub(crate) adds: bool,
    pub(crate) spawns: bool,
}

/// A callback to register.
pub(crate) type Registered = Box<dyn FnOnce(&TaskRef, Option<Outcome>) + Send>;

/// Registers a callback by `add`, and says what it was.
pub(crate) fn add_callback<R>(
    world: &Arc<World>,
    record: &Arc<Record>,
    habits: Habits,
    add: impl FnOnce(Registered) -> R,
) -> (Arc<Callback>, R) {
    let callback = Arc::new(Callback {
        adding: stamp(),
        added: AtomicU64::new(0),
        began: AtomicU64::new(0),
        ended: AtomicU64::new(0),
        removed: AtomicBool::new(false),
    });
    lock(&record.callbacks).push(Arc::clone(&callback));
    let guard = world.guard();
    let held = (Arc::clone(world), Arc::clone(record), Arc::clone(&callback));
    let function: Registered = Box::new(move |task, outcome| {
        let _guard = guard;
        let (world, record, callback) = held;
        run_callback(&world, &record, &callback, task, outcome, habits);
    });
    let outer = ADDING.replace(record.number);
    let result = add(function);
    ADDING.set(outer);
    callback.added.store(stamp(), SeqCst);
    (callback, result)
}

fn run_callback(
    world: &Arc<World>,
    record: &Arc<Record>,
    callback: &Callback,
    task: &TaskRef,
    outcome: Option<Outcome>,
    habits: Habits,
) {
    world.beat();
    let fail = |what: &str| world.fail(&format!("{what}: {callback:?} of {record:?}"));
    if callback.began.swap(stamp(), SeqCst) != 0 {
        fail("a callback ran twice");
    }
    if callback.removed.load(SeqCst) {
        fail("a callback ran after it was removed");
    }
    if record.in_callback.swap(true, SeqCst) {
        fail("callbacks of one task overlap");
    }
    if ADDING.get() == record.number && !world.is_closing() {
        fail("a callback ran inside of add_done_callback");
    }
    let closing = record.place.closing.load(SeqCst);
    if record.kind != Kind::Promise {
        if closing == 0 && PLACE.get() != record.place.key {
            fail("a callback ran on a thread that is not of its runtime");
        }
        // One that is added while the runtime goes may find it gone, and then runs where it is added.
        let added = callback.added.load(SeqCst);
        let is_late = record.place.is_closed() && !record.place.has_left_threads.load(SeqCst);
        if added != 0 && added < closing && is_late {
            record.check_open(world, &format!("{callback:?} ran"));
        }
    }
    if !task.is_finished() {
        fail("a callback ran before the task was over");
    }
    match outcome {
        // It was added after an await had taken the output.
        Some(Outcome::Other) if record.looked_at.load(SeqCst) => {}
        Some(outcome) => {
            record.looked_at.store(true, SeqCst);
            record.check(world, outcome, "shown to a callback");
        }
        None if !record.is_dropped() => fail("a callback ran before the future was dropped"),
        None => {}
    }
    if habits.adds {
        let habits = Habits {
            panics: false,
            adds: false,
            spawns: false,
        };
        add_callback(world, record, habits, |function| {
            task.add_done_callback(move |task| function(task, None))
        });
    }
    if habits.spawns {
        let guard = world.guard();
        let task = record.place.handle().spawn(async move {
            yield_now().await;
            drop(guard);
        });
        task.detach();
    }
    record.in_callback.store(false, SeqCst);
    callback.ended.store(stamp(), SeqCst);
    if habits.panics {
        panic_as_asked();
    }
}

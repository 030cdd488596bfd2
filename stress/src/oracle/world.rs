//! One program while it runs.

use std::collections::BTreeMap;
use std::fmt::{Debug, Write as _};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use heist::{Handle, TaskRef};

use super::stalls::Stalls;
use super::watch::{FAIL, FAILING, WORLDS};
use super::{Kind, PLACE, Place, Record, lock, quiet, stamp};
use crate::counts::{Counted, Counts};
use crate::guard::{Guard, GuardId};
use crate::program::Program;

/// Something to look at in the end. `Some`: what is wrong.
type Check = Box<dyn Fn() -> Option<String> + Send>;

/// The step that waits, and what it waits for.
pub(super) struct Waiting {
    step: u32,
    what: Weak<dyn Debug + Send + Sync>,
}

/// Somebody waits in an arena until this is dropped.
pub(crate) struct Waits<'a> {
    world: &'a World,
    key: u64,
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        lock(&self.world.waiting).remove(&self.key);
        self.world.beat();
    }
}

/// One program while it runs.
pub(crate) struct World {
    pub(crate) program: Program,
    pub(super) places: Mutex<Vec<Arc<Place>>>,
    pub(super) records: Mutex<Vec<Arc<Record>>>,
    pub(super) guards: Mutex<Vec<GuardId>>,
    pub(super) checks: Mutex<Vec<Check>>,
    pub(super) threads: Mutex<Vec<JoinHandle<()>>>,
    pub(crate) local_roots: Mutex<Vec<TaskRef>>,
    /// Who waits in an arena now, and for what.
    pub(super) waiting: Mutex<BTreeMap<u64, Waiting>>,
    counts: Mutex<Counts>,
    pub(super) beats: AtomicU64,
}

impl World {
    pub(crate) fn new(program: Program) -> Arc<Self> {
        let world = Arc::new(Self {
            program,
            places: Mutex::default(),
            records: Mutex::default(),
            guards: Mutex::default(),
            checks: Mutex::default(),
            threads: Mutex::default(),
            local_roots: Mutex::default(),
            waiting: Mutex::default(),
            counts: Mutex::default(),
            beats: AtomicU64::new(0),
        });
        let mut worlds = lock(&WORLDS);
        worlds.retain(|world| world.strong_count() > 0);
        worlds.push(Arc::downgrade(&world));
        drop(worlds);
        world
    }

    /// What it has done.
    pub(crate) fn counts(&self) -> Counts {
        let (mut stalls, mut stand_ins) = (0, 0);
        for place in lock(&self.places).iter() {
            let slots = place.handle.get().map(|handle| handle.metrics().workers);
            let beyond = slots.map_or(0, |slots| slots.len().saturating_sub(place.workers));
            stalls += place.stalls.begins();
            stand_ins += beyond as u64;
        }
        let mut counts = *lock(&self.counts);
        counts.add(Counted::Stall, stalls);
        counts.add(Counted::StandIn, stand_ins);
        counts
    }

    pub(crate) fn count(&self, what: Counted) {
        lock(&self.counts).add(what, 1);
    }

    pub(crate) fn beat(&self) {
        self.beats.fetch_add(1, SeqCst);
    }

    pub(crate) fn step(&self) {
        self.count(Counted::Operation);
        self.beat();
    }

    /// Another runtime, with so many workers; it has yet to be opened.
    pub(crate) fn add_place(&self, workers: usize) -> Arc<Place> {
        let place = Arc::new(Place {
            key: stamp(),
            workers,
            handle: OnceLock::new(),
            closing: AtomicU64::new(0),
            closing_at: OnceLock::new(),
            closed: AtomicBool::new(false),
            reported: Mutex::default(),
            has_left_threads: AtomicBool::new(false),
            stalls: Stalls::default(),
            exceptions: Mutex::default(),
            started: AtomicU32::new(0),
            stopped: AtomicU32::new(0),
        });
        lock(&self.places).push(Arc::clone(&place));
        place
    }

    pub(crate) fn place(&self, index: u8) -> Arc<Place> {
        Arc::clone(&lock(&self.places)[usize::from(index)])
    }

    /// The one that this thread belongs to.
    pub(crate) fn place_here(&self) -> Option<Arc<Place>> {
        let here = |place: &&Arc<Place>| place.key == PLACE.get();
        lock(&self.places).iter().find(here).cloned()
    }

    /// Whether any runtime has begun to end.
    pub(crate) fn is_closing(&self) -> bool {
        lock(&self.places).iter().any(|place| place.is_closing())
    }

    pub(crate) fn record(
        &self,
        step: u32,
        place: &Arc<Place>,
        kind: Kind,
        may_go_on: bool,
        drop_panics: bool,
    ) -> Arc<Record> {
        let record = Arc::new(Record {
            number: stamp(),
            step,
            kind,
            place: Arc::clone(place),
            may_go_on,
            drop_panics,
            id: OnceLock::new(),
            task: OnceLock::new(),
            polling: AtomicBool::new(false),
            begun: AtomicBool::new(false),
            returned: AtomicBool::new(false),
            panicked: AtomicBool::new(false),
            resumed: AtomicBool::new(false),
            caught_at: OnceLock::new(),
            above: OnceLock::new(),
            asked: AtomicBool::new(false),
            asked_plainly: AtomicBool::new(false),
            requests: AtomicU32::new(0),
            catches: AtomicU32::new(0),
            stopped: AtomicBool::new(false),
            abort_asked: AtomicBool::new(false),
            payload_taken: AtomicBool::new(false),
            polls_after: AtomicU32::new(0),
            dropped: AtomicBool::new(kind == Kind::Promise),
            looked_at: AtomicBool::new(false),
            kept: OnceLock::new(),
            seen: [AtomicBool::new(false), AtomicBool::new(false)],
            in_callback: AtomicBool::new(false),
            callbacks: Mutex::default(),
        });
        lock(&self.records).push(Arc::clone(&record));
        record
    }

    /// A guard that must have been dropped in the end.
    pub(crate) fn guard(&self) -> Guard {
        let guard = Guard::new();
        lock(&self.guards).push(guard.id());
        guard
    }

    pub(crate) fn in_the_end(&self, check: impl Fn() -> Option<String> + Send + 'static) {
        lock(&self.checks).push(Box::new(check));
    }

    /// Starts a thread that is joined before the program is over.
    pub(crate) fn thread(&self, body: impl FnOnce() + Send + 'static) {
        let started = thread::Builder::new().name("outside".into()).spawn(body);
        match started {
            Ok(thread) => lock(&self.threads).push(thread),
            Err(error) => self.fail(&format!("no thread: {error}")),
        }
    }

    fn join_threads(&self) {
        loop {
            let Some(thread) = lock(&self.threads).pop() else {
                return;
            };
            if thread.join().is_err() {
                self.fail("an outside thread panicked");
            }
        }
    }

    /// All runtimes have ended. Waits for what was left behind, and checks what can be checked then only.
    pub(crate) fn finish(&self) {
        self.settle();
        for record in lock(&self.records).iter() {
            record.check_state(self);
            record.check_promise(self);
            record.check_callbacks(self);
            self.check_exceptions(record);
        }
        for place in self.all_places() {
            place.check_stalls(self);
        }
        for check in lock(&self.checks).iter() {
            if let Some(problem) = check() {
                self.fail(&problem);
            }
        }
    }

    /// Nothing is left that runs, and nobody has ended a runtime.
    pub(crate) fn check_rest(&self) {
        for place in self.all_places() {
            place.check_rest(self);
        }
    }

    fn all_places(&self) -> Vec<Arc<Place>> {
        lock(&self.places).clone()
    }

    /// Waits until nothing is left that runs.
    pub(crate) fn settle(&self) {
        self.join_threads();
        let begun = Instant::now();
        while let Some(open) = self.unsettled() {
            if begun.elapsed() > quiet() {
                self.fail(&format!("never over: {open}: {}", self.alive()));
            }
            thread::sleep(Duration::from_micros(200));
        }
    }

    fn unsettled(&self) -> Option<String> {
        let records = lock(&self.records);
        if let Some(open) = records.iter().find(|record| !record.is_settled()) {
            return Some(format!("{open:?} with {:?}", lock(&open.callbacks)));
        }
        drop(records);
        let guards = lock(&self.guards);
        let left = guards.iter().filter(|guard| !guard.is_dropped()).count();
        (left > 0).then(|| format!("{left} guards of outputs, closures and callbacks"))
    }

    fn check_exceptions(&self, record: &Record) {
        let Some(id) = record.id.get() else { return };
        let told = lock(&record.place.exceptions)
            .get(&id.get())
            .copied()
            .unwrap_or(0);
        if told > 1 || (told == 1 && record.looked_at.load(SeqCst)) {
            self.fail(&format!("told {told} times about the panic of {record:?}"));
        }
    }

    /// Ends this process.
    pub(crate) fn fail(&self, problem: &str) -> ! {
        let _one = lock(&FAILING);
        let mut text = format!(
            "{FAIL} seed={} {problem}\n{}",
            self.program.seed, self.program
        );
        if let Ok(places) = self.places.try_lock() {
            for place in places.iter() {
                let tasks = place.handle.get().map(Handle::all_tasks);
                let metrics = place.handle.get().map(Handle::metrics);
                let _ = writeln!(text, "  all tasks: {tasks:?}\n  {metrics:?}");
            }
        }
        println!("{text}");
        std::process::abort();
    }

    /// Step `number` waits for something, which a hang is to name.
    pub(crate) fn waits(&self, number: u32, what: Weak<dyn Debug + Send + Sync>) -> Waits<'_> {
        let key = stamp();
        lock(&self.waiting).insert(key, Waiting { step: number, what });
        Waits { world: self, key }
    }

    /// Who waits, and the records that are not over.
    pub(super) fn alive(&self) -> String {
        let mut text = String::new();
        for Waiting { step, what } in lock(&self.waiting).values() {
            let _ = write!(text, "\n  step {step} waits for {:?}", what.upgrade());
        }
        for record in lock(&self.records).iter() {
            if !record.is_settled() {
                let _ = write!(text, "\n  {record:?}");
            }
        }
        text
    }
}

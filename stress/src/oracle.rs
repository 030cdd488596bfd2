//! What must hold for every program, written down while it runs and checked then and at its end.
//!
//! Each task, blocking job and promise has a [`Record`]. Times are numbers of one counter: of two stamps the smaller one was taken
//! first.

use std::cell::Cell;
use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;
use std::panic::panic_any;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use heist::runtime::{ExceptionKind, ShutdownReport};
use heist::task::yield_now;
use heist::{Handle, TaskError, TaskId, TaskRef, TaskState};

use crate::guard::{Guard, GuardId};
use crate::program::Program;

/// The payload of every panic that a program asks for.
pub(crate) struct Expected;

/// Panics as a program asks for.
pub(crate) fn panic_as_asked() -> ! {
    panic_any(Expected)
}

static CLOCK: AtomicU64 = AtomicU64::new(1);
static WORLDS: Mutex<Vec<Weak<World>>> = Mutex::new(Vec::new());
/// How the line of a failure begins.
pub(crate) const FAIL: &str = "FAIL";

static FAILING: Mutex<()> = Mutex::new(());

/// How long nothing may happen, and how long a program may take at most.
const QUIET: Duration = Duration::from_secs(20);
const LONGEST: Duration = Duration::from_secs(90);

/// The next stamp.
pub(crate) fn stamp() -> u64 {
    CLOCK.fetch_add(1, SeqCst)
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

thread_local! {
    /// The runtime that this thread belongs to.
    static PLACE: Cell<u64> = const { Cell::new(0) };
    /// Whether this thread is inside of the poll of a task.
    static POLLING: Cell<bool> = const { Cell::new(false) };
    /// The record to which this thread is adding a callback.
    static ADDING: Cell<u64> = const { Cell::new(0) };
}

/// One runtime of a program.
pub(crate) struct Place {
    key: u64,
    handle: OnceLock<Handle>,
    /// The stamp of the moment before its shutdown began; 0 before.
    closing: AtomicU64,
    /// Its shutdown has returned, and whatever is not in `reported` is over.
    closed: AtomicBool,
    reported: Mutex<HashSet<TaskId>>,
    /// The report names threads that have not ended: they may be in callbacks.
    has_left_threads: AtomicBool,
    exceptions: Mutex<BTreeMap<u64, u32>>,
    started: AtomicU32,
    stopped: AtomicU32,
}

impl Place {
    pub(crate) fn handle(&self) -> &Handle {
        match self.handle.get() {
            Some(handle) => handle,
            None => unreachable!("a place is given its runtime before it is used"),
        }
    }

    pub(crate) fn open(&self, handle: Handle) {
        let _ = self.handle.set(handle);
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(SeqCst) != 0
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(SeqCst)
    }

    /// The calling thread becomes one of this runtime.
    pub(crate) fn adopt_thread(&self) {
        PLACE.set(self.key);
    }

    /// The settings by which its runtime tells what it does.
    pub(crate) fn builder(self: &Arc<Self>) -> heist::Builder {
        // The runtime is reached from here: it must not keep this alive in turn.
        let (begin, end, told) = (
            Arc::downgrade(self),
            Arc::downgrade(self),
            Arc::downgrade(self),
        );
        heist::Runtime::builder()
            .on_thread_start(move || {
                if let Some(place) = begin.upgrade() {
                    place.adopt_thread();
                    place.started.fetch_add(1, SeqCst);
                }
            })
            .on_thread_stop(move || {
                if let Some(place) = end.upgrade() {
                    place.stopped.fetch_add(1, SeqCst);
                }
            })
            .exception_handler(move |exception| {
                let lost = exception.kind() == ExceptionKind::NeverRetrieved;
                let id = exception.task().filter(|_| lost);
                if let (Some((id, _)), Some(place)) = (id, told.upgrade()) {
                    *lock(&place.exceptions).entry(id.get()).or_default() += 1;
                }
            })
    }

    pub(crate) fn begin_closing(&self) {
        let _ = self.closing.compare_exchange(0, stamp(), SeqCst, SeqCst);
    }

    /// Its shutdown has returned on a thread that is none of its own.
    pub(crate) fn close(&self, world: &World, report: Option<(&ShutdownReport, Duration)>) {
        if let Some((report, grace)) = report {
            self.check_report(world, report, grace);
            let mut reported = lock(&self.reported);
            reported.extend(report.tasks.iter().map(TaskRef::id));
            reported.extend(report.blocking.iter().map(TaskRef::id));
            drop(reported);
            let left_threads = !report.threads.is_empty();
            self.has_left_threads.store(left_threads, SeqCst);
            self.closed.store(true, SeqCst);
            let (started, stopped) = (self.started.load(SeqCst), self.stopped.load(SeqCst));
            if report.is_clean() && started != stopped {
                world.fail(&format!(
                    "after a clean shutdown {started} threads had started, {stopped} stopped"
                ));
            }
        }
    }

    fn check_report(&self, world: &World, report: &ShutdownReport, grace: Duration) {
        let mut listed = HashSet::new();
        for task in report.tasks.iter().chain(&report.blocking) {
            if !listed.insert(task.id()) {
                world.fail(&format!("the report lists {task:?} twice: {report:?}"));
            }
        }
        for record in lock(&world.records).iter() {
            let Some(id) = record.id.get() else { continue };
            if record.place.key == self.key && !record.is_dropped() && !listed.contains(id) {
                world.fail(&format!(
                    "{record:?} is alive and not in the report {report:?}"
                ));
            }
        }
        if report.elapsed < grace && !report.tasks.is_empty() {
            world.fail(&format!("tasks given up before {grace:?}: {report:?}"));
        }
        if report.elapsed > grace + Duration::from_secs(8) {
            world.fail(&format!(
                "a shutdown of {grace:?} took too long: {report:?}"
            ));
        }
    }
}

/// What a record is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Task,
    Blocking,
    Promise,
}

/// What is known about one task.
pub(crate) struct Record {
    number: u64,
    step: u32,
    kind: Kind,
    pub(crate) place: Arc<Place>,
    /// A request may be caught, or taken back.
    may_go_on: bool,
    drop_panics: bool,
    id: OnceLock<TaskId>,
    task: OnceLock<TaskRef>,
    polling: AtomicBool,
    begun: AtomicBool,
    /// The body has given its value, which the caller of the poll may not take.
    returned: AtomicBool,
    panicked: AtomicBool,
    resumed: AtomicBool,
    /// Somebody is about to ask it to cancel, or has.
    asked: AtomicBool,
    /// A request was accepted that cannot be caught or taken back.
    stopped: AtomicBool,
    polls_after: AtomicU32,
    dropped: AtomicBool,
    looked_at: AtomicBool,
    in_callback: AtomicBool,
    callbacks: Mutex<Vec<Arc<Callback>>>,
}

impl std::fmt::Debug for Record {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "<{:?} of step {}: id {:?}, begun {:?}, returned {:?}, panicked {:?}, asked {:?}, dropped {:?}, task {:?}>",
            self.kind,
            self.step,
            self.id.get(),
            self.begun,
            self.returned,
            self.panicked,
            self.asked,
            self.dropped,
            self.task.get(),
        )
    }
}

/// How a task ended, for whoever looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Value(u64),
    Cancelled,
    Gone,
    Panicked,
    Other,
}

impl Outcome {
    pub(crate) fn of(result: Result<u64, &TaskError>) -> Self {
        match result {
            Ok(value) => Self::Value(value),
            Err(error) if error.is_runtime_gone() => Self::Gone,
            Err(error) if error.is_cancelled() => Self::Cancelled,
            Err(error) if error.is_panic() => Self::Panicked,
            Err(_) => Self::Other,
        }
    }
}

impl Record {
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    pub(crate) fn note(&self, task: TaskRef, keep: bool) {
        let _ = self.id.set(task.id());
        if keep {
            let _ = self.task.set(task);
        }
    }

    pub(crate) fn is_dropped(&self) -> bool {
        self.dropped.load(SeqCst)
    }

    pub(crate) fn is_asked(&self) -> bool {
        self.asked.load(SeqCst)
    }

    pub(crate) fn may_be_cancelled(&self) -> bool {
        self.is_asked() || self.place.is_closing()
    }

    pub(crate) fn ask(&self) {
        self.asked.store(true, SeqCst);
    }

    /// A request was accepted.
    pub(crate) fn accepted(&self, abort: bool) {
        if abort || !self.may_go_on {
            self.stopped.store(true, SeqCst);
        }
    }

    pub(crate) fn on_resume(&self) {
        self.resumed.store(true, SeqCst);
    }

    pub(crate) fn on_return(&self) {
        self.returned.store(true, SeqCst);
    }

    pub(crate) fn on_panic(&self) {
        self.panicked.store(true, SeqCst);
    }

    pub(crate) fn on_poll(&self, world: &World) {
        world.beat();
        let fail = |what: &str| world.fail(&format!("{what}: {self:?}"));
        self.begun.store(true, SeqCst);
        if self.polling.swap(true, SeqCst) {
            fail("polled twice at once");
        }
        if POLLING.replace(true) {
            fail("polled inside of the poll of another task");
        }
        if self.returned.load(SeqCst) || self.panicked.load(SeqCst) {
            fail("polled after it was over");
        }
        if self.is_dropped() {
            fail("polled after it was dropped");
        }
        if PLACE.get() != self.place.key {
            fail("polled on a thread that is not of its runtime");
        }
        if self.stopped.load(SeqCst) && self.polls_after.fetch_add(1, SeqCst) > 0 {
            fail("polled again after a request that nobody can catch");
        }
        self.check_open(world, "polled");
    }

    pub(crate) fn after_poll(&self) {
        POLLING.set(false);
        self.polling.store(false, SeqCst);
    }

    fn check_open(&self, world: &World, what: &str) {
        if self.place.is_closed() {
            let reported = lock(&self.place.reported);
            let listed = self.id.get().is_some_and(|id| reported.contains(id));
            drop(reported);
            if !listed {
                world.fail(&format!("{what} after the shutdown returned: {self:?}"));
            }
        }
    }

    /// The closure of a blocking job begins.
    pub(crate) fn on_call(&self, world: &World) {
        world.beat();
        if self.begun.swap(true, SeqCst) {
            world.fail(&format!("called twice: {self:?}"));
        }
        if PLACE.get() != self.place.key {
            world.fail(&format!(
                "called on a thread that is not of its runtime: {self:?}"
            ));
        }
        self.check_open(world, "called");
    }

    pub(crate) fn on_drop(&self, world: &World) {
        world.beat();
        if self.polling.load(SeqCst) {
            world.fail(&format!("dropped while it is polled: {self:?}"));
        }
        if PLACE.get() != self.place.key && !self.place.is_closing() {
            world.fail(&format!(
                "dropped on a thread that is not of its runtime: {self:?}"
            ));
        }
        if self.dropped.swap(true, SeqCst) {
            world.fail(&format!("dropped twice: {self:?}"));
        }
    }

    /// Somebody who awaits it, since `begun`, has this.
    pub(crate) fn on_result(&self, world: &World, begun: u64, outcome: Outcome) {
        self.looked_at.store(true, SeqCst);
        self.check(world, outcome, "awaited");
        for callback in lock(&self.callbacks).iter() {
            let early = callback.added.load(SeqCst);
            let late = callback.ended.load(SeqCst) == 0 && !callback.removed.load(SeqCst);
            if early != 0 && early < begun && late {
                world.fail(&format!(
                    "an await of {self:?} went on before {callback:?} had run"
                ));
            }
        }
    }

    fn check(&self, world: &World, outcome: Outcome, how: &str) {
        let returned = self.returned.load(SeqCst);
        let panicked = self.panicked.load(SeqCst);
        let right = match outcome {
            Outcome::Value(value) => returned && !panicked && value == self.number,
            Outcome::Panicked => panicked || (returned && self.drop_panics),
            Outcome::Gone => self.place.is_closing() && !self.begun.load(SeqCst),
            Outcome::Cancelled => {
                let given = returned && !self.resumed.load(SeqCst);
                self.may_be_cancelled() && (!given || self.kind == Kind::Promise) && !panicked
            }
            Outcome::Other => false,
        };
        if !right {
            world.fail(&format!("{how} as {outcome:?}: {self:?}"));
        }
        if !self.is_dropped() {
            world.fail(&format!("{how} before its future was dropped: {self:?}"));
        }
    }

    /// What its state must be in the end.
    fn check_state(&self, world: &World) {
        let Some(task) = self.task.get() else { return };
        let returned = self.returned.load(SeqCst);
        let resumed = self.resumed.load(SeqCst);
        let right = match task.state() {
            TaskState::Pending => false,
            TaskState::Finished => returned && !self.drop_panics,
            TaskState::Panicked => self.panicked.load(SeqCst) || (returned && self.drop_panics),
            TaskState::Cancelled => (!returned || resumed) && self.may_be_cancelled(),
        };
        if !right && self.kind != Kind::Promise {
            world.fail(&format!("a wrong state in the end: {self:?}"));
        }
    }

    fn is_settled(&self) -> bool {
        let over = |callback: &Arc<Callback>| {
            callback.removed.load(SeqCst) || callback.ended.load(SeqCst) != 0
        };
        self.is_dropped()
            && lock(&self.callbacks).iter().all(over)
            && self.task.get().is_none_or(TaskRef::is_finished)
    }

    fn check_callbacks(&self, world: &World) {
        let mut ran = lock(&self.callbacks).clone();
        ran.retain(|callback| !callback.removed.load(SeqCst));
        ran.sort_by_key(|callback| callback.began.load(SeqCst));
        for (index, later) in ran.iter().enumerate() {
            for earlier in &ran[..index] {
                if earlier.ended.load(SeqCst) > later.began.load(SeqCst) {
                    world.fail(&format!("{earlier:?} and {later:?} overlap: {self:?}"));
                }
                if later.added.load(SeqCst) < earlier.adding {
                    world.fail(&format!(
                        "{earlier:?} ran before {later:?}, which was added first: {self:?}"
                    ));
                }
            }
        }
    }
}

/// One done-callback.
#[derive(Debug)]
pub(crate) struct Callback {
    /// Stamps around its registration.
    adding: u64,
    added: AtomicU64,
    began: AtomicU64,
    ended: AtomicU64,
    removed: AtomicBool,
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

/// Something to look at in the end. `Some`: what is wrong.
type Check = Box<dyn Fn() -> Option<String> + Send>;

/// One program while it runs.
pub(crate) struct World {
    pub(crate) program: Program,
    places: Mutex<Vec<Arc<Place>>>,
    records: Mutex<Vec<Arc<Record>>>,
    guards: Mutex<Vec<GuardId>>,
    checks: Mutex<Vec<Check>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    pub(crate) local_roots: Mutex<Vec<TaskRef>>,
    ops: AtomicU64,
    beats: AtomicU64,
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
            ops: AtomicU64::new(0),
            beats: AtomicU64::new(0),
        });
        let mut worlds = lock(&WORLDS);
        worlds.retain(|world| world.strong_count() > 0);
        worlds.push(Arc::downgrade(&world));
        drop(worlds);
        world
    }

    pub(crate) fn ops(&self) -> u64 {
        self.ops.load(SeqCst)
    }

    pub(crate) fn beat(&self) {
        self.beats.fetch_add(1, SeqCst);
    }

    pub(crate) fn step(&self) {
        self.ops.fetch_add(1, SeqCst);
        self.beat();
    }

    /// Another runtime; it has yet to be opened.
    pub(crate) fn add_place(&self) -> Arc<Place> {
        let place = Arc::new(Place {
            key: stamp(),
            handle: OnceLock::new(),
            closing: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            reported: Mutex::default(),
            has_left_threads: AtomicBool::new(false),
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
            asked: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            polls_after: AtomicU32::new(0),
            dropped: AtomicBool::new(kind == Kind::Promise),
            looked_at: AtomicBool::new(false),
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
            record.check_callbacks(self);
            self.check_exceptions(record);
        }
        for check in lock(&self.checks).iter() {
            if let Some(problem) = check() {
                self.fail(&problem);
            }
        }
    }

    /// Waits until nothing is left that runs.
    pub(crate) fn settle(&self) {
        self.join_threads();
        let begun = Instant::now();
        while let Some(open) = self.unsettled() {
            if begun.elapsed() > QUIET {
                self.fail(&format!("never over: {open}"));
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
}

/// As [`World::fail`], where nobody knows which program is to blame.
pub(crate) fn fail_anywhere(problem: &str) -> ! {
    let worlds: Vec<_> = lock(&WORLDS).iter().filter_map(Weak::upgrade).collect();
    let _one = lock(&FAILING);
    if worlds.is_empty() {
        println!("FAIL {problem}");
    }
    for world in worlds {
        println!(
            "{FAIL} seed={} {problem}\n{}",
            world.program.seed, world.program
        );
    }
    std::process::abort();
}

/// Makes the panics that programs ask for silent, and all others failures.
pub(crate) fn watch_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let payload = panic.payload();
        if payload.is::<Expected>() || payload.is::<TaskError>() {
            return;
        }
        // What a leaf future says when its runtime has ended: only to those that outlive it.
        let text = panic.to_string();
        let closing = lock(&WORLDS)
            .iter()
            .filter_map(Weak::upgrade)
            .any(|world| world.is_closing());
        if closing && text.contains("runtime") {
            return;
        }
        let trace = std::backtrace::Backtrace::force_capture();
        fail_anywhere(&format!("an unexpected panic: {text}\n{trace}"));
    }));
}

/// Looks whether programs go on.
pub(crate) fn watchdog() -> ! {
    let mut seen: BTreeMap<usize, (u64, Instant, Instant)> = BTreeMap::new();
    loop {
        thread::sleep(Duration::from_millis(500));
        let worlds: Vec<_> = lock(&WORLDS).iter().filter_map(Weak::upgrade).collect();
        seen.retain(|key, _| worlds.iter().any(|world| Arc::as_ptr(world).addr() == *key));
        for world in worlds {
            let now = Instant::now();
            let beats = world.beats.load(SeqCst);
            let key = Arc::as_ptr(&world).addr();
            let (last, since, begun) = seen.entry(key).or_insert((beats, now, now));
            if *last != beats {
                (*last, *since) = (beats, now);
            }
            if since.elapsed() > QUIET {
                world.fail(&format!(
                    "hangs: nothing happened for {QUIET:?}: {}",
                    world.alive()
                ));
            }
            if begun.elapsed() > LONGEST {
                world.fail(&format!("not over after {LONGEST:?}: {}", world.alive()));
            }
        }
    }
}

impl World {
    /// The records that are not over.
    fn alive(&self) -> String {
        let records = lock(&self.records);
        let alive = records.iter().filter(|record| !record.is_settled());
        alive.fold(String::new(), |mut text, record| {
            let _ = write!(text, "\n  {record:?}");
            text
        })
    }
}

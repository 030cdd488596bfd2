//! A thread that looks after the workers while one of them is awake: is anybody stuck, and does something wait for it?
//!
//! It makes *rounds*. From one to the next it compares what each worker says of itself without being asked: `poll_seq`, which
//! is odd inside of a poll and changes with each. That costs a worker nothing that it would not do anyway.
//!
//! | what a round finds | what it does |
//! |---|---|
//! | nobody was in the driver since the last round | calls somebody who sleeps: it goes there when it has found nothing else |
//! | a worker is in the same poll as in the last round, and there is something in its queues or its LIFO slot | the same |
//! | that poll is older than half of the threshold, its thread is blocked in the kernel, something waits, and nobody sleeps | counts the worker as stalled: somebody is owed in its place (`sleep`) |
//! | the poll is older than the threshold | the same, whatever waits, and tells the user |
//! | such a poll has ended | tells the user again; the threads of the workers do it at the end of the runtime |
//! | a thread could not be started before | tries again |
//!
//! A worker that has announced that it blocks is not stuck: the age of its poll begins when it is back.
//!
//! A thread that would run but gets no processor is not stuck: it takes ten times the threshold until that is told. What a machine has
//! too few processors for, no thread helps; and a thread that is blocked may wait for a lock that such a one has. So while a
//! worker is starved, nobody is stood in for before that time.
//!
//! A poll that computes takes a processor, and another thread brings none: it is stood in for only where no worker is left that serves,
//! and of those only one per two processors, which is enough for timers and I/O. In an *emergency*, which is while a thread is blocked for longer than the threshold and for some
//! time after, the rounds are quick ones, and a thread that is blocked in the kernel is stood in for after two of them: who comes in the
//! place of a blocked one takes the next task that blocks. One that waited for a lock whose owner had no processor for some
//! milliseconds is no sign of that. One worker is counted in a round, so that threads are
//! started one by one.
//!
//! When all workers sleep, none is stuck, and nothing has moved for some rounds, it rests until it is called (`Sleep::may_rest`): an idle
//! runtime makes no system call.
//!
//! # Dropped
//! One of the sleeping workers as a watcher, for 10 ms at a time: it could not help where all workers were blocked, it was a
//! wake-up after each burst of I/O, and each push into a LIFO slot had to ask whether there was one.

use std::io;
use std::time::{Duration, Instant};

use heist_core::platform::Parker;
use heist_core::task::TaskRef;

use crate::activity::Activity;
use crate::queue::Slot;
use crate::shared::{STOPPING, Shared};
use crate::sync::{self, Arc, AtomicU64, Mutex, Relaxed};
use crate::threads::call_hook;

/// A poll that takes longer than a worker may be away.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stall {
    /// Whose poll it is. `None`: the task is over, and what takes so long is one of its callbacks.
    pub task: Option<TaskRef>,
    /// The name of the worker's thread.
    pub thread: String,
    /// How long it has taken, to the precision of the monitor's rounds.
    pub elapsed: Duration,
    /// What the thread was found doing.
    pub activity: Activity,
    /// Whether it is over; `elapsed` is how long it took.
    pub ended: bool,
}

/// What others know of the monitor.
#[derive(Debug)]
pub(crate) struct Monitor {
    parker: Mutex<Option<Arc<dyn Parker>>>,
    told: Mutex<Vec<Told>>,
    stalls: AtomicU64,
}

/// A stall of which the user was told, and not yet of its end.
#[derive(Debug)]
struct Told {
    index: usize,
    /// The poll.
    seq: usize,
    since: Instant,
    stall: Stall,
    /// The hook has returned: its end may be told.
    begun: bool,
}

impl Monitor {
    pub(crate) fn new() -> Self {
        Self {
            parker: Mutex::new(None),
            told: Mutex::new(Vec::new()),
            stalls: AtomicU64::new(0),
        }
    }

    /// Makes it look soon.
    #[cold]
    pub(crate) fn call(&self) {
        let parker = self.parker.lock().clone();
        if let Some(parker) = parker {
            parker.unpark();
        }
    }

    /// How many stalls there have been.
    pub(crate) fn stalls(&self) -> u64 {
        self.stalls.load(Relaxed)
    }

    /// Those that have not ended.
    pub(crate) fn stalled(&self) -> Vec<Stall> {
        let told = self.told.lock();
        told.iter().map(|told| told.stall.clone()).collect()
    }
}

impl Shared {
    /// Tells the end of those stalls that have ended. Whoever comes first takes them out of the list.
    pub(crate) fn tell_ended_stalls(&self) {
        let over = |told: &Told| {
            told.begun && self.slots[told.index].own.poll_seq.load(Relaxed) != told.seq
        };
        let mut told = self.monitor.told.lock();
        let (ended, last): (Vec<_>, _) = std::mem::take(&mut *told).into_iter().partition(over);
        *told = last;
        drop(told);
        for told in ended {
            let mut stall = told.stall;
            stall.elapsed = self.platform.now().saturating_duration_since(told.since);
            stall.ended = true;
            tell(self, &stall);
        }
    }
}

/// Starts its thread.
pub(crate) fn start(shared: &Arc<Shared>) -> io::Result<()> {
    if !sync::HAS_MONITOR {
        return Ok(());
    }
    let name = format!("{}-monitor", shared.config.thread_name);
    let own = Arc::clone(shared);
    let body = move || watch(&own);
    shared.threads.start_bare(&shared.config, name, body)
}

/// What its thread does. It goes by the clock: a profile that counts instructions leaves it out by this name.
#[inline(never)]
fn watch(shared: &Arc<Shared>) {
    let parker = shared.platform.parker();
    *shared.monitor.parker.lock() = Some(Arc::clone(&parker));
    let mut rounds = Rounds::new(shared);
    while shared.phase() != STOPPING {
        let pause = rounds.round();
        parker.park(pause.map(|pause| rounds.now + pause));
    }
    *shared.monitor.parker.lock() = None;
    // Polls that end later than this are told by their threads, on the way out.
    shared.tell_ended_stalls();
}

/// One round after the other.
struct Rounds<'a> {
    shared: &'a Arc<Shared>,
    pace: Pace,
    now: Instant,
    watched: Vec<Watched>,
    /// Turns of the driver that had ended at the last round.
    turns: usize,
    emergency_until: Instant,
    /// The first round that saw blocked workers in whose place nobody can serve.
    uncovered_since: Option<Instant>,
    /// Rounds in a row in which nothing moved.
    quiet: u32,
    /// When threads that could not be started are tried again.
    retry_at: Instant,
    /// Polls that compute, in whose place somebody may serve.
    most_busy_covered: usize,
}

/// How often it looks.
#[derive(Clone, Copy, Debug)]
struct Pace {
    threshold: Option<Duration>,
    /// Between two rounds.
    normal: Duration,
    /// While somebody may be stuck.
    quick: Duration,
}

/// One worker, as of the last round.
struct Watched {
    seq: usize,
    /// The first round that saw it there, and not announced as blocked.
    since: Instant,
    /// How often its worker had begun or ended to announce that.
    announcements: usize,
    /// The last time that the system was asked what the thread does, and what it said.
    asked: Option<Instant>,
    activity: Activity,
    /// When it was found to run for the first time, and how much processor time its thread had had by then.
    ran: Option<(Instant, Duration)>,
    /// It would run, but as far as is known others have its processor.
    starved: bool,
    /// Somebody serves in its place, or is owed.
    covered: bool,
    /// Whether the user was told.
    told: bool,
}

/// What a round has found.
#[derive(Default)]
struct Findings {
    moved: bool,
    /// Somebody is in the same poll as in the last round.
    stuck: bool,
    /// And something waits for that worker alone.
    waits: bool,
    /// Nobody has been in the driver.
    unattended: bool,
    /// Somebody may have to be covered soon.
    urgent: bool,
    /// Workers that compute, in whose place somebody serves.
    busy_covered: usize,
    /// A thread would run and gets no processor.
    starving: bool,
    /// All threads that are not covered have been in their polls for so long that they may be stuck.
    nobody_serves: bool,
    /// Whoever was told of a stall has to be told of its end.
    ended: bool,
    /// Polls that the user has to be told of, and how old they are.
    begun: Vec<(usize, Duration)>,
}

impl<'a> Rounds<'a> {
    fn new(shared: &'a Arc<Shared>) -> Self {
        let now = shared.platform.now();
        Self {
            shared,
            pace: Pace::of(shared.config.blocked_worker_threshold),
            now,
            watched: Vec::new(),
            turns: shared.role.turns(),
            emergency_until: now,
            uncovered_since: None,
            quiet: 0,
            retry_at: now,
            most_busy_covered: (sync::parallelism() / 2).max(1),
        }
    }

    /// How long to wait for the next one; `None`: until called.
    fn round(&mut self) -> Option<Duration> {
        let shared = self.shared;
        self.now = shared.platform.now();
        // Whoever comes out of a poll notices that time has passed.
        shared.set_clock(self.now);
        self.retry();
        let mut found = self.compare();
        if let Some(threshold) = self.pace.threshold {
            self.cover(&mut found, threshold);
        }
        if found.unattended || found.waits {
            shared.call_somebody();
        }
        // What the user does with it keeps the monitor, so it comes last.
        self.tell(&found);
        self.quiet = if found.moved || found.stuck {
            0
        } else {
            self.quiet + 1
        };
        if self.quiet >= QUIET_ROUNDS && shared.sleep.may_rest(|| self.is_needed()) {
            self.quiet = 0;
            return None;
        }
        Some(if found.urgent || self.is_emergency() {
            self.pace.quick
        } else {
            self.pace.normal
        })
    }

    /// Whether it may not rest although all workers sleep.
    fn is_needed(&self) -> bool {
        // Nobody is in the driver if the one who was has left it just when another one went to bed elsewhere.
        self.shared.pool.is_starved() || !self.shared.role.is_held()
    }

    /// Who has moved on, and who has not?
    fn compare(&mut self) -> Findings {
        let mut found = Findings::default();
        for (index, slot) in self.shared.used_slots().iter().enumerate() {
            let seq = slot.own.poll_seq.load(Relaxed);
            if index == self.watched.len() {
                self.watched
                    .push(Watched::new(seq, self.shared.platform.now()));
                found.moved = true;
                continue;
            }
            let watched = &mut self.watched[index];
            if watched.seq != seq {
                found.moved = true;
                found.ended |= watched.told;
                *watched = Watched {
                    announcements: watched.announcements,
                    ..Watched::new(seq, self.shared.platform.now())
                };
            } else if watched.is_polling() {
                let (announced, announcements) = self.shared.sleep.announcements(index);
                if announced || announcements != watched.announcements {
                    watched.since = self.now;
                    watched.ran = None;
                    watched.announcements = announcements;
                }
                // It may fill its LIFO slot at any time, of which it tells nobody.
                found.stuck |= !announced;
                found.waits |= slot.has_stealable() || !slot.own.lifo.is_empty();
                found.busy_covered += usize::from(watched.is_busy() && watched.covered);
            }
        }
        let turns = self.shared.role.turns();
        let turned = std::mem::replace(&mut self.turns, turns) != turns;
        found.moved |= turned;
        found.unattended = !turned && !self.shared.role.is_held();
        found
    }

    /// Sees to those who are stuck.
    fn cover(&mut self, found: &mut Findings, threshold: Duration) {
        let overdue = self.overdue();
        let mut stuck = 0;
        for &(index, age) in &overdue {
            self.ask(index);
            let watched = &self.watched[index];
            found.urgent |= age < threshold;
            found.starving |= watched.starved && age < threshold * STARVED_MAY;
            stuck += usize::from(!watched.covered && age >= self.pace.normal);
        }
        found.nobody_serves = !overdue.is_empty() && self.shared.sleep.serving() <= stuck;
        let mut counted = false;
        for (index, age) in overdue {
            let watched = &self.watched[index];
            let very_long = age >= threshold * STARVED_MAY;
            let too_long = very_long || age >= threshold && !watched.starved;
            if !watched.covered
                && !counted
                && (very_long || !found.starving)
                && self.shall_cover(index, too_long, found)
                && self.count_as_stalled(index)
            {
                counted = true;
                found.waits = true;
                found.busy_covered += usize::from(self.watched[index].is_busy());
            }
            let watched = &self.watched[index];
            if too_long && watched.covered && !watched.is_busy() && !found.starving {
                self.emergency_until = self.now + EMERGENCY;
            }
            if too_long && !watched.told {
                found.begun.push((index, age));
            }
        }
    }

    /// Whose poll is so old that its thread is looked at, and how old it is.
    fn overdue(&self) -> Vec<(usize, Duration)> {
        let age = |watched: &Watched| self.now.saturating_duration_since(watched.since);
        let polls = self.watched.iter().enumerate();
        polls
            .filter(|(_, watched)| watched.is_polling() && age(watched) >= self.patience())
            .map(|(index, watched)| (index, age(watched)))
            .collect()
    }

    fn shall_cover(&self, index: usize, too_long: bool, found: &Findings) -> bool {
        match self.watched[index].activity {
            Activity::Blocked { .. } if too_long => true,
            Activity::Blocked { .. } => {
                let nobody_sleeps = self.shared.sleep.glance().sleeping() == 0;
                nobody_sleeps && (found.unattended || self.shared.has_work())
            }
            Activity::Running => {
                too_long && found.nobody_serves && found.busy_covered < self.most_busy_covered
            }
            Activity::Unknown => too_long,
        }
    }

    fn is_emergency(&self) -> bool {
        self.now < self.emergency_until
    }

    /// How old a poll is at least whose thread is looked at.
    fn patience(&self) -> Duration {
        if self.is_emergency() {
            self.pace.quick
        } else {
            self.pace.normal
        }
    }

    /// Asks the system what the thread does; not in each round if nothing hangs on it, for that takes some microseconds.
    fn ask(&mut self, index: usize) {
        let watched = &mut self.watched[index];
        let pause = if watched.covered {
            ASK_AGAIN
        } else {
            self.pace.normal
        };
        let recently = |at: Instant| self.now.saturating_duration_since(at) < pause;
        if (watched.is_busy() || watched.covered) && watched.asked.is_some_and(recently) {
            return;
        }
        watched.asked = Some(self.now);
        let occupant = self.shared.slots[index].occupant();
        watched.activity = occupant.activity();
        let ran = occupant.processor_time().filter(|_| watched.is_busy());
        watched.starved = match (ran, watched.ran) {
            (Some(ran), Some((since, before))) => {
                let elapsed = self.now.saturating_duration_since(since);
                ran.saturating_sub(before) < elapsed / STARVED
            }
            (ran, _) => {
                watched.ran = ran.map(|ran| (self.now, ran));
                ran.is_some()
            }
        };
    }

    fn count_as_stalled(&mut self, index: usize) -> bool {
        let shared = self.shared;
        let (slot, seq) = (&shared.slots[index], self.watched[index].seq);
        let still = || slot.own.poll_seq.load(Relaxed) == seq;
        if !shared.sleep.stall(index, still) {
            return false;
        }
        self.watched[index].covered = true;
        true
    }

    fn tell(&mut self, found: &Findings) {
        if found.ended {
            self.shared.tell_ended_stalls();
        }
        self.tell_uncovered();
        for (index, age) in &found.begun {
            self.tell_begin(*index, *age);
        }
    }

    /// Where others have the processors, all threads may wait for one that has none, and that is soon over.
    fn tell_uncovered(&mut self) {
        let sleep = &self.shared.sleep;
        if !self.watched.iter().any(|watched| watched.covered) || !sleep.is_uncovered() {
            self.uncovered_since = None;
            return;
        }
        let since = *self.uncovered_since.get_or_insert(self.now);
        let threshold = self.pace.threshold.unwrap_or_default();
        let lasts = self.now.saturating_duration_since(since) >= threshold * STARVED_MAY;
        if lasts && sleep.shall_tell_uncovered() {
            self.shared.report_uncovered();
        }
    }

    fn tell_begin(&mut self, index: usize, elapsed: Duration) {
        let slot = &self.shared.slots[index];
        let seq = self.watched[index].seq;
        let Some(task) = task_of(self.shared, slot, seq) else {
            return;
        };
        self.ask(index);
        let watched = &mut self.watched[index];
        watched.told = true;
        let stall = Stall {
            task,
            thread: slot.occupant().name().to_owned(),
            elapsed,
            activity: watched.activity,
            ended: false,
        };
        let told = Told {
            index,
            seq,
            since: watched.since,
            stall: stall.clone(),
            begun: false,
        };
        let monitor = &self.shared.monitor;
        monitor.stalls.fetch_add(1, Relaxed); // A count, ordered with nothing.
        monitor.told.lock().push(told);
        tell(self.shared, &stall);
        // Nobody else adds to the list.
        for told in &mut *monitor.told.lock() {
            told.begun = true;
        }
    }

    /// Tries again what failed for want of a thread.
    fn retry(&mut self) {
        let shared = self.shared;
        if self.now < self.retry_at {
            return;
        }
        let (starved, short) = (shared.pool.is_starved(), shared.sleep.is_short());
        if starved {
            shared.pool.retry(shared);
        }
        if short {
            shared.call_somebody();
        }
        self.retry_at = self.now + RETRY;
    }
}

impl Pace {
    fn of(threshold: Option<Duration>) -> Self {
        let base = threshold.unwrap_or(LONGEST_PAUSE * 2);
        Self {
            threshold,
            normal: (base / 2).clamp(SHORTEST_PAUSE, LONGEST_PAUSE),
            quick: (base / 10).clamp(SHORTEST_PAUSE, LONGEST_PAUSE),
        }
    }
}

impl Watched {
    fn new(seq: usize, now: Instant) -> Self {
        Self {
            seq,
            since: now,
            announcements: 0,
            asked: None,
            activity: Activity::Unknown,
            ran: None,
            starved: false,
            covered: false,
            told: false,
        }
    }

    fn is_polling(&self) -> bool {
        self.seq % 2 == 1
    }

    fn is_busy(&self) -> bool {
        self.activity == Activity::Running
    }
}

/// The task in whose poll a worker is; `None`: that poll has ended.
fn task_of(shared: &Shared, slot: &Slot, seq: usize) -> Option<Option<TaskRef>> {
    // The poll is milliseconds old, so that its worker has written this long ago.
    let task = shared.registry.find(slot.own.polled.load(Relaxed));
    (slot.own.poll_seq.load(Relaxed) == seq).then_some(task)
}

fn tell(shared: &Shared, stall: &Stall) {
    let config = &shared.config;
    if let Some(hook) = &config.on_stall {
        call_hook(config.exception_handler.as_ref(), "on_stall", || {
            hook(stall);
        });
    }
}

/// The bounds of a pause between two rounds.
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(10);

/// A thread that had a processor for less than this part of the time is starved.
const STARVED: u32 = 4;

/// How many times as long as others it may take.
const STARVED_MAY: u32 = 10;

/// How long after a stall the next one is expected.
const EMERGENCY: Duration = Duration::from_millis(500);

/// Rounds in which nothing moves before it rests.
const QUIET_ROUNDS: u32 = 2;

/// Between two looks at what the thread of a worker does in whose place somebody serves.
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// Between two attempts to start a thread that could not be started.
const RETRY: Duration = Duration::from_millis(50);

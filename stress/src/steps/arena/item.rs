//! Items, of which everybody knows what became of each.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use crate::counts::Counted;
use crate::guard::Guard;
use crate::oracle::{World, lock};

/// Something that is put into a queue. Whoever puts several numbers them in their order.
pub(super) struct Item {
    pub(super) by: u64,
    number: u64,
    fates: Arc<Fates>,
    /// Somebody knows what became of it.
    told: bool,
    #[expect(dead_code, reason = "it is there to be dropped")]
    guard: Guard,
}

/// What became of the items of one queue.
pub(super) struct Fates {
    world: Arc<World>,
    step: u32,
    /// Whether somebody is told of items that are not delivered.
    hook: bool,
    /// Set before it is done: the queue is closed, what is in it is thrown away, the queue is dropped.
    pub(super) closed: AtomicBool,
    pub(super) thrown: AtomicBool,
    pub(super) dropped: AtomicBool,
    table: Mutex<BTreeMap<(u64, u64), Fate>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Fate {
    /// Whoever put it was told that it is in the queue.
    put: bool,
    end: Option<End>,
    /// Whoever got it has done with it what was to be done.
    done: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Got,
    /// The queue gave it to the one who is told.
    Undelivered,
    /// Whoever wanted to put it has it again.
    Refused,
    /// It was dropped, and nobody was told.
    Dropped,
    /// It was in the queue in the end.
    Left,
}

impl Item {
    pub(super) fn new(fates: &Arc<Fates>, by: u64, number: u64) -> Self {
        lock(&fates.table).insert((by, number), Fate::default());
        Self {
            by,
            number,
            fates: Arc::clone(fates),
            told: false,
            guard: fates.world.guard(),
        }
    }

    pub(super) fn key(&self) -> (u64, u64) {
        (self.by, self.number)
    }

    /// Somebody knows what becomes of it now.
    pub(super) fn ends(&mut self, end: End) {
        self.told = true;
        self.fates.on_end(self.key(), end);
    }
}

impl Drop for Item {
    fn drop(&mut self) {
        if !self.told {
            self.fates.on_end(self.key(), End::Dropped);
        }
    }
}

impl Fates {
    pub(super) fn new(world: &Arc<World>, step: u32, hook: bool) -> Arc<Self> {
        Arc::new(Self {
            world: Arc::clone(world),
            step,
            hook,
            closed: AtomicBool::new(false),
            thrown: AtomicBool::new(false),
            dropped: AtomicBool::new(false),
            table: Mutex::default(),
        })
    }

    fn fail(&self, problem: &str, key: (u64, u64), fate: Fate) -> ! {
        let step = self.step;
        self.world
            .fail(&format!("step {step}: {problem}: item {key:?}, {fate:?}"))
    }

    /// Whether an item that was put may go without being got.
    fn may_lose(&self) -> bool {
        self.thrown.load(SeqCst) || self.dropped.load(SeqCst)
    }

    /// `put` said so.
    pub(super) fn on_put(&self, key: (u64, u64)) {
        let mut table = lock(&self.table);
        let fate = table.entry(key).or_default();
        fate.put = true;
        let fate = *fate;
        drop(table);
        self.world.count(Counted::Put);
        let lost = matches!(fate.end, Some(End::Undelivered | End::Dropped));
        if fate.end == Some(End::Refused) || lost && !self.may_lose() {
            self.fail("it was not put", key, fate);
        }
    }

    fn on_end(&self, key: (u64, u64), end: End) {
        let mut table = lock(&self.table);
        let fate = table.entry(key).or_default();
        let before = fate.end.replace(end);
        let fate = *fate;
        drop(table);
        self.world.count(match end {
            End::Got => Counted::Get,
            _ => Counted::Undelivered,
        });
        let right = before.is_none()
            && match end {
                End::Got | End::Left => true,
                End::Undelivered => self.hook && (!fate.put || self.may_lose()),
                // By those who could not put it at once.
                End::Refused => !fate.put,
                End::Dropped => !self.hook && (!fate.put || self.may_lose()),
            };
        if !right {
            self.fail(
                &format!("it was lost, or came twice, after {before:?}"),
                key,
                fate,
            );
        }
    }

    pub(super) fn on_done(&self, key: (u64, u64)) {
        if let Some(fate) = lock(&self.table).get_mut(&key) {
            fate.done = true;
        }
    }

    /// Those that were put and are not done.
    pub(super) fn unfinished(&self) -> Vec<(u64, u64)> {
        let table = lock(&self.table);
        let open = table.iter().filter(|(_, fate)| fate.put && !fate.done);
        open.map(|(key, _)| *key).collect()
    }

    /// What must be done now, unless it was thrown away.
    pub(super) fn check_done(&self, keys: &[(u64, u64)]) {
        let table = lock(&self.table);
        let open = keys.iter().find(|key| !table[key].done);
        let open = open.map(|key| (*key, table[key]));
        drop(table);
        // Looked at last: what is thrown away now was not when the table was read.
        if let (Some((key, fate)), false) = (open, self.may_lose()) {
            self.fail("join returned, and it is not done", key, fate);
        }
    }

    /// All must have come to some end when the queue is gone.
    pub(super) fn check_end(&self) -> Option<String> {
        let table = lock(&self.table);
        let open = table.iter().find(|(_, fate)| fate.end.is_none());
        open.map(|(key, fate)| format!("item {key:?} is nowhere: {fate:?}"))
    }
}

impl PartialEq for Item {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Item {}

impl PartialOrd for Item {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Item {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

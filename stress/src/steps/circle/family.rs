//! What must hold for one group.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use heist::TaskId;

use crate::oracle::{Record, World, lock};
use crate::program::{Circle, Policy};
use heist::task::{ChildError, GroupError, SpawnError};

/// The error of a child, or a body, that fails as the program asks for.
#[derive(Debug)]
pub(super) struct Fault;

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("asked for by the program")
    }
}

impl std::error::Error for Fault {}

pub(super) struct Family {
    pub(super) world: Arc<World>,
    /// The task that runs the group.
    pub(super) owner: Arc<Record>,
    step: u32,
    circle: Circle,
    members: Mutex<Members>,
    /// How many are between their first poll and their end.
    alive: AtomicUsize,
    cancelled: AtomicBool,
    succeeded: AtomicBool,
    body_failed: AtomicBool,
    /// The group has returned.
    over: AtomicBool,
}

#[derive(Default)]
struct Members {
    all: Vec<Arc<Record>>,
    failed: Vec<Arc<Record>>,
    /// Something has happened for which all are cancelled.
    doomed: bool,
    /// What the body was given by a member that failed.
    passed: Option<ChildError>,
}

impl Family {
    pub(super) fn new(
        world: &Arc<World>,
        owner: &Arc<Record>,
        step: u32,
        circle: Circle,
    ) -> Arc<Self> {
        Arc::new(Self {
            world: Arc::clone(world),
            owner: Arc::clone(owner),
            step,
            circle,
            members: Mutex::default(),
            alive: AtomicUsize::new(0),
            cancelled: AtomicBool::new(false),
            succeeded: AtomicBool::new(false),
            body_failed: AtomicBool::new(false),
            over: AtomicBool::new(false),
        })
    }

    pub(super) fn fail(&self, problem: &str) -> ! {
        self.world
            .fail(&format!("the group of step {}: {problem}", self.step))
    }

    /// Somebody is about to be spawned.
    pub(super) fn enlist(&self, record: &Arc<Record>) {
        record.is_below(&self.owner);
        // What it panics with goes into the error of the group, and nobody else is told.
        record.on_look();
        let mut members = lock(&self.members);
        members.all.push(Arc::clone(record));
        if members.doomed {
            record.ask();
        }
    }

    /// All are about to be cancelled.
    pub(super) fn on_doom(&self) {
        let mut members = lock(&self.members);
        if !std::mem::replace(&mut members.doomed, true) {
            members.all.iter().for_each(|record| record.ask());
        }
    }

    pub(super) fn on_cancel(&self) {
        self.cancelled.store(true, SeqCst);
        self.on_doom();
    }

    pub(super) fn on_body_failure(&self) {
        self.body_failed.store(true, SeqCst);
        self.on_doom();
    }

    pub(super) fn on_begin(&self) {
        let alive = self.alive.fetch_add(1, SeqCst) + 1;
        if self.circle.limit.is_some_and(|limit| alive > limit.into()) {
            self.fail(&format!("{alive} children at once"));
        }
    }

    pub(super) fn on_gone(&self) {
        self.alive.fetch_sub(1, SeqCst);
    }

    /// A member comes to an end that counts, and the group does not know of it yet.
    pub(super) fn on_end(&self, record: &Arc<Record>, failed: bool) {
        if failed {
            lock(&self.members).failed.push(Arc::clone(record));
        } else {
            self.succeeded.store(true, SeqCst);
        }
        match self.circle.policy {
            Policy::FailFast if failed => self.on_doom(),
            Policy::FirstSuccess if !failed => self.on_doom(),
            _ => {}
        }
    }

    pub(super) fn pass(&self, error: ChildError) {
        lock(&self.members).passed = Some(error);
    }

    pub(super) fn take_passed(&self) -> Option<ChildError> {
        lock(&self.members).passed.take()
    }

    pub(super) fn check_open(&self, record: &Record) {
        if self.over.load(SeqCst) {
            self.fail(&format!("it is over, and this child runs: {record:?}"));
        }
    }

    /// The group has returned, or panicked.
    pub(super) fn on_over(&self) {
        self.over.store(true, SeqCst);
        let members = lock(&self.members);
        let alive = |record: &&Arc<Record>| record.has_begun() && !record.is_dropped();
        if let Some(record) = members.all.iter().find(alive) {
            self.fail(&format!("it is over before this child is: {record:?}"));
        }
    }

    /// A group may refuse a child only if it is full, or has a reason to close.
    pub(super) fn check_refusal(&self, error: SpawnError) {
        let right = match error {
            SpawnError::Full => self.circle.limit.is_some(),
            _ => {
                let doomed = lock(&self.members).doomed;
                doomed || self.over.load(SeqCst) || self.owner.may_be_cancelled()
            }
        };
        if !right {
            self.fail(&format!("it refuses a child: {error:?}"));
        }
    }

    /// Somebody who awaits a member has this.
    pub(super) fn check_error(&self, record: &Arc<Record>, error: &ChildError) {
        let right = if error.is_cancelled() {
            record.may_be_cancelled()
        } else {
            record.has_failed() || record.place.is_closing()
        };
        if !right {
            self.fail(&format!("{error:?} of {record:?}"));
        }
    }

    /// All errors must be there, each of them once, and no other.
    pub(super) fn check(&self, result: &Result<(), GroupError>) {
        let members = lock(&self.members);
        let first = self.circle.policy == Policy::FirstSuccess && self.succeeded.load(SeqCst);
        let failed = members.failed.iter().filter(|_| !first);
        let failed: BTreeSet<Option<TaskId>> = failed.map(|record| record.id()).collect();
        let errors = result.as_ref().err().map_or(&[][..], GroupError::errors);
        let (told, of_body): (Vec<&ChildError>, Vec<_>) =
            errors.iter().partition(|error| error.id().is_some());
        let ids: BTreeSet<_> = told.iter().map(|error| error.id()).collect();
        let problem = if ids != failed || ids.len() != told.len() {
            format!("{failed:?} have failed")
        } else if of_body.len() > usize::from(self.body_failed.load(SeqCst)) {
            "the body has not failed".to_owned()
        } else if result.is_err() && errors.is_empty() && !self.cancelled.load(SeqCst) {
            "nobody has cancelled it".to_owned()
        } else {
            return;
        };
        self.fail(&format!("{problem}: {result:?}"));
    }
}

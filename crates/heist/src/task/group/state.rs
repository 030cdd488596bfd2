//! The children of a group, and what became of them.
//!
//! The state has one lock. A child takes its entry out when its future is dropped, on whatever way it ends; whoever runs the group waits
//! for the table to be empty.

use std::sync::Arc;

use heist_sync::{Notify, OwnedPermit, Semaphore};
use slab::Slab;

use super::{ChildError, Policy, SpawnError};
use crate::shim::{Lock, LockGuard};
use crate::task::TaskRef;

pub(super) struct Shared {
    policy: Policy,
    pub(super) state: Lock<State>,
    /// For the one who runs the group: no child is left, or all shall end.
    pub(super) changed: Notify,
    /// How many more children there may be.
    pub(super) places: Option<Arc<Semaphore>>,
}

pub(super) struct State {
    pub(super) phase: Phase,
    pub(super) children: Slab<Entry>,
    /// How many children there have been.
    count: u64,
    pub(super) errors: Vec<ChildError>,
    succeeded: bool,
    /// The body shall end too.
    pub(super) cuts_body: bool,
}

/// A child that is not over.
pub(super) struct Entry {
    /// Its own: a key is used again.
    number: u64,
    /// `None`: it is being spawned.
    pub(super) task: Option<TaskRef>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Open,
    /// All are cancelled, and nobody can be spawned.
    Aborting,
    Closed,
}

impl Shared {
    pub(super) fn new(policy: Policy, limit: Option<usize>) -> Self {
        Self {
            policy,
            state: Lock::new(State {
                phase: Phase::Open,
                children: Slab::new(),
                count: 0,
                errors: Vec::new(),
                succeeded: false,
                cuts_body: false,
            }),
            changed: Notify::new(),
            places: limit.map(|limit| Arc::new(Semaphore::new(limit))),
        }
    }

    /// Makes a place in the table for a child.
    pub(super) fn enter(
        self: &Arc<Self>,
        place: Option<OwnedPermit>,
    ) -> Result<Ticket, SpawnError> {
        let mut state = self.state.lock();
        if state.phase != Phase::Open {
            drop(state);
            return Err(SpawnError::Closed);
        }
        state.count += 1;
        let number = state.count;
        let key = state.children.insert(Entry { number, task: None });
        Ok(Ticket {
            shared: Arc::clone(self),
            child: ChildKey { key, number },
            _place: place,
        })
    }

    /// The child has been spawned, and may be over.
    pub(super) fn spawned(&self, child: ChildKey, task: &TaskRef) {
        let mut state = self.state.lock();
        let aborting = state.phase == Phase::Aborting;
        match state.children.get_mut(child.key) {
            Some(entry) if entry.number == child.number => entry.task = Some(task.clone()),
            // It is over.
            _ => return,
        }
        drop(state);
        if aborting {
            task.cancel();
        }
    }

    pub(super) fn ended(&self, child: ChildKey, outcome: Option<ChildError>) {
        let mut state = self.state.lock();
        let failed = outcome.is_some();
        state.succeeded |= !failed;
        state.errors.extend(outcome);
        match self.policy {
            Policy::FailFast if failed => self.abort(state, Some(child.key)),
            // The body goes on: it has something to give.
            Policy::FirstSuccess if !failed => self.cancel_children(state, Some(child.key)),
            _ => {}
        }
    }

    /// Cancels all children but this one, and the body.
    pub(super) fn abort(&self, mut state: LockGuard<'_, State>, but: Option<usize>) {
        state.cuts_body = true;
        self.cancel_children(state, but);
        self.changed.notify_one();
    }

    /// Once.
    fn cancel_children(&self, mut state: LockGuard<'_, State>, but: Option<usize>) {
        if state.phase != Phase::Open {
            return;
        }
        state.phase = Phase::Aborting;
        let others = state.children.iter().filter(|(key, _)| Some(*key) != but);
        let others: Vec<_> = others.filter_map(|(_, entry)| entry.task.clone()).collect();
        drop(state);
        for task in others {
            task.cancel();
        }
    }

    /// Whether nobody can be spawned any more.
    pub(super) fn is_ending(&self) -> bool {
        self.state.lock().phase != Phase::Open
    }

    /// Whether no child is left. Then nobody can be spawned any more.
    pub(super) fn close(&self) -> bool {
        let mut state = self.state.lock();
        let empty = state.children.is_empty();
        if empty {
            state.phase = Phase::Closed;
        }
        empty
    }

    /// What failed, as far as it counts.
    pub(super) fn errors(&self) -> Vec<ChildError> {
        let mut state = self.state.lock();
        let mut errors = std::mem::take(&mut state.errors);
        let succeeded = state.succeeded;
        drop(state);
        let is_of_body = |error: &ChildError| error.id().is_none();
        if self.policy == Policy::FirstSuccess && succeeded {
            // Those of children do not count.
            errors.retain(is_of_body);
        }
        // The body may pass on what a child has told already.
        let told = errors.clone();
        errors.retain(|error| !(is_of_body(error) && error.passes_on_one_of(&told)));
        errors
    }

    /// Waits until the body shall end.
    pub(super) async fn aborted(&self) {
        while !self.state.lock().cuts_body {
            self.changed.notified().await;
        }
    }
}

/// Where the entry of a child is.
#[derive(Clone, Copy)]
pub(super) struct ChildKey {
    key: usize,
    number: u64,
}

/// A child's entry, as long as its future lives.
pub(super) struct Ticket {
    pub(super) shared: Arc<Shared>,
    pub(super) child: ChildKey,
    _place: Option<OwnedPermit>,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        let entry = state.children.remove(self.child.key);
        let last = state.children.is_empty();
        drop(state);
        drop(entry);
        if last {
            self.shared.changed.notify_one();
        }
    }
}

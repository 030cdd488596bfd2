//! What stands in for crates that loom cannot see, and the switch for planted defects.

use std::ops::{Deref, DerefMut};

/// Loom's mutex in parking_lot's shape.
#[derive(Debug)]
pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

#[derive(Debug)]
pub(crate) struct MutexGuard<'a, T>(loom::sync::MutexGuard<'a, T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(loom::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        match self.0.lock() {
            Ok(guard) => MutexGuard(guard),
            Err(poisoned) => MutexGuard(poisoned.into_inner()),
        }
    }
}

impl<T: Default> Default for Mutex<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

static MUTATION: std::sync::OnceLock<String> = std::sync::OnceLock::new();

/// Plants the named defect in every model of this process that runs from now on.
pub fn set_mutation(name: &str) {
    let _ = MUTATION.set(name.to_owned());
}

pub(crate) fn mutated(name: &str) -> bool {
    MUTATION.get().is_some_and(|planted| planted == name)
}

type Events = Vec<(loom::thread::ThreadId, &'static str)>;

std::thread_local! {
    // All threads of a model are one of the system's.
    /// Events, and which thread of the model each was on. `None`: nobody wants to know.
    static EVENTS: std::cell::RefCell<Option<Events>> = const { std::cell::RefCell::new(None) };
}

/// Notes events of task words from now on.
pub fn start_noting() {
    EVENTS.set(Some(Vec::new()));
}

/// Stops that. Returns what was noted.
pub fn stop_noting() -> Events {
    EVENTS.take().unwrap_or_default()
}

pub(crate) fn note(event: &'static str) {
    EVENTS.with_borrow_mut(|events| {
        if let Some(events) = events {
            events.push((loom::thread::current().id(), event));
        }
    });
}

//! What stands in for crates that loom cannot see, and the switch for planted defects.

use std::cell::Cell;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Loom's mutex in parking_lot's shape.
#[derive(Debug)]
pub struct Mutex<T> {
    inner: loom::sync::Mutex<T>,
    seen: Seen,
}

/// What the threads of a model do with a mutex. Plain std atomics: loom must not see them.
#[derive(Debug, Default)]
struct Seen {
    /// One of them has it.
    held: AtomicBool,
    /// One of them is about to have it that must not wait.
    hurried: AtomicBool,
}

#[derive(Debug)]
pub struct MutexGuard<'a, T> {
    inner: loom::sync::MutexGuard<'a, T>,
    seen: &'a Seen,
}

impl<T> Mutex<T> {
    /// One that is not locked.
    pub fn new(value: T) -> Self {
        Self {
            inner: loom::sync::Mutex::new(value),
            seen: Seen::default(),
        }
    }

    /// Waits for the lock.
    ///
    /// Loom's `try_lock` waits where the lock is taken between its call and its step, so it would not do here.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        let hurried = must_not_wait();
        if hurried {
            assert!(!self.seen.held.load(Relaxed), "{WAITS}");
            self.seen.hurried.store(true, Relaxed);
        }
        let inner = self.inner.lock();
        let inner = inner.unwrap_or_else(|poisoned| poisoned.into_inner());
        if hurried {
            self.seen.hurried.store(false, Relaxed);
        } else {
            assert!(!self.seen.hurried.load(Relaxed), "{WAITS}");
        }
        self.seen.held.store(true, Relaxed);
        MutexGuard {
            inner,
            seen: &self.seen,
        }
    }
}

impl<T> Drop for MutexGuard<'_, T> {
    fn drop(&mut self) {
        self.seen.held.store(false, Relaxed);
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
        &self.inner
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.inner
    }
}

loom::thread_local! {
    /// Of a thread of the model.
    static MUST_NOT_WAIT: Cell<bool> = Cell::new(false);
}

/// Calls `f`, in which this thread of the model fails it if it waits for a lock of this crate, or spins.
pub fn without_waiting<R>(f: impl FnOnce() -> R) -> R {
    MUST_NOT_WAIT.with(|must| must.set(true));
    let result = f();
    MUST_NOT_WAIT.with(|must| must.set(false));
    result
}

fn must_not_wait() -> bool {
    // At the end of a thread its locks outlive this.
    MUST_NOT_WAIT.try_with(Cell::get).unwrap_or(false)
}

pub(crate) fn spin() {
    assert!(!must_not_wait(), "{WAITS}");
    loom::thread::yield_now();
}

const WAITS: &str = "a thread waits that must not";

static MUTATION: std::sync::OnceLock<String> = std::sync::OnceLock::new();

/// Plants the named defect in every model of this process that runs from now on.
pub fn set_mutation(name: &str) {
    let _ = MUTATION.set(name.to_owned());
}

/// Whether this defect is planted.
pub fn mutated(name: &str) -> bool {
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

//! Loom's mutex and condition variable in parking_lot's shape.

use std::ops::{Deref, DerefMut};
use std::time::Duration;

use super::{AtomicBool, Relaxed};

/// A mutex without poisoning.
#[derive(Debug)]
pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

/// What holds a [`Mutex`]. Empty only while it waits on a [`Condvar`].
#[derive(Debug)]
pub(crate) struct MutexGuard<'a, T>(Option<loom::sync::MutexGuard<'a, T>>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(loom::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        let guard = self
            .0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        MutexGuard(Some(guard))
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
        self.0
            .as_ref()
            .expect("a guard is empty only inside of a wait")
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0
            .as_mut()
            .expect("a guard is empty only inside of a wait")
    }
}

/// What a timed wait says. In a model nothing times out unless the model says so: see [`expire`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct WaitTimeoutResult(bool);

impl WaitTimeoutResult {
    pub(crate) fn timed_out(self) -> bool {
        self.0
    }
}

/// A condition variable.
#[derive(Debug)]
pub(crate) struct Condvar {
    inner: loom::sync::Condvar,
    /// The next bounded wait that ends, or begins, has timed out.
    expired: AtomicBool,
}

/// Lets a bounded wait time out: the one that goes on now, else the next. The caller holds the mutex.
pub(crate) fn expire(condvar: &Condvar) {
    condvar.expired.store(true, Relaxed);
    condvar.inner.notify_one();
}

impl Condvar {
    pub(crate) fn new() -> Self {
        Self {
            inner: loom::sync::Condvar::new(),
            expired: AtomicBool::new(false),
        }
    }

    pub(crate) fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
        let inner = guard
            .0
            .take()
            .expect("a guard is empty only inside of a wait");
        guard.0 = Some(
            self.inner
                .wait(inner)
                .unwrap_or_else(std::sync::PoisonError::into_inner),
        );
    }

    pub(crate) fn wait_for<T>(
        &self,
        guard: &mut MutexGuard<'_, T>,
        _limit: Duration,
    ) -> WaitTimeoutResult {
        if !self.expired.load(Relaxed) {
            self.wait(guard);
        }
        WaitTimeoutResult(self.expired.swap(false, Relaxed))
    }

    pub(crate) fn notify_one(&self) {
        self.inner.notify_one();
    }

    pub(crate) fn notify_all(&self) {
        self.inner.notify_all();
    }
}

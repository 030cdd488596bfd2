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

/// A cell whose value may be unsized, which loom's may not: loom watches one beside it.
pub(crate) struct UnsafeCell<T: ?Sized> {
    watched: loom::cell::UnsafeCell<()>,
    value: std::cell::UnsafeCell<T>,
}

impl<T> UnsafeCell<T> {
    pub(crate) fn new(value: T) -> Self {
        Self {
            watched: loom::cell::UnsafeCell::new(()),
            value: std::cell::UnsafeCell::new(value),
        }
    }

    pub(crate) fn into_inner(self) -> T {
        self.value.into_inner()
    }
}

impl<T: ?Sized> UnsafeCell<T> {
    pub(crate) fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
        self.watched.with(|_| f(self.value.get()))
    }

    pub(crate) fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
        self.watched.with_mut(|_| f(self.value.get()))
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

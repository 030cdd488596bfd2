//! A value that is made once, by an async function.
//!
//! # Invariants
//! * INV-1: whoever has the one permit, and sees that the cell is not set, may write the value; nobody else does.
//! * INV-2: once it is set the value does not change, and is shared.
//!
//! # Orderings
//! The cell is set with Release after the value was written, and the value is read after that was seen with Acquire. Tag: `once-set`.

use std::error::Error;
use std::fmt;
use std::future::Future;

use crate::permits::{MOST, Permits};
use crate::sync::{Acquire, AtomicBool, Relaxed, Release, UnsafeCell, mutated};
use crate::wait_list::WaitList;

/// A cell that is written once.
///
/// Of several tasks that find it empty one makes the value, and the others wait. If it fails, panics or is dropped, the next in line
/// does it.
///
/// # Counterpart
///
/// Tokio's `OnceCell`; an `async` `functools.cache` without arguments.
pub struct OnceCell<T> {
    is_set: AtomicBool,
    permit: WaitList<Permits>,
    value: UnsafeCell<Option<T>>,
}

// SAFETY: a shared cell lends `&T` to any thread, by INV-2, and takes a `T` in on any thread and drops it on another.
unsafe impl<T: Send + Sync> Sync for OnceCell<T> {}

impl<T> OnceCell<T> {
    /// One without a value.
    pub fn new() -> Self {
        Self {
            is_set: AtomicBool::new(false),
            permit: WaitList::with_permits(1),
            value: UnsafeCell::new(None),
        }
    }

    /// The value, if there is one.
    pub fn get(&self) -> Option<&T> {
        // ORDERING(once-set): takes the value.
        if !self.is_set.load(Acquire) {
            return None;
        }
        self.value.with(|value| {
            // SAFETY: INV-2.
            unsafe { &*value }.as_ref()
        })
    }

    /// The value, which `make` makes if there is none. A `make` that asks the cell itself waits for ever.
    ///
    /// # Cancel safety
    ///
    /// What `make` has begun is dropped, and begins anew with the next in line.
    pub async fn get_or_init<F: Future<Output = T>>(&self, make: impl FnOnce() -> F) -> &T {
        let made = self.get_or_try_init(async || Ok::<_, Never>(make().await));
        match made.await {
            Ok(value) => value,
            Err(never) => match never {},
        }
    }

    /// The value, which `make` makes if there is none and it does not fail.
    ///
    /// # Errors
    ///
    /// That of `make`; the next in line tries with its own.
    ///
    /// # Cancel safety
    ///
    /// As [`get_or_init`](Self::get_or_init).
    pub async fn get_or_try_init<E, F: Future<Output = Result<T, E>>>(
        &self,
        make: impl FnOnce() -> F,
    ) -> Result<&T, E> {
        if let Some(value) = self.get() {
            return Ok(value);
        }
        self.permit.take(1).await;
        let permit = Making(self);
        // Another one may have made it meanwhile.
        if let Some(value) = self.get() {
            return Ok(value);
        }
        let value = make().await?;
        Ok(permit.set(value))
    }

    /// Stores a value.
    ///
    /// # Errors
    ///
    /// There is one, or somebody makes it. Gives the value back.
    pub fn set(&self, value: T) -> Result<(), SetError<T>> {
        if !self.permit.try_take(1) {
            return Err(if self.get().is_some() {
                SetError::Set(value)
            } else {
                SetError::Making(value)
            });
        }
        let permit = Making(self);
        if self.get().is_some() {
            return Err(SetError::Set(value));
        }
        permit.set(value);
        Ok(())
    }

    /// The value, if there is one.
    pub fn into_inner(self) -> Option<T> {
        self.value.into_inner()
    }
}

/// The permit to make the value.
struct Making<'a, T>(&'a OnceCell<T>);

impl<'a, T> Making<'a, T> {
    /// The cell has no value.
    fn set(self, value: T) -> &'a T {
        let cell = self.0;
        debug_assert!(!cell.is_set.load(Relaxed));
        cell.value.with_mut(|place| {
            // SAFETY: INV-1: this is the permit, and nothing is set.
            unsafe { *place = Some(value) };
        });
        let order = if mutated("once-relaxed") {
            Relaxed
        } else {
            Release
        };
        // ORDERING(once-set): gives the value.
        cell.is_set.store(true, order);
        // Those who wait need not do so one by one.
        cell.permit.give(MOST / 2);
        match cell.get() {
            Some(value) => value,
            None => unreachable!("it was set just now"),
        }
    }
}

impl<T> Drop for Making<'_, T> {
    fn drop(&mut self) {
        self.0.permit.give(1);
    }
}

impl<T> Default for OnceCell<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> From<T> for OnceCell<T> {
    fn from(value: T) -> Self {
        Self {
            is_set: AtomicBool::new(true),
            permit: WaitList::with_permits(1),
            value: UnsafeCell::new(Some(value)),
        }
    }
}

impl<T: fmt::Debug> fmt::Debug for OnceCell<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OnceCell").field(&self.get()).finish()
    }
}

enum Never {}

/// A cell did not take a value. Has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetError<T> {
    /// It has one.
    Set(T),
    /// Somebody is making one.
    Making(T),
}

impl<T> fmt::Display for SetError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Set(_) => "the cell has a value already; use get",
            Self::Making(_) => "the cell's value is being made; use get_or_init to wait for it",
        })
    }
}

impl<T: fmt::Debug> Error for SetError<T> {}

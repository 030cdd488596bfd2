//! A mutex for Miri: parking_lot hides pointers in integers, which strict provenance does not allow.

use std::sync::{self, PoisonError};

pub use std::sync::MutexGuard;

/// The standard one in parking_lot's shape.
#[derive(Debug, Default)]
pub struct Mutex<T>(sync::Mutex<T>);

impl<T> Mutex<T> {
    /// One that is not locked.
    pub const fn new(value: T) -> Self {
        Self(sync::Mutex::new(value))
    }

    /// Waits for the lock.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

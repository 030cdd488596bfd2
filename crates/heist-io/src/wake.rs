//! Wakers that are collected under a lock and woken without it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Waker;

/// Wakers to be woken. A waker that panics keeps none of the others from being woken.
#[derive(Debug, Default)]
pub struct WakeList(Vec<Waker>);

impl WakeList {
    /// None yet.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Adds some.
    pub fn extend(&mut self, wakers: impl IntoIterator<Item = Waker>) {
        self.0.extend(wakers);
    }

    /// Wakes them in order, and keeps the memory. Returns how many they were.
    pub fn wake_all(&mut self) -> usize {
        let count = self.0.len();
        for waker in self.0.drain(..) {
            // A waker of the runtime does not panic. Another one says so through the panic hook; its payload may
            // panic when it is dropped, hence it is not.
            if let Err(payload) = catch_unwind(AssertUnwindSafe(|| waker.wake())) {
                std::mem::forget(payload);
            }
        }
        count
    }
}

//! Wakers that are collected under a lock and woken without it.

use std::task::Waker;

use heist_core::error::{ExceptionKind, guarded};

/// Wakers to be woken. A waker that panics keeps none of the others from being woken, and is reported.
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
            guarded(ExceptionKind::Waker, None, || waker.wake());
        }
        count
    }
}

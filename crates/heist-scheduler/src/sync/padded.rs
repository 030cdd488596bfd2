//! A stand-in for `CachePadded` that knows whether it was dropped.
//!
//! Shared state is held by the standard `Arc`, which no model sees. Its padded fields are what others reach it for; a
//! model keeps the memory by a `Weak`, and a use after the end fails here.

use std::ops::Deref;
use std::sync::atomic::AtomicBool;

use super::{Relaxed, thread};

/// A value that is not padded.
#[derive(Debug)]
pub(crate) struct CachePadded<T> {
    value: T,
    // Not loom's: it is no part of what is modelled.
    dropped: AtomicBool,
}

impl<T> CachePadded<T> {
    pub(crate) fn new(value: T) -> Self {
        Self {
            value,
            dropped: AtomicBool::new(false),
        }
    }
}

impl<T> Deref for CachePadded<T> {
    type Target = T;

    fn deref(&self) -> &T {
        let dropped = self.dropped.load(Relaxed);
        assert!(!dropped || thread::panicking(), "a use after the end");
        &self.value
    }
}

impl<T> Drop for CachePadded<T> {
    fn drop(&mut self) {
        self.dropped.store(true, Relaxed);
    }
}

//! The only place of this crate that names atomics, locks and cells. What core has, core's shim gives.
//!
//! Under `cfg(loom)` everything comes from loom, so that a model runs the code that ships.

#[cfg(loom)]
mod stand_in;

#[cfg(not(loom))]
mod imp {
    pub(crate) use heist_core::sync::UnsafeCell;
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize};
}

#[cfg(loom)]
mod imp {
    pub(crate) use super::stand_in::UnsafeCell;
    pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize};
}

pub(crate) use heist_core::sync::{Mutex, MutexGuard, mutated};
pub(crate) use imp::*;
pub(crate) use std::sync::Arc;
pub(crate) use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

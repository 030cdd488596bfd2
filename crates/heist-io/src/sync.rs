//! The only place of this crate that names atomics, locks and cells, and that chooses the poller.
//!
//! Under `cfg(loom)` everything comes from loom, so that a model runs the code that ships. `Arc` stays the standard
//! one: what is counted here is handed to core, whose contracts speak of `std::sync::Arc`.

#[cfg(loom)]
mod stand_in;

/// The system's poller. Miri knows none that would do.
#[cfg(miri)]
pub(crate) mod poller;
#[cfg(miri)]
pub(crate) use poller as selector;
#[cfg(all(any(target_os = "linux", target_os = "android"), not(miri)))]
#[path = "reactor/epoll.rs"]
pub(crate) mod selector;
#[cfg(not(any(target_os = "linux", target_os = "android", miri)))]
#[path = "reactor/portable.rs"]
#[expect(
    unsafe_code,
    reason = "registering with `polling` is unsafe: the source has to be deleted before it goes"
)]
pub(crate) mod selector;

#[cfg(not(loom))]
mod imp {
    #[cfg(miri)]
    pub(crate) use heist_core::sync::lock::Mutex;
    #[cfg(not(miri))]
    pub(crate) use parking_lot::Mutex;
    pub(crate) use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, fence};

    /// `UnsafeCell` in the form by which loom sees each access.
    #[derive(Debug)]
    #[repr(transparent)]
    pub(crate) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

    impl<T> UnsafeCell<T> {
        pub(crate) const fn new(value: T) -> Self {
            Self(std::cell::UnsafeCell::new(value))
        }

        #[inline(always)]
        pub(crate) fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
            f(self.0.get())
        }
    }

    /// Whether a model asked for the named defect. Never, outside of models.
    #[inline(always)]
    pub(crate) const fn mutated(_name: &str) -> bool {
        false
    }
}

#[cfg(loom)]
mod imp {
    pub(crate) use super::stand_in::{Mutex, mutated};
    pub(crate) use loom::cell::UnsafeCell;
    pub(crate) use loom::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, fence};
}

/// What signal handlers touch. They are in no model.
#[cfg(unix)]
pub(crate) mod handlers {
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicUsize};
}

pub(crate) use imp::*;
pub(crate) use std::sync::Arc;
/// For statics, which are in no model.
pub(crate) use std::sync::atomic::AtomicBool as ProcessWideFlag;
pub(crate) use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};

#[cfg(loom)]
pub use stand_in::set_mutation;

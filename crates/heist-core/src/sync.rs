//! The only place of this crate that names atomics, locks, cells, thread-locals and the allocator.
//!
//! Under `cfg(loom)` everything comes from loom, so that a model runs the code that ships.

#[cfg(loom)]
mod stand_in;

#[cfg(miri)]
pub mod lock;

#[cfg(not(loom))]
mod imp {
    #[cfg(miri)]
    pub use super::lock::{Mutex, MutexGuard};
    #[cfg(not(miri))]
    pub use parking_lot::{Mutex, MutexGuard};
    pub(crate) use std::alloc::{alloc, dealloc};
    pub(crate) use std::sync::atomic::{
        AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, fence,
    };

    /// On this machine each read-modify-write is a full barrier.
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    pub(crate) const EXCHANGE_IS_FENCE: bool = true;
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    pub(crate) const EXCHANGE_IS_FENCE: bool = false;

    /// Free memory that a worker keeps for cells. An interpreter shall see each allocation.
    pub(crate) const CACHED_BYTES: usize = if cfg!(miri) { 0 } else { 256 * 1024 };

    /// Polls of leaf futures that one poll of a task may make.
    pub(crate) const BUDGET: u8 = 128;

    /// `UnsafeCell` in the form by which loom sees each access.
    #[derive(Debug)]
    #[repr(transparent)]
    pub struct UnsafeCell<T: ?Sized>(std::cell::UnsafeCell<T>);

    impl<T> UnsafeCell<T> {
        /// One with this value.
        pub const fn new(value: T) -> Self {
            Self(std::cell::UnsafeCell::new(value))
        }

        /// The value.
        pub fn into_inner(self) -> T {
            self.0.into_inner()
        }
    }

    impl<T: ?Sized> UnsafeCell<T> {
        /// Reads through `f`.
        #[inline(always)]
        pub fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
            f(self.0.get())
        }

        /// Writes through `f`.
        #[inline(always)]
        pub fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
            f(self.0.get())
        }
    }

    /// How many to make where so many are wanted.
    pub(crate) const fn capacity(wanted: usize) -> usize {
        wanted
    }

    /// Null pointers, in memory that is not touched before it is used.
    pub(crate) fn null_pointers<T>(count: usize) -> Box<[AtomicPtr<T>]> {
        // `vec!` takes a null from zeroed pages.
        let pointers = vec![std::ptr::null_mut::<T>(); count].into_boxed_slice();
        let pointers = Box::into_raw(pointers) as *mut [AtomicPtr<T>];
        // SAFETY: an `AtomicPtr` has the size, alignment and bit validity of a pointer.
        unsafe { Box::from_raw(pointers) }
    }

    /// Lets go of the processor for a moment, in a wait that lasts a few instructions of another thread.
    pub(crate) fn spin() {
        std::thread::yield_now();
    }

    /// Runs user code and catches its panic.
    #[inline]
    pub(crate) fn caught<R>(f: impl FnOnce() -> R) -> std::thread::Result<R> {
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(f))
    }

    /// Whether destructors of thread-locals may use what is in this module.
    pub(crate) const DESTRUCTORS_MAY_WORK: bool = true;

    /// Tells a model about an event. Nobody, outside of models.
    #[inline(always)]
    pub(crate) const fn note(_event: &'static str) {}

    /// Whether a model asked for the named defect. Never, outside of models.
    #[inline(always)]
    pub const fn mutated(_name: &str) -> bool {
        false
    }

    macro_rules! process_wide {
        ($(#[$meta:meta])* static $name:ident: $type:ty = $init:expr;) => {
            $(#[$meta])* static $name: $type = $init;
        };
    }
    pub(crate) use process_wide;

    macro_rules! per_thread {
        ($(#[$meta:meta])* $vis:vis static $name:ident: $type:ty = $init:expr;) => {
            std::thread_local! { $(#[$meta])* $vis static $name: $type = const { $init }; }
        };
    }
    pub(crate) use per_thread;
}

#[cfg(loom)]
mod imp {
    pub use super::stand_in::{Mutex, MutexGuard, mutated};
    pub(crate) use super::stand_in::{note, spin};
    pub(crate) use loom::alloc::{alloc, dealloc};
    pub(crate) use loom::cell::UnsafeCell;
    pub(crate) use loom::sync::atomic::{
        AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, fence,
    };

    pub(crate) const EXCHANGE_IS_FENCE: bool = false;

    /// Runs user code, whose panic fails the model, as a fault that loom finds in it does.
    pub(crate) fn caught<R>(f: impl FnOnce() -> R) -> std::thread::Result<R> {
        Ok(f())
    }

    pub(crate) fn null_pointers<T>(count: usize) -> Box<[AtomicPtr<T>]> {
        (0..count)
            .map(|_| AtomicPtr::new(std::ptr::null_mut()))
            .collect()
    }

    /// A model that fails drops them where nothing of loom's can be used any more.
    pub(crate) const DESTRUCTORS_MAY_WORK: bool = false;

    /// Loom tracks each allocation.
    pub(crate) const CACHED_BYTES: usize = 0;

    /// A model has few tasks, and loom's atomics are large.
    pub(crate) fn capacity(wanted: usize) -> usize {
        wanted.min(4)
    }

    // Small, so that models reach the path where the budget is over.
    pub(crate) const BUDGET: u8 = 2;

    macro_rules! process_wide {
        ($(#[$meta:meta])* static $name:ident: $type:ty = $init:expr;) => {
            loom::lazy_static! { $(#[$meta])* static ref $name: $type = $init; }
        };
    }
    pub(crate) use process_wide;

    macro_rules! per_thread {
        ($(#[$meta:meta])* $vis:vis static $name:ident: $type:ty = $init:expr;) => {
            loom::thread_local! { $(#[$meta])* $vis static $name: $type = $init; }
        };
    }
    pub(crate) use per_thread;
}

#[cfg(not(loom))]
pub use imp::UnsafeCell;
pub(crate) use imp::*;
pub use imp::{Mutex, MutexGuard, mutated};
pub(crate) use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
pub(crate) use std::sync::{Arc, Weak};

/// A full barrier, unless a model planted the defect `name`. Of two threads that each write, fence, and read what the other
/// one wrote, at least one sees the other's write.
#[inline(always)]
pub(crate) fn full_fence(name: &str) {
    if !mutated(name) {
        fence(std::sync::atomic::Ordering::SeqCst);
    }
}

/// The same behind a read-modify-write of this thread.
#[inline(always)]
pub(crate) fn fence_after_exchange(name: &str) {
    if EXCHANGE_IS_FENCE {
        std::sync::atomic::compiler_fence(std::sync::atomic::Ordering::SeqCst);
    } else {
        full_fence(name);
    }
}

#[cfg(loom)]
pub use stand_in::{set_mutation, start_noting, stop_noting, without_waiting};

//! The only place of this crate that names atomics, locks and cells, and that blocks a thread.
//!
//! Under `cfg(loom)` everything comes from loom, so that a model runs the code that ships.

#[cfg(loom)]
mod stand_in;

#[cfg(not(loom))]
mod imp {
    #[cfg(miri)]
    pub(crate) use heist_core::sync::lock::{Mutex, MutexGuard};
    #[cfg(not(miri))]
    pub(crate) use parking_lot::{Mutex, MutexGuard};
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize};

    use std::sync::Arc;
    use std::task::{Context, Wake, Waker};
    use std::thread::{self, Thread};

    /// `UnsafeCell` in the form by which loom sees each access.
    #[repr(transparent)]
    pub(crate) struct UnsafeCell<T: ?Sized>(std::cell::UnsafeCell<T>);

    impl<T> UnsafeCell<T> {
        pub(crate) const fn new(value: T) -> Self {
            Self(std::cell::UnsafeCell::new(value))
        }

        pub(crate) fn into_inner(self) -> T {
            self.0.into_inner()
        }
    }

    impl<T: ?Sized> UnsafeCell<T> {
        #[inline(always)]
        pub(crate) fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
            f(self.0.get())
        }

        #[inline(always)]
        pub(crate) fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
            f(self.0.get())
        }
    }

    /// Polls on this thread, which sleeps in between. Where no runtime has been started, nobody serves in its place.
    pub(crate) fn sleep_between(poll: &mut dyn FnMut(&mut Context<'_>) -> bool) {
        struct Unpark(Thread);

        impl Wake for Unpark {
            fn wake(self: Arc<Self>) {
                self.0.unpark();
            }
        }

        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        let mut cx = Context::from_waker(&waker);
        while !poll(&mut cx) {
            thread::park();
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
    pub(crate) use super::stand_in::{Mutex, MutexGuard, UnsafeCell, mutated};
    pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize};

    use std::future::poll_fn;
    use std::task::{Context, Poll};

    pub(crate) fn sleep_between(poll: &mut dyn FnMut(&mut Context<'_>) -> bool) {
        loom::future::block_on(poll_fn(|cx| {
            if poll(cx) {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        }));
    }
}

pub(crate) use imp::*;
pub(crate) use std::sync::Arc;
pub(crate) use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

#[cfg(loom)]
pub use stand_in::set_mutation;

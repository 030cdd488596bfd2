//! The only place of this crate that says `cfg(loom)`.
//!
//! In a model there is no reactor and no process-wide runtime: a model starts its own, and ends it.

#[cfg(not(loom))]
mod imp {
    use std::future::Future;
    use std::io;
    use std::pin::pin;
    use std::sync::Arc;
    use std::task::{Context, Poll, Wake, Waker};
    use std::thread::{self, Thread};

    use heist_core::driver::Driver;
    use heist_core::platform::Platform;

    use crate::global::State;

    pub(crate) use std::sync::{Mutex, MutexGuard, PoisonError};

    /// Runs user code, and catches its panic.
    pub(crate) fn caught<R>(f: impl FnOnce() -> R) -> thread::Result<R> {
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(f))
    }

    /// The reactor and the timers of one runtime.
    pub(crate) fn driver(
        shards: usize,
        platform: Arc<dyn Platform>,
        virtual_time: bool,
    ) -> io::Result<Arc<dyn Driver>> {
        Ok(if virtual_time {
            heist_io::IoDriver::with_virtual_time(shards, platform)?
        } else {
            heist_io::IoDriver::new(shards, platform)?
        })
    }

    /// Polls a future on this thread, which sleeps in between. For futures that need no runtime.
    pub(crate) fn wait<F: Future>(future: F) -> F::Output {
        struct Unpark(Thread);

        impl Wake for Unpark {
            fn wake(self: Arc<Self>) {
                self.0.unpark();
            }
        }

        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        let mut cx = Context::from_waker(&waker);
        let mut future = pin!(future);
        loop {
            match future.as_mut().poll(&mut cx) {
                Poll::Ready(output) => return output,
                Poll::Pending => thread::park(),
            }
        }
    }

    /// Gives the state of the process-wide runtime to `f`.
    pub(crate) fn with_global<R>(f: impl FnOnce(&Mutex<State>) -> R) -> Option<R> {
        static GLOBAL: Mutex<State> = Mutex::new(State::Free);
        Some(f(&GLOBAL))
    }
}

#[cfg(loom)]
mod imp {
    use std::any::Any;
    use std::io;
    use std::sync::Arc;
    use std::time::Instant;

    use heist_core::driver::{Driver, Wait};
    use heist_core::platform::{Parker, Platform};

    use crate::global::State;

    pub(crate) use loom::sync::{Mutex, MutexGuard};
    pub(crate) use std::sync::PoisonError;

    /// Runs user code, whose panic fails the model.
    pub(crate) fn caught<R>(f: impl FnOnce() -> R) -> std::thread::Result<R> {
        Ok(f())
    }

    /// A driver with nothing in it: its turns only wait to be unparked.
    pub(crate) fn driver(
        _shards: usize,
        platform: Arc<dyn Platform>,
        _virtual_time: bool,
    ) -> io::Result<Arc<dyn Driver>> {
        Ok(Arc::new(NoIo {
            platform,
            waiting: Mutex::new((false, None)),
        }))
    }

    #[derive(Debug)]
    struct NoIo {
        platform: Arc<dyn Platform>,
        /// Whether an unpark waits to be consumed, and who waits for one.
        waiting: Mutex<(bool, Option<Arc<dyn Parker>>)>,
    }

    impl Driver for NoIo {
        fn turn(&self, _shard: usize, wait: Wait) -> usize {
            let parker = self.platform.parker();
            {
                let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
                if std::mem::take(&mut waiting.0) || wait == Wait::Never {
                    return 0;
                }
                waiting.1 = Some(Arc::clone(&parker));
            }
            parker.park(None);
            *self.waiting.lock().unwrap_or_else(PoisonError::into_inner) = (false, None);
            0
        }

        fn unpark(&self) {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            waiting.0 = true;
            let parker = waiting.1.clone();
            drop(waiting);
            if let Some(parker) = parker {
                parker.unpark();
            }
        }

        fn next_deadline(&self) -> Option<Instant> {
            None
        }

        fn advance(&self, _shard: usize) -> usize {
            0
        }

        fn shut_down(&self) {
            self.unpark();
        }

        fn as_any(&self) -> &dyn Any {
            self
        }
    }

    pub(crate) use loom::future::block_on as wait;

    /// There is none in a model.
    pub(crate) fn with_global<R>(_f: impl FnOnce(&Mutex<State>) -> R) -> Option<R> {
        None
    }
}

pub(crate) use heist_core::sync::{Mutex as Lock, MutexGuard as LockGuard, mutated};
pub(crate) use imp::*;

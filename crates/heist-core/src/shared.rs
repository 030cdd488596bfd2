//! One output, many awaiters.

use crate::budget::poll_proceed;
use crate::callback::drop_waker;
use crate::error::TaskError;
use crate::sync::{Arc, Mutex, UnsafeCell};
use crate::task::handle::Join;
use crate::task::{TaskId, TaskRef, TaskState};
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Wake, Waker, ready};

/// A handle of a task or a deferred value that can be cloned; each await gets a clone of the output.
///
/// Dropping the last one lets the task go on.
///
/// # Cancel safety
///
/// Nothing is lost when the await is dropped and begun again.
///
/// # Counterpart
///
/// An `asyncio.Future` that several tasks await. `futures::future::Shared`.
pub struct Shared<T> {
    inner: Arc<Inner<T>>,
    /// This awaiter's place among the wakers, once it has waited.
    place: u64,
}

struct Inner<T> {
    /// Only ever polled, by whoever holds the lock of `waiters`, until the output is there; then only read.
    join: UnsafeCell<Join<T>>,
    waiters: Arc<Waiters>,
}

/// Registered as the waker of the handle.
#[derive(Default)]
struct Waiters(Mutex<Wakers>);

#[derive(Default)]
struct Wakers {
    next: u64,
    waiting: BTreeMap<u64, Waker>,
}

// SAFETY: the output is lent to many threads (`T: Sync`), and dropped by any (`T: Send`).
unsafe impl<T: Send + Sync> Send for Inner<T> {}
// SAFETY: `join` is touched as its comment says.
unsafe impl<T: Send + Sync> Sync for Inner<T> {}

impl<T> Shared<T> {
    pub(crate) fn new(join: Join<T>) -> Self {
        // One that is found there later is taken for that of `waiters`.
        join.withdraw_waker();
        let join = UnsafeCell::new(join);
        Self {
            inner: Arc::new(Inner {
                join,
                waiters: Arc::default(),
            }),
            place: 0,
        }
    }

    fn with_join<R>(&self, f: impl FnOnce(&Join<T>) -> R) -> R {
        self.inner.join.with(|join| {
            // SAFETY: shared access: nothing here is exclusive but the waker slot, which the lock of `waiters` guards.
            f(unsafe { &*join })
        })
    }

    /// The id of the task.
    pub fn id(&self) -> TaskId {
        self.with_join(|join| join.header().id)
    }

    /// Pending, or how it ended.
    pub fn state(&self) -> TaskState {
        self.with_join(|join| join.header().state.load().outcome())
    }

    /// Whether it is over, in any way.
    pub fn is_finished(&self) -> bool {
        self.state() != TaskState::Pending
    }

    /// What the task left, `None` while it is pending.
    pub fn result(&self) -> Option<Result<&T, &TaskError>> {
        self.inner.join.with(|join| {
            // SAFETY: as in `with_join`; the output is never taken through a shared handle.
            let join = unsafe { &*join };
            join.result()
        })
    }

    /// The untyped view.
    pub fn task_ref(&self) -> TaskRef {
        self.with_join(Join::task_ref)
    }

    fn ready(&self) -> bool {
        self.with_join(|join| join.header().state.load().is_ready())
    }
}

impl<T: Clone> Future for Shared<T> {
    type Output = Result<T, TaskError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if this.with_join(Join::is_current) {
            return Poll::Ready(Err(TaskError::self_await(this.id())));
        }
        let proceed = ready!(poll_proceed(cx));
        if this.ready() {
            proceed.made_progress();
            let result = this
                .result()
                .expect("the output of a shared handle is never taken");
            return Poll::Ready(result.cloned().map_err(TaskError::clone));
        }
        let waiters = &this.inner.waiters;
        let new = cx.waker().clone();
        let mut wakers = waiters.0.lock();
        if this.place == 0 {
            wakers.next += 1;
            this.place = wakers.next;
        }
        let old = wakers.waiting.insert(this.place, new);
        let registered =
            this.with_join(|join| join.register_shared(|| Waker::from(Arc::clone(waiters))));
        drop(wakers);
        drop(old);
        if registered {
            return Poll::Pending;
        }
        // It became ready meanwhile. Whoever waits besides us is woken, or sees it.
        waiters.wake_by_ref();
        self.poll(cx)
    }
}

impl Wake for Waiters {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let woken = std::mem::take(&mut self.0.lock().waiting);
        woken.into_values().for_each(crate::callback::wake);
    }
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
            place: 0,
        }
    }
}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        if self.place != 0 {
            let old = self.inner.waiters.0.lock().waiting.remove(&self.place);
            drop_waker(old);
        }
    }
}

impl<T> fmt::Debug for Shared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.task_ref().fmt(f)
    }
}

//! Waiting for a change of what a mutex guards.

use std::fmt;
use std::future::Future;
use std::ops::{ControlFlow, DerefMut};
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::blocking;
use crate::mutex::{MutexGuard, OwnedMutexGuard};
use crate::sync::{Arc, mutated};
use crate::wait_list::{Ends, Left, Locked, Primitive, Wait, WaitList};

/// Lets tasks that have a [`Mutex`](crate::Mutex) locked wait until another one has changed what it guards.
///
/// To wait is to give the guard and to get one back: nobody waits without the lock. Between standing in line and unlocking there is nothing, so
/// that no notification is missed by whoever changes the value under the same mutex. One [`Condvar`] may serve several mutexes.
///
/// # Counterpart
///
/// `asyncio.Condition`, which has a lock of its own. There a notification without the lock is an error, here it is allowed.
#[doc(alias = "Condition")]
pub struct Condvar(WaitList<Told>);

struct Told;

impl Primitive for Told {
    type Guarded = ();
    type Value = ();
    type Lines = [Ends<()>; 1];

    fn on_leave(line: &mut Locked<'_, Self>, left: Left<()>) -> Option<()> {
        if matches!(left, Left::Served(())) && !mutated("turn-kept") {
            line.serve();
        }
        None
    }
}

impl Condvar {
    /// One for which nobody waits.
    pub fn new() -> Self {
        Self(WaitList::new(Told, ()))
    }

    /// Unlocks the mutex, waits until somebody notifies, and locks it again.
    ///
    /// The notification may have been for a change that another one has undone since: look, or use [`wait_while`](Self::wait_while).
    ///
    /// # Cancel safety
    ///
    /// The mutex is unlocked, and a notification that was for this one is the next one's, also if only the lock was missing.
    pub async fn wait<'a, T: ?Sized>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        let mutex = MutexGuard::mutex(&guard);
        let turn = self.turn(guard).await;
        let guard = mutex.lock().await;
        turn.used();
        guard
    }

    /// [`wait`](Self::wait) with a guard that owns its mutex.
    ///
    /// # Cancel safety
    ///
    /// As there.
    pub async fn wait_owned<T: ?Sized>(&self, guard: OwnedMutexGuard<T>) -> OwnedMutexGuard<T> {
        let mutex = Arc::clone(OwnedMutexGuard::mutex(&guard));
        let turn = self.turn(guard).await;
        let guard = mutex.lock_owned().await;
        turn.used();
        guard
    }

    /// Waits until `condition` is false, and has the mutex locked then.
    ///
    /// # Cancel safety
    ///
    /// As [`wait`](Self::wait).
    ///
    /// # Counterpart
    ///
    /// `asyncio.Condition.wait_for`, which waits until it is true.
    #[doc(alias = "wait_for")]
    pub async fn wait_while<'a, T: ?Sized>(
        &self,
        mut guard: MutexGuard<'a, T>,
        mut condition: impl FnMut(&mut T) -> bool,
    ) -> MutexGuard<'a, T> {
        while condition(guard.deref_mut()) {
            guard = self.wait(guard).await;
        }
        guard
    }

    /// [`wait`](Self::wait) from code that is not async: blocks the thread. Another one serves in the place of a worker.
    ///
    /// # Panics
    ///
    /// As `heist::block_on`.
    pub fn wait_blocking<'a, T: ?Sized>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        blocking::wait(self.wait(guard))
    }

    /// Lets the first in line go on.
    #[doc(alias = "notify")]
    pub fn notify_one(&self) {
        self.0.lock().serve();
    }

    /// Lets the first `count` in line go on.
    ///
    /// # Counterpart
    ///
    /// `asyncio.Condition.notify(n)`.
    pub fn notify_many(&self, count: usize) {
        let mut line = self.0.lock();
        for _ in 0..count {
            if !line.serve() {
                break;
            }
        }
    }

    /// Lets everybody go on who waits now.
    pub fn notify_all(&self) {
        self.0.serve_all(self.0.lock());
    }

    /// Stands in line, drops the guard, and waits to be served.
    async fn turn<G>(&self, guard: G) -> Turn<'_> {
        Standing {
            wait: self.0.wait(),
            guard: Some(guard),
        }
        .await;
        Turn(Some(self))
    }
}

impl Default for Condvar {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Condvar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waiting = self.0.lock().waiting();
        f.debug_struct("Condvar")
            .field("waiting", &waiting)
            .finish()
    }
}

/// A notification that its task has not seen yet.
struct Turn<'a>(Option<&'a Condvar>);

impl Turn<'_> {
    fn used(mut self) {
        self.0 = None;
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if let Some(condvar) = self.0 {
            condvar.notify_one();
        }
    }
}

pin_project_lite::pin_project! {
    struct Standing<'a, G> {
        #[pin]
        wait: Wait<'a, Told>,
        guard: Option<G>,
    }
}

impl<G> Future for Standing<'_, G> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        let turn = this.wait.poll(cx, |_| ControlFlow::<(), ()>::Continue(()));
        // It stands in line by now: whoever has the mutex next finds it there.
        *this.guard = None;
        turn.map(drop)
    }
}

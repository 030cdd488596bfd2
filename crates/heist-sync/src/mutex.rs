//! A lock that may be held over an await.
//!
//! # Invariants
//! * INV-1: there is one permit, and whoever has it, a guard, has the value alone.

use std::error::Error;
use std::fmt;
use std::ops::{Deref, DerefMut};

use heist_core::task::current_id;

use crate::blocking::wait;
use crate::permits::Permits;
use crate::sync::{Arc, AtomicU64, Relaxed, UnsafeCell};
use crate::wait_list::WaitList;

/// A value that one task at a time has, also over an await.
///
/// First in, first out: whoever unlocks hands the lock to the first in line, and nobody overtakes. A future that is dropped while it
/// waits passes its turn on. It is not re-entrant: a task that locks it twice waits for itself. A panic does not
/// poison it.
///
/// Where the lock is never held over an await, `std::sync::Mutex` is the faster one.
///
/// # Counterpart
///
/// `asyncio.Lock`, `tokio::sync::Mutex`.
#[doc(alias = "Lock")]
pub struct Mutex<T: ?Sized> {
    permit: WaitList<Permits>,
    /// The id of the task that has it, 0 for none and for a thread. For people.
    holder: AtomicU64,
    value: UnsafeCell<T>,
}

// SAFETY: the value goes to whoever locks.
unsafe impl<T: ?Sized + Send> Send for Mutex<T> {}
// SAFETY: by INV-1 the value is lent to one guard at a time, on whatever thread.
unsafe impl<T: ?Sized + Send> Sync for Mutex<T> {}

impl<T> Mutex<T> {
    /// One that is not locked.
    pub fn new(value: T) -> Self {
        Self {
            permit: WaitList::with_permits(1),
            holder: AtomicU64::new(0),
            value: UnsafeCell::new(value),
        }
    }

    /// The value.
    pub fn into_inner(self) -> T {
        self.value.into_inner()
    }
}

impl<T: ?Sized> Mutex<T> {
    /// Locks it, when it is the caller's turn.
    ///
    /// # Cancel safety
    ///
    /// It is not locked, and the place in line is lost.
    #[doc(alias = "acquire")]
    pub async fn lock(&self) -> MutexGuard<'_, T> {
        self.permit.take(1).await;
        self.note_holder();
        MutexGuard { mutex: self }
    }

    /// The same from an [`Arc`], for a guard that goes anywhere.
    ///
    /// # Cancel safety
    ///
    /// As [`lock`](Self::lock).
    pub async fn lock_owned(self: Arc<Self>) -> OwnedMutexGuard<T> {
        self.permit.take(1).await;
        self.note_holder();
        OwnedMutexGuard { mutex: self }
    }

    /// [`lock`](Self::lock) from code that is not async: blocks the thread. Another one serves in the place of a worker.
    ///
    /// # Panics
    ///
    /// As `heist::block_on`, if it has to wait.
    pub fn lock_blocking(&self) -> MutexGuard<'_, T> {
        wait(self.lock())
    }

    /// Locks it if it is free and nobody waits.
    ///
    /// # Errors
    ///
    /// Not now.
    pub fn try_lock(&self) -> Result<MutexGuard<'_, T>, TryLockError> {
        if !self.permit.try_take(1) {
            return Err(TryLockError(()));
        }
        self.note_holder();
        Ok(MutexGuard { mutex: self })
    }

    /// The same from an [`Arc`].
    ///
    /// # Errors
    ///
    /// Not now.
    pub fn try_lock_owned(self: Arc<Self>) -> Result<OwnedMutexGuard<T>, TryLockError> {
        if !self.permit.try_take(1) {
            return Err(TryLockError(()));
        }
        self.note_holder();
        Ok(OwnedMutexGuard { mutex: self })
    }

    /// Whether [`lock`](Self::lock) would wait. That may be different when the caller looks at it.
    #[doc(alias = "locked")]
    pub fn is_locked(&self) -> bool {
        !self.permit.has(1)
    }

    /// The value: nobody else has the mutex.
    pub fn get_mut(&mut self) -> &mut T {
        // SAFETY: the exclusive borrow of the mutex is one of its value.
        self.value.with_mut(|value| unsafe { &mut *value })
    }

    fn note_holder(&self) {
        self.holder
            .store(current_id().map_or(0, |id| id.get()), Relaxed);
    }

    fn unlock(&self) {
        self.holder.store(0, Relaxed);
        self.permit.give(1);
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = f.debug_struct("Mutex");
        match self.try_lock() {
            Ok(guard) => f.field("value", &&*guard),
            Err(_) => f.field("value", &format_args!("<locked>")),
        };
        let holder = self.holder.load(Relaxed);
        if holder != 0 && Some(holder) != current_id().map(|id| id.get()) {
            f.field("holder", &format_args!("Task-{holder}"));
        }
        // Nothing is written under the lock of the line: whoever writes is the user.
        let waiting = self.permit.lock().waiting();
        f.field("waiting", &waiting).finish()
    }
}

impl<T: Default> Default for Mutex<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T> From<T> for Mutex<T> {
    fn from(value: T) -> Self {
        Self::new(value)
    }
}

/// The value of a [`Mutex`], which is unlocked when this is dropped.
#[must_use = "the mutex is unlocked when this is dropped"]
pub struct MutexGuard<'a, T: ?Sized> {
    mutex: &'a Mutex<T>,
}

// SAFETY: it lends `&T`, which may be shared if `T` is `Sync`, and the mutex, which may be if `T` is `Send`.
unsafe impl<T: ?Sized + Send + Sync> Sync for MutexGuard<'_, T> {}

impl<'a, T: ?Sized> MutexGuard<'a, T> {
    /// The mutex that this has locked.
    pub fn mutex(guard: &Self) -> &'a Mutex<T> {
        guard.mutex
    }
}

/// The value of a [`Mutex`] in an [`Arc`], which is unlocked when this is dropped.
#[must_use = "the mutex is unlocked when this is dropped"]
pub struct OwnedMutexGuard<T: ?Sized> {
    mutex: Arc<Mutex<T>>,
}

// SAFETY: as for `MutexGuard`.
unsafe impl<T: ?Sized + Send + Sync> Sync for OwnedMutexGuard<T> {}

impl<T: ?Sized> OwnedMutexGuard<T> {
    /// The mutex that this has locked.
    pub fn mutex(guard: &Self) -> &Arc<Mutex<T>> {
        &guard.mutex
    }
}

impl<T: ?Sized> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: by INV-1 the value is this guard's, which is borrowed.
        self.mutex.value.with(|value| unsafe { &*value })
    }
}

impl<T: ?Sized> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: by INV-1 the value is this guard's, which is borrowed exclusively.
        self.mutex.value.with_mut(|value| unsafe { &mut *value })
    }
}

impl<T: ?Sized> Drop for MutexGuard<'_, T> {
    fn drop(&mut self) {
        self.mutex.unlock();
    }
}

impl<T: ?Sized> Deref for OwnedMutexGuard<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: by INV-1 the value is this guard's, which is borrowed.
        self.mutex.value.with(|value| unsafe { &*value })
    }
}

impl<T: ?Sized> DerefMut for OwnedMutexGuard<T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: by INV-1 the value is this guard's, which is borrowed exclusively.
        self.mutex.value.with_mut(|value| unsafe { &mut *value })
    }
}

impl<T: ?Sized> Drop for OwnedMutexGuard<T> {
    fn drop(&mut self) {
        self.mutex.unlock();
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for OwnedMutexGuard<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// Somebody has it, or is next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TryLockError(pub(crate) ());

impl fmt::Display for TryLockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it is locked, or somebody waits for it; use the method that waits")
    }
}

impl Error for TryLockError {}

//! A lock that many may share, or one has.
//!
//! # Invariants
//! * INV-1: there are [`MOST`] permits. Whoever has one, a read guard, may share the value; whoever has all, a write guard,
//!   has it alone.

use std::fmt;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};

use crate::blocking::wait;
use crate::mutex::TryLockError;
use crate::permits::{MOST, Permits};
use crate::sync::{Arc, UnsafeCell};
use crate::wait_list::WaitList;

/// A value that many tasks share, or one has, also over an await.
///
/// First in, first out: a reader that comes while a writer waits, waits behind it, so that no stream of readers keeps a writer from its
/// turn. For the same reason a task that reads must not read again: a writer may have come in between, and both wait for ever. A
/// future that is dropped while it waits passes its turn on. A panic does not poison it.
///
/// # Counterpart
///
/// `tokio::sync::RwLock`. There is none in asyncio.
pub struct RwLock<T: ?Sized> {
    permits: WaitList<Permits>,
    value: UnsafeCell<T>,
}

// SAFETY: the value goes to whoever writes.
unsafe impl<T: ?Sized + Send> Send for RwLock<T> {}
// SAFETY: by INV-1 the value is lent to one guard at a time, or shared, on whatever threads.
unsafe impl<T: ?Sized + Send + Sync> Sync for RwLock<T> {}

impl<T> RwLock<T> {
    /// One that nobody has.
    pub fn new(value: T) -> Self {
        Self {
            permits: WaitList::with_permits(MOST),
            value: UnsafeCell::new(value),
        }
    }

    /// The value.
    pub fn into_inner(self) -> T {
        self.value.into_inner()
    }
}

impl<T: ?Sized> RwLock<T> {
    /// Shares the value, when it is the caller's turn.
    ///
    /// # Cancel safety
    ///
    /// It is not locked, and the place in line is lost.
    pub async fn read(&self) -> RwLockReadGuard<'_, T> {
        self.permits.take(1).await;
        RwLockReadGuard { lock: self }
    }

    /// The same from an [`Arc`], for a guard that goes anywhere.
    ///
    /// # Cancel safety
    ///
    /// As [`read`](Self::read).
    pub async fn read_owned(self: Arc<Self>) -> OwnedRwLockReadGuard<T> {
        self.permits.take(1).await;
        OwnedRwLockReadGuard { lock: self }
    }

    /// [`read`](Self::read) from code that is not async: blocks the thread. Another one serves in the place of a worker.
    ///
    /// # Panics
    ///
    /// As `heist::block_on`, if it has to wait.
    pub fn read_blocking(&self) -> RwLockReadGuard<'_, T> {
        wait(self.read())
    }

    /// Shares the value if nobody is in the way, and nobody waits.
    ///
    /// # Errors
    ///
    /// Not now.
    pub fn try_read(&self) -> Result<RwLockReadGuard<'_, T>, TryLockError> {
        if self.permits.try_take(1) {
            Ok(RwLockReadGuard { lock: self })
        } else {
            Err(TryLockError(()))
        }
    }

    /// Has the value alone, when it is the caller's turn.
    ///
    /// # Cancel safety
    ///
    /// It is not locked, and the place in line is lost.
    pub async fn write(&self) -> RwLockWriteGuard<'_, T> {
        self.permits.take(MOST).await;
        RwLockWriteGuard { lock: self }
    }

    /// The same from an [`Arc`], for a guard that goes anywhere.
    ///
    /// # Cancel safety
    ///
    /// As [`write`](Self::write).
    pub async fn write_owned(self: Arc<Self>) -> OwnedRwLockWriteGuard<T> {
        self.permits.take(MOST).await;
        OwnedRwLockWriteGuard { lock: self }
    }

    /// [`write`](Self::write) from code that is not async: blocks the thread. Another one serves in the place of a worker.
    ///
    /// # Panics
    ///
    /// As `heist::block_on`, if it has to wait.
    pub fn write_blocking(&self) -> RwLockWriteGuard<'_, T> {
        wait(self.write())
    }

    /// Has the value alone if nobody is in the way, and nobody waits.
    ///
    /// # Errors
    ///
    /// Not now.
    pub fn try_write(&self) -> Result<RwLockWriteGuard<'_, T>, TryLockError> {
        if self.permits.try_take(MOST) {
            Ok(RwLockWriteGuard { lock: self })
        } else {
            Err(TryLockError(()))
        }
    }

    /// The value: nobody else has the lock.
    pub fn get_mut(&mut self) -> &mut T {
        // SAFETY: the exclusive borrow of the lock is one of its value.
        self.value.with_mut(|value| unsafe { &mut *value })
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RwLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let taken = MOST - self.permits.free();
        let mut f = f.debug_struct("RwLock");
        match self.try_read() {
            Ok(guard) => f.field("value", &&*guard),
            Err(_) => f.field("value", &format_args!("<locked>")),
        };
        if taken < MOST {
            f.field("readers", &taken);
        }
        let waiting = self.permits.lock().waiting();
        f.field("waiting", &waiting).finish()
    }
}

impl<T: Default> Default for RwLock<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T> From<T> for RwLock<T> {
    fn from(value: T) -> Self {
        Self::new(value)
    }
}

impl<'a, T: ?Sized> RwLockWriteGuard<'a, T> {
    /// Shares the value from now on. No writer comes in between.
    pub fn downgrade(guard: Self) -> RwLockReadGuard<'a, T> {
        let guard = ManuallyDrop::new(guard);
        guard.lock.permits.give(MOST - 1);
        RwLockReadGuard { lock: guard.lock }
    }
}

/// The shared value of a [`RwLock`].
#[must_use = "the lock is given back when this is dropped"]
pub struct RwLockReadGuard<'a, T: ?Sized> {
    lock: &'a RwLock<T>,
}

// SAFETY: it lends `&T`, which may be shared if `T` is `Sync`.
unsafe impl<T: ?Sized + Sync> Sync for RwLockReadGuard<'_, T> {}

impl<T: ?Sized> Deref for RwLockReadGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: by INV-1 nobody writes while this guard is there.
        self.lock.value.with(|value| unsafe { &*value })
    }
}

impl<T: ?Sized> Drop for RwLockReadGuard<'_, T> {
    fn drop(&mut self) {
        self.lock.permits.give(1);
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RwLockReadGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// The value of a [`RwLock`], which nobody else has.
#[must_use = "the lock is given back when this is dropped"]
pub struct RwLockWriteGuard<'a, T: ?Sized> {
    lock: &'a RwLock<T>,
}

// SAFETY: it lends `&T`, which may be shared if `T` is `Sync`.
unsafe impl<T: ?Sized + Sync> Sync for RwLockWriteGuard<'_, T> {}

impl<T: ?Sized> Deref for RwLockWriteGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: by INV-1 nobody writes while this guard is there.
        self.lock.value.with(|value| unsafe { &*value })
    }
}

impl<T: ?Sized> DerefMut for RwLockWriteGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: by INV-1 the value is this guard's, which is borrowed exclusively.
        self.lock.value.with_mut(|value| unsafe { &mut *value })
    }
}

impl<T: ?Sized> Drop for RwLockWriteGuard<'_, T> {
    fn drop(&mut self) {
        self.lock.permits.give(MOST);
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RwLockWriteGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// The shared value of a [`RwLock`] in an [`Arc`].
#[must_use = "the lock is given back when this is dropped"]
pub struct OwnedRwLockReadGuard<T: ?Sized> {
    lock: Arc<RwLock<T>>,
}

// SAFETY: it lends `&T`, which may be shared if `T` is `Sync`.
unsafe impl<T: ?Sized + Sync> Sync for OwnedRwLockReadGuard<T> {}

impl<T: ?Sized> Deref for OwnedRwLockReadGuard<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: by INV-1 nobody writes while this guard is there.
        self.lock.value.with(|value| unsafe { &*value })
    }
}

impl<T: ?Sized> Drop for OwnedRwLockReadGuard<T> {
    fn drop(&mut self) {
        self.lock.permits.give(1);
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for OwnedRwLockReadGuard<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// The value of a [`RwLock`] in an [`Arc`], which nobody else has.
#[must_use = "the lock is given back when this is dropped"]
pub struct OwnedRwLockWriteGuard<T: ?Sized> {
    lock: Arc<RwLock<T>>,
}

// SAFETY: it lends `&T`, which may be shared if `T` is `Sync`.
unsafe impl<T: ?Sized + Sync> Sync for OwnedRwLockWriteGuard<T> {}

impl<T: ?Sized> Deref for OwnedRwLockWriteGuard<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: by INV-1 nobody writes while this guard is there.
        self.lock.value.with(|value| unsafe { &*value })
    }
}

impl<T: ?Sized> DerefMut for OwnedRwLockWriteGuard<T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: by INV-1 the value is this guard's, which is borrowed exclusively.
        self.lock.value.with_mut(|value| unsafe { &mut *value })
    }
}

impl<T: ?Sized> Drop for OwnedRwLockWriteGuard<T> {
    fn drop(&mut self) {
        self.lock.permits.give(MOST);
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for OwnedRwLockWriteGuard<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

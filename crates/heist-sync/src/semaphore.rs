//! A semaphore.

use std::error::Error;
use std::fmt;

use crate::blocking::wait;
use crate::permits::{MOST, Permits, Take};
use crate::sync::{Arc, AtomicUsize, Relaxed};
use crate::wait_list::WaitList;

/// A number of permits to be taken and given back.
///
/// First in, first out: while somebody waits, nobody else gets a permit, however many are free. A future that is dropped
/// while it waits passes its turn on.
///
/// # Counterpart
///
/// `asyncio.Semaphore`, and `asyncio.BoundedSemaphore` with [`bounded`](Self::bounded). `tokio::sync::Semaphore`, which can be closed.
pub struct Semaphore {
    permits: WaitList<Permits>,
    /// How many there are, free or taken, and how many there may be.
    total: AtomicUsize,
    most: usize,
}

impl Semaphore {
    /// How many permits there may be.
    pub const MAX_PERMITS: usize = MOST;

    /// One with this many permits, to which more may be added.
    ///
    /// # Panics
    ///
    /// With more than [`MAX_PERMITS`](Self::MAX_PERMITS).
    #[track_caller]
    pub fn new(permits: usize) -> Self {
        assert!(
            permits <= MOST,
            "a semaphore has at most {MOST} permits, and {permits} were asked for"
        );
        Self {
            permits: WaitList::with_permits(permits),
            total: AtomicUsize::new(permits),
            most: MOST,
        }
    }

    /// One that never has more permits than at the beginning, free or taken.
    ///
    /// # Panics
    ///
    /// With more than [`MAX_PERMITS`](Self::MAX_PERMITS).
    ///
    /// # Counterpart
    ///
    /// `asyncio.BoundedSemaphore`.
    #[doc(alias = "BoundedSemaphore")]
    #[track_caller]
    pub fn bounded(permits: usize) -> Self {
        Self {
            most: permits,
            ..Self::new(permits)
        }
    }

    /// Takes a permit as soon as there is one and nobody is before the caller.
    ///
    /// # Panics
    ///
    /// If the semaphore is [bounded](Self::bounded) and never has one.
    ///
    /// # Cancel safety
    ///
    /// Nothing is taken, and the place in line is lost.
    pub async fn acquire(&self) -> Permit<'_> {
        self.acquire_many(1).await
    }

    /// Takes so many permits at once. Whoever comes later waits meanwhile, also for fewer.
    ///
    /// # Panics
    ///
    /// If the semaphore never has so many: more than [`MAX_PERMITS`](Self::MAX_PERMITS), or than a [bounded](Self::bounded) one.
    ///
    /// # Cancel safety
    ///
    /// As [`acquire`](Self::acquire).
    pub async fn acquire_many(&self, count: usize) -> Permit<'_> {
        self.take(count).await;
        Permit {
            semaphore: self,
            count,
        }
    }

    /// [`acquire`](Self::acquire) from an [`Arc`], for a permit that goes anywhere.
    ///
    /// # Panics
    ///
    /// As there.
    ///
    /// # Cancel safety
    ///
    /// As there.
    pub async fn acquire_owned(self: Arc<Self>) -> OwnedPermit {
        self.acquire_many_owned(1).await
    }

    /// [`acquire_many`](Self::acquire_many) from an [`Arc`], for permits that go anywhere.
    ///
    /// # Panics
    ///
    /// As [`acquire_many`](Self::acquire_many).
    ///
    /// # Cancel safety
    ///
    /// As [`acquire`](Self::acquire).
    pub async fn acquire_many_owned(self: Arc<Self>, count: usize) -> OwnedPermit {
        self.take(count).await;
        OwnedPermit {
            semaphore: self,
            count,
        }
    }

    fn take(&self, count: usize) -> Take<'_> {
        assert!(
            count <= self.most,
            "the semaphore never has more than {} permits, and {count} would be waited for for ever",
            self.most
        );
        self.permits.take(count)
    }

    /// [`acquire`](Self::acquire) from code that is not async: blocks the thread. Another one serves in the place of a worker.
    ///
    /// # Panics
    ///
    /// As there, and as `heist::block_on` if it has to wait.
    pub fn acquire_blocking(&self) -> Permit<'_> {
        self.acquire_many_blocking(1)
    }

    /// [`acquire_many`](Self::acquire_many) from code that is not async: blocks the thread. Another one serves in the place of a worker.
    ///
    /// # Panics
    ///
    /// As there, and as `heist::block_on` if it has to wait.
    pub fn acquire_many_blocking(&self, count: usize) -> Permit<'_> {
        wait(self.acquire_many(count))
    }

    /// Takes a permit if there is one and nobody waits.
    ///
    /// # Errors
    ///
    /// Not now.
    pub fn try_acquire(&self) -> Result<Permit<'_>, TryAcquireError> {
        self.try_acquire_many(1)
    }

    /// Takes so many permits if they are there and nobody waits.
    ///
    /// # Errors
    ///
    /// Not now.
    pub fn try_acquire_many(&self, count: usize) -> Result<Permit<'_>, TryAcquireError> {
        if self.permits.try_take(count) {
            Ok(Permit {
                semaphore: self,
                count,
            })
        } else {
            Err(TryAcquireError(()))
        }
    }

    /// [`try_acquire`](Self::try_acquire) from an [`Arc`], for a permit that goes anywhere.
    ///
    /// # Errors
    ///
    /// Not now.
    pub fn try_acquire_owned(self: Arc<Self>) -> Result<OwnedPermit, TryAcquireError> {
        if !self.permits.try_take(1) {
            return Err(TryAcquireError(()));
        }
        Ok(OwnedPermit {
            semaphore: self,
            count: 1,
        })
    }

    /// Adds permits: those that were [forgotten](Permit::forget), or new ones.
    ///
    /// # Errors
    ///
    /// With those that are taken there would be more than [`MAX_PERMITS`](Self::MAX_PERMITS), or than a [bounded](Self::bounded) one
    /// has. None was added.
    pub fn release(&self, count: usize) -> Result<(), OverRelease> {
        let room = |total: usize| total.checked_add(count).filter(|total| *total <= self.most);
        // Relaxed: a count that orders nothing.
        match self.total.fetch_update(Relaxed, Relaxed, room) {
            Ok(_) => {
                self.permits.give(count);
                Ok(())
            }
            Err(_) => Err(OverRelease { most: self.most }),
        }
    }

    fn forget(&self, count: usize) {
        self.total.fetch_sub(count, Relaxed);
    }

    /// How many are free. That may be different when the caller looks at it.
    pub fn available_permits(&self) -> usize {
        self.permits.free()
    }

    /// Whether [`acquire`](Self::acquire) would wait: none is free, or somebody waits.
    #[doc(alias = "locked")]
    pub fn is_exhausted(&self) -> bool {
        !self.permits.has(1)
    }
}

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waiting = self.permits.lock().waiting();
        f.debug_struct("Semaphore")
            .field("available", &self.permits.free())
            .field("waiting", &waiting)
            .finish_non_exhaustive()
    }
}

/// Permits of a [`Semaphore`], which go back when it is dropped.
#[derive(Debug)]
#[must_use = "the permits go back when this is dropped"]
pub struct Permit<'a> {
    semaphore: &'a Semaphore,
    count: usize,
}

impl Permit<'_> {
    /// How many these are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Keeps them from going back: the semaphore has so many less.
    pub fn forget(mut self) {
        self.semaphore.forget(std::mem::take(&mut self.count));
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.semaphore.permits.give(self.count);
    }
}

/// Permits of a [`Semaphore`] in an [`Arc`], which go back when it is dropped.
#[derive(Debug)]
#[must_use = "the permits go back when this is dropped"]
pub struct OwnedPermit {
    semaphore: Arc<Semaphore>,
    count: usize,
}

impl OwnedPermit {
    /// How many these are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Keeps them from going back: the semaphore has so many less.
    pub fn forget(mut self) {
        self.semaphore.forget(std::mem::take(&mut self.count));
    }
}

impl Drop for OwnedPermit {
    fn drop(&mut self) {
        self.semaphore.permits.give(self.count);
    }
}

/// Nothing is free, or somebody else is next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TryAcquireError(());

impl fmt::Display for TryAcquireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("there are not enough free permits now; use acquire to wait for them")
    }
}

impl Error for TryAcquireError {}

/// More permits were given back than there may be.
///
/// # Counterpart
///
/// The `ValueError` of `asyncio.BoundedSemaphore.release`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OverRelease {
    most: usize,
}

impl OverRelease {
    /// How many there may be, free and taken.
    pub fn most(&self) -> usize {
        self.most
    }
}

impl fmt::Display for OverRelease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the semaphore may have {} permits, free and taken; release only what was forgotten",
            self.most
        )
    }
}

impl Error for OverRelease {}

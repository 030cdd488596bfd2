//! Locks, and who has them.
//!
//! Whoever gets a lock counts with a weight while it has it: no more than fit are inside at once. Whoever is inside alone writes a
//! value, in two steps, which would be lost if another one did the same meanwhile. And whoever is inside with others stays at times until none
//! is left behind that would fit beside it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use heist::sync::{
    self, MutexGuard, OnceCell, OwnedMutexGuard, OwnedPermit, OwnedRwLockReadGuard,
    OwnedRwLockWriteGuard, Permit, RwLock, RwLockReadGuard, RwLockWriteGuard, Semaphore,
};

use heist::time::sleep;

use super::{Arena, Attempt};
use crate::counts::Counted;
use crate::oracle::{lock, patience, stamp};
use crate::program::{Ask, Common};

pub(super) struct Locks {
    kind: Kind,
    /// The weight of those inside, and how much fits.
    inside: AtomicU64,
    most: u64,
    /// How often the value was written.
    writes: AtomicU64,
    /// The weights of those who wait.
    wanted: Mutex<BTreeMap<u64, u64>>,
}

#[derive(Debug)]
enum Kind {
    Mutex(Arc<sync::Mutex<u64>>),
    Shared(Arc<RwLock<u64>>),
    Semaphore(Arc<Semaphore>),
    Once {
        cell: OnceCell<u64>,
        made: AtomicBool,
        seen: OnceLock<u64>,
    },
}

/// What somebody has.
#[expect(dead_code, reason = "some are there to be dropped")]
enum Token<'a> {
    Mutex(MutexGuard<'a, u64>),
    OwnedMutex(OwnedMutexGuard<u64>),
    Read(RwLockReadGuard<'a, u64>),
    OwnedRead(OwnedRwLockReadGuard<u64>),
    Write(RwLockWriteGuard<'a, u64>),
    OwnedWrite(OwnedRwLockWriteGuard<u64>),
    Permit(Permit<'a>),
    OwnedPermit(OwnedPermit),
}

impl Token<'_> {
    /// The value of whoever is alone.
    fn value(&mut self) -> Option<&mut u64> {
        match self {
            Self::Mutex(guard) => Some(guard),
            Self::OwnedMutex(guard) => Some(guard),
            Self::Write(guard) => Some(guard),
            Self::OwnedWrite(guard) => Some(guard),
            Self::Read(_) | Self::OwnedRead(_) | Self::Permit(_) | Self::OwnedPermit(_) => None,
        }
    }
}

/// Waits to get inside.
struct Wanting<'a> {
    locks: &'a Locks,
    key: u64,
}

impl Drop for Wanting<'_> {
    fn drop(&mut self) {
        lock(&self.locks.wanted).remove(&self.key);
    }
}

/// Counts among those inside until it is dropped.
struct Inside<'a> {
    locks: &'a Locks,
    weight: u64,
}

impl<'a> Inside<'a> {
    fn enter(arena: &'a Arena, locks: &'a Locks, weight: u64) -> Self {
        let all = locks.inside.fetch_add(weight, SeqCst) + weight;
        if all > locks.most {
            arena.fail(&format!("{all} are inside of what holds {}", locks.most));
        }
        Self { locks, weight }
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.locks.inside.fetch_sub(self.weight, SeqCst);
    }
}

/// Somebody is inside. Leaves before it unlocks, and writes the value before that.
struct Holding<'a> {
    inside: Inside<'a>,
    token: Token<'a>,
    found: Option<u64>,
}

impl<'a> Holding<'a> {
    fn new(inside: Inside<'a>, mut token: Token<'a>) -> Self {
        let found = token.value().copied();
        Self {
            inside,
            token,
            found,
        }
    }
}

impl Drop for Holding<'_> {
    fn drop(&mut self) {
        if let (Some(value), Some(found)) = (self.token.value(), self.found) {
            *value = found + 1;
            self.inside.locks.writes.fetch_add(1, SeqCst);
        }
    }
}

impl Locks {
    pub(super) fn new(common: Common) -> Self {
        let (kind, most) = match common {
            Common::RwLock => (Kind::Shared(Arc::new(RwLock::new(0))), WHOLE),
            Common::Semaphore { permits } => {
                let count = usize::from(permits);
                let semaphore = if permits.is_multiple_of(2) {
                    Semaphore::bounded(count)
                } else {
                    Semaphore::new(count)
                };
                (Kind::Semaphore(Arc::new(semaphore)), permits.into())
            }
            Common::Once => {
                let (cell, made, seen) = (OnceCell::new(), AtomicBool::default(), OnceLock::new());
                (Kind::Once { cell, made, seen }, 1)
            }
            _ => (Kind::Mutex(Arc::new(sync::Mutex::new(0))), 1),
        };
        Self {
            kind,
            inside: AtomicU64::new(0),
            most,
            writes: AtomicU64::new(0),
            wanted: Mutex::default(),
        }
    }

    /// Whether there is no way to wait for it but to be async.
    pub(super) fn is_async_only(&self) -> bool {
        matches!(self.kind, Kind::Once { .. })
    }

    pub(super) async fn hold(&self, attempt: &Attempt<'_>) {
        match &self.kind {
            Kind::Mutex(mutex) => self.lock_mutex(attempt, mutex).await,
            Kind::Shared(lock) if attempt.deed.amount > 2 => self.read(attempt, lock).await,
            Kind::Shared(lock) => self.write(attempt, lock).await,
            Kind::Semaphore(semaphore) => self.acquire(attempt, semaphore).await,
            Kind::Once { cell, made, seen } => self.make(attempt, cell, made, seen).await,
        }
    }

    /// Somebody has got it, and is inside for a while.
    async fn enter(&self, attempt: &Attempt<'_>, token: Option<Token<'_>>, weight: u64) {
        let Some(token) = token else { return };
        let inside = Inside::enter(attempt.arena(), self, weight);
        attempt.scene.world.count(Counted::Lock);
        let holding = Holding::new(inside, token);
        attempt.inside().await;
        if attempt.step.number.is_multiple_of(3) {
            self.linger(attempt).await;
        }
        drop(holding);
    }

    fn want(&self, weight: u64) -> Wanting<'_> {
        let key = stamp();
        lock(&self.wanted).insert(key, weight);
        Wanting { locks: self, key }
    }

    /// Who waits, if each of them fits beside those inside: the first in line is to go on.
    fn left_behind(&self) -> Option<Vec<u64>> {
        let wanted = lock(&self.wanted);
        let room = self.most.saturating_sub(self.inside.load(SeqCst));
        let fit = !wanted.is_empty() && wanted.values().all(|weight| *weight <= room);
        fit.then(|| wanted.keys().copied().collect())
    }

    /// Waits until nobody is left behind.
    async fn linger(&self, attempt: &Attempt<'_>) {
        let mut since = Instant::now();
        let mut before = self.left_behind();
        while before.is_some() && !attempt.scene.world.is_closing() {
            sleep(Duration::from_micros(200)).await;
            let now = self.left_behind();
            if now != before {
                (since, before) = (Instant::now(), now);
            } else if since.elapsed() > patience() {
                attempt
                    .arena()
                    .fail("somebody is left behind who would fit");
            }
        }
    }

    async fn lock_mutex(&self, attempt: &Attempt<'_>, mutex: &Arc<sync::Mutex<u64>>) {
        let owned = attempt.deed.how == Ask::Owned;
        let lock = || async move {
            if owned {
                Token::OwnedMutex(Arc::clone(mutex).lock_owned().await)
            } else {
                Token::Mutex(mutex.lock().await)
            }
        };
        let blocking = || Token::Mutex(mutex.lock_blocking());
        let at_once = || mutex.try_lock().ok().map(Token::Mutex);
        let token = attempt.wait(lock, blocking, at_once).await;
        self.enter(attempt, token, 1).await;
    }

    async fn read(&self, attempt: &Attempt<'_>, lock: &Arc<RwLock<u64>>) {
        let owned = attempt.deed.how == Ask::Owned;
        let read = || async move {
            if owned {
                Token::OwnedRead(Arc::clone(lock).read_owned().await)
            } else {
                Token::Read(lock.read().await)
            }
        };
        let blocking = || Token::Read(lock.read_blocking());
        let at_once = || lock.try_read().ok().map(Token::Read);
        let wanting = self.want(1);
        let token = attempt.wait(read, blocking, at_once).await;
        drop(wanting);
        self.enter(attempt, token, 1).await;
    }

    async fn write(&self, attempt: &Attempt<'_>, lock: &Arc<RwLock<u64>>) {
        let owned = attempt.deed.how == Ask::Owned;
        let write = || async move {
            if owned {
                Token::OwnedWrite(Arc::clone(lock).write_owned().await)
            } else {
                Token::Write(lock.write().await)
            }
        };
        let blocking = || Token::Write(lock.write_blocking());
        let at_once = || lock.try_write().ok().map(Token::Write);
        let wanting = self.want(WHOLE);
        let token = attempt.wait(write, blocking, at_once).await;
        drop(wanting);
        match token {
            Some(Token::Write(guard)) if attempt.step.number.is_multiple_of(3) => {
                drop(Inside::enter(attempt.arena(), self, WHOLE));
                let guard = Token::Read(RwLockWriteGuard::downgrade(guard));
                self.enter(attempt, Some(guard), 1).await;
            }
            token => self.enter(attempt, token, WHOLE).await,
        }
    }

    async fn acquire(&self, attempt: &Attempt<'_>, semaphore: &Arc<Semaphore>) {
        let weight = u64::from(attempt.deed.amount).min(self.most);
        let count = usize::from(attempt.deed.amount).min(self.most as usize);
        let owned = attempt.deed.how == Ask::Owned;
        let acquire = || async move {
            if owned {
                Token::OwnedPermit(Arc::clone(semaphore).acquire_many_owned(count).await)
            } else {
                Token::Permit(semaphore.acquire_many(count).await)
            }
        };
        let blocking = || Token::Permit(semaphore.acquire_many_blocking(count));
        let at_once = || semaphore.try_acquire_many(count).ok().map(Token::Permit);
        let wanting = self.want(weight);
        let token = attempt.wait(acquire, blocking, at_once).await;
        drop(wanting);
        match token {
            // Takes them away for ever, and brings others.
            Some(Token::Permit(permit)) if attempt.step.number.is_multiple_of(5) => {
                drop(Inside::enter(attempt.arena(), self, weight));
                permit.forget();
                if semaphore.release(count).is_err() {
                    attempt
                        .arena()
                        .fail("permits that were forgotten do not fit");
                }
            }
            token => self.enter(attempt, token, weight).await,
        }
    }

    async fn make(
        &self,
        attempt: &Attempt<'_>,
        cell: &OnceCell<u64>,
        made: &AtomicBool,
        seen: &OnceLock<u64>,
    ) {
        let arena: &Arena = attempt.arena();
        let get = || {
            cell.get_or_init(|| async {
                let _inside = Inside::enter(arena, self, 1);
                if made.load(SeqCst) {
                    arena.fail("a value is made that is there");
                }
                attempt.inside().await;
                made.store(true, SeqCst);
                attempt.scene.world.count(Counted::Lock);
                stamp()
            })
        };
        let get = || async { *get().await };
        let blocking = || unreachable!("a cell has no method that blocks");
        let value = attempt.wait(get, blocking, || cell.get().copied()).await;
        if value.is_some_and(|value| *seen.get_or_init(|| value) != value) {
            arena.fail("a value was made twice");
        }
    }

    /// Nobody has it, and nobody waits.
    pub(super) fn check_end(&mut self) -> Option<String> {
        let inside = self.inside.load(SeqCst);
        if inside != 0 {
            return Some(format!("{inside} are inside"));
        }
        let writes = self.writes.load(SeqCst);
        let value = match &self.kind {
            Kind::Mutex(mutex) => mutex.try_lock().ok().map(|value| *value),
            Kind::Shared(lock) => lock.try_write().ok().map(|value| *value),
            Kind::Semaphore(semaphore) => {
                let free = semaphore.available_permits() as u64;
                let all = self.most as usize;
                (free == self.most && semaphore.try_acquire_many(all).is_ok()).then_some(0)
            }
            Kind::Once { cell, made, .. } => {
                // Somebody who has made it was cancelled just then, or nobody was.
                (cell.get().is_some() == made.load(SeqCst)).then_some(0)
            }
        };
        match value {
            None => Some("it is not free".to_owned()),
            Some(value) if value != writes => Some(format!("{writes} writes have left {value}")),
            Some(_) => None,
        }
    }
}

impl fmt::Debug for Locks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inside = self.inside.load(SeqCst);
        write!(f, "{:?} with {inside} of {} inside", self.kind, self.most)
    }
}

/// The weight of whoever is alone where others share.
const WHOLE: u64 = 1 << 20;

//! A cache with *single flight*: concurrent calls for one key load its value once, and all of them get it.
//!
//! The first caller that misses a key loads it, in its own future; those that come meanwhile wait for it. In the map
//! that first caller leaves a [`Shared`] side of a [`Promise`], and the id of that pair says whose entry it is.
//!
//! * A load that **fails** gives its error to all who wait for it. The next caller tries again.
//! * A load that is **cancelled or panics** gives nothing: one of those who wait tries again.
//! * A key that is **invalidated** while it is loaded is loaded again by the next caller. Those who waited before get the older
//!   value, but it is not kept.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use single_flight::Cache;
//! use std::convert::Infallible;
//! use std::num::NonZeroUsize;
//!
//! let cache: Cache<&str, usize, Infallible> = Cache::new(NonZeroUsize::MIN);
//! let length = heist::block_on(cache.get("seven", |key| async move { Ok(key.len()) }))?;
//! assert_eq!(length, 5);
//! # Ok(())
//! # }
//! ```

mod sync;

use std::collections::{HashMap, VecDeque};
use std::error::Error;
use std::fmt;
use std::hash::Hash;
use std::num::NonZeroUsize;
use std::sync::PoisonError;

use heist::future::Shared;
use heist::{Promise, TaskId, promise};

use sync::{Mutex, MutexGuard};

#[doc(hidden)]
pub use sync::Planted;

/// At most so many values by their keys, each loaded once.
pub struct Cache<K, V, E> {
    capacity: usize,
    entries: Mutex<Entries<K, V, E>>,
    planted: Planted,
}

struct Entries<K, V, E> {
    by_key: HashMap<K, Entry<V, E>>,
    /// The keys of the values that are loaded, the oldest first.
    loaded: VecDeque<K>,
}

enum Entry<V, E> {
    Loading(Shared<Result<V, E>>),
    Loaded(V),
}

/// What a caller finds.
enum Found<'c, K: Clone + Eq + Hash, V, E> {
    Value(V),
    /// Somebody else loads it.
    Theirs(Shared<Result<V, E>>),
    /// It is this caller's to load.
    Ours(Load<'c, K, V, E>),
}

impl<K, V, E> Cache<K, V, E>
where
    K: Clone + Eq + Hash,
    V: Clone + Send + Sync + 'static,
    E: Clone + Send + Sync + 'static,
{
    /// An empty cache. Values that are loaded and loads that are under way count both; the oldest value makes room.
    #[must_use]
    pub fn new(capacity: NonZeroUsize) -> Self {
        Self::with_planted(capacity, Planted::Nothing)
    }

    /// For models.
    #[doc(hidden)]
    #[must_use]
    pub fn with_planted(capacity: NonZeroUsize, planted: Planted) -> Self {
        Self {
            capacity: capacity.get(),
            entries: Mutex::new(Entries {
                by_key: HashMap::new(),
                loaded: VecDeque::new(),
            }),
            planted,
        }
    }

    /// The value of `key`: that which is there, that which somebody loads just now, else that which `load` makes.
    ///
    /// A `load` that waits for the same key of the same cache waits for itself.
    ///
    /// # Errors
    ///
    /// [`GetError::Load`] has what the load gave, ours or the one that we waited for. [`GetError::Full`] means that so many other
    /// loads are under way as there are places.
    ///
    /// # Cancel safety
    ///
    /// If this call loads, then one that waits for it loads instead. If it waits, nothing is lost.
    pub async fn get<F>(&self, key: K, load: impl FnOnce(K) -> F) -> Result<V, GetError<E>>
    where
        F: Future<Output = Result<V, E>>,
    {
        let ours = loop {
            match self.find(&key)? {
                Found::Value(value) => return Ok(value),
                Found::Ours(ours) => break ours,
                Found::Theirs(theirs) => {
                    if let Ok(result) = theirs.await {
                        return result.map_err(GetError::Load);
                    }
                    // Whoever loaded it was cancelled, or panicked, and has taken its entry away.
                }
            }
        };
        let result = load(key).await;
        ours.finish(result.clone());
        result.map_err(GetError::Load)
    }

    /// Forgets the value of `key`. No call of [`get`](Cache::get) that begins after this gets a value whose load began before.
    pub fn invalidate(&self, key: &K) {
        let mut entries = self.lock();
        let entry = entries.by_key.remove(key);
        if matches!(entry, Some(Entry::Loaded(_))) {
            entries.loaded.retain(|loaded| loaded != key);
        }
        drop(entries);
        // What is the user's is dropped without the lock.
        drop(entry);
    }

    fn find(&self, key: &K) -> Result<Found<'_, K, V, E>, GetError<E>> {
        let mut entries = self.lock();
        match entries.by_key.get(key) {
            Some(Entry::Loaded(value)) => return Ok(Found::Value(value.clone())),
            Some(Entry::Loading(theirs)) => return Ok(Found::Theirs(theirs.clone())),
            None => {}
        }
        if self.planted == Planted::CheckThenInsert {
            drop(entries);
            entries = self.lock();
        }
        let keys = (key.clone(), key.clone());
        let evicted = entries.make_room(self.capacity)?;
        let (promise, deferred) = promise();
        let entry = Entry::Loading(deferred.share());
        let replaced = entries.by_key.insert(keys.0, entry);
        drop(entries);
        drop((evicted, replaced));
        Ok(Found::Ours(Load {
            cache: self,
            key: keys.1,
            promise: Some(promise),
        }))
    }
}

impl<K: Clone + Eq + Hash, V, E> Cache<K, V, E> {
    /// Of the user's code only that of keys runs under the lock, and `Clone` of values. Nothing is half-made where one is cloned.
    fn lock(&self) -> MutexGuard<'_, Entries<K, V, E>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The load `id` is over, and has left this.
    fn settle(&self, key: &K, id: TaskId, value: Option<V>) {
        let loaded = value.map(|value| (key.clone(), key.clone(), value));
        let mut entries = self.lock();
        let ours = match entries.by_key.get(key) {
            Some(Entry::Loading(load)) => load.id() == id,
            _ => false,
        };
        if !ours && self.planted != Planted::AnyLoad {
            return;
        }
        let old = entries.by_key.remove(key);
        if let Some((key, queued, value)) = loaded {
            entries.by_key.insert(key, Entry::Loaded(value));
            entries.loaded.push_back(queued);
        }
        drop(entries);
        drop(old);
    }
}

impl<K: Eq + Hash, V, E> Entries<K, V, E> {
    /// Takes the oldest value out if there is no place.
    fn make_room(&mut self, capacity: usize) -> Result<Option<Entry<V, E>>, GetError<E>> {
        if self.by_key.len() < capacity {
            return Ok(None);
        }
        let oldest = self.loaded.pop_front().ok_or(GetError::Full)?;
        Ok(self.by_key.remove(&oldest))
    }
}

/// The caller that loads a key. Dropped without a result, it takes its entry away and lets the next one load.
struct Load<'c, K: Clone + Eq + Hash, V, E> {
    cache: &'c Cache<K, V, E>,
    key: K,
    promise: Option<Promise<Result<V, E>>>,
}

impl<K: Clone + Eq + Hash, V: Clone, E> Load<'_, K, V, E> {
    fn finish(mut self, result: Result<V, E>) {
        let value = result.as_ref().ok().cloned();
        // Until the entry is settled the promise is ours: a `Clone` that panics ends the load as any panic does.
        if let Some(promise) = &self.promise {
            self.cache.settle(&self.key, promise.id(), value);
        }
        if let Some(promise) = self.promise.take() {
            // It comes back if nobody waits for it.
            drop(promise.set_result(result));
        }
    }
}

impl<K: Clone + Eq + Hash, V, E> Drop for Load<'_, K, V, E> {
    fn drop(&mut self) {
        // The entry goes before the promise: who is woken by the end of that must not find it again.
        if let Some(promise) = &self.promise {
            self.cache.settle(&self.key, promise.id(), None);
        }
    }
}

impl<K, V, E> fmt::Debug for Cache<K, V, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache")
            .field("capacity", &self.capacity)
            .finish_non_exhaustive()
    }
}

/// Why there is no value.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GetError<E> {
    /// The load failed.
    Load(E),
    /// All places are taken by loads that are under way.
    Full,
}

impl<E> fmt::Display for GetError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Load(_) => "the value could not be loaded",
            Self::Full => {
                "each place of the cache has a load under way; try later, or make the cache larger"
            }
        })
    }
}

impl<E: Error + 'static> Error for GetError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Load(error) => Some(error),
            Self::Full => None,
        }
    }
}

//! A stand-in for `crossbeam-deque`, of the same shape and no stronger.
//!
//! The items sit behind a mutex. Whether there are any is read from a length beside it, because the mutex would
//! otherwise supply the very edge that the sleep protocol's fences must supply, and a model would not miss them.
//!
//! # Orderings
//! The length is written under the mutex and read without it. A reader may see an old one, as with the real deque.

use std::collections::VecDeque;
use std::fmt;
use std::marker::PhantomData;

use super::{Acquire, Arc, AtomicUsize, Mutex, Relaxed, Release};

/// What a thief got.
#[derive(Debug)]
pub(crate) enum Steal<T> {
    /// Nothing was there.
    Empty,
    /// One item, and perhaps more in the thief's own deque.
    Success(T),
    /// Somebody was faster. The stand-in never says so.
    #[allow(
        dead_code,
        reason = "the real deque says so, and callers must be ready for it"
    )]
    Retry,
}

struct Queue<T> {
    /// Whether the owner takes what it pushed last.
    stack: bool,
    items: Mutex<VecDeque<T>>,
    length: AtomicUsize,
}

impl<T> Queue<T> {
    fn new(stack: bool) -> Self {
        Self {
            stack,
            items: Mutex::new(VecDeque::new()),
            length: AtomicUsize::new(0),
        }
    }

    fn push(&self, item: T) {
        let mut items = self.items.lock();
        items.push_back(item);
        // ORDERING(stand-in-length): Release, as the real push publishes its item; pairs with the Acquire in `len`.
        self.length.store(items.len(), Release);
    }

    fn len(&self) -> usize {
        // ORDERING(stand-in-length): Acquire pairs with the stores under the mutex. May be old.
        self.length.load(Acquire)
    }

    fn pop(&self, newest: bool) -> Option<T> {
        let mut items = self.items.lock();
        let item = if newest {
            items.pop_back()
        } else {
            items.pop_front()
        };
        self.length.store(items.len(), Release); // ORDERING(stand-in-length): as in `push`.
        item
    }

    /// Takes one item, and moves at most half of the rest, fewer than `limit`, to `destination`.
    fn steal_batch(&self, destination: &Self, limit: usize) -> Steal<T> {
        if self.len() == 0 {
            return Steal::Empty;
        }
        let mut batch = {
            let mut items = self.items.lock();
            let count = items.len().div_ceil(2).min(limit);
            let batch: VecDeque<T> = items.drain(..count).collect();
            self.length.store(items.len(), Release); // ORDERING(stand-in-length): as in `push`.
            batch
        };
        let Some(first) = batch.pop_front() else {
            return Steal::Empty;
        };
        for item in batch {
            destination.push(item);
        }
        Steal::Success(first)
    }
}

/// The owner's end.
pub(crate) struct Deque<T> {
    queue: Arc<Queue<T>>,
    not_sync: PhantomData<std::cell::Cell<()>>,
}

impl<T> Deque<T> {
    pub(crate) fn new_fifo() -> Self {
        Self {
            queue: Arc::new(Queue::new(false)),
            not_sync: PhantomData,
        }
    }

    pub(crate) fn new_lifo() -> Self {
        Self {
            queue: Arc::new(Queue::new(true)),
            not_sync: PhantomData,
        }
    }

    pub(crate) fn stealer(&self) -> Stealer<T> {
        Stealer {
            queue: Arc::clone(&self.queue),
        }
    }

    pub(crate) fn push(&self, item: T) {
        self.queue.push(item);
    }

    pub(crate) fn pop(&self) -> Option<T> {
        // The owner sees its own pushes; that a thief took the item it may learn late.
        if self.queue.length.load(Relaxed) == 0 {
            return None;
        }
        self.queue.pop(self.queue.stack)
    }

    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The thieves' end.
pub(crate) struct Stealer<T> {
    queue: Arc<Queue<T>>,
}

impl<T> Stealer<T> {
    pub(crate) fn steal_batch_with_limit_and_pop(
        &self,
        destination: &Deque<T>,
        limit: usize,
    ) -> Steal<T> {
        self.queue.steal_batch(&destination.queue, limit)
    }

    pub(crate) fn steal(&self) -> Steal<T> {
        if self.is_empty() {
            return Steal::Empty;
        }
        self.queue.pop(false).map_or(Steal::Empty, Steal::Success)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }
}

/// A queue that anybody pushes to.
pub(crate) struct Injector<T> {
    queue: Queue<T>,
}

impl<T> Injector<T> {
    pub(crate) fn new() -> Self {
        Self {
            queue: Queue::new(false),
        }
    }

    pub(crate) fn push(&self, item: T) {
        self.queue.push(item);
    }

    pub(crate) fn steal(&self) -> Steal<T> {
        if self.is_empty() {
            return Steal::Empty;
        }
        self.queue.pop(false).map_or(Steal::Empty, Steal::Success)
    }

    pub(crate) fn steal_batch_with_limit_and_pop(
        &self,
        destination: &Deque<T>,
        limit: usize,
    ) -> Steal<T> {
        self.queue.steal_batch(&destination.queue, limit)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }
}

impl<T> fmt::Debug for Deque<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad("Deque { .. }")
    }
}

impl<T> fmt::Debug for Stealer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad("Stealer { .. }")
    }
}

impl<T> fmt::Debug for Injector<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad("Injector { .. }")
    }
}

//! Queues with many producers and many consumers.
//!
//! Two numbers of permits go round: one for each free place, if the queue is bounded, and one for each item. Whoever puts takes
//! the first kind and gives the second, whoever gets does it the other way. Between taking a permit and what it is for there is no
//! await, so that nothing is lost where a future is dropped. To close the queue, so many of both kinds are given that nobody waits any
//! more, and everybody looks whether it is closed.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::error::Error;
use std::fmt;
use std::future::Future;

use crate::blocking::wait;
use crate::permits::{MOST, Permits};
use crate::sync::{Acquire, AtomicUsize, Mutex, Relaxed, Release, mutated};
use crate::until::Condition;
use crate::wait_list::WaitList;

/// What a queue keeps its items in, and so in which order they come out.
pub trait Store: Default {
    /// What is kept.
    type Item;
    /// Adds an item.
    fn push(&mut self, item: Self::Item);
    /// Takes the next one.
    fn pop(&mut self) -> Option<Self::Item>;
    /// How many there are.
    fn len(&self) -> usize;
    /// Whether there is none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The first in is the first out.
#[derive(Debug)]
pub struct Fifo<T>(VecDeque<T>);

/// The last in is the first out.
#[derive(Debug)]
pub struct Lifo<T>(Vec<T>);

/// The least is the first out. Items that are equal come in no particular order.
///
/// They are compared under the queue's lock: a comparison that uses the queue waits for itself.
#[derive(Debug)]
pub struct Priority<T: Ord>(BinaryHeap<Reverse<T>>);

impl<T> Default for Fifo<T> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<T> Store for Fifo<T> {
    type Item = T;

    fn push(&mut self, item: T) {
        self.0.push_back(item);
    }

    fn pop(&mut self) -> Option<T> {
        self.0.pop_front()
    }

    fn len(&self) -> usize {
        self.0.len()
    }
}

impl<T> Default for Lifo<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Store for Lifo<T> {
    type Item = T;

    fn push(&mut self, item: T) {
        self.0.push(item);
    }

    fn pop(&mut self) -> Option<T> {
        self.0.pop()
    }

    fn len(&self) -> usize {
        self.0.len()
    }
}

impl<T: Ord> Default for Priority<T> {
    fn default() -> Self {
        Self(BinaryHeap::new())
    }
}

impl<T: Ord> Store for Priority<T> {
    type Item = T;

    fn push(&mut self, item: T) {
        self.0.push(Reverse(item));
    }

    fn pop(&mut self) -> Option<T> {
        self.0.pop().map(|Reverse(item)| item)
    }

    fn len(&self) -> usize {
        self.0.len()
    }
}

/// A queue that gives out the oldest item first.
///
/// # Counterpart
///
/// `asyncio.Queue`. `async_channel`, which has neither `join` nor other orders.
pub type Queue<T> = OrderedQueue<Fifo<T>>;

/// A queue that gives out the least item first.
///
/// # Counterpart
///
/// `asyncio.PriorityQueue`.
pub type PriorityQueue<T> = OrderedQueue<Priority<T>>;

/// A queue that gives out the newest item first.
///
/// # Counterpart
///
/// `asyncio.LifoQueue`.
pub type LifoQueue<T> = OrderedQueue<Lifo<T>>;

/// Items on their way from those who put to those who get, as many as there are of either.
///
/// Those who wait for an item, and those who wait for a place, are served in the order of coming. Whoever gets an item may say
/// [when it is done](Self::task_done) with it, and others may [wait until all are](Self::join).
pub struct OrderedQueue<S: Store> {
    /// `None`: there is always room.
    places: Option<WaitList<Permits>>,
    capacity: Option<usize>,
    items: WaitList<Permits>,
    content: Mutex<Content<S>>,
    unfinished: WaitList<Unfinished>,
}

struct Content<S> {
    store: S,
    is_closed: bool,
}

/// Items that were put and are not done.
struct Unfinished(AtomicUsize);

impl Condition for Unfinished {
    fn holds(&self) -> bool {
        // ORDERING(queue-done): takes what was done with the items.
        self.0.load(Acquire) == 0
    }
}

impl<S: Store> OrderedQueue<S> {
    /// One that holds so many items at most.
    ///
    /// # Panics
    ///
    /// For none, or for more than 2^60.
    #[track_caller]
    pub fn bounded(capacity: usize) -> Self {
        assert!(
            capacity > 0 && capacity <= MOST / 2,
            "a bounded queue holds one item at least, and not {capacity}"
        );
        Self::new(Some(capacity))
    }

    /// One that holds any number of items.
    pub fn unbounded() -> Self {
        Self::new(None)
    }

    fn new(capacity: Option<usize>) -> Self {
        Self {
            places: capacity.map(WaitList::with_permits),
            capacity,
            items: WaitList::with_permits(0),
            content: Mutex::new(Content {
                store: S::default(),
                is_closed: false,
            }),
            unfinished: WaitList::new(Unfinished(AtomicUsize::new(0)), ()),
        }
    }

    /// Puts an item, as soon as there is room and nobody is before the caller.
    ///
    /// # Errors
    ///
    /// The queue is closed, or was meanwhile. Gives the item back.
    ///
    /// # Cancel safety
    ///
    /// Nothing was put, and the item is dropped with the future. [`try_put`](Self::try_put) gives it back.
    pub async fn put(&self, item: S::Item) -> Result<(), Closed<S::Item>> {
        if let Some(places) = &self.places {
            places.take(1).await;
        }
        self.put_in(item)
    }

    /// [`put`](Self::put) from code that is not async: blocks the thread. Another one serves in the place of a worker.
    ///
    /// # Errors
    ///
    /// As there.
    ///
    /// # Panics
    ///
    /// As `heist::block_on`, if it has to wait.
    pub fn put_blocking(&self, item: S::Item) -> Result<(), Closed<S::Item>> {
        wait(self.put(item))
    }

    /// Puts an item if there is room, and nobody waits for it.
    ///
    /// # Errors
    ///
    /// Not now, or never more. Gives the item back.
    #[doc(alias = "put_nowait")]
    pub fn try_put(&self, item: S::Item) -> Result<(), TryPutError<S::Item>> {
        let room = self.places.as_ref().is_none_or(|places| places.try_take(1));
        if !room {
            return Err(if self.is_closed() {
                TryPutError::Closed(item)
            } else {
                TryPutError::Full(item)
            });
        }
        self.put_in(item)
            .map_err(|Closed(item)| TryPutError::Closed(item))
    }

    /// With a place that was taken.
    fn put_in(&self, item: S::Item) -> Result<(), Closed<S::Item>> {
        let mut content = self.content.lock();
        if content.is_closed {
            return Err(Closed(item));
        }
        // Relaxed: whoever is done with it has got it under the lock.
        self.unfinished.open.0.fetch_add(1, Relaxed);
        content.store.push(item);
        drop(content);
        self.items.give(1);
        Ok(())
    }

    /// Gets an item, as soon as there is one and nobody is before the caller.
    ///
    /// # Errors
    ///
    /// The queue is closed, and nothing is left.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost: the item goes to the next one.
    pub async fn get(&self) -> Result<S::Item, Closed> {
        self.items.take(1).await;
        self.take_out().ok_or(Closed(()))
    }

    /// [`get`](Self::get) from code that is not async: blocks the thread. Another one serves in the place of a worker.
    ///
    /// # Errors
    ///
    /// As there.
    ///
    /// # Panics
    ///
    /// As `heist::block_on`, if it has to wait.
    pub fn get_blocking(&self) -> Result<S::Item, Closed> {
        wait(self.get())
    }

    /// Gets an item if there is one, and nobody waits for it.
    ///
    /// # Errors
    ///
    /// Not now, or never more.
    #[doc(alias = "get_nowait")]
    pub fn try_get(&self) -> Result<S::Item, TryGetError> {
        if !self.items.try_take(1) {
            return Err(TryGetError::Empty);
        }
        self.take_out().ok_or(TryGetError::Closed)
    }

    /// With an item's permit that was taken. `None`: the queue is closed, and has given more of them than there are items.
    fn take_out(&self) -> Option<S::Item> {
        let item = self.content.lock().store.pop()?;
        if let Some(places) = &self.places {
            places.give(1);
        }
        Some(item)
    }

    /// An item that was got is done.
    ///
    /// # Errors
    ///
    /// All that were put are done.
    pub fn task_done(&self) -> Result<(), TaskDoneError> {
        self.done(1).map_err(|_| TaskDoneError(()))
    }

    fn done(&self, count: usize) -> Result<(), usize> {
        let unfinished = &self.unfinished.open.0;
        // ORDERING(queue-done): gives what was done with the item to whoever waits for all.
        let before = unfinished.fetch_update(Release, Relaxed, |left| left.checked_sub(count))?;
        if before == count && !mutated("join-untold") {
            self.unfinished.serve_all(self.unfinished.lock());
        }
        Ok(())
    }

    /// Waits until each item that was put is [done](Self::task_done), or thrown away by [`close_now`](Self::close_now).
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    pub fn join(&self) -> impl Future<Output = ()> + Send + '_
    where
        S: Send,
    {
        self.unfinished.until()
    }

    /// [`join`](Self::join) from code that is not async: blocks the thread. Another one serves in the place of a worker.
    ///
    /// # Panics
    ///
    /// As `heist::block_on`, if it has to wait.
    pub fn join_blocking(&self)
    where
        S: Send,
    {
        wait(self.join());
    }

    /// Closes the queue: nothing can be put from now on, and what is in it can be got. Whoever waits for a place gets an error.
    ///
    /// # Counterpart
    ///
    /// `asyncio.Queue.shutdown`.
    #[doc(alias = "shutdown")]
    pub fn close(&self) {
        let mut content = self.content.lock();
        let news = !std::mem::replace(&mut content.is_closed, true);
        drop(content);
        if news {
            self.let_everybody_look();
        }
    }

    /// The same, and throws away what is in it.
    ///
    /// # Counterpart
    ///
    /// `asyncio.Queue.shutdown(immediate=True)`.
    pub fn close_now(&self) {
        let mut content = self.content.lock();
        let news = !std::mem::replace(&mut content.is_closed, true);
        let rest = std::mem::take(&mut content.store);
        drop(content);
        if news {
            self.let_everybody_look();
        }
        if !rest.is_empty() {
            let _ = self.done(rest.len());
        }
    }

    /// Half of all permits: more than there can be waiters, and the other half is more than there can be items.
    fn let_everybody_look(&self) {
        if mutated("close-untold") {
            return;
        }
        self.items.give(MOST / 2);
        if let Some(places) = &self.places {
            places.give(MOST / 2);
        }
    }

    /// Whether it was closed.
    pub fn is_closed(&self) -> bool {
        self.content.lock().is_closed
    }

    /// How many items are in it.
    #[doc(alias = "qsize")]
    pub fn len(&self) -> usize {
        self.content.lock().store.len()
    }

    /// Whether there is nothing in it.
    #[doc(alias = "empty")]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether there is no room.
    #[doc(alias = "full")]
    pub fn is_full(&self) -> bool {
        self.capacity.is_some_and(|capacity| self.len() >= capacity)
    }

    /// How many items it holds at most, if there is a bound.
    #[doc(alias = "maxsize")]
    pub fn capacity(&self) -> Option<usize> {
        self.capacity
    }
}

impl<S: Store> fmt::Debug for OrderedQueue<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waiting = |line: &WaitList<Permits>| line.lock().waiting();
        f.debug_struct("Queue")
            .field("len", &self.len())
            .field("capacity", &self.capacity)
            .field("closed", &self.is_closed())
            .field("unfinished", &self.unfinished.open.0.load(Relaxed))
            .field("getting", &waiting(&self.items))
            .field("putting", &self.places.as_ref().map_or(0, waiting))
            .finish()
    }
}

/// The queue is closed. Has the item that could not be put.
///
/// # Counterpart
///
/// `asyncio.QueueShutDown`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[doc(alias = "QueueShutDown")]
pub struct Closed<T = ()>(pub T);

impl<T> fmt::Display for Closed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the queue is closed")
    }
}

impl<T: fmt::Debug> Error for Closed<T> {}

/// Nothing could be put. Has the item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TryPutError<T> {
    /// There is no room, or somebody waits for it. `asyncio.QueueFull`.
    Full(T),
    /// The queue is closed. `asyncio.QueueShutDown`.
    Closed(T),
}

impl<T> fmt::Display for TryPutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full(_) => "the queue is full; use put to wait for room",
            Self::Closed(_) => "the queue is closed",
        })
    }
}

impl<T: fmt::Debug> Error for TryPutError<T> {}

/// Nothing could be got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TryGetError {
    /// There is nothing, or somebody waits for it. `asyncio.QueueEmpty`.
    Empty,
    /// The queue is closed, and nothing is left. `asyncio.QueueShutDown`.
    Closed,
}

impl fmt::Display for TryGetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "the queue is empty; use get to wait for an item",
            Self::Closed => "the queue is closed",
        })
    }
}

impl Error for TryGetError {}

/// More items were said to be done than were put.
///
/// # Counterpart
///
/// The `ValueError` of `asyncio.Queue.task_done`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskDoneError(());

impl fmt::Display for TaskDoneError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("all items are done; call task_done once for each that was got")
    }
}

impl Error for TaskDoneError {}

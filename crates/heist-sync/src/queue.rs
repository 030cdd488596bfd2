//! Queues with many producers and many consumers.

mod error;
mod store;
mod trade;

use std::fmt;
use std::future::Future;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use heist_core::budget::poll_proceed;

use self::trade::{AllDone, GET, Got, PUT, Put, Stake, Trade};
use crate::blocking::wait;
use crate::wait_list::{Locked, Wait, WaitList};

pub use error::{Closed, TaskDoneError, TryGetError, TryPutError};
pub use store::{Fifo, Lifo, Priority, Store};

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
pub struct OrderedQueue<S: Store>(WaitList<Trade<S>>);

impl<T> Queue<T> {
    /// One that holds nothing: whoever puts waits until somebody takes the item.
    ///
    /// An item whose taker goes away just then is the next one's: it was put. So was one whose `put` is dropped when it was taken just then.
    ///
    /// # Counterpart
    ///
    /// `gevent.queue.Channel`, `queue.SimpleQueue` has none.
    #[doc(alias = "Channel")]
    pub fn rendezvous() -> Self {
        Self(WaitList::with_capacity(0))
    }
}

impl<S: Store> OrderedQueue<S> {
    /// One that holds so many items at most.
    ///
    /// # Panics
    ///
    /// For none: that is a [`rendezvous`](Queue::rendezvous).
    #[track_caller]
    pub fn bounded(capacity: usize) -> Self {
        assert!(
            capacity > 0,
            "a bounded queue holds one item at least; for none there is rendezvous"
        );
        Self(WaitList::with_capacity(capacity))
    }

    /// One that holds any number of items.
    pub fn unbounded() -> Self {
        Self(WaitList::with_capacity(usize::MAX))
    }

    /// Gives `hook` each item that is not delivered, instead of dropping it: whose [`put`](Self::put) was dropped before it was put,
    /// which [`close_now`](Self::close_now) throws away, or which is left when the queue is dropped.
    ///
    /// It runs where that happens, and not under a lock.
    #[must_use]
    pub fn on_undelivered(mut self, hook: impl Fn(S::Item) + Send + Sync + 'static) -> Self {
        self.0.open.on_undelivered = Some(Box::new(hook));
        self
    }

    /// Puts an item, as soon as there is room and nobody is before the caller.
    ///
    /// # Errors
    ///
    /// The queue is closed, or was meanwhile. Gives the item back.
    ///
    /// # Cancel safety
    ///
    /// Nothing was put, and the item is [undelivered](Self::on_undelivered). [`try_put`](Self::try_put) gives it back.
    pub fn put(&self, item: S::Item) -> impl Future<Output = Result<(), Closed<S::Item>>> {
        PutFuture {
            wait: self.0.wait_in(PUT),
            item: Some(item),
        }
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
        match trade::put(&mut self.0.lock(), item) {
            Put::Done => Ok(()),
            Put::Full(item) => Err(TryPutError::Full(item)),
            Put::Closed(item) => Err(TryPutError::Closed(item)),
        }
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
    pub fn get(&self) -> impl Future<Output = Result<S::Item, Closed>> {
        GetFuture {
            wait: self.0.wait_in(GET),
        }
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
        match trade::get(&mut self.0.lock()) {
            Got::Item(item) => Ok(item),
            Got::Empty => Err(TryGetError::Empty),
            Got::Closed => Err(TryGetError::Closed),
        }
    }

    /// Gets as many items as there are, and `most` of them at most, without waiting.
    pub fn drain(&self, most: usize) -> Vec<S::Item> {
        let mut line = self.0.lock();
        let mut items = Vec::with_capacity(most.min(line.guarded().store.len()));
        while items.len() < most {
            match trade::get(&mut line) {
                Got::Item(item) => items.push(item),
                Got::Empty | Got::Closed => break,
            }
        }
        items
    }

    /// An item that was got is done.
    ///
    /// # Errors
    ///
    /// All that were put are done.
    pub fn task_done(&self) -> Result<(), TaskDoneError> {
        if self.0.done(1) {
            Ok(())
        } else {
            Err(TaskDoneError(()))
        }
    }

    /// Waits until each item that was put is [done](Self::task_done), or thrown away by [`close_now`](Self::close_now).
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    pub fn join(&self) -> impl Future<Output = ()> {
        self.0.open.join.until(AllDone::holds)
    }

    /// [`join`](Self::join) from code that is not async: blocks the thread. Another one serves in the place of a worker.
    ///
    /// # Panics
    ///
    /// As `heist::block_on`, if it has to wait.
    pub fn join_blocking(&self) {
        wait(self.join());
    }

    /// Closes the queue: nothing can be put from now on, and what is in it can be got. Whoever waits for a place gets an error; whoever waits
    /// for an item, once none can come back: from a [`get`](Self::get) that was given one, and is neither polled nor dropped.
    ///
    /// # Counterpart
    ///
    /// `asyncio.Queue.shutdown`.
    #[doc(alias = "shutdown")]
    pub fn close(&self) {
        self.0.close(false);
    }

    /// The same, and throws away what is in it.
    ///
    /// # Counterpart
    ///
    /// `asyncio.Queue.shutdown(immediate=True)`.
    pub fn close_now(&self) {
        self.0.close(true);
    }

    /// Whether it was closed.
    pub fn is_closed(&self) -> bool {
        self.0.lock().guarded().is_closed
    }

    /// How many items are in it.
    #[doc(alias = "qsize")]
    pub fn len(&self) -> usize {
        self.0.lock().guarded().store.len()
    }

    /// Whether there is nothing in it.
    #[doc(alias = "empty")]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether there is no room.
    #[doc(alias = "full")]
    pub fn is_full(&self) -> bool {
        self.len() >= self.0.open.capacity
    }

    /// How many items it holds at most, if there is a bound.
    #[doc(alias = "maxsize")]
    pub fn capacity(&self) -> Option<usize> {
        let capacity = self.0.open.capacity;
        (capacity < usize::MAX).then_some(capacity)
    }
}

impl<S: Store> Drop for OrderedQueue<S> {
    fn drop(&mut self) {
        if self.0.open.on_undelivered.is_some() {
            let rest = std::mem::take(&mut self.0.lock().guarded().store);
            self.0.open.undelivered_all(rest);
        }
    }
}

impl<S: Store> fmt::Debug for OrderedQueue<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = self.0.lock();
        let (getting, putting) = (line.waiting_in(GET), line.waiting_in(PUT));
        let content = line.guarded();
        let (len, closed, unfinished) =
            (content.store.len(), content.is_closed, content.unfinished);
        drop(line);
        f.debug_struct("Queue")
            .field("len", &len)
            .field("capacity", &self.capacity())
            .field("closed", &closed)
            .field("unfinished", &unfinished)
            .field("getting", &getting)
            .field("putting", &putting)
            .finish()
    }
}

pin_project_lite::pin_project! {
    struct PutFuture<'a, S: Store> {
        #[pin]
        wait: Wait<'a, Trade<S>>,
        // Until it stands in line, or is over.
        item: Option<S::Item>,
    }

    impl<S: Store> PinnedDrop for PutFuture<'_, S> {
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            if let Some(item) = this.item.take() {
                this.wait.list.open.undelivered(item);
            }
        }
    }
}

impl<S: Store> Future for PutFuture<'_, S> {
    type Output = Result<(), Closed<S::Item>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let proceed = ready!(poll_proceed(cx));
        let list = this.wait.list;
        let mut item = this.item.take();
        let at_once = item.take().map(|item| trade::put(&mut list.lock(), item));
        let put = match at_once {
            Some(Put::Full(full)) => {
                item = Some(full);
                None
            }
            put => put,
        };
        let put = match put {
            Some(put) => put,
            None => {
                let begin = |line: &mut Locked<'_, Trade<S>>| match item.take() {
                    Some(item) => match trade::put(line, item) {
                        Put::Full(item) => ControlFlow::Continue(Stake::Put(item)),
                        put => ControlFlow::Break(put),
                    },
                    None => panic!("a future that is over was polled again"),
                };
                match ready!(this.wait.poll(cx, begin)) {
                    ControlFlow::Break(put) => put,
                    ControlFlow::Continue(Stake::Placed(item)) => {
                        trade::put_placed(&mut list.lock(), item)
                    }
                    ControlFlow::Continue(Stake::Refused(item)) => Put::Closed(item),
                    ControlFlow::Continue(_) => Put::Done,
                }
            }
        };
        proceed.made_progress();
        Poll::Ready(match put {
            Put::Done => Ok(()),
            Put::Full(item) | Put::Closed(item) => Err(Closed(item)),
        })
    }
}

pin_project_lite::pin_project! {
    struct GetFuture<'a, S: Store> {
        #[pin]
        wait: Wait<'a, Trade<S>>,
    }
}

impl<S: Store> Future for GetFuture<'_, S> {
    type Output = Result<S::Item, Closed>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let wait = self.project().wait;
        let proceed = ready!(poll_proceed(cx));
        let list = wait.list;
        let at_once = if wait.is_new() {
            trade::get(&mut list.lock())
        } else {
            Got::Empty
        };
        let got = match at_once {
            Got::Empty => {
                let begin = |line: &mut Locked<'_, Trade<S>>| match trade::get(line) {
                    Got::Empty => ControlFlow::Continue(Stake::Get(None)),
                    got => ControlFlow::Break(got),
                };
                match ready!(wait.poll(cx, begin)) {
                    ControlFlow::Break(got) => got,
                    ControlFlow::Continue(Stake::Get(Some(item))) => {
                        Got::Item(trade::claim(list, item))
                    }
                    ControlFlow::Continue(_) => Got::Closed,
                }
            }
            got => {
                wait.end();
                got
            }
        };
        proceed.made_progress();
        Poll::Ready(match got {
            Got::Item(item) => Ok(item),
            Got::Empty | Got::Closed => Err(Closed(())),
        })
    }
}

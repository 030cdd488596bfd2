//! Channels with many senders and one receiver: a [`Queue`] that closes when one end has gone.

use std::fmt;
use std::future::Future;

use crate::event::Event;
use crate::parties::Parties;
use crate::queue::{Closed, Queue, TryGetError, TryPutError};
use crate::sync::Arc;
use crate::until::proceed;

/// A channel that holds so many values at most.
///
/// # Panics
///
/// For none: that is a [`rendezvous`].
///
/// # Counterpart
///
/// Tokio's `mpsc::channel`. An `asyncio.Queue` with one consumer, which closes itself.
#[track_caller]
pub fn channel<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    from_queue(Queue::bounded(capacity))
}

/// A channel that holds any number of values: [`try_send`](Sender::try_send) fails only if nobody receives.
#[doc(alias = "unbounded_channel")]
pub fn unbounded<T>() -> (Sender<T>, Receiver<T>) {
    from_queue(Queue::unbounded())
}

/// A channel that holds nothing: whoever sends waits until the value is received.
pub fn rendezvous<T>() -> (Sender<T>, Receiver<T>) {
    from_queue(Queue::rendezvous())
}

/// A channel over a queue, which may have a hook for what is [not delivered](Queue::on_undelivered).
pub fn from_queue<T>(queue: Queue<T>) -> (Sender<T>, Receiver<T>) {
    let channel = Arc::new(Channel {
        queue,
        senders: Parties::one(),
        closed: Event::new(),
    });
    (Sender(Arc::clone(&channel)), Receiver(channel))
}

struct Channel<T> {
    queue: Queue<T>,
    senders: Parties,
    /// Nobody can send any more.
    closed: Event,
}

/// Sends values to the one [`Receiver`].
pub struct Sender<T>(Arc<Channel<T>>);

/// Receives what is sent. Dropping it throws away what is left.
pub struct Receiver<T>(Arc<Channel<T>>);

impl<T> Sender<T> {
    /// Sends a value, as soon as there is room and nobody is before the caller.
    ///
    /// # Errors
    ///
    /// Nobody receives, now or meanwhile. Gives the value back.
    ///
    /// # Cancel safety
    ///
    /// Nothing was sent, and the value is [undelivered](Queue::on_undelivered).
    pub fn send(&self, value: T) -> impl Future<Output = Result<(), Closed<T>>> {
        self.0.queue.put(value)
    }

    /// [`send`](Self::send) from code that is not async: blocks the thread. Another one serves in the place of a worker.
    ///
    /// # Errors
    ///
    /// As there.
    ///
    /// # Panics
    ///
    /// As `heist::block_on`, if it has to wait.
    #[doc(alias = "blocking_send")]
    pub fn send_blocking(&self, value: T) -> Result<(), Closed<T>> {
        self.0.queue.put_blocking(value)
    }

    /// Sends a value if there is room, and nobody waits for it.
    ///
    /// # Errors
    ///
    /// Not now, or never more. Gives the value back.
    pub fn try_send(&self, value: T) -> Result<(), TryPutError<T>> {
        self.0.queue.try_put(value)
    }

    /// Waits until nobody receives any more, or the receiver [lets nobody send](Receiver::close).
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    pub fn closed(&self) -> impl Future<Output = ()> {
        self.0.closed.wait()
    }

    /// Whether nobody receives any more.
    pub fn is_closed(&self) -> bool {
        self.0.queue.is_closed()
    }

    /// How many values are on their way.
    pub fn len(&self) -> usize {
        self.0.queue.len()
    }

    /// Whether none is on its way.
    pub fn is_empty(&self) -> bool {
        self.0.queue.is_empty()
    }

    /// How many values it holds at most, if there is a bound.
    pub fn capacity(&self) -> Option<usize> {
        self.0.queue.capacity()
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.0.senders.add();
        Self(Arc::clone(&self.0))
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        if self.0.senders.leave() {
            self.0.queue.close();
        }
    }
}

impl<T> Receiver<T> {
    /// Receives the next value; `None`: nobody sends any more.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    pub async fn recv(&mut self) -> Option<T> {
        self.0.queue.get().await.ok()
    }

    /// [`recv`](Self::recv) from code that is not async: blocks the thread. Another one serves in the place of a worker.
    ///
    /// # Panics
    ///
    /// As `heist::block_on`, if it has to wait.
    #[doc(alias = "blocking_recv")]
    pub fn recv_blocking(&mut self) -> Option<T> {
        self.0.queue.get_blocking().ok()
    }

    /// Receives the next value, if there is one.
    ///
    /// # Errors
    ///
    /// Not now, or never more.
    pub fn try_recv(&mut self) -> Result<T, TryGetError> {
        self.0.queue.try_get()
    }

    /// Receives what there is, and `most` values at most; waits for one. Nothing: nobody sends any more.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    pub async fn recv_many(&mut self, most: usize) -> Vec<T> {
        if most == 0 {
            return Vec::new();
        }
        proceed().await;
        let values = self.0.queue.drain(most);
        if !values.is_empty() {
            return values;
        }
        let first = self.recv().await;
        let more = self.0.queue.drain(most - 1);
        first.into_iter().chain(more).collect()
    }

    /// Lets nobody send any more. What is on its way can be received.
    pub fn close(&mut self) {
        self.0.queue.close();
        self.0.closed.set();
    }

    /// How many values are on their way.
    pub fn len(&self) -> usize {
        self.0.queue.len()
    }

    /// Whether none is on its way.
    pub fn is_empty(&self) -> bool {
        self.0.queue.is_empty()
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        // Before values are dropped, which may do anything.
        self.0.queue.close();
        self.0.closed.set();
        self.0.queue.close_now();
    }
}

impl<T> fmt::Debug for Channel<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel")
            .field("queue", &self.queue)
            .field("senders", &self.senders.count())
            .finish()
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Sender").field(&self.0).finish()
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Receiver").field(&self.0).finish()
    }
}

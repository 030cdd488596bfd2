//! Every receiver gets every value, or is told how many it has missed.

use std::collections::VecDeque;
use std::error::Error;
use std::fmt;
use std::future::Future;

use crate::blocking::wait;
use crate::feed::{ENDED, Feed, ONE};
use crate::parties::Parties;
use crate::queue::Closed;
use crate::sync::Arc;
use crate::until::proceed;

/// A channel that keeps the last `capacity` values for those who have not received them.
///
/// Whoever sends never waits. A receiver that is slower loses the oldest, and is [told](RecvError::Lagged) how many.
///
/// # Panics
///
/// For a capacity of none.
///
/// # Counterpart
///
/// Tokio's `broadcast::channel`.
#[track_caller]
pub fn channel<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    assert!(capacity > 0, "a broadcast channel keeps one value at least");
    let channel = Arc::new(Feed::new(Ring {
        capacity,
        slots: VecDeque::new(),
        first: 0,
        receivers: 1,
    }));
    let receiver = Receiver {
        channel: Arc::clone(&channel),
        next: 0,
    };
    (Sender(channel), receiver)
}

type Channel<T> = Feed<Ring<T>>;

struct Ring<T> {
    capacity: usize,
    slots: VecDeque<Slot<T>>,
    /// The number of the first one.
    first: usize,
    /// Who receives what is sent next.
    receivers: usize,
}

struct Slot<T> {
    /// Until the last receiver takes it.
    value: Option<Arc<T>>,
    /// Receivers that have not.
    left: usize,
}

impl<T> Slot<T> {
    /// One receiver more has it, or does not want it. Whether it was the last.
    fn see(&mut self) -> bool {
        self.left -= 1;
        self.left == 0
    }
}

impl<T> Ring<T> {
    /// Where the value of this number is; negative: it was lost.
    fn position(&self, number: usize) -> isize {
        number.wrapping_sub(self.first) as isize
    }

    /// Forgets what nobody has to receive any more.
    fn trim(&mut self) {
        while self.slots.front().is_some_and(|slot| slot.left == 0) {
            self.slots.pop_front();
            self.first = self.first.wrapping_add(1);
        }
    }
}

/// Sends values to all receivers.
pub struct Sender<T>(Arc<Channel<T>>);

impl<T> Sender<T> {
    /// Sends a value, and gives the number of those who can receive it.
    ///
    /// # Errors
    ///
    /// Nobody receives. Gives the value back.
    pub fn send(&self, value: T) -> Result<usize, Closed<T>> {
        let value = Arc::new(value);
        let mut line = self.0.line.lock();
        let ring = line.guarded();
        let left = ring.receivers;
        if left == 0 {
            drop(line);
            return match Arc::try_unwrap(value) {
                Ok(value) => Err(Closed(value)),
                Err(_) => unreachable!("nobody else has it"),
            };
        }
        let mut oldest = None;
        if ring.slots.len() == ring.capacity {
            oldest = ring.slots.pop_front();
            ring.first = ring.first.wrapping_add(1);
        }
        ring.slots.push_back(Slot {
            value: Some(value),
            left,
        });
        self.0.tell(line, ONE);
        drop(oldest);
        Ok(left)
    }

    /// One more receiver, which gets what is sent from now on.
    pub fn subscribe(&self) -> Receiver<T> {
        Receiver::at_the_end(&self.0)
    }

    /// How many receive.
    pub fn receiver_count(&self) -> usize {
        self.0.receivers.count()
    }

    /// Waits until nobody receives any more.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    pub fn closed(&self) -> impl Future<Output = ()> {
        self.0.receivers.none()
    }

    /// How many values there are that somebody has not received.
    pub fn len(&self) -> usize {
        self.0.line.lock().guarded().slots.len()
    }

    /// Whether everybody has received everything.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
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
        self.0.sender_leaves();
    }
}

/// Receives every value that is sent, unless it is too slow.
pub struct Receiver<T> {
    channel: Arc<Channel<T>>,
    /// The number of the next value.
    next: usize,
}

impl<T> Receiver<T> {
    fn at_the_end(channel: &Arc<Channel<T>>) -> Self {
        let mut line = channel.line.lock();
        line.guarded().receivers += 1;
        channel.receivers.add();
        Self {
            channel: Arc::clone(channel),
            next: line.open.load() / ONE,
        }
    }

    /// One more receiver, which gets what is sent from now on.
    pub fn resubscribe(&self) -> Self {
        Self::at_the_end(&self.channel)
    }

    /// How many values there are that it has not received, those that it has missed included.
    pub fn len(&self) -> usize {
        (self.channel.line.open.load() / ONE).wrapping_sub(self.next)
    }

    /// Whether it has received everything.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T: Clone> Receiver<T> {
    /// Receives the next value.
    ///
    /// # Errors
    ///
    /// It has missed some, and the next call gets the oldest that there is; or nobody sends any more.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    pub async fn recv(&mut self) -> Result<T, RecvError> {
        proceed().await;
        loop {
            match self.try_recv() {
                Ok(value) => return Ok(value),
                Err(TryRecvError::Lagged(count)) => return Err(RecvError::Lagged(count)),
                Err(TryRecvError::Closed) => return Err(RecvError::Closed),
                Err(TryRecvError::Empty) => {
                    let nothing = self.next.wrapping_mul(ONE);
                    self.channel.line.until(|news| news.load() != nothing).await;
                }
            }
        }
    }

    /// [`recv`](Self::recv) from code that is not async: blocks the thread. Another one serves in the place of a worker.
    ///
    /// # Errors
    ///
    /// As there.
    ///
    /// # Panics
    ///
    /// As `heist::block_on`, if it has to wait.
    #[doc(alias = "blocking_recv")]
    pub fn recv_blocking(&mut self) -> Result<T, RecvError> {
        wait(self.recv())
    }

    /// Receives the next value, if there is one.
    ///
    /// # Errors
    ///
    /// Not now, or as [`recv`](Self::recv).
    pub fn try_recv(&mut self) -> Result<T, TryRecvError> {
        let mut line = self.channel.line.lock();
        let news = line.open.load();
        let ring = line.guarded();
        let Ok(at) = usize::try_from(ring.position(self.next)) else {
            let missed = ring.first.wrapping_sub(self.next);
            self.next = ring.first;
            return Err(TryRecvError::Lagged(missed));
        };
        let Some(slot) = ring.slots.get_mut(at) else {
            return Err(if news & ENDED == 0 {
                TryRecvError::Empty
            } else {
                TryRecvError::Closed
            });
        };
        // The last one gets it without a copy.
        let value = if slot.see() {
            slot.value.take()
        } else {
            slot.value.clone()
        };
        ring.trim();
        drop(line);
        self.next = self.next.wrapping_add(1);
        match value {
            Some(value) => Ok(Arc::unwrap_or_clone(value)),
            None => unreachable!("it is there until the last one has taken it"),
        }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        // Whatever a value does that is dropped.
        let _leaves = Leaves(&self.channel.receivers);
        let mut line = self.channel.line.lock();
        let ring = line.guarded();
        ring.receivers -= 1;
        let at = usize::try_from(ring.position(self.next)).unwrap_or(0);
        let unseen = ring.slots.iter_mut().skip(at);
        let last = unseen.filter_map(|slot| slot.see().then(|| slot.value.take()));
        let values: Vec<_> = last.collect();
        ring.trim();
        drop(line);
        drop(values);
    }
}

/// One that leaves at the end.
struct Leaves<'a>(&'a Parties);

impl Drop for Leaves<'_> {
    fn drop(&mut self) {
        self.0.leave();
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender")
            .field("len", &self.len())
            .field("receivers", &self.receiver_count())
            .finish()
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver")
            .field("len", &self.len())
            .finish()
    }
}

/// Nothing was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecvError {
    /// So many values were lost, because this receiver was too slow.
    Lagged(usize),
    /// All were received, and nobody sends any more.
    Closed,
}

impl fmt::Display for RecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lagged(count) => {
                write!(f, "{count} values were lost; receive faster, or keep more")
            }
            Self::Closed => f.write_str("nobody sends any more"),
        }
    }
}

impl Error for RecvError {}

/// Nothing was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TryRecvError {
    /// There is nothing; use `recv` to wait.
    Empty,
    /// So many values were lost, because this receiver was too slow.
    Lagged(usize),
    /// All were received, and nobody sends any more.
    Closed,
}

impl fmt::Display for TryRecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("there is nothing yet; use recv to wait"),
            Self::Lagged(count) => RecvError::Lagged(*count).fmt(f),
            Self::Closed => RecvError::Closed.fmt(f),
        }
    }
}

impl Error for TryRecvError {}

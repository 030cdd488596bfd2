//! A value of which everybody sees the last version.

use std::fmt;
use std::future::Future;

use crate::feed::{ENDED, Feed, ONE};
use crate::queue::Closed;
use crate::sync::Arc;

/// A channel that has one value at a time: who sends replaces it, and who receives sees the last one.
///
/// # Counterpart
///
/// Tokio's `watch::channel`, whose `borrow` locks the value. Here it is in an [`Arc`], and nobody keeps anybody from sending.
pub fn channel<T>(value: T) -> (Sender<T>, Receiver<T>) {
    let channel = Arc::new(Feed::new(Arc::new(value)));
    let receiver = Receiver {
        channel: Arc::clone(&channel),
        seen: 0,
    };
    (Sender(channel), receiver)
}

type Channel<T> = Feed<Arc<T>>;

impl<T> Channel<T> {
    /// The value, and which version it is.
    fn get(&self) -> (Arc<T>, usize) {
        let mut line = self.line.lock();
        (Arc::clone(line.guarded()), line.open.load() & !ENDED)
    }

    /// Replaces the value, if it is `old` still where that matters.
    fn replace(&self, value: Arc<T>, old: Option<&Arc<T>>) -> Result<Arc<T>, Arc<T>> {
        let mut line = self.line.lock();
        let place = line.guarded();
        if old.is_some_and(|old| !Arc::ptr_eq(old, place)) {
            drop(line);
            return Err(value);
        }
        let before = std::mem::replace(place, value);
        self.tell(line, ONE);
        Ok(before)
    }
}

/// Sends new values.
pub struct Sender<T>(Arc<Channel<T>>);

impl<T> Sender<T> {
    /// Sends a value, which replaces the last one.
    ///
    /// # Errors
    ///
    /// Nobody receives. Gives the value back, and the last one stays.
    pub fn send(&self, value: T) -> Result<(), Closed<T>> {
        if self.is_closed() {
            return Err(Closed(value));
        }
        self.send_replace(value);
        Ok(())
    }

    /// Sends a value, whether anybody receives or not, and gives the last one.
    pub fn send_replace(&self, value: T) -> Arc<T> {
        match self.0.replace(Arc::new(value), None) {
            Ok(before) | Err(before) => before,
        }
    }

    /// Sends what `update` makes of the last value. It is called again if somebody else has sent meanwhile.
    #[doc(alias = "send_modify")]
    pub fn send_update(&self, mut update: impl FnMut(&T) -> T) {
        loop {
            let (old, _) = self.0.get();
            if self.0.replace(Arc::new(update(&old)), Some(&old)).is_ok() {
                return;
            }
        }
    }

    /// The last value.
    #[doc(alias = "borrow")]
    pub fn get(&self) -> Arc<T> {
        self.0.get().0
    }

    /// One more receiver, which has seen the last value.
    pub fn subscribe(&self) -> Receiver<T> {
        self.0.receivers.add();
        Receiver {
            channel: Arc::clone(&self.0),
            seen: self.0.get().1,
        }
    }

    /// Waits until nobody receives any more.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    pub fn closed(&self) -> impl Future<Output = ()> {
        self.0.receivers.none()
    }

    /// Whether nobody receives.
    pub fn is_closed(&self) -> bool {
        self.receiver_count() == 0
    }

    /// How many receive.
    pub fn receiver_count(&self) -> usize {
        self.0.receivers.count()
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

/// Sees the last value, and waits for the next.
pub struct Receiver<T> {
    channel: Arc<Channel<T>>,
    /// The version that it has seen.
    seen: usize,
}

impl<T> Receiver<T> {
    /// The last value. It stays unseen, if it is.
    #[doc(alias = "borrow")]
    pub fn get(&self) -> Arc<T> {
        self.channel.get().0
    }

    /// The last value, which is seen now.
    #[doc(alias = "borrow_and_update")]
    pub fn get_and_see(&mut self) -> Arc<T> {
        let (value, version) = self.channel.get();
        self.seen = version;
        value
    }

    /// Whether there is a value that it has not seen.
    pub fn has_changed(&self) -> bool {
        self.channel.line.open.load() & !ENDED != self.seen
    }

    /// Waits until there is a value that it has not seen, which is seen then.
    ///
    /// # Errors
    ///
    /// There is none, and nobody sends any more.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost: a value that it was not told of is unseen.
    pub async fn changed(&mut self) -> Result<(), Closed> {
        let (list, seen) = (&self.channel.line, self.seen);
        list.until(|news| news.load() != seen).await;
        let version = list.open.load();
        self.seen = version & !ENDED;
        if self.seen == seen {
            return Err(Closed(()));
        }
        Ok(())
    }

    /// Waits for a value that is `wanted`, the last one included.
    ///
    /// # Errors
    ///
    /// There is none, and nobody sends any more.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    pub async fn wait_for(&mut self, mut wanted: impl FnMut(&T) -> bool) -> Result<Arc<T>, Closed> {
        loop {
            let value = self.get_and_see();
            if wanted(&value) {
                return Ok(value);
            }
            self.changed().await?;
        }
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        self.channel.receivers.add();
        Self {
            channel: Arc::clone(&self.channel),
            seen: self.seen,
        }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.channel.receivers.leave();
    }
}

impl<T: fmt::Debug> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender")
            .field("value", &self.get())
            .field("receivers", &self.receiver_count())
            .finish()
    }
}

impl<T: fmt::Debug> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver")
            .field("value", &self.get())
            .field("changed", &self.has_changed())
            .finish()
    }
}

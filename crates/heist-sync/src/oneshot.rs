//! A channel for one value: a [`promise`] under the names that users of channels know.

use std::fmt;
use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker, ready};

use heist_core::budget::unbudgeted;
use heist_core::future::{Deferred, Promise, promise};

use crate::blocking::wait;
use crate::queue::{Closed, TryGetError};

/// A channel for one value.
///
/// # Counterpart
///
/// Tokio's `oneshot::channel`. With done-callbacks and names it is [`promise`], asyncio's `Future`.
#[track_caller]
pub fn channel<T>() -> (Sender<T>, Receiver<T>) {
    let (promise, deferred) = promise();
    (
        Sender(promise),
        Receiver {
            deferred,
            received: false,
        },
    )
}

/// Sends the value. Dropping it closes the channel.
pub struct Sender<T>(Promise<T>);

/// Waits for the value. Dropping it closes the channel.
#[must_use = "nothing is received until it is awaited"]
pub struct Receiver<T> {
    deferred: Deferred<T>,
    received: bool,
}

impl<T> Sender<T> {
    /// Sends the value.
    ///
    /// # Errors
    ///
    /// Nobody waits any more. Gives the value back.
    pub fn send(self, value: T) -> Result<(), Closed<T>> {
        self.0.set_result(value).map_err(Closed)
    }

    /// Whether nobody waits any more.
    pub fn is_closed(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Waits until nobody waits any more.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    pub fn closed(&mut self) -> impl Future<Output = ()> {
        self.0.cancelled()
    }
}

impl<T> Receiver<T> {
    /// The value, if it was sent.
    ///
    /// # Errors
    ///
    /// Not yet, or never: nobody sends, or it was received before.
    pub fn try_recv(&mut self) -> Result<T, TryGetError> {
        if self.received {
            return Err(TryGetError::Closed);
        }
        if !self.deferred.is_finished() {
            return Err(TryGetError::Empty);
        }
        // Nobody has to be woken any more, so that the waker does not matter.
        match unbudgeted(|| pin!(&mut *self).poll(&mut Context::from_waker(Waker::noop()))) {
            Poll::Ready(received) => received.map_err(|Closed(())| TryGetError::Closed),
            Poll::Pending => Err(TryGetError::Empty),
        }
    }

    /// Waits for the value from code that is not async: blocks the thread. Another one serves in the place of a worker.
    ///
    /// # Errors
    ///
    /// Nobody sends any more.
    ///
    /// # Panics
    ///
    /// As `heist::block_on`, if it has to wait.
    #[doc(alias = "blocking_recv")]
    pub fn recv_blocking(self) -> Result<T, Closed> {
        wait(self)
    }

    /// Lets nobody send any more. A value that was sent can be received.
    pub fn close(&mut self) {
        self.deferred.cancel();
    }
}

impl<T> Future for Receiver<T> {
    type Output = Result<T, Closed>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let output = ready!(Pin::new(&mut this.deferred).poll(cx));
        this.received = true;
        Poll::Ready(output.map_err(|_| Closed(())))
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender")
            .field("closed", &self.is_closed())
            .finish()
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver")
            .field("state", &self.deferred.state())
            .finish()
    }
}

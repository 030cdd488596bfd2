//! A flag to wait for.

use std::fmt;
use std::future::Future;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use heist_core::budget::poll_proceed;

use crate::blocking;
use crate::sync::{Acquire, AtomicBool, Release, mutated};
use crate::wait_list::{Left, Locked, Primitive, Wait, WaitList};

/// A flag, and those who wait until it is set.
///
/// [`set`](Self::set) lets everybody go on who waits, also if the flag is cleared right after.
///
/// # Counterpart
///
/// `asyncio.Event`.
pub struct Event(WaitList<Flag>);

struct Flag(AtomicBool);

impl Primitive for Flag {
    type Guarded = ();
    type Value = ();

    fn on_leave(_: &mut Locked<'_, Self>, _: Left<()>) -> Option<()> {
        None
    }
}

impl Event {
    /// One that is not set.
    pub fn new() -> Self {
        Self(WaitList::new(Flag(AtomicBool::new(false)), ()))
    }

    /// Sets the flag: everybody who waits goes on, and nobody waits from now on.
    pub fn set(&self) {
        let line = self.0.lock();
        // ORDERING(event): gives what this thread did to whoever finds it set; those in line get it by way of that.
        line.open.0.store(true, Release);
        self.0.serve_all(line);
    }

    /// Takes the flag back: who comes from now on waits.
    pub fn clear(&self) {
        // ORDERING(event): takes what was done before it was set. Who clears it, looks, and then waits either sees that, or
        // the flag is set after this: a store might come after both.
        self.0.open.0.swap(false, Acquire);
    }

    /// Whether it is set.
    pub fn is_set(&self) -> bool {
        // ORDERING(event): takes what was done before it was set.
        self.0.open.0.load(Acquire)
    }

    /// Waits until it is set.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    pub fn wait(&self) -> impl Future<Output = ()> + Send + '_ {
        Waiting {
            wait: self.0.wait(),
        }
    }

    /// [`wait`](Self::wait) from code that is not async: blocks the thread. Another one serves in the place of a worker.
    pub fn wait_blocking(&self) {
        blocking::wait(self.wait());
    }
}

impl Default for Event {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waiting = self.0.lock().waiting();
        f.debug_struct("Event")
            .field("set", &self.is_set())
            .field("waiting", &waiting)
            .finish()
    }
}

pin_project_lite::pin_project! {
    struct Waiting<'a> {
        #[pin]
        wait: Wait<'a, Flag>,
    }
}

impl Future for Waiting<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let wait = self.project().wait;
        let proceed = ready!(poll_proceed(cx));
        // ORDERING(event): takes what was done before it was set.
        let is_set = |flag: &Flag| flag.0.load(Acquire) && !mutated("event-unlooked");
        if !(wait.is_new() && is_set(&wait.list.open)) {
            let _ = ready!(wait.poll(cx, |line| {
                if is_set(line.open) {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            }));
        }
        proceed.made_progress();
        Poll::Ready(())
    }
}

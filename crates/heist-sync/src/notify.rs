//! A notification for one task, which is kept if nobody waits for it.

use std::fmt;
use std::future::Future;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use heist_core::budget::poll_proceed;

use crate::blocking;
use crate::sync::{Acquire, AtomicU8, Relaxed, Release, mutated};
use crate::wait_list::{Ends, Left, Locked, Primitive, Wait, WaitList};

/// Tells a task that something has happened.
///
/// [`notify_one`](Self::notify_one) lets one go on, the first in line; where nobody waits, the next one that would wait goes on at once, and one
/// only, however often it was called. [`notify_waiters`](Self::notify_waiters) lets everybody go on who waits now.
///
/// # Counterpart
///
/// Tokio's `Notify`, whose `notified` gets what [`notify_waiters`](Self::notify_waiters) tells from its creation on; here it stands in line when it is first
/// polled. For a flag that stays there is [`Event`](crate::Event), asyncio's.
pub struct Notify(WaitList<Signal>);

/// The word: changes to and from `WAITED` under the lock of the line.
///
/// # Orderings
/// To notify is a Release, to take it an Acquire. Tag: `notify`.
struct Signal(AtomicU8);

const NOTHING: u8 = 0;
const KEPT: u8 = 1;
const WAITED: u8 = 2;

/// Who let a future go on.
enum By {
    /// Nobody yet.
    Nobody,
    /// One is let go on, this or the next.
    One,
    /// All are.
    All,
}

impl Primitive for Signal {
    type Guarded = ();
    type Value = By;
    type Lines = [Ends<By>; 1];

    fn on_leave(line: &mut Locked<'_, Self>, left: Left<By>) -> Option<By> {
        match left {
            Left::Served(By::One) if !mutated("turn-kept") => notify_one(line),
            _ => settle(line),
        }
        None
    }
}

fn notify_one(line: &mut Locked<'_, Signal>) {
    line.first(|by| *by = By::One);
    if line.serve() {
        settle(line);
    } else {
        // ORDERING(notify): gives what this thread did, and what those did whose notification it was.
        line.open.0.store(KEPT, Release);
    }
}

/// Nobody may wait any more.
fn settle(line: &mut Locked<'_, Signal>) {
    if line.waiting() == 0 && line.open.0.load(Relaxed) == WAITED {
        line.open.0.store(NOTHING, Relaxed);
    }
}

impl Notify {
    /// One without a notification.
    pub fn new() -> Self {
        Self(WaitList::new(Signal(AtomicU8::new(NOTHING)), ()))
    }

    /// Lets the first in line go on, or else the next one that would wait.
    pub fn notify_one(&self) {
        let word = &self.0.open.0;
        let mut seen = word.load(Relaxed);
        while seen != WAITED {
            // ORDERING(notify): gives what this thread did to whoever takes it, beside what was given with one that is kept.
            match word.compare_exchange_weak(seen, KEPT, Release, Relaxed) {
                Ok(_) => return,
                Err(now) => seen = now,
            }
        }
        self.notify_line();
    }

    #[cold]
    fn notify_line(&self) {
        notify_one(&mut self.0.lock());
    }

    /// Lets everybody go on who waits now, and keeps nothing for others.
    pub fn notify_waiters(&self) {
        self.0.serve_all_in(0, self.0.lock(), |by| *by = By::All);
        settle(&mut self.0.lock());
    }

    /// Waits for a notification. It is for whoever is polled first.
    ///
    /// # Cancel safety
    ///
    /// A notification that was for this one is the next one's.
    pub fn notified(&self) -> impl Future<Output = ()> {
        Notified {
            wait: self.0.wait(),
        }
    }

    /// [`notified`](Self::notified) for code that is not async: blocks the thread. Another one serves in the place of a worker.
    ///
    /// # Panics
    ///
    /// As `heist::block_on`, if it has to wait.
    pub fn wait_blocking(&self) {
        blocking::wait(self.notified());
    }
}

impl Signal {
    /// Takes a notification that was kept.
    fn take(&self) -> bool {
        // ORDERING(notify): takes what was done before it.
        self.0
            .compare_exchange(KEPT, NOTHING, Acquire, Relaxed)
            .is_ok()
    }

    /// Under the lock: takes one, or says that somebody waits, for that is what the caller will do.
    fn take_or_announce(&self) -> bool {
        loop {
            if self.take() {
                return true;
            }
            if mutated("line-unannounced") {
                return false;
            }
            // Relaxed: it carries nothing, and whoever sees it takes the lock.
            let announced = self.0.compare_exchange(NOTHING, WAITED, Relaxed, Relaxed);
            if announced.is_ok() || announced == Err(WAITED) {
                return false;
            }
        }
    }
}

impl Default for Notify {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Notify {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waiting = self.0.lock().waiting();
        f.debug_struct("Notify")
            .field("notified", &(self.0.open.0.load(Relaxed) == KEPT))
            .field("waiting", &waiting)
            .finish()
    }
}

pin_project_lite::pin_project! {
    struct Notified<'a> {
        #[pin]
        wait: Wait<'a, Signal>,
    }
}

impl Future for Notified<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let wait = self.project().wait;
        let proceed = ready!(poll_proceed(cx));
        if wait.is_new() && wait.list.open.take() {
            wait.end();
        } else {
            let _ = ready!(wait.poll(cx, |line| {
                if line.open.take_or_announce() {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(By::Nobody)
                }
            }));
        }
        proceed.made_progress();
        Poll::Ready(())
    }
}

//! A meeting of so many tasks.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use heist_core::budget::poll_proceed;

use crate::blocking;
use crate::wait_list::{Ends, Left, Locked, Primitive, Wait, WaitList};

/// Lets tasks wait until so many have come, then lets all of them go on. Then the next meeting begins.
///
/// A task that is cancelled while it waits has not come.
///
/// # Counterpart
///
/// `asyncio.Barrier`. `tokio::sync::Barrier`, which can be neither reset nor aborted.
pub struct Barrier(WaitList<Meeting>);

struct Meeting {
    parties: usize,
}

/// What the lock guards: whether the barrier was aborted, and not reset since.
type IsBroken = bool;

/// The place of one who waits among those who came, once they are all there.
type Place = Result<usize, BrokenBarrier>;

impl Primitive for Meeting {
    type Guarded = IsBroken;
    type Value = Place;
    type Lines = [Ends<Self::Value>; 1];

    fn on_leave(_: &mut Locked<'_, Self>, _: Left<Place>) -> Option<Place> {
        None
    }
}

impl Barrier {
    /// One for so many tasks.
    ///
    /// # Panics
    ///
    /// For none.
    #[track_caller]
    pub fn new(parties: usize) -> Self {
        assert!(parties > 0, "a barrier is for one task at least");
        Self(WaitList::new(Meeting { parties }, false))
    }

    /// Waits until all have come. Each of them gets another number, the one who came first 0, the last one `parties - 1`.
    ///
    /// # Errors
    ///
    /// The barrier was [reset](Self::reset) meanwhile, or is [aborted](Self::abort).
    ///
    /// # Cancel safety
    ///
    /// The caller has not come.
    pub fn wait(&self) -> impl Future<Output = Result<usize, BrokenBarrier>> + Send + '_ {
        Waiting {
            wait: self.0.wait(),
        }
    }

    /// [`wait`](Self::wait) from code that is not async: blocks the thread. Another one serves in the place of a worker.
    ///
    /// # Errors
    ///
    /// As there.
    ///
    /// # Panics
    ///
    /// As `heist::block_on`, if it has to wait.
    pub fn wait_blocking(&self) -> Result<usize, BrokenBarrier> {
        blocking::wait(self.wait())
    }

    /// Sends those away who wait, with an error. Whoever comes from now on meets anew, also after an [`abort`](Self::abort).
    pub fn reset(&self) {
        let mut line = self.0.lock();
        *line.guarded() = false;
        send_away(&mut line);
    }

    /// Sends those away who wait, with an error, and whoever comes from now on.
    pub fn abort(&self) {
        let mut line = self.0.lock();
        *line.guarded() = true;
        send_away(&mut line);
    }

    /// How many have to come.
    pub fn parties(&self) -> usize {
        self.0.open.parties
    }

    /// How many wait.
    #[doc(alias = "n_waiting")]
    pub fn waiting(&self) -> usize {
        self.0.lock().waiting()
    }

    /// Whether it was [aborted](Self::abort), and not [reset](Self::reset) since.
    #[doc(alias = "broken")]
    pub fn is_broken(&self) -> bool {
        *self.0.lock().guarded()
    }
}

fn send_away(line: &mut Locked<'_, Meeting>) {
    while line
        .first(|place| *place = Err(BrokenBarrier(())))
        .is_some()
    {
        line.serve();
    }
}

impl fmt::Debug for Barrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Barrier")
            .field("parties", &self.parties())
            .field("waiting", &self.waiting())
            .field("broken", &self.is_broken())
            .finish()
    }
}

pin_project_lite::pin_project! {
    struct Waiting<'a> {
        #[pin]
        wait: Wait<'a, Meeting>,
    }
}

impl Future for Waiting<'_> {
    type Output = Place;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Place> {
        let wait = self.project().wait;
        let proceed = ready!(poll_proceed(cx));
        let place = ready!(wait.poll(cx, |line| {
            if *line.guarded() {
                return ControlFlow::Break(Err(BrokenBarrier(())));
            }
            let last = line.open.parties - 1;
            if line.waiting() < last {
                return ControlFlow::Continue(Err(BrokenBarrier(())));
            }
            for at in 0..last {
                line.first(|place| *place = Ok(at));
                line.serve();
            }
            ControlFlow::Break(Ok(last))
        }));
        proceed.made_progress();
        match place {
            ControlFlow::Break(place) | ControlFlow::Continue(place) => Poll::Ready(place),
        }
    }
}

/// The barrier was reset while the task waited, or is aborted.
///
/// # Counterpart
///
/// `asyncio.BrokenBarrierError`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[doc(alias = "BrokenBarrierError")]
pub struct BrokenBarrier(());

impl fmt::Display for BrokenBarrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the barrier was reset or aborted; not all will come")
    }
}

impl Error for BrokenBarrier {}

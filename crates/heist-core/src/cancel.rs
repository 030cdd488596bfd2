//! Catching a cancel request: asyncio's `except CancelledError`, as a future.
//!
//! A [`CatchCancel`] that has been polled inside of a task is *active*: it has an entry among the task's catchers, with the one inside
//! whose poll it was last polled as its parent. While a request waits, exactly one catcher is *designated*: from the
//! outermost level down, always the one that was polled last, until one has no active child. It takes the request: at its next poll
//! if it was polled before, else when its body has been polled once and is pending. `cancel` wakes the wakers of all
//! catchers, so that the designated one is polled even inside of a `join!` or a `FuturesUnordered`. One that *masks* those inside of it
//! ends the search: what is being cleaned up is not to be cancelled by a request for the whole.
//!
//! # Invariants
//! * CATCH-1: the flag `catch` of the task word is set while there are entries; both change under the lock of the side node.
//! * CATCH-2: while a request waits, the times of the last polls stand still: a sibling that is polled on the way does not take over.
//! * CATCH-3: an entry that goes while a request waits passes it on: it wakes the next designated one, or the task.

use crate::callback;
use crate::context::FRAME;
use crate::error::{TaskError, drop_quietly};
use crate::sync::{Arc, mutated};
use crate::task::extras::Inner;
use crate::task::state::Action;
use crate::task::{TaskRef, waker};
use pin_project_lite::pin_project;
use std::borrow::Cow;
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

/// The active catchers of a task.
#[derive(Default)]
pub(crate) struct Catchers {
    entries: Vec<Entry>,
    last_id: u64,
    clock: u64,
}

struct Entry {
    id: u64,
    /// 0 for none. One that is gone counts as none.
    parent: u64,
    polled: u64,
    /// It takes requests before those inside of it do.
    masks: bool,
    /// `None` if it is the task's own. Counted: cloning a waker is user code, and this is under a lock.
    waker: Option<Arc<Waker>>,
}

impl Catchers {
    /// The wakers to wake for a request, besides the task itself.
    pub(crate) fn wakers(&self) -> Vec<Arc<Waker>> {
        let wakers = self.entries.iter().filter_map(|entry| entry.waker.clone());
        wakers.collect()
    }

    fn find(&mut self, id: u64) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|entry| entry.id == id)
    }

    fn exists(&self, id: u64) -> bool {
        self.entries.iter().any(|entry| entry.id == id)
    }

    /// Who takes a request.
    fn designated(&self) -> Option<&Entry> {
        let mut level = 0;
        let mut found = None;
        loop {
            let parent = |entry: &&Entry| {
                let parent = if self.exists(entry.parent) {
                    entry.parent
                } else {
                    0
                };
                parent == level
            };
            let Some(last) = self
                .entries
                .iter()
                .filter(parent)
                .max_by_key(|entry| entry.polled)
            else {
                return found;
            };
            level = last.id;
            found = Some(last);
            if last.masks && !mutated("mask-ignored") {
                return found;
            }
        }
    }

    fn enter(&mut self, parent: u64, masks: bool, waker: Option<Arc<Waker>>) -> u64 {
        self.last_id += 1;
        self.clock += 1;
        let entry = Entry {
            id: self.last_id,
            parent,
            polled: self.clock,
            masks,
            waker,
        };
        self.entries.push(entry);
        self.last_id
    }
}

/// Runs `body`; if the task is asked to cancel meanwhile, drops it and says so.
///
/// The innermost active catcher takes a request. The code after it may await and clean up, and then swallow the request (by going
/// on) or pass it on with [`Cancelled::resume`]. An `abort` passes by. Outside of a task it does nothing.
///
/// # Cancel safety
///
/// Dropping it drops the body; a request that it would have taken goes to the next outer catcher.
///
/// # Counterpart
///
/// `try: … except asyncio.CancelledError:`
#[doc(alias = "CancelledError")]
pub fn catch_cancel<F: Future>(body: F) -> CatchCancel<F> {
    CatchCancel {
        body: Some(body),
        masks: false,
        place: None,
    }
}

/// The same, but it takes requests before catchers inside of `body` do.
#[doc(hidden)]
pub fn catch_cancel_first<F: Future>(body: F) -> CatchCancel<F> {
    CatchCancel {
        masks: true,
        ..catch_cancel(body)
    }
}

pin_project! {
    /// The future of [`catch_cancel`].
    #[must_use = "futures do nothing unless awaited"]
    pub struct CatchCancel<F> {
        // Dropped before the place: what the body's drop starts is still inside.
        #[pin]
        body: Option<F>,
        masks: bool,
        place: Option<Place>,
    }
}

/// The entry of a catcher in its task; taken out when this is dropped.
struct Place {
    task: TaskRef,
    id: u64,
}

impl Place {
    fn lock(&self) -> crate::sync::MutexGuard<'_, Inner> {
        self.task.header().extras_or_new().lock()
    }

    /// Makes an entry in `task`. `None` if that is over.
    fn enter(task: TaskRef, masks: bool, waker: &Waker) -> Option<Self> {
        let parent = FRAME.with(|frame| frame.catcher.get());
        let waker = own_waker(&task, waker);
        let mut inner = task.header().extras_or_new().lock();
        if task.header().state.catch() == Action::Refused {
            drop(inner);
            return None;
        }
        let id = inner.catchers.enter(parent, masks, waker);
        drop(inner);
        Some(Self { task, id })
    }

    /// Takes the waiting request, if this is the one to take it.
    fn take(&self) -> bool {
        let inner = self.lock();
        self.task.has_request()
            && inner
                .catchers
                .designated()
                .is_some_and(|entry| entry.id == self.id)
            && self.task.header().state.deliver() == Action::Taken
    }

    /// Notes another poll: where it came from, and whom to wake.
    fn polled(&self, waker: &Waker) {
        let parent = FRAME.with(|frame| frame.catcher.get());
        let new = own_waker(&self.task, waker);
        let mut inner = self.lock();
        let waiting = self.task.has_request();
        let catchers = &mut inner.catchers;
        catchers.clock += 1;
        let clock = catchers.clock;
        let mut old = None;
        if let Some(entry) = catchers.find(self.id) {
            entry.parent = parent;
            old = std::mem::replace(&mut entry.waker, new);
            if !waiting || mutated("catch-clock-runs") {
                entry.polled = clock;
            }
        }
        drop(inner);
        drop_quietly(old);
    }
}

/// A waker to keep, unless it is the task's own, which `cancel` wakes anyway.
fn own_waker(task: &TaskRef, waker: &Waker) -> Option<Arc<Waker>> {
    (!waker::is_of(waker, task.pointer())).then(|| Arc::new(waker.clone()))
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut inner = self.lock();
        let catchers = &mut inner.catchers;
        let at = catchers
            .entries
            .iter()
            .position(|entry| entry.id == self.id);
        let gone = at.map(|at| catchers.entries.swap_remove(at));
        if catchers.entries.is_empty() && !mutated("catch-flag-stays") {
            let _ = self.task.header().state.uncatch();
        }
        let waiting = self.task.has_request();
        let wakers = waiting.then(|| catchers.wakers());
        drop(inner);
        drop_quietly(gone);
        if let Some(wakers) = wakers {
            callback::wake_each(wakers);
            self.task.wake();
        }
    }
}

/// Restores the innermost catcher of this thread's poll.
struct Inside(u64);

impl Inside {
    fn enter(id: u64) -> Self {
        Self(FRAME.with(|frame| frame.catcher.replace(id)))
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        FRAME.with(|frame| frame.catcher.set(self.0));
    }
}

impl<F: Future> Future for CatchCancel<F> {
    type Output = Result<F::Output, Cancelled>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let mut body = this.body.as_mut();
        let Some(polled) = body.as_mut().as_pin_mut() else {
            panic!("a catch_cancel was polled again after it gave its result");
        };
        let current = crate::task::try_current();
        if this.place.as_ref().map(|place| &place.task) != current.as_ref() {
            // It has moved to another task, or out of any.
            *this.place = None;
        }
        if let Some(place) = this.place.as_ref() {
            if place.take() {
                body.set(None);
                return Poll::Ready(Err(Cancelled::from(this.place)));
            }
            place.polled(cx.waker());
        } else if let Some(task) = current {
            *this.place = Place::enter(task, *this.masks, cx.waker());
        }
        let Some(place) = this.place.as_ref() else {
            return polled.poll(cx).map(Ok);
        };
        let inside = Inside::enter(place.id);
        let result = polled.poll(cx);
        drop(inside);
        let resumed = FRAME.with(|frame| {
            let mine = frame.resumed.get() == Some(place.id);
            if mine {
                frame.resumed.set(None);
            }
            mine
        });
        match result {
            Poll::Ready(output) if !resumed => {
                body.set(None);
                *this.place = None;
                Poll::Ready(Ok(output))
            }
            // A request that was passed on to this catcher: nothing that this poll gave counts.
            result if resumed => {
                drop(result);
                body.set(None);
                Poll::Ready(Err(Cancelled::from(this.place)))
            }
            _ if place.take() => {
                body.set(None);
                Poll::Ready(Err(Cancelled::from(this.place)))
            }
            _ => Poll::Pending,
        }
    }
}

impl<F> fmt::Debug for CatchCancel<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CatchCancel")
            .field("active", &self.place.is_some())
            .finish_non_exhaustive()
    }
}

/// A cancel request that a [`catch_cancel`] has taken.
#[doc(alias = "CancelledError")]
pub struct Cancelled {
    task: TaskRef,
    reason: Option<Cow<'static, str>>,
}

impl Cancelled {
    fn from(place: &mut Option<Place>) -> Self {
        let place = place
            .take()
            .expect("only an active catcher takes a request");
        let reason = place.lock().reason.clone();
        Self {
            task: place.task.clone(),
            reason,
        }
    }

    /// What was given to `cancel_with`.
    pub fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    /// Passes the request on: a future that never returns. The next outer catcher takes the request, else the task ends as cancelled at
    /// its next scheduling point, and no later output of the same poll counts.
    ///
    /// # Panics
    ///
    /// When it is polled outside of the task that was cancelled.
    ///
    /// # Cancel safety
    ///
    /// Dropping it before its first poll swallows the request.
    ///
    /// # Counterpart
    ///
    /// A bare `raise` in the `except CancelledError` block.
    #[doc(alias = "raise")]
    pub fn resume<T>(self) -> Resume<T> {
        Resume {
            cancelled: self,
            output: PhantomData,
        }
    }
}

impl fmt::Debug for Cancelled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cancelled")
            .field("task", &self.task)
            .field("reason", &self.reason)
            .finish()
    }
}

impl fmt::Display for Cancelled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        TaskError::cancelled(self.task.id(), self.reason.clone()).fmt(f)
    }
}

impl std::error::Error for Cancelled {}

/// The future of [`Cancelled::resume`]. It never returns.
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct Resume<T> {
    cancelled: Cancelled,
    output: PhantomData<fn() -> T>,
}

impl<T> Future for Resume<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<T> {
        let task = crate::task::try_current();
        assert!(
            task.as_ref() == Some(&self.cancelled.task),
            "resume() belongs into the task that was cancelled; await it there"
        );
        FRAME.with(|frame| frame.resumed.set(Some(frame.catcher.get())));
        Poll::Pending
    }
}

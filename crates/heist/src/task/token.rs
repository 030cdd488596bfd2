//! A request to end, for whoever looks for it.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Arc, Weak};
use std::task::Poll;

use heist_sync::Event;

use crate::shim::Lock;

/// A request to end that code looks for where it wants to, and that can be made for many at once.
///
/// A task's own cancellation ends it at any await; this ends nothing by itself. A clone is the same token. A [child](Self::child) is
/// cancelled with its parent, and not the other way.
///
/// # Examples
///
/// ```
/// use heist::task::CancellationToken;
///
/// heist::run(async {
///     let token = CancellationToken::new();
///     let child = token.child();
///     let task = heist::spawn(async move {
///         child.cancelled().await;
///         "in good order"
///     });
///     token.cancel();
///     assert_eq!(task.await.unwrap(), "in good order");
/// });
/// ```
///
/// # Counterpart
///
/// `tokio_util::sync::CancellationToken`, Go's `context`. asyncio has none.
#[derive(Clone)]
pub struct CancellationToken(Arc<Node>);

struct Node {
    /// Kept, so that a request finds its way down.
    parent: Option<Arc<Node>>,
    cancelled: Event,
    /// `None`: it was cancelled, and they were.
    children: Lock<Option<Vec<Weak<Node>>>>,
}

impl CancellationToken {
    /// One that is not cancelled.
    pub fn new() -> Self {
        Self::below(None)
    }

    fn below(parent: Option<Arc<Node>>) -> Self {
        Self(Arc::new(Node {
            parent,
            cancelled: Event::new(),
            children: Lock::new(Some(Vec::new())),
        }))
    }

    /// One that is cancelled when this one is.
    pub fn child(&self) -> Self {
        let child = Self::below(Some(Arc::clone(&self.0)));
        let mut children = self.0.children.lock();
        if let Some(children) = &mut *children {
            if children.len() == children.capacity() {
                // Before it grows: those who have gone need no place.
                children.retain(|child| child.strong_count() > 0);
                if children.len() * 2 > children.capacity() {
                    children.reserve(children.len());
                }
            }
            children.push(Arc::downgrade(&child.0));
            return child;
        }
        drop(children);
        child.cancel();
        child
    }

    /// Asks all to end who have this token or one that descends from it, now and for good.
    pub fn cancel(&self) {
        let mut tokens = vec![Arc::clone(&self.0)];
        let mut at = 0;
        while let Some(token) = tokens.get(at) {
            let children = token.children.lock().take();
            let children = children.into_iter().flatten();
            tokens.extend(children.filter_map(|child| child.upgrade()));
            at += 1;
        }
        // From below: who sees that a token is cancelled finds those that descend from it cancelled too.
        for token in tokens.into_iter().rev() {
            token.cancelled.set();
        }
    }

    /// Whether it is cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.0.cancelled.is_set()
    }

    /// Waits until it is cancelled.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    pub fn cancelled(&self) -> impl Future<Output = ()> {
        self.0.cancelled.wait()
    }

    /// Waits until it is cancelled, for code that is not async: blocks the thread. Another one serves in the place of a worker.
    ///
    /// # Panics
    ///
    /// As [`block_on`](crate::block_on), if it has to wait.
    pub fn wait_blocking(&self) {
        self.0.cancelled.wait_blocking();
    }

    /// Runs `future` until it is over or the token is cancelled, and drops it then. One that is ready wins.
    ///
    /// # Cancel safety
    ///
    /// As safe as `future`.
    pub async fn run_until_cancelled<F: Future>(&self, future: F) -> Option<F::Output> {
        let (mut future, mut cancelled) = (pin!(future), pin!(self.cancelled()));
        poll_fn(|cx| match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending => cancelled.as_mut().poll(cx).map(|()| None),
        })
        .await
    }

    /// A guard that cancels the token when it is dropped.
    pub fn drop_guard(self) -> DropGuard {
        DropGuard(Some(self))
    }
}

impl Drop for Node {
    /// Lines of descent are long, and the stack is not.
    fn drop(&mut self) {
        let mut parent = self.parent.take();
        while let Some(mut node) = parent.and_then(Arc::into_inner) {
            parent = node.parent.take();
        }
    }
}

impl Default for CancellationToken {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for CancellationToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CancellationToken")
            .field("cancelled", &self.is_cancelled())
            .finish()
    }
}

/// Cancels its token when it is dropped.
#[derive(Debug)]
#[must_use = "the token is cancelled when this is dropped"]
pub struct DropGuard(Option<CancellationToken>);

impl DropGuard {
    /// Gives the token back, and cancels nothing.
    pub fn disarm(mut self) -> CancellationToken {
        self.0.take().unwrap_or_default()
    }
}

impl Drop for DropGuard {
    fn drop(&mut self) {
        if let Some(token) = &self.0 {
            token.cancel();
        }
    }
}

//! What senders feed to receivers who wait for news: what `watch` and `broadcast` are made of.

use std::marker::PhantomData;

use crate::parties::Parties;
use crate::sync::{Acquire, AtomicUsize, Relaxed, Release};
use crate::until::Condition;
use crate::wait_list::{Locked, WaitList};

/// Both ends of a channel, and what its lock guards.
pub(crate) struct Feed<G> {
    pub(crate) line: WaitList<News<G>>,
    pub(crate) senders: Parties,
    pub(crate) receivers: Parties,
}

/// How many values have been sent, and whether there will be no more.
pub(crate) struct News<G>(AtomicUsize, PhantomData<fn() -> G>);

/// No more will be sent.
pub(crate) const ENDED: usize = 1;
/// One value.
pub(crate) const ONE: usize = 2;

impl<G> Condition for News<G> {
    type Guarded = G;
}

impl<G> News<G> {
    pub(crate) fn load(&self) -> usize {
        // ORDERING(news): takes what was done before the value was sent, or the last sender went.
        self.0.load(Acquire)
    }
}

impl<G> Feed<G> {
    /// With one at each end.
    pub(crate) fn new(guarded: G) -> Self {
        Self {
            line: WaitList::new(News(AtomicUsize::new(0), PhantomData), guarded),
            senders: Parties::one(),
            receivers: Parties::one(),
        }
    }

    /// Something was changed under the lock: everybody who waits is told.
    pub(crate) fn tell<'a>(&'a self, line: Locked<'a, News<G>>, what: usize) {
        let news = line.open.0.load(Relaxed).wrapping_add(what);
        // ORDERING(news): gives what was done before to whoever sees it.
        line.open.0.store(news, Release);
        self.line.serve_all(line);
    }

    /// A sender goes.
    pub(crate) fn sender_leaves(&self) {
        if self.senders.leave() {
            self.tell(self.line.lock(), ENDED);
        }
    }
}

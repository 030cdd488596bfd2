//! How many there are at one end of a channel, and waiting until there is nobody.

use std::future::Future;

use crate::sync::{Acquire, AtomicUsize, Relaxed, Release};
use crate::until::Condition;
use crate::wait_list::WaitList;

pub(crate) struct Parties(WaitList<Count>);

struct Count(AtomicUsize);

impl Condition for Count {
    type Guarded = ();
}

impl Parties {
    /// One.
    pub(crate) fn one() -> Self {
        Self(WaitList::new(Count(AtomicUsize::new(1)), ()))
    }

    /// One more.
    pub(crate) fn add(&self) {
        // Relaxed: whoever has one at that end already, or the lock that guards the channel, orders it.
        self.0.open.0.fetch_add(1, Relaxed);
    }

    /// One goes away. Whether it was the last.
    pub(crate) fn leave(&self) -> bool {
        // Under the lock: whoever comes next and waits is not among those who are served.
        let line = self.0.lock();
        // ORDERING(party-gone): gives what this one did to whoever sees that all have gone.
        let last = line.open.0.fetch_sub(1, Release) == 1;
        if last {
            self.0.serve_all(line);
        }
        last
    }

    pub(crate) fn count(&self) -> usize {
        // ORDERING(party-gone): takes what those did who have gone.
        self.0.open.0.load(Acquire)
    }

    /// Ready when there is nobody, or was when the last one went.
    pub(crate) fn none(&self) -> impl Future<Output = ()> {
        // ORDERING(party-gone): as in `count`.
        self.0.until(|count| count.0.load(Acquire) == 0)
    }
}

//! The [`Driver`] of a runtime: its reactor and its timers.
//!
//! A turn that may sleep, in order:
//!
//! 1. SLEEPING is announced; an `unpark` that came before makes it a turn that does not sleep.
//! 2. The time of the next timer is published, so that who arms an earlier one unparks (see `timer`).
//! 3. The poller waits. Both announcements are taken back.
//! 4. The events are dispatched, then what is due in any shard fires. Wakers are woken with no lock held.
//!
//! The clock is read only if there is a timer: once before the wait, once after it.

use crate::reactor::{Deadline, Reactor};
use crate::sync::Arc;
use crate::timer::{NEVER, Timers, nanos_since};
use heist_core::driver::{Driver, Wait};
use heist_core::platform::Platform;
use std::any::Any;
use std::fmt;
use std::io;
use std::time::{Duration, Instant};

/// Reactor and timers of one runtime.
pub struct IoDriver {
    reactor: Arc<Reactor>,
    timers: Timers,
    platform: Arc<dyn Platform>,
    epoch: Instant,
}

impl IoDriver {
    /// A driver for a scheduler with this many worker slots.
    ///
    /// # Errors
    ///
    /// What the operating system says when it cannot make a poller.
    pub fn new(shards: usize, platform: Arc<dyn Platform>) -> io::Result<Arc<Self>> {
        let reactor = Arc::new(Reactor::new()?);
        let unpark = Arc::clone(&reactor);
        let epoch = platform.now();
        let timers = Timers::new(shards, epoch, Box::new(move || unpark.unpark()));
        Ok(Arc::new(Self {
            reactor,
            timers,
            platform,
            epoch,
        }))
    }

    pub(crate) fn reactor(&self) -> &Arc<Reactor> {
        &self.reactor
    }

    pub(crate) fn timers(&self) -> &Timers {
        &self.timers
    }

    /// The time by which timers fire.
    pub(crate) fn now(&self) -> Instant {
        self.platform.now()
    }

    /// An instant as the wheels count it: ns since the driver was made.
    pub(crate) fn nanos(&self, at: Instant) -> u64 {
        nanos_since(self.epoch, at)
    }

    /// Waits for events. Returns the number of wakers woken by them.
    fn wait(&self, wait: Wait) -> usize {
        let limit = match wait {
            Wait::Never => return self.reactor.poll(),
            Wait::Forever => NEVER,
            Wait::Until(at) => self.nanos(at),
        };
        if !self.reactor.begin_sleep() {
            return self.reactor.poll();
        }
        let until = match self.timers.before_sleep(limit) {
            NEVER => None,
            until => Some(Deadline {
                at: until,
                now: self.nanos(self.now()),
            }),
        };
        self.reactor.wait(until, || self.timers.after_sleep())
    }
}

impl Driver for IoDriver {
    fn turn(&self, _shard: usize, wait: Wait) -> usize {
        let woken = self.wait(wait);
        if self.timers.next_deadline() == NEVER {
            return woken;
        }
        woken + self.timers.fire_all(self.nanos(self.now()))
    }

    fn unpark(&self) {
        self.reactor.unpark();
    }

    fn next_deadline(&self) -> Option<Instant> {
        match self.timers.next_deadline() {
            NEVER => None,
            nanos => self.epoch.checked_add(Duration::from_nanos(nanos)),
        }
    }

    fn advance(&self, shard: usize) -> usize {
        if self.timers.next_deadline() == NEVER {
            return 0;
        }
        self.timers.fire(shard, self.nanos(self.now()))
    }

    fn shut_down(&self) {
        self.reactor.shut_down();
        self.timers.shut_down();
        self.reactor.unpark();
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl fmt::Debug for IoDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IoDriver")
            .field("reactor", &self.reactor)
            .field("shards", &self.timers.shards())
            .finish_non_exhaustive()
    }
}

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
use crate::sync::{Arc, AtomicU64, Relaxed};
use crate::timer::{NEVER, Timers, nanos_since};
use crate::virtual_time::VirtualTime;
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
    lead: Lead,
    virtual_time: Option<Arc<VirtualTime>>,
}

impl IoDriver {
    /// A driver for a scheduler with this many worker slots.
    ///
    /// # Errors
    ///
    /// What the operating system says when it cannot make a poller.
    pub fn new(shards: usize, platform: Arc<dyn Platform>) -> io::Result<Arc<Self>> {
        Self::with_time(shards, platform, None)
    }

    /// The same with a clock that jumps to the next timer when nothing else goes on.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn with_virtual_time(shards: usize, platform: Arc<dyn Platform>) -> io::Result<Arc<Self>> {
        let time = VirtualTime::new(platform.now());
        Self::with_time(shards, platform, Some(time))
    }

    fn with_time(
        shards: usize,
        platform: Arc<dyn Platform>,
        virtual_time: Option<Arc<VirtualTime>>,
    ) -> io::Result<Arc<Self>> {
        let reactor = Arc::new(Reactor::new()?);
        let unpark = Arc::clone(&reactor);
        let epoch = virtual_time
            .as_ref()
            .map_or_else(|| platform.now(), |time| time.now());
        let timers = Timers::new(shards, epoch, Box::new(move || unpark.unpark()));
        Ok(Arc::new(Self {
            reactor,
            timers,
            platform,
            epoch,
            lead: Lead(AtomicU64::new(0)),
            virtual_time,
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
        match &self.virtual_time {
            None => self.platform.now(),
            Some(time) => time.now(),
        }
    }

    pub(crate) fn virtual_time(&self) -> Option<&Arc<VirtualTime>> {
        self.virtual_time.as_ref()
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
        match self.timers.before_sleep(limit) {
            NEVER => self.reactor.wait(None, || self.timers.after_sleep()),
            until if self.virtual_time.is_none() => self.wait_until(until),
            // Armed since the plan was looked at.
            until => self.wait_until(until.min(self.nanos(self.now() + MOMENT))),
        }
    }

    /// The same where the time is virtual: if nothing else goes on, the next step instead of a sleep.
    #[cold]
    fn wait_virtually(&self, time: &VirtualTime, wait: Wait) -> usize {
        let in_a_moment = Wait::Until(self.now() + MOMENT);
        let has_plan = wait != Wait::Never && time.has_plan(self.timers.next_deadline());
        match wait {
            Wait::Never => self.wait(wait),
            _ if has_plan => match self.reactor.poll() {
                0 if time.is_quiet() => time.step(self.timers.next_deadline()),
                0 => self.wait(in_a_moment),
                woken => woken,
            },
            Wait::Forever => self.wait(wait),
            // A time of the scheduler's, which goes by the machine's clock.
            Wait::Until(_) => self.wait(in_a_moment),
        }
    }

    fn wait_until(&self, until: u64) -> usize {
        let now = self.nanos(self.now());
        let lead = self.lead.of(until.saturating_sub(now));
        let at = until.saturating_sub(lead);
        let woken = self
            .reactor
            .wait(Some(Deadline { at, now }), || self.timers.after_sleep());
        if woken == 0 && at.saturating_sub(now) >= Lead::FROM {
            self.lead.learn(self.nanos(self.now()).saturating_sub(at));
        }
        woken
    }
}

/// Until somebody who runs while the time is virtual is looked at again.
const MOMENT: Duration = Duration::from_micros(100);

/// How much earlier than asked for the sleeper sets its timer.
///
/// A processor that has been idle for some milliseconds takes 100 µs or more to run again, and that would be the error
/// of each sleep. So a long sleep aims that much too early; should it get there too early, then the rest is a short
/// sleep, of an awake processor, which errs by 20 or 30 µs. The price is that second turn.
#[derive(Debug)]
struct Lead(AtomicU64);

impl Lead {
    /// Sleeps from this length on are long.
    const FROM: u64 = 2_000_000;
    /// Below this there is nothing to win.
    const MIN: u64 = 40_000;
    const MAX: u64 = 150_000;

    /// The lead of a sleep of this length.
    fn of(&self, length: u64) -> u64 {
        // ORDERING(timer-lead): an estimate that orders nothing; the thread in `turn` writes and reads it.
        match self.0.load(Relaxed) {
            lead if lead >= Self::MIN && length >= Self::FROM + Self::MAX => lead,
            _ => 0,
        }
    }

    /// A long sleep ended this much later than its timer was set for; 0 if something else ended it.
    fn learn(&self, late: u64) {
        if late == 0 {
            return;
        }
        // ORDERING(timer-lead): as above.
        let seen = self.0.load(Relaxed);
        let next = if seen == 0 {
            late
        } else {
            seen - seen / 4 + late / 4
        };
        self.0.store(next.min(Self::MAX), Relaxed);
    }
}

impl Driver for IoDriver {
    fn turn(&self, _shard: usize, wait: Wait) -> usize {
        let woken = match &self.virtual_time {
            None => self.wait(wait),
            Some(time) => self.wait_virtually(time, wait),
        };
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

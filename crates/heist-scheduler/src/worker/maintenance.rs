//! What a worker does by the clock: the driver, the coarse time, the phase of the runtime.
//!
//! The clock is read after a number of polls that is chosen so that about [`MAINTENANCE_INTERVAL`] goes by: each
//! maintenance measures the polls since the last, and the number at most doubles from one to the next, so that polls that
//! become slow are noticed. It is due at once when another thread has moved the coarse clock on.

use std::time::{Duration, Instant};

use heist_core::driver::Wait;
use heist_core::error::{ExceptionKind, guarded};
use heist_core::task::TaskRef;

use super::Worker;
use crate::shared::CLOSING;
use crate::sync::LONGEST_INTERVAL;

impl Worker<'_> {
    #[cold]
    pub(super) fn maintain(&mut self) {
        let now = self.shared.platform.now();
        self.adapt(now);
        self.looked = now;
        self.clock = self.shared.set_clock(now);
        self.look_at_phase();
        if self.shared.sleep.is_stalled(self.local.index) {
            // The monitor has given this worker up meanwhile.
            self.shared.sleep.end_stall(self.local.index);
        }
        if now.saturating_duration_since(self.settled) >= SETTLE_INTERVAL {
            self.settled = now;
            self.local.settle();
        }
        if !self.local.is_bare() {
            // Nothing relies on it; it bounds the time for which a wrong guess about wake-ups holds.
            self.shared.notify();
        }
        let turns = self.shared.role.turns();
        if turns != self.turns {
            self.turns = turns;
            self.driven = now;
        } else if now.saturating_duration_since(self.driven) >= DRIVER_INTERVAL {
            self.driven = now;
            self.glance_at_driver();
        }
    }

    /// Chooses how many polls make up the next interval.
    fn adapt(&mut self, now: Instant) {
        let polls = self.interval - self.left.min(self.interval);
        let took = now.saturating_duration_since(self.looked);
        let each = took.as_nanos() as u64 / u64::from(polls.max(1));
        let wanted = MAINTENANCE_INTERVAL.as_nanos() as u64 / each.max(1);
        let most = LONGEST_INTERVAL.min(self.interval.saturating_mul(2));
        self.interval = u32::try_from(wanted).unwrap_or(u32::MAX).clamp(1, most);
        self.left = self.interval;
        self.injector_from = u32::MAX;
        self.slot.own.counters.busy_ns.add(took.as_nanos() as u64);
    }

    /// One turn of the driver that does not wait, unless somebody is inside.
    pub(super) fn glance_at_driver(&mut self) {
        if !self.shared.role.try_acquire(self.local.index) {
            return;
        }
        let before = self.local.queue.len();
        self.turn(Wait::Never);
        self.turns = self.shared.role.turns();
        if self.local.queue.len() > before {
            self.shared.notify();
        }
    }

    /// Makes a turn and gives the role back. What it wakes is in the deque afterwards, and nobody was told.
    pub(super) fn turn(&self, wait: Wait) {
        self.local.gathering.set(true);
        guarded(ExceptionKind::Waker, Some(self.shared), || {
            self.shared.driver.turn(self.local.index, wait)
        });
        self.local.gathering.set(false);
        self.slot.own.counters.driver_turns.add(1);
        self.shared.role.release();
    }

    /// Sees to a phase that the runtime has entered since the last look.
    pub(super) fn look_at_phase(&mut self) {
        let phase = self.shared.phase();
        if phase == self.phase {
            return;
        }
        self.phase = phase;
        // A spawn of this worker that raced with the close was not in the list that shutdown went through.
        self.local.shard.for_each(|task: TaskRef| {
            if phase == CLOSING {
                task.cancel_at_the_end(crate::shutdown::REASON);
            } else {
                task.abort();
            }
        });
    }
}

/// Between two looks at the clock, about.
const MAINTENANCE_INTERVAL: Duration = Duration::from_micros(60);

/// Between two turns of the driver that do not wait, at least.
const DRIVER_INTERVAL: Duration = Duration::from_micros(100);

/// Between two times that the oldest of the stack are moved to the queue, at least.
const SETTLE_INTERVAL: Duration = Duration::from_millis(1);

//! How a worker falls asleep, and what it does first when it wakes up. The protocol is that of `sleep`.

use std::time::Instant;

use heist_core::driver::Wait;
use heist_core::error::drop_quietly;

use super::{Leave, Worker};
use crate::shared::STOPPING;
use crate::sleep::{Bed, Rest};
use crate::sync::mutation;

impl Worker<'_> {
    /// Sleeps once, or finds that it should not. Afterwards `searching` says what this worker is counted as.
    pub(super) fn sleep(&mut self) -> Result<(), Leave> {
        let shared = self.shared;
        self.look_at_phase();
        if self.phase == STOPPING {
            self.end_search();
            self.drop_own();
            return Err(Leave::Stop);
        }
        if !self.slot.own.lifo.is_empty() && !mutation("request-slept-on") {
            // A task that was asked to end just now, of which nobody else was told.
            return Ok(());
        }
        shared.check_empty();
        let index = self.local.index;
        let bed = if shared.role.try_acquire(index) {
            Bed::Driver
        } else {
            Bed::Parker
        };
        let rest = shared.sleep.fall_asleep(index, bed, self.searching);
        self.searching = false;
        let retires = matches!(rest, Rest::Retire(_));
        if retires {
            self.leave_bed(bed);
        }
        let (Rest::Retire(wake) | Rest::Asleep(wake)) = rest;
        shared.wake(wake);
        if retires {
            // Somebody may have relied on this worker's search.
            if shared.has_work() {
                shared.notify();
            }
            // That may have called the exception handler, which may have spawned: nobody looks into the slot from now on.
            while !self.slot.own.lifo.is_empty() {
                self.local.hand_over(&shared.injector);
                shared.notify();
            }
            return Err(Leave::Retire);
        }
        if shared.has_work() || shared.phase() != self.phase {
            self.leave_bed(bed);
            shared.sleep.leave_searching(index);
            self.searching = true;
            shared.call_monitor();
            return Ok(());
        }
        self.lie(bed);
        Ok(())
    }

    fn leave_bed(&self, bed: Bed) {
        if bed == Bed::Driver {
            self.shared.role.release();
        }
    }

    fn lie(&mut self, bed: Bed) {
        let shared = self.shared;
        let now = shared.platform.now();
        self.slot.own.counters.parks.add(1);
        self.slot.own.counters.busy_ns.add(since(self.looked, now));
        match bed {
            Bed::Driver => self.turn(Wait::Forever),
            Bed::Parker => self.parker.park(None),
        }
        let now = shared.platform.now();
        self.looked = now;
        self.driven = now;
        self.turns = shared.role.turns();
        self.clock = shared.set_clock(now);
        self.interval = INTERVAL_AFTER_SLEEP;
        self.left = INTERVAL_AFTER_SLEEP;
        self.injector_from = u32::MAX;
        let by_itself = shared.sleep.leave(self.local.index);
        self.searching = !by_itself;
        shared.call_monitor();
        if bed == Bed::Driver && self.local.queue.len() > 1 {
            shared.notify();
        }
    }

    /// Ends what this worker has left, without polling it. Dropping may wake more.
    fn drop_own(&self) {
        while let Some(runnable) = self
            .slot
            .own
            .lifo
            .take()
            .or_else(|| self.local.stack.pop().or_else(|| self.local.queue.pop()))
        {
            drop_quietly(runnable);
        }
    }
}

fn since(before: Instant, now: Instant) -> u64 {
    now.saturating_duration_since(before).as_nanos() as u64
}

/// Polls until the first look at the clock after a sleep.
const INTERVAL_AFTER_SLEEP: u32 = 8;

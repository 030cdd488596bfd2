//! Taking tasks from other workers.
//!
//! A search goes over all slots at most [`SEARCH_PASSES`] times, from a random one on. A victim whose owner says that
//! it has nothing costs one load; the others lose half of their stack, the older half, or else of their queue, at most
//! [`LARGEST_BATCH`].
//!
//! A LIFO slot is robbed in the last pass only, and only if its owner has been in the same poll since the first one:
//! else the owner is about to take the task itself, with warm caches. A search that finds neither a victim worth a
//! second visit nor a LIFO slot that may be stuck ends after its first pass.

use heist_core::task::Runnable;

use crate::queue::{LARGEST_BATCH, Slot};
use crate::sync::{self, Injector, Relaxed, SEARCH_PASSES, Steal};
use crate::worker::Worker;

/// What one pass found out.
enum Pass {
    Found(Runnable),
    /// Another one may find something.
    Again,
    Nothing,
}

impl Worker<'_> {
    /// Looks for work elsewhere. May leave this worker counted as searching, found or not.
    pub(crate) fn search(&mut self) -> Option<Runnable> {
        let shared = self.shared;
        let workers = shared.config.worker_threads;
        if let Some(runnable) = self.local.take_injected(&shared.injector, workers) {
            return Some(runnable);
        }
        if shared.used_slots().len() < 2 {
            return None;
        }
        if !self.searching {
            self.searching = shared.sleep.try_search();
            if !self.searching {
                return None;
            }
        }
        for pass in 1..=SEARCH_PASSES {
            match self.pass(pass == 1, pass == SEARCH_PASSES) {
                Pass::Found(runnable) => return Some(runnable),
                Pass::Nothing => break,
                Pass::Again => sync::spin(SPINS_PER_PASS << pass),
            }
        }
        self.local.take_injected(&shared.injector, workers)
    }

    fn pass(&mut self, first: bool, last: bool) -> Pass {
        let slots = self.shared.used_slots();
        let count = slots.len();
        if first {
            self.seen.clear();
            self.seen
                .extend(slots.iter().map(|slot| slot.own.poll_seq.load(Relaxed)));
        }
        let start = self.rng.below(count);
        let mut again = false;
        for index in (start..count).chain(0..start) {
            if index == self.local.index {
                continue;
            }
            let victim = &slots[index];
            if victim.own.stealable.load(Relaxed) {
                match self.steal_batch(victim) {
                    Steal::Success(runnable) => return Pass::Found(runnable),
                    Steal::Retry => again = true,
                    Steal::Empty => {}
                }
            }
            if victim.own.lifo.is_empty() {
                continue;
            }
            let stuck = self.seen.get(index) == Some(&victim.own.poll_seq.load(Relaxed));
            again |= stuck;
            if last && stuck {
                if let Some(runnable) = victim.own.lifo.take() {
                    self.count(1);
                    return Pass::Found(runnable);
                }
            }
        }
        if again { Pass::Again } else { Pass::Nothing }
    }

    fn steal_batch(&self, victim: &Slot) -> Steal<Runnable> {
        let local = self.local;
        let mut stolen = victim
            .stack
            .steal_batch_with_limit_and_pop(&local.stack, LARGEST_BATCH);
        if matches!(stolen, Steal::Empty) {
            stolen = victim
                .queue
                .steal_batch_with_limit_and_pop(&local.queue, LARGEST_BATCH);
        }
        if matches!(stolen, Steal::Success(_)) {
            let more = local.stack.len() + local.queue.len();
            self.count(more as u64 + 1);
            if more > 0 {
                local.raise();
            }
        }
        stolen
    }

    fn count(&self, stolen: u64) {
        self.slot.own.counters.steals.add(1);
        self.slot.own.counters.stolen.add(stolen);
    }
}

/// One task out of the injector.
pub(crate) fn take_one(injector: &Injector<Runnable>) -> Option<Runnable> {
    loop {
        match injector.steal() {
            Steal::Success(runnable) => return Some(runnable),
            Steal::Empty => return None,
            Steal::Retry => {}
        }
    }
}

/// One task out of somebody's queues, by a thread that has none of its own.
pub(crate) fn rob(victim: &Slot) -> Option<Runnable> {
    for queue in [&victim.stack, &victim.queue] {
        loop {
            match queue.steal() {
                Steal::Success(runnable) => return Some(runnable),
                Steal::Empty => break,
                Steal::Retry => {}
            }
        }
    }
    victim.own.lifo.take()
}

/// Pauses between the first two passes; doubles with each one, about a microsecond in all.
const SPINS_PER_PASS: u32 = 4;

//! The threads of workers: serve on a slot, wait for another one as a spare, end.

use std::io;
use std::time::Duration;

use heist_core::error::drop_quietly;
use heist_core::platform::Parker;
use heist_core::schedule::worker_frame;
use heist_core::task::Runnable;

use super::{Leave, Worker};
use crate::activity::Occupant;
use crate::queue::Local;
use crate::shared::{STOPPING, Shared};
use crate::sleep::Waiting;
use crate::sync::{Arc, Relaxed};

/// Starts a worker thread on a free slot.
pub(crate) fn start(shared: &Arc<Shared>, slot: usize) -> io::Result<()> {
    let number = shared.workers_started.fetch_add(1, Relaxed);
    let name = format!("{}-{number}", shared.config.thread_name);
    let body = {
        let shared = Arc::clone(shared);
        move || serve(&shared, slot)
    };
    shared.threads.start(&shared.config, name, body)
}

/// What a worker thread does: serve on a slot, wait for another one as a spare, and so on.
fn serve(shared: &Arc<Shared>, first: usize) {
    let parker = shared.platform.parker();
    // Whoever gives a slot to a thread that waits for one counts it as searching.
    let mut called = false;
    let mut next = Some(first);
    while let Some(slot) = next {
        next = match serve_on(shared, slot, &parker, called) {
            Leave::Stop => None,
            Leave::Retire => spare(shared, slot, &parker),
        };
        called = true;
    }
    finish(shared);
}

fn serve_on(shared: &Arc<Shared>, index: usize, parker: &Arc<dyn Parker>, called: bool) -> Leave {
    let slot = &shared.slots[index];
    let Some(seat) = slot.take_seat() else {
        // Shutdown takes the seats of free slots away.
        return Leave::Stop;
    };
    shared.slots_used.fetch_max(index + 1, Relaxed);
    shared.sleep.move_in(index, Arc::clone(parker));
    slot.occupy(Occupant::this_thread());
    shared.call_monitor();
    let local = Local::new(index, Arc::clone(slot), seat);
    let leave = worker_frame(shared, &local, index, || {
        Worker::new(shared, &local, &**parker, called).work()
    });
    let seat = local.into_seat();
    slot.give_seat((leave == Leave::Retire).then_some(seat));
    leave
}

/// Waits for a slot, for a bounded time.
fn spare(shared: &Shared, old: usize, parker: &Arc<dyn Parker>) -> Option<usize> {
    let waiting: Arc<Waiting> = shared.sleep.retire(old, Arc::clone(parker));
    let deadline = shared.platform.now() + SPARE_KEEP_ALIVE;
    loop {
        let give_up = shared.phase() == STOPPING || shared.platform.now() >= deadline;
        if let Some(slot) = shared.sleep.assigned(&waiting, give_up) {
            return Some(slot);
        }
        if give_up {
            return None;
        }
        parker.park(Some(deadline));
    }
}

/// The thread ends. The last one leaves nothing in the queues.
fn finish(shared: &Shared) {
    if shared.phase() == STOPPING {
        shared.drop_queued();
        // This thread may have put its seat back after shutdown took the seats away.
        shared.take_seats();
        shared.registry.release();
        // The hook is the user's, and may take its time.
        shared.tell_ended_stalls();
    }
}

impl Shared {
    /// Ends what is in the queues, without polling it.
    pub(crate) fn drop_queued(&self) {
        while let Some(runnable) = self.take_any() {
            drop_quietly(runnable);
        }
        self.threads.gate.signal();
    }

    fn take_any(&self) -> Option<Runnable> {
        crate::steal::take_one(&self.injector).or_else(|| {
            self.used_slots()
                .iter()
                .find_map(|slot| crate::steal::rob(slot))
        })
    }
}

/// How long a spare thread waits for a slot. Long enough that one that is needed now and then stays the same: to each new one
/// the allocator may give an arena of its own.
const SPARE_KEEP_ALIVE: Duration = Duration::from_secs(300);

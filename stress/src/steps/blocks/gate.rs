//! Where threads wait, but not for ever.

use std::sync::{Arc, Condvar, Mutex, PoisonError};

use crate::counts::Counted;
use crate::oracle::{World, lock, patience};

/// Opens when all have arrived who shall.
pub(super) struct Gate {
    missing: Mutex<usize>,
    opened: Condvar,
}

/// The arrival of one of them: when this is dropped, whatever became of the task that has it.
pub(super) struct Arrival(Arc<Gate>);

impl Gate {
    pub(super) fn new(missing: usize) -> Arc<Self> {
        Arc::new(Self {
            missing: Mutex::new(missing),
            opened: Condvar::new(),
        })
    }

    pub(super) fn arrival(self: &Arc<Self>) -> Arrival {
        Arrival(Arc::clone(self))
    }

    /// Blocks step `number` until it is open.
    pub(super) fn wait(&self, world: &World, number: u32) {
        world.count(Counted::Wait);
        let waited = self
            .opened
            .wait_timeout_while(lock(&self.missing), patience(), |missing| *missing > 0);
        let (missing, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if *missing > 0 {
            let missing = *missing;
            world.fail(&format!("step {number} waits in vain for {missing} others"));
        }
    }
}

impl Arrival {
    pub(super) fn arrive(self) -> Arc<Gate> {
        Arc::clone(&self.0)
    }
}

impl Drop for Arrival {
    fn drop(&mut self) {
        *lock(&self.0.missing) -= 1;
        self.0.opened.notify_all();
    }
}

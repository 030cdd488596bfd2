//! Whether nothing goes on in a runtime: all that is left waits for time, for the outside, or for each other.
//!
//! Asked by the thread that is in the driver, which lies there asleep. What other threads do meanwhile, that are no workers, is not
//! seen unless they leave work behind.

use heist_core::task::{TaskId, TaskRef};

use crate::blocking::Pool;
use crate::local::LocalHandle;
use crate::scheduler::Scheduler;
use crate::shared::Shared;
use crate::sync::Arc;

/// Says whether nothing goes on but these.
type Probe = Box<dyn Fn(&[TaskId]) -> bool + Send + Sync>;

impl Scheduler {
    /// A function that says whether nothing goes on but these tasks, which wait inside of a poll. It does not keep the scheduler.
    #[must_use]
    pub fn quiet_probe(&self) -> Probe {
        let shared = Arc::downgrade(&self.shared);
        Box::new(move |but| {
            shared
                .upgrade()
                .is_some_and(|shared| is_quiet(&shared, but))
        })
    }
}

/// The answer is that of one moment: a worker that was awake in between would have fallen asleep once more.
fn is_quiet(shared: &Shared, but: &[TaskId]) -> bool {
    let before = shared.sleep.all_asleep();
    before.is_some()
        && nothing_stirs(&shared.registry.tasks(), &shared.pool, but)
        && !shared.has_work()
        && shared.sleep.all_asleep() == before
}

impl LocalHandle {
    /// As [`Scheduler::quiet_probe`].
    #[must_use]
    pub fn quiet_probe(&self) -> Probe {
        let shared = Arc::downgrade(&self.shared);
        Box::new(move |but| {
            let shared = shared.upgrade();
            shared.is_some_and(|shared| {
                nothing_stirs(&shared.registry.tasks(), &shared.pool, but)
                    && shared.inbox.is_empty()
            })
        })
    }
}

fn nothing_stirs(tasks: &[TaskRef], pool: &Pool, but: &[TaskId]) -> bool {
    let stirs = |task: &TaskRef| task.is_stirring() && !but.contains(&task.id());
    // The pool last: what a job wakes at its end is queued before the job is gone from there.
    let still = !tasks.iter().any(stirs) && pool.is_idle(but);
    still && !tasks.iter().any(stirs)
}

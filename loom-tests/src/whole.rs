//! A scheduler with its threads, as small as it can be.

use heist_core::driver::{Driver, Wait};
use heist_scheduler::{Config, LocalScheduler, Scheduler, SystemPlatform};
use std::any::Any;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Nothing but a token: a turn waits for it. One thread at a time does, and its first wait may end by itself.
///
/// Not a mutex and a condvar: where two threads notify while the one who waits takes the mutex again, loom lets two of them have it.
#[derive(Debug)]
struct ModelDriver(loom::sync::Notify);

impl ModelDriver {
    fn make() -> Arc<dyn Driver> {
        Arc::new(Self(loom::sync::Notify::new()))
    }
}

impl Driver for ModelDriver {
    fn turn(&self, _: usize, wait: Wait) -> usize {
        // The token of a turn that does not wait stays for the next one, which then returns early. That does no harm.
        if wait != Wait::Never {
            self.0.wait();
        }
        0
    }

    fn unpark(&self) {
        self.0.notify();
    }

    fn next_deadline(&self) -> Option<Instant> {
        None
    }

    fn advance(&self, _: usize) -> usize {
        0
    }

    fn shut_down(&self) {}

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// A scheduler with so many workers, and a place for one spare.
pub fn start(workers: usize) -> Scheduler {
    let mut config = Config::default();
    config.worker_threads = workers;
    config.max_spare_workers = 1;
    Scheduler::start(
        config,
        |_| Ok(ModelDriver::make()),
        Arc::new(SystemPlatform::new()),
    )
    .expect("a model has threads")
}

/// Ends a scheduler that nothing keeps.
pub fn end(scheduler: &Scheduler) {
    assert!(scheduler.shutdown(GRACE).is_clean());
}

/// A scheduler for this thread.
pub fn start_local() -> LocalScheduler {
    LocalScheduler::new(
        Config::default(),
        |_| Ok(ModelDriver::make()),
        Arc::new(SystemPlatform::new()),
    )
    .expect("nothing is started")
}

/// Time stands still in a model: this never passes.
pub const GRACE: Duration = Duration::from_secs(1);

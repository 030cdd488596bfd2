//! A scheduler with its threads, as small as it can be.

use heist_core::driver::{Driver, Wait};
use heist_scheduler::{Config, LocalScheduler, Scheduler, SystemPlatform};
use std::any::Any;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Nothing but a token: a turn waits for it. One thread at a time does.
#[derive(Debug)]
enum ModelDriver {
    /// For one thread that waits, and one that notifies.
    Condvar(loom::sync::Mutex<bool>, loom::sync::Condvar),
    /// Where several notify: while the one who waits takes a mutex again, loom lets two of them have it.
    Notify(loom::sync::Notify),
}

impl Driver for ModelDriver {
    fn turn(&self, _: usize, wait: Wait) -> usize {
        match self {
            Self::Condvar(token, changed) => {
                let mut token = token.lock().unwrap();
                while !*token && wait != Wait::Never {
                    token = changed.wait(token).unwrap();
                }
                *token = false;
            }
            // The token of a turn that does not wait stays for the next one, which then returns early. That does no harm.
            Self::Notify(token) => {
                if wait != Wait::Never {
                    token.wait();
                }
            }
        }
        0
    }

    fn unpark(&self) {
        match self {
            Self::Condvar(token, changed) => {
                *token.lock().unwrap() = true;
                changed.notify_one();
            }
            Self::Notify(token) => token.notify(),
        }
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
        |_| Ok(Arc::new(ModelDriver::Notify(loom::sync::Notify::new()))),
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
        |_| {
            Ok(Arc::new(ModelDriver::Condvar(
                loom::sync::Mutex::new(false),
                loom::sync::Condvar::new(),
            )))
        },
        Arc::new(SystemPlatform::new()),
    )
    .expect("nothing is started")
}

/// Time stands still in a model: this never passes.
pub const GRACE: Duration = Duration::from_secs(1);

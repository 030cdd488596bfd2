//! The sleep protocol of the scheduler, and a whole scheduler. The claims are those of `sleep/README.md`.

#![cfg(loom)]

use heist_core::driver::{Driver, Wait};
use heist_core::task::Meta;
use heist_loom_tests::explore;
use heist_scheduler::{Config, Scheduler, SystemPlatform, models};
use std::any::Any;
use std::sync::Arc;
use std::time::{Duration, Instant};

#[test]
fn push_against_falling_asleep() {
    explore(
        "push_against_falling_asleep",
        models::push_against_falling_asleep,
    );
}

#[test]
fn two_pushes_against_two_falling_asleep() {
    explore(
        "two_pushes_against_two_falling_asleep",
        models::two_pushes_against_two_falling_asleep,
    );
}

#[test]
fn push_against_last_searcher() {
    explore(
        "push_against_last_searcher",
        models::push_against_last_searcher,
    );
}

#[test]
fn taken_against_leaving() {
    explore("taken_against_leaving", models::taken_against_leaving);
}

#[test]
fn leaving_the_driver_against_retiring_watcher() {
    explore(
        "leaving_the_driver_against_retiring_watcher",
        models::leaving_the_driver_against_retiring_watcher,
    );
}

#[derive(Debug)]
struct ModelDriver {
    token: loom::sync::Mutex<bool>,
    changed: loom::sync::Condvar,
}

impl Driver for ModelDriver {
    fn turn(&self, _: usize, wait: Wait) -> usize {
        let mut token = self.token.lock().unwrap();
        while !*token && wait != Wait::Never {
            token = self.changed.wait(token).unwrap();
        }
        *token = false;
        0
    }

    fn unpark(&self) {
        *self.token.lock().unwrap() = true;
        self.changed.notify_one();
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

fn start(workers: usize) -> Scheduler {
    let mut config = Config::default();
    config.worker_threads = workers;
    config.max_spare_workers = 1;
    let driver = ModelDriver {
        token: loom::sync::Mutex::new(false),
        changed: loom::sync::Condvar::new(),
    };
    Scheduler::start(
        config,
        |_| Ok(Arc::new(driver)),
        Arc::new(SystemPlatform::new()),
    )
    .unwrap()
}

#[test]
fn a_task_is_run_and_the_runtime_ends() {
    explore("a_task_is_run_and_the_runtime_ends", || {
        let scheduler = start(1);
        let task = scheduler.spawn(async { 7 }, Meta::caller());
        assert_eq!(
            scheduler.block_on(task, Meta::caller()).unwrap().unwrap(),
            7
        );
        assert!(scheduler.shutdown(Duration::from_secs(1)).is_clean());
    });
}

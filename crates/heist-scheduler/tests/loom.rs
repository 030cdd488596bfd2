//! The sleep protocol, and a whole scheduler, under loom.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p heist-scheduler --release --test loom`, with `HEIST_MUTATION=name` for a planted
//! defect, which the model beside it in [`MUST_FAIL`] has to find.

#![cfg(loom)]
#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a test fails by panicking"
)]

use std::any::Any;
use std::sync::Arc;
use std::time::{Duration, Instant};

use heist_core::driver::{Driver, Wait};
use heist_core::task::Meta;
use heist_scheduler::{Config, Scheduler, SystemPlatform, models};

fn explore(name: &str, preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    if let Ok(mutation) = std::env::var("HEIST_MUTATION") {
        heist_core::sync::set_mutation(&mutation);
        heist_scheduler::set_mutation(&mutation);
    }
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(builder.preemption_bound.unwrap_or(preemptions));
    let executions = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = Arc::clone(&executions);
    let begun = Instant::now();
    builder.check(move || {
        count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        model();
    });
    println!("{name}: {executions:?} executions, {:?}", begun.elapsed());
}

#[test]
fn push_against_falling_asleep() {
    explore(
        "push_against_falling_asleep",
        3,
        models::push_against_falling_asleep,
    );
}

#[test]
fn two_pushes_against_two_falling_asleep() {
    explore(
        "two_pushes_against_two_falling_asleep",
        2,
        models::two_pushes_against_two_falling_asleep,
    );
}

#[test]
fn push_against_last_searcher() {
    explore(
        "push_against_last_searcher",
        2,
        models::push_against_last_searcher,
    );
}

#[test]
fn taken_against_leaving() {
    explore("taken_against_leaving", 3, models::taken_against_leaving);
}

#[test]
fn leaving_the_driver_against_retiring_watcher() {
    explore(
        "leaving_the_driver_against_retiring_watcher",
        3,
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
    explore("a_task_is_run_and_the_runtime_ends", 1, || {
        let scheduler = start(1);
        let task = scheduler.spawn(async { 7 }, Meta::caller());
        assert_eq!(
            scheduler.block_on(task, Meta::caller()).unwrap().unwrap(),
            7
        );
        assert!(scheduler.shutdown(Duration::from_secs(1)).is_clean());
    });
}

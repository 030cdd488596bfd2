//! A model of the pool, for the loom tests.

#![expect(clippy::missing_panics_doc, reason = "a model fails by a panic")]

use std::time::Duration;

use heist_core::task::{self, Meta, Task};

use crate::block_on::block_on;
use crate::config::Config;
use crate::models::{shared, shared_with};
use crate::shared::Shared;
use crate::shutdown::shutdown;
use crate::sync::{Arc, expire, thread};

/// A thread of the pool has waited for too long while a job is submitted.
pub fn submit_against_timing_out() {
    let shared = shared(1);
    let first = submit(&shared);
    {
        let _state = shared.pool.state.lock();
        expire(&shared.pool.work);
    }
    let second = submit(&shared);
    for task in [first, second] {
        let ended = block_on(&shared, task, Meta::caller());
        assert!(ended.is_ok_and(|result| result.is_ok()));
    }
    drop(shutdown(&shared, Duration::from_secs(1)));
}

/// The only thread that there may be has waited for too long while two others submit a job each.
pub fn two_submit_against_timing_out() {
    let shared = shared_with(Config {
        worker_threads: 1,
        max_blocking_threads: 1,
        ..Config::default()
    });
    let first = submit(&shared);
    {
        let _state = shared.pool.state.lock();
        expire(&shared.pool.work);
    }
    let other = thread::spawn({
        let shared = Arc::clone(&shared);
        move || submit(&shared)
    });
    let second = submit(&shared);
    let third = other.join().expect("no panic");
    for task in [first, second, third] {
        let ended = block_on(&shared, task, Meta::caller());
        assert!(ended.is_ok_and(|result| result.is_ok()));
    }
    drop(shutdown(&shared, Duration::from_secs(1)));
}

fn submit(shared: &Arc<Shared>) -> Task<()> {
    task::spawn_blocking(
        shared,
        || (),
        Meta::caller(),
        |job| {
            shared.pool.submit(shared, job);
        },
    )
}

//! The pool on real threads, which have little patience.

// A condition variable of `parking_lot` on which several threads wait takes addresses for pointers.
#![cfg(not(miri))]

use std::sync::atomic::AtomicU8;
use std::thread;
use std::time::Instant;

use super::*;
use crate::models::{end, shared_with};
use crate::rng::Rng;

const SUBMITTERS: usize = 3;

/// Jobs of each submitter.
const JOBS: usize = 20_000;

/// Somebody who pauses for as long as that is as likely as not to find that the thread has ended.
const PATIENCE: Duration = Duration::from_micros(50);

/// All of it takes seconds.
const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn each_job_runs_once_while_threads_time_out() {
    let shared = shared_with(Config {
        worker_threads: 1,
        blocking_keep_alive: PATIENCE,
        ..Config::default()
    });
    let runs: Arc<[AtomicU8]> = (0..SUBMITTERS * JOBS).map(|_| AtomicU8::new(0)).collect();
    let submitters: Vec<_> = (0..SUBMITTERS)
        .map(|submitter| {
            let (shared, runs) = (Arc::clone(&shared), Arc::clone(&runs));
            thread::spawn(move || {
                let mut rng = Rng::new(submitter as u64);
                for job in submitter * JOBS..(submitter + 1) * JOBS {
                    let counted = Arc::clone(&runs);
                    let count = move || counted[job].fetch_add(1, Relaxed);
                    spawn(&shared, count, Meta::caller()).detach();
                    // Now and then the next job comes while this one waits.
                    if rng.below(4) > 0 {
                        wait_until(|| runs[job].load(Relaxed) > 0);
                    }
                    let pause = 2 * rng.below(PATIENCE.subsec_micros() as usize + 1);
                    thread::sleep(Duration::from_micros(pause as u64));
                }
            })
        })
        .collect();
    for submitter in submitters {
        submitter.join().unwrap();
    }
    wait_until(|| runs.iter().all(|runs| runs.load(Relaxed) > 0));
    let started = shared.pool.state.lock().started;
    assert!(started > 100, "only {started} threads came");
    end(&shared);
    assert!(runs.iter().all(|runs| runs.load(Relaxed) == 1));
}

fn wait_until(mut reached: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !reached() {
        assert!(begun.elapsed() < LIMIT, "a job hangs");
        thread::yield_now();
    }
}

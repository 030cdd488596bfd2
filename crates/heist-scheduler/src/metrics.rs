//! Counters of the workers, and their snapshot.
//!
//! Each counter has one writer, the thread on its slot, which adds with a plain load and store: no read-modify-write.
//! Readers see each of them some moments late, and no two of them at the same instant.

use std::time::Duration;

use crate::monitor::Stall;

use crate::sync::{AtomicU64, Relaxed};

/// What a worker counts about itself, on its own cache line. Polls are in `Own::poll_seq`.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) lifo_polls: Counter,
    pub(crate) steals: Counter,
    pub(crate) stolen: Counter,
    pub(crate) parks: Counter,
    pub(crate) driver_turns: Counter,
    pub(crate) busy_ns: Counter,
}

/// A count with a single writer.
#[derive(Debug)]
pub(crate) struct Counter(AtomicU64);

impl Default for Counter {
    fn default() -> Self {
        Self(AtomicU64::new(0))
    }
}

impl Counter {
    /// By the one writer.
    #[inline(always)]
    pub(crate) fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// By the one writer.
    pub(crate) fn set(&self, n: u64) {
        self.0.store(n, Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// What a runtime has done and what it is doing, at about one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
#[doc(alias = "RuntimeMetrics")]
pub struct Metrics {
    /// One per worker slot that ever had a thread.
    pub workers: Vec<WorkerMetrics>,
    /// Tasks that wait in the queue from other threads.
    pub injector_depth: usize,
    /// Tasks that are not over.
    pub live_tasks: usize,
    /// Workers that sleep, or are owed in the place of blocked ones.
    pub sleeping_workers: usize,
    /// Workers that look for work.
    pub searching_workers: usize,
    /// Threads for blocking closures.
    pub blocking_threads: usize,
    /// Of these, the ones that have nothing to do.
    pub idle_blocking_threads: usize,
    /// Blocking closures that wait for a thread.
    pub queued_blocking: usize,
    /// Polls that took longer than the threshold for a blocked worker, those that have ended included.
    pub stalls: u64,
    /// Those that have not ended.
    pub stalled: Vec<Stall>,
}

impl Metrics {
    /// Polls of all workers together.
    #[must_use]
    pub fn polls(&self) -> u64 {
        self.workers.iter().map(|worker| worker.polls).sum()
    }

    /// Successful steals of all workers together.
    #[must_use]
    pub fn steals(&self) -> u64 {
        self.workers.iter().map(|worker| worker.steals).sum()
    }
}

/// What one worker slot has done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
#[doc(alias = "RuntimeMetrics")]
pub struct WorkerMetrics {
    /// Polls of tasks that have ended.
    pub polls: u64,
    /// Of these, the ones that came from the LIFO slot.
    pub lifo_polls: u64,
    /// How often it took tasks from another worker.
    pub steals: u64,
    /// How many tasks that were.
    pub stolen_tasks: u64,
    /// How often it went to sleep.
    pub parks: u64,
    /// How often it turned the driver, waiting or not.
    pub driver_turns: u64,
    /// Time outside of sleep, up to the last sleep or look at the clock.
    pub busy: Duration,
    /// Tasks in its deque.
    pub queued: usize,
    /// Whether there is a task in its LIFO slot.
    pub lifo: bool,
    /// Whether it is inside of a poll.
    pub polling: bool,
}

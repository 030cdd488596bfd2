//! What the loom models have in common: bounds, a scheduler that is as small as can be, and a task to look at.
//!
//! `cargo xtask loom` runs every model of `tests/` against the code that ships, and every mutation of its table against the
//! model that must catch it. Without `--cfg loom` this package is empty.

#![cfg(loom)]

mod scheduler;
mod task;

pub use scheduler::{Local, Runtime, Scheduler};
pub use task::{Body, Counting, Counts, Opener, Output, World};

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Each planted defect, with the model that must fail because of it.
pub const MUTATIONS: &[(&str, &str)] = &[
    ("racing_pairs_of_an_idle_task", "task-word-relaxed"),
    (
        "a_callback_added_late_races_with_the_drain",
        "callback-drained-unlocked",
    ),
    (
        "an_inspector_races_with_the_end_of_a_task",
        "registry-ignore-lock",
    ),
    ("among_siblings_one_takes", "catch-clock-runs"),
    (
        "an_event_races_with_the_clear_and_the_waiter",
        "clear-any-tick",
    ),
    (
        "an_event_races_with_the_clear_and_the_waiter",
        "readiness-no-recheck",
    ),
    ("an_earlier_timer_wakes_the_sleeper", "timer-no-fence"),
    ("push_against_falling_asleep", "notify-fence"),
    ("push_against_falling_asleep", "sleep-fence"),
    ("push_against_last_searcher", "last-searcher-fence"),
    ("leaving_the_driver_against_retiring_watcher", "watch-alone"),
];

/// Explores `model`, and prints how much that was.
///
/// `LOOM_MAX_PREEMPTIONS` bounds the pre-emptions (default 2), `HEIST_MUTATION` plants a defect.
///
/// # Panics
///
/// If an interleaving fails.
pub fn explore(name: &str, model: impl Fn() + Send + Sync + 'static) {
    if let Ok(mutation) = std::env::var("HEIST_MUTATION") {
        heist_core::sync::set_mutation(&mutation);
        heist_scheduler::sync::set_mutation(&mutation);
        heist_io::sync::set_mutation(&mutation);
    }
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(builder.preemption_bound.unwrap_or(2));
    let iterations = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&iterations);
    builder.check(move || {
        count.fetch_add(1, Ordering::Relaxed);
        model();
    });
    report(name, iterations.load(Ordering::Relaxed));
}

#[expect(clippy::print_stdout, reason = "the runner reads it")]
fn report(name: &str, iterations: usize) {
    println!("model {name} iterations {iterations}");
}

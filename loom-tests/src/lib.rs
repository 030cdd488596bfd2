//! What the loom models have in common: bounds, a scheduler that is as small as can be, and a task to look at.
//!
//! `cargo xtask loom` runs every model of `tests/` against the code that ships, and every mutation of its table against the
//! model that must catch it. Without `--cfg loom` this package is empty.

#![cfg(loom)]
#![allow(clippy::missing_panics_doc, reason = "a model fails by panicking")]

pub mod actors;
pub mod kinds;
pub mod promise;
pub mod races;
mod scheduler;
mod task;
pub mod whole;

pub use scheduler::{Local, Runtime, Scheduler};
pub use task::{Beside, Body, Counting, Counts, Handle, Opener, Output, World};

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Waker};

/// Each planted defect, with the model that must fail because of it. Every model has one at least.
pub const MUTATIONS: &[(&str, &str)] = &[
    ("a_callback_races_with_the_end", "callback-drained-unlocked"),
    (
        "a_callback_added_late_races_with_the_drain",
        "callback-drained-unlocked",
    ),
    (
        "a_late_callback_races_with_the_take_and_the_handles_drop",
        "late-callback-forgotten",
    ),
    (
        "a_late_callback_races_with_the_take_and_the_handles_drop",
        "held-output-forgotten",
    ),
    (
        "an_awaiter_that_a_late_callback_holds_back_is_woken",
        "held-awaiter-forgotten",
    ),
    ("a_catcher_races_with_cancel", "requeue-forgotten"),
    ("a_catcher_races_with_cancel_and_abort", "abort-as-cancel"),
    (
        "a_catcher_that_is_dropped_passes_the_request_on",
        "catch-flag-stays",
    ),
    ("among_siblings_one_takes", "catch-clock-runs"),
    (
        "a_masking_catcher_takes_before_one_inside_of_it",
        "mask-ignored",
    ),
    ("a_user_spawns_and_joins", "notify-fence"),
    ("a_user_spawns_and_joins", "panic-in-a-task"),
    ("a_user_adds_a_callback", "task-word-relaxed"),
    ("a_user_cancels", "requeue-forgotten"),
    ("a_user_keeps_a_promise", "task-word-relaxed"),
    ("a_user_who_is_in_no_runtime_is_told_so", "runtime-entered"),
    (
        "an_event_races_with_the_clear_and_the_waiter",
        "clear-any-tick",
    ),
    (
        "an_event_races_with_the_clear_and_the_waiter",
        "readiness-no-recheck",
    ),
    (
        "what_was_done_before_an_unpark_is_seen_after_the_sleep",
        "park-relaxed",
    ),
    (
        "the_end_of_the_runtime_wakes_a_waiter",
        "readiness-no-recheck",
    ),
    ("an_earlier_timer_wakes_the_sleeper", "timer-no-fence"),
    ("a_timer_is_dropped_while_it_fires", "timer-fired-unnoted"),
    ("a_timer_is_awaited_while_it_fires", "timer-fired-untold"),
    ("a_result_races_with_the_await", "task-word-relaxed"),
    ("a_result_races_with_the_cancellation", "promise-unclaimed"),
    ("a_result_races_with_the_drop", "promise-output-forgotten"),
    (
        "waiting_for_the_cancellation_races_with_it",
        "cancellation-no-recheck",
    ),
    (
        "an_inspector_races_with_the_end_of_a_task",
        "registry-ignore-lock",
    ),
    (
        "a_slot_is_reused_while_an_inspector_looks",
        "registry-ignore-lock",
    ),
    (
        "the_end_elsewhere_races_with_a_spawn_on_the_worker",
        "remote-removal-uncounted",
    ),
    (
        "the_end_elsewhere_races_with_the_release",
        "registry-release-fence",
    ),
    (
        "a_remote_wake_races_with_the_end_of_the_runtime",
        "hand-over-uncounted",
    ),
    (
        "an_inspector_races_with_the_first_task",
        "registry-ignore-lock",
    ),
    (
        "a_worker_that_spawns_does_not_wait_for_an_inspector",
        "inspector-locks-shard",
    ),
    (
        "a_spawn_from_outside_does_not_wait_for_an_inspector",
        "inspector-locks-outside",
    ),
    (
        "two_inspectors_and_a_task_that_stays",
        "inspector-skips-locked",
    ),
    (
        "two_inspectors_and_a_task_that_stays",
        "registry-ignore-lock",
    ),
    ("owner_against_thief_of_the_lifo_slot", "slot-relaxed"),
    ("two_threads_fill_a_slot", "slot-relaxed"),
    ("a_spawn_on_a_worker_against_the_end", "closed-unseen"),
    ("two_shut_down", "finish-relaxed"),
    (
        "a_spawn_from_outside_against_an_end_without_grace",
        "late-push-forgotten",
    ),
    (
        "a_spawn_from_outside_against_an_end_without_grace",
        "finish-fence",
    ),
    ("the_last_two_tasks_end_while_shutdown_waits", "empty-fence"),
    ("the_last_root_against_shutdown", "empty-fence"),
    (
        "a_remote_wake_against_the_end_of_the_scheduler",
        "hand-over-uncounted",
    ),
    ("a_token_outlives_other_parking", "parker-token-ignored"),
    ("submit_against_timing_out", "call-missed"),
    ("two_submit_against_timing_out", "call-missed"),
    ("a_spawn_from_outside_against_shutdown", "closed-unseen"),
    (
        "a_worker_blocks_on_a_task_behind_it",
        "announce-calls-nobody",
    ),
    ("two_workers_steal_and_join", "notify-fence"),
    (
        "a_task_with_a_callback_is_cancelled_and_dropped",
        "remote-removal-uncounted",
    ),
    (
        "the_last_root_against_the_end_of_a_local_scheduler",
        "registry-release-fence",
    ),
    (
        "a_stop_against_the_sleep_of_a_local_scheduler",
        "local-sleep-fence",
    ),
    (
        "a_stop_against_the_sleep_of_a_local_scheduler",
        "local-wake-fence",
    ),
    (
        "a_spawn_from_outside_against_the_sleep_of_a_local_scheduler",
        "local-sleep-fence",
    ),
    (
        "a_spawn_from_outside_against_the_sleep_of_a_local_scheduler",
        "local-wake-fence",
    ),
    (
        "a_spawn_from_outside_against_the_end_of_a_local_scheduler",
        "closed-unseen",
    ),
    (
        "a_spawn_from_outside_against_a_local_end_without_grace",
        "late-push-forgotten",
    ),
    (
        "a_spawn_from_outside_against_a_local_end_without_grace",
        "finish-fence",
    ),
    ("a_waiting_task_against_shutdown", "request-slept-on"),
    (
        "a_late_callback_holds_back_the_root_of_a_local_scheduler",
        "root-end-untold",
    ),
    (
        "a_foreign_callback_of_a_local_task_against_the_end_of_its_scheduler",
        "refused-job-run-anywhere",
    ),
    ("push_against_falling_asleep", "notify-fence"),
    ("push_against_falling_asleep", "sleep-fence"),
    ("two_pushes_against_two_falling_asleep", "notify-fence"),
    (
        "two_pushes_against_the_sleeper_in_the_driver",
        "sleep-fence",
    ),
    ("push_against_last_searcher", "last-searcher-fence"),
    (
        "two_pushes_against_a_spare_that_does_not_come",
        "spare-relied-upon",
    ),
    ("taken_against_leaving", "taken-uncounted"),
    (
        "a_worker_gets_up_while_the_monitor_lies_down",
        "monitor-rests-alone",
    ),
    (
        "a_worker_gets_up_while_the_monitor_lies_down",
        "monitor-uncalled",
    ),
    (
        "a_blocked_worker_is_back_while_the_monitor_lies_down",
        "monitor-uncalled",
    ),
    (
        "a_poll_ends_while_it_is_counted_as_stalled",
        "stall-never-over",
    ),
    (
        "a_spare_serves_while_the_worker_is_stuck",
        "stall-never-over",
    ),
    ("a_spare_serves_while_the_worker_is_stuck", "workers-retire"),
    (
        "a_worker_blocks_while_another_one_retires",
        "retiring-uncounted",
    ),
    ("the_driver_goes_from_hand_to_hand", "role-relaxed"),
    ("a_task_is_run_and_the_runtime_ends", "sleep-fence"),
    ("racing_pairs_of_a_task", "task-word-relaxed"),
    ("racing_pairs_of_a_task", "late-callback-forgotten"),
    ("racing_pairs_of_a_task", "waker-not-given-up"),
    ("racing_pairs_of_a_task_that_catches", "requeue-forgotten"),
    ("racing_pairs_of_a_blocking_closure", "task-word-relaxed"),
    ("racing_pairs_of_a_local_task", "late-callback-forgotten"),
    ("racing_pairs_of_a_local_task", "waker-not-given-up"),
    ("racing_pairs_of_a_promise", "promise-unclaimed"),
    ("racing_pairs_of_a_promise", "promise-output-forgotten"),
    ("a_wake_by_value_races_with_the_poll", "waker-not-given-up"),
    (
        "two_wakes_and_a_cancel_race_with_the_poll",
        "waker-not-given-up",
    ),
    (
        "the_handle_is_polled_and_dropped_while_the_task_ends",
        "task-word-relaxed",
    ),
    ("the_awaiter_is_woken_or_sees_the_end", "task-word-relaxed"),
    ("two_lock_a_mutex", "served-relaxed"),
    ("two_lock_a_mutex", "line-unannounced"),
    (
        "a_mutex_is_unlocked_while_who_is_next_goes_away",
        "turn-kept",
    ),
    (
        "a_waker_changes_while_the_mutex_is_unlocked",
        "served-relaxed",
    ),
    (
        "permits_are_given_while_somebody_begins_to_wait_for_two",
        "line-unannounced",
    ),
    ("a_writer_against_a_reader", "line-unannounced"),
    (
        "an_event_is_set_while_somebody_begins_to_wait",
        "condition-unlooked",
    ),
    (
        "an_event_is_cleared_while_somebody_sets_it",
        "clear-unlocked",
    ),
    (
        "an_item_is_put_while_who_would_get_it_goes_away",
        "turn-kept",
    ),
    (
        "a_queue_is_closed_while_somebody_begins_to_wait",
        "close-untold",
    ),
    (
        "the_last_item_is_done_while_somebody_begins_to_join",
        "join-untold",
    ),
    (
        "a_change_is_made_while_somebody_begins_to_wait_for_it",
        "served-relaxed",
    ),
    (
        "a_condition_is_notified_while_who_is_next_goes_away",
        "turn-kept",
    ),
    (
        "a_notification_comes_while_somebody_begins_to_wait",
        "line-unannounced",
    ),
    (
        "a_notification_comes_while_who_is_next_goes_away",
        "turn-kept",
    ),
    ("two_find_a_cell_empty", "once-relaxed"),
    ("a_place_is_promised_to_who_goes_away", "turn-kept"),
    (
        "an_item_comes_back_to_a_queue_that_was_closed",
        "closed-early",
    ),
    ("one_puts_and_one_gets_without_room", "served-relaxed"),
    (
        "the_last_sender_goes_while_somebody_begins_to_receive",
        "close-untold",
    ),
    (
        "the_receiver_goes_while_somebody_waits_for_that",
        "condition-unlooked",
    ),
    (
        "a_version_is_sent_while_somebody_begins_to_wait",
        "condition-unlooked",
    ),
    (
        "a_value_is_broadcast_while_somebody_begins_to_wait",
        "condition-unlooked",
    ),
    (
        "a_child_ends_while_its_group_is_cancelled",
        "group-unwaited",
    ),
    ("a_scope_ends_while_its_task_is_cancelled", "scope-unwaited"),
    ("a_clean_up_races_with_an_abort", "abort-cleans-up"),
];

/// Whether `future` is ready at once. If it waits, it stands in line then.
pub fn is_ready<F: Future>(future: Pin<&mut F>) -> bool {
    future
        .poll(&mut Context::from_waker(Waker::noop()))
        .is_ready()
}

/// Whether this defect shall be planted in the model itself.
pub fn planted(defect: &str) -> bool {
    std::env::var("HEIST_MUTATION").is_ok_and(|mutation| mutation == defect)
}

/// Explores `model`, and prints how much that was.
///
/// `LOOM_MAX_PREEMPTIONS` bounds the pre-emptions (default 2), `HEIST_MUTATION` plants a defect.
pub fn explore(name: &str, model: impl Fn() + Send + Sync + 'static) {
    explore_within(|bound| bound, name, model);
}

/// The same with one pre-emption more, for models that are small, and whose defects loom's search does not reach with fewer.
pub fn explore_with_one_more(name: &str, model: impl Fn() + Send + Sync + 'static) {
    explore_within(|bound| bound + 1, name, model);
}

/// The same with so many pre-emptions less, for models that would take minutes with all of them.
pub fn explore_with_fewer(fewer: usize, name: &str, model: impl Fn() + Send + Sync + 'static) {
    explore_within(|bound| bound.saturating_sub(fewer), name, model);
}

/// The same with two pre-emptions at most, for hundreds of models in a row and for one whose threads spin.
pub fn explore_with_two(name: &str, model: impl Fn() + Send + Sync + 'static) {
    explore_within(|bound| bound.min(2), name, model);
}

fn explore_within(
    limit: impl Fn(usize) -> usize,
    name: &str,
    model: impl Fn() + Send + Sync + 'static,
) {
    if let Ok(mutation) = std::env::var("HEIST_MUTATION") {
        heist_core::sync::set_mutation(&mutation);
        heist_scheduler::sync::set_mutation(&mutation);
        heist_io::sync::set_mutation(&mutation);
    }
    let mut builder = loom::model::Builder::new();
    let bound = builder.preemption_bound.unwrap_or(2);
    builder.preemption_bound = Some(limit(bound));
    // A whole scheduler with two workers makes more steps than loom allows by default.
    builder.max_branches = builder.max_branches.max(4_000);
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

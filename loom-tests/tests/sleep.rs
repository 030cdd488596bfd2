//! The sleep protocol of the scheduler, and a whole scheduler. The claims are those of `sleep/README.md`.

#![cfg(loom)]

use heist_core::task::Meta;
use heist_loom_tests::explore;
use heist_loom_tests::whole::{end, start};
use heist_scheduler::models;

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
fn two_pushes_against_the_sleeper_in_the_driver() {
    explore(
        "two_pushes_against_the_sleeper_in_the_driver",
        models::two_pushes_against_the_sleeper_in_the_driver,
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
fn two_pushes_against_a_spare_that_does_not_come() {
    explore(
        "two_pushes_against_a_spare_that_does_not_come",
        models::two_pushes_against_a_spare_that_does_not_come,
    );
}

#[test]
fn taken_against_leaving() {
    explore("taken_against_leaving", models::taken_against_leaving);
}

#[test]
fn a_worker_gets_up_while_the_monitor_lies_down() {
    explore(
        "a_worker_gets_up_while_the_monitor_lies_down",
        models::a_worker_gets_up_while_the_monitor_lies_down,
    );
}

#[test]
fn a_blocked_worker_is_back_while_the_monitor_lies_down() {
    explore(
        "a_blocked_worker_is_back_while_the_monitor_lies_down",
        models::a_blocked_worker_is_back_while_the_monitor_lies_down,
    );
}

#[test]
fn the_driver_goes_from_hand_to_hand() {
    explore(
        "the_driver_goes_from_hand_to_hand",
        models::the_driver_goes_from_hand_to_hand,
    );
}

#[test]
fn a_poll_ends_while_it_is_counted_as_stalled() {
    explore(
        "a_poll_ends_while_it_is_counted_as_stalled",
        models::a_poll_ends_while_it_is_counted_as_stalled,
    );
}

#[test]
fn a_spare_serves_while_the_worker_is_stuck() {
    explore(
        "a_spare_serves_while_the_worker_is_stuck",
        models::a_spare_serves_while_the_worker_is_stuck,
    );
}

#[test]
fn a_worker_blocks_while_another_one_retires() {
    explore(
        "a_worker_blocks_while_another_one_retires",
        models::a_worker_blocks_while_another_one_retires,
    );
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
        end(&scheduler);
    });
}

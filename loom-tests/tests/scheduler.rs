//! What only the scheduler's own crate can reach, and whole schedulers: stealing, blocking, shutdown.

#![cfg(loom)]

use heist_core::task::{self, Meta, TaskRef};
use heist_loom_tests::whole::{GRACE, end, start, start_local};
use heist_loom_tests::{explore, explore_with_fewer, explore_with_one_more};
use heist_scheduler::models;
use loom::thread;
use std::future::{pending, poll_fn};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::Poll;

#[test]
fn owner_against_thief_of_the_lifo_slot() {
    explore(
        "owner_against_thief_of_the_lifo_slot",
        models::owner_against_thief_of_the_lifo_slot,
    );
}

#[test]
fn two_threads_fill_a_slot() {
    explore("two_threads_fill_a_slot", models::two_threads_fill_a_slot);
}

#[test]
fn a_spawn_on_a_worker_against_the_end() {
    explore(
        "a_spawn_on_a_worker_against_the_end",
        models::a_spawn_on_a_worker_against_the_end,
    );
}

#[test]
fn a_spawn_from_outside_against_an_end_without_grace() {
    explore_with_one_more(
        "a_spawn_from_outside_against_an_end_without_grace",
        models::a_spawn_from_outside_against_an_end_without_grace,
    );
}

#[test]
fn two_shut_down() {
    explore("two_shut_down", models::two_shut_down);
}

#[test]
fn the_last_root_against_shutdown() {
    explore(
        "the_last_root_against_shutdown",
        models::the_last_root_against_shutdown,
    );
}

#[test]
fn the_last_two_tasks_end_while_shutdown_waits() {
    explore(
        "the_last_two_tasks_end_while_shutdown_waits",
        models::the_last_two_tasks_end_while_shutdown_waits,
    );
}

#[test]
fn a_remote_wake_against_the_end_of_the_scheduler() {
    explore(
        "a_remote_wake_against_the_end_of_the_scheduler",
        models::a_remote_wake_against_the_end_of_the_scheduler,
    );
}

#[test]
fn a_token_outlives_other_parking() {
    explore(
        "a_token_outlives_other_parking",
        models::a_token_outlives_other_parking,
    );
}

#[test]
fn submit_against_timing_out() {
    explore_with_fewer(
        1,
        "submit_against_timing_out",
        models::submit_against_timing_out,
    );
}

#[test]
fn two_submit_against_timing_out() {
    explore_with_fewer(
        1,
        "two_submit_against_timing_out",
        models::two_submit_against_timing_out,
    );
}

#[test]
fn a_spawn_from_outside_against_shutdown() {
    explore("a_spawn_from_outside_against_shutdown", || {
        let scheduler = start(1);
        let ending = scheduler.clone();
        // There, since loom takes an unpark of a thread that joins another one for the end of that.
        let other = thread::spawn(move || drop(ending.shutdown(GRACE)));
        let task = scheduler.spawn(async {}, Meta::caller());
        other.join().expect("the model's thread");
        assert!(task.is_finished(), "a task was lost");
    });
}

#[test]
fn a_worker_blocks_on_a_task_behind_it() {
    explore_with_fewer(1, "a_worker_blocks_on_a_task_behind_it", || {
        let scheduler = start(1);
        let own = scheduler.clone();
        let body = async move {
            let behind = own.spawn(async { 7 }, Meta::caller());
            own.block_on(behind, Meta::caller())
        };
        let task = scheduler.spawn(body, Meta::caller());
        let blocked = scheduler.block_on(task, Meta::caller());
        let inner = blocked.expect("main").expect("the task").expect("the root");
        assert_eq!(inner.expect("the task behind it"), 7);
        end(&scheduler);
    });
}

// Three threads with whole worker loops: 48 interleavings without a pre-emption, and no end in sight with one, because
// every relaxed load may see each older value. The protocols in it have models of their own above.
#[test]
fn two_workers_steal_and_join() {
    explore_with_fewer(3, "two_workers_steal_and_join", || {
        let scheduler = start(2);
        let own = scheduler.clone();
        let body = async move { own.spawn(async { 7 }, Meta::caller()).await };
        let task = scheduler.spawn(body, Meta::caller());
        let joined = scheduler.block_on(task, Meta::caller());
        let child = joined.expect("main").expect("the task");
        assert_eq!(child.expect("the child"), 7);
        end(&scheduler);
    });
}

#[test]
fn a_task_with_a_callback_is_cancelled_and_dropped() {
    explore_with_fewer(1, "a_task_with_a_callback_is_cancelled_and_dropped", || {
        let scheduler = start(1);
        let ran = Arc::new(AtomicUsize::new(0));
        let task = scheduler.spawn(pending::<()>(), Meta::caller());
        let noted = Arc::clone(&ran);
        task.add_done_callback(move |finished| {
            assert!(finished.result().is_err());
            noted.fetch_add(1, SeqCst);
        });
        assert!(task.cancel());
        drop(task);
        end(&scheduler);
        assert_eq!(ran.load(SeqCst), 1, "callbacks run once");
    });
}

#[test]
fn the_last_root_against_the_end_of_a_local_scheduler() {
    explore("the_last_root_against_the_end_of_a_local_scheduler", || {
        let scheduler = start_local();
        let handle = scheduler.handle();
        let other = thread::spawn(move || drop(handle.block_on(async {}, Meta::caller())));
        drop(scheduler.shutdown(GRACE));
        other.join().expect("the model's thread");
    });
}

#[test]
fn a_stop_against_the_sleep_of_a_local_scheduler() {
    explore("a_stop_against_the_sleep_of_a_local_scheduler", || {
        let scheduler = start_local();
        let handle = scheduler.handle();
        let other = thread::spawn(move || handle.stop());
        scheduler.run_forever();
        other.join().expect("the model's thread");
        assert!(scheduler.shutdown(GRACE).is_clean());
    });
}

#[test]
fn a_spawn_from_outside_against_the_sleep_of_a_local_scheduler() {
    explore(
        "a_spawn_from_outside_against_the_sleep_of_a_local_scheduler",
        || {
            let scheduler = start_local();
            let handle = scheduler.handle();
            let ran = Arc::new(loom::sync::atomic::AtomicBool::new(false));
            let noted = Arc::clone(&ran);
            let other = thread::spawn(move || {
                let own = handle.clone();
                let body = async move {
                    noted.store(true, loom::sync::atomic::Ordering::Relaxed);
                    own.stop();
                };
                handle.spawn(body, Meta::caller()).detach();
            });
            scheduler.run_forever();
            assert!(ran.load(loom::sync::atomic::Ordering::Relaxed));
            other.join().expect("the model's thread");
            assert!(scheduler.shutdown(GRACE).is_clean());
        },
    );
}

#[test]
fn a_spawn_from_outside_against_the_end_of_a_local_scheduler() {
    explore(
        "a_spawn_from_outside_against_the_end_of_a_local_scheduler",
        || {
            let scheduler = start_local();
            let handle = scheduler.handle();
            let other = thread::spawn(move || {
                let mut left = Some(());
                let body = poll_fn(move |_| left.take().map_or(Poll::Pending, Poll::Ready));
                handle.spawn(body, Meta::caller())
            });
            let _ = scheduler.shutdown(GRACE);
            let task = other.join().expect("the model's thread");
            assert!(task.is_finished(), "a task was lost");
        },
    );
}

#[test]
fn a_spawn_from_outside_against_a_local_end_without_grace() {
    explore(
        "a_spawn_from_outside_against_a_local_end_without_grace",
        || {
            let scheduler = start_local();
            let handle = scheduler.handle();
            let other = thread::spawn(move || {
                let task = handle.spawn(pending::<()>(), Meta::caller());
                assert!(loom::future::block_on(task).is_err());
            });
            let _ = scheduler.shutdown(std::time::Duration::ZERO);
            other.join().expect("the model's thread");
        },
    );
}

#[test]
fn a_waiting_task_against_shutdown() {
    explore_with_fewer(1, "a_waiting_task_against_shutdown", || {
        let scheduler = start(1);
        let own = scheduler.clone();
        // Listed where its worker is, which goes through its own tasks when the end comes.
        let body = async move { own.spawn(pending::<()>(), Meta::caller()) };
        let spawned = scheduler.block_on(scheduler.spawn(body, Meta::caller()), Meta::caller());
        let task = spawned.expect("main").expect("the task");
        // It would wait for ever if nobody polled what was asked to end.
        end(&scheduler);
        assert!(task.is_cancelled());
    });
}

#[test]
fn a_late_callback_holds_back_the_root_of_a_local_scheduler() {
    explore(
        "a_late_callback_holds_back_the_root_of_a_local_scheduler",
        || {
            let scheduler = start_local();
            let (promise, deferred) = heist_core::future::promise::<TaskRef>();
            let other = thread::spawn(move || {
                let root = loom::future::block_on(deferred).expect("the root tells");
                root.add_done_callback(|_| ());
            });
            let root = async { drop(promise.set_result(task::current())) };
            scheduler.block_on(root, Meta::caller()).expect("the root");
            other.join().expect("the model's thread");
            assert!(scheduler.shutdown(GRACE).is_clean());
        },
    );
}

#[test]
fn a_foreign_callback_of_a_local_task_against_the_end_of_its_scheduler() {
    explore(
        "a_foreign_callback_of_a_local_task_against_the_end_of_its_scheduler",
        || {
            let scheduler = start_local();
            let task = scheduler.spawn_local(async {}, Meta::caller());
            let view = task.task_ref();
            let joined = scheduler.block_on(poll_fn(|_| Poll::Ready(())), Meta::caller());
            joined.expect("the root");
            let ran = Arc::new(AtomicUsize::new(0));
            let noted = Arc::clone(&ran);
            let other = thread::spawn(move || {
                view.add_done_callback(move |_| {
                    noted.fetch_add(1, SeqCst);
                });
            });
            assert!(scheduler.shutdown(GRACE).is_clean());
            let (here, noted) = (thread::current().id(), Arc::clone(&ran));
            task.add_done_callback(move |_| {
                assert_eq!(thread::current().id(), here, "it is not Send");
                noted.fetch_add(1, SeqCst);
            });
            other.join().expect("the model's thread");
            drop(task);
            drop(scheduler);
            assert_eq!(ran.load(SeqCst), 2, "callbacks run once");
        },
    );
}

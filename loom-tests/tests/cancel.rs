//! `catch_cancel` against cancel, abort and drop.

#![cfg(loom)]

use heist_core::cancel::{catch_cancel, catch_cancel_first};
use heist_core::task::{self, Meta, TaskState};
use heist_loom_tests::{Runtime, explore};
use loom::thread;
use std::future::{Future, pending, poll_fn};
use std::pin::Pin;
use std::task::Poll;

#[test]
fn a_catcher_races_with_cancel() {
    explore("a_catcher_races_with_cancel", || {
        let runtime = Runtime::new();
        let body = async { catch_cancel(pending::<()>()).await.is_err() };
        let task = task::spawn(&runtime.0, body, Meta::caller());
        let view = task.task_ref();
        let other = thread::spawn(move || assert!(view.cancel()));
        runtime.run_once();
        other.join().expect("the model's thread");
        runtime.run_all();
        // Before the first poll nobody catches; after it the catcher does.
        assert!(task.is_finished(), "the request was lost");
        if task.state() == TaskState::Finished {
            assert_eq!(task.result().and_then(Result::ok), Some(&true));
        }
        drop(task);
        runtime.close();
    });
}

#[test]
fn a_catcher_races_with_cancel_and_abort() {
    explore("a_catcher_races_with_cancel_and_abort", || {
        let runtime = Runtime::new();
        let body = async {
            let _ = catch_cancel(pending::<()>()).await;
            pending::<()>().await;
        };
        let task = task::spawn(&runtime.0, body, Meta::caller());
        runtime.run_all();
        let (one, two) = (task.task_ref(), task.task_ref());
        let cancel = thread::spawn(move || one.cancel());
        let abort = thread::spawn(move || assert!(two.abort()));
        runtime.run_once();
        let _ = cancel.join().expect("the model's thread");
        abort.join().expect("the model's thread");
        runtime.run_all();
        assert_eq!(task.state(), TaskState::Cancelled);
        drop(task);
        runtime.close();
    });
}

#[test]
fn a_catcher_that_is_dropped_passes_the_request_on() {
    explore("a_catcher_that_is_dropped_passes_the_request_on", || {
        let runtime = Runtime::new();
        let mut catcher = Some(Box::pin(catch_cancel(pending::<()>())));
        let body = poll_fn(move |cx| {
            let first = catcher.as_mut().map(|catcher| catcher.as_mut().poll(cx));
            if first.is_some_and(|polled| polled.is_ready()) {
                return Poll::Ready(());
            }
            // The second poll has none any more.
            catcher = None;
            Poll::Pending
        });
        let task = task::spawn(&runtime.0, body, Meta::caller());
        let view = task.task_ref();
        let other = thread::spawn(move || assert!(view.cancel()));
        runtime.run_once();
        other.join().expect("the model's thread");
        runtime.run_all();
        assert!(task.is_finished(), "the request was lost");
        drop(task);
        runtime.close();
    });
}

/// A catcher that masks those inside of it takes the request, whenever that comes.
#[test]
fn a_masking_catcher_takes_before_one_inside_of_it() {
    explore("a_masking_catcher_takes_before_one_inside_of_it", || {
        let runtime = Runtime::new();
        let body = async {
            let inner = catch_cancel(pending::<()>());
            let outer = catch_cancel_first(inner).await;
            assert!(outer.is_err(), "the one inside has taken it");
        };
        let task = task::spawn(&runtime.0, body, Meta::caller());
        let view = task.task_ref();
        let other = thread::spawn(move || assert!(view.cancel()));
        runtime.run_once();
        other.join().expect("the model's thread");
        runtime.run_all();
        assert!(task.is_finished(), "the request was lost");
        drop(task);
        runtime.close();
    });
}

#[test]
fn among_siblings_one_takes() {
    explore("among_siblings_one_takes", || {
        let runtime = Runtime::new();
        let mut both: Vec<Pin<Box<_>>> = (0..2)
            .map(|_| Box::pin(catch_cancel(pending::<()>())))
            .collect();
        let body = poll_fn(move |cx| {
            let taken: Vec<bool> = both
                .iter_mut()
                .map(|catcher| catcher.as_mut().poll(cx).is_ready())
                .collect();
            if taken.contains(&true) {
                Poll::Ready(taken)
            } else {
                Poll::Pending
            }
        });
        let task = task::spawn(&runtime.0, body, Meta::caller());
        runtime.run_all();
        let view = task.task_ref();
        let other = thread::spawn(move || assert!(view.cancel()));
        runtime.run_once();
        other.join().expect("the model's thread");
        runtime.run_all();
        // The one that was polled last, and it alone.
        assert_eq!(task.result().and_then(Result::ok), Some(&vec![false, true]));
        drop(task);
        runtime.close();
    });
}

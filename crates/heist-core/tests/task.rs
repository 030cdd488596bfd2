//! Tasks: life, handles, results, panics.

mod support;

use heist_core::error::{ExceptionContext, ExceptionKind};
use heist_core::task::{self, TaskState};
use std::future::{pending, ready};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};
use support::*;

#[test]
fn a_task_runs_and_gives_its_output() {
    let runtime = Runtime::new();
    let mut task = runtime.spawn(async { 7 });
    assert_eq!(task.state(), TaskState::Pending);
    assert!(task.result().is_none());
    runtime.run();
    assert_eq!(task.result().unwrap().unwrap(), &7);
    assert_eq!(runtime.block_on(&mut task).unwrap().unwrap(), 7);
    assert!(task.result().is_none(), "an await takes the output");
    assert_eq!(task.state(), TaskState::Finished);
}

#[test]
fn debug_is_a_picture_of_the_task() {
    let runtime = Runtime::new();
    let task = runtime.spawn(async {});
    let name = task.name();
    let at = task.spawn_location();
    assert_eq!(
        format!("{task:?}"),
        format!("<Task pending name={name:?} at {at}>")
    );
    assert!(name.starts_with("Task-"));
    runtime.run();
    assert_eq!(
        format!("{task:?}"),
        format!("<Task finished name={name:?} at {at}>")
    );
    task.set_name("other");
    assert_eq!(task.name(), "other");
}

#[test]
fn ids_are_unique() {
    let runtime = Runtime::new();
    let count = if cfg!(miri) { 50 } else { 3000 };
    let ids: std::collections::HashSet<_> =
        (0..count).map(|_| runtime.spawn(async {}).id()).collect();
    assert_eq!(ids.len(), count);
    runtime.run();
}

#[test]
fn dropping_the_handle_detaches() {
    let runtime = Runtime::new();
    let (dropped, count) = Dropped::new();
    drop(runtime.spawn(async move {
        YieldNow::default().await;
        drop(dropped);
    }));
    assert_eq!(count.load(Ordering::SeqCst), 0);
    assert_eq!(runtime.run(), 2);
    assert_eq!(count.load(Ordering::SeqCst), 1);
}

#[test]
fn the_output_is_dropped_once_whenever_the_handle_goes() {
    for when in ["before", "after", "awaited", "never looked at"] {
        let runtime = Runtime::new();
        let (dropped, count) = Dropped::new();
        let task = runtime.spawn(async move { dropped });
        match when {
            "before" => {
                drop(task);
                runtime.run();
            }
            "after" => {
                runtime.run();
                drop(task);
            }
            "awaited" => drop(runtime.block_on(task)),
            _ => {
                runtime.run();
                let _kept = task;
            }
        }
        assert_eq!(count.load(Ordering::SeqCst), 1, "{when}");
    }
}

#[test]
fn the_future_is_dropped_before_the_waiter_is_woken() {
    let runtime = Runtime::new();
    let (dropped, count) = Dropped::new();
    let task = runtime.spawn(async move {
        let _held = dropped;
        YieldNow::default().await;
    });
    let seen = runtime.spawn(async move {
        task.await.unwrap();
        count.load(Ordering::SeqCst)
    });
    assert_eq!(runtime.block_on(seen).unwrap().unwrap(), 1);
}

#[test]
fn a_panic_ends_that_task_alone_and_the_awaiter_gets_the_payload() {
    let runtime = Runtime::new();
    let bad = runtime.spawn(async { panic!("boom {}", std::hint::black_box(1)) });
    let good = runtime.spawn(async { 1 });
    let error = runtime.block_on(bad).unwrap().unwrap_err();
    assert!(error.is_panic());
    let clone = error.clone();
    assert_eq!(
        *error
            .try_into_panic()
            .unwrap()
            .downcast::<String>()
            .unwrap(),
        "boom 1"
    );
    assert!(
        clone.to_string().contains("boom 1"),
        "the message stays: {clone}"
    );
    assert!(
        clone.try_into_panic().is_err(),
        "the first clone got the payload"
    );
    assert_eq!(runtime.block_on(good).unwrap().unwrap(), 1);
    assert!(runtime.reports().is_empty(), "it was retrieved");
}

#[test]
fn a_panic_that_nobody_retrieves_is_reported_once() {
    let runtime = Runtime::new();
    let task = runtime.spawn(async { panic!("boom") });
    let name = task.name();
    drop(task);
    runtime.run();
    let kept = runtime.spawn(async { panic!("second") });
    runtime.run();
    assert_eq!(runtime.reports().len(), 1);
    drop(kept);
    let reports = runtime.reports();
    assert_eq!(reports.len(), 2);
    assert!(
        reports[0].contains("boom") && reports[0].contains(&name),
        "{reports:?}"
    );
    let looked = runtime.spawn(async { panic!("third") });
    runtime.run();
    assert!(looked.result().unwrap().is_err());
    drop(looked);
    assert_eq!(
        runtime.reports().len(),
        2,
        "an error that was looked at is retrieved"
    );
}

struct PanicsOnDrop;

impl Drop for PanicsOnDrop {
    fn drop(&mut self) {
        panic!("in drop");
    }
}

#[test]
fn a_panic_in_any_drop_takes_nobody_down() {
    let runtime = Runtime::new();
    // Of the body, after it returned.
    let after = runtime.spawn(async {
        let _held = PanicsOnDrop;
    });
    assert!(runtime.block_on(after).unwrap().unwrap_err().is_panic());
    // Of the body, cancelled.
    let cancelled = runtime.spawn(async {
        let _held = PanicsOnDrop;
        pending::<()>().await;
    });
    runtime.run();
    cancelled.cancel();
    assert!(
        runtime
            .block_on(cancelled)
            .unwrap()
            .unwrap_err()
            .is_cancelled()
    );
    // Of the output: handle gone before, after, and with a callback.
    drop(runtime.spawn(async { PanicsOnDrop }));
    runtime.run();
    let after = runtime.spawn(async { PanicsOnDrop });
    runtime.run();
    drop(after);
    let with_callback = runtime.spawn(async { PanicsOnDrop });
    with_callback.add_done_callback(|_| {});
    drop(with_callback);
    runtime.run();
    // Of a panic's payload.
    drop(runtime.spawn(async { std::panic::panic_any(PanicsOnDrop) }));
    runtime.run();
    assert_eq!(
        runtime
            .block_on(runtime.spawn(async { 1 }))
            .unwrap()
            .unwrap(),
        1
    );
    assert!(runtime.reports().len() >= 4, "{:?}", runtime.reports());
}

#[test]
fn a_task_that_awaits_itself_gets_an_error_at_once() {
    let runtime = Runtime::new();
    let (sender, receiver) = heist_core::future::promise::<task::Task<bool>>();
    let task = runtime.spawn(async move {
        let me = receiver.await.unwrap();
        me.await.unwrap_err().is_self_await()
    });
    let other = task.task_ref();
    sender.set_result(task).unwrap();
    runtime.run();
    assert_eq!(other.state(), TaskState::Finished);
}

#[test]
fn spawning_on_a_closed_runtime_gives_a_cancelled_task() {
    let runtime = Runtime::new();
    runtime.close();
    let (dropped, count) = Dropped::new();
    let task = task::spawn(
        &runtime.0,
        async move { drop(dropped) },
        task::Meta::caller().named("n"),
    );
    assert_eq!(count.load(Ordering::SeqCst), 1, "dropped, never polled");
    assert_eq!(task.state(), TaskState::Cancelled);
    assert_eq!(task.name(), "n");
    let mut task = task;
    let Poll::Ready(Err(error)) = poll_once(&mut task) else {
        panic!("over at once")
    };
    assert!(error.is_runtime_gone() && error.is_cancelled());
    assert!(runtime.block_on(ready(1)).unwrap_err().is_runtime_gone());
}

#[test]
fn a_waker_that_outlives_its_task_does_nothing() {
    let runtime = Runtime::new();
    let keep = Arc::new(std::sync::Mutex::new(None));
    let kept = Arc::clone(&keep);
    let task = runtime.spawn(std::future::poll_fn(move |cx: &mut Context<'_>| {
        *kept.lock().unwrap() = Some(cx.waker().clone());
        Poll::Ready(())
    }));
    runtime.block_on(task).unwrap().unwrap();
    drop(runtime);
    let waker: Waker = keep.lock().unwrap().take().unwrap();
    waker.wake_by_ref();
    let again = waker.clone();
    waker.wake();
    drop(again);
}

#[test]
fn handles_and_wakers_are_counted_apart() {
    let runtime = Runtime::new();
    let gate = Gate::default();
    let task = runtime.spawn(gate.clone());
    runtime.run();
    let other = task.task_ref();
    assert_eq!((other.wakers(), other.handles()), (1, 2));
    drop(task);
    assert_eq!((other.wakers(), other.handles()), (1, 1));
    gate.open();
    runtime.run();
    assert_eq!((other.wakers(), other.handles()), (0, 1));
}

#[test]
fn a_root_borrows_and_is_listed() {
    let runtime = Runtime::new();
    let text = String::from("borrowed");
    let seen = runtime.block_on(async {
        assert_eq!(runtime.live(), 1);
        YieldNow::default().await;
        let child = runtime.spawn(async { task::current().name() });
        (child.await.unwrap(), text.as_str(), task::current().name())
    });
    let (child, text, root) = seen.unwrap();
    assert_eq!(text, "borrowed");
    assert_ne!(child, root);
    assert!(task::try_current().is_none());
}

#[test]
fn a_large_body_is_boxed() {
    let runtime = Runtime::new();
    let large = [1_u8; 20 * 1024];
    let task = runtime.spawn(async move {
        YieldNow::default().await;
        large.iter().map(|byte| u32::from(*byte)).sum::<u32>()
    });
    assert_eq!(runtime.block_on(task).unwrap().unwrap(), 20 * 1024);
}

#[test]
fn one_output_many_awaiters() {
    let runtime = Runtime::new();
    let gate = Gate::default();
    let open = gate.clone();
    let shared = runtime
        .spawn(async move {
            gate.await;
            String::from("value")
        })
        .share();
    let waiting: Vec<_> = (0..8).map(|_| runtime.spawn(shared.clone())).collect();
    runtime.run();
    open.open();
    for task in waiting {
        assert_eq!(runtime.block_on(task).unwrap().unwrap().unwrap(), "value");
    }
    assert_eq!(shared.result().unwrap().unwrap(), "value");
    assert_eq!(runtime.block_on(shared).unwrap().unwrap(), "value");
}

#[test]
fn a_waiter_that_changes_is_woken_once_through_its_last_waker() {
    let runtime = Runtime::new();
    let gate = Gate::default();
    let mut task = runtime.spawn(gate.clone());
    let (first, second) = (Arc::new(Count::default()), Arc::new(Count::default()));
    let wakers = [
        Waker::from(Arc::clone(&first)),
        Waker::from(Arc::clone(&second)),
    ];
    for waker in [&wakers[0], &wakers[0], &wakers[1]] {
        let mut cx = Context::from_waker(waker);
        assert!(std::pin::Pin::new(&mut task).poll(&mut cx).is_pending());
    }
    runtime.run();
    gate.open();
    runtime.run();
    assert_eq!((first.get(), second.get()), (0, 1));
}

#[test]
fn a_local_task_stays_on_its_thread() {
    let runtime = Runtime::new();
    let value = runtime.frame(|| {
        let shared = std::rc::Rc::new(5);
        let task = runtime.spawn_local(async move { *shared });
        let seen = std::rc::Rc::new(std::cell::Cell::new(0));
        let in_callback = std::rc::Rc::clone(&seen);
        task.add_done_callback(move |task| in_callback.set(*task.result().unwrap()));
        runtime.run_in_frame();
        assert_eq!(seen.get(), 5);
        *task.result().unwrap().unwrap()
    });
    assert_eq!(value, 5);
}

#[test]
fn wakes_of_many_threads_race_and_lose_no_poll() {
    let rounds = if cfg!(miri) { 5 } else { 300 };
    for _ in 0..rounds {
        let runtime = Runtime::new();
        let gates: Vec<Gate> = (0..3).map(|_| Gate::default()).collect();
        let waiting = gates.clone();
        let task = runtime.spawn(async move {
            for gate in waiting {
                gate.await;
            }
        });
        std::thread::scope(|scope| {
            for gate in &gates {
                scope.spawn(|| gate.open());
            }
            while !task.is_finished() {
                runtime.run();
                std::thread::yield_now();
            }
        });
    }
}

#[test]
fn a_report_has_what_happened_and_the_cause() {
    let payload: Box<dyn std::any::Any + Send> = Box::new("boom");
    let context = ExceptionContext::new(ExceptionKind::Callback, "boom").with_payload(&*payload);
    assert_eq!(context.to_string(), "Exception in callback\n  panic: boom");
    let context = ExceptionContext::new(ExceptionKind::Runtime, "cannot start another thread");
    assert_eq!(
        context.to_string(),
        "The runtime reports a problem\n  cause: cannot start another thread"
    );
}

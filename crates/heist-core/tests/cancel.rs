//! Cancellation: requests, catchers, counts.

mod support;

use heist_core::cancel::{Cancelled, catch_cancel};
use heist_core::task::{self, TaskState};
use std::future::{Future, pending, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Waker};
use support::*;

#[test]
fn cancelled_before_the_first_poll_the_body_never_starts() {
    let runtime = Runtime::new();
    let started = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&started);
    let task = runtime.spawn(async move { count.fetch_add(1, Ordering::SeqCst) });
    assert!(task.cancel_with("m"));
    let error = runtime.block_on(task).unwrap().unwrap_err();
    assert!(error.is_cancelled());
    assert_eq!(error.reason(), Some("m"));
    assert_eq!(started.load(Ordering::SeqCst), 0);
}

#[test]
fn the_locals_are_gone_before_the_await_returns() {
    let runtime = Runtime::new();
    let (dropped, count) = Dropped::new();
    let task = runtime.spawn(async move {
        let _held = dropped;
        pending::<()>().await;
    });
    runtime.run();
    assert!(task.cancel());
    assert_eq!(
        count.load(Ordering::SeqCst),
        0,
        "never on the cancelling thread"
    );
    assert!(runtime.block_on(task).unwrap().unwrap_err().is_cancelled());
    assert_eq!(count.load(Ordering::SeqCst), 1);
}

#[test]
fn a_catcher_takes_the_request_and_the_task_may_go_on() {
    let runtime = Runtime::new();
    let task = runtime.spawn(async {
        let caught = catch_cancel(pending::<()>()).await.unwrap_err();
        assert_eq!(caught.reason(), Some("stop"));
        YieldNow::default().await;
        (42, task::current().cancelling())
    });
    runtime.run();
    assert!(task.cancel_with("stop"));
    runtime.run();
    assert!(!task.is_cancelled());
    assert_eq!(runtime.block_on(task).unwrap().unwrap(), (42, 1));
}

#[test]
fn cancelling_oneself_is_delivered_at_the_next_await() {
    let runtime = Runtime::new();
    let reached = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&reached);
    let task = runtime.spawn(async move {
        assert!(task::current().cancel());
        count.fetch_add(1, Ordering::SeqCst);
        YieldNow::default().await;
        count.fetch_add(10, Ordering::SeqCst);
    });
    let other = task.task_ref();
    assert!(runtime.block_on(task).unwrap().unwrap_err().is_cancelled());
    assert_eq!(reached.load(Ordering::SeqCst), 1);
    assert!(!other.cancel(), "it is over");
    assert_eq!(other.state(), TaskState::Cancelled);
}

#[test]
fn cancelling_oneself_inside_of_a_catcher_is_caught_there() {
    let runtime = Runtime::new();
    let task = runtime.spawn(async {
        catch_cancel(async {
            task::current().cancel();
            YieldNow::default().await;
        })
        .await
        .is_err()
    });
    assert!(runtime.block_on(task).unwrap().unwrap());
}

#[test]
fn cancelling_one_who_awaits_leaves_the_awaited_alive_unless_linked() {
    let runtime = Runtime::new();
    for linked in [false, true] {
        let inner = runtime.spawn(pending::<()>());
        let inner_ref = inner.task_ref();
        let outer = runtime.spawn(async move {
            if linked {
                let _ = inner.cancel_on_drop().await;
            } else {
                let _ = inner.await;
            }
        });
        runtime.run();
        outer.cancel();
        runtime.run();
        assert!(outer.is_cancelled());
        assert_eq!(inner_ref.is_cancelled(), linked);
    }
}

#[test]
fn abort_passes_by_every_catcher() {
    let runtime = Runtime::new();
    let task = runtime.spawn(async {
        let _ = catch_cancel(pending::<()>()).await;
        1
    });
    runtime.run();
    assert!(task.abort());
    assert!(runtime.block_on(task).unwrap().unwrap_err().is_cancelled());
}

#[test]
fn resume_goes_to_the_next_outer_catcher_and_then_ends_the_task() {
    let runtime = Runtime::new();
    let log = Arc::new(Mutex::new(Vec::new()));
    let inner_log = Arc::clone(&log);
    let task = runtime.spawn(async move {
        let outer = catch_cancel(async {
            let inner = catch_cancel(pending::<()>()).await.unwrap_err();
            inner_log.lock().unwrap().push("inner");
            inner.resume::<()>().await
        })
        .await;
        inner_log.lock().unwrap().push("outer");
        outer.unwrap_err().resume::<()>().await;
        inner_log.lock().unwrap().push("never");
    });
    runtime.run();
    task.cancel_with("why");
    runtime.run();
    assert_eq!(*log.lock().unwrap(), ["inner", "outer"]);
    let error = runtime.block_on(task).unwrap().unwrap_err();
    assert_eq!(error.reason(), Some("why"));
}

/// Polls both; ready when the first one is.
async fn first<A: Future, B: Future<Output = A::Output>>(a: A, b: B) -> A::Output {
    let (mut a, mut b) = (pin!(a), pin!(b));
    poll_fn(move |cx| match a.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(output),
        Poll::Pending => b.as_mut().poll(cx),
    })
    .await
}

#[test]
fn no_later_output_of_the_poll_that_resumed_counts() {
    let runtime = Runtime::new();
    let task = runtime.spawn(async {
        let cancelled = catch_cancel(pending::<()>()).await.unwrap_err();
        first(cancelled.resume::<u8>(), async { 5 }).await
    });
    runtime.run();
    task.cancel();
    assert!(runtime.block_on(task).unwrap().unwrap_err().is_cancelled());
}

#[test]
fn a_resume_in_a_destructor_ends_no_other_task() {
    struct Resumes(Option<Cancelled>);
    impl Drop for Resumes {
        fn drop(&mut self) {
            let mut resumed = pin!(self.0.take().unwrap().resume::<()>());
            let mut cx = Context::from_waker(Waker::noop());
            assert!(resumed.as_mut().poll(&mut cx).is_pending());
        }
    }
    let runtime = Runtime::new();
    let task = runtime.spawn(async {
        let _held = Resumes(catch_cancel(pending::<()>()).await.err());
        pending::<()>().await;
    });
    runtime.run();
    task.cancel();
    runtime.run();
    task.abort();
    runtime.run();
    assert!(task.is_finished());
    let next = runtime.spawn(async { 5 });
    assert_eq!(runtime.block_on(next).unwrap().unwrap(), 5);
}

#[test]
fn resume_outside_of_the_cancelled_task_panics() {
    let runtime = Runtime::new();
    let task = runtime.spawn(async { catch_cancel(pending::<()>()).await.unwrap_err() });
    runtime.run();
    task.cancel();
    runtime.run();
    let cancelled: Cancelled = runtime.block_on(task).unwrap().unwrap();
    let other = runtime.spawn(async move { cancelled.resume::<()>().await });
    assert!(runtime.block_on(other).unwrap().unwrap_err().is_panic());
}

#[test]
fn among_siblings_the_last_polled_takes_and_its_drop_passes_the_request_on() {
    let runtime = Runtime::new();
    let task = runtime.spawn(async {
        let mut a = Box::pin(catch_cancel(pending::<()>()));
        let mut b = Some(Box::pin(catch_cancel(pending::<()>())));
        let mut round = 0;
        poll_fn(move |cx| {
            round += 1;
            let first = a.as_mut().poll(cx);
            if round == 1 {
                assert!(first.is_pending());
                assert!(b.as_mut().unwrap().as_mut().poll(cx).is_pending());
                return Poll::Pending;
            }
            if b.is_some() {
                assert!(first.is_pending(), "the one polled last takes");
                b = None;
                return Poll::Pending;
            }
            first.map(|result| result.is_err())
        })
        .await
    });
    runtime.run();
    task.cancel();
    assert!(runtime.block_on(task).unwrap().unwrap());
}

#[test]
fn both_sides_of_a_join_are_reached_through_their_own_wakers() {
    // A combinator that polls a child only when the child's own waker was woken.
    struct OnlyIfWoken<F>(Pin<Box<F>>, Arc<Count>, bool);
    impl<F: Future> Future for OnlyIfWoken<F> {
        type Output = F::Output;
        fn poll(mut self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> Poll<F::Output> {
            if self.2 && self.1.get() == 0 {
                // Nobody woke the child: stay away, but remember the task.
                return Poll::Pending;
            }
            self.2 = true;
            let own = Arc::new(Forward {
                count: Arc::clone(&self.1),
                task: cx.waker().clone(),
            });
            let waker = std::task::Waker::from(own);
            self.0
                .as_mut()
                .poll(&mut std::task::Context::from_waker(&waker))
        }
    }
    struct Forward {
        count: Arc<Count>,
        task: std::task::Waker,
    }
    impl std::task::Wake for Forward {
        fn wake(self: Arc<Self>) {
            self.count.0.fetch_add(1, Ordering::SeqCst);
            self.task.wake_by_ref();
        }
    }
    let runtime = Runtime::new();
    let task = runtime.spawn(async {
        let child = Box::pin(catch_cancel(pending::<()>()));
        OnlyIfWoken(child, Arc::new(Count::default()), false)
            .await
            .is_err()
    });
    runtime.run();
    task.cancel();
    assert!(runtime.block_on(task).unwrap().unwrap());
}

#[test]
fn outside_of_a_task_a_catcher_is_transparent() {
    let mut outside = Box::pin(catch_cancel(std::future::ready(3)));
    assert!(matches!(poll_once(&mut outside), Poll::Ready(Ok(3))));
}

#[test]
fn a_catcher_that_is_polled_by_another_task_moves_there() {
    let runtime = Runtime::new();
    let moved = Arc::new(Mutex::new(Some(Box::pin(catch_cancel(pending::<()>())))));
    let lend = Arc::clone(&moved);
    let first = runtime.spawn(poll_fn(move |cx| {
        let mut slot = lend.lock().unwrap();
        match slot.as_mut() {
            Some(catcher) => catcher.as_mut().poll(cx).map(|_| ()),
            None => Poll::Pending,
        }
    }));
    runtime.run();
    let mut catcher = moved.lock().unwrap().take().unwrap();
    let second = runtime.spawn(async move { catcher.as_mut().await.is_err() });
    runtime.run();
    first.cancel();
    runtime.run();
    assert!(first.is_cancelled(), "no catcher is left there");
    second.cancel();
    assert!(runtime.block_on(second).unwrap().unwrap());
}

#[test]
fn a_child_that_moves_to_another_catcher_is_inside_of_that_one() {
    // The one polled last is asked first, and passes over to its child if it has one.
    for (order, takes) in [([0, 1], "child"), ([1, 0], "first")] {
        let runtime = Runtime::new();
        let log = Arc::new(Mutex::new(Vec::new()));
        let child = Arc::new(Mutex::new(Box::pin(catch_cancel(pending::<()>()))));
        let holder = Arc::new(AtomicUsize::new(0));
        let outer = |mine: usize| {
            let (child, log) = (Arc::clone(&child), Arc::clone(&log));
            let holder = Arc::clone(&holder);
            Box::pin(catch_cancel(poll_fn(move |cx| {
                if holder.load(Ordering::SeqCst) != mine {
                    return Poll::Pending;
                }
                let polled = child.lock().unwrap().as_mut().poll(cx);
                polled.map(|result| {
                    assert!(result.is_err());
                    log.lock().unwrap().push("child");
                })
            })))
        };
        let mut outers = [outer(0), outer(1)];
        let (noted, own) = (Arc::clone(&log), Arc::new(Mutex::new(None::<Waker>)));
        let keep = Arc::clone(&own);
        let task = runtime.spawn(poll_fn(move |cx| {
            *keep.lock().unwrap() = Some(cx.waker().clone());
            for at in order {
                if let Poll::Ready(result) = outers[at].as_mut().poll(cx) {
                    if result.is_err() {
                        noted.lock().unwrap().push(["first", "second"][at]);
                    }
                    return Poll::Ready(());
                }
            }
            Poll::Pending
        }));
        runtime.run();
        holder.store(1, Ordering::SeqCst);
        own.lock().unwrap().take().unwrap().wake();
        runtime.run();
        assert!(task.cancel());
        runtime.block_on(task).unwrap().unwrap();
        assert_eq!(*log.lock().unwrap(), [takes]);
    }
}

#[test]
fn a_catcher_that_is_polled_with_the_tasks_own_waker_keeps_none() {
    let runtime = Runtime::new();
    let task = runtime.spawn(async {
        let nested = catch_cancel(async { catch_cancel(pending::<()>()).await.is_err() });
        nested.await.unwrap()
    });
    runtime.run();
    // Nothing but a request can wake it, and that needs no waker.
    assert_eq!(task.task_ref().wakers(), 0);
    assert!(task.cancel());
    assert!(runtime.block_on(task).unwrap().unwrap());
}

#[test]
fn requests_are_counted_and_the_last_uncancel_voids_an_undelivered_one() {
    let runtime = Runtime::new();
    let task = runtime.spawn(async {
        YieldNow::default().await;
        9
    });
    let other = task.task_ref();
    assert!(other.cancel() && other.cancel());
    assert_eq!(other.cancelling(), 2);
    assert_eq!(other.uncancel(), 1);
    assert_eq!(other.uncancel(), 0);
    assert_eq!(other.uncancel(), 0);
    assert_eq!(runtime.block_on(task).unwrap().unwrap(), 9);
}

#[test]
fn a_delivered_request_is_not_voided() {
    let runtime = Runtime::new();
    let task = runtime.spawn(async {
        let caught = catch_cancel(pending::<()>()).await.unwrap_err();
        assert_eq!(task::current().uncancel(), 0);
        caught.resume::<()>().await
    });
    runtime.run();
    task.cancel();
    assert!(runtime.block_on(task).unwrap().unwrap_err().is_cancelled());
}

#[test]
fn a_second_request_ends_the_clean_up_of_the_first() {
    let runtime = Runtime::new();
    let task = runtime.spawn(async {
        let _ = catch_cancel(pending::<()>()).await;
        pending::<()>().await;
    });
    runtime.run();
    assert!(task.cancel());
    runtime.run();
    assert!(!task.is_finished());
    assert!(task.cancel());
    runtime.run();
    assert!(task.is_cancelled());
}

#[test]
fn a_blocking_job_that_runs_cannot_be_cancelled() {
    let runtime = Runtime::new();
    let slot = Mutex::new(None);
    let held = Arc::new(Mutex::new(None::<task::TaskRef>));
    let inside = Arc::clone(&held);
    let job = move || inside.lock().unwrap().as_ref().unwrap().cancel();
    let task = task::spawn_blocking(&runtime.0, job, task::Meta::caller(), |runnable| {
        *slot.lock().unwrap() = Some(runnable);
    });
    *held.lock().unwrap() = Some(task.task_ref());
    let runnable = slot.lock().unwrap().take().unwrap();
    assert!(matches!(runnable.run(), task::Ran::Over));
    assert!(!runtime.block_on(task).unwrap().unwrap());
    let never = task::spawn_blocking(
        &runtime.0,
        || (),
        task::Meta::caller(),
        |runnable| {
            *slot.lock().unwrap() = Some(runnable);
        },
    );
    assert!(never.cancel());
    let _ = slot.lock().unwrap().take().unwrap().run();
    assert!(runtime.block_on(never).unwrap().unwrap_err().is_cancelled());
}

#[test]
fn a_runnable_that_is_thrown_away_ends_its_task() {
    let runtime = Runtime::new();
    let (dropped, count) = Dropped::new();
    let held = Mutex::new(None);
    let job = move || drop(dropped);
    let task = task::spawn_blocking(&runtime.0, job, task::Meta::caller(), |runnable| {
        *held.lock().unwrap() = Some(runnable);
    });
    drop(held.lock().unwrap().take());
    assert_eq!(count.load(Ordering::SeqCst), 1);
    assert!(task.is_cancelled());
    assert_eq!(runtime.live(), 0);
}

#[test]
fn a_root_can_be_cancelled() {
    let runtime = Runtime::new();
    let error = runtime.block_on(async {
        task::current().cancel_with("root");
        pending::<()>().await;
    });
    assert_eq!(error.unwrap_err().reason(), Some("root"));
}

#[test]
fn cancel_races_with_the_end_and_its_answer_is_kept() {
    let rounds = if cfg!(miri) { 10 } else { 2000 };
    let runtime = Runtime::new();
    for _ in 0..rounds {
        let task = runtime.spawn(async {
            let _ = catch_cancel(YieldNow::default()).await;
            YieldNow::default().await;
        });
        let other = task.task_ref();
        std::thread::scope(|scope| {
            let canceller = scope.spawn(move || other.cancel());
            runtime.run();
            let asked = canceller.join().unwrap();
            runtime.run();
            assert!(task.is_finished());
            assert!(asked || !task.is_cancelled());
        });
    }
}

#[test]
fn a_request_clones_no_waker() {
    static CLONES: AtomicUsize = AtomicUsize::new(0);
    static WAKES: AtomicUsize = AtomicUsize::new(0);
    // A waker whose clones are seen; those of an `Arc<impl Wake>` are not.
    fn raw() -> RawWaker {
        const VTABLE: RawWakerVTable = RawWakerVTable::new(
            |_| {
                CLONES.fetch_add(1, Ordering::SeqCst);
                raw()
            },
            |_| (),
            |_| {
                WAKES.fetch_add(1, Ordering::SeqCst);
            },
            |_| (),
        );
        RawWaker::new(std::ptr::null(), &VTABLE)
    }
    let runtime = Runtime::new();
    let mut caught = Box::pin(catch_cancel(pending::<()>()));
    let task = runtime.spawn(poll_fn(move |_| {
        // SAFETY: no function of the table looks at the pointer, and each is thread-safe.
        let waker = unsafe { Waker::from_raw(raw()) };
        caught
            .as_mut()
            .poll(&mut Context::from_waker(&waker))
            .map(|caught| caught.is_err())
    }));
    runtime.run();
    let clones = CLONES.load(Ordering::SeqCst);
    assert!(clones > 0);
    assert!(task.cancel());
    assert_eq!(
        CLONES.load(Ordering::SeqCst),
        clones,
        "user code ran under the lock"
    );
    assert_eq!(WAKES.load(Ordering::SeqCst), 1);
    runtime.run();
    assert!(runtime.block_on(task).unwrap().unwrap());
}

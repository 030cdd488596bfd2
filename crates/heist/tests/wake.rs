//! Wakes: what they never do inline, wakers that call back, very many at once, and ends that race with them.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

mod support;
#[path = "support/waker.rs"]
mod waker;

use std::future::{Future, pending, poll_fn};
use std::net::{TcpListener as StdListener, TcpStream as StdStream};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use heist::io::Async;
use heist::net::TcpListener;
use heist::task::{catch_cancel, current};
use heist::time::sleep;
use heist::{Task, TaskRef, promise};
use support::{bounded, lone_worker, runtime};
use waker::{Event, poll_with, waker};

const HOUR: Duration = Duration::from_secs(3600);

/// Takes a lock in each poll and when it is dropped; shows its waker after the first poll.
struct Locks {
    lock: Arc<Mutex<usize>>,
    shown: Option<heist::Promise<Waker>>,
}

impl Future for Locks {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        *self.lock.lock().unwrap() += 1;
        match self.shown.take() {
            Some(shown) => {
                let _ = shown.set_result(cx.waker().clone());
                Poll::Pending
            }
            None => Poll::Ready(()),
        }
    }
}

impl Drop for Locks {
    fn drop(&mut self) {
        *self.lock.lock().unwrap() += 1;
    }
}

/// Ways to make a task run or end.
const WAYS: [fn(Waker, Task<()>); 6] = [
    |waker, _task| waker.wake_by_ref(),
    |waker, _task| waker.wake(),
    |waker, task| {
        drop(task);
        waker.wake();
    },
    |_waker, task| assert!(task.cancel()),
    |_waker, task| assert!(task.abort()),
    |waker, task| {
        waker.wake_by_ref();
        assert!(task.abort());
        drop(task);
    },
];

#[test]
fn a_wake_under_a_lock_that_the_task_takes_neither_polls_nor_drops_it() {
    // Inline, it would take the lock a second time on this thread.
    async fn woken_under_its_lock(spawn: impl Fn(Locks) -> Task<()>) {
        for way in WAYS {
            let lock = Arc::new(Mutex::new(0));
            let (shown, waker) = promise();
            let task = spawn(Locks {
                lock: Arc::clone(&lock),
                shown: Some(shown),
            });
            let (told, over) = promise();
            task.task_ref()
                .add_done_callback(move |_| told.set_result(()).unwrap_or(()));
            let waker = waker.await.unwrap();
            {
                let held = lock.lock().unwrap();
                way(waker, task);
                assert_eq!(*held, 1);
            }
            over.await.unwrap();
            assert!(matches!(*lock.lock().unwrap(), 2 | 3));
        }
    }

    bounded(|| {
        for workers in [1, 4] {
            let runtime = runtime(workers);
            // From a foreign thread, and from a task, whose worker takes the woken one next.
            runtime.block_on(woken_under_its_lock(|locks| runtime.spawn(locks)));
            let inside = woken_under_its_lock(|locks| heist::spawn(locks));
            runtime.block_on(runtime.spawn(inside)).unwrap();
        }
        let local = heist::LocalRuntime::new().unwrap();
        local.block_on(woken_under_its_lock(|locks| heist::spawn(locks)));
    });
}

#[test]
fn a_completion_under_a_lock_that_the_other_side_takes_runs_nothing_inline() {
    bounded(|| {
        let runtime = lone_worker();
        let lock = Arc::new(Mutex::new(()));
        for complete in [
            (|promise| assert!(promise.set_result(()).is_ok())) as fn(heist::Promise<()>),
            drop,
        ] {
            let (promise, deferred) = promise();
            let (told, heard) = heist::promise();
            let own = Arc::clone(&lock);
            let entered = runtime.enter();
            deferred.add_done_callback(move |_| drop(own.lock().unwrap()));
            drop(entered);
            let own = Arc::clone(&lock);
            let waiting = runtime.spawn(async move {
                let mut deferred = deferred;
                let mut told = Some(told);
                let result = poll_fn(|cx| {
                    let polled = Pin::new(&mut deferred).poll(cx);
                    told.take().map(|told| told.set_result(()));
                    polled
                });
                let _ = result.await;
                drop(own.lock().unwrap());
            });
            runtime.block_on(heard).unwrap();
            let own = Arc::clone(&lock);
            let completing = runtime.spawn(async move {
                let held = own.lock().unwrap();
                complete(promise);
                heist::Handle::current().call_soon(|| {});
                drop(held);
            });
            runtime.block_on(completing).unwrap();
            runtime.block_on(waiting).unwrap();
        }
    });
}

/// Polls with a waker that calls `reenter` when it is let go: once by the next poll, and once by `let_go`.
///
/// A lock that is held meanwhile, and that `reenter` takes too, makes the test hang.
fn reentered<P>(
    mut polled: P,
    poll: impl Fn(&mut P, &Waker),
    reenter: impl Fn() + Send + Sync + 'static,
    let_go: impl FnOnce(P),
) {
    let armed = Arc::new(AtomicBool::new(false));
    let reenter = Arc::new(reenter);
    let leave_armed = |polled: &mut P| {
        let (own, reenter) = (Arc::clone(&armed), Arc::clone(&reenter));
        let hooked = waker(move |event| {
            if event != Event::Clone && own.swap(false, Ordering::SeqCst) {
                reenter();
            }
        });
        poll(polled, &hooked);
        drop(hooked);
        armed.store(true, Ordering::SeqCst);
    };
    leave_armed(&mut polled);
    poll(&mut polled, Waker::noop());
    assert!(!armed.load(Ordering::SeqCst), "kept by the next poll");
    leave_armed(&mut polled);
    let_go(polled);
    assert!(!armed.load(Ordering::SeqCst), "kept at the end");
}

fn pend<F: Future + Unpin>(future: &mut F, waker: &Waker) {
    assert!(poll_with(future, waker).is_pending());
}

/// Uses whatever of a task other code may use at any time.
fn use_task(view: &TaskRef) {
    view.set_name("reentered");
    assert_eq!(view.name(), "reentered");
    let id = view.add_done_callback(|_| {});
    assert!(view.remove_done_callback(id));
    assert_eq!(view.cancelling(), 0);
    assert!(!view.is_finished());
}

#[test]
fn a_waker_that_is_let_go_may_use_what_it_waited_for() {
    bounded(|| {
        let runtime = runtime(2);
        runtime.block_on(async {
            let task = heist::spawn(pending::<()>());
            let view = task.task_ref();
            reentered(task, pend, move || use_task(&view), drop);

            let (promise, deferred) = promise::<()>();
            let reenter = move || {
                let _ = promise.is_cancelled();
            };
            reentered(deferred, pend, reenter, drop);

            let (_promise, deferred) = heist::promise::<()>();
            let shared = deferred.share();
            let other = shared.clone();
            let reenter = move || {
                let mut third = other.clone();
                pend(&mut third, Waker::noop());
                assert!(!third.is_finished());
            };
            reentered(shared, pend, reenter, drop);

            let (promise, deferred) = heist::promise::<()>();
            let reenter = move || {
                let id = deferred.add_done_callback(|_| {});
                assert!(deferred.remove_done_callback(id) || deferred.is_finished());
            };
            let poll = |promise: &mut heist::Promise<()>, waker: &Waker| {
                pend(&mut promise.cancelled(), waker);
            };
            reentered(promise, poll, reenter, drop);

            let reenter = || pend(&mut Box::pin(sleep(HOUR)), Waker::noop());
            reentered(Box::pin(sleep(HOUR)), pend, reenter, drop);
            let reset = |mut sleep: Pin<Box<heist::time::Sleep>>| {
                sleep.as_mut().reset(Instant::now() + 2 * HOUR);
            };
            reentered(Box::pin(sleep(HOUR)), pend, reenter, reset);

            let view = current();
            let catcher = Box::pin(catch_cancel(pending::<()>()));
            reentered(catcher, pend, move || use_task(&view), drop);
        });
    });
}

#[test]
fn a_waker_that_is_let_go_may_use_the_source_that_it_waited_for() {
    /// Waits for the source in all ways that there are.
    fn use_source(listener: &TcpListener) {
        let cx = &mut Context::from_waker(Waker::noop());
        assert!(listener.poll_accept(cx).is_pending());
        pend(&mut pin!(listener.accept()), Waker::noop());
        // Another one comes into the same table, and leaves it.
        let other = StdListener::bind("127.0.0.1:0").unwrap();
        drop(Async::new(other).unwrap());
    }

    bounded(|| {
        let runtime = runtime(2);
        runtime.block_on(async {
            let listen = async || Arc::new(TcpListener::bind("127.0.0.1:0").await.unwrap());
            let listener = listen().await;
            let weak = Arc::downgrade(&listener);
            let reenter = move || match weak.upgrade() {
                Some(listener) => use_source(&listener),
                None => drop(heist::spawn(async {})),
            };
            let poll = |listener: &mut Arc<TcpListener>, waker: &Waker| {
                let cx = &mut Context::from_waker(waker);
                assert!(listener.poll_accept(cx).is_pending());
            };
            reentered(listener, poll, reenter, drop);

            // A place in the list of waiters.
            let listener = listen().await;
            let own = Arc::clone(&listener);
            let accept = Box::pin(async move { own.accept().await.map(drop) });
            reentered(accept, pend, move || use_source(&listener), drop);
        });
    });
}

/// Polls again with another waker, while the drop of the first one completes what is waited for. That is seen by this
/// poll, or the new waker is woken.
async fn completed_while_replaced<P, T>(
    mut polled: P,
    poll: impl Fn(&mut P, &Waker) -> Poll<T>,
    complete: impl FnOnce() + Send + 'static,
) -> T {
    let complete = Mutex::new(Some(complete));
    let armed = Arc::new(AtomicBool::new(false));
    let own = Arc::clone(&armed);
    let hooked = waker(move |event| {
        if event == Event::Drop && own.load(Ordering::SeqCst) {
            let complete = complete.lock().unwrap().take();
            complete.unwrap()();
        }
    });
    assert!(poll(&mut polled, &hooked).is_pending());
    drop(hooked);
    armed.store(true, Ordering::SeqCst);
    poll_fn(|cx| poll(&mut polled, cx.waker())).await
}

#[test]
fn what_is_completed_while_a_waker_is_replaced_is_not_lost() {
    fn poll<F: Future + Unpin>(future: &mut F, waker: &Waker) -> Poll<F::Output> {
        poll_with(future, waker)
    }

    bounded(|| {
        let runtime = runtime(2);
        runtime.block_on(async {
            let task = heist::spawn(pending::<()>());
            let view = task.task_ref();
            let ended = completed_while_replaced(task, poll, move || assert!(view.abort()));
            assert!(ended.await.unwrap_err().is_cancelled());

            let (promise, deferred) = promise();
            let complete = move || promise.set_result(1).unwrap();
            let value = completed_while_replaced(deferred, poll, complete).await;
            assert_eq!(value.unwrap(), 1);

            let (promise, deferred) = heist::promise();
            let complete = move || promise.set_result(2).unwrap();
            let value = completed_while_replaced(deferred.share(), poll, complete).await;
            assert_eq!(value.unwrap(), 2);

            let (promise, deferred) = heist::promise::<()>();
            let poll_cancelled = |promise: &mut heist::Promise<()>, waker: &Waker| {
                poll_with(&mut promise.cancelled(), waker)
            };
            completed_while_replaced(promise, poll_cancelled, move || drop(deferred)).await;

            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let accept = Box::pin(async move { listener.accept().await.map(drop) });
            let connect = move || drop(StdStream::connect(address).unwrap());
            completed_while_replaced(accept, poll, connect)
                .await
                .unwrap();
        });
        let caught = runtime.spawn(async {
            let view = current();
            let catcher = Box::pin(catch_cancel(pending::<()>()));
            let cancel = move || assert!(view.cancel());
            completed_while_replaced(catcher, poll, cancel)
                .await
                .is_err()
        });
        assert!(runtime.block_on(caught).unwrap());
    });
}

/// Polls with a waker that takes the output as it is woken, and drops what it waited for.
async fn taken_in_the_wake<F>(future: F, complete: impl FnOnce())
where
    F: Future + Unpin + Send + 'static,
{
    let (told, taken) = promise();
    let slot = Arc::new(Mutex::new(Some((future, told))));
    let own = Arc::clone(&slot);
    let hooked = waker(move |event| {
        if event != Event::Wake {
            return;
        }
        let waiting = own.lock().unwrap().take();
        if let Some((mut future, told)) = waiting {
            let ready = poll_with(&mut future, Waker::noop()).is_ready();
            drop(future);
            told.set_result(ready).unwrap();
        }
    });
    let (mut future, told) = slot.lock().unwrap().take().unwrap();
    pend(&mut future, &hooked);
    *slot.lock().unwrap() = Some((future, told));
    complete();
    assert!(taken.await.unwrap(), "woken, and not ready");
    drop(hooked);
}

#[test]
fn a_waker_may_take_what_it_waited_for_as_it_is_woken() {
    bounded(|| {
        let runtime = runtime(2);
        runtime.block_on(async {
            let (open, gate) = promise::<()>();
            let complete = || open.set_result(()).unwrap();
            taken_in_the_wake(heist::spawn(gate), complete).await;

            let (open, gate) = promise::<()>();
            taken_in_the_wake(gate, || open.set_result(()).unwrap()).await;

            let (open, gate) = promise::<()>();
            taken_in_the_wake(gate.share(), || open.set_result(()).unwrap()).await;

            let (mut promise, deferred) = promise::<()>();
            let cancelled = Box::pin(async move { promise.cancelled().await });
            taken_in_the_wake(cancelled, || drop(deferred)).await;

            taken_in_the_wake(Box::pin(sleep(Duration::from_millis(1))), || ()).await;

            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let accept = Box::pin(async move { listener.accept().await.map(drop) });
            let connect = || drop(StdStream::connect(address).unwrap());
            taken_in_the_wake(accept, connect).await;
        });
        let caught = runtime.spawn(async {
            let catcher = Box::pin(catch_cancel(pending::<()>()));
            taken_in_the_wake(catcher, || assert!(current().cancel())).await;
        });
        runtime.block_on(caught).unwrap();
    });
}

#[test]
fn a_handle_that_waited_and_is_shared_then_wakes_all_who_wait_for_it() {
    bounded(|| {
        let runtime = runtime(2);
        let (open, gate) = promise::<()>();
        let mut task = runtime.spawn(gate);
        runtime.block_on(poll_fn(|cx| {
            // A waker of somebody who waits no longer.
            assert!(Pin::new(&mut task).poll(cx).is_pending());
            Poll::Ready(())
        }));
        let shared = task.share();
        let mut other = shared.clone();
        let (told, heard) = promise();
        let mut told = Some(told);
        let waiting = runtime.spawn(poll_fn(move |cx| {
            let polled = Pin::new(&mut other).poll(cx);
            told.take().map(|told| told.set_result(()));
            polled
        }));
        runtime.block_on(heard).unwrap();
        open.set_result(()).unwrap();
        assert!(runtime.block_on(waiting).unwrap().is_ok());
        assert!(runtime.block_on(shared).is_ok());
    });
}

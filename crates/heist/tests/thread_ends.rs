//! What thread-locals of a thread do with runtimes when that thread is nearly over.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

mod support;

use std::any::Any;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::mpsc::{Sender, channel};
use std::thread::{self, LocalKey};
use std::time::Duration;

use heist::task::catch_cancel;
use heist::{Handle, LocalRuntime, Promise, Runtime, promise};
use support::{bounded, runtime};

/// Runs a closure when it is dropped.
struct AtTheEnd(Option<Box<dyn FnOnce() + Send>>);

impl AtTheEnd {
    fn new(last: impl FnOnce() + Send + 'static) -> Self {
        Self(Some(Box::new(last)))
    }
}

impl Drop for AtTheEnd {
    fn drop(&mut self) {
        if let Some(last) = self.0.take() {
            last();
        }
    }
}

type Kept = RefCell<Option<Box<dyn Any>>>;

thread_local! {
    static EARLY: Kept = const { RefCell::new(None) };
    static LATE: Kept = const { RefCell::new(None) };
}

/// A thread-local that was made before those of the runtime, or one that will be made after them.
fn key(before: bool) -> &'static LocalKey<Kept> {
    if !before {
        return &LATE;
    }
    EARLY.set(None);
    &EARLY
}

/// Keeps what `make` makes in a thread-local, of one or the other kind, of a thread that ends then.
fn kept_by_a_thread_that_ends(before: bool, make: impl FnOnce() -> Box<dyn Any> + Send + 'static) {
    let ending = thread::spawn(move || {
        let key = key(before);
        let own = runtime(1);
        own.block_on(async { heist::task::yield_now().await });
        key.set(Some(make()));
    });
    ending.join().unwrap();
}

/// Calls `last` in the destructor of a thread-local of one or the other kind.
fn while_a_thread_ends(before: bool, last: impl FnOnce() + Send + 'static) {
    kept_by_a_thread_that_ends(before, || Box::new(AtTheEnd::new(last)));
}

#[test]
fn a_thread_that_is_nearly_over_can_spawn_wake_and_end_a_runtime() {
    for before in [false, true] {
        bounded(move || {
            let shared = runtime(2);
            let (spawned, ran) = channel();
            let handle = shared.handle().clone();
            while_a_thread_ends(before, move || {
                handle.spawn(async move { spawned.send(()).unwrap() });
            });
            ran.recv_timeout(Duration::from_secs(5)).unwrap();

            let (promise, deferred) = promise();
            while_a_thread_ends(before, move || promise.set_result(3).unwrap());
            assert_eq!(shared.block_on(deferred).unwrap(), 3);

            let (told, report) = channel();
            while_a_thread_ends(before, move || {
                let own = runtime(1);
                let task = own.spawn(async { 4 });
                told.send(own.block_on(task).unwrap()).unwrap();
                told.send(i32::from(own.shutdown(Duration::from_secs(5)).is_clean()))
                    .unwrap();
            });
            assert_eq!(report.iter().collect::<Vec<_>>(), [4, 1]);

            let (told, report) = channel();
            while_a_thread_ends(before, move || {
                let own = Runtime::builder().worker_threads(1).thread_name("own");
                let child = own.build().unwrap().block_on(async {
                    heist::time::sleep(Duration::from_millis(1)).await;
                    heist::spawn(async { thread::current().name().map(str::to_owned) }).await
                });
                told.send(child.unwrap()).unwrap();
            });
            assert_eq!(report.recv().unwrap().as_deref(), Some("own-0"));

            let kept = runtime(1);
            while_a_thread_ends(before, move || drop(kept));
        });
    }
}

/// Waits until it is dropped, and spawns then.
async fn spawns_when_dropped(begun: Promise<()>, told: Sender<&'static str>) {
    let _held = AtTheEnd::new(move || {
        let late = heist::spawn(async {});
        assert!(late.is_finished());
        assert!(late.wait_blocking().unwrap_err().is_runtime_gone());
        told.send("dropped").unwrap();
    });
    begun.set_result(()).unwrap();
    pending().await
}

/// Waits until it is cancelled, and takes a moment then.
async fn sleeps_when_cancelled(begun: Promise<()>, told: Sender<&'static str>) {
    let waits = async {
        begun.set_result(()).unwrap();
        pending::<()>().await;
    };
    catch_cancel(waits).await.unwrap_err();
    assert!(Handle::try_current().is_some());
    heist::time::sleep(Duration::from_millis(2)).await;
    told.send("cleaned up").unwrap();
}

/// Leaves both of them behind.
async fn leave(spawn: fn(Pin<Box<dyn Future<Output = ()> + Send>>), told: Sender<&'static str>) {
    let ((one, begun), (other, begins)) = (promise(), promise());
    spawn(Box::pin(spawns_when_dropped(one, told.clone())));
    spawn(Box::pin(sleeps_when_cancelled(other, told)));
    begun.await.and(begins.await).unwrap();
}

#[test]
fn a_runtime_in_a_thread_local_gives_its_tasks_their_clean_up_as_the_thread_ends() {
    for (before, local) in [(false, false), (false, true), (true, false), (true, true)] {
        bounded(move || {
            let (told, report) = channel();
            kept_by_a_thread_that_ends(before, move || -> Box<dyn Any> {
                if local {
                    let own = LocalRuntime::new().unwrap();
                    own.block_on(leave(|last| heist::spawn_local(last).detach(), told));
                    Box::new(own)
                } else {
                    let own = runtime(1);
                    own.block_on(leave(|last| heist::spawn(last).detach(), told));
                    Box::new(own)
                }
            });
            let words: BTreeSet<_> = report.iter().collect();
            assert_eq!(words, BTreeSet::from(["cleaned up", "dropped"]));
        });
    }
}

#[test]
fn a_thread_local_of_a_worker_or_of_a_pool_thread_can_spawn_as_that_thread_ends() {
    for before in [false, true] {
        bounded(move || {
            let other = runtime(1);
            let builder = Runtime::builder().worker_threads(1);
            let builder = builder.on_thread_start(move || _ = key(before));
            let own = builder.build().unwrap();
            let (told, report) = channel();
            let leave = |what| {
                let told = told.clone();
                let (own, other) = (own.handle().clone(), other.handle().clone());
                move || {
                    let last = AtTheEnd::new(move || {
                        let outside = Handle::try_current().is_none();
                        let late = own.spawn(async {}).wait_blocking();
                        let gone = late.is_err_and(|error| error.is_runtime_gone());
                        other.spawn(async move { told.send((what, outside, gone)).unwrap() });
                    });
                    key(before).set(Some(Box::new(last)));
                }
            };
            let (worker, pool) = (leave("worker"), leave("pool"));
            own.spawn(async { worker() }).wait_blocking().unwrap();
            own.spawn_blocking(pool).wait_blocking().unwrap();
            drop(told);
            assert!(own.shutdown(Duration::from_secs(5)).is_clean());
            let expected = [("pool", true, true), ("worker", true, true)];
            assert_eq!(report.iter().collect::<BTreeSet<_>>(), expected.into());
        });
    }
}

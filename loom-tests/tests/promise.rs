//! A promise across threads: the value, the cancellation, the drops.

#![cfg(loom)]

use heist_core::future::promise;
use heist_loom_tests::explore;
use heist_loom_tests::kinds::PROMISE;
use heist_loom_tests::promise::{PromiseActor, PromiseWorld, act, promise_pairs};
use heist_loom_tests::races::{all_met, race};
use loom::thread;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Poll, Wake, Waker};

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

fn poll<F: Future + Unpin>(future: &mut F, count: &Arc<Count>) -> Poll<F::Output> {
    let waker = Waker::from(Arc::clone(count));
    Pin::new(future).poll(&mut Context::from_waker(&waker))
}

#[test]
fn racing_pairs_of_a_promise() {
    use PromiseActor::{AwaitCancelled, DropPromise, Poll, SetResult, TypedCallback};
    let scenes: [(&str, fn() -> PromiseWorld); 9] = [
        ("fresh", PromiseWorld::new),
        ("awaited", || PromiseWorld::new().after(Poll)),
        ("watched", || PromiseWorld::new().after(TypedCallback)),
        ("watching", || PromiseWorld::new().after(AwaitCancelled)),
        ("over", || PromiseWorld::new().after(SetResult)),
        ("viewed", || PromiseWorld::new().after(SetResult).viewed()),
        ("viewed and held", || {
            PromiseWorld::new()
                .after(SetResult)
                .viewed()
                .after(TypedCallback)
                .after(Poll)
        }),
        ("over and held", || {
            PromiseWorld::new()
                .after(SetResult)
                .after(TypedCallback)
                .after(Poll)
        }),
        ("given up and held", || {
            PromiseWorld::new().after(TypedCallback).after(DropPromise)
        }),
    ];
    for (name, scene) in scenes {
        race(name, &promise_pairs(), move |one, two| {
            act(one, two, scene())
        });
    }
    all_met(&PROMISE);
}

#[test]
fn a_result_races_with_the_await() {
    explore("a_result_races_with_the_await", || {
        let (promise, mut deferred) = promise();
        let other = thread::spawn(move || promise.set_result(Box::new(1)).is_ok());
        let count = Arc::new(Count::default());
        let first = poll(&mut deferred, &count);
        assert!(other.join().expect("the model's thread"));
        if first.is_pending() {
            assert_eq!(count.0.load(SeqCst), 1, "the wake was lost");
            assert!(matches!(poll(&mut deferred, &count), Poll::Ready(Ok(_))));
        }
    });
}

#[test]
fn a_result_races_with_the_cancellation() {
    explore("a_result_races_with_the_cancellation", || {
        let (promise, mut deferred) = promise();
        let other = thread::spawn(move || promise.set_result(Box::new(1)).is_ok());
        let cancelled = deferred.cancel();
        let set = other.join().expect("the model's thread");
        assert!(set != cancelled, "exactly one of them wins");
        let count = Arc::new(Count::default());
        let Poll::Ready(result) = poll(&mut deferred, &count) else {
            panic!("it is over")
        };
        assert_eq!(result.is_ok(), set);
    });
}

#[test]
fn a_result_races_with_the_drop() {
    explore("a_result_races_with_the_drop", || {
        let value = Arc::new(());
        let (promise, deferred) = promise();
        let sent = Arc::clone(&value);
        let other = thread::spawn(move || drop(promise.set_result(sent)));
        drop(deferred);
        other.join().expect("the model's thread");
        assert_eq!(Arc::strong_count(&value), 1, "the value is dropped once");
    });
}

#[test]
fn waiting_for_the_cancellation_races_with_it() {
    for drop_it in [false, true] {
        explore("waiting_for_the_cancellation_races_with_it", move || {
            let (mut promise, deferred) = promise::<u8>();
            let other = thread::spawn(move || {
                if drop_it {
                    drop(deferred);
                } else {
                    assert!(deferred.cancel());
                }
            });
            let count = Arc::new(Count::default());
            let first = poll(&mut promise.cancelled(), &count);
            other.join().expect("the model's thread");
            if first.is_pending() {
                assert!(count.0.load(SeqCst) >= 1, "the wake was lost");
                assert!(poll(&mut promise.cancelled(), &count).is_ready());
            }
        });
    }
}

//! The cache on a runtime with threads.

#![cfg(not(loom))]
#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

use std::future::{pending, ready};
use std::num::NonZeroUsize;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use heist::promise;
use single_flight::{Cache, GetError};

fn cache(capacity: usize) -> Arc<Cache<u8, u8, &'static str>> {
    Arc::new(Cache::new(NonZeroUsize::new(capacity).unwrap()))
}

#[heist::test(timeout = "10s")]
async fn those_who_wait_share_the_error_and_the_next_one_tries_again() {
    let cache = cache(1);
    let (begun, has_begun) = promise();
    let (go, may_go) = promise();
    let first = {
        let cache = Arc::clone(&cache);
        heist::spawn(async move {
            let load = |_| async move {
                begun.set_result(()).unwrap();
                may_go.await.unwrap()
            };
            cache.get(1, load).await
        })
    };
    has_begun.await.unwrap();
    let mut second = Box::pin(cache.get(1, |_| ready(Ok(2))));
    // One poll makes it wait for the first.
    let polled = std::future::poll_fn(|cx| std::task::Poll::Ready(second.as_mut().poll(cx)));
    assert!(polled.await.is_pending());
    go.set_result(Err("no such key")).unwrap();
    assert_eq!(second.await, Err(GetError::Load("no such key")));
    assert_eq!(first.await.unwrap(), Err(GetError::Load("no such key")));
    assert_eq!(cache.get(1, |_| ready(Ok(3))).await, Ok(3));
}

#[heist::test(timeout = "10s")]
async fn a_panic_in_a_load_lets_the_next_one_load() {
    let cache = cache(1);
    let theirs = Arc::clone(&cache);
    let load = |_| async { panic!("on purpose") };
    let task = heist::spawn(async move { theirs.get(1, load).await });
    assert!(task.await.unwrap_err().is_panic());
    assert_eq!(cache.get(1, |_| ready(Ok(2))).await, Ok(2));
}

/// Its clones panic from the second on.
#[derive(Debug)]
struct Brittle(Arc<AtomicUsize>);

impl Clone for Brittle {
    fn clone(&self) -> Self {
        assert_eq!(self.0.fetch_add(1, Relaxed), 0, "on purpose");
        Self(Arc::clone(&self.0))
    }
}

#[heist::test(timeout = "10s")]
async fn a_panic_in_the_clone_of_a_value_lets_the_next_one_load() {
    let cache = Arc::new(Cache::<u8, Brittle, u8>::new(NonZeroUsize::MIN));
    let theirs = Arc::clone(&cache);
    let load = |_| ready(Ok(Brittle(Arc::default())));
    let task = heist::spawn(async move { theirs.get(1, load).await });
    assert!(task.await.unwrap_err().is_panic());
    assert_eq!(
        cache.get(1, |_| ready(Err(2))).await.unwrap_err(),
        GetError::Load(2)
    );
}

#[heist::test(timeout = "10s")]
async fn the_oldest_value_makes_room() {
    let cache = cache(2);
    for key in 1..=3 {
        assert_eq!(cache.get(key, |key| ready(Ok(key))).await, Ok(key));
    }
    let again = |_| ready(Ok(9));
    assert_eq!(cache.get(3, again).await, Ok(3));
    assert_eq!(cache.get(2, again).await, Ok(2));
    assert_eq!(cache.get(1, again).await, Ok(9));
}

#[heist::test(timeout = "10s")]
async fn a_key_that_is_invalidated_leaves_no_trace() {
    let cache = cache(2);
    for round in 0..3 {
        assert_eq!(cache.get(1, |_| ready(Ok(round))).await, Ok(round));
        cache.invalidate(&1);
    }
    // A trace would be evicted now, instead of the value.
    for key in 1..=3 {
        assert_eq!(cache.get(key, |key| ready(Ok(key))).await, Ok(key));
    }
    assert_eq!(cache.get(1, |_| ready(Ok(9))).await, Ok(9));
}

#[heist::test(timeout = "10s")]
async fn loads_that_are_under_way_are_not_evicted() {
    let cache = cache(1);
    let mut under_way = Box::pin(cache.get(1, |_| pending()));
    let polled = std::future::poll_fn(|cx| std::task::Poll::Ready(under_way.as_mut().poll(cx)));
    assert!(polled.await.is_pending());
    assert_eq!(cache.get(2, |_| ready(Ok(2))).await, Err(GetError::Full));
    drop(under_way);
    assert_eq!(cache.get(2, |_| ready(Ok(2))).await, Ok(2));
}

#[test]
fn the_program_loads_each_key_once() {
    let output = Command::new(env!("CARGO_BIN_EXE_single-flight"))
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    let expected = "100 calls, 4 loads\nthe value could not be loaded: there is no user 4\n";
    assert_eq!(text, expected);
}

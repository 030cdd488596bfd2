//! Waiting without being async.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use heist_core::budget::unbudgeted;
use heist_core::context::block_on;

/// Blocks the thread until `future` is ready. On a worker another thread serves meanwhile. Where there is nothing to wait for it costs,
/// and panics, no more than a poll.
pub(crate) fn wait<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let first = unbudgeted(|| {
        future
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
    });
    if let Poll::Ready(output) = first {
        return output;
    }
    let mut output = None;
    let mut poll = |cx: &mut Context<'_>| match future.as_mut().poll(cx) {
        Poll::Ready(ready) => {
            output = Some(ready);
            true
        }
        Poll::Pending => false,
    };
    block_on(&mut poll);
    match output {
        Some(output) => output,
        None => unreachable!("it blocks until the future is ready"),
    }
}

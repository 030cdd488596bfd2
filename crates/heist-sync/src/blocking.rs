//! Waiting without being async.

use std::future::Future;
use std::pin::pin;
use std::task::Poll;

use heist_core::context::block_on_or;

use crate::sync::sleep_between;

/// Blocks the thread until `future` is ready. On a worker another thread serves meanwhile.
pub(crate) fn wait<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let mut output = None;
    let mut poll = |cx: &mut std::task::Context<'_>| match future.as_mut().poll(cx) {
        Poll::Ready(ready) => {
            output = Some(ready);
            true
        }
        Poll::Pending => false,
    };
    block_on_or(&mut poll, sleep_between);
    match output {
        Some(output) => output,
        None => unreachable!("it blocks until the future is ready"),
    }
}

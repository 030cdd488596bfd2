//! Wakers whose clone, wake and drop are the test's own code.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Waker};

/// What is being done to a waker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Clone,
    /// By value, too: the drop that is part of it is not told.
    Wake,
    Drop,
}

type Hook = Box<dyn Fn(Event) + Send + Sync>;

/// A waker that tells `hook` of everything that is done to it or to a clone of it.
pub(crate) fn waker(hook: impl Fn(Event) + Send + Sync + 'static) -> Waker {
    let hook: Arc<Hook> = Arc::new(Box::new(hook));
    // SAFETY: the functions of the vtable are thread-safe, as the hook is, and each waker owns one count.
    unsafe { Waker::from_raw(raw(hook)) }
}

/// Polls once, with this waker.
pub(crate) fn poll_with<F: Future + Unpin>(future: &mut F, waker: &Waker) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(waker))
}

fn raw(hook: Arc<Hook>) -> RawWaker {
    RawWaker::new(Arc::into_raw(hook).cast(), &VTABLE)
}

const VTABLE: RawWakerVTable = RawWakerVTable::new(
    |data| {
        // SAFETY: the waker that is cloned owns the count that is borrowed here.
        let own = std::mem::ManuallyDrop::new(unsafe { owned(data) });
        own(Event::Clone);
        raw(Arc::clone(&own))
    },
    // SAFETY: the waker gives its count up.
    |data| (unsafe { owned(data) })(Event::Wake),
    |data| {
        // SAFETY: the waker owns the count that is borrowed here.
        let own = std::mem::ManuallyDrop::new(unsafe { owned(data) });
        own(Event::Wake);
    },
    // SAFETY: the waker gives its count up.
    |data| (unsafe { owned(data) })(Event::Drop),
);

/// # Safety
///
/// `data` comes from `raw`, and its count is the caller's, or is not dropped here.
unsafe fn owned(data: *const ()) -> Arc<Hook> {
    // SAFETY: handed on.
    unsafe { Arc::from_raw(data.cast()) }
}

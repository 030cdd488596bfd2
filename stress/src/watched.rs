//! Futures, closures and outputs that tell the oracle what happens to them.

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::task::{Context, Poll};
use std::thread;

use crate::guard::Guard;
use crate::oracle::{Record, World, panic_as_asked};

pub(crate) type Boxed = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What a task gives.
pub(crate) struct Output {
    #[expect(dead_code, reason = "it is there to be dropped")]
    guard: Guard,
    pub(crate) value: u64,
    world: Arc<World>,
    panics: AtomicBool,
}

impl Output {
    pub(crate) fn new(world: &Arc<World>, value: u64, panics: bool) -> Self {
        Self {
            guard: world.guard(),
            value,
            world: Arc::clone(world),
            panics: AtomicBool::new(panics),
        }
    }

    /// The value, taken by who wanted it.
    pub(crate) fn take(self) -> u64 {
        self.panics.store(false, SeqCst);
        self.value
    }
}

impl Clone for Output {
    fn clone(&self) -> Self {
        Self::new(&self.world, self.value, false)
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if self.panics.load(SeqCst) && !thread::panicking() {
            panic_as_asked();
        }
    }
}

/// The body of a task.
pub(crate) struct Watched {
    held: Held,
    body: Option<Boxed>,
    output_panics: bool,
}

impl Watched {
    pub(crate) fn new(
        world: &Arc<World>,
        record: &Arc<Record>,
        body: Boxed,
        drop_panics: bool,
        output_panics: bool,
    ) -> Self {
        Self {
            held: Held::new(world, record, drop_panics),
            body: Some(body),
            output_panics,
        }
    }
}

impl Future for Watched {
    type Output = Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Output> {
        let this = &mut *self;
        let Held { world, record, .. } = &this.held;
        record.on_poll(world);
        let polled = catch_unwind(AssertUnwindSafe(|| match &mut this.body {
            Some(body) => body.as_mut().poll(cx),
            None => Poll::Pending,
        }));
        match &polled {
            Ok(Poll::Pending) => {}
            Ok(Poll::Ready(())) => record.on_return(),
            Err(_) => record.on_panic(),
        }
        record.after_poll();
        match polled {
            Ok(polled) => polled.map(|()| Output::new(world, record.number(), this.output_panics)),
            Err(payload) => resume_unwind(payload),
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        // What the body owns goes first; `held` tells when all is gone.
        let body = self.body.take();
        let dropped = catch_unwind(AssertUnwindSafe(|| drop(body)));
        if let Err(payload) = dropped {
            ignore(payload);
        }
    }
}

/// Tells when it is dropped.
pub(crate) struct Held {
    pub(crate) world: Arc<World>,
    pub(crate) record: Arc<Record>,
    panics: bool,
    #[expect(dead_code, reason = "it is there to be dropped")]
    guard: Guard,
}

impl Held {
    pub(crate) fn new(world: &Arc<World>, record: &Arc<Record>, panics: bool) -> Self {
        Self {
            world: Arc::clone(world),
            record: Arc::clone(record),
            panics,
            guard: world.guard(),
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.record.on_drop(&self.world);
        if self.panics && !thread::panicking() {
            panic_as_asked();
        }
    }
}

/// Drops the payload of a panic that has been dealt with.
pub(crate) fn ignore(payload: Box<dyn Any + Send>) {
    drop(payload);
}

//! Waiting for a future on a thread that blocks meanwhile.
//!
//! On a foreign thread that is all there is to it. Inside of a task the thread is a worker, of this runtime or another
//! one, and its runtime must not miss it: the worker moves its LIFO slot to the queue, where the others take it, says that
//! it is blocked, and sees to it that somebody looks at the queues and at the driver. It then parks until the root is
//! woken. What the root spawns and wakes goes the way of foreign threads; no other task is polled in that frame.
//!
//! ```text
//!  worker 0: task ─► block_on ─ announce ─ park ················· root is woken ─ back ─► task goes on
//!                                  │ owed                                            │ one too many
//!  spare:                          └─► takes a free slot, steals, polls, sleeps ····  └─► the next one that would
//!                                                                                         park retires
//! ```

use std::future::Future;

use heist_core::context::{self, RuntimeContext};
use heist_core::error::{ExceptionContext, ExceptionKind};
use heist_core::schedule::{leave_frame, with_frame};
use heist_core::task::{self, Meta, TaskError};

use crate::blocking::Host;
use crate::queue::Local;
use crate::shared::Shared;
use crate::sync::{Arc, mutation};

/// Runs `future` as a root of `host`'s runtime, on this thread.
pub(crate) fn block_on<H: Host, F: Future>(
    host: &Arc<H>,
    future: F,
    meta: Meta,
) -> Result<F::Output, TaskError> {
    let parker = host.platform().parker();
    let run = || {
        let _entered = context::enter(host.context());
        task::block_on(host, future, meta, Arc::clone(&parker), |_| {
            parker.park(None)
        })
    };
    let result = blocking(run);
    host.task_ended();
    result
}

/// Runs `f`, which may block. Inside of a task, somebody serves in the place of its worker meanwhile.
pub(crate) fn blocking<R>(f: impl FnOnce() -> R) -> R {
    let blocked = Blocked::announce();
    if blocked.is_worker() {
        leave_frame(f)
    } else {
        f()
    }
}

/// A thread that is about to block, a worker perhaps. Says that it is back when dropped.
pub(crate) struct Blocked {
    /// The runtime whose worker it is, and which one.
    worker_of: Option<(Arc<Shared>, usize)>,
}

impl Blocked {
    /// If this thread is a worker, of whatever runtime, somebody shall serve in its place.
    pub(crate) fn announce() -> Self {
        let worker_of = with_frame(|own: &Arc<Shared>, local| {
            announce(own, local);
            (Arc::clone(own), local.index)
        });
        Self { worker_of }
    }

    fn is_worker(&self) -> bool {
        self.worker_of.is_some()
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        if let Some((shared, index)) = &self.worker_of {
            if shared.sleep.unblock(*index) {
                shared.monitor.call();
            }
        }
    }
}

fn announce(shared: &Shared, local: &Local) {
    local.hand_over(&shared.injector);
    let in_time = shared.sleep.block(local.index);
    if !shared.role.is_held() {
        // Nobody is in the driver, and this worker will not be.
        if !mutation("announce-calls-nobody") {
            shared.call_somebody();
        }
    } else if !local.is_bare() {
        shared.notify();
    }
    if !in_time {
        shared.report_uncovered();
    }
    // All of that may have called the exception handler, which may have spawned: nobody looks into the slot from now on.
    while !local.slot.own.lifo.is_empty() {
        local.hand_over(&shared.injector);
        shared.notify();
    }
}

impl Shared {
    /// Wakes somebody, or starts somebody who is owed, even if others search.
    pub(crate) fn call_somebody(&self) {
        self.wake(self.sleep.take_sleeper(true));
    }

    /// A worker is blocked in whose place nobody can serve.
    #[cold]
    pub(crate) fn report_uncovered(&self) {
        self.report(&ExceptionContext::new(
            ExceptionKind::Runtime,
            "so many tasks block their workers that no further thread may serve in their place; what they wait for may \
             never run: await instead, or run on spawn_blocking what has to block",
        ));
    }
}

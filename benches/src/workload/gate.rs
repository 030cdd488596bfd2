//! The operations whose instructions are counted. Nothing here counts, locks or measures time: whatever is executed
//! between two lengths of the same run belongs to the runtime.

use std::thread;
use std::time::Duration;

use super::{SelfWake, on_worker};
use crate::backend::Backend;
use crate::figures::Figures;

/// `n` empty tasks spawned by a worker, at most 1000 outstanding, no handle kept.
pub(super) fn spawn<B: Backend>(backend: B, n: u64) -> Figures {
    on_worker(backend, async move {
        for spawned in 1..=n {
            B::detach(backend.spawn(async {}));
            if spawned % 1000 == 0 {
                SelfWake::default().await;
            }
        }
    });
    // What a runtime has moved to another queue ends before the process does.
    thread::sleep(Duration::from_secs(1));
    Figures::of("tasks", n as f64)
}

/// `n` empty tasks spawned by a worker, each awaited before the next.
pub(super) fn join<B: Backend>(backend: B, n: u64) -> Figures {
    on_worker(backend, async move {
        for _ in 0..n {
            backend.spawn(async {}).await;
        }
    });
    Figures::of("tasks", n as f64)
}

/// `n` long sleeps, each polled once and dropped.
pub(super) fn sleep<B: Backend>(backend: B, n: u64) -> Figures {
    on_worker(
        backend,
        async move { super::timer::churn_one(backend, n).await },
    );
    Figures::of("sleeps", n as f64)
}

/// Two tasks send each other `n` messages in all over channels with room for one.
pub(super) fn wake<B: Backend>(backend: B, n: u64) -> Figures {
    on_worker(backend, super::wake::back_and_forth(backend, n.div_ceil(2)));
    Figures::of("wakes", n as f64)
}

/// One task wakes itself `n` times.
pub(super) fn yields<B: Backend>(backend: B, n: u64) -> Figures {
    on_worker(backend, async move {
        for _ in 0..n {
            SelfWake::default().await;
        }
    });
    Figures::of("yields", n as f64)
}

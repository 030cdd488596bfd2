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

/// One task wakes itself `n` times.
pub(super) fn yields<B: Backend>(backend: B, n: u64) -> Figures {
    on_worker(backend, async move {
        for _ in 0..n {
            SelfWake::default().await;
        }
    });
    Figures::of("yields", n as f64)
}

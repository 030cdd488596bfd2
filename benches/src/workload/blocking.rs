//! The pool for closures that block.

use super::on_worker;
use crate::backend::Backend;
use crate::figures::{Figures, Stopwatch};

/// A task submits `n` closures that do next to nothing, and awaits them all.
pub(super) fn tiny<B: Backend>(backend: B, n: u64) -> Figures {
    on_worker(backend, async move {
        let watch = Stopwatch::start();
        let jobs: Vec<_> = (0..n)
            .map(|number| backend.spawn_blocking(move || number))
            .collect();
        let mut sum = 0;
        for job in jobs {
            sum += job.await;
        }
        assert_eq!(sum, n * n.saturating_sub(1) / 2, "a job is missing");
        watch.stop(n)
    })
}

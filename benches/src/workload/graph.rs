//! Tasks that spawn tasks.

use std::pin::Pin;

use futures_channel::oneshot;

use super::on_worker;
use crate::backend::Backend;
use crate::figures::{Figures, Stopwatch};

/// How deep the tree of Fibonacci calls is.
pub(crate) const FIB_DEPTH: u64 = 16;

/// A call fork(d) spawns once for each inner node of its tree: fib(d + 1) - 1 times.
pub(crate) const FIB_FORKS: u64 = 1596;

/// What comes out.
pub(crate) const FIB_RESULT: u64 = 987;

/// Chains of 1000 links, each of which spawns the next.
pub(super) fn chained_spawn<B: Backend>(backend: B, n: u64) -> Figures {
    const LINKS: u64 = 1000;
    let chains = n.div_ceil(LINKS);
    on_worker(backend, async move {
        let watch = Stopwatch::start();
        for _ in 0..chains {
            let (done, end) = oneshot::channel();
            link(backend, LINKS, done);
            end.await.expect("the last link tells");
        }
        watch.stop(chains * LINKS)
    })
}

fn link<B: Backend>(backend: B, left: u64, done: oneshot::Sender<()>) {
    B::detach(backend.spawn(async move {
        if left == 1 {
            done.send(()).expect("the chain is waited for");
        } else {
            link(backend, left - 1, done);
        }
    }));
}

/// A tree with a fan-out of ten and `n` leaves (a power of ten) whose numbers are summed.
pub(super) fn skynet<B: Backend>(backend: B, n: u64) -> Figures {
    let leaves = 10_u64.pow(n.max(1).ilog10());
    on_worker(backend, async move {
        let watch = Stopwatch::start();
        let sum = node(backend, 0, leaves).await;
        assert_eq!(sum, leaves * (leaves - 1) / 2, "a leaf is missing");
        watch.stop(leaves)
    })
}

fn node<B: Backend>(backend: B, first: u64, leaves: u64) -> B::Join<u64> {
    backend.spawn(async move {
        if leaves == 1 {
            return first;
        }
        let part = leaves / 10;
        let mut children = Vec::with_capacity(10);
        for child in 0..10 {
            children.push(node(backend, first + child * part, part));
        }
        let mut sum = 0;
        for child in children {
            sum += child.await;
        }
        sum
    })
}

/// Fibonacci by spawning one half, computing the other and joining; about `n` forks in all.
pub(super) fn fork_join_fib<B: Backend>(backend: B, n: u64) -> Figures {
    let runs = n.div_ceil(FIB_FORKS);
    on_worker(backend, async move {
        let watch = Stopwatch::start();
        for _ in 0..runs {
            assert_eq!(
                fork(backend, FIB_DEPTH).await,
                FIB_RESULT,
                "a half is missing"
            );
        }
        watch.stop(runs * FIB_FORKS)
    })
}

fn fork<B: Backend>(backend: B, depth: u64) -> Pin<Box<dyn Future<Output = u64> + Send>> {
    Box::pin(async move {
        if depth < 2 {
            return depth;
        }
        let half = backend.spawn(fork(backend, depth - 1));
        let other = fork(backend, depth - 2).await;
        half.await + other
    })
}

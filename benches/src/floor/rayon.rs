//! rayon: fork and join on a pool of threads, without futures.

use std::io;

use ::rayon::ThreadPoolBuilder;
use ::rayon::prelude::{IntoParallelIterator, ParallelIterator};

use crate::figures::{Figures, Stopwatch};
use crate::workload::graph::{FIB_DEPTH, FIB_FORKS, FIB_RESULT};

/// What the command line calls it.
pub const NAME: &str = "rayon";

/// The workloads that it has.
pub const WORKLOADS: &[&str] = &["skynet", "fork_join_fib"];

/// Runs one of [`WORKLOADS`].
///
/// # Errors
/// When there is no such workload, or no threads.
pub fn run(workload: &str, workers: usize, operations: Option<u64>) -> io::Result<Figures> {
    let pool = ThreadPoolBuilder::new()
        .num_threads(workers)
        .build()
        .map_err(io::Error::other)?;
    let (measure, operations): (fn(u64) -> Figures, u64) = match workload {
        "skynet" => (skynet, operations.unwrap_or(1_000_000)),
        "fork_join_fib" => (fork_join_fib, operations.unwrap_or(100_000)),
        _ => {
            let text = format!("rayon has {} only", WORKLOADS.join(" and "));
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
    };
    pool.install(|| measure((operations / 10).max(1)));
    Ok(pool.install(|| measure(operations)))
}

fn skynet(n: u64) -> Figures {
    let leaves = 10_u64.pow(n.max(1).ilog10());
    let watch = Stopwatch::start();
    assert_eq!(
        node(0, leaves),
        leaves * (leaves - 1) / 2,
        "a leaf is missing"
    );
    watch.stop(leaves)
}

fn node(first: u64, leaves: u64) -> u64 {
    if leaves == 1 {
        return first;
    }
    let part = leaves / 10;
    (0..10_u64)
        .into_par_iter()
        .map(|child| node(first + child * part, part))
        .sum()
}

fn fork_join_fib(n: u64) -> Figures {
    let runs = n.div_ceil(FIB_FORKS);
    let watch = Stopwatch::start();
    for _ in 0..runs {
        assert_eq!(fork(FIB_DEPTH), FIB_RESULT, "a half is missing");
    }
    watch.stop(runs * FIB_FORKS)
}

fn fork(depth: u64) -> u64 {
    if depth < 2 {
        return depth;
    }
    let (half, other) = ::rayon::join(|| fork(depth - 1), || fork(depth - 2));
    half + other
}

//! The workloads under criterion.

use std::path::Path;
use std::time::Duration;

use criterion::{BenchmarkGroup, Criterion, Throughput, measurement::WallTime};

use crate::backend::{Backend, NAMES, Visitor, with};
use crate::{net, workload};

/// The main function of a bench: takes the command line, measures, and sums up.
pub fn run(questions: impl FnOnce(&mut Criterion)) {
    let mut criterion = Criterion::default().configure_from_args();
    questions(&mut criterion);
    criterion.final_summary();
}

/// Measures the workload `name` on every backend, one after the other, in one group.
///
/// # Panics
/// When there is no such workload, or a runtime cannot be started.
pub fn compare(criterion: &mut Criterion, name: &str) {
    let mut group = group(criterion, name);
    for backend in NAMES {
        with(
            backend,
            InProcess {
                group: &mut group,
                workload: name,
            },
        )
        .expect("a listed backend exists");
    }
    group.finish();
}

/// Measures a workload of [`net`] on every backend. `program` is the path of `bench-one`, which serves.
///
/// # Panics
/// When there is no such workload, or the server or the load cannot be started.
pub fn compare_servers(criterion: &mut Criterion, program: &str, name: &str) {
    let load = net::find(name).expect("a workload of the net module");
    let mut group = group(criterion, name);
    for backend in NAMES {
        let server = net::Target {
            program: Path::new(program),
            backend,
            workers: workers(),
        };
        group.bench_function(*backend, |bencher| {
            bencher.iter_custom(|runs| {
                let run = |_| {
                    (load.run)(&server, load.operations)
                        .expect("the load runs")
                        .wall()
                };
                (0..runs).map(run).sum()
            });
        });
    }
    group.finish();
}

fn group<'c>(criterion: &'c mut Criterion, name: &str) -> BenchmarkGroup<'c, WallTime> {
    let mut group = criterion.benchmark_group(name);
    group
        .sample_size(10)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    group
}

/// One per available core, as every runtime here has it by default.
fn workers() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

struct InProcess<'a, 'c> {
    group: &'a mut BenchmarkGroup<'c, WallTime>,
    workload: &'a str,
}

impl Visitor for InProcess<'_, '_> {
    type Output = ();

    fn visit<B: Backend>(self) {
        let workload =
            workload::find::<B>(self.workload).expect("a workload of the workload module");
        let backend = B::start(workers()).expect("the runtime starts");
        // One iteration is one run of the workload; criterion divides by the operations that it makes.
        self.group
            .throughput(Throughput::Elements(workload.operations));
        self.group.bench_function(B::NAME, |bencher| {
            bencher.iter_custom(|runs| {
                (0..runs)
                    .map(|_| (workload.run)(backend, workload.operations).wall())
                    .sum()
            });
        });
        backend.stop();
    }
}

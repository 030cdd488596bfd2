//! What a run measured, and the clocks and counters that it is measured with.

use std::fmt;
use std::fs;
use std::io;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// Named figures of one run. All of them are costs: lower is better.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    values: Vec<(&'static str, f64)>,
    wall: Duration,
}

impl Figures {
    /// Figures of a run that measured no time.
    #[must_use]
    pub fn of(name: &'static str, value: f64) -> Self {
        Self {
            values: vec![(name, value)],
            wall: Duration::ZERO,
        }
    }

    /// Adds one more figure.
    #[must_use]
    pub fn and(mut self, name: &'static str, value: f64) -> Self {
        self.values.push((name, value));
        self
    }

    /// The median and three higher percentiles of `samples`, which are in nanoseconds.
    #[must_use]
    pub fn percentiles(samples: &mut [u64]) -> Self {
        samples.sort_unstable();
        let at = |part: f64| {
            samples
                .get((samples.len() as f64 * part) as usize)
                .map_or(0.0, |v| *v as f64)
        };
        let wall = Duration::from_nanos(samples.iter().sum());
        Self {
            wall,
            ..Self::of("p50_ns", at(0.5))
                .and("p90_ns", at(0.9))
                .and("p99_ns", at(0.99))
                .and("p999_ns", at(0.999))
        }
    }

    /// The measured wall time of the whole run, the sum of the samples of a latency; zero where time is not the question.
    #[must_use]
    pub fn wall(&self) -> Duration {
        self.wall
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (name, value)) in self.values.iter().enumerate() {
            let gap = if index == 0 { "" } else { " " };
            write!(f, "{gap}{name} {value:.1}")?;
        }
        Ok(())
    }
}

/// Wall and CPU time of this process since `start`.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch {
    wall: Instant,
    cpu: Duration,
}

impl Stopwatch {
    /// Starts to measure.
    #[must_use]
    pub fn start() -> Self {
        Self {
            cpu: process_cpu(),
            wall: Instant::now(),
        }
    }

    /// The time since the start, per operation.
    #[must_use]
    pub fn stop(self, operations: u64) -> Figures {
        let wall = self.wall.elapsed();
        let cpu = process_cpu() - self.cpu;
        per_operation(wall, cpu, operations)
    }
}

/// Wall and CPU nanoseconds per operation.
#[must_use]
pub fn per_operation(wall: Duration, cpu: Duration, operations: u64) -> Figures {
    let per = |time: Duration| time.as_nanos() as f64 / operations.max(1) as f64;
    Figures {
        wall,
        ..Figures::of("ns", per(wall)).and("cpu_ns", per(cpu))
    }
}

/// CPU time that all threads of this process have used.
#[must_use]
pub fn process_cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(
        time.tv_sec.unsigned_abs(),
        time.tv_nsec.unsigned_abs() as u32,
    )
}

/// Bytes of memory that the process `pid` ("self" for this one) holds resident.
///
/// # Errors
/// When `/proc` has no such process, or there is no `/proc`.
pub fn resident_bytes(pid: &str) -> io::Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/statm"))?;
    let pages = text
        .split_whitespace()
        .nth(1)
        .and_then(|field| field.parse::<u64>().ok());
    let page_size = rustix::param::page_size() as u64;
    pages
        .map(|pages| pages * page_size)
        .ok_or_else(|| io::Error::other("statm has no second field"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_read_from_the_sorted_samples() {
        let mut samples: Vec<u64> = (0..1000).rev().collect();
        assert_eq!(
            Figures::percentiles(&mut samples).to_string(),
            "p50_ns 500.0 p90_ns 900.0 p99_ns 990.0 p999_ns 999.0"
        );
    }

    #[test]
    fn a_run_is_divided_by_its_operations() {
        let figures = per_operation(Duration::from_micros(10), Duration::from_micros(20), 100);
        assert_eq!(figures.to_string(), "ns 100.0 cpu_ns 200.0");
    }
}

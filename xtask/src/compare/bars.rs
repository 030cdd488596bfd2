//! How low each cost has to be.

/// What a cost is held against.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Bar {
    /// A part of the reference's median, and the part that is the goal.
    OfReference(f64, f64),
    /// Nanoseconds, whatever the others need.
    Nanoseconds(f64, f64),
}

/// A judged cost.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cost {
    pub(super) workload: &'static str,
    pub(super) metric: &'static str,
    pub(super) bar: Bar,
    /// Whether it shall lie below nine tenths of every other executor's.
    pub(super) ahead: bool,
}

const fn cost(
    workload: &'static str,
    metric: &'static str,
    bar: f64,
    goal: f64,
    ahead: bool,
) -> Cost {
    Cost {
        workload,
        metric,
        bar: Bar::OfReference(bar, goal),
        ahead,
    }
}

const fn time(workload: &'static str, metric: &'static str, bar_ms: f64, goal_ms: f64) -> Cost {
    Cost {
        workload,
        metric,
        bar: Bar::Nanoseconds(bar_ms * 1e6, goal_ms * 1e6),
        ahead: false,
    }
}

/// At two workers.
pub(super) const COSTS: &[Cost] = &[
    cost("spawn_local", "ns", 0.27, 0.18, true),
    cost("spawn_detached", "ns", 0.35, 0.22, true),
    cost("spawn_remote", "ns", 0.25, 0.18, true),
    cost("spawn_remote_busy", "ns", 0.015, 0.008, true),
    cost("yield_many", "ns", 0.85, 0.60, true),
    cost("ping_pong", "ns", 0.45, 0.30, true),
    cost("chan_ping_pong", "ns", 0.85, 0.65, true),
    cost("chained_spawn", "ns", 0.35, 0.20, true),
    cost("skynet", "ns", 0.40, 0.25, true),
    cost("fork_join_fib", "ns", 0.40, 0.20, true),
    cost("wake_latency_idle", "p50_ns", 0.80, 0.65, false),
    cost("wake_latency_busy", "p50_ns", 0.13, 0.10, true),
    cost("wake_latency_busy", "p99_ns", 0.07, 0.05, true),
    cost("mpsc", "ns", 0.90, 0.45, false),
    cost("mutex_contended", "ns", 0.80, 0.60, false),
    cost("channel_mpsc", "ns", 0.90, 0.70, true),
    cost("queue_mpmc", "ns", 0.90, 0.70, true),
    cost("oneshot", "ns", 0.90, 0.70, true),
    cost("mutex_uncontended", "ns", 0.90, 0.70, true),
    cost("mutex_contended_own", "ns", 0.90, 0.70, true),
    cost("semaphore", "ns", 0.90, 0.70, true),
    cost("notify", "ns", 0.90, 0.70, true),
    cost("broadcast", "ns", 0.90, 0.70, true),
    cost("watch", "ns", 0.90, 0.70, true),
    cost("group_spawn_join", "ns", 0.90, 0.70, true),
    cost("timeout_ready", "ns", 0.90, 0.70, true),
    cost("timers_many", "cpu_ns", 0.35, 0.20, true),
    cost("timer_lateness", "p99_ns", 0.50, 0.25, false),
    cost("timer_churn", "ns", 0.15, 0.08, true),
    time("sleep_1ms", "p50_ns", 0.15, 0.06),
    cost("memory_pending", "bytes", 0.42, 0.36, false),
    cost("memory_sleeping", "bytes", 0.45, 0.38, true),
    cost("spawn_blocking", "ns", 0.40, 0.20, true),
    cost("tcp_echo_1", "cpu_ns", 1.00, 0.95, false),
    cost("tcp_echo_64", "cpu_ns", 1.00, 0.95, false),
    cost("tcp_echo_1000", "cpu_ns", 1.00, 0.95, false),
    cost("tcp_accept", "cpu_ns", 1.00, 0.95, false),
    cost("http", "cpu_ns", 1.00, 0.92, false),
    cost("idle_conns", "bytes", 0.50, 0.35, true),
    cost("fairness", "p99_ns", 0.60, 0.55, false),
    time("blocked_workers", "p99_ns", 15.0, 5.0),
    time("blocked_workers", "max_ns", 30.0, 10.0),
];

/// The bar of a figure that is judged by its ratio, or nothing.
pub(super) fn of_reference(workload: &str, metric: &str) -> String {
    let cost = COSTS
        .iter()
        .find(|cost| cost.workload == workload && cost.metric == metric);
    match cost.map(|cost| cost.bar) {
        Some(Bar::OfReference(bar, _)) => bar.to_string(),
        _ => String::new(),
    }
}

/// What one executor needed, against its bar and against the others.
#[derive(Debug, PartialEq)]
pub(super) struct Judged {
    /// In the unit of the bar.
    pub(super) value: f64,
    pub(super) of_best: Option<f64>,
    pub(super) verdict: String,
}

impl Cost {
    /// Judges the median of `ours`. `others` are the medians of the executors that it is compared with.
    pub(super) fn judge(
        &self,
        ours: f64,
        reference: Option<f64>,
        others: &[f64],
    ) -> Option<Judged> {
        let (value, bar, goal) = match self.bar {
            Bar::OfReference(bar, goal) => (ours / reference?, bar, goal),
            Bar::Nanoseconds(bar, goal) => (ours, bar, goal),
        };
        let best = others.iter().copied().reduce(f64::min);
        let of_best = best.map(|best| ours / best);
        let mut verdict = match value {
            value if value <= goal => "goal",
            value if value <= bar => "bar",
            _ => "MISSED",
        }
        .to_owned();
        if self.ahead && of_best.is_some_and(|part| part >= 0.9) {
            verdict.push_str(", NOT AHEAD");
        }
        Some(Judged {
            value,
            of_best,
            verdict,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cost_is_judged_by_the_reference_and_by_the_best() {
        let spawn = cost("spawn", "ns", 0.5, 0.25, true);
        let verdict =
            |ours, others: &[f64]| spawn.judge(ours, Some(100.0), others).map(|it| it.verdict);
        assert_eq!(verdict(20.0, &[100.0, 60.0]).as_deref(), Some("goal"));
        assert_eq!(verdict(50.0, &[100.0, 60.0]).as_deref(), Some("bar"));
        assert_eq!(
            verdict(50.0, &[100.0, 51.0]).as_deref(),
            Some("bar, NOT AHEAD")
        );
        assert_eq!(verdict(51.0, &[100.0]).as_deref(), Some("MISSED"));
        assert_eq!(spawn.judge(20.0, None, &[]), None);
    }

    #[test]
    fn a_time_is_judged_alone() {
        let beat = time("beat", "p99_ns", 15.0, 5.0);
        let judged = beat.judge(6e6, None, &[]).expect("it needs no reference");
        assert_eq!((judged.value, judged.verdict.as_str()), (6e6, "bar"));
    }
}

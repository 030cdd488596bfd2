//! The tables: one row for each figure, and one for each bar.

use super::bars::{Bar, COSTS, Cost};
use super::{FLOORS, REFERENCE, SUBJECT, Sample, is_floor};

/// One row of the table for each metric, in the order in which the program tells them.
pub(super) fn rows(samples: &[Sample], backends: &[&str]) -> Vec<String> {
    let mut metrics: Vec<&str> = Vec::new();
    for sample in samples {
        if !metrics.contains(&sample.metric.as_str()) {
            metrics.push(&sample.metric);
        }
    }
    let reference = backends.iter().position(|backend| *backend == REFERENCE);
    let row = |metric: &&str| {
        let series = |backend: usize| values(samples, metric, backend);
        let cells = (0..backends.len()).map(|backend| {
            cell(
                &series(backend),
                reference.filter(|it| *it != backend).map(series),
            )
        });
        format!("{metric} | {} |", cells.collect::<Vec<_>>().join(" | "))
    };
    metrics.iter().map(row).collect()
}

/// The values of one backend by round.
fn values(samples: &[Sample], metric: &str, backend: usize) -> Vec<f64> {
    let mut found: Vec<&Sample> = samples
        .iter()
        .filter(|sample| sample.backend == backend && sample.metric == metric)
        .collect();
    found.sort_by_key(|sample| sample.round);
    found.into_iter().map(|sample| sample.value).collect()
}

fn cell(values: &[f64], reference: Option<Vec<f64>>) -> String {
    if values.is_empty() {
        return "-".to_owned();
    }
    let text = format!("{:.1}", median(values));
    let Some(reference) = reference else {
        return format!("{text} [{:.1}..{:.1}]", least(values), most(values));
    };
    let ratios: Vec<f64> = values
        .iter()
        .zip(&reference)
        .map(|(value, reference)| value / reference)
        .collect();
    format!(
        "{text} ({:.2} [{:.2}..{:.2}])",
        median(&ratios),
        least(&ratios),
        most(&ratios)
    )
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

fn least(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::INFINITY, f64::min)
}

fn most(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::NEG_INFINITY, f64::max)
}

/// One row for each cost of the workload that has a bar.
pub(super) fn judge(samples: &[Sample], backends: &[&str], workload: &str) -> Vec<String> {
    let row = |cost: &Cost| {
        let middle = |name: &str| {
            let backend = backends.iter().position(|backend| *backend == name)?;
            let values = values(samples, cost.metric, backend);
            (!values.is_empty()).then(|| median(&values))
        };
        let ours = middle(SUBJECT)?;
        let others: Vec<f64> = backends
            .iter()
            .filter(|backend| **backend != SUBJECT && !is_floor(backend))
            .filter_map(|backend| middle(backend))
            .collect();
        let judged = cost.judge(ours, middle(REFERENCE), &others)?;
        let part = |part: Option<f64>| part.map_or("-".to_owned(), |part| format!("{part:.2}"));
        let floor = FLOORS.iter().find_map(|(floor, _)| middle(floor));
        let (value, bar, goal) = match cost.bar {
            Bar::OfReference(bar, goal) => (
                format!("{:.3} × {REFERENCE}", judged.value),
                bar.to_string(),
                goal.to_string(),
            ),
            Bar::Nanoseconds(bar, goal) => (
                format!("{:.3} ms", judged.value / 1e6),
                format!("{} ms", bar / 1e6),
                format!("{} ms", goal / 1e6),
            ),
        };
        Some(format!(
            "| {workload} | {} | {value} | {bar} | {goal} | {} | {} | {} |",
            cost.metric,
            part(judged.of_best),
            part(floor.map(|floor| ours / floor)),
            judged.verdict
        ))
    };
    COSTS
        .iter()
        .filter(|cost| cost.workload == workload)
        .filter_map(row)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_taken_round_by_round() {
        let sample = |backend, round, value| Sample {
            backend,
            round,
            metric: "ns".to_owned(),
            value,
        };
        let samples = [
            sample(0, 1, 100.0),
            sample(1, 1, 50.0),
            sample(1, 2, 100.0),
            sample(0, 2, 400.0),
            sample(0, 3, 200.0),
            sample(1, 3, 80.0),
        ];
        assert_eq!(
            rows(&samples, &["tokio", "heist"]),
            ["ns | 200.0 [100.0..400.0] | 80.0 (0.40 [0.25..0.50]) |"]
        );
    }
}

//! Draws what `cargo xtask compare --csv` has measured: `bench-draw FIGURES.csv FOLDER` writes `ratios.svg`, `latency.svg` and
//! `workers.svg` into the folder.

use std::collections::BTreeMap;
use std::env;
use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

use plotters::coord::Shift;
use plotters::prelude::*;

type Outcome<T = ()> = Result<T, Box<dyn Error>>;
type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// What the others are compared with.
const REFERENCE: &str = "tokio";

const COLOURS: [(&str, RGBColor); 6] = [
    ("heist", RGBColor(200, 60, 30)),
    (REFERENCE, RGBColor(40, 90, 170)),
    ("smol", RGBColor(60, 150, 80)),
    ("smol-static", RGBColor(150, 190, 90)),
    ("rayon", RGBColor(120, 120, 120)),
    ("bare", RGBColor(120, 120, 120)),
];

/// The workloads whose figures are a distribution.
const LATENCIES: [&str; 4] = [
    "wake_latency_idle",
    "wake_latency_busy",
    "timer_lateness",
    "http",
];

const PERCENTILES: [(&str, &str); 4] = [
    ("p50_ns", "50 %"),
    ("p90_ns", "90 %"),
    ("p99_ns", "99 %"),
    ("p999_ns", "99.9 %"),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let result = match arguments.as_slice() {
        [figures, folder] => draw(figures, Path::new(folder)),
        _ => Err("usage: bench-draw FIGURES.csv FOLDER".into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-draw: {error}");
            ExitCode::FAILURE
        }
    }
}

fn draw(figures: &str, folder: &Path) -> Outcome {
    let text = fs::read_to_string(figures).map_err(|error| format!("{figures}: {error}"))?;
    let figures = Figures::parse(&text)?;
    fs::create_dir_all(folder)?;
    ratios(&figures, &folder.join("ratios.svg"))?;
    latency(&figures, &folder.join("latency.svg"))?;
    workers(&figures, &folder.join("workers.svg"))
}

/// A cost of one workload.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Cost {
    workload: String,
    metric: String,
}

/// The values by round of each cost, number of workers and backend.
#[derive(Debug, Default)]
struct Figures {
    values: BTreeMap<(Cost, usize, String), Vec<f64>>,
    /// The costs that are judged, in the order of the file, with their bars.
    judged: Vec<(Cost, f64)>,
}

impl Figures {
    fn parse(text: &str) -> Outcome<Self> {
        let mut figures = Self::default();
        for line in text.lines().skip(1) {
            let fields: Vec<&str> = line.split(',').collect();
            let [workload, workers, metric, backend, _round, value, bar] = fields[..] else {
                return Err(format!("no line of figures: {line}").into());
            };
            let cost = Cost {
                workload: workload.to_owned(),
                metric: metric.to_owned(),
            };
            if !bar.is_empty() && figures.judged.iter().all(|(known, _)| *known != cost) {
                figures.judged.push((cost.clone(), bar.parse()?));
            }
            let key = (cost, workers.parse()?, backend.to_owned());
            figures.values.entry(key).or_default().push(value.parse()?);
        }
        Ok(figures)
    }

    fn of(&self, cost: &Cost, workers: usize, backend: &str) -> &[f64] {
        let key = (cost.clone(), workers, backend.to_owned());
        self.values.get(&key).map_or(&[], Vec::as_slice)
    }

    /// Round by round.
    fn ratios(&self, cost: &Cost, workers: usize, backend: &str) -> Vec<f64> {
        let reference = self.of(cost, workers, REFERENCE);
        let ours = self.of(cost, workers, backend);
        ours.iter()
            .zip(reference)
            .map(|(own, it)| own / it)
            .collect()
    }

    /// The numbers of workers that were measured.
    fn workers(&self) -> Vec<usize> {
        let mut workers: Vec<usize> = self.values.keys().map(|(_, workers, _)| *workers).collect();
        workers.sort_unstable();
        workers.dedup();
        workers
    }
}

fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied()
}

/// A row for each judged cost: the ratio of each executor to the reference, with its spread, and the bar.
fn ratios(figures: &Figures, path: &Path) -> Outcome {
    const ROW: i32 = 26;
    const LEFT: u32 = 230;
    let executors = &COLOURS[..4];
    let rows = figures.judged.len() as i32;
    let root = SVGBackend::new(path, (1000, (rows * ROW + 110) as u32)).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption(
            "Cost as a part of tokio's, two workers: median, least and most of the rounds (less is better)",
            ("sans-serif", 16),
        )
        .margin(10)
        .x_label_area_size(30)
        .y_label_area_size(LEFT)
        .build_cartesian_2d((0.005..8.0_f64).log_scale(), 0.0..f64::from(rows))?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .disable_y_axis()
        .x_label_formatter(&|x| format!("{x}"))
        .draw()?;
    let area = chart.plotting_area();
    area.draw(&PathElement::new(
        vec![(1.0, 0.0), (1.0, f64::from(rows))],
        BLACK,
    ))?;
    for (index, (cost, bar)) in figures.judged.iter().enumerate() {
        let middle = f64::from(rows) - index as f64 - 0.5;
        let mark = vec![(*bar, middle - 0.45), (*bar, middle + 0.45)];
        area.draw(&PathElement::new(mark, RED.stroke_width(2)))?;
        for (place, (executor, colour)) in executors.iter().enumerate() {
            let ratios = figures.ratios(cost, 2, executor);
            let Some(ratio) = median(&ratios).filter(|_| *executor != REFERENCE) else {
                continue;
            };
            let y = middle + 0.3 - place as f64 * 0.2;
            let least = ratios.iter().copied().fold(f64::INFINITY, f64::min);
            let most = ratios.iter().copied().fold(0.0, f64::max);
            area.draw(&PathElement::new(
                vec![(least, y), (most, y)],
                colour.stroke_width(2),
            ))?;
            area.draw(&Circle::new((ratio, y), 4, colour.filled()))?;
        }
        let name = format!("{} ({})", cost.workload, cost.metric);
        let top = chart_row(&root, index, rows);
        root.draw_text(&name, &("sans-serif", 13).into_text_style(&root), (14, top))?;
    }
    legend(
        &root,
        executors.iter().filter(|(name, _)| *name != REFERENCE),
    )?;
    root.present()?;
    Ok(())
}

/// Where the text of a row begins, from above.
fn chart_row(root: &Area<'_>, index: usize, rows: i32) -> i32 {
    const ABOVE: i32 = 36;
    const BELOW: i32 = 42;
    let height = root.dim_in_pixel().1 as i32 - ABOVE - BELOW;
    ABOVE + height * index as i32 / rows.max(1) + 6
}

/// A curve over the percentiles for each executor.
fn latency(figures: &Figures, path: &Path) -> Outcome {
    let root = SVGBackend::new(path, (1000, 720)).into_drawing_area();
    root.fill(&WHITE)?;
    for (area, workload) in root
        .margin(0, 24, 0, 0)
        .split_evenly((2, 2))
        .iter()
        .zip(LATENCIES)
    {
        let points = |backend: &str| -> Vec<(f64, f64)> {
            let value = |metric: &str| {
                let cost = Cost {
                    workload: workload.to_owned(),
                    metric: metric.to_owned(),
                };
                median(figures.of(&cost, 2, backend))
            };
            let points = PERCENTILES.iter().enumerate();
            points
                .filter_map(|(place, (metric, _))| Some((place as f64, value(metric)? / 1000.0)))
                .collect()
        };
        curves(area, &format!("{workload}, µs"), points, |place| {
            PERCENTILES
                .get(place as usize)
                .map_or("", |(_, name)| name)
                .to_owned()
        })?;
    }
    legend(&root, COLOURS[..4].iter())?;
    root.present()?;
    Ok(())
}

/// A small picture for each judged cost: how it grows with the number of workers.
fn workers(figures: &Figures, path: &Path) -> Outcome {
    const COLUMNS: usize = 4;
    let rows = figures.judged.len().div_ceil(COLUMNS);
    let root = SVGBackend::new(path, (1200, (rows * 220 + 24) as u32)).into_drawing_area();
    root.fill(&WHITE)?;
    let numbers = figures.workers();
    let areas = root.margin(0, 24, 0, 0).split_evenly((rows, COLUMNS));
    for (area, (cost, _)) in areas.iter().zip(&figures.judged) {
        let points = |backend: &str| -> Vec<(f64, f64)> {
            let points = numbers.iter().enumerate();
            points
                .filter_map(|(place, workers)| {
                    Some((place as f64, median(figures.of(cost, *workers, backend))?))
                })
                .collect()
        };
        let name = format!("{} ({})", cost.workload, cost.metric);
        curves(area, &name, points, |place| {
            numbers
                .get(place as usize)
                .map_or(String::new(), usize::to_string)
        })?;
    }
    legend(&root, COLOURS.iter())?;
    root.present()?;
    Ok(())
}

/// One curve for each backend that has points, over places that are named.
fn curves(
    area: &Area<'_>,
    caption: &str,
    points: impl Fn(&str) -> Vec<(f64, f64)>,
    name: impl Fn(f64) -> String,
) -> Outcome {
    let all: Vec<_> = COLOURS
        .iter()
        .map(|(backend, colour)| (points(backend), colour))
        .filter(|(points, _)| !points.is_empty())
        .collect();
    let values = || {
        all.iter()
            .flat_map(|(points, _)| points.iter().map(|(_, value)| *value))
    };
    let most = values().fold(0.0, f64::max);
    let least = values().fold(f64::INFINITY, f64::min);
    let last = all
        .iter()
        .map(|(points, _)| points.len())
        .max()
        .unwrap_or(0);
    if last == 0 {
        return Ok(());
    }
    let mut chart = ChartBuilder::on(area)
        .caption(caption, ("sans-serif", 14))
        .margin(8)
        .x_label_area_size(22)
        .y_label_area_size(64)
        .build_cartesian_2d(
            -0.2..last as f64 - 0.8,
            (least.max(0.1) * 0.7..most.max(0.2) * 1.4).log_scale(),
        )?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .x_labels(last * 4)
        .x_label_formatter(&|place| {
            if (place - place.round()).abs() < 1e-6 {
                name(place.round())
            } else {
                String::new()
            }
        })
        .y_label_formatter(&|value| {
            format!("{value:.4}")
                .trim_end_matches('0')
                .trim_end_matches('.')
                .to_owned()
        })
        .draw()?;
    for (points, colour) in all {
        chart.draw_series(LineSeries::new(
            points.iter().copied(),
            colour.stroke_width(2),
        ))?;
        chart.draw_series(
            points
                .iter()
                .map(|point| Circle::new(*point, 3, colour.filled())),
        )?;
    }
    Ok(())
}

/// The names of the backends in their colours, at the foot of the picture.
fn legend<'a>(
    root: &Area<'_>,
    names: impl Iterator<Item = &'a (&'static str, RGBColor)>,
) -> Outcome {
    let foot = root.dim_in_pixel().1 as i32 - 18;
    for (place, (name, colour)) in names.enumerate() {
        let left = 20 + place as i32 * 130;
        root.draw(&Rectangle::new(
            [(left, foot), (left + 12, foot + 10)],
            colour.filled(),
        ))?;
        root.draw_text(
            name,
            &("sans-serif", 13).into_text_style(root),
            (left + 18, foot - 1),
        )?;
    }
    Ok(())
}

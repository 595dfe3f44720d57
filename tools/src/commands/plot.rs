//! `mapleaf plot`: charts of what benchmarks found.

use super::load::Input;
use crate::chart::{self, Mark, Series, Unit as Count};
use crate::cli::JsonArg;
use crate::drawing::Drawing;
use crate::failure::{Failure, Result};
use crate::output::{print, print_json};
use clap::ValueEnum;
use serde::Deserialize;
use std::io::{Read, Write};
use std::path::PathBuf;

/// The arguments of plot.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "A report is what \"compare --json FILE\" of the project's benchmarks writes: it becomes charts of every store \
                  beside the baseline, of latencies, and of how costs grow with the number of pairs. Or it is what \
                  \"mapleaf bench --json\" prints: all of those together become one chart, so that machines, file systems or \
                  versions can be compared. The names of the files become those of the charts.\n\n\
                  Examples:\n  mapleaf plot reads.json growth.json -o charts\n  \
                  mapleaf bench --json > ext4.json; mapleaf plot ext4.json xfs.json -o . --format png"
)]
pub struct Args {
    /// What benchmarks wrote; - is standard input
    #[arg(required = true, value_name = "REPORT")]
    reports: Vec<PathBuf>,
    /// The directory of the charts; made if it is not there
    #[arg(short, long, value_name = "DIRECTORY")]
    output: PathBuf,
    /// How they are written
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = Format::Svg)]
    format: Format,
    #[command(flatten)]
    json: JsonArg,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Format {
    Svg,
    Png,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Report {
    Compare(Compare),
    Bench(Vec<Work>),
}

/// Of `compare --json` what is drawn.
#[derive(Deserialize)]
struct Compare {
    baseline: String,
    figures: Vec<Figure>,
}

#[derive(Deserialize)]
struct Figure {
    row: String,
    name: String,
    engine: String,
    #[serde(default)]
    unit: Unit,
    median: f64,
    ratio: Option<f64>,
    latency: Option<Latency>,
}

/// What a figure counts; reports that do not say so are of times.
#[derive(Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Unit {
    #[default]
    Nanos,
    #[serde(other)]
    Other,
}

#[derive(Clone, Copy, Deserialize)]
struct Latency {
    p50: u64,
    p99: u64,
    p999: u64,
    max: u64,
}

/// A row of `mapleaf bench --json`.
#[derive(Deserialize)]
struct Work {
    work: String,
    nanoseconds_each: f64,
}

impl Args {
    /// The first report, which is what failures are about.
    pub fn file(&self) -> &PathBuf {
        &self.reports[0]
    }
}

/// Runs it.
pub fn run(args: &Args) -> Result {
    let (mut charts, mut benches) = (Vec::new(), Vec::new());
    for path in &args.reports {
        let Input { name, mut reader, .. } = Input::open(Some(path))?;
        let mut text = Vec::new();
        reader.read_to_end(&mut text).map_err(|error| Failure::unread(&name, &error))?;
        let stem = path.file_stem().filter(|stem| *stem != "-");
        let stem = stem.map_or("report".into(), |stem| stem.to_string_lossy().into_owned());
        match serde_json::from_slice(&text) {
            Ok(Report::Compare(report)) => charts.extend(charts_of(&report, &stem)),
            Ok(Report::Bench(work)) => benches.push((stem, work)),
            Err(_) => {
                let wrong = "not a report of \"compare --json\" or \"mapleaf bench --json\"";
                return Err(Failure::elsewhere(name, wrong));
            }
        }
    }
    charts.extend(chart_of_benches(&benches).map(|chart| ("bench".to_owned(), chart)));
    if charts.is_empty() {
        return Err(Failure::problem("no figures in any of the reports"));
    }
    let made = std::fs::create_dir_all(&args.output);
    let place = || args.output.display().to_string();
    made.map_err(|error| Failure::elsewhere(place(), format!("cannot make the directory: {error}")))?;
    let mut written = Vec::new();
    for (name, chart) in charts {
        let extension = if args.format == Format::Svg { "svg" } else { "png" };
        let path = args.output.join(format!("{name}.{extension}"));
        chart.save(&path)?;
        written.push(path);
    }
    match args.json.json {
        true => print_json(&serde_json::json!({ "written": written })),
        false => {
            print(|output| written.iter().try_for_each(|path| Ok(writeln!(output, "{}", path.display())?)))
        }
    }
}

/// The charts of a report, and their names.
fn charts_of(report: &Compare, stem: &str) -> Vec<(String, Drawing)> {
    let mut charts = ratios(report, stem);
    charts.extend(latencies(report, stem));
    charts.extend(growth(report, stem));
    charts
}

/// In the order of their first appearance.
fn distinct<T: PartialEq>(all: impl Iterator<Item = T>) -> Vec<T> {
    let mut found = Vec::new();
    all.for_each(|one| {
        if !found.contains(&one) {
            found.push(one);
        }
    });
    found
}

impl Compare {
    fn engines(&self) -> Vec<String> {
        distinct(self.figures.iter().map(|figure| figure.engine.clone()))
    }

    /// Ids and names of the rows that are not of growth.
    fn rows(&self, is_wanted: impl Fn(&Figure) -> bool) -> Vec<(&str, &str)> {
        let figures = self.figures.iter().filter(|figure| !figure.row.contains('@') && is_wanted(figure));
        distinct(figures.map(|figure| (&figure.row[..], &figure.name[..])))
    }

    fn series(&self, figure: &Figure) -> usize {
        self.engines().iter().position(|engine| *engine == figure.engine).unwrap_or(0)
    }
}

/// Every store beside the baseline, speeds and the rest apart.
fn ratios(report: &Compare, stem: &str) -> Vec<(String, Drawing)> {
    let speed = format!("Speed beside {}, right is faster", report.baseline);
    let other = format!("Figures beside {}, left is less", report.baseline);
    let times = format!("× {}", report.baseline);
    let chart = |(is_speed, title, name): (bool, String, &str)| {
        let rows = report.rows(|figure| (figure.unit == Unit::Nanos) == is_speed);
        let mut marks = Vec::new();
        for (row, (id, _)) in rows.iter().enumerate() {
            let figures = report.figures.iter().filter(|figure| figure.row == *id);
            let ratios = figures.filter_map(|figure| {
                let value = figure.ratio.filter(|ratio| *ratio > 0.0 && ratio.is_finite())?;
                Some(Mark { row, series: report.series(figure), value })
            });
            marks.extend(ratios);
        }
        let names: Vec<String> = rows.iter().map(|(_, name)| (*name).to_owned()).collect();
        let chart = chart::rows(&title, &names, (&times, Count::Number), &report.engines(), &marks)?;
        Some((format!("{stem}-{name}"), chart))
    };
    [(true, speed, "speed"), (false, other, "figures")].into_iter().filter_map(chart).collect()
}

/// From the middle to the longest, a chart for each row.
fn latencies(report: &Compare, stem: &str) -> Vec<(String, Drawing)> {
    let chart = |(id, name): (&str, &str)| {
        let mut marks = Vec::new();
        for figure in report.figures.iter().filter(|figure| figure.row == id) {
            let Some(Latency { p50, p99, p999, max }) = figure.latency else { continue };
            for (row, nanos) in [p50, p99, p999, max].into_iter().enumerate() {
                marks.push(Mark { row, series: report.series(figure), value: nanos.max(1) as f64 });
            }
        }
        let names = ["p50", "p99", "p99.9", "max"].map(String::from);
        let title = format!("Latency: {name}, left is faster");
        let chart = chart::rows(&title, &names, ("each", Count::Nanos), &report.engines(), &marks)?;
        Some((format!("{stem}-latency-{id}"), chart))
    };
    report.rows(|_| true).into_iter().filter_map(chart).collect()
}

/// A chart for each operation: cost over the number of pairs.
fn growth(report: &Compare, stem: &str) -> Vec<(String, Drawing)> {
    let parts = |figure: &Figure| -> Option<(String, f64)> {
        let (what, size) = figure.row.split_once('@')?;
        Some((what.trim_start_matches("growth_").to_owned(), size.parse().ok()?))
    };
    let mut operations = distinct(report.figures.iter().filter_map(|figure| Some(parts(figure)?.0)));
    operations.sort();
    let chart = |operation: String| {
        let points = |engine: String| -> Series {
            let of_engine = report.figures.iter().filter(|figure| figure.engine == engine);
            let point = |figure: &Figure| {
                let (what, size) = parts(figure)?;
                (what == operation).then_some((size, figure.median))
            };
            let points = of_engine.filter_map(point).collect();
            (engine, points)
        };
        let series: Vec<Series> = report.engines().into_iter().map(points).collect();
        let up = if operation == "size" { ("bytes", Count::Number) } else { ("each", Count::Nanos) };
        let chart = chart::lines(&format!("{operation} as the store grows"), "pairs", up, &series)?;
        Some((format!("{stem}-growth-{operation}"), chart))
    };
    operations.into_iter().filter_map(chart).collect()
}

/// All runs of `mapleaf bench` beside each other.
fn chart_of_benches(benches: &[(String, Vec<Work>)]) -> Option<Drawing> {
    let names = distinct(benches.iter().flat_map(|(_, works)| works.iter().map(|work| work.work.clone())));
    let mut marks = Vec::new();
    for (series, (_, works)) in benches.iter().enumerate() {
        for work in works {
            let row = names.iter().position(|name| *name == work.work)?;
            marks.push(Mark { row, series, value: work.nanoseconds_each });
        }
    }
    let series: Vec<String> = benches.iter().map(|(name, _)| name.clone()).collect();
    chart::rows("What each operation costs, left is faster", &names, ("each", Count::Nanos), &series, &marks)
}

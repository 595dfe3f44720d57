//! `charts REPORT… --output DIRECTORY`: SVG charts of what `compare --json` wrote: every store beside the
//! baseline, how costs grow with the number of pairs, and latencies.

use clap::Parser;
use mapleaf_bench::compare::Latency;
use mapleaf_bench::compare::report::{Figure, Report};
use mapleaf_bench::compare::rows::{Unit, row};
use plotters::prelude::*;
use std::error::Error;
use std::path::{Path, PathBuf};

/// Draws charts of what `compare --json` wrote.
#[derive(Parser)]
struct Arguments {
    reports: Vec<PathBuf>,
    #[arg(long, short)]
    output: PathBuf,
}

type Done = Result<(), Box<dyn Error>>;

const FONT: (&str, u32) = ("sans-serif", 13);
const WIDTH: u32 = 960;
const ROW: u32 = 22;
const COLORS: [RGBColor; 12] = [
    RGBColor(200, 30, 30),
    RGBColor(60, 60, 60),
    RGBColor(150, 150, 150),
    RGBColor(30, 90, 200),
    RGBColor(120, 170, 240),
    RGBColor(230, 140, 20),
    RGBColor(30, 150, 70),
    RGBColor(140, 60, 170),
    RGBColor(220, 100, 170),
    RGBColor(0, 160, 160),
    RGBColor(140, 110, 60),
    RGBColor(200, 190, 40),
];

/// A color for each store, the same in every chart.
fn color(engines: &[String], engine: &str) -> RGBColor {
    let at = engines.iter().position(|other| other == engine).unwrap_or(0);
    COLORS[at % COLORS.len()]
}

/// A mark in a row of a chart.
struct Mark {
    row: usize,
    engine: String,
    value: f64,
}

/// Rows from the top down, marks along a logarithmic axis, and a line where the axis is 1, if it is there.
fn rows(path: &Path, title: &str, names: &[String], axis: &str, engines: &[String], marks: &[Mark]) -> Done {
    let Some(low) = marks.iter().map(|mark| mark.value).min_by(f64::total_cmp) else { return Ok(()) };
    let high = marks.iter().map(|mark| mark.value).fold(low, f64::max);
    let (low, high) = (low / 1.3, high * 1.3);
    let count = names.len() as f64;
    let height = ROW * names.len() as u32 + 110;
    let root = SVGBackend::new(path, (WIDTH, height)).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption(title, ("sans-serif", 17))
        .margin(10)
        .margin_right(130)
        .x_label_area_size(40)
        .y_label_area_size(330)
        .build_cartesian_2d((low..high).log_scale(), -0.5..count - 0.5)?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .y_labels(0)
        .x_desc(axis)
        .x_label_formatter(&|value| tick(*value))
        .label_style(FONT)
        .draw()?;
    let level = |row: usize| count - 1.0 - row as f64;
    for (at, name) in names.iter().enumerate() {
        let line = [(low, level(at)), (high, level(at))];
        chart.draw_series(LineSeries::new(line, RGBColor(225, 225, 225)))?;
        let (x, y) = chart.plotting_area().map_coordinate(&(low, level(at)));
        let style = TextStyle::from(FONT).pos(right());
        root.draw(&Text::new(name.clone(), (x - 8, y), style))?;
    }
    if low < 1.0 && high > 1.0 {
        chart.draw_series(LineSeries::new([(1.0, -0.5), (1.0, count - 0.5)], BLACK))?;
    }
    for engine in engines.iter().filter(|engine| marks.iter().any(|mark| mark.engine == **engine)) {
        let color = color(engines, engine);
        let size = if engine == "mapleaf" { 6 } else { 4 };
        let of_engine = marks.iter().filter(|mark| mark.engine == *engine);
        let circle = |mark: &Mark| Circle::new((mark.value, level(mark.row)), size, color.filled());
        chart.draw_series(of_engine.map(circle))?;
    }
    legend(&root, engines, marks.iter().map(|mark| &mark.engine))?;
    Ok(root.present()?)
}

fn right() -> plotters::style::text_anchor::Pos {
    use plotters::style::text_anchor::{HPos, Pos, VPos};
    Pos::new(HPos::Right, VPos::Center)
}

/// The stores that are there, right of the chart.
fn legend<'a>(
    root: &DrawingArea<SVGBackend, plotters::coord::Shift>,
    engines: &[String],
    there: impl Iterator<Item = &'a String> + Clone,
) -> Done {
    let there = engines.iter().filter(|engine| there.clone().any(|other| other == *engine));
    for (at, engine) in there.enumerate() {
        let y = 50 + 18 * at as i32;
        root.draw(&Circle::new((WIDTH as i32 - 120, y + 6), 5, color(engines, engine).filled()))?;
        root.draw(&Text::new(engine.clone(), (WIDTH as i32 - 110, y), FONT))?;
    }
    Ok(())
}

fn tick(value: f64) -> String {
    match value {
        1e6.. => format!("{} M", value / 1e6),
        1e3.. => format!("{} k", value / 1e3),
        _ => format!("{}", (value * 1000.0).round() / 1000.0),
    }
}

fn is_of_growth(id: &str) -> bool {
    id.contains('@')
}

fn names_of(report: &Report, is_wanted: impl Fn(&str) -> bool) -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> = Vec::new();
    for figure in report.figures.iter().filter(|figure| is_wanted(&figure.row)) {
        if !all.iter().any(|(id, _)| *id == figure.row) {
            all.push((figure.row.clone(), figure.name.clone()));
        }
    }
    all
}

/// Every store beside the baseline, speeds and the rest apart.
fn ratios(report: &Report, output: &Path, stem: &str) -> Done {
    let is_speed = |id: &str| row(id).unit == Unit::Nanos;
    let speed = format!("Speed beside {}, right is faster", report.baseline);
    let figure = format!("Figures beside {}", report.baseline);
    for (of_speed, title, file) in [(true, speed, "speed"), (false, figure, "figures")] {
        let rows_of = names_of(report, |id| is_speed(id) == of_speed && !is_of_growth(id));
        let mark = |at: usize, id: &str| {
            let figures = report.figures.iter().filter(move |figure| figure.row == id);
            let marks = figures.filter_map(move |figure| {
                let value = figure.ratio.filter(|ratio| *ratio > 0.0 && ratio.is_finite())?;
                Some(Mark { row: at, engine: figure.engine.clone(), value })
            });
            marks.collect::<Vec<_>>()
        };
        let marks: Vec<Mark> = rows_of.iter().enumerate().flat_map(|(at, (id, _))| mark(at, id)).collect();
        let names: Vec<String> = rows_of.into_iter().map(|(_, name)| name).collect();
        let path = output.join(format!("{stem}-{file}.svg"));
        rows(&path, &title, &names, "× the baseline", &report.engines(), &marks)?;
    }
    Ok(())
}

/// p50 to the longest, a chart for each row.
fn latencies(report: &Report, output: &Path, stem: &str) -> Done {
    for (id, name) in names_of(report, |id| !is_of_growth(id)) {
        let figures: Vec<_> = report.figures.iter().filter(|figure| figure.row == id).collect();
        let marks = figures.iter().filter_map(|figure| Some((figure, figure.latency?)));
        let mark = |(figure, latency): (&&Figure, _)| {
            let Latency { p50, p99, p999, max } = latency;
            [p50, p99, p999, max]
                .into_iter()
                .enumerate()
                .map(|(row, nanos)| Mark {
                    row,
                    engine: figure.engine.clone(),
                    value: nanos.max(1) as f64 / 1000.0,
                })
                .collect::<Vec<_>>()
        };
        let marks: Vec<Mark> = marks.flat_map(mark).collect();
        let names = ["p50", "p99", "p99.9", "max"].map(String::from);
        let path = output.join(format!("{stem}-latency-{id}.svg"));
        rows(&path, &format!("Latency: {name}"), &names, "µs", &report.engines(), &marks)?;
    }
    Ok(())
}

/// A chart for each operation: cost over the number of pairs.
fn growth(report: &Report, output: &Path, stem: &str) -> Done {
    let parts = |id: &str| -> Option<(String, f64)> {
        let (what, size) = id.split_once('@')?;
        Some((what.trim_start_matches("growth_").to_owned(), size.parse().ok()?))
    };
    let mut operations: Vec<String> =
        report.figures.iter().filter_map(|figure| Some(parts(&figure.row)?.0)).collect();
    operations.sort();
    operations.dedup();
    for operation in operations {
        let points = |engine: &str| -> Vec<(f64, f64)> {
            let of_engine = report.figures.iter().filter(|figure| figure.engine == engine);
            let point = |figure: &Figure| {
                let (what, size) = parts(&figure.row)?;
                (what == operation).then_some((size, figure.median))
            };
            of_engine.filter_map(point).collect()
        };
        let engines = report.engines();
        let lines: Vec<(String, Vec<(f64, f64)>)> =
            engines.iter().map(|engine| (engine.clone(), points(engine))).collect();
        let path = output.join(format!("{stem}-growth-{operation}.svg"));
        let unit = if operation == "size" { "bytes" } else { "ns" };
        draw_lines(&path, &format!("{operation} as the store grows"), unit, &engines, &lines)?;
    }
    Ok(())
}

fn draw_lines(
    path: &Path,
    title: &str,
    unit: &str,
    engines: &[String],
    lines: &[(String, Vec<(f64, f64)>)],
) -> Done {
    let all = || lines.iter().flat_map(|(_, points)| points.iter().copied());
    let span = |numbers: Vec<f64>| {
        let low = numbers.iter().copied().min_by(f64::total_cmp).unwrap_or(1.0);
        low / 1.3..numbers.iter().copied().fold(low, f64::max) * 1.3
    };
    let (x, y) = (span(all().map(|point| point.0).collect()), span(all().map(|point| point.1).collect()));
    let root = SVGBackend::new(path, (WIDTH, 460)).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption(title, ("sans-serif", 17))
        .margin(10)
        .margin_right(130)
        .x_label_area_size(40)
        .y_label_area_size(80)
        .build_cartesian_2d(x.log_scale(), y.log_scale())?;
    chart
        .configure_mesh()
        .x_desc("pairs")
        .y_desc(unit)
        .x_label_formatter(&|value| tick(*value))
        .y_label_formatter(&|value| tick(*value))
        .label_style(FONT)
        .draw()?;
    for (engine, points) in lines {
        let color = color(engines, engine);
        chart.draw_series(LineSeries::new(points.iter().copied(), color.stroke_width(2)))?;
        chart.draw_series(points.iter().map(|point| Circle::new(*point, 3, color.filled())))?;
    }
    let there = lines.iter().filter(|(_, points)| !points.is_empty()).map(|(engine, _)| engine);
    legend(&root, engines, there)?;
    Ok(root.present()?)
}

fn main() -> Done {
    let arguments = Arguments::parse();
    std::fs::create_dir_all(&arguments.output)?;
    for path in &arguments.reports {
        let report: Report = serde_json::from_slice(&std::fs::read(path)?)?;
        let stem = path.file_stem().map_or("report".into(), |stem| stem.to_string_lossy().into_owned());
        ratios(&report, &arguments.output, &stem)?;
        latencies(&report, &arguments.output, &stem)?;
        growth(&report, &arguments.output, &stem)?;
    }
    Ok(())
}

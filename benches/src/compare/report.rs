//! What a run found, as Markdown tables and as JSON: medians and quartiles over the rounds, beside the
//! baseline's.

use super::rows::{Row, Target, Unit, row, targets};
use super::{Latency, Sample};
use serde::{Deserialize, Serialize};
use std::fmt::Write;

/// All of a run, as `--json` writes it and `mapleaf plot` reads it.
#[derive(Serialize, Deserialize)]
pub struct Report {
    pub set: String,
    pub pairs: u64,
    pub rounds: u64,
    pub baseline: String,
    pub figures: Vec<Figure>,
    pub samples: Vec<Sample>,
}

/// One row on one store over all rounds.
#[derive(Clone, Serialize, Deserialize)]
pub struct Figure {
    pub row: String,
    pub name: String,
    pub engine: String,
    pub unit: Unit,
    pub median: f64,
    pub quartiles: [f64; 2],
    /// Beside the baseline: of nanoseconds the speed, of anything else the figure.
    pub ratio: Option<f64>,
    /// The median over the rounds, and the longest of all.
    pub latency: Option<Latency>,
}

/// The value at a quantile of sorted numbers, between two of them where it falls there.
fn quantile(sorted: &[f64], at: f64) -> f64 {
    let place = at * (sorted.len() - 1) as f64;
    let (low, high) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    low + (high - low) * place.fract()
}

fn over_rounds(samples: &[&Sample]) -> Option<Latency> {
    let all: Vec<Latency> = samples.iter().filter_map(|sample| sample.latency).collect();
    let median = |of: fn(&Latency) -> u64| {
        let mut numbers: Vec<u64> = all.iter().map(of).collect();
        numbers.sort_unstable();
        numbers[numbers.len() / 2]
    };
    let max = all.iter().map(|latency| latency.max).max()?;
    Some(Latency { p50: median(|l| l.p50), p99: median(|l| l.p99), p999: median(|l| l.p999), max })
}

/// In the order of their first appearance.
fn distinct(names: impl Iterator<Item = String>) -> Vec<String> {
    let mut all = Vec::new();
    names.for_each(|name| {
        if !all.contains(&name) {
            all.push(name);
        }
    });
    all
}

impl Report {
    pub fn new(set: &str, pairs: u64, rounds: u64, baseline: &str, samples: Vec<Sample>) -> Self {
        let rows = distinct(samples.iter().map(|sample| sample.row.clone()));
        let engines = distinct(samples.iter().map(|sample| sample.engine.clone()));
        let mut figures = Vec::new();
        for id in &rows {
            let of = |engine: &String| -> Vec<&Sample> {
                samples.iter().filter(|sample| sample.row == *id && sample.engine == *engine).collect()
            };
            figures.extend(engines.iter().filter_map(|engine| Figure::new(&row(id), engine, &of(engine))));
        }
        let (set, baseline) = (set.to_owned(), baseline.to_owned());
        let mut report = Report { set, pairs, rounds, baseline, figures, samples };
        report.compare();
        report
    }

    fn compare(&mut self) {
        let of_baseline: Vec<Figure> =
            self.figures.iter().filter(|figure| figure.engine == self.baseline).cloned().collect();
        for figure in &mut self.figures {
            let beside = of_baseline.iter().find(|other| other.row == figure.row);
            figure.ratio = beside.map(|beside| match row(&figure.row).unit {
                Unit::Nanos => beside.median / figure.median,
                _ => figure.median / beside.median,
            });
        }
    }

    fn rows(&self) -> Vec<Row> {
        distinct(self.figures.iter().map(|figure| figure.row.clone())).iter().map(|id| row(id)).collect()
    }

    pub fn engines(&self) -> Vec<String> {
        distinct(self.figures.iter().map(|figure| figure.engine.clone()))
    }

    pub fn figure(&self, row: &str, engine: &str) -> Option<&Figure> {
        self.figures.iter().find(|figure| figure.row == row && figure.engine == engine)
    }

    pub fn markdown(&self) -> String {
        let (set, pairs, rounds) = (&self.set, self.pairs, self.rounds);
        let mut text = format!("`compare --set {set} --pairs {pairs} --rounds {rounds}`\n\n");
        text += &self.against_targets();
        text += &self.ratios();
        text += &self.details();
        text
    }

    /// What was asked of mapleaf, and what it reached.
    fn against_targets(&self) -> String {
        let targets = targets();
        let mut text = "| row | asked | mapleaf | beside the baseline | reached | fastest |\n\
                        |---|---|---:|---:|---|---|\n"
            .to_owned();
        for row in self.rows() {
            let Some(figure) = self.figure(&row.id, "mapleaf") else { continue };
            let target = targets.get(&row.id);
            let asks = target.map_or("", |target| &target.asks);
            let reached = target.and_then(|target| target.is_reached(&row, figure));
            let reached = reached.map_or("", |reached| if reached { "yes" } else { "**no**" });
            let (value, ratio) = (shown(row.unit, figure.median), ratio(figure));
            let best = self.best(&row);
            _ = writeln!(text, "| {} | {asks} | {value} | {ratio} | {reached} | {best} |", row.name);
        }
        text + "\n"
    }

    /// The best of the stores; the yardstick is none.
    fn best(&self, row: &Row) -> String {
        let of_row = self.figures.iter().filter(|figure| figure.row == row.id && figure.engine != "btree");
        let better = |a: &&Figure, b: &&Figure| match row.unit {
            Unit::Quotient => b.median.total_cmp(&a.median),
            _ => a.median.total_cmp(&b.median),
        };
        of_row.min_by(better).map_or(String::new(), |figure| figure.engine.clone())
    }

    /// Each store beside the baseline.
    fn ratios(&self) -> String {
        let engines = self.engines();
        if engines.len() < 2 {
            return String::new();
        }
        let mut text = format!(
            "Beside {}: speed as its multiple; of bytes and counts, the figure as its multiple.\n\n\
             | row | {} |\n|---|{}\n",
            self.baseline,
            engines.join(" | "),
            "---:|".repeat(engines.len())
        );
        for row in self.rows() {
            _ = write!(text, "| {}{} |", row.name, if row.unit == Unit::Nanos { "" } else { " (figure)" });
            for engine in &engines {
                _ = write!(text, " {} |", self.figure(&row.id, engine).map_or("–".into(), ratio));
            }
            text += "\n";
        }
        text + "\n"
    }

    fn details(&self) -> String {
        let mut text = "| row | store | median | quartiles | p50 | p99 | p99.9 | max |\n\
                        |---|---|---:|---|---:|---:|---:|---:|\n"
            .to_owned();
        for row in self.rows() {
            for figure in self.figures.iter().filter(|figure| figure.row == row.id) {
                let [low, high] = figure.quartiles.map(|value| shown(row.unit, value));
                let latency = figure.latency.map_or("| | | |".into(), |l| {
                    let [p50, p99, p999, max] = [l.p50, l.p99, l.p999, l.max].map(time);
                    format!("| {p50} | {p99} | {p999} | {max}")
                });
                let (name, engine, value) = (&row.name, &figure.engine, shown(row.unit, figure.median));
                _ = writeln!(text, "| {name} | {engine} | {value} | {low} – {high} {latency} |");
            }
        }
        text
    }
}

impl Figure {
    fn new(row: &Row, engine: &str, samples: &[&Sample]) -> Option<Self> {
        let mut values: Vec<f64> = samples.iter().map(|sample| sample.value).collect();
        values.sort_by(f64::total_cmp);
        values.first()?;
        Some(Figure {
            row: row.id.clone(),
            name: row.name.clone(),
            engine: engine.to_owned(),
            unit: row.unit,
            median: quantile(&values, 0.5),
            quartiles: [quantile(&values, 0.25), quantile(&values, 0.75)],
            ratio: None,
            latency: over_rounds(samples),
        })
    }
}

impl Target {
    /// Whether it is, where it can be told by a number.
    fn is_reached(&self, row: &Row, figure: &Figure) -> Option<bool> {
        let compared = if row.unit == Unit::Quotient { Some(figure.median) } else { figure.ratio };
        let enough = self.at_least.map(|least| compared.map(|value| value >= least));
        let little = self.at_most.map(|most| Some(figure.median <= most));
        match (enough, little) {
            (None, None) => None,
            (enough, little) => Some(enough.unwrap_or(Some(true))? && little.unwrap_or(Some(true))?),
        }
    }
}

fn ratio(figure: &Figure) -> String {
    figure.ratio.map_or("–".into(), |ratio| format!("{ratio:.2}"))
}

fn shown(unit: Unit, value: f64) -> String {
    match unit {
        Unit::Nanos if value < 10_000.0 => format!("{value:.1} ns"),
        Unit::Nanos => time(value as u64),
        Unit::Bytes if value < 1e6 => format!("{value:.0} B"),
        Unit::Bytes => format!("{:.1} MB", value / 1e6),
        Unit::Count | Unit::Quotient => format!("{value:.3}"),
    }
}

fn time(nanos: u64) -> String {
    let nanos = nanos as f64;
    match nanos {
        ..1e4 => format!("{nanos:.0} ns"),
        ..1e7 => format!("{:.1} µs", nanos / 1e3),
        ..1e10 => format!("{:.1} ms", nanos / 1e6),
        _ => format!("{:.1} s", nanos / 1e9),
    }
}

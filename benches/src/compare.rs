//! The comparison of the stores: rows of measured work, every store doing the same in turns, in rounds.
//!
//! Owns: [`Run`], which holds what is asked and what was measured. One module each for a kind of work;
//! [`rows`] names the rows and what the project asks of them, [`report`] prints.

pub mod child;
pub mod report;
pub mod rows;

mod cold;
mod durable;
mod flushes;
mod growth;
mod loads;
mod memory;
mod reads;
pub mod store;
mod sustained;
mod ycsb;

use crate::data::{Data, Shape};
use crate::engines::Kind;
use crate::histogram;
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// A named set of rows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Set {
    /// Some of everything with few pairs: whether it works.
    Quick,
    /// Gets, seeks and scans of what is in memory.
    Reads,
    /// Loads, overwriting and deleting, each in one txn.
    Loads,
    /// Commits that wait for the disk, from one thread and from eight; commits that do not; gets beside them.
    Durable,
    /// What the files take, what the disk writes, how often a commit flushes, how much memory a load takes.
    Sizes,
    /// Gets with nothing in the page cache, opening, gets from two processes.
    Cold,
    /// YCSB A to F, waiting for the disk and not.
    Ycsb,
    /// Random gets and puts of a store four times larger than the memory it may use.
    Memory,
    /// Durable puts beside gets for a set time.
    Sustained,
    /// How gets, puts, commits, opening and snapshots grow with the size.
    Growth,
    /// Every row of the project's tables: reads, loads, durable, sizes, cold.
    AllTables,
}

/// What is asked for, and what was measured so far.
pub struct Run {
    pub place: PathBuf,
    pub kinds: Vec<Kind>,
    pub pairs: u64,
    pub rounds: u64,
    /// Of the sustained mix.
    pub seconds: u64,
    /// Numbers of pairs of the growth set.
    pub sizes: Vec<u64>,
    /// By which counts of operations are divided.
    pub less: usize,
    pub samples: Vec<Sample>,
}

/// One row on one store in one round.
#[derive(Clone, Serialize, Deserialize)]
pub struct Sample {
    pub row: String,
    pub engine: String,
    pub round: u64,
    pub value: f64,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub latency: Option<Latency>,
}

/// Of single operations, in nanoseconds.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub struct Latency {
    pub p50: u64,
    pub p99: u64,
    pub p999: u64,
    pub max: u64,
}

impl Latency {
    pub fn of(all: &Histogram<u64>) -> Self {
        let at = |quantile| all.value_at_quantile(quantile);
        Latency { p50: at(0.5), p99: at(0.99), p999: at(0.999), max: all.max() }
    }
}

impl Run {
    pub fn run(&mut self, set: Set) {
        match set {
            Set::Quick => {
                [Set::Reads, Set::Loads, Set::Durable, Set::Cold, Set::Ycsb]
                    .into_iter()
                    .for_each(|set| self.run(set));
            }
            Set::AllTables => {
                [Set::Reads, Set::Loads, Set::Durable, Set::Sizes, Set::Cold]
                    .into_iter()
                    .for_each(|set| self.run(set));
            }
            Set::Reads => reads::run(self),
            Set::Loads => loads::run(self),
            Set::Durable => durable::run(self),
            Set::Sizes => flushes::run(self),
            Set::Cold => cold::run(self),
            Set::Ycsb => ycsb::run(self),
            Set::Memory => memory::run(self),
            Set::Sustained => sustained::run(self),
            Set::Growth => growth::run(self),
        }
    }

    fn record(&mut self, row: &str, kind: Kind, round: u64, value: f64) {
        self.record_with(row, kind, round, value, None);
    }

    fn record_with(&mut self, row: &str, kind: Kind, round: u64, value: f64, latency: Option<Latency>) {
        let engine = kind.name();
        eprintln!("round {round}: {row}, {engine}: {value:.0}");
        self.samples.push(Sample { row: row.into(), engine, round, value, latency });
    }

    /// The stores in another order each round.
    fn turn(&self, round: u64) -> Vec<Kind> {
        let mut kinds = self.kinds.clone();
        kinds.rotate_left(round as usize % self.kinds.len());
        kinds
    }

    /// So many operations, or fewer where less is asked for or there are not so many pairs.
    fn count(&self, most: usize) -> usize {
        (most / self.less).min(self.pairs as usize).max(1)
    }

    fn data(&self, shape: Shape) -> Data {
        Data::of(shape, (0..self.pairs).map(|i| (i, 0)))
    }
}

/// Nanoseconds an operation.
fn nanos(operations: usize, work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_nanos() as f64 / operations as f64
}

/// Adds up latencies.
struct Clock(Histogram<u64>);

impl Clock {
    fn new() -> Self {
        Clock(histogram())
    }

    fn time<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let result = work();
        self.add(start.elapsed());
        result
    }

    fn add(&mut self, time: Duration) {
        self.0.record(time.as_nanos() as u64).expect("it grows");
    }
}

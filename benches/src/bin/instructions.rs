//! `instructions DIRECTORY`: instructions and cache misses of one get, one scanned entry and one put,
//! mapleaf's beside LMDB's, by cachegrind: the difference between two runs that do different numbers of them.
//! The simulated processor has this one's first-level caches and a last level of 2 MiB. Every page was read
//! once before, so that checks of a page's first touch are not in the figures of gets and scans.
//!
//! `instructions DIRECTORY --run WORK --engine STORE --count N` is such a run, for callgrind and other tools.

use clap::{Parser, ValueEnum};
use mapleaf_bench::data::{Data, Shape};
use mapleaf_bench::engines::{Direction, Kind, Mode};
use mapleaf_bench::set_map_bytes;
use rand::prelude::*;
use std::path::{Path, PathBuf};
use std::process::Command;

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Work {
    Gets,
    GetsTogether,
    Scan,
    Puts,
}

/// Instructions and cache misses of one operation.
#[derive(Parser)]
struct Arguments {
    /// Where stores are made, and removed again.
    directory: PathBuf,
    #[arg(long, default_value_t = 100_000)]
    pairs: u64,
    #[arg(long, value_delimiter = ',', default_value = "mapleaf,lmdb")]
    engines: Vec<Kind>,
    /// Only does this, so many times.
    #[arg(long, requires = "engine")]
    run: Option<Work>,
    #[arg(long)]
    engine: Option<Kind>,
    #[arg(long, default_value_t = 1000)]
    count: usize,
}

const FEW: usize = 1000;
const MANY: usize = 11_000;
/// A last level of 2 MiB, so that a store of the default size does not fit.
const LAST_LEVEL: &str = "--LL=2097152,16,64";
const TOGETHER: usize = 16;
/// As much as valgrind has room for.
const MAP_BYTES: usize = 8 << 30;

impl Work {
    const ALL: [(Work, &str); 4] = [
        (Work::Gets, "random get"),
        (Work::GetsTogether, "get_many(16), a key"),
        (Work::Scan, "scanned entry"),
        (Work::Puts, "overwriting put in one txn, commit and all"),
    ];

    /// The same pairs are made whatever the count, so that the difference between two counts is the store's.
    fn run(self, kind: Kind, directory: &Path, pairs: u64, count: usize) {
        let engine = kind.open(directory, Shape::Bytes, Mode::Durable);
        let mut random = SmallRng::seed_from_u64(7);
        let version = u64::from(self == Work::Puts);
        let chosen = (0..MANY.max(count)).map(|_| (random.random_range(0..pairs), version));
        let data = Data::of(Shape::Bytes, chosen);
        let some = data.pairs().slice(0..count);
        // Whatever a store does once, when a page is first read, is done.
        assert_eq!(engine.scan(Direction::Forward).entries, pairs);
        match self {
            Work::Gets => engine.get_all(some),
            Work::GetsTogether => engine.get_many(some, TOGETHER),
            Work::Scan => {
                let least = Data::least(Shape::Bytes);
                assert_eq!(engine.seek(least.pairs(), count).entries, count as u64);
            }
            Work::Puts => engine.put(some),
        }
    }
}

/// Instructions, misses of the first-level data cache, misses of the last level.
type Counts = [f64; 3];

fn counted(work: Work, kind: Kind, directory: &Path, pairs: u64, count: usize) -> Counts {
    let name = work.to_possible_value().expect("none is skipped");
    let output = Command::new("valgrind")
        .args(["--tool=cachegrind", "--cache-sim=yes", LAST_LEVEL, "--cachegrind-out-file=/dev/null"])
        .arg(std::env::current_exe().expect("this program"))
        .arg(directory)
        .args(["--run", name.get_name(), "--engine", &kind.name()])
        .args(["--count", &count.to_string(), "--pairs", &pairs.to_string()])
        .output()
        .expect("valgrind is installed");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    // How its columns are padded differs between versions.
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    ["I refs:", "D1 misses:", "LL misses:"].map(|label| {
        let after = text.split_once(label).unwrap_or_else(|| panic!("no {label} in {text}")).1;
        after.split_whitespace().next().expect("a number").replace(',', "").parse().expect("a number")
    })
}

fn measure(work: Work, kind: Kind, directory: &Path, pairs: u64) -> Counts {
    let load = || {
        if directory.exists() {
            std::fs::remove_dir_all(directory).expect("removed");
        }
        std::fs::create_dir_all(directory).expect("a directory");
        let engine = kind.open(directory, Shape::Bytes, Mode::Durable);
        engine.put(Data::of(Shape::Bytes, (0..pairs).map(|i| (i, 0))).pairs());
        engine.settle();
    };
    let counted = |count| {
        load();
        counted(work, kind, directory, pairs, count)
    };
    let (few, many) = (counted(FEW), counted(MANY));
    std::array::from_fn(|i| (many[i] - few[i]) / (MANY - FEW) as f64)
}

fn main() {
    let arguments = Arguments::parse();
    let (directory, pairs) = (arguments.directory, arguments.pairs);
    set_map_bytes(MAP_BYTES);
    if let (Some(work), Some(kind)) = (arguments.run, arguments.engine) {
        return work.run(kind, &directory, pairs, arguments.count);
    }
    let place = directory.join("instructions");
    println!("| operation | store | instructions | D1 misses | LL misses |\n|---|---|---:|---:|---:|");
    for (work, name) in Work::ALL {
        for kind in &arguments.engines {
            let [instructions, d1, ll] = measure(work, *kind, &place, pairs);
            println!("| {name} | {} | {instructions:.0} | {d1:.2} | {ll:.3} |", kind.name());
        }
    }
    std::fs::remove_dir_all(place).expect("removed");
}

//! `commits DIRECTORY`: durable commits on mapleaf, LMDB (heed), redb, SQLite and RocksDB, in one interleaved run.
//!
//! Every store is loaded with the same pairs in one txn, closed, and opened again. Then random pairs are given
//! new values: by single puts, by batches of 100 and of 1,000, and by single puts from eight threads. In each
//! round each workload runs on every store, the same puts on each; who goes first changes with the round. After
//! each round 1,000 pairs are read back from each store, and a wrong one ends the run.
//!
//! Before and after each measured part the stores' background work is waited for and the file system is
//! synced (syncfs), outside the time measured. The device's bytes are those that the block device wrote between
//! these two syncs, by its own statistics: run on an otherwise idle disk. Times a put are medians over the
//! rounds, latencies are those of all commits of all rounds, device bytes are means.
//!
//! With `--puts-total` one store after another is loaded, takes that many puts in batches of 100, and is removed.
//!
//! Peers other than LMDB are features: `redb`, `sqlite` and `rocksdb`; `peers` is the first two. RocksDB is
//! compiled from the crate's own source, half an hour on one core, and needs a C++ compiler and libclang:
//!
//! ```text
//! apt-get install g++ libclang-dev
//! export CXXFLAGS="-g0 -msse4.2 -mpclmul"        # RocksDB's checksums by the CPU's instruction
//! cargo run --release -p mapleaf-bench --features peers,rocksdb --bin commits -- DIRECTORY
//! ```

use clap::{Parser, ValueEnum};
use mapleaf_bench::engines::{Engine, Kind};
use mapleaf_bench::{Pair, device_bytes, histogram, median, version};
use rand::prelude::*;
use serde::Serialize;
use serde_json::json;
use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::thread;
use std::time::Instant;

const THREADS: u64 = 8;
const SAMPLE: usize = 1000;

/// Durable commits on mapleaf and its peers, in one interleaved run
#[derive(Parser)]
struct Arguments {
    /// Where the stores are made, each in a directory of its name, which is removed at the end
    directory: PathBuf,
    /// Pairs that every store is loaded with
    #[arg(long, default_value_t = 1_000_000)]
    pairs: u64,
    /// Rounds in which the stores take turns
    #[arg(long, default_value_t = 5)]
    rounds: u64,
    /// Stores to measure
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Kind::value_variants().to_vec())]
    engines: Vec<Kind>,
    /// Each may have its commits a round (a thread) behind a colon, as in `single:500`
    #[arg(long, value_delimiter = ',', default_values = ["single", "batch100", "batch1000", "threads"])]
    workloads: Vec<Workload>,
    /// Endurance instead: this many puts in batches of 100, one store after another
    #[arg(long, value_name = "N", num_args = 0..=1, default_missing_value = "1000000")]
    puts_total: Option<u64>,
    /// File for all numbers, with every commit's latency
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Clone)]
struct Workload {
    name: &'static str,
    threads: u64,
    /// Of each thread, in a round.
    commits: u64,
    /// In a commit.
    puts: u64,
}

impl FromStr for Workload {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, commits) = text.split_once(':').map_or((text, None), |(name, n)| (name, Some(n)));
        let (name, threads, default, puts) = match name {
            "single" => ("single", 1, 3000, 1),
            "batch100" => ("batch100", 1, 100, 100),
            "batch1000" => ("batch1000", 1, 20, 1000),
            "threads" => ("threads", THREADS, 1000, 1),
            _ => return Err("known are single, batch100, batch1000, threads".into()),
        };
        let commits = match commits {
            Some(number) => number.parse().map_err(|_| format!("{number} is not a number"))?,
            None => default,
        };
        Ok(Workload { name, threads, commits, puts })
    }
}

/// What each thread commits.
type Work = Vec<Vec<Vec<Pair>>>;

/// What every store must hold.
struct Model {
    pairs: u64,
    puts: u64,
    /// Of the pairs that were put since the load, which had version 0.
    versions: HashMap<u64, u64>,
    random: SmallRng,
}

impl Model {
    fn new(pairs: u64) -> Self {
        Model { pairs, puts: 0, versions: HashMap::new(), random: SmallRng::seed_from_u64(7) }
    }

    /// Random pairs, each in a new version. No two threads have the same pair, so what is there in the
    /// end does not depend on who was faster.
    fn work(&mut self, workload: &Workload) -> Work {
        let mut put = |thread| {
            let i = self.random.random_range(0..self.pairs / workload.threads) * workload.threads + thread;
            self.puts += 1;
            self.versions.insert(i, self.puts);
            version(i, self.puts)
        };
        let mut commit = |thread| (0..workload.puts).map(|_| put(thread)).collect();
        (0..workload.threads).map(|thread| (0..workload.commits).map(|_| commit(thread)).collect()).collect()
    }

    /// Pairs as they must be now, half of them among those that were put.
    fn sample(&mut self) -> Vec<Pair> {
        let mut chosen = self.versions.keys().copied().choose_multiple(&mut self.random, SAMPLE / 2);
        chosen.extend((chosen.len()..SAMPLE).map(|_| self.random.random_range(0..self.pairs)));
        chosen.into_iter().map(|i| version(i, self.versions.get(&i).copied().unwrap_or(0))).collect()
    }
}

/// One workload on one store in one round.
#[derive(Serialize)]
struct Part {
    round: u64,
    workload: &'static str,
    engine: &'static str,
    puts: u64,
    nanos: u64,
    device_bytes: u64,
    /// Of each commit, in nanoseconds, one thread's after another's.
    latencies: Vec<u64>,
}

/// Commits one after another, and says how many nanoseconds each took.
fn commit_all(engine: &dyn Engine, commits: &[Vec<Pair>], is_alone: bool) -> Vec<u64> {
    let timed = |pairs: &Vec<Pair>| {
        let start = Instant::now();
        match is_alone {
            true => engine.commit(pairs),
            false => engine.commit_beside_others(pairs),
        }
        start.elapsed().as_nanos() as u64
    };
    commits.iter().map(timed).collect()
}

struct Store {
    kind: Kind,
    directory: PathBuf,
    /// One for each thread.
    handles: Vec<Box<dyn Engine>>,
    bytes_loaded: u64,
}

impl Store {
    fn load(kind: Kind, place: &Path, pairs: &[Pair]) -> Self {
        let directory = place.join(kind.name());
        std::fs::create_dir_all(place).expect("a directory");
        std::fs::create_dir(&directory).expect("a new directory");
        let start = Instant::now();
        kind.open(&directory).commit(pairs);
        let handle = kind.open(&directory);
        let mut handles: Vec<_> = (1..THREADS).map(|_| handle.another()).collect();
        handles.push(handle);
        let mut store = Store { kind, directory, handles, bytes_loaded: 0 };
        store.rest();
        store.bytes_loaded = store.bytes();
        eprintln!("{}: {} pairs loaded in {:.1} s", kind.name(), pairs.len(), start.elapsed().as_secs_f64());
        store
    }

    /// Nothing is left to be written afterwards.
    fn rest(&self) {
        self.handles[0].settle();
        File::open(&self.directory).and_then(|file| Ok(rustix::fs::syncfs(file)?)).expect("synced");
    }

    /// What the files occupy.
    fn bytes(&self) -> u64 {
        let files = std::fs::read_dir(&self.directory).expect("a directory");
        files.map(|file| file.and_then(|file| file.metadata()).expect("a file").blocks() * 512).sum()
    }

    fn run(&mut self, round: u64, workload: &Workload, work: &Work) -> Part {
        self.rest();
        let written = device_bytes(&self.directory);
        let is_alone = work.len() == 1;
        let start = Instant::now();
        let latencies: Vec<u64> = thread::scope(|scope| {
            let jobs = self.handles.iter_mut().zip(work);
            let threads: Vec<_> = jobs
                .map(|(handle, commits)| scope.spawn(move || commit_all(handle.as_ref(), commits, is_alone)))
                .collect();
            threads.into_iter().flat_map(|thread| thread.join().expect("all committed")).collect()
        });
        let nanos = start.elapsed().as_nanos() as u64;
        self.rest();
        let device_bytes = device_bytes(&self.directory) - written;
        let puts = workload.threads * workload.commits * workload.puts;
        let engine = self.kind.name();
        eprintln!("round {round}: {}, {engine}: {} ns a put", workload.name, nanos / puts);
        Part { round, workload: workload.name, engine, puts, nanos, device_bytes, latencies }
    }

    fn check(&self, sample: &[Pair]) {
        for (key, value) in sample {
            let found = self.handles[0].get(key);
            assert!(found.as_deref() == Some(value), "{}: wrong value at {key:02x?}", self.kind.name());
        }
    }

    fn remove(self) -> Size {
        self.rest();
        let (bytes_loaded, bytes_after) = (self.bytes_loaded, self.bytes());
        drop(self.handles);
        std::fs::remove_dir_all(&self.directory).expect("removed");
        Size { engine: self.kind.name(), bytes_loaded, bytes_after }
    }
}

#[derive(Serialize)]
struct Size {
    engine: &'static str,
    bytes_loaded: u64,
    bytes_after: u64,
}

/// One workload on one store in all rounds.
#[derive(Serialize)]
struct Row {
    workload: &'static str,
    engine: &'static str,
    nanos_per_put: f64,
    /// Latency in nanoseconds of a commit: p50, p99, p99.9, max.
    latency: [u64; 4],
    device_bytes_per_put: f64,
}

impl Row {
    fn new(workload: &'static str, engine: &'static str, parts: &[Part]) -> Self {
        let parts = || parts.iter().filter(|part| part.workload == workload && part.engine == engine);
        let mut latencies = histogram();
        for nanos in parts().flat_map(|part| &part.latencies) {
            latencies.record(*nanos).expect("it grows");
        }
        let puts: u64 = parts().map(|part| part.puts).sum();
        Row {
            workload,
            engine,
            nanos_per_put: median(parts().map(|part| part.nanos as f64 / part.puts as f64).collect()),
            latency: [0.5, 0.99, 0.999, 1.0].map(|quantile| latencies.value_at_quantile(quantile)),
            device_bytes_per_put: parts().map(|part| part.device_bytes).sum::<u64>() as f64 / puts as f64,
        }
    }
}

fn print(rows: &[Row], sizes: &[Size]) {
    println!(
        "| workload | store | ns a put | speed, × LMDB's | commit p50, µs | p99 | p99.9 | max | device bytes a put |\n\
         |---|---|---:|---:|---:|---:|---:|---:|---:|"
    );
    for row in rows {
        let lmdb = rows.iter().find(|other| other.workload == row.workload && other.engine == "lmdb");
        let speed = lmdb.map_or("".into(), |lmdb| format!("{:.2}", lmdb.nanos_per_put / row.nanos_per_put));
        let [p50, p99, p999, max] = row.latency.map(|nanos| nanos as f64 / 1000.0);
        println!(
            "| {} | {} | {:.0} | {speed} | {p50:.1} | {p99:.1} | {p999:.1} | {max:.1} | {:.0} |",
            row.workload, row.engine, row.nanos_per_put, row.device_bytes_per_put
        );
    }
    println!("\n| store | MB loaded | MB at the end |\n|---|---:|---:|");
    for size in sizes {
        let [loaded, after] = [size.bytes_loaded, size.bytes_after].map(|bytes| bytes as f64 / 1e6);
        println!("| {} | {loaded:.1} | {after:.1} |", size.engine);
    }
}

fn main() {
    let arguments = Arguments::parse();
    let (workloads, rounds, together) = match arguments.puts_total {
        None => (arguments.workloads, arguments.rounds, arguments.engines.len()),
        Some(puts) => {
            (vec![Workload { name: "endurance", threads: 1, commits: puts / 100, puts: 100 }], 1, 1)
        }
    };
    let pairs: Vec<Pair> = (0..arguments.pairs).map(|i| version(i, 0)).collect();
    let (mut parts, mut sizes) = (Vec::new(), Vec::new());
    for engines in arguments.engines.chunks(together) {
        let load = |kind: &Kind| Store::load(*kind, &arguments.directory, &pairs);
        let mut stores: Vec<Store> = engines.iter().map(load).collect();
        let mut model = Model::new(arguments.pairs);
        for round in 0..rounds {
            let (last, first) = stores.split_at_mut(round as usize % together);
            for workload in &workloads {
                let work = model.work(workload);
                let stores = first.iter_mut().chain(&mut *last);
                parts.extend(stores.map(|store| store.run(round, workload, &work)));
            }
            let sample = model.sample();
            stores.iter().for_each(|store| store.check(&sample));
        }
        sizes.extend(stores.into_iter().map(Store::remove));
    }
    let rows: Vec<Row> = workloads
        .iter()
        .flat_map(|workload| arguments.engines.iter().map(|kind| (workload.name, kind.name())))
        .map(|(workload, engine)| Row::new(workload, engine, &parts))
        .collect();
    print(&rows, &sizes);
    if let Some(path) = arguments.json {
        let pairs = arguments.pairs;
        let all = json!({ "pairs": pairs, "rounds": rounds, "rows": rows, "stores": sizes, "parts": parts });
        std::fs::write(path, all.to_string()).expect("written");
    }
}

//! `cold_scan DIRECTORY`: walking through a table of which nothing is in memory, beside LMDB.
//!
//! The table is built in random order, in txns of a given size: with one for all, leaves lie in the order of their
//! keys; with many, in no order. 24-byte random keys, 150-byte values. Each round drops the files' pages from the
//! cache, opens the store, walks through all of it from one end, and closes it; the stores take turns. Medians of the
//! rounds; every key and value is looked at.

use clap::Parser;
use mapleaf_bench::data::{Data, Shape};
use mapleaf_bench::engines::{Direction, Kind, Mode};
use mapleaf_bench::{device_bytes_read, median};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Instant;

#[derive(Parser)]
struct Args {
    /// Where the files go, which are removed again.
    directory: PathBuf,
    #[arg(long, default_value_t = 1_000_000)]
    pairs: u64,
    /// Pairs of a txn; several: one table after the other.
    #[arg(long, value_delimiter = ',', default_values_t = [1_000_000, 10_000, 1_000])]
    txn: Vec<usize>,
    #[arg(long, default_value_t = 7)]
    rounds: usize,
}

const KINDS: [Kind; 2] = [Kind::Mapleaf, Kind::Lmdb];
const WAYS: [Direction; 2] = [Direction::Forward, Direction::Reverse];

fn main() {
    let args = Args::parse();
    let data = Data::of(Shape::Bytes, (0..args.pairs).map(|i| (i, 0)));
    for txn in &args.txn {
        let place = |kind: Kind| args.directory.join(format!("cold-scan-{}", kind.name()));
        for kind in KINDS {
            let directory = place(kind);
            let _ = std::fs::remove_dir_all(&directory);
            std::fs::create_dir_all(&directory).expect("a place for files");
            let engine = kind.open(&directory, Shape::Bytes, Mode::NotWaiting);
            data.pairs().chunks(*txn).for_each(|pairs| engine.put(pairs));
            engine.settle();
        }
        println!("{} pairs, {txn} a txn", args.pairs);
        for way in WAYS {
            let mut rounds = [const { Vec::new() }; KINDS.len()];
            for round in 0..args.rounds {
                for i in 0..KINDS.len() {
                    let i = (i + round) % KINDS.len();
                    rounds[i].push(scan(KINDS[i], &place(KINDS[i]), way, args.pairs));
                }
            }
            let ratio = rounds[0].iter().zip(&rounds[1]).map(|(ours, theirs)| theirs.0 / ours.0).collect();
            println!("  {way:?}: {:.2} × LMDB's speed (median of the rounds)", median(ratio));
            for (kind, rounds) in KINDS.iter().zip(&rounds) {
                let of = |value: fn(&(f64, f64)) -> f64| median(rounds.iter().map(value).collect());
                let size = size(&place(*kind));
                let (time, read) = (of(|round| round.0), of(|round| round.1));
                println!(
                    "    {:8} {time:8.1} ms, {read:7.1} MB read of {size:7.1}, {:6.0} MB/s",
                    kind.name(),
                    read * 1e3 / time
                );
            }
        }
        KINDS.into_iter().for_each(|kind| std::fs::remove_dir_all(place(kind)).expect("removed"));
    }
}

/// Milliseconds, and megabytes read from the disk.
fn scan(kind: Kind, directory: &Path, way: Direction, pairs: u64) -> (f64, f64) {
    for file in std::fs::read_dir(directory).expect("it is there") {
        let file = File::open(file.expect("readable").path()).expect("readable");
        file.sync_all().expect("flushed");
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).expect("dropped");
    }
    let (before, begun) = (device_bytes_read(directory), Instant::now());
    let engine = kind.open(directory, Shape::Bytes, Mode::Durable);
    let seen = engine.scan(way);
    let time = begun.elapsed().as_secs_f64() * 1e3;
    assert_eq!(seen.entries, pairs, "entries are missing");
    (time, (device_bytes_read(directory) - before) as f64 / 1e6)
}

/// Megabytes of the files.
fn size(directory: &Path) -> f64 {
    let files = std::fs::read_dir(directory).expect("it is there");
    files.map(|file| file.and_then(|file| file.metadata()).map_or(0, |file| file.len()) as f64 / 1e6).sum()
}

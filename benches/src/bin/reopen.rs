//! `reopen FILE [PAIRS [BATCH [VALUE [ROUNDS]]]]`: how long opening takes after a crash with as much to replay as
//! the limits allow. Loads PAIRS pairs of 8-byte keys and 1,000-byte values (800,000 by default, a gigabyte),
//! then, in each round, lets a process of its own commit batches of BATCH random puts with values of VALUE
//! bytes until nine tenths of the way to a checkpoint, and end without closing; drops the page cache, where it
//! may; and opens the store.

use mapleaf::{Database, Error, Options, Table};
use mapleaf_bench::median;
use rand::prelude::*;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

const PAIRS: Table<u64, [u8]> = Table::new("pairs");
/// Pairs loaded in one txn.
const LOADED_AT_ONCE: usize = 200_000;

fn main() -> Result<(), Error> {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let is_child = arguments.first().is_some_and(|first| first == "fill");
    if is_child {
        arguments.remove(0);
    }
    let path = arguments.first().cloned().expect("usage: reopen FILE [PAIRS [BATCH [VALUE [ROUNDS]]]]");
    let number = |i: usize, default: u64| arguments.get(i).map_or(default, |n| n.parse().expect("a number"));
    let (pairs, batch, value, rounds) = (number(1, 800_000), number(2, 100), number(3, 150), number(4, 3));
    if is_child {
        let db = open(&path)?;
        fill(&db, pairs, batch, value as usize)?;
        // It ends while the store is open, without destructors: the log stays.
        std::process::exit(0);
    }
    load(&open(&path)?, pairs)?;
    let mut times = Vec::new();
    for round in 0..rounds {
        let program = std::env::current_exe().expect("this program");
        let mut child = Command::new(program);
        child.arg("fill").args([&path, &pairs.to_string(), &batch.to_string(), &value.to_string()]);
        assert!(child.status().expect("it runs").success());
        std::fs::File::open(&path).and_then(|file| file.sync_all()).expect("synced");
        if std::fs::write("/proc/sys/vm/drop_caches", "3").is_err() {
            eprintln!("the page cache cannot be dropped here: the times are those of a warm one");
        }
        let start = Instant::now();
        let db = open(&path)?;
        times.push(start.elapsed().as_secs_f64() * 1000.0);
        let txns = db.counters().replayed_txns;
        println!("round {round}: {:.1} ms, {txns} txns of {batch} puts replayed", times.last().expect("one"));
        db.close()?;
    }
    let len = std::fs::metadata(&path).map_or(0, |meta| meta.len());
    println!("median {:.1} ms, store of {len} bytes", median(times));
    Ok(())
}

fn open(path: impl AsRef<Path>) -> Result<Database, Error> {
    // SAFETY: the file is this program's own.
    unsafe { Options::new().open(path) }
}

fn load(db: &Database, pairs: u64) -> Result<(), Error> {
    let first = db.begin_read()?.len(PAIRS)?;
    for start in (first..pairs).step_by(LOADED_AT_ONCE) {
        db.write(|w| {
            (start..(start + LOADED_AT_ONCE as u64).min(pairs))
                .try_for_each(|key| w.put(PAIRS, &key, &[key as u8; 1000][..]).map(|_| ()))
        })?;
    }
    Ok(())
}

/// Commits until nine tenths of the way to the checkpoint that would come, judging by the one before.
fn fill(db: &Database, pairs: u64, batch: u64, value: usize) -> Result<(), Error> {
    let mut random = SmallRng::seed_from_u64(u64::from(std::process::id()));
    let (mut since, mut intervals) = (0, Vec::new());
    while intervals.len() < 3 || since * 10 < intervals[intervals.len() - 1] * 9 {
        let before = db.counters().checkpoints;
        db.write(|w| {
            (0..batch).try_for_each(|_| {
                w.put(PAIRS, &random.random_range(0..pairs), &vec![7; value][..]).map(|_| ())
            })
        })?;
        since += 1;
        if db.counters().checkpoints > before {
            intervals.push(since);
            since = 0;
        }
    }
    Ok(())
}

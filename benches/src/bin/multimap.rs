//! Multimaps beside LMDB's DUPSORT | DUPFIXED: keys of 16 bytes with values of 8, in both orders; bytes of the used pages,
//! and the times of putting, of reading all values of a key, and of counting them, the two stores in turn.

use clap::Parser;
use heed::types::Bytes;
use heed::{DatabaseFlags, EnvFlags, EnvOpenOptions};
use mapleaf::{Durability, MultiTable, Options};
use rand::prelude::*;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const SETS: MultiTable<[u8; 16], u64> = MultiTable::new("sets");

#[derive(Parser)]
struct Args {
    /// Number of keys
    #[arg(long, default_value_t = 10_000)]
    keys: u64,
    /// Values of each key
    #[arg(long, default_value_t = 100)]
    values: u64,
    /// Where the files go, which are removed again
    #[arg(long, default_value = "/tmp")]
    directory: PathBuf,
    /// How often times are taken; the shortest counts
    #[arg(long, default_value_t = 3)]
    rounds: usize,
}

/// Bytes of the pages in use, and times: of putting all, per value; of a lookup with all values, per value; of a
/// count, per key.
struct Measured {
    bytes: u64,
    put: Duration,
    read: Duration,
    count: Duration,
}

fn key(i: u64) -> [u8; 16] {
    let mut key = [0; 16];
    // Spread, so that the order of the keys says nothing about that of the numbers.
    key[..8].copy_from_slice(&i.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    key[8..].copy_from_slice(&i.to_be_bytes());
    key
}

fn mapleaf(directory: &Path, pairs: &[(u64, u64)], keys: &[u64]) -> Measured {
    let path = directory.join("a.maple");
    // SAFETY: the file is this program's own.
    let db = unsafe { Options::new().open(&path) }.unwrap();
    let start = Instant::now();
    let mut w = db.begin_write().unwrap();
    w.set_durability(Durability::Ordered);
    for (i, value) in pairs {
        w.put_value(SETS, &key(*i), value).unwrap();
    }
    w.commit().unwrap();
    let put = start.elapsed();
    let r = db.begin_read().unwrap();
    let start = Instant::now();
    for i in keys {
        let sum = r.values(SETS, &key(*i)).unwrap().fold(0u64, |sum, value| sum.wrapping_add(value.unwrap()));
        black_box(sum);
    }
    let read = start.elapsed();
    let view = r.multi(SETS).unwrap();
    let start = Instant::now();
    for i in keys {
        black_box(view.count_values(&key(*i)).unwrap());
    }
    let count = start.elapsed();
    let stats = db.stats().unwrap();
    let table = &stats.tables[0];
    let pages: u64 = table.levels.iter().chain(&table.set_levels).map(|level| level.pages).sum();
    Measured { bytes: pages * stats.page_size, put, read, count }
}

fn lmdb(directory: &Path, pairs: &[(u64, u64)], keys: &[u64]) -> Measured {
    let mut options = EnvOpenOptions::new();
    // SAFETY: the file is this program's own, and the flag changes no promise about memory.
    let env = unsafe {
        options.map_size(8 << 30).max_dbs(1).flags(EnvFlags::NO_SUB_DIR).open(directory.join("a.mdb"))
    };
    let env = env.unwrap();
    let start = Instant::now();
    let mut txn = env.write_txn().unwrap();
    let flags = DatabaseFlags::DUP_SORT | DatabaseFlags::DUP_FIXED;
    let db = env.database_options().types::<Bytes, Bytes>().flags(flags).create(&mut txn).unwrap();
    pairs.iter().for_each(|(i, value)| db.put(&mut txn, &key(*i), &value.to_be_bytes()).unwrap());
    txn.commit().unwrap();
    let put = start.elapsed();
    let txn = env.read_txn().unwrap();
    let start = Instant::now();
    for i in keys {
        let values = db.get_duplicates(&txn, &key(*i)).unwrap().into_iter().flatten();
        let number = |value: &[u8]| u64::from_be_bytes(value.try_into().unwrap());
        black_box(values.fold(0u64, |sum, pair| sum.wrapping_add(number(pair.unwrap().1))));
    }
    let read = start.elapsed();
    // heed has no mdb_cursor_count: counting is walking.
    let start = Instant::now();
    for i in keys {
        black_box(db.get_duplicates(&txn, &key(*i)).unwrap().into_iter().flatten().count());
    }
    let count = start.elapsed();
    // The tables of large sets are in no statistics: all pages that the one txn has needed count, with two of meta data.
    let pages = env.info().last_page_number as u64 - 1;
    Measured { bytes: pages * u64::from(db.stat(&txn).unwrap().page_size), put, read, count }
}

fn best(rounds: &[Measured], time: impl Fn(&Measured) -> Duration, per: u64) -> f64 {
    rounds.iter().map(time).min().unwrap().as_nanos() as f64 / per as f64
}

fn main() {
    let args = Args::parse();
    let (random, mut sorted) = (&mut StdRng::seed_from_u64(1), Vec::new());
    let mut keys: Vec<u64> = (0..args.keys).collect();
    keys.sort_by_key(|i| key(*i));
    keys.iter().for_each(|i| sorted.extend((0..args.values).map(|value| (*i, value))));
    let mut shuffled = sorted.clone();
    shuffled.shuffle(random);
    keys.shuffle(random);
    println!("{} keys of 16 bytes, {} values of 8 bytes each", args.keys, args.values);
    for (order, pairs) in [("ascending", &sorted), ("random", &shuffled)] {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..args.rounds {
            let directory = args.directory.join(format!("multimap-{}", std::process::id()));
            std::fs::create_dir_all(&directory).unwrap();
            theirs.push(lmdb(&directory, pairs, &keys));
            ours.push(mapleaf(&directory, pairs, &keys));
            std::fs::remove_dir_all(&directory).unwrap();
        }
        let count = pairs.len() as u64;
        println!("{order}:");
        for (name, rounds) in [("mapleaf", &ours), ("LMDB", &theirs)] {
            println!(
                "  {name:8} {:12} bytes ({:5.2} a value)  put {:7.0} ns  read {:6.1} ns a value  count {:7.0} ns a key",
                rounds[0].bytes,
                rounds[0].bytes as f64 / count as f64,
                best(rounds, |it| it.put, count),
                best(rounds, |it| it.read, count),
                best(rounds, |it| it.count, args.keys),
            );
        }
        println!("  bytes: {:.3} × LMDB's", ours[0].bytes as f64 / theirs[0].bytes as f64);
    }
}

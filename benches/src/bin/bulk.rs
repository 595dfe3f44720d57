//! Loading and deleting in bulk, beside LMDB: what an entry costs that is put, appended, and loaded, in order and in
//! none; and what it reads and takes to delete nine tenths of a table, by a range, that is not in memory.
//!
//! Keys of 16 bytes with values of 100. The ways take turns; medians over the rounds. Loads are one txn each, its commit
//! included, which flushes nothing in either store. Deletions begin with a dropped page cache and end before the commit.

use clap::Parser;
use heed::types::Bytes;
use heed::{Env, EnvFlags, EnvOpenOptions, PutFlags};
use mapleaf::{Database, Durability, Options, Table};
use mapleaf_bench::device_bytes_read;
use rustix::fs::{Advice, fadvise};
use std::fs::File;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::time::Instant;

const TABLE: Table<[u8], [u8]> = Table::new("entries");
const VALUE: [u8; 100] = [7; 100];

#[derive(Parser)]
struct Args {
    /// Entries of a load, a power of two
    #[arg(long, default_value_t = 1 << 20)]
    entries: u64,
    /// Entries of the table of which nine tenths are deleted
    #[arg(long, default_value_t = 7_800_000)]
    deleted_from: u64,
    /// Where the files go, which are removed again
    #[arg(long, default_value = "/tmp")]
    directory: PathBuf,
    #[arg(long, default_value_t = 5)]
    rounds: usize,
}

fn key(i: u64) -> [u8; 16] {
    let mut key = *b"user:\0\0\0\0\0\0\0\0xyz";
    key[5..13].copy_from_slice(&i.to_be_bytes());
    key
}

/// Entry `i` of an order that is none; `count` is a power of two.
fn scattered(i: u64, count: u64) -> u64 {
    i.wrapping_mul(0x9e37_79b9_7f4a_7c15) % count
}

fn ours(path: &Path) -> Database {
    // SAFETY: the file is this program's own.
    unsafe { Options::new().durability(Durability::Eventual).open(path) }.expect("opened")
}

fn theirs(path: &Path) -> Env {
    let mut options = EnvOpenOptions::new();
    // SAFETY: the file is this program's own, and after a power cut nobody wants it.
    let env = unsafe {
        options.map_size(64 << 30).max_dbs(1).flags(EnvFlags::NO_SUB_DIR | EnvFlags::NO_SYNC).open(path)
    };
    env.expect("opened")
}

fn load_ours(path: &Path, how: &str, count: u64) {
    let db = ours(path);
    let mut w = db.begin_write().expect("the only writer");
    let entry = |i| (key(i), VALUE);
    match how {
        "put" => (0..count).for_each(|i| assert!(w.put(TABLE, &key(i), &VALUE).is_ok())),
        "put, scattered" => {
            (0..count).for_each(|i| assert!(w.put(TABLE, &key(scattered(i, count)), &VALUE).is_ok()));
        }
        "append" => (0..count).for_each(|i| assert!(w.append(TABLE, &key(i), &VALUE).is_ok())),
        "bulk_load" => assert!(w.bulk_load(TABLE, (0..count).map(entry)).is_ok()),
        _ => assert!(w.bulk_load(TABLE, (0..count).map(|i| entry(scattered(i, count)))).is_ok()),
    }
    w.commit().expect("room");
}

fn load_theirs(path: &Path, how: &str, count: u64) {
    let env = theirs(path);
    let mut w = env.write_txn().expect("the only writer");
    let db = env.create_database::<Bytes, Bytes>(&mut w, Some("entries")).expect("room");
    let flags = if how == "append" { PutFlags::APPEND } else { PutFlags::empty() };
    for i in 0..count {
        let i = if how == "put, scattered" { scattered(i, count) } else { i };
        db.put_with_flags(&mut w, flags, &key(i), &VALUE).expect("room");
    }
    w.commit().expect("room");
    env.prepare_for_closing().wait();
}

fn compare_loads(args: &Args, directory: &Path) {
    let ways = [
        ("mapleaf", "put"),
        ("mapleaf", "append"),
        ("mapleaf", "bulk_load"),
        ("LMDB", "put"),
        ("LMDB", "append"),
        ("mapleaf", "put, scattered"),
        ("mapleaf", "bulk_load, scattered"),
        ("LMDB", "put, scattered"),
    ];
    println!("loading {} entries", args.entries);
    let mut measured = vec![(Vec::new(), 0); ways.len()];
    for _ in 0..args.rounds {
        for ((store, how), (times, bytes)) in ways.iter().zip(&mut measured) {
            let path = directory.join("load");
            let begun = Instant::now();
            match *store {
                "mapleaf" => load_ours(&path, how, args.entries),
                _ => load_theirs(&path, how, args.entries),
            }
            times.push(begun.elapsed().as_nanos() as f64 / args.entries as f64);
            *bytes = path.metadata().expect("it is there").len();
            std::fs::remove_file(&path).expect("removed");
        }
    }
    for ((store, how), (times, bytes)) in ways.iter().zip(measured) {
        println!(
            "  {store:8} {how:22} {:7.0} ns an entry, {:6.1} MB",
            median(times),
            bytes as f64 / (1 << 20) as f64
        );
    }
}

/// Milliseconds, bytes read from the disk, and how many entries went.
type Deleted = (f64, u64, u64);

fn cold(path: &Path, delete: impl FnOnce() -> (f64, u64)) -> Deleted {
    let file = File::open(path).expect("it is there");
    file.sync_all().expect("flushed");
    fadvise(&file, 0, None, Advice::DontNeed).expect("dropped");
    let before = device_bytes_read(path);
    let (ms, removed) = delete();
    (ms, device_bytes_read(path) - before, removed)
}

fn compare_deletions(args: &Args, directory: &Path) {
    let (our_path, their_path) = (directory.join("cut.maple"), directory.join("cut.mdb"));
    load_ours(&our_path, "bulk_load", args.deleted_from);
    load_theirs(&their_path, "append", args.deleted_from);
    let (low, high) = (key(args.deleted_from / 20), key(args.deleted_from - args.deleted_from / 20));
    let (mut our_rounds, mut their_rounds) = (Vec::new(), Vec::new());
    for _ in 0..args.rounds {
        our_rounds.push(cold(&our_path, || {
            let db = ours(&our_path);
            let mut w = db.begin_write().expect("the only writer");
            let begun = Instant::now();
            let removed = w.delete_range(TABLE, &low[..]..&high[..]).expect("readable");
            (begun.elapsed().as_secs_f64() * 1e3, removed)
        }));
        their_rounds.push(cold(&their_path, || {
            let env = theirs(&their_path);
            let removed = {
                let mut w = env.write_txn().expect("the only writer");
                let db = env.open_database::<Bytes, Bytes>(&w, Some("entries")).expect("readable");
                let bounds = (Bound::Included(&low[..]), Bound::Excluded(&high[..]));
                let begun = Instant::now();
                let removed = db.expect("made above").delete_range(&mut w, &bounds).expect("readable");
                (begun.elapsed().as_secs_f64() * 1e3, removed as u64)
            };
            env.prepare_for_closing().wait();
            removed
        }));
    }
    println!("deleting nine tenths of {} entries, nothing in memory", args.deleted_from);
    for (store, rounds, path) in [("mapleaf", our_rounds, our_path), ("LMDB", their_rounds, their_path)] {
        println!(
            "  {store:8} {:8.1} ms, {:7.1} MB read of {:7.1}, {} entries",
            median(rounds.iter().map(|round| round.0).collect()),
            median(rounds.iter().map(|round| round.1 as f64).collect()) / (1 << 20) as f64,
            path.metadata().expect("it is there").len() as f64 / (1 << 20) as f64,
            rounds[0].2
        );
    }
}

fn median(mut of: Vec<f64>) -> f64 {
    of.sort_by(f64::total_cmp);
    of[of.len() / 2]
}

fn main() {
    let args = Args::parse();
    let directory = args.directory.join(format!("bulk-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a place for files");
    compare_loads(&args, &directory);
    compare_deletions(&args, &directory);
    std::fs::remove_dir_all(&directory).expect("removed");
}

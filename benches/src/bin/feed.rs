//! `feed DIRECTORY`: what a difference and an incremental backup cost, beside looking at everything.
//!
//! A store of many keys, 16 bytes with values of 24; 1,000 of them get other values, anywhere, in txns of ten; it is
//! compared with a snapshot from before, and with a copy of the file that was made then. Nothing of the files is in
//! the page cache when a measurement begins, then all of it is ("warm"). A full compare goes through both tables side
//! by side.

use clap::Parser;
use mapleaf::{BackupInfo, Database, ReadTxn, Table};
use mapleaf_bench::{device_bytes_read, median};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Instant;

const TABLE: Table<[u8; 16], [u8; 24]> = Table::new("entries");

#[derive(Parser)]
struct Args {
    /// Where the files go, which are removed again.
    directory: PathBuf,
    #[arg(long, default_value_t = 10_000_000)]
    keys: u64,
    #[arg(long, default_value_t = 1_000)]
    changes: u64,
    #[arg(long, default_value_t = 5)]
    rounds: usize,
}

fn key(i: u64) -> [u8; 16] {
    u128::from(i).to_be_bytes()
}

fn open(path: &Path) -> Database {
    // SAFETY: the file is this program's own.
    unsafe { Database::open(path) }.expect("opened")
}

fn main() {
    let args = Args::parse();
    std::fs::create_dir_all(&args.directory).expect("a place for files");
    let path = |name: &str| args.directory.join(name);
    let names = ["feed", "feed-copy", "full.backup", "more.backup"];
    let remove = || names.iter().for_each(|name| drop(std::fs::remove_file(path(name))));
    remove();
    let db = open(&path("feed"));
    db.write(|w| w.bulk_load(TABLE, (0..args.keys).map(|i| (key(i), [i as u8; 24])))).expect("loaded");
    db.write(|w| w.create_snapshot("before")).expect("stored");
    let begun = Instant::now();
    let full =
        db.backup().and_then(|backup| backup.write_to(path("full.backup"), &mut |_| {})).expect("backed up");
    println!("{} keys, {} changed", args.keys, args.changes);
    println!(
        "  full backup        {:8.1} ms, {:9.1} MB",
        begun.elapsed().as_secs_f64() * 1e3,
        full.bytes as f64 / 1e6
    );
    db.close().expect("closed");
    std::fs::copy(path("feed"), path("feed-copy")).expect("room");
    let db = open(&path("feed"));
    for txn in 0..args.changes / 10 {
        db.write(|w| {
            (0..10).try_for_each(|i| {
                let at = (txn * 10 + i).wrapping_mul(0x9e37_79b9_7f4a_7c15) % args.keys;
                w.put(TABLE, &key(at), &[!(at as u8); 24]).map(drop)
            })
        })
        .expect("committed");
    }
    let base = BackupInfo::read(path("full.backup")).expect("made above");
    let begun = Instant::now();
    let more = db.backup().and_then(|backup| backup.since(&base)?.write_to(path("more.backup"), &mut |_| {}));
    let more = more.expect("backed up");
    println!(
        "  incremental backup {:8.1} ms, {:9.1} MB in {} pages",
        begun.elapsed().as_secs_f64() * 1e3,
        more.bytes as f64 / 1e6,
        more.pages
    );
    db.close().expect("closed");
    let of_snapshots = |compare: Compare, is_cold| {
        measure(&args, &names[..2], is_cold, &|| {
            let db = open(&path("feed"));
            compare(&db.read_snapshot("before").expect("stored"), &db.begin_read().expect("a snapshot"))
        })
    };
    let of_files = |compare: Compare, is_cold| {
        measure(&args, &names[..2], is_cold, &|| {
            let (old, new) = (open(&path("feed-copy")), open(&path("feed")));
            compare(&old.begin_read().expect("a snapshot"), &new.begin_read().expect("a snapshot"))
        })
    };
    of_snapshots(diff, true).print("diff of two snapshots, cold");
    of_snapshots(diff, false).print("diff of two snapshots, warm");
    of_files(diff, true).print("diff of two files, cold");
    of_files(diff, false).print("diff of two files, warm");
    of_snapshots(whole, true).print("full compare of two snapshots, cold");
    of_snapshots(whole, false).print("full compare of two snapshots, warm");
    remove();
}

type Compare = fn(&ReadTxn, &ReadTxn) -> usize;

fn diff(old: &ReadTxn, new: &ReadTxn) -> usize {
    old.diff(new, TABLE).expect("comparable").map(|change| change.expect("readable")).count()
}

/// Of tables with the same keys.
fn whole(old: &ReadTxn, new: &ReadTxn) -> usize {
    let entries = |txn| ReadTxn::iter(txn, TABLE).expect("there").map(|entry| entry.expect("readable"));
    entries(old).zip(entries(new)).filter(|(old, new)| old != new).count()
}

struct Measured {
    ms: f64,
    megabytes: f64,
    found: usize,
}

impl Measured {
    fn print(&self, what: &str) {
        println!("  {what:36} {:8.1} ms, {:8.1} MB read, {} found", self.ms, self.megabytes, self.found);
    }
}

/// Medians of the rounds, opening included.
fn measure(args: &Args, names: &[&str], is_cold: bool, compare: &dyn Fn() -> usize) -> Measured {
    let (mut times, mut read, mut found) = (Vec::new(), Vec::new(), 0);
    for _ in 0..args.rounds {
        for name in names.iter().filter(|_| is_cold) {
            let file = File::open(args.directory.join(name)).expect("it is there");
            file.sync_all().expect("flushed");
            rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).expect("dropped");
        }
        let (before, begun) = (device_bytes_read(&args.directory), Instant::now());
        found = compare();
        times.push(begun.elapsed().as_secs_f64() * 1e3);
        read.push((device_bytes_read(&args.directory) - before) as f64 / 1e6);
    }
    Measured { ms: median(times), megabytes: median(read), found }
}

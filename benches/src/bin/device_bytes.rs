//! `device_bytes FILE [PAIRS]`: how many bytes the block device writes for one durable commit, of a single put
//! and of 100 random puts, on a store of a gigabyte (5.5 million pairs by default), by the device's own
//! statistics. Checkpoints are put off as far as that goes, so that only what a commit flushes is
//! counted. Run it on an otherwise idle disk.

use mapleaf::{Database, Error, Options, Table};
use mapleaf_bench::{device_bytes, median, pair};
use std::path::Path;

const PAIRS: Table<[u8], [u8]> = Table::new("pairs");

fn main() -> Result<(), Error> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().expect("usage: device_bytes FILE [PAIRS]");
    let pairs: u64 = arguments.next().map_or(5_500_000, |n| n.parse().expect("a number of pairs"));
    // SAFETY: the file is this program's own.
    let db = unsafe { Options::new().log_limit(1 << 30).held_limit(1 << 40).open(&path)? };
    if db.begin_read()?.len(PAIRS)? == 0 {
        put(&db, 0..pairs)?;
    }
    // The log comes with the second small commit.
    put(&db, 0..1)?;
    put(&db, 0..1)?;
    db.checkpoint()?;
    let path = Path::new(&path);
    std::fs::File::open(path).and_then(|file| file.sync_all()).expect("synced");
    let levels = db.begin_read()?.tables()?[0].levels;
    println!("store of {} bytes, {levels} levels", std::fs::metadata(path).expect("it is there").len());
    for (batch, commits) in [(1, 500), (100, 40)] {
        let before = db.counters();
        let mut written = Vec::new();
        for i in 0..commits {
            let bytes = device_bytes(path);
            put(&db, (0..batch).map(|j| (i * batch + j) * 7919 % pairs))?;
            written.push((device_bytes(path) - bytes) as f64);
        }
        let (after, total) = (db.counters(), written.iter().sum::<f64>());
        println!(
            "{batch} puts a commit: {} bytes (median), {:.0} (mean), {} of them of log; {} checkpoints",
            median(written),
            total / commits as f64,
            (after.log_bytes - before.log_bytes) / commits,
            after.checkpoints - before.checkpoints,
        );
    }
    Ok(())
}

fn put(db: &Database, numbers: impl Iterator<Item = u64>) -> Result<(), Error> {
    db.write(|w| {
        for i in numbers {
            let (key, value) = pair(i);
            w.put(PAIRS, &key, &value)?;
        }
        Ok(())
    })
}

//! `device_bytes FILE [PAIRS]`: how many bytes the block device writes for one durable single-put commit
//! on a store of a gigabyte (5.5 million pairs by default), by the device's own statistics. Run it on an
//! otherwise idle disk.

use mapleaf::{Error, Options, Table};
use mapleaf_bench::{device_bytes, median, pair};

const PAIRS: Table<[u8], [u8]> = Table::new("pairs");

fn main() -> Result<(), Error> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().expect("usage: device_bytes FILE [PAIRS]");
    let pairs: u64 = arguments.next().map_or(5_500_000, |n| n.parse().expect("a number of pairs"));
    // SAFETY: the file is this program's own.
    let db = unsafe { Options::new().open(&path)? };
    if db.begin_read()?.len(PAIRS)? == 0 {
        db.write(|w| {
            for i in 0..pairs {
                let (key, value) = pair(i);
                w.put(PAIRS, &key, &value)?;
            }
            Ok::<_, Error>(())
        })?;
    }
    let path = std::path::Path::new(&path);
    std::fs::File::open(path).and_then(|file| file.sync_all()).expect("synced");
    let mut written = Vec::new();
    for i in 0..500 {
        let (key, _) = pair(i * 7919 % pairs);
        let before = device_bytes(path);
        db.write(|w| w.put(PAIRS, &key, &i.to_le_bytes()))?;
        written.push((device_bytes(path) - before) as f64);
    }
    let levels = db.begin_read()?.tables()?[0].levels;
    let total: f64 = written.iter().sum();
    println!(
        "store of {} bytes, {levels} levels: {} bytes a commit (median), {:.0} (mean); {} pages of 4096 are depth + 4",
        std::fs::metadata(path).expect("the file is there").len(),
        median(written.clone()),
        total / written.len() as f64,
        levels + 4,
    );
    Ok(())
}

//! `scale FILE [PAIRS]`: loads random pairs (10 million by default), checks every one, deletes half and
//! loads it again, and says how the file grew.

use mapleaf::{Error, Options, Table};
use mapleaf_bench::pair;
use std::time::Instant;

const PAIRS: Table<[u8], [u8]> = Table::new("pairs");
const BATCH: u64 = 10_000;

fn main() -> Result<(), Error> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().expect("usage: scale FILE [PAIRS]");
    let pairs: u64 = arguments.next().map_or(10_000_000, |n| n.parse().expect("a number of pairs"));
    // SAFETY: the file is this program's own.
    let db = unsafe { Options::new().open(&path)? };
    let len = || std::fs::metadata(&path).map_or(0, |meta| meta.len());
    let step = |what: &str, start: Instant| {
        println!("{what}: {:.1} s, file {} bytes", start.elapsed().as_secs_f64(), len());
    };

    let start = Instant::now();
    db.write(|w| {
        for i in 0..pairs {
            let (key, value) = pair(i);
            w.put(PAIRS, &key, &value)?;
        }
        Ok(())
    })?;
    step("load in one txn", start);
    let loaded = len();

    let start = Instant::now();
    let report = db.verify(&mut |_| {})?;
    assert!(report.is_clean(), "{:#?}", report.problems);
    assert_eq!(report.entries, pairs);
    step("verify, clean", start);

    let start = Instant::now();
    let r = db.begin_read()?;
    for i in 0..pairs {
        let (key, value) = pair(i);
        assert_eq!(r.get(PAIRS, &key)?, Some(&value[..]), "pair {i}");
    }
    drop(r);
    step("every pair read back", start);

    let start = Instant::now();
    for first in (0..pairs).step_by(2 * BATCH as usize) {
        db.write(|w| {
            for i in (first..(first + 2 * BATCH).min(pairs)).step_by(2) {
                assert!(w.delete(PAIRS, &pair(i).0)?);
            }
            Ok(())
        })?;
    }
    step("half deleted, 10,000 a txn", start);
    let start = Instant::now();
    for first in (0..pairs).step_by(2 * BATCH as usize) {
        db.write(|w| {
            for i in (first..(first + 2 * BATCH).min(pairs)).step_by(2) {
                let (key, value) = pair(i);
                assert!(!w.put(PAIRS, &key, &value)?);
            }
            Ok(())
        })?;
    }
    step("loaded again, 10,000 a txn", start);
    assert!(db.verify(&mut |_| {})?.is_clean());
    println!(
        "growth by deleting half and loading it again: {:.2} %",
        100.0 * (len() as f64 / loaded as f64 - 1.0)
    );
    Ok(())
}

//! What the data file takes, and what was written to it.

mod common;

use common::TestDb;
use mapleaf::{Durability, Observer, Op, Options, Table, Verdict};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

const BLOBS: Table<u64, [u8]> = Table::new("blobs");

#[test]
fn what_was_written_is_in_memory_dirty_until_it_is_flushed_and_on_the_disk() {
    let db = TestDb::new();
    let load = |db: &TestDb| {
        db.write(|w| {
            w.set_durability(Durability::Eventual);
            (0..1000).try_for_each(|key| w.put(BLOBS, &key, &[7; 3000]).map(drop))
        })
    };
    load(&db).unwrap();
    let before = db.file_usage().unwrap();
    assert_eq!(before.len, db.file_len());
    assert!(before.disk_bytes >= 3_000_000, "{before:?}");
    db.checkpoint().unwrap();
    let after = db.file_usage().unwrap();
    let (Some(before), Some(after)) = (before.cached, after.cached) else {
        eprintln!("not tested: this kernel does not say what is in the page cache");
        return;
    };
    assert!(before.resident >= 3_000_000 && before.dirty <= before.resident, "{before:?}");
    // The lines of the meta slots may be written again behind the flush.
    assert!(after.dirty + after.in_write_back < 1 << 20, "{after:?}");
}

/// Sums up what is written, and counts flushes.
#[derive(Default)]
struct Sums {
    written: AtomicU64,
    flushes: AtomicU64,
}

impl Observer for Sums {
    fn before(&self, op: &Op<'_>) -> Verdict {
        match op {
            Op::Write { data, .. } => {
                let len = data.iter().map(|slice| slice.len() as u64).sum();
                self.written.fetch_add(len, Relaxed);
            }
            Op::Sync { .. } => drop(self.flushes.fetch_add(1, Relaxed)),
            _ => {}
        }
        Verdict::Proceed
    }
}

#[test]
fn bytes_and_flushes_are_counted_as_they_are_carried_out() {
    let sums = Arc::new(Sums::default());
    let db = TestDb::with(Options::new().observer(sums.clone()));
    let (begun, written) = (db.counters(), sums.written.load(Relaxed));
    let flushes = sums.flushes.load(Relaxed);
    for key in 0..50 {
        db.write(|w| w.put(BLOBS, &key, &[1; 500])).unwrap();
    }
    db.write(|w| w.put(BLOBS, &50, &[1; 500_000])).unwrap();
    let counters = db.counters();
    assert_eq!(counters.written_bytes - begun.written_bytes, sums.written.load(Relaxed) - written);
    assert_eq!(counters.flushes - begun.flushes, sums.flushes.load(Relaxed) - flushes);
    assert!(counters.written_bytes - begun.written_bytes > 500_000);
    assert!(counters.flushes - begun.flushes >= 51, "each commit waits for a flush");
}

//! Space that goes back to the system while the store is open, and comes again: by itself and on demand.

mod common;

use common::TestDb;
use mapleaf::{Database, Durability, Error, Observer, Op, Options, Table, Verdict};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

const BLOBS: Table<u64, [u8]> = Table::new("blobs");

/// Puts entries of a page each; the file is flushed, so that the system has counted its blocks.
fn fill(db: &Database, keys: std::ops::Range<u64>, byte: u8) {
    db.write(|w| keys.clone().try_for_each(|key| w.put(BLOBS, &key, &[byte; 3000]).map(drop))).unwrap();
    db.checkpoint().unwrap();
}

fn delete(db: &Database, keys: std::ops::Range<u64>) {
    db.write(|w| {
        w.set_durability(Durability::Ordered);
        w.delete_range(BLOBS, keys).map(drop)
    })
    .unwrap();
}

fn assert_holds(db: &Database, keys: std::ops::Range<u64>, byte: u8) {
    let r = db.begin_read().unwrap();
    for key in keys {
        assert_eq!(r.get(BLOBS, &key).unwrap(), Some(&[byte; 3000][..]), "key {key}");
    }
}

/// A commit that changes nearly nothing and is a checkpoint.
fn touch(db: &Database) {
    db.write(|w| {
        w.set_durability(Durability::Ordered);
        w.put(BLOBS, &u64::MAX, &[0; 10])
    })
    .unwrap();
}

fn disk_bytes(db: &Database) -> u64 {
    db.file_usage().unwrap().disk_bytes
}

#[test]
fn trim_gives_all_free_space_back_and_readers_see_what_they_saw() {
    let db = TestDb::new();
    fill(&db, 0..2000, 1);
    let old = db.begin_read().unwrap();
    fill(&db, 500..1500, 2);
    delete(&db, 100..1900);
    let (before, len) = (disk_bytes(&db), db.file_usage().unwrap().len);
    let trimmed = db.trim().unwrap();
    assert!(trimmed.is_supported);
    // What the reader sees is still there: 2000 entries; what was put over them is not.
    assert!(trimmed.bytes > 900 * 4096 && trimmed.bytes < 1400 * 4096, "{trimmed:?}");
    assert!(
        disk_bytes(&db) + trimmed.bytes <= before + 128 * 1024,
        "{before} bytes, now {}",
        disk_bytes(&db)
    );
    for key in 0..2000 {
        assert_eq!(old.get(BLOBS, &key).unwrap(), Some(&[1; 3000][..]));
    }
    drop(old);
    let trimmed = db.trim().unwrap();
    assert!(trimmed.bytes > 1500 * 4096, "{trimmed:?}");
    assert!(disk_bytes(&db) < 500 * 4096, "{} bytes", disk_bytes(&db));
    let stats = db.stats().unwrap();
    assert!(stats.hole_pages > 2700 && stats.free_pages < 100, "{stats:?}");
    assert_eq!(db.file_usage().unwrap().len, len, "it stays as long as it is");
    assert_eq!(db.trim().unwrap().bytes, 0, "there is no more");
    assert_holds(&db, 0..100, 1);
    assert_holds(&db, 1900..2000, 1);
    // It comes again, in the same file.
    fill(&db, 100..1900, 3);
    assert!(db.counters().filled_bytes > 1600 * 4096, "{:?}", db.counters());
    assert_holds(&db, 100..1900, 3);
    assert!(db.file_usage().unwrap().len < len + (2 << 20), "holes are used before the file grows");
}

#[test]
fn checkpoints_give_back_what_exceeds_a_reserve() {
    let off = TestDb::with(Options::new().auto_trim(false).held_limit(1 << 20));
    let db = TestDb::with(Options::new().held_limit(1 << 20));
    let mut bytes = Vec::new();
    for db in [&off, &db] {
        fill(db, 0..8000, 1);
        let before = disk_bytes(db);
        delete(db, 100..8000);
        touch(db);
        touch(db);
        bytes.push((before, disk_bytes(db), db.counters().punched_bytes));
        assert_holds(db, 0..100, 1);
    }
    let [(before, after, punched), (_, trimmed, given_back)] = bytes[..] else { unreachable!("two stores") };
    assert!(after + (1 << 20) > before && punched == 0, "off: {before}, then {after}");
    assert!(
        trimmed < before / 4 && given_back > before / 2,
        "{before}, then {trimmed}, {given_back} given back"
    );
    // The reserve stays: 2 MiB, and what the last checkpoints took.
    let stats = db.stats().unwrap();
    assert!(stats.free_pages > 512 && stats.hole_pages > 5000, "{stats:?}");
}

#[test]
fn a_steady_load_gives_nothing_back() {
    for durability in [Durability::Durable, Durability::Ordered] {
        let db = TestDb::with(Options::new().held_limit(1 << 20).log_limit(1 << 20).durability(durability));
        fill(&db, 0..4000, 1);
        let mut key = 1;
        for _ in 0..120 {
            db.write(|w| {
                (0..60).try_for_each(|_| {
                    key = key * 2_654_435_761 % 4000;
                    w.put(BLOBS, &key, &[2; 3000]).map(drop)
                })
            })
            .unwrap();
        }
        let counters = db.counters();
        assert!(counters.checkpoints > 10, "{counters:?}");
        assert_eq!((counters.punched_bytes, counters.filled_bytes), (0, 0), "{durability:?}");
    }
}

/// Fails what it is told to, and counts it.
#[derive(Default)]
struct Failing {
    reserves: AtomicBool,
    punches: AtomicBool,
    hits: AtomicU64,
}

impl Observer for Failing {
    fn before(&self, op: &Op<'_>) -> Verdict {
        let errno = match op {
            Op::Reserve { .. } if self.reserves.load(Ordering::SeqCst) => libc::ENOSPC,
            Op::Punch { .. } if self.punches.load(Ordering::SeqCst) => libc::EIO,
            _ => return Verdict::Proceed,
        };
        self.hits.fetch_add(1, Ordering::SeqCst);
        Verdict::Fail(std::io::Error::from_raw_os_error(errno))
    }
}

#[test]
fn a_full_disk_fails_the_txn_that_needs_a_hole_and_the_store_goes_on() {
    let failing = Arc::new(Failing::default());
    let db = TestDb::with(Options::new().observer(failing.clone()));
    fill(&db, 0..2000, 1);
    delete(&db, 100..2000);
    assert!(db.trim().unwrap().bytes > 1500 * 4096);
    failing.reserves.store(true, Ordering::SeqCst);
    let failed = db.write(|w| (100..1000).try_for_each(|key| w.put(BLOBS, &key, &[2; 3000]).map(drop)));
    assert!(
        matches!(&failed, Err(Error::Io { source, .. }) if source.raw_os_error() == Some(libc::ENOSPC)),
        "{failed:?}"
    );
    assert!(failing.hits.load(Ordering::SeqCst) > 0);
    assert_holds(&db, 0..100, 1);
    // What is free serves small txns, and deleting helps.
    db.write(|w| w.delete(BLOBS, &5)).unwrap();
    failing.reserves.store(false, Ordering::SeqCst);
    fill(&db, 100..1000, 3);
    assert_holds(&db, 100..1000, 3);
}

#[test]
fn holes_that_could_not_be_punched_are_holes_and_the_next_trim_punches_them() {
    let failing = Arc::new(Failing::default());
    let db = TestDb::with(Options::new().observer(failing.clone()).held_limit(1 << 20));
    fill(&db, 0..8000, 1);
    delete(&db, 100..8000);
    failing.punches.store(true, Ordering::SeqCst);
    let before = disk_bytes(&db);
    touch(&db);
    assert!(failing.hits.load(Ordering::SeqCst) > 0, "by itself, and the commit is done");
    assert!(db.stats().unwrap().hole_pages > 5000);
    assert!(matches!(db.trim(), Err(Error::Io { .. })));
    assert!(disk_bytes(&db) >= before);
    failing.punches.store(false, Ordering::SeqCst);
    db.trim().unwrap();
    assert!(disk_bytes(&db) < before / 10, "{before} bytes, now {}", disk_bytes(&db));
    assert_holds(&db, 0..100, 1);
}

#[test]
fn stores_in_memory_give_space_back_too() {
    let db = Database::in_memory().unwrap();
    fill(&db, 0..2000, 1);
    delete(&db, 100..2000);
    let before = disk_bytes(&db);
    let trimmed = db.trim().unwrap();
    assert!(trimmed.is_supported && trimmed.bytes > 1500 * 4096, "{trimmed:?}");
    assert!(disk_bytes(&db) + 1500 * 4096 < before, "{before} bytes, now {}", disk_bytes(&db));
    fill(&db, 100..2000, 2);
    assert_holds(&db, 100..2000, 2);
    assert!(db.verify(&mut |_| ()).unwrap().is_clean());
}

#[test]
fn whatever_the_size_of_a_page_holes_are_filled_before_they_are_used() {
    for page_size in [4096, 16_384, 65_536] {
        let db = TestDb::with(Options::new().page_size(page_size));
        for round in 1..4 {
            fill(&db, 0..3000, round);
            delete(&db, 50..3000);
            let trimmed = db.trim().unwrap();
            assert!(trimmed.bytes > 2500 * 3000, "{trimmed:?}");
            // Small txns behind it, in what is free and in holes.
            for key in 50..150 {
                db.write(|w| w.put(BLOBS, &key, &[round; 3000])).unwrap();
            }
            assert_holds(&db, 0..150, round);
        }
        assert!(db.counters().filled_bytes > 0);
    }
}

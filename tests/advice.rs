//! How scans read ahead and let go, counted by what of the file is in the page cache.

use mapleaf::{Advice, Database, MultiTable, Options, Table};
use std::fs::File;
use std::path::PathBuf;

const SCATTERED: Table<u64, [u8]> = Table::new("scattered");
const BLOBS: Table<u64, [u8]> = Table::new("blobs");
const TAGS: MultiTable<u64, u64> = MultiTable::new("tags");
/// Entries of the first table, about 18 a leaf.
const ENTRIES: u64 = 40_000;
const LEAST_LEAVES: u64 = 2_000;
const BLOB: usize = 100_000;
const PAGE: u64 = 4096;

/// A closed store with a table whose leaves lie in no order, one of large values, and a multimap.
struct Cold {
    path: PathBuf,
    _directory: tempfile::TempDir,
}

impl Cold {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store");
        let cold = Cold { path, _directory: directory };
        let db = cold.opened(Advice::Normal);
        let txn_of = |key: u64| ((key / 100).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) % 40;
        for txn in 0..40 {
            db.write(|w| {
                (0..ENTRIES)
                    .filter(|key| txn_of(*key) == txn)
                    .try_for_each(|key| w.put(SCATTERED, &key, &[key as u8; 200][..]).map(drop))?;
                (0..300).try_for_each(|i| w.put_value(TAGS, &(i * 40 + txn), &i).map(drop))?;
                w.put(BLOBS, &txn, &vec![txn as u8; BLOB][..]).map(drop)
            })
            .unwrap();
        }
        db.close().unwrap();
        cold
    }

    fn opened(&self, advice: Advice) -> Database {
        // SAFETY: only mapleaf changes the file.
        #[allow(unsafe_code)]
        let db = unsafe { Options::new().advice(advice).open(&self.path) };
        db.unwrap()
    }

    /// Opened when nothing of it is in memory. `None` where the system does not say what is, or the file system keeps
    /// it there.
    fn cold(&self, advice: Advice) -> Option<Database> {
        let file = File::open(&self.path).unwrap();
        file.sync_all().unwrap();
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
        let db = self.opened(advice);
        let is_cold = db.file_usage().unwrap().cached.is_some_and(|cached| cached.resident < 64 * PAGE);
        if !is_cold {
            eprintln!("skipped: the file stays in memory here, or nobody says whether it does");
        }
        is_cold.then_some(db)
    }
}

/// Pages of the file in memory.
fn resident(db: &Database) -> u64 {
    db.file_usage().unwrap().cached.expect("it was there before").resident / PAGE
}

#[test]
fn a_random_scan_reads_what_it_walks_through_and_nothing_else() {
    let store = Cold::new();
    let leaves_of = |advice| {
        let db = store.cold(advice)?;
        let r = db.begin_read().unwrap();
        let branches_and_more = 60;
        assert_eq!(r.iter(SCATTERED).unwrap().take(1_800).filter(|entry| entry.is_ok()).count(), 1_800);
        Some(resident(&db).saturating_sub(branches_and_more))
    };
    let Some(random) = leaves_of(Advice::Random) else { return };
    // About a hundred leaves, and none behind them.
    assert!(random <= 130, "{random} pages");
    let normal = leaves_of(Advice::Normal).unwrap();
    assert!(normal > 130 && normal < 500, "{normal} pages: at most about twice as many");
}

#[test]
fn a_sequential_scan_reads_far_ahead_from_its_first_steps() {
    let store = Cold::new();
    let pages_after = |of_handle, of_scan: Option<Advice>| {
        let db = store.cold(of_handle)?;
        let r = db.begin_read().unwrap();
        let table = r.table(SCATTERED).unwrap();
        let table = of_scan.map_or(table, |advice| table.advised(advice));
        assert_eq!(table.iter().take(60).filter(|entry| entry.is_ok()).count(), 60);
        Some(resident(&db))
    };
    let Some(normal) = pages_after(Advice::Normal, None) else { return };
    assert!(normal < 100, "{normal} pages");
    for (of_handle, of_scan) in [(Advice::Sequential, None), (Advice::Random, Some(Advice::Sequential))] {
        let sequential = pages_after(of_handle, of_scan).unwrap();
        assert!(sequential >= LEAST_LEAVES, "{sequential} pages");
    }
    let random = pages_after(Advice::Sequential, Some(Advice::Random)).unwrap();
    assert!(random < 100, "{random} pages");
}

#[test]
fn a_cold_scan_leaves_memory_as_it_was_and_gives_the_same() {
    let store = Cold::new();
    let Some(db) = store.cold(Advice::Normal) else { return };
    let r = db.begin_read().unwrap();
    let cold = r.table(SCATTERED).unwrap().advised(Advice::Cold);
    for forward in [true, false] {
        let before = resident(&db);
        let keys: Vec<u64> = match forward {
            true => cold.iter().map(|entry| entry.unwrap().0).collect(),
            false => cold.iter().rev().map(|entry| entry.unwrap().0).collect(),
        };
        assert!(keys.iter().copied().eq((0..ENTRIES).map(|i| if forward { i } else { ENTRIES - 1 - i })));
        let left = resident(&db) - before.min(resident(&db));
        // Branches, and a leaf that was mapped again beside another one.
        assert!(left < 400, "{left} pages more, of {LEAST_LEAVES} and more");
    }
    // What the scan gave stays readable, though it has to come back.
    let borrowed: Vec<(u64, &[u8])> = cold.iter().map(Result::unwrap).collect();
    assert!(borrowed.iter().all(|(key, value)| *value == [*key as u8; 200]));
}

#[test]
fn a_cold_scan_lets_go_of_large_values_too() {
    let store = Cold::new();
    let Some(db) = store.cold(Advice::Cold) else { return };
    let r = db.begin_read().unwrap();
    for blob in r.iter(BLOBS).unwrap() {
        let (key, value) = blob.unwrap();
        assert_eq!(value, vec![key as u8; BLOB]);
    }
    let left = resident(&db);
    assert!(left < 10 * (BLOB as u64).div_ceil(PAGE), "{left} pages of 40 values");
    let pairs = r.multi(TAGS).unwrap().iter().filter(|pair| pair.is_ok()).count();
    assert_eq!(pairs, 12_000);
    assert!(resident(&db) < left + 300, "{} pages", resident(&db));
}

#[test]
fn a_cold_scan_keeps_what_was_in_use_before_it() {
    let store = Cold::new();
    let Some(db) = store.cold(Advice::Normal) else { return };
    let r = db.begin_read().unwrap();
    // Half of the leaves, by gets.
    (0..ENTRIES / 2).step_by(9).for_each(|key| assert!(r.get(SCATTERED, &key).unwrap().is_some()));
    let before = resident(&db);
    assert!(before > LEAST_LEAVES / 2);
    let cold = r.table(SCATTERED).unwrap().advised(Advice::Cold);
    assert_eq!(cold.iter().count(), ENTRIES as usize, "counted");
    assert_eq!(cold.iter().filter(|entry| entry.is_ok()).count(), ENTRIES as usize, "walked through");
    let after = resident(&db);
    assert!(after >= before && after < before + 400, "{before} pages before, {after} after");
}

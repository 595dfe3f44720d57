//! Compacting: the file becomes as short as what is in it, whatever is in it and whoever reads or writes meanwhile.

mod common;

use common::{Contents, TestDb, contents};
use mapleaf::{Budget, Compacted, Database, MultiTable, Table};

const BLOBS: Table<u64, [u8]> = Table::new("blobs");
const NUMBERS: Table<u64, u64> = Table::new("numbers");
const LARGE: Table<u64, [u8]> = Table::new("large");
const TAGS: MultiTable<u64, u64> = MultiTable::new("tags");

const PAGE: u64 = 4096;

/// Steps of so many pages until nothing is left to do.
fn compact(db: &Database, pages: u64) -> Compacted {
    let mut all = Compacted::default();
    for _ in 0..20_000 {
        let done = db.compact(Budget::pages(pages)).unwrap();
        all.moved_pages += done.moved_pages;
        all.steps += done.steps;
        all.freed_bytes += done.freed_bytes;
        all.page_count = done.page_count;
        (all.is_done, all.held_by) = (done.is_done, done.held_by);
        if done.is_done {
            return all;
        }
    }
    panic!("no end: {all:?}");
}

/// Pages that are in use: neither free nor pending.
fn pages_in_use(db: &Database) -> u64 {
    let stats = db.stats().unwrap();
    stats.page_count - stats.free_pages - stats.pending_pages
}

fn fill(db: &Database, keys: std::ops::Range<u64>) {
    db.write(|w| keys.clone().try_for_each(|key| w.put(BLOBS, &key, &[key as u8; 900]).map(drop))).unwrap();
}

fn everything(db: &Database) -> (Contents, Vec<(u64, u64)>) {
    let r = db.begin_read().unwrap();
    let mut single = std::collections::BTreeMap::new();
    for info in r.tables().unwrap().into_iter().filter(|info| !info.schema.multi) {
        let view = r.raw_table(&info.name).unwrap().unwrap();
        let entries = view.iter().map(|entry| entry.map(|(k, v)| (k.to_vec(), v.to_vec())).unwrap());
        single.insert(info.name.clone(), entries.collect());
    }
    let pairs = r.multi(TAGS).unwrap().iter().map(|pair| pair.unwrap()).collect();
    ((single, r.user_version()), pairs)
}

#[test]
fn what_is_left_of_a_store_moves_to_the_front() {
    for pages in [1, 7, 100, u64::MAX] {
        let db = TestDb::new();
        fill(&db, 0..4000);
        db.write(|w| w.delete_range(BLOBS, ..3900)).unwrap();
        let (before, len) = (contents(&db.begin_read().unwrap()), db.file_len());
        let done = compact(&db, pages);
        assert!(done.is_done && done.moved_pages >= 20 && done.held_by.is_none(), "{done:?}");
        assert_eq!(contents(&db.begin_read().unwrap()), before);
        assert_eq!(db.file_len(), done.page_count * PAGE, "{done:?}");
        assert_eq!(len - db.file_len(), done.freed_bytes);
        let used = pages_in_use(&db);
        assert!(done.page_count <= used + 48, "{used} pages in use: {done:?}");
        assert_eq!(db.compact(Budget::unlimited()).unwrap().moved_pages, 0, "nothing is left to do");
    }
}

/// A store with every kind of thing in it, most of which is deleted again.
fn of_everything() -> TestDb {
    let db = TestDb::new();
    fill(&db, 0..500);
    db.write(|w| (0..60).try_for_each(|i| w.put(LARGE, &i, &vec![i as u8; 3000 * (i as usize % 40 + 1)]).map(drop)))
        .unwrap();
    db.write(|w| (0..20_000).try_for_each(|i| w.put_value(TAGS, &(i % 30), &i).map(drop))).unwrap();
    db.write(|w| (0..20_000).try_for_each(|i| w.put(NUMBERS, &i, &i).map(drop))).unwrap();
    fill(&db, 500..3000);
    db.write(|w| {
        w.set_user_version(77);
        (0..300).try_for_each(|i| w.put(Table::<u64, u64>::new(NAMES[i % 20]), &7, &(i as u64)).map(drop))
    })
    .unwrap();
    db.write(|w| w.create_snapshot("early")).unwrap();
    db.write(|w| {
        w.delete_range(BLOBS, ..2950)?;
        w.delete_range(NUMBERS, 300..19_000)?;
        (0..60).filter(|i| i % 3 > 0).try_for_each(|i| w.delete(LARGE, &i).map(drop))?;
        (2000..20_000).filter(|i| i % 3 > 0).try_for_each(|i| w.delete_value(TAGS, &(i % 30), &i).map(drop))
    })
    .unwrap();
    db
}

const NAMES: [&str; 20] = [
    "a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p", "q", "r", "s", "t",
];

#[test]
fn everything_that_can_be_in_a_store_moves() {
    for pages in [3, 40, u64::MAX] {
        let db = of_everything();
        let before = everything(&db);
        let early = {
            let r = db.read_snapshot("early").unwrap();
            (r.len(BLOBS).unwrap(), r.get(LARGE, &59).unwrap().unwrap().to_vec())
        };
        let held = compact(&db, pages);
        assert!(held.held_by.is_some(), "the snapshot sees what is deleted: {held:?}");
        let snapshot = db.begin_read().unwrap().snapshots().unwrap().remove(0);
        assert_eq!(held.held_by, Some(snapshot.txn_id));
        assert_eq!(everything(&db), before);
        let r = db.read_snapshot("early").unwrap();
        assert_eq!((r.len(BLOBS).unwrap(), r.get(LARGE, &59).unwrap().unwrap()), (early.0, &early.1[..]));
        drop(r);
        db.write(|w| w.drop_snapshot("early")).unwrap();
        let done = compact(&db, pages);
        let used = pages_in_use(&db);
        assert_eq!(everything(&db), before);
        assert!(done.is_done && done.held_by.is_none(), "{done:?}");
        assert!(done.page_count <= used + used / 16 + 40, "{used} pages in use: {done:?}");
        assert_eq!(db.file_len(), done.page_count * PAGE);
        let again = compact(&db, pages);
        assert!(again.moved_pages == 0 && again.steps == 0, "{again:?}");
    }
}

/// A store that has holes of some pages in front, in which small commits find room, and a long end that is free.
fn with_a_free_end() -> TestDb {
    let db = TestDb::new();
    db.write(|w| (0..40).try_for_each(|i| w.put(LARGE, &i, &[1; 20_000]).map(drop))).unwrap();
    fill(&db, 0..100);
    db.write(|w| (0..20).try_for_each(|i| w.delete(LARGE, &(2 * i)).map(drop))).unwrap();
    fill(&db, 100..3000);
    db.write(|w| w.delete_range(BLOBS, 100..)).unwrap();
    for i in 0..3 {
        db.write(|w| w.put(BLOBS, &0, &[i; 900])).unwrap();
        db.checkpoint().unwrap();
    }
    db
}

#[test]
fn a_stored_snapshot_whose_pages_lie_in_front_lets_the_file_become_shorter() {
    let db = with_a_free_end();
    db.write(|w| w.create_snapshot("small")).unwrap();
    let held = db.read_snapshot("small").unwrap();
    let len = db.file_len();
    let done = compact(&db, 100);
    assert!(done.page_count * PAGE < len / 3 && done.freed_bytes == 0, "{done:?}");
    assert_eq!(db.file_len(), len, "a state of a longer file is being read");
    assert_eq!(held.len(BLOBS).unwrap(), 100);
    drop(held);
    assert_eq!(compact(&db, 100).freed_bytes, len - db.file_len());
    assert!(db.file_len() < len / 3, "{} of {len} bytes", db.file_len());
    assert_eq!(db.read_snapshot("small").unwrap().len(BLOBS).unwrap(), 100);
}

#[test]
fn a_compacted_store_is_the_same_when_every_process_dies() {
    let db = of_everything();
    let before = everything(&db);
    for _ in 0..60 {
        db.compact(Budget::pages(20)).unwrap();
        let left = db.after_death();
        assert_eq!(everything(&left), before);
    }
}

#[test]
fn a_store_that_was_compacted_grows_and_shrinks_again() {
    let mut db = TestDb::new();
    for round in 0..4 {
        fill(&db, 0..3000);
        let len = db.file_len();
        db.write(|w| w.delete_range(BLOBS, round..2990)).unwrap();
        compact(&db, 64);
        assert!(db.file_len() < len / 5, "round {round}: {} of {len} bytes", db.file_len());
        assert_eq!(db.begin_read().unwrap().len(BLOBS).unwrap(), 10 + round);
        if round % 2 == 0 {
            db.reopen();
        }
    }
}

#[test]
fn a_step_costs_what_its_budget_says() {
    let db = of_everything();
    db.write(|w| w.drop_snapshot("early")).unwrap();
    let before = db.counters();
    let done = db.compact(Budget::pages(10)).unwrap();
    assert!(!done.is_done && done.steps == 1, "{done:?}");
    let written = db.counters().written_bytes - before.written_bytes;
    assert!(done.moved_pages >= 10 && written < 60 * PAGE, "{written} bytes for {done:?}");
}

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

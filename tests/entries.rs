//! Changes that depend on what is there: entries, compare and swap, updates in place, removing and keeping.

mod common;

use common::TestDb;
use mapleaf::Table;

const HITS: Table<str, u64> = Table::new("hits");

#[test]
fn an_entry_counts_creates_and_removes() {
    let db = TestDb::new();
    let mut w = db.begin_write().unwrap();
    for page in ["/", "/about", "/"] {
        w.entry(HITS, page).unwrap().and_modify(|hits| hits + 1).unwrap().or_insert(&1).unwrap();
    }
    assert_eq!(w.get(HITS, "/").unwrap(), Some(2));
    let mut entry = w.entry(HITS, "/").unwrap();
    assert_eq!((entry.key(), entry.get().unwrap()), ("/", Some(2)));
    assert_eq!(entry.remove().unwrap().unwrap().entry(), ("/", 2));
    assert!(entry.remove().unwrap().is_none());
    assert!(!entry.insert(&9).unwrap());
    w.commit().unwrap();
    assert_eq!(db.begin_read().unwrap().len(HITS).unwrap(), 2);
}

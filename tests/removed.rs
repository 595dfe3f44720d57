//! Files that others remove, replace, rename or cut while the store is open (F21): a commit that would be lost is
//! refused, and nothing else is.

mod common;

use common::open;
use mapleaf::{Database, Error, Options, Result, Table};
use std::fs;
use std::path::{Path, PathBuf};

const NUMBERS: Table<u64, u64> = Table::new("numbers");

fn store() -> (tempfile::TempDir, PathBuf, Database) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("app.maple");
    let db = open(&Options::new(), &path);
    put(&db, 1).unwrap();
    (directory, path, db)
}

fn put(db: &Database, number: u64) -> Result<()> {
    db.write(|w| w.put(NUMBERS, &number, &number).map(drop))
}

fn numbers(db: &Database) -> Vec<u64> {
    let r = db.begin_read().unwrap();
    r.iter(NUMBERS).unwrap().map(|entry| entry.unwrap().0).collect()
}

/// Every commit is refused, at once and later, and readers go on seeing what was there.
fn refuses(db: &Database) {
    for _ in 0..2 {
        let refused = put(db, 2).unwrap_err();
        assert!(matches!(refused, Error::FileRemoved { .. }), "{refused}");
        assert!(refused.to_string().contains("app.maple was removed or replaced"), "{refused}");
        assert_eq!(numbers(db), [1]);
    }
    assert!(db.verify(&mut |_| {}).unwrap().is_clean());
}

#[test]
fn a_commit_to_a_file_that_was_removed_is_refused_and_reading_goes_on() {
    let (_directory, path, db) = store();
    fs::remove_file(&path).unwrap();
    refuses(&db);
    let anew = open(&Options::new(), &path);
    put(&anew, 3).unwrap();
    assert_eq!((numbers(&anew), numbers(&db)), (vec![3], vec![1]), "the name is another store's now");
    refuses(&db);
}

#[test]
fn a_commit_to_a_file_that_another_was_put_in_place_of_is_refused() {
    let (directory, path, db) = store();
    let other = directory.path().join("other.maple");
    let another = open(&Options::new(), &other);
    put(&another, 7).unwrap();
    another.close().unwrap();
    fs::rename(&other, &path).unwrap();
    refuses(&db);
}

#[test]
fn a_txn_that_was_begun_before_the_file_was_removed_is_refused_too() {
    let (_directory, path, db) = store();
    let mut w = db.begin_write().unwrap();
    w.put(NUMBERS, &2, &2).unwrap();
    fs::remove_file(&path).unwrap();
    assert!(matches!(w.commit(), Err(Error::FileRemoved { .. })));
    refuses(&db);
}

#[test]
fn a_file_that_is_found_under_another_name_is_written_on() {
    let (directory, path, db) = store();
    let moved = directory.path().join("moved.maple");
    fs::rename(&path, &moved).unwrap();
    put(&db, 2).unwrap();
    fs::hard_link(&moved, directory.path().join("twice.maple")).unwrap();
    fs::remove_file(&moved).unwrap();
    put(&db, 3).unwrap();
    drop(db);
    let found = open(&Options::new(), &directory.path().join("twice.maple"));
    assert_eq!(numbers(&found), [1, 2, 3], "nothing was lost");
}

#[test]
fn stores_that_never_had_a_name_are_written_to() {
    for db in [Database::temporary().unwrap(), Database::in_memory().unwrap()] {
        put(&db, 1).unwrap();
        put(&db, 2).unwrap();
        assert_eq!(numbers(&db), [1, 2]);
    }
}

#[test]
fn a_commit_to_a_file_that_was_cut_is_refused() {
    let (_directory, path, db) = store();
    // What is looked at before the commit lies in front of the cut, or signals: the documented boundary.
    let mut w = db.begin_write().unwrap();
    w.put(NUMBERS, &2, &2).unwrap();
    let len = fs::metadata(&path).unwrap().len();
    cut(&path, len - 4096);
    let refused = w.commit().unwrap_err();
    assert!(
        matches!(refused, Error::Corrupt { .. }) && refused.to_string().contains("truncated"),
        "{refused}"
    );
    cut(&path, len);
}

fn cut(path: &Path, len: u64) {
    fs::OpenOptions::new().write(true).open(path).unwrap().set_len(len).unwrap();
}

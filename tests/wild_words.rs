//! Wild words in the lock file, written by a process that means harm: calls may fail, files are not cut.

#![allow(unsafe_code)]

mod common;

use mapleaf::{Database, Options, ReadTxn, Table};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

const ROWS: Table<u64, [u8]> = Table::new("rows");
const BLOCKS_WORD: u64 = 5;
const TURN_WORD: u64 = 8;
const HEADS_WORD: u64 = 16;

struct Wild {
    path: PathBuf,
    db: Database,
    lock: File,
    _directory: tempfile::TempDir,
}

impl Wild {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.maple");
        let db = common::open(&Options::new(), &path);
        db.write(|w| (0..2000).try_for_each(|key| w.put(ROWS, &key, &[7; 500]).map(drop))).unwrap();
        db.checkpoint().unwrap();
        let lock = File::options().read(true).write(true).open(path.with_extension("maple-lock")).unwrap();
        Wild { path, db, lock, _directory: directory }
    }

    fn word(&self, at: u64) -> u64 {
        let mut bytes = [0; 8];
        self.lock.read_exact_at(&mut bytes, at * 8).unwrap();
        u64::from_le_bytes(bytes)
    }

    fn set(&self, at: u64, value: u64) {
        self.lock.write_all_at(&value.to_le_bytes(), at * 8).unwrap();
    }
}

fn len(path: &Path) -> u64 {
    std::fs::metadata(path).unwrap().len()
}

#[test]
fn a_head_of_two_pages_does_not_cut_the_data_file() {
    let wild = Wild::new();
    let (before, r) = (len(&wild.path), wild.db.begin_read().unwrap());
    let head = 192 + wild.word(HEADS_WORD) % 4 * 16;
    wild.set(TURN_WORD, 1);
    wild.set(head + 1, 2);
    let begun = wild.db.begin_write();
    assert!(begun.is_err(), "{begun:?}");
    assert_eq!(len(&wild.path), before);
    assert_eq!(r.get(ROWS, &5).unwrap(), Some(&[7; 500][..]));
}

#[test]
fn a_wild_number_of_blocks_does_not_cut_the_lock_file() {
    let wild = Wild::new();
    let readers: Vec<ReadTxn> = (0..200).map(|_| wild.db.begin_read().unwrap()).collect();
    let before = wild.lock.metadata().unwrap().len();
    wild.set(BLOCKS_WORD, 0);
    let _ = readers[0].export("");
    assert!(wild.lock.metadata().unwrap().len() >= before);
    // Each gives its slot back, wherever that is.
    drop(readers);
}

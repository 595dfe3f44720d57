//! Guarded reads (F12, F21): pages that cannot be read are errors that name them, where touching them would end the
//! process. A file that somebody has cut stands for a bad sector here; tests/real_disks.rs has real ones.

mod common;

use common::open;
use mapleaf::{Database, Error, Options, Table, Verify};
use std::fs::OpenOptions;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;

const WORDS: Table<u64, [u8]> = Table::new("words");
const CHILD: &str = "MAPLEAF_GUARDED_CHILD";
const COUNT: u64 = 3000;

fn value(key: u64) -> Vec<u8> {
    let len = if key.is_multiple_of(50) { 9000 } else { 100 };
    vec![key as u8; len]
}

fn fill(path: &Path) {
    let db = open(&Options::new(), path);
    for first in (0..COUNT).step_by(500) {
        let put = |w: &mut mapleaf::WriteTxn| {
            (first..first + 500).try_for_each(|key| w.put(WORDS, &key, &value(key)[..]).map(drop))
        };
        db.write(put).unwrap();
    }
    // So that the roots come to lie in front, where pages were given up.
    for _ in 0..9 {
        db.write(|w| w.put(WORDS, &0, &value(0)[..]).map(drop)).unwrap();
        db.checkpoint().unwrap();
    }
    db.close().unwrap();
}

/// Opens the store, and leaves so many tenths of its file.
fn cut_while_open(path: &Path, options: &Options, tenths: u64) -> Database {
    let db = open(options, path);
    cut(path, tenths);
    db
}

fn cut(path: &Path, tenths: u64) {
    let file = OpenOptions::new().write(true).open(path).unwrap();
    let len = file.metadata().unwrap().len();
    file.set_len(len * tenths / 10 / 4096 * 4096).unwrap();
}

/// Number of keys that are answered, rightly, and that are errors which name their page.
fn read_all(db: &Database) -> (u64, u64) {
    let r = db.begin_read().unwrap();
    let (mut right, mut refused) = (0, 0);
    for key in 0..COUNT {
        match r.get(WORDS, &key) {
            Ok(found) => {
                assert_eq!(found, Some(&value(key)[..]));
                right += 1;
            }
            Err(error @ Error::Io { .. }) => {
                assert!(error.to_string().starts_with("read page "), "{error}");
                refused += 1;
            }
            Err(other) => panic!("{other}"),
        }
    }
    (right, refused)
}

#[test]
fn pages_that_cannot_be_read_are_errors_and_the_others_are_answered() {
    let (mut all_right, mut all_refused) = (0, 0);
    for tenths in 1..10 {
        let verify = [Verify::Once, Verify::Always, Verify::Never][tenths as usize % 3];
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cut.maple");
        fill(&path);
        let db = cut_while_open(&path, &Options::new().guarded_reads(true).verify(verify), tenths);
        let (right, refused) = read_all(&db);
        assert_eq!(read_all(&db), (right, refused), "the same again");
        all_right += right;
        all_refused += refused;
        let Ok(w) = db.begin_write() else { continue };
        write_all(w, refused);
    }
    assert!(all_right > COUNT && all_refused > COUNT, "{all_right} right, {all_refused} refused");
}

/// Reading and writing in a write txn is guarded too.
fn write_all(mut w: mapleaf::WriteTxn, refused: u64) {
    let put = (0..COUNT).filter(|key| w.put(WORDS, key, &[1][..]).is_ok()).count() as u64;
    assert!(put < COUNT || refused == 0, "{put} puts");
}

#[test]
fn pages_that_were_read_once_are_guarded_still() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cut.maple");
    fill(&path);
    let db = open(&Options::new().guarded_reads(true), &path);
    assert_eq!(read_all(&db), (COUNT, 0));
    cut(&path, 5);
    assert!(read_all(&db).1 > 0);
}

/// The boundary that is documented: without guards the process ends by a signal.
#[test]
fn without_guards_touching_such_a_page_ends_the_process() {
    if let Ok(path) = std::env::var(CHILD) {
        read_all(&cut_while_open(Path::new(&path), &Options::new(), 5));
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cut.maple");
    fill(&path);
    let own = std::env::current_exe().unwrap();
    let name = "without_guards_touching_such_a_page_ends_the_process";
    let child = Command::new(own).args(["--exact", name]).env(CHILD, &path).output().unwrap();
    assert_eq!(child.status.signal(), Some(libc::SIGBUS), "{:?}", child.status);
}

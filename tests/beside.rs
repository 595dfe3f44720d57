//! Threads that read beside one that writes: each snapshot is one commit's, all through its life.
//!
//! Small, for the thread sanitizer: on the test map (docs/soundness.md, T1) it sees a page that is reused too early also where
//! nobody has read a wrong byte.

mod common;

use common::TestDb;
use mapleaf::Table;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;

const NUMBERS: Table<u64, u64> = Table::new("numbers");
const KEYS: u64 = 20;
const COMMITS: u64 = 150;

#[test]
fn snapshots_beside_a_writer_stay_as_they_are() {
    let db = TestDb::new();
    let commit =
        |number: u64| db.write(|w| (0..KEYS).try_for_each(|key| w.put(NUMBERS, &key, &number).map(drop)));
    commit(0).unwrap();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !is_over.load(Relaxed) {
                    let r = db.begin_read().unwrap();
                    let number = r.get(NUMBERS, &0).unwrap();
                    for key in (0..KEYS).cycle().take(300) {
                        assert_eq!(r.get(NUMBERS, &key).unwrap(), number, "key {key}");
                    }
                }
            });
        }
        let done = (1..COMMITS).try_for_each(commit);
        is_over.store(true, Relaxed);
        done.unwrap();
    });
    assert_eq!(db.begin_read().unwrap().get(NUMBERS, &0).unwrap(), Some(COMMITS - 1));
}

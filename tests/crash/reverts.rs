//! A page cache that forgets: where a flush fails, its blocks are as they were flushed last (btrfs), and every process
//! that has the file mapped reads that.
//!
//! Logged commits are acknowledged while their pages are nowhere but in the cache. When a checkpoint's flush fails,
//! these pages are gone until the next write txn has rebuilt them from the log. What is read until then is right
//! or `Corrupt`. The failing operations of [`crate::faults`] run with such a cache too; here is what is special.

use crate::script::{Action, Session, put};
use mapleaf::{Error, Options};
use mapleaf_crash::{Recorder, memory_directory};
use std::sync::Arc;

/// Commits go to pages that had an older version of the same leaf, which is valid in itself.
#[test]
fn pages_that_the_cache_has_lost_are_never_taken_for_older_versions_of_themselves() {
    let directory = memory_directory();
    let path = directory.path().join("test.maple");
    let recorder = Arc::new(Recorder::default().reverting(&path, &[]));
    std::fs::write(&path, b"").unwrap();
    let mut session = Session::open(&path, &Options::new(), Arc::clone(&recorder)).unwrap();
    let mut lost = 0;
    for round in 0..12u8 {
        for i in 0..3u8 {
            let steps = (0..3).map(|key| put("words", key, 200, round * 5 + i)).collect();
            session.act(&Action::Commit(steps)).unwrap();
        }
        if round % 3 == 2 {
            // The checkpoint's first flush: of the pages.
            recorder.fail_at(0);
            session.act(&Action::Checkpoint).unwrap_err();
            lost += usize::from(matches!(session.read(), Err(Error::Corrupt { .. })));
        } else {
            session.act(&Action::Checkpoint).unwrap();
        }
    }
    assert!(recorder.reverts() >= 3, "{}", recorder.reverts());
    println!("{lost} times pages were lost");
    assert!(lost > 0);
    session.act(&Action::Commit(vec![put("words", 9, 10, 9)])).unwrap();
    session.close().unwrap();
}

//! The mark of settled meta slots: who finds it opens without a flush, so it must never be there when it is not true.
//!
//! Owns: when it is there, and what is not taken for it. What a power cut leaves with a mark beside it, which then
//! names what is on the disk, is a part of every image that [`crate::judge`] opens.

use crate::judge::sound;
use crate::memory_directory;
use crate::script::open;
use mapleaf::{Database, Observer, Op, Options, Table, Verdict};
use mapleaf_crash::{Event, Failure, Recorder};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const NUMBERS: Table<u64, u64> = Table::new("numbers");
const NAME: &str = "user.mapleaf.settled";
const SLOTS: [u64; 2] = [0, 4096];

/// The mark that says of the file what is true of it; nothing where the file system has no such marks.
pub fn mark_truly(path: &Path) {
    let file = File::open(path).unwrap();
    let mut mark = 0xcbf2_9ce4_8422_2325u64;
    for offset in SLOTS {
        let mut slot = [0; 512];
        if file.read_exact_at(&mut slot, offset).is_err() {
            return;
        }
        for word in slot.chunks(8) {
            let word = u64::from_le_bytes(word.try_into().unwrap());
            mark = (mark ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
        }
    }
    set_mark(path, &mark.to_le_bytes());
}

fn set_mark(path: &Path, mark: &[u8]) {
    let _ = rustix::fs::setxattr(path, NAME, mark, rustix::fs::XattrFlags::empty());
}

fn mark(path: &Path) -> Option<Vec<u8>> {
    let mut mark = [0; 100];
    let len = rustix::fs::getxattr(path, NAME, &mut mark[..]).ok()?;
    Some(mark[..len].to_vec())
}

/// A directory with a store that was closed with the mark; `None` where there are no marks.
fn closed() -> Option<(tempfile::TempDir, PathBuf)> {
    let directory = memory_directory();
    let path = directory.path().join("settled.maple");
    let db = open(&path, &Options::new()).unwrap();
    db.write(|w| (0..1000).try_for_each(|key| w.put(NUMBERS, &key, &key).map(drop))).unwrap();
    put(&db, 0);
    db.close().unwrap();
    if mark(&path).is_none() {
        println!("skipped: no extended attributes");
        return None;
    }
    Some((directory, path))
}

fn put(db: &Database, value: u64) {
    db.write(|w| w.put(NUMBERS, &0, &value).map(drop)).unwrap();
}

/// What opening the store does to its file.
fn opening(path: &Path) -> Vec<Event> {
    let (_, log) = opened(path);
    log
}

fn opened(path: &Path) -> (Database, Vec<Event>) {
    let recorder = Arc::new(Recorder::default());
    let db = open(path, &Options::new().observer(recorder.clone())).unwrap();
    sound(&db).unwrap();
    (db, recorder.log())
}

/// Whether it flushes both slots, among other things.
fn flushes_both(log: &[Event]) -> bool {
    log.iter().any(|event| matches!(event, Event::Sync { offset: 0, len: 4608, failed: false }))
}

fn is_flush_of_both_slots(log: &[Event]) -> bool {
    let wrote = |slot: u64| {
        log.iter().any(|event| {
            event.is_meta_write() && matches!(event, Event::Write { offset, .. } if *offset == slot)
        })
    };
    let flushed = matches!(log.last(), Some(Event::Sync { offset: 0, len: 4608, failed: false }));
    SLOTS.into_iter().all(wrote) && flushed
}

#[test]
fn a_store_that_was_closed_is_opened_without_a_flush() {
    let Some((_directory, path)) = closed() else { return };
    for round in 0..3 {
        assert_eq!(opening(&path), [], "{round}: whoever only reads leaves the mark");
        drop(open(&path, &Options::new().read_only(true)).unwrap());
    }
    let (db, log) = opened(&path);
    assert_eq!(log, []);
    put(&db, 1);
    db.checkpoint().unwrap();
    assert_eq!(mark(&path), None);
    db.close().unwrap();
    assert_eq!(opening(&path), []);
}

/// Sees every slot written, and whether the mark is there then.
struct Watching(PathBuf);

impl Observer for Watching {
    fn before(&self, op: &Op<'_>) -> Verdict {
        if matches!(op, Op::Write { offset, data } if SLOTS.contains(offset) && data[0].len() == 512) {
            assert_eq!(mark(&self.0), None, "a slot is written while the mark is there");
        }
        Verdict::Proceed
    }
}

#[test]
fn the_mark_is_gone_before_a_slot_is_written() {
    let Some((_directory, path)) = closed() else { return };
    let options = Options::new().observer(Arc::new(Watching(path.clone())));
    for round in 0..4 {
        assert!(mark(&path).is_some());
        let db = open(&path, &options).unwrap();
        match round {
            0 => db.checkpoint().unwrap(),
            1 => put(&db, round),
            2 => {
                put(&db, round);
                db.checkpoint().unwrap();
                // Of two that have the store open, the other one writes.
                let other = open(&path, &options).unwrap();
                put(&other, round);
                other.checkpoint().unwrap();
            }
            _ => {
                let ordered = |w: &mut mapleaf::WriteTxn| {
                    w.set_durability(mapleaf::Durability::Ordered);
                    w.put(NUMBERS, &1, &1).map(drop)
                };
                db.write(ordered).unwrap();
            }
        }
        db.close().unwrap();
    }
}

#[test]
fn what_is_not_the_mark_of_these_slots_is_not_taken_for_it() {
    let Some((directory, path)) = closed() else { return };
    let Some((_other_directory, other)) = closed() else { return };
    let older = std::fs::read(&path).unwrap();
    for forged in [&[][..], &[0; 8], &[7; 8], &[7; 9], &mark(&other).unwrap()] {
        set_mark(&path, forged);
        assert!(is_flush_of_both_slots(&opening(&path)), "{forged:?}");
    }
    // Another file of the same name, and the same file with other contents.
    assert_eq!(opening(&path), []);
    std::fs::rename(&path, directory.path().join("away")).unwrap();
    std::fs::write(&path, &older).unwrap();
    assert!(is_flush_of_both_slots(&opening(&path)));
    let (db, _) = opened(&path);
    put(&db, 5);
    db.close().unwrap();
    assert_eq!(opening(&path), []);
    std::fs::write(&path, &older).unwrap();
    assert!(is_flush_of_both_slots(&opening(&path)));
}

#[test]
fn behind_a_slot_that_could_not_be_flushed_there_is_no_mark_by_any_name_of_the_file() {
    let Some((directory, path)) = closed() else { return };
    let link = directory.path().join("link.maple");
    std::fs::hard_link(&path, &link).unwrap();
    // The flush of the slot, and everything behind it.
    let recorder = Arc::new(Recorder::default());
    let db = open(&link, &Options::new().observer(recorder.clone())).unwrap();
    put(&db, 1);
    recorder.fail_at(0);
    assert!(db.checkpoint().is_err());
    drop(db);
    assert_eq!(mark(&path), None);
    assert!(flushes_both(&opening(&path)));
    let failing = Arc::new(Recorder::failing(0..usize::MAX, Failure::Flush));
    let (db, log) = opened(&path);
    assert_eq!(log, []);
    drop(db);
    let db = open(&path, &Options::new().observer(failing)).unwrap();
    assert!(db.write(|w| w.put(NUMBERS, &0, &3).map(drop)).is_err() && db.checkpoint().is_err());
    assert!(db.close().is_err());
    assert_eq!(mark(&path), None);
    assert!(flushes_both(&opening(&path)));
}

#[test]
fn a_process_that_was_killed_with_a_slot_in_doubt_leaves_no_mark() {
    const ROLE: &str = "MAPLEAF_SETTLED_CHILD";
    if let Ok(path) = std::env::var(ROLE) {
        let recorder = Arc::new(Recorder::default());
        let db = open(Path::new(&path), &Options::new().observer(recorder.clone())).unwrap();
        // The second operation of a checkpoint of nothing but a page is the write of the slot; later ones follow it.
        recorder.die_at(std::env::var("MAPLEAF_SETTLED_AT").unwrap().parse().unwrap());
        put(&db, 1);
        db.checkpoint().unwrap();
        put(&db, 2);
        db.checkpoint().unwrap();
        return;
    }
    let Some((_directory, path)) = closed() else { return };
    let (mut marked, mut flushed) = (0, 0);
    for at in 0.. {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "settled::a_process_that_was_killed_with_a_slot_in_doubt_leaves_no_mark"]);
        child.env(ROLE, &path).env("MAPLEAF_SETTLED_AT", at.to_string());
        if child.output().unwrap().status.success() {
            break;
        }
        let is_marked = mark(&path).is_some();
        assert_eq!(flushes_both(&opening(&path)), !is_marked, "killed before operation {at}");
        *(if is_marked { &mut marked } else { &mut flushed }) += 1;
    }
    assert!(marked > 0 && flushed > 0, "{marked} kills before a slot was written, {flushed} behind it");
}

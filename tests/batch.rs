//! Updates of many threads in one txn: `Database::batch`.

#![allow(unsafe_code)]

mod common;

use common::{TestDb, assert_clean};
use mapleaf::{Durability, Error, Observer, Op, Options, Table, Verdict};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

const NUMBERS: Table<u64, u64> = Table::new("numbers");
const BLOBS: Table<u64, [u8]> = Table::new("blobs");
const THREADS: u64 = 8;
const EACH: u64 = 40;

/// A disk whose flushes take a while, and may be told to fail.
#[derive(Default)]
struct SlowDisk {
    fails: AtomicBool,
}

impl Observer for SlowDisk {
    fn before(&self, op: &Op<'_>) -> Verdict {
        if let Op::Sync { .. } = op {
            thread::sleep(Duration::from_millis(2));
            if self.fails.load(SeqCst) {
                return Verdict::Fail(std::io::Error::from_raw_os_error(libc::EIO));
            }
        }
        Verdict::Proceed
    }
}

/// A store with a log.
fn store(options: Options) -> (TestDb, Arc<SlowDisk>) {
    let disk = Arc::new(SlowDisk::default());
    let db = TestDb::with(options.observer(Arc::clone(&disk) as _));
    for _ in 0..2 {
        db.write(|w| w.put(NUMBERS, &u64::MAX, &0)).unwrap();
    }
    (db, disk)
}

/// Runs `update` for each number from every thread at once; returns how many succeeded.
fn from_all_threads(update: impl Fn(u64) -> bool + Sync) -> u64 {
    let succeeded = AtomicU64::new(0);
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (update, succeeded) = (&update, &succeeded);
            scope.spawn(move || {
                let mine = (0..EACH).filter(|i| update(thread * EACH + i));
                succeeded.fetch_add(mine.count() as u64, SeqCst);
            });
        }
    });
    // Not `into_inner`: of the end of a scope the thread sanitizer sees nothing.
    succeeded.load(SeqCst)
}

#[test]
fn threads_share_commits_and_lose_nothing() {
    let (db, _) = store(Options::new());
    let before = db.counters();
    let done = from_all_threads(|i| {
        db.batch(|w| {
            let sum = w.get(NUMBERS, &u64::MAX)?.unwrap_or(0);
            w.put(NUMBERS, &u64::MAX, &(sum + i))?;
            w.put(NUMBERS, &i, &i)
        })
        .is_ok_and(|replaced| !replaced)
    });
    let all = THREADS * EACH;
    assert_eq!(done, all);
    let commits = db.counters().commits - before.commits;
    assert!(commits <= all / 2, "{commits} commits for {all} updates");
    let r = db.begin_read().unwrap();
    assert_eq!(r.len(NUMBERS).unwrap(), all + 1);
    assert_eq!(r.get(NUMBERS, &u64::MAX).unwrap(), Some(all * (all - 1) / 2));
}

#[test]
fn an_update_is_there_when_its_call_returns() {
    let (db, _) = store(Options::new());
    from_all_threads(|i| {
        db.batch(|w| w.put(NUMBERS, &i, &i)).unwrap();
        assert_eq!(db.begin_read().unwrap().get(NUMBERS, &i).unwrap(), Some(i));
        true
    });
}

#[test]
fn an_update_that_fails_or_panics_leaves_nothing_and_harms_nobody() {
    let (db, _) = store(Options::new());
    let done = from_all_threads(|i| {
        let updated = catch_unwind(AssertUnwindSafe(|| {
            db.batch(|w| {
                w.put(NUMBERS, &i, &i)?;
                match i % 5 {
                    0 => Err(Error::UnknownSavepoint),
                    1 => panic!("in the update"),
                    _ => Ok(()),
                }
            })
        }));
        match (i % 5, updated) {
            (0, Ok(Err(Error::UnknownSavepoint))) | (1, Err(_)) => false,
            (_, Ok(Ok(()))) => true,
            (_, other) => panic!("update {i}: {other:?}"),
        }
    });
    assert_eq!(done, THREADS * EACH * 3 / 5);
    let r = db.begin_read().unwrap();
    for i in 0..THREADS * EACH {
        assert_eq!(r.get(NUMBERS, &i).unwrap(), (i % 5 > 1).then_some(i));
    }
}

#[test]
fn when_the_flush_fails_every_update_in_it_fails_and_is_seen_by_nobody() {
    let (db, disk) = store(Options::new());
    disk.fails.store(true, SeqCst);
    assert_eq!(from_all_threads(|i| db.batch(|w| w.put(NUMBERS, &i, &i)).is_ok()), 0);
    assert_eq!(db.begin_read().unwrap().len(NUMBERS).unwrap(), 1);
    disk.fails.store(false, SeqCst);
    assert_eq!(from_all_threads(|i| db.batch(|w| w.put(NUMBERS, &i, &i)).is_ok()), THREADS * EACH);
    assert_eq!(db.begin_read().unwrap().len(NUMBERS).unwrap(), THREADS * EACH + 1);
    assert_clean(&db);
}

#[test]
fn updates_that_fill_the_store_fail_alone() {
    let (db, _) = store(Options::new().max_size(3 << 20));
    let done = from_all_threads(|i| match i % 8 {
        // Cannot ever fit.
        0 => !matches!(db.batch(|w| w.put(BLOBS, &i, &[1; 4 << 20])), Err(Error::Full { .. })),
        _ => db.batch(|w| w.put(NUMBERS, &i, &i)).is_ok(),
    });
    assert_eq!(done, THREADS * EACH * 7 / 8);
    assert_eq!(db.begin_read().unwrap().len(NUMBERS).unwrap(), done + 1);
}

#[test]
fn an_update_cannot_weaken_what_others_were_promised() {
    let (db, disk) = store(Options::new());
    disk.fails.store(true, SeqCst);
    let done = from_all_threads(|i| match i % 2 {
        0 => {
            let failed = db.batch(|w| {
                w.set_durability(Durability::Eventual);
                Err::<(), _>(Error::UnknownSavepoint)
            });
            assert!(failed.is_err());
            false
        }
        _ => db.batch(|w| w.put(NUMBERS, &i, &i)).is_ok(),
    });
    assert_eq!(done, 0, "acknowledged although no flush succeeded");
    disk.fails.store(false, SeqCst);
    db.batch(|w| w.put(NUMBERS, &0, &0)).unwrap();
}

//! What a commit costs and what becomes of the space, counted in bytes and pages.

mod common;

use common::TestDb;
use mapleaf::{Durability, Observer, Op, Options, ReadTxn, Table, Verdict};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const NUMBERS: Table<u64, u64> = Table::new("numbers");
const BLOBS: Table<u64, [u8]> = Table::new("blobs");

/// Counts what reaches the file.
#[derive(Default)]
struct Counter {
    written: AtomicU64,
    writes: AtomicU64,
    flushes: AtomicU64,
}

impl Observer for Counter {
    fn before(&self, op: &Op<'_>) -> Verdict {
        match op {
            Op::Write { data, .. } => {
                self.writes.fetch_add(1, Ordering::Relaxed);
                self.written.fetch_add(data.iter().map(|part| part.len() as u64).sum(), Ordering::Relaxed);
            }
            Op::Sync { .. } => {
                self.flushes.fetch_add(1, Ordering::Relaxed);
            }
            Op::SetLen { .. } | Op::Reserve { .. } | Op::Punch { .. } => {}
        }
        Verdict::Proceed
    }
}

impl Counter {
    fn take(&self) -> [u64; 3] {
        [&self.written, &self.writes, &self.flushes].map(|count| count.swap(0, Ordering::Relaxed))
    }
}

fn put_as(db: &TestDb, durability: Durability) {
    db.write(|w| {
        w.set_durability(durability);
        w.put(NUMBERS, &1, &2)
    })
    .unwrap();
}

#[test]
fn a_small_commit_costs_the_same_whatever_the_number_of_free_extents() {
    let counter = Arc::new(Counter::default());
    let db = TestDb::with(Options::new().observer(counter.clone()));
    let fill = |every: u64| {
        db.write(|w| {
            for i in 0..20_000 {
                w.put(BLOBS, &i, &[1; 1900])?;
            }
            Ok(())
        })
        .unwrap();
        // Scattered holes: one free extent for each leaf that is rewritten.
        db.write(|w| {
            for i in (0..20_000).step_by(every as usize) {
                w.put(BLOBS, &i, &[2; 1900])?;
            }
            Ok(())
        })
        .unwrap();
        db.write(|w| w.put(NUMBERS, &1, &1)).unwrap();
        // The first checkpoint behind logged txns says more about the space, once for all of them.
        put_as(&db, Durability::Ordered);
        // The leaf, the catalog, the space record; then the meta, or the redo record.
        let cost = |durability| {
            counter.take();
            put_as(&db, durability);
            counter.take()
        };
        let [written, writes, flushes] = cost(Durability::Ordered);
        assert_eq!(flushes, 2, "the data, then the meta");
        assert!(writes <= 4, "{writes} writes");
        assert!(written <= 4 * 4096 + 512, "{written} bytes for a commit of one put");
        for (durability, expected) in [(Durability::Durable, 1), (Durability::Eventual, 0)] {
            let [written, writes, flushes] = cost(durability);
            assert_eq!(flushes, expected, "{durability:?}");
            assert!(writes <= 4, "{writes} writes");
            assert!(written <= 4 * 4096 + 200, "{written} bytes for a logged commit of one put");
        }
        db.stats().unwrap().free_pages
    };
    let few = fill(10_000);
    let many = fill(10);
    assert!(many > few + 1000, "{few} and {many} free pages");
}

/// Twelve thousand pages that each of 300 readers sees a part of.
#[test]
fn a_small_commit_costs_the_same_whatever_the_number_of_pending_pages() {
    let counter = Arc::new(Counter::default());
    let db = TestDb::with(Options::new().observer(counter.clone()));
    let put_all = |keys: &mut dyn Iterator<Item = u64>, fill: u8| {
        let mut w = db.begin_write().unwrap();
        w.set_durability(Durability::Eventual);
        keys.for_each(|key| assert_eq!(w.put(BLOBS, &key, &[fill; 1900]).unwrap(), fill > 1));
        w.commit().unwrap();
    };
    put_all(&mut (0..6000), 1);
    // Bytes written, writes, flushes, and runs judged.
    let cost = || {
        put_as(&db, Durability::Ordered);
        put_as(&db, Durability::Ordered);
        let judged = db.counters().judged_runs;
        counter.take();
        (0..40).for_each(|_| put_as(&db, Durability::Durable));
        let [written, writes, flushes] = counter.take();
        [written, writes, flushes, db.counters().judged_runs - judged]
    };
    // The log comes with the first.
    cost();
    let few = cost();
    let readers: Vec<ReadTxn> = (0..300)
        .map(|round| {
            put_all(&mut (0..40).map(|i| (i * 150 + round * 7) % 6000), 2);
            db.begin_read().unwrap()
        })
        .collect();
    let many = cost();
    let stats = db.stats().unwrap();
    assert!(stats.pending_pages > 12_000, "{} pages are pending", stats.pending_pages);
    assert_eq!(many[..3], few[..3], "bytes, writes and flushes");
    // What the txn gives up, and now and then old space records.
    assert!(few[3].max(many[3]) <= 40 * 4, "{} runs judged, then {}", few[3], many[3]);
    drop(readers);
}

#[test]
fn a_reader_left_open_costs_no_more_than_it_can_see() {
    let db = TestDb::new();
    db.write(|w| {
        for i in 0..30_000 {
            w.put(NUMBERS, &i, &i)?;
        }
        Ok(())
    })
    .unwrap();
    let before = db.file_len();
    let reader = db.begin_read().unwrap();
    for round in 0..600 {
        db.write(|w| w.put(NUMBERS, &(round % 300 * 100), &round)).unwrap();
    }
    let stats = db.stats().unwrap();
    let grown = db.file_len() - before;
    let only_seen_by_it = stats.pending_pages * stats.page_size;
    assert!(grown <= only_seen_by_it + before / 10 + (64 << 10), "{grown} bytes for {only_seen_by_it}");
    assert_eq!(reader.get(NUMBERS, &100).unwrap(), Some(100));
    drop(reader);
    db.write(|w| w.put(NUMBERS, &0, &0)).unwrap();
    let len = db.file_len();
    for round in 0..200 {
        db.write(|w| w.put(NUMBERS, &(round * 7 % 300 * 100), &round)).unwrap();
    }
    assert_eq!(db.file_len(), len, "what the reader held is used again");
}

#[test]
fn rewriting_the_same_keys_keeps_the_file_as_it_is() {
    let db = TestDb::new();
    for round in 0..300u64 {
        db.write(|w| {
            for i in 0..200 {
                w.put(BLOBS, &i, &vec![round as u8; 2500 + (round * 37 % 9000) as usize][..])?;
            }
            Ok(())
        })
        .unwrap();
    }
    let stats = db.stats().unwrap();
    let used = stats.page_count - stats.free_pages - stats.pending_pages;
    assert!(stats.page_count < 4 * 200 * 4, "{} pages for {used} in use", stats.page_count);
}

/// What comes free all at once joins into extents that reach across the place up to which the records describe the file
/// anew: the part behind it was forgotten once.
#[test]
fn pages_of_many_snapshots_that_end_at_once_come_free_and_none_is_lost() {
    const COUNTER: Table<str, u64> = Table::new("counter");
    let mut db = TestDb::new();
    db.write(|w| (0..400).try_for_each(|key| w.put(BLOBS, &key, &[0; 600][..]).map(drop))).unwrap();
    let churn = |db: &TestDb, round: u64| {
        db.write(|w| {
            w.set_durability(Durability::Eventual);
            for i in 0..20 {
                let len = 300 + (round * 37 + i * 11) % 500;
                w.put(BLOBS, &((round * 20 + i) % 400), &vec![i as u8; len as usize])?;
            }
            w.put(COUNTER, "round", &round).map(drop)
        })
        .unwrap();
    };
    for times in 1..=3 {
        let held: Vec<ReadTxn> = (0..100 * times)
            .map(|round| {
                churn(&db, round);
                db.begin_read().unwrap()
            })
            .collect();
        drop(held);
        (0..300).for_each(|round| churn(&db, round));
        db.reopen();
        common::assert_clean(&db);
    }
}

#[test]
fn a_large_load_leaves_little_that_is_spare_and_later_commits_cut_nothing() {
    let db = TestDb::new();
    db.write(|w| (0..6000).try_for_each(|key| w.put(BLOBS, &key, &[1; 1900]).map(drop))).unwrap();
    let stats = db.stats().unwrap();
    assert!(stats.page_count > 3000, "{} pages", stats.page_count);
    assert!(stats.free_pages < 32, "{} of {} pages are spare", stats.free_pages, stats.page_count);
    let mut len = db.file_len();
    for key in 6000..6300 {
        db.write(|w| w.put(BLOBS, &key, &[2; 1900])).unwrap();
        let now = db.file_len();
        assert!(now >= len, "{now} bytes, {len} before");
        len = now;
    }
}

#[test]
fn a_txn_of_two_tables_in_random_order_may_outgrow_its_memory() {
    let counter = Arc::new(Counter::default());
    let db = TestDb::with(Options::new().dirty_limit(1 << 20).observer(counter.clone()));
    let key = |i: u64| i.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    counter.take();
    db.write(|w| {
        for i in 0..5000 {
            w.put(BLOBS, &key(i), &[i as u8; 900])?;
            w.put(NUMBERS, &key(i), &i)?;
            if i % 3 == 0 {
                w.delete(BLOBS, &key(i / 2))?;
            }
        }
        Ok(())
    })
    .unwrap();
    let [written, ..] = counter.take();
    // The memory is less than a quarter of the pages: every second put finds its leaf written already.
    assert!(written < 6 * db.file_len(), "{written} bytes for a file of {}", db.file_len());
    let r = db.begin_read().unwrap();
    for i in 0..5000 {
        let is_deleted = (0..5000).step_by(3).any(|at| at / 2 == i);
        let expected = [i as u8; 900];
        assert_eq!(r.get(BLOBS, &key(i)).unwrap(), (!is_deleted).then_some(&expected[..]), "entry {i}");
        assert_eq!(r.get(NUMBERS, &key(i)).unwrap(), Some(i));
    }
}

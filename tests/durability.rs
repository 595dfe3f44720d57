//! Durability levels, the redo log and its checkpoints, tickets, group commit, failing flushes.
//!
//! What must survive is judged on [`TestDb::after_death`]: the file as it would be found if every process
//! died now. (What a power cut leaves is the matter of `tests/crash`.)

mod common;

use common::{Contents, DeadStore, Flushes, TestDb, assert_clean, contents, open, try_open};
use mapleaf::codec::Pod;
use mapleaf::{Counters, Database, Durability, Error, Options, Result, Schema, Table, Ticket, WriteTxn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

const NUMBERS: Table<u64, u64> = Table::new("numbers");
const WORDS: Table<str, [u8]> = Table::new("words");
const BLOBS: Table<u64, [u8]> = Table::new("blobs");

// ---- what the tests are made of ----

/// A store with some content and a log that has room, watched.
fn logging() -> (TestDb, Arc<Flushes>) {
    logging_with(Options::new())
}

fn logging_with(options: Options) -> (TestDb, Arc<Flushes>) {
    let flushes = Arc::new(Flushes::default());
    let db = TestDb::with(options.observer(flushes.clone()));
    begin_log(&db);
    flushes.take();
    flushes.take_written();
    (db, flushes)
}

/// Fills the store and commits until it has a log; what was logged is a checkpoint then. There is room for the
/// next commits, so that they need not grow the file.
fn begin_log(db: &Database) {
    db.write(|w| (0..2000).try_for_each(|key| w.put(NUMBERS, &key, &key).map(drop))).unwrap();
    db.write(|w| w.put(WORDS, "room", &vec![0; 1 << 20])).unwrap();
    db.write(|w| w.drop_table("words")).unwrap();
    for round in 0..10 {
        put(db, 0, round).unwrap();
        if db.counters().logged_commits > 0 {
            put(db, 0, 0).unwrap();
            return db.checkpoint().unwrap();
        }
    }
    panic!("small commits are not logged: {:?}", db.counters());
}

fn put(db: &Database, key: u64, value: u64) -> Result<()> {
    db.write(|w| w.put(NUMBERS, &key, &value).map(drop))
}

fn put_as(db: &Database, durability: Durability, key: u64, value: u64) -> Result<()> {
    db.write(|w| {
        w.set_durability(durability);
        w.put(NUMBERS, &key, &value).map(drop)
    })
}

fn hand_over(db: &Database, key: u64, value: u64) -> Ticket {
    let mut w = db.begin_write().unwrap();
    w.put(NUMBERS, &key, &value).unwrap();
    w.commit_ticket().unwrap()
}

/// What a new reader sees.
fn get(db: &Database, key: u64) -> u64 {
    db.begin_read().unwrap().get(NUMBERS, &key).unwrap().unwrap()
}

fn now(db: &Database) -> Contents {
    contents(&db.begin_read().unwrap())
}

/// Asserts that the death of all processes would lose nothing. Returns how many txns were replayed.
fn assert_survives(db: &TestDb) -> u64 {
    let copy = db.after_death();
    assert!(now(&copy) == now(db), "what is replayed is not what was there");
    copy.counters().replayed_txns
}

/// Asserts that everything is there after the death of all processes, when commits that changed `keys` have failed
/// and nobody has recovered yet: these may be there, too, as after any crash.
fn assert_dies_with(db: &TestDb, before: &Contents, keys: &[u64]) {
    let mut found = now(&db.after_death());
    for key in keys.iter().map(|key| key.to_be_bytes()) {
        let value = before.0["numbers"][&key[..]].clone();
        found.0.get_mut("numbers").unwrap().insert(key.to_vec(), value);
    }
    assert!(found == *before, "more than the failed commit differs");
}

fn assert_eio<T: std::fmt::Debug>(result: Result<T>) {
    match &result {
        Err(Error::Io { source, .. }) if source.raw_os_error() == Some(libc::EIO) => {}
        _ => panic!("expected EIO, found {result:?}"),
    }
}

fn len(range: &std::ops::Range<u64>) -> u64 {
    range.end - range.start
}

/// By how much each counter has grown.
fn since(db: &Database, before: Counters) -> impl Fn(fn(&Counters) -> u64) -> u64 {
    let after = db.counters();
    move |of| of(&after) - of(&before)
}

// ---- levels ----

#[test]
fn a_durable_commit_is_one_flush_of_its_redo_record() {
    let (db, flushes) = logging();
    for round in 0..20 {
        let before = db.counters();
        put(&db, round, 7000 + round).unwrap();
        let (flushed, grown) = (flushes.take(), since(&db, before));
        assert_eq!(flushed.len(), 1, "{flushed:?}");
        assert_eq!(len(&flushed[0]), grown(|c| c.log_bytes));
        assert!(len(&flushed[0]) < 200, "{flushed:?} for one entry");
        assert_eq!([grown(|c| c.commits), grown(|c| c.logged_commits), grown(|c| c.log_flushes)], [1; 3]);
        assert_eq!(grown(|c| c.checkpoints), 0);
    }
    assert_eq!(assert_survives(&db), 20);
}

#[test]
fn an_ordered_commit_is_a_checkpoint_of_two_flushes() {
    let (db, flushes) = logging();
    let before = db.counters();
    put_as(&db, Durability::Ordered, 1, 100).unwrap();
    let flushed = flushes.take();
    assert_eq!(flushed.len(), 2, "the data, then the meta slot: {flushed:?}");
    assert!(len(&flushed[1]) == 512 && flushed[1].end <= 8192, "{flushed:?}");
    let grown = since(&db, before);
    assert_eq!(
        [grown(|c| c.checkpoints), grown(|c| c.asked_checkpoints), grown(|c| c.logged_commits)],
        [1, 1, 0]
    );
    assert_eq!(assert_survives(&db), 0);
}

#[test]
fn an_eventual_commit_flushes_nothing_and_survives_the_process() {
    let (db, flushes) = logging();
    for key in 0..50 {
        put_as(&db, Durability::Eventual, key, 100 + key).unwrap();
        assert_eq!(get(&db, key), 100 + key);
    }
    assert!(flushes.take().is_empty());
    assert_eq!(assert_survives(&db), 50);
}

#[test]
fn the_first_durable_commit_behind_eventual_ones_flushes_all_of_them_at_once() {
    let (db, flushes) = logging();
    let before = db.counters();
    (0..9).for_each(|key| put_as(&db, Durability::Eventual, key, 500).unwrap());
    put(&db, 9, 500).unwrap();
    let flushed = flushes.take();
    assert_eq!(flushed.len(), 1, "{flushed:?}");
    assert_eq!(len(&flushed[0]), since(&db, before)(|c| c.log_bytes));
}

#[test]
fn an_ordered_commit_behind_eventual_ones_makes_all_of_them_a_checkpoint() {
    let (db, flushes) = logging();
    (0..9).for_each(|key| put_as(&db, Durability::Eventual, key, 500).unwrap());
    put_as(&db, Durability::Ordered, 9, 500).unwrap();
    assert_eq!(flushes.take().len(), 2);
    assert_eq!(assert_survives(&db), 0);
}

#[test]
fn a_txn_has_the_level_of_its_store_unless_it_is_given_one() {
    let (db, flushes) = logging_with(Options::new().durability(Durability::Eventual));
    put(&db, 1, 10).unwrap();
    assert!(flushes.take().is_empty());
    put_as(&db, Durability::Durable, 1, 11).unwrap();
    assert_eq!(flushes.take().len(), 1);
    let (db, flushes) = logging_with_level_ordered();
    put(&db, 1, 10).unwrap();
    assert_eq!(flushes.take().len(), 2);
    put_as(&db, Durability::Eventual, 1, 11).unwrap();
    assert!(flushes.take().is_empty());
}

/// Its log was begun with another level, in another opening.
fn logging_with_level_ordered() -> (TestDb, Arc<Flushes>) {
    let flushes = Arc::new(Flushes::default());
    let mut db = TestDb::new();
    begin_log(&db);
    db.close().unwrap();
    let options = Options::new().durability(Durability::Ordered).observer(flushes.clone());
    let db = db.opened_with(options);
    flushes.take();
    (db, flushes)
}

#[test]
fn a_new_store_does_its_first_commits_at_any_level() {
    for first in [Durability::Durable, Durability::Ordered, Durability::Eventual] {
        for second in [Durability::Durable, Durability::Ordered, Durability::Eventual] {
            let db = TestDb::new();
            put_as(&db, first, 1, 1).unwrap();
            assert_survives(&db);
            put_as(&db, second, 1, 2).unwrap();
            assert_survives(&db);
            put_as(&db, first, 1, 3).unwrap();
            assert_eq!(get(&db, 1), 3);
            assert_survives(&db);
        }
    }
}

#[test]
fn a_temporary_store_has_all_levels() {
    let db = Database::temporary().unwrap();
    begin_log(&db);
    put_as(&db, Durability::Eventual, 1, 1).unwrap();
    put_as(&db, Durability::Durable, 2, 2).unwrap();
    put_as(&db, Durability::Ordered, 3, 3).unwrap();
    db.checkpoint().unwrap();
    assert_eq!([1, 2, 3].map(|key| get(&db, key)), [1, 2, 3]);
    assert_clean(&db);
    db.close().unwrap();
}

// ---- the way that is chosen ----

#[test]
fn a_large_value_is_written_in_place_and_not_twice() {
    let (db, flushes) = logging();
    let before = db.counters();
    db.write(|w| w.put(BLOBS, &1, &vec![7; 3_000_000])).unwrap();
    assert!(flushes.take_written() < 3_300_000, "it is written once");
    let grown = since(&db, before);
    assert_eq!([grown(|c| c.large_checkpoints), grown(|c| c.logged_commits)], [1, 0]);
    assert_eq!(assert_survives(&db), 0);
}

#[test]
fn a_txn_of_many_entries_is_a_checkpoint() {
    let (db, _) = logging();
    let before = db.counters();
    db.write(|w| (0..20_000).try_for_each(|key| w.put(BLOBS, &key, &[1; 100]).map(drop))).unwrap();
    let grown = since(&db, before);
    assert_eq!(
        [grown(|c| c.large_checkpoints), grown(|c| c.checkpoints), grown(|c| c.logged_commits)],
        [1, 1, 0]
    );
    assert_eq!(assert_survives(&db), 0);
}

#[test]
fn a_txn_that_was_written_early_is_a_checkpoint() {
    let (db, _) = logging_with(Options::new().dirty_limit(1 << 20));
    let before = db.counters();
    db.write(|w| {
        (0..4000).try_for_each(|key| w.put(BLOBS, &key, &[1; 1000]).map(drop))?;
        // Little is left in the end.
        (0..4000).try_for_each(|key| w.delete(BLOBS, &key).map(drop))?;
        w.put(NUMBERS, &1, &77)
    })
    .unwrap();
    assert_eq!(since(&db, before)(|c| c.logged_commits), 0);
    assert_eq!(assert_survives(&db), 0);
    assert_eq!(get(&db, 1), 77);
}

#[test]
fn a_full_log_is_followed_by_a_checkpoint_and_begins_again() {
    let (db, _) = logging_with(Options::new().log_limit(0));
    let before = db.counters();
    for round in 0..1500u64 {
        db.write(|w| w.put(BLOBS, &(round % 40), &vec![round as u8; 700])).unwrap();
        if round % 97 == 0 {
            assert_survives(&db);
        }
    }
    let grown = since(&db, before);
    assert!(grown(|c| c.log_full_checkpoints) >= 3, "{:?}", db.counters());
    assert!(grown(|c| c.logged_commits) > 1450, "{:?}", db.counters());
    assert_survives(&db);
}

#[test]
fn a_log_grows_with_its_store_up_to_its_limit() {
    let bytes_between_checkpoints = |limit: u64| {
        let (db, _) = logging_with(Options::new().log_limit(limit));
        db.write(|w| w.put(WORDS, "large", &vec![1; 8 << 20])).unwrap();
        let before = db.counters();
        for round in 0..120u64 {
            let keys = (0..20).map(|i| (round * 20 + i) % 60);
            db.write(|w| keys.into_iter().try_for_each(|key| w.put(BLOBS, &key, &[2; 1500]).map(drop)))
                .unwrap();
        }
        assert_survives(&db);
        let grown = since(&db, before);
        grown(|c| c.log_bytes) / grown(|c| c.checkpoints).max(1)
    };
    let (small, large) = (bytes_between_checkpoints(256 << 10), bytes_between_checkpoints(16 << 20));
    assert!(small <= 300 << 10, "{small} bytes between checkpoints");
    assert!(large > 2 * small, "{large} bytes between checkpoints, {small} with a small limit");
}

#[test]
fn pages_held_back_for_the_checkpoint_are_limited() {
    let (db, _) = logging_with(Options::new().held_limit(256 << 10));
    db.write(|w| (0..400).try_for_each(|key| w.put(BLOBS, &key, &[1; 1500]).map(drop))).unwrap();
    let (before, file_len) = (db.counters(), db.file_len());
    for round in 0..400u64 {
        db.write(|w| w.put(BLOBS, &(round * 7919 % 400), &[2; 1500])).unwrap();
    }
    let grown = since(&db, before);
    assert!(grown(|c| c.held_checkpoints) >= 5, "{:?}", db.counters());
    assert!(db.file_len() <= file_len + (2 << 20), "{} bytes, {file_len} before", db.file_len());
    assert_survives(&db);
}

// ---- checkpoints ----

#[test]
fn a_checkpoint_that_is_asked_for_leaves_nothing_to_replay() {
    let (db, flushes) = logging();
    (0..20).for_each(|key| put(&db, key, 9).unwrap());
    assert_eq!(assert_survives(&db), 20);
    let before = db.counters();
    flushes.take();
    db.checkpoint().unwrap();
    assert_eq!(flushes.take().len(), 2);
    assert_eq!(since(&db, before)(|c| c.asked_checkpoints), 1);
    assert_eq!(assert_survives(&db), 0);
    put(&db, 5, 10).unwrap();
    assert_eq!(assert_survives(&db), 1);
}

#[test]
fn a_checkpoint_of_what_is_one_already_costs_no_flush() {
    let (db, flushes) = logging();
    put(&db, 1, 9).unwrap();
    db.checkpoint().unwrap();
    flushes.take();
    let before = db.counters();
    db.checkpoint().unwrap();
    assert!(flushes.take().is_empty());
    assert_eq!(since(&db, before)(|c| c.checkpoints), 0);
}

#[test]
fn a_checkpoint_makes_durable_and_visible_what_nobody_has_waited_for() {
    let (db, flushes) = logging();
    put_as(&db, Durability::Eventual, 1, 50).unwrap();
    let tickets = [hand_over(&db, 2, 50), hand_over(&db, 3, 50)];
    flushes.take();
    db.checkpoint().unwrap();
    assert!(tickets.iter().all(Ticket::is_done));
    assert_eq!([1, 2, 3].map(|key| get(&db, key)), [50; 3]);
    flushes.take();
    tickets.into_iter().for_each(|ticket| ticket.wait().unwrap());
    assert!(flushes.take().is_empty(), "there was nothing left to flush");
    assert_eq!(assert_survives(&db), 0);
}

#[test]
fn a_snapshot_stays_as_it_is_across_logged_commits_and_checkpoints() {
    let (db, _) = logging_with(Options::new().held_limit(256 << 10).log_limit(0));
    let mut pinned = Vec::new();
    for round in 0..400u64 {
        if round % 40 == 0 {
            let r = db.begin_read().unwrap();
            pinned.push((contents(&r), r));
        }
        db.write(|w| w.put(BLOBS, &(round % 60), &vec![round as u8; 1200])).unwrap();
        if round % 90 == 0 {
            db.checkpoint().unwrap();
        }
        if pinned.len() > 5 {
            pinned.remove(round as usize % 5);
        }
    }
    assert!(pinned.iter().all(|(expected, r)| contents(r) == *expected));
}

// ---- closing and opening ----

#[test]
fn the_last_handle_leaves_nothing_to_replay_when_closed_or_dropped() {
    for closes in [true, false] {
        let (mut db, _) = logging();
        put_as(&db, Durability::Eventual, 1, 70).unwrap();
        put(&db, 2, 70).unwrap();
        drop(hand_over(&db, 3, 70));
        if closes {
            db.close().unwrap();
        }
        db.reopen();
        assert_eq!(db.counters().replayed_txns, 0, "closed: {closes}");
        assert_eq!([1, 2, 3].map(|key| get(&db, key)), [70; 3]);
    }
}

#[test]
fn only_the_last_handle_makes_a_checkpoint_when_it_is_closed() {
    let (mut db, flushes) = logging();
    let clone = db.clone();
    put(&db, 1, 70).unwrap();
    flushes.take();
    clone.close().unwrap();
    assert!(flushes.take().is_empty());
    db.close().unwrap();
    assert_eq!(flushes.take().len(), 2);
}

#[test]
fn a_snapshot_keeps_the_store_open_after_its_handle_is_closed() {
    let (mut db, flushes) = logging();
    put(&db, 1, 70).unwrap();
    let r = db.begin_read().unwrap();
    flushes.take();
    db.close().unwrap();
    assert!(flushes.take().is_empty());
    assert_eq!(r.get(NUMBERS, &1).unwrap(), Some(70));
    drop(r);
    assert_eq!(flushes.take().len(), 2);
    db.reopen();
    assert_eq!(db.counters().replayed_txns, 0);
}

#[test]
fn a_checkpoint_that_fails_at_closing_says_so_and_loses_nothing() {
    for spared in 0..2 {
        let (mut db, flushes) = logging();
        put(&db, 1, 70).unwrap();
        put_as(&db, Durability::Eventual, 2, 70).unwrap();
        flushes.fail(spared, 1);
        assert_eio(db.close());
        db.reopen();
        assert_eq!(db.counters().replayed_txns, 2);
        assert_eq!([1, 2].map(|key| get(&db, key)), [70; 2]);
        put(&db, 1, 71).unwrap();
        assert_survives(&db);
    }
}

#[test]
fn closing_a_handle_does_not_wait_for_a_txn_that_is_open() {
    for fails in [false, true] {
        let (db, flushes) = logging();
        let ticket = hand_over(&db, 1, 5);
        let mut w = db.begin_write().unwrap();
        w.put(NUMBERS, &2, &5).unwrap();
        flushes.fail(0, usize::from(fails));
        assert_eq!(ticket.wait().is_err(), fails);
        let (closed, wait_closed) = std::sync::mpsc::channel();
        let clone = Database::clone(&db);
        let closing = thread::spawn(move || {
            let _ = clone.close();
            closed.send(()).unwrap();
        });
        let came = wait_closed.recv_timeout(Duration::from_secs(10));
        drop(w);
        closing.join().unwrap();
        assert!(came.is_ok(), "a flush has failed: {fails}");
    }
}

#[test]
fn replaying_counts_the_txns_and_is_done_once() {
    let (db, _) = logging();
    (0..30).for_each(|key| put(&db, key, 4).unwrap());
    let copy = db.after_death();
    assert_eq!([copy.counters().recoveries, copy.counters().replayed_txns], [1, 30]);
    let again = copy.after_death();
    assert_eq!(again.counters().replayed_txns, 0, "recovery ends with a checkpoint");
    assert!(now(&again) == now(&db));
    put(&again, 1, 5).unwrap();
    assert_survives(&again);
}

#[test]
fn a_store_that_was_replayed_goes_on_and_can_be_replayed_again() {
    let (db, _) = logging();
    let mut db = db;
    for generation in 0..6 {
        (0..15).for_each(|key| put(&db, key * 3, generation * 100 + key).unwrap());
        put_as(&db, Durability::Eventual, 1000, generation).unwrap();
        let copy = db.after_death();
        assert!(now(&copy) == now(&db));
        db = copy;
    }
    assert_eq!(get(&db, 1000), 5);
}

// ---- read-only handles ----

#[test]
fn opening_to_read_where_a_log_waits_is_an_error_that_says_what_to_do() {
    let (db, _) = logging();
    (0..5).for_each(|key| put(&db, key, 800).unwrap());
    let dead = DeadStore::of(&db.path());
    let error = try_open(&Options::new().read_only(true), &dead.path()).unwrap_err();
    assert!(matches!(error, Error::LogToReplay { txns: 5 }), "{error:?}");
    let message = error.to_string();
    assert!(message.contains("5 txns") && message.contains("writing"), "{message}");
    // It has changed nothing.
    assert!(try_open(&Options::new().read_only(true), &dead.path()).is_err());
    let recovered = open(&Options::new(), &dead.path());
    assert_eq!(recovered.counters().replayed_txns, 5);
    let reader = open(&Options::new().read_only(true), &dead.path());
    assert_eq!(get(&reader, 4), 800);
}

#[test]
fn opening_to_read_where_no_log_waits_is_no_error() {
    let (db, _) = logging();
    (0..5).for_each(|key| put(&db, key, 800).unwrap());
    db.checkpoint().unwrap();
    let dead = DeadStore::of(&db.path());
    let reader = open(&Options::new().read_only(true), &dead.path());
    assert!(now(&reader) == now(&db));
    assert!(matches!(reader.begin_write(), Err(Error::ReadOnly)));
    assert!(matches!(reader.checkpoint(), Err(Error::ReadOnly)));
    assert_clean(&reader);
    reader.close().unwrap();
}

#[test]
fn a_reader_that_ignores_the_log_sees_the_checkpoint_until_a_writer_has_replayed_it() {
    let (db, _) = logging();
    let checkpoint = now(&db);
    (0..50).for_each(|key| put(&db, key, 800).unwrap());
    let dead = DeadStore::of(&db.path());
    let reader = open(&Options::new().read_only(true).ignore_log(true), &dead.path());
    assert!(now(&reader) == checkpoint);
    assert_clean(&reader);
    let pinned = reader.begin_read().unwrap();
    // Another opening, as of another process.
    let writer = open(&Options::new(), &dead.path());
    assert_eq!(writer.counters().replayed_txns, 50);
    assert!(now(&writer) == now(&db));
    assert!(now(&reader) == now(&db));
    for round in 0..200 {
        put(&writer, round, 900).unwrap();
    }
    writer.checkpoint().unwrap();
    assert!(contents(&pinned) == checkpoint, "the old snapshot is what it was");
    assert!(now(&reader) == now(&writer));
    assert_clean(&reader);
    assert_clean(&writer);
}

#[test]
fn a_read_only_handle_beside_a_writer_needs_no_replay_and_sees_what_is_published() {
    let (db, _) = logging();
    put(&db, 1, 60).unwrap();
    let reader = open(&Options::new().read_only(true), &db.path());
    assert_eq!(get(&reader, 1), 60);
    let ticket = hand_over(&db, 1, 61);
    assert_eq!(get(&reader, 1), 60);
    ticket.wait().unwrap();
    assert_eq!(get(&reader, 1), 61);
    put_as(&db, Durability::Eventual, 1, 62).unwrap();
    assert_eq!(get(&reader, 1), 62);
}

// ---- tickets ----

#[test]
fn a_ticket_says_its_txn_and_when_it_is_done() {
    let (db, flushes) = logging();
    let mut w = db.begin_write().unwrap();
    w.put(NUMBERS, &1, &5).unwrap();
    let txn = w.txn_id();
    let ticket = w.commit_ticket().unwrap();
    assert_eq!(ticket.txn_id(), txn);
    assert!(!ticket.is_done());
    assert!(flushes.take().is_empty(), "nobody waits yet");
    ticket.wait().unwrap();
    assert_eq!(flushes.take().len(), 1);
    assert_eq!(db.begin_read().unwrap().txn_id(), txn);
}

#[test]
fn the_next_txn_builds_on_one_that_readers_do_not_see_yet() {
    let (db, _) = logging();
    let old = get(&db, 1);
    let first = hand_over(&db, 1, 1000);
    let mut w = db.begin_write().unwrap();
    assert_eq!(w.get(NUMBERS, &1).unwrap(), Some(1000));
    assert_eq!(get(&db, 1), old);
    w.put(NUMBERS, &2, &1001).unwrap();
    let second = w.commit_ticket().unwrap();
    assert_eq!([1, 2].map(|key| get(&db, key)), [old, 2]);
    assert!(!first.is_done() && !second.is_done());
    first.wait().unwrap();
    assert_eq!(get(&db, 1), 1000);
    second.wait().unwrap();
    assert_eq!([1, 2].map(|key| get(&db, key)), [1000, 1001]);
}

#[test]
fn waiting_for_the_last_ticket_is_waiting_for_all() {
    let (db, flushes) = logging();
    let mut tickets: Vec<Ticket> = (0..30).map(|key| hand_over(&db, key, 300)).collect();
    assert!(tickets.iter().all(|ticket| !ticket.is_done()));
    tickets.pop().unwrap().wait().unwrap();
    assert_eq!(flushes.take().len(), 1);
    assert!(tickets.iter().all(Ticket::is_done));
    assert!((0..30).all(|key| get(&db, key) == 300));
    tickets.into_iter().rev().for_each(|ticket| ticket.wait().unwrap());
    assert!(flushes.take().is_empty());
    assert_eq!(assert_survives(&db), 30);
}

#[test]
fn a_dropped_ticket_takes_nothing_back() {
    let (db, _) = logging();
    drop(hand_over(&db, 1, 400));
    assert_eq!(get(&db, 1), 1);
    put(&db, 2, 400).unwrap();
    assert_eq!([1, 2].map(|key| get(&db, key)), [400; 2]);
    drop(hand_over(&db, 3, 400));
    assert_eq!(assert_survives_with_unpublished(&db, 3), 400);
}

/// What was handed over is in the log, and so it is there after the death of the process.
fn assert_survives_with_unpublished(db: &TestDb, key: u64) -> u64 {
    get(&db.after_death(), key)
}

#[test]
fn tickets_can_be_waited_for_in_any_order_and_in_other_threads() {
    let (db, flushes) = logging();
    flushes.slow_down(Duration::from_millis(1));
    for round in 0..20 {
        let tickets: Vec<Ticket> = (0..10).map(|key| hand_over(&db, key, round * 100 + key)).collect();
        let waiting: Vec<_> =
            tickets.into_iter().rev().map(|ticket| thread::spawn(move || ticket.wait())).collect();
        waiting.into_iter().for_each(|thread| thread.join().unwrap().unwrap());
        assert!((0..10).all(|key| get(&db, key) == round * 100 + key));
    }
    assert_survives(&db);
}

#[test]
fn a_ticket_outlives_its_database_handle() {
    let (mut db, _) = logging();
    let ticket = hand_over(&db, 1, 450);
    db.close().unwrap();
    ticket.wait().unwrap();
    db.reopen();
    assert_eq!(db.counters().replayed_txns, 0, "it was the last handle");
    assert_eq!(get(&db, 1), 450);
}

#[test]
fn a_txn_that_changed_nothing_waits_for_what_it_has_read() {
    let (db, flushes) = logging();
    let idle = db.begin_write().unwrap().commit_ticket().unwrap();
    assert!(idle.is_done());
    idle.wait().unwrap();
    assert!(flushes.take().is_empty());
    let changed = hand_over(&db, 1, 450);
    let w = db.begin_write().unwrap();
    assert_eq!(w.get(NUMBERS, &1).unwrap(), Some(450));
    let unchanged = w.commit_ticket().unwrap();
    assert!(!unchanged.is_done());
    unchanged.wait().unwrap();
    assert!(changed.is_done());
    assert_eq!(get(&db, 1), 450);
    assert_eq!(flushes.take().len(), 1);
}

#[test]
fn an_eventual_commit_behind_a_durable_one_is_not_seen_before_that_is_on_the_disk() {
    let (db, flushes) = logging();
    let durable = hand_over(&db, 1, 450);
    put_as(&db, Durability::Eventual, 2, 450).unwrap();
    // Its commit has returned, so it is visible, and with it what it was built on.
    assert_eq!([1, 2].map(|key| get(&db, key)), [450; 2]);
    assert_eq!(flushes.take().len(), 1);
    assert!(durable.is_done());
}

#[test]
fn tickets_of_checkpoints_and_of_eventual_commits_are_done_at_once() {
    let (db, flushes) = logging();
    let mut w = db.begin_write().unwrap();
    w.set_durability(Durability::Ordered);
    w.put(NUMBERS, &1, &1).unwrap();
    let ordered = w.commit_ticket().unwrap();
    assert!(ordered.is_done());
    flushes.take();
    let mut w = db.begin_write().unwrap();
    w.set_durability(Durability::Eventual);
    w.put(NUMBERS, &1, &2).unwrap();
    let eventual = w.commit_ticket().unwrap();
    assert!(eventual.is_done());
    assert_eq!(get(&db, 1), 2);
    ordered.wait().unwrap();
    eventual.wait().unwrap();
    assert!(flushes.take().is_empty());
}

#[test]
fn tickets_across_many_rounds_of_the_log_are_all_kept() {
    let (db, _) = logging_with(Options::new().log_limit(0));
    let mut tickets = std::collections::VecDeque::new();
    for round in 0..2000u64 {
        let mut w = db.begin_write().unwrap();
        w.put(BLOBS, &(round % 30), &vec![round as u8; 900]).unwrap();
        w.put(NUMBERS, &0, &round).unwrap();
        tickets.push_back(w.commit_ticket().unwrap());
        if tickets.len() > 7 {
            let oldest: Ticket = tickets.pop_front().unwrap();
            oldest.wait().unwrap();
            assert!(get(&db, 0) >= round - 7);
        }
    }
    assert!(db.counters().log_full_checkpoints > 2);
    tickets.into_iter().for_each(|ticket| ticket.wait().unwrap());
    assert_eq!(get(&db, 0), 1999);
    assert_survives(&db);
}

// ---- group commit ----

#[test]
fn threads_that_commit_at_once_share_flushes() {
    let (db, flushes) = logging();
    flushes.slow_down(Duration::from_millis(3));
    let before = db.counters();
    thread::scope(|scope| {
        for thread in 0..8 {
            let db = &db;
            scope.spawn(move || {
                (0..25).for_each(|i| {
                    put(db, thread * 25 + i, 5000 + i).unwrap();
                    assert_eq!(get(db, thread * 25 + i), 5000 + i, "seen by who committed it");
                })
            });
        }
    });
    let grown = since(&db, before);
    assert_eq!(grown(|c| c.commits), 200);
    assert!(grown(|c| c.log_flushes) < 150, "{} flushes of 200 commits", grown(|c| c.log_flushes));
    assert!((0..200).all(|key| get(&db, key) == 5000 + key % 25));
    assert_survives(&db);
}

#[test]
fn commits_of_all_levels_at_once_are_all_there() {
    let (db, flushes) = logging_with(Options::new().log_limit(0).held_limit(512 << 10));
    flushes.slow_down(Duration::from_micros(300));
    let levels = [Durability::Durable, Durability::Ordered, Durability::Eventual, Durability::Durable];
    let readers_end = AtomicBool::new(false);
    thread::scope(|scope| {
        let db: &Database = &db;
        let reader = scope.spawn(|| check_counts_until(db, &readers_end));
        let writers: Vec<_> = (0..8usize)
            .map(|thread| scope.spawn(move || (0..40).for_each(|_| count_up(db, levels[thread % 4], thread))))
            .collect();
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        readers_end.store(true, Ordering::SeqCst);
        reader.join().unwrap();
    });
    assert_eq!(db.begin_read().unwrap().get(NUMBERS, &TOTAL).unwrap(), Some(320));
    assert_survives(&db);
}

const TOTAL: u64 = 1_000_000;

/// Adds one to the number of the thread and to the total of all, with ballast now and then.
fn count_up(db: &Database, durability: Durability, thread: usize) {
    db.write(|w| {
        w.set_durability(durability);
        let own = TOTAL + 1 + thread as u64;
        let (total, count) = (w.get(NUMBERS, &TOTAL)?.unwrap_or(0), w.get(NUMBERS, &own)?.unwrap_or(0));
        w.put(NUMBERS, &TOTAL, &(total + 1))?;
        w.put(NUMBERS, &own, &(count + 1))?;
        w.put(BLOBS, &(total % 50), &vec![total as u8; 100 + (total * 37 % 3000) as usize]).map(drop)
    })
    .unwrap();
}

/// In every snapshot the total is the sum, and it never falls.
fn check_counts_until(db: &Database, end: &AtomicBool) {
    let mut newest = 0;
    while !end.load(Ordering::SeqCst) {
        let r = db.begin_read().unwrap();
        let total = r.get(NUMBERS, &TOTAL).unwrap().unwrap_or(0);
        let sum: u64 = r.range(NUMBERS, TOTAL + 1..).unwrap().map(|entry| entry.unwrap().1).sum();
        assert_eq!(total, sum);
        assert!(total >= newest, "{total} after {newest}");
        newest = total;
    }
}

/// Adds one to the number at `key`, in a txn shared with other threads.
fn batch_one(db: &Database, key: u64) -> Result<u64> {
    db.batch(|w| {
        let count = w.get(NUMBERS, &key)?.unwrap_or(0) + 1;
        w.put(NUMBERS, &key, &count)?;
        Ok(count)
    })
}

#[test]
fn updates_of_many_threads_share_txns() {
    let (db, flushes) = logging();
    flushes.slow_down(Duration::from_millis(3));
    let before = db.counters();
    thread::scope(|scope| {
        for thread in 0..8 {
            let db = &db;
            scope.spawn(move || {
                for i in 1..=25 {
                    assert_eq!(batch_one(db, TOTAL + thread).unwrap(), i);
                    assert_eq!(get(db, TOTAL + thread), i, "seen by who committed it");
                    batch_one(db, TOTAL - 1).unwrap();
                }
            });
        }
    });
    let grown = since(&db, before);
    assert!(grown(|c| c.commits) < 300, "{} txns for 400 updates", grown(|c| c.commits));
    assert_eq!(get(&db, TOTAL - 1), 200);
    assert_survives(&db);
}

#[test]
fn updates_that_fail_or_panic_are_no_concern_of_those_that_share_their_txn() {
    let (db, flushes) = logging();
    flushes.slow_down(Duration::from_millis(1));
    thread::scope(|scope| {
        for thread in 0..9 {
            let db = &db;
            scope.spawn(move || (0..20).for_each(|_| batch_in_mood(db, thread)));
        }
    });
    let r = db.begin_read().unwrap();
    let counts: Vec<u64> = r.range(NUMBERS, TOTAL..).unwrap().map(|entry| entry.unwrap().1).collect();
    assert_eq!(counts, [20; 3], "those of the others are not there");
    assert!(r.raw_table("words").unwrap().is_none());
    drop(r);
    assert_survives(&db);
}

/// Of three threads one succeeds, one fails and one panics.
fn batch_in_mood(db: &Database, thread: u64) {
    let update = |w: &mut WriteTxn| -> Result<()> {
        let count = w.get(NUMBERS, &(TOTAL + thread))?.unwrap_or(0);
        w.put(NUMBERS, &(TOTAL + thread), &(count + 1))?;
        match thread % 3 {
            0 => return Ok(()),
            1 => w.put(WORDS, "failed", b"")?,
            _ => panic!("of the user's own"),
        };
        Err(Error::Poisoned)
    };
    let outcome = catch_unwind(AssertUnwindSafe(|| db.batch(update)));
    match thread % 3 {
        0 => outcome.unwrap().unwrap(),
        1 => assert!(matches!(outcome, Ok(Err(Error::Poisoned)))),
        _ => assert!(outcome.is_err()),
    }
}

#[test]
fn shared_txns_beside_failing_flushes_lose_nothing_that_was_acknowledged() {
    let (db, flushes) = logging();
    flushes.slow_down(Duration::from_micros(500));
    thread::scope(|scope| {
        for thread in 0..6 {
            let db = &db;
            scope.spawn(move || {
                // Each failed update is not there; so the number is that of the acknowledged ones.
                let done = (0..60).filter(|_| batch_one(db, TOTAL + thread).is_ok()).count() as u64;
                let found = db.begin_read().unwrap().get(NUMBERS, &(TOTAL + thread)).unwrap().unwrap_or(0);
                assert_eq!(found, done);
            });
        }
        for _ in 0..12 {
            thread::sleep(Duration::from_millis(5));
            flushes.fail(1, 1);
        }
    });
    flushes.fail(0, 0);
    put(&db, 0, 1).unwrap();
    assert_survives(&db);
}

#[test]
fn the_next_txns_are_built_and_appended_while_a_flush_runs() {
    let (db, flushes) = logging();
    flushes.close_gate();
    thread::scope(|scope| {
        let first = scope.spawn(|| put(&db, 1, 600));
        flushes.wait_for_flush();
        let tickets: Vec<Ticket> = (2..12).map(|key| hand_over(&db, key, 600)).collect();
        assert_eq!(get(&db, 1), 1, "not on the disk, not seen");
        put_while_blocked(&db, &flushes);
        first.join().unwrap().unwrap();
        tickets.into_iter().for_each(|ticket| ticket.wait().unwrap());
    });
    let flushed = flushes.take();
    assert_eq!(flushed.len(), 2, "{flushed:?}");
    assert_eq!(flushed[0].end, flushed[1].start, "the second flush begins where the first ended");
    assert!((1..12).all(|key| get(&db, key) == 600));
    assert_survives(&db);
}

/// An undone txn and a try for the turn, which do not wait for the flush either; then the gate opens.
fn put_while_blocked(db: &Database, flushes: &Flushes) {
    let mut w = db.try_begin_write().unwrap().expect("the turn is free while a flush runs");
    w.put(NUMBERS, &1, &0).unwrap();
    w.abort();
    flushes.open_gate();
}

// ---- failing flushes ----

#[test]
fn a_failed_flush_of_the_log_fails_its_commit_and_the_next_one_works() {
    let (db, flushes) = logging();
    put(&db, 1, 10).unwrap();
    let before = now(&db);
    let pinned = db.begin_read().unwrap();
    for round in 0..5 {
        flushes.fail(0, 1);
        assert_eio(put(&db, 1, 666));
        assert!(now(&db) == if round == 0 { before.clone() } else { now(&db) });
        assert_ne!(get(&db, 1), 666);
        put(&db, 2, 20 + round).unwrap();
        assert_ne!(get(&db, 1), 666, "it does not come back");
        assert_eq!(get(&db, 2), 20 + round);
        assert_clean(&db);
        assert_survives(&db);
    }
    assert!(contents(&pinned) == before);
    assert_eq!(db.counters().failed_flushes, 5);
    assert_eq!(db.counters().recoveries, 6, "the opening is one, too");
}

/// The recovery begins with the space as of the checkpoint, where pages are free, or about to be, that readers see
/// by now.
#[test]
fn snapshots_stay_whole_across_failures_however_the_space_was_used_before() {
    for commits in [1, 3, 8, 21] {
        let flushes = Arc::new(Flushes::default());
        let db = TestDb::with(Options::new().observer(flushes.clone()));
        db.write(|w| (0..2000).try_for_each(|key| w.put(NUMBERS, &key, &key).map(drop))).unwrap();
        (0..5).for_each(|key| put(&db, key, 1).unwrap());
        db.checkpoint().unwrap();
        let mut pinned = Vec::new();
        for round in 0..4 {
            for i in 0..commits {
                put(&db, (i * 331 + round * 17) % 2000, 10_000 + i).unwrap();
                let r = db.begin_read().unwrap();
                pinned.push((contents(&r), r));
            }
            flushes.fail(0, 1);
            assert_eio(put(&db, round, 666));
            assert!(pinned.iter().all(|(expected, r)| contents(r) == *expected));
            flushes.fail(0, round as usize % 3);
            while put(&db, 5, round).is_err() {
                assert!(pinned.iter().all(|(expected, r)| contents(r) == *expected));
                assert!(now(&db) == pinned.last().unwrap().0);
            }
            assert!(pinned.iter().all(|(expected, r)| contents(r) == *expected));
            pinned.drain(..pinned.len() * 2 / 3);
        }
        assert_survives(&db);
    }
}

#[test]
fn a_store_that_is_closed_after_a_failed_commit_opens_without_it() {
    for closes in [true, false] {
        let (mut db, flushes) = logging();
        put(&db, 1, 10).unwrap();
        put_as(&db, Durability::Eventual, 2, 10).unwrap();
        flushes.fail(0, 1);
        assert_eio(put(&db, 1, 666));
        if closes {
            db.close().unwrap();
        }
        db.reopen();
        assert_eq!([1, 2].map(|key| get(&db, key)), [10; 2], "closed: {closes}");
    }
}

#[test]
fn a_failed_flush_fails_every_txn_that_was_not_on_the_disk() {
    let (db, flushes) = logging();
    let durable = hand_over(&db, 1, 700);
    hand_over(&db, 2, 700).wait().unwrap();
    let before = now(&db);
    let mut lost: Vec<Ticket> = (3..9).map(|key| hand_over(&db, key, 700)).collect();
    let mut open = db.begin_write().unwrap();
    open.put(NUMBERS, &20, &700).unwrap();
    flushes.fail(0, 1);
    assert_eio(lost.remove(3).wait());
    assert!(lost.iter().all(Ticket::is_done));
    lost.into_iter().for_each(|ticket| assert_eio(ticket.wait()));
    durable.wait().unwrap();
    assert_eio(open.commit());
    assert!(now(&db) == before);
    put(&db, 30, 701).unwrap();
    assert_eq!([1, 2, 3, 8, 20, 30].map(|key| get(&db, key)), [700, 700, 3, 8, 20, 701]);
    assert_survives(&db);
}

#[test]
fn a_txn_that_changed_nothing_fails_with_what_it_has_read() {
    let (db, flushes) = logging();
    let lost = hand_over(&db, 1, 700);
    let w = db.begin_write().unwrap();
    assert_eq!(w.get(NUMBERS, &1).unwrap(), Some(700));
    let unchanged = w.commit_ticket().unwrap();
    flushes.fail(0, 1);
    assert_eio(unchanged.wait());
    assert_eio(lost.wait());
}

#[test]
fn a_failure_of_tickets_is_told_to_their_owners_however_late_they_ask() {
    let (db, flushes) = logging();
    let kept = hand_over(&db, 1, 800);
    hand_over(&db, 1, 801).wait().unwrap();
    let lost = hand_over(&db, 2, 800);
    flushes.fail(0, 1);
    assert_eio(put(&db, 3, 800));
    for round in 0..10 {
        put(&db, 4, round).unwrap();
        flushes.fail(0, 1);
        assert_eio(put(&db, 3, 800));
    }
    db.checkpoint().unwrap();
    assert_eio(lost.wait());
    kept.wait().unwrap();
    assert_eq!([1, 2, 3, 4].map(|key| get(&db, key)), [801, 2, 3, 9]);
}

#[test]
fn all_threads_that_share_a_failed_flush_fail() {
    let (db, flushes) = logging();
    flushes.close_gate();
    flushes.fail(0, 1);
    thread::scope(|scope| {
        let leader = scope.spawn(|| put(&db, 1, 900));
        flushes.wait_for_flush();
        // Behind it in the log: they would have been flushed by the next, but are built on what failed.
        let followers: Vec<_> = (2..8).map(|key| hand_over(&db, key, 900)).collect();
        let followers: Vec<_> =
            followers.into_iter().map(|ticket| scope.spawn(move || ticket.wait())).collect();
        flushes.open_gate();
        assert_eio(leader.join().unwrap());
        followers.into_iter().for_each(|follower| assert_eio(follower.join().unwrap()));
    });
    assert!((1..8).all(|key| get(&db, key) == key));
    put(&db, 9, 901).unwrap();
    assert!((1..8).all(|key| get(&db, key) == key));
    assert_survives(&db);
}

#[test]
fn a_failed_flush_of_a_checkpoint_fails_it_and_what_was_not_on_the_disk() {
    for spared in 0..2 {
        let (db, flushes) = logging();
        put(&db, 1, 30).unwrap();
        put_as(&db, Durability::Eventual, 2, 30).unwrap();
        let before = now(&db);
        let ticket = hand_over(&db, 3, 30);
        flushes.fail(spared, 1);
        assert_eio(put_as(&db, Durability::Ordered, 4, 30));
        assert_eio(ticket.wait());
        assert!(now(&db) == before, "the data: {}", spared == 0);
        put(&db, 5, 30).unwrap();
        assert_eq!([1, 2, 3, 4, 5].map(|key| get(&db, key)), [30, 30, 3, 4, 30]);
        assert_clean(&db);
        assert_survives(&db);
    }
}

#[test]
fn a_failed_checkpoint_that_was_asked_for_loses_nothing_that_was_acknowledged() {
    for spared in 0..2 {
        let (db, flushes) = logging();
        (0..10).for_each(|key| put(&db, key, 30).unwrap());
        put_as(&db, Durability::Eventual, 10, 30).unwrap();
        let before = now(&db);
        flushes.fail(spared, 1);
        assert_eio(db.checkpoint());
        assert!(now(&db) == before);
        assert!(now(&db.after_death()) == before);
        db.checkpoint().unwrap();
        assert!(now(&db) == before);
        assert_eq!(assert_survives(&db), 0);
    }
}

#[test]
fn eventual_commits_that_were_seen_stay_when_a_later_flush_fails() {
    let (db, flushes) = logging();
    (0..20).for_each(|key| put_as(&db, Durability::Eventual, key, 40).unwrap());
    let before = now(&db);
    flushes.fail(0, 1);
    assert_eio(put(&db, 30, 40));
    assert!(now(&db) == before);
    put_as(&db, Durability::Eventual, 31, 40).unwrap();
    assert!((0..20).all(|key| get(&db, key) == 40));
    assert_eq!([30, 31].map(|key| get(&db, key)), [30, 40]);
    assert_survives(&db);
}

#[test]
fn an_eventual_commit_behind_a_durable_one_fails_with_it() {
    let (db, flushes) = logging();
    let durable = hand_over(&db, 1, 450);
    flushes.fail(0, 1);
    assert_eio(put_as(&db, Durability::Eventual, 2, 450));
    assert_eio(durable.wait());
    assert_eq!([1, 2].map(|key| get(&db, key)), [1, 2]);
    put_as(&db, Durability::Eventual, 3, 450).unwrap();
    assert_eq!([1, 2, 3].map(|key| get(&db, key)), [1, 2, 450]);
    assert_survives(&db);
}

#[test]
fn while_flushes_fail_for_long_reading_goes_on_and_afterwards_everything() {
    let (db, flushes) = logging();
    (0..10).for_each(|key| put(&db, key, 50).unwrap());
    put_as(&db, Durability::Eventual, 10, 50).unwrap();
    let before = now(&db);
    let pinned = db.begin_read().unwrap();
    flushes.fail(0, usize::MAX);
    for round in 0..10 {
        let level = [Durability::Durable, Durability::Ordered, Durability::Eventual][round % 3];
        assert_eio(put_as(&db, level, 11, 50));
        assert_eio(db.checkpoint());
        assert!(now(&db) == before);
        assert_dies_with(&db, &before, &[11, 12]);
    }
    flushes.fail(0, 0);
    put(&db, 12, 51).unwrap();
    assert_eq!([9, 10, 11, 12].map(|key| get(&db, key)), [50, 50, 11, 51]);
    assert!(contents(&pinned) == before);
    assert_survives(&db);
}

/// The recovery behind a failure flushes several times; each of these may fail as well, once or for a while.
#[test]
fn a_recovery_may_fail_at_each_of_its_flushes() {
    for spared in 0..6 {
        for failing in 1..4 {
            let (db, flushes) = logging();
            (0..10).for_each(|key| put(&db, key, 60).unwrap());
            put_as(&db, Durability::Eventual, 10, 60).unwrap();
            let before = now(&db);
            flushes.fail(0, 1);
            assert_eio(put(&db, 11, 60));
            flushes.fail(spared, failing);
            let mut attempts = 0;
            while put(&db, 12, 61).is_err() {
                assert!(now(&db) == before, "spared {spared}, failing {failing}");
                assert_dies_with(&db, &before, &[11, 12]);
                attempts += 1;
                assert!(attempts < 10);
            }
            flushes.fail(0, 0);
            assert_eq!([9, 10, 11, 12].map(|key| get(&db, key)), [60, 60, 11, 61]);
            assert_clean(&db);
            assert_survives(&db);
        }
    }
}

#[test]
fn opening_may_fail_at_each_of_its_flushes_and_loses_nothing() {
    let (db, _) = logging();
    (0..10).for_each(|key| put(&db, key, 60).unwrap());
    let dead = DeadStore::of(&db.path());
    let mut failed = 0;
    for spared in 0.. {
        let flushes = Arc::new(Flushes::default());
        flushes.fail(spared, 1);
        let opened = try_open(&Options::new().observer(flushes.clone()), &dead.path());
        if flushes.failures_left() > 0 {
            let opened = opened.unwrap();
            assert!(now(&opened) == now(&db));
            assert_clean(&opened);
            break;
        }
        assert_eio(opened);
        failed += 1;
    }
    assert!(failed >= 2, "{failed} flushes");
}

/// The same sequence again and again, with another flush failing each time, in the middle of tickets and
/// levels of all kinds: what was acknowledged is there, what failed is not, in memory and on the disk.
#[test]
fn each_flush_of_a_sequence_may_fail() {
    for spared in 0.. {
        let (db, flushes) = logging_with(Options::new().log_limit(0));
        flushes.fail(spared, 1);
        let mut model = vec![0; 12];
        for round in 1..=8 {
            sequence(&db, round, &mut model);
            let found: Vec<u64> = (0..12).map(|key| get(&db, 100_000 + key)).collect();
            assert_eq!(found, model, "flush {spared} fails, round {round}");
        }
        // Behind this, nothing of a failed commit is left.
        put(&db, 1, spared as u64).unwrap_or_else(|_| put(&db, 1, spared as u64).unwrap());
        assert_clean(&db);
        assert_survives(&db);
        if flushes.failures_left() > 0 {
            assert!(spared > 15, "{spared} flushes");
            return;
        }
    }
}

/// Commits of several kinds; the model gets what was acknowledged.
fn sequence(db: &Database, round: u64, model: &mut [u64]) {
    let at = |i: u64| 100_000 + (round * 5 + i) % 12;
    let mut tickets = Vec::new();
    for i in 0..3 {
        if let Ok(ticket) = try_hand_over(db, at(i), round * 10 + i) {
            tickets.push((i, ticket));
        }
    }
    if round == 1 {
        model.fill(1);
        tickets.drain(..).for_each(|(_, ticket)| drop(ticket.wait()));
        let fill =
            || db.write(|w| (0..12).try_for_each(|key| w.put(NUMBERS, &(100_000 + key), &1).map(drop)));
        return (0..3).find(|_| fill().is_ok()).map(drop).expect("one flush fails");
    }
    for (i, ticket) in tickets {
        if ticket.wait().is_ok() {
            model[(at(i) - 100_000) as usize] = round * 10 + i;
        }
    }
    let levels = [Durability::Eventual, Durability::Ordered, Durability::Durable];
    for (i, level) in (3..).zip(levels) {
        if put_as(db, level, at(i), round * 10 + i).is_ok() {
            model[(at(i) - 100_000) as usize] = round * 10 + i;
        }
    }
    if round.is_multiple_of(3) {
        let _ = db.checkpoint();
    }
}

fn try_hand_over(db: &Database, key: u64, value: u64) -> Result<Ticket> {
    let mut w = db.begin_write()?;
    w.put(NUMBERS, &key, &value)?;
    w.commit_ticket()
}

/// Threads that commit while flushes fail at random: of each thread's own number the last acknowledged
/// value is there, or a later one that it tried.
#[test]
fn threads_go_on_beside_failing_flushes() {
    let (db, flushes) = logging();
    flushes.slow_down(Duration::from_micros(500));
    let failures = AtomicU64::new(0);
    thread::scope(|scope| {
        for thread in 0..6 {
            let (db, failures) = (&db, &failures);
            scope.spawn(move || count_beside_failures(db, 50_000 + thread, failures));
        }
        for _ in 0..10 {
            thread::sleep(Duration::from_millis(5));
            flushes.fail(1, 1);
        }
    });
    flushes.fail(0, 0);
    assert!(failures.load(Ordering::SeqCst) > 0);
    put(&db, 0, 1).unwrap();
    assert_survives(&db);
}

fn count_beside_failures(db: &Database, key: u64, failures: &AtomicU64) {
    let mut acknowledged = 0;
    for value in 1..=30 {
        match put(db, key, value) {
            Ok(()) => acknowledged = value,
            Err(_) => drop(failures.fetch_add(1, Ordering::SeqCst)),
        }
        let found = db.begin_read().unwrap().get(NUMBERS, &key).unwrap().unwrap_or(0);
        assert_eq!(found, acknowledged, "after the try of {value}");
    }
}

// ---- panics and quotas ----

#[test]
fn a_panic_within_a_txn_leaves_nothing_of_it_in_the_log() {
    let (db, _) = logging();
    let ticket = hand_over(&db, 1, 80);
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        db.write(|w| -> Result<()> {
            w.put(NUMBERS, &2, &80)?;
            w.put(WORDS, "new", b"table")?;
            panic!("of the user's own")
        })
    }));
    assert!(panicked.is_err());
    put(&db, 3, 80).unwrap();
    ticket.wait().unwrap();
    assert_eq!([1, 2, 3].map(|key| get(&db, key)), [80, 2, 80]);
    assert!(db.begin_read().unwrap().raw_table("words").unwrap().is_none());
    assert_eq!(assert_survives(&db), 2);
}

#[test]
fn an_aborted_txn_leaves_nothing_in_the_log() {
    let (db, _) = logging();
    put(&db, 1, 80).unwrap();
    let mut w = db.begin_write().unwrap();
    w.put(NUMBERS, &2, &80).unwrap();
    w.abort();
    put(&db, 3, 80).unwrap();
    assert_eq!([1, 2, 3].map(|key| get(&db, key)), [80, 2, 80]);
    assert_eq!(assert_survives(&db), 2);
}

#[test]
fn a_quota_holds_for_logged_commits_and_for_replaying_them() {
    let quota = 2 << 20;
    let (db, _) = logging_with(Options::new().max_size(quota));
    // In txns of twenty first, then one by one.
    let fill = |keys: std::ops::Range<u64>| {
        db.write(|w| keys.clone().try_for_each(|key| w.put(BLOBS, &key, &[3; 1800]).map(drop)))
    };
    let twenties = (0..100).find(|i| fill(i * 20..i * 20 + 20).is_err()).unwrap() * 20;
    let full = (twenties..).find_map(|key| fill(key..key + 1).err());
    assert!(matches!(full, Some(Error::Full { .. })), "{full:?}");
    assert!(db.file_len() <= quota);
    assert!(twenties > 400, "{twenties}");
    assert_survives(&db);
    // Space is freed and used again.
    (0..40).for_each(|key| assert!(db.write(|w| w.delete(BLOBS, &key)).unwrap()));
    (0..20).for_each(|key| fill(5000 + key..5001 + key).unwrap());
    assert!(db.file_len() <= quota);
    assert_survives(&db);
}

// ---- what is replayed ----

#[test]
fn tables_that_come_go_and_change_their_names_are_replayed() {
    let (db, _) = logging();
    let txns: [fn(&mut WriteTxn) -> Result<()>; 9] = [
        |w| w.put(WORDS, "a", b"1").map(drop),
        |w| w.rename_table("words", "renamed"),
        |w| w.raw_put("renamed", b"b", b"2").map(drop),
        |w| w.put(WORDS, "c", b"the name is free again").map(drop),
        |w| {
            w.create_table("short-lived", &Schema::bytes())?;
            w.raw_put("short-lived", b"x", b"y")?;
            w.drop_table("short-lived").map(drop)
        },
        |w| {
            w.rename_table("words", "")?;
            w.rename_table("renamed", "words")?;
            w.raw_put("", b"d", b"in the table without a name").map(drop)
        },
        |w| {
            w.drop_table("numbers")?;
            w.put(NUMBERS, &3, &33).map(drop)
        },
        |w| w.create_table("empty", &Schema::bytes()),
        |w| {
            w.rename_table("empty", "a")?;
            w.rename_table("a", "b")?;
            w.raw_put("b", b"k", b"v")?;
            w.rename_table("b", "c").map(drop)
        },
    ];
    for (i, txn) in txns.into_iter().enumerate() {
        db.write(txn).unwrap();
        assert_eq!(assert_survives(&db), i as u64 + 1);
    }
}

fn set_user_version(db: &Database, version: u64) {
    let mut w = db.begin_write().unwrap();
    w.set_user_version(version);
    w.commit().unwrap();
}

#[test]
fn savepoints_and_the_user_version_are_replayed_as_they_ended() {
    let (db, _) = logging();
    db.write(|w| {
        w.set_user_version(5);
        w.put(WORDS, "kept", b"1")?;
        let savepoint = w.savepoint();
        w.put(WORDS, "kept", b"2")?;
        w.put(WORDS, "undone", b"2")?;
        w.put(BLOBS, &1, b"a table that is undone")?;
        w.set_user_version(6);
        w.rollback_to(savepoint)?;
        w.put(WORDS, "after", b"3").map(drop)
    })
    .unwrap();
    assert_eq!(assert_survives(&db), 1);
    let r = db.begin_read().unwrap();
    assert_eq!((r.user_version(), r.len(WORDS).unwrap()), (5, 2));
    drop(r);
    db.write(|w| {
        let savepoint = w.savepoint();
        w.set_user_version(7);
        w.rollback_to(savepoint)
    })
    .unwrap();
    set_user_version(&db, u64::MAX);
    assert_survives(&db);
    set_user_version(&db, 0);
    assert_survives(&db);
}

#[test]
fn a_savepoint_in_a_txn_too_large_for_the_log_can_be_rolled_back() {
    let (db, _) = logging_with(Options::new().log_limit(0));
    db.write(|w| {
        w.put(WORDS, "kept", b"1")?;
        let savepoint = w.savepoint();
        (0..2000).try_for_each(|key| w.put(BLOBS, &key, &[1; 1000]).map(drop))?;
        w.rollback_to(savepoint)?;
        w.put(WORDS, "after", b"3").map(drop)
    })
    .unwrap();
    let r = db.begin_read().unwrap();
    assert_eq!((r.len(WORDS).unwrap(), r.len(BLOBS).unwrap()), (2, 0));
    assert_survives(&db);
}

#[test]
fn puts_and_deletes_that_change_nothing_are_replayed_as_such() {
    let (db, _) = logging();
    db.write(|w| {
        assert!(!w.put_new(NUMBERS, &1, &99)?);
        assert!(w.put_new(NUMBERS, &1_000_000, &99)?);
        assert!(!w.delete(NUMBERS, &2_000_000)?);
        assert!(w.delete(NUMBERS, &2)?);
        w.put(NUMBERS, &2, &22)?;
        w.put(NUMBERS, &4, &44)?;
        w.delete(NUMBERS, &4)
    })
    .unwrap();
    assert_eq!(get(&db, 1), 1);
    assert_eq!(assert_survives(&db), 1);
    // Entries of an earlier txn in the log, and of the checkpoint.
    db.write(|w| (0..100).try_for_each(|key| w.delete(NUMBERS, &key).map(drop))).unwrap();
    db.write(|w| (50..70).try_for_each(|key| w.put(NUMBERS, &key, &1).map(drop))).unwrap();
    db.write(|w| (60..2000).step_by(3).try_for_each(|key| w.delete(NUMBERS, &key).map(drop))).unwrap();
    assert_survives(&db);
}

/// Sixteen-byte aligned.
#[derive(Debug, Clone, Copy, PartialEq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C, align(16))]
struct Block([u64; 8]);

const BLOCKS: Table<u64, Pod<Block>> = Table::new("blocks");
const UNITS: Table<u64, ()> = Table::new("units");
const ALIGNED: &str = "aligned";

fn aligned_schema() -> Schema {
    let mut schema = Schema::bytes();
    schema.value_align = 16;
    schema
}

#[test]
fn tables_of_every_layout_are_replayed_at_every_page_size() {
    for page_size in [4096, 8192, 16384, 32768, 65536] {
        let (db, _) = logging_with(Options::new().page_size(page_size));
        db.write(|w| w.create_table(ALIGNED, &aligned_schema())).unwrap();
        for round in 0..6 {
            db.write(|w| put_every_layout(w, round, page_size)).unwrap();
            assert_survives(&db);
        }
        assert!(db.counters().logged_commits > 2, "{:?}", db.counters());
        let copy = db.after_death();
        let r = copy.begin_read().unwrap();
        assert_eq!(r.get(BLOCKS, &7).unwrap(), Some(&Block([7; 8])));
        let aligned = r.raw_table(ALIGNED).unwrap().unwrap();
        let is_aligned = |value: &[u8]| value.is_empty() || (value.as_ptr() as usize).is_multiple_of(16);
        assert!(aligned.iter().all(|entry| is_aligned(entry.unwrap().1)));
    }
}

fn put_every_layout(w: &mut WriteTxn, round: u64, page_size: usize) -> Result<()> {
    for i in 0..40 {
        let key = round * 40 + i;
        w.put(NUMBERS, &(key * 7919), &key)?;
        w.put(UNITS, &key, &())?;
        w.put(BLOCKS, &key, &Block([key; 8]))?;
        w.raw_put(ALIGNED, &key.to_be_bytes()[..(1 + i % 8) as usize], &vec![key as u8; i as usize * 5])?;
        w.delete(UNITS, &(key / 2))?;
    }
    // From what fits beside others to what gets pages of its own.
    for part in [2, 3, 4, 8] {
        let len = (page_size / part).saturating_sub(16 + round as usize * 4);
        w.raw_put(ALIGNED, &[round as u8, part as u8], &vec![part as u8; len.min(12_000)])?;
    }
    Ok(())
}

#[test]
fn keys_and_values_near_their_limits_are_replayed() {
    for page_size in [4096, 16384, 65536] {
        let (db, _) = logging_with(Options::new().page_size(page_size));
        let longest = vec![b'k'; db.max_key_len()];
        for len in [0, 1, page_size / 2 - 40, page_size / 2, page_size - 1, page_size, page_size + 1] {
            db.write(|w| {
                w.put(WORDS, "", &vec![1; len])?;
                w.put(BLOBS, &(len as u64), &vec![2; len])
            })
            .unwrap();
            assert_survives(&db);
        }
        db.write(|w| w.create_table("keys", &Schema::bytes())).unwrap();
        for len in [0, 1, longest.len() / 2, longest.len() - 1, longest.len()] {
            db.write(|w| w.raw_put("keys", &longest[..len], b"value")).unwrap();
            assert_survives(&db);
        }
        db.write(|w| {
            (0..longest.len()).step_by(7).try_for_each(|len| w.raw_delete("keys", &longest[..len]).map(drop))
        })
        .unwrap();
        assert_survives(&db);
    }
}

#[test]
fn large_values_stay_right_when_logged_txns_replace_and_delete_them() {
    let (db, _) = logging();
    db.write(|w| (0..40).try_for_each(|key| w.put(BLOBS, &key, &vec![key as u8; 20_000]).map(drop))).unwrap();
    let before = db.counters();
    for key in 0..40u64 {
        db.write(|w| match key % 3 {
            0 => w.delete(BLOBS, &key),
            1 => w.put(BLOBS, &key, b"small now"),
            _ => w.put(BLOBS, &(key + 100), &[5; 50]),
        })
        .unwrap();
        if key % 8 == 0 {
            assert_survives(&db);
        }
    }
    assert!(since(&db, before)(|c| c.logged_commits) > 30, "{:?}", db.counters());
    assert_survives(&db);
}

#[test]
fn a_log_of_many_txns_over_many_leaves_is_replayed() {
    let (db, _) = logging();
    db.write(|w| (0..20_000).try_for_each(|key| w.put(NUMBERS, &(key * 2), &key).map(drop))).unwrap();
    for round in 0..150u64 {
        db.write(|w| {
            (0..30).try_for_each(|i| {
                let key = (round * 30 + i) * 7919 % 40_000;
                if i % 5 == 0 {
                    w.delete(NUMBERS, &key).map(drop)
                } else {
                    w.put(NUMBERS, &key, &round).map(drop)
                }
            })
        })
        .unwrap();
    }
    let replayed = assert_survives(&db);
    assert!(replayed > 20, "{replayed} txns, {:?}", db.counters());
}

#[test]
fn a_deadline_for_the_turn_is_kept_while_a_ticket_is_out() {
    let (db, _) = logging();
    let ticket = hand_over(&db, 1, 5);
    let w = db.begin_write_deadline(Instant::now() + Duration::from_secs(20)).unwrap();
    assert_eq!(w.expect("a ticket does not keep the turn").get(NUMBERS, &1).unwrap(), Some(5));
    ticket.wait().unwrap();
}

#[test]
fn closing_beside_a_reader_flushes_and_publishes_what_nobody_waited_for() {
    let (mut db, _) = logging();
    let reader = common::open(&Options::new().read_only(true), &db.path());
    drop(hand_over(&db, 1, 77));
    put_as(&db, Durability::Eventual, 2, 78).unwrap();
    drop(hand_over(&db, 1, 79));
    db.close().unwrap();
    let r = reader.begin_read().unwrap();
    assert_eq!([1, 2].map(|key| r.get(NUMBERS, &key).unwrap()), [Some(79), Some(78)]);
}

//! Backups: what is restored is what was there, a chain that is not whole is refused, and whatever happens
//! the backup before stays.

#![allow(unsafe_code)]

mod common;

use common::{TestDb, assert_clean, open};
use mapleaf::{
    BackupInfo, BackupReport, Database, Durability, Error, MultiTable, Options, ReadTxn, Restore, Table,
    WriteTxn,
};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tempfile::TempDir;

const NUMBERS: Table<u64, u64> = Table::new("numbers");
const BLOBS: Table<u64, [u8]> = Table::new("blobs");
const TAGS: MultiTable<u64, [u8]> = MultiTable::new("tags");

/// Pages at the beginning of a store of 4 KiB pages that are no pages.
const META_PAGES: u64 = 2;

type Pairs = BTreeSet<(Vec<u8>, Vec<u8>)>;
/// What is in a state: every pair of every table, and the user version.
type All = (BTreeMap<String, Pairs>, u64);

fn all(txn: &ReadTxn) -> All {
    let owned = |(key, value): (&[u8], &[u8])| (key.to_vec(), value.to_vec());
    let pairs = |name: &str, multi: bool| -> Pairs {
        match multi {
            true => txn.raw_multi(name).unwrap().unwrap().iter().map(|pair| owned(pair.unwrap())).collect(),
            false => txn.raw_table(name).unwrap().unwrap().iter().map(|pair| owned(pair.unwrap())).collect(),
        }
    };
    let tables = txn.tables().unwrap().into_iter();
    let tables = tables.map(|table| (table.name.clone(), pairs(&table.name, table.schema.multi)));
    (tables.collect(), txn.user_version())
}

fn now(db: &Database) -> All {
    all(&db.begin_read().unwrap())
}

/// A directory for backups.
struct Shelf(TempDir);

impl Shelf {
    fn new() -> Self {
        Shelf(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn full(&self, db: &Database, name: &str) -> BackupReport {
        db.backup().unwrap().write_to(self.path(name), &mut |_| {}).unwrap()
    }

    fn more(&self, db: &Database, base: &str, name: &str) -> BackupReport {
        let base = BackupInfo::read(self.path(base)).unwrap();
        db.backup().unwrap().since(&base).unwrap().write_to(self.path(name), &mut |_| {}).unwrap()
    }

    fn chain(&self, names: &[&str]) -> mapleaf::Result<Restore<'static>> {
        Restore::of(names.iter().map(|name| self.path(name)))
    }

    /// Restores, verifies, writes to the new store, and returns what was in it.
    fn restored(&self, names: &[&str], txn: Option<u64>) -> All {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("restored.maple");
        let chain = self.chain(names).unwrap();
        let expected = txn.unwrap_or(chain.backups().last().unwrap().txn_id);
        let chain = txn.into_iter().fold(chain, |chain, txn| chain.up_to(txn).unwrap());
        let report = chain.write_to(&path, &mut |_| {}).unwrap();
        assert_eq!(report.txn_id, expected);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "nothing else is left");
        let db = open(&Options::new(), &path);
        assert_clean(&db);
        let r = db.begin_read().unwrap();
        let found = all(&r);
        assert_eq!((r.txn_id(), report.tables), (expected, found.0.len() as u64));
        assert_eq!(report.entries, found.0.values().map(|pairs| pairs.len() as u64).sum::<u64>());
        drop(r);
        exercise(&db);
        db.close().unwrap();
        let db = open(&Options::new(), &path);
        assert_clean(&db);
        found
    }

    fn files(&self) -> Vec<String> {
        let names = fs::read_dir(self.0.path()).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
        names.sort();
        names
    }
}

/// A store that was restored is one like any other: its free space is free, and no more.
fn exercise(db: &Database) {
    const OTHER: Table<u64, [u8]> = Table::new("written behind the restore");
    for round in 0..4u8 {
        db.write(|w| {
            w.set_durability([Durability::Durable, Durability::Ordered][usize::from(round % 2)]);
            (0..60).try_for_each(|key| w.put(OTHER, &key, &[round; 900]).map(drop))?;
            w.put(OTHER, &99, &[round; 90_000]).map(drop)
        })
        .unwrap();
    }
    db.write(|w| w.drop_table("written behind the restore")).unwrap();
    assert_clean(db);
}

/// Everything that a state can have.
fn fill(db: &Database, seed: u64) {
    db.write(|w| {
        for key in 0..900u64 {
            w.put(NUMBERS, &(key * 7 + seed), &key)?;
        }
        for (key, len) in [(1, 10), (2, 3000), (3, 70_000), (4, 1_200_000), (5, 0)] {
            w.put(BLOBS, &(key + seed), &vec![(key + seed) as u8; len][..])?;
        }
        for value in 0..1500u32 {
            w.put_value(TAGS, &1, &value.to_be_bytes()[..])?;
            w.put_value(TAGS, &u64::from(value), &seed.to_be_bytes()[..])?;
        }
        w.set_user_version(seed + 5);
        Ok(())
    })
    .unwrap();
}

#[test]
fn what_is_restored_is_what_was_there() {
    for page_size in [4096, 16384, 65536] {
        let db = TestDb::with(Options::new().page_size(page_size));
        fill(&db, 0);
        let shelf = Shelf::new();
        let report = shelf.full(&db, "full");
        assert_eq!(report.bytes, fs::metadata(shelf.path("full")).unwrap().len());
        let info = BackupInfo::read(shelf.path("full")).unwrap();
        assert_eq!(info, report.info);
        let r = db.begin_read().unwrap();
        assert_eq!((info.base, info.txn_id, info.page_size), (None, r.txn_id(), page_size as u64));
        assert_eq!((info.tables, info.user_version, info.can_be_continued), (3, 5, true));
        assert!(report.pages < info.page_count, "what is no page of the state is left out");
        assert_eq!(shelf.restored(&["full"], None), now(&db));
        let pages = shelf.chain(&["full"]).unwrap().check(&mut |_| {}).unwrap();
        assert_eq!(pages, report.pages);
    }
}

#[test]
fn a_store_without_tables_can_be_backed_up() {
    let db = TestDb::new();
    let shelf = Shelf::new();
    assert_eq!(shelf.full(&db, "empty").pages, 0);
    assert_eq!(shelf.restored(&["empty"], None), All::default());
    fill(&db, 1);
    shelf.more(&db, "empty", "filled");
    assert_eq!(shelf.restored(&["empty", "filled"], None), now(&db));
    db.write(|w| {
        w.tables()?.iter().try_for_each(|table| w.drop_table(&table.name).map(drop))?;
        w.set_user_version(0);
        Ok(())
    })
    .unwrap();
    assert_eq!(shelf.more(&db, "filled", "emptied").pages, 0);
    assert_eq!(shelf.restored(&["empty", "filled", "emptied"], None), All::default());
}

#[test]
fn an_incremental_backup_has_what_was_changed_and_no_more() {
    let db = TestDb::new();
    let put = |keys: &mut dyn Iterator<Item = u64>, value: u64| {
        let keys: Vec<u64> = keys.collect();
        db.write(|w| keys.iter().try_for_each(|key| w.put(NUMBERS, key, &value).map(drop))).unwrap();
    };
    put(&mut (0..100_000), 1);
    db.write(|w| {
        w.put(BLOBS, &1, &vec![1; 3_000_000][..])?;
        (0..20_000u32).try_for_each(|value| w.put_value(TAGS, &1, &value.to_be_bytes()[..]).map(drop))
    })
    .unwrap();
    let shelf = Shelf::new();
    let full = shelf.full(&db, "0");
    assert!(full.pages > 1100, "{}", full.pages);
    assert_eq!(shelf.more(&db, "0", "1").pages, 0, "nothing was changed");

    put(&mut [50_000].into_iter(), 2);
    let one = shelf.more(&db, "1", "2");
    // The leaf, two branches at most, the leaf of the catalog.
    assert!((3..=4).contains(&one.pages), "{}", one.pages);
    put(&mut (0..100).map(|i| i * 1000), 3);
    let hundred = shelf.more(&db, "2", "3");
    assert!((100..110).contains(&hundred.pages), "{}", hundred.pages);
    db.write(|w| w.put_value(TAGS, &1, &[9; 4][..])).unwrap();
    let value = shelf.more(&db, "3", "4");
    assert!((3..=5).contains(&value.pages), "{}: of the large set one leaf", value.pages);
    db.write(|w| w.put(BLOBS, &2, &vec![2; 40_000][..])).unwrap();
    let blob = shelf.more(&db, "4", "5");
    assert!((12..=13).contains(&blob.pages), "{}: the other value stays where it is", blob.pages);
    // Many commits of the same entry are one change.
    (0..300).for_each(|i| put(&mut [7].into_iter(), i));
    assert!(shelf.more(&db, "5", "6").pages <= 4);

    let expected = now(&db);
    assert_eq!(shelf.restored(&["0", "1", "2", "3", "4", "5", "6"], None), expected);
    let since_full = shelf.more(&db, "0", "all");
    assert!(since_full.pages < 140, "{}", since_full.pages);
    assert_eq!(shelf.restored(&["0", "all"], None), expected);
}

/// What is read of the store follows the change too: pages that nobody needs may be damaged.
#[test]
fn unchanged_subtrees_are_not_read() {
    let mut db = TestDb::new();
    db.write(|w| (0..100_000).try_for_each(|key| w.put(NUMBERS, &key, &1).map(drop))).unwrap();
    let shelf = Shelf::new();
    shelf.full(&db, "full");
    db.write(|w| w.put(NUMBERS, &0, &2)).unwrap();
    db.close().unwrap();
    // All leaves but the one that was changed.
    let file = fs::OpenOptions::new().read(true).write(true).open(db.path()).unwrap();
    let (mut page, mut spoiled) = ([0; 4096], 0);
    for number in META_PAGES..file.metadata().unwrap().len() / 4096 {
        file.read_exact_at(&mut page, number * 4096).unwrap();
        let (is_leaf, birth) = (page[4] == 3, u64::from_le_bytes(*page[16..].first_chunk().unwrap()));
        if is_leaf && birth == 2 {
            file.write_all_at(&[0xee; 100], number * 4096 + 2000).unwrap();
            spoiled += 1;
        }
    }
    assert!(spoiled > 300, "{spoiled}");
    let damaged = open(&Options::new(), &db.path());
    let pages = shelf.more(&damaged, "full", "more").pages;
    assert!(pages <= 4, "{pages}");
    let failed = damaged.backup().unwrap().write_to(shelf.path("full"), &mut |_| {}).unwrap_err();
    assert!(matches!(failed, Error::Corrupt { .. }), "{failed}");
    assert!(failed.to_string().contains("its checksum is"), "{failed}");
    assert_eq!(shelf.files(), ["full", "more"]);
    assert_eq!(shelf.restored(&["full", "more"], None).0["numbers"].len(), 100_000);
}

#[test]
fn any_state_of_a_chain_can_be_restored() {
    let db = TestDb::new();
    let shelf = Shelf::new();
    let names = ["0", "1", "2", "3", "4"];
    let mut states = Vec::new();
    for (i, name) in names.iter().enumerate() {
        fill(&db, i as u64);
        let report = if i == 0 { shelf.full(&db, name) } else { shelf.more(&db, names[i - 1], name) };
        states.push((report.info.txn_id, now(&db)));
    }
    for (txn, expected) in &states {
        assert!(shelf.restored(&names, Some(*txn)) == *expected, "txn {txn}");
    }
    let known: Vec<u64> = shelf.chain(&names).unwrap().backups().iter().map(|info| info.txn_id).collect();
    assert!(known.iter().eq(states.iter().map(|(txn, _)| txn)));
    let error = shelf.chain(&names).unwrap().up_to(999).err().unwrap();
    assert_eq!(error.to_string(), format!("no backup of txn 999 was given; there are those of {known:?}"));
    // What is behind the state that is wanted is not read.
    let last = fs::OpenOptions::new().write(true).open(shelf.path("4")).unwrap();
    last.write_all_at(&[1, 2, 3], 5000).unwrap();
    assert!(shelf.restored(&names, Some(states[3].0)) == states[3].1);
}

/// Every block of a store was written before it is used, also where nothing is: a write into a hole may find no room.
#[test]
fn a_restored_file_has_no_holes() {
    let db = TestDb::new();
    fill(&db, 0);
    let shelf = Shelf::new();
    shelf.full(&db, "0");
    db.write(|w| w.delete(BLOBS, &4)).unwrap();
    db.write(|w| w.put(NUMBERS, &0, &0)).unwrap();
    shelf.more(&db, "0", "1");
    shelf.full(&db, "full");
    for names in [&["0", "1"][..], &["full"]] {
        let path = shelf.path("restored.maple");
        let report = shelf.chain(names).unwrap().write_to(&path, &mut |_| {}).unwrap();
        let file = fs::File::open(&path).unwrap();
        let hole = rustix::fs::seek(&file, rustix::fs::SeekFrom::Hole(0)).unwrap();
        assert_eq!(hole, report.page_count * 4096, "{names:?}");
        fs::remove_file(&path).unwrap();
    }
}

#[test]
fn a_stored_snapshot_can_be_backed_up_and_built_on() {
    let db = TestDb::new();
    fill(&db, 0);
    db.write(|w| w.create_snapshot("monday")).unwrap();
    let expected = now(&db);
    fill(&db, 1);
    let shelf = Shelf::new();
    let monday = db.read_snapshot("monday").unwrap();
    let report = monday.backup().unwrap().write_to(shelf.path("monday"), &mut |_| {}).unwrap();
    assert!(report.info.can_be_continued);
    assert_eq!(shelf.restored(&["monday"], None), expected);
    shelf.more(&db, "monday", "tuesday");
    assert_eq!(shelf.restored(&["monday", "tuesday"], None), now(&db), "without the stored snapshots");
    let tuesday = BackupInfo::read(shelf.path("tuesday")).unwrap();
    let error = monday.backup().unwrap().since(&tuesday).err().unwrap().to_string();
    let expected =
        format!("is of txn {}, this snapshot of txn {}: it is an older", tuesday.txn_id, monday.txn_id());
    assert!(error.contains(&expected), "{error}");
}

/// What the log repeats has other pages than what was there before: the key that was put and deleted has
/// moved its leaf, and recovery leaves it where the checkpoint has it.
#[test]
fn a_chain_goes_on_behind_a_recovery() {
    let db = TestDb::new();
    fill(&db, 0);
    db.checkpoint().unwrap();
    let shelf = Shelf::new();
    for key in 0..50 {
        db.write(|w| w.put(NUMBERS, &(key * 100 + 1_000_000), &1)).unwrap();
    }
    db.write(|w| w.put(NUMBERS, &3, &3)).unwrap();
    db.write(|w| w.delete(NUMBERS, &3)).unwrap();
    // Of the log, and so nothing to build on.
    let r = db.begin_read().unwrap();
    let logged = r.backup().unwrap().write_to(shelf.path("logged"), &mut |_| {}).unwrap();
    assert!(!logged.info.can_be_continued);
    assert_eq!(shelf.restored(&["logged"], None), all(&r));
    let dead = db.after_death();
    assert!(dead.counters().replayed_txns > 0);
    let logged = BackupInfo::read(shelf.path("logged")).unwrap();
    let error = dead.backup().unwrap().since(&logged).err().unwrap().to_string();
    assert!(error.contains("logged is of txn") && error.contains("was not made a checkpoint"), "{error}");
    drop(dead);

    shelf.full(&db, "full");
    db.write(|w| w.put(NUMBERS, &10, &3)).unwrap();
    db.write(|w| w.delete(NUMBERS, &10)).unwrap();
    let dead = db.after_death();
    assert!(dead.counters().replayed_txns > 0);
    shelf.more(&dead, "full", "more");
    assert_eq!(shelf.restored(&["full", "more"], None), now(&dead));
}

#[test]
fn a_handle_that_only_reads_makes_backups_too() {
    let mut db = TestDb::new();
    fill(&db, 0);
    let shelf = Shelf::new();
    shelf.full(&db, "full");
    db.close().unwrap();
    let read_only = open(&Options::new().read_only(true), &db.path());
    read_only.backup().unwrap().write_to(shelf.path("again"), &mut |_| {}).unwrap();
    assert_eq!(shelf.restored(&["again"], None), now(&read_only));
    assert_eq!(shelf.more(&read_only, "full", "more").pages, 0);
    let writer = open(&Options::new(), &db.path());
    fill(&writer, 3);
    shelf.more(&read_only, "full", "more");
    assert_eq!(shelf.restored(&["full", "more"], None), now(&writer));
}

// ---- chains that are not ----

fn refusal(chain: mapleaf::Result<Restore<'_>>) -> String {
    match chain {
        Err(error @ Error::Backup { .. }) => error.to_string(),
        other => panic!("expected a refusal, found {:?}", other.map(|chain| chain.backups())),
    }
}

#[test]
fn a_broken_chain_is_refused_with_what_is_missing() {
    let db = TestDb::new();
    let shelf = Shelf::new();
    fill(&db, 0);
    shelf.full(&db, "sunday");
    for (before, day) in [("sunday", "monday"), ("monday", "tuesday"), ("tuesday", "wednesday")] {
        db.write(|w| w.put(NUMBERS, &1, &1)).unwrap();
        shelf.more(&db, before, day);
    }
    let txn = |name: &str| BackupInfo::read(shelf.path(name)).unwrap().txn_id;
    let said = |names: &[&str]| refusal(shelf.chain(names)).replace(&*shelf.path("").to_string_lossy(), "");
    let (sunday, monday, tuesday) = (txn("sunday"), txn("monday"), txn("tuesday"));
    assert_eq!(
        said(&["sunday", "tuesday"]),
        format!(
            "tuesday was made since txn {monday}, and sunday before it is of txn {sunday}: the backup of txn {monday} is missing"
        )
    );
    assert_eq!(
        said(&["sunday", "tuesday", "monday", "wednesday"]),
        format!(
            "tuesday was made since txn {monday}, and sunday before it is of txn {sunday}: give monday directly before it"
        )
    );
    assert_eq!(
        said(&["sunday", "monday", "wednesday"]),
        format!(
            "wednesday was made since txn {tuesday}, and monday before it is of txn {monday}: the backup of txn {tuesday} is missing"
        )
    );
    assert!(
        said(&["monday", "tuesday"])
            .starts_with(&format!("monday has only what was changed behind txn {sunday}: give"))
    );
    shelf.full(&db, "full");
    assert!(said(&["sunday", "full"]).starts_with("full is a full backup, and not the first"));
    let other = TestDb::new();
    fill(&other, 0);
    shelf.full(&other, "other");
    assert!(said(&["other", "monday"]).starts_with("monday is of the store "));
    let error = db.backup().unwrap().since(&BackupInfo::read(shelf.path("other")).unwrap()).err().unwrap();
    assert!(error.to_string().contains("other is of the store "), "{error}");
    assert!(error.to_string().ends_with("begin with a full backup of the store as it is"), "{error}");
    let none: [PathBuf; 0] = [];
    assert!(matches!(Restore::of(none), Err(Error::InvalidArgument { .. })));
    assert!(matches!(shelf.chain(&["nothing"]), Err(Error::Io { .. })));
    assert_eq!(refusal(Restore::of([db.path()])).split(" is a store, and").count(), 2);
    fs::write(shelf.path("text"), "hello").unwrap();
    assert!(said(&["text"]).starts_with("text is no backup: it begins with"));
}

#[test]
fn a_restored_store_begins_a_chain_of_its_own() {
    let db = TestDb::new();
    fill(&db, 0);
    let shelf = Shelf::new();
    shelf.full(&db, "full");
    let path = shelf.path("restored.maple");
    shelf.chain(&["full"]).unwrap().write_to(&path, &mut |_| {}).unwrap();
    let restored = open(&Options::new(), &path);
    let full = BackupInfo::read(shelf.path("full")).unwrap();
    let error = restored.backup().unwrap().since(&full).err().unwrap().to_string();
    assert!(error.contains("a restored store is another"), "{error}");
    assert_ne!(restored.stats().unwrap().store_id, db.stats().unwrap().store_id);
}

/// An older copy of the file, put back: its id is the same, its txns are not.
#[test]
fn a_base_of_a_later_txn_is_refused() {
    let db = TestDb::new();
    fill(&db, 0);
    let older = db.after_death();
    fill(&db, 1);
    let shelf = Shelf::new();
    shelf.full(&db, "full");
    let full = BackupInfo::read(shelf.path("full")).unwrap();
    let error = older.backup().unwrap().since(&full).err().unwrap().to_string();
    assert!(error.contains("an older file was put back; begin with a full backup"), "{error}");
}

/// Two copies of a file that went on apart have the same id, and txns of the same numbers.
#[test]
fn pages_of_two_histories_do_not_make_a_state() {
    let db = TestDb::new();
    fill(&db, 0);
    let other = db.after_death();
    let shelf = Shelf::new();
    // The same number of commits, elsewhere.
    db.write(|w| w.put(NUMBERS, &0, &77)).unwrap();
    db.write(|w| w.put(BLOBS, &77, &[7; 2000])).unwrap();
    other.write(|w| (0..100).try_for_each(|i| w.put(NUMBERS, &(i * 70), &5).map(drop))).unwrap();
    other.write(|w| w.put(NUMBERS, &1_000_000, &6)).unwrap();
    let (here, there) = (db.backup().unwrap().txn_id(), other.backup().unwrap().txn_id());
    let [first, second] = if here <= there { [&db, &other] } else { [&other, &db] };
    shelf.full(first, "full");
    second.write(|w| w.put(NUMBERS, &14, &78)).unwrap();
    shelf.more(second, "full", "more");
    let path = shelf.path("restored.maple");
    let error = shelf.chain(&["full", "more"]).unwrap().write_to(&path, &mut |_| {}).unwrap_err();
    assert!(matches!(error, Error::Backup { .. }), "{error}");
    assert!(error.to_string().contains("do not make a whole state (page "), "{error}");
    assert!(!path.exists());
}

// ---- damage ----

fn small_stream() -> Vec<u8> {
    let db = TestDb::new();
    db.write(|w| {
        w.put(NUMBERS, &1, &2)?;
        w.put(BLOBS, &1, &[3; 5000]).map(drop)
    })
    .unwrap();
    let mut stream = Vec::new();
    db.backup().unwrap().stream_to(&mut stream, &mut |_| {}).unwrap();
    stream
}

fn restore_of(stream: &[u8]) -> mapleaf::Result<Restore<'_>> {
    Restore::of_streams([("stream".to_owned(), Box::new(stream) as Box<dyn Read>)])
}

fn check(stream: &[u8]) -> mapleaf::Result<u64> {
    restore_of(stream)?.check(&mut |_| {})
}

#[track_caller]
fn assert_refused(stream: &[u8], what: &str) {
    match check(stream) {
        Err(Error::Backup { name, .. }) if name == "stream" => {}
        other => panic!("{what}: {other:?}"),
    }
}

#[test]
fn every_cut_is_refused() {
    let stream = small_stream();
    assert!(check(&stream).is_ok());
    for len in 0..stream.len() {
        assert_refused(&stream[..len], &format!("cut at {len}"));
    }
    assert_refused(&[&stream[..], &[0]].concat(), "with a byte more");
    assert_refused(&[&stream[..], &stream[..]].concat(), "twice");
    // In a file it is seen without reading it.
    let shelf = Shelf::new();
    for len in (0..stream.len()).filter(|len| len % 97 == 0 || stream.len() - len < 40) {
        fs::write(shelf.path("cut"), &stream[..len]).unwrap();
        assert!(matches!(BackupInfo::read(shelf.path("cut")), Err(Error::Backup { .. })), "{len}");
    }
    fs::write(shelf.path("head"), &stream[..128]).unwrap();
    let head = BackupInfo::read(shelf.path("head")).unwrap();
    assert_eq!(head, BackupInfo::read_from(&head.name, &stream[..]).unwrap());
}

#[test]
fn every_changed_byte_is_refused() {
    let mut stream = small_stream();
    let shelf = Shelf::new();
    for at in 0..stream.len() {
        for change in [1, 0x80, 0xff] {
            stream[at] ^= change;
            assert_refused(&stream, &format!("byte {at} changed by {change}"));
            if at % 499 == 0 || at < 8 {
                let restored =
                    restore_of(&stream).and_then(|chain| chain.write_to(shelf.path("restored"), &mut |_| {}));
                assert!(matches!(restored, Err(Error::Backup { .. })), "byte {at}: {restored:?}");
                assert!(shelf.files().is_empty(), "nothing is left");
            }
            stream[at] ^= change;
        }
    }
}

/// Bytes of a stream's header and the checkpoints behind it.
fn head_len(stream: &[u8]) -> usize {
    128 + 16 * usize::from(u16::from_le_bytes([stream[126], stream[127]]))
}

/// The frames of a stream: first page, and pages.
fn frames(stream: &[u8]) -> Vec<(u64, Vec<u8>)> {
    let (mut at, mut frames) = (head_len(stream), Vec::new());
    loop {
        let page = u64::from_le_bytes(*stream[at..].first_chunk().unwrap());
        let count = u32::from_le_bytes(*stream[at + 8..].first_chunk().unwrap()) as usize;
        if count == 0 {
            return frames;
        }
        frames.push((page, stream[at + 16..at + 16 + count * 4096].to_vec()));
        at += 16 + count * 4096;
    }
}

/// A stream of these frames whose checksums are right.
fn stream_of(header: &[u8], frames: &[(u64, Vec<u8>)]) -> Vec<u8> {
    let mut header = header.to_vec();
    let checksum = crc32fast::hash(&header[12..128]).to_le_bytes();
    header[8..12].copy_from_slice(&checksum);
    let mut sum = crc32fast::Hasher::new();
    sum.update(&header);
    let mut stream = header;
    let pages = frames.iter().map(|(_, bytes)| bytes.len() as u64 / 4096).sum();
    for (page, bytes) in frames.iter().chain([&(pages, Vec::new())]) {
        let head = [&page.to_le_bytes()[..], &(bytes.len() as u32 / 4096).to_le_bytes()].concat();
        sum.update(&head);
        sum.update(bytes);
        stream.extend_from_slice(&head);
        stream.extend_from_slice(&sum.clone().finalize().to_le_bytes());
        stream.extend_from_slice(bytes);
    }
    stream
}

/// Whoever can compute a checksum can make a stream of anything: a restore of it is refused, or a store that
/// is whole.
#[test]
fn crafted_streams_make_whole_stores_or_none() {
    let stream = small_stream();
    let (header, frames) = (&stream[..head_len(&stream)], frames(&stream));
    assert_eq!(stream_of(header, &frames), stream);
    let shelf = Shelf::new();
    let refused = |stream: &[u8], what: &str| {
        let restored =
            restore_of(stream).and_then(|chain| chain.write_to(shelf.path("restored"), &mut |_| {}));
        let restored = match restored {
            Err(Error::Backup { .. }) => true,
            Ok(_) => {
                let db = open(&Options::new(), &shelf.path("restored"));
                assert_clean(&db);
                // Where all ids of tables are used up there can be no more; nor where writers must know more.
                if !["header byte 2", "header byte 3"].iter().any(|other| what.starts_with(other)) {
                    exercise(&db);
                }
                db.close().unwrap();
                fs::remove_file(shelf.path("restored")).unwrap();
                fs::remove_file(shelf.path("restored-lock")).unwrap();
                false
            }
            Err(other) => panic!("{what}: {other}"),
        };
        assert!(shelf.files().is_empty(), "{what}: {:?}", shelf.files());
        restored
    };
    for i in 0..frames.len() {
        let mut some = frames.clone();
        some.remove(i);
        assert!(refused(&stream_of(header, &some), &format!("without frame {i}")));
        let mut moved = frames.clone();
        moved[i].0 += 1;
        assert!(refused(&stream_of(header, &moved), &format!("frame {i} elsewhere")));
        for page in [0, 1, u64::MAX, 1 << 39, 1 << 60] {
            moved[i].0 = page;
            assert!(refused(&stream_of(header, &moved), &format!("frame {i} at {page}")));
        }
    }
    let mut twice = frames.clone();
    twice.push(frames[0].clone());
    assert!(!refused(&stream_of(header, &twice), "a frame twice"), "the same pages again");
    let mut refusals = 0;
    for at in 12..128 {
        for change in [1, 0x80, 0xff] {
            let mut header = header.to_vec();
            header[at] ^= change;
            refusals += usize::from(refused(&stream_of(&header, &frames), &format!("header byte {at}")));
        }
    }
    assert!(refusals > 150, "{refusals}");
}

/// What only earlier states of a chain had behind the last page, or what nobody refers to, is not part of the new file.
#[test]
fn a_restored_file_ends_with_its_last_page() {
    let stream = small_stream();
    let (mut header, mut frames) = (stream[..head_len(&stream)].to_vec(), frames(&stream));
    header[72..80].copy_from_slice(&1000u64.to_le_bytes());
    frames.insert(0, (999, vec![1; 4096]));
    let shelf = Shelf::new();
    let path = shelf.path("restored");
    let chain = stream_of(&header, &frames);
    let report = restore_of(&chain).unwrap().write_to(&path, &mut |_| {}).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().len(), report.page_count * 4096);
    assert!(report.page_count < 20, "{report:?}");
    let db = open(&Options::new(), &path);
    assert_clean(&db);
    exercise(&db);
}

// ---- where it goes ----

/// Takes so many bytes, and no more.
struct Full {
    left: usize,
}

impl Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(self.left);
        self.left -= taken;
        match taken {
            0 => Err(io::Error::from_raw_os_error(libc::ENOSPC)),
            taken => Ok(taken),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_stream_that_cannot_be_written_is_an_error() {
    let db = TestDb::new();
    fill(&db, 0);
    let mut stream = Vec::new();
    let report = db.backup().unwrap().stream_to(&mut stream, &mut |_| {}).unwrap();
    assert_eq!(report.bytes, stream.len() as u64);
    for left in (0..stream.len()).step_by(100_003).chain([1, 127, 128, 129, stream.len() - 1]) {
        let failed = db.backup().unwrap().stream_to(Full { left }, &mut |_| {}).unwrap_err();
        assert!(matches!(&failed, Error::Io { .. }), "{failed}");
        assert!(failed.to_string().contains("No space left on device"), "{failed}");
    }
    assert!(db.backup().unwrap().stream_to(Full { left: stream.len() }, &mut |_| {}).is_ok());
    let failed = db.backup().unwrap().write_to("/dev/full", &mut |_| {}).unwrap_err();
    assert!(failed.to_string().contains("/dev/full: No space left"), "{failed}");
    db.backup().unwrap().write_to("/dev/null", &mut |_| {}).unwrap();
}

#[test]
fn a_pipe_carries_a_backup_from_one_thread_to_another() {
    let db = TestDb::new();
    fill(&db, 0);
    let shelf = Shelf::new();
    let (reader, writer) = io::pipe().unwrap();
    std::thread::scope(|threads| {
        threads.spawn(|| db.backup().unwrap().stream_to(writer, &mut |_| {}).unwrap());
        let chain = Restore::of_streams([("the pipe".into(), Box::new(reader) as Box<dyn Read>)]).unwrap();
        chain.write_to(shelf.path("restored.maple"), &mut |_| {}).unwrap();
    });
    assert_eq!(now(&open(&Options::new(), &shelf.path("restored.maple"))), now(&db));
}

#[test]
fn what_is_no_backup_is_not_replaced() {
    let db = TestDb::new();
    fill(&db, 0);
    let shelf = Shelf::new();
    let refused = |path: &Path| {
        let before = fs::read(path).unwrap();
        let error = db.backup().unwrap().write_to(path, &mut |_| {}).unwrap_err();
        assert!(matches!(&error, Error::InvalidArgument { .. }), "{error}");
        assert!(error.to_string().contains("is there and is no backup"), "{error}");
        assert!(fs::read(path).unwrap() == before);
    };
    refused(&db.path());
    fs::write(shelf.path("text"), "a letter").unwrap();
    refused(&shelf.path("text"));
    fs::create_dir(shelf.path("directory")).unwrap();
    assert!(db.backup().unwrap().write_to(shelf.path("directory"), &mut |_| {}).is_err());
    assert!(db.backup().unwrap().write_to(shelf.path("missing/full"), &mut |_| {}).is_err());
    // An empty file, as mktemp makes it; a link to a backup; a backup.
    fs::write(shelf.path("full"), "").unwrap();
    shelf.full(&db, "full");
    std::os::unix::fs::symlink(shelf.path("full"), shelf.path("link")).unwrap();
    fill(&db, 1);
    shelf.full(&db, "link");
    assert!(shelf.path("link").is_symlink());
    assert_eq!(shelf.restored(&["full"], None), now(&db));

    let base = BackupInfo::read(shelf.path("full")).unwrap();
    let more = || db.backup().unwrap().since(&base).unwrap();
    let error = more().write_to(shelf.path("link"), &mut |_| {}).unwrap_err();
    assert!(error.to_string().contains("is the backup that this one is made since"), "{error}");
    assert_eq!(shelf.files(), ["directory", "full", "link", "text"]);

    let error = shelf.chain(&["full"]).unwrap().write_to(db.path(), &mut |_| {}).unwrap_err();
    assert!(matches!(error, Error::InvalidArgument { .. }), "a store is not replaced: {error}");
    let error = shelf.chain(&["full"]).unwrap().write_to(shelf.path("no/where"), &mut |_| {}).unwrap_err();
    assert!(matches!(error, Error::Io { .. }), "{error}");
}

#[test]
fn a_backup_that_is_given_up_leaves_the_one_before() {
    let db = TestDb::new();
    fill(&db, 0);
    let shelf = Shelf::new();
    shelf.full(&db, "full");
    let before = fs::read(shelf.path("full")).unwrap();
    fill(&db, 1);
    for after in [1, 4, 7] {
        let given_up = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let mut calls = 0;
            let stop = &mut |_| {
                calls += 1;
                assert!(calls < after, "given up by the test");
            };
            db.backup().unwrap().write_to(shelf.path("full"), stop)
        }));
        assert!(given_up.is_err());
        assert_eq!(shelf.files(), ["full"]);
        let chain = shelf.chain(&["full"]).unwrap();
        let given_up = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let mut calls = 0;
            let stop = &mut |_| {
                calls += 1;
                assert!(calls < after, "given up by the test");
            };
            chain.write_to(shelf.path("restored.maple"), stop)
        }));
        assert!(given_up.is_err());
        assert_eq!(shelf.files(), ["full"]);
    }
    assert!(fs::read(shelf.path("full")).unwrap() == before);
}

/// A small file system in memory, unmounted when dropped; `None` where that is not allowed.
struct Mount(TempDir);

impl Mount {
    fn new(size: &str) -> Option<Mount> {
        let mount = Mount(tempfile::tempdir().unwrap());
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(mount.0.path());
        command.stderr(Stdio::null()).status().is_ok_and(|status| status.success()).then_some(mount)
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).stderr(Stdio::null()).status();
    }
}

#[test]
fn a_full_disk_leaves_the_backup_before_and_no_half_store() {
    let db = TestDb::new();
    db.write(|w| w.put(BLOBS, &1, &vec![1; 100_000][..])).unwrap();
    let shelf = Shelf::new();
    shelf.full(&db, "small");
    let small = fs::read(shelf.path("small")).unwrap();
    fill(&db, 1);
    shelf.full(&db, "large");
    for size in ["200k", "600k", "1m"] {
        let Some(mount) = Mount::new(size) else {
            println!("skipped: no file system can be mounted here");
            return;
        };
        let path = mount.0.path().join("full");
        fs::write(&path, &small).unwrap();
        let failed = db.backup().unwrap().write_to(&path, &mut |_| {}).unwrap_err();
        assert!(failed.to_string().contains("full: No space left on device"), "{failed}");
        let restored = mount.0.path().join("restored.maple");
        let failed = shelf.chain(&["large"]).unwrap().write_to(&restored, &mut |_| {}).unwrap_err();
        assert!(matches!(failed, Error::Io { .. }), "{failed}");
        assert_eq!(fs::read_dir(mount.0.path()).unwrap().count(), 1);
        assert!(fs::read(&path).unwrap() == small);
    }
}

const CHILD: &str = "MAPLEAF_BACKUP_CHILD";

/// Does nothing unless the test below has started it: makes a backup, slowly, or restores one again and
/// again.
#[test]
fn child() {
    let Ok(place) = std::env::var(CHILD) else { return };
    let (role, place) = place.split_once(' ').unwrap();
    let path = |name: &str| Path::new(place).join(name);
    if role == "once" {
        let db = open(&Options::new(), &path("store.maple"));
        db.backup().unwrap().write_to(path("full"), &mut |_| {}).unwrap();
        let chain = Restore::of([path("full")]).unwrap();
        chain.write_to(path("restored.maple"), &mut |_| {}).unwrap();
    } else if role == "backup" {
        let db = open(&Options::new(), &path("store.maple"));
        let mut begun = false;
        let mut say = |_| {
            if !std::mem::replace(&mut begun, true) {
                fs::write(path("begun"), "").unwrap();
            }
        };
        db.backup().unwrap().throttle(1 << 20).write_to(path("full"), &mut say).unwrap();
    } else {
        fs::write(path("begun"), "").unwrap();
        loop {
            let chain = Restore::of([path("full")]).unwrap();
            chain.write_to(path("restored.maple"), &mut |_| {}).unwrap();
            fs::remove_file(path("restored.maple")).unwrap();
        }
    }
}

#[test]
fn a_killed_process_leaves_the_backup_before_and_no_half_store() {
    let shelf = Shelf::new();
    let db = open(&Options::new(), &shelf.path("store.maple"));
    fill(&db, 0);
    shelf.full(&db, "full");
    let (before, expected) = (fs::read(shelf.path("full")).unwrap(), now(&db));
    fill(&db, 1);
    for (role, delay) in [("backup", 0), ("backup", 300), ("restore", 7), ("restore", 40), ("restore", 73)] {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child", "--nocapture"])
            .env(CHILD, format!("{role} {}", shelf.path("").display()))
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        while !shelf.path("begun").exists() {
            std::thread::sleep(Duration::from_millis(1));
            assert!(child.try_wait().unwrap().is_none(), "it ended early");
        }
        std::thread::sleep(Duration::from_millis(delay));
        child.kill().unwrap();
        child.wait().unwrap();
        fs::remove_file(shelf.path("begun")).unwrap();
        assert!(fs::read(shelf.path("full")).unwrap() == before);
        let mut left = shelf.files();
        if let Some(at) = left.iter().position(|name| name == "restored.maple") {
            // Killed between restoring and removing: then it is whole.
            let restored = open(&Options::new(), &shelf.path("restored.maple"));
            assert_eq!(now(&restored), expected);
            assert_clean(&restored);
            drop(restored);
            left.remove(at);
            ["restored.maple", "restored.maple-lock"].iter().for_each(|name| {
                fs::remove_file(shelf.path(name)).unwrap();
            });
        }
        assert_eq!(left, ["full", "store.maple", "store.maple-lock"], "{role}");
    }
}

/// What a power cut could leave follows from the order: a file is flushed before it gets its name, and its
/// directory behind that; of a store all that its meta slots refer to is flushed before they are written.
#[test]
fn files_are_flushed_before_they_are_named() {
    let usable = Command::new("strace").args(["-f", "-o", "/dev/null", "true"]).output();
    if !usable.is_ok_and(|output| output.status.success()) {
        println!("skipped: strace is not installed, or may not trace here");
        return;
    }
    let shelf = Shelf::new();
    let db = open(&Options::new(), &shelf.path("store.maple"));
    fill(&db, 0);
    shelf.full(&db, "full");
    let done = Command::new("strace")
        .args([
            "-f",
            "-y",
            "-e",
            "trace=fsync,linkat,/^rename,write,pwrite64",
            "-e",
            "signal=none",
            "-s",
            "8",
            "-o",
        ])
        .arg(shelf.path("trace"))
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture", "--test-threads=1"])
        .env(CHILD, format!("once {}", shelf.path("").display()))
        .stdout(Stdio::null())
        .status();
    assert!(done.unwrap().success());
    let trace = fs::read_to_string(shelf.path("trace")).unwrap();
    let directory = shelf.0.path().display().to_string();
    let in_directory = |line: &&str| line.contains(&format!("<{directory}")) || line.contains("linkat(");
    let calls: Vec<&str> =
        trace.lines().filter(|line| line.contains(" rename") || in_directory(line)).collect();
    let place = |from: usize, what: &str, of: &str| {
        let found = calls[from..].iter().position(|line| line.contains(what) && line.contains(of));
        from + found.unwrap_or_else(|| panic!("no {what} of {of} behind call {from}:\n{}", calls.join("\n")))
    };
    // The backup: no file is replaced but by a rename.
    let rename = place(0, " rename", "/full\"");
    let last_write = calls[..rename].iter().rposition(|line| line.contains("pwrite64(")).unwrap();
    let flush = place(last_write, "fsync(", &directory);
    let link = place(flush, "linkat(", "/.mapleaf-");
    assert!(last_write < flush && flush < link && link < rename);
    let named = place(rename, "fsync(", &format!("<{directory}>"));
    // The store: the second slot first.
    let is_slot = |line: &str| {
        let end = line.rsplit_once(") = ").map_or("", |(call, _)| call);
        let mut numbers = end.rsplit(", ").map(str::parse::<u64>);
        let (offset, len) = (numbers.next(), numbers.next());
        matches!((offset, len), (Some(Ok(0 | 4096)), Some(Ok(512..4096))))
    };
    let slots: Vec<usize> =
        (named..calls.len()).filter(|at| calls[*at].contains("pwrite64(") && is_slot(calls[*at])).collect();
    assert_eq!(slots.len(), 2, "{}", calls.join("\n"));
    let before = calls[..slots[0]].iter().rposition(|line| line.contains("fsync(")).unwrap();
    assert!(before > named && !calls[before..slots[0]].iter().any(|line| line.contains("pwrite64(")));
    let flush = place(slots[1], "fsync(", &directory);
    let link = place(flush, "linkat(", "/restored.maple\"");
    assert!(place(link, "fsync(", &format!("<{directory}>")) > link);
}

// ---- beside others ----

/// Each commit writes the same to both tables.
#[test]
fn a_backup_beside_writers_is_of_one_commit() {
    const MIRROR: Table<u64, u64> = Table::new("mirror");
    let db = TestDb::new();
    let put = |w: &mut WriteTxn, key: u64, value: u64| {
        w.put(NUMBERS, &key, &value)?;
        w.put(MIRROR, &key, &value).map(drop)
    };
    db.write(|w| (0..20_000).try_for_each(|key| put(w, key, 0))).unwrap();
    let shelf = Shelf::new();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|threads| {
        let (db, is_over) = (&db, &is_over);
        for writer in 0..2u64 {
            threads.spawn(move || {
                let mut round = 0;
                while !is_over.load(Ordering::Relaxed) {
                    round += 1;
                    let keys = (0..40).map(|i| (round * 7919 + i * 331 + writer * 13) % 20_000);
                    db.write(|w| {
                        let durability = [Durability::Eventual, Durability::Durable][(round % 2) as usize];
                        w.set_durability(durability);
                        keys.clone().try_for_each(|key| put(w, key, round))
                    })
                    .unwrap();
                }
            });
        }
        let mut names = vec!["0".to_owned()];
        shelf.full(db, "0");
        for i in 1..8 {
            names.push(i.to_string());
            shelf.more(db, &names[i - 1], &names[i]);
        }
        is_over.store(true, Ordering::Relaxed);
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        for info in shelf.chain(&names).unwrap().backups() {
            assert!(info.can_be_continued);
            let found = shelf.restored(&names, Some(info.txn_id));
            assert!(found.0["numbers"] == found.0["mirror"], "txn {}", info.txn_id);
            assert_eq!(found.0["numbers"].len(), 20_000);
        }
    });
}

#[test]
fn a_snapshot_that_is_held_stays_what_it_was_while_it_is_copied() {
    let db = TestDb::new();
    fill(&db, 0);
    let r = db.begin_read().unwrap();
    let expected = all(&r);
    let shelf = Shelf::new();
    let mut round = 0;
    let mut write_beside = |_| {
        round += 1;
        if round % 10 == 0 {
            db.write(|w| {
                (0..900).step_by(50).try_for_each(|key| w.put(NUMBERS, &(key * 7), &round).map(drop))
            })
            .unwrap();
        }
    };
    r.backup().unwrap().throttle(100 << 20).write_to(shelf.path("full"), &mut write_beside).unwrap();
    assert_eq!(shelf.restored(&["full"], None), expected);
}

// ---- histories ----

#[derive(Clone, Debug)]
enum Step {
    Put { table: u8, key: u64, keys: u64, len: usize, fill: u8 },
    Delete { table: u8, key: u64, keys: u64 },
    Drop(u8),
    Version(u64),
}

#[derive(Clone, Debug)]
enum Action {
    Write {
        steps: Vec<Step>,
        commits: bool,
        durability: u8,
    },
    /// A key that is put and deleted: what the log repeats then leaves its leaf where the checkpoint has it.
    Touch(u64),
    Snapshot(u8),
    Checkpoint,
    /// A new chain, or the next backup of the newest one; made since the one before so many.
    Backup {
        full: bool,
        back: usize,
    },
    Reopen,
    Die,
}

fn step() -> impl Strategy<Value = Step> {
    let keys = || prop_oneof![3 => 1..4u64, 1 => 50..400u64];
    let len = prop_oneof![4 => 0..40usize, 2 => 500..3000usize, 1 => 5000..200_000usize];
    prop_oneof![
        6 => (0..3u8, 0..2000u64, keys(), len, any::<u8>())
            .prop_map(|(table, key, keys, len, fill)| Step::Put { table, key, keys, len, fill }),
        3 => (0..3u8, 0..2000u64, keys()).prop_map(|(table, key, keys)| Step::Delete { table, key, keys }),
        1 => (0..3u8).prop_map(Step::Drop),
        1 => any::<u64>().prop_map(Step::Version),
    ]
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        10 => (proptest::collection::vec(step(), 1..8), prop::bool::weighted(0.9), 0..4u8)
            .prop_map(|(steps, commits, durability)| Action::Write { steps, commits, durability }),
        3 => (0..2000u64).prop_map(Action::Touch),
        1 => (0..3u8).prop_map(Action::Snapshot),
        1 => Just(Action::Checkpoint),
        5 => (prop::bool::weighted(0.15), 1..3usize).prop_map(|(full, back)| Action::Backup { full, back }),
        1 => Just(Action::Reopen),
        3 => Just(Action::Die),
    ]
}

fn carry_out(w: &mut WriteTxn, step: &Step) -> mapleaf::Result<()> {
    match *step {
        Step::Put { table, key, keys, len, fill } => {
            // Large ones are few.
            let keys = if len > 3000 { keys.min(2) } else { keys };
            (key..key + keys).try_for_each(|key| match table {
                0 => w.put(NUMBERS, &key, &u64::from(fill)).map(drop),
                1 => w.put(BLOBS, &key, &vec![fill; len][..]).map(drop),
                // Many values of few keys.
                _ => w
                    .put_value(TAGS, &(key % 3), &[&key.to_be_bytes()[..], &[fill % 4]].concat()[..])
                    .map(drop),
            })
        }
        Step::Delete { table, key, keys } => (key..key + keys).try_for_each(|key| match table {
            0 => w.delete(NUMBERS, &key).map(drop),
            1 => w.delete(BLOBS, &key).map(drop),
            _ => w.delete_values(TAGS, &(key % 3)).map(drop),
        }),
        Step::Drop(table) => w.drop_table(["numbers", "blobs", "tags"][usize::from(table)]).map(drop),
        Step::Version(version) => {
            w.set_user_version(version);
            Ok(())
        }
    }
}

fn write(db: &Database, steps: &[Step], commits: bool, durability: u8) {
    let mut w = db.begin_write().unwrap();
    let all = [Durability::Durable, Durability::Durable, Durability::Eventual, Durability::Ordered];
    w.set_durability(all[usize::from(durability)]);
    steps.iter().for_each(|step| carry_out(&mut w, step).unwrap());
    if commits {
        w.commit().unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn every_state_of_every_chain_is_what_it_was(actions in proptest::collection::vec(action(), 1..40)) {
        let options = || Options::new().dirty_limit(1 << 20).log_limit(256 << 10);
        let mut db = TestDb::with(options());
        let shelf = Shelf::new();
        // Each backup: its number in the list of the one that it was made since, its txn, and the state.
        let mut made: Vec<(Option<usize>, u64, All)> = Vec::new();
        for action in &actions {
            match action {
                Action::Write { steps, commits, durability } => write(&db, steps, *commits, *durability),
                Action::Touch(key) => {
                    db.write(|w| w.put(NUMBERS, &(key + 10_000), &1)).unwrap();
                    db.write(|w| w.delete(NUMBERS, &(key + 10_000))).unwrap();
                }
                Action::Snapshot(name) => {
                    let name = name.to_string();
                    db.write(|w| match w.drop_snapshot(&name)? {
                        true => Ok(()),
                        false => w.create_snapshot(&name),
                    })
                    .unwrap();
                }
                Action::Checkpoint => db.checkpoint().unwrap(),
                Action::Backup { full, back } => {
                    let base = made.len().checked_sub(*back).filter(|_| !full);
                    let name = made.len().to_string();
                    let report = match base {
                        Some(base) => shelf.more(&db, &base.to_string(), &name),
                        None => shelf.full(&db, &name),
                    };
                    assert!(report.info.can_be_continued);
                    made.push((base, report.info.txn_id, now(&db)));
                }
                Action::Reopen => db.reopen(),
                Action::Die => {
                    let dead = db.after_death().opened_with(options());
                    assert!(now(&dead) == now(&db));
                    db = dead;
                }
            }
        }
        for (i, (_, _, expected)) in made.iter().enumerate() {
            let links = std::iter::successors(Some(i), |i| made[*i].0);
            let mut names: Vec<String> = links.map(|i| i.to_string()).collect();
            names.reverse();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let found = shelf.restored(&names, None);
            assert!(found == *expected, "backup {i} of {names:?}");
        }
    }
}

//! Compacting: the file becomes as short as what is in it, whatever is in it and whoever reads or writes meanwhile.
//!
//! A child is this test program again, running only [`child`] in the role that an environment variable gives.

#![allow(unsafe_code)]

mod common;

use common::{Contents, TestDb, contents, open};
use mapleaf::{Budget, Compacted, Database, MultiTable, Options, ReadTxn, Table};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

const BLOBS: Table<u64, [u8]> = Table::new("blobs");
const NUMBERS: Table<u64, u64> = Table::new("numbers");
const LARGE: Table<u64, [u8]> = Table::new("large");
const TAGS: MultiTable<u64, u64> = MultiTable::new("tags");

const PAGE: u64 = 4096;

/// Steps of so many pages until nothing is left to do.
fn compact(db: &Database, pages: u64) -> Compacted {
    let mut all = Compacted::default();
    for _ in 0..20_000 {
        let done = db.compact(Budget::pages(pages)).unwrap();
        all.moved_pages += done.moved_pages;
        all.steps += done.steps;
        all.freed_bytes += done.freed_bytes;
        all.page_count = done.page_count;
        (all.is_done, all.held_by) = (done.is_done, done.held_by);
        if done.is_done {
            return all;
        }
    }
    panic!("no end: {all:?}");
}

/// Pages that are in use: neither free nor pending.
fn pages_in_use(db: &Database) -> u64 {
    let stats = db.stats().unwrap();
    stats.page_count - stats.free_pages - stats.pending_pages
}

fn fill(db: &Database, keys: std::ops::Range<u64>) {
    db.write(|w| keys.clone().try_for_each(|key| w.put(BLOBS, &key, &[key as u8; 900]).map(drop))).unwrap();
}

fn everything(db: &Database) -> (Contents, Vec<(u64, u64)>) {
    let r = db.begin_read().unwrap();
    let mut single = BTreeMap::new();
    for info in r.tables().unwrap().into_iter().filter(|info| !info.schema.multi) {
        let view = r.raw_table(&info.name).unwrap().unwrap();
        let entries = view.iter().map(|entry| entry.map(|(k, v)| (k.to_vec(), v.to_vec())).unwrap());
        single.insert(info.name.clone(), entries.collect());
    }
    let pairs = r.multi(TAGS).unwrap().iter().map(|pair| pair.unwrap()).collect();
    ((single, r.user_version()), pairs)
}

#[test]
fn what_is_left_of_a_store_moves_to_the_front() {
    for pages in [1, 7, 100, u64::MAX] {
        let db = TestDb::new();
        fill(&db, 0..4000);
        db.write(|w| w.delete_range(BLOBS, ..3900)).unwrap();
        let (before, len) = (contents(&db.begin_read().unwrap()), db.file_len());
        let done = compact(&db, pages);
        assert!(done.is_done && done.moved_pages >= 20 && done.held_by.is_none(), "{done:?}");
        assert_eq!(contents(&db.begin_read().unwrap()), before);
        assert_eq!(db.file_len(), done.page_count * PAGE, "{done:?}");
        assert_eq!(len - db.file_len(), done.freed_bytes);
        let used = pages_in_use(&db);
        assert!(done.page_count <= used + 48, "{used} pages in use: {done:?}");
        assert_eq!(db.compact(Budget::unlimited()).unwrap().moved_pages, 0, "nothing is left to do");
    }
}

/// A store with every kind of thing in it, most of which is deleted again.
fn of_everything() -> TestDb {
    let db = TestDb::new();
    fill(&db, 0..500);
    db.write(|w| {
        (0..60).try_for_each(|i| w.put(LARGE, &i, &vec![i as u8; 3000 * (i as usize % 40 + 1)]).map(drop))
    })
    .unwrap();
    db.write(|w| (0..20_000).try_for_each(|i| w.put_value(TAGS, &(i % 30), &i).map(drop))).unwrap();
    db.write(|w| (0..20_000).try_for_each(|i| w.put(NUMBERS, &i, &i).map(drop))).unwrap();
    fill(&db, 500..3000);
    db.write(|w| {
        w.set_user_version(77);
        (0..300).try_for_each(|i| w.put(Table::<u64, u64>::new(NAMES[i % 20]), &7, &(i as u64)).map(drop))
    })
    .unwrap();
    db.write(|w| w.create_snapshot("early")).unwrap();
    db.write(|w| {
        w.delete_range(BLOBS, ..2950)?;
        w.delete_range(NUMBERS, 300..19_000)?;
        (0..60).filter(|i| i % 3 > 0).try_for_each(|i| w.delete(LARGE, &i).map(drop))?;
        (2000..20_000).filter(|i| i % 3 > 0).try_for_each(|i| w.delete_value(TAGS, &(i % 30), &i).map(drop))
    })
    .unwrap();
    db
}

const NAMES: [&str; 20] =
    ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p", "q", "r", "s", "t"];

#[test]
fn everything_that_can_be_in_a_store_moves() {
    for pages in [3, 40, u64::MAX] {
        let db = of_everything();
        let before = everything(&db);
        let early = {
            let r = db.read_snapshot("early").unwrap();
            (r.len(BLOBS).unwrap(), r.get(LARGE, &59).unwrap().unwrap().to_vec())
        };
        let held = compact(&db, pages);
        assert!(held.held_by.is_some(), "the snapshot sees what is deleted: {held:?}");
        let snapshot = db.begin_read().unwrap().snapshots().unwrap().remove(0);
        assert_eq!(held.held_by, Some(snapshot.txn_id));
        assert_eq!(everything(&db), before);
        let r = db.read_snapshot("early").unwrap();
        assert_eq!((r.len(BLOBS).unwrap(), r.get(LARGE, &59).unwrap().unwrap()), (early.0, &early.1[..]));
        drop(r);
        db.write(|w| w.drop_snapshot("early")).unwrap();
        let done = compact(&db, pages);
        let used = pages_in_use(&db);
        assert_eq!(everything(&db), before);
        assert!(done.is_done && done.held_by.is_none(), "{done:?}");
        assert!(done.page_count <= used + used / 16 + 40, "{used} pages in use: {done:?}");
        assert_eq!(db.file_len(), done.page_count * PAGE);
        let again = compact(&db, pages);
        assert!(again.moved_pages == 0 && again.steps == 0, "{again:?}");
    }
}

/// A store that has holes of some pages in front, in which small commits find room, and a long end that is free.
fn with_a_free_end() -> TestDb {
    let db = TestDb::new();
    db.write(|w| (0..40).try_for_each(|i| w.put(LARGE, &i, &[1; 20_000]).map(drop))).unwrap();
    fill(&db, 0..100);
    db.write(|w| (0..20).try_for_each(|i| w.delete(LARGE, &(2 * i)).map(drop))).unwrap();
    fill(&db, 100..3000);
    db.write(|w| w.delete_range(BLOBS, 100..)).unwrap();
    for i in 0..3 {
        db.write(|w| w.put(BLOBS, &0, &[i; 900])).unwrap();
        db.checkpoint().unwrap();
    }
    db
}

#[test]
fn a_stored_snapshot_whose_pages_lie_in_front_lets_the_file_become_shorter() {
    let db = with_a_free_end();
    db.write(|w| w.create_snapshot("small")).unwrap();
    let held = db.read_snapshot("small").unwrap();
    let len = db.file_len();
    let done = compact(&db, 100);
    assert!(done.page_count * PAGE < len / 3 && done.freed_bytes == 0, "{done:?}");
    assert_eq!(db.file_len(), len, "a state of a longer file is being read");
    assert_eq!(held.len(BLOBS).unwrap(), 100);
    drop(held);
    assert_eq!(compact(&db, 100).freed_bytes, len - db.file_len());
    assert!(db.file_len() < len / 3, "{} of {len} bytes", db.file_len());
    assert_eq!(db.read_snapshot("small").unwrap().len(BLOBS).unwrap(), 100);
}

#[test]
fn a_compacted_store_is_the_same_when_every_process_dies() {
    let db = of_everything();
    let before = everything(&db);
    for _ in 0..60 {
        db.compact(Budget::pages(20)).unwrap();
        let left = db.after_death();
        assert_eq!(everything(&left), before);
    }
}

#[test]
fn a_store_that_was_compacted_grows_and_shrinks_again() {
    let mut db = TestDb::new();
    for round in 0..4 {
        fill(&db, 0..3000);
        let len = db.file_len();
        db.write(|w| w.delete_range(BLOBS, round..2990)).unwrap();
        compact(&db, 64);
        assert!(db.file_len() < len / 5, "round {round}: {} of {len} bytes", db.file_len());
        assert_eq!(db.begin_read().unwrap().len(BLOBS).unwrap(), 10 + round);
        if round % 2 == 0 {
            db.reopen();
        }
    }
}

#[test]
fn a_step_costs_what_its_budget_says() {
    let db = of_everything();
    db.write(|w| w.drop_snapshot("early")).unwrap();
    let before = db.counters();
    let done = db.compact(Budget::pages(10)).unwrap();
    assert!(!done.is_done && done.steps == 1, "{done:?}");
    let written = db.counters().written_bytes - before.written_bytes;
    assert!(done.moved_pages >= 10 && written < 60 * PAGE, "{written} bytes for {done:?}");
}

#[test]
fn a_copy_has_everything_in_full_pages() {
    let db = of_everything();
    let before = everything(&db);
    let copy = db.path().with_extension("copy");
    let mut told = 0;
    let entries = db.begin_read().unwrap().copy_compact(&copy, &mut |entries| told = entries).unwrap();
    let in_tables: u64 = db.begin_read().unwrap().tables().unwrap().iter().map(|table| table.len).sum();
    assert_eq!((entries, told), (in_tables, in_tables));
    let new = open(&Options::new(), &copy);
    assert_eq!(everything(&new), before);
    assert!(new.verify(&mut |_| {}).unwrap().is_clean());
    let (old, new) = (db.stats().unwrap(), new.stats().unwrap());
    let schemas = |stats: &mapleaf::Stats| -> Vec<_> {
        stats.tables.iter().map(|table| (table.info.name.clone(), table.info.schema.clone())).collect()
    };
    assert_eq!(schemas(&new), schemas(&old));
    let leaves = |stats: &mapleaf::Stats| stats.tables.iter().map(|table| table.levels[0].pages).sum::<u64>();
    assert!(leaves(&new) < leaves(&old), "{} and {} leaves", leaves(&new), leaves(&old));
    assert!(new.free_pages + new.pending_pages <= 16, "{new:?}");

    let again = db.begin_read().unwrap().copy_compact(&copy, &mut |_| {});
    assert!(matches!(again, Err(mapleaf::Error::InvalidArgument { .. })), "{again:?}");
    let early = db.path().with_extension("early");
    db.read_snapshot("early").unwrap().copy_compact(&early, &mut |_| {}).unwrap();
    assert_eq!(open(&Options::new(), &early).begin_read().unwrap().len(BLOBS).unwrap(), 3000);
    let files = std::fs::read_dir(db.path().parent().unwrap()).unwrap().map(|file| file.unwrap().file_name());
    assert!(files.into_iter().all(|name| !name.to_string_lossy().contains("unfinished")));
}

#[test]
fn an_incremental_backup_of_a_compacted_store_is_restored_and_a_diff_finds_nothing() {
    let db = TestDb::new();
    fill(&db, 0..3000);
    db.write(|w| w.put(LARGE, &1, &vec![5; 50_000])).unwrap();
    db.write(|w| w.delete_range(BLOBS, ..2800)).unwrap();
    let [whole, later, restored] = ["whole", "later", "restored"].map(|name| db.path().with_extension(name));
    db.backup().unwrap().write_to(&whole, &mut |_| {}).unwrap();
    let before = db.begin_read().unwrap();
    // What is held for long does not move; this begins each time anew.
    let mut moved = 0;
    for _ in 0..3 {
        let other = open(&Options::new(), &db.path());
        moved += other.compact(Budget::pages(10)).unwrap().moved_pages;
    }
    let after = db.begin_read().unwrap();
    assert!(moved > 0 && before.txn_id() < after.txn_id());
    assert!(before.diff(&after, BLOBS).unwrap().next().is_none(), "pages were moved, and nothing is changed");
    drop((before, after));
    let done = compact(&db, 100);
    assert!(done.freed_bytes > 0);
    fill(&db, 5000..5010);
    let backup = db.backup().unwrap().since(&mapleaf::BackupInfo::read(&whole).unwrap()).unwrap();
    backup.write_to(&later, &mut |_| {}).unwrap();
    mapleaf::Restore::of([&whole, &later]).unwrap().write_to(&restored, &mut |_| {}).unwrap();
    let new = open(&Options::new(), &restored);
    assert!(new.verify(&mut |_| {}).unwrap().is_clean());
    assert!(contents(&new.begin_read().unwrap()) == contents(&db.begin_read().unwrap()));
}

// ---- other processes ----

const ROLE: &str = "MAPLEAF_COMPACT_ROLE";
const FILE: &str = "MAPLEAF_COMPACT_FILE";

/// Does nothing unless a test below has started it.
#[test]
fn child() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let db = open(&Options::new(), Path::new(&std::env::var(FILE).unwrap()));
    match role.as_str() {
        "hold" => {
            let held = db.begin_read().unwrap();
            let before = contents(&held);
            report("holding");
            std::io::stdin().lock().read_line(&mut String::new()).unwrap();
            // It reads what it has read, and a copy of it does, which asks for as many pages as it had.
            assert!(contents(&held) == before);
            // SAFETY: the file is the test's own.
            let again = unsafe { ReadTxn::import(held.export("again").unwrap()) }.unwrap();
            assert!(contents(&again) == before);
            report("unchanged");
        }
        "read" => {
            let ended = std::thread::spawn(|| std::io::stdin().lines().for_each(drop));
            let mut reads = 0;
            while !ended.is_finished() {
                let r = db.begin_read().unwrap();
                assert_eq!(r.iter(NUMBERS).unwrap().map(|entry| entry.unwrap().1).sum::<u64>(), TOTAL);
                for entry in r.iter(BLOBS).unwrap() {
                    let (key, value) = entry.unwrap();
                    assert!(value.iter().all(|byte| *byte == key as u8), "{key}");
                }
                reads += 1;
            }
            report(&format!("reads {reads}"));
        }
        "write" => {
            let ended = std::thread::spawn(|| std::io::stdin().lines().for_each(drop));
            let mut writes = 0;
            while !ended.is_finished() {
                transfer(&db, writes);
                fill(&db, 10_000 + writes % 50..10_010 + writes % 50);
                db.write(|w| w.delete_range(BLOBS, 10_000..)).unwrap();
                writes += 1;
                if writes == 1 {
                    report("writing");
                }
            }
            report(&format!("writes {writes}"));
        }
        other => panic!("{other}"),
    }
}

const TOTAL: u64 = 100 * 1000;

/// Moves something from one number to another.
fn transfer(db: &Database, i: u64) {
    db.write(|w| {
        let (from, to) = (i * 7 % 100, (i * 31 + 1) % 100);
        let moved = w.get(NUMBERS, &from)?.unwrap().min(i % 9);
        w.update(NUMBERS, &from, |old| old.unwrap() - moved)?;
        w.update(NUMBERS, &to, |old| old.unwrap() + moved).map(drop)
    })
    .unwrap();
}

fn report(line: &str) {
    // In one piece, apart from what the test harness says.
    println!("\n@{line}");
    std::io::stdout().flush().unwrap();
}

/// A child that runs until it is told to end.
struct Other {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Other {
    fn start(role: &str, path: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["child", "--exact", "--nocapture"])
            .env(ROLE, role)
            .env(FILE, path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Other { child, lines }
    }

    /// What it reports next.
    fn hears(&mut self) -> String {
        let report = self.lines.find_map(|line| line.unwrap().strip_prefix('@').map(str::to_owned));
        report.expect("it reports before it ends")
    }

    /// Lets it end, and returns its last report.
    fn end(mut self) -> String {
        drop(self.child.stdin.take());
        let last = self.hears();
        assert!(self.child.wait().unwrap().success(), "{last}");
        last
    }
}

#[test]
fn the_file_is_not_cut_while_another_process_sees_a_state_that_was_longer() {
    let db = with_a_free_end();
    let mut other = Other::start("hold", &db.path());
    assert_eq!(other.hears(), "holding");
    let len = db.file_len();
    let done = compact(&db, 100);
    assert!(done.page_count * PAGE < len / 3, "the state is shorter: {done:?}");
    assert_eq!((db.file_len(), done.freed_bytes), (len, 0), "the file is not");
    fill(&db, 200..220);
    db.checkpoint().unwrap();
    assert_eq!(db.file_len(), len);
    assert_eq!(other.end(), "unchanged");
    db.checkpoint().unwrap();
    assert!(db.file_len() < len / 3, "{} of {len} bytes", db.file_len());
}

#[test]
fn what_a_snapshot_of_another_process_holds_is_moved_when_it_has_ended() {
    let db = TestDb::new();
    fill(&db, 0..3000);
    db.write(|w| w.put(NUMBERS, &0, &0)).unwrap();
    let mut other = Other::start("hold", &db.path());
    assert_eq!(other.hears(), "holding");
    db.write(|w| w.delete_range(BLOBS, ..2900)).unwrap();
    let len = db.file_len();
    let held = compact(&db, 100);
    assert!(held.is_done && held.held_by.is_some() && held.moved_pages < 20, "{held:?}");
    assert_eq!(db.file_len(), len);
    assert_eq!(other.end(), "unchanged");
    let done = compact(&db, 100);
    assert!(done.is_done && done.held_by.is_none() && db.file_len() < len / 5, "{done:?}");
}

#[test]
fn a_pinned_state_that_ends_when_its_process_is_killed_holds_nothing() {
    let db = with_a_free_end();
    let mut other = Other::start("hold", &db.path());
    assert_eq!(other.hears(), "holding");
    let len = db.file_len();
    compact(&db, 100);
    assert_eq!(db.file_len(), len);
    other.child.kill().unwrap();
    other.child.wait().unwrap();
    compact(&db, 100);
    assert!(db.file_len() < len / 3, "{} of {len} bytes", db.file_len());
}

#[test]
fn others_read_and_write_while_the_file_shrinks_and_grows() {
    let db = TestDb::new();
    db.write(|w| (0..100).try_for_each(|i| w.put(NUMBERS, &i, &1000).map(drop))).unwrap();
    fill(&db, 0..100);
    let readers = [Other::start("read", &db.path()), Other::start("read", &db.path())];
    let mut writer = Other::start("write", &db.path());
    assert_eq!(writer.hears(), "writing");
    let mut freed = 0;
    for round in 0..12 {
        fill(&db, 100..1500);
        db.write(|w| w.delete_range(BLOBS, 100..1500)).unwrap();
        for step in 0..30 {
            freed += db.compact(Budget::pages(40)).unwrap().freed_bytes;
            transfer(&db, round * 100 + step);
        }
    }
    assert!(freed > 4 * 1500 * 1000, "{freed} bytes were given back");
    assert!(writer.end().starts_with("writes "));
    for reader in readers {
        assert!(reader.end().starts_with("reads "));
    }
    let sum: u64 = db.begin_read().unwrap().iter(NUMBERS).unwrap().map(|entry| entry.unwrap().1).sum();
    assert_eq!(sum, TOTAL);
}

// ---- a model ----

#[derive(Clone, Debug)]
enum Act {
    Put { from: u64, count: u64, len: usize },
    Delete { from: u64, to: u64 },
    Compact { pages: u64, times: usize },
    Store(u8),
    Forget(u8),
    Pin,
    Unpin,
    Checkpoint,
    Reopen,
}

fn acts() -> impl Strategy<Value = Act> {
    let name = || 0..3u8;
    prop_oneof![
        4 => (0..600u64, 1..80u64, prop_oneof![0..900usize, 900..9000usize, Just(70_000)])
            .prop_map(|(from, count, len)| Act::Put { from, count: if len > 9000 { 2 } else { count }, len }),
        3 => (0..700u64, 0..400u64).prop_map(|(from, more)| Act::Delete { from, to: from + more }),
        6 => (1..200u64, 1..6usize).prop_map(|(pages, times)| Act::Compact { pages, times }),
        1 => name().prop_map(Act::Store),
        1 => name().prop_map(Act::Forget),
        1 => Just(Act::Pin),
        1 => Just(Act::Unpin),
        1 => Just(Act::Checkpoint),
        1 => Just(Act::Reopen),
    ]
}

type Model = BTreeMap<u64, Vec<u8>>;

fn assert_is(r: &ReadTxn, model: &Model) {
    let mut entries = r.iter(LARGE).unwrap();
    for (key, value) in model {
        let (found, bytes) = entries.next().expect("an entry").unwrap();
        assert!(found == *key && bytes == value, "{key}, {found}");
    }
    assert!(entries.next().is_none());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn a_store_that_is_compacted_at_any_time_holds_what_it_must(acts in prop::collection::vec(acts(), 1..40)) {
        let mut db = TestDb::new();
        let mut model = Model::new();
        let mut stored: BTreeMap<u8, Model> = BTreeMap::new();
        let mut pinned: Vec<(ReadTxn, Model)> = Vec::new();
        for (i, act) in acts.into_iter().enumerate() {
            match act {
                Act::Put { from, count, len } => db.write(|w| {
                    (from..from + count).try_for_each(|key| {
                        let value = vec![(key as usize + i) as u8; len];
                        w.put(LARGE, &key, &value)?;
                        model.insert(key, value);
                        Ok(())
                    })
                }).unwrap(),
                Act::Delete { from, to } => {
                    db.write(|w| w.delete_range(LARGE, from..to)).unwrap();
                    model.retain(|key, _| !(from..to).contains(key));
                }
                Act::Compact { pages, times } => (0..times).for_each(|_| {
                    db.compact(Budget::pages(pages)).unwrap();
                }),
                Act::Store(name) if !stored.contains_key(&name) => {
                    db.write(|w| w.create_snapshot(&name.to_string())).unwrap();
                    stored.insert(name, model.clone());
                }
                Act::Forget(name) => {
                    let is_there = db.write(|w| w.drop_snapshot(&name.to_string())).unwrap();
                    assert_eq!(is_there, stored.remove(&name).is_some());
                }
                Act::Pin => pinned.push((db.begin_read().unwrap(), model.clone())),
                Act::Unpin => drop(pinned.pop()),
                Act::Checkpoint => db.checkpoint().unwrap(),
                Act::Reopen => {
                    pinned.clear();
                    db.reopen();
                }
                Act::Store(_) => {}
            }
            assert_is(&db.begin_read().unwrap(), &model);
            pinned.iter().for_each(|(r, model)| assert_is(r, model));
            stored.iter().for_each(|(name, model)| assert_is(&db.read_snapshot(&name.to_string()).unwrap(), model));
        }
        pinned.clear();
        stored.keys().for_each(|name| {
            db.write(|w| w.drop_snapshot(&name.to_string())).unwrap();
        });
        let done = compact(&db, 100);
        assert_is(&db.begin_read().unwrap(), &model);
        let used = pages_in_use(&db);
        // Values of many pages may fit nowhere.
        let is_large = model.values().any(|value| value.len() > 4 * PAGE as usize);
        let most = if is_large { u64::MAX } else { used + used / 16 + 48 };
        assert!(done.held_by.is_none() && done.page_count <= most, "{used} in use: {done:?}");
        assert_eq!(db.file_len(), done.page_count * PAGE);
    }
}

/// The log takes the room in front, and gives up its own behind.
#[test]
fn what_a_pass_has_no_room_for_the_next_one_moves() {
    let db = TestDb::new();
    db.write(|w| (0..38).try_for_each(|key| w.put(LARGE, &key, &vec![1; 2015]).map(drop))).unwrap();
    db.write(|w| w.delete_range(LARGE, 1..31)).unwrap();
    let (done, used) = (compact(&db, 100), pages_in_use(&db));
    assert!(done.page_count <= used + 24, "{used} pages in use: {done:?}");
}

//! Space that goes back to the system while the store is open, and comes again: by itself and on demand.
//!
//! A child is this test program again, running only [`child`]: it does what it is told by lines, and answers each.

mod common;

use common::{TestDb, open};
use mapleaf::{
    BackupInfo, Database, Durability, Error, Observer, Op, Options, ReadTxn, Restore, Salvage, Table, Verdict,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

const BLOBS: Table<u64, [u8]> = Table::new("blobs");

/// Puts entries of a page each; the file is flushed, so that the system has counted its blocks.
fn fill(db: &Database, keys: std::ops::Range<u64>, byte: u8) {
    db.write(|w| keys.clone().try_for_each(|key| w.put(BLOBS, &key, &[byte; 3000]).map(drop))).unwrap();
    db.checkpoint().unwrap();
}

fn delete(db: &Database, keys: std::ops::Range<u64>) {
    db.write(|w| {
        w.set_durability(Durability::Ordered);
        w.delete_range(BLOBS, keys).map(drop)
    })
    .unwrap();
}

fn assert_holds(db: &Database, keys: std::ops::Range<u64>, byte: u8) {
    let r = db.begin_read().unwrap();
    for key in keys {
        assert_eq!(r.get(BLOBS, &key).unwrap(), Some(&[byte; 3000][..]), "key {key}");
    }
}

/// A commit that changes nearly nothing and is a checkpoint.
fn touch(db: &Database) {
    db.write(|w| {
        w.set_durability(Durability::Ordered);
        w.put(BLOBS, &u64::MAX, &[0; 10])
    })
    .unwrap();
}

fn disk_bytes(db: &Database) -> u64 {
    db.file_usage().unwrap().disk_bytes
}

#[test]
fn trim_gives_all_free_space_back_and_readers_see_what_they_saw() {
    let db = TestDb::new();
    fill(&db, 0..2000, 1);
    let old = db.begin_read().unwrap();
    fill(&db, 500..1500, 2);
    delete(&db, 100..1900);
    let (before, len) = (disk_bytes(&db), db.file_usage().unwrap().len);
    let trimmed = db.trim().unwrap();
    assert!(trimmed.is_supported);
    // What the reader sees is still there: 2000 entries; what was put over them is not.
    assert!(trimmed.bytes > 900 * 4096 && trimmed.bytes < 1400 * 4096, "{trimmed:?}");
    assert!(
        disk_bytes(&db) + trimmed.bytes <= before + 128 * 1024,
        "{before} bytes, now {}",
        disk_bytes(&db)
    );
    for key in 0..2000 {
        assert_eq!(old.get(BLOBS, &key).unwrap(), Some(&[1; 3000][..]));
    }
    drop(old);
    let trimmed = db.trim().unwrap();
    assert!(trimmed.bytes > 1500 * 4096, "{trimmed:?}");
    assert!(disk_bytes(&db) < 500 * 4096, "{} bytes", disk_bytes(&db));
    let stats = db.stats().unwrap();
    assert!(stats.hole_pages > 2700 && stats.free_pages < 100, "{stats:?}");
    assert_eq!(db.file_usage().unwrap().len, len, "it stays as long as it is");
    assert_eq!(db.trim().unwrap().bytes, 0, "there is no more");
    assert_holds(&db, 0..100, 1);
    assert_holds(&db, 1900..2000, 1);
    // It comes again, in the same file.
    fill(&db, 100..1900, 3);
    assert!(db.counters().filled_bytes > 1600 * 4096, "{:?}", db.counters());
    assert_holds(&db, 100..1900, 3);
    assert!(db.file_usage().unwrap().len < len + (2 << 20), "holes are used before the file grows");
}

#[test]
fn checkpoints_give_back_what_exceeds_a_reserve() {
    let off = TestDb::with(Options::new().auto_trim(false).held_limit(1 << 20));
    let db = TestDb::with(Options::new().held_limit(1 << 20));
    let mut bytes = Vec::new();
    for db in [&off, &db] {
        fill(db, 0..8000, 1);
        let before = disk_bytes(db);
        delete(db, 100..8000);
        touch(db);
        touch(db);
        bytes.push((before, disk_bytes(db), db.counters().punched_bytes));
        assert_holds(db, 0..100, 1);
    }
    let [(before, after, punched), (_, trimmed, given_back)] = bytes[..] else { unreachable!("two stores") };
    assert!(after + (1 << 20) > before && punched == 0, "off: {before}, then {after}");
    assert!(
        trimmed < before / 4 && given_back > before / 2,
        "{before}, then {trimmed}, {given_back} given back"
    );
    // The reserve stays: 2 MiB, and what the last checkpoints took.
    let stats = db.stats().unwrap();
    assert!(stats.free_pages > 512 && stats.hole_pages > 5000, "{stats:?}");
}

#[test]
fn a_steady_load_gives_nothing_back() {
    for durability in [Durability::Durable, Durability::Ordered] {
        let db = TestDb::with(Options::new().held_limit(1 << 20).log_limit(1 << 20).durability(durability));
        fill(&db, 0..4000, 1);
        let mut key = 1;
        for _ in 0..120 {
            db.write(|w| {
                (0..60).try_for_each(|_| {
                    key = key * 2_654_435_761 % 4000;
                    w.put(BLOBS, &key, &[2; 3000]).map(drop)
                })
            })
            .unwrap();
        }
        let counters = db.counters();
        assert!(counters.checkpoints > 10, "{counters:?}");
        assert_eq!((counters.punched_bytes, counters.filled_bytes), (0, 0), "{durability:?}");
    }
}

/// Fails what it is told to, and counts it.
#[derive(Default)]
struct Failing {
    reserves: AtomicBool,
    punches: AtomicBool,
    hits: AtomicU64,
}

impl Observer for Failing {
    fn before(&self, op: &Op<'_>) -> Verdict {
        let errno = match op {
            Op::Reserve { .. } if self.reserves.load(Ordering::SeqCst) => libc::ENOSPC,
            Op::Punch { .. } if self.punches.load(Ordering::SeqCst) => libc::EIO,
            _ => return Verdict::Proceed,
        };
        self.hits.fetch_add(1, Ordering::SeqCst);
        Verdict::Fail(std::io::Error::from_raw_os_error(errno))
    }
}

#[test]
fn a_full_disk_fails_the_txn_that_needs_a_hole_and_the_store_goes_on() {
    let failing = Arc::new(Failing::default());
    let db = TestDb::with(Options::new().observer(failing.clone()));
    fill(&db, 0..2000, 1);
    delete(&db, 100..2000);
    assert!(db.trim().unwrap().bytes > 1500 * 4096);
    failing.reserves.store(true, Ordering::SeqCst);
    let failed = db.write(|w| (100..1000).try_for_each(|key| w.put(BLOBS, &key, &[2; 3000]).map(drop)));
    assert!(
        matches!(&failed, Err(Error::Io { source, .. }) if source.raw_os_error() == Some(libc::ENOSPC)),
        "{failed:?}"
    );
    assert!(failing.hits.load(Ordering::SeqCst) > 0);
    assert_holds(&db, 0..100, 1);
    // What is free serves small txns, and deleting helps.
    db.write(|w| w.delete(BLOBS, &5)).unwrap();
    failing.reserves.store(false, Ordering::SeqCst);
    fill(&db, 100..1000, 3);
    assert_holds(&db, 100..1000, 3);
}

#[test]
fn holes_that_could_not_be_punched_are_holes_and_the_next_trim_punches_them() {
    let failing = Arc::new(Failing::default());
    let db = TestDb::with(Options::new().observer(failing.clone()).held_limit(1 << 20));
    fill(&db, 0..8000, 1);
    delete(&db, 100..8000);
    failing.punches.store(true, Ordering::SeqCst);
    let before = disk_bytes(&db);
    touch(&db);
    assert!(failing.hits.load(Ordering::SeqCst) > 0, "by itself, and the commit is done");
    assert!(db.stats().unwrap().hole_pages > 5000);
    assert!(matches!(db.trim(), Err(Error::Io { .. })));
    assert!(disk_bytes(&db) >= before);
    failing.punches.store(false, Ordering::SeqCst);
    db.trim().unwrap();
    assert!(disk_bytes(&db) < before / 10, "{before} bytes, now {}", disk_bytes(&db));
    assert_holds(&db, 0..100, 1);
}

#[test]
fn stores_in_memory_give_space_back_too() {
    let db = Database::in_memory().unwrap();
    fill(&db, 0..2000, 1);
    delete(&db, 100..2000);
    let before = disk_bytes(&db);
    let trimmed = db.trim().unwrap();
    assert!(trimmed.is_supported && trimmed.bytes > 1500 * 4096, "{trimmed:?}");
    assert!(disk_bytes(&db) + 1500 * 4096 < before, "{before} bytes, now {}", disk_bytes(&db));
    fill(&db, 100..2000, 2);
    assert_holds(&db, 100..2000, 2);
    assert!(db.verify(&mut |_| ()).unwrap().is_clean());
}

#[test]
fn whatever_the_size_of_a_page_holes_are_filled_before_they_are_used() {
    for page_size in [4096, 16_384, 65_536] {
        let db = TestDb::with(Options::new().page_size(page_size));
        for round in 1..4 {
            fill(&db, 0..3000, round);
            delete(&db, 50..3000);
            let trimmed = db.trim().unwrap();
            assert!(trimmed.bytes > 2500 * 3000, "{trimmed:?}");
            // Small txns behind it, in what is free and in holes.
            for key in 50..150 {
                db.write(|w| w.put(BLOBS, &key, &[round; 3000])).unwrap();
            }
            assert_holds(&db, 0..150, round);
        }
        assert!(db.counters().filled_bytes > 0);
    }
}

// ---- beside other processes ----

const FILE: &str = "MAPLEAF_TRIM_FILE";

/// A value that is told by its key and a seed; some have pages of their own.
fn value(key: u64, seed: u64) -> Vec<u8> {
    let len = if (key + seed).is_multiple_of(23) { 9000 } else { 700 };
    (0..len).map(|i| (i / 5 + key * 31 + seed * 17) as u8).collect()
}

fn contents(r: &ReadTxn) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    for entry in r.range(BLOBS, ..).unwrap() {
        let (key, value) = entry.unwrap();
        hasher.update(&key.to_be_bytes());
        hasher.update(value);
    }
    hasher.finalize()
}

fn put_some(db: &Database, keys: std::ops::Range<u64>, seed: u64) {
    db.write(|w| keys.clone().try_for_each(|key| w.put(BLOBS, &key, &value(key, seed)[..]).map(drop)))
        .unwrap();
}

/// Does nothing unless a test below has started it.
#[test]
fn child() {
    let Ok(path) = std::env::var(FILE) else { return };
    let db = open(&Options::new().held_limit(1 << 20), Path::new(&path));
    let mut pinned: Vec<(ReadTxn, u32)> = Vec::new();
    for line in std::io::stdin().lines() {
        let line = line.unwrap();
        let words: Vec<&str> = line.split(' ').collect();
        let number = |i: usize| words[i].parse::<u64>().unwrap();
        match words[0] {
            "pin" => {
                let r = db.begin_read().unwrap();
                let now = contents(&r);
                pinned.push((r, now));
            }
            "unpin" => drop((!pinned.is_empty()).then(|| pinned.remove(number(1) as usize % pinned.len()))),
            "put" => put_some(&db, number(1)..number(2), number(3)),
            "trim" => drop(db.trim().unwrap()),
            "check" => {}
            other => panic!("{other}"),
        }
        // Whatever became of the space, each of them sees what it saw.
        for (r, then) in &pinned {
            assert_eq!(contents(r), *then, "the snapshot of txn {} has changed", r.txn_id());
        }
        println!("\n@{}", contents(&db.begin_read().unwrap()));
        std::io::stdout().flush().unwrap();
    }
}

struct Other {
    process: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Other {
    fn start(path: &Path) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["child", "--exact", "--nocapture", "--test-threads=1"])
            .env(FILE, path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = process.stdin.take();
        let output = BufReader::new(process.stdout.take().unwrap());
        Other { process, input, output }
    }

    /// Tells it to do something; returns what it sees then.
    fn obey(&mut self, order: &str) -> u32 {
        writeln!(self.input.as_ref().unwrap(), "{order}").unwrap();
        let mut line = String::new();
        loop {
            line.clear();
            assert!(self.output.read_line(&mut line).unwrap() > 0, "it died of {order:?}");
            if let Some(answer) = line.strip_prefix('@') {
                return answer.trim().parse().unwrap();
            }
        }
    }

    fn end(mut self) {
        self.input = None;
        assert!(self.process.wait().unwrap().success());
    }
}

/// Two other processes pin, write and trim at random beside this one. Every snapshot stays what it was, and everyone sees
/// what the model says.
#[test]
fn space_goes_and_comes_while_other_processes_read_and_write() {
    let seed = std::env::var("MAPLEAF_SEED").map_or(7, |seed| seed.parse().unwrap());
    println!("seed {seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let options = Options::new().held_limit(1 << 20);
    let mut db = TestDb::with(options);
    put_some(&db, 0..1, 0);
    let mut others = [Other::start(&db.path()), Other::start(&db.path())];
    let mut model = BTreeMap::from([(0, 0)]);
    let (mut given_back, mut filled) = (0, 0);
    for round in 1..150u64 {
        let from = rng.random_range(0..4000u64);
        let to = from + [5, 60, 1500][rng.random_range(0..3)];
        let which = rng.random_range(0..2);
        match rng.random_range(0..12) {
            0 | 1 => {
                put_some(&db, from..to, round);
                model.extend((from..to).map(|key| (key, round)));
            }
            2 | 3 => {
                others[which].obey(&format!("put {from} {to} {round}"));
                model.extend((from..to).map(|key| (key, round)));
            }
            4 | 5 => {
                let to = from + rng.random_range(0..4000);
                db.write(|w| w.delete_range(BLOBS, from..to)).unwrap();
                model.retain(|key, _| !(from..to).contains(key));
            }
            6 => given_back += db.trim().unwrap().bytes,
            7 => drop(others[which].obey("trim")),
            8 => drop(others[which].obey("pin")),
            9 => drop(others[which].obey(&format!("unpin {from}"))),
            10 => db.checkpoint().unwrap(),
            _ => {
                filled += db.counters().filled_bytes;
                db.reopen();
            }
        }
        if round.is_multiple_of(7) {
            let mut hasher = crc32fast::Hasher::new();
            for (key, seed) in &model {
                hasher.update(&key.to_be_bytes());
                hasher.update(&value(*key, *seed));
            }
            let expected = hasher.finalize();
            assert_eq!(contents(&db.begin_read().unwrap()), expected, "round {round}");
            for other in &mut others {
                assert_eq!(other.obey("check"), expected, "round {round}");
            }
            common::assert_clean(&db);
        }
    }
    filled += db.counters().filled_bytes;
    assert!(given_back > 1 << 20 && filled > 1 << 20, "{given_back} given back, {filled} filled");
    others.into_iter().for_each(Other::end);
}

// ---- what else reads the file ----

#[test]
fn a_store_with_holes_is_backed_up_restored_salvaged_and_copied_as_any_other() {
    let db = TestDb::new();
    fill(&db, 0..2000, 1);
    let shelf = tempfile::tempdir().unwrap();
    let at = |name: &str| shelf.path().join(name);
    db.backup().unwrap().write_to(at("first"), &mut |_| {}).unwrap();
    delete(&db, 100..1900);
    db.trim().unwrap();
    fill(&db, 300..310, 2);
    let holes = db.stats().unwrap().hole_pages;
    assert!(holes > 1500, "{holes} pages");
    let zeros = (2..db.stats().unwrap().page_count).map(|page| db.page(page).unwrap());
    assert!(zeros.filter(|dump| dump.kind.starts_with("zeros")).count() as u64 >= holes);
    let first = BackupInfo::read(at("first")).unwrap();
    db.backup().unwrap().since(&first).unwrap().write_to(at("second"), &mut |_| {}).unwrap();
    Restore::of([at("first"), at("second")]).unwrap().write_to(at("restored"), &mut |_| {}).unwrap();
    let dead = db.after_death();
    Salvage::of(dead.path()).map(drop).unwrap_err();
    let copy = common::DeadStore::of(&db.path());
    let report = Salvage::of(copy.path()).unwrap().write_to(at("salvaged"), &mut |_| {}).unwrap();
    assert!(report.bad_pages.is_empty(), "{report:?}");
    for db in [&*dead, &open(&Options::new(), &at("restored")), &open(&Options::new(), &at("salvaged"))] {
        assert_holds(db, 0..100, 1);
        assert_holds(db, 1900..2000, 1);
        assert_holds(db, 300..310, 2);
        assert_eq!(db.begin_read().unwrap().table(BLOBS).unwrap().len(), 210);
        common::assert_clean(db);
        // They go on, in what is free and in holes.
        fill(db, 400..1400, 3);
        assert_holds(db, 400..1400, 3);
        common::assert_clean(db);
    }
}

/// Values want pages side by side, and fill holes for that; the record, which shares its page with others, says so.
#[test]
fn small_txns_with_values_in_holes_fit_their_records() {
    let db = TestDb::new();
    fill(&db, 0..3000, 1);
    for round in 0..3u64 {
        delete(&db, 100..u64::MAX);
        db.trim().unwrap();
        for i in 0..200 {
            let value = vec![round as u8; 5000 + (i * 997 % 10_000) as usize];
            let put =
                |w: &mut mapleaf::WriteTxn, j: u64| w.put(BLOBS, &(1000 + i * 4 + j), &value[..]).map(drop);
            db.write(|w| (0..1 + i % 4).try_for_each(|j| put(w, j))).unwrap();
        }
    }
    let counters = db.counters();
    assert!(counters.filled_bytes > 8 << 20 && counters.logged_commits > 300, "{counters:?}");
}

//! Damaged files: the right answer or an error that names the page, and nothing else.
//!
//! Three ways to look. *Rot* changes bytes and leaves checksums alone: whatever is still answered must be right.
//! *Unverified* is rot without comparing checksums, and *craft* puts the checksums right again: wrong answers are
//! possible then, but no panic, no signal, no endless walk. Seeds are printed when something fails; `MAPLEAF_SEED`
//! sets the first. The [`engine`] is that of `cargo run --release -p mapleaf-bench --bin faults -- mutations`, which
//! tries a hundred thousand damages, each in a process that may die of it.

mod engine;

use engine::damages::{Class, Good, damage, fix_checksums};
use engine::judge::{Suspect, judge};
use engine::shapes::{self, Contents};
use engine::{Mode, Outcome};
use mapleaf::{Database, Error, Options, Result, Table};
use rand::prelude::*;
use std::collections::BTreeMap;
use std::path::Path;

const NUMBERS: Table<u64, u64> = Table::new("numbers");
const WORDS: Table<str, [u8]> = Table::new("words");
const PAGE: usize = 4096;
/// `MAPLEAF_ROUNDS` makes it fewer, where everything takes longer.
fn rounds() -> u64 {
    std::env::var("MAPLEAF_ROUNDS").map_or(400, |rounds| rounds.parse().unwrap())
}
/// Damages of each class.
const DAMAGES: u64 = 10;

fn directory() -> tempfile::TempDir {
    tempfile::tempdir_in(if Path::new("/dev/shm").is_dir() { "/dev/shm" } else { "." }).unwrap()
}

fn first_seed() -> u64 {
    std::env::var("MAPLEAF_SEED").map_or(0, |seed| seed.parse().unwrap())
}

/// Good files of every shape, and what each txn left in them.
fn good_files(directory: &Path) -> Vec<(&'static str, bool, Good, Vec<Contents>)> {
    let make = |shape: shapes::Shape| {
        let stages = shape.make(&directory.join("good.maple"));
        std::fs::remove_file(directory.join("good.maple")).unwrap();
        (shape.name, shape.is_left_open, Good::mapleaf(shape.page_size, stages), shape.states())
    };
    shapes::all().into_iter().map(make).collect()
}

/// Judges damages of every class. Returns how many had which outcome.
fn each_damage(mode: Mode) -> BTreeMap<&'static str, u64> {
    let directory = directory();
    let files = good_files(directory.path());
    let mut counts = BTreeMap::new();
    let first = first_seed();
    for (i, class) in (0..DAMAGES).flat_map(|i| Class::ALL.map(|class| (i, class))) {
        let seed = first + i * 100 + class as u64;
        // Debug builds assert after every commit that all pages are accounted for, and replaying a log ends in
        // one: so where there is a log, only the log is damaged.
        let suits = |is_left_open: bool| is_left_open == (class == Class::Log);
        let suitable: Vec<_> = files.iter().filter(|(_, is_left_open, ..)| suits(*is_left_open)).collect();
        let (name, _, good, states) = suitable[seed as usize % suitable.len()];
        let mut damaged = damage(class, good, &mut StdRng::seed_from_u64(seed));
        if mode == Mode::Crafted {
            fix_checksums(good, &mut damaged);
        }
        let suspect = Suspect { good, damaged: &damaged, states, mode, seed };
        let outcome = judge(&suspect, &directory.path().join(format!("{seed}.maple")));
        if let Outcome::Failed(failure) = &outcome {
            panic!("{mode:?}, seed {seed}, {} of {name}: {failure}", class.name());
        }
        *counts.entry(outcome.name()).or_default() += 1;
    }
    println!("{mode:?}: {counts:?}");
    counts
}

fn tried(class: &str, test: &str, cases: u64) {
    println!("tried: {class} | {test} | {cases}");
}

#[test]
fn rot_gives_the_right_answer_or_an_error() {
    let counts = each_damage(Mode::Rot);
    let count = |name: &str| counts.get(name).copied().unwrap_or(0);
    assert!(count("right") > 0 && count("partly") > 10 && count("refused") > 5, "{counts:?}");
    tried("F13", "damage::rot_gives_the_right_answer_or_an_error", counts.values().sum());
}

#[test]
fn rot_that_is_not_looked_for_cannot_make_it_panic_or_walk_for_ever() {
    let counts = each_damage(Mode::Unverified);
    let name = "damage::rot_that_is_not_looked_for_cannot_make_it_panic_or_walk_for_ever";
    tried("F13", name, counts.values().sum());
}

#[test]
fn control_without_verification_wrong_answers_are_found() {
    let directory = directory();
    let files = good_files(directory.path());
    let (_, _, good, states) = files.iter().find(|(name, ..)| *name == "fixed").unwrap();
    let failures = |seed: &u64| {
        let damaged = damage(Class::ManyBits, good, &mut StdRng::seed_from_u64(*seed));
        let suspect = Suspect { good, damaged: &damaged, states, mode: Mode::Control, seed: *seed };
        matches!(judge(&suspect, &directory.path().join("control.maple")), Outcome::Failed(_))
    };
    assert!((0..20).filter(failures).count() > 5);
}

#[test]
fn crafted_files_cannot_make_it_panic_or_walk_for_ever() {
    let counts = each_damage(Mode::Crafted);
    tried("F28", "damage::crafted_files_cannot_make_it_panic_or_walk_for_ever", counts.values().sum());
}

#[test]
fn a_meta_slot_that_was_lost_or_damaged_is_reported() {
    let directory = directory();
    let path = directory.path().join("store.maple");
    let db = open(&path);
    for i in 0..4 {
        db.write(|w| w.put(NUMBERS, &i, &i).map(drop)).unwrap();
        db.checkpoint().unwrap();
    }
    drop(db);
    let good = std::fs::read(&path).unwrap();
    let mut reported = 0;
    for (slot, byte) in [(0, 0), (PAGE, 0), (0, 0x5a), (PAGE, 0x5a)] {
        let mut file = good.clone();
        file[slot..slot + 512].fill(byte);
        std::fs::write(&path, &file).unwrap();
        let db = open(&path);
        let report = db.verify(&mut |_| {}).unwrap();
        // The log of the older slot may hold all that the newer one did: then nothing is lost, and both are written.
        let entries = db.begin_read().unwrap().len(NUMBERS).unwrap();
        let problems = db.stats().unwrap().meta_problems.len();
        let what = format!("{byte} all over the slot at {slot}: {entries} entries, {problems} problems");
        assert_eq!(report.is_clean(), problems == 0, "{what}");
        assert!(entries == 4 || entries == 3 && problems == 1, "{what}");
        reported += problems;
    }
    assert!(reported > 1, "{reported} of 4 are reported");
    tried("F14", "damage::a_meta_slot_that_was_lost_or_damaged_is_reported", 4);
}

/// A store with a log of this many txns, as the death of its processes leaves it: txn `k` puts `k`.
const LOGGED: u64 = 60;

fn open(path: &Path) -> Database {
    // SAFETY: the file is this test's own.
    unsafe { Options::new().open(path) }.unwrap()
}

fn file_with_a_log(path: &Path) -> Vec<u8> {
    let db = open(path);
    for txn in 0..LOGGED {
        db.write(|w| {
            w.set_user_version(txn);
            w.put(NUMBERS, &txn, &(txn * txn)).map(|_| w.put(WORDS, &txn.to_string(), &[7; 300][..]))
        })
        .unwrap()
        .unwrap();
        if txn == 2 {
            db.checkpoint().unwrap();
        }
    }
    std::fs::read(path).unwrap()
}

/// Byte ranges of the log of the newest meta slot.
fn log_ranges(file: &[u8]) -> Vec<std::ops::Range<usize>> {
    let word = |at: usize| u64::from_le_bytes(file[at..at + 8].try_into().unwrap()) as usize;
    let slot = if word(56) > word(PAGE + 56) { 0 } else { PAGE };
    let extents = (0..16).map(|i| (word(slot + 136 + 16 * i), word(slot + 144 + 16 * i)));
    extents.filter(|(_, pages)| *pages > 0).map(|(page, pages)| page * PAGE..(page + pages) * PAGE).collect()
}

/// Opens every damaged file; what opens must hold what some whole txn left.
fn each_damaged_log(name: &str, is_crafted: bool, damage: impl Fn(&mut [u8], &mut StdRng)) {
    let directory = directory();
    let good = file_with_a_log(&directory.path().join("good.maple"));
    assert!(!log_ranges(&good).is_empty());
    let mut found = std::collections::BTreeSet::new();
    for seed in first_seed()..first_seed() + rounds() {
        let mut file = good.clone();
        damage(&mut file, &mut StdRng::seed_from_u64(seed));
        let path = directory.path().join(format!("{seed}.maple"));
        std::fs::write(&path, &file).unwrap();
        // SAFETY: the file is this test's own.
        let db = match unsafe { Options::new().open(&path) } {
            Ok(db) => db,
            Err(Error::Corrupt { .. } | Error::NotAStore { .. }) => continue,
            Err(error) => panic!("{name}, seed {seed}: {error}"),
        };
        let r = db.begin_read().unwrap();
        let last = r.user_version();
        found.insert(last);
        let entries: Vec<(u64, u64)> = r.iter(NUMBERS).unwrap().collect::<Result<_>>().unwrap();
        assert!(entries.into_iter().eq((0..=last).map(|k| (k, k * k))), "{name}, seed {seed}: txn {last}");
        let is_the_end = is_crafted || last + 2 >= LOGGED - 1;
        assert!(is_the_end, "{name}, seed {seed}: txn {last} in silence");
    }
    println!("{name}: {} different states", found.len());
    tried(if is_crafted { "F28" } else { "F13" }, &format!("damage::{name}"), rounds());
    assert!(found.len() > 1, "{name}: always {found:?}");
}

#[test]
fn a_damaged_log_is_refused_unless_its_last_flush_was_damaged() {
    each_damaged_log("a_damaged_log_is_refused_unless_its_last_flush_was_damaged", false, |file, random| {
        let ranges = log_ranges(file);
        let range = ranges[random.random_range(0..ranges.len())].clone();
        // Where the records are.
        let at = range.start + random.random_range(0..range.len().min(30_000));
        match random.random_range(0..3) {
            0 => file[at] ^= 1 << random.random_range(0..8),
            1 => file[at / 512 * 512..][..512].fill(0),
            _ => random.fill_bytes(&mut file[at / 512 * 512..][..512]),
        }
    });
}

#[test]
fn crafted_places_of_the_log_are_refused_or_hold_no_records() {
    each_damaged_log("crafted_places_of_the_log_are_refused_or_hold_no_records", true, |file, random| {
        let slot = if random.random() { 0 } else { PAGE };
        let at = slot + 128 + 8 * random.random_range(0..33);
        let number: u64 = match random.random_range(0..4) {
            0 => random.random(),
            1 => 1 << random.random_range(0..64),
            _ => random.random_range(0..40),
        };
        file[at..at + 8].copy_from_slice(&number.to_le_bytes());
        let checksum = crc32fast::hash(&file[slot + 12..slot + 512]).to_le_bytes();
        file[slot + 8..slot + 12].copy_from_slice(&checksum);
    });
}

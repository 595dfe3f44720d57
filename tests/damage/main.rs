//! Damaged files: the right answer or an error that names the page, and nothing else.
//!
//! Two kinds. *Rot* changes bytes and leaves checksums alone: whatever is still answered must be right.
//! *Craft* puts the checksums right again: wrong answers are possible then, but no panic, no signal, no
//! endless walk. Seeds are printed when something fails; `MAPLEAF_SEED` sets the first.

mod common;

use mapleaf::{Database, Error, Options, Result, Table};
use rand::prelude::*;
use std::path::Path;

const NUMBERS: Table<u64, u64> = Table::new("numbers");
const WORDS: Table<str, [u8]> = Table::new("words");
const PAGE: usize = 4096;
const ROUNDS: u64 = 400;

fn word(i: u64) -> (String, Vec<u8>) {
    let len = if i.is_multiple_of(40) { 9000 } else { 20 + i % 300 };
    (format!("some/common/prefix/{:06}", i * 7919 % 1_000_003), vec![i as u8; len as usize])
}

/// A store of a few hundred pages with several tables, levels and large values, and holes.
fn good_file(path: &Path) -> Vec<u8> {
    let db = common::open(&Options::new(), path);
    db.write(|w| {
        for i in 0..2000 {
            let (key, value) = word(i);
            w.put(WORDS, &key[..], &value[..])?;
            w.put(NUMBERS, &i, &(i * i))?;
        }
        Ok::<_, Error>(())
    })
    .unwrap();
    db.write(|w| {
        for i in (0..2000).step_by(3) {
            w.delete(WORDS, &word(i).0[..])?;
        }
        Ok::<_, Error>(())
    })
    .unwrap();
    drop(db);
    std::fs::read(path).unwrap()
}

fn damage(file: &mut [u8], random: &mut StdRng) {
    let page = random.random_range(0..file.len() / PAGE) * PAGE;
    match random.random_range(0..10) {
        0 => file[page..page + PAGE].fill(0),
        1 => random.fill_bytes(&mut file[page..page + PAGE]),
        2 => {
            let other = random.random_range(0..file.len() / PAGE) * PAGE;
            file.copy_within(other..other + PAGE, page);
        }
        3 => {
            // The header is where the damage is worst.
            let at = page + random.random_range(0..40);
            file[at] = random.random();
        }
        _ => {
            for _ in 0..random.random_range(1..20) {
                let at = page + random.random_range(0..PAGE);
                file[at] = random.random();
            }
        }
    }
}

fn fix_checksums(file: &mut [u8]) {
    for slot in [0, PAGE] {
        let checksum = crc32fast::hash(&file[slot + 12..slot + 512]).to_le_bytes();
        file[slot + 8..slot + 12].copy_from_slice(&checksum);
    }
    for page in file.chunks_mut(PAGE).skip(2) {
        let checksum = crc32fast::hash(&page[4..]).to_le_bytes();
        page[..4].copy_from_slice(&checksum);
    }
}

fn each_damage(name: &str, crafted: bool, check: impl Fn(&Database) -> Result<()>) {
    let directory =
        tempfile::tempdir_in(if Path::new("/dev/shm").is_dir() { "/dev/shm" } else { "." }).unwrap();
    let good = good_file(&directory.path().join("good.maple"));
    let first = std::env::var("MAPLEAF_SEED").map_or(0, |seed| seed.parse().unwrap());
    let mut refused = 0;
    for seed in first..first + ROUNDS {
        let mut random = StdRng::seed_from_u64(seed);
        let mut file = good.clone();
        (0..random.random_range(1..4)).for_each(|_| damage(&mut file, &mut random));
        if crafted {
            fix_checksums(&mut file);
        }
        let path = directory.path().join(format!("{seed}.maple"));
        std::fs::write(&path, &file).unwrap();
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            // SAFETY: the file is this test's own.
            let db = unsafe { Options::new().max_size(1 << 25).open(&path)? };
            check(&db)
        }));
        match outcome {
            Ok(Ok(())) => {}
            Ok(Err(Error::Corrupt { .. } | Error::NotAStore { .. } | Error::Decode { .. })) => refused += 1,
            other => panic!("{name}, seed {seed}: {other:?}"),
        }
        std::fs::remove_file(&path).unwrap();
        std::fs::remove_file(path.with_extension("maple-lock")).unwrap_or(());
    }
    assert!(refused > ROUNDS / 20, "{name}: only {refused} of {ROUNDS} damages were noticed");
}

#[test]
fn rot_gives_the_right_answer_or_an_error() {
    each_damage("rot", false, |db| {
        let r = db.begin_read()?;
        for i in 0..2000 {
            // An older state is right too: where the newest meta slot is lost, the store falls back.
            let (key, value) = word(i);
            if let Some(found) = r.get(WORDS, &key[..])? {
                assert_eq!(found, &value[..]);
            }
            if let Some(found) = r.get(NUMBERS, &i)? {
                assert_eq!(found, i * i);
            }
        }
        if r.txn_id() == 3 {
            assert_eq!(r.iter(NUMBERS)?.collect::<Result<Vec<_>>>()?.len(), 2000);
            assert_eq!(r.iter(WORDS)?.rev().collect::<Result<Vec<_>>>()?.len(), 1333);
        }
        Ok(())
    });
}

#[test]
fn crafted_files_cannot_make_it_panic_or_walk_for_ever() {
    each_damage("craft", true, |db| {
        let report = db.verify(&mut |_| {})?;
        let _ = db.stats();
        (0..20).for_each(|page| drop(db.page(page)));
        let r = db.begin_read()?;
        for table in r.tables()? {
            let Some(view) = r.raw_table(&table.name)? else { continue };
            let forwards = view.iter().take(100_000).filter(Result::is_ok).count();
            let backwards = view.iter().rev().take(100_000).filter(Result::is_ok).count();
            assert!(forwards < 100_000 && backwards < 100_000, "more entries than the file can hold");
            let _ = (view.get(&b"some"[..]), view.nth(7), view.rank(&b"some"[..]), view.count(..));
        }
        let mut w = db.begin_write()?;
        for i in 0..50 {
            let (key, value) = word(i);
            w.delete(WORDS, &key[..])?;
            w.put(WORDS, &key[..], &value[..])?;
        }
        w.drop_table("numbers")?;
        // Debug builds assert the accounting after a commit, which a crafted file need not pass.
        if report.is_clean() { w.commit() } else { Ok(()) }
    });
}

/// A store with a log of this many txns, as the death of its processes leaves it: txn `k` puts `k`.
const LOGGED: u64 = 60;

fn file_with_a_log(path: &Path) -> Vec<u8> {
    let db = common::open(&Options::new(), path);
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
fn each_damaged_log(name: &str, may_refuse: bool, damage: impl Fn(&mut [u8], &mut StdRng)) {
    let directory = tempfile::tempdir().unwrap();
    let good = file_with_a_log(&directory.path().join("good.maple"));
    assert!(!log_ranges(&good).is_empty());
    let mut found = std::collections::BTreeSet::new();
    for seed in 0..ROUNDS {
        let mut file = good.clone();
        damage(&mut file, &mut StdRng::seed_from_u64(seed));
        let path = directory.path().join(format!("{seed}.maple"));
        std::fs::write(&path, &file).unwrap();
        // SAFETY: the file is this test's own.
        let db = match unsafe { Options::new().open(&path) } {
            Ok(db) => db,
            Err(Error::Corrupt { .. } | Error::NotAStore { .. }) if may_refuse => continue,
            Err(error) => panic!("{name}, seed {seed}: {error}"),
        };
        let r = db.begin_read().unwrap();
        let last = r.user_version();
        found.insert(last);
        let entries: Vec<(u64, u64)> = r.iter(NUMBERS).unwrap().collect::<Result<_>>().unwrap();
        assert!(entries.into_iter().eq((0..=last).map(|k| (k, k * k))), "{name}, seed {seed}: txn {last}");
        let is_the_end = !name.starts_with("rot") || last + 2 >= LOGGED - 1;
        assert!(is_the_end, "{name}, seed {seed}: txn {last} in silence");
    }
    println!("{name}: {} different states", found.len());
    assert!(found.len() > 1, "{name}: always {found:?}");
}

#[test]
fn a_damaged_log_is_refused_unless_its_last_flush_was_damaged() {
    each_damaged_log("rot in the log", true, |file, random| {
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
    each_damaged_log("crafted places", true, |file, random| {
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

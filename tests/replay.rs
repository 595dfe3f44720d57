//! The redo log, exactly: what is replayed after the death of every process is what was there, with all that counts
//! and ranks say, however often, and however far an earlier replay came.
//!
//! Random txns of every kind of change, small enough for the log, in tables and multimaps of all layouts. The store
//! itself is the model: that it is right is what other tests are for.

#![allow(unsafe_code)]

mod common;

use common::{DeadStore, TestDb, assert_clean, open};
use mapleaf::{
    Database, MultiTable, Observer, Op, Options, ReadTxn, Result, Schema, Table, Verdict, WriteTxn,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

const BYTES: Table<[u8], [u8]> = Table::new("bytes");
const NUMBERS: Table<u64, u64> = Table::new("numbers");
const TAGS: MultiTable<[u8], [u8]> = MultiTable::new("tags");
const PAIRS: MultiTable<u64, u64> = MultiTable::new("pairs");
const LINKS: MultiTable<u64, [u8]> = MultiTable::new("links");
/// A multimap whose only value is the empty one.
const UNITS: &str = "units";

/// What a table holds and says of itself: each entry, in order, with what was asked about it.
#[derive(PartialEq, Debug)]
struct Seen {
    name: String,
    id: u32,
    schema: Schema,
    apart: u64,
    entries: Vec<(Vec<u8>, Vec<u8>)>,
}

fn see(db: &Database) -> Result<(Vec<Seen>, u64)> {
    let r = db.begin_read()?;
    let mut all = Vec::new();
    for info in r.tables()? {
        let mut entries: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        if info.schema.multi {
            let table = r.raw_multi(&info.name)?.expect("it is listed");
            for pair in table.iter() {
                let (key, value) = pair?;
                let place = entries.len() as u64;
                assert_eq!(table.rank_of(key, value)?, place);
                assert_eq!(table.nth(place)?, Some((key, value)));
                entries.push((key.to_vec(), value.to_vec()));
            }
            for (i, (key, _)) in entries.iter().enumerate().step_by(7 + entries.len() / 100) {
                let of_key = entries.iter().filter(|(other, _)| other == key).count() as u64;
                assert_eq!((table.count_values(&key[..])?, table.values(&key[..])?.len()), (of_key, of_key));
                assert_eq!(table.count(..=&key[..])? - of_key, table.rank(&key[..])?);
                assert!(table.rank(&key[..])? <= i as u64);
            }
        } else {
            let table = r.raw_table(&info.name)?.expect("it is listed");
            for entry in table.iter() {
                let (key, value) = entry?;
                let place = entries.len() as u64;
                assert_eq!((table.rank(key)?, table.nth(place)?), (place, Some((key, value))));
                entries.push((key.to_vec(), value.to_vec()));
            }
        }
        assert_eq!(info.len, entries.len() as u64, "{}", info.name);
        let apart = info.overflow_pages + info.set_trees;
        all.push(Seen { name: info.name, id: info.id, schema: info.schema, apart, entries });
    }
    Ok((all, r.user_version()))
}

/// Any key of a few: short, long, and such as begin with each other.
fn key(rng: &mut StdRng) -> Vec<u8> {
    let number = rng.random_range(0..60u8);
    match number % 3 {
        0 => vec![number],
        1 => [vec![number], vec![7; usize::from(number)]].concat(),
        _ => [b"key".to_vec(), vec![number; 400]].concat(),
    }
}

fn value(rng: &mut StdRng, longest: usize) -> Vec<u8> {
    let len = rng.random_range(0..=longest);
    vec![rng.random(); len]
}

/// A change of any kind. `old` is the snapshot that the txn began with.
fn change(w: &mut WriteTxn, rng: &mut StdRng, old: &ReadTxn, depth: u32) -> Result<()> {
    match rng.random_range(0..36) {
        0..3 => {
            let longest = if rng.random_range(0..4) == 0 { 9000 } else { 300 };
            w.put(BYTES, &key(rng)[..], &value(rng, longest)[..]).map(drop)
        }
        3 => w.delete(BYTES, &key(rng)[..]).map(drop),
        4 => {
            let (from, to) = (key(rng), key(rng));
            match rng.random_range(0..4) {
                0 => w.delete_range(BYTES, &from[..]..).map(drop),
                1 => w.delete_range(BYTES, &from[..]..=&to[..]).map(drop),
                _ => w.delete_range(BYTES, &from[..]..&to[..]).map(drop),
            }
        }
        5 => {
            let seed: u8 = rng.random();
            w.update_in_place(BYTES, &key(rng)[..], |bytes| bytes.iter_mut().for_each(|b| *b ^= seed))
                .map(drop)
        }
        6 => {
            let entries: Vec<_> = (0..rng.random_range(1..20)).map(|_| (key(rng), value(rng, 99))).collect();
            w.bulk_load(BYTES, entries).map(drop)
        }
        7 | 8 => {
            let from = rng.random_range(0..400u64);
            (from..from + rng.random_range(1..30))
                .try_for_each(|i| w.put(NUMBERS, &i, &rng.random::<u64>()).map(drop))
        }
        9 => {
            let from = rng.random_range(0..400u64);
            w.delete_range(NUMBERS, from..from + rng.random_range(0..80)).map(drop)
        }
        10 => {
            let last = w.last(NUMBERS)?.map_or(0, |(last, _)| last);
            w.append(NUMBERS, &(last + 1), &rng.random::<u64>())
        }
        11..14 => {
            let key = key(rng);
            let count = rng.random_range(1..9);
            (0..count).try_for_each(|_| w.put_value(TAGS, &key[..], &value(rng, 500)[..]).map(drop))
        }
        14 => {
            let key = key(rng);
            let values: Vec<Vec<u8>> =
                w.values(TAGS, &key[..])?.map(|v| v.map(<[u8]>::to_vec)).collect::<Result<_>>()?;
            let gone = values.iter().step_by(rng.random_range(1..3));
            gone.into_iter().try_for_each(|value| w.delete_value(TAGS, &key[..], &value[..]).map(drop))
        }
        15 => w.delete_values(TAGS, &key(rng)[..]).map(drop),
        16 => {
            let (from, to) = (key(rng), key(rng));
            w.delete_keys(TAGS, &from[..]..&to[..]).map(drop)
        }
        17 | 18 => {
            let (key, from) = (rng.random_range(0..6u64), rng.random_range(0..900u64));
            let values = from..from + rng.random_range(1..200);
            values.into_iter().try_for_each(|value| w.put_value(PAIRS, &key, &value).map(drop))
        }
        19 => {
            let (key, from) = (rng.random_range(0..6u64), rng.random_range(0..900u64));
            let values = from..from + rng.random_range(1..400);
            values.into_iter().try_for_each(|value| w.delete_value(PAIRS, &key, &value).map(drop))
        }
        20 => {
            let from = rng.random_range(0..6u64);
            w.delete_keys(PAIRS, from..from + 2).map(drop)
        }
        21 => {
            let key = rng.random_range(0..4u64);
            let count = rng.random_range(1..4);
            (0..count).try_for_each(|_| w.put_value(LINKS, &key, &value(rng, 1900)[..]).map(drop))?;
            w.delete_values(LINKS, &rng.random_range(0..4u64)).map(drop)
        }
        22 => {
            let key = key(rng);
            match w.raw_multi(UNITS)?.is_some() {
                false => {
                    let schema = Schema { multi: true, value_width: Some(0), ..Schema::bytes() };
                    w.create_table(UNITS, &schema)
                }
                true if rng.random_range(0..3) == 0 => w.raw_delete_value(UNITS, &key, b"").map(drop),
                true => w.raw_put_value(UNITS, &key, b"").map(drop),
            }
        }
        23 => {
            let names = ["bytes", "numbers", "tags", "pairs", "links", UNITS];
            let name = names[rng.random_range(0..names.len())];
            match rng.random_range(0..3) {
                0 => w.drop_table(name).map(drop),
                1 if w.tables()?.iter().any(|info| info.name == name) => {
                    w.drop_table("away")?;
                    w.rename_table(name, "away")
                }
                _ => Ok(()),
            }
        }
        26.. => change_one(w, rng, old),
        _ if depth == 3 => Ok(()),
        which => {
            let mut nested = w.begin_nested()?;
            (0..rng.random_range(1..5)).try_for_each(|_| change(&mut nested, rng, old, depth + 1))?;
            if which == 24 { nested.commit() } else { Ok(()) }
        }
    }
}

/// A change of an entry, or of those that a closure chooses.
fn change_one(w: &mut WriteTxn, rng: &mut StdRng, old: &ReadTxn) -> Result<()> {
    let number = rng.random_range(0..400u64);
    match rng.random_range(0..14) {
        0 => w.remove(BYTES, &key(rng)[..]).map(drop),
        1 => w.pop_first(NUMBERS).map(drop),
        2 => w.pop_last(BYTES).map(drop),
        3 => w.retain(NUMBERS, number..number + 40, |key, value| (key ^ value) % 3 > 0).map(drop),
        4 => w
            .extract_if(BYTES, .., |_, value| value.len() % 5 == 0)?
            .take(3)
            .try_for_each(|one| one.map(drop)),
        5 => {
            let mut cursor = w.cursor_mut(BYTES)?;
            cursor.seek_ge(&key(rng)[..])?;
            cursor.replace(&value(rng, 200)[..])?;
            cursor.next()?;
            cursor.delete()?;
            cursor.put(&key(rng)[..], &value(rng, 5000)[..]).map(drop)
        }
        6 => w.entry(NUMBERS, &number)?.or_insert(&7).map(drop),
        7 => w.entry(NUMBERS, &number)?.and_modify(|value| value ^ 1)?.insert(&number).map(drop),
        8 => {
            let there = w.get(NUMBERS, &number)?;
            let new = rng.random_range(0..2) == 0;
            w.compare_and_swap(NUMBERS, &number, there.as_ref(), new.then_some(&number)).map(drop)
        }
        9 => {
            let (len, fill) = (rng.random_range(0..7000), rng.random());
            w.reserve(BYTES, &key(rng)[..], len, |bytes| bytes.fill(fill))
        }
        10 => w.put_from(BYTES, &key(rng)[..], 6000, std::io::repeat(rng.random())).map(drop),
        11 => w.update(NUMBERS, &number, |value| value.unwrap_or(0) + 1).map(drop),
        12 if number < 40 => w.clear_table(NUMBERS).map(drop),
        _ => {
            let name = ["bytes", "numbers", "tags", "pairs", UNITS][rng.random_range(0..5)];
            if old.tables()?.iter().all(|info| info.name != name) {
                return Ok(());
            }
            w.drop_table(name)?;
            w.copy_table(old, name).map(drop)
        }
    }
}

/// The store of which `dead` is a copy, once the replay has written all its pages, but neither meta slot: the power was
/// cut there, and it is opened again.
fn cut_before_the_meta(dead: &DeadStore, replayed: &TestDb) -> Database {
    const META: usize = 8192;
    let mut bytes = std::fs::read(replayed.path()).unwrap();
    bytes[..META].copy_from_slice(&std::fs::read(dead.path()).unwrap()[..META]);
    std::fs::write(dead.path(), bytes).unwrap();
    open(&Options::new(), &dead.path())
}

fn replays(seed: u64) -> [u64; 2] {
    let rng = &mut StdRng::seed_from_u64(seed);
    let db = TestDb::new();
    let mut replayed = 0;
    for round in 0..24u64 {
        let old = db.begin_read().unwrap();
        let mut w = db.begin_write().unwrap();
        w.set_user_version(round);
        for _ in 0..rng.random_range(1..10) {
            change(&mut w, rng, &old, 0).unwrap();
        }
        w.commit().unwrap();
        if round % 3 > 0 {
            continue;
        }
        let expected = see(&db).unwrap();
        let dead = DeadStore::of(&db.path());
        let recovered = db.after_death();
        assert!(
            see(&recovered).unwrap() == expected,
            "seed {seed}, round {round}: something else was replayed"
        );
        replayed += recovered.counters().replayed_txns;
        if recovered.counters().replayed_txns > 0 {
            let again = cut_before_the_meta(&dead, &recovered);
            assert!(see(&again).unwrap() == expected, "seed {seed}, round {round}: not the same again");
            assert_clean(&again);
        }
        let twice = recovered.after_death();
        assert!(see(&twice).unwrap() == expected && twice.counters().replayed_txns == 0);
    }
    [db.counters().logged_commits, replayed]
}

#[test]
fn what_is_replayed_is_what_was_there() {
    let seeds = std::env::var("MAPLEAF_SEED").ok().map_or(0..8, |seed| {
        let seed = seed.parse().expect("a number");
        seed..seed + 1
    });
    let (mut logged, mut replayed) = (0, 0);
    for seed in seeds.clone() {
        let [more_logged, more_replayed] = replays(seed);
        (logged, replayed) = (logged + more_logged, replayed + more_replayed);
    }
    let runs = seeds.end - seeds.start;
    println!("{runs} runs: {logged} logged commits, {replayed} replayed");
    assert!(logged >= 10 * runs && replayed >= 10 * runs, "{logged} logged, {replayed} replayed");
}

/// Counts writes.
#[derive(Default)]
struct Writes(AtomicUsize);

impl Observer for Writes {
    fn before(&self, op: &Op<'_>) -> Verdict {
        self.0.fetch_add(usize::from(matches!(op, Op::Write { .. })), Relaxed);
        Verdict::Proceed
    }
}

/// More than recovery may keep in memory: pages that it has written itself are cut, joined and taken apart again.
#[test]
fn a_long_log_is_replayed_within_little_memory() {
    for seed in 0..2 {
        let rng = &mut StdRng::seed_from_u64(seed);
        let db = TestDb::new();
        db.write(|w| fill(w, rng)).unwrap();
        db.checkpoint().unwrap();
        for _ in 0..90 {
            let mut w = db.begin_write().unwrap();
            (0..8).for_each(|_| change_large(&mut w, rng).unwrap());
            w.commit().unwrap();
        }
        let expected = see(&db).unwrap();
        let replay = |dirty_limit: usize| {
            let dead = DeadStore::of(&db.path());
            let writes = Arc::new(Writes::default());
            let options = Options::new().dirty_limit(dirty_limit).observer(Arc::clone(&writes) as _);
            let recovered = open(&options, &dead.path());
            let found = see(&recovered).unwrap();
            assert!(found == expected, "seed {seed}: something else was replayed");
            assert_clean(&recovered);
            assert!(recovered.counters().replayed_txns > 20);
            writes.0.load(Relaxed)
        };
        let (at_once, early) = (replay(64 << 20), replay(1 << 20));
        assert!(early > at_once, "{early} writes, where nothing is written early {at_once}");
    }
}

fn tag(rng: &mut StdRng) -> Vec<u8> {
    [&rng.random::<u64>().to_be_bytes()[..], &[9; 300]].concat()
}

fn fill(w: &mut WriteTxn, rng: &mut StdRng) -> Result<()> {
    for i in 0..6000u64 {
        w.put(BYTES, &i.to_be_bytes()[..], &[1; 400][..])?;
    }
    (0..4000u64).try_for_each(|i| w.put_value(TAGS, &(i / 16).to_be_bytes()[..], &tag(rng)[..]).map(drop))
}

/// Changes a place of what [`fill`] has made.
fn change_large(w: &mut WriteTxn, rng: &mut StdRng) -> Result<()> {
    let at = rng.random_range(0..6000u64);
    let (key, behind) = (at.to_be_bytes(), (at + rng.random_range(1..40)).to_be_bytes());
    let (of_tag, two_on) = ((at % 250).to_be_bytes(), (at % 250 + 2).to_be_bytes());
    match rng.random_range(0..9) {
        0 | 1 => w.delete_range(BYTES, &key[..]..&behind[..]).map(drop),
        2 => w.put(BYTES, &key[..], &[2; 5000][..]).map(drop),
        3 => w.delete_keys(TAGS, &of_tag[..]..&two_on[..]).map(drop),
        4..7 => (0..9).try_for_each(|_| w.put_value(TAGS, &of_tag[..], &tag(rng)[..]).map(drop)),
        _ => w.put(BYTES, &key[..], &[3; 500][..]).map(drop),
    }
}

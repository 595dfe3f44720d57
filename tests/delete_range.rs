//! Deleting ranges: the same as deleting each key, for every kind of bounds, form of leaf and history of the
//! txn; and what is read for it.

mod common;
mod oracle;

use common::TestDb;
use mapleaf::{Database, Durability, Error, Options, Savepoint, Table, WriteTxn};
use oracle::{Image, Live, Scribe};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::ops::Bound::{self, Excluded, Included, Unbounded};

const NUMBERS: Table<u64, u64> = Table::new("numbers");
/// Long keys with long separators: a few thousand make a tree of five levels.
const DEEP: Table<[u8], [u8]> = Table::new("deep");
/// Short keys, some values in pages of their own.
const MIXED: Table<[u8], [u8]> = Table::new("mixed");
const TABLES: [&str; 3] = ["numbers", "deep", "mixed"];

/// So many keys each table can have.
const KEYS: u16 = 4096;

fn key(table: usize, i: u16) -> Vec<u8> {
    match table {
        0 => u64::from(i).to_be_bytes().to_vec(),
        1 => (0..6).rev().flat_map(|digit| [b'a' + (i >> (2 * digit)) as u8 % 4; 150]).collect(),
        _ => format!("key {i:05}").into_bytes(),
    }
}

fn value(table: usize, i: u16, seed: u8) -> Vec<u8> {
    match table {
        0 => (u64::from(i) << 8 | u64::from(seed)).to_be_bytes().to_vec(),
        1 => vec![seed; 20],
        _ => vec![seed; if (i ^ u16::from(seed)).is_multiple_of(13) { 3000 + usize::from(i) } else { 60 }],
    }
}

type Map = BTreeMap<Vec<u8>, Vec<u8>>;
type Maps = [Map; 3];

#[derive(Clone, Debug)]
enum Op {
    Put { table: usize, start: u16, count: u16, step: u16, seed: u8 },
    Cut { table: usize, low: Bound<u16>, high: Bound<u16> },
    Delete { table: usize, start: u16, count: u16, step: u16 },
    Savepoint,
    Rollback(usize),
    Commit(Durability),
    Abort,
    Reopen,
    Death,
}

fn bound() -> impl Strategy<Value = Bound<u16>> {
    prop_oneof![
        1 => Just(Unbounded),
        4 => (0..KEYS + 9).prop_map(Included),
        4 => (0..KEYS + 9).prop_map(Excluded),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let table = || 0..3_usize;
    prop_oneof![
        6 => (table(), 0..KEYS, 0..1500_u16, 1..5_u16, any::<u8>())
            .prop_map(|(table, start, count, step, seed)| Op::Put { table, start, count, step, seed }),
        10 => (table(), bound(), bound()).prop_map(|(table, low, high)| Op::Cut { table, low, high }),
        4 => (table(), 0..KEYS, 0..400_u16).prop_map(|(table, start, len)| Op::Cut {
            table,
            low: Included(start),
            high: Excluded(start + len),
        }),
        2 => (table(), 0..KEYS, 0..500_u16, 1..5_u16)
            .prop_map(|(table, start, count, step)| Op::Delete { table, start, count, step }),
        3 => Just(Op::Savepoint),
        2 => (0..3_usize).prop_map(Op::Rollback),
        3 => prop_oneof![
            Just(Durability::Durable),
            Just(Durability::Ordered),
            Just(Durability::Eventual)
        ]
        .prop_map(Op::Commit),
        1 => Just(Op::Abort),
        1 => Just(Op::Reopen),
        2 => Just(Op::Death),
    ]
}

fn steps(start: u16, count: u16, step: u16) -> impl Iterator<Item = u16> {
    (0..count).map_while(move |i| start.checked_add(i.checked_mul(step)?)).take_while(|i| *i < KEYS)
}

fn range_of(map: &Map, low: &Bound<Vec<u8>>, high: &Bound<Vec<u8>>) -> Vec<Vec<u8>> {
    let is_inside = |key: &&Vec<u8>| {
        let above = match low {
            Unbounded => true,
            Included(low) => *key >= low,
            Excluded(low) => *key > low,
        };
        above
            && match high {
                Unbounded => true,
                Included(high) => *key <= high,
                Excluded(high) => *key < high,
            }
    };
    map.keys().filter(is_inside).cloned().collect()
}

fn carry_out(w: &mut WriteTxn, maps: &mut Maps, page_size: usize, op: &Op) {
    match op {
        Op::Put { table, start, count, step, seed } => {
            for i in steps(*start, *count, *step) {
                let (key, value) = (key(*table, i), value(*table, i, *seed));
                let replaced = w.raw_put(TABLES[*table], &key, &value).unwrap();
                assert_eq!(maps[*table].insert(key, value).is_some(), replaced);
            }
        }
        Op::Cut { table, low, high } => {
            let (low, high) = (low.map(|i| key(*table, i)), high.map(|i| key(*table, i)));
            let expected = range_of(&maps[*table], &low, &high);
            expected.iter().for_each(|key| drop(maps[*table].remove(key)));
            let removed = w.raw_delete_range(TABLES[*table], (low, high)).unwrap();
            assert_eq!(removed, expected.len() as u64);
            let info = w.tables().unwrap().into_iter().find(|info| info.name == TABLES[*table]).unwrap();
            assert_eq!(info.len, maps[*table].len() as u64);
            let is_large = |value: &&Vec<u8>| value.len() > page_size / 2 - 100;
            let pages = |value: &Vec<u8>| value.len().div_ceil(page_size) as u64;
            let large = maps[*table].values().filter(is_large);
            assert_eq!(info.overflow_pages, large.map(pages).sum::<u64>());
            assert_eq!(info.levels == 0, maps[*table].is_empty());
        }
        Op::Delete { table, start, count, step } => {
            for i in steps(*start, *count, *step) {
                let key = key(*table, i);
                let removed = w.raw_delete(TABLES[*table], &key).unwrap();
                assert_eq!(maps[*table].remove(&key).is_some(), removed);
            }
        }
        _ => unreachable!("not of the txn"),
    }
}

fn assert_same(maps: &Maps, db: &Database) {
    let contents = common::contents(&db.begin_read().unwrap()).0;
    for (name, map) in TABLES.iter().zip(maps) {
        assert!(&contents[*name] == map, "table {name}");
    }
}

fn create_tables(db: &Database) {
    let mut w = db.begin_write().unwrap();
    w.put(NUMBERS, &1, &1).unwrap();
    w.put(DEEP, b"x", b"").unwrap();
    w.put(MIXED, b"x", b"").unwrap();
    assert_eq!(w.delete_range(NUMBERS, ..).unwrap(), 1);
    assert_eq!(w.delete_range(DEEP, ..).unwrap(), 1);
    assert_eq!(w.delete_range(MIXED, ..).unwrap(), 1);
    w.commit().unwrap();
}

fn run(options: Options, ops: &[Op]) {
    let mut db = TestDb::with(options);
    create_tables(&db);
    let mut committed = Maps::default();
    let mut ops = ops.iter().peekable();
    while ops.peek().is_some() {
        let (mut w, mut maps) = (db.begin_write().unwrap(), committed.clone());
        let mut saved: Vec<(Savepoint, Maps)> = Vec::new();
        loop {
            match ops.next().unwrap_or(&Op::Commit(Durability::Durable)) {
                Op::Savepoint => saved.push((w.savepoint(), maps.clone())),
                Op::Rollback(back) => {
                    let Some(at) = saved.len().checked_sub(back + 1) else { continue };
                    w.rollback_to(saved[at].0).unwrap();
                    maps = saved[at].1.clone();
                    saved.truncate(at + 1);
                }
                Op::Commit(durability) => {
                    w.set_durability(*durability);
                    w.commit().unwrap();
                    committed = maps;
                    assert_same(&committed, &db);
                    break;
                }
                Op::Abort => break,
                Op::Reopen => {
                    drop(w);
                    db.reopen();
                    break;
                }
                Op::Death => {
                    drop(w);
                    // What was committed without waiting may be in the log, and is, of a death without a power cut.
                    assert_same(&committed, &db.after_death());
                    break;
                }
                op => carry_out(&mut w, &mut maps, db.page_size(), op),
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn deleting_a_range_is_deleting_each_of_its_keys(ops in proptest::collection::vec(op(), 1..40)) {
        run(Options::new(), &ops);
    }

    #[test]
    fn the_same_where_pages_are_written_early(ops in proptest::collection::vec(op(), 1..60)) {
        run(Options::new().dirty_limit(1 << 20), &ops);
    }

    #[test]
    fn the_same_with_large_pages_and_a_short_log(ops in proptest::collection::vec(op(), 1..40)) {
        run(Options::new().page_size(16384).log_limit(1 << 16), &ops);
    }
}

#[test]
fn a_table_that_is_not_there_has_no_range_to_delete() {
    let db = TestDb::new();
    let mut w = db.begin_write().unwrap();
    assert_eq!(w.delete_range(NUMBERS, ..).unwrap(), 0);
    assert!(w.tables().unwrap().is_empty());
    assert!(matches!(w.raw_delete_range("none", ..), Err(Error::TableNotFound { .. })));
    w.put(NUMBERS, &1, &1).unwrap();
    let other: Table<u64, str> = Table::new("numbers");
    assert!(matches!(w.delete_range(other, ..), Err(Error::SchemaMismatch { .. })));
    assert_eq!(w.delete_range(NUMBERS, 1..1).unwrap(), 0);
    assert_eq!(w.delete_range(NUMBERS, (Excluded(1), Unbounded)).unwrap(), 0);
    assert_eq!(w.delete_range(NUMBERS, (Included(9), Included(0))).unwrap(), 0);
    assert_eq!(w.delete_range(NUMBERS, ..=1).unwrap(), 1);
    assert_eq!(w.first(NUMBERS).unwrap(), None);
}

#[test]
fn deleting_a_range_is_one_small_record_in_the_log() {
    let db = TestDb::new();
    db.write(|w| (0..100).try_for_each(|i| w.put(NUMBERS, &i, &i).map(drop))).unwrap();
    db.write(|w| w.put(NUMBERS, &5000, &1)).unwrap();
    db.write(|w| w.put(NUMBERS, &5001, &1)).unwrap();
    let before = db.counters();
    assert_eq!(db.write(|w| w.delete_range(NUMBERS, 10..90)).unwrap(), 80);
    let after = db.counters();
    assert_eq!(after.logged_commits, before.logged_commits + 1);
    assert!(after.log_bytes - before.log_bytes < 600, "{}", after.log_bytes - before.log_bytes);
    let dead = db.after_death();
    assert!(dead.counters().replayed_txns > 0);
    assert_eq!(dead.begin_read().unwrap().len(NUMBERS).unwrap(), 22);
}

#[test]
fn puts_before_and_behind_a_deleted_range_are_replayed_in_their_order() {
    let db = TestDb::new();
    db.write(|w| w.put(NUMBERS, &0, &0)).unwrap();
    db.write(|w| w.put(NUMBERS, &0, &1)).unwrap();
    db.write(|w| {
        w.put(NUMBERS, &1, &1)?;
        w.put(NUMBERS, &2, &1)?;
        w.delete_range(NUMBERS, 0..=1)?;
        w.put(NUMBERS, &1, &2)?;
        w.delete(NUMBERS, &2)
    })
    .unwrap();
    let dead = db.after_death();
    assert!(dead.counters().replayed_txns >= 1);
    let r = dead.begin_read().unwrap();
    let found: Vec<_> = r.iter(NUMBERS).unwrap().map(Result::unwrap).collect();
    assert_eq!(found, [(1, 2)]);
}

// ---- what is read ----

fn opened(image: &Image, directory: &tempfile::TempDir) -> Database {
    let path = directory.path().join("image.maple");
    std::fs::write(&path, &image.bytes).unwrap();
    common::open(&Options::new(), &path)
}

/// Damages every leaf of a table but those that `spares` keeps, by its first and last key.
fn damage(image: &mut Image, live: &Live, table: &str, spares: impl Fn(&[u8], &[u8]) -> bool) -> usize {
    let mut damaged = 0;
    for page in live.on_level(live.table_named(table).0, 0) {
        let keys = image.entries(page);
        if !spares(&keys[0].key, &keys[keys.len() - 1].key) {
            image.page_mut(page)[40..].fill(0xa5);
            damaged += 1;
        }
    }
    damaged
}

#[test]
fn no_leaf_between_the_edges_of_the_range_is_read() {
    let mut scribe = Scribe::new(4096);
    scribe.write(true, |w| (0..300_000).try_for_each(|i| w.put(NUMBERS, &i, &i).map(drop)));
    let fixture = scribe.close();
    let (mut image, live) = (fixture.image, fixture.live);
    let (low, high) = (10_000_u64, 290_000_u64);
    // The edges, and one neighbour of each that they may be joined with.
    let spares = |first: &[u8], last: &[u8]| {
        let number = |key: &[u8]| u64::from_be_bytes(key.try_into().unwrap());
        number(first) < low + 1 || number(last) + 1 > high
    };
    let damaged = damage(&mut image, &live, "numbers", spares);
    assert!(damaged > 1000, "{damaged}");
    let directory = oracle::memory_directory();
    let db = opened(&image, &directory);
    let mut w = db.begin_write().unwrap();
    assert_eq!(w.delete_range(NUMBERS, low..high).unwrap(), high - low);
    w.commit().unwrap();
    let r = db.begin_read().unwrap();
    let found: Vec<u64> = r.iter(NUMBERS).unwrap().map(|entry| entry.unwrap().0).collect();
    assert_eq!(found, (0..low).chain(high..300_000).collect::<Vec<_>>());
    drop(r);
    common::assert_clean(&db);
}

#[test]
fn with_large_values_leaves_are_read_until_all_of_them_are_found_and_no_value_is() {
    let mut scribe = Scribe::new(4096);
    scribe.write(true, |w| {
        for i in 0..KEYS {
            let len = if i % 100 == 7 && i < 1000 { 50_000 } else { 100 };
            w.put(MIXED, &key(2, i), &vec![1; len])?;
        }
        Ok(())
    });
    let fixture = scribe.close();
    let (mut image, live) = (fixture.image, fixture.live);
    // The last large value is at 907.
    let spares = |first: &[u8], last: &[u8]| *first <= key(2, 907)[..] || *last >= key(2, 4000)[..];
    assert!(damage(&mut image, &live, "mixed", spares) > 50);
    assert_eq!(live.large.len(), 10 * 13);
    for page in live.large.keys() {
        image.page_mut(*page).fill(0xa5);
    }
    let directory = oracle::memory_directory();
    let db = opened(&image, &directory);
    let deleted = db.write(|w| w.delete_range(MIXED, ..&key(2, 4000)[..])).unwrap();
    assert_eq!(deleted, 4000);
    common::assert_clean(&db);
    assert_eq!(db.begin_read().unwrap().tables().unwrap()[0].overflow_pages, 0);
}

// ---- files that say what cannot be ----

/// A closed store of a table of three levels.
fn deep_image() -> (Image, Live) {
    let mut scribe = Scribe::new(4096);
    scribe.write(true, |w| (0..KEYS).try_for_each(|i| w.put(DEEP, &key(1, i), &[1; 20]).map(drop)));
    let fixture = scribe.close();
    (fixture.image, fixture.live)
}

/// Deletes each of some ranges in a txn of its own. Whatever comes, it comes soon and is no panic.
fn cut_all_over(image: &Image) -> Vec<mapleaf::Result<u64>> {
    let directory = oracle::memory_directory();
    let db = opened(image, &directory);
    let cut = |low: u16, high: u16| {
        let mut w = db.begin_write()?;
        w.delete_range(DEEP, &key(1, low)[..]..&key(1, high)[..])
    };
    let ranges = (0..4).flat_map(|low| (low..4).map(move |high| (low * 1024 + 77, high * 1024 + 600)));
    ranges.map(|(low, high)| cut(low, high)).collect()
}

#[test]
fn a_page_that_is_referred_to_many_times_is_visited_as_often_as_there_are_pages() {
    let (image, live) = deep_image();
    let (table, root) = (live.table_named("deep").0, live.table_named("deep").1.root);
    for level in 1..=live.nodes[&root].level {
        for page in live.on_level(table, level).into_iter().step_by(7) {
            // All of its references become the one in the middle.
            let mut crafted = image.clone();
            let bytes = crafted.page_mut(page);
            let (count, prefix) =
                (oracle::number(bytes, 6, 2) as usize, oracle::number(bytes, 30, 2) as usize);
            let shorts = 32 + prefix + 4 * count;
            for (start, len) in [(shorts, 8), (shorts + 8 * count, 9)] {
                let middle = bytes[start + len * (count / 2)..][..len].to_vec();
                (0..count).for_each(|i| bytes[start + len * i..][..len].copy_from_slice(&middle));
            }
            crafted.seal_page(page);
            cut_all_over(&crafted);
        }
    }
}

#[test]
fn a_leaf_with_a_key_outside_the_separators_above_it_is_not_cut() {
    let (image, live) = deep_image();
    for leaf in live.on_level(live.table_named("deep").0, 0).into_iter().skip(1).step_by(37) {
        let entries = image.entries(leaf);
        let mut crafted = image.clone();
        // The first key begins with a byte that no other key has.
        let first = entries[0].key.clone();
        let bytes = crafted.page_mut(leaf);
        let at = bytes.windows(first.len()).position(|window| window == first).unwrap();
        bytes[at] = b'0';
        let count = entries.len();
        bytes[30..32].fill(0);
        for (i, entry) in entries.iter().enumerate() {
            let mut head: Vec<u8> = entry.key[..4].iter().rev().copied().collect();
            if i == 0 {
                head[3] = b'0';
            }
            bytes[32 + 4 * i..][..4].copy_from_slice(&head);
        }
        crafted.seal_page(leaf);
        let directory = oracle::memory_directory();
        let db = opened(&crafted, &directory);
        let last = &entries[count - 1].key[..];
        let cut = db.write(|w| w.delete_range(DEEP, (Included(last), Included(last))));
        match cut {
            Err(Error::Corrupt { page, detail }) if detail.contains("outside the separators") => {
                assert_eq!(page, leaf)
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn damaged_pages_are_errors_and_nothing_worse() {
    let (image, live) = deep_image();
    for (page, _) in
        live.nodes.iter().filter(|(_, node)| node.table == live.table_named("deep").0).step_by(29)
    {
        for at in [4, 5, 6, 7, 28, 30, 33, 40, 100, 300, 2000, 4000] {
            for flip in [0x01, 0x80] {
                let mut crafted = image.clone();
                crafted.page_mut(*page)[at] ^= flip;
                crafted.seal_page(*page);
                cut_all_over(&crafted);
            }
        }
    }
}

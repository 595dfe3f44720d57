//! Multimaps beside a `BTreeMap` of `BTreeSet`s: every way to change one, with savepoints, aborts, reopening,
//! recovery from the log, and every way to read one, at every position.

mod common;

use common::{TestDb, assert_clean};
use mapleaf::{Database, Durability, Error, MultiTable, MultiView, Options, Schema, Table, WriteTxn};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

type Bytes = Vec<u8>;
type Map = BTreeMap<Bytes, BTreeSet<Bytes>>;
type Model = BTreeMap<&'static str, Map>;

const TAGS: MultiTable<str, u64> = MultiTable::new("tags");

// ---- the shapes of multimaps ----

/// Name, width of the values, and whether the keys are numbers of eight bytes.
const SHAPES: [(&str, Option<usize>, bool); 5] = [
    ("bytes", None, false),
    ("numbers", Some(8), true),
    ("units", Some(0), false),
    ("wide", Some(600), false),
    ("bytes of numbers", Some(1), true),
];

fn schema(width: Option<usize>, numbers: bool) -> Schema {
    let mut schema = Schema::bytes();
    schema.multi = true;
    schema.value_width = width;
    schema.key_width = numbers.then_some(8);
    schema
}

fn create(db: &Database) {
    db.write(|w| {
        w.create_table("plain", &Schema::bytes())?;
        SHAPES.iter().try_for_each(|(name, width, numbers)| w.create_table(name, &schema(*width, *numbers)))
    })
    .unwrap();
}

/// A key of this number: `long` ones are as long as can be.
fn key(shape: usize, number: u16, long: bool) -> Bytes {
    match (SHAPES[shape].2, long) {
        (true, _) => u64::from(number).to_be_bytes().to_vec(),
        (false, true) => [&vec![b'k'; 1998][..], &number.to_be_bytes()].concat(),
        (false, false) => format!("key {number}").into_bytes(),
    }
}

fn value(shape: usize, number: u32, long: bool) -> Bytes {
    let digits = number.to_be_bytes();
    match SHAPES[shape].1 {
        Some(0) => Vec::new(),
        Some(1) => vec![number as u8],
        Some(width) => [&vec![0; width - 4][..], &digits].concat(),
        None if long => [&vec![b'v'; 1996][..], &digits].concat(),
        None => {
            digits[..(number % 5) as usize].iter().chain(format!("{number}").as_bytes()).copied().collect()
        }
    }
}

// ---- operations ----

#[derive(Clone, Debug)]
enum Op {
    /// Values from a number on, so many, in steps; of keys from a number on, so many.
    Put {
        shape: usize,
        keys: (u16, u16),
        values: (u32, u32, u32),
        long: (bool, bool),
    },
    Delete {
        shape: usize,
        keys: (u16, u16),
        values: (u32, u32, u32),
        long: (bool, bool),
    },
    DeleteAll {
        shape: usize,
        keys: (u16, u16),
        long: bool,
    },
    DeleteRange(usize, u16, u16),
    Drop(usize),
    Plain(u16),
    Savepoint,
    Rollback(u8),
    Commit(bool),
    Abort,
    Reopen,
    Death,
    Check(usize, u16, u16),
}

fn op() -> impl Strategy<Value = Op> {
    let shape = || prop_oneof![3 => Just(0usize), 3 => Just(1), 1 => Just(2), 2 => Just(3), 1 => Just(4)];
    let keys = || {
        prop_oneof![
            4 => (0u16..6, 1u16..2),
            2 => (0u16..300, 1u16..40),
            1 => (0u16..300, 100u16..300),
        ]
    };
    let values = || {
        prop_oneof![
            6 => (0u32..40, 1u32..4, Just(1u32)),
            3 => (0u32..3000, 1u32..200, prop_oneof![Just(1u32), Just(7919)]),
            1 => (0u32..3000, 200u32..1500, prop_oneof![Just(1u32), Just(7919)]),
        ]
    };
    let long = || (prop::bool::weighted(0.15), prop::bool::weighted(0.15));
    let few = |values: (u32, u32, u32), keys: (u16, u16)| {
        let most = (3000 / u32::from(keys.1)).max(1);
        (values.0, values.1.min(most), values.2)
    };
    prop_oneof![
        12 => (shape(), keys(), values(), long()).prop_map(move |(shape, keys, values, long)| {
            Op::Put { shape, keys, values: few(values, keys), long }
        }),
        8 => (shape(), keys(), values(), long()).prop_map(move |(shape, keys, values, long)| {
            Op::Delete { shape, keys, values: few(values, keys), long }
        }),
        2 => (shape(), keys(), any::<bool>()).prop_map(|(shape, keys, long)| Op::DeleteAll { shape, keys, long }),
        2 => (shape(), 0u16..320, 0u16..320).prop_map(|(shape, a, b)| Op::DeleteRange(shape, a, b)),
        1 => shape().prop_map(Op::Drop),
        2 => any::<u16>().prop_map(Op::Plain),
        3 => Just(Op::Savepoint),
        3 => any::<u8>().prop_map(Op::Rollback),
        4 => any::<bool>().prop_map(Op::Commit),
        1 => Just(Op::Abort),
        1 => Just(Op::Reopen),
        1 => Just(Op::Death),
        3 => (shape(), any::<u16>(), any::<u16>()).prop_map(|(shape, a, b)| Op::Check(shape, a, b)),
    ]
}

struct World {
    db: TestDb,
    committed: Model,
    now: Model,
    txn: Option<WriteTxn>,
    saved: Vec<(mapleaf::Savepoint, Model)>,
}

impl World {
    fn new(options: Options) -> Self {
        let db = TestDb::with(options);
        create(&db);
        let empty: Model = SHAPES.iter().map(|(name, ..)| (*name, Map::new())).collect();
        World { db, committed: empty.clone(), now: empty, txn: None, saved: Vec::new() }
    }

    fn txn(&mut self) -> &mut WriteTxn {
        self.txn.get_or_insert_with(|| self.db.begin_write().unwrap())
    }

    fn end(&mut self) {
        (self.txn, self.now) = (None, self.committed.clone());
        self.saved.clear();
    }

    fn step(&mut self, op: &Op) {
        match *op {
            Op::Put { shape, keys, values, long } => self.values(shape, keys, values, long, true),
            Op::Delete { shape, keys, values, long } => self.values(shape, keys, values, long, false),
            Op::DeleteAll { shape, keys: (first, count), long } => {
                for number in first..first + count {
                    let (key, name) = (key(shape, number, long), SHAPES[shape].0);
                    let removed = self.txn().raw_delete_values(name, &key).unwrap();
                    let expected = self.now.get_mut(name).unwrap().remove(&key);
                    assert_eq!(removed, expected.map_or(0, |values| values.len() as u64));
                }
            }
            Op::DeleteRange(shape, a, b) => {
                let (name, low, high) = (SHAPES[shape].0, key(shape, a, false), key(shape, b, false));
                let removed = self.txn().raw_delete_range(name, &low[..]..&high[..]).unwrap();
                let (mut count, map) = (0, self.now.get_mut(name).unwrap());
                map.retain(|key, values| {
                    let is_inside = *key >= low && *key < high;
                    count += if is_inside { values.len() as u64 } else { 0 };
                    !is_inside
                });
                assert_eq!(removed, count);
            }
            Op::Drop(shape) => {
                let (name, width, numbers) = SHAPES[shape];
                assert!(self.txn().drop_table(name).unwrap());
                self.txn().create_table(name, &schema(width, numbers)).unwrap();
                self.now.insert(name, Map::new());
            }
            Op::Plain(number) => {
                self.txn().raw_put("plain", &number.to_be_bytes(), &vec![1; 500]).unwrap();
            }
            Op::Savepoint => {
                let (savepoint, model) = (self.txn().savepoint(), self.now.clone());
                self.saved.push((savepoint, model));
            }
            Op::Rollback(which) => {
                if !self.saved.is_empty() {
                    let which = usize::from(which) % self.saved.len();
                    self.saved.truncate(which + 1);
                    let (savepoint, model) = self.saved[which].clone();
                    self.txn().rollback_to(savepoint).unwrap();
                    self.now = model;
                }
            }
            Op::Commit(durable) => {
                if let Some(mut txn) = self.txn.take() {
                    txn.set_durability(if durable { Durability::Ordered } else { Durability::Durable });
                    txn.commit().unwrap();
                    self.committed = self.now.clone();
                    self.end();
                }
            }
            Op::Abort => self.end(),
            Op::Reopen => {
                self.end();
                self.db.reopen();
                self.check_all();
            }
            Op::Death => {
                let dead = self.db.after_death();
                let r = dead.begin_read().unwrap();
                for (name, map) in &self.committed {
                    assert_pairs(&r.raw_multi(name).unwrap().unwrap(), map);
                }
            }
            Op::Check(shape, a, b) => {
                let name = SHAPES[shape].0;
                let (low, high) = (key(shape, a % 320, false), key(shape, b % 320, false));
                let map = &self.now[name];
                match &self.txn {
                    Some(txn) => check(&txn.raw_multi(name).unwrap().unwrap(), map, &low, &high),
                    None => {
                        let r = self.db.begin_read().unwrap();
                        check(&r.raw_multi(name).unwrap().unwrap(), map, &low, &high);
                    }
                }
            }
        }
    }

    fn values(
        &mut self,
        shape: usize,
        (first, count): (u16, u16),
        (from, values, step): (u32, u32, u32),
        long: (bool, bool),
        put: bool,
    ) {
        let name = SHAPES[shape].0;
        for number in first..first + count {
            let key = key(shape, number, long.0);
            for i in 0..values {
                let value = value(shape, (from + i * step) % 10_000, long.1);
                let txn = self.txn.get_or_insert_with(|| self.db.begin_write().unwrap());
                let map = self.now.get_mut(name).unwrap();
                if put {
                    let added = txn.raw_put_value(name, &key, &value).unwrap();
                    assert_eq!(added, map.entry(key.clone()).or_default().insert(value));
                    continue;
                }
                let removed = txn.raw_delete_value(name, &key, &value).unwrap();
                let set = map.get_mut(&key);
                assert_eq!(removed, set.is_some_and(|set| set.remove(&value)));
                if map.get(&key).is_some_and(BTreeSet::is_empty) {
                    map.remove(&key);
                }
            }
        }
    }

    fn check_all(&self) {
        let r = self.db.begin_read().unwrap();
        for (name, map) in &self.committed {
            let view = r.raw_multi(name).unwrap().unwrap();
            check(&view, map, &[], &[0xff; 9]);
        }
        assert_clean(&self.db);
    }
}

// ---- reading ----

fn pairs(map: &Map) -> Vec<(&[u8], &[u8])> {
    map.iter().flat_map(|(key, values)| values.iter().map(move |value| (&key[..], &value[..]))).collect()
}

fn assert_pairs(view: &MultiView<'_, [u8], [u8]>, map: &Map) {
    let found: Vec<_> = view.iter().map(|pair| pair.unwrap()).collect();
    assert!(found == pairs(map), "{} pairs, expected {}", found.len(), pairs(map).len());
    assert_eq!(view.len(), found.len() as u64);
    assert_eq!(view.is_empty(), map.is_empty());
}

/// Everything that can be read, in all and between two keys.
fn check(view: &MultiView<'_, [u8], [u8]>, map: &Map, low: &[u8], high: &[u8]) {
    assert_pairs(view, map);
    let all = pairs(map);
    let backwards: Vec<_> = view.iter().rev().map(|pair| pair.unwrap()).collect();
    assert!(backwards.iter().eq(all.iter().rev()));
    assert!(zigzag(view.iter(), all.len()) == all, "from both ends");
    assert_eq!(view.first().unwrap(), all.first().copied());
    assert_eq!(view.last().unwrap(), all.last().copied());
    let every = (all.len() / 300).max(1);
    for (rank, (key, value)) in all.iter().enumerate().step_by(every) {
        assert_eq!(view.nth(rank as u64).unwrap(), Some((*key, *value)));
        assert_eq!(view.rank_of(*key, *value).unwrap(), rank as u64);
        assert!(view.contains(*key, *value).unwrap());
        let after = [value, &[0][..]].concat();
        assert_eq!(view.rank_of(*key, &after).unwrap(), rank as u64 + 1);
    }
    assert_eq!(view.nth(all.len() as u64).unwrap(), None);
    jump(|| view.iter(), &all);
    check_drawn(view, &all);
    let mut before = 0;
    for ((found, values), (key, expected)) in view.groups(..).map(|entry| entry.unwrap()).zip(map) {
        assert_eq!(found, key);
        assert_eq!(view.rank(&key[..]).unwrap(), before);
        before += expected.len() as u64;
        check_values(view, key, values, expected);
    }
    assert_eq!(view.groups(..).count(), map.len());
    assert!(view.groups(..).rev().map(|entry| entry.unwrap().0).eq(map.keys().rev().map(|key| &key[..])));
    for bounds in [
        (Bound::Included(low), Bound::Excluded(high)),
        (Bound::Excluded(low), Bound::Included(high)),
        (Bound::Included(high), Bound::Unbounded),
    ] {
        let inside = |key: &Bytes| std::ops::RangeBounds::contains(&bounds, &&key[..]);
        let expected: Map =
            map.iter().filter(|(key, _)| inside(key)).map(|(k, v)| (k.clone(), v.clone())).collect();
        let expected = pairs(&expected);
        let found: Vec<_> = view.range(bounds).map(|pair| pair.unwrap()).collect();
        assert!(found == expected);
        assert!(zigzag(view.range(bounds), expected.len()) == expected);
        assert!(view.range(bounds).rev().map(|pair| pair.unwrap()).eq(expected.iter().rev().copied()));
        assert_eq!(view.count(bounds).unwrap(), expected.len() as u64);
        jump(|| view.range(bounds), &expected);
        for parts in [1, 2, 7] {
            let split = || view.split(bounds, parts).unwrap().into_iter();
            let found: Vec<Vec<_>> = split().map(|part| part.map(Result::unwrap).collect()).collect();
            assert!(found.concat() == expected, "the parts are not the whole");
            assert!(split().zip(&found).all(|(part, found)| zigzag(part, found.len()) == *found));
            let lens = || found.iter().map(Vec::len);
            assert!(lens().max() <= lens().min().map(|min| min + 1), "{:?}", lens().collect::<Vec<_>>());
        }
    }
    assert_eq!(view.count_values(b"nobody").unwrap(), 0);
    assert_eq!(view.values(b"nobody").unwrap().count(), 0);
}

/// Random numbers stand for pairs.
fn check_drawn(view: &MultiView<'_, [u8], [u8]>, all: &[(&[u8], &[u8])]) {
    assert!(view.sample_distinct(all.len() + 1, |below| below / 2).unwrap() == all);
    let mut number = 0;
    let drawn = view.sample(20, |below| {
        number += 7;
        number % below
    });
    let expected = (1..=20).map(|i| all[i * 7 % all.len()]);
    assert!(drawn.unwrap() == if all.is_empty() { Vec::new() } else { expected.collect() });
    assert_eq!(view.sample(1, |below| below).is_err(), !all.is_empty());
    assert!(view.split(.., 0).is_err());
}

fn check_values(
    view: &MultiView<'_, [u8], [u8]>,
    key: &[u8],
    values: mapleaf::Values<'_, [u8]>,
    expected: &BTreeSet<Bytes>,
) {
    assert_eq!(values.len(), expected.len() as u64);
    assert_eq!(view.count_values(key).unwrap(), expected.len() as u64);
    assert!(values.map(|value| value.unwrap()).eq(expected.iter().map(|value| &value[..])));
    let all: Vec<&[u8]> = expected.iter().map(|value| &value[..]).collect();
    let values = || view.values(key).unwrap();
    jump(values, &all);
    assert!(zigzag(values(), all.len()) == all);
    for (low, high) in [(0, all.len() - 1), (all.len() / 3, all.len() / 2), (all.len() - 1, 0)] {
        let (low, high) = (all[low], all[high]);
        for bounds in [
            (Bound::Included(low), Bound::Included(high)),
            (Bound::Excluded(low), Bound::Excluded(high)),
            (Bound::Unbounded, Bound::Excluded(high)),
        ] {
            let inside = |value: &&&[u8]| std::ops::RangeBounds::<[u8]>::contains(&bounds, **value);
            let expected: Vec<&[u8]> = all.iter().filter(inside).copied().collect();
            let range = values().range(bounds).unwrap();
            assert_eq!(range.len(), expected.len() as u64);
            assert!(zigzag(range, expected.len()) == expected);
        }
    }
}

/// Jumps of all lengths from both ends, some after steps.
fn jump<T: PartialEq + Copy + std::fmt::Debug, I>(steps: impl Fn() -> I, expected: &[T])
where
    I: DoubleEndedIterator<Item = mapleaf::Result<T>>,
{
    let len = expected.len();
    for n in [0, 1, len / 7, len / 2, len.saturating_sub(1), len, len + 3] {
        assert_eq!(steps().nth(n).transpose().unwrap(), expected.get(n).copied());
        assert_eq!(steps().nth_back(n).transpose().unwrap(), expected.iter().nth_back(n).copied());
        let (mut found, mut plain) = (steps(), expected.iter().copied());
        for turn in 0..6 {
            let (one, other) = match turn % 3 {
                0 => (found.nth(n / 5 + turn), plain.nth(n / 5 + turn)),
                1 => (found.nth_back(n / 4), plain.nth_back(n / 4)),
                _ => (found.next(), plain.next()),
            };
            assert_eq!(one.transpose().unwrap(), other, "turn {turn} of {n} among {len}");
        }
        assert!(found.map(|pair| pair.unwrap()).eq(plain));
    }
    assert_eq!(steps().last().transpose().unwrap(), expected.last().copied());
}

/// What an iterator gives that is stepped from both ends, in order.
fn zigzag<T>(mut steps: impl DoubleEndedIterator<Item = mapleaf::Result<T>>, len: usize) -> Vec<T> {
    let (mut front, mut back) = (Vec::new(), Vec::new());
    for i in 0..len {
        match i % 3 {
            0 => back.push(steps.next_back().unwrap().unwrap()),
            _ => front.push(steps.next().unwrap().unwrap()),
        }
    }
    assert!(steps.next().is_none() && steps.next_back().is_none());
    front.extend(back.into_iter().rev());
    front
}

fn run(options: Options, ops: &[Op]) {
    let mut world = World::new(options);
    ops.iter().for_each(|op| world.step(op));
    world.step(&Op::Commit(false));
    world.check_all();
    world.step(&Op::Death);
    world.step(&Op::Reopen);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_multimap_is_a_map_of_sets(ops in proptest::collection::vec(op(), 1..40)) {
        run(Options::new(), &ops);
    }

    #[test]
    fn a_multimap_is_a_map_of_sets_while_pages_are_written_early(
        ops in proptest::collection::vec(op(), 1..40),
    ) {
        run(Options::new().dirty_limit(1 << 18).log_limit(1 << 20), &ops);
    }

    #[test]
    fn a_multimap_is_a_map_of_sets_in_larger_pages(ops in proptest::collection::vec(op(), 1..30)) {
        run(Options::new().page_size(16384), &ops);
    }
}

// ---- single stories ----

#[test]
fn a_multimap_and_a_table_of_one_name_do_not_pass_for_each_other() {
    const SINGLE: Table<str, u64> = Table::new("tags");
    let db = TestDb::new();
    db.write(|w| w.put_value(TAGS, "a", &1)).unwrap();
    for error in [
        db.write(|w| w.put(SINGLE, "a", &1)).unwrap_err(),
        db.begin_read().unwrap().get(SINGLE, "a").unwrap_err(),
    ] {
        let text = error.to_string();
        assert!(text.contains("str -> many u64") && text.contains("str -> u64"), "{text}");
    }
    let mut w = db.begin_write().unwrap();
    assert!(matches!(w.raw_put("tags", b"a", b"b"), Err(Error::InvalidArgument { .. })));
    assert!(matches!(w.raw_delete("tags", b"a"), Err(Error::InvalidArgument { .. })));
    assert!(matches!(w.raw_table("tags"), Err(Error::InvalidArgument { .. })));
    w.create_table("single", &Schema::bytes()).unwrap();
    assert!(matches!(w.raw_put_value("single", b"a", b"b"), Err(Error::InvalidArgument { .. })));
    assert!(matches!(w.raw_multi("single"), Err(Error::InvalidArgument { .. })));
    const OTHER: MultiTable<str, u64> = MultiTable::new("single");
    assert!(matches!(w.put_value(OTHER, "a", &1), Err(Error::SchemaMismatch { .. })));
}

#[test]
fn keys_and_values_are_as_long_as_keys_may_be_and_no_longer() {
    let db = TestDb::new();
    const LONG: MultiTable<[u8], [u8]> = MultiTable::new("long");
    let max = db.max_key_len();
    assert_eq!(max, 2000);
    let mut w = db.begin_write().unwrap();
    for i in 0..20u8 {
        for j in 0..20u8 {
            assert!(w.put_value(LONG, &vec![i; max], &vec![j; max]).unwrap());
        }
    }
    let long = vec![0; max + 1];
    assert!(matches!(w.put_value(LONG, &long, b"v"), Err(Error::KeyTooLong { max: 2000, .. })));
    assert!(matches!(w.put_value(LONG, b"k", &long), Err(Error::ValueTooLong { max: 2000, .. })));
    w.commit().unwrap();
    assert_eq!(db.begin_read().unwrap().multi(LONG).unwrap().len(), 400);
    db.write(|w| (0..20u8).try_for_each(|i| w.delete_values(LONG, &vec![i; max]).map(drop))).unwrap();
    assert!(db.begin_read().unwrap().multi(LONG).unwrap().is_empty());
}

#[test]
fn what_dropped_sets_took_is_free_again() {
    let db = TestDb::new();
    let fill = || db.write(|w| (0..50_000).try_for_each(|i| w.put_value(TAGS, "one", &i).map(drop))).unwrap();
    fill();
    let stats = db.stats().unwrap();
    assert_eq!((stats.tables[0].info.set_trees, stats.tables[0].info.len), (1, 50_000));
    assert!(stats.tables[0].set_levels[0].pages >= 50_000 * 8 / 4096);
    for round in 0..4 {
        match round % 2 {
            0 => assert_eq!(db.write(|w| w.delete_values(TAGS, "one")).unwrap(), 50_000),
            _ => assert!(db.write(|w| w.drop_table("tags")).unwrap()),
        }
        fill();
    }
    assert!(db.file_len() < 3 * 50_000 * 8 + (1 << 20), "{}", db.file_len());
}

#[test]
fn small_values_take_few_bytes() {
    for step in [1u64, 7919] {
        let db = TestDb::new();
        const SETS: MultiTable<[u8; 16], u64> = MultiTable::new("sets");
        let (keys, values) = (1000u64, 100u64);
        let mut w = db.begin_write().unwrap();
        for i in 0..keys * values {
            let i = i * step % (keys * values);
            let mut key = [0; 16];
            key[8..].copy_from_slice(&(i / values).to_be_bytes());
            w.put_value(SETS, &key, &(i % values)).unwrap();
        }
        w.commit().unwrap();
        let stats = db.stats().unwrap();
        let pages: u64 = stats.tables[0].levels.iter().map(|level| level.pages).sum();
        // Four sets of 816 bytes and a key in each page; what is split in the middle fills two thirds.
        let each = pages as f64 * 4096.0 / (keys * values) as f64;
        assert!(each < if step == 1 { 10.5 } else { 15.5 }, "{each} bytes a value, of 8");
    }
}

/// The example in `docs/format.md`.
#[test]
fn a_page_tells_the_values_of_a_key_in_words() {
    const SMALL: MultiTable<str, u32> = MultiTable::new("tags");
    let db = TestDb::new();
    db.write(|w| {
        w.put_value(SMALL, "red", &7)?;
        w.put_value(SMALL, "red", &9)
    })
    .unwrap();
    let page = db.page(2).unwrap();
    assert_eq!(page.kind, "leaf of a multimap");
    let hex = |at: usize, len: usize| {
        page.bytes[at..at + len].iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")
    };
    let lines = page.fields.iter().filter(|field| field.offset >= 0xff3);
    let lines = lines.map(|field| {
        let bytes = hex(field.offset, field.len);
        format!("{:04x}  {bytes:<23}  {}: {}\n", field.offset, field.label, field.value)
    });
    let lines: String = lines.collect();
    assert!(include_str!("../docs/format.md").contains(&lines), "{lines}");
}

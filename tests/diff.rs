//! The differences of two snapshots: beside those of two maps over random histories, in both directions; what is read for
//! them; and in damaged and crafted files.

mod common;
mod oracle;

use common::{TestDb, open, try_open};
use mapleaf::{
    Change, Database, Diff, Durability, Error, MultiDiff, MultiTable, Options, PairChange, ReadTxn, Table,
    TableChange, TableInfo, WriteTxn,
};

use oracle::{Fixture, Image, Live, Scribe, number};
use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom as _, IteratorRandom as _};
use rand::{Rng as _, SeedableRng as _};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::LazyLock;
use std::time::Duration;

type Bytes = Vec<u8>;
type Map = BTreeMap<Bytes, Bytes>;
type Pairs = BTreeSet<(Bytes, Bytes)>;

const NUMBERS: Table<u64, u64> = Table::new("numbers");
/// Long keys with long separators: a few thousand make a tree of several levels.
const DEEP: Table<[u8], [u8]> = Table::new("deep");
/// Short keys, some values in pages of their own.
const MIXED: Table<[u8], [u8]> = Table::new("mixed");
const SINGLE: [&str; 3] = ["numbers", "deep", "mixed"];
const TAGS: MultiTable<u64, u64> = MultiTable::new("tags");
const WORDS: MultiTable<[u8], [u8]> = MultiTable::new("words");
const MULTI: [&str; 2] = ["tags", "words"];

/// So many keys a table can have.
const KEYS: u16 = 3000;

fn key(table: usize, i: u16) -> Bytes {
    match table {
        0 => u64::from(i).to_be_bytes().to_vec(),
        1 => (0..6).rev().flat_map(|digit| [b'a' + (i >> (2 * digit)) as u8 % 4; 150]).collect(),
        _ => format!("key {i:05}").into_bytes(),
    }
}

fn value(table: usize, i: u16, seed: u8) -> Bytes {
    match table {
        0 => (u64::from(i) << 8 | u64::from(seed)).to_be_bytes().to_vec(),
        1 => vec![seed; 20],
        // Large ones of the same length whatever the seed, so that their bytes must be compared.
        _ if i.is_multiple_of(37) => vec![seed; 3000 + usize::from(i) * 3],
        _ => vec![seed; 30 + usize::from(seed % 3)],
    }
}

/// A key of a multimap, and one of its values.
fn pair(table: usize, key: u16, value: u16) -> (Bytes, Bytes) {
    match table {
        0 => (u64::from(key).to_be_bytes().to_vec(), u64::from(value).to_be_bytes().to_vec()),
        _ => {
            let padded = format!("{value:0width$}", width = 5 + usize::from(value % 90));
            (format!("key {key}").into_bytes(), padded.into_bytes())
        }
    }
}

/// What a snapshot has: of the tables that there are.
#[derive(Clone, Default)]
struct Model {
    single: BTreeMap<&'static str, Rc<Map>>,
    multi: BTreeMap<&'static str, Rc<Pairs>>,
}

impl Model {
    fn map(&mut self, table: usize) -> &mut Map {
        Rc::make_mut(self.single.entry(SINGLE[table]).or_default())
    }

    fn pairs(&mut self, table: usize) -> &mut Pairs {
        Rc::make_mut(self.multi.entry(MULTI[table]).or_default())
    }
}

#[derive(Clone, Debug)]
enum Op {
    Put {
        table: usize,
        start: u16,
        count: u16,
        step: u16,
        seed: u8,
    },
    Load {
        table: usize,
        start: u16,
        count: u16,
        seed: u8,
    },
    Delete {
        table: usize,
        start: u16,
        count: u16,
        step: u16,
    },
    Cut {
        table: usize,
        low: u16,
        high: u16,
    },
    Drop {
        table: usize,
    },
    /// The tables of bytes get each other's names.
    Swap,
    PutValues {
        table: usize,
        key: u16,
        keys: u16,
        start: u16,
        count: u16,
    },
    DeleteValues {
        table: usize,
        key: u16,
        keys: u16,
        start: u16,
        count: u16,
    },
    CutKeys {
        table: usize,
        low: u16,
        high: u16,
    },
    DropMulti {
        table: usize,
    },
    Commit(Durability),
    Store,
    Abort,
    Reopen,
}

fn op() -> impl Strategy<Value = Op> {
    let (table, multi) = (|| 0..3_usize, || 0..2_usize);
    let values = || (0..2_usize, 0..12_u16, 1..8_u16, 0..4000_u16, 1..1500_u16);
    prop_oneof![
        8 => (table(), 0..KEYS, 0..400_u16, 1..9_u16, any::<u8>())
            .prop_map(|(table, start, count, step, seed)| Op::Put { table, start, count, step, seed }),
        4 => (table(), 0..KEYS, 1..4_u16, any::<u8>())
            .prop_map(|(table, start, count, seed)| Op::Put { table, start, count, step: 1, seed }),
        4 => (table(), 0..KEYS, 0..KEYS, any::<u8>())
            .prop_map(|(table, start, count, seed)| Op::Load { table, start, count, seed }),
        4 => (table(), 0..KEYS, 0..400_u16, 1..5_u16)
            .prop_map(|(table, start, count, step)| Op::Delete { table, start, count, step }),
        4 => (table(), 0..KEYS, 0..KEYS).prop_map(|(table, low, high)| Op::Cut { table, low, high }),
        1 => table().prop_map(|table| Op::Drop { table }),
        1 => Just(Op::Swap),
        5 => values().prop_map(|(table, key, keys, start, count)| Op::PutValues { table, key, keys, start, count }),
        5 => values()
            .prop_map(|(table, key, keys, start, count)| Op::DeleteValues { table, key, keys, start, count }),
        2 => (multi(), 0..12_u16, 0..12_u16).prop_map(|(table, low, high)| Op::CutKeys { table, low, high }),
        1 => multi().prop_map(|table| Op::DropMulti { table }),
        6 => prop_oneof![Just(Durability::Durable), Just(Durability::Ordered)].prop_map(Op::Commit),
        3 => Just(Op::Store),
        1 => Just(Op::Abort),
        1 => Just(Op::Reopen),
    ]
}

fn steps(start: u16, count: u16, step: u16) -> impl Iterator<Item = u16> {
    (0..count).map_while(move |i| start.checked_add(i.checked_mul(step)?)).take_while(|i| *i < KEYS)
}

/// The table is there: putting nothing creates none.
fn create(w: &mut WriteTxn, model: &mut Model, table: usize) {
    if !model.single.contains_key(SINGLE[table]) {
        model.map(table);
        match table {
            0 => w.bulk_load(NUMBERS, [(1, 1)]).and_then(|_| w.delete(NUMBERS, &1)).map(drop),
            1 => w.bulk_load(DEEP, [(b"x", b"")]).and_then(|_| w.delete(DEEP, b"x")).map(drop),
            _ => w.bulk_load(MIXED, [(b"x", b"")]).and_then(|_| w.delete(MIXED, b"x")).map(drop),
        }
        .unwrap();
    }
}

fn carry_out(w: &mut WriteTxn, model: &mut Model, op: &Op) {
    match op {
        Op::Put { table, start, count, step, seed } => {
            create(w, model, *table);
            for i in steps(*start, *count, *step) {
                let (key, value) = (key(*table, i), value(*table, i, *seed));
                w.raw_put(SINGLE[*table], &key, &value).unwrap();
                model.map(*table).insert(key, value);
            }
        }
        Op::Load { table, start, count, seed } => {
            create(w, model, *table);
            let map: Map =
                steps(*start, *count, 1).map(|i| (key(*table, i), value(*table, i, *seed))).collect();
            let number = |bytes: &Bytes| u64::from_be_bytes(bytes[..].try_into().unwrap());
            match table {
                0 => w.bulk_load(NUMBERS, map.iter().map(|(key, value)| (number(key), number(value)))),
                1 => w.bulk_load(DEEP, map.iter()),
                _ => w.bulk_load(MIXED, map.iter()),
            }
            .unwrap();
            model.map(*table).extend(map);
        }
        Op::Delete { table, start, count, step } => {
            create(w, model, *table);
            for i in steps(*start, *count, *step) {
                w.raw_delete(SINGLE[*table], &key(*table, i)).unwrap();
                model.map(*table).remove(&key(*table, i));
            }
        }
        Op::Cut { table, low, high } => {
            create(w, model, *table);
            let (low, high) = (key(*table, *low), key(*table, *high));
            w.raw_delete_range(SINGLE[*table], &low[..]..&high[..]).unwrap();
            model.map(*table).retain(|key, _| *key < low || *key >= high);
        }
        Op::Drop { table } => {
            let was = model.single.remove(SINGLE[*table]).is_some();
            assert_eq!(w.drop_table(SINGLE[*table]).unwrap(), was);
        }
        Op::Swap => {
            create(w, model, 1);
            create(w, model, 2);
            w.rename_table("deep", "between").unwrap();
            w.rename_table("mixed", "deep").unwrap();
            w.rename_table("between", "mixed").unwrap();
            let (deep, mixed) = (model.single["deep"].clone(), model.single["mixed"].clone());
            model.single.extend([("deep", mixed), ("mixed", deep)]);
        }
        Op::PutValues { table, key, keys, start, count } => {
            for key in *key..key + keys {
                for value in *start..start + count {
                    let (key, value) = (u64::from(key), u64::from(value));
                    put_value(w, model, *table, key as u16, value as u16);
                }
            }
        }
        Op::DeleteValues { table, key, keys, start, count } => {
            for key in *key..key + keys {
                for value in *start..start + count {
                    delete_value(w, model, *table, key, value);
                }
            }
        }
        Op::CutKeys { table, low, high } => {
            let (low_key, high_key) = (pair(*table, *low, 0).0, pair(*table, *high, 0).0);
            match table {
                0 => w.delete_keys(TAGS, u64::from(*low)..u64::from(*high)),
                _ => w.delete_keys(WORDS, &low_key[..]..&high_key[..]),
            }
            .unwrap();
            if model.multi.contains_key(MULTI[*table]) {
                model.pairs(*table).retain(|(key, _)| *key < low_key || *key >= high_key);
            }
        }
        Op::DropMulti { table } => {
            let was = model.multi.remove(MULTI[*table]).is_some();
            assert_eq!(w.drop_table(MULTI[*table]).unwrap(), was);
        }
        Op::Commit(_) | Op::Store | Op::Abort | Op::Reopen => unreachable!("not of the txn"),
    }
}

fn put_value(w: &mut WriteTxn, model: &mut Model, table: usize, key: u16, value: u16) {
    let bytes = pair(table, key, value);
    match table {
        0 => w.put_value(TAGS, &u64::from(key), &u64::from(value)),
        _ => w.put_value(WORDS, &bytes.0[..], &bytes.1[..]),
    }
    .unwrap();
    model.pairs(table).insert(bytes);
}

fn delete_value(w: &mut WriteTxn, model: &mut Model, table: usize, key: u16, value: u16) {
    if model.multi.contains_key(MULTI[table]) {
        let bytes = pair(table, key, value);
        w.raw_delete_value(MULTI[table], &bytes.0, &bytes.1).unwrap();
        model.pairs(table).remove(&bytes);
    }
}

// ---- comparing ----

type Found = Vec<(Bytes, Option<Bytes>, Option<Bytes>)>;

fn owned(change: Change<&[u8], &[u8]>) -> (Bytes, Option<Bytes>, Option<Bytes>) {
    let owned = |value: Option<&&[u8]>| value.map(|value| value.to_vec());
    (change.key().to_vec(), owned(change.before()), owned(change.after()))
}

fn expected(old: &Map, new: &Map) -> Found {
    let keys: BTreeSet<&Bytes> = old.keys().chain(new.keys()).collect();
    let differing = keys.into_iter().filter(|key| old.get(*key) != new.get(*key));
    differing.map(|key| (key.clone(), old.get(key).cloned(), new.get(key).cloned())).collect()
}

fn owned_pair(change: PairChange<&[u8], &[u8]>) -> (Bytes, Bytes, bool) {
    match change {
        PairChange::Inserted { key, value } => (key.to_vec(), value.to_vec(), true),
        PairChange::Deleted { key, value } => (key.to_vec(), value.to_vec(), false),
    }
}

fn expected_pairs(old: &Pairs, new: &Pairs) -> Vec<(Bytes, Bytes, bool)> {
    let differing = old.symmetric_difference(new);
    differing.map(|pair| (pair.0.clone(), pair.1.clone(), new.contains(pair))).collect()
}

fn compare((old, before): (&ReadTxn, &Model), (new, after): (&ReadTxn, &Model)) {
    let mut differing = BTreeSet::new();
    for name in SINGLE {
        let (before, after) = (before.single.get(name), after.single.get(name));
        let Some(diff) = old.raw_diff(new, name).unwrap() else {
            assert!(before.is_none() && after.is_none());
            continue;
        };
        let found: Found = diff.map(|change| owned(change.unwrap())).collect();
        let maps = (before.cloned().unwrap_or_default(), after.cloned().unwrap_or_default());
        assert!(found == expected(&maps.0, &maps.1), "table {name}");
        differing.extend((!found.is_empty() || before.is_none() != after.is_none()).then_some(name));
    }
    for name in MULTI {
        let (before, after) = (before.multi.get(name), after.multi.get(name));
        let Some(diff) = old.raw_diff_multi(new, name).unwrap() else {
            assert!(before.is_none() && after.is_none());
            continue;
        };
        let found: Vec<_> = diff.map(|change| owned_pair(change.unwrap())).collect();
        let pairs = (before.cloned().unwrap_or_default(), after.cloned().unwrap_or_default());
        assert!(found == expected_pairs(&pairs.0, &pairs.1), "multimap {name}");
        differing.extend((!found.is_empty() || before.is_none() != after.is_none()).then_some(name));
    }
    compare_tables(old, new, &differing);
}

fn compare_tables(old: &ReadTxn, new: &ReadTxn, differing: &BTreeSet<&str>) {
    let tables = |txn: &ReadTxn| -> BTreeMap<String, TableInfo> {
        txn.tables().unwrap().into_iter().map(|info| (info.name.clone(), info)).collect()
    };
    let (before, after) = (tables(old), tables(new));
    let changed = old.changed_tables(new).unwrap();
    assert!(changed.is_sorted_by(|one, next| one.name() < next.name()));
    assert!(differing.iter().all(|name| changed.iter().any(|table| table.name() == *name)));
    for table in &changed {
        let (old, new) = match table {
            TableChange::Created(new) => (None, Some(new)),
            TableChange::Changed { old, new } => (Some(old), Some(new)),
            TableChange::Dropped(old) => (Some(old), None),
        };
        assert_eq!((old, new), (before.get(table.name()), after.get(table.name())));
    }
    let is_listed = |name: &String| changed.iter().any(|table| table.name() == name);
    for name in before.keys().chain(after.keys()).filter(|name| !is_listed(name)) {
        assert_eq!(before.get(name), after.get(name));
    }
}

fn run(options: Options, ops: &[Op]) {
    let mut db = TestDb::with(options);
    let mut held: Vec<(ReadTxn, Model)> = vec![(db.begin_read().unwrap(), Model::default())];
    let mut stored: Vec<(String, Model)> = Vec::new();
    let mut committed = Model::default();
    let mut ops = ops.iter().peekable();
    while ops.peek().is_some() {
        let (mut w, mut model) = (db.begin_write().unwrap(), committed.clone());
        loop {
            match ops.next().unwrap_or(&Op::Commit(Durability::Durable)) {
                Op::Commit(durability) => {
                    w.set_durability(*durability);
                    w.commit().unwrap();
                    committed = model;
                    let newest = (db.begin_read().unwrap(), committed.clone());
                    if let Some(before) = held.last() {
                        compare((&before.0, &before.1), (&newest.0, &newest.1));
                        compare((&newest.0, &newest.1), (&before.0, &before.1));
                    }
                    held.push(newest);
                    break;
                }
                Op::Store => {
                    let name = format!("snapshot {}", stored.len());
                    w.create_snapshot(&name).unwrap();
                    w.commit().unwrap();
                    committed = model;
                    stored.push((name, committed.clone()));
                    break;
                }
                Op::Abort => break,
                Op::Reopen => {
                    drop(w);
                    held.clear();
                    db.reopen();
                    break;
                }
                op => carry_out(&mut w, &mut model, op),
            }
        }
    }
    held.extend(stored.into_iter().map(|(name, model)| (db.read_snapshot(&name).unwrap(), model)));
    for (i, (old, before)) in held.iter().enumerate() {
        for (new, after) in &held[i..] {
            compare((old, before), (new, after));
            compare((new, after), (old, before));
        }
    }
}

/// A store, what its newest state holds, and its stored snapshots.
struct Twin {
    db: TestDb,
    committed: Model,
    stored: Vec<(String, Model)>,
}

impl Twin {
    fn go(&mut self, ops: &[Op]) {
        let mut ops = ops.iter().peekable();
        while ops.peek().is_some() {
            let (mut w, mut model) = (self.db.begin_write().unwrap(), self.committed.clone());
            loop {
                match ops.next().unwrap_or(&Op::Commit(Durability::Durable)) {
                    Op::Commit(durability) => {
                        w.set_durability(*durability);
                        w.commit().unwrap();
                        self.committed = model;
                        break;
                    }
                    Op::Store => {
                        let name = format!("snapshot {}", self.stored.len());
                        w.create_snapshot(&name).unwrap();
                        w.commit().unwrap();
                        self.committed = model;
                        self.stored.push((name, self.committed.clone()));
                        break;
                    }
                    Op::Abort => break,
                    Op::Reopen => {
                        drop(w);
                        self.db.reopen();
                        break;
                    }
                    op => carry_out(&mut w, &mut model, op),
                }
            }
        }
    }

    fn states(&self) -> Vec<(ReadTxn, &Model)> {
        let stored = self.stored.iter().map(|(name, model)| (self.db.read_snapshot(name).unwrap(), model));
        stored.chain([(self.db.begin_read().unwrap(), &self.committed)]).collect()
    }
}

/// What a change of the same place and kind, with other contents, is.
fn unlike(op: &Op) -> Op {
    match op.clone() {
        Op::Put { table, start, count, step, seed } => Op::Put { table, start, count, step, seed: !seed },
        other => other,
    }
}

/// A file and its copy as a crash would leave it, which then go apart; in every second step both do the same with other
/// values, so that they have pages of the same numbers and births, and not the same in them.
fn run_files(before: &[Op], is_closed: bool, apart: &[(Op, bool)]) {
    let mut one = Twin { db: TestDb::new(), committed: Model::default(), stored: Vec::new() };
    one.go(before);
    if is_closed {
        one.db.reopen();
    }
    let mut other =
        Twin { db: one.db.after_death(), committed: one.committed.clone(), stored: one.stored.clone() };
    for (step, ops) in apart.chunks(3).enumerate() {
        let of = |is_one: bool| ops.iter().filter(move |(_, of)| *of == is_one || step % 2 == 0);
        one.go(&of(true).map(|(op, _)| op.clone()).collect::<Vec<_>>());
        other.go(&of(false).map(|(op, _)| unlike(op)).collect::<Vec<_>>());
        for (old, before) in &one.states() {
            for (new, after) in &other.states() {
                compare((old, before), (new, after));
                compare((new, after), (old, before));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, max_shrink_iters: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_differences_of_snapshots_are_those_of_what_they_hold(ops in proptest::collection::vec(op(), 1..40)) {
        run(Options::new(), &ops);
    }

    #[test]
    fn the_same_where_pages_are_written_early(ops in proptest::collection::vec(op(), 1..40)) {
        run(Options::new().dirty_limit(1 << 20), &ops);
    }

    #[test]
    fn the_same_with_large_pages_and_a_short_log(ops in proptest::collection::vec(op(), 1..40)) {
        run(Options::new().page_size(16384).log_limit(1 << 16), &ops);
    }

    #[test]
    fn the_differences_of_two_files_with_a_common_history_are_those_of_what_they_hold(
        before in proptest::collection::vec(op(), 1..20),
        is_closed in any::<bool>(),
        apart in proptest::collection::vec((op(), any::<bool>()), 1..15),
    ) {
        run_files(&before, is_closed, &apart);
    }
}

/// A restored store has another id, and knows what it came through.
#[test]
fn a_restored_store_is_compared_with_the_one_that_was_backed_up() {
    let (db, directory) = (TestDb::new(), tempfile::tempdir().unwrap());
    db.write(|w| (0..100_000).try_for_each(|i| w.put(NUMBERS, &i, &i).map(drop))).unwrap();
    let path = |name: &str| directory.path().join(name);
    let full = db.backup().unwrap().write_to(path("full"), &mut |_| {}).unwrap();
    db.write(|w| w.put(NUMBERS, &7, &0)).unwrap();
    db.backup().unwrap().since(&full.info).unwrap().write_to(path("more"), &mut |_| {}).unwrap();
    let names = [path("full"), path("more")];
    mapleaf::Restore::of(&names).unwrap().write_to(path("restored"), &mut |_| {}).unwrap();
    let restored = open(&Options::new(), &path("restored"));
    // Both go on.
    db.write(|w| w.put(NUMBERS, &50_000, &1)).unwrap();
    db.checkpoint().unwrap();
    restored.write(|w| w.put(NUMBERS, &50_000, &2)).unwrap();
    restored.write(|w| w.put(NUMBERS, &99_000, &2)).unwrap();
    // A third is restored from a backup of the second.
    restored.backup().unwrap().write_to(path("third"), &mut |_| {}).unwrap();
    mapleaf::Restore::of([path("third")]).unwrap().write_to(path("restored again"), &mut |_| {}).unwrap();
    let again = open(&Options::new(), &path("restored again"));
    drop(restored);
    // Opened anew, so that what is read is counted by the pages that come into memory.
    for (name, other) in [("restored", None), ("restored again", Some(again))] {
        drop(other);
        std::fs::File::open(path(name)).unwrap().sync_all().unwrap();
        let file = std::fs::File::open(path(name)).unwrap();
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
        let other = open(&Options::new(), &path(name));
        let resident = || other.file_usage().unwrap().cached.map(|cached| cached.resident / 4096);
        let is_cold = resident().is_some_and(|pages| pages < 50);
        let (old, new) = (db.begin_read().unwrap(), other.begin_read().unwrap());
        let found: Vec<u64> = old.diff(&new, NUMBERS).unwrap().map(|change| *change.unwrap().key()).collect();
        assert_eq!(found, [50_000, 99_000]);
        assert!(!is_cold || resident().unwrap() < 100, "{:?} pages of 400 are read", resident());
        drop(new);
        common::assert_clean(&other);
    }
}

/// Nothing is common but the contents.
#[test]
fn stores_without_a_common_history_are_compared_as_a_whole() {
    let filled = |options: Options| {
        let db = TestDb::with(options);
        db.write(|w| {
            (0..2000).try_for_each(|i| w.put(NUMBERS, &i, &i).map(drop))?;
            (0..2000).try_for_each(|i| w.put_value(TAGS, &(i % 3), &i).map(drop))
        })
        .unwrap();
        db
    };
    let one = filled(Options::new());
    for page_size in [4096, 16384] {
        let other = filled(Options::new().page_size(page_size));
        let compare = |differing: &[u64]| {
            let (old, new) = (one.begin_read().unwrap(), other.begin_read().unwrap());
            let found: Vec<u64> =
                old.diff(&new, NUMBERS).unwrap().map(|change| *change.unwrap().key()).collect();
            assert_eq!(found, differing);
            assert_eq!(old.diff_multi(&new, TAGS).unwrap().count(), 0);
        };
        compare(&[]);
        other.write(|w| w.put(NUMBERS, &77, &0)).unwrap();
        compare(&[77]);
    }
}

// ---- what can be compared ----

#[test]
fn changes_are_typed_and_come_in_the_order_of_the_keys() {
    let db = TestDb::new();
    const PRICES: Table<(String, u64), i32> = Table::new("prices");
    let empty = db.begin_read().unwrap();
    db.write(|w| {
        w.put(PRICES, &("tea", 1), &-5)?;
        w.put(PRICES, &("tea", 2), &7)
    })
    .unwrap();
    let first = db.begin_read().unwrap();
    db.write(|w| {
        w.put(PRICES, &("tea", 2), &8)?;
        w.put(PRICES, &("tea", 1), &-5)?;
        w.put(PRICES, &("cup", 900), &0)
    })
    .unwrap();
    let second = db.begin_read().unwrap();
    fn changes<'t>(old: &'t ReadTxn, new: &'t ReadTxn) -> Vec<Change<(Cow<'t, str>, u64), i32>> {
        old.diff(new, PRICES).unwrap().map(Result::unwrap).collect()
    }
    let (cup, tea) = (|| (Cow::Borrowed("cup"), 900), |id| (Cow::Borrowed("tea"), id));
    assert_eq!(
        changes(&first, &second),
        [Change::Inserted { key: cup(), value: 0 }, Change::Changed { key: tea(2), old: 7, new: 8 }]
    );
    assert_eq!(
        changes(&second, &first),
        [Change::Deleted { key: cup(), value: 0 }, Change::Changed { key: tea(2), old: 8, new: 7 }]
    );
    assert_eq!(
        changes(&empty, &first),
        [Change::Inserted { key: tea(1), value: -5 }, Change::Inserted { key: tea(2), value: 7 }]
    );
    assert_eq!(changes(&first, &first), []);
    assert!(empty.raw_diff(&empty, "prices").unwrap().is_none());
    assert!(format!("{:?}", first.diff(&second, PRICES).unwrap()).starts_with("Diff"));
}

#[test]
fn other_types_and_another_kind_are_refused() {
    let db = TestDb::new();
    db.write(|w| {
        w.put(NUMBERS, &1, &1)?;
        w.put_value(TAGS, &1, &1)
    })
    .unwrap();
    let old = db.begin_read().unwrap();
    let texts: Table<u64, str> = Table::new("numbers");
    db.write(|w| {
        w.drop_table("numbers")?;
        w.put(texts, &1, "one")
    })
    .unwrap();
    let new = db.begin_read().unwrap();
    for (one, other) in [(&old, &new), (&new, &old)] {
        assert!(matches!(one.diff(other, NUMBERS), Err(Error::SchemaMismatch { .. })));
        assert!(matches!(one.diff(other, texts), Err(Error::SchemaMismatch { .. })));
        assert!(matches!(one.raw_diff(other, "numbers"), Err(Error::SchemaMismatch { .. })));
        assert!(matches!(one.raw_diff(other, "tags"), Err(Error::InvalidArgument { .. })));
        assert!(matches!(one.raw_diff_multi(one, "numbers"), Err(Error::InvalidArgument { .. })));
        let changed = one.changed_tables(other).unwrap();
        assert!(
            matches!(&changed[..], [TableChange::Changed { old, new }] if old.id != new.id && old.schema != new.schema)
        );
    }
}

#[test]
fn a_renamed_table_is_dropped_and_created_with_the_same_id() {
    let db = TestDb::new();
    db.write(|w| w.bulk_load(NUMBERS, [(1, 1), (2, 2)])).unwrap();
    let old = db.begin_read().unwrap();
    db.write(|w| w.rename_table("numbers", "renamed")).unwrap();
    let new = db.begin_read().unwrap();
    let changed = old.changed_tables(&new).unwrap();
    let [TableChange::Dropped(before), TableChange::Created(after)] = &changed[..] else {
        panic!("{changed:?}")
    };
    assert_eq!((&before.name[..], &after.name[..], before.id), ("numbers", "renamed", after.id));
    assert_eq!(old.diff(&new, NUMBERS).unwrap().count(), 2);
    assert_eq!(old.diff(&new, Table::<u64, u64>::new("renamed")).unwrap().count(), 2);
}

#[test]
fn snapshots_of_several_handles_and_from_descriptors_are_compared() {
    let db = TestDb::new();
    db.write(|w| w.bulk_load(NUMBERS, (0..10_000).map(|i| (i, i)))).unwrap();
    let reader = open(&Options::new().read_only(true), &db.path());
    let old = reader.begin_read().unwrap();
    db.write(|w| w.put(NUMBERS, &5000, &1)).unwrap();
    let new = db.begin_read().unwrap();
    let expected = [Change::Changed { key: 5000, old: 5000, new: 1 }];
    assert_eq!(old.diff(&new, NUMBERS).unwrap().map(Result::unwrap).collect::<Vec<_>>(), expected);
    // SAFETY: only mapleaf changes this file.
    let handed = unsafe { ReadTxn::import(old.export("old").unwrap()).unwrap() };
    drop(old);
    assert_eq!(handed.diff(&new, NUMBERS).unwrap().map(Result::unwrap).collect::<Vec<_>>(), expected);
}

const WRITER: &str = "MAPLEAF_DIFF_WRITER";

/// Not a test of its own: what the processes do that the next one starts, where it says in which file.
#[test]
fn a_writer_for_the_follower() {
    let Some(path) = std::env::var_os(WRITER) else { return };
    let db = open(&Options::new(), Path::new(&path));
    let random = &mut StdRng::seed_from_u64(std::process::id().into());
    for round in 0..300_u64 {
        let mut w = db.begin_write().unwrap();
        w.set_durability(if round % 50 == 0 { Durability::Ordered } else { Durability::Durable });
        for _ in 0..random.random_range(1..20) {
            w.put(NUMBERS, &random.random_range(0..20_000), &round).unwrap();
            w.delete(NUMBERS, &random.random_range(0..20_000)).unwrap();
        }
        w.commit().unwrap();
    }
    db.write(|w| w.put(NUMBERS, &u64::MAX, &0)).unwrap();
}

/// Whoever comes behind a killed writer replays the log, beside the snapshot that the follower holds.
#[test]
fn a_follower_has_what_writers_in_other_processes_have_though_they_are_killed() {
    let db = TestDb::new();
    let path = db.path();
    let reader = open(&Options::new().read_only(true), &path);
    let writer = || {
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "a_writer_for_the_follower"]).env(WRITER, &path);
        command.stdout(std::process::Stdio::null()).spawn().unwrap()
    };
    let mut seen = reader.begin_read().unwrap();
    let mut copy = BTreeMap::new();
    std::thread::scope(|threads| {
        let writers = threads.spawn(|| {
            for lifetime in [30, 60, 90, 120, 150] {
                let mut killed = writer();
                std::thread::sleep(Duration::from_millis(lifetime));
                killed.kill().unwrap();
                killed.wait().unwrap();
            }
            assert!(writer().wait().unwrap().success());
        });
        while !writers.is_finished()
            || reader.wait_for_commit(seen.txn_id(), Some(Duration::ZERO)).unwrap().is_some()
        {
            reader.wait_for_commit(seen.txn_id(), Some(Duration::from_millis(20))).unwrap();
            let now = reader.begin_read().unwrap();
            for change in seen.diff(&now, NUMBERS).unwrap() {
                match change.unwrap() {
                    Change::Inserted { key, value } => assert_eq!(copy.insert(key, value), None),
                    Change::Changed { key, old, new } => assert_eq!(copy.insert(key, new), Some(old)),
                    Change::Deleted { key, value } => assert_eq!(copy.remove(&key), Some(value)),
                }
            }
            let entries = now.iter(NUMBERS).unwrap().map(Result::unwrap);
            assert!(copy.iter().map(|(key, value)| (*key, *value)).eq(entries));
            seen = now;
        }
        writers.join().unwrap();
    });
    assert!(copy.contains_key(&u64::MAX));
}

/// The follower of the cookbook; it ends after so many of its steps.
fn catch_up(store: &Database, copy: &Database, steps: usize) -> mapleaf::Result<()> {
    let reached = copy.begin_read()?.user_version();
    let [from, to] = [reached, reached + 1].map(|turn| format!("follower {}", turn % 2));
    if steps > 0 {
        store.write(|w| {
            w.drop_snapshot(&to)?;
            w.create_snapshot(&to)
        })?;
    }
    if steps > 1 {
        let (old, new) = (store.read_snapshot(&from)?, store.read_snapshot(&to)?);
        copy.write(|w| {
            w.set_user_version(reached + 1);
            old.diff(&new, NUMBERS)?.try_for_each(|change| {
                let change = change?;
                assert_eq!(w.get(NUMBERS, change.key())?.as_ref(), change.before());
                match change.after() {
                    Some(value) => w.put(NUMBERS, change.key(), value).map(drop),
                    None => w.delete(NUMBERS, change.key()).map(drop),
                }
            })
        })?;
    }
    Ok(())
}

#[test]
fn a_follower_that_is_stopped_anywhere_misses_nothing_and_repeats_nothing() {
    let (store, mut copy) = (TestDb::new(), TestDb::new());
    store.write(|w| w.create_snapshot("follower 0")).unwrap();
    let random = &mut StdRng::seed_from_u64(3);
    for _ in 0..60 {
        for _ in 0..random.random_range(0..4) {
            store.write(|w| w.put(NUMBERS, &random.random_range(0..3000), &random.random::<u64>())).unwrap();
            store.write(|w| w.delete_range(NUMBERS, random.random_range(0..3000)..).map(drop)).unwrap();
            store.write(|w| (0..50).try_for_each(|i| w.put(NUMBERS, &(i * 60), &i).map(drop))).unwrap();
        }
        let steps = random.random_range(0..3);
        catch_up(&store, &copy, steps).unwrap();
        if steps < 2 {
            copy.reopen();
        }
    }
    catch_up(&store, &copy, 2).unwrap();
    let (theirs, ours) = (store.begin_read().unwrap(), copy.begin_read().unwrap());
    let entries = |txn: &ReadTxn| txn.iter(NUMBERS).unwrap().map(Result::unwrap).collect::<Vec<_>>();
    assert!(entries(&theirs) == entries(&ours));
    assert_eq!(theirs.snapshots().unwrap().len(), 2);
}

#[test]
fn differences_can_be_sent_to_and_shared_between_threads() {
    fn is_shared<T: Send + Sync>() {}
    is_shared::<Diff<'_, u64, str>>();
    is_shared::<MultiDiff<'_, u64, str>>();
}

// ---- what is read ----

#[test]
fn of_what_both_share_nothing_is_read() {
    let mut scribe = Scribe::new(PAGE);
    let (mut old, mut new) = (Model::default(), Model::default());
    scribe.write(true, |w| {
        (0..3).for_each(|table| carry_out(w, &mut old, &Op::Load { table, start: 0, count: KEYS, seed: 1 }));
        w.create_snapshot("old")
    });
    let before = Image { bytes: scribe.bytes(), page_size: PAGE };
    new.clone_from(&old);
    scribe.write(true, |w| {
        (0..3).for_each(|table| {
            carry_out(w, &mut new, &Op::Put { table, start: 1000, count: 4, step: 300, seed: 2 })
        });
        Ok(())
    });
    let Fixture { mut image, live, .. } = scribe.close();
    let shared: Vec<u64> = Live::of(&before)
        .nodes
        .into_iter()
        .filter(|(page, node)| node.table != oracle::CATALOG && live.nodes.contains_key(page))
        .map(|(page, _)| page)
        .collect();
    assert!(shared.len() > live.nodes.len() * 9 / 10 && shared.len() > 800, "{} pages", shared.len());
    shared.into_iter().for_each(|page| image.page_mut(page)[4..].fill(0xa5));
    let file = File::of(&image.bytes);
    let db = open(&Options::new().create(false), &file.path());
    let (r, older) = (db.begin_read().unwrap(), db.read_snapshot("old").unwrap());
    for (before, after) in [((&older, &old), (&r, &new)), ((&r, &new), (&older, &old))] {
        compare(before, after);
    }
    assert!(r.iter(NUMBERS).unwrap().any(|entry| entry.is_err()), "they are damaged");
}

// ---- damaged and crafted files ----

const PAGE: usize = 4096;

struct File {
    directory: tempfile::TempDir,
}

impl File {
    fn of(bytes: &[u8]) -> File {
        let directory = oracle::memory_directory();
        std::fs::write(directory.path().join("a.maple"), bytes).unwrap();
        File { directory }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("a.maple")
    }
}

/// A file with two states that share most of their pages: the stored snapshot "old", and the newest.
struct TwoStates {
    bytes: Bytes,
    right: Vec<Vec<(Bytes, Bytes)>>,
}

static TWO_STATES: LazyLock<TwoStates> = LazyLock::new(|| {
    let mut db = TestDb::new();
    let (mut model, tables) = (Model::default(), 0..3_usize);
    let load = tables.clone().map(|table| Op::Load { table, start: 0, count: KEYS, seed: 1 });
    let values = [
        Op::PutValues { table: 0, key: 0, keys: 300, start: 0, count: 9 },
        Op::PutValues { table: 0, key: 7, keys: 3, start: 0, count: 4000 },
        Op::PutValues { table: 1, key: 0, keys: 100, start: 0, count: 5 },
        Op::PutValues { table: 1, key: 50, keys: 2, start: 0, count: 3000 },
    ];
    let first: Vec<Op> = load.chain(values).collect();
    let puts = tables.clone().map(|table| Op::Put { table, start: 1000, count: 4, step: 300, seed: 2 });
    let cuts = tables.map(|table| Op::Cut { table, low: 2000, high: 2500 });
    let values = [
        Op::DeleteValues { table: 0, key: 7, keys: 1, start: 2000, count: 2 },
        Op::DeleteValues { table: 0, key: 150, keys: 1, start: 0, count: 2 },
        Op::CutKeys { table: 0, low: 200, high: 250 },
        Op::DeleteValues { table: 1, key: 50, keys: 1, start: 1500, count: 2 },
    ];
    let second: Vec<Op> = puts.chain(cuts).chain(values).collect();
    for (ops, name) in [(first, Some("old")), (second, None)] {
        let mut w = db.begin_write().unwrap();
        ops.iter().for_each(|op| carry_out(&mut w, &mut model, op));
        name.map(|name| w.create_snapshot(name)).transpose().unwrap();
        w.commit().unwrap();
    }
    db.close().unwrap();
    let bytes = std::fs::read(db.path()).unwrap();
    let right = compare_in(&File::of(&bytes).path()).into_iter().map(|(found, error)| {
        assert!(error.is_none() && !found.is_empty());
        found
    });
    TwoStates { right: right.collect(), bytes }
});

/// Keys and values up to the first error.
type UntilError = (Vec<(Bytes, Bytes)>, Option<Error>);

/// What differs in each table, either way.
fn compare_in(path: &Path) -> Vec<UntilError> {
    let Ok(db) = try_open(&Options::new().create(false), path) else { return Vec::new() };
    let (Ok(old), Ok(new)) = (db.read_snapshot("old"), db.begin_read()) else { return Vec::new() };
    let mut all = Vec::new();
    for (old, new) in [(&old, &new), (&new, &old)] {
        let _ = old.changed_tables(new);
        for name in SINGLE {
            let Ok(Some(diff)) = old.raw_diff(new, name) else { continue };
            let changes = diff.map(|change| change.map(owned));
            all.push(until_error(changes.map(|change| {
                change.map(|(key, old, new)| {
                    assert!(old != new, "it is the same");
                    (key, [old.unwrap_or_default(), new.unwrap_or_default()].concat())
                })
            })));
        }
        for name in MULTI {
            let Ok(Some(diff)) = old.raw_diff_multi(new, name) else { continue };
            all.push(until_error(diff.map(|pair| pair.map(owned_pair).map(|(key, value, _)| (key, value)))));
        }
    }
    all
}

fn until_error(mut items: impl Iterator<Item = mapleaf::Result<(Bytes, Bytes)>>) -> UntilError {
    let mut found = Vec::new();
    let error = items.by_ref().find_map(|item| item.map(|item| found.push(item)).err());
    assert!(items.next().is_none(), "nothing comes behind the end, or an error");
    (found, error)
}

/// Pages of tables' trees, and of sets, of both states; their levels.
fn tree_pages(bytes: &[u8]) -> Vec<(u64, u8)> {
    const SNAPSHOTS: u64 = (1 << 31) - 1;
    let pages = (0..).zip(bytes.chunks(PAGE)).skip(2);
    let trees = pages.filter(|(i, page)| {
        let is_whole = number(page, 0, 4) == u64::from(crc32fast::hash(&page[4..]));
        let is_tree = is_whole && number(page, 8, 8) == *i && matches!(page[4], 1 | 2 | 3 | 5);
        is_tree && !matches!(number(page, 24, 4), 0 | 1 | SNAPSHOTS)
    });
    trees.map(|(i, page)| (i, page[5])).collect()
}

fn image() -> Image {
    Image { bytes: TWO_STATES.bytes.clone(), page_size: PAGE }
}

#[test]
fn a_damaged_page_is_an_error_where_it_must_be_read_and_what_came_before_is_right() {
    let (mut hit, mut spared) = (0, 0);
    for (page, level) in tree_pages(&TWO_STATES.bytes) {
        if level == 0 && page % 5 > 0 {
            continue;
        }
        let mut image = image();
        image.page_mut(page)[700..800].fill(0x5a);
        let found = compare_in(&File::of(&image.bytes).path());
        assert_eq!(found.len(), TWO_STATES.right.len());
        let mut is_hit = false;
        for ((found, error), right) in found.iter().zip(&TWO_STATES.right) {
            assert!(right.starts_with(found), "page {page}");
            assert!(error.is_some() || right.len() == found.len());
            assert!(error.as_ref().is_none_or(|error| matches!(error, Error::Corrupt { .. })), "{error:?}");
            is_hit |= error.is_some();
        }
        *if is_hit { &mut hit } else { &mut spared } += 1;
    }
    assert!(hit > 10 && spared > 10, "{hit} and {spared}");
}

#[test]
fn crafted_pages_with_right_checksums_make_nothing_panic_or_go_on_for_ever() {
    let pages = tree_pages(&TWO_STATES.bytes);
    let random = &mut StdRng::seed_from_u64(13);
    for case in 0..150 {
        let mut image = image();
        for _ in 0..random.random_range(1..6) {
            let (page, _) = *match random.random_bool(0.5) {
                true => pages.iter().filter(|(_, level)| *level > 0).choose(random).unwrap(),
                false => pages.choose(random).unwrap(),
            };
            let at = match random.random_range(0..3) {
                0 => random.random_range(4..32),
                1 => random.random_range(32..300),
                _ => random.random_range(32..PAGE),
            };
            let other = image.page(pages.choose(random).unwrap().0).to_vec();
            let bytes = image.page_mut(page);
            match random.random_range(0..3) {
                0 => bytes[at] = random.random(),
                1 => bytes[at] ^= 1 << random.random_range(0..8),
                _ => {
                    // Another page's bytes: references to what belongs elsewhere.
                    let len = random.random_range(1..40).min(PAGE - at);
                    bytes[at..at + len].copy_from_slice(&other[at..at + len]);
                }
            }
            image.seal_page(page);
        }
        let file = File::of(&image.bytes);
        let compared = catch_unwind(AssertUnwindSafe(|| compare_in(&file.path())));
        let compared = compared.unwrap_or_else(|_| panic!("case {case}"));
        assert!(compared.iter().all(|(found, _)| found.is_sorted_by(|one, next| one < next)), "case {case}");
    }
}

/// A tree of several levels as the stored snapshot "old" has it, and another one of the same contents.
fn twins() -> Image {
    let mut db = TestDb::new();
    for seed in [1, 2, 1] {
        let mut w = db.begin_write().unwrap();
        carry_out(&mut w, &mut Model::default(), &Op::Put { table: 1, start: 0, count: KEYS, step: 1, seed });
        if w.snapshots().unwrap().is_empty() {
            w.create_snapshot("old").unwrap();
        }
        w.commit().unwrap();
    }
    db.close().unwrap();
    Image { bytes: std::fs::read(db.path()).unwrap(), page_size: PAGE }
}

/// Makes a branch one of 150 children, all of them its first one.
fn fatten(bytes: &mut [u8]) {
    let (count, prefix) = (number(bytes, 6, 2) as usize, number(bytes, 30, 2) as usize);
    let shorts = 32 + prefix + 4 * count;
    let rests = shorts + 8 * count;
    let (short, rest) = (bytes[shorts..shorts + 8].to_vec(), bytes[rests..rests + 9].to_vec());
    const COUNT: usize = 150;
    let separators = (1..COUNT as u16).map(u16::to_be_bytes);
    bytes[6..8].copy_from_slice(&(COUNT as u16).to_le_bytes());
    bytes[28..30].copy_from_slice(&(2 * (COUNT as u16 - 1)).to_le_bytes());
    bytes[30..].fill(0);
    for i in 0..COUNT {
        bytes[32 + 12 * COUNT - 8 * (COUNT - i)..][..8].copy_from_slice(&short);
        bytes[32 + 12 * COUNT + 9 * i..][..9].copy_from_slice(&rest);
    }
    for (i, separator) in (1..).zip(separators) {
        let head = [0, 0, separator[1], separator[0]];
        bytes[32 + 4 * i..][..4].copy_from_slice(&head);
        bytes[32 + 21 * COUNT + 2 * i..][..2].copy_from_slice(&(2 * (i as u16 - 1)).to_le_bytes());
        bytes[PAGE - 2 * (COUNT - i)..][..2].copy_from_slice(&separator);
    }
}

/// Trees of a few pages that would be millions if each reference counted, in which nothing differs.
#[test]
fn trees_whose_references_all_lead_to_one_child_are_left_soon() {
    let mut image = twins();
    assert_eq!(compare_in(&File::of(&image.bytes).path())[0].0, []);
    let pages = tree_pages(&image.bytes);
    assert!(pages.iter().any(|(_, level)| *level >= 3));
    for (page, _) in pages.iter().filter(|(_, level)| *level > 0) {
        fatten(image.page_mut(*page));
        image.seal_page(*page);
        assert_eq!(image.children(*page)[149].0, [0, 149]);
    }
    for (found, error) in compare_in(&File::of(&image.bytes).path()) {
        let error = error.unwrap().to_string();
        assert!(found.is_empty() && error.contains("outside the separators"), "{error}");
    }
}

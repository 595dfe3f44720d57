//! Changes that depend on what is there, against a `BTreeMap`: entries, compare and swap, updates in place, removing
//! and keeping, retain and extract_if; with savepoints, spills, aborts, and recovery from the log.

mod common;
mod kinds;

use common::TestDb;
use kinds::{Kind, Long, Map, Pair, Plain, Short, encoded};
use mapleaf::codec::{Codec, Encode, Key, Pod};
use mapleaf::{Error, Options, Removed, Savepoint, Schema, Table, TableView, WriteTxn};
use proptest::prelude::*;
use proptest::test_runner::{FileFailurePersistence, RngSeed};
use std::marker::PhantomData;
use std::ops::Bound;

const HITS: Table<str, u64> = Table::new("hits");

#[test]
fn an_entry_looks_first_and_changes_then() {
    let db = TestDb::new();
    let mut w = db.begin_write().unwrap();
    for page in ["/", "/about", "/"] {
        w.entry(HITS, page).unwrap().and_modify(|hits| hits + 1).unwrap().or_insert(&1).unwrap();
    }
    assert_eq!(w.get(HITS, "/").unwrap(), Some(2));
    let mut entry = w.entry(HITS, "/").unwrap();
    assert_eq!((entry.key(), entry.get().unwrap()), ("/", Some(2)));
    assert_eq!(entry.remove().unwrap().unwrap().entry(), ("/", 2));
    assert!(entry.remove().unwrap().is_none() && entry.get().unwrap().is_none());
    assert!(!entry.insert(&9).unwrap());
    assert!(entry.insert(&8).unwrap());
    w.commit().unwrap();
    assert_eq!(db.begin_read().unwrap().len(HITS).unwrap(), 2);
}

#[test]
fn looking_at_an_entry_creates_no_table_and_changes_nothing() {
    let db = TestDb::new();
    let mut w = db.begin_write().unwrap();
    assert_eq!(w.entry(HITS, "/").unwrap().and_modify(|hits| hits + 1).unwrap().get().unwrap(), None);
    assert!(w.entry(HITS, "/").unwrap().remove().unwrap().is_none());
    assert!(w.cursor_mut(HITS).unwrap().next().unwrap().is_none());
    assert!(w.pop_first(HITS).unwrap().is_none() && w.pop_last(HITS).unwrap().is_none());
    assert!(w.remove(HITS, "/").unwrap().is_none());
    assert_eq!(w.update_in_place(HITS, "/", |_| ()).unwrap(), None);
    assert!(w.compare_and_swap(HITS, "/", None, None).unwrap());
    assert!(!w.compare_and_swap(HITS, "/", Some(&1), None).unwrap());
    assert_eq!(w.retain(HITS, .., |_, _| false).unwrap(), 0);
    assert_eq!(w.extract_if(HITS, .., |_, _| true).unwrap().count(), 0);
    assert!(w.tables().unwrap().is_empty());
    let txn = w.txn_id();
    w.commit().unwrap();
    assert!(db.begin_read().unwrap().txn_id() < txn);
}

#[test]
fn a_value_made_for_an_entry_that_is_there_is_not_made() {
    let db = TestDb::new();
    let mut w = db.begin_write().unwrap();
    assert_eq!(w.entry(HITS, "/").unwrap().or_insert_with(|| 3).unwrap(), 3);
    assert_eq!(w.entry(HITS, "/").unwrap().or_insert_with(|| -> u64 { unreachable!() }).unwrap(), 3);
}

#[test]
fn a_removed_value_is_aligned_as_its_type_needs() {
    const WIDE: Table<u8, Pod<u128>> = Table::new("wide");
    const NAMED: Table<str, Pod<[u64; 700]>> = Table::new("named");
    let db = TestDb::new();
    let mut w = db.begin_write().unwrap();
    for number in 0..9 {
        w.put(WIDE, &number, &u128::from(number)).unwrap();
        w.put(NAMED, &*"n".repeat(number.into()), &[u64::from(number); 700]).unwrap();
    }
    let wide: Vec<_> = w.extract_if(WIDE, .., |_, _| true).unwrap().map(Result::unwrap).collect();
    assert!(wide.iter().map(|entry| (entry.key(), *entry.value())).eq((0..9).map(|n| (n, u128::from(n)))));
    let named = w.pop_last(NAMED).unwrap().unwrap();
    assert_eq!(named.entry(), ("nnnnnnnn", &[8; 700]));
    assert_eq!(named.clone().value_bytes(), named.value_bytes());
    assert_eq!(named.value_bytes().as_ptr() as usize % 16, 0);
}

#[test]
fn an_entry_of_other_types_is_not_removed() {
    let db = TestDb::new();
    let mut w = db.begin_write().unwrap();
    let mut schema = Schema::bytes();
    (schema.key_type, schema.value_type) = ("str".into(), "str".into());
    w.create_table("text", &schema).unwrap();
    w.raw_put("text", b"bad", &[0xff]).unwrap();
    w.raw_put("text", b"good", b"good").unwrap();
    const TEXT: Table<str, str> = Table::new("text");
    assert!(matches!(w.remove(TEXT, "bad"), Err(Error::Decode { .. })));
    assert!(matches!(w.pop_first(TEXT), Err(Error::Decode { .. })));
    assert!(matches!(w.retain(TEXT, .., |_, _| false), Err(Error::Decode { .. })));
    let mut extract = w.extract_if(TEXT, .., |_, _| true).unwrap();
    assert!(matches!(extract.next(), Some(Err(Error::Decode { .. }))) && extract.next().is_none());
    drop(extract);
    // What is outside of the range is not looked at, and a cursor goes past it.
    assert_eq!(w.retain(TEXT, "c".., |_, _| true).unwrap(), 0);
    assert_eq!(w.retain(TEXT, .."b", |_, _| true).unwrap(), 0);
    let mut cursor = w.cursor_mut(TEXT).unwrap();
    assert!(matches!(cursor.next(), Err(Error::Decode { .. })));
    assert!(matches!(cursor.current(), Err(Error::Decode { .. })));
    assert_eq!(cursor.next().unwrap(), Some(("good", "good")));
    assert!(matches!(cursor.previous(), Err(Error::Decode { .. })));
    assert!(cursor.delete().unwrap());
    assert_eq!(cursor.next().unwrap(), Some(("good", "good")));
    let mut cursor = w.cursor(TEXT).unwrap();
    assert_eq!(cursor.seek_exact("good").unwrap(), Some(("good", "good")));
}

#[test]
fn a_panic_in_an_update_leaves_a_txn_that_can_only_be_aborted() {
    let db = TestDb::new();
    let mut w = db.begin_write().unwrap();
    w.put(HITS, "/", &1).unwrap();
    let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        w.update_in_place(HITS, "/", |bytes| {
            bytes[0] = 1;
            panic!("on purpose")
        })
    }));
    assert!(panic.is_err());
    assert!(matches!(w.put(HITS, "/", &2), Err(Error::Poisoned)));
    assert!(matches!(w.commit(), Err(Error::Poisoned)));
}

#[test]
fn what_was_changed_in_place_is_replayed_from_the_log() {
    let db = TestDb::new();
    let lens = [0, 1, 900, 3000];
    for fill in 0..3 {
        // The first commits make a log.
        db.write(|w| put_blobs(w, &lens, fill)).unwrap();
    }
    db.checkpoint().unwrap();
    db.write(|w| change_blobs(w, lens.len())).unwrap();
    let dead = db.after_death();
    assert_eq!(dead.counters().replayed_txns, 1, "{:?}", db.counters());
    assert_changed(&dead, &lens);
}

#[test]
fn a_value_that_was_written_at_once_is_changed_in_a_copy() {
    let db = TestDb::new();
    let lens = [(1 << 20) - 1, 1 << 20, (3 << 20) + 7];
    db.write(|w| put_blobs(w, &lens, 1)).unwrap();
    let before = db.begin_read().unwrap();
    let mut w = db.begin_write().unwrap();
    change_blobs(&mut w, lens.len()).unwrap();
    let savepoint = w.savepoint();
    for key in 0..lens.len() as u64 {
        w.update_in_place(BLOBS, &key, |bytes| bytes.fill(0)).unwrap();
    }
    w.rollback_to(savepoint).unwrap();
    w.commit().unwrap();
    assert_changed(&db, &lens);
    for entry in before.iter(BLOBS).unwrap() {
        assert!(entry.unwrap().1.iter().all(|byte| *byte == 1));
    }
}

const BLOBS: Table<u64, [u8]> = Table::new("blobs");

fn put_blobs(w: &mut WriteTxn, lens: &[usize], fill: u8) -> mapleaf::Result<()> {
    (0..).zip(lens).try_for_each(|(key, len)| w.put(BLOBS, &key, &vec![fill; *len]).map(drop))
}

fn change_blobs(w: &mut WriteTxn, count: usize) -> mapleaf::Result<()> {
    for key in 0..count as u64 {
        w.update_in_place(BLOBS, &key, |bytes| bytes.fill(8))?;
        w.update_in_place(BLOBS, &key, |bytes| bytes.last_mut().map(|last| *last = 9))?;
    }
    Ok(())
}

fn assert_changed(db: &TestDb, lens: &[usize]) {
    let r = db.begin_read().unwrap();
    for (key, len) in (0..).zip(lens) {
        let found = r.get(BLOBS, &key).unwrap().unwrap();
        let mut expected = vec![8; *len];
        if let Some(last) = expected.last_mut() {
            *last = 9;
        }
        assert!(found == expected, "{len} bytes");
    }
}

#[test]
fn an_extraction_that_is_dropped_leaves_what_it_did_not_reach() {
    const NUMBERS: Table<u32, u32> = Table::new("numbers");
    let db = TestDb::new();
    let mut w = db.begin_write().unwrap();
    for number in 0..5000 {
        w.put(NUMBERS, &number, &number).unwrap();
    }
    let mut asked = 0;
    let odd = w.extract_if(NUMBERS, 100..4000, |number, _| {
        asked += 1;
        number % 2 == 1
    });
    let taken: Vec<u32> = odd.unwrap().take(700).map(|removed| removed.unwrap().key()).collect();
    assert!(taken.iter().copied().eq((0..700).map(|i| 101 + 2 * i)));
    assert_eq!(asked, 1400);
    assert_eq!(w.len(NUMBERS).unwrap(), 4300);
    assert_eq!(w.count(NUMBERS, 1500..).unwrap(), 3500);
    assert_eq!(w.retain(NUMBERS, .., |number, _| number % 2 == 0).unwrap(), 1800);
    assert_eq!(w.retain(NUMBERS, 2..=6, |_, _| false).unwrap(), 3);
    let ends = (Bound::Excluded(0), Bound::Excluded(10));
    assert_eq!(
        w.extract_if(NUMBERS, ends, |_, _| true).unwrap().map(|e| e.unwrap().key()).collect::<Vec<_>>(),
        [8]
    );
    w.commit().unwrap();
    assert!(db.begin_read().unwrap().iter(NUMBERS).unwrap().all(|entry| entry.unwrap().0 % 2 == 0));
}

// ---- against a map ----

#[derive(Clone, Debug)]
enum Op {
    Put(u16, Value),
    PutRun(u16, u16, Value),
    OrInsert(u16, Value),
    OrInsertWith(u16, Value),
    Modify(u16),
    EntryRemove(u16),
    /// Key, what is expected, what is put.
    Swap(u16, Option<Value>, Option<Value>),
    /// Adds to each byte.
    Update(u16, u8),
    /// So many neighbours.
    UpdateRun(u16, u16, u8),
    Remove(u16),
    PopFirst(u8),
    PopLast(u8),
    /// Range, and which of it.
    Retain(Ends, u16),
    Extract(Ends, u16, usize),
    Savepoint,
    RollBack(u8),
    Commit,
    Abort,
    Death,
}

type Value = (u16, u8);
type Ends = (Bound<u16>, Bound<u16>);

const KEYS: u16 = 400;

fn any_value() -> impl Strategy<Value = Value> {
    (prop_oneof![4 => 0u16..200, 2 => 200u16..2000, 1 => 2000u16..20000], any::<u8>())
}

/// So few that what is expected is often there.
fn few() -> impl Strategy<Value = Value> {
    (prop_oneof![Just(100u16), Just(3000)], 0u8..2)
}

fn ends() -> impl Strategy<Value = Ends> {
    let bound = || {
        prop_oneof![
            1 => Just(Bound::Unbounded),
            2 => (0..KEYS).prop_map(Bound::Included),
            2 => (0..KEYS).prop_map(Bound::Excluded),
        ]
    };
    (bound(), bound())
}

fn op() -> impl Strategy<Value = Op> {
    let key = || 0..KEYS;
    prop_oneof![
        15 => (key(), any_value()).prop_map(|(k, v)| Op::Put(k, v)),
        15 => (key(), few()).prop_map(|(k, v)| Op::Put(k, v)),
        4 => (key(), 20u16..200, any_value()).prop_map(|(k, count, v)| Op::PutRun(k, count, v)),
        10 => (key(), any_value()).prop_map(|(k, v)| Op::OrInsert(k, v)),
        10 => (key(), any_value()).prop_map(|(k, v)| Op::OrInsertWith(k, v)),
        10 => key().prop_map(Op::Modify),
        4 => key().prop_map(Op::EntryRemove),
        10 => (key(), prop::option::of(few()), prop::option::of(few())).prop_map(|(k, e, v)| Op::Swap(k, e, v)),
        15 => (key(), any::<u8>()).prop_map(|(k, add)| Op::Update(k, add)),
        3 => (key(), 1u16..200, any::<u8>()).prop_map(|(k, count, add)| Op::UpdateRun(k, count, add)),
        5 => key().prop_map(Op::Remove),
        2 => (1u8..30).prop_map(Op::PopFirst),
        2 => (1u8..30).prop_map(Op::PopLast),
        2 => (ends(), 1u16..5).prop_map(|(ends, every)| Op::Retain(ends, every)),
        2 => (ends(), 1u16..5, 0usize..100).prop_map(|(ends, every, take)| Op::Extract(ends, every, take)),
        4 => Just(Op::Savepoint),
        3 => any::<u8>().prop_map(Op::RollBack),
        3 => Just(Op::Commit),
        1 => Just(Op::Abort),
        2 => Just(Op::Death),
    ]
}

/// A kind whose values can be compared.
trait Compared: Kind<V: Encode<Self::V>> {
    fn borrow(value: &Self::W) -> &Self::V;
}

impl Compared for Long {
    fn borrow(value: &Vec<u8>) -> &[u8] {
        value
    }
}

impl Compared for Short {
    fn borrow(value: &String) -> &str {
        value
    }
}

impl Compared for Plain {
    fn borrow(value: &[u8; 100]) -> &[u8; 100] {
        value
    }
}

/// A store, and the maps that it must agree with.
struct World<T: Compared> {
    db: TestDb,
    txn: Option<WriteTxn>,
    map: Map,
    committed: Map,
    saved: Vec<(Savepoint, Map)>,
    kind: PhantomData<fn(&T)>,
}

fn key<T: Compared>(number: u16) -> Vec<u8> {
    encoded::<T::K>(&T::key(number))
}

fn value<T: Compared>((len, fill): Value) -> Vec<u8> {
    encoded::<T::V>(&T::value(len, fill))
}

fn pair<K: Key + ?Sized, V: Codec + ?Sized>(removed: Option<Removed<K, V>>) -> Option<Pair> {
    removed.map(|removed| (removed.key_bytes().to_vec(), removed.value_bytes().to_vec()))
}

/// What an entry's value is made into.
fn modified<T: Compared>(value: &[u8]) -> T::W {
    T::value(200, value.last().map_or(0, |byte| byte / 2 + 1))
}

impl<T: Compared> World<T> {
    fn run(options: Options, ops: &[Op]) {
        let (db, kind) = (TestDb::with(options), PhantomData);
        let (map, committed, saved) = (Map::new(), Map::new(), Vec::new());
        let mut world = World::<T> { db, txn: None, map, committed, saved, kind };
        for op in ops {
            let mut txn = world.txn.take().unwrap_or_else(|| world.db.begin_write().unwrap());
            world.change(&mut txn, op);
            world.compare(&txn);
            world.txn = Some(txn);
            world.between(op);
        }
        world.between(&Op::Commit);
        world.between(&Op::Death);
    }

    fn compare(&self, txn: &WriteTxn) {
        assert_eq!(txn.len(T::TABLE).unwrap(), self.map.len() as u64);
        let view = txn.raw_table(T::TABLE.name()).unwrap();
        let entries = view.iter().flat_map(TableView::iter).map(Result::unwrap);
        assert!(entries.eq(self.map.iter().map(|(key, value)| (&key[..], &value[..]))));
    }

    fn between(&mut self, op: &Op) {
        match op {
            Op::Commit => {
                self.txn.take().map(WriteTxn::commit).transpose().unwrap();
                self.committed = self.map.clone();
                self.saved.clear();
            }
            Op::Abort => {
                self.txn = None;
                self.map = self.committed.clone();
                self.saved.clear();
            }
            Op::Death => {
                let dead = self.db.after_death();
                let (tables, _) = common::contents(&dead.begin_read().unwrap());
                assert_eq!(tables.get(T::TABLE.name()).cloned().unwrap_or_default(), self.committed);
            }
            _ => {}
        }
    }

    fn change(&mut self, w: &mut WriteTxn, op: &Op) {
        match *op {
            Op::Put(k, v) => {
                let replaced = w.put(T::TABLE, &T::key(k), &T::value(v.0, v.1)).unwrap();
                assert_eq!(replaced, self.map.insert(key::<T>(k), value::<T>(v)).is_some());
            }
            Op::PutRun(k, count, v) => (k..k + count).for_each(|k| {
                w.put(T::TABLE, &T::key(k), &T::value(v.0, v.1)).unwrap();
                self.map.insert(key::<T>(k), value::<T>(v));
            }),
            Op::OrInsert(k, v) => {
                w.entry(T::TABLE, &T::key(k)).unwrap().or_insert(&T::value(v.0, v.1)).unwrap();
                self.map.entry(key::<T>(k)).or_insert(value::<T>(v));
            }
            Op::OrInsertWith(k, v) => {
                w.entry(T::TABLE, &T::key(k)).unwrap().or_insert_with(|| T::value(v.0, v.1)).unwrap();
                self.map.entry(key::<T>(k)).or_insert(value::<T>(v));
            }
            Op::Modify(k) => self.modify(w, k),
            Op::EntryRemove(k) => {
                let removed = w.entry(T::TABLE, &T::key(k)).unwrap().remove().unwrap();
                assert_eq!(pair(removed), self.map.remove_entry(&key::<T>(k)));
            }
            Op::Swap(k, expected, new) => self.swap(w, k, expected, new),
            Op::Update(k, add) => self.update(w, k, add),
            Op::UpdateRun(k, count, add) => (k..k + count).for_each(|k| self.update(w, k, add)),
            Op::Remove(k) => {
                let removed = w.remove(T::TABLE, &T::key(k)).unwrap();
                assert_eq!(pair(removed), self.map.remove_entry(&key::<T>(k)));
            }
            Op::PopFirst(count) => {
                for _ in 0..count {
                    assert_eq!(pair(w.pop_first(T::TABLE).unwrap()), self.map.pop_first());
                }
            }
            Op::PopLast(count) => {
                for _ in 0..count {
                    assert_eq!(pair(w.pop_last(T::TABLE).unwrap()), self.map.pop_last());
                }
            }
            Op::Retain(ends, every) => {
                let mut i = 0;
                let removed = w.retain(T::TABLE, range::<T>(ends), |_, _| {
                    i += 1;
                    i % every != 0
                });
                let gone = self.picked(ends, every, usize::MAX);
                assert_eq!(removed.unwrap(), gone.len() as u64);
            }
            Op::Extract(ends, every, take) => {
                let mut i = 0;
                let extracted = w.extract_if(T::TABLE, range::<T>(ends), |_, _| {
                    i += 1;
                    i % every == 0
                });
                let found = extracted.unwrap().take(take).map(|removed| pair(removed.ok()).unwrap());
                let found: Vec<Pair> = found.collect();
                assert_eq!(found, self.picked(ends, every, take));
            }
            Op::Savepoint => self.saved.push((w.savepoint(), self.map.clone())),
            Op::RollBack(which) => {
                if let Some(at) = usize::from(which).checked_rem(self.saved.len()) {
                    self.saved.truncate(at + 1);
                    w.rollback_to(self.saved[at].0).unwrap();
                    self.map = self.saved[at].1.clone();
                }
            }
            Op::Commit | Op::Abort | Op::Death => {}
        }
    }

    fn modify(&mut self, w: &mut WriteTxn, k: u16) {
        let there = self.map.get_mut(&key::<T>(k));
        let new = there.as_deref().map_or_else(|| T::value(0, 0), |there| modified::<T>(there));
        let k = T::key(k);
        let entry = w.entry(T::TABLE, &k).unwrap().and_modify(|_| new).unwrap();
        assert_eq!(entry.get().unwrap().is_some(), there.is_some());
        if let Some(there) = there {
            *there = encoded::<T::V>(&modified::<T>(there));
        }
    }

    /// What is expected is what is there, or often not.
    fn swap(&mut self, w: &mut WriteTxn, k: u16, expected: Option<Value>, new: Option<Value>) {
        let there = self.map.get(&key::<T>(k)).cloned();
        let is_expected = expected.map(value::<T>) == there;
        let [expected, new] = [expected, new].map(|value| value.map(|(len, fill)| T::value(len, fill)));
        let (was, is) = (expected.as_ref().map(T::borrow), new.as_ref().map(T::borrow));
        assert_eq!(w.compare_and_swap(T::TABLE, &T::key(k), was, is).unwrap(), is_expected);
        match new {
            _ if !is_expected => {}
            Some(new) => drop(self.map.insert(key::<T>(k), encoded::<T::V>(&new))),
            None => drop(self.map.remove(&key::<T>(k))),
        }
    }

    fn update(&mut self, w: &mut WriteTxn, k: u16, add: u8) {
        // Text stays text.
        let edit = |bytes: &mut [u8]| {
            bytes.iter_mut().for_each(|byte| *byte = byte.wrapping_add(add) % 128);
            bytes.len()
        };
        let len = w.update_in_place(T::TABLE, &T::key(k), edit).unwrap();
        assert_eq!(len, self.map.get_mut(&key::<T>(k)).map(|value| edit(value)));
    }

    /// Takes from the map every n-th of a range, so many at most.
    fn picked(&mut self, ends: Ends, every: u16, take: usize) -> Vec<Pair> {
        let (low, high) = (ends.0.map(key::<T>), ends.1.map(key::<T>));
        let is_inside = |key: &&Vec<u8>| {
            (match &low {
                Bound::Unbounded => true,
                Bound::Included(low) => *key >= low,
                Bound::Excluded(low) => *key > low,
            }) && match &high {
                Bound::Unbounded => true,
                Bound::Included(high) => *key <= high,
                Bound::Excluded(high) => *key < high,
            }
        };
        let inside = self.map.keys().filter(is_inside).enumerate();
        let wanted =
            inside.filter(|(i, _)| (*i as u16 + 1).is_multiple_of(every)).map(|(_, key)| key.clone());
        let wanted: Vec<Vec<u8>> = wanted.take(take).collect();
        wanted.into_iter().map(|key| self.map.remove_entry(&key).unwrap()).collect()
    }
}

fn range<T: Compared>(ends: Ends) -> (Bound<T::Q>, Bound<T::Q>) {
    (ends.0.map(T::key), ends.1.map(T::key))
}

/// The same cases in every run, so that a change is judged by itself; `PROPTEST_RNG_SEED` tries others.
fn config(cases: u32) -> ProptestConfig {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    ProptestConfig {
        cases: number("PROPTEST_CASES").map_or(cases, |cases| cases as u32),
        rng_seed: RngSeed::Fixed(number("PROPTEST_RNG_SEED").unwrap_or(1)),
        max_shrink_iters: 2000,
        max_shrink_time: 30_000,
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("proptest-regressions"))),
        ..ProptestConfig::default()
    }
}

fn options(spills: bool) -> Options {
    if spills { Options::new().dirty_limit(1 << 20) } else { Options::new() }
}

proptest! {
    #![proptest_config(config(24))]

    #[test]
    fn entries_of_long_keys_change_as_those_of_maps(
        ops in prop::collection::vec(op(), 1..200), spills in any::<bool>(),
    ) {
        World::<Long>::run(options(spills), &ops);
    }

    #[test]
    fn entries_of_short_keys_change_as_those_of_maps(
        ops in prop::collection::vec(op(), 1..200), spills in any::<bool>(),
    ) {
        World::<Short>::run(options(spills), &ops);
    }

    #[test]
    fn entries_of_fixed_widths_change_as_those_of_maps(
        ops in prop::collection::vec(op(), 1..200), spills in any::<bool>(),
    ) {
        World::<Plain>::run(options(spills), &ops);
    }
}

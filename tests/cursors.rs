//! Cursors against a `BTreeMap`: where one stands after each call is what the docs of `Cursor` and `CursorMut` say,
//! also while the tree splits, shares and merges under it.
//!
//! A [`World`] is a store and the plain maps that it must agree with. Its cursor lives for a list of [`Step`]s; between
//! two lives there are savepoints, commits, aborts and deaths.

mod common;
mod kinds;

use common::TestDb;
use kinds::{Fixed, Kind, Long, Map, Pair, Short, encoded};
use mapleaf::{Cursor, CursorMut, Error, KeyValue, Options, Savepoint, Table, WriteTxn};
use proptest::prelude::*;
use proptest::test_runner::{FileFailurePersistence, RngSeed};
use std::ops::Bound::{Excluded, Included, Unbounded};

// ---- what a cursor does ----

#[derive(Clone, Copy, Debug)]
enum Move {
    First,
    Last,
    Next(u8),
    Previous(u8),
    Ge(u16),
    Gt(u16),
    Le(u16),
    Lt(u16),
    Exact(u16),
    Current,
}

#[derive(Clone, Debug)]
enum Step {
    Move(Move),
    Get(u16),
    Put(u16, u16, u8),
    PutRun {
        start: u16,
        count: u16,
        stride: u16,
        len: u16,
    },
    Replace(u16, u8),
    Delete,
    Remove,
    /// So many times, going on in between.
    DeleteRun {
        count: u16,
        forward: bool,
        every: u16,
    },
    ReplaceRun {
        count: u16,
        len: u16,
    },
    TooLong,
}

/// What comes between two cursors.
#[derive(Clone, Copy, Debug)]
enum Between {
    Nothing,
    Savepoint,
    RollBack(u8),
    Commit,
    Abort,
    Death,
    Reopen,
}

const NUMBERS: u16 = 500;

fn number() -> impl Strategy<Value = u16> {
    0..NUMBERS
}

fn len() -> impl Strategy<Value = u16> {
    prop_oneof![4 => 0u16..300, 2 => 300u16..1500, 1 => 1500u16..9000]
}

fn a_move() -> impl Strategy<Value = Move> {
    prop_oneof![
        1 => Just(Move::First),
        1 => Just(Move::Last),
        6 => (1u8..30).prop_map(Move::Next),
        6 => (1u8..30).prop_map(Move::Previous),
        3 => number().prop_map(Move::Ge),
        3 => number().prop_map(Move::Gt),
        3 => number().prop_map(Move::Le),
        3 => number().prop_map(Move::Lt),
        3 => number().prop_map(Move::Exact),
        3 => Just(Move::Current),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let stride = prop_oneof![Just(1u16), Just(7), Just(NUMBERS - 1), Just(61)];
    prop_oneof![
        20 => a_move().prop_map(Step::Move),
        3 => number().prop_map(Step::Get),
        8 => (number(), len(), any::<u8>()).prop_map(|(n, len, fill)| Step::Put(n, len, fill)),
        3 => (number(), 10u16..300, stride, len())
            .prop_map(|(start, count, stride, len)| Step::PutRun { start, count, stride, len }),
        8 => (len(), any::<u8>()).prop_map(|(len, fill)| Step::Replace(len, fill)),
        8 => Just(Step::Delete),
        4 => Just(Step::Remove),
        4 => (1u16..200, any::<bool>(), 1u16..4)
            .prop_map(|(count, forward, every)| Step::DeleteRun { count, forward, every }),
        2 => (1u16..100, len()).prop_map(|(count, len)| Step::ReplaceRun { count, len }),
        1 => Just(Step::TooLong),
    ]
}

fn between() -> impl Strategy<Value = Between> {
    prop_oneof![
        2 => Just(Between::Nothing),
        3 => Just(Between::Savepoint),
        2 => any::<u8>().prop_map(Between::RollBack),
        3 => Just(Between::Commit),
        1 => Just(Between::Abort),
        1 => Just(Between::Death),
        1 => Just(Between::Reopen),
    ]
}

// ---- where the docs say that it stands ----

#[derive(Clone, PartialEq, Eq, Debug)]
enum Stand {
    /// Before the first entry.
    Start,
    /// Behind the last one.
    End,
    On(Vec<u8>),
    /// Between what is below this key and what is above; it is not there.
    At(Vec<u8>),
}

/// What one would be if the table were a map.
struct Model {
    map: Map,
    stand: Stand,
}

impl Model {
    fn new(map: Map) -> Self {
        Model { map, stand: Stand::Start }
    }

    fn pair(&self, key: Option<&Vec<u8>>) -> Option<Pair> {
        key.map(|key| (key.clone(), self.map[key].clone()))
    }

    fn current(&self) -> Option<Pair> {
        match &self.stand {
            Stand::On(key) => self.pair(Some(key)),
            _ => None,
        }
    }

    /// On the entry with this key, or at the end of the table that the search went to.
    fn go(&mut self, key: Option<Vec<u8>>, otherwise: Stand) -> Option<Pair> {
        self.stand = key.map_or(otherwise, Stand::On);
        self.current()
    }

    fn next(&mut self) -> Option<Pair> {
        let key = match &self.stand {
            Stand::Start => self.map.keys().next(),
            Stand::End => None,
            Stand::On(key) | Stand::At(key) => self.above(key),
        };
        let key = key.cloned();
        self.go(key, Stand::End)
    }

    fn previous(&mut self) -> Option<Pair> {
        let key = match &self.stand {
            Stand::Start => None,
            Stand::End => self.map.keys().next_back(),
            Stand::On(key) | Stand::At(key) => self.below(key),
        };
        let key = key.cloned();
        self.go(key, Stand::Start)
    }

    fn above(&self, key: &[u8]) -> Option<&Vec<u8>> {
        self.map.range::<[u8], _>((Excluded(key), Unbounded)).next().map(|(key, _)| key)
    }

    fn below(&self, key: &[u8]) -> Option<&Vec<u8>> {
        self.map.range::<[u8], _>((Unbounded, Excluded(key))).next_back().map(|(key, _)| key)
    }

    fn seek(&mut self, kind: Move, key: &[u8]) -> Option<Pair> {
        let (found, otherwise) = match kind {
            Move::Ge(_) => {
                (self.map.range::<[u8], _>((Included(key), Unbounded)).next().map(|(key, _)| key), Stand::End)
            }
            Move::Gt(_) => (self.above(key), Stand::End),
            Move::Le(_) => {
                let mut range = self.map.range::<[u8], _>((Unbounded, Included(key)));
                (range.next_back().map(|(key, _)| key), Stand::Start)
            }
            Move::Lt(_) => (self.below(key), Stand::Start),
            _ => (self.map.get_key_value(key).map(|(key, _)| key), Stand::At(key.to_vec())),
        };
        let found = found.cloned();
        self.go(found, otherwise)
    }

    fn put(&mut self, key: Vec<u8>, value: Vec<u8>) -> bool {
        let replaced = self.map.insert(key.clone(), value).is_some();
        self.stand = Stand::On(key);
        replaced
    }

    fn replace(&mut self, value: Vec<u8>) -> bool {
        let Stand::On(key) = &self.stand else { return false };
        self.map.insert(key.clone(), value).is_some()
    }

    fn delete(&mut self) -> Option<Pair> {
        let Stand::On(key) = self.stand.clone() else { return None };
        let value = self.map.remove(&key).unwrap();
        self.stand = Stand::At(key.clone());
        Some((key, value))
    }
}

// ---- both together ----

/// The two kinds of cursors move alike.
macro_rules! moves {
    ($cursor:ident, $model:ident, $a_move:expr, $kind:ty) => {{
        let key = |number: u16| <$kind>::key(number);
        let plain =
            |entry: Option<KeyValue<'_, <$kind as Kind>::K, <$kind as Kind>::V>>| entry.map(<$kind>::bytes);
        match $a_move {
            Move::First => {
                $model.stand = Stand::Start;
                assert_eq!(plain($cursor.first().unwrap()), $model.next());
            }
            Move::Last => {
                $model.stand = Stand::End;
                assert_eq!(plain($cursor.last().unwrap()), $model.previous());
            }
            Move::Next(count) => {
                for _ in 0..count {
                    assert_eq!(plain($cursor.next().unwrap()), $model.next());
                }
            }
            Move::Previous(count) => {
                for _ in 0..count {
                    assert_eq!(plain($cursor.previous().unwrap()), $model.previous());
                }
            }
            Move::Current => {}
            kind @ (Move::Ge(n) | Move::Gt(n) | Move::Le(n) | Move::Lt(n) | Move::Exact(n)) => {
                let expected = $model.seek(kind, &encoded::<<$kind as Kind>::K>(&key(n)));
                let found = match kind {
                    Move::Ge(n) => $cursor.seek_ge(&key(n)),
                    Move::Gt(n) => $cursor.seek_gt(&key(n)),
                    Move::Le(n) => $cursor.seek_le(&key(n)),
                    Move::Lt(n) => $cursor.seek_lt(&key(n)),
                    _ => $cursor.seek_exact(&key(n)),
                };
                assert_eq!(plain(found.unwrap()), expected, "{kind:?}");
            }
        }
        assert_eq!(plain($cursor.current().unwrap()), $model.current());
    }};
}

fn read<T: Kind>(cursor: &mut Cursor<'_, T::K, T::V>, model: &mut Model, a_move: Move) {
    moves!(cursor, model, a_move, T);
}

fn write<T: Kind>(cursor: &mut CursorMut<'_, T::K, T::V>, model: &mut Model, step: &Step) {
    let plain = |entry: Option<KeyValue<'_, T::K, T::V>>| entry.map(T::bytes);
    match *step {
        Step::Move(a_move) => moves!(cursor, model, a_move, T),
        Step::Get(number) => {
            let key = T::key(number);
            let found = cursor.get(&key).unwrap().is_some();
            assert_eq!(found, model.map.contains_key(&encoded::<T::K>(&key)));
        }
        Step::Put(number, len, fill) => put::<T>(cursor, model, number, len, fill),
        Step::PutRun { start, count, stride, len } => {
            for i in 0..count {
                let number = (u32::from(start) + u32::from(i) * u32::from(stride)) % u32::from(NUMBERS);
                put::<T>(cursor, model, number as u16, len, i as u8);
            }
        }
        Step::Replace(len, fill) => {
            let value = T::value(len, fill);
            assert_eq!(cursor.replace(&value).unwrap(), model.replace(encoded::<T::V>(&value)));
        }
        Step::Delete => assert_eq!(cursor.delete().unwrap(), model.delete().is_some()),
        Step::Remove => {
            let removed = cursor.remove().unwrap();
            assert_eq!(removed.as_ref().map(|removed| T::bytes(removed.entry())), model.delete());
        }
        Step::DeleteRun { count, forward, every } => {
            for i in 0..count {
                let (found, expected) = match forward {
                    true => (plain(cursor.next().unwrap()), model.next()),
                    false => (plain(cursor.previous().unwrap()), model.previous()),
                };
                assert_eq!(found, expected);
                if i % every == 0 {
                    assert_eq!(cursor.delete().unwrap(), model.delete().is_some());
                }
            }
        }
        Step::ReplaceRun { count, len } => {
            for i in 0..count {
                assert_eq!(plain(cursor.next().unwrap()), model.next());
                let value = T::value(len, i as u8);
                assert_eq!(cursor.replace(&value).unwrap(), model.replace(encoded::<T::V>(&value)));
            }
        }
        Step::TooLong => {
            if let Some(key) = T::too_long() {
                let refused = cursor.put(&key, &T::value(0, 0));
                assert!(matches!(refused, Err(Error::KeyTooLong { .. })), "{refused:?}");
            }
        }
    }
    assert_eq!(plain(cursor.current().unwrap()), model.current(), "after {step:?}");
}

fn put<T: Kind>(cursor: &mut CursorMut<'_, T::K, T::V>, model: &mut Model, number: u16, len: u16, fill: u8) {
    let (key, value) = (T::key(number), T::value(len, fill));
    let replaced = cursor.put(&key, &value).unwrap();
    assert_eq!(replaced, model.put(encoded::<T::K>(&key), encoded::<T::V>(&value)));
}

type Life = (Vec<Step>, Between);

struct World<T: Kind> {
    db: TestDb,
    writing: Option<WriteTxn>,
    committed: Map,
    map: Map,
    saved: Vec<(Savepoint, Map)>,
    kind: std::marker::PhantomData<fn(&T)>,
}

impl<T: Kind> World<T> {
    fn run(options: Options, lives: &[Life], looks: &[Move]) {
        let db = TestDb::with(options);
        let (committed, map, kind) = (Map::new(), Map::new(), std::marker::PhantomData);
        let mut world = World::<T> { db, writing: None, committed, map, saved: Vec::new(), kind };
        for (steps, between) in lives {
            world.live(steps);
            world.look(looks);
            world.between(*between);
        }
        world.between(Between::Commit);
        world.look(looks);
        world.writing = None;
    }

    fn txn(&mut self) -> &mut WriteTxn {
        let db = &self.db;
        self.writing.get_or_insert_with(|| db.begin_write().unwrap())
    }

    fn live(&mut self, steps: &[Step]) {
        let mut model = Model::new(std::mem::take(&mut self.map));
        let mut cursor = self.txn().cursor_mut(T::TABLE).unwrap();
        for step in steps {
            write::<T>(&mut cursor, &mut model, step);
        }
        self.map = model.map;
    }

    /// A reading cursor on the txn under way.
    fn look(&mut self, looks: &[Move]) {
        let map = self.map.clone();
        let txn = self.txn();
        let entries = txn.iter(T::TABLE).unwrap().map(|entry| T::bytes(entry.unwrap()));
        assert!(entries.eq(map.iter().map(|(key, value)| (key.clone(), value.clone()))), "the whole table");
        let mut model = Model::new(map);
        let mut cursor = txn.cursor(T::TABLE).unwrap();
        for a_move in looks {
            read::<T>(&mut cursor, &mut model, *a_move);
        }
    }

    fn between(&mut self, between: Between) {
        match between {
            Between::Nothing => {}
            Between::Savepoint => {
                let savepoint = self.txn().savepoint();
                self.saved.push((savepoint, self.map.clone()));
            }
            Between::RollBack(which) => {
                if let Some(at) = usize::from(which).checked_rem(self.saved.len()) {
                    self.saved.truncate(at + 1);
                    let (savepoint, map) = self.saved[at].clone();
                    self.txn().rollback_to(savepoint).unwrap();
                    self.map = map;
                }
            }
            Between::Commit => {
                self.writing.take().map(WriteTxn::commit).transpose().unwrap();
                self.committed = self.map.clone();
                self.saved.clear();
            }
            Between::Abort => {
                self.writing = None;
                self.map = self.committed.clone();
                self.saved.clear();
            }
            Between::Death => {
                let dead = self.db.after_death();
                let r = dead.begin_read().unwrap();
                let entries = r.iter(T::TABLE).unwrap().map(|entry| T::bytes(entry.unwrap()));
                assert!(entries.eq(self.committed.iter().map(|(key, value)| (key.clone(), value.clone()))));
            }
            Between::Reopen => {
                self.between(Between::Abort);
                self.db.reopen();
            }
        }
    }
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

fn lives() -> impl Strategy<Value = Vec<Life>> {
    prop::collection::vec((prop::collection::vec(step(), 0..60), between()), 1..10)
}

fn looks() -> impl Strategy<Value = Vec<Move>> {
    prop::collection::vec(a_move(), 0..20)
}

fn options(spills: bool) -> Options {
    if spills { Options::new().dirty_limit(1 << 20) } else { Options::new() }
}

proptest! {
    #![proptest_config(config(24))]

    #[test]
    fn a_cursor_over_long_keys_stands_where_the_docs_say(
        lives in lives(), looks in looks(), spills in any::<bool>(),
    ) {
        World::<Long>::run(options(spills), &lives, &looks);
    }

    #[test]
    fn a_cursor_over_short_keys_stands_where_the_docs_say(
        lives in lives(), looks in looks(), spills in any::<bool>(),
    ) {
        World::<Short>::run(options(spills), &lives, &looks);
    }

    #[test]
    fn a_cursor_over_fixed_widths_stands_where_the_docs_say(
        lives in lives(), looks in looks(), spills in any::<bool>(),
    ) {
        World::<Fixed>::run(options(spills), &lives, &looks);
    }
}

// ---- damage ----

const BYTES: Table<u64, [u8]> = Table::new("bytes");

/// What both kinds do when they meet a damaged leaf.
macro_rules! meets_damage {
    ($cursor:expr) => {{
        let mut cursor = $cursor;
        let mut last = None;
        let error = loop {
            match cursor.next() {
                Ok(entry) => last = Some(entry.expect("the damage is in the middle").0),
                Err(error) => break error,
            }
        };
        assert!(matches!(error, Error::Corrupt { .. }), "{error}");
        let last = last.unwrap();
        assert!(last > 500 && last < 1500, "{last}");
        let key = |entry: Result<Option<(u64, &[u8])>, Error>| entry.unwrap().map(|(key, _)| key);
        // It stands where it stood.
        assert_eq!(key(cursor.current()), Some(last));
        assert!(matches!(cursor.next(), Err(Error::Corrupt { .. })));
        assert_eq!(key(cursor.previous()), Some(last - 1));
        assert_eq!(key(cursor.next()), Some(last));
        assert!(matches!(cursor.seek_ge(&(last + 1)), Err(Error::Corrupt { .. })));
        assert!(matches!(cursor.seek_exact(&(last + 2)), Err(Error::Corrupt { .. })));
        assert_eq!(key(cursor.current()), Some(last));
        // And so from behind.
        assert_eq!(key(cursor.last()), Some(1999));
        let first = loop {
            match cursor.previous() {
                Ok(entry) => drop(entry.expect("the damage is in the middle")),
                Err(_) => break key(cursor.current()).unwrap(),
            }
        };
        assert!(first > last && first < last + 100, "{last} {first}");
        assert!(matches!(cursor.previous(), Err(Error::Corrupt { .. })));
        assert_eq!(key(cursor.next()), Some(first + 1));
        assert!(matches!(cursor.seek_lt(&first), Err(Error::Corrupt { .. })));
        assert_eq!(key(cursor.current()), Some(first + 1));
        (last, first)
    }};
}

#[test]
fn a_cursor_that_meets_a_damaged_page_stands_where_it_stood() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let options = Options::new();
    let db = common::open(&options, &path);
    db.write(|w| (0..2000u64).try_for_each(|i| w.put(BYTES, &i, &[i as u8; 180]).map(drop))).unwrap();
    drop(db);
    let whole = std::fs::read(&path).unwrap();
    let key = 1000u64.to_be_bytes();
    let is_leaf =
        |page: &&[u8]| page.windows(188).any(|window| window == [&[1000u64 as u8; 180][..], &key].concat());
    let at = whole.chunks(4096).position(|page| is_leaf(&page)).expect("the leaf of key 1000") * 4096 + 2000;
    let mut damaged = whole;
    damaged[at] ^= 1;
    std::fs::write(&path, damaged).unwrap();
    let db = common::open(&options, &path);
    let r = db.begin_read().unwrap();
    let met = meets_damage!(r.cursor(BYTES).unwrap());
    let mut w = db.begin_write().unwrap();
    assert_eq!(meets_damage!(w.cursor_mut(BYTES).unwrap()), met);
    // What is beside it can be changed.
    let mut cursor = w.cursor_mut(BYTES).unwrap();
    cursor.seek_exact(&met.0).unwrap().unwrap();
    cursor.replace(b"the last one before").unwrap();
    assert!(matches!(cursor.next(), Err(Error::Corrupt { .. })));
    assert_eq!(cursor.current().unwrap(), Some((met.0, &b"the last one before"[..])));
}

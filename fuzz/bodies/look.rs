//! Every way to read a table or a multimap, beside the map that says what is right.

use super::contents::{
    Bytes, Contents, Ends, Entries, Sets, TableModel, Value, is_within, key, member, schemas,
};
use super::input::{Dice, Input};
use mapleaf::{Cursor, Error, MultiView, PairChange, ReadTxn, Result, TableView, WriteTxn};
use std::collections::BTreeSet;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Bound;

type View<'t> = TableView<'t, [u8], [u8]>;
type Multi<'t> = MultiView<'t, [u8], [u8]>;

/// A txn, to read.
pub trait Reads {
    fn raw(&self, name: &str) -> View<'_>;
    fn raw_multimap(&self, name: &str) -> Multi<'_>;
}

impl Reads for ReadTxn {
    fn raw(&self, name: &str) -> View<'_> {
        self.raw_table(name).expect("good").expect("it is there")
    }

    fn raw_multimap(&self, name: &str) -> Multi<'_> {
        self.raw_multi(name).expect("good").expect("it is there")
    }
}

impl Reads for WriteTxn {
    fn raw(&self, name: &str) -> View<'_> {
        self.raw_table(name).expect("good").expect("it is there")
    }

    fn raw_multimap(&self, name: &str) -> Multi<'_> {
        self.raw_multi(name).expect("good").expect("it is there")
    }
}

/// That a snapshot has these tables, and nothing else.
pub fn assert_holds(r: &ReadTxn, contents: &Contents) {
    let tables = r.tables().expect("good");
    let names: Vec<&str> = tables.iter().map(|table| &table.name[..]).collect();
    assert_eq!(names, contents.tables.keys().copied().collect::<Vec<_>>());
    for (info, (name, table)) in tables.iter().zip(&contents.tables) {
        assert_eq!((&info.schema, info.len), (&schemas()[table.schema], table.len() as u64));
        assert_table(r, name, table, info.len as usize / 2);
    }
}

/// That a table holds what it must, read from both ends, and at one rank.
pub fn assert_table(txn: &impl Reads, name: &str, table: &TableModel, rank: usize) {
    if table.is_multi() {
        return assert_multi(&txn.raw_multimap(name), &table.sets, table.len(), rank);
    }
    let view = txn.raw(name);
    assert_eq!(view.len(), table.entries.len() as u64);
    let (mut found, mut right) = (view.iter(), table.entries.iter());
    while same(found.next(), right.next()) {}
    let (mut found, mut right) = (view.iter().rev(), table.entries.iter().rev());
    (0..50).all(|_| same(found.next(), right.next()));
    same(view.nth(rank as u64).transpose(), table.entries.iter().nth(rank));
}

/// That two snapshots differ in what they must.
pub fn assert_differs(old: &ReadTxn, new: &ReadTxn, before: &Contents, after: &Contents) {
    let changed = old.changed_tables(new).expect("good");
    let names: BTreeSet<&str> = before.tables.keys().chain(after.tables.keys()).copied().collect();
    for name in names {
        let tables = (before.tables.get(name), after.tables.get(name));
        // What was put again as it was counts as changed too.
        let is_changed = changed.iter().any(|change| change.name() == name);
        assert!(is_changed || tables.0 == tables.1, "{name:?} is said to be the same");
        let known = tables.0.or(tables.1).expect("one has it");
        if tables.0.is_some_and(|old| tables.1.is_some_and(|new| old.schema != new.schema)) {
            assert!(matches!(old.raw_diff(new, name), Err(Error::SchemaMismatch { .. })));
            continue;
        }
        let nothing = TableModel::new(known.schema);
        let (a, b) = (tables.0.unwrap_or(&nothing), tables.1.unwrap_or(&nothing));
        match known.is_multi() {
            true => assert_pairs_differ(old, new, name, (a, b)),
            false => assert_entries_differ(old, new, name, (a, b)),
        }
    }
}

fn assert_entries_differ(old: &ReadTxn, new: &ReadTxn, name: &str, (a, b): (&TableModel, &TableModel)) {
    let keys: BTreeSet<&Bytes> = a.entries.keys().chain(b.entries.keys()).collect();
    let mut right =
        keys.into_iter().map(|key| (key, a.entries.get(key), b.entries.get(key))).filter(|(_, old, new)| {
            old != new && old.map(|value| value.bytes()) != new.map(|value| value.bytes())
        });
    for change in old.raw_diff(new, name).expect("good").expect("one has it") {
        let (change, (key, before, after)) = (change.expect("good"), right.next().expect("no more differ"));
        let is = |right: Option<&Value>, found: Option<&&[u8]>| match (right, found) {
            (None, None) => true,
            (Some(right), Some(found)) => right.is(found),
            _ => false,
        };
        assert!(*change.key() == &key[..], "{:?} differs, not {key:?}", change.key());
        assert!(is(before, change.before()) && is(after, change.after()), "{key:?}: {before:?}, {after:?}");
    }
    assert_eq!(right.next(), None, "it differs");
}

fn assert_pairs_differ(old: &ReadTxn, new: &ReadTxn, name: &str, (a, b): (&TableModel, &TableModel)) {
    let pairs = |table: &TableModel| -> BTreeSet<(Bytes, Bytes)> {
        let of_key = |(key, set): (&Bytes, &BTreeSet<Bytes>)| {
            set.iter().map(|value| (key.clone(), value.clone())).collect::<Vec<_>>()
        };
        table.sets.iter().flat_map(of_key).collect()
    };
    let (a, b) = (pairs(a), pairs(b));
    let mut right = a.symmetric_difference(&b);
    for change in old.raw_diff_multi(new, name).expect("good").expect("one has it") {
        let (key, value, is_new) = match change.expect("good") {
            PairChange::Inserted { key, value } => (key, value, true),
            PairChange::Deleted { key, value } => (key, value, false),
        };
        let pair = right.next().expect("no more differ");
        assert_eq!((key, value, is_new), (&pair.0[..], &pair.1[..], b.contains(pair)));
    }
    assert_eq!(right.next(), None, "it differs");
}

/// Looks at a table in the ways that the input says.
pub fn look(txn: &impl Reads, name: &str, table: &TableModel, page_size: usize, input: &mut Input<'_>) {
    match table.is_multi() {
        true => look_at_sets(&txn.raw_multimap(name), table, page_size, input),
        false => look_at_entries(&txn.raw(name), table, page_size, input),
    }
}

/// Whether there is an entry, which is the right one.
fn same(found: Option<Result<(&[u8], &[u8])>>, right: Option<(&Bytes, &Value)>) -> bool {
    match (found, right) {
        (None, None) => false,
        (Some(found), Some((key, value))) => {
            let (k, v) = found.expect("good");
            assert!(k == &key[..], "{:?}, not {:?}", k.escape_ascii().to_string(), key);
            assert!(value.is(v), "{:?} has {} bytes, not {value:?}", key, v.len());
            true
        }
        (found, right) => panic!("{found:?}, not {right:?}"),
    }
}

// ---- ranges ----

/// A range of keys, or of a multimap's values.
pub fn ends(input: &mut Input<'_>, bytes: impl Fn(u16) -> Bytes) -> Ends {
    let kind = input.u8();
    let mut end = |kind: u8| match kind % 3 {
        0 => Bound::Included(bytes(input.u16() % 1000).to_vec()),
        1 => Bound::Excluded(bytes(input.u16() % 1000).to_vec()),
        _ => Bound::Unbounded,
    };
    (end(kind), end(kind / 3))
}

/// Where a cursor stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Place {
    Start,
    End,
    On(Bytes),
    /// Where this key would be.
    Gap(Bytes),
}

impl Place {
    /// What a move finds, and where it leads.
    pub fn go(&mut self, map: &Entries, step: u8, to: &Bytes) -> Option<(Bytes, Value)> {
        let owned = |entry: Option<(&Bytes, &Value)>| entry.map(|(key, value)| (key.clone(), *value));
        let above = |key: &Bytes, with: bool| {
            let low = if with { Bound::Included(key.clone()) } else { Bound::Excluded(key.clone()) };
            owned(map.range((low, Bound::Unbounded)).next())
        };
        let below = |key: &Bytes, with: bool| {
            let high = if with { Bound::Included(key.clone()) } else { Bound::Excluded(key.clone()) };
            owned(map.range((Bound::Unbounded, high)).next_back())
        };
        let first = || owned(map.first_key_value());
        let last = || owned(map.last_key_value());
        let (found, otherwise) = match step {
            0 => (first(), Place::Start),
            1 => (last(), Place::End),
            2 => match self {
                Place::Start => (first(), Place::End),
                Place::End => (None, Place::End),
                Place::On(key) | Place::Gap(key) => (above(key, false), Place::End),
            },
            3 => match self {
                Place::Start => (None, Place::Start),
                Place::End => (last(), Place::Start),
                Place::On(key) | Place::Gap(key) => (below(key, false), Place::Start),
            },
            4 => (above(to, true), Place::End),
            5 => (above(to, false), Place::End),
            6 => (below(to, true), Place::Start),
            7 => (below(to, false), Place::Start),
            8 => (owned(map.get_key_value(to)), Place::Gap(to.clone())),
            _ => return self.current(map),
        };
        *self = found.as_ref().map_or(otherwise, |(key, _)| Place::On(key.clone()));
        found
    }

    pub fn current(&self, map: &Entries) -> Option<(Bytes, Value)> {
        match self {
            Place::On(key) => Some((key.clone(), *map.get(key).expect("it stands there"))),
            _ => None,
        }
    }
}

/// The same move of a cursor.
macro_rules! go {
    ($cursor:expr, $step:expr, $to:expr) => {
        match $step {
            0 => $cursor.first(),
            1 => $cursor.last(),
            2 => $cursor.next(),
            3 => $cursor.previous(),
            4 => $cursor.seek_ge($to),
            5 => $cursor.seek_gt($to),
            6 => $cursor.seek_le($to),
            7 => $cursor.seek_lt($to),
            8 => $cursor.seek_exact($to),
            _ => $cursor.current(),
        }
    };
}
pub(crate) use go;

// ---- tables ----

fn look_at_entries(view: &View<'_>, table: &TableModel, page_size: usize, input: &mut Input<'_>) {
    let entries = &table.entries;
    let bytes = |i: u16| key(table.schema, i, page_size);
    match input.u8() % 6 {
        0 => {
            let numbers = [input.u16() % 1000, input.u16() % 1000, input.u16() % 1000, 0];
            let keys = numbers.map(|i| bytes(i).to_vec());
            let found = view.get_many(&keys).expect("good");
            for (key, found) in keys.iter().zip(found) {
                let right = entries.get(&key[..]);
                assert!(found.map_or(right.is_none(), |found| right.is_some_and(|right| right.is(found))));
                assert_eq!(view.contains(key).expect("good"), right.is_some());
                let below = (Bound::Unbounded, Bound::Excluded(&key[..]));
                let below = entries.range::<[u8], _>(below).count() as u64;
                assert_eq!(view.rank(key).expect("good"), below);
            }
        }
        1 => {
            let key = any_key(entries, input).unwrap_or_else(|| bytes(input.u16() % 1000));
            parts(view, entries.get(&key).copied(), &key, input);
        }
        2 => range(view, entries, ends(input, bytes), input),
        3 => split(view, entries, ends(input, bytes), 1 + input.below(7)),
        4 => sample(view, entries, &mut Dice(u64::from(input.u16())), input.below(30)),
        _ => cursor(&mut view.cursor().expect("good"), entries, bytes, input),
    }
}

/// One that is there.
pub fn any_key(entries: &Entries, input: &mut Input<'_>) -> Option<Bytes> {
    let number = usize::from(input.u16());
    entries.keys().nth(number % entries.len().max(1)).cloned()
}

/// The length and parts of a value.
fn parts(view: &View<'_>, value: Option<Value>, key: &Bytes, input: &mut Input<'_>) {
    let len = value.map(|value| u64::from(value.len));
    assert_eq!(view.value_len(&key[..]).expect("good"), len);
    let at = |number: u64| if number & 1 == 0 { number << 8 } else { number };
    let (a, b) = (at(u64::from(input.u16())), at(u64::from(input.u16())));
    let part = view.get_part(&key[..], a.min(b)..a.max(b)).expect("good");
    let reader = view.value_reader(&key[..]).expect("good");
    let Some(value) = value else { return assert!(part.is_none() && reader.is_none()) };
    let bytes = value.bytes();
    let right = |from: u64, to: u64| {
        let to = to.min(bytes.len() as u64) as usize;
        &bytes[(from as usize).min(to)..to]
    };
    assert!(part.expect("it is there") == right(a.min(b), a.max(b)), "another part of {value:?}");
    let (mut reader, mut rest) = (reader.expect("it is there"), Vec::new());
    reader.seek(SeekFrom::Start(a)).expect("any place");
    reader.by_ref().take(b).read_to_end(&mut rest).expect("good");
    assert!(rest == right(a, a + b), "{} bytes of {value:?} from {a} on", rest.len());
}

/// A range from both ends, and jumps in it.
fn range(view: &View<'_>, entries: &Entries, ends: Ends, input: &mut Input<'_>) {
    let right: Vec<(&Bytes, &Value)> = entries.iter().filter(|(key, _)| is_within(&ends, key)).collect();
    assert_eq!(view.count(ends.clone()).expect("good"), right.len() as u64);
    let all = || view.range(ends.clone());
    assert_eq!(all().count(), right.len());
    same(all().last(), right.last().copied());
    let (mut found, mut left) = (all(), &right[..]);
    for _ in 0..input.below(16) {
        let step = input.u8();
        let skipped = if step & 2 == 0 { usize::from(step >> 2) } else { 0 };
        let was_there = match step & 1 {
            0 => {
                let there = left.get(skipped).copied();
                left = left.get(skipped + 1..).unwrap_or_default();
                same(found.nth(skipped), there)
            }
            _ => {
                let there = left.iter().nth_back(skipped).copied();
                left = &left[..left.len().saturating_sub(skipped + 1)];
                same(found.nth_back(skipped), there)
            }
        };
        assert_eq!(found.remaining().expect("good"), left.len() as u64);
        if !was_there {
            assert!(found.next().is_none() && found.next_back().is_none());
        }
    }
    let keys = found.keys().map(|key| key.expect("good").to_vec());
    assert!(keys.eq(left.iter().map(|(key, _)| key.to_vec())));
}

fn split(view: &View<'_>, entries: &Entries, ends: Ends, parts: usize) {
    let right = entries.iter().filter(|(key, _)| is_within(&ends, key));
    let count = right.clone().count();
    let found = view.split(ends.clone(), parts).expect("good");
    assert_eq!(found.len(), parts);
    let mut right = right;
    for part in found {
        let mut len = 0;
        for entry in part {
            assert!(same(Some(entry), right.next()));
            len += 1;
        }
        assert!((count / parts..=count.div_ceil(parts)).contains(&len), "{len} of {count} in {parts} parts");
    }
    assert!(right.next().is_none(), "the parts are not all");
}

fn sample(view: &View<'_>, entries: &Entries, dice: &mut Dice, n: usize) {
    let drawn = view.sample(n, |below| dice.below(below)).expect("good");
    let distinct = view.sample_distinct(n, |below| dice.below(below)).expect("good");
    assert_eq!(drawn.len(), if entries.is_empty() { 0 } else { n });
    assert_eq!(distinct.len(), n.min(entries.len()));
    assert!(distinct.is_sorted_by(|a, b| a.0 < b.0));
    for (key, value) in drawn.into_iter().chain(distinct) {
        assert!(entries.get(key).is_some_and(|right| right.is(value)), "what was drawn is not there");
    }
}

fn cursor(
    cursor: &mut Cursor<'_, [u8], [u8]>,
    entries: &Entries,
    bytes: impl Fn(u16) -> Bytes,
    input: &mut Input<'_>,
) {
    let mut place = Place::Start;
    for _ in 0..input.below(24) {
        let step = input.u8() % 10;
        let to = if (4..9).contains(&step) { bytes(input.u16() % 1000) } else { Bytes::default() };
        let right = place.go(entries, step, &to);
        same(go!(cursor, step, &to[..]).transpose(), right.as_ref().map(|(key, value)| (key, value)));
    }
}

// ---- multimaps ----

fn assert_multi(view: &Multi<'_>, sets: &Sets, len: usize, rank: usize) {
    assert_eq!(view.len(), len as u64);
    let all = || sets.iter().flat_map(|(key, set)| set.iter().map(move |value| (&key[..], &value[..])));
    let mut right = all();
    for pair in view.iter() {
        assert_eq!(Some(pair.expect("good")), right.next());
    }
    assert!(right.next().is_none(), "pairs are missing");
    let mut right = all().rev();
    for pair in view.iter().rev().take(300) {
        assert_eq!(Some(pair.expect("good")), right.next());
    }
    let mut groups = view.groups(..);
    for (key, set) in sets {
        let (k, values) = groups.next().expect("there is one more").expect("good");
        assert_eq!((k, values.len()), (&key[..], set.len() as u64));
    }
    assert!(groups.next().is_none(), "keys that are not there");
    assert_eq!(view.nth(rank as u64).expect("good"), all().nth(rank));
}

fn look_at_sets(view: &Multi<'_>, table: &TableModel, page_size: usize, input: &mut Input<'_>) {
    let sets = &table.sets;
    let members = |i: u16| member(table.schema, i, page_size);
    let any = usize::from(input.u16());
    let there = sets.keys().nth(any % sets.len().max(1)).filter(|_| any & 7 > 0);
    let key = there.cloned().unwrap_or_else(|| key(table.schema, any as u16 % 1000, page_size));
    let nothing = Default::default();
    let set = sets.get(&key).unwrap_or(&nothing);
    assert_eq!(view.contains_key(&key[..]).expect("good"), !set.is_empty());
    assert_eq!(view.count_values(&key[..]).expect("good"), set.len() as u64);
    let below: usize = sets.range(..key.clone()).map(|(_, set)| set.len()).sum();
    assert_eq!(view.rank(&key[..]).expect("good"), below as u64);
    let value = members(input.u16() % 1000);
    assert_eq!(view.contains(&key[..], &value[..]).expect("good"), set.contains(&value));
    let rank = below + set.range(..value.clone()).count();
    assert_eq!(view.rank_of(&key[..], &value[..]).expect("good"), rank as u64);
    // The values of the key.
    let ends = ends(input, members);
    let right: Vec<&[u8]> =
        set.iter().filter(|value| is_within(&ends, value)).map(|value| &value[..]).collect();
    let values = view.values(&key[..]).expect("good");
    assert_eq!(values.len(), set.len() as u64);
    let values = values.range(ends.clone()).expect("good");
    let all = sets.iter().flat_map(|(key, set)| set.iter().map(move |value| (&key[..], &value[..])));
    match input.u8() % 3 {
        0 => {
            // The same ends, as of keys.
            let right: Vec<_> = all.filter(|(key, _)| is_within(&ends, key)).collect();
            assert_eq!(view.count(ends.clone()).expect("good"), right.len() as u64);
            both_ways(view.range(ends), &right, input);
        }
        1 => {
            assert_eq!(view.first().expect("good"), all.clone().next());
            assert_eq!(view.last().expect("good"), all.clone().next_back());
            both_ways(view.iter(), &all.collect::<Vec<_>>(), input);
        }
        _ => {
            assert_eq!(values.len(), right.len() as u64);
            both_ways(values, &right, input);
        }
    }
}

/// Steps and jumps from either end.
fn both_ways<T: PartialEq + Copy + std::fmt::Debug>(
    mut found: impl DoubleEndedIterator<Item = Result<T>>,
    right: &[T],
    input: &mut Input<'_>,
) {
    let mut left = right;
    for _ in 0..input.below(16) {
        let step = input.u8();
        let skipped = if step & 2 == 0 { usize::from(step >> 2) } else { 0 };
        let (found, right) = match step & 1 {
            0 => {
                let there = left.get(skipped).copied();
                left = left.get(skipped + 1..).unwrap_or_default();
                (found.nth(skipped), there)
            }
            _ => {
                let there = left.iter().nth_back(skipped).copied();
                left = &left[..left.len().saturating_sub(skipped + 1)];
                (found.nth_back(skipped), there)
            }
        };
        assert_eq!(found.map(|found| found.expect("good")), right);
    }
    assert_eq!(found.map(|found| found.expect("good")).collect::<Vec<_>>(), left);
}

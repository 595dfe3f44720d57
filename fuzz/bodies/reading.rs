//! Every way to read a snapshot, against what is known to be right, or for its own sake.

use super::input::Input;
use super::plan::{Contents, Held, Map, Sets};
use mapleaf::{Database, Error, MultiTable, MultiView, Prefix, ReadTxn, Result, Table, TableView};
use std::collections::BTreeSet;
use std::ops::Bound;

type View<'t> = TableView<'t, [u8], [u8]>;
type Multi<'t> = MultiView<'t, [u8], [u8]>;

const NOTHING: &Map = &Map::new();
/// So many steps an iterator goes at most where nobody knows where it ends.
const MANY: usize = 3000;
const NUMBERS: Table<u64, u64> = Table::new("numbers");
const WORDS: Table<str, [u8]> = Table::new("words");
const TAGS: MultiTable<[u8], [u8]> = MultiTable::new("tags");

/// Bytes that are not what they were may give this, and nothing else.
pub fn is_damage(error: &Error) -> bool {
    matches!(error, Error::Corrupt { .. } | Error::NotAStore { .. })
}

/// Judges an error where what was read had been right once.
pub fn assert_damage(error: &Error) {
    assert!(is_damage(error), "rot gives another error: {error:?}");
}

/// Reads a snapshot in every way. What `expected` says must come, or damage; without it whatever comes is fine.
pub fn read_all(r: &ReadTxn, expected: Option<&Contents>, input: &mut Input<'_>) {
    let judge = |error: Error| {
        if expected.is_some() {
            assert_damage(&error);
        }
    };
    let tables = match r.tables() {
        Ok(tables) => tables,
        Err(error) => return judge(error),
    };
    if let Some(expected) = expected {
        let names: Vec<&String> = tables.iter().map(|table| &table.name).collect();
        assert_eq!(names, expected.tables.keys().collect::<Vec<_>>());
    }
    for table in tables.iter().take(50) {
        if let Some(expected) = expected {
            let held = &expected.tables[&table.name];
            assert_eq!((table.schema.multi, table.len), (matches!(held, Held::Sets(_)), held.len() as u64));
        }
        if table.schema.multi {
            match r.raw_multi(&table.name) {
                Err(error) => judge(error),
                Ok(None) => assert!(expected.is_none(), "multimap {:?} is listed, and not there", table.name),
                Ok(Some(view)) => {
                    read_multi(&view, expected.and_then(|expected| expected.sets(&table.name)), input);
                }
            }
            continue;
        }
        match r.raw_table(&table.name) {
            Err(error) => judge(error),
            Ok(None) => assert!(expected.is_none(), "table {:?} is listed, and not there", table.name),
            Ok(Some(view)) => {
                read_table(&view, expected.and_then(|expected| expected.map(&table.name)), input);
            }
        }
    }
    assert!(r.raw_table("not there").is_ok_and(|table| table.is_none()) || !tables.is_empty());
    typed(r, expected, input);
}

fn typed(r: &ReadTxn, expected: Option<&Contents>, input: &mut Input<'_>) {
    let number = u64::from(input.u16() % 1100);
    if let (Ok(found), Some(expected)) = (r.get(NUMBERS, &number), expected) {
        let stored = expected.map("numbers").and_then(|map| map.get(&number.to_be_bytes()[..]));
        assert_eq!(found.map(|n| n.to_be_bytes().to_vec()), stored.cloned());
    }
    if let Ok(mut words) = r.range(WORDS, "some/prefix/1"..)
        && let (Some(Ok((key, value))), Some(expected)) = (words.next(), expected)
    {
        let right =
            expected.map("words").is_some_and(|map| map.get(key.as_bytes()).is_some_and(|v| v == value));
        assert!(right, "{key}");
    }
    if let (Ok(values), Some(expected)) = (r.values(TAGS, &b"many"[..]), expected) {
        let set = expected.sets("tags").and_then(|sets| sets.get(&b"many"[..]));
        assert_eq!(values.len(), set.map_or(0, BTreeSet::len) as u64);
    }
}

fn read_table(view: &View<'_>, map: Option<&Map>, input: &mut Input<'_>) {
    let check = map.is_some();
    let map = map.unwrap_or(NOTHING);
    let judge = |error: &Error| {
        if check {
            assert_damage(error)
        }
    };
    let same = |found: (&[u8], &[u8]), right: Option<(&Vec<u8>, &Vec<u8>)>| {
        assert!(!check || right.is_some_and(|(key, value)| (&key[..], &value[..]) == found), "another entry");
    };
    // Forwards, backwards, from both ends.
    let mut right = map.iter();
    let mut entries = view.iter();
    let mut keys = Vec::new();
    for entry in entries.by_ref().take(MANY) {
        match entry {
            Ok(entry) => {
                same(entry, right.next());
                if keys.len() < 64 {
                    keys.push(entry.0.to_vec());
                }
            }
            Err(error) => judge(&error),
        }
    }
    let mut right = map.iter();
    for entry in view.iter().rev().take(MANY) {
        entry.map(|entry| same(entry, right.next_back())).unwrap_or_else(|error| judge(&error));
    }
    let (mut right, mut entries) = (map.iter(), view.iter());
    for turn in 0..200 {
        let (entry, right) = match (u32::from(input.u8()) + turn) % 2 {
            0 => (entries.next(), right.next()),
            _ => (entries.next_back(), right.next_back()),
        };
        match entry {
            Some(Ok(entry)) => same(entry, right),
            Some(Err(error)) => {
                judge(&error);
                assert!(
                    entries.next().is_none() && entries.next_back().is_none(),
                    "it goes on after an error"
                );
                break;
            }
            None => {
                assert!(!check || right.is_none(), "it ends too early");
                break;
            }
        }
    }
    for key in probes(&keys, input) {
        look_up(view, check.then_some(map), &key);
    }
    for rank in [0, 1, map.len() as u64 / 2, map.len() as u64, input.number()] {
        match view.nth(rank) {
            Ok(Some(entry)) => same(entry, map.iter().nth(rank as usize)),
            Ok(None) => assert!(!check || rank >= map.len() as u64, "there is a {rank}th entry"),
            Err(error) => judge(&error),
        }
    }
    for (first, entry) in [(true, view.first()), (false, view.last())] {
        match entry {
            Ok(Some(entry)) => same(entry, if first { map.first_key_value() } else { map.last_key_value() }),
            Ok(None) => assert!(!check || map.is_empty()),
            Err(error) => judge(&error),
        }
    }
}

fn probes(keys: &[Vec<u8>], input: &mut Input<'_>) -> Vec<Vec<u8>> {
    let mut probes = vec![Vec::new(), vec![0xff; 40], input.bytes(8).to_vec(), b"some/prefix/1".to_vec()];
    for _ in 0..3 {
        probes.extend(keys.get(input.below(keys.len())).cloned());
    }
    let mut beside = probes[probes.len() - 1].clone();
    beside.push(0);
    probes.push(beside);
    probes
}

/// A multimap from both ends, and some of its keys.
fn read_multi(view: &Multi<'_>, sets: Option<&Sets>, input: &mut Input<'_>) {
    let nothing = Sets::new();
    let check = sets.is_some();
    let sets = sets.unwrap_or(&nothing);
    let judge = |error: &Error| {
        if check {
            assert_damage(error)
        }
    };
    let all = || sets.iter().flat_map(|(key, set)| set.iter().map(move |value| (&key[..], &value[..])));
    let same = |found: (&[u8], &[u8]), right: Option<(&[u8], &[u8])>| {
        assert!(!check || right == Some(found), "another pair");
    };
    assert!(!check || view.len() == all().count() as u64);
    let (mut right, mut keys) = (all(), Vec::new());
    for pair in view.iter().take(MANY) {
        match pair {
            Ok(pair) => {
                same(pair, right.next());
                if keys.len() < 64 && keys.last().is_none_or(|last: &Vec<u8>| last != pair.0) {
                    keys.push(pair.0.to_vec());
                }
            }
            Err(error) => judge(&error),
        }
    }
    let mut right = all();
    for pair in view.iter().rev().take(MANY) {
        pair.map(|pair| same(pair, right.next_back())).unwrap_or_else(|error| judge(&error));
    }
    let mut right = sets.iter();
    for group in view.groups(..).take(200) {
        match (group, right.next()) {
            (Ok((key, values)), Some((k, set))) => {
                assert_eq!((key, values.len()), (&k[..], set.len() as u64));
            }
            (Ok(_), None) => assert!(!check, "one key more"),
            (Err(error), _) => judge(&error),
        }
    }
    for key in probes(&keys, input) {
        look_up_values(view, check.then_some(sets), &key, input);
    }
    let len = view.len();
    for rank in [0, 1, len / 2, len, input.number()] {
        match view.nth(rank) {
            Ok(Some(pair)) => same(pair, all().nth(rank as usize)),
            Ok(None) => assert!(!check || rank >= len, "there is a {rank}th pair"),
            Err(error) => judge(&error),
        }
    }
    for (first, pair) in [(true, view.first()), (false, view.last())] {
        match pair {
            Ok(Some(pair)) => same(pair, if first { all().next() } else { all().next_back() }),
            Ok(None) => assert!(!check || len == 0),
            Err(error) => judge(&error),
        }
    }
}

/// The values of one key.
fn look_up_values(view: &Multi<'_>, sets: Option<&Sets>, key: &[u8], input: &mut Input<'_>) {
    let check = sets.is_some();
    let nothing = BTreeSet::new();
    let set = sets.and_then(|sets| sets.get(key)).unwrap_or(&nothing);
    let judge = |error: &Error| {
        if check {
            assert_damage(error)
        }
    };
    let below = sets.map_or(0, |sets| sets.range(..key.to_vec()).map(|(_, set)| set.len()).sum::<usize>());
    let numbers = [(view.rank(key), below), (view.count(..key), below), (view.count_values(key), set.len())];
    for (found, right) in numbers {
        match found {
            Ok(found) => assert!(!check || found == right as u64, "{found}, not {right}"),
            Err(error) => judge(&error),
        }
    }
    let value = set.iter().nth(input.below(set.len())).cloned().unwrap_or_else(|| input.bytes(5).to_vec());
    match (view.contains(key, &value), view.rank_of(key, &value)) {
        (Ok(found), Ok(rank)) => {
            let right = (set.contains(&value), below + set.range(..value.clone()).count());
            assert!(!check || (found, rank) == (right.0, right.1 as u64), "{found}, {rank}, not {right:?}");
        }
        (found, rank) => {
            found.err().iter().for_each(judge);
            rank.err().iter().for_each(judge);
        }
    }
    let values = match view.values(key) {
        Ok(values) => values,
        Err(error) => return judge(&error),
    };
    assert!(!check || values.len() == set.len() as u64);
    let is_same = |found: &[u8], right: Option<&Vec<u8>>| {
        assert!(!check || right.is_some_and(|right| right == found), "another value");
    };
    match values.range(&value[..]..) {
        Ok(rest) => {
            let mut right = set.range(value..);
            let skipped = input.below(5);
            let found = rest.skip(skipped).take(MANY);
            right.by_ref().take(skipped).for_each(drop);
            for value in found {
                value.map(|value| is_same(value, right.next())).unwrap_or_else(|error| judge(&error));
            }
        }
        Err(error) => judge(&error),
    }
    let mut right = set.iter();
    for value in values.rev().take(MANY) {
        value.map(|value| is_same(value, right.next_back())).unwrap_or_else(|error| judge(&error));
    }
}

/// One key: its value, its rank, what is counted, ranges that begin and end there.
fn look_up(view: &View<'_>, map: Option<&Map>, key: &[u8]) {
    let judge = |error: &Error| {
        if map.is_some() {
            assert_damage(error)
        }
    };
    match view.get(key) {
        Ok(found) => {
            if let Some(map) = map {
                assert_eq!(found, map.get(key).map(|value| &value[..]));
            }
        }
        Err(error) => judge(&error),
    }
    let right = map.and_then(|map| map.get(key));
    match view.value_len(key) {
        Ok(found) => assert!(map.is_none() || found == right.map(|value| value.len() as u64)),
        Err(error) => judge(&error),
    }
    for part in [0..9, 65_530..65_540, 131_000..200_000] {
        match view.get_part(key, part.clone()) {
            Ok(found) => assert!(
                map.is_none()
                    || found.map(<[u8]>::len)
                        == right.map(|right| right
                            .len()
                            .min(part.end as usize)
                            .saturating_sub(part.start as usize))
            ),
            Err(error) => judge(&error),
        }
    }
    match view.contains(key) {
        Ok(found) => assert!(map.is_none_or(|map| map.contains_key(key) == found)),
        Err(error) => judge(&error),
    }
    let below = map.map_or(0, |map| map.range(..key.to_vec()).count() as u64);
    for counted in [view.rank(key), view.count(..key)] {
        match counted {
            Ok(found) => assert!(map.is_none() || found == below, "rank {found}, not {below}"),
            Err(error) => judge(&error),
        }
    }
    let low = (Bound::Excluded(key), Bound::Unbounded::<&[u8]>);
    for (entries, included) in [(view.range(key..), true), (view.range(low), false)] {
        let mut right = map.unwrap_or(NOTHING).range(key.to_vec()..).filter(|(k, _)| included || *k != key);
        for entry in entries.take(40) {
            match entry {
                Ok((k, v)) => assert!(
                    map.is_none() || right.next().is_some_and(|(rk, rv)| (&rk[..], &rv[..]) == (k, v)),
                    "another entry in a range"
                ),
                Err(error) => judge(&error),
            }
        }
    }
    let mut right = map.unwrap_or(NOTHING).range(..=key.to_vec());
    for entry in view.range(..=key).rev().take(40) {
        match entry {
            Ok((k, v)) => assert!(
                map.is_none() || right.next_back().is_some_and(|(rk, rv)| (&rk[..], &rv[..]) == (k, v)),
                "another entry in a range backwards"
            ),
            Err(error) => judge(&error),
        }
    }
    let prefix = &key[..key.len().min(7)];
    let right =
        map.map(|map| map.range(prefix.to_vec()..).take_while(|(k, _)| k.starts_with(prefix)).count());
    let found: Result<Vec<_>> = view.range(Prefix(prefix)).take(MANY).collect();
    match found {
        Ok(found) => assert!(right.is_none_or(|right| found.len() == right)),
        Err(error) => judge(&error),
    }
}

/// All that a store says of itself. Returns whether `verify` finds nothing.
pub fn examine(db: &Database, input: &mut Input<'_>) -> bool {
    let report = db.verify(&mut |_| {});
    let clean = report.as_ref().is_ok_and(|report| report.is_clean());
    let _ = db.stats();
    for page in [0, 1, 2, 3, input.number(), u64::from(input.u8()), u64::from(input.u8())] {
        let _ = db.page(page);
    }
    let _ = (db.readers(), db.reap(), db.counters(), db.wait_for_commit(0, Some(std::time::Duration::ZERO)));
    clean
}

//! Every way to read a snapshot, against what is known to be right, or for its own sake.

use super::input::Input;
use super::plan::Contents;
use mapleaf::{Database, Error, Prefix, ReadTxn, Result, Table, TableView};
use std::collections::BTreeMap;
use std::ops::Bound;

type Map = BTreeMap<Vec<u8>, Vec<u8>>;
type View<'t> = TableView<'t, [u8], [u8]>;

const NOTHING: &Map = &Map::new();
/// So many steps an iterator goes at most where nobody knows where it ends.
const MANY: usize = 3000;
const NUMBERS: Table<u64, u64> = Table::new("numbers");
const WORDS: Table<str, [u8]> = Table::new("words");

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
        assert_eq!(names, expected.keys().collect::<Vec<_>>());
    }
    for table in tables.iter().take(50) {
        match r.raw_table(&table.name) {
            Err(error) => judge(error),
            Ok(None) => assert!(expected.is_none(), "table {:?} is listed, and not there", table.name),
            Ok(Some(view)) => {
                let map = expected.map(|expected| &expected[&table.name]);
                if let Some(map) = map {
                    assert_eq!((table.len, view.len()), (map.len() as u64, map.len() as u64));
                }
                read_table(&view, map, input);
            }
        }
    }
    assert!(r.raw_table("not there").is_ok_and(|table| table.is_none()) || !tables.is_empty());
    typed(r, expected, input);
}

fn typed(r: &ReadTxn, expected: Option<&Contents>, input: &mut Input<'_>) {
    let number = u64::from(input.u16() % 1100);
    if let (Ok(found), Some(expected)) = (r.get(NUMBERS, &number), expected) {
        let stored = expected.get("numbers").and_then(|map| map.get(&number.to_be_bytes()[..]));
        assert_eq!(found.map(|n| n.to_be_bytes().to_vec()), stored.cloned());
    }
    if let Ok(mut words) = r.range(WORDS, "some/prefix/1"..)
        && let (Some(Ok((key, value))), Some(expected)) = (words.next(), expected)
    {
        let right =
            expected.get("words").is_some_and(|map| map.get(key.as_bytes()).is_some_and(|v| v == value));
        assert!(right, "{key}");
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
    for key in probes(&keys, map, input) {
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

fn probes(keys: &[Vec<u8>], map: &Map, input: &mut Input<'_>) -> Vec<Vec<u8>> {
    let mut probes = vec![Vec::new(), vec![0xff; 40], input.bytes(8).to_vec(), b"some/prefix/1".to_vec()];
    for _ in 0..3 {
        let known = keys.get(input.below(keys.len())).cloned();
        probes.extend(known.or_else(|| map.keys().nth(input.below(map.len())).cloned()));
    }
    let mut beside = probes[probes.len() - 1].clone();
    beside.push(0);
    probes.push(beside);
    probes
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

//! Keys without their values: those that the range has, from either end, and nothing of the values is read.

mod common;

use common::TestDb;
use mapleaf::{Database, Error, Options, Table};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::os::unix::fs::FileExt;

const BLOBS: Table<u16, [u8]> = Table::new("blobs");
const NUMBERS: Table<u16, u8> = Table::new("numbers");

fn fill(db: &Database, lens: &BTreeMap<u16, usize>) {
    let mut w = db.begin_write().unwrap();
    for (key, len) in lens {
        w.put(BLOBS, key, &vec![0x55; *len]).unwrap();
        w.put(NUMBERS, key, &7).unwrap();
    }
    w.commit().unwrap();
}

fn lens() -> impl Strategy<Value = BTreeMap<u16, usize>> {
    let len = prop_oneof![4 => 0..40_usize, 1 => 3000..9000_usize];
    prop::collection::btree_map(0..400_u16, len, 0..300)
}

fn bound() -> impl Strategy<Value = Bound<u16>> {
    prop_oneof![
        Just(Bound::Unbounded),
        (0..400_u16).prop_map(Bound::Included),
        (0..400_u16).prop_map(Bound::Excluded)
    ]
}

fn is_inverted(low: Bound<u16>, high: Bound<u16>) -> bool {
    match (low, high) {
        (Bound::Excluded(low), Bound::Excluded(high)) => low >= high,
        (Bound::Included(low) | Bound::Excluded(low), Bound::Included(high) | Bound::Excluded(high)) => {
            low > high
        }
        _ => false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn keys_are_those_of_the_range_from_both_ends_in_turn(
        lens in lens(),
        (low, high) in (bound(), bound()),
        ends in prop::collection::vec(any::<bool>(), 1..20),
        jumps in prop::collection::vec(0..50_usize, 0..8),
    ) {
        let db = TestDb::new();
        fill(&db, &lens);
        let expected = || match is_inverted(low, high) {
            true => Vec::new().into_iter(),
            false => lens.range((low, high)).map(|(key, _)| *key).collect::<Vec<_>>().into_iter(),
        };
        let r = db.begin_read().unwrap();
        let (mut blobs, mut numbers) =
            (r.range(BLOBS, (low, high)).unwrap().keys(), r.range(NUMBERS, (low, high)).unwrap().keys());
        let mut model = expected();
        for from_start in ends.into_iter().cycle() {
            let (a, b, c) = match from_start {
                true => (blobs.next(), numbers.next(), model.next()),
                false => (blobs.next_back(), numbers.next_back(), model.next_back()),
            };
            prop_assert_eq!(a.map(Result::unwrap), c);
            prop_assert_eq!(b.map(Result::unwrap), c);
            if c.is_none() {
                break;
            }
        }
        let (mut keys, mut model) = (r.range(BLOBS, (low, high)).unwrap().keys(), expected());
        for (i, n) in jumps.into_iter().enumerate() {
            let (a, b) = match i % 2 {
                0 => (keys.nth(n), model.nth(n)),
                _ => (keys.nth_back(n), model.nth_back(n)),
            };
            prop_assert_eq!(a.map(Result::unwrap), b);
        }
        prop_assert_eq!(keys.count(), model.count());
        let last = r.range(NUMBERS, (low, high)).unwrap().keys().last().transpose().unwrap();
        prop_assert_eq!(last, expected().next_back());
        let (keys, model) = (r.range(BLOBS, (low, high)).unwrap().keys(), expected());
        prop_assert_eq!(keys.rev().collect::<Result<Vec<_>, _>>().unwrap(), model.rev().collect::<Vec<_>>());
    }
}

#[test]
fn keys_are_there_where_every_large_value_is_damaged() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("damaged.maple");
    let db = common::open(&Options::new(), &path);
    fill(&db, &(0..20).map(|key| (key, 20_000)).collect());
    db.close().unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    let is_value = |page: &&[u8]| page.iter().all(|byte| *byte == 0x55);
    let mut damaged = 0;
    for (page, _) in bytes.chunks(4096).enumerate().filter(|(_, page)| is_value(page)) {
        damaged += file.write_at(b"!", page as u64 * 4096 + 77).unwrap();
    }
    assert!(damaged >= 20 * 4);

    let db = common::open(&Options::new(), &path);
    let r = db.begin_read().unwrap();
    assert!(matches!(r.iter(BLOBS).unwrap().next(), Some(Err(Error::Corrupt { .. }))));
    let keys: Vec<u16> = r.iter(BLOBS).unwrap().keys().collect::<Result<_, _>>().unwrap();
    assert!(keys.into_iter().eq(0..20));
}

#[test]
fn jumping_keys_read_no_value_and_an_error_that_skip_drops_comes_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("damaged.maple");
    let db = common::open(&Options::new(), &path);
    db.write(|w| (0..2000).try_for_each(|key| w.put(BLOBS, &key, &[0x55; 20]).map(drop))).unwrap();
    db.close().unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let leaves: Vec<usize> = (0..bytes.len() / 4096)
        .filter(|page| bytes[page * 4096..][..4096].windows(20).any(|window| window == [0x55; 20]))
        .collect();
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    for leaf in &leaves[leaves.len() / 2..] {
        file.write_at(b"!", *leaf as u64 * 4096 + 2000).unwrap();
    }
    let db = common::open(&Options::new(), &path);
    let r = db.begin_read().unwrap();
    let keys = || r.iter(BLOBS).unwrap().keys();
    assert_eq!(keys().count(), 2000);
    assert_eq!(keys().nth(3).unwrap().unwrap(), 3);
    assert!(matches!(keys().nth(1990), Some(Err(Error::Corrupt { .. }))));
    let page: Result<Vec<u16>, Error> = keys().skip(1990).take(5).collect();
    assert!(matches!(page, Err(Error::Corrupt { .. })));
}

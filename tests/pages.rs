//! Places by number: nth, nth_back, skip, count, last, split, sample and rank against a model, in snapshots and in write
//! txns with pages in memory and pages written early; by several threads; and over damage.

mod common;

use common::{TestDb, open};
use mapleaf::codec::{Codec, Key};
use mapleaf::{Database, Error, KeyValue, Options, Range, ReadTxn, Savepoint, Table, TableView, WriteTxn};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use rand::Rng as _;
use rand::SeedableRng;
use rand::rngs::StdRng;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;
use std::os::unix::fs::FileExt;

const BYTES: Table<[u8], [u8]> = Table::new("bytes");
const NUMBERS: Table<u64, u64> = Table::new("numbers");

/// What is done to a range, the numbers in 65536ths of what is there.
#[derive(Clone, Debug)]
enum Step {
    Next(u8),
    NextBack(u8),
    Nth(u16),
    NthBack(u16),
    NthNear(u8),
    NthBackNear(u8),
    Remaining,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let forwards = prop_oneof![
        3 => any::<u8>().prop_map(Step::Next),
        2 => (0u16..9000).prop_map(Step::Nth),
        3 => any::<u8>().prop_map(Step::NthNear),
        1 => Just(Step::Remaining),
    ];
    let backwards = prop_oneof![
        3 => any::<u8>().prop_map(Step::NextBack),
        2 => (0u16..9000).prop_map(Step::NthBack),
        3 => any::<u8>().prop_map(Step::NthBackNear),
        1 => Just(Step::Remaining),
    ];
    let (forwards, backwards) = (forwards.boxed(), backwards.boxed());
    let both = prop_oneof![forwards.clone(), backwards.clone(), any::<u16>().prop_map(Step::Nth)];
    let list = |step| prop::collection::vec(step, 0..12);
    prop_oneof![list(forwards.boxed()), list(backwards.boxed()), list(both.boxed()),]
}

fn at<T>(of: &std::slice::Iter<'_, T>, part: u16) -> usize {
    (of.len() + 2) * usize::from(part) / 65536
}

/// Does the same to both, and at the end asks for what is left in one of several ways.
fn compare<'t, K: Key + ?Sized, V: Codec + ?Sized>(
    mut range: Range<'t, K, V>,
    expected: &[KeyValue<'t, K, V>],
    steps: &[Step],
    end: u8,
) where
    K::View<'t>: PartialEq + Debug + Copy,
    V::View<'t>: PartialEq + Debug + Copy,
{
    let mut expected = expected.iter();
    for step in steps {
        let (found, expected) = match *step {
            Step::Next(times) => {
                let times = usize::from(times / 4);
                for _ in 0..times {
                    assert_eq!(range.next().transpose().unwrap(), expected.next().copied());
                }
                continue;
            }
            Step::NextBack(times) => {
                let times = usize::from(times / 4);
                for _ in 0..times {
                    assert_eq!(range.next_back().transpose().unwrap(), expected.next_back().copied());
                }
                continue;
            }
            Step::Remaining => {
                assert_eq!(range.remaining().unwrap(), expected.len() as u64);
                assert!(range.size_hint().1.unwrap() >= expected.len());
                continue;
            }
            Step::Nth(part) => {
                let n = at(&expected, part);
                (range.nth(n), expected.nth(n))
            }
            Step::NthBack(part) => {
                let n = at(&expected, part);
                (range.nth_back(n), expected.nth_back(n))
            }
            Step::NthNear(n) => (range.nth(n.into()), expected.nth(n.into())),
            Step::NthBackNear(n) => (range.nth_back(n.into()), expected.nth_back(n.into())),
        };
        assert_eq!(found.transpose().unwrap(), expected.copied());
    }
    match end % 5 {
        0 => assert_eq!(range.count(), expected.len()),
        1 => assert_eq!(range.last().transpose().unwrap(), expected.last().copied()),
        2 => assert!(range.step_by(7).map(Result::unwrap).eq(expected.step_by(7).copied())),
        3 => assert!(range.rev().step_by(3).map(Result::unwrap).eq(expected.rev().step_by(3).copied())),
        _ => assert!(range.map(Result::unwrap).eq(expected.copied())),
    }
}

/// The entries of a view from `low` up to `high`, divided and drawn.
fn check_parts(
    view: TableView<'_, u64, u64>,
    model: &BTreeMap<u64, u64>,
    (low, high): (u64, u64),
    parts: usize,
) {
    let expected: Vec<_> = match low <= high {
        true => model.range(low..high).map(|(key, value)| (*key, *value)).collect(),
        false => Vec::new(),
    };
    let ranges = view.split(low..high, parts).unwrap();
    assert_eq!(ranges.len(), parts);
    let sizes: Vec<u64> = ranges.iter().map(|range| range.remaining().unwrap()).collect();
    assert!(sizes.iter().max().unwrap() - sizes.iter().min().unwrap() <= 1, "{sizes:?}");
    let all: Vec<_> = ranges.into_iter().flatten().map(Result::unwrap).collect();
    assert_eq!(all, expected);
    let mut backwards: Vec<_> = view
        .split(low..high, parts)
        .unwrap()
        .into_iter()
        .rev()
        .flat_map(|range| range.rev())
        .map(Result::unwrap)
        .collect();
    backwards.reverse();
    assert_eq!(backwards, expected);
    for (rank, entry) in expected.iter().enumerate().step_by(97) {
        let before = model.range(..low).count() + rank;
        assert_eq!(view.nth(before as u64).unwrap(), Some(*entry));
        assert_eq!(view.rank(&entry.0).unwrap(), before as u64);
    }
}

/// Two tables of the same entries: one in leaves of fixed width, one whose leaves hold few entries.
fn fill(w: &mut WriteTxn, model: &mut BTreeMap<u64, u64>, keys: impl Iterator<Item = u64>) {
    for key in keys {
        w.put(NUMBERS, &key, &(key * 3)).unwrap();
        w.put(BYTES, &key.to_be_bytes(), &vec![key as u8; 50 + key as usize * 7 % 700]).unwrap();
        model.insert(key, key * 3);
    }
}

fn check_tables(
    (numbers, bytes): (TableView<'_, u64, u64>, TableView<'_, [u8], [u8]>),
    model: &BTreeMap<u64, u64>,
    (low, high): (u64, u64),
    steps: &[Step],
    end: u8,
) {
    let expected: Vec<_> = model.range(low..high.max(low)).map(|(key, value)| (*key, *value)).collect();
    compare(numbers.range(low..high), &expected, steps, end);
    let expected: Vec<_> = expected
        .iter()
        .map(|(key, _)| (key.to_be_bytes(), vec![*key as u8; 50 + *key as usize * 7 % 700]))
        .collect();
    let expected: Vec<(&[u8], &[u8])> = expected.iter().map(|(key, value)| (&key[..], &value[..])).collect();
    compare(bytes.range(&low.to_be_bytes()[..]..&high.to_be_bytes()[..]), &expected, steps, end);
}

fn config(cases: u32) -> ProptestConfig {
    let seed = std::env::var("PROPTEST_RNG_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(3);
    ProptestConfig {
        rng_seed: RngSeed::Fixed(seed),
        failure_persistence: None,
        ..ProptestConfig::with_cases(cases)
    }
}

type Trial = ((u64, u64), Vec<Step>, u8, usize);

fn trials() -> impl Strategy<Value = Vec<Trial>> {
    let parts = prop_oneof![4 => 1usize..20, 1 => 20usize..3000];
    let end = || prop_oneof![Just(0u64), Just(20_000), 0u64..20_000];
    prop::collection::vec(((end(), end()), steps(), any::<u8>(), parts), 1..12)
}

proptest! {
    #![proptest_config(config(24))]

    #[test]
    fn jumps_give_what_steps_give(
        loaded in prop_oneof![1 => Just(0u64), 1 => 1u64..40, 3 => 40u64..8000],
        step in prop_oneof![Just(1u64), Just(2), Just(7919)],
        changed in (0u64..20_000, 0u64..3000),
        trials in trials(),
    ) {
        let db = TestDb::with(Options::new().dirty_limit(0));
        let mut model = BTreeMap::new();
        let mut w = db.begin_write().unwrap();
        w.put(NUMBERS, &1, &1).unwrap();
        w.delete(NUMBERS, &1).unwrap();
        fill(&mut w, &mut model, (0..loaded).map(|i| i * step % 20_000));
        w.commit().unwrap();
        let committed = model.clone();
        let r = db.begin_read().unwrap();
        let mut w = db.begin_write().unwrap();
        fill(&mut w, &mut model, changed.0..changed.0 + changed.1 / 2);
        for key in changed.0 + changed.1 / 4..changed.0 + changed.1 {
            w.delete(NUMBERS, &key).unwrap();
            w.delete(BYTES, &key.to_be_bytes()).unwrap();
            model.remove(&key);
        }
        for (bounds, steps, end, parts) in trials {
            let of_snapshot = (r.table(NUMBERS).unwrap(), r.table(BYTES).unwrap());
            check_tables(of_snapshot, &committed, bounds, &steps, end);
            check_parts(of_snapshot.0, &committed, bounds, parts);
            let of_txn = (w.table(NUMBERS).unwrap(), w.table(BYTES).unwrap());
            check_tables(of_txn, &model, bounds, &steps, end);
            check_parts(of_txn.0, &model, bounds, parts);
        }
    }
}

fn numbered(count: u64) -> Database {
    let db = Database::temporary().unwrap();
    db.write(|w| (0..count).try_for_each(|key| w.put(NUMBERS, &key, &(key * 3)).map(drop))).unwrap();
    db
}

#[test]
fn a_page_of_a_list_is_found_by_its_offset_from_either_end() {
    let db = numbered(100_000);
    let r = db.begin_read().unwrap();
    let page: Vec<u64> =
        r.iter(NUMBERS).unwrap().skip(99_990).take(20).map(|entry| entry.unwrap().0).collect();
    assert_eq!(page, (99_990..100_000).collect::<Vec<_>>());
    let page: Vec<u64> =
        r.range(NUMBERS, ..5000).unwrap().rev().skip(10).take(3).map(|entry| entry.unwrap().0).collect();
    assert_eq!(page, [4989, 4988, 4987]);
    assert!(r.iter(NUMBERS).unwrap().skip(100_000).take(1).count() == 0);
    assert!(r.iter(NUMBERS).unwrap().nth(usize::MAX).is_none());
    assert!(r.iter(NUMBERS).unwrap().nth_back(usize::MAX).is_none());
    let mut spent = r.iter(NUMBERS).unwrap();
    assert!(spent.nth(100_000).is_none() && spent.next_back().is_none() && spent.remaining().unwrap() == 0);
    assert_eq!(spent.size_hint(), (0, Some(0)));
}

#[test]
fn no_parts_are_an_error_and_parts_of_nothing_are_empty() {
    let db = numbered(3);
    let r = db.begin_read().unwrap();
    assert!(matches!(r.split(NUMBERS, .., 0), Err(Error::InvalidArgument { .. })));
    assert!(r.split(NUMBERS, 7.., 4).unwrap().into_iter().all(|part| part.count() == 0));
    assert!(r.split(BYTES, .., 3).unwrap().into_iter().all(|part| part.count() == 0));
    let sizes: Vec<_> = r.split(NUMBERS, .., 5).unwrap().into_iter().map(Iterator::count).collect();
    assert_eq!((sizes.len(), sizes.iter().sum::<usize>()), (5, 3));
}

#[test]
fn every_entry_is_drawn_by_its_number_and_a_number_too_large_is_an_error() {
    let db = numbered(1000);
    let mut w = db.begin_write().unwrap();
    w.delete(NUMBERS, &500).unwrap();
    let mut next = 0;
    let drawn = w.sample(NUMBERS, 999, |below| {
        assert_eq!(below, 999);
        next += 1;
        next - 1
    });
    assert!(drawn.unwrap().into_iter().eq(w.iter(NUMBERS).unwrap().map(Result::unwrap)));
    assert!(matches!(w.sample(NUMBERS, 1, |below| below), Err(Error::InvalidArgument { .. })));
    assert!(matches!(w.sample_distinct(NUMBERS, 1, |_| u64::MAX), Err(Error::InvalidArgument { .. })));
    assert!(w.sample(BYTES, 7, |_| unreachable!("there is nothing to draw from")).unwrap().is_empty());
    let mut random = StdRng::seed_from_u64(1);
    let all = w.sample_distinct(NUMBERS, 5000, |below| random.random_range(0..below)).unwrap();
    assert!(all.into_iter().eq(w.iter(NUMBERS).unwrap().map(Result::unwrap)));
    let counts =
        (0..20_000).map(|_| w.sample(NUMBERS, 1, |below| random.random_range(0..below)).unwrap()[0].0 / 100);
    let counts = counts.fold([0; 10], |mut counts, hundred| {
        counts[hundred as usize] += 1;
        counts
    });
    assert!(counts.iter().all(|count| (1700..2300).contains(count)), "{counts:?}");
}

#[test]
fn all_sets_of_two_are_drawn_by_as_many_random_numbers() {
    let db = numbered(5);
    let r = db.begin_read().unwrap();
    let mut sets = HashMap::new();
    for (first, second) in (0..4).flat_map(|first| (0..5).map(move |second| (first, second))) {
        let mut numbers = [(4, first), (5, second)].into_iter();
        let drawn = r.sample_distinct(NUMBERS, 2, |below| {
            let (expected, number) = numbers.next().unwrap();
            assert_eq!(below, expected);
            number
        });
        let keys: Vec<u64> = drawn.unwrap().into_iter().map(|(key, _)| key).collect();
        assert!(keys[0] < keys[1]);
        *sets.entry(keys).or_insert(0) += 1;
    }
    assert_eq!(sets.len(), 10);
    assert!(sets.values().all(|times| *times == 2), "{sets:?}");
}

#[test]
fn txns_views_and_ranges_can_be_shared_by_threads() {
    fn is_shared<T: Send + Sync>() {}
    is_shared::<ReadTxn>();
    is_shared::<WriteTxn>();
    is_shared::<TableView<'_, str, [u8]>>();
    is_shared::<Range<'_, str, [u8]>>();
    is_shared::<mapleaf::Nested<'_>>();
    is_shared::<Savepoint>();
}

#[test]
fn threads_read_a_txn_that_is_not_committed_with_pages_in_memory_and_pages_written_early() {
    let db = TestDb::with(Options::new().dirty_limit(0));
    let mut w = db.begin_write().unwrap();
    let mut model = BTreeMap::new();
    fill(&mut w, &mut model, (0..9000).map(|i| i * 7919 % 9000));
    assert!(
        db.file_len() > 1 << 20 && w.changed_bytes() > 1 << 16,
        "{} bytes in the file, {} in memory",
        db.file_len(),
        w.changed_bytes()
    );
    let (before, mut n) = (model.clone(), w.begin_nested().unwrap());
    fill(&mut n, &mut model, (9000..9500).chain(100..120));
    n.put(NUMBERS, &0, &77).unwrap();
    model.insert(0, 77);
    let (view, txn) = (n.table(NUMBERS).unwrap(), &n);
    std::thread::scope(|s| {
        for part in txn.split(BYTES, .., 4).unwrap() {
            s.spawn(move || {
                for entry in part {
                    let (key, value) = entry.unwrap();
                    let key = u64::from_be_bytes(key.try_into().unwrap());
                    assert!(
                        value.len() == 50 + key as usize * 7 % 700
                            && value.iter().all(|byte| *byte == key as u8)
                    );
                }
            });
        }
        for thread in 0..4u64 {
            let model = &model;
            s.spawn(move || {
                for i in 0..3000 {
                    let key = (i * 7919 + thread * 31) % 9600;
                    assert_eq!(view.get(&key).unwrap(), model.get(&key).copied());
                    assert_eq!(txn.rank(NUMBERS, &key).unwrap(), key.min(9500));
                }
                let keys: Vec<u64> = (0..1000).map(|i| i * 31 % 9600).collect();
                let found = txn.get_many(NUMBERS, &keys).unwrap();
                assert!(found.into_iter().eq(keys.iter().map(|key| model.get(key).copied())));
            });
        }
    });
    drop(n);
    assert!(w.iter(NUMBERS).unwrap().map(Result::unwrap).eq(before.into_iter()));
}

/// The leaves whose last cell is that of one of these keys, each with a value of 60 bytes.
fn leaves_of(path: &std::path::Path, keys: std::ops::Range<u64>) -> Vec<u64> {
    let bytes = std::fs::read(path).unwrap();
    let is_wanted = |page: &[u8]| {
        let key = u64::from_be_bytes(page[4088..].try_into().unwrap());
        keys.contains(&key) && page[4028..4088] == [key as u8; 60]
    };
    let pages = bytes.chunks_exact(4096).enumerate().filter(|(_, page)| is_wanted(page));
    pages.map(|(number, _)| number as u64).collect()
}

#[test]
fn leaves_that_are_jumped_over_are_not_read_and_those_jumped_to_are_judged() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let db = open(&Options::new(), &path);
    db.write(|w| (0..20_000u64).try_for_each(|i| w.put(BYTES, &i.to_be_bytes(), &[i as u8; 60]).map(drop)))
        .unwrap();
    drop(db);
    let leaves = leaves_of(&path, 5000..10_000);
    assert!(leaves.len() > 50, "{leaves:?}");
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    leaves.iter().for_each(|page| file.write_all_at(&[0xaa; 16], page * 4096 + 2000).unwrap());
    let db = open(&Options::new(), &path);
    let r = db.begin_read().unwrap();
    let key_of = |entry: Option<mapleaf::Result<(&[u8], &[u8])>>| {
        entry.map(|entry| entry.map(|(key, _)| u64::from_be_bytes(key.try_into().unwrap())))
    };
    let mut expected_errors = 0;
    for n in (0..20_000).step_by(83) {
        for (found, key) in [
            (r.iter(BYTES).unwrap().nth(n), n as u64),
            (r.iter(BYTES).unwrap().nth_back(19_999 - n), n as u64),
            (r.iter(BYTES).unwrap().skip(n).take(1).last(), n as u64),
            (r.iter(BYTES).unwrap().rev().skip(19_999 - n).take(3).next(), n as u64),
        ] {
            match key_of(found).expect("there is an entry, or an error") {
                Ok(found) => assert_eq!(found, key),
                Err(Error::Corrupt { .. }) => {
                    assert!((4900..10_100).contains(&key), "{key}");
                    expected_errors += 1;
                }
                Err(error) => panic!("{error}"),
            }
        }
    }
    assert!(expected_errors > 100, "{expected_errors}");
    assert_eq!(r.iter(BYTES).unwrap().count(), 20_000);
    assert_eq!(key_of(r.iter(BYTES).unwrap().last()).unwrap().unwrap(), 19_999);
    let mut range = r.iter(BYTES).unwrap();
    assert!(range.nth(7000).unwrap().is_err());
    assert!(range.next().unwrap().is_err(), "once more, for who dropped it");
    assert!(range.next().is_none() && range.next_back().is_none() && range.nth(3).is_none());
    assert_eq!(r.iter(BYTES).unwrap().step_by(7000).filter(|entry| entry.is_err()).count(), 2);
    let page = r.iter(BYTES).unwrap().skip(7000).take(20).collect::<mapleaf::Result<Vec<_>>>();
    assert!(matches!(page, Err(Error::Corrupt { .. })));
    // Stepping would have found the damage: five thousand entries, and the error.
    let stepped =
        r.iter(BYTES).unwrap().map(|entry| entry.is_ok()).fold((0, 0), |(right, wrong), is_right| {
            if is_right { (right + 1, wrong) } else { (right, wrong + 1) }
        });
    assert!((4900..5100).contains(&stepped.0) && stepped.1 == 1, "{stepped:?}");
    assert!(r.split(BYTES, .., 4).is_err());
    assert_eq!(r.split(BYTES, ..&4000u64.to_be_bytes()[..], 3).unwrap().len(), 3);
}

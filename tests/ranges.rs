//! Ranges against a model: either way, from both ends in turn, over leaves of both forms and values in pages of their
//! own; and what they say of a leaf that is damaged.

use mapleaf::{Database, Error, Options, ReadTxn, Table, TableView, Verify};
use rand::prelude::*;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::os::unix::fs::FileExt;

const BYTES: Table<[u8], [u8]> = Table::new("bytes");
const NUMBERS: Table<u64, u64> = Table::new("numbers");
const SET: Table<u64, ()> = Table::new("set");
const NONE: Table<u64, u64> = Table::new("none");

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

/// Few entries a leaf, so that there are many leaves and four levels; some values are elsewhere.
fn long_entries(random: &mut StdRng) -> Model {
    let entry = |random: &mut StdRng| {
        let number: u32 = random.random_range(0..1_000_000);
        let mut key = number.to_be_bytes().to_vec();
        key.resize(random.random_range(4..1200), number as u8);
        let len = if random.random_ratio(1, 9) {
            random.random_range(2000..9000)
        } else {
            random.random_range(0..700)
        };
        (key, vec![number as u8; len])
    };
    (0..3000).map(|_| entry(random)).collect()
}

fn store(long: &Model, numbers: &BTreeMap<u64, u64>) -> Database {
    let db = Database::temporary().unwrap();
    db.write(|w| {
        for (key, value) in long {
            w.put(BYTES, key, value)?;
        }
        for (key, value) in numbers {
            w.put(NUMBERS, key, value)?;
            w.put(SET, key, &())?;
        }
        w.put(NONE, &1, &1)?;
        w.delete(NONE, &1)?;
        Ok(())
    })
    .unwrap();
    db
}

/// Takes from either end as `random` says, until both say that there is no more.
fn compare<T: PartialEq + std::fmt::Debug>(
    mut found: impl DoubleEndedIterator<Item = mapleaf::Result<T>>,
    expected: impl DoubleEndedIterator<Item = T>,
    chance_of_front: f64,
    random: &mut StdRng,
) {
    let mut expected = expected.fuse();
    let mut ends = [false; 2];
    while ends != [true; 2] {
        let front = random.random_bool(chance_of_front);
        // Several at a time, so that each end goes through leaves of its own.
        for _ in 0..random.random_range(1..40) {
            let (found, expected) = match front {
                true => (found.next(), expected.next()),
                false => (found.next_back(), expected.next_back()),
            };
            ends[usize::from(front)] |= expected.is_none();
            assert_eq!(found.transpose().unwrap(), expected);
        }
        if chance_of_front == 0.0 || chance_of_front == 1.0 {
            ends[usize::from(chance_of_front == 0.0)] = true;
        }
    }
}

fn bound<T: Clone>(keys: &[T], random: &mut StdRng, change: impl Fn(&T, i8) -> T) -> Bound<T> {
    let key = change(keys.choose(random).unwrap(), random.random_range(-1..=1));
    match random.random_range(0..5) {
        0 => Bound::Unbounded,
        1 | 2 => Bound::Included(key),
        _ => Bound::Excluded(key),
    }
}

/// The model panics at these.
fn is_inverted<T: PartialOrd>(low: &Bound<T>, high: &Bound<T>) -> bool {
    match (low, high) {
        (Bound::Excluded(low), Bound::Excluded(high)) => low >= high,
        (Bound::Included(low) | Bound::Excluded(low), Bound::Included(high) | Bound::Excluded(high)) => {
            low > high
        }
        _ => false,
    }
}

#[test]
fn a_range_gives_what_a_model_gives_from_either_end_and_from_both_in_turn() {
    let mut random = StdRng::seed_from_u64(1);
    let long = long_entries(&mut random);
    let numbers: BTreeMap<u64, u64> = (0..4000).map(|i| (random.random_range(0..60_000), i)).collect();
    let db = store(&long, &numbers);
    let snapshot = db.begin_read().unwrap();
    let write = db.begin_write().unwrap();
    let keys: Vec<Vec<u8>> = long.keys().cloned().collect();
    let number_keys: Vec<u64> = numbers.keys().copied().collect();
    for round in 0..400 {
        let chance = [1.0, 0.0, 0.5, 0.2, 0.9][round % 5];
        let change = |key: &Vec<u8>, by: i8| match by {
            0 => key.clone(),
            -1 => key[..key.len() - 1].to_vec(),
            _ => [&key[..], &[0]].concat(),
        };
        let (low, high) = (bound(&keys, &mut random, change), bound(&keys, &mut random, change));
        if is_inverted(&low, &high) {
            assert!(snapshot.range(BYTES, (low.clone(), high.clone())).unwrap().next().is_none());
            assert!(snapshot.range(BYTES, (low, high)).unwrap().next_back().is_none());
        } else {
            let expected =
                || long.range((low.clone(), high.clone())).map(|(key, value)| (&key[..], &value[..]));
            let range = (low.clone(), high.clone());
            compare(snapshot.range(BYTES, range.clone()).unwrap(), expected(), chance, &mut random);
            compare(write.range(BYTES, range).unwrap(), expected(), chance, &mut random);
        }
        let change = |key: &u64, by: i8| key.saturating_add_signed(by.into());
        let (low, high) =
            (bound(&number_keys, &mut random, change), bound(&number_keys, &mut random, change));
        if is_inverted(&low, &high) {
            assert!(snapshot.range(NUMBERS, (low, high)).unwrap().next().is_none());
            assert!(snapshot.range(NUMBERS, (low, high)).unwrap().next_back().is_none());
        } else {
            let expected = || numbers.range((low, high)).map(|(key, value)| (*key, *value));
            compare(snapshot.range(NUMBERS, (low, high)).unwrap(), expected(), chance, &mut random);
            let keys = || numbers.range((low, high)).map(|(key, _)| (*key, ()));
            compare(snapshot.range(SET, (low, high)).unwrap(), keys(), chance, &mut random);
        }
        compare(snapshot.iter(NONE).unwrap(), std::iter::empty(), chance, &mut random);
    }
}

/// A store of 4000 pairs in leaves of about 20, and its file.
fn file_to_damage(directory: &tempfile::TempDir) -> (std::path::PathBuf, Vec<u64>) {
    let path = directory.path().join("store");
    let db = open(&path);
    db.write(|w| (0..4000u64).try_for_each(|i| w.put(BYTES, &i.to_be_bytes(), &[i as u8; 180]).map(drop)))
        .unwrap();
    drop(db);
    let bytes = std::fs::read(&path).unwrap();
    let leaves = bytes.chunks(4096).enumerate().filter(|(_, page)| {
        // A leaf holds the pattern of at least ten values.
        (1..=255u8).any(|byte| page.windows(180).any(|window| window == [byte; 180]))
    });
    let leaves = leaves.map(|(number, _)| number as u64).collect();
    (path, leaves)
}

fn open(path: &std::path::Path) -> Database {
    // SAFETY: the file is this test's own.
    unsafe { Options::new().open(path) }.unwrap()
}

fn walk(snapshot: &ReadTxn, backwards: bool) -> (usize, usize) {
    let mut range = snapshot.iter(BYTES).unwrap();
    let (mut right, mut errors) = (0, 0);
    for _ in 0..10_000 {
        let step = if backwards { range.next_back() } else { range.next() };
        match step {
            Some(Ok((key, value))) => {
                let expected = if backwards { 3999 - right } else { right } as u64;
                assert_eq!((key, value), (&expected.to_be_bytes()[..], &[expected as u8; 180][..]));
                right += 1;
            }
            Some(Err(error)) => {
                assert!(matches!(error, Error::Corrupt { .. }), "{error}");
                errors += 1;
            }
            None => {}
        }
    }
    (right, errors)
}

/// From both ends in turn: how many entries came, how many errors.
fn walk_both(snapshot: &ReadTxn) -> (usize, usize) {
    let mut range = snapshot.iter(BYTES).unwrap();
    let (mut ends, mut errors) = ([0u64, 4000], 0);
    for i in 0..10_000 {
        let is_back = i / 7 % 2 == 1;
        match if is_back { range.next_back() } else { range.next() } {
            Some(Ok((key, _))) => {
                assert_eq!(errors, 0);
                ends[1] -= u64::from(is_back);
                assert_eq!(key, ends[usize::from(is_back)].to_be_bytes());
                ends[0] += u64::from(!is_back);
            }
            Some(Err(error)) => {
                assert!(matches!(error, Error::Corrupt { .. }), "{error}");
                errors += 1;
            }
            None => {}
        }
    }
    ((4000 - ends[1] + ends[0]) as usize, errors)
}

#[test]
fn damage_in_the_middle_is_one_error_behind_right_answers() {
    let directory = tempfile::tempdir().unwrap();
    let (path, leaves) = file_to_damage(&directory);
    assert_eq!(walk(&open(&path).begin_read().unwrap(), false), (4000, 0));
    assert_eq!(walk_both(&open(&path).begin_read().unwrap()), (4000, 0));
    let whole = std::fs::read(&path).unwrap();
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    for page in leaves.iter().skip(1).step_by(40) {
        for at in [20, 33, 100, 150, 4000] {
            file.write_all_at(&[whole[*page as usize * 4096 + at] ^ 0x41], page * 4096 + at as u64).unwrap();
            let db = open(&path);
            let snapshot = db.begin_read().unwrap();
            let ((forwards, one), (backwards, other)) = (walk(&snapshot, false), walk(&snapshot, true));
            assert_eq!((one, other), (1, 1), "page {page}");
            let (both, errors) = walk_both(&snapshot);
            assert!(errors == 1 && both < 4000, "page {page}: {both}, {errors} errors");
            assert!(forwards < 4000 && forwards + backwards < 4000, "{forwards} {backwards}");
            assert!(forwards + backwards > 3900, "{forwards} {backwards}");
            drop((snapshot, db));
            file.write_all_at(&whole[*page as usize * 4096..][..4096], page * 4096).unwrap();
        }
    }
}

/// Every number of keys around the size of a group, some of them twice, some not there.
fn ask_for_many(
    bytes: TableView<'_, [u8], [u8]>,
    numbers: TableView<'_, u64, u64>,
    none: TableView<'_, u64, u64>,
) {
    for count in [0, 1, 2, 15, 16, 17, 31, 32, 33, 500] {
        let asked: Vec<u64> = (0..count).map(|i| i * 7919 % 3000 / 3 * 3 + i % 2).collect();
        let keys: Vec<_> = asked.iter().chain(&asked[..asked.len() / 2]).map(|i| i.to_be_bytes()).collect();
        let one_by_one: Vec<_> = keys.iter().map(|key| bytes.get(key).unwrap()).collect();
        assert_eq!(bytes.get_many(&keys).unwrap(), one_by_one);
        let one_by_one: Vec<_> = asked.iter().map(|key| numbers.get(key).unwrap()).collect();
        assert_eq!(numbers.get_many(&asked).unwrap(), one_by_one);
        assert!(
            count < 2 || one_by_one.iter().any(Option::is_none) && one_by_one.iter().any(Option::is_some)
        );
        assert_eq!(none.get_many(&asked).unwrap(), vec![None; asked.len()]);
    }
}

#[test]
fn many_keys_at_once_are_answered_as_one_by_one() {
    let value = |i: u64| vec![i as u8; if i.is_multiple_of(30) { 9000 } else { 80 }];
    for (verify, is_guarded) in
        [(Verify::Once, false), (Verify::Always, false), (Verify::Never, false), (Verify::Once, true)]
    {
        let directory = tempfile::tempdir().unwrap();
        let mut options = Options::new();
        options = options.verify(verify).guarded_reads(is_guarded).dirty_limit(1 << 20);
        // SAFETY: the file is this test's own.
        let db = unsafe { options.open(directory.path().join("store")) }.unwrap();
        for round in 0..2 {
            let mut w = db.begin_write().unwrap();
            // Some of it is in memory, some was written early, some was there before.
            for i in (0..3000u64).filter(|i| i % 3 == 0 && i % 2 == round) {
                w.put(BYTES, &i.to_be_bytes(), &value(i)).unwrap();
                w.put(NUMBERS, &i, &(i * i)).unwrap();
            }
            w.put(NONE, &1, &1).unwrap();
            w.delete(NONE, &1).unwrap();
            let tables = (w.table(BYTES).unwrap(), w.table(NUMBERS).unwrap(), w.table(NONE).unwrap());
            ask_for_many(tables.0, tables.1, tables.2);
            w.commit().unwrap();
            let r = db.begin_read().unwrap();
            let tables = (r.table(BYTES).unwrap(), r.table(NUMBERS).unwrap(), r.table(NONE).unwrap());
            ask_for_many(tables.0, tables.1, tables.2);
            let found = r.get_many(BYTES, &[0u64, 6, 30].map(u64::to_be_bytes)).unwrap();
            assert_eq!(found, [0, 6, 30].map(|i| Some(value(i))).each_ref().map(|value| value.as_deref()));
        }
    }
}

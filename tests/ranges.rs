//! Ranges against a model: either way, from both ends in turn, over leaves of both forms and values in pages of their
//! own; and what they say of a leaf that is damaged.

use mapleaf::{Database, Error, Options, ReadTxn, Table};
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
        Ok::<_, Error>(())
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

#[test]
fn damage_in_the_middle_is_one_error_behind_right_answers() {
    let directory = tempfile::tempdir().unwrap();
    let (path, leaves) = file_to_damage(&directory);
    assert_eq!(walk(&open(&path).begin_read().unwrap(), false), (4000, 0));
    let whole = std::fs::read(&path).unwrap();
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    for page in leaves.iter().skip(1).step_by(40) {
        for at in [20, 33, 100, 150, 4000] {
            file.write_all_at(&[whole[*page as usize * 4096 + at] ^ 0x41], page * 4096 + at as u64).unwrap();
            let db = open(&path);
            let snapshot = db.begin_read().unwrap();
            let ((forwards, one), (backwards, other)) = (walk(&snapshot, false), walk(&snapshot, true));
            assert_eq!((one, other), (1, 1), "page {page}");
            assert!(forwards < 4000 && forwards + backwards < 4000, "{forwards} {backwards}");
            assert!(forwards + backwards > 3900, "{forwards} {backwards}");
            drop((snapshot, db));
            file.write_all_at(&whole[*page as usize * 4096..][..4096], page * 4096).unwrap();
        }
    }
}

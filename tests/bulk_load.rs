//! Bulk loading and appending: the same as putting each entry, whatever the order, the memory, what is in the table and
//! which of several entries wins; full pages; nothing changed after an error of the input.

mod common;
mod oracle;

use common::TestDb;
use mapleaf::{BulkOptions, Database, Duplicates, Durability, Error, Options, Table, WriteTxn};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::path::PathBuf;

const NUMBERS: Table<u64, u64> = Table::new("numbers");
const BYTES: Table<[u8], [u8]> = Table::new("bytes");

type Bytes = Vec<u8>;
type Map = BTreeMap<Bytes, Bytes>;
type Input = Vec<(Bytes, Bytes)>;

fn small_memory(memory: usize, duplicates: Duplicates) -> BulkOptions {
    BulkOptions { memory, duplicates, ..BulkOptions::default() }
}

fn map_of(w: &WriteTxn, table: &str) -> Map {
    let view = w.raw_table(table).unwrap().unwrap();
    view.iter().map(|entry| entry.map(|(key, value)| (key.to_vec(), value.to_vec())).unwrap()).collect()
}

/// What loading gives: the number of new keys, or `None` where a duplicate is refused.
fn load_into(map: &mut Map, input: &Input, duplicates: Duplicates) -> Option<u64> {
    let mut loaded = map.clone();
    for (key, value) in input {
        match (loaded.contains_key(key), duplicates) {
            (true, Duplicates::Refused) => return None,
            (true, Duplicates::FirstWins) => {}
            _ => drop(loaded.insert(key.clone(), value.clone())),
        }
    }
    let new = loaded.len() - map.len();
    *map = loaded;
    Some(new as u64)
}

/// A random but repeatable order.
fn shuffled(count: u64) -> impl Iterator<Item = u64> + Clone {
    let modulus = count.next_power_of_two();
    (0..modulus).map(move |i| (i * 0x9e37_79b9 + 77) % modulus).filter(move |i| *i < count)
}

#[derive(Clone, Debug)]
enum Op {
    Load {
        fixed: bool,
        input: Vec<(u16, u8)>,
        order: u8,
        memory: usize,
        duplicates: Duplicates,
    },
    Put {
        fixed: bool,
        start: u16,
        count: u16,
        step: u16,
    },
    Append {
        fixed: bool,
        from: u16,
        count: u8,
    },
    DeleteRange {
        fixed: bool,
        start: u16,
        end: u16,
    },
    /// Begins to put and to load, and goes back.
    RolledBack {
        start: u16,
        input: Vec<(u16, u8)>,
    },
    Savepoint,
    Commit(Durability),
    Abort,
    Reopen,
    Death,
}

fn key(fixed: bool, i: u16) -> Bytes {
    match fixed {
        true => u64::from(i).to_be_bytes().to_vec(),
        false => format!("{}{i}", "prefix ".repeat(usize::from(i % 7))).into_bytes(),
    }
}

fn value(fixed: bool, i: u16, seed: u8) -> Bytes {
    match fixed {
        true => vec![seed; 8],
        false => {
            vec![seed; if i.is_multiple_of(61) { 2500 + usize::from(seed) * 40 } else { usize::from(seed) }]
        }
    }
}

fn entries(fixed: bool, input: &[(u16, u8)], order: u8) -> Input {
    let mut entries: Input =
        input.iter().map(|(i, seed)| (key(fixed, *i), value(fixed, *i, *seed))).collect();
    match order {
        0 => entries.sort(),
        1 => {
            let half = entries.len() / 2;
            entries[..half].sort();
        }
        2 => entries.sort_by(|a, b| b.cmp(a)),
        _ => {}
    }
    entries
}

fn op() -> impl Strategy<Value = Op> {
    let input = || {
        prop_oneof![
            proptest::collection::vec((any::<u16>(), any::<u8>()), 0..3000),
            proptest::collection::vec((0..2000_u16, any::<u8>()), 0..3000),
            proptest::collection::btree_map(any::<u16>(), any::<u8>(), 1200..1500)
                .prop_map(|map| map.into_iter().collect::<Vec<_>>()),
        ]
    };
    let duplicates = prop_oneof![
        2 => Just(Duplicates::LastWins),
        1 => Just(Duplicates::FirstWins),
        1 => Just(Duplicates::Refused),
    ];
    let memory = prop_oneof![Just(0), Just(4 << 10), Just(64 << 10), Just(64 << 20)];
    prop_oneof![
        6 => (any::<bool>(), input(), 0..5_u8, memory, duplicates).prop_map(
            |(fixed, input, order, memory, duplicates)| Op::Load { fixed, input, order, memory, duplicates }
        ),
        2 => (any::<bool>(), any::<u16>(), 0..2000_u16, 1..30_u16)
            .prop_map(|(fixed, start, count, step)| Op::Put { fixed, start, count, step }),
        2 => (any::<bool>(), any::<u16>(), any::<u8>())
            .prop_map(|(fixed, from, count)| Op::Append { fixed, from, count }),
        2 => (any::<bool>(), any::<u16>(), any::<u16>())
            .prop_map(|(fixed, start, end)| Op::DeleteRange { fixed, start, end }),
        1 => (any::<u16>(), input()).prop_map(|(start, input)| Op::RolledBack { start, input }),
        1 => Just(Op::Savepoint),
        2 => prop_oneof![
            Just(Durability::Durable),
            Just(Durability::Ordered),
            Just(Durability::Eventual)
        ]
        .prop_map(Op::Commit),
        1 => Just(Op::Abort),
        1 => Just(Op::Reopen),
        1 => Just(Op::Death),
    ]
}

type Maps = [Map; 2];

fn name(fixed: bool) -> &'static str {
    if fixed { "numbers" } else { "bytes" }
}

fn load(w: &mut WriteTxn, fixed: bool, input: &Input, options: BulkOptions) -> mapleaf::Result<u64> {
    match fixed {
        true => {
            let number = |bytes: &Bytes| u64::from_be_bytes(bytes[..].try_into().unwrap());
            w.bulk_load_with(NUMBERS, options, input.iter().map(|(key, value)| (number(key), number(value))))
        }
        false => w.bulk_load_with(BYTES, options, input.iter().map(|(key, value)| (&key[..], &value[..]))),
    }
}

fn carry_out(w: &mut WriteTxn, maps: &mut Maps, op: &Op) {
    match op {
        Op::Load { fixed, input, order, memory, duplicates } => {
            let map = &mut maps[usize::from(*fixed)];
            let input = entries(*fixed, input, *order);
            let loaded = load(w, *fixed, &input, small_memory(*memory, *duplicates));
            match load_into(map, &input, *duplicates) {
                Some(put) => assert_eq!(loaded.unwrap(), put),
                None => assert!(matches!(loaded, Err(Error::InvalidArgument { .. }))),
            }
            assert!(map_of(w, name(*fixed)) == *map);
        }
        Op::Put { fixed, start, count, step } => {
            for i in (0..*count).map_while(|i| start.checked_add(i.checked_mul(*step)?)) {
                let (key, value) = (key(*fixed, i), value(*fixed, i, 7));
                w.raw_put(name(*fixed), &key, &value).unwrap();
                maps[usize::from(*fixed)].insert(key, value);
            }
        }
        Op::Append { fixed, from, count } => {
            for i in (0..u16::from(*count)).map_while(|i| from.checked_add(i)) {
                let map = &mut maps[usize::from(*fixed)];
                let (key, value) = (key(*fixed, i), value(*fixed, i, 9));
                let appended = match fixed {
                    true => w.append(NUMBERS, &u64::from(i), &u64::from_be_bytes([9; 8])),
                    false => w.append(BYTES, &key[..], &value[..]),
                };
                if map.last_key_value().is_none_or(|(last, _)| *last < key) {
                    appended.unwrap();
                    map.insert(key, value);
                } else {
                    assert!(matches!(appended, Err(Error::InvalidArgument { .. })));
                }
            }
        }
        Op::DeleteRange { fixed, start, end } => {
            let (start, end) = (key(*fixed, *start), key(*fixed, *end));
            w.raw_delete_range(name(*fixed), start.clone()..end.clone()).unwrap();
            maps[usize::from(*fixed)].retain(|key, _| *key < start || *key >= end);
        }
        Op::RolledBack { start, input } => {
            let before = w.savepoint();
            w.put(NUMBERS, &u64::from(*start), &1).unwrap();
            w.bulk_load(NUMBERS, input.iter().map(|(i, seed)| (u64::from(*i), u64::from(*seed)))).unwrap();
            w.rollback_to(before).unwrap();
        }
        Op::Savepoint => drop(w.savepoint()),
        _ => unreachable!("not of the txn"),
    }
}

fn assert_same(maps: &Maps, db: &Database) {
    let contents = common::contents(&db.begin_read().unwrap()).0;
    assert!(contents["bytes"] == maps[0]);
    assert!(contents["numbers"] == maps[1]);
}

fn run(options: Options, ops: &[Op]) {
    let mut db = TestDb::with(options);
    db.write(|w| w.bulk_load(NUMBERS, [(0, 0)]).and_then(|_| w.bulk_load(BYTES, [(b"", b"")]))).unwrap();
    let mut committed = [Map::from([(vec![], vec![])]), Map::from([(vec![0; 8], vec![0; 8])])];
    let mut ops = ops.iter().peekable();
    while ops.peek().is_some() {
        let (mut w, mut maps) = (db.begin_write().unwrap(), committed.clone());
        loop {
            match ops.next().unwrap_or(&Op::Commit(Durability::Durable)) {
                Op::Commit(durability) => {
                    w.set_durability(*durability);
                    w.commit().unwrap();
                    committed = maps;
                    assert_same(&committed, &db);
                    break;
                }
                Op::Abort => break,
                Op::Reopen => {
                    drop(w);
                    db.reopen();
                    break;
                }
                Op::Death => {
                    drop(w);
                    assert_same(&committed, &db.after_death());
                    break;
                }
                op => carry_out(&mut w, &mut maps, op),
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, max_shrink_iters: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn loading_is_putting_each_entry(ops in proptest::collection::vec(op(), 1..25)) {
        run(Options::new(), &ops);
    }

    #[test]
    fn the_same_where_pages_are_written_early(ops in proptest::collection::vec(op(), 1..40)) {
        run(Options::new().dirty_limit(1 << 20), &ops);
    }
}

// ---- how full pages are ----

/// Bytes in use of the leaves of the only table, in percent.
fn fill(db: &Database) -> f64 {
    let stats = db.stats().unwrap();
    let leaves = stats.tables[0].levels[0];
    leaves.used_bytes as f64 * 100.0 / (leaves.pages * db.page_size() as u64) as f64
}

#[test]
fn loading_into_an_empty_table_makes_full_pages_whatever_the_order() {
    for memory in [64 << 10, 64 << 20] {
        for ascending in [true, false] {
            let db = TestDb::new();
            let keys: Vec<u64> = if ascending { (0..50_000).collect() } else { shuffled(50_000).collect() };
            let options = small_memory(memory, Duplicates::LastWins);
            let text = |i: &u64| format!("some text of {i}");
            let entries = || keys.iter().map(|i| (i.to_be_bytes(), text(i).into_bytes()));
            let loaded = db.write(|w| w.bulk_load_with(BYTES, options, entries())).unwrap();
            assert_eq!(loaded, 50_000);
            assert!(fill(&db) > 97.0, "{}", fill(&db));
            let r = db.begin_read().unwrap();
            assert_eq!(r.get(BYTES, &777_u64.to_be_bytes()).unwrap(), Some(&b"some text of 777"[..]));
        }
    }
}

#[test]
fn appending_makes_full_pages() {
    let db = TestDb::new();
    db.write(|w| (0..20_000).try_for_each(|i| w.append(NUMBERS, &i, &i))).unwrap();
    db.write(|w| (20_000..50_000).try_for_each(|i| w.append(NUMBERS, &i, &i))).unwrap();
    assert!(fill(&db) > 99.0, "{}", fill(&db));
}

#[test]
fn a_large_batch_is_merged_into_full_pages_and_a_small_one_is_put() {
    let db = TestDb::new();
    let text = |i: u64| format!("some text of {i}").into_bytes();
    let load = |keys: &mut dyn Iterator<Item = u64>| {
        db.write(|w| w.bulk_load(BYTES, keys.map(|i| (i.to_be_bytes(), text(i))))).unwrap()
    };
    assert_eq!(load(&mut shuffled(60_000).map(|i| i * 3)), 60_000);
    let pages = db.stats().unwrap().tables[0].levels[0].pages;
    assert_eq!(load(&mut shuffled(30_000).map(|i| i * 3 + 1)), 30_000);
    assert!(fill(&db) > 97.0, "{}", fill(&db));
    assert_eq!(load(&mut shuffled(100).map(|i| i * 1800 + 2)), 100);
    let more = db.stats().unwrap().tables[0].levels[0].pages - pages * 3 / 2;
    assert!(more <= 110, "a hundred entries split a hundred leaves at most, here {more}");
    let r = db.begin_read().unwrap();
    assert_eq!(r.len(BYTES).unwrap(), 90_100);
    for entry in r.iter(BYTES).unwrap() {
        let (key, value) = entry.unwrap();
        assert_eq!(value, text(u64::from_be_bytes(key.try_into().unwrap())));
    }
}

#[test]
fn loads_that_follow_each_other_go_on_in_the_last_page() {
    let db = TestDb::new();
    for first in (0..20_000).step_by(100) {
        let entries = (first..first + 100).map(|i| (i, i));
        db.write(|w| w.bulk_load(NUMBERS, entries)).unwrap();
    }
    assert!(fill(&db) > 98.0, "{}", fill(&db));
    assert!(db.counters().logged_commits > 100, "small loads are logged");
    assert_eq!(db.after_death().begin_read().unwrap().len(NUMBERS).unwrap(), 20_000);
}

// ---- errors ----

#[test]
fn an_append_out_of_order_says_what_is_last_and_changes_nothing() {
    let db = TestDb::new();
    let mut w = db.begin_write().unwrap();
    w.append(BYTES, b"m", b"1").unwrap();
    for key in ["m", "a", ""] {
        let error = w.append(BYTES, key.as_bytes(), b"2").unwrap_err();
        let expected = format!(
            "key b\"{key}\" is not above b\"m\", the last one of table \"bytes\"; put it, or load keys in any order \
             with bulk_load"
        );
        assert_eq!(error.to_string(), expected);
    }
    w.append(BYTES, b"m\0", b"3").unwrap();
    w.commit().unwrap();
    assert_eq!(db.begin_read().unwrap().len(BYTES).unwrap(), 2);
}

#[test]
fn input_that_fails_changes_nothing_and_the_txn_goes_on() {
    #[derive(Debug)]
    struct Stop;
    impl From<Error> for Stop {
        fn from(error: Error) -> Self {
            panic!("{error}");
        }
    }
    let db = TestDb::with(Options::new().dirty_limit(1 << 20));
    db.write(|w| w.bulk_load(NUMBERS, (0..1000).map(|i| (i * 50, 1)))).unwrap();
    for ascending in [true, false] {
        let mut w = db.begin_write().unwrap();
        w.put(NUMBERS, &3, &3).unwrap();
        let before = map_of(&w, "numbers");
        let keys: Vec<u64> = if ascending { (0..300_000).collect() } else { shuffled(300_000).collect() };
        let entries = keys.into_iter().map(Ok).chain([Err(Stop)]).map(|key| key.map(|key| (key, key)));
        let options = small_memory(1 << 20, Duplicates::LastWins);
        assert!(matches!(w.try_bulk_load(NUMBERS, options, entries), Err(Stop)));
        assert!(map_of(&w, "numbers") == before);
        w.put(NUMBERS, &4, &4).unwrap();
        w.commit().unwrap();
    }
    assert_eq!(db.begin_read().unwrap().len(NUMBERS).unwrap(), 1002);
}

#[test]
fn a_table_that_the_load_creates_is_gone_when_it_fails() {
    let db = TestDb::new();
    let mut w = db.begin_write().unwrap();
    let long = vec![0; 5000];
    assert!(matches!(
        w.bulk_load(BYTES, [(&b"k"[..], &b"v"[..]), (&long, b"v")]),
        Err(Error::KeyTooLong { .. })
    ));
    assert!(w.tables().unwrap().is_empty());
    let twice = [(&b"k"[..], &b"v"[..]), (b"l", b"v"), (b"k", b"w")];
    let refusing = small_memory(1 << 20, Duplicates::Refused);
    let error = w.bulk_load_with(BYTES, refusing, twice).unwrap_err();
    assert!(error.to_string().contains("key b\"k\" comes twice"), "{error}");
    assert!(w.tables().unwrap().is_empty());
    let other: Table<u64, str> = Table::new("numbers");
    w.bulk_load(other, [(1, "one")]).unwrap();
    assert!(matches!(w.bulk_load(NUMBERS, [(1, 1)]), Err(Error::SchemaMismatch { .. })));
    assert!(matches!(w.append(NUMBERS, &1, &1), Err(Error::SchemaMismatch { .. })));
    w.commit().unwrap();
}

#[test]
fn without_a_place_for_temporary_files_nothing_is_changed() {
    let db = TestDb::new();
    let mut w = db.begin_write().unwrap();
    w.put(NUMBERS, &1, &1).unwrap();
    let options = |directory: &str| BulkOptions {
        memory: 64 << 10,
        directory: Some(PathBuf::from(directory)),
        ..BulkOptions::default()
    };
    let entries = || shuffled(20_000).map(|i| (i, i));
    let error = w.bulk_load_with(NUMBERS, options("/nowhere"), entries()).unwrap_err();
    assert!(error.to_string().contains("/nowhere"), "{error}");
    assert!(matches!(error, Error::Io { .. }));
    assert_eq!(w.len(NUMBERS).unwrap(), 1);
    // What fits in memory needs none.
    assert_eq!(w.bulk_load_with(NUMBERS, options("/nowhere"), (5..1005).map(|i| (i, i))).unwrap(), 1000);
    let directory = tempfile::tempdir().unwrap();
    let name = directory.path().to_str().unwrap();
    assert_eq!(w.bulk_load_with(NUMBERS, options(name), entries()).unwrap(), 18_999);
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    w.commit().unwrap();
    assert_eq!(db.begin_read().unwrap().len(NUMBERS).unwrap(), 20_000);
}

#[test]
fn after_a_panic_in_the_input_the_txn_can_only_be_aborted() {
    let db = TestDb::new();
    db.write(|w| w.put(NUMBERS, &1, &1)).unwrap();
    let mut w = db.begin_write().unwrap();
    let entries = (2..9000_u64).inspect(|i| assert!(*i < 8000, "the input panics")).map(|i| (i, i));
    let load = std::panic::AssertUnwindSafe(|| w.bulk_load(NUMBERS, entries));
    assert!(std::panic::catch_unwind(load).is_err());
    assert!(matches!(w.put(NUMBERS, &1, &1), Err(Error::Poisoned)));
    assert!(matches!(w.commit(), Err(Error::Poisoned)));
    assert_eq!(db.begin_read().unwrap().len(NUMBERS).unwrap(), 1);
}

#[test]
fn a_store_that_is_full_ends_the_txn() {
    let db = TestDb::with(Options::new().max_size(4 << 20).dirty_limit(1 << 20));
    db.write(|w| w.put(NUMBERS, &1, &1)).unwrap();
    let mut w = db.begin_write().unwrap();
    let loaded = w.bulk_load(BYTES, shuffled(100_000).map(|i| (i.to_be_bytes(), [1; 90])));
    assert!(matches!(loaded, Err(Error::Full { .. })), "{loaded:?}");
    assert!(matches!(w.put(NUMBERS, &1, &2), Err(Error::Poisoned)));
    drop(w);
    db.write(|w| w.put(NUMBERS, &2, &2)).unwrap();
    assert_eq!(db.begin_read().unwrap().len(NUMBERS).unwrap(), 2);
}

// ---- more than memory ----

#[test]
fn input_of_many_runs_is_merged_in_several_passes() {
    let db = TestDb::new();
    let count = 200_000_u64;
    // Some 250 runs, of which 16 are read at a time; each key three times.
    let entries = (0..3).flat_map(|round| shuffled(count).map(move |i| (i, i * 10 + round)));
    for (duplicates, kept) in [(Duplicates::LastWins, 2), (Duplicates::FirstWins, 0)] {
        let mut w = db.begin_write().unwrap();
        assert_eq!(
            w.bulk_load_with(NUMBERS, small_memory(64 << 10, duplicates), entries.clone()).unwrap(),
            count
        );
        assert!(w.iter(NUMBERS).unwrap().map(Result::unwrap).eq((0..count).map(|i| (i, i * 10 + kept))));
    }
    let mut w = db.begin_write().unwrap();
    let refused = w.bulk_load_with(NUMBERS, small_memory(64 << 10, Duplicates::Refused), entries);
    assert!(matches!(refused, Err(Error::InvalidArgument { .. })));
    assert!(w.tables().unwrap().is_empty());
}

#[test]
fn large_values_go_through_temporary_files_too() {
    let db = TestDb::new();
    let value = |i: u64| vec![i as u8; if i.is_multiple_of(7) { 700_000 } else { 3000 }];
    let entries = shuffled(40).map(|i| (i.to_be_bytes(), value(i)));
    db.write(|w| w.bulk_load_with(BYTES, small_memory(16 << 10, Duplicates::Refused), entries)).unwrap();
    let r = db.begin_read().unwrap();
    for i in 0..40_u64 {
        assert_eq!(r.get(BYTES, &i.to_be_bytes()).unwrap().unwrap(), &value(i)[..]);
    }
}

// ---- files that say what cannot be ----

#[test]
fn damaged_pages_are_errors_of_a_merge_and_nothing_worse() {
    let mut scribe = oracle::Scribe::new(4096);
    let long = |i: u64| format!("{i:04}{}", "-".repeat(300)).into_bytes();
    scribe.write(true, |w| {
        (0..3000).try_for_each(|i| {
            w.put(BYTES, &long(i * 2), &vec![1; if i % 50 == 0 { 5000 } else { 40 }]).map(drop)
        })
    });
    let oracle::Fixture { image, live, .. } = scribe.close();
    let (table, root) = (live.table_named("bytes").0, live.table_named("bytes").1.root);
    let load = |image: &oracle::Image, count: u64| {
        let directory = oracle::memory_directory();
        let path = directory.path().join("image.maple");
        std::fs::write(&path, &image.bytes).unwrap();
        let db = common::open(&Options::new(), &path);
        // Not committed: in debug builds that verifies what was not read, too.
        let mut w = db.begin_write()?;
        w.bulk_load(BYTES, shuffled(count).map(|i| (long(i * 2 + 1), &b"new"[..])))
    };
    // Merged with all, and put.
    for count in [1000, 20] {
        assert_eq!(load(&image, count).unwrap(), count);
        let pages = live.nodes.iter().filter(|(_, node)| node.table == table);
        for (page, node) in pages.filter(|(page, node)| node.level > 1 || *page % 97 == 0) {
            for at in [4, 5, 6, 7, 28, 30, 33, 40, 100, 300, 2000, 4000] {
                let mut crafted = image.clone();
                crafted.page_mut(*page)[at] ^= 0x81;
                crafted.seal_page(*page);
                let _ = load(&crafted, count);
            }
            if node.level == 0 {
                continue;
            }
            // All of its references become the one in the middle.
            let mut crafted = image.clone();
            let bytes = crafted.page_mut(*page);
            let (count_of, prefix) =
                (oracle::number(bytes, 6, 2) as usize, oracle::number(bytes, 30, 2) as usize);
            let shorts = 32 + prefix + 4 * count_of;
            for (start, len) in [(shorts, 8), (shorts + 8 * count_of, 9)] {
                let middle = bytes[start + len * (count_of / 2)..][..len].to_vec();
                (0..count_of).for_each(|i| bytes[start + len * i..][..len].copy_from_slice(&middle));
            }
            crafted.seal_page(*page);
            let loaded = load(&crafted, 1000);
            assert!(matches!(loaded, Err(Error::Corrupt { .. })), "page {page} of {root}: {loaded:?}");
        }
    }
}

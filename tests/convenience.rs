//! The short ways do what the long ones do.

mod common;

use common::TestDb;
use mapleaf::codec::Lazy;
use mapleaf::{Database, Error, MultiTable, Options, Prefix, Table};
use proptest::prelude::*;
use std::collections::BTreeMap;

const HITS: Table<str, u64> = Table::new("hits");
const PAIRS: Table<(String, String), u8> = Table::new("pairs");
type Triple = (Vec<u8>, u16, String);

const TRIPLES: Table<Triple, ()> = Table::new("triples");

#[test]
fn contains_and_is_empty_answer_alike_in_both_txns_and_for_tables_that_are_not_there() {
    let db = TestDb::new();
    let mut w = db.begin_write().unwrap();
    assert!(w.is_empty(HITS).unwrap() && !w.contains(HITS, "/").unwrap());
    w.put(HITS, "/", &1).unwrap();
    assert!(!w.is_empty(HITS).unwrap() && w.contains(HITS, "/").unwrap());
    assert!(db.begin_read().unwrap().is_empty(HITS).unwrap());
    w.commit().unwrap();
    let r = db.begin_read().unwrap();
    assert!(!r.is_empty(HITS).unwrap() && r.contains(HITS, "/").unwrap() && !r.contains(HITS, "").unwrap());
}

#[test]
fn update_sees_the_value_and_returns_what_it_put() {
    let mut db = TestDb::new();
    assert_eq!(db.write(|w| w.update(HITS, "/", |old| old.map_or(7, |old| old * 2))).unwrap(), 7);
    assert_eq!(db.write(|w| w.update(HITS, "/", |old| old.map_or(7, |old| old * 2))).unwrap(), 14);
    db.reopen();
    assert_eq!(db.begin_read().unwrap().get(HITS, "/").unwrap(), Some(14));
}

fn put_pairs(db: &Database, pairs: &BTreeMap<(String, String), u8>) {
    db.write(|w| pairs.iter().try_for_each(|(pair, value)| w.put(PAIRS, pair, value).map(|_| ()))).unwrap();
}

fn text() -> impl Strategy<Value = String> {
    "[\\x00\\x01ab\u{10ffff}]{0,3}"
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(0..3_u8, 0..3)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn a_prefix_of_a_tuple_holds_the_keys_with_just_these_first_elements(
        pairs in prop::collection::btree_map((text(), text()), any::<u8>(), 0..60),
        first in text(),
    ) {
        let db = TestDb::new();
        put_pairs(&db, &pairs);
        let r = db.begin_read().unwrap();
        let found: Vec<_> = r.range(PAIRS, Prefix((&first[..],))).unwrap()
            .map(|entry| entry.map(|((a, b), value)| ((a.into_owned(), b.into_owned()), value)).unwrap())
            .collect();
        let expected: Vec<_> = pairs.into_iter().filter(|((a, _), _)| *a == first).collect();
        prop_assert_eq!(r.count(PAIRS, Prefix((&first[..],))).unwrap(), expected.len() as u64);
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn prefixes_of_one_and_of_two_elements_agree_with_a_filter(
        triples in prop::collection::btree_set((bytes(), 0..3_u16, text()), 0..60),
        bytes in bytes(),
        number in 0..3_u16,
    ) {
        let db = TestDb::new();
        db.write(|w| triples.iter().try_for_each(|key| w.put(TRIPLES, key, &()).map(|_| ()))).unwrap();
        let r = db.begin_read().unwrap();
        let count = |is_under: &dyn Fn(&Triple) -> bool| {
            triples.iter().filter(|key| is_under(key)).count() as u64
        };
        let one = r.count(TRIPLES, Prefix((&bytes,))).unwrap();
        prop_assert_eq!(one, count(&|key| key.0 == bytes));
        let two = r.count(TRIPLES, Prefix((&bytes, number))).unwrap();
        prop_assert_eq!(two, count(&|key| key.0 == bytes && key.1 == number));
    }

    #[test]
    fn a_prefix_of_text_is_what_starts_with_it(
        words in prop::collection::btree_set(text(), 0..40),
        start in text(),
    ) {
        let db = TestDb::new();
        db.write(|w| words.iter().try_for_each(|word| w.put(HITS, word, &0).map(|_| ()))).unwrap();
        let expected = words.iter().filter(|word| word.starts_with(&start)).count() as u64;
        prop_assert_eq!(db.begin_read().unwrap().count(HITS, Prefix(&start[..])).unwrap(), expected);
    }
}

#[test]
fn a_lazy_table_is_the_same_table_and_decodes_what_is_asked_for() {
    const NOTES: Table<u64, (String, u8)> = Table::new("notes");
    const LAZY: Table<u64, Lazy<(String, u8)>> = Table::new("notes");
    let db = TestDb::new();
    let mut w = db.begin_write().unwrap();
    w.put(NOTES, &7, &("text", 1)).unwrap();
    assert_eq!(w.get(LAZY, &7).unwrap().unwrap().decode().unwrap(), ("text".into(), 1));
    w.put(NOTES, &8, &("more", 2)).unwrap();
    w.raw_put("notes", &9_u64.to_be_bytes(), b"broken").unwrap();
    w.commit().unwrap();
    let r = db.begin_read().unwrap();
    let lazy: Vec<_> = r.iter(LAZY).unwrap().map(|entry| entry.unwrap().1).collect();
    assert_eq!(lazy[1].decode().unwrap(), ("more".into(), 2));
    assert_eq!((lazy[2].bytes(), lazy.len()), (&b"broken"[..], 3));
    assert!(matches!(lazy[2].decode(), Err(Error::Decode { .. })));
    assert!(matches!(r.get(Table::<u64, Lazy<u64>>::new("notes"), &7), Err(Error::SchemaMismatch { .. })));
}

#[test]
fn a_cleared_table_stays_with_its_types_and_can_be_undone_filled_and_replayed() {
    let mut db = TestDb::new();
    let hits = |db: &Database| db.begin_read().unwrap().len(HITS).unwrap();
    let fill =
        |w: &mut mapleaf::WriteTxn| (0..500).try_for_each(|i| w.put(HITS, &format!("{i}"), &i).map(|_| ()));
    db.write(|w| fill(w)).unwrap();
    assert_eq!(db.write(|w| w.clear_table(PAIRS)).unwrap(), 0);

    let mut w = db.begin_write().unwrap();
    let before = w.savepoint();
    assert_eq!(w.clear_table(HITS).unwrap(), 500);
    assert!(w.is_empty(HITS).unwrap());
    w.rollback_to(before).unwrap();
    assert_eq!(w.len(HITS).unwrap(), 500);
    drop(w);

    let mut w = db.begin_write().unwrap();
    w.clear_table(HITS).unwrap();
    drop(w);
    assert_eq!(hits(&db), 500);

    let mut w = db.begin_write().unwrap();
    w.clear_table(HITS).unwrap();
    w.put(HITS, "/", &1).unwrap();
    w.commit().unwrap();
    assert_eq!((hits(&db), hits(&db.after_death())), (1, 1));
    assert!(db.begin_read().unwrap().get(Table::<str, str>::new("hits"), "/").is_err());
    assert_eq!(db.write(|w| w.clear_table(HITS)).unwrap(), 1);
    db.reopen();
    assert!(db.begin_read().unwrap().tables().unwrap().iter().any(|table| table.name == "hits"));
}

#[test]
fn a_copied_table_is_the_same_whatever_it_is_and_a_failed_copy_leaves_nothing() {
    const TAGS: MultiTable<str, u64> = MultiTable::new("tags");
    const BLOBS: Table<[u8], [u8]> = Table::new("");
    const EMPTY: Table<u64, u64> = Table::new("empty");
    let (from, to, small) = (
        TestDb::with(Options::new().page_size(16 << 10)),
        TestDb::with(Options::new().page_size(16 << 10)),
        TestDb::new(),
    );
    let mut w = from.begin_write().unwrap();
    for i in 0..300_u64 {
        w.put_value(TAGS, &format!("{}", i % 3), &i).unwrap();
        w.put(BLOBS, &vec![i as u8; i as usize * 20], &vec![7; i as usize * 100]).unwrap();
    }
    w.put(EMPTY, &1, &1).unwrap();
    w.delete(EMPTY, &1).unwrap();
    w.commit().unwrap();

    let r = from.begin_read().unwrap();
    let mut w = to.begin_write().unwrap();
    let copied: Vec<u64> =
        r.tables().unwrap().iter().map(|table| w.copy_table(&r, &table.name).unwrap()).collect();
    assert_eq!(copied, [300, 0, 300]);
    assert!(matches!(w.copy_table(&r, "tags"), Err(Error::TableExists { .. })));
    assert!(matches!(w.copy_table(&r, "none"), Err(Error::TableNotFound { .. })));
    w.commit().unwrap();
    let copy = to.begin_read().unwrap();
    assert_eq!(
        copy.iter(BLOBS).unwrap().map(Result::unwrap).collect::<Vec<_>>(),
        r.iter(BLOBS).unwrap().map(Result::unwrap).collect::<Vec<_>>()
    );
    assert_eq!(
        copy.multi(TAGS).unwrap().iter().map(Result::unwrap).collect::<Vec<_>>(),
        r.multi(TAGS).unwrap().iter().map(Result::unwrap).collect::<Vec<_>>()
    );
    assert_eq!(copy.len(EMPTY).unwrap(), 0);
    assert_eq!(copy.tables().unwrap().len(), 3);

    let mut w = small.begin_write().unwrap();
    assert!(matches!(w.copy_table(&r, ""), Err(Error::KeyTooLong { .. })));
    assert!(w.tables().unwrap().is_empty());
    assert_eq!(w.copy_table(&r, "tags").unwrap(), 300);
    w.commit().unwrap();
}

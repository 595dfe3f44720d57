//! Tables under another schema, and stores of older programs: all of it or nothing, once.

#![allow(missing_docs)]

mod common;

use common::TestDb;
use mapleaf::codec::{Codec, Key, Pod};
use mapleaf::zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};
use mapleaf::{
    Database, Durability, Error, Migration, MultiTable, NewEntries, Options, ReadTxn, Result, Table, WriteTxn,
};
use proptest::prelude::*;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};

// ---- the same entries in several forms ----

/// What a table holds, whatever its form.
type Map = BTreeMap<u64, String>;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, mapleaf::Key)]
#[mapleaf(name = "id")]
struct Id(u64);

trait Form {
    type K: Key + ?Sized;
    type V: Codec + ?Sized;

    fn read(key: <Self::K as Codec>::View<'_>, value: <Self::V as Codec>::View<'_>) -> (u64, String);
    fn write(new: &mut NewEntries<'_, Self::K, Self::V>, id: u64, text: &str) -> Result<()>;
    fn put(w: &mut WriteTxn, table: Table<Self::K, Self::V>, id: u64, text: &str) -> Result<()>;
}

macro_rules! form {
    ($Form:ident: $K:ty, $V:ty; |$key:ident, $value:ident| $read:expr; |$id:ident, $text:ident| $write:expr) => {
        struct $Form;

        impl Form for $Form {
            type K = $K;
            type V = $V;

            fn read($key: <$K as Codec>::View<'_>, $value: <$V as Codec>::View<'_>) -> (u64, String) {
                $read
            }

            fn write(new: &mut NewEntries<'_, $K, $V>, $id: u64, $text: &str) -> Result<()> {
                let (key, value) = $write;
                new.put(&key, &value)
            }

            fn put(w: &mut WriteTxn, table: Table<$K, $V>, $id: u64, $text: &str) -> Result<()> {
                let (key, value) = $write;
                w.put(table, &key, &value).map(drop)
            }
        }
    };
}

form!(Plain: u64, str; |key, value| (key, value.into()); |id, text| (id, text));
form!(Named: Id, [u8]; |key, value| (key.0, text_of(value)); |id, text| (Id(id), text.as_bytes()));
form!(Backwards: Reverse<u64>, (String, u8); |key, value| (key.0, value.0.into_owned()); |id, text| (Reverse(id), (text, 7)));
form!(ByText: (String, u64), (); |key, _value| (key.1, key.0.into_owned()); |id, text| ((text, id), ()));
form!(Long: [u8], [u16]; |key, value| (number(key), text_of(&narrow(value))); |id, text| (padded(id), wide(text)));

fn text_of(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A key of 200 bytes, so that trees get deep.
fn padded(id: u64) -> Vec<u8> {
    [&[b'k'; 192][..], &id.to_be_bytes()].concat()
}

fn number(key: &[u8]) -> u64 {
    u64::from_be_bytes(key[192..].try_into().unwrap())
}

fn wide(text: &str) -> Vec<u16> {
    text.bytes().map(u16::from).collect()
}

fn narrow(text: &[u16]) -> Vec<u8> {
    text.iter().map(|c| *c as u8).collect()
}

const FORMS: usize = 5;
const NAMES: [&str; 2] = ["one", "two"];

/// Runs the body with `$F` as the form of this number.
macro_rules! with_form {
    ($form:expr, $F:ident => $body:expr) => {
        match $form {
            0 => {
                type $F = Plain;
                $body
            }
            1 => {
                type $F = Named;
                $body
            }
            2 => {
                type $F = Backwards;
                $body
            }
            3 => {
                type $F = ByText;
                $body
            }
            _ => {
                type $F = Long;
                $body
            }
        }
    };
}

fn table<F: Form>(name: &'static str) -> Table<F::K, F::V> {
    Table::new(name)
}

/// Where the entries are, and what they are.
#[derive(Clone, Debug, Default, PartialEq)]
struct State {
    form: usize,
    name: usize,
    map: Map,
    is_there: bool,
}

fn convert<A: Form, B: Form>(
    w: &mut WriteTxn,
    from: usize,
    to: usize,
    mut put: impl FnMut(u64, &str, &mut NewEntries<'_, B::K, B::V>) -> Result<()>,
) -> Result<u64> {
    w.convert_table(table::<A>(NAMES[from]), table::<B>(NAMES[to]), |key, value, new| {
        let (id, text) = A::read(key, value);
        put(id, &text, new)
    })
}

#[derive(Clone, Debug)]
enum Op {
    Put {
        start: u64,
        count: u64,
        len: usize,
    },
    /// Keeps one in so many, and gives each another beside it.
    Convert {
        form: usize,
        name: usize,
        keep: u64,
        twins: bool,
    },
    /// Fails at this entry.
    Fail {
        form: usize,
        name: usize,
        at: usize,
    },
    Collide {
        form: usize,
    },
    Savepoint,
    Rollback,
    Commit(bool),
    Abort,
    Reopen,
    Death,
}

fn op() -> impl Strategy<Value = Op> {
    let (form, name) = (0..FORMS, 0..NAMES.len());
    prop_oneof![
        3 => (0..200u64, 1..150u64, prop_oneof![0..700usize, 2000..9000usize]).prop_map(|(start, count, len)| Op::Put { start, count, len }),
        4 => (form.clone(), name.clone(), 1..4u64, any::<bool>())
            .prop_map(|(form, name, keep, twins)| Op::Convert { form, name, keep, twins }),
        1 => (form.clone(), name, 0..100usize).prop_map(|(form, name, at)| Op::Fail { form, name, at }),
        1 => form.prop_map(|form| Op::Collide { form }),
        1 => Just(Op::Savepoint),
        1 => Just(Op::Rollback),
        2 => any::<bool>().prop_map(Op::Commit),
        1 => Just(Op::Abort),
        1 => Just(Op::Reopen),
        1 => Just(Op::Death),
    ]
}

fn apply(w: &mut WriteTxn, state: &mut State, op: &Op) {
    match *op {
        Op::Put { start, count, len } => {
            for id in start..start + count {
                let text = format!("{id}\0").repeat(len / 4 + 1);
                with_form!(state.form, F => {
                    // Where the text is part of the key, it must fit, and an old one must go.
                    let text = if state.form == 3 { &text[..text.len().min(100)] } else { &text[..] };
                    if state.form == 3 && let Some(old) = state.map.get(&id) {
                        w.delete(Table::<(String, u64), ()>::new(NAMES[state.name]), &(old, id)).unwrap();
                    }
                    F::put(w, table::<F>(NAMES[state.name]), id, text).unwrap();
                    state.map.insert(id, text.into());
                });
            }
            state.is_there = true;
        }
        Op::Convert { form, name, keep, twins } => {
            let mut map = Map::new();
            let result = with_form!(state.form, A => with_form!(form, B => {
                convert::<A, B>(w, state.name, name, |id, text, new| {
                    if !id.is_multiple_of(keep) {
                        return Ok(());
                    }
                    let text: String = text.chars().take(if form == 3 { 100 } else { usize::MAX }).collect();
                    B::write(new, id, &text)?;
                    if twins {
                        B::write(new, id + (1 << 32), "twin")?;
                        map.insert(id + (1 << 32), "twin".into());
                    }
                    map.insert(id, text);
                    Ok(())
                })
            }));
            let is_kept = |id: u64| id.is_multiple_of(keep) && state.map.contains_key(&id);
            let collides = twins && state.map.keys().any(|id| is_kept(*id) && is_kept(id + (1 << 32)));
            match result {
                Ok(count) if state.is_there => {
                    assert!(!collides);
                    assert_eq!(count, map.len() as u64);
                    *state = State { form, name, map, is_there: true };
                }
                Ok(count) => assert_eq!(count, 0),
                Err(Error::InvalidArgument { .. }) if collides => {}
                Err(error) => panic!("{error}"),
            }
        }
        Op::Fail { form, name, at } => {
            let mut seen = 0;
            let result = with_form!(state.form, A => with_form!(form, B => {
                convert::<A, B>(w, state.name, name, |id, text, new| {
                    seen += 1;
                    if seen > at {
                        return Err(Error::other("enough"));
                    }
                    B::write(new, id, &text.chars().take(100).collect::<String>())
                })
            }));
            if at < state.map.len() {
                assert_eq!(result.unwrap_err().to_string(), "enough");
            } else if state.is_there {
                result.unwrap();
                let cut = |(id, text): (&u64, &String)| (*id, text.chars().take(100).collect());
                let map = state.map.iter().map(cut).collect();
                *state = State { form, name, map, is_there: true };
            }
        }
        Op::Collide { form } => {
            let result = with_form!(state.form, A => with_form!(form, B => {
                convert::<A, B>(w, state.name, state.name, |_, _, new| B::write(new, 7, "same"))
            }));
            match state.map.len() {
                0 => {
                    result.unwrap();
                    state.form = if state.is_there { form } else { state.form };
                }
                1 => {
                    result.unwrap();
                    (state.form, state.map) = (form, Map::from([(7, "same".into())]));
                }
                _ => assert!(matches!(result, Err(Error::InvalidArgument { .. }))),
            }
        }
        _ => unreachable!("not within a txn"),
    }
}

macro_rules! assert_holds {
    ($txn:expr, $state:expr) => {{
        let (txn, state): (_, &State) = (&$txn, $state);
        let found: Map = with_form!(state.form, F => {
            let entries = txn.iter(table::<F>(NAMES[state.name])).unwrap();
            entries.map(|entry| entry.map(|(key, value)| F::read(key, value)).unwrap()).collect()
        });
        assert!(found == state.map, "{} entries found, {} expected", found.len(), state.map.len());
        let names: Vec<String> = txn.tables().unwrap().into_iter().map(|table| table.name).collect();
        let expected = if state.is_there { vec![NAMES[state.name]] } else { vec![] };
        assert_eq!(names, expected, "no other table is left behind");
    }};
}

fn run(ops: &[Op], page_size: usize, dirty_limit: usize) {
    let mut db = TestDb::with(Options::new().page_size(page_size).dirty_limit(dirty_limit));
    let mut committed = State::default();
    let mut ops = ops.iter().peekable();
    while ops.peek().is_some() {
        let mut w = db.begin_write().unwrap();
        let (mut state, mut saved) = (committed.clone(), Vec::new());
        let mut after = None;
        for op in ops.by_ref() {
            match op {
                Op::Savepoint => saved.push((w.savepoint(), state.clone())),
                Op::Rollback => {
                    let Some((savepoint, then)) = saved.pop() else { continue };
                    w.rollback_to(savepoint).unwrap();
                    state = then;
                }
                Op::Commit(_) | Op::Abort | Op::Reopen | Op::Death => {
                    after = Some(op);
                    break;
                }
                op => apply(&mut w, &mut state, op),
            }
            assert_holds!(w, &state);
        }
        match after {
            Some(Op::Commit(durable)) => {
                w.set_durability(if *durable { Durability::Durable } else { Durability::Eventual });
                w.commit().unwrap();
                committed = state;
            }
            Some(Op::Reopen) => {
                w.commit().unwrap();
                committed = state;
                db.reopen();
            }
            Some(Op::Death) => {
                w.commit().unwrap();
                committed = state;
                let dead = db.after_death();
                assert_holds!(dead.begin_read().unwrap(), &committed);
            }
            _ => w.abort(),
        }
        assert_holds!(db.begin_read().unwrap(), &committed);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn converted_tables_hold_what_the_model_holds(
        ops in prop::collection::vec(op(), 1..25),
        page_size in prop::sample::select(vec![4096, 16384]),
        dirty_limit in prop::sample::select(vec![1 << 20, 64 << 20]),
    ) {
        run(&ops, page_size, dirty_limit);
    }
}

const OLD: Table<u64, str> = Table::new("users");
const NEW: Table<(String, u64), [u8]> = Table::new("users");

#[test]
fn table_larger_than_what_is_kept_in_memory_is_converted() {
    let db = TestDb::with(Options::new().dirty_limit(1 << 20));
    db.write(|w| (0..40_000).try_for_each(|id| w.put(OLD, &id, &"x".repeat(300)).map(drop))).unwrap();
    let count = db.write(|w| {
        w.convert_table(OLD, NEW, |id, text, new| {
            new.put(&(format!("{:05}", id.wrapping_mul(7919) % 65_536), id), text.as_bytes())
        })
    });
    assert_eq!(count.unwrap(), 40_000);
    let r = db.begin_read().unwrap();
    assert_eq!(r.len(NEW).unwrap(), 40_000);
    assert_eq!(r.get(NEW, &("07919", 1)).unwrap(), Some(&[b'x'; 300][..]));
}

#[test]
fn a_conversion_that_cannot_be_leaves_the_table_as_it_was() {
    const OTHER: Table<u64, u64> = Table::new("other");
    let db = TestDb::new();
    db.write(|w| {
        w.put(OTHER, &1, &1)?;
        (0..5).try_for_each(|id| w.put(OLD, &id, "x").map(drop))
    })
    .unwrap();
    let mut w = db.begin_write().unwrap();
    let error = w.convert_table(OLD, OTHER, |_, _, _| Ok(())).unwrap_err();
    assert!(matches!(error, Error::TableExists { table } if table == "other"));
    let error = w.convert_table(OLD, NEW, |_, _, new| new.put(&("a", 7), b"")).unwrap_err();
    assert_eq!(
        error.to_string(),
        r#"two entries get the same new key b"a\x00\x00\x00\x00\x00\x00\x00\x00\x00\x07"; make keys that differ, or leave one out"#
    );
    for error in [
        w.convert_table(OLD, NEW, |id, _, new| new.put(&("a", 7 - id % 2), b"")).unwrap_err(),
        w.convert_table(OLD, NEW, |id, _, new| new.put(&("a", [9, 5, 7, 5, 6][id as usize]), b""))
            .unwrap_err(),
    ] {
        assert!(error.to_string().starts_with("two entries get the same new key b"), "{error}");
    }
    let long = "x".repeat(5000);
    let error = w.convert_table(OLD, NEW, |id, _, new| new.put(&(&long, id), b"")).unwrap_err();
    assert!(matches!(error, Error::KeyTooLong { .. }));
    let error = w.convert_table(NEW, OLD, |_, _, _| Ok(())).unwrap_err();
    assert!(matches!(error, Error::SchemaMismatch { .. }));
    assert_eq!((w.len(OLD).unwrap(), w.tables().unwrap().len()), (5, 2));
    w.create_table("\0converted", &mapleaf::Schema::bytes()).unwrap();
    assert!(matches!(w.convert_table(OLD, NEW, |_, _, _| Ok(())), Err(Error::TableExists { .. })));
    assert!(w.drop_table("\0converted").unwrap());
    w.commit().unwrap();
    assert_eq!(db.begin_read().unwrap().len(OLD).unwrap(), 5);
}

// ---- the same bytes under other types ----

#[test]
fn a_conversion_that_panics_leaves_nothing_half_made_to_be_committed() {
    const OLD: Table<u64, str> = Table::new("texts");
    const NEW: Table<u64, u64> = Table::new("texts");
    let db = TestDb::new();
    db.write(|w| w.put(OLD, &7, "seven")).unwrap();
    let convert = |w: &mut WriteTxn| {
        catch_unwind(AssertUnwindSafe(|| w.convert_table(OLD, NEW, |_, _, _| panic!("no idea what to do"))))
    };
    let mut w = db.begin_write().unwrap();
    assert!(convert(&mut w).is_err());
    assert!(matches!(w.put(OLD, &8, "eight"), Err(Error::Poisoned)));
    assert!(matches!(w.commit(), Err(Error::Poisoned)));
    // Within a nested txn that is all that is undone.
    let mut w = db.begin_write().unwrap();
    let mut n = w.begin_nested().unwrap();
    assert!(convert(&mut n).is_err());
    drop(n);
    w.put(OLD, &8, "eight").unwrap();
    w.commit().unwrap();
    let r = db.begin_read().unwrap();
    assert_eq!(r.tables().unwrap().len(), 1);
    assert_eq!(r.iter(OLD).unwrap().collect::<Result<Vec<_>>>().unwrap(), [(7, "seven"), (8, "eight")]);
}

#[test]
fn table_of_bytes_gets_types_if_all_of_it_is_of_them() {
    const BYTES: Table<[u8], [u8]> = Table::new("t");
    const WORDS: Table<str, u16> = Table::new("t");
    const ALIGNED: Table<str, [u64]> = Table::new("t");
    let mut db = TestDb::new();
    db.write(|w| w.put(BYTES, b"a", b"\0\x07").and_then(|_| w.put(BYTES, b"\xff", b"\0\x07"))).unwrap();
    let mut w = db.begin_write().unwrap();
    let error = w.retype_table(BYTES, WORDS).unwrap_err();
    assert!(error.to_string().starts_with("key: str: expected UTF-8"), "{error}");
    assert_eq!(w.len(BYTES).unwrap(), 2);
    w.delete(BYTES, b"\xff").unwrap();
    assert_eq!(w.retype_table(BYTES, WORDS).unwrap(), 1);
    assert_eq!(w.get(WORDS, "a").unwrap(), Some(7));
    w.commit().unwrap();
    let dead = db.after_death();
    assert_eq!(dead.begin_read().unwrap().get(WORDS, "a").unwrap(), Some(7));
    db.reopen();
    assert_eq!(db.begin_read().unwrap().get(WORDS, "a").unwrap(), Some(7));

    // Aligned values lie elsewhere in their pages.
    assert!(matches!(db.write(|w| w.retype_table(WORDS, ALIGNED)), Err(Error::Decode { .. })));
    db.write(|w| {
        w.retype_table(WORDS, BYTES)?;
        w.put(BYTES, b"a", &[1; 16])?;
        w.put(BYTES, b"b", &[])?;
        w.retype_table(BYTES, ALIGNED)
    })
    .unwrap();
    let r = db.begin_read().unwrap();
    assert_eq!(r.get(ALIGNED, "a").unwrap(), Some(&[u64::from_ne_bytes([1; 8]); 2][..]));
    assert_eq!(r.get(ALIGNED, "b").unwrap(), Some(&[][..]));
}

#[test]
fn table_gets_types_of_fixed_width() {
    const BYTES: Table<[u8], [u8]> = Table::new("t");
    const NUMBERS: Table<u32, Pod<[u8; 2]>> = Table::new("t");
    let mut db = TestDb::new();
    db.write(|w| (0..5000u32).try_for_each(|i| w.put(BYTES, &i.to_be_bytes(), b"ab").map(drop))).unwrap();
    db.write(|w| w.put(BYTES, b"12345", b"ab")).unwrap();
    assert!(matches!(db.write(|w| w.retype_table(BYTES, NUMBERS)), Err(Error::WrongWidth { .. })));
    db.write(|w| {
        w.delete(BYTES, b"12345")?;
        w.retype_table(BYTES, NUMBERS)
    })
    .unwrap();
    db.reopen();
    let r = db.begin_read().unwrap();
    assert_eq!(r.len(NUMBERS).unwrap(), 5000);
    assert_eq!(r.get(NUMBERS, &4999).unwrap(), Some(b"ab"));
    assert!(matches!(
        db.write(|w| w.retype_table(NUMBERS, Table::<u32, Pod<[u8; 2]>>::new("u"))),
        Err(Error::InvalidArgument { .. })
    ));
}

#[test]
fn types_given_in_the_txn_that_filled_the_table_are_kept() {
    const BYTES: Table<[u8], [u8]> = Table::new("t");
    const WORDS: Table<str, str> = Table::new("t");
    for durability in [Durability::Durable, Durability::Eventual] {
        let mut db = TestDb::new();
        let mut w = db.begin_write().unwrap();
        w.set_durability(durability);
        w.put(BYTES, b"a", b"b").unwrap();
        let savepoint = w.savepoint();
        w.retype_table(BYTES, WORDS).unwrap();
        w.rollback_to(savepoint).unwrap();
        assert_eq!(w.get(BYTES, b"a").unwrap(), Some(&b"b"[..]));
        w.retype_table(BYTES, WORDS).unwrap();
        w.put(WORDS, "c", "d").unwrap();
        w.commit().unwrap();
        db.reopen();
        assert_eq!(db.begin_read().unwrap().get(WORDS, "c").unwrap(), Some("d"));
    }
}

// ---- stores of older programs ----

const FIRST: Table<u64, str> = Table::new("people");
const SECOND: Table<Id, (String, u16)> = Table::new("people");
const LOG: Table<u64, str> = Table::new("log");

const STEPS: &[Migration] = &[
    |w| w.put(LOG, &1, "made").map(drop),
    |w| w.convert_table(FIRST, SECOND, |id, name, new| new.put(&Id(id), &(name, 0))).map(drop),
    |w| w.put(LOG, &3, "done").map(drop),
];

fn log_of(r: &ReadTxn) -> Vec<u64> {
    r.iter(LOG).unwrap().map(|entry| entry.unwrap().0).collect()
}

#[test]
fn a_new_store_gets_all_steps_and_an_old_one_those_that_it_lacks() {
    let db = TestDb::new();
    assert_eq!(db.migrate(&[]).unwrap(), 0);
    assert_eq!(db.migrate(&STEPS[..1]).unwrap(), 0);
    db.write(|w| w.put(FIRST, &7, "ann")).unwrap();
    assert_eq!(log_of(&db.begin_read().unwrap()), [1]);
    assert_eq!(db.migrate(STEPS).unwrap(), 1);
    let before = db.begin_read().unwrap().txn_id();
    assert_eq!(db.migrate(STEPS).unwrap(), 3);
    let r = db.begin_read().unwrap();
    assert_eq!((r.txn_id(), r.user_version()), (before, 3));
    assert_eq!(log_of(&r), [1, 3]);
    assert_eq!(r.get(SECOND, &Id(7)).unwrap(), Some(("ann".into(), 0)));
}

#[test]
fn store_of_a_newer_program_is_refused() {
    let db = TestDb::new();
    db.migrate(STEPS).unwrap();
    let error = db.migrate(&STEPS[..1]).unwrap_err();
    assert!(matches!(error, Error::NewerVersion { stored: 3, known: 1 }));
    assert_eq!(
        error.to_string(),
        "the store has user version 3, and this program knows of 1 migration steps: a newer program has migrated it; use \
         that one, or a copy of the store from before"
    );
    let mut w = db.begin_write().unwrap();
    assert!(matches!(w.migrate(&[]), Err(Error::NewerVersion { .. })));
}

#[test]
fn a_step_that_fails_undoes_those_before_it() {
    const FAILING: &[Migration] = &[|w| w.put(LOG, &1, "made").map(drop), |_| Err(Error::other("no"))];
    let db = TestDb::new();
    assert_eq!(db.migrate(FAILING).unwrap_err().to_string(), "no");
    let r = db.begin_read().unwrap();
    assert_eq!((r.user_version(), r.tables().unwrap().len()), (0, 0));
    db.migrate(&FAILING[..1]).unwrap();
    assert_eq!(log_of(&db.begin_read().unwrap()), [1]);
}

#[test]
fn death_before_the_commit_leaves_the_old_store() {
    let db = TestDb::new();
    db.write(|w| w.put(FIRST, &7, "ann")).unwrap();
    let mut w = db.begin_write().unwrap();
    w.migrate(STEPS).unwrap();
    let dead = db.after_death();
    assert_eq!(dead.begin_read().unwrap().get(FIRST, &7).unwrap(), Some("ann"));
    w.commit().unwrap();
    let dead = db.after_death();
    assert_eq!(dead.begin_read().unwrap().get(SECOND, &Id(7)).unwrap(), Some(("ann".into(), 0)));
    assert_eq!(dead.migrate(STEPS).unwrap(), 3);
}

#[test]
fn of_many_that_migrate_at_once_one_does() {
    static RUNS: AtomicUsize = AtomicUsize::new(0);
    const COUNTED: &[Migration] = &[|w| {
        RUNS.fetch_add(1, Ordering::SeqCst);
        w.put(LOG, &1, "made").map(drop)
    }];
    let db = TestDb::new();
    let path = db.path();
    let handles: Vec<Database> = (0..4).map(|_| common::open(&Options::new(), &path)).collect();
    std::thread::scope(|threads| {
        for handle in handles.iter().chain([&*db]) {
            threads.spawn(|| handle.migrate(COUNTED).unwrap());
        }
    });
    assert_eq!(RUNS.load(Ordering::SeqCst), 1);
}

#[test]
fn read_only_store_that_is_up_to_date_needs_no_turn_to_write() {
    let db = TestDb::new();
    db.migrate(STEPS).unwrap();
    let reading = common::open(&Options::new().read_only(true), &db.path());
    assert_eq!(reading.migrate(STEPS).unwrap(), 3);
    const MORE: &[Migration] = &[STEPS[0], STEPS[1], STEPS[2], |_| Ok(())];
    assert!(matches!(reading.migrate(MORE), Err(Error::ReadOnly)));
}

// ---- what a mismatch says ----

#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C, align(8))]
struct Eight([u8; 8]);

fn mismatch<K1: Key + ?Sized, V1: Codec + ?Sized, K2: Key + ?Sized, V2: Codec + ?Sized>() -> String {
    let (old, new): (Table<K1, V1>, Table<K2, V2>) = (Table::new("t"), Table::new("t"));
    let db = TestDb::new();
    let mut schema = mapleaf::Schema::bytes();
    schema.key_type = K1::type_name().into();
    schema.value_type = V1::type_name().into();
    (schema.key_width, schema.value_width, schema.value_align) = (K1::WIDTH, V1::WIDTH, V1::ALIGN);
    db.write(|w| w.create_table("t", &schema)).unwrap();
    db.begin_read().unwrap().table(old).unwrap();
    let read = db.begin_read().unwrap().table(new).unwrap_err().to_string();
    let write = db.begin_write().unwrap().table(new).unwrap_err().to_string();
    assert_eq!(read, write);
    read
}

#[test]
fn mismatch_says_both_sides_and_what_differs_and_what_to_do() {
    let what_to_do = "; open it with the stored types, or rewrite it (WriteTxn::convert_table, or retype_table where \
                      the bytes are the same)";
    assert_eq!(
        mismatch::<u64, str, u64, (String, u16)>(),
        format!(
            "table \"t\" is stored as u64 -> str, and was opened as u64 -> (str,u16): the values differ{what_to_do}"
        )
    );
    assert_eq!(
        mismatch::<u64, str, str, str>(),
        format!(
            "table \"t\" is stored as u64 -> str, and was opened as str -> str: the keys differ{what_to_do}"
        )
    );
    assert_eq!(
        mismatch::<u64, str, str, u64>(),
        format!(
            "table \"t\" is stored as u64 -> str, and was opened as str -> u64: keys and values differ{what_to_do}"
        )
    );
    assert_eq!(
        mismatch::<u64, Pod<[u8; 8]>, u64, Pod<Eight>>(),
        format!(
            "table \"t\" is stored as u64 -> pod(8,1), and was opened as u64 -> pod(8,8) aligned to 8: the values differ\
             {what_to_do}"
        )
    );
}

#[test]
fn mismatch_of_a_table_and_a_multimap_says_so() {
    const SINGLE: Table<u64, str> = Table::new("t");
    const MANY: MultiTable<u64, str> = MultiTable::new("t");
    let db = TestDb::new();
    let mut w = db.begin_write().unwrap();
    w.put(SINGLE, &7, "a").unwrap();
    for error in [w.put_value(MANY, &7, "a").unwrap_err(), w.multi(MANY).unwrap_err()] {
        assert!(
            error.to_string().starts_with(
                "table \"t\" is stored as u64 -> str, and was opened as u64 -> many str: one of them is a multimap, \
                 with many values to a key; open it"
            ),
            "{error}"
        );
    }
    assert!(w.drop_table("t").unwrap());
    w.put_value(MANY, &7, "a").unwrap();
    for error in [
        w.get(SINGLE, &7).unwrap_err(),
        w.convert_table(SINGLE, Table::<str, str>::new("u"), |_, _, _| Ok(())).unwrap_err(),
        w.retype_table(SINGLE, SINGLE).unwrap_err(),
    ] {
        assert!(error.to_string().contains("one of them is a multimap"), "{error}");
    }
}

/// Named alike, and of another width and alignment.
struct Own<const WIDTH: usize, const ALIGN: usize>;

impl<const WIDTH: usize, const ALIGN: usize> Codec for Own<WIDTH, ALIGN> {
    type View<'a> = &'a [u8];

    const WIDTH: Option<usize> = Some(WIDTH);

    const ALIGN: usize = ALIGN;

    fn type_name() -> std::borrow::Cow<'static, str> {
        "own".into()
    }

    fn decode(bytes: &[u8]) -> std::result::Result<&[u8], mapleaf::codec::DecodeError> {
        Ok(bytes)
    }
}

#[test]
fn mismatch_says_widths_and_alignment_where_the_names_are_the_same() {
    let error = mismatch::<u64, Own<8, 1>, u64, Own<16, 1>>();
    assert!(
        error.starts_with(
            "table \"t\" is stored as u64 -> own (keys of 8 bytes, values of 8), and was opened as u64 -> own (keys \
             of 8 bytes, values of 16): the widths differ, and the names of the types do not; open it"
        ),
        "{error}"
    );
    let error = mismatch::<u64, Own<8, 1>, u64, Own<8, 8>>();
    assert!(
        error.starts_with(
            "table \"t\" is stored as u64 -> own, and was opened as u64 -> own aligned to 8: the alignment of the \
             values differs; open it"
        ),
        "{error}"
    );
}

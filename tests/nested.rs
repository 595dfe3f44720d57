//! Nested txns and savepoints against a stack of plain maps: whatever is done inside, an end by commit leaves what was
//! done, any other end leaves what was there; also while pages are written early, fail to be, or change their table.

mod common;

use common::{Contents, TestDb, contents};
use mapleaf::{
    Durability, Error, Observer, Op as DiskOp, Options, Savepoint, Schema, Table, Verdict, WriteTxn,
};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

const NUMBERS: Table<u64, [u8]> = Table::new("numbers");
const WORDS: Table<str, u64> = Table::new("words");

#[derive(Clone, Copy, Debug)]
enum End {
    Commit,
    Drop,
    Panic,
}

#[derive(Clone, Debug)]
enum Op {
    Put(u8, u16, usize),
    PutMany(u8, u16, u16, usize),
    Delete(u8, u16),
    DeleteMany(u8, u16, u16),
    DeleteRange(u8, u16, u16),
    UserVersion(u64),
    Create(u8),
    Drop(u8),
    Rename(u8, u8),
    Savepoint,
    Rollback(u8),
    Release(u8),
    /// To a savepoint of an outer txn, or of one that has ended.
    RollbackElsewhere(u8),
    Begin,
    End(End),
    /// The next write fails.
    Fail,
    Check,
    Death,
}

fn op() -> impl Strategy<Value = Op> {
    let len =
        || prop_oneof![12 => 0usize..200, 5 => 200usize..3000, 2 => 3000usize..20_000, 1 => Just(1 << 20)];
    let t = any::<u8>;
    let end = prop_oneof![5 => Just(End::Commit), 3 => Just(End::Drop), 1 => Just(End::Panic)];
    prop_oneof![
        8 => (t(), any::<u16>(), len()).prop_map(|(t, k, l)| Op::Put(t, k, l)),
        6 => (t(), any::<u16>(), 20u16..400, 0usize..2500).prop_map(|(t, k, n, l)| Op::PutMany(t, k, n, l)),
        4 => (t(), any::<u16>()).prop_map(|(t, k)| Op::Delete(t, k)),
        4 => (t(), any::<u16>(), 1u16..1500).prop_map(|(t, k, n)| Op::DeleteMany(t, k, n)),
        3 => (t(), any::<u16>(), 1u16..1500).prop_map(|(t, k, n)| Op::DeleteRange(t, k, n)),
        1 => any::<u64>().prop_map(Op::UserVersion),
        2 => t().prop_map(Op::Create),
        1 => t().prop_map(Op::Drop),
        2 => (t(), t()).prop_map(|(a, b)| Op::Rename(a, b)),
        3 => Just(Op::Savepoint),
        3 => t().prop_map(Op::Rollback),
        2 => t().prop_map(Op::Release),
        2 => t().prop_map(Op::RollbackElsewhere),
        7 => Just(Op::Begin),
        7 => end.prop_map(Op::End),
        1 => Just(Op::Fail),
        3 => Just(Op::Check),
        1 => Just(Op::Death),
    ]
}

#[derive(Default)]
struct FailOnce(AtomicBool);

impl Observer for FailOnce {
    fn before(&self, op: &DiskOp<'_>) -> Verdict {
        match op {
            DiskOp::Write { .. } if self.0.swap(false, SeqCst) => {
                Verdict::Fail(std::io::Error::from_raw_os_error(libc::EIO))
            }
            _ => Verdict::Proceed,
        }
    }
}

/// The operations that are left, and what all levels share.
struct Run<'o> {
    ops: std::slice::Iter<'o, Op>,
    failing: &'o FailOnce,
    /// Savepoints of all levels, also of those that have ended.
    made: Vec<Savepoint>,
    depth: usize,
}

fn found_in(w: &WriteTxn) -> Contents {
    let entries = |name: &str| {
        let view = w.raw_table(name).unwrap().expect("it is listed");
        view.iter().map(|entry| entry.map(|(key, value)| (key.to_vec(), value.to_vec())).unwrap()).collect()
    };
    let tables = w.tables().unwrap().into_iter();
    (tables.map(|info| (info.name.clone(), entries(&info.name))).collect(), w.user_version())
}

/// Few enough that most changes replace something.
fn key_of(number: u16) -> Vec<u8> {
    let number = number % 3000;
    let mut key = number.to_be_bytes().to_vec();
    key.resize(2 + usize::from(number) % 90, number as u8);
    key
}

impl Run<'_> {
    /// One level: until its end is asked for, or an error leaves no other. Returns what that was.
    fn level(&mut self, w: &mut WriteTxn, model: &mut Contents) -> End {
        let mut saved: Vec<(Savepoint, Contents)> = Vec::new();
        while let Some(op) = self.ops.next() {
            match op {
                Op::Begin => self.nested(w, model),
                Op::End(end) => return *end,
                Op::Check => assert!(found_in(w) == *model),
                Op::Savepoint => {
                    saved.push((w.savepoint(), model.clone()));
                    self.made.push(saved.last().unwrap().0);
                }
                Op::Rollback(which) if !saved.is_empty() => {
                    saved.truncate(usize::from(*which) % saved.len() + 1);
                    let (savepoint, then) = saved.last().unwrap();
                    w.rollback_to(*savepoint).unwrap();
                    *model = then.clone();
                    assert!(found_in(w) == *model);
                }
                Op::Release(which) if !saved.is_empty() => {
                    let at = usize::from(*which) % saved.len();
                    self.failing.0.store(false, SeqCst);
                    w.release(saved[at].0).unwrap();
                    assert!(matches!(w.release(saved[at].0), Err(Error::UnknownSavepoint)));
                    saved.truncate(at);
                }
                Op::RollbackElsewhere(which) => {
                    let others: Vec<_> =
                        self.made.iter().filter(|made| saved.iter().all(|(own, _)| own != *made)).collect();
                    if let Some(other) = others.get(usize::from(*which) % others.len().max(1)) {
                        let refused = w.rollback_to(**other).unwrap_err();
                        assert!(matches!(refused, Error::UnknownSavepoint | Error::InvalidArgument { .. }));
                        assert!(w.release(**other).is_err());
                    }
                }
                Op::Fail => self.failing.0.store(true, SeqCst),
                other => match change(w, model, other) {
                    Ok(()) => {}
                    Err(Error::Io { .. }) => {
                        assert!(matches!(w.delete(WORDS, "any"), Ok(false) | Err(Error::Poisoned)));
                        assert!(matches!(
                            w.raw_put("a", b"a", b"a"),
                            Err(Error::Poisoned | Error::TableNotFound { .. })
                        ));
                        let Some((savepoint, then)) = saved.last() else { return End::Drop };
                        w.rollback_to(*savepoint).unwrap();
                        *model = then.clone();
                        assert!(found_in(w) == *model, "the savepoint is whole after an error");
                    }
                    Err(error) => panic!("{op:?}: {error}"),
                },
            }
        }
        End::Commit
    }

    fn nested(&mut self, w: &mut WriteTxn, model: &mut Contents) {
        self.depth += 1;
        let before = self.made.len();
        let mut inside = model.clone();
        let mut nested = w.begin_nested().unwrap();
        let end = self.level(&mut nested, &mut inside);
        match end {
            End::Commit => {
                self.failing.0.store(false, SeqCst);
                nested.commit().unwrap();
                *model = inside;
            }
            End::Drop => drop(nested),
            End::Panic => {
                let panic = catch_unwind(AssertUnwindSafe(move || {
                    let _nested = nested;
                    std::panic::resume_unwind(Box::new("on purpose"));
                }));
                assert!(panic.is_err());
            }
        }
        for savepoint in &self.made[before..] {
            assert!(matches!(w.rollback_to(*savepoint), Err(Error::UnknownSavepoint)));
        }
        self.depth -= 1;
        if !matches!(end, End::Commit) {
            assert!(found_in(w) == *model, "what was undone is undone");
        }
    }
}

const NAMES: [&str; 4] = ["", "a", "b", "a long name of a table"];

/// One change on both sides; where it fails the model may be wrong.
fn change(w: &mut WriteTxn, model: &mut Contents, op: &Op) -> mapleaf::Result<()> {
    let (tables, user_version) = model;
    let table = |t: u8, tables: &std::collections::BTreeMap<String, _>| {
        tables.keys().nth(usize::from(t) % tables.len().max(1)).cloned()
    };
    match *op {
        Op::Put(t, number, len) => change(w, model, &Op::PutMany(t, number, 1, len))?,
        Op::PutMany(t, start, count, len) => {
            let Some(name) = table(t, tables) else { return Ok(()) };
            for i in 0..count {
                let number = start.wrapping_add(i.wrapping_mul(7));
                let (key, value) = (key_of(number), vec![i as u8; (len + usize::from(i) * 13) % (len + 1)]);
                let is_new = !tables[&name].contains_key(&key);
                assert_eq!(w.raw_put(&name, &key, &value)?, !is_new);
                tables.get_mut(&name).unwrap().insert(key, value);
            }
        }
        Op::Delete(t, number) => change(w, model, &Op::DeleteMany(t, number, 1))?,
        Op::DeleteMany(t, start, count) => {
            let Some(name) = table(t, tables) else { return Ok(()) };
            for i in 0..count {
                let key = key_of(start.wrapping_add(i));
                assert_eq!(w.raw_delete(&name, &key)?, tables.get_mut(&name).unwrap().remove(&key).is_some());
            }
        }
        Op::DeleteRange(t, start, count) => {
            let Some(name) = table(t, tables) else { return Ok(()) };
            let (low, high) = (key_of(start), key_of(start.saturating_add(count)));
            let entries = tables.get_mut(&name).unwrap();
            let gone: Vec<_> = entries.keys().filter(|key| **key >= low && **key < high).cloned().collect();
            assert_eq!(
                w.raw_delete_range(&name, (Bound::Included(&low[..]), Bound::Excluded(&high[..])))?,
                gone.len() as u64
            );
            gone.iter().for_each(|key| drop(entries.remove(key)));
        }
        Op::UserVersion(version) => {
            w.set_user_version(version);
            *user_version = version;
        }
        Op::Create(t) => {
            let name = NAMES[usize::from(t) % NAMES.len()];
            if !tables.contains_key(name) {
                w.create_table(name, &Schema::bytes())?;
                tables.insert(name.to_owned(), Default::default());
            }
        }
        Op::Drop(t) => {
            let Some(name) = table(t, tables) else { return Ok(()) };
            assert!(w.drop_table(&name)?);
            tables.remove(&name);
        }
        Op::Rename(t, to) => {
            let (Some(name), to) = (table(t, tables), NAMES[usize::from(to) % NAMES.len()]) else {
                return Ok(());
            };
            if !tables.contains_key(to) {
                w.rename_table(&name, to)?;
                let entries = tables.remove(&name).unwrap();
                tables.insert(to.to_owned(), entries);
            }
        }
        _ => {}
    }
    Ok(())
}

fn run(ops: &[Op], page_size: usize, durability: Durability) {
    let failing = Arc::new(FailOnce::default());
    let options = Options::new().page_size(page_size).dirty_limit(0).durability(durability);
    let mut db = TestDb::with(options.observer(failing.clone()));
    let mut committed = Contents::default();
    let mut run = Run { ops: ops.iter(), failing: &failing, made: Vec::new(), depth: 0 };
    while run.ops.len() > 0 {
        let mut model = committed.clone();
        let mut w = db.begin_write().unwrap();
        for name in &NAMES[1..3] {
            if !model.0.contains_key(*name) {
                w.create_table(name, &Schema::bytes()).unwrap();
                model.0.insert((*name).to_owned(), Default::default());
            }
        }
        let end = run.level(&mut w, &mut model);
        failing.0.store(false, SeqCst);
        if let End::Commit = end {
            w.commit().unwrap();
            committed = model;
        } else {
            drop(w);
        }
        assert!(contents(&db.begin_read().unwrap()) == committed);
        match run.ops.as_slice().first() {
            Some(Op::Death) => assert!(contents(&db.after_death().begin_read().unwrap()) == committed),
            Some(Op::Check) => db.reopen(),
            _ => {}
        }
    }
    db.reopen();
    assert!(contents(&db.begin_read().unwrap()) == committed);
}

fn config(cases: u32) -> ProptestConfig {
    let seed = std::env::var("PROPTEST_RNG_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(7);
    ProptestConfig {
        rng_seed: RngSeed::Fixed(seed),
        failure_persistence: None,
        ..ProptestConfig::with_cases(cases)
    }
}

proptest! {
    #![proptest_config(config(60))]

    #[test]
    fn nested_txns_do_what_a_stack_of_models_does(
        ops in prop::collection::vec(op(), 1..120),
        page_size in prop_oneof![3 => Just(4096usize), 1 => Just(65536)],
        durability in prop_oneof![Just(Durability::Durable), Just(Durability::Eventual), Just(Durability::Ordered)],
    ) {
        run(&ops, page_size, durability);
    }
}

#[test]
fn a_closure_that_fails_or_panics_leaves_nothing_and_one_that_succeeds_everything() {
    let db = TestDb::new();
    let mut w = db.begin_write().unwrap();
    w.put(WORDS, "one", &1).unwrap();
    let failed: mapleaf::Result<()> = w.nested(|n| {
        n.put(WORDS, "two", &2)?;
        n.nested(|inner| inner.put(WORDS, "three", &3).map(drop))?;
        assert_eq!(n.len(WORDS)?, 3);
        Err(Error::UnknownSavepoint)
    });
    assert!(matches!(failed, Err(Error::UnknownSavepoint)));
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        w.nested::<()>(|n| {
            n.put(WORDS, "two", &2)?;
            panic!("on purpose");
        })
    }));
    assert!(panicked.is_err());
    assert_eq!(w.len(WORDS).unwrap(), 1);
    let four = w.nested(|n| n.put(WORDS, "four", &4));
    assert!(!four.unwrap());
    w.commit().unwrap();
    let r = db.begin_read().unwrap();
    let words: Vec<_> = r.iter(WORDS).unwrap().map(Result::unwrap).collect();
    assert_eq!(words, [("four", 4), ("one", 1)]);
}

#[test]
fn a_savepoint_from_outside_is_refused_inside_and_one_from_inside_is_gone_afterwards() {
    let db = TestDb::new();
    let mut w = db.begin_write().unwrap();
    let outside = w.savepoint();
    let mut n = w.begin_nested().unwrap();
    n.put(WORDS, "one", &1).unwrap();
    for refused in [n.rollback_to(outside).unwrap_err(), n.release(outside).unwrap_err()] {
        assert!(refused.to_string().contains("outside of the nested txn"), "{refused}");
    }
    let inside = n.savepoint();
    n.put(WORDS, "two", &2).unwrap();
    n.rollback_to(inside).unwrap();
    n.commit().unwrap();
    assert!(matches!(w.rollback_to(inside), Err(Error::UnknownSavepoint)));
    assert_eq!(w.len(WORDS).unwrap(), 1);
    w.rollback_to(outside).unwrap();
    assert_eq!(w.len(WORDS).unwrap(), 0);
    w.commit().unwrap();
}

#[test]
fn the_quota_inside_is_no_end_for_the_txn_outside() {
    let db = TestDb::with(Options::new().max_size(4 << 20).dirty_limit(0));
    let mut w = db.begin_write().unwrap();
    for key in 0..500u64 {
        w.put(NUMBERS, &key, &[1; 1000]).unwrap();
    }
    for round in 0..3 {
        let mut n = w.begin_nested().unwrap();
        let full = (1000..100_000u64).find_map(|key| n.put(NUMBERS, &key, &[round; 1000]).err());
        assert!(matches!(full, Some(Error::Full { .. })), "{full:?}");
        assert!(matches!(n.put(NUMBERS, &1, b""), Err(Error::Poisoned)));
        assert!(matches!(n.begin_nested(), Err(Error::Poisoned)));
        assert!(matches!(n.commit(), Err(Error::Poisoned)));
        assert_eq!(w.len(NUMBERS).unwrap(), 500);
        w.put(NUMBERS, &u64::from(round), &[2; 1500]).unwrap();
    }
    w.commit().unwrap();
    let r = db.begin_read().unwrap();
    for (key, value) in r.iter(NUMBERS).unwrap().map(Result::unwrap) {
        assert_eq!(value, if key < 3 { &[2; 1500][..] } else { &[1; 1000] });
    }
}

#[test]
fn ended_nested_txns_keep_no_pages_in_memory_and_none_twice() {
    let db = TestDb::with(Options::new().dirty_limit(0));
    let mut w = db.begin_write().unwrap();
    let outer = w.savepoint();
    for round in 0..4000u64 {
        let mut n = w.begin_nested().unwrap();
        for key in 0..3 {
            n.put(NUMBERS, &(round * 7919 % 1500 * 10 + key), &[round as u8; 900]).unwrap();
        }
        n.commit().unwrap();
        assert!(w.changed_bytes() < 3 << 20, "{} bytes after {round} nested txns", w.changed_bytes());
    }
    w.release(outer).unwrap();
    assert_eq!(w.len(NUMBERS).unwrap(), 4500);
    w.commit().unwrap();
}

#[test]
fn a_txn_over_several_tables_in_no_order_keeps_to_its_memory() {
    let db = TestDb::with(Options::new().dirty_limit(0));
    let mut w = db.begin_write().unwrap();
    let mut most = 0;
    for key in (0..20_000u64).map(|i| i * 7919 % 20_000) {
        w.put(WORDS, &key.to_string(), &key).unwrap();
        w.put(NUMBERS, &key, &vec![key as u8; 50 + key as usize * 7 % 700]).unwrap();
        most = most.max(w.changed_bytes());
    }
    assert!(most < 2 << 20, "{most} bytes");
    w.commit().unwrap();
}

#[test]
fn bulk_loads_keep_nothing_twice_for_what_comes_after_them() {
    let db = TestDb::with(Options::new().dirty_limit(0));
    let mut w = db.begin_write().unwrap();
    for round in 0..30u64 {
        let mut n = w.begin_nested().unwrap();
        n.bulk_load(NUMBERS, (0..2000u64).map(|key| (key * 3, vec![round as u8; 100]))).unwrap();
        n.commit().unwrap();
        for key in 0..300 {
            w.put(NUMBERS, &(key * 20), &[round as u8; 90]).unwrap();
        }
        assert!(w.changed_bytes() < 3 << 20, "{} bytes after {round} rounds", w.changed_bytes());
    }
    w.commit().unwrap();
}

#[test]
fn many_small_nested_txns_still_fit_into_the_log() {
    let db = TestDb::new();
    for round in 0..20u64 {
        let mut w = db.begin_write().unwrap();
        for key in 0..20 {
            w.nested(|n| n.put(NUMBERS, &(round * 20 + key), b"some value")).unwrap();
            let undone: mapleaf::Result<()> = w.nested(|n| {
                n.put(NUMBERS, &key, b"undone")?;
                Err(Error::UnknownSavepoint)
            });
            undone.unwrap_err();
        }
        w.commit().unwrap();
    }
    assert!(db.counters().checkpoints < 5, "{:?}", db.counters());
    let died = db.after_death();
    let r = died.begin_read().unwrap();
    assert_eq!(r.len(NUMBERS).unwrap(), 400);
    assert!(r.iter(NUMBERS).unwrap().all(|entry| entry.unwrap().1 == b"some value"));
}

#[test]
fn a_txn_that_is_swapped_with_that_of_another_store_ends_in_errors_and_loses_nothing_committed() {
    let (one, two) = (TestDb::new(), TestDb::new());
    for db in [&one, &two] {
        db.write(|w| w.put(WORDS, "kept", &0)).unwrap();
    }
    let (mut a, mut b) = (one.begin_write().unwrap(), two.begin_write().unwrap());
    a.put(WORDS, "outer", &1).unwrap();
    b.put(WORDS, "other", &1).unwrap();
    let mut n = a.begin_nested().unwrap();
    n.put(WORDS, "inner", &2).unwrap();
    std::mem::swap(&mut *n, &mut b);
    assert!(matches!(n.commit(), Err(Error::UnknownSavepoint)));
    // `a` is the other store's txn now, and `b` has the half-done one.
    assert!(matches!(a.commit(), Err(Error::Poisoned)));
    assert!(matches!(b.commit(), Err(Error::InvalidArgument { .. })));
    let (mut a, mut b) = (one.begin_write().unwrap(), two.begin_write().unwrap());
    let (mut n, mut m) = (a.begin_nested().unwrap(), b.begin_nested().unwrap());
    n.put(WORDS, "inner", &2).unwrap();
    m.put(WORDS, "inner", &2).unwrap();
    std::mem::swap(&mut *n, &mut *m);
    drop(m);
    drop(n);
    assert!(a.commit().is_err() && b.commit().is_err());
    let mut w = one.begin_write().unwrap();
    let mut n = w.begin_nested().unwrap();
    *n = two.begin_write().unwrap();
    assert!(n.commit().is_err());
    drop(w);
    for db in [&one, &two] {
        db.write(|w| w.put(WORDS, "later", &3)).unwrap();
        assert_eq!(db.begin_read().unwrap().len(WORDS).unwrap(), 2);
    }
}

#[test]
fn a_batch_whose_closure_swaps_its_txn_away_is_an_error_and_commits_nothing() {
    let (one, two) = (TestDb::new(), TestDb::new());
    let mut other = two.begin_write().unwrap();
    let swapped = one.batch(|w| {
        std::mem::swap(w, &mut other);
        w.put(WORDS, "one", &1)
    });
    assert!(matches!(swapped, Err(Error::UnknownSavepoint)), "{swapped:?}");
    assert!(other.commit().is_err());
    for db in [&one, &two] {
        assert_eq!(db.begin_read().unwrap().len(WORDS).unwrap(), 0);
        db.batch(|w| w.put(WORDS, "later", &2)).unwrap();
    }
}

#[test]
fn a_nested_txn_that_is_forgotten_leaves_a_txn_that_can_only_be_aborted() {
    let db = TestDb::new();
    let mut w = db.begin_write().unwrap();
    std::mem::forget(w.begin_nested().unwrap());
    w.put(WORDS, "one", &1).unwrap();
    let refused = w.commit().unwrap_err();
    assert!(refused.to_string().contains("neither committed nor dropped"), "{refused}");
    assert_eq!(db.begin_read().unwrap().len(WORDS).unwrap(), 0);
}

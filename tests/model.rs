//! Model tests: random operations on a store and on `BTreeMap`s, compared after every step.
//!
//! A [`World`] runs one list of [`Op`]s: tables of several layouts, one write txn with its savepoints, commits
//! of all levels, tickets that are waited for late, checkpoints, and any number of pinned readers, each beside
//! the plain maps that it must agree with. Now and then all processes die: a copy of the file must hold, when it
//! is opened, all that was committed.

mod common;

use common::TestDb;
use mapleaf::codec::Pod;
use mapleaf::{
    Durability, Error, Options, Prefix, ReadTxn, Savepoint, Schema, Table, TableView, Ticket, WriteTxn,
};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{FileFailurePersistence, RngAlgorithm, RngSeed, TestRng, TestRunner};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::time::{Duration, Instant};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

// ---- the plain side ----

type Bytes = Arc<[u8]>;
type Map = BTreeMap<Bytes, Bytes>;

#[derive(Clone, Default)]
struct Tables(BTreeMap<&'static str, (Kind, Map)>);

#[derive(Clone, Default)]
struct Model {
    tables: Tables,
    user_version: u64,
}

const LONG_NAME: &str = match std::str::from_utf8(&[b'n'; 512]) {
    Ok(name) => name,
    Err(_) => panic!(),
};
const NAMES: [&str; 6] = ["", "a", "a table", "b", "bb", LONG_NAME];

/// Sixteen-byte aligned, in the fixed form at every page size.
#[derive(Debug, Clone, Copy, PartialEq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C, align(16))]
struct Small([u64; 4]);

/// Aligned, too large for the fixed form of small pages and an overflow value there.
#[derive(Debug, Clone, Copy, PartialEq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C, align(16))]
struct Large([[u8; 16]; 300]);

/// The layouts of tables.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Bytes,
    Numbers,
    Units,
    Small,
    Large,
    /// Keys and values of any length, values aligned to 16.
    Aligned,
    /// One-byte keys, values of any length.
    ByteKeys,
    /// Keys too wide for the fixed form of 4-KiB pages.
    WideKeys,
}

use Kind::{Aligned, ByteKeys, Large as LargeKind, Numbers, Small as SmallKind, Units, WideKeys};
const KINDS: [Kind; 8] = [Kind::Bytes, Numbers, Units, SmallKind, LargeKind, Aligned, ByteKeys, WideKeys];

impl Kind {
    fn widths(self) -> (Option<usize>, Option<usize>) {
        match self {
            Kind::Bytes | Aligned => (None, None),
            Numbers => (Some(8), Some(8)),
            Units => (Some(8), Some(0)),
            SmallKind => (Some(8), Some(size_of::<Small>())),
            LargeKind => (Some(8), Some(size_of::<Large>())),
            ByteKeys => (Some(1), None),
            WideKeys => (Some(600), Some(16)),
        }
    }

    fn align(self) -> usize {
        if matches!(self, SmallKind | LargeKind | Aligned) { 16 } else { 1 }
    }

    fn schema(self) -> Schema {
        let (key_width, value_width) = self.widths();
        let (key_type, value_type) = match self {
            Numbers => ("u64", "u64".to_owned()),
            Units => ("u64", "unit".to_owned()),
            SmallKind | LargeKind => ("u64", format!("pod({},16)", value_width.unwrap())),
            _ => ("bytes", "bytes".to_owned()),
        };
        let mut schema = Schema::bytes();
        schema.key_type = key_type.into();
        schema.value_type = value_type;
        schema.key_width = key_width;
        schema.value_width = value_width;
        schema.value_align = self.align();
        schema
    }
}

// ---- the operations ----

#[derive(Clone, Debug)]
enum KeySpec {
    Empty,
    Byte(u8),
    Number(u16),
    Decimal(u16),
    /// As long as can be: a shared prefix of this byte, then the number.
    Longest(u8, u16),
    /// A prefix of this byte and length (of 256ths of the longest), then the number.
    Shared(u8, u8, u16),
    /// The byte repeated: prefixes of one another.
    Repeated(u8, u8),
    /// A key that is there, by rank in 65536ths; with a byte appended or the last removed.
    Existing(u16, i8),
}

#[derive(Clone, Debug)]
enum ValueLen {
    Exactly(usize),
    /// In 256ths of a page.
    OfPage(u16),
    /// Whole pages and a little more or less.
    NearPages(u8, i8),
    Huge(u16),
}

#[derive(Clone, Debug)]
struct ValueSpec {
    len: ValueLen,
    seed: u8,
}

#[derive(Clone, Debug)]
enum Op {
    Put(u8, KeySpec, ValueSpec),
    PutNew(u8, KeySpec, ValueSpec),
    Delete(u8, KeySpec),
    PutMany {
        table: u8,
        start: u16,
        count: u16,
        step: u16,
        long: bool,
        value: ValueSpec,
    },
    DeleteMany {
        table: u8,
        from: u16,
        count: u16,
        every: u8,
    },
    TooLong(u8),
    Range {
        table: u8,
        low: Bound<KeySpec>,
        high: Bound<KeySpec>,
        turns: u64,
    },
    Prefix {
        table: u8,
        key: KeySpec,
        len: u8,
        turns: u64,
    },
    Rank(u8, KeySpec),
    Nth(u8, u16),
    Whole,
    UserVersion(u64),
    Create(u8, u8),
    Drop(u8),
    Rename(u8, u8),
    Savepoint,
    Rollback(u8),
    /// What the commit of the txn under way promises.
    Level(Durability),
    Commit,
    /// The commit is waited for later, or never.
    HandOver,
    Wait(u8),
    Forget(u8),
    Checkpoint,
    Abort,
    Reopen,
    /// Of all processes.
    Death,
    Pin,
    Unpin(u8),
    CheckPin(u8),
}

fn key_spec() -> impl Strategy<Value = KeySpec> {
    let byte = || prop_oneof![Just(0u8), Just(0xffu8), Just(b'p')];
    prop_oneof![
        1 => Just(KeySpec::Empty),
        2 => any::<u8>().prop_map(KeySpec::Byte),
        3 => any::<u16>().prop_map(KeySpec::Number),
        3 => (0u16..300).prop_map(KeySpec::Decimal),
        2 => (byte(), any::<u16>()).prop_map(|(b, n)| KeySpec::Longest(b, n)),
        3 => (byte(), any::<u8>(), any::<u16>()).prop_map(|(b, l, n)| KeySpec::Shared(b, l, n)),
        2 => (byte(), any::<u8>()).prop_map(|(b, l)| KeySpec::Repeated(b, l)),
        8 => (any::<u16>(), -1i8..=1).prop_map(|(r, d)| KeySpec::Existing(r, d)),
    ]
}

fn value_spec() -> impl Strategy<Value = ValueSpec> {
    let len = prop_oneof![
        10 => (0usize..40).prop_map(ValueLen::Exactly),
        6 => (0u16..256).prop_map(ValueLen::OfPage),
        3 => (0u16..768).prop_map(ValueLen::OfPage),
        2 => (0u8..4, -40i8..40).prop_map(|(p, d)| ValueLen::NearPages(p, d)),
        1 => prop_oneof![4 => 0u16..64, 1 => 1000u16..1500].prop_map(ValueLen::Huge),
    ];
    (len, any::<u8>()).prop_map(|(len, seed)| ValueSpec { len, seed })
}

fn bound() -> impl Strategy<Value = Bound<KeySpec>> {
    prop_oneof![
        1 => Just(Bound::Unbounded),
        2 => key_spec().prop_map(Bound::Included),
        2 => key_spec().prop_map(Bound::Excluded),
    ]
}

fn level() -> impl Strategy<Value = Op> {
    prop_oneof![Just(Durability::Durable), Just(Durability::Ordered), Just(Durability::Eventual)]
        .prop_map(Op::Level)
}

/// For many small txns: few of them at once waited for, the log and what it holds back often full.
fn small_op() -> impl Strategy<Value = Op> {
    let count = (any::<u8>(), any::<u16>(), 1u16..30, prop_oneof![Just(1u16), Just(7919)], value_spec());
    prop_oneof![
        6 => count.prop_map(|(table, start, count, step, value)| {
            Op::PutMany { table, start, count, step, long: false, value }
        }),
        12 => Just(Op::HandOver),
        6 => Just(Op::Commit),
        6 => level(),
        3 => any::<u8>().prop_map(Op::Wait),
        1 => any::<u8>().prop_map(Op::Forget),
        1 => Just(Op::Checkpoint),
        1 => Just(Op::Death),
        20 => op(1),
    ]
}

/// For txns that outgrow their memory: few tables, much data, savepoints before and after, few commits.
fn large_op() -> impl Strategy<Value = Op> {
    let value = || {
        (100usize..3000, any::<u8>()).prop_map(|(len, seed)| ValueSpec { len: ValueLen::Exactly(len), seed })
    };
    let large =
        (0u8..3, any::<u16>(), 300u16..700, prop_oneof![Just(1u16), Just(7919)], any::<bool>(), value());
    prop_oneof![
        5 => large.prop_map(|(table, start, count, step, long, value)| Op::PutMany { table, start, count, step, long, value }),
        4 => (0u8..3, any::<u16>(), 1u16..400, 1u8..4)
            .prop_map(|(table, from, count, every)| Op::DeleteMany { table, from, count, every }),
        4 => Just(Op::Savepoint),
        4 => any::<u8>().prop_map(Op::Rollback),
        2 => Just(Op::Commit),
        6 => op(1),
    ]
}

/// `bulk` is the weight of the operations that make trees high and txns large.
fn op(bulk: u32) -> impl Strategy<Value = Op> {
    let table = || any::<u8>();
    prop_oneof![
        20 => (table(), key_spec(), value_spec()).prop_map(|(t, k, v)| Op::Put(t, k, v)),
        5 => (table(), key_spec(), value_spec()).prop_map(|(t, k, v)| Op::PutNew(t, k, v)),
        12 => (table(), key_spec()).prop_map(|(t, k)| Op::Delete(t, k)),
        bulk => (table(), any::<u16>(), 20u16..600, prop_oneof![Just(1u16), Just(7919), Just(65535)],
            any::<bool>(), value_spec())
            .prop_map(|(table, start, count, step, long, value)| Op::PutMany { table, start, count, step, long, value }),
        bulk => (table(), any::<u16>(), 1u16..800, 1u8..4)
            .prop_map(|(table, from, count, every)| Op::DeleteMany { table, from, count, every }),
        1 => table().prop_map(Op::TooLong),
        6 => (table(), bound(), bound(), any::<u64>())
            .prop_map(|(table, low, high, turns)| Op::Range { table, low, high, turns }),
        3 => (table(), key_spec(), any::<u8>(), any::<u64>())
            .prop_map(|(table, key, len, turns)| Op::Prefix { table, key, len, turns }),
        3 => (table(), key_spec()).prop_map(|(t, k)| Op::Rank(t, k)),
        3 => (table(), any::<u16>()).prop_map(|(t, r)| Op::Nth(t, r)),
        1 => Just(Op::Whole),
        1 => (0u64..3).prop_map(Op::UserVersion),
        3 => (any::<u8>(), any::<u8>()).prop_map(|(n, k)| Op::Create(n, k)),
        1 => table().prop_map(Op::Drop),
        2 => (table(), any::<u8>()).prop_map(|(t, n)| Op::Rename(t, n)),
        6 => Just(Op::Savepoint),
        4 => any::<u8>().prop_map(Op::Rollback),
        6 => Just(Op::Commit),
        4 => level(),
        3 => Just(Op::HandOver),
        2 => any::<u8>().prop_map(Op::Wait),
        1 => any::<u8>().prop_map(Op::Forget),
        1 => Just(Op::Checkpoint),
        2 => Just(Op::Abort),
        1 => Just(Op::Reopen),
        1 => Just(Op::Death),
        3 => Just(Op::Pin),
        2 => any::<u8>().prop_map(Op::Unpin),
        2 => any::<u8>().prop_map(Op::CheckPin),
    ]
}

// ---- both sides together ----

struct Writing {
    txn: WriteTxn,
    eventual: bool,
    model: Model,
    saved: Vec<(Savepoint, Model)>,
}

struct World {
    db: TestDb,
    /// What new readers see.
    committed: Model,
    /// What the next txn builds on.
    head: Model,
    head_txn: u64,
    /// Txns that readers do not see yet.
    unseen: Vec<(u64, Model)>,
    tickets: Vec<Ticket>,
    writing: Option<Writing>,
    pinned: Vec<(ReadTxn, Model)>,
    longest_aligned_key: usize,
}

impl Drop for World {
    fn drop(&mut self) {
        // Before the store is verified.
        self.writing = None;
        self.pinned.clear();
        self.tickets.clear();
    }
}

impl World {
    fn new(options: Options) -> Self {
        let db = TestDb::with(options);
        let longest_aligned_key = longest_aligned_key(&db);
        World {
            db,
            committed: Model::default(),
            head: Model::default(),
            head_txn: 0,
            unseen: Vec::new(),
            tickets: Vec::new(),
            writing: None,
            pinned: Vec::new(),
            longest_aligned_key,
        }
    }

    fn longest_key(&self, kind: Kind) -> usize {
        match kind.widths().0 {
            Some(width) => width,
            None if kind == Aligned => self.longest_aligned_key,
            None => self.db.max_key_len(),
        }
    }

    fn run(&mut self, ops: &[Op]) {
        for op in ops {
            self.step(op);
        }
        self.step(&Op::Commit);
        while !self.pinned.is_empty() {
            self.step(&Op::Unpin(0));
        }
        self.step(&Op::Reopen);
    }

    fn writing(&mut self) -> &mut Writing {
        self.writing.get_or_insert_with(|| Writing {
            txn: self.db.begin_write().unwrap(),
            eventual: false,
            model: self.head.clone(),
            saved: Vec::new(),
        })
    }

    fn model(&self) -> &Model {
        self.writing.as_ref().map_or(&self.head, |writing| &writing.model)
    }

    /// The table meant by a number, made if there is none.
    fn table(&mut self, number: u8) -> (&'static str, Kind) {
        if self.model().tables.0.is_empty() {
            self.create(usize::from(number), usize::from(number) / 7);
        }
        let tables = &self.model().tables.0;
        let (name, (kind, _)) = tables.iter().nth(usize::from(number) % tables.len()).unwrap();
        (name, *kind)
    }

    fn create(&mut self, name: usize, kind: usize) {
        let (name, kind) = (NAMES[name % NAMES.len()], KINDS[kind % KINDS.len()]);
        let writing = self.writing();
        let created = writing.txn.create_table(name, &kind.schema());
        if writing.model.tables.0.contains_key(name) {
            assert!(matches!(created, Err(Error::TableExists { .. })));
        } else {
            created.unwrap();
            writing.model.tables.0.insert(name, (kind, Map::new()));
        }
    }

    fn key(&self, name: &str, kind: Kind, spec: &KeySpec) -> Bytes {
        let max = self.longest_key(kind);
        let map = &self.model().tables.0[name].1;
        let repeat = |byte: u8, len: usize| vec![byte; len];
        let mut key = match *spec {
            KeySpec::Empty => Vec::new(),
            KeySpec::Byte(byte) => vec![byte],
            KeySpec::Number(n) => n.to_be_bytes().to_vec(),
            KeySpec::Decimal(n) => n.to_string().into_bytes(),
            KeySpec::Longest(byte, n) => {
                [repeat(byte, max.saturating_sub(2)), n.to_be_bytes().to_vec()].concat()
            }
            KeySpec::Shared(byte, len, n) => {
                [repeat(byte, max.saturating_sub(2) * usize::from(len) / 256), n.to_le_bytes().to_vec()]
                    .concat()
            }
            KeySpec::Repeated(byte, len) => repeat(byte, max * usize::from(len) / 255),
            KeySpec::Existing(rank, change) => {
                let at = usize::from(rank) * map.len() / 65536;
                let mut key = map.keys().nth(at).map_or_else(Vec::new, |key| key.to_vec());
                match change {
                    0 => {}
                    1 => key.push(0),
                    _ => drop(key.pop()),
                }
                key.truncate(max);
                key
            }
        };
        if let Some(width) = kind.widths().0 {
            // The end tells the keys apart.
            let len = key.len();
            key.drain(..len.saturating_sub(width));
            let missing = width - key.len();
            key.splice(0..0, vec![0; missing]);
        }
        key.into()
    }

    fn value(&self, kind: Kind, spec: &ValueSpec) -> Bytes {
        let page = self.db.page_size();
        let len = kind.widths().1.unwrap_or(match spec.len {
            ValueLen::Exactly(len) => len,
            ValueLen::OfPage(part) => page * usize::from(part) / 256,
            ValueLen::NearPages(pages, change) => {
                (page * usize::from(pages)).saturating_add_signed(isize::from(change))
            }
            ValueLen::Huge(kib) => usize::from(kib) * 1024 + usize::from(spec.seed),
        });
        (0..len).map(|i| spec.seed.wrapping_add((i % 251) as u8)).collect()
    }

    fn step(&mut self, op: &Op) {
        match op {
            Op::Put(table, key, value) => self.put(*table, key, value, true),
            Op::PutNew(table, key, value) => self.put(*table, key, value, false),
            Op::Delete(table, key) => {
                let (name, kind) = self.table(*table);
                let key = self.key(name, kind, key);
                self.delete(name, &key);
            }
            Op::PutMany { table, start, count, step, long, value } => {
                self.put_many(*table, *start, *count, *step, *long, value);
            }
            Op::DeleteMany { table, from, count, every } => {
                self.delete_many(*table, *from, *count, *every);
            }
            Op::TooLong(table) => self.too_long(*table),
            Op::Range { table, low, high, turns } => {
                let (name, kind) = self.table(*table);
                let end = |bound: &Bound<KeySpec>| bound.as_ref().map(|spec| self.key(name, kind, spec));
                let (low, high) = (end(low), end(high));
                self.each_view(name, |view, map, kind| check_range(view, map, &low, &high, *turns, kind));
                self.typed_range(name, kind, &low, &high);
            }
            Op::Prefix { table, key, len, turns } => {
                let (name, kind) = self.table(*table);
                let key = self.key(name, kind, key);
                let prefix = &key[..key.len() * usize::from(*len) / 255];
                self.each_view(name, |view, map, _| check_prefix(view, map, prefix, *turns));
            }
            Op::Rank(table, key) => {
                let (name, kind) = self.table(*table);
                let key = self.key(name, kind, key);
                self.each_view(name, |view, map, kind| {
                    assert_eq!(view.rank(&key[..]).unwrap(), rank_in(map, &key));
                    check_get(view, map, &key, kind);
                });
            }
            Op::Nth(table, rank) => {
                let (name, _) = self.table(*table);
                self.each_view(name, |view, map, _| {
                    let rank = usize::from(*rank) * (map.len() + 1) / 65535;
                    let found = view.nth(rank as u64).unwrap();
                    assert_eq!(found, map.iter().nth(rank).map(|(k, v)| (&k[..], &v[..])));
                    if let Some((key, _)) = found {
                        assert_eq!(view.rank(key).unwrap(), rank as u64);
                    }
                });
            }
            Op::Whole => self.compare_current(),
            Op::UserVersion(version) => {
                let writing = self.writing();
                writing.txn.set_user_version(*version);
                writing.model.user_version = *version;
            }
            Op::Create(name, kind) => self.create(usize::from(*name), usize::from(*kind)),
            Op::Drop(table) => {
                let (name, _) = self.table(*table);
                let writing = self.writing();
                assert!(writing.txn.drop_table(name).unwrap());
                assert!(!writing.txn.drop_table(name).unwrap());
                assert!(writing.txn.raw_table(name).unwrap().is_none());
                writing.model.tables.0.remove(name);
            }
            Op::Rename(table, to) => self.rename(*table, *to),
            Op::Savepoint => {
                let writing = self.writing();
                writing.saved.push((writing.txn.savepoint(), writing.model.clone()));
            }
            Op::Rollback(which) => self.roll_back(usize::from(*which)),
            Op::Level(level) => {
                let writing = self.writing();
                writing.txn.set_durability(*level);
                writing.eventual = *level == Durability::Eventual;
            }
            Op::Commit => {
                if let Some(ticket) = self.hand_over() {
                    ticket.wait().unwrap();
                    self.look();
                    assert!(self.unseen.is_empty(), "a commit that was waited for is visible");
                }
                compare_whole(&self.db.begin_read().unwrap(), &self.committed);
            }
            Op::HandOver => {
                let ticket = self.hand_over();
                self.tickets.extend(ticket);
                self.look();
            }
            Op::Wait(which) => {
                if let Some(ticket) = self.take_ticket(*which) {
                    let txn = ticket.txn_id();
                    ticket.wait().unwrap();
                    self.look();
                    assert!(self.unseen.first().is_none_or(|(unseen, _)| *unseen > txn));
                }
            }
            Op::Forget(which) => drop(self.take_ticket(*which)),
            Op::Checkpoint => {
                let ticket = self.hand_over();
                self.tickets.extend(ticket);
                self.db.checkpoint().unwrap();
                self.look();
                assert!(self.unseen.is_empty() && self.tickets.iter().all(Ticket::is_done));
            }
            Op::Death => compare_whole(&self.db.after_death().begin_read().unwrap(), &self.head),
            Op::Abort => {
                if let Some(writing) = self.writing.take() {
                    writing.txn.abort();
                }
                compare_whole(&self.db.begin_read().unwrap(), &self.committed);
            }
            Op::Reopen => {
                self.writing = None;
                self.tickets.clear();
                for (reader, model) in self.pinned.drain(..) {
                    compare_whole(&reader, &model);
                }
                self.db.reopen();
                assert_eq!(self.db.counters().replayed_txns, 0, "the last handle leaves nothing to replay");
                self.head_txn = self.db.begin_read().unwrap().txn_id();
                self.unseen.clear();
                self.committed = self.head.clone();
                compare_whole(&self.db.begin_read().unwrap(), &self.committed);
                common::assert_clean(&self.db);
            }
            Op::Pin => {
                if self.pinned.len() < 6 {
                    self.pinned.push((self.db.begin_read().unwrap(), self.committed.clone()));
                }
            }
            Op::Unpin(which) => {
                if !self.pinned.is_empty() {
                    let (reader, model) = self.pinned.swap_remove(usize::from(*which) % self.pinned.len());
                    compare_whole(&reader, &model);
                }
            }
            Op::CheckPin(which) => {
                if !self.pinned.is_empty() {
                    let (reader, model) = &self.pinned[usize::from(*which) % self.pinned.len()];
                    compare_whole(reader, model);
                }
            }
        }
    }

    /// Commits the txn under way without waiting.
    fn hand_over(&mut self) -> Option<Ticket> {
        let writing = self.writing.take()?;
        let ticket = writing.txn.commit_ticket().unwrap();
        let unchanged = ticket.txn_id() == std::mem::replace(&mut self.head_txn, ticket.txn_id());
        self.head = writing.model;
        if !unchanged {
            self.unseen.push((ticket.txn_id(), self.head.clone()));
        }
        if writing.eventual {
            assert!(unchanged || ticket.is_done());
            ticket.wait().unwrap();
            self.look();
            assert!(self.unseen.is_empty(), "what it has read is visible, too");
            return None;
        }
        Some(ticket)
    }

    fn take_ticket(&mut self, which: u8) -> Option<Ticket> {
        let count = self.tickets.len();
        (count > 0).then(|| self.tickets.swap_remove(usize::from(which) % count))
    }

    /// Finds out what new readers see: a txn that is whole and no older than what they saw before.
    fn look(&mut self) {
        let seen = self.db.begin_read().unwrap().txn_id();
        let count = self.unseen.iter().take_while(|(txn, _)| *txn <= seen).count();
        if let Some((txn, model)) = self.unseen.drain(..count).next_back() {
            assert_eq!(txn, seen, "what is seen is what one txn left");
            self.committed = model;
        }
        compare_whole(&self.db.begin_read().unwrap(), &self.committed);
    }

    fn put(&mut self, table: u8, key: &KeySpec, value: &ValueSpec, replace: bool) {
        let (name, kind) = self.table(table);
        let (key, value) = (self.key(name, kind, key), self.value(kind, value));
        let writing = self.writing();
        let map = &mut writing.model.tables.0.get_mut(name).unwrap().1;
        let was_there = map.contains_key(&key);
        if replace {
            assert_eq!(writing.txn.raw_put(name, &key, &value).unwrap(), was_there);
        } else {
            assert_eq!(writing.txn.raw_put_new(name, &key, &value).unwrap(), !was_there);
        }
        if replace || !was_there {
            map.insert(Arc::clone(&key), value);
        }
        check_around(&writing.txn.raw_table(name).unwrap().unwrap(), map, &key, kind);
    }

    fn delete(&mut self, name: &'static str, key: &Bytes) {
        let writing = self.writing();
        let (kind, map) = writing.model.tables.0.get_mut(name).unwrap();
        assert_eq!(writing.txn.raw_delete(name, key).unwrap(), map.remove(key).is_some());
        check_around(&writing.txn.raw_table(name).unwrap().unwrap(), map, key, *kind);
    }

    fn put_many(&mut self, table: u8, start: u16, count: u16, step: u16, long: bool, value: &ValueSpec) {
        let (name, kind) = self.table(table);
        // At most some 6 MB, of keys and of values.
        let value = self.value(kind, value);
        let value: Bytes =
            if kind.widths().1.is_none() { value[..value.len().min(10_000)].into() } else { value };
        for i in 0..count {
            let number = start.wrapping_add(i.wrapping_mul(step));
            let spec = if long { KeySpec::Longest(b'p', number) } else { KeySpec::Number(number) };
            let key = self.key(name, kind, &spec);
            let writing = self.writing();
            let map = &mut writing.model.tables.0.get_mut(name).unwrap().1;
            let was_there = map.insert(Arc::clone(&key), Arc::clone(&value)).is_some();
            assert_eq!(writing.txn.raw_put(name, &key, &value).unwrap(), was_there);
            let view = writing.txn.raw_table(name).unwrap().unwrap();
            assert_eq!(view.len(), map.len() as u64);
        }
        self.compare_table(name);
    }

    fn delete_many(&mut self, table: u8, from: u16, count: u16, every: u8) {
        let (name, _) = self.table(table);
        let map = &self.model().tables.0[name].1;
        let first = usize::from(from) * map.len() / 65536;
        let keys: Vec<Bytes> =
            map.keys().skip(first).step_by(usize::from(every)).take(usize::from(count)).cloned().collect();
        for key in &keys {
            let writing = self.writing();
            let map = &mut writing.model.tables.0.get_mut(name).unwrap().1;
            map.remove(key);
            assert!(writing.txn.raw_delete(name, key).unwrap());
            let view = writing.txn.raw_table(name).unwrap().unwrap();
            assert_eq!(view.len(), map.len() as u64);
        }
        self.compare_table(name);
    }

    /// One byte too many for key or value is an error that changes nothing.
    fn too_long(&mut self, table: u8) {
        let (name, kind) = self.table(table);
        let (width, value_width) = kind.widths();
        let max = self.longest_key(kind);
        let key = vec![b'x'; width.unwrap_or(max) + 1];
        let value = vec![0; value_width.unwrap_or(3)];
        let refused = self.writing().txn.raw_put(name, &key, &value);
        match width {
            Some(_) => assert!(matches!(refused, Err(Error::WrongWidth { what: "key", .. })), "{refused:?}"),
            None => assert!(
                matches!(refused, Err(Error::KeyTooLong { len, max: m }) if len == max + 1 && m == max),
                "{refused:?}, expected at most {max}"
            ),
        }
        assert!(!self.writing().txn.raw_delete(name, &key).unwrap());
        if let Some(width) = value_width {
            let key = vec![b'x'; max];
            let refused = self.writing().txn.raw_put(name, &key, &vec![0; width + 1]);
            assert!(matches!(refused, Err(Error::WrongWidth { what: "value", .. })), "{refused:?}");
        }
        self.compare_table(name);
    }

    fn rename(&mut self, table: u8, to: u8) {
        let (from, _) = self.table(table);
        let to = NAMES[usize::from(to) % NAMES.len()];
        let writing = self.writing();
        let renamed = writing.txn.rename_table(from, to);
        let tables = &mut writing.model.tables.0;
        if tables.contains_key(to) {
            assert!(matches!(renamed, Err(Error::TableExists { .. })), "{renamed:?}");
        } else {
            renamed.unwrap();
            let table = tables.remove(from).unwrap();
            tables.insert(to, table);
        }
        self.compare_current();
    }

    fn roll_back(&mut self, which: usize) {
        let Some(writing) = &mut self.writing else { return };
        if writing.saved.is_empty() {
            return;
        }
        let at = which % writing.saved.len();
        let (savepoint, model) = writing.saved[at].clone();
        writing.txn.rollback_to(savepoint).unwrap();
        writing.model = model;
        for (gone, _) in writing.saved.drain(at + 1..) {
            assert!(matches!(writing.txn.rollback_to(gone), Err(Error::UnknownSavepoint)));
        }
        self.compare_current();
    }

    /// Runs `check` on a table as it is now, and as the pinned readers have it: for them the name may have
    /// stood for a table of another kind.
    fn each_view(&self, name: &str, check: impl Fn(TableView<'_, [u8], [u8]>, &Map, Kind)) {
        if let Some(writing) = &self.writing {
            let (kind, map) = &writing.model.tables.0[name];
            check(writing.txn.raw_table(name).unwrap().unwrap(), map, *kind);
        }
        let fresh = self.db.begin_read().unwrap();
        let fresh = std::iter::once((&fresh, &self.committed));
        for (reader, model) in fresh.chain(self.pinned.iter().map(|(reader, model)| (reader, model))) {
            let view = reader.raw_table(name).unwrap();
            assert_eq!(view.is_some(), model.tables.0.contains_key(name));
            if let Some(view) = view {
                let (kind, map) = &model.tables.0[name];
                check(view, map, *kind);
            }
        }
    }

    /// The typed view of the same range.
    fn typed_range(&self, name: &'static str, kind: Kind, low: &Bound<Bytes>, high: &Bound<Bytes>) {
        let Some(writing) = &self.writing else { return };
        let map = &writing.model.tables.0[name].1;
        let number = |key: &Bytes| u64::from_be_bytes(key[..].try_into().unwrap());
        let expected = model_range(map, low, high);
        macro_rules! compare {
            ($V:ty, $decode:expr) => {{
                let table: Table<u64, $V> = Table::new(name);
                let range = (low.as_ref().map(number), high.as_ref().map(number));
                let found = writing.txn.range(table, range).unwrap().map(Result::unwrap);
                assert!(found.eq(expected.iter().map(|(k, v)| (number(k), $decode(v)))));
                assert_eq!(writing.txn.count(table, range).unwrap(), expected.len() as u64);
                for (key, value) in &expected {
                    assert_eq!(writing.txn.get(table, &number(key)).unwrap(), Some($decode(value)));
                }
            }};
        }
        let small: Vec<Small> = match kind {
            SmallKind => expected.iter().map(|(_, v)| Small::read_from_bytes(v).unwrap()).collect(),
            _ => Vec::new(),
        };
        match kind {
            Numbers => compare!(u64, |v: &Bytes| u64::from_be_bytes(v[..].try_into().unwrap())),
            Units => compare!((), |_: &Bytes| ()),
            SmallKind => {
                let range = (low.as_ref().map(number), high.as_ref().map(number));
                let table: Table<u64, Pod<Small>> = Table::new(name);
                let found = writing.txn.range(table, range).unwrap().map(|entry| entry.unwrap().1);
                assert!(found.eq(small.iter()));
            }
            LargeKind => {
                let table: Table<u64, Pod<Large>> = Table::new(name);
                for (key, value) in &expected {
                    let found = writing.txn.get(table, &number(key)).unwrap().unwrap();
                    assert_eq!(found.as_bytes(), &value[..]);
                }
            }
            _ => {}
        }
    }

    fn compare_table(&self, name: &str) {
        if let Some(writing) = &self.writing {
            let (kind, map) = &writing.model.tables.0[name];
            compare_map(writing.txn.raw_table(name).unwrap().unwrap(), map, *kind);
        }
    }

    fn compare_current(&self) {
        if let Some(writing) = &self.writing {
            compare_tables(&writing.model.tables, &writing.txn.tables().unwrap(), |name| {
                writing.txn.raw_table(name).unwrap().unwrap()
            });
            assert_eq!(writing.txn.user_version(), writing.model.user_version);
        }
    }
}

/// The longest key where values are aligned: what the error says.
fn longest_aligned_key(db: &TestDb) -> usize {
    let mut w = db.begin_write().unwrap();
    w.create_table("t", &Aligned.schema()).unwrap();
    match w.raw_put("t", &vec![0; db.page_size()], b"") {
        Err(Error::KeyTooLong { max, .. }) => max,
        other => panic!("{other:?}"),
    }
}

// ---- comparing ----

fn compare_whole(reader: &ReadTxn, model: &Model) {
    compare_tables(&model.tables, &reader.tables().unwrap(), |name| reader.raw_table(name).unwrap().unwrap());
    assert_eq!(reader.user_version(), model.user_version);
}

fn compare_tables<'t>(
    model: &Tables,
    listed: &[mapleaf::TableInfo],
    view: impl Fn(&str) -> TableView<'t, [u8], [u8]>,
) {
    let expected: Vec<_> = model.0.iter().map(|(name, t)| (*name, t.1.len() as u64, t.0.schema())).collect();
    let found: Vec<_> = listed.iter().map(|t| (&t.name[..], t.len, t.schema.clone())).collect();
    assert_eq!(found, expected);
    for (name, (kind, map)) in &model.0 {
        compare_map(view(name), map, *kind);
    }
}

fn compare_map(view: TableView<'_, [u8], [u8]>, map: &Map, kind: Kind) {
    assert_eq!(view.len(), map.len() as u64);
    assert_eq!(view.is_empty(), map.is_empty());
    assert_eq!(view.first().unwrap(), map.first_key_value().map(|(k, v)| (&k[..], &v[..])));
    assert_eq!(view.last().unwrap(), map.last_key_value().map(|(k, v)| (&k[..], &v[..])));
    let mut expected = map.iter();
    for entry in view.iter() {
        let (key, value) = entry.unwrap();
        let (k, v) = expected.next().expect("no more entries than in the model");
        assert!(key == &k[..] && value == &v[..], "found {}, expected {}", show(key), show(k));
        assert_aligned(value, kind);
    }
    assert!(expected.next().is_none(), "as many entries as in the model");
    check_get_many(view, map);
    assert!(view.iter().rev().map(|entry| entry.unwrap().0).eq(map.keys().rev().map(|k| &k[..])));
}

/// Keys there are and, beside each, one there is not, out of order.
fn check_get_many(view: TableView<'_, [u8], [u8]>, map: &Map) {
    let width = map.keys().next().map(|key| key.len());
    let is_fixed = map.keys().all(|key| Some(key.len()) == width);
    let beside = |key: &[u8]| match (is_fixed, key.last()) {
        (true, Some(last)) => [&key[..key.len() - 1], &[last ^ 1]].concat(),
        _ => [key, &[0]].concat(),
    };
    let mut keys: Vec<Vec<u8>> =
        map.keys().rev().step_by(3).flat_map(|key| [key.to_vec(), beside(key)]).collect();
    let third = keys.len() / 3;
    keys.rotate_left(third);
    let found = view.get_many(&keys).unwrap();
    assert!(found.iter().copied().eq(keys.iter().map(|key| map.get(&key[..]).map(|value| &value[..]))));
}

fn assert_aligned(value: &[u8], kind: Kind) {
    assert!(value.is_empty() || (value.as_ptr() as usize).is_multiple_of(kind.align()), "{kind:?}");
}

fn check_get(view: TableView<'_, [u8], [u8]>, map: &Map, key: &[u8], kind: Kind) {
    let found = view.get(key).unwrap();
    assert!(found == map.get(key).map(|value| &value[..]), "get of {}", show(key));
    assert_eq!(view.contains(key).unwrap(), found.is_some());
    if let Some(value) = found {
        assert_aligned(value, kind);
    }
}

/// The entry at `key`, its neighbours, and the number of entries.
fn check_around(view: &TableView<'_, [u8], [u8]>, map: &Map, key: &Bytes, kind: Kind) {
    check_get(*view, map, key, kind);
    assert_eq!(view.len(), map.len() as u64);
    let after = (Bound::Excluded(&key[..]), Bound::Unbounded);
    let before = (Bound::Unbounded, Bound::Excluded(&key[..]));
    let next = view.range(after).next().map(|entry| entry.unwrap().0);
    assert_eq!(next, map.range::<[u8], _>(after).next().map(|(k, _)| &k[..]));
    let previous = view.range(before).next_back().map(|entry| entry.unwrap().0);
    assert_eq!(previous, map.range::<[u8], _>(before).next_back().map(|(k, _)| &k[..]));
}

fn rank_in(map: &Map, key: &[u8]) -> u64 {
    map.range::<[u8], _>((Bound::Unbounded, Bound::Excluded(key))).count() as u64
}

fn model_range<'m>(map: &'m Map, low: &Bound<Bytes>, high: &Bound<Bytes>) -> Vec<(&'m Bytes, &'m Bytes)> {
    let above = |key: &Bytes| match low {
        Bound::Unbounded => true,
        Bound::Included(low) => key >= low,
        Bound::Excluded(low) => key > low,
    };
    let below = |key: &Bytes| match high {
        Bound::Unbounded => true,
        Bound::Included(high) => key <= high,
        Bound::Excluded(high) => key < high,
    };
    map.iter().filter(|(key, _)| above(key) && below(key)).collect()
}

fn check_range(
    view: TableView<'_, [u8], [u8]>,
    map: &Map,
    low: &Bound<Bytes>,
    high: &Bound<Bytes>,
    turns: u64,
    kind: Kind,
) {
    let expected = model_range(map, low, high);
    let range = (low.as_ref().map(|key| &key[..]), high.as_ref().map(|key| &key[..]));
    assert_eq!(view.count(range).unwrap(), expected.len() as u64, "{range:?}");
    assert!(view.range(range).map(|entry| entry.unwrap().0).eq(expected.iter().map(|(k, _)| &k[..])));
    let mut backwards = view.range(range).rev().map(|entry| entry.unwrap().0);
    assert!(backwards.by_ref().eq(expected.iter().rev().map(|(k, _)| &k[..])));
    check_turns(view.range(range), &expected, turns);
    for (_, value) in view.range(range).map(Result::unwrap) {
        assert_aligned(value, kind);
    }
}

fn check_prefix(view: TableView<'_, [u8], [u8]>, map: &Map, prefix: &[u8], turns: u64) {
    let expected: Vec<_> = map.iter().filter(|(key, _)| key.starts_with(prefix)).collect();
    assert_eq!(view.range(Prefix(prefix)).count(), expected.len());
    check_turns(view.range(Prefix(prefix)), &expected, turns);
}

/// Steps from both ends, as the bits of `turns` say, until both have met and twice more.
fn check_turns(mut range: mapleaf::Range<'_, [u8], [u8]>, expected: &[(&Bytes, &Bytes)], mut turns: u64) {
    let mut expected = expected.iter().map(|(k, v)| (&k[..], &v[..]));
    for extra in 0.. {
        turns = turns.rotate_left(1) ^ (extra & 1);
        let (found, model) = match turns & 1 {
            0 => (range.next(), expected.next()),
            _ => (range.next_back(), expected.next_back()),
        };
        assert_eq!(found.map(Result::unwrap), model);
        if model.is_none() {
            break;
        }
    }
    assert!(range.next().is_none() && range.next_back().is_none() && range.next().is_none());
}

fn show(key: &[u8]) -> String {
    format!("a key of {} bytes, {:02x?}…", key.len(), &key[..key.len().min(16)])
}

// ---- the tests ----

const PAGE_SIZES: [usize; 5] = [4096, 8192, 16384, 32768, 65536];

/// The same cases in every run, so that a change is judged by itself; `PROPTEST_RNG_SEED` tries others.
fn config(cases: u32) -> ProptestConfig {
    let seed = std::env::var("PROPTEST_RNG_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    ProptestConfig {
        cases,
        rng_seed: RngSeed::Fixed(seed),
        max_shrink_iters: 2000,
        max_shrink_time: 30_000,
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("proptest-regressions"))),
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config(64))]

    #[test]
    fn a_store_does_what_maps_do(
        page_size in prop_oneof![3 => Just(0), 4 => 0usize..5],
        ops in prop::collection::vec(op(2), 1..100),
    ) {
        World::new(Options::new().page_size(PAGE_SIZES[page_size])).run(&ops);
    }
}

proptest! {
    #![proptest_config(config(24))]

    #[test]
    fn a_store_that_writes_early_does_what_maps_do(
        page_size in prop_oneof![3 => Just(0), 2 => 0usize..5],
        ops in prop::collection::vec(large_op(), 10..50),
    ) {
        World::new(Options::new().page_size(PAGE_SIZES[page_size]).dirty_limit(1 << 20)).run(&ops);
    }
}

proptest! {
    #![proptest_config(config(40))]

    #[test]
    fn a_store_of_many_small_commits_does_what_maps_do(
        page_size in prop_oneof![3 => Just(0), 2 => 0usize..5],
        held in prop_oneof![Just(32 << 20), Just(200 << 10)],
        ops in prop::collection::vec(small_op(), 40..160),
    ) {
        World::new(Options::new().page_size(PAGE_SIZES[page_size]).log_limit(0).held_limit(held)).run(&ops);
    }
}

/// Twenty seconds, or `MAPLEAF_SOAK_SECONDS`, of one store after the other, each from a seed of its own,
/// which a failure prints and `MAPLEAF_SOAK_SEED` runs again.
#[test]
fn soak() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let end = Instant::now() + Duration::from_secs(number("MAPLEAF_SOAK_SECONDS").unwrap_or(20));
    let given = number("MAPLEAF_SOAK_SEED");
    for seed in given.unwrap_or(0).. {
        println!("MAPLEAF_SOAK_SEED={seed}");
        soak_store(seed, end);
        if given.is_some() || Instant::now() > end {
            return;
        }
    }
}

fn soak_store(seed: u64, end: Instant) {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(ProptestConfig::default(), rng);
    let options = Options::new().page_size(PAGE_SIZES[(seed / 3) as usize % 5]);
    let (bulk, options) = match seed % 3 {
        0 => (large_op().boxed(), options.dirty_limit(1 << 20)),
        1 => (op(4).boxed(), options),
        _ => (small_op().boxed(), options.log_limit(0).held_limit(1 << 20)),
    };
    let mut world = World::new(options);
    for _ in 0..400 {
        let op = bulk.new_tree(&mut runner).unwrap().current();
        world.step(&op);
        if Instant::now() > end {
            break;
        }
    }
    world.run(&[]);
}

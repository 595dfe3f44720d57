//! How the images were made: txns on a store, and the same txns on maps, which say what is right.
//!
//! Every txn sets the user version to its number, so a state says which it is. Plans only grow at their ends: an
//! image in `images/` belongs to the plan that made it (`make_seeds` writes them anew).

use mapleaf::{Database, Durability, Result, Schema, WriteTxn};
use std::collections::{BTreeMap, BTreeSet};

pub type Map = BTreeMap<Vec<u8>, Vec<u8>>;
pub type Sets = BTreeMap<Vec<u8>, BTreeSet<Vec<u8>>>;

/// What a table holds.
#[derive(Clone, PartialEq, Eq)]
pub enum Held {
    Map(Map),
    Sets(Sets),
}

/// All tables with their entries, and the stored snapshots with their user versions.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Contents {
    pub tables: BTreeMap<String, Held>,
    pub snapshots: BTreeMap<String, u64>,
}

impl Held {
    /// How many entries.
    pub fn len(&self) -> usize {
        match self {
            Held::Map(map) => map.len(),
            Held::Sets(sets) => sets.values().map(BTreeSet::len).sum(),
        }
    }
}

impl Contents {
    /// A table with one value per key.
    pub fn map(&self, name: &str) -> Option<&Map> {
        match self.tables.get(name) {
            Some(Held::Map(map)) => Some(map),
            _ => None,
        }
    }

    /// A multimap.
    pub fn sets(&self, name: &str) -> Option<&Sets> {
        match self.tables.get(name) {
            Some(Held::Sets(sets)) => Some(sets),
            _ => None,
        }
    }
}

#[derive(Clone)]
pub enum Change {
    Create(&'static str, Schema),
    Put(&'static str, Vec<u8>, Vec<u8>),
    Delete(&'static str, Vec<u8>),
    Drop(&'static str),
    Rename(&'static str, &'static str),
    PutValue(&'static str, Vec<u8>, Vec<u8>),
    DeleteValue(&'static str, Vec<u8>, Vec<u8>),
    DeleteValues(&'static str, Vec<u8>),
    /// From a key up to, not including, another.
    DeleteRange(&'static str, Vec<u8>, Vec<u8>),
    /// Names the state.
    Store(&'static str),
    Forget(String),
}

#[derive(Clone)]
pub enum Step {
    Txn(Durability, Vec<Change>),
    Checkpoint,
    /// A reader begins that sees the store as it is.
    Pin,
    /// The oldest one ends.
    Unpin,
    /// The file is saved as if all processes died now.
    Save(&'static str),
}

/// A store, step by step.
pub struct Plan {
    /// The name of the image that closing it leaves.
    pub name: &'static str,
    pub page_size: usize,
    pub steps: Vec<Step>,
}

impl Change {
    pub fn carry_out(&self, w: &mut WriteTxn) -> Result<()> {
        match self {
            Change::Create(name, schema) => w.create_table(name, schema),
            Change::Put(table, key, value) => w.raw_put(table, key, value).map(drop),
            Change::Delete(table, key) => w.raw_delete(table, key).map(drop),
            Change::Drop(name) => w.drop_table(name).map(drop),
            Change::Rename(from, to) => w.rename_table(from, to),
            Change::PutValue(table, key, value) => w.raw_put_value(table, key, value).map(drop),
            Change::DeleteValue(table, key, value) => w.raw_delete_value(table, key, value).map(drop),
            Change::DeleteValues(table, key) => w.raw_delete_values(table, key).map(drop),
            Change::DeleteRange(table, from, to) => {
                w.raw_delete_range(table, from.clone()..to.clone()).map(drop)
            }
            Change::Store(name) => w.create_snapshot(name),
            Change::Forget(name) => w.drop_snapshot(name).map(drop),
        }
    }

    /// The same to contents; `version` is the user version of the txn.
    pub fn apply(&self, contents: &mut Contents, version: u64) {
        let there = "the plan knows its tables";
        let tables = &mut contents.tables;
        let map = |tables: &mut BTreeMap<String, Held>, name: &str, change: &dyn Fn(&mut Map)| match tables
            .get_mut(name)
            .expect(there)
        {
            Held::Map(map) => change(map),
            Held::Sets(_) => panic!("{name} is a multimap"),
        };
        let sets = |tables: &mut BTreeMap<String, Held>, name: &str, change: &dyn Fn(&mut Sets)| match tables
            .get_mut(name)
            .expect(there)
        {
            Held::Sets(sets) => change(sets),
            Held::Map(_) => panic!("{name} is no multimap"),
        };
        match self {
            Change::Create(name, schema) => {
                let empty = if schema.multi { Held::Sets(Sets::new()) } else { Held::Map(Map::new()) };
                tables.insert((*name).into(), empty);
            }
            Change::Put(table, key, value) => {
                map(tables, table, &|map| drop(map.insert(key.clone(), value.clone())));
            }
            Change::Delete(table, key) => map(tables, table, &|map| drop(map.remove(key))),
            Change::Drop(name) => drop(tables.remove(*name)),
            Change::Rename(from, to) => {
                let table = tables.remove(*from).expect(there);
                tables.insert((*to).into(), table);
            }
            Change::PutValue(table, key, value) => sets(tables, table, &|sets| {
                sets.entry(key.clone()).or_default().insert(value.clone());
            }),
            Change::DeleteValue(table, key, value) => sets(tables, table, &|sets| {
                sets.entry(key.clone()).or_default().remove(value);
                sets.retain(|_, set| !set.is_empty());
            }),
            Change::DeleteValues(table, key) => sets(tables, table, &|sets| drop(sets.remove(key))),
            Change::DeleteRange(table, from, to) => {
                let is_within = |key: &Vec<u8>| from <= key && key < to;
                match tables.get_mut(*table).expect(there) {
                    Held::Map(map) => map.retain(|key, _| !is_within(key)),
                    Held::Sets(sets) => sets.retain(|key, _| !is_within(key)),
                }
            }
            Change::Store(name) => drop(contents.snapshots.insert((*name).into(), version)),
            Change::Forget(name) => drop(contents.snapshots.remove(name)),
        }
    }
}

impl Plan {
    /// What each user version stands for.
    pub fn states(&self) -> Vec<Contents> {
        let mut states = vec![Contents::default()];
        for step in &self.steps {
            if let Step::Txn(_, changes) = step {
                let mut contents = states.last().expect("the empty one").clone();
                let version = states.len() as u64;
                changes.iter().for_each(|change| change.apply(&mut contents, version));
                states.push(contents);
            }
        }
        states
    }

    /// Carries it out; `save` is given the name of each image when its time has come.
    pub fn carry_out(&self, db: &Database, mut save: impl FnMut(&str)) -> Result<()> {
        let (mut version, mut readers) = (0, Vec::new());
        for step in &self.steps {
            match step {
                Step::Txn(durability, changes) => {
                    version += 1;
                    let mut w = db.begin_write()?;
                    w.set_durability(*durability);
                    w.set_user_version(version);
                    changes.iter().try_for_each(|change| change.carry_out(&mut w))?;
                    w.commit()?;
                }
                Step::Checkpoint => db.checkpoint()?,
                Step::Pin => readers.push(db.begin_read()?),
                Step::Unpin => drop(readers.remove(0)),
                Step::Save(name) => save(name),
            }
        }
        Ok(())
    }
}

fn fixed(key: usize, value: usize, align: usize) -> Schema {
    Schema { key_width: Some(key), value_width: Some(value), value_align: align, ..Schema::bytes() }
}

fn typed(key: &str, value: &str, key_width: Option<usize>, value_width: Option<usize>) -> Schema {
    let (key_type, value_type) = (key.into(), value.into());
    Schema { key_type, value_type, key_width, value_width, value_align: 1, multi: false }
}

fn word(i: u32) -> Vec<u8> {
    format!("some/prefix/{:05}", i * 7919 % 100_003).into_bytes()
}

/// A key of a thousand bytes and more, so that few fit in a page and the tree is deep.
fn long_key(i: u32) -> Vec<u8> {
    let mut key = vec![b'k'; 1100 + (i as usize * 37) % 800];
    let at = key.len() - 2;
    key[at..].copy_from_slice(&(i as u16 * 7).to_be_bytes());
    if i.is_multiple_of(3) {
        key[0] = i as u8;
    }
    key
}

fn durable(changes: Vec<Change>) -> Step {
    Step::Txn(Durability::Durable, changes)
}

/// Several tables and levels, large values, then a log; page size 4096.
fn tables() -> Plan {
    use Change::{Create, Delete, Drop, Put, Rename};
    let number = |i: u64| Put("numbers", i.to_be_bytes().to_vec(), (i * i).to_be_bytes().to_vec());
    let mut steps = vec![durable(
        [
            Create("words", typed("str", "bytes", None, None)),
            Create("numbers", typed("u64", "u64", Some(8), Some(8))),
            Create("", Schema::bytes()),
            Create("long", Schema::bytes()),
        ]
        .into_iter()
        .chain((0..150).map(|i| Put("words", word(i), vec![i as u8; 20 + (i as usize * 13) % 200])))
        .chain((0..600).map(number))
        .chain((0..9).map(|i| Put("", vec![b'a' + i], vec![i; 3])))
        .collect(),
    )];
    steps.push(durable((0..24).map(|i| Put("long", long_key(i), vec![i as u8; 9])).collect()));
    steps.push(durable(
        [Create("blobs", Schema::bytes()), Create("gone", fixed(4, 4, 4))]
            .into_iter()
            .chain([900, 3000, 5000, 12_000, 30_000].map(|len| Put("blobs", vec![len as u8], vec![7; len])))
            .chain((0..300u32).map(|i| Put("gone", i.to_be_bytes().to_vec(), vec![1, 2, 3, 4])))
            .collect(),
    ));
    steps.push(durable((0..150).step_by(3).map(|i| Delete("words", word(i))).collect()));
    steps.push(durable(vec![Drop("gone"), Delete("blobs", vec![5000u16 as u8])]));
    steps.extend([Step::Checkpoint, Step::Save("early")]);
    for round in 0..6u8 {
        let value = vec![round; 40];
        steps.push(durable(vec![
            Put("words", word(u32::from(round)), value),
            number(1000 + u64::from(round)),
        ]));
    }
    steps.push(Step::Checkpoint);
    steps.push(Step::Txn(Durability::Eventual, vec![Create("new", fixed(3, 5, 1))]));
    for round in 0..8u8 {
        let key = vec![round, 1, 2];
        steps.push(durable(vec![
            Put("new", key, vec![round; 5]),
            Delete("words", word(1 + 3 * u32::from(round))),
        ]));
    }
    steps.push(durable(vec![Rename("new", "renamed"), Put("blobs", vec![1], vec![9; 6000])]));
    steps.push(durable(vec![Drop("long"), Delete("blobs", vec![1])]));
    steps.push(Step::Txn(Durability::Eventual, vec![Put("renamed", vec![9; 3], vec![9; 5])]));
    steps.push(Step::Save("log"));
    Plan { name: "closed", page_size: 4096, steps }
}

/// Tables of fixed widths only; page size 4096.
fn widths() -> Plan {
    use Change::{Create, Put};
    let shapes = [("a", 8, 8, 1), ("b", 4, 0, 1), ("c", 3, 5, 1), ("d", 16, 32, 16), ("e", 100, 400, 1)];
    let mut changes = Vec::new();
    for (name, key, value, align) in shapes {
        changes.push(Create(name, fixed(key, value, align)));
        for i in 0..(12_000 / (key + value)).min(700) as u16 {
            let mut bytes = vec![0; key];
            bytes[key.min(3) - 2..key.min(3)].copy_from_slice(&i.to_be_bytes());
            changes.push(Put(name, bytes, vec![i as u8; value]));
        }
    }
    Plan { name: "widths", page_size: 4096, steps: vec![durable(changes)] }
}

/// Pages of 64 KiB, with a log.
fn wide() -> Plan {
    use Change::{Create, Put};
    let mut steps = vec![durable(
        [Create("words", Schema::bytes()), Create("fixed", fixed(8, 100, 4))]
            .into_iter()
            .chain((0..60).map(|i| Put("words", word(i), vec![i as u8; 2500])))
            .chain((0..700u64).map(|i| Put("fixed", i.to_be_bytes().to_vec(), vec![i as u8; 100])))
            .chain([Put("words", vec![b'z'; 30_000], vec![1; 70_000])])
            .collect(),
    )];
    for round in 0..5 {
        steps.push(durable(vec![Put("words", word(100 + round), vec![round as u8; 100])]));
    }
    steps.push(Step::Save("wide"));
    Plan { name: "wide-closed", page_size: 65536, steps }
}

/// Many small commits beside readers: pending pages, holes, a chain of space records; page size 4096.
fn holes() -> Plan {
    use Change::{Create, Delete, Put};
    let mut steps = vec![durable(
        std::iter::once(Create("t", Schema::bytes()))
            .chain((0..120).map(|i| Put("t", word(i), vec![i as u8; 700])))
            .collect(),
    )];
    for round in 0..33 {
        if round % 7 == 0 {
            steps.push(Step::Pin);
        }
        let level = if round % 5 == 4 { Durability::Ordered } else { Durability::Durable };
        let changes = (0..4).map(|i| match i {
            3 => Delete("t", word((round * 13) % 120)),
            i => Put("t", word((round * 29 + i * 41) % 120), vec![round as u8; 600]),
        });
        steps.push(Step::Txn(level, changes.collect()));
        if round == 17 {
            steps.push(Step::Unpin);
        }
    }
    steps.push(Step::Save("holes"));
    Plan { name: "holes-closed", page_size: 4096, steps }
}

/// Multimaps with sets that are trees, values with tables of checksums, stored snapshots, and a log; page size 4096.
fn sets() -> Plan {
    use Change::{Create, Delete, DeleteRange, DeleteValue, DeleteValues, Forget, Put, PutValue, Store};
    let multi = |schema: Schema| Schema { multi: true, ..schema };
    let six = Schema { value_width: Some(6), ..Schema::bytes() };
    let member = |i: u32| format!("{:04x}/of/a/set", i * 7919 % 65_521).into_bytes();
    let number = |i: u32| u64::from(i * 31 % 4001).to_be_bytes().to_vec();
    let page =
        |fill: u8, len: usize| (0..len).map(|i| fill.wrapping_add((i >> 12) as u8)).collect::<Vec<u8>>();
    let mut steps = vec![durable(
        [
            Create("tags", multi(Schema::bytes())),
            Create("ids", multi(fixed(4, 8, 1))),
            Create("mixed", multi(six)),
            Create("files", Schema::bytes()),
        ]
        .into_iter()
        .chain((0..60).map(|i| PutValue("tags", word(i % 23), member(i))))
        .chain((0..330).map(|i| PutValue("tags", b"many".to_vec(), member(i))))
        .chain((0..12).map(|i| PutValue("tags", b"long".to_vec(), long_key(i))))
        .chain((0..700).map(|i| PutValue("ids", vec![0, 0, 0, 1], number(i))))
        .chain((0..240u32).map(|i| PutValue("ids", (i % 40 + 2).to_be_bytes().to_vec(), number(i))))
        .chain(
            (0..300u32)
                .map(|i| PutValue("mixed", b"six".to_vec(), [vec![0, 0], i.to_be_bytes().to_vec()].concat())),
        )
        .chain(
            [5000, 66_000, 140_000].map(|len: usize| Put("files", len.to_be_bytes().to_vec(), page(7, len))),
        )
        .chain([Store("first")])
        .collect(),
    )];
    steps.push(durable(
        (0..330).step_by(2).map(|i| DeleteValue("tags", b"many".to_vec(), member(i))).collect(),
    ));
    steps.push(durable(vec![
        Put("files", b"other".to_vec(), page(90, 70_000)),
        Delete("files", 140_000usize.to_be_bytes().to_vec()),
        DeleteRange("ids", 7u32.to_be_bytes().to_vec(), 19u32.to_be_bytes().to_vec()),
        Store("second"),
        Store(""),
    ]));
    steps.push(durable(vec![DeleteValues("mixed", b"six".to_vec()), Forget("".into())]));
    for round in 0..7u32 {
        let first = number(5000 + round);
        steps.push(durable(vec![
            PutValue("ids", vec![0, 0, 0, 1], first),
            DeleteValue("ids", vec![0, 0, 0, 1], number(round * 3)),
            PutValue("mixed", word(round), vec![round as u8; 6]),
        ]));
    }
    steps.push(durable(vec![DeleteRange("tags", b"some/prefix/5".to_vec(), b"some/prefix/7".to_vec())]));
    steps.push(durable(vec![
        DeleteValues("tags", b"long".to_vec()),
        DeleteRange("files", vec![], b"\0\0\0\0\0\0\x20".to_vec()),
    ]));
    steps.push(Step::Save("sets"));
    steps.push(durable(vec![Forget("first".into()), PutValue("tags", b"many".to_vec(), b"more".to_vec())]));
    Plan { name: "sets-closed", page_size: 4096, steps }
}

/// A store that nothing was put into.
fn empty() -> Plan {
    Plan { name: "empty", page_size: 8192, steps: Vec::new() }
}

pub fn plans() -> Vec<Plan> {
    vec![tables(), widths(), wide(), holes(), empty(), sets()]
}

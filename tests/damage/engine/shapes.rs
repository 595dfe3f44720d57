//! Good files: what each shape consists of, txn by txn, and what every txn left.
//!
//! A shape is a list of txns that any store can carry out. Txn `k` (from 1) sets the version to `k`, so that it can
//! be told from an answer which txn it comes from.

use mapleaf::{Database, Error, Options, Result, Schema};
use rand::prelude::*;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// Keys and values.
pub type Bytes = Arc<[u8]>;
/// One table.
pub type Entries = BTreeMap<Bytes, Bytes>;
/// All tables.
pub type Contents = BTreeMap<&'static str, Arc<Entries>>;

/// One change of a txn.
#[derive(Clone)]
pub enum Change {
    /// The table is created if it is not there.
    Put(&'static str, Bytes, Bytes),
    Delete(&'static str, Bytes),
    Drop(&'static str),
}

/// What a good file consists of.
pub struct Shape {
    pub name: &'static str,
    pub page_size: usize,
    pub txns: Vec<Vec<Change>>,
    /// The file is taken while it is open, so that there may be a log to replay.
    pub is_left_open: bool,
    /// A checkpoint after every so many txns.
    pub checkpoint_every: usize,
    /// Whether stores other than mapleaf can make it.
    pub suits_peers: bool,
}

/// Tables with entries of one width, and of aligned values; others are of bytes.
fn schema(table: &str) -> Schema {
    let widths = |key: usize, value: usize| Schema {
        key_width: Some(key),
        value_width: Some(value),
        ..Schema::bytes()
    };
    match table {
        "numbers" => Schema { key_type: "u64".into(), value_type: "u64".into(), ..widths(8, 8) },
        "narrow" => widths(4, 12),
        "set" => widths(16, 0),
        "aligned" => Schema { value_align: 8, ..Schema::bytes() },
        _ => Schema::bytes(),
    }
}

/// Every shape.
pub fn all() -> Vec<Shape> {
    vec![tables(), deep(), large(), fixed(), updates(), logged(), log_of_tables(), wide_pages()]
}

impl Shape {
    fn new(name: &'static str, txns: Vec<Vec<Change>>) -> Self {
        Shape { name, page_size: 4096, txns, is_left_open: false, checkpoint_every: 4, suits_peers: true }
    }

    /// What each txn left, from the empty store on.
    pub fn states(&self) -> Vec<Contents> {
        let mut states = vec![Contents::new()];
        for txn in &self.txns {
            let mut contents = states.last().expect("the empty one").clone();
            txn.iter().for_each(|change| apply(&mut contents, change));
            states.push(contents);
        }
        states
    }

    /// Makes the file at `path` with mapleaf. Returns its bytes after every checkpoint, and at last those of the
    /// good file.
    pub fn make(&self, path: &Path) -> Vec<Vec<u8>> {
        let mut stages = Vec::new();
        // SAFETY: the file is this program's own.
        let db = unsafe { Options::new().page_size(self.page_size).open(path) }.expect("created");
        for (i, txn) in self.txns.iter().enumerate() {
            write(&db, i as u64 + 1, txn).expect("the store is good");
            if (i + 1) % self.checkpoint_every == 0 {
                db.checkpoint().expect("the store is good");
                stages.push(std::fs::read(path).expect("readable"));
            }
        }
        if self.is_left_open {
            stages.push(std::fs::read(path).expect("readable"));
            return stages;
        }
        drop(db);
        stages.push(std::fs::read(path).expect("readable"));
        stages
    }
}

/// What a change does to the contents.
pub fn apply(contents: &mut Contents, change: &Change) {
    match change {
        Change::Put(table, key, value) => {
            Arc::make_mut(contents.entry(table).or_default()).insert(key.clone(), value.clone());
        }
        Change::Delete(table, key) => {
            if let Some(entries) = contents.get_mut(table) {
                Arc::make_mut(entries).remove(key);
            }
        }
        Change::Drop(table) => drop(contents.remove(table)),
    }
}

/// Carries out txn `version`.
pub fn write(db: &Database, version: u64, txn: &[Change]) -> Result<()> {
    db.write(|w| {
        w.set_user_version(version);
        for change in txn {
            match change {
                Change::Put(table, key, value) => {
                    match w.raw_put(table, key, value) {
                        Err(Error::TableNotFound { .. }) => {
                            w.create_table(table, &schema(table))?;
                            w.raw_put(table, key, value)?
                        }
                        other => other?,
                    };
                }
                Change::Delete(table, key) => drop(w.raw_delete(table, key)?),
                Change::Drop(table) => drop(w.drop_table(table)?),
            }
        }
        Ok(())
    })
}

fn bytes(bytes: impl AsRef<[u8]>) -> Bytes {
    bytes.as_ref().into()
}

fn noise(random: &mut StdRng, len: usize) -> Bytes {
    let mut noise = vec![0; len];
    random.fill_bytes(&mut noise);
    noise.into()
}

fn word(i: u64) -> Change {
    let len = if i.is_multiple_of(40) { 9000 } else { 20 + i % 300 };
    Change::Put(
        "words",
        bytes(format!("some/common/prefix/{:06}", i * 7919 % 1_000_003)),
        vec![i as u8; len as usize].into(),
    )
}

fn number(i: u64) -> Change {
    Change::Put("numbers", bytes(i.to_be_bytes()), bytes((i * i).to_be_bytes()))
}

fn without_value(change: Change) -> Change {
    match change {
        Change::Put(table, key, _) => Change::Delete(table, key),
        other => other,
    }
}

/// Several tables, with holes, with an empty one, and with one that was dropped.
fn tables() -> Shape {
    let mut txns: Vec<Vec<Change>> =
        (0..8).map(|k| (k * 150..(k + 1) * 150).flat_map(|i| [word(i), number(i)]).collect()).collect();
    txns[1].push(Change::Put("single", bytes("only"), bytes("one")));
    txns[2].extend((0..200u64).map(|i| Change::Put("dropped", bytes(i.to_be_bytes()), bytes([7; 60]))));
    txns[3].push(Change::Put("emptied", bytes("a"), bytes("b")));
    txns.push((0..1200).step_by(3).map(|i| without_value(word(i))).collect());
    txns.push(vec![Change::Drop("dropped"), Change::Delete("emptied", bytes("a"))]);
    let aligned = |i: u64| {
        Change::Put("aligned", bytes(format!("{i:04}")), bytes(vec![i as u8; 8 * (i as usize % 30)]))
    };
    txns.push((0..300).map(aligned).collect());
    txns.push((0..40).map(|i| number(i * 31)).chain((500..520).map(word)).collect());
    Shape { checkpoint_every: 3, ..Shape::new("tables", txns) }
}

/// Many small keys, and a table of long separators, so of several levels.
fn deep() -> Shape {
    let mut random = StdRng::seed_from_u64(2);
    let groups: Vec<Bytes> = (0..50).map(|_| noise(&mut random, 440)).collect();
    let long = |i: usize| {
        let key = [&groups[i % 50][..], &(i as u32 / 50).to_be_bytes()].concat();
        Change::Put("long", bytes(key), bytes([i as u8; 12]))
    };
    let small = |i: u32| {
        Change::Put("small", bytes(&i.wrapping_mul(0x9e37_79b1).to_be_bytes()[..]), bytes([i as u8]))
    };
    let txns = (0..10u32)
        .map(|k| {
            (k * 300..(k + 1) * 300)
                .map(small)
                .chain((k as usize * 90..(k as usize + 1) * 90).map(long))
                .collect()
        })
        .collect();
    Shape::new("deep", txns)
}

/// Large values, in pages of their own.
fn large() -> Shape {
    let mut random = StdRng::seed_from_u64(3);
    let mut put = |i: u64| {
        let len = [2100, 4096, 4097, 12_288, 30_000, 70_000][random.random_range(0..6)];
        Change::Put("large", bytes(format!("value {i:03}")), noise(&mut random, len))
    };
    let mut txns: Vec<Vec<Change>> = (0..6).map(|k| (k * 5..(k + 1) * 5).map(&mut put).collect()).collect();
    txns.push((0..30).step_by(4).map(&mut put).collect());
    txns.push((1..30).step_by(7).map(|i| without_value(put(i))).collect());
    Shape { checkpoint_every: 2, ..Shape::new("large", txns) }
}

/// Entries of one width.
fn fixed() -> Shape {
    let narrow = |i: u32| Change::Put("narrow", bytes(i.to_be_bytes()), bytes([i as u8; 12]));
    let member = |i: u64| {
        Change::Put("set", bytes((i.wrapping_mul(0x9e37_79b9_7f4a_7c15) as u128).to_be_bytes()), bytes(""))
    };
    let mut txns: Vec<Vec<Change>> = (0..6u64)
        .map(|k| {
            let numbers = (k * 300..(k + 1) * 300).map(|i| number(i * 17 % 1801));
            let narrow = (k as u32 * 200..(k as u32 + 1) * 200).map(narrow);
            numbers.chain(narrow).chain((k * 100..(k + 1) * 100).map(member)).collect()
        })
        .collect();
    txns.push((0..1800).step_by(5).map(|i| without_value(number(i))).collect());
    txns.push((0..600).step_by(2).map(|i| without_value(member(i))).collect());
    Shape { checkpoint_every: 2, ..Shape::new("fixed", txns) }
}

/// Many updates and deletes, so that pages are given up, reused and pending, and space records follow each other.
fn updates() -> Shape {
    let mut random = StdRng::seed_from_u64(5);
    let mut put = |i: u64| {
        let len = if random.random_bool(0.02) { 5000 } else { random.random_range(10..400) };
        Change::Put("updated", bytes(format!("entry {i:05}")), noise(&mut random, len))
    };
    let mut txns: Vec<Vec<Change>> = vec![(0..900).map(&mut put).collect()];
    let mut order = StdRng::seed_from_u64(6);
    for k in 0..36 {
        let mut txn: Vec<Change> = (0..25).map(|_| put(order.random_range(0..900))).collect();
        txn.extend((0..12).map(|_| without_value(put(order.random_range(0..900)))));
        if k == 20 {
            txn.extend((200..400).map(|i| without_value(put(i))));
        }
        txns.push(txn);
    }
    Shape { checkpoint_every: 5, ..Shape::new("updates", txns) }
}

/// A log to replay.
fn logged() -> Shape {
    let mut txns: Vec<Vec<Change>> = vec![(0..400).flat_map(|i| [word(i), number(i)]).collect(); 1];
    txns.extend((0..60).map(|k| {
        let deleted = (k * 5..k * 5 + 2).map(|i| without_value(word(i)));
        [number(1000 + k), word(3 * k + 1)].into_iter().chain(deleted).collect()
    }));
    Shape { is_left_open: true, checkpoint_every: 12, ..Shape::new("logged", txns) }
}

/// A log that creates and drops tables.
fn log_of_tables() -> Shape {
    const NAMES: [&str; 6] = ["a", "b", "c", "numbers", "set", "aligned"];
    let put = |table: &'static str, i: u64| match table {
        "numbers" => number(i),
        "set" => Change::Put(table, bytes(u128::from(i).to_be_bytes()), bytes("")),
        _ => Change::Put(table, bytes(format!("{i:06}")), bytes(vec![i as u8; 8 * (1 + i as usize % 20)])),
    };
    let mut txns: Vec<Vec<Change>> = vec![(0..200).map(|i| put("a", i)).collect(), vec![put("b", 1)]];
    for k in 0..40usize {
        let table = NAMES[k % 6];
        let mut txn: Vec<Change> = (0..8).map(|i| put(table, (k * 8 + i) as u64)).collect();
        if k % 9 == 8 {
            txn.push(Change::Drop(NAMES[(k + 2) % 6]));
        }
        txns.push(txn);
    }
    // One checkpoint, so that the log holds all the rest.
    Shape { is_left_open: true, checkpoint_every: 15, ..Shape::new("log of tables", txns) }
}

/// The largest pages.
fn wide_pages() -> Shape {
    let mut random = StdRng::seed_from_u64(8);
    let mut put = |i: u64| {
        let len = if i.is_multiple_of(90) { 70_000 } else { 20 + i as usize % 900 };
        Change::Put("wide", bytes(format!("{:05}", i * 7919 % 100_003)), noise(&mut random, len))
    };
    let mut txns: Vec<Vec<Change>> =
        (0..5).map(|k| (k * 150..(k + 1) * 150).flat_map(|i| [put(i), number(i)]).collect()).collect();
    txns.push((0..750).step_by(3).map(|i| without_value(put(i))).collect());
    txns.push((0..20).map(|i| number(i * 3)).collect());
    txns.push((0..20).map(|i| number(i * 5 + 1)).collect());
    Shape {
        page_size: 65536,
        is_left_open: true,
        checkpoint_every: 3,
        suits_peers: false,
        ..Shape::new("64-KiB pages", txns)
    }
}

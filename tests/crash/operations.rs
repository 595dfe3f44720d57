//! Steps beyond put and delete: whole ranges, loads, large values, multimaps, nested txns.
//!
//! Owns: how each is carried out, and what it does to the model. In the model an entry of a multimap is a pair: the key,
//! of four bytes, with the value behind it.

use crate::script::{Contents, Step, value};
use mapleaf::{
    BulkOptions, Error, MultiView, ReadTxn, Result, Schema, Table, TableInfo, TableView, WriteTxn,
};
use std::collections::BTreeMap;
use std::io::ErrorKind::UnexpectedEof;
use std::ops::Range;

/// A step that is one of the crate's larger operations. Tables with one value per key and multimaps have names
/// of their own.
#[derive(Clone, Debug)]
pub enum Operation {
    /// Of a table of either kind.
    DeleteRange {
        table: &'static str,
        keys: Range<u32>,
    },
    /// Entries with every so manyth key, which come in no order, and are sorted in files.
    Load {
        table: &'static str,
        keys: Range<u32>,
        step: usize,
        len: usize,
        seed: u8,
    },
    /// Behind the last key.
    Append {
        table: &'static str,
        keys: Range<u32>,
        len: usize,
        seed: u8,
    },
    /// A value from a source.
    PutFrom {
        table: &'static str,
        key: u32,
        len: usize,
        seed: u8,
    },
    /// Half a value: its source ends too early, and nothing is changed.
    PutHalf {
        table: &'static str,
        key: u32,
        len: usize,
    },
    /// A value that is written to its place.
    Reserve {
        table: &'static str,
        key: u32,
        len: usize,
        seed: u8,
    },
    /// Other bytes in the place of those of a value.
    Edit {
        table: &'static str,
        key: u32,
        seed: u8,
    },
    /// Values of so many bytes, one after the other.
    PutValues {
        table: &'static str,
        key: u32,
        values: Range<u32>,
        len: usize,
    },
    DeleteValues {
        table: &'static str,
        key: u32,
        values: Range<u32>,
        len: usize,
    },
    /// A key of a multimap with all it has.
    DeleteKey {
        table: &'static str,
        key: u32,
    },
    /// A txn within, which is committed or dropped.
    Nested {
        steps: Vec<Step>,
        is_kept: bool,
    },
}

impl From<Operation> for Step {
    fn from(operation: Operation) -> Step {
        Step::Run(operation)
    }
}

pub fn delete_range(table: &'static str, keys: Range<u32>) -> Step {
    Operation::DeleteRange { table, keys }.into()
}

pub fn load(table: &'static str, keys: Range<u32>, step: usize, len: usize, seed: u8) -> Step {
    Operation::Load { table, keys, step, len, seed }.into()
}

pub fn append(table: &'static str, keys: Range<u32>, len: usize, seed: u8) -> Step {
    Operation::Append { table, keys, len, seed }.into()
}

pub fn put_from(table: &'static str, key: u32, len: usize, seed: u8) -> Step {
    Operation::PutFrom { table, key, len, seed }.into()
}

pub fn put_half(table: &'static str, key: u32, len: usize) -> Step {
    Operation::PutHalf { table, key, len }.into()
}

pub fn reserve(table: &'static str, key: u32, len: usize, seed: u8) -> Step {
    Operation::Reserve { table, key, len, seed }.into()
}

pub fn edit(table: &'static str, key: u32, seed: u8) -> Step {
    Operation::Edit { table, key, seed }.into()
}

pub fn put_values(table: &'static str, key: u32, values: Range<u32>, len: usize) -> Step {
    Operation::PutValues { table, key, values, len }.into()
}

pub fn delete_values(table: &'static str, key: u32, values: Range<u32>, len: usize) -> Step {
    Operation::DeleteValues { table, key, values, len }.into()
}

pub fn delete_key(table: &'static str, key: u32) -> Step {
    Operation::DeleteKey { table, key }.into()
}

pub fn kept(steps: Vec<Step>) -> Step {
    Operation::Nested { steps, is_kept: true }.into()
}

pub fn dropped(steps: Vec<Step>) -> Step {
    Operation::Nested { steps, is_kept: false }.into()
}

/// A value of a multimap, of at least four bytes.
fn member(number: u32, len: usize) -> Vec<u8> {
    let mut member = number.to_be_bytes().to_vec();
    member.resize(len.max(4), number as u8);
    member
}

fn pair(key: u32, member: &[u8]) -> Vec<u8> {
    [&key.to_be_bytes(), member].concat()
}

/// The keys of a load in the order in which they come: none beside its neighbour.
fn scattered(keys: &Range<u32>, step: usize) -> Vec<u32> {
    let mut keys: Vec<u32> = keys.clone().step_by(step).collect();
    keys.sort_by_key(|key| (key.wrapping_mul(0x9e37_79b9), *key));
    keys
}

impl Operation {
    /// What needs a table or an entry does nothing where there is none: the commit that made it may have failed.
    pub fn carry_out(&self, txn: &mut WriteTxn) -> Result<()> {
        if self.needed().is_some_and(|needed| txn.raw_table(needed).is_ok_and(|table| table.is_none())) {
            return Ok(());
        }
        match self {
            Operation::DeleteRange { table, keys } => {
                let before = count(txn, table)?;
                let removed = txn.raw_delete_range(table, be(keys.start)..be(keys.end))?;
                assert_eq!(before - removed, count(txn, table)?);
                Ok(())
            }
            Operation::Load { table, keys, step, len, seed } => {
                let options = BulkOptions { memory: 16 << 10, ..BulkOptions::default() };
                let entries = scattered(keys, *step).into_iter();
                let entries = entries.map(|key| (be(key), value(key, *len, *seed)));
                txn.bulk_load_with(bytes(table), options, entries).map(drop)
            }
            Operation::Append { table, keys, len, seed } => keys
                .clone()
                .try_for_each(|key| txn.append(bytes(table), &be(key)[..], &value(key, *len, *seed)[..])),
            Operation::PutFrom { table, key, len, seed } => {
                let value = value(*key, *len, *seed);
                txn.put_from(bytes(table), &be(*key)[..], *len as u64, &value[..]).map(drop)
            }
            Operation::PutHalf { table, key, len } => {
                let half = vec![7; len / 2];
                match txn.put_from(bytes(table), &be(*key)[..], *len as u64, &half[..]) {
                    Err(Error::Io { source, .. }) if source.kind() == UnexpectedEof => Ok(()),
                    other => other.map(|_| panic!("a value was put without its second half")),
                }
            }
            Operation::Reserve { table, key, len, seed } => {
                let value = value(*key, *len, *seed);
                txn.reserve(bytes(table), &be(*key)[..], *len, |bytes| bytes.copy_from_slice(&value))
            }
            Operation::Edit { table, key, seed } => {
                txn.update_in_place(bytes(table), &be(*key)[..], |bytes| scramble(bytes, *seed)).map(drop)
            }
            Operation::PutValues { table, key, values, len } => {
                if !txn.tables()?.iter().any(|info| info.name == *table) {
                    txn.create_table(table, &Schema { multi: true, ..Schema::bytes() })?;
                }
                let put = |value| txn.raw_put_value(table, &be(*key), &member(value, *len)).map(drop);
                values.clone().try_for_each(put)
            }
            Operation::DeleteValues { table, key, values, len } => {
                let delete = |value| txn.raw_delete_value(table, &be(*key), &member(value, *len)).map(drop);
                values.clone().try_for_each(delete)
            }
            Operation::DeleteKey { table, key } => txn.raw_delete_values(table, &be(*key)).map(drop),
            Operation::Nested { steps, is_kept } => {
                let mut nested = txn.begin_nested()?;
                steps.iter().try_for_each(|step| step.carry_out(&mut nested))?;
                if *is_kept { nested.commit() } else { Ok(()) }
            }
        }
    }

    /// The table that is not made where it is missing.
    fn needed(&self) -> Option<&'static str> {
        match self {
            Operation::DeleteRange { table, .. }
            | Operation::DeleteValues { table, .. }
            | Operation::DeleteKey { table, .. } => Some(table),
            _ => None,
        }
    }

    pub fn model(&self, contents: &mut Contents) {
        if self.needed().is_some_and(|needed| !contents.contains_key(needed)) {
            return;
        }
        match self {
            Operation::DeleteRange { table, keys } => {
                let bounds = be(keys.start)..be(keys.end);
                entries(contents, table)
                    .retain(|key, _| !(bounds.start[..] <= key[..] && key[..] < bounds.end[..]));
            }
            Operation::Load { table, keys, step, len, seed } => {
                let loaded =
                    keys.clone().step_by(*step).map(|key| (be(key).to_vec(), value(key, *len, *seed)));
                entries(contents, table).extend(loaded);
            }
            Operation::Append { table, keys, len, seed } => {
                let added = keys.clone().map(|key| (be(key).to_vec(), value(key, *len, *seed)));
                entries(contents, table).extend(added);
            }
            Operation::PutFrom { table, key, len, seed } | Operation::Reserve { table, key, len, seed } => {
                entries(contents, table).insert(be(*key).to_vec(), value(*key, *len, *seed));
            }
            Operation::Edit { table, key, seed } => {
                let there = contents.get_mut(*table).and_then(|entries| entries.get_mut(&be(*key)[..]));
                there.into_iter().for_each(|value| scramble(value, *seed));
            }
            Operation::PutValues { table, key, values, len } => {
                let added = values.clone().map(|value| (pair(*key, &member(value, *len)), Vec::new()));
                entries(contents, table).extend(added);
            }
            Operation::DeleteValues { table, key, values, len } => {
                let gone = values.clone().map(|value| pair(*key, &member(value, *len)));
                gone.for_each(|pair| drop(entries(contents, table).remove(&pair)));
            }
            Operation::DeleteKey { table, key } => {
                entries(contents, table).retain(|pair, _| !pair.starts_with(&be(*key)));
            }
            Operation::Nested { steps, is_kept: true } => steps.iter().for_each(|step| step.model(contents)),
            Operation::Nested { is_kept: false, .. } | Operation::PutHalf { .. } => {}
        }
    }
}

fn be(key: u32) -> [u8; 4] {
    key.to_be_bytes()
}

fn bytes(table: &'static str) -> Table<[u8], [u8]> {
    Table::new(table)
}

fn scramble(bytes: &mut [u8], seed: u8) {
    bytes.iter_mut().for_each(|byte| *byte = byte.wrapping_mul(3) ^ seed);
}

fn entries<'c>(contents: &'c mut Contents, table: &str) -> &'c mut BTreeMap<Vec<u8>, Vec<u8>> {
    contents.entry(table.to_owned()).or_default()
}

/// Entries of a table of either kind.
fn count(txn: &WriteTxn, table: &str) -> Result<u64> {
    let tables = txn.tables()?;
    Ok(tables.iter().find(|info| info.name == table).map_or(0, |info| info.len))
}

/// Everything in a table, as the model has it. What counts and ranks say must fit.
pub fn read(txn: &ReadTxn, info: &TableInfo) -> Result<BTreeMap<Vec<u8>, Vec<u8>>> {
    let entries: BTreeMap<_, _> = iter(txn, info)?.collect::<Result<_>>()?;
    assert_eq!(info.len, entries.len() as u64, "entries are counted wrongly");
    match info.schema.multi {
        false => check_single(txn.raw_table(&info.name)?.expect("it was listed"), &entries)?,
        true => check_multi(txn.raw_multi(&info.name)?.expect("it was listed"), &entries)?,
    }
    Ok(entries)
}

/// What the model has at a key of a table of either kind.
pub fn get(txn: &ReadTxn, table: &str, key: &[u8]) -> Result<Option<Vec<u8>>> {
    match txn.raw_table(table) {
        Ok(None) => Ok(None),
        Ok(Some(view)) => Ok(view.get(key)?.map(<[u8]>::to_vec)),
        Err(Error::InvalidArgument { .. }) => {
            let (key, value) = key.split_at(4);
            let found = txn.raw_multi(table)?.expect("it is a multimap").contains(key, value)?;
            Ok(found.then(Vec::new))
        }
        Err(error) => Err(error),
    }
}

type Entries<'t> = Box<dyn Iterator<Item = Result<(Vec<u8>, Vec<u8>)>> + 't>;

/// The entries of a table of either kind, as the model has them.
pub fn iter<'t>(txn: &'t ReadTxn, info: &TableInfo) -> Result<Entries<'t>> {
    Ok(match info.schema.multi {
        false => {
            let table = txn.raw_table(&info.name)?.expect("it was listed");
            Box::new(table.iter().map(|entry| entry.map(|(key, value)| (key.to_vec(), value.to_vec()))))
        }
        true => {
            let table = txn.raw_multi(&info.name)?.expect("it was listed");
            Box::new(table.iter().map(|pair| pair.map(|(key, value)| ([key, value].concat(), Vec::new()))))
        }
    })
}

fn check_single(table: TableView<'_, [u8], [u8]>, entries: &BTreeMap<Vec<u8>, Vec<u8>>) -> Result<()> {
    let count = entries.len() as u64;
    let Some((place, key)) = entries.keys().enumerate().nth(entries.len() / 2) else { return Ok(()) };
    assert_eq!(table.rank(&key[..])?, place as u64, "entries below one are counted wrongly");
    assert_eq!(table.count(&key[..]..)?, count - place as u64, "a range is counted wrongly");
    assert_eq!(table.nth(place as u64)?.map(|(found, _)| found), Some(&key[..]));
    Ok(())
}

fn check_multi(table: MultiView<'_, [u8], [u8]>, pairs: &BTreeMap<Vec<u8>, Vec<u8>>) -> Result<()> {
    let Some((place, pair)) = pairs.keys().enumerate().nth(pairs.len() / 2) else { return Ok(()) };
    let (key, value) = pair.split_at(4);
    let of_key = pairs.keys().filter(|pair| pair.starts_with(key)).count() as u64;
    assert_eq!(table.rank_of(key, value)?, place as u64, "pairs below one are counted wrongly");
    assert_eq!(table.count_values(key)?, of_key, "the values of a key are counted wrongly");
    assert_eq!(table.nth(place as u64)?, Some((key, value)));
    Ok(())
}

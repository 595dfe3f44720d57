//! mapleaf, LMDB and redb behind one trait: the same shapes as mapleaf's, with their default durability, and the same questions.
//!
//! They have no user version: a table `version` holds it. An answer that is not that of the version is wrong, unless it is
//! an error; an older version is right only where the damage hit the meta pages.

use crate::engine::damages::Good;
use crate::engine::shapes::{Change, Contents, Shape, apply};
use crate::engine::{Outcome, Reason};
use heed::types::Bytes;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What can be asked of a peer; errors are texts.
pub type Asked<T> = Result<T, String>;

const VERSION: &str = "version";
/// The version of the txn that the judge commits.
const OWN: u64 = 1_000_000;

/// A store that is not mapleaf.
pub trait Peer: Sized {
    /// Opens the store in this directory, or creates it.
    fn open(directory: &Path) -> Asked<Self>;
    /// Its file.
    fn file(directory: &Path) -> PathBuf;
    /// Carries out a txn, durably.
    fn write(&self, version: u64, txn: &[Change]) -> Asked<()>;
    /// The value at a key of a table, in one snapshot each.
    fn get(&self, table: &str, key: &[u8]) -> Asked<Option<Vec<u8>>>;
    /// Hands out all entries until `step` says no.
    fn walk(&self, table: &str, backwards: bool, step: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Asked<()>;
    /// What its own check finds, where that only reads.
    fn check(&self) -> Asked<()> {
        Ok(())
    }
    /// Closes it, and waits until it is closed.
    fn close(self);
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// mapleaf, whose commits are durable.
pub struct Maple(mapleaf::Database);

impl Peer for Maple {
    fn open(directory: &Path) -> Asked<Self> {
        // SAFETY: the file is this program's own.
        unsafe { mapleaf::Database::open(Self::file(directory)) }.map(Maple).map_err(text)
    }

    fn file(directory: &Path) -> PathBuf {
        directory.join("store.maple")
    }

    fn write(&self, version: u64, txn: &[Change]) -> Asked<()> {
        crate::engine::shapes::write(&self.0, version, txn).map_err(text)
    }

    fn get(&self, table: &str, key: &[u8]) -> Asked<Option<Vec<u8>>> {
        let r = self.0.begin_read().map_err(text)?;
        if table == VERSION {
            return Ok(Some(r.user_version().to_le_bytes().to_vec()));
        }
        let Some(view) = r.raw_table(table).map_err(text)? else { return Ok(None) };
        Ok(view.get(key).map_err(text)?.map(<[u8]>::to_vec))
    }

    fn walk(&self, table: &str, backwards: bool, step: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Asked<()> {
        let r = self.0.begin_read().map_err(text)?;
        let Some(view) = r.raw_table(table).map_err(text)? else { return Ok(()) };
        let each = |entry: mapleaf::Result<(&[u8], &[u8])>| entry.map(|(k, v)| step(k, v)).map_err(text);
        match backwards {
            false => go(view.iter().map(each)),
            true => go(view.iter().rev().map(each)),
        }
    }

    fn check(&self) -> Asked<()> {
        let report = self.0.verify(&mut |_| {}).map_err(text)?;
        report.problems.first().map_or(Ok(()), |problem| Err(format!("verify: {}", problem.detail)))
    }

    fn close(self) {
        let _ = self.0.close();
    }
}

/// LMDB through heed, which syncs every commit.
pub struct Lmdb(heed::Env);

type Pairs = heed::Database<Bytes, Bytes>;

impl Lmdb {
    fn table(&self, r: &heed::RoTxn, name: &str) -> Asked<Option<Pairs>> {
        self.0.open_database(r, Some(name)).map_err(text)
    }
}

impl Peer for Lmdb {
    fn open(directory: &Path) -> Asked<Self> {
        let mut options = heed::EnvOpenOptions::new();
        // SAFETY: the files are this program's own.
        unsafe { options.map_size(256 << 20).max_dbs(16).open(directory) }.map(Lmdb).map_err(text)
    }

    fn file(directory: &Path) -> PathBuf {
        directory.join("data.mdb")
    }

    fn write(&self, version: u64, txn: &[Change]) -> Asked<()> {
        let mut w = self.0.write_txn().map_err(text)?;
        for change in txn {
            match change {
                Change::Put(table, key, value) => {
                    let table: Pairs = self.0.create_database(&mut w, Some(table)).map_err(text)?;
                    table.put(&mut w, key, value).map_err(text)?;
                }
                Change::Delete(table, key) => {
                    let table: Pairs = self.0.create_database(&mut w, Some(table)).map_err(text)?;
                    table.delete(&mut w, key).map_err(text)?;
                }
                Change::Drop(table) => {
                    let table: Pairs = self.0.create_database(&mut w, Some(table)).map_err(text)?;
                    // SAFETY: nobody else has a handle of it.
                    unsafe { table.remove(&mut w) }.map_err(text)?;
                }
            }
        }
        let table: Pairs = self.0.create_database(&mut w, Some(VERSION)).map_err(text)?;
        table.put(&mut w, b"v", &version.to_le_bytes()).map_err(text)?;
        w.commit().map_err(text)
    }

    fn get(&self, table: &str, key: &[u8]) -> Asked<Option<Vec<u8>>> {
        let r = self.0.read_txn().map_err(text)?;
        let Some(table) = self.table(&r, table)? else { return Ok(None) };
        // LMDB has no empty keys.
        if key.is_empty() {
            return Ok(None);
        }
        Ok(table.get(&r, key).map_err(text)?.map(<[u8]>::to_vec))
    }

    fn walk(&self, table: &str, backwards: bool, step: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Asked<()> {
        let r = self.0.read_txn().map_err(text)?;
        let Some(table) = self.table(&r, table)? else { return Ok(()) };
        let each = |entry: heed::Result<(&[u8], &[u8])>| entry.map(|(k, v)| step(k, v)).map_err(text);
        match backwards {
            false => go(table.iter(&r).map_err(text)?.map(each)),
            true => go(table.rev_iter(&r).map_err(text)?.map(each)),
        }
    }

    fn close(self) {
        self.0.prepare_for_closing().wait();
    }
}

/// Until an error or a no.
fn go(mut steps: impl Iterator<Item = Asked<bool>>) -> Asked<()> {
    steps.find(|step| !matches!(step, Ok(true))).unwrap_or(Ok(true)).map(drop)
}

/// Makes a shape's file; its bytes at several moments.
pub fn make<P: Peer>(shape: &Shape, directory: &Path) -> Vec<Vec<u8>> {
    let read = || std::fs::read(P::file(directory)).expect("it is there");
    let store = P::open(directory).expect("created");
    let mut stages = Vec::new();
    for (i, txn) in shape.txns.iter().enumerate() {
        store.write(i as u64 + 1, txn).expect("the store is good");
        if (i + 1) % shape.checkpoint_every == 0 {
            stages.push(read());
        }
    }
    if shape.is_left_open {
        stages.push(read());
        store.close();
    } else {
        store.close();
        stages.push(read());
    }
    stages
}

/// Opens a damaged file, reads everything, changes something, and looks again.
pub fn judge<P: Peer>(good: &Good, damaged: &[u8], states: &[Contents], directory: &Path) -> Outcome {
    std::fs::write(P::file(directory), damaged).expect("there is room");
    look::<P>(good, damaged, states, directory).unwrap_or_else(Outcome::Failed)
}

fn look<P: Peer>(good: &Good, damaged: &[u8], states: &[Contents], directory: &Path) -> Asked<Outcome> {
    let Ok(store) = P::open(directory) else { return Ok(Outcome::Refused) };
    let last = states.len() - 1;
    let mut errors = 0;
    // Where the version cannot be read, the rest is compared with the last.
    let version = match version_of(&store) {
        Ok(version) => version as usize,
        Err(_) => {
            errors += 1;
            last
        }
    };
    let Some(contents) = states.get(version) else { return Err(format!("wrong: version {version}")) };
    errors += compare(&store, contents)?;
    if version != last && !good.is_hit(damaged, &good.slots) {
        return Err(format!("wrong: version {version} of {last}"));
    }
    let mut expected = contents.clone();
    let changes = changes(contents);
    if store.write(OWN, &changes).is_ok() {
        changes.iter().for_each(|change| apply(&mut expected, change));
    }
    compare(&store, &expected)?;
    store.close();
    if let Ok(store) = P::open(directory) {
        compare(&store, &expected)?;
        store.close();
    }
    Ok(match (version == last, errors) {
        (false, _) => Outcome::Older(Reason::SlotStale),
        (true, 0) => Outcome::Right,
        (true, _) => Outcome::Partly,
    })
}

/// The version of the last txn that it holds.
pub fn version_of(store: &impl Peer) -> Asked<u64> {
    let found = store.get(VERSION, b"v")?;
    Ok(found.and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes))
}

/// Every get and both walks against what a txn left. Returns how many gave errors.
pub fn compare(store: &impl Peer, contents: &Contents) -> Asked<u64> {
    let mut errors = 0;
    for (name, entries) in contents {
        for (key, value) in entries.iter() {
            match store.get(name, key) {
                Ok(found) if found.as_deref() == Some(&value[..]) => {}
                Ok(found) => {
                    return Err(format!("wrong: get in {name} gives {:?}", found.map(|found| found.len())));
                }
                Err(_) => errors += 1,
            }
        }
        for backwards in [false, true] {
            let mut wanted: Box<dyn Iterator<Item = _>> = match backwards {
                false => Box::new(entries.iter()),
                true => Box::new(entries.iter().rev()),
            };
            let mut is_right = true;
            let walked = store.walk(name, backwards, &mut |key, value| {
                is_right = wanted.next().is_some_and(|(k, v)| key == &k[..] && value == &v[..]);
                is_right
            });
            is_right &= walked.is_err() || wanted.next().is_none();
            if !is_right {
                return Err(format!("wrong: a scan of {name}"));
            }
            errors += u64::from(walked.is_err());
        }
    }
    Ok(errors)
}

/// Some changes all over the tables.
fn changes(contents: &Contents) -> Vec<Change> {
    let mut changes = Vec::new();
    for (name, entries) in contents {
        for (i, (key, value)) in entries.iter().step_by(entries.len() / 8 + 1).enumerate() {
            let turned: Vec<u8> = value.iter().map(|byte| byte ^ 0x55).collect();
            changes.push(match i % 3 {
                0 => Change::Delete(name, Arc::clone(key)),
                _ => Change::Put(name, Arc::clone(key), turned.into()),
            });
        }
    }
    changes
}

#[cfg(feature = "redb")]
pub use of_redb::{Redb, check_integrity};

#[cfg(feature = "redb")]
mod of_redb {
    use super::*;
    use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition, TableError};

    /// redb with `Durability::Immediate`, its default.
    pub struct Redb(Database);

    type Definition<'n> = TableDefinition<'n, &'static [u8], &'static [u8]>;

    const CACHE: usize = 16 << 20;

    fn open(directory: &Path) -> Asked<Database> {
        let mut builder = Database::builder();
        builder.set_cache_size(CACHE);
        // `create` also opens.
        builder.create(Redb::file(directory)).map_err(text)
    }

    impl Redb {
        fn read<T>(
            &self,
            table: &str,
            absent: T,
            read: impl FnOnce(redb::ReadOnlyTable<&'static [u8], &'static [u8]>) -> Asked<T>,
        ) -> Asked<T> {
            let r = self.0.begin_read().map_err(text)?;
            match r.open_table(Definition::new(table)) {
                Ok(table) => read(table),
                Err(TableError::TableDoesNotExist(_)) => Ok(absent),
                Err(error) => Err(text(error)),
            }
        }
    }

    impl Peer for Redb {
        fn open(directory: &Path) -> Asked<Self> {
            open(directory).map(Redb)
        }

        fn file(directory: &Path) -> PathBuf {
            directory.join("store.redb")
        }

        fn write(&self, version: u64, txn: &[Change]) -> Asked<()> {
            let w = self.0.begin_write().map_err(text)?;
            for change in txn {
                match change {
                    Change::Put(table, key, value) => {
                        let mut table = w.open_table(Definition::new(table)).map_err(text)?;
                        table.insert(&key[..], &value[..]).map_err(text)?;
                    }
                    Change::Delete(table, key) => {
                        let mut table = w.open_table(Definition::new(table)).map_err(text)?;
                        table.remove(&key[..]).map_err(text)?;
                    }
                    Change::Drop(table) => drop(w.delete_table(Definition::new(table)).map_err(text)?),
                }
            }
            let mut table = w.open_table(Definition::new(VERSION)).map_err(text)?;
            table.insert(&b"v"[..], &version.to_le_bytes()[..]).map_err(text)?;
            drop(table);
            w.commit().map_err(text)
        }

        fn get(&self, table: &str, key: &[u8]) -> Asked<Option<Vec<u8>>> {
            self.read(table, None, |table| {
                Ok(table.get(key).map_err(text)?.map(|value| value.value().to_vec()))
            })
        }

        fn walk(
            &self,
            table: &str,
            backwards: bool,
            step: &mut dyn FnMut(&[u8], &[u8]) -> bool,
        ) -> Asked<()> {
            self.read(table, (), |table| {
                let entries = table.iter().map_err(text)?;
                let each =
                    |entry: Result<(redb::AccessGuard<'_, &[u8]>, redb::AccessGuard<'_, &[u8]>), _>| {
                        entry
                            .map(|(k, v)| step(k.value(), v.value()))
                            .map_err(|error: redb::StorageError| text(error))
                    };
                match backwards {
                    false => go(entries.map(each)),
                    true => go(entries.rev().map(each)),
                }
            })
        }

        fn close(self) {
            drop(self.0);
        }
    }

    /// What redb's own check says of a damaged file.
    pub fn check_integrity(damaged: &[u8], directory: &Path) -> &'static str {
        std::fs::write(Redb::file(directory), damaged).expect("there is room");
        let Ok(mut store) = open(directory) else { return "check_integrity: not opened" };
        match store.check_integrity() {
            Ok(true) => "check_integrity: clean",
            Ok(false) => "check_integrity: repaired",
            Err(_) => "check_integrity: noticed",
        }
    }
}

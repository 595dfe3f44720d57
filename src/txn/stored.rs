//! Stored snapshots: states with a name, which stay until they are dropped.
//!
//! Owns: making, dropping, listing them, and reading one. Promises: of a name that is found every page is there until
//! the reader ends, whoever drops it meanwhile. Leaves to others: the list ([`crate::named`]), and writing it
//! ([`crate::commit`]).

use super::{ReadTxn, WriteTxn};
use crate::catalog::check_name;
use crate::error::{Error, Result};
use crate::format::SnapshotRecord;
use crate::named::{self, SnapshotInfo};
use crate::store::Store;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

impl ReadTxn {
    /// Begins at the state of this name.
    ///
    /// Whoever drops it publishes that before any of its pages is used again, and whoever uses pages again looks at the
    /// pins first. So if the newest list has it once the pin is set, the pin is seen.
    pub(crate) fn begin_stored(store: &Arc<Store>, name: &str) -> Result<Self> {
        loop {
            let newest = ReadTxn::begin(Arc::clone(store))?;
            let record = newest.find_stored(name)?;
            let pin = store.readers.pin_older(record.txn.get())?;
            // Another list may have the name too; of another state perhaps.
            if store.readers.published().snapshots != newest.state.snapshots {
                store.readers.unpin(pin);
                continue;
            }
            let mut txn = ReadTxn::of(Arc::clone(store), Some(pin), named::state_of(&record))?;
            txn.is_stored = true;
            return Ok(txn);
        }
    }

    fn find_stored(&self, name: &str) -> Result<SnapshotRecord> {
        let found = named::find(self, &self.state, self.store.pages.page_size, name)?;
        found.map_or_else(|| Err(not_found(name, self.list_stored()?.into_iter())), Ok)
    }

    fn list_stored(&self) -> Result<Vec<(String, SnapshotRecord)>> {
        named::list(self, &self.state, self.store.pages.page_size)
    }

    /// The stored snapshots, in order of their names: those that there were when this txn began. (In a stored snapshot,
    /// which knows of none: those that there are now.) O(snapshots).
    ///
    /// ```
    /// # use mapleaf::{Database, Table};
    /// # const STOCK: Table<str, u64> = Table::new("stock");
    /// # let db = Database::temporary()?;
    /// db.write(|w| {
    ///     w.put(STOCK, "tea", &5)?;
    ///     w.create_snapshot("monday")
    /// })?;
    /// for snapshot in db.begin_read()?.snapshots()? {
    ///     println!("{} is of txn {}", snapshot.name, snapshot.txn_id);
    /// }
    /// # Ok::<_, mapleaf::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Corrupt` where the list is damaged.
    pub fn snapshots(&self) -> Result<Vec<SnapshotInfo>> {
        if self.is_stored {
            self.check_process()?;
            return ReadTxn::begin(Arc::clone(&self.store))?.snapshots();
        }
        let listed = self.list_stored()?.into_iter();
        Ok(listed.map(|(name, record)| SnapshotInfo::new(name, &record)).collect())
    }
}

impl WriteTxn {
    /// Gives the state that this txn commits a name: all tables, with what is changed after this call too, and the user
    /// version. [`Database::read_snapshot`](crate::Database::read_snapshot) reads it, in any process, until it is
    /// [dropped](WriteTxn::drop_snapshot); it survives closing the store, crashes and power cuts like any other change.
    ///
    /// The commit is a checkpoint (two flushes, as of [`Durability::Ordered`](crate::Durability::Ordered)) and writes two
    /// or three pages more. Afterwards the snapshot costs the pages that are replaced since and that it sees; nothing is
    /// copied. Like everything else, this is undone when the txn is dropped or rolled back to a savepoint.
    ///
    /// ```
    /// use mapleaf::{Database, Table};
    /// const STOCK: Table<str, u64> = Table::new("stock");
    /// # fn main() -> mapleaf::Result<()> {
    /// # let db = Database::temporary()?;
    /// db.write(|w| w.put(STOCK, "tea", &5))?;
    /// db.write(|w| w.create_snapshot("before the sale"))?;
    /// db.write(|w| w.delete(STOCK, "tea"))?;
    ///
    /// let before = db.read_snapshot("before the sale")?;
    /// assert_eq!(before.get(STOCK, "tea")?, Some(5));
    /// assert!(db.write(|w| w.drop_snapshot("before the sale"))?);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// `SnapshotExists`; `InvalidArgument` for a name of more than 512 bytes; `Poisoned`; `Corrupt` where the list of
    /// snapshots is damaged. Nothing is changed.
    pub fn create_snapshot(&mut self, name: &str) -> Result<()> {
        self.not_poisoned()?;
        check_name(name)?;
        if self.has_snapshot(name)? {
            return Err(Error::SnapshotExists { name: name.to_owned() });
        }
        let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        self.snapshots.insert(name.to_owned(), Some(since.as_secs()));
        Ok(())
    }

    /// Takes a snapshot's name away. Returns whether there was one. The pages that only it sees come free as soon as
    /// nobody reads it any more. The commit is a checkpoint.
    ///
    /// # Errors
    /// `Poisoned`; `Corrupt` where the list of snapshots is damaged. Nothing is changed.
    pub fn drop_snapshot(&mut self, name: &str) -> Result<bool> {
        self.not_poisoned()?;
        if !self.has_snapshot(name)? {
            return Ok(false);
        }
        match self.stored_record(name)? {
            Some(_) => self.snapshots.insert(name.to_owned(), None),
            // It was made by this txn.
            None => self.snapshots.remove(name),
        };
        Ok(true)
    }

    /// The stored snapshots as this txn has them, in order of their names. O(snapshots).
    ///
    /// # Errors
    /// `Corrupt` where the list is damaged.
    pub fn snapshots(&self) -> Result<Vec<SnapshotInfo>> {
        let stored = named::list(&self.dirty, &self.dirty.base, self.dirty.page_size())?;
        let mut all: BTreeMap<String, SnapshotInfo> = stored
            .into_iter()
            .map(|(name, record)| (name.clone(), SnapshotInfo::new(name, &record)))
            .collect();
        for (name, created) in &self.snapshots {
            match created {
                Some(created) => all.insert(name.clone(), self.own_snapshot(name, *created)),
                None => all.remove(name),
            };
        }
        Ok(all.into_values().collect())
    }

    fn own_snapshot(&self, name: &str, created: u64) -> SnapshotInfo {
        SnapshotInfo {
            name: name.to_owned(),
            txn_id: self.txn_id(),
            created,
            tables: self.catalog.len(),
            user_version: self.user_version,
        }
    }

    fn has_snapshot(&self, name: &str) -> Result<bool> {
        match self.snapshots.get(name) {
            Some(change) => Ok(change.is_some()),
            None => Ok(self.stored_record(name)?.is_some()),
        }
    }

    fn stored_record(&self, name: &str) -> Result<Option<SnapshotRecord>> {
        named::find(&self.dirty, &self.dirty.base, self.dirty.page_size(), name)
    }
}

fn not_found(name: &str, known: impl Iterator<Item = (String, SnapshotRecord)>) -> Error {
    Error::SnapshotNotFound { name: name.to_owned(), known: known.map(|(name, _)| name).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Config;
    use crate::store::Wait;
    use crate::table::Table;

    const BLOBS: Table<u64, [u8]> = Table::new("blobs");

    fn put(store: &Arc<Store>, fill: u8, snapshots: impl FnOnce(&mut WriteTxn) -> Result<()>) {
        let mut w = WriteTxn::begin(store, Wait::Forever).unwrap().expect("waits");
        (0..100).for_each(|key| assert!(w.put(BLOBS, &key, &[fill; 1500]).is_ok()));
        snapshots(&mut w).unwrap();
        w.commit().unwrap();
    }

    fn is_filled(txn: &ReadTxn, fill: u8) -> bool {
        (0..100).all(|key| txn.get(BLOBS, &key).unwrap() == Some(&[fill; 1500][..]))
    }

    /// In debug builds every commit asserts that each page is exactly one thing, and that the snapshots have theirs.
    #[test]
    fn processes_that_write_in_turn_keep_each_others_snapshots() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("two.maple");
        let config = Config { dirty_limit: 1 << 20, ..Config::default() };
        let a = Store::open_apart(&path, &config).unwrap();
        let b = Store::open_apart(&path, &config).unwrap();
        put(&a, 1, |w| w.create_snapshot("of a"));
        for fill in 2..9 {
            put(&b, fill, |_| Ok(()));
        }
        put(&b, 9, |w| w.create_snapshot("of b"));
        for fill in 10..20 {
            put(if fill % 3 > 0 { &a } else { &b }, fill, |_| Ok(()));
        }
        for store in [&a, &b] {
            assert!(is_filled(&ReadTxn::begin_stored(store, "of a").unwrap(), 1));
            assert!(is_filled(&ReadTxn::begin_stored(store, "of b").unwrap(), 9));
        }
        let held = ReadTxn::begin_stored(&b, "of a").unwrap();
        put(&a, 20, |w| w.drop_snapshot("of a").map(drop));
        for fill in 21..40 {
            put(if fill % 2 > 0 { &a } else { &b }, fill, |_| Ok(()));
        }
        assert!(is_filled(&held, 1), "it was pinned before the name was dropped");
        let gone = ReadTxn::begin_stored(&b, "of a");
        assert!(matches!(gone, Err(Error::SnapshotNotFound { known, .. }) if known == ["of b"]));
        drop(held);
        for fill in 40..50 {
            put(&a, fill, |_| Ok(()));
        }
        assert!(is_filled(&ReadTxn::begin_stored(&a, "of b").unwrap(), 9));
    }
}

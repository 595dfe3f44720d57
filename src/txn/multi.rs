//! Changing multimaps, and finding them.
//!
//! Owns: the part of [`WriteTxn`] and [`ReadTxn`] that speaks of multimaps. Leaves to others: where values
//! stand ([`crate::tree::multi`]), reading them ([`crate::multi`]).

use super::{ReadTxn, WriteTxn};
use crate::catalog::{check_entry, find_record};
use crate::codec::{Encode, Key, KeyRange};
use crate::error::{Error, Result};
use crate::format::Schema;
use crate::multi::{MultiTable, multi_schema_of};
use crate::redo::Change;
use crate::tree::{Tree, multi, remove};

/// Raw access is that of a table with one value per key.
///
/// # Errors
/// `InvalidArgument` where it is a multimap.
pub(super) fn expect_single(name: &str, is_multi: bool) -> Result<()> {
    if !is_multi {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "table {name:?} is a multimap: use raw_multi, raw_put_value, raw_delete_value or raw_delete_values"
    )))
}

/// The same of a multimap.
///
/// # Errors
/// `InvalidArgument` where it is none.
pub(super) fn expect_multi(name: &str, is_multi: bool) -> Result<()> {
    match is_multi {
        true => Ok(()),
        false => Err(Error::invalid(format!(
            "table {name:?} is no multimap: use raw_table, raw_put or raw_delete"
        ))),
    }
}

fn check_multi_schema<K: Key + ?Sized, V: Key + ?Sized>(name: &str, stored: &Schema) -> Result<()> {
    let requested = multi_schema_of::<K, V>();
    if *stored == requested {
        return Ok(());
    }
    Err(stored.mismatch(name, &requested))
}

impl WriteTxn {
    /// Adds `value` to those of `key`. Returns whether it was added: false where it was there already. The
    /// multimap is created if need be. O(log n): copies the path once per txn.
    ///
    /// ```
    /// # use mapleaf::{Database, MultiTable};
    /// const TAGS: MultiTable<str, u64> = MultiTable::new("tags");
    /// # let db = Database::temporary()?;
    /// db.write(|w| {
    ///     assert!(w.put_value(TAGS, "rust", &7)?);
    ///     assert!(!w.put_value(TAGS, "rust", &7)?);
    ///     assert!(w.delete_value(TAGS, "rust", &7)?);
    ///     assert_eq!(w.delete_values(TAGS, "rust")?, 0);
    ///     Ok::<_, mapleaf::Error>(())
    /// })?;
    /// # Ok::<_, mapleaf::Error>(())
    /// ```
    ///
    /// # Errors `SchemaMismatch`, `KeyTooLong`, `ValueTooLong`, `WrongWidth`: nothing is changed. `Corrupt`,
    /// `Io`, `Full`: the txn can only be aborted.
    pub fn put_value<K: Key + ?Sized, V: Key + ?Sized>(
        &mut self,
        table: MultiTable<K, V>,
        key: &(impl Encode<K> + ?Sized),
        value: &(impl Encode<V> + ?Sized),
    ) -> Result<bool> {
        let index = match self.open_multi(table)? {
            Some(index) => index,
            None => self.create(table.name(), multi_schema_of::<K, V>(), Some(table.type_id()))?,
        };
        self.put_value_at(index, key.encode().as_ref(), value.encode().as_ref())
    }

    /// Removes `value` from those of `key`. Returns whether it was there. A key whose last value is removed
    /// is gone. O(log n).
    ///
    /// # Errors
    /// `SchemaMismatch`: nothing is changed. `Corrupt`, `Io`, `Full`: the txn can only be aborted.
    pub fn delete_value<K: Key + ?Sized, V: Key + ?Sized>(
        &mut self,
        table: MultiTable<K, V>,
        key: &(impl Encode<K> + ?Sized),
        value: &(impl Encode<V> + ?Sized),
    ) -> Result<bool> {
        match self.open_multi(table)? {
            Some(index) => self.delete_value_at(index, key.encode().as_ref(), value.encode().as_ref()),
            None => Ok(false),
        }
    }

    /// Removes `key` with all its values. Returns how many they were. O(log n), and the branches of their
    /// tree are read where the values take more than half of a page.
    ///
    /// # Errors
    /// As for [`WriteTxn::delete_value`].
    pub fn delete_values<K: Key + ?Sized, V: Key + ?Sized>(
        &mut self,
        table: MultiTable<K, V>,
        key: &(impl Encode<K> + ?Sized),
    ) -> Result<u64> {
        match self.open_multi(table)? {
            Some(index) => self.delete_values_at(index, key.encode().as_ref()),
            None => Ok(0),
        }
    }

    /// Removes all keys in `range` with their values. Returns how many values they had. Costs what
    /// [`WriteTxn::delete_range`] does.
    ///
    /// # Errors
    /// As for [`WriteTxn::delete_value`].
    pub fn delete_keys<K: Key + ?Sized, V: Key + ?Sized>(
        &mut self,
        table: MultiTable<K, V>,
        range: impl KeyRange<K>,
    ) -> Result<u64> {
        self.not_poisoned()?;
        match self.open_multi(table)? {
            Some(index) => self.delete_range_at(index, range.to_bounds()),
            None => Ok(0),
        }
    }

    /// Like [`WriteTxn::put_value`], of raw bytes into an existing multimap of any types.
    ///
    /// # Errors `TableNotFound`, `InvalidArgument` for a table that is no multimap, and those of
    /// [`WriteTxn::put_value`]. The bytes are not checked against the types.
    pub fn raw_put_value(&mut self, table: &str, key: &[u8], value: &[u8]) -> Result<bool> {
        let index = self.open_raw_multi(table)?;
        self.put_value_at(index, key, value)
    }

    /// Like [`WriteTxn::delete_value`], by raw bytes in an existing multimap of any types.
    ///
    /// # Errors `TableNotFound`, `InvalidArgument` for a table that is no multimap, and those of
    /// [`WriteTxn::delete_value`].
    pub fn raw_delete_value(&mut self, table: &str, key: &[u8], value: &[u8]) -> Result<bool> {
        let index = self.open_raw_multi(table)?;
        self.delete_value_at(index, key, value)
    }

    /// Like [`WriteTxn::delete_values`], by raw bytes in an existing multimap of any types.
    ///
    /// # Errors `TableNotFound`, `InvalidArgument` for a table that is no multimap, and those of
    /// [`WriteTxn::delete_values`].
    pub fn raw_delete_values(&mut self, table: &str, key: &[u8]) -> Result<u64> {
        let index = self.open_raw_multi(table)?;
        self.delete_values_at(index, key)
    }

    /// Puts what a record of the log, or a page, says: one value more in a multimap, else the value.
    pub(crate) fn raw_put_any(&mut self, table: &str, key: &[u8], value: &[u8]) -> Result<()> {
        let index = self.open_raw(table)?;
        match self.tables[index].schema.multi {
            true => self.put_value_at(index, key, value).map(drop),
            false => self.put_at(index, key, value, true).map(drop),
        }
    }

    /// Removes a key, whatever it has.
    pub(crate) fn raw_delete_any(&mut self, table: &str, key: &[u8]) -> Result<()> {
        let index = self.open_raw(table)?;
        self.delete_values_at(index, key).map(drop)
    }

    fn put_value_at(&mut self, index: usize, key: &[u8], value: &[u8]) -> Result<bool> {
        self.not_poisoned()?;
        check_entry(&self.tables[index].schema, &self.tables[index].tree, key, value)?;
        let is_new =
            self.change(|dirty, tables, _| multi::put_value(dirty, &mut tables[index].tree, key, value))?;
        if is_new {
            self.redo.add(Change::Put { table: self.tables[index].tree.table, key, value });
        }
        Ok(is_new)
    }

    fn delete_value_at(&mut self, index: usize, key: &[u8], value: &[u8]) -> Result<bool> {
        let was_there =
            self.change(|dirty, tables, _| multi::delete_value(dirty, &mut tables[index].tree, key, value))?;
        if was_there {
            self.redo.add(Change::DeleteValue { table: self.tables[index].tree.table, key, value });
        }
        Ok(was_there)
    }

    fn delete_values_at(&mut self, index: usize, key: &[u8]) -> Result<u64> {
        let removed =
            self.change(|dirty, tables, _| remove::remove_all(dirty, &mut tables[index].tree, key))?;
        if removed > 0 {
            self.redo.add(Change::Delete { table: self.tables[index].tree.table, key });
        }
        Ok(removed)
    }

    fn open_multi<K: Key + ?Sized, V: Key + ?Sized>(
        &mut self,
        table: MultiTable<K, V>,
    ) -> Result<Option<usize>> {
        let Some(index) = self.find(table.name())? else { return Ok(None) };
        if self.tables[index].types != Some(table.type_id()) {
            check_multi_schema::<K, V>(table.name(), &self.tables[index].schema)?;
            self.tables.to_mut()[index].types = Some(table.type_id());
        }
        Ok(Some(index))
    }

    /// Opens a table with one value per key.
    pub(super) fn open_raw_single(&mut self, name: &str) -> Result<usize> {
        let index = self.open_raw(name)?;
        expect_single(name, self.tables[index].schema.multi).map(|()| index)
    }

    fn open_raw_multi(&mut self, name: &str) -> Result<usize> {
        let index = self.open_raw(name)?;
        expect_multi(name, self.tables[index].schema.multi).map(|()| index)
    }

    pub(super) fn multi_tree<K: Key + ?Sized, V: Key + ?Sized>(
        &self,
        table: MultiTable<K, V>,
    ) -> Result<Tree> {
        let page_size = self.dirty.page_size();
        if let Some(open) = self.tables.iter().find(|open| open.name == table.name()) {
            if open.types != Some(table.type_id()) {
                check_multi_schema::<K, V>(table.name(), &open.schema)?;
            }
            return Ok(open.tree);
        }
        match find_record(&self.dirty, &self.catalog, table.name())? {
            Some(record) => {
                check_multi_schema::<K, V>(table.name(), &record.schema())?;
                Ok(Tree::of(&record, page_size))
            }
            None => Ok(Tree::empty(0, multi_schema_of::<K, V>().layout(page_size))),
        }
    }
}

impl ReadTxn {
    #[inline]
    pub(super) fn multi_tree<K: Key + ?Sized, V: Key + ?Sized>(
        &self,
        table: MultiTable<K, V>,
    ) -> Result<Tree> {
        match self.cached(table.name(), table.type_id()) {
            Some(tree) => Ok(tree),
            None => self.look_up_multi(table),
        }
    }

    #[cold]
    fn look_up_multi<K: Key + ?Sized, V: Key + ?Sized>(&self, table: MultiTable<K, V>) -> Result<Tree> {
        let page_size = self.store.pages.page_size;
        let tree = match find_record(self, &self.catalog(), table.name())? {
            Some(record) => {
                check_multi_schema::<K, V>(table.name(), &record.schema())?;
                Tree::of(&record, page_size)
            }
            None => Tree::empty(0, multi_schema_of::<K, V>().layout(page_size)),
        };
        self.keep(table.name(), table.type_id(), tree);
        Ok(tree)
    }
}

//! Deleting a range of keys at once: [`WriteTxn::delete_range`].

use super::WriteTxn;
use crate::codec::{Codec, Key, KeyRange};
use crate::error::Result;
use crate::redo::Change;
use crate::table::Table;
use crate::tree::cut;
use std::ops::Bound;

impl WriteTxn {
    /// Removes all entries with keys in `range`. Returns how many there were.
    ///
    /// O(log n + pages freed): both edges of the range are cut, and what lies between them is given up from the
    /// branches above it; leaves there are not read. Where the table has large values (see
    /// [`TableInfo::overflow_pages`](crate::TableInfo::overflow_pages)), leaves in the range are read until all of its
    /// large values are found, but not the values.
    ///
    /// ```
    /// # use mapleaf::{Database, Table};
    /// # let db = Database::temporary()?;
    /// const EVENTS: Table<u64, str> = Table::new("events");
    ///
    /// let mut w = db.begin_write()?;
    /// for minute in 0..1000 {
    ///     w.put(EVENTS, &minute, "…")?;
    /// }
    /// assert_eq!(w.delete_range(EVENTS, ..900)?, 900);
    /// assert_eq!(w.delete_range(EVENTS, 950..=959)?, 10);
    /// assert_eq!(w.len(EVENTS)?, 90);
    /// w.commit()?;
    /// # Ok::<(), mapleaf::Error>(())
    /// ```
    ///
    /// A range whose start is behind its end holds nothing. (libmdbx 0.14 cuts subtrees out in the same way.)
    ///
    /// # Errors
    /// `SchemaMismatch`, `Poisoned`: nothing is changed. `Corrupt`, `Io`, `Full`: the txn can only be aborted.
    pub fn delete_range<K: Key + ?Sized, V: Codec + ?Sized>(
        &mut self,
        table: Table<K, V>,
        range: impl KeyRange<K>,
    ) -> Result<u64> {
        self.not_poisoned()?;
        match self.open(table)? {
            Some(index) => self.delete_range_at(index, range.to_bounds()),
            None => Ok(0),
        }
    }

    /// Like [`WriteTxn::delete_range`], by raw bytes in an existing table of any types. In a multimap each value counts.
    ///
    /// # Errors
    /// `TableNotFound`, and those of [`WriteTxn::delete_range`].
    pub fn raw_delete_range(&mut self, table: &str, range: impl KeyRange<[u8]>) -> Result<u64> {
        self.not_poisoned()?;
        let index = self.open_raw(table)?;
        self.delete_range_at(index, range.to_bounds())
    }

    pub(super) fn delete_range_at(
        &mut self,
        index: usize,
        bounds: (Bound<Vec<u8>>, Bound<Vec<u8>>),
    ) -> Result<u64> {
        let (from, to) = half_open(bounds);
        let to = to.as_deref();
        let removed =
            self.change(|dirty, tables, _| cut::delete_range(dirty, &mut tables[index].tree, &from, to))?;
        if removed > 0 {
            self.redo.add(Change::DeleteRange { table: self.tables[index].tree.table, from: &from, to });
        }
        Ok(removed)
    }
}

/// The first key that can be in the range, and the first one behind that cannot. Nothing lies between a key and the
/// same with a zero behind it.
fn half_open((low, high): (Bound<Vec<u8>>, Bound<Vec<u8>>)) -> (Vec<u8>, Option<Vec<u8>>) {
    let next = |mut key: Vec<u8>| {
        key.push(0);
        key
    };
    let from = match low {
        Bound::Unbounded => Vec::new(),
        Bound::Included(key) => key,
        Bound::Excluded(key) => next(key),
    };
    let to = match high {
        Bound::Unbounded => None,
        Bound::Included(key) => Some(next(key)),
        Bound::Excluded(key) => Some(key),
    };
    (from, to)
}

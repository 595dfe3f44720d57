//! What differs between two snapshots: typed changes and iterators over them.
//!
//! Owns: [`Change`], [`PairChange`], [`TableChange`], and the iterators [`Diff`] and [`MultiDiff`]. Leaves to others:
//! finding what differs ([`crate::tree::diff`]), and whose snapshots can be compared ([`crate::txn`]).

use crate::catalog::TableInfo;
use crate::codec::{Codec, Key};
use crate::error::Result;
use crate::page::Stored;
use crate::table::{Types, decode_error, decode_value};
use crate::tree::diff::{Difference, PairDiff, Walker};
use crate::tree::search::SourceObject;
use std::marker::PhantomData;

/// How an entry differs between two snapshots: what [`Diff`] gives. Of a `Table<u64, str>` it is a
/// `Change<u64, &str>`: keys and values are what reading gives, borrowed from the snapshot that has them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Change<K, V> {
    /// Only the newer snapshot has the key.
    Inserted {
        /// The key.
        key: K,
        /// Its value there.
        value: V,
    },
    /// Both have the key, with values that are not the same bytes.
    Changed {
        /// The key.
        key: K,
        /// Its value in the older snapshot.
        old: V,
        /// Its value in the newer one.
        new: V,
    },
    /// Only the older snapshot has the key.
    Deleted {
        /// The key.
        key: K,
        /// Its value there.
        value: V,
    },
}

impl<K, V> Change<K, V> {
    /// The key.
    pub fn key(&self) -> &K {
        match self {
            Change::Inserted { key, .. } | Change::Changed { key, .. } | Change::Deleted { key, .. } => key,
        }
    }

    /// The value in the older snapshot, if it has one.
    pub fn before(&self) -> Option<&V> {
        match self {
            Change::Inserted { .. } => None,
            Change::Changed { old, .. } => Some(old),
            Change::Deleted { value, .. } => Some(value),
        }
    }

    /// The value in the newer snapshot, if it has one.
    ///
    /// ```
    /// # use mapleaf::{Change, Database, Table};
    /// # const STOCK: Table<str, u64> = Table::new("stock");
    /// # let db = Database::temporary()?;
    /// # let (older, newer) = (db.begin_read()?, db.begin_read()?);
    /// let mirror = Database::temporary()?;
    /// let mut w = mirror.begin_write()?;
    /// for change in older.diff(&newer, STOCK)? {
    ///     let change = change?;
    ///     match change.after() {
    ///         Some(count) => w.put(STOCK, *change.key(), count)?,
    ///         None => w.delete(STOCK, *change.key())?,
    ///     };
    /// }
    /// w.commit()?;
    /// # Ok::<_, mapleaf::Error>(())
    /// ```
    pub fn after(&self) -> Option<&V> {
        match self {
            Change::Inserted { value, .. } => Some(value),
            Change::Changed { new, .. } => Some(new),
            Change::Deleted { .. } => None,
        }
    }
}

/// A pair of a multimap that one of two snapshots has and the other has not: what [`MultiDiff`] gives.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum PairChange<K, V> {
    /// Only the newer snapshot has the pair.
    Inserted {
        /// The key.
        key: K,
        /// One of its values there.
        value: V,
    },
    /// Only the older snapshot has the pair.
    Deleted {
        /// The key.
        key: K,
        /// One of its values there.
        value: V,
    },
}

/// How a table differs between two snapshots: what [`ReadTxn::changed_tables`](crate::ReadTxn::changed_tables) gives.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TableChange {
    /// Only the newer snapshot has a table of this name.
    Created(TableInfo),
    /// Both have one, and it was written to; or it was dropped, and made anew with another id.
    Changed {
        /// The table in the older snapshot.
        old: TableInfo,
        /// The table in the newer one.
        new: TableInfo,
    },
    /// Only the older snapshot has a table of this name.
    Dropped(TableInfo),
}

impl TableChange {
    /// The table's name.
    pub fn name(&self) -> &str {
        match self {
            TableChange::Created(table) | TableChange::Dropped(table) => &table.name,
            TableChange::Changed { new, .. } => &new.name,
        }
    }
}

/// The entries of a table that differ between two snapshots, in order of their keys:
/// [`ReadTxn::diff`](crate::ReadTxn::diff). After an error it gives nothing more.
pub struct Diff<'t, K: ?Sized, V: ?Sized> {
    /// Where the values of the older and of the newer snapshot are.
    sources: (&'t SourceObject<'t>, &'t SourceObject<'t>),
    /// `None` when there is no more.
    differences: Option<crate::tree::diff::Diff<'t>>,
    types: Types<K, V>,
}

impl<'t, K: Key + ?Sized, V: Codec + ?Sized> Diff<'t, K, V> {
    pub(crate) fn new(old: Walker<'t>, new: Walker<'t>, shared: u64) -> Self {
        let sources = (old.source(), new.source());
        let differences = Some(crate::tree::diff::Diff::new(old, new, shared));
        Diff { sources, differences, types: PhantomData }
    }

    fn decode(&self, found: Difference<'t>) -> Result<Change<K::View<'t>, V::View<'t>>> {
        let key = decode_key::<K>(found.key)?;
        let old = |stored: Stored<'t>| decode_value::<V>(self.sources.0, stored);
        let new = |stored: Stored<'t>| decode_value::<V>(self.sources.1, stored);
        Ok(match (found.old, found.new) {
            (Some(value), None) => Change::Deleted { key, value: old(value)? },
            (None, Some(value)) => Change::Inserted { key, value: new(value)? },
            (Some(before), Some(after)) => Change::Changed { key, old: old(before)?, new: new(after)? },
            (None, None) => unreachable!("one of both trees has the key"),
        })
    }
}

impl<'t, K: Key + ?Sized, V: Codec + ?Sized> Iterator for Diff<'t, K, V> {
    type Item = Result<Change<K::View<'t>, V::View<'t>>>;

    fn next(&mut self) -> Option<Self::Item> {
        let found = self.differences.as_mut()?.next().transpose();
        let change = found.map(|found| self.decode(found?));
        if !matches!(change, Some(Ok(_))) {
            self.differences = None;
        }
        change
    }
}

impl<K: Key + ?Sized, V: Codec + ?Sized> std::iter::FusedIterator for Diff<'_, K, V> {}

impl<K: ?Sized, V: ?Sized> std::fmt::Debug for Diff<'_, K, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.differences.is_some() { "Diff" } else { "Diff, at its end" })
    }
}

/// The pairs of a multimap that differ between two snapshots, in order of their keys and then of their values:
/// [`ReadTxn::diff_multi`](crate::ReadTxn::diff_multi). After an error it gives nothing more.
pub struct MultiDiff<'t, K: ?Sized, V: ?Sized> {
    /// `None` when there is no more.
    differences: Option<PairDiff<'t>>,
    types: Types<K, V>,
}

impl<'t, K: Key + ?Sized, V: Key + ?Sized> MultiDiff<'t, K, V> {
    pub(crate) fn new(old: Walker<'t>, new: Walker<'t>, shared: u64) -> Self {
        MultiDiff { differences: Some(PairDiff::new(old, new, shared)), types: PhantomData }
    }
}

impl<'t, K: Key + ?Sized, V: Key + ?Sized> Iterator for MultiDiff<'t, K, V> {
    type Item = Result<PairChange<K::View<'t>, V::View<'t>>>;

    fn next(&mut self) -> Option<Self::Item> {
        let found = self.differences.as_mut()?.next().transpose();
        let change = found.map(|found| {
            let (key, value, is_new) = found?;
            let (key, value) =
                (decode_key::<K>(key)?, V::decode(value).map_err(|e| decode_error("value", e))?);
            Ok(match is_new {
                true => PairChange::Inserted { key, value },
                false => PairChange::Deleted { key, value },
            })
        });
        if !matches!(change, Some(Ok(_))) {
            self.differences = None;
        }
        change
    }
}

impl<K: Key + ?Sized, V: Key + ?Sized> std::iter::FusedIterator for MultiDiff<'_, K, V> {}

impl<K: ?Sized, V: ?Sized> std::fmt::Debug for MultiDiff<'_, K, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.differences.is_some() { "MultiDiff" } else { "MultiDiff, at its end" })
    }
}

fn decode_key<K: Key + ?Sized>(key: &[u8]) -> Result<K::View<'_>> {
    K::decode(key).map_err(|error| decode_error("key", error))
}

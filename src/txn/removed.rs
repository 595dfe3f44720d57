//! Removing entries and keeping them: one, the first or last, or those of a range that a closure picks.
//!
//! Owns: [`Removed`], [`ExtractIf`]. Promises: what is returned was there and is there no more; of an iteration that
//! is dropped early everything stays that it had not reached.

use super::WriteTxn;
use super::cursor::CursorMut;
use crate::codec::{Codec, Encode, Key, KeyRange};
use crate::error::Result;
use crate::page::Stored;
use crate::snapshot::PageSource;
use crate::table::{KeyValue, Table, Types, decode, decode_error, low_place};
use crate::tree::cursor::Place;
use crate::tree::search::{find, resolve};
use std::marker::PhantomData;
use std::ops::Bound;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Memory that is aligned as any value may have to be.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable)]
#[repr(C, align(16))]
struct Aligned([u8; 16]);

/// An entry that was removed. It owns its bytes, so the txn can be used on, or end.
///
/// ```
/// # use mapleaf::{Database, Table};
/// const JOBS: Table<u64, str> = Table::new("jobs");
/// # let db = Database::temporary()?;
/// # db.write(|w| w.put(JOBS, &1, "sweep"))?;
/// let job = db.write(|w| w.pop_first(JOBS))?.expect("there is one");
/// assert_eq!((job.key(), job.value()), (1, "sweep"));
/// # Ok::<_, mapleaf::Error>(())
/// ```
pub struct Removed<K: ?Sized, V: ?Sized> {
    /// The value, and behind it the key.
    memory: Box<[Aligned]>,
    value_len: usize,
    key_len: usize,
    types: Types<K, V>,
}

impl<K: Key + ?Sized, V: Codec + ?Sized> Removed<K, V> {
    /// A copy of an entry. One pass over a large value, which is read where it is.
    pub(super) fn of(source: &(impl PageSource + ?Sized), key: &[u8], stored: Stored<'_>) -> Result<Self> {
        let value = resolve(source, stored)?;
        let len = (value.len() + key.len()).div_ceil(size_of::<Aligned>());
        let mut memory = vec![Aligned([0; 16]); len].into_boxed_slice();
        let bytes = memory.as_mut_bytes();
        bytes[..value.len()].copy_from_slice(value);
        bytes[value.len()..value.len() + key.len()].copy_from_slice(key);
        let removed = Removed { memory, value_len: value.len(), key_len: key.len(), types: PhantomData };
        K::decode(removed.key_bytes()).map_err(|error| decode_error("key", error))?;
        V::decode(removed.value_bytes()).map_err(|error| decode_error("value", error))?;
        Ok(removed)
    }

    /// Its key.
    ///
    /// # Panics
    /// If [`Codec::decode`] refuses bytes that it took when the entry was removed.
    pub fn key(&self) -> K::View<'_> {
        K::decode(self.key_bytes()).expect("it was decoded before")
    }

    /// Its value.
    ///
    /// # Panics
    /// If [`Codec::decode`] refuses bytes that it took when the entry was removed.
    pub fn value(&self) -> V::View<'_> {
        V::decode(self.value_bytes()).expect("it was decoded before")
    }

    /// Both.
    ///
    /// # Panics
    /// As [`Removed::key`] and [`Removed::value`].
    pub fn entry(&self) -> KeyValue<'_, K, V> {
        (self.key(), self.value())
    }
}

impl<K: ?Sized, V: ?Sized> Removed<K, V> {
    /// Its key as it was stored.
    pub fn key_bytes(&self) -> &[u8] {
        &self.memory.as_bytes()[self.value_len..self.value_len + self.key_len]
    }

    /// Its value as it was stored, aligned to 16.
    pub fn value_bytes(&self) -> &[u8] {
        &self.memory.as_bytes()[..self.value_len]
    }
}

impl<K: ?Sized, V: ?Sized> Clone for Removed<K, V> {
    fn clone(&self) -> Self {
        Removed { memory: self.memory.clone(), ..*self }
    }
}

impl<K: ?Sized, V: ?Sized> std::fmt::Debug for Removed<K, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Removed entry of {} + {} bytes", self.key_len, self.value_len)
    }
}

impl WriteTxn {
    /// Removes the entry at `key` and returns it; `None` where there is none. O(log n), and a copy of the entry:
    /// where that is not wanted, [`WriteTxn::delete`].
    ///
    /// ```
    /// # use mapleaf::{Database, Table};
    /// const USERS: Table<u64, str> = Table::new("users");
    /// # let db = Database::temporary()?;
    /// # let mut w = db.begin_write()?;
    /// w.put(USERS, &7, "ann")?;
    /// let removed = w.remove(USERS, &7)?.expect("it was put");
    /// w.put(USERS, &8, removed.value())?;
    /// assert!(w.remove(USERS, &7)?.is_none());
    /// # Ok::<_, mapleaf::Error>(())
    /// ```
    ///
    /// # Errors
    /// `SchemaMismatch`; `Decode` where the entry is not of these types, and stays. `Corrupt`, `Io`, `Full`: the txn
    /// can only be aborted, but for an entry that could not be read.
    pub fn remove<K: Key + ?Sized, V: Codec + ?Sized>(
        &mut self,
        table: Table<K, V>,
        key: &(impl Encode<K> + ?Sized),
    ) -> Result<Option<Removed<K, V>>> {
        match self.open(table)? {
            Some(index) => self.remove_at(index, key.encode().as_ref()),
            None => Ok(None),
        }
    }

    pub(super) fn remove_at<K: Key + ?Sized, V: Codec + ?Sized>(
        &mut self,
        index: usize,
        key: &[u8],
    ) -> Result<Option<Removed<K, V>>> {
        let Some(stored) = find(&*self, &self.tables[index].tree, key)? else { return Ok(None) };
        let removed = Removed::of(&*self, key, stored)?;
        Ok(self.delete_at(index, key)?.then_some(removed))
    }

    /// Removes the first entry and returns it; `None` where there is none. O(log n).
    ///
    /// ```
    /// # use mapleaf::{Database, Table};
    /// const QUEUE: Table<u64, str> = Table::new("queue");
    /// # let db = Database::temporary()?;
    /// # let mut w = db.begin_write()?;
    /// # for (number, job) in [(1, "wash"), (2, "dry")] { w.put(QUEUE, &number, job)?; }
    /// while let Some(job) = w.pop_first(QUEUE)? {
    ///     println!("{}: {}", job.key(), job.value());
    /// }
    /// # Ok::<_, mapleaf::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`WriteTxn::remove`].
    pub fn pop_first<K: Key + ?Sized, V: Codec + ?Sized>(
        &mut self,
        table: Table<K, V>,
    ) -> Result<Option<Removed<K, V>>> {
        let mut cursor = self.cursor_mut(table)?;
        cursor.go(Place::Start, true)?;
        cursor.remove()
    }

    /// Removes the last entry and returns it; `None` where there is none. O(log n).
    ///
    /// # Errors
    /// Those of [`WriteTxn::remove`].
    pub fn pop_last<K: Key + ?Sized, V: Codec + ?Sized>(
        &mut self,
        table: Table<K, V>,
    ) -> Result<Option<Removed<K, V>>> {
        let mut cursor = self.cursor_mut(table)?;
        cursor.go(Place::End, false)?;
        cursor.remove()
    }

    /// Keeps of the entries with keys in `range` those for which `keep` says true, and deletes the others of them.
    /// Returns how many were deleted. What is outside of the range is not looked at. One pass over the range; each
    /// deletion costs as much as [`CursorMut::delete`].
    ///
    /// ```
    /// # use mapleaf::{Database, Table};
    /// const SEEN: Table<str, u64> = Table::new("seen");
    /// # let db = Database::temporary()?;
    /// # let mut w = db.begin_write()?;
    /// # for (name, day) in [("ann", 3), ("bob", 9), ("cid", 4)] { w.put(SEEN, name, &day)?; }
    /// assert_eq!(w.retain(SEEN, .., |_, day| day > 5)?, 2);
    /// assert_eq!(w.len(SEEN)?, 1);
    /// # Ok::<_, mapleaf::Error>(())
    /// ```
    ///
    /// # Errors
    /// `SchemaMismatch`; `Decode` where an entry is not of these types: those before it were looked at.
    /// `Corrupt`, `Io`, `Full`: the txn can only be aborted if anything was deleted.
    pub fn retain<K: Key + ?Sized, V: Codec + ?Sized>(
        &mut self,
        table: Table<K, V>,
        range: impl KeyRange<K>,
        mut keep: impl FnMut(K::View<'_>, V::View<'_>) -> bool,
    ) -> Result<u64> {
        let mut extract = self.extract_if(table, range, |key, value| !keep(key, value))?;
        let mut count = 0;
        while extract.find()? {
            extract.cursor.delete()?;
            count += 1;
        }
        Ok(count)
    }

    /// Removes of the entries with keys in `range` those for which `wanted` says true, one by one, as they are taken
    /// from the iterator in key order. What was not reached when it is dropped stays. One pass; each removal costs
    /// as much as [`CursorMut::delete`], and a copy of the entry.
    ///
    /// ```
    /// # use mapleaf::{Database, Table};
    /// const DUE: Table<u64, str> = Table::new("due");
    /// # let db = Database::temporary()?;
    /// # let mut w = db.begin_write()?;
    /// # for (time, job) in [(1, "wash"), (2, "dry"), (3, "wash")] { w.put(DUE, &time, job)?; }
    /// for job in w.extract_if(DUE, ..3, |_, job| job == "wash")? {
    ///     println!("{} is done", job?.value());
    /// }
    /// assert_eq!(w.iter(DUE)?.collect::<Result<Vec<_>, _>>()?, [(2, "dry"), (3, "wash")]);
    /// # Ok::<_, mapleaf::Error>(())
    /// ```
    ///
    /// # Errors
    /// `SchemaMismatch`; the steps have errors of their own, those of [`WriteTxn::retain`], and it ends after one.
    pub fn extract_if<K: Key + ?Sized, V: Codec + ?Sized, F>(
        &mut self,
        table: Table<K, V>,
        range: impl KeyRange<K>,
        wanted: F,
    ) -> Result<ExtractIf<'_, K, V, F>>
    where
        F: FnMut(K::View<'_>, V::View<'_>) -> bool,
    {
        let (low, high) = range.to_bounds();
        Ok(ExtractIf { cursor: self.cursor_mut(table)?, low: Some(low), high, wanted, is_done: false })
    }
}

/// Iterator that removes what it returns: see [`WriteTxn::extract_if`].
#[must_use = "nothing is removed but what is taken from it; WriteTxn::retain removes all at once"]
pub struct ExtractIf<'w, K: Key + ?Sized, V: Codec + ?Sized, F> {
    cursor: CursorMut<'w, K, V>,
    /// Until the cursor stands there.
    low: Option<Bound<Vec<u8>>>,
    high: Bound<Vec<u8>>,
    wanted: F,
    is_done: bool,
}

impl<K: Key + ?Sized, V: Codec + ?Sized, F> ExtractIf<'_, K, V, F>
where
    F: FnMut(K::View<'_>, V::View<'_>) -> bool,
{
    /// On to the next entry that is wanted; false where there is none.
    fn find(&mut self) -> Result<bool> {
        if let Some(low) = self.low.take() {
            self.cursor.go_between(low_place(&low))?;
        }
        while let Some((txn, pair)) = self.cursor.step(true)? {
            let is_within = match &self.high {
                Bound::Unbounded => true,
                Bound::Included(high) => pair.0 <= &high[..],
                Bound::Excluded(high) => pair.0 < &high[..],
            };
            if !is_within {
                return Ok(false);
            }
            let (key, value) = decode::<K, V>(txn, pair)?;
            if (self.wanted)(key, value) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn take(&mut self) -> Result<Option<Removed<K, V>>> {
        if self.find()? { self.cursor.remove() } else { Ok(None) }
    }
}

impl<K: Key + ?Sized, V: Codec + ?Sized, F> Iterator for ExtractIf<'_, K, V, F>
where
    F: FnMut(K::View<'_>, V::View<'_>) -> bool,
{
    type Item = Result<Removed<K, V>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_done {
            return None;
        }
        let taken = self.take().transpose();
        self.is_done = !matches!(taken, Some(Ok(_)));
        taken
    }
}

impl<K: Key + ?Sized, V: Codec + ?Sized, F> std::iter::FusedIterator for ExtractIf<'_, K, V, F> where
    F: FnMut(K::View<'_>, V::View<'_>) -> bool
{
}

impl<K: Key + ?Sized, V: Codec + ?Sized, F> std::fmt::Debug for ExtractIf<'_, K, V, F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ExtractIf from {:?} to {:?}", self.cursor, self.high)
    }
}

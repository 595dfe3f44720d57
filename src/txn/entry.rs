//! One place in a table, whether or not there is an entry: look, then change it or not.
//!
//! Owns: [`Entry`], comparing before a change, changing a value where it lies. The shape of `Entry` is that
//! of `std::collections::btree_map::Entry`, but that values are views, and `get` says whether there is one.

use super::WriteTxn;
use super::cursor::CursorMut;
use super::removed::Removed;
use crate::codec::{Codec, Encode, Key};
use crate::error::{Error, Result};
use crate::redo::Change;
use crate::table::Table;
use crate::tree::{search, update};

/// What is at a key of a table, or could be: made by [`WriteTxn::entry`].
///
/// ```
/// use mapleaf::{Database, Table};
/// const HITS: Table<str, u64> = Table::new("hits");
/// const IDS: Table<str, u64> = Table::new("ids");
/// const STOCK: Table<str, u64> = Table::new("stock");
/// # fn main() -> mapleaf::Result<()> {
/// let db = Database::temporary()?;
/// let mut w = db.begin_write()?;
///
/// // A counter.
/// for page in ["/", "/about", "/"] {
///     w.entry(HITS, page)?.and_modify(|hits| hits + 1)?.or_insert(&1)?;
/// }
/// assert_eq!(w.get(HITS, "/")?, Some(2));
///
/// // Get or create.
/// let next = w.len(IDS)? + 1;
/// let id = w.entry(IDS, "ann")?.or_insert(&next)?;
/// assert_eq!(id, 1);
///
/// // Decide by what is there.
/// let mut apples = w.entry(STOCK, "apple")?;
/// match apples.get()? {
///     Some(0) => drop(apples.remove()?),
///     Some(count) => drop(apples.insert(&(count - 1))?),
///     None => {}
/// }
/// # Ok(()) }
/// ```
pub struct Entry<'w, 'k, K: Key + ?Sized, V: ?Sized, Q: Encode<K> + ?Sized> {
    /// At the key.
    cursor: CursorMut<'w, K, V>,
    key: &'k Q,
    bytes: Q::Bytes<'k>,
}

impl WriteTxn {
    /// The place of `key` in a table, for a change that depends on what is there. See [`Entry`].
    ///
    /// # Errors
    /// `SchemaMismatch`, `Corrupt`.
    pub fn entry<'k, K: Key + ?Sized, V: Codec + ?Sized, Q: Encode<K> + ?Sized>(
        &mut self,
        table: Table<K, V>,
        key: &'k Q,
    ) -> Result<Entry<'_, 'k, K, V, Q>> {
        let (mut cursor, bytes) = (self.cursor_mut(table)?, key.encode());
        cursor.go_to(bytes.as_ref())?;
        Ok(Entry { cursor, key, bytes })
    }

    /// Puts `new` at `key`, or deletes the entry where `new` is `None`, if what is there now is `expected`; `None`: if
    /// nothing is. Returns whether it was; else nothing is changed. Compares the stored bytes. O(log n).
    ///
    /// ```
    /// # use mapleaf::{Database, Table};
    /// const LEASES: Table<str, str> = Table::new("leases");
    /// # let db = Database::temporary()?;
    /// # let mut w = db.begin_write()?;
    /// assert!(w.compare_and_swap(LEASES, "printer", None, Some("ann"))?);
    /// assert!(!w.compare_and_swap(LEASES, "printer", None, Some("bob"))?);
    /// assert!(w.compare_and_swap(LEASES, "printer", Some("ann"), Some("bob"))?);
    /// assert!(w.compare_and_swap(LEASES, "printer", Some("bob"), None)?);
    /// # Ok::<_, mapleaf::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`WriteTxn::put`].
    pub fn compare_and_swap<K: Key + ?Sized, V: Codec + Encode<V> + ?Sized>(
        &mut self,
        table: Table<K, V>,
        key: &(impl Encode<K> + ?Sized),
        expected: Option<&V>,
        new: Option<&V>,
    ) -> Result<bool> {
        let key = key.encode();
        let is_expected = {
            let found = match self.open(table)? {
                Some(index) => search::find(&*self, &self.tables[index].tree, key.as_ref())?,
                None => None,
            };
            let found = found.map(|stored| search::resolve(&*self, stored)).transpose()?;
            let expected = expected.map(Encode::encode);
            found == expected.as_ref().map(AsRef::as_ref)
        };
        match new {
            _ if !is_expected => return Ok(false),
            None if expected.is_none() => {}
            None => {
                let index = self.open_or_create(table)?;
                return self.delete_at(index, key.as_ref());
            }
            Some(value) => {
                let index = self.open_or_create(table)?;
                self.put_at(index, key.as_ref(), value.encode().as_ref(), true)?;
            }
        }
        Ok(true)
    }

    /// Lets `edit` change the bytes of the value at `key`, and returns what it returns; `None`, and it is not called,
    /// where there is no entry. The length stays as it is. O(log n): a small value is changed in the page itself, a
    /// large one in memory of its own, to which it is copied once a txn.
    ///
    /// The bytes are those that the table's type encodes to; whether they still are afterwards is not checked
    /// (reading gives `Decode` if they are not).
    ///
    /// ```
    /// # use mapleaf::{Database, Table};
    /// const BITS: Table<u64, [u8]> = Table::new("bits");
    /// # let db = Database::temporary()?;
    /// # let mut w = db.begin_write()?;
    /// w.put(BITS, &0, &[0; 512])?;
    /// let was = w.update_in_place(BITS, &0, |bytes| std::mem::replace(&mut bytes[9], 0x80))?;
    /// assert_eq!(was, Some(0));
    /// # Ok::<_, mapleaf::Error>(())
    /// ```
    ///
    /// # Errors
    /// `SchemaMismatch`: nothing is changed. `Corrupt`, `Io`, `Full`: the txn can only be aborted, as after a panic
    /// in `edit`.
    pub fn update_in_place<K: Key + ?Sized, V: Codec + ?Sized, R>(
        &mut self,
        table: Table<K, V>,
        key: &(impl Encode<K> + ?Sized),
        edit: impl FnOnce(&mut [u8]) -> R,
    ) -> Result<Option<R>> {
        let Some(index) = self.open(table)? else { return Ok(None) };
        let key = key.encode();
        let key = key.as_ref();
        let result =
            self.change(|dirty, tables, _| update::update(dirty, &mut tables[index].tree, key, edit))?;
        if result.is_some() {
            self.log_value(index, key)?;
        }
        Ok(result)
    }

    /// Adds to the log what is at a key now.
    fn log_value(&mut self, index: usize, key: &[u8]) -> Result<()> {
        let tree = self.tables[index].tree;
        let Some(stored) = search::find(&self.dirty, &tree, key)? else { return Ok(()) };
        let value = search::resolve(&self.dirty, stored)?;
        self.redo.add(Change::Put { table: tree.table, key, value });
        Ok(())
    }
}

impl<'w, 'k, K: Key + ?Sized, V: Codec + ?Sized, Q: Encode<K> + ?Sized> Entry<'w, 'k, K, V, Q> {
    /// The key that it was made with.
    pub fn key(&self) -> &'k Q {
        self.key
    }

    /// The value that is there; `None` where there is none. O(1).
    ///
    /// # Errors
    /// `Corrupt`, `Decode`.
    pub fn get(&self) -> Result<Option<V::View<'_>>> {
        self.cursor.value()
    }

    /// The value that is there, or where there is none `value`, which is put. O(log n).
    ///
    /// # Errors
    /// Those of [`WriteTxn::put`], and `Decode` where what is there is no `V`.
    pub fn or_insert(mut self, value: &(impl Encode<V> + ?Sized)) -> Result<V::View<'w>> {
        if !self.is_there()? {
            self.insert(value)?;
        }
        self.into_value()
    }

    /// The same with a value that is made only if it is needed.
    ///
    /// ```
    /// # use mapleaf::{Database, Table};
    /// const CACHE: Table<u64, str> = Table::new("cache");
    /// # let db = Database::temporary()?;
    /// # let mut w = db.begin_write()?;
    /// let text = w.entry(CACHE, &30)?.or_insert_with(|| "=".repeat(30))?;
    /// assert_eq!(text.len(), 30);
    /// # Ok::<_, mapleaf::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`Entry::or_insert`].
    pub fn or_insert_with<W: Encode<V>>(mut self, make: impl FnOnce() -> W) -> Result<V::View<'w>> {
        if !self.is_there()? {
            self.insert(&make())?;
        }
        self.into_value()
    }

    /// Puts what `modify` makes of the value that is there; does nothing where there is none. O(log n).
    ///
    /// ```
    /// # use mapleaf::{Database, Table};
    /// const NOTES: Table<u64, str> = Table::new("notes");
    /// # let db = Database::temporary()?;
    /// # let mut w = db.begin_write()?;
    /// # w.put(NOTES, &1, "one")?;
    /// let note = w.entry(NOTES, &1)?.and_modify(|note| format!("{note}, two"))?.or_insert("two")?;
    /// assert_eq!(note, "one, two");
    /// # Ok::<_, mapleaf::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`WriteTxn::put`], and `Decode` where what is there is no `V`.
    pub fn and_modify<W: Encode<V>>(mut self, modify: impl FnOnce(V::View<'_>) -> W) -> Result<Self> {
        let modified = self.get()?.map(modify);
        if let Some(value) = modified {
            self.insert(&value)?;
        }
        Ok(self)
    }

    /// Puts `value`. Returns whether it replaced one. O(log n).
    ///
    /// # Errors
    /// Those of [`WriteTxn::put`].
    pub fn insert(&mut self, value: &(impl Encode<V> + ?Sized)) -> Result<bool> {
        self.cursor.put_encoded(self.bytes.as_ref(), value.encode().as_ref())
    }

    /// Removes the entry and returns it; `None` where there is none. O(log n).
    ///
    /// # Errors
    /// Those of [`WriteTxn::remove`].
    pub fn remove(&mut self) -> Result<Option<Removed<K, V>>> {
        self.cursor.remove()
    }

    fn is_there(&mut self) -> Result<bool> {
        self.cursor.settle()?;
        Ok(self.cursor.is_on_entry())
    }

    fn into_value(mut self) -> Result<V::View<'w>> {
        self.cursor.settle()?;
        self.cursor.into_value()?.ok_or_else(|| Error::corrupt(0, "an entry that was just put is not found"))
    }
}

impl<K: Key + ?Sized, V: Codec + ?Sized, Q: Encode<K> + ?Sized> std::fmt::Debug for Entry<'_, '_, K, V, Q> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Entry at {:02x?}: {:?}", self.bytes.as_ref(), self.cursor)
    }
}

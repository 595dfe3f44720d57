//! Cursors that write: a place in a table of a write txn, which stays well-defined while the tree changes.
//!
//! Owns: [`CursorMut`]. It borrows the txn, so nobody else changes the table meanwhile. While nothing changes it
//! keeps a [`Spot`]; a change of its own leaves it the key, and the next step takes the way that the change
//! went (`dirty.path`), or descends anew where pages were split, joined or written since.

use super::WriteTxn;
use super::removed::Removed;
use crate::codec::{Codec, Encode, Key};
use crate::error::Result;
use crate::page::Pair;
use crate::table::cursor::Stand;
use crate::table::{KeyValue, Table, TableView};
use crate::tree::Tree;
use crate::tree::cursor::Place;
use crate::tree::insert::Put;
use crate::tree::spot::Spot;

/// A place in a table of a write txn: on an entry, or between two. It reads and changes the table there.
///
/// What it returns borrows from it, so it cannot be held across a change. While it lives the txn can be
/// used through it only.
///
/// ```
/// # use mapleaf::{Database, Table};
/// const STOCK: Table<str, u64> = Table::new("stock");
/// # let db = Database::temporary()?;
/// let mut w = db.begin_write()?;
/// # for (fruit, count) in [("apple", 3), ("fig", 0), ("kiwi", 7)] { w.put(STOCK, fruit, &count)?; }
/// let mut cursor = w.cursor_mut(STOCK)?;
/// while let Some((_, count)) = cursor.next()? {
///     match count {
///         0 => cursor.delete()?,
///         _ => cursor.replace(&(count - 1))?,
///     };
/// }
/// assert_eq!(w.iter(STOCK)?.collect::<Result<Vec<_>, _>>()?, [("apple", 2), ("kiwi", 6)]);
/// # Ok::<_, mapleaf::Error>(())
/// ```
///
/// # Where it stands
/// After reading where the table in [`Cursor`](crate::Cursor) says, and after a change:
///
/// | after | it stands | `current()` gives |
/// |---|---|---|
/// | `put`, wherever it stood | on the entry put | it |
/// | `replace` that returned true | on the same entry | it, with the new value |
/// | `delete` that returned true, `remove` that returned the entry | between what was before the entry and what was behind it | `None` |
/// | `replace`, `delete` or `remove` where it stood on no entry: nothing is changed | where it stood | `None` |
/// | `get` | where it stood | what it gave before |
/// | an error that changes nothing (`WrongWidth`, `KeyTooLong`, `ValueTooLong`, `Decode`) | where it stood | what it gave before |
/// | another error of a change | the txn can only be aborted: every change gives `Poisoned` | unspecified, or an error |
///
/// So after a delete `next` gives the entry behind the deleted one and `previous` the one before it, and a second
/// `delete` does nothing: a loop of `next` and `delete` sees each entry once. (In LMDB the cursor is on the
/// following entry then, and `MDB_NEXT` and `MDB_GET_CURRENT` both give that; in bbolt `Next` skips it.)
///
/// # Cost
/// As for [`Cursor`](crate::Cursor) while nothing is changed. A change costs what [`WriteTxn::put`] and
/// [`WriteTxn::delete`] do; a run of them in one leaf descends twice, and the steps between them do not descend at
/// all, but for those behind a change that split or joined pages: O(log n).
pub struct CursorMut<'w, K: ?Sized, V: ?Sized> {
    txn: &'w mut WriteTxn,
    table: Table<K, V>,
    /// Among the open ones, once there is one.
    index: Option<usize>,
    position: Position,
    /// Of the last change.
    key: Vec<u8>,
}

enum Position {
    /// Before the first entry.
    Start,
    /// At `key`: on the entry if there is one.
    Changed,
    /// The tree was not changed since.
    Known(Spot, Stand),
}

impl<K: Key + ?Sized, V: Codec + ?Sized> std::fmt::Debug for CursorMut<'_, K, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CursorMut in {:?} of {:?}", self.table, self.txn)
    }
}

impl WriteTxn {
    /// A cursor that reads and changes a table, before its first entry. See [`CursorMut`]. The table is created by
    /// the first put if need be.
    ///
    /// # Errors
    /// `SchemaMismatch`, `Corrupt`.
    pub fn cursor_mut<K: Key + ?Sized, V: Codec + ?Sized>(
        &mut self,
        table: Table<K, V>,
    ) -> Result<CursorMut<'_, K, V>> {
        let index = self.open(table)?;
        Ok(CursorMut { txn: self, table, index, position: Position::Start, key: Vec::new() })
    }
}

impl<K: Key + ?Sized, V: Codec + ?Sized> CursorMut<'_, K, V> {
    // ---- reading ----

    /// The entry that it stands on; `None` where it stands on none.
    ///
    /// # Errors
    /// `Corrupt`, `Decode`.
    pub fn current(&self) -> Result<Option<KeyValue<'_, K, V>>> {
        let Some(tree) = self.tree() else { return Ok(None) };
        match self.pair(&tree)? {
            Some(pair) => TableView::<K, V>::new(self.txn, tree).decode(pair).map(Some),
            None => Ok(None),
        }
    }

    /// On to the first entry.
    ///
    /// # Errors
    /// `Corrupt`, `Decode`.
    pub fn first(&mut self) -> Result<Option<KeyValue<'_, K, V>>> {
        self.seek(Place::Start, true)
    }

    /// On to the last entry.
    ///
    /// # Errors
    /// `Corrupt`, `Decode`.
    pub fn last(&mut self) -> Result<Option<KeyValue<'_, K, V>>> {
        self.seek(Place::End, false)
    }

    /// On to the next entry.
    ///
    /// # Errors
    /// `Corrupt`, `Decode`.
    #[expect(clippy::should_implement_trait, reason = "what it returns borrows from it")]
    pub fn next(&mut self) -> Result<Option<KeyValue<'_, K, V>>> {
        self.step(true)?.map(|(view, pair)| view.decode(pair)).transpose()
    }

    /// Back to the entry before.
    ///
    /// # Errors
    /// `Corrupt`, `Decode`.
    pub fn previous(&mut self) -> Result<Option<KeyValue<'_, K, V>>> {
        self.step(false)?.map(|(view, pair)| view.decode(pair)).transpose()
    }

    /// To the first entry whose key is `key` or above. O(log n).
    ///
    /// # Errors
    /// `Corrupt`, `Decode`.
    pub fn seek_ge(&mut self, key: &(impl Encode<K> + ?Sized)) -> Result<Option<KeyValue<'_, K, V>>> {
        self.seek(Place::AtLeast(key.encode().as_ref()), true)
    }

    /// To the first entry whose key is above `key`. O(log n).
    ///
    /// # Errors
    /// `Corrupt`, `Decode`.
    pub fn seek_gt(&mut self, key: &(impl Encode<K> + ?Sized)) -> Result<Option<KeyValue<'_, K, V>>> {
        self.seek(Place::Above(key.encode().as_ref()), true)
    }

    /// To the last entry whose key is `key` or below. O(log n).
    ///
    /// # Errors
    /// `Corrupt`, `Decode`.
    pub fn seek_le(&mut self, key: &(impl Encode<K> + ?Sized)) -> Result<Option<KeyValue<'_, K, V>>> {
        self.seek(Place::Above(key.encode().as_ref()), false)
    }

    /// To the last entry whose key is below `key`. O(log n).
    ///
    /// # Errors
    /// `Corrupt`, `Decode`.
    pub fn seek_lt(&mut self, key: &(impl Encode<K> + ?Sized)) -> Result<Option<KeyValue<'_, K, V>>> {
        self.seek(Place::AtLeast(key.encode().as_ref()), false)
    }

    /// To the entry at `key`. Where there is none it stands where it would be: `next` gives the first entry above the
    /// key, `previous` the last one below. O(log n).
    ///
    /// # Errors
    /// `Corrupt`, `Decode`.
    pub fn seek_exact(&mut self, key: &(impl Encode<K> + ?Sized)) -> Result<Option<KeyValue<'_, K, V>>> {
        let Some(tree) = self.tree() else { return Ok(None) };
        let (spot, is_there) = Spot::search(&*self.txn, &tree, key.encode().as_ref())?;
        self.position = Position::Known(spot, if is_there { Stand::Behind } else { Stand::Between });
        self.current()
    }

    /// The value at `key`, wherever the cursor stands; it stays there. O(log n).
    ///
    /// # Errors
    /// `Corrupt`, `Decode`.
    pub fn get(&self, key: &(impl Encode<K> + ?Sized)) -> Result<Option<V::View<'_>>> {
        let Some(tree) = self.tree() else { return Ok(None) };
        TableView::<K, V>::new(self.txn, tree).get(key)
    }

    // ---- changing ----

    /// Puts `value` at `key`, wherever the cursor stands, and goes there. Returns whether it replaced a value.
    ///
    /// # Errors
    /// Those of [`WriteTxn::put`].
    pub fn put(
        &mut self,
        key: &(impl Encode<K> + ?Sized),
        value: &(impl Encode<V> + ?Sized),
    ) -> Result<bool> {
        let index = match self.index {
            Some(index) => index,
            None => *self.index.insert(self.txn.open_or_create(self.table)?),
        };
        let key = key.encode();
        let put = self.txn.put_at(index, key.as_ref(), value.encode().as_ref(), true);
        if put.is_ok() || self.txn.poisoned {
            self.key.clear();
            self.key.extend_from_slice(key.as_ref());
            self.position = Position::Changed;
        }
        Ok(put? == Put::Replaced)
    }

    /// Gives the entry that it stands on another value. Returns false, and changes nothing, where it stands on none.
    ///
    /// # Errors
    /// Those of [`WriteTxn::put`].
    pub fn replace(&mut self, value: &(impl Encode<V> + ?Sized)) -> Result<bool> {
        let Some(index) = self.take_key()? else { return Ok(false) };
        self.txn.put_at(index, &self.key, value.encode().as_ref(), true)?;
        Ok(true)
    }

    /// Deletes the entry that it stands on. Returns false, and changes nothing, where it stands on none.
    ///
    /// # Errors
    /// Those of [`WriteTxn::delete`].
    pub fn delete(&mut self) -> Result<bool> {
        let Some(index) = self.take_key()? else { return Ok(false) };
        self.txn.delete_at(index, &self.key)
    }

    /// Deletes the entry that it stands on, and returns it; `None` where it stands on none.
    ///
    /// # Errors
    /// Those of [`WriteTxn::remove`].
    pub fn remove(&mut self) -> Result<Option<Removed<K, V>>> {
        let Some(tree) = self.tree() else { return Ok(None) };
        let Some((key, stored)) = self.pair(&tree)? else { return Ok(None) };
        let removed = Removed::of(&*self.txn, key, stored)?;
        self.delete()?;
        Ok(Some(removed))
    }

    // ---- where it is ----

    /// The tree, if it has entries.
    #[inline]
    fn tree(&self) -> Option<Tree> {
        self.index.map(|index| self.txn.tables[index].tree).filter(|tree| !tree.is_empty())
    }

    /// Finds the place after a change. `None` where there are no entries; its position says nothing then.
    #[inline]
    fn settle(&mut self) -> Result<Option<Tree>> {
        let Some(tree) = self.tree() else { return Ok(None) };
        if !matches!(self.position, Position::Known(..)) {
            let (spot, stand) = self.find(&tree)?;
            self.position = Position::Known(spot, stand);
        }
        Ok(Some(tree))
    }

    fn find(&self, tree: &Tree) -> Result<(Spot, Stand)> {
        match &self.position {
            Position::Known(spot, stand) => Ok((spot.clone(), *stand)),
            Position::Start => Ok((Spot::new(&*self.txn, tree, Place::Start)?, Stand::Between)),
            Position::Changed => {
                let (spot, is_there) = Spot::changed(&self.txn.dirty, tree, &self.key)?;
                Ok((spot, if is_there { Stand::Behind } else { Stand::Between }))
            }
        }
    }

    /// The entry that it stands on.
    fn pair(&self, tree: &Tree) -> Result<Option<Pair<'_>>> {
        let found;
        let (spot, stand) = match &self.position {
            Position::Known(spot, stand) => (spot, *stand),
            _ => {
                found = self.find(tree)?;
                (&found.0, found.1)
            }
        };
        match stand {
            Stand::Between => Ok(None),
            Stand::Before => spot.before(&*self.txn, tree),
            Stand::Behind => spot.behind(&*self.txn, tree),
        }
    }

    fn seek(&mut self, place: Place<'_>, forward: bool) -> Result<Option<KeyValue<'_, K, V>>> {
        self.go(place, forward)?.map(|(view, pair)| view.decode(pair)).transpose()
    }

    /// To `place`, and from there on to the entry behind or before it.
    pub(super) fn go(&mut self, place: Place<'_>, forward: bool) -> Result<Option<Undecoded<'_, K, V>>> {
        let Some(tree) = self.tree() else { return Ok(None) };
        let mut spot = Spot::new(&*self.txn, &tree, place)?;
        let pair = if forward { spot.next(&*self.txn, &tree)? } else { spot.previous(&*self.txn, &tree)? };
        self.position = Position::Known(spot, stand_on(pair, forward));
        Ok(pair.map(|pair| (TableView::new(&*self.txn, tree), pair)))
    }

    /// To `place`, between two entries.
    pub(super) fn go_between(&mut self, place: Place<'_>) -> Result<()> {
        let Some(tree) = self.tree() else { return Ok(()) };
        self.position = Position::Known(Spot::new(&*self.txn, &tree, place)?, Stand::Between);
        Ok(())
    }

    /// On to the next entry, or back to the one before.
    pub(super) fn step(&mut self, forward: bool) -> Result<Option<Undecoded<'_, K, V>>> {
        let Some(tree) = self.settle()? else { return Ok(None) };
        let Position::Known(spot, stand) = &mut self.position else { return Ok(None) };
        let pair = if forward {
            spot.at += usize::from(*stand == Stand::Behind);
            *stand = if *stand == Stand::Behind { Stand::Before } else { *stand };
            spot.next(&*self.txn, &tree)?
        } else {
            spot.at -= usize::from(*stand == Stand::Before);
            *stand = if *stand == Stand::Before { Stand::Behind } else { *stand };
            spot.previous(&*self.txn, &tree)?
        };
        *stand = stand_on(pair, forward);
        Ok(pair.map(|pair| (TableView::new(&*self.txn, tree), pair)))
    }

    /// Keeps the key of the entry that it stands on, as the place of a change. `None` where it stands on none.
    fn take_key(&mut self) -> Result<Option<usize>> {
        let Some(tree) = self.tree() else { return Ok(None) };
        if let Position::Changed = self.position {
            return Ok(self.pair(&tree)?.and(self.index));
        }
        let mut key = std::mem::take(&mut self.key);
        let Some((of_entry, _)) = self.pair(&tree)? else { return Ok(None) };
        key.clear();
        key.extend_from_slice(of_entry);
        (self.key, self.position) = (key, Position::Changed);
        Ok(self.index)
    }
}

/// An entry, and what decodes it.
pub(super) type Undecoded<'c, K, V> = (TableView<'c, K, V>, Pair<'c>);

fn stand_on(pair: Option<Pair<'_>>, forward: bool) -> Stand {
    match pair {
        None => Stand::Between,
        Some(_) if forward => Stand::Before,
        Some(_) => Stand::Behind,
    }
}

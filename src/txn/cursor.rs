//! Cursors that write: a place in a table of a write txn, which stays well-defined while the tree changes.
//!
//! Owns: [`CursorMut`]. It borrows the txn, so nobody else changes the table meanwhile. While nothing changes it
//! keeps a [`Spot`]; a change of its own leaves it the key, and the next step takes the way that the change
//! went (`dirty.path`), or descends anew where pages were split, joined or written since.

use super::WriteTxn;
use super::removed::Removed;
use crate::codec::{Codec, Encode, Key};
use crate::error::{Error, Result};
use crate::page::Pair;
use crate::table::cursor::Stand;
use crate::table::{KeyValue, Table, decode, decode_value};
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
/// A seek costs what one of [`Cursor`](crate::Cursor) does. A step looks its leaf up anew but does not descend: ten times
/// the instructions of a `Cursor`'s step, a quarter of a change's. A change costs what [`WriteTxn::put`] and
/// [`WriteTxn::delete`] do; a run of them in one leaf descends twice, and the steps between them not at all, but for
/// those behind a change that split or joined pages: O(log n).
pub struct CursorMut<'w, K: ?Sized, V: ?Sized> {
    txn: &'w mut WriteTxn,
    table: Table<K, V>,
    /// Among the open ones, once there is one.
    index: Option<usize>,
    position: Position,
    spot: Spot,
    /// Of the last change.
    key: Vec<u8>,
}

enum Position {
    /// Before the first entry.
    Start,
    /// At `key`: on the entry if there is one.
    Changed,
    /// At `spot`: the tree was not changed since.
    Known(Stand),
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
        let (position, spot, key) = (Position::Start, Spot::default(), Vec::new());
        Ok(CursorMut { txn: self, table, index, position, spot, key })
    }
}

impl<'w, K: Key + ?Sized, V: Codec + ?Sized> CursorMut<'w, K, V> {
    // ---- reading ----

    /// The entry that it stands on; `None` where it stands on none.
    ///
    /// # Errors
    /// `Corrupt`, `Decode`.
    pub fn current(&self) -> Result<Option<KeyValue<'_, K, V>>> {
        match self.pair()? {
            Some(pair) => decode::<K, V>(&*self.txn, pair).map(Some),
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
        self.step(true)?.map(|(txn, pair)| decode::<K, V>(txn, pair)).transpose()
    }

    /// Back to the entry before.
    ///
    /// # Errors
    /// `Corrupt`, `Decode`.
    pub fn previous(&mut self) -> Result<Option<KeyValue<'_, K, V>>> {
        self.step(false)?.map(|(txn, pair)| decode::<K, V>(txn, pair)).transpose()
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
        self.go_to(key.encode().as_ref())?;
        self.current()
    }

    /// The value at `key`, wherever the cursor stands; it stays there. O(log n).
    ///
    /// # Errors
    /// `Corrupt`, `Decode`.
    pub fn get(&self, key: &(impl Encode<K> + ?Sized)) -> Result<Option<V::View<'_>>> {
        self.txn.get(self.table, key)
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
        self.put_encoded(key.encode().as_ref(), value.encode().as_ref())
    }

    pub(super) fn put_encoded(&mut self, key: &[u8], value: &[u8]) -> Result<bool> {
        let index = match self.index {
            Some(index) => index,
            None => *self.index.insert(self.txn.open_or_create(self.table)?),
        };
        let put = self.txn.put_at(index, key, value, true);
        if put.is_ok() || self.txn.poisoned {
            self.key.clear();
            self.key.extend_from_slice(key);
            self.position = Position::Changed;
        }
        Ok(put? == Put::Replaced)
    }

    /// Gives the entry that it stands on another value. Returns false, and changes nothing, where it stands on none.
    ///
    /// # Errors
    /// Those of [`WriteTxn::put`].
    pub fn replace(&mut self, value: &(impl Encode<V> + ?Sized)) -> Result<bool> {
        self.at_key(|txn, index, key| {
            Ok(txn.put_at(index, key, value.encode().as_ref(), true)? == Put::Replaced)
        })
    }

    /// Deletes the entry that it stands on. Returns false, and changes nothing, where it stands on none.
    ///
    /// # Errors
    /// Those of [`WriteTxn::delete`].
    pub fn delete(&mut self) -> Result<bool> {
        self.at_key(WriteTxn::delete_at)
    }

    /// Deletes the entry that it stands on, and returns it; `None` where it stands on none.
    ///
    /// # Errors
    /// Those of [`WriteTxn::remove`].
    pub fn remove(&mut self) -> Result<Option<Removed<K, V>>> {
        let Some((key, stored)) = self.pair()? else { return Ok(None) };
        let removed = Removed::of(&*self.txn, key, stored)?;
        self.delete()?;
        Ok(Some(removed))
    }

    // ---- where it is ----

    /// The value of the entry that it stands on.
    pub(super) fn value(&self) -> Result<Option<V::View<'_>>> {
        self.pair()?.map(|(_, stored)| decode_value::<V>(&*self.txn, stored)).transpose()
    }

    /// The same, for as long as the txn is not changed.
    pub(super) fn into_value(self) -> Result<Option<V::View<'w>>> {
        let CursorMut { txn, index, spot, position, .. } = self;
        let txn: &'w WriteTxn = txn;
        let pair = pair_at(txn, index, &spot, &position)?;
        pair.map(|(_, stored)| decode_value::<V>(txn, stored)).transpose()
    }

    /// Whether it stands on an entry; it is settled.
    pub(super) fn is_on_entry(&self) -> bool {
        self.tree().is_some() && matches!(self.position, Position::Known(Stand::Before | Stand::Behind))
    }

    /// The tree, if it has entries.
    #[inline]
    fn tree(&self) -> Option<&Tree> {
        tree_of(self.txn, self.index)
    }

    /// The entry that it stands on.
    pub(super) fn pair(&self) -> Result<Option<Pair<'_>>> {
        if !matches!(self.position, Position::Changed) {
            return pair_at(self.txn, self.index, &self.spot, &self.position);
        }
        let Some(tree) = self.tree() else { return Ok(None) };
        let mut spot = self.spot.clone();
        let is_there = spot.follow(&self.txn.dirty, tree, &self.key)?;
        if is_there { spot.behind(&*self.txn, tree) } else { Ok(None) }
    }

    /// To `place`, and from there to the entry behind or before it.
    fn seek(&mut self, place: Place<'_>, forward: bool) -> Result<Option<KeyValue<'_, K, V>>> {
        self.go(place, forward)?.map(|(txn, pair)| decode::<K, V>(txn, pair)).transpose()
    }

    pub(super) fn go(&mut self, place: Place<'_>, forward: bool) -> Result<Option<Undecoded<'_>>> {
        let Some(tree) = tree_of(self.txn, self.index) else { return Ok(None) };
        let mut spot = Spot::new(&*self.txn, tree, place)?;
        let pair = if forward { spot.next(&*self.txn, tree)? } else { spot.previous(&*self.txn, tree)? };
        (self.spot, self.position) = (spot, stand_on(pair, forward));
        Ok(pair.map(|pair| (&*self.txn, pair)))
    }

    /// To `place`, between two entries.
    pub(super) fn go_between(&mut self, place: Place<'_>) -> Result<()> {
        let Some(tree) = self.tree() else { return Ok(()) };
        self.spot = Spot::new(&*self.txn, tree, place)?;
        self.position = Position::Known(Stand::Between);
        Ok(())
    }

    /// To the entry at `key`, or where it would be.
    pub(super) fn go_to(&mut self, key: &[u8]) -> Result<()> {
        let Some(tree) = self.tree() else { return Ok(()) };
        let (spot, is_there) = Spot::search(&*self.txn, tree, key)?;
        self.spot = spot;
        self.position = Position::Known(if is_there { Stand::Behind } else { Stand::Between });
        Ok(())
    }

    /// On to the next entry, or back to the one before.
    #[inline]
    pub(super) fn step(&mut self, forward: bool) -> Result<Option<Undecoded<'_>>> {
        if !matches!(self.position, Position::Known(_)) {
            self.settle()?;
        }
        let Some(tree) = tree_of(self.txn, self.index) else { return Ok(None) };
        let pair = if forward {
            if let Position::Known(Stand::Behind) = self.position {
                self.spot.at += 1;
                self.position = Position::Known(Stand::Before);
            }
            self.spot.next(&*self.txn, tree)?
        } else {
            if let Position::Known(Stand::Before) = self.position {
                self.spot.at -= 1;
                self.position = Position::Known(Stand::Behind);
            }
            self.spot.previous(&*self.txn, tree)?
        };
        self.position = stand_on(pair, forward);
        Ok(pair.map(|pair| (&*self.txn, pair)))
    }

    /// Finds the place after a change, or before the first step. In a table without entries there is none.
    pub(super) fn settle(&mut self) -> Result<()> {
        let Some(tree) = tree_of(self.txn, self.index) else { return Ok(()) };
        let stand = match self.position {
            Position::Known(stand) => stand,
            Position::Start => {
                self.spot = Spot::new(&*self.txn, tree, Place::Start)?;
                Stand::Between
            }
            Position::Changed => match self.spot.follow(&self.txn.dirty, tree, &self.key)? {
                true => Stand::Behind,
                false => Stand::Between,
            },
        };
        self.position = Position::Known(stand);
        Ok(())
    }

    /// Changes the entry that it stands on, which the change must find by its key. False where it stands on none.
    fn at_key(&mut self, change: impl FnOnce(&mut WriteTxn, usize, &[u8]) -> Result<bool>) -> Result<bool> {
        let Some(index) = self.index else { return Ok(false) };
        match self.position {
            Position::Known(_) => {
                let mut key = std::mem::take(&mut self.key);
                let Some((of_entry, _)) = self.pair()? else { return Ok(false) };
                key.clear();
                key.extend_from_slice(of_entry);
                self.key = key;
            }
            _ if self.pair()?.is_none() => return Ok(false),
            _ => {}
        }
        if let Position::Known(Stand::Before) = self.position {
            self.spot.at -= 1;
            self.position = Position::Known(Stand::Behind);
        }
        let changed = change(self.txn, index, &self.key);
        if !matches!(changed, Ok(true)) && !self.txn.poisoned {
            // Nothing was changed, unless the tree is damaged.
            self.txn.poisoned |= changed.is_ok();
            return changed.and_then(|_| Err(self.not_found()));
        }
        self.position = Position::Changed;
        changed
    }

    #[cold]
    fn not_found(&self) -> Error {
        let page = self.tree().map_or(0, |tree| tree.root.page);
        Error::corrupt(page, "an entry that a cursor stands on is not found by its key")
    }
}

/// The bytes of an entry, and where they are.
pub(super) type Undecoded<'c> = (&'c WriteTxn, Pair<'c>);

/// The tree, if it has entries.
#[inline]
fn tree_of(txn: &WriteTxn, index: Option<usize>) -> Option<&Tree> {
    index.map(|index| &txn.tables[index].tree).filter(|tree| !tree.is_empty())
}

/// The entry at a position that is known.
#[inline]
fn pair_at<'t>(
    txn: &'t WriteTxn,
    index: Option<usize>,
    spot: &Spot,
    position: &Position,
) -> Result<Option<Pair<'t>>> {
    let Some(tree) = tree_of(txn, index) else { return Ok(None) };
    match position {
        Position::Known(Stand::Before) => spot.before(txn, tree),
        Position::Known(Stand::Behind) => spot.behind(txn, tree),
        _ => Ok(None),
    }
}

fn stand_on(pair: Option<Pair<'_>>, forward: bool) -> Position {
    Position::Known(match pair {
        None => Stand::Between,
        Some(_) if forward => Stand::Before,
        Some(_) => Stand::Behind,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Database;
    use crate::format::OverflowRef;
    use crate::snapshot::PageSource;
    use std::cell::Cell;

    const TEXT: Table<u64, str> = Table::new("text");
    const ENTRIES: u64 = 20_000;

    /// Counts the pages that are asked for.
    struct Counted<'s> {
        source: &'s WriteTxn,
        pages: Cell<u64>,
    }

    impl PageSource for Counted<'_> {
        fn page(&self, page: u64, birth: u64) -> Result<&[u8]> {
            self.pages.set(self.pages.get() + 1);
            self.source.page(page, birth)
        }

        fn overflow(&self, run: &OverflowRef) -> Result<&[u8]> {
            self.source.overflow(run)
        }
    }

    fn store() -> Database {
        let db = Database::temporary().unwrap();
        let put = |w: &mut WriteTxn| {
            (0..ENTRIES).try_for_each(|key| w.put(TEXT, &key, "some text of thirty bytes or so").map(drop))
        };
        db.write(put).unwrap();
        db
    }

    fn leaves(db: &Database) -> u64 {
        let stats = db.stats().unwrap();
        stats.tables.iter().map(|table| table.levels.first().map_or(0, |level| level.pages)).sum()
    }

    #[test]
    fn a_step_within_a_leaf_asks_for_that_leaf_and_nothing_else() {
        let db = store();
        let leaves = leaves(&db);
        assert!(leaves > 200, "{leaves} leaves");
        let mut w = db.begin_write().unwrap();
        // Half of the leaves are changed.
        for key in 0..ENTRIES / 2 {
            w.put(TEXT, &key, "some other text, not much longer").unwrap();
        }
        let tree = w.tables[0].tree;
        assert!(tree.level >= 2);
        let counted = Counted { source: &w, pages: Cell::new(0) };
        let mut spot = Spot::new(&counted, &tree, Place::Start).unwrap();
        for step in [Spot::next, Spot::previous] {
            counted.pages.set(0);
            let mut steps = 0;
            while step(&mut spot, &counted, &tree).unwrap().is_some() {
                steps += 1;
            }
            assert_eq!(steps, ENTRIES);
            let beyond = counted.pages.get() - ENTRIES;
            assert!(
                beyond < leaves * 4,
                "{beyond} pages for going from leaf to leaf, of which there are {leaves}"
            );
        }
    }

    #[test]
    fn changes_along_a_cursor_descend_twice_a_leaf() {
        let db = store();
        let leaves = leaves(&db);
        let mut w = db.begin_write().unwrap();
        let mut cursor = w.cursor_mut(TEXT).unwrap();
        let (mut far, mut lost) = (0, 0);
        while cursor.next().unwrap().is_some() {
            cursor.replace("some text of thirty bytes or SO").unwrap();
            far += u64::from(!cursor.txn.dirty.path.is_near);
        }
        // The first change in a leaf finds that it is not near, the second one that it is.
        assert!(far <= leaves + 1, "{far} of {ENTRIES} changes went elsewhere than the one before");
        cursor.first().unwrap();
        while cursor.current().unwrap().is_some() {
            cursor.delete().unwrap();
            lost += u64::from(!cursor.txn.dirty.path.is_valid);
            cursor.next().unwrap();
        }
        assert!(lost <= 3 * leaves, "{lost} of {ENTRIES} steps behind a delete searched anew");
        assert_eq!(w.len(TEXT).unwrap(), 0);
    }
}

//! Txns within a write txn, and what they share with savepoints.
//!
//! Owns: [`Nested`]; finding, rolling back to and releasing what [`WriteTxn::savepoint`] saves. A nested txn is a
//! savepoint that nobody else can name: ending it well releases the savepoint, anything else rolls back to it.
//! Promises: a txn with a nested one under way is not committed, wherever it was moved.

use super::{OpenTables, Saved, Savepoint, WriteTxn};
use crate::error::{Error, Result};
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

/// A txn within a write txn, which cannot be used meanwhile: [`WriteTxn::begin_nested`].
///
/// It reads and writes as a [`WriteTxn`] does. [`Nested::commit`] makes its changes part of the outer txn, which makes
/// them durable with its own commit or not at all; dropping it undoes them. A savepoint made outside cannot be
/// rolled back to from inside, and one made inside is gone when it ends.
///
/// Where a call inside has failed half-way, so that the txn is poisoned, rolling back makes the outer txn as good as
/// before. After a panic within a change nobody knows what is in memory, and the outer txn stays poisoned.
///
/// A nested txn that is neither committed nor dropped (`mem::forget`) goes on for ever, and one whose txn was moved
/// away (`mem::swap`) cannot end: the outer txn, and what was put in its place, can then only be aborted.
pub struct Nested<'t> {
    txn: &'t mut WriteTxn,
    savepoint: Savepoint,
    has_ended: bool,
}

impl Nested<'_> {
    /// Makes the changes part of the outer txn. O(pages changed before and again inside).
    ///
    /// # Errors
    /// `Poisoned`, when a call inside has failed half-way: they are undone, and the outer txn goes on without them.
    /// `Io`, `Full`, where pages that it kept in memory had to be written and could not be: the outer txn is poisoned.
    pub fn commit(mut self) -> Result<()> {
        self.txn.not_poisoned()?;
        let index = self.txn.find_saved(self.savepoint)?;
        self.txn.release_from(index)?;
        self.has_ended = true;
        self.txn.spill_put_off()
    }

    /// Undoes the changes; the same as dropping.
    pub fn abort(self) {}
}

impl Deref for Nested<'_> {
    type Target = WriteTxn;

    fn deref(&self) -> &WriteTxn {
        self.txn
    }
}

impl DerefMut for Nested<'_> {
    fn deref_mut(&mut self) -> &mut WriteTxn {
        self.txn
    }
}

impl Drop for Nested<'_> {
    fn drop(&mut self) {
        if !self.has_ended {
            self.txn.undo_nested(self.savepoint);
        }
    }
}

impl std::fmt::Debug for Nested<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Nested in {:?}", self.txn)
    }
}

impl WriteTxn {
    /// Runs `write` in a txn within this one. Its changes become part of this one if it returns `Ok`, and are undone if
    /// it returns an error or panics. To any depth; O(1) to begin, and what was not changed costs nothing.
    ///
    /// ```
    /// # use mapleaf::{Database, Error, Table};
    /// const STOCK: Table<str, u64> = Table::new("stock");
    /// # let db = Database::temporary()?;
    /// let mut w = db.begin_write()?;
    /// w.put(STOCK, "tea", &5)?;
    /// for (item, wanted) in [("tea", 2), ("milk", 1), ("tea", 4)] {
    ///     let sold = w.nested(|n| {
    ///         n.put(STOCK, "sold", &(n.get(STOCK, "sold")?.unwrap_or(0) + wanted))?;
    ///         let left = n.get(STOCK, item)?.and_then(|there| there.checked_sub(wanted));
    ///         let left = left.ok_or(Error::TableNotFound { table: item.to_owned() })?; // Undoes the put above.
    ///         n.put(STOCK, item, &left)
    ///     });
    ///     println!("{wanted} {item}: {}", if sold.is_ok() { "sold" } else { "too few" });
    /// }
    /// w.commit()?;
    /// let r = db.begin_read()?;
    /// assert_eq!((r.get(STOCK, "tea")?, r.get(STOCK, "sold")?), (Some(3), Some(2)));
    /// # Ok::<_, Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of `write`, [`WriteTxn::begin_nested`] and [`Nested::commit`].
    pub fn nested<T>(&mut self, write: impl FnOnce(&mut WriteTxn) -> Result<T>) -> Result<T> {
        let mut nested = self.begin_nested()?;
        let value = write(&mut nested)?;
        nested.commit()?;
        Ok(value)
    }

    /// Begins a txn within this one. O(1); pages changed before and again inside are kept twice until it ends. What
    /// [`WriteTxn::set_durability`] says inside holds for the outer txn, also when the nested one is undone.
    ///
    /// ```
    /// # use mapleaf::{Database, Table};
    /// const USERS: Table<u64, str> = Table::new("users");
    /// # let db = Database::temporary()?;
    /// let mut w = db.begin_write()?;
    /// w.put(USERS, &1, "ann")?;
    /// let mut n = w.begin_nested()?;
    /// n.put(USERS, &2, "bob")?;
    /// let mut inner = n.begin_nested()?;
    /// inner.delete(USERS, &1)?;
    /// drop(inner); // Undone.
    /// n.commit()?;
    /// assert_eq!(w.get_many(USERS, &[1, 2])?, [Some("ann"), Some("bob")]);
    /// w.commit()?;
    /// # Ok::<_, mapleaf::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Poisoned`.
    pub fn begin_nested(&mut self) -> Result<Nested<'_>> {
        self.not_poisoned()?;
        let savepoint = self.save(true);
        Ok(Nested { txn: self, savepoint, has_ended: false })
    }

    /// Forgets a savepoint, and those made after it; what was changed since stays. From then on pages that it needed
    /// are not kept twice. O(pages changed before and again since).
    ///
    /// # Errors
    /// `UnknownSavepoint`; `InvalidArgument` within a nested txn for a savepoint from outside; `Poisoned`. `Io`, `Full`,
    /// where pages that it kept in memory had to be written and could not be: the txn is poisoned.
    pub fn release(&mut self, savepoint: Savepoint) -> Result<()> {
        self.not_poisoned()?;
        let index = self.find_saved(savepoint)?;
        self.release_from(index)?;
        self.spill_put_off()
    }

    /// Bytes of memory that changed pages and values take. Beyond [`Options::dirty_limit`](crate::Options::dirty_limit)
    /// they are written early, as far as no savepoint or nested txn needs them as they were.
    pub fn changed_bytes(&self) -> usize {
        self.dirty.bytes()
    }

    /// Of a savepoint that was made in the innermost nested txn, or began it.
    pub(super) fn find_saved(&self, savepoint: Savepoint) -> Result<usize> {
        let found = self.saved.iter().position(|saved| saved.id == savepoint.id);
        let index = found.ok_or(Error::UnknownSavepoint)?;
        match self.saved[index + 1..].iter().any(|saved| saved.is_nested) {
            true => Err(Error::invalid("the savepoint was made outside of the nested txn; end that first")),
            false => Ok(index),
        }
    }

    /// Back to what was saved as number `index`, which stays.
    pub(super) fn roll_back(&mut self, index: usize) -> Result<()> {
        self.dirty.store.check_process()?;
        if self.changing {
            return Err(Error::Poisoned);
        }
        (self.poisoned, self.changing) = (true, true);
        self.saved.truncate(index + 1);
        let Saved { mark, catalog, ref tables, next_table, user_version, redo, .. } = self.saved[index];
        self.dirty.roll_back(mark)?;
        self.tables = OpenTables::Shared(Arc::clone(tables));
        (self.catalog, self.next_table, self.user_version) = (catalog, next_table, user_version);
        self.snapshots.clone_from(&self.saved[index].snapshots);
        self.redo.roll_back(redo);
        (self.poisoned, self.changing) = (false, false);
        Ok(())
    }

    /// Forgets what was saved as number `index` and later.
    fn release_from(&mut self, index: usize) -> Result<()> {
        (self.poisoned, self.changing) = (true, true);
        let mark = self.saved[index].mark;
        self.saved.truncate(index);
        self.dirty.release_mark(mark)?;
        (self.poisoned, self.changing) = (false, false);
        Ok(())
    }

    /// Writes pages early that a savepoint kept in memory.
    fn spill_put_off(&mut self) -> Result<()> {
        if !self.dirty.was_put_off() {
            return Ok(());
        }
        (self.poisoned, self.changing) = (true, true);
        let spilled = self.spill();
        (self.poisoned, self.changing) = (spilled.is_err(), false);
        spilled
    }

    fn undo_nested(&mut self, savepoint: Savepoint) {
        let found = self.saved.iter().position(|saved| saved.id == savepoint.id);
        let undone =
            found.is_some_and(|index| self.roll_back(index).is_ok() && self.release_from(index).is_ok());
        if !undone {
            // What is to be undone is elsewhere, or nobody knows what it is.
            (self.poisoned, self.changing) = (true, true);
        }
    }

    /// No nested txn is under way.
    pub(super) fn not_nested(&self) -> Result<()> {
        match self.saved.iter().any(|saved| saved.is_nested) {
            true => Err(Error::invalid("a nested txn was neither committed nor dropped; abort the txn")),
            false => Ok(()),
        }
    }
}

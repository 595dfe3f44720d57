//! Short ways to say what other calls do.
//!
//! Owns: `contains` and `is_empty` on txns, [`WriteTxn::update`], [`WriteTxn::clear_table`],
//! [`WriteTxn::copy_table`]. Nothing here knows of pages.

use super::{ReadTxn, WriteTxn};
use crate::catalog::find_record;
use crate::codec::{Codec, Encode, Key};
use crate::error::{Error, Result};
use crate::multi::MultiView;
use crate::table::{Table, TableView};

macro_rules! reading {
    () => {
        /// Whether there is an entry at `key`; a large value is not read. O(log n).
        ///
        /// # Errors
        /// `SchemaMismatch`, `Corrupt`.
        pub fn contains<K: Key + ?Sized, V: Codec + ?Sized>(
            &self,
            table: Table<K, V>,
            key: &(impl Encode<K> + ?Sized),
        ) -> Result<bool> {
            self.table(table)?.contains(key)
        }

        /// Whether the table has no entries, or does not exist. O(1) once the table was looked up.
        ///
        /// # Errors
        /// `SchemaMismatch`, `Corrupt`.
        pub fn is_empty<K: Key + ?Sized, V: Codec + ?Sized>(&self, table: Table<K, V>) -> Result<bool> {
            Ok(self.table(table)?.is_empty())
        }
    };
}

impl ReadTxn {
    reading!();
}

impl WriteTxn {
    reading!();

    /// Puts at `key` what `change` makes of the value there, `None` if there is none, and returns what was
    /// put. O(log n).
    ///
    /// ```
    /// # use mapleaf::{Database, Table};
    /// const HITS: Table<str, u64> = Table::new("hits");
    /// # let db = Database::temporary()?;
    /// let hits = |page| db.write(|w| w.update(HITS, page, |hits| hits.unwrap_or(0) + 1));
    /// assert_eq!((hits("/")?, hits("/about")?, hits("/")?), (1, 1, 2));
    /// # Ok::<_, mapleaf::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Decode`, where the value is not a `V`, and those of [`WriteTxn::put`].
    pub fn update<K: Key + ?Sized, V: Codec + ?Sized, Q: Encode<V>>(
        &mut self,
        table: Table<K, V>,
        key: &(impl Encode<K> + ?Sized),
        change: impl FnOnce(Option<V::View<'_>>) -> Q,
    ) -> Result<Q> {
        let new = change(self.get(table, key)?);
        self.put(table, key, &new)?;
        Ok(new)
    }

    /// Removes all entries of a table, which stays, with its types. Returns how many there were. Costs what
    /// [`WriteTxn::delete_range`] of everything does.
    ///
    /// ```
    /// # use mapleaf::{Database, Table};
    /// const USERS: Table<u64, str> = Table::new("users");
    /// # let db = Database::temporary()?;
    /// let mut w = db.begin_write()?;
    /// w.put(USERS, &7, "ann")?;
    /// assert_eq!(w.clear_table(USERS)?, 1);
    /// w.put(USERS, &8, "bob")?;
    /// assert_eq!(w.len(USERS)?, 1);
    /// # Ok::<_, mapleaf::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`WriteTxn::delete_range`].
    pub fn clear_table<K: Key + ?Sized, V: Codec + ?Sized>(&mut self, table: Table<K, V>) -> Result<u64> {
        self.delete_range(table, ..)
    }

    /// Copies a table or multimap of a snapshot, of this store or another, whatever its types. Returns how many entries
    /// it has. O(entries), read and put in order. All tables of a snapshot are a backup.
    ///
    /// ```
    /// # use mapleaf::{Database, Table};
    /// # const USERS: Table<u64, str> = Table::new("users");
    /// # let (db, backup) = (Database::temporary()?, Database::temporary()?);
    /// # db.write(|w| w.put(USERS, &7, "ann"))?;
    /// let r = db.begin_read()?;
    /// let mut w = backup.begin_write()?;
    /// for table in r.tables()? {
    ///     w.copy_table(&r, &table.name)?;
    /// }
    /// w.set_user_version(r.user_version());
    /// w.commit()?;
    /// assert_eq!(backup.begin_read()?.get(USERS, &7)?, Some("ann"));
    /// # Ok::<_, mapleaf::Error>(())
    /// ```
    ///
    /// # Errors
    /// `TableNotFound` where the snapshot has no such table, `TableExists` where this txn has one, `KeyTooLong` where the
    /// pages of this store are smaller, `Corrupt` where the snapshot is damaged; `Io`, `Full`. Nothing is changed then.
    pub fn copy_table(&mut self, from: &ReadTxn, name: &str) -> Result<u64> {
        let not_found = || Error::TableNotFound { table: name.to_owned() };
        let schema = find_record(from, &from.catalog(), name)?.ok_or_else(not_found)?.schema();
        self.nested(|w| {
            w.create_table(name, &schema)?;
            match schema.multi {
                true => w.copy_pairs(name, &from.raw_multi(name)?.ok_or_else(not_found)?),
                false => w.copy_entries(name, &from.raw_table(name)?.ok_or_else(not_found)?),
            }
        })
    }

    fn copy_entries(&mut self, name: &str, from: &TableView<'_, [u8], [u8]>) -> Result<u64> {
        for entry in from.iter() {
            let (key, value) = entry?;
            self.raw_put(name, key, value)?;
        }
        Ok(from.len())
    }

    fn copy_pairs(&mut self, name: &str, from: &MultiView<'_, [u8], [u8]>) -> Result<u64> {
        for pair in from.iter() {
            let (key, value) = pair?;
            self.raw_put_value(name, key, value)?;
        }
        Ok(from.len())
    }
}

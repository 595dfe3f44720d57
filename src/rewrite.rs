//! A store written anew: everything that one snapshot sees, in order of the keys, page after page.
//!
//! Owns: [`ReadTxn::copy_compact`]. Promises: the new store has its name when it is whole and on the disk, and not before.

use crate::error::{Error, Result};
use crate::txn::{ReadTxn, WriteTxn};
use crate::unfinished::Unfinished;
use std::path::Path;

/// Progress is told of once in so many entries.
const OFTEN: u64 = 1024;

/// Entries as they go by.
struct Copied<'p> {
    entries: u64,
    progress: &'p mut dyn FnMut(u64),
}

impl ReadTxn {
    /// Writes what this snapshot sees to a new store at `path`, where there is nothing: all tables with their schemas, in
    /// order of their keys, every page full, and the user version. Returns the number of entries, which `progress` is told
    /// of as they go by. Others read and write meanwhile. The new store is one of its own: it has another id, so backups
    /// begin anew, and no stored snapshots.
    ///
    /// It is smaller than what [`Database::compact`](crate::Database::compact) leaves, whose pages are as full as they were,
    /// and scans of it read the file in order; but it takes the room of a second store, and time in proportion to all
    /// that is in it. Pages have the size that they have here.
    ///
    /// ```
    /// use mapleaf::{Database, Table};
    /// const USERS: Table<u64, str> = Table::new("users");
    /// # let directory = tempfile::tempdir().unwrap();
    /// # let path = directory.path().join("new.maple");
    /// # let db = Database::temporary()?;
    /// db.write(|w| w.put(USERS, &7, "ann"))?;
    /// assert_eq!(db.begin_read()?.copy_compact(&path, &mut |_| {})?, 1);
    /// // SAFETY: only mapleaf changes this file while it is open.
    /// let new = unsafe { Database::open(&path)? };
    /// assert_eq!(new.begin_read()?.get(USERS, &7)?, Some("ann"));
    /// # Ok::<_, mapleaf::Error>(())
    /// ```
    ///
    /// # Errors
    /// `InvalidArgument` where there is something at `path`, or at the name that it has until it is whole (`….unfinished`);
    /// `Corrupt` where a page here is damaged; `Io`. Nothing is left then.
    pub fn copy_compact(&self, path: impl AsRef<Path>, progress: &mut dyn FnMut(u64)) -> Result<u64> {
        let new = Unfinished::new(path.as_ref(), self.store().pages.page_size)?;
        let mut copied = Copied { entries: 0, progress };
        new.db().write(|w| self.copy_into(w, &mut copied))?;
        new.finish()?;
        Ok(copied.entries)
    }

    fn copy_into(&self, w: &mut WriteTxn, copied: &mut Copied<'_>) -> Result<()> {
        w.set_user_version(self.user_version());
        for table in self.tables()? {
            w.create_table(&table.name, &table.schema)?;
            let gone = || Error::TableNotFound { table: table.name.clone() };
            if table.schema.multi {
                for pair in self.raw_multi(&table.name)?.ok_or_else(gone)?.iter() {
                    let (key, value) = pair?;
                    w.raw_put_value(&table.name, key, value)?;
                    copied.count();
                }
            } else {
                for entry in self.raw_table(&table.name)?.ok_or_else(gone)?.iter() {
                    let (key, value) = entry?;
                    w.raw_put(&table.name, key, value)?;
                    copied.count();
                }
            }
        }
        (copied.progress)(copied.entries);
        Ok(())
    }
}

impl Copied<'_> {
    fn count(&mut self) {
        self.entries += 1;
        if self.entries.is_multiple_of(OFTEN) {
            (self.progress)(self.entries);
        }
    }
}

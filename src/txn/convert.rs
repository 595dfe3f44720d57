//! Tables under another schema.
//!
//! Owns: [`WriteTxn::convert_table`] and [`WriteTxn::retype_table`]. Promises: it is done whole, or the table is as it
//! was, within the txn as well; memory is bounded, whatever the size of the table. Leaves to others: when to do it
//! ([`crate::txn::migrate`]).

use super::bulk::BulkOptions;
use super::{WriteTxn, store_record};
use crate::catalog::check_entry;
use crate::codec::{Codec, Encode, Key};
use crate::error::{Error, Result};
use crate::format::Schema;
use crate::sort::{Duplicates, Sorter, shown};
use crate::table::{Table, TableView, schema_of};
use crate::tree::Tree;
use crate::tree::insert::Put;
use std::any::TypeId;
use std::marker::PhantomData;
use std::ops::Bound;

/// A table that takes a converted one's place until it is whole. No table of a program is called so.
const MEANWHILE: &str = "\0converted";

/// Bytes of new entries that are gathered before they are put.
const BATCH: usize = 1 << 20;

/// Takes the entries that [`WriteTxn::convert_table`] makes of an old one.
pub struct NewEntries<'b, K: ?Sized, V: ?Sized> {
    batch: &'b mut Batch,
    types: PhantomData<fn(&K, &V)>,
}

struct Batch {
    schema: Schema,
    /// The new table, empty; its layout is what counts.
    tree: Tree,
    /// In ascending order, above all that was put.
    entries: Vec<(Vec<u8>, Vec<u8>)>,
    len: usize,
    /// The last one of them ever.
    last: Option<Vec<u8>>,
    /// What came later and is not above; put when all others are.
    others: Sorter,
}

impl<K: Key + ?Sized, V: Codec + ?Sized> NewEntries<'_, K, V> {
    /// Puts an entry into the new table. Keys may come in any order; each once.
    ///
    /// # Errors
    /// `KeyTooLong`, `ValueTooLong`, `WrongWidth`.
    pub fn put(&mut self, key: &(impl Encode<K> + ?Sized), value: &(impl Encode<V> + ?Sized)) -> Result<()> {
        self.batch.add(key.encode().as_ref(), value.encode().as_ref())
    }
}

impl<K: ?Sized, V: ?Sized> std::fmt::Debug for NewEntries<'_, K, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NewEntries: {} not put yet", self.batch.entries.len())
    }
}

impl Batch {
    fn add(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        check_entry(&self.schema, &self.tree, key, value)?;
        if self.last.as_deref().is_some_and(|last| key <= last) {
            return self.others.add(key, value).map_err(twice);
        }
        self.len += key.len() + value.len();
        self.entries.push((key.to_vec(), value.to_vec()));
        let last = self.last.get_or_insert_default();
        last.clear();
        last.extend_from_slice(key);
        Ok(())
    }
}

/// What becomes of an old entry, as bytes.
type Convert<'c> = dyn FnMut(&[u8], &[u8], &mut Batch) -> Result<()> + 'c;

impl WriteTxn {
    /// Rewrites the table `old` as `new`, which has other types, or another name, or both. `convert` is given each entry
    /// in turn, in order, and puts what it becomes: one new entry, none, or several. Returns how many entries the new
    /// table has. A table that is not there is not converted, and none comes into being.
    ///
    /// O(n log n). Entries are converted some at a time, so a table may be larger than memory; beyond
    /// [`Options::dirty_limit`](crate::Options::dirty_limit) new pages are written early. Until the commit the file
    /// holds both tables. New keys in the order of the old ones go straight to their pages; those that come in another
    /// order are sorted, like those of [`WriteTxn::bulk_load`], beyond 64 MiB in temporary files beside the store.
    ///
    /// ```
    /// use mapleaf::{Database, Table};
    ///
    /// const OLD: Table<u64, str> = Table::new("users"); // "ann,sweden"
    /// const NEW: Table<u64, (String, Option<String>)> = Table::new("users"); // name, country
    /// # fn main() -> mapleaf::Result<()> {
    /// let db = Database::temporary()?;
    /// db.write(|w| w.put(OLD, &7, "ann,sweden"))?;
    ///
    /// db.write(|w| {
    ///     w.convert_table(OLD, NEW, |id, user, new| match user.split_once(',') {
    ///         Some((name, country)) => new.put(&id, &(name, Some(country))),
    ///         None => new.put(&id, &(user, None::<&str>)),
    ///     })
    /// })?;
    /// let r = db.begin_read()?;
    /// assert_eq!(r.get(NEW, &7)?, Some(("ann".into(), Some("sweden".into()))));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Those of `convert` and of [`NewEntries::put`]; `SchemaMismatch` where the table is not stored as `old`; `TableExists`
    /// where there is a table with the other name; `InvalidArgument` where two entries get the same key: nothing is
    /// changed. `Corrupt`, `Io`, `Full`: the txn can only be aborted, as after a panic in `convert`.
    pub fn convert_table<K1, V1, K2, V2>(
        &mut self,
        old: Table<K1, V1>,
        new: Table<K2, V2>,
        mut convert: impl FnMut(K1::View<'_>, V1::View<'_>, &mut NewEntries<'_, K2, V2>) -> Result<()>,
    ) -> Result<u64>
    where
        K1: Key + ?Sized,
        V1: Codec + ?Sized,
        K2: Key + ?Sized,
        V2: Codec + ?Sized,
    {
        self.not_poisoned()?;
        if self.open(old)?.is_none() {
            return Ok(0);
        }
        let target = Target::of(new);
        self.rewrite(old.name(), &target, &mut |key, value, batch| {
            let decode_error = |what, error| Error::Decode { detail: format!("{what}: {error}") };
            let key = K1::decode(key).map_err(|error| decode_error("key", error))?;
            let value = V1::decode(value).map_err(|error| decode_error("value", error))?;
            convert(key, value, &mut NewEntries { batch, types: PhantomData })
        })
    }

    /// Gives the table `old` the types of `new`, whose bytes are the same: each entry is checked to be one of `new`.
    /// For a table that was loaded as bytes by the tool (`Table<[u8], [u8]>`), a key that became a named struct, an enum
    /// with one more variant. Both have the same name. Returns the number of entries; 0 where there is no such table.
    ///
    /// O(n): every entry is read, but only the catalog changes, unless pages are laid out in another way for `new`
    /// (fixed widths, alignment): then the table is rewritten.
    ///
    /// ```
    /// use mapleaf::{Database, Table};
    ///
    /// const LOADED: Table<[u8], [u8]> = Table::new("ages");
    /// const AGES: Table<str, u16> = Table::new("ages");
    /// # fn main() -> mapleaf::Result<()> {
    /// let db = Database::temporary()?;
    /// db.write(|w| w.put(LOADED, b"ann", b"\0\x2a"))?;
    /// db.write(|w| w.retype_table(LOADED, AGES))?;
    /// assert_eq!(db.begin_read()?.get(AGES, "ann")?, Some(42));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// `Decode` or `WrongWidth` for the first entry that is none of `new`; `SchemaMismatch` where the table is not stored
    /// as `old`; `InvalidArgument` where the names differ: nothing is changed. `Corrupt`, `Io`, `Full`: the txn can only
    /// be aborted.
    pub fn retype_table<K1, V1, K2, V2>(&mut self, old: Table<K1, V1>, new: Table<K2, V2>) -> Result<u64>
    where
        K1: Key + ?Sized,
        V1: Codec + ?Sized,
        K2: Key + ?Sized,
        V2: Codec + ?Sized,
    {
        self.not_poisoned()?;
        if old.name() != new.name() {
            return Err(Error::invalid(format!(
                "retype_table from {:?} to {:?}: a table keeps its name; rename_table gives it another",
                old.name(),
                new.name()
            )));
        }
        let Some(index) = self.open(old)? else { return Ok(0) };
        let (target, tree) = (Target::of(new), self.tables[index].tree);
        if target.schema.layout(self.dirty.page_size()) == tree.layout {
            check_all::<K2, V2>(TableView::new(self, tree))?;
            self.set_schema(index, target)?;
            return Ok(tree.len());
        }
        self.fill(old.name(), &target, &mut |key, value, batch| batch.add(key, value))?;
        let rewritten = self.table_tree(MEANWHILE)?.expect("it was just filled");
        self.poisoned = true;
        let checked = check_all::<K2, V2>(TableView::new(self, rewritten));
        self.poisoned = false;
        if let Err(error) = checked {
            self.drop_table(MEANWHILE)?;
            return Err(error);
        }
        self.replace(old.name(), new.name())?;
        Ok(tree.len())
    }

    /// Only the catalog changes; the log has no word for that.
    fn set_schema(&mut self, index: usize, target: Target) -> Result<()> {
        self.redo.give_up();
        self.change(|dirty, tables, catalog| {
            let table = &mut tables[index];
            (table.schema, table.types) = (target.schema, Some(target.types));
            store_record(dirty, catalog, table)
        })
    }

    fn rewrite(&mut self, old: &str, target: &Target, convert: &mut Convert<'_>) -> Result<u64> {
        if target.name != old && self.find(target.name)?.is_some() {
            return Err(Error::TableExists { table: target.name.to_owned() });
        }
        self.fill(old, target, convert)?;
        self.replace(old, target.name)?;
        Ok(self.table_tree(target.name)?.map_or(0, |tree| tree.len()))
    }

    /// Makes the new table beside the old one; an error takes it away again.
    fn fill(&mut self, old: &str, target: &Target, convert: &mut Convert<'_>) -> Result<()> {
        if self.find(MEANWHILE)?.is_some() {
            return Err(Error::TableExists { table: MEANWHILE.to_owned() });
        }
        let new = self.create(MEANWHILE, target.schema.clone(), Some(target.types))?;
        let tree = self.tables[new].tree;
        let memory = BulkOptions::default().memory;
        let batch = Batch {
            schema: target.schema.clone(),
            tree,
            entries: Vec::new(),
            len: 0,
            last: None,
            others: Sorter::new(memory, self.sorting_directory(), Duplicates::Refused).unordered(),
        };
        let filled = self.fill_in_batches(old, new, batch, convert);
        if filled.is_err() && !self.poisoned {
            self.drop_table(MEANWHILE)?;
        }
        filled
    }

    fn fill_in_batches(
        &mut self,
        old: &str,
        new: usize,
        mut batch: Batch,
        convert: &mut Convert<'_>,
    ) -> Result<()> {
        let mut done = Bound::Unbounded;
        loop {
            // What the caller has written may panic; the new table stands half made beside the old one then.
            self.poisoned = true;
            let next = self.convert_some(old, done, &mut batch, convert);
            self.poisoned = false;
            let next = next?;
            self.put_batch(new, &mut batch)?;
            match next {
                Some(key) => done = Bound::Excluded(key),
                None => return self.put_others(new, batch.others),
            }
        }
    }

    /// Converts entries behind `done` until the batch is full. Returns the last key, unless that was the last entry.
    fn convert_some(
        &self,
        old: &str,
        done: Bound<Vec<u8>>,
        batch: &mut Batch,
        convert: &mut Convert<'_>,
    ) -> Result<Option<Vec<u8>>> {
        let tree = self.table_tree(old)?.expect("the old table stays until the new one is whole");
        let view: TableView<'_, [u8], [u8]> = TableView::new(self, tree);
        for entry in view.range((done, Bound::Unbounded)) {
            let (key, value) = entry?;
            convert(key, value, batch)?;
            if batch.len >= BATCH {
                return Ok(Some(key.to_vec()));
            }
        }
        Ok(None)
    }

    fn put_batch(&mut self, new: usize, batch: &mut Batch) -> Result<()> {
        batch.len = 0;
        batch.entries.drain(..).try_for_each(|(key, value)| self.put_once(new, &key, &value))
    }

    fn put_others(&mut self, new: usize, others: Sorter) -> Result<()> {
        let mut sorted = others.finish().map_err(twice)?;
        while let Some((key, value)) = sorted.next().map_err(twice)? {
            self.put_once(new, key, value)?;
        }
        Ok(())
    }

    fn put_once(&mut self, new: usize, key: &[u8], value: &[u8]) -> Result<()> {
        match self.put_at(new, key, value, false)? {
            Put::Kept => Err(same_key(&format!("key {}", shown(key)))),
            Put::Inserted | Put::Replaced => Ok(()),
        }
    }

    fn replace(&mut self, old: &str, new: &str) -> Result<()> {
        self.drop_table(old)?;
        self.rename_table(MEANWHILE, new)
    }
}

/// What the sorter says of two entries with one key.
fn twice(error: Error) -> Error {
    match error {
        Error::InvalidArgument { detail } => {
            same_key(detail.split_once(" comes twice").map_or(&detail[..], |(key, _)| key))
        }
        other => other,
    }
}

fn same_key(key: &str) -> Error {
    Error::invalid(format!("two entries get the same new {key}; make keys that differ, or leave one out"))
}

/// The table that is wanted.
struct Target {
    name: &'static str,
    schema: Schema,
    types: TypeId,
}

impl Target {
    fn of<K: Key + ?Sized, V: Codec + ?Sized>(table: Table<K, V>) -> Self {
        Target { name: table.name(), schema: schema_of::<K, V>(), types: table.type_id() }
    }
}

fn check_all<K: Key + ?Sized, V: Codec + ?Sized>(view: TableView<'_, K, V>) -> Result<()> {
    view.iter().try_for_each(|entry| entry.map(drop))
}

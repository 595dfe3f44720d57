//! Many entries at once: [`WriteTxn::append`] and [`WriteTxn::bulk_load`].
//!
//! Owns: what becomes of the input of a bulk load. Promises: it is loaded whole, or nothing of it; input in
//! ascending order is not kept in memory. Leaves to others: sorting ([`crate::sort`]), pages ([`crate::tree`]).

use super::WriteTxn;
use crate::catalog::check_entry;
use crate::codec::{Codec, Encode, Key};
use crate::dirty::Dirty;
use crate::error::{Error, Result};
use crate::redo::Change;
use crate::sort::{Duplicates, Sorted, Sorter, shown};
use crate::table::Table;
use crate::tree::Tree;
use crate::tree::build::{self, Builder, Old};
use crate::tree::insert::Put;
use std::cmp::Ordering;
use std::path::PathBuf;

/// So many entries that come in ascending order are taken as a sign that all do.
const SIGN: usize = 1000;
/// A batch of at least such a part of the table is merged with all of it.
const LARGE_PART: u64 = 4;

/// How [`WriteTxn::bulk_load_with`] loads.
///
/// ```
/// use mapleaf::{BulkOptions, Duplicates};
///
/// let options = BulkOptions { memory: 1 << 30, duplicates: Duplicates::Refused, ..BulkOptions::default() };
/// assert_eq!(BulkOptions::default().memory, 64 << 20);
/// # let _ = options;
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BulkOptions {
    /// Bytes of entries, and of what it takes to sort them, that are kept in memory (default: 64 MiB). Changed pages take
    /// memory too, up to [`Options::dirty_limit`](crate::Options::dirty_limit).
    pub memory: usize,
    /// Where input that is larger is sorted, in files without names (default: the directory of the store; that of the
    /// system for stores that have none). They take as many bytes as the entries, twice that while
    /// there are more than `memory` / 4096 times `memory` of them.
    pub directory: Option<PathBuf>,
    /// Which entry stays of those with the same key, in the input and in the table (default: the last).
    pub duplicates: Duplicates,
}

impl Default for BulkOptions {
    fn default() -> Self {
        BulkOptions { memory: 64 << 20, directory: None, duplicates: Duplicates::default() }
    }
}

/// What ended a load.
enum Ended<E> {
    /// The input, or sorting it: the tree is whole.
    Input(E),
    /// The store: the tree may be half changed.
    Store(Error),
}

impl WriteTxn {
    /// Puts an entry behind the last one of the table: `key` must be above all of its keys. The table is created if
    /// need be. Pages become full, one after the other. O(1), O(log n) for the first of several.
    ///
    /// ```
    /// # use mapleaf::{Database, Table};
    /// # let db = Database::temporary()?;
    /// const LOG: Table<u64, str> = Table::new("log");
    ///
    /// let mut w = db.begin_write()?;
    /// w.append(LOG, &1, "started")?;
    /// w.append(LOG, &2, "stopped")?;
    /// let error = w.append(LOG, &2, "again").unwrap_err();
    /// assert!(error.to_string().contains("put"), "{error}");
    /// assert_eq!(w.get(LOG, &2)?, Some("stopped"));
    /// # Ok::<(), mapleaf::Error>(())
    /// ```
    ///
    /// A `put` in ascending order makes the same pages in the same time; `append` refuses what is out of order. (LMDB's
    /// is `MDB_APPEND`.)
    ///
    /// # Errors
    /// `InvalidArgument` where the key is not above the last one, and `SchemaMismatch`, `KeyTooLong`, `ValueTooLong`,
    /// `WrongWidth`: nothing is changed. `Corrupt`, `Io`, `Full`: the txn can only be aborted.
    pub fn append<K: Key + ?Sized, V: Codec + ?Sized>(
        &mut self,
        table: Table<K, V>,
        key: &(impl Encode<K> + ?Sized),
        value: &(impl Encode<V> + ?Sized),
    ) -> Result<()> {
        self.not_poisoned()?;
        let index = self.open_or_create(table)?;
        let key = key.encode();
        let key = key.as_ref();
        if let Some(last) = build::last_key(&self.dirty, &self.tables[index].tree)?
            && key <= last
        {
            return Err(Error::invalid(format!(
                "key {} is not above {}, the last one of table {:?}; put it, or load keys in any order with bulk_load",
                shown(key),
                shown(last),
                table.name()
            )));
        }
        self.put_at(index, key, value.encode().as_ref(), true).map(drop)
    }

    /// Puts all of these entries, which may come in any order. Returns how many keys are new.
    ///
    /// Where keys come in ascending order, pages are filled one after the other. Other input is sorted: in
    /// memory, and beyond 64 MiB in temporary files beside the store. Of entries with the same key the last
    /// one stays, as if each was put in turn; [`WriteTxn::bulk_load_with`] can do otherwise.
    ///
    /// ```
    /// # use mapleaf::{Database, Table};
    /// # let db = Database::temporary()?;
    /// const WORDS: Table<str, u64> = Table::new("words");
    ///
    /// let text = "one two three two";
    /// let loaded = db.write(|w| w.bulk_load(WORDS, text.split(' ').zip(1..)))?;
    /// assert_eq!(loaded, 3);
    /// let r = db.begin_read()?;
    /// assert_eq!(r.get(WORDS, "two")?, Some(4));
    /// assert_eq!(r.first(WORDS)?, Some(("one", 1)));
    /// # Ok::<(), mapleaf::Error>(())
    /// ```
    ///
    /// # Errors
    /// `SchemaMismatch`, `KeyTooLong`, `ValueTooLong`, `WrongWidth`, and `Io` of a temporary file: nothing is changed, and the
    /// txn goes on. `Corrupt`, `Io` of the store, `Full`: the txn can only be aborted; as it is after a panic in the
    /// iterator.
    pub fn bulk_load<K: Key + ?Sized, V: Codec + ?Sized, Q: Encode<K>, U: Encode<V>>(
        &mut self,
        table: Table<K, V>,
        entries: impl IntoIterator<Item = (Q, U)>,
    ) -> Result<u64> {
        self.bulk_load_with(table, BulkOptions::default(), entries)
    }

    /// The same with options.
    ///
    /// ```
    /// # use mapleaf::{BulkOptions, Database, Duplicates, Table};
    /// # let db = Database::temporary()?;
    /// const WORDS: Table<str, u64> = Table::new("words");
    ///
    /// let mut w = db.begin_write()?;
    /// w.put(WORDS, "two", &2)?;
    /// let refusing = BulkOptions { duplicates: Duplicates::Refused, ..BulkOptions::default() };
    /// assert!(w.bulk_load_with(WORDS, refusing, [("one", 1), ("two", 3)]).is_err());
    /// assert_eq!(w.len(WORDS)?, 1, "nothing of it was loaded");
    ///
    /// let first = BulkOptions { duplicates: Duplicates::FirstWins, ..BulkOptions::default() };
    /// assert_eq!(w.bulk_load_with(WORDS, first, [("one", 1), ("two", 3)])?, 1);
    /// assert_eq!(w.get(WORDS, "two")?, Some(2));
    /// # Ok::<(), mapleaf::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`WriteTxn::bulk_load`]; `InvalidArgument` for a duplicate that is refused: nothing is changed then either.
    pub fn bulk_load_with<K: Key + ?Sized, V: Codec + ?Sized, Q: Encode<K>, U: Encode<V>>(
        &mut self,
        table: Table<K, V>,
        options: BulkOptions,
        entries: impl IntoIterator<Item = (Q, U)>,
    ) -> Result<u64> {
        self.try_bulk_load(table, options, entries.into_iter().map(Ok::<_, Error>))
    }

    /// The same for input that can fail: with its first error nothing is changed, and the txn goes on.
    ///
    /// ```
    /// # use mapleaf::{BulkOptions, Database, Table};
    /// # let db = Database::temporary()?;
    /// const NUMBERS: Table<u64, ()> = Table::new("numbers");
    ///
    /// let parse = |line: &str| -> Result<(u64, ()), Box<dyn std::error::Error>> { Ok((line.parse()?, ())) };
    /// let mut w = db.begin_write()?;
    /// assert_eq!(w.try_bulk_load(NUMBERS, BulkOptions::default(), "7\n5".lines().map(parse)).unwrap(), 2);
    /// let error = w.try_bulk_load(NUMBERS, BulkOptions::default(), "1\nx".lines().map(parse)).unwrap_err();
    /// assert_eq!(error.to_string(), "invalid digit found in string");
    /// assert_eq!(w.first(NUMBERS)?, Some((5, ())));
    /// # Ok::<(), mapleaf::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of the input, and of [`WriteTxn::bulk_load_with`].
    pub fn try_bulk_load<K: Key + ?Sized, V: Codec + ?Sized, Q: Encode<K>, U: Encode<V>, E: From<Error>>(
        &mut self,
        table: Table<K, V>,
        options: BulkOptions,
        entries: impl IntoIterator<Item = Result<(Q, U), E>>,
    ) -> Result<u64, E> {
        self.not_poisoned()?;
        self.open(table)?;
        let before = self.savepoint();
        let index = self.open_or_create(table)?;
        self.poisoned = true;
        let ended = self.load(index, options, entries.into_iter());
        if let Err(Ended::Store(error)) = ended {
            return Err(error.into());
        }
        self.poisoned = false;
        if ended.is_err()
            && let Err(error) = self.rollback_to(before)
        {
            self.poisoned = true;
            return Err(error.into());
        }
        self.release(before)?;
        ended.map_err(|ended| match ended {
            Ended::Input(error) => error,
            Ended::Store(error) => error.into(),
        })
    }

    fn load<K: Key + ?Sized, V: Codec + ?Sized, Q: Encode<K>, U: Encode<V>, E: From<Error>>(
        &mut self,
        index: usize,
        options: BulkOptions,
        entries: impl Iterator<Item = Result<(Q, U), E>>,
    ) -> Result<u64, Ended<E>> {
        let BulkOptions { memory, directory, duplicates } = options;
        let directory = directory.unwrap_or_else(|| self.sorting_directory());
        let before = self.tables[index].tree.len();
        let mut loading = Loading { txn: self, index, duplicates, limit: None, builder: None };
        let mut sorter = Some(Sorter::new(memory, directory.clone(), duplicates));
        // The last key of what has all come in order so far.
        let mut last = Vec::new();
        for entry in entries {
            let (key, value) = entry.map_err(Ended::Input)?;
            let (key, value) = (key.encode(), value.encode());
            let (key, value) = (key.as_ref(), value.as_ref());
            let table = &loading.txn.tables[index];
            check_entry(&table.schema, &table.tree, key, value).map_err(Ended::input)?;
            if let Some(few) = sorter.take_if(|few| is_in_order(few, key.len() + value.len())) {
                few.last_key().clone_into(&mut last);
                loading.begin().map_err(Ended::Store)?;
                loading.put_all(few.finish().map_err(Ended::input)?)?;
            }
            if sorter.is_none() && key > &last[..] {
                loading.put(key, value)?;
                key.clone_into(&mut last);
            } else {
                let new = || Sorter::new(memory, directory.clone(), duplicates).unordered();
                sorter.get_or_insert_with(new).add(key, value).map_err(Ended::input)?;
            }
        }
        if let Some(sorter) = sorter {
            loading.close().map_err(Ended::Store)?;
            loading.merge(sorter)?;
        }
        loading.close().map_err(Ended::Store)?;
        Ok(self.tables[index].tree.len().saturating_sub(before))
    }

    /// Where the store is.
    pub(super) fn sorting_directory(&self) -> PathBuf {
        let beside = self.dirty.store.pages.disk.path().parent().map(|directory| match directory {
            none if none.as_os_str().is_empty() => PathBuf::from("."),
            directory => directory.to_owned(),
        });
        beside.filter(|directory| directory.is_dir()).unwrap_or_else(std::env::temp_dir)
    }
}

/// Whether what came first came in order, and is enough to take it that all does; or too much to keep another entry of
/// so many bytes.
fn is_in_order(first: &Sorter, len: usize) -> bool {
    first.is_ascending() && (first.kept() >= SIGN || !first.has_room(len))
}

/// A table that is being loaded.
struct Loading<'w> {
    txn: &'w mut WriteTxn,
    index: usize,
    duplicates: Duplicates,
    /// The last key that was in the table before what is being put now.
    limit: Option<Vec<u8>>,
    /// The end of the table, where what is put lies behind it.
    builder: Option<Builder>,
}

impl Loading<'_> {
    /// Entries come, in the order of their keys.
    fn begin(&mut self) -> Result<()> {
        self.limit = build::last_key(&self.txn.dirty, self.tree())?.map(<[u8]>::to_vec);
        Ok(())
    }

    fn tree(&self) -> &Tree {
        &self.txn.tables[self.index].tree
    }

    /// Puts what was sorted. A batch that is large beside the table is merged with it, into pages that are all
    /// written anew.
    fn merge<E: From<Error>>(&mut self, sorter: Sorter) -> Result<(), Ended<E>> {
        self.begin().map_err(Ended::Store)?;
        let is_large = sorter.added() >= self.tree().len() / LARGE_PART;
        let sorted = sorter.finish().map_err(Ended::input)?;
        let limit = self.limit.as_deref().unwrap_or_default();
        let is_among = self.limit.is_some() && sorted.first_key().is_some_and(|first| first <= limit);
        if is_large && is_among { self.rebuild(sorted) } else { self.put_all(sorted) }
    }

    fn put_all<E: From<Error>>(&mut self, mut sorted: Sorted) -> Result<(), Ended<E>> {
        while let Some((key, value)) = sorted.next().map_err(Ended::input)? {
            self.put(key, value)?;
        }
        Ok(())
    }

    /// Puts an entry, whose key is above that of the one before.
    fn put<E: From<Error>>(&mut self, key: &[u8], value: &[u8]) -> Result<(), Ended<E>> {
        if self.builder.is_some() || self.limit.as_ref().is_none_or(|limit| key > &limit[..]) {
            return self.push(key, value).map_err(Ended::Store);
        }
        let replace = self.duplicates == Duplicates::LastWins;
        self.txn.poisoned = false;
        let put = self.txn.put_at(self.index, key, value, replace);
        self.txn.poisoned = true;
        match put.map_err(Ended::Store)? {
            Put::Kept => self.duplicates.later_wins(key).map(drop).map_err(Ended::input),
            Put::Inserted | Put::Replaced => Ok(()),
        }
    }

    /// Adds an entry behind the last one.
    fn push(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.add(key, |builder, dirty, tree| builder.push(dirty, tree, key, value))?;
        self.txn.redo.add(Change::Put { table: self.tree().table, key, value });
        Ok(())
    }

    fn add(
        &mut self,
        key: &[u8],
        add: impl FnOnce(&mut Builder, &mut Dirty, &mut Tree) -> Result<bool>,
    ) -> Result<()> {
        let (dirty, tree) = (&mut self.txn.dirty, &mut self.txn.tables.to_mut()[self.index].tree);
        let builder = match &mut self.builder {
            Some(builder) => builder,
            None => self.builder.insert(Builder::open(dirty, tree, key)?),
        };
        let is_full = add(builder, dirty, tree)?;
        if is_full && dirty.is_full() { self.close() } else { Ok(()) }
    }

    /// Makes the tree whole, and lets pages be written where they are many.
    fn close(&mut self) -> Result<()> {
        let Some(builder) = self.builder.take() else { return Ok(()) };
        let index = self.index;
        self.txn.poisoned = false;
        self.txn.change(|dirty, tables, _| builder.close(dirty, &mut tables[index].tree))?;
        self.txn.poisoned = true;
        Ok(())
    }

    /// Merges what was sorted with what is in the table.
    fn rebuild<E: From<Error>>(&mut self, mut sorted: Sorted) -> Result<(), Ended<E>> {
        let tree = *self.tree();
        let mut old = Old::new(&mut self.txn.dirty, &tree).map_err(Ended::Store)?;
        self.txn.tables.to_mut()[self.index].tree =
            Tree { overflow_pages: tree.overflow_pages, ..Tree::empty(tree.table, tree.layout) };
        let mut new = sorted.next().map_err(Ended::input)?;
        loop {
            let there = old.entry().map_err(Ended::Store)?;
            let order = match (&there, &new) {
                (None, None) => return Ok(()),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some((there, _)), Some((key, _))) => (*there).cmp(key),
            };
            let mut is_put = order.is_gt();
            if let Some((key, stored)) = there.filter(|_| order.is_le()) {
                is_put = order.is_eq() && self.duplicates.later_wins(key).map_err(Ended::input)?;
                let kept = match is_put {
                    true => {
                        let WriteTxn { dirty, tables, .. } = &mut *self.txn;
                        old.give_up(dirty, &mut tables.to_mut()[self.index].tree)
                    }
                    false => {
                        self.add(key, |builder, dirty, tree| builder.push_stored(dirty, tree, key, stored))
                    }
                };
                kept.and_then(|()| old.advance(&mut self.txn.dirty)).map_err(Ended::Store)?;
            }
            if let Some((key, value)) = new.filter(|_| order.is_ge()) {
                if is_put {
                    self.push(key, value).map_err(Ended::Store)?;
                }
                new = sorted.next().map_err(Ended::input)?;
            }
        }
    }
}

impl<E: From<Error>> Ended<E> {
    fn input(error: Error) -> Self {
        Ended::Input(error.into())
    }
}

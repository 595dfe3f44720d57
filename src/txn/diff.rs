//! Comparing snapshots.
//!
//! Owns: which snapshots and tables can be compared. Leaves to others: how ([`crate::tree::diff`]), and what comes of
//! it ([`crate::diff`]).

use super::ReadTxn;
use super::multi::{expect_multi, expect_single};
use crate::catalog::{TableInfo, find_record, list_tables, listed_table};
use crate::codec::{Codec, Key};
use crate::diff::{Diff, MultiDiff, TableChange};
use crate::error::{Error, Result};
use crate::format::Schema;
use crate::lineage;
use crate::multi::MultiTable;
use crate::table::Table;
use crate::tree::Tree;
use crate::tree::diff::{Difference, Walker};
use crate::tree::search::resolve;
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

impl ReadTxn {
    /// The entries of a table that differ between this snapshot and another, in order of their keys. Neither need be
    /// the older one: what the other has and this has not is `Inserted`. They may be any two of the same store, begun
    /// by any handle, [stored](crate::Database::read_snapshot) or not; or of two stores.
    ///
    /// Costs about two pages a level for each leaf that was changed between them, however large the table is, and
    /// memory for one path of each: what both share is passed unread, and so is a large value that was not put anew.
    /// (Where leaves were split, joined or given up, up to two pages a level more.) An entry that was put again with
    /// the same bytes is no change. A table that one of them does not have counts as empty there. Tables are found by
    /// their names: one that was dropped and made anew, or given the name of another, shares nothing with what had
    /// the name before, and both are read whole; [`ReadTxn::changed_tables`] tells by the ids.
    ///
    /// ```
    /// use mapleaf::{Change, Database, Table};
    /// const STOCK: Table<str, u64> = Table::new("stock");
    /// # fn main() -> mapleaf::Result<()> {
    /// # let db = Database::temporary()?;
    /// db.write(|w| w.bulk_load(STOCK, [("coffee", 3), ("salt", 9), ("tea", 5)]))?;
    /// let older = db.begin_read()?;
    /// db.write(|w| {
    ///     w.put(STOCK, "tea", &4)?;
    ///     w.put(STOCK, "sugar", &1)?;
    ///     w.delete(STOCK, "coffee")
    /// })?;
    /// let newer = db.begin_read()?;
    /// let changes = older.diff(&newer, STOCK)?.collect::<mapleaf::Result<Vec<_>>>()?;
    /// assert_eq!(changes, [
    ///     Change::Deleted { key: "coffee", value: 3 },
    ///     Change::Inserted { key: "sugar", value: 1 },
    ///     Change::Changed { key: "tea", old: 5, new: 4 },
    /// ]);
    /// # Ok(()) }
    /// ```
    ///
    /// **Of two stores** one may be a copy of the other's file, or both of a third. A store remembers checkpoints
    /// that it came through, not all, but some before any point; pages up to the last one that both remember are
    /// passed unread, and the cost follows what either has changed since: where both have made up to `n` txns since
    /// they went apart, that is no more than `2 n` txns before. Stores that have none in common are read whole, and
    /// what differs in them is right as well: those made apart from each other, or of different page sizes, and one
    /// that was restored beside the one that was backed up.
    ///
    /// What it gives borrows from both snapshots. With [`wait_for_commit`](crate::Database::wait_for_commit) this is
    /// a change feed: see the [cookbook](crate::cookbook#change-feed).
    ///
    /// # Errors
    /// `SchemaMismatch` when either has the table with other types; `Corrupt` where a catalog or, of two stores, a
    /// meta slot is damaged; `Forked`. The steps have errors of their own: `Corrupt`, where a page that must be read
    /// is damaged, and `Decode`. Damage in what both share is not noticed.
    pub fn diff<'t, K: Key + ?Sized, V: Codec + ?Sized>(
        &'t self,
        newer: &'t ReadTxn,
        table: Table<K, V>,
    ) -> Result<Diff<'t, K, V>> {
        let shared = self.shared_with(newer)?;
        Ok(Diff::new(self.walker(&self.tree(table)?), newer.walker(&newer.tree(table)?), shared))
    }

    /// The pairs of a multimap that differ between this snapshot and another, in order of their keys and then of their
    /// values. Everything is as of [`ReadTxn::diff`]; of a key with many values what both share is passed unread too.
    ///
    /// ```
    /// use mapleaf::{Database, MultiTable, PairChange};
    /// const TAGS: MultiTable<str, u64> = MultiTable::new("tags");
    /// # fn main() -> mapleaf::Result<()> {
    /// # let db = Database::temporary()?;
    /// db.write(|w| (0..10_000).try_for_each(|id| w.put_value(TAGS, "rust", &id).map(drop)))?;
    /// let older = db.begin_read()?;
    /// db.write(|w| {
    ///     w.delete_value(TAGS, "rust", &7_000)?;
    ///     w.put_value(TAGS, "tree", &3)
    /// })?;
    /// let newer = db.begin_read()?;
    /// let changes = older.diff_multi(&newer, TAGS)?.collect::<mapleaf::Result<Vec<_>>>()?;
    /// assert_eq!(changes, [
    ///     PairChange::Deleted { key: "rust", value: 7_000 },
    ///     PairChange::Inserted { key: "tree", value: 3 },
    /// ]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Those of [`ReadTxn::diff`].
    pub fn diff_multi<'t, K: Key + ?Sized, V: Key + ?Sized>(
        &'t self,
        newer: &'t ReadTxn,
        table: MultiTable<K, V>,
    ) -> Result<MultiDiff<'t, K, V>> {
        let shared = self.shared_with(newer)?;
        let walkers = (self.walker(&self.multi_tree(table)?), newer.walker(&newer.multi_tree(table)?));
        Ok(MultiDiff::new(walkers.0, walkers.1, shared))
    }

    /// [`ReadTxn::diff`] as raw bytes, whatever the table's types; `None` when neither snapshot has such a table.
    ///
    /// # Errors
    /// `SchemaMismatch` when the two have it with different types; `InvalidArgument` where it is a multimap; else
    /// those of [`ReadTxn::diff`]. The steps have errors of their own.
    pub fn raw_diff<'t>(&'t self, newer: &'t ReadTxn, name: &str) -> Result<Option<Diff<'t, [u8], [u8]>>> {
        let Some((old, new)) = self.raw_trees(newer, name)? else { return Ok(None) };
        expect_single(name, old.layout.set.is_some())?;
        Ok(Some(Diff::new(self.walker(&old), newer.walker(&new), self.shared_with(newer)?)))
    }

    /// [`ReadTxn::diff_multi`] as raw bytes, whatever the multimap's types; `None` when neither snapshot has such a
    /// table.
    ///
    /// # Errors
    /// `SchemaMismatch` when the two have it with different types; `InvalidArgument` where it is no multimap; else
    /// those of [`ReadTxn::diff`]. The steps have errors of their own.
    pub fn raw_diff_multi<'t>(
        &'t self,
        newer: &'t ReadTxn,
        name: &str,
    ) -> Result<Option<MultiDiff<'t, [u8], [u8]>>> {
        let Some((old, new)) = self.raw_trees(newer, name)? else { return Ok(None) };
        expect_multi(name, old.layout.set.is_some())?;
        Ok(Some(MultiDiff::new(self.walker(&old), newer.walker(&new), self.shared_with(newer)?)))
    }

    /// The tables that differ between this snapshot and another, in order of their names; no table is read. Costs what
    /// [`ReadTxn::diff`] does for the catalog: nothing for tables that nobody wrote to.
    ///
    /// A table counts as changed when it was written to, though the writes may have left every entry as it was. One
    /// that was renamed is `Dropped` under its old name and `Created` under the new one, with the same id; one that
    /// was dropped and made anew is `Changed`, and has another id.
    ///
    /// ```
    /// use mapleaf::{Database, Table, TableChange};
    /// const STOCK: Table<str, u64> = Table::new("stock");
    /// const ORDERS: Table<u64, str> = Table::new("orders");
    /// # fn main() -> mapleaf::Result<()> {
    /// # let db = Database::temporary()?;
    /// db.write(|w| w.put(STOCK, "tea", &5))?;
    /// let older = db.begin_read()?;
    /// db.write(|w| w.put(ORDERS, &1, "tea"))?;
    /// let newer = db.begin_read()?;
    /// let changed = older.changed_tables(&newer)?;
    /// assert!(matches!(&changed[..], [TableChange::Created(table)] if table.name == "orders"));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Those of [`ReadTxn::diff`] but `SchemaMismatch`. Of two stores both catalogs are read whole.
    pub fn changed_tables(&self, newer: &ReadTxn) -> Result<Vec<TableChange>> {
        let shared = self.shared_with(newer)?;
        if shared < u64::MAX {
            return self.changed_tables_of_two(newer, shared);
        }
        let walkers = (self.walker(&self.catalog()), newer.walker(&newer.catalog()));
        let mut differences = crate::tree::diff::Diff::new(walkers.0, walkers.1, shared);
        let mut changed = Vec::new();
        while let Some(Difference { key, old, new }) = differences.next()? {
            let table = |txn: &ReadTxn, record| {
                let record = resolve(txn, record)?;
                let (name, schema, tree) = listed_table(key, record, txn.store.pages.page_size)?;
                Ok::<_, Error>(TableInfo::new(name, schema, &tree))
            };
            let old = old.map(|record| table(self, record)).transpose()?;
            let new = new.map(|record| table(newer, record)).transpose()?;
            changed.extend(change_of(old, new));
        }
        Ok(changed)
    }

    /// The same of two files. There the same entry of the catalog may lead to other pages.
    fn changed_tables_of_two(&self, newer: &ReadTxn, shared: u64) -> Result<Vec<TableChange>> {
        let tables = |txn: &ReadTxn| {
            let listed = list_tables(txn, &txn.catalog())?.into_iter();
            let named = listed
                .map(|(name, schema, tree)| (name.clone(), (TableInfo::new(name, schema, &tree), tree)));
            Ok::<BTreeMap<_, _>, Error>(named.collect())
        };
        let (old, mut new) = (tables(self)?, tables(newer)?);
        let mut changed = Vec::new();
        for (name, (before, tree)) in old {
            match new.remove(&name) {
                Some((after, other)) if before == after && tree == other && tree.root.birth <= shared => {}
                after => changed.extend(change_of(Some(before), after.map(|(after, _)| after))),
            }
        }
        changed.extend(new.into_values().map(|(table, _)| TableChange::Created(table)));
        changed.sort_by(|one, other| one.name().cmp(other.name()));
        Ok(changed)
    }

    fn walker<'t>(&'t self, tree: &Tree) -> Walker<'t> {
        Walker::new(self, tree, self.state.page_count)
    }

    /// The trees of a table in both snapshots, if either has it.
    fn raw_trees(&self, newer: &ReadTxn, name: &str) -> Result<Option<(Tree, Tree)>> {
        let empty = |other: Tree| Tree::empty(0, other.layout);
        Ok(match (self.stored_table(name)?, newer.stored_table(name)?) {
            (None, None) => None,
            (Some((_, old)), None) => Some((old, empty(old))),
            (None, Some((_, new))) => Some((empty(new), new)),
            (Some((old_schema, _)), Some((schema, _))) if old_schema != schema => {
                return Err(old_schema.mismatch(name, &schema));
            }
            (Some((_, old)), Some((_, new))) => Some((old, new)),
        })
    }

    fn stored_table(&self, name: &str) -> Result<Option<(Schema, Tree)>> {
        let record = find_record(self, &self.catalog(), name)?;
        Ok(record.map(|record| (record.schema(), Tree::of(&record, self.store.pages.page_size))))
    }

    /// Up to which txn the same number and birth are the same page in both: of one file always; of two up to the newest
    /// checkpoint that both are known to have come through.
    ///
    /// Why that is so: what a file's checkpoint `c` refers to is written before the checkpoint, and never again while
    /// it is referred to. A state behind `c` came out of it by commits, and recoveries that began with it or a later
    /// one, so a page in it that is not newer than `c` is a page of `c`; and a state before `c` that can be read now,
    /// being pinned since, has its pages unchanged since `c`, too. `c` is the same in both files: so such a page
    /// holds in both what it held then. Behind `c` each file has txns of its own, whose numbers, and whose pages'
    /// numbers, may be the same.
    fn shared_with(&self, other: &ReadTxn) -> Result<u64> {
        self.check_process()?;
        other.check_process()?;
        if Arc::ptr_eq(&self.store, &other.store) {
            return Ok(u64::MAX);
        }
        let place = |txn: &ReadTxn| {
            let file = txn.store.pages.disk.file().metadata();
            let file = file.map_err(|error| Error::io("examine the data file", error))?;
            Ok::<_, Error>((file.dev(), file.ino()))
        };
        if place(self)? == place(other)? {
            return Ok(u64::MAX);
        }
        match self.store.pages.page_size == other.store.pages.page_size {
            true => Ok(lineage::common(&self.store.lineage()?, &other.store.lineage()?)),
            false => Ok(0),
        }
    }
}

/// What became of a table, if it is in one of them.
fn change_of(old: Option<TableInfo>, new: Option<TableInfo>) -> Option<TableChange> {
    match (old, new) {
        (None, Some(new)) => Some(TableChange::Created(new)),
        (Some(old), Some(new)) => Some(TableChange::Changed { old, new }),
        (old, None) => old.map(TableChange::Dropped),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::OverflowRef;
    use crate::options::Config;
    use crate::page::Branch;
    use crate::snapshot::PageSource;
    use crate::store::{Store, Wait};
    use crate::tree::diff;
    use crate::txn::WriteTxn;
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

    const NUMBERS: Table<u64, u64> = Table::new("numbers");
    const BLOBS: Table<u64, [u8]> = Table::new("blobs");
    const TAGS: MultiTable<u64, u64> = MultiTable::new("tags");

    /// A snapshot that counts what is read of it.
    struct Counting<'t> {
        txn: &'t ReadTxn,
        pages: AtomicU64,
        values: AtomicU64,
    }

    impl PageSource for Counting<'_> {
        fn page(&self, page: u64, birth: u64) -> Result<&[u8]> {
            self.pages.fetch_add(1, Relaxed);
            self.txn.page(page, birth)
        }

        fn overflow(&self, run: &OverflowRef) -> Result<&[u8]> {
            self.values.fetch_add(1, Relaxed);
            self.txn.overflow(run)
        }
    }

    fn counting(txn: &ReadTxn) -> Counting<'_> {
        Counting { txn, pages: AtomicU64::new(0), values: AtomicU64::new(0) }
    }

    fn write(store: &Arc<Store>, change: impl FnOnce(&mut WriteTxn) -> Result<()>) -> ReadTxn {
        let mut w = WriteTxn::begin(store, Wait::Forever).unwrap().expect("waits");
        change(&mut w).unwrap();
        w.commit().unwrap();
        ReadTxn::begin(Arc::clone(store)).unwrap()
    }

    fn store(directory: &tempfile::TempDir) -> Arc<Store> {
        Store::open_apart(&directory.path().join("one.maple"), &Config::default()).unwrap()
    }

    /// Differences, pages, large values: found and read from one snapshot to the other.
    fn cost(old: &ReadTxn, new: &ReadTxn, name: &str) -> (u64, u64, u64) {
        cost_shared(old, new, name, u64::MAX)
    }

    fn cost_shared(old: &ReadTxn, new: &ReadTxn, name: &str, shared: u64) -> (u64, u64, u64) {
        let (old_tree, new_tree) =
            (old.table_tree(name).unwrap().unwrap(), new.table_tree(name).unwrap().unwrap());
        let (old, new) = (counting(old), counting(new));
        let walkers = (Walker::new(&old, &old_tree, u64::MAX), Walker::new(&new, &new_tree, u64::MAX));
        let mut found = 0;
        if new_tree.layout.set.is_some() {
            let mut pairs = diff::PairDiff::new(walkers.0, walkers.1, shared);
            while pairs.next().unwrap().is_some() {
                found += 1;
            }
        } else {
            let mut entries = diff::Diff::new(walkers.0, walkers.1, shared);
            while entries.next().unwrap().is_some() {
                found += 1;
            }
        }
        let sum = |of_old: &AtomicU64, of_new: &AtomicU64| of_old.load(Relaxed) + of_new.load(Relaxed);
        (found, sum(&old.pages, &new.pages), sum(&old.values, &new.values))
    }

    /// The same either way.
    fn cost_both_ways(old: &ReadTxn, new: &ReadTxn, name: &str) -> (u64, u64, u64) {
        let cost_forwards = cost(old, new, name);
        assert_eq!(cost(new, old, name), cost_forwards);
        cost_forwards
    }

    fn put(w: &mut WriteTxn, key: u64, value: u64) -> Result<()> {
        w.put(NUMBERS, &key, &value).map(drop)
    }

    #[test]
    fn what_is_read_follows_what_was_changed() {
        let directory = tempfile::tempdir().unwrap();
        let store = store(&directory);
        let first = write(&store, |w| (0..200_000).try_for_each(|i| put(w, 10 * i, i)));
        let tree = first.table_tree("numbers").unwrap().unwrap();
        let levels = u64::from(tree.level) + 1;
        assert_eq!(levels, 3);

        assert_eq!(cost_both_ways(&first, &first, "numbers"), (0, 0, 0));
        let untouched = write(&store, |w| w.put(BLOBS, &1, b"x").map(drop));
        assert_eq!(cost_both_ways(&first, &untouched, "numbers"), (0, 0, 0));

        // Ten changed values: one way down for each, and the root once.
        let changed = write(&store, |w| (0..10).try_for_each(|i| put(w, i * 190_000 + 70_000, 7)));
        let (found, pages, _) = cost_both_ways(&first, &changed, "numbers");
        assert!(found == 10 && pages <= 2 * 10 * levels, "{found} found, {pages} pages read");

        // Ten new keys, each of which splits a leaf of a table that was filled in order.
        let inserted = write(&store, |w| (0..10).try_for_each(|i| put(w, i * 190_000 + 70_005, 7)));
        let (found, pages, _) = cost_both_ways(&changed, &inserted, "numbers");
        assert!(found == 10 && pages <= 3 * 10 * levels, "{found} found, {pages} pages read");

        // New keys at the end, all in a few leaves.
        let appended = write(&store, |w| (0..1000).try_for_each(|i| put(w, 3_000_000 + i, i)));
        let (found, pages, _) = cost_both_ways(&inserted, &appended, "numbers");
        assert!(found == 1000 && pages <= 20, "{found} found, {pages} pages read");

        // The deleted leaves must be read, to say what was in them; little else.
        let cut = write(&store, |w| w.delete_range(NUMBERS, 500_000..700_000).map(drop));
        let (found, pages, _) = cost_both_ways(&appended, &cut, "numbers");
        let leaves = found / 255 + 2;
        assert!(found >= 20_000 && pages <= leaves + 6 * levels, "{found} found, {pages} pages read");
        let beginning = write(&store, |w| w.delete_range(NUMBERS, ..300_000).map(drop));
        let (found, pages, _) = cost_both_ways(&cut, &beginning, "numbers");
        let leaves = found / 255 + 2;
        assert!(found >= 30_000 && pages <= leaves + 6 * levels, "{found} found, {pages} pages read");

        // The whole history at once.
        let (_, pages, _) = cost_both_ways(&first, &beginning, "numbers");
        assert!(pages <= 350, "{pages} pages read");
    }

    /// Where a subtree begins is known without reading it.
    #[test]
    fn what_lies_behind_a_change_at_a_border_is_not_read() {
        let directory = tempfile::tempdir().unwrap();
        let store = store(&directory);
        let first = write(&store, |w| (0..200_000).try_for_each(|i| put(w, i, i)));
        let root = first.table_tree("numbers").unwrap().unwrap().root;
        let root = Branch::new(first.page(root.page, root.birth).unwrap(), 2).unwrap();
        let child = root.child(1).unwrap();
        let branch = Branch::new(first.page(child.page, child.birth).unwrap(), 1).unwrap();
        let border = |i| {
            let mut separator = Vec::new();
            branch.separator(i, &mut separator).unwrap();
            separator.resize(8, 0);
            u64::from_be_bytes(separator.try_into().unwrap())
        };
        // The last entry of a leaf: its path in both.
        let end = write(&store, |w| w.delete(NUMBERS, &(border(6) - 1)).map(drop));
        assert_eq!(cost_both_ways(&first, &end, "numbers"), (1, 6, 0));
        // All of a leaf: its path where it was, and above it where it is no more.
        let leaf = border(10)..border(11);
        let cut = write(&store, |w| w.delete_range(NUMBERS, leaf.clone()).map(drop));
        assert_eq!(cost_both_ways(&end, &cut, "numbers"), (leaf.end - leaf.start, 5, 0));
    }

    #[test]
    fn a_tree_that_has_become_higher_or_lower_is_compared_where_it_differs() {
        let directory = tempfile::tempdir().unwrap();
        let store = store(&directory);
        let lower = write(&store, |w| (0..30_000).try_for_each(|i| put(w, i, i)));
        let higher = write(&store, |w| (30_000..60_000).try_for_each(|i| put(w, i, i)));
        let level = |txn: &ReadTxn| txn.table_tree("numbers").unwrap().unwrap().level;
        assert_eq!((level(&lower), level(&higher)), (1, 2));
        let (found, pages, _) = cost_both_ways(&lower, &higher, "numbers");
        assert!(found == 30_000 && pages <= 30_000_u64.div_ceil(254) + 6, "{pages} pages read");
        let again = write(&store, |w| w.delete_range(NUMBERS, 30_000..).map(drop));
        assert_eq!(level(&again), 1);
        let (found, pages, _) = cost_both_ways(&lower, &again, "numbers");
        assert!(found == 0 && pages <= 8, "{pages} pages read");
    }

    #[test]
    fn large_values_are_read_only_where_both_are_as_long_and_put_anew() {
        let directory = tempfile::tempdir().unwrap();
        let store = store(&directory);
        let first = write(&store, |w| {
            (0..100).try_for_each(|i| w.put(BLOBS, &i, &vec![i as u8; 10_000][..]).map(drop))
        });
        let second = write(&store, |w| {
            w.put(BLOBS, &5, &[5; 10_000][..])?;
            w.put(BLOBS, &6, &[7; 10_000][..])?;
            w.put(BLOBS, &7, &[7; 10_001][..])?;
            w.put(BLOBS, &8, b"short")?;
            w.delete(BLOBS, &9).map(drop)
        });
        let (found, _, values) = cost_both_ways(&first, &second, "blobs");
        assert_eq!((found, values), (4, 4), "5 and 6 are read on both sides");
    }

    #[test]
    fn of_many_values_of_a_key_those_are_read_that_were_changed() {
        let directory = tempfile::tempdir().unwrap();
        let store = store(&directory);
        let first = write(&store, |w| {
            (0..1000).try_for_each(|key| w.put_value(TAGS, &key, &1).map(drop))?;
            (0..100_000).try_for_each(|value| w.put_value(TAGS, &7, &(2 * value)).map(drop))
        });
        let second = write(&store, |w| {
            w.put_value(TAGS, &900, &2)?;
            w.put_value(TAGS, &7, &100_001)?;
            w.delete_value(TAGS, &7, &50_000).map(drop)
        });
        let (found, pages, _) = cost_both_ways(&first, &second, "tags");
        assert!(found == 3 && pages <= 24, "{found} found, {pages} pages read");
    }

    /// The pages of keys and of all sets together; in damaged trees none is opened twice.
    #[test]
    fn no_more_pages_are_opened_than_there_are() {
        let directory = tempfile::tempdir().unwrap();
        let store = store(&directory);
        let empty = ReadTxn::begin(Arc::clone(&store)).unwrap();
        let full = write(&store, |w| {
            (0..5000).try_for_each(|i| w.put_value(TAGS, &(i % 3), &i).map(drop))?;
            (0..1000).try_for_each(|key| w.put_value(TAGS, &key, &1).map(drop))
        });
        let tree = full.table_tree("tags").unwrap().unwrap();
        let walk = |pages| {
            let nothing = Walker::new(&empty, &Tree::empty(0, tree.layout), 0);
            let mut pairs = diff::PairDiff::new(nothing, Walker::new(&full, &tree, pages), u64::MAX);
            std::iter::from_fn(|| pairs.next().transpose()).collect::<Result<Vec<_>>>()
        };
        let least = (0..100).find(|pages| walk(*pages).is_ok()).unwrap();
        assert!(least > 10 && walk(least).unwrap().len() as u64 == tree.len());
        let refused = walk(least - 1).unwrap_err().to_string();
        assert!(refused.contains("more than once"), "{refused}");
    }

    /// A copy of a store's file as it is now, opened.
    fn copy_of(directory: &tempfile::TempDir, name: &str) -> Arc<Store> {
        let copy = directory.path().join(name);
        std::fs::copy(directory.path().join("one.maple"), &copy).unwrap();
        Store::open_apart(&copy, &Config::default()).unwrap()
    }

    fn cost_of_files(old: &ReadTxn, new: &ReadTxn, name: &str) -> (u64, u64, u64) {
        let shared = old.shared_with(new).unwrap();
        assert!(shared < u64::MAX);
        cost_shared(old, new, name, shared)
    }

    /// Both write the same txns, to the same keys, other values: every reference is the same in both.
    #[test]
    fn pages_of_files_that_went_apart_are_not_the_same_though_all_numbers_are() {
        let directory = tempfile::tempdir().unwrap();
        let a = store(&directory);
        write(&a, |w| (0..100_000).try_for_each(|i| put(w, i, i)));
        write(&a, |w| w.put(BLOBS, &1, &[1; 10_000][..]).map(drop));
        a.lead().unwrap().checkpoint_head().unwrap();
        let b = copy_of(&directory, "copy");
        assert_eq!(a.store_id(), b.store_id());
        let change = |store: &Arc<Store>, value: u64| {
            write(store, |w| {
                (0..10).try_for_each(|i| put(w, i * 9_000, value))?;
                w.put(BLOBS, &1, &[value as u8; 10_000][..])?;
                (0..1000).try_for_each(|i| w.put_value(TAGS, &7, &(i * 2 + value)).map(drop))
            })
        };
        // Opening has given the copy a recovery, perhaps, so that one is a txn ahead.
        let (mut old, mut new) = (change(&a, 1_000_000), change(&b, 2_000_000));
        for _ in 0..20 {
            match old.txn_id().cmp(&new.txn_id()) {
                std::cmp::Ordering::Less => old = change(&a, 1_000_000),
                std::cmp::Ordering::Greater => new = change(&b, 2_000_000),
                std::cmp::Ordering::Equal => break,
            }
        }
        assert_eq!(old.txn_id(), new.txn_id());
        let root = |txn: &ReadTxn| txn.table_tree("numbers").unwrap().unwrap().root;
        assert_eq!(root(&old), root(&new));
        assert_eq!(
            cost_shared(&old, &new, "numbers", u64::MAX).0,
            0,
            "whoever believes the numbers finds nothing"
        );
        for (one, other) in [(&old, &new), (&new, &old)] {
            assert_eq!(one.diff(other, NUMBERS).unwrap().count(), 10);
            assert_eq!(one.diff(other, BLOBS).unwrap().count(), 1);
            assert_eq!(one.diff_multi(other, TAGS).unwrap().count(), 2000);
            assert_eq!(one.changed_tables(other).unwrap().len(), 3);
        }
    }

    #[test]
    fn of_files_with_a_common_history_that_is_read_that_was_changed_since() {
        let directory = tempfile::tempdir().unwrap();
        let a = store(&directory);
        write(&a, |w| (0..200_000).try_for_each(|i| put(w, 10 * i, i)));
        a.lead().unwrap().checkpoint_head().unwrap();
        let (b, c) = (copy_of(&directory, "b"), copy_of(&directory, "c"));
        let of = |store: &Arc<Store>| ReadTxn::begin(Arc::clone(store)).unwrap();
        assert_eq!(cost_of_files(&of(&a), &of(&b), "numbers"), (0, 0, 0));
        let changed = |store: &Arc<Store>, at: u64| {
            let mut last = None;
            for i in 0..10 {
                last = Some(write(store, |w| put(w, (at + i) * 70_000, 7)));
                store.lead().unwrap().checkpoint_head().unwrap();
            }
            last.unwrap()
        };
        let (of_a, of_b, levels) = (changed(&a, 0), changed(&b, 15), 3);
        for (old, new, keys) in [(&of_a, &of_b, 20), (&of_a, &of(&c), 10), (&of(&c), &of_b, 10)] {
            let (found, pages, _) = cost_of_files(old, new, "numbers");
            assert!(found == keys && pages <= 2 * keys * levels, "{found} found, {pages} pages read");
        }
        // Behind thousands of checkpoints the newest in common that is remembered is older.
        let early = of(&a);
        (0..300).for_each(|i| {
            write(&a, |w| put(w, 0, i));
            a.lead().unwrap().checkpoint_head().unwrap();
        });
        let (found, pages, _) = cost_of_files(&of(&a), &of(&c), "numbers");
        assert!(found == 10 && pages <= 2 * 10 * levels, "{found} found, {pages} pages read");
        drop(early);
    }
}

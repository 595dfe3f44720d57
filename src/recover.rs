//! Recovery: from the newest checkpoint and the log to a state that is known to be on the disk.
//!
//! Owns: what happens before a store is used that was not closed, or in which a flush has failed or
//! whoever flushed has died. Promises: whole txns only; every one that was acknowledged as durable; a cut
//! at any moment changes nothing, because everything is written to pages that the checkpoint does not
//! use, and the log stays until the new checkpoint is on the disk. The time is bounded by the log, and by the
//! pages that it may hold back. Leaves to others: the order of the new checkpoint ([`crate::commit`]).
//!
//! The steps, with the turn to write and the lead:
//! 1. Both meta slots are written once more, the same bytes, and flushed: who opens a store cannot know
//!    that what the cache shows is what is on the disk, unless the session before has left word
//!    ([`crate::settled`]). Where a flush has failed since, or there is something to replay, the other slot
//!    gets the bytes of the checkpoint's: it may hold a commit, on the disk or in the cache, that was never
//!    acknowledged.
//! 2. Growth that no state refers to is cut off.
//! 3. The records of the log are read: all that validate when the store was just opened, those that were
//!    published or flushed otherwise.
//! 4. Their changes are carried out on the checkpoint as one txn: of several changes of an entry only the
//!    last, in order of the keys, the pages for them read ahead.
//! 5. That is committed as a checkpoint, with an id of its own.
//!
//! Where readers are at work, what they see was born after the checkpoint, on pages that the checkpoint
//! takes for free. These are set aside: pages that are not free in the published state and in the
//! head as well are given up by the new txn, and reclaimed when nobody can see them.

use crate::catalog::{catalog_tree, check_entry, check_name, check_possible, list_tables};
use crate::commit::{self, Changed, Changes, Failure, record_of};
use crate::create::slots_in;
use crate::dirty::Dirty;
use crate::error::{Error, Result};
use crate::format::{Meta, RecordView, Schema};
use crate::group::Lead;
use crate::log::{Record, Records};
use crate::named;
use crate::redo::{Change, next_change};
use crate::shared::{FlushState, State};
use crate::space::{GivenUp, Space};
use crate::store::{Snapshot, Store, Writer, check_txn};
use crate::tree::{Tree, cut, insert, multi, prefetch, remove};
use std::collections::BTreeMap;
use std::sync::Arc;

/// So many keys or more are worth reading ahead for.
const MANY_KEYS: usize = 16;

/// Brings the store into a state that is known to be on the disk and publishes it. The caller has the
/// turn to write.
///
/// # Errors
/// `Io` when a write or flush fails again: nothing is lost, reading goes on, and the next attempt begins
/// anew. `Corrupt` when the checkpoint or an acknowledged part of the log cannot be read.
pub fn recover(store: &Arc<Store>, writer: &mut Writer) -> Result<()> {
    let lead = store.lead()?;
    if store.readers.flush_state() == FlushState::Settled && !store.is_unsettled()? {
        return Ok(());
    }
    store.heed_upsets();
    let fresh = lead.is_first();
    store.counters().recoveries.add(1);
    writer.space = None;
    let (meta, slot) = settle_checkpoint(store)?;
    let base = State::from_meta(&meta);
    let (published, head) = (store.readers.published(), store.readers.head());
    let log = store.log()?;
    let records = log.records(&store.pages.disk)?;
    let wanted = if fresh { u64::MAX } else { published.txn.max(store.readers.durable().0) };
    let found: Vec<&Record> = records.found().iter().take_while(|record| record.txn <= wanted).collect();
    let last = found.last().map_or(base.txn, |record| record.txn);
    if fresh {
        records.check()?;
    }
    if last < store.readers.durable().0 {
        let detail = format!(
            "the log ends at txn {last}, but txn {} was acknowledged; close the store everywhere and copy it",
            store.readers.durable().0
        );
        return Err(Error::corrupt(log.extents().first().map_or(0, |extent| extent.0), detail));
    }
    // The sidecar may say anything; what the file has is the limit.
    let in_file = store.pages.disk.len()? / store.pages.page_size as u64;
    let page_count = published.page_count.max(head.page_count).min(in_file).max(base.page_count);
    if fresh && found.is_empty() {
        level_slots(store, &meta, slot)?;
        store.cut(page_count)?;
        if published.txn != base.txn {
            // Who recovered before died just behind the checkpoint.
            store.readers.set_head(&base);
            store.readers.publish(&base);
        }
        lead.settle();
        return Ok(());
    }
    // From now on both slots say the same.
    store.write_slot(&meta, 1 - slot)?;
    store.cut(page_count)?;
    writer.next_txn = unused_txn(store, writer, &records, &[base, published, head])?;
    store.readers.set_open_turn(writer.next_txn);
    let rebuilt = rebuild(store, writer, &lead, base, page_count, &records, &found);
    store.counters().replayed_txns.add(found.len() as u64);
    writer.next_txn += 1;
    rebuilt
}

/// Step 1 for a store that was just opened: both slots are written once more as they are, and flushed, where they are
/// not known to be on the disk. What a process before may have written and failed to flush is not there any more,
/// nor in doubt.
fn settle_checkpoint(store: &Store) -> Result<(Meta, usize)> {
    let (meta, slot) = store.checkpoint()?;
    if store.readers.checkpoint().is_none() {
        if !store.has_mark() {
            store.rewrite_slots()?;
        }
        store.readers.set_checkpoint(meta.txn.get(), slot);
    }
    Ok((meta, slot))
}

/// The other slot may be of a state with more pages: it gets the bytes of the checkpoint's, or the file could not be cut.
fn level_slots(store: &Store, meta: &Meta, slot: usize) -> Result<()> {
    match &slots_in(&store.pages.disk)[1 - slot] {
        Ok(other) if other.page_count.get() > meta.page_count.get() => store.write_slot(meta, 1 - slot),
        _ => Ok(()),
    }
}

/// An id that nothing in the file or the sidecar has.
fn unused_txn(store: &Store, writer: &Writer, records: &Records, states: &[State]) -> Result<u64> {
    let logged = records.found().last().map_or(0, |record| record.txn);
    let known = states.iter().map(|state| state.txn).chain([logged, store.readers.open_turn().unwrap_or(0)]);
    let next = writer.next_txn.max(known.max().unwrap_or(0).saturating_add(1));
    check_txn(next).map(|()| next)
}

/// Steps 4 and 5, in a file of `page_count` pages.
fn rebuild(
    store: &Arc<Store>,
    writer: &mut Writer,
    lead: &Lead<'_>,
    checkpoint: State,
    page_count: u64,
    records: &Records,
    found: &[&Record],
) -> Result<()> {
    let page_size = store.pages.page_size;
    let base = State { page_count, ..checkpoint };
    store.pages.disk.admit(base.page_count * page_size as u64)?;
    let source = Snapshot { pages: &store.pages, page_count: base.page_count };
    let mut space = Space::load(&source, &checkpoint, page_size)?;
    store.check_log(&space)?;
    // First, so that what the checkpoint still calls pending, and later txns have reused, is set aside too.
    let stored = named::txns(&source, &checkpoint, page_size)?;
    space.reclaim(&store.needed(&stored)?, checkpoint.txn);
    let mut given = Vec::new();
    if !lead.is_first() {
        given.extend(set_aside(store, &mut space, &base)?);
        // Blocks of which a flush has failed are not used again for a log.
        given.extend(space.drop_log(checkpoint.txn));
    }
    space.quarantine(&writer.quarantine);
    let mut dirty = Dirty::new(Arc::clone(store), base, writer.next_txn, space, Vec::new());
    dirty.stored = stored;
    // What was acknowledged has a right to its place.
    dirty.max_size = u64::MAX;
    dirty.is_hurried = true;
    let mut replay = Replay::new(&mut dirty)?;
    let committed = replay.carry_out(records, found).map_err(Failure::Clean).and_then(|()| {
        let Replay { dirty, mut tables, mut catalog, next_table, user_version } = replay;
        let tables = tables.values_mut().filter(|table| table.tree != table.stored);
        let tables = tables.map(|table| Changed::new(&table.name, &table.schema, &mut table.tree));
        let mut changes = Changes {
            tables: tables.collect(),
            catalog: &mut catalog,
            next_table,
            user_version,
            named: named::snapshots_tree(&base, page_size),
            snapshots: &named::Changes::new(),
        };
        commit::commit_recovered(dirty, &mut changes, lead, &given)
    });
    match committed {
        Ok(_) => {
            store.readers.set_open_turn(0);
            writer.quarantine.clear();
            dirty.space.end_quarantine();
            writer.space = Some(dirty.space);
            Ok(())
        }
        Err(Failure::Clean(error)) => {
            dirty.undo();
            Err(error)
        }
        Err(Failure::Unknown(error)) => {
            writer.quarantine.extend(dirty.taken_below(base.page_count));
            Err(error)
        }
    }
}

/// Takes what readers may see, and what may have been written since the last good flush, out of the free
/// pages of the checkpoint. Returns it, to be given up by the new txn.
fn set_aside(store: &Store, space: &mut Space, base: &State) -> Result<Vec<GivenUp>> {
    let checkpoint = space.page_count();
    space.grow_to(checkpoint, base.page_count);
    let mut barred = Vec::new();
    for state in [store.readers.published(), store.readers.head()] {
        let source = Snapshot { pages: &store.pages, page_count: state.page_count };
        // Where it cannot be read, holes are set aside too, and come back as free pages that may have no blocks.
        let other = Space::load(&source, &state, store.pages.page_size).ok();
        barred.extend(space.bar(other.as_ref()));
    }
    let birth = base.txn + 1;
    Ok(barred.into_iter().map(|run| GivenUp { run, birth }).collect())
}

struct Table {
    name: String,
    schema: Schema,
    tree: Tree,
    /// The tree as the catalog has it.
    stored: Tree,
}

/// Changes of entries, by table: the key, and what became of it.
type Entries<'b> = BTreeMap<u32, Vec<(&'b [u8], Became<'b>)>>;

#[derive(Clone, Copy)]
enum Became<'b> {
    /// It has this value; in a multimap this one too.
    Put(&'b [u8]),
    /// It is gone.
    Deleted,
    /// It has not this value any more.
    Without(&'b [u8]),
}

/// The txn that repeats what the log says.
struct Replay<'d> {
    dirty: &'d mut Dirty,
    /// By their ids.
    tables: BTreeMap<u32, Table>,
    catalog: Tree,
    next_table: u32,
    user_version: u64,
}

impl<'d> Replay<'d> {
    fn new(dirty: &'d mut Dirty) -> Result<Self> {
        let base = dirty.base;
        let catalog = catalog_tree(&base, dirty.page_size());
        let listed = list_tables(dirty, &catalog)?.into_iter();
        let tables =
            listed.map(|(name, schema, tree)| (tree.table, Table { name, schema, tree, stored: tree }));
        Ok(Replay {
            tables: tables.collect(),
            dirty,
            catalog,
            next_table: base.next_table,
            user_version: base.user_version,
        })
    }

    fn carry_out(&mut self, records: &Records, found: &[&Record]) -> Result<()> {
        let mut entries = Entries::new();
        for record in found {
            let mut input = records.changes(record);
            while let Some(change) = next_change(&mut input) {
                let change = change.map_err(|()| unreadable(record, "a change cannot be read"))?;
                self.change(change, &mut entries).map_err(|error| match error {
                    Some(error) => error,
                    None => unreadable(record, "a change does not fit the tables"),
                })?;
            }
        }
        entries.into_iter().try_for_each(|(table, entries)| self.change_entries(table, entries))
    }

    /// Carries out a change of tables; files one of an entry. `None`: it cannot be.
    fn change<'b>(&mut self, change: Change<'b>, entries: &mut Entries<'b>) -> Result<(), Option<Error>> {
        match change {
            Change::Put { table, key, value } => {
                entries.entry(table).or_default().push((key, Became::Put(value)))
            }
            Change::Delete { table, key } => entries.entry(table).or_default().push((key, Became::Deleted)),
            Change::DeleteValue { table, key, value } => {
                entries.entry(table).or_default().push((key, Became::Without(value)));
            }
            Change::Create { name, record } => {
                let view = RecordView::parse(record).map_err(|_| None)?;
                let (tree, schema) = (Tree::of(&view, self.dirty.page_size()), view.schema());
                let is_new = tree == Tree::empty(tree.table, tree.layout) && tree.table >= self.next_table;
                if !is_new || check_possible(&schema).is_err() || !self.is_free(name) {
                    return Err(None);
                }
                insert::put(self.dirty, &mut self.catalog, name.as_bytes(), record, true)?;
                self.next_table = tree.table.checked_add(1).ok_or(None)?;
                let table = Table { name: name.to_owned(), schema, tree, stored: tree };
                self.tables.insert(tree.table, table);
            }
            Change::Drop { name } => {
                let id = self.id_of(name)?;
                entries.remove(&id);
                let table = self.tables.remove(&id).ok_or(None)?;
                remove::drop_tree(self.dirty, &table.tree)?;
                remove::remove(self.dirty, &mut self.catalog, name.as_bytes())?;
            }
            Change::Rename { from, to } => {
                let id = self.id_of(from)?;
                if !self.is_free(to) {
                    return Err(None);
                }
                let table = self.tables.get_mut(&id).ok_or(None)?;
                let record = record_of(&table.schema, &table.stored).to_bytes();
                to.clone_into(&mut table.name);
                remove::remove(self.dirty, &mut self.catalog, from.as_bytes())?;
                insert::put(self.dirty, &mut self.catalog, to.as_bytes(), &record, true)?;
            }
            Change::UserVersion(version) => self.user_version = version,
            Change::DeleteRange { table, from, to } => {
                // What was filed for the table comes before.
                let filed = entries.remove(&table).unwrap_or_default();
                self.change_entries(table, filed)?;
                let table = self.tables.get_mut(&table).ok_or(None)?;
                cut::delete_range(self.dirty, &mut table.tree, from, to)?;
            }
        }
        Ok(())
    }

    fn is_free(&self, name: &str) -> bool {
        check_name(name).is_ok() && self.tables.values().all(|table| table.name != name)
    }

    fn id_of(&self, name: &str) -> Result<u32, Option<Error>> {
        let found = self.tables.iter().find(|(_, table)| table.name == name);
        found.map(|(id, _)| *id).ok_or(None)
    }

    /// Changes entries of a table: each key once, as it was changed last; of a multimap all that was done to it, in turn.
    fn change_entries(&mut self, table: u32, mut entries: Vec<(&[u8], Became<'_>)>) -> Result<()> {
        let Some(Table { schema, tree, .. }) = self.tables.get_mut(&table) else {
            return Err(Error::corrupt(0, format!("the log changes table {table}, which is not there")));
        };
        // Stable: of one key's changes the last stays last.
        entries.sort_by_key(|(key, _)| *key);
        let last = entries
            .iter()
            .enumerate()
            .filter(|(i, (key, _))| schema.multi || entries.get(i + 1).is_none_or(|(next, _)| next != key));
        let last: Vec<_> = last.map(|(_, entry)| *entry).collect();
        if last.len() >= MANY_KEYS {
            let keys: Vec<&[u8]> = last.iter().map(|(key, _)| *key).collect();
            let pages = &self.dirty.store.pages;
            prefetch::prefetch(self.dirty, pages, tree, &keys, self.dirty.base.page_count)?;
        }
        let impossible = |error| Error::corrupt(0, format!("the log has an impossible entry: {error}"));
        for (key, became) in last {
            match became {
                Became::Put(value) => {
                    check_entry(schema, tree, key, value).map_err(impossible)?;
                    match schema.multi {
                        true => drop(multi::put_value(self.dirty, tree, key, value)?),
                        false => drop(insert::put(self.dirty, tree, key, value, true)?),
                    }
                }
                Became::Deleted => drop(remove::remove(self.dirty, tree, key)?),
                Became::Without(value) if schema.multi => {
                    multi::delete_value(self.dirty, tree, key, value)?;
                }
                Became::Without(_) => {
                    return Err(Error::corrupt(0, format!("the log takes table {table} for a multimap")));
                }
            }
            if self.dirty.is_full() {
                let before = self.dirty.bytes();
                commit::spill(self.dirty, &mut [tree])?;
                self.dirty.spilled(before);
            }
        }
        Ok(())
    }
}

fn unreadable(record: &Record, what: &str) -> Error {
    Error::corrupt(0, format!("log record of txn {}: {what}, although its checksum is right", record.txn))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{ChildRef, TableRecord};
    use crate::multi::MultiTable;
    use crate::options::Config;
    use crate::store::Wait;
    use crate::table;
    use crate::txn::{ReadTxn, WriteTxn};
    use crate::verify;
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    const NUMBERS: table::Table<u64, u64> = table::Table::new("numbers");
    const BYTES: table::Table<[u8], [u8]> = table::Table::new("bytes");
    const TAGS: MultiTable<[u8], [u8]> = MultiTable::new("tags");
    const PAIRS: MultiTable<u64, u64> = MultiTable::new("pairs");

    fn config() -> Config {
        Config { dirty_limit: 1 << 20, ..Config::default() }
    }

    /// Opens a store whose log ends with a record of these changes, of the txn so many ids on, with the right
    /// checksum. They get the ids of the two tables; those of the multimaps come behind the second.
    fn open_with(ahead: u64, changes: impl Fn(u32, u32) -> Vec<Change<'static>>) -> Result<()> {
        open_with_bytes(ahead, |numbers, bytes| {
            let mut list = Vec::new();
            changes(numbers, bytes).into_iter().for_each(|change| change.put_into(&mut list));
            list
        })
    }

    fn open_with_bytes(ahead: u64, changes: impl Fn(u32, u32) -> Vec<u8>) -> Result<()> {
        let directory = tempfile::tempdir().unwrap();
        let (path, copy) = (directory.path().join("a.maple"), directory.path().join("b.maple"));
        let store = Store::open_apart(&path, &config())?;
        for i in 0..6u64 {
            let mut w = WriteTxn::begin(&store, Wait::Forever)?.unwrap();
            w.put(NUMBERS, &i, &i)?;
            w.put(BYTES, &[i as u8][..], &[1; 9][..])?;
            w.put_value(TAGS, &[i as u8 / 4][..], &[i as u8; 900][..])?;
            w.put_value(PAIRS, &(i / 2), &i)?;
            w.commit()?;
        }
        let tables = ReadTxn::begin(Arc::clone(&store))?.tables()?;
        let list = changes(tables[1].id, tables[0].id);
        let (log, head) = (store.log()?, store.readers.head());
        let txn = head.txn.saturating_add(ahead);
        let (record, _) = log.frame(head.log, txn, head.txn, head.txn, &list);
        log.write(&store.pages.disk, head.log.offset, &record)?;
        std::fs::copy(&path, &copy).unwrap();
        let copied = Store::open_apart(&copy, &config())?;
        drop(WriteTxn::begin(&copied, Wait::Forever)?);
        assert_eq!(copied.readers.published().txn > txn, ahead < 1 << 47, "the record counts");
        let report = verify::verify(&copied, &copied.readers.published(), &mut |_| {})?;
        assert!(report.is_clean(), "{:?}", report.problems);
        Ok(())
    }

    fn record(root: ChildRef, level: u8, id: u32) -> &'static [u8] {
        let record = TableRecord { id, level, root, overflow_pages: 0, schema: Schema::bytes() };
        Vec::leak(record.to_bytes())
    }

    #[test]
    fn crafted_records_are_refused_and_cannot_make_it_panic() {
        open_with(1, |_, bytes| vec![Change::Put { table: bytes, key: &[3; 2000], value: b"" }]).unwrap();
        open_with(u64::MAX, |_, _| Vec::new()).unwrap();
        let none = ChildRef::default();
        let root = ChildRef { page: 3, birth: 5, count: 3 };
        let name: &'static str = String::leak("x".repeat(3000));
        type Crafted = Box<dyn Fn(u32, u32) -> Vec<Change<'static>>>;
        let crafted: Vec<Crafted> = vec![
            Box::new(|_, b| vec![Change::Put { table: b, key: &[7; 20000], value: b"" }]),
            Box::new(|_, b| vec![Change::Put { table: b, key: &[7; 3000], value: b"" }]),
            Box::new(|n, _| vec![Change::Put { table: n, key: b"k", value: &[1; 8] }]),
            Box::new(|n, _| vec![Change::Put { table: n, key: &[1; 8], value: b"v" }]),
            Box::new(|_, _| vec![Change::Put { table: 999, key: b"k", value: b"v" }]),
            Box::new(move |_, _| vec![Change::Create { name, record: record(none, 0, 50) }]),
            Box::new(move |_, _| vec![Change::Create { name: "t", record: record(none, 0, 1) }]),
            Box::new(move |_, b| vec![Change::Create { name: "t", record: record(none, 0, b) }]),
            Box::new(move |_, _| vec![Change::Create { name: "bytes", record: record(none, 0, 60) }]),
            Box::new(move |_, _| vec![Change::Create { name: "t", record: record(root, 0, 60) }]),
            Box::new(move |_, _| vec![Change::Create { name: "t", record: record(none, 3, 60) }]),
            Box::new(|_, _| vec![Change::Create { name: "t", record: &[0; 7] }]),
            Box::new(move |_, _| vec![Change::Rename { from: "bytes", to: name }]),
            Box::new(|_, _| vec![Change::Rename { from: "bytes", to: "numbers" }]),
            Box::new(|_, _| vec![Change::Drop { name: "nobody" }]),
            Box::new(|_, b| vec![Change::DeleteValue { table: b, key: b"k", value: b"v" }]),
            Box::new(|n, _| vec![Change::DeleteValue { table: n, key: &[0; 8], value: &[0; 8] }]),
            Box::new(|_, _| vec![Change::DeleteValue { table: 999, key: b"k", value: b"v" }]),
            Box::new(|_, b| vec![Change::Put { table: b + 1, key: &[7; 3000], value: b"v" }]),
            Box::new(|_, b| vec![Change::Put { table: b + 1, key: b"k", value: &[7; 3000] }]),
            Box::new(|_, b| vec![Change::Put { table: b + 2, key: &[0; 8], value: &[0; 9] }]),
            Box::new(|_, b| vec![Change::Put { table: b + 2, key: &[0; 7], value: &[0; 8] }]),
            Box::new(|_, _| vec![Change::DeleteRange { table: 999, from: b"", to: None }]),
            Box::new(|_, b| {
                vec![Change::Drop { name: "tags" }, Change::DeleteRange { table: b + 1, from: b"", to: None }]
            }),
            Box::new(|n, b| {
                let put = Change::Put { table: b + 1, key: b"k", value: &[7; 3000] };
                vec![put, Change::DeleteRange { table: b + 1, from: b"", to: None }, put_number(n)]
            }),
        ];
        for (i, changes) in crafted.into_iter().enumerate() {
            let opened = open_with(1, changes);
            assert!(matches!(opened, Err(Error::Corrupt { .. })), "{i}: {opened:?}");
        }
    }
    fn put_number(numbers: u32) -> Change<'static> {
        Change::Put { table: numbers, key: &[9; 8], value: &[9; 8] }
    }

    /// What a record says of keys and values that cannot be there finds none; of bytes that are no list nothing is
    /// carried out.
    #[test]
    fn crafted_ranges_and_values_find_nothing_or_are_refused() {
        type Crafted = fn(u32, u32) -> Vec<Change<'static>>;
        let harmless: [Crafted; 9] = [
            |_, b| vec![Change::DeleteRange { table: b, from: b"\x05", to: Some(b"\x01") }],
            |_, b| vec![Change::DeleteRange { table: b, from: b"", to: Some(b"") }],
            |_, b| vec![Change::DeleteRange { table: b, from: &[0; 5000], to: Some(&[0xff; 5000]) }],
            |n, _| vec![Change::DeleteRange { table: n, from: b"\0", to: Some(&[0; 9]) }],
            |n, _| vec![Change::DeleteRange { table: n, from: &[0, 0, 0, 0, 0, 0, 0, 1, 0], to: None }],
            |_, b| vec![Change::DeleteRange { table: b + 1, from: b"\0\0", to: Some(&[9; 4000]) }],
            |_, b| vec![Change::DeleteRange { table: b + 2, from: &[0; 9], to: None }, put_pair(b)],
            |_, b| vec![Change::DeleteValue { table: b + 2, key: b"k", value: &[1; 3000] }, put_pair(b)],
            |_, b| vec![Change::DeleteValue { table: b + 1, key: &[1; 5000], value: b"" }, put_pair(b)],
        ];
        for (i, changes) in harmless.into_iter().enumerate() {
            open_with(1, changes).unwrap_or_else(|error| panic!("{i}: {error}"));
        }
        let long = [0xff; 9];
        for kind in [1, 2, 3, 4, 5, 7, 8] {
            let table = |bytes: u32| vec![kind, bytes as u8 + 1];
            let crafted = [
                [&[kind][..], &[0x80; 12]].concat(),
                [&[kind][..], &long, &[1], &long, &[1], &long, &[1]].concat(),
                [&table(2)[..], &long, &[1]].concat(),
                [&table(2)[..], &[1], &long, &[1], &[7; 20]].concat(),
                [&table(2)[..], &[200, 1], &[200, 1], &[7; 20]].concat(),
                [&table(2)[..], &[0xff, 0xff, 0xff, 0xff, 0x0f, 0xff, 0xff, 0xff, 0xff, 0x0f], &[7; 20]]
                    .concat(),
            ];
            for (i, bytes) in crafted.into_iter().enumerate() {
                let opened = open_with_bytes(1, |_, _| bytes.clone());
                assert!(matches!(opened, Err(Error::Corrupt { .. })), "{kind}, {i}: {opened:?}");
            }
        }
        for kind in [9, 10, 0x7f, 0x80, 0xff] {
            let opened = open_with_bytes(1, |_, bytes| vec![kind, bytes as u8, 0, 0]);
            assert!(matches!(opened, Err(Error::Corrupt { .. })), "{kind}: {opened:?}");
        }
    }

    fn put_pair(bytes: u32) -> Change<'static> {
        Change::Put { table: bytes + 2, key: &[9; 8], value: &[9; 8] }
    }
    /// Any changes of all kinds, of tables that may be there and fit or not: a whole store, or an error.
    #[test]
    fn random_records_are_carried_out_whole_or_refused() {
        let mut carried_out = 0;
        for seed in 0..200 {
            let opened = open_with_bytes(1, |numbers, bytes| random_changes(seed, numbers, bytes));
            match opened {
                Ok(()) => carried_out += 1,
                Err(Error::Corrupt { .. }) => {}
                Err(other) => panic!("seed {seed}: {other:?}"),
            }
        }
        assert!((20..180).contains(&carried_out), "{carried_out} of 200 were carried out");
    }

    fn random_changes(seed: u64, numbers: u32, bytes: u32) -> Vec<u8> {
        let rng = &mut StdRng::seed_from_u64(seed);
        let is_wild = seed.is_multiple_of(2);
        let mut list = Vec::new();
        for _ in 0..rng.random_range(1..60) {
            let any = rng.random_range(0..100);
            let table = match any {
                0 if is_wild => rng.random_range(0..40),
                0..25 => numbers,
                25..50 => bytes,
                _ => bytes + 1 + any % 2,
            };
            let of_numbers = table == numbers || table == bytes + 2;
            let is_multi = table > bytes && table <= bytes + 2;
            let mut part = |longest: usize| match of_numbers && !(is_wild && rng.random_range(0..40) == 0) {
                true => vec![rng.random_range(0..3); 8],
                false => vec![rng.random_range(0..3); rng.random_range(0..longest)],
            };
            let (key, value, to) =
                (&part(60)[..], &part(if is_multi { 1500 } else { 3000 })[..], &part(60)[..]);
            let change = match rng.random_range(0..16) {
                0 => Change::Delete { table, key },
                1 | 2 => Change::DeleteRange { table, from: key, to: Some(to) },
                3 if rng.random_range(0..4) == 0 => Change::DeleteRange { table, from: key, to: None },
                4..8 if is_multi || is_wild && any == 77 => Change::DeleteValue { table, key, value },
                8 if is_wild && any < 10 => Change::Drop { name: "tags" },
                9 if is_wild && any < 10 => Change::Rename { from: "pairs", to: "tags" },
                _ => Change::Put { table, key, value },
            };
            change.put_into(&mut list);
        }
        if is_wild && seed.is_multiple_of(8) {
            let at = rng.random_range(0..list.len());
            list[at] = rng.random();
        }
        list
    }
}

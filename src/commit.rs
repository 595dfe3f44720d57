//! The commit, logged or in place, and the early writing of very large transactions.
//!
//! Owns: which way a txn takes to the disk, and the order of its steps. [`commit`] reads like the rule
//! it keeps. Both ways begin the same: number the pages, write them. A logged commit then appends its
//! redo record to the log and becomes the head; one small flush of the log makes it durable. A commit
//! in place is a checkpoint: flush the pages, write the other meta slot, flush it, publish. Promises: a
//! commit that fails is visible to nobody, and its pages are not used again before a later one has
//! succeeded. Leaves to others: flushing and publishing ([`crate::group`]); what is in the pages.

use crate::dirty::{Dirty, MIN_GROWTH, heap_slot, held_for, is_no_room};
use crate::disk::WRITE_UNIT;
use crate::error::{Error, Result};
use crate::format::{
    CATALOG_ID, ChildRef, DIRTY_BIT, LOG_EXTENTS, Layout, SET_BIT, SNAPSHOTS_ID, Schema, SetRef, TableRecord,
    header,
};
use crate::group::Lead;
use crate::log::{self, Log};
use crate::named;
use crate::options::Durability;
use crate::page::{Branch, LeafView, Stored, branch, leaf_overwrite};
use crate::redo::Redo;
use crate::shared::State;
use crate::space::{Chunk, GivenUp, Run, RunSet, join_given};
use crate::store::{MIN_LOG, Store};
use crate::tree::multi::set_tree;
use crate::tree::relocate::SPARE;
use crate::tree::{Tree, insert, remove};
use std::borrow::Cow;
use std::io::IoSlice;
use std::ops::Range;
use zerocopy::IntoBytes;

/// Checkpoints give back runs of at least so many bytes by themselves, and at most so many runs each.
const AUTO_TRIM: u64 = 1 << 20;
const AUTO_TRIM_RUNS: usize = 256;
/// A redo record of up to so many bytes is cheaper than a second flush, whatever the pages take.
const SMALL_RECORD: usize = 64 << 10;

/// A table as the txn has it.
pub struct Changed<'t> {
    /// Its name, the key in the catalog.
    pub name: &'t str,
    /// Its tree, whose root becomes a page of the file.
    pub tree: &'t mut Tree,
    /// Its catalog entry, but for the tree.
    pub record: TableRecord,
}

impl<'t> Changed<'t> {
    /// The table of this name and schema, with this tree.
    pub fn new(name: &'t str, schema: &Schema, tree: &'t mut Tree) -> Self {
        Changed { name, record: record_of(schema, tree), tree }
    }
}

/// The catalog entry of a table with this tree.
pub fn record_of(schema: &Schema, tree: &Tree) -> TableRecord {
    TableRecord {
        id: tree.table,
        level: tree.level,
        root: tree.root,
        overflow_pages: tree.overflow_pages,
        schema: schema.clone(),
    }
}

/// How a commit failed.
pub enum Failure {
    /// Nothing was flushed: the txn's pages can be used again at once.
    Clean(Error),
    /// A flush, or the meta, failed: what is on the disk is unknown.
    Unknown(Error),
}

/// What a txn changes, besides the pages.
pub struct Changes<'t> {
    /// The changed tables.
    pub tables: Vec<Changed<'t>>,
    /// The catalog.
    pub catalog: &'t mut Tree,
    /// The id for the next new table.
    pub next_table: u32,
    /// The application's number.
    pub user_version: u64,
    /// The list of stored snapshots, without these changes.
    pub named: Tree,
    /// Which snapshots are made and dropped.
    pub snapshots: &'t named::Changes,
}

/// What a txn does to the log's pages, how much its space record tells of the pages in general, and what it gives back
/// of them.
struct Detail<'d> {
    new_log: &'d [Run],
    dropped_log: &'d [GivenUp],
    chunk: Chunk,
    excess: Option<Excess>,
}

/// Which free pages go back to the system.
struct Excess {
    /// So many stay.
    keep: u64,
    /// Runs of so many pages at least, at most so many of them.
    least: u64,
    at_most: usize,
}

impl Detail<'_> {
    fn logged() -> Self {
        Detail { new_log: &[], dropped_log: &[], chunk: Chunk::Little, excess: None }
    }

    fn is_checkpoint(&self) -> bool {
        !matches!(self.chunk, Chunk::Little)
    }
}

/// How a txn becomes durable.
enum Way {
    /// By its redo record.
    Logged,
    /// As a checkpoint, whose log is so many pages longer.
    Checkpoint { more_log: u64 },
}

/// Commits the txn. Returns the new state, which is the head now, and also published when it is a
/// checkpoint or [`Durability::Eventual`].
pub fn commit(
    dirty: &mut Dirty,
    changes: &mut Changes<'_>,
    redo: &Redo,
    durability: Durability,
) -> Result<State, Failure> {
    let store = std::sync::Arc::clone(&dirty.store);
    let log = store.log().map_err(Failure::Clean)?;
    if store.readers.failures() != dirty.failures {
        return Err(Failure::Clean(store.lost()));
    }
    let len = dirty.base.page_count * dirty.page_size() as u64;
    store.pages.disk.check_in_place(len).map_err(Failure::Clean)?;
    let state = match choose(dirty, &log, redo, durability, changes.snapshots) {
        Way::Logged => {
            // 1. and 2. Number the pages and write them.
            let state = write(dirty, changes, &Detail::logged()).map_err(Failure::Clean)?;
            flush_growth(dirty, &state)?;
            // 3. Append the redo record to the log.
            let state = append(dirty, redo, state).map_err(Failure::Clean)?;
            // 4. The next writer builds on it. Whoever waits for it flushes the log and publishes.
            if durability != Durability::Eventual {
                store.readers.ask(state.txn);
            }
            store.readers.set_head(&state);
            if durability == Durability::Eventual {
                let published = store.lead().and_then(|lead| lead.publish_eventual());
                // Who led meanwhile may have published it, and died.
                let is_kept =
                    || store.readers.kept_at_failure(dirty.failures).is_some_and(|txn| txn >= state.txn);
                match published {
                    Err(_) if store.readers.failures() != dirty.failures && is_kept() => {}
                    other => other.map_err(Failure::Unknown)?,
                }
                store.write_back();
            }
            state
        }
        Way::Checkpoint { more_log } => {
            // 1. and 2. Number the pages and write them.
            let mut next = log.next(dirty.txn).map_err(Failure::Clean)?;
            let dropped = drop_log_behind(dirty, &mut next).map_err(Failure::Clean)?;
            let more_log = if dropped.is_empty() { more_log } else { first_log(dirty) };
            let new_log = extend_log(dirty, &mut next, more_log).map_err(Failure::Clean)?;
            let is_short = dirty.base.txn == log.checkpoint && dirty.tail().is_none();
            let chunk = if is_short { Chunk::Page } else { Chunk::Much };
            let detail = Detail { new_log: &new_log, dropped_log: &dropped, chunk, excess: excess(dirty) };
            let state = write(dirty, changes, &detail).map_err(Failure::Clean)?;
            // 3. to 6. Flush them, write the other meta slot, flush it, publish.
            let state = {
                let lead = store.lead().map_err(Failure::Clean)?;
                lead.check_since(dirty.failures).map_err(Failure::Clean)?;
                let written = unflushed(dirty, &state);
                lead.checkpoint(&state, next, &[written]).map_err(Failure::Unknown)?
            };
            // 7. From here on no state that may come back takes the new holes for anything else.
            dirty.punched = punch(dirty, dirty.space.given_back());
            if let Ok(pages) = dirty.punched {
                store.counters().punched_bytes.add(pages * dirty.page_size() as u64);
            }
            state
        }
    };
    store.counters().commits.add(1);
    Ok(state)
}

/// Commits the txn that recovery has made, with the lead. With `dropped`, the extents of the log before, a
/// new log is begun elsewhere.
pub fn commit_recovered(
    dirty: &mut Dirty,
    changes: &mut Changes<'_>,
    lead: &Lead<'_>,
    dropped: &[GivenUp],
) -> Result<State, Failure> {
    let store = std::sync::Arc::clone(&dirty.store);
    let old = store.log().map_err(Failure::Clean)?;
    let mut next = old.next(dirty.txn).map_err(Failure::Clean)?;
    let mut new_log = Vec::new();
    let mut old_log: Vec<(u64, u64)> = Vec::new();
    if !dropped.is_empty() {
        old_log = old.extents().to_vec();
        let pages = next.extents().iter().map(|(_, pages)| pages).sum();
        next.set_extents(Vec::new());
        new_log = extend_log(dirty, &mut next, pages).map_err(Failure::Clean)?;
    }
    let detail = Detail { new_log: &new_log, dropped_log: dropped, chunk: Chunk::Much, excess: None };
    let state = write(dirty, changes, &detail).map_err(Failure::Clean)?;
    lead.checkpoint(&state, next, &all_but(old_log, &state, dirty.page_size())).map_err(Failure::Unknown)
}

/// Numbers the pages and writes them, and zeros where nothing was ever written: to new pages at the end
/// of the file, to what was filled of holes, and to new extents of the log.
fn write(dirty: &mut Dirty, changes: &mut Changes<'_>, detail: &Detail<'_>) -> Result<State> {
    let mut plan = Plan::default();
    let state = number(dirty, &mut plan, changes, detail)?;
    plan.write(dirty, detail.is_checkpoint())?;
    for numbered in &plan.numbered {
        dirty.store.pages.set_own(numbered.page, dirty.txn);
    }
    let unwritten = dirty.space.free_from(dirty.base.page_count).into_iter().chain(dirty.space.filled_free());
    for run in unwritten.chain(detail.new_log.iter().copied()) {
        write_zeros(dirty, run)?;
    }
    Ok(state)
}

/// What a checkpoint gives back to the system. By itself it keeps enough for what the next txns may take: twice what
/// may be held back for a checkpoint, and what the last ones took.
fn excess(dirty: &Dirty) -> Option<Excess> {
    let store = &dirty.store;
    match dirty.gives_back_all {
        true => Some(Excess { keep: 0, least: unit(dirty), at_most: usize::MAX }),
        false if store.config.auto_trim => Some(Excess {
            keep: 2 * store.held_limit(&dirty.base) + dirty.space.demand(),
            least: AUTO_TRIM / dirty.page_size() as u64,
            at_most: AUTO_TRIM_RUNS,
        }),
        false => None,
    }
}

/// Pages at whose multiples holes begin and end.
fn unit(dirty: &Dirty) -> u64 {
    (MIN_GROWTH / dirty.page_size() as u64).max(1)
}

/// Whether a txn that gives back all would find anything.
pub fn has_excess(dirty: &Dirty) -> bool {
    !dirty.space.spare(0, unit(dirty), unit(dirty), usize::MAX).is_empty()
}

/// Makes holes of the excess.
fn give_back(dirty: &mut Dirty, excess: &Excess) {
    let spare = dirty.space.spare(excess.keep, excess.least, unit(dirty), excess.at_most);
    if !spare.is_empty() && dirty.store.pages.disk.can_punch() {
        spare.into_iter().for_each(|run| dirty.space.give_back(run));
    }
}

/// Gives the blocks of holes back. The caller has the turn, and a checkpoint that is on the disk says that they are
/// holes. Returns how many pages they have.
///
/// # Errors
/// `Io`. Nothing is lost: they are holes that have blocks.
pub fn punch(dirty: &Dirty, holes: &RunSet) -> Result<u64> {
    let (disk, page_size) = (&dirty.store.pages.disk, dirty.page_size() as u64);
    let mut pages = 0;
    for run in holes.iter() {
        if disk.punch(run.start * page_size, run.len * page_size)? {
            pages += run.len;
        }
    }
    Ok(pages)
}

/// The cheaper way that keeps the promise.
fn choose(dirty: &Dirty, log: &Log, redo: &Redo, durability: Durability, snapshots: &named::Changes) -> Way {
    let (store, base) = (&dirty.store, &dirty.base);
    let counters = store.counters();
    // What the log repeats would not lie in the pages that a snapshot names.
    if durability == Durability::Ordered || !snapshots.is_empty() {
        counters.asked_checkpoints.add(1);
        return Way::Checkpoint { more_log: 0 };
    }
    let len = redo.changes().map(|changes| log::record_len(changes.len()));
    let worthwhile = |len: &usize| *len <= SMALL_RECORD.max(dirty.bytes() / 2);
    let Some(len) = len.filter(worthwhile).filter(|_| !dirty.has_allocated()) else {
        counters.large_checkpoints.add(1);
        return Way::Checkpoint { more_log: 0 };
    };
    if base.log.offset + len as u64 > log.capacity() {
        counters.log_full_checkpoints.add(1);
        return Way::Checkpoint { more_log: more_log(store, base, log) };
    }
    if dirty.holds_too_much(log.checkpoint) {
        counters.held_checkpoints.add(1);
        return Way::Checkpoint { more_log: 0 };
    }
    Way::Logged
}

/// Pages by which a log that is full grows: it doubles, up to the limit. The first txn of a store is
/// often the only one: it gets no log.
fn more_log(store: &Store, base: &State, log: &Log) -> u64 {
    let page_size = store.pages.page_size as u64;
    let (file_len, capacity) = (base.page_count * page_size, log.capacity());
    let limit = store.log_limit(base);
    let more = match capacity {
        0 => (file_len / 64).clamp(MIN_LOG, (limit / 4).max(MIN_LOG)),
        _ => capacity.min(limit.saturating_sub(capacity)),
    };
    let allowed = base.txn > 1 && log.extents().len() < LOG_EXTENTS && capacity < limit;
    if allowed { more / page_size } else { 0 }
}

/// Where the txn compacts and some of the log lies in the tail: a log without extents begins. Returns the old ones, to be
/// given up.
fn drop_log_behind(dirty: &mut Dirty, log: &mut Log) -> Result<Vec<GivenUp>> {
    let is_behind = |(start, pages): &(u64, u64)| dirty.tail().is_some_and(|tail| start + pages > tail);
    if !log.extents().iter().any(is_behind) {
        return Ok(Vec::new());
    }
    log.set_extents(Vec::new());
    // The checkpoint before needs it.
    let checkpoint = dirty.store.log()?.checkpoint;
    Ok(dirty.space.drop_log(checkpoint))
}

/// Pages of the log that begins in a store that shrinks: as much as there is room for in front of the tail, or none.
fn first_log(dirty: &Dirty) -> u64 {
    let page_size = dirty.page_size() as u64;
    let page_count = dirty.tail().unwrap_or(dirty.base.page_count);
    let limit = dirty.store.log_limit(&State { page_count, ..dirty.base });
    let wanted = (page_count * page_size / 64).clamp(MIN_LOG, (limit / 4).max(MIN_LOG));
    let sizes =
        std::iter::successors(Some(wanted), |size| Some(size / 2)).take_while(|size| *size >= MIN_LOG);
    let mut sizes = sizes.map(|size| size / page_size);
    sizes.find(|pages| dirty.has_run_beside(*pages, SPARE)).unwrap_or(0)
}

/// Adds an extent to the log, if there is room for it. Returns it.
fn extend_log(dirty: &mut Dirty, log: &mut Log, more: u64) -> Result<Vec<Run>> {
    if more == 0 {
        return Ok(Vec::new());
    }
    match dirty.allocate_run(more) {
        Ok(run) => {
            log.set_extents(log.extents().iter().copied().chain([(run.start, run.len)]).collect());
            Ok(vec![run])
        }
        // The log may stay as it is, or be none.
        Err(error) if is_no_room(&error) => {
            dirty.store.cut(dirty.space.page_count())?;
            Ok(Vec::new())
        }
        Err(error) => Err(error),
    }
}

/// Bytes of the file within which everything lies that was written since the last checkpoint.
fn unflushed(dirty: &Dirty, state: &State) -> Range<u64> {
    let page_size = dirty.page_size() as u64;
    let checkpoint = dirty.store.readers.checkpoint().map_or(0, |(txn, _)| txn);
    if dirty.base.txn != checkpoint {
        return 0..state.page_count * page_size;
    }
    let fresh = growth(dirty, state);
    let written = || dirty.taken().iter().chain(dirty.space.filled().iter()).chain(fresh);
    let first = written().map(|run| run.start).min().unwrap_or(0);
    let end = written().map(|run| run.end()).max().unwrap_or(0);
    first * page_size..end * page_size
}

/// The whole file without these runs of pages, in bytes: a bad block in an old log must not fail the
/// checkpoint that gives it up.
fn all_but(mut runs: Vec<(u64, u64)>, state: &State, page_size: usize) -> Vec<Range<u64>> {
    runs.push((state.page_count, 0));
    runs.sort_unstable();
    let starts = std::iter::once(0).chain(runs.iter().map(|(start, len)| start + len));
    let gaps = starts.zip(runs.iter()).filter(|(from, (to, _))| from < to);
    gaps.map(|(from, (to, _))| from * page_size as u64..to * page_size as u64).collect()
}

fn growth(dirty: &Dirty, state: &State) -> Option<Run> {
    let (before, after) = (dirty.base.page_count, state.page_count);
    (after > before).then(|| Run { start: before, len: after - before })
}

/// New space, at the end of the file or in what was a hole, must be on the disk before a logged txn lies in it: a block
/// whose first write fails may be lost for good. (In a checkpoint its own flush does that.)
fn flush_growth(dirty: &Dirty, state: &State) -> Result<(), Failure> {
    let page_size = dirty.page_size() as u64;
    let fresh = dirty.space.filled().iter().chain(growth(dirty, state));
    let fresh: Vec<_> = fresh.map(|run| run.start * page_size..run.end() * page_size).collect();
    if fresh.is_empty() {
        return Ok(());
    }
    let lead = dirty.store.lead().map_err(Failure::Clean)?;
    lead.check_since(dirty.failures).map_err(Failure::Clean)?;
    lead.flush_growth(&fresh).map_err(Failure::Unknown)
}

/// Writes the redo record behind that of the base. Returns the state with the log's new end.
fn append(dirty: &Dirty, redo: &Redo, state: State) -> Result<State> {
    // Not that of the beginning: where room was made, it is another.
    let log = dirty.store.log()?;
    let (base, changes) = (&dirty.base, redo.changes().expect("a logged txn has all its changes"));
    let durable = dirty.store.readers.durable().0.min(base.txn);
    let (record, tail) = log.frame(base.log, state.txn, base.txn, durable, changes);
    log.write(&dirty.store.pages.disk, base.log.offset, &record)?;
    let counters = dirty.store.counters();
    counters.logged_commits.add(1);
    counters.log_bytes.add(record.len() as u64);
    Ok(State { log: tail, ..state })
}

/// Every block below the page count, and every block of the log, is written before it is used.
fn write_zeros(dirty: &Dirty, run: Run) -> Result<()> {
    let page_size = dirty.page_size() as u64;
    let zeros = vec![0; WRITE_UNIT];
    let (mut offset, end) = (run.start * page_size, run.end() * page_size);
    while offset < end {
        // Up to the next multiple, so that the folios are whole.
        let len = (WRITE_UNIT as u64 - offset % WRITE_UNIT as u64).min(end - offset);
        dirty.store.pages.disk.write(offset, &[IoSlice::new(&zeros[..len as usize])])?;
        offset += len;
    }
    Ok(())
}

/// Gives every changed page its number, in key order, and lays out the space record.
fn number(
    dirty: &mut Dirty,
    plan: &mut Plan,
    changes: &mut Changes<'_>,
    detail: &Detail<'_>,
) -> Result<State> {
    let Changes { tables, catalog, next_table, user_version, named, snapshots } = changes;
    let catalog: &mut Tree = catalog;
    // The catalog entries have their final length now and their final content when roots are known.
    for table in tables.iter_mut() {
        put_record(dirty, catalog, table)?;
    }
    for table in tables.iter() {
        plan.collect(dirty, table.tree, None)?;
    }
    plan.collect(dirty, catalog, None)?;
    let mut named = *named;
    let base = dirty.base;
    snapshots.keys().try_for_each(|name| remove::remove(dirty, &mut named, name.as_bytes()).map(drop))?;
    put_snapshots(dirty, &mut named, snapshots, &base)?;
    plan.collect(dirty, &named, None)?;
    let mut given = dirty.finish()?;
    let pages = plan.leaf_pages + plan.other_pages + plan.values.len() as u64;
    // First: where holes are filled, the record says so. Values may fill one each, as they want pages side by side.
    dirty.make_room(plan.pages() + 1)?;
    given.extend(dirty.space.retire_records(detail.chunk, given.len() + plan.values.len(), pages));
    given.extend(detail.dropped_log);
    let given = join_given(given)?;
    let mut log_runs = RunSet::default();
    for run in detail.new_log {
        log_runs.insert(*run);
        dirty.space.give_to_log(*run);
    }

    // Leaves apart from what most commits replace, so that a small one takes the room of one before it.
    let values = plan.number_values(dirty)?;
    let mut record_pages = dirty.space.record_pages(dirty.taken(), &log_runs, &given, detail.chunk);
    dirty.make_room(plan.leaf_pages + plan.other_pages + record_pages)?;
    let leaves = dirty.allocate(plan.leaf_pages)?;
    let mut runs = dirty.allocate(plan.other_pages + record_pages)?;
    let mut extend_record = |dirty: &mut Dirty| {
        loop {
            let needed = dirty.space.record_pages(dirty.taken(), &log_runs, &given, detail.chunk);
            if needed <= record_pages {
                return Ok(());
            }
            runs.extend(dirty.allocate(needed - record_pages)?);
            record_pages = needed;
        }
    };
    extend_record(dirty)?;
    dirty.trim()?;
    dirty.cut_end();
    if let Some(excess) = &detail.excess {
        give_back(dirty, excess);
        extend_record(dirty)?;
    }
    if detail.is_checkpoint() {
        let taken = dirty.taken_below(dirty.base.page_count).iter().map(|run| run.len).sum();
        dirty.space.note_demand(taken);
    }
    let own = split_off(&mut runs, record_pages);
    let mut numbers = Numbers { leaves: Places::new(&leaves), others: Places::new(&runs) };
    for (i, table) in tables.iter_mut().enumerate() {
        let mut root = table.tree.root;
        plan.assign_tree(dirty, i, &mut root, &table.tree.layout, &mut numbers, &values)?;
        table.tree.root = root;
        put_record(dirty, catalog, table)?;
    }
    let (mut root, layout) = (catalog.root, catalog.layout);
    plan.assign_tree(dirty, tables.len(), &mut root, &layout, &mut numbers, &values)?;
    catalog.root = root;

    let txn = dirty.txn;
    let state = State {
        txn,
        page_count: dirty.space.page_count(),
        catalog: catalog.root,
        catalog_level: catalog.level,
        next_table: *next_table,
        user_version: *user_version,
        ..dirty.base
    };
    // Now it is known what they name.
    put_snapshots(dirty, &mut named, snapshots, &state)?;
    let (mut root, layout) = (named.root, named.layout);
    plan.assign_tree(dirty, tables.len() + 1, &mut root, &layout, &mut numbers, &values)?;
    let checkpoint = dirty.store.readers.checkpoint().map_or(0, |(txn, _)| txn);
    if detail.chunk == Chunk::Little {
        dirty.store.unwritten.lock().note(plan.pages_written(), &given, checkpoint);
    }
    dirty.space.give_up(&given, txn)?;
    let previous = dirty.base.space;
    // A record that stays alone speaks of its own pages apart.
    let apart = if detail.is_checkpoint() { &own[..] } else { &[] };
    plan.record = dirty.with_taken(|space, taken| {
        let mut rest = Cow::Borrowed(taken);
        let apart = apart.iter().chain(detail.new_log);
        apart.for_each(|run| assert!(rest.to_mut().remove(*run), "they were allocated"));
        space.encode_record(txn, &own, previous, (&rest, &log_runs, &given), detail.chunk)
    });
    let first = own[0].start;
    plan.record_runs = own;
    for page in plan.record.chunks_mut(dirty.page_size()) {
        let checksum = crate::format::page_checksum(page);
        crate::format::header_mut(page).checksum.set(checksum);
    }
    Ok(State {
        space: (first, txn, record_pages),
        held: dirty.base.held + held_for(&given, checkpoint),
        snapshots: root,
        snapshots_level: named.level,
        ..state
    })
}

/// Writes the entries of the snapshots that are made, of this state.
fn put_snapshots(dirty: &mut Dirty, named: &mut Tree, changes: &named::Changes, state: &State) -> Result<()> {
    let made = changes.iter().filter_map(|(name, created)| created.map(|created| (name, created)));
    for (name, created) in made {
        let record = named::record_of(state, created);
        insert::put(dirty, named, name.as_bytes(), record.as_bytes(), true)?;
    }
    Ok(())
}

fn put_record(dirty: &mut Dirty, catalog: &mut Tree, table: &mut Changed<'_>) -> Result<()> {
    table.record.root = table.tree.root;
    table.record.level = table.tree.level;
    table.record.overflow_pages = table.tree.overflow_pages;
    if table.record.root.page & DIRTY_BIT != 0 {
        // Not final: the record's form has room for the number, the catalog page keeps none of it.
        table.record.root.page &= !DIRTY_BIT;
    }
    insert::put(dirty, catalog, table.name.as_bytes(), &table.record.to_bytes(), true).map(|_| ())
}

/// Takes the last `pages` pages off `runs`.
fn split_off(runs: &mut Vec<Run>, mut pages: u64) -> Vec<Run> {
    let mut taken = Vec::new();
    while pages > 0 {
        let mut last = runs.pop().expect("the runs hold as many pages");
        let len = last.len.min(pages);
        taken.push(Run { start: last.end() - len, len });
        last.len -= len;
        pages -= len;
        if last.len > 0 {
            runs.push(last);
        }
    }
    taken.sort_unstable();
    taken
}

/// Writes changed pages early, so that the txn may be larger than memory. Roots stay, and so does
/// everything that a savepoint may need. Unless it is an ascending load, whose pages are final, an eighth of
/// them is written, from where the last time ended on: neighbours in one run, and most of what comes next is
/// still in memory.
///
/// # Errors
/// `Io`, `Full`; the txn can only be aborted then.
pub fn spill(dirty: &mut Dirty, trees: &mut [&mut Tree]) -> Result<()> {
    let is_final = dirty.is_ascending_load();
    let from = dirty.spilled_to.take().filter(|_| !is_final);
    let limit = if is_final { u64::MAX } else { dirty.spill_pages() };
    let mut plan = Plan::early(limit);
    plan.collect_from(dirty, trees, from.as_ref())?;
    if plan.pages() < limit / 2 && from.is_some() {
        // It is near the end.
        plan = Plan::early(limit);
        plan.collect_from(dirty, trees, None)?;
    }
    dirty.spilled_to = plan.end.take();
    let values = plan.number_values(dirty)?;
    dirty.make_room(plan.leaf_pages + plan.other_pages)?;
    let leaves = dirty.allocate(plan.leaf_pages)?;
    let others = dirty.allocate(plan.other_pages)?;
    let mut numbers = Numbers { leaves: Places::new(&leaves), others: Places::new(&others) };
    for (i, tree) in trees.iter_mut().enumerate() {
        let mut root = tree.root;
        plan.assign_tree(dirty, i, &mut root, &tree.layout, &mut numbers, &values)?;
        tree.root = root;
    }
    // Others may well be changed, and written, again.
    plan.write(dirty, is_final)?;
    for Numbered { slot, page, .. } in plan.numbered.drain(..) {
        dirty.store.pages.set_own(page, dirty.txn);
        dirty.drop_slot(slot);
    }
    for (slot, _) in plan.values.drain(..) {
        dirty.forget_value(slot);
    }
    Ok(())
}

/// Page numbers for the leaves of tables, and for everything else.
struct Numbers<'r> {
    leaves: Places<'r>,
    others: Places<'r>,
}

impl Numbers<'_> {
    fn next(&mut self, is_leaf: bool) -> u64 {
        if is_leaf { self.leaves.next() } else { self.others.next() }
    }
}

/// Page numbers, handed out in order.
struct Places<'r> {
    runs: std::slice::Iter<'r, Run>,
    current: Run,
}

impl<'r> Places<'r> {
    fn new(runs: &'r [Run]) -> Self {
        Places { runs: runs.iter(), current: Run { start: 0, len: 0 } }
    }

    fn next(&mut self) -> u64 {
        while self.current.len == 0 {
            self.current = *self.runs.next().expect("as many pages were allocated as collected");
        }
        let page = self.current.start;
        self.current = Run { start: page + 1, len: self.current.len - 1 };
        page
    }
}

/// The collected heap pages of a tree.
#[derive(Default)]
struct Collected {
    /// Slots, children before parents, in key order, each with whether it is a leaf of a table.
    written: Vec<(u32, bool)>,
    /// Those that stay in memory and refer to what is written.
    kept: Vec<u32>,
}

/// A heap page and its place in the file.
struct Numbered {
    slot: u32,
    page: u64,
    /// Whether it is a leaf of a table.
    is_leaf: bool,
}

/// Bytes to be written, and where.
struct Piece {
    offset: u64,
    len: usize,
    part: Part,
}

/// What they are.
enum Part {
    /// The heap page in this slot, which is sealed when it is written.
    Page(u32),
    /// Those of the value in this slot, from here on.
    Value(u32, usize),
    /// Zeros behind a value.
    Padding,
    /// Those of the record, from here on.
    Record(usize),
}

/// Which heap pages and values are to be written where.
#[derive(Default)]
struct Plan {
    /// Per tree, in the order of collection.
    trees: Vec<Collected>,
    /// No more pages are collected, but for branches above them. Where there is a limit the txn goes on: what savepoints
    /// need stays, and so do roots.
    limit: Option<u64>,
    /// Where the limit was reached: a table, and the key of the first entry behind.
    end: Option<(u32, Vec<u8>)>,
    /// Values to be written.
    values: Vec<(u32, Run)>,
    value_pages: u64,
    /// How many of the slots are leaves of tables.
    leaf_pages: u64,
    other_pages: u64,
    /// What has its number.
    numbered: Vec<Numbered>,
    record: Vec<u8>,
    record_runs: Vec<Run>,
}

impl Plan {
    fn early(limit: u64) -> Self {
        Plan { limit: Some(limit), ..Plan::default() }
    }

    fn is_early(&self) -> bool {
        self.limit.is_some()
    }

    /// How many were collected.
    fn pages(&self) -> u64 {
        self.leaf_pages + self.other_pages + self.value_pages
    }

    /// Collects pages of the trees in turn, from this key of this table on.
    fn collect_from(
        &mut self,
        dirty: &Dirty,
        trees: &[&mut Tree],
        from: Option<&(u32, Vec<u8>)>,
    ) -> Result<()> {
        let first = from.and_then(|(table, _)| trees.iter().position(|tree| tree.table == *table));
        for (i, tree) in trees.iter().enumerate() {
            match first {
                Some(first) if i < first => self.trees.push(Collected::default()),
                Some(first) if i == first => self.collect(dirty, tree, from.map(|(_, key)| &key[..]))?,
                _ => self.collect(dirty, tree, None)?,
            }
        }
        Ok(())
    }

    /// Collects the heap pages of a tree, from a key on.
    fn collect(&mut self, dirty: &Dirty, tree: &Tree, from: Option<&[u8]>) -> Result<()> {
        let mut found = Collected::default();
        if !tree.is_empty() {
            self.collect_below(dirty, tree, tree.root, tree.level, from, &mut found)?;
        }
        self.trees.push(found);
        Ok(())
    }

    /// Returns whether the page, and all below, will be in the file when this plan is carried out.
    fn collect_below(
        &mut self,
        dirty: &Dirty,
        tree: &Tree,
        child: ChildRef,
        level: u8,
        from: Option<&[u8]>,
        found: &mut Collected,
    ) -> Result<bool> {
        let Some(slot) = heap_slot(child.page) else { return Ok(true) };
        let collected = self.values.len() + found.written.len();
        let is_current = dirty.is_current(slot);
        let whole = match level {
            0 if tree.layout.set.is_some() => self.collect_sets(dirty, tree, slot, found)?,
            0 => self.collect_values(dirty, tree, slot)?,
            _ => self.collect_children(dirty, tree, slot, level, from, found)?,
        };
        if self.is_early() && (child.page == tree.root.page || !whole || !is_current) {
            if self.values.len() + found.written.len() > collected {
                found.kept.push(slot);
            }
            return Ok(false);
        }
        let is_leaf = level == 0 && ![CATALOG_ID, SNAPSHOTS_ID].contains(&tree.table);
        found.written.push((slot, is_leaf));
        *(if is_leaf { &mut self.leaf_pages } else { &mut self.other_pages }) += 1;
        Ok(true)
    }

    /// Collects below the children of a branch.
    fn collect_children(
        &mut self,
        dirty: &Dirty,
        tree: &Tree,
        slot: u32,
        level: u8,
        from: Option<&[u8]>,
        found: &mut Collected,
    ) -> Result<bool> {
        let branch = Branch::new(dirty.heap_page(slot), level)?;
        let first = from.map_or(Ok(0), |key| branch.search(key))?;
        let mut whole = true;
        for i in 0..branch.count() {
            let child = branch.child(i)?;
            // Most are not in the heap.
            if heap_slot(child.page).is_none() {
                continue;
            }
            if i < first || self.is_full(&branch, i, tree.table)? {
                whole = false;
                continue;
            }
            let from = from.filter(|_| i == first);
            whole &= self.collect_below(dirty, tree, child, level - 1, from, found)?;
        }
        Ok(whole)
    }

    /// Whether the limit was reached; if so, remembers that it was at child `i` of the branch.
    fn is_full(&mut self, branch: &Branch<'_>, i: usize, table: u32) -> Result<bool> {
        if self.limit.is_none_or(|limit| self.pages() < limit) {
            return Ok(false);
        }
        // Within a set there is no key to go on from: that is done behind it.
        if self.end.is_none() && i > 0 && table & SET_BIT == 0 {
            let mut key = Vec::new();
            branch.separator(i, &mut key)?;
            self.end = Some((table, key));
        }
        Ok(true)
    }

    /// Collects the values of a leaf that are in the heap. Returns whether that is all of them.
    fn collect_values(&mut self, dirty: &Dirty, tree: &Tree, slot: u32) -> Result<bool> {
        let mut whole = true;
        if !dirty.has_values() || tree.layout.fixed.is_some() || (self.is_early() && !dirty.is_current(slot))
        {
            return Ok(whole);
        }
        let leaf = LeafView::new(dirty.heap_page(slot))?;
        for i in 0..leaf.count() {
            if let Stored::Overflow(run) = leaf.stored(i)?
                && let Some(value) = heap_slot(run.page)
            {
                if self.is_early() && !dirty.value_is_current(run.page) {
                    whole = false;
                } else {
                    let pages = run.pages(dirty.page_size());
                    self.values.push((value, Run { start: 0, len: pages }));
                    self.value_pages += pages;
                }
            }
        }
        Ok(whole)
    }

    /// Collects the sets of a multimap's leaf that are trees in the heap. Returns whether that is all of them.
    fn collect_sets(&mut self, dirty: &Dirty, tree: &Tree, slot: u32, found: &mut Collected) -> Result<bool> {
        let mut whole = true;
        // Below what belongs to a savepoint everything does.
        if tree.overflow_pages == 0 || (self.is_early() && !dirty.is_current(slot)) {
            return Ok(whole);
        }
        let leaf = LeafView::new(dirty.heap_page(slot))?;
        for i in 0..leaf.count() {
            if let Stored::Set(set) = leaf.stored(i)?
                && heap_slot(set.root.page).is_some()
            {
                let values = set_tree(tree, &set)?;
                // Its root may be written early, because the leaf that refers to it is in the heap.
                let below = Tree { root: ChildRef::default(), ..values };
                whole &= self.collect_below(dirty, &below, values.root, values.level, None, found)?;
            }
        }
        Ok(whole)
    }

    /// Gives every collected value its run. Returns them by slot.
    fn number_values(&mut self, dirty: &mut Dirty) -> Result<Vec<Option<Run>>> {
        let mut by_slot = Vec::new();
        for (slot, run) in &mut self.values {
            *run = dirty.allocate_run(run.len)?;
            by_slot.resize(by_slot.len().max(*slot as usize + 1), None);
            by_slot[*slot as usize] = Some(*run);
        }
        Ok(by_slot)
    }

    /// Numbers the pages of the tree that was collected as number `tree`.
    fn assign_tree(
        &mut self,
        dirty: &mut Dirty,
        tree: usize,
        root: &mut ChildRef,
        layout: &Layout,
        numbers: &mut Numbers<'_>,
        values: &[Option<Run>],
    ) -> Result<()> {
        let Collected { written, kept } = std::mem::take(&mut self.trees[tree]);
        // By slot; 0 where it has no number, which is no page of a tree.
        let mut number_of = vec![0; written.iter().max().map_or(0, |(slot, _)| *slot as usize + 1)];
        for (slot, is_leaf) in written {
            let page = numbers.next(is_leaf);
            number_of[slot as usize] = page;
            // Most leaves refer to nothing; they are not touched before they are written.
            if !is_leaf || !values.is_empty() || layout.set.is_some() {
                rewrite_references(dirty, slot, layout, &number_of, values)?;
            }
            self.numbered.push(Numbered { slot, page, is_leaf });
        }
        for slot in kept {
            rewrite_references(dirty, slot, layout, &number_of, values)?;
        }
        if let Some(page) = heap_slot(root.page).and_then(|slot| numbered(&number_of, slot)) {
            root.page = page;
        }
        Ok(())
    }

    /// The pages that are numbered, and whether each is a leaf of a table.
    fn pages_written(&self) -> impl Iterator<Item = (u64, bool)> {
        self.numbered.iter().map(|numbered| (numbered.page, numbered.is_leaf))
    }

    /// Everything that is to be written, in the order of the file.
    fn pieces(&self, dirty: &Dirty) -> Vec<Piece> {
        let page_size = dirty.page_size();
        let offset_of = |page: u64| page * page_size as u64;
        let mut pieces = Vec::with_capacity(self.numbered.len() + 4 * self.values.len() + 1);
        for numbered in &self.numbered {
            let part = Part::Page(numbered.slot);
            pieces.push(Piece { offset: offset_of(numbered.page), len: page_size, part });
        }
        for (slot, run) in &self.values {
            let value = dirty.heap_value(DIRTY_BIT | u64::from(*slot)).expect("collected from memory");
            let (start, value_len) = (offset_of(run.start), value.len());
            for at in (0..value_len).step_by(WRITE_UNIT) {
                let (len, part) = (WRITE_UNIT.min(value_len - at), Part::Value(*slot, at));
                pieces.push(Piece { offset: start + at as u64, len, part });
            }
            let len = run.len as usize * page_size - value_len;
            if len > 0 {
                pieces.push(Piece { offset: start + value_len as u64, len, part: Part::Padding });
            }
        }
        let record_pages = self.record_runs.iter().flat_map(|run| run.start..run.end());
        for (page, at) in record_pages.zip((0..self.record.len()).step_by(page_size)) {
            pieces.push(Piece { offset: offset_of(page), len: page_size, part: Part::Record(at) });
        }
        // It is a few ascending stretches.
        pieces.sort_by_key(|piece| piece.offset);
        pieces
    }

    fn bytes<'p>(&'p self, dirty: &'p Dirty, zeros: &'p [u8], piece: &Piece) -> &'p [u8] {
        match piece.part {
            Part::Page(slot) => dirty.heap_page(slot),
            Part::Value(slot, at) => {
                let value = dirty.heap_value(DIRTY_BIT | u64::from(slot)).expect("collected from memory");
                &value[at..at + piece.len]
            }
            Part::Padding => &zeros[..piece.len],
            Part::Record(at) => &self.record[at..at + piece.len],
        }
    }

    /// Seals and writes everything, one call per run of up to 64 KiB, in small pieces where it is longer. Where
    /// all will be flushed soon, the disk begins while the rest is written.
    fn write(&self, dirty: &mut Dirty, will_be_flushed: bool) -> Result<()> {
        let (page_size, store) = (dirty.page_size(), std::sync::Arc::clone(&dirty.store));
        let disk = &store.pages.disk;
        let zeros = if self.values.is_empty() { Vec::new() } else { vec![0; page_size] };
        let pieces = self.pieces(dirty);
        let (mut begun, mut written) = (0, 0);
        let runs = pieces.chunk_by(|piece, next| piece.offset + piece.len as u64 == next.offset);
        for group in runs.flat_map(|run| run.chunks((SEALED_AT_ONCE / page_size).max(1))) {
            let start = group[0].offset;
            for piece in group {
                if let Part::Page(slot) = piece.part {
                    dirty.seal(slot, piece.offset / page_size as u64);
                }
            }
            let bytes = group.iter().map(|piece| self.bytes(dirty, &zeros, piece));
            let slices: Vec<IoSlice<'_>> = bytes.map(IoSlice::new).collect();
            disk.write(start, &slices)?;
            let len: u64 = slices.iter().map(|slice| slice.len() as u64).sum();
            written += len;
            if will_be_flushed && written >= WRITE_BACK {
                disk.start_write_back(begun, start + len - begun);
                (begun, written) = (start + len, 0);
            }
        }
        Ok(())
    }
}

/// Bytes of pages whose checksums are computed before they are written: they are still near the processor
/// then.
const SEALED_AT_ONCE: usize = 256 << 10;
/// When so many bytes were written, the disk is asked to begin with them.
const WRITE_BACK: u64 = 4 << 20;

/// The number that a heap page has got.
fn numbered(number_of: &[u64], slot: u32) -> Option<u64> {
    number_of.get(slot as usize).copied().filter(|page| *page != 0)
}

/// Replaces references to heap pages and values by those to their places in the file.
fn rewrite_references(
    dirty: &mut Dirty,
    slot: u32,
    layout: &Layout,
    number_of: &[u64],
    values: &[Option<Run>],
) -> Result<()> {
    let level = crate::format::header(dirty.heap_page(slot)).level;
    if level > 0 {
        let branch = Branch::new(dirty.heap_page(slot), level)?;
        let mut changed = Vec::new();
        for i in 0..branch.count() {
            let child = branch.child(i)?;
            if let Some(page) = heap_slot(child.page).and_then(|slot| numbered(number_of, slot)) {
                changed.push((i, ChildRef { page, ..child }));
            }
        }
        for (i, child) in changed {
            branch::set_child(dirty.heap_page_mut(slot), i, child);
        }
    } else if layout.set.is_some() {
        rewrite_sets(dirty, slot, layout, number_of)?;
    } else if !values.is_empty() && layout.fixed.is_none() {
        let count = LeafView::new(dirty.heap_page(slot))?.count();
        for i in 0..count {
            if let Stored::Overflow(mut run) = LeafView::new(dirty.heap_page(slot))?.stored(i)?
                && let Some(Some(place)) = heap_slot(run.page).and_then(|slot| values.get(slot as usize))
            {
                run.page = place.start;
                assert!(leaf_overwrite(dirty.heap_page_mut(slot), layout, i, Stored::Overflow(run)));
            }
        }
    }
    Ok(())
}

/// The same for the references of a multimap's leaf; pages of its sets have none.
fn rewrite_sets(dirty: &mut Dirty, slot: u32, layout: &Layout, number_of: &[u64]) -> Result<()> {
    let page = dirty.heap_page(slot);
    if header(page).table.get() & SET_BIT != 0 {
        return Ok(());
    }
    for i in 0..LeafView::new(page)?.count() {
        if let Stored::Set(SetRef { root, level }) = LeafView::new(dirty.heap_page(slot))?.stored(i)?
            && let Some(page) = heap_slot(root.page).and_then(|slot| numbered(number_of, slot))
        {
            let set = SetRef { root: ChildRef { page, ..root }, level };
            assert!(leaf_overwrite(dirty.heap_page_mut(slot), layout, i, Stored::Set(set)));
        }
    }
    Ok(())
}

//! The pages that a write txn has changed, in heap memory, before they have page numbers.
//!
//! Owns: copies of changed pages, large values not yet written, the list of pages given
//! up, allocation and growth on the txn's behalf. Promises: a page is copied once per epoch, however
//! often it is changed; the file's committed pages are never touched. Leaves to others: what is
//! changed ([`crate::tree`]) and when it is written ([`crate::commit`]).
//!
//! A reference to a heap page has [`DIRTY_BIT`] set and its arena slot in the low bits.
//!
//! **Savepoints** are epochs: making one raises the epoch; a page of an older epoch is not changed
//! but copied again, so the savepoint's tree stays whole. Rolling back frees the slots of newer
//! epochs; releasing the newest savepoint frees what was replaced since and no older one needs. Pages
//! already written by this txn (spilled) are reused at once, unless a savepoint was made since they were written.

mod edit;
mod large;

use crate::arena::{Arena, Piece};
use crate::chunks::{self, Chunks};
use crate::error::{Error, Result};
use crate::format::{
    ChildRef, DIRTY_BIT, Layout, MAX_LEVELS, MAX_PAGES, OverflowRef, ShortRef, header, header_mut, meta_pages,
};
use crate::page::{Branch, LeafView, Stored};
use crate::shared::State;
use crate::snapshot::PageSource;
use crate::space::{GivenUp, Run, RunSet, Space};
use crate::store::Store;
pub use large::{Streamed, WRITE_AT_ONCE};
use std::ops::Range;
use std::sync::Arc;

/// The file grows by a thirty-second of its size, within these limits, or by what a txn needs if that
/// is more: few commits change its length, and little of it is spare.
pub const MIN_GROWTH: u64 = 64 << 10;
const MAX_GROWTH: u64 = 8 << 20;
/// A txn that makes the file longer by more than so many steps leaves nothing of the last one.
const LARGE_GROWTH: u64 = 8;

struct Value {
    /// Those of the value, and behind them its table of checksums.
    bytes: Box<[u8]>,
    epoch: u64,
}

/// A savepoint: how many there were before it.
#[derive(Clone, Copy, Debug)]
pub struct Mark(usize);

/// What happened since a savepoint, and before the next one.
#[derive(Default)]
struct Since {
    /// What was made in this epoch or later is not the savepoint's.
    epoch: u64,
    /// Pages given up before.
    given_up: usize,
    /// Pages that this txn allocated since.
    taken: RunSet,
    /// Pages that it had allocated before and needs no more, but for savepoints.
    deferred: Vec<Run>,
    /// The same of heap pages and of values in memory.
    replaced: Vec<u32>,
    replaced_values: Vec<u32>,
}

/// One step of a [`Path`]: the heap page of a branch, and which of its children the way leads to.
#[derive(Clone, Copy, Default)]
pub struct Step {
    /// The branch.
    pub slot: u32,
    /// The child.
    pub child: u32,
}

/// The heap pages on the way to the leaf that was changed last.
#[derive(Clone)]
pub struct Path {
    /// From the root down.
    pub steps: [Step; MAX_LEVELS],
    /// How many of the steps there are.
    pub len: usize,
    /// The leaf.
    pub leaf: u32,
    /// The tree, and the reference to its root.
    pub table: u32,
    /// Page of the root.
    pub root: u64,
    /// The deepest steps whose branches have separators before and behind what the step leads to.
    pub lower: Option<usize>,
    /// See `lower`.
    pub upper: Option<usize>,
    /// So many bytes at least all keys that belong in the leaf begin with in common, if they have as many.
    pub shared: usize,
    /// Whether the pages still are what lies on that way, and may be changed.
    pub is_valid: bool,
    /// Whether the last two changes went the same way.
    pub is_near: bool,
}

impl Path {
    fn new() -> Self {
        Path {
            steps: [Step::default(); MAX_LEVELS],
            len: 0,
            leaf: 0,
            table: 0,
            root: 0,
            lower: None,
            upper: None,
            shared: 0,
            is_valid: false,
            is_near: false,
        }
    }

    /// At the root of a tree.
    #[inline]
    pub fn begin(&mut self, table: u32, root: u64) {
        (self.table, self.root) = (table, root);
        (self.len, self.lower, self.upper, self.shared) = (0, None, None, 0);
    }

    /// On to child `i` of the branch in `slot`, which has `count` children.
    #[inline]
    pub fn push(&mut self, slot: u32, i: usize, count: usize) {
        self.steps[self.len] = Step { slot, child: i as u32 };
        if i > 0 {
            self.lower = Some(self.len);
        }
        if i + 1 < count {
            self.upper = Some(self.len);
        }
        self.len += 1;
    }
}

/// When changed pages take too much memory, one in so many is written.
const SPILLED_PART: usize = 8;
/// Bytes of leaves of an ascending load that are written early, together.
const SPILL_APPENDED: usize = 4 << 20;

/// The changed pages of one write txn.
pub struct Dirty {
    /// The store that is written to.
    pub store: Arc<Store>,
    /// The state that the txn started from.
    pub base: State,
    /// The txn being made.
    pub txn: u64,
    /// The space as this txn leaves it.
    pub space: Space,
    /// Bytes of heap at which changed pages are written early.
    spill_at: usize,
    is_put_off: bool,
    /// Leaves that were begun behind the last one since pages were last written early, and how many of them are
    /// worth it.
    appended: usize,
    spill_appended: usize,
    /// Where writing early goes on: the table and the key. Nowhere: at the beginning.
    pub spilled_to: Option<(u32, Vec<u8>)>,
    arena: Arena,
    values: Vec<Option<Value>>,
    free_values: Vec<u32>,
    value_bytes: usize,
    epoch: u64,
    /// Heap pages of this epoch or later belong to no savepoint.
    current: u64,
    /// By savepoint, oldest first.
    since: Vec<Since>,
    /// Whether pages were allocated, so that some may have been written with this txn's id.
    has_allocated: bool,
    /// Whether the file may be longer than it was, also where growing failed half-way.
    has_grown: bool,
    /// Pages of earlier txns that this one no longer needs.
    given_up: Vec<GivenUp>,
    /// When they are more, it is counted how many of them the checkpoint needs.
    count_held_at: usize,
    /// Everything allocated, less what was released.
    taken: RunSet,
    /// Where it compacts: what lies from this page on is to come free. Free pages there are barred.
    tail: Option<u64>,
    barred: Vec<Run>,
    /// The file may end here.
    end: u64,
    /// Pages of holes in front of the tail.
    front_holes: u64,
    /// Holes, and what was filled of some, in what was cut off.
    cut_holes: Vec<Run>,
    /// The txns of the stored snapshots that it began with, ascending.
    pub stored: Vec<u64>,
    /// Number of failed flushes when the txn began.
    pub failures: u64,
    /// Quota in bytes.
    pub max_size: u64,
    /// Whether time counts more than room.
    pub is_hurried: bool,
    /// Whether all free space goes back to the system with its commit, a checkpoint.
    pub gives_back_all: bool,
    /// How many pages were given back behind that.
    pub punched: Result<u64>,
    /// The way to the leaf that was changed last.
    pub path: Path,
    /// A page's worth of memory, for whoever takes a page apart.
    pub scratch: Vec<u8>,
}

impl Dirty {
    /// A txn that has changed nothing. `heap` is memory that an earlier one has used.
    pub fn new(store: Arc<Store>, base: State, txn: u64, mut space: Space, heap: Vec<Piece>) -> Self {
        let (page_size, store_limit) = (store.pages.page_size, store.config.dirty_limit);
        space.begin();
        let (failures, max_size) = (store.readers.failures(), store.config.max_size);
        let count_held_at = store.held_limit(&base) as usize;
        Dirty {
            store,
            base,
            txn,
            space,
            spill_at: store_limit,
            is_put_off: false,
            appended: 0,
            spill_appended: SPILL_APPENDED / page_size,
            spilled_to: None,
            arena: Arena::new(page_size, heap),
            values: Vec::new(),
            free_values: Vec::new(),
            value_bytes: 0,
            epoch: 0,
            current: 0,
            since: Vec::new(),
            has_allocated: false,
            has_grown: false,
            given_up: Vec::new(),
            count_held_at,
            taken: RunSet::default(),
            tail: None,
            barred: Vec::new(),
            end: base.page_count,
            front_holes: 0,
            cut_holes: Vec::new(),
            stored: Vec::new(),
            failures,
            max_size,
            is_hurried: false,
            gives_back_all: false,
            punched: Ok(0),
            path: Path::new(),
            scratch: Vec::new(),
        }
    }

    /// At the end: heap memory for the next txn.
    pub fn take_heap(&mut self) -> Vec<Piece> {
        self.arena.take_pieces()
    }

    /// Bytes of a page.
    pub fn page_size(&self) -> usize {
        self.store.pages.page_size
    }

    /// Bytes of heap that the changed pages and values take.
    pub fn bytes(&self) -> usize {
        self.arena.used() * self.page_size() + self.value_bytes
    }

    /// Whether it is time to write changed pages early: they take much memory, or nearly all are leaves of an
    /// ascending load, which will not change again and may as well be on their way to the disk.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.bytes() > self.spill_at || (self.appended >= self.spill_appended && self.is_ascending_load())
    }

    /// Whether nearly all changed pages are leaves that were begun behind the last one.
    pub fn is_ascending_load(&self) -> bool {
        self.appended * 8 >= self.arena.used() * 7
    }

    /// A leaf was begun behind the last one.
    pub fn note_appended(&mut self) {
        self.appended += 1;
    }

    /// Whether savepoints have kept pages in memory that should have been written, and may do so no more: asked once
    /// when one of them is released.
    pub fn was_put_off(&mut self) -> bool {
        std::mem::take(&mut self.is_put_off)
    }

    /// So many pages are written early at once.
    pub fn spill_pages(&self) -> u64 {
        (self.store.config.dirty_limit / SPILLED_PART / self.page_size()).max(1) as u64
    }

    /// Changed pages were written early; `before` is what they took. Where savepoints keep most of them in memory, the
    /// next time is put off, or every put would look through all of them in vain.
    pub fn spilled(&mut self, before: usize) {
        self.appended = 0;
        let (limit, now) = (self.store.config.dirty_limit, self.bytes());
        let part = limit / SPILLED_PART / 2;
        self.is_put_off = now + part > before.max(limit);
        self.spill_at = limit.max(now + if self.is_put_off { limit / 2 } else { part });
    }

    // ---- pages ----

    /// A new page; its bytes are whatever the slot held.
    ///
    /// # Errors
    /// `Io` where there is no memory.
    pub fn add_page(&mut self) -> Result<u32> {
        self.path.is_valid = false;
        self.arena.add(self.epoch)
    }

    /// The reference to a heap page.
    pub fn reference(&self, slot: u32, count: u64) -> ChildRef {
        ChildRef { page: DIRTY_BIT | u64::from(slot), birth: self.txn, count }
    }

    /// The heap page in `slot`.
    #[inline]
    pub fn heap_page(&self, slot: u32) -> &[u8] {
        self.arena.page(slot)
    }

    /// The heap page in `slot`, to be changed.
    #[inline]
    pub fn heap_page_mut(&mut self, slot: u32) -> &mut [u8] {
        self.arena.page_mut(slot)
    }

    /// A copy of the heap page in `slot`, in memory to be put back into `scratch`.
    pub fn copy_out(&mut self, slot: u32) -> Vec<u8> {
        let mut copy = std::mem::take(&mut self.scratch);
        copy.clear();
        copy.extend_from_slice(self.arena.page(slot));
        copy
    }

    /// The slot of a heap page that may be changed and holds what `child` refers to: the page
    /// itself, or a new copy. The caller replaces its reference where the slot is new.
    ///
    /// # Errors
    /// `Corrupt` when the page cannot be read or cannot be edited safely, `Io` where there is no memory.
    pub fn make_mut(&mut self, child: ChildRef, level: u8, layout: &Layout) -> Result<u32> {
        if let Some(slot) = heap_slot(child.page) {
            if self.is_current(slot) {
                return Ok(slot);
            }
            let copy = self.add_page()?;
            self.arena.copy(slot, copy);
            self.replaced(slot);
            return Ok(copy);
        }
        let pages = &self.store.pages;
        let bytes = pages.read(child.page, child.birth, self.space.page_count())?;
        validate_form(bytes, level, layout)?;
        if !pages.is_judged(child.page, child.birth) {
            validate_content(bytes, level, layout)?;
            pages.set_judged(child.page, child.birth);
        }
        self.path.is_valid = false;
        let slot = self.arena.add(self.epoch)?;
        self.arena.page_mut(slot).copy_from_slice(bytes);
        self.drop_written(Run { start: child.page, len: 1 }, child.birth)?;
        Ok(slot)
    }

    /// A page is no longer part of the tree.
    ///
    /// # Errors
    /// `Corrupt` for a reference that cannot be right.
    pub fn drop_page(&mut self, child: ChildRef) -> Result<()> {
        match heap_slot(child.page) {
            // A page of an older epoch is still part of a savepoint's tree.
            Some(slot) if self.is_current(slot) => self.drop_slot(slot),
            Some(slot) => self.replaced(slot),
            None => self.drop_written(Run { start: child.page, len: 1 }, child.birth)?,
        }
        Ok(())
    }

    /// A heap page was written to its place, or merged away.
    pub fn drop_slot(&mut self, slot: u32) {
        self.path.is_valid = false;
        self.arena.remove(slot);
    }

    /// Whether the heap page belongs to no savepoint.
    #[inline]
    pub fn is_current(&self, slot: u32) -> bool {
        // Without savepoints every page is.
        self.current == 0 || self.arena.epoch(slot) >= self.current
    }

    /// Only savepoints need the heap page any more.
    fn replaced(&mut self, slot: u32) {
        self.since.last_mut().expect("it is of a savepoint").replaced.push(slot);
    }

    fn drop_written(&mut self, run: Run, birth: u64) -> Result<()> {
        if run.start < meta_pages(self.page_size()) {
            return Err(Error::corrupt(run.start, "the tree refers to the meta area"));
        }
        if birth < self.txn {
            self.given_up.push(GivenUp { run, birth });
        } else if birth > self.txn {
            let detail = format!("is said to be born at txn {birth}, this is txn {}", self.txn);
            return Err(Error::corrupt(run.start, detail));
        } else {
            self.drop_own(run)?;
        }
        Ok(())
    }

    /// Gives back a run that this txn has allocated, unless a savepoint needs it.
    ///
    /// # Errors
    /// `Corrupt` as for [`Dirty::release`].
    pub fn drop_own(&mut self, run: Run) -> Result<()> {
        if let Some(since) = self.since.last_mut()
            && !since.taken.remove(run)
        {
            since.deferred.push(run);
            return Ok(());
        }
        self.release(run)
    }

    /// Gives back pages that this txn allocated and nothing refers to.
    ///
    /// # Errors
    /// `Corrupt` when it did not: a reference in the file claims to be of this txn.
    fn release(&mut self, run: Run) -> Result<()> {
        if !self.taken.remove(run) {
            return Err(Error::corrupt(
                run.start,
                format!("is said to be born at txn {}, which did not write it", self.txn),
            ));
        }
        self.space.release(run);
        Ok(())
    }

    // ---- large values ----

    /// Keeps a value for pages of its own, or writes it there at once when it is large.
    ///
    /// # Errors
    /// `Io` or `Full` when it is written at once and cannot be.
    pub fn add_value(&mut self, bytes: &[u8]) -> Result<OverflowRef> {
        if bytes.len() >= WRITE_AT_ONCE {
            return self.write_value(bytes);
        }
        let chunks = Chunks::of(bytes.len() as u64, self.page_size());
        let mut stored = Vec::with_capacity(chunks.stored_len() as usize);
        stored.extend_from_slice(bytes);
        Ok(self.keep_value(stored))
    }

    /// Keeps a value that its caller has made.
    pub fn keep_value(&mut self, mut value: Vec<u8>) -> OverflowRef {
        let (birth, len) = (self.txn, value.len() as u64);
        let (table, checksum) = chunks::sum(Chunks::of(len, self.page_size()), &value);
        value.extend_from_slice(&table);
        self.value_bytes += value.len();
        let value = Some(Value { bytes: value.into(), epoch: self.epoch });
        let slot = match self.free_values.pop() {
            Some(slot) => slot,
            None => {
                self.values.push(None);
                self.values.len() as u32 - 1
            }
        };
        self.values[slot as usize] = value;
        OverflowRef { page: DIRTY_BIT | u64::from(slot), birth, len, checksum }
    }

    /// The bytes of a value that is still in memory, and its table of checksums.
    pub fn heap_value(&self, page: u64) -> Option<&[u8]> {
        let slot = heap_slot(page)?;
        self.values.get(slot as usize)?.as_ref().map(|value| &value.bytes[..])
    }

    /// Whether a value that is still in memory belongs to no savepoint.
    pub fn value_is_current(&self, page: u64) -> bool {
        heap_slot(page)
            .and_then(|slot| self.values[slot as usize].as_ref())
            .is_some_and(|value| value.epoch >= self.current)
    }

    /// Whether any value is still in memory.
    pub fn has_values(&self) -> bool {
        self.value_bytes > 0
    }

    /// A value is no longer part of the tree.
    ///
    /// # Errors
    /// `Corrupt` for a reference that cannot be right.
    pub fn drop_value(&mut self, run: &OverflowRef) -> Result<()> {
        match heap_slot(run.page) {
            Some(slot) if self.value_is_current(run.page) => self.forget_value(slot),
            Some(slot) => self.replaced_value(slot),
            None => {
                let pages = run.pages(self.page_size());
                if pages == 0 || run.page.saturating_add(pages) > self.space.page_count() {
                    return Err(Error::corrupt(
                        run.page,
                        format!("a value of {pages} pages is not in the file"),
                    ));
                }
                self.drop_written(Run { start: run.page, len: pages }, run.birth)?;
            }
        }
        Ok(())
    }

    /// Only savepoints need the value any more.
    fn replaced_value(&mut self, slot: u32) {
        self.since.last_mut().expect("it is of a savepoint").replaced_values.push(slot);
    }

    /// Frees the memory of a value.
    pub fn forget_value(&mut self, slot: u32) {
        if let Some(value) = self.values[slot as usize].take() {
            self.value_bytes -= value.bytes.len();
            self.free_values.push(slot);
        }
    }

    // ---- allocation ----

    /// Takes `count` pages, growing the file where there are too few.
    ///
    /// # Errors
    /// `Full` at the quota, `Io` when the disk is full.
    pub fn allocate(&mut self, count: u64) -> Result<Vec<Run>> {
        self.make_room(count)?;
        self.prefer_one_run(count)?;
        let runs = self.space.allocate(count);
        runs.iter().for_each(|run| self.take(*run));
        Ok(runs)
    }

    /// Takes `count` contiguous pages, growing the file where there are none.
    ///
    /// # Errors
    /// `Full` at the quota, `Io` when the disk is full.
    pub fn allocate_run(&mut self, count: u64) -> Result<Run> {
        self.free_or_grow(&|space| space.has_run(count), &|_| count, count)?;
        let run = self.space.allocate_run(count).expect("there is room for it");
        self.take(run);
        Ok(run)
    }

    fn take(&mut self, run: Run) {
        self.has_allocated = true;
        self.taken.insert(run);
        if let Some(since) = self.since.last_mut() {
            since.taken.insert(run);
        }
    }

    /// Allocates in front of a page as far as there is room, from now on; the commit will be a checkpoint that leaves
    /// as little as can be behind it, and cuts off what is free at the end. Returns how many pages the store will have.
    pub fn set_tail(&mut self, page: u64) -> u64 {
        self.tail = Some(page);
        self.end = self.end_behind(page);
        self.barred = self.space.bar_from(page);
        let holes = self.space.holes().iter().take_while(|run| run.start < page);
        self.front_holes = holes.map(|run| run.end().min(page) - run.start).sum();
        self.end
    }

    /// The length that the file can have, as it grows, behind this page and all that are not free.
    fn end_behind(&self, page: u64) -> u64 {
        let (_, unit) = self.growth(self.space.page_count());
        let end = self.space.used_end().max(page).next_multiple_of(unit);
        end.min(self.space.page_count())
    }

    /// Where it compacts: takes what is free at the end of the file off the store. All pages were allocated.
    pub fn cut_end(&mut self) {
        self.unbar();
        if self.tail.is_some() {
            let end = self.end_behind(self.end);
            self.cut_holes = self.space.holes_from(end);
            self.space.shrink_to(end);
        }
    }

    /// The page that [`Dirty::set_tail`] was called with.
    pub fn tail(&self) -> Option<u64> {
        self.tail
    }

    /// What was barred can be allocated. Returns whether that is anything.
    pub fn unbar(&mut self) -> bool {
        let barred = std::mem::take(&mut self.barred);
        self.space.unbar(&barred);
        !barred.is_empty()
    }

    /// Whether a free run has so many pages, and as many pages are left besides as all that is in memory takes, and
    /// `spare` more.
    pub fn has_run_beside(&self, pages: u64, spare: u64) -> bool {
        let others = (self.bytes() / self.page_size()) as u64 + spare;
        let has_run = self.space.has_run(pages)
            || self.space.hole_for(pages, pages, self.tail.unwrap_or(u64::MAX)).is_some();
        has_run && self.room() >= pages.saturating_add(others)
    }

    /// Pages that can be taken without growing: those that are free, and holes in front of the tail.
    pub fn room(&self) -> u64 {
        self.space.free_pages() + self.front_holes
    }

    /// Sees to it that `count` pages can be taken.
    ///
    /// # Errors
    /// `Full` at the quota, `Io` when the disk is full.
    pub fn make_room(&mut self, count: u64) -> Result<()> {
        let missing = |space: &Space| count.saturating_sub(space.free_pages());
        self.free_or_grow(&|space| missing(space) == 0, &missing, 1)
    }

    /// Where the txn is in a hurry and little of the file is free: grows it rather than to write page by page
    /// all over it.
    fn prefer_one_run(&mut self, count: u64) -> Result<()> {
        let is_roomy = self.space.free_pages() + count > self.space.page_count() / 8;
        match self.is_hurried && !is_roomy && !self.space.has_run(count) {
            true => self.fill_or_grow(&|space| space.has_run(count), &|_| count, count),
            false => Ok(()),
        }
    }

    /// Frees pages, or grows the file, until there is room: first what only the dead still pin, then holes, then new
    /// space, and where there is none to be had, what only the last checkpoint holds back. Of holes only those help
    /// that have `least` pages.
    fn free_or_grow(
        &mut self,
        has_room: &dyn Fn(&Space) -> bool,
        missing: &dyn Fn(&Space) -> u64,
        least: u64,
    ) -> Result<()> {
        if has_room(&self.space) {
            return Ok(());
        }
        self.reclaim_all()?;
        let front = self.tail.unwrap_or(0);
        if has_room(&self.space)
            || self.fill_holes(has_room, missing, least, front)?
            || (self.unbar() && has_room(&self.space))
        {
            return Ok(());
        }
        let Err(error) = self.fill_or_grow(has_room, missing, least) else { return Ok(()) };
        if !is_no_room(&error) || self.store.readers.checkpoint().is_none_or(|(txn, _)| txn == self.base.txn)
        {
            return Err(error);
        }
        self.checkpoint_base()?;
        self.reclaim_all()?;
        match has_room(&self.space) {
            true => self.store.cut(self.space.page_count()),
            false => self.fill_or_grow(has_room, missing, least),
        }
    }

    /// Fills holes of at least `least` pages until there is room, and grows the file by what is missing then.
    fn fill_or_grow(
        &mut self,
        has_room: &dyn Fn(&Space) -> bool,
        missing: &dyn Fn(&Space) -> u64,
        least: u64,
    ) -> Result<()> {
        match self.fill_holes(has_room, missing, least, u64::MAX)? {
            true => Ok(()),
            false => self.grow(missing(&self.space)),
        }
    }

    /// Fills holes in front of page `end`, of at least `least` pages, until there is room. Returns whether there is.
    fn fill_holes(
        &mut self,
        has_room: &dyn Fn(&Space) -> bool,
        missing: &dyn Fn(&Space) -> u64,
        least: u64,
        end: u64,
    ) -> Result<bool> {
        while let Some(hole) = self.space.hole_for(missing(&self.space), least, end) {
            self.fill(hole, missing(&self.space))?;
            if has_room(&self.space) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Makes free pages of a hole: `count`, but no less than the file would grow by.
    fn fill(&mut self, hole: Run, count: u64) -> Result<()> {
        let page_size = self.page_size() as u64;
        let (step, unit) = self.growth(self.space.page_count());
        let run = Run { len: count.max(step).next_multiple_of(unit).min(hole.len), ..hole };
        self.store.pages.disk.refill(run.start * page_size, run.len * page_size)?;
        self.space.fill(run);
        self.front_holes = self.front_holes.saturating_sub(run.len);
        Ok(())
    }

    /// Frees everything that can be, a checkpoint of the base included where it is none.
    ///
    /// # Errors
    /// `Io`.
    pub fn free_all(&mut self) -> Result<()> {
        self.checkpoint_base()?;
        self.reclaim_all()
    }

    /// Makes the state that this txn builds on a checkpoint, so that the one before holds nothing back.
    fn checkpoint_base(&mut self) -> Result<()> {
        let store = Arc::clone(&self.store);
        store.lead()?.checkpoint_head()?;
        let head = store.readers.head();
        assert_eq!(head.txn, self.base.txn, "the turn is ours");
        self.base = State { page_count: self.base.page_count, ..head };
        Ok(())
    }

    /// Frees what only the dead still pin, before the file is made larger.
    fn reclaim_all(&mut self) -> Result<()> {
        self.store.readers.reap()?;
        let published = self.store.readers.published().txn;
        let judged = self.space.reclaim(&self.store.needed(&self.stored)?, published);
        self.store.counters().judged_runs.add(judged);
        Ok(())
    }

    /// Pages by which a file of `old` pages grows at least, and of which its length is a multiple.
    fn growth(&self, old: u64) -> (u64, u64) {
        let page_size = self.page_size() as u64;
        let step = (old * page_size / 32).clamp(MIN_GROWTH, MAX_GROWTH) / page_size;
        (step.max(1), (MIN_GROWTH / page_size).max(1))
    }

    /// Cuts off what is spare at the end of the file, if this txn has made it longer by more than some steps:
    /// what was loaded at once often stays as it is. Fewer steps are how a file grows commit by commit.
    ///
    /// # Errors
    /// `Io`.
    pub fn trim(&mut self) -> Result<()> {
        let (before, end) = (self.base.page_count, self.space.page_count());
        let (step, unit) = self.growth(end);
        if end - before <= LARGE_GROWTH * step {
            return Ok(());
        }
        let spare = self.space.free_from(before).last().copied().filter(|run| run.end() == end);
        let needed = spare.map_or(end, |run| run.start).next_multiple_of(unit);
        if needed < end {
            self.space.shrink_to(needed);
            self.store.cut(needed)?;
        }
        Ok(())
    }

    fn grow(&mut self, count: u64) -> Result<()> {
        let page_size = self.page_size() as u64;
        let old = self.space.page_count();
        let (step, unit) = self.growth(old);
        let wanted = (old + count.max(step)).next_multiple_of(unit);
        let quota = (self.max_size / page_size).min(MAX_PAGES);
        if old + count > quota {
            return Err(Error::Full { needed: (old + count) * page_size, quota: quota * page_size });
        }
        let new = wanted.min(quota);
        self.has_grown = true;
        self.store.pages.disk.grow(old * page_size, new * page_size)?;
        self.space.grow_to(old, new);
        Ok(())
    }

    // ---- savepoints and the end ----

    /// Begins a new epoch; the mark leads back to the end of the old one.
    pub fn mark(&mut self) -> Mark {
        let mark = Mark(self.since.len());
        self.epoch += 1;
        self.since.push(Since { epoch: self.epoch, given_up: self.given_up.len(), ..Since::default() });
        self.begin_epoch();
        mark
    }

    /// Undoes everything since the mark, which stays; later ones are gone. O(heap pages), and nearly nothing where
    /// nothing was changed. Also after a change that an error has ended half-way: what it did to pages is undone with them.
    ///
    /// # Errors
    /// `Corrupt` as for [`Dirty::release`].
    pub fn roll_back(&mut self, mark: Mark) -> Result<()> {
        let undone = self.since.split_off(mark.0);
        let Since { epoch, given_up, .. } = undone[0];
        self.since.push(Since { epoch, given_up, ..Since::default() });
        self.begin_epoch();
        self.arena.remove_since(epoch);
        for slot in 0..self.values.len() as u32 {
            if self.values[slot as usize].as_ref().is_some_and(|value| value.epoch >= epoch) {
                self.forget_value(slot);
            }
        }
        self.given_up.truncate(given_up);
        undone.iter().flat_map(|since| since.taken.iter()).try_for_each(|run| self.release(run))
    }

    /// Forgets the mark and later ones; what was changed since stays. O(pages replaced since).
    ///
    /// # Errors
    /// `Corrupt` as for [`Dirty::release`].
    pub fn release_mark(&mut self, mark: Mark) -> Result<()> {
        while self.since.len() > mark.0 {
            self.release_newest()?;
        }
        Ok(())
    }

    fn release_newest(&mut self) -> Result<()> {
        let Some(gone) = self.since.pop() else { return Ok(()) };
        self.begin_epoch();
        for slot in gone.replaced {
            match self.is_current(slot) {
                true => self.arena.remove(slot),
                false => self.replaced(slot),
            }
        }
        for slot in gone.replaced_values {
            match self.value_is_current(DIRTY_BIT | u64::from(slot)) {
                true => self.forget_value(slot),
                false => self.replaced_value(slot),
            }
        }
        if let Some(since) = self.since.last_mut() {
            gone.taken.iter().for_each(|run| since.taken.insert(run));
        }
        gone.deferred.into_iter().try_for_each(|run| self.drop_own(run))
    }

    /// What may be changed is what was made since the newest savepoint.
    fn begin_epoch(&mut self) {
        self.current = self.since.last().map_or(0, |since| since.epoch);
        self.path.is_valid = false;
    }

    /// Savepoints are over: what they kept is released, and what earlier txns wrote and this one
    /// does not need is handed over.
    ///
    /// # Errors
    /// `Corrupt` as for [`Dirty::release`].
    pub fn finish(&mut self) -> Result<Vec<GivenUp>> {
        let deferred = std::mem::take(&mut self.since).into_iter().flat_map(|since| since.deferred);
        self.begin_epoch();
        deferred.into_iter().try_for_each(|run| self.release(run))?;
        Ok(std::mem::take(&mut self.given_up))
    }

    /// Whether pages may have been written with this txn's id.
    pub fn has_allocated(&self) -> bool {
        self.has_allocated
    }

    /// Pages given up so far that the checkpoint of `txn` still needs.
    pub fn held_for(&self, txn: u64) -> u64 {
        held_for(&self.given_up, txn)
    }

    /// Whether more pages are held than a logged txn may leave behind.
    pub fn holds_too_much(&self, checkpoint: u64) -> bool {
        self.base.held + self.held_for(checkpoint) > self.store.held_limit(&self.base)
    }

    /// Whether it is known already that the txn will be a checkpoint, so that its changes need not be
    /// remembered.
    #[inline]
    pub fn is_beyond_log(&mut self) -> bool {
        self.has_allocated || (self.given_up.len() > self.count_held_at && self.count_held())
    }

    #[cold]
    fn count_held(&mut self) -> bool {
        self.count_held_at = self.given_up.len() * 2;
        let checkpoint = self.store.readers.checkpoint();
        // Back at a savepoint they may be fewer.
        self.since.is_empty() && checkpoint.is_some_and(|(txn, _)| self.holds_too_much(txn))
    }

    /// Everything allocated and still needed.
    pub fn taken(&self) -> &RunSet {
        &self.taken
    }

    /// The space, and everything allocated and still needed.
    pub fn with_taken<T>(&mut self, use_both: impl FnOnce(&mut Space, &RunSet) -> T) -> T {
        use_both(&mut self.space, &self.taken)
    }

    /// The part of it that lies before a page.
    pub fn taken_below(&self, end: u64) -> Vec<Run> {
        let below = self.taken.iter().filter(|run| run.start < end);
        below.map(|run| Run { len: run.len.min(end - run.start), ..run }).collect()
    }

    /// Undoes every allocation and growth; false when the file could not be cut to its old length.
    pub fn undo(&mut self) -> bool {
        self.unbar();
        for run in std::mem::take(&mut self.taken).iter() {
            self.space.release(run);
        }
        self.space.undo_holes();
        let (count, base) = (self.space.page_count(), self.base.page_count);
        if count < base {
            self.space.grow_to(count, base);
            std::mem::take(&mut self.cut_holes).into_iter().for_each(|run| self.space.make_hole(run));
        }
        if self.has_grown {
            self.space.shrink_to(base);
            return self.store.cut(base).is_ok();
        }
        true
    }

    /// Makes the heap page ready to be written as `page`.
    pub fn seal(&mut self, slot: u32, page: u64) {
        let txn = self.txn;
        let bytes = self.arena.page_mut(slot);
        let header = header_mut(bytes);
        header.page.set(page);
        header.birth.set(txn);
        let checksum = crate::format::page_checksum(bytes);
        header_mut(bytes).checksum.set(checksum);
    }
}

/// Whether there is no place for more: a quota, or the disk is full.
pub fn is_no_room(error: &Error) -> bool {
    match error {
        Error::Full { .. } => true,
        Error::Io { source, .. } => source.raw_os_error() == Some(libc::ENOSPC),
        _ => false,
    }
}

/// Pages in the list that the checkpoint of `txn` still needs.
pub fn held_for(given: &[GivenUp], txn: u64) -> u64 {
    given.iter().filter(|given| given.birth <= txn).map(|given| given.run.len).sum()
}

/// That the page is what the tree takes it for: without that it cannot be edited safely.
fn validate_form(bytes: &[u8], level: u8, layout: &Layout) -> Result<()> {
    match level {
        0 => LeafView::new(bytes)?.validate(layout),
        _ => Branch::new(bytes, level).map(|_| ()),
    }
}

/// That its keys are in order and its references possible.
fn validate_content(bytes: &[u8], level: u8, layout: &Layout) -> Result<()> {
    let possible = |page: u64| match page < MAX_PAGES {
        true => Ok(()),
        false => Err(Error::corrupt(header(bytes).page.get(), format!("refers to page {page}"))),
    };
    if level > 0 {
        let branch = Branch::new(bytes, level)?;
        branch.validate_order()?;
        return (0..branch.count()).try_for_each(|i| possible(branch.child(i)?.page));
    }
    let leaf = LeafView::new(bytes)?;
    leaf.validate_order()?;
    leaf.validate_set_order(layout)?;
    let slots = if layout.fixed.is_none() { leaf.count() } else { 0 };
    (0..slots).try_for_each(|i| match leaf.stored(i)? {
        Stored::Overflow(run) => possible(run.page),
        Stored::Set(set) => possible(set.root.page),
        Stored::Inline(_) => Ok(()),
    })
}

/// The arena slot, or value slot, that a reference with this page number leads to.
#[inline]
pub fn heap_slot(page: u64) -> Option<u32> {
    (page & DIRTY_BIT != 0).then_some((page & !DIRTY_BIT) as u32)
}

impl PageSource for Dirty {
    #[inline]
    fn page(&self, page: u64, birth: u64) -> Result<&[u8]> {
        match heap_slot(page) {
            Some(slot) if self.arena.has(slot) => Ok(self.arena.page(slot)),
            Some(_) => Err(Error::corrupt(page, "reference to a page that was never written")),
            None => {
                self.store.check_process()?;
                self.store.pages.read(page, birth, self.space.page_count())
            }
        }
    }

    #[inline]
    fn known(&self, short: ShortRef) -> Option<&[u8]> {
        match heap_slot(short.page()) {
            Some(slot) => self.arena.has(slot).then(|| self.arena.page(slot)),
            None if self.store.check_process().is_err() => None,
            None => self.store.pages.known(short, self.space.page_count()),
        }
    }

    #[inline]
    fn prefetch(&self, page: u64) {
        if heap_slot(page).is_none() {
            self.store.pages.prefetch(page, self.space.page_count());
        }
    }

    fn overflow(&self, run: &OverflowRef) -> Result<&[u8]> {
        self.overflow_part(run, 0..run.len)
    }

    fn overflow_part(&self, run: &OverflowRef, part: Range<u64>) -> Result<&[u8]> {
        if run.page & DIRTY_BIT == 0 {
            self.store.check_process()?;
            return self.store.pages.read_part(run, part, self.space.page_count());
        }
        let value =
            self.heap_value(run.page).and_then(|value| value.get(part.start as usize..part.end as usize));
        value.ok_or_else(|| Error::corrupt(run.page, "reference to a value that was never written"))
    }
}

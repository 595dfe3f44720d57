//! Free space: which pages are free, which are pending, and how that is stored.
//!
//! Owns: the writer's view of every page that the tree does not use, allocation, reclaim, and the
//! space records in the file. Promises: every page below `page_count` is exactly one of: used, free,
//! a hole (free, but its blocks were given back to the system), pending (given up, but needed by a snapshot),
//! quarantined (written by a commit whose flush failed), part of the log. Leaves to others: when to allocate,
//! give up, give back and fill ([`crate::commit`], [`crate::dirty`]).
//!
//! **Reclaim is interval-precise.** A page born at txn `b` and given up at txn `d` is needed by the
//! snapshots in `[b, d)` only. It is filed under one pinned txn in that interval, and looked at again
//! only when that txn is no longer pinned; so the cost of a commit does not depend on how many
//! pages are pending (`a_commit_costs_the_same_whatever_the_number_of_pending_pages`).
//!
//! **A space record per commit.** It lists the runs taken and given up by the txn, and, in the rest of
//! its pages, the state of the next stretch of the file, going round and round (`chunk`). Whoever
//! reads the records from the start of the last complete round on knows the whole state; older
//! records are given up. The record of a small logged txn takes over the page of the one before, with
//! what stood there, while there is room: so most commits replace their record's page, as they do
//! their branches, and repeat no state. A small commit writes one page of space information whatever
//! the number of free pages, a record is never rewritten, and opening a store scans nothing: the first
//! writer reads the chain, whose length is in proportion to the number of free extents. [`record`]
//! has the bytes.
//!
//! **Holes are never allocated.** A checkpoint makes holes of free pages ([`Space::give_back`]) and punches them out of
//! the file behind its last step; a txn that finds no free pages makes some of holes ([`Space::fill`]), with new blocks.
//! Both stand in its record, so that every view knows of both, and what was undone or lost was never there. A page
//! that is a hole here may have blocks all the same: whoever made it one may have died before it was punched.
//!
//! Invariants:
//! 1. Extents do not touch where both are free, or both holes (asserted in `check`).
//! 2. `by_len` holds exactly the free extents, `holes` exactly the holes (asserted in `check`).
//! 3. The chain starts with a record whose chunk starts at page 0, and reaches a record whose chunk
//!    ends at the page count of its time (checked when it is read).

pub mod record;

use crate::error::{Error, Result};
use crate::format::{HEADER_LEN, PageKind, SPACE_ID, header_mut, meta_pages};
use crate::shared::State;
use crate::snapshot::PageSource;
use record::{FREE, HOLE, LOG, PART_AT, PENDING, Record, put_given, put_runs, put_varint};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Contiguous pages.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Run {
    /// First page.
    pub start: u64,
    /// Number of pages.
    pub len: u64,
}

impl Run {
    /// The page behind the last.
    pub fn end(self) -> u64 {
        self.start + self.len
    }
}

/// A set of pages, as runs that do not touch.
#[derive(Clone, Default, Debug)]
pub struct RunSet {
    runs: BTreeMap<u64, u64>,
}

impl RunSet {
    /// Adds pages that are not in the set.
    pub fn insert(&mut self, mut run: Run) {
        if let Some((&start, &len)) = self.runs.range(..run.start).next_back()
            && start + len == run.start
        {
            run = Run { start, len: len + run.len };
        }
        if let Some(len) = self.runs.remove(&run.end()) {
            run.len += len;
        }
        self.runs.insert(run.start, run.len);
    }

    /// Takes pages out; false, and nothing done, when they are not all in the set.
    pub fn remove(&mut self, gone: Run) -> bool {
        let found =
            self.runs.range(..=gone.start).next_back().map(|(start, len)| Run { start: *start, len: *len });
        let Some(run) = found.filter(|run| gone.end() <= run.end()) else { return false };
        self.runs.remove(&run.start);
        if run.start < gone.start {
            self.runs.insert(run.start, gone.start - run.start);
        }
        if gone.end() < run.end() {
            self.runs.insert(gone.end(), run.end() - gone.end());
        }
        true
    }

    /// Takes out what lies from page `end` on.
    fn cut(&mut self, end: u64) {
        self.runs.retain(|start, _| *start < end);
        if let Some(mut last) = self.runs.last_entry()
            && last.key() + *last.get() > end
        {
            *last.get_mut() = end - *last.key();
        }
    }

    /// How many runs there are.
    fn len(&self) -> usize {
        self.runs.len()
    }

    /// The run that the page is in.
    pub fn around(&self, page: u64) -> Option<Run> {
        let (start, len) = self.runs.range(..=page).next_back()?;
        (page < start + len).then_some(Run { start: *start, len: *len })
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Whether a page is in the set.
    pub fn contains(&self, page: u64) -> bool {
        self.around(page).is_some()
    }

    /// The runs in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Run> + '_ {
        self.runs.iter().map(|(start, len)| Run { start: *start, len: *len })
    }
}

/// A run that a txn no longer needs, and the txn that wrote it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct GivenUp {
    /// The pages.
    pub run: Run,
    /// Their birth.
    pub birth: u64,
}

/// What a page outside the tree is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Status {
    /// Can be allocated.
    Free,
    /// Free, but its blocks were given back, or were about to be: it is filled before it is allocated.
    Hole,
    /// Needed by the snapshots from `birth` up to, not including, `death`.
    Pending {
        /// The txn that wrote it.
        birth: u64,
        /// The txn that gave it up.
        death: u64,
    },
    /// Written by a commit whose flush failed; not used again before a later commit succeeded.
    Quarantined,
    /// Part of the redo log.
    Log,
}

/// How much of the state of all pages a record repeats, besides what its txn has changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Chunk {
    /// Some hundred bytes: most of what logged txns write is replaced before it reaches the disk.
    Little,
    /// What fits into the record's last page.
    Page,
    /// Up to [`MUCH`] bytes: for a checkpoint behind logged txns, so that its chain is short.
    Much,
}

/// No extent takes more bytes in a record, and no run that was taken or given up.
const EXTENT_ROOM: usize = 40;
const RUN_ROOM: usize = 30;
/// Where free pages become holes so many stay free, and one for so many runs: for what the record takes to say so.
const RECORD_SPARE: u64 = 24;
const RUNS_A_SPARE: u64 = 200;
/// No record takes more besides its lists.
const FIXED_ROOM: usize = 150;
const LITTLE: usize = 512;
const MUCH: usize = 64 << 10;

#[derive(Clone, Debug)]
struct ChainLink {
    runs: Vec<Run>,
    /// The txn that wrote the pages; and that of the oldest record in them.
    txn: u64,
    first: u64,
    starts_round: bool,
    ends_round: bool,
}

/// The writer's view of the space as of one txn.
#[derive(Debug)]
pub struct Space {
    /// The txn whose record was read or written last; 0 when there is none yet.
    txn: u64,
    page_size: usize,
    page_count: u64,
    /// The page count that the newest record names.
    recorded_pages: u64,
    extents: BTreeMap<u64, (u64, Status)>,
    by_len: BTreeSet<(u64, u64)>,
    free_pages: u64,
    holes: RunSet,
    /// What became holes in the txn under way.
    given_back: RunSet,
    /// What it has filled of holes.
    filled: RunSet,
    demand: u64,
    /// Starts of pending extents, by the pinned txn that they wait for.
    waiting: BTreeMap<u64, Vec<u64>>,
    /// Starts of pending extents that nobody could judge yet.
    unjudged: Vec<u64>,
    chain: VecDeque<ChainLink>,
    /// Whether a round has ended since the chain was last shortened.
    has_ended_round: bool,
    /// The records in the newest page, if the next one may take it over.
    open: Vec<u8>,
    /// Whether the record that is being made takes over that page.
    takes_over: bool,
    cursor: u64,
}

impl Space {
    /// Reads the state from the records in the file.
    ///
    /// # Errors
    /// `Corrupt` when the records are not whole or contradict each other.
    pub fn load(source: &(impl PageSource + ?Sized), state: &State, page_size: usize) -> Result<Self> {
        let mut space = Space::empty(page_size);
        space.catch_up(source, state)?;
        Ok(space)
    }

    /// A view of nothing, to be loaded.
    pub fn empty(page_size: usize) -> Self {
        Space {
            txn: 0,
            page_size,
            page_count: 0,
            recorded_pages: 0,
            extents: BTreeMap::new(),
            by_len: BTreeSet::new(),
            free_pages: 0,
            holes: RunSet::default(),
            given_back: RunSet::default(),
            filled: RunSet::default(),
            demand: 0,
            waiting: BTreeMap::new(),
            unjudged: Vec::new(),
            chain: VecDeque::new(),
            has_ended_round: false,
            open: Vec::new(),
            takes_over: false,
            cursor: 0,
        }
    }

    /// Applies what other processes committed since this view was current.
    ///
    /// # Errors
    /// `Corrupt` as for [`Space::load`].
    pub fn catch_up(&mut self, source: &(impl PageSource + ?Sized), state: &State) -> Result<()> {
        if self.page_count == state.page_count && self.txn == state.space.1 {
            return Ok(());
        }
        let mut records = Vec::new();
        let (mut next, mut oldest) = (state.space, None);
        'chain: while next.0 != 0 {
            for record in Record::read(source, next, self.page_size)? {
                if self.page_count > 0 && record.txn == self.txn {
                    break 'chain;
                }
                let last_txn = records.last().map_or(state.txn + 1, |last: &Record| last.txn);
                if record.txn >= last_txn {
                    return Err(Error::corrupt(
                        next.0,
                        format!("space record of txn {} before {last_txn}", record.txn),
                    ));
                }
                let is_oldest = record.txn <= *oldest.get_or_insert(record.oldest);
                next = record.previous;
                records.push(record);
                if is_oldest {
                    // Everything that counts was read; what this view held is of no use.
                    *self = Space::empty(self.page_size);
                    break 'chain;
                }
            }
        }
        self.open.clear();
        if records.is_empty() && self.page_count == 0 {
            self.grow_to(meta_pages(self.page_size), state.page_count);
            self.recorded_pages = self.page_count;
        }
        for record in records.iter().rev() {
            self.apply(record)?;
        }
        if let Some(oldest) = oldest {
            while self.chain.front().is_some_and(|link| link.first < oldest) {
                self.chain.pop_front();
            }
        }
        if !(self.chain.is_empty() || self.is_whole()) || self.page_count != state.page_count {
            return Err(Error::corrupt(
                state.space.0,
                format!("space records cover {} of {} pages", self.page_count, state.page_count),
            ));
        }
        self.txn = state.space.1;
        Ok(())
    }

    fn apply(&mut self, record: &Record) -> Result<()> {
        if self.page_count == 0 {
            self.page_count = record.pages_before;
        }
        if record.pages_before != self.page_count
            || record.pages_before.min(record.pages_after) < meta_pages(self.page_size)
        {
            return Err(Error::corrupt(record.page(), "space record with a page count that does not follow"));
        }
        match record.pages_after < record.pages_before {
            true => self.follow_cut(record)?,
            false => self.grow_to(record.pages_before, record.pages_after),
        }
        self.recorded_pages = record.pages_after;
        let filled = record.filled.iter().map(|run| (*run, Status::Free));
        for (run, status) in filled.chain(record.given_back.iter().map(|run| (*run, Status::Hole))) {
            self.inside(record, run)?;
            self.clear(run);
            self.insert(run, status);
        }
        for run in record.taken.iter().chain(&record.own) {
            self.inside(record, *run)?;
            self.clear(*run);
        }
        for run in &record.log {
            self.inside(record, *run)?;
            self.give_to_log(*run);
        }
        for given in &record.given {
            self.inside(record, given.run)?;
            self.clear(given.run);
            self.insert(given.run, Status::Pending { birth: given.birth, death: record.txn });
        }
        if record.from > record.to || record.to > record.pages_after {
            return Err(Error::corrupt(record.page(), "space record with a chunk outside the file"));
        }
        if record.from < record.to {
            self.clear(Run { start: record.from, len: record.to - record.from });
        }
        let mut at = record.from;
        for (run, status) in &record.chunk {
            self.inside(record, *run)?;
            if run.start < record.from || run.end() > record.to {
                return Err(Error::corrupt(
                    record.page(),
                    format!("space record with {run:?} outside its chunk"),
                ));
            }
            match *status {
                // No free pages are before it, nor outside the chunk behind it: the quick way.
                Status::Free if run.start > at && run.end() < record.to => self.insert_apart(*run),
                status => self.insert(*run, status),
            }
            at = run.end();
        }
        if !record.own.is_empty() {
            if self.chain.back().is_some_and(|link| link.first == record.first) {
                self.chain.pop_back();
            }
            self.add_link(&record.own, (record.first, record.txn), record.round);
        }
        self.cursor = if record.to == record.pages_after { 0 } else { record.to };
        Ok(())
    }

    /// The txn has cut pages off the end: they were free, or pending and needed by nobody any more.
    fn follow_cut(&mut self, record: &Record) -> Result<()> {
        let cut = Run { start: record.pages_after, len: record.pages_before - record.pages_after };
        let first = self.extents.range(..=cut.start).next_back().map_or(cut.start, |(start, _)| *start);
        let within = self.extents.range(first..cut.end()).filter(|(_, (_, status))| *status != Status::Log);
        let unused: u64 =
            within.map(|(start, (len, _))| (start + len).saturating_sub((*start).max(cut.start))).sum();
        // Of what the records that were read do not speak of yet nothing is known.
        if self.is_whole() && unused != cut.len {
            let detail = format!("space record cuts off {cut:?}, of which {unused} pages are out of use");
            return Err(Error::corrupt(record.page(), detail));
        }
        self.shrink_to(record.pages_after);
        Ok(())
    }

    /// Whether the records in the chain tell of all pages.
    fn is_whole(&self) -> bool {
        self.chain.front().is_some_and(|link| link.starts_round) && self.chain.iter().any(|l| l.ends_round)
    }

    fn add_link(&mut self, own: &[Run], (first, txn): (u64, u64), (starts_round, ends_round): (bool, bool)) {
        self.chain.push_back(ChainLink { runs: own.to_vec(), txn, first, starts_round, ends_round });
        self.has_ended_round |= ends_round;
    }

    fn inside(&self, record: &Record, run: Run) -> Result<()> {
        let low = meta_pages(self.page_size);
        if run.len > 0
            && run.start >= low
            && run.start.checked_add(run.len).is_some_and(|end| end <= record.pages_after)
        {
            return Ok(());
        }
        Err(Error::corrupt(record.page(), format!("space record of txn {} lists {run:?}", record.txn)))
    }

    /// Pages of the file.
    pub fn page_count(&self) -> u64 {
        self.page_count
    }

    /// Pages that can be allocated without growing.
    pub fn free_pages(&self) -> u64 {
        self.free_pages
    }

    /// All extents outside the tree, in order.
    pub fn extents(&self) -> impl Iterator<Item = (Run, Status)> + '_ {
        self.extents.iter().map(|(start, (len, status))| (Run { start: *start, len: *len }, *status))
    }

    /// The runs of the space records themselves, which are used pages.
    pub fn record_runs(&self) -> impl Iterator<Item = Run> + '_ {
        self.chain.iter().flat_map(|link| link.runs.iter().copied())
    }

    // ---- extents ----

    fn insert(&mut self, run: Run, status: Status) {
        match status {
            Status::Free => self.insert_free(run),
            Status::Hole => self.insert_hole(run),
            Status::Pending { .. } => {
                self.extents.insert(run.start, (run.len, status));
                self.unjudged.push(run.start);
            }
            Status::Quarantined | Status::Log => {
                self.extents.insert(run.start, (run.len, status));
            }
        }
    }

    /// Adds free pages that do not touch others.
    fn insert_apart(&mut self, run: Run) {
        self.free_pages += run.len;
        self.extents.insert(run.start, (run.len, Status::Free));
        self.by_len.insert((run.len, run.start));
    }

    fn insert_free(&mut self, mut run: Run) {
        self.free_pages += run.len;
        if let Some((start, (len, Status::Free))) =
            self.extents.range(..run.start).next_back().map(|(s, e)| (*s, *e))
            && start + len == run.start
        {
            self.remove_extent(start);
            run = Run { start, len: len + run.len };
        }
        if let Some((len, Status::Free)) = self.extents.get(&run.end()).copied() {
            self.remove_extent(run.end());
            run.len += len;
        }
        self.extents.insert(run.start, (run.len, Status::Free));
        self.by_len.insert((run.len, run.start));
    }

    fn insert_hole(&mut self, run: Run) {
        self.holes.insert(run);
        let joined = self.holes.around(run.start).expect("it was just added");
        if run.end() < joined.end() {
            self.extents.remove(&run.end());
        }
        // Over the one before, where it has joined that.
        self.extents.insert(joined.start, (joined.len, Status::Hole));
    }

    /// Makes a pending extent a free one; in place where it touches no other free one.
    fn free_pending(&mut self, run: Run) {
        let mut around = self.extents.range_mut(..=run.end()).rev();
        let mut at = around.next();
        let touches_next =
            at.as_ref().is_some_and(|(start, (_, s))| **start == run.end() && *s == Status::Free);
        if at.as_ref().is_some_and(|(start, _)| **start == run.end()) {
            at = around.next();
        }
        let before = around.next();
        let touches_last =
            before.is_some_and(|(start, (len, s))| start + *len == run.start && *s == Status::Free);
        match at {
            Some((_, extent)) if !touches_next && !touches_last => {
                *extent = (run.len, Status::Free);
                self.free_pages += run.len;
                self.by_len.insert((run.len, run.start));
            }
            _ => {
                self.extents.remove(&run.start);
                self.insert_free(run);
            }
        }
    }

    /// Takes an extent out of the maps; `free_pages` is the caller's.
    fn remove_extent(&mut self, start: u64) -> Option<(u64, Status)> {
        let (len, status) = self.extents.remove(&start)?;
        match status {
            Status::Free => assert!(self.by_len.remove(&(len, start)), "a free extent is in by_len"),
            Status::Hole => assert!(self.holes.remove(Run { start, len }), "a hole is in holes"),
            _ => {}
        }
        Some((len, status))
    }

    /// Makes the pages of `run` used, whatever they were.
    pub fn clear(&mut self, run: Run) {
        let first = self.extents.range(..=run.start).next_back().map_or(run.start, |(start, _)| *start);
        let hit: Vec<u64> = self.extents.range(first..run.end()).map(|(start, _)| *start).collect();
        for start in hit {
            let (len, status) = self.extents[&start];
            let end = start + len;
            if end <= run.start {
                continue;
            }
            self.remove_extent(start);
            if status == Status::Free {
                self.free_pages -= len;
            }
            if start < run.start {
                self.insert(Run { start, len: run.start - start }, status);
            }
            if end > run.end() {
                self.insert(Run { start: run.end(), len: end - run.end() }, status);
            }
        }
    }

    // ---- allocation ----

    /// Takes `count` free pages in as few runs as can be: the smallest extent that holds them all,
    /// else the largest ones.
    ///
    /// # Panics
    /// When fewer are free.
    pub fn allocate(&mut self, count: u64) -> Vec<Run> {
        assert!(count <= self.free_pages, "{count} pages wanted, {} free", self.free_pages);
        let mut runs = Vec::new();
        let mut missing = count;
        while missing > 0 {
            let fitting = self.by_len.range((missing, 0)..).next();
            let (len, start) = *fitting.or(self.by_len.last()).expect("free pages are in extents");
            let run = Run { start, len: len.min(missing) };
            self.take(run);
            runs.push(run);
            missing -= run.len;
        }
        runs.sort_unstable();
        runs
    }

    /// Whether `count` contiguous pages are free.
    pub fn has_run(&self, count: u64) -> bool {
        self.by_len.range((count, 0)..).next().is_some()
    }

    /// Takes `count` contiguous pages, if there are such.
    pub fn allocate_run(&mut self, count: u64) -> Option<Run> {
        let (_, start) = *self.by_len.range((count, 0)..).next()?;
        let run = Run { start, len: count };
        self.take(run);
        Some(run)
    }

    /// Takes the beginning of a free extent.
    fn take(&mut self, run: Run) {
        let (len, _) = self.remove_extent(run.start).expect("an extent of by_len");
        self.free_pages -= run.len;
        if len > run.len {
            self.extents.insert(run.end(), (len - run.len, Status::Free));
            self.by_len.insert((len - run.len, run.end()));
        }
    }

    /// Gives back pages that nobody refers to.
    pub fn release(&mut self, run: Run) {
        self.clear(run);
        self.insert_free(run);
    }

    // ---- holes ----

    /// Free pages that can be given back, in runs of at least `least` pages that begin and end at multiples of `unit`:
    /// of the longest extents, at most so many, and only what exceeds `keep` pages.
    pub fn spare(&self, keep: u64, least: u64, unit: u64, at_most: usize) -> Vec<Run> {
        let mut left = self.free_pages.saturating_sub(keep + RECORD_SPARE);
        let mut runs = Vec::new();
        for (len, start) in self.by_len.iter().rev().take_while(|(len, _)| *len >= least).take(at_most) {
            let end = (start + len) / unit * unit;
            // Its end: what stays is at the beginning of the file rather.
            let first = start.next_multiple_of(unit).max(end.saturating_sub(left / unit * unit));
            if end < first + least {
                continue;
            }
            runs.push(Run { start: first, len: end - first });
            left -= end - first;
            left = left.saturating_sub(u64::from((runs.len() as u64).is_multiple_of(RUNS_A_SPARE)));
        }
        runs.sort_unstable();
        runs
    }

    /// Makes holes of free pages. They may be punched when the txn under way is a checkpoint that is on the disk.
    pub fn give_back(&mut self, run: Run) {
        self.clear(run);
        self.insert_hole(run);
        self.given_back.insert(run);
    }

    /// Makes free pages of a part of a hole, which has blocks again: whoever commits this writes all of them.
    pub fn fill(&mut self, run: Run) {
        self.clear(run);
        self.insert_free(run);
        self.filled.insert(run);
    }

    /// The hole in front of page `end` to fill where `count` pages are missing: the first that has so many, or else the
    /// longest that has `least`. None where this txn gives pages back. Costs in proportion to the holes.
    pub fn hole_for(&self, count: u64, least: u64, end: u64) -> Option<Run> {
        if !self.given_back.is_empty() {
            return None;
        }
        let in_front = || {
            let holes = self.holes.iter().take_while(|run| run.start < end);
            holes.map(|run| Run { len: run.end().min(end) - run.start, ..run })
        };
        let longest = || in_front().max_by_key(|run| run.len).filter(|run| run.len >= least);
        in_front().find(|run| run.len >= count).or_else(longest)
    }

    /// Holes from page `from` on, and what the txn under way has filled of some.
    pub fn holes_from(&self, from: u64) -> Vec<Run> {
        let runs = self.holes.iter().chain(self.filled.iter()).filter(|run| run.end() > from);
        runs.map(|run| Run { start: run.start.max(from), len: run.end() - run.start.max(from) }).collect()
    }

    /// Makes a hole of pages that the txn under way had cut off.
    pub fn make_hole(&mut self, run: Run) {
        self.clear(run);
        self.insert_hole(run);
    }

    /// All holes.
    pub fn holes(&self) -> &RunSet {
        &self.holes
    }

    /// What the txn under way gives back.
    pub fn given_back(&self) -> &RunSet {
        &self.given_back
    }

    /// What it has filled.
    pub fn filled(&self) -> &RunSet {
        &self.filled
    }

    /// What it has filled and not put to use.
    pub fn filled_free(&self) -> Vec<Run> {
        self.filled.iter().flat_map(|run| self.free_within(run)).collect()
    }

    /// Pages that checkpoints of this process take; an older one counts less and less.
    pub fn demand(&self) -> u64 {
        self.demand
    }

    /// A checkpoint has taken so many pages.
    pub fn note_demand(&mut self, taken: u64) {
        self.demand = taken.max(self.demand - self.demand / 8);
    }

    /// Another txn is under way from here on.
    pub fn begin(&mut self) {
        (self.given_back, self.filled) = (RunSet::default(), RunSet::default());
    }

    /// The txn is undone; it needs none of the pages that it took any more.
    pub fn undo_holes(&mut self) {
        let (given_back, filled) = (std::mem::take(&mut self.given_back), std::mem::take(&mut self.filled));
        for run in given_back.iter() {
            self.release(run);
        }
        for run in filled.iter() {
            self.clear(run);
            self.insert_hole(run);
        }
    }

    /// Makes pages part of the log, whatever they were.
    pub fn give_to_log(&mut self, run: Run) {
        self.clear(run);
        self.insert(run, Status::Log);
    }

    /// The pages of the log, in order of their numbers.
    pub fn log_runs(&self) -> impl Iterator<Item = Run> + '_ {
        self.extents().filter(|(_, status)| *status == Status::Log).map(|(run, _)| run)
    }

    /// Takes the pages of the log out of it, which is that of the checkpoint of this txn. Returns them, to be given up.
    pub fn drop_log(&mut self, checkpoint: u64) -> Vec<GivenUp> {
        let runs: Vec<Run> = self.log_runs().collect();
        runs.iter().for_each(|run| self.clear(*run));
        runs.into_iter().map(|run| GivenUp { run, birth: checkpoint }).collect()
    }

    /// Takes pages that are neither free nor holes in `other`, or lie behind its end, out of what can be allocated or
    /// filled. Returns them. (What was a hole here has blocks there, and was flushed before it was used.)
    pub fn bar(&mut self, other: Option<&Space>) -> Vec<Run> {
        let mut barred = Vec::new();
        for run in self.free_from(0).into_iter().chain(self.holes.iter()) {
            let shared = other.map_or_else(Vec::new, |other| other.unused_within(run));
            let mut at = run.start;
            for free in shared.into_iter().chain([Run { start: run.end(), len: 0 }]) {
                if at < free.start {
                    barred.push(Run { start: at, len: free.start - at });
                }
                at = free.end();
            }
        }
        barred.iter().for_each(|run| self.clear(*run));
        barred
    }

    /// Adds the pages `from..to`, the new end of the file.
    pub fn grow_to(&mut self, from: u64, to: u64) {
        self.page_count = to;
        if to > from {
            self.insert_free(Run { start: from, len: to - from });
        }
    }

    /// Takes the pages from `page_count` on away again; they must be free.
    pub fn shrink_to(&mut self, page_count: u64) {
        self.clear(Run { start: page_count, len: self.page_count - page_count });
        self.page_count = page_count;
        self.filled.cut(page_count);
        self.given_back.cut(page_count);
        // A round that had come so far ends there.
        self.cursor = self.cursor.min(page_count);
    }

    /// The free pages from `from` on.
    pub fn free_from(&self, from: u64) -> Vec<Run> {
        self.free_within(Run { start: from, len: self.page_count.saturating_sub(from) })
    }

    fn free_within(&self, within: Run) -> Vec<Run> {
        self.within(within, |status| status == Status::Free)
    }

    /// Free pages and holes.
    fn unused_within(&self, within: Run) -> Vec<Run> {
        self.within(within, |status| matches!(status, Status::Free | Status::Hole))
    }

    fn within(&self, within: Run, is_wanted: impl Fn(Status) -> bool) -> Vec<Run> {
        let first = self.extents.range(..=within.start).next_back().map_or(within.start, |(start, _)| *start);
        let wanted = self.extents.range(first..within.end()).filter(|(_, (_, status))| is_wanted(*status));
        wanted
            .filter_map(|(start, (len, _))| {
                let (begin, end) = ((*start).max(within.start), (start + len).min(within.end()));
                (begin < end).then(|| Run { start: begin, len: end - begin })
            })
            .collect()
    }

    /// Bars pages from use until [`Space::end_quarantine`], as far as they are free: another process
    /// may have put them to use since.
    pub fn quarantine(&mut self, runs: &[Run]) {
        for run in runs {
            for free in self.free_within(*run) {
                self.clear(free);
                self.insert(free, Status::Quarantined);
            }
        }
    }

    /// Bars the free pages from a page on, until [`Space::unbar`]. Returns them.
    pub fn bar_from(&mut self, page: u64) -> Vec<Run> {
        let barred = self.free_from(page);
        self.quarantine(&barred);
        barred
    }

    /// Frees pages that were barred.
    pub fn unbar(&mut self, barred: &[Run]) {
        barred.iter().for_each(|run| self.release(*run));
    }

    /// The page behind the last that is neither free nor a hole.
    pub fn used_end(&self) -> u64 {
        let mut end = self.page_count;
        for (start, (len, status)) in self.extents.iter().rev() {
            if start + len < end || !matches!(status, Status::Free | Status::Hole) {
                break;
            }
            end = *start;
        }
        end
    }

    /// Frees quarantined pages.
    pub fn end_quarantine(&mut self) {
        let barred: Vec<Run> =
            self.extents().filter(|(_, status)| *status == Status::Quarantined).map(|(run, _)| run).collect();
        for run in barred {
            self.remove_extent(run.start);
            self.insert_free(run);
        }
    }

    // ---- reclaim ----

    /// Frees the pending pages that no pinned txn needs. `pinned` is ascending. Pages that were given
    /// up after `published` stay: the states since then may still be published, and pinned.
    ///
    /// Costs in proportion to the extents given up since the last call and those that waited for a
    /// txn that is no longer pinned, whose number it returns, and to the pinned txns; what waits for others is not
    /// looked at.
    pub fn reclaim(&mut self, pinned: &[u64], published: u64) -> u64 {
        let gone: Vec<u64> =
            self.waiting.keys().filter(|txn| pinned.binary_search(txn).is_err()).copied().collect();
        let mut starts = std::mem::take(&mut self.unjudged);
        for txn in gone {
            starts.extend(self.waiting.remove(&txn).unwrap_or_default());
        }
        // Neighbours one after the other: a checkpoint frees thousands at once.
        starts.sort_unstable();
        let judged = starts.len() as u64;
        for start in starts {
            let Some((len, Status::Pending { birth, death })) = self.extents.get(&start).copied() else {
                continue;
            };
            if death > published {
                self.unjudged.push(start);
                continue;
            }
            let before_death = pinned.partition_point(|txn| *txn < death);
            match pinned[..before_death].last() {
                Some(txn) if *txn >= birth => self.waiting.entry(*txn).or_default().push(start),
                _ => self.free_pending(Run { start, len }),
            }
        }
        judged
    }

    // ---- records ----

    /// Pages of records that are no longer needed, to be given up by the txn under way; it gives up, or fills from here
    /// on, at most so many runs besides, and takes so many pages.
    pub fn retire_records(&mut self, chunk: Chunk, given: usize, taken: u64) -> Vec<GivenUp> {
        let mut retired = self.end_rounds();
        let listed = (given + retired.len() + self.filled.len() + 2).saturating_add(taken as usize);
        let needed = self.open.len() + FIXED_ROOM + listed.saturating_mul(RUN_ROOM);
        self.takes_over =
            chunk == Chunk::Little && !self.open.is_empty() && needed <= self.page_size - PART_AT;
        if self.takes_over {
            let last = self.chain.back().expect("the link of what is open");
            retired.extend(last.runs.iter().map(|run| GivenUp { run: *run, birth: last.txn }));
        }
        retired
    }

    fn end_rounds(&mut self) -> Vec<GivenUp> {
        if !std::mem::take(&mut self.has_ended_round) {
            return Vec::new();
        }
        let Some(end) = self.chain.iter().rposition(|link| link.ends_round) else { return Vec::new() };
        let Some(start) = self.chain.iter().take(end + 1).rposition(|link| link.starts_round) else {
            return Vec::new();
        };
        let given = |link: ChainLink| {
            link.runs.into_iter().map(move |run| GivenUp { run, birth: link.txn }).collect::<Vec<_>>()
        };
        self.chain.drain(..start).flat_map(given).collect()
    }

    /// Files the pages that `txn` gives up. They are judged at the next [`Space::reclaim`].
    ///
    /// # Errors
    /// `Corrupt` when a page that the tree referred to was not in use: references in the file are wrong.
    pub fn give_up(&mut self, given: &[GivenUp], txn: u64) -> Result<()> {
        for given in given {
            let before = self.extents.range(..given.run.end()).next_back();
            let used = given.run.start >= meta_pages(self.page_size) && given.run.end() <= self.page_count;
            if !used || before.is_some_and(|(start, (len, _))| start + len > given.run.start) {
                let detail = "was given up, but is not in use: a reference to it is wrong";
                return Err(Error::corrupt(given.run.start, detail));
            }
            let status = Status::Pending { birth: given.birth, death: txn };
            self.extents.insert(given.run.start, (given.run.len, status));
            self.unjudged.push(given.run.start);
        }
        Ok(())
    }

    /// Pages that the record of this txn takes, its own run not counted in `taken` yet.
    pub fn record_pages(&self, taken: &RunSet, log: &RunSet, given: &[GivenUp], chunk: Chunk) -> u64 {
        let in_page = self.page_size - PART_AT;
        // Room for the fixed part, the record's own run, and a chunk in proportion.
        let with_rest = |listed: usize| listed + 256 + listed / 2;
        let holes = self.given_back.len() + self.filled.len();
        let listed_at_most = (taken.len() + log.len() + given.len() + holes + 1) * RUN_ROOM;
        let is_small = !self.chain.is_empty() && with_rest(listed_at_most) <= in_page;
        if self.takes_over || (chunk == Chunk::Little && is_small) {
            return 1;
        }
        let mut bytes = Vec::with_capacity(self.page_size);
        put_runs(&mut bytes, taken);
        put_runs(&mut bytes, log);
        put_given(&mut bytes, given, u64::MAX >> 16);
        self.put_holes(&mut bytes);
        let len = with_rest(bytes.len());
        let all = self.extents.len() * EXTENT_ROOM;
        let much = if chunk == Chunk::Much { all.min(MUCH) } else { 0 };
        let whole = if self.chain.is_empty() { all } else { 0 };
        ((len + whole.max(much)).div_ceil(in_page)) as u64
    }

    /// Encodes the record of `txn` into page images for the pages `own`, with numbers and births set. `taken` does not
    /// contain `log`, the runs that became part of the log, and `own` only if others may stand behind this record in its
    /// pages; `give_up` was called.
    pub fn encode_record(
        &mut self,
        txn: u64,
        own: &[Run],
        previous: (u64, u64, u64),
        (taken, log, given): (&RunSet, &RunSet, &[GivenUp]),
        chunk: Chunk,
    ) -> Vec<u8> {
        let pages = own.iter().map(|run| run.len as usize).sum::<usize>();
        let room = pages * (self.page_size - PART_AT);
        // Its length comes first.
        let mut bytes = Vec::with_capacity(2 * LITTLE);
        bytes.extend_from_slice(&[0; 4]);
        let oldest = self.chain.front().map_or(txn, |link| link.first);
        // That before stands in the same page.
        let previous = if self.takes_over { (0, 0, 0) } else { previous };
        for number in [txn, previous.0, previous.1, previous.2, oldest, self.recorded_pages, self.page_count]
        {
            put_varint(&mut bytes, number);
        }
        self.recorded_pages = self.page_count;
        put_runs(&mut bytes, taken);
        put_runs(&mut bytes, log);
        put_given(&mut bytes, given, txn);
        let mut holes = Vec::new();
        self.put_holes(&mut holes);
        let (first, round) = if self.takes_over {
            [self.cursor, self.cursor, 0].iter().for_each(|number| put_varint(&mut bytes, *number));
            let last = self.chain.pop_back().expect("the link of what is open");
            (last.first, (last.starts_round, last.ends_round))
        } else {
            let little = bytes.len() + LITTLE.max(bytes.len() / 2);
            let limit = if chunk == Chunk::Little && !self.chain.is_empty() { little } else { usize::MAX };
            let limit = limit.min((room - 8).saturating_sub(holes.len()));
            let (from, to) = (self.cursor, self.put_chunk(&mut bytes, txn, limit));
            let is_end = to == self.page_count;
            assert!(is_end || !self.chain.is_empty(), "the first record must cover the whole file");
            self.cursor = if is_end { 0 } else { to };
            (txn, (from == 0, is_end))
        };
        bytes.extend_from_slice(&holes);
        self.add_link(own, (first, txn), round);
        self.txn = txn;
        let len = bytes.len() as u32 - 4;
        bytes[..4].copy_from_slice(&len.to_le_bytes());
        if std::mem::take(&mut self.takes_over) {
            bytes.extend_from_slice(&self.open);
        }
        let images = self.paginate(&bytes, own, txn);
        self.open = if chunk == Chunk::Little && pages == 1 { bytes } else { Vec::new() };
        images
    }

    /// What became holes and what was filled of them, where there are any.
    fn put_holes(&self, bytes: &mut Vec<u8>) {
        if !(self.given_back.is_empty() && self.filled.is_empty()) {
            put_runs(bytes, &self.given_back);
            put_runs(bytes, &self.filled);
        }
    }

    /// Writes the state from the cursor on, as far as `limit` bytes reach; returns where it stopped.
    fn put_chunk(&self, bytes: &mut Vec<u8>, txn: u64, limit: usize) -> u64 {
        let mut list = Vec::with_capacity(limit.min(LITTLE));
        let (mut count, mut last, mut to) = (0, self.cursor, self.page_count);
        let room = limit.saturating_sub(bytes.len() + 30);
        // Pages that came free since may have joined an extent across the cursor: what is behind it belongs here.
        let across = self.extents.range(..self.cursor).next_back();
        let across =
            across.map(|(start, (len, status))| (start + len, *status)).filter(|(end, _)| *end > self.cursor);
        let across = across.map(|(end, status)| (self.cursor, end - self.cursor, status));
        let behind = self.extents.range(self.cursor..).map(|(start, (len, status))| (*start, *len, *status));
        for (start, len, status) in across.into_iter().chain(behind) {
            if list.len() + EXTENT_ROOM > room {
                to = start;
                break;
            }
            put_varint(&mut list, start - last);
            match status {
                Status::Pending { birth, death } => {
                    put_varint(&mut list, len << 2 | PENDING);
                    put_varint(&mut list, txn - death);
                    put_varint(&mut list, death - birth);
                }
                Status::Free | Status::Quarantined => put_varint(&mut list, len << 2 | FREE),
                Status::Log => put_varint(&mut list, len << 2 | LOG),
                Status::Hole => put_varint(&mut list, len << 2 | HOLE),
            }
            last = start + len;
            count += 1;
        }
        for number in [self.cursor, to, count] {
            put_varint(bytes, number);
        }
        bytes.extend_from_slice(&list);
        to
    }

    /// The images of the pages `own`, which a record lies in.
    fn paginate(&self, record: &[u8], own: &[Run], txn: u64) -> Vec<u8> {
        let numbers = || own.iter().flat_map(|run| run.start..run.end());
        let count = numbers().count();
        let mut parts = record.chunks(self.page_size - PART_AT);
        let mut pages = vec![0; self.page_size * count];
        let nexts = numbers().skip(1).chain([0]);
        for (i, (page, (number, next))) in
            pages.chunks_mut(self.page_size).zip(numbers().zip(nexts)).enumerate()
        {
            let part = parts.next().unwrap_or(&[]);
            page[HEADER_LEN..PART_AT].copy_from_slice(&next.to_le_bytes());
            page[PART_AT..PART_AT + part.len()].copy_from_slice(part);
            let header = header_mut(page);
            header.kind = PageKind::Space as u8;
            header.table.set(SPACE_ID);
            header.count.set(i.min(usize::from(u16::MAX)) as u16);
            header.page.set(number);
            header.birth.set(txn);
        }
        assert!(parts.next().is_none(), "a record of {} bytes in {count} pages", record.len());
        pages
    }

    /// Asserts the invariants.
    #[cfg(any(test, debug_assertions))]
    pub fn check(&self) {
        let mut free = 0;
        let mut last: Option<(Run, Status)> = None;
        for (run, status) in self.extents() {
            assert!(run.len > 0 && run.end() <= self.page_count, "{run:?} {status:?} of {}", self.page_count);
            if let Some((before, before_status)) = last {
                assert!(before.end() <= run.start, "{before:?} overlaps {run:?}");
                let is_joined = before_status == status && matches!(status, Status::Free | Status::Hole);
                assert!(!is_joined || before.end() < run.start, "{before:?} touches {run:?}");
            }
            if status == Status::Free {
                free += run.len;
                assert!(self.by_len.contains(&(run.len, run.start)), "{run:?} is not in by_len");
            }
            last = Some((run, status));
        }
        let holes = self.extents().filter(|(_, status)| *status == Status::Hole).map(|(run, _)| run);
        assert!(holes.eq(self.holes.iter()), "holes are the holes");
        assert_eq!(free, self.free_pages);
        assert_eq!(self.by_len.iter().map(|(len, _)| len).sum::<u64>(), free);
    }
}

/// Sorts and joins neighbours of the same birth, so that records stay short.
///
/// # Errors
/// `Corrupt` when a page was given up twice: it had two references.
pub fn join_given(mut given: Vec<GivenUp>) -> Result<Vec<GivenUp>> {
    given.sort_unstable();
    let mut joined: Vec<GivenUp> = Vec::with_capacity(given.len());
    for next in given {
        match joined.last_mut() {
            Some(last) if last.run.end() > next.run.start => {
                return Err(Error::corrupt(next.run.start, "the tree refers to it twice"));
            }
            Some(last) if last.birth == next.birth && last.run.end() == next.run.start => {
                last.run.len += next.run.len;
            }
            _ => joined.push(next),
        }
    }
    Ok(joined)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn space(pages: u64) -> Space {
        let mut space = Space::empty(4096);
        space.grow_to(2, pages);
        space
    }

    fn given(start: u64, len: u64, birth: u64) -> GivenUp {
        GivenUp { run: Run { start, len }, birth }
    }

    #[test]
    fn allocation_takes_the_smallest_run_that_fits_and_else_the_largest() {
        let mut space = space(100);
        let all = space.allocate(98);
        assert_eq!(all, [Run { start: 2, len: 98 }]);
        for (start, len) in [(10, 4), (20, 8), (40, 6)] {
            space.release(Run { start, len });
        }
        assert_eq!(space.allocate(5), [Run { start: 40, len: 5 }]);
        assert_eq!(space.allocate(10), [Run { start: 10, len: 2 }, Run { start: 20, len: 8 }]);
        space.check();
    }

    #[test]
    fn a_pending_page_waits_exactly_for_the_snapshots_that_can_see_it() {
        let mut space = space(100);
        space.allocate(98);
        space.give_up(&[given(10, 1, 5), given(11, 1, 7), given(12, 1, 9)], 9).unwrap();
        space.reclaim(&[6], 8);
        assert_eq!(space.free_pages(), 0, "the state of txn 8 may still be published");
        space.reclaim(&[6], 9);
        assert_eq!(space.free_pages(), 2, "the page born at 5 is seen at 6, the others are not");
        space.reclaim(&[6, 20], 20);
        assert_eq!(space.free_pages(), 2);
        space.reclaim(&[20], 20);
        assert_eq!(space.free_pages(), 3);
        space.check();
    }

    /// The pages of records, by number.
    #[derive(Default)]
    struct Written(std::collections::HashMap<u64, Vec<u8>>);

    impl PageSource for Written {
        fn page(&self, page: u64, _: u64) -> Result<&[u8]> {
            self.0.get(&page).map(|bytes| &bytes[..]).ok_or_else(|| Error::corrupt(page, "never written"))
        }

        fn overflow(&self, run: &crate::format::OverflowRef) -> Result<&[u8]> {
            Err(Error::corrupt(run.page, "there is none"))
        }
    }

    /// One page changed by a logged txn behind `last`, or by a checkpoint. Returns the state behind it.
    fn commit_one(
        space: &mut Space,
        written: &mut Written,
        last: State,
        used: &mut GivenUp,
        is_logged: bool,
    ) -> State {
        commit_with(space, written, last, (used, &[]), (is_logged, false))
    }

    /// The same, with others given up; some checkpoints cut off the free end, if it `cuts`.
    fn commit_with(
        space: &mut Space,
        written: &mut Written,
        last: State,
        (used, others): (&mut GivenUp, &[GivenUp]),
        (is_logged, cuts): (bool, bool),
    ) -> State {
        let chunk = if is_logged { Chunk::Little } else { Chunk::Much };
        let txn = last.txn + 1;
        let filled = space.filled().len();
        assert!(filled <= 1, "a small txn fills one hole");
        let mut given = vec![*used];
        given.extend(others);
        given.extend(space.retire_records(chunk, 1, 1));
        let given = join_given(given).unwrap();
        let mut taken = RunSet::default();
        let pages = space.record_pages(&taken, &taken, &given, chunk);
        let (page, own) = (space.allocate(1)[0], space.allocate(pages));
        taken.insert(page);
        if is_logged {
            own.iter().for_each(|run| taken.insert(*run));
        }
        space.give_up(&given, txn).unwrap();
        if cuts && !is_logged && txn.is_multiple_of(70) {
            let end = space.used_end();
            space.shrink_to(end);
        }
        let log = RunSet::default();
        let images = space.encode_record(txn, &own, last.space, (&taken, &log, &given), chunk);
        let numbers = own.iter().flat_map(|run| run.start..run.end());
        numbers
            .zip(images.chunks(4096))
            .for_each(|(page, bytes)| drop(written.0.insert(page, bytes.to_vec())));
        *used = GivenUp { run: page, birth: txn };
        State { txn, page_count: space.page_count(), space: (own[0].start, txn, pages), ..last }
    }

    #[test]
    fn views_of_any_age_catch_up_with_records_that_share_pages() {
        let (mut space, mut written) = (space(2000), Written::default());
        space.recorded_pages = 2000;
        let mut used = GivenUp { run: space.allocate(1)[0], birth: 1 };
        let mut state = State::from_words(&[0; crate::shared::STATE_WORDS]);
        let is_logged = |txn: u64| !txn.is_multiple_of(300);
        state = commit_one(&mut space, &mut written, state, &mut used, false);
        let mut late: Vec<(u64, Space)> = Vec::new();
        let mut pages = Vec::new();
        for txn in 2..1000 {
            state = commit_one(&mut space, &mut written, state, &mut used, is_logged(txn));
            pages.push(space.record_runs().map(|run| run.len).sum::<u64>());
            let seen: Vec<_> = space.extents().collect();
            for (age, view) in &mut late {
                if txn.is_multiple_of(*age) {
                    view.catch_up(&written, &state).unwrap();
                    let (free, all) =
                        (view.free_pages(), view.extents().map(|(run, _)| run.len).sum::<u64>());
                    assert!(free <= space.free_pages(), "txn {txn}, every {age}");
                    assert_eq!(all, seen.iter().map(|(run, _)| run.len).sum(), "txn {txn}, every {age}");
                    assert!(view.record_runs().eq(space.record_runs()), "txn {txn}, every {age}");
                    view.reclaim(&[], txn);
                }
            }
            if txn == 17 {
                late =
                    [1, 2, 7, 90, 400].map(|age| (age, Space::load(&written, &state, 4096).unwrap())).into();
            }
            let loaded = Space::load(&written, &state, 4096).unwrap();
            assert!(loaded.record_runs().eq(space.record_runs()), "txn {txn}");
            space.reclaim(&[], txn);
            space.check();
        }
        assert!(pages.iter().max() < Some(&40), "a page for some dozens of txns: {pages:?}");
    }

    /// What 400 commits of one page cost: extents judged, runs given up, pages of records. Before them 300 txns are
    /// pinned, and so many pages are pending, far from each other, for each of them.
    fn cost_beside(pending_each: u64, is_logged: bool) -> [u64; 3] {
        let (pins, mut written) = ((1..=300).collect::<Vec<u64>>(), Written::default());
        let mut space = space(400_000);
        space.recorded_pages = 400_000;
        let mut used = GivenUp { run: space.allocate(300_000)[0], birth: 301 };
        used.run.len = 1;
        let mut page = 10;
        for death in 2..=301 {
            let gone: Vec<GivenUp> = (0..pending_each).map(|i| given(page + 2 * i, 1, death - 1)).collect();
            page += 2 * pending_each;
            space.give_up(&gone, death).unwrap();
            assert_eq!(space.reclaim(&pins, death), pending_each);
        }
        let words = [0; crate::shared::STATE_WORDS];
        let mut state = State { txn: 301, ..State::from_words(&words) };
        state = commit_one(&mut space, &mut written, state, &mut used, false);
        space.reclaim(&pins, state.txn);
        let mut cost = [0; 3];
        for _ in 0..400 {
            state = commit_one(&mut space, &mut written, state, &mut used, is_logged);
            cost[0] += space.reclaim(&pins, state.txn);
            let record = Record::read(&written, state.space, 4096).unwrap();
            cost[1] += record[0].given.len() as u64;
            cost[2] += state.space.2;
        }
        let is_pending =
            |(_, status): &(Run, Status)| matches!(status, Status::Pending { birth, .. } if *birth <= 300);
        assert_eq!(space.extents().filter(is_pending).count() as u64, 300 * pending_each);
        space.check();
        cost
    }

    #[test]
    fn a_commit_costs_the_same_whatever_the_number_of_pending_pages() {
        let [none, many] = [0, 340].map(|pending_each| cost_beside(pending_each, true));
        assert!(many[0] <= none[0] && none[0] <= 2 * 400, "{none:?} and {many:?}");
        assert!(many[1] <= none[1] && many[2] == none[2], "{none:?} and {many:?}");
        // A checkpoint behind logged txns says so much more, however many there are.
        let [none, many] = [0, 340].map(|pending_each| cost_beside(pending_each, false));
        assert!(many[0] <= none[0] && many[1] <= none[1], "{none:?} and {many:?}");
        let limit = (MUCH / 4096 + 2) as u64 * 400;
        assert!(none[2] == 400 && many[2] <= limit, "{none:?} and {many:?}");
    }

    #[test]
    fn holes_are_in_the_records_as_they_are_in_every_view() {
        let (mut space, mut written) = (space(3000), Written::default());
        space.recorded_pages = 3000;
        let mut used = GivenUp { run: space.allocate(1)[0], birth: 1 };
        let mut state = State::from_words(&[0; crate::shared::STATE_WORDS]);
        state = commit_one(&mut space, &mut written, state, &mut used, false);
        let (mut late, mut ends) = (Space::load(&written, &state, 4096).unwrap(), BTreeSet::new());
        for txn in 2..600u64 {
            let is_logged = !txn.is_multiple_of(7);
            space.begin();
            if space.free_pages() < 40 || txn.is_multiple_of(5) {
                // A part of one of them, where it begins.
                let hole = space.hole_for(16, 1, u64::MAX);
                hole.into_iter()
                    .for_each(|hole| space.fill(Run { len: hole.len.min(16 + txn % 64), ..hole }));
            }
            if !is_logged {
                let spare = space.spare(20 + txn * 37 % 2500, 16, 16, 1 + txn as usize % 5);
                spare.into_iter().for_each(|run| space.give_back(run));
            }
            state = commit_one(&mut space, &mut written, state, &mut used, is_logged);
            space.reclaim(&[], txn);
            space.check();
            let mut views = vec![Space::load(&written, &state, 4096).unwrap()];
            if txn.is_multiple_of(11) {
                late.catch_up(&written, &state).unwrap();
                views.push(std::mem::replace(&mut late, Space::empty(4096)));
            }
            for mut view in views {
                view.reclaim(&[], txn);
                view.check();
                assert!(view.extents().eq(space.extents()), "txn {txn}");
                assert_eq!(view.free_pages(), space.free_pages());
                late = view;
            }
            ends.insert(space.holes().iter().map(|run| run.len).sum::<u64>());
        }
        assert!(ends.len() > 50 && ends.last() > Some(&2000), "{ends:?}");
    }

    #[test]
    fn a_txn_that_is_undone_has_filled_and_given_back_nothing() {
        let mut space = space(500);
        space.allocate(100);
        space.give_back(Run { start: 112, len: 64 });
        space.give_back(Run { start: 176, len: 16 });
        assert_eq!(space.hole_for(1, 1, u64::MAX), None, "who gives back does not fill");
        space.begin();
        assert_eq!(
            (space.hole_for(80, 1, u64::MAX), space.hole_for(81, 81, u64::MAX)),
            (Some(Run { start: 112, len: 80 }), None)
        );
        let before: Vec<_> = space.extents().collect();
        space.fill(Run { start: 112, len: 32 });
        let taken = space.allocate(3);
        space.give_back(Run { start: 400, len: 16 });
        taken.into_iter().for_each(|run| space.release(run));
        space.undo_holes();
        space.check();
        assert!(space.extents().eq(before), "as it was");
        assert!(space.given_back().is_empty() && space.filled().is_empty());
    }

    #[test]
    fn what_is_spare_begins_and_ends_at_units_and_leaves_what_is_to_be_kept() {
        let mut space = space(1000);
        space.allocate(998);
        for (start, len) in [(10, 100), (200, 300), (600, 20), (700, 70)] {
            space.release(Run { start, len });
        }
        let spare = |keep, least, at_most| space.spare(keep, least, 16, at_most);
        let all = [(16, 80), (208, 288), (704, 64)].map(|(start, len)| Run { start, len });
        assert_eq!((spare(0, 64, 9), spare(0, 65, 9)), (all.to_vec(), all[..2].to_vec()));
        assert_eq!(spare(0, 16, 9), all, "there is no unit in that of 20 pages");
        assert_eq!(spare(0, 64, 1), [Run { start: 208, len: 288 }]);
        let kept = spare(300, 16, 9);
        assert_eq!(kept, [Run { start: 336, len: 160 }], "the end of the longest");
        assert!(spare(490, 1, 9).is_empty());
    }

    #[test]
    fn a_record_whose_lists_of_holes_overlap_makes_a_view_that_is_whole() {
        let mut space = space(500);
        space.recorded_pages = 500;
        space.fill(Run { start: 20, len: 40 });
        space.given_back.insert(Run { start: 30, len: 100 });
        let mut written = Written::default();
        let mut used = GivenUp { run: space.allocate(1)[0], birth: 1 };
        let state = State::from_words(&[0; crate::shared::STATE_WORDS]);
        let state = commit_one(&mut space, &mut written, state, &mut used, false);
        Space::load(&written, &state, 4096).unwrap().check();
    }

    #[test]
    fn views_of_any_age_follow_when_pages_are_cut_off_and_added() {
        let (mut space, mut written) = (space(2000), Written::default());
        space.recorded_pages = 2000;
        // Scattered, so that a round takes many records.
        let mut others: Vec<GivenUp> = (0..900).map(|i| given(2 + 2 * i, 1, 1)).collect();
        others.iter().for_each(|given| space.clear(given.run));
        let mut used = GivenUp { run: space.allocate(1)[0], birth: 1 };
        let mut state = State::from_words(&[0; crate::shared::STATE_WORDS]);
        state = commit_one(&mut space, &mut written, state, &mut used, false);
        let mut late: Vec<(u64, Space)> =
            [1, 2, 7, 90].map(|age| (age, Space::load(&written, &state, 4096).unwrap())).into();
        let mut cuts = 0;
        for txn in 2..1500u64 {
            let before = space.page_count();
            if txn % 70 == 3 {
                space.grow_to(before, before + 100);
            }
            let last = others.len() - usize::from(txn.is_multiple_of(3));
            let (logged, gone) = (!txn.is_multiple_of(10), others.split_off(last));
            state = commit_with(&mut space, &mut written, state, (&mut used, &gone), (logged, true));
            cuts += u64::from(space.page_count() < before);
            let unused = |space: &Space| space.extents().map(|(run, _)| run.len).sum::<u64>();
            let loaded = Space::load(&written, &state, 4096).unwrap();
            assert!(loaded.record_runs().eq(space.record_runs()), "txn {txn}");
            for (age, view) in late.iter_mut().filter(|(age, _)| txn.is_multiple_of(*age)) {
                view.catch_up(&written, &state).unwrap();
                assert_eq!(view.page_count(), space.page_count(), "txn {txn}, every {age}");
                assert!(view.record_runs().eq(space.record_runs()), "txn {txn}, every {age}");
                assert!(unused(view) <= unused(&space), "txn {txn}, every {age}");
                view.reclaim(&[], txn);
                view.check();
            }
            space.reclaim(&[], txn);
            space.check();
        }
        assert!(cuts > 10, "{cuts}");
    }

    #[test]
    fn a_record_that_cuts_off_pages_in_use_is_refused() {
        for (is_used, is_log) in [(false, false), (true, false), (false, true)] {
            let (mut space, mut written) = (space(200), Written::default());
            space.recorded_pages = 200;
            let mut used = GivenUp { run: space.allocate(1)[0], birth: 1 };
            if is_used {
                space.clear(Run { start: 199, len: 1 });
            }
            if is_log {
                space.give_to_log(Run { start: 196, len: 4 });
            }
            let zero = State::from_words(&[0; crate::shared::STATE_WORDS]);
            let before = commit_one(&mut space, &mut written, zero, &mut used, false);
            let mut view = Space::load(&written, &before, 4096).unwrap();
            // As damage, or somebody who means harm, would have it.
            space.shrink_to(100);
            let after = commit_one(&mut space, &mut written, before, &mut used, true);
            let followed = view.catch_up(&written, &after);
            let loaded = Space::load(&written, &after, 4096);
            match is_used || is_log {
                true => {
                    assert!(matches!(followed, Err(Error::Corrupt { .. })), "{followed:?}");
                    assert!(matches!(loaded, Err(Error::Corrupt { .. })));
                }
                false => assert!(followed.is_ok() && loaded.is_ok_and(|space| space.page_count() == 100)),
            }
        }
    }

    #[test]
    fn damaged_record_bytes_never_panic() {
        let mut space = space(500);
        space.allocate(300);
        space.give_up(&[given(50, 3, 1), given(60, 1, 2)], 3).unwrap();
        space.fill(Run { start: 350, len: 5 });
        space.give_back(Run { start: 400, len: 64 });
        let mut taken = RunSet::default();
        taken.insert(Run { start: 4, len: 2 });
        let pages = space.encode_record(
            3,
            &[Run { start: 100, len: 1 }],
            (0, 0, 0),
            (&taken, &RunSet::default(), &[given(50, 3, 1), given(60, 1, 2)]),
            Chunk::Page,
        );
        let framed = &pages[PART_AT..];
        assert!(Record::parse(framed).is_some());
        for i in 0..200 {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut damaged = framed.to_vec();
                damaged[i] = value;
                let _ = Record::parse(&damaged);
            }
        }
    }
}

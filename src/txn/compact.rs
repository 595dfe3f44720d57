//! Compacting: moving what lies at the end of the file to free pages in front, in steps, until the file can be shorter.
//!
//! Owns: [`Budget`], [`Compacted`], [`Course`], and the step: one write txn, which changes no contents and commits as a
//! checkpoint. Promises: a step costs what its budget says, whatever the size of the store; snapshots stay what they
//! are, and what one of them holds for long is not copied in vain. Leaves to others: which pages of a tree move
//! ([`crate::tree::relocate`]), the new log and the shorter state ([`crate::commit`]), cutting the file ([`crate::store`]).
//!
//! A *pass* has a goal: the pages in use, and some to spare. It walks once over all trees, as far as their branches, and
//! moves what lies behind the goal; then what comes round by itself, space records and pages that the last
//! checkpoint holds, is waited for with commits of nothing else. A pass that moved nothing, or after which the store is no shorter, is the
//! last.

use super::WriteTxn;
use crate::catalog::listed_table;
use crate::error::Result;
use crate::named;
use crate::options::Durability;
use crate::shared::State;
use crate::space::Status;
use crate::store::Store;
use crate::tree::cursor::{Cursor, Place as Start};
use crate::tree::insert;
use crate::tree::relocate::{Place, Relocation};
use crate::tree::search::resolve;
use std::sync::Arc;
use std::time::{Duration, Instant};
use zerocopy::IntoBytes;

/// Pages that one txn moves, at most.
const STEP: u64 = 1024;
/// So many commits that move nothing are worth waiting for what comes round.
const MAX_IDLE: u32 = 5;
/// So many passes may move something without making the store shorter: what one has moved makes room for the next. More do
/// not help where others write as much.
const MAX_IN_VAIN: u32 = 3;

/// How much one call of [`Database::compact`](crate::Database::compact) may do.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    pages: u64,
    time: Option<Duration>,
}

impl Budget {
    /// So many pages are moved; for each of them the branches above it may be copied, and up to 16 pages are looked at.
    pub fn pages(pages: u64) -> Self {
        Budget { pages, time: None }
    }

    /// No step is begun, and no page moved, when so much time has passed. The commit under way is finished.
    pub fn time(time: Duration) -> Self {
        Budget { pages: u64::MAX, time: Some(time) }
    }

    /// Until nothing is left to do.
    pub fn unlimited() -> Self {
        Budget { pages: u64::MAX, time: None }
    }
}

/// What [`Database::compact`](crate::Database::compact) has done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Compacted {
    /// Pages that were moved.
    pub moved_pages: u64,
    /// Txns that were committed for it.
    pub steps: u64,
    /// Pages of the store now.
    pub page_count: u64,
    /// The pages that the store can do with, as far as is known: what this pass leads to.
    pub goal: u64,
    /// Pages in use behind the goal when this pass began: what there was to move.
    pub pages_behind: u64,
    /// Bytes by which the file is shorter now.
    pub freed_bytes: u64,
    /// Whether there is nothing left to do now.
    pub is_done: bool,
    /// Where that is so although the file is longer than what is in use: the newest txn that a snapshot holds for long.
    /// [`Database::readers`](crate::Database::readers) and [`Database::snapshots`](crate::Database::snapshots) say whose
    /// it is. When it has ended, more can be done.
    pub held_by: Option<u64>,
}

/// How far compacting has come, between steps.
#[derive(Default)]
pub struct Course {
    pass: Option<Pass>,
    /// So many passes in a row have not made the store shorter.
    in_vain: u32,
    /// The txns that were pinned at the last step.
    pinned: Option<Vec<u64>>,
}

/// One walk over all trees.
struct Pass {
    /// What lies from here on is to move.
    goal: u64,
    /// Pages of the store when it began, and those in use behind the goal.
    before: u64,
    behind: u64,
    /// Where the walk goes on; `None`: it is over.
    at: Option<At>,
    moved: u64,
    idle: u32,
}

/// Where the walk goes on.
#[derive(Clone, PartialEq, Eq)]
enum At {
    /// In the first table whose name is not below this; from a place on, if it has this very name.
    Table(Vec<u8>, Option<Place>),
    Catalog(Option<Place>),
    Snapshots(Option<Place>),
}

/// What a step has done.
struct Step {
    moved: u64,
    /// Bytes by which the file became shorter.
    freed: u64,
    has_committed: bool,
    is_done: bool,
    goal: u64,
    held_by: Option<u64>,
}

/// Compacts as long as the budget allows.
pub(crate) fn compact(store: &Arc<Store>, course: &mut Course, budget: Budget) -> Result<Compacted> {
    let deadline = budget.time.and_then(|time| Instant::now().checked_add(time));
    let mut done = Compacted::default();
    loop {
        let limit = (budget.pages - done.moved_pages).clamp(1, STEP);
        let step = step(store, course, limit, deadline)?;
        done.moved_pages = done.moved_pages.saturating_add(step.moved);
        done.freed_bytes += step.freed;
        done.steps += u64::from(step.has_committed);
        done.page_count = store.readers.head().page_count;
        (done.goal, done.is_done) = (step.goal, step.is_done);
        done.pages_behind = course.pass.as_ref().map_or(done.pages_behind, |pass| pass.behind);
        done.held_by = step.held_by.filter(|_| step.is_done);
        let is_late = deadline.is_some_and(|deadline| Instant::now() >= deadline);
        if step.is_done || is_late || done.moved_pages >= budget.pages {
            return Ok(done);
        }
        // Others who wait for the turn are to have it now.
        std::thread::sleep(Duration::from_micros(50));
    }
}

/// A store of this many pages is not worth a pass towards `goal`.
fn slack(goal: u64) -> u64 {
    goal + (goal / 64).max(16)
}

fn step(store: &Arc<Store>, course: &mut Course, limit: u64, deadline: Option<Instant>) -> Result<Step> {
    let mut txn = WriteTxn::begin_waiting(store)?;
    let freed = store.shorten()?;
    let lasting = lasting(&txn, course)?;
    let held = lasting.last().copied().unwrap_or(0);
    let page_count = txn.dirty.base.page_count;
    let so_far = |goal| Step { moved: 0, freed, has_committed: false, is_done: false, held_by: None, goal };
    let pass = match &mut course.pass {
        Some(pass) => pass,
        None => {
            let goal = txn.goal(&lasting);
            if page_count <= slack(goal) {
                return Ok(Step { is_done: true, held_by: txn.held_by(&lasting), ..so_far(goal) });
            }
            let at = Some(At::Table(Vec::new(), None));
            let behind = txn.used_behind(goal);
            course.pass.insert(Pass { goal, before: page_count, behind, at, moved: 0, idle: 0 })
        }
    };
    let goal = pass.goal;
    let mut part = Relocation { tail: goal, held, limit, deadline, moved: 0, looked: 0 };
    let end = txn.dirty.set_tail(goal);
    let before = pass.at.clone();
    if let Some(at) = pass.at.take() {
        pass.at = txn.walk(&mut part, at)?;
    }
    pass.moved += part.moved;
    let has_come_on = part.moved > 0 || end < page_count || pass.at != before;
    pass.idle = if has_come_on { 0 } else { pass.idle + 1 };
    if pass.at.is_none() || part.moved > 0 || !has_come_on {
        if pass.idle <= MAX_IDLE && (part.moved > 0 || end < page_count || txn.waits(&lasting, goal)) {
            txn.shorten_snapshots(end)?;
            txn.set_durability(Durability::Ordered);
            txn.commit()?;
            return Ok(Step { moved: part.moved, has_committed: true, ..so_far(goal) });
        }
        // The pass is over. Others may have deleted much since it began.
        course.in_vain = if page_count < pass.before { 0 } else { course.in_vain + 1 };
        let is_in_vain = pass.moved == 0 || course.in_vain >= MAX_IN_VAIN;
        let is_done = is_in_vain && goal <= slack(txn.goal(&lasting));
        let held_by = if is_done { txn.held_by(&lasting) } else { None };
        course.pass = None;
        course.in_vain *= u32::from(!is_done);
        return Ok(Step { is_done, held_by, ..so_far(goal) });
    }
    Ok(so_far(goal))
}

/// The txns of snapshots that are held for long, ascending: of those that are stored, and of those that were pinned at
/// the step before already. (Before the first step: those of older states.) The others will be gone soon.
fn lasting(txn: &WriteTxn, course: &mut Course) -> Result<Vec<u64>> {
    let readers = &txn.dirty.store.readers;
    readers.reap()?;
    let pinned = readers.pinned()?;
    let newest = txn.dirty.base.txn;
    let is_old = |txn: &u64| match &course.pinned {
        Some(before) => before.binary_search(txn).is_ok(),
        None => *txn < newest,
    };
    let mut lasting: Vec<u64> =
        pinned.iter().copied().filter(is_old).chain(txn.dirty.stored.iter().copied()).collect();
    lasting.sort_unstable();
    course.pinned = Some(pinned);
    Ok(lasting)
}

/// Whether pages that were born and given up so are held by one of these txns.
fn is_held(lasting: &[u64], birth: u64, death: u64) -> bool {
    lasting.partition_point(|txn| *txn < birth) < lasting.partition_point(|txn| *txn < death)
}

impl WriteTxn {
    /// The pages that the store can do with: what is in use or held for long, a log that fits, and some to spare.
    fn goal(&self, lasting: &[u64]) -> u64 {
        let (dirty, mut used, mut log) = (&self.dirty, self.dirty.base.page_count, 0);
        for (run, status) in dirty.space.extents() {
            match status {
                Status::Free | Status::Hole | Status::Quarantined => used -= run.len,
                Status::Pending { birth, death } if !is_held(lasting, birth, death) => used -= run.len,
                Status::Pending { .. } => {}
                Status::Log => log += run.len,
            }
        }
        let spare = (used / 64).clamp(16, 1024);
        let rest = used - log + spare;
        let limit =
            dirty.store.log_limit(&State { page_count: rest, ..dirty.base }) / dirty.page_size() as u64;
        rest + log.min(limit)
    }

    /// Pages in use from a page on.
    fn used_behind(&self, page: u64) -> u64 {
        let space = &self.dirty.space;
        let unused = space.extents().map(|(run, _)| run.end().saturating_sub(run.start.max(page)));
        space.page_count().saturating_sub(page + unused.sum::<u64>())
    }

    /// The newest of these txns, if without them the store could do with less.
    fn held_by(&self, lasting: &[u64]) -> Option<u64> {
        lasting.last().copied().filter(|_| self.dirty.base.page_count > slack(self.goal(&[])))
    }

    /// Whether something lies behind the goal that comes away by itself, with more commits.
    fn waits(&self, lasting: &[u64], goal: u64) -> bool {
        let space = &self.dirty.space;
        let is_behind = |status: Status| match status {
            Status::Pending { birth, death } => !is_held(lasting, birth, death),
            Status::Log => true,
            Status::Free | Status::Hole | Status::Quarantined => false,
        };
        space.record_runs().any(|run| run.end() > goal)
            || space.extents().any(|(run, status)| run.end() > goal && is_behind(status))
    }

    /// No stored snapshot has more pages than the state that lists it: what is cut off none of them needs, or it would not be
    /// free.
    fn shorten_snapshots(&mut self, end: u64) -> Result<()> {
        let (base, page_size) = (self.dirty.base, self.dirty.page_size());
        for (name, mut record) in named::list(&self.dirty, &base, page_size)? {
            if record.page_count.get() > end {
                record.page_count.set(end);
                let mut named = self.named;
                self.change(|dirty, _, _| {
                    insert::put(dirty, &mut named, name.as_bytes(), record.as_bytes(), true)
                })?;
                self.named = named;
            }
        }
        Ok(())
    }

    /// Walks on over the trees. Returns where it has stopped, if it has.
    fn walk(&mut self, part: &mut Relocation, mut at: At) -> Result<Option<At>> {
        loop {
            if part.looked > 0 && part.is_over(&self.dirty) {
                return Ok(Some(at));
            }
            at = match at {
                At::Table(from, place) => match self.walk_table(part, &from, place)? {
                    Some(next) => next,
                    None => At::Catalog(None),
                },
                At::Catalog(place) => {
                    let stopped =
                        self.change(|dirty, _, catalog| part.run(dirty, catalog, place.as_ref()))?;
                    stopped.map_or(At::Snapshots(None), |place| At::Catalog(Some(place)))
                }
                At::Snapshots(place) => {
                    let mut named = self.named;
                    let stopped = self.change(|dirty, _, _| part.run(dirty, &mut named, place.as_ref()))?;
                    self.named = named;
                    match stopped {
                        Some(place) => At::Snapshots(Some(place)),
                        None => return Ok(None),
                    }
                }
            }
        }
    }

    /// Walks on in a table. Returns where to go on, unless there is none.
    fn walk_table(&mut self, part: &mut Relocation, from: &[u8], place: Option<Place>) -> Result<Option<At>> {
        let (dirty, catalog) = (&self.dirty, &self.catalog);
        let Some((name, stored)) = Cursor::new(dirty, catalog, Start::AtLeast(from))?.next()? else {
            return Ok(None);
        };
        let (name, _, mut tree) = listed_table(name, resolve(dirty, stored)?, dirty.page_size())?;
        let place = place.filter(|_| name.as_bytes() == from);
        let (root, mut stopped) = (tree.root, None);
        part.looked += 1;
        self.change(|dirty, _, _| {
            stopped = part.run(dirty, &mut tree, place.as_ref())?;
            Ok(())
        })?;
        if tree.root != root {
            let index = self.open_raw(&name)?;
            self.tables.to_mut()[index].tree = tree;
        }
        let mut next = name.into_bytes();
        if stopped.is_none() {
            // The first name behind it.
            next.push(0);
        }
        Ok(Some(At::Table(next, stopped)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Config;
    use crate::store::Wait;
    use crate::table::Table;
    use crate::txn::ReadTxn;

    const BLOBS: Table<u64, [u8]> = Table::new("blobs");

    fn put(store: &Arc<Store>, keys: std::ops::Range<u64>) {
        let mut w = WriteTxn::begin(store, Wait::Forever).unwrap().expect("waits");
        keys.for_each(|key| assert!(w.put(BLOBS, &key, &[key as u8; 1500]).is_ok()));
        w.commit().unwrap();
    }

    /// A page number that is wrong, in a damaged page or in the lock file, leads nowhere then.
    #[test]
    fn a_process_forgets_what_another_has_cut_off() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("two.maple");
        let a = Store::open_apart(&path, &Config::default()).unwrap();
        let b = Store::open_apart(&path, &Config::default()).unwrap();
        put(&a, 0..1000);
        let len = ReadTxn::begin(Arc::clone(&b)).unwrap().state().page_count * 4096;
        assert!(b.pages.disk.bytes(len - 4096, 4096).is_some());
        let mut w = WriteTxn::begin(&a, Wait::Forever).unwrap().expect("waits");
        w.delete_range(BLOBS, ..990).unwrap();
        w.commit().unwrap();
        let done = compact(&a, &mut Course::default(), Budget::unlimited()).unwrap();
        assert!(done.is_done && done.freed_bytes > len / 2, "{done:?}");
        let r = ReadTxn::begin(Arc::clone(&b)).unwrap();
        assert_eq!(r.len(BLOBS).unwrap(), 10);
        assert!(b.pages.disk.bytes(len - 4096, 4096).is_none(), "it is behind the end of the file");
        assert!(b.pages.disk.bytes(r.state().page_count * 4096 - 4096, 4096).is_some());
        drop(r);
        put(&b, 0..1000);
        assert_eq!(ReadTxn::begin(a).unwrap().len(BLOBS).unwrap(), 1000);
    }
}

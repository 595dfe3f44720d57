//! Judging a whole store: every page, and that every page is exactly one thing.
//!
//! Owns: [`VerifyReport`], [`Stats`], and the walk that both come from. It only reads, with system calls, goes on
//! after damage, and works on a live store, as of one snapshot.

use crate::catalog::{TableInfo, catalog_tree, listed_table};
use crate::copies::{Copies, Kept, is_unreadable};
use crate::create::{problems_of, slots_in};
use crate::error::{Error, Result};
use crate::format::{Schema, SnapshotRecord, header, meta_pages};
use crate::named;
use crate::page::{LeafView, Stored};
use crate::shared::State;
use crate::snapshot::check_page;
use crate::space::{Run, Space, Status};
use crate::store::Store;
use crate::tree::Tree;
pub use crate::tree::check::{Behind, LevelStats, Problem};
use crate::tree::check::{Findings, check_tree};
use std::cmp::Reverse;

/// How often what looks damaged is read again.
const SECOND_LOOKS: usize = 5;

/// How far a verification has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Progress {
    /// Pages judged.
    pub pages: u64,
    /// Pages of the file.
    pub page_count: u64,
}

/// What a verification found.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct VerifyReport {
    /// The txn whose state was judged.
    pub txn: u64,
    /// Pages of the file.
    pub page_count: u64,
    /// Number of tables.
    pub tables: u64,
    /// Number of entries in all of them.
    pub entries: u64,
    /// Everything that is not as it must be; at most 100,000.
    pub problems: Vec<Problem>,
    /// How many problems there are beyond those.
    pub omitted: u64,
}

impl VerifyReport {
    /// Whether nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.problems.is_empty()
    }
}

/// What a store consists of, as of one snapshot. Everything was counted, page by page.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Stats {
    /// The snapshot's txn.
    pub txn: u64,
    /// The txn of the last checkpoint; later ones are in the log.
    pub checkpoint: u64,
    /// Random bytes given at creation.
    pub store_id: [u8; 16],
    /// Bytes of a page.
    pub page_size: u64,
    /// Pages of the file, those of the meta slots included.
    pub page_count: u64,
    /// Pages that can be allocated.
    pub free_pages: u64,
    /// Free pages whose blocks were given back to the system. They are given new ones before they are allocated.
    pub hole_pages: u64,
    /// Pages given up by some txn; free as soon as no snapshot needs them. Who needs how many of them is said by
    /// [`Database::readers`](crate::Database::readers), [`Database::snapshots`](crate::Database::snapshots), and
    /// the next two numbers.
    pub pending_pages: u64,
    /// Those of them that the last checkpoint needs. Snapshots may need them too.
    pub pending_for_checkpoint: u64,
    /// Those of them that nobody needs: the next writer takes them for free.
    pub pending_for_nobody: u64,
    /// Pages of the redo log.
    pub log_pages: u64,
    /// Pages of space records.
    pub space_pages: u64,
    /// Pages of the catalog.
    pub catalog_pages: u64,
    /// Pages of the list of stored snapshots. What only the snapshots see is among the pending pages.
    pub snapshots_pages: u64,
    /// The application's own number.
    pub user_version: u64,
    /// Txns that are pinned by open snapshots, in any process.
    pub pinned_txns: Vec<u64>,
    /// What is wrong with either meta slot, if anything is.
    pub meta_problems: Vec<String>,
    /// The tables.
    pub tables: Vec<TableStats>,
}

/// What a table consists of.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct TableStats {
    /// What the catalog says.
    pub info: TableInfo,
    /// What is on each level, leaves first.
    pub levels: Vec<LevelStats>,
    /// In a multimap: what is on each level of the trees of its larger sets of values, all together.
    pub set_levels: Vec<LevelStats>,
}

impl TableStats {
    /// Number of levels, the leaves included; 0 in an empty table.
    pub fn depth(&self) -> usize {
        self.levels.len()
    }

    /// Pages of the tree and, in a multimap, of its sets' trees, all levels together; without those of large values
    /// ([`TableInfo::overflow_pages`]).
    pub fn pages(&self) -> u64 {
        self.all_levels().pages
    }

    /// How full those pages are, from 0 to 1.
    pub fn fill(&self, page_size: u64) -> f64 {
        self.all_levels().fill(page_size)
    }

    fn all_levels(&self) -> LevelStats {
        let levels = self.levels.iter().chain(&self.set_levels);
        levels.fold(LevelStats::default(), |sum, level| LevelStats {
            pages: sum.pages + level.pages,
            entries: sum.entries + level.entries,
            used_bytes: sum.used_bytes + level.used_bytes,
        })
    }
}

/// Judges everything that a pinned state refers to, and the meta slots.
pub(crate) fn verify(
    store: &Store,
    state: &State,
    progress: &mut dyn FnMut(Progress),
) -> Result<VerifyReport> {
    let page_count = state.page_count;
    let mut on_pages = |pages| progress(Progress { pages, page_count });
    let mut findings = Findings::new(page_count, &mut on_pages);
    for problem in meta_problems(store) {
        findings.report(None, problem);
    }
    if let Err(error) = look_again(|| log_problem(store)) {
        findings.report_error(None, error);
    }
    let walk = walk(&copies(store, state), state, &mut findings, true);
    Ok(VerifyReport {
        txn: state.txn,
        page_count,
        tables: walk.tables.len() as u64,
        entries: walk.tables.iter().fold(0, |sum: u64, table| sum.saturating_add(table.info.len)),
        problems: findings.problems,
        omitted: findings.omitted,
    })
}

fn copies<'s>(store: &'s Store, state: &State) -> Copies<'s> {
    let Store { pages, .. } = store;
    Copies { disk: &pages.disk, page_size: pages.page_size, page_count: state.page_count, mapped: None }
}

/// Counts everything that a pinned state refers to.
pub(crate) fn stats(store: &Store, state: &State) -> Result<Stats> {
    let mut ignore = |_| {};
    let mut findings = Findings::new(state.page_count, &mut ignore);
    let walk = walk(&copies(store, state), state, &mut findings, false);
    if let Some(problem) = findings.problems.first() {
        return Err(Error::corrupt(problem.page.unwrap_or(0), problem.detail.clone()));
    }
    let (pinned_txns, checkpoint) = (store.readers.pinned()?, store.checkpoint()?.0.txn.get());
    let mut kept = [&pinned_txns[..], &walk.stored].concat();
    kept.sort_unstable();
    let (mut pending_for_checkpoint, mut pending_for_nobody) = (0, 0);
    for (run, status) in walk.space.iter().flat_map(Space::extents) {
        let Status::Pending { birth, death } = status else { continue };
        let newest = kept[..kept.partition_point(|txn| *txn < death)].last();
        if (birth..death).contains(&checkpoint) {
            pending_for_checkpoint += run.len;
        } else if newest.is_none_or(|txn| *txn < birth) {
            pending_for_nobody += run.len;
        }
    }
    Ok(Stats {
        txn: state.txn,
        checkpoint,
        store_id: store.store_id(),
        page_size: store.pages.page_size as u64,
        page_count: state.page_count,
        free_pages: walk.free,
        hole_pages: walk.holes,
        pending_pages: walk.pending,
        pending_for_checkpoint,
        pending_for_nobody,
        log_pages: walk.log,
        space_pages: walk.space_pages,
        catalog_pages: walk.catalog.iter().map(|level| level.pages).sum(),
        snapshots_pages: walk.snapshots_pages,
        user_version: state.user_version,
        pinned_txns,
        meta_problems: meta_problems(store),
        tables: walk.tables,
    })
}

/// What is just being written may look like damage: it is damage if it stays so.
fn look_again<T, E>(look: impl Fn() -> Result<T, E>) -> Result<T, E> {
    let mut found = look();
    for _ in 0..SECOND_LOOKS {
        if found.is_ok() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
        found = look();
    }
    found
}

fn meta_problems(store: &Store) -> Vec<String> {
    let look = || match problems_of(&slots_in(&store.pages.disk)) {
        problems if problems.is_empty() => Ok(()),
        problems => Err(problems),
    };
    look_again(look).err().unwrap_or_default()
}

/// The log can be read, up to what is known to be on the disk.
fn log_problem(store: &Store) -> Result<()> {
    let (log, (durable, _)) = (store.log()?, store.readers.durable());
    let records = log.records(&store.pages.disk)?;
    records.check()?;
    let last = records.found().last().map_or(log.checkpoint, |record| record.txn);
    if last < durable {
        let detail = format!("the log ends at txn {last}, but txn {durable} was on the disk");
        return Err(Error::corrupt(log.extents().first().map_or(0, |extent| extent.0), detail));
    }
    Ok(())
}

struct Walk {
    tables: Vec<TableStats>,
    catalog: Vec<LevelStats>,
    free: u64,
    holes: u64,
    pending: u64,
    log: u64,
    space_pages: u64,
    snapshots_pages: u64,
    space: Option<Space>,
    /// The txns of the stored snapshots.
    stored: Vec<u64>,
}

/// Walks over everything that a state refers to and marks each page once; with `all`, also over what the stored snapshots
/// refer to, each for itself.
fn walk(copies: &Copies<'_>, state: &State, findings: &mut Findings<'_>, all: bool) -> Walk {
    let mut walk = Walk {
        tables: Vec::new(),
        catalog: Vec::new(),
        free: 0,
        holes: 0,
        pending: 0,
        log: 0,
        space_pages: 0,
        snapshots_pages: 0,
        space: None,
        stored: Vec::new(),
    };
    let all = all && state.snapshots.page != 0;
    if all {
        findings.remember();
    }
    findings.mark(0, meta_pages(copies.page_size), "the meta area");
    let mut listed = Vec::new();
    let mut list = |leaf: &LeafView<'_>| listed.extend((0..leaf.count()).map(|i| table_in(copies, leaf, i)));
    walk.catalog = check_tree(copies, &catalog_tree(state, copies.page_size), findings, &mut list).0;
    for table in listed {
        match table {
            Ok((name, schema, tree)) => {
                findings.table = Some(name.clone());
                let (levels, set_levels) = check_tree(copies, &tree, findings, &mut |_| {});
                walk.tables.push(TableStats {
                    info: TableInfo::new(name, schema, &tree),
                    levels,
                    set_levels,
                });
                findings.table = None;
            }
            Err(error) => findings.report_error(None, error),
        }
    }
    let mut snapshots = Vec::new();
    let mut list = |leaf: &LeafView<'_>| {
        snapshots.extend((0..leaf.count()).map(|i| snapshot_in(copies, leaf, i, state)))
    };
    let tree = named::snapshots_tree(state, copies.page_size);
    walk.snapshots_pages =
        check_tree(copies, &tree, findings, &mut list).0.iter().map(|level| level.pages).sum();
    let space = match Space::load(&Kept::new(*copies), state, copies.page_size) {
        Ok(space) => {
            for run in space.record_runs() {
                walk.space_pages += run.len;
                findings.mark(run.start, run.len, "a space record");
            }
            for (run, status) in space.extents() {
                count(&mut walk, run, status);
                findings.mark(run.start, run.len, word_for(status));
            }
            Some(space)
        }
        Err(error) => {
            findings.report_error(None, error);
            None
        }
    };
    // The newest first: what it needs, and an older one has too, that one needs as well.
    snapshots.sort_by_key(|listed| Reverse(listed.as_ref().map_or(0, |(_, record)| record.txn.get())));
    for snapshot in snapshots {
        walk.stored.extend(snapshot.as_ref().map(|(_, record)| record.txn.get()));
        match snapshot {
            Ok((name, record)) if all => {
                let mut ignore = |_| {};
                let mut own = findings.of_other(record.page_count.get(), &mut ignore);
                judge_snapshot(copies, &record, space.as_ref(), &mut own);
                findings.add_other(own, &format!("in the snapshot {name:?}"));
            }
            Ok(_) => {}
            Err(error) => findings.report_error(None, error),
        }
    }
    match findings.problems.is_empty() {
        true => report_lost(findings),
        false => judge_unreached(copies, findings),
    }
    walk.space = space;
    walk
}

/// Walks over what a stored snapshot refers to; none of it may have been given to others.
fn judge_snapshot(
    copies: &Copies<'_>,
    record: &SnapshotRecord,
    space: Option<&Space>,
    findings: &mut Findings<'_>,
) {
    let state = named::state_of(record);
    let mut listed = Vec::new();
    let mut list = |leaf: &LeafView<'_>| listed.extend((0..leaf.count()).map(|i| table_in(copies, leaf, i)));
    check_tree(copies, &catalog_tree(&state, copies.page_size), findings, &mut list);
    for table in listed {
        match table {
            Ok((name, _, tree)) => {
                findings.table = Some(name);
                if tree.root.birth > state.txn {
                    let detail =
                        format!("txn {} cannot refer to a page of txn {}", state.txn, tree.root.birth);
                    findings.report(Some(tree.root.page), detail);
                }
                check_tree(copies, &tree, findings, &mut |_| {});
                findings.table = None;
            }
            Err(error) => findings.report_error(None, error),
        }
    }
    let Some(space) = space else { return };
    let is_kept = |status: Status| match status {
        Status::Pending { birth, death } => (birth..death).contains(&state.txn),
        _ => false,
    };
    let others = space.extents().filter(|(_, status)| !is_kept(*status));
    let others = others.map(|(run, status)| (run, word_for(status)));
    for (run, what) in others.chain(space.record_runs().map(|run| (run, "a space record"))) {
        if let Some(page) = (run.start..run.end()).find(|page| findings.is_marked(*page)) {
            findings.report(Some(page), format!("is needed, and is {what}"));
        }
    }
}

/// What entry `i` of a leaf of the list of snapshots says.
fn snapshot_in(
    copies: &Copies<'_>,
    leaf: &LeafView<'_>,
    i: usize,
    state: &State,
) -> Result<(String, SnapshotRecord)> {
    let (name, stored) = leaf.entry(i)?;
    match stored {
        Stored::Inline(record) => named::listed_snapshot(name, record, state),
        Stored::Overflow(run) => named::listed_snapshot(name, &copies.value(&run)?, state),
        Stored::Set(set) => Err(Error::corrupt(set.root.page, "a set of values in the list of snapshots")),
    }
}

/// What entry `i` of a leaf of the catalog says.
fn table_in(copies: &Copies<'_>, leaf: &LeafView<'_>, i: usize) -> Result<(String, Schema, Tree)> {
    let (name, stored) = leaf.entry(i)?;
    match stored {
        Stored::Inline(record) => listed_table(name, record, copies.page_size),
        Stored::Overflow(run) => listed_table(name, &copies.value(&run)?, copies.page_size),
        Stored::Set(set) => Err(Error::corrupt(set.root.page, "a set of values in the catalog")),
    }
}

/// Pages that nothing refers to in a store where all else is right.
fn report_lost(findings: &mut Findings<'_>) {
    for page in findings.unmarked() {
        findings.report(Some(page), "neither reachable nor free nor pending".into());
    }
}

/// Pages that were not come by: behind those that are damaged there may be more.
fn judge_unreached(copies: &Copies<'_>, findings: &mut Findings<'_>) {
    let unreached = findings.unmarked();
    for page in &unreached {
        match copies.raw(*page) {
            Err(error) if is_unreadable(&error) => findings.report_error(Some(*page), error),
            Ok(bytes) if header(&bytes).page.get() == *page => {
                if let Err(error) = check_page(&bytes, *page) {
                    findings.report_error(Some(*page), error);
                }
            }
            _ => {}
        }
    }
    if !unreached.is_empty() {
        let detail = match unreached.len() {
            1 => "1 page could not be reached: nothing whole refers to it".into(),
            count => format!("{count} pages could not be reached: nothing whole refers to them"),
        };
        findings.report(None, detail);
    }
}

fn word_for(status: Status) -> &'static str {
    match status {
        Status::Free | Status::Quarantined => "free",
        Status::Hole => "a hole",
        Status::Pending { .. } => "pending",
        Status::Log => "the log",
    }
}

fn count(walk: &mut Walk, run: Run, status: Status) {
    match status {
        Status::Pending { .. } => walk.pending += run.len,
        Status::Free | Status::Quarantined => walk.free += run.len,
        Status::Log => walk.log += run.len,
        Status::Hole => walk.holes += run.len,
    }
}

/// After every commit in debug builds, for stores of up to 4096 pages (beyond, every 256th): reachable +
/// free + pending = all pages, once each; and the writer's view is the one in the file.
#[cfg(debug_assertions)]
pub(crate) fn assert_accounting(store: &Store, state: &State, space: &Space) {
    space.check();
    if state.page_count > 4096 && !state.txn.is_multiple_of(256) {
        return;
    }
    let mut ignore = |_| {};
    let mut findings = Findings::new(state.page_count, &mut ignore);
    let copies = Copies { mapped: Some(&store.pages), ..copies(store, state) };
    walk(&copies, state, &mut findings, true);
    if findings.unreadable {
        return;
    }
    assert!(findings.problems.is_empty(), "after txn {}: {:#?}", state.txn, findings.problems);
    let Ok(stored) = Space::load(&Kept::new(copies), state, copies.page_size) else { return };
    let unused = |space: &Space| space.extents().map(|(run, _)| run.len).sum::<u64>();
    assert_eq!(unused(&stored), unused(space), "the file and the writer disagree about unused pages");
    assert!(stored.holes().iter().eq(space.holes().iter()), "the file and the writer disagree about holes");
}

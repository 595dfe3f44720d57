//! Who pins what.
//!
//! Owns: the lists of snapshots that are held, in all processes, and of those that are stored, with what each of them costs.

use crate::error::Result;
use crate::format::SnapshotRecord;
use crate::named::{self, SnapshotInfo};
use crate::readers;
use crate::shared::{Pinned, State};
use crate::space::{Space, Status};
use crate::store::{Snapshot, Store};
use std::time::Duration;

/// A snapshot that somebody holds.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Reader {
    /// The txn that it shows.
    pub txn: u64,
    /// Since when it is held; good to a few milliseconds.
    pub age: Duration,
    /// Pages that are out of use otherwise and kept because this snapshot sees them; others may see them too.
    pub pages_retained: u64,
    /// Those of them that nobody else sees: what would come free if it ended.
    pub pages_alone: u64,
    /// The snapshot's label ([`ReadTxn::set_label`](crate::ReadTxn::set_label)), or else that of its process
    /// ([`Options::label`](crate::Options::label)).
    pub label: String,
    /// The process, as it knows itself: for display only, and of no meaning in another pid namespace.
    pub pid: u32,
    /// Whether whoever held it is dead, so that [`Database::reap`](crate::Database::reap) frees it.
    pub is_dead: bool,
}

/// A snapshot that is stored under a name, with what it costs.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct StoredSnapshot {
    /// Its name, and what it shows.
    pub info: SnapshotInfo,
    /// Pages that are out of use otherwise and kept because this snapshot sees them; others may see them too.
    pub pages_retained: u64,
    /// Those of them that nobody else sees: what would come free if it were dropped.
    pub pages_alone: u64,
}

/// The snapshots that were `found`, oldest txn first. `state` is pinned by the caller.
///
/// # Errors
/// `Io`; `Corrupt` when the space records are damaged.
pub fn list(store: &Store, state: &State, mut found: Vec<(Pinned, bool)>) -> Result<Vec<Reader>> {
    // The checkpoint needs its pages too, but is nobody's.
    let costs = Costs::of(store, state, &found, store.readers.checkpoint().map(|(txn, _)| txn))?;
    let now = readers::now();
    found.sort_by_key(|(pinned, _)| (pinned.txn, pinned.since));
    let reader = |(pinned, is_dead): (Pinned, bool)| {
        let (pages_retained, pages_alone) = costs.of_txn(pinned.txn);
        Reader {
            txn: pinned.txn,
            age: Duration::from_millis(now.saturating_sub(pinned.since)),
            pages_retained,
            pages_alone,
            label: pinned.label,
            pid: pinned.pid,
            is_dead,
        }
    };
    Ok(found.into_iter().map(reader).collect())
}

/// The stored snapshots, in order of their names, beside those that were `found`. `state` is pinned by the caller, which
/// is not among these.
///
/// # Errors
/// As for [`list`].
pub fn stored(store: &Store, state: &State, found: &[(Pinned, bool)]) -> Result<Vec<StoredSnapshot>> {
    // Without the checkpoint: dropping a snapshot makes another.
    let costs = Costs::of(store, state, found, None)?;
    let source = Snapshot { pages: &store.pages, page_count: state.page_count };
    let listed = named::list(&source, state, store.pages.page_size)?.into_iter();
    let snapshot = |(name, record): (String, SnapshotRecord)| {
        let (pages_retained, pages_alone) = costs.of_txn(record.txn.get());
        StoredSnapshot { info: SnapshotInfo::new(name, &record), pages_retained, pages_alone }
    };
    Ok(listed.map(snapshot).collect())
}

/// What everyone costs who needs an older state.
struct Costs {
    /// Of every one of them the txn, ascending.
    txns: Vec<u64>,
    /// Of each the pages that it keeps, and those that only it keeps.
    retained: Vec<(u64, u64)>,
}

impl Costs {
    fn of(store: &Store, state: &State, found: &[(Pinned, bool)], other: Option<u64>) -> Result<Self> {
        let source = Snapshot { pages: &store.pages, page_count: state.page_count };
        let mut txns: Vec<u64> = found.iter().map(|(pinned, _)| pinned.txn).collect();
        let stored = named::list(&source, state, store.pages.page_size)?;
        txns.extend(stored.iter().map(|(_, record)| record.txn.get()));
        txns.extend(other);
        txns.sort_unstable();
        let retained = retained(store, state, &txns)?;
        Ok(Costs { txns, retained })
    }

    fn of_txn(&self, txn: u64) -> (u64, u64) {
        self.retained[self.txns.partition_point(|other| *other < txn)]
    }
}

/// For each of these txns, ascending: the pages that it keeps, and those that only it keeps.
fn retained(store: &Store, state: &State, txns: &[u64]) -> Result<Vec<(u64, u64)>> {
    let source = Snapshot { pages: &store.pages, page_count: state.page_count };
    let space = Space::load(&source, state, store.pages.page_size)?;
    let mut retained = vec![(0, 0); txns.len()];
    for (run, status) in space.extents() {
        let Status::Pending { birth, death } = status else { continue };
        let seen_by = txns.partition_point(|txn| *txn < birth)..txns.partition_point(|txn| *txn < death);
        if let [only] = &mut retained[seen_by.clone()] {
            only.1 += run.len;
        }
        retained[seen_by].iter_mut().for_each(|(all, _)| *all += run.len);
    }
    Ok(retained)
}

#[cfg(test)]
mod exact;

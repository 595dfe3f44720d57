//! Who pins what.
//!
//! Owns: the list of snapshots that are held, in all processes, with what each of them costs.

use crate::error::Result;
use crate::named;
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

/// The snapshots that were `found`, oldest txn first. `state` is pinned by the caller.
///
/// # Errors
/// `Io`; `Corrupt` when the space records are damaged.
pub fn list(store: &Store, state: &State, mut found: Vec<(Pinned, bool)>) -> Result<Vec<Reader>> {
    let source = Snapshot { pages: &store.pages, page_count: state.page_count };
    let stored = named::txns(&source, state, store.pages.page_size)?;
    let now = readers::now();
    found.sort_by_key(|(pinned, _)| (pinned.txn, pinned.since));
    let mut txns: Vec<u64> = found.iter().map(|(pinned, _)| pinned.txn).collect();
    // The checkpoint and the stored snapshots need their pages too, but are nobody's.
    txns.extend(store.readers.checkpoint().map(|(txn, _)| txn));
    txns.extend(stored);
    txns.sort_unstable();
    let retained = retained(store, state, &txns)?;
    let reader = |(pinned, is_dead): (Pinned, bool)| {
        let at = txns.partition_point(|txn| *txn < pinned.txn);
        let (all, alone) = retained[at];
        Reader {
            txn: pinned.txn,
            age: Duration::from_millis(now.saturating_sub(pinned.since)),
            pages_retained: all,
            pages_alone: alone,
            label: pinned.label,
            pid: pinned.pid,
            is_dead,
        }
    };
    Ok(found.into_iter().map(reader).collect())
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

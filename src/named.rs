//! The table of stored snapshots: states that have a name and stay until they are dropped.
//!
//! Owns: reading its entries. Its key is a snapshot's name, its value a [`SnapshotRecord`]; the meta slot has its root,
//! beside that of the catalog: a state cannot name itself, so the list is not part of what it lists. Only checkpoints
//! change it, because the redo log repeats contents and not pages. Promises: what it says of a state can be the case;
//! the newest list says which states' pages stay. Leaves to others: changing it ([`crate::commit`],
//! [`crate::txn`]), keeping the pages ([`crate::space`]).

use crate::error::{Error, Result};
use crate::format::{ChildRef, SNAPSHOTS_ID, Schema, SnapshotRecord};
use crate::log::Tail;
use crate::shared::State;
use crate::tree::cursor::{Cursor, Place};
use crate::tree::search::SourceObject;
use crate::tree::{Tree, search};
use std::collections::BTreeMap;

/// What a txn does to snapshots, by name: makes one, at this time, or drops it.
pub type Changes = BTreeMap<String, Option<u64>>;

/// A stored snapshot: see [`WriteTxn::create_snapshot`](crate::WriteTxn::create_snapshot).
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct SnapshotInfo {
    /// Its name.
    pub name: String,
    /// The txn whose state it is.
    pub txn_id: u64,
    /// When it was made, in seconds since 1970, by the clock of whoever made it.
    pub created: u64,
    /// Number of tables.
    pub tables: u64,
    /// The application's own number at that time.
    pub user_version: u64,
}

impl SnapshotInfo {
    pub(crate) fn new(name: String, record: &SnapshotRecord) -> Self {
        SnapshotInfo {
            name,
            txn_id: record.txn.get(),
            created: record.created.get(),
            tables: record.catalog_count.get(),
            user_version: record.user_version.get(),
        }
    }
}

/// The table of stored snapshots as a tree of this state.
pub fn snapshots_tree(state: &State, page_size: usize) -> Tree {
    Tree {
        root: state.snapshots,
        level: state.snapshots_level,
        ..Tree::empty(SNAPSHOTS_ID, Schema::bytes().layout(page_size))
    }
}

/// The entry of a state that is to have a name. It has its final length whatever the state says.
pub fn record_of(state: &State, created: u64) -> SnapshotRecord {
    SnapshotRecord {
        txn: state.txn.into(),
        created: created.into(),
        page_count: state.page_count.into(),
        catalog_page: state.catalog.page.into(),
        catalog_birth: state.catalog.birth.into(),
        catalog_count: state.catalog.count.into(),
        user_version: state.user_version.into(),
        next_table: state.next_table.into(),
        catalog_level: state.catalog_level,
        reserved: [0; 3],
    }
}

/// The state that an entry tells of, for reading.
pub fn state_of(record: &SnapshotRecord) -> State {
    State {
        txn: record.txn.get(),
        page_count: record.page_count.get(),
        catalog: record.catalog(),
        catalog_level: record.catalog_level,
        next_table: record.next_table.get(),
        space: (0, 0, 0),
        user_version: record.user_version.get(),
        log: Tail::default(),
        held: 0,
        snapshots: ChildRef::default(),
        snapshots_level: 0,
    }
}

/// All stored snapshots of a state, in order of their names.
///
/// # Errors
/// `Corrupt`.
pub fn list(
    source: &SourceObject<'_>,
    state: &State,
    page_size: usize,
) -> Result<Vec<(String, SnapshotRecord)>> {
    let tree = snapshots_tree(state, page_size);
    let mut listed = Vec::new();
    let mut cursor = Cursor::new(source, &tree, Place::Start)?;
    while let Some((name, stored)) = cursor.next()? {
        let found = listed_snapshot(name, search::resolve(source, stored)?, state)?;
        if listed.last().is_some_and(|(last, _)| *last >= found.0) {
            return Err(Error::corrupt(tree.root.page, "the snapshots' names are not in order"));
        }
        listed.push(found);
    }
    Ok(listed)
}

/// The snapshot that an entry speaks of.
///
/// # Errors
/// `Corrupt`.
pub fn listed_snapshot(name: &[u8], record: &[u8], state: &State) -> Result<(String, SnapshotRecord)> {
    let fail = |detail: String| Error::corrupt(state.snapshots.page, detail);
    let name = std::str::from_utf8(name).map_err(|_| fail("a snapshot's name is not UTF-8".into()))?;
    let record = SnapshotRecord::parse(record, state.txn, state.page_count).map_err(fail)?;
    Ok((name.to_owned(), record))
}

/// The entry of a name.
///
/// # Errors
/// `Corrupt`.
pub fn find(
    source: &SourceObject<'_>,
    state: &State,
    page_size: usize,
    name: &str,
) -> Result<Option<SnapshotRecord>> {
    let tree = snapshots_tree(state, page_size);
    let Some(stored) = search::find(source, &tree, name.as_bytes())? else { return Ok(None) };
    listed_snapshot(name.as_bytes(), search::resolve(source, stored)?, state).map(|(_, record)| Some(record))
}

/// The txns whose pages stay because of the snapshots of a state, ascending, each once.
///
/// # Errors
/// `Corrupt`: nothing may be reused then.
pub fn txns(source: &SourceObject<'_>, state: &State, page_size: usize) -> Result<Vec<u64>> {
    let listed = list(source, state, page_size)?;
    let mut txns: Vec<u64> = listed.iter().map(|(_, record)| record.txn.get()).collect();
    txns.sort_unstable();
    txns.dedup();
    Ok(txns)
}

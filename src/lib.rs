#![deny(unsafe_code)]
#![doc = include_str!("../README.md")]
//!
//! # Where to look
//! [`Database`] opens a store, [`ReadTxn`] and [`WriteTxn`] work on it, [`Table`] names and types a
//! table, [`codec`] says byte for byte how values are stored.

#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
compile_error!("mapleaf needs 64-bit Linux: it relies on OFD locks and a large address space");

// Each layer imports only those before it; tests/layers.rs keeps that true.
mod error;
mod chunks;
mod format;
mod descriptor;
mod map;
mod page;
mod fork;
mod lock;
mod counters;
mod disk;
mod log;
mod snapshot;
mod copies;
mod shared;
mod readers;
mod space;
mod write_back;
mod redo;
mod sort;
mod options;
mod arena;
mod create;
mod settled;
mod lineage;
mod session;
mod store;
mod heritage;
mod group;
mod dirty;
mod tree;
mod named;
mod commit;
mod catalog;
mod recover;
mod verify;
mod describe;
pub mod codec;
mod table;
mod multi;
mod diff;
mod txn;
mod batch;
mod handover;
mod pins;
mod inspect;
mod backup;
#[cfg(feature = "async")]
mod listen;
mod database;
mod unfinished;
mod rewrite;
mod salvage;
pub mod cookbook;
#[cfg(any(fuzzing, test))]
pub mod fuzzing;

pub use backup::restore::{Restore, RestoreReport};
pub use backup::{Backup, BackupInfo, BackupReport};
pub use catalog::TableInfo;
pub use codec::Prefix;
pub use counters::Counters;
pub use database::{Database, Options};
pub use describe::{Field, PageDump};
pub use diff::{Change, Diff, MultiDiff, PairChange, TableChange};
pub use disk::{FileUsage, Observer, Op, Verdict};
pub use error::{Error, Result};
pub use format::Schema;
pub use group::Ticket;
pub use inspect::{PageDetail, PageRef, PageRun, PageUse, TreeItems, TreePage, TreeValue};
#[cfg(feature = "async")]
pub use listen::NextCommit;
pub use map::CachedBytes;
#[cfg(feature = "derive")]
pub use mapleaf_derive::{Key, Value};
pub use multi::{Groups, MultiTable, MultiView, Pairs, Values};
pub use named::SnapshotInfo;
pub use options::Durability;
pub use pins::{Reader, StoredSnapshot};
pub use salvage::{BadPage, LostRange, LostValue, Salvage, SalvageReport, SalvagedTable};
pub use snapshot::{Advice, Verify};
pub use sort::Duplicates;
pub use table::cursor::Cursor;
pub use table::{KeyValue, Keys, Range, Table, TableView, ValueReader};
pub use txn::bulk::BulkOptions;
pub use txn::compact::{Budget, Compacted};
pub use txn::convert::NewEntries;
pub use txn::cursor::CursorMut;
pub use txn::entry::Entry;
pub use txn::migrate::Migration;
pub use txn::nested::Nested;
pub use txn::removed::{ExtractIf, Removed};
pub use txn::trim::Trimmed;
pub use txn::{ReadTxn, Savepoint, WriteTxn};
pub use verify::{Behind, LevelStats, Problem, Progress, Stats, TableStats, VerifyReport};

/// The crate whose traits values read in place need ([`codec::Pod`], [`codec::Value`]).
pub use zerocopy;
/// Its programs run with the doctests.
#[cfg(doctest)]
#[doc = include_str!("../docs/side-by-side.md")]
mod side_by_side {}
#[cfg(doctest)]
#[doc = include_str!("../docs/migration.md")]
mod migration {}

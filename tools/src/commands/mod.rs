//! One file per command: its arguments and its work.

pub mod backup;
pub mod bench;
pub mod checkpoint;
pub mod completions;
pub mod copy;
pub mod del;
pub mod diff;
pub mod dump;
pub mod export;
pub mod get;
pub mod import;
pub mod load;
pub mod man;
pub mod map;
pub mod page;
pub mod put;
pub mod readers;
pub mod restore;
pub mod salvage;
pub mod scan;
pub mod shell;
pub mod snapshot;
pub mod stat;
pub mod tables;
pub mod verify;
pub mod watch;

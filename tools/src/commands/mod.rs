//! One file per command: its arguments and its work.

pub mod backup;
pub mod checkpoint;
pub mod del;
pub mod diff;
pub mod dump;
pub mod get;
pub mod load;
pub mod page;
pub mod put;
pub mod readers;
pub mod restore;
pub mod salvage;
pub mod scan;
pub mod snapshot;
pub mod stat;
pub mod tables;
pub mod verify;

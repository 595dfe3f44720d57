//! The stores that durable commits are measured on, behind one trait.

mod lmdb;
mod mapleaf;
#[cfg(feature = "redb")]
mod redb;
#[cfg(feature = "rocksdb")]
mod rocksdb;
#[cfg(feature = "sqlite")]
mod sqlite;

use crate::Pair;
use clap::ValueEnum;
use std::path::Path;

/// One thread's handle to an open store.
pub trait Engine: Send {
    /// Puts all of `pairs` in one txn, which is on the disk when this returns.
    fn commit(&self, pairs: &[Pair]);

    /// The same beside other threads that do it, in the way that the store offers for that.
    fn commit_beside_others(&self, pairs: &[Pair]) {
        self.commit(pairs);
    }

    fn get(&self, key: &[u8]) -> Option<Vec<u8>>;

    /// A handle to the same store for another thread.
    fn another(&self) -> Box<dyn Engine>;

    /// Waits for the work that the store does in the background.
    fn settle(&self) {}
}

/// Which store.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    Mapleaf,
    Lmdb,
    #[cfg(feature = "redb")]
    Redb,
    #[cfg(feature = "sqlite")]
    Sqlite,
    #[cfg(feature = "rocksdb")]
    Rocksdb,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::Mapleaf => "mapleaf",
            Kind::Lmdb => "lmdb",
            #[cfg(feature = "redb")]
            Kind::Redb => "redb",
            #[cfg(feature = "sqlite")]
            Kind::Sqlite => "sqlite",
            #[cfg(feature = "rocksdb")]
            Kind::Rocksdb => "rocksdb",
        }
    }

    /// Opens the store whose files lie in `directory`, creating it where there is none.
    pub fn open(self, directory: &Path) -> Box<dyn Engine> {
        match self {
            Kind::Mapleaf => Box::new(mapleaf::Mapleaf::open(directory)),
            Kind::Lmdb => Box::new(lmdb::Lmdb::open(directory)),
            #[cfg(feature = "redb")]
            Kind::Redb => Box::new(redb::Redb::open(directory)),
            #[cfg(feature = "sqlite")]
            Kind::Sqlite => Box::new(sqlite::Sqlite::open(directory)),
            #[cfg(feature = "rocksdb")]
            Kind::Rocksdb => Box::new(rocksdb::Rocksdb::open(directory)),
        }
    }
}

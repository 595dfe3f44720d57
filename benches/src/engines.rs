//! Every store behind one small trait. A call does a whole batch of work in a loop inside the engine's own
//! file, so that what is measured is the store as its own users would call it: one snapshot for many gets,
//! one cursor for a scan, no value copied unless the store's interface copies it.

mod btree;
#[cfg(feature = "canopydb")]
mod canopydb;
#[cfg(feature = "fjall")]
mod fjall;
mod lmdb;
mod mapleaf;
#[cfg(feature = "mdbx")]
mod mdbx;
#[cfg(feature = "redb")]
mod redb;
#[cfg(feature = "rocksdb")]
mod rocksdb;
#[cfg(feature = "sanakirja")]
mod sanakirja;
#[cfg(feature = "sqlite")]
mod sqlite;

use crate::data::{Once, Pairs, Seen, Shape, Source};
use clap::ValueEnum;
use std::path::Path;

/// One thread's handle to an open store with one table. Whatever is wrong, or a value other than the
/// expected, stops the program.
pub trait Engine: Send {
    /// Puts all that `source` has in one txn.
    fn put_all(&self, source: &mut dyn Source);

    /// Puts `pairs` in one txn.
    fn put(&self, pairs: Pairs) {
        self.put_all(&mut Once(Some(pairs)));
    }

    /// The same beside other threads that do it, in the way that the store offers for that.
    fn put_beside_others(&self, pairs: Pairs) {
        self.put(pairs);
    }

    /// Deletes these keys, which are there, in one txn.
    fn delete(&self, pairs: Pairs);

    /// Gets each key in one snapshot, and compares its value.
    fn get_all(&self, pairs: Pairs);

    /// The same, `together` keys a call where the store has a call for several.
    fn get_many(&self, pairs: Pairs, _together: usize) {
        self.get_all(pairs);
    }

    /// For each key, in one snapshot: the entry there and those behind it, `entries` in all.
    fn seek(&self, keys: Pairs, entries: usize) -> Seen;

    /// All entries.
    fn scan(&self, direction: Direction) -> Seen;

    /// Takes a snapshot and gives it up again, so many times.
    fn begin_read(&self, times: usize);

    /// A snapshot that stays until it is dropped: gets each key that it is given, and compares its value. `None`
    /// where nobody has asked for it yet.
    fn snapshot(&self) -> Option<Snapshot<'_>> {
        None
    }

    /// A handle to the same store for another thread.
    fn another(&self) -> Box<dyn Engine>;

    /// Waits for the work that the store does in the background, and leaves nothing in a log that it can
    /// help.
    fn settle(&self) {}

    /// Makes the files as small as the store itself can. Whether there is a way.
    fn compact(&mut self) -> bool {
        false
    }
}

/// Gets and compares in one snapshot, which it holds.
pub type Snapshot<'e> = Box<dyn Fn(Pairs<'_>) + 'e>;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    Forward,
    Reverse,
}

/// How a store is opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// Every commit is on the disk when it returns.
    Durable,
    /// Commits do not wait for the disk.
    NotWaiting,
    /// For gets beside other processes that do the same.
    Reading,
    /// Durable, and in less memory than the data take: maps without read-ahead, where there is a choice.
    Scarce,
}

/// Which store.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, ValueEnum)]
pub enum Kind {
    Mapleaf,
    Lmdb,
    LmdbWritemap,
    #[cfg(feature = "mdbx")]
    Mdbx,
    #[cfg(feature = "mdbx")]
    MdbxWritemap,
    #[cfg(feature = "redb")]
    Redb,
    #[cfg(feature = "sqlite")]
    Sqlite,
    #[cfg(feature = "rocksdb")]
    Rocksdb,
    #[cfg(feature = "fjall")]
    Fjall,
    #[cfg(feature = "canopydb")]
    Canopydb,
    #[cfg(feature = "sanakirja")]
    Sanakirja,
    /// The standard library's BTreeMap, in memory: a yardstick.
    Btree,
}

impl Kind {
    pub fn name(self) -> String {
        self.to_possible_value().expect("none is skipped").get_name().to_owned()
    }

    /// Whether it has files at all.
    pub fn is_stored(self) -> bool {
        self != Kind::Btree
    }

    /// Whether the store takes data of this shape.
    pub fn takes(self, _shape: Shape) -> bool {
        #[cfg(feature = "sanakirja")]
        if self == Kind::Sanakirja {
            return _shape != Shape::Kib;
        }
        true
    }

    /// Whether the store has this durability; one that has not does more.
    pub fn offers(self, _mode: Mode) -> bool {
        #[cfg(feature = "sanakirja")]
        if self == Kind::Sanakirja {
            return _mode != Mode::NotWaiting;
        }
        true
    }

    /// Whether several processes can read a store at once.
    pub fn shares(self) -> bool {
        match self {
            #[cfg(feature = "fjall")]
            Kind::Fjall => false,
            #[cfg(feature = "canopydb")]
            Kind::Canopydb => false,
            _ => self.is_stored(),
        }
    }

    /// Opens the store whose files lie in `directory`, creating it where there is none.
    pub fn open(self, directory: &Path, shape: Shape, mode: Mode) -> Box<dyn Engine> {
        match self {
            Kind::Mapleaf => mapleaf::open(directory, shape, mode),
            Kind::Lmdb => lmdb::open(directory, shape, mode, false),
            Kind::LmdbWritemap => lmdb::open(directory, shape, mode, true),
            #[cfg(feature = "mdbx")]
            Kind::Mdbx => mdbx::open(directory, shape, mode),
            #[cfg(feature = "mdbx")]
            Kind::MdbxWritemap => mdbx::open_writemap(directory, shape, mode),
            #[cfg(feature = "redb")]
            Kind::Redb => redb::open(directory, shape, mode),
            #[cfg(feature = "sqlite")]
            Kind::Sqlite => sqlite::open(directory, shape, mode),
            #[cfg(feature = "rocksdb")]
            Kind::Rocksdb => rocksdb::open(directory, mode),
            #[cfg(feature = "fjall")]
            Kind::Fjall => fjall::open(directory, mode),
            #[cfg(feature = "canopydb")]
            Kind::Canopydb => canopydb::open(directory, shape, mode),
            #[cfg(feature = "sanakirja")]
            Kind::Sanakirja => sanakirja::open(directory, shape, mode),
            Kind::Btree => btree::open(shape),
        }
    }
}

/// Compares a value that was read.
#[inline(always)]
pub(crate) fn check(found: Option<&[u8]>, expected: &[u8]) {
    assert!(found == Some(expected), "a wrong value: {found:02x?}, not {expected:02x?}");
}

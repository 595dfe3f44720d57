//! Crash tests for stores: what a power cut may leave of a mapleaf file, built and laid out.
//!
//! A [`Recorder`] sits at the seam of mapleaf ([`mapleaf::Options::observer`]) and logs every write, flush, truncation
//! and growth; the application notes in the same log which of its txns it has started and which were acknowledged. From
//! the log a [`Simulation`] builds the files that a power cut at any place could have left, and shows each of
//! them to a closure that opens it and judges it. A recorder can also make any operation fail, for once or for ever.
//!
//! ```
//! use mapleaf::{Database, Error, Options, Table};
//! use mapleaf_crash::{Event, Recorder, Simulation};
//! use std::{path::Path, sync::Arc};
//!
//! const COUNTS: Table<str, u64> = Table::new("counts");
//!
//! fn open(path: &Path, options: &Options) -> Result<Database, Error> {
//!     // SAFETY: nobody else changes the file.
//!     unsafe { options.open(path) }
//! }
//!
//! let directory = tempfile::tempdir().unwrap();
//! let recorder = Arc::new(Recorder::default());
//! let options = Options::new().observer(recorder.clone());
//! let db = open(&directory.path().join("counts.maple"), &options)?;
//! for n in 1..4 {
//!     recorder.note(Event::Started(n));
//!     db.write(|w| w.put(COUNTS, "n", &n).map(drop))?;
//!     recorder.note(Event::Acknowledged(n));
//! }
//! let mut simulation = Simulation::new(recorder.log());
//! let images = simulation.each_image(|cut| {
//!     let db = open(cut.path, &Options::new()).expect("it opens after every cut");
//!     let found = db.begin_read().unwrap().get(COUNTS, "n").unwrap().unwrap_or(0);
//!     assert!(cut.acknowledged <= found && found <= cut.started, "{found}, {cut:?}");
//! });
//! assert!(images > 20);
//! # Ok::<(), Error>(())
//! ```
//!
//! # The model of the disk
//!
//! 1. The file is blocks of 4 KiB. Since its last successful flush a block may be on the disk in any
//!    version that it had, independent of all others.
//! 2. A block may be torn between two versions at multiples of 512 bytes; a sector is whole.
//! 3. The length is any that the file had since the last flush, or one between; a flush of any range
//!    makes it durable, and with it what was cut off, or punched out. What was never written, or not since it was
//!    punched, reads as zeros.
//! 4. A flush that failed leaves its blocks in any version, and clean: later flushes do not write
//!    them, only writing them again does ([`FailedFlush::Keeps`], ext4 and xfs). Worse, blocks that were never
//!    flushed before may read as zeros for ever ([`FailedFlush::LosesFresh`], ext4 with reserved blocks); or the
//!    cache may be as it was flushed last, for the running process too ([`Recorder::reverting`], btrfs).
//! 5. A disk may lie: flushes return success and do nothing ([`Disk::lie`]).
//!
//! Where the combinations are few, all are looked at; else samples ([`Amount`]).
//!
//! # Where to look
//! [`Event`] is the log, [`Recorder`] writes it, [`Disk`] carries it out, [`Simulation`] cuts the power everywhere.

mod choice;
mod disk;
mod event;
mod pool;
mod recorder;
mod simulation;

pub use choice::Amount;
pub use disk::{Disk, FailedFlush};
pub use event::Event;
pub use pool::{BLOCK, Content, Image, Pool, SECTOR};
pub use recorder::{Failure, Recorder};
pub use simulation::{Cut, Simulation};

use std::path::Path;

/// A directory in memory where there is one, else a usual one: flushes are only recorded, so they may be cheap.
///
/// # Panics
/// When there is none at all.
pub fn memory_directory() -> tempfile::TempDir {
    let named = tempfile::Builder::new().prefix("mapleaf-crash-").tempdir_in(Path::new("/dev/shm"));
    named.or_else(|_| tempfile::tempdir()).expect("a directory")
}

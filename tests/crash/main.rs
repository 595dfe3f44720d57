//! Crash tests: what a power cut, the death of a process, or a failing operation may leave of a store.
//!
//! A recording disk ([`recorder`]) sits at the seam of mapleaf and logs every write, flush,
//! truncation and growth, and when each commit was started and acknowledged. From the log a simulated
//! disk ([`disk`]) builds the files that a power cut at any place could leave, and a judge ([`judge`])
//! opens each with mapleaf. **The model of the disk:**
//!
//! 1. The file is blocks of 4 KiB. Since its last successful flush a block may be on the disk in any
//!    version that it had, independent of all others. Up to 1024 combinations all are tried, beyond
//!    that samples: everything old, everything new, one block missing, one block early, every
//!    combination of the redo log's blocks, everything up to some write, random ones.
//! 2. A block may be torn between two versions at multiples of 512 bytes; a sector is whole.
//! 3. The length is any that the file had since the last flush, or one between; a flush of any range
//!    makes it durable. What was never written reads as zeros.
//! 4. A flush that failed leaves its blocks in any version, and clean: later flushes do not write
//!    them, only writing them again does. In the worse variant (ext4) blocks that were never flushed
//!    before read as zeros for ever, until the file is truncated below them.
//! 5. The sidecar is missing, stale or garbage.
//!
//! **What every image owes:** it opens; `verify` is clean; the tables are, entry for entry, what some
//! whole txn k left, with acknowledged ≤ k ≤ started, and not one that had failed before the last turn
//! began; the file is as long as its meta says; one more txn commits, and `verify` is clean again. An
//! eventual commit is not acknowledged, but it survives the death of its process where the power stays.
//! A txn's number is stored as the user version. Images are numbered by their content, so that each
//! different one is opened once.
//!
//! Samples follow a seed, `MAPLEAF_SEED` or a default; a failure prints it.
//!
//! Where the tests are: [`cuts`] power cuts and killed writers, [`faults`] failing operations,
//! [`turns`] real processes that write in turn, [`controls`] logs without one flush, which must be found
//! wrong, [`mutations`] the same for the crate's source (run with `--ignored`).

#![allow(missing_docs)]

mod controls;
mod cuts;
mod disk;
mod faults;
mod judge;
mod mutations;
mod recorder;
mod script;
mod turns;
mod workloads;

use disk::Disk;
use judge::{Effort, Judge, Permitted, memory_directory, sound};
use mapleaf::{Counters, Options};
use recorder::{Event, Recorder};
use script::{Action, Session};
use std::sync::Arc;
use std::time::Instant;

const USUAL: Effort =
    Effort { all_up_to: 1024, at_flush: 40, elsewhere: 4, recover_every: 50, third_every: 0, from: 0 };
const LARGE: Effort =
    Effort { all_up_to: 16, at_flush: 12, elsewhere: 0, recover_every: 0, third_every: 0, from: 0 };

/// A workload that was run once in a new store: its log, and what is permitted at its beginning.
struct Recording {
    log: Vec<Event>,
    permitted: Permitted,
    /// Of the last store that was open.
    counters: Counters,
    _directory: tempfile::TempDir,
}

/// Runs `actions` in a new store, with the creation in the log.
fn record(options: &Options, actions: &[Action]) -> Recording {
    let directory = memory_directory();
    let recorder = Arc::new(Recorder::default());
    let path = directory.path().join("test.maple");
    let mut session = Session::open(&path, options, Arc::clone(&recorder)).unwrap();
    for action in actions {
        session.act(action).unwrap();
        sound(session.db()).unwrap();
    }
    let (permitted, counters) = (Permitted::new(&session.states()), session.db().counters());
    Recording { log: recorder.log(), permitted, counters, _directory: directory }
}

/// Runs `actions` and judges every image of a cut in them.
fn survives(name: &str, options: &Options, actions: &[Action], effort: Effort) -> Recording {
    let begun = Instant::now();
    let recording = record(options, actions);
    let mut judge = Judge::new(options);
    judge.accept(Disk::empty(), &recording.log, recording.permitted.clone(), effort);
    report(name, &judge, begun);
    recording
}

fn report(name: &str, judge: &Judge, begun: Instant) {
    println!("{name}: {} images, {} different, {:.1?}", judge.images, judge.opened, begun.elapsed());
}

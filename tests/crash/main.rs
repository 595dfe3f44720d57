//! Crash tests: what a power cut, the death of a process, or a failing operation may leave of a store.
//!
//! The recorder and the simulated disk are those of the crate `mapleaf-crash`, whose first page is the model of the
//! disk: a log of every write, flush, truncation and growth, with when each commit was started and acknowledged, and
//! from it the files that a power cut at any place could leave. Here are mapleaf's own workloads, and a judge
//! ([`judge`]) who opens each file. Up to 1024 combinations of uncertain blocks all are tried, beyond that samples:
//! everything old, everything new, one block missing, one block early, every combination of the redo log's blocks,
//! everything up to some write, random ones. Beside the file the sidecar is missing, stale or garbage; half of the files
//! have the mark of settled meta slots.
//!
//! **What every image owes:** it opens; `verify` is clean; the tables are, entry for entry, what some
//! whole txn k left, with acknowledged ≤ k ≤ started, and not one that had failed before the last turn
//! began; the file is as long as its meta says; one more txn commits, and `verify` is clean again. An
//! eventual commit is not acknowledged, but it survives the death of its process where the power stays.
//! A txn's number is stored as the user version. Images are numbered by their content, so that each
//! different one is opened once.
//!
//! Each test prints, with `--nocapture`, a line `tried: CLASS | TEST | CASES` for every class of faults that it tries:
//! F1 a power cut, F2 torn blocks, F3 lengths, F4 creation, F5 a cut while recovering, F7 failing flushes, F9 other
//! failing operations, F10 a full disk, F14 a rotten meta slot, F15 a killed writer, F29 a lying disk. The images of F2
//! and F3 are among those of the test's own class.
//!
//! Samples follow a seed, `MAPLEAF_SEED` or a default; a failure prints it.
//!
//! Workloads are made of the steps of [`script`] and [`operations`].
//!
//! Where the tests are: [`cuts`] power cuts and killed writers, [`phases`] three cuts in each phase of a store's
//! life, [`faults`] failing operations, [`forever`] those that do not end, [`reverts`] a cache that forgets, [`lies`] a
//! disk that lies, [`rot`] rotten meta slots, [`settled`] opening without a flush, [`threads`] commits of several threads, [`turns`] real processes that
//! write in turn, [`controls`] logs without one flush, which must be found wrong, [`mutations`] the same for the
//! crate's source (run with `--ignored`).

#![allow(missing_docs)]

mod controls;
mod cuts;
mod faults;
mod forever;
mod judge;
mod lies;
mod mutations;
mod operations;
mod phases;
mod reverts;
mod rot;
mod script;
mod settled;
mod threads;
mod turns;
mod workloads;

use judge::{Effort, Judge, Permitted, sound};
use mapleaf::{Counters, Options};
use mapleaf_crash::{Disk, Event, Recorder, memory_directory};
use script::{Action, Contents, Session};
use std::collections::BTreeMap;
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
    /// What each txn left, by its number.
    models: BTreeMap<u64, Contents>,
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
    let models = session.models().clone();
    Recording { log: recorder.log(), permitted, models, counters, _directory: directory }
}

/// Runs `actions` and judges every image of a cut in them.
fn survives(name: &str, options: &Options, actions: &[Action], effort: Effort) -> Recording {
    let begun = Instant::now();
    let recording = record(options, actions);
    let mut judge = Judge::new(options);
    judge.accept(Disk::empty(), &recording.log, recording.permitted.clone(), effort);
    report("F1", name, &judge, begun);
    recording
}

/// Prints what a test has tried against faults of this class: numbers of images.
fn report(class: &str, name: &str, judge: &Judge, begun: Instant) {
    println!("{name}: {} images, {} different, {:.1?}", judge.images, judge.opened, begun.elapsed());
    tried(class, name, judge.images - judge.of_again);
    tried("F2", name, judge.torn);
    tried("F3", name, judge.other_len);
    tried("F5", name, judge.of_again);
}

/// A line for whoever counts the cases of all tests, by their classes in the list of faults. Each case went well, or
/// the test fails.
fn tried(class: &str, name: &str, cases: u64) {
    let thread = std::thread::current();
    let test = thread.name().filter(|test| *test != "main").unwrap_or("crash");
    if cases > 0 {
        println!("tried: {class} | {test}, {name} | {cases}");
    }
}

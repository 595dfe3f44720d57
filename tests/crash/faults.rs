//! Failing operations: the k-th one for every k, and several in a row; the process goes on, then comes a cut.
//!
//! What every run owes: a failed flush is reported by some call; no call fails that the fault did not hit;
//! after each call readers see exactly what was acknowledged, and every page is sound; every image of a
//! cut at any later place is as in [`crate`]. `MAPLEAF_OPERATION` picks the one operation from which on to fail.

use crate::LARGE;
use crate::judge::{Effort, Judge, Permitted, sound};
use crate::operations::delete_range;
use crate::report;
use crate::script::{Action, Session, Step, delete, put};
use crate::workloads::*;
use mapleaf::{Durability, Options};
use mapleaf_crash::{BLOCK, Disk, Event, FailedFlush, Failure, Image, Recorder, memory_directory};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

const FAILURES: [Failure; 4] = [Failure::Io, Failure::Full, Failure::Short(1), Failure::Short(1000)];

/// A store with something in it, from which every run with a failure starts.
pub fn base(path: &Path, options: &Options) {
    let mut session = Session::open(path, options, Arc::new(Recorder::default())).unwrap();
    for i in 0..3 {
        let steps = (0..12).map(|j| put("words", i * 9 + j, 300, i as u8)).chain([put("old", i, 5000, 1)]);
        session.act(&Action::Commit(steps.collect())).unwrap();
    }
    session.close().unwrap();
}

pub struct FaultRun {
    pub recorder: Arc<Recorder>,
    pub permitted: Permitted,
    errors: Vec<String>,
}

/// Runs `actions` in a copy of the store at `base`, in one process, and checks after each.
pub fn run_with(
    base: &Path,
    path: &Path,
    options: &Options,
    actions: &[Action],
    recorder: Recorder,
) -> FaultRun {
    let _ = std::fs::remove_file(path);
    std::fs::copy(base, path).unwrap();
    let recorder = Arc::new(recorder);
    let mut errors = Vec::new();
    let mut note = |hits: usize, what: &str, error: &mapleaf::Error| {
        assert!(recorder.hits() > hits, "{what} fails although the failure was before it: {error}");
        errors.push(format!("{what}: {error}"));
    };
    let mut session = loop {
        let hits = recorder.hits();
        match Session::open(path, options, Arc::clone(&recorder)) {
            Ok(session) => break session,
            Err(error) => note(hits, "opening", &error),
        }
    };
    for (number, action) in actions.iter().enumerate() {
        let hits = recorder.hits();
        if let Err(error) = session.act(action) {
            note(hits, &format!("action {number}"), &error);
        }
        session.check_pages();
    }
    let permitted = Permitted::new(&session.states());
    let hits = recorder.hits();
    if let Err(error) = session.close() {
        note(hits, "closing", &error);
    }
    FaultRun { permitted, recorder, errors }
}

/// A workload that is run with many failures.
pub struct Faults {
    pub options: Options,
    pub actions: Vec<Action>,
    /// The store from which every run starts, and the file that runs change.
    pub base: PathBuf,
    pub path: PathBuf,
    /// The first as an image.
    pub before: Image,
    pub judge: Judge,
    /// Runs in which a flush has failed, with one cache or another.
    flushes: u64,
    _directory: tempfile::TempDir,
}

impl Faults {
    pub fn new(options: &Options, actions: &[Action]) -> Self {
        let directory = memory_directory();
        let mut faults = Faults {
            options: options.clone(),
            actions: actions.to_vec(),
            base: directory.path().join("base.maple"),
            path: directory.path().join("test.maple"),
            before: Image::default(),
            judge: Judge::new(options),
            flushes: 0,
            _directory: directory,
        };
        base(&faults.base, options);
        faults.before = faults.judge.image_of(&faults.base);
        faults
    }

    /// The same, from a store whose process died with a log that is to be replayed.
    pub fn killed(self) -> Self {
        let actions: Vec<Action> =
            (0..6).map(|i| Action::Commit(record(i, if i < 2 { 6 } else { 12 }))).collect();
        self.killed_after(&actions)
    }

    /// The same with these actions in the log.
    pub fn killed_after(mut self, actions: &[Action]) -> Self {
        let path = self.base.with_extension("killed");
        let mut session = Session::open(&path, &self.options, Arc::new(Recorder::default())).unwrap();
        actions.iter().for_each(|action| session.act(action).unwrap());
        std::fs::copy(&path, &self.base).unwrap();
        self.before = self.judge.image_of(&self.base);
        self
    }

    pub fn run(&self, recorder: Recorder) -> FaultRun {
        run_with(&self.base, &self.path, &self.options, &self.actions, recorder)
    }

    /// One run, in which the operations with these numbers fail, and every cut after them; where flushes are among
    /// them, with each thing that a cache may do then.
    fn fail(&mut self, numbers: Range<usize>, failure: Failure) {
        let run = self.run(Recorder::failing(numbers.clone(), failure));
        let Some((_, what)) = run.recorder.hit() else { return };
        if matches!(failure, Failure::Short(_)) {
            assert!(run.errors.is_empty(), "short {what} is an error: {:?}", run.errors);
            return;
        }
        self.judge(&run, FailedFlush::Keeps, "keeps");
        if run.recorder.log().iter().any(|event| matches!(event, Event::Sync { failed: true, .. })) {
            self.flushes += 3;
            self.judge(&run, FailedFlush::LosesFresh, "loses fresh blocks");
            let before = std::fs::read(&self.base).unwrap();
            let recorder = Recorder::failing(numbers, failure).reverting(&self.path, &before);
            let run = self.run(recorder);
            self.judge(&run, FailedFlush::Keeps, "reverts");
        }
    }

    fn judge(&mut self, run: &FaultRun, rule: FailedFlush, cache: &str) {
        let (from, what) = run.recorder.hit().expect("something has failed");
        assert!(!what.starts_with("flush") || !run.errors.is_empty(), "failed {what} went unnoticed");
        let effort = Effort { at_flush: 4, from, ..LARGE };
        let disk = Disk::holding(&self.before, rule);
        let violations = self.judge.examine(disk, &run.recorder.log(), run.permitted.clone(), effort);
        assert!(violations.is_empty(), "{what}, cache {cache}, {:?}: {}", run.errors, violations[0]);
    }

    /// [`Faults::fail`]; what it finds wrong, or panics with.
    fn outcome(&mut self, numbers: Range<usize>, failure: Failure) -> Option<String> {
        let what = format!("operations {numbers:?} fail with {failure:?}");
        let run = std::panic::AssertUnwindSafe(|| self.fail(numbers, failure));
        let panic = std::panic::catch_unwind(run).err()?;
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Some(format!("{what}: {}", text.unwrap_or_default()))
    }
}

/// Which operations fail.
struct Plan<'f> {
    failures: &'f [Failure],
    /// Of all operations every so manyth, and so many from there on.
    every: usize,
    count: usize,
}

/// Lets the k-th operation fail, for every k, or several from there on, and cuts the power at every
/// later place.
fn survives_failures(name: &str, mut faults: Faults, plan: &Plan<'_>) {
    let begun = Instant::now();
    let ops = faults.run(Recorder::default()).recorder.ops();
    let mut wrong = Vec::new();
    let only = std::env::var("MAPLEAF_OPERATION").ok().map(|number| number.parse::<usize>().unwrap());
    for at in (0..ops).step_by(plan.every).filter(|at| only.is_none_or(|only| *at == only)) {
        let numbers = at..at + plan.count;
        wrong.extend(plan.failures.iter().filter_map(|failure| faults.outcome(numbers.clone(), *failure)));
    }
    report("F9", &format!("{name}, {ops} operations"), &faults.judge, begun);
    crate::tried("F7", name, faults.flushes);
    assert!(wrong.is_empty(), "{} of {ops} operations:\n{}", wrong.len(), wrong.join("\n"));
}

// ---- commits in place ----

pub fn ordered() -> Options {
    Options::new().durability(Durability::Ordered)
}

pub fn ordinary() -> Vec<Action> {
    vec![
        Action::Commit(vec![put("words", 3, 100, 9)]),
        Action::Commit((0..14).map(|i| put("words", i * 2, 3000, 10)).collect()),
        Action::Commit((0..8).map(|i| delete("words", i * 3)).chain([put("large", 1, 20_000, 1)]).collect()),
        Action::Commit(vec![Step::DropTable("old"), put("large", 2, 100_000, 2)]),
        Action::Commit(vec![put("words", 1, 10, 11)]),
        Action::Commit((0..9).map(|i| put("words", 50 + i, 3000, 12)).collect()),
    ]
}

#[test]
fn every_single_failing_operation_leaves_a_store_that_goes_on_and_survives_a_cut() {
    let plan = Plan { failures: &FAILURES, every: 1, count: 1 };
    survives_failures("failures", Faults::new(&ordered(), &ordinary()), &plan);
}

#[test]
fn failures_while_a_failure_is_put_right_are_survived() {
    let actions = [ordinary(), ordinary()].concat();
    for count in [2, 3, 6, 15] {
        let name = format!("{count} failures");
        let plan = Plan { failures: &FAILURES[..1], every: 3, count };
        survives_failures(&name, Faults::new(&ordered(), &actions[..9]), &plan);
    }
}

#[test]
fn a_failing_operation_in_a_txn_written_early_is_survived() {
    let actions = [
        Action::Commit(spilling(1)),
        Action::Commit(vec![put("words", 1, 10, 11)]),
        Action::Commit((0..9).map(|i| put("words", 50 + i, 3000, 12)).collect()),
    ];
    let options = Options::new().dirty_limit(1 << 20);
    let plan = Plan { failures: &FAILURES[..2], every: 5, count: 1 };
    survives_failures("failures, spilling", Faults::new(&options, &actions), &plan);
}

#[test]
fn a_failing_operation_in_an_aborted_txn_is_survived() {
    let actions = [
        Action::Abort(spilling(1)),
        Action::Commit(vec![put("words", 1, 10, 11)]),
        Action::Commit((0..30).map(|i| put("words", 50 + i, 3000, 12)).collect()),
    ];
    let options = Options::new().dirty_limit(1 << 20);
    let plan = Plan { failures: &FAILURES[..1], every: 1, count: 1 };
    survives_failures("failures, aborted", Faults::new(&options, &actions), &plan);
}

// ---- logged commits ----

/// Each way to commit, in a store that has a log of 64 KiB.
pub fn logged() -> Vec<Action> {
    let eventual = |i: u32, n: u32| Action::CommitAs(Durability::Eventual, record(i, n));
    vec![
        Action::Commit(record(1, 6)),
        Action::Hand(record(2, 4)),
        Action::Hand(vec![Step::Rename("old", "older"), put("new", 1, 500, 1), delete("words", 3)]),
        Action::Wait,
        eventual(3, 3),
        Action::Commit(vec![put("words", 1, 100, 1), delete("words", 4)]),
        Action::Hand(record(4, 4)),
        Action::CommitAs(Durability::Ordered, record(5, 3)),
        eventual(6, 2),
        Action::Hand(record(7, 2)),
        Action::CommitOver(record(8, 2)),
        Action::Checkpoint,
        Action::Commit((0..30).map(|i| put("more", i, 900, 7)).collect()),
        Action::Reopen,
        Action::Commit(vec![Step::DropTable("older"), put("words", 2, 70, 8)]),
    ]
}

/// The log is filled twice; the second time it is extended by as much as it has. Then so much is written that
/// what was given up on the way is used again.
fn filling() -> Vec<Action> {
    let mut actions: Vec<Action> =
        (0..8).map(|i| Action::Commit(record(i, if i == 3 { 2 } else { 20 - i % 3 }))).collect();
    for i in 0..3 {
        let steps = (0..60).map(|j| put("more", i * 60 + j, 900, i as u8)).collect();
        actions.extend([Action::Checkpoint, Action::CommitAs(Durability::Ordered, steps)]);
    }
    actions
}

/// Logged commits that grow the file, then a checkpoint.
pub fn growing() -> Vec<Action> {
    let grow = |i: u32| Action::Commit((0..25).map(|j| put("more", i * 25 + j, 900, i as u8)).collect());
    let mut actions: Vec<Action> = (0..2).map(grow).collect();
    actions.extend([Action::Checkpoint, Action::Commit(record(1, 5)), grow(2), grow(3), grow(4)]);
    actions.extend([Action::Commit(record(2, 5)), Action::Checkpoint, Action::Commit(record(3, 30))]);
    actions
}

#[test]
fn every_failing_operation_in_logged_commits_is_survived() {
    let plan = Plan { failures: &FAILURES, every: 1, count: 1 };
    survives_failures("failures, logged", Faults::new(&Options::new(), &logged()), &plan);
}

#[test]
fn several_failing_operations_in_logged_commits_are_survived() {
    for count in [2, 4, 9] {
        let name = format!("{count} failures, logged");
        let plan = Plan { failures: &FAILURES[..1], every: if count == 2 { 1 } else { 3 }, count };
        survives_failures(&name, Faults::new(&Options::new(), &logged()), &plan);
    }
}

#[test]
fn a_failing_operation_while_the_log_is_filled_and_extended_is_survived() {
    let plan = Plan { failures: &FAILURES[..1], every: 1, count: 1 };
    survives_failures("failures, full log", Faults::new(&Options::new(), &filling()), &plan);
}

#[test]
fn a_failing_operation_while_logged_commits_grow_the_file_is_survived() {
    let plan = Plan { failures: &FAILURES[..1], every: 1, count: 1 };
    survives_failures("failures, logged growth", Faults::new(&Options::new(), &growing()), &plan);
}

#[test]
fn a_failing_operation_while_free_space_goes_back_and_comes_again_is_survived() {
    let all = trimmed();
    for (actions, count, every) in [(&all[2..21], 1, 3), (&all[11..25], 1, 5), (&all[2..], 2, 29)] {
        let name = format!("{count} failures, {} actions of trimmed", actions.len());
        let plan = Plan { failures: &FAILURES[..1], every, count };
        survives_failures(&name, Faults::new(&Options::new(), actions), &plan);
    }
}

/// What was to go back with a checkpoint that failed is free, and was not touched; what did go back and was filled was
/// flushed: txns in either survive it that the next checkpoint fails, and that the pages are used again.
#[test]
fn pages_that_were_or_were_not_given_back_have_blocks_when_they_are_used() {
    let begun = Instant::now();
    let mut judge = Judge::new(&Options::new());
    let mut failed = 0;
    // Any operation of the trim, and none.
    for at in [0, 1, 2, 3, 4, 99] {
        let directory = memory_directory();
        let (path, recorder) = (directory.path().join("test.maple"), Arc::new(Recorder::default()));
        let mut session = Session::open(&path, &Options::new(), Arc::clone(&recorder)).unwrap();
        let all = trimmed();
        let trim = all.iter().position(|action| matches!(action, Action::Trim)).unwrap();
        all[..trim].iter().for_each(|action| session.act(action).unwrap());
        session.act(&Action::Checkpoint).unwrap();
        recorder.fail_at(at);
        failed += usize::from(session.act(&Action::Trim).is_err());
        recorder.heal();
        // Behind what takes the few pages that stay free, they take what was to go, or fill holes, and the checkpoint
        // that would flush it fails.
        let steps = (0..60).map(|j| put("fixed", j, 1900, 1)).collect();
        session.act(&Action::CommitAs(Durability::Ordered, steps)).unwrap();
        refilling(0, 3).for_each(|action| session.act(&action).unwrap());
        let from = recorder.log().len();
        recorder.fail_at(0);
        session.act(&Action::Checkpoint).unwrap_err();
        for i in 0..4 {
            let steps = (0..90).map(|j| put("more", i * 30 + j, 900, i as u8)).collect();
            session.act(&Action::Commit(record(4 + i, 6))).unwrap();
            session.act(&Action::CommitAs(Durability::Ordered, steps)).unwrap();
        }
        let disk = Disk::holding(&Image::default(), FailedFlush::LosesFresh);
        let effort = Effort { at_flush: 2, from, ..LARGE };
        judge.accept(disk, &recorder.log(), Permitted::new(&session.states()), effort);
    }
    assert_eq!(failed, 5, "each of the first fails it");
    report("F9", "failed trim", &judge, begun);
}

/// Readers that stay while what has failed is put right: their pages are free as of the checkpoint.
#[test]
fn a_failing_operation_while_readers_stay_is_survived() {
    let eventual = |i: u32| Action::CommitAs(Durability::Eventual, record(i, 6));
    let mut actions = vec![Action::Commit(record(1, 6)), Action::Commit(record(2, 6)), Action::Pin];
    actions.extend([eventual(3), Action::Commit(record(4, 6)), eventual(5), Action::Commit(record(6, 12))]);
    actions.extend([Action::Commit(record(7, 12)), eventual(8), Action::Pin, Action::Commit(record(9, 9))]);
    actions.extend((10..13).map(|i| Action::Commit(record(i, 12))));
    let plan = Plan { failures: &FAILURES[..1], every: 1, count: 1 };
    survives_failures("failures, readers", Faults::new(&Options::new(), &actions), &plan);
}

/// What is put right must leave the pages of each of them alone.
#[test]
fn a_failing_operation_while_readers_of_all_ages_come_and_go_is_survived() {
    let plan = Plan { failures: &FAILURES[..1], every: 4, count: 1 };
    survives_failures("failures, many readers", Faults::new(&Options::new(), &many_pins()[..70]), &plan);
}

#[test]
fn a_failing_operation_while_snapshots_are_stored_and_dropped_is_survived() {
    let plan = Plan { failures: &FAILURES[..2], every: 1, count: 1 };
    survives_failures("failures, snapshots", Faults::new(&Options::new(), &stored()), &plan);
}

#[test]
fn a_failing_operation_while_the_log_is_replayed_is_survived() {
    let actions =
        [Action::Commit(record(20, 6)), Action::Commit(record(21, 20)), Action::Commit(record(22, 4))];
    for count in [1, 2] {
        let plan = Plan { failures: &FAILURES[..3 - count], every: 1, count };
        let faults = Faults::new(&Options::new(), &actions).killed();
        survives_failures(&format!("{count} failures, replay"), faults, &plan);
    }
}

#[test]
fn a_failing_operation_in_logged_ranges_loads_multimaps_and_nested_txns_is_survived() {
    let plan = Plan { failures: &FAILURES[..1], every: 4, count: 1 };
    survives_failures("failures, operations", Faults::new(&Options::new(), &operations()), &plan);
}

#[test]
fn a_failing_operation_in_large_ranges_loads_multimaps_and_values_is_survived() {
    let plan = Plan { failures: &FAILURES[..1], every: 4, count: 1 };
    survives_failures("failures, large operations", Faults::new(&ordered(), &large_operations()), &plan);
}

#[test]
fn a_failing_operation_in_ranges_loads_and_multimaps_written_early_is_survived() {
    let plan = Plan { failures: &FAILURES[..1], every: 41, count: 1 };
    let faults = Faults::new(&Options::new().dirty_limit(1 << 20), &spilled_operations());
    survives_failures("failures, spilled operations", faults, &plan);
}

#[test]
fn a_failing_operation_while_values_go_to_the_file_is_survived() {
    let plan = Plan { failures: &FAILURES[..1], every: 31, count: 1 };
    survives_failures("failures, streamed", Faults::new(&Options::new(), &streamed()), &plan);
}

#[test]
fn a_failing_operation_while_snapshots_keep_ranges_and_sets_is_survived() {
    let plan = Plan { failures: &FAILURES[..1], every: 12, count: 1 };
    survives_failures("failures, stored", Faults::new(&Options::new(), &stored_operations()), &plan);
}

#[test]
fn a_failing_operation_while_a_store_shrinks_is_survived() {
    let plan = Plan { failures: &FAILURES[..1], every: 5, count: 1 };
    survives_failures("failures, compacting", Faults::new(&Options::new(), &compacting()), &plan);
}

#[test]
fn a_failing_operation_while_ranges_and_multimaps_are_replayed_is_survived() {
    let actions = [Action::Commit(record(20, 6)), Action::Commit(vec![delete_range("labels", 0..2)])];
    for count in [1, 2] {
        let plan = Plan { failures: &FAILURES[..1], every: 1, count };
        let all = operations();
        let faults = Faults::new(&Options::new(), &actions).killed_after(&all[..all.len() - 1]);
        survives_failures(&format!("{count} failures, replay of operations"), faults, &plan);
    }
}

/// The handle that saw a flush fail does not write again: it is closed, and opened anew.
#[test]
fn a_failing_operation_before_the_store_is_closed_and_opened_is_survived() {
    let actions = [
        Action::Commit(record(1, 3)),
        Action::Reopen,
        Action::Hand(record(2, 3)),
        Action::Hand(record(3, 3)),
        Action::Reopen,
        Action::CommitAs(Durability::Eventual, record(4, 3)),
        Action::Reopen,
        Action::CommitAs(Durability::Ordered, (0..40).map(|i| put("more", i, 900, 7)).collect()),
        Action::Reopen,
        Action::Commit(record(5, 3)),
    ];
    for count in [1, 2] {
        let name = format!("{count} failures, reopened");
        let plan = Plan { failures: &FAILURES[..1], every: 1, count };
        survives_failures(&name, Faults::new(&Options::new(), &actions), &plan);
    }
}

#[test]
fn after_a_failed_flush_of_the_log_every_txn_in_flight_fails_and_none_is_seen() {
    let directory = memory_directory();
    let path = directory.path().join("test.maple");
    base(&path, &Options::new());
    let hand = |i: u32| Action::Hand(record(i, 3));
    let flight: Vec<Action> = (0..5).map(hand).collect();
    let recorder = Arc::new(Recorder::default());
    let mut session = Session::open(&path, &Options::new(), Arc::clone(&recorder)).unwrap();
    flight.iter().for_each(|action| session.act(action).unwrap());
    let flush = recorder.ops();
    drop(session);
    base_again(&path);
    let recorder = Arc::new(Recorder::failing(flush..flush + 1, Failure::Io));
    let mut session = Session::open(&path, &Options::new(), Arc::clone(&recorder)).unwrap();
    let before = session.model().clone();
    flight.iter().for_each(|action| session.act(action).unwrap());
    // That all of them fail is asserted by the session.
    session.act(&Action::Wait).unwrap_err();
    assert!(*session.model() == before && recorder.hits() == 1);
    session.act(&Action::Commit(record(9, 3))).unwrap();
    session.close().unwrap();
}

/// The first flush of a block of a new log fails; afterwards so much is written that the block becomes a page.
#[test]
fn a_block_of_a_new_log_can_be_used_after_its_first_flush_has_failed() {
    let begun = Instant::now();
    let mut judge = Judge::new(&Options::new());
    for at in 0..6 {
        let directory = memory_directory();
        let (path, recorder) = (directory.path().join("test.maple"), Arc::new(Recorder::default()));
        let mut session = Session::open(&path, &Options::new(), Arc::clone(&recorder)).unwrap();
        beginning().iter().for_each(|action| session.act(action).unwrap());
        // The log begins in what was flushed when the store was created, and goes on behind that.
        session.act(&Action::Commit(record(2, 20))).unwrap();
        let from = recorder.log().len();
        recorder.fail_at(at);
        let failed = session.act(&Action::Commit(record(3, 20))).is_err();
        assert_eq!(failed, recorder.hits() > 0);
        for i in 0..4 {
            let steps = (0..60).map(|j| put("more", i * 60 + j, 900, i as u8)).collect();
            // Where the failure is still to come, it hits one of these.
            let _ = session.act(&Action::Commit(record(4 + i, 3)));
            let _ = session.act(&Action::CommitAs(Durability::Ordered, steps));
        }
        let disk = Disk::holding(&Image::default(), FailedFlush::LosesFresh);
        let effort = Effort { at_flush: 4, from, ..LARGE };
        judge.accept(disk, &recorder.log(), Permitted::new(&session.states()), effort);
    }
    report("F9", "new log", &judge, begun);
}

/// A block of the log that never reaches the disk: the log goes on elsewhere. One more commit may fail, as
/// what had failed is taken back in that block, and recovery flushes everything.
#[test]
fn a_bad_block_in_the_log_costs_two_commits_at_most() {
    let directory = memory_directory();
    let path = directory.path().join("test.maple");
    base(&path, &Options::new());
    let recorder = Arc::new(Recorder::default());
    let mut session = Session::open(&path, &Options::new(), Arc::clone(&recorder)).unwrap();
    session.act(&Action::Commit(record(1, 3))).unwrap();
    let log = recorder.log();
    let first = log.iter().find(|event| event.is_record()).expect("a record was written");
    recorder.set_bad_block(first);
    session.act(&Action::Commit(record(2, 3))).unwrap_err();
    let failed = (3..9).filter(|i| session.act(&Action::Commit(record(*i, 3))).is_err()).count();
    assert!(failed <= 1, "{failed} more commits have failed");
    session.close().unwrap();
}

/// A block that cannot be written, among the pages of a commit: whoever recovers goes to other pages.
#[test]
fn recovery_goes_to_other_pages_than_the_commit_whose_flush_has_failed() {
    let directory = memory_directory();
    let (good, path) = (directory.path().join("good.maple"), directory.path().join("test.maple"));
    base(&good, &ordered());
    let commit = Action::Commit((0..9).map(|i| put("words", i * 3, 2000, 7)).collect());
    let run = |bad: Option<&Event>| {
        std::fs::copy(&good, &path).unwrap();
        let recorder = Arc::new(Recorder::default());
        let session = Session::open(&path, &ordered(), Arc::clone(&recorder)).unwrap();
        bad.iter().for_each(|event| recorder.set_bad_block(event));
        (session, recorder)
    };
    let (mut session, recorder) = run(None);
    let opened = recorder.log().len();
    session.act(&commit).unwrap();
    drop(session);
    let (mut tried, mut again) = (0, 0);
    for event in &recorder.log()[opened..] {
        let Event::Write { offset: 8192.., data } = event else { continue };
        for at in (0..data.len()).step_by(BLOCK) {
            let Event::Write { offset, .. } = event else { unreachable!("it is one") };
            let block = Event::Write { offset: offset + at as u64, data: Vec::new() };
            let (mut session, _) = run(Some(&block));
            session.act(&commit).unwrap_err();
            let recovered = session.act(&Action::Abort(vec![put("words", 1, 1, 1)]));
            again += usize::from(recovered.is_err());
            tried += 1;
        }
    }
    assert!(tried >= 5 && again == 0, "{again} of {tried} bad blocks were written to again at once");
    crate::tried("F7", "bad block", tried as u64);
}

fn base_again(path: &Path) {
    std::fs::remove_file(path).unwrap();
    base(path, &Options::new());
}

// ---- all flushes, and creation ----

#[test]
fn when_every_flush_fails_reading_goes_on_and_nothing_is_acknowledged() {
    for options in [ordered(), Options::new()] {
        let directory = memory_directory();
        let path = directory.path().join("test.maple");
        base(&path, &options);
        let recorder = Arc::new(Recorder::default());
        drop(Session::open(&path, &options, Arc::clone(&recorder)).unwrap());
        let ops = recorder.ops();
        let recorder = Arc::new(Recorder::failing(ops..usize::MAX, Failure::Io));
        let mut session = Session::open(&path, &options, Arc::clone(&recorder)).unwrap();
        for action in ordinary() {
            assert!(session.act(&action).is_err());
            sound(session.db()).unwrap();
        }
        let model = session.model().clone();
        drop(session);
        let session = Session::open(&path, &options, Arc::new(Recorder::default())).unwrap();
        assert!(*session.model() == model);
        sound(session.db()).unwrap();
    }
}

#[test]
fn a_failing_operation_during_creation_is_an_error_and_creation_works_afterwards() {
    for (named, reverts) in [(false, false), (true, false), (true, true)] {
        for at in 0..5 {
            let directory = memory_directory();
            let path = directory.path().join("test.maple");
            if named {
                std::fs::write(&path, b"").unwrap();
            }
            let mut recorder = Recorder::failing(at..at + 1, Failure::Io);
            if reverts {
                recorder = recorder.reverting(&path, &[]);
            }
            let recorder = Arc::new(recorder);
            let failed = Session::open(&path, &Options::new(), Arc::clone(&recorder));
            assert!(failed.is_err(), "operation {at}: {:?}", recorder.hit());
            let mut session = Session::open(&path, &Options::new(), Arc::clone(&recorder)).unwrap();
            session.act(&Action::Commit(vec![put("words", 1, 10, 1)])).unwrap();
            sound(session.db()).unwrap();
            if !named {
                // The first attempt went to another file, which had no name.
                continue;
            }
            for rule in [FailedFlush::Keeps, FailedFlush::LosesFresh] {
                let mut judge = Judge::new(&Options::new());
                let disk = Disk::holding(&Image::default(), rule);
                judge.accept(disk, &recorder.log(), Permitted::new(&session.states()), crate::USUAL);
            }
        }
    }
}

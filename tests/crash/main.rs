//! Crash tests: what a power cut, or one failing operation, may leave of a store.
//!
//! A recording disk ([`recorder`]) sits at the seam of mapleaf and logs every write, flush,
//! truncation and growth, and when each commit was started and acknowledged. From the log a simulated
//! disk ([`disk`]) builds the files that a power cut at any place could leave, and a judge ([`judge`])
//! opens each with mapleaf. **The model of the disk:**
//!
//! 1. The file is blocks of 4 KiB. Since its last successful flush a block may be on the disk in any
//!    version that it had, independent of all others. Up to 1024 combinations all are tried, beyond
//!    that samples: everything old, everything new, one block missing, one block early, random ones.
//! 2. A block may be torn between two versions at multiples of 512 bytes; a sector is whole.
//! 3. The length is any that the file had since the last flush, or one between; a flush of any range
//!    makes it durable. What was never written reads as zeros.
//! 4. A flush that failed leaves its blocks in any version, and clean: later flushes do not write
//!    them, only writing them again does. In the worse variant (ext4) blocks that were never flushed
//!    before read as zeros for ever, until the file is truncated below them.
//! 5. The sidecar is missing, stale or garbage.
//!
//! **What every image owes:** it opens; `verify` is clean; the tables are, entry for entry, what some
//! whole txn k left, with acknowledged ≤ k ≤ started; the file is as long as its meta says; one more
//! txn commits, and `verify` is clean again. A txn's number is stored as the user version. Images are
//! numbered by their content, so that each different one is opened once.
//!
//! Samples follow a seed, `MAPLEAF_SEED` or a default; a failure prints it.

#![allow(missing_docs)]

mod disk;
mod judge;
mod recorder;
mod script;

use disk::{Disk, FailedFlush, Image};
use judge::{Effort, Judge, Permitted, memory_directory, sound};
use mapleaf::Options;
use recorder::{Event, Failure, Recorder};
use script::{Action, Session, Step, delete, put};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

const USUAL: Effort = Effort { all_up_to: 1024, at_flush: 40, elsewhere: 4, recover_every: 50, from: 0 };
const LARGE: Effort = Effort { all_up_to: 16, at_flush: 12, elsewhere: 0, recover_every: 0, from: 0 };

/// A workload that was run once: its log, and what is permitted at its beginning.
struct Recording {
    log: Vec<Event>,
    permitted: Permitted,
    /// What was on the disk before; `None` if the log begins with the creation.
    before: Option<PathBuf>,
    _directory: tempfile::TempDir,
}

impl Recording {
    fn disk(&self, judge: &mut Judge, rule: FailedFlush) -> Disk {
        match &self.before {
            Some(path) => Disk::holding(&judge.image_of(path), rule),
            None => Disk::empty(),
        }
    }
}

/// Runs `actions` in a new store, with the creation in the log.
fn record(options: &Options, actions: &[Action]) -> Recording {
    let directory = memory_directory();
    let recorder = Arc::new(Recorder::default());
    let path = directory.path().join("test.maple");
    let mut session = Session::open(&path, options, Arc::clone(&recorder)).unwrap();
    for action in actions {
        session.act(action).unwrap();
        sound(&session.db).unwrap();
    }
    let permitted = Permitted::new(&session.states);
    Recording { log: recorder.log(), permitted, before: None, _directory: directory }
}

/// Runs `actions` and judges every image of a cut in them.
fn survives(name: &str, options: &Options, actions: &[Action], effort: Effort) {
    let begun = Instant::now();
    let recording = record(options, actions);
    let mut judge = Judge::new(options);
    let disk = recording.disk(&mut judge, FailedFlush::Keeps);
    judge.accept(disk, &recording.log, recording.permitted, effort);
    report(name, &judge, begun);
}

fn report(name: &str, judge: &Judge, begun: Instant) {
    println!("{name}: {} images, {} different, {:.1?}", judge.images, judge.opened, begun.elapsed());
}

// ---- workloads ----

fn single_puts() -> Vec<Action> {
    (0..12).map(|i| Action::Commit(vec![put("words", i * 7 % 12, 20, i as u8)])).collect()
}

fn mixed() -> Vec<Action> {
    let mut actions = vec![Action::Commit((0..200).map(|i| put("words", i, 60, 1)).collect())];
    actions.push(Action::Commit(vec![put("large", 1, 100_000, 2), put("words", 900, 10, 3)]));
    actions.push(Action::Commit((0..60).map(|i| delete("words", i * 3)).collect()));
    actions.push(Action::Commit(vec![put("large", 1, 9000, 4), put("large", 2, 30_000, 5)]));
    actions.push(Action::Commit(vec![put("third", 1, 1, 1), put("words", 5, 3000, 6)]));
    actions.push(Action::Commit(vec![Step::DropTable("words"), put("third", 2, 2, 2)]));
    actions.push(Action::Commit(vec![Step::DropTable("large"), put("words", 1, 5, 7)]));
    actions.push(Action::Commit(vec![put("words", 2, 50_000, 8), delete("third", 1), delete("third", 2)]));
    actions
}

fn growing() -> Vec<Action> {
    let grow = |i: u32| Action::Commit((0..10).map(|j| put("words", i * 10 + j, 4000, i as u8)).collect());
    (0..8).map(grow).chain([Action::Commit(vec![put("words", 1, 400, 77)])]).collect()
}

/// Commits that change some leaves far apart: eight to ten pages.
fn scattered() -> Vec<Action> {
    let change = |i: u32| {
        let keys = (0..4 + i % 2).map(|j| (j * 80 + i * 7) % 400);
        Action::Commit(keys.map(|key| put("words", key, 90, 100 + i as u8)).collect())
    };
    let fill = Action::Commit((0..400).map(|i| put("words", i, 100, 1)).collect());
    [fill].into_iter().chain((0..4).map(change)).collect()
}

/// More changes than the smallest dirty limit, so that pages are written before the commit.
fn spilling(seed: u8) -> Vec<Step> {
    (0..420).map(|i| put("bulk", i * 193 % 420, 3000, seed)).collect()
}

fn pinned() -> Vec<Action> {
    let change = |i: u32| Action::Commit(vec![put("words", i % 5, 900, i as u8), put("words", 40 + i, 9, 1)]);
    let mut actions: Vec<Action> = (0..3).map(change).collect();
    actions.push(Action::Pin);
    actions.extend((3..9).map(change));
    actions.push(Action::Pin);
    actions.extend((9..13).map(change));
    actions.push(Action::Unpin);
    actions.extend((13..19).map(change));
    actions
}

// ---- power cuts ----

#[test]
fn a_cut_in_small_commits_keeps_every_acknowledged_one() {
    survives("small commits", &Options::new(), &single_puts(), USUAL);
}

#[test]
fn every_subset_of_the_pages_of_a_commit_may_be_missing() {
    survives("scattered", &Options::new(), &scattered(), Effort { elsewhere: 0, ..USUAL });
}

#[test]
fn a_cut_in_commits_with_pages_of_64_kib_is_survived() {
    survives("64-KiB pages", &Options::new().page_size(65536), &single_puts()[..3], LARGE);
}

#[test]
fn a_cut_in_deletes_large_values_and_dropped_tables_is_survived() {
    survives("mixed", &Options::new(), &mixed(), USUAL);
}

#[test]
fn a_cut_while_the_file_grows_is_survived() {
    survives("growing", &Options::new(), &growing(), USUAL);
}

#[test]
fn a_cut_in_a_txn_written_early_is_survived() {
    let actions = [
        Action::Commit(vec![put("words", 1, 10, 1)]),
        Action::Commit(spilling(1)),
        Action::Commit(vec![put("words", 2, 10, 2)]),
    ];
    survives("spilling", &Options::new().dirty_limit(1 << 20), &actions, LARGE);
}

#[test]
fn a_cut_after_an_aborted_txn_that_was_written_early_is_survived() {
    let actions = [
        Action::Commit((0..40).map(|i| put("words", i, 2000, 1)).collect()),
        Action::Abort(spilling(1)),
        Action::Commit(vec![put("words", 2, 10, 2)]),
        Action::Commit((0..30).map(|i| put("words", 100 + i, 3000, 3)).collect()),
        Action::Abort(spilling(2)),
        Action::Commit((0..30).map(|i| put("words", 200 + i, 3000, 4)).collect()),
    ];
    survives("aborted", &Options::new().dirty_limit(1 << 20), &actions, LARGE);
}

#[test]
fn a_cut_while_a_reader_is_open_and_pages_are_reused_is_survived() {
    survives("pinned", &Options::new(), &pinned(), USUAL);
}

#[test]
fn a_cut_during_creation_leaves_an_empty_store_or_none() {
    // Built under no name, and in an empty file that is there already.
    for named in [false, true] {
        let directory = memory_directory();
        let path = directory.path().join("test.maple");
        if named {
            std::fs::write(&path, b"").unwrap();
        }
        let recorder = Arc::new(Recorder::default());
        let session = Session::open(&path, &Options::new(), Arc::clone(&recorder)).unwrap();
        let mut judge = Judge::new(&Options::new());
        let effort = Effort { at_flush: 400, elsewhere: 200, recover_every: 1, ..USUAL };
        let permitted = Permitted::new(&session.states);
        let begun = Instant::now();
        judge.accept(Disk::empty(), &recorder.log(), permitted, effort);
        report("creation", &judge, begun);
    }
}

#[test]
fn a_second_cut_while_opening_is_survived() {
    let actions = [&mixed()[..4], &growing()[..3]].concat();
    let effort = Effort { all_up_to: 64, at_flush: 6, elsewhere: 0, recover_every: 3, from: 0 };
    survives("second cut", &Options::new(), &actions, effort);
}

/// Lets the writer die before every event from `from` on, without a power cut; another process opens
/// what the page cache holds and commits; then the power is cut.
fn survives_a_killed_writer(
    judge: &mut Judge,
    disk: &Disk,
    log: &[Event],
    permitted: &Permitted,
    from: usize,
    every: usize,
) {
    let initial = disk;
    let mut disk = disk.clone();
    for at in 0..=log.len() {
        if at >= from && (at - from).is_multiple_of(every) {
            let path = judge.lay_out(&disk.cached());
            let recorder = Arc::new(Recorder::default());
            let mut session = Session::open(&path, &Options::new(), Arc::clone(&recorder)).unwrap();
            let found = session.next - 1;
            // Its txns have numbers of their own; what it found it has shown, so that must stay.
            session.next = 1000 * (at as u64 + 1);
            recorder.note(Event::Acknowledged(found));
            for i in 0..3 {
                let steps = (0..4).map(|j| put("words", i * 5 + j, 3000, 200 + i as u8)).collect();
                session.act(&Action::Commit(steps)).unwrap();
            }
            let log = [&log[..at], &recorder.log()].concat();
            let effort = Effort { all_up_to: 64, at_flush: 6, from: at, ..LARGE };
            let first = *session.states.keys().next().unwrap();
            let mut states = session.states.clone();
            // The state that was found has the number that the dead process gave it.
            states.remove(&first);
            let violations = judge.examine(initial.clone(), &log, permitted.with(&states), effort);
            assert!(violations.is_empty(), "the writer died before event {at}: {}", violations[0]);
        }
        if let Some(event) = log.get(at) {
            disk.apply(event, &mut judge.pool);
        }
    }
}

#[test]
fn a_writer_killed_anywhere_and_a_cut_in_the_next_process_are_survived() {
    let begun = Instant::now();
    let actions = [&single_puts()[..2], &growing()[..2], &mixed()[1..4]].concat();
    let recording = record(&Options::new(), &actions);
    let created = recording.log.iter().position(|event| matches!(event, Event::Started(_))).unwrap();
    let mut judge = Judge::new(&Options::new());
    let disk = recording.disk(&mut judge, FailedFlush::Keeps);
    survives_a_killed_writer(&mut judge, &disk, &recording.log, &recording.permitted, created, 1);
    report("killed writer", &judge, begun);
}

#[test]
fn a_failed_flush_then_death_then_a_cut_in_the_next_process_are_survived() {
    let begun = Instant::now();
    let directory = memory_directory();
    let (base_path, path) = (directory.path().join("base.maple"), directory.path().join("test.maple"));
    base(&base_path, &Options::new());
    let actions = &ordinary()[..4];
    let ops = run_with(&base_path, &path, &Options::new(), actions, Recorder::default()).recorder.ops();
    let mut judge = Judge::new(&Options::new());
    let before = judge.image_of(&base_path);
    for at in 0..ops {
        let failing = Recorder::failing(at..at + 1, Failure::Io);
        let run = run_with(&base_path, &path, &Options::new(), actions, failing);
        let Some((event, _)) = run.recorder.hit().filter(|(_, what)| what.starts_with("flush")) else {
            continue;
        };
        for rule in [FailedFlush::Keeps, FailedFlush::LosesFresh] {
            // It dies right after the failure, or while the next txn puts things right.
            let (disk, log) = (Disk::holding(&before, rule), run.recorder.log());
            let log = &log[..(event + 7).min(log.len())];
            survives_a_killed_writer(&mut judge, &disk, log, &run.permitted, event + 1, 2);
        }
    }
    report("failed flush, killed writer", &judge, begun);
}

// ---- failing operations ----

/// A store with something in it, from which every run with a failure starts.
fn base(path: &Path, options: &Options) {
    let mut session = Session::open(path, options, Arc::new(Recorder::default())).unwrap();
    for i in 0..3 {
        let steps = (0..12).map(|j| put("words", i * 9 + j, 300, i as u8)).chain([put("old", i, 5000, 1)]);
        session.act(&Action::Commit(steps.collect())).unwrap();
    }
}

struct FaultRun {
    recorder: Arc<Recorder>,
    permitted: Permitted,
    errors: Vec<String>,
}

/// Runs `actions` in a copy of the store at `base`, in one process, and checks after each.
fn run_with(base: &Path, path: &Path, options: &Options, actions: &[Action], recorder: Recorder) -> FaultRun {
    let _ = std::fs::remove_file(path);
    std::fs::copy(base, path).unwrap();
    let recorder = Arc::new(recorder);
    let mut errors = Vec::new();
    let mut session = loop {
        let hits = recorder.hits();
        match Session::open(path, options, Arc::clone(&recorder)) {
            Ok(session) => break session,
            Err(error) if recorder.hits() > hits => errors.push(format!("opening: {error}")),
            Err(error) => panic!("opening fails although the failure was before it: {error}"),
        }
    };
    for (number, action) in actions.iter().enumerate() {
        let hits = recorder.hits();
        if let Err(error) = session.act(action) {
            let now = recorder.hits() > hits;
            assert!(now, "action {number} fails although the failure was before it: {error}");
            errors.push(format!("action {number}: {error}"));
        }
        sound(&session.db).unwrap();
    }
    FaultRun { permitted: Permitted::new(&session.states), recorder, errors }
}

/// Lets the k-th operation fail, for every k, or `count` from there on, and cuts the power at every
/// later place.
fn survives_failures(
    name: &str,
    options: &Options,
    actions: &[Action],
    failures: &[Failure],
    every: usize,
    count: usize,
) {
    let begun = Instant::now();
    let directory = memory_directory();
    let (base_path, path) = (directory.path().join("base.maple"), directory.path().join("test.maple"));
    base(&base_path, options);
    let ops = run_with(&base_path, &path, options, actions, Recorder::default()).recorder.ops();
    let mut judge = Judge::new(options);
    let before = judge.image_of(&base_path);
    let mut wrong = Vec::new();
    for at in (0..ops).step_by(every) {
        for failure in failures {
            let run = || {
                fail_once(&mut judge, &before, &base_path, &path, options, actions, at..at + count, *failure)
            };
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run));
            wrong.extend(outcome.err().map(|panic| {
                let text = panic.downcast_ref::<String>().cloned();
                let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
                format!(
                    "operation {at} + {count} of {ops} fails with {failure:?}: {}",
                    text.unwrap_or_default()
                )
            }));
        }
    }
    report(name, &judge, begun);
    assert!(wrong.is_empty(), "{} of {ops} operations:\n{}", wrong.len(), wrong.join("\n"));
}

#[allow(clippy::too_many_arguments)]
fn fail_once(
    judge: &mut Judge,
    before: &Image,
    base: &Path,
    path: &Path,
    options: &Options,
    actions: &[Action],
    numbers: std::ops::Range<usize>,
    failure: Failure,
) {
    let run = run_with(base, path, options, actions, Recorder::failing(numbers, failure));
    let Some((from, what)) = run.recorder.hit() else { return };
    let short = matches!(failure, Failure::Short(_));
    assert!(!short || run.errors.is_empty(), "short {what} is an error: {:?}", run.errors);
    let flush = what.starts_with("flush");
    assert!(!flush || !run.errors.is_empty(), "failed {what} went unnoticed");
    if short {
        return;
    }
    for rule in [FailedFlush::Keeps, FailedFlush::LosesFresh] {
        if rule == FailedFlush::LosesFresh && !flush {
            continue;
        }
        let effort = Effort { at_flush: 4, from, ..LARGE };
        let disk = Disk::holding(before, rule);
        let violations = judge.examine(disk, &run.recorder.log(), run.permitted.clone(), effort);
        assert!(violations.is_empty(), "{what}, {rule:?}, {:?}: {}", run.errors, violations[0]);
    }
}

const FAILURES: [Failure; 4] = [Failure::Io, Failure::Full, Failure::Short(1), Failure::Short(1000)];

fn ordinary() -> Vec<Action> {
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
    survives_failures("failures", &Options::new(), &ordinary(), &FAILURES, 1, 1);
}

#[test]
fn failures_while_a_failure_is_put_right_are_survived() {
    let actions = [ordinary(), ordinary()].concat();
    for count in [2, 3, 6, 15] {
        let name = format!("{count} failures");
        survives_failures(&name, &Options::new(), &actions[..9], &FAILURES[..1], 2, count);
    }
}

#[test]
fn when_every_flush_fails_reading_goes_on_and_nothing_is_acknowledged() {
    let directory = memory_directory();
    let path = directory.path().join("test.maple");
    base(&path, &Options::new());
    let recorder = Arc::new(Recorder::failing(2..usize::MAX, Failure::Io));
    let mut session = Session::open(&path, &Options::new(), Arc::clone(&recorder)).unwrap();
    for action in ordinary() {
        assert!(session.act(&action).is_err());
        sound(&session.db).unwrap();
    }
    let model = session.model.clone();
    drop(session);
    let session = Session::open(&path, &Options::new(), Arc::new(Recorder::default())).unwrap();
    assert!(session.model == model);
    sound(&session.db).unwrap();
}

#[test]
fn a_failing_operation_in_a_txn_written_early_is_survived() {
    let actions = [
        Action::Commit(spilling(1)),
        Action::Commit(vec![put("words", 1, 10, 11)]),
        Action::Commit((0..9).map(|i| put("words", 50 + i, 3000, 12)).collect()),
    ];
    survives_failures(
        "failures, spilling",
        &Options::new().dirty_limit(1 << 20),
        &actions,
        &FAILURES[..2],
        5,
        1,
    );
}

#[test]
fn a_failing_operation_in_an_aborted_txn_is_survived() {
    let actions = [
        Action::Abort(spilling(1)),
        Action::Commit(vec![put("words", 1, 10, 11)]),
        Action::Commit((0..30).map(|i| put("words", 50 + i, 3000, 12)).collect()),
    ];
    survives_failures(
        "failures, aborted",
        &Options::new().dirty_limit(1 << 20),
        &actions,
        &FAILURES[..1],
        1,
        1,
    );
}

#[test]
fn a_failing_operation_during_creation_is_an_error_and_creation_works_afterwards() {
    for named in [false, true] {
        for at in 0..5 {
            let directory = memory_directory();
            let path = directory.path().join("test.maple");
            if named {
                std::fs::write(&path, b"").unwrap();
            }
            let recorder = Arc::new(Recorder::failing(at..at + 1, Failure::Io));
            let failed = Session::open(&path, &Options::new(), Arc::clone(&recorder));
            assert!(failed.is_err(), "operation {at}: {:?}", recorder.hit());
            let mut session = Session::open(&path, &Options::new(), Arc::clone(&recorder)).unwrap();
            session.act(&Action::Commit(vec![put("words", 1, 10, 1)])).unwrap();
            sound(&session.db).unwrap();
            if !named {
                // The first attempt went to another file, which had no name.
                continue;
            }
            for rule in [FailedFlush::Keeps, FailedFlush::LosesFresh] {
                let mut judge = Judge::new(&Options::new());
                let disk = Disk::holding(&Image { len: 0, blocks: Vec::new() }, rule);
                judge.accept(disk, &recorder.log(), Permitted::new(&session.states), USUAL);
            }
        }
    }
}

// ---- negative controls ----

/// The log without the flushes whose number within the commit is `which`: 0 for the data, 1 for the meta.
fn without_flush(log: &[Event], which: usize) -> Vec<Event> {
    let mut number = None;
    let keep = |event: &&Event| match event {
        Event::Started(_) => {
            number = Some(0);
            true
        }
        Event::Sync { .. } => {
            let this = number;
            number = number.map(|number| number + 1);
            this != Some(which)
        }
        _ => true,
    };
    log.iter().filter(keep).cloned().collect()
}

fn violations_without_flush(which: usize) -> Vec<String> {
    let recording = record(&Options::new(), &single_puts());
    let log = without_flush(&recording.log, which);
    assert_eq!(recording.log.len() - log.len(), single_puts().len(), "one flush a commit was left out");
    let mut judge = Judge::new(&Options::new());
    let disk = recording.disk(&mut judge, FailedFlush::Keeps);
    judge.examine(disk, &log, recording.permitted, Effort { recover_every: 0, ..USUAL })
}

#[test]
fn control_a_commit_without_its_data_flush_is_caught() {
    let violations = violations_without_flush(0);
    assert!(violations.iter().any(|wrong| wrong.contains("damaged")), "{violations:#?}");
}

#[test]
fn control_a_commit_without_its_meta_flush_is_caught() {
    let violations = violations_without_flush(1);
    assert!(violations.iter().any(|wrong| wrong.contains("acknowledged is")), "{violations:#?}");
}

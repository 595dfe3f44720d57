//! Failures that do not end: from the k-th operation on all fail, for every k.
//!
//! What every run owes, whether everything fails, or only flushes, or only what takes space: errors, and no panic;
//! reading goes on; nothing is acknowledged whose flush failed; the store is tried again a bounded number of times
//! (the recorder counts). When the fault is gone the same process goes on, or the next one opens the file, with or
//! without a power cut in between, and finds a permitted state.

use crate::LARGE;
use crate::faults::{Faults, growing, logged, ordered, ordinary};
use crate::judge::{Effort, Judge, Permitted};
use crate::report;
use crate::script::{Action, Session, put};
use crate::workloads::record;
use mapleaf::{Durability, Options};
use mapleaf_crash::{Disk, FailedFlush, Failure, Recorder, memory_directory};
use std::sync::Arc;
use std::time::Instant;

const FAILURES: [Failure; 3] = [Failure::Io, Failure::Flush, Failure::Full];

/// What may happen to the cache.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Cache {
    Keeps,
    LosesFresh,
    Reverts,
}

/// One run: the failure, from which operation on, and whether it ends before the process does.
#[derive(Clone, Copy, Debug)]
struct Fault {
    from: usize,
    failure: Failure,
    cache: Cache,
    heals: bool,
}

/// Runs all that the workload does, and judges what is left. Whether the fault came.
fn run(faults: &mut Faults, fault: Fault) -> bool {
    std::fs::copy(&faults.base, &faults.path).unwrap();
    let mut recorder = Recorder::failing(fault.from..usize::MAX, fault.failure);
    if fault.cache == Cache::Reverts {
        recorder = recorder.reverting(&faults.path, &std::fs::read(&faults.base).unwrap());
    }
    let recorder = Arc::new(recorder);
    let permitted = go(faults, &recorder, fault);
    let Some((hit, what)) = recorder.hit() else { return false };
    let rule = match fault.cache {
        Cache::LosesFresh => FailedFlush::LosesFresh,
        _ => FailedFlush::Keeps,
    };
    let log = recorder.log();
    // First as the process has left it: no power was cut.
    let left = faults.judge.image_of(&faults.path);
    let end = permitted.clone().after(&log);
    faults.judge.judge(&left, &end).unwrap_or_else(|wrong| panic!("{fault:?}, {what}: left behind: {wrong}"));
    let effort = Effort { at_flush: 2, from: hit, ..LARGE };
    let violations = faults.judge.examine(Disk::holding(&faults.before, rule), &log, permitted, effort);
    assert!(violations.is_empty(), "{fault:?}, {what}: {}", violations[0]);
    true
}

/// The process. Returns what it has committed.
fn go(faults: &Faults, recorder: &Arc<Recorder>, fault: Fault) -> Permitted {
    let open = || Session::open(&faults.path, &faults.options, Arc::clone(recorder));
    let mut session = match open() {
        Ok(session) => session,
        Err(_) => {
            // Nor does it open when it is tried again, as long as the fault lasts.
            assert!(recorder.hits() > 0 && open().is_err(), "{fault:?}");
            recorder.heal();
            open().expect("nothing fails any more")
        }
    };
    for action in &faults.actions {
        let was_hit = recorder.hits() > 0;
        let done = session.act(action);
        session.check_pages();
        let needs_disk = matches!(action, Action::Commit(_) | Action::CommitAs(Durability::Ordered, _));
        let is_lie = was_hit && needs_disk && done.is_ok() && recorder.is_failing();
        assert!(!is_lie, "{fault:?}: {action:?} has succeeded");
    }
    if fault.heals {
        recorder.heal();
        for i in 0..2 {
            session.act(&Action::Commit(record(70 + i, 5))).expect("nothing fails any more");
            session.check_pages();
        }
    }
    let states = Permitted::new(&session.states());
    let _ = session.close();
    states
}

fn survives_for_ever(name: &str, mut faults: Faults, every: usize) {
    let begun = Instant::now();
    // A store that cannot be opened is not opened again.
    faults.actions.retain(|action| !matches!(action, Action::Reopen));
    let ops = faults.run(Recorder::default()).recorder.ops();
    let mut full = 0;
    for from in (0..ops).step_by(every) {
        for failure in FAILURES {
            let heals = (from / every).is_multiple_of(2);
            let caches = match failure {
                Failure::Full => &[Cache::Keeps][..],
                _ => &[Cache::Keeps, Cache::LosesFresh, Cache::Reverts],
            };
            for cache in caches {
                let was_hit = run(&mut faults, Fault { from, failure, cache: *cache, heals });
                full += u64::from(was_hit && failure == Failure::Full);
            }
        }
    }
    report("F7", &format!("{name}, {ops} operations"), &faults.judge, begun);
    crate::tried("F10", name, full);
}

#[test]
fn when_commits_in_place_fail_for_ever_the_process_reads_on_and_the_store_is_recovered() {
    survives_for_ever("for ever", Faults::new(&ordered(), &ordinary()), 2);
}

#[test]
fn when_logged_commits_fail_for_ever_the_process_reads_on_and_the_store_is_recovered() {
    survives_for_ever("for ever, logged", Faults::new(&Options::new(), &logged()), 2);
}

#[test]
fn when_growth_fails_for_ever_the_process_reads_on_and_the_store_is_recovered() {
    survives_for_ever("for ever, growth", Faults::new(&Options::new(), &growing()), 3);
}

#[test]
fn when_replay_fails_for_ever_opening_is_an_error_and_the_store_is_recovered_later() {
    let actions = [Action::Commit(record(20, 6)), Action::Commit(record(21, 20))];
    survives_for_ever("for ever, replay", Faults::new(&Options::new(), &actions).killed(), 1);
}

#[test]
fn when_creation_fails_for_ever_opening_is_an_error_and_it_is_created_later() {
    let begun = Instant::now();
    let mut judge = Judge::new(&Options::new());
    for (named, failure) in [(false, Failure::Io), (true, Failure::Io), (true, Failure::Flush)] {
        for from in 0..4 {
            let directory = memory_directory();
            let path = directory.path().join("test.maple");
            if named {
                std::fs::write(&path, b"").unwrap();
            }
            let recorder = Arc::new(Recorder::failing(from..usize::MAX, failure));
            let open = || Session::open(&path, &Options::new(), Arc::clone(&recorder));
            assert!(open().is_err() && open().is_err(), "{from}");
            recorder.heal();
            let mut session = open().expect("nothing fails any more");
            session.act(&Action::Commit(vec![put("words", 1, 10, 1)])).unwrap();
            if named {
                let permitted = Permitted::new(&session.states());
                judge.accept(Disk::empty(), &recorder.log(), permitted, Effort { at_flush: 8, ..LARGE });
            }
        }
    }
    report("F4", "for ever, creation", &judge, begun);
}

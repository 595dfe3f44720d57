//! A cut in each phase of a store's life, a second one while what is left is opened, and a third one while that is:
//! creation, growth, logging, replay, checkpoint, and cutting off the end of the file.

use crate::judge::{Effort, Judge, Permitted};
use crate::script::{Action, Session, put};
use crate::workloads::{checkpoints, growing, logged_growth, record, rounds, single_puts, spilling};
use crate::{record as run, report};
use mapleaf::{Durability, Options};
use mapleaf_crash::{Disk, Event, FailedFlush, Recorder, memory_directory};
use std::sync::Arc;
use std::time::Instant;

const THRICE: Effort =
    Effort { all_up_to: 4, at_flush: 2, elsewhere: 0, recover_every: 12, third_every: 6, from: 0 };

/// Cuts the power in a workload that goes through the phase, at least `times` times.
fn survives_thrice(
    name: &str,
    options: &Options,
    actions: &[Action],
    is_in_phase: fn(&Event) -> bool,
    times: usize,
) {
    let begun = Instant::now();
    let recording = run(options, actions);
    let count = recording.log.iter().filter(|event| is_in_phase(event)).count();
    assert!(count >= times, "{name} comes {count} times");
    let mut judge = Judge::new(options);
    judge.accept(Disk::empty(), &recording.log, recording.permitted, THRICE);
    assert!(judge.again > 5, "only {} images were cut again", judge.again);
    report("F1", name, &judge, begun);
}

#[test]
fn three_cuts_in_creation_are_survived() {
    let begun = Instant::now();
    let directory = memory_directory();
    let path = directory.path().join("test.maple");
    std::fs::write(&path, b"").unwrap();
    let recorder = Arc::new(Recorder::default());
    let session = Session::open(&path, &Options::new(), Arc::clone(&recorder)).unwrap();
    let mut judge = Judge::new(&Options::new());
    let effort = Effort { at_flush: 60, elsewhere: 60, recover_every: 1, third_every: 3, ..THRICE };
    judge.accept(Disk::empty(), &recorder.log(), Permitted::new(&session.states()), effort);
    // There are not more: no file, one of zeros of any length, the store.
    assert!(judge.again >= 5, "only {} images were cut again", judge.again);
    report("F4", "creation, thrice", &judge, begun);
}

#[test]
fn three_cuts_in_growth_are_survived() {
    let is_growth = |event: &Event| matches!(event, Event::Reserve { .. });
    survives_thrice("growth, thrice", &Options::new(), &logged_growth()[..7], is_growth, 2);
    let ordered = Options::new().durability(Durability::Ordered);
    survives_thrice("growth in place, thrice", &ordered, &growing()[..5], is_growth, 2);
}

#[test]
fn three_cuts_in_logging_are_survived() {
    survives_thrice("logging, thrice", &Options::new(), &single_puts(), Event::is_record, 8);
}

#[test]
fn three_cuts_in_checkpoints_are_survived() {
    survives_thrice("checkpoints, thrice", &Options::new(), &checkpoints(), Event::is_meta_flush, 4);
}

#[test]
fn three_cuts_while_the_end_of_the_file_is_cut_off_are_survived() {
    let actions = [
        Action::Commit((0..40).map(|i| put("words", i, 2000, 1)).collect()),
        Action::Commit(record(1, 6)),
        Action::Commit(record(2, 6)),
        Action::Abort(spilling(1)),
        Action::Commit(vec![put("words", 2, 10, 2)]),
        Action::Abort(spilling(2)),
        Action::Commit((0..30).map(|i| put("words", 200 + i, 3000, 4)).collect()),
    ];
    let options = Options::new().dirty_limit(1 << 20);
    let cuts_off = |event: &Event| matches!(event, Event::SetLen { len: 1.. });
    survives_thrice("truncation, thrice", &options, &actions, cuts_off, 2);
}

/// What a writer has left that was killed behind logged commits and in the middle of one that grew the file: whoever
/// opens it replays, cuts off the growth, and makes a checkpoint.
#[test]
fn three_cuts_in_replay_and_in_its_checkpoint_are_survived() {
    let begun = Instant::now();
    let recording = run(&Options::new(), &[&rounds()[..6], &logged_growth()[2..4]].concat());
    let grown = recording.log.iter().rposition(|event| matches!(event, Event::Reserve { .. })).unwrap();
    let mut judge = Judge::new(&Options::new());
    let mut disk = Disk::empty();
    recording.log[..grown + 2].iter().for_each(|event| disk.apply(event, &mut judge.pool));
    let (left, recorder) = (disk.cached(), Arc::new(Recorder::default()));
    let path = judge.lay_out(&left);
    let mut session = Session::open(&path, &Options::new(), Arc::clone(&recorder)).unwrap();
    assert!(session.db().counters().replayed_txns >= 3, "{:?}", session.db().counters());
    session.next = 1000;
    session.act(&Action::Commit(record(1, 3))).unwrap();
    let log = recorder.log();
    assert!(log.iter().any(|event| matches!(event, Event::SetLen { len: 1.. })), "growth is cut off");
    let effort = Effort { recover_every: 3, ..THRICE };
    let permitted = Permitted::new(&session.states());
    judge.accept(Disk::holding(&left, FailedFlush::Keeps), &log, permitted, effort);
    assert!(judge.again > 5, "only {} images were cut again", judge.again);
    report("F1", "replay, thrice", &judge, begun);
}

//! Power cuts at every place of a workload, and writers that are killed there.

use crate::faults::{base, run_with};
use crate::judge::{Effort, Judge, Permitted};
use crate::script::{Action, Session, put};
use crate::workloads::*;
use crate::{LARGE, Recording, USUAL, record as run, report, survives};
use mapleaf::{Durability, Options};
use mapleaf_crash::{BLOCK, Disk, Event, FailedFlush, Failure, Image, Recorder, memory_directory};
use std::sync::Arc;
use std::time::Instant;

fn ordered() -> Options {
    Options::new().durability(Durability::Ordered)
}

/// For long workloads.
const LONG: Effort = Effort { at_flush: 8, elsewhere: 0, all_up_to: 64, recover_every: 60, ..USUAL };

// ---- commits in place ----

#[test]
fn a_cut_in_small_commits_keeps_every_acknowledged_one() {
    survives("small commits", &ordered(), &single_puts(), USUAL);
}

#[test]
fn every_subset_of_the_pages_of_a_commit_may_be_missing() {
    survives("scattered", &ordered(), &scattered(), Effort { elsewhere: 0, ..USUAL });
}

#[test]
fn a_cut_in_deletes_large_values_and_dropped_tables_is_survived() {
    survives("mixed", &ordered(), &mixed(), USUAL);
}

#[test]
fn a_cut_while_the_file_grows_is_survived() {
    survives("growing", &ordered(), &growing(), USUAL);
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
    survives("pinned", &ordered(), &pinned(), USUAL);
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
        let permitted = Permitted::new(&session.states());
        let begun = Instant::now();
        judge.accept(Disk::empty(), &recorder.log(), permitted, effort);
        report("F4", "creation", &judge, begun);
    }
}

// ---- logged commits ----

#[test]
fn a_cut_in_small_logged_commits_keeps_every_acknowledged_one() {
    let run = survives("small logged commits", &Options::new(), &single_puts(), USUAL);
    assert_eq!((run.counters.logged_commits, run.counters.checkpoints), (10, 2), "{:?}", run.counters);
}

#[test]
fn a_cut_in_commits_with_pages_of_64_kib_is_survived() {
    survives("64-KiB pages", &Options::new().page_size(65536), &single_puts()[..4], LARGE);
}

#[test]
fn a_cut_in_any_round_of_the_log_is_survived() {
    let run = survives("rounds", &Options::new(), &rounds(), LONG);
    assert!(run.counters.log_full_checkpoints >= 5, "{:?}", run.counters);
    let crossing = run.log.windows(2).filter(|pair| pair.iter().all(Event::is_record)).count();
    assert!(crossing > 0, "a record lies in two extents");
}

#[test]
fn a_cut_is_survived_where_the_checkpoint_may_hold_back_little() {
    let options = Options::new().held_limit(16 << 10);
    let actions: Vec<Action> = (0..36).map(|i| Action::Commit(record(i * 3, 5))).collect();
    let run = survives("little held back", &options, &actions, LONG);
    assert!(run.counters.held_checkpoints >= 3, "{:?}", run.counters);
}

#[test]
fn a_cut_in_logged_changes_of_tables_is_survived() {
    let run = survives("tables", &Options::new(), &tables(), Effort { at_flush: 30, ..USUAL });
    assert!(run.counters.logged_commits >= 8, "{:?}", run.counters);
}

#[test]
fn a_cut_in_a_blend_of_durabilities_tickets_and_reopening_is_survived() {
    survives("blend", &Options::new(), &blend(), LONG);
}

#[test]
fn a_cut_while_logged_commits_grow_the_file_is_survived() {
    let run = survives("logged growth", &Options::new(), &logged_growth(), Effort { at_flush: 20, ..LONG });
    let grown = run.log.iter().filter(|event| matches!(event, Event::Reserve { .. })).count();
    assert!(grown >= 4 && run.counters.logged_commits >= 10, "{grown} times, {:?}", run.counters);
}

#[test]
fn a_cut_while_free_space_goes_back_and_comes_again_is_survived() {
    for options in [Options::new(), ordered()] {
        let effort = Effort { at_flush: 6, recover_every: 90, ..LONG };
        let run = survives("trimmed", &options, &trimmed(), effort);
        let counters = run.counters;
        assert!(counters.punched_bytes > 400 << 10 && counters.filled_bytes > 300 << 10, "{counters:?}");
        let is_hole = |event: &Event| matches!(event, Event::Punch { .. });
        assert!(run.log.iter().filter(|event| is_hole(event)).count() > 8);
    }
}

#[test]
fn a_cut_while_readers_stay_over_checkpoints_is_survived() {
    survives("logged, pinned", &Options::new(), &logged_pins(), LONG);
}

#[test]
fn a_cut_while_readers_of_all_ages_come_and_go_is_survived() {
    let run = survives("many pins", &Options::new(), &many_pins(), LONG);
    assert!(run.counters.logged_commits >= 40 && run.counters.checkpoints >= 8, "{:?}", run.counters);
}

#[test]
fn a_cut_while_snapshots_are_stored_and_dropped_is_survived() {
    survives("stored", &Options::new(), &stored(), LONG);
}

#[test]
fn a_cut_in_checkpoints_that_were_asked_for_is_survived() {
    survives("checkpoints", &Options::new(), &checkpoints(), Effort { at_flush: 30, ..LONG });
}

#[test]
fn a_cut_in_logged_ranges_loads_multimaps_and_nested_txns_is_survived() {
    let effort = Effort { at_flush: 20, recover_every: 40, ..LONG };
    let run = survives("operations", &Options::new(), &operations(), effort);
    assert!(run.counters.logged_commits >= 9, "{:?}", run.counters);
}

#[test]
fn a_cut_in_large_ranges_loads_multimaps_and_values_is_survived() {
    survives("large operations", &ordered(), &large_operations(), LONG);
}

#[test]
fn a_cut_in_ranges_loads_and_multimaps_written_early_is_survived() {
    survives("spilled operations", &Options::new().dirty_limit(1 << 20), &spilled_operations(), LARGE);
}

#[test]
fn a_cut_while_values_go_to_the_file_as_they_are_read_is_survived() {
    survives("streamed", &Options::new(), &streamed(), LARGE);
}

#[test]
fn a_cut_while_snapshots_keep_ranges_and_sets_is_survived() {
    survives("stored operations", &Options::new(), &stored_operations(), LONG);
}

#[test]
fn a_cut_while_a_store_shrinks_is_survived() {
    let run = survives("compacting", &Options::new(), &compacting(), LONG);
    let cuts = run.log.iter().filter(|event| matches!(event, Event::SetLen { len: 1.. })).count();
    assert!(cuts >= 2, "the file was cut {cuts} times");
}

/// Txns in flight, any part of whose records may be on the disk; what is committed after the cut has
/// records of the same length, so that what is left of them lies where the next record would.
#[test]
fn what_a_cut_left_of_the_log_is_not_taken_for_later_txns() {
    let begun = Instant::now();
    let hand = |i: u32| Action::Hand(vec![put("words", 1, 900, i as u8), put("words", 2, 900, i as u8)]);
    let actions = [beginning(), vec![Action::Checkpoint], (10..16).map(hand).collect()].concat();
    let first_life = run(&Options::new(), &actions);
    let mut judge = Judge::new(&Options::new());
    for lost in [0b1u32, 0b10, 0b100, 0b1111, 0b11000] {
        let image = with_sectors_lost(&mut judge, &first_life, lost);
        let path = judge.lay_out(&image);
        let recorder = Arc::new(Recorder::default());
        let mut session = Session::open(&path, &Options::new(), Arc::clone(&recorder)).unwrap();
        session.next = 50;
        for i in 0..4 {
            let steps = vec![put("words", 1, 900, 100 + i), put("words", 2, 900, 100 + i)];
            session.act(&Action::Commit(steps)).unwrap();
        }
        let disk = Disk::holding(&image, FailedFlush::Keeps);
        judge.accept(disk, &recorder.log(), Permitted::new(&session.states()), LONG);
    }
    report("F1", "twins", &judge, begun);
}

/// Everything that was written, but for some sectors of the log's first block.
fn with_sectors_lost(judge: &mut Judge, recording: &Recording, lost: u32) -> Image {
    let mut disk = Disk::empty();
    recording.log.iter().for_each(|event| disk.apply(event, &mut judge.pool));
    let begun = recording.log.iter().rposition(Event::is_meta_flush).unwrap();
    let first = recording.log[begun..].iter().find(|event| event.is_record()).unwrap();
    let Event::Write { offset, .. } = first else { unreachable!("a record is written") };
    let mut image = disk.cached();
    let block = &mut image.blocks[*offset as usize / BLOCK];
    *block = judge.pool.joined(*block, 0, &mut |sector| lost >> sector & 1 == 1);
    image
}

// ---- cuts of a store that is recovering ----

#[test]
fn a_second_cut_while_opening_is_survived() {
    let actions = [&mixed()[..4], &growing()[..3]].concat();
    let effort = Effort { all_up_to: 64, at_flush: 6, elsewhere: 0, recover_every: 3, ..USUAL };
    survives("second cut", &Options::new(), &actions, effort);
}

#[test]
fn a_second_and_a_third_cut_while_a_full_log_is_replayed_are_survived() {
    let recording = run(&Options::new(), &rounds()[..18]);
    let mut judge = Judge::new(&Options::new());
    let begun = Instant::now();
    let from = recording.log.len() - 30;
    let effort = Effort { all_up_to: 16, at_flush: 4, elsewhere: 0, recover_every: 2, third_every: 9, from };
    judge.accept(Disk::empty(), &recording.log, recording.permitted, effort);
    report("F1", "cuts in replay", &judge, begun);
}

#[test]
fn a_second_and_a_third_cut_while_ranges_and_multimaps_are_replayed_are_survived() {
    let recording = run(&Options::new(), &operations());
    let mut judge = Judge::new(&Options::new());
    let begun = Instant::now();
    let from = recording.log.len() - 12;
    let effort = Effort { all_up_to: 16, at_flush: 4, elsewhere: 0, recover_every: 2, third_every: 9, from };
    judge.accept(Disk::empty(), &recording.log, recording.permitted, effort);
    assert!(judge.again > 3, "{} images were cut again", judge.again);
    report("F1", "cuts in the replay of operations", &judge, begun);
}

// ---- killed writers ----

/// How many kills and cuts there are behind a log.
#[derive(Clone, Copy)]
struct Kills {
    /// The first event before which the writer dies.
    from: usize,
    /// It dies before one event in so many.
    every: usize,
}

/// Lets the writer die before every event from `from` on, without a power cut; another process opens
/// what the page cache holds and commits; then the power is cut.
fn survives_a_killed_writer(
    judge: &mut Judge,
    disk: &Disk,
    log: &[Event],
    permitted: &Permitted,
    kills: Kills,
) {
    let initial = disk;
    let mut disk = disk.clone();
    for at in 0..=log.len() {
        if at >= kills.from && (at - kills.from).is_multiple_of(kills.every) {
            let violations = kill_and_go_on(judge, initial, &disk, &log[..at], permitted);
            assert!(violations.is_empty(), "the writer died before event {at}: {}", violations[0]);
        }
        if let Some(event) = log.get(at) {
            disk.apply(event, &mut judge.pool);
        }
    }
}

/// What is wrong after a cut in the next process; `disk` is what `log` makes of `initial`.
fn kill_and_go_on(
    judge: &mut Judge,
    initial: &Disk,
    disk: &Disk,
    log: &[Event],
    permitted: &Permitted,
) -> Vec<String> {
    let (at, path) = (log.len(), judge.lay_out(&disk.cached()));
    let recorder = Arc::new(Recorder::default());
    let mut session = Session::open(&path, &Options::new(), Arc::clone(&recorder)).unwrap();
    let found = session.next - 1;
    let has_reverted = log.iter().any(|event| matches!(event, Event::Reverted { .. }));
    let kept = permitted.clone().after(log).check_killed(found, has_reverted);
    // Its txns have numbers of their own; what it found it has shown, so that must stay.
    session.next = 1000 * (at as u64 + 1);
    recorder.note(Event::Acknowledged(found));
    for i in 0..3 {
        // Some are logged, some are checkpoints.
        let len = if (i + at as u32).is_multiple_of(2) { 900 } else { 3000 };
        let steps = (0..4).map(|j| put("words", i * 5 + j, len, 200 + i as u8)).collect();
        session.act(&Action::Commit(steps)).unwrap();
    }
    let log = [log, &recorder.log()].concat();
    let mut states = session.states();
    // The state that was found has the number that the dead process gave it.
    states.remove(&found);
    let effort = Effort { all_up_to: 16, at_flush: 5, from: at, ..LARGE };
    let mut violations = judge.examine(initial.clone(), &log, permitted.with(&states), effort);
    violations.extend(kept.err());
    violations
}

/// The place of the first commit.
fn first_commit(log: &[Event]) -> usize {
    log.iter().position(|event| matches!(event, Event::Started(_))).unwrap()
}

fn survives_kills(name: &str, options: &Options, actions: &[Action], every: usize) {
    let begun = Instant::now();
    let recording = run(options, actions);
    let mut judge = Judge::new(&Options::new());
    let kills = Kills { from: first_commit(&recording.log), every };
    survives_a_killed_writer(&mut judge, &Disk::empty(), &recording.log, &recording.permitted, kills);
    report("F15", name, &judge, begun);
}

#[test]
fn a_writer_killed_anywhere_and_a_cut_in_the_next_process_are_survived() {
    let actions = [&single_puts()[..2], &growing()[..2], &mixed()[1..4]].concat();
    survives_kills("killed writer", &ordered(), &actions, 1);
}

#[test]
fn a_writer_killed_anywhere_in_logged_commits_and_a_cut_in_the_next_process_are_survived() {
    let actions = [&blend()[..19], &logged_growth()[2..4], &blend()[2..9]].concat();
    survives_kills("killed writer, logged", &Options::new(), &actions, 2);
}

#[test]
fn a_writer_killed_anywhere_in_ranges_and_multimaps_and_a_cut_in_the_next_process_are_survived() {
    survives_kills("killed writer, operations", &Options::new(), &operations(), 6);
}

#[test]
fn a_writer_killed_anywhere_while_free_space_goes_back_and_a_cut_in_the_next_process_are_survived() {
    survives_kills("killed writer, trimmed", &Options::new(), &trimmed(), 12);
}

#[test]
fn a_failed_flush_then_death_then_a_cut_in_the_next_process_are_survived() {
    survives_failed_flush_and_kill(
        "failed flush, killed writer",
        &ordered(),
        &crate::faults::ordinary()[..4],
    );
}

#[test]
fn a_failed_flush_of_the_log_then_death_then_a_cut_in_the_next_process_are_survived() {
    let actions = &crate::faults::logged()[..8];
    survives_failed_flush_and_kill("failed flush, killed writer, logged", &Options::new(), actions);
}

/// Lets the writer die right after each failed flush, or while the next txn puts things right.
fn survives_failed_flush_and_kill(name: &str, options: &Options, actions: &[Action]) {
    let begun = Instant::now();
    let directory = memory_directory();
    let (base_path, path) = (directory.path().join("base.maple"), directory.path().join("test.maple"));
    base(&base_path, options);
    let ops = run_with(&base_path, &path, options, actions, Recorder::default()).recorder.ops();
    let mut judge = Judge::new(&Options::new());
    let before = judge.image_of(&base_path);
    for at in 0..ops {
        let failing = Recorder::failing(at..at + 1, Failure::Io);
        let run = run_with(&base_path, &path, options, actions, failing);
        let Some((event, _)) = run.recorder.hit().filter(|(_, what)| what.starts_with("flush")) else {
            continue;
        };
        let reverting =
            Recorder::failing(at..at + 1, Failure::Io).reverting(&path, &std::fs::read(&base_path).unwrap());
        let reverted = run_with(&base_path, &path, options, actions, reverting);
        for (run, rule) in
            [(&run, FailedFlush::Keeps), (&run, FailedFlush::LosesFresh), (&reverted, FailedFlush::Keeps)]
        {
            let (disk, log) = (Disk::holding(&before, rule), run.recorder.log());
            let is_reverted = |event: &&Event| matches!(event, Event::Reverted { .. });
            // Not within: the flush is over when its blocks are what they are.
            let from = event + 1 + log[event + 1..].iter().take_while(is_reverted).count();
            let log = &log[..(from + 8).min(log.len())];
            survives_a_killed_writer(&mut judge, &disk, log, &run.permitted, Kills { from, every: 2 });
        }
    }
    report("F15", name, &judge, begun);
}

//! Negative controls: recorded logs in which one flush is missing or late. Each must be found wrong, for
//! the reason that the flush is there.

use crate::judge::{Effort, Judge};
use crate::script::Action;
use crate::workloads::{beginning, record as steps, single_puts};
use crate::{Recording, USUAL, record};
use mapleaf::{Durability, Options};
use mapleaf_crash::{Disk, Event};

/// What is wrong with a recording whose log is replaced.
fn violations(recording: &Recording, log: &[Event]) -> Vec<String> {
    let mut judge = Judge::new(&Options::new());
    let effort = Effort { recover_every: 0, ..USUAL };
    judge.examine(Disk::empty(), log, recording.permitted.clone(), effort)
}

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
    let recording = record(&Options::new().durability(Durability::Ordered), &single_puts());
    let log = without_flush(&recording.log, which);
    assert_eq!(recording.log.len() - log.len(), single_puts().len(), "one flush a commit was left out");
    violations(&recording, &log)
}

#[test]
fn control_a_commit_without_its_data_flush_is_caught() {
    let violations = violations_without_flush(0);
    assert!(violations.iter().any(|wrong| wrong.contains("its checksum is")), "{violations:#?}");
}

#[test]
fn control_a_commit_without_its_meta_flush_is_caught() {
    let violations = violations_without_flush(1);
    assert!(violations.iter().any(|wrong| wrong.contains("acknowledged is")), "{violations:#?}");
}

/// The log without the flushes that follow a record.
fn without_log_flushes(log: &[Event]) -> Vec<Event> {
    let is_log_flush = |at: usize| matches!(log[at], Event::Sync { .. }) && log[at - 1].is_record();
    (0..log.len()).filter(|at| !is_log_flush(*at)).map(|at| log[at].clone()).collect()
}

#[test]
fn control_a_logged_commit_without_its_flush_is_caught() {
    let recording = record(&Options::new(), &single_puts());
    let log = without_log_flushes(&recording.log);
    let logged = recording.counters.logged_commits as usize;
    assert_eq!(recording.log.len() - log.len(), logged, "one flush a logged commit was left out");
    let violations = violations(&recording, &log);
    let lost = violations.iter().filter(|wrong| wrong.contains("acknowledged is")).count();
    assert!(lost >= logged, "{violations:#?}");
}

/// The log with the last checkpoint's meta flush later: behind the first record after it.
fn with_late_meta_flush(log: &[Event]) -> Vec<Event> {
    let flush = log.iter().rposition(Event::is_meta_flush).expect("there is a checkpoint");
    let record = flush + log[flush..].iter().position(Event::is_record).expect("the log goes on");
    let mut log = log.to_vec();
    log[flush..=record].rotate_left(1);
    log
}

#[test]
fn control_a_log_that_begins_again_before_the_checkpoint_is_on_the_disk_is_caught() {
    // The pages of the checkpoint before are not reused as long as there is a reader.
    let mut actions = [beginning(), vec![Action::Checkpoint, Action::Pin]].concat();
    actions.extend((2..5).map(|i| Action::Commit(steps(i, 6))));
    actions.extend([Action::Checkpoint, Action::Commit(steps(5, 6))]);
    let recording = record(&Options::new(), &actions);
    let log = with_late_meta_flush(&recording.log);
    let violations = violations(&recording, &log);
    // A record that was written later may tell that the lost ones were there: then it does not open.
    let is_lost = |wrong: &String| wrong.contains("acknowledged is") || wrong.contains("was on the disk");
    assert!(violations.iter().any(is_lost), "{violations:#?}");
    // The checkpoint loses nothing as long as the log is left alone: it says what the log says.
    let flush = recording.log.iter().rposition(Event::is_meta_flush).unwrap();
    assert!(violations.iter().all(|wrong| place(wrong) > flush), "{violations:#?}");
}

/// The event before which the power was cut.
fn place(violation: &str) -> usize {
    let number = violation.split("event ").nth(1).and_then(|rest| rest.split(' ').next());
    number.and_then(|number| number.parse().ok()).expect("it names its place")
}

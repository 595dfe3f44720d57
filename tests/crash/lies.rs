//! A disk that lies about flushes: each returns success, and any block may be in any version that it ever had.
//!
//! No store survives that whole. What is owed: no panic, no hang, and never a wrong answer. A file may be refused, when it
//! is opened or when something is read; but what is read is what the txn held that the snapshot says it is of, so a
//! snapshot that can be read to its end is that of one whole txn.

use crate::judge::{Judge, guarded, probe, sound};
use crate::operations;
use crate::script::{Action, Contents, open};
use crate::workloads::*;
use crate::{Recording, record as run, report};
use mapleaf::{Database, Durability, Error, Options, ReadTxn};
use mapleaf_crash::{Amount, Disk, Event};
use rand::SeedableRng;
use rand::rngs::StdRng;
use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::time::Instant;

/// What a file was good for.
#[derive(Default, Debug)]
struct Tally {
    /// Read to its end, as of some whole txn; and how many of these were as of the last that was acknowledged.
    whole: u64,
    newest: u64,
    /// Refused when it was opened, and at a read.
    not_opened: u64,
    not_read: u64,
}

/// What one file answers.
pub enum Answer {
    Whole(u64),
    NotOpened,
    NotRead,
}

fn is_refusal(error: &Error) -> bool {
    matches!(error, Error::Corrupt { .. } | Error::NotAStore { .. })
}

/// Opens the file and reads everything in every way. Wrong is a text.
pub fn ask(path: &Path, options: &Options, models: &BTreeMap<u64, Contents>) -> Result<Answer, String> {
    let db = match open(path, options) {
        Ok(db) => db,
        Err(error) if is_refusal(&error) => return Ok(Answer::NotOpened),
        Err(error) => return Err(format!("opening is neither right nor refused: {error}")),
    };
    let reader = db.begin_read().map_err(|error| format!("no snapshot: {error}"))?;
    let txn = reader.user_version();
    let model = models.get(&txn).ok_or_else(|| format!("says it holds txn {txn}, which never was"))?;
    let entries = check(read_entries(&reader, model, models))?;
    let walks = check(walk(&reader, model))?;
    drop(reader);
    // Read-only; says what is wrong without being stopped by it.
    let is_sound = sound(&db).is_ok();
    if !(entries && walks) {
        return match is_sound {
            true => Err("it cannot be read, but it verifies clean".to_owned()),
            false => Ok(Answer::NotRead),
        };
    }
    if is_sound {
        goes_on(&db, txn, model)?;
    }
    Ok(Answer::Whole(txn))
}

/// Whether it could be read; wrong stays wrong.
fn check(read: Result<(), Result<Error, String>>) -> Result<bool, String> {
    match read {
        Ok(()) => Ok(true),
        Err(Ok(error)) if is_refusal(&error) => Ok(false),
        Err(Ok(error)) => Err(format!("reading is neither right nor refused: {error}")),
        Err(Err(wrong)) => Err(wrong),
    }
}

/// Asks for every key that any txn ever had, one by one, also behind one that was refused.
fn read_entries(
    reader: &ReadTxn,
    model: &Contents,
    models: &BTreeMap<u64, Contents>,
) -> Result<(), Result<Error, String>> {
    let mut refused = Ok(());
    let mut asked = HashSet::new();
    for (name, table) in models.values().flatten() {
        for key in table.keys() {
            if !asked.insert((name, key)) {
                continue;
            }
            let expected = model.get(name).and_then(|table| table.get(key)).map(Vec::as_slice);
            let found = operations::get(reader, name, key);
            match found {
                Ok(value) if value.as_deref() == expected => {}
                Ok(value) => {
                    let (found, expected) = (value.map(|value| value.len()), expected.map(<[u8]>::len));
                    let bytes = format!("{found:?} bytes in place of {expected:?}");
                    return Err(Err(format!("WRONG: {name} {key:?} has {bytes}")));
                }
                Err(error) => refused = Err(Ok(error)),
            }
        }
    }
    refused
}

/// Walks through every table, forwards: up to where it is refused, it is what the txn held.
fn walk(reader: &ReadTxn, model: &Contents) -> Result<(), Result<Error, String>> {
    let mut names = Vec::new();
    for info in reader.tables().map_err(Ok)? {
        let Some(expected) = model.get(&info.name) else {
            return Err(Err(format!("WRONG: there is a table {:?}", info.name)));
        };
        let mut expected = expected.iter();
        for entry in operations::iter(reader, &info).map_err(Ok)? {
            let (key, value) = entry.map_err(Ok)?;
            if expected.next().is_none_or(|found| found != (&key, &value)) {
                return Err(Err(format!("WRONG: {} goes on with {key:?}", info.name)));
            }
        }
        if expected.next().is_some() {
            return Err(Err(format!("WRONG: {} ends too early", info.name)));
        }
        names.push(info.name);
    }
    match names.iter().eq(model.keys()) {
        true => Ok(()),
        false => Err(Err(format!("WRONG: tables {names:?}"))),
    }
}

/// A file that is sound takes a txn, and has what it had.
fn goes_on(db: &Database, txn: u64, model: &Contents) -> Result<(), String> {
    probe(db, (1 << 40) + txn, false)?;
    sound(db)?;
    let (_, mut now) = crate::script::look(db).map_err(|error| format!("does not read: {error}"))?;
    now.remove("probe");
    match now == *model {
        true => Ok(()),
        false => Err("WRONG: a txn has changed what it did not touch".to_owned()),
    }
}

/// Runs the workload, and lets the disk lie from a part of the log on.
fn is_never_wrong(name: &str, options: &Options, actions: &[Action]) {
    let begun = Instant::now();
    let recording = run(options, actions);
    let mut judge = Judge::new(options);
    let (mut tally, mut wrong) = (Tally::default(), Vec::new());
    for honest in [0, recording.log.len() / 3, recording.log.len() * 3 / 4] {
        lie(&mut judge, &recording, honest, &mut tally, &mut wrong);
    }
    println!("{name}: {tally:?}, wrong: {}", wrong.len());
    report("F29", name, &judge, begun);
    assert!(wrong.is_empty(), "{} wrong, the first (seed {}): {}", wrong.len(), judge.seed, wrong[0]);
    assert!(tally.whole > 0 && tally.not_opened + tally.not_read > 0, "{tally:?}");
}

/// The disk lies from event `honest` on; the power is cut at every third flush.
fn lie(judge: &mut Judge, recording: &Recording, honest: usize, tally: &mut Tally, wrong: &mut Vec<String>) {
    let mut rng = StdRng::seed_from_u64(judge.seed ^ honest as u64);
    let (mut disk, mut seen, mut acknowledged) = (Disk::empty(), HashSet::new(), 0);
    let mut flushes = 0;
    for at in 0..=recording.log.len() {
        let event = recording.log.get(at);
        if at == honest {
            disk.lie();
        }
        flushes += usize::from(matches!(event, Some(Event::Sync { .. }) | None));
        if at >= honest && matches!(event, Some(Event::Sync { .. }) | None) && flushes % 3 == 0 {
            let (amount, mut images) = (Amount { all_up_to: 8, samples: 15 }, Vec::new());
            disk.images(amount, &mut judge.pool, &mut rng, &mut |image| images.push(image));
            for image in images {
                judge.images += 1;
                if !seen.insert(image.fingerprint()) {
                    continue;
                }
                judge.opened += 1;
                let path = judge.lay_out(&image);
                match guarded(|| ask(&path, &judge.options, &recording.models)) {
                    Ok(Answer::Whole(txn)) => {
                        tally.whole += 1;
                        tally.newest += u64::from(txn >= acknowledged);
                    }
                    Ok(Answer::NotOpened) => tally.not_opened += 1,
                    Ok(Answer::NotRead) => tally.not_read += 1,
                    Err(what) => wrong.push(format!("before event {at}, honest up to {honest}: {what}")),
                }
            }
        }
        match event {
            Some(Event::Acknowledged(txn)) => acknowledged = *txn,
            Some(event) => disk.apply(event, &mut judge.pool),
            None => {}
        }
    }
}

fn ordered() -> Options {
    Options::new().durability(Durability::Ordered)
}

#[test]
fn a_lying_disk_under_commits_in_place_never_makes_an_answer_wrong() {
    is_never_wrong("lies, small commits", &ordered(), &single_puts());
    is_never_wrong("lies, scattered", &ordered(), &scattered());
    is_never_wrong("lies, mixed", &ordered(), &mixed());
    is_never_wrong("lies, growing", &ordered(), &growing());
    is_never_wrong("lies, large operations", &ordered(), &large_operations());
}

#[test]
fn a_lying_disk_under_logged_commits_never_makes_an_answer_wrong() {
    is_never_wrong("lies, logged", &Options::new(), &single_puts());
    is_never_wrong("lies, rounds", &Options::new(), &rounds()[..24]);
    is_never_wrong("lies, blend", &Options::new(), &blend()[..30]);
    is_never_wrong("lies, logged growth", &Options::new(), &logged_growth()[..9]);
    is_never_wrong("lies, operations", &Options::new(), &operations());
}

//! Commits of several threads, in flight at once, through one recorder.
//!
//! Numbers are given under the turn to write, so they ascend in the order of the commits. Operations are logged in the
//! order in which they began, which is one in which they may have taken effect. While the threads write, another reads:
//! every snapshot is that of one whole txn.

use crate::judge::{Effort, Judge, Permitted, sound};
use crate::script::{Contents, digest, look, open, put};
use crate::{LARGE, report};
use mapleaf::{Database, Durability, Options};
use mapleaf_crash::{Disk, Event, FailedFlush, Failure, Image, Recorder, memory_directory};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

const THREADS: u32 = 4;
const EACH: u32 = 8;

/// What each txn leaves, by its number.
type Models = Mutex<BTreeMap<u64, Contents>>;

/// One txn of one thread. Errors are for the log alone.
fn commit(
    db: &Database,
    recorder: &Recorder,
    models: &Models,
    thread: u32,
    round: u32,
) -> mapleaf::Result<()> {
    let mut txn = db.begin_write()?;
    let (number, mut model) = {
        let models = models.lock().unwrap();
        let last = models.keys().last().expect("there is a first state");
        (last + 1, models[&txn.user_version()].clone())
    };
    txn.set_user_version(number);
    for entry in 0..2 + round % 3 {
        let step = put("words", (thread * 7 + round + entry * 5) % 40, 600, (thread * 50 + round) as u8);
        step.carry_out(&mut txn)?;
        step.model(&mut model);
    }
    models.lock().unwrap().insert(number, model);
    if round % 4 == 3 && thread == 0 {
        txn.set_durability(Durability::Ordered);
    }
    recorder.note(Event::Started(number));
    let result = txn.commit_ticket().and_then(|ticket| ticket.wait());
    recorder.note(if result.is_ok() { Event::Acknowledged(number) } else { Event::Failed(number) });
    result
}

/// Reads on until the threads are done; how often.
fn read_on(db: &Database, models: &Models, done: &AtomicBool) -> u64 {
    let mut count = 0;
    while !done.load(Ordering::Relaxed) {
        let (number, found) = look(db).expect("reading goes on");
        assert!(found == models.lock().unwrap()[&number], "a snapshot of txn {number} holds something else");
        count += 1;
    }
    count
}

/// Runs all threads on a new store, with one failing operation or none. Returns the log, and what is permitted.
fn run(recorder: Recorder) -> (Arc<Recorder>, Permitted, usize) {
    let directory = memory_directory();
    let (path, recorder) = (directory.path().join("test.maple"), Arc::new(recorder));
    let options = Options::new().observer(Arc::clone(&recorder) as _);
    let db = open(&path, &options).unwrap();
    let (models, done) = (Mutex::new(BTreeMap::from([(0, Contents::new())])), AtomicBool::new(false));
    let errors = Mutex::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| read_on(&db, &models, &done));
        let writers: Vec<_> = (0..THREADS)
            .map(|thread| {
                let (db, recorder, models, errors) = (&db, &recorder, &models, &errors);
                scope.spawn(move || {
                    for round in 0..EACH {
                        let result = commit(db, recorder, models, thread, round);
                        *errors.lock().unwrap() += usize::from(result.is_err());
                    }
                })
            })
            .collect();
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        done.store(true, Ordering::Relaxed);
    });
    sound(&db).unwrap();
    let hits = recorder.hits();
    drop(db);
    // What fails while the store is closed is nobody's error here.
    assert!(hits == 0 || *errors.lock().unwrap() > 0, "{:?} went unnoticed", recorder.hit());
    let models = models.into_inner().unwrap();
    let states = models.iter().map(|(number, model)| (*number, digest(model))).collect();
    (recorder, Permitted::new(&states), errors.into_inner().unwrap())
}

const QUICK: Effort = Effort { at_flush: 5, recover_every: 60, ..LARGE };

#[test]
fn a_cut_while_several_threads_commit_is_survived() {
    let begun = Instant::now();
    let mut judge = Judge::new(&Options::new());
    for _ in 0..3 {
        let (recorder, permitted, errors) = run(Recorder::default());
        assert_eq!(errors, 0);
        judge.accept(Disk::empty(), &recorder.log(), permitted, QUICK);
    }
    report("F1", "threads", &judge, begun);
}

#[test]
fn a_failing_operation_while_several_threads_commit_is_survived() {
    let begun = Instant::now();
    let mut judge = Judge::new(&Options::new());
    let ops = run(Recorder::default()).0.ops();
    let mut failed = 0;
    // Behind creation and opening.
    for at in (12..ops).step_by((ops / 12).max(1)) {
        let (recorder, permitted, errors) = run(Recorder::failing(at..at + 1, Failure::Io));
        let Some((from, _)) = recorder.hit() else { continue };
        failed += errors;
        for rule in [FailedFlush::Keeps, FailedFlush::LosesFresh] {
            let disk = Disk::holding(&Image::default(), rule);
            judge.accept(disk, &recorder.log(), permitted.clone(), Effort { at_flush: 2, from, ..LARGE });
        }
    }
    println!("{failed} commits have failed");
    report("F9", "threads, failures", &judge, begun);
}

//! An application's own crash test: money is moved between accounts, and no power cut may lose or make any.
//!
//! Run with `cargo run -p mapleaf-crash --example application`.

use mapleaf::{Database, Error, Options, Table};
use mapleaf_crash::{Event, Recorder, Simulation};
use std::path::Path;
use std::sync::Arc;

const ACCOUNTS: Table<u64, u64> = Table::new("accounts");
const JOURNAL: Table<u64, str> = Table::new("journal");

fn open(path: &Path, options: &Options) -> Result<Database, Error> {
    #[allow(unsafe_code)]
    // SAFETY: the file is this program's own.
    unsafe {
        options.open(path)
    }
}

/// Transfer `number`: ten from one account to the next, and a line in the journal.
fn transfer(db: &Database, number: u64) -> Result<(), Error> {
    db.write(|w| {
        let (from, to) = (number % 4, (number + 1) % 4);
        let (rich, poor) = (w.get(ACCOUNTS, &from)?.unwrap_or(100), w.get(ACCOUNTS, &to)?.unwrap_or(100));
        w.put(ACCOUNTS, &from, &(rich - 10))?;
        w.put(ACCOUNTS, &to, &(poor + 10))?;
        w.put(JOURNAL, &number, &format!("10 from {from} to {to}")[..])?;
        Ok(())
    })
}

fn main() -> Result<(), Error> {
    // 1. The workload, recorded: what is started and what is acknowledged stands in the log.
    let directory = tempfile::tempdir().expect("a directory");
    let recorder = Arc::new(Recorder::default());
    let db = open(&directory.path().join("bank.maple"), &Options::new().observer(recorder.clone()))?;
    for number in 1..=8 {
        recorder.note(Event::Started(number));
        transfer(&db, number)?;
        recorder.note(Event::Acknowledged(number));
    }

    // 2. Every file that a power cut may have left is opened and judged.
    let images = Simulation::new(recorder.log()).each_image(|cut| {
        let db = open(cut.path, &Options::new()).expect("it opens after every cut");
        let r = db.begin_read().expect("it can be read");
        let sum: u64 = (0..4).map(|i| r.get(ACCOUNTS, &i).expect("readable").unwrap_or(100)).sum();
        let last = r.last(JOURNAL).expect("readable").map_or(0, |(number, _)| number);
        assert_eq!(sum, 400, "{cut:?}");
        assert!(cut.acknowledged <= last && last <= cut.started, "{cut:?}: transfer {last}");
        transfer(&db, last + 1).expect("it goes on");
    });
    println!("{images} files, each with all the money and every acknowledged transfer");
    Ok(())
}

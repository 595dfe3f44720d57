//! A snapshot is handed to another process, which reads exactly that version, though it changed long ago.
//!
//! `cargo run --example snapshot_handover`
//!
//! Here a report is made by a process of its own. The store goes on meanwhile, and the process that made the
//! descriptor keeps nothing: the descriptor alone holds the snapshot.

use mapleaf::{Database, ReadTxn, Table};
use std::process::{Command, Stdio};

const SALES: Table<u64, u64> = Table::new("sales");
const LABEL: &str = "report of the evening";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // This program is both: the reporter is started with an argument, and with the snapshot as its standard input.
    if std::env::args().nth(1).is_some() {
        return report();
    }
    let directory = tempfile::tempdir()?; // removed at the end
    // SAFETY: only mapleaf changes this file while it is open.
    let db = unsafe { Database::open(directory.path().join("shop.maple"))? };
    db.write(|w| (0..2000).try_for_each(|i| w.put(SALES, &i, &5).map(drop)))?;

    let snapshot = db.begin_read()?;
    let evening = snapshot.txn_id();
    let descriptor = snapshot.export(LABEL)?;
    drop(snapshot);
    // The night: every page of the evening's version is replaced, several times.
    for price in 6..16 {
        db.write(|w| (0..2000).try_for_each(|i| w.put(SALES, &i, &price).map(drop)))?;
    }

    // Who holds it is seen, and what that costs.
    let readers = db.readers()?;
    let held = readers.iter().find(|reader| reader.label == LABEL).ok_or("the snapshot is not held")?;
    assert_eq!((held.txn, held.is_dead), (evening, false));
    assert!(held.pages_alone > 0, "nobody else needs the pages of the evening");
    println!("{:?} holds txn {}, {} pages of it alone", held.label, held.txn, held.pages_alone);

    // Standard input is one way to pass it on; a Unix socket is another (see pass_descriptor.rs).
    let mut command = Command::new(std::env::current_exe()?);
    let output = command.arg("report").stdin(Stdio::from(descriptor)).stderr(Stdio::inherit()).output()?;
    assert!(output.status.success(), "the reporting process failed");
    let report = String::from_utf8(output.stdout)?;
    assert_eq!(report.trim(), format!("txn {evening}: 2000 sales, 10000 in all"));
    let today: u64 = db.begin_read()?.iter(SALES)?.map(|sale| Ok(sale?.1)).sum::<mapleaf::Result<u64>>()?;
    assert_eq!(today, 30_000);
    println!("report of {}; by now it is {today}", report.trim());

    // With the last copy of the descriptor (`command` had one) the snapshot ends, and its pages can be used again.
    drop(command);
    db.reap()?;
    assert!(db.readers()?.iter().all(|reader| reader.label != LABEL));
    Ok(())
}

fn report() -> Result<(), Box<dyn std::error::Error>> {
    // SAFETY: it is a descriptor of `ReadTxn::export`, and only mapleaf changes the file.
    let snapshot = unsafe { ReadTxn::import(std::io::stdin())? };
    let sum = snapshot.iter(SALES)?.map(|sale| Ok(sale?.1)).sum::<mapleaf::Result<u64>>()?;
    println!("txn {}: {} sales, {sum} in all", snapshot.txn_id(), snapshot.len(SALES)?);
    Ok(())
}

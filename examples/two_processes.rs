//! Two processes on one file: one writes, the other reads meanwhile, and neither waits for the other.
//!
//! `cargo run --example two_processes`
//!
//! The writer moves money between two accounts, one txn a transfer. Whatever the reader sees, and whenever, the sum is
//! the same: a snapshot shows what one commit left, whole, and never changes while it is held.

use mapleaf::{Database, Table};
use std::path::Path;
use std::process::Command;

const ACCOUNTS: Table<str, u64> = Table::new("accounts");
const TRANSFERS: u64 = 300;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // This program is both: with a path it is the writer.
    if let Some(path) = std::env::args_os().nth(1) {
        return Ok(write(Path::new(&path))?);
    }
    let directory = tempfile::tempdir()?; // removed at the end
    let path = directory.path().join("bank.maple");

    // SAFETY: only mapleaf changes this file while it is open.
    let db = unsafe { Database::open(&path)? };
    db.write(|w| {
        w.put(ACCOUNTS, "ann", &TRANSFERS)?;
        w.put(ACCOUNTS, "bob", &0)
    })?;
    let before = db.begin_read()?;

    let mut writer = Command::new(std::env::current_exe()?).arg(&path).spawn()?;
    let (mut snapshots, mut states, mut newest) = (0, 0, before.txn_id());
    let status = loop {
        let ended = writer.try_wait()?;
        let r = db.begin_read()?; // no system call, no lock
        let ann = r.get(ACCOUNTS, "ann")?.expect("ann has an account");
        let bob = r.get(ACCOUNTS, "bob")?.expect("bob has an account");
        assert_eq!(ann + bob, TRANSFERS, "txn {} is not whole", r.txn_id());
        assert!(r.txn_id() >= newest, "a later snapshot is never older");
        snapshots += 1;
        states += u64::from(r.txn_id() > newest);
        newest = r.txn_id();
        if let Some(status) = ended {
            break status;
        }
    };
    assert!(status.success(), "the writing process failed");

    // What the writer did is there, and the snapshot from before has not moved.
    assert_eq!(db.begin_read()?.get(ACCOUNTS, "bob")?, Some(TRANSFERS));
    assert_eq!(before.get(ACCOUNTS, "bob")?, Some(0));
    println!("the reader took {snapshots} snapshots, saw {states} new states, and every sum was {TRANSFERS}");
    Ok(())
}

fn write(path: &Path) -> mapleaf::Result<()> {
    // SAFETY: only mapleaf changes this file while it is open.
    let db = unsafe { Database::open(path)? };
    for _ in 0..TRANSFERS {
        db.write(|w| {
            let ann = w.get(ACCOUNTS, "ann")?.expect("ann has an account");
            let bob = w.get(ACCOUNTS, "bob")?.expect("bob has an account");
            w.put(ACCOUNTS, "ann", &(ann - 1))?;
            w.put(ACCOUNTS, "bob", &(bob + 1))
        })?;
    }
    db.close()
}

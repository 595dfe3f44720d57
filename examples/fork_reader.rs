//! A fork: the child goes on reading the snapshot that the parent held, and reads newer ones with the same handle.
//!
//! `cargo run --example fork_reader`

use mapleaf::{Database, Error, ReadTxn, Table};
use rustix::process::{Pid, WaitOptions, waitpid};
use std::time::Duration;

const NEWS: Table<u64, str> = Table::new("news");

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir()?; // removed at the end, by the parent alone
    // SAFETY: only mapleaf changes this file while it is open.
    let db = unsafe { Database::open(directory.path().join("news.maple"))? };
    db.write(|w| w.put(NEWS, &1, "before the fork"))?;
    let snapshot = db.begin_read()?;
    let old = snapshot.get(NEWS, &1)?; // borrowed from the mapping, which the child inherits

    // SAFETY: this process has one thread, so nothing is locked by a thread that the child does not have.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        let is_fine = child(&db, &snapshot, old).map_err(|error| eprintln!("child: {error}")).is_ok();
        // Without running what is left of `main`, which is the parent's.
        std::process::exit(if is_fine { 0 } else { 1 });
    }
    let child = Pid::from_raw(pid).ok_or_else(std::io::Error::last_os_error)?; // -1: there is no child

    // The parent lets its snapshot go; the child has its own hold on it.
    drop(snapshot);
    for i in 2..=20 {
        db.write(|w| {
            w.put(NEWS, &1, "after the fork")?;
            w.put(NEWS, &i, "more")
        })?;
    }
    let status = waitpid(Some(child), WaitOptions::empty())?.map(|(_, status)| status);
    assert_eq!(status.and_then(|status| status.exit_status()), Some(0), "the child failed");

    let r = db.begin_read()?;
    assert_eq!(r.get(NEWS, &100)?, Some("from the child"));
    println!(
        "parent: the child read the old snapshot and the newest one, and wrote {:?}",
        r.get(NEWS, &100)?
    );
    Ok(())
}

fn child(db: &Database, snapshot: &ReadTxn, old: Option<&str>) -> mapleaf::Result<()> {
    // The first call opens the store anew for this process; nothing is to be done for it.
    let mut newest = snapshot.txn_id();
    while db.begin_read()?.get(NEWS, &20)?.is_none() {
        let Some(txn) = db.wait_for_commit(newest, Some(Duration::from_secs(60)))? else {
            return Err(Error::InvalidArgument { detail: "the parent commits nothing".into() });
        };
        newest = txn;
    }
    let r = db.begin_read()?;
    assert_eq!(r.get(NEWS, &1)?, Some("after the fork"));

    // Nineteen commits later the snapshot of the parent still shows what it showed, and so does what was read from it.
    assert_eq!(snapshot.get(NEWS, &1)?, Some("before the fork"));
    assert_eq!(snapshot.len(NEWS)?, 1);
    assert_eq!(old, Some("before the fork"));

    // A child may write as well, in its turn.
    db.write(|w| w.put(NEWS, &100, "from the child")).map(drop)
}

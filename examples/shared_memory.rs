//! A queue in shared memory: a producer and a consumer, two processes, find it by its name.
//!
//! `cargo run --example shared_memory`
//!
//! Nothing is on a disk. What each of them does is a txn, so a job is taken once, whoever dies when.

use mapleaf::{Database, Table};
use std::process::Command;
use std::time::Duration;

const JOBS: Table<u64, [u8]> = Table::new("jobs");
const RESULTS: Table<str, u64> = Table::new("results");
const COUNT: u64 = 1000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // This program is both: with a name it is the producer.
    if let Some(name) = std::env::args().nth(1) {
        return Ok(produce(&name)?);
    }
    let name = format!("mapleaf-example-{}", std::process::id());
    let consumed = consume(&name);
    // It stays in memory until somebody says so, or the machine stops.
    assert!(Database::remove_shared_memory(&name)?);
    consumed
}

fn produce(name: &str) -> mapleaf::Result<()> {
    // SAFETY: only mapleaf changes this store while it is open.
    let db = unsafe { Database::shared_memory(name)? };
    for first in (0..COUNT).step_by(10) {
        db.write(|w| (first..first + 10).try_for_each(|job| w.put(JOBS, &job, &[1; 100]).map(drop)))?;
    }
    db.close()
}

fn consume(name: &str) -> Result<(), Box<dyn std::error::Error>> {
    // SAFETY: only mapleaf changes this store while it is open.
    let db = unsafe { Database::shared_memory(name)? };
    let mut producer = Command::new(std::env::current_exe()?).arg(name).spawn()?;
    let (mut taken, mut seen) = (0, 0);
    while taken < COUNT {
        // Sleeps until there is a commit that it has not seen; its own count too.
        let newest = db.wait_for_commit(seen, Some(Duration::from_secs(60)))?;
        seen = newest.ok_or("the producer commits nothing")?;
        taken += db.write(take_all)?;
    }
    assert!(producer.wait()?.success(), "the producing process failed");

    let r = db.begin_read()?;
    assert_eq!((r.len(JOBS)?, r.get(RESULTS, "bytes")?), (0, Some(COUNT * 100)));
    println!("took {taken} jobs out of {}", db.path().display());
    Ok(())
}

/// Takes all jobs that are there and notes their bytes, in one txn. Returns how many.
fn take_all(w: &mut mapleaf::WriteTxn) -> mapleaf::Result<u64> {
    let (mut jobs, mut bytes) = (Vec::new(), w.get(RESULTS, "bytes")?.unwrap_or(0));
    for entry in w.iter(JOBS)? {
        let (job, what) = entry?;
        jobs.push(job);
        bytes += what.len() as u64;
    }
    jobs.iter().try_for_each(|job| w.delete(JOBS, job).map(drop))?;
    w.put(RESULTS, "bytes", &bytes)?;
    Ok(jobs.len() as u64)
}

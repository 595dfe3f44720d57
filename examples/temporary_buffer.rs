//! A temporary buffer, larger than one wants in the heap, sorted by itself and shared with another process.
//!
//! `cargo run --release --example temporary_buffer`
//!
//! It is a store in a file without a name: nobody else can open it, and it is gone with the last process that has it,
//! however that one ends. Only a little of it is in the heap; the system writes out the rest if it needs the memory.

use mapleaf::{Database, Options, Table};
use std::os::fd::AsFd;
use std::process::{Command, Stdio};

const LINES: Table<u64, [u8]> = Table::new("lines by hash");
const COUNT: u64 = 16_000;
const LINE: usize = 4000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // This program is both: the other process is started with an argument, and with the store as its standard input.
    if std::env::args().nth(1).is_some() {
        return check();
    }
    let directory = tempfile::tempdir()?;
    // Beyond so many bytes of changed pages a write txn puts them into the file early.
    let db = Options::new().dirty_limit(4 << 20).temporary_in(&directory)?;
    assert_eq!(std::fs::read_dir(&directory)?.count(), 0, "the file has no name");

    let heap_before = heap()?;
    db.write(|w| {
        let mut hash = 1;
        (0..COUNT).try_for_each(|i| {
            // In whatever order they come, the table keeps them sorted.
            hash = (hash * 48_271) % 2_147_483_647;
            w.put(LINES, &hash, &[i as u8; LINE]).map(drop)
        })
    })?;
    let (megabytes, in_heap) = ((COUNT * LINE as u64) >> 20, heap()?.saturating_sub(heap_before) >> 20);
    println!("buffered {megabytes} MiB, {in_heap} MiB of them in the heap");
    assert!(in_heap < megabytes / 2, "most of it is in the file");

    // The other process inherits a descriptor; it could as well be sent (see pass_descriptor.rs) or forked.
    let mut command = Command::new(std::env::current_exe()?);
    let status = command.arg("check").stdin(Stdio::from(db.share()?)).status()?;
    assert!(status.success(), "the other process failed");
    Ok(())
}

/// Reads all of it in the other process, in order, from the same memory.
fn check() -> Result<(), Box<dyn std::error::Error>> {
    let descriptor = std::io::stdin().as_fd().try_clone_to_owned()?;
    // SAFETY: it is one of `Database::share`, and only mapleaf changes the file.
    let db = unsafe { Database::from_fd(descriptor)? };
    let r = db.begin_read()?;
    let (mut last, mut count) = (0, 0);
    for entry in r.iter(LINES)? {
        let (hash, line) = entry?;
        assert!(last < hash && line.len() == LINE);
        (last, count) = (hash, count + 1);
    }
    assert_eq!(count, COUNT);
    println!("the other process read {count} lines in order");
    Ok(())
}

/// Bytes of memory that are this process's alone, and no file's.
fn heap() -> Result<u64, Box<dyn std::error::Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).ok_or("no RssAnon")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? << 10)
}

//! Creates a store, writes typed tables, and reads them back, without copying, from a second process.
//!
//! `cargo run --example first [FILE]` leaves the store in FILE, by default target/first.maple, to be looked at with the tool.

use mapleaf::{Database, Table};
use std::path::Path;
use std::process::Command;

const USERS: Table<u64, str> = Table::new("users");
const SCORES: Table<(String, u64), u64> = Table::new("scores by user and day");

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => run(Path::new("target/first.maple")),
        [path] => run(Path::new(path)),
        [path, "read"] => read(Path::new(path)),
        _ => Err("usage: first [FILE]".into()),
    }
}

fn run(path: &Path) -> Result<(), Box<dyn std::error::Error>> {
    // Begins anew each time.
    if path.exists() {
        std::fs::remove_file(path)?;
    }
    write(path)?;
    // The same program again, as a process of its own.
    let status = Command::new(std::env::current_exe()?).arg(path).arg("read").status()?;
    if status.success() { Ok(()) } else { Err("the reading process failed".into()) }
}

fn write(path: &Path) -> Result<(), Box<dyn std::error::Error>> {
    // SAFETY: only mapleaf changes this file while it is open.
    let db = unsafe { Database::open(path)? };
    let mut w = db.begin_write()?;
    for (id, name) in [(1, "ann"), (7, "bob"), (9, "carol")] {
        w.put(USERS, &id, name)?;
        for day in 0..1000 {
            w.put(SCORES, &(name, day), &(id * day % 97))?;
        }
    }
    w.commit()?;
    println!("one process wrote {}:", path.display());
    for table in db.begin_read()?.tables()? {
        println!("  {:24} {:5} entries, {}", table.name, table.len, table.schema);
    }
    Ok(())
}

fn read(path: &Path) -> Result<(), Box<dyn std::error::Error>> {
    // SAFETY: only mapleaf changes this file while it is open.
    let db = unsafe { Database::open(path)? };
    let r = db.begin_read()?;
    let name = r.get(USERS, &7)?.expect("bob was written");
    println!("another reads it: user 7 is {name:?}, {}", where_is(name.as_bytes())?);
    for entry in r.range(USERS, 2..)? {
        let (id, name) = entry?;
        println!("  user {id}: {name}");
    }
    let days = r.range(SCORES, ("bob", 10)..("bob", 13))?.collect::<Result<Vec<_>, _>>()?;
    println!("  three days of bob: {days:?}");
    println!(
        "  bob has {} days, the 1,500th score of all is {:?}",
        r.count(SCORES, ("bob", 0)..("bob", u64::MAX))?,
        r.nth(SCORES, 1500)?
    );
    Ok(())
}

/// Names the mapping in which the bytes lie: that of the file, so nothing was copied.
fn where_is(bytes: &[u8]) -> std::io::Result<String> {
    let address = bytes.as_ptr() as usize;
    for line in std::fs::read_to_string("/proc/self/maps")?.lines() {
        let (range, rest) = line.split_once(' ').unwrap_or((line, ""));
        if let Some((low, high)) = range.split_once('-')
            && let (Ok(low), Ok(high)) = (usize::from_str_radix(low, 16), usize::from_str_radix(high, 16))
            && (low..high).contains(&address)
        {
            let file = Path::new(rest.split_whitespace().last().unwrap_or("?"));
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            return Ok(format!("in place, in the mapping of {name}"));
        }
    }
    Ok("not in any mapping".into())
}

//! Creates a store, writes typed tables, and reads them back, without copying, from a second process.
//!
//! `cargo run --example first`

use mapleaf::{Database, Table};
use std::path::Path;
use std::process::Command;

const USERS: Table<u64, str> = Table::new("users");
const SCORES: Table<(String, u64), u64> = Table::new("scores by user and day");

fn main() -> Result<(), Box<dyn std::error::Error>> {
    if let Some(path) = std::env::args().nth(1) {
        return read(Path::new(&path));
    }
    let directory = std::env::temp_dir().join(format!("mapleaf-first-{}", std::process::id()));
    std::fs::create_dir_all(&directory)?;
    let path = directory.join("app.maple");
    write(&path)?;
    // The same program again, as a process of its own, while this one keeps the store open.
    let status = Command::new(std::env::current_exe()?).arg(&path).status()?;
    std::fs::remove_dir_all(&directory)?;
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
    println!("process {}: wrote {}", std::process::id(), path.display());
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
    println!("process {}: user 7 is {name:?}, {}", std::process::id(), where_is(name.as_bytes())?);
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
            return Ok(format!(
                "read in place from the mapping of {}",
                rest.split_whitespace().last().unwrap_or("?")
            ));
        }
    }
    Ok("not in any mapping".into())
}

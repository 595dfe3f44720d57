//! `space_back FILE [ENTRIES]`: what the file takes of the disk when 99 of 100 entries of a store (a million of 900
//! bytes by default, some 1 GB) are deleted, after the next checkpoint, after `trim`, and when they are put back;
//! once with the entries side by side, once every hundredth staying. A reader in another thread goes on reading.

use mapleaf::{Database, Durability, Error, Options, Table};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

const BLOBS: Table<u64, [u8]> = Table::new("blobs");
const BATCH: u64 = 50_000;

fn main() -> Result<(), Error> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().expect("usage: space_back FILE [ENTRIES]");
    let entries: u64 = arguments.next().map_or(1_000_000, |n| n.parse().expect("a number of entries"));
    for is_scattered in [false, true] {
        println!("{}", if is_scattered { "every hundredth stays" } else { "the first hundredth stays" });
        run(Path::new(&path), entries, is_scattered)?;
        let _ = std::fs::remove_file(&path);
    }
    Ok(())
}

fn put(db: &Database, keys: impl Iterator<Item = u64>) -> Result<(), Error> {
    let mut keys = keys.peekable();
    while keys.peek().is_some() {
        db.write(|w| {
            keys.by_ref().take(BATCH as usize).try_for_each(|key| w.put(BLOBS, &key, &value(key)).map(drop))
        })?;
    }
    Ok(())
}

fn value(key: u64) -> [u8; 900] {
    [key as u8; 900]
}

/// What the file takes, in MB; its length; and how long the step took.
fn tell(db: &Database, what: &str, begun: Instant) -> Result<(), Error> {
    let taken = begun.elapsed();
    let (usage, counters) = (db.file_usage()?, db.counters());
    println!(
        "  {what:<28} {:>8.1} MB of {:>7.1} on the disk, {:>8.1} ms; punched {:.1} MB, filled {:.1} in all",
        usage.disk_bytes as f64 / 1e6,
        usage.len as f64 / 1e6,
        taken.as_secs_f64() * 1e3,
        counters.punched_bytes as f64 / 1e6,
        counters.filled_bytes as f64 / 1e6,
    );
    Ok(())
}

fn run(path: &Path, entries: u64, is_scattered: bool) -> Result<(), Error> {
    // SAFETY: the file is this program's own.
    let db = unsafe { Options::new().open(path)? };
    let stays = |key: u64| if is_scattered { key.is_multiple_of(100) } else { key < entries / 100 };
    let begun = Instant::now();
    put(&db, 0..entries)?;
    db.checkpoint()?;
    tell(&db, "loaded", begun)?;
    let (ended, looks) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| -> Result<(), Error> {
            while !ended.load(Ordering::Relaxed) {
                let r = db.begin_read()?;
                for key in (0..entries).filter(|key| stays(*key)).step_by(97) {
                    assert_eq!(r.get(BLOBS, &key)?, Some(&value(key)[..]));
                }
                looks.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        });
        let begun = Instant::now();
        if is_scattered {
            for from in (0..entries).step_by(BATCH as usize) {
                db.write(|w| {
                    let gone = (from..from + BATCH).filter(|key| !stays(*key));
                    gone.into_iter().try_for_each(|key| w.delete(BLOBS, &key).map(drop))
                })?;
            }
        } else {
            db.write(|w| w.delete_range(BLOBS, entries / 100..).map(drop))?;
        }
        tell(&db, "99 % deleted", begun)?;
        for number in 1..4 {
            let begun = Instant::now();
            db.write(|w| {
                w.set_durability(Durability::Ordered);
                w.put(BLOBS, &0, &value(0))
            })?;
            tell(&db, &format!("checkpoint {number} behind it"), begun)?;
        }
        let begun = Instant::now();
        db.trim()?;
        tell(&db, "trimmed", begun)?;
        let begun = Instant::now();
        put(&db, (0..entries).filter(|key| !stays(*key)))?;
        db.checkpoint()?;
        tell(&db, "put back", begun)?;
        ended.store(true, Ordering::Relaxed);
        reader.join().expect("the reader does not panic")
    })?;
    println!("  a reader looked {} times meanwhile", looks.load(Ordering::Relaxed));
    assert!(db.verify(&mut |_| {})?.is_clean());
    Ok(())
}

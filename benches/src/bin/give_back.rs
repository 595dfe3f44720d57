//! A large store of which 99 % is deleted: what it takes of the disk then, behind the next checkpoint, and when it was
//! made compact; and how long each step took. Readers run all the while, in this process and in another, each snapshot
//! for a hundred gets, and one thread holds the snapshot from before the deletion until the deletion is committed.
//!
//! Values of 960 bytes under numbers as keys. What is deleted is one range, or 99 of 100 keys all over the table.
//! The second process is this program again, as `give_back --read FILE`; it ends with its standard input.

use clap::Parser;
use mapleaf::{Budget, Database, Error, Options, Table};
use rand::prelude::*;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const TABLE: Table<u64, [u8]> = Table::new("values");
const KEPT: u64 = 100;
/// The application's number, from the commit on that deletes.
const DELETED: u64 = 1;

#[derive(Parser)]
struct Args {
    /// The file, which must not be there and is removed again
    file: PathBuf,
    /// Size of the store
    #[arg(long, default_value_t = 10.0)]
    gigabytes: f64,
    /// Delete 99 of 100 keys, instead of one range
    #[arg(long)]
    scattered: bool,
    /// Pages that a step of compacting moves
    #[arg(long, default_value_t = 4096)]
    step: u64,
    /// Only read, beside the program that writes
    #[arg(long, hide = true)]
    read: bool,
}

fn value(key: u64) -> [u8; 960] {
    let mut value = [0; 960];
    value.chunks_mut(8).for_each(|word| word.copy_from_slice(&key.wrapping_mul(0x9e37_79b9).to_le_bytes()));
    value
}

fn open(path: &Path) -> Result<Database, Error> {
    // SAFETY: the file is this program's own.
    unsafe { Options::new().open(path) }
}

struct Task {
    keys: u64,
    scattered: bool,
}

impl Task {
    fn of(args: &Args) -> Self {
        Task { keys: (args.gigabytes * 1e6 / 1.024) as u64, scattered: args.scattered }
    }

    fn stays(&self, key: u64) -> bool {
        if self.scattered { key.is_multiple_of(KEPT) } else { key < self.keys / KEPT }
    }

    /// A hundred gets of one snapshot.
    fn check(&self, r: &mapleaf::ReadTxn, random: &mut SmallRng) -> Result<(), Error> {
        let deleted = r.user_version() == DELETED;
        for _ in 0..100 {
            let key = random.random_range(0..self.keys);
            let expected = (!deleted || self.stays(key)).then(|| value(key));
            assert_eq!(r.get(TABLE, &key)?, expected.as_ref().map(|value| &value[..]), "key {key}");
        }
        Ok(())
    }

    /// Reads until it is told to stop; returns the number of snapshots.
    fn read(&self, db: &Database, stop: &AtomicBool) -> Result<u64, Error> {
        let mut random = SmallRng::from_os_rng();
        let mut snapshots = 0;
        while !stop.load(Ordering::Relaxed) {
            self.check(&db.begin_read()?, &mut random)?;
            snapshots += 1;
            // On two processors the writer is to have one.
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(snapshots)
    }
}

fn main() -> Result<(), Error> {
    let args = Args::parse();
    let task = Task::of(&args);
    if args.read {
        let (db, stop) = (open(&args.file)?, AtomicBool::new(false));
        return std::thread::scope(|scope| {
            scope.spawn(|| {
                std::io::stdin().read_to_end(&mut Vec::new()).expect("the writer's end");
                stop.store(true, Ordering::Relaxed);
            });
            println!("{} snapshots in another process, all right", task.read(&db, &stop)?);
            Ok(())
        });
    }
    assert!(!args.file.exists(), "{} is there already", args.file.display());
    let db = open(&args.file)?;
    db.write(|w| w.bulk_load(TABLE, (0..task.keys).map(|key| (key, value(key)))).map(drop))?;
    db.checkpoint()?;
    report(&db, "loaded", Duration::ZERO)?;

    let mut beside = Command::new(std::env::current_exe().expect("this program"))
        .args([args.file.as_os_str(), "--read".as_ref(), "--gigabytes".as_ref()])
        .arg(args.gigabytes.to_string())
        .args(args.scattered.then_some("--scattered"))
        .stdin(Stdio::piped())
        .spawn()
        .expect("a second process");
    let (stop, snapshots) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let reader =
            scope.spawn(|| task.read(&db, &stop).map(|count| snapshots.store(count, Ordering::Relaxed)));
        let result = give_back(&db, &task, args.step);
        stop.store(true, Ordering::Relaxed);
        reader.join().expect("what was read is right")?;
        result
    })?;
    println!("{} snapshots in this process, all right", snapshots.load(Ordering::Relaxed));
    assert!(beside.wait().expect("the other process").success(), "it read something wrong");
    assert!(db.verify(&mut |_| {})?.is_clean());
    db.close()?;
    std::fs::remove_file(&args.file).expect("removed");
    Ok(())
}

fn give_back(db: &Database, task: &Task, step: u64) -> Result<(), Error> {
    let before = db.begin_read()?;
    timed(db, "deleted, and the old snapshot still open", || {
        db.write(|w| {
            w.set_user_version(DELETED);
            match task.scattered {
                true => w.retain(TABLE, .., |key, _| task.stays(key)).map(drop),
                false => w.delete_range(TABLE, task.keys / KEPT..).map(drop),
            }
        })
    })?;
    task.check(&before, &mut SmallRng::seed_from_u64(1))?;
    drop(before);
    timed(db, "next txn and its checkpoint", || {
        db.write(|w| w.put(TABLE, &0, &value(0)))?;
        db.checkpoint()
    })?;
    let (mut steps, mut moved, mut longest) = (0, 0, Duration::ZERO);
    timed(db, "compact", || {
        loop {
            let begun = Instant::now();
            let done = db.compact(Budget::pages(step))?;
            longest = longest.max(begun.elapsed());
            (steps, moved) = (steps + 1, moved + done.moved_pages);
            if done.is_done {
                return Ok(());
            }
        }
    })?;
    println!("{steps} steps, the longest {:.1} ms, {moved} pages moved", longest.as_secs_f64() * 1e3);
    Ok(())
}

fn timed(db: &Database, what: &str, step: impl FnOnce() -> Result<(), Error>) -> Result<(), Error> {
    let begun = Instant::now();
    step()?;
    report(db, what, begun.elapsed())
}

fn report(db: &Database, what: &str, time: Duration) -> Result<(), Error> {
    let usage = db.file_usage()?;
    let (len, disk, ms) = (usage.len as f64 / 1e6, usage.disk_bytes as f64 / 1e6, time.as_secs_f64() * 1e3);
    println!("{what:40} {ms:10.1} ms, file {len:10.1} MB, on disk {disk:10.1} MB");
    Ok(())
}

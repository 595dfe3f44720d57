//! `grow FILE [GB [READERS]]`: one process makes a store of 1 MB grow to GB (20 by default) while READERS others (3 by
//! default) hold snapshots of all ages and judge them: the number of entries, and values all over the file. Every
//! so often a txn of some hundred MB is written early and then undone, which cuts the file. A reader that finds a
//! wrong byte, or that dies of a signal, ends the program with an error. Says how large the file was, and what was judged.
//!
//! The readers are this program again, as `grow judge FILE`, one of them with scarce address space, so that it has to map
//! anew; they end with their standard input.

use mapleaf::{Database, Error, Options, ReadTxn, Table};
use rand::prelude::*;
use rustix::process::{Resource, Rlimit, setrlimit};
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

const BLOBS: Table<u64, [u8]> = Table::new("blobs");
const COUNT: Table<str, u64> = Table::new("count");
const LEN: usize = 60_000;
const PER_TXN: u64 = 500;
/// Snapshots that a reader holds at a time.
const HELD: usize = 12;

fn main() -> Result<(), Error> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |text: &String| text.parse().expect("a number");
    match &arguments[..] {
        [judge, path, scarce] if judge == "judge" => judge_for_ever(Path::new(path), scarce == "scarce"),
        [path, rest @ ..] if rest.len() <= 2 => {
            grow(Path::new(path), rest.first().map_or(20, number), rest.get(1).map_or(3, number))
        }
        _ => panic!("usage: grow FILE [GB [READERS]]"),
    }
}

fn open(path: &Path) -> Result<Database, Error> {
    // SAFETY: the file is this program's own.
    unsafe { Options::new().dirty_limit(64 << 20).open(path) }
}

fn value(key: u64) -> Vec<u8> {
    (0..LEN as u64).step_by(8).flat_map(|at| (key * 31 + at).to_le_bytes()).collect()
}

fn grow(path: &Path, gigabytes: u64, readers: u64) -> Result<(), Error> {
    assert!(!path.exists(), "{} is there already", path.display());
    let db = open(path)?;
    put(&db, 0, 10)?;
    let len = || std::fs::metadata(path).expect("the file is there").len();
    let before = len();
    let judges: Vec<Child> =
        (0..readers).map(|i| start(path, if i == 0 { "scarce" } else { "plenty" })).collect();
    let (mut count, mut cut) = (10, 0);
    while len() < gigabytes << 30 {
        put(&db, count, PER_TXN)?;
        count += PER_TXN;
        if count % (20 * PER_TXN) == 10 {
            let mut w = db.begin_write()?;
            (count..count + 5000).try_for_each(|key| w.put(BLOBS, &key, &value(key ^ 1)[..]).map(drop))?;
            let longest = len();
            w.abort();
            cut += longest - len();
        }
    }
    println!(
        "grew from {before} to {} bytes, {count} values; {cut} bytes of undone txns were cut off",
        len()
    );
    for judge in judges {
        let output = judge.wait_with_output().expect("a reader");
        print!("{}", String::from_utf8_lossy(&output.stdout));
        assert!(output.status.success(), "a reader ended with {}", output.status);
    }
    Ok(())
}

fn put(db: &Database, from: u64, count: u64) -> Result<(), Error> {
    db.write(|w| {
        (from..from + count).try_for_each(|key| w.put(BLOBS, &key, &value(key)[..]).map(drop))?;
        w.put(COUNT, "blobs", &(from + count)).map(drop)
    })
}

fn start(path: &Path, how: &str) -> Child {
    Command::new(std::env::current_exe().expect("this program"))
        .args(["judge".as_ref(), path.as_os_str(), how.as_ref()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("another process")
}

fn judge_for_ever(path: &Path, scarce: bool) -> Result<(), Error> {
    if scarce {
        let limit = Some(96 << 30);
        setrlimit(Resource::As, Rlimit { current: limit, maximum: limit }).expect("a limit");
    }
    let db = open(path)?;
    let is_over = AtomicBool::new(false);
    let (mut held, mut judged, mut values) = (Vec::<(ReadTxn, u64)>::new(), 0u64, 0u64);
    let mut random = SmallRng::seed_from_u64(u64::from(std::process::id()));
    std::thread::scope(|threads| {
        threads.spawn(|| {
            let _ = std::io::stdin().read_to_end(&mut Vec::new());
            is_over.store(true, Ordering::Relaxed);
        });
        while !is_over.load(Ordering::Relaxed) {
            let r = db.begin_read()?;
            let count = r.get(COUNT, "blobs")?.expect("it is counted");
            held.push((r, count));
            let at = random.random_range(0..held.len());
            let (r, count) = &held[at];
            assert_eq!((r.len(BLOBS)?, r.get(COUNT, "blobs")?), (*count, Some(*count)));
            for _ in 0..20 {
                let key = random.random_range(0..*count);
                assert!(r.get(BLOBS, &key)?.expect("it is there") == value(key), "{key} of {r:?}");
                values += 1;
            }
            judged += 1;
            if held.len() > HELD {
                held.swap_remove(at);
            }
        }
        Ok(())
    })?;
    let mappings = std::fs::read_to_string("/proc/self/smaps").expect("its own mappings");
    let name = path.file_name().expect("a name").to_string_lossy();
    let mappings = mappings.lines().filter(|line| line.ends_with(&*name)).count();
    println!(
        "a reader judged {values} values in {judged} looks at snapshots; {mappings} mappings of the file"
    );
    Ok(())
}

//! What reading and committing cost: system calls, counted by strace, and allocations.
//!
//! For the system calls this program runs itself again under strace. The traced part stands between two
//! marks: attempts to open files that are not there, whose names say where it begins and ends.

#![allow(unsafe_code)]

mod common;

use common::TestDb;
use mapleaf::{Options, Table};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::process::Command;

const NUMBERS: Table<u64, u64> = Table::new("numbers");
const WORDS: Table<str, [u8]> = Table::new("words");

// ---- allocations ----

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: passes everything on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller keeps the same contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the same contract.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller keeps the same contract.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn allocations(run: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.get();
    run();
    ALLOCATIONS.get() - before
}

#[test]
fn beginning_and_dropping_a_snapshot_allocates_nothing() {
    let db = filled();
    assert!(allocations(|| drop(vec![1])) > 0, "they are counted");
    drop(db.begin_read().unwrap());
    let thousand = || (0..1000).for_each(|_| drop(db.begin_read().unwrap()));
    assert_eq!(allocations(thousand), 0);
    // Several at once, once there were as many; and commits in between change nothing.
    let several = || drop([(); 100].map(|()| db.begin_read().unwrap()));
    several();
    for key in 0..20 {
        db.write(|w| w.put(NUMBERS, &key, &(key * key))).unwrap();
        assert_eq!(allocations(several), 0);
    }
}

#[test]
fn a_get_from_a_table_that_was_looked_up_allocates_nothing() {
    let db = filled();
    let r = db.begin_read().unwrap();
    assert_eq!(r.get(NUMBERS, &0).unwrap(), Some(0));
    let gets = || (0..1000).for_each(|key| assert_eq!(r.get(NUMBERS, &key).unwrap(), Some(key * key)));
    assert_eq!(allocations(gets), 0);
}

fn filled() -> TestDb {
    let db = TestDb::with(Options::new());
    db.write(|w| {
        for key in 0..20_000u64 {
            w.put(NUMBERS, &key, &(key * key))?;
            w.put(WORDS, &key.to_string()[..], &[1; 100])?;
        }
        Ok::<_, mapleaf::Error>(())
    })
    .unwrap();
    db
}

fn read(db: &TestDb, key: u64) {
    let r = db.begin_read().unwrap();
    assert_eq!(r.get(NUMBERS, &key).unwrap(), Some(key * key));
    assert_eq!(r.get(WORDS, "777").unwrap(), Some(&[1; 100][..]));
}

// ---- system calls ----

const TRACED: &str = "MAPLEAF_TRACED";

fn mark(name: &str) {
    std::fs::File::open(format!("/mapleaf-mark/{name}")).unwrap_err();
}

/// Does nothing unless run under strace by the tests below.
#[test]
fn traced() {
    match std::env::var(TRACED).as_deref() {
        Ok("reads") => {
            let db = filled();
            read(&db, 0);
            mark("begin");
            for key in 0..1000 {
                read(&db, key);
            }
            mark("end");
        }
        Ok("commit") => {
            let db = filled();
            // The file has its place for the next commits, and nothing is pending from before.
            for key in 0..10 {
                db.write(|w| w.put(NUMBERS, &key, &1)).unwrap();
            }
            let mut w = db.begin_write().unwrap();
            w.put(NUMBERS, &10_000, &1).unwrap();
            w.put(WORDS, "777", &[2; 100]).unwrap();
            mark("begin");
            w.commit().unwrap();
            mark("end");
        }
        _ => {}
    }
}

/// The calls between the marks, as strace writes them; `None` where there is no strace or it may not trace.
fn trace(what: &str) -> Option<Vec<String>> {
    let usable = Command::new("strace").args(["-f", "-o", "/dev/null", "true"]).output();
    if !usable.is_ok_and(|output| output.status.success()) {
        println!("skipped: strace is not installed, or may not trace here");
        return None;
    }
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("trace");
    let output = Command::new("strace")
        .args(["-f", "-e", "trace=all", "-e", "signal=none", "-s", "64", "-o"])
        .arg(&file)
        .arg(std::env::current_exe().unwrap())
        .args(["traced", "--exact", "--test-threads=1"])
        .env(TRACED, what)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let trace = std::fs::read_to_string(&file).unwrap();
    let place = |mark: &str| trace.lines().position(|line| line.contains(&format!("/mapleaf-mark/{mark}")));
    let (begin, end) = (place("begin").expect("the first mark"), place("end").expect("the last mark"));
    let thread = |line: &str| line.split_whitespace().next().unwrap().to_owned();
    let lines: Vec<&str> = trace.lines().collect();
    let of_thread = lines[begin + 1..end].iter().filter(|line| thread(line) == thread(lines[begin]));
    Some(of_thread.map(|line| line.split_once(' ').unwrap().1.trim_start().to_owned()).collect())
}

#[test]
fn a_thousand_snapshots_and_gets_make_no_system_call() {
    let Some(calls) = trace("reads") else { return };
    assert!(calls.is_empty(), "{} calls:\n{}", calls.len(), calls.join("\n"));
}

#[test]
fn a_small_commit_is_one_write_a_run_and_two_flushes() {
    let Some(calls) = trace("commit") else { return };
    let all = calls.join("\n");
    println!("{all}");
    let named = |names: &[&str]| -> Vec<(usize, &String)> {
        let of_these = |call: &str| names.iter().any(|name| call.split('(').next() == Some(*name));
        calls.iter().enumerate().filter(|(_, call)| of_these(call)).collect()
    };
    let writes = named(&["pwrite64", "pwritev", "pwritev2", "write", "writev"]);
    let flushes = named(&["msync", "fsync", "fdatasync", "sync_file_range"]);
    assert_eq!(flushes.len(), 2, "{all}");
    assert!(flushes.iter().all(|(_, call)| call.starts_with("msync(") && call.contains("MS_SYNC")), "{all}");

    // Everything but the last write comes before the first flush; the meta between the two.
    let (last, data) = writes.split_last().expect("writes");
    assert!(data.iter().all(|(at, _)| *at < flushes[0].0), "{all}");
    assert!(flushes[0].0 < last.0 && last.0 < flushes[1].0, "{all}");

    // No two writes of data could have been one.
    let ranges: Vec<(u64, u64)> = data.iter().map(|(_, call)| written_range(call)).collect();
    assert!(!ranges.is_empty(), "{all}");
    for (start, _) in &ranges {
        assert!(ranges.iter().all(|(_, end)| start != end), "{ranges:?}\n{all}");
    }
    let (start, end) = written_range(last.1);
    assert!(end - start == 512 && end <= 8192, "the meta slot: {start}..{end}\n{all}");

    // Two paths of three pages at most, the catalog, the space record.
    let written: u64 = ranges.iter().map(|(start, end)| end - start).sum();
    assert!(written <= 12 * 4096, "{written} bytes\n{all}");
    assert_eq!(named(&["ftruncate", "fallocate", "mmap", "munmap"]).len(), 0, "{all}");
}

/// `pwritev(3, […], 2, 4096) = 8192` wrote 4096..12288.
fn written_range(call: &str) -> (u64, u64) {
    let (arguments, result) = call.rsplit_once(" = ").unwrap();
    let offset = arguments.trim_end().trim_end_matches(')').rsplit(", ").next().unwrap();
    let start: u64 = offset.parse().unwrap();
    (start, start + result.trim().parse::<u64>().unwrap())
}

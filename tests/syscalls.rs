//! What reading and committing cost: system calls, counted by strace, and allocations.
//!
//! For the system calls this program runs itself again under strace. The traced part stands between two
//! marks: attempts to open files that are not there, whose names say where it begins and ends.

#![allow(unsafe_code)]

mod common;

use common::TestDb;
use mapleaf::{Durability, Options, Table};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ops::Range;
use std::os::fd::AsRawFd;
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
        Ok(())
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
        Ok("durable") => commit_between_marks(Durability::Durable),
        Ok("ordered") => commit_between_marks(Durability::Ordered),
        Ok("eventual") => commit_between_marks(Durability::Eventual),
        _ => {}
    }
}

fn commit_between_marks(durability: Durability) {
    let db = filled();
    // The file has its place for the next commits, and nothing is pending from before.
    for key in 0..10 {
        db.write(|w| w.put(NUMBERS, &key, &1)).unwrap();
    }
    let mut w = db.begin_write().unwrap();
    w.set_durability(durability);
    w.put(NUMBERS, &10_000, &1).unwrap();
    w.put(WORDS, "777", &[2; 100]).unwrap();
    mark("begin");
    w.commit().unwrap();
    mark("end");
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

/// Place among the calls, and the range of the file or of memory that it is about.
type Call = (usize, Range<u64>);

/// What a commit of two puts does.
struct Traced {
    all: String,
    writes: Vec<Call>,
    flushes: Vec<Call>,
}

impl Traced {
    fn commit(durability: &str) -> Option<Traced> {
        let calls = trace(durability)?;
        let all = calls.join("\n");
        println!("{all}");
        let named = |names: &[&str]| -> Vec<(usize, &String)> {
            let of_these = |call: &str| names.iter().any(|name| call.split('(').next() == Some(*name));
            calls.iter().enumerate().filter(|(_, call)| of_these(call)).collect()
        };
        assert_eq!(named(&["ftruncate", "fallocate", "mmap", "munmap"]).len(), 0, "{all}");
        assert_eq!(named(&["fsync", "fdatasync", "sync_file_range", "write", "writev"]).len(), 0, "{all}");
        let writes = named(&["pwrite64", "pwritev", "pwritev2"]);
        let writes = writes.iter().map(|(at, call)| (*at, written_range(call))).collect();
        let flushes = named(&["msync"]);
        assert!(flushes.iter().all(|(_, call)| call.contains("MS_SYNC")), "{all}");
        let flushes = flushes.iter().map(|(at, call)| (*at, flushed_range(call))).collect();
        Some(Traced { all, writes, flushes })
    }

    /// Splits off the last write, which is not one of pages; no two of the others could have been one.
    fn last_write_and_pages(&self) -> (&Call, &[Call]) {
        let all = &self.all;
        let (last, pages) = self.writes.split_last().expect("writes");
        assert!(!pages.is_empty(), "{all}");
        for (_, one) in pages {
            assert!(one.start % 4096 == 0 && one.end % 4096 == 0, "{one:?}\n{all}");
            assert!(pages.iter().all(|(_, other)| one.start != other.end), "{pages:?}\n{all}");
        }
        // Two paths of three pages at most, the catalog, the space record.
        let written: u64 = pages.iter().map(|(_, range)| range.end - range.start).sum();
        assert!(written <= 12 * 4096, "{written} bytes\n{all}");
        (last, pages)
    }
}

#[test]
fn a_small_ordered_commit_is_one_write_a_run_and_two_flushes() {
    let Some(traced) = Traced::commit("ordered") else { return };
    let (all, (meta, pages)) = (&traced.all, traced.last_write_and_pages());
    let [data, last] = &traced.flushes[..] else { panic!("two flushes:\n{all}") };
    // Every page is written before the first flush; the meta between the two.
    assert!(pages.iter().all(|(at, _)| *at < data.0), "{all}");
    assert!(data.0 < meta.0 && meta.0 < last.0, "{all}");
    // With the list of checkpoints behind it, in the same block.
    let (start, len) = (meta.1.start, meta.1.end - meta.1.start);
    assert!(
        start % 4096 == 0 && start <= 4096 && (512..=4096).contains(&len),
        "the meta slot: {meta:?}\n{all}"
    );
}

#[test]
fn a_small_durable_commit_is_one_write_a_run_one_of_the_redo_record_and_one_flush_of_it() {
    let Some(traced) = Traced::commit("durable") else { return };
    let (all, (record, _)) = (&traced.all, traced.last_write_and_pages());
    let [flush] = &traced.flushes[..] else { panic!("one flush:\n{all}") };
    assert!(record.0 < flush.0, "{all}");
    let len = record.1.end - record.1.start;
    // Two entries of 116 and 103 bytes.
    assert!((120..250).contains(&len) && record.1.start >= 8192, "the redo record: {record:?}\n{all}");
    // The flush is told where in memory: it has as many pages as the record lies in.
    let pages = record.1.end.div_ceil(4096) - record.1.start / 4096;
    let flushed = flush.1.end - flush.1.start;
    assert!(flushed <= pages * 4096, "{flushed} bytes flushed\n{all}");
}

#[test]
fn a_small_eventual_commit_is_one_write_a_run_one_of_the_redo_record_and_no_flush() {
    let Some(traced) = Traced::commit("eventual") else { return };
    let ((_, record), _) = traced.last_write_and_pages();
    assert!(record.end - record.start < 250, "{}", traced.all);
    assert!(traced.flushes.is_empty(), "{}", traced.all);
}

/// `pwritev(3, […], 2, 4096) = 8192` wrote 4096..12288.
fn written_range(call: &str) -> Range<u64> {
    let (arguments, result) = call.rsplit_once(" = ").unwrap();
    let offset = arguments.trim_end().trim_end_matches(')').rsplit(", ").next().unwrap();
    let start: u64 = offset.parse().unwrap();
    start..start + result.trim().parse::<u64>().unwrap()
}

/// `msync(0x7f0000001000, 4096, MS_SYNC) = 0` flushed so much memory.
fn flushed_range(call: &str) -> Range<u64> {
    let arguments = call.split_once('(').unwrap().1;
    let mut arguments = arguments.split(", ");
    let start = u64::from_str_radix(arguments.next().unwrap().trim_start_matches("0x"), 16).unwrap();
    start..start + arguments.next().unwrap().parse::<u64>().unwrap()
}

/// Pages of the file that the system has not written to the disk; `None` where it does not say (before Linux 6.5).
fn dirty_pages(file: &std::fs::File) -> Option<u64> {
    const CACHESTAT: libc::c_long = 451;
    let (range, mut found) = ([0u64; 2], [0u64; 5]);
    // SAFETY: the kernel reads two numbers and writes five.
    let result = unsafe { libc::syscall(CACHESTAT, file.as_raw_fd(), range.as_ptr(), found.as_mut_ptr(), 0) };
    (result == 0).then(|| found[1] + found[2])
}

/// The system calls that flush are made, says another test; here, that they do something.
#[test]
fn what_a_commit_has_flushed_is_not_dirty_any_more() {
    let db = filled();
    db.checkpoint().unwrap();
    let file = std::fs::File::open(db.path()).unwrap();
    let put = |durability: Durability, key: u64| {
        db.write(|w| {
            w.set_durability(durability);
            (0..50).try_for_each(|i| w.put(NUMBERS, &(key + i * 1000), &i).map(drop))
        })
        .unwrap();
    };
    put(Durability::Eventual, 1);
    let before = dirty_pages(&file);
    if before.is_none_or(|pages| pages == 0) {
        println!("skipped: the system does not say what is dirty, or writes at once");
        return;
    }
    put(Durability::Durable, 2);
    let log_only = dirty_pages(&file).unwrap();
    put(Durability::Ordered, 3);
    // Metadata aside; a page may be dirtied again by nobody.
    assert_eq!(
        dirty_pages(&file),
        Some(0),
        "an ordered commit flushes all; {before:?}, then {log_only} before"
    );
    put(Durability::Eventual, 4);
    assert!(dirty_pages(&file).unwrap() > 0);
    db.checkpoint().unwrap();
    assert_eq!(dirty_pages(&file), Some(0), "a checkpoint flushes all");
    // Grown, mapped anew or not: still.
    let big = vec![7; 9 << 20];
    db.write(|w| w.put(WORDS, "big", &big[..])).unwrap();
    assert_eq!(dirty_pages(&file), Some(0), "a large commit is a checkpoint");
}

//! Values much larger than the memory that writing, reading and rescuing them takes.
//!
//! A binary of its own, with one test at a time: what is measured is the memory of the whole process.

mod common;

use common::TestDb;
use mapleaf::{Options, Salvage, Table};
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::time::Instant;

const FILES: Table<str, [u8]> = Table::new("files");
const MIB: u64 = 1 << 20;
/// More memory than this, in KiB, is not needed, however long the value is.
const ENOUGH_KIB: u64 = 32 << 10;

/// A source that is quick even without optimization: blocks of 64 KiB that begin with their number.
struct Blocks {
    at: u64,
    block: Vec<u8>,
}

const BLOCK: u64 = 65_536;

impl Blocks {
    fn new() -> Self {
        Blocks { at: 0, block: (0..BLOCK).map(|i| (i * i % 251) as u8).collect() }
    }

    fn part(range: Range<u64>) -> Vec<u8> {
        let mut source = Blocks::new();
        source.at = range.start;
        let mut part = Vec::new();
        source.take(range.end - range.start).read_to_end(&mut part).unwrap();
        part
    }
}

impl Read for Blocks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let from = (self.at % BLOCK) as usize;
        self.block[..8].copy_from_slice(&(self.at / BLOCK).to_le_bytes());
        let len = buffer.len().min(self.block.len() - from);
        buffer[..len].copy_from_slice(&self.block[from..from + len]);
        self.at += len as u64;
        Ok(len)
    }
}

/// Kilobytes that a line of /proc/self/status says.
fn status_kib(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Writes, reads in part, verifies, and deletes a value of this length.
fn there_and_back(len: u64) {
    // The least memory that is possible.
    let mut db = TestDb::with(Options::new().dirty_limit(1 << 20));
    db.write(|w| w.put(FILES, "small", b"value").map(drop)).unwrap();
    let anonymous = status_kib("RssAnon:");
    let start = Instant::now();
    let mut w = db.begin_write().unwrap();
    w.put_from(FILES, "it", len, Blocks::new()).unwrap();
    println!("put_from of {len} bytes: {:.1?}", start.elapsed());
    let grown = status_kib("RssAnon:").saturating_sub(anonymous);
    println!("{grown} KiB more memory");
    assert!(grown < ENOUGH_KIB, "{grown} KiB");
    w.commit().unwrap();
    println!("and its commit: {:.1?}", start.elapsed());
    for reopened in [false, true] {
        if reopened {
            db.reopen();
        }
        let r = db.begin_read().unwrap();
        assert_eq!(r.value_len(FILES, "it").unwrap(), Some(len));
        let borders = [0, len / 2, u64::from(u32::MAX) + 1, len - 100_000, len - 1];
        for border in borders.into_iter().filter(|border| *border < len) {
            let part = border.saturating_sub(70_000)..(border + 70_000).min(len);
            let start = Instant::now();
            let found = r.get_part(FILES, "it", part.clone()).unwrap().unwrap();
            println!("{part:?}, first touch: {:.1?}", start.elapsed());
            assert!(found == Blocks::part(part.clone()), "{part:?}");
        }
        let mut value = r.value_reader(FILES, "it").unwrap().unwrap();
        value.seek(SeekFrom::End(-9)).unwrap();
        let mut end = Vec::new();
        value.read_to_end(&mut end).unwrap();
        assert!(end == Blocks::part(len - 9..len));
    }
    let r = db.begin_read().unwrap();
    let start = Instant::now();
    let whole = r.get(FILES, "it").unwrap().unwrap();
    println!("get, which verifies all: {:.1?}", start.elapsed());
    let again = Instant::now();
    assert_eq!(r.get(FILES, "it").unwrap().unwrap().as_ptr(), whole.as_ptr());
    println!("get again: {:.1?}", again.elapsed());
    assert_eq!(whole.len() as u64, len);
    assert!(whole[whole.len() - 70_000..] == Blocks::part(len - 70_000..len));
    drop(r);
    let start = Instant::now();
    common::assert_clean(&db);
    println!("verify: {:.1?}", start.elapsed());
    rescue(&mut db, len);
    let file_len = db.file_len();
    db.write(|w| w.delete(FILES, "it").map(drop)).unwrap();
    let mut w = db.begin_write().unwrap();
    w.put_from(FILES, "it", len / 2, Blocks::new()).unwrap();
    let savepoint = w.savepoint();
    w.put_from(FILES, "other", len / 3, Blocks::new()).unwrap();
    w.rollback_to(savepoint).unwrap();
    w.commit().unwrap();
    assert_eq!(db.begin_read().unwrap().value_len(FILES, "other").unwrap(), None);
    assert!(db.file_len() <= file_len + (9 << 20), "{} bytes, before {file_len}", db.file_len());
}

/// Rescues a value of this length into another file.
fn rescue(db: &mut TestDb, len: u64) {
    db.close().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let rescued = directory.path().join("rescued.maple");
    let (anonymous, start) = (status_kib("RssAnon:"), Instant::now());
    let report = Salvage::of(db.path()).unwrap().write_to(&rescued, &mut |_| {}).unwrap();
    println!("salvage: {:.1?}", start.elapsed());
    let grown = status_kib("RssAnon:").saturating_sub(anonymous);
    assert!(grown < ENOUGH_KIB, "{grown} KiB");
    assert!(report.is_complete() && report.tables[0].entries == 2, "{report:#?}");
    let copy = common::open(&Options::new(), &rescued);
    let r = copy.begin_read().unwrap();
    assert_eq!(r.value_len(FILES, "it").unwrap(), Some(len));
    let part = len - 70_000..len;
    assert!(r.get_part(FILES, "it", part.clone()).unwrap() == Some(&Blocks::part(part)[..]));
    common::assert_clean(&copy);
    drop(r);
    drop(copy);
    db.reopen();
}

#[test]
fn a_value_much_larger_than_the_memory_limit_goes_there_and_back() {
    there_and_back(100 * MIB + 12_345);
}

#[test]
#[ignore = "takes minutes and 11 GB of disk; TMPDIR says where"]
fn a_value_of_more_than_4_gib_goes_there_and_back() {
    there_and_back(5 * 1024 * MIB + 12_345);
}

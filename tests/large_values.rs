//! Large values: written from a source or in place, read in part, damaged in part.

mod common;

use common::TestDb;
use mapleaf::codec::{Codec, DecodeError, Encode, Key};
use mapleaf::{
    Durability, Error, Observer, Op as DiskOp, Options, ReadTxn, Salvage, Savepoint, Table, TableView,
    Verdict, Verify, WriteTxn,
};
use proptest::prelude::*;
use proptest::test_runner::{FileFailurePersistence, RngSeed};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

const FILES: Table<str, [u8]> = Table::new("files");
const TEXTS: Table<str, str> = Table::new("texts");
const MIB: u64 = 1 << 20;

fn word(i: u64, seed: u64) -> [u8; 8] {
    let mixed = (i + 1).wrapping_mul(seed.wrapping_mul(2) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed ^ (mixed >> 29)).to_le_bytes()
}

/// Bytes of the endless value with this seed.
fn bytes(range: Range<u64>, seed: u64) -> Vec<u8> {
    let words = range.start / 8..range.end.div_ceil(8);
    let bytes: Vec<u8> = words.flat_map(|i| word(i, seed)).collect();
    let skipped = (range.start % 8) as usize;
    bytes[skipped..skipped + (range.end - range.start) as usize].to_vec()
}

/// A source of the first `len` of them, in pieces of odd lengths, with interruptions; then what `end` says.
struct Source {
    at: u64,
    len: u64,
    seed: u64,
    end: End,
    calls: u32,
}

#[derive(Clone, Copy, PartialEq)]
enum End {
    Quiet,
    Fails,
    Panics,
}

impl Source {
    fn new(len: u64, seed: u64) -> Self {
        Source { at: 0, len, seed, end: End::Quiet, calls: 0 }
    }

    fn ending(self, end: End) -> Self {
        Source { end, ..self }
    }
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.calls += 1;
        if self.calls.is_multiple_of(5) {
            return Err(ErrorKind::Interrupted.into());
        }
        let len = (buffer.len() as u64).min(self.len - self.at).min(100_003);
        match self.end {
            End::Fails if len == 0 => return Err(io::Error::other("the line is dead")),
            End::Panics if len == 0 => panic!("the source panics"),
            _ => {}
        }
        buffer[..len as usize].copy_from_slice(&bytes(self.at..self.at + len, self.seed));
        self.at += len;
        Ok(len as usize)
    }
}

/// Lengths around the borders of leaves, pages, chunks, and what is kept in memory.
fn lens(page_size: u64) -> Vec<u64> {
    let borders = [0, page_size / 2 - 30, page_size, 16 * page_size, 65_536, 131_072, MIB, MIB + 256 * 1024];
    let around = borders.into_iter().flat_map(|border| [border.saturating_sub(1), border, border + 1]);
    let lens: BTreeSet<u64> = around.chain([100, 5 * MIB + 77]).collect();
    lens.into_iter().collect()
}

fn options(page_size: u64) -> Options {
    // The least that is possible: txns write early all the time.
    Options::new().page_size(page_size as usize).dirty_limit(1 << 20)
}

fn key(len: u64) -> String {
    format!("{len:09}")
}

/// That a table has a value of each length, whole and in part.
fn check(view: &TableView<'_, str, [u8]>, lens: &[u64]) {
    for len in lens {
        let key = key(*len);
        assert!(view.get(&key).unwrap() == Some(&bytes(0..*len, *len)[..]), "{len}");
        assert_eq!(view.value_len(&key).unwrap(), Some(*len));
        for part in [0..0, 0..1, 0..*len, len / 2..len / 2 + 70_000, len - len / 9..*len] {
            let expected = bytes(part.start.min(*len)..part.end.min(*len), *len);
            assert!(view.get_part(&key, part.clone()).unwrap() == Some(&expected[..]), "{part:?} of {len}");
        }
        assert_eq!(view.get_part(&key, *len..*len + 5).unwrap(), Some(&[][..]));
        assert_eq!(view.get_part(&key, *len + 9..).unwrap(), Some(&[][..]));
    }
    assert_eq!(view.get_part("nobody", ..).unwrap(), None);
    assert_eq!(view.value_len("nobody").unwrap(), None);
}

#[test]
fn a_value_from_a_source_is_there_whole_and_in_part_before_and_after_the_commit() {
    for page_size in [4096, 65536] {
        let mut db = TestDb::with(options(page_size));
        let lens = lens(page_size);
        let mut w = db.begin_write().unwrap();
        for len in &lens {
            let mut source = Source::new(len + 10, *len);
            assert!(!w.put_from(FILES, &key(*len), *len, &mut source).unwrap());
            assert_eq!(source.at, *len, "no more than the value is taken");
        }
        check(&w.table(FILES).unwrap(), &lens);
        w.commit().unwrap();
        check(&db.begin_read().unwrap().table(FILES).unwrap(), &lens);
        db.reopen();
        check(&db.begin_read().unwrap().table(FILES).unwrap(), &lens);
    }
}

#[test]
fn the_first_byte_of_a_value_from_a_source_is_the_first_of_a_page() {
    for page_size in [4096, 65536] {
        let db = TestDb::with(options(page_size));
        for len in lens(page_size).into_iter().filter(|len| *len > page_size) {
            db.write(|w| w.put_from(FILES, "it", len, Source::new(len, 1))).unwrap();
            let r = db.begin_read().unwrap();
            assert_eq!(r.get(FILES, "it").unwrap().unwrap().as_ptr() as usize % page_size as usize, 0);
        }
    }
}

#[test]
fn a_source_that_fails_ends_early_or_panics_leaves_the_txn_as_it_was() {
    let db = TestDb::with(options(4096));
    db.write(|w| w.put(FILES, "it", b"before")).unwrap();
    let mut w = db.begin_write().unwrap();
    w.put(FILES, "other", &bytes(0..3 * MIB, 9)).unwrap();
    for (has, len) in
        [(0, 10), (9, 10), (50_000, 70_000), (0, 2 * MIB), (MIB + 5, 2 * MIB), (9 * MIB, 9 * MIB + 1)]
    {
        let error = w.put_from(FILES, "it", len, Source::new(has, 1)).unwrap_err();
        let Error::Io { context, source } = &error else { panic!("{error}") };
        assert_eq!(source.kind(), ErrorKind::UnexpectedEof);
        assert!(context.contains(&len.to_string()) && context.contains(&has.to_string()), "{error}");
        let error = w.put_from(FILES, "it", len, Source::new(has, 1).ending(End::Fails)).unwrap_err();
        assert!(error.to_string().contains("the line is dead"), "{error}");
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            w.put_from(FILES, "it", len, Source::new(has, 1).ending(End::Panics))
        }));
        assert!(panicked.is_err());
        assert_eq!(w.get(FILES, "it").unwrap(), Some(&b"before"[..]));
    }
    // Nor is a table made for it.
    assert!(w.put_from(TEXTS, "it", 10, io::empty()).is_err());
    assert!(w.raw_table("texts").unwrap().is_none());
    w.commit().unwrap();
    let r = db.begin_read().unwrap();
    assert_eq!(r.get(FILES, "it").unwrap(), Some(&b"before"[..]));
    assert!(r.get(FILES, "other").unwrap() == Some(&bytes(0..3 * MIB, 9)[..]));
    assert!(db.file_len() < 4 * MIB, "the pages that were written for nothing are cut off");
}

#[test]
fn a_value_without_room_is_an_error_that_changes_nothing() {
    let db = TestDb::with(options(4096).max_size(4 * MIB));
    let mut w = db.begin_write().unwrap();
    w.put(FILES, "it", b"before").unwrap();
    for len in [5 * MIB, 1 << 40, (1 << 47) - 1] {
        let error = w.put_from(FILES, "it", len, Source::new(len, 1)).unwrap_err();
        assert!(matches!(error, Error::Full { .. }), "{error}");
    }
    for len in [1 << 47, u64::MAX] {
        let error = w.put_from(FILES, "it", len, Source::new(len, 1)).unwrap_err();
        assert!(matches!(error, Error::ValueTooLong { .. }), "{error}");
    }
    w.put_from(FILES, "other", 2 * MIB, Source::new(2 * MIB, 1)).unwrap();
    w.commit().unwrap();
    assert_eq!(db.begin_read().unwrap().get(FILES, "it").unwrap(), Some(&b"before"[..]));
    let error = db.write(|w| w.reserve(FILES, "it", (1 << 47) - 1, |_| ())).unwrap_err();
    assert!(matches!(error, Error::Io { .. }), "{error}");
}

/// Fails writes and growth once so many more of them have happened; `u64::MAX`: none.
struct FailAfter(AtomicU64);

impl Observer for FailAfter {
    fn before(&self, op: &DiskOp<'_>) -> Verdict {
        if matches!(op, DiskOp::Sync { .. } | DiskOp::SetLen { .. }) || self.0.load(Relaxed) == u64::MAX {
            return Verdict::Proceed;
        }
        match self.0.load(Relaxed) {
            // ENOSPC.
            0 => Verdict::Fail(io::Error::from_raw_os_error(28)),
            left => {
                self.0.store(left - 1, Relaxed);
                Verdict::Proceed
            }
        }
    }
}

#[test]
fn a_write_that_fails_while_a_value_comes_in_leaves_the_txn_as_it_was() {
    let failing = Arc::new(FailAfter(AtomicU64::new(u64::MAX)));
    let db = TestDb::with(options(4096).observer(failing.clone()));
    db.write(|w| w.put(FILES, "it", b"before").map(drop)).unwrap();
    for after in [0, 1, 2, 20, 100, 190] {
        let mut w = db.begin_write().unwrap();
        w.put(FILES, "other", &[after as u8; 5000]).unwrap();
        failing.0.store(after, Relaxed);
        let error = w.put_from(FILES, "it", 3 * MIB, Source::new(3 * MIB, 1)).unwrap_err();
        failing.0.store(u64::MAX, Relaxed);
        assert!(matches!(error, Error::Io { .. }), "{after}: {error}");
        w.put_from(FILES, "third", 2 * MIB, Source::new(2 * MIB, after)).unwrap();
        w.commit().unwrap();
        let r = db.begin_read().unwrap();
        assert_eq!(r.get(FILES, "it").unwrap(), Some(&b"before"[..]));
        assert_eq!(r.get(FILES, "other").unwrap(), Some(&[after as u8; 5000][..]));
        assert!(r.get(FILES, "third").unwrap() == Some(&bytes(0..2 * MIB, after)[..]));
    }
}

#[test]
fn a_reserved_value_is_what_its_closure_has_written() {
    for page_size in [4096, 65536] {
        let db = TestDb::with(options(page_size));
        for len in lens(page_size) {
            let fill = |value: &mut [u8]| {
                assert!(value.iter().all(|byte| *byte == 0) && value.len() as u64 == len);
                value.copy_from_slice(&bytes(0..len, 3));
                value.len()
            };
            let mut w = db.begin_write().unwrap();
            assert_eq!(w.reserve(FILES, "it", len as usize, fill).unwrap() as u64, len);
            assert!(w.get(FILES, "it").unwrap() == Some(&bytes(0..len, 3)[..]), "{len}");
            w.commit().unwrap();
            assert!(
                db.begin_read().unwrap().get(FILES, "it").unwrap() == Some(&bytes(0..len, 3)[..]),
                "{len}"
            );
        }
    }
}

#[test]
fn a_closure_that_fails_or_panics_leaves_the_txn_as_it_was() {
    let db = TestDb::with(options(4096));
    let mut w = db.begin_write().unwrap();
    w.put(FILES, "it", b"before").unwrap();
    for len in [10, 3000, 100_000, 2 << 20] {
        let failed = w.try_reserve(FILES, "it", len, |value| {
            value.fill(1);
            Err::<(), _>(Error::TableNotFound { table: "of the closure".into() })
        });
        assert!(matches!(failed, Err(Error::TableNotFound { .. })));
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            w.reserve(FILES, "it", len, |value| {
                value.fill(1);
                panic!("the closure panics")
            })
        }));
        assert!(panicked.is_err());
        assert_eq!(w.get(FILES, "it").unwrap(), Some(&b"before"[..]));
    }
    w.commit().unwrap();
    assert_eq!(db.begin_read().unwrap().get(FILES, "it").unwrap(), Some(&b"before"[..]));
}

#[test]
fn bytes_that_are_no_value_of_the_table_are_an_error_that_changes_nothing() {
    let db = TestDb::with(options(4096));
    let mut w = db.begin_write().unwrap();
    for len in [10u64, 3000, 100_000, 3 << 20] {
        let error = w.reserve(TEXTS, "it", len as usize, |value| value.fill(0xff)).unwrap_err();
        assert!(matches!(error, Error::Decode { .. }), "{error}");
        let error = w.put_from(TEXTS, "it", len, io::repeat(0xff)).unwrap_err();
        assert!(matches!(error, Error::Decode { .. }), "{error}");
        assert!(w.raw_table("texts").unwrap().is_none_or(|table| table.is_empty()));
    }
    for len in [10u64, 3000, 100_000, 3 << 20] {
        w.put_from(TEXTS, "it", len, io::repeat(b'x')).unwrap();
        assert_eq!(w.get(TEXTS, "it").unwrap().unwrap().len() as u64, len);
    }
    const NUMBERS: Table<u64, u64> = Table::new("numbers");
    w.reserve(NUMBERS, &1, 8, |value| value.copy_from_slice(&7u64.to_be_bytes())).unwrap();
    assert_eq!(w.get(NUMBERS, &1).unwrap(), Some(7));
    assert!(matches!(w.reserve(NUMBERS, &1, 7, |_| ()).unwrap_err(), Error::WrongWidth { .. }));
    assert!(matches!(w.put_from(NUMBERS, &1, 9, io::repeat(0)).unwrap_err(), Error::WrongWidth { .. }));
    w.commit().unwrap();
}

/// Values that cannot be decoded without a panic.
struct Rude;

impl Codec for Rude {
    type View<'a> = ();
    const WIDTH: Option<usize> = None;

    fn type_name() -> std::borrow::Cow<'static, str> {
        "rude".into()
    }

    fn decode(_: &[u8]) -> Result<(), DecodeError> {
        panic!("the codec panics")
    }
}

#[test]
fn a_codec_that_panics_leaves_a_txn_that_can_only_be_aborted() {
    const RUDE: Table<str, Rude> = Table::new("rude");
    let db = TestDb::with(options(4096));
    for len in [10, 100_000, 3 * MIB] {
        let mut w = db.begin_write().unwrap();
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            w.put_from(RUDE, "it", len, Source::new(len, 1))
        }));
        assert!(panicked.is_err());
        assert!(matches!(w.put(FILES, "it", b"value"), Err(Error::Poisoned)));
        assert!(matches!(w.commit(), Err(Error::Poisoned)));
        db.write(|w| w.put(FILES, "it", b"value")).unwrap();
    }
}

#[test]
fn a_value_changed_in_place_has_the_checksums_of_what_it_is_now() {
    for page_size in [4096, 65536] {
        let mut db = TestDb::with(options(page_size));
        for len in lens(page_size).into_iter().filter(|len| *len > 0) {
            let mut expected = bytes(0..len, 1);
            let mut change = |w: &mut WriteTxn, with: u8| {
                let changed = |value: &mut [u8]| {
                    value[len as usize / 2] ^= with;
                    value.len() as u64
                };
                changed(&mut expected);
                assert_eq!(w.update_in_place(FILES, "it", changed).unwrap(), Some(len));
                assert!(w.get(FILES, "it").unwrap() == Some(&expected[..]), "{len}");
            };
            let mut w = db.begin_write().unwrap();
            w.put(FILES, "it", &bytes(0..len, 1)).unwrap();
            // In memory, in memory behind a savepoint, and in the file.
            change(&mut w, 1);
            w.savepoint();
            change(&mut w, 2);
            w.commit().unwrap();
            let mut w = db.begin_write().unwrap();
            change(&mut w, 4);
            w.commit().unwrap();
            db.reopen();
            assert!(db.begin_read().unwrap().get(FILES, "it").unwrap() == Some(&expected[..]), "{len}");
        }
    }
}

#[test]
fn what_a_nested_txn_has_taken_from_a_source_stays_or_goes_with_it() {
    let db = TestDb::with(options(4096));
    let mut w = db.begin_write().unwrap();
    for (round, len) in [(1, 2 * MIB), (2, 5 * MIB), (3, 100_000)] {
        let undone = w.nested(|n| {
            n.put_from(FILES, "it", len, Source::new(len, 99))?;
            n.nested(|n| n.put_from(FILES, "other", 2 * len, Source::new(2 * len, 98)))?;
            n.reserve(FILES, "third", len as usize, |value| value.fill(9))?;
            Err::<(), _>(Error::UnknownSavepoint)
        });
        assert!(matches!(undone, Err(Error::UnknownSavepoint)));
        w.nested(|n| {
            n.put_from(FILES, "it", len, Source::new(len, round))?;
            let failed = n.put_from(FILES, "it", 3 * len, Source::new(2 * len, 98));
            assert!(failed.is_err());
            n.put_from(FILES, "nested", 2 * len, Source::new(2 * len, round))
        })
        .unwrap();
        assert!(w.get(FILES, "it").unwrap() == Some(&bytes(0..len, round)[..]));
        assert_eq!(w.len(FILES).unwrap(), 2);
    }
    w.commit().unwrap();
    let r = db.begin_read().unwrap();
    assert!(r.get(FILES, "it").unwrap() == Some(&bytes(0..100_000, 3)[..]));
    assert!(r.get(FILES, "nested").unwrap() == Some(&bytes(0..200_000, 3)[..]));
    drop(r);
    assert!(db.file_len() < 20 * MIB, "{} bytes for 300 KB", db.file_len());
}

#[test]
fn behind_a_source_that_failed_a_savepoint_can_be_rolled_back_to_and_released() {
    let db = TestDb::with(options(4096));
    db.write(|w| w.put(FILES, "it", b"small")).unwrap();
    let mut w = db.begin_write().unwrap();
    for round in 0..6 {
        let savepoint = w.savepoint();
        assert!(w.put_from(FILES, "it", 2 * MIB, Source::new(MIB, 7)).is_err());
        if round % 2 == 0 {
            // In the pages that were given back.
            w.put_from(FILES, "it", MIB, Source::new(MIB, round)).unwrap();
        }
        if round < 4 {
            w.rollback_to(savepoint).unwrap();
            assert_eq!(w.get(FILES, "it").unwrap(), Some(&b"small"[..]));
        }
        w.release(savepoint).unwrap();
    }
    let undone = w.nested(|n| n.put_from(FILES, "it", 2 * MIB, Source::new(MIB, 7)));
    assert!(undone.is_err());
    w.commit().unwrap();
    assert!(db.begin_read().unwrap().get(FILES, "it").unwrap() == Some(&bytes(0..MIB, 4)[..]));
}

#[test]
fn a_reader_reads_from_any_place_and_seeks_like_a_file() {
    let db = TestDb::with(options(4096));
    let len = 300_001;
    db.write(|w| w.put_from(FILES, "it", len, Source::new(len, 1)).map(drop)).unwrap();
    let whole = bytes(0..len, 1);
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&whole).unwrap();
    let r = db.begin_read().unwrap();
    let mut value = r.value_reader(FILES, "it").unwrap().unwrap();
    assert_eq!((value.len(), value.is_empty()), (len, false));
    let seeks = [
        SeekFrom::Start(65_530),
        SeekFrom::Current(-20),
        SeekFrom::End(-7),
        SeekFrom::End(7),
        SeekFrom::Current(i64::MIN),
        SeekFrom::Start(0),
        SeekFrom::Current(-1),
        SeekFrom::End(-300_002),
        SeekFrom::Start(131_072),
    ];
    for to in seeks {
        let (expected, found) = (file.seek(to), value.seek(to));
        assert_eq!(found.as_ref().ok(), expected.as_ref().ok(), "{to:?}");
        let mut parts = [[0; 100], [0; 100]];
        let read = (file.read(&mut parts[0]).unwrap(), value.read(&mut parts[1]).unwrap());
        assert_eq!((read.0, parts[0]), (read.1, parts[1]), "{to:?}");
    }
    value.rewind().unwrap();
    let mut all = Vec::new();
    value.read_to_end(&mut all).unwrap();
    assert!(all == whole);
    assert!(r.value_reader(FILES, "nobody").unwrap().is_none());
}

/// Kilobytes of the file that this process has in its memory through mappings.
fn resident_kib(path: &Path) -> u64 {
    let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
    let mut is_it = false;
    let mut sum = 0;
    for line in maps.lines() {
        let first = line.split_whitespace().next().unwrap_or_default();
        if first.contains('-') && !first.ends_with(':') {
            is_it = line.ends_with(path.to_str().unwrap());
        } else if is_it && first == "Rss:" {
            sum += line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap();
        }
    }
    sum
}

#[test]
fn a_part_is_read_without_touching_the_rest() {
    let mut db = TestDb::new();
    let len = 100 * MIB;
    db.write(|w| w.put_from(FILES, "it", len, Source::new(len, 1)).map(drop)).unwrap();
    db.reopen();
    let r = db.begin_read().unwrap();
    let before = resident_kib(&db.path());
    assert_eq!(r.value_len(FILES, "it").unwrap(), Some(len));
    let part = 77 * MIB + 5..77 * MIB + 70_005;
    assert!(r.get_part(FILES, "it", part.clone()).unwrap() == Some(&bytes(part, 1)[..]));
    let after = resident_kib(&db.path());
    // Two chunks, the table, two pages of the tree; the system maps up to 64 KiB around each.
    assert!(before < 1024 && after < 1024, "{before} and {after} KiB of {}", len >> 10);
    assert_eq!(r.get(FILES, "it").unwrap().unwrap().len() as u64, len);
    assert!(resident_kib(&db.path()) >= len >> 10, "the whole value is verified at first touch");
}

/// A store in a file of its own, closed, and where in it the value begins.
struct Closed {
    directory: tempfile::TempDir,
    at: u64,
}

impl Closed {
    fn with_value(options: &Options, len: u64, seed: u64) -> Closed {
        let directory = tempfile::tempdir().unwrap();
        let mut closed = Closed { directory, at: 0 };
        let db = common::open(options, &closed.path());
        db.write(|w| {
            w.put(FILES, "before", b"whole")?;
            w.put_from(FILES, "it", len, Source::new(len, seed))?;
            w.put(FILES, "large", &bytes(0..200_000, 8)).map(drop)
        })
        .unwrap();
        db.close().unwrap();
        let (file, first) = (std::fs::read(closed.path()).unwrap(), bytes(0..64, seed));
        closed.at = file.chunks(64).position(|chunk| chunk == first).unwrap() as u64 * 64;
        closed
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("it.maple")
    }

    /// Turns a bit of a byte of the run.
    fn flip(&self, byte: u64) {
        let file = std::fs::File::options().read(true).write(true).open(self.path()).unwrap();
        let mut found = [0];
        file.read_exact_at(&mut found, self.at + byte).unwrap();
        file.write_all_at(&[found[0] ^ 4], self.at + byte).unwrap();
    }
}

#[test]
fn a_damaged_chunk_is_an_error_to_whoever_touches_it_and_to_nobody_else() {
    for (page_size, len) in [(4096, 5 * MIB + 77), (65536, 5 * MIB + 77), (4096, 200_000)] {
        let chunk = 65_536;
        let closed = Closed::with_value(&options(page_size), len, 1);
        let damaged = 2 * chunk + 1234;
        closed.flip(damaged);
        let db = common::open(&options(page_size), &closed.path());
        let r = db.begin_read().unwrap();
        for part in [0..2 * chunk, 3 * chunk..len, 0..1, len - 1..len, 2 * chunk..2 * chunk] {
            assert!(r.get_part(FILES, "it", part.clone()).unwrap() == Some(&bytes(part, 1)[..]));
        }
        let page = (closed.at + 2 * chunk) / page_size;
        let expect = |error: Error| match &error {
            Error::Corrupt { page: found, detail } => {
                assert_eq!(*found, page, "{error}");
                let named = format!("bytes 131072 to {} of a value of {len}", (3 * chunk).min(len) - 1);
                assert!(detail.starts_with(&named), "{error}");
            }
            _ => panic!("{error}"),
        };
        for part in [2 * chunk..2 * chunk + 1, 0..len, 3 * chunk - 1..3 * chunk, chunk..4 * chunk] {
            expect(r.get_part(FILES, "it", part).unwrap_err());
        }
        expect(r.get(FILES, "it").unwrap_err());
        let mut value = r.value_reader(FILES, "it").unwrap().unwrap();
        let error = std::io::copy(&mut value, &mut std::io::sink()).unwrap_err();
        expect(*error.into_inner().unwrap().downcast::<Error>().unwrap());
        assert_eq!(r.value_len(FILES, "it").unwrap(), Some(len));
        assert_eq!(r.get(FILES, "before").unwrap(), Some(&b"whole"[..]));

        let report = db.verify(&mut |_| {}).unwrap();
        let [problem] = &report.problems[..] else { panic!("{:#?}", report.problems) };
        assert_eq!((problem.page, problem.table.as_deref()), (Some(page), Some("files")));
        assert_eq!(problem.behind.as_ref().unwrap().from, b"it");
        drop(r);
        db.close().unwrap();

        let rescued = closed.directory.path().join("rescued.maple");
        let report = Salvage::of(closed.path()).unwrap().write_to(&rescued, &mut |_| {}).unwrap();
        let [lost] = &report.tables[0].lost_values[..] else { panic!("{:#?}", report.tables) };
        assert!(lost.key == b"it" && lost.detail.starts_with("bytes 131072 to "), "{lost:?}");
        let db = common::open(&Options::new(), &rescued);
        let r = db.begin_read().unwrap();
        assert_eq!(r.len(FILES).unwrap(), 2);
        assert!(r.get(FILES, "large").unwrap() == Some(&bytes(0..200_000, 8)[..]));

        // A damaged value can be replaced, and removed.
        let db = common::open(&options(page_size), &closed.path());
        db.write(|w| w.put(FILES, "it", b"new").map(drop)).unwrap();
        common::assert_clean(&db);
    }
}

#[test]
fn a_damaged_table_of_checksums_is_an_error_to_whoever_needs_it() {
    let len = 5 * MIB + 77;
    let closed = Closed::with_value(&options(4096), len, 1);
    closed.flip(len + 9);
    let db = common::open(&options(4096), &closed.path());
    let r = db.begin_read().unwrap();
    let error = r.get_part(FILES, "it", 9..10).unwrap_err();
    let Error::Corrupt { page, detail } = &error else { panic!("{error}") };
    assert_eq!(*page, (closed.at + len) / 4096, "{error}");
    assert!(detail.contains("table of checksums"), "{error}");
    assert_eq!(r.get_part(FILES, "it", 9..9).unwrap(), Some(&[][..]));
    assert_eq!(db.verify(&mut |_| {}).unwrap().problems.len(), 1);
    // What is behind the table is nobody's.
    drop(r);
    db.close().unwrap();
    closed.flip(len + 9);
    closed.flip(len + 4 * 81);
    let db = common::open(&options(4096), &closed.path());
    common::assert_clean(&db);
    assert!(db.begin_read().unwrap().get(FILES, "it").unwrap() == Some(&bytes(0..len, 1)[..]));
}

#[test]
fn with_guarded_reads_and_with_each_kind_of_verification_the_parts_are_the_same() {
    let len = 5 * MIB + 77;
    let closed = Closed::with_value(&options(4096), len, 1);
    for verify in [Verify::Once, Verify::Always, Verify::Never] {
        for guarded in [false, true] {
            let options = options(4096).verify(verify).guarded_reads(guarded);
            let db = common::open(&options, &closed.path());
            let r = db.begin_read().unwrap();
            for part in [0..1, 65_535..65_537, len - 1..len, 0..len, 4 * MIB..4 * MIB] {
                assert!(r.get_part(FILES, "it", part.clone()).unwrap() == Some(&bytes(part, 1)[..]));
            }
        }
    }
}

// ---- the model ----

const NUMBERED: Table<u64, [u8]> = Table::new("numbered");

/// Length and seed of the value at each key, by table.
type Model = [BTreeMap<u64, (u64, u64)>; 2];

/// How a value comes into the store.
#[derive(Clone, Copy, Debug)]
enum How {
    Put,
    From,
    Reserve,
    /// From a source with fewer bytes, in 256ths.
    FromTooLittle(u8),
    FromFailing(u8),
    ReserveFailing,
}

#[derive(Clone, Debug)]
enum Op {
    Value {
        table: usize,
        key: u64,
        len: usize,
        seed: u64,
        how: How,
    },
    Delete {
        table: usize,
        key: u64,
    },
    /// In 65536ths of the length.
    Part {
        table: usize,
        key: u64,
        from: u64,
        to: u64,
    },
    /// Many changed pages.
    Small(u64),
    Drop(usize),
    Savepoint,
    Rollback(usize),
    Commit(Durability),
    Abort,
    Snapshot,
    Reopen,
    Death,
}

fn op() -> impl Strategy<Value = Op> {
    let how = prop_oneof![
        2 => Just(How::Put),
        4 => Just(How::From),
        3 => Just(How::Reserve),
        1 => any::<u8>().prop_map(How::FromTooLittle),
        1 => any::<u8>().prop_map(How::FromFailing),
        1 => Just(How::ReserveFailing),
    ];
    let durability =
        prop_oneof![Just(Durability::Durable), Just(Durability::Ordered), Just(Durability::Eventual)];
    let (table, key) = (|| 0usize..2, || 0u64..5);
    // One in four is one of the longest.
    let len = prop_oneof![3 => 0usize..200, 1 => 200usize..256];
    prop_oneof![
        9 => (table(), key(), len, 1u64..1000, how)
            .prop_map(|(table, key, len, seed, how)| Op::Value { table, key, len, seed, how }),
        2 => (table(), key()).prop_map(|(table, key)| Op::Delete { table, key }),
        6 => (table(), key(), 0u64..70_000, 0u64..70_000)
            .prop_map(|(table, key, from, to)| Op::Part { table, key, from, to }),
        1 => (0u64..100).prop_map(Op::Small),
        1 => table().prop_map(Op::Drop),
        2 => Just(Op::Savepoint),
        2 => (0usize..3).prop_map(Op::Rollback),
        3 => durability.prop_map(Op::Commit),
        1 => Just(Op::Abort),
        1 => Just(Op::Snapshot),
        1 => Just(Op::Reopen),
        1 => Just(Op::Death),
    ]
}

struct World {
    db: TestDb,
    lens: Vec<u64>,
    committed: Model,
    current: Model,
    txn: Option<WriteTxn>,
    saved: Vec<(Savepoint, Model)>,
    snapshot: Option<(ReadTxn, Model)>,
}

fn text(key: u64) -> String {
    "key ".repeat(1 + key as usize * 50) + &key.to_string()
}

fn compare(r: &ReadTxn, model: &Model) {
    let [files, numbered] = model;
    let (found, found_numbered) = (r.table(FILES).unwrap(), r.table(NUMBERED).unwrap());
    assert_eq!((found.len(), found_numbered.len()), (files.len() as u64, numbered.len() as u64));
    for (key, (len, seed)) in files {
        assert!(found.get(&text(*key)).unwrap() == Some(&bytes(0..*len, *seed)[..]), "{key}: {len}");
    }
    for (key, (len, seed)) in numbered {
        assert!(found_numbered.get(key).unwrap() == Some(&bytes(0..*len, *seed)[..]), "{key}: {len}");
    }
}

impl World {
    fn new(page_size: usize, log_limit: u64) -> Self {
        World {
            db: TestDb::with(options(page_size as u64).log_limit(log_limit)),
            lens: lens(page_size as u64),
            committed: Model::default(),
            current: Model::default(),
            txn: None,
            saved: Vec::new(),
            snapshot: None,
        }
    }

    fn run(mut self, ops: &[Op]) {
        ops.iter().for_each(|op| self.step(op));
        self.step(&Op::Commit(Durability::Durable));
        self.step(&Op::Reopen);
    }

    fn step(&mut self, op: &Op) {
        let mut w = self.txn.take().unwrap_or_else(|| self.db.begin_write().unwrap());
        match op {
            Op::Value { table, key, len, seed, how } => {
                let len = self.lens[len * self.lens.len() / 256];
                let stored = match table {
                    0 => value(&mut w, FILES, &text(*key), len, *seed, *how),
                    _ => value(&mut w, NUMBERED, key, len, *seed, *how),
                };
                if stored {
                    self.current[*table].insert(*key, (len, *seed));
                }
            }
            Op::Delete { table, key } => {
                let removed = match table {
                    0 => w.delete(FILES, &text(*key)).unwrap(),
                    _ => w.delete(NUMBERED, key).unwrap(),
                };
                assert_eq!(removed, self.current[*table].remove(key).is_some());
            }
            Op::Part { table, key, from, to } => {
                let found = match table {
                    0 => w.get_part(FILES, &text(*key), from * 20..to * 20).unwrap(),
                    _ => w.get_part(NUMBERED, key, from * 20..to * 20).unwrap(),
                };
                let expected = self.current[*table].get(key).map(|(len, seed)| {
                    let end = (to * 20).min(*len);
                    bytes((from * 20).min(end)..end, *seed)
                });
                assert!(found == expected.as_deref(), "{op:?}");
            }
            Op::Small(first) => {
                const SMALL: Table<u64, [u8]> = Table::new("small");
                for i in *first..first + 600 {
                    w.put(SMALL, &(i * 7919), &[1; 900]).unwrap();
                }
            }
            Op::Drop(table) => {
                w.drop_table(["files", "numbered"][*table]).unwrap();
                self.current[*table].clear();
            }
            Op::Savepoint => self.saved.push((w.savepoint(), self.current.clone())),
            Op::Rollback(back) => {
                if let Some(at) = self.saved.len().checked_sub(1 + back) {
                    self.saved.truncate(at + 1);
                    let (savepoint, model) = &self.saved[at];
                    w.rollback_to(*savepoint).unwrap();
                    self.current = model.clone();
                }
            }
            Op::Commit(durability) => {
                w.set_durability(*durability);
                w.commit().unwrap();
                self.committed = self.current.clone();
                self.saved.clear();
                compare(&self.db.begin_read().unwrap(), &self.committed);
                if let Some((r, model)) = &self.snapshot {
                    compare(r, model);
                }
                return;
            }
            Op::Abort | Op::Reopen | Op::Death => {
                drop(w);
                self.saved.clear();
                self.current = self.committed.clone();
                if matches!(op, Op::Reopen) {
                    self.snapshot = None;
                    self.db.reopen();
                }
                if matches!(op, Op::Death) {
                    compare(&self.db.after_death().begin_read().unwrap(), &self.committed);
                }
                return;
            }
            Op::Snapshot => self.snapshot = Some((self.db.begin_read().unwrap(), self.committed.clone())),
        }
        self.txn = Some(w);
    }
}

/// Puts a value; false where it was meant to fail, and did.
fn value<K: Key + ?Sized>(
    w: &mut WriteTxn,
    table: Table<K, [u8]>,
    key: &(impl Encode<K> + ?Sized),
    len: u64,
    seed: u64,
    how: How,
) -> bool {
    match how {
        How::Put => _ = w.put(table, key, &bytes(0..len, seed)).unwrap(),
        How::From => _ = w.put_from(table, key, len, Source::new(len, seed)).unwrap(),
        How::Reserve => {
            w.reserve(table, key, len as usize, |value| value.copy_from_slice(&bytes(0..len, seed))).unwrap()
        }
        How::FromTooLittle(part) | How::FromFailing(part) => {
            let end = if matches!(how, How::FromFailing(_)) { End::Fails } else { End::Quiet };
            let source = Source::new(len * u64::from(part) / 256, seed).ending(end);
            // Nothing is asked of it for an empty value.
            return w.put_from(table, key, len, source).is_ok();
        }
        How::ReserveFailing => {
            let failed = w.try_reserve(table, key, len as usize, |value| {
                value.fill(9);
                Err::<(), _>(Error::UnknownSavepoint)
            });
            assert!(matches!(failed, Err(Error::UnknownSavepoint)));
            return false;
        }
    }
    true
}

/// The same cases in every run, so that a change is judged by itself; `PROPTEST_RNG_SEED` tries others.
fn config() -> ProptestConfig {
    let seed = std::env::var("PROPTEST_RNG_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    ProptestConfig {
        cases: 40,
        rng_seed: RngSeed::Fixed(seed),
        max_shrink_time: 30_000,
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("proptest-regressions"))),
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn large_values_do_what_a_map_does(
        page_size in prop_oneof![2 => Just(4096usize), 1 => Just(65536usize)],
        log_limit in prop_oneof![Just(0u64), Just(16 << 20)],
        ops in prop::collection::vec(op(), 5..40),
    ) {
        World::new(page_size, log_limit).run(&ops);
    }
}

//! The redo log: where records lie in the file, and which of them count.
//!
//! Owns: the extents of the log, framing and validating records, writing and flushing them. Promises: a
//! record counts only if it continues the chain of checksums that starts with the seed in the meta
//! slot; so the log's end is found by looking, and what an earlier round left behind it never counts. An end
//! that is damage is told from one that a cut left where a record behind it knows better.
//! Leaves to others: what records say ([`crate::redo`]), when they are written ([`crate::commit`]).
//!
//! The log is a chain of extents, filled one behind the other as if they were one. All of them stand in
//! the meta slot, because extents are added only by checkpoints. A checkpoint starts the log again at
//! its beginning, with a new seed; the first record of the new round is written when the checkpoint is
//! known to be on the disk, and not before.
//!
//! ```text
//! record = checksum u32 | length u32 | txn u64 | previous txn u64 | durable txn u64 | chain value u64
//!        | changes … | zeros up to a multiple of 8
//!          checksum: crc32 of the seed (8 bytes), then of the record behind this field
//!          durable txn: up to there the log was flushed when the record was written
//! chain value: the seed; behind a record its txn << 32, exclusive or its checksum
//! ```
//!
//! Invariants:
//! 1. Every block of an extent was written with zeros and flushed before a meta slot named it.
//! 2. A record is written at the tail of the state that it follows, and nowhere else.

use crate::disk::{Disk, WRITE_UNIT};
use crate::error::{Error, Result};
use crate::format::{LIMIT_48, Meta};
use std::io::IoSlice;
use std::ops::Range;

/// Bytes of a record before its changes.
pub const RECORD_HEAD: usize = 40;
/// Most logs that are read are empty.
const FIRST_READ: u64 = LOOK_AHEAD + 4096;
const READ_UNIT: u64 = 1 << 20;
/// How far behind the end is looked for a record that knows of more.
const LOOK_AHEAD: u64 = 256 << 10;
/// Records have multiples of this many bytes.
const RECORD_UNIT: usize = 8;

/// Where the next record goes, and what it continues.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Tail {
    /// Bytes from the log's beginning.
    pub offset: u64,
    /// Chain value.
    pub chain: u64,
}

/// The log that belongs to a checkpoint.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Log {
    /// The txn of the checkpoint.
    pub checkpoint: u64,
    seed: u64,
    page_size: u64,
    extents: Vec<(u64, u64)>,
}

impl Log {
    /// The log that a meta slot names.
    pub fn of(meta: &Meta) -> Self {
        Log {
            checkpoint: meta.txn.get(),
            seed: meta.log_seed.get(),
            page_size: u64::from(meta.page_size.get()),
            extents: meta.log_extents(),
        }
    }

    /// The log of the checkpoint of `txn`, in the extents of this one.
    ///
    /// # Errors
    /// `Io` when the system has no random bytes.
    pub fn next(&self, txn: u64) -> Result<Log> {
        let mut seed = [0; 8];
        rustix::io::retry_on_intr(|| {
            rustix::rand::getrandom(&mut seed, rustix::rand::GetRandomFlags::empty())
        })
        .map_err(|error| Error::io("get random bytes", error.into()))?;
        Ok(Log { checkpoint: txn, seed: u64::from_le_bytes(seed), ..self.clone() })
    }

    /// What its checkpoint is known by: the txn, and the seed.
    pub fn checkpoint_id(&self) -> (u64, u64) {
        (self.checkpoint, self.seed)
    }

    /// Its extents: first page and number of pages.
    pub fn extents(&self) -> &[(u64, u64)] {
        &self.extents
    }

    /// Replaces its extents.
    pub fn set_extents(&mut self, extents: Vec<(u64, u64)>) {
        self.extents = extents;
    }

    /// Writes its place into a meta slot.
    pub fn put_into(&self, meta: &mut Meta) {
        meta.log_seed.set(self.seed);
        for (i, extent) in meta.log.iter_mut().enumerate() {
            let (page, pages) = self.extents.get(i).copied().unwrap_or((0, 0));
            extent.page.set(page);
            extent.pages.set(pages);
        }
    }

    /// Bytes that fit into it.
    pub fn capacity(&self) -> u64 {
        self.extents.iter().map(|(_, pages)| pages * self.page_size).sum()
    }

    /// Where its first record goes.
    pub fn start(&self) -> Tail {
        Tail { offset: 0, chain: self.seed }
    }

    /// Writes `bytes` at `offset` of the log.
    ///
    /// # Errors
    /// `Io`.
    pub fn write(&self, disk: &Disk, offset: u64, bytes: &[u8]) -> Result<()> {
        let mut rest = bytes;
        for (at, len) in self.pieces(offset..offset + bytes.len() as u64) {
            let (now, later) = rest.split_at(len as usize);
            disk.write(at, &now.chunks(WRITE_UNIT).map(IoSlice::new).collect::<Vec<_>>())?;
            rest = later;
        }
        Ok(())
    }

    /// Waits until the bytes of the log are on the disk: one flush, but where they cross extents.
    ///
    /// # Errors
    /// `Io`.
    pub fn flush(&self, disk: &Disk, range: Range<u64>) -> Result<()> {
        self.pieces(range).iter().try_for_each(|(at, len)| disk.sync(*at, *len))
    }

    /// Byte ranges of the file that a range of the log lies in: offset and length.
    fn pieces(&self, range: Range<u64>) -> Vec<(u64, u64)> {
        assert!(range.end <= self.capacity(), "{range:?} of a log of {} bytes", self.capacity());
        let mut pieces = Vec::with_capacity(1);
        let mut start = 0;
        for (page, pages) in &self.extents {
            let end = start + pages * self.page_size;
            let (from, to) = (range.start.max(start), range.end.min(end));
            if from < to {
                pieces.push((page * self.page_size + from - start, to - from));
            }
            start = end;
        }
        pieces
    }

    fn read(&self, disk: &Disk, range: Range<u64>) -> Result<Vec<u8>> {
        let mut bytes = vec![0; (range.end - range.start) as usize];
        let mut rest = &mut bytes[..];
        for (at, len) in self.pieces(range) {
            let (now, later) = rest.split_at_mut(len as usize);
            disk.read_at(at, now)?;
            rest = later;
        }
        Ok(bytes)
    }

    /// The records that follow the checkpoint. Reads with system calls.
    ///
    /// # Errors
    /// `Io`. What does not validate is not an error: the log ends before it.
    pub fn records(&self, disk: &Disk) -> Result<Records> {
        let (mut bytes, mut found) = (Vec::new(), Vec::new());
        let (mut tail, mut previous) = (self.start(), self.checkpoint);
        loop {
            self.read_on(disk, &mut bytes, tail.offset + RECORD_HEAD as u64)?;
            let Some(len) = announced_len(&bytes, tail.offset, previous) else { break };
            self.read_on(disk, &mut bytes, tail.offset + len as u64)?;
            let Some((txn, end)) = parse(self.seed, &bytes, tail, previous) else { break };
            found.push(Record { txn, changes: tail.offset as usize + RECORD_HEAD..end.offset as usize, end });
            (tail, previous) = (end, txn);
        }
        self.read_on(disk, &mut bytes, tail.offset + LOOK_AHEAD)?;
        let lost = lost_behind(self.seed, &bytes, tail.offset as usize, previous);
        let first_page = self.extents.first().map_or(0, |extent| extent.0);
        Ok(Records { bytes, found, lost, checkpoint: self.checkpoint, first_page })
    }

    /// Reads on in large steps until `bytes` reaches `end` or the end of the log.
    fn read_on(&self, disk: &Disk, bytes: &mut Vec<u8>, end: u64) -> Result<()> {
        let (have, capacity) = (bytes.len() as u64, self.capacity());
        if end <= have || have == capacity {
            return Ok(());
        }
        let step = if have == 0 { FIRST_READ } else { READ_UNIT };
        bytes.extend_from_slice(&self.read(disk, have..end.max(have + step).min(capacity))?);
        Ok(())
    }
}

/// A record that counts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// The txn.
    pub txn: u64,
    /// Where behind it the next one goes.
    pub end: Tail,
    changes: Range<usize>,
}

/// The records of a log, in order.
pub struct Records {
    bytes: Vec<u8>,
    found: Vec<Record>,
    /// A txn behind the end that was on the disk.
    lost: Option<u64>,
    checkpoint: u64,
    first_page: u64,
}

impl Records {
    /// What was found, in order.
    pub fn found(&self) -> &[Record] {
        &self.found
    }

    /// Whether the log ends where a cut may have ended it. Where a record behind its end says that more was on the disk, it is
    /// damaged. (Damage to what was flushed last cannot be told from a cut.)
    ///
    /// # Errors
    /// `Corrupt`.
    pub fn check(&self) -> Result<()> {
        let Some(lost) = self.lost else { return Ok(()) };
        let last = self.found.last().map_or(self.checkpoint, |record| record.txn);
        let detail = format!(
            "the log cannot be read behind txn {last}, and txn {lost} was on the disk: what is behind the damage would be \
             lost; keep the file, and get what can be read, up to txn {last}, with \"mapleaf salvage\""
        );
        Err(Error::corrupt(self.first_page, detail))
    }

    /// The changes that a record lists, with the zeros behind them.
    pub fn changes(&self, record: &Record) -> &[u8] {
        &self.bytes[record.changes.clone()]
    }
}

/// Bytes of a record with so many bytes of changes.
pub fn record_len(changes: usize) -> usize {
    (RECORD_HEAD + changes).next_multiple_of(RECORD_UNIT)
}

impl Log {
    /// The record of `txn`, which follows `previous`, at `tail`, written when the log is on the disk up to `durable`; and the
    /// tail behind it.
    ///
    /// # Panics
    /// When it has 4 GiB or more.
    pub fn frame(
        &self,
        tail: Tail,
        txn: u64,
        previous: u64,
        durable: u64,
        changes: &[u8],
    ) -> (Vec<u8>, Tail) {
        let len = record_len(changes.len());
        let mut record = Vec::with_capacity(len);
        record.extend_from_slice(&[0; 4]);
        record.extend_from_slice(&u32::try_from(len).expect("a record has less than 4 GiB").to_le_bytes());
        for word in [txn, previous, durable, tail.chain] {
            record.extend_from_slice(&word.to_le_bytes());
        }
        record.extend_from_slice(changes);
        record.resize(len, 0);
        let checksum = checksum(self.seed, &record[4..]);
        record[..4].copy_from_slice(&checksum.to_le_bytes());
        (record, Tail { offset: tail.offset + len as u64, chain: chain(txn, checksum) })
    }
}

fn checksum(seed: u64, rest: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    hasher.update(rest);
    hasher.finalize()
}

fn chain(txn: u64, checksum: u32) -> u64 {
    txn << 32 ^ u64::from(checksum)
}

/// The length that a record at `offset` says it has, if it says that it follows `previous`.
fn announced_len(log: &[u8], offset: u64, previous: u64) -> Option<usize> {
    let head = log.get(offset as usize..)?.first_chunk::<RECORD_HEAD>()?;
    let len = u32::from_le_bytes(*head[4..].first_chunk()?);
    (head[16..24] == previous.to_le_bytes()).then_some(len as usize)
}

/// What a record says of itself, before its changes.
struct Head {
    checksum: u32,
    len: usize,
    txn: u64,
    previous: u64,
    durable: u64,
    chain: u64,
}

impl Head {
    /// The head of what may be a record, and fits into `bytes`.
    fn read(bytes: &[u8]) -> Option<Head> {
        let head = bytes.first_chunk::<RECORD_HEAD>()?;
        let word = |at: usize| u64::from_le_bytes(*head[at..].first_chunk().expect("8 bytes"));
        let len = (word(0) >> 32) as usize;
        let fits = len >= RECORD_HEAD && len.is_multiple_of(RECORD_UNIT) && len <= bytes.len();
        let (txn, previous, durable, chain) = (word(8), word(16), word(24), word(32));
        let ascends = durable <= previous && previous < txn && txn < LIMIT_48;
        (fits && ascends).then_some(Head { checksum: word(0) as u32, len, txn, previous, durable, chain })
    }
}

/// The txn and the end of the record at `tail`, if there is one that follows `previous`.
fn parse(seed: u64, log: &[u8], tail: Tail, previous: u64) -> Option<(u64, Tail)> {
    let bytes = log.get(tail.offset as usize..)?;
    let head = Head::read(bytes)?;
    let follows = head.previous == previous && head.chain == tail.chain;
    if !follows || head.checksum != checksum(seed, &bytes[4..head.len]) {
        return None;
    }
    Some((head.txn, Tail { offset: tail.offset + head.len as u64, chain: chain(head.txn, head.checksum) }))
}

/// Looks behind the end for a record of this log that was written when a txn behind `last` was on the disk.
fn lost_behind(seed: u64, log: &[u8], end: usize, last: u64) -> Option<u64> {
    let stop = log.len().min(end + LOOK_AHEAD as usize);
    // Most of it is zeros, which are passed over in whole pieces.
    const ZEROS: [u8; 4096] = [0; 4096];
    let pieces = (end..stop).step_by(ZEROS.len()).map(|at| at..stop.min(at + ZEROS.len()));
    let written = pieces.filter(|piece| log[piece.clone()] != ZEROS[..piece.len()]);
    written.flat_map(|piece| piece.step_by(RECORD_UNIT)).find_map(|at| {
        let head = Head::read(&log[at..]).filter(|head| head.durable > last)?;
        (head.checksum == checksum(seed, &log[at + 4..at + head.len])).then_some(head.durable)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(extents: Vec<(u64, u64)>) -> Log {
        Log { checkpoint: 7, seed: 99, page_size: 4096, extents }
    }

    fn disk() -> (Disk, tempfile::NamedTempFile) {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(64 * 4096).unwrap();
        let map = crate::disk::Mapped::new(file.as_file(), 64 * 4096).unwrap();
        let disk = Disk::new(file.reopen().unwrap(), map, file.path(), None, 64 * 4096).unwrap();
        (disk, file)
    }

    fn append(log: &Log, disk: &Disk, tail: Tail, txn: u64, previous: u64, changes: &[u8]) -> Tail {
        let (record, end) = log.frame(tail, txn, previous, previous, changes);
        log.write(disk, tail.offset, &record).unwrap();
        log.flush(disk, tail.offset..end.offset).unwrap();
        end
    }

    fn txns(log: &Log, disk: &Disk) -> Vec<u64> {
        log.records(disk).unwrap().found().iter().map(|record| record.txn).collect()
    }

    #[test]
    fn records_are_read_back_across_extents_and_end_where_the_chain_does() {
        let ((disk, _file), log) = (disk(), log(vec![(20, 1), (3, 1), (40, 2)]));
        assert!(txns(&log, &disk).is_empty());
        let (mut tail, mut previous) = (log.start(), 7);
        for txn in 8..20 {
            tail = append(&log, &disk, tail, txn, previous, &[txn as u8; 1000]);
            previous = txn;
        }
        assert_eq!(txns(&log, &disk), (8..20).collect::<Vec<_>>());
        let records = log.records(&disk).unwrap();
        assert!(records.found().iter().all(|r| records.changes(r)[..1000] == [r.txn as u8; 1000]));
        assert_eq!(records.found()[11].end, tail);
        assert!(records.check().is_ok());
        // Every flipped bit of a record ends the log before it, and the next one but one knows that it was there.
        let third = records.found()[1].end.offset;
        for at in (third..third + 1024).step_by(37) {
            let (place, _) = log.pieces(at..at + 1)[0];
            let mut byte = [0];
            disk.read_at(place, &mut byte).unwrap();
            disk.write(place, &[IoSlice::new(&[byte[0] ^ 4])]).unwrap();
            assert_eq!(txns(&log, &disk), [8, 9], "byte {at}");
            let error = log.records(&disk).unwrap().check().unwrap_err().to_string();
            assert!(error.contains("behind txn 9, and txn 1"), "byte {at}: {error}");
            disk.write(place, &[IoSlice::new(&byte)]).unwrap();
        }
    }

    #[test]
    fn what_an_earlier_round_or_a_replaced_record_left_behind_does_not_count() {
        let ((disk, _file), log) = (disk(), log(vec![(2, 8)]));
        let first = append(&log, &disk, log.start(), 8, 7, &[1; 100]);
        let second = append(&log, &disk, first, 9, 8, &[2; 100]);
        append(&log, &disk, second, 10, 9, &[3; 100]);
        // A record of the same length in the place of the second: the third does not continue it.
        let (replaced, _) = log.frame(first, 9, 8, 7, &[4; 100]);
        log.write(&disk, first.offset, &replaced).unwrap();
        assert_eq!(txns(&log, &disk), [8, 9]);
        // A new round with another seed, whose first record is as long as the old one.
        let next = Log { checkpoint: 8, seed: 100, ..log.clone() };
        assert!(txns(&next, &disk).is_empty());
        append(&next, &disk, next.start(), 9, 8, &[5; 100]);
        assert_eq!(txns(&next, &disk), [9]);
        assert!(txns(&log, &disk).is_empty());
    }

    #[test]
    fn no_bytes_make_reading_the_log_panic() {
        let ((disk, _file), log) = (disk(), log(vec![(2, 1)]));
        for len in [0u32, 7, 8, 16, 24, 40, 41, 4096, 4104, u32::MAX] {
            let mut head = vec![0; 4];
            head.extend_from_slice(&len.to_le_bytes());
            for word in [8u64, 7, 7, log.start().chain] {
                head.extend_from_slice(&word.to_le_bytes());
            }
            log.write(&disk, 0, &head).unwrap();
            assert!(txns(&log, &disk).is_empty());
        }
    }
}

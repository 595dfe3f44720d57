//! Space records: how they are read and what their bytes say.
//!
//! ```text
//! record = pages of kind Space, anywhere; behind each header the number of the next page (8 bytes,
//! 0 in the last) and a part of: length u32, then varints; behind it, where it took over the pages of the record
//! before, that one in the same form, and so on; a length of 0 ends them:
//!              txn | previous record: page, birth, pages | txn of the oldest record needed
//!            | page count before, after
//!            | n, n × (gap, length)                          taken
//!            | n, n × (gap, length)                          taken for the log
//!            | n, n × (gap, length, txn - birth)             given up
//!            | from, to | n, n × (gap, length·4 + kind [, txn - death, death - birth])   chunk
//!              kind: 0 free, 1 pending, 2 log, 3 hole
//!            [| n, n × (gap, length)                         free pages that became holes
//!             | n, n × (gap, length)]                        holes that were filled, before that
//!              both are left out where there are neither
//! ```

use super::{GivenUp, Run, RunSet, Status};
use crate::error::{Error, Result};
use crate::format::{HEADER_LEN, PageKind, header};
use crate::snapshot::PageSource;

/// Where the record's bytes begin in each of its pages.
pub const PART_AT: usize = HEADER_LEN + 8;

/// Kinds of extents in a chunk.
pub const FREE: u64 = 0;
pub const PENDING: u64 = 1;
pub const LOG: u64 = 2;
pub const HOLE: u64 = 3;

/// A decoded space record.
#[derive(Debug)]
pub struct Record {
    /// The txn of the oldest record in the same pages.
    pub first: u64,
    /// Whether the chunk of that one starts a round, and whether it ends one.
    pub round: (bool, bool),
    pub txn: u64,
    pub previous: (u64, u64, u64),
    pub oldest: u64,
    pub pages_before: u64,
    pub pages_after: u64,
    pub own: Vec<Run>,
    pub taken: Vec<Run>,
    pub log: Vec<Run>,
    pub given: Vec<GivenUp>,
    pub from: u64,
    pub to: u64,
    pub chunk: Vec<(Run, Status)>,
    pub given_back: Vec<Run>,
    pub filled: Vec<Run>,
}

impl Record {
    /// Reads the records in the pages that start with this one, the newest first; `own` stands in that one only.
    ///
    /// # Errors
    /// `Corrupt` when its pages or its numbers are not what they must be.
    pub fn read(
        source: &(impl PageSource + ?Sized),
        (first, birth, pages): (u64, u64, u64),
        page_size: usize,
    ) -> Result<Vec<Record>> {
        let mut framed = Vec::new();
        let mut own = RunSet::default();
        let mut page = first;
        for i in 0..pages {
            let bytes = source.page(page, birth)?;
            let (kind, next) =
                (header(bytes).kind, u64::from_le_bytes(*bytes[HEADER_LEN..].first_chunk().expect("a page")));
            if kind != PageKind::Space as u8 || (next == 0) != (i + 1 == pages) || own.contains(page) {
                let detail =
                    format!("part {i} of a space record of {pages} pages has kind {kind}, next page {next}");
                return Err(Error::corrupt(page, detail));
            }
            own.insert(Run { start: page, len: 1 });
            framed.extend_from_slice(&bytes[PART_AT..]);
            let len = framed.first_chunk::<4>().map_or(0, |len| u32::from_le_bytes(*len) as usize);
            if len as u64 + 4 > (page_size - PART_AT) as u64 * pages {
                return Err(Error::corrupt(
                    page,
                    format!("space record claims {len} bytes in {pages} pages"),
                ));
            }
            page = next;
        }
        let mut records = Record::parse_all(&framed)
            .filter(|records| records[0].txn == birth)
            .ok_or_else(|| Error::corrupt(first, "space record cannot be read"))?;
        records[0].own = own.iter().collect();
        Ok(records)
    }

    /// The records in the bytes of their pages, put together, the newest first.
    fn parse_all(mut framed: &[u8]) -> Option<Vec<Record>> {
        let mut records: Vec<Record> = Vec::new();
        while let Some(len) = next_len(framed).filter(|len| *len > 0 || records.is_empty()) {
            let record = Record::parse(framed)?;
            // Only the oldest tells of more than its txn.
            if records.last().is_some_and(|newer| newer.txn <= record.txn || newer.from != newer.to) {
                return None;
            }
            records.push(record);
            framed = &framed[4 + len..];
        }
        let oldest = records.last()?;
        let (from, to, end) = (oldest.from, oldest.to, oldest.pages_after);
        let (first, round) = (oldest.txn, (from == 0, to == end));
        records.iter_mut().for_each(|record| (record.first, record.round) = (first, round));
        Some(records)
    }

    /// Its first page.
    pub fn page(&self) -> u64 {
        self.own.first().map_or(0, |run| run.start)
    }

    /// The newest record in the bytes of its pages, put together.
    pub fn parse(framed: &[u8]) -> Option<Record> {
        let mut bytes = framed.get(4..4 + next_len(framed)?)?;
        let input = &mut bytes;
        let txn = varint(input)?;
        let previous = (varint(input)?, varint(input)?, varint(input)?);
        let (oldest, pages_before, pages_after) = (varint(input)?, varint(input)?, varint(input)?);
        let own = Vec::new();
        let mut at = 0;
        let taken = list(input, |input| next_run(input, &mut at))?;
        let mut at = 0;
        let log = list(input, |input| next_run(input, &mut at))?;
        let mut at = 0;
        let given = list(input, |input| {
            let run = next_run(input, &mut at)?;
            Some(GivenUp { run, birth: txn.checked_sub(varint(input)?)? })
        })?;
        let (from, to) = (varint(input)?, varint(input)?);
        let mut at = from;
        let chunk = list(input, |input| {
            let start = at.checked_add(varint(input)?)?;
            let coded = varint(input)?;
            let run = Run { start, len: coded >> 2 };
            at = start.checked_add(run.len)?;
            match coded & 3 {
                FREE => Some((run, Status::Free)),
                PENDING => {
                    let death = txn.checked_sub(varint(input)?)?;
                    Some((run, Status::Pending { birth: death.checked_sub(varint(input)?)?, death }))
                }
                LOG => Some((run, Status::Log)),
                _ => Some((run, Status::Hole)),
            }
        })?;
        let (mut given_back, mut filled) = (Vec::new(), Vec::new());
        if !input.is_empty() {
            let mut at = 0;
            given_back = list(input, |input| next_run(input, &mut at))?;
            let mut at = 0;
            filled = list(input, |input| next_run(input, &mut at))?;
        }
        Some(Record {
            first: txn,
            round: (false, false),
            txn,
            previous,
            oldest,
            pages_before,
            pages_after,
            own,
            taken,
            log,
            given,
            from,
            to,
            chunk,
            given_back,
            filled,
        })
    }
}

/// The length that stands before a record.
fn next_len(framed: &[u8]) -> Option<usize> {
    framed.first_chunk::<4>().map(|len| u32::from_le_bytes(*len) as usize)
}

/// The numbers of the records that stand whole in the bytes behind a page's next-page number: offset,
/// length, label and value of each. Ends early where a record does not go on.
pub fn narrate(part: &[u8]) -> Vec<(usize, usize, String, u64)> {
    let (mut told, mut at) = (Vec::new(), 0);
    while let Some(len) = part.get(at..).and_then(next_len).filter(|len| *len > 0 || at == 0) {
        told.push((at, 4, "record length".to_string(), len as u64));
        let Some(record) = part.get(at + 4..at + 4 + len) else { break };
        narrate_one(record, at + 4, &mut told);
        at += 4 + len;
    }
    told
}

fn narrate_one(record: &[u8], start: usize, told: &mut Vec<(usize, usize, String, u64)>) {
    let mut rest = record;
    let mut tell = |label: String| {
        let at = start + record.len() - rest.len();
        let number = varint(&mut rest)?;
        told.push((at, start + record.len() - rest.len() - at, label, number));
        Some(number)
    };
    let mut all = || {
        let fixed = [
            "txn",
            "previous record",
            "its birth",
            "its pages",
            "oldest needed",
            "page count before",
            "page count after",
        ];
        for label in fixed {
            tell(label.into())?;
        }
        for i in 0..tell("taken: runs".into())? {
            tell(format!("taken {i}: gap"))?;
            tell(format!("taken {i}: pages"))?;
        }
        for i in 0..tell("log: runs".into())? {
            tell(format!("log {i}: gap"))?;
            tell(format!("log {i}: pages"))?;
        }
        for i in 0..tell("given up: runs".into())? {
            tell(format!("given up {i}: gap"))?;
            tell(format!("given up {i}: pages"))?;
            tell(format!("given up {i}: txn - birth"))?;
        }
        tell("chunk: from".into())?;
        tell("chunk: to".into())?;
        for i in 0..tell("chunk: extents".into())? {
            tell(format!("extent {i}: gap"))?;
            if tell(format!("extent {i}: 4 × pages + kind"))? & 3 == PENDING {
                tell(format!("extent {i}: txn - death"))?;
                tell(format!("extent {i}: death - birth"))?;
            }
        }
        for list in ["hole", "filled"] {
            for i in 0..tell(format!("{list}: runs"))? {
                tell(format!("{list} {i}: gap"))?;
                tell(format!("{list} {i}: pages"))?;
            }
        }
        Some(())
    };
    let _ = all();
}

fn list<T>(input: &mut &[u8], mut item: impl FnMut(&mut &[u8]) -> Option<T>) -> Option<Vec<T>> {
    let count = varint(input)?;
    // Every item takes at least two bytes, which bounds what a crafted count can allocate.
    if count > input.len() as u64 {
        return None;
    }
    (0..count).map(|_| item(input)).collect()
}

fn next_run(input: &mut &[u8], at: &mut u64) -> Option<Run> {
    let run = Run { start: at.checked_add(varint(input)?)?, len: varint(input)? };
    *at = run.start.checked_add(run.len)?;
    Some(run)
}

/// Appends runs.
pub fn put_runs(bytes: &mut Vec<u8>, runs: &RunSet) {
    put_varint(bytes, runs.runs.len() as u64);
    let mut at = 0;
    for run in runs.iter() {
        put_varint(bytes, run.start - at);
        put_varint(bytes, run.len);
        at = run.end();
    }
}

/// Appends runs that were given up.
pub fn put_given(bytes: &mut Vec<u8>, given: &[GivenUp], txn: u64) {
    put_varint(bytes, given.len() as u64);
    let mut at = 0;
    for given in given {
        put_varint(bytes, given.run.start - at);
        put_varint(bytes, given.run.len);
        put_varint(bytes, txn - given.birth);
        at = given.run.end();
    }
}

/// Appends a number.
pub fn put_varint(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

/// Takes a number off the beginning.
pub fn varint(input: &mut &[u8]) -> Option<u64> {
    let mut number = 0u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = input.split_first()?;
        *input = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

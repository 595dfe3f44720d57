//! Sorting more entries than fit in memory.
//!
//! Owns: [`Sorter`], which keeps entries until they take as much memory as they may, then writes them as a sorted run to
//! a file without a name, and in the end merges the runs; and [`Duplicates`]. Promises: entries come out in the order of
//! their keys, each key once; it takes little more memory than it was given, but for an entry that is larger than
//! that. Leaves to others: what becomes of the entries.
//!
//! A run is `key length, value length (LEB128) | key | value` for each entry. The runs of one pass lie in one file,
//! which the system removes with the last descriptor, however the process ends.

use crate::descriptor;
use crate::error::{Error, Result};
use crate::space::record::{put_varint, varint};
use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Which entry stays when there are several with the same key. Those in the table came first, then those of the
/// input in their order.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Duplicates {
    /// The last: as if each was put in turn.
    #[default]
    LastWins,
    /// The first: as if each was put only where there is none.
    FirstWins,
    /// None: the second is an error, which names the key.
    Refused,
}

impl Duplicates {
    /// Whether `later` takes the place of an entry with the same key.
    ///
    /// # Errors
    /// `InvalidArgument` where there must be no second one.
    pub fn later_wins(self, key: &[u8]) -> Result<bool> {
        match self {
            Duplicates::LastWins => Ok(true),
            Duplicates::FirstWins => Ok(false),
            Duplicates::Refused => Err(Error::invalid(format!(
                "key {} comes twice in a bulk load that refuses duplicates; let the first or the last one win",
                shown(key)
            ))),
        }
    }
}

/// A key in an error message.
pub fn shown(key: &[u8]) -> String {
    match key {
        long if long.len() > 48 => format!("b\"{}…\" ({} bytes)", long[..40].escape_ascii(), long.len()),
        key => format!("b\"{}\"", key.escape_ascii()),
    }
}

/// Bytes that are written to a file at once, and read at once at most.
const WRITE_UNIT: usize = 256 << 10;
/// Bytes that are read of a run at once at least.
const READ_UNIT: usize = 4 << 10;
/// So many bytes two lengths take at most.
const LENGTHS: usize = 20;

/// An entry in memory.
#[derive(Clone, Copy)]
struct Entry {
    /// The first bytes of the key, as a number.
    head: u64,
    start: usize,
    key_len: usize,
    value_len: usize,
}

/// Entries in the order of their arrival, and how they are compared.
#[derive(Default)]
pub struct Entries {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
}

impl Entries {
    fn key(&self, entry: &Entry) -> &[u8] {
        &self.bytes[entry.start..entry.start + entry.key_len]
    }

    fn value(&self, entry: &Entry) -> &[u8] {
        let start = entry.start + entry.key_len;
        &self.bytes[start..start + entry.value_len]
    }

    /// Those of one key stay in the order of their arrival.
    fn sort(&mut self) {
        let mut entries = std::mem::take(&mut self.entries);
        entries.sort_unstable_by(|a, b| {
            let heads = a.head.cmp(&b.head);
            heads.then_with(|| self.key(a).cmp(self.key(b))).then_with(|| a.start.cmp(&b.start))
        });
        self.entries = entries;
    }

    /// The entry from `at` on that stays of those with its key, and where the next key begins.
    fn next(&self, at: usize, duplicates: Duplicates) -> Result<Option<(&Entry, usize)>> {
        let Some(mut stays) = self.entries.get(at) else { return Ok(None) };
        let mut end = at + 1;
        while let Some(next) = self.entries.get(end)
            && next.head == stays.head
            && self.key(next) == self.key(stays)
        {
            if duplicates.later_wins(self.key(next))? {
                stays = next;
            }
            end += 1;
        }
        Ok(Some((stays, end)))
    }
}

/// Takes entries in any order.
pub struct Sorter {
    memory: usize,
    directory: PathBuf,
    duplicates: Duplicates,
    kept: Entries,
    is_ascending: bool,
    runs: Vec<Run>,
    file: Option<RunFile>,
    added: u64,
}

impl Sorter {
    /// A sorter that has taken nothing.
    pub fn new(memory: usize, directory: PathBuf, duplicates: Duplicates) -> Self {
        let kept = Entries::default();
        Sorter {
            memory,
            directory,
            duplicates,
            kept,
            is_ascending: true,
            runs: Vec::new(),
            file: None,
            added: 0,
        }
    }

    /// The same; entries that come in order are no sign that others will.
    #[must_use]
    pub fn unordered(self) -> Self {
        Sorter { is_ascending: false, ..self }
    }

    /// Whether all that was added came in the order of the keys, none twice.
    pub fn is_ascending(&self) -> bool {
        self.is_ascending
    }

    /// Number of entries in memory.
    pub fn kept(&self) -> usize {
        self.kept.entries.len()
    }

    /// Number of entries that were added.
    pub fn added(&self) -> u64 {
        self.added
    }

    /// Key of the entry that was added last, if it is in memory.
    pub fn last_key(&self) -> &[u8] {
        self.kept.entries.last().map_or(&[], |entry| self.kept.key(entry))
    }

    /// Whether an entry of so many bytes can be added without writing a run.
    pub fn has_room(&self, len: usize) -> bool {
        let taken = self.kept.bytes.len() + (self.kept.entries.len() + 1) * size_of::<Entry>();
        taken + len <= self.memory || self.kept.entries.is_empty()
    }

    /// Takes an entry.
    ///
    /// # Errors
    /// `Io` when a run cannot be written; `InvalidArgument` for a duplicate, where that is found already.
    pub fn add(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        let len = key.len() + value.len();
        if !self.has_room(len) {
            self.write_run()?;
        }
        let Entries { bytes, entries } = &mut self.kept;
        // Not twice as much each time.
        if bytes.capacity() - bytes.len() < len {
            bytes.reserve_exact(len.max(self.memory / 8));
        }
        if entries.capacity() == entries.len() {
            entries.reserve_exact((self.memory / 8 / size_of::<Entry>()).max(16));
        }
        let mut head = [0; 8];
        head[..key.len().min(8)].copy_from_slice(&key[..key.len().min(8)]);
        let start = bytes.len();
        bytes.extend_from_slice(key);
        bytes.extend_from_slice(value);
        let entry =
            Entry { head: u64::from_be_bytes(head), start, key_len: key.len(), value_len: value.len() };
        if self.is_ascending
            && let Some(last) = self.kept.entries.last()
        {
            self.is_ascending = self.kept.key(last) < key;
        }
        self.kept.entries.push(entry);
        self.added += 1;
        Ok(())
    }

    fn write_run(&mut self) -> Result<()> {
        self.kept.sort();
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(RunFile::new(&self.directory)?),
        };
        let start = file.end;
        let mut at = 0;
        while let Some((entry, next)) = self.kept.next(at, self.duplicates)? {
            file.write(self.kept.key(entry), self.kept.value(entry))?;
            at = next;
        }
        file.flush()?;
        self.runs.push(Run { start, end: file.end });
        (self.is_ascending, self.kept.entries) = (false, Vec::new());
        self.kept.bytes.clear();
        Ok(())
    }

    /// No more entries come.
    ///
    /// # Errors
    /// Those of [`Sorter::add`].
    pub fn finish(mut self) -> Result<Sorted> {
        if self.runs.is_empty() {
            if !self.is_ascending {
                self.kept.sort();
            }
            return Ok(Sorted::Kept { kept: self.kept, at: 0, duplicates: self.duplicates });
        }
        if !self.kept.entries.is_empty() {
            self.write_run()?;
        }
        self.kept = Entries::default();
        let together = (self.memory / READ_UNIT).max(2);
        while self.runs.len() > together {
            self.merge_some(together)?;
        }
        let merge = self.merge(&self.runs)?;
        Ok(Sorted::Merged { merge, duplicates: self.duplicates })
    }

    /// One pass: each so many runs become one, in a new file.
    fn merge_some(&mut self, together: usize) -> Result<()> {
        let mut file = RunFile::new(&self.directory)?;
        let mut runs = Vec::new();
        for some in self.runs.chunks(together) {
            let (mut merge, start) = (self.merge(some)?, file.end);
            while merge.next(self.duplicates)? {
                file.write(&merge.key, &merge.value)?;
            }
            file.flush()?;
            runs.push(Run { start, end: file.end });
        }
        (self.runs, self.file) = (runs, Some(file));
        Ok(())
    }

    fn merge(&self, runs: &[Run]) -> Result<Merge> {
        let file = &self.file.as_ref().expect("it has runs").file;
        let unit = (self.memory / runs.len()).clamp(READ_UNIT, WRITE_UNIT);
        let mut readers = BinaryHeap::new();
        for (order, run) in runs.iter().enumerate() {
            let mut reader = Reader::new(Arc::clone(file), &self.directory, *run, order, unit);
            if reader.advance()? {
                readers.push(reader);
            }
        }
        Ok(Merge { readers, key: Vec::new(), value: Vec::new() })
    }
}

/// Key and value.
pub type Pair<'p> = (&'p [u8], &'p [u8]);

/// Entries in the order of their keys, each key once.
pub enum Sorted {
    /// They are in memory.
    Kept { kept: Entries, at: usize, duplicates: Duplicates },
    /// They are in runs.
    Merged { merge: Merge, duplicates: Duplicates },
}

impl Sorted {
    /// The first key, before anything was taken.
    pub fn first_key(&self) -> Option<&[u8]> {
        match self {
            Sorted::Kept { kept, .. } => kept.entries.first().map(|first| kept.key(first)),
            Sorted::Merged { merge, .. } => merge.readers.peek().map(Reader::key),
        }
    }

    /// The next key and value.
    ///
    /// # Errors
    /// `Io` when a run cannot be read; `InvalidArgument` for a duplicate.
    pub fn next(&mut self) -> Result<Option<Pair<'_>>> {
        match self {
            Sorted::Kept { kept, at, duplicates } => {
                let Some((entry, next)) = kept.next(*at, *duplicates)? else { return Ok(None) };
                *at = next;
                Ok(Some((kept.key(entry), kept.value(entry))))
            }
            Sorted::Merged { merge, duplicates } => {
                Ok(merge.next(*duplicates)?.then_some((&merge.key[..], &merge.value[..])))
            }
        }
    }
}

/// Where a run lies in its file.
#[derive(Clone, Copy)]
struct Run {
    start: u64,
    end: u64,
}

/// A run's file in an error message.
fn place(directory: &Path) -> String {
    format!("a temporary file in {} (BulkOptions::directory names another place)", directory.display())
}

/// The file of one pass.
struct RunFile {
    file: Arc<File>,
    directory: PathBuf,
    buffer: Vec<u8>,
    /// How long it is.
    end: u64,
}

impl RunFile {
    fn new(directory: &Path) -> Result<Self> {
        let fail = |error| Error::io(format!("create {}", place(directory)), error);
        let file = Arc::new(descriptor::unlinked(directory).map_err(fail)?);
        Ok(RunFile { file, directory: directory.to_owned(), buffer: Vec::new(), end: 0 })
    }

    fn write(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        put_varint(&mut self.buffer, key.len() as u64);
        put_varint(&mut self.buffer, value.len() as u64);
        self.buffer.extend_from_slice(key);
        if value.len() >= WRITE_UNIT {
            self.flush()?;
            return self.write_out(value);
        }
        self.buffer.extend_from_slice(value);
        if self.buffer.len() >= WRITE_UNIT { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        let mut buffer = std::mem::take(&mut self.buffer);
        self.write_out(&buffer)?;
        buffer.clear();
        self.buffer = buffer;
        Ok(())
    }

    fn write_out(&mut self, bytes: &[u8]) -> Result<()> {
        let fail =
            |error| Error::io(format!("write {} bytes to {}", bytes.len(), place(&self.directory)), error);
        self.file.write_all_at(bytes, self.end).map_err(fail)?;
        self.end += bytes.len() as u64;
        Ok(())
    }
}

/// Reads a run, an entry at a time.
struct Reader {
    file: Arc<File>,
    directory: PathBuf,
    rest: Run,
    /// Later runs have later entries.
    order: usize,
    unit: usize,
    buffer: Vec<u8>,
    /// Where the entry begins in the buffer, its key's length and its own.
    at: usize,
    key_len: usize,
    len: usize,
}

impl Reader {
    fn new(file: Arc<File>, directory: &Path, rest: Run, order: usize, unit: usize) -> Self {
        let directory = directory.to_owned();
        Reader { file, directory, rest, order, unit, buffer: Vec::new(), at: 0, key_len: 0, len: 0 }
    }

    fn key(&self) -> &[u8] {
        &self.buffer[self.at..self.at + self.key_len]
    }

    fn value(&self) -> &[u8] {
        &self.buffer[self.at + self.key_len..self.at + self.len]
    }

    /// Goes to the next entry; false where there is none.
    fn advance(&mut self) -> Result<bool> {
        self.at += self.len;
        (self.key_len, self.len) = (0, 0);
        self.fill(LENGTHS)?;
        let mut input = &self.buffer[self.at..];
        let before = input.len();
        if before == 0 {
            return Ok(false);
        }
        let (Some(key_len), Some(value_len)) = (varint(&mut input), varint(&mut input)) else {
            return Err(self.fail(std::io::ErrorKind::UnexpectedEof.into()));
        };
        self.at += before - input.len();
        let (key_len, len) = (key_len as usize, (key_len + value_len) as usize);
        self.fill(len)?;
        if self.buffer.len() - self.at < len {
            return Err(self.fail(std::io::ErrorKind::UnexpectedEof.into()));
        }
        (self.key_len, self.len) = (key_len, len);
        Ok(true)
    }

    /// Sees to it that so many bytes are in the buffer, or all that are left.
    fn fill(&mut self, wanted: usize) -> Result<()> {
        let there = self.buffer.len() - self.at;
        let left = self.rest.end - self.rest.start;
        if there >= wanted || left == 0 {
            return Ok(());
        }
        self.buffer.drain(..self.at);
        self.at = 0;
        let more = (wanted.max(self.unit) - there).min(usize::try_from(left).unwrap_or(usize::MAX));
        self.buffer.resize(there + more, 0);
        if let Err(error) = self.file.read_exact_at(&mut self.buffer[there..], self.rest.start) {
            return Err(self.fail(error));
        }
        self.rest.start += more as u64;
        Ok(())
    }

    fn fail(&self, error: std::io::Error) -> Error {
        Error::io(format!("read {}", place(&self.directory)), error)
    }
}

/// The greatest is the reader whose entry comes first.
impl Ord for Reader {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.key(), other.order).cmp(&(self.key(), self.order))
    }
}

impl PartialOrd for Reader {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Reader {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Reader {}

/// Several runs, read together.
pub struct Merge {
    readers: BinaryHeap<Reader>,
    key: Vec<u8>,
    value: Vec<u8>,
}

impl Merge {
    /// Goes to the next key; false where there is none.
    fn next(&mut self, duplicates: Duplicates) -> Result<bool> {
        let Some(first) = self.readers.peek_mut() else { return Ok(false) };
        first.key().clone_into(&mut self.key);
        first.value().clone_into(&mut self.value);
        step(first)?;
        while let Some(next) = self.readers.peek_mut() {
            if next.key() != self.key {
                break;
            }
            if duplicates.later_wins(&self.key)? {
                next.value().clone_into(&mut self.value);
            }
            step(next)?;
        }
        Ok(true)
    }
}

/// The reader goes to its next entry, or away.
fn step(mut reader: PeekMut<'_, Reader>) -> Result<()> {
    if !reader.advance()? {
        PeekMut::pop(reader);
    }
    Ok(())
}

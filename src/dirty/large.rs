//! Large values that are written to their place at once.
//!
//! Owns: [`Streamed`], a value that is being written. Promises: its pages are the txn's own, newly allocated and reserved
//! on the disk, and nothing refers to them before the value is whole. Leaves to others: what refers to them then
//! ([`crate::tree`]).

use super::Dirty;
use crate::chunks::{Chunks, Summing};
use crate::disk::WRITE_UNIT;
use crate::error::Result;
use crate::format::OverflowRef;
use crate::space::Run;
use std::io::IoSlice;

/// Values from this length on are written to their place at once instead of being kept in memory.
pub const WRITE_AT_ONCE: usize = 1 << 20;
/// When so many bytes of a value were written, the disk is asked to begin with them.
const WRITE_BACK: u64 = 4 << 20;

/// The system's cache holds blocks of this size, or multiples.
const BLOCK: u64 = 4096;

/// A value of which the first part is in its place.
pub struct Streamed {
    /// Its pages.
    pub run: Run,
    len: u64,
    written: u64,
    /// So many of them the disk was asked to begin with.
    begun: u64,
    summing: Summing,
}

impl Dirty {
    /// Writes a value to newly allocated pages.
    ///
    /// # Errors
    /// `Io` or `Full`.
    pub fn write_value(&mut self, bytes: &[u8]) -> Result<OverflowRef> {
        let mut value = self.begin_value(bytes.len() as u64)?;
        let mut parts = bytes.chunks(WRITE_BACK as usize).peekable();
        while let Some(part) = parts.next_if(|part| part.len() as u64 == WRITE_BACK) {
            self.write_part(&mut value, part)?;
        }
        self.end_value(value, parts.next().unwrap_or_default())
    }

    /// Allocates the pages of a value of `len` bytes.
    ///
    /// # Errors
    /// `Io` or `Full`.
    pub fn begin_value(&mut self, len: u64) -> Result<Streamed> {
        let chunks = Chunks::of(len, self.page_size());
        let run = self.allocate_run(chunks.stored_len().div_ceil(self.page_size() as u64))?;
        Ok(Streamed { run, len, written: 0, begun: 0, summing: Summing::new(chunks) })
    }

    /// Writes the next bytes of it, whole pages.
    ///
    /// # Errors
    /// `Io`.
    pub fn write_part(&mut self, value: &mut Streamed, bytes: &[u8]) -> Result<()> {
        assert!(bytes.len().is_multiple_of(self.page_size()), "{} bytes are no pages", bytes.len());
        value.summing.add(bytes);
        let slices: Vec<IoSlice<'_>> = bytes.chunks(WRITE_UNIT).map(IoSlice::new).collect();
        let (disk, start) = (&self.store.pages.disk, value.run.start * self.page_size() as u64);
        disk.write(start + value.written, &slices)?;
        value.written += bytes.len() as u64;
        if value.written - value.begun >= WRITE_BACK {
            disk.start_write_back(start + value.begun, value.written - value.begun);
            value.begun = value.written;
        }
        Ok(())
    }

    /// Writes its last bytes and what is behind them.
    ///
    /// # Errors
    /// `Io`; the pages stay allocated.
    pub fn end_value(&mut self, value: Streamed, last: &[u8]) -> Result<OverflowRef> {
        let Streamed { run, len, written, mut summing, .. } = value;
        assert_eq!(written + last.len() as u64, len, "the value is whole");
        summing.add(last);
        let (mut behind, checksum) = summing.finish();
        let (start, run_len) = (run.start * self.page_size() as u64, run.len * self.page_size() as u64);
        behind.resize((run_len - len) as usize, 0);
        // No block is written in two calls: the system would have to read it in between.
        let (beside, apart) = behind.split_at(len.next_multiple_of(BLOCK) as usize - len as usize);
        let pieces = last.chunks(WRITE_UNIT).chain([beside]).chain(apart.chunks(WRITE_UNIT));
        let slices: Vec<IoSlice<'_>> = pieces.filter(|piece| !piece.is_empty()).map(IoSlice::new).collect();
        self.store.pages.disk.write(start + written, &slices)?;
        Ok(OverflowRef { page: run.start, birth: self.txn, len, checksum })
    }
}

//! Pages by system call, copied: for judging and rescuing a file.
//!
//! Owns: [`Copies`], which reads past the mapping, so that a bad sector is an error and no signal, and [`Kept`], the same
//! as a [`PageSource`]. Promises: what `page` returns has the right checksum, number and birth, whatever was verified before.
//! Leaves to others: what to do about what is wrong ([`crate::verify`], [`crate::salvage`]).

use crate::chunks::{Chunks, Summing, sum_in};
use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::format::{OverflowRef, header, meta_pages};
use crate::snapshot::{PageSource, Pages, check_chunk, check_identity, check_page, check_table, outside};
use std::io::{self, Read};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A large value is judged in pieces of this size.
const PIECE: usize = 1 << 20;

/// The pages of a file of `page_count` pages.
#[derive(Clone, Copy)]
pub struct Copies<'d> {
    /// The file.
    pub disk: &'d Disk,
    /// Bytes of a page.
    pub page_size: usize,
    /// Pages of the file.
    pub page_count: u64,
    /// Where pages come from instead: for checks that must not add system calls to what is checked.
    pub mapped: Option<&'d Pages>,
}

impl<'d> Copies<'d> {
    /// Page `page` as it is.
    ///
    /// # Errors
    /// `Corrupt` when it is not inside the file, `Io` when it cannot be read.
    pub fn raw(&self, page: u64) -> Result<Vec<u8>> {
        if let Some(pages) = self.mapped {
            return pages.raw(page, 1, self.page_count).map(<[u8]>::to_vec);
        }
        self.check_inside(page, 1)?;
        let mut bytes = vec![0; self.page_size];
        self.disk.read_page(page * self.page_size as u64, &mut bytes)?;
        Ok(bytes)
    }

    /// Page `page`, which must be whole.
    ///
    /// # Errors
    /// As for [`Copies::raw`]; `Corrupt` when its checksum or number is not right.
    pub fn whole(&self, page: u64) -> Result<Vec<u8>> {
        let bytes = self.raw(page)?;
        check_page(&bytes, page)?;
        check_identity(&bytes, page, header(&bytes).birth.get())?;
        Ok(bytes)
    }

    /// Page `page` as written by txn `birth`.
    ///
    /// # Errors
    /// As for [`Copies::raw`]; `Corrupt` when that is not what is there.
    pub fn page(&self, page: u64, birth: u64) -> Result<Vec<u8>> {
        let bytes = self.raw(page)?;
        check_page(&bytes, page)?;
        check_identity(&bytes, page, birth)?;
        Ok(bytes)
    }

    /// Whether the value that `run` refers to is there, piece by piece.
    ///
    /// # Errors
    /// `Corrupt` when it is outside the file or its checksum is wrong, `Io` when it cannot be read.
    pub fn judge_value(&self, run: &OverflowRef) -> Result<()> {
        self.each_piece(run, &mut |_| {})
    }

    /// The value that `run` refers to.
    ///
    /// # Errors
    /// As for [`Copies::judge_value`].
    pub fn value(&self, run: &OverflowRef) -> Result<Vec<u8>> {
        let mut value = Vec::new();
        self.each_piece(run, &mut |piece| value.extend_from_slice(piece))?;
        Ok(value)
    }

    fn each_piece(&self, run: &OverflowRef, visit: &mut dyn FnMut(&[u8])) -> Result<()> {
        let mut copying = self.copying(*run)?;
        let mut buffer = vec![0; PIECE.min(run.len as usize)];
        loop {
            match copying.next(&mut buffer)? {
                0 => return Ok(()),
                len => visit(&buffer[..len]),
            }
        }
    }

    /// Begins to copy the value that `run` refers to.
    ///
    /// # Errors
    /// `Corrupt` when it is outside the file.
    pub fn copying(&self, run: OverflowRef) -> Result<Copying<'d>> {
        self.check_inside(run.page, run.pages(self.page_size))?;
        let summing = Some(Summing::new(Chunks::of(run.len, self.page_size)));
        Ok(Copying { copies: *self, run, at: 0, summing, failure: None })
    }

    /// Reads a piece of a run.
    fn read(&self, offset: u64, piece: &mut [u8]) -> Result<()> {
        if self.disk.read_at(offset, piece).is_err() {
            self.find_unreadable(offset, piece.len())?;
            self.disk.read_at(offset, piece)?;
        }
        Ok(())
    }

    /// Page by page, so that the error names the one.
    fn find_unreadable(&self, offset: u64, len: usize) -> Result<()> {
        let mut page = vec![0; self.page_size];
        let first = offset / self.page_size as u64 * self.page_size as u64;
        let mut offsets = (first..offset + len as u64).step_by(self.page_size);
        offsets.try_for_each(|offset| self.disk.read_page(offset, &mut page))
    }

    fn check_inside(&self, page: u64, pages: u64) -> Result<()> {
        let end = page.checked_add(pages).filter(|end| *end <= self.page_count);
        match page >= meta_pages(self.page_size) && pages > 0 && end.is_some() {
            true => Ok(()),
            false => Err(outside(page, pages, self.page_count)),
        }
    }
}

/// A value that is being copied. Its last bytes come when all of it is known to be whole.
pub struct Copying<'d> {
    copies: Copies<'d>,
    run: OverflowRef,
    at: u64,
    /// Of what was read; gone when all was.
    summing: Option<Summing>,
    /// Why reading has failed.
    pub failure: Option<Error>,
}

impl Copying<'_> {
    /// The next bytes, as many as fit; 0 at the end.
    ///
    /// # Errors
    /// `Corrupt` when a checksum is wrong, `Io` when something cannot be read.
    pub fn next(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let len = (self.run.len - self.at).min(buffer.len() as u64) as usize;
        let piece = &mut buffer[..len];
        if let Some(summing) = self.summing.as_mut().filter(|_| len > 0) {
            let start = self.run.page * self.copies.page_size as u64;
            self.copies.read(start + self.at, piece)?;
            summing.add(piece);
            self.at += len as u64;
        }
        if self.at == self.run.len
            && let Some(summing) = self.summing.take()
        {
            self.judge(summing)?;
        }
        Ok(len)
    }

    /// Compares what was read with the checksums behind it.
    fn judge(&self, summing: Summing) -> Result<()> {
        let (run, page_size) = (&self.run, self.copies.page_size);
        let chunks = Chunks::of(run.len, page_size);
        let mut table = vec![0; chunks.table_len() as usize];
        self.copies.read(run.page * page_size as u64 + run.len, &mut table)?;
        judge_sums(run, &table, summing, page_size)
    }
}

/// Compares the bytes of a large value, which went by, with its table of checksums, or with the one in the reference.
///
/// # Errors
/// `Corrupt` when a checksum is wrong.
pub fn judge_sums(run: &OverflowRef, table: &[u8], summing: Summing, page_size: usize) -> Result<()> {
    let chunks = Chunks::of(run.len, page_size);
    check_table(run, table, page_size)?;
    let (found, checksum) = summing.finish();
    if found.is_empty() {
        return check_chunk(run, &chunks, table, 0, checksum, page_size);
    }
    let check = |i| check_chunk(run, &chunks, table, i, sum_in(&found, i), page_size);
    let mut wrong = (0..chunks.count()).filter_map(|i| check(i).err());
    wrong.next().map_or(Ok(()), |first| Err(and_more(first, wrong.count(), &chunks)))
}

impl Read for Copying<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.next(buffer).map_err(|error| {
            let detail = error.to_string();
            self.failure = Some(error);
            io::Error::other(detail)
        })
    }
}

const PARTS: usize = 40;
type Part = Box<[OnceLock<Vec<u8>>]>;

/// Copies that stay, so that they can be borrowed: for what is read once and is small, such as the catalog.
pub struct Kept<'d> {
    copies: Copies<'d>,
    /// Part `k` has room for `2^k` copies.
    parts: [OnceLock<Part>; PARTS],
    next: AtomicUsize,
}

impl<'d> Kept<'d> {
    /// Nothing read yet.
    pub fn new(copies: Copies<'d>) -> Self {
        Kept { copies, parts: [const { OnceLock::new() }; PARTS], next: AtomicUsize::new(1) }
    }

    fn keep(&self, bytes: Vec<u8>) -> &[u8] {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let part = number.ilog2() as usize;
        let room = || (0..1usize << part).map(|_| OnceLock::new()).collect();
        self.parts[part].get_or_init(room)[number - (1 << part)].get_or_init(|| bytes)
    }
}

impl PageSource for Kept<'_> {
    fn page(&self, page: u64, birth: u64) -> Result<&[u8]> {
        Ok(self.keep(self.copies.page(page, birth)?))
    }

    fn overflow(&self, run: &OverflowRef) -> Result<&[u8]> {
        Ok(self.keep(self.copies.value(run)?))
    }
}

/// Adds to what is wrong with one chunk of a value how many others are.
fn and_more(first: Error, more: usize, chunks: &Chunks) -> Error {
    match first {
        Error::Corrupt { page, detail } if more > 0 => {
            let others = format!("so have {more} more of its {} chunks not theirs", chunks.count());
            Error::corrupt(page, format!("{detail}; {others}"))
        }
        other => other,
    }
}

/// Whether the error says that bytes could not be read, and not that they are wrong.
pub fn is_unreadable(error: &Error) -> bool {
    matches!(error, Error::Io { .. })
}

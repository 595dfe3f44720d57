//! The mapping of the data file.
//!
//! Owns: [`DataMap`], the slices of the file that everything above reads. [`super::test_map`] is its stand-in.

use crate::error::{Error, Result};
use memmap2::{Advice, MmapOptions, MmapRaw, UncheckedAdvice};
use std::fs::File;
use std::io;

/// Mappings are made in multiples of a huge page.
pub const MAP_UNIT: usize = 2 << 20;
/// Address space reserved for the data file at first, so that growing rarely needs a new mapping.
pub const FIRST_RESERVATION: usize = 1 << 40;

/// A shared, read-only mapping of the data file and of address space behind its end.
pub struct DataMap {
    raw: MmapRaw,
}

impl DataMap {
    /// Maps the file with room for `needed` bytes, more if the system allows.
    ///
    /// The reservation starts at a tebibyte and is halved until the kernel accepts it. Where it had to
    /// be halved, address space is scarce, and a quarter of what would fit is enough.
    ///
    /// # Errors
    /// `Io` when not even `needed` bytes of address space can be had.
    pub fn reserve(file: &File, needed: u64) -> Result<Self> {
        let needed = usize::try_from(needed)
            .ok()
            .and_then(|len| len.max(1).checked_next_multiple_of(MAP_UNIT))
            .ok_or_else(|| Error::invalid(format!("{needed} bytes are more than the address space")))?;
        let wanted = FIRST_RESERVATION.max(needed.saturating_mul(2));
        let map = |len: usize| MmapOptions::new().len(len).map_raw_read_only(file);
        let mut len = wanted;
        let mut mapped = map(len);
        while mapped.is_err() && len > needed {
            len = (len / 2).next_multiple_of(MAP_UNIT).max(needed);
            mapped = map(len);
        }
        if mapped.is_ok() && len < wanted {
            drop(mapped);
            // But twice what is needed, or every growth would need one more mapping.
            let enough = (len / 4).max(needed.saturating_mul(2).min(len));
            mapped = map(enough.next_multiple_of(MAP_UNIT));
        }
        let raw = mapped.map_err(|error| Error::io(format!("map {needed} bytes of the data file"), error))?;
        // Random: a cold get reads one page, and read-ahead is done along the tree.
        // Only advice: where the kernel declines, everything works the same.
        let _ = raw.advise(Advice::Random);
        Ok(DataMap { raw })
    }

    /// Bytes of address space.
    pub fn len(&self) -> u64 {
        self.raw.len() as u64
    }

    /// The bytes `offset..offset + len`, which the caller knows to lie inside the file.
    ///
    /// # Panics
    /// When they lie outside the mapping.
    #[inline(always)]
    pub fn bytes(&self, offset: u64, len: usize) -> &[u8] {
        let end = offset.checked_add(len as u64).expect("no overflow");
        assert!(end <= self.len(), "bytes {offset}..{end} of a mapping of {}", self.len());
        // SAFETY: claim M1: offset is inside the mapping, by the assertion.
        let start = unsafe { self.raw.as_ptr().add(offset as usize) };
        // SAFETY: claims M1 (inside the mapping and, by the caller, inside the file), M2 (no one
        // changes these bytes while the borrow lives) and M3 (the mapping outlives the borrow).
        unsafe { std::slice::from_raw_parts(start, len) }
    }

    /// Asks the system to read the range into its cache.
    pub fn will_need(&self, offset: u64, len: u64) -> io::Result<()> {
        self.raw.advise_range(Advice::WillNeed, offset as usize, len as usize)
    }

    /// Lets go of what of the range is mapped; it is mapped again when it is touched.
    pub fn let_go(&self, offset: u64, len: u64) -> io::Result<()> {
        // SAFETY: claims M1 and M2: the pages of a shared mapping of a file keep what they hold; whoever reads them
        // meanwhile finds them again.
        unsafe { self.raw.unchecked_advise_range(UncheckedAdvice::DontNeed, offset as usize, len as usize) }
    }

    /// Reads the range and maps it.
    pub fn populate(&self, offset: u64, len: u64) -> io::Result<()> {
        self.raw.advise_range(Advice::PopulateRead, offset as usize, len as usize)
    }

    /// Waits until the range is on the disk.
    pub fn sync(&self, offset: u64, len: u64) -> io::Result<()> {
        loop {
            match self.raw.flush_range(offset as usize, len as usize) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }
}

/// Reads the first `len` bytes of the file into the system's cache, in pieces as large as a huge page where the
/// file system can.
pub fn read_in_huge_pages(file: &File, len: usize) -> io::Result<()> {
    let raw = MmapOptions::new().len(len).map_raw_read_only(file)?;
    // Only advice; the mapping ends here, so that what is read later is read as before.
    let _ = raw.advise(Advice::HugePage);
    raw.advise(Advice::PopulateRead)
}

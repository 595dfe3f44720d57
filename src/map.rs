//! Memory mappings: the data file for reading, the sidecar's words for sharing.
//!
//! Owns: every pointer into mapped memory; with [`crate::lock`] the only `unsafe` code of the crate.
//! Promises: a slice handed out lies inside the file as it was when its length was last checked.
//! Leaves to others: knowing which pages may be read ([`crate::snapshot`]) and keeping them unchanged
//! ([`crate::space`]). The numbered claims are those of `docs/soundness.md`.

#![allow(unsafe_code)]

use crate::descriptor;
use crate::error::{Error, Result};
use memmap2::{Advice, MmapOptions, MmapRaw, UncheckedAdvice};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::atomic::Ordering::{self, Relaxed, SeqCst};
use std::sync::atomic::{AtomicU32, AtomicU64};

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
    #[inline]
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

/// Asks the system to begin writing what is dirty in the range of the file. Only advice: where it fails,
/// the next flush says so.
pub fn start_write_back(file: &File, offset: u64, len: u64) {
    let (offset, len) = (offset as libc::off64_t, len as libc::off64_t);
    // SAFETY: claim L1: the descriptor is open for as long as `file` is borrowed; the call touches no memory.
    let _ = unsafe { libc::sync_file_range(file.as_raw_fd(), offset, len, libc::SYNC_FILE_RANGE_WRITE) };
}

/// The longest that this process may make a file; `None`: there is no limit, or the system does not say.
pub fn file_size_limit() -> Option<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: claim L1: a pointer to a local, which lives until the call returns.
    let result = unsafe { libc::getrlimit(libc::RLIMIT_FSIZE, &raw mut limit) };
    (result == 0 && limit.rlim_cur != libc::RLIM_INFINITY).then_some(limit.rlim_cur)
}

/// Where the words are.
pub trait Words {
    /// One of them.
    type Word: Word;

    /// Word `i`.
    fn word(&self, i: usize) -> &Self::Word;

    /// What is in the words from `i` on, each loaded for itself.
    #[inline(always)]
    fn load_all<const N: usize>(&self, i: usize) -> [u64; N] {
        std::array::from_fn(|at| self.word(i + at).load(Ordering::Acquire))
    }
}

/// An atomic word.
pub trait Word {
    /// See [`AtomicU64::load`]; so for the others.
    fn load(&self, order: Ordering) -> u64;
    /// Stores.
    fn store(&self, value: u64, order: Ordering);
    /// Stores `new` if it was `current`.
    fn exchange_if(&self, current: u64, new: u64) -> bool;
    /// Raises it to `value` at least.
    fn raise(&self, value: u64);
}

impl Word for AtomicU64 {
    #[inline]
    fn load(&self, order: Ordering) -> u64 {
        AtomicU64::load(self, order)
    }

    #[inline]
    fn store(&self, value: u64, order: Ordering) {
        AtomicU64::store(self, value, order);
    }

    #[inline]
    fn exchange_if(&self, current: u64, new: u64) -> bool {
        self.compare_exchange(current, new, SeqCst, Relaxed).is_ok()
    }

    #[inline]
    fn raise(&self, value: u64) {
        self.fetch_max(value, SeqCst);
    }
}

/// A shared mapping of a file as atomic words, for what processes tell each other.
pub struct SharedWords {
    raw: MmapRaw,
}

impl SharedWords {
    /// Maps `len` bytes, of which the caller touches only those inside the file. Through a description of its own,
    /// where there can be one: a mapping keeps it, and so its locks, in a forked child too.
    ///
    /// # Errors
    /// `Io` when the system refuses.
    pub fn map(file: &File, len: usize) -> Result<Self> {
        let again = descriptor::reopen(file, true);
        let file = again.as_ref().unwrap_or(file);
        let raw = MmapOptions::new()
            .len(len)
            .map_raw(file)
            .map_err(|error| Error::io("map the lock file", error))?;
        Ok(SharedWords { raw })
    }

    /// One page of words that are all 0, and again so in a process that was forked from this one. Where the
    /// kernel does not know such pages (before 4.14) they are copied as any other.
    ///
    /// # Errors
    /// `Io` when there is no memory.
    pub fn wiped_on_fork() -> io::Result<Self> {
        let raw = MmapRaw::from(MmapOptions::new().len(4096).map_anon()?);
        // SAFETY: claim M1: exactly this mapping; the advice changes nothing in this process.
        let _ = unsafe { libc::madvise(raw.as_mut_ptr().cast(), raw.len(), libc::MADV_WIPEONFORK) };
        Ok(SharedWords { raw })
    }

    /// One half of word `i`, 0 the low one. Words that are used so are never used whole.
    ///
    /// # Panics
    /// When it lies outside the mapping.
    pub fn half(&self, i: usize, half: usize) -> &AtomicU32 {
        let place = self.place(i).cast::<u32>();
        // SAFETY: claim M1: both halves lie inside the word.
        let place = unsafe { place.add(half % 2) };
        // SAFETY: claim W1, with halves for words: this word is touched by halves only.
        unsafe { AtomicU32::from_ptr(place) }
    }

    #[inline]
    fn place(&self, i: usize) -> *mut u64 {
        assert!(i < self.raw.len() / 8, "word {i} of {}", self.raw.len() / 8);
        // SAFETY: claim M1: inside the mapping, by the assertion.
        unsafe { self.raw.as_mut_ptr().cast::<u64>().add(i) }
    }
}

impl Words for SharedWords {
    type Word = AtomicU64;

    /// Word `i`.
    ///
    /// # Panics
    /// When it lies outside the mapping.
    #[inline]
    fn word(&self, i: usize) -> &AtomicU64 {
        let word = self.place(i);
        // SAFETY: claim W1: mappings are page-aligned, so words are aligned; the memory is only
        // ever touched through atomics, by every process; and it lives as long as the borrow.
        unsafe { AtomicU64::from_ptr(word) }
    }

    /// The same with one look at the bounds for all.
    #[inline(always)]
    fn load_all<const N: usize>(&self, i: usize) -> [u64; N] {
        let count = self.raw.len() / 8;
        assert!(i <= count && N <= count - i, "words {i}..+{N} of {count}");
        let first = self.place(i).cast::<[AtomicU64; N]>();
        // SAFETY: claims M1 (all of them are inside the mapping, by the assertion) and W1, for each of them.
        let words = unsafe { &*first };
        std::array::from_fn(|at| Word::load(&words[at], Ordering::Acquire))
    }
}

/// Keeps the compiler honest about what crosses processes.
const _: () = assert!(size_of::<AtomicU64>() == 8);

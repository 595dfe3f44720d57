//! Memory mappings: the data file for reading, the sidecar's words for sharing.
//!
//! Owns: every pointer into mapped memory; with [`crate::lock`] and [`crate::fork`] the only `unsafe` code of the crate.
//! Promises: a slice handed out lies inside the file as it was when its length was last checked.
//! Leaves to others: knowing which pages may be read ([`crate::snapshot`]) and keeping them unchanged
//! ([`crate::space`]). The numbered claims are those of `docs/soundness.md`.

#![allow(unsafe_code)]

#[cfg(not(any(miri, mapleaf_test_map)))]
mod data_map;
#[cfg(any(miri, mapleaf_test_map))]
mod test_map;
#[cfg(test)]
mod above;
#[cfg(test)]
mod wrong;

#[cfg(not(any(miri, mapleaf_test_map)))]
pub use data_map::{DataMap, read_in_huge_pages};
#[cfg(any(miri, mapleaf_test_map))]
pub use test_map::{DataMap, read_in_huge_pages};

use crate::descriptor;
use crate::error::{Error, Result};
use memmap2::{MmapMut, MmapOptions, MmapRaw, UncheckedAdvice};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::atomic::Ordering::{self, Relaxed, SeqCst};
use std::sync::atomic::{AtomicU32, AtomicU64};

/// Begins to bring the first `LINES` cache lines from the slice's start on nearer to the processor. Only a hint.
#[inline(always)]
pub fn prefetch<const LINES: usize>(bytes: &[u8]) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    for line in 0..LINES {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: claim P1: a prefetch accesses nothing, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(bytes.as_ptr().wrapping_add(line * 64).cast()) }
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = bytes;
}

/// Begins to bring all of the slice nearer to the processor, but not into its first cache, which has no room for it yet.
#[inline]
pub fn prefetch_all(bytes: &[u8]) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    for line in 0..bytes.len().div_ceil(64) {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        // SAFETY: claim P1: a prefetch accesses nothing, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(bytes.as_ptr().wrapping_add(line * 64).cast()) }
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = bytes;
}

/// Lets the system take the memory back when it is short of it. Until somebody writes there it holds what it held, or
/// zeros.
pub fn lend_back(memory: &mut MmapMut) {
    // SAFETY: claim A1: private memory that nobody borrows; whoever is given it again writes before reading.
    let _ = unsafe { memory.unchecked_advise(UncheckedAdvice::Free) };
}

/// Asks the system to begin writing what is dirty in the range of the file. Only advice: where it fails,
/// the next flush says so.
pub fn start_write_back(file: &File, offset: u64, len: u64) {
    let (offset, len) = (offset as libc::off64_t, len as libc::off64_t);
    // SAFETY: claim L1: the descriptor is open for as long as `file` is borrowed; the call touches no memory.
    let _ = unsafe { libc::sync_file_range(file.as_raw_fd(), offset, len, libc::SYNC_FILE_RANGE_WRITE) };
}

/// Bytes of a file that are in the page cache.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct CachedBytes {
    /// All of them.
    pub resident: u64,
    /// Those that are to be written yet.
    pub dirty: u64,
    /// Those that are being written.
    pub in_write_back: u64,
}

/// What the page cache has of a file; `None` where the system does not say (Linux before 6.5).
pub fn cached_bytes(file: &File) -> Option<CachedBytes> {
    /// The same number for all processors.
    const SYS_CACHESTAT: libc::c_long = 451;
    // Offset and length; no length: up to the end.
    let range = [0u64; 2];
    // Pages that are there, dirty, in write-back, evicted, evicted lately.
    let mut pages = [0u64; 5];
    // SAFETY: claim L1: an open descriptor and pointers to locals, which live until the call returns.
    let result =
        unsafe { libc::syscall(SYS_CACHESTAT, file.as_raw_fd(), range.as_ptr(), pages.as_mut_ptr(), 0) };
    let bytes = |pages: u64| pages * rustix::param::page_size() as u64;
    let [resident, dirty, in_write_back, ..] = pages.map(bytes);
    (result == 0).then_some(CachedBytes { resident, dirty, in_write_back })
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

    /// Words of this process alone, all 0. Those that nobody touches cost no memory, nor the time to clear it.
    ///
    /// # Errors
    /// `Io` when there is no memory.
    pub fn private(count: usize) -> io::Result<Self> {
        Ok(SharedWords { raw: MmapRaw::from(MmapOptions::new().len(count * 8).map_anon()?) })
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

/// Each fails without the line that upholds its claim; what they say is in `docs/soundness.md`.
#[cfg(test)]
mod tests {
    use super::*;
    use crate::copies::Copies;
    use crate::disk::{Disk, Mapped};
    use crate::format::{ChildRef, header_mut, meta_pages, page_checksum};
    use crate::snapshot::{Pages, Verify};
    use std::io::IoSlice;
    use std::os::unix::fs::FileExt;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::path::Path;

    const PAGE: u64 = 4096;

    fn file(pages: u64) -> File {
        let file = tempfile::tempfile().unwrap();
        for page in 0..pages {
            file.write_all_at(&[page as u8; PAGE as usize], page * PAGE).unwrap();
        }
        file
    }

    fn disk(pages: u64) -> Disk {
        let file = file(pages);
        let mapped = Mapped::new(&file, pages * PAGE).unwrap();
        Disk::new(file, mapped, Path::new("a file without a name"), None, pages * PAGE).unwrap()
    }

    fn panics<T>(call: impl FnOnce() -> T) -> bool {
        catch_unwind(AssertUnwindSafe(call)).is_err()
    }

    #[test]
    fn bytes_outside_a_mapping_are_not_handed_out() {
        let map = DataMap::reserve(&file(2), 2 * PAGE).unwrap();
        assert_eq!(map.bytes(PAGE, 1), [1]);
        assert!(panics(|| map.bytes(map.len(), 1).len()));
        assert!(panics(|| map.bytes(map.len() - 1, 2).len()));
        assert!(panics(|| map.bytes(u64::MAX, 2).len()));
        assert!(panics(|| map.bytes(PAGE, usize::MAX).len()));
    }

    #[test]
    fn a_prefetch_changes_nothing_wherever_it_leads() {
        let map = DataMap::reserve(&file(1), PAGE).unwrap();
        // The lines behind the slice lie behind the end of the file, where touching would raise SIGBUS.
        prefetch::<256>(map.bytes(0, PAGE as usize));
        prefetch::<4>(&[]);
        prefetch_all(map.bytes(0, PAGE as usize));
        prefetch_all(&[]);
        assert_eq!(map.bytes(0, PAGE as usize), [0; PAGE as usize]);
    }

    #[test]
    fn words_outside_a_mapping_are_not_handed_out() {
        let words = SharedWords::map(&file(1), PAGE as usize).unwrap();
        words.word(511).store(7, SeqCst);
        assert_eq!(words.load_all::<2>(510), [0, 7]);
        assert!(panics(|| words.word(512).load(SeqCst)));
        assert!(panics(|| words.word(usize::MAX).load(SeqCst)));
        assert!(panics(|| words.half(512, 0).load(SeqCst)));
        assert!(panics(|| words.load_all::<2>(511)));
        assert!(panics(|| words.load_all::<2>(usize::MAX)));
    }

    #[test]
    fn words_are_aligned_and_halves_are_those_of_their_word() {
        let words = SharedWords::map(&file(1), PAGE as usize).unwrap();
        assert!((0..512).all(|i| (&raw const *words.word(i)).addr().is_multiple_of(8)));
        words.half(3, 1).store(5, SeqCst);
        words.half(3, 2).store(6, SeqCst);
        assert_eq!(words.load_all::<3>(2), [0, 5 << 32 | 6, 0]);
    }

    #[test]
    fn a_slice_stays_where_it_is_when_the_file_outgrows_its_mapping() {
        let map = DataMap::reserve(&file(1), PAGE).unwrap().len();
        let disk = disk(2);
        let slice = disk.bytes(PAGE, PAGE as usize).unwrap();
        // A real mapping of a tebibyte is outgrown by a file of holes.
        if disk.file().set_len(map + PAGE).is_ok() {
            disk.admit(map + PAGE).unwrap();
            assert_eq!(disk.bytes(map, PAGE as usize).unwrap(), [0; PAGE as usize]);
        }
        assert_eq!(slice, [1; PAGE as usize]);
    }

    #[test]
    fn a_length_is_believed_when_the_file_has_it_and_not_before() {
        let disk = disk(2);
        assert!(disk.bytes(PAGE, PAGE as usize).is_some());
        assert!(disk.bytes(2 * PAGE, 1).is_none() && disk.bytes(u64::MAX, 2).is_none());
        assert!(disk.admit(3 * PAGE).is_err());
        assert!(disk.bytes(2 * PAGE, 1).is_none());
        disk.file().set_len(3 * PAGE).unwrap();
        disk.admit(3 * PAGE).unwrap();
        assert_eq!(disk.bytes(2 * PAGE, 1), Some(&[0][..]));
    }

    #[test]
    fn what_is_cut_off_is_not_handed_out_any_more() {
        let disk = disk(4);
        disk.set_len(2 * PAGE).unwrap();
        assert!(disk.bytes(2 * PAGE, 1).is_none());
        assert!(disk.bytes(PAGE, PAGE as usize).is_some());
    }

    #[test]
    fn the_meta_area_is_not_handed_out() {
        let pages = Pages::new(disk(8), PAGE as usize, Verify::Once, false);
        let first = meta_pages(PAGE as usize);
        assert!((0..first).all(|page| pages.raw(page, 1, 8).is_err()));
        assert!(pages.raw(first, 8 - first, 8).is_ok());
        assert!(pages.raw(first, 9 - first, 8).is_err() && pages.raw(first, 0, 8).is_err());
        assert!(pages.raw(u64::MAX, 2, 8).is_err());
    }

    #[test]
    fn pages_outside_of_the_file_are_not_asked_for() {
        let pages = Pages::new(disk(8), PAGE as usize, Verify::Once, false);
        let mut wanted = [u64::MAX, 7, 3, 1 << 60, 8, 3, 2, (1 << 47) | 5];
        pages.read_ahead(&mut wanted, 8, 8);
        pages.prefetch(u64::MAX, 8);
        assert!(pages.prefetch_all(u64::MAX, 1, 8), "nothing to be read in");
        assert!(!pages.prefetch_all(7, 1, 8));
    }

    #[test]
    fn what_the_file_holds_is_what_is_handed_out() {
        let disk = disk(3);
        assert_eq!(disk.bytes(PAGE, 2).unwrap(), [1; 2]);
        disk.write(PAGE, &[IoSlice::new(&[9; 5]), IoSlice::new(&[8; 4091])]).unwrap();
        assert_eq!(disk.bytes(PAGE + 4, 2).unwrap(), [9, 8]);
        disk.file().write_all_at(&[7], 2 * PAGE).unwrap();
        assert_eq!(disk.bytes(2 * PAGE - 1, 3).unwrap(), [8, 7, 2]);
    }

    fn tree_page(number: u64, birth: u64) -> [u8; PAGE as usize] {
        let mut page = [0; PAGE as usize];
        header_mut(&mut page).page.set(number);
        header_mut(&mut page).birth.set(birth);
        let checksum = page_checksum(&page);
        header_mut(&mut page).checksum.set(checksum);
        page
    }

    #[test]
    fn a_page_that_changed_behind_its_verification_is_refused() {
        for verify in [Verify::Once, Verify::Always, Verify::Never] {
            let pages = Pages::new(disk(8), PAGE as usize, verify, false);
            let put = |page: &[u8]| pages.disk.write(5 * PAGE, &[IoSlice::new(page)]).unwrap();
            put(&tree_page(5, 9));
            let short = ChildRef { page: 5, birth: 9, count: 0 }.short();
            assert!(pages.known(short, 8).is_none(), "nothing is known before it was read");
            assert!(pages.read(5, 9, 8).is_ok());
            assert_eq!(pages.known(short, 8).is_some(), verify != Verify::Always);
            let older = ChildRef { page: 5, birth: 8, count: 0 }.short();
            assert!(pages.known(older, 8).is_none() && pages.known(short, 5).is_none());
            for other in [tree_page(5, 8), tree_page(6, 9), [0; PAGE as usize]] {
                put(&other);
                assert!(pages.read(5, 9, 8).is_err() && pages.known(short, 8).is_none());
            }
            // Born so much later that a short reference does not see it: it was not verified.
            put(&tree_page(5, 9 + (1 << 24)));
            assert!(pages.known(short, 8).is_none());
            // The same page with rot behind its header: not seen until verification is forgotten.
            let mut rotten = tree_page(5, 9);
            rotten[100] ^= 1;
            put(&rotten);
            assert_eq!(pages.read(5, 9, 8).is_err(), verify == Verify::Always);
            pages.distrust();
            assert!(pages.known(short, 8).is_none());
            assert_eq!(pages.read(5, 9, 8).is_err(), verify != Verify::Never);
        }
    }

    #[test]
    fn copies_are_judged_anew_and_end_with_the_file() {
        let pages = Pages::new(disk(8), PAGE as usize, Verify::Once, false);
        let copies = Copies { disk: &pages.disk, page_size: PAGE as usize, page_count: 8, mapped: None };
        let mut page = tree_page(5, 9);
        pages.disk.write(5 * PAGE, &[IoSlice::new(&page)]).unwrap();
        assert!(pages.read(5, 9, 8).is_ok() && copies.page(5, 9).is_ok());
        page[100] ^= 1;
        pages.disk.write(5 * PAGE, &[IoSlice::new(&page)]).unwrap();
        assert!(pages.read(5, 9, 8).is_ok(), "it was verified");
        assert!(matches!(copies.page(5, 9), Err(Error::Corrupt { .. })));
        assert!(copies.raw(8).is_err() && copies.raw(0).is_err() && copies.raw(u64::MAX).is_err());
        // Where the mapping would end the process.
        pages.disk.file().set_len(6 * PAGE).unwrap();
        assert!(matches!(copies.raw(7), Err(Error::Io { .. })));
    }
}

//! The data file's mapping as heap memory that is filled by reads, for checkers that do not see what the kernel writes.
//!
//! Owns: the stand-in for [`super::DataMap`] that is built with `--cfg mapleaf_test_map`, and for Miri. Promises: the
//! same interface; what `bytes` returns is what the file holds at the time of the call. Leaves to others: words (the
//! sidecar is mapped as ever).
//!
//! A page that changed in the file since it was last asked for is stored anew in place, by this process. So claim M2,
//! that nobody changes the bytes of a slice while it is borrowed, becomes one about plain memory: where it does not hold
//! the thread sanitizer reports a race between this store and whoever reads the slice, and Miri a use of a
//! reference that has ended. With a real mapping neither sees a thing, for it is the kernel that stores. Claim M4 becomes a panic
//! instead of a signal.

use crate::error::{Error, Result};
use parking_lot::Mutex;
use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::ptr::NonNull;

/// Small, so that growing needs a new map often.
const FIRST_RESERVATION: usize = 4 << 20;
/// As mappings are.
const ALIGNMENT: usize = 64 << 10;

/// See [`super::DataMap`].
pub struct DataMap {
    file: File,
    start: NonNull<u8>,
    layout: Layout,
    /// One of `parking_lot`: of a lock of std the sanitizer does not see all.
    filling: Mutex<()>,
}

// SAFETY: claim T1: the memory belongs to the map and is stored to under the lock only.
unsafe impl Send for DataMap {}
// SAFETY: claim T1: the same.
unsafe impl Sync for DataMap {}

impl DataMap {
    /// Memory for `needed` bytes of the file and as much again.
    ///
    /// # Errors
    /// `Io` when the file cannot be opened once more.
    pub fn reserve(file: &File, needed: u64) -> Result<Self> {
        let file = file.try_clone().map_err(|error| Error::io("open the data file once more", error))?;
        let too_many = |_| Error::invalid(format!("{needed} bytes are more than the address space"));
        let len = FIRST_RESERVATION.max(usize::try_from(needed).map_err(too_many)?.saturating_mul(2));
        let layout = Layout::from_size_align(len.next_multiple_of(ALIGNMENT), ALIGNMENT)
            .map_err(|_| Error::invalid(format!("{needed} bytes are more than the address space")))?;
        // SAFETY: claim T1: the size is not 0.
        let start = unsafe { alloc_zeroed(layout) };
        let start = NonNull::new(start).unwrap_or_else(|| handle_alloc_error(layout));
        Ok(DataMap { file, start, layout, filling: Mutex::new(()) })
    }

    /// Bytes of memory.
    pub fn len(&self) -> u64 {
        self.layout.size() as u64
    }

    /// The bytes `offset..offset + len` as the file holds them.
    ///
    /// # Panics
    /// When they lie outside the map or the file.
    pub fn bytes(&self, offset: u64, len: usize) -> &[u8] {
        let end = offset.checked_add(len as u64).expect("no overflow");
        assert!(end <= self.len(), "bytes {offset}..{end} of a mapping of {}", self.len());
        // SAFETY: claim M1: offset is inside the memory, by the assertion.
        let start = unsafe { self.start.as_ptr().add(offset as usize) };
        self.fill(start, offset, len);
        // SAFETY: claims M1, M2 (a later `fill` stores to these bytes only if the file changed, which it does not
        // while the borrow lives) and M3.
        unsafe { std::slice::from_raw_parts(start, len) }
    }

    /// Brings the memory from `start` on, that of `offset`, up to date.
    fn fill(&self, start: *mut u8, offset: u64, len: usize) {
        let _filling = self.filling.lock();
        let mut now = vec![0; len];
        self.file.read_exact_at(&mut now, offset).expect("claim M4: only bytes of the file are asked for");
        // SAFETY: claims M1 and T1: inside the memory, by the caller, and only stored to under the lock.
        let before = unsafe { std::slice::from_raw_parts(start, len) };
        if *before != now[..] {
            // SAFETY: claims M1, M2 and T1: the same, and nobody reads what changed in the file.
            unsafe { std::ptr::copy_nonoverlapping(now.as_ptr(), start, len) };
        }
    }

    /// Nothing: what is asked for is read.
    pub fn will_need(&self, _: u64, _: u64) -> io::Result<()> {
        Ok(())
    }

    /// Nothing.
    pub fn let_go(&self, _: u64, _: u64) -> io::Result<()> {
        Ok(())
    }

    /// Whether the range can be read.
    pub fn populate(&self, offset: u64, len: u64) -> io::Result<()> {
        self.file.read_exact_at(&mut vec![0; len as usize], offset)
    }

    /// Waits until the whole file is on the disk.
    pub fn sync(&self, _: u64, _: u64) -> io::Result<()> {
        self.file.sync_data()
    }
}

impl Drop for DataMap {
    fn drop(&mut self) {
        // SAFETY: claim T1: allocated with this layout, and not used again (claim M3).
        unsafe { dealloc(self.start.as_ptr(), self.layout) }
    }
}

/// Reads the first `len` bytes of the file into the system's cache.
pub fn read_in_huge_pages(file: &File, len: usize) -> io::Result<()> {
    file.read_exact_at(&mut vec![0; len], 0)
}

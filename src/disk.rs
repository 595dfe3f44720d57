//! The data file: every write, flush, growth and truncation goes through here.
//!
//! Owns: the descriptors of the store, its mappings, and the seam ([`Observer`]) at which tests
//! record and fail operations. Promises: writes are whole or an error; all flushes go through one
//! descriptor; no byte behind the end of the file is ever touched. Leaves to others: what is
//! written where, and in which order ([`crate::commit`]).
//!
//! Invariants:
//! 1. `known_len` is at most the file's length (checked with fstat before it is raised), or what that was before the file
//!    was cut by another process; nobody asks for more than a state has that the cut has left whole ([`crate::store`]).
//! 2. Mappings are only added, never removed, while the store is open; a slice stays where it is.

use crate::counters::Counting;
use crate::descriptor;
use crate::error::{Error, Result};
use crate::map::{self, CachedBytes, DataMap};
use parking_lot::Mutex;
use rustix::fs::{AtFlags, FallocateFlags, OFlags, StatxFlags};
use std::fs::File;
use std::io::{self, IoSlice};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

/// Largest single write of a long run. It is also what decides the size of the page cache's folios when a block
/// is first written, and large folios make later small writes dear (on ext4 a 4-KiB write costs
/// 1.6 µs in a 4-KiB folio, 2 in 16 KiB, 3 in 64 KiB, 33 in 2 MiB; a page of a first write 1.9, 1.2, 1.0).
pub const WRITE_UNIT: usize = 16 << 10;
/// A run that is no longer is one write: mostly it replaces what is in the cache.
const SHORT_RUN: usize = 64 << 10;
/// Most bytes of one request to read ahead: of a longer one Linux reads as much as the disk's `read_ahead_kb` says,
/// or one request to it can carry, and forgets the rest. This is the least that is usual.
const READ_AHEAD: usize = 128 << 10;
const MAX_MAPS: usize = 40;

/// One operation on the data file, as an [`Observer`] sees it.
#[derive(Debug)]
pub enum Op<'a> {
    /// Positional write of all the slices, one behind the other.
    Write {
        /// Where the first byte goes.
        offset: u64,
        /// What is written.
        data: &'a [IoSlice<'a>],
    },
    /// Flush of a range.
    Sync {
        /// First byte.
        offset: u64,
        /// Number of bytes.
        len: u64,
    },
    /// The file gets this length.
    SetLen {
        /// The new length.
        len: u64,
    },
    /// Disk blocks are reserved for a range, growing the file where it ends before.
    Reserve {
        /// First byte.
        offset: u64,
        /// Number of bytes.
        len: u64,
    },
    /// The disk blocks of a range are given back; it reads as zeros.
    Punch {
        /// First byte.
        offset: u64,
        /// Number of bytes.
        len: u64,
    },
}

/// What an [`Observer`] makes of an operation.
#[derive(Debug)]
pub enum Verdict {
    /// It is carried out.
    Proceed,
    /// It is not carried out, and fails with this error.
    Fail(io::Error),
    /// A write ends after so many bytes, as if the system had taken no more; others proceed.
    Short(usize),
}

/// The seam for tests: sees every write-side operation before it happens and may make it fail.
pub trait Observer: Send + Sync {
    /// Called before each operation, in the order in which they are carried out.
    fn before(&self, op: &Op<'_>) -> Verdict;
}

/// A file as it is mapped. A mapping keeps the open file description that it was made through, and so its locks, in a
/// forked child too; so it is not the one that has the locks. All mappings, and all flushes, go through this one:
/// what went wrong with writing back is reported once per description.
pub struct Mapped {
    file: File,
    first: DataMap,
}

impl Mapped {
    /// Opens the file once more and maps it, with `needed` bytes at least. Where it cannot be opened anew the same
    /// description serves. It is open for writing where the file is, although nothing is written through the mapping:
    /// without that the system takes the mapping for a private one, and msync does nothing.
    ///
    /// # Errors
    /// `Io` when it cannot be mapped.
    pub fn new(file: &File, needed: u64) -> Result<Self> {
        let open = || {
            let flags = rustix::fs::fcntl_getfl(file)?;
            descriptor::reopen(file, flags.contains(OFlags::RDWR)).or_else(|_| file.try_clone())
        };
        let file = open().map_err(|error: io::Error| Error::io("open the data file once more", error))?;
        Ok(Mapped { first: DataMap::reserve(&file, needed)?, file })
    }
}

/// The data file of an open store.
pub struct Disk {
    file: File,
    /// What is mapped and flushed.
    mapped: File,
    path: PathBuf,
    observer: Option<Arc<dyn Observer>>,
    maps: [OnceLock<DataMap>; MAX_MAPS],
    newest_map: AtomicUsize,
    known_len: AtomicU64,
    /// Whether the file system can give blocks back, once that was asked.
    can_punch: OnceLock<bool>,
    /// Locked while `known_len` is set to what the file has.
    looking: Mutex<()>,
    /// Whether this process had a limit for the length of files when it opened this one.
    is_limited: bool,
    /// Whether a commit is refused once the file has no name: it had one when it was opened.
    pub needs_name: bool,
    /// What the store does.
    pub counters: Counting,
}

/// What the data file takes, of the disk and of the page cache that all processes share.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct FileUsage {
    /// Bytes of the file, holes included.
    pub len: u64,
    /// Bytes that it takes on the disk.
    pub disk_bytes: u64,
    /// What of it is in memory; `None` before Linux 6.5.
    pub cached: Option<CachedBytes>,
}

impl Disk {
    /// Takes over a file that is at least `needed` bytes long and mapped.
    ///
    /// # Errors
    /// `Corrupt` when it is shorter.
    pub fn new(
        file: File,
        mapped: Mapped,
        path: &Path,
        observer: Option<Arc<dyn Observer>>,
        needed: u64,
    ) -> Result<Self> {
        let needs_name = file.metadata().is_ok_and(|metadata| metadata.nlink() > 0);
        let disk = Disk {
            needs_name,
            counters: Counting::default(),
            can_punch: OnceLock::new(),
            is_limited: crate::map::file_size_limit().is_some(),
            file,
            mapped: mapped.file,
            path: path.to_owned(),
            observer,
            maps: [const { OnceLock::new() }; MAX_MAPS],
            newest_map: AtomicUsize::new(0),
            known_len: AtomicU64::new(0),
            looking: Mutex::new(()),
        };
        let _ = disk.maps[0].set(mapped.first);
        disk.admit(needed)?;
        Ok(disk)
    }

    /// The file, for locks and metadata.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Where it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// An `Io` error that names the file.
    pub fn io_error(&self, doing: &str, error: impl Into<io::Error>) -> Error {
        Error::io(format!("{doing} {}", self.path.display()), error.into())
    }

    /// The file's length right now.
    ///
    /// # Errors
    /// `Io` when the system does not say.
    pub fn len(&self) -> Result<u64> {
        Ok(self.examine()?.0)
    }

    /// Whether the file has `len` bytes. No system call where so many were seen already.
    ///
    /// # Errors
    /// `Io` when the system does not say.
    pub fn has(&self, len: u64) -> Result<bool> {
        Ok(len <= self.known_len.load(Ordering::Acquire) || len <= self.len()?)
    }

    /// The file's length and how many names it has. Its times are not asked for: whoever has seen them makes the next
    /// write change them by less than a tick (since Linux 6.13), and on ext4 without a journal each flush then writes
    /// the inode too.
    fn examine(&self) -> Result<(u64, u64)> {
        let wanted = StatxFlags::SIZE | StatxFlags::NLINK;
        match rustix::fs::statx(&self.file, c"", AtFlags::EMPTY_PATH, wanted) {
            Ok(found) => Ok((found.stx_size, u64::from(found.stx_nlink))),
            // Not before Linux 4.11, nor in every sandbox.
            Err(rustix::io::Errno::NOSYS | rustix::io::Errno::PERM) => {
                let found = self.file.metadata().map_err(|error| self.io_error("examine", error))?;
                Ok((found.size(), found.nlink()))
            }
            Err(error) => Err(self.io_error("examine", error)),
        }
    }

    /// Sees to it that what is written will be found again: the file still has a name, if it needs one, and is at least
    /// `len` bytes long. One statx.
    ///
    /// # Errors
    /// `FileRemoved`; `Corrupt` when it was truncated; `Io`.
    pub fn check_in_place(&self, len: u64) -> Result<()> {
        let (real, names) = self.examine()?;
        if self.needs_name && names == 0 {
            return Err(Error::FileRemoved { path: self.path.clone() });
        }
        if real < len { Err(self.truncated(real, len)) } else { Ok(()) }
    }

    fn truncated(&self, real: u64, len: u64) -> Error {
        let path = self.path.display();
        Error::corrupt(0, format!("{path} has {real} bytes, its meta says {len}: it was truncated"))
    }

    /// Makes the first `len` bytes readable, mapping anew where the reservation is outgrown.
    /// No system call where they were already.
    ///
    /// # Errors
    /// `Corrupt` when the file is shorter, `Io` when it cannot be mapped.
    #[inline]
    pub fn admit(&self, len: u64) -> Result<()> {
        if len <= self.known_len.load(Ordering::Acquire) {
            return Ok(());
        }
        self.admit_slowly(len)
    }

    /// The file was cut, perhaps by another process: forgets that it was longer. Where the system does not say how long it
    /// is, nothing is known.
    pub fn look_again(&self) {
        let _looking = self.looking.lock();
        self.known_len.fetch_min(self.len().unwrap_or(0), Ordering::AcqRel);
    }

    #[cold]
    fn admit_slowly(&self, len: u64) -> Result<()> {
        let _looking = self.looking.lock();
        let real = self.len()?;
        if real < len {
            return Err(self.truncated(real, len));
        }
        loop {
            let newest = self.newest_map.load(Ordering::Acquire);
            if self.maps[newest].get().is_some_and(|map| map.len() >= len) {
                break;
            }
            let next = self.maps.get(newest + 1).ok_or_else(|| Error::invalid("too many mappings"))?;
            let _ = next.set(DataMap::reserve(&self.mapped, len)?);
            let _ = self.newest_map.compare_exchange(newest, newest + 1, Ordering::AcqRel, Ordering::Acquire);
        }
        self.known_len.fetch_max(len, Ordering::AcqRel);
        Ok(())
    }

    /// The bytes of the range, or `None` where it is not inside what `admit` has seen.
    #[inline(always)]
    pub fn bytes(&self, offset: u64, len: usize) -> Option<&[u8]> {
        if offset.checked_add(len as u64)? > self.known_len.load(Ordering::Acquire) {
            return None;
        }
        Some(self.map().bytes(offset, len))
    }

    #[inline(always)]
    fn map(&self) -> &DataMap {
        self.maps[self.newest_map.load(Ordering::Acquire)].get().expect("set before the index is raised")
    }

    /// Reads with a system call, past the mapping.
    ///
    /// # Errors
    /// `Io`, also when the file ends inside the range.
    pub fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        self.file.read_exact_at(buffer, offset).map_err(|error| self.io_error("read", error))
    }

    /// Reads the page at `offset` with a system call, past the mapping.
    ///
    /// # Errors
    /// `Io`, which names the page.
    pub fn read_page(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        let page = offset / buffer.len() as u64;
        let read = self.file.read_exact_at(buffer, offset);
        read.map_err(|error| self.io_error(&format!("read page {page} of"), error))
    }

    /// Maps the pages of a range that `admit` has seen, and reads them where they are not in memory: touching them
    /// raises no signal then, as long as they stay there.
    ///
    /// # Errors
    /// `Io`, which names the first page that cannot be read.
    pub fn read_in(&self, offset: u64, len: u64, page_size: usize) -> Result<()> {
        if self.map().populate(offset, len).is_ok() {
            return Ok(());
        }
        // Which page it is, and why. Or the kernel cannot (before 5.14): then this has read them.
        let mut page = vec![0; page_size];
        let pages = (offset..offset + len).step_by(page_size);
        pages.into_iter().try_for_each(|offset| self.read_page(offset, &mut page))
    }

    /// Writes the slices one behind the other from `offset` on, in one call where they are no more than 64 KiB, else in
    /// calls of at most 16 KiB or what one slice has.
    ///
    /// # Errors
    /// `Io`; some of the bytes may have been written.
    pub fn write(&self, mut offset: u64, mut data: &[IoSlice<'_>]) -> Result<()> {
        let is_short = data.iter().map(|slice| slice.len()).sum::<usize>() <= SHORT_RUN;
        let unit = if is_short { SHORT_RUN } else { WRITE_UNIT };
        while !data.is_empty() {
            let mut len = 0;
            let taken = data.iter().take(1024).take_while(|slice| {
                len += slice.len();
                len <= unit
            });
            let (now, later) = data.split_at(taken.count().max(1));
            self.write_call(offset, now).map_err(|error| self.io_error("write", error))?;
            offset += now.iter().map(|slice| slice.len() as u64).sum::<u64>();
            data = later;
        }
        Ok(())
    }

    fn write_call(&self, mut offset: u64, data: &[IoSlice<'_>]) -> io::Result<()> {
        let mut limit = usize::MAX;
        match self.ask(&Op::Write { offset, data }) {
            Verdict::Proceed => {}
            Verdict::Fail(error) => return Err(error),
            Verdict::Short(len) => limit = len,
        }
        if self.is_limited {
            // Also inside the file the system answers with a signal.
            within_limit(offset + data.iter().map(|slice| slice.len() as u64).sum::<u64>())?;
        }
        let mut slices = data.to_vec();
        let mut rest = &mut slices[..];
        while !rest.is_empty() {
            let written = if limit < rest[0].len() {
                rustix::io::pwrite(&self.file, &rest[0][..limit.max(1)], offset)
            } else {
                rustix::io::pwritev(&self.file, rest, offset)
            };
            match written {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(len) => {
                    self.counters.written_bytes.add(len as u64);
                    offset += len as u64;
                    IoSlice::advance_slices(&mut rest, len);
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            limit = usize::MAX;
        }
        Ok(())
    }

    /// Waits until the range is on the disk. A failure says nothing about what is there now.
    ///
    /// # Errors
    /// `Io`.
    pub fn sync(&self, offset: u64, len: u64) -> Result<()> {
        self.counters.flushes.add(1);
        self.carry_out(&Op::Sync { offset, len }, "flush", || self.map().sync(offset, len))
    }

    /// What the file takes.
    ///
    /// # Errors
    /// `Io`.
    pub fn usage(&self) -> Result<FileUsage> {
        let metadata = self.file.metadata().map_err(|error| self.io_error("examine", error))?;
        let cached = map::cached_bytes(&self.file);
        Ok(FileUsage { len: metadata.len(), disk_bytes: metadata.blocks() * 512, cached })
    }

    /// Asks the system to read the range, which lies inside the file, without waiting for it. Only advice.
    pub fn will_need(&self, offset: u64, len: u64) {
        let ends = (offset..offset + len).step_by(READ_AHEAD).skip(1).chain([offset + len]);
        ends.fold(offset, |from, to| {
            let _ = self.map().will_need(from, to - from);
            to
        });
    }

    /// Lets the range, which lies inside the file, go from memory: from this process's mapping, and from the page cache
    /// where nobody else has it mapped and all of it is on the disk. Only advice.
    pub fn let_go(&self, offset: u64, len: u64) {
        let _ = self.map().let_go(offset, len);
        let _ = rustix::fs::fadvise(
            &self.file,
            offset,
            std::num::NonZero::new(len),
            rustix::fs::Advice::DontNeed,
        );
    }

    /// Reads the first `len` bytes, which lie inside the file, into the system's cache, in huge pages where it can, and
    /// maps them.
    ///
    /// # Errors
    /// `Io`, also where a sector cannot be read.
    pub fn preload(&self, len: u64) -> Result<()> {
        let read = || {
            // What is there in small pieces goes first: they stay what they are. Both are only advice.
            let _ = self.map().let_go(0, len);
            let _ = rustix::fs::fadvise(&self.file, 0, None, rustix::fs::Advice::DontNeed);
            crate::map::read_in_huge_pages(&self.mapped, len as usize)?;
            self.map().populate(0, len)
        };
        match read() {
            // The kernel cannot (before 5.14): it reads what it likes.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                self.will_need(0, len);
                Ok(())
            }
            other => other.map_err(|error| self.io_error("preload", error)),
        }
    }

    /// Asks the system to begin writing what is dirty in the range, without waiting for it.
    pub fn start_write_back(&self, offset: u64, len: u64) {
        if len > 0 {
            crate::map::start_write_back(&self.file, offset, len);
        }
    }

    /// Grows the file from `old` bytes to `len` with disk blocks behind every byte of the growth.
    ///
    /// # Errors
    /// `Io`, with ENOSPC when the disk is full; the file may be longer than it was then.
    pub fn grow(&self, old: u64, len: u64) -> Result<()> {
        let op = Op::Reserve { offset: old, len: len - old };
        self.carry_out(&op, "grow", || {
            within_limit(len)?;
            self.reserve(old, len - old)
        })?;
        self.admit(len)
    }

    fn reserve(&self, offset: u64, len: u64) -> io::Result<()> {
        match self.reserve_inside(offset, len) {
            // No reservation on this file system: the zeros written before use do the same.
            Err(rustix::io::Errno::OPNOTSUPP) => self.file.set_len(offset + len),
            other => Ok(other?),
        }
    }

    fn reserve_inside(&self, offset: u64, len: u64) -> rustix::io::Result<()> {
        let reserve = || rustix::fs::fallocate(&self.file, FallocateFlags::empty(), offset, len);
        rustix::io::retry_on_intr(reserve)
    }

    /// Gives a range inside the file new blocks, where it may have some: those of a hole whose flush has failed may
    /// be lost for good. It is to be written before it counts.
    ///
    /// # Errors
    /// `Io`, with ENOSPC when the disk is full; the range reads as zeros then.
    pub fn refill(&self, offset: u64, len: u64) -> Result<()> {
        self.punch(offset, len)?;
        let op = Op::Reserve { offset, len };
        self.carry_out(&op, "reserve room in", || match self.reserve_inside(offset, len) {
            Err(rustix::io::Errno::OPNOTSUPP) => Ok(()),
            other => Ok(other?),
        })?;
        self.counters.filled_bytes.add(len);
        Ok(())
    }

    /// Gives the blocks of a range inside the file back to the system, where that is possible: whether it is.
    ///
    /// # Errors
    /// `Io`.
    pub fn punch(&self, offset: u64, len: u64) -> Result<bool> {
        if !self.can_punch() {
            return Ok(false);
        }
        self.carry_out(&Op::Punch { offset, len }, "give blocks back of", || {
            Ok(descriptor::punch(&self.file, offset, len)?)
        })?;
        Ok(true)
    }

    /// Whether the file system can give blocks back: asked once, with a range behind the end of the file. The caller has
    /// the turn, so that it stays the end.
    pub fn can_punch(&self) -> bool {
        let ask = |end: u64| descriptor::punch(&self.file, end, WRITE_UNIT as u64).is_ok();
        *self.can_punch.get_or_init(|| self.len().is_ok_and(ask))
    }

    /// Cuts the file. The caller knows that no snapshot reaches behind `len`.
    ///
    /// # Errors
    /// `Io`.
    pub fn set_len(&self, len: u64) -> Result<()> {
        self.known_len.fetch_min(len, Ordering::AcqRel);
        self.carry_out(&Op::SetLen { len }, "truncate", || match self.file.set_len(len) {
            // A sealed file keeps its length, but not what is in it.
            Err(error) if error.raw_os_error() == Some(libc::EPERM) => {
                descriptor::empty_from(&self.file, len)
            }
            other => other,
        })
    }

    fn carry_out(&self, op: &Op<'_>, doing: &str, call: impl FnOnce() -> io::Result<()>) -> Result<()> {
        let result = match self.ask(op) {
            Verdict::Fail(error) => Err(error),
            Verdict::Proceed | Verdict::Short(_) => call(),
        };
        result.map_err(|error| self.io_error(doing, error))
    }

    fn ask(&self, op: &Op<'_>) -> Verdict {
        self.observer.as_ref().map_or(Verdict::Proceed, |observer| observer.before(op))
    }
}

/// A file beyond the process's limit would be answered with a signal; this makes it an error.
///
/// # Errors
/// EFBIG when a file of `len` bytes is not allowed.
pub fn within_limit(len: u64) -> io::Result<()> {
    if crate::map::file_size_limit().is_some_and(|limit| len > limit) {
        return Err(rustix::io::Errno::FBIG.into());
    }
    Ok(())
}

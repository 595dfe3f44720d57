//! The form of a backup: a header, pages with their numbers, and an end.
//!
//! Owns: the bytes. Promises: a stream that was cut, continued or changed in any place is refused, and none
//! makes its reader keep more than a frame in memory. Leaves to others: which pages ([`super::copy`]), and
//! what becomes of them ([`super::restore`]).
//!
//! ```text
//! backup = header (128 bytes) | checkpoints, 16 bytes each | frames | end
//! checkpoint = txn u64 | seed u64, as in the list behind a meta slot
//! frame  = first page u64 | number of pages u32 | checksum u32 | the pages, as they stand in the store
//! end    = pages in all frames u64 | 0 u32 | checksum u32; nothing is behind it
//! ```
//!
//! The checksum of a frame, and of the end, is the crc32 of everything up to there but the frames' checksums:
//! so no frame can be left out, repeated or moved. The header has one of its own, so that it can be read
//! alone.

use crate::error::{Error, Result};
use crate::format::{ChildRef, LIMIT_48, MAGIC, MAX_LEVELS, MAX_PAGES, check_page_size, meta_pages};
use crate::lineage::{self, Checkpoint};
use crate::verify::Progress;
use std::io::{self, Read, Write};
use std::time::{Duration, Instant};
use zerocopy::byteorder::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// First bytes of a backup.
pub const BACKUP_MAGIC: [u8; 8] = *b"maplebak";
const VERSION: u32 = 1;
/// Bytes of the header.
pub const HEADER_LEN: usize = 128;
/// Bytes in front of a frame's pages, and of the end.
pub const FRAME_HEAD: usize = 16;
/// Most bytes of a frame's pages: a multiple of every page size.
pub const MAX_FRAME: usize = 1 << 20;
/// Bytes of a checkpoint behind the header.
pub const CHECKPOINT_LEN: usize = 16;
/// As many as a list behind a meta slot can have, and the slot itself.
const MOST_CHECKPOINTS: u16 = lineage::MOST as u16 + 1;
/// Frames are gathered until there are so many bytes.
const GATHERED: usize = 256 << 10;

/// The first bytes of a backup: of which store and state it is.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Header {
    /// [`BACKUP_MAGIC`].
    pub magic: [u8; 8],
    /// crc32 of the rest of the header.
    pub checksum: U32,
    /// Of this form.
    pub version: U32,
    /// Bytes of a page.
    pub page_size: U32,
    /// The id that the next new table would have got.
    pub next_table: U32,
    /// As in the store's meta slot.
    pub features: U64,
    /// As in the store's meta slot.
    pub write_features: U64,
    /// Of the store.
    pub store_id: [u8; 16],
    /// The txn whose backup is needed before this one; 0: none is.
    pub base: U64,
    /// The txn whose state it is.
    pub txn: U64,
    /// Pages of the file.
    pub page_count: U64,
    /// Root page of the catalog, 0 when there is no table.
    pub catalog_page: U64,
    /// Birth of that page.
    pub catalog_birth: U64,
    /// Number of tables.
    pub catalog_count: U64,
    /// The application's number.
    pub user_version: U64,
    /// When it was begun, in seconds since 1970.
    pub created: U64,
    /// Version of the store's format.
    pub format: U32,
    /// Level of the catalog's root.
    pub catalog_level: u8,
    /// 1 when the state was a checkpoint, so that whatever the store becomes goes back to it; else 0.
    pub is_checkpoint: u8,
    /// How many checkpoints stand behind the header: those that the state came through, as far as they are known.
    pub checkpoints: U16,
}

const _: () = assert!(size_of::<Header>() == HEADER_LEN);

impl Header {
    /// With its checksum.
    #[must_use]
    pub fn seal(mut self) -> Self {
        (self.magic, self.version) = (BACKUP_MAGIC, U32::new(VERSION));
        self.checksum = U32::new(self.expected_checksum());
        self
    }

    fn expected_checksum(&self) -> u32 {
        crc32fast::hash(&self.as_bytes()[12..])
    }

    /// The catalog's root.
    pub fn catalog(&self) -> ChildRef {
        ChildRef {
            page: self.catalog_page.get(),
            birth: self.catalog_birth.get(),
            count: self.catalog_count.get(),
        }
    }

    /// Judges the first bytes of a backup, or of a file that is too short for one.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        if bytes.starts_with(&MAGIC) {
            return Err("is a store, and no backup of one; it can be opened as it is".into());
        }
        if !bytes.starts_with(&BACKUP_MAGIC) {
            let begins = &bytes[..bytes.len().min(8)];
            return Err(format!("is no backup: it begins with {begins:02x?}, a backup with \"maplebak\""));
        }
        let Ok(header) = Header::read_from_bytes(bytes) else {
            return Err(format!("was cut: it has {} bytes, and its header {HEADER_LEN}", bytes.len()));
        };
        let (version, found) = (header.version.get(), header.expected_checksum());
        if version != VERSION {
            return Err(format!("has version {version}, this library reads version {VERSION}"));
        }
        if header.checksum.get() != found {
            let stored = header.checksum.get();
            return Err(format!(
                "is damaged: the checksum of its header is {stored:08x}, its bytes give {found:08x}"
            ));
        }
        if header.format.get() != crate::format::FORMAT_VERSION || header.features.get() != 0 {
            let (format, features) = (header.format.get(), header.features.get());
            return Err(format!(
                "is of a store of format {format} with features {features:#x}, which this library does not read"
            ));
        }
        match header.is_possible() {
            true => Ok(header),
            false => Err(format!("has a header that cannot be right: {header:?}")),
        }
    }

    fn is_possible(&self) -> bool {
        let (base, txn, pages) = (self.base.get(), self.txn.get(), self.page_count.get());
        let root = self.catalog();
        check_page_size(self.page_size.get() as usize).is_ok()
            && (1..LIMIT_48).contains(&txn)
            && base <= txn
            && (meta_pages(self.page_size.get() as usize)..=MAX_PAGES).contains(&pages)
            && root.page < pages
            && root.birth <= txn
            && root.count < LIMIT_48
            && usize::from(self.catalog_level) < MAX_LEVELS
            && self.is_checkpoint <= 1
            && self.checkpoints.get() <= MOST_CHECKPOINTS
    }
}

/// Where a backup is written to.
pub struct Sink<'w> {
    to: &'w mut dyn Write,
    name: String,
    gathered: Vec<u8>,
    sum: crc32fast::Hasher,
    pace: Pace,
    page_size: usize,
    page_count: u64,
    pages: u64,
    bytes: u64,
    progress: &'w mut dyn FnMut(Progress),
}

impl<'w> Sink<'w> {
    /// Begins with the header. `name` is what errors call it; at most so many bytes a second are written, if
    /// there is a limit.
    pub fn new(
        to: &'w mut dyn Write,
        name: String,
        header: &Header,
        checkpoints: &[Checkpoint],
        rate: Option<u64>,
        progress: &'w mut dyn FnMut(Progress),
    ) -> Self {
        assert_eq!(checkpoints.len(), usize::from(header.checkpoints.get()));
        let mut gathered = header.as_bytes().to_vec();
        let words = checkpoints.iter().flat_map(|(txn, seed)| [txn.to_le_bytes(), seed.to_le_bytes()]);
        gathered.extend(words.flatten());
        let mut sum = crc32fast::Hasher::new();
        sum.update(&gathered);
        Sink {
            to,
            name,
            gathered,
            sum,
            pace: Pace { rate, since: Instant::now(), bytes: 0 },
            page_size: header.page_size.get() as usize,
            page_count: header.page_count.get(),
            pages: 0,
            bytes: 0,
            progress,
        }
    }

    /// Adds pages that lie side by side, at most [`MAX_FRAME`] bytes.
    ///
    /// # Errors
    /// `Io`.
    pub fn frame(&mut self, page: u64, bytes: &[u8]) -> Result<()> {
        let count = bytes.len() / self.page_size;
        assert!(count > 0 && count * self.page_size == bytes.len() && bytes.len() <= MAX_FRAME);
        self.head(page, count as u32, bytes);
        self.gathered.extend_from_slice(bytes);
        self.pages += count as u64;
        (self.progress)(Progress { pages: self.pages, page_count: self.page_count });
        if self.gathered.len() >= GATHERED { self.pass_on() } else { Ok(()) }
    }

    fn head(&mut self, page: u64, count: u32, bytes: &[u8]) {
        let start = self.gathered.len();
        self.gathered.extend_from_slice(&page.to_le_bytes());
        self.gathered.extend_from_slice(&count.to_le_bytes());
        self.sum.update(&self.gathered[start..]);
        self.sum.update(bytes);
        self.gathered.extend_from_slice(&self.sum.clone().finalize().to_le_bytes());
    }

    fn pass_on(&mut self) -> Result<()> {
        self.pace.wait(self.gathered.len() as u64);
        let written = self.to.write_all(&self.gathered);
        written.map_err(|error| Error::io(format!("write {}", self.name), error))?;
        self.bytes += self.gathered.len() as u64;
        self.gathered.clear();
        Ok(())
    }

    /// Writes the end. Returns how many pages and bytes there are.
    ///
    /// # Errors
    /// `Io`.
    pub fn end(mut self) -> Result<(u64, u64)> {
        self.head(self.pages, 0, &[]);
        self.pass_on()?;
        self.to.flush().map_err(|error| Error::io(format!("write {}", self.name), error))?;
        Ok((self.pages, self.bytes))
    }
}

/// Keeps to so many bytes a second.
struct Pace {
    rate: Option<u64>,
    since: Instant,
    bytes: u64,
}

impl Pace {
    /// What could not be written in time is not made up for beyond this.
    const MOST_BEHIND: Duration = Duration::from_secs(1);

    /// Waits until these bytes are due.
    fn wait(&mut self, bytes: u64) {
        let Some(rate) = self.rate else { return };
        let due = self.since + Duration::from_secs_f64(self.bytes as f64 / rate as f64);
        let now = Instant::now();
        self.bytes += bytes;
        if now > due + Pace::MOST_BEHIND {
            (self.since, self.bytes) = (now, bytes);
        }
        std::thread::sleep(due.saturating_duration_since(now));
    }
}

/// Where a backup is read from.
pub struct Source<'r> {
    from: Box<dyn Read + 'r>,
    /// What errors call it.
    pub name: String,
    /// Its first bytes.
    pub header: Header,
    sum: crc32fast::Hasher,
    /// Those behind the header; `None` before they were read.
    checkpoints: Option<Vec<Checkpoint>>,
    pages: u64,
    frame: Vec<u8>,
}

impl<'r> Source<'r> {
    /// Reads the header.
    ///
    /// # Errors
    /// `Backup` where it is not whole, `Io`.
    pub fn open(name: String, mut from: Box<dyn Read + 'r>) -> Result<Self> {
        let mut bytes = Vec::with_capacity(HEADER_LEN);
        let read = (&mut from).take(HEADER_LEN as u64).read_to_end(&mut bytes);
        read.map_err(|error| Error::io(format!("read {name}"), error))?;
        let header = Header::parse(&bytes).map_err(|detail| Error::backup(&name, detail))?;
        let mut sum = crc32fast::Hasher::new();
        sum.update(&bytes);
        Ok(Source { from, name, header, sum, checkpoints: None, pages: 0, frame: Vec::new() })
    }

    /// The next pages: the number of the first, and their bytes. `None` when all were read, and nothing is
    /// behind them.
    ///
    /// # Errors
    /// `Backup` where it was cut, changed or continued, `Io`.
    pub fn next(&mut self) -> Result<Option<(u64, &[u8])>> {
        if self.checkpoints.is_none() {
            self.checkpoints = Some(self.read_checkpoints()?);
        }
        let mut head = [0; FRAME_HEAD];
        self.fill(&mut head)?;
        let page = u64::from_le_bytes(*head.first_chunk().expect("eight bytes"));
        let [count, checksum] =
            [8, 12].map(|at| u32::from_le_bytes(*head[at..].first_chunk().expect("four")));
        self.sum.update(&head[..12]);
        if count == 0 {
            self.expect(checksum)?;
            return self.expect_end(page).map(|()| None);
        }
        let (page_size, page_count) = (self.header.page_size.get(), self.header.page_count.get());
        let len = u64::from(count) * u64::from(page_size);
        let first = meta_pages(page_size as usize);
        let is_inside = page >= first && page.checked_add(count.into()).is_some_and(|end| end <= page_count);
        self.pages += u64::from(count);
        if len > MAX_FRAME as u64 || !is_inside || self.pages > page_count {
            let place = format!("{count} pages at page {page} of a store of {page_count} pages");
            return Err(self.error(format!("is damaged: it claims {place}")));
        }
        let mut frame = std::mem::take(&mut self.frame);
        frame.resize(len as usize, 0);
        self.fill(&mut frame)?;
        self.sum.update(&frame);
        self.expect(checksum)?;
        self.frame = frame;
        Ok(Some((page, &self.frame)))
    }

    fn read_checkpoints(&mut self) -> Result<Vec<Checkpoint>> {
        let mut bytes = vec![0; usize::from(self.header.checkpoints.get()) * CHECKPOINT_LEN];
        self.fill(&mut bytes)?;
        self.sum.update(&bytes);
        let words: Vec<u64> = bytes.as_chunks().0.iter().map(|word| u64::from_le_bytes(*word)).collect();
        Ok(words.as_chunks().0.iter().map(|[txn, seed]| (*txn, *seed)).collect())
    }

    /// The checkpoints that the state came through, as far as they are known; all were judged with the first frame, or the
    /// end.
    pub fn checkpoints(&mut self) -> Vec<Checkpoint> {
        self.checkpoints.take().unwrap_or_default()
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<()> {
        self.from.read_exact(buffer).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => {
                let detail = format!("was cut: it ends behind {} pages, before its end mark", self.pages);
                self.error(format!("{detail}; copy it again from where it was made"))
            }
            _ => Error::io(format!("read {}", self.name), error),
        })
    }

    fn expect(&self, checksum: u32) -> Result<()> {
        let found = self.sum.clone().finalize();
        match checksum == found {
            true => Ok(()),
            false => {
                let place = format!("the checksum behind {} pages is {checksum:08x}", self.pages);
                Err(self.error(format!("is damaged: {place}, its bytes give {found:08x}")))
            }
        }
    }

    fn expect_end(&mut self, pages: u64) -> Result<()> {
        if pages != self.pages {
            return Err(self.error(format!("is damaged: it claims {pages} pages and has {}", self.pages)));
        }
        let mut more = [0];
        loop {
            match self.from.read(&mut more) {
                Ok(0) => return Ok(()),
                Ok(_) => return Err(self.error("goes on behind its end mark; it is more than one backup")),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::io(format!("read {}", self.name), error)),
            }
        }
    }

    /// Something is wrong with it.
    pub fn error(&self, detail: impl Into<String>) -> Error {
        Error::backup(&self.name, detail)
    }
}

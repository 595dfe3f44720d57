//! The file format: every structure that is stored, and its limits.
//!
//! Owns: magic numbers, the meta slot, the page header, child and overflow references, the table
//! record. `docs/format.md` shows the same as tables and a picture. Leaves to others: what stands
//! inside a page ([`crate::page`]) and inside a space record ([`crate::space`]).
//!
//! Invariants:
//! 1. All numbers are little-endian; structures have alignment 1 and no padding (checked at
//!    compile time by zerocopy and by the size assertions below).
//! 2. A meta slot needs nothing outside its own 512 bytes to be judged.
//! 3. Page numbers, txn ids and counts fit in 48 bits (asserted where references are written).

use crate::chunks::Chunks;
use crate::error::{Error, Result};
use zerocopy::byteorder::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// First bytes of every meta slot.
pub const MAGIC: [u8; 8] = *b"mapleaf\n";
/// The format that this code writes.
pub const FORMAT_VERSION: u32 = 1;
/// Smallest and default page size.
pub const MIN_PAGE_SIZE: usize = 4096;
/// Largest page size.
pub const MAX_PAGE_SIZE: usize = 65536;
/// Bytes of a meta slot: one disk sector, so that it is written whole or not at all.
pub const META_LEN: usize = 512;
/// Byte offsets of the two meta slots, the same for every page size.
pub const META_OFFSETS: [u64; 2] = [0, 4096];
/// Bytes at the start of the file that hold no page but the meta slots.
pub const META_AREA: usize = 8192;
/// Bytes of a page header.
pub const HEADER_LEN: usize = 32;
/// Exclusive limit of page numbers, txn ids and counts.
pub const LIMIT_48: u64 = 1 << 48;
const LIMIT_40: u64 = 1 << 40;
const LIMIT_24: u64 = 1 << 24;
/// Set in a child reference to a page that is still in the writer's heap. Never in a file.
pub const DIRTY_BIT: u64 = 1 << 39;
/// Exclusive limit of page numbers in a file.
pub const MAX_PAGES: u64 = DIRTY_BIT;
/// Root levels at or above this are corrupt: 2 ^ 32 leaves fit below it at the worst fan-out.
pub const MAX_LEVELS: usize = 32;
/// Longest value.
pub const MAX_VALUE_LEN: u64 = (1 << 47) - 1;
/// Longest table name in bytes.
pub const MAX_NAME_LEN: usize = 512;
/// Most extents that the redo log can have.
pub const LOG_EXTENTS: usize = 16;
/// Most bytes that the redo log can have.
pub const MAX_LOG: u64 = 1 << 30;
/// Id of the catalog, the table of tables.
pub const CATALOG_ID: u32 = 1;
/// Id of the table of stored snapshots; tables have lower ones.
pub const SNAPSHOTS_ID: u32 = SET_BIT - 1;
/// Table id that space records carry.
pub const SPACE_ID: u32 = 0;
/// Set in the table id of pages that hold values of a multimap's keys: a page of a key's values cannot pass for one of
/// the table's own tree.
pub const SET_BIT: u32 = 1 << 31;

/// Number of pages that the meta area takes at this page size.
pub const fn meta_pages(page_size: usize) -> u64 {
    (META_AREA.div_ceil(page_size)) as u64
}

/// What a page holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum PageKind {
    /// Separators and child references.
    Branch = 1,
    /// Keys and values of any length.
    Leaf = 2,
    /// Keys and values of one width each, without slots.
    FixedLeaf = 3,
    /// Part of a space record.
    Space = 4,
    /// Keys of a multimap, each with its set of values.
    SetLeaf = 5,
}

/// The first 32 bytes of every page outside the meta area and overflow runs.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct PageHeader {
    /// crc32 of the rest of the page.
    pub checksum: U32,
    /// A [`PageKind`].
    pub kind: u8,
    /// 0 for leaves, one more than its children's for a branch.
    pub level: u8,
    /// Number of entries.
    pub count: U16,
    /// The page's own number.
    pub page: U64,
    /// The txn that wrote it.
    pub birth: U64,
    /// The table it belongs to.
    pub table: U32,
    /// Bytes of cells at the end of the page; in a fixed leaf the width of its keys.
    pub cell_bytes: U16,
    /// Bytes that all keys of the page begin with; in a fixed leaf the width of its values.
    pub prefix_len: U16,
}

const _: () = assert!(size_of::<PageHeader>() == HEADER_LEN);

/// The header of a page. The slice must have at least 32 bytes.
#[inline]
pub fn header(page: &[u8]) -> &PageHeader {
    PageHeader::ref_from_prefix(page).expect("a page is longer than its header").0
}

/// The header of a page, to be changed.
pub fn header_mut(page: &mut [u8]) -> &mut PageHeader {
    PageHeader::mut_from_prefix(page).expect("a page is longer than its header").0
}

/// The checksum that belongs in the page's header.
pub fn page_checksum(page: &[u8]) -> u32 {
    crc32fast::hash(&page[4..])
}

/// What a branch, a table record or the meta says of a child page.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ChildRef {
    /// Page number; 0 where there is no page.
    pub page: u64,
    /// The child's birth txn: an old but whole page in its place is seen.
    pub birth: u64,
    /// Number of entries below.
    pub count: u64,
}

/// Bytes of a stored [`ShortRef`].
pub const SHORT_REF_LEN: usize = 8;
/// Bytes of what a branch says of a child beside the short reference.
pub const REF_REST_LEN: usize = 9;

/// What a search needs to know of a page that was verified before: its number, and the low 24 bits of its birth above it.
#[derive(Clone, Copy, Debug)]
pub struct ShortRef(u64);

impl ShortRef {
    /// Reads a short reference.
    #[inline]
    pub fn read(bytes: &[u8; SHORT_REF_LEN]) -> Self {
        ShortRef(u64::from_le_bytes(*bytes))
    }

    /// The stored form.
    #[inline]
    pub fn to_bytes(self) -> [u8; SHORT_REF_LEN] {
        self.0.to_le_bytes()
    }

    /// Page number.
    #[inline]
    pub fn page(self) -> u64 {
        self.0 & (LIMIT_40 - 1)
    }

    /// Whether it may refer to a page of this birth.
    #[inline]
    pub fn may_be_born_at(self, birth: u64) -> bool {
        self.0 >> 40 == birth & (LIMIT_24 - 1)
    }
}

impl ChildRef {
    /// Puts both parts of a stored reference together.
    #[inline]
    pub fn read(short: ShortRef, rest: &[u8; REF_REST_LEN]) -> Self {
        let word = u64::from_le_bytes(*rest.first_chunk().expect("eight bytes"));
        let (birth, count) = (word & (LIMIT_24 - 1), word >> 24 | u64::from(rest[8]) << 40);
        ChildRef { page: short.page(), birth: birth << 24 | short.0 >> 40, count }
    }

    /// What a search needs of it.
    #[inline]
    pub fn short(self) -> ShortRef {
        assert!(self.page < LIMIT_40, "page {} does not fit in 40 bits", self.page);
        ShortRef(self.page | self.birth << 40)
    }

    /// What stands apart from the short reference: the high bits of the birth, and the count.
    pub fn rest(self) -> [u8; REF_REST_LEN] {
        assert!(self.birth < LIMIT_48, "birth {} does not fit in 48 bits", self.birth);
        let mut bytes = [0; REF_REST_LEN];
        bytes[..3].copy_from_slice(&(self.birth >> 24).to_le_bytes()[..3]);
        // A count that cannot be right comes from a damaged file; `verify` will say so.
        write48(&mut bytes, 3, self.count.min(LIMIT_48 - 1));
        bytes
    }

    /// Changes the count in the stored rest of a reference.
    #[inline]
    pub fn change_count(rest: &mut [u8], change: impl Fn(u64) -> u64) {
        write48(rest, 3, change(read48(rest, 3)).min(LIMIT_48 - 1));
    }
}

/// What a leaf says of a value that lives in pages of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OverflowRef {
    /// First page of the run.
    pub page: u64,
    /// The txn that wrote it.
    pub birth: u64,
    /// Length of the value in bytes.
    pub len: u64,
    /// crc32 of the value, or of its table of checksums ([`crate::chunks`]).
    pub checksum: u32,
}

/// Bytes of a stored [`OverflowRef`].
pub const OVERFLOW_REF_LEN: usize = 22;

impl OverflowRef {
    /// Reads a reference; the slice must have 22 bytes.
    pub fn read(bytes: &[u8]) -> Self {
        OverflowRef {
            page: read48(bytes, 0),
            birth: read48(bytes, 6),
            len: read48(bytes, 12),
            checksum: u32::from_le_bytes([bytes[18], bytes[19], bytes[20], bytes[21]]),
        }
    }

    /// The stored form.
    pub fn to_bytes(self) -> [u8; OVERFLOW_REF_LEN] {
        let mut bytes = [0; OVERFLOW_REF_LEN];
        write48(&mut bytes, 0, self.page);
        write48(&mut bytes, 6, self.birth);
        write48(&mut bytes, 12, self.len);
        bytes[18..].copy_from_slice(&self.checksum.to_le_bytes());
        bytes
    }

    /// Pages that the run takes: those of the value, and what its table of checksums needs beyond.
    pub fn pages(self, page_size: usize) -> u64 {
        Chunks::of(self.len, page_size).stored_len().div_ceil(page_size as u64)
    }
}

/// What a leaf of a multimap says of a set of values that is a tree of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SetRef {
    /// The root; its count is the number of values.
    pub root: ChildRef,
    /// Its level.
    pub level: u8,
}

/// Bytes of a stored [`SetRef`]. By its length it is told from an [`OverflowRef`].
pub const SET_REF_LEN: usize = SHORT_REF_LEN + REF_REST_LEN + 1;

const _: () = assert!(SET_REF_LEN < OVERFLOW_REF_LEN);

impl SetRef {
    /// Reads a reference; the slice must have 18 bytes.
    pub fn read(bytes: &[u8]) -> Self {
        let (short, rest) = bytes.split_first_chunk().expect("eight bytes");
        let rest_and_level = rest.split_first_chunk().expect("nine more");
        SetRef { root: ChildRef::read(ShortRef::read(short), rest_and_level.0), level: rest_and_level.1[0] }
    }

    /// The stored form.
    pub fn to_bytes(self) -> [u8; SET_REF_LEN] {
        let mut bytes = [0; SET_REF_LEN];
        bytes[..SHORT_REF_LEN].copy_from_slice(&self.root.short().to_bytes());
        bytes[SHORT_REF_LEN..SET_REF_LEN - 1].copy_from_slice(&self.root.rest());
        bytes[SET_REF_LEN - 1] = self.level;
        bytes
    }
}

fn read48(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word[..6].copy_from_slice(&bytes[at..at + 6]);
    u64::from_le_bytes(word)
}

fn write48(bytes: &mut [u8], at: usize, value: u64) {
    assert!(value < LIMIT_48, "{value} does not fit in 48 bits");
    bytes[at..at + 6].copy_from_slice(&value.to_le_bytes()[..6]);
}

/// One of the two places where a checkpoint is recorded.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Meta {
    /// [`MAGIC`].
    pub magic: [u8; 8],
    /// crc32 of the bytes behind this field, to the end of the slot.
    pub checksum: U32,
    /// [`FORMAT_VERSION`].
    pub version: U32,
    /// Bytes of a page.
    pub page_size: U32,
    /// The id that the next new table gets.
    pub next_table: U32,
    /// Features that a reader must know; unknown bits are refused.
    pub features: U64,
    /// Features that only a writer must know; with unknown bits the store opens read-only.
    pub write_features: U64,
    /// Random, given at creation.
    pub store_id: [u8; 16],
    /// The txn whose state this is.
    pub txn: U64,
    /// Pages of the file, the meta area included.
    pub page_count: U64,
    /// Root page of the catalog, 0 when there is no table.
    pub catalog_page: U64,
    /// Birth of that page.
    pub catalog_birth: U64,
    /// Number of tables.
    pub catalog_count: U64,
    /// First page of the newest space record, 0 when every page outside the meta area is free.
    pub space_page: U64,
    /// Birth of that record.
    pub space_birth: U64,
    /// Pages of that record.
    pub space_pages: U32,
    /// Level of the catalog's root.
    pub catalog_level: u8,
    /// Level of the root of the table of stored snapshots.
    pub snapshots_level: u8,
    /// Zero.
    pub reserved_a: [u8; 2],
    /// A number of the application's own.
    pub user_version: U64,
    /// Random, for every checkpoint anew: it is known by it, and the redo log's checksum chain starts with it. 0 in a new
    /// store.
    pub log_seed: U64,
    /// The redo log: the extents that are in use come first, in the order in which they are filled.
    pub log: [Extent; LOG_EXTENTS],
    /// Root page of the table of stored snapshots, 0 when there is none.
    pub snapshots_page: U64,
    /// Birth of that page.
    pub snapshots_birth: U64,
    /// Number of stored snapshots.
    pub snapshots_count: U64,
    /// Zero.
    pub reserved_b: [u8; 96],
}

/// Contiguous pages of the redo log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Extent {
    /// First page; 0 where there is no extent.
    pub page: U64,
    /// Number of pages.
    pub pages: U64,
}

const _: () = assert!(size_of::<Meta>() == META_LEN);

impl Meta {
    /// An empty store.
    pub fn new(page_size: usize, page_count: u64, store_id: [u8; 16]) -> Self {
        let mut meta = Meta::new_zeroed_slot();
        meta.magic = MAGIC;
        meta.version = U32::new(FORMAT_VERSION);
        meta.page_size = U32::new(page_size as u32);
        meta.next_table = U32::new(CATALOG_ID + 1);
        meta.store_id = store_id;
        meta.txn = U64::new(1);
        meta.page_count = U64::new(page_count);
        meta.seal()
    }

    fn new_zeroed_slot() -> Self {
        Meta::read_from_bytes(&[0; META_LEN]).expect("512 bytes are a slot")
    }

    /// The slot with its checksum set.
    #[must_use]
    pub fn seal(mut self) -> Self {
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

    /// The root of the table of stored snapshots.
    pub fn snapshots(&self) -> ChildRef {
        ChildRef {
            page: self.snapshots_page.get(),
            birth: self.snapshots_birth.get(),
            count: self.snapshots_count.get(),
        }
    }

    /// Judges a slot's 512 bytes by themselves.
    ///
    /// # Errors
    /// A sentence that says what is wrong; `Err(None)` for a slot of zeros.
    pub fn parse(bytes: &[u8]) -> Result<Meta, Option<String>> {
        if bytes.iter().all(|byte| *byte == 0) {
            return Err(None);
        }
        let Ok(meta) = Meta::read_from_bytes(bytes) else {
            return Err(Some(format!("a meta slot has {META_LEN} bytes, found {}", bytes.len())));
        };
        meta.check().map_err(Some)?;
        Ok(meta)
    }

    fn check(&self) -> Result<(), String> {
        if self.magic != MAGIC {
            return Err(format!(
                "begins with \"{}\", a meta with \"{}\"",
                self.magic.escape_ascii(),
                MAGIC.escape_ascii()
            ));
        }
        if self.version.get() != FORMAT_VERSION {
            return Err(format!(
                "format version {}, this library reads version {FORMAT_VERSION}",
                self.version
            ));
        }
        if self.checksum.get() != self.expected_checksum() {
            return Err(format!(
                "meta checksum is {:08x}, its bytes give {:08x}",
                self.checksum.get(),
                self.expected_checksum()
            ));
        }
        let page_size = self.page_size.get() as usize;
        if !page_size.is_power_of_two() || !(MIN_PAGE_SIZE..=MAX_PAGE_SIZE).contains(&page_size) {
            return Err(format!("page size {page_size}, expected a power of two from 4096 to 65536"));
        }
        if self.features.get() != 0 {
            return Err(format!("needs features {:#x} that this library does not know", self.features));
        }
        if self.reserved_a != [0; 2] || self.reserved_b != [0; 96] {
            return Err("reserved bytes of the meta slot are not zero".into());
        }
        let pages = self.page_count.get();
        if pages < meta_pages(page_size) || pages > MAX_PAGES {
            return Err(format!("claims {pages} pages"));
        }
        let txn = self.txn.get();
        if txn == 0 || txn >= LIMIT_48 {
            return Err(format!("claims txn {txn}"));
        }
        let numbers =
            [&self.catalog_birth, &self.catalog_count, &self.space_birth].map(|number| number.get());
        if self.catalog_page.get() >= pages
            || self.space_page.get() >= pages
            || numbers.iter().any(|n| *n >= LIMIT_48)
        {
            return Err(format!(
                "claims catalog page {} and space record {}",
                self.catalog_page, self.space_page
            ));
        }
        if usize::from(self.catalog_level) >= MAX_LEVELS {
            return Err(format!("claims a catalog of {} levels", self.catalog_level));
        }
        self.check_snapshots()?;
        self.check_log()
    }

    fn check_snapshots(&self) -> Result<(), String> {
        let ChildRef { page, birth, count } = self.snapshots();
        let is_possible = page < self.page_count.get()
            && birth < LIMIT_48
            && count < LIMIT_48
            && usize::from(self.snapshots_level) < MAX_LEVELS
            && (page != 0 || (birth, count, self.snapshots_level) == (0, 0, 0));
        match is_possible {
            true => Ok(()),
            false => Err(format!("claims {count} snapshots at page {page}, birth {birth}")),
        }
    }

    /// Extents lie inside the file, apart from each other, and the unused ones are zero.
    fn check_log(&self) -> Result<(), String> {
        let low = meta_pages(self.page_size.get() as usize);
        let extents = self.log_extents();
        for (i, (page, pages)) in extents.iter().enumerate() {
            let inside = |end: u64| *page >= low && end <= self.page_count.get();
            let apart = |(start, len): &(u64, u64)| start + len <= *page || page + pages <= *start;
            if !page.checked_add(*pages).is_some_and(inside) || !extents[..i].iter().all(apart) {
                return Err(format!("claims {pages} pages of log at page {page}"));
            }
        }
        let pages = extents.iter().fold(0u64, |sum, (_, pages)| sum.saturating_add(*pages));
        if pages.saturating_mul(self.page_size.get().into()) > MAX_LOG {
            return Err(format!("claims {pages} pages of log, which may have {MAX_LOG} bytes"));
        }
        match self.log[extents.len()..].iter().all(|unused| unused.as_bytes() == [0; 16]) {
            true => Ok(()),
            false => Err("claims a log with a gap".into()),
        }
    }

    /// The extents of the redo log: first page and number of pages.
    pub fn log_extents(&self) -> Vec<(u64, u64)> {
        let used = self.log.iter().take_while(|extent| extent.pages.get() != 0);
        used.map(|extent| (extent.page.get(), extent.pages.get())).collect()
    }
}

/// What the table of stored snapshots says of one; key: the name, value: this.
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct SnapshotRecord {
    /// The txn whose state it is.
    pub txn: U64,
    /// When it was made, in seconds since 1970.
    pub created: U64,
    /// Pages of the file at that time.
    pub page_count: U64,
    /// Root page of the catalog, 0 when there was no table.
    pub catalog_page: U64,
    /// Birth of that page.
    pub catalog_birth: U64,
    /// Number of tables.
    pub catalog_count: U64,
    /// The application's number.
    pub user_version: U64,
    /// The id that the next new table would have got.
    pub next_table: U32,
    /// Level of the catalog's root.
    pub catalog_level: u8,
    /// Zero.
    pub reserved: [u8; 3],
}

/// Bytes of a [`SnapshotRecord`].
pub const SNAPSHOT_RECORD_LEN: usize = 64;
const _: () = assert!(size_of::<SnapshotRecord>() == SNAPSHOT_RECORD_LEN);

impl SnapshotRecord {
    /// Reads a record in a store whose state is of `newest` and has so many pages.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn parse(bytes: &[u8], newest: u64, page_count: u64) -> Result<Self, String> {
        let Ok(record) = SnapshotRecord::read_from_bytes(bytes) else {
            return Err(format!(
                "a snapshot's record has {} bytes, expected {SNAPSHOT_RECORD_LEN}",
                bytes.len()
            ));
        };
        let (txn, pages, root) = (record.txn.get(), record.page_count.get(), record.catalog());
        let is_possible = (1..=newest).contains(&txn)
            && pages <= page_count
            && (root.page == 0 || root.page < pages)
            && root.birth <= txn
            && root.count < LIMIT_48
            && usize::from(record.catalog_level) < MAX_LEVELS
            && record.reserved == [0; 3];
        match is_possible {
            true => Ok(record),
            false => Err(format!("a snapshot's record cannot be right: {record:?}")),
        }
    }

    /// The catalog's root.
    pub fn catalog(&self) -> ChildRef {
        ChildRef {
            page: self.catalog_page.get(),
            birth: self.catalog_birth.get(),
            count: self.catalog_count.get(),
        }
    }
}

/// How a table's bytes are laid out and what its types are called: its stored schema.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Schema {
    /// Name of the key codec, for example `u64` or `(str,u64)`; `bytes` says nothing.
    pub key_type: String,
    /// Name of the value codec.
    pub value_type: String,
    /// Exact length of every key, where it is fixed.
    pub key_width: Option<usize>,
    /// Exact length of every value, where it is fixed.
    pub value_width: Option<usize>,
    /// Alignment of values in memory: 1, 2, 4, 8 or 16.
    pub value_align: usize,
    /// Whether a key has a set of values: a [`MultiTable`](crate::MultiTable).
    pub multi: bool,
}

impl Schema {
    /// Any bytes to any bytes: what a table without types has.
    pub fn bytes() -> Self {
        Schema {
            key_type: "bytes".into(),
            value_type: "bytes".into(),
            key_width: None,
            value_width: None,
            value_align: 1,
            multi: false,
        }
    }

    /// How leaves of such a table are laid out in pages of this size.
    pub fn layout(&self, page_size: usize) -> Layout {
        layout(page_size, self.key_width, self.value_width, self.value_align, self.multi)
    }
}

impl Schema {
    /// The error for a table that is stored with this schema and was opened with another one.
    pub(crate) fn mismatch(&self, table: &str, requested: &Schema) -> crate::error::Error {
        let (mut stored, mut opened) = (self.to_string(), requested.to_string());
        if stored == opened {
            // Then it is what the names do not say: a type of one's own has changed, and its name has not.
            (stored, opened) = (self.with_widths(), requested.with_widths());
        }
        crate::error::Error::SchemaMismatch { table: table.to_owned(), stored, requested: opened }
    }

    fn with_widths(&self) -> String {
        let width = |width: Option<usize>| width.map_or("any".into(), |width| width.to_string());
        format!("{self} (keys of {} bytes, values of {})", width(self.key_width), width(self.value_width))
    }
}

impl std::fmt::Display for Schema {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let many = if self.multi { "many " } else { "" };
        write!(f, "{} -> {many}{}", self.key_type, self.value_type)?;
        if self.value_align > 1 {
            write!(f, " aligned to {}", self.value_align)?;
        }
        Ok(())
    }
}

/// Leaves take the fixed form when both widths are known and at least eight entries fit in a page.
fn fixed_form(page_size: usize, key: Option<usize>, value: Option<usize>) -> Option<(usize, usize)> {
    let (key, value) = (key?, value?);
    let fits = key >= 1 && key + value <= (page_size - HEADER_LEN) / 8;
    fits.then_some((key, value))
}

fn layout(page_size: usize, key: Option<usize>, value: Option<usize>, align: usize, multi: bool) -> Layout {
    if !multi {
        return Layout { page_size, fixed: fixed_form(page_size, key, value), align, set: None };
    }
    let width = value.filter(|width| *width <= usize::from(u16::MAX)).unwrap_or(0);
    Layout { page_size, fixed: None, align: 1, set: Some(width) }
}

/// How a table's leaves are laid out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Layout {
    /// Bytes of a page.
    pub page_size: usize,
    /// Key and value width of fixed leaves; `None` for leaves with slots.
    pub fixed: Option<(usize, usize)>,
    /// Alignment of values.
    pub align: usize,
    /// Of a multimap, whose leaves hold sets: the width of every value, 0 where it varies.
    pub set: Option<usize>,
}

impl Layout {
    /// How the trees of a multimap's sets are laid out: the values are their keys.
    pub fn of_sets(&self) -> Layout {
        let width = self.set.filter(|width| *width > 0);
        layout(self.page_size, width, width.map(|_| 0), 1, false)
    }
}

/// A table's entry in the catalog; key: the name, value: this.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TableRecord {
    /// Id that the table's pages carry.
    pub id: u32,
    /// Level of the root page.
    pub level: u8,
    /// The root page; its count is the number of entries.
    pub root: ChildRef,
    /// Pages in overflow runs; of a multimap the sets that are trees of their own.
    pub overflow_pages: u64,
    /// The stored schema.
    pub schema: Schema,
}

/// The fixed part of a table record.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RecordHead {
    version: u8,
    level: u8,
    align: u8,
    flags: u8,
    id: U32,
    root_page: U64,
    root_birth: U64,
    root_count: U64,
    overflow_pages: U64,
    key_width: U32,
    value_width: U32,
    reserved: U64,
    key_type_len: U16,
    value_type_len: U16,
}

const NO_WIDTH: u32 = u32::MAX;
/// Flag of a multimap.
const MULTI: u8 = 1;

impl TableRecord {
    /// The stored form.
    pub fn to_bytes(&self) -> Vec<u8> {
        let width = |width: Option<usize>| U32::new(width.map_or(NO_WIDTH, |w| w as u32));
        let head = RecordHead {
            version: 1,
            level: self.level,
            align: self.schema.value_align as u8,
            flags: if self.schema.multi { MULTI } else { 0 },
            id: U32::new(self.id),
            root_page: U64::new(self.root.page),
            root_birth: U64::new(self.root.birth),
            root_count: U64::new(self.root.count),
            overflow_pages: U64::new(self.overflow_pages),
            key_width: width(self.schema.key_width),
            value_width: width(self.schema.value_width),
            reserved: U64::new(0),
            key_type_len: U16::new(self.schema.key_type.len() as u16),
            value_type_len: U16::new(self.schema.value_type.len() as u16),
        };
        let mut bytes = head.as_bytes().to_vec();
        bytes.extend_from_slice(self.schema.key_type.as_bytes());
        bytes.extend_from_slice(self.schema.value_type.as_bytes());
        bytes
    }
}

/// A table record in place, for looking a table up without copying anything.
#[derive(Clone, Copy)]
pub struct RecordView<'a> {
    head: &'a RecordHead,
    /// Name of the key codec.
    pub key_type: &'a str,
    /// Name of the value codec.
    pub value_type: &'a str,
}

impl<'a> RecordView<'a> {
    /// The record in these bytes.
    ///
    /// # Errors
    /// A sentence that says what is wrong with it.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, String> {
        let (head, names) = RecordHead::ref_from_prefix(bytes)
            .map_err(|_| format!("table record of {} bytes is too short", bytes.len()))?;
        if head.version != 1 || head.flags & !MULTI != 0 || head.reserved.get() != 0 {
            return Err(format!("table record of version {} flags {}", head.version, head.flags));
        }
        let can_align = if head.flags & MULTI == 0 { 16 } else { 1 };
        if head.id.get() >= SNAPSHOTS_ID {
            return Err(format!("table record with id {}", head.id));
        }
        if !matches!(head.align, 1 | 2 | 4 | 8 | 16)
            || head.align > can_align
            || usize::from(head.level) >= MAX_LEVELS
        {
            return Err(format!("table record with alignment {} level {}", head.align, head.level));
        }
        let split = usize::from(head.key_type_len.get());
        let numbers =
            [head.root_page.get(), head.root_birth.get(), head.root_count.get(), head.overflow_pages.get()];
        if head.root_page.get() >= MAX_PAGES || numbers.iter().any(|number| *number >= LIMIT_48) {
            return Err(format!("table record with root, birth, entries, overflow pages {numbers:?}"));
        }
        if names.len() != split + usize::from(head.value_type_len.get()) {
            return Err(format!("table record with {} bytes of type names", names.len()));
        }
        let text = |bytes| std::str::from_utf8(bytes).map_err(|_| "a type name is not UTF-8".to_string());
        Ok(RecordView { head, key_type: text(&names[..split])?, value_type: text(&names[split..])? })
    }

    /// The stored schema.
    pub fn schema(&self) -> Schema {
        Schema {
            key_type: self.key_type.to_owned(),
            value_type: self.value_type.to_owned(),
            key_width: self.key_width(),
            value_width: self.value_width(),
            value_align: self.value_align(),
            multi: self.is_multi(),
        }
    }

    /// Whether it is a multimap.
    pub fn is_multi(&self) -> bool {
        self.head.flags & MULTI != 0
    }

    /// Id that the table's pages carry.
    pub fn id(&self) -> u32 {
        self.head.id.get()
    }

    /// Level of the root page.
    pub fn level(&self) -> u8 {
        self.head.level
    }

    /// The root page; its count is the number of entries.
    pub fn root(&self) -> ChildRef {
        let head = self.head;
        ChildRef { page: head.root_page.get(), birth: head.root_birth.get(), count: head.root_count.get() }
    }

    /// Pages in overflow runs; of a multimap the sets that are trees of their own.
    pub fn overflow_pages(&self) -> u64 {
        self.head.overflow_pages.get()
    }

    /// Exact length of every key, where it is fixed.
    pub fn key_width(&self) -> Option<usize> {
        Some(self.head.key_width.get()).filter(|width| *width != NO_WIDTH).map(|width| width as usize)
    }

    /// Exact length of every value, where it is fixed.
    pub fn value_width(&self) -> Option<usize> {
        Some(self.head.value_width.get()).filter(|width| *width != NO_WIDTH).map(|width| width as usize)
    }

    /// Alignment of values.
    pub fn value_align(&self) -> usize {
        usize::from(self.head.align)
    }

    /// How leaves of such a table are laid out in pages of this size.
    pub fn layout(&self, page_size: usize) -> Layout {
        layout(page_size, self.key_width(), self.value_width(), self.value_align(), self.is_multi())
    }
}

/// The page size that a caller asked for.
///
/// # Errors
/// `InvalidArgument` unless it is a power of two from 4096 to 65536.
pub fn check_page_size(page_size: usize) -> Result<()> {
    if page_size.is_power_of_two() && (MIN_PAGE_SIZE..=MAX_PAGE_SIZE).contains(&page_size) {
        return Ok(());
    }
    Err(Error::invalid(format!("page size {page_size}: expected a power of two from 4096 to 65536")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_meta_slot_survives_its_bytes_and_no_flip() {
        let meta = Meta::new(4096, 16, [7; 16]);
        let bytes = meta.as_bytes().to_vec();
        assert_eq!(Meta::parse(&bytes).unwrap().page_count.get(), 16);
        for bit in 0..META_LEN * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Meta::parse(&flipped).is_err(), "bit {bit} was not noticed");
        }
    }

    #[test]
    fn a_child_reference_survives_its_two_parts() {
        for page in [0, 3, DIRTY_BIT - 1, DIRTY_BIT, DIRTY_BIT | 7] {
            for birth in [0, 1, LIMIT_24 - 1, LIMIT_24, 5 << 24 | 9, LIMIT_48 - 1] {
                for count in [0, 1, LIMIT_40, LIMIT_48 - 1] {
                    let child = ChildRef { page, birth, count };
                    let (short, mut rest) = (ShortRef::read(&child.short().to_bytes()), child.rest());
                    assert_eq!((ChildRef::read(short, &rest), short.page()), (child, page));
                    assert!(short.may_be_born_at(birth) && !short.may_be_born_at(birth ^ 1));
                    ChildRef::change_count(&mut rest, |count| count / 2);
                    assert_eq!(ChildRef::read(short, &rest), ChildRef { count: count / 2, ..child });
                }
            }
        }
    }

    #[test]
    fn a_reference_to_a_set_survives_its_bytes() {
        let root = ChildRef { page: DIRTY_BIT | 7, birth: 5 << 24 | 9, count: LIMIT_48 - 1 };
        let set = SetRef { root, level: 31 };
        assert_eq!(SetRef::read(&set.to_bytes()), set);
    }

    #[test]
    fn a_table_record_survives_its_bytes() {
        let record = TableRecord {
            id: 9,
            level: 2,
            root: ChildRef { page: 77, birth: 5, count: 1000 },
            overflow_pages: 3,
            schema: Schema { key_width: Some(8), value_align: 16, ..Schema::bytes() },
        };
        let many = Schema { value_width: Some(3), multi: true, ..Schema::bytes() };
        let many = TableRecord { schema: many, ..record.clone() };
        assert_eq!(RecordView::parse(&many.to_bytes()).unwrap().schema(), many.schema);
        let bytes = record.to_bytes();
        let view = RecordView::parse(&bytes).unwrap();
        assert_eq!((view.id(), view.level(), view.root()), (9, 2, record.root));
        assert_eq!((view.overflow_pages(), view.schema()), (3, record.schema));
        for len in 0..bytes.len() {
            assert!(RecordView::parse(&bytes[..len]).is_err());
        }
    }
}

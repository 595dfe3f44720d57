//! Pages by number: reading the file, with every page judged the first time it is touched.
//!
//! Owns: [`PageSource`], the one trait that search, cursors, counts and the checker read through, and
//! [`Pages`], its reading of the mapping. Promises: what `page` returns carries the number and birth
//! it was asked for and, unless verification is off, the right checksum. Leaves to others: what the
//! bytes behind the header mean ([`crate::page`]).

use crate::chunks::{Chunks, sum_in};
use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::format::{HEADER_LEN, LIMIT_48, OverflowRef, ShortRef, header, meta_pages, page_checksum};
use crate::map::{SharedWords, Words, prefetch, prefetch_all};
use std::ops::Range;
use std::sync::OnceLock;
use std::sync::atomic::Ordering;

/// When checksums are compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Verify {
    /// The first time this process touches a page as written by a given txn.
    #[default]
    Once,
    /// At every touch.
    Always,
    /// Never. Damage may then give wrong values; it still cannot harm the process.
    Never,
}

/// How a scan reads ahead, and what becomes of what it has read: of one scan
/// ([`TableView::advised`](crate::TableView::advised), [`MultiView::advised`](crate::MultiView::advised)), or of all
/// scans of a handle ([`Options::advice`](crate::Options::advice)). It concerns time and memory, never what a scan
/// gives; gets read one page a level whatever the advice. To have a whole store in memory, in huge pages, there is
/// [`Database::preload`](crate::Database::preload).
///
/// The page cache is one for all processes. What a scan brings in takes room from what others use, and what it lets
/// go is let go for all; so [`Advice::Cold`] lets go of no page that this process had touched before, nor of one that
/// another process has mapped.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum Advice {
    /// Reads ahead along the tree as soon as a scan goes to a second leaf that is not in memory: first 8 leaves, then
    /// ever more, about as many as it has walked through, at most 8,192 (32 MiB of 4-KiB pages).
    #[default]
    Normal,
    /// The scan will go on for long: reads 4,096 leaves ahead from the start, and where leaves lie in no order but
    /// near each other what is between them too.
    Sequential,
    /// Reads nothing ahead: for scans that end after a few entries, or jump.
    Random,
    /// What the scan brings into memory is let go behind it: leaves, and large values in them. For passes over a
    /// store that is larger than memory, beside which others work with what is in it. Reads 128 leaves ahead at most.
    /// Costs two system calls for each run of neighbouring pages; a scan that is not taken to its end leaves the last
    /// 256 leaves. What is still borrowed stays readable: it comes back from the disk.
    Cold,
}

/// Where pages come from: a snapshot, or a write txn with pages of its own.
pub trait PageSource {
    /// The page, as written by txn `birth`.
    ///
    /// # Errors
    /// `Corrupt` when that is not what is there.
    fn page(&self, page: u64, birth: u64) -> Result<&[u8]>;

    /// The page that a reference leads to whose birth is known in part, where it was verified before. Where it was not,
    /// or is not what it was, `page` says why.
    #[inline]
    fn known(&self, short: ShortRef) -> Option<&[u8]> {
        let _ = short;
        None
    }

    /// Says that the leaf will be searched soon. Only a hint.
    #[inline]
    fn prefetch(&self, page: u64) {
        let _ = page;
    }

    /// A value in pages of its own.
    ///
    /// # Errors
    /// `Corrupt` when it lies outside the file or its checksum is wrong.
    fn overflow(&self, run: &OverflowRef) -> Result<&[u8]>;

    /// These bytes of such a value, which lie inside of it. What is judged is the chunks that they lie in.
    ///
    /// # Errors
    /// `Corrupt` when it lies outside the file or one of these chunks is damaged.
    fn overflow_part(&self, run: &OverflowRef, part: Range<u64>) -> Result<&[u8]> {
        Ok(&self.overflow(run)?[part.start as usize..part.end as usize])
    }

    /// Says that all of the page will be read soon. False where it may not be in memory: it was not touched before.
    fn prefetch_all(&self, page: u64, birth: u64) -> bool {
        let _ = (page, birth);
        true
    }

    /// Whether the page, as written by `birth`, was touched before, so that it is likely to be in memory.
    fn is_touched(&self, page: u64, birth: u64) -> bool {
        let _ = (page, birth);
        true
    }

    /// The same of a value in pages of its own.
    fn is_value_touched(&self, run: &OverflowRef) -> bool {
        let _ = run;
        true
    }

    /// Asks the system to read these pages, and to go on meanwhile. They may be any numbers; their order changes. About
    /// `expected` pages will be asked for from now on, these among them, or so few that it does not matter.
    fn read_ahead(&self, pages: &mut [u64], expected: u64) {
        let _ = (pages, expected);
    }

    /// Says that these runs of pages (the first, how many) will not be read again soon. Their order changes.
    fn let_go(&self, runs: &mut [(u64, u64)]) {
        let _ = runs;
    }

    /// What scans are advised that are not advised otherwise.
    fn advice(&self) -> Advice {
        Advice::Normal
    }
}

/// Added to the birth where all chunks of a value were verified; births are below.
const WHOLE_VALUE: u64 = LIMIT_48;

/// So many pages between two that are to be read are read with them, where they are likely to be needed. (A request
/// costs as much as three pages of it.)
const NEAR: u64 = 16;

/// Cache lines in front of a page that a search touches: header and heads of a branch.
pub const BRANCH_LINES: usize = 8;
/// Header, heads and slots of a leaf.
pub const LEAF_LINES: usize = 4;

/// The pages of an open file.
pub struct Pages {
    /// The file.
    pub disk: Disk,
    /// Bytes of a page.
    pub page_size: usize,
    /// What scans are advised that are not advised otherwise.
    pub advice: Advice,
    /// The first page that is not part of the meta area.
    first_page: u64,
    verify: Verify,
    /// Whether pages are read in before they are touched.
    guarded: bool,
    verified: Verified,
    /// Pages whose whole content was judged: fit to be edited.
    judged: Verified,
}

impl Pages {
    /// Pages of this size in this file.
    pub fn new(disk: Disk, page_size: usize, verify: Verify, guarded: bool) -> Self {
        let first_page = meta_pages(page_size);
        let (verified, judged) = (Verified::new(), Verified::new());
        Pages { disk, page_size, advice: Advice::Normal, first_page, verify, guarded, verified, judged }
    }

    /// The same, with this advice for scans.
    #[must_use]
    pub fn advised(self, advice: Advice) -> Self {
        Pages { advice, ..self }
    }

    /// Page `page` of a file of `page_count` pages, as written by `birth`.
    ///
    /// # Errors
    /// `Corrupt` when that is not what is there.
    #[inline(always)]
    pub fn read(&self, page: u64, birth: u64, page_count: u64) -> Result<&[u8]> {
        match self.read_verified(page, birth, page_count) {
            Some(bytes) => Ok(bytes),
            None => self.judge(page, birth, page_count),
        }
    }

    #[inline(always)]
    fn read_verified(&self, page: u64, birth: u64, page_count: u64) -> Option<&[u8]> {
        if self.guarded || page < self.first_page || page >= page_count {
            return None;
        }
        let bytes = self.disk.bytes(page * self.page_size as u64, self.page_size)?;
        prefetch::<BRANCH_LINES>(bytes);
        // The identity also where it was verified: after a failed flush some systems put an older version back into
        // the cache.
        (self.verified.is(page, birth) && is_identity(bytes, page, birth)).then_some(bytes)
    }

    /// The page of a file of `page_count` pages that the reference leads to, where it was verified before.
    #[inline(always)]
    pub fn known(&self, short: ShortRef, page_count: u64) -> Option<&[u8]> {
        let page = short.page();
        if self.guarded || page < self.first_page || page >= page_count {
            return None;
        }
        let bytes = self.disk.bytes(page * self.page_size as u64, self.page_size)?;
        let head = header(bytes);
        let birth = head.birth.get();
        let is_known =
            short.may_be_born_at(birth) && head.page.get() == page && self.verified.is(page, birth);
        is_known.then_some(bytes)
    }

    #[cold]
    fn judge(&self, page: u64, birth: u64, page_count: u64) -> Result<&[u8]> {
        let bytes = self.raw(page, 1, page_count)?;
        let is_verified = self.verify == Verify::Once && self.verified.is(page, birth);
        if !is_verified && self.verify != Verify::Never {
            check_page(bytes, page)?;
        }
        check_identity(bytes, page, birth)?;
        if self.verify != Verify::Always {
            self.verified.set(page, birth);
        }
        Ok(bytes)
    }

    /// Begins to bring what a search touches of the leaf nearer to the processor. Only a hint.
    #[inline]
    pub fn prefetch(&self, page: u64, page_count: u64) {
        if page < page_count
            && let Some(bytes) = self.disk.bytes(page * self.page_size as u64, self.page_size)
        {
            prefetch::<LEAF_LINES>(bytes);
        }
    }

    /// Begins to bring all of the page, as written by `birth`, nearer to the processor, where it was touched before;
    /// false where it was not.
    pub fn prefetch_all(&self, page: u64, birth: u64, page_count: u64) -> bool {
        if page >= page_count {
            return true;
        }
        let is_touched = self.verified.is(page, birth);
        if is_touched && let Some(bytes) = self.disk.bytes(page * self.page_size as u64, self.page_size) {
            prefetch_all(bytes);
        }
        is_touched
    }

    /// Whether the page, as written by `birth`, was verified before.
    pub fn is_touched(&self, page: u64, birth: u64) -> bool {
        self.verified.is(page, birth)
    }

    /// Asks the system to read these pages, those of the file that lie side by side in one call, and to go on
    /// meanwhile. A request costs as much as reading some pages more: where half of the file and more is expected to
    /// be read, pages that lie near each other are asked for with what is between them.
    pub fn read_ahead(&self, pages: &mut [u64], page_count: u64, expected: u64) {
        pages.sort_unstable();
        let gap = if expected > page_count / 2 { NEAR } else { 0 };
        let inside = &pages[..pages.partition_point(|page| *page < page_count)];
        for run in inside.chunk_by(|page, next| next - page <= gap + 1) {
            let (first, last) = (run[0], run[run.len() - 1]);
            self.disk.will_need(first * self.page_size as u64, (last + 1 - first) * self.page_size as u64);
        }
    }

    /// Whether the value was read before.
    pub fn is_value_touched(&self, run: &OverflowRef) -> bool {
        self.verified.is(run.page, run.birth) || self.verified.is(run.page, run.birth | WHOLE_VALUE)
    }

    /// Lets go of these runs of pages (the first, how many), which will be read and verified again when they are
    /// touched.
    pub fn let_go(&self, runs: &mut [(u64, u64)], page_count: u64) {
        runs.sort_unstable();
        let end = |(page, pages): &(u64, u64)| page.saturating_add(*pages);
        let page_size = self.page_size as u64;
        for runs in runs.chunk_by(|run, next| end(run) == next.0) {
            let (first, end) = (runs[0].0, end(&runs[runs.len() - 1]));
            if first < self.first_page || end > page_count {
                continue;
            }
            (first..end).for_each(|page| self.verified.clear(page));
            self.disk.let_go(first * page_size, (end - first) * page_size);
        }
    }

    /// Forgets which pages were verified. A failed flush may have put back what was in them before.
    pub fn distrust(&self) {
        self.verified.forget();
        self.judged.forget();
    }

    /// Whether all that stands in the page, as written by `birth`, was judged before.
    pub fn is_judged(&self, page: u64, birth: u64) -> bool {
        self.verify == Verify::Once && self.judged.is(page, birth)
    }

    /// Says that all that stands in the page was judged.
    pub fn set_judged(&self, page: u64, birth: u64) {
        self.judged.set(page, birth);
    }

    /// Says that this process has written the page itself.
    pub fn set_own(&self, page: u64, birth: u64) {
        if self.verify != Verify::Always {
            self.verified.set(page, birth);
        }
        self.judged.set(page, birth);
    }

    /// The value that `run` refers to.
    ///
    /// # Errors
    /// `Corrupt` when it lies outside the file or its checksum is wrong.
    pub fn read_overflow(&self, run: &OverflowRef, page_count: u64) -> Result<&[u8]> {
        self.read_part(run, 0..run.len, page_count)
    }

    /// These bytes, which it has, of the value that `run` refers to. Touches the chunks that they lie in, and where
    /// one of these was not touched before, the table of checksums.
    ///
    /// # Errors
    /// `Corrupt` when the value lies outside the file or one of the chunks is damaged.
    pub fn read_part(&self, run: &OverflowRef, part: Range<u64>, page_count: u64) -> Result<&[u8]> {
        let chunks = Chunks::of(run.len, self.page_size);
        let stored = self.inside(run.page, run.pages(self.page_size), page_count)?;
        let touched = chunks.around(&part);
        if !touched.is_empty() {
            let bytes = chunks.bytes_of(touched.start).start..chunks.bytes_of(touched.end - 1).end;
            self.read_in(run, &bytes)?;
        }
        if self.verify != Verify::Never {
            self.judge_chunks(run, &chunks, stored, touched)?;
        }
        Ok(&stored[part.start as usize..part.end as usize])
    }

    fn judge_chunks(
        &self,
        run: &OverflowRef,
        chunks: &Chunks,
        stored: &[u8],
        touched: Range<u64>,
    ) -> Result<()> {
        // What was judged is remembered by the first page of a chunk; all of them by that of the run.
        let is_verified = |page: u64, birth| self.verify == Verify::Once && self.verified.is(page, birth);
        if is_verified(run.page, run.birth | WHOLE_VALUE) {
            return Ok(());
        }
        let page_of = |i: u64| run.page + chunks.bytes_of(i).start / self.page_size as u64;
        let is_known = |i: u64| is_verified(page_of(i), run.birth);
        if !touched.clone().all(is_known) {
            // It is no longer than a chunk; whether it was judged before is not remembered.
            let table = self.table(run, chunks, stored)?;
            for i in touched.clone().filter(|i| !is_known(*i)) {
                let bytes = chunks.bytes_of(i);
                let found = crc32fast::hash(&stored[bytes.start as usize..bytes.end as usize]);
                check_chunk(run, chunks, table, i, found, self.page_size)?;
                self.verified.set(page_of(i), run.birth);
            }
        }
        if touched == (0..chunks.count()) {
            self.verified.set(run.page, run.birth | WHOLE_VALUE);
        }
        Ok(())
    }

    /// The table of checksums of a value; empty where it has none.
    fn table<'s>(&self, run: &OverflowRef, chunks: &Chunks, stored: &'s [u8]) -> Result<&'s [u8]> {
        let bytes = run.len..chunks.stored_len();
        self.read_in(run, &bytes)?;
        let table = &stored[bytes.start as usize..bytes.end as usize];
        check_table(run, table, self.page_size)?;
        Ok(table)
    }

    /// Where pages are guarded: reads in those of these bytes of a run.
    fn read_in(&self, run: &OverflowRef, bytes: &Range<u64>) -> Result<()> {
        if !self.guarded || bytes.is_empty() {
            return Ok(());
        }
        let page_size = self.page_size as u64;
        let first = bytes.start / page_size * page_size;
        let len = bytes.end.next_multiple_of(page_size) - first;
        self.disk.read_in(run.page * page_size + first, len, self.page_size)
    }

    /// The bytes of a run of pages, unjudged.
    ///
    /// # Errors
    /// `Corrupt` when the run is not inside the file; `Io` where guarded pages cannot be read.
    #[inline]
    pub fn raw(&self, page: u64, pages: u64, page_count: u64) -> Result<&[u8]> {
        let bytes = self.inside(page, pages, page_count)?;
        if self.guarded {
            self.disk.read_in(page * self.page_size as u64, bytes.len() as u64, self.page_size)?;
        }
        Ok(bytes)
    }

    /// The same, not read in yet.
    #[inline]
    fn inside(&self, page: u64, pages: u64, page_count: u64) -> Result<&[u8]> {
        let outside = || outside(page, pages, page_count);
        let end = page.checked_add(pages).ok_or_else(outside)?;
        if page < self.first_page || pages == 0 || end > page_count {
            return Err(outside());
        }
        let (offset, len) = (page * self.page_size as u64, pages as usize * self.page_size);
        self.disk.bytes(offset, len).ok_or_else(outside)
    }
}

/// Compares checksum and page number.
///
/// # Errors
/// `Corrupt` with both sides.
pub fn check_page(bytes: &[u8], page: u64) -> Result<()> {
    let (stored, found) = (header(&bytes[..HEADER_LEN]).checksum.get(), page_checksum(bytes));
    if stored == found {
        return Ok(());
    }
    Err(Error::corrupt(page, format!("its checksum is {stored:08x}, its bytes give {found:08x}")))
}

/// Compares the page's number and birth with those of the reference to it.
///
/// # Errors
/// `Corrupt` with both sides.
#[inline]
pub fn check_identity(bytes: &[u8], page: u64, birth: u64) -> Result<()> {
    match is_identity(bytes, page, birth) {
        true => Ok(()),
        false => Err(another_page(bytes, page, birth)),
    }
}

#[inline(always)]
fn is_identity(bytes: &[u8], page: u64, birth: u64) -> bool {
    let head = header(bytes);
    head.page.get() == page && head.birth.get() == birth
}

#[cold]
fn another_page(bytes: &[u8], page: u64, birth: u64) -> Error {
    let head = header(bytes);
    let found = format!("found page {} born at {}", head.page, head.birth);
    Error::corrupt(page, format!("expected page {page} born at txn {birth}, {found}"))
}

/// The error for pages that are not inside the file.
#[cold]
pub fn outside(page: u64, pages: u64, page_count: u64) -> Error {
    Error::corrupt(page, format!("{pages} pages of a file of {page_count} were referred to"))
}

/// Compares the checksum of a large value's table with that in the reference. Where there is no table it says nothing.
///
/// # Errors
/// `Corrupt` with both sides.
pub fn check_table(run: &OverflowRef, table: &[u8], page_size: usize) -> Result<()> {
    let found = crc32fast::hash(table);
    if table.is_empty() || found == run.checksum {
        return Ok(());
    }
    let what = format!("table of checksums of a value of {} bytes", run.len);
    let page = run.page + run.len / page_size as u64;
    Err(Error::corrupt(page, format!("{what} has checksum {found:08x}, expected {:08x}", run.checksum)))
}

/// Compares the checksum of chunk `i` of a large value with that in its table, which may be empty.
///
/// # Errors
/// `Corrupt` with both sides.
pub fn check_chunk(
    run: &OverflowRef,
    chunks: &Chunks,
    table: &[u8],
    i: u64,
    found: u32,
    page_size: usize,
) -> Result<()> {
    let expected = if table.is_empty() { run.checksum } else { sum_in(table, i) };
    if found == expected {
        return Ok(());
    }
    let (bytes, len) = (chunks.bytes_of(i), run.len);
    let what = match table.is_empty() {
        true => format!("value of {len} bytes has"),
        false => format!("bytes {} to {} of a value of {len} bytes have", bytes.start, bytes.end - 1),
    };
    let page = run.page + bytes.start / page_size as u64;
    Err(Error::corrupt(page, format!("{what} checksum {found:08x}, expected {expected:08x}")))
}

/// Per page the birth of the version that was verified last, all its bits inverted: 0, where there is none, is no birth
/// that a reference can have. Grows by doubling, never moves.
struct Verified {
    parts: [OnceLock<SharedWords>; PARTS],
}

const PARTS: usize = 40;
const FIRST_PART_BITS: u32 = 12;

impl Verified {
    fn new() -> Self {
        Verified { parts: [const { OnceLock::new() }; PARTS] }
    }

    #[inline(always)]
    fn is(&self, page: u64, birth: u64) -> bool {
        let (part, at) = place(page);
        self.parts
            .get(part)
            .and_then(OnceLock::get)
            .is_some_and(|births| births.word(at).load(Ordering::Relaxed) == !birth)
    }

    fn forget(&self) {
        for (part, births) in self.parts.iter().enumerate() {
            let Some(births) = births.get() else { continue };
            // What nobody has touched stays so.
            let set = (0..len_of(part))
                .map(|at| births.word(at))
                .filter(|birth| birth.load(Ordering::Relaxed) != 0);
            set.for_each(|birth| birth.store(0, Ordering::Relaxed));
        }
    }

    fn clear(&self, page: u64) {
        let (part, at) = place(page);
        if let Some(births) = self.parts.get(part).and_then(OnceLock::get) {
            births.word(at).store(0, Ordering::Relaxed);
        }
    }

    #[inline]
    fn set(&self, page: u64, birth: u64) {
        let (part, at) = place(page);
        if let Some(births) =
            self.parts.get(part).and_then(|births| births.get().or_else(|| make(births, part)))
        {
            births.word(at).store(!birth, Ordering::Relaxed);
        }
    }
}

/// Where there is no memory for it, what is in this part is verified again and again.
#[cold]
fn make(births: &OnceLock<SharedWords>, part: usize) -> Option<&SharedWords> {
    let words = SharedWords::private(len_of(part)).ok()?;
    Some(births.get_or_init(|| words))
}

fn len_of(part: usize) -> usize {
    1 << (FIRST_PART_BITS as usize + part)
}

/// Part `k` holds the pages from `2^12 (2^k - 1)` on, `2^(12 + k)` of them.
#[inline(always)]
fn place(page: u64) -> (usize, usize) {
    let shifted = page + (1 << FIRST_PART_BITS);
    let bits = 63 - shifted.leading_zeros();
    ((bits - FIRST_PART_BITS) as usize, (shifted - (1 << bits)) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_page_has_a_place_of_its_own() {
        let mut last = (0, usize::MAX);
        for page in 0..100_000 {
            let (part, at) = place(page);
            assert!((part, at) == (last.0, last.1.wrapping_add(1)) || (part, at) == (last.0 + 1, 0));
            assert!(at < 1 << (FIRST_PART_BITS as usize + part));
            last = (part, at);
        }
    }

    #[test]
    fn a_version_is_verified_by_its_birth() {
        let verified = Verified::new();
        assert!(!verified.is(70_000, 5));
        verified.set(70_000, 5);
        assert!(!verified.is(70_001, 0), "nothing counts as verified that was not");
        assert!(verified.is(70_000, 5) && !verified.is(70_000, 6) && !verified.is(70_001, 5));
    }
}

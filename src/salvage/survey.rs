//! Every page of a file, looked at for itself: which are whole, and of which table.
//!
//! Owns: finding the page size where no meta slot tells it, and the list of whole pages. Costs 24 bytes of memory for each
//! whole page of a tree. Leaves to others: what to make of them ([`super::rebuild`]).

use crate::copies::Copies;
use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::format::{
    CATALOG_ID, MAX_LEVELS, MAX_PAGE_SIZE, MIN_PAGE_SIZE, PageKind, SET_BIT, SNAPSHOTS_ID, header, meta_pages,
};
use crate::snapshot::check_page;
use std::cmp::Reverse;

/// So many pages are enough to know their size by.
const ENOUGH: u64 = 64;

/// A page of a tree that is whole: number, checksum and level are right.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Whole {
    /// Its table.
    pub table: u32,
    /// Its level.
    pub level: u8,
    /// The txn that wrote it.
    pub birth: u64,
    /// Its number.
    pub page: u64,
}

/// A page that cannot be read, or is a page of a tree and not whole.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct BadPage {
    /// Its number.
    pub page: u64,
    /// What is wrong.
    pub detail: String,
}

/// What a file consists of.
pub struct Survey {
    /// By table, then the newest first, of the same txn the highest level first.
    whole: Vec<Whole>,
    /// In order.
    pub bad: Vec<BadPage>,
    /// The birth of the newest page of a space record.
    newest_record: Option<u64>,
}

impl Survey {
    /// Reads every page.
    pub fn of(copies: &Copies<'_>, progress: &mut dyn FnMut(u64)) -> Self {
        let (mut whole, mut bad, mut newest_record) = (Vec::new(), Vec::new(), None);
        for page in meta_pages(copies.page_size)..copies.page_count {
            progress(page);
            match look(copies, page) {
                Ok(Some(Page::OfTree(found))) => whole.push(found),
                Ok(Some(Page::OfSpace(birth))) => newest_record = newest_record.max(Some(birth)),
                Ok(None) => {}
                Err(Error::Corrupt { page, detail }) => bad.push(BadPage { page, detail }),
                Err(error) => bad.push(BadPage { page, detail: error.to_string() }),
            }
        }
        whole.sort_by_key(|it| (it.table, Reverse((it.birth, it.level)), it.page));
        Survey { whole, bad, newest_record }
    }

    /// The pages of a table, the newest first.
    pub fn of_table(&self, table: u32) -> &[Whole] {
        let start = self.whole.partition_point(|it| it.table < table);
        let end = self.whole.partition_point(|it| it.table <= table);
        &self.whole[start..end]
    }

    /// The newest txn that is known to have been committed: every commit writes a space record and a root of the catalog, and
    /// nothing else does.
    pub fn newest_commit(&self) -> u64 {
        self.newest_catalog().max(self.newest_record).unwrap_or(u64::MAX)
    }

    /// Whether the newest page of the catalog is of the newest commit.
    pub fn has_newest_catalog(&self) -> bool {
        self.newest_catalog() >= self.newest_record
    }

    fn newest_catalog(&self) -> Option<u64> {
        self.of_table(CATALOG_ID).first().map(|newest| newest.birth)
    }

    /// The tables that have pages. Those of a multimap's sets do not tell whose values they hold.
    pub fn tables(&self) -> Vec<u32> {
        let tables = self.whole.iter().map(|it| it.table);
        let mut tables: Vec<u32> = tables.filter(|table| table & SET_BIT == 0).collect();
        tables.dedup();
        tables
    }
}

/// What a page is that says what it is.
enum Page {
    OfTree(Whole),
    /// Of a space record of this birth.
    OfSpace(u64),
}

/// What a page is; `None`: something else, as far as can be seen.
fn look(copies: &Copies<'_>, page: u64) -> Result<Option<Page>> {
    let bytes = copies.raw(page)?;
    let head = header(&bytes);
    if head.page.get() != page {
        return Ok(None);
    }
    check_page(&bytes, page)?;
    let leaves = [PageKind::Leaf, PageKind::FixedLeaf, PageKind::SetLeaf];
    let is_leaf = leaves.iter().any(|kind| *kind as u8 == head.kind);
    let is_branch = head.kind == PageKind::Branch as u8 && usize::from(head.level) < MAX_LEVELS;
    let fits = is_leaf && head.level == 0 || is_branch && head.level > 0;
    let (table, level, birth) = (head.table.get(), head.level, head.birth.get());
    if head.kind == PageKind::Space as u8 {
        return Ok(Some(Page::OfSpace(birth)));
    }
    // The older states that have names stay behind.
    let is_of_table = fits && table != SNAPSHOTS_ID;
    Ok(is_of_table.then_some(Page::OfTree(Whole { table, level, birth, page })))
}

/// The page size in which the most pages are whole; `None`: none is, in any.
pub fn guess_page_size(disk: &Disk, len: u64) -> Option<usize> {
    let sizes = std::iter::successors(Some(MIN_PAGE_SIZE), |size| Some(size * 2));
    let sizes = sizes.take_while(|size| *size <= MAX_PAGE_SIZE);
    let counted = sizes.map(|page_size| (count_whole(disk, len, page_size) * page_size as u64, page_size));
    counted.max().filter(|(bytes, _)| *bytes > 0).map(|(_, page_size)| page_size)
}

fn count_whole(disk: &Disk, len: u64, page_size: usize) -> u64 {
    let copies = Copies { disk, page_size, page_count: len / page_size as u64, mapped: None };
    let pages = meta_pages(page_size)..copies.page_count;
    let whole = pages.filter(|page| matches!(look(&copies, *page), Ok(Some(_))));
    whole.take(ENOUGH as usize).count() as u64
}

//! Checking a whole tree: every invariant of pages and trees, every page counted once.
//!
//! The checker goes on after damage: it reports the page and continues with its neighbours.

use super::{Tree, fetch};
use crate::error::Error;
use crate::format::{ChildRef, HEADER_LEN, MAX_LEVELS};
use crate::page::{Branch, LeafView, Stored, leaf_used};
use crate::snapshot::PageSource;

/// Something in a file that is not as it must be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// The page, where it is one page's.
    pub page: Option<u64>,
    /// The table, where it is known.
    pub table: Option<String>,
    /// Expected and found.
    pub detail: String,
}

/// What the pages of one level hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LevelStats {
    /// Number of pages.
    pub pages: u64,
    /// Children or entries.
    pub entries: u64,
    /// Bytes in use, headers included.
    pub used_bytes: u64,
}

/// Which pages were seen, and what is wrong so far.
pub struct Findings<'p> {
    used: Vec<u64>,
    page_count: u64,
    pages_seen: u64,
    /// What is wrong.
    pub problems: Vec<Problem>,
    /// The table being checked.
    pub table: Option<String>,
    progress: &'p mut dyn FnMut(u64),
}

/// Problems beyond this many are not kept: a file of noise must not fill the memory.
const MAX_PROBLEMS: usize = 10_000;

impl<'p> Findings<'p> {
    /// Nothing seen of a file of `page_count` pages. `progress` gets the number of pages seen.
    pub fn new(page_count: u64, progress: &'p mut dyn FnMut(u64)) -> Self {
        let used = vec![0; (page_count as usize).div_ceil(64)];
        Findings { used, page_count, pages_seen: 0, problems: Vec::new(), table: None, progress }
    }

    /// Records a problem.
    pub fn report(&mut self, page: Option<u64>, detail: String) {
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(Problem { page, table: self.table.clone(), detail });
        }
    }

    /// Records an error of a read.
    pub fn report_error(&mut self, error: Error) {
        match error {
            Error::Corrupt { page, detail } => self.report(Some(page), detail),
            other => self.report(None, other.to_string()),
        }
    }

    /// Counts a run of pages as seen; false, with a problem, when one was seen before.
    pub fn mark(&mut self, page: u64, pages: u64, what: &str) -> bool {
        if page.checked_add(pages).is_none_or(|end| end > self.page_count) {
            self.report(Some(page), format!("{what} reaches behind the end of the file"));
            return false;
        }
        for page in page..page + pages {
            let (word, bit) = (page as usize / 64, 1 << (page % 64));
            if self.used[word] & bit != 0 {
                self.report(Some(page), format!("used twice, the second time as {what}"));
                return false;
            }
            self.used[word] |= bit;
        }
        self.pages_seen += pages;
        (self.progress)(self.pages_seen);
        true
    }

    /// Reports the pages that nobody has marked.
    pub fn report_lost(&mut self) {
        let lost: Vec<u64> = (0..self.page_count)
            .filter(|page| self.used[*page as usize / 64] & 1 << (page % 64) == 0)
            .take(MAX_PROBLEMS)
            .collect();
        for page in lost {
            self.report(Some(page), "neither reachable nor free nor pending".into());
        }
    }
}

/// Checks a tree and marks its pages. Returns what is on each level, leaves first.
pub fn check_tree(
    source: &(impl PageSource + ?Sized),
    tree: &Tree,
    findings: &mut Findings<'_>,
) -> Vec<LevelStats> {
    let mut levels = Vec::new();
    if tree.is_empty() {
        if tree.root.count != 0 {
            findings.report(None, format!("an empty tree claims {} entries", tree.root.count));
        }
        return levels;
    }
    if usize::from(tree.level) >= MAX_LEVELS {
        findings.report(Some(tree.root.page), format!("tree of {} levels", u32::from(tree.level) + 1));
        return levels;
    }
    levels.resize(usize::from(tree.level) + 1, LevelStats::default());
    let mut check = Check { source, tree, findings, levels, overflow_pages: 0 };
    check.page(tree.root, tree.level, None, None);
    let (overflow_pages, levels) = (check.overflow_pages, check.levels);
    if overflow_pages != tree.overflow_pages && findings.problems.is_empty() {
        findings.report(
            None,
            format!("{overflow_pages} overflow pages, the catalog says {}", tree.overflow_pages),
        );
    }
    levels
}

struct Check<'c, 'p, S: ?Sized> {
    source: &'c S,
    tree: &'c Tree,
    findings: &'c mut Findings<'p>,
    levels: Vec<LevelStats>,
    overflow_pages: u64,
}

impl<S: PageSource + ?Sized> Check<'_, '_, S> {
    /// Checks what `child` refers to; `low` and `high` are the separators around it.
    fn page(&mut self, child: ChildRef, level: u8, low: Option<&[u8]>, high: Option<&[u8]>) {
        if !self.findings.mark(child.page, 1, "a tree page") {
            return;
        }
        let checked = match level {
            0 => self.leaf(child, low, high),
            _ => self.branch(child, level, low, high),
        };
        if let Err(error) = checked {
            self.findings.report_error(error);
        }
    }

    fn branch(
        &mut self,
        child: ChildRef,
        level: u8,
        low: Option<&[u8]>,
        high: Option<&[u8]>,
    ) -> Result<(), Error> {
        let branch = Branch::new(fetch(self.source, child, self.tree.table)?, level)?;
        branch.validate_order()?;
        let count = branch.count();
        let mut separators = vec![Vec::new(); count];
        for (i, separator) in separators.iter_mut().enumerate() {
            branch.separator(i, separator)?;
        }
        for separator in &separators[1..] {
            self.in_bounds(child, separator, low, high);
        }
        let mut entries: u64 = 0;
        for i in 0..count {
            let below = branch.child(i)?;
            entries = entries.saturating_add(below.count);
            let low = if i == 0 { low } else { Some(&separators[i][..]) };
            let high = separators.get(i + 1).map(|separator| &separator[..]).or(high);
            self.page(below, level - 1, low, high);
        }
        self.expect_count(child, entries);
        let bytes = fetch(self.source, child, self.tree.table)?;
        let head = crate::format::header(bytes);
        let used =
            HEADER_LEN + count * 24 + usize::from(head.prefix_len.get()) + usize::from(head.cell_bytes.get());
        self.count(level, count, used);
        Ok(())
    }

    fn leaf(&mut self, child: ChildRef, low: Option<&[u8]>, high: Option<&[u8]>) -> Result<(), Error> {
        let bytes = fetch(self.source, child, self.tree.table)?;
        let leaf = LeafView::new(bytes)?;
        leaf.validate(&self.tree.layout)?;
        leaf.validate_order()?;
        if leaf.count() == 0 {
            self.findings.report(Some(child.page), "leaf without entries".into());
        }
        for i in 0..leaf.count() {
            if i == 0 || i + 1 == leaf.count() {
                self.in_bounds(child, leaf.key(i)?, low, high);
            }
            if let Stored::Overflow(run) = leaf.stored(i)? {
                let pages = run.pages(self.tree.layout.page_size);
                self.overflow_pages += pages;
                if !self.findings.mark(run.page, pages, "a large value") {
                    continue;
                }
                if let Err(error) = self.source.overflow(&run) {
                    self.findings.report_error(error);
                }
            }
        }
        self.expect_count(child, leaf.count() as u64);
        self.count(0, leaf.count(), HEADER_LEN + leaf_used(bytes, &self.tree.layout));
        Ok(())
    }

    fn in_bounds(&mut self, child: ChildRef, key: &[u8], low: Option<&[u8]>, high: Option<&[u8]>) {
        if low.is_some_and(|low| key < low) || high.is_some_and(|high| key >= high) {
            self.findings.report(Some(child.page), "holds a key outside the separators above it".into());
        }
    }

    fn expect_count(&mut self, child: ChildRef, entries: u64) {
        if entries != child.count {
            let detail = format!("has {entries} entries below, the reference says {}", child.count);
            self.findings.report(Some(child.page), detail);
        }
    }

    fn count(&mut self, level: u8, entries: usize, used: usize) {
        let stats = &mut self.levels[usize::from(level)];
        stats.pages += 1;
        stats.entries += entries as u64;
        stats.used_bytes += used as u64;
    }
}

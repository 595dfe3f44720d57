//! Checking a whole tree: every invariant of pages and trees, every page counted once.
//!
//! The checker goes on after damage: it reports the page, with the keys that lie behind it, and continues with its
//! neighbours. It reads with system calls, so that a page that cannot be read is one more finding.

use super::multi::set_tree;
use super::{Tree, expect_table};
use crate::copies::Copies;
use crate::error::Error;
use crate::format::{ChildRef, HEADER_LEN, MAX_LEVELS, OverflowRef, SetRef};
use crate::page::{Branch, LeafView, Stored, branch, leaf_used};
use std::collections::BTreeMap;

/// Something in a file that is not as it must be.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Problem {
    /// The page, where it is one page's.
    pub page: Option<u64>,
    /// The table, where it is known.
    pub table: Option<String>,
    /// What is reached through the page.
    pub behind: Option<Behind>,
    /// Expected and found.
    pub detail: String,
}

/// Part of a table: what is behind a page.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Behind {
    /// All of its keys are these bytes, or after them.
    pub from: Vec<u8>,
    /// All of them are before these bytes; `None`: there is no bound.
    pub to: Option<Vec<u8>>,
    /// How many entries it has, as far as the reference to the page says.
    pub entries: u64,
}

impl Behind {
    pub(crate) fn new(low: Option<&[u8]>, high: Option<&[u8]>, entries: u64) -> Self {
        Behind { from: low.unwrap_or_default().to_vec(), to: high.map(<[u8]>::to_vec), entries }
    }

    /// So many entries of one key.
    pub(crate) fn of_key(key: &[u8], entries: u64) -> Self {
        Behind { from: key.to_vec(), to: Some([key, &[0]].concat()), entries }
    }
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

impl LevelStats {
    /// How full the pages are, from 0 to 1; 0 where there are none. `page_size` is that of
    /// [`Stats`](crate::Stats).
    pub fn fill(&self, page_size: u64) -> f64 {
        self.used_bytes as f64 / self.pages.saturating_mul(page_size).max(1) as f64
    }
}

/// Which pages were seen, and what is wrong so far.
pub struct Findings<'p> {
    used: Vec<u64>,
    page_count: u64,
    pages_seen: u64,
    /// What is wrong.
    pub problems: Vec<Problem>,
    /// How many more there are that were not kept.
    pub omitted: u64,
    /// Whether something could not be read.
    pub unreadable: bool,
    /// The table being checked.
    pub table: Option<String>,
    /// What is behind the page being checked.
    behind: Option<Behind>,
    /// Where several states are judged: subtrees of branches, and trees, in which nothing was found, with the pages of
    /// their large values.
    right: Option<BTreeMap<Subtree, u64>>,
    progress: &'p mut dyn FnMut(u64),
}

/// Whatever leads to it, and in whatever state, there is the same to be found below it.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Subtree {
    page: u64,
    birth: u64,
    count: u64,
    level: u8,
    table: u32,
    low: Option<Box<[u8]>>,
    high: Option<Box<[u8]>>,
}

/// Problems beyond this many are not kept: a file of noise must not fill the memory.
const MAX_PROBLEMS: usize = 100_000;

impl<'p> Findings<'p> {
    /// Nothing seen of a file of `page_count` pages. `progress` gets the number of pages seen.
    pub fn new(page_count: u64, progress: &'p mut dyn FnMut(u64)) -> Self {
        let used = vec![0; (page_count as usize).div_ceil(64)];
        Findings {
            used,
            page_count,
            pages_seen: 0,
            problems: Vec::new(),
            omitted: 0,
            unreadable: false,
            table: None,
            behind: None,
            right: None,
            progress,
        }
    }

    /// Records a problem.
    pub fn report(&mut self, page: Option<u64>, detail: String) {
        if self.problems.len() == MAX_PROBLEMS {
            self.omitted += 1;
            return;
        }
        self.problems.push(Problem { page, table: self.table.clone(), behind: self.behind.clone(), detail });
    }

    /// Records an error of reading `page`, or of a page that the error names.
    pub fn report_error(&mut self, page: Option<u64>, error: Error) {
        match error {
            Error::Corrupt { page, detail } => self.report(Some(page), detail),
            other => {
                self.unreadable = true;
                self.report(page, other.to_string());
            }
        }
    }

    /// What `judge` finds is about the page in front of `behind`.
    fn about(&mut self, behind: Behind, judge: impl FnOnce(&mut Self)) {
        let outer = self.behind.replace(behind);
        judge(self);
        self.behind = outer;
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

    /// Whether a page was seen.
    pub fn is_marked(&self, page: u64) -> bool {
        self.used.get(page as usize / 64).is_some_and(|word| word & 1 << (page % 64) != 0)
    }

    /// From here on remembers what is right, for other states that share pages with this one.
    pub fn remember(&mut self) {
        self.right = Some(BTreeMap::new());
    }

    /// Nothing seen of an older state of the same file. What is right here is not judged again there.
    pub fn of_other<'o>(&mut self, page_count: u64, progress: &'o mut dyn FnMut(u64)) -> Findings<'o> {
        Findings { right: self.right.take(), ..Findings::new(page_count, progress) }
    }

    /// Takes over what was found in that other state, `what`; what was found here too is not repeated.
    pub fn add_other(&mut self, other: Findings<'_>, what: &str) {
        self.right = other.right;
        self.unreadable |= other.unreadable;
        self.omitted += other.omitted;
        for problem in other.problems {
            let is_known = |known: &Problem| known.page.is_some() && known.page == problem.page;
            if self.problems.iter().any(|known| is_known(known) && known.detail.ends_with(&problem.detail)) {
                continue;
            }
            if self.problems.len() == MAX_PROBLEMS {
                self.omitted += 1;
                continue;
            }
            self.problems.push(Problem { detail: format!("{what}: {}", problem.detail), ..problem });
        }
    }

    /// The pages that nobody has marked.
    pub fn unmarked(&self) -> Vec<u64> {
        let is_unmarked = |page: &u64| self.used[*page as usize / 64] & 1 << (page % 64) == 0;
        (0..self.page_count).filter(is_unmarked).collect()
    }
}

/// What is on each level of a tree, leaves first, and on each level of the trees of a multimap's sets, all together.
pub type Levels = (Vec<LevelStats>, Vec<LevelStats>);

/// Checks a tree and marks its pages; `visit` gets every leaf that is whole.
pub fn check_tree(
    copies: &Copies<'_>,
    tree: &Tree,
    findings: &mut Findings<'_>,
    visit: &mut dyn FnMut(&LeafView<'_>),
) -> Levels {
    let mut levels = Vec::new();
    if tree.is_empty() {
        if tree.root.count != 0 {
            findings.report(None, format!("an empty tree claims {} entries", tree.root.count));
        }
        return (levels, Vec::new());
    }
    if usize::from(tree.level) >= MAX_LEVELS {
        findings.report(Some(tree.root.page), format!("tree of {} levels", u32::from(tree.level) + 1));
        return (levels, Vec::new());
    }
    levels.resize(usize::from(tree.level) + 1, LevelStats::default());
    let mut check = Check { copies, tree, visit, levels, overflow_pages: 0, sets: Vec::new(), owner: None };
    check.page(findings, tree.root, tree.level, (None, None));
    let Check { overflow_pages, levels, sets, .. } = check;
    if overflow_pages != tree.overflow_pages && findings.problems.is_empty() {
        findings.report(
            None,
            format!("{overflow_pages} overflow pages or sets, the catalog says {}", tree.overflow_pages),
        );
    }
    (levels, sets)
}

struct Check<'c> {
    copies: &'c Copies<'c>,
    tree: &'c Tree,
    visit: &'c mut dyn FnMut(&LeafView<'_>),
    levels: Vec<LevelStats>,
    /// See [`Tree::overflow_pages`].
    overflow_pages: u64,
    /// What is on each level of the trees of sets.
    sets: Vec<LevelStats>,
    /// The key whose set of values the tree is.
    owner: Option<&'c [u8]>,
}

/// The separators around what a reference leads to.
type Bounds<'b> = (Option<&'b [u8]>, Option<&'b [u8]>);

impl Check<'_> {
    /// Checks what `child` refers to, unless the same was found to be right in another state.
    fn page(&mut self, findings: &mut Findings<'_>, child: ChildRef, level: u8, bounds: Bounds<'_>) {
        let is_root = child.page == self.tree.root.page;
        if findings.right.is_none() || (level == 0 && !is_root) {
            return self.judge(findings, child, level, bounds);
        }
        let subtree = self.subtree(child, level, bounds);
        if let Some(overflow_pages) = findings.right.as_ref().and_then(|right| right.get(&subtree)).copied() {
            findings.mark(child.page, 1, "a tree page");
            self.overflow_pages = self.overflow_pages.saturating_add(overflow_pages);
            return;
        }
        let before = (findings.problems.len(), findings.omitted, self.overflow_pages);
        self.judge(findings, child, level, bounds);
        if (findings.problems.len(), findings.omitted) == (before.0, before.1)
            && let Some(right) = &mut findings.right
        {
            right.insert(subtree, self.overflow_pages - before.2);
        }
    }

    fn subtree(&self, child: ChildRef, level: u8, (low, high): Bounds<'_>) -> Subtree {
        let ChildRef { page, birth, count } = child;
        let table = self.tree.table;
        Subtree { page, birth, count, level, table, low: low.map(Box::from), high: high.map(Box::from) }
    }

    fn judge(&mut self, findings: &mut Findings<'_>, child: ChildRef, level: u8, (low, high): Bounds<'_>) {
        let behind = match self.owner {
            Some(key) => Behind::of_key(key, child.count),
            None => Behind::new(low, high, child.count),
        };
        findings.about(behind, |findings| {
            if !findings.mark(child.page, 1, "a tree page") {
                return;
            }
            let checked = self.fetch(child).and_then(|bytes| match level {
                0 => self.leaf(findings, child, &bytes, (low, high)),
                _ => self.branch(findings, child, &bytes, level, (low, high)),
            });
            if let Err(error) = checked {
                findings.report_error(Some(child.page), error);
            }
        });
    }

    fn fetch(&self, child: ChildRef) -> Result<Vec<u8>, Error> {
        let bytes = self.copies.page(child.page, child.birth)?;
        expect_table(&bytes, self.tree.table)?;
        Ok(bytes)
    }

    fn branch(
        &mut self,
        findings: &mut Findings<'_>,
        child: ChildRef,
        bytes: &[u8],
        level: u8,
        (low, high): Bounds<'_>,
    ) -> Result<(), Error> {
        let branch = Branch::new(bytes, level)?;
        branch.validate_order()?;
        let count = branch.count();
        let mut separators = vec![Vec::new(); count];
        for (i, separator) in separators.iter_mut().enumerate() {
            branch.separator(i, separator)?;
        }
        for separator in &separators[1..] {
            in_bounds(findings, child, separator, (low, high));
        }
        let mut entries: u64 = 0;
        for i in 0..count {
            let below = branch.child(i)?;
            if below.birth > child.birth {
                let detail =
                    format!("is of txn {}, but refers to a page of txn {}", child.birth, below.birth);
                findings.report(Some(child.page), detail);
            }
            entries = entries.saturating_add(below.count);
            let low = if i == 0 { low } else { Some(&separators[i][..]) };
            let high = separators.get(i + 1).map(|separator| &separator[..]).or(high);
            self.page(findings, below, level - 1, (low, high));
        }
        expect_count(findings, child, entries);
        self.count(level, count, branch::used(bytes));
        Ok(())
    }

    fn leaf(
        &mut self,
        findings: &mut Findings<'_>,
        child: ChildRef,
        bytes: &[u8],
        bounds: Bounds<'_>,
    ) -> Result<(), Error> {
        let leaf = LeafView::new(bytes)?;
        leaf.validate(&self.tree.layout)?;
        leaf.validate_order()?;
        leaf.validate_set_order(&self.tree.layout)?;
        (self.visit)(&leaf);
        if leaf.count() == 0 {
            findings.report(Some(child.page), "leaf without entries".into());
        }
        for i in 0..leaf.count() {
            if i == 0 || i + 1 == leaf.count() {
                in_bounds(findings, child, leaf.key(i)?, bounds);
            }
            match leaf.entry(i)? {
                (_, Stored::Inline(_)) => {}
                (key, Stored::Overflow(run)) => {
                    findings.about(Behind::of_key(key, 1), |findings| self.large_value(findings, &run));
                }
                (key, Stored::Set(set)) => self.set(findings, key, &set)?,
            }
        }
        expect_count(findings, child, leaf.weight(&self.tree.layout, 0..leaf.count())?);
        self.count(0, leaf.count(), HEADER_LEN + leaf_used(bytes, &self.tree.layout));
        Ok(())
    }

    /// Checks the tree of the values of `key`.
    fn set(&mut self, findings: &mut Findings<'_>, key: &[u8], set: &SetRef) -> Result<(), Error> {
        let values = set_tree(self.tree, set)?;
        self.overflow_pages = self.overflow_pages.saturating_add(1);
        let levels = vec![LevelStats::default(); usize::from(values.level) + 1];
        let mut check = Check {
            copies: self.copies,
            tree: &values,
            visit: &mut |_| {},
            levels,
            overflow_pages: 0,
            sets: Vec::new(),
            owner: Some(key),
        };
        check.page(findings, values.root, values.level, (None, None));
        let levels = check.levels;
        self.sets.resize(self.sets.len().max(levels.len()), LevelStats::default());
        for (sum, level) in self.sets.iter_mut().zip(&levels) {
            sum.pages += level.pages;
            sum.entries += level.entries;
            sum.used_bytes += level.used_bytes;
        }
        Ok(())
    }

    fn large_value(&mut self, findings: &mut Findings<'_>, run: &OverflowRef) {
        let pages = run.pages(self.tree.layout.page_size);
        self.overflow_pages = self.overflow_pages.saturating_add(pages);
        if !findings.mark(run.page, pages, "a large value") {
            return;
        }
        if let Err(error) = self.copies.judge_value(run) {
            findings.report_error(Some(run.page), error);
        }
    }

    fn count(&mut self, level: u8, entries: usize, used: usize) {
        let stats = &mut self.levels[usize::from(level)];
        stats.pages += 1;
        stats.entries += entries as u64;
        stats.used_bytes += used as u64;
    }
}

fn in_bounds(findings: &mut Findings<'_>, child: ChildRef, key: &[u8], (low, high): Bounds<'_>) {
    if low.is_some_and(|low| key < low) || high.is_some_and(|high| key >= high) {
        findings.report(Some(child.page), "holds a key outside the separators above it".into());
    }
}

fn expect_count(findings: &mut Findings<'_>, child: ChildRef, entries: u64) {
    if entries != child.count {
        let detail = format!("has {entries} entries below, the reference says {}", child.count);
        findings.report(Some(child.page), detail);
    }
}

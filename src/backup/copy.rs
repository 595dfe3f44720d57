//! Which pages a backup has: those that a state refers to and that were born behind the base.
//!
//! Owns: the walk. A reference says when what it leads to was born, and nothing is older than what is below
//! it; so where a reference is not newer than the base, neither it nor anything below is looked at, and the
//! cost follows the change. Promises: every page is read with a system call, and judged, before it is copied;
//! of a crafted file no more pages are copied than it has. Leaves to others: the form ([`super::stream`]).

use super::stream::{MAX_FRAME, Sink};
use crate::catalog::{catalog_tree, listed_table};
use crate::chunks::{Chunks, Summing};
use crate::copies::{Copies, judge_sums};
use crate::error::{Error, Result};
use crate::format::{CATALOG_ID, ChildRef, MAX_LEVELS, OverflowRef, header, meta_pages};
use crate::page::{Branch, LeafView, Stored};
use crate::shared::State;
use crate::snapshot::{check_identity, check_page, outside};
use crate::tree::Tree;
use crate::tree::multi::set_tree;
use crate::txn::ReadTxn;

/// What a leaf refers to, beside nothing but its keys.
enum Below {
    Value(OverflowRef),
    /// A table, or the values of a key.
    Tree(Tree),
}

/// The pages of one state on their way.
pub struct Copy<'c, 'w> {
    txn: &'c ReadTxn,
    copies: Copies<'c>,
    /// No page of this txn or an older one is needed.
    base: u64,
    /// So many pages may still come.
    left: u64,
    sink: &'c mut Sink<'w>,
    buffer: Vec<u8>,
}

impl<'c, 'w> Copy<'c, 'w> {
    /// Copies to `sink` what the snapshot refers to and was born behind `base`.
    ///
    /// # Errors
    /// `Corrupt` where a page is not whole, `Io`, `Forked`.
    pub fn run(txn: &'c ReadTxn, base: u64, sink: &'c mut Sink<'w>) -> Result<()> {
        let (pages, state) = (&txn.store().pages, *txn.state());
        let (page_size, page_count) = (pages.page_size, state.page_count);
        let copies = Copies { disk: &pages.disk, page_size, page_count, mapped: None };
        let mut copy = Copy { txn, copies, base, left: page_count, sink, buffer: Vec::new() };
        copy.state(&state)
    }

    fn state(&mut self, state: &State) -> Result<()> {
        self.tree(&catalog_tree(state, self.copies.page_size), state.txn)
    }

    /// The tree that a page born at `newest` refers to.
    fn tree(&mut self, tree: &Tree, newest: u64) -> Result<()> {
        if tree.is_empty() {
            return Ok(());
        }
        if usize::from(tree.level) >= MAX_LEVELS {
            return Err(Error::corrupt(tree.root.page, format!("root of level {}", tree.level)));
        }
        self.children(tree, vec![tree.root], tree.level, newest)
    }

    /// What the references of a page born at `newest` lead to.
    fn children(&mut self, tree: &Tree, mut children: Vec<ChildRef>, level: u8, newest: u64) -> Result<()> {
        children.iter().try_for_each(|child| expect_older(child.page, child.birth, newest))?;
        children.retain(|child| child.birth > self.base);
        children.sort_unstable_by_key(|child| child.page);
        self.read_ahead(&children);
        if level > 0 {
            return children.into_iter().try_for_each(|child| self.branch(tree, child, level));
        }
        let most = MAX_FRAME / self.copies.page_size;
        let beside = |one: &ChildRef, next: &ChildRef| one.page + 1 == next.page;
        let mut runs = children.chunk_by(beside).flat_map(|run| run.chunks(most));
        runs.try_for_each(|run| self.leaves(tree, run))
    }

    /// Asks for pages that do not lie side by side before one is waited for.
    fn read_ahead(&self, children: &[ChildRef]) {
        let page_size = self.copies.page_size as u64;
        let runs = || children.chunk_by(|one, next| one.page + 1 == next.page);
        if runs().nth(1).is_some() {
            let inside = runs().filter(|run| run[run.len() - 1].page < self.copies.page_count);
            inside.for_each(|run| {
                self.copies.disk.will_need(run[0].page * page_size, run.len() as u64 * page_size)
            });
        }
    }

    fn branch(&mut self, tree: &Tree, child: ChildRef, level: u8) -> Result<()> {
        self.read_pages(tree, &[child], level)?;
        self.sink.frame(child.page, &self.buffer)?;
        let branch = Branch::new(&self.buffer, level)?;
        let children: Vec<ChildRef> = (0..branch.count()).map(|i| branch.child(i)).collect::<Result<_>>()?;
        self.children(tree, children, level - 1, child.birth)
    }

    fn leaves(&mut self, tree: &Tree, run: &[ChildRef]) -> Result<()> {
        self.read_pages(tree, run, 0)?;
        self.sink.frame(run[0].page, &self.buffer)?;
        let mut below = Vec::new();
        for (bytes, child) in self.buffer.chunks(self.copies.page_size).zip(run) {
            let leaf = LeafView::new(bytes)?;
            for i in 0..leaf.count() {
                let (key, stored) = leaf.entry(i)?;
                let found = self.below(tree, key, stored)?;
                below.extend(found.map(|found| (found, child.birth)));
            }
        }
        below.iter().try_for_each(|(below, newest)| match below {
            Below::Value(value) => self.value(value, *newest),
            Below::Tree(tree) => self.tree(tree, *newest),
        })
    }

    fn below(&self, tree: &Tree, key: &[u8], stored: Stored<'_>) -> Result<Option<Below>> {
        match stored {
            Stored::Inline(record) if tree.table == CATALOG_ID => {
                Ok(Some(Below::Tree(listed_table(key, record, self.copies.page_size)?.2)))
            }
            Stored::Inline(_) => Ok(None),
            Stored::Overflow(run) if tree.table == CATALOG_ID => {
                Err(Error::corrupt(run.page, "a large value in the catalog"))
            }
            Stored::Overflow(run) => Ok(Some(Below::Value(run))),
            Stored::Set(set) if tree.layout.set.is_some() => Ok(Some(Below::Tree(set_tree(tree, &set)?))),
            Stored::Set(set) => {
                Err(Error::corrupt(set.root.page, "a set of values in a table that is no multimap"))
            }
        }
    }

    /// Reads pages that lie side by side into the buffer, and judges them.
    fn read_pages(&mut self, tree: &Tree, children: &[ChildRef], level: u8) -> Result<()> {
        let first = children[0].page;
        self.take(first, children.len() as u64)?;
        self.read(first, children.len() as u64)?;
        for (bytes, child) in self.buffer.chunks(self.copies.page_size).zip(children) {
            check_page(bytes, child.page)?;
            check_identity(bytes, child.page, child.birth)?;
            let head = header(bytes);
            if (head.table.get(), head.level) != (tree.table, level) {
                let found = format!("found level {} of table {}", head.level, head.table);
                let expected = format!("expected level {level} of table {}", tree.table);
                return Err(Error::corrupt(child.page, format!("{expected}, {found}")));
            }
        }
        Ok(())
    }

    /// Copies the pages of a large value, and judges it while it goes by.
    fn value(&mut self, run: &OverflowRef, newest: u64) -> Result<()> {
        expect_older(run.page, run.birth, newest)?;
        if run.birth <= self.base {
            return Ok(());
        }
        let page_size = self.copies.page_size as u64;
        let (pages, chunks) = (run.pages(page_size as usize), Chunks::of(run.len, page_size as usize));
        self.take(run.page, pages)?;
        let (mut summing, mut table, mut done) = (Summing::new(chunks), Vec::new(), 0);
        while done < pages {
            let now = (pages - done).min(MAX_FRAME as u64 / page_size);
            self.read(run.page + done, now)?;
            self.sink.frame(run.page + done, &self.buffer)?;
            let part = |end: u64| (end.saturating_sub(done * page_size)).min(now * page_size) as usize;
            let (value, stored) = (part(run.len), part(chunks.stored_len()));
            summing.add(&self.buffer[..value]);
            table.extend_from_slice(&self.buffer[value..stored]);
            done += now;
        }
        judge_sums(run, &table, summing, page_size as usize)
    }

    /// Counts pages that are about to be copied.
    fn take(&mut self, page: u64, pages: u64) -> Result<()> {
        self.txn.check_process()?;
        let first = meta_pages(self.copies.page_size);
        let is_inside = page.checked_add(pages).is_some_and(|end| end <= self.copies.page_count);
        if page < first || pages == 0 || !is_inside {
            return Err(outside(page, pages, self.copies.page_count));
        }
        let left = self.left.checked_sub(pages);
        self.left = left.ok_or_else(|| Error::corrupt(page, "pages are referred to more than once"))?;
        Ok(())
    }

    /// Reads pages that lie side by side, unjudged.
    fn read(&mut self, page: u64, pages: u64) -> Result<()> {
        let page_size = self.copies.page_size;
        self.buffer.resize(pages as usize * page_size, 0);
        let read = self.copies.disk.read_at(page * page_size as u64, &mut self.buffer);
        read.or_else(|error| {
            // Page by page, so that the error names the one.
            (page..page + pages).try_for_each(|page| self.copies.raw(page).map(drop))?;
            Err(error)
        })
    }
}

/// Nothing refers to what came later.
fn expect_older(page: u64, birth: u64, newest: u64) -> Result<()> {
    match birth <= newest {
        true => Ok(()),
        false => {
            Err(Error::corrupt(page, format!("is of txn {birth}, and one of txn {newest} refers to it")))
        }
    }
}

//! Removing all entries of a range of keys at once.
//!
//! What lies wholly inside the range is given up from the references in its parents: no leaf there is read,
//! unless the tree has large values or trees of sets, whose pages only leaves know. The two edges of the
//! range are cut, and pages that have become small there are joined with their neighbours, from the leaves
//! up, by the same measure as in [`super::remove`].
//!
//! Promises: O(log n + pages given up); the number of removed entries comes from the references. A crafted file cannot
//! make it visit more pages than there are, nor join what would be out of order.

use super::remove::{drop_below, held_by, join_leaves, lower_root, page_budget, written_below};
use super::{Tree, fetch, fetch_branch, fetch_leaf};
use crate::dirty::{Dirty, heap_slot};
use crate::error::{Error, Result};
use crate::format::ChildRef;
use crate::page::{BranchEntries, LeafView, branch, leaf_remove, leaf_room, leaf_used};

/// Removes the entries whose keys are not below `from` and, where there is a `to`, below that. Returns how many
/// there were.
///
/// # Errors
/// `Corrupt`, `Io`; the tree may then be half changed.
pub fn delete_range(dirty: &mut Dirty, tree: &mut Tree, from: &[u8], to: Option<&[u8]>) -> Result<u64> {
    if tree.is_empty() || to.is_some_and(|to| from >= to) {
        return Ok(0);
    }
    dirty.path.is_valid = false;
    let (root, level, left) = (tree.root, tree.level, page_budget(dirty));
    let kept = Cut { dirty, tree, from, to, left }.below(root, level, (None, None))?;
    match kept {
        Some(kept) if kept == root => return Ok(0),
        Some(kept) => {
            tree.root = kept;
            lower_root(dirty, tree)?;
        }
        None => *tree = Tree { overflow_pages: tree.overflow_pages, ..Tree::empty(tree.table, tree.layout) },
    }
    Ok(root.count.saturating_sub(tree.root.count))
}

/// The separators around a page.
type Bounds<'b> = (Option<&'b [u8]>, Option<&'b [u8]>);

/// A range that is being cut out of a tree.
struct Cut<'d, 'r> {
    dirty: &'d mut Dirty,
    tree: &'d mut Tree,
    from: &'r [u8],
    to: Option<&'r [u8]>,
    /// So many pages there can be that were not visited yet.
    left: u64,
}

impl Cut<'_, '_> {
    /// Cuts the range out of what is below `child`. Returns the reference to what stays, which is `child` itself where
    /// nothing was in the range.
    fn below(&mut self, child: ChildRef, level: u8, bounds: Bounds<'_>) -> Result<Option<ChildRef>> {
        if self.covers(bounds) {
            return drop_below(self.dirty, self.tree, child, level, &mut self.left).map(|()| None);
        }
        let too_many = || Error::corrupt(child.page, "the tree refers to more pages than there are");
        self.left = self.left.checked_sub(1).ok_or_else(too_many)?;
        match level {
            0 => self.leaf(child, bounds),
            _ => self.branch(child, level, bounds),
        }
    }

    /// Whether all keys between the separators are in the range.
    fn covers(&self, (low, high): Bounds<'_>) -> bool {
        let starts = self.from.is_empty() || low.is_some_and(|low| low >= self.from);
        starts && self.to.is_none_or(|to| high.is_some_and(|high| high <= to))
    }

    fn leaf(&mut self, child: ChildRef, bounds: Bounds<'_>) -> Result<Option<ChildRef>> {
        let leaf = fetch_leaf(self.dirty, child, self.tree.table)?;
        let place = |key: &[u8]| Ok(leaf.search(key)?.unwrap_or_else(|i| i));
        let (first, end) = (place(self.from)?, self.to.map_or(Ok(leaf.count()), place)?);
        if first >= end {
            return Ok(Some(child));
        }
        if end - first == leaf.count() {
            return drop_below(self.dirty, self.tree, child, 0, &mut self.left).map(|()| None);
        }
        let layout = self.tree.layout;
        let slot = self.dirty.make_mut(child, 0, &layout)?;
        expect_inside(LeafView::new(self.dirty.heap_page(slot))?, child, bounds)?;
        let leaf = LeafView::new(self.dirty.heap_page(slot))?;
        let (held, weight) = (held_by(&leaf, child, first..end, &layout)?, leaf.weight(&layout, first..end)?);
        held.into_iter().try_for_each(|held| held.give_up_within(self.dirty, self.tree, &mut self.left))?;
        let page = self.dirty.heap_page_mut(slot);
        (first..end).rev().for_each(|i| leaf_remove(page, &layout, i));
        let count = child.count.saturating_sub(weight);
        Ok(Some(self.dirty.reference(slot, count)))
    }

    fn branch(&mut self, child: ChildRef, level: u8, bounds: Bounds<'_>) -> Result<Option<ChildRef>> {
        let branch = fetch_branch(self.dirty, child, level, self.tree.table)?;
        let first = branch.search(self.from)?;
        let last = self.to.map_or(Ok(branch.count() - 1), |to| branch.search(to))?;
        let entries = BranchEntries::read(&branch)?;
        let (mut kept, mut cut, mut is_changed) = (BranchEntries::default(), Vec::new(), false);
        for i in 0..entries.count() {
            let before = entries.child(i);
            let mut after = Some(before);
            if (first..=last).contains(&i) {
                written_below(child, before.page)?;
                after = self.below(before, level - 1, around(&entries, i, bounds))?;
            }
            is_changed |= after != Some(before);
            let Some(after) = after else { continue };
            if after != before {
                cut.push(kept.count());
            }
            kept.push(if kept.count() == 0 { &[] } else { entries.key(i) }, after);
        }
        if !is_changed {
            return Ok(Some(child));
        }
        if kept.count() == 0 {
            return self.dirty.drop_page(child).map(|()| None);
        }
        let slot = self.dirty.make_mut(child, level, &self.tree.layout)?;
        // From the right: joining moves what is behind.
        for at in cut.into_iter().rev() {
            self.mend(&mut kept, at, level - 1, bounds)?;
        }
        Ok(Some(self.write(slot, level, &kept)))
    }

    /// Joins child `at`, if there still is one and it has become small, with its neighbours while they fit into one page with
    /// room to spare.
    fn mend(&mut self, parents: &mut BranchEntries, at: usize, level: u8, bounds: Bounds<'_>) -> Result<()> {
        let mut at = at.min(parents.count() - 1);
        while self.is_small(parents.child(at), level) {
            if at > 0 && self.join(parents, at - 1, level, bounds)? {
                at -= 1;
            } else if at + 1 == parents.count() || !self.join(parents, at, level, bounds)? {
                break;
            }
        }
        Ok(())
    }

    /// Whether a page, which was changed, is less than a quarter full.
    fn is_small(&self, child: ChildRef, level: u8) -> bool {
        let Some(slot) = heap_slot(child.page).filter(|slot| self.dirty.is_current(*slot)) else {
            return false;
        };
        let (page, layout) = (self.dirty.heap_page(slot), &self.tree.layout);
        match level {
            0 => leaf_used(page, layout) < leaf_room(layout) / 4,
            _ => branch::used(page) <= page.len() / 4,
        }
    }

    /// Moves what child `i + 1` has into child `i`, if that leaves a quarter of the page free.
    fn join(&mut self, parents: &mut BranchEntries, i: usize, level: u8, bounds: Bounds<'_>) -> Result<bool> {
        let joined = match level {
            0 => self.join_leaves(parents, i, bounds)?,
            _ => self.join_branches(parents, i, level, bounds)?,
        };
        let Some(slot) = joined else { return Ok(false) };
        let count = parents.child(i).count.saturating_add(parents.child(i + 1).count);
        parents.set_child(i, self.dirty.reference(slot, count));
        parents.remove(i + 1);
        Ok(true)
    }

    fn join_leaves(&mut self, parents: &BranchEntries, i: usize, bounds: Bounds<'_>) -> Result<Option<u32>> {
        let layout = self.tree.layout;
        let mut used = 0;
        for i in [i, i + 1] {
            // Of a page in the file this may be anything yet.
            used += leaf_used(fetch(self.dirty, parents.child(i), self.tree.table)?, &layout);
        }
        if used > leaf_room(&layout) * 3 / 4 {
            return Ok(None);
        }
        let mut slots = [0; 2];
        for (slot, i) in slots.iter_mut().zip([i, i + 1]) {
            let child = parents.child(i);
            *slot = self.dirty.make_mut(child, 0, &layout)?;
            expect_inside(LeafView::new(self.dirty.heap_page(*slot))?, child, around(parents, i, bounds))?;
        }
        join_leaves(self.dirty, self.tree, slots[0], slots[1])?;
        Ok(Some(slots[0]))
    }

    fn join_branches(
        &mut self,
        parents: &BranchEntries,
        i: usize,
        level: u8,
        bounds: Bounds<'_>,
    ) -> Result<Option<u32>> {
        let mut joined = BranchEntries::default();
        let mut seam = 0;
        for (i, separator) in [(i, &[][..]), (i + 1, parents.key(i + 1))] {
            let branch = fetch_branch(self.dirty, parents.child(i), level, self.tree.table)?;
            seam = joined.count();
            joined.append(separator, &BranchEntries::read(&branch)?);
        }
        joined.check_order()?;
        if joined.page_len(0, joined.count()) > self.tree.layout.page_size * 3 / 4 {
            return Ok(None);
        }
        // The right one is copied only to be judged before its references are believed, and to be given up.
        let slot = self.dirty.make_mut(parents.child(i), level, &self.tree.layout)?;
        let right = self.dirty.make_mut(parents.child(i + 1), level, &self.tree.layout)?;
        self.dirty.drop_slot(right);
        let bounds = (around(parents, i, bounds).0, around(parents, i + 1, bounds).1);
        for at in [seam, seam - 1] {
            self.mend(&mut joined, at, level - 1, bounds)?;
        }
        self.write(slot, level, &joined);
        Ok(Some(slot))
    }

    /// Writes a branch and returns the reference to it.
    fn write(&mut self, slot: u32, level: u8, entries: &BranchEntries) -> ChildRef {
        entries.write(self.dirty.heap_page_mut(slot), level, self.tree.table, 0, entries.count());
        let counts = (0..entries.count()).map(|i| entries.child(i).count);
        self.dirty.reference(slot, counts.fold(0, u64::saturating_add))
    }
}

/// The separators around child `i` of a branch that lies between `bounds`.
fn around<'b>(entries: &'b BranchEntries, i: usize, (low, high): Bounds<'b>) -> Bounds<'b> {
    let key = |i: usize| (i < entries.count()).then(|| entries.key(i));
    (if i == 0 { low } else { key(i) }, key(i + 1).or(high))
}

/// Edits rely on it that what a leaf holds lies between the separators above it.
fn expect_inside(leaf: LeafView<'_>, child: ChildRef, (low, high): Bounds<'_>) -> Result<()> {
    let Some(last) = leaf.count().checked_sub(1) else { return Ok(()) };
    let (first, last) = (leaf.key(0)?, leaf.key(last)?);
    match low.is_some_and(|low| first < low) || high.is_some_and(|high| last >= high) {
        false => Ok(()),
        true => Err(Error::corrupt(child.page, "holds a key outside the separators above it")),
    }
}

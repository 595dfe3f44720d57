//! Removing an entry, a page that became empty, or a whole tree.
//!
//! Merging is lazy: a page is joined with a neighbour only when it has become less than a quarter
//! full and both fit in one page with room to spare, so that alternating puts and deletes do not
//! split and merge in turn.

use super::path::{self, Wanted};
use super::{Tree, fetch_branch, fetch_leaf, multi};
use crate::dirty::{Dirty, Step};
use crate::error::{Error, Result};
use crate::format::{ChildRef, DIRTY_BIT, Layout, OverflowRef, SetRef};
use crate::page::{
    Branch, BranchEntries, LeafView, Stored, branch, leaf_insert, leaf_remove, leaf_room, leaf_used,
};
use std::ops::Range;

/// Removes `key`; false when it was not there.
///
/// # Errors
/// `Corrupt`; the tree may then be half changed.
pub fn remove(dirty: &mut Dirty, tree: &mut Tree, key: &[u8]) -> Result<bool> {
    Ok(remove_all(dirty, tree, key)? > 0)
}

/// Removes `key` and what it has. Returns how many entries of the table that were: none, one, or in a
/// multimap as many as it had values.
///
/// # Errors
/// `Corrupt`; the tree may then be half changed.
pub fn remove_all(dirty: &mut Dirty, tree: &mut Tree, key: &[u8]) -> Result<u64> {
    if tree.is_empty() || !path::find(dirty, tree, key, Wanted::Entry)? {
        return Ok(0);
    }
    let leaf = LeafView::new(dirty.heap_page(dirty.path.leaf))?;
    let Ok(i) = leaf.search(key)? else { return Ok(0) };
    let held = Held::by(&leaf, i, &tree.layout)?;
    held.give_up(dirty, tree)?;
    remove_at(dirty, tree, i, held.weight)?;
    Ok(held.weight)
}

/// Removes entry `i` of the path's leaf, which counted for `weight` and holds nothing elsewhere any more.
pub(super) fn remove_at(dirty: &mut Dirty, tree: &mut Tree, i: usize, weight: u64) -> Result<()> {
    leaf_remove(dirty.heap_page_mut(dirty.path.leaf), &tree.layout, i);
    path::change_counts(dirty, tree, |count| count.saturating_sub(weight));
    shrink_leaf(dirty, tree)
}

/// What an entry of a leaf holds: how many entries of the table it counts for, and what it has elsewhere.
#[derive(Clone, Copy)]
pub struct Held {
    /// One; in a multimap the number of the key's values.
    pub weight: u64,
    apart: Apart,
}

#[derive(Clone, Copy)]
enum Apart {
    Nothing,
    Value(OverflowRef),
    Set(SetRef),
}

impl Held {
    /// What entry `i` of a leaf of this layout holds.
    ///
    /// # Errors
    /// `Corrupt` where it cannot be an entry of such a table.
    pub fn by(leaf: &LeafView<'_>, i: usize, layout: &Layout) -> Result<Held> {
        let weight = leaf.weight(layout, i..i + 1)?;
        let apart = match leaf.stored(i)? {
            Stored::Inline(_) => Apart::Nothing,
            Stored::Overflow(run) => Apart::Value(run),
            Stored::Set(set) => Apart::Set(set),
        };
        Ok(Held { weight, apart })
    }

    /// Gives up the pages that it has elsewhere. The entry is to be removed, and the counts above it are the
    /// caller's.
    ///
    /// # Errors
    /// `Corrupt` for a reference that cannot be right.
    pub fn give_up(&self, dirty: &mut Dirty, tree: &mut Tree) -> Result<()> {
        let mut left = page_budget(dirty);
        self.give_up_within(dirty, tree, &mut left)
    }

    /// The same where `left` pages are left to be given up.
    pub(super) fn give_up_within(&self, dirty: &mut Dirty, tree: &mut Tree, left: &mut u64) -> Result<()> {
        let held = match self.apart {
            Apart::Nothing => 0,
            Apart::Value(run) => {
                dirty.drop_value(&run)?;
                run.pages(tree.layout.page_size)
            }
            Apart::Set(set) => {
                let mut set = multi::set_tree(tree, &set)?;
                // The way to the entry stays as it is.
                let is_valid = dirty.path.is_valid;
                let (root, level) = (set.root, set.level);
                drop_below(dirty, &mut set, root, level, left)?;
                dirty.path.is_valid = is_valid;
                1
            }
        };
        tree.overflow_pages = tree.overflow_pages.saturating_sub(held);
        Ok(())
    }

    /// The page that it refers to, if any.
    fn page(&self) -> Option<u64> {
        match self.apart {
            Apart::Nothing => None,
            Apart::Value(run) => Some(run.page),
            Apart::Set(set) => Some(set.root.page),
        }
    }
}

/// Puts the path right where its leaf has become small.
pub(super) fn shrink_leaf(dirty: &mut Dirty, tree: &mut Tree) -> Result<()> {
    let used = leaf_used(dirty.heap_page(dirty.path.leaf), &tree.layout);
    if used < leaf_room(&tree.layout) / 4 { shrink(dirty, tree, used) } else { Ok(()) }
}

/// Puts the path right after its leaf has become small: only `used` bytes of it are.
fn shrink(dirty: &mut Dirty, tree: &mut Tree, used: usize) -> Result<()> {
    if used == 0 {
        let leaf = dirty.reference(dirty.path.leaf, 0);
        dirty.drop_page(leaf)?;
        remove_child(dirty, tree, dirty.path.len)?;
    } else if dirty.path.len > 0 {
        merge_leaf(dirty, tree, used)?;
    }
    lower_root(dirty, tree)
}

/// The child to which step `depth - 1` leads is gone.
fn remove_child(dirty: &mut Dirty, tree: &mut Tree, depth: usize) -> Result<()> {
    let Some(above) = depth.checked_sub(1) else {
        tree.root = ChildRef::default();
        tree.level = 0;
        return Ok(());
    };
    let Step { slot, child } = dirty.path.steps[above];
    let level = tree.level - above as u8;
    let mut entries = BranchEntries::read(&Branch::new(dirty.heap_page(slot), level)?)?;
    entries.remove(child as usize);
    entries.check_order()?;
    if entries.count() == 0 {
        let branch = dirty.reference(slot, 0);
        dirty.drop_page(branch)?;
        return remove_child(dirty, tree, above);
    }
    entries.write(dirty.heap_page_mut(slot), level, tree.table, 0, entries.count());
    dirty.path.is_valid = false;
    merge_branch(dirty, tree, level, &entries, above)
}

/// Joins the path's leaf with a neighbour under the same parent if both fit with room to spare.
fn merge_leaf(dirty: &mut Dirty, tree: &mut Tree, used: usize) -> Result<()> {
    let above = dirty.path.len - 1;
    let Step { slot: parent, child } = dirty.path.steps[above];
    let (i, leaf, layout) = (child as usize, dirty.path.leaf, tree.layout);
    let branch = Branch::new(dirty.heap_page(parent), 1)?;
    for neighbour in [i.wrapping_sub(1), i + 1].into_iter().filter(|n| *n < branch.count()) {
        let other = branch.child(neighbour)?;
        // Of a page in the file this may be anything yet.
        if used + leaf_used(super::fetch(dirty, other, tree.table)?, &layout) > leaf_room(&layout) * 3 / 4 {
            continue;
        }
        let count = branch.child(i)?.count + other.count;
        let slot = dirty.make_mut(other, 0, &layout)?;
        path::expect_inside(dirty, tree, neighbour, slot)?;
        let (left, right) = if neighbour < i { (slot, leaf) } else { (leaf, slot) };
        join_leaves(dirty, tree, left, right)?;
        let (joined, page) = (dirty.reference(left, count), dirty.heap_page_mut(parent));
        branch::set_child(page, i.min(neighbour), joined);
        branch::remove(page, 1, i.max(neighbour))?;
        if branch::used(page) <= page.len() / 4 {
            let entries = BranchEntries::read(&Branch::new(page, 1)?)?;
            merge_branch(dirty, tree, 1, &entries, above)?;
        }
        return Ok(());
    }
    Ok(())
}

/// Moves everything into the left one of two heap leaves, which has room for it, and drops the right one.
pub(super) fn join_leaves(dirty: &mut Dirty, tree: &Tree, left: u32, right: u32) -> Result<()> {
    let bytes = dirty.copy_out(right);
    let from = LeafView::new(&bytes)?;
    let page = dirty.heap_page_mut(left);
    let at = LeafView::new(page)?.count();
    for i in 0..from.count() {
        let (key, value) = from.entry(i)?;
        assert!(leaf_insert(page, &tree.layout, at + i, key, value, 0), "entry {i} does not fit");
    }
    dirty.scratch = bytes;
    dirty.drop_slot(right);
    Ok(())
}

/// Joins the branch of step `depth`, which has become small, with a neighbour under the same parent.
fn merge_branch(
    dirty: &mut Dirty,
    tree: &mut Tree,
    level: u8,
    entries: &BranchEntries,
    depth: usize,
) -> Result<()> {
    let page_size = tree.layout.page_size;
    let Some(above) = depth.checked_sub(1) else { return Ok(()) };
    let (slot, Step { slot: parent_slot, child }) = (dirty.path.steps[depth].slot, dirty.path.steps[above]);
    let i = child as usize;
    if entries.page_len(0, entries.count()) > page_size / 4 {
        return Ok(());
    }
    let mut parents = BranchEntries::read(&Branch::new(dirty.heap_page(parent_slot), level + 1)?)?;
    for neighbour in [i.checked_sub(1), Some(i + 1)].into_iter().flatten().filter(|n| *n < parents.count()) {
        let other = parents.child(neighbour);
        let other_entries = BranchEntries::read(&fetch_branch(dirty, other, level, tree.table)?)?;
        let first = neighbour.min(i);
        let separator = parents.key(first + 1).to_vec();
        let mut joined = BranchEntries::default();
        let (left, right) = if neighbour < i { (&other_entries, entries) } else { (entries, &other_entries) };
        joined.append(&[], left);
        joined.append(&separator, right);
        joined.check_order()?;
        if joined.page_len(0, joined.count()) > page_size * 3 / 4 {
            continue;
        }
        // Copied only to be judged before its references are believed, and to be given up.
        let other_slot = dirty.make_mut(other, level, &tree.layout)?;
        joined.write(dirty.heap_page_mut(slot), level, tree.table, 0, joined.count());
        let other = dirty.reference(other_slot, 0);
        dirty.drop_page(other)?;
        let count = parents.child(first).count + parents.child(first + 1).count;
        parents.set_child(first, dirty.reference(slot, count));
        parents.remove(first + 1);
        parents.write(dirty.heap_page_mut(parent_slot), level + 1, tree.table, 0, parents.count());
        return merge_branch(dirty, tree, level + 1, &parents, above);
    }
    Ok(())
}

/// A root branch with one child gives way to that child.
pub(super) fn lower_root(dirty: &mut Dirty, tree: &mut Tree) -> Result<()> {
    while tree.level > 0 {
        let branch = fetch_branch(dirty, tree.root, tree.level, tree.table)?;
        if branch.count() > 1 {
            return Ok(());
        }
        let child = branch.child(0)?;
        written_below(tree.root, child.page)?;
        dirty.drop_page(tree.root)?;
        tree.root = child;
        tree.level -= 1;
    }
    Ok(())
}

/// Gives up every page of a tree. Leaves are read only as long as there are overflow runs.
///
/// # Errors
/// `Corrupt` where a page is damaged; the tree may then be half given up.
pub fn drop_tree(dirty: &mut Dirty, tree: &Tree) -> Result<()> {
    if tree.is_empty() {
        return Ok(());
    }
    let (root, level) = (tree.root, tree.level);
    drop_below(dirty, &mut { *tree }, root, level, &mut page_budget(dirty))
}

/// The number of pages that there can be: a page with many references must not be visited for each of them.
pub(super) fn page_budget(dirty: &Dirty) -> u64 {
    dirty.space.page_count() + (dirty.bytes() / dirty.page_size()) as u64
}

/// Gives up `child` and what is below it. `left` is the number of pages that there can be.
pub(super) fn drop_below(
    dirty: &mut Dirty,
    tree: &mut Tree,
    child: ChildRef,
    level: u8,
    left: &mut u64,
) -> Result<()> {
    let too_many = || Error::corrupt(child.page, "the tree refers to more pages than there are");
    *left = left.checked_sub(1).ok_or_else(too_many)?;
    if level > 0 {
        let branch = fetch_branch(dirty, child, level, tree.table)?;
        let children: Vec<ChildRef> = (0..branch.count()).map(|i| branch.child(i)).collect::<Result<_>>()?;
        if level > 1 || tree.overflow_pages > 0 {
            read_ahead(dirty, &children);
        }
        for below in children {
            written_below(child, below.page)?;
            drop_below(dirty, tree, below, level - 1, left)?;
        }
    } else if tree.overflow_pages > 0 {
        let leaf = fetch_leaf(dirty, child, tree.table)?;
        let held = held_by(&leaf, child, 0..leaf.count(), &tree.layout)?;
        held.into_iter().try_for_each(|held| held.give_up_within(dirty, tree, left))?;
    }
    dirty.drop_page(child)
}

/// Asks for pages that will be read, so that the disk works on many at once.
fn read_ahead(dirty: &Dirty, children: &[ChildRef]) {
    let pages = &dirty.store.pages;
    let cold = children.iter().filter(|child| !pages.is_touched(child.page, child.birth));
    let mut cold: Vec<u64> = cold.map(|child| child.page).collect();
    pages.read_ahead(&mut cold, dirty.space.page_count(), 0);
}

/// Those of these entries of the leaf that `child` refers to that hold something beside the page.
pub(super) fn held_by(
    leaf: &LeafView<'_>,
    child: ChildRef,
    entries: Range<usize>,
    layout: &Layout,
) -> Result<Vec<Held>> {
    let mut all = Vec::new();
    for i in entries {
        let held = Held::by(leaf, i, layout)?;
        if let Some(page) = held.page() {
            written_below(child, page)?;
            all.push(held);
        }
    }
    Ok(all)
}

/// A page in the file cannot refer to one in the heap.
pub(super) fn written_below(parent: ChildRef, page: u64) -> Result<()> {
    if parent.page & DIRTY_BIT == 0 && page & DIRTY_BIT != 0 {
        return Err(Error::corrupt(parent.page, format!("refers to page {page}")));
    }
    Ok(())
}

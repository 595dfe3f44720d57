//! Putting an entry: find the leaf, insert, split upwards.

use super::path::{self, Wanted};
use super::{Tree, search};
use crate::dirty::{Dirty, Step, heap_slot};
use crate::error::{Error, Result};
use crate::format::{ChildRef, MAX_LEVELS, OverflowRef};
use crate::page::{
    Branch, BranchEntries, Inserted, LeafView, SplitAt, Stored, branch, entry_len, init_leaf, leaf_insert,
    leaf_overwrite, leaf_remove, leaf_room, leaf_used, separator,
};

/// A neighbour that is less full than this, in percent, takes entries of a full leaf before that is split.
const SHARED_BELOW: usize = 62;

/// What was at the key before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Put {
    /// Nothing: there is one more entry now.
    Inserted,
    /// A value, which was replaced.
    Replaced,
    /// A value, which was left alone because the caller wanted it so.
    Kept,
}

/// Whether a value of this length stays in the leaf, beside at least one more entry.
pub fn is_inline(tree: &Tree, key_len: usize, value_len: usize) -> bool {
    tree.layout.fixed.is_some() || entry_len(&tree.layout, key_len, value_len) <= leaf_room(&tree.layout) / 2
}

/// Puts `value` at `key`; leaves an existing value alone unless `replace`.
///
/// # Errors
/// `Corrupt`, `Io`, `Full`; the tree may then be half changed.
pub fn put(dirty: &mut Dirty, tree: &mut Tree, key: &[u8], value: &[u8], replace: bool) -> Result<Put> {
    if !replace && search::find(dirty, tree, key)?.is_some() {
        return Ok(Put::Kept);
    }
    put_with(dirty, tree, key, |dirty, tree| store(dirty, tree, key, value))
}

/// The value as a leaf of the tree will hold it, beside this key.
///
/// # Errors
/// `Io`, `Full`.
pub fn store<'v>(dirty: &mut Dirty, tree: &Tree, key: &[u8], value: &'v [u8]) -> Result<Stored<'v>> {
    match is_inline(tree, key.len(), value.len()) {
        true => Ok(Stored::Inline(value)),
        false => dirty.add_value(value).map(Stored::Overflow),
    }
}

/// Puts a value that has pages of its own already, or a place in the heap, at `key`.
///
/// # Errors
/// Those of [`put`].
pub fn put_run(dirty: &mut Dirty, tree: &mut Tree, key: &[u8], run: OverflowRef) -> Result<Put> {
    put_with(dirty, tree, key, |_, _| Ok(Stored::Overflow(run)))
}

/// Puts at `key` what `store` makes, when the value before it is given up.
fn put_with<'v>(
    dirty: &mut Dirty,
    tree: &mut Tree,
    key: &[u8],
    store: impl FnOnce(&mut Dirty, &Tree) -> Result<Stored<'v>>,
) -> Result<Put> {
    begin(dirty, tree)?;
    path::find(dirty, tree, key, Wanted::Place)?;
    let leaf = LeafView::new(dirty.heap_page(dirty.path.leaf))?;
    let found = if dirty.path.is_near {
        leaf.search_from_end(key)?
    } else {
        leaf.search_sharing(key, dirty.path.shared)?
    };
    if let Ok(i) = found
        && let Stored::Overflow(run) = leaf.stored(i)?
    {
        tree.overflow_pages = tree.overflow_pages.saturating_sub(run.pages(tree.layout.page_size));
        dirty.drop_value(&run)?;
    }
    let stored = store(dirty, tree)?;
    if let Stored::Overflow(run) = &stored {
        tree.overflow_pages += run.pages(tree.layout.page_size);
    }
    let page = dirty.heap_page_mut(dirty.path.leaf);
    match found {
        Ok(i) => {
            if !leaf_overwrite(page, &tree.layout, i, stored) {
                leaf_remove(page, &tree.layout, i);
                insert_at(dirty, tree, i, key, stored)?;
            }
            Ok(Put::Replaced)
        }
        Err(i) => {
            path::change_counts(dirty, tree, |count| count.saturating_add(1));
            insert_at(dirty, tree, i, key, stored)?;
            Ok(Put::Inserted)
        }
    }
}

/// Sees to it that the tree has a root, to which an entry is added.
#[inline]
pub(super) fn begin(dirty: &mut Dirty, tree: &mut Tree) -> Result<()> {
    if tree.is_empty() {
        let leaf = dirty.add_page()?;
        init_leaf(dirty.heap_page_mut(leaf), &tree.layout, tree.table);
        tree.root = dirty.reference(leaf, 0);
        tree.level = 0;
    }
    Ok(())
}

/// Inserts before entry `i` of the path's leaf, which the counts on the path know of already.
#[inline]
pub(super) fn insert_at(
    dirty: &mut Dirty,
    tree: &mut Tree,
    i: usize,
    key: &[u8],
    value: Stored<'_>,
) -> Result<()> {
    let (leaf, shared) = (dirty.path.leaf, dirty.path.shared);
    match leaf_insert(dirty.heap_page_mut(leaf), &tree.layout, i, key, value, shared) {
        true => Ok(()),
        false => make_room(dirty, tree, i, key, value),
    }
}

/// Inserts where there is no room: the leaf becomes two.
fn make_room(dirty: &mut Dirty, tree: &mut Tree, i: usize, key: &[u8], value: Stored<'_>) -> Result<()> {
    let leaf = LeafView::new(dirty.heap_page(dirty.path.leaf))?;
    let (is_rightmost, is_leftmost) = (dirty.path.upper.is_none(), dirty.path.lower.is_none());
    if i > 0 && i == leaf.count() && is_rightmost {
        return append_leaf(dirty, tree, key, value);
    }
    let policy = if i == 0 && is_leftmost { SplitAt::First } else { SplitAt::Middle };
    let full = dirty.copy_out(dirty.path.leaf);
    let entries = Inserted::new(LeafView::new(&full)?, i, key, value);
    if policy == SplitAt::First || !share(dirty, tree, &entries)? {
        split_leaf(dirty, tree, &entries, policy)?;
    }
    dirty.scratch = full;
    Ok(())
}

/// Moves some of the entries of the path's leaf to a neighbour under the same parent that has room for many and was
/// changed anyway. False, and nothing done, where there is none.
fn share(dirty: &mut Dirty, tree: &Tree, entries: &Inserted<'_>) -> Result<bool> {
    let Some(above) = dirty.path.len.checked_sub(1) else { return Ok(false) };
    let (layout, leaf, room) = (tree.layout, dirty.path.leaf, leaf_room(&tree.layout));
    let Step { slot: parent, child } = dirty.path.steps[above];
    let i = child as usize;
    let branch = Branch::new(dirty.heap_page(parent), 1)?;
    let mut emptiest = (room * SHARED_BELOW / 100, None);
    for neighbour in [i.wrapping_sub(1), i + 1].into_iter().filter(|n| *n < branch.count()) {
        let child = branch.child(neighbour)?;
        if let Some(slot) = heap_slot(child.page).filter(|slot| dirty.is_current(*slot)) {
            emptiest = emptiest.min((leaf_used(dirty.heap_page(slot), &layout), Some((neighbour, slot))));
        }
    }
    let (used, Some((neighbour, slot))) = emptiest else { return Ok(false) };
    let (total, is_left) = (entries.used(&layout), neighbour < i);
    let moved = (total + used) / 2 - used;
    let (border, first) = entries.first(&layout, if is_left { moved } else { total - moved })?;
    let (kept, moved) = if is_left { (total - first, first) } else { (first, total - first) };
    if border == 0 || border == entries.count() || kept > room || used + moved > room {
        return Ok(false);
    }
    let separator = entries.separator(border)?;
    if !branch::set_separator(dirty.heap_page_mut(parent), 1, i.max(neighbour), separator)? {
        return Ok(false);
    }
    let (first, last) = (0..border, border..entries.count());
    let (moved, kept) = if is_left { (first, last) } else { (last, first) };
    let page = dirty.heap_page_mut(slot);
    let at = if is_left { LeafView::new(page)?.count() } else { 0 };
    entries.insert_into(page, &layout, at, moved)?;
    let leaf_there = LeafView::new(page)?;
    let count = leaf_there.weight(&layout, 0..leaf_there.count())?;
    let kept_count = entries.weight(&layout, kept.clone())?;
    let page = dirty.heap_page_mut(leaf);
    init_leaf(page, &layout, tree.table);
    entries.build(page, &layout, kept)?;
    dirty.path.is_valid = false;
    for (child, slot, count) in [(i, leaf, kept_count), (neighbour, slot, count)] {
        let reference = dirty.reference(slot, count);
        branch::set_child(dirty.heap_page_mut(parent), child, reference);
    }
    Ok(true)
}

/// Distributes the entries over the path's leaf and a new one behind it.
fn split_leaf(dirty: &mut Dirty, tree: &mut Tree, entries: &Inserted<'_>, policy: SplitAt) -> Result<()> {
    let (layout, left_slot, right_slot) = (tree.layout, dirty.path.leaf, dirty.add_page()?);
    let border = entries.border(&layout, policy)?;
    for (slot, part) in [(left_slot, 0..border), (right_slot, border..entries.count())] {
        let page = dirty.heap_page_mut(slot);
        init_leaf(page, &layout, tree.table);
        entries.build(page, &layout, part)?;
    }
    let right = dirty.reference(right_slot, entries.weight(&layout, border..entries.count())?);
    let left = dirty.reference(left_slot, entries.weight(&layout, 0..border)?);
    let ascending = dirty.path.upper.is_none();
    grow_parent(dirty, tree, dirty.path.len, left, entries.separator(border)?, right, ascending).map(|_| ())
}

/// An entry behind the last one of the tree begins a leaf of its own: ascending loads leave full
/// pages, and nothing is copied.
fn append_leaf(dirty: &mut Dirty, tree: &mut Tree, key: &[u8], value: Stored<'_>) -> Result<()> {
    dirty.note_appended();
    let full = dirty.path.leaf;
    let slot = dirty.add_page()?;
    let page = dirty.heap_page_mut(slot);
    init_leaf(page, &tree.layout, tree.table);
    assert!(leaf_insert(page, &tree.layout, 0, key, value, 0), "an entry fits in an empty leaf");
    let leaf = LeafView::new(dirty.heap_page(full))?;
    let separator = separator(leaf.key(leaf.count() - 1)?, key);
    let left = leaf.weight(&tree.layout, 0..leaf.count())?;
    let right = LeafView::new(dirty.heap_page(slot))?.weight(&tree.layout, 0..1)?;
    let (left, right) = (dirty.reference(full, left), dirty.reference(slot, right));
    let depth = dirty.path.len;
    if grow_parent(dirty, tree, depth, left, separator, right, true)? {
        // The path leads to the new leaf now.
        let (path, last) = (&mut dirty.path, depth - 1);
        path.steps[last].child += 1;
        (path.lower, path.shared) = (Some(last), 0);
        (path.leaf, path.is_valid, path.is_near) = (slot, true, true);
    }
    Ok(())
}

/// `left`, to which step `depth - 1` leads, has split: adds `right` behind it, splitting upwards. Returns
/// whether that left the path as it was, but for the last step.
fn grow_parent(
    dirty: &mut Dirty,
    tree: &mut Tree,
    depth: usize,
    left: ChildRef,
    separator: &[u8],
    right: ChildRef,
    ascending: bool,
) -> Result<bool> {
    let Some(above) = depth.checked_sub(1) else {
        return grow_root(dirty, tree, left, separator, right).map(|()| false);
    };
    let Step { slot, child } = dirty.path.steps[above];
    let (i, level) = (child as usize, tree.level - above as u8);
    let page = dirty.heap_page_mut(slot);
    branch::set_child(page, i, left);
    if branch::insert(page, level, i + 1, separator, right)? {
        return Ok(true);
    }
    let mut entries = BranchEntries::read(&Branch::new(page, level)?)?;
    entries.insert(i + 1, separator, right);
    entries.check_order()?;
    let (count, page_size) = (entries.count(), tree.layout.page_size);
    if entries.page_len(0, count) <= page_size {
        entries.write(page, level, tree.table, 0, count);
        return Ok(true);
    }
    let border = entries.border(page_size, ascending);
    let right_slot = dirty.add_page()?;
    entries.write(dirty.heap_page_mut(slot), level, tree.table, 0, border);
    entries.write(dirty.heap_page_mut(right_slot), level, tree.table, border, count);
    let below = |range: std::ops::Range<usize>| range.map(|i| entries.child(i).count).sum();
    let left = dirty.reference(slot, below(0..border));
    let right = dirty.reference(right_slot, below(border..count));
    grow_parent(dirty, tree, above, left, entries.key(border), right, ascending).map(|_| false)
}

fn grow_root(
    dirty: &mut Dirty,
    tree: &mut Tree,
    left: ChildRef,
    separator: &[u8],
    right: ChildRef,
) -> Result<()> {
    let level = tree.level + 1;
    expect_level(level.into())?;
    let mut entries = BranchEntries::default();
    entries.push(&[], left);
    entries.push(separator, right);
    let slot = dirty.add_page()?;
    entries.write(dirty.heap_page_mut(slot), level, tree.table, 0, 2);
    tree.root = dirty.reference(slot, tree.root.count);
    tree.level = level;
    Ok(())
}

/// A tree can have a root of this level.
pub(super) fn expect_level(level: usize) -> Result<()> {
    if level < MAX_LEVELS {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "the table would have more than {MAX_LEVELS} levels; use shorter keys or larger pages"
    )))
}

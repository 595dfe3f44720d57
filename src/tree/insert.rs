//! Putting an entry: copy the path, insert, split upwards.

use super::{Tree, search};
use crate::dirty::Dirty;
use crate::error::{Error, Result};
use crate::format::{ChildRef, MAX_LEVELS, header};
use crate::page::{
    Branch, BranchEntries, Inserted, LeafView, SplitAt, Stored, branch, entry_len, init_leaf, leaf_insert,
    leaf_overwrite, leaf_remove, leaf_room, separator,
};

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

/// The heap pages on the way to a leaf: slot and child index, from the root down.
pub(super) struct Path {
    pub steps: [(u32, usize); MAX_LEVELS],
    pub len: usize,
    pub leaf: u32,
    /// Whether every step took the last, or the first, child.
    pub rightmost: bool,
    pub leftmost: bool,
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
    if tree.is_empty() {
        let leaf = dirty.add_page();
        init_leaf(dirty.heap_page_mut(leaf), &tree.layout, tree.table);
        tree.root = dirty.reference(leaf, 0);
        tree.level = 0;
    }
    let path = copy_path(dirty, tree, key)?;
    let leaf = LeafView::new(dirty.heap_page(path.leaf))?;
    let found = leaf.search(key)?;
    let mut old = None;
    if let Ok(i) = found
        && let Stored::Overflow(run) = leaf.stored(i)?
    {
        old = Some(run);
    }
    if let Some(run) = old {
        tree.overflow_pages = tree.overflow_pages.saturating_sub(run.pages(tree.layout.page_size));
        dirty.drop_value(&run)?;
    }
    let stored = match is_inline(tree, key.len(), value.len()) {
        true => Stored::Inline(value),
        false => {
            let run = dirty.add_value(value)?;
            tree.overflow_pages += run.pages(tree.layout.page_size);
            Stored::Overflow(run)
        }
    };
    match found {
        Ok(i) => {
            if !leaf_overwrite(dirty.heap_page_mut(path.leaf), &tree.layout, i, stored) {
                leaf_remove(dirty.heap_page_mut(path.leaf), &tree.layout, i);
                insert_at(dirty, tree, &path, i, key, stored, 0)?;
            }
            Ok(Put::Replaced)
        }
        Err(i) => {
            insert_at(dirty, tree, &path, i, key, stored, 1)?;
            Ok(Put::Inserted)
        }
    }
}

/// Makes heap pages of all pages from the root to the leaf of `key`.
pub(super) fn copy_path(dirty: &mut Dirty, tree: &mut Tree, key: &[u8]) -> Result<Path> {
    let mut path = Path { steps: [(0, 0); MAX_LEVELS], len: 0, leaf: 0, rightmost: true, leftmost: true };
    let mut slot = copy_child(dirty, tree, tree.root, tree.level)?;
    tree.root = dirty.reference(slot, tree.root.count);
    for level in (1..=tree.level).rev() {
        let branch = Branch::new(dirty.heap_page(slot), level)?;
        let i = branch.search(key)?;
        let child = branch.child(i)?;
        path.rightmost &= i + 1 == branch.count();
        path.leftmost &= i == 0;
        path.steps[path.len] = (slot, i);
        path.len += 1;
        let child_slot = copy_child(dirty, tree, child, level - 1)?;
        let copied = dirty.reference(child_slot, child.count);
        if copied != child {
            branch::set_child(dirty.heap_page_mut(slot), i, copied);
        }
        slot = child_slot;
    }
    path.leaf = slot;
    Ok(path)
}

fn copy_child(dirty: &mut Dirty, tree: &Tree, child: ChildRef, level: u8) -> Result<u32> {
    if usize::from(level) >= MAX_LEVELS {
        return Err(Error::corrupt(
            child.page,
            format!("level {level}, at most {} are possible", MAX_LEVELS - 1),
        ));
    }
    let slot = dirty.make_mut(child, level, &tree.layout)?;
    let table = header(dirty.heap_page(slot)).table.get();
    if table != tree.table {
        return Err(Error::corrupt(child.page, format!("belongs to table {table}, expected {}", tree.table)));
    }
    Ok(slot)
}

/// Inserts before entry `i` of the path's leaf. `added` entries more are below every page on the path.
fn insert_at(
    dirty: &mut Dirty,
    tree: &mut Tree,
    path: &Path,
    i: usize,
    key: &[u8],
    value: Stored<'_>,
    added: u64,
) -> Result<()> {
    if added > 0 {
        change_counts(dirty, tree, path, |count| count.saturating_add(added))?;
    }
    let layout = tree.layout;
    if leaf_insert(dirty.heap_page_mut(path.leaf), &layout, i, key, value) {
        return Ok(());
    }
    let leaf = LeafView::new(dirty.heap_page(path.leaf))?;
    if i > 0 && i == leaf.count() && path.rightmost {
        return append_leaf(dirty, tree, path, key, value);
    }
    let policy = if i == 0 && path.leftmost { SplitAt::First } else { SplitAt::Middle };
    let full = dirty.heap_page(path.leaf).to_vec();
    let leaf = LeafView::new(&full)?;
    let right_slot = dirty.add_page();
    let (mut left, mut right) = (vec![0; layout.page_size], vec![0; layout.page_size]);
    init_leaf(&mut left, &layout, tree.table);
    init_leaf(&mut right, &layout, tree.table);
    let mut separator = Vec::new();
    let on_left =
        Inserted::new(leaf, i, key, value).split(&layout, policy, &mut left, &mut right, &mut separator)?;
    let on_right = leaf.count() + 1 - on_left;
    dirty.heap_page_mut(path.leaf).copy_from_slice(&left);
    dirty.heap_page_mut(right_slot).copy_from_slice(&right);
    let right = dirty.reference(right_slot, on_right as u64);
    let left = dirty.reference(path.leaf, on_left as u64);
    grow_parent(dirty, tree, &path.steps[..path.len], left, separator, right, path.rightmost)
}

/// An entry behind the last one of the tree begins a leaf of its own: ascending loads leave full
/// pages, and nothing is copied.
fn append_leaf(dirty: &mut Dirty, tree: &mut Tree, path: &Path, key: &[u8], value: Stored<'_>) -> Result<()> {
    let leaf = LeafView::new(dirty.heap_page(path.leaf))?;
    let separator = separator(leaf.key(leaf.count() - 1)?, key).to_vec();
    let left = dirty.reference(path.leaf, leaf.count() as u64);
    let slot = dirty.add_page();
    let page = dirty.heap_page_mut(slot);
    init_leaf(page, &tree.layout, tree.table);
    assert!(leaf_insert(page, &tree.layout, 0, key, value), "an entry fits in an empty leaf");
    let right = dirty.reference(slot, 1);
    grow_parent(dirty, tree, &path.steps[..path.len], left, separator, right, true)
}

/// Applies `change` to the count of every reference on the path.
pub(super) fn change_counts(
    dirty: &mut Dirty,
    tree: &mut Tree,
    path: &Path,
    change: impl Fn(u64) -> u64,
) -> Result<()> {
    tree.root.count = change(tree.root.count);
    for (depth, (slot, i)) in path.steps[..path.len].iter().enumerate() {
        let bytes = dirty.heap_page_mut(*slot);
        let mut child = Branch::new(bytes, tree.level - depth as u8)?.child(*i)?;
        child.count = change(child.count);
        branch::set_child(bytes, *i, child);
    }
    Ok(())
}

/// `left`, to which the last of `steps` leads, has split: adds `right` behind it, splitting upwards.
fn grow_parent(
    dirty: &mut Dirty,
    tree: &mut Tree,
    steps: &[(u32, usize)],
    left: ChildRef,
    separator: Vec<u8>,
    right: ChildRef,
    ascending: bool,
) -> Result<()> {
    let Some(((slot, i), above)) = steps.split_last() else {
        return grow_root(dirty, tree, left, &separator, right);
    };
    let level = tree.level - above.len() as u8;
    let mut entries = BranchEntries::read(&Branch::new(dirty.heap_page(*slot), level)?)?;
    entries.set_child(*i, left);
    entries.insert(*i + 1, &separator, right);
    entries.check_order()?;
    let (count, page_size) = (entries.count(), tree.layout.page_size);
    if entries.page_len(0, count) <= page_size {
        entries.write(dirty.heap_page_mut(*slot), level, tree.table, 0, count);
        return Ok(());
    }
    let border = entries.border(page_size, ascending);
    let right_slot = dirty.add_page();
    entries.write(dirty.heap_page_mut(*slot), level, tree.table, 0, border);
    entries.write(dirty.heap_page_mut(right_slot), level, tree.table, border, count);
    let below = |range: std::ops::Range<usize>| range.map(|i| entries.child(i).count).sum();
    let left = dirty.reference(*slot, below(0..border));
    let right = dirty.reference(right_slot, below(border..count));
    grow_parent(dirty, tree, above, left, entries.key(border).to_vec(), right, ascending)
}

fn grow_root(
    dirty: &mut Dirty,
    tree: &mut Tree,
    left: ChildRef,
    separator: &[u8],
    right: ChildRef,
) -> Result<()> {
    let level = tree.level + 1;
    if usize::from(level) >= MAX_LEVELS {
        return Err(Error::invalid(format!(
            "the table would have more than {MAX_LEVELS} levels; use shorter keys or larger pages"
        )));
    }
    let mut entries = BranchEntries::default();
    entries.push(&[], left);
    entries.push(separator, right);
    let slot = dirty.add_page();
    entries.write(dirty.heap_page_mut(slot), level, tree.table, 0, 2);
    tree.root = dirty.reference(slot, tree.root.count);
    tree.level = level;
    Ok(())
}

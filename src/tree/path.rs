//! The way to a leaf that is to be changed: heap pages from the root down, kept for the next change.
//!
//! Changes often come in runs of nearby keys. When two in turn lead to one leaf, the next one looks whether
//! its key lies between the same separators; if so there is no descent at all.

use super::{Tree, search};
use crate::dirty::{Dirty, Step, heap_slot};
use crate::error::{Error, Result};
use crate::format::{ChildRef, MAX_LEVELS, header};
use crate::page::{Branch, LeafView, branch};

/// What a descent is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// The leaf, whether or not it has the key.
    Place,
    /// An entry that is there: where it is not, nothing need be copied.
    Entry,
}

/// Makes `dirty.path` lead to the leaf of `key`, all of its pages heap pages that may be changed. False
/// when only an entry was wanted and it is known that there is none.
///
/// # Errors
/// `Corrupt`, `Io`.
#[inline]
pub(super) fn find(dirty: &mut Dirty, tree: &mut Tree, key: &[u8], wanted: Wanted) -> Result<bool> {
    if is_near(dirty, tree, key)? {
        return Ok(true);
    }
    descend(dirty, tree, key, wanted)
}

/// Whether `dirty.path` already leads to the leaf of `key`. A path is tried only while keys stay near.
#[inline]
fn is_near(dirty: &mut Dirty, tree: &Tree, key: &[u8]) -> Result<bool> {
    let path = &dirty.path;
    if !path.is_near || !path.is_valid || path.root != tree.root.page || path.table != tree.table {
        return Ok(false);
    }
    let branch_at =
        |depth: usize| Branch::new(dirty.heap_page(path.steps[depth].slot), tree.level - depth as u8);
    let is_below = match path.upper {
        Some(depth) => branch_at(depth)?.is_below(key, path.steps[depth].child as usize + 1)?,
        None => true,
    };
    let is_inside = is_below
        && match path.lower {
            Some(depth) => !branch_at(depth)?.is_below(key, path.steps[depth].child as usize)?,
            None => true,
        };
    dirty.path.is_near = is_inside;
    Ok(is_inside)
}

fn descend(dirty: &mut Dirty, tree: &mut Tree, key: &[u8], wanted: Wanted) -> Result<bool> {
    let mut is_known = wanted == Wanted::Place;
    let before = (dirty.path.is_valid, dirty.path.leaf);
    if !is_known && !is_owned(dirty, tree.root) {
        if search::find(dirty, tree, key)?.is_none() {
            return Ok(false);
        }
        is_known = true;
    }
    dirty.path.is_valid = false;
    let mut slot = copy_child(dirty, tree, tree.root, tree.level)?;
    tree.root = dirty.reference(slot, tree.root.count);
    dirty.path.begin(tree.table, tree.root.page);
    for level in (1..=tree.level).rev() {
        let branch = Branch::new(dirty.heap_page(slot), level)?;
        let i = branch.search(key)?;
        let (child, count) = (branch.child(i)?, branch.count());
        let shared = branch.shared_len(i);
        dirty.path.push(slot, i, count);
        dirty.path.shared = shared;
        slot = match heap_slot(child.page).filter(|slot| dirty.is_current(*slot)) {
            Some(slot) => slot,
            None => {
                let below = Tree { root: child, level: level - 1, ..*tree };
                if !is_known && search::find(dirty, &below, key)?.is_none() {
                    return Ok(false);
                }
                is_known = true;
                let copy = copy_child(dirty, tree, child, level - 1)?;
                let copied = dirty.reference(copy, child.count);
                branch::set_child(dirty.heap_page_mut(slot), i, copied);
                if level == 1 {
                    expect_inside(dirty, tree, i, copy)?;
                }
                copy
            }
        };
    }
    touch(dirty.heap_page(slot));
    let path = &mut dirty.path;
    (path.leaf, path.is_valid) = (slot, true);
    path.is_near = before == (true, slot);
    Ok(true)
}

/// Has the lines in which a leaf's heads and slots begin fetched all at once: what an edit does first leads from
/// one of them to the next.
#[inline]
fn touch(page: &[u8]) {
    let lines = page.chunks(64).skip(1).take(4);
    std::hint::black_box(lines.fold(0, |sum: u8, line| sum.wrapping_add(line[0])));
}

/// Whether what the reference leads to is this txn's own, and belongs to no savepoint.
pub(super) fn is_owned(dirty: &Dirty, child: ChildRef) -> bool {
    heap_slot(child.page).is_some_and(|slot| dirty.is_current(slot))
}

/// Edits rely on it that what a leaf from the file holds lies between the separators above it. The leaf is child `i`
/// of the last branch on the path.
pub(super) fn expect_inside(dirty: &Dirty, tree: &Tree, i: usize, leaf: u32) -> Result<()> {
    let bytes = dirty.heap_page(leaf);
    let leaf = LeafView::new(bytes)?;
    let Some(last) = leaf.count().checked_sub(1) else { return Ok(()) };
    let (mut is_bounded, mut is_inside) = ((false, false), true);
    for depth in (0..dirty.path.len).rev() {
        let Step { slot, child } = dirty.path.steps[depth];
        let i = if depth + 1 == dirty.path.len { i } else { child as usize };
        let branch = Branch::new(dirty.heap_page(slot), tree.level - depth as u8)?;
        if i > 0 && !std::mem::replace(&mut is_bounded.0, true) {
            is_inside &= !branch.is_below(leaf.key(0)?, i)?;
        }
        if i + 1 < branch.count() && !std::mem::replace(&mut is_bounded.1, true) {
            is_inside &= branch.is_below(leaf.key(last)?, i + 1)?;
        }
    }
    match is_inside {
        true => Ok(()),
        false => Err(Error::corrupt(header(bytes).page.get(), "holds a key outside the separators above it")),
    }
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

/// There is one entry more, or less, below every page on the path.
#[inline]
pub(super) fn change_counts(dirty: &mut Dirty, tree: &mut Tree, change: impl Fn(u64) -> u64) {
    tree.root.count = change(tree.root.count);
    for depth in 0..dirty.path.len {
        let Step { slot, child } = dirty.path.steps[depth];
        branch::change_count(dirty.heap_page_mut(slot), child as usize, &change);
    }
}

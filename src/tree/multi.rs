//! Multimaps: a tree of keys, each with a set of values.
//!
//! Owns: finding, adding and removing a value. A small set stands in the leaf ([`crate::page::set`]); one
//! that would take more than half of a page is a tree of its own, whose keys are the values, and the leaf has
//! the reference to it. It comes back into the leaf when it has become much smaller, so that alternating puts
//! and deletes do not move it to and fro.
//!
//! Invariants (checked by [`super::check`]):
//! 1. A key without values does not exist, nor does a set of none.
//! 2. Counts of references in the tree of keys are numbers of values below.
//! 3. Pages of sets carry the table's id with [`SET_BIT`], so that no page of one tree passes for one of the
//!    other.
//! 4. [`Tree::overflow_pages`] is the number of sets that are trees.

use super::path::{self, Wanted};
use super::remove::{remove, remove_at, shrink_leaf};
use super::{Tree, fetch_leaf, insert, search, too_high};
use crate::dirty::Dirty;
use crate::error::{Error, Result};
use crate::format::{MAX_LEVELS, SET_BIT, SetRef};
use crate::page::set::{self, Set};
use crate::page::{LeafView, Stored, leaf_overwrite, leaf_remove, leaf_room, leaf_splice};
use crate::snapshot::PageSource;
use insert::{Put, insert_at, is_inline};

/// The values of a key.
#[derive(Clone, Copy)]
pub enum Values<'s> {
    /// As they stand in the leaf.
    Few(Set<'s>),
    /// The tree whose keys they are.
    Many(Tree),
}

impl<'s> Values<'s> {
    /// What an entry of the multimap has.
    ///
    /// # Errors
    /// `Corrupt` where that is no set of values.
    pub fn of(tree: &Tree, stored: Stored<'s>) -> Result<Self> {
        match stored {
            Stored::Inline(bytes) => match Set::read(bytes, tree.layout.set.unwrap_or(0)) {
                Some(set) => Ok(Values::Few(set)),
                None => Err(no_set(tree)),
            },
            Stored::Set(set) => Ok(Values::Many(set_tree(tree, &set)?)),
            Stored::Overflow(_) => Err(no_set(tree)),
        }
    }

    /// Number of values.
    pub fn count(&self) -> u64 {
        match self {
            Values::Few(set) => set.count() as u64,
            Values::Many(tree) => tree.len(),
        }
    }

    /// Whether `value` is among them.
    ///
    /// # Errors
    /// `Corrupt` where a page on the way is damaged.
    pub fn contains(&self, source: &(impl PageSource + ?Sized), value: &[u8]) -> Result<bool> {
        match self {
            Values::Few(set) => Ok(set.search(value).is_some_and(|found| found.is_ok())),
            Values::Many(tree) => Ok(search::find(source, tree, value)?.is_some()),
        }
    }
}

/// The error for an entry of a multimap that has no set of values.
#[cold]
pub fn no_set(tree: &Tree) -> Error {
    Error::corrupt(tree.root.page, "below it is a key of a multimap that has no set of values")
}

/// The tree of a set of this multimap.
///
/// # Errors
/// `Corrupt` for a reference that cannot be one.
pub fn set_tree(tree: &Tree, set: &SetRef) -> Result<Tree> {
    if usize::from(set.level) >= MAX_LEVELS {
        return Err(too_high(set.root, set.level));
    }
    if set.root.page == 0 || set.root.count == 0 {
        return Err(no_set(tree));
    }
    Ok(Tree { root: set.root, level: set.level, ..empty_set(tree) })
}

fn empty_set(tree: &Tree) -> Tree {
    Tree::empty(tree.table | SET_BIT, tree.layout.of_sets())
}

/// The values of `key`, if it has any.
///
/// # Errors
/// `Corrupt` where a page on the way is damaged.
pub fn find<'s>(
    source: &'s (impl PageSource + ?Sized),
    tree: &Tree,
    key: &[u8],
) -> Result<Option<Values<'s>>> {
    search::find(source, tree, key)?.map(|stored| Values::of(tree, stored)).transpose()
}

fn contains(dirty: &Dirty, tree: &Tree, key: &[u8], value: &[u8]) -> Result<bool> {
    match find(dirty, tree, key)? {
        Some(values) => values.contains(dirty, value),
        None => Ok(false),
    }
}

/// Adds a value to those of `key`; false when it was there.
///
/// # Errors
/// `Corrupt`, `Io`, `Full`; the tree may then be half changed.
pub fn put_value(dirty: &mut Dirty, tree: &mut Tree, key: &[u8], value: &[u8]) -> Result<bool> {
    // Nothing need be copied for what is there. Later some of it is copied already, and looking costs as much
    // as doing.
    if !path::is_owned(dirty, tree.root) && contains(dirty, tree, key, value)? {
        return Ok(false);
    }
    insert::begin(dirty, tree)?;
    path::find(dirty, tree, key, Wanted::Place)?;
    let leaf = LeafView::new(dirty.heap_page(dirty.path.leaf))?;
    let found = match dirty.path.is_near {
        true => leaf.search_from_end(key)?,
        false => leaf.search_sharing(key, dirty.path.shared)?,
    };
    match found {
        Err(i) => add_key(dirty, tree, i, key, value).map(|()| true),
        Ok(i) => match leaf.stored(i)? {
            Stored::Inline(_) => add_to_few(dirty, tree, i, key, value),
            Stored::Set(set) => add_to_many(dirty, tree, i, &set, value),
            Stored::Overflow(_) => Err(no_set(tree)),
        },
    }
}

/// Inserts a key with one value before entry `i` of the path's leaf.
fn add_key(dirty: &mut Dirty, tree: &mut Tree, i: usize, key: &[u8], value: &[u8]) -> Result<()> {
    let values = set::build(tree.layout.set.unwrap_or(0), &[value]);
    let stored = match is_inline(tree, key.len(), values.len()) {
        true => Stored::Inline(&values),
        false => Stored::Set(plant(dirty, tree, [value].into_iter())?),
    };
    path::change_counts(dirty, tree, |count| count.saturating_add(1));
    insert_at(dirty, tree, i, key, stored)
}

/// Adds a value to those that stand in entry `i` of the path's leaf.
fn add_to_few(dirty: &mut Dirty, tree: &mut Tree, i: usize, key: &[u8], value: &[u8]) -> Result<bool> {
    let (set, len) = few(dirty, tree, i)?;
    let Err(at) = set.search(value).ok_or_else(|| no_set(tree))? else { return Ok(false) };
    if !is_inline(tree, key.len(), set.len_with(value.len())) {
        let values = set.with(at, value).ok_or_else(|| no_set(tree))?;
        let values = Set::read_any(&values).expect("just built");
        let values = values.values().collect::<Option<Vec<_>>>().ok_or_else(|| no_set(tree))?;
        let planted = plant(dirty, tree, values.into_iter())?;
        path::change_counts(dirty, tree, |count| count.saturating_add(1));
        return replace(dirty, tree, i, key, Stored::Set(planted)).map(|()| true);
    }
    let place = set.place(at).filter(|_| set.width() > 0);
    path::change_counts(dirty, tree, |count| count.saturating_add(1));
    let leaf = dirty.path.leaf;
    if let Some(place) = place
        && leaf_splice(dirty.heap_page_mut(leaf), i, place, 0, value)
    {
        return Ok(true);
    }
    let (set, _) = few(dirty, tree, i)?;
    let values = set.with(at, value).ok_or_else(|| no_set(tree))?;
    if place.is_some() || !leaf_splice(dirty.heap_page_mut(leaf), i, 0, len, &values) {
        replace(dirty, tree, i, key, Stored::Inline(&values))?;
    }
    Ok(true)
}

/// The set in entry `i` of the path's leaf, and its length.
fn few<'d>(dirty: &'d Dirty, tree: &Tree, i: usize) -> Result<(Set<'d>, usize)> {
    let leaf = LeafView::new(dirty.heap_page(dirty.path.leaf))?;
    let Stored::Inline(bytes) = leaf.stored(i)? else { return Err(no_set(tree)) };
    let set = Set::read(bytes, tree.layout.set.unwrap_or(0)).ok_or_else(|| no_set(tree))?;
    Ok((set, bytes.len()))
}

/// Gives entry `i` of the path's leaf another value, of another length. The counts are the caller's.
fn replace(dirty: &mut Dirty, tree: &mut Tree, i: usize, key: &[u8], value: Stored<'_>) -> Result<()> {
    leaf_remove(dirty.heap_page_mut(dirty.path.leaf), &tree.layout, i);
    insert_at(dirty, tree, i, key, value)
}

/// Makes a tree of these values, which are in order.
fn plant<'v>(dirty: &mut Dirty, tree: &mut Tree, values: impl Iterator<Item = &'v [u8]>) -> Result<SetRef> {
    let mut set = empty_set(tree);
    aside(dirty, |dirty| {
        for value in values {
            insert::put(dirty, &mut set, value, &[], true)?;
        }
        Ok(())
    })?;
    tree.overflow_pages += 1;
    Ok(SetRef { root: set.root, level: set.level })
}

/// Changes another tree; the path leads to where it led before.
fn aside<T>(dirty: &mut Dirty, change: impl FnOnce(&mut Dirty) -> Result<T>) -> Result<T> {
    let path = dirty.path.clone();
    let changed = change(dirty);
    dirty.path = path;
    changed
}

/// Adds a value to the tree to which entry `i` of the path's leaf refers.
fn add_to_many(dirty: &mut Dirty, tree: &mut Tree, i: usize, set: &SetRef, value: &[u8]) -> Result<bool> {
    let mut values = set_tree(tree, set)?;
    let is_owned = path::is_owned(dirty, values.root);
    let put = aside(dirty, |dirty| insert::put(dirty, &mut values, value, &[], is_owned))?;
    if put == Put::Inserted {
        path::change_counts(dirty, tree, |count| count.saturating_add(1));
        refer(dirty, tree, i, &values);
    }
    Ok(put == Put::Inserted)
}

/// Has entry `i` of the path's leaf refer to what became of its tree.
fn refer(dirty: &mut Dirty, tree: &Tree, i: usize, values: &Tree) {
    let set = Stored::Set(SetRef { root: values.root, level: values.level });
    let is_done = leaf_overwrite(dirty.heap_page_mut(dirty.path.leaf), &tree.layout, i, set);
    assert!(is_done, "entry {i} was a reference to a set");
}

/// Removes a value from those of `key`, and the key with the last; false when it was not there.
///
/// # Errors
/// `Corrupt`, `Io`; the tree may then be half changed.
pub fn delete_value(dirty: &mut Dirty, tree: &mut Tree, key: &[u8], value: &[u8]) -> Result<bool> {
    if !contains(dirty, tree, key, value)? {
        return Ok(false);
    }
    path::find(dirty, tree, key, Wanted::Place)?;
    let leaf = LeafView::new(dirty.heap_page(dirty.path.leaf))?;
    let Ok(i) = leaf.search(key)? else { return Ok(false) };
    match leaf.stored(i)? {
        Stored::Inline(_) => delete_from_few(dirty, tree, i, value),
        Stored::Set(set) => delete_from_many(dirty, tree, i, key, &set, value),
        Stored::Overflow(_) => Err(no_set(tree)),
    }
}

fn delete_from_few(dirty: &mut Dirty, tree: &mut Tree, i: usize, value: &[u8]) -> Result<bool> {
    let (set, len) = few(dirty, tree, i)?;
    let Ok(at) = set.search(value).ok_or_else(|| no_set(tree))? else { return Ok(false) };
    if set.count() == 1 {
        return remove_at(dirty, tree, i, 1).map(|()| true);
    }
    let (place, width, leaf) = (set.place(at).ok_or_else(|| no_set(tree))?, set.width(), dirty.path.leaf);
    let is_done = if width > 0 {
        leaf_splice(dirty.heap_page_mut(leaf), i, place, width, &[])
    } else {
        let values = set.without(at).ok_or_else(|| no_set(tree))?;
        leaf_splice(dirty.heap_page_mut(leaf), i, 0, len, &values)
    };
    assert!(is_done, "there is room for less");
    path::change_counts(dirty, tree, |count| count.saturating_sub(1));
    shrink_leaf(dirty, tree).map(|()| true)
}

fn delete_from_many(
    dirty: &mut Dirty,
    tree: &mut Tree,
    i: usize,
    key: &[u8],
    set: &SetRef,
    value: &[u8],
) -> Result<bool> {
    let mut values = set_tree(tree, set)?;
    if !aside(dirty, |dirty| remove(dirty, &mut values, value))? {
        return Ok(false);
    }
    if values.is_empty() {
        tree.overflow_pages = tree.overflow_pages.saturating_sub(1);
        return remove_at(dirty, tree, i, 1).map(|()| true);
    }
    path::change_counts(dirty, tree, |count| count.saturating_sub(1));
    match become_few(dirty, tree, key.len(), &values)? {
        None => refer(dirty, tree, i, &values),
        Some(few) => {
            aside(dirty, |dirty| dirty.drop_page(values.root))?;
            tree.overflow_pages = tree.overflow_pages.saturating_sub(1);
            replace(dirty, tree, i, key, Stored::Inline(&few))?;
        }
    }
    Ok(true)
}

/// The values of a tree that has become so small that they are to stand in the leaf: they take less than half
/// of what may stand there, and less than an eighth of the page.
fn become_few(dirty: &Dirty, tree: &Tree, key_len: usize, values: &Tree) -> Result<Option<Vec<u8>>> {
    if values.level > 0 {
        return Ok(None);
    }
    let leaf = fetch_leaf(dirty, values.root, values.table)?;
    let width = tree.layout.set.unwrap_or(0);
    let fits = |bytes: usize| {
        let len = set::set_len(width, leaf.count(), bytes);
        len <= leaf_room(&tree.layout) / 8 && is_inline(tree, key_len, 2 * len)
    };
    if !fits(leaf.count() * width) {
        return Ok(None);
    }
    leaf.validate(&values.layout)?;
    leaf.validate_order()?;
    let few = (0..leaf.count()).map(|i| leaf.key(i)).collect::<Result<Vec<_>>>()?;
    Ok(fits(few.iter().map(|value| value.len()).sum()).then(|| set::build(width, &few)))
}

//! Finding one key: one page per level.

use super::{Tree, fetch_branch, fetch_leaf};
use crate::error::Result;
use crate::page::{LeafView, Stored};
use crate::snapshot::PageSource;

/// The leaf that holds `key` if any does; `None` in an empty tree.
///
/// # Errors
/// `Corrupt` where a page on the path is damaged.
#[inline]
pub fn find_leaf<'s>(
    source: &'s (impl PageSource + ?Sized),
    tree: &Tree,
    key: &[u8],
) -> Result<Option<LeafView<'s>>> {
    if tree.is_empty() {
        return Ok(None);
    }
    let mut child = tree.root;
    for level in (1..=tree.level).rev() {
        let branch = fetch_branch(source, child, level, tree.table)?;
        child = branch.child(branch.search(key)?)?;
    }
    fetch_leaf(source, child, tree.table).map(Some)
}

/// The value of `key` as the leaf holds it.
///
/// # Errors
/// `Corrupt` where a page on the path is damaged.
#[inline]
pub fn find<'s>(
    source: &'s (impl PageSource + ?Sized),
    tree: &Tree,
    key: &[u8],
) -> Result<Option<Stored<'s>>> {
    let Some(leaf) = find_leaf(source, tree, key)? else { return Ok(None) };
    match leaf.search(key)? {
        Ok(i) => leaf.stored(i).map(Some),
        Err(_) => Ok(None),
    }
}

/// The bytes of a value, wherever they are.
///
/// # Errors
/// `Corrupt` when it lies outside the file or its checksum is wrong.
#[inline]
pub fn resolve<'s>(source: &'s (impl PageSource + ?Sized), stored: Stored<'s>) -> Result<&'s [u8]> {
    match stored {
        Stored::Inline(value) => Ok(value),
        Stored::Overflow(run) => source.overflow(&run),
    }
}

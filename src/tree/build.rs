//! Entries in ascending order: at the end of a tree.

use super::Tree;
use super::cursor::{Cursor, Place};
use crate::dirty::Dirty;
use crate::error::Result;
use crate::page::LeafView;

/// The last key of a tree. Without a search where the entry behind it was put just now.
///
/// # Errors
/// `Corrupt` where a page on the way is damaged.
pub fn last_key<'d>(dirty: &'d Dirty, tree: &Tree) -> Result<Option<&'d [u8]>> {
    let path = &dirty.path;
    if path.is_valid && path.upper.is_none() && path.root == tree.root.page && path.table == tree.table {
        let leaf = LeafView::new(dirty.heap_page(path.leaf))?;
        return leaf.count().checked_sub(1).map(|last| leaf.key(last)).transpose();
    }
    Ok(Cursor::new(dirty, tree, Place::End)?.previous()?.map(|(key, _)| key))
}

//! Changing the bytes of a value where they lie.

use super::Tree;
use super::path::{self, Wanted};
use crate::dirty::Dirty;
use crate::error::Result;
use crate::page::{LeafView, Stored, leaf_overwrite, leaf_value_mut};

/// Lets `edit` change the value at `key`, which keeps its length; `None` where there is no entry.
///
/// # Errors
/// `Corrupt`, `Io`, `Full`; the tree may then be half changed.
pub fn update<R>(
    dirty: &mut Dirty,
    tree: &mut Tree,
    key: &[u8],
    edit: impl FnOnce(&mut [u8]) -> R,
) -> Result<Option<R>> {
    if tree.is_empty() || !path::find(dirty, tree, key, Wanted::Entry)? {
        return Ok(None);
    }
    let leaf = LeafView::new(dirty.heap_page(dirty.path.leaf))?;
    let Ok(i) = leaf.search(key)? else { return Ok(None) };
    let stored = leaf.stored(i)?;
    if let Stored::Overflow(run) = stored {
        let (run, result) = dirty.edit_value(&run, edit)?;
        let page = dirty.heap_page_mut(dirty.path.leaf);
        assert!(leaf_overwrite(page, &tree.layout, i, Stored::Overflow(run)), "a reference has one length");
        return Ok(Some(result));
    }
    let page = dirty.heap_page_mut(dirty.path.leaf);
    Ok(Some(edit(leaf_value_mut(page, &tree.layout, i))))
}

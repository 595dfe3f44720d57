//! Reading ahead: asks the system for all pages on the paths to many keys, level by level, before any
//! of them is touched, so that the disk works on many at once.

use super::{Tree, fetch_branch};
use crate::error::Result;
use crate::snapshot::{PageSource, Pages};

/// Asks for the pages that lead to `keys`, which are in order. `page_count` bounds what is asked for.
///
/// # Errors
/// `Corrupt` where a branch is damaged.
pub fn prefetch<'k>(
    source: &impl PageSource,
    pages: &Pages,
    tree: &Tree,
    keys: &[impl AsRef<[u8]> + 'k],
    page_count: u64,
) -> Result<()> {
    if tree.is_empty() || keys.is_empty() {
        return Ok(());
    }
    let mut paths = vec![(tree.root, 0..keys.len())];
    for level in (1..=tree.level).rev() {
        let mut below = Vec::with_capacity(paths.len());
        for (child, keys_below) in paths {
            let branch = fetch_branch(source, child, level, tree.table)?;
            let mut rest = keys_below;
            while !rest.is_empty() {
                let i = branch.search(keys[rest.start].as_ref())?;
                let mut end = rest.start + 1;
                while end < rest.end && branch.search(keys[end].as_ref())? == i {
                    end += 1;
                }
                below.push((branch.child(i)?, rest.start..end));
                rest.start = end;
            }
        }
        let mut numbers: Vec<u64> = below.iter().map(|(child, _)| child.page).collect();
        pages.read_ahead(&mut numbers, page_count, 0);
        paths = below;
    }
    Ok(())
}

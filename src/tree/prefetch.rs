//! Reading ahead: asks the system for all pages on the paths to many keys, level by level, before any
//! of them is touched, so that the disk works on many at once.

use super::{Tree, fetch_branch};
use crate::error::Result;
use crate::format::ChildRef;
use crate::snapshot::{PageSource, Pages};
use std::ops::Range;

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
        ask(pages, &below, page_count);
        paths = below;
    }
    Ok(())
}

fn ask(pages: &Pages, paths: &[(ChildRef, Range<usize>)], page_count: u64) {
    let mut numbers: Vec<u64> =
        paths.iter().map(|(child, _)| child.page).filter(|p| *p < page_count).collect();
    numbers.sort_unstable();
    let mut rest = &numbers[..];
    while let Some(first) = rest.first() {
        let run = rest.iter().zip(*first..).take_while(|(page, expected)| *page == expected).count();
        pages.disk.will_need(first * pages.page_size as u64, (run * pages.page_size) as u64);
        rest = &rest[run..];
    }
}

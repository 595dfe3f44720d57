//! Finding one key: one page per level.

use super::{Tree, fetch, fetch_below, too_high};
use crate::error::{Error, Result};
use crate::format::{MAX_LEVELS, SetRef};
use crate::map::prefetch;
use crate::page::{Branch, LeafView, Stored, fixed::prefetch_entry};
use crate::snapshot::{BRANCH_LINES, LEAF_LINES, PageSource};

#[inline(always)]
fn fetch_root<'s>(source: &'s (impl PageSource + ?Sized), tree: &Tree) -> Result<&'s [u8]> {
    match usize::from(tree.level) < MAX_LEVELS {
        true => fetch(source, tree.root, tree.table),
        false => Err(too_high(tree.root, tree.level)),
    }
}

/// The value of `key` as the leaf holds it.
///
/// # Errors
/// `Corrupt` where a page on the path is damaged.
#[inline(always)]
pub fn find<'s>(
    source: &'s (impl PageSource + ?Sized),
    tree: &Tree,
    key: &[u8],
) -> Result<Option<Stored<'s>>> {
    if tree.is_empty() {
        return Ok(None);
    }
    let mut page = fetch_root(source, tree)?;
    let mut guess = 0;
    for level in (1..=tree.level).rev() {
        let branch = Branch::new(page, level)?;
        let i = branch.search(key)?;
        page = fetch_below(source, &branch, i, tree.table)?;
        match (level, tree.layout.fixed) {
            (1, None) => prefetch::<LEAF_LINES>(page),
            (1, Some(widths)) => {
                guess = branch.guess(i, key);
                prefetch_entry(page, widths, guess);
            }
            _ => prefetch::<BRANCH_LINES>(page),
        }
    }
    LeafView::new(page)?.find(key, guess)
}

/// How many searches go on at the same time: as many cache misses as a processor has under way, and some.
const TOGETHER: usize = 16;

/// Searching for keys: one call through a pointer for a whole search.
pub trait Lookup: PageSource {
    /// See [`find`].
    ///
    /// # Errors
    /// Those of [`find`].
    fn find(&self, tree: &Tree, key: &[u8]) -> Result<Option<Stored<'_>>>;

    /// The same for several keys, in any order, searched for level by level together, so that they wait for memory
    /// at the same time. Gives each key's index, and its value, to `each`.
    ///
    /// # Errors
    /// Those of [`find`] and of `each`.
    fn find_all<'s>(
        &'s self,
        tree: &Tree,
        keys: &[&[u8]],
        each: &mut dyn FnMut(usize, Option<Stored<'s>>) -> Result<()>,
    ) -> Result<()>;
}

/// Any source, behind a pointer: what views of a snapshot and of a write txn have in common.
pub type SourceObject<'o> = dyn Lookup + Sync + 'o;

impl<S: PageSource> Lookup for S {
    fn find(&self, tree: &Tree, key: &[u8]) -> Result<Option<Stored<'_>>> {
        find(self, tree, key)
    }

    fn find_all<'s>(
        &'s self,
        tree: &Tree,
        keys: &[&[u8]],
        each: &mut dyn FnMut(usize, Option<Stored<'s>>) -> Result<()>,
    ) -> Result<()> {
        for (group, keys) in keys.chunks(TOGETHER).enumerate() {
            let first = group * TOGETHER;
            if tree.is_empty() {
                (first..first + keys.len()).try_for_each(|i| each(i, None))?;
                continue;
            }
            let mut pages = [fetch_root(self, tree)?; TOGETHER];
            // Of each page the child, or the entry, that the search leads to.
            let mut places = [0; TOGETHER];
            for level in (1..=tree.level).rev() {
                for ((page, place), key) in pages.iter().zip(&mut places).zip(keys) {
                    let branch = Branch::new(page, level)?;
                    *place = branch.search(key)?;
                    self.prefetch(branch.short(*place)?.page());
                }
                for ((page, place), key) in pages.iter_mut().zip(&mut places).zip(keys) {
                    let branch = Branch::new(page, level)?;
                    *page = fetch_below(self, &branch, *place, tree.table)?;
                    if let (1, Some(widths)) = (level, tree.layout.fixed) {
                        *place = branch.guess(*place, key);
                        prefetch_entry(page, widths, *place);
                    }
                }
            }
            if tree.layout.fixed.is_none() {
                for ((page, place), key) in pages.iter().zip(&mut places).zip(keys) {
                    *place = LeafView::new(page)?.prefetch(key).unwrap_or(*place);
                }
            }
            for (i, ((page, place), key)) in pages.iter().zip(places).zip(keys).enumerate() {
                each(first + i, LeafView::new(page)?.find_near(key, place)?)?;
            }
        }
        Ok(())
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
        Stored::Set(set) => Err(no_value(set)),
    }
}

#[cold]
fn no_value(set: SetRef) -> Error {
    Error::corrupt(set.root.page, "a set of values where one was expected")
}

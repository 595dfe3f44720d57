//! The copy-on-write B+tree over any [`PageSource`].
//!
//! Owns: descending ([`search`]), stepping and counting ([`cursor`]), changing ([`insert`], [`remove`],
//! [`cut`], and the sets of multimaps: [`multi`]), moving ([`relocate`]), comparing ([`diff`]) and checking ([`check`]) trees. Leaves to
//! others: what is in a page ([`crate::page`]) and where pages come from ([`crate::snapshot`], [`crate::dirty`]).
//!
//! Invariants (all checked by [`check`]):
//! 1. A branch of level `l` has children of level `l - 1`; so every descent ends.
//! 2. Child `i` holds the keys from separator `i` up to, not including, separator `i + 1`.
//! 3. A reference's count is the number of entries below it; in a multimap each value of a key is one.
//! 4. No page is empty, except that an empty tree has no page at all (root page 0).

mod ahead;
pub mod build;
pub mod check;
pub mod cursor;
pub mod cut;
pub mod diff;
pub mod insert;
pub mod multi;
mod path;
pub mod prefetch;
pub mod relocate;
pub mod remove;
pub mod search;
pub mod spot;
pub mod update;

use crate::error::{Error, Result};
use crate::format::{ChildRef, Layout, MAX_LEVELS, RecordView, header};
use crate::page::{Branch, LeafView};
use crate::snapshot::PageSource;

/// A tree: its root and how its leaves are laid out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tree {
    /// The root; page 0 when the tree is empty. Its count is the number of entries.
    pub root: ChildRef,
    /// Level of the root.
    pub level: u8,
    /// Id that the pages carry.
    pub table: u32,
    /// Pages in overflow runs; of a multimap the sets that are trees of their own. 0: leaves refer to
    /// nothing.
    pub overflow_pages: u64,
    /// Form of the leaves.
    pub layout: Layout,
}

impl Tree {
    /// A tree without entries.
    pub fn empty(table: u32, layout: Layout) -> Self {
        Tree { root: ChildRef::default(), level: 0, table, overflow_pages: 0, layout }
    }

    /// The tree of a table.
    pub fn of(record: &RecordView<'_>, page_size: usize) -> Self {
        Tree {
            root: record.root(),
            level: record.level(),
            table: record.id(),
            overflow_pages: record.overflow_pages(),
            layout: record.layout(page_size),
        }
    }

    /// Number of entries.
    pub fn len(&self) -> u64 {
        self.root.count
    }

    /// Whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.root.page == 0
    }
}

/// The bytes of a tree page, which must belong to the table.
#[inline(always)]
fn fetch(source: &(impl PageSource + ?Sized), child: ChildRef, table: u32) -> Result<&[u8]> {
    let bytes = source.page(child.page, child.birth)?;
    expect_table(bytes, table)?;
    Ok(bytes)
}

/// The bytes of child `i` of a branch. What a reference says beside its short part is not touched where the child was
/// verified before.
#[inline(always)]
fn fetch_below<'s>(
    source: &'s (impl PageSource + ?Sized),
    branch: &Branch<'_>,
    i: usize,
    table: u32,
) -> Result<&'s [u8]> {
    let Some(bytes) = source.known(branch.short(i)?) else {
        return fetch_unknown(source, branch, i, table);
    };
    expect_table(bytes, table)?;
    Ok(bytes)
}

#[cold]
fn fetch_unknown<'s>(
    source: &'s (impl PageSource + ?Sized),
    branch: &Branch<'_>,
    i: usize,
    table: u32,
) -> Result<&'s [u8]> {
    let child = branch.child(i)?;
    if branch.level() > 1 && !source.is_touched(child.page, child.birth) {
        read_branches_ahead(source, branch);
    }
    fetch(source, child, table)
}

/// Whoever comes below a branch for the second time, and elsewhere, is likely to search all over the tree: all branches
/// there are asked for, so that later searches wait for their leaves alone. A single search asks for nothing.
fn read_branches_ahead(source: &(impl PageSource + ?Sized), branch: &Branch<'_>) {
    let mut others = Vec::new();
    let mut touched = 0;
    for child in (0..branch.count()).map_while(|i| branch.child(i).ok()) {
        match source.is_touched(child.page, child.birth) {
            true => touched += 1,
            false => others.push(child.page),
        }
        if touched > 1 {
            return;
        }
    }
    if touched == 1 {
        source.read_ahead(&mut others, 0);
    }
}

/// The bytes are those of a page of the table.
///
/// # Errors
/// `Corrupt`.
#[inline(always)]
pub fn expect_table(bytes: &[u8], table: u32) -> Result<()> {
    match header(bytes).table.get() == table {
        true => Ok(()),
        false => Err(wrong_table(bytes, table)),
    }
}

#[cold]
fn wrong_table(bytes: &[u8], table: u32) -> Error {
    let head = header(bytes);
    Error::corrupt(head.page.get(), format!("belongs to table {}, expected table {table}", head.table))
}

/// The branch that `child` refers to.
#[inline(always)]
fn fetch_branch<'s>(
    source: &'s (impl PageSource + ?Sized),
    child: ChildRef,
    level: u8,
    table: u32,
) -> Result<Branch<'s>> {
    if usize::from(level) >= MAX_LEVELS {
        return Err(too_high(child, level));
    }
    Branch::new(fetch(source, child, table)?, level)
}

#[cold]
fn too_high(child: ChildRef, level: u8) -> Error {
    Error::corrupt(child.page, format!("level {level}, at most {} are possible", MAX_LEVELS - 1))
}

/// The leaf that `child` refers to.
#[inline(always)]
fn fetch_leaf<'s>(
    source: &'s (impl PageSource + ?Sized),
    child: ChildRef,
    table: u32,
) -> Result<LeafView<'s>> {
    LeafView::new(fetch(source, child, table)?)
}

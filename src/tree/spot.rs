//! A place between two entries that borrows nothing, so that the tree can be changed beside it.
//!
//! A [`Spot`] keeps references where a [`Cursor`](super::cursor::Cursor) keeps pages: a step fetches the
//! leaf by its reference, and descends only where it goes on to the next leaf. It holds for as long as the
//! tree is not changed; after a change [`Spot::follow`] takes the way that the change went.
//!
//! An error leaves it where it was.

use super::cursor::{Place, beside};
use super::{Tree, fetch_branch, fetch_leaf};
use crate::dirty::Dirty;
use crate::error::{Error, Result};
use crate::format::ChildRef;
use crate::page::{LeafView, Pair};
use crate::snapshot::PageSource;
use std::cmp::Ordering;

/// A place in a tree that has entries.
#[derive(Clone, Debug, Default)]
pub struct Spot {
    /// From the root down, each branch and which of its children comes next.
    path: Vec<(ChildRef, usize)>,
    leaf: ChildRef,
    /// Number of the leaf's entries before the place.
    pub at: usize,
}

impl Spot {
    /// At `place` of a tree that is not empty. One page per level.
    ///
    /// # Errors
    /// `Corrupt` where a page on the path is damaged.
    pub fn new(source: &(impl PageSource + ?Sized), tree: &Tree, place: Place<'_>) -> Result<Self> {
        let mut spot = Spot::at_root(tree);
        spot.descend(source, tree, place)?;
        Ok(spot)
    }

    fn at_root(tree: &Tree) -> Self {
        Spot { path: Vec::with_capacity(usize::from(tree.level)), leaf: tree.root, at: 0 }
    }

    /// Before the entry with this key, or where it would be; and whether it is there.
    ///
    /// # Errors
    /// `Corrupt` where a page on the path is damaged.
    pub fn search(source: &(impl PageSource + ?Sized), tree: &Tree, key: &[u8]) -> Result<(Self, bool)> {
        let mut spot = Spot::at_root(tree);
        let is_there = spot.descend(source, tree, Place::AtLeast(key))?;
        Ok((spot, is_there))
    }

    /// Goes to where `key` is, or would be, after a change at this key: without a descent where the change left the
    /// way that it went as it was. Returns whether it is there.
    ///
    /// # Errors
    /// `Corrupt` where a page on the path is damaged: it is nowhere then.
    pub fn follow(&mut self, dirty: &Dirty, tree: &Tree, key: &[u8]) -> Result<bool> {
        let way = &dirty.path;
        if !way.is_valid || way.root != tree.root.page || way.table != tree.table {
            let (spot, is_there) = Spot::search(dirty, tree, key)?;
            *self = spot;
            return Ok(is_there);
        }
        self.path.clear();
        let steps = way.steps[..way.len].iter();
        self.path.extend(steps.map(|step| (dirty.reference(step.slot, 0), step.child as usize)));
        self.leaf = dirty.reference(way.leaf, 0);
        let leaf = LeafView::new(dirty.heap_page(way.leaf))?;
        if self.at < leaf.count() {
            // Mostly it is where it was.
            match leaf.key(self.at)?.cmp(key) {
                Ordering::Equal => return Ok(true),
                Ordering::Greater if self.at == 0 || leaf.key(self.at - 1)? < key => return Ok(false),
                _ => {}
            }
        }
        let found = leaf.search(key)?;
        self.at = found.unwrap_or_else(|i| i);
        Ok(found.is_ok())
    }

    /// Goes down from `self.leaf`, to which the path leads. Returns whether there is an entry with the key of the place.
    fn descend(
        &mut self,
        source: &(impl PageSource + ?Sized),
        tree: &Tree,
        place: Place<'_>,
    ) -> Result<bool> {
        while self.path.len() < usize::from(tree.level) {
            let level = tree.level - self.path.len() as u8;
            let branch = fetch_branch(source, self.leaf, level, tree.table)?;
            let i = match place {
                Place::Start => 0,
                Place::End => branch.count() - 1,
                Place::AtLeast(key) | Place::Above(key) => branch.search(key)?,
                Place::Rank(_) => unreachable!("nobody asks for a spot by rank"),
            };
            self.path.push((self.leaf, i));
            self.leaf = branch.child(i)?;
        }
        let leaf = fetch_leaf(source, self.leaf, tree.table)?;
        if leaf.count() == 0 {
            return Err(Error::corrupt(self.leaf.page, "leaf without entries"));
        }
        let (at, is_there) = match place {
            Place::Start | Place::Rank(_) => (0, false),
            Place::End => (leaf.count(), false),
            Place::AtLeast(key) => leaf.search(key)?.map_or_else(|i| (i, false), |i| (i, true)),
            Place::Above(key) => leaf.search(key)?.map_or_else(|i| (i, false), |i| (i + 1, true)),
        };
        self.at = at;
        Ok(is_there)
    }

    /// The entry behind the place, if it is in the same leaf.
    ///
    /// # Errors
    /// `Corrupt` where the leaf is damaged.
    #[inline(always)]
    pub fn behind<'s>(
        &self,
        source: &'s (impl PageSource + ?Sized),
        tree: &Tree,
    ) -> Result<Option<Pair<'s>>> {
        let leaf = fetch_leaf(source, self.leaf, tree.table)?;
        if self.at < leaf.count() { leaf.entry(self.at).map(Some) } else { Ok(None) }
    }

    /// The entry before the place, if it is in the same leaf.
    ///
    /// # Errors
    /// `Corrupt` where the leaf is damaged.
    #[inline(always)]
    pub fn before<'s>(
        &self,
        source: &'s (impl PageSource + ?Sized),
        tree: &Tree,
    ) -> Result<Option<Pair<'s>>> {
        let leaf = fetch_leaf(source, self.leaf, tree.table)?;
        self.at.checked_sub(1).map(|at| leaf.entry(at)).transpose()
    }

    /// The entry behind the place, which moves past it; `None` at the end.
    ///
    /// # Errors
    /// `Corrupt` where a page on the way is damaged.
    #[inline]
    pub fn next<'s>(
        &mut self,
        source: &'s (impl PageSource + ?Sized),
        tree: &Tree,
    ) -> Result<Option<Pair<'s>>> {
        loop {
            if let Some(entry) = self.behind(source, tree)? {
                self.at += 1;
                return Ok(Some(entry));
            }
            if !self.move_to_leaf(source, tree, true)? {
                return Ok(None);
            }
        }
    }

    /// The entry before the place, which moves before it; `None` at the start.
    ///
    /// # Errors
    /// `Corrupt` where a page on the way is damaged.
    #[inline]
    pub fn previous<'s>(
        &mut self,
        source: &'s (impl PageSource + ?Sized),
        tree: &Tree,
    ) -> Result<Option<Pair<'s>>> {
        loop {
            if let Some(entry) = self.before(source, tree)? {
                self.at -= 1;
                return Ok(Some(entry));
            }
            if !self.move_to_leaf(source, tree, false)? {
                return Ok(None);
            }
        }
    }

    /// Goes to the neighbouring leaf, before its first entry or behind its last; false where there is none.
    fn move_to_leaf(
        &mut self,
        source: &(impl PageSource + ?Sized),
        tree: &Tree,
        forward: bool,
    ) -> Result<bool> {
        for depth in (0..self.path.len()).rev() {
            let (child, i) = self.path[depth];
            let branch = fetch_branch(source, child, tree.level - depth as u8, tree.table)?;
            if let Some(i) = beside(&branch, i, forward) {
                let mut next =
                    Spot { path: Vec::with_capacity(self.path.len()), leaf: branch.child(i)?, at: 0 };
                next.path.extend_from_slice(&self.path[..depth]);
                next.path.push((child, i));
                next.descend(source, tree, if forward { Place::Start } else { Place::End })?;
                *self = next;
                return Ok(true);
            }
        }
        Ok(false)
    }
}

//! A place between two entries, stepping either way, and what it costs to know its rank.
//!
//! A cursor keeps the branches on its path, so a step within a leaf touches that leaf only, and a step
//! to the next leaf climbs as far as needed. It borrows the source: nothing it points to can change.

use super::{Tree, fetch_branch, fetch_leaf};
use crate::error::{Error, Result};
use crate::format::{ChildRef, MAX_LEVELS};
use crate::page::{Branch, LeafView, Stored};
use crate::snapshot::PageSource;

/// A place in a tree, between two entries.
pub struct Cursor<'s, S: ?Sized> {
    source: &'s S,
    tree: Tree,
    /// By level; entry 0 is unused.
    path: [Option<(Branch<'s>, usize)>; MAX_LEVELS],
    leaf: Option<LeafView<'s>>,
    /// The entry of the leaf that `next` gives.
    at: usize,
}

/// Where to put a cursor.
#[derive(Clone, Copy, Debug)]
pub enum Place<'k> {
    /// Before the first entry.
    Start,
    /// Behind the last entry.
    End,
    /// Before the first entry whose key is not below this.
    AtLeast(&'k [u8]),
    /// Before the first entry whose key is above this.
    Above(&'k [u8]),
    /// Before the entry with this rank, counted from 0.
    Rank(u64),
}

impl<'s, S: PageSource + ?Sized> Cursor<'s, S> {
    /// A cursor at `place`. One page per level.
    ///
    /// # Errors
    /// `Corrupt` where a page on the path is damaged.
    pub fn new(source: &'s S, tree: &Tree, place: Place<'_>) -> Result<Self> {
        let mut cursor = Cursor { source, tree: *tree, path: [None; MAX_LEVELS], leaf: None, at: 0 };
        if !tree.is_empty() {
            cursor.descend(tree.level, tree.root, place)?;
        }
        Ok(cursor)
    }

    /// Goes down from `child`, which is of level `level`.
    fn descend(&mut self, level: u8, mut child: ChildRef, mut place: Place<'_>) -> Result<()> {
        for level in (1..=level).rev() {
            let branch = fetch_branch(self.source, child, level, self.tree.table)?;
            let i = match place {
                Place::Start => 0,
                Place::End => branch.count() - 1,
                Place::AtLeast(key) | Place::Above(key) => branch.search(key)?,
                Place::Rank(ref mut rank) => child_with_rank(&branch, rank)?,
            };
            self.path[usize::from(level)] = Some((branch, i));
            child = branch.child(i)?;
        }
        let leaf = fetch_leaf(self.source, child, self.tree.table)?;
        if leaf.count() == 0 {
            return Err(Error::corrupt(child.page, "leaf without entries"));
        }
        self.at = match place {
            Place::Start => 0,
            Place::End => leaf.count(),
            Place::AtLeast(key) => leaf.search(key)?.unwrap_or_else(|i| i),
            Place::Above(key) => leaf.search(key)?.map_or_else(|i| i, |i| i + 1),
            Place::Rank(rank) => leaf.count().min(usize::try_from(rank).unwrap_or(usize::MAX)),
        };
        self.leaf = Some(leaf);
        Ok(())
    }

    /// The entry behind the cursor, which moves past it; `None` at the end.
    ///
    /// # Errors
    /// `Corrupt` where a page on the way is damaged.
    #[inline]
    pub fn next(&mut self) -> Result<Option<(&'s [u8], Stored<'s>)>> {
        loop {
            let Some(leaf) = &self.leaf else { return Ok(None) };
            if self.at < leaf.count() {
                let entry = leaf.entry(self.at)?;
                self.at += 1;
                return Ok(Some(entry));
            }
            if !self.move_to_leaf(true)? {
                return Ok(None);
            }
        }
    }

    /// The entry before the cursor, which moves before it; `None` at the start.
    ///
    /// # Errors
    /// `Corrupt` where a page on the way is damaged.
    #[inline]
    pub fn previous(&mut self) -> Result<Option<(&'s [u8], Stored<'s>)>> {
        loop {
            let Some(leaf) = &self.leaf else { return Ok(None) };
            if self.at > 0 {
                self.at -= 1;
                return leaf.entry(self.at).map(Some);
            }
            if !self.move_to_leaf(false)? {
                return Ok(None);
            }
        }
    }

    /// Goes to the neighbouring leaf; false when there is none.
    fn move_to_leaf(&mut self, forward: bool) -> Result<bool> {
        for level in 1..=self.tree.level {
            let Some((branch, i)) = self.path[usize::from(level)] else { return Ok(false) };
            let next = if forward { Some(i + 1).filter(|i| *i < branch.count()) } else { i.checked_sub(1) };
            if let Some(i) = next {
                self.path[usize::from(level)] = Some((branch, i));
                let place = if forward { Place::Start } else { Place::End };
                self.descend(level - 1, branch.child(i)?, place)?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Entries left in the current leaf that satisfy `below`, which holds for a prefix of all keys;
    /// one comparison where it holds for the whole leaf.
    pub fn leaf_limit(&self, below: impl Fn(&[u8]) -> bool) -> Result<usize> {
        let Some(leaf) = &self.leaf else { return Ok(0) };
        let count = leaf.count();
        if count == 0 || below(leaf.key(count - 1)?) {
            return Ok(count);
        }
        let (mut low, mut high) = (0, count);
        while low < high {
            let middle = low + (high - low) / 2;
            match below(leaf.key(middle)?) {
                true => low = middle + 1,
                false => high = middle,
            }
        }
        Ok(low)
    }

    /// Number of entries before the cursor. Touches the pages on its path only.
    ///
    /// # Errors
    /// `Corrupt` where a count cannot be read.
    pub fn rank(&self) -> Result<u64> {
        let mut rank = self.at as u64;
        for (branch, i) in self.path[1..=usize::from(self.tree.level)].iter().flatten() {
            rank = rank
                .checked_add(branch.count_before(*i)?)
                .ok_or_else(|| Error::corrupt(branch.page_number(), "counts overflow"))?;
        }
        Ok(rank)
    }

    /// The place within the leaf and the leaf's number of entries.
    #[inline]
    pub fn position(&self) -> (usize, usize) {
        (self.at, self.leaf.map_or(0, |leaf| leaf.count()))
    }
}

/// The child in which the entry of this rank lies; the rank becomes that within the child.
fn child_with_rank(branch: &Branch<'_>, rank: &mut u64) -> Result<usize> {
    for i in 0..branch.count() - 1 {
        let count = branch.child(i)?.count;
        if *rank < count {
            return Ok(i);
        }
        *rank -= count;
    }
    Ok(branch.count() - 1)
}

/// Number of entries before `place`.
///
/// # Errors
/// `Corrupt` where a page on the path is damaged.
pub fn rank(source: &(impl PageSource + ?Sized), tree: &Tree, place: Place<'_>) -> Result<u64> {
    match place {
        Place::Start => Ok(0),
        Place::End => Ok(tree.len()),
        _ => Cursor::new(source, tree, place)?.rank(),
    }
}

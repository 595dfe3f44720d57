//! A place between two entries, stepping either way, and what it costs to know its rank.
//!
//! A cursor keeps the branches on its path, so a step within a leaf touches that leaf only, and a step
//! to the next leaf climbs as far as needed. It borrows the source: nothing it points to can change.

use super::ahead::Ahead;
use super::{Tree, fetch_branch, fetch_leaf};
use crate::error::{Error, Result};
use crate::format::ChildRef;
use crate::page::{Branch, Entries, Pair};
use crate::snapshot::{Advice, PageSource};

/// So many entries behind a place that was searched for are likely to be read.
const SOON: usize = 6;

/// A place in a tree, between two entries.
pub struct Cursor<'s, S: ?Sized> {
    source: &'s S,
    tree: Tree,
    /// From the root down, each branch and which of its children comes next.
    path: Vec<(Branch<'s>, usize)>,
    /// How often it went from a leaf to the next.
    moves: u32,
    ahead: Ahead<'s>,
    /// Those of the leaf that it is in. Whoever confines them is kept in this part of the leaf.
    pub entries: Entries<'s>,
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
    /// Before the entry with this rank, counted from 0; in a multimap before the key that has it.
    Rank(u64),
}

impl<'s, S: PageSource + ?Sized> Cursor<'s, S> {
    /// A cursor that is nowhere: nothing is before or behind it.
    pub fn nowhere(source: &'s S, tree: &Tree) -> Self {
        Cursor::advised_nowhere(source, tree, Advice::Normal)
    }

    fn advised_nowhere(source: &'s S, tree: &Tree, advice: Advice) -> Self {
        Cursor {
            source,
            tree: *tree,
            path: Vec::new(),
            moves: 0,
            ahead: Ahead::new(advice),
            entries: Entries::none(),
        }
    }

    /// A cursor at `place`. One page per level.
    ///
    /// # Errors
    /// `Corrupt` where a page on the path is damaged.
    pub fn new(source: &'s S, tree: &Tree, place: Place<'_>) -> Result<Self> {
        Cursor::advised(source, tree, place, Advice::Normal)
    }

    /// The same, which reads ahead by this advice.
    ///
    /// # Errors
    /// Those of [`Cursor::new`].
    pub fn advised(source: &'s S, tree: &Tree, place: Place<'_>, advice: Advice) -> Result<Self> {
        let mut cursor = Cursor::advised_nowhere(source, tree, advice);
        if !tree.is_empty() {
            cursor.path.reserve_exact(usize::from(tree.level));
            cursor.descend(tree.root, place)?;
        }
        Ok(cursor)
    }

    /// Goes down from `child`, to which the path leads.
    fn descend(&mut self, mut child: ChildRef, mut place: Place<'_>) -> Result<()> {
        self.entries = Entries::none();
        let above = self.path.len() as u8;
        for level in (1..=self.tree.level - above).rev() {
            let branch = fetch_branch(self.source, child, level, self.tree.table)?;
            let i = match place {
                Place::Start => 0,
                Place::End => branch.count() - 1,
                Place::AtLeast(key) | Place::Above(key) => branch.search(key)?,
                Place::Rank(ref mut rank) => child_with_rank(&branch, rank)?,
            };
            self.path.push((branch, i));
            child = branch.child(i)?;
        }
        let is_touched = self.source.is_touched(child.page, child.birth);
        let leaf = fetch_leaf(self.source, child, self.tree.table)?;
        self.ahead.arrive(self.source, &self.tree, child, is_touched);
        if leaf.count() == 0 {
            return Err(Error::corrupt(child.page, "leaf without entries"));
        }
        let at = match place {
            Place::Start => 0,
            Place::End => leaf.count(),
            Place::AtLeast(key) => leaf.search(key)?.unwrap_or_else(|i| i),
            Place::Above(key) => leaf.search(key)?.map_or_else(|i| i, |i| i + 1),
            Place::Rank(rank) if self.tree.layout.set.is_some() => {
                leaf.entry_with_rank(&self.tree.layout, rank)?.0
            }
            Place::Rank(rank) if child.count == leaf.count() as u64 && rank < child.count => rank as usize,
            Place::Rank(_) => {
                let detail = format!("{} entries, by the counts above {}", leaf.count(), child.count);
                return Err(Error::corrupt(child.page, detail));
            }
        };
        if matches!(place, Place::AtLeast(_) | Place::Above(_)) {
            leaf.prefetch_from(at, SOON);
            if leaf.count() < at + SOON
                && let Some((branch, i)) = self.path.last()
                && let Ok(next) = branch.child(i + 1)
            {
                self.source.prefetch(next.page);
            }
        }
        self.entries = Entries::new(&leaf, at);
        Ok(())
    }

    /// The entry behind the cursor, which moves past it; `None` at the end.
    ///
    /// # Errors
    /// `Corrupt` where a page on the way is damaged.
    pub fn next(&mut self) -> Result<Option<Pair<'s>>> {
        loop {
            if let Some(entry) = self.entries.next() {
                return entry.map(Some);
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
    pub fn previous(&mut self) -> Result<Option<Pair<'s>>> {
        loop {
            if let Some(entry) = self.entries.previous() {
                return entry.map(Some);
            }
            if !self.move_to_leaf(false)? {
                return Ok(None);
            }
        }
    }

    /// Goes to the neighbouring leaf, before its first entry or behind its last; false when there is none.
    ///
    /// # Errors
    /// `Corrupt` where a page on the way is damaged.
    pub fn move_to_leaf(&mut self, forward: bool) -> Result<bool> {
        for depth in (0..self.path.len()).rev() {
            let (branch, i) = self.path[depth];
            if let Some(i) = beside(&branch, i, forward) {
                self.path.truncate(depth);
                self.path.push((branch, i));
                self.moves = self.moves.saturating_add(1);
                if self.moves > 1 {
                    self.ask_for_next(forward);
                }
                self.descend(branch.child(i)?, if forward { Place::Start } else { Place::End })?;
                return Ok(true);
            }
        }
        self.ahead.let_go(self.source);
        Ok(false)
    }

    /// Sees to it that the leaf behind the one that it goes to is near when it is needed: in the processor's cache if it
    /// was touched before, in memory if not.
    fn ask_for_next(&mut self, forward: bool) {
        let Some((branch, i)) = self.path.last() else { return };
        if self.path.len() != usize::from(self.tree.level) {
            return;
        }
        let next = beside(branch, *i, forward).map(|i| branch.child(i));
        let is_near = match next {
            Some(Ok(child)) => self.source.prefetch_all(child.page, child.birth),
            _ => !self.ahead.has_asked(),
        };
        self.ahead.moved(self.source, &self.tree, &self.path, forward, is_near);
    }

    /// Number of entries before the cursor. Touches the pages on its path only.
    ///
    /// # Errors
    /// `Corrupt` where a count cannot be read.
    pub fn rank(&self) -> Result<u64> {
        self.path.iter().try_fold(self.entries.weight_before(&self.tree.layout)?, |rank, (branch, i)| {
            rank.checked_add(branch.count_before(*i)?)
                .ok_or_else(|| Error::corrupt(branch.page_number(), "counts overflow"))
        })
    }
}

pub(super) fn beside(branch: &Branch<'_>, i: usize, forward: bool) -> Option<usize> {
    if forward { Some(i + 1).filter(|i| *i < branch.count()) } else { i.checked_sub(1) }
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

//! Building a tree from entries in ascending order, behind what is in it, and taking one apart.
//!
//! A [`Builder`] keeps the pages on the right edge of a tree open, fills each and begins the next: no search, no
//! split, full pages. An [`Old`] tree gives its entries away in their order, and its pages up. Together they merge
//! entries into a tree that is written anew.
//!
//! Invariant: while a builder is open the tree is not whole; who fails meanwhile goes back to a savepoint, or gives the txn up.

use super::cursor::{Cursor, Place};
use super::path::{self, Wanted};
use super::remove::{Held, page_budget};
use super::{Tree, expect_table, insert};
use crate::dirty::{Dirty, Step};
use crate::error::{Error, Result};
use crate::format::{ChildRef, MAX_LEVELS};
use crate::page::{Branch, BranchEntries, Filling, LeafView, Stored, separator};

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

/// A branch that gets more children.
#[derive(Default)]
struct OpenBranch {
    /// The heap page that it is written to, where it has one.
    slot: Option<u32>,
    /// What separates it from its left neighbour.
    separator: Vec<u8>,
    /// All of its children but the last one, which is open.
    entries: BranchEntries,
}

/// The right edge of a tree, to which entries are added.
pub struct Builder {
    leaf: Filling,
    slot: Option<u32>,
    separator: Vec<u8>,
    /// From the leaf up.
    branches: Vec<OpenBranch>,
}

impl Builder {
    /// Opens the right edge of a tree, all of whose keys are below `key`.
    ///
    /// # Errors
    /// `Corrupt`, also where they are not; `Io`.
    pub fn open(dirty: &mut Dirty, tree: &mut Tree, key: &[u8]) -> Result<Self> {
        let leaf = Filling::new(tree.layout);
        let mut builder = Builder { leaf, slot: None, separator: Vec::new(), branches: Vec::new() };
        if tree.is_empty() {
            return Ok(builder);
        }
        path::find(dirty, tree, key, Wanted::Place)?;
        for depth in 0..dirty.path.len {
            let Step { slot, .. } = dirty.path.steps[depth];
            let branch = Branch::new(dirty.heap_page(slot), tree.level - depth as u8)?;
            let mut entries = BranchEntries::read(&branch)?;
            let last = entries.count() - 1;
            let below = entries.key(last).to_vec();
            entries.remove(last);
            let separator = std::mem::replace(&mut builder.separator, below);
            builder.branches.push(OpenBranch { slot: Some(slot), separator, entries });
        }
        builder.branches.reverse();
        builder.slot = Some(dirty.path.leaf);
        let leaf = LeafView::new(dirty.heap_page(dirty.path.leaf))?;
        for i in 0..leaf.count() {
            let (key, value) = leaf.entry(i)?;
            builder.leaf.push(key, value);
        }
        if dirty.path.upper.is_some() || builder.leaf.last_key().is_some_and(|last| last >= key) {
            return Err(Error::corrupt(tree.root.page, "its last key is not where its separators say"));
        }
        dirty.path.is_valid = false;
        Ok(builder)
    }

    /// Adds an entry behind the last one. Returns whether a leaf became full, or memory is taken beside it.
    ///
    /// # Errors
    /// `Io`, `Full`; `InvalidArgument` where the tree would become too high.
    pub fn push(&mut self, dirty: &mut Dirty, tree: &mut Tree, key: &[u8], value: &[u8]) -> Result<bool> {
        let stored = insert::store(dirty, tree, key, value)?;
        let is_large = matches!(stored, Stored::Overflow(_));
        if let Stored::Overflow(run) = &stored {
            tree.overflow_pages += run.pages(tree.layout.page_size);
        }
        Ok(self.push_stored(dirty, tree, key, stored)? || is_large)
    }

    /// The same for a value that is stored already.
    ///
    /// # Errors
    /// Those of [`Builder::push`].
    pub fn push_stored(
        &mut self,
        dirty: &mut Dirty,
        tree: &Tree,
        key: &[u8],
        value: Stored<'_>,
    ) -> Result<bool> {
        let is_full = !self.leaf.has_room(key.len(), value.cell_len());
        if is_full {
            let last = self.leaf.last_key().expect("an empty leaf has room");
            let next = separator(last, key).to_vec();
            let (separator, leaf) = self.finish_leaf(dirty, tree)?;
            self.add_child(dirty, tree, 0, &separator, leaf)?;
            self.separator = next;
        }
        self.leaf.push(key, value);
        Ok(is_full)
    }

    fn finish_leaf(&mut self, dirty: &mut Dirty, tree: &Tree) -> Result<(Vec<u8>, ChildRef)> {
        let slot = match self.slot.take() {
            Some(slot) => slot,
            None => dirty.add_page()?,
        };
        let count = self.leaf.count() as u64;
        self.leaf.write(dirty.heap_page_mut(slot), tree.table);
        dirty.note_appended();
        Ok((std::mem::take(&mut self.separator), dirty.reference(slot, count)))
    }

    /// Adds a child, which is complete, to the open branch number `i`. A branch without room for it is complete
    /// itself.
    fn add_child(
        &mut self,
        dirty: &mut Dirty,
        tree: &Tree,
        i: usize,
        separator: &[u8],
        child: ChildRef,
    ) -> Result<()> {
        if i == self.branches.len() {
            insert::expect_level(i + 1)?;
            self.branches.push(OpenBranch::default());
        }
        let open = &mut self.branches[i];
        open.entries.push(if open.entries.count() == 0 { &[] } else { separator }, child);
        let count = open.entries.count();
        if open.entries.page_len(0, count) <= tree.layout.page_size {
            return Ok(());
        }
        let separator = std::mem::replace(&mut open.separator, open.entries.key(count - 1).to_vec());
        let mut entries = BranchEntries::default();
        entries.push(&[], child);
        let (slot, full) = (open.slot.take(), std::mem::replace(&mut open.entries, entries));
        let full = write_branch(dirty, tree, i + 1, slot, &full, count - 1)?;
        self.add_child(dirty, tree, i + 1, &separator, full)
    }

    /// Completes the pages that are open; the tree is whole again.
    ///
    /// # Errors
    /// Those of [`Builder::push`].
    pub fn close(mut self, dirty: &mut Dirty, tree: &mut Tree) -> Result<()> {
        if self.leaf.count() == 0 {
            return Ok(());
        }
        let (mut separator, mut child) = self.finish_leaf(dirty, tree)?;
        let mut level = 0;
        while level < self.branches.len() {
            self.add_child(dirty, tree, level, &separator, child)?;
            let open = std::mem::take(&mut self.branches[level]);
            if level + 1 == self.branches.len() && open.entries.count() == 1 {
                // A root with one child gives way to that child.
                open.slot.into_iter().for_each(|slot| dirty.drop_slot(slot));
                child = open.entries.child(0);
                break;
            }
            child = write_branch(dirty, tree, level + 1, open.slot, &open.entries, open.entries.count())?;
            separator = open.separator;
            level += 1;
        }
        (tree.root, tree.level) = (child, level as u8);
        dirty.path.is_valid = false;
        Ok(())
    }
}

/// Writes the first `count` of these entries as a branch.
fn write_branch(
    dirty: &mut Dirty,
    tree: &Tree,
    level: usize,
    slot: Option<u32>,
    entries: &BranchEntries,
    count: usize,
) -> Result<ChildRef> {
    let slot = match slot {
        Some(slot) => slot,
        None => dirty.add_page()?,
    };
    entries.write(dirty.heap_page_mut(slot), level as u8, tree.table, 0, count);
    let counts = (0..count).map(|i| entries.child(i).count);
    Ok(dirty.reference(slot, counts.fold(0, u64::saturating_add)))
}

/// A tree that gives its entries away.
pub struct Old {
    tree: Tree,
    /// What was not visited yet, the next last: references and their levels.
    rest: Vec<(ChildRef, u8)>,
    /// So many pages there can be beside those visited.
    left: u64,
    /// The leaf being read, and which of its entries comes next.
    leaf: Vec<u8>,
    at: usize,
    count: usize,
}

impl Old {
    /// Before the first entry.
    ///
    /// # Errors
    /// `Corrupt` where a page on the way to it is damaged.
    pub fn new(dirty: &mut Dirty, tree: &Tree) -> Result<Self> {
        let left = page_budget(dirty);
        let rest = if tree.is_empty() { Vec::new() } else { vec![(tree.root, tree.level)] };
        let mut old = Old { tree: *tree, rest, left, leaf: Vec::new(), at: 0, count: 0 };
        old.next_leaf(dirty)?;
        Ok(old)
    }

    /// The next entry.
    ///
    /// # Errors
    /// `Corrupt` where it does not lie in its page.
    pub fn entry(&self) -> Result<Option<(&[u8], Stored<'_>)>> {
        if self.at == self.count {
            return Ok(None);
        }
        LeafView::new(&self.leaf)?.entry(self.at).map(Some)
    }

    /// Gives up what the next entry holds beside its leaf.
    ///
    /// # Errors
    /// `Corrupt` for a reference that cannot be right.
    pub fn give_up(&self, dirty: &mut Dirty, tree: &mut Tree) -> Result<()> {
        let held = Held::by(&LeafView::new(&self.leaf)?, self.at, &tree.layout)?;
        held.give_up(dirty, tree)
    }

    /// Goes on to the one behind.
    ///
    /// # Errors
    /// `Corrupt` where a page on the way to it is damaged.
    pub fn advance(&mut self, dirty: &mut Dirty) -> Result<()> {
        self.at += 1;
        if self.at < self.count { Ok(()) } else { self.next_leaf(dirty) }
    }

    /// Copies the next leaf, and gives it and the branches on the way up.
    fn next_leaf(&mut self, dirty: &mut Dirty) -> Result<()> {
        let last = match self.count.checked_sub(1) {
            Some(last) => Some(LeafView::new(&self.leaf)?.key(last)?.to_vec()),
            None => None,
        };
        (self.at, self.count) = (0, 0);
        while let Some((child, level)) = self.rest.pop() {
            let fail = |detail: &str| Error::corrupt(child.page, detail);
            self.left = self
                .left
                .checked_sub(1)
                .ok_or_else(|| fail("the tree refers to more pages than there are"))?;
            if usize::from(level) >= MAX_LEVELS {
                return Err(super::too_high(child, level));
            }
            let slot = dirty.make_mut(child, level, &self.tree.layout)?;
            let bytes = dirty.heap_page(slot);
            expect_table(bytes, self.tree.table)?;
            if level == 0 {
                bytes.clone_into(&mut self.leaf);
                dirty.drop_slot(slot);
                let leaf = LeafView::new(&self.leaf)?;
                self.count = leaf.count();
                if self.count == 0 || last.is_some_and(|last| leaf.key(0).is_ok_and(|key| key <= &last[..])) {
                    return Err(fail("leaf without entries, or with a key that belongs before it"));
                }
                return Ok(());
            }
            let branch = Branch::new(bytes, level)?;
            for i in (0..branch.count()).rev() {
                self.rest.push((branch.child(i)?, level - 1));
            }
            dirty.drop_slot(slot);
        }
        Ok(())
    }
}

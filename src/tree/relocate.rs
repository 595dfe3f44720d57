//! Moving pages of a tree out of the tail of the file, a part at a time.
//!
//! Owns: [`Relocation`], the walk, and [`Place`], where it goes on. Branches say where their children lie, so leaves are
//! looked at only where they refer to values or sets; what a page refers to is not newer than the page, so what is below
//! one that a snapshot holds is not looked at. Promises: contents and order stay as they are; a page that is moved is
//! copied as by any change of it, and born anew. Leaves to others: how far the tail reaches, and which pages are free in
//! front of it ([`crate::dirty`], [`crate::txn`]).

use super::multi::set_tree;
use super::{Tree, fetch_branch, fetch_leaf};
use crate::dirty::{Dirty, heap_slot};
use crate::error::Result;
use crate::format::{ChildRef, OverflowRef, SetRef};
use crate::page::{Stored, branch, leaf_overwrite};
use std::sync::Arc;
use std::time::Instant;

/// For one page that may be moved so many are looked at.
const LOOKS: u64 = 16;
/// So many free pages in front of the tail are left for what a commit writes besides.
pub const SPARE: u64 = 12;

/// Where the walk goes on within a tree.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Place {
    /// The first key that it has not come by.
    pub key: Vec<u8>,
    /// The first of its values, where it is a multimap's and the walk ended among them.
    pub value: Option<Vec<u8>>,
}

/// A part of the walk: what may be done, and what was.
pub struct Relocation {
    /// Pages from here on are to move.
    pub tail: u64,
    /// Pages that were born up to then stay where they are: a snapshot holds them.
    pub held: u64,
    /// So many pages may be moved.
    pub limit: u64,
    /// Until then.
    pub deadline: Option<Instant>,
    /// Pages that were moved.
    pub moved: u64,
    /// Pages that were looked at.
    pub looked: u64,
}

impl Relocation {
    /// Moves what of the tree lies in the tail, from a place on. Returns where it has stopped, if it has.
    ///
    /// # Errors
    /// `Corrupt`, `Io`, `Full`; the tree may then be half changed.
    pub fn run(&mut self, dirty: &mut Dirty, tree: &mut Tree, from: Option<&Place>) -> Result<Option<Place>> {
        if tree.is_empty() {
            return Ok(None);
        }
        let mut walk = Walk { part: self, tree: *tree, stopped: None };
        if let Some(root) = walk.below(dirty, tree.root, tree.level, from)? {
            tree.root = root;
        }
        Ok(walk.stopped)
    }

    /// Whether this part has done what it may.
    pub fn is_over(&self, dirty: &Dirty) -> bool {
        let used = (dirty.bytes() / dirty.page_size()) as u64;
        self.moved >= self.limit
            || self.looked / LOOKS >= self.limit
            || self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
            || used + SPARE >= dirty.room()
            || dirty.is_full()
    }

    fn is_to_move(&self, page: u64, birth: u64) -> bool {
        heap_slot(page).is_none() && page >= self.tail && birth > self.held
    }
}

/// The walk through one tree.
struct Walk<'r> {
    part: &'r mut Relocation,
    tree: Tree,
    stopped: Option<Place>,
}

impl Walk<'_> {
    /// Moves what is below a reference. Returns what it becomes, if it changes.
    fn below(
        &mut self,
        dirty: &mut Dirty,
        child: ChildRef,
        level: u8,
        from: Option<&Place>,
    ) -> Result<Option<ChildRef>> {
        if child.birth <= self.part.held {
            return Ok(None);
        }
        let slot = match level {
            0 if self.refers() => self.leaf(dirty, child, from)?,
            0 => None,
            _ => self.branch(dirty, child, level, from)?,
        };
        let slot = match slot {
            None if self.part.is_to_move(child.page, child.birth) => {
                Some(dirty.make_mut(child, level, &self.tree.layout)?)
            }
            slot => slot,
        };
        if slot.is_some() && self.part.is_to_move(child.page, child.birth) {
            self.part.moved += 1;
        }
        Ok(slot.map(|slot| dirty.reference(slot, child.count)))
    }

    /// Moves what is below a branch, which lies in the heap then if anything of it has.
    fn branch(
        &mut self,
        dirty: &mut Dirty,
        child: ChildRef,
        level: u8,
        from: Option<&Place>,
    ) -> Result<Option<u32>> {
        self.part.looked += 1;
        let (table, layout) = (self.tree.table, self.tree.layout);
        let branch = fetch_branch(dirty, child, level, table)?;
        let first = from.map_or(Ok(0), |place| branch.search(&place.key))?;
        let children = (0..branch.count()).map(|i| branch.child(i)).collect::<Result<Vec<_>>>()?;
        self.read_ahead(dirty, &children[first..], level - 1);
        let mut changed = Vec::new();
        for (i, below) in children.iter().enumerate().skip(first) {
            // Before it went down here it was looked whether this part is over.
            if i > first && self.part.is_over(dirty) {
                let mut place = Place::default();
                fetch_branch(dirty, child, level, table)?.separator(i, &mut place.key)?;
                self.stopped = Some(place);
            } else if let Some(now) = self.below(dirty, *below, level - 1, from.filter(|_| i == first))? {
                changed.push((i, now));
            }
            if self.stopped.is_some() {
                break;
            }
        }
        if changed.is_empty() {
            return Ok(None);
        }
        let slot = dirty.make_mut(child, level, &layout)?;
        let page = dirty.heap_page_mut(slot);
        changed.into_iter().for_each(|(i, now)| branch::set_child(page, i, now));
        Ok(Some(slot))
    }

    /// Asks for the pages that will be looked at next.
    fn read_ahead(&self, dirty: &Dirty, children: &[ChildRef], level: u8) {
        let is_wanted = |child: &&ChildRef| match child.birth > self.part.held {
            true => level > 0 || self.refers() || self.part.is_to_move(child.page, child.birth),
            false => false,
        };
        let most = self.part.limit.saturating_sub(self.part.moved).max(1) as usize;
        let wanted = children.iter().filter(is_wanted).take(most);
        let mut pages: Vec<u64> = wanted.map(|child| child.page).collect();
        let expected = pages.len() as u64;
        dirty.store.pages.read_ahead(&mut pages, dirty.space.page_count(), expected);
    }

    /// Whether leaves refer to anything.
    fn refers(&self) -> bool {
        self.tree.overflow_pages > 0 && self.tree.layout.fixed.is_none()
    }

    /// Moves what a leaf refers to, which lies in the heap then if anything of it has.
    fn leaf(&mut self, dirty: &mut Dirty, child: ChildRef, from: Option<&Place>) -> Result<Option<u32>> {
        self.part.looked += 1;
        let (table, layout) = (self.tree.table, self.tree.layout);
        let leaf = fetch_leaf(dirty, child, table)?;
        let first = from.map_or(Ok(Ok(0)), |place| leaf.search(&place.key))?;
        let within = from.filter(|_| first.is_ok()).and_then(|place| place.value.as_deref());
        let first = first.unwrap_or_else(|i| i);
        let mut changed = Vec::new();
        for i in first..leaf.count() {
            let (key, stored) = fetch_leaf(dirty, child, table)?.entry(i)?;
            let (key, stored) = (key.to_vec(), Found::of(stored));
            if matches!(stored, Found::Nothing) {
                continue;
            }
            if i > first && self.part.is_over(dirty) {
                self.stopped = Some(Place { key, value: None });
                break;
            }
            match stored {
                Found::Value(run) => {
                    changed.extend(self.value(dirty, &run)?.map(|run| (i, Found::Value(run))))
                }
                Found::Set(set) => {
                    let from = within.filter(|_| i == first);
                    let from = from.map(|value| Place { key: value.to_vec(), value: None });
                    let mut values = set_tree(&self.tree, &set)?;
                    let stopped = self.part.run(dirty, &mut values, from.as_ref())?;
                    if values.root != set.root {
                        changed.push((i, Found::Set(SetRef { root: values.root, level: values.level })));
                    }
                    self.stopped = stopped.map(|place| Place { key, value: Some(place.key) });
                }
                Found::Nothing => {}
            }
            if self.stopped.is_some() {
                break;
            }
        }
        if changed.is_empty() {
            return Ok(None);
        }
        let slot = dirty.make_mut(child, 0, &layout)?;
        for (i, now) in changed {
            let stored = match now {
                Found::Value(run) => Stored::Overflow(run),
                Found::Set(set) => Stored::Set(set),
                Found::Nothing => continue,
            };
            assert!(
                leaf_overwrite(dirty.heap_page_mut(slot), &layout, i, stored),
                "a reference for a reference"
            );
        }
        Ok(Some(slot))
    }

    /// Copies a large value of the tail to a free run in front of it, if there is one that holds it.
    fn value(&mut self, dirty: &mut Dirty, run: &OverflowRef) -> Result<Option<OverflowRef>> {
        let pages = run.pages(dirty.page_size());
        let is_in_tail = run.page.saturating_add(pages) > self.part.tail && run.birth > self.part.held;
        if heap_slot(run.page).is_some() || !is_in_tail || !dirty.has_run_beside(pages, SPARE) {
            return Ok(None);
        }
        let store = Arc::clone(&dirty.store);
        store.heed_upsets();
        let bytes = store.pages.read_overflow(run, dirty.space.page_count())?;
        let copy = dirty.write_value(bytes)?;
        dirty.drop_value(run)?;
        self.part.moved += pages;
        Ok(Some(copy))
    }
}

/// What an entry of a leaf refers to.
enum Found {
    Nothing,
    Value(OverflowRef),
    Set(SetRef),
}

impl Found {
    fn of(stored: Stored<'_>) -> Self {
        match stored {
            Stored::Inline(_) => Found::Nothing,
            Stored::Overflow(run) => Found::Value(run),
            Stored::Set(set) => Found::Set(set),
        }
    }
}

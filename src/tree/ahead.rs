//! Leaves that are read ahead of a walk, and let go behind it.
//!
//! Owns: [`Ahead`], which goes along the branches before its cursor. Promises: a walk that goes on asks for each leaf
//! once, and at any time for no more leaves in vain than it has walked through, up to a limit; what is damaged is found
//! when the cursor comes to it. Leaves to others: what asking does ([`crate::snapshot`]).
//!
//! The window doubles as the walk goes on. Leaves of a window are asked for in the order of their places in the file,
//! so that the larger it is the more of them lie side by side, or so near that what lies between is cheaper read than
//! left out.

use super::cursor::beside;
use super::{Tree, fetch_branch, fetch_leaf};
use crate::format::ChildRef;
use crate::page::{Branch, Stored};
use crate::snapshot::{Advice, PageSource};

/// Windows, in leaves; each is twice the one before.
const FIRST_WINDOW: usize = 8;
const LARGEST_WINDOW: usize = 8192;
/// That of a walk that lets its pages go, which is what is left of it where it ends early.
const COLD_WINDOW: usize = 128;
/// From this window on all branches below the same one are asked for together.
const ALL_BRANCHES: usize = 64;
/// How many times as far as it has come a walk is expected to go on.
const GOES_ON: u64 = 8;

/// What is read ahead of a cursor.
pub struct Ahead<'s> {
    advice: Advice,
    forward: bool,
    /// The way to the last leaf that was asked for: as the path of the cursor.
    front: Vec<(Branch<'s>, usize)>,
    /// How many leaves it is ahead.
    asked: usize,
    window: usize,
    /// How many were asked for in all.
    all: u64,
    /// The branch whose children were asked for.
    parent: Option<u64>,
    /// Runs of pages that the walk has brought in and passed: first page, number.
    passed: Vec<(u64, u64)>,
}

impl<'s> Ahead<'s> {
    /// Before the first step of a walk.
    pub fn new(advice: Advice) -> Self {
        let (front, passed) = (Vec::new(), Vec::new());
        Ahead { advice, forward: true, front, asked: 0, window: 0, all: 0, parent: None, passed }
    }

    /// Whether anything was asked for.
    pub fn has_asked(&self) -> bool {
        self.window > 0
    }

    /// The cursor, whose path leads to a leaf now, has gone to the next one, which is in memory or not. Asks for more
    /// when half of what was asked for is used up.
    #[inline]
    pub fn moved(
        &mut self,
        source: &'s (impl PageSource + ?Sized),
        tree: &Tree,
        path: &[(Branch<'s>, usize)],
        forward: bool,
        is_near: bool,
    ) {
        self.asked = self.asked.saturating_sub(1);
        if self.forward != forward {
            (self.forward, self.asked, self.parent) = (forward, 0, None);
        }
        if !is_near && self.asked <= self.window / 2 && self.advice != Advice::Random {
            self.ask(source, tree, path);
        }
    }

    #[cold]
    fn ask(&mut self, source: &'s (impl PageSource + ?Sized), tree: &Tree, path: &[(Branch<'s>, usize)]) {
        let (least, most) = match self.advice {
            Advice::Sequential => (LARGEST_WINDOW / 2, LARGEST_WINDOW),
            Advice::Cold => (FIRST_WINDOW, COLD_WINDOW),
            _ => (FIRST_WINDOW, LARGEST_WINDOW),
        };
        self.window = (self.window * 2).clamp(least, most);
        if self.asked == 0 {
            self.front = path.to_vec();
            if let Some((above, i)) = path.len().checked_sub(2).map(|depth| &path[depth]) {
                self.ask_for_branches(source, above, *i);
            }
        }
        let (mut leaves, mut entries) = (Vec::new(), 0u64);
        while self.asked + leaves.len() < self.window {
            let Some(child) = self.step(source, tree) else { break };
            leaves.push(child.page);
            entries = entries.saturating_add(child.count);
        }
        if leaves.is_empty() {
            return;
        }
        self.asked += leaves.len();
        self.all += leaves.len() as u64;
        // About as many leaves as the tree has.
        let of_tree = tree.len().saturating_mul(leaves.len() as u64) / entries.max(1);
        let expected = match self.advice {
            Advice::Sequential => of_tree,
            Advice::Cold => 0,
            _ => of_tree.min(self.all * GOES_ON),
        };
        source.read_ahead(&mut leaves, expected);
    }

    /// The next leaf that was not asked for; `None` at the end, or where a branch cannot be read.
    fn step(&mut self, source: &'s (impl PageSource + ?Sized), tree: &Tree) -> Option<ChildRef> {
        let next = |(branch, i): &(Branch<'s>, usize), forward| beside(branch, *i, forward);
        let depth = self.front.iter().rposition(|place| next(place, self.forward).is_some())?;
        self.front.truncate(depth + 1);
        self.front[depth].1 = next(&self.front[depth], self.forward)?;
        while self.front.len() < usize::from(tree.level) {
            let (above, i) = *self.front.last()?;
            let level = tree.level - self.front.len() as u8;
            self.ask_for_branches(source, &above, i);
            let branch = fetch_branch(source, above.child(i).ok()?, level, tree.table).ok()?;
            self.front.push((branch, if self.forward { 0 } else { branch.count().checked_sub(1)? }));
        }
        let (branch, i) = self.front.last()?;
        branch.child(*i).ok()
    }

    /// Asks for the branches behind child `i`, which is about to be read: for the next one, or for all.
    fn ask_for_branches(&mut self, source: &(impl PageSource + ?Sized), above: &Branch<'_>, i: usize) {
        if self.parent == Some(above.page_number()) {
            return;
        }
        let count = if self.window < ALL_BRANCHES { 1 } else { above.count() };
        let page = |i| above.child(i).ok().map(|child| child.page);
        let mut pages: Vec<u64> = match self.forward {
            true => (i + 1..above.count()).take(count).filter_map(page).collect(),
            false => (0..i).rev().take(count).filter_map(page).collect(),
        };
        if count > 1 {
            self.parent = Some(above.page_number());
        }
        if !pages.is_empty() {
            source.read_ahead(&mut pages, 0);
        }
    }

    /// The cursor comes to a leaf. Behind a cold walk what it brings in is let go: the leaves, and their large values.
    #[inline]
    pub fn arrive(
        &mut self,
        source: &(impl PageSource + ?Sized),
        tree: &Tree,
        child: ChildRef,
        is_touched: bool,
    ) {
        if self.advice == Advice::Cold {
            self.arrive_cold(source, tree, child, is_touched);
        }
    }

    #[cold]
    fn arrive_cold(
        &mut self,
        source: &(impl PageSource + ?Sized),
        tree: &Tree,
        child: ChildRef,
        is_touched: bool,
    ) {
        if self.passed.len() >= COLD_WINDOW {
            self.let_go(source);
        }
        if !is_touched {
            self.passed.push((child.page, 1));
        }
        if tree.overflow_pages == 0 {
            return;
        }
        let Ok(leaf) = fetch_leaf(source, child, tree.table) else { return };
        for i in 0..leaf.count() {
            if let Ok((_, Stored::Overflow(run))) = leaf.entry(i)
                && !source.is_value_touched(&run)
            {
                self.passed.push((run.page, run.pages(tree.layout.page_size)));
            }
        }
    }

    /// Lets go of what was passed.
    #[cold]
    pub fn let_go(&mut self, source: &(impl PageSource + ?Sized)) {
        source.let_go(&mut self.passed);
        self.passed.clear();
    }
}

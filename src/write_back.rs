//! Early write-back: the pages that a checkpoint will have to flush, and when the system is asked to begin.
//!
//! Owns: the list of leaves that this process's logged commits wrote since the checkpoint and that are still part of
//! the tree ([`Unwritten`]). What every commit replaces, and what was replaced, is kept out of it: neither should
//! reach the disk before the checkpoint. Promises nothing: it is only advice, and the checkpoint's flush takes
//! all. Leaves to others: how far it is to the checkpoint ([`crate::group`]).

use crate::space::{GivenUp, Run};
use std::collections::BTreeMap;

/// How far it is from one checkpoint to the next, in units of early write-back.
pub const INTERVAL: u64 = 1 << 20;
/// Where early write-back begins.
const START: u64 = INTERVAL / 4;
/// So many pages are asked for at once, at least.
const STEP: usize = 32;
/// So many pages are put in order at once, at most.
const MAX_FRESH: usize = 1 << 14;

/// Pages that may be dirty in the page cache.
#[derive(Default)]
pub struct Unwritten {
    /// Whether it is a leaf that was not asked for yet; the others are better not written.
    pages: BTreeMap<u64, bool>,
    /// What is not in `pages` yet, in order of time. Most of it is what every commit replaces.
    fresh: Vec<(u64, bool)>,
    /// How many of these are leaves.
    fresh_leaves: usize,
    /// So many are such leaves.
    leaves: usize,
    /// The page behind the last that was asked for.
    cursor: u64,
    progress: u64,
    /// The txn of the checkpoint since which they were written.
    checkpoint: u64,
}

impl Unwritten {
    /// A txn has written pages, each with whether it is a leaf, and no longer needs `given`, as far as it was written
    /// since `checkpoint`.
    pub fn note(&mut self, written: impl Iterator<Item = (u64, bool)>, given: &[GivenUp], checkpoint: u64) {
        if self.checkpoint != checkpoint {
            // This process need not be the one that made it.
            *self = Unwritten { checkpoint, ..Unwritten::default() };
        }
        for given in given.iter().filter(|given| given.birth > checkpoint) {
            self.fresh.extend((given.run.start..given.run.end()).map(|page| (page, false)));
        }
        for (page, is_leaf) in written {
            self.fresh.push((page, is_leaf));
            self.fresh_leaves += usize::from(is_leaf);
        }
        if self.fresh.len() > MAX_FRESH {
            self.settle();
        }
    }

    /// Of each page the newest counts.
    fn settle(&mut self) {
        let mut fresh = std::mem::take(&mut self.fresh);
        fresh.sort_by_key(|(page, _)| *page);
        for same in fresh.chunk_by(|a, b| a.0 == b.0) {
            let (page, is_leaf) = same[same.len() - 1];
            self.set(page, is_leaf);
        }
        fresh.clear();
        (self.fresh, self.fresh_leaves) = (fresh, 0);
    }

    fn set(&mut self, page: u64, is_leaf: bool) {
        let was_leaf = self.pages.insert(page, is_leaf) == Some(true);
        self.leaves = self.leaves + usize::from(is_leaf) - usize::from(was_leaf);
    }

    /// A checkpoint has flushed them all.
    pub fn clear(&mut self) {
        *self = Unwritten::default();
    }

    /// The pages to begin with when `now` of the way is gone. From [`START`] on the same part of what is left is due
    /// with each step of the way, so that nothing is left at the end.
    pub fn due(&mut self, now: u64) -> Vec<Run> {
        if now < self.progress {
            // Another process has made a checkpoint.
            self.clear();
        }
        let from = self.progress.max(START);
        if now <= from {
            return Vec::new();
        }
        let left = (INTERVAL - from).max(1);
        let part = |leaves: usize| (leaves as u64 * (now.min(INTERVAL) - from) / left) as usize;
        if part(self.leaves + self.fresh_leaves) < STEP {
            return Vec::new();
        }
        self.settle();
        let count = part(self.leaves);
        if count < STEP {
            return Vec::new();
        }
        self.progress = now;
        let mut ranges = Vec::new();
        let begun = self.leaves;
        self.take(count, &mut ranges);
        let missing = count - (begun - self.leaves);
        if missing > 0 {
            self.cursor = 0;
            self.take(missing, &mut ranges);
        }
        ranges
    }

    /// Takes up to `count` leaves from the cursor on. What lies between two leaves goes with them unless it is better not
    /// written: what is clean costs nothing, and the system gets many pages at once.
    fn take(&mut self, mut count: usize, ranges: &mut Vec<Run>) {
        let mut open: Option<Run> = None;
        for (&page, is_due) in self.pages.range_mut(self.cursor..) {
            if count == 0 {
                break;
            }
            if !*is_due {
                ranges.extend(open.take_if(|run| run.end() <= page));
                continue;
            }
            *is_due = false;
            let start = open.map_or(page, |run| run.start);
            open = Some(Run { start, len: page + 1 - start });
            count -= 1;
            self.leaves -= 1;
            self.cursor = page + 1;
        }
        ranges.extend(open);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf(page: u64) -> (u64, bool) {
        (page, true)
    }

    #[test]
    fn every_leaf_is_asked_for_before_the_checkpoint_and_nothing_that_each_commit_replaces() {
        let mut unwritten = Unwritten::default();
        let mut asked = Vec::new();
        for txn in 1..=1000u64 {
            let leaves = [txn * 7919 % 10_007, txn * 104_729 % 10_007 + 20_000].map(leaf);
            unwritten.note(leaves.into_iter().chain([(5000 + txn % 2, false)]), &[], 0);
            asked.extend(unwritten.due(txn * INTERVAL / 1000));
        }
        unwritten.settle();
        assert!(unwritten.leaves <= STEP, "{} are left", unwritten.leaves);
        assert!(asked.iter().all(|run| run.end() <= 5000 || run.start > 5001), "{asked:?}");
    }

    #[test]
    fn what_was_replaced_since_the_checkpoint_is_not_asked_for() {
        let mut unwritten = Unwritten::default();
        unwritten.note((500..600).map(leaf), &[], 2);
        let replaced = GivenUp { run: Run { start: 520, len: 2 }, birth: 3 };
        let older = GivenUp { run: Run { start: 550, len: 2 }, birth: 2 };
        unwritten.note(std::iter::empty(), &[replaced, older], 2);
        let ranges = [Run { start: 500, len: 20 }, Run { start: 522, len: 78 }];
        assert_eq!(unwritten.due(INTERVAL), ranges);
        assert_eq!(unwritten.leaves, 0);
    }

    #[test]
    fn nothing_is_asked_for_at_the_beginning_nor_after_another_process_has_made_a_checkpoint() {
        let mut unwritten = Unwritten::default();
        unwritten.note((0..1000).map(leaf), &[], 0);
        assert!(unwritten.due(START).is_empty());
        assert!(!unwritten.due(INTERVAL / 2).is_empty());
        assert!(unwritten.due(INTERVAL / 4).is_empty());
        assert!(unwritten.due(INTERVAL).is_empty(), "it was flushed");
    }

    #[test]
    fn a_checkpoint_of_another_process_is_the_end_of_them_too() {
        let mut unwritten = Unwritten::default();
        unwritten.note((0..1000).map(leaf), &[], 2);
        unwritten.note((2000..2010).map(leaf), &[], 7);
        unwritten.settle();
        assert_eq!((unwritten.leaves, unwritten.pages.len()), (10, 10));
    }
}

//! One table, rebuilt from what is whole of its tree.
//!
//! Owns: the walk from a root, or from nothing; the holes that it finds; and how they are filled. Promises: of two pages
//! that speak of the same keys the newer one counts; what a newer page says is not there is not brought back by an older one
//! inside its range. Leaves to others: which pages are whole ([`super::survey`]), and where entries go.
//!
//! A **hole** is what a reference leads to that is not whole: a range of keys, as of a birth. Pages behind it that are whole
//! are found by their numbers alone: those of the table that are not newer, in the order of their births. What is left to
//! fill is kept as **gaps**, ranges without overlap. Where the root is not known, everything is one hole.

use super::survey::Whole;
use crate::copies::Copies;
use crate::error::{Error, Result};
use crate::format::{ChildRef, MAX_LEVELS, OverflowRef, PageKind, SET_BIT, SetRef, header};
use crate::page::set::Set;
use crate::page::{Branch, LeafView, Stored};
use crate::space::{Run, RunSet};
use crate::tree::check::Behind;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::ops::Bound;

/// How an entry was come by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Found {
    /// Below the root.
    BelowRoot,
    /// In a page behind one that is lost.
    Elsewhere,
    /// In an older version of a page that is lost.
    Older,
}

/// A value that was found.
pub enum Recovered<'v> {
    /// In a page.
    Bytes(&'v [u8]),
    /// In pages of its own: it is read, and judged, as it is taken. Whoever takes it must not keep it before it has ended.
    Large(u64, &'v mut dyn Read),
}

/// What gets the entries: key, value, and how they were come by.
pub type Sink<'s> = dyn FnMut(&[u8], Recovered<'_>, Found) -> Result<()> + 's;

/// Which pages fill a hole, and what they are worth.
pub struct Rules<'w> {
    /// Whether a page is known to be replaced.
    pub is_older: &'w dyn Fn(&Whole) -> bool,
    /// Whether older versions count.
    pub older: bool,
}

/// Something that is lost, or was, and how much of it was found elsewhere.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hole {
    /// The page that is not whole; `None`: the root is not known.
    pub page: Option<u64>,
    /// What is wrong with it.
    pub detail: String,
    /// The keys, and the number of entries that the reference promises.
    pub behind: Behind,
    /// Entries that were found in pages behind it.
    pub found: u64,
    /// Entries that were found in older versions.
    pub found_older: u64,
    /// Whether it is in an older version itself.
    pub is_older: bool,
    /// Whether it is what lies outside of the newest page that is known.
    is_outside: bool,
    level: u8,
    parent: Option<usize>,
}

/// A value that could not be read.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct LostValue {
    /// Its key.
    pub key: Vec<u8>,
    /// What is wrong.
    pub detail: String,
}

/// A range that is still to be filled.
#[derive(Clone, Debug)]
struct Gap {
    high: Option<Vec<u8>>,
    /// No page born later belongs here.
    newest: u64,
    hole: usize,
}

/// A table being rebuilt.
pub struct Rebuild<'r, 's> {
    copies: Copies<'r>,
    table: u32,
    /// Whether it is a multimap.
    multi: bool,
    sink: &'r mut Sink<'s>,
    /// Pages of large values and of sets that were given out: each belongs to one.
    taken: &'r mut RunSet,
    /// Pages that are not what was referred to.
    hole_pages: BTreeSet<u64>,
    /// By their lower bounds.
    gaps: BTreeMap<Vec<u8>, Gap>,
    /// All that were found.
    pub holes: Vec<Hole>,
    /// Values that could not be read.
    pub lost_values: Vec<LostValue>,
    /// Entries that were found, and those of them that are from older versions.
    pub found: (u64, u64),
}

/// Where the walk is: the range that counts, the hole that is being filled, and whether with something older.
#[derive(Clone, Copy)]
struct Within<'w> {
    low: &'w [u8],
    high: Option<&'w [u8]>,
    hole: Option<usize>,
    older: bool,
}

impl Within<'_> {
    fn found(&self) -> Found {
        match (self.older, self.hole) {
            (true, _) => Found::Older,
            (false, Some(_)) => Found::Elsewhere,
            (false, None) => Found::BelowRoot,
        }
    }
}

impl<'r, 's> Rebuild<'r, 's> {
    /// Of the table with this id, which is a multimap or not.
    pub fn new(
        copies: Copies<'r>,
        table: u32,
        multi: bool,
        taken: &'r mut RunSet,
        sink: &'r mut Sink<'s>,
    ) -> Self {
        Rebuild {
            copies,
            table,
            multi,
            sink,
            taken,
            hole_pages: BTreeSet::new(),
            gaps: BTreeMap::new(),
            holes: Vec::new(),
            lost_values: Vec::new(),
            found: (0, 0),
        }
    }

    /// Everything below the root.
    ///
    /// # Errors
    /// Those of the sink.
    pub fn walk_from(&mut self, root: ChildRef, level: u8) -> Result<()> {
        self.walk(root, level, WHOLE)
    }

    /// The root is not known: everything is to be found.
    pub fn walk_from_nothing(&mut self) {
        let nothing = ChildRef { page: 0, birth: u64::MAX, count: 0 };
        self.open(nothing, MAX_LEVELS as u8, "the root is not known", WHOLE);
    }

    /// This page is taken for the root. What lies outside of it is there only in older versions.
    ///
    /// # Errors
    /// Those of the sink.
    pub fn walk_from_newest(&mut self, whole: &Whole) -> Result<()> {
        self.walk_from_nothing();
        self.holes[0].is_outside = true;
        let Some((bytes, first, end)) = self.whole_page(whole) else { return Ok(()) };
        let outside = self.gaps.remove(&[][..]).expect("just opened");
        if !first.is_empty() {
            self.gaps.insert(Vec::new(), Gap { high: Some(first.clone()), ..outside.clone() });
        }
        self.gaps.insert(end.clone(), outside);
        let within = Within { low: &first, high: Some(&end), ..WHOLE };
        let child = ChildRef { page: whole.page, birth: whole.birth, count: 0 };
        self.walk_page(child, &bytes, whole.level, within)
    }

    /// The bytes of a page, and the keys that can be reached below it: the first, and what is behind the last.
    fn whole_page(&self, whole: &Whole) -> Option<(Vec<u8>, Vec<u8>, Vec<u8>)> {
        let bytes = self.copies.whole(whole.page).ok()?;
        let (first, end) = (self.first_key(&bytes, whole.level)?, self.end(&bytes, whole.level)?);
        (first < end).then_some((bytes, first, end))
    }

    /// Fills what is left with these pages, the newest first, as `rules` say.
    ///
    /// # Errors
    /// Those of the sink.
    pub fn fill(&mut self, pages: &[Whole], rules: &Rules<'_>) -> Result<()> {
        for whole in pages {
            if self.gaps.is_empty() {
                break;
            }
            let is_older = (rules.is_older)(whole) || self.hole_pages.contains(&whole.page);
            if is_older && !rules.older {
                continue;
            }
            let child = ChildRef { page: whole.page, birth: whole.birth, count: 0 };
            let Some((bytes, first, end)) = self.whole_page(whole) else { continue };
            // Of two pages that overlap the newer was taken first: what it has cut off of this one was replaced.
            let judge = |hole: &Hole, is_cut: bool| {
                let is_older = is_older || is_cut || hole.is_outside || hole.level == whole.level;
                (rules.older || !is_older).then_some(is_older)
            };
            for (low, gap, older) in self.take_gaps(&first, &end, whole, &judge) {
                let high = gap.high.as_deref();
                if low < first {
                    self.gaps.insert(low.clone(), Gap { high: Some(first.clone()), ..gap.clone() });
                }
                if high.is_none_or(|high| &end[..] < high) {
                    self.gaps.insert(end.clone(), gap.clone());
                }
                let high = high.map_or(&end[..], |high| high.min(&end));
                let low = (&low[..]).max(&first[..]);
                let within = Within { low, high: Some(high), hole: Some(gap.hole), older };
                self.walk_page(child, &bytes, whole.level, within)?;
            }
        }
        Ok(())
    }

    /// Takes out the gaps that overlap with `first..end` and may be filled by this page: one from below what is lost, or an
    /// older version of it. `judge` says whether it counts, and if so, whether it is older.
    fn take_gaps(
        &mut self,
        first: &[u8],
        end: &[u8],
        whole: &Whole,
        judge: &dyn Fn(&Hole, bool) -> Option<bool>,
    ) -> Vec<(Vec<u8>, Gap, bool)> {
        let before = self.gaps.range::<[u8], _>((Bound::Unbounded, Bound::Excluded(first))).next_back();
        let inside = self.gaps.range::<[u8], _>((Bound::Included(first), Bound::Excluded(end)));
        let fits = |(low, gap): (&Vec<u8>, &Gap)| {
            let hole = &self.holes[gap.hole];
            let overlaps = gap.high.as_deref().is_none_or(|high| high > first);
            let belongs = whole.level <= hole.level && gap.newest >= whole.birth && !self.is_filled(gap.hole);
            let is_cut = &low[..] > first || gap.high.as_deref().is_some_and(|high| high < end);
            judge(hole, is_cut).filter(|_| overlaps && belongs).map(|older| (low.clone(), older))
        };
        let lows: Vec<(Vec<u8>, bool)> = before.into_iter().chain(inside).filter_map(fits).collect();
        let take = |(low, is_older): (Vec<u8>, bool)| Some((low.clone(), self.gaps.remove(&low)?, is_older));
        lows.into_iter().filter_map(take).collect()
    }

    /// Whether all that was behind a hole, or behind one around it, was found.
    fn is_filled(&self, hole: usize) -> bool {
        let whole = |hole: &Hole| hole.page.is_some() && hole.found + hole.found_older >= hole.behind.entries;
        let outer = |hole: &usize| self.holes[*hole].parent;
        std::iter::successors(Some(hole), outer).any(|hole| whole(&self.holes[hole]))
    }

    /// Where what is below a page begins, as far as it can be reached.
    fn first_key(&self, bytes: &[u8], level: u8) -> Option<Vec<u8>> {
        if level == 0 {
            return LeafView::new(bytes).ok()?.key(0).ok().map(<[u8]>::to_vec);
        }
        let branch = Branch::new(bytes, level).ok()?;
        let below = self.fetch(branch.child(0).ok()?, level - 1).ok();
        let below = below.and_then(|bytes| self.first_key(&bytes, level - 1));
        below.or_else(|| separator_of(&branch, 1))
    }

    /// Where it ends; the bound is not inside.
    fn end(&self, bytes: &[u8], level: u8) -> Option<Vec<u8>> {
        if level == 0 {
            let leaf = LeafView::new(bytes).ok()?;
            let last = leaf.key(leaf.count().checked_sub(1)?).ok()?;
            return Some([last, &[0]].concat());
        }
        let branch = Branch::new(bytes, level).ok()?;
        let last = branch.count() - 1;
        let below = self.fetch(branch.child(last).ok()?, level - 1).ok();
        below.and_then(|bytes| self.end(&bytes, level - 1)).or_else(|| separator_of(&branch, last))
    }

    fn fetch(&self, child: ChildRef, level: u8) -> Result<Vec<u8>> {
        self.fetch_of(self.table, child, level)
    }

    fn fetch_of(&self, table: u32, child: ChildRef, level: u8) -> Result<Vec<u8>> {
        let bytes = self.copies.page(child.page, child.birth)?;
        let head = header(&bytes);
        if head.table.get() != table || head.level != level {
            let found = format!("found level {} of table {}", head.level, head.table);
            return Err(Error::corrupt(
                child.page,
                format!("expected level {level} of table {table}, {found}"),
            ));
        }
        Ok(bytes)
    }

    fn walk(&mut self, child: ChildRef, level: u8, within: Within<'_>) -> Result<()> {
        match self.fetch(child, level) {
            Ok(bytes) => self.walk_page(child, &bytes, level, within),
            Err(error) => {
                self.open(child, level, &error.detail(), within);
                Ok(())
            }
        }
    }

    fn walk_page(&mut self, child: ChildRef, bytes: &[u8], level: u8, within: Within<'_>) -> Result<()> {
        let walked = match level {
            0 => self.leaf(bytes, within),
            _ => self.branch(bytes, level, within),
        };
        walked.unwrap_or_else(|error| {
            self.open(child, level, &error.detail(), within);
            Ok(())
        })
    }

    /// The outer error: the page says nothing that can be used.
    fn leaf(&mut self, bytes: &[u8], within: Within<'_>) -> Result<Result<()>> {
        let leaf = LeafView::new(bytes)?;
        leaf.validate_order()?;
        if is_multi(&leaf) != self.multi {
            return Err(Error::corrupt(header(bytes).page.get(), "a leaf of a table of another kind"));
        }
        for i in 0..leaf.count() {
            leaf.entry(i)?;
        }
        for i in 0..leaf.count() {
            let (key, stored) = leaf.entry(i)?;
            if key < within.low || within.high.is_some_and(|high| key >= high) {
                continue;
            }
            if let Err(error) = self.entry(key, stored, within) {
                return Ok(Err(error));
            }
        }
        Ok(Ok(()))
    }

    fn entry(&mut self, key: &[u8], stored: Stored<'_>, within: Within<'_>) -> Result<()> {
        match stored {
            Stored::Inline(set) if self.multi => self.set(key, Set::read_any(set), within),
            Stored::Set(set) if self.multi => self.set_page(key, set.root, set.level, within),
            Stored::Set(SetRef { root, .. }) => {
                self.lose(key, &Error::corrupt(root.page, "a set of values in a table that is no multimap"));
                Ok(())
            }
            Stored::Overflow(run) if self.multi => {
                self.lose(key, &Error::corrupt(run.page, "a large value in a multimap"));
                Ok(())
            }
            Stored::Inline(value) => self.give(key, value, within),
            Stored::Overflow(run) => self.large_value(key, &run, within),
        }
    }

    /// The values of a key that stand in its leaf.
    fn set(&mut self, key: &[u8], set: Option<Set<'_>>, within: Within<'_>) -> Result<()> {
        let Some(set) = set.filter(Set::is_ordered) else {
            self.lose(key, &Error::corrupt(0, "its values are not a set"));
            return Ok(());
        };
        set.values().flatten().try_for_each(|value| self.give(key, value, within))
    }

    /// The values of a key below a page of their tree, as far as they can be read.
    fn set_page(&mut self, key: &[u8], child: ChildRef, level: u8, within: Within<'_>) -> Result<()> {
        let found = match self.taken.contains(child.page) {
            true => Err(Error::corrupt(child.page, "its pages belong to another key")),
            false => self.fetch_of(self.table | SET_BIT, child, level),
        };
        let walked = found.and_then(|bytes| {
            self.taken.insert(Run { start: child.page, len: 1 });
            match level {
                0 => {
                    let leaf = LeafView::new(&bytes)?;
                    leaf.validate_order()?;
                    let values = (0..leaf.count()).map(|i| leaf.key(i)).collect::<Result<Vec<_>>>()?;
                    Ok(values.into_iter().try_for_each(|value| self.give(key, value, within)))
                }
                _ => {
                    let branch = Branch::new(&bytes, level)?;
                    let below: Vec<ChildRef> =
                        (0..branch.count()).map(|i| branch.child(i)).collect::<Result<_>>()?;
                    Ok(below.into_iter().try_for_each(|child| self.set_page(key, child, level - 1, within)))
                }
            }
        });
        walked.unwrap_or_else(|error: Error| {
            let lost = format!("{} of its values are lost: {}", child.count, error.detail());
            self.lose(key, &Error::corrupt(child.page, lost));
            Ok(())
        })
    }

    fn give(&mut self, key: &[u8], value: &[u8], within: Within<'_>) -> Result<()> {
        let given = (self.sink)(key, Recovered::Bytes(value), within.found());
        self.given(key, given, within)
    }

    fn given(&mut self, key: &[u8], given: Result<()>, within: Within<'_>) -> Result<()> {
        match given {
            Ok(()) => self.count(within),
            Err(
                error @ (Error::KeyTooLong { .. } | Error::ValueTooLong { .. } | Error::WrongWidth { .. }),
            ) => self.lose(key, &error),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// A value that no other entry has.
    fn large_value(&mut self, key: &[u8], run: &OverflowRef, within: Within<'_>) -> Result<()> {
        let end = run.page.saturating_add(run.pages(self.copies.page_size)).min(self.copies.page_count);
        let is_taken = (run.page..end).any(|page| self.taken.contains(page));
        let copying = match is_taken {
            true => Err(Error::corrupt(run.page, "its pages belong to another value")),
            false => self.copies.copying(*run),
        };
        let mut copying = match copying {
            Ok(copying) => copying,
            Err(error) => {
                self.lose(key, &error);
                return Ok(());
            }
        };
        let given = (self.sink)(key, Recovered::Large(run.len, &mut copying), within.found());
        if let Some(failure) = copying.failure {
            self.lose(key, &failure);
            return Ok(());
        }
        self.taken.insert(Run { start: run.page, len: end - run.page });
        self.given(key, given, within)
    }

    fn lose(&mut self, key: &[u8], error: &Error) {
        self.lost_values.push(LostValue { key: key.to_vec(), detail: error.detail() });
    }

    fn count(&mut self, within: Within<'_>) {
        self.found.0 += 1;
        self.found.1 += u64::from(within.older);
        let mut next = within.hole;
        while let Some(hole) = next {
            let hole = &mut self.holes[hole];
            hole.found += u64::from(!within.older);
            hole.found_older += u64::from(within.older);
            next = hole.parent;
        }
    }

    fn branch(&mut self, bytes: &[u8], level: u8, within: Within<'_>) -> Result<Result<()>> {
        let branch = Branch::new(bytes, level)?;
        branch.validate_order()?;
        let mut separators = vec![Vec::new(); branch.count()];
        for (i, separator) in separators.iter_mut().enumerate() {
            branch.separator(i, separator)?;
        }
        for (i, separator) in separators.iter().enumerate() {
            let low = within.low.max(&separator[..]);
            let next = separators.get(i + 1).map(|next| &next[..]);
            let high = within.high.into_iter().chain(next).min();
            if high.is_some_and(|high| low >= high) {
                continue;
            }
            if let Err(error) = self.walk(branch.child(i)?, level - 1, Within { low, high, ..within }) {
                return Ok(Err(error));
            }
        }
        Ok(Ok(()))
    }

    /// There is a hole where `child` should be.
    fn open(&mut self, child: ChildRef, level: u8, detail: &str, within: Within<'_>) {
        self.holes.push(Hole {
            page: (child.page != 0).then_some(child.page),
            detail: detail.to_owned(),
            behind: Behind::new(Some(within.low), within.high, child.count),
            found: 0,
            found_older: 0,
            is_older: within.older,
            is_outside: false,
            level,
            parent: within.hole,
        });
        self.hole_pages.insert(child.page);
        let (high, hole) = (within.high.map(<[u8]>::to_vec), self.holes.len() - 1);
        self.gaps.insert(within.low.to_vec(), Gap { high, newest: child.birth, hole });
    }
}

/// Whether the leaf is that of a multimap.
pub fn is_multi(leaf: &LeafView<'_>) -> bool {
    match leaf {
        LeafView::Slotted(leaf) => header(leaf.page()).kind == PageKind::SetLeaf as u8,
        LeafView::Fixed(_) => false,
    }
}

const WHOLE: Within<'static> = Within { low: &[], high: None, hole: None, older: false };

/// Separator `i`, if there is one.
fn separator_of(branch: &Branch<'_>, i: usize) -> Option<Vec<u8>> {
    let mut separator = Vec::new();
    (0 < i && i < branch.count()).then(|| branch.separator(i, &mut separator).ok())??;
    Some(separator)
}

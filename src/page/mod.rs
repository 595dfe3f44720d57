//! What stands inside tree pages: reading views and in-place edits.
//!
//! Owns: the byte layout of branches ([`branch`]), leaves with slots ([`leaf`]), fixed-width leaves
//! ([`fixed`]) and the sets in the leaves of multimaps ([`set`]), searching in them and stepping through them
//! ([`entries`]). Reading never trusts a byte: every offset is checked, and what does not fit is
//! `Error::Corrupt` with the page. Editing works on heap copies that passed `validate` when they were copied.
//! Leaves to others: where pages come from and go to.
//!
//! Invariants:
//! 1. Keys in a page are strictly ascending (checked by `verify`).
//! 2. The head of entry `i` is the four bytes of its key behind the page's common prefix, padded
//!    with zeros, so heads are in ascending order too (checked by `verify`).
//! 3. Cells are packed: their lengths add up to `cell_bytes` (checked by `validate`).

pub mod branch;
pub mod entries;
pub mod fill;
pub mod fixed;
pub mod leaf;
pub mod set;

pub use branch::{Branch, BranchEntries};
pub use entries::{Entries, Pair};
pub use fill::Filling;
pub use leaf::LEAF_SLOT_LEN;

use crate::error::{Error, Result};
use crate::format::{
    HEADER_LEN, Layout, MAX_LEVELS, OVERFLOW_REF_LEN, OverflowRef, PageHeader, PageKind, SET_REF_LEN, SetRef,
    header, header_mut,
};
use fixed::FixedLeaf;
use leaf::Leaf;
use set::Set;
use std::cmp::Ordering;
use std::ops::Range;
use zerocopy::byteorder::little_endian::{U32, U64};

/// Longest key at this page size in tables whose values need no alignment.
pub const fn max_key_len(page_size: usize) -> usize {
    (page_size - HEADER_LEN) / 2 - LEAF_SLOT_LEN - OVERFLOW_REF_LEN
}

const _: () = assert!(max_key_len(4096) == 2000);

/// A value as a leaf holds it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stored<'a> {
    /// The value itself.
    Inline(&'a [u8]),
    /// Where it is.
    Overflow(OverflowRef),
    /// The tree of the values of a multimap's key.
    Set(SetRef),
}

impl Stored<'_> {
    /// Bytes that it takes in a leaf.
    pub fn cell_len(&self) -> usize {
        match self {
            Stored::Inline(value) => value.len(),
            Stored::Overflow(_) => OVERFLOW_REF_LEN,
            Stored::Set(_) => SET_REF_LEN,
        }
    }

    /// Whether the value is elsewhere.
    pub fn is_apart(&self) -> bool {
        !matches!(self, Stored::Inline(_))
    }

    /// How many entries this is the value of: those of a set that its leaf's branches count.
    ///
    /// # Errors
    /// What is wrong, where it is not a set in a multimap, or one elsewhere.
    #[inline]
    pub fn weight(&self, layout: &Layout) -> Result<u64, &'static str> {
        match (layout.set, self) {
            (None, Stored::Set(_)) => Err("a set of values in a table that is no multimap"),
            (None, _) => Ok(1),
            (Some(width), Stored::Inline(bytes)) => match Set::read(bytes, width) {
                Some(set) => Ok(set.count() as u64),
                None => Err("not a set of values"),
            },
            (Some(_), Stored::Set(set)) => Ok(set.root.count),
            (Some(_), Stored::Overflow(_)) => Err("an overflow reference in a multimap"),
        }
    }
}

/// A leaf of either form, for reading.
#[derive(Clone, Copy)]
pub enum LeafView<'a> {
    /// Keys and values of any length.
    Slotted(Leaf<'a>),
    /// One width each.
    Fixed(FixedLeaf<'a>),
}

impl<'a> LeafView<'a> {
    /// The leaf in `page`.
    ///
    /// # Errors
    /// `Corrupt` when the page is not a leaf or its header promises more than fits.
    #[inline(always)]
    pub fn new(page: &'a [u8]) -> Result<Self> {
        match header(page).kind {
            kind if kind == PageKind::Leaf as u8 => Ok(LeafView::Slotted(Leaf::new(page)?)),
            kind if kind == PageKind::FixedLeaf as u8 => Ok(LeafView::Fixed(FixedLeaf::new(page)?)),
            kind if kind == PageKind::SetLeaf as u8 => Ok(LeafView::Slotted(Leaf::new(page)?)),
            _ => Err(not_a_leaf(page)),
        }
    }

    /// Number of entries.
    #[inline]
    pub fn count(&self) -> usize {
        match self {
            LeafView::Slotted(leaf) => leaf.count(),
            LeafView::Fixed(leaf) => leaf.count(),
        }
    }

    /// Key of entry `i`.
    ///
    /// # Errors
    /// `Corrupt` when it does not lie in the page.
    #[inline]
    pub fn key(&self, i: usize) -> Result<&'a [u8]> {
        match self {
            LeafView::Slotted(leaf) => leaf.key(i),
            LeafView::Fixed(leaf) => leaf.key(i),
        }
    }

    /// Value of entry `i`.
    ///
    /// # Errors
    /// `Corrupt` when it does not lie in the page.
    #[inline]
    pub fn stored(&self, i: usize) -> Result<Stored<'a>> {
        match self {
            LeafView::Slotted(leaf) => leaf.stored(i),
            LeafView::Fixed(leaf) => Ok(Stored::Inline(leaf.value(i)?)),
        }
    }

    /// Key and value of entry `i`.
    ///
    /// # Errors
    /// `Corrupt` when they do not lie in the page.
    #[inline]
    pub fn entry(&self, i: usize) -> Result<(&'a [u8], Stored<'a>)> {
        match self {
            LeafView::Slotted(leaf) => leaf.entry(i),
            LeafView::Fixed(leaf) => Ok((leaf.key(i)?, Stored::Inline(leaf.value(i)?))),
        }
    }

    /// How many entries of the table these of the leaf's are: in a multimap as many as they have values.
    ///
    /// # Errors
    /// `Corrupt` where one is not what the layout says.
    #[inline]
    pub fn weight(&self, layout: &Layout, mut entries: Range<usize>) -> Result<u64> {
        if layout.set.is_none() {
            return Ok(entries.len() as u64);
        }
        entries.try_fold(0, |sum: u64, i| {
            let weight = self.stored(i)?.weight(layout);
            Ok(sum.saturating_add(weight.map_err(|what| self.damage(format!("entry {i}: {what}")))?))
        })
    }

    /// The entry of a multimap's leaf in which its value number `rank` is, and its number there.
    ///
    /// # Errors
    /// Those of [`LeafView::weight`].
    pub fn entry_with_rank(&self, layout: &Layout, mut rank: u64) -> Result<(usize, u64)> {
        for i in 0..self.count() {
            let weight = self.weight(layout, i..i + 1)?;
            if rank < weight {
                return Ok((i, rank));
            }
            rank -= weight;
        }
        Ok((self.count(), rank))
    }

    /// `Ok(i)` where the key is entry `i`, `Err(i)` where it would become entry `i`.
    ///
    /// # Errors
    /// `Corrupt` when a key that must be compared does not lie in the page.
    #[inline]
    pub fn search(&self, key: &[u8]) -> Result<Result<usize, usize>> {
        match self {
            LeafView::Slotted(leaf) => leaf.search(key),
            LeafView::Fixed(leaf) => leaf.search(key),
        }
    }

    /// The value of `key`, which is likely to be near entry `guess` of a fixed-width leaf.
    ///
    /// # Errors
    /// `Corrupt` when a key that must be compared, or the value, does not lie in the page.
    #[inline(always)]
    pub fn find(&self, key: &[u8], guess: usize) -> Result<Option<Stored<'a>>> {
        match self {
            LeafView::Slotted(leaf) => leaf.find(key),
            LeafView::Fixed(leaf) => match leaf.search_near(key, guess)? {
                Ok(i) => leaf.value(i).map(|value| Some(Stored::Inline(value))),
                Err(_) => Ok(None),
            },
        }
    }

    /// The same for a key that is likely to be that of entry `guess`.
    ///
    /// # Errors
    /// Those of [`LeafView::find`].
    #[inline]
    pub fn find_near(&self, key: &[u8], guess: usize) -> Result<Option<Stored<'a>>> {
        match self {
            LeafView::Slotted(leaf) if guess < leaf.count() => match leaf.entry(guess) {
                Ok((found, value)) if found == key => Ok(Some(value)),
                _ => leaf.find(key),
            },
            LeafView::Slotted(leaf) => leaf.find(key),
            LeafView::Fixed(_) => self.find(key, guess),
        }
    }

    /// Begins to bring the entry of a leaf with slots that is `key`'s, if any is, nearer to the processor, and says which
    /// it would be. Only a hint.
    #[inline]
    pub fn prefetch(&self, key: &[u8]) -> Option<usize> {
        match self {
            LeafView::Slotted(leaf) => Some(leaf.prefetch(key)),
            LeafView::Fixed(_) => None,
        }
    }

    /// Like `search`, for a key that is often behind the last one.
    ///
    /// # Errors
    /// `Corrupt` when a key that must be compared does not lie in the page.
    #[inline]
    pub fn search_from_end(&self, key: &[u8]) -> Result<Result<usize, usize>> {
        match self.count().checked_sub(1) {
            Some(last) if self.key(last)? < key => Ok(Err(last + 1)),
            _ => self.search(key),
        }
    }

    /// The same for a key that has the first `shared` bytes of all keys here, if it is as long.
    ///
    /// # Errors
    /// `Corrupt` when a key that must be compared does not lie in the page.
    #[inline]
    pub fn search_sharing(&self, key: &[u8], shared: usize) -> Result<Result<usize, usize>> {
        match self {
            LeafView::Slotted(leaf) => leaf.search_sharing(key, shared),
            LeafView::Fixed(leaf) => leaf.search(key),
        }
    }

    /// The same for the entries from `at` on, so many at most.
    #[inline]
    pub fn prefetch_from(&self, at: usize, entries: usize) {
        if let LeafView::Slotted(leaf) = self {
            leaf.prefetch_from(at, entries);
        }
    }

    /// Whether editing can rely on every offset in the page.
    ///
    /// # Errors
    /// `Corrupt` when it cannot, or the leaf has not the table's form.
    pub fn validate(&self, layout: &Layout) -> Result<()> {
        match self {
            LeafView::Slotted(leaf) if layout.fixed.is_none() => {
                let kind = header(leaf.page()).kind;
                if kind != leaf_kind(layout) as u8 {
                    return Err(damage(
                        leaf.page(),
                        format!("a leaf of kind {kind} in a table of another kind"),
                    ));
                }
                leaf.validate(layout.align)?;
                self.validate_sets(layout)
            }
            LeafView::Fixed(leaf) if layout.fixed == Some(leaf.widths()) => Ok(()),
            LeafView::Slotted(leaf) => Err(damage(leaf.page(), "leaf with slots in a fixed-width table")),
            LeafView::Fixed(leaf) => {
                Err(damage(leaf.page(), format!("fixed leaf of widths {:?}", leaf.widths())))
            }
        }
    }

    /// Only a multimap has sets, and nothing else; references to trees of them are possible.
    fn validate_sets(&self, layout: &Layout) -> Result<()> {
        let is_possible =
            |set: &SetRef| set.root.count > 0 && set.root.page != 0 && usize::from(set.level) < MAX_LEVELS;
        for i in 0..if layout.set.is_some() { self.count() } else { 0 } {
            self.weight(layout, i..i + 1)?;
            if let Stored::Set(set) = self.stored(i)?
                && !is_possible(&set)
            {
                return Err(self.damage(format!("entry {i}: impossible {set:?}")));
            }
        }
        Ok(())
    }

    /// Checks that the values of each set of a multimap's leaf are in order.
    ///
    /// # Errors
    /// `Corrupt` with the first entry where they are not.
    pub fn validate_set_order(&self, layout: &Layout) -> Result<()> {
        let Some(width) = layout.set else { return Ok(()) };
        for i in 0..self.count() {
            if let Stored::Inline(bytes) = self.stored(i)?
                && !Set::read(bytes, width).is_some_and(|set| set.is_ordered())
            {
                return Err(self.damage(format!("entry {i}: its values are out of order")));
            }
        }
        Ok(())
    }

    /// Checks order, heads and prefix as well (invariants 1 and 2).
    ///
    /// # Errors
    /// `Corrupt` with the first entry that breaks them.
    pub fn validate_order(&self) -> Result<()> {
        for i in 1..self.count() {
            if self.key(i - 1)? >= self.key(i)? {
                return Err(self.damage(format!("keys {} and {i} are out of order", i - 1)));
            }
        }
        match self {
            LeafView::Slotted(leaf) => leaf.validate_heads(),
            LeafView::Fixed(_) => Ok(()),
        }
    }

    /// Bytes that entry `i` takes.
    fn entry_len(&self, layout: &Layout, i: usize) -> Result<usize> {
        match self {
            LeafView::Slotted(leaf) => leaf.entry_len(i, layout.align),
            LeafView::Fixed(_) => Ok(entry_len(layout, 0, 0)),
        }
    }

    fn page(&self) -> &'a [u8] {
        match self {
            LeafView::Slotted(leaf) => leaf.page(),
            LeafView::Fixed(leaf) => leaf.page(),
        }
    }

    fn damage(&self, detail: String) -> Error {
        damage(self.page(), detail)
    }
}

#[cold]
fn not_a_leaf(page: &[u8]) -> Error {
    damage(page, format!("expected a leaf, found kind {}", header(page).kind))
}

/// What the leaves of this layout are.
fn leaf_kind(layout: &Layout) -> PageKind {
    match (layout.fixed, layout.set) {
        (Some(_), _) => PageKind::FixedLeaf,
        (None, Some(_)) => PageKind::SetLeaf,
        (None, None) => PageKind::Leaf,
    }
}

/// Makes `page` an empty leaf of the layout's form.
pub fn init_leaf(page: &mut [u8], layout: &Layout, table: u32) {
    let (key_width, value_width) = layout.fixed.unwrap_or((0, 0));
    init(page, leaf_kind(layout), 0, table);
    let header = header_mut(page);
    header.cell_bytes.set(key_width as u16);
    header.prefix_len.set(value_width as u16);
}

/// Zeroes `page` and gives it a header.
pub fn init(page: &mut [u8], kind: PageKind, level: u8, table: u32) {
    page.fill(0);
    let header: &mut PageHeader = header_mut(page);
    header.kind = kind as u8;
    header.level = level;
    header.table = U32::new(table);
    header.birth = U64::new(0);
}

/// Inserts before entry `i`; false, and nothing done, when there is no room. Of the key it is known that it has
/// the first `shared` bytes of all keys here, if it is as long.
#[inline]
pub fn leaf_insert(
    page: &mut [u8],
    layout: &Layout,
    i: usize,
    key: &[u8],
    value: Stored<'_>,
    shared: usize,
) -> bool {
    match (layout.fixed, value) {
        (None, value) => leaf::insert(page, layout.align, i, key, value, shared),
        (Some(_), Stored::Inline(value)) => fixed::insert(page, i, key, value),
        (Some(_), _) => unreachable!("fixed-width values are never elsewhere"),
    }
}

/// Replaces `removed` bytes of entry `i`'s value, which is in the page, from byte `at` of it on; false, and
/// nothing done, when there is no room. Only of leaves with slots whose values need no alignment.
pub fn leaf_splice(page: &mut [u8], i: usize, at: usize, removed: usize, bytes: &[u8]) -> bool {
    leaf::splice(page, i, at, removed, bytes)
}

/// Removes entry `i`.
pub fn leaf_remove(page: &mut [u8], layout: &Layout, i: usize) {
    match layout.fixed {
        None => leaf::remove(page, layout.align, i),
        Some(_) => fixed::remove(page, i),
    }
}

/// Overwrites the value of entry `i`; false, and nothing done, unless it has the same length and form.
pub fn leaf_overwrite(page: &mut [u8], layout: &Layout, i: usize, value: Stored<'_>) -> bool {
    match (layout.fixed, value) {
        (None, value) => leaf::overwrite(page, i, value),
        (Some(_), Stored::Inline(value)) => fixed::overwrite(page, i, value),
        (Some(_), _) => unreachable!("fixed-width values are never elsewhere"),
    }
}

/// The value of entry `i`, which lies in the leaf, to be changed.
pub fn leaf_value_mut<'a>(page: &'a mut [u8], layout: &Layout, i: usize) -> &'a mut [u8] {
    match layout.fixed {
        None => leaf::value_mut(page, i),
        Some(_) => fixed::value_mut(page, i),
    }
}

/// Bytes that an entry takes in a leaf of this layout.
pub fn entry_len(layout: &Layout, key_len: usize, value_len: usize) -> usize {
    match layout.fixed {
        Some((key, value)) => key + value,
        None => LEAF_SLOT_LEN + (key_len + value_len).next_multiple_of(layout.align),
    }
}

/// Bytes of entries that a leaf of this layout has room for.
pub fn leaf_room(layout: &Layout) -> usize {
    match layout.fixed {
        Some((key, value)) => fixed::capacity(layout.page_size, key, value) * (key + value),
        None => layout.page_size - HEADER_LEN,
    }
}

/// Bytes of entries in this leaf.
pub fn leaf_used(page: &[u8], layout: &Layout) -> usize {
    let head = header(page);
    let count = usize::from(head.count.get());
    match layout.fixed {
        Some((key, value)) => count * (key + value),
        None => count * LEAF_SLOT_LEN + usize::from(head.cell_bytes.get()),
    }
}

/// The entries of a leaf with one more among them: what a split distributes.
pub struct Inserted<'a> {
    leaf: LeafView<'a>,
    at: usize,
    key: &'a [u8],
    value: Stored<'a>,
}

/// Where a split puts the border.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum SplitAt {
    /// Both sides as even as can be.
    Middle,
    /// Only the first entry stays left: descending loads leave full pages.
    First,
}

impl<'a> Inserted<'a> {
    /// `leaf` with an entry before its entry `at`.
    pub fn new(leaf: LeafView<'a>, at: usize, key: &'a [u8], value: Stored<'a>) -> Self {
        Inserted { leaf, at, key, value }
    }

    /// Number of entries.
    pub fn count(&self) -> usize {
        self.leaf.count() + 1
    }

    fn entry(&self, i: usize) -> Result<(&'a [u8], Stored<'a>)> {
        match i.cmp(&self.at) {
            Ordering::Less => self.leaf.entry(i),
            Ordering::Equal => Ok((self.key, self.value)),
            Ordering::Greater => self.leaf.entry(i - 1),
        }
    }

    /// How many entries of the table these are. See [`LeafView::weight`].
    ///
    /// # Errors
    /// `Corrupt` where one is not what the layout says.
    pub fn weight(&self, layout: &Layout, mut entries: Range<usize>) -> Result<u64> {
        if layout.set.is_none() {
            return Ok(entries.len() as u64);
        }
        entries.try_fold(0, |sum: u64, i| {
            let weight = self.entry(i)?.1.weight(layout);
            Ok(sum.saturating_add(weight.map_err(|what| self.leaf.damage(format!("entry {i}: {what}")))?))
        })
    }

    /// Bytes that entry `i` takes.
    fn entry_len(&self, layout: &Layout, i: usize) -> Result<usize> {
        match i.cmp(&self.at) {
            Ordering::Less => self.leaf.entry_len(layout, i),
            Ordering::Equal => Ok(entry_len(layout, self.key.len(), self.value.cell_len())),
            Ordering::Greater => self.leaf.entry_len(layout, i - 1),
        }
    }

    /// Bytes that all entries take.
    pub fn used(&self, layout: &Layout) -> usize {
        leaf_used(self.leaf.page(), layout) + entry_len(layout, self.key.len(), self.value.cell_len())
    }

    /// How many of the first entries take no more than `bytes`, and how many bytes they take.
    ///
    /// # Errors
    /// `Corrupt` when an entry does not lie in its page.
    pub fn first(&self, layout: &Layout, bytes: usize) -> Result<(usize, usize)> {
        let mut used = 0;
        for i in 0..self.count() {
            let len = self.entry_len(layout, i)?;
            if used + len > bytes {
                return Ok((i, used));
            }
            used += len;
        }
        Ok((self.count(), used))
    }

    /// How many of the entries go to the left one of two leaves.
    ///
    /// # Errors
    /// `Corrupt` when an entry does not lie in its page.
    pub fn border(&self, layout: &Layout, policy: SplitAt) -> Result<usize> {
        let count = self.count();
        if policy == SplitAt::First {
            return Ok(1);
        }
        let (total, room) = (self.used(layout), leaf_room(layout));
        let mut left = 0;
        let mut best = (usize::MAX, 0);
        for i in 0..count - 1 {
            left += self.entry_len(layout, i)?;
            let right = total - left;
            if left <= room && right <= room {
                best = best.min((left.abs_diff(right), i + 1));
            }
            if left > right {
                break;
            }
        }
        assert!(best.1 > 0, "no border splits {count} entries of {total} bytes into pages of {room}");
        Ok(best.1)
    }

    /// Inserts these of the entries before entry `at` of another leaf, which has room for them.
    ///
    /// # Errors
    /// `Corrupt` when an entry does not lie in its page.
    pub fn insert_into(
        &self,
        page: &mut [u8],
        layout: &Layout,
        at: usize,
        entries: Range<usize>,
    ) -> Result<()> {
        for (i, entry) in entries.enumerate() {
            let (key, value) = self.entry(entry)?;
            assert!(leaf_insert(page, layout, at + i, key, value, 0), "entry {entry} does not fit");
        }
        Ok(())
    }

    /// Fills an initialised, empty leaf with these of the entries.
    ///
    /// # Errors
    /// `Corrupt` when an entry does not lie in its page.
    pub fn build(&self, page: &mut [u8], layout: &Layout, entries: Range<usize>) -> Result<()> {
        match &self.leaf {
            LeafView::Slotted(leaf) => {
                leaf::build_inserted(page, layout.align, leaf, self.at, (self.key, self.value), entries)
            }
            LeafView::Fixed(_) => self.insert_into(page, layout, 0, entries),
        }
    }

    /// What separates the entries before `border` from those behind: the shortest bytes above the left side
    /// and not above the right.
    ///
    /// # Errors
    /// `Corrupt` when an entry does not lie in its page.
    pub fn separator(&self, border: usize) -> Result<&'a [u8]> {
        Ok(separator(self.entry(border - 1)?.0, self.entry(border)?.0))
    }
}

/// The shortest bytes above `below` and not above `above`.
pub fn separator<'k>(below: &[u8], above: &'k [u8]) -> &'k [u8] {
    &above[..(common_prefix(below, above) + 1).min(above.len())]
}

/// How many bytes two strings begin with in common.
#[inline]
pub fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(x, y)| x == y).count()
}

/// The four bytes behind the common prefix, as a number.
#[inline(always)]
pub fn head(key: &[u8], prefix_len: usize) -> u32 {
    let rest = key.get(prefix_len..).unwrap_or(&[]);
    if let Some(four) = rest.first_chunk::<4>() {
        return u32::from_be_bytes(*four);
    }
    match key.last_chunk::<4>() {
        // What is left of the key are its last bytes.
        Some(last) => (u64::from(u32::from_be_bytes(*last)) << (32 - 8 * rest.len())) as u32,
        None => {
            let mut four = [0; 4];
            four[..rest.len()].copy_from_slice(rest);
            u32::from_be_bytes(four)
        }
    }
}

/// How the first `len` bytes of `key`, or all where it has fewer, compare with the first `len` bytes of `bytes`. A short
/// prefix is compared as a number: a call of `memcmp` takes a third of a search.
#[inline(always)]
fn compare_start(key: &[u8], bytes: &[u8], len: usize) -> Ordering {
    if let (1..=8, Some(key), Some(bytes)) = (len, key.first_chunk::<8>(), bytes.first_chunk::<8>()) {
        let number = |word: &[u8; 8]| u64::from_be_bytes(*word) >> (64 - 8 * len);
        return number(key).cmp(&number(bytes));
    }
    key[..len.min(key.len())].cmp(&bytes[..len])
}

/// The range of entries whose head equals `head`; empty, at the place where it would stand, when none does.
#[inline(always)]
fn equal_heads(heads: &[U32], head: u32) -> (usize, usize) {
    let low = heads.partition_point(|h| h.get() < head);
    let is = |i: usize| heads.get(i).is_some_and(|found| found.get() == head);
    match (is(low), is(low + 1)) {
        (false, _) => (low, low),
        (true, false) => (low, low + 1),
        (true, true) => (low, low + heads[low..].partition_point(|h| h.get() == head)),
    }
}

/// The error for a page whose bytes are not what they must be.
#[cold]
pub(crate) fn damage(page: &[u8], detail: impl Into<String>) -> Error {
    Error::corrupt(header(page).page.get(), detail)
}

fn u16_at(page: &[u8], at: usize) -> usize {
    usize::from(u16::from_le_bytes([page[at], page[at + 1]]))
}

fn set_u16(page: &mut [u8], at: usize, value: usize) {
    let value = u16::try_from(value).expect("offsets within a page fit in 16 bits");
    page[at..at + 2].copy_from_slice(&value.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_the_four_bytes_behind_the_prefix_padded_with_zeros() {
        let key = [1, 2, 3, 4, 5, 6, 7];
        for len in 0..=key.len() {
            for prefix_len in 0..9 {
                let mut four = [0; 4];
                let rest = key[..len].iter().skip(prefix_len).take(4);
                four.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
                assert_eq!(head(&key[..len], prefix_len), u32::from_be_bytes(four), "{len} {prefix_len}");
            }
        }
    }

    #[test]
    fn a_start_is_compared_like_the_slices() {
        let bytes = [3; 20];
        for len in 0_usize..12 {
            for key_len in 0..12 {
                for (at, byte) in [(0_usize, 3), (0, 2), (len, 9), (len / 2, 4), (len.saturating_sub(1), 2)] {
                    let mut key = [3; 20];
                    key[at] = byte;
                    let key = &key[..key_len];
                    let expected = key[..len.min(key_len)].cmp(&bytes[..len]);
                    assert_eq!(compare_start(key, &bytes, len), expected, "{len} {key_len} {at} {byte}");
                }
            }
        }
    }
}

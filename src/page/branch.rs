//! Branches: separators and child references.
//!
//! ```text
//! header 32 | prefix | heads 4 × n | short references 8 × n | rests 9 × n | offsets 2 × n | room | cells
//! ```
//! Heads and short references are all that a search touches of a branch whose children were verified before, so they
//! lie densely: of a store of 250 MB they take 0.7 MB and not 1.4.
//!
//! Entry 0 has no separator (it stands for everything below entry 1's). The bytes that all other
//! separators begin with are stored once, as the prefix; cells hold what is behind it, in order, and
//! offsets count from the first cell. Child `i` holds the keys from separator `i` up to, not
//! including, separator `i + 1`.
//!
//! A child comes or goes in place where the prefix stays as it is; otherwise the branch is written anew from
//! [`BranchEntries`]. What changes all the time, a reference, is overwritten in place.

use super::{common_prefix, compare_start, damage, equal_heads, head, set_u16, u16_at};
use crate::error::{Error, Result};
use crate::format::{
    ChildRef, HEADER_LEN, PageKind, REF_REST_LEN, SHORT_REF_LEN, ShortRef, header, header_mut,
};
use std::cmp::Ordering;
use zerocopy::FromBytes;
use zerocopy::byteorder::little_endian::U32;

const HEAD_LEN: usize = 4;
const OFFSET_LEN: usize = 2;
/// The arrays of a branch, in their order: what an entry takes in each.
const ARRAYS: [usize; 4] = [HEAD_LEN, SHORT_REF_LEN, REF_REST_LEN, OFFSET_LEN];
const ENTRY_LEN: usize = HEAD_LEN + SHORT_REF_LEN + REF_REST_LEN + OFFSET_LEN;

/// A branch, for reading.
#[derive(Clone, Copy)]
pub struct Branch<'a> {
    page: &'a [u8],
    count: usize,
    prefix_len: usize,
    cells: usize,
}

impl<'a> Branch<'a> {
    /// The branch in `page`.
    ///
    /// # Errors
    /// `Corrupt` when the page is not a branch of this level or promises more than fits.
    #[inline(always)]
    pub fn new(page: &'a [u8], level: u8) -> Result<Self> {
        let head = header(page);
        if head.kind != PageKind::Branch as u8 || head.level != level {
            return Err(not_a_branch(page, level));
        }
        let count = usize::from(head.count.get());
        let prefix_len = usize::from(head.prefix_len.get());
        let cell_bytes = usize::from(head.cell_bytes.get());
        if count == 0 || HEADER_LEN + prefix_len + count * ENTRY_LEN + cell_bytes > page.len() {
            return Err(claims_too_much(page, count, cell_bytes));
        }
        Ok(Branch { page, count, prefix_len, cells: page.len() - cell_bytes })
    }

    /// Number of children, at least one.
    #[inline]
    pub fn count(&self) -> usize {
        self.count
    }

    /// Its level: above leaves 1.
    pub fn level(&self) -> u8 {
        header(self.page).level
    }

    /// The page number of this branch.
    pub fn page_number(&self) -> u64 {
        header(self.page).page.get()
    }

    #[inline(always)]
    fn heads(&self) -> &'a [U32] {
        let start = HEADER_LEN + self.prefix_len;
        <[U32]>::ref_from_bytes(&self.page[start..start + self.count * HEAD_LEN]).expect("a multiple of four")
    }

    /// Reference to child `i`.
    #[inline(always)]
    pub fn child(&self, i: usize) -> Result<ChildRef> {
        let short = self.short(i)?;
        match self.page[rest_at(self.prefix_len, self.count, i)..].first_chunk() {
            Some(rest) => Ok(ChildRef::read(short, rest)),
            None => Err(no_child(self.page, i, self.count)),
        }
    }

    /// What a search needs of the reference to child `i`.
    #[inline(always)]
    pub fn short(&self, i: usize) -> Result<ShortRef> {
        let at = short_at(self.prefix_len, self.count, i);
        match self.page.get(at..).and_then(<[u8]>::first_chunk) {
            Some(short) if i < self.count => Ok(ShortRef::read(short)),
            _ => Err(no_child(self.page, i, self.count)),
        }
    }

    /// The common prefix of all separators.
    fn prefix(&self) -> &'a [u8] {
        &self.page[HEADER_LEN..HEADER_LEN + self.prefix_len]
    }

    fn suffix(&self, i: usize) -> Result<&'a [u8]> {
        let at = offset_at(self.prefix_len, self.count, i);
        let start = self.cells + u16_at(self.page, at);
        let end = match i + 1 < self.count {
            true => self.cells + u16_at(self.page, at + OFFSET_LEN),
            false => self.page.len(),
        };
        self.page
            .get(start..end)
            .ok_or_else(|| damage(self.page, format!("separator {i} does not lie in the page")))
    }

    /// Writes separator `i` to `out`; that of entry 0 is empty.
    ///
    /// # Errors
    /// `Corrupt` when it does not lie in the page.
    pub fn separator(&self, i: usize, out: &mut Vec<u8>) -> Result<()> {
        out.clear();
        if i > 0 {
            out.extend_from_slice(self.prefix());
            out.extend_from_slice(self.suffix(i)?);
        }
        Ok(())
    }

    /// The child that holds `key`, if any does.
    ///
    /// # Errors
    /// `Corrupt` when a separator that must be compared does not lie in the page.
    #[inline(always)]
    pub fn search(&self, key: &[u8]) -> Result<usize> {
        if self.prefix_len > 0 {
            match compare_start(key, &self.page[HEADER_LEN..], self.prefix_len) {
                Ordering::Less => return Ok(0),
                Ordering::Greater => return Ok(self.count - 1),
                Ordering::Equal => {}
            }
        }
        let (mut low, mut high) = equal_heads(self.heads(), head(key, self.prefix_len));
        // Entry 0 has no separator.
        low = low.max(1);
        high = high.max(1);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.suffix(middle)? <= &key[self.prefix_len..] {
                true => low = middle + 1,
                false => high = middle,
            }
        }
        Ok(low - 1)
    }

    /// Which entry of child `i` is `key`'s if its keys are numbers and spread evenly between the separators.
    #[inline]
    pub fn guess(&self, i: usize, key: &[u8]) -> usize {
        let (Some([low, high]), Ok(child)) = (self.heads().get(i..i + 2), self.child(i)) else { return 0 };
        let (low, high) = (u64::from(low.get()), u64::from(high.get()));
        let behind = u64::from(head(key, self.prefix_len)).saturating_sub(low);
        let count = child.count.min(u64::from(u16::MAX));
        (behind * count).checked_div(high.saturating_sub(low)).unwrap_or(0) as usize
    }

    /// How many bytes at least all keys below child `i` begin with in common, if they have as many.
    #[inline]
    pub fn shared_len(&self, i: usize) -> usize {
        match self.heads().get(i..i + 2) {
            Some([from, to]) if i > 0 => {
                self.prefix_len + (from.get() ^ to.get()).leading_zeros() as usize / 8
            }
            _ => 0,
        }
    }

    /// Whether `key` belongs before child `i`, which is not 0.
    ///
    /// # Errors
    /// `Corrupt` when the separator does not lie in the page.
    pub fn is_below(&self, key: &[u8], i: usize) -> Result<bool> {
        let (start, rest) = key.split_at(self.prefix_len.min(key.len()));
        Ok(match start.cmp(self.prefix()) {
            Ordering::Equal => rest < self.suffix(i)?,
            unequal => unequal.is_lt(),
        })
    }

    /// Sum of the children's counts before child `i`.
    ///
    /// # Errors
    /// `Corrupt` when there is no child `i - 1`.
    pub fn count_before(&self, i: usize) -> Result<u64> {
        (0..i).try_fold(0, |sum: u64, j| Ok(sum.saturating_add(self.child(j)?.count)))
    }

    /// Checks order, heads and prefix.
    ///
    /// # Errors
    /// `Corrupt` with the first separator that breaks them.
    pub fn validate_order(&self) -> Result<()> {
        let (mut last, mut separator) = (Vec::new(), Vec::new());
        if self.heads()[0].get() != 0 {
            return Err(damage(self.page, "head 0 is not that of no separator"));
        }
        for i in 1..self.count {
            self.separator(i, &mut separator)?;
            if i > 1 && last >= separator {
                return Err(damage(self.page, format!("separators {} and {i} are out of order", i - 1)));
            }
            if self.heads()[i].get() != head(&separator, self.prefix_len) {
                return Err(damage(self.page, format!("head {i} is not its separator's")));
            }
            std::mem::swap(&mut last, &mut separator);
        }
        Ok(())
    }
}

#[cold]
fn no_child(page: &[u8], i: usize, count: usize) -> Error {
    damage(page, format!("child {i} of {count}"))
}

#[cold]
fn not_a_branch(page: &[u8], level: u8) -> Error {
    let head = header(page);
    damage(page, format!("expected a branch of level {level}, found kind {} level {}", head.kind, head.level))
}

#[cold]
fn claims_too_much(page: &[u8], count: usize, cell_bytes: usize) -> Error {
    damage(page, format!("branch claims {count} children and {cell_bytes} bytes of cells"))
}

/// Where entry `i` of an array begins, of an array that begins `before` bytes an entry behind the heads.
#[inline(always)]
fn place(prefix_len: usize, count: usize, before: usize, len: usize, i: usize) -> usize {
    HEADER_LEN + prefix_len + count * before + i * len
}

#[inline(always)]
fn short_at(prefix_len: usize, count: usize, i: usize) -> usize {
    place(prefix_len, count, HEAD_LEN, SHORT_REF_LEN, i)
}

#[inline(always)]
fn rest_at(prefix_len: usize, count: usize, i: usize) -> usize {
    place(prefix_len, count, HEAD_LEN + SHORT_REF_LEN, REF_REST_LEN, i)
}

#[inline(always)]
fn offset_at(prefix_len: usize, count: usize, i: usize) -> usize {
    place(prefix_len, count, ENTRY_LEN - OFFSET_LEN, OFFSET_LEN, i)
}

/// Prefix length and count.
#[inline(always)]
fn shape(page: &[u8]) -> (usize, usize) {
    let head = header(page);
    (usize::from(head.prefix_len.get()), usize::from(head.count.get()))
}

/// Overwrites the reference to child `i` of a branch that passed `Branch::new`.
pub fn set_child(page: &mut [u8], i: usize, child: ChildRef) {
    let (prefix_len, count) = shape(page);
    let at = short_at(prefix_len, count, i);
    page[at..at + SHORT_REF_LEN].copy_from_slice(&child.short().to_bytes());
    let at = rest_at(prefix_len, count, i);
    page[at..at + REF_REST_LEN].copy_from_slice(&child.rest());
}

/// Changes the count in the reference to child `i` of a branch that passed `Branch::new`.
#[inline]
pub fn change_count(page: &mut [u8], i: usize, change: impl Fn(u64) -> u64) {
    let (prefix_len, count) = shape(page);
    let at = rest_at(prefix_len, count, i);
    ChildRef::change_count(&mut page[at..at + REF_REST_LEN], change);
}

/// Makes room for an entry before entry `i` in each of the arrays, or closes the room that entry `i` takes. Moves from the
/// back, or to the front, so that nothing is overwritten that is still to be moved.
fn shift(page: &mut [u8], prefix_len: usize, count: usize, i: usize, opens: bool) {
    let starts = [0, HEAD_LEN, HEAD_LEN + SHORT_REF_LEN, ENTRY_LEN - OFFSET_LEN];
    let mut moves = |(before, len): (usize, usize)| {
        let old = |i| place(prefix_len, count, before, len, i);
        if opens {
            page.copy_within(old(i)..old(count), old(i) + before + len);
            page.copy_within(old(0)..old(i), old(0) + before);
        } else {
            page.copy_within(old(0)..old(i), old(0) - before);
            page.copy_within(old(i + 1)..old(count), old(i) - before);
        }
    };
    match opens {
        true => starts.into_iter().zip(ARRAYS).rev().for_each(&mut moves),
        false => starts.into_iter().zip(ARRAYS).for_each(&mut moves),
    }
}

/// Inserts a child before child `i`, which is not 0, of a branch that was judged whole. False, and nothing
/// done, where there is no room, or where the page's prefix would be another; then it is to be written anew.
///
/// # Errors
/// `Corrupt` when the separators would be out of order.
pub fn insert(page: &mut [u8], level: u8, i: usize, separator: &[u8], child: ChildRef) -> Result<bool> {
    let branch = Branch::new(page, level)?;
    let (count, prefix_len) = (branch.count, branch.prefix_len);
    let cell_bytes = page.len() - branch.cells;
    let Some(suffix) = separator.strip_prefix(branch.prefix()).filter(|_| count > 2) else {
        return Ok(false);
    };
    if HEADER_LEN + prefix_len + (count + 1) * ENTRY_LEN + cell_bytes + suffix.len() > page.len() {
        return Ok(false);
    }
    let is_behind = i == 1 || branch.suffix(i - 1)? < suffix;
    if !is_behind || (i < count && branch.suffix(i)? <= suffix) {
        return Err(out_of_order(i, child));
    }
    let offset = if i < count { u16_at(page, offset_at(prefix_len, count, i)) } else { cell_bytes };
    let cells = branch.cells - suffix.len();
    page.copy_within(branch.cells..branch.cells + offset, cells);
    page[cells + offset..cells + offset + suffix.len()].copy_from_slice(suffix);
    shift(page, prefix_len, count, i, true);
    set_u16(page, offset_at(prefix_len, count + 1, i), offset);
    for behind in i + 1..count + 1 {
        let at = offset_at(prefix_len, count + 1, behind);
        let moved = u16_at(page, at) + suffix.len();
        set_u16(page, at, moved);
    }
    let at = HEADER_LEN + prefix_len + i * HEAD_LEN;
    page[at..at + HEAD_LEN].copy_from_slice(&head(suffix, 0).to_le_bytes());
    let header = header_mut(page);
    header.count.set(count as u16 + 1);
    header.cell_bytes.set((cell_bytes + suffix.len()) as u16);
    set_child(page, i, child);
    Ok(true)
}

/// Replaces separator `i`, which is not 0, of a branch that was judged whole. False, and nothing done, where there is
/// no room, or where the page's prefix would be another.
///
/// # Errors
/// `Corrupt` when the separators would be out of order.
pub fn set_separator(page: &mut [u8], level: u8, i: usize, separator: &[u8]) -> Result<bool> {
    let branch = Branch::new(page, level)?;
    let (count, prefix_len, cells) = (branch.count, branch.prefix_len, branch.cells);
    let Some(suffix) = separator.strip_prefix(branch.prefix()).filter(|_| count > 2) else {
        return Ok(false);
    };
    let (old, new) = (branch.suffix(i)?.len(), suffix.len());
    let cell_bytes = page.len() - cells - old + new;
    if HEADER_LEN + prefix_len + count * ENTRY_LEN + cell_bytes > page.len() {
        return Ok(false);
    }
    let is_behind = i == 1 || branch.suffix(i - 1)? < suffix;
    if !is_behind || (i + 1 < count && branch.suffix(i + 1)? <= suffix) {
        return Err(out_of_order(i, branch.child(i)?));
    }
    let offsets = offset_at(prefix_len, count, 0);
    let offset = u16_at(page, offsets + i * OFFSET_LEN);
    page.copy_within(cells..cells + offset, cells + old - new);
    let at = cells + old - new + offset;
    page[at..at + new].copy_from_slice(suffix);
    for behind in i + 1..count {
        let moved = u16_at(page, offsets + behind * OFFSET_LEN) + new - old;
        set_u16(page, offsets + behind * OFFSET_LEN, moved);
    }
    let at = HEADER_LEN + prefix_len + i * HEAD_LEN;
    page[at..at + HEAD_LEN].copy_from_slice(&head(suffix, 0).to_le_bytes());
    header_mut(page).cell_bytes.set(cell_bytes as u16);
    Ok(true)
}

/// Removes child `i`, which is not 0, and its separator from a branch that was judged whole.
///
/// # Errors
/// `Corrupt` when the separator does not lie in the page.
pub fn remove(page: &mut [u8], level: u8, i: usize) -> Result<()> {
    let branch = Branch::new(page, level)?;
    let (count, prefix_len, cells) = (branch.count, branch.prefix_len, branch.cells);
    let len = branch.suffix(i)?.len();
    let (at, end) = (offset_at(prefix_len, count, i), offset_at(prefix_len, count, count));
    let offset = u16_at(page, at);
    page.copy_within(cells..cells + offset, cells + len);
    page[cells..cells + len].fill(0);
    for behind in (at + OFFSET_LEN..end).step_by(OFFSET_LEN) {
        let moved = u16_at(page, behind) - len;
        set_u16(page, behind, moved);
    }
    shift(page, prefix_len, count, i, false);
    page[end - ENTRY_LEN..end].fill(0);
    let cell_bytes = page.len() - cells - len;
    let header = header_mut(page);
    header.count.set(count as u16 - 1);
    header.cell_bytes.set(cell_bytes as u16);
    Ok(())
}

/// Bytes in use of a branch that passed `Branch::new`.
pub fn used(page: &[u8]) -> usize {
    let head = header(page);
    let (prefix_len, count) = shape(page);
    HEADER_LEN + prefix_len + count * ENTRY_LEN + usize::from(head.cell_bytes.get())
}

fn out_of_order(i: usize, child: ChildRef) -> Error {
    let detail = format!("separators {} and {i} of its parent would be out of order", i - 1);
    Error::corrupt(child.page, detail)
}

/// The entries of a branch, to be changed and written back.
#[derive(Default, Debug)]
pub struct BranchEntries {
    keys: Vec<u8>,
    ends: Vec<usize>,
    children: Vec<ChildRef>,
}

impl BranchEntries {
    /// Reads all entries of a branch.
    ///
    /// # Errors
    /// `Corrupt` when a separator does not lie in the page.
    pub fn read(branch: &Branch<'_>) -> Result<Self> {
        let mut entries = BranchEntries::default();
        let mut separator = Vec::new();
        for i in 0..branch.count() {
            branch.separator(i, &mut separator)?;
            entries.push(&separator, branch.child(i)?);
        }
        Ok(entries)
    }

    /// Number of children.
    pub fn count(&self) -> usize {
        self.children.len()
    }

    /// Separator `i`.
    pub fn key(&self, i: usize) -> &[u8] {
        let start = if i == 0 { 0 } else { self.ends[i - 1] };
        &self.keys[start..self.ends[i]]
    }

    /// Reference to child `i`.
    pub fn child(&self, i: usize) -> ChildRef {
        self.children[i]
    }

    /// Appends an entry.
    pub fn push(&mut self, key: &[u8], child: ChildRef) {
        self.keys.extend_from_slice(key);
        self.ends.push(self.keys.len());
        self.children.push(child);
    }

    /// Inserts an entry before entry `i`, which must not be 0.
    pub fn insert(&mut self, i: usize, key: &[u8], child: ChildRef) {
        let start = self.ends[i - 1];
        self.keys.splice(start..start, key.iter().copied());
        self.ends.insert(i, start);
        for end in &mut self.ends[i..] {
            *end += key.len();
        }
        self.children.insert(i, child);
    }

    /// Removes entry `i`. Where it was the first, the next one's separator goes too.
    pub fn remove(&mut self, i: usize) {
        let victim = if i == 0 && self.count() > 1 { 1 } else { i };
        let start = if victim == 0 { 0 } else { self.ends[victim - 1] };
        let len = self.ends[victim] - start;
        self.keys.drain(start..start + len);
        self.ends.remove(victim);
        for end in &mut self.ends[victim..] {
            *end -= len;
        }
        self.children.remove(i);
    }

    /// Overwrites the reference to child `i`.
    pub fn set_child(&mut self, i: usize, child: ChildRef) {
        self.children[i] = child;
    }

    /// Appends the entries of the branch to the right, whose separator in the parent is `separator`.
    pub fn append(&mut self, separator: &[u8], right: &BranchEntries) {
        for i in 0..right.count() {
            self.push(if i == 0 { separator } else { right.key(i) }, right.child(i));
        }
    }

    /// Writing relies on ascending separators; a crafted file may have put others together.
    ///
    /// # Errors
    /// `Corrupt` when they are not.
    pub fn check_order(&self) -> Result<()> {
        match (2..self.count()).find(|i| self.key(i - 1) >= self.key(*i)) {
            None => Ok(()),
            Some(i) => Err(out_of_order(i, self.child(i))),
        }
    }

    fn prefix_len(&self, from: usize, to: usize) -> usize {
        if to - from < 2 { 0 } else { common_prefix(self.key(from + 1), self.key(to - 1)) }
    }

    /// Bytes that a page with the entries `from..to` needs.
    pub fn page_len(&self, from: usize, to: usize) -> usize {
        let prefix = self.prefix_len(from, to);
        let separators = (to - from).saturating_sub(1);
        let cells = self.ends[to - 1] - self.ends[from] - separators * prefix;
        HEADER_LEN + prefix + (to - from) * ENTRY_LEN + cells
    }

    /// The border that divides the entries into two pages most evenly; the last one that fits when
    /// `ascending`.
    pub fn border(&self, page_size: usize, ascending: bool) -> usize {
        let count = self.count();
        let fits = |i: &usize| self.page_len(0, *i) <= page_size && self.page_len(*i, count) <= page_size;
        let candidates = (1..count).filter(fits);
        let border = match ascending {
            true => candidates.max(),
            false => candidates.min_by_key(|i| self.page_len(0, *i).abs_diff(self.page_len(*i, count))),
        };
        border.expect("the border beside the new entry always fits")
    }

    /// Writes the entries `from..to` as a branch.
    ///
    /// # Panics
    /// When they do not fit; see [`BranchEntries::page_len`].
    pub fn write(&self, page: &mut [u8], level: u8, table: u32, from: usize, to: usize) {
        assert!(self.page_len(from, to) <= page.len(), "{} children do not fit", to - from);
        super::init(page, PageKind::Branch, level, table);
        let (count, prefix_len) = (to - from, self.prefix_len(from, to));
        if prefix_len > 0 {
            page[HEADER_LEN..HEADER_LEN + prefix_len].copy_from_slice(&self.key(from + 1)[..prefix_len]);
        }
        let cell_bytes = self.page_len(from, to) - HEADER_LEN - prefix_len - count * ENTRY_LEN;
        let cells = page.len() - cell_bytes;
        let (heads, offsets) = (HEADER_LEN + prefix_len, offset_at(prefix_len, count, 0));
        let header = header_mut(page);
        header.count.set(count as u16);
        header.cell_bytes.set(cell_bytes as u16);
        header.prefix_len.set(prefix_len as u16);
        let mut offset = 0;
        for i in 0..count {
            let suffix = if i == 0 { &[][..] } else { &self.key(from + i)[prefix_len..] };
            let at = heads + i * HEAD_LEN;
            page[at..at + HEAD_LEN].copy_from_slice(&head(suffix, 0).to_le_bytes());
            set_child(page, i, self.children[from + i]);
            set_u16(page, offsets + i * OFFSET_LEN, offset);
            page[cells + offset..cells + offset + suffix.len()].copy_from_slice(suffix);
            offset += suffix.len();
        }
    }
}

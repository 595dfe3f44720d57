//! Leaves with slots: keys and values of any length.
//!
//! ```text
//! header 32 | heads 4 × n | slots 6 × n | room | cells
//! slot: distance of the cell's start from the page's end u16 | key length u16, top bit: the value is elsewhere | value length u16
//! cell: value, key, zeros to the table's alignment; so a value begins at an aligned address
//! ```
//! Heads sit right behind the header, so that one prefetch brings both.

use super::{Stored, common_prefix, damage, equal_heads, head, set_u16, u16_at};
use crate::error::{Error, Result};
use crate::format::{HEADER_LEN, OVERFLOW_REF_LEN, OverflowRef, SET_REF_LEN, SetRef, header, header_mut};
use crate::map::prefetch;
use std::cmp::Ordering;
use std::ops::Range;
use zerocopy::FromBytes;
use zerocopy::byteorder::little_endian::U32;

const HEAD_LEN: usize = 4;
pub(super) const SLOT_LEN: usize = 6;
/// Bytes that an entry takes beside its cell.
pub const LEAF_SLOT_LEN: usize = HEAD_LEN + SLOT_LEN;
pub(super) const OVERFLOW_FLAG: usize = 0x8000;

/// A leaf, for reading.
#[derive(Clone, Copy)]
pub struct Leaf<'a> {
    page: &'a [u8],
    count: usize,
}

#[cold]
fn claims_too_much(page: &[u8], count: usize, cells: usize) -> Error {
    damage(page, format!("leaf claims {count} entries and {cells} bytes of cells"))
}

#[cold]
fn no_entry(page: &[u8], i: usize, count: usize) -> Error {
    damage(page, format!("entry {i} of {count}"))
}

#[cold]
fn outside_of_page(page: &[u8], i: usize) -> Error {
    damage(page, format!("entry {i} does not lie in the page"))
}

struct Slot {
    start: usize,
    key_len: usize,
    value_len: usize,
    overflow: bool,
}

impl Slot {
    fn cell_len(&self, align: usize) -> usize {
        (self.key_len + self.value_len).next_multiple_of(align)
    }
}

impl<'a> Leaf<'a> {
    /// The leaf in `page`, whose kind the caller has checked.
    #[inline(always)]
    pub fn new(page: &'a [u8]) -> Result<Self> {
        let head = header(page);
        let count = usize::from(head.count.get());
        let cells = usize::from(head.cell_bytes.get());
        if HEADER_LEN + count * LEAF_SLOT_LEN + cells > page.len() {
            return Err(claims_too_much(page, count, cells));
        }
        Ok(Leaf { page, count })
    }

    pub fn page(&self) -> &'a [u8] {
        self.page
    }

    #[inline]
    pub fn count(&self) -> usize {
        self.count
    }

    fn prefix_len(&self) -> usize {
        usize::from(header(self.page).prefix_len.get())
    }

    #[inline(always)]
    fn heads(&self) -> &'a [U32] {
        let bytes = &self.page[HEADER_LEN..HEADER_LEN + self.count * HEAD_LEN];
        <[U32]>::ref_from_bytes(bytes).expect("a multiple of four")
    }

    #[inline]
    pub(super) fn slots(&self) -> &'a [[u8; SLOT_LEN]] {
        self.page[slot_at(self.count, 0)..slot_at(self.count, self.count)].as_chunks().0
    }

    #[inline(always)]
    fn slot(&self, i: usize) -> Result<Slot> {
        let at = slot_at(self.count, i);
        let slot = match self.page.get(at..).and_then(<[u8]>::first_chunk::<SLOT_LEN>) {
            Some(slot) if i < self.count => slot,
            _ => return Err(no_entry(self.page, i, self.count)),
        };
        let number = |at: usize| usize::from(u16::from_le_bytes([slot[at], slot[at + 1]]));
        let (distance, key_len) = (number(0), number(2));
        let slot = Slot {
            start: self.page.len().saturating_sub(distance),
            key_len: key_len & !OVERFLOW_FLAG,
            value_len: number(4),
            overflow: key_len & OVERFLOW_FLAG != 0,
        };
        if slot.key_len + slot.value_len > distance || slot.start < HEADER_LEN {
            return Err(outside_of_page(self.page, i));
        }
        Ok(slot)
    }

    #[inline]
    pub fn key(&self, i: usize) -> Result<&'a [u8]> {
        let slot = self.slot(i)?;
        let start = slot.start + slot.value_len;
        Ok(&self.page[start..start + slot.key_len])
    }

    #[inline]
    pub fn stored(&self, i: usize) -> Result<Stored<'a>> {
        Ok(self.entry(i)?.1)
    }

    #[inline(always)]
    pub fn entry(&self, i: usize) -> Result<(&'a [u8], Stored<'a>)> {
        let slot = self.slot(i)?;
        let (value, key) =
            self.page[slot.start..slot.start + slot.value_len + slot.key_len].split_at(slot.value_len);
        match slot.overflow {
            false => Ok((key, Stored::Inline(value))),
            true => Ok((key, self.overflow(i, value)?)),
        }
    }

    #[cold]
    fn overflow(&self, i: usize, value: &[u8]) -> Result<Stored<'a>> {
        match stored_apart(value) {
            Some(stored) => Ok(stored),
            None => Err(damage(self.page, format!("entry {i}: overflow reference of {} bytes", value.len()))),
        }
    }

    /// The value of `key`.
    #[inline(always)]
    pub fn find(&self, key: &[u8]) -> Result<Option<Stored<'a>>> {
        let (low, high) = equal_heads(self.heads(), head(key, self.prefix_len()));
        if high - low == 1 {
            let (found, value) = self.entry(low)?;
            return Ok(if found == key { Some(value) } else { None });
        }
        match self.search_among(low, high, key)? {
            Ok(i) => self.stored(i).map(Some),
            Err(_) => Ok(None),
        }
    }

    /// Begins to bring the entry that is `key`'s, if any is, nearer to the processor, and says which it would be.
    #[inline]
    pub fn prefetch(&self, key: &[u8]) -> usize {
        let (low, high) = equal_heads(self.heads(), head(key, self.prefix_len()));
        if low < high
            && let Ok(slot) = self.slot(low)
        {
            prefetch::<1>(&self.page[slot.start..]);
            prefetch::<1>(&self.page[slot.start + slot.value_len..]);
        }
        low
    }

    /// The same for the entries from `at` on, so many at most.
    #[inline]
    pub fn prefetch_from(&self, at: usize, entries: usize) {
        for slot in (at..self.count.min(at + entries)).filter_map(|i| self.slot(i).ok()) {
            prefetch::<3>(&self.page[slot.start..]);
        }
    }

    /// Searches among the entries whose heads are those of the key.
    fn search_among(&self, mut low: usize, mut high: usize, key: &[u8]) -> Result<Result<usize, usize>> {
        while low < high {
            let middle = low + (high - low) / 2;
            match self.key(middle)?.cmp(key) {
                Ordering::Less => low = middle + 1,
                Ordering::Greater => high = middle,
                Ordering::Equal => return Ok(Ok(middle)),
            }
        }
        Ok(Err(low))
    }

    pub fn search(&self, key: &[u8]) -> Result<Result<usize, usize>> {
        self.search_sharing(key, 0)
    }

    /// The same for a key of which it is known that it has the first `shared` bytes of all keys here.
    #[inline]
    pub fn search_sharing(&self, key: &[u8], shared: usize) -> Result<Result<usize, usize>> {
        let prefix_len = self.prefix_len();
        let (low, high) = equal_heads(self.heads(), head(key, prefix_len));
        let mut low = match self.search_among(low, high, key)? {
            Ok(i) => return Ok(Ok(i)),
            Err(low) => low,
        };
        if prefix_len > shared.min(key.len()) && self.count > 0 {
            // The heads spoke of the bytes behind the prefix only.
            let any = self.key(low.min(self.count - 1))?;
            let prefix =
                any.get(..prefix_len).ok_or_else(|| damage(self.page, "key shorter than the prefix"))?;
            match key[..prefix_len.min(key.len())].cmp(prefix) {
                Ordering::Less => low = 0,
                Ordering::Greater => low = self.count,
                Ordering::Equal => {}
            }
        }
        Ok(Err(low))
    }

    /// Bytes that entry `i` takes.
    #[inline]
    pub fn entry_len(&self, i: usize, align: usize) -> Result<usize> {
        Ok(LEAF_SLOT_LEN + self.slot(i)?.cell_len(align))
    }

    /// Checks what `insert` and `remove` rely on.
    pub fn validate(&self, align: usize) -> Result<()> {
        let mut few = [0; 64];
        let mut many = Vec::new();
        let starts = match self.page.len().div_ceil(64) {
            words if words <= few.len() => &mut few[..words],
            words => {
                many.resize(words, 0);
                &mut many[..]
            }
        };
        self.validate_with(align, starts)
    }

    /// `starts` has a bit for each byte of the page, 0.
    fn validate_with(&self, align: usize, starts: &mut [u64]) -> Result<()> {
        let cells = usize::from(header(self.page).cell_bytes.get());
        let mut total = 0;
        for i in 0..self.count {
            let slot = self.slot(i)?;
            let len = slot.cell_len(align);
            if self.page.len() - slot.start > cells || slot.start + len > self.page.len() {
                return Err(damage(self.page, format!("entry {i} lies outside the cells")));
            }
            if slot.overflow && ![OVERFLOW_REF_LEN, SET_REF_LEN].contains(&slot.value_len) {
                return Err(damage(self.page, format!("entry {i}: bad overflow reference")));
            }
            if LEAF_SLOT_LEN + len > (self.page.len() - HEADER_LEN) / 2 {
                return Err(damage(self.page, format!("entry {i} takes more than half of the page")));
            }
            if len > 0 {
                total += len;
                starts[slot.start / 64] |= 1 << (slot.start % 64);
            }
        }
        if total != cells {
            return Err(damage(self.page, format!("cells of {total} bytes, the header says {cells}")));
        }
        // A chain of cells from the lowest byte to the page's end takes all of `total`, so that nothing is left
        // that could lie elsewhere or twice.
        let begins = |at: usize| at == self.page.len() || starts[at / 64] & 1 << (at % 64) != 0;
        let mut whole = begins(self.page.len() - cells);
        for i in 0..self.count {
            let slot = self.slot(i)?;
            whole &= begins(slot.start + slot.cell_len(align)) || slot.cell_len(align) == 0;
        }
        if !whole {
            return Err(damage(self.page, "cells overlap or leave holes"));
        }
        let prefix_len = self.prefix_len();
        if self.count > 0 && self.key(0)?.len() < prefix_len {
            return Err(damage(self.page, "first key is shorter than the prefix"));
        }
        Ok(())
    }

    pub fn validate_heads(&self) -> Result<()> {
        if self.count == 0 {
            return Ok(());
        }
        let prefix_len = self.prefix_len();
        let first = self.key(0)?;
        for i in 0..self.count {
            let key = self.key(i)?;
            if key.get(..prefix_len) != first.get(..prefix_len) || key.len() < prefix_len {
                return Err(damage(self.page, format!("key {i} has not the page's prefix")));
            }
            if self.heads()[i].get() != head(key, prefix_len) {
                return Err(damage(self.page, format!("head {i} is not its key's")));
            }
        }
        Ok(())
    }
}

fn slot_at(count: usize, i: usize) -> usize {
    HEADER_LEN + count * HEAD_LEN + i * SLOT_LEN
}

/// Inserts before entry `i`; false when there is no room. The key has the first `shared` bytes of all keys here.
pub fn insert(page: &mut [u8], align: usize, i: usize, key: &[u8], value: Stored<'_>, shared: usize) -> bool {
    let (count, cells) = counts(page);
    let cell_len = (key.len() + value.cell_len()).next_multiple_of(align);
    if HEADER_LEN + (count + 1) * LEAF_SLOT_LEN + cells + cell_len > page.len() {
        return false;
    }
    let prefix_len = admit_prefix(page, count, i, key, shared);
    let (front, back, end) = (slot_at(count, 0), slot_at(count, i), slot_at(count, count));
    page.copy_within(back..end, back + LEAF_SLOT_LEN);
    page.copy_within(front..back, front + HEAD_LEN);
    let at = HEADER_LEN + i * HEAD_LEN;
    page.copy_within(at..front, at + HEAD_LEN);
    set_counts(page, count + 1, cells + cell_len);
    put_entry(page, count + 1, i, cells + cell_len, prefix_len, key, value);
    true
}

/// Writes head, slot and cell of entry `i`; the cell begins `distance` bytes before the page's end.
fn put_entry(
    page: &mut [u8],
    count: usize,
    i: usize,
    distance: usize,
    prefix_len: usize,
    key: &[u8],
    value: Stored<'_>,
) {
    let value_len = value.cell_len();
    let overflow = value.is_apart();
    let start = page.len() - distance;
    put_slot(page, count, i, head(key, prefix_len), &Slot { start, key_len: key.len(), value_len, overflow });
    put_value(page, start, value);
    page[start + value_len..start + value_len + key.len()].copy_from_slice(key);
}

#[inline]
fn put_slot(page: &mut [u8], count: usize, i: usize, head: u32, slot: &Slot) {
    let at = HEADER_LEN + i * HEAD_LEN;
    page[at..at + HEAD_LEN].copy_from_slice(&head.to_le_bytes());
    let distance = ((page.len() - slot.start) as u16).to_le_bytes();
    let key_len = (slot.key_len | if slot.overflow { OVERFLOW_FLAG } else { 0 }) as u16;
    let (key_len, value_len) = (key_len.to_le_bytes(), (slot.value_len as u16).to_le_bytes());
    let at = slot_at(count, i);
    let bytes = [distance[0], distance[1], key_len[0], key_len[1], value_len[0], value_len[1]];
    page[at..at + SLOT_LEN].copy_from_slice(&bytes);
}

fn put_value(page: &mut [u8], start: usize, value: Stored<'_>) {
    match value {
        Stored::Inline(value) => page[start..start + value.len()].copy_from_slice(value),
        Stored::Overflow(run) => page[start..start + OVERFLOW_REF_LEN].copy_from_slice(&run.to_bytes()),
        Stored::Set(set) => page[start..start + SET_REF_LEN].copy_from_slice(&set.to_bytes()),
    }
}

/// Shortens the page's prefix to what `key` shares with it, and returns its length. Entry `i` is the one
/// that searching has looked at; another would have to be fetched from memory.
fn admit_prefix(page: &mut [u8], count: usize, i: usize, key: &[u8], shared: usize) -> usize {
    if count == 0 {
        header_mut(page).prefix_len.set(key.len() as u16);
        return key.len();
    }
    let old = usize::from(header(page).prefix_len.get());
    if old <= shared.min(key.len()) {
        return old;
    }
    let slot = slot_at(count, i.min(count - 1));
    let start = page.len() - u16_at(page, slot) + u16_at(page, slot + 4);
    let new = common_prefix(&page[start..start + old], key);
    if new < old {
        header_mut(page).prefix_len.set(new as u16);
        for i in 0..count {
            let slot = slot_at(count, i);
            let start = page.len() - u16_at(page, slot) + u16_at(page, slot + 4);
            let len = u16_at(page, slot + 2) & !OVERFLOW_FLAG;
            let fresh = head(&page[start..start + len], new);
            let at = HEADER_LEN + i * HEAD_LEN;
            page[at..at + HEAD_LEN].copy_from_slice(&fresh.to_le_bytes());
        }
    }
    new
}

/// Removes entry `i` and closes the hole that its cell leaves.
pub fn remove(page: &mut [u8], align: usize, i: usize) {
    let (count, cells) = counts(page);
    let slot = slot_at(count, i);
    let distance = u16_at(page, slot);
    let len = ((u16_at(page, slot + 2) & !OVERFLOW_FLAG) + u16_at(page, slot + 4)).next_multiple_of(align);
    let (low, start) = (page.len() - cells, page.len() - distance);
    page.copy_within(low..start, low + len);
    page[low..low + len].fill(0);
    for j in 0..count {
        let at = slot_at(count, j);
        let other = u16_at(page, at);
        if other >= distance {
            set_u16(page, at, other - len);
        }
    }
    let (front, back, end) = (slot_at(count, 0), slot_at(count, i), slot_at(count, count));
    let at = HEADER_LEN + i * HEAD_LEN;
    page.copy_within(at + HEAD_LEN..front, at);
    page.copy_within(front..back, front - HEAD_LEN);
    page.copy_within(back + SLOT_LEN..end, back - HEAD_LEN);
    page[end - LEAF_SLOT_LEN..end].fill(0);
    set_counts(page, count - 1, cells - len);
}

/// Overwrites the value of entry `i`; false unless length and form are the same.
pub fn overwrite(page: &mut [u8], i: usize, value: Stored<'_>) -> bool {
    let slot = slot_at(counts(page).0, i);
    let was_overflow = u16_at(page, slot + 2) & OVERFLOW_FLAG != 0;
    if was_overflow != value.is_apart() || u16_at(page, slot + 4) != value.cell_len() {
        return false;
    }
    let start = page.len() - u16_at(page, slot);
    put_value(page, start, value);
    true
}

/// The bytes of entry `i` that are its value, or where that is.
pub fn value_mut(page: &mut [u8], i: usize) -> &mut [u8] {
    let slot = slot_at(counts(page).0, i);
    let (start, len) = (page.len() - u16_at(page, slot), u16_at(page, slot + 4));
    &mut page[start..start + len]
}

/// See [`super::leaf_splice`].
pub fn splice(page: &mut [u8], i: usize, at: usize, removed: usize, bytes: &[u8]) -> bool {
    let (count, cells) = counts(page);
    let slot = slot_at(count, i);
    let (distance, value_len) = (u16_at(page, slot), u16_at(page, slot + 4));
    assert!(at + removed <= value_len, "{removed} bytes from {at} on of a value of {value_len}");
    let grown = cells - removed + bytes.len();
    if HEADER_LEN + count * LEAF_SLOT_LEN + grown > page.len() {
        return false;
    }
    let (low, end) = (page.len() - cells, page.len() - distance + at);
    let moved = page.len() - grown;
    page.copy_within(low..end, moved);
    let end = end + removed;
    page[end - bytes.len()..end].copy_from_slice(bytes);
    page[low.min(moved)..moved].fill(0);
    for j in 0..count {
        let at = slot_at(count, j);
        let other = u16_at(page, at);
        if other >= distance {
            set_u16(page, at, other - removed + bytes.len());
        }
    }
    set_u16(page, slot + 4, value_len - removed + bytes.len());
    set_counts(page, count, grown);
    true
}

/// Fills an empty leaf with these of the entries of another that has one more, before its entry `at`. Cells
/// stand in key order, the first lowest.
pub fn build_inserted(
    page: &mut [u8],
    align: usize,
    source: &Leaf<'_>,
    at: usize,
    (key, value): (&[u8], Stored<'_>),
    entries: Range<usize>,
) -> Result<()> {
    let key_of = |i: usize| match i.cmp(&at) {
        Ordering::Less => source.key(i),
        Ordering::Equal => Ok(key),
        Ordering::Greater => source.key(i - 1),
    };
    let (count, mut distance) = (entries.len(), 0);
    let prefix_len = common_prefix(key_of(entries.start)?, key_of(entries.end - 1)?);
    for entry in entries.clone().rev() {
        let i = entry - entries.start;
        if entry == at {
            distance += (key.len() + value.cell_len()).next_multiple_of(align);
            put_entry(page, count, i, distance, prefix_len, key, value);
            continue;
        }
        let slot = source.slot(if entry < at { entry } else { entry - 1 })?;
        distance += slot.cell_len(align);
        let (start, len) = (page.len() - distance, slot.value_len + slot.key_len);
        let cell = &source.page[slot.start..slot.start + len];
        put_slot(page, count, i, head(&cell[slot.value_len..], prefix_len), &Slot { start, ..slot });
        page[start..start + len].copy_from_slice(cell);
    }
    assert!(HEADER_LEN + count * LEAF_SLOT_LEN + distance <= page.len(), "{count} entries do not fit");
    set_counts(page, count, distance);
    header_mut(page).prefix_len.set(prefix_len as u16);
    Ok(())
}

/// What a cell says of a value that is elsewhere; `None` where it says nothing.
#[inline]
pub(super) fn stored_apart<'a>(bytes: &[u8]) -> Option<Stored<'a>> {
    match bytes.len() {
        OVERFLOW_REF_LEN => Some(Stored::Overflow(OverflowRef::read(bytes))),
        SET_REF_LEN => Some(Stored::Set(SetRef::read(bytes))),
        _ => None,
    }
}

/// Where an entry lies in the cells of a leaf that is to be filled.
pub struct Cell {
    pub start: usize,
    pub key_len: usize,
    pub value_len: usize,
    pub is_overflow: bool,
}

/// Fills an empty leaf with cells as they are to stand in it, in the order of their keys.
pub fn fill(page: &mut [u8], cells: &[u8], slots: &[Cell]) {
    let (count, first) = (slots.len(), page.len() - cells.len());
    assert!(HEADER_LEN + count * LEAF_SLOT_LEN <= first, "{count} entries do not fit");
    page[first..].copy_from_slice(cells);
    let key = |cell: &Cell| &cells[cell.start + cell.value_len..][..cell.key_len];
    let prefix_len = match slots {
        [] => 0,
        [lowest, .., highest] => common_prefix(key(lowest), key(highest)),
        [only] => only.key_len,
    };
    for (i, cell) in slots.iter().enumerate() {
        let Cell { start, key_len, value_len, is_overflow } = *cell;
        let slot = Slot { start: first + start, key_len, value_len, overflow: is_overflow };
        put_slot(page, count, i, head(key(cell), prefix_len), &slot);
    }
    set_counts(page, count, cells.len());
    header_mut(page).prefix_len.set(prefix_len as u16);
}

fn counts(page: &[u8]) -> (usize, usize) {
    let head = header(page);
    (usize::from(head.count.get()), usize::from(head.cell_bytes.get()))
}

fn set_counts(page: &mut [u8], count: usize, cells: usize) {
    let head = header_mut(page);
    head.count.set(count as u16);
    head.cell_bytes.set(cells as u16);
}

//! What is left of a leaf on either side of a place in it, taken entry by entry.
//!
//! Owns: [`Entries`], which knows where slots and cells lie, so that a step looks at one slot and not at
//! the header. Promises: every slot is judged when its entry is taken.

use super::leaf::{OVERFLOW_FLAG, SLOT_LEN, stored_apart};
use super::{LeafView, Stored, damage};
use crate::error::Result;
use crate::format::{HEADER_LEN, Layout};

/// A place between two entries of a leaf, and how far it may go either way.
pub struct Entries<'a> {
    page: &'a [u8],
    form: Form<'a>,
    count: usize,
    low: usize,
    at: usize,
    high: usize,
}

#[derive(Clone, Copy)]
enum Form<'a> {
    /// The slots, and the page behind its header.
    Slotted(&'a [[u8; SLOT_LEN]], &'a [u8]),
    Fixed {
        keys: &'a [u8],
        key_width: usize,
        values: &'a [u8],
        value_width: usize,
    },
}

/// A key and its value as the leaf holds it.
pub type Pair<'a> = (&'a [u8], Stored<'a>);

impl<'a> Entries<'a> {
    /// Those of no leaf.
    pub fn none() -> Self {
        Entries { page: &[], form: Form::Slotted(&[], &[]), count: 0, low: 0, at: 0, high: 0 }
    }

    /// All of a leaf's, at the place before entry `at`.
    #[inline]
    pub fn new(leaf: &LeafView<'a>, at: usize) -> Self {
        let count = leaf.count();
        let (page, form) = match leaf {
            LeafView::Slotted(leaf) => (leaf.page(), Form::Slotted(leaf.slots(), &leaf.page()[HEADER_LEN..])),
            LeafView::Fixed(leaf) => {
                let ((keys, values), (key_width, value_width)) = (leaf.arrays(), leaf.widths());
                (leaf.page(), Form::Fixed { keys, key_width, values, value_width })
            }
        };
        Entries { page, form, count, low: 0, at: at.min(count), high: count }
    }

    /// Number of entries in the leaf.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Number of entries before the place.
    #[inline]
    pub fn at(&self) -> usize {
        self.at
    }

    /// The place may go from before entry `low` to before entry `high`.
    pub fn confine(&mut self, low: usize, high: usize) {
        (self.low, self.high) = (low, high);
    }

    /// The place may not go anywhere.
    pub fn hold(&mut self) {
        (self.low, self.high) = (usize::MAX, 0);
    }

    /// Whether the place may not go to the leaf's end.
    pub fn ends_early(&self) -> bool {
        self.high < self.count
    }

    /// Whether the place may not go to the leaf's start.
    pub fn starts_late(&self) -> bool {
        self.low > 0
    }

    /// How many entries are `below`, which holds for a first part of all keys.
    ///
    /// # Errors
    /// `Corrupt` where a key that must be compared does not lie in the page.
    pub fn count_below(&self, below: impl Fn(&[u8]) -> bool) -> Result<usize> {
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = low + (high - low) / 2;
            match below(self.entry(middle)?.0) {
                true => low = middle + 1,
                false => high = middle,
            }
        }
        Ok(low)
    }

    /// How many entries of the table are before the place: see [`LeafView::weight`].
    ///
    /// # Errors
    /// `Corrupt` where one is not what the layout says.
    #[inline]
    pub fn weight_before(&self, layout: &Layout) -> Result<u64> {
        match layout.set {
            Some(_) if self.at > 0 => LeafView::new(self.page)?.weight(layout, 0..self.at),
            _ => Ok(self.at() as u64),
        }
    }

    /// The key of entry `i`.
    ///
    /// # Errors
    /// `Corrupt` where it does not lie in the page.
    pub fn key(&self, i: usize) -> Result<&'a [u8]> {
        Ok(self.entry(i)?.0)
    }

    /// The entry behind the place; `None` where there is none, its value is elsewhere or it is damaged:
    /// [`Entries::next`] tells.
    #[inline(always)]
    pub fn behind(&self) -> Option<(&'a [u8], &'a [u8])> {
        if self.at < self.high { self.inline(self.at) } else { None }
    }

    /// The entry before the place; `None` as in [`Entries::behind`].
    #[inline(always)]
    pub fn before(&self) -> Option<(&'a [u8], &'a [u8])> {
        if self.at > self.low { self.inline(self.at - 1) } else { None }
    }

    /// Moves the place past the entry behind it, which is there.
    #[inline(always)]
    pub fn forward(&mut self) {
        self.at += 1;
    }

    /// Moves the place before the entry before it, which is there.
    #[inline(always)]
    pub fn backward(&mut self) {
        self.at -= 1;
    }

    /// Moves the place past `n` entries, or as many as are behind it. Returns how many there were too few.
    #[inline]
    pub fn pass(&mut self, n: u64) -> u64 {
        let passed = n.min(self.high.saturating_sub(self.at) as u64);
        self.at += passed as usize;
        n - passed
    }

    /// Moves the place before `n` entries, or as many as are before it. Returns how many there were too few.
    #[inline]
    pub fn pass_back(&mut self, n: u64) -> u64 {
        let passed = n.min(self.at.saturating_sub(self.low) as u64);
        self.at -= passed as usize;
        n - passed
    }

    /// The entry behind the place, which moves past it.
    pub fn next(&mut self) -> Option<Result<Pair<'a>>> {
        if self.at >= self.high {
            return None;
        }
        self.at += 1;
        Some(self.entry(self.at - 1))
    }

    /// The entry before the place, which moves before it.
    pub fn previous(&mut self) -> Option<Result<Pair<'a>>> {
        if self.at <= self.low {
            return None;
        }
        self.at -= 1;
        Some(self.entry(self.at))
    }

    /// Entry `i`.
    ///
    /// # Errors
    /// `Corrupt` where it does not lie in the page.
    pub fn entry(&self, i: usize) -> Result<Pair<'a>> {
        if let Some((key, value)) = self.inline(i) {
            return Ok((key, Stored::Inline(value)));
        }
        let outside = || damage(self.page, format!("entry {i} does not lie in the page"));
        let Form::Slotted(slots, cells) = self.form else { return Err(outside()) };
        let slot = slots.get(i).ok_or_else(outside)?;
        let (key, value) =
            cell(cells, half(slot, 0), half(slot, 2) & !OVERFLOW_FLAG, half(slot, 4)).ok_or_else(outside)?;
        match stored_apart(value) {
            Some(stored) => Ok((key, stored)),
            None => Err(damage(self.page, format!("entry {i}: overflow reference of {} bytes", value.len()))),
        }
    }

    /// Key and value, where they lie in the page.
    #[inline(always)]
    fn inline(&self, i: usize) -> Option<(&'a [u8], &'a [u8])> {
        match self.form {
            Form::Slotted(slots, cells) => {
                let slot = slots.get(i)?;
                match half(slot, 2) {
                    OVERFLOW_FLAG.. => None,
                    key_len => cell(cells, half(slot, 0), key_len, half(slot, 4)),
                }
            }
            Form::Fixed { keys, key_width, values, value_width } => {
                let key = keys.get(i * key_width..)?.get(..key_width)?;
                Some((key, values.get(i * value_width..)?.get(..value_width)?))
            }
        }
    }
}

#[inline(always)]
fn half(slot: &[u8; SLOT_LEN], at: usize) -> usize {
    usize::from(u16::from_le_bytes([slot[at], slot[at + 1]]))
}

/// Key and value of a cell that begins `distance` bytes before the end; `None` where they do not lie in `cells`.
#[inline(always)]
fn cell(cells: &[u8], distance: usize, key_len: usize, value_len: usize) -> Option<(&[u8], &[u8])> {
    let (value, rest) = cells.get(cells.len().checked_sub(distance)?..)?.split_at_checked(value_len)?;
    Some((rest.get(..key_len)?, value))
}

//! Leaves of fixed-width tables: two dense arrays and no slots.
//!
//! ```text
//! header 32 | keys: capacity × key width | spare | values: capacity × value width
//! ```
//! The header's `cell_bytes` holds the key width and `prefix_len` the value width, so that a page
//! can be read without its table. Capacity follows from the widths.

use super::damage;
use crate::error::Result;
use crate::format::{HEADER_LEN, header, header_mut};
use crate::map::prefetch;
use std::cmp::Ordering;

/// Entries that fit in a page.
#[inline]
pub fn capacity(page_size: usize, key_width: usize, value_width: usize) -> usize {
    // Of 32 bits, which processors divide in half the time.
    ((page_size - HEADER_LEN) as u32 / (key_width + value_width) as u32) as usize
}

/// Begins to bring what a search for the entry that may be number `guess` touches nearer to the processor, and need not
/// wait for the header to know where that is. Keys beside it too: a guess is seldom further off than some keys.
#[inline(always)]
pub fn prefetch_entry(page: &[u8], (key_width, value_width): (usize, usize), guess: usize) {
    let capacity = capacity(page.len(), key_width, value_width);
    let values = page.len() - capacity * value_width;
    let key = HEADER_LEN + guess * key_width;
    prefetch::<1>(page);
    prefetch::<3>(page.get(key.saturating_sub(64)..).unwrap_or(page));
    prefetch::<1>(page.get(values + guess * value_width..).unwrap_or(page));
}

/// A fixed-width leaf, for reading.
#[derive(Clone, Copy)]
pub struct FixedLeaf<'a> {
    page: &'a [u8],
    shape: Shape,
}

#[derive(Clone, Copy)]
struct Shape {
    count: usize,
    key_width: usize,
    value_width: usize,
    values: usize,
}

impl Shape {
    #[inline]
    fn of(page: &[u8]) -> Self {
        let head = header(page);
        let key_width = usize::from(head.cell_bytes.get());
        let value_width = usize::from(head.prefix_len.get());
        let room = capacity(page.len(), key_width.max(1), value_width) * value_width;
        Shape { count: usize::from(head.count.get()), key_width, value_width, values: page.len() - room }
    }

    fn key(&self, i: usize) -> usize {
        HEADER_LEN + i * self.key_width
    }

    fn value(&self, i: usize) -> usize {
        self.values + i * self.value_width
    }
}

impl<'a> FixedLeaf<'a> {
    /// The leaf in `page`, whose kind the caller has checked.
    #[inline]
    pub fn new(page: &'a [u8]) -> Result<Self> {
        let shape = Shape::of(page);
        if shape.key_width == 0 || shape.count > capacity(page.len(), shape.key_width, shape.value_width) {
            return Err(damage(
                page,
                format!(
                    "fixed leaf claims {} entries of {} + {} bytes",
                    shape.count, shape.key_width, shape.value_width
                ),
            ));
        }
        Ok(FixedLeaf { page, shape })
    }

    pub fn page(&self) -> &'a [u8] {
        self.page
    }

    pub fn widths(&self) -> (usize, usize) {
        (self.shape.key_width, self.shape.value_width)
    }

    /// All keys, and all values.
    #[inline]
    pub(super) fn arrays(&self) -> (&'a [u8], &'a [u8]) {
        let shape = &self.shape;
        (&self.page[HEADER_LEN..shape.key(shape.count)], &self.page[shape.values..shape.value(shape.count)])
    }

    #[inline]
    pub fn count(&self) -> usize {
        self.shape.count
    }

    #[inline]
    pub fn key(&self, i: usize) -> Result<&'a [u8]> {
        self.inside(i)?;
        Ok(&self.page[self.shape.key(i)..self.shape.key(i + 1)])
    }

    #[inline]
    pub fn value(&self, i: usize) -> Result<&'a [u8]> {
        self.inside(i)?;
        Ok(&self.page[self.shape.value(i)..self.shape.value(i + 1)])
    }

    #[inline]
    fn inside(&self, i: usize) -> Result<()> {
        if i < self.shape.count {
            return Ok(());
        }
        Err(damage(self.page, format!("entry {i} of {}", self.shape.count)))
    }

    pub fn search(&self, key: &[u8]) -> Result<Result<usize, usize>> {
        self.search_near(key, self.shape.count / 2)
    }

    /// The same for a key that is likely to be near entry `guess`.
    #[inline]
    pub fn search_near(&self, key: &[u8], guess: usize) -> Result<Result<usize, usize>> {
        let width = self.shape.key_width;
        let keys = &self.page[HEADER_LEN..HEADER_LEN + self.shape.count * width];
        if let (8, Ok(wanted)) = (width, <&[u8; 8]>::try_from(key)) {
            return Ok(search_words(keys.as_chunks().0, u64::from_be_bytes(*wanted), guess));
        }
        let (mut low, mut high) = (0, self.shape.count);
        while low < high {
            let middle = low + (high - low) / 2;
            match keys[middle * width..(middle + 1) * width].cmp(key) {
                Ordering::Less => low = middle + 1,
                Ordering::Greater => high = middle,
                Ordering::Equal => return Ok(Ok(middle)),
            }
        }
        Ok(Err(low))
    }
}

/// So many keys on either side of a guess are looked at before all are.
const NEAR: usize = 16;

/// Searches keys that are numbers: at the guess, near it, everywhere.
#[inline]
fn search_words(keys: &[[u8; 8]], wanted: u64, guess: usize) -> Result<usize, usize> {
    let number = |key: &[u8; 8]| u64::from_be_bytes(*key);
    if keys.get(guess).is_some_and(|key| number(key) == wanted) {
        return Ok(guess);
    }
    let (low, high) = (guess.saturating_sub(NEAR).min(keys.len()), (guess + NEAR).min(keys.len()));
    let is_above = low == 0 || number(&keys[low - 1]) < wanted;
    let is_below = keys.get(high).is_none_or(|key| wanted < number(key));
    let (low, among) = if is_above && is_below { (low, &keys[low..high]) } else { (0, keys) };
    let found = among.binary_search_by_key(&wanted, number);
    found.map(|i| low + i).map_err(|i| low + i)
}

/// Inserts before entry `i`; false when the page is full.
pub fn insert(page: &mut [u8], i: usize, key: &[u8], value: &[u8]) -> bool {
    let shape = Shape::of(page);
    if shape.count >= capacity(page.len(), shape.key_width, shape.value_width) {
        return false;
    }
    page.copy_within(shape.key(i)..shape.key(shape.count), shape.key(i + 1));
    page.copy_within(shape.value(i)..shape.value(shape.count), shape.value(i + 1));
    page[shape.key(i)..shape.key(i + 1)].copy_from_slice(key);
    page[shape.value(i)..shape.value(i + 1)].copy_from_slice(value);
    header_mut(page).count.set(shape.count as u16 + 1);
    true
}

/// Copies these keys and values, as many of either, to an empty leaf.
pub fn fill(page: &mut [u8], keys: &[u8], values: &[u8]) {
    let shape = Shape::of(page);
    let count = keys.len() / shape.key_width;
    assert!(count <= capacity(page.len(), shape.key_width, shape.value_width), "{count} entries do not fit");
    page[HEADER_LEN..shape.key(count)].copy_from_slice(keys);
    page[shape.values..shape.value(count)].copy_from_slice(values);
}

/// Removes entry `i`.
pub fn remove(page: &mut [u8], i: usize) {
    let shape = Shape::of(page);
    let last = shape.count - 1;
    page.copy_within(shape.key(i + 1)..shape.key(shape.count), shape.key(i));
    page.copy_within(shape.value(i + 1)..shape.value(shape.count), shape.value(i));
    page[shape.key(last)..shape.key(last + 1)].fill(0);
    page[shape.value(last)..shape.value(last + 1)].fill(0);
    header_mut(page).count.set(last as u16);
}

/// Overwrites the value of entry `i`; false unless it has the table's width.
pub fn overwrite(page: &mut [u8], i: usize, value: &[u8]) -> bool {
    let shape = Shape::of(page);
    if value.len() != shape.value_width {
        return false;
    }
    page[shape.value(i)..shape.value(i + 1)].copy_from_slice(value);
    true
}

/// The value of entry `i`.
pub fn value_mut(page: &mut [u8], i: usize) -> &mut [u8] {
    let shape = Shape::of(page);
    &mut page[shape.value(i)..shape.value(i + 1)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guess_however_wrong_does_not_change_what_is_found() {
        for count in [0, 1, 2, 15, 16, 17, 40, 254] {
            let keys: Vec<[u8; 8]> = (0..count).map(|i| (i * i * 3 + 5_u64).to_be_bytes()).collect();
            for wanted in (0..count).flat_map(|i| (i * i * 3 + 4)..(i * i * 3 + 7)).chain([0, u64::MAX]) {
                let expected = keys.binary_search(&wanted.to_be_bytes());
                for guess in (0..count as usize + 2).step_by(7).chain([usize::MAX / 2, count as usize]) {
                    assert_eq!(search_words(&keys, wanted, guess), expected, "{count} {wanted} {guess}");
                }
            }
        }
    }
}

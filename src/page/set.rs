//! The set of values that a leaf of a multimap holds in the place of a value: small ones as they are.
//!
//! ```text
//! of one width:   width u16 | values, width × n
//! of any lengths: 0 u16 | n u16 | ends u16 × n, counted from the first value | values
//! ```
//! Owns: this form, read and built. Promises: no bytes make reading panic or read elsewhere. It says of
//! itself which form it has, so that a leaf can be read without its table. What is larger is a tree, whose
//! keys are the values ([`crate::tree::multi`]).
//!
//! Invariants: a set has a value, and its values are strictly ascending (the first is checked whenever a set
//! is read, the second when its leaf is copied to be edited, and by `verify`).

use std::cmp::Ordering;

const HEAD_LEN: usize = 2;
const ENDS_AT: usize = 4;

/// A set of values, for reading.
#[derive(Clone, Copy)]
pub struct Set<'a> {
    /// Of each value; 0 where it varies.
    width: usize,
    /// One after the other.
    values: &'a [u8],
    /// Where each of them ends, where the width varies.
    ends: &'a [[u8; 2]],
    count: usize,
}

impl<'a> Set<'a> {
    /// The set in these bytes, of values of this width, or 0; `None` where that is not what they are.
    #[inline]
    pub fn read(bytes: &'a [u8], width: usize) -> Option<Self> {
        Set::read_any(bytes).filter(|set| set.width == width)
    }

    /// The same for a set of which the width is not known.
    #[inline]
    pub fn read_any(bytes: &'a [u8]) -> Option<Self> {
        let (width, values) = bytes.split_first_chunk()?;
        let width = usize::from(u16::from_le_bytes(*width));
        if let Some(count) = values.len().checked_div(width) {
            let is_whole = count > 0 && count * width == values.len();
            return is_whole.then_some(Set { width, values, ends: &[], count });
        }
        let (count, rest) = values.split_first_chunk()?;
        let count = usize::from(u16::from_le_bytes(*count));
        let (ends, values) = rest.split_at_checked(2 * count)?;
        let ends = ends.as_chunks().0;
        let is_whole = usize::from(u16::from_le_bytes(*ends.last()?)) == values.len();
        is_whole.then_some(Set { width, values, ends, count })
    }

    /// Number of values, at least one.
    #[inline]
    pub fn count(&self) -> usize {
        self.count
    }

    /// The width of its values, 0 where it varies.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Value `i`; `None` where there is none, or it does not lie in the set.
    #[inline]
    pub fn value(&self, i: usize) -> Option<&'a [u8]> {
        if self.width > 0 {
            return self.values.get(i.checked_mul(self.width)?..)?.get(..self.width);
        }
        let end = |i: usize| self.ends.get(i).map(|end| usize::from(u16::from_le_bytes(*end)));
        let start = if i == 0 { 0 } else { end(i - 1)? };
        self.values.get(start..end(i)?)
    }

    /// Where value `i` begins in the bytes of the set, or the last one ends; `None` behind that.
    pub fn place(&self, i: usize) -> Option<usize> {
        let head = if self.width == 0 { ENDS_AT + 2 * self.count } else { HEAD_LEN };
        Some(head + self.start(i)?)
    }

    /// `Ok(i)` where the value is number `i`, `Err(i)` where it would become number `i`; `None` where a value
    /// that must be compared does not lie in the set.
    #[inline]
    pub fn search(&self, value: &[u8]) -> Option<Result<usize, usize>> {
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.value(middle)?.cmp(value) {
                Ordering::Less => low = middle + 1,
                Ordering::Greater => high = middle,
                Ordering::Equal => return Some(Ok(middle)),
            }
        }
        Some(Err(low))
    }

    /// Whether every value lies in the set and the values are strictly ascending.
    pub fn is_ordered(&self) -> bool {
        let mut last = None;
        (0..self.count).all(|i| {
            let value = self.value(i);
            let is_above = value.is_some() && (i == 0 || last < value);
            last = value;
            is_above
        })
    }

    /// The values in order.
    pub fn values(self) -> impl Iterator<Item = Option<&'a [u8]>> {
        (0..self.count).map(move |i| self.value(i))
    }

    /// Bytes of the set with one more value, of this length.
    pub fn len_with(&self, value_len: usize) -> usize {
        match self.width {
            0 => ENDS_AT + 2 * (self.count + 1) + self.values.len() + value_len,
            _ => HEAD_LEN + self.values.len() + value_len,
        }
    }

    /// The bytes of the set with `value` before value `i`.
    pub fn with(&self, i: usize, value: &[u8]) -> Option<Vec<u8>> {
        self.edited(i, 0, Some(value))
    }

    /// The bytes of the set without value `i`, of at least two.
    pub fn without(&self, i: usize) -> Option<Vec<u8>> {
        self.edited(i, 1, None)
    }

    /// The bytes with `value` in the place of so many values from number `i` on.
    fn edited(&self, i: usize, removed: usize, value: Option<&[u8]>) -> Option<Vec<u8>> {
        let (start, end) = (self.start(i)?, self.start(i + removed)?);
        let (before, _) = self.values.split_at_checked(start)?;
        let behind = self.values.get(end..)?;
        let inserted = value.unwrap_or_default();
        let mut set = Vec::with_capacity(self.len_with(inserted.len()));
        set.extend_from_slice(&(self.width as u16).to_le_bytes());
        if self.width == 0 {
            let count = self.count - removed + usize::from(value.is_some());
            set.extend_from_slice(&(count as u16).to_le_bytes());
            set.extend_from_slice(self.ends.get(..i)?.as_flattened());
            if value.is_some() {
                set.extend_from_slice(&u16::try_from(start + inserted.len()).ok()?.to_le_bytes());
            }
            for end in self.ends.get(i + removed..)? {
                let moved = usize::from(u16::from_le_bytes(*end)) + inserted.len();
                let moved = moved.checked_sub(self.start(i + removed)? - start)?;
                set.extend_from_slice(&u16::try_from(moved).ok()?.to_le_bytes());
            }
        }
        [before, inserted, behind].into_iter().for_each(|part| set.extend_from_slice(part));
        Some(set)
    }

    /// Where value `i` begins among the values, or the last one ends.
    fn start(&self, i: usize) -> Option<usize> {
        match (self.width, i.checked_sub(1)) {
            (0, None) => Some(0),
            (0, Some(last)) => self.ends.get(last).map(|end| usize::from(u16::from_le_bytes(*end))),
            (width, _) => i.checked_mul(width),
        }
    }
}

/// Bytes that a set of so many values takes, whose lengths add up to `bytes`.
pub fn set_len(width: usize, count: usize, bytes: usize) -> usize {
    match width {
        0 => ENDS_AT + 2 * count + bytes,
        _ => HEAD_LEN + bytes,
    }
}

/// A set of these values, which are in order, of this width, or 0.
pub fn build(width: usize, values: &[&[u8]]) -> Vec<u8> {
    let bytes = values.iter().map(|value| value.len()).sum();
    let mut set = Vec::with_capacity(set_len(width, values.len(), bytes));
    set.extend_from_slice(&(width as u16).to_le_bytes());
    if width == 0 {
        set.extend_from_slice(&(values.len() as u16).to_le_bytes());
        let mut end = 0;
        for value in values {
            end += value.len();
            set.extend_from_slice(&u16::try_from(end).expect("a set is shorter than a page").to_le_bytes());
        }
    }
    values.iter().for_each(|value| set.extend_from_slice(value));
    set
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_gives_back_its_values_and_finds_them() {
        for (width, values) in [
            (3, vec![&b"abc"[..], b"abd", b"xyz"]),
            (0, vec![&b""[..], b"a", b"ab", b"b"]),
            (0, vec![&b""[..]]),
            (1, vec![&b"q"[..]]),
        ] {
            let bytes = build(width, &values);
            let set = Set::read(&bytes, width).unwrap();
            assert_eq!(set.count(), values.len());
            assert_eq!(set.values().collect::<Option<Vec<_>>>().unwrap(), values);
            assert!(set.is_ordered());
            for (i, value) in values.iter().enumerate() {
                assert_eq!(set.search(value), Some(Ok(i)));
                assert_eq!(&bytes[set.place(i).unwrap()..][..value.len()], *value);
                if values.len() > 1 {
                    let less = set.without(i).unwrap();
                    let less = Set::read(&less, width).unwrap();
                    assert_eq!(less.search(value), Some(Err(i)));
                    assert_eq!(
                        (less.with(i, value).unwrap(), less.len_with(value.len())),
                        (bytes.clone(), bytes.len())
                    );
                }
            }
            assert_eq!(set.search(b"zzz"), Some(Err(values.len())));
        }
    }

    #[test]
    fn no_bytes_make_reading_a_set_panic() {
        let sets = [build(2, &[b"ab", b"cd"]), build(0, &[b"", b"ab", b"abc"])];
        for set in sets {
            for at in 0..set.len() {
                for byte in [0, 1, 2, 7, 0x80, 0xff] {
                    let mut damaged = set.clone();
                    damaged[at] = byte;
                    for len in 0..=damaged.len() {
                        let Some(set) = Set::read_any(&damaged[..len]) else { continue };
                        assert!(set.count() > 0);
                        let _ =
                            (set.is_ordered(), set.search(b"ab"), set.value(set.count()), set.with(0, b"x"));
                    }
                }
            }
        }
    }
}

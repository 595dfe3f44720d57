//! Ranges of keys, by their ends.

use super::*;
use std::ops::{Bound, Range, RangeBounds, RangeFrom, RangeFull, RangeInclusive, RangeTo, RangeToInclusive};

/// A range of keys of type `K`: `..`, `a..b`, `a..=b`, `a..`, `..b`, `..=b` or `(Bound<Q>, Bound<Q>)`, whose
/// ends are any `Q` that implements [`Encode<K>`](Encode).
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a range of `{K}` keys",
    note = "expected `..`, `a..b`, `a..=b`, `a..`, `..b`, `..=b` or `(Bound, Bound)` of what can be stored as `{K}`"
)]
pub trait KeyRange<K: ?Sized> {
    /// The ends, encoded. A start after the end is passed on as it is; such a range holds no key.
    ///
    /// ```
    /// use mapleaf::codec::KeyRange;
    /// use std::ops::Bound::{Excluded, Included};
    ///
    /// let bounds = KeyRange::<u16>::to_bounds(&(1..9));
    /// assert_eq!(bounds, (Included(vec![0, 1]), Excluded(vec![0, 9])));
    /// ```
    fn to_bounds(&self) -> (Bound<Vec<u8>>, Bound<Vec<u8>>);
}

impl<K: ?Sized> KeyRange<K> for RangeFull {
    fn to_bounds(&self) -> (Bound<Vec<u8>>, Bound<Vec<u8>>) {
        (Bound::Unbounded, Bound::Unbounded)
    }
}

macro_rules! ranges {
    ($($Range:ty),+) => {$(
        impl<K: ?Sized, Q: Encode<K>> KeyRange<K> for $Range {
            fn to_bounds(&self) -> (Bound<Vec<u8>>, Bound<Vec<u8>>) {
                (encode_bound(self.start_bound()), encode_bound(self.end_bound()))
            }
        }
    )+};
}

ranges!(Range<Q>, RangeInclusive<Q>, RangeFrom<Q>, RangeTo<Q>, RangeToInclusive<Q>, (Bound<Q>, Bound<Q>));

fn encode_bound<K: ?Sized, Q: Encode<K>>(bound: Bound<&Q>) -> Bound<Vec<u8>> {
    bound.map(|key| key.encode().as_ref().to_vec())
}

/// The smallest string of bytes above every string that starts with `prefix`; `None` if there is none, which
/// is when `prefix` is empty or all `ff`.
pub(crate) fn prefix_end(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != 0xff)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}

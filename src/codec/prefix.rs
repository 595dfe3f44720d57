//! Ranges of keys that begin alike.
//!
//! Owns: [`Prefix`]. It rests on two promises of the codecs: the encoding of a tuple is the part forms of its
//! elements in turn, and no part form is a proper prefix of another. So the keys whose first elements are
//! these are just those whose bytes begin with the part forms of these.

use super::{KeyRange, prefix_end};
use std::ops::Bound;

/// The range of keys that begin with this: text or bytes for keys of text or bytes, `("a",)` or `("a", 7)`
/// for tuples and derived keys that have more elements than this. For whatever takes a [`KeyRange`]: `range`,
/// `count`, `delete_range`, …
///
/// Of a tuple only whole elements count: `Prefix(("a",))` does not take in `("ab", 1)`. There is no other way
/// to write that range where the next element is text, which has no greatest value. Its ends are the encoded
/// elements, so it costs no more than any range.
///
/// ```
/// use mapleaf::{Database, Prefix, Table};
/// const FILES: Table<(String, String), u64> = Table::new("files");
/// const WORDS: Table<str, u64> = Table::new("words");
/// # let db = Database::temporary()?;
/// let mut w = db.begin_write()?;
/// for (directory, name) in [("a", "x"), ("a", "y"), ("ab", "x"), ("b", "x")] {
///     w.put(FILES, &(directory, name), &1)?;
///     w.put(WORDS, directory, &1)?;
/// }
/// assert_eq!(w.count(FILES, Prefix(("a",)))?, 2);
/// assert_eq!(w.count(WORDS, Prefix("a"))?, 2); // "a" and "ab"
/// # Ok::<_, mapleaf::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix<P>(pub P);

/// What keys of type `K` can begin with; see [`Prefix`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not the beginning of a `{K}` key",
    note = "of a tuple or a derived key expected is a shorter tuple, of one element `(a,)`; of text, text"
)]
pub trait EncodePrefix<K: ?Sized> {
    /// Appends to `out` what the encoding, plain form, of every such key begins with, and of no other.
    fn encode_prefix(&self, out: &mut Vec<u8>);
}

impl<K: ?Sized, P: EncodePrefix<K>> KeyRange<K> for Prefix<P> {
    fn to_bounds(&self) -> (Bound<Vec<u8>>, Bound<Vec<u8>>) {
        let mut prefix = Vec::new();
        self.0.encode_prefix(&mut prefix);
        let end = prefix_end(&prefix).map_or(Bound::Unbounded, Bound::Excluded);
        (Bound::Included(prefix), end)
    }
}

//! The keys of a range, without the values.
//!
//! Owns: [`Keys`]. A step is that of the [`Range`] below it, but that the value stays as the leaf holds it.

use super::{Range, decode_error};
use crate::codec::{Codec, Key};
use crate::error::Result;
use crate::page::Pair;

/// Iterator over the keys of a range, from either end. After an error it gives nothing more. See [`Range::keys`].
pub struct Keys<'t, K: Codec + ?Sized, V: Codec + ?Sized> {
    range: Range<'t, K, V>,
}

impl<'t, K: Key + ?Sized, V: Codec + ?Sized> Range<'t, K, V> {
    /// What is left of the range, keys only: values are not decoded, and large ones not read. A step costs what a step of
    /// the range does, where values are small, and `nth`, `count` and `last` jump as its do.
    ///
    /// ```
    /// # use mapleaf::{Database, Table};
    /// const IMAGES: Table<str, [u8]> = Table::new("images");
    /// # let db = Database::temporary()?;
    /// # db.write(|w| { w.put(IMAGES, "cat", &[7; 50_000])?; w.put(IMAGES, "dog", &[8; 50_000]) })?;
    /// let r = db.begin_read()?;
    /// let names: Vec<&str> = r.iter(IMAGES)?.keys().collect::<Result<_, _>>()?;
    /// assert_eq!(names, ["cat", "dog"]);
    /// # Ok::<_, mapleaf::Error>(())
    /// ```
    pub fn keys(self) -> Keys<'t, K, V> {
        Keys { range: self }
    }
}

impl<'t, K: Key + ?Sized, V: Codec + ?Sized> Range<'t, K, V> {
    fn next_key(&mut self) -> Option<Result<K::View<'t>>> {
        let step = self.again.take().map_or_else(|| self.step(), |error| Err(*error));
        self.key(step)
    }

    fn next_key_back(&mut self) -> Option<Result<K::View<'t>>> {
        let step = self.again.take().map_or_else(|| self.step_back(), |error| Err(*error));
        self.key(step)
    }

    fn key(&mut self, step: Result<Option<Pair<'t>>>) -> Option<Result<K::View<'t>>> {
        let decode = |(key, _)| K::decode(key).map_err(|error| decode_error("key", error));
        let key = step.transpose()?.and_then(decode);
        if key.is_err() {
            self.end();
        }
        Some(key)
    }
}

impl<'t, K: Key + ?Sized, V: Codec + ?Sized> Iterator for Keys<'t, K, V> {
    type Item = Result<K::View<'t>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.range.next_key()
    }

    fn nth(&mut self, n: usize) -> Option<Self::Item> {
        self.range.jump(n, Range::next_key)
    }

    fn count(self) -> usize {
        self.range.count()
    }

    fn last(mut self) -> Option<Self::Item> {
        self.next_back()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.range.size_hint()
    }
}

impl<K: Key + ?Sized, V: Codec + ?Sized> DoubleEndedIterator for Keys<'_, K, V> {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.range.next_key_back()
    }

    fn nth_back(&mut self, n: usize) -> Option<Self::Item> {
        self.range.jump_back(n, Range::next_key_back)
    }
}

impl<K: Key + ?Sized, V: Codec + ?Sized> std::iter::FusedIterator for Keys<'_, K, V> {}

impl<K: Codec + ?Sized, V: Codec + ?Sized> std::fmt::Debug for Keys<'_, K, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Keys of {:?}", self.range)
    }
}

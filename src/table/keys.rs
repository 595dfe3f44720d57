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
    /// the range does, where values are small.
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

impl<'t, K: Key + ?Sized, V: Codec + ?Sized> Keys<'t, K, V> {
    fn finish(&mut self, step: Result<Option<Pair<'t>>>) -> Option<Result<K::View<'t>>> {
        let key =
            step.transpose()?.and_then(|(key, _)| K::decode(key).map_err(|error| decode_error("key", error)));
        if key.is_err() {
            self.range.end();
        }
        Some(key)
    }
}

impl<'t, K: Key + ?Sized, V: Codec + ?Sized> Iterator for Keys<'t, K, V> {
    type Item = Result<K::View<'t>>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let step = self.range.step();
        self.finish(step)
    }
}

impl<K: Key + ?Sized, V: Codec + ?Sized> DoubleEndedIterator for Keys<'_, K, V> {
    #[inline]
    fn next_back(&mut self) -> Option<Self::Item> {
        let step = self.range.step_back();
        self.finish(step)
    }
}

impl<K: Key + ?Sized, V: Codec + ?Sized> std::iter::FusedIterator for Keys<'_, K, V> {}

impl<K: Codec + ?Sized, V: Codec + ?Sized> std::fmt::Debug for Keys<'_, K, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Keys of {:?}", self.range)
    }
}

//! Reading values in part.

use super::TableView;
use crate::codec::{Codec, Encode, Key};
use crate::error::Result;
use crate::page::Stored;
use std::ops::{Bound, Range, RangeBounds};

impl<'t, K: Key + ?Sized, V: Codec + ?Sized> TableView<'t, K, V> {
    /// Length in bytes of the encoded value at `key`. O(log n); a large value is not read.
    ///
    /// ```
    /// # use mapleaf::{Database, Table};
    /// const FILES: Table<str, [u8]> = Table::new("files");
    /// # let db = Database::temporary()?;
    /// db.write(|w| w.put(FILES, "zeros", &vec![0; 1_000_000]))?;
    /// assert_eq!(db.begin_read()?.value_len(FILES, "zeros")?, Some(1_000_000));
    /// # Ok::<_, mapleaf::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Corrupt` where a page on the path is damaged.
    pub fn value_len(&self, key: &(impl Encode<K> + ?Sized)) -> Result<Option<u64>> {
        let found = self.source.find(&self.tree, key.encode().as_ref())?;
        Ok(found.map(|stored| stored_len(&stored)))
    }

    /// Part of the encoded value at `key`, without a copy: the bytes of `part` that it has, none where it begins behind the
    /// value's end. `None` when there is no entry.
    ///
    /// Of a value of more than 16 pages only the chunks are touched that the part lies in, 64 KiB each up to 1 GiB (beyond
    /// that they grow with the root of the length), and when they are read for the first time, to verify them, a table of
    /// four bytes a chunk. Of a shorter one all is verified at first touch.
    ///
    /// ```
    /// # use mapleaf::{Database, Table};
    /// const FILES: Table<str, [u8]> = Table::new("files");
    /// # let db = Database::temporary()?;
    /// db.write(|w| w.put(FILES, "count", &[1, 2, 3, 4]))?;
    /// let r = db.begin_read()?;
    /// assert_eq!(r.get_part(FILES, "count", 1..3)?, Some(&[2, 3][..]));
    /// assert_eq!(r.get_part(FILES, "count", 3..)?, Some(&[4][..]));
    /// assert_eq!(r.get_part(FILES, "count", 9..99)?, Some(&[][..]));
    /// assert_eq!(r.get_part(FILES, "nothing", ..)?, None);
    /// # Ok::<_, mapleaf::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Corrupt` where a page on the path, or a chunk that the part lies in, is damaged.
    pub fn get_part(
        &self,
        key: &(impl Encode<K> + ?Sized),
        part: impl RangeBounds<u64>,
    ) -> Result<Option<&'t [u8]>> {
        let Some(stored) = self.source.find(&self.tree, key.encode().as_ref())? else { return Ok(None) };
        let part = within(&part, stored_len(&stored));
        match stored {
            Stored::Inline(value) => Ok(Some(&value[part.start as usize..part.end as usize])),
            Stored::Overflow(run) => self.source.overflow_part(&run, part).map(Some),
        }
    }
}

fn stored_len(stored: &Stored<'_>) -> u64 {
    match stored {
        Stored::Inline(value) => value.len() as u64,
        Stored::Overflow(run) => run.len,
    }
}

/// What of the range lies within `len` bytes.
fn within(part: &impl RangeBounds<u64>, len: u64) -> Range<u64> {
    let start = match part.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(before) => before.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match part.end_bound() {
        Bound::Included(last) => last.saturating_add(1),
        Bound::Excluded(end) => *end,
        Bound::Unbounded => len,
    };
    let end = end.min(len);
    start.min(end)..end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_of_any_kind_is_cut_to_the_value() {
        assert_eq!(within(&(2..5), 4), 2..4);
        assert_eq!(within(&(..), 4), 0..4);
        assert_eq!(within(&(1..=2), 4), 1..3);
        assert_eq!(within(&(0..=u64::MAX), 4), 0..4);
        assert_eq!(within(&(4..), 4), 4..4);
        assert_eq!(within(&(u64::MAX..), 4), 4..4);
        #[allow(clippy::reversed_empty_ranges)]
        let reversed = 3..1;
        assert!(within(&reversed, 4).is_empty());
        assert_eq!(within(&(Bound::Excluded(u64::MAX), Bound::Unbounded), 4), 4..4);
    }
}

//! Reading values in part.
//!
//! Owns: [`TableView::get_part`] and its kind, [`ValueReader`]. Promises: of a value with a table of checksums nothing is
//! touched but that table and the chunks that were asked for. Leaves to others: which chunks there are
//! ([`crate::chunks`]) and judging them ([`crate::snapshot`]).

use super::TableView;
use crate::codec::{Codec, Encode, Key};
use crate::error::Result;
use crate::page::Stored;
use crate::tree::search::{SourceObject, resolve};
use std::io::{self, Read, Seek, SeekFrom};
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
        Ok(self.place(key)?.map(|place| place.len))
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
        let Some(place) = self.place(key)? else { return Ok(None) };
        place.part(within(&part, place.len)).map(Some)
    }

    /// The encoded value at `key` as an [`io::Read`] and [`io::Seek`], for code that wants one; what is read is copied.
    /// `None` when there is no entry. Touches what [`TableView::get_part`] of the same bytes would.
    ///
    /// ```
    /// # use mapleaf::{Database, Table};
    /// use std::io::{Read, Seek, SeekFrom};
    /// const FILES: Table<str, [u8]> = Table::new("files");
    /// # let db = Database::temporary()?;
    /// db.write(|w| w.put(FILES, "poem", b"tyger, tyger, burning bright"))?;
    /// let r = db.begin_read()?;
    /// let mut poem = r.value_reader(FILES, "poem")?.expect("it was just put");
    /// let mut end = String::new();
    /// poem.seek(SeekFrom::End(-6)).unwrap();
    /// poem.read_to_string(&mut end).unwrap();
    /// assert_eq!(end, "bright");
    /// # Ok::<_, mapleaf::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Corrupt` where a page on the path is damaged. Reading has errors of its own, which hold an
    /// [`Error`](crate::Error).
    pub fn value_reader(&self, key: &(impl Encode<K> + ?Sized)) -> Result<Option<ValueReader<'t>>> {
        Ok(self.place(key)?.map(|place| ValueReader { place, at: 0 }))
    }

    fn place(&self, key: &(impl Encode<K> + ?Sized)) -> Result<Option<Place<'t>>> {
        let Some(stored) = self.source.find(&self.tree, key.encode().as_ref())? else { return Ok(None) };
        let len = match stored {
            Stored::Overflow(run) => run.len,
            inline => resolve(self.source, inline)?.len() as u64,
        };
        Ok(Some(Place { source: self.source, stored, len }))
    }
}

/// Where a value is.
#[derive(Clone, Copy)]
struct Place<'t> {
    source: &'t SourceObject<'t>,
    stored: Stored<'t>,
    len: u64,
}

impl<'t> Place<'t> {
    /// These bytes, which it has.
    fn part(&self, part: Range<u64>) -> Result<&'t [u8]> {
        match self.stored {
            Stored::Overflow(run) => self.source.overflow_part(&run, part),
            inline => Ok(&resolve(self.source, inline)?[part.start as usize..part.end as usize]),
        }
    }
}

/// Reads a value from any place in it on. See [`TableView::value_reader`].
#[derive(Clone)]
pub struct ValueReader<'t> {
    place: Place<'t>,
    at: u64,
}

impl ValueReader<'_> {
    /// Length of the whole value in bytes.
    pub fn len(&self) -> u64 {
        self.place.len
    }

    /// Whether the value has no bytes.
    pub fn is_empty(&self) -> bool {
        self.place.len == 0
    }
}

impl Read for ValueReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let end = self.place.len.min(self.at.saturating_add(buffer.len() as u64));
        let part = self.place.part(self.at.min(end)..end).map_err(io::Error::other)?;
        buffer[..part.len()].copy_from_slice(part);
        self.at += part.len() as u64;
        Ok(part.len())
    }
}

/// A position behind the end is allowed; nothing is read there.
impl Seek for ValueReader<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let (from, offset) = match to {
            SeekFrom::Start(at) => (at, 0),
            SeekFrom::End(offset) => (self.place.len, offset),
            SeekFrom::Current(offset) => (self.at, offset),
        };
        let before =
            || io::Error::new(io::ErrorKind::InvalidInput, "seek to before the first byte of a value");
        self.at = from.checked_add_signed(offset).ok_or_else(before)?;
        Ok(self.at)
    }
}

impl std::fmt::Debug for ValueReader<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ValueReader at byte {} of {}", self.at, self.place.len)
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

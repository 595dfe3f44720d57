//! Parts of a table by count: ranges of equal size for threads that work side by side, and entries drawn at random.

use super::{KeyValue, Range, TableView, high_place, low_place};
use crate::codec::{Codec, Key, KeyRange};
use crate::error::{Error, Result};
use crate::tree::cursor::{Cursor, Place, rank};
use std::collections::BTreeSet;
use std::ops::Bound;

impl<'t, K: Key + ?Sized, V: Codec + ?Sized> TableView<'t, K, V> {
    /// Divides the entries with keys in `range` into `parts` ranges, in order, whose numbers of entries differ by one
    /// at most; together they give what [`TableView::range`] gives. O(parts · log n). Views and ranges may be sent to
    /// other threads, those of a write txn that is not committed too:
    ///
    /// ```
    /// # use mapleaf::{Database, Table};
    /// const SALES: Table<u64, u64> = Table::new("sales");
    /// # let db = Database::temporary()?;
    /// let mut w = db.begin_write()?;
    /// for id in 0..10_000 {
    ///     w.put(SALES, &id, &(id % 7))?;
    /// }
    /// let parts = w.split(SALES, .., 4)?;
    /// let sum = |part: mapleaf::Range<'_, u64, u64>| part.map(|entry| Ok(entry?.1)).sum::<mapleaf::Result<u64>>();
    /// let sums: Vec<_> = std::thread::scope(|s| {
    ///     let threads: Vec<_> = parts.into_iter().map(|part| s.spawn(move || sum(part))).collect();
    ///     threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    /// });
    /// assert_eq!(sums.into_iter().sum::<mapleaf::Result<u64>>()?, 29_994);
    /// # Ok::<_, mapleaf::Error>(())
    /// ```
    ///
    /// # Errors
    /// `InvalidArgument` for no parts; `Corrupt` where a page on the way to a border is damaged.
    pub fn split(&self, range: impl KeyRange<K>, parts: usize) -> Result<Vec<Range<'t, K, V>>> {
        if parts == 0 {
            return Err(Error::invalid("a range is split into one part at least"));
        }
        let (low, high) = range.to_bounds();
        let first = rank(self.source, &self.tree, low_place(&low))?;
        let count = rank(self.source, &self.tree, high_place(&high))?.saturating_sub(first);
        if count == 0 {
            return Ok((0..parts).map(|_| self.between(low.clone(), high.clone())).collect());
        }
        let (mut ranges, mut start, mut border) = (Vec::new(), low, Vec::new());
        let mut border_at = None;
        for part in 1..parts {
            let at = first + (u128::from(count) * part as u128 / parts as u128) as u64;
            if border_at.replace(at) != Some(at) {
                border = self.border(at, &start)?;
            }
            let low = std::mem::replace(&mut start, Bound::Included(border.clone()));
            ranges.push(self.between(low, Bound::Excluded(border.clone())));
        }
        ranges.push(self.between(start, high));
        Ok(ranges)
    }

    /// The key with this rank, which must not lie before `low`.
    fn border(&self, at: u64, low: &Bound<Vec<u8>>) -> Result<Vec<u8>> {
        let (key, _) = Cursor::new(self.source, &self.tree, Place::Rank(at))?
            .next()?
            .ok_or_else(|| self.miscounted())?;
        match low {
            Bound::Included(low) | Bound::Excluded(low) if key < &low[..] => Err(self.miscounted()),
            _ => Ok(key.to_vec()),
        }
    }

    /// Draws `n` entries, each time any of all with the same chance, so that one may come more than once. O(n log n).
    /// `below(m)` must give a random number from 0 to `m - 1`, all with the same chance.
    ///
    /// ```
    /// # use mapleaf::{Database, Table};
    /// use rand::Rng;
    /// const USERS: Table<u64, str> = Table::new("users");
    /// # let db = Database::temporary()?;
    /// # db.write(|w| (0..100).try_for_each(|id| w.put(USERS, &id, "someone").map(drop)))?;
    /// let r = db.begin_read()?;
    /// let drawn = r.sample(USERS, 5, |below| rand::rng().random_range(0..below))?;
    /// assert_eq!(drawn.len(), 5); // None of an empty table.
    /// # Ok::<_, mapleaf::Error>(())
    /// ```
    ///
    /// # Errors
    /// `InvalidArgument` where `below` gives a number that is too large; `Corrupt`, `Decode`.
    pub fn sample(&self, n: usize, mut below: impl FnMut(u64) -> u64) -> Result<Vec<KeyValue<'t, K, V>>> {
        let n = if self.is_empty() { 0 } else { n };
        (0..n).map(|_| self.drawn(draw(&mut below, self.len())?)).collect()
    }

    /// Draws `n` different entries, any such set with the same chance, or all if there are no more; in order of their
    /// keys. O(n log n). `below` is that of [`TableView::sample`]. By the algorithm of Floyd (Bentley and Floyd, 1987).
    ///
    /// # Errors
    /// Those of [`TableView::sample`].
    pub fn sample_distinct(
        &self,
        n: usize,
        below: impl FnMut(u64) -> u64,
    ) -> Result<Vec<KeyValue<'t, K, V>>> {
        distinct_ranks(n, self.len(), below)?.into_iter().map(|rank| self.drawn(rank)).collect()
    }

    fn drawn(&self, rank: u64) -> Result<KeyValue<'t, K, V>> {
        self.nth(rank)?.ok_or_else(|| self.miscounted())
    }

    pub(super) fn miscounted(&self) -> Error {
        Error::corrupt(self.tree.root.page, "counts in the branches do not agree with what is below them")
    }
}

/// So many different numbers below `len`, or all, in order; any such set with the same chance.
pub fn distinct_ranks(n: usize, len: u64, mut below: impl FnMut(u64) -> u64) -> Result<BTreeSet<u64>> {
    let mut ranks = BTreeSet::new();
    for last in len.saturating_sub(n as u64)..len {
        let rank = draw(&mut below, last + 1)?;
        if !ranks.insert(rank) {
            ranks.insert(last);
        }
    }
    Ok(ranks)
}

/// A number below `end`.
pub fn draw(below: &mut impl FnMut(u64) -> u64, end: u64) -> Result<u64> {
    match below(end) {
        rank if rank < end => Ok(rank),
        rank => Err(Error::invalid(format!("{rank} was drawn, where a number below {end} was asked for"))),
    }
}

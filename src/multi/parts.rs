//! Parts of a multimap: ranges of equal count, and samples.

use super::{MultiView, Pairs};
use crate::codec::{Key, KeyRange};
use crate::error::{Error, Result};
use crate::table::KeyValue;
use crate::table::split::{distinct_ranks, draw};

impl<'t, K: Key + ?Sized, V: Key + ?Sized> MultiView<'t, K, V> {
    /// Divides the pairs with keys in `range` into `parts`, in order, whose numbers of pairs differ by one at most;
    /// together they give what [`MultiView::range`] gives. The values of a key may be in two of them, or more.
    /// O(parts · log n). They may be sent to other threads, those of a write txn that is not committed too.
    ///
    /// ```
    /// # use mapleaf::{Database, MultiTable};
    /// const TAGS: MultiTable<str, u64> = MultiTable::new("tags");
    /// # let db = Database::temporary()?;
    /// db.write(|w| (0..1000).try_for_each(|id| w.put_value(TAGS, "new", &id).map(drop)))?;
    /// let r = db.begin_read()?;
    /// let parts = r.multi(TAGS)?.split(.., 4)?;
    /// assert_eq!(parts.into_iter().map(Iterator::count).collect::<Vec<_>>(), [250; 4]);
    /// # Ok::<_, mapleaf::Error>(())
    /// ```
    ///
    /// # Errors
    /// `InvalidArgument` for no parts; `Corrupt` where a page on the way to a border is damaged.
    pub fn split(&self, range: impl KeyRange<K>, parts: usize) -> Result<Vec<Pairs<'t, K, V>>> {
        if parts == 0 {
            return Err(Error::invalid("a range is split into one part at least"));
        }
        let (low, high) = range.to_bounds();
        let pairs =
            || Pairs { groups: self.groups_between(low.clone(), high.clone()), front: None, back: None };
        let count = pairs().left()?;
        let border = |part: usize| (u128::from(count) * part as u128 / parts as u128) as u64;
        let part = |part: usize| {
            let mut pairs = pairs();
            pairs.skip_over(border(part), true)?;
            pairs.skip_over(count - border(part + 1), false)?;
            Ok(pairs)
        };
        (0..parts).map(part).collect()
    }

    /// Draws `n` pairs, each time any of all with the same chance, so that one may come more than once; see
    /// [`TableView::sample`](crate::TableView::sample). O(n log n).
    ///
    /// # Errors
    /// `InvalidArgument` where `below` gives a number that is too large; `Corrupt`, `Decode`.
    pub fn sample(&self, n: usize, mut below: impl FnMut(u64) -> u64) -> Result<Vec<KeyValue<'t, K, V>>> {
        let n = if self.is_empty() { 0 } else { n };
        (0..n).map(|_| self.drawn(draw(&mut below, self.len())?)).collect()
    }

    /// Draws `n` different pairs, any such set with the same chance, or all if there are no more; in order. See
    /// [`TableView::sample_distinct`](crate::TableView::sample_distinct). O(n log n).
    ///
    /// # Errors
    /// Those of [`MultiView::sample`].
    pub fn sample_distinct(
        &self,
        n: usize,
        below: impl FnMut(u64) -> u64,
    ) -> Result<Vec<KeyValue<'t, K, V>>> {
        distinct_ranks(n, self.len(), below)?.into_iter().map(|rank| self.drawn(rank)).collect()
    }

    fn drawn(&self, rank: u64) -> Result<KeyValue<'t, K, V>> {
        let miscounted = "counts in the branches do not agree with what is below them";
        self.nth(rank)?.ok_or_else(|| Error::corrupt(self.tree.root.page, miscounted))
    }
}

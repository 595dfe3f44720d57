//! Reading cursors: a place in a table that goes where it is sent.
//!
//! Owns: [`Cursor`]. Promises: where it stands after each call is what the table in its docs says; the same
//! holds for [`CursorMut`](crate::CursorMut). Leaves to others: iterating, which [`Range`](super::Range) does faster.

use super::{KeyValue, TableView, decoded};
use crate::codec::{Codec, Encode, Key};
use crate::error::{Error, Result};
use crate::page::Pair;
use crate::tree::cursor::{Cursor as Between, Place};
use crate::tree::search::SourceObject;

/// A place in a table: on an entry, or between two.
///
/// It reads either way and searches, and keeps what it borrows from the txn as long as the txn is not
/// changed. A new one stands before the first entry, so that `next` begins there:
///
/// ```
/// # use mapleaf::{Database, Table};
/// const USERS: Table<u64, str> = Table::new("users");
/// # let db = Database::temporary()?;
/// # db.write(|w| { w.put(USERS, &3, "ann")?; w.put(USERS, &5, "bob")?; w.put(USERS, &8, "cid").map(|_| ()) })?;
/// let r = db.begin_read()?;
/// let mut cursor = r.cursor(USERS)?;
/// assert_eq!(cursor.next()?, Some((3, "ann")));
/// assert_eq!(cursor.seek_ge(&4)?, Some((5, "bob")));
/// assert_eq!(cursor.next()?, Some((8, "cid")));
/// assert_eq!(cursor.next()?, None);               // it stands behind the last one now
/// assert_eq!(cursor.previous()?, Some((8, "cid")));
/// # Ok::<_, mapleaf::Error>(())
/// ```
///
/// # Where it stands
///
/// | after | it stands | `current()` gives |
/// |---|---|---|
/// | it was made | before the first entry | `None` |
/// | `first`, `last`, `next`, `previous` or a seek that returned an entry | on that entry | it |
/// | `next` or `last` that returned `None` | behind the last entry | `None` |
/// | `previous` or `first` that returned `None` | before the first entry | `None` |
/// | `seek_ge`, `seek_gt` that found nothing | behind the last entry | `None` |
/// | `seek_le`, `seek_lt` that found nothing | before the first entry | `None` |
/// | `seek_exact` that found nothing | between the entries where the key would be | `None` |
/// | `Error::Decode` | on the entry that is not of these types | the same error |
/// | any other error | where it stood | what it gave before, if that can be read |
///
/// `next` always gives the first entry behind the place, `previous` the last one before it. In an empty table all
/// places are one. There is no wrapping around, and nothing is skipped.
///
/// # Cost
/// A seek reads one page a level; a step within a leaf that leaf alone, and one to the next leaf as a rule two pages. A
/// step within a leaf takes as many instructions as one of [`Range`](super::Range) (44 and 42 for numbers), but a range
/// knows where it ends, counts, skips and splits, and is an iterator: to go through entries take a range, to go where
/// the entries say take a cursor.
pub struct Cursor<'t, K: ?Sized, V: ?Sized> {
    view: TableView<'t, K, V>,
    /// Nowhere until it is first used.
    place: Between<'t, SourceObject<'t>>,
    stand: Stand,
}

/// Where a cursor stands beside the place that it has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stand {
    /// Between the two entries.
    Between,
    /// On the entry before the place: the same leaf has it.
    Before,
    /// On the entry behind the place: the same leaf has it.
    Behind,
}

impl<K: ?Sized, V: ?Sized> std::fmt::Debug for Cursor<'_, K, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Cursor in {:?}", self.view)
    }
}

impl<'t, K: Key + ?Sized, V: Codec + ?Sized> Cursor<'t, K, V> {
    pub(crate) fn new(view: TableView<'t, K, V>) -> Result<Self> {
        let place = view.walk(Place::Start)?;
        Ok(Cursor { view, place, stand: Stand::Between })
    }

    /// The entry that it stands on; `None` where it stands on none.
    ///
    /// # Errors
    /// `Corrupt`, `Decode`.
    pub fn current(&self) -> Result<Option<KeyValue<'t, K, V>>> {
        let at = self.place.entries.at();
        let pair = match self.stand {
            Stand::Between => return Ok(None),
            Stand::Before => self.place.entries.entry(at - 1)?,
            Stand::Behind => self.place.entries.entry(at)?,
        };
        self.view.decode(pair).map(Some)
    }

    /// On to the first entry.
    ///
    /// # Errors
    /// `Corrupt`, `Decode`.
    pub fn first(&mut self) -> Result<Option<KeyValue<'t, K, V>>> {
        self.seek(Place::Start, true)
    }

    /// On to the last entry.
    ///
    /// # Errors
    /// `Corrupt`, `Decode`.
    pub fn last(&mut self) -> Result<Option<KeyValue<'t, K, V>>> {
        self.seek(Place::End, false)
    }

    /// On to the next entry.
    ///
    /// # Errors
    /// `Corrupt`, `Decode`.
    #[expect(clippy::should_implement_trait, reason = "it can fail, and goes on after it has ended")]
    #[inline]
    pub fn next(&mut self) -> Result<Option<KeyValue<'t, K, V>>> {
        let entries = &mut self.place.entries;
        if self.stand == Stand::Behind {
            entries.forward();
            self.stand = Stand::Before;
        }
        if let Some(entry) = entries.behind().and_then(decoded::<K, V>) {
            entries.forward();
            self.stand = Stand::Before;
            return Ok(Some(entry));
        }
        let pair = self.step(true)?;
        self.stand_on(pair, true)
    }

    /// Back to the entry before.
    ///
    /// # Errors
    /// `Corrupt`, `Decode`.
    #[inline]
    pub fn previous(&mut self) -> Result<Option<KeyValue<'t, K, V>>> {
        let entries = &mut self.place.entries;
        if self.stand == Stand::Before {
            entries.backward();
            self.stand = Stand::Behind;
        }
        if let Some(entry) = entries.before().and_then(decoded::<K, V>) {
            entries.backward();
            self.stand = Stand::Behind;
            return Ok(Some(entry));
        }
        let pair = self.step(false)?;
        self.stand_on(pair, false)
    }

    /// To the first entry whose key is `key` or above. O(log n).
    ///
    /// # Errors
    /// `Corrupt`, `Decode`.
    pub fn seek_ge(&mut self, key: &(impl Encode<K> + ?Sized)) -> Result<Option<KeyValue<'t, K, V>>> {
        self.seek(Place::AtLeast(key.encode().as_ref()), true)
    }

    /// To the first entry whose key is above `key`. O(log n).
    ///
    /// # Errors
    /// `Corrupt`, `Decode`.
    pub fn seek_gt(&mut self, key: &(impl Encode<K> + ?Sized)) -> Result<Option<KeyValue<'t, K, V>>> {
        self.seek(Place::Above(key.encode().as_ref()), true)
    }

    /// To the last entry whose key is `key` or below. O(log n).
    ///
    /// # Errors
    /// `Corrupt`, `Decode`.
    pub fn seek_le(&mut self, key: &(impl Encode<K> + ?Sized)) -> Result<Option<KeyValue<'t, K, V>>> {
        self.seek(Place::Above(key.encode().as_ref()), false)
    }

    /// To the last entry whose key is below `key`. O(log n).
    ///
    /// # Errors
    /// `Corrupt`, `Decode`.
    pub fn seek_lt(&mut self, key: &(impl Encode<K> + ?Sized)) -> Result<Option<KeyValue<'t, K, V>>> {
        self.seek(Place::AtLeast(key.encode().as_ref()), false)
    }

    /// To the entry at `key`. Where there is none it stands where it would be: `next` gives the first entry above the
    /// key, `previous` the last one below. O(log n).
    ///
    /// # Errors
    /// `Corrupt`, `Decode`.
    pub fn seek_exact(&mut self, key: &(impl Encode<K> + ?Sized)) -> Result<Option<KeyValue<'t, K, V>>> {
        let key = key.encode();
        let place = self.view.walk(Place::AtLeast(key.as_ref()))?;
        let at = place.entries.at();
        let is_there = at < place.entries.count() && place.entries.key(at)? == key.as_ref();
        self.place = place;
        self.stand = if is_there { Stand::Behind } else { Stand::Between };
        self.current()
    }

    /// To `place`, and from there to the entry behind or before it.
    fn seek(&mut self, place: Place<'_>, forward: bool) -> Result<Option<KeyValue<'t, K, V>>> {
        let mut place = self.view.walk(place)?;
        let pair = if forward { place.next()? } else { place.previous()? };
        self.place = place;
        self.stand_on(pair, forward)
    }

    fn stand_on(&mut self, pair: Option<Pair<'t>>, forward: bool) -> Result<Option<KeyValue<'t, K, V>>> {
        self.stand = match pair {
            None => Stand::Between,
            Some(_) if forward => Stand::Before,
            Some(_) => Stand::Behind,
        };
        pair.map(|pair| self.view.decode(pair)).transpose()
    }

    /// A step over the next entry, wherever it is; the place stays where it is on an error.
    #[cold]
    fn step(&mut self, forward: bool) -> Result<Option<Pair<'t>>> {
        let entries = &mut self.place.entries;
        let at = entries.at();
        match if forward { entries.next() } else { entries.previous() } {
            Some(Err(error)) => {
                if forward {
                    entries.backward()
                } else {
                    entries.forward()
                }
                Err(error)
            }
            Some(Ok(pair)) => Ok(Some(pair)),
            None if self.view.tree.is_empty() => Ok(None),
            None if entries.count() == 0 => Err(self.lost()),
            None => {
                let key = entries.key(at - usize::from(forward))?;
                let result = if forward { self.place.next() } else { self.place.previous() };
                result.inspect_err(|_| self.return_to(key, forward))
            }
        }
    }

    #[cold]
    fn lost(&self) -> Error {
        Error::corrupt(
            self.view.tree.root.page,
            "the way back to where the cursor stood cannot be read; seek anew",
        )
    }

    /// Back to the end of a leaf that begins or ends with this key, on an error behind it.
    #[cold]
    fn return_to(&mut self, key: &[u8], forward: bool) {
        let place = if forward { Place::Above(key) } else { Place::AtLeast(key) };
        let nowhere = || Between::nowhere(self.view.source, &self.view.tree);
        self.place = self.view.walk(place).unwrap_or_else(|_| nowhere());
        if self.place.entries.count() == 0 {
            self.stand = Stand::Between;
        }
    }
}

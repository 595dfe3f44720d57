//! Tables: the typed name of one, and reading it.
//!
//! Owns: [`Table`], [`TableView`] and [`Range`]. A view is the same over a snapshot and over a write
//! txn; what it returns borrows from either, for as long as it is not changed.

pub(crate) mod cursor;
mod keys;
mod large;
pub use keys::Keys;
mod jump;
pub(crate) mod split;
pub use large::ValueReader;

use crate::codec::{Codec, Encode, Key, KeyRange};
use crate::error::{Error, Result};
use crate::format::Schema;
use crate::page::{Entries, Pair, Stored};
use crate::snapshot::{Advice, PageSource};
use crate::tree::cursor::{Cursor, Place, rank};
use crate::tree::search::SourceObject;
use crate::tree::{Tree, search};
use std::any::TypeId;
use std::marker::PhantomData;
use std::ops::Bound;

/// Marks the types of a table, which holds none of their values.
pub(crate) type Types<K, V> = PhantomData<(fn(&K), fn(&V))>;

/// The name and the types of a table. A constant of the program; copying it costs nothing.
///
/// A table comes into being with the first put. Reading one that is not there finds nothing.
///
/// ```
/// use mapleaf::{Database, Table};
/// const USERS: Table<u64, str> = Table::new("users");
/// # fn main() -> mapleaf::Result<()> {
/// let db = Database::temporary()?;
/// db.write(|w| w.put(USERS, &7, "ann"))?;
/// assert_eq!(db.begin_read()?.get(USERS, &7)?, Some("ann"));
/// # Ok(()) }
/// ```
pub struct Table<K: ?Sized, V: ?Sized> {
    name: &'static str,
    types: Types<K, V>,
}

impl<K: ?Sized, V: ?Sized> Clone for Table<K, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K: ?Sized, V: ?Sized> Copy for Table<K, V> {}

impl<K: Key + ?Sized, V: Codec + ?Sized> std::fmt::Debug for Table<K, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Table {:?}: {}", self.name, schema_of::<K, V>())
    }
}

impl<K: Key + ?Sized, V: Codec + ?Sized> Table<K, V> {
    /// A table of this name, at most 512 bytes long. The empty name is the main table's, the one
    /// that dump and load use when none is named.
    pub const fn new(name: &'static str) -> Self {
        Table { name, types: PhantomData }
    }

    /// The table's name.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    pub(crate) fn type_id(&self) -> TypeId {
        TypeId::of::<Table<K, V>>()
    }
}

/// The schema that a table of these types is stored with.
pub(crate) fn schema_of<K: Key + ?Sized, V: Codec + ?Sized>() -> Schema {
    Schema {
        key_type: K::type_name().into_owned(),
        value_type: V::type_name().into_owned(),
        key_width: K::WIDTH,
        value_width: V::WIDTH,
        value_align: V::ALIGN,
        multi: false,
    }
}

/// One table, for reading: of a snapshot, or of a write txn as it is now.
pub struct TableView<'t, K: ?Sized, V: ?Sized> {
    source: &'t SourceObject<'t>,
    tree: Tree,
    advice: Advice,
    types: Types<K, V>,
}

impl<K: ?Sized, V: ?Sized> Clone for TableView<'_, K, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K: ?Sized, V: ?Sized> Copy for TableView<'_, K, V> {}

impl<K: ?Sized, V: ?Sized> std::fmt::Debug for TableView<'_, K, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TableView of {} entries", self.tree.len())
    }
}

impl<'t, K: Key + ?Sized, V: Codec + ?Sized> TableView<'t, K, V> {
    pub(crate) fn new(source: &'t SourceObject<'t>, tree: Tree) -> Self {
        TableView { source, tree, advice: source.advice(), types: PhantomData }
    }

    /// The value at `key`. O(log n): one page a level.
    ///
    /// # Errors
    /// `Corrupt` where a page on the path is damaged, `Decode` where the value is not a `V`.
    #[inline]
    pub fn get(&self, key: &(impl Encode<K> + ?Sized)) -> Result<Option<V::View<'t>>> {
        match self.source.find(&self.tree, key.encode().as_ref())? {
            None => Ok(None),
            Some(stored) => self.decode_value(stored).map(Some),
        }
    }

    /// The values at `keys`, in the order of the keys, which is any. O(n log n), but the searches wait for memory
    /// together: for keys that are not in the processor's caches several times as fast as [`TableView::get`] for each.
    ///
    /// ```
    /// # use mapleaf::{Database, Table};
    /// const USERS: Table<u64, str> = Table::new("users");
    /// # let db = Database::temporary()?;
    /// # db.write(|w| { w.put(USERS, &7, "ann")?; w.put(USERS, &9, "bob").map(|_| ()) })?;
    /// let r = db.begin_read()?;
    /// assert_eq!(r.get_many(USERS, &[9, 8, 7])?, [Some("bob"), None, Some("ann")]);
    /// # Ok::<_, mapleaf::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`TableView::get`] for one of the keys.
    pub fn get_many<Q: Encode<K>>(&self, keys: &[Q]) -> Result<Vec<Option<V::View<'t>>>> {
        let encoded: Vec<_> = keys.iter().map(Encode::encode).collect();
        let encoded: Vec<&[u8]> = encoded.iter().map(AsRef::as_ref).collect();
        let mut values = Vec::with_capacity(keys.len());
        self.source.find_all(&self.tree, &encoded, &mut |_, stored| {
            values.push(stored.map(|stored| self.decode_value(stored)).transpose()?);
            Ok(())
        })?;
        Ok(values)
    }

    /// Whether there is an entry at `key`; a large value is not read.
    ///
    /// # Errors
    /// `Corrupt` where a page on the path is damaged.
    pub fn contains(&self, key: &(impl Encode<K> + ?Sized)) -> Result<bool> {
        Ok(self.source.find(&self.tree, key.encode().as_ref())?.is_some())
    }

    /// Number of entries. O(1).
    pub fn len(&self) -> u64 {
        self.tree.len()
    }

    /// Whether there are no entries. O(1).
    pub fn is_empty(&self) -> bool {
        self.tree.is_empty()
    }

    /// The same table, whose scans ([`TableView::iter`], [`TableView::range`], [`TableView::split`],
    /// [`TableView::cursor`]) read by this [`Advice`]. Costs nothing.
    ///
    /// ```
    /// use mapleaf::{Advice, Database, Table};
    /// const USERS: Table<u64, str> = Table::new("users");
    /// # let db = Database::temporary()?;
    /// # db.write(|w| (0..1000).try_for_each(|id| w.put(USERS, &id, "someone").map(drop)))?;
    /// let r = db.begin_read()?;
    /// // A pass over all of it, beside which others' pages stay in memory.
    /// let longest = r.table(USERS)?.advised(Advice::Cold).iter().try_fold(0, |longest, user| {
    ///     user.map(|(_, name)| name.len().max(longest))
    /// })?;
    /// assert_eq!(longest, 7);
    /// # Ok::<_, mapleaf::Error>(())
    /// ```
    #[must_use]
    pub fn advised(mut self, advice: Advice) -> Self {
        self.advice = advice;
        self
    }

    /// A cursor of the tree at this place.
    pub(crate) fn walk(&self, place: Place<'_>) -> Result<Cursor<'t, SourceObject<'t>>> {
        Cursor::advised(self.source, &self.tree, place, self.advice)
    }

    /// All entries in order of their keys; from either end.
    pub fn iter(&self) -> Range<'t, K, V> {
        self.between(Bound::Unbounded, Bound::Unbounded)
    }

    /// The entries with keys in `range`, in order; from either end. Nothing is read before the first
    /// step. An empty or inverted range gives nothing.
    pub fn range(&self, range: impl KeyRange<K>) -> Range<'t, K, V> {
        let (low, high) = range.to_bounds();
        self.between(low, high)
    }

    pub(crate) fn between(&self, low: Bound<Vec<u8>>, high: Bound<Vec<u8>>) -> Range<'t, K, V> {
        let nowhere = || Cursor::nowhere(self.source, &self.tree);
        Range { view: *self, low, high, front: nowhere(), back: nowhere(), steps: Steps::None, again: None }
    }

    /// A cursor, which stands before the first entry. O(log n).
    ///
    /// # Errors
    /// `Corrupt` where a page on the way to the first entry is damaged.
    pub fn cursor(&self) -> Result<cursor::Cursor<'t, K, V>> {
        cursor::Cursor::new(*self)
    }

    /// The first entry. O(log n).
    ///
    /// # Errors
    /// `Corrupt`, `Decode`.
    pub fn first(&self) -> Result<Option<KeyValue<'t, K, V>>> {
        self.iter().next().transpose()
    }

    /// The last entry. O(log n).
    ///
    /// # Errors
    /// `Corrupt`, `Decode`.
    pub fn last(&self) -> Result<Option<KeyValue<'t, K, V>>> {
        let mut cursor = Cursor::new(self.source, &self.tree, Place::End)?;
        cursor.previous()?.map(|entry| self.decode(entry)).transpose()
    }

    /// The entry with this rank, counted from 0 in key order. O(log n).
    ///
    /// # Errors
    /// `Corrupt`, `Decode`.
    pub fn nth(&self, rank: u64) -> Result<Option<KeyValue<'t, K, V>>> {
        if rank >= self.len() {
            return Ok(None);
        }
        let mut cursor = Cursor::new(self.source, &self.tree, Place::Rank(rank))?;
        cursor.next()?.map(|entry| self.decode(entry)).transpose()
    }

    /// Number of entries with keys below `key`, whether or not it is there itself. O(log n).
    ///
    /// # Errors
    /// `Corrupt` where a page on the path is damaged.
    pub fn rank(&self, key: &(impl Encode<K> + ?Sized)) -> Result<u64> {
        rank(self.source, &self.tree, Place::AtLeast(key.encode().as_ref()))
    }

    /// Number of entries with keys in `range`. O(log n): only the paths to its ends are read.
    ///
    /// # Errors
    /// `Corrupt` where a page on a path is damaged.
    pub fn count(&self, range: impl KeyRange<K>) -> Result<u64> {
        let (low, high) = range.to_bounds();
        let low = rank(self.source, &self.tree, low_place(&low))?;
        Ok(rank(self.source, &self.tree, high_place(&high))?.saturating_sub(low))
    }

    #[inline]
    fn decode(&self, pair: Pair<'t>) -> Result<KeyValue<'t, K, V>> {
        decode::<K, V>(self.source, pair)
    }

    #[inline]
    fn decode_value(&self, stored: Stored<'t>) -> Result<V::View<'t>> {
        decode_value::<V>(self.source, stored)
    }
}

#[inline]
pub(crate) fn decode<'t, K: Key + ?Sized, V: Codec + ?Sized>(
    source: &'t (impl PageSource + ?Sized),
    (key, stored): Pair<'t>,
) -> Result<KeyValue<'t, K, V>> {
    let key = K::decode(key).map_err(|error| decode_error("key", error))?;
    Ok((key, decode_value::<V>(source, stored)?))
}

#[inline]
pub(crate) fn decode_value<'t, V: Codec + ?Sized>(
    source: &'t (impl PageSource + ?Sized),
    stored: Stored<'t>,
) -> Result<V::View<'t>> {
    let bytes = search::resolve(source, stored)?;
    V::decode(bytes).map_err(|error| decode_error("value", error))
}

#[cold]
pub(crate) fn decode_error(what: &str, error: crate::codec::DecodeError) -> Error {
    Error::Decode { detail: format!("{what}: {error}") }
}

pub(crate) fn low_place(low: &Bound<Vec<u8>>) -> Place<'_> {
    match low {
        Bound::Unbounded => Place::Start,
        Bound::Included(key) => Place::AtLeast(key),
        Bound::Excluded(key) => Place::Above(key),
    }
}

pub(crate) fn high_place(high: &Bound<Vec<u8>>) -> Place<'_> {
    match high {
        Bound::Unbounded => Place::End,
        Bound::Included(key) => Place::Above(key),
        Bound::Excluded(key) => Place::AtLeast(key),
    }
}

/// A key and its value as reading gives them.
pub type KeyValue<'t, K, V> = (<K as Codec>::View<'t>, <V as Codec>::View<'t>);

/// Iterator over entries in key order, from either end. After an error it gives nothing more.
///
/// Going one way costs one comparison a leaf against the range's end. The first step the other way counts
/// what is left, in O(log n), and from then on both ends count down.
///
/// `nth`, `nth_back`, `count` and `last`, and so `skip` and `step_by`, take O(log n), however far they go: leaves
/// between are not read, and damage in them is not noticed. So a page of a list is found by its offset. An error that
/// `nth` gives comes once more from the next step, because `skip` drops what `nth` gives. `count` cannot say that
/// something is damaged; where a branch on the way to an end is, it steps through, and counts the error as the last
/// entry. [`Range::remaining`] and [`TableView::count`] do say it.
///
/// ```
/// # use mapleaf::{Database, Table};
/// const USERS: Table<u64, str> = Table::new("users");
/// # let db = Database::temporary()?;
/// # db.write(|w| (0..100).try_for_each(|id| w.put(USERS, &id, "someone").map(drop)))?;
/// let r = db.begin_read()?;
/// let page = r.iter(USERS)?.skip(80).take(20).collect::<mapleaf::Result<Vec<_>>>()?;
/// assert_eq!((page.len(), page[0]), (20, (80, "someone")));
/// let last_but_ten = r.iter(USERS)?.rev().nth(10).transpose()?;
/// assert_eq!(last_but_ten, Some((89, "someone")));
/// # Ok::<_, mapleaf::Error>(())
/// ```
pub struct Range<'t, K: Codec + ?Sized, V: Codec + ?Sized> {
    view: TableView<'t, K, V>,
    low: Bound<Vec<u8>>,
    high: Bound<Vec<u8>>,
    /// Confined to what of their leaves lies in the range, so that a step within one needs no comparison;
    /// to nothing where steps are counted or there are no more.
    front: Cursor<'t, SourceObject<'t>>,
    back: Cursor<'t, SourceObject<'t>>,
    steps: Steps,
    /// An error that is to be given once more, and nothing else.
    again: Option<Box<Error>>,
}

/// How far a range has come.
#[derive(Clone, Copy)]
enum Steps {
    None,
    Forwards,
    Backwards,
    /// From both ends; so many entries are left between them.
    Both(u64),
    Done,
}

impl<'t, K: Key + ?Sized, V: Codec + ?Sized> Range<'t, K, V> {
    /// A step from the front that does not stay within its leaf, or is counted.
    fn step(&mut self) -> Result<Option<Pair<'t>>> {
        match self.steps {
            Steps::None => {
                self.front = self.view.walk(low_place(&self.low))?;
                self.steps = Steps::Forwards;
                confine_front(&mut self.front.entries, &self.high)?;
            }
            Steps::Forwards => {}
            Steps::Backwards => {
                self.front = self.view.walk(low_place(&self.low))?;
                self.count_steps()?;
            }
            Steps::Both(_) | Steps::Done => {}
        }
        if !matches!(self.steps, Steps::Forwards) {
            return self.counted(|range| &mut range.front, Cursor::next);
        }
        loop {
            if let Some(entry) = self.front.entries.next() {
                return entry.map(Some);
            }
            if self.front.entries.ends_early() || !self.front.move_to_leaf(true)? {
                return Ok(None);
            }
            confine_front(&mut self.front.entries, &self.high)?;
        }
    }

    /// The same from the back.
    fn step_back(&mut self) -> Result<Option<Pair<'t>>> {
        match self.steps {
            Steps::None => {
                self.back = self.view.walk(high_place(&self.high))?;
                self.steps = Steps::Backwards;
                confine_back(&mut self.back.entries, &self.low)?;
            }
            Steps::Backwards => {}
            Steps::Forwards => {
                self.back = self.view.walk(high_place(&self.high))?;
                self.count_steps()?;
            }
            Steps::Both(_) | Steps::Done => {}
        }
        if !matches!(self.steps, Steps::Backwards) {
            return self.counted(|range| &mut range.back, Cursor::previous);
        }
        loop {
            if let Some(entry) = self.back.entries.previous() {
                return entry.map(Some);
            }
            if self.back.entries.starts_late() || !self.back.move_to_leaf(false)? {
                return Ok(None);
            }
            confine_back(&mut self.back.entries, &self.low)?;
        }
    }

    /// From now on steps are counted: both ends are in use.
    fn count_steps(&mut self) -> Result<()> {
        let left = self.back.rank()?.saturating_sub(self.front.rank()?);
        self.steps = Steps::Both(left);
        self.front.entries.hold();
        self.back.entries.hold();
        Ok(())
    }

    fn counted(
        &mut self,
        end: impl Fn(&mut Self) -> &mut Cursor<'t, SourceObject<'t>>,
        step: impl Fn(&mut Cursor<'t, SourceObject<'t>>) -> Result<Option<Pair<'t>>>,
    ) -> Result<Option<Pair<'t>>> {
        let Steps::Both(left @ 1..) = self.steps else { return Ok(None) };
        self.steps = Steps::Both(left - 1);
        let cursor = end(self);
        cursor.entries.confine(0, cursor.entries.count());
        let entry = step(cursor);
        cursor.entries.hold();
        entry
    }

    #[cold]
    fn next_slowly(&mut self) -> Option<Result<KeyValue<'t, K, V>>> {
        if let Some(error) = self.again.take() {
            return Some(Err(*error));
        }
        let step = self.step();
        self.finish(step)
    }

    #[cold]
    fn next_back_slowly(&mut self) -> Option<Result<KeyValue<'t, K, V>>> {
        if let Some(error) = self.again.take() {
            return Some(Err(*error));
        }
        let step = self.step_back();
        self.finish(step)
    }

    fn finish(&mut self, step: Result<Option<Pair<'t>>>) -> Option<Result<KeyValue<'t, K, V>>> {
        let decoded = step.transpose()?.and_then(|entry| self.view.decode(entry));
        if decoded.is_err() {
            self.end();
        }
        Some(decoded)
    }

    #[cold]
    fn end(&mut self) {
        self.steps = Steps::Done;
        self.front.entries.hold();
        self.back.entries.hold();
    }
}

/// Confines the place to what lies below the range's end.
fn confine_front(entries: &mut Entries<'_>, high: &Bound<Vec<u8>>) -> Result<()> {
    let count = entries.count();
    let is_below = |key: &[u8]| match high {
        Bound::Unbounded => true,
        Bound::Included(high) => key <= &high[..],
        Bound::Excluded(high) => key < &high[..],
    };
    let is_whole = count == 0 || matches!(high, Bound::Unbounded) || is_below(entries.key(count - 1)?);
    entries.confine(0, if is_whole { count } else { entries.count_below(is_below)? });
    Ok(())
}

/// Confines the place to what lies above the range's start.
fn confine_back(entries: &mut Entries<'_>, low: &Bound<Vec<u8>>) -> Result<()> {
    let count = entries.count();
    let is_below = |key: &[u8]| match low {
        Bound::Unbounded => false,
        Bound::Included(low) => key < &low[..],
        Bound::Excluded(low) => key <= &low[..],
    };
    let is_whole = count == 0 || matches!(low, Bound::Unbounded) || !is_below(entries.key(0)?);
    entries.confine(if is_whole { 0 } else { entries.count_below(is_below)? }, count);
    Ok(())
}

impl<'t, K: Key + ?Sized, V: Codec + ?Sized> Iterator for Range<'t, K, V> {
    type Item = Result<KeyValue<'t, K, V>>;

    #[inline(always)]
    fn next(&mut self) -> Option<Self::Item> {
        if let Some(entry) = self.front.entries.behind().and_then(decoded::<K, V>) {
            self.front.entries.forward();
            return Some(Ok(entry));
        }
        self.next_slowly()
    }

    fn nth(&mut self, n: usize) -> Option<Self::Item> {
        self.jump(n, Self::next)
    }

    fn count(self) -> usize {
        self.count_all()
    }

    fn last(mut self) -> Option<Self::Item> {
        self.next_back()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, usize::try_from(self.at_most()).ok())
    }
}

impl<K: Key + ?Sized, V: Codec + ?Sized> DoubleEndedIterator for Range<'_, K, V> {
    #[inline(always)]
    fn next_back(&mut self) -> Option<Self::Item> {
        if let Some(entry) = self.back.entries.before().and_then(decoded::<K, V>) {
            self.back.entries.backward();
            return Some(Ok(entry));
        }
        self.next_back_slowly()
    }

    fn nth_back(&mut self, n: usize) -> Option<Self::Item> {
        self.jump_back(n, Self::next_back)
    }
}

/// `None` where the slow way will say what is wrong. Of a fixed width no more than that can be.
#[inline(always)]
fn decoded<'t, K: Codec + ?Sized, V: Codec + ?Sized>(
    (key, value): (&'t [u8], &'t [u8]),
) -> Option<KeyValue<'t, K, V>> {
    let fits = |bytes: &[u8], width: Option<usize>| width.is_none_or(|width| bytes.len() == width);
    if !fits(key, K::WIDTH) || !fits(value, V::WIDTH) {
        return None;
    }
    Some((K::decode(key).ok()?, V::decode(value).ok()?))
}

impl<K: Key + ?Sized, V: Codec + ?Sized> std::iter::FusedIterator for Range<'_, K, V> {}

impl<K: Codec + ?Sized, V: Codec + ?Sized> std::fmt::Debug for Range<'_, K, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Range from {:?} to {:?}", self.low, self.high)
    }
}

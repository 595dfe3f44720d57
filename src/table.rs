//! Tables: the typed name of one, and reading it.
//!
//! Owns: [`Table`], [`TableView`] and [`Range`]. A view is the same over a snapshot and over a write
//! txn; what it returns borrows from either, for as long as it is not changed.

use crate::codec::{Codec, Encode, Key, KeyRange, prefix_end};
use crate::error::{Error, Result};
use crate::format::Schema;
use crate::page::Stored;

use crate::tree::cursor::{Cursor, Place, rank};
use crate::tree::search::SourceObject;
use crate::tree::{Tree, search};
use std::any::TypeId;
use std::marker::PhantomData;
use std::ops::Bound;

/// Marks the types of a table, which holds none of their values.
type Types<K, V> = PhantomData<(fn(&K), fn(&V))>;

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
    }
}

/// One table, for reading: of a snapshot, or of a write txn as it is now.
pub struct TableView<'t, K: ?Sized, V: ?Sized> {
    source: &'t SourceObject<'t>,
    tree: Tree,
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
        TableView { source, tree, types: PhantomData }
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
    /// Those of [`TableView::get`] for the first key that has one.
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

    /// The entries whose encoded key begins with `prefix`: for `str` and byte keys, the text.
    pub fn prefix(&self, prefix: impl AsRef<[u8]>) -> Range<'t, K, V> {
        let prefix = prefix.as_ref();
        let high = prefix_end(prefix).map_or(Bound::Unbounded, Bound::Excluded);
        self.between(Bound::Included(prefix.to_vec()), high)
    }

    fn between(&self, low: Bound<Vec<u8>>, high: Bound<Vec<u8>>) -> Range<'t, K, V> {
        Range { view: *self, low, high, front: None, back: None, remaining: None, leaf_end: 0, done: false }
    }

    /// The first entry. O(log n).
    ///
    /// # Errors
    /// `Corrupt`, `Decode`.
    pub fn first(&self) -> Result<Option<Entry<'t, K, V>>> {
        self.iter().next().transpose()
    }

    /// The last entry. O(log n).
    ///
    /// # Errors
    /// `Corrupt`, `Decode`.
    pub fn last(&self) -> Result<Option<Entry<'t, K, V>>> {
        let mut cursor = Cursor::new(self.source, &self.tree, Place::End)?;
        cursor.previous()?.map(|entry| self.decode(entry)).transpose()
    }

    /// The entry with this rank, counted from 0 in key order. O(log n).
    ///
    /// # Errors
    /// `Corrupt`, `Decode`.
    pub fn nth(&self, rank: u64) -> Result<Option<Entry<'t, K, V>>> {
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

    fn decode(&self, (key, stored): (&'t [u8], Stored<'t>)) -> Result<Entry<'t, K, V>> {
        let key = K::decode(key).map_err(|error| decode_error("key", error))?;
        Ok((key, self.decode_value(stored)?))
    }

    fn decode_value(&self, stored: Stored<'t>) -> Result<V::View<'t>> {
        let bytes = search::resolve(self.source, stored)?;
        V::decode(bytes).map_err(|error| decode_error("value", error))
    }
}

fn decode_error(what: &str, error: crate::codec::DecodeError) -> Error {
    Error::Decode { detail: format!("{what}: {error}") }
}

fn low_place(low: &Bound<Vec<u8>>) -> Place<'_> {
    match low {
        Bound::Unbounded => Place::Start,
        Bound::Included(key) => Place::AtLeast(key),
        Bound::Excluded(key) => Place::Above(key),
    }
}

fn high_place(high: &Bound<Vec<u8>>) -> Place<'_> {
    match high {
        Bound::Unbounded => Place::End,
        Bound::Included(key) => Place::Above(key),
        Bound::Excluded(key) => Place::AtLeast(key),
    }
}

/// A key and its value as reading gives them.
pub type Entry<'t, K, V> = (<K as Codec>::View<'t>, <V as Codec>::View<'t>);

/// Iterator over entries in key order, from either end. After an error it stays at that error's end:
/// it gives nothing more.
///
/// Going forwards costs one comparison a leaf against the range's end. The first step backwards
/// counts what is left, in O(log n), and from then on both ends count down.
pub struct Range<'t, K: Codec + ?Sized, V: Codec + ?Sized> {
    view: TableView<'t, K, V>,
    low: Bound<Vec<u8>>,
    high: Bound<Vec<u8>>,
    front: Option<Cursor<'t, SourceObject<'t>>>,
    back: Option<Cursor<'t, SourceObject<'t>>>,
    remaining: Option<u64>,
    /// Entries of the front's leaf that lie in the range.
    leaf_end: usize,
    done: bool,
}

impl<'t, K: Key + ?Sized, V: Codec + ?Sized> Range<'t, K, V> {
    fn step(&mut self) -> Result<Option<(&'t [u8], Stored<'t>)>> {
        if let Some(remaining) = &mut self.remaining {
            if *remaining == 0 {
                return Ok(None);
            }
            *remaining -= 1;
        }
        let source = self.view.source;
        let front = match &mut self.front {
            Some(front) => front,
            none => {
                let cursor = Cursor::new(source, &self.view.tree, low_place(&self.low))?;
                self.leaf_end = limit(&cursor, &self.high)?;
                none.insert(cursor)
            }
        };
        if self.remaining.is_none() {
            let (at, count) = front.position();
            if at >= self.leaf_end && at < count {
                return Ok(None);
            }
            if at >= count {
                // Stepping goes to the next leaf, whose limit is not known yet.
                let entry = front.next()?;
                let (at, _) = front.position();
                self.leaf_end = limit(front, &self.high)?;
                return Ok(entry.filter(|_| at <= self.leaf_end));
            }
        }
        front.next()
    }

    fn step_back(&mut self) -> Result<Option<(&'t [u8], Stored<'t>)>> {
        let source = self.view.source;
        let remaining = match self.remaining {
            Some(remaining) => remaining,
            None => self.count_remaining()?,
        };
        if remaining == 0 {
            self.remaining = Some(0);
            return Ok(None);
        }
        self.remaining = Some(remaining - 1);
        let back = match &mut self.back {
            Some(back) => back,
            none => none.insert(Cursor::new(source, &self.view.tree, high_place(&self.high))?),
        };
        back.previous()
    }

    fn count_remaining(&self) -> Result<u64> {
        let (source, tree) = (self.view.source, &self.view.tree);
        let low = match &self.front {
            Some(front) => front.rank()?,
            None => rank(source, tree, low_place(&self.low))?,
        };
        Ok(rank(source, tree, high_place(&self.high))?.saturating_sub(low))
    }

    fn finish(&mut self, step: Result<Option<(&'t [u8], Stored<'t>)>>) -> Option<Result<Entry<'t, K, V>>> {
        let decoded =
            step.and_then(|entry| entry.map(|entry| self.view.decode(entry)).transpose()).transpose();
        self.done = !matches!(decoded, Some(Ok(_)));
        decoded
    }
}

/// Entries of the cursor's leaf that lie below the range's end.
fn limit(cursor: &Cursor<'_, SourceObject<'_>>, high: &Bound<Vec<u8>>) -> Result<usize> {
    match high {
        Bound::Unbounded => Ok(cursor.position().1),
        Bound::Included(high) => cursor.leaf_limit(|key| key <= &high[..]),
        Bound::Excluded(high) => cursor.leaf_limit(|key| key < &high[..]),
    }
}

impl<'t, K: Key + ?Sized, V: Codec + ?Sized> Iterator for Range<'t, K, V> {
    type Item = Result<Entry<'t, K, V>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let step = self.step();
        self.finish(step)
    }
}

impl<K: Key + ?Sized, V: Codec + ?Sized> DoubleEndedIterator for Range<'_, K, V> {
    fn next_back(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let step = self.step_back();
        self.finish(step)
    }
}

impl<K: Key + ?Sized, V: Codec + ?Sized> std::iter::FusedIterator for Range<'_, K, V> {}

impl<K: Codec + ?Sized, V: Codec + ?Sized> std::fmt::Debug for Range<'_, K, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Range from {:?} to {:?}", self.low, self.high)
    }
}

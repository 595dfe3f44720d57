//! Multimaps: the typed name of one, and reading it.
//!
//! Owns: [`MultiTable`], [`MultiView`], and the iterators [`Values`], [`Groups`] and [`Pairs`]. A view is the
//! same over a snapshot and over a write txn; what it returns borrows from either, for as long as it is not
//! changed. Leaves to others: where the values of a key are ([`crate::tree::multi`]).

mod parts;

use crate::codec::{Encode, Key, KeyRange};
use crate::error::{Error, Result};
use crate::format::Schema;
use crate::page::Pair;
use crate::page::set::Set;
use crate::snapshot::Advice;
use crate::table::{KeyValue, Range, TableView, Types, decode_error, high_place, low_place, schema_of};
use crate::tree::Tree;
use crate::tree::cursor::{Cursor, Place, rank};
use crate::tree::multi::Values as Stored;
use crate::tree::search::SourceObject;
use std::any::TypeId;
use std::marker::PhantomData;
use std::ops::Bound;

/// The name and the types of a table in which a key has several values, in order and each once. A constant of
/// the program; copying it costs nothing.
///
/// Keys and values may be as long as the keys of a [`Table`](crate::Table): 2,000 bytes each in pages of
/// 4096. Values are kept in the order of their encodings, so they are of a [`Key`] type. The values of a key
/// stand side by side in the leaf while they take less than half of a page; more of them are a tree. Each
/// value counts as one entry of the table.
///
/// A multimap comes into being with the first put. Reading one that is not there finds nothing. A table of
/// the same name that holds one value per key is another kind of table: neither passes for the other.
///
/// ```
/// use mapleaf::{Database, MultiTable};
/// const TAGS: MultiTable<str, u64> = MultiTable::new("tags");
/// # fn main() -> mapleaf::Result<()> {
/// let db = Database::temporary()?;
/// db.write(|w| {
///     w.put_value(TAGS, "rust", &7)?;
///     w.put_value(TAGS, "rust", &3)?;
///     w.put_value(TAGS, "tree", &7)
/// })?;
/// let r = db.begin_read()?;
/// assert_eq!(r.values(TAGS, "rust")?.collect::<Result<Vec<_>, _>>()?, [3, 7]);
/// assert_eq!(r.multi(TAGS)?.len(), 3);
/// # Ok(()) }
/// ```
pub struct MultiTable<K: ?Sized, V: ?Sized> {
    name: &'static str,
    types: Types<K, V>,
}

impl<K: ?Sized, V: ?Sized> Clone for MultiTable<K, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K: ?Sized, V: ?Sized> Copy for MultiTable<K, V> {}

impl<K: Key + ?Sized, V: Key + ?Sized> std::fmt::Debug for MultiTable<K, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MultiTable {:?}: {}", self.name, multi_schema_of::<K, V>())
    }
}

impl<K: Key + ?Sized, V: Key + ?Sized> MultiTable<K, V> {
    /// A multimap of this name, at most 512 bytes long.
    pub const fn new(name: &'static str) -> Self {
        MultiTable { name, types: PhantomData }
    }

    /// The multimap's name.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    pub(crate) fn type_id(&self) -> TypeId {
        TypeId::of::<MultiTable<K, V>>()
    }
}

/// The schema that a multimap of these types is stored with.
pub(crate) fn multi_schema_of<K: Key + ?Sized, V: Key + ?Sized>() -> Schema {
    Schema { multi: true, value_align: 1, ..schema_of::<K, V>() }
}

/// One multimap, for reading: of a snapshot, or of a write txn as it is now.
pub struct MultiView<'t, K: ?Sized, V: ?Sized> {
    source: &'t SourceObject<'t>,
    tree: Tree,
    advice: Advice,
    types: Types<K, V>,
}

impl<K: ?Sized, V: ?Sized> Clone for MultiView<'_, K, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K: ?Sized, V: ?Sized> Copy for MultiView<'_, K, V> {}

impl<K: ?Sized, V: ?Sized> std::fmt::Debug for MultiView<'_, K, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MultiView of {} values", self.tree.len())
    }
}

impl<'t, K: Key + ?Sized, V: Key + ?Sized> MultiView<'t, K, V> {
    pub(crate) fn new(source: &'t SourceObject<'t>, tree: Tree) -> Self {
        MultiView { source, tree, advice: source.advice(), types: PhantomData }
    }

    /// The values of `key` in order, from either end; none where the key is not there. O(log n): one page a
    /// level.
    ///
    /// # Errors
    /// `Corrupt` where a page on the path is damaged.
    pub fn values(&self, key: &(impl Encode<K> + ?Sized)) -> Result<Values<'t, V>> {
        match self.find(key)? {
            Some(values) => Ok(Values::new(self.source, values)),
            None => Ok(Values { form: Form::None }),
        }
    }

    /// Whether `key` has this value. O(log n).
    ///
    /// # Errors
    /// `Corrupt` where a page on the path is damaged.
    pub fn contains(
        &self,
        key: &(impl Encode<K> + ?Sized),
        value: &(impl Encode<V> + ?Sized),
    ) -> Result<bool> {
        match self.find(key)? {
            Some(values) => values.contains(self.source, value.encode().as_ref()),
            None => Ok(false),
        }
    }

    /// Whether `key` has a value. O(log n).
    ///
    /// # Errors
    /// `Corrupt` where a page on the path is damaged.
    pub fn contains_key(&self, key: &(impl Encode<K> + ?Sized)) -> Result<bool> {
        Ok(self.find(key)?.is_some())
    }

    /// How many values `key` has. O(log n), however many they are.
    ///
    /// # Errors
    /// `Corrupt` where a page on the path is damaged.
    pub fn count_values(&self, key: &(impl Encode<K> + ?Sized)) -> Result<u64> {
        Ok(self.find(key)?.map_or(0, |values| values.count()))
    }

    fn find(&self, key: &(impl Encode<K> + ?Sized)) -> Result<Option<Stored<'t>>> {
        let stored = self.source.find(&self.tree, key.encode().as_ref())?;
        stored.map(|stored| Stored::of(&self.tree, stored)).transpose()
    }

    /// Number of values of all keys. O(1).
    pub fn len(&self) -> u64 {
        self.tree.len()
    }

    /// Whether there are no values. O(1).
    pub fn is_empty(&self) -> bool {
        self.tree.is_empty()
    }

    /// The same multimap, whose scans over keys ([`MultiView::iter`], [`MultiView::range`], [`MultiView::groups`])
    /// read by this [`Advice`]. Costs nothing.
    #[must_use]
    pub fn advised(mut self, advice: Advice) -> Self {
        self.advice = advice;
        self
    }

    fn walk(&self, place: Place<'_>) -> Result<Cursor<'t, SourceObject<'t>>> {
        Cursor::advised(self.source, &self.tree, place, self.advice)
    }

    /// All pairs of a key and one of its values, in order of the keys and then of the values; from either
    /// end.
    pub fn iter(&self) -> Pairs<'t, K, V> {
        self.range(..)
    }

    /// The pairs with keys in `range`, in order; from either end. Nothing is read before the first step. An
    /// empty or inverted range gives nothing.
    pub fn range(&self, range: impl KeyRange<K>) -> Pairs<'t, K, V> {
        Pairs { groups: self.groups(range), front: None, back: None }
    }

    /// The keys in `range`, in order, each with its values; from either end. Nothing is read before the first
    /// step.
    pub fn groups(&self, range: impl KeyRange<K>) -> Groups<'t, K, V> {
        let (low, high) = range.to_bounds();
        self.groups_between(low, high)
    }

    fn groups_between(&self, low: Bound<Vec<u8>>, high: Bound<Vec<u8>>) -> Groups<'t, K, V> {
        Groups { view: *self, low, high, front: None, back: None, is_done: false }
    }

    /// The first pair. O(log n).
    ///
    /// # Errors
    /// `Corrupt`, `Decode`.
    pub fn first(&self) -> Result<Option<KeyValue<'t, K, V>>> {
        self.iter().next().transpose()
    }

    /// The last pair. O(log n).
    ///
    /// # Errors
    /// `Corrupt`, `Decode`.
    pub fn last(&self) -> Result<Option<KeyValue<'t, K, V>>> {
        self.iter().next_back().transpose()
    }

    /// The pair with this rank, counted from 0 in order. O(log n).
    ///
    /// # Errors
    /// `Corrupt`, `Decode`.
    pub fn nth(&self, place: u64) -> Result<Option<KeyValue<'t, K, V>>> {
        if place >= self.len() {
            return Ok(None);
        }
        let mut pairs = self.iter();
        pairs.go_to(place, true)?;
        pairs.next().transpose()
    }

    /// Number of pairs with keys below `key`, whether or not it is there itself. O(log n).
    ///
    /// # Errors
    /// `Corrupt` where a page on the path is damaged.
    pub fn rank(&self, key: &(impl Encode<K> + ?Sized)) -> Result<u64> {
        rank(self.source, &self.tree, Place::AtLeast(key.encode().as_ref()))
    }

    /// Number of pairs before this one, whether or not it is there itself. O(log n).
    ///
    /// # Errors
    /// `Corrupt` where a page on the path is damaged.
    pub fn rank_of(&self, key: &(impl Encode<K> + ?Sized), value: &(impl Encode<V> + ?Sized)) -> Result<u64> {
        let below = match self.find(key)? {
            Some(values) => rank_in(self.source, &values, Place::AtLeast(value.encode().as_ref()))?,
            None => 0,
        };
        Ok(self.rank(key)?.saturating_add(below))
    }

    /// Number of pairs with keys in `range`. O(log n): only the paths to its ends are read.
    ///
    /// # Errors
    /// `Corrupt` where a page on a path is damaged.
    pub fn count(&self, range: impl KeyRange<K>) -> Result<u64> {
        let (low, high) = range.to_bounds();
        let low = rank(self.source, &self.tree, low_place(&low))?;
        Ok(rank(self.source, &self.tree, high_place(&high))?.saturating_sub(low))
    }
}

fn decode_key<K: Key + ?Sized>(key: &[u8]) -> Result<K::View<'_>> {
    K::decode(key).map_err(|error| decode_error("key", error))
}

fn decode_value<V: Key + ?Sized>(value: &[u8]) -> Result<V::View<'_>> {
    V::decode(value).map_err(|error| decode_error("value", error))
}

/// Number of values before `place`.
fn rank_in(source: &SourceObject<'_>, values: &Stored<'_>, place: Place<'_>) -> Result<u64> {
    match values {
        Stored::Few(set) => Ok(rank_in_few(set, place) as u64),
        Stored::Many(tree) => rank(source, tree, place),
    }
}

fn rank_in_few(set: &Set<'_>, place: Place<'_>) -> usize {
    // A value that does not lie in the set is found when it is read.
    let search = |value: &[u8]| set.search(value).unwrap_or(Err(0));
    match place {
        Place::Start => 0,
        Place::End => set.count(),
        Place::AtLeast(value) => search(value).unwrap_or_else(|i| i),
        Place::Above(value) => search(value).map_or_else(|i| i, |i| i + 1),
        Place::Rank(rank) => (rank as usize).min(set.count()),
    }
}

/// The values of one key in order, from either end. After an error it gives nothing more.
///
/// ```
/// # use mapleaf::{Database, MultiTable};
/// const TAGS: MultiTable<str, u64> = MultiTable::new("tags");
/// # fn main() -> mapleaf::Result<()> {
/// # let db = Database::temporary()?;
/// db.write(|w| (0..1000).try_for_each(|id| w.put_value(TAGS, "rust", &id).map(drop)))?;
/// let r = db.begin_read()?;
/// let mut ids = r.values(TAGS, "rust")?;
/// assert_eq!((ids.len(), ids.next_back().transpose()?), (1000, Some(999)));
/// assert_eq!(ids.range(500..)?.next().transpose()?, Some(500));
/// # Ok(()) }
/// ```
pub struct Values<'t, V: Key + ?Sized> {
    form: Form<'t, V>,
}

enum Form<'t, V: Key + ?Sized> {
    None,
    /// From number `front` up to, not including, number `back`.
    Few {
        set: Set<'t>,
        front: usize,
        back: usize,
    },
    Many(Box<Many<'t, V>>),
}

struct Many<'t, V: Key + ?Sized> {
    source: &'t SourceObject<'t>,
    tree: Tree,
    rest: Range<'t, V, ()>,
    /// The ranks of what is left: from here up to, not including, `back`.
    front: u64,
    back: u64,
}

impl<'t, V: Key + ?Sized> Many<'t, V> {
    fn form(
        source: &'t SourceObject<'t>,
        tree: Tree,
        low: Bound<Vec<u8>>,
        high: Bound<Vec<u8>>,
    ) -> Result<Form<'t, V>> {
        let (front, back) = (rank(source, &tree, low_place(&low))?, rank(source, &tree, high_place(&high))?);
        let rest = TableView::new(source, tree).between(low, high);
        Ok(Form::Many(Box::new(Many { source, tree, rest, front, back: back.max(front) })))
    }

    /// The values of these ranks, of which there is one.
    fn of_ranks(source: &'t SourceObject<'t>, tree: Tree, front: u64, back: u64) -> Result<Form<'t, V>> {
        let value = |rank| {
            let entry = Cursor::new(source, &tree, Place::Rank(rank))?.next()?;
            Ok::<_, Error>(entry.map_or(Bound::Unbounded, |(value, _)| Bound::Included(value.to_vec())))
        };
        let rest = TableView::new(source, tree).between(value(front)?, value(back - 1)?);
        Ok(Form::Many(Box::new(Many { source, tree, rest, front, back })))
    }
}

impl<'t, V: Key + ?Sized> Values<'t, V> {
    fn new(source: &'t SourceObject<'t>, values: Stored<'t>) -> Self {
        let form = match values {
            Stored::Few(set) => Form::Few { set, front: 0, back: set.count() },
            Stored::Many(tree) => {
                let rest = TableView::new(source, tree).iter();
                Form::Many(Box::new(Many { source, tree, rest, front: 0, back: tree.len() }))
            }
        };
        Values { form }
    }

    /// Leaves out so many, from either end.
    fn skip_over(&mut self, count: u64, is_forward: bool) -> Result<()> {
        if count == 0 {
            return Ok(());
        }
        if count >= self.len() {
            self.form = Form::None;
        }
        match &mut self.form {
            Form::None => {}
            Form::Few { front, .. } if is_forward => *front += count as usize,
            Form::Few { back, .. } => *back -= count as usize,
            Form::Many(many) => {
                let Many { source, tree, front, back, .. } = **many;
                let (front, back) = if is_forward { (front + count, back) } else { (front, back - count) };
                self.form = Many::of_ranks(source, tree, front, back)?;
            }
        }
        Ok(())
    }

    /// How many are left. O(1).
    pub fn len(&self) -> u64 {
        match &self.form {
            Form::None => 0,
            Form::Few { front, back, .. } => (back - front) as u64,
            Form::Many(many) => many.back - many.front,
        }
    }

    /// Whether none is left. O(1).
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Those of the key's values that are in `range`, from either end, whatever was taken from this iterator.
    /// O(log n), since it knows how many they are.
    ///
    /// # Errors
    /// `Corrupt` where a page on a path is damaged.
    pub fn range(&self, range: impl KeyRange<V>) -> Result<Values<'t, V>> {
        let (low, high) = range.to_bounds();
        let form = match &self.form {
            Form::None => Form::None,
            Form::Few { set, .. } => {
                let front = rank_in_few(set, low_place(&low));
                Form::Few { set: *set, front, back: rank_in_few(set, high_place(&high)).max(front) }
            }
            Form::Many(many) => Many::form(many.source, many.tree, low, high)?,
        };
        Ok(Values { form })
    }

    fn step_over(&mut self, n: usize, is_forward: bool) -> Option<Result<V::View<'t>>> {
        if let Err(error) = self.skip_over(n as u64, is_forward) {
            self.form = Form::None;
            return Some(Err(error));
        }
        self.step(is_forward)
    }

    fn step(&mut self, is_forward: bool) -> Option<Result<V::View<'t>>> {
        let value = match &mut self.form {
            Form::None => return None,
            Form::Few { set, front, back } => {
                if front >= back {
                    return None;
                }
                let i = if is_forward { *front } else { *back - 1 };
                match is_forward {
                    true => *front += 1,
                    false => *back -= 1,
                }
                let lost = || Error::corrupt(0, "a value does not lie in its set");
                set.value(i).ok_or_else(lost).and_then(decode_value::<V>)
            }
            Form::Many(many) => {
                match is_forward {
                    true => many.front = (many.front + 1).min(many.back),
                    false => many.back = many.back.saturating_sub(1).max(many.front),
                }
                let entry = if is_forward { many.rest.next() } else { many.rest.next_back() };
                entry?.map(|(value, ())| value)
            }
        };
        if value.is_err() {
            self.form = Form::None;
        }
        Some(value)
    }
}

impl<'t, V: Key + ?Sized> Iterator for Values<'t, V> {
    type Item = Result<V::View<'t>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step(true)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        match &self.form {
            Form::None => (0, Some(0)),
            Form::Few { front, back, .. } => (back - front, Some(back - front)),
            // What a damaged file claims reserves no memory.
            Form::Many(_) => (0, None),
        }
    }

    /// Passes over `n`. O(log n).
    fn nth(&mut self, n: usize) -> Option<Self::Item> {
        self.step_over(n, true)
    }

    fn last(mut self) -> Option<Self::Item> {
        self.next_back()
    }
}

impl<V: Key + ?Sized> DoubleEndedIterator for Values<'_, V> {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.step(false)
    }

    /// Passes over `n`. O(log n).
    fn nth_back(&mut self, n: usize) -> Option<Self::Item> {
        self.step_over(n, false)
    }
}

impl<V: Key + ?Sized> std::iter::FusedIterator for Values<'_, V> {}

impl<V: Key + ?Sized> std::fmt::Debug for Values<'_, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Values, {} left", self.len())
    }
}

/// The keys of a range in order, each with its values, from either end. After an error it gives nothing more.
pub struct Groups<'t, K: Key + ?Sized, V: Key + ?Sized> {
    view: MultiView<'t, K, V>,
    low: Bound<Vec<u8>>,
    high: Bound<Vec<u8>>,
    front: Option<End<'t>>,
    back: Option<End<'t>>,
    is_done: bool,
}

/// How far one end has come: past this key.
struct End<'t> {
    cursor: Cursor<'t, SourceObject<'t>>,
    last: Option<&'t [u8]>,
}

impl<'t, K: Key + ?Sized, V: Key + ?Sized> Groups<'t, K, V> {
    fn end(&self, place: Place<'_>) -> Result<End<'t>> {
        Ok(End { cursor: self.view.walk(place)?, last: None })
    }

    /// The ranks of the pairs that are left: from the first up to, not including, the second.
    fn ranks(&self) -> Result<(u64, u64)> {
        let MultiView { source, tree, .. } = &self.view;
        if self.is_done {
            return Ok((0, 0));
        }
        let front = match &self.front {
            Some(end) => end.cursor.rank()?,
            None => rank(*source, tree, low_place(&self.low))?,
        };
        let back = match &self.back {
            Some(end) => end.cursor.rank()?,
            None => rank(*source, tree, high_place(&self.high))?,
        };
        Ok((front, back))
    }

    fn step(&mut self) -> Result<Option<Pair<'t>>> {
        let mut end = match self.front.take() {
            Some(end) => end,
            None => self.end(low_place(&self.low))?,
        };
        let entry = end.cursor.next()?.filter(|(key, _)| {
            let is_below = match &self.high {
                Bound::Unbounded => true,
                Bound::Included(high) => *key <= &high[..],
                Bound::Excluded(high) => *key < &high[..],
            };
            is_below && self.back.as_ref().and_then(|back| back.last).is_none_or(|last| *key < last)
        });
        end.last = entry.map(|(key, _)| key).or(end.last);
        self.front = Some(end);
        Ok(entry)
    }

    fn step_back(&mut self) -> Result<Option<Pair<'t>>> {
        let mut end = match self.back.take() {
            Some(end) => end,
            None => self.end(high_place(&self.high))?,
        };
        let entry = end.cursor.previous()?.filter(|(key, _)| {
            let is_above = match &self.low {
                Bound::Unbounded => true,
                Bound::Included(low) => *key >= &low[..],
                Bound::Excluded(low) => *key > &low[..],
            };
            is_above && self.front.as_ref().and_then(|front| front.last).is_none_or(|last| *key > last)
        });
        end.last = entry.map(|(key, _)| key).or(end.last);
        self.back = Some(end);
        Ok(entry)
    }

    fn raw(&mut self, is_forward: bool) -> Option<Result<(&'t [u8], Values<'t, V>)>> {
        if self.is_done {
            return None;
        }
        let entry = if is_forward { self.step() } else { self.step_back() };
        let entry = entry.transpose().map(|entry| {
            let (key, stored) = entry?;
            Ok((key, Values::new(self.view.source, Stored::of(&self.view.tree, stored)?)))
        });
        self.is_done = !matches!(entry, Some(Ok(_)));
        entry
    }

    fn decoded(&mut self, is_forward: bool) -> Option<Result<(K::View<'t>, Values<'t, V>)>> {
        let entry = self.raw(is_forward)?.and_then(|(key, values)| Ok((decode_key::<K>(key)?, values)));
        self.is_done |= entry.is_err();
        Some(entry)
    }
}

impl<'t, K: Key + ?Sized, V: Key + ?Sized> Iterator for Groups<'t, K, V> {
    type Item = Result<(K::View<'t>, Values<'t, V>)>;

    fn next(&mut self) -> Option<Self::Item> {
        self.decoded(true)
    }
}

impl<K: Key + ?Sized, V: Key + ?Sized> DoubleEndedIterator for Groups<'_, K, V> {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.decoded(false)
    }
}

impl<K: Key + ?Sized, V: Key + ?Sized> std::iter::FusedIterator for Groups<'_, K, V> {}

impl<K: Key + ?Sized, V: Key + ?Sized> std::fmt::Debug for Groups<'_, K, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Groups from {:?} to {:?}", self.low, self.high)
    }
}

/// Pairs of a key and one of its values, in order, from either end. After an error it gives nothing more.
pub struct Pairs<'t, K: Key + ?Sized, V: Key + ?Sized> {
    /// Those between the two ends.
    groups: Groups<'t, K, V>,
    front: Option<(&'t [u8], Values<'t, V>)>,
    back: Option<(&'t [u8], Values<'t, V>)>,
}

impl<'t, K: Key + ?Sized, V: Key + ?Sized> Pairs<'t, K, V> {
    fn step(&mut self, is_forward: bool) -> Option<Result<KeyValue<'t, K, V>>> {
        loop {
            let (near, far) = match is_forward {
                true => (&mut self.front, &mut self.back),
                false => (&mut self.back, &mut self.front),
            };
            if let Some(pair) = near.as_mut().and_then(|of_key| pair::<K, V>(of_key, is_forward)) {
                return Some(self.judged(pair));
            }
            *near = match self.groups.raw(is_forward) {
                Some(Ok(next)) => Some(next),
                Some(Err(error)) => return Some(self.judged(Err(error))),
                None => {
                    let pair = pair::<K, V>(far.as_mut()?, is_forward)?;
                    return Some(self.judged(pair));
                }
            };
        }
    }

    /// How many there are, of which none was given yet. O(log n).
    fn left(&self) -> Result<u64> {
        let (front, back) = self.groups.ranks()?;
        Ok(back.saturating_sub(front))
    }

    /// Leaves out so many, from either end. O(log n): those of the keys between are counted by the branches.
    fn skip_over(&mut self, mut count: u64, is_forward: bool) -> Result<()> {
        let near = if is_forward { &mut self.front } else { &mut self.back };
        if let Some((_, values)) = near {
            let left = values.len();
            if count < left {
                return values.skip_over(count, is_forward);
            }
            (count, *near) = (count - left, None);
        }
        let (front, back) = self.groups.ranks()?;
        let between = back.saturating_sub(front);
        if count < between {
            return self.go_to(if is_forward { front + count } else { back - 1 - count }, is_forward);
        }
        self.groups.is_done = true;
        let far = if is_forward { &mut self.back } else { &mut self.front };
        match far {
            Some((_, values)) => values.skip_over(count - between, is_forward),
            None => Ok(()),
        }
    }

    /// Goes to the pair of this rank, one of those of the keys between the two ends, so that it comes next.
    fn go_to(&mut self, place: u64, is_forward: bool) -> Result<()> {
        let MultiView { source, tree, .. } = self.groups.view;
        let mut cursor = Cursor::new(source, &tree, Place::Rank(place))?;
        let within = place.saturating_sub(cursor.rank()?);
        let Some((key, stored)) = cursor.next()? else { return Ok(()) };
        let mut values = Values::new(source, Stored::of(&tree, stored)?);
        if is_forward {
            values.skip_over(within, true)?;
            self.groups.front = Some(End { cursor, last: Some(key) });
            self.front = Some((key, values));
        } else {
            values.skip_over(values.len().saturating_sub(within + 1), false)?;
            cursor.previous()?;
            self.groups.back = Some(End { cursor, last: Some(key) });
            self.back = Some((key, values));
        }
        Ok(())
    }

    fn step_over(&mut self, n: usize, is_forward: bool) -> Option<Result<KeyValue<'t, K, V>>> {
        match self.skip_over(n as u64, is_forward) {
            Ok(()) => self.step(is_forward),
            Err(error) => Some(self.judged(Err(error))),
        }
    }

    fn judged(&mut self, pair: Result<KeyValue<'t, K, V>>) -> Result<KeyValue<'t, K, V>> {
        if pair.is_err() {
            (self.groups.is_done, self.front, self.back) = (true, None, None);
        }
        pair
    }
}

/// The next of a key's values, with the key.
fn pair<'t, K: Key + ?Sized, V: Key + ?Sized>(
    (key, values): &mut (&'t [u8], Values<'t, V>),
    is_forward: bool,
) -> Option<Result<KeyValue<'t, K, V>>> {
    let value = values.step(is_forward)?;
    Some(value.and_then(|value| Ok((decode_key::<K>(key)?, value))))
}

impl<'t, K: Key + ?Sized, V: Key + ?Sized> Iterator for Pairs<'t, K, V> {
    type Item = Result<KeyValue<'t, K, V>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step(true)
    }

    /// Passes over `n` pairs. O(log n), so that `.skip(1_000_000).take(20)` is a page by offset.
    fn nth(&mut self, n: usize) -> Option<Self::Item> {
        self.step_over(n, true)
    }

    fn last(mut self) -> Option<Self::Item> {
        self.next_back()
    }
}

impl<K: Key + ?Sized, V: Key + ?Sized> DoubleEndedIterator for Pairs<'_, K, V> {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.step(false)
    }

    /// Passes over `n` pairs. O(log n).
    fn nth_back(&mut self, n: usize) -> Option<Self::Item> {
        self.step_over(n, false)
    }
}

impl<K: Key + ?Sized, V: Key + ?Sized> std::iter::FusedIterator for Pairs<'_, K, V> {}

impl<K: Key + ?Sized, V: Key + ?Sized> std::fmt::Debug for Pairs<'_, K, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pairs from {:?} to {:?}", self.groups.low, self.groups.high)
    }
}

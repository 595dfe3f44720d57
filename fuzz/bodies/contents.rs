//! What the store that operations are carried out on must hold: tables and multimaps as maps.

use mapleaf::Schema;
use mapleaf::codec::{Codec, DecodeError, Encode, Key};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::rc::Rc;
use std::sync::OnceLock;

pub const NAMES: [&str; 4] = ["a", "b", "", "another table"];
/// Names of snapshots.
pub const LABELS: [&str; 3] = ["s", "", "another snapshot"];
/// The first of the schemas that are multimaps.
pub const FIRST_MULTI: usize = 5;
/// Of keys or values of any length.
pub const ANY: usize = usize::MAX;

pub type Bytes = Rc<[u8]>;
pub type Entries = BTreeMap<Bytes, Value>;
pub type Sets = BTreeMap<Bytes, BTreeSet<Bytes>>;
pub type Ends = (Bound<Vec<u8>>, Bound<Vec<u8>>);

/// A value: so many bytes, that begin with this one; the outermost ones may be others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Value {
    pub len: u32,
    pub fill: u8,
    pub edited: u8,
}

impl Value {
    pub fn new(len: usize, fill: u8) -> Self {
        Value { len: len as u32, fill, edited: 0 }
    }

    pub fn bytes(self) -> Vec<u8> {
        let mut bytes = vec![self.fill; self.len as usize];
        for (i, part) in bytes.chunks_mut(512).enumerate().skip(1) {
            part.fill(self.fill.wrapping_add((i + i / 256) as u8));
        }
        edit(&mut bytes, self.edited);
        bytes
    }

    pub fn is(self, bytes: &[u8]) -> bool {
        bytes.len() == self.len as usize && bytes == self.bytes()
    }
}

/// Changes the outermost bytes.
pub fn edit(bytes: &mut [u8], by: u8) {
    if let [first, .., last] = bytes {
        (*first, *last) = (*first ^ by, *last ^ by);
    }
}

/// A table, or a multimap.
#[derive(Clone, PartialEq, Debug)]
pub struct TableModel {
    pub schema: usize,
    pub entries: Entries,
    pub sets: Sets,
}

impl TableModel {
    pub fn new(schema: usize) -> Self {
        TableModel { schema, entries: Entries::new(), sets: Sets::new() }
    }

    pub fn is_multi(&self) -> bool {
        self.schema >= FIRST_MULTI
    }

    pub fn len(&self) -> usize {
        self.entries.len() + self.sets.values().map(BTreeSet::len).sum::<usize>()
    }

    /// Adds a value to those of a key.
    pub fn add(&mut self, key: &Bytes, value: Bytes) -> bool {
        self.sets.entry(key.clone()).or_default().insert(value)
    }

    /// Takes a value from those of a key.
    pub fn take(&mut self, key: &[u8], value: &[u8]) -> bool {
        let Some(set) = self.sets.get_mut(key) else { return false };
        let was_there = set.remove(value);
        if set.is_empty() {
            self.sets.remove(key);
        }
        was_there
    }

    /// Takes all keys in a range. Returns how many values they had.
    pub fn take_range(&mut self, ends: &Ends) -> u64 {
        let before = self.len();
        self.entries.retain(|key, _| !is_within(ends, key));
        self.sets.retain(|key, _| !is_within(ends, key));
        (before - self.len()) as u64
    }
}

pub fn is_within((low, high): &Ends, key: &[u8]) -> bool {
    let is_above = match low {
        Bound::Unbounded => true,
        Bound::Included(low) => key >= &low[..],
        Bound::Excluded(low) => key > &low[..],
    };
    let is_below = match high {
        Bound::Unbounded => true,
        Bound::Included(high) => key <= &high[..],
        Bound::Excluded(high) => key < &high[..],
    };
    is_above && is_below
}

/// All that a txn leaves.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Contents {
    pub tables: BTreeMap<&'static str, TableModel>,
    /// The number of the txn that each was made by.
    pub snapshots: BTreeMap<&'static str, usize>,
}

// ---- schemas ----

pub fn schemas() -> &'static [Schema] {
    static SCHEMAS: OnceLock<Vec<Schema>> = OnceLock::new();
    SCHEMAS.get_or_init(|| {
        let widths = |key_width: Option<usize>, value_width: Option<usize>| Schema {
            key_width,
            value_width,
            ..Schema::bytes()
        };
        let multi = |schema: Schema| Schema { multi: true, ..schema };
        vec![
            Schema::bytes(),
            widths(Some(4), Some(12)),
            Schema { value_align: 8, ..Schema::bytes() },
            widths(Some(2), Some(0)),
            widths(Some(6), None),
            multi(Schema::bytes()),
            multi(widths(Some(4), Some(8))),
            multi(widths(None, Some(6))),
            multi(widths(Some(6), None)),
        ]
    })
}

/// Calls a method with the widths of a table's key and value, and the value's alignment.
macro_rules! with_types {
    ($schema:expr, $self:ident.$method:ident($($argument:expr),*)) => {
        match $schema {
            0 => $self.$method::<ANY, ANY, 1>($($argument),*),
            1 => $self.$method::<4, 12, 1>($($argument),*),
            2 => $self.$method::<ANY, ANY, 8>($($argument),*),
            3 => $self.$method::<2, 0, 1>($($argument),*),
            _ => $self.$method::<6, ANY, 1>($($argument),*),
        }
    };
}

/// Calls a method with the widths of a multimap's key and value.
macro_rules! with_multi_types {
    ($schema:expr, $self:ident.$method:ident($($argument:expr),*)) => {
        match $schema {
            5 => $self.$method::<ANY, ANY>($($argument),*),
            6 => $self.$method::<4, 8>($($argument),*),
            7 => $self.$method::<ANY, 6>($($argument),*),
            _ => $self.$method::<6, ANY>($($argument),*),
        }
    };
}

pub(crate) use {with_multi_types, with_types};

/// Bytes of a width and an alignment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wide<const WIDTH: usize, const ALIGN: usize>(pub Vec<u8>);

impl<const WIDTH: usize, const ALIGN: usize> Wide<WIDTH, ALIGN> {
    pub fn new(bytes: &[u8]) -> Self {
        Wide(bytes.to_vec())
    }
}

impl<const WIDTH: usize, const ALIGN: usize> Codec for Wide<WIDTH, ALIGN> {
    type View<'a> = &'a [u8];
    const WIDTH: Option<usize> = if WIDTH == ANY { None } else { Some(WIDTH) };
    const ALIGN: usize = ALIGN;

    fn type_name() -> Cow<'static, str> {
        "bytes".into()
    }

    fn decode(bytes: &[u8]) -> Result<&[u8], DecodeError> {
        assert!(bytes.is_empty() || bytes.as_ptr().addr().is_multiple_of(ALIGN), "it is not aligned");
        match WIDTH == ANY || WIDTH == bytes.len() {
            true => Ok(bytes),
            false => Err(DecodeError::new("it has another width")),
        }
    }
}

impl<const WIDTH: usize> Key for Wide<WIDTH, 1> {}

impl<const WIDTH: usize, const ALIGN: usize> Encode<Wide<WIDTH, ALIGN>> for Wide<WIDTH, ALIGN> {
    type Bytes<'a> = &'a [u8];

    fn encode(&self) -> &[u8] {
        &self.0
    }
}

// ---- keys and values ----

/// Key `i` of a table of this schema; the same number is the same key.
pub fn key(schema: usize, i: u16, page_size: usize) -> Bytes {
    sized(schemas()[schema].key_width, i, page_size)
}

/// Value `i` of a multimap's key.
pub fn member(schema: usize, i: u16, page_size: usize) -> Bytes {
    sized(schemas()[schema].value_width, i, page_size)
}

fn sized(width: Option<usize>, i: u16, page_size: usize) -> Bytes {
    if let Some(width) = width {
        let mut key = vec![0; width];
        if width >= 2 {
            key[width - 2..].copy_from_slice(&i.to_be_bytes());
        }
        return key.into();
    }
    let mut key = match i % 4 {
        0 => Vec::new(),
        1 => b"prefix/".to_vec(),
        2 => b"prefix/of/some/length/".to_vec(),
        _ => vec![b'p'; 40],
    };
    key.extend_from_slice(&i.to_be_bytes());
    if i % 16 == 7 {
        key.resize(page_size / 4 + usize::from(i) % 900, b'x');
    }
    if i == 0 { Rc::default() } else { key.into() }
}

pub fn value(schema: usize, kind: u8, page_size: usize) -> Value {
    let lens = [0, 1, 9, 100, 250, page_size / 3, page_size / 2, page_size + 1, 3 * page_size, 20_000];
    Value::new(schemas()[schema].value_width.unwrap_or(lens[usize::from(kind) % lens.len()]), kind)
}

/// One that may have a table of checksums, or go to the file at once.
pub fn large_value(schema: usize, kind: u8, page_size: usize) -> Value {
    let many = 16 * page_size;
    let lens = [many - 1, many, many + 1, 70_000, 131_072, 200_000, 3000, (1 << 20) - 1, 1 << 20, 1_100_001];
    Value::new(schemas()[schema].value_width.unwrap_or(lens[usize::from(kind) % lens.len()]), kind)
}

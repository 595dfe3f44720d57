//! The data of the comparisons: pairs made from their numbers, side by side in memory, and what was read of
//! them.
//!
//! Owns: [`Shape`], [`Data`] and [`Pairs`], [`Source`] for what is too large to be held, [`Zipf`].

use rand::prelude::*;
use std::ops::Range;
use std::time::{Duration, Instant};

/// What keys and values look like.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Shape {
    /// Random keys of 24 bytes, random values of 150.
    Bytes,
    /// The numbers from 0 as u64, big-endian here; u64 values.
    Numbers,
    /// Random keys of 24 bytes, random values of 1 KiB.
    Kib,
}

impl Shape {
    pub fn name(self) -> &'static str {
        match self {
            Shape::Bytes => "bytes",
            Shape::Numbers => "numbers",
            Shape::Kib => "kib",
        }
    }

    pub fn named(name: &str) -> Shape {
        [Shape::Bytes, Shape::Numbers, Shape::Kib].into_iter().find(|s| s.name() == name).expect("a shape")
    }

    /// Lengths of a key and of a value.
    pub fn lens(self) -> (usize, usize) {
        match self {
            Shape::Bytes => (24, 150),
            Shape::Numbers => (8, 8),
            Shape::Kib => (24, 1024),
        }
    }

    /// The numbers below `count` in the order of their keys.
    pub fn order(self, count: u64) -> Vec<u32> {
        let count = u32::try_from(count).expect("no more pairs than that");
        let (mut key, mut value) = (vec![0; self.lens().0], vec![0; self.lens().1]);
        let front = |i: u32| {
            self.fill(i.into(), 0, &mut key, &mut value);
            (u64::from_be_bytes(*key.first_chunk().expect("eight bytes or more")), i)
        };
        let mut keys: Vec<(u64, u32)> = (0..count).map(front).collect();
        keys.sort_unstable();
        keys.into_iter().map(|(_, i)| i).collect()
    }

    /// Writes key and value of pair `i` in one of its versions.
    fn fill(self, i: u64, version: u64, key: &mut [u8], value: &mut [u8]) {
        match self {
            Shape::Numbers => key.copy_from_slice(&i.to_be_bytes()),
            _ => SmallRng::seed_from_u64(i).fill_bytes(key),
        }
        SmallRng::seed_from_u64(i ^ (version << 40) ^ (1 << 63)).fill_bytes(value);
    }
}

/// Pairs whose keys have one length and whose values have one.
#[derive(Clone)]
pub struct Data {
    keys: Vec<u8>,
    values: Vec<u8>,
    lens: (usize, usize),
}

impl Data {
    pub fn new(shape: Shape) -> Self {
        Data { keys: Vec::new(), values: Vec::new(), lens: shape.lens() }
    }

    /// The pairs of these numbers in these versions.
    pub fn of(shape: Shape, numbers: impl IntoIterator<Item = (u64, u64)>) -> Self {
        let mut data = Data::new(shape);
        numbers.into_iter().for_each(|(i, version)| data.push(shape, i, version));
        data
    }

    /// The least key there is.
    pub fn least(shape: Shape) -> Self {
        let lens = shape.lens();
        Data { keys: vec![0; lens.0], values: vec![0; lens.1], lens }
    }

    pub fn push(&mut self, shape: Shape, i: u64, version: u64) {
        let (keys, values) = (self.keys.len(), self.values.len());
        self.keys.resize(keys + self.lens.0, 0);
        self.values.resize(values + self.lens.1, 0);
        shape.fill(i, version, &mut self.keys[keys..], &mut self.values[values..]);
    }

    pub fn clear(&mut self) {
        self.keys.clear();
        self.values.clear();
    }

    pub fn pairs(&self) -> Pairs<'_> {
        Pairs { keys: &self.keys, values: &self.values, lens: self.lens }
    }

    /// The same pairs in the order of their keys.
    pub fn sorted(&self) -> Self {
        let pairs = self.pairs();
        let mut order: Vec<usize> = (0..pairs.len()).collect();
        order.sort_unstable_by_key(|i| pairs.get(*i).0);
        pairs.pick(order)
    }
}

/// A view of pairs.
#[derive(Clone, Copy)]
pub struct Pairs<'a> {
    keys: &'a [u8],
    values: &'a [u8],
    lens: (usize, usize),
}

impl<'a> Pairs<'a> {
    pub fn len(self) -> usize {
        self.keys.len() / self.lens.0
    }

    pub fn is_empty(self) -> bool {
        self.keys.is_empty()
    }

    pub fn get(self, i: usize) -> (&'a [u8], &'a [u8]) {
        let (key, value) = self.lens;
        (&self.keys[i * key..][..key], &self.values[i * value..][..value])
    }

    pub fn iter(self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        self.keys.chunks_exact(self.lens.0).zip(self.values.chunks_exact(self.lens.1))
    }

    pub fn slice(self, range: Range<usize>) -> Self {
        let (key, value) = self.lens;
        Pairs {
            keys: &self.keys[range.start * key..range.end * key],
            values: &self.values[range.start * value..range.end * value],
            lens: self.lens,
        }
    }

    /// `size` at a time.
    pub fn chunks(self, size: usize) -> impl Iterator<Item = Pairs<'a>> + Clone {
        (0..self.len()).step_by(size).map(move |at| self.slice(at..self.len().min(at + size)))
    }

    /// A copy of those at `places`, so that reading them costs the store's cache misses and no others.
    pub fn pick(self, places: impl IntoIterator<Item = usize>) -> Data {
        let mut data = Data { keys: Vec::new(), values: Vec::new(), lens: self.lens };
        for (key, value) in places.into_iter().map(|i| self.get(i)) {
            data.keys.extend_from_slice(key);
            data.values.extend_from_slice(value);
        }
        data
    }

    /// What a scan over these must find.
    pub fn seen(self) -> Seen {
        let mut seen = Seen::default();
        self.iter().for_each(|(key, value)| seen.entry(key, value));
        seen
    }
}

/// What a scan found: how many entries, and a sum over a word of each key and of each value.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Seen {
    pub entries: u64,
    pub sum: u64,
}

fn last_word(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(*bytes.last_chunk().expect("eight bytes or more"))
}

impl Seen {
    #[inline(always)]
    pub fn entry(&mut self, key: &[u8], value: &[u8]) {
        self.words(last_word(key), last_word(value));
    }

    /// The same for a table of numbers.
    #[inline(always)]
    pub fn numbers(&mut self, key: u64, value: u64) {
        self.words(key.swap_bytes(), value);
    }

    #[inline(always)]
    fn words(&mut self, key: u64, value: u64) {
        self.entries += 1;
        self.sum = self.sum.wrapping_add(key ^ value.rotate_left(17));
    }

    pub fn add(&mut self, other: Seen) {
        self.entries += other.entries;
        self.sum = self.sum.wrapping_add(other.sum);
    }
}

/// A key of [`Shape::Numbers`] as the number that it is.
#[inline(always)]
pub fn number(key: &[u8]) -> u64 {
    u64::from_be_bytes(key.try_into().expect("eight bytes"))
}

/// A value of [`Shape::Numbers`].
#[inline(always)]
pub fn number_value(value: &[u8]) -> u64 {
    u64::from_le_bytes(value.try_into().expect("eight bytes"))
}

/// Pairs to be put, some at a time.
pub trait Source {
    fn next(&mut self) -> Option<Pairs<'_>>;
}

/// All at once.
pub struct Once<'a>(pub Option<Pairs<'a>>);

impl Source for Once<'_> {
    fn next(&mut self) -> Option<Pairs<'_>> {
        self.0.take()
    }
}

/// Made while they are needed; how long making them took is kept, so that it can be taken off.
pub struct Made<I> {
    shape: Shape,
    left: I,
    chunk: Data,
    pub making: Duration,
    pub seen: Seen,
}

impl<I: Iterator<Item = u64>> Made<I> {
    pub fn new(shape: Shape, numbers: I) -> Self {
        Made { shape, left: numbers, chunk: Data::new(shape), making: Duration::ZERO, seen: Seen::default() }
    }
}

impl<I: Iterator<Item = u64>> Source for Made<I> {
    fn next(&mut self) -> Option<Pairs<'_>> {
        let start = Instant::now();
        self.chunk.clear();
        for i in self.left.by_ref().take(10_000) {
            self.chunk.push(self.shape, i, 0);
        }
        self.seen.add(self.chunk.pairs().seen());
        self.making += start.elapsed();
        Some(self.chunk.pairs()).filter(|pairs| !pairs.is_empty())
    }
}

/// Numbers below `n` by Zipf's law with exponent 0.99, as YCSB draws them; which are frequent is scattered.
pub struct Zipf {
    n: u64,
    zeta: f64,
    eta: f64,
}

impl Zipf {
    const THETA: f64 = 0.99;

    pub fn new(n: u64) -> Self {
        let zeta = |n: u64| (1..=n).map(|i| (i as f64).powf(-Self::THETA)).sum::<f64>();
        let whole = zeta(n);
        let eta = (1.0 - (2.0 / n as f64).powf(1.0 - Self::THETA)) / (1.0 - zeta(2) / whole);
        Zipf { n, zeta: whole, eta }
    }

    /// A rank: 0 is the most frequent.
    pub fn rank(&self, random: &mut impl Rng) -> u64 {
        let at: f64 = random.random();
        let scaled = at * self.zeta;
        if scaled < 1.0 {
            return 0;
        }
        if scaled < 1.0 + 0.5f64.powf(Self::THETA) {
            return 1.min(self.n - 1);
        }
        let rank = self.n as f64 * (self.eta * at - self.eta + 1.0).powf(1.0 / (1.0 - Self::THETA));
        (rank as u64).min(self.n - 1)
    }

    pub fn scattered(&self, random: &mut impl Rng) -> u64 {
        (self.rank(random) + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) % self.n
    }
}

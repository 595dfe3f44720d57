//! Checksums of a large value: one for each chunk, so that a part can be judged without the rest.
//!
//! Owns: how long the chunks of a value are, and their table. Promises: both follow from the value's length and the
//! page size alone; a chunk begins at a page. Leaves to others: where the value lies ([`crate::snapshot`]).
//!
//! A value of more than 16 pages has behind its last byte a table of crc32s, one for each chunk; the checksum in the
//! reference to it is the table's. A shorter one is a single chunk, and the checksum is its own.
//!
//! A chunk has at least 64 KiB, and so many that the table is no longer than a chunk: whoever reads a byte for the first
//! time judges two chunks' worth at most, and both grow with the root of the length only.

use std::ops::Range;

/// A longer value has a table: it then takes a sixteenth more room at most.
const PAGES_WITHOUT_TABLE: u64 = 16;
/// Shortest chunk: a multiple of every page size.
const MIN_CHUNK: u64 = 64 << 10;
/// Bytes of a checksum.
pub const SUM_LEN: u64 = 4;

/// The chunks of a value.
#[derive(Clone, Copy, Debug)]
pub struct Chunks {
    len: u64,
    /// Bytes of a chunk; the last one may have fewer.
    chunk_len: u64,
    has_table: bool,
}

impl Chunks {
    /// Of a value of `len` bytes, less than 2^48, in pages of `page_size`.
    pub fn of(len: u64, page_size: usize) -> Self {
        let has_table = len > PAGES_WITHOUT_TABLE * page_size as u64;
        let mut chunk_len = MIN_CHUNK;
        while chunk_len * chunk_len < SUM_LEN * len {
            chunk_len *= 2;
        }
        Chunks { len, chunk_len: if has_table { chunk_len } else { len.max(1) }, has_table }
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.len.div_ceil(self.chunk_len)
    }

    /// Bytes of the table behind the value.
    pub fn table_len(&self) -> u64 {
        if self.has_table { self.count() * SUM_LEN } else { 0 }
    }

    /// Bytes of value and table.
    pub fn stored_len(&self) -> u64 {
        self.len + self.table_len()
    }

    /// The bytes of chunk `i`.
    pub fn bytes_of(&self, i: u64) -> Range<u64> {
        i * self.chunk_len..((i + 1) * self.chunk_len).min(self.len)
    }

    /// The chunks in which these bytes of the value lie; none where there are no bytes.
    pub fn around(&self, part: &Range<u64>) -> Range<u64> {
        match part.is_empty() {
            true => 0..0,
            false => part.start / self.chunk_len..part.end.min(self.len).div_ceil(self.chunk_len),
        }
    }
}

/// The checksum of chunk `i` as a table says.
pub fn sum_in(table: &[u8], i: u64) -> u32 {
    let at = (i * SUM_LEN) as usize;
    u32::from_le_bytes(*table[at..].first_chunk().expect("the table has one for each chunk"))
}

/// Computes the table while the value goes by.
pub struct Summing {
    chunks: Chunks,
    hasher: crc32fast::Hasher,
    /// Bytes of the chunk so far.
    filled: u64,
    table: Vec<u8>,
}

impl Summing {
    /// At the beginning of a value.
    pub fn new(chunks: Chunks) -> Self {
        Summing { chunks, hasher: crc32fast::Hasher::new(), filled: 0, table: Vec::new() }
    }

    /// The next bytes of the value.
    pub fn add(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let left = (self.chunks.chunk_len - self.filled).min(bytes.len() as u64);
            let (now, later) = bytes.split_at(left as usize);
            self.hasher.update(now);
            self.filled += left;
            if self.filled == self.chunks.chunk_len {
                self.end_chunk();
            }
            bytes = later;
        }
    }

    fn end_chunk(&mut self) {
        let sum = std::mem::take(&mut self.hasher).finalize();
        self.table.extend_from_slice(&sum.to_le_bytes());
        self.filled = 0;
    }

    /// After the last byte: the table, which is empty where the value has none, and the checksum for the reference.
    pub fn finish(mut self) -> (Vec<u8>, u32) {
        if self.filled > 0 {
            self.end_chunk();
        }
        let sums = self.table.len() as u64 / SUM_LEN;
        assert_eq!(sums, self.chunks.count(), "all bytes of the value went by");
        match self.chunks.has_table {
            true => {
                let checksum = crc32fast::hash(&self.table);
                (self.table, checksum)
            }
            // The empty value has no chunk.
            false => (Vec::new(), self.table.first_chunk().map_or(0, |sum| u32::from_le_bytes(*sum))),
        }
    }
}

/// The table and the checksum of a value in memory.
pub fn sum(chunks: Chunks, value: &[u8]) -> (Vec<u8>, u32) {
    let mut summing = Summing::new(chunks);
    summing.add(value);
    summing.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_begin_at_pages_and_cover_the_value_whatever_its_length() {
        let lens = (0..48).flat_map(|bits| [(1u64 << bits) - 1, 1 << bits, (1 << bits) + 1]);
        for (len, page_size) in lens.flat_map(|len| [4096, 65536].map(|page_size| (len, page_size))) {
            let chunks = Chunks::of(len, page_size);
            let first = chunks.bytes_of(0);
            assert_eq!((chunks.count() == 0, chunks.has_table), (len == 0, len > 16 * page_size as u64));
            if chunks.has_table {
                assert!(
                    chunks.count() > 1 && first.end.is_multiple_of(page_size as u64),
                    "{len}: {chunks:?}"
                );
                assert!(chunks.table_len() <= first.end, "{len}: {chunks:?}");
                assert!(chunks.table_len() * 16 <= len, "{len}: {chunks:?}");
            }
            let last = chunks.count().saturating_sub(1);
            assert_eq!(chunks.bytes_of(last).end, len);
            assert_eq!(chunks.around(&(0..len)), 0..chunks.count());
            assert_eq!(chunks.around(&(len..len)), 0..0);
            for i in [0, last / 2, last].into_iter().filter(|i| *i < chunks.count()) {
                let bytes = chunks.bytes_of(i);
                assert_eq!(chunks.around(&bytes), i..i + 1);
                assert_eq!(chunks.around(&(bytes.end - 1..len.min(bytes.end + 1))).start, i);
            }
        }
    }

    #[test]
    fn the_table_is_the_same_however_the_value_goes_by() {
        let value: Vec<u8> = (0..300_001u32).map(|i| (i * 7) as u8).collect();
        for len in [0, 1, 65_536, 65_537, 131_072, 300_001] {
            let (value, chunks) = (&value[..len], Chunks::of(len as u64, 4096));
            let whole = sum(chunks, value);
            assert_eq!(whole.0.len() as u64, chunks.table_len());
            if whole.0.is_empty() {
                assert_eq!(whole.1, crc32fast::hash(value), "one checksum of all bytes");
            } else {
                let last = chunks.bytes_of(chunks.count() - 1);
                let found = crc32fast::hash(&value[last.start as usize..]);
                assert_eq!(sum_in(&whole.0, chunks.count() - 1), found);
            }
            for piece in [1000, 65_536, 70_000] {
                let mut summing = Summing::new(chunks);
                value.chunks(piece).for_each(|piece| summing.add(piece));
                assert_eq!(summing.finish(), whole);
            }
        }
    }
}

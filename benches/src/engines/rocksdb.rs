//! RocksDB without compression, with a block cache that holds all of the data (the stores in maps have all of
//! theirs in the page cache), Bloom filters of ten bits a key, and `WriteOptions::sync`: a flush of the log
//! at each commit. Not waiting for the disk leaves that out. Numbers are big-endian keys. Compaction is a
//! full `compact_range`.

use super::{Direction, Engine, Mode, check};
use crate::data::{Pairs, Seen, Source};
use rocksdb::{
    BlockBasedOptions, Cache, DB, DBCompressionType, DBRawIteratorWithThreadMode, Options,
    WaitForCompactOptions, WriteBatch, WriteOptions,
};
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

/// The one that plain puts and gets mean; named, so that several keys can be got in one call.
const TABLE: &str = "default";

#[derive(Clone)]
pub struct Rocksdb {
    db: Arc<DB>,
    sync: bool,
}

pub fn open(directory: &Path, mode: Mode) -> Box<dyn Engine> {
    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_cache(&Cache::new_lru_cache(crate::cache_bytes()));
    blocks.set_bloom_filter(10.0, false);
    let mut options = Options::default();
    options.create_if_missing(true);
    options.set_compression_type(DBCompressionType::None);
    options.set_block_based_table_factory(&blocks);
    let db = match mode {
        Mode::Reading => DB::open_cf_for_read_only(&options, directory, [TABLE], false),
        Mode::Durable | Mode::NotWaiting | Mode::Scarce => DB::open_cf(&options, directory, [TABLE]),
    };
    Box::new(Rocksdb { db: Arc::new(db.expect("opened")), sync: mode != Mode::NotWaiting })
}

impl Rocksdb {
    fn write(&self, batch: WriteBatch) {
        let mut options = WriteOptions::default();
        options.set_sync(self.sync);
        self.db.write_opt(batch, &options).expect("committed");
    }

    fn see(seen: &mut Seen, entries: &DBRawIteratorWithThreadMode<DB>) -> bool {
        let Some((key, value)) = entries.item() else {
            entries.status().expect("readable");
            return false;
        };
        seen.entry(key, value);
        true
    }
}

impl Engine for Rocksdb {
    fn put_all(&self, source: &mut dyn Source) {
        let mut batch = WriteBatch::default();
        while let Some(pairs) = source.next() {
            pairs.iter().for_each(|(key, value)| batch.put(key, value));
        }
        self.write(batch);
    }

    /// Deleting looks for no key, so being there is what the others check.
    fn delete(&self, pairs: Pairs) {
        let mut batch = WriteBatch::default();
        pairs.iter().for_each(|(key, _)| batch.delete(key));
        self.write(batch);
    }

    fn get_all(&self, pairs: Pairs) {
        for (key, value) in pairs.iter() {
            check(self.db.get_pinned(key).expect("readable").as_deref(), value);
        }
    }

    fn get_many(&self, pairs: Pairs, together: usize) {
        let family = self.db.cf_handle(TABLE).expect("a column family");
        for some in pairs.chunks(together) {
            let found = self.db.batched_multi_get_cf(&family, some.iter().map(|(key, _)| key), false);
            for (found, (_, value)) in found.into_iter().zip(some.iter()) {
                check(found.expect("readable").as_deref(), value);
            }
        }
    }

    fn seek(&self, keys: Pairs, entries: usize) -> Seen {
        let mut at = self.db.raw_iterator();
        let mut seen = Seen::default();
        for (key, _) in keys.iter() {
            at.seek(key);
            for _ in 0..entries {
                if !Self::see(&mut seen, &at) {
                    break;
                }
                at.next();
            }
        }
        seen
    }

    fn scan(&self, direction: Direction) -> Seen {
        let mut at = self.db.raw_iterator();
        let mut seen = Seen::default();
        match direction {
            Direction::Forward => at.seek_to_first(),
            Direction::Reverse => at.seek_to_last(),
        }
        while Self::see(&mut seen, &at) {
            match direction {
                Direction::Forward => at.next(),
                Direction::Reverse => at.prev(),
            }
        }
        seen
    }

    fn begin_read(&self, times: usize) {
        for _ in 0..times {
            black_box(self.db.snapshot());
        }
    }

    fn another(&self) -> Box<dyn Engine> {
        Box::new(self.clone())
    }

    fn settle(&self) {
        self.db.flush().expect("flushed");
        self.db.wait_for_compact(&WaitForCompactOptions::default()).expect("compacted");
    }

    fn compact(&mut self) -> bool {
        self.db.compact_range::<&[u8], &[u8]>(None, None);
        true
    }
}

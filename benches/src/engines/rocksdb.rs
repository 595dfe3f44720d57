//! RocksDB with its defaults, without compression, and `WriteOptions::sync`.

use super::Engine;
use crate::Pair;
use rocksdb::{DB, DBCompressionType, Options, WaitForCompactOptions, WriteBatch, WriteOptions};
use std::path::Path;
use std::sync::Arc;

#[derive(Clone)]
pub struct Rocksdb(Arc<DB>);

impl Rocksdb {
    pub fn open(directory: &Path) -> Self {
        let mut options = Options::default();
        options.create_if_missing(true);
        options.set_compression_type(DBCompressionType::None);
        Rocksdb(Arc::new(DB::open(&options, directory).expect("opened")))
    }
}

impl Engine for Rocksdb {
    fn commit(&self, pairs: &[Pair]) {
        let mut batch = WriteBatch::default();
        for (key, value) in pairs {
            batch.put(key, value);
        }
        let mut durable = WriteOptions::default();
        durable.set_sync(true);
        self.0.write_opt(batch, &durable).expect("committed");
    }

    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.0.get(key).expect("readable")
    }

    fn another(&self) -> Box<dyn Engine> {
        Box::new(self.clone())
    }

    fn settle(&self) {
        self.0.wait_for_compact(&WaitForCompactOptions::default()).expect("compacted");
    }
}

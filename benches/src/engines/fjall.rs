//! fjall without compression, with a block cache that holds all of the data, and `PersistMode::SyncAll` after
//! each commit: a batch is in the journal, and that is flushed. Not waiting for the disk is
//! `PersistMode::Buffer`. It chooses by itself when it writes tables. Numbers are big-endian keys. Compaction
//! is `major_compact`.

use super::{Direction, Engine, Mode, check};
use crate::data::{Pairs, Seen, Source};
use fjall::config::CompressionPolicy;
use fjall::{
    CompressionType, Database, Guard, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode, Readable,
};
use std::hint::black_box;
use std::path::Path;

#[derive(Clone)]
struct Fjall {
    db: Database,
    table: Keyspace,
    durability: PersistMode,
}

pub fn open(directory: &Path, mode: Mode) -> Box<dyn Engine> {
    let db = Database::builder(directory).cache_size(crate::cache_bytes() as u64).open().expect("opened");
    let plain = || {
        KeyspaceCreateOptions::default()
            .data_block_compression_policy(CompressionPolicy::all(CompressionType::None))
            .expect_point_read_hits(true)
    };
    let table = db.keyspace("pairs", plain).expect("a table");
    let durability = if mode == Mode::NotWaiting { PersistMode::Buffer } else { PersistMode::SyncAll };
    Box::new(Fjall { db, table, durability })
}

impl Fjall {
    fn batch(&self) -> OwnedWriteBatch {
        self.db.batch().durability(Some(self.durability))
    }
}

fn see(seen: &mut Seen, entry: Guard) {
    let (key, value) = entry.into_inner().expect("readable");
    seen.entry(&key, &value);
}

impl Engine for Fjall {
    fn put_all(&self, source: &mut dyn Source) {
        let mut batch = self.batch();
        while let Some(pairs) = source.next() {
            pairs.iter().for_each(|(key, value)| batch.insert(&self.table, key, value));
        }
        batch.commit().expect("committed");
    }

    /// Deleting looks for no key, so being there is what the others check.
    fn delete(&self, pairs: Pairs) {
        let mut batch = self.batch();
        pairs.iter().for_each(|(key, _)| batch.remove(&self.table, key));
        batch.commit().expect("committed");
    }

    fn get_all(&self, pairs: Pairs) {
        let r = self.db.snapshot();
        for (key, value) in pairs.iter() {
            check(r.get(&self.table, key).expect("readable").as_deref(), value);
        }
    }

    fn seek(&self, keys: Pairs, entries: usize) -> Seen {
        let r = self.db.snapshot();
        let mut seen = Seen::default();
        for (key, _) in keys.iter() {
            r.range(&self.table, key..).take(entries).for_each(|entry| see(&mut seen, entry));
        }
        seen
    }

    fn scan(&self, direction: Direction) -> Seen {
        let entries = self.db.snapshot().iter(&self.table);
        let mut seen = Seen::default();
        match direction {
            Direction::Forward => entries.for_each(|entry| see(&mut seen, entry)),
            Direction::Reverse => entries.rev().for_each(|entry| see(&mut seen, entry)),
        }
        seen
    }

    fn begin_read(&self, times: usize) {
        for _ in 0..times {
            drop(black_box(self.db.snapshot()));
        }
    }

    fn another(&self) -> Box<dyn Engine> {
        Box::new(self.clone())
    }

    fn settle(&self) {
        self.table.rotate_memtable_and_wait().expect("flushed");
        while self.db.outstanding_flushes() > 0 || self.db.active_compactions() > 0 {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }

    fn compact(&mut self) -> bool {
        self.table.rotate_memtable_and_wait().expect("flushed");
        self.table.major_compact().expect("compacted");
        true
    }
}

//! canopydb with a page cache that holds all of the data, its log, checksums of all pages, and commits that
//! flush the log (`commit_with(true)`). Not waiting for the disk is `commit_with(false)`, its default.
//! Numbers are big-endian keys in a tree of fixed widths. Compaction is `Database::compact`.

use super::{Direction, Engine, Mode, check};
use crate::data::{Pairs, Seen, Shape, Source};
use canopydb::{Database, DbOptions, EnvOptions, Tree, TreeOptions, WriteTransaction};
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

const TABLE: &[u8] = b"pairs";

#[derive(Clone)]
struct Canopy {
    db: Arc<Database>,
    sync: bool,
    shape: Shape,
}

pub fn open(directory: &Path, shape: Shape, mode: Mode) -> Box<dyn Engine> {
    let mut env = EnvOptions::new(directory);
    env.use_checksums = true;
    env.page_cache_size = crate::cache_bytes();
    let db = Database::with_options(env, DbOptions::new()).expect("opened");
    Box::new(Canopy { db: Arc::new(db), sync: mode != Mode::NotWaiting, shape })
}

impl Canopy {
    fn write(&self, change: impl FnOnce(&mut Tree)) {
        let w: WriteTransaction = self.db.begin_write().expect("a txn");
        let mut options = TreeOptions::new();
        if self.shape == Shape::Numbers {
            (options.fixed_key_len, options.fixed_value_len) = (8, 8);
        }
        let mut tree = w.get_or_create_tree_with(TABLE, options).expect("a table");
        change(&mut tree);
        drop(tree);
        w.commit_with(self.sync).expect("committed");
    }

    fn read<T>(&self, read: impl FnOnce(&Tree) -> T) -> T {
        let r = self.db.begin_read().expect("a snapshot");
        let tree = r.get_tree(TABLE).expect("readable").expect("the table");
        read(&tree)
    }
}

impl Engine for Canopy {
    fn put_all(&self, source: &mut dyn Source) {
        self.write(|tree| {
            while let Some(pairs) = source.next() {
                pairs.iter().for_each(|(key, value)| tree.insert(key, value).expect("put"));
            }
        });
    }

    fn delete(&self, pairs: Pairs) {
        self.write(|tree| {
            for (key, _) in pairs.iter() {
                assert!(tree.delete(key).expect("deleted"), "not there");
            }
        });
    }

    fn get_all(&self, pairs: Pairs) {
        self.read(|tree| {
            for (key, value) in pairs.iter() {
                check(tree.get(key).expect("readable").as_deref(), value);
            }
        });
    }

    fn seek(&self, keys: Pairs, entries: usize) -> Seen {
        let mut seen = Seen::default();
        self.read(|tree| {
            for (key, _) in keys.iter() {
                for entry in tree.range(key..).expect("a cursor").take(entries) {
                    let (key, value) = entry.expect("readable");
                    seen.entry(&key, &value);
                }
            }
        });
        seen
    }

    fn scan(&self, direction: Direction) -> Seen {
        let mut seen = Seen::default();
        let mut see = |entry: Result<(canopydb::Bytes, canopydb::Bytes), canopydb::Error>| {
            let (key, value) = entry.expect("readable");
            seen.entry(&key, &value);
        };
        self.read(|tree| {
            let entries = tree.iter().expect("a cursor");
            match direction {
                Direction::Forward => entries.for_each(&mut see),
                Direction::Reverse => entries.rev().for_each(&mut see),
            }
        });
        seen
    }

    fn begin_read(&self, times: usize) {
        for _ in 0..times {
            drop(black_box(self.db.begin_read().expect("a snapshot")));
        }
    }

    fn another(&self) -> Box<dyn Engine> {
        Box::new(self.clone())
    }

    fn settle(&self) {
        self.db.checkpoint().expect("a checkpoint");
    }

    fn compact(&mut self) -> bool {
        self.db.compact().expect("compacted");
        true
    }
}

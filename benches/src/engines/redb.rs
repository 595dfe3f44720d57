//! redb with a cache that holds all of the data and `Durability::Immediate`, its default: one flush a commit,
//! and checksums that tell a commit that was torn. Not waiting for the disk is `Durability::None`. Numbers
//! are a table of u64.

use super::{Direction, Engine, Mode, Snapshot};
use crate::data::{Pairs, Seen, Shape, Source, number, number_value};
use redb::{
    Builder, Database, Durability, ReadOnlyDatabase, ReadableDatabase, ReadableTable, TableDefinition,
};
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

const BYTES: TableDefinition<&[u8], &[u8]> = TableDefinition::new("pairs");
const NUMBERS: TableDefinition<u64, u64> = TableDefinition::new("numbers");

pub fn open(directory: &Path, shape: Shape, mode: Mode) -> Box<dyn Engine> {
    let path = directory.join("store");
    let store = match mode {
        Mode::Reading => Store::Reading(cached().open_read_only(path).expect("opened")),
        Mode::Durable | Mode::Scarce => {
            Store::Writing(cached().create(path).expect("opened"), Durability::Immediate)
        }
        Mode::NotWaiting => Store::Writing(cached().create(path).expect("opened"), Durability::None),
    };
    match shape {
        Shape::Numbers => Box::new(Numbers(Arc::new(store))),
        Shape::Bytes | Shape::Kib => Box::new(Bytes(Arc::new(store))),
    }
}

fn cached() -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(crate::cache_bytes());
    builder
}

enum Store {
    Writing(Database, Durability),
    Reading(ReadOnlyDatabase),
}

impl Store {
    fn begin_read(&self) -> redb::ReadTransaction {
        match self {
            Store::Writing(db, _) => db.begin_read(),
            Store::Reading(db) => db.begin_read(),
        }
        .expect("a snapshot")
    }

    fn begin_write(&self) -> redb::WriteTransaction {
        let Store::Writing(db, durability) = self else { panic!("opened for reading") };
        let mut w = db.begin_write().expect("a txn");
        w.set_durability(*durability).expect("this durability");
        w
    }
}

struct Bytes(Arc<Store>);
struct Numbers(Arc<Store>);

fn bytes(bytes: &[u8]) -> &[u8] {
    bytes
}

macro_rules! engine {
    ($engine:ident, $table:expr, $key:ident, $value:ident, $entry:ident) => {
        impl Engine for $engine {
            fn put_all(&self, source: &mut dyn Source) {
                let w = self.0.begin_write();
                let mut table = w.open_table($table).expect("a table");
                while let Some(pairs) = source.next() {
                    for (key, value) in pairs.iter() {
                        table.insert($key(key), $value(value)).expect("put");
                    }
                }
                drop(table);
                w.commit().expect("committed");
            }

            fn delete(&self, pairs: Pairs) {
                let w = self.0.begin_write();
                let mut table = w.open_table($table).expect("a table");
                for (key, _) in pairs.iter() {
                    assert!(table.remove($key(key)).expect("deleted").is_some(), "not there");
                }
                drop(table);
                w.commit().expect("committed");
            }

            fn get_all(&self, pairs: Pairs) {
                let r = self.0.begin_read();
                let table = r.open_table($table).expect("the table");
                for (key, value) in pairs.iter() {
                    let found = table.get($key(key)).expect("readable").expect("there");
                    assert!(found.value() == $value(value), "a wrong value");
                }
            }

            fn seek(&self, keys: Pairs, entries: usize) -> Seen {
                let r = self.0.begin_read();
                let table = r.open_table($table).expect("the table");
                let mut seen = Seen::default();
                for (key, _) in keys.iter() {
                    for entry in table.range($key(key)..).expect("a cursor").take(entries) {
                        let (key, value) = entry.expect("readable");
                        seen.$entry(key.value(), value.value());
                    }
                }
                seen
            }

            fn scan(&self, direction: Direction) -> Seen {
                let r = self.0.begin_read();
                let table = r.open_table($table).expect("the table");
                let entries = table.iter().expect("a cursor");
                let mut seen = Seen::default();
                let see = |entry: Result<(redb::AccessGuard<_>, redb::AccessGuard<_>), _>| {
                    let (key, value) = entry.expect("readable");
                    seen.$entry(key.value(), value.value());
                };
                match direction {
                    Direction::Forward => entries.for_each(see),
                    Direction::Reverse => entries.rev().for_each(see),
                }
                seen
            }

            fn begin_read(&self, times: usize) {
                for _ in 0..times {
                    black_box(self.0.begin_read());
                }
            }

            fn snapshot(&self) -> Option<Snapshot<'_>> {
                let r = self.0.begin_read();
                Some(Box::new(move |pairs| {
                    let table = r.open_table($table).expect("the table");
                    for (key, value) in pairs.iter() {
                        let found = table.get($key(key)).expect("readable").expect("there");
                        assert!(found.value() == $value(value), "a wrong value");
                    }
                }))
            }

            fn settle(&self) {
                let Store::Writing(db, _) = &*self.0 else { return };
                // Its txns that waited for nothing become durable with the next one that does.
                let mut w = db.begin_write().expect("a txn");
                w.set_durability(Durability::Immediate).expect("this durability");
                w.commit().expect("committed");
            }

            fn another(&self) -> Box<dyn Engine> {
                Box::new($engine(self.0.clone()))
            }

            fn compact(&mut self) -> bool {
                let Some(Store::Writing(db, _)) = Arc::get_mut(&mut self.0) else { return false };
                while db.compact().expect("compacted") {}
                true
            }
        }
    };
}

engine!(Bytes, BYTES, bytes, bytes, entry);
engine!(Numbers, NUMBERS, number, number_value, numbers);

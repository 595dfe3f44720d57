//! mapleaf with its defaults: checksums, bounds checks and slots on, every commit durable
//! (`Durability::Durable`). Not waiting for the disk is `Durability::Eventual`. Numbers are a table of u64.

use super::{Direction, Engine, Mode, Snapshot};
use crate::PAIRS;
use crate::data::{Pairs, Seen, Shape, Source, number, number_value};
use mapleaf::{Database, Durability, Error, Options, Table};
use std::hint::black_box;
use std::path::Path;

const NUMBERS: Table<u64, u64> = Table::new("numbers");

pub fn open(directory: &Path, shape: Shape, mode: Mode) -> Box<dyn Engine> {
    let durability = match mode {
        Mode::NotWaiting => Durability::Eventual,
        Mode::Durable | Mode::Reading | Mode::Scarce => Durability::Durable,
    };
    // SAFETY: the file is this program's own.
    let db = unsafe { Options::new().durability(durability).open(directory.join("store")) }.expect("opened");
    match shape {
        Shape::Numbers => Box::new(Numbers(db)),
        Shape::Bytes | Shape::Kib => Box::new(Bytes(db)),
    }
}

struct Bytes(Database);
struct Numbers(Database);

fn bytes(bytes: &[u8]) -> &[u8] {
    bytes
}

/// What both tables have in common, which is all but the types: `$by` is the `&` that a number needs.
macro_rules! engine {
    ($engine:ident, $table:expr, $key:ident, $value:ident, [$($by:tt)?], $entry:ident) => {
        impl Engine for $engine {
            fn put_all(&self, source: &mut dyn Source) {
                self.0
                    .write(|w| {
                        while let Some(pairs) = source.next() {
                            for (key, value) in pairs.iter() {
                                w.put($table, $($by)? $key(key), $($by)? $value(value))?;
                            }
                        }
                        Ok(())
                    })
                    .expect("committed");
            }

            fn put_beside_others(&self, pairs: Pairs) {
                let put = |w: &mut mapleaf::WriteTxn| {
                    pairs.iter().try_for_each(|(key, value)| {
                        w.put($table, $($by)? $key(key), $($by)? $value(value)).map(|_| ())
                    })
                };
                self.0.batch(put).expect("committed");
            }

            fn delete(&self, pairs: Pairs) {
                self.0
                    .write(|w| {
                        for (key, _) in pairs.iter() {
                            assert!(w.delete($table, $($by)? $key(key))?, "not there");
                        }
                        Ok(())
                    })
                    .expect("committed");
            }

            fn get_all(&self, pairs: Pairs) {
                let r = self.0.begin_read().expect("a snapshot");
                let table = r.table($table).expect("the table");
                for (key, value) in pairs.iter() {
                    let found = table.get($($by)? $key(key)).expect("readable");
                    assert!(found == Some($value(value)), "a wrong value");
                }
            }

            fn get_many(&self, pairs: Pairs, together: usize) {
                let r = self.0.begin_read().expect("a snapshot");
                let table = r.table($table).expect("the table");
                for pairs in pairs.chunks(together) {
                    let keys: Vec<_> = pairs.iter().map(|(key, _)| $key(key)).collect();
                    let found = table.get_many(&keys).expect("readable");
                    let expected = pairs.iter().map(|(_, value)| Some($value(value)));
                    assert!(found.into_iter().eq(expected), "a wrong value");
                }
            }

            fn seek(&self, keys: Pairs, entries: usize) -> Seen {
                let r = self.0.begin_read().expect("a snapshot");
                let table = r.table($table).expect("the table");
                let mut seen = Seen::default();
                for (key, _) in keys.iter() {
                    for entry in table.range($key(key)..).take(entries) {
                        let (key, value) = entry.expect("readable");
                        seen.$entry(key, value);
                    }
                }
                seen
            }

            fn scan(&self, direction: Direction) -> Seen {
                let r = self.0.begin_read().expect("a snapshot");
                let entries = r.iter($table).expect("the table");
                let mut seen = Seen::default();
                let see = |entry: Result<_, Error>| {
                    let (key, value) = entry.expect("readable");
                    seen.$entry(key, value);
                };
                match direction {
                    Direction::Forward => entries.for_each(see),
                    Direction::Reverse => entries.rev().for_each(see),
                }
                seen
            }

            fn begin_read(&self, times: usize) {
                for _ in 0..times {
                    black_box(self.0.begin_read().expect("a snapshot"));
                }
            }

            fn snapshot(&self) -> Option<Snapshot<'_>> {
                let r = self.0.begin_read().expect("a snapshot");
                Some(Box::new(move |pairs| {
                    let table = r.table($table).expect("the table");
                    for (key, value) in pairs.iter() {
                        let found = table.get($($by)? $key(key)).expect("readable");
                        assert!(found == Some($value(value)), "a wrong value");
                    }
                }))
            }

            fn another(&self) -> Box<dyn Engine> {
                Box::new($engine(self.0.clone()))
            }

            fn settle(&self) {
                self.0.checkpoint().expect("a checkpoint");
            }
        }
    };
}

engine!(Bytes, PAIRS, bytes, bytes, [], entry);
engine!(Numbers, NUMBERS, number, number_value, [&], numbers);

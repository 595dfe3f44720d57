//! sanakirja 1.4: a commit flushes its whole map, then its root pages; it has no other durability, and no
//! compaction. Its trees are multimaps, so overwriting is a deletion and a put. Values have at most 510
//! bytes. It grows by doubling, so that what its file occupies says little. Eight versions may be alive at
//! once. Writers of one process that it lets in together damage its tree (an assertion in `from_raw_ptr`
//! fails), so they take turns before they come to it.

use super::{Direction, Engine, Mode};
use crate::data::{Pairs, Seen, Shape, Source, number, number_value};
use sanakirja::btree::{self, Cursor, Db_, page, page_unsized};
use sanakirja::{Commit, Env, MutTxn, RootDb, Txn};
use std::hint::black_box;
use std::path::Path;
use std::sync::{Arc, Mutex};

/// The root that points to the table.
const ROOT: usize = 0;

pub fn open(directory: &Path, shape: Shape, _mode: Mode) -> Box<dyn Engine> {
    let env = Env::new(directory.join("store"), 1 << 24, 8).expect("opened");
    let store = Arc::new(Store { env, writer: Mutex::new(()) });
    match shape {
        Shape::Numbers => Box::new(Numbers(store)),
        Shape::Bytes => Box::new(Bytes(store)),
        Shape::Kib => panic!("values have at most 510 bytes"),
    }
}

struct Store {
    env: Env,
    writer: Mutex<()>,
}

struct Bytes(Arc<Store>);
struct Numbers(Arc<Store>);

fn bytes(bytes: &[u8]) -> &[u8] {
    bytes
}

macro_rules! engine {
    ($engine:ident, $table:ty, $page:ty, $part:ty, $key:ident, $value:ident,
     [$($by:tt)?], [$($at:tt)?], $entry:ident) => {
        impl $engine {
            fn read<T>(&self, read: impl FnOnce(&Txn<&Env>, &$table) -> T) -> T {
                let r = Env::txn_begin(&self.0.env).expect("a snapshot");
                let table: $table = r.root_db(ROOT).expect("the table");
                read(&r, &table)
            }

            fn write(&self, change: impl FnOnce(&mut MutTxn<&Env, ()>, &mut $table)) {
                let _turn = self.0.writer.lock().expect("nobody panicked");
                let mut w = Env::mut_txn_begin(&self.0.env).expect("a txn");
                let mut table: $table = match w.root_db(ROOT) {
                    Some(table) => table,
                    // SAFETY: the page type is the one for these keys and values.
                    None => unsafe { btree::create_db_::<_, $part, $part, $page>(&mut w) }.expect("a table"),
                };
                change(&mut w, &mut table);
                w.set_root(ROOT, table.db.into());
                w.commit().expect("committed");
            }
        }

        impl Engine for $engine {
            fn put_all(&self, source: &mut dyn Source) {
                self.write(|w, table| {
                    while let Some(pairs) = source.next() {
                        for (key, value) in pairs.iter() {
                            let (key, value) = ($($by)? $key(key), $($by)? $value(value));
                            btree::del(w, table, key, None).expect("deleted");
                            btree::put(w, table, key, value).expect("put");
                        }
                    }
                });
            }

            fn delete(&self, pairs: Pairs) {
                self.write(|w, table| {
                    for (key, _) in pairs.iter() {
                        let was_there = btree::del(w, table, $($by)? $key(key), None).expect("deleted");
                        assert!(was_there, "not there");
                    }
                });
            }

            fn get_all(&self, pairs: Pairs) {
                self.read(|r, table| {
                    for (key, value) in pairs.iter() {
                        let (key, value) = ($($by)? $key(key), $($by)? $value(value));
                        let found = btree::get(r, table, key, None).expect("readable");
                        assert!(found == Some((key, value)), "a wrong value");
                    }
                });
            }

            fn seek(&self, keys: Pairs, entries: usize) -> Seen {
                let mut seen = Seen::default();
                self.read(|r, table| {
                    let mut at = Cursor::new(r, table).expect("a cursor");
                    for (key, _) in keys.iter() {
                        at.set(r, $($by)? $key(key), None).expect("readable");
                        for _ in 0..entries {
                            let Some((key, value)) = at.next(r).expect("readable") else { break };
                            seen.$entry($($at)? key, $($at)? value);
                        }
                    }
                });
                seen
            }

            fn scan(&self, direction: Direction) -> Seen {
                let mut seen = Seen::default();
                self.read(|r, table| {
                    let mut at = Cursor::new(r, table).expect("a cursor");
                    if direction == Direction::Reverse {
                        at.set_last(r).expect("readable");
                    }
                    loop {
                        let entry = match direction {
                            Direction::Forward => at.next(r),
                            Direction::Reverse => at.prev(r),
                        };
                        let Some((key, value)) = entry.expect("readable") else { break };
                        seen.$entry($($at)? key, $($at)? value);
                    }
                });
                seen
            }

            fn begin_read(&self, times: usize) {
                for _ in 0..times {
                    drop(black_box(Env::txn_begin(&self.0.env).expect("a snapshot")));
                }
            }

            fn another(&self) -> Box<dyn Engine> {
                Box::new($engine(self.0.clone()))
            }
        }
    };
}

type BytesPage = page_unsized::Page<[u8], [u8]>;
type NumbersPage = page::Page<u64, u64>;

engine!(Bytes, Db_<[u8], [u8], BytesPage>, BytesPage, [u8], bytes, bytes, [], [], entry);
engine!(Numbers, Db_<u64, u64, NumbersPage>, NumbersPage, u64, number, number_value, [&], [*], numbers);

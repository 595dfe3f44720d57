//! LMDB through heed, with its default durability: a commit writes its pages, flushes them, then writes the
//! meta page through a synchronous descriptor; with a writable map, it flushes the map twice. Not waiting for
//! the disk is MDB_NOSYNC. Where memory is scarce, MDB_NORDAHEAD, as its documentation advises. Numbers are
//! an MDB_INTEGERKEY table. Compaction is a compacting copy.

use super::{Direction, Engine, Mode, Snapshot, check};
use crate::data::{Pairs, Seen, Shape, Source, number, number_value};
use heed::types::Bytes;
use heed::{CompactionOption, Database, DatabaseFlags, Env, EnvFlags, EnvOpenOptions};
use std::hint::black_box;
use std::marker::PhantomData;
use std::ops::Bound;
use std::path::{Path, PathBuf};

#[expect(
    deprecated,
    reason = "the comparator that is to replace the flag is one more type for the same table"
)]
const NUMBERS: DatabaseFlags = DatabaseFlags::INTEGER_KEY;

pub fn open(directory: &Path, shape: Shape, mode: Mode, writemap: bool) -> Box<dyn Engine> {
    let mut flags = EnvFlags::empty();
    flags.set(EnvFlags::WRITE_MAP, writemap);
    flags.set(EnvFlags::NO_SYNC, mode == Mode::NotWaiting);
    flags.set(EnvFlags::NO_READ_AHEAD, mode == Mode::Scarce);
    match shape {
        Shape::Numbers => Box::new(Lmdb::<Native>::open(directory, flags, NUMBERS)),
        Shape::Bytes | Shape::Kib => Box::new(Lmdb::<Plain>::open(directory, flags, DatabaseFlags::empty())),
    }
}

/// How keys are given to the store.
pub trait Form: Send + 'static {
    type Key<'a>: AsRef<[u8]>;
    fn key(bytes: &[u8]) -> Self::Key<'_>;
    fn see(seen: &mut Seen, key: &[u8], value: &[u8]);
}

pub struct Plain;

impl Form for Plain {
    type Key<'a> = &'a [u8];

    #[inline(always)]
    fn key(bytes: &[u8]) -> &[u8] {
        bytes
    }

    #[inline(always)]
    fn see(seen: &mut Seen, key: &[u8], value: &[u8]) {
        seen.entry(key, value);
    }
}

/// Numbers in the machine's order.
pub struct Native;

impl Form for Native {
    type Key<'a> = [u8; 8];

    #[inline(always)]
    fn key(bytes: &[u8]) -> [u8; 8] {
        number(bytes).to_ne_bytes()
    }

    #[inline(always)]
    fn see(seen: &mut Seen, key: &[u8], value: &[u8]) {
        seen.numbers(u64::from_ne_bytes(key.try_into().expect("a number")), number_value(value));
    }
}

struct Lmdb<F> {
    directory: PathBuf,
    env: Env,
    table: Database<Bytes, Bytes>,
    form: PhantomData<F>,
}

impl<F: Form> Lmdb<F> {
    fn open(directory: &Path, flags: EnvFlags, table_flags: DatabaseFlags) -> Self {
        let mut options = EnvOpenOptions::new();
        options.map_size(crate::map_bytes()).max_dbs(1);
        // SAFETY: the files are this program's own, and only the measurement gives durability up.
        let env = unsafe { options.flags(flags).open(directory) }.expect("opened");
        let mut databases = env.database_options().types::<Bytes, Bytes>();
        databases.name("pairs").flags(table_flags);
        let r = env.read_txn().expect("a snapshot");
        let table = databases.open(&r).expect("readable");
        r.commit().expect("kept");
        let table = table.unwrap_or_else(|| {
            let mut w = env.write_txn().expect("a txn");
            let table = databases.create(&mut w).expect("a table");
            w.commit().expect("committed");
            table
        });
        Lmdb { directory: directory.to_owned(), env, table, form: PhantomData }
    }
}

impl<F: Form> Engine for Lmdb<F> {
    fn put_all(&self, source: &mut dyn Source) {
        let mut w = self.env.write_txn().expect("a txn");
        while let Some(pairs) = source.next() {
            for (key, value) in pairs.iter() {
                self.table.put(&mut w, F::key(key).as_ref(), value).expect("put");
            }
        }
        w.commit().expect("committed");
    }

    fn delete(&self, pairs: Pairs) {
        let mut w = self.env.write_txn().expect("a txn");
        for (key, _) in pairs.iter() {
            assert!(self.table.delete(&mut w, F::key(key).as_ref()).expect("deleted"), "not there");
        }
        w.commit().expect("committed");
    }

    fn get_all(&self, pairs: Pairs) {
        let r = self.env.read_txn().expect("a snapshot");
        for (key, value) in pairs.iter() {
            check(self.table.get(&r, F::key(key).as_ref()).expect("readable"), value);
        }
    }

    fn seek(&self, keys: Pairs, entries: usize) -> Seen {
        let r = self.env.read_txn().expect("a snapshot");
        let mut seen = Seen::default();
        for (key, _) in keys.iter() {
            let key = F::key(key);
            let range = (Bound::Included(key.as_ref()), Bound::<&[u8]>::Unbounded);
            for entry in self.table.range(&r, &range).expect("a cursor").take(entries) {
                let (key, value) = entry.expect("readable");
                F::see(&mut seen, key, value);
            }
        }
        seen
    }

    fn scan(&self, direction: Direction) -> Seen {
        let r = self.env.read_txn().expect("a snapshot");
        let mut seen = Seen::default();
        let see = |entry: heed::Result<(&[u8], &[u8])>| {
            let (key, value) = entry.expect("readable");
            F::see(&mut seen, key, value);
        };
        match direction {
            Direction::Forward => self.table.iter(&r).expect("a cursor").for_each(see),
            Direction::Reverse => self.table.rev_iter(&r).expect("a cursor").for_each(see),
        }
        seen
    }

    fn begin_read(&self, times: usize) {
        for _ in 0..times {
            black_box(self.env.read_txn().expect("a snapshot"));
        }
    }

    fn snapshot(&self) -> Option<Snapshot<'_>> {
        let r = self.env.read_txn().expect("a snapshot");
        Some(Box::new(move |pairs| {
            for (key, value) in pairs.iter() {
                check(self.table.get(&r, F::key(key).as_ref()).expect("readable"), value);
            }
        }))
    }

    fn another(&self) -> Box<dyn Engine> {
        let (directory, env) = (self.directory.clone(), self.env.clone());
        Box::new(Lmdb::<F> { directory, env, table: self.table, form: PhantomData })
    }

    fn settle(&self) {
        self.env.force_sync().expect("flushed");
    }

    fn compact(&mut self) -> bool {
        let (copy, data) = (self.directory.join("copy"), self.directory.join("data.mdb"));
        self.env.copy_to_path(&copy, CompactionOption::Enabled).expect("copied");
        std::fs::rename(copy, data).expect("renamed");
        true
    }
}

//! libmdbx through the crate of that name, `SyncMode::Durable` (its default: data flushed, then the meta
//! page), with and without a writable map. Not waiting for the disk is `SafeNoSync`, the mode that keeps a
//! store whole. Numbers are an MDBX_INTEGERKEY table. The crate's interface has no compaction.

use super::lmdb::{Form, Native, Plain};
use super::{Direction, Engine, Mode, Snapshot, check};
use crate::data::{Pairs, Seen, Shape, Source};
use libmdbx::{
    Database, DatabaseKind, DatabaseOptions, NoWriteMap, ReadWriteOptions, SyncMode, TableFlags, WriteFlags,
    WriteMap,
};
use std::borrow::Cow;
use std::hint::black_box;
use std::marker::PhantomData;
use std::path::Path;
use std::sync::Arc;

pub fn open(directory: &Path, shape: Shape, mode: Mode) -> Box<dyn Engine> {
    open_as::<NoWriteMap>(directory, shape, mode)
}

pub fn open_writemap(directory: &Path, shape: Shape, mode: Mode) -> Box<dyn Engine> {
    open_as::<WriteMap>(directory, shape, mode)
}

fn open_as<E: DatabaseKind + Send + Sync>(directory: &Path, shape: Shape, mode: Mode) -> Box<dyn Engine> {
    match shape {
        Shape::Numbers => Box::new(Mdbx::<E, Native>::open(directory, mode, TableFlags::INTEGER_KEY)),
        Shape::Bytes | Shape::Kib => Box::new(Mdbx::<E, Plain>::open(directory, mode, TableFlags::empty())),
    }
}

const TABLE: Option<&str> = Some("pairs");

type Entry<'a> = (Cow<'a, [u8]>, Cow<'a, [u8]>);

struct Mdbx<E: DatabaseKind, F> {
    db: Arc<Database<E>>,
    form: PhantomData<F>,
}

impl<E: DatabaseKind + Send + Sync, F: Form> Mdbx<E, F> {
    fn open(directory: &Path, mode: Mode, flags: TableFlags) -> Self {
        let sync_mode = if mode == Mode::NotWaiting { SyncMode::SafeNoSync } else { SyncMode::Durable };
        let written = ReadWriteOptions {
            sync_mode,
            max_size: Some(crate::map_bytes() as isize),
            growth_step: Some(4 << 20),
            ..Default::default()
        };
        let options = DatabaseOptions {
            max_tables: Some(1),
            no_rdahead: mode == Mode::Scarce,
            mode: libmdbx::Mode::ReadWrite(written),
            ..Default::default()
        };
        let db = Database::open_with_options(directory, options).expect("opened");
        let r = db.begin_ro_txn().expect("a snapshot");
        let is_there = r.open_table(TABLE).is_ok();
        drop(r);
        if !is_there {
            let w = db.begin_rw_txn().expect("a txn");
            w.create_table(TABLE, flags).expect("a table");
            w.commit().expect("committed");
        }
        Mdbx { db: Arc::new(db), form: PhantomData }
    }
}

impl<E: DatabaseKind + Send + Sync, F: Form> Engine for Mdbx<E, F> {
    fn put_all(&self, source: &mut dyn Source) {
        let w = self.db.begin_rw_txn().expect("a txn");
        let table = w.open_table(TABLE).expect("the table");
        while let Some(pairs) = source.next() {
            for (key, value) in pairs.iter() {
                w.put(&table, F::key(key), value, WriteFlags::UPSERT).expect("put");
            }
        }
        w.commit().expect("committed");
    }

    fn delete(&self, pairs: Pairs) {
        let w = self.db.begin_rw_txn().expect("a txn");
        let table = w.open_table(TABLE).expect("the table");
        for (key, _) in pairs.iter() {
            assert!(w.del(&table, F::key(key), None).expect("deleted"), "not there");
        }
        w.commit().expect("committed");
    }

    fn get_all(&self, pairs: Pairs) {
        let r = self.db.begin_ro_txn().expect("a snapshot");
        let table = r.open_table(TABLE).expect("the table");
        for (key, value) in pairs.iter() {
            let found: Option<Cow<[u8]>> = r.get(&table, F::key(key)).expect("readable");
            check(found.as_deref(), value);
        }
    }

    fn seek(&self, keys: Pairs, entries: usize) -> Seen {
        let r = self.db.begin_ro_txn().expect("a snapshot");
        let table = r.open_table(TABLE).expect("the table");
        let mut at = r.cursor(&table).expect("a cursor");
        let mut seen = Seen::default();
        for (key, _) in keys.iter() {
            let mut entry: Option<Entry> = at.set_range(F::key(key).as_ref()).expect("readable");
            for left in (0..entries).rev() {
                let Some((key, value)) = &entry else { break };
                F::see(&mut seen, key, value);
                if left > 0 {
                    entry = at.next().expect("readable");
                }
            }
        }
        seen
    }

    fn scan(&self, direction: Direction) -> Seen {
        let r = self.db.begin_ro_txn().expect("a snapshot");
        let table = r.open_table(TABLE).expect("the table");
        let mut at = r.cursor(&table).expect("a cursor");
        let mut seen = Seen::default();
        let mut entry: Option<Entry> = match direction {
            Direction::Forward => at.first(),
            Direction::Reverse => at.last(),
        }
        .expect("readable");
        while let Some((key, value)) = &entry {
            F::see(&mut seen, key, value);
            entry = match direction {
                Direction::Forward => at.next(),
                Direction::Reverse => at.prev(),
            }
            .expect("readable");
        }
        seen
    }

    fn begin_read(&self, times: usize) {
        for _ in 0..times {
            drop(black_box(self.db.begin_ro_txn().expect("a snapshot")));
        }
    }

    fn snapshot(&self) -> Option<Snapshot<'_>> {
        let r = self.db.begin_ro_txn().expect("a snapshot");
        Some(Box::new(move |pairs| {
            let table = r.open_table(TABLE).expect("the table");
            for (key, value) in pairs.iter() {
                let found: Option<Cow<[u8]>> = r.get(&table, F::key(key)).expect("readable");
                check(found.as_deref(), value);
            }
        }))
    }

    fn another(&self) -> Box<dyn Engine> {
        Box::new(Mdbx::<E, F> { db: self.db.clone(), form: PhantomData })
    }

    fn settle(&self) {
        self.db.sync(true).expect("flushed");
    }
}

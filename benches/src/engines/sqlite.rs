//! SQLite in WAL mode with synchronous=FULL (a flush of the log at each commit), a page cache for all of the
//! data and a map of the file (none where memory is scarce), a table without rowids, and one connection a
//! thread. Not waiting for the disk is synchronous=OFF. Numbers are an INTEGER PRIMARY KEY. Compaction is
//! VACUUM.

use super::{Direction, Engine, Mode};
use crate::data::{Pairs, Seen, Shape, Source, number, number_value};
use rusqlite::{CachedStatement, Connection, Row, Rows, ToSql, params};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

pub fn open(directory: &Path, shape: Shape, mode: Mode) -> Box<dyn Engine> {
    let path = directory.join("store");
    match shape {
        Shape::Numbers => Box::new(Sqlite::<Integers>::open(path, mode)),
        Shape::Bytes | Shape::Kib => Box::new(Sqlite::<Blobs>::open(path, mode)),
    }
}

/// The types of the columns.
trait Form: Send + 'static {
    const TABLE: &str;
    type Part<'a>: ToSql;
    fn key(bytes: &[u8]) -> Self::Part<'_>;
    fn value(bytes: &[u8]) -> Self::Part<'_>;
    fn is(row: &Row, value: &[u8]) -> bool;
    fn see(seen: &mut Seen, row: &Row);
}

struct Blobs;
struct Integers;

fn blob<'a>(row: &'a Row, column: usize) -> &'a [u8] {
    row.get_ref(column).and_then(|value| Ok(value.as_blob()?)).expect("a blob")
}

fn integer(row: &Row, column: usize) -> u64 {
    row.get::<_, i64>(column).expect("an integer") as u64
}

impl Form for Blobs {
    const TABLE: &str = "CREATE TABLE IF NOT EXISTS pairs (k BLOB PRIMARY KEY, v BLOB) WITHOUT ROWID";
    type Part<'a> = &'a [u8];

    fn key(bytes: &[u8]) -> &[u8] {
        bytes
    }

    fn value(bytes: &[u8]) -> &[u8] {
        bytes
    }

    fn is(row: &Row, value: &[u8]) -> bool {
        blob(row, 0) == value
    }

    fn see(seen: &mut Seen, row: &Row) {
        seen.entry(blob(row, 0), blob(row, 1));
    }
}

impl Form for Integers {
    const TABLE: &str = "CREATE TABLE IF NOT EXISTS pairs (k INTEGER PRIMARY KEY, v INTEGER)";
    type Part<'a> = i64;

    fn key(bytes: &[u8]) -> i64 {
        number(bytes) as i64
    }

    fn value(bytes: &[u8]) -> i64 {
        number_value(bytes) as i64
    }

    fn is(row: &Row, value: &[u8]) -> bool {
        integer(row, 0) == number_value(value)
    }

    fn see(seen: &mut Seen, row: &Row) {
        seen.numbers(integer(row, 0), integer(row, 1));
    }
}

struct Sqlite<F> {
    path: PathBuf,
    mode: Mode,
    connection: Connection,
    form: PhantomData<F>,
}

impl<F: Form> Sqlite<F> {
    fn open(path: PathBuf, mode: Mode) -> Self {
        let connection = Connection::open(&path).expect("opened");
        let synchronous = if mode == Mode::NotWaiting { "OFF" } else { "FULL" };
        let map = if mode == Mode::Scarce { 0 } else { crate::map_bytes() };
        let (table, cache) = (F::TABLE, crate::cache_bytes() / 1024);
        connection
            .execute_batch(&format!(
                "PRAGMA busy_timeout = 600000; PRAGMA journal_mode = WAL; PRAGMA synchronous = {synchronous};
                 PRAGMA cache_size = -{cache}; PRAGMA mmap_size = {map}; {table};"
            ))
            .expect("a table");
        Sqlite { path, mode, connection, form: PhantomData }
    }

    /// Prepared once a connection.
    fn statement(&self, sql: &str) -> CachedStatement<'_> {
        self.connection.prepare_cached(sql).expect("prepared")
    }

    fn within(&self, begin: &str, work: impl FnOnce()) {
        self.statement(begin).execute([]).expect("a txn");
        work();
        self.statement("COMMIT").execute([]).expect("committed");
    }

    fn see(seen: &mut Seen, mut rows: Rows) {
        while let Some(row) = rows.next().expect("readable") {
            F::see(seen, row);
        }
    }
}

impl<F: Form> Engine for Sqlite<F> {
    fn put_all(&self, source: &mut dyn Source) {
        self.within("BEGIN IMMEDIATE", || {
            let mut put = self.statement("REPLACE INTO pairs VALUES (?, ?)");
            while let Some(pairs) = source.next() {
                for (key, value) in pairs.iter() {
                    put.execute(params![F::key(key), F::value(value)]).expect("put");
                }
            }
        });
    }

    fn delete(&self, pairs: Pairs) {
        self.within("BEGIN IMMEDIATE", || {
            let mut delete = self.statement("DELETE FROM pairs WHERE k = ?");
            for (key, _) in pairs.iter() {
                assert_eq!(delete.execute([F::key(key)]).expect("deleted"), 1, "not there");
            }
        });
    }

    fn get_all(&self, pairs: Pairs) {
        self.within("BEGIN", || {
            let mut get = self.statement("SELECT v FROM pairs WHERE k = ?");
            for (key, value) in pairs.iter() {
                let is_right = get.query_row([F::key(key)], |row| Ok(F::is(row, value))).expect("there");
                assert!(is_right, "a wrong value");
            }
        });
    }

    fn seek(&self, keys: Pairs, entries: usize) -> Seen {
        let mut seen = Seen::default();
        self.within("BEGIN", || {
            let mut seek = self.statement("SELECT k, v FROM pairs WHERE k >= ? ORDER BY k LIMIT ?");
            for (key, _) in keys.iter() {
                Self::see(&mut seen, seek.query(params![F::key(key), entries as i64]).expect("a cursor"));
            }
        });
        seen
    }

    fn scan(&self, direction: Direction) -> Seen {
        let mut seen = Seen::default();
        let sql = match direction {
            Direction::Forward => "SELECT k, v FROM pairs ORDER BY k",
            Direction::Reverse => "SELECT k, v FROM pairs ORDER BY k DESC",
        };
        Self::see(&mut seen, self.statement(sql).query([]).expect("a cursor"));
        seen
    }

    /// BEGIN alone takes no snapshot; reading the header does.
    fn begin_read(&self, times: usize) {
        for _ in 0..times {
            self.within("BEGIN", || {
                self.statement("PRAGMA data_version").query_row([], |_| Ok(())).expect("readable");
            });
        }
    }

    fn another(&self) -> Box<dyn Engine> {
        Box::new(Self::open(self.path.clone(), self.mode))
    }

    fn settle(&self) {
        self.connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").expect("a checkpoint");
    }

    fn compact(&mut self) -> bool {
        self.connection.execute_batch("VACUUM; PRAGMA wal_checkpoint(TRUNCATE)").expect("compacted");
        true
    }
}

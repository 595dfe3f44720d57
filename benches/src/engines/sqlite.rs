//! SQLite in WAL mode with synchronous=FULL, a page cache of 1 GB a connection, and a connection a thread.

use super::Engine;
use crate::Pair;
use rusqlite::{CachedStatement, Connection, OptionalExtension, params};
use std::path::{Path, PathBuf};

pub struct Sqlite {
    path: PathBuf,
    connection: Connection,
}

impl Sqlite {
    pub fn open(directory: &Path) -> Self {
        Self::connect(directory.join("store"))
    }

    fn connect(path: PathBuf) -> Self {
        let connection = Connection::open(&path).expect("opened");
        connection
            .execute_batch(
                "PRAGMA busy_timeout = 600000;
                 PRAGMA journal_mode = WAL;
                 PRAGMA synchronous = FULL;
                 PRAGMA cache_size = -1000000;
                 CREATE TABLE IF NOT EXISTS pairs (k BLOB PRIMARY KEY, v BLOB) WITHOUT ROWID;",
            )
            .expect("a table");
        Sqlite { path, connection }
    }

    /// Prepared once a connection.
    fn statement(&self, sql: &str) -> CachedStatement<'_> {
        self.connection.prepare_cached(sql).expect("prepared")
    }
}

impl Engine for Sqlite {
    fn commit(&self, pairs: &[Pair]) {
        self.statement("BEGIN IMMEDIATE").execute([]).expect("a txn");
        let mut put = self.statement("REPLACE INTO pairs VALUES (?, ?)");
        for (key, value) in pairs {
            put.execute(params![key, value]).expect("put");
        }
        self.statement("COMMIT").execute([]).expect("committed");
    }

    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.statement("SELECT v FROM pairs WHERE k = ?")
            .query_row([key], |row| row.get(0))
            .optional()
            .expect("readable")
    }

    fn another(&self) -> Box<dyn Engine> {
        Box::new(Self::connect(self.path.clone()))
    }
}

//! What the tests share.
#![allow(dead_code, missing_docs)]

use mapleaf::{Database, Options};
use std::ops::Deref;

/// A store that is verified whole when it is dropped, so that every test is a consistency test.
pub struct TestDb {
    db: Option<Database>,
    directory: tempfile::TempDir,
    options: Options,
}

impl TestDb {
    pub fn new() -> Self {
        Self::with(Options::new())
    }

    pub fn with(options: Options) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let db = Some(open(&options, &directory.path().join("test.maple")));
        TestDb { db, directory, options }
    }

    pub fn path(&self) -> std::path::PathBuf {
        self.directory.path().join("test.maple")
    }

    /// Closes the store and opens it again.
    pub fn reopen(&mut self) {
        self.db = None;
        self.db = Some(open(&self.options, &self.path()));
    }

    pub fn file_len(&self) -> u64 {
        std::fs::metadata(self.path()).unwrap().len()
    }
}

pub fn open(options: &Options, path: &std::path::Path) -> Database {
    // SAFETY: the file is the test's own.
    unsafe { options.open(path) }.unwrap()
}

/// Asserts that verification finds nothing.
pub fn assert_clean(db: &Database) {
    let report = db.verify(&mut |_| {}).unwrap();
    assert!(report.is_clean(), "{:#?}", report.problems);
}

impl Deref for TestDb {
    type Target = Database;

    fn deref(&self) -> &Database {
        self.db.as_ref().unwrap()
    }
}

impl Drop for TestDb {
    fn drop(&mut self) {
        if !std::thread::panicking()
            && let Some(db) = &self.db
        {
            assert_clean(db);
        }
    }
}

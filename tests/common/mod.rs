//! What the tests share.
#![allow(dead_code, missing_docs)]

use mapleaf::{Database, Observer, Op, Options, ReadTxn, Verdict};
use std::collections::BTreeMap;
use std::ops::{Deref, Range};
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex};
use std::time::Duration;

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

    /// What the death of every process would leave now, opened: a copy of the file without its sidecar. What
    /// was written is in it, flushed or not.
    pub fn after_death(&self) -> TestDb {
        let copy = DeadStore::of(&self.path());
        let options = Options::new();
        let db = Some(open(&options, &copy.path()));
        TestDb { db, directory: copy.directory, options }
    }

    pub fn path(&self) -> PathBuf {
        self.directory.path().join("test.maple")
    }

    /// Closes the store and opens it again.
    pub fn reopen(&mut self) {
        self.db = None;
        self.db = Some(open(&self.options, &self.path()));
    }

    /// The same file, opened with other options.
    pub fn opened_with(mut self, options: Options) -> TestDb {
        self.db = None;
        let directory = std::mem::replace(&mut self.directory, tempfile::tempdir().unwrap());
        let db = Some(open(&options, &directory.path().join("test.maple")));
        TestDb { db, directory, options }
    }

    /// Closes this handle, and returns what that says.
    pub fn close(&mut self) -> mapleaf::Result<()> {
        self.db.take().unwrap().close()
    }

    pub fn file_len(&self) -> u64 {
        std::fs::metadata(self.path()).unwrap().len()
    }
}

pub fn open(options: &Options, path: &Path) -> Database {
    try_open(options, path).unwrap()
}

pub fn try_open(options: &Options, path: &Path) -> mapleaf::Result<Database> {
    // SAFETY: the file is the test's own.
    unsafe { options.open(path) }
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

/// The file of a store all of whose processes died, and nothing else.
pub struct DeadStore {
    directory: tempfile::TempDir,
}

impl DeadStore {
    /// A copy of the file at `path` as it is in the page cache now.
    pub fn of(path: &Path) -> Self {
        let dead = DeadStore { directory: tempfile::tempdir().unwrap() };
        std::fs::copy(path, dead.path()).unwrap();
        dead
    }

    pub fn path(&self) -> PathBuf {
        self.directory.path().join("test.maple")
    }
}

/// All tables with their entries, as bytes, and the user version.
pub type Contents = (BTreeMap<String, BTreeMap<Vec<u8>, Vec<u8>>>, u64);

/// What is in a snapshot.
pub fn contents(txn: &ReadTxn) -> Contents {
    let entries = |name: &str| {
        let view = txn.raw_table(name).unwrap().expect("it is listed");
        view.iter().map(|entry| entry.map(|(key, value)| (key.to_vec(), value.to_vec())).unwrap()).collect()
    };
    let tables = txn.tables().unwrap().into_iter();
    (tables.map(|info| (info.name.clone(), entries(&info.name))).collect(), txn.user_version())
}

/// Watches what a store flushes and writes, and makes flushes fail, take long, or wait at a gate.
#[derive(Default)]
pub struct Flushes {
    plan: Mutex<Plan>,
    changed: Condvar,
}

#[derive(Default)]
struct Plan {
    flushed: Vec<Range<u64>>,
    written: u64,
    /// So many flushes still succeed, so many then fail.
    spared: usize,
    failing: usize,
    delay: Duration,
    gate_closed: bool,
    at_gate: usize,
}

impl Flushes {
    /// The ranges of the file flushed since the last call.
    pub fn take(&self) -> Vec<Range<u64>> {
        std::mem::take(&mut self.plan.lock().unwrap().flushed)
    }

    /// Bytes written since the last call.
    pub fn take_written(&self) -> u64 {
        std::mem::take(&mut self.plan.lock().unwrap().written)
    }

    /// After `spared` flushes, `failing` ones fail with EIO.
    pub fn fail(&self, spared: usize, failing: usize) {
        let mut plan = self.plan.lock().unwrap();
        (plan.spared, plan.failing) = (spared, failing);
    }

    /// Flushes that are still to fail.
    pub fn failures_left(&self) -> usize {
        self.plan.lock().unwrap().failing
    }

    /// Every flush takes at least so long.
    pub fn slow_down(&self, delay: Duration) {
        self.plan.lock().unwrap().delay = delay;
    }

    /// Flushes that begin from now on wait for [`Flushes::open_gate`].
    pub fn close_gate(&self) {
        self.plan.lock().unwrap().gate_closed = true;
    }

    /// Lets flushes go on.
    pub fn open_gate(&self) {
        self.plan.lock().unwrap().gate_closed = false;
        self.changed.notify_all();
    }

    /// Waits until a flush waits at the gate.
    pub fn wait_for_flush(&self) {
        let plan = self.plan.lock().unwrap();
        let came = self.changed.wait_timeout_while(plan, Duration::from_secs(20), |plan| plan.at_gate == 0);
        assert!(!came.unwrap().1.timed_out(), "nobody flushes");
    }

    fn pass_gate(&self) {
        let mut plan = self.plan.lock().unwrap();
        plan.at_gate += 1;
        self.changed.notify_all();
        let mut plan = self.changed.wait_while(plan, |plan| plan.gate_closed).unwrap();
        plan.at_gate -= 1;
    }

    fn flush(&self, range: Range<u64>) -> Verdict {
        let delay = self.plan.lock().unwrap().delay;
        std::thread::sleep(delay);
        self.pass_gate();
        let mut plan = self.plan.lock().unwrap();
        plan.flushed.push(range);
        if plan.failing > 0 && plan.spared == 0 {
            plan.failing -= 1;
            return Verdict::Fail(std::io::Error::from_raw_os_error(libc::EIO));
        }
        plan.spared = plan.spared.saturating_sub(1);
        Verdict::Proceed
    }
}

impl Observer for Flushes {
    fn before(&self, op: &Op<'_>) -> Verdict {
        match op {
            Op::Sync { offset, len } => self.flush(*offset..offset + len),
            Op::Write { data, .. } => {
                let written: usize = data.iter().map(|part| part.len()).sum();
                self.plan.lock().unwrap().written += written as u64;
                Verdict::Proceed
            }
            Op::SetLen { .. } | Op::Reserve { .. } | Op::Punch { .. } => Verdict::Proceed,
        }
    }
}

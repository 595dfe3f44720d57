//! The public face of a store: opening it and beginning transactions.

use crate::batch::Batches;
use crate::counters::Counters;
use crate::describe::{self, PageDump};
use crate::disk::Observer;
use crate::error::{Error, Result};
use crate::readers::FlushState;
use crate::snapshot::Verify;
use crate::store::{Config, Durability, Store, Wait};
use crate::txn::{ReadTxn, WriteTxn};
use crate::verify::{self, Progress, Stats, VerifyReport};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

/// How a store is opened or created.
///
/// ```no_run
/// # fn main() -> mapleaf::Result<()> {
/// // SAFETY: only mapleaf changes this file while it is open.
/// let db = unsafe { mapleaf::Options::new().page_size(8192).max_size(1 << 30).open("app.maple")? };
/// # let _ = db; Ok(()) }
/// ```
#[derive(Clone)]
pub struct Options {
    config: Config,
}

impl Default for Options {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options")
            .field("page_size", &self.config.page_size)
            .field("create", &self.config.create)
            .field("read_only", &self.config.read_only)
            .field("max_size", &self.config.max_size)
            .field("dirty_limit", &self.config.dirty_limit)
            .field("verify", &self.config.verify)
            .field("durability", &self.config.durability)
            .field("log_limit", &self.config.log_limit)
            .field("held_limit", &self.config.held_limit)
            .finish_non_exhaustive()
    }
}

impl Options {
    /// The defaults: 4-KiB pages, created if not there, no quota, 256 MiB of changed pages in memory,
    /// checksums compared at first touch.
    pub fn new() -> Self {
        Options { config: Config::default() }
    }

    /// Bytes of a page when a store is created: a power of two from 4096 to 65536. An existing store
    /// keeps its own.
    #[must_use]
    pub fn page_size(mut self, bytes: usize) -> Self {
        self.config.page_size = bytes;
        self
    }

    /// Whether a store is created where there is none (default: yes).
    #[must_use]
    pub fn create(mut self, create: bool) -> Self {
        self.config.create = create;
        self
    }

    /// Whether the store is only read (default: no). Other processes may write to it meanwhile. The
    /// lock file beside it must still be writable: it holds the reader slots.
    #[must_use]
    pub fn read_only(mut self, read_only: bool) -> Self {
        self.config.read_only = read_only;
        self
    }

    /// What commits promise, unless [`WriteTxn::set_durability`] says otherwise (default:
    /// [`Durability::Durable`]).
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> Self {
        self.config.durability = durability;
        self
    }

    /// Most bytes of the redo log (default: 16 MiB, at least 256 KiB, and no more than a quarter of the file or
    /// 256 KiB). When it is full the next commit is a checkpoint. A longer log means fewer checkpoints and a
    /// longer replay after a crash: see `docs/durability.md`.
    #[must_use]
    pub fn log_limit(mut self, bytes: u64) -> Self {
        self.config.log_limit = bytes;
        self
    }

    /// Bytes of replaced pages that may be held back for the last checkpoint before there is a new one
    /// (default: 16 MiB, and at most an eighth of the file or 1024 pages). They are what the file grows by, and
    /// what a replay after a crash has to read.
    #[must_use]
    pub fn held_limit(mut self, bytes: u64) -> Self {
        self.config.held_limit = bytes;
        self
    }

    /// Whether a read-only handle shows the last checkpoint when a log waits to be replayed and nobody has
    /// the store open who could (default: no; opening is an error then).
    #[must_use]
    pub fn ignore_log(mut self, ignore: bool) -> Self {
        self.config.ignore_log = ignore;
        self
    }

    /// Quota in bytes: a txn that would make the file larger fails with [`Error::Full`] (default: none).
    #[must_use]
    pub fn max_size(mut self, bytes: u64) -> Self {
        self.config.max_size = bytes;
        self
    }

    /// Bytes of changed pages that a write txn keeps in memory; beyond it writes them to their places
    /// early, so that a txn may be larger than memory (default: 256 MiB, at least 1 MiB).
    #[must_use]
    pub fn dirty_limit(mut self, bytes: usize) -> Self {
        self.config.dirty_limit = bytes.max(1 << 20);
        self
    }

    /// When checksums are compared (default: the first time a page is touched).
    #[must_use]
    pub fn verify(mut self, verify: Verify) -> Self {
        self.config.verify = verify;
        self
    }

    /// The seam for tests: `observer` sees every write, flush and length change before it happens
    /// and may make it fail.
    #[must_use]
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.config.observer = Some(observer);
        self
    }

    /// Opens the store at `path`, creating it where there is none. Where this process has it open
    /// already, by whatever path, the handles share it, and these options are not looked at.
    ///
    /// # Safety
    /// No program other than mapleaf changes or truncates the file while it is open.
    ///
    /// # Errors
    /// `NotAStore` for a file of something else; `Corrupt` when it was truncated; `Busy` when the lock
    /// file was removed while others have the store open; `InvalidArgument` for an impossible page size;
    /// `Io`.
    #[allow(unsafe_code)]
    pub unsafe fn open(&self, path: impl AsRef<Path>) -> Result<Database> {
        let ready = |store: &Arc<Store>| ready(store, self.config.ignore_log);
        Ok(Database::new(Store::open(path.as_ref(), &self.config, ready)?))
    }

    /// A store in an unlinked file in `directory`: it has no name, no one else can open it, and it ends
    /// with its last handle.
    ///
    /// # Errors
    /// `Io`, also where the file system has no unlinked files.
    pub fn temporary_in(&self, directory: impl AsRef<Path>) -> Result<Database> {
        let store = Store::temporary(directory.as_ref(), &self.config)?;
        ready(&store, false)?;
        Ok(Database::new(store))
    }
}

/// Makes a store that was just opened fit for use: replays the log, or, where that is not allowed, finds
/// out whether there is something to replay.
fn ready(store: &Arc<Store>, ignore_log: bool) -> Result<()> {
    if store.readers.flush_state() != FlushState::Unopened {
        return Ok(());
    }
    if !store.read_only {
        return WriteTxn::begin(store, Wait::Forever).map(|_| ());
    }
    // Someone else may be replaying it right now.
    store.wait_for_writer()?;
    let waiting = || -> Result<usize> { Ok(store.log()?.records(&store.pages.disk)?.found().len()) };
    match store.readers.flush_state() == FlushState::Unopened && !ignore_log {
        true => match waiting()? {
            0 => Ok(()),
            txns => Err(Error::LogToReplay { txns }),
        },
        false => Ok(()),
    }
}

/// An open store. Cloning it is cheap; all clones share it.
///
/// ```
/// use mapleaf::{Database, Table};
/// const TEMPERATURES: Table<u64, f64> = Table::new("temperatures");
/// # fn main() -> mapleaf::Result<()> {
/// let db = Database::temporary()?;
/// let mut w = db.begin_write()?;
/// for hour in 0..24 {
///     w.put(TEMPERATURES, &hour, &(10.0 + hour as f64 / 2.0))?;
/// }
/// w.commit()?;
///
/// let r = db.begin_read()?;
/// assert_eq!(r.get(TEMPERATURES, &6)?, Some(13.0));
/// assert_eq!(r.count(TEMPERATURES, 6..12)?, 6);
/// let last: Vec<(u64, f64)> = r.range(TEMPERATURES, 20..)?.rev().take(2).collect::<Result<_, _>>()?;
/// assert_eq!(last, [(23, 21.5), (22, 21.0)]);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Database {
    store: Arc<Store>,
    batches: Arc<Batches>,
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Database at {}", self.path().display())
    }
}

impl Database {
    fn new(store: Arc<Store>) -> Self {
        Database { store, batches: Arc::default() }
    }

    /// Opens or creates a store with the default [`Options`].
    ///
    /// # Safety
    /// No program other than mapleaf changes or truncates the file while it is open.
    ///
    /// # Errors
    /// Those of [`Options::open`].
    #[allow(unsafe_code)]
    pub unsafe fn open(path: impl AsRef<Path>) -> Result<Self> {
        // SAFETY: the caller promises the same.
        unsafe { Options::new().open(path) }
    }

    /// A store without a name in the system's directory for temporary files.
    ///
    /// # Errors
    /// `Io`.
    pub fn temporary() -> Result<Self> {
        Options::new().temporary_in(std::env::temp_dir())
    }

    /// A snapshot of the newest committed state. No system call, no lock, no allocation once this
    /// process has a reader slot free; it never waits for a writer.
    ///
    /// # Errors
    /// `Io` or `Busy` when there can be no more reader slots (about a million).
    pub fn begin_read(&self) -> Result<ReadTxn> {
        ReadTxn::begin(Arc::clone(&self.store))
    }

    /// The turn to write, waiting for other writers, in this process and others, as long as it takes. A
    /// thread that holds a write txn and begins another waits for itself.
    ///
    /// # Errors
    /// `ReadOnly`; `Io` when a failure of an earlier commit cannot be put right; `Corrupt` when the space
    /// records are damaged.
    pub fn begin_write(&self) -> Result<WriteTxn> {
        WriteTxn::begin_waiting(&self.store)
    }

    /// The turn to write, if nobody has it now.
    ///
    /// # Errors
    /// Those of [`Database::begin_write`].
    pub fn try_begin_write(&self) -> Result<Option<WriteTxn>> {
        WriteTxn::begin(&self.store, Wait::No)
    }

    /// The turn to write, or `None` when it does not come until `deadline`. Between processes this asks
    /// once a millisecond: the kernel has no timed wait for its locks.
    ///
    /// # Errors
    /// Those of [`Database::begin_write`].
    pub fn begin_write_deadline(&self, deadline: Instant) -> Result<Option<WriteTxn>> {
        WriteTxn::begin(&self.store, Wait::Until(deadline))
    }

    /// Runs `read` on a snapshot of its own.
    ///
    /// # Errors
    /// Those of [`Database::begin_read`] and of `read`.
    pub fn read<T, E: From<Error>>(&self, read: impl FnOnce(&ReadTxn) -> Result<T, E>) -> Result<T, E> {
        read(&self.begin_read()?)
    }

    /// Runs `write` in a txn of its own, commits it when `write` returns `Ok`, else undoes it.
    ///
    /// # Errors
    /// Those of [`Database::begin_write`], of `write`, and of [`WriteTxn::commit`].
    pub fn write<T, E: From<Error>>(
        &self,
        write: impl FnOnce(&mut WriteTxn) -> Result<T, E>,
    ) -> Result<T, E> {
        WriteTxn::run(&self.store, write)
    }

    /// Runs `update` in a txn that it may share with updates of other threads, and commits it when it returns
    /// `Ok`. For many threads with small updates each: they share the commit as well as its flush. An update
    /// that fails or panics leaves nothing and does not concern the others. It may be called again, in a txn of
    /// its own, if the shared one cannot be committed. It must not call `batch` or begin a write txn.
    ///
    /// ```
    /// use mapleaf::{Database, Error, Table};
    /// const HITS: Table<str, u64> = Table::new("hits");
    /// # fn main() -> mapleaf::Result<()> {
    /// let db = Database::temporary()?;
    /// std::thread::scope(|threads| {
    ///     for _ in 0..8 {
    ///         threads.spawn(|| {
    ///             db.batch(|w| {
    ///                 let hits = w.get(HITS, "/")?.unwrap_or(0);
    ///                 w.put(HITS, "/", &(hits + 1))?;
    ///                 Ok::<_, Error>(())
    ///             })
    ///         });
    ///     }
    /// });
    /// assert_eq!(db.begin_read()?.get(HITS, "/")?, Some(8));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Those of [`Database::begin_write`], of `update`, and of [`WriteTxn::commit`].
    pub fn batch<T, E: From<Error>>(
        &self,
        mut update: impl FnMut(&mut WriteTxn) -> Result<T, E>,
    ) -> Result<T, E> {
        self.batches.run(&self.store, &mut update)
    }

    /// Makes everything that was committed durable in place, so that the log is empty. Waits for the turn to
    /// write. Costs a flush of all pages written since the last checkpoint, and one of the meta slot.
    ///
    /// # Errors
    /// Those of [`Database::begin_write`] and [`WriteTxn::commit`].
    pub fn checkpoint(&self) -> Result<()> {
        let _turn = self.begin_write()?;
        self.store.counters.asked_checkpoints.add(1);
        self.store.lead()?.checkpoint_head()
    }

    /// Closes this handle. The last one in any process leaves a checkpoint behind, so that there is nothing
    /// to replay; dropping it does the same, but cannot say how it went, nor recover from a failed flush.
    /// Snapshots and txns keep the store open until they end.
    ///
    /// # Errors
    /// `Io` when the checkpoint fails: nothing is lost, the log is replayed at the next opening.
    pub fn close(self) -> Result<()> {
        let store = &self.store;
        let is_left_open = || store.readers.open_turn().is_some();
        if !store.read_only && Arc::strong_count(store) == 1 && (store.is_unsettled()? || is_left_open()) {
            // Recovers, unless another process is just doing that, or is at work.
            drop(self.try_begin_write()?);
        }
        Arc::into_inner(self.store).map_or(Ok(()), |store| store.finish())
    }

    /// What the store did in this process since it was opened.
    pub fn counters(&self) -> Counters {
        self.store.counters.read()
    }

    /// Judges every page of the newest state, with checksums, order, counts, references and the
    /// accounting of space. Works beside writers. O(pages).
    ///
    /// # Errors
    /// `Io`. Damage is not an error but in the report.
    pub fn verify(&self, progress: &mut dyn FnMut(Progress)) -> Result<VerifyReport> {
        let txn = self.begin_read()?;
        verify::verify(&self.store, txn.state(), progress)
    }

    /// What the store consists of. O(pages).
    ///
    /// # Errors
    /// `Corrupt` where a page is damaged; [`Database::verify`] goes on after damage.
    pub fn stats(&self) -> Result<Stats> {
        let txn = self.begin_read()?;
        verify::stats(&self.store, txn.state())
    }

    /// Page `page` in words, as it is in the file now, whatever snapshot it belongs to.
    ///
    /// # Errors
    /// `InvalidArgument` behind the end of the file; `Io`. Damage is not an error but in the dump.
    pub fn page(&self, page: u64) -> Result<PageDump> {
        describe::describe(&self.store, page)
    }

    /// Bytes of a page.
    pub fn page_size(&self) -> usize {
        self.store.pages.page_size
    }

    /// Longest key in a table whose values need no alignment.
    pub fn max_key_len(&self) -> usize {
        crate::page::max_key_len(self.page_size())
    }

    /// Where the store was opened.
    pub fn path(&self) -> &Path {
        self.store.pages.disk.path()
    }
}

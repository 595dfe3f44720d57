//! The public face of a store: opening it and beginning transactions.

use crate::backup::{self, Backup};
use crate::batch::Batches;
use crate::counters::Counters;
use crate::create;
use crate::describe::{self, PageDump};
use crate::descriptor;
use crate::disk::{FileUsage, Observer};
use crate::error::{Error, Result};
use crate::format::check_page_size;
use crate::handover;
use crate::heritage;
#[cfg(feature = "async")]
use crate::listen::{Listeners, NextCommit};
use crate::lock;
use crate::options::{Config, Durability};
use crate::pins::{self, Reader, StoredSnapshot};
use crate::session::{Sidecars, name_beside};
use crate::shared::FlushState;
use crate::snapshot::{Advice, Verify};
use crate::store::{Origin, Store, Wait};
use crate::txn::compact::{self, Budget, Compacted, Course};
use crate::txn::migrate::{Migration, steps_done};
use crate::txn::trim::Trimmed;
use crate::txn::{self, ReadTxn, WriteTxn};
use crate::verify::{self, Progress, Stats, VerifyReport};
use parking_lot::Mutex;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

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
            .field("advice", &self.config.advice)
            .field("guarded_reads", &self.config.guarded)
            .field("durability", &self.config.durability)
            .field("log_limit", &self.config.log_limit)
            .field("held_limit", &self.config.held_limit)
            .field("auto_trim", &self.config.auto_trim)
            .field("immutable", &self.config.immutable)
            .field("any_file_system", &self.config.any_file_system)
            .field("label", &self.config.label)
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

    /// Whether the store is only read (default: no). Other processes may write to it meanwhile, if this one may
    /// write to the lock file beside it, which holds the reader slots. Where it may not (a read-only
    /// directory, medium, or mount) and nobody else has the store open, it is opened as [`Options::immutable`].
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

    /// Whether checkpoints give free space back to the system by themselves (default: yes, where the file system can): what
    /// is free in runs of 1 MiB and more, beyond twice [`Options::held_limit`] and what the last checkpoints took. It
    /// is punched out of the file, whose length stays; txns that need it again give it new blocks first, in steps, as
    /// when the file grows. [`Database::trim`] gives back all.
    #[must_use]
    pub fn auto_trim(mut self, auto: bool) -> Self {
        self.config.auto_trim = auto;
        self
    }

    /// Whether a read-only handle shows the last checkpoint when a log waits to be replayed and nobody has
    /// the store open who could (default: no; opening is an error then).
    #[must_use]
    pub fn ignore_log(mut self, ignore: bool) -> Self {
        self.config.ignore_log = ignore;
        self
    }

    /// Whether the store is read without a lock file (default: no): from a medium that nobody can write to, or a
    /// file that nobody writes to. No file is written. As long as it is open nobody can open it to write, where the
    /// file system has locks; on one that has none, or on a network file system, that nobody writes to it is part of
    /// the promise that `open` asks for.
    #[must_use]
    pub fn immutable(mut self, immutable: bool) -> Self {
        self.config.immutable = immutable;
        self
    }

    /// Whether file systems are allowed that look like those of a network (default: no; opening is
    /// [`Error::NetworkFileSystem`]). Right where only this machine uses the file, such as FUSE over a local disk.
    #[must_use]
    pub fn any_file_system(mut self, any: bool) -> Self {
        self.config.any_file_system = any;
        self
    }

    /// What [`Database::readers`] shows for snapshots of this process (default: the program's name). Up to 40
    /// bytes are kept.
    #[must_use]
    pub fn label(mut self, label: &str) -> Self {
        self.config.label = Some(label.to_owned());
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

    /// How scans read ahead, unless [`TableView::advised`](crate::TableView::advised) says otherwise (default:
    /// [`Advice::Normal`]).
    #[must_use]
    pub fn advice(mut self, advice: Advice) -> Self {
        self.config.advice = advice;
        self
    }

    /// Whether every page is read in before it is touched (default: no). A page of a bad sector, or behind the end of
    /// a file that somebody has cut, is then an [`Error::Io`] that names the page; without it, touching one raises SIGBUS, which
    /// ends the process. Costs a system call a page, some 0.3 µs each where it is in memory. What was read in stays
    /// readable as long as the system keeps it in memory: a sector that goes bad later, under a value that is still borrowed,
    /// is the one case left. `mapleaf verify`, `dump` and the tool's other commands read so.
    #[must_use]
    pub fn guarded_reads(mut self, guarded: bool) -> Self {
        self.config.guarded = guarded;
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
    /// `NotAStore` for a file of something else; `Corrupt` when it was truncated; `Busy` when others have the store
    /// open and the lock file that they use cannot be found; `LogToReplay`; `NetworkFileSystem`;
    /// `InvalidArgument` for an impossible page size; `Io`.
    #[allow(unsafe_code)]
    pub unsafe fn open(&self, path: impl AsRef<Path>) -> Result<Database> {
        self.open_origin(Origin::at(path.as_ref(), &self.config)?)
    }

    /// Opens a store from a descriptor: one of [`Database::share`], which can be opened once and needs no access to
    /// any path; or one of the data file. The latter needs the lock file, beside the name that the descriptor was
    /// opened by; if that cannot be reached, nobody else can have the store open meanwhile. A descriptor for
    /// reading only gives a store for reading only.
    ///
    /// # Safety
    /// As for [`Options::open`]. A descriptor of the data file that this process may not open anew (through
    /// `/proc/self/fd`) is used as it is: nobody else may use a copy of it for locks then.
    ///
    /// # Errors
    /// `InvalidArgument` for a descriptor of something else, or one that was opened before; those of
    /// [`Options::open`].
    #[allow(unsafe_code)]
    pub unsafe fn from_fd(&self, fd: OwnedFd) -> Result<Database> {
        let mut config = self.config.clone();
        let origin = handover::origin_of(fd, &mut config)?;
        Options { config }.open_origin(origin)
    }

    /// A store in an unlinked file in `directory`: it has no name, nobody can open it who was not given it
    /// ([`Database::share`], or by fork), and it ends with its last handle.
    ///
    /// # Errors
    /// `Io`, also where the file system has no unlinked files.
    pub fn temporary_in(&self, directory: impl AsRef<Path>) -> Result<Database> {
        let directory = directory.as_ref();
        let unlinked = |what: &str| {
            let fail = |error| Error::io(format!("create {what} in {}", directory.display()), error);
            descriptor::unlinked(directory).map_err(fail)
        };
        let file = unlinked("a temporary store")?;
        let sidecars = Sidecars::Given(unlinked("its lock file")?);
        self.open_origin(Origin { file, path: directory.join("(temporary)"), sidecars })
    }

    /// A store in memory (a memfd, sealed so that nobody can make it shorter): as [`Options::temporary_in`], but
    /// never on a disk, unless memory is swapped.
    ///
    /// # Errors
    /// `Io` when there is no memory.
    pub fn in_memory(&self) -> Result<Database> {
        let fail = |error| Error::io("create a store in memory", error);
        let file = descriptor::in_memory("mapleaf").map_err(fail)?;
        let sidecars = Sidecars::Given(descriptor::in_memory("mapleaf-lock").map_err(fail)?);
        self.open_origin(Origin { file, path: "(memory)".into(), sidecars })
    }

    /// Opens or creates the store of this name in the file system in shared memory (`/dev/shm/name`): any process of
    /// this machine finds it there, and it lasts until it is removed or the machine stops. As for other files there,
    /// mount namespaces have their own.
    ///
    /// # Safety
    /// As for [`Options::open`].
    ///
    /// # Errors
    /// `InvalidArgument` for a name with a slash; those of [`Options::open`].
    #[allow(unsafe_code)]
    pub unsafe fn shared_memory(&self, name: &str) -> Result<Database> {
        let config = Config { outlives_name: true, ..self.config.clone() };
        let origin = Origin::at(&handover::shared_memory_path(name)?, &config)?;
        Options { config }.open_origin(origin)
    }

    /// Creates a store at a path where there is nothing.
    pub(crate) fn create_at(&self, path: &Path) -> Result<Database> {
        self.open_origin(Origin::at(path, &self.config)?)
    }

    fn open_origin(&self, origin: Origin) -> Result<Database> {
        check_page_size(self.config.page_size)?;
        heritage::watch()?;
        let ready = |store: &Arc<Store>| ready(store, self.config.ignore_log);
        Ok(Database::new(Store::open(origin, &self.config, ready)?))
    }
}

/// Makes a store that was just opened fit for use: replays the log, or, where that is not allowed, finds
/// out whether there is something to replay.
fn ready(store: &Arc<Store>, ignore_log: bool) -> Result<()> {
    if store.readers.flush_state() != FlushState::Unopened {
        return Ok(());
    }
    if !store.read_only {
        txn::settle(store)?;
        // What an older slot refers to may have been reused: its space is looked at before anyone reads.
        return match create::problems_of(&create::slots_in(&store.pages.disk)).is_empty() {
            true => Ok(()),
            false => WriteTxn::begin(store, Wait::Forever).map(|_| ()),
        };
    }
    if store.session != lock::IMMUTABLE {
        // Someone else may be replaying it right now.
        store.wait_for_writer()?;
    }
    let waiting = || -> Result<usize> {
        let records = store.log()?.records(&store.pages.disk)?;
        records.check()?;
        Ok(records.found().len())
    };
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
///
/// **After a fork** the child uses the same handle: the first call opens the store anew, through the inherited
/// descriptors, with locks and reader slots of the child's own. Snapshots that the parent held can be read in the child
/// too, and are pinned for it until it drops them or ends. A write txn that the parent had begun is the parent's:
/// in the child every call on it is [`Error::Forked`], and dropping it does nothing.
#[derive(Clone)]
pub struct Database {
    handle: Arc<Handle>,
}

struct Handle {
    store: Arc<Store>,
    batches: Batches,
    /// How far [`Database::compact`] has come.
    course: Mutex<Course>,
    #[cfg(feature = "async")]
    listeners: Arc<Listeners>,
    /// The same for a process that was forked from the one that opened it.
    successor: OnceLock<Arc<Handle>>,
}

impl Handle {
    fn new(store: Arc<Store>) -> Arc<Self> {
        Arc::new(Handle {
            store,
            batches: Batches::default(),
            course: Mutex::default(),
            #[cfg(feature = "async")]
            listeners: Arc::default(),
            successor: OnceLock::new(),
        })
    }

    /// That of this process.
    #[inline]
    fn current(&self) -> Result<&Handle> {
        match self.store.is_own_process() {
            true => Ok(self),
            false => self.in_child(),
        }
    }

    #[cold]
    fn in_child(&self) -> Result<&Handle> {
        let next = match self.successor.get() {
            Some(next) => next,
            None => {
                let store = reopen(&self.store)?;
                self.successor.get_or_init(|| Handle::new(store))
            }
        };
        next.current()
    }
}

/// The store once more, in a process that was forked from the one that opened it.
fn reopen(store: &Store) -> Result<Arc<Store>> {
    let fail = |error| store.pages.disk.io_error("open once more, behind a fork,", error);
    let again = |file: &File, write: bool| descriptor::reopen(file, write).map_err(fail);
    let immutable = store.session == lock::IMMUTABLE;
    let sidecars = match immutable {
        true => Sidecars::Nowhere,
        false => Sidecars::Given(again(store.readers.file(), true)?),
    };
    let file = again(store.pages.disk.file(), !store.read_only)?;
    let origin = Origin { file, path: store.pages.disk.path().to_owned(), sidecars };
    // What the parent was allowed the child is too.
    let (read_only, any_file_system, ignore_log) = (store.read_only, true, true);
    let config = Config { read_only, any_file_system, ignore_log, immutable, ..store.config.clone() };
    Store::open(origin, &config, |store| ready(store, config.ignore_log))
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Database at {}", self.path().display())
    }
}

impl Database {
    fn new(store: Arc<Store>) -> Self {
        Database { handle: Handle::new(store) }
    }

    #[inline]
    fn store(&self) -> Result<&Arc<Store>> {
        Ok(&self.handle.current()?.store)
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
        // SAFETY: claim M2.1: the caller promises the same.
        unsafe { Options::new().open(path) }
    }

    /// A store without a name in the system's directory for temporary files.
    ///
    /// # Errors
    /// `Io`.
    pub fn temporary() -> Result<Self> {
        Options::new().temporary_in(std::env::temp_dir())
    }

    /// Opens a store from a descriptor, with the default [`Options`]: see [`Options::from_fd`].
    ///
    /// # Safety
    /// That of [`Options::from_fd`].
    ///
    /// # Errors
    /// Those of [`Options::from_fd`].
    #[allow(unsafe_code)]
    pub unsafe fn from_fd(fd: OwnedFd) -> Result<Self> {
        // SAFETY: claim M2.1: the caller promises the same.
        unsafe { Options::new().from_fd(fd) }
    }

    /// A store in memory: see [`Options::in_memory`].
    ///
    /// # Errors
    /// `Io` when there is no memory.
    pub fn in_memory() -> Result<Self> {
        Options::new().in_memory()
    }

    /// Opens or creates a store in the shared-memory file system: see [`Options::shared_memory`].
    ///
    /// # Safety
    /// That of [`Options::shared_memory`].
    ///
    /// # Errors
    /// Those of [`Options::shared_memory`].
    #[allow(unsafe_code)]
    pub unsafe fn shared_memory(name: &str) -> Result<Self> {
        // SAFETY: claim M2.1: the caller promises the same.
        unsafe { Options::new().shared_memory(name) }
    }

    /// Removes the name of a store in shared memory. Who has it open keeps it; the next to open the name makes a new
    /// one. Returns whether there was one.
    ///
    /// # Errors
    /// `InvalidArgument` for a name with a slash; `Io`.
    pub fn remove_shared_memory(name: &str) -> Result<bool> {
        let path = handover::shared_memory_path(name)?;
        let remove = |path: &Path| match std::fs::remove_file(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
            other => {
                other.map(|()| true).map_err(|error| Error::io(format!("remove {}", path.display()), error))
            }
        };
        let was_there = remove(&path)?;
        remove(&name_beside(&path))?;
        Ok(was_there)
    }

    /// A descriptor from which another process opens this store, with [`Database::from_fd`], without access to any
    /// path: pass it over a Unix socket (SCM_RIGHTS), or let a program that is started inherit it. It can be opened
    /// once; make one for each. (It is a Unix socket with the descriptors of data file and lock file in
    /// flight, which the system counts against this user's limit of open files.)
    ///
    /// # Errors
    /// `Io`, also when this process may not open its own files anew (through `/proc/self/fd`).
    pub fn share(&self) -> Result<OwnedFd> {
        handover::share(self.store()?)
    }

    /// A snapshot of the newest committed state. No system call, no lock, no allocation once this
    /// process has a reader slot free; it never waits for a writer.
    ///
    /// # Errors
    /// `Io` or `Busy` when there can be no more reader slots (about a million).
    pub fn begin_read(&self) -> Result<ReadTxn> {
        ReadTxn::begin(Arc::clone(self.store()?))
    }

    /// The snapshot that [`WriteTxn::create_snapshot`] has stored under this name, for reading, in any process, also in
    /// handles that only read. It stays whole for as long as this lives, also when the name is dropped meanwhile. Costs a
    /// search in the list of snapshots.
    ///
    /// ```
    /// # use mapleaf::{Database, Error, Table};
    /// # const STOCK: Table<str, u64> = Table::new("stock");
    /// # let db = Database::temporary()?;
    /// db.write(|w| {
    ///     w.put(STOCK, "tea", &5)?;
    ///     w.create_snapshot("monday")
    /// })?;
    /// db.write(|w| w.put(STOCK, "tea", &1))?;
    /// assert_eq!(db.read_snapshot("monday")?.get(STOCK, "tea")?, Some(5));
    /// assert!(matches!(db.read_snapshot("sunday"), Err(Error::SnapshotNotFound { .. })));
    /// # Ok::<_, Error>(())
    /// ```
    ///
    /// # Errors
    /// `SnapshotNotFound`; `Corrupt` where the list is damaged; those of [`Database::begin_read`].
    pub fn read_snapshot(&self, name: &str) -> Result<ReadTxn> {
        ReadTxn::begin_stored(self.store()?, name)
    }

    /// The turn to write, waiting for other writers, in this process and others, as long as it takes. A
    /// thread that holds a write txn and begins another waits for itself.
    ///
    /// # Errors
    /// `ReadOnly`; `Io` when a failure of an earlier commit cannot be put right; `Corrupt` when the space
    /// records are damaged.
    pub fn begin_write(&self) -> Result<WriteTxn> {
        WriteTxn::begin_waiting(self.store()?)
    }

    /// The turn to write, if nobody has it now.
    ///
    /// # Errors
    /// Those of [`Database::begin_write`].
    pub fn try_begin_write(&self) -> Result<Option<WriteTxn>> {
        WriteTxn::begin(self.store()?, Wait::No)
    }

    /// The turn to write, or `None` when it does not come until `deadline`. Between processes this asks
    /// once a millisecond: the kernel has no timed wait for its locks.
    ///
    /// # Errors
    /// Those of [`Database::begin_write`].
    pub fn begin_write_deadline(&self, deadline: Instant) -> Result<Option<WriteTxn>> {
        WriteTxn::begin(self.store()?, Wait::Until(deadline))
    }

    /// Runs `read` on a snapshot of its own.
    ///
    /// # Errors
    /// Those of [`Database::begin_read`] and of `read`; [`Error::other`] wraps one of your own.
    pub fn read<T>(&self, read: impl FnOnce(&ReadTxn) -> Result<T>) -> Result<T> {
        read(&self.begin_read()?)
    }

    /// Runs `write` in a txn of its own, commits it when `write` returns `Ok`, else undoes it.
    ///
    /// # Errors
    /// Those of [`Database::begin_write`], of `write` ([`Error::other`] wraps one of your own), and of
    /// [`WriteTxn::commit`].
    pub fn write<T>(&self, write: impl FnOnce(&mut WriteTxn) -> Result<T>) -> Result<T> {
        WriteTxn::run(self.store()?, write)
    }

    /// Brings the store of an older program up to date: runs the steps that it has not had yet, in one txn, and returns
    /// the [user version](ReadTxn::user_version) that it had before. The user version is the number of steps done, so the
    /// list only ever grows at its end; a new store begins with 0 and gets all of them.
    ///
    /// All steps that are missing are one txn: after a crash or an error the store is the old one, and readers see the old
    /// one until it is done. Of several processes that begin at once, one migrates and the others wait for it. A store
    /// that is up to date costs a look at a snapshot: no turn to write, so it may be open read-only, too.
    ///
    /// ```
    /// use mapleaf::{Database, Migration, Table};
    ///
    /// const V1: Table<u64, str> = Table::new("users");
    /// const USERS: Table<u64, (String, u16)> = Table::new("users");
    /// const BY_NAME: Table<str, u64> = Table::new("users by name");
    ///
    /// const STEPS: &[Migration] = &[
    ///     |w| w.convert_table(V1, USERS, |id, name, new| new.put(&id, &(name, 0))).map(|_| ()),
    ///     |w| {
    ///         let users: Vec<(String, u64)> =
    ///             w.iter(USERS)?.map(|user| user.map(|(id, (name, _))| (name.into(), id))).collect::<Result<_, _>>()?;
    ///         users.iter().try_for_each(|(name, id)| w.put(BY_NAME, name, id).map(|_| ()))
    ///     },
    /// ];
    ///
    /// # fn main() -> mapleaf::Result<()> {
    /// let db = Database::temporary()?;
    /// db.write(|w| w.put(V1, &7, "ann"))?;         // an old program
    /// assert_eq!(db.migrate(STEPS)?, 0);           // a new one
    /// assert_eq!(db.migrate(STEPS)?, 2);           // and from then on
    /// let r = db.begin_read()?;
    /// assert_eq!(r.get(USERS, &7)?, Some(("ann".into(), 0)));
    /// assert_eq!(r.get(BY_NAME, "ann")?, Some(7));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// `NewerVersion` where the store has had more steps than there are; those of the steps, of [`Database::begin_write`] and
    /// [`WriteTxn::commit`]: the store is as it was.
    pub fn migrate(&self, steps: &[Migration]) -> Result<u64> {
        let version = self.read(|r| Ok(r.user_version()))?;
        if steps_done(version, steps)? == steps.len() {
            return Ok(version);
        }
        self.write(|w| w.migrate(steps))
    }

    /// Runs `update` in a txn that it may share with updates of other threads, and commits it when it returns
    /// `Ok`. For many threads with small updates each: they share the commit as well as its flush. An update
    /// that fails or panics leaves nothing and does not concern the others. It may be called again, in a txn of
    /// its own, if the shared one cannot be committed. It must not call `batch` or begin a write txn.
    ///
    /// ```
    /// use mapleaf::{Database, Table};
    /// const HITS: Table<str, u64> = Table::new("hits");
    /// # fn main() -> mapleaf::Result<()> {
    /// let db = Database::temporary()?;
    /// std::thread::scope(|threads| {
    ///     for _ in 0..8 {
    ///         threads.spawn(|| {
    ///             db.batch(|w| {
    ///                 let hits = w.get(HITS, "/")?.unwrap_or(0);
    ///                 w.put(HITS, "/", &(hits + 1))?;
    ///                 Ok(())
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
    pub fn batch<T>(&self, mut update: impl FnMut(&mut WriteTxn) -> Result<T>) -> Result<T> {
        let handle = self.handle.current()?;
        handle.batches.run(&handle.store, &mut update)
    }

    /// Makes everything that was committed durable in place, so that the log is empty. Waits for the turn to
    /// write. Costs a flush of all pages written since the last checkpoint, and one of the meta slot.
    ///
    /// # Errors
    /// Those of [`Database::begin_write`] and [`WriteTxn::commit`].
    pub fn checkpoint(&self) -> Result<()> {
        let _turn = self.begin_write()?;
        let store = self.store()?;
        store.counters().asked_checkpoints.add(1);
        store.lead()?.checkpoint_head()?;
        store.shorten().map(drop)
    }

    /// Makes the file shorter: moves what lies at its end to free pages in front, in txns of their own between which
    /// others write, and cuts off what is free behind. As much as the budget allows; the next call of this handle goes on
    /// where this one ended. Snapshots, in all processes, go on seeing what they see.
    ///
    /// ```
    /// use mapleaf::{Budget, Database, Table};
    /// const BLOBS: Table<u64, [u8]> = Table::new("blobs");
    /// # let db = Database::temporary()?;
    /// db.write(|w| (0..2000).try_for_each(|i| w.put(BLOBS, &i, &[7; 1000]).map(drop)))?;
    /// db.write(|w| w.delete_range(BLOBS, 20..))?;
    /// let before = db.file_usage()?.len;
    /// while !db.compact(Budget::pages(100))?.is_done {}
    /// assert!(db.file_usage()?.len < before / 4);
    /// assert_eq!(db.begin_read()?.len(BLOBS)?, 20);
    /// # Ok::<_, mapleaf::Error>(())
    /// ```
    ///
    /// A page that is moved is written once, as are the branches above it, once for all of their children that one step moves;
    /// to find them all branches are read once, and the leaves of tables that have large values or sets of values in pages of
    /// their own. A step is a checkpoint (two flushes) that moves up to 1024 pages. What a snapshot holds for long, and a large
    /// value that fits nowhere, stays where it is. Moved pages count as changed for incremental backups. A thread that holds a
    /// write txn waits for itself.
    ///
    /// # Errors
    /// Those of [`Database::begin_write`] and [`WriteTxn::commit`]; `Corrupt` where a page that it comes by is damaged. What
    /// was done before stays done.
    pub fn compact(&self, budget: Budget) -> Result<Compacted> {
        let handle = self.handle.current()?;
        compact::compact(&handle.store, &mut handle.course.lock(), budget)
    }

    /// Gives all free space back to the system, in every run of 64 KiB or more: the file takes less of the disk at once,
    /// and stays as long as it is. What snapshots need, stored ones or open ones in any process, stays too, and nobody
    /// who reads notices. Waits for the turn to write. Costs up to two checkpoints, and a system call for each run.
    ///
    /// What is given back gets new blocks before it is used again, as much at a time as the file would grow by, which
    /// fails with ENOSPC when the disk is full. So this is for a store that will stay small for a while; checkpoints do
    /// what is good for others by themselves ([`Options::auto_trim`]).
    ///
    /// ```
    /// # use mapleaf::{Database, Table};
    /// # const LOGS: Table<u64, [u8]> = Table::new("logs");
    /// # let db = Database::temporary()?;
    /// db.write(|w| (0..1000).try_for_each(|i| w.put(LOGS, &i, &[7; 3000]).map(drop)))?;
    /// db.write(|w| w.delete_range(LOGS, 10..).map(drop))?;
    /// let before = db.file_usage()?.disk_bytes;
    /// let trimmed = db.trim()?;
    /// if trimmed.is_supported {
    ///     assert!(trimmed.bytes > 2_000_000 && db.file_usage()?.disk_bytes < before);
    /// }
    /// # Ok::<_, mapleaf::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`Database::begin_write`] and [`WriteTxn::commit`]; `Io` when the system does not take the space, which
    /// is lost to nobody then.
    pub fn trim(&self) -> Result<Trimmed> {
        self.begin_write()?.trim()
    }

    /// A backup of the newest state, while others read and write: to a file, a pipe, or anything that takes
    /// bytes; all of it, or what was changed since another ([`Backup::since`]). [`Restore`](crate::Restore)
    /// is the way back.
    ///
    /// The state is made a checkpoint, so that later backups can be made since this one: that waits for the
    /// turn to write, and costs what [`Database::checkpoint`] does; nothing where it is one already. In a
    /// handle that only reads it is the newest state as it is, and
    /// [`BackupInfo::can_be_continued`](crate::BackupInfo::can_be_continued) where that is a checkpoint. A
    /// thread that holds a write txn waits for itself.
    ///
    /// # Errors
    /// Those of [`Database::checkpoint`] and [`Database::begin_read`].
    pub fn backup(&self) -> Result<Backup<'static>> {
        backup::begin(self.store()?)
    }

    /// Closes this handle. The last one in any process leaves a checkpoint behind, so that there is nothing
    /// to replay; dropping it does the same, but cannot say how it went, nor recover from a failed flush.
    /// Snapshots and txns keep the store open until they end.
    ///
    /// # Errors
    /// `Io` when the checkpoint fails: nothing is lost, the log is replayed at the next opening.
    pub fn close(self) -> Result<()> {
        let Some(mut handle) = Arc::into_inner(self.handle) else { return Ok(()) };
        while !handle.store.is_own_process() {
            match handle.successor.into_inner().and_then(Arc::into_inner) {
                Some(next) => handle = next,
                None => return Ok(()),
            }
        }
        let store = handle.store;
        let is_left_open = || store.readers.open_turn().is_some();
        if !store.read_only && Arc::strong_count(&store) == 1 && (store.is_unsettled()? || is_left_open()) {
            // Recovers, unless another process is just doing that, or is at work.
            drop(WriteTxn::begin(&store, Wait::No)?);
        }
        Arc::into_inner(store).map_or(Ok(()), |store| store.finish())
    }

    /// Waits until a txn newer than `after` is published, by any process, and returns the newest one; `None` if there
    /// is none when the time is over (`timeout`; without one it waits for ever). To follow a store, give it what it
    /// returned before; what was changed meanwhile [`ReadTxn::diff`] tells. The kernel wakes the waiter (a futex in the lock
    /// file); nothing is asked again and again. A commit where nobody waits makes no system call for it.
    ///
    /// If the process that publishes is killed between publishing and waking, a few instructions apart, the
    /// next publication wakes.
    ///
    /// ```
    /// use mapleaf::{Database, Table};
    /// use std::time::Duration;
    /// const JOBS: Table<u64, str> = Table::new("jobs");
    /// # fn main() -> mapleaf::Result<()> {
    /// let db = Database::in_memory()?;
    /// let seen = db.begin_read()?.txn_id();
    /// std::thread::scope(|threads| {
    ///     threads.spawn(|| db.write(|w| w.put(JOBS, &1, "sweep")).map(|_| ()));
    ///     db.wait_for_commit(seen, None).map(|_| ())
    /// })?;
    /// assert_eq!(db.begin_read()?.get(JOBS, &1)?, Some("sweep"));
    /// let seen = db.begin_read()?.txn_id();
    /// assert_eq!(db.wait_for_commit(seen, Some(Duration::from_millis(1)))?, None);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// `Io` when the kernel refuses to wait.
    pub fn wait_for_commit(&self, after: u64, timeout: Option<Duration>) -> Result<Option<u64>> {
        let readers = &self.store()?.readers;
        // A time beyond what the clock can say is for ever.
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let is_over = readers.wait(deadline, || readers.published().txn > after)?;
        Ok(is_over.then(|| readers.published().txn))
    }

    /// The async form of [`Database::wait_for_commit`]: resolves to the newest published txn as soon as it is newer than
    /// `after`. Dropping it ends the wait. While any such future waits, one thread of this process does so for all of
    /// them. Only with the feature `async`; it needs no executor in particular.
    ///
    /// # Errors
    /// Now: those of opening the store again behind a fork. When it resolves: `Io` when the thread cannot be started.
    #[cfg(feature = "async")]
    pub fn next_commit(&self, after: u64) -> Result<NextCommit> {
        let handle = self.handle.current()?;
        Ok(NextCommit::new(Arc::clone(&handle.store), Arc::clone(&handle.listeners), after))
    }

    /// The snapshots that are held, in all processes and in descriptors, oldest first, with what each keeps from being
    /// reused. Reads the space records: O(free extents).
    ///
    /// # Errors
    /// Those of [`Database::begin_read`]; `Corrupt` when the space records are damaged.
    pub fn readers(&self) -> Result<Vec<Reader>> {
        let store = self.store()?;
        let found = store.readers.list()?;
        // So that the space records stay; it is not among them.
        let txn = self.begin_read()?;
        pins::list(store, txn.state(), found)
    }

    /// The stored snapshots, in order of their names, with what each keeps from being reused. Reads the space records:
    /// O(free extents); [`ReadTxn::snapshots`] lists them without.
    ///
    /// ```
    /// # use mapleaf::{Database, Table};
    /// # const BLOBS: Table<u64, [u8]> = Table::new("blobs");
    /// # let db = Database::temporary()?;
    /// db.write(|w| {
    ///     w.put(BLOBS, &1, &[7; 100_000])?;
    ///     w.create_snapshot("monday")
    /// })?;
    /// db.write(|w| w.delete(BLOBS, &1))?;
    /// let monday = &db.snapshots()?[0];
    /// assert!(monday.pages_alone > 100_000 / 4096);
    /// # Ok::<_, mapleaf::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`Database::begin_read`]; `Corrupt` when the space records or the list are damaged.
    pub fn snapshots(&self) -> Result<Vec<StoredSnapshot>> {
        let store = self.store()?;
        let found = store.readers.list()?;
        // As for the readers.
        let txn = self.begin_read()?;
        pins::stored(store, txn.state(), &found)
    }

    /// Frees the snapshots of processes that died. Returns how many. Writers do so by themselves before the file would
    /// grow.
    ///
    /// # Errors
    /// `Io` when the kernel does not say who lives.
    pub fn reap(&self) -> Result<usize> {
        self.store()?.readers.reap()
    }

    /// Reads the whole store into the system's cache, which all processes share, in huge pages (2 MiB) where the file
    /// system has them (ext4, xfs), and maps it so: random reads then miss the processor's address cache less often. For
    /// stores that are mostly read: a small write into a huge page costs about ten times one into a small page. Of what
    /// others have mapped in small pages it stays so. Reads the file once, and takes as much memory.
    ///
    /// # Errors
    /// `Io`, also where a sector cannot be read.
    pub fn preload(&self) -> Result<()> {
        let txn = self.begin_read()?;
        let store = self.store()?;
        store.pages.disk.preload(txn.state().page_count * store.pages.page_size as u64)
    }

    /// What the data file takes of the disk, and of the page cache that all processes share. Two system calls; the second
    /// walks over the folios of the file that are in memory.
    ///
    /// ```
    /// # use mapleaf::Database;
    /// # let db = Database::temporary()?;
    /// let usage = db.file_usage()?;
    /// println!("{} of {} bytes have a place on the disk", usage.disk_bytes, usage.len);
    /// if let Some(cached) = usage.cached {
    ///     assert!(cached.dirty <= cached.resident);
    /// }
    /// # Ok::<_, mapleaf::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Io`.
    pub fn file_usage(&self) -> Result<FileUsage> {
        self.store()?.pages.disk.usage()
    }

    /// What the store did in this process since it was opened.
    pub fn counters(&self) -> Counters {
        self.handle.current().unwrap_or(&self.handle).store.counters().read()
    }

    /// Judges every page of the newest state, with checksums, order, counts, references and the
    /// accounting of space. Works beside writers. O(pages).
    ///
    /// # Errors
    /// `Io`. Damage is not an error but in the report.
    pub fn verify(&self, progress: &mut dyn FnMut(Progress)) -> Result<VerifyReport> {
        let txn = self.begin_read()?;
        verify::verify(self.store()?, txn.state(), progress)
    }

    /// What the store consists of. O(pages).
    ///
    /// # Errors
    /// `Corrupt` where a page is damaged; [`Database::verify`] goes on after damage.
    pub fn stats(&self) -> Result<Stats> {
        let txn = self.begin_read()?;
        verify::stats(self.store()?, txn.state())
    }

    /// Page `page` in words, as it is in the file now, whatever snapshot it belongs to.
    ///
    /// # Errors
    /// `InvalidArgument` behind the end of the file; `Io`. Damage is not an error but in the dump.
    pub fn page(&self, page: u64) -> Result<PageDump> {
        describe::describe(self.store()?, page)
    }

    /// Bytes of a page.
    pub fn page_size(&self) -> usize {
        self.handle.store.pages.page_size
    }

    /// Longest key in a table whose values need no alignment.
    pub fn max_key_len(&self) -> usize {
        crate::page::max_key_len(self.page_size())
    }

    /// Where the store was opened.
    pub fn path(&self) -> &Path {
        self.handle.store.pages.disk.path()
    }
}

//! A store that is open in this process: file, sidecar, and whose turn it is to write.
//!
//! Owns: opening and creating, choosing the meta slot, the writer's turn within the process and
//! between processes. Promises: one `Store` per file and process, whatever path it was opened by.
//! Leaves to others: flushing and publishing ([`crate::group`]), replaying the log ([`crate::recover`]),
//! transactions ([`crate::txn`]) and the order of a commit ([`crate::commit`]).
//!
//! Invariants:
//! 1. The meta slots hold checkpoints only. One of them is known to be on the disk, and the other is the
//!    only one that is ever written (asserted in `write_meta`).
//! 2. Outside a commit the file is exactly as long as the page count of the head says.
//! 3. Every block below that page count was written and flushed once.

use crate::arena::Piece;
use crate::counters::Counting;
use crate::create;
use crate::descriptor;
use crate::disk::{Disk, Mapped};
use crate::error::{Error, Result};
use crate::fork;
use crate::format::{ChildRef, LIMIT_48, MAX_LOG, META_LEN, META_OFFSETS, Meta, check_page_size};
use crate::lineage::{self, Checkpoint};
use crate::lock::{self, Mode};
use crate::log::Log;
use crate::options::Config;
use crate::readers::Readers;
use crate::session::{self, Sidecars, Standing, Wish};
use crate::settled;
use crate::shared::{FlushState, Mark, Pin, State};
use crate::snapshot::{PageSource, Pages};
use crate::space::{Run, Space};
use crate::write_back::Unwritten;
use parking_lot::{Condvar, Mutex};
use std::collections::HashMap;
use std::fs::File;
use std::io::IoSlice;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::{Acquire, Release};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{self, Arc, LazyLock, Weak};
use std::time::{Duration, Instant};
use zerocopy::IntoBytes;

/// So often is opening begun again when others come and go meanwhile.
const MAX_TRIES: usize = 100;
/// The log's first extent has at least so many bytes.
pub const MIN_LOG: u64 = 64 << 10;

/// A store that is open in this process.
pub struct Store {
    /// Its pages.
    pub pages: Pages,
    /// Its sidecar.
    pub readers: Readers,
    /// How it was opened.
    pub config: Config,
    /// Whether it can be written to.
    pub read_only: bool,
    /// Who flushes.
    pub flushers: Flushers,
    /// What early write-back has not asked for yet.
    pub unwritten: Mutex<Unwritten>,
    /// After which failed flushes and cuts this process has looked at its pages, and at the file's length, anew.
    heeded: AtomicU64,
    /// Whether this handle no longer counts: its sidecar may be anyone's by now, and is not touched.
    pub is_finished: AtomicBool,
    /// What a process that was forked has instead of the pins of its parent.
    pub heritage: sync::Mutex<Heritage>,
    /// The generation of the process that opened it.
    generation: u64,
    /// The session; [`lock::IMMUTABLE`] without a sidecar.
    pub session: u64,
    /// A meta slot of this store, for the fields that never change.
    template: Meta,
    /// The log of the newest checkpoint that this process has looked at.
    log: Mutex<Arc<Log>>,
    /// A checkpoint, and those that are known to be before it.
    lineage: Mutex<(Checkpoint, Vec<Checkpoint>)>,
    writer: Mutex<Option<Writer>>,
    writer_back: Condvar,
}

/// What a forked process has of a store that its parent had open.
#[derive(Default)]
pub struct Heritage {
    /// The generation that it is for; 0: none.
    pub generation: u64,
    /// For slots of the process that opened the store: the slots that hold the same for this one.
    pub pins: Vec<(Pin, Pin)>,
}

/// What one writer hands to the next in this process.
pub struct Writer {
    /// The space as of the last txn, unless something failed since.
    pub space: Option<Space>,
    /// Pages of commits whose flush failed.
    pub quarantine: Vec<Run>,
    /// The table of stored snapshots that was read last, and their txns, ascending.
    pub stored: (ChildRef, Vec<u64>),
    /// Heap memory of the last txn, for the next one.
    pub heap: Vec<Piece>,
    /// No txn gets an id below this: lower ones may stand in pages that were written in vain.
    pub next_txn: u64,
}

/// How long a writer waits for its turn.
#[derive(Clone, Copy)]
pub enum Wait {
    /// As long as it takes.
    Forever,
    /// Not at all.
    No,
    /// Until then.
    Until(Instant),
}

/// Which thread of this process flushes; the others wait for it.
#[derive(Default)]
pub struct Flushers {
    busy: Mutex<bool>,
    done: Condvar,
    /// What the last flush failed with.
    pub last_error: Mutex<Option<i32>>,
}

impl Flushers {
    /// Whether a thread of this process flushes.
    pub fn is_busy(&self) -> bool {
        *self.busy.lock()
    }

    /// Becomes the one that flushes, unless `is_over` says first that there is nothing left to do.
    pub fn enter(&self, is_over: impl Fn() -> bool) -> bool {
        let mut busy = self.busy.lock();
        loop {
            if is_over() {
                return false;
            }
            if !*busy {
                *busy = true;
                return true;
            }
            self.done.wait(&mut busy);
        }
    }

    /// Lets the next one flush, and everyone look.
    pub fn leave(&self) {
        *self.busy.lock() = false;
        self.done.notify_all();
    }
}

/// Device, inode, and whether it is read-only.
type Key = (u64, u64, bool);
/// Locked while it is opened.
type Place = Arc<Mutex<Weak<Store>>>;

/// The stores that this process has open.
#[derive(Default)]
pub struct Registry {
    /// The process that opened those that can be shared.
    generation: u64,
    open: HashMap<Key, Place>,
    /// Every one that is in this process's memory, also those of a parent.
    pub all: Vec<Weak<Store>>,
    /// Descriptors of stores that are just being opened or closed, by threads that a child will not have.
    pub transient: Vec<RawFd>,
}

/// Descriptors that a child is to let go of at once, until this ends; they are open longer.
#[derive(Default)]
pub struct Transient {
    fds: Vec<RawFd>,
}

impl Transient {
    /// Adds one.
    pub fn add(&mut self, file: &File) {
        self.fds.push(file.as_raw_fd());
        registry().transient.push(file.as_raw_fd());
    }
}

impl Drop for Transient {
    fn drop(&mut self) {
        let mut registry = registry();
        for fd in &self.fds {
            if let Some(place) = registry.transient.iter().position(|it| it == fd) {
                registry.transient.swap_remove(place);
            }
        }
    }
}

// The locks that a fork takes are the standard library's, which have no queue: a child can let them go although
// threads waited for them that it does not have.
static REGISTRY: LazyLock<sync::Mutex<Registry>> = LazyLock::new(sync::Mutex::default);
static STEADY: sync::RwLock<()> = sync::RwLock::new(());

/// The one registry that there is.
pub fn registry() -> sync::MutexGuard<'static, Registry> {
    fork::lock(&REGISTRY)
}

/// Keeps this process from being forked while descriptors with locks are not in the registry yet.
pub fn steady() -> sync::RwLockReadGuard<'static, ()> {
    STEADY.read().unwrap_or_else(sync::PoisonError::into_inner)
}

/// Waits until none of that is under way.
pub fn all_steady() -> sync::RwLockWriteGuard<'static, ()> {
    STEADY.write().unwrap_or_else(sync::PoisonError::into_inner)
}

impl Registry {
    fn place(&mut self, key: Key) -> Place {
        let generation = fork::generation();
        if self.generation != generation {
            // What a parent has open, or was just opening, is not for its child.
            self.open.clear();
            self.generation = generation;
        }
        // One that is locked is just being opened.
        self.open.retain(|_, place| place.try_lock().is_none_or(|store| store.strong_count() > 0));
        Arc::clone(self.open.entry(key).or_default())
    }

    fn add(&mut self, store: &Arc<Store>) {
        self.all.retain(|store| store.strong_count() > 0);
        self.all.push(Arc::downgrade(store));
    }
}

/// A data file and where its sidecar may be.
pub struct Origin {
    pub file: File,
    pub path: PathBuf,
    pub sidecars: Sidecars,
}

impl Origin {
    /// The store of this name; with the options it is created.
    pub fn at(path: &Path, config: &Config) -> Result<Self> {
        check_page_size(config.page_size)?;
        let file = create::open_file(path, config)?;
        // Whatever link it was opened by, its sidecar is one.
        let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        Ok(Origin { file, sidecars: Sidecars::Beside(path.clone()), path })
    }
}

/// What the locks of an opening are worth; lets them go when it ends.
struct Entering {
    /// The first: it ends before they are closed.
    transient: Transient,
    data: File,
    sidecar: Option<File>,
    stays: bool,
}

impl Drop for Entering {
    fn drop(&mut self) {
        // The descriptions may live on in other descriptors. Unlocking what is held does not fail.
        if !self.stays {
            // First: who has the sidecar locked takes those who are in its session for members.
            let _ = lock::leave(&self.data);
        }
        let _ = self.sidecar.as_ref().map(|sidecar| lock::unlock(sidecar, lock::ADMIN));
    }
}

impl Store {
    /// Opens or creates a store; the same again when this process has it open. `ready` makes a store that was just
    /// opened fit for use.
    pub fn open(
        origin: Origin,
        config: &Config,
        ready: impl FnOnce(&Arc<Store>) -> Result<()>,
    ) -> Result<Arc<Store>> {
        let meta = origin
            .file
            .metadata()
            .map_err(|error| Error::io(format!("examine {}", origin.path.display()), error))?;
        let place = registry().place((meta.dev(), meta.ino(), config.is_read_only()));
        let mut place = place.lock();
        if let Some(store) = place.upgrade() {
            return Ok(store);
        }
        let store = Store::start(origin, config)?;
        ready(&store)?;
        *place = Arc::downgrade(&store);
        Ok(store)
    }

    /// The store at `path` once more, as another process would open it.
    #[cfg(test)]
    pub fn open_apart(path: &Path, config: &Config) -> Result<Arc<Store>> {
        Store::start(Origin::at(path, config)?, config)
    }

    /// A store of its own files, which nobody else can know of.
    fn start(origin: Origin, config: &Config) -> Result<Arc<Store>> {
        let Origin { file, path, sidecars } = origin;
        let fail = |doing: &str, error| Error::io(format!("{doing} {}", path.display()), error);
        create::refuse_network(&file, &path, config)?;
        create::refuse_others(&file, &path, config)?;
        let wish = match (config.immutable, config.read_only) {
            (true, _) => Wish::Immutable,
            (_, true) => Wish::Read,
            _ => Wish::Write,
        };
        for _ in 0..MAX_TRIES {
            let id = || Ok(create::read_meta(&file, &path, false)?.0.store_id);
            let data = file.try_clone().map_err(|error| fail("open", error))?;
            let steady = steady();
            let standing = session::approach(&file, &sidecars, wish, id)?;
            // Declared behind what they name, so that they end before it is closed.
            let mut transient = Transient::default();
            transient.add(&file);
            let mut entering =
                Entering { transient: Transient::default(), data, sidecar: None, stays: false };
            entering.transient.add(&entering.data);
            if let Standing::Alone(sidecar) | Standing::Among(sidecar, _) = &standing {
                transient.add(sidecar);
                let copy = sidecar.try_clone().map_err(|error| fail("open the lock file of", error))?;
                entering.transient.add(&copy);
                entering.sidecar = Some(copy);
            }
            drop(steady);
            let is_among = matches!(standing, Standing::Among(..));
            // Nobody could begin another session meanwhile.
            let locked_out = matches!(standing, Standing::Alone(_)) && wish == Wish::Write;
            if locked_out && config.create {
                create::fill_if_blank(&file, &path, config)?;
            }
            let (meta, _) = create::read_meta(&file, &path, !matches!(standing, Standing::Among(..)))?;
            // Before the sidecar, of whose address space less depends.
            let mapped = Mapped::new(&file, create::MIN_LEN)?;
            let state = State::from_meta(&meta);
            let (readers, session) = match standing {
                Standing::Alone(sidecar) => {
                    let session = session::new_number()?;
                    let readers = Readers::begin(sidecar, &meta.store_id, session, &state, config.label())?;
                    (readers, session)
                }
                Standing::Among(sidecar, session) => (Readers::join(sidecar, config.label())?, session),
                Standing::Immutable => {
                    let own = descriptor::in_memory("mapleaf-lock")
                        .map_err(|error| fail("create a lock file in memory for", error))?;
                    let session = lock::IMMUTABLE;
                    (Readers::begin(own, &meta.store_id, session, &state, config.label())?, session)
                }
            };
            let leave_hint = || {
                if let Sidecars::Beside(path) = &sidecars {
                    session::leave_hint(&file, readers.file(), path);
                }
            };
            if locked_out {
                // Before others can see that there is a session.
                leave_hint();
            }
            if session != lock::IMMUTABLE {
                lock::join(&file, session).map_err(|error| fail("lock", error))?;
                let is_in = |session| lock::is_session(&file, session).map_err(|error| fail("lock", error));
                // Of a session whose last member has just gone the sidecar may be old: another may have come and gone since.
                // And of two that only read, by two names, at once, neither may stay.
                if (is_among && !is_in(session)?)
                    || (!locked_out && !session::is_the_only_session(&file, session)?)
                {
                    drop((entering, transient));
                    std::thread::sleep(Duration::from_millis(1 + session % 7));
                    continue;
                }
            }
            if !locked_out {
                leave_hint();
            }
            entering.stays = true;
            let store = Store::with(file, mapped, &path, config, meta, readers, session)?;
            store.admit_published()?;
            let store = Arc::new(store);
            // From here on a fork knows it.
            registry().add(&store);
            return Ok(store);
        }
        Err(Error::Busy { detail: format!("{} is opened by others again and again", path.display()) })
    }

    /// Makes the pages of the published state readable. It is not pinned: where it is no longer the newest, the file may
    /// have been cut meanwhile.
    fn admit_published(&self) -> Result<()> {
        loop {
            let published = self.readers.published();
            let admitted =
                self.pages.disk.admit(published.page_count.saturating_mul(self.pages.page_size as u64));
            if admitted.is_ok() || self.readers.published() == published {
                return admitted;
            }
        }
    }

    /// The parts put together.
    pub fn with(
        file: File,
        mapped: Mapped,
        path: &Path,
        config: &Config,
        meta: Meta,
        readers: Readers,
        session: u64,
    ) -> Result<Store> {
        let page_size = meta.page_size.get() as usize;
        let mut disk = Disk::new(file, mapped, path, config.observer.clone(), create::MIN_LEN)?;
        disk.needs_name &= !config.outlives_name;
        let writer = Writer {
            space: None,
            quarantine: Vec::new(),
            stored: (ChildRef::default(), Vec::new()),
            heap: Vec::new(),
            next_txn: 0,
        };
        Ok(Store {
            pages: Pages::new(disk, page_size, config.verify, config.guarded).advised(config.advice),
            readers,
            config: config.clone(),
            read_only: config.is_read_only() || meta.write_features.get() != 0,
            flushers: Flushers::default(),
            unwritten: Mutex::default(),
            heeded: AtomicU64::new(0),
            is_finished: AtomicBool::new(false),
            heritage: sync::Mutex::default(),
            generation: fork::generation(),
            session,
            log: Mutex::new(Arc::new(Log::of(&meta))),
            lineage: Mutex::default(),
            template: meta,
            writer: Mutex::new(Some(writer)),
            writer_back: Condvar::new(),
        })
    }

    /// Random bytes given at creation.
    pub fn store_id(&self) -> [u8; 16] {
        self.template.store_id
    }

    /// The checkpoint to start from: a slot that is known to be on the disk, or, before the store has
    /// recovered, the newest one that can be read.
    ///
    /// # Errors
    /// `Corrupt` when the slot cannot be read any more; `Io`.
    pub fn checkpoint(&self) -> Result<(Meta, usize)> {
        loop {
            let Some((txn, slot)) = self.readers.checkpoint() else {
                return create::read_meta(self.pages.disk.file(), self.pages.disk.path(), false);
            };
            let found = match &create::slots_in(&self.pages.disk)[slot] {
                Ok(meta) if meta.txn.get() == txn => return Ok((*meta, slot)),
                other => other.as_ref().map(|meta| meta.txn.get()).map_err(Clone::clone),
            };
            // Unless there is a newer one by now.
            if self.readers.checkpoint() == Some((txn, slot)) {
                let detail = format!("meta slot {slot} held txn {txn}, now it is {found:?}");
                return Err(Error::corrupt(0, detail));
            }
        }
    }

    /// The log that follows the checkpoint.
    ///
    /// # Errors
    /// Those of [`Store::checkpoint`].
    pub fn log(&self) -> Result<Arc<Log>> {
        let mut log = self.log.lock();
        if self.readers.checkpoint().is_none_or(|(txn, _)| txn != log.checkpoint) {
            *log = Arc::new(Log::of(&self.checkpoint()?.0));
        }
        Ok(Arc::clone(&log))
    }

    /// What was done so far.
    pub fn counters(&self) -> &Counting {
        &self.pages.disk.counters
    }

    /// The txns whose pages must stay, ascending: those that are pinned, the checkpoint, and these, of the `stored`
    /// snapshots.
    ///
    /// # Errors
    /// `Io` when the sidecar cannot be examined: nothing may be reused then.
    pub fn needed(&self, stored: &[u64]) -> Result<Vec<u64>> {
        let mut needed = self.readers.pinned()?;
        for txn in self.readers.checkpoint().iter().map(|(txn, _)| txn).chain(stored) {
            if let Err(place) = needed.binary_search(txn) {
                needed.insert(place, *txn);
            }
        }
        Ok(needed)
    }

    /// Bytes that the log may have in a store of this size.
    pub fn log_limit(&self, state: &State) -> u64 {
        let file_len = state.page_count * self.pages.page_size as u64;
        (file_len / 4).clamp(4 * MIN_LOG, self.config.log_limit.clamp(4 * MIN_LOG, MAX_LOG))
    }

    /// Pages that the checkpoint may hold back in a store of this size.
    pub fn held_limit(&self, state: &State) -> u64 {
        let limit = self.config.held_limit / self.pages.page_size as u64;
        (state.page_count / 8).max(1024).min(limit)
    }

    /// Locks and slots are those of the process that opened the store.
    ///
    /// # Errors
    /// `Forked` in a process that was forked from it.
    #[inline]
    pub fn check_process(&self) -> Result<()> {
        if self.is_own_process() { Ok(()) } else { Err(Error::Forked) }
    }

    /// Whether this is the process that opened the store, and not one forked from it.
    #[inline]
    pub fn is_own_process(&self) -> bool {
        fork::generation() == self.generation
    }

    /// The data file opened once more, with locks of its own, for another process: it has the store open.
    ///
    /// # Errors
    /// `Io`, also when this process may not open the file anew.
    pub fn data_in_session(&self, write: bool) -> Result<File> {
        let fail = |error| self.pages.disk.io_error("open once more", error);
        let data = descriptor::reopen(self.pages.disk.file(), write).map_err(fail)?;
        lock::join(&data, self.session).map_err(fail)?;
        Ok(data)
    }

    /// The generation of the process that opened it.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Gives a slot back; in a forked process the one that this process has instead of it.
    #[inline]
    pub fn unpin(&self, pin: Pin, txn: u64) {
        if self.is_own_process() {
            return self.readers.unpin(pin);
        }
        if let Some(own) = self.inherited(pin, txn) {
            self.readers.unpin(own);
        }
    }

    /// What this process has inherited; `None` where that is locked by a thread that the parent had at the fork.
    pub fn heritage(&self) -> Option<sync::MutexGuard<'_, Heritage>> {
        fork::lock_unless_lost(&self.heritage)
    }

    /// The slot that this process, which was forked, has instead of one of its parent with this txn. (Another thread
    /// may have given the parent's slot back and taken it for another txn just before the fork.)
    #[cold]
    pub fn inherited(&self, pin: Pin, txn: u64) -> Option<Pin> {
        let heritage = self.heritage()?;
        let found = heritage.pins.iter().find(|(parents, _)| *parents == pin).map(|(_, own)| *own);
        found.filter(|own| {
            heritage.generation == fork::generation() && self.readers.pinned_at(*own) == Some(txn)
        })
    }

    /// After a failed flush, of any process, the cache may hold older versions of pages that were verified here. When the
    /// file was cut it is not as long as was seen.
    #[inline]
    pub fn heed_upsets(&self) {
        let upsets = self.readers.upsets();
        if self.heeded.load(Acquire) != upsets {
            self.heed(upsets);
        }
    }

    #[cold]
    fn heed(&self, upsets: u64) {
        let before = self.heeded.load(Acquire);
        if (before ^ upsets) as u32 != 0 {
            self.pages.distrust();
        }
        // A child of this process reads what its parent had pinned, nothing newer.
        if self.is_own_process() && before >> 32 != upsets >> 32 {
            self.pages.disk.look_again();
        }
        self.heeded.store(upsets, Release);
    }

    // ---- the writer's turn ----

    /// Waits for the turn to write. `None` when the time is over. Next comes [`Store::prepare`], behind
    /// recovery where [`Store::is_unsettled`].
    pub fn begin_writer(&self, wait: Wait) -> Result<Option<Writer>> {
        if self.read_only {
            return Err(Error::ReadOnly);
        }
        self.check_process()?;
        let Some(writer) = self.take_writer(wait) else { return Ok(None) };
        match self.lock_writer(wait) {
            Ok(true) => Ok(Some(writer)),
            Ok(false) => {
                self.give_back(writer);
                Ok(None)
            }
            Err(error) => {
                self.give_back(writer);
                Err(self.pages.disk.io_error("lock", error))
            }
        }
    }

    fn take_writer(&self, wait: Wait) -> Option<Writer> {
        let mut place = self.writer.lock();
        while place.is_none() {
            match wait {
                Wait::Forever => self.writer_back.wait(&mut place),
                Wait::No => return None,
                Wait::Until(time) => {
                    if self.writer_back.wait_until(&mut place, time).timed_out() && place.is_none() {
                        return None;
                    }
                }
            }
        }
        place.take()
    }

    fn lock_writer(&self, wait: Wait) -> std::io::Result<bool> {
        let file = self.pages.disk.file();
        match wait {
            Wait::Forever => lock::lock(file, lock::WRITER, Mode::Exclusive).map(|()| true),
            Wait::No => lock::try_lock(file, lock::WRITER, Mode::Exclusive),
            Wait::Until(time) => loop {
                // The kernel has no timed wait for these locks.
                if lock::try_lock(file, lock::WRITER, Mode::Exclusive)? {
                    return Ok(true);
                }
                if Instant::now() >= time {
                    return Ok(false);
                }
                std::thread::sleep(Duration::from_millis(1).min(time - Instant::now()));
            },
        }
    }

    /// Ends the turn; `clean` when nothing of it is left but what was committed.
    pub fn end_writer(&self, writer: Writer, clean: bool) {
        if clean {
            self.readers.set_open_turn(0);
        }
        // Unlocking what is held does not fail; and the lock ends with the descriptor.
        let _ = lock::unlock(self.pages.disk.file(), lock::WRITER);
        self.give_back(writer);
    }

    fn give_back(&self, writer: Writer) {
        *self.writer.lock() = Some(writer);
        self.writer_back.notify_one();
    }

    /// Waits until nobody has the turn to write; for read-only handles.
    ///
    /// # Errors
    /// `Io`.
    pub fn wait_for_writer(&self) -> Result<()> {
        let file = self.pages.disk.file();
        lock::lock(file, lock::WRITER, Mode::Shared)
            .and_then(|()| lock::unlock(file, lock::WRITER))
            .map_err(|error| self.pages.disk.io_error("lock", error))
    }

    /// Whether a flush has failed, or whoever did it died, or nobody has looked at the log yet. The
    /// caller has the turn.
    pub fn is_unsettled(&self) -> Result<bool> {
        // Who made a checkpoint died before it was the head: whoever builds on the head would write over it.
        if self.readers.checkpoint().is_some_and(|(txn, _)| txn > self.readers.head().txn) {
            return Ok(true);
        }
        let is_under_way = || self.readers.flush_state() == FlushState::UnderWay;
        if !is_under_way() {
            return Ok(self.readers.flush_state() != FlushState::Settled);
        }
        let held = lock::is_held(self.pages.disk.file(), lock::FLUSH)
            .map_err(|error| self.pages.disk.io_error("examine the locks of", error))?;
        Ok(!held && !self.flushers.is_busy() && is_under_way())
    }

    /// With the turn: makes the view of the space current. `read_stored` reads the txns of a state's stored snapshots.
    /// Returns the state to build on.
    pub fn prepare(
        &self,
        writer: &mut Writer,
        read_stored: impl FnOnce(&Snapshot<'_>, &State) -> Result<Vec<u64>>,
    ) -> Result<State> {
        self.heed_upsets();
        let state = self.head()?;
        if let Some(txn) = self.readers.open_turn() {
            self.take_over(writer, &state, txn)?;
        }
        writer.next_txn = writer.next_txn.max(state.txn.saturating_add(1));
        check_txn(writer.next_txn)?;
        self.readers.set_open_turn(writer.next_txn);
        self.pages.disk.admit(state.page_count.saturating_mul(self.pages.page_size as u64))?;
        let source = Snapshot { pages: &self.pages, page_count: state.page_count };
        if writer.stored.0 != state.snapshots {
            writer.stored = (state.snapshots, read_stored(&source, &state)?);
        }
        match &mut writer.space {
            Some(space) => space.catch_up(&source, &state)?,
            None => {
                let space = Space::load(&source, &state, self.pages.page_size)?;
                self.check_log(&space)?;
                writer.space = Some(space);
            }
        }
        if let Some(space) = &mut writer.space {
            // In this order: whoever is published later is judged later.
            let published = self.readers.published().txn;
            let judged = space.reclaim(&self.needed(&writer.stored.1)?, published);
            self.counters().judged_runs.add(judged);
            // Behind that: in the records most of what was free to a commit that failed is pending still. And each
            // time: what others have committed since is read over it.
            space.quarantine(&writer.quarantine);
        }
        Ok(state)
    }

    /// The head, if it can be one: others write the sidecar too, and from a head come lengths and meta slots.
    ///
    /// # Errors
    /// `Corrupt` when it cannot.
    pub fn head(&self) -> Result<State> {
        let (state, log) = (self.readers.head(), self.log()?);
        let len = state.page_count.saturating_mul(self.pages.page_size as u64);
        let as_meta = state.to_meta(&self.template, &log);
        let fits = self.pages.disk.has(len)?
            && state.log.offset <= log.capacity()
            && state.held <= state.page_count
            && Meta::parse(as_meta.as_bytes()).is_ok();
        match fits {
            true => Ok(state),
            false => {
                Err(Error::corrupt(0, format!("the lock file tells of a state that cannot be: {state:?}")))
            }
        }
    }

    /// The log must lie where the space records say: elsewhere its records would go over other pages.
    pub fn check_log(&self, space: &Space) -> Result<()> {
        let log = self.log()?;
        let mut named = log.extents().to_vec();
        named.sort_unstable();
        match space.log_runs().map(|run| (run.start, run.len)).eq(named.iter().copied()) {
            true => Ok(()),
            false => Err(Error::corrupt(
                named.first().map_or(0, |extent| extent.0),
                "the meta slot names it as part of the log, the space records do not agree",
            )),
        }
    }

    /// The last turn, that of `txn`, did not end well, here or in another process, but nothing was being
    /// flushed: nobody refers to what it wrote. Growth that no commit recorded is cut off: its blocks
    /// were perhaps never flushed.
    fn take_over(&self, writer: &mut Writer, state: &State, txn: u64) -> Result<()> {
        writer.space = None;
        writer.next_txn = writer.next_txn.max(txn.saturating_add(1));
        self.cut(state.page_count)
    }

    /// Cuts what lies behind `page_count`, as far as no state that can be seen has more pages: the published one, those of
    /// both meta slots, and those that snapshots hold. The number comes from the sidecar; whatever it is, what the
    /// checkpoint has stays.
    ///
    /// Of states that are pinned it is known that they are as long as the newest one, or shorter, unless they are older
    /// than the newest txn that took pages off ([`Shared::shrunk`](crate::shared::Shared::shrunk)). The pins are looked at
    /// when that txn is published: whoever pins a state does so before it looks for the last time which is published.
    pub fn cut(&self, page_count: u64) -> Result<()> {
        let has = self.pages.disk.len()?;
        if has <= page_count.saturating_mul(self.pages.page_size as u64) {
            return Ok(());
        }
        let (published, (shrunk, longest)) = (self.readers.published(), self.readers.shrunk());
        let is_seen =
            published.txn < shrunk || self.readers.pinned()?.first().is_some_and(|txn| *txn < shrunk);
        let seen = if is_seen { longest } else { 0 };
        let slots = create::slots_in(&self.pages.disk);
        let in_slots = slots.iter().flatten().map(|meta| meta.page_count.get()).max().unwrap_or(0);
        let checkpoint = self.checkpoint()?.0.page_count.get().max(in_slots);
        let kept = page_count.max(checkpoint).max(published.page_count).max(seen);
        let len = kept.saturating_mul(self.pages.page_size as u64);
        if has > len { self.set_len(len) } else { Ok(()) }
    }

    fn set_len(&self, len: u64) -> Result<()> {
        self.pages.disk.set_len(len)?;
        // What others know of the file's length holds no more.
        self.readers.count_cut();
        Ok(())
    }

    /// Writes `state` and its log into a meta slot and waits until it is on the disk. The caller holds the
    /// flush lock.
    pub fn write_meta(&self, state: &State, log: &Log, slot: usize) -> Result<()> {
        let checkpoint = self.readers.checkpoint();
        assert!(checkpoint.is_some_and(|(_, durable)| slot != durable), "{state:?} over {checkpoint:?}");
        let meta = state.to_meta(&self.template, log);
        // Where it cannot be read the new one begins with itself.
        let before = self.lineage().unwrap_or_default();
        let list = lineage::list(before.clone(), &meta);
        self.write_slot_with(&meta, &list, slot)?;
        let id = log.checkpoint_id();
        *self.lineage.lock() = (id, lineage::after(before, id));
        Ok(())
    }

    /// The checkpoints that the store came through, ascending, the last of which it starts from: not all of them.
    ///
    /// # Errors
    /// Those of [`Store::checkpoint`].
    pub fn lineage(&self) -> Result<Vec<Checkpoint>> {
        let id = self.log()?.checkpoint_id();
        let mut known = self.lineage.lock();
        if known.0 != id {
            *known = (id, lineage::read(&self.pages.disk, id));
        }
        Ok(known.1.clone())
    }

    /// Writes a meta slot and waits until it is on the disk.
    pub fn write_slot(&self, meta: &Meta, slot: usize) -> Result<()> {
        self.write_slot_with(meta, &[], slot)
    }

    /// The same with what stands behind it.
    fn write_slot_with(&self, meta: &Meta, behind: &[u8], slot: usize) -> Result<()> {
        self.take_mark_away()?;
        let disk = &self.pages.disk;
        let slices = [IoSlice::new(meta.as_bytes()), IoSlice::new(behind)];
        disk.write(META_OFFSETS[slot], &slices[..1 + usize::from(!behind.is_empty())])?;
        disk.sync(META_OFFSETS[slot], META_LEN as u64)
    }

    /// Writes both meta slots as they are once more and waits until they are on the disk.
    pub fn rewrite_slots(&self) -> Result<()> {
        self.take_mark_away()?;
        let disk = &self.pages.disk;
        for offset in META_OFFSETS {
            let mut bytes = [0; META_LEN];
            disk.read_at(offset, &mut bytes)?;
            disk.write(offset, &[IoSlice::new(&bytes)])?;
        }
        disk.sync(META_OFFSETS[0], META_OFFSETS[1] + META_LEN as u64)
    }

    /// A slot could not be written or flushed: puts the checkpoint into it, so that what it was to say does not
    /// come back when every process dies. Recovery does it again, and flushes it.
    pub fn take_back_meta(&self, slot: usize) {
        // Where this fails too, only the promise of the next opening is weaker.
        let _ = self.take_mark_away().and_then(|()| self.checkpoint()).and_then(|(meta, _)| {
            self.pages.disk.write(META_OFFSETS[slot], &[IoSlice::new(meta.as_bytes())])
        });
    }

    /// Whether the session before has left word that both slots are on the disk as they are.
    pub fn has_mark(&self) -> bool {
        let is_left = settled::is_left(self.pages.disk.file());
        if is_left {
            self.readers.set_mark(Mark::Left);
        }
        is_left
    }

    /// Nobody is to find that word from now on: a slot is about to be written.
    ///
    /// # Errors
    /// `Io` when it cannot be taken away.
    pub fn take_mark_away(&self) -> Result<()> {
        if self.readers.mark() != Mark::Gone {
            settled::take_away(self.pages.disk.file())
                .map_err(|error| self.pages.disk.io_error("change the attributes of", error))?;
            self.readers.set_mark(Mark::Gone);
        }
        Ok(())
    }

    /// A child, or whoever is given the store, may have no right to change the file's attributes: the word is taken away
    /// before. Where that fails it matters only to them.
    pub fn expect_others(&self) {
        if !self.read_only {
            let _ = self.take_mark_away();
        }
    }

    /// Leaves that word for the session behind this one: of both slots the last write was flushed. The caller is alone.
    pub fn leave_mark(&self) {
        let is_settled = self.readers.flush_state() == FlushState::Settled;
        if is_settled && self.readers.mark() != Mark::Left && self.pages.disk.needs_name {
            settled::leave(self.pages.disk.file());
        }
    }

    /// Remembers the log that a new checkpoint begins.
    pub fn set_log(&self, log: Log) {
        *self.log.lock() = Arc::new(log);
    }

    /// Whether nobody else has the store open, in any process; then nobody can open it before
    /// [`Store::unshare`].
    ///
    /// # Errors
    /// `Io`.
    pub fn is_alone(&self) -> Result<bool> {
        lock::try_be_alone(self.pages.disk.file()).map_err(|error| self.pages.disk.io_error("lock", error))
    }

    /// This handle no longer counts among those that have the store open.
    ///
    /// # Errors
    /// `Io`.
    pub fn unshare(&self) -> Result<()> {
        // In this order: a sidecar that has processes but no session is taken for another store's.
        self.readers.resign();
        lock::leave(self.pages.disk.file()).map_err(|error| self.pages.disk.io_error("unlock", error))
    }
}

/// A txn can have this id.
pub fn check_txn(txn: u64) -> Result<()> {
    match txn < LIMIT_48 {
        true => Ok(()),
        false => Err(Error::invalid("all txn ids are used; dump and load the store")),
    }
}

/// Reading as of one state, without pinning it: for whoever holds the writer lock.
pub struct Snapshot<'s> {
    pub pages: &'s Pages,
    pub page_count: u64,
}

impl PageSource for Snapshot<'_> {
    fn page(&self, page: u64, birth: u64) -> Result<&[u8]> {
        self.pages.read(page, birth, self.page_count)
    }

    fn known(&self, short: crate::format::ShortRef) -> Option<&[u8]> {
        self.pages.known(short, self.page_count)
    }

    fn overflow(&self, run: &crate::format::OverflowRef) -> Result<&[u8]> {
        self.pages.read_overflow(run, self.page_count)
    }
}

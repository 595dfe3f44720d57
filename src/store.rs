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

use crate::counters::Counting;
use crate::disk::{Disk, Observer, Op, Verdict, within_limit};
use crate::error::{Error, Result};
use crate::format::{
    LIMIT_48, MAX_LOG, META_LEN, META_OFFSETS, MIN_PAGE_SIZE, Meta, check_page_size, meta_pages,
};
use crate::lock::{self, Mode};
use crate::log::Log;
use crate::readers::{FlushState, Readers, State};
use crate::snapshot::{PageSource, Pages, Verify};
use crate::space::{Run, Space};
use parking_lot::{Condvar, Mutex};
use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::IoSlice;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, LazyLock, Weak};
use std::time::{Duration, Instant};
use zerocopy::IntoBytes;

/// A longer file of zeros is not what a cut during creation leaves.
const MAX_BLANK: u64 = 16 << 20;
/// A new store's length.
const FIRST_LEN: u64 = 64 << 10;
/// The log's first extent has at least so many bytes.
pub const MIN_LOG: u64 = 64 << 10;

/// How a store is opened.
#[derive(Clone)]
pub struct Config {
    pub page_size: usize,
    pub create: bool,
    pub read_only: bool,
    pub max_size: u64,
    pub dirty_limit: usize,
    pub verify: Verify,
    pub durability: Durability,
    pub log_limit: u64,
    pub held_limit: u64,
    pub ignore_log: bool,
    pub observer: Option<Arc<dyn Observer>>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            page_size: MIN_PAGE_SIZE,
            create: true,
            read_only: false,
            max_size: u64::MAX,
            dirty_limit: 256 << 20,
            verify: Verify::Once,
            durability: Durability::Durable,
            log_limit: 16 << 20,
            held_limit: 16 << 20,
            ignore_log: false,
            observer: None,
        }
    }
}

/// When a commit counts as done, and which crashes it survives then. None can damage the store. The
/// stricter one is the greater.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum Durability {
    /// In the log, not flushed. It survives the death of every process; a power cut or a crash of the
    /// system may cost the newest commits, but never a part of one, nor an older one without the newer.
    Eventual,
    /// On the disk when the commit returns: in the redo log, with one small flush, or in place, whichever
    /// is cheaper.
    #[default]
    Durable,
    /// On the disk when the commit returns, in place: every commit is a checkpoint. Two flushes.
    Ordered,
}

/// A store that is open in this process.
pub struct Store {
    /// Its pages.
    pub pages: Pages,
    /// Its sidecar.
    pub readers: Readers,
    /// Quota in bytes.
    pub max_size: u64,
    /// Bytes of changed pages that a txn keeps in memory.
    pub dirty_limit: usize,
    /// What commits promise unless they are asked for something else.
    pub durability: Durability,
    /// Most bytes of the redo log, as configured.
    max_log: u64,
    /// Bytes of replaced pages that the checkpoint may hold back, as configured.
    max_held: u64,
    /// Who flushes.
    pub flushers: Flushers,
    /// What was done so far.
    pub counters: Counting,
    /// How far early write-back has come.
    pub written_back: AtomicU64,
    /// Whether this handle no longer counts: its sidecar may be anyone's by now, and is not touched.
    pub is_finished: AtomicBool,
    /// Whether it can be written to.
    pub read_only: bool,
    /// The process that opened it.
    process: u32,
    /// A meta slot of this store, for the fields that never change.
    template: Meta,
    /// The log of the newest checkpoint that this process has looked at.
    log: Mutex<Arc<Log>>,
    writer: Mutex<Option<Writer>>,
    writer_back: Condvar,
}

/// What one writer hands to the next in this process.
pub struct Writer {
    /// The space as of the last txn, unless something failed since.
    pub space: Option<Space>,
    /// Pages of commits whose flush failed.
    pub quarantine: Vec<Run>,
    /// Heap memory of the last txn, for the next one.
    pub heap: Vec<Box<[u8]>>,
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

type Key = (u64, u64, bool);
static OPEN: LazyLock<Mutex<HashMap<Key, Weak<Store>>>> = LazyLock::new(Mutex::default);

impl Store {
    /// Opens or creates the store at `path`; the same store again when this process has it open. `ready`
    /// makes a store that was just opened fit for use.
    pub fn open(
        path: &Path,
        config: &Config,
        ready: impl FnOnce(&Arc<Store>) -> Result<()>,
    ) -> Result<Arc<Store>> {
        check_page_size(config.page_size)?;
        let file = open_file(path, config)?;
        let meta =
            file.metadata().map_err(|error| Error::io(format!("examine {}", path.display()), error))?;
        let key = (meta.dev(), meta.ino(), config.read_only);
        let mut open = OPEN.lock();
        if let Some(store) = open.get(&key).and_then(Weak::upgrade) {
            return Ok(store);
        }
        // Whatever link it was opened by, its sidecar is one.
        let path = &std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let sidecar = open_sidecar(path)?;
        let store = Arc::new(Store::start(file, path, sidecar, config)?);
        ready(&store)?;
        open.retain(|_, store| store.strong_count() > 0);
        open.insert(key, Arc::downgrade(&store));
        Ok(store)
    }

    /// The store at `path` once more, as another process would open it.
    #[cfg(test)]
    pub fn open_apart(path: &Path, config: &Config) -> Result<Arc<Store>> {
        Store::start(open_file(path, config)?, path, open_sidecar(path)?, config).map(Arc::new)
    }

    /// A store in an unlinked file in `directory`, which ends with its last handle.
    pub fn temporary(directory: &Path, config: &Config) -> Result<Arc<Store>> {
        check_page_size(config.page_size)?;
        let unlinked = |what: &str| {
            let mut options = OpenOptions::new();
            options.read(true).write(true).custom_flags(libc::O_TMPFILE).mode(0o600);
            options
                .open(directory)
                .map_err(|error| Error::io(format!("create {what} in {}", directory.display()), error))
        };
        let file = unlinked("a temporary store")?;
        let sidecar = unlinked("its lock file")?;
        Store::start(file, &directory.join("(temporary)"), sidecar, config).map(Arc::new)
    }

    fn start(file: File, path: &Path, sidecar: File, config: &Config) -> Result<Store> {
        let fail = |doing: &str, error| Error::io(format!("{doing} {}", path.display()), error);
        lock::lock(&sidecar, lock::ADMIN, Mode::Exclusive).map_err(|error| fail("lock", error))?;
        let alone = match config.read_only {
            true => !lock::is_held(&file, lock::OPEN).map_err(|error| fail("lock", error))?,
            false => {
                lock::try_lock(&file, lock::OPEN, Mode::Exclusive).map_err(|error| fail("lock", error))?
            }
        };
        if alone
            && !config.read_only
            && config.create
            && is_blank(&file).map_err(|error| fail("read", error))?
        {
            write_new_store(&file, config).map_err(|error| fail("create", error))?;
        }
        let (meta, _) = read_meta(&file, path, alone)?;
        let read_only = config.read_only || meta.write_features.get() != 0;
        let mut state = State::from_meta(&meta);
        let page_size = meta.page_size.get() as usize;
        let disk = Disk::new(file, path, config.observer.clone(), META_OFFSETS[1] + META_LEN as u64)?;
        // The sidecar keeps its own handle; ADMIN is held through this one until everything stands.
        let admin = sidecar.try_clone().map_err(|error| fail("open the lock file of", error))?;
        let readers = Readers::open(sidecar, &meta.store_id, alone, &state)?;
        lock::lock(disk.file(), lock::OPEN, Mode::Shared).map_err(|error| fail("lock", error))?;
        lock::unlock(&admin, lock::ADMIN).map_err(|error| fail("unlock", error))?;
        state = readers.published();
        disk.admit(state.page_count.saturating_mul(page_size as u64))?;
        let writer = Writer { space: None, quarantine: Vec::new(), heap: Vec::new(), next_txn: 0 };
        Ok(Store {
            pages: Pages::new(disk, page_size, config.verify),
            readers,
            max_size: config.max_size,
            dirty_limit: config.dirty_limit,
            durability: config.durability,
            max_log: config.log_limit,
            max_held: config.held_limit,
            flushers: Flushers::default(),
            counters: Counting::default(),
            written_back: AtomicU64::new(0),
            is_finished: AtomicBool::new(false),
            read_only,
            process: std::process::id(),
            log: Mutex::new(Arc::new(Log::of(&meta))),
            template: meta,
            writer: Mutex::new(Some(writer)),
            writer_back: Condvar::new(),
        })
    }

    /// Random bytes given at creation.
    pub fn store_id(&self) -> [u8; 16] {
        self.template.store_id
    }

    /// What the two meta slots hold right now: a slot, or what is wrong with it (`None`: never written).
    pub fn meta_slots(&self) -> Result<[Result<Meta, Option<String>>; 2]> {
        let mut slots = [Err(None), Err(None)];
        for (slot, offset) in slots.iter_mut().zip(META_OFFSETS) {
            let mut bytes = [0; META_LEN];
            self.pages.disk.read_at(offset, &mut bytes)?;
            *slot = Meta::parse(&bytes);
        }
        Ok(slots)
    }

    /// The checkpoint to start from: a slot that is known to be on the disk, or, before the store has
    /// recovered, the newest one that can be read.
    ///
    /// # Errors
    /// `Corrupt` when the slot cannot be read any more; `Io`.
    pub fn checkpoint(&self) -> Result<(Meta, usize)> {
        loop {
            let Some((txn, slot)) = self.readers.checkpoint() else {
                return read_meta(self.pages.disk.file(), self.pages.disk.path(), false);
            };
            let found = match &self.meta_slots()?[slot] {
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

    /// The txns whose pages must stay: those that are pinned, and the checkpoint.
    ///
    /// # Errors
    /// `Io` when the sidecar cannot be examined: nothing may be reused then.
    pub fn needed(&self) -> Result<Vec<u64>> {
        let mut needed = self.readers.pinned()?;
        if let Some((txn, _)) = self.readers.checkpoint()
            && let Err(place) = needed.binary_search(&txn)
        {
            needed.insert(place, txn);
        }
        Ok(needed)
    }

    /// Bytes that the log may have in a store of this size.
    pub fn log_limit(&self, state: &State) -> u64 {
        let file_len = state.page_count * self.pages.page_size as u64;
        (file_len / 4).clamp(4 * MIN_LOG, self.max_log.clamp(4 * MIN_LOG, MAX_LOG))
    }

    /// Pages that the checkpoint may hold back in a store of this size.
    pub fn held_limit(&self, state: &State) -> u64 {
        let limit = self.max_held / self.pages.page_size as u64;
        (state.page_count / 8).max(1024).min(limit)
    }

    /// The locks belong to the open file description, which parent and child share.
    ///
    /// # Errors
    /// `Busy` in a process that was forked from the one that opened the store.
    pub fn check_process(&self) -> Result<()> {
        if self.is_own_process() {
            return Ok(());
        }
        let detail = "the store was opened before the process forked; open it anew in the child".into();
        Err(Error::Busy { detail })
    }

    /// Whether this is the process that opened the store, and not one forked from it.
    pub fn is_own_process(&self) -> bool {
        std::process::id() == self.process
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
        let is_under_way = || self.readers.flush_state() == FlushState::UnderWay;
        if !is_under_way() {
            return Ok(self.readers.flush_state() != FlushState::Settled);
        }
        let held = lock::is_held(self.pages.disk.file(), lock::FLUSH)
            .map_err(|error| self.pages.disk.io_error("examine the locks of", error))?;
        Ok(!held && !self.flushers.is_busy() && is_under_way())
    }

    /// With the turn: makes the view of the space current. Returns the state to build on.
    pub fn prepare(&self, writer: &mut Writer) -> Result<State> {
        let state = self.readers.head();
        if let Some(txn) = self.readers.open_turn() {
            self.take_over(writer, &state, txn)?;
        }
        writer.next_txn = writer.next_txn.max(state.txn + 1);
        check_txn(writer.next_txn)?;
        self.readers.set_open_turn(writer.next_txn);
        self.pages.disk.admit(state.page_count * self.pages.page_size as u64)?;
        let source = Snapshot { pages: &self.pages, page_count: state.page_count };
        match &mut writer.space {
            Some(space) => space.catch_up(&source, &state)?,
            None => {
                let mut space = Space::load(&source, &state, self.pages.page_size)?;
                self.check_log(&space)?;
                space.quarantine(&writer.quarantine);
                writer.space = Some(space);
            }
        }
        if let Some(space) = &mut writer.space {
            // In this order: whoever is published later is judged later.
            let published = self.readers.published().txn;
            space.reclaim(&self.needed()?, published);
        }
        Ok(state)
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
        writer.next_txn = writer.next_txn.max(txn + 1);
        self.cut(state.page_count)
    }

    /// Cuts what lies behind `page_count`, which no state refers to.
    pub fn cut(&self, page_count: u64) -> Result<()> {
        let len = page_count * self.pages.page_size as u64;
        if self.pages.disk.len()? > len { self.pages.disk.set_len(len) } else { Ok(()) }
    }

    /// Writes `state` and its log into a meta slot and waits until it is on the disk. The caller holds the
    /// flush lock.
    pub fn write_meta(&self, state: &State, log: &Log, slot: usize) -> Result<()> {
        let checkpoint = self.readers.checkpoint();
        assert!(checkpoint.is_some_and(|(_, durable)| slot != durable), "{state:?} over {checkpoint:?}");
        self.write_slot(&state.to_meta(&self.template, log), slot)
    }

    /// Writes a meta slot and waits until it is on the disk.
    pub fn write_slot(&self, meta: &Meta, slot: usize) -> Result<()> {
        let disk = &self.pages.disk;
        disk.write(META_OFFSETS[slot], &[IoSlice::new(meta.as_bytes())])?;
        disk.sync(META_OFFSETS[slot], META_LEN as u64)
    }

    /// Writes both meta slots as they are once more and waits until they are on the disk.
    pub fn rewrite_slots(&self) -> Result<()> {
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
        let _ = self.checkpoint().and_then(|(meta, _)| {
            self.pages.disk.write(META_OFFSETS[slot], &[IoSlice::new(meta.as_bytes())])
        });
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
        lock::try_lock(self.pages.disk.file(), lock::OPEN, Mode::Exclusive)
            .map_err(|error| self.pages.disk.io_error("lock", error))
    }

    /// This handle no longer counts among those that have the store open.
    ///
    /// # Errors
    /// `Io`.
    pub fn unshare(&self) -> Result<()> {
        lock::unlock(self.pages.disk.file(), lock::OPEN)
            .map_err(|error| self.pages.disk.io_error("unlock", error))
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

    fn overflow(&self, run: &crate::format::OverflowRef) -> Result<&[u8]> {
        self.pages.read_overflow(run, self.page_count)
    }
}

fn open_file(path: &Path, config: &Config) -> Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(!config.read_only);
    match options.open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && config.create && !config.read_only => {
            create_file(path, config)?;
            options.open(path)
        }
        other => other,
    }
    .map_err(|error| Error::io(format!("open {}", path.display()), error))
}

/// Creates the store so that it is there whole or not at all: in an unnamed file that gets its name
/// when it is on the disk. Where the file system has no unnamed files an empty file is created, and
/// filled by whoever opens it alone.
fn create_file(path: &Path, config: &Config) -> Result<()> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let fail = |error| Error::io(format!("create {}", path.display()), error);
    let unnamed =
        OpenOptions::new().read(true).write(true).custom_flags(libc::O_TMPFILE).mode(0o666).open(directory);
    let linked = match unnamed {
        Ok(file) => {
            write_new_store(&file, config).map_err(fail)?;
            let source = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
            rustix::fs::linkat(
                rustix::fs::CWD,
                &source,
                rustix::fs::CWD,
                path,
                rustix::fs::AtFlags::SYMLINK_FOLLOW,
            )
        }
        Err(_) => Err(rustix::io::Errno::OPNOTSUPP),
    };
    match linked {
        // Someone else was quicker: theirs is as good.
        Ok(()) | Err(rustix::io::Errno::EXIST) => {}
        Err(_) => {
            OpenOptions::new().create(true).append(true).open(path).map_err(fail)?;
        }
    }
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(fail)
}

fn open_sidecar(path: &Path) -> Result<File> {
    let mut name = path.as_os_str().to_owned();
    name.push("-lock");
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true);
    options
        .open(&name)
        .map_err(|error| Error::io(format!("open the lock file {}", Path::new(&name).display()), error))
}

/// Whether a file holds nothing: empty, or zeros only, as a cut during creation can leave it.
fn is_blank(file: &File) -> std::io::Result<bool> {
    let len = file.metadata()?.size();
    if len > MAX_BLANK {
        return Ok(false);
    }
    let mut buffer = vec![0; 1 << 16];
    let mut offset = 0;
    while offset < len {
        let got = file.read_at(&mut buffer, offset)?;
        if got == 0 {
            break;
        }
        if buffer[..got].iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
        offset += got as u64;
    }
    Ok(true)
}

/// Fills a blank file: zeros first, flushed; then the meta, which makes it a store.
fn write_new_store(file: &File, config: &Config) -> std::io::Result<()> {
    let page_count = (FIRST_LEN / config.page_size as u64).max(meta_pages(config.page_size) + 2);
    let len = page_count * config.page_size as u64;
    within_limit(len)?;
    let mut id = [0; 16];
    rustix::rand::getrandom(&mut id, rustix::rand::GetRandomFlags::empty())?;
    let meta = Meta::new(config.page_size, page_count, id);
    let observe = |op: &Op<'_>| match config.observer.as_ref().map(|observer| observer.before(op)) {
        Some(Verdict::Fail(error)) => Err(error),
        _ => Ok(()),
    };
    observe(&Op::SetLen { len: 0 })?;
    file.set_len(0)?;
    let zeros = vec![0; crate::disk::WRITE_UNIT];
    for offset in (0..len).step_by(zeros.len()) {
        let part = &zeros[..zeros.len().min((len - offset) as usize)];
        observe(&Op::Write { offset, data: &[IoSlice::new(part)] })?;
        file.write_all_at(part, offset)?;
    }
    observe(&Op::Sync { offset: 0, len })?;
    file.sync_all()?;
    observe(&Op::Write { offset: META_OFFSETS[0], data: &[IoSlice::new(meta.as_bytes())] })?;
    file.write_all_at(meta.as_bytes(), META_OFFSETS[0])?;
    observe(&Op::Sync { offset: 0, len: META_LEN as u64 })?;
    file.sync_all()
}

/// The newest of the two slots that can be read. The length is judged only when `alone`: beside a
/// writer a slot may speak of growth that is just coming or going, and others start from the
/// published state.
fn read_meta(file: &File, path: &Path, alone: bool) -> Result<(Meta, usize)> {
    let len =
        file.metadata().map_err(|error| Error::io(format!("examine {}", path.display()), error))?.size();
    let mut found: Option<(Meta, usize)> = None;
    let mut reasons = Vec::new();
    for (slot, offset) in META_OFFSETS.into_iter().enumerate() {
        let mut bytes = [0; META_LEN];
        if file.read_exact_at(&mut bytes, offset).is_err() {
            reasons.push(format!(
                "slot {slot}: the file has {len} bytes, fewer than a store of {} has",
                2 * MIN_PAGE_SIZE
            ));
            continue;
        }
        match Meta::parse(&bytes) {
            Ok(meta) if found.is_none_or(|(best, _)| meta.txn.get() > best.txn.get()) => {
                found = Some((meta, slot))
            }
            Ok(_) => {}
            Err(Some(reason)) => reasons.push(format!("slot {slot}: {reason}")),
            Err(None) => reasons.push(format!("slot {slot}: empty")),
        }
    }
    let Some((meta, slot)) = found else {
        return Err(Error::NotAStore { detail: format!("{}: {}", path.display(), reasons.join("; ")) });
    };
    let needed = meta.page_count.get().saturating_mul(u64::from(meta.page_size.get()));
    if alone && len < needed {
        return Err(Error::corrupt(
            0,
            format!("{} has {len} bytes, its meta says {needed}: it was truncated", path.display()),
        ));
    }
    Ok((meta, slot))
}

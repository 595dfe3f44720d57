//! Backups: one state of a store, whole or as what was changed since another, while others read and write.
//!
//! Owns: [`Backup`], [`BackupInfo`], [`Restore`]. Promises: a backup is of one commit, and every page of it
//! was judged; a file is there whole or not at all, and the one before stays until then; a chain that is not
//! whole, or not one, is refused, and the message names the file. Leaves to others: which pages ([`copy`]),
//! their form ([`stream`]), names of files ([`place`]), the way back ([`restore`]).
//!
//! **What an incremental backup can be made since.** A page that is not newer than the base is in the base's
//! state, provided that the newer state came out of it by commits. A recovery breaks that: it repeats the
//! log's contents on the last checkpoint, whose pages may have been replaced in the state that was backed up,
//! and they are older than it. So a base is a state that was a checkpoint: every later state, recovered or
//! not, comes out of it. [`begin`] makes one; the header says whether a state is one, and [`Backup::since`]
//! looks.
//!
//! A txn id as the only thing that a chain needs, and births in references to find what is new, are what ZFS
//! does with `zfs send -i` and a bookmark. That a snapshot is copied beside writers is LMDB's `mdb_env_copy`,
//! which does not flush the copy, and where it fails leaves what it has under the copy's name. SQLite's backup
//! begins again whenever another connection has written to the source in between.

mod copy;
mod place;
pub(crate) mod restore;
mod stream;

use crate::error::{Error, Result};
use crate::format::FORMAT_VERSION;
use crate::lineage::Checkpoint;
use crate::settled;
use crate::store::Store;
use crate::txn::{ReadTxn, WriteTxn};
use crate::verify::Progress;
use copy::Copy;
use place::NewFile;
use std::fs::{File, OpenOptions};
use std::io::{BufReader, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use stream::{BACKUP_MAGIC, CHECKPOINT_LEN, FRAME_HEAD, HEADER_LEN, Header, MAX_FRAME, Sink, Source};
use zerocopy::FromZeros;

/// A backup that is about to be made, of one snapshot: see [`Database::backup`](crate::Database::backup) and
/// [`ReadTxn::backup`].
///
/// It has everything that the snapshot refers to: tables, large values, the user version. Stored snapshots
/// are not part of it; each can be backed up by itself. Readers and writers go on meanwhile; what they
/// replace stays in the file until this is dropped, as for any reader.
///
/// ```
/// # fn main() -> mapleaf::Result<()> {
/// # use mapleaf::{BackupInfo, Database, Table};
/// # let directory = tempfile::tempdir().unwrap();
/// # let path = |name: &str| directory.path().join(name);
/// # const STOCK: Table<str, u64> = Table::new("stock");
/// # let db = Database::temporary()?;
/// # db.write(|w| (0..5000).try_for_each(|i| w.put(STOCK, &i.to_string(), &i).map(drop)))?;
/// let full = db.backup()?.write_to(path("monday"), &mut |_| {})?;
///
/// db.write(|w| w.put(STOCK, "77", &0))?;
/// let monday = BackupInfo::read(path("monday"))?;
/// let more = db.backup()?.since(&monday)?.write_to(path("tuesday"), &mut |_| {})?;
/// assert!(full.pages > 30 && more.pages == 3, "a leaf, the branch above it, and the page of the catalog");
/// # Ok(()) }
/// ```
#[must_use = "nothing is written before `write_to` or `stream_to`"]
pub struct Backup<'t> {
    txn: Snapshot<'t>,
    is_checkpoint: bool,
    base: Option<BackupInfo>,
    rate: Option<u64>,
}

enum Snapshot<'t> {
    Own(Box<ReadTxn>),
    Of(&'t ReadTxn),
}

/// Which state of which store a backup has: what its first 128 bytes say.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct BackupInfo {
    /// Where it was read or written, for messages.
    pub name: String,
    /// Random bytes given to the store at its creation.
    pub store_id: [u8; 16],
    /// The txn whose backup comes before this one in a chain; `None`: it is a full one.
    pub base: Option<u64>,
    /// The txn whose state it is.
    pub txn_id: u64,
    /// When it was begun, in seconds since 1970, by the clock of whoever made it.
    pub created: u64,
    /// Bytes of a page.
    pub page_size: u64,
    /// Pages of the store's file at that time, free ones included.
    pub page_count: u64,
    /// Number of tables.
    pub tables: u64,
    /// The application's own number.
    pub user_version: u64,
    /// Whether another backup can be made since this one: see [`Backup::since`].
    pub can_be_continued: bool,
}

/// What a backup has.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct BackupReport {
    /// Which state it is.
    pub info: BackupInfo,
    /// Pages that were written.
    pub pages: u64,
    /// Bytes that were written.
    pub bytes: u64,
}

/// A backup of the newest state, which is made a checkpoint before.
///
/// # Errors
/// Those of [`Database::checkpoint`](crate::Database::checkpoint) and of a snapshot.
pub(crate) fn begin(store: &Arc<Store>) -> Result<Backup<'static>> {
    let mut txn = match store.read_only {
        true => ReadTxn::begin(Arc::clone(store))?,
        false => {
            // With the turn nobody commits between checkpoint and snapshot.
            let _turn = WriteTxn::begin_waiting(store)?;
            store.lead()?.checkpoint_head()?;
            ReadTxn::begin(Arc::clone(store))?
        }
    };
    txn.set_label("backup");
    let is_checkpoint = is_checkpoint(&txn)?;
    Ok(Backup { txn: Snapshot::Own(Box::new(txn)), is_checkpoint, base: None, rate: None })
}

/// Whether everything that the store will ever be comes out of this state: it was made a checkpoint, and that
/// is on the disk.
fn is_checkpoint(txn: &ReadTxn) -> Result<bool> {
    let (store, state) = (txn.store(), txn.state());
    if txn.is_stored() {
        return Ok(true);
    }
    let is_durable = || store.readers.checkpoint().is_some() || settled::is_left(store.pages.disk.file());
    let meta = store.checkpoint()?.0;
    Ok(meta.txn.get() == state.txn && meta.catalog() == state.catalog && is_durable())
}

impl ReadTxn {
    /// A backup of this snapshot: of a stored one
    /// ([`Database::read_snapshot`](crate::Database::read_snapshot)), or of one that is held for other
    /// reasons too. For the newest state take [`Database::backup`](crate::Database::backup): a snapshot that
    /// was not stored is mostly none that a later backup can be made since
    /// ([`BackupInfo::can_be_continued`]).
    ///
    /// # Errors
    /// `Corrupt` where the meta slots are damaged, `Io`, `Forked`.
    pub fn backup(&self) -> Result<Backup<'_>> {
        self.check_process()?;
        let is_checkpoint = is_checkpoint(self)?;
        Ok(Backup { txn: Snapshot::Of(self), is_checkpoint, base: None, rate: None })
    }
}

impl<'t> Backup<'t> {
    fn txn(&self) -> &ReadTxn {
        match &self.txn {
            Snapshot::Own(txn) => txn,
            Snapshot::Of(txn) => txn,
        }
    }

    /// The txn whose state is backed up.
    pub fn txn_id(&self) -> u64 {
        self.txn().txn_id()
    }

    /// Only what was changed since another backup of the same store. Pages that both states have are neither
    /// read nor written: the cost follows the change. To restore it takes the other one too, and those that
    /// it was made since.
    ///
    /// The other must be of a state that was a checkpoint, as [`Database::backup`](crate::Database::backup)
    /// sees to: after a power cut the log is repeated on the last checkpoint, and what came behind it has
    /// other pages then.
    ///
    /// The store knows nothing of its backups. Where its file was copied, or an older copy of it was put
    /// back, and written to, its id and txns say nothing of that: begin a new chain then. (A store that was
    /// restored has a new id.)
    ///
    /// # Errors
    /// `Backup` where the other is of another store, of a later txn than this snapshot, or of a state that
    /// was no checkpoint.
    pub fn since(mut self, base: &BackupInfo) -> Result<Self> {
        let store_id = self.txn().store().store_id();
        let (txn, newest) = (base.txn_id, self.txn_id());
        let fail = |detail: String| {
            Err(Error::backup(
                &base.name,
                format!("{detail}; begin with a full backup of the store as it is"),
            ))
        };
        if base.store_id != store_id {
            let [found, expected] = [&base.store_id, &store_id].map(restore::shown_id);
            return fail(format!(
                "is of the store {found}, this one is {expected} (a restored store is another)"
            ));
        }
        if txn > newest {
            return fail(format!(
                "is of txn {txn}, this snapshot of txn {newest}: it is an older one, or an older file was put back"
            ));
        }
        if !base.can_be_continued {
            return fail(format!(
                "is of txn {txn}, which was not made a checkpoint, and after a crash its pages need not be those of the \
                 store"
            ));
        }
        self.base = Some(base.clone());
        Ok(self)
    }

    /// At most so many bytes a second are written, and about as many read. By default there is no limit.
    pub fn throttle(mut self, bytes_per_second: u64) -> Self {
        self.rate = Some(bytes_per_second.max(1));
        self
    }

    /// Writes the backup to a file, which gets its name when all of it is on the disk. A backup of that name
    /// stays whole until then, whatever happens, and is replaced in one step; a file of another kind is not
    /// replaced. What is no file, such as a pipe or a device, is written to. `progress` counts the pages
    /// written; it also has the pages of the store's file, of which a backup has fewer.
    ///
    /// Costs reading and writing of the pages in use, or of those that were changed, and three flushes.
    ///
    /// # Errors
    /// `InvalidArgument` where there is something of this name that is no backup, or the backup that this one
    /// was to be made since; `Corrupt` where a page of the store is not whole; `Io`, also where there is no
    /// room. Nothing was changed then.
    pub fn write_to(
        self,
        path: impl AsRef<Path>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<BackupReport> {
        let path = path.as_ref();
        let Some(path) = self.place(path)? else {
            let fail = |error| Error::io(format!("write {}", path.display()), error);
            let mut to = OpenOptions::new().write(true).open(path).map_err(fail)?;
            return self.copy(named(path), &mut to, progress);
        };
        let mut new = NewFile::beside(&path)?;
        let report = self.copy(named(&path), &mut new, progress)?;
        new.finish(true)?;
        Ok(report)
    }

    /// The file that is to be written; `None` where it is no file.
    fn place(&self, path: &Path) -> Result<Option<PathBuf>> {
        let fail = |error| Error::io(format!("write {}", path.display()), error);
        let there = match std::fs::metadata(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Some(path.to_owned())),
            other => other.map_err(fail)?,
        };
        if !there.is_file() {
            return Ok(None);
        }
        // Of a link what it leads to is replaced.
        let path = std::fs::canonicalize(path).map_err(fail)?;
        let mut bytes = Vec::new();
        let read = File::open(&path).and_then(|file| file.take(HEADER_LEN as u64).read_to_end(&mut bytes));
        read.map_err(fail)?;
        if !bytes.is_empty() && !bytes.starts_with(&BACKUP_MAGIC) {
            let what = format!("{} is there and is no backup; choose another name", path.display());
            return Err(Error::invalid(what));
        }
        // Or a copy of it.
        let is_base = |there: &Header| {
            let info = |base: &BackupInfo| BackupInfo::new(base.name.clone(), there);
            self.base.as_ref().is_some_and(|base| *base == info(base))
        };
        match Header::parse(&bytes).as_ref().is_ok_and(is_base) {
            true => Err(Error::invalid(format!(
                "{} is the backup that this one is made since, and is needed with it; choose another name",
                path.display()
            ))),
            false => Ok(Some(path)),
        }
    }

    /// Writes the backup to a pipe, a socket, or whatever else takes bytes. What was written when this returns an
    /// error, or does not return, is refused by [`Restore`](crate::Restore). Nothing is flushed to a disk. While the
    /// other side does not read, pages that others replace stay in the store's file.
    ///
    /// # Errors
    /// `Io` where writing fails; `Corrupt` where a page of the store is not whole.
    pub fn stream_to(self, mut to: impl Write, progress: &mut dyn FnMut(Progress)) -> Result<BackupReport> {
        self.copy("the stream".into(), &mut to, progress)
    }

    fn copy(
        &self,
        name: String,
        to: &mut dyn Write,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<BackupReport> {
        let checkpoints = self.checkpoints()?;
        let header = self.header(checkpoints.len())?;
        let mut sink = Sink::new(to, name.clone(), &header, &checkpoints, self.rate, progress);
        Copy::run(self.txn(), header.base.get(), &mut sink)?;
        let (pages, bytes) = sink.end()?;
        Ok(BackupReport { info: BackupInfo::new(name, &header), pages, bytes })
    }

    /// Those that the state came through, as far as they are known.
    fn checkpoints(&self) -> Result<Vec<Checkpoint>> {
        let (txn, mut checkpoints) = (self.txn(), self.txn().store().lineage()?);
        checkpoints.retain(|(of, _)| *of <= txn.txn_id());
        // Itself only where it is one.
        if !self.is_checkpoint {
            checkpoints.retain(|(of, _)| *of < txn.txn_id());
        }
        Ok(checkpoints)
    }

    fn header(&self, checkpoints: usize) -> Result<Header> {
        let (store, state) = (self.txn().store(), self.txn().state());
        let meta = store.checkpoint()?.0;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let mut header = Header::new_zeroed();
        header.page_size.set(store.pages.page_size as u32);
        header.next_table.set(state.next_table);
        (header.features, header.write_features) = (meta.features, meta.write_features);
        header.store_id = store.store_id();
        header.base.set(self.base.as_ref().map_or(0, |base| base.txn_id));
        header.txn.set(state.txn);
        header.page_count.set(state.page_count);
        header.catalog_page.set(state.catalog.page);
        header.catalog_birth.set(state.catalog.birth);
        header.catalog_count.set(state.catalog.count);
        header.user_version.set(state.user_version);
        header.created.set(now);
        header.format.set(FORMAT_VERSION);
        header.catalog_level = state.catalog_level;
        header.is_checkpoint = self.is_checkpoint.into();
        header.checkpoints.set(checkpoints as u16);
        Ok(header.seal())
    }
}

impl BackupInfo {
    fn new(name: String, header: &Header) -> Self {
        BackupInfo {
            name,
            store_id: header.store_id,
            base: Some(header.base.get()).filter(|base| *base != 0),
            txn_id: header.txn.get(),
            created: header.created.get(),
            page_size: header.page_size.get().into(),
            page_count: header.page_count.get(),
            tables: header.catalog_count.get(),
            user_version: header.user_version.get(),
            can_be_continued: header.is_checkpoint == 1,
        }
    }

    /// Reads what a backup is, and of a file whether its end is there. Its first 128 bytes are enough, so that they
    /// can be kept where the rest was sent away: `head -c 128`. [`Restore::check`](crate::Restore::check) reads all
    /// of it.
    ///
    /// # Errors
    /// `Backup` where it is none, is damaged, or was cut; `Io`.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let source = open(path)?;
        expect_end(path, &source)?;
        Ok(BackupInfo::new(source.name.clone(), &source.header))
    }

    /// Reads what a backup is from its first 128 bytes.
    ///
    /// # Errors
    /// Those of [`BackupInfo::read`].
    pub fn read_from(name: &str, from: impl Read) -> Result<Self> {
        let source = Source::open(name.to_owned(), Box::new(from))?;
        Ok(BackupInfo::new(source.name.clone(), &source.header))
    }
}

/// A cut backup in a file is seen by its length: its last bytes say how many pages it has.
fn expect_end(path: &Path, source: &Source<'_>) -> Result<()> {
    let fail = |error| Error::io(format!("read {}", path.display()), error);
    let file = File::open(path).map_err(fail)?;
    let there = file.metadata().map_err(fail)?;
    let len = there.len();
    if !there.is_file() || len == HEADER_LEN as u64 {
        return Ok(());
    }
    let head_len = HEADER_LEN + usize::from(source.header.checkpoints.get()) * CHECKPOINT_LEN;
    let least = (head_len + FRAME_HEAD) as u64;
    let mut end = [0; FRAME_HEAD];
    if len >= least {
        file.read_exact_at(&mut end, len - FRAME_HEAD as u64).map_err(fail)?;
    }
    let pages = u64::from_le_bytes(*end.first_chunk().expect("eight bytes"));
    let page_size = u64::from(source.header.page_size.get());
    let body =
        pages.checked_mul(page_size).and_then(|body| len.checked_sub(head_len as u64)?.checked_sub(body));
    // As many heads as frames there can be, and the end.
    let (most, head) = (pages, FRAME_HEAD as u64);
    let fewest = pages.div_ceil(MAX_FRAME as u64 / page_size);
    let fits = |rest: u64| rest.is_multiple_of(head) && (fewest + 1..=most + 1).contains(&(rest / head));
    match len >= least && end[8..12] == [0; 4] && body.is_some_and(fits) {
        true => Ok(()),
        false => Err(source.error(format!("was cut: its {len} bytes have no end mark; make it again"))),
    }
}

/// Opens a backup and reads its header.
fn open(path: &Path) -> Result<Source<'static>> {
    let file = File::open(path).map_err(|error| Error::io(format!("open {}", path.display()), error))?;
    Source::open(named(path), Box::new(BufReader::with_capacity(128 << 10, file)))
}

fn named(path: &Path) -> String {
    path.display().to_string()
}

//! Handing a store, or a snapshot, to another process as a descriptor.
//!
//! Owns: what is in such a parcel ([`crate::descriptor`]) and how it is used. Promises: from the time that a
//! parcel is made until it, and all that came out of it, is closed, the store counts as open and the
//! snapshot is pinned, whatever becomes of whoever made it. Leaves to others: opening ([`crate::store`]).
//!
//! A store's parcel holds data file and sidecar, each opened anew: their locks are to be those of one process, so it
//! can be opened once. A snapshot's parcel holds the data file, for reading, and the description of the
//! sidecar through which a delegate's index is locked ([`crate::readers`]); whoever imports it takes no
//! lock, so it can be imported any number of times.

use crate::create;
use crate::descriptor;
use crate::disk::Mapped;
use crate::error::{Error, Result};
use crate::lock;
use crate::options::Config;
use crate::readers::Readers;
use crate::session::Sidecars;
use crate::shared::{STATE_WORDS, State};
use crate::store::{Origin, Store, steady};
use crate::txn::ReadTxn;
use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const MAGIC: u64 = u64::from_le_bytes(*b"mapleafP");
const STORE: u64 = 1;
const SNAPSHOT: u64 = 2;

/// A parcel with the store.
///
/// # Errors
/// `Io`, also when this process may not open its own files anew.
pub fn share(store: &Store) -> Result<OwnedFd> {
    store.expect_others();
    // A child that another thread forks meanwhile would keep what is opened here.
    let _steady = steady();
    let data = store.data_in_session(!store.read_only)?;
    let fail = |error| store.pages.disk.io_error("open the lock file once more of", error);
    let sidecar = descriptor::reopen(store.readers.file(), true).map_err(fail)?;
    pack(store, &[MAGIC, STORE], &[&data, &sidecar])
}

/// A parcel with the snapshot.
///
/// # Errors
/// As [`share`]; `Busy` when there are no more reader slots; `Forked` for a snapshot that is not this process's.
fn export(txn: &ReadTxn, label: &str) -> Result<OwnedFd> {
    let store = txn.store();
    txn.check_process()?;
    let mut words = vec![MAGIC, SNAPSHOT];
    words.extend(txn.state().to_words());
    if txn.is_imported() {
        // What it holds can be held by others too.
        return pack(store, &words, &[store.pages.disk.file(), store.readers.file()]);
    }
    let _steady = steady();
    let data = store.data_in_session(false)?;
    let delegate = store.readers.delegate(&[(txn.txn_id(), label)])?;
    pack(store, &words, &[&data, &delegate.file])
}

fn pack(store: &Store, words: &[u64], files: &[&File]) -> Result<OwnedFd> {
    let mut message: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    // For display; what does not fit is not needed.
    let path = store.pages.disk.path().as_os_str().as_bytes();
    message.extend(&path[..path.len().min(2048)]);
    descriptor::pack(&message, files).map_err(|error| store.pages.disk.io_error("hand over", error))
}

impl ReadTxn {
    /// A descriptor that pins this snapshot: whoever has it, in whatever process, can read exactly this version with
    /// [`ReadTxn::import`], also when this txn has ended and this process is dead, until every copy of the
    /// descriptor is closed and every snapshot imported from it has ended. It needs no access to any path. `label` is shown by
    /// [`Database::readers`](crate::Database::readers). (It is a Unix socket with two descriptors in flight, which
    /// the system counts against this user's limit of open files.)
    ///
    /// Costs a few system calls and a page of the lock file.
    ///
    /// ```
    /// use mapleaf::{Database, ReadTxn, Table};
    /// const NAMES: Table<u64, str> = Table::new("names");
    /// # fn main() -> mapleaf::Result<()> {
    /// let db = Database::temporary()?;
    /// db.write(|w| w.put(NAMES, &1, "ann"))?;
    /// let descriptor = db.begin_read()?.export("for the report")?;
    /// db.write(|w| w.put(NAMES, &1, "bob"))?;
    /// // Here, or in the process that the descriptor was passed to:
    /// // SAFETY: the descriptor is one of `export`, and only mapleaf changes the file.
    /// let snapshot = unsafe { ReadTxn::import(&descriptor)? };
    /// assert_eq!(snapshot.get(NAMES, &1)?, Some("ann"));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// `Io`, also when this process may not open its own files anew (through `/proc/self/fd`); `Busy` when there are no
    /// more reader slots; `Forked`.
    pub fn export(&self, label: &str) -> Result<OwnedFd> {
        export(self, label)
    }

    /// The snapshot that a descriptor of [`ReadTxn::export`] pins. The descriptor stays as it is: it can be imported
    /// again, and closed. Costs a few system calls and a mapping of its own.
    ///
    /// # Safety
    /// Only mapleaf changes the file that the descriptor stands for, and it was made by [`ReadTxn::export`].
    ///
    /// # Errors
    /// `InvalidArgument` for a descriptor of something else; `NotAStore` and `Corrupt` when the file is not what the
    /// descriptor says; `Io`.
    #[allow(unsafe_code)]
    pub unsafe fn import(descriptor: impl AsFd) -> Result<Self> {
        import(descriptor)
    }
}

/// What a parcel says, and its files.
struct Parcel {
    words: Vec<u64>,
    path: PathBuf,
    data: File,
    sidecar: File,
}

fn unpack(fd: impl AsFd, kind: u64, words: usize, take: bool) -> Result<Parcel> {
    let receive = |take| descriptor::unpack(&fd, take).map_err(|error| Error::io("receive a store", error));
    // What is judged stays where it is, until it is found to be right.
    let Some((message, files)) = receive(false)? else {
        let detail =
            "the descriptor holds no store: it is not one from share or export, or was opened before".into();
        return Err(Error::InvalidArgument { detail });
    };
    let foreign =
        || Error::invalid("the descriptor is not one of a mapleaf store or snapshot of this version");
    let [data, sidecar] = <[File; 2]>::try_from(files).map_err(|_| foreign())?;
    let word = |at: usize| {
        let eight = message.get(at * 8..).and_then(|rest| rest.first_chunk());
        eight.map(|eight| u64::from_le_bytes(*eight)).ok_or_else(foreign)
    };
    match (word(0)?, word(1)?) {
        (MAGIC, found) if found == kind => {}
        (MAGIC, STORE) => {
            return Err(Error::invalid("the descriptor is one of a store: use Database::from_fd"));
        }
        (MAGIC, SNAPSHOT) => {
            return Err(Error::invalid("the descriptor is one of a snapshot: use ReadTxn::import"));
        }
        _ => return Err(foreign()),
    }
    if take && receive(true)?.is_none() {
        return Err(Error::invalid("the descriptor was just opened by somebody else"));
    }
    let head = (0..words).map(word).collect::<Result<Vec<u64>>>()?;
    let path = &message[words * 8..];
    Ok(Parcel { words: head, path: OsStr::from_bytes(path).into(), data, sidecar })
}

/// The store that a descriptor stands for: a parcel, or the data file itself.
///
/// # Errors
/// `InvalidArgument`; `Io`.
pub fn origin_of(fd: OwnedFd, config: &mut Config) -> Result<Origin> {
    let fail = |error| Error::io("open a store from a descriptor", error);
    let origin = if descriptor::is_socket(&fd).map_err(fail)? {
        let Parcel { path, data, sidecar, .. } = unpack(&fd, STORE, 2, true)?;
        Origin { file: data, path, sidecars: Sidecars::Given(sidecar) }
    } else {
        origin_of_file(fd.into()).map_err(|error| match error.kind() {
            std::io::ErrorKind::InvalidInput => Error::invalid(error.to_string()),
            _ => fail(error),
        })?
    };
    let flags = rustix::fs::fcntl_getfl(&origin.file).map_err(|error| fail(error.into()))?;
    config.read_only |= !flags.contains(rustix::fs::OFlags::RDWR);
    Ok(origin)
}

fn origin_of_file(file: File) -> std::io::Result<Origin> {
    if !file.metadata()?.is_file() {
        let detail = "the descriptor is neither one of a file nor one from Database::share";
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, detail));
    }
    let flags = rustix::fs::fcntl_getfl(&file)?;
    let path = descriptor::name(&file).unwrap_or_else(|_| "(descriptor)".into());
    let is_there = descriptor::is_at(&file, &path)?;
    // Locks of its own, if that is allowed: whoever has passed it on may have kept it.
    let file = descriptor::reopen(&file, flags.contains(rustix::fs::OFlags::RDWR)).unwrap_or(file);
    let sidecars = if is_there { Sidecars::Beside(path.clone()) } else { Sidecars::Nowhere };
    Ok(Origin { file, path, sidecars })
}

/// The snapshot in a parcel.
///
/// # Errors
/// `InvalidArgument`; `NotAStore` and `Corrupt` when the file is not what the parcel says; `Io`.
fn import(fd: impl AsFd) -> Result<ReadTxn> {
    let Parcel { words, path, data, sidecar } = unpack(fd, SNAPSHOT, 2 + STATE_WORDS, false)?;
    let state = State::from_words(words[2..].first_chunk().expect("as many were asked for"));
    let config = Config { read_only: true, ..Config::default() };
    let (meta, _) = create::read_meta(&data, &path, false)?;
    let mapped = Mapped::new(&data, create::MIN_LEN)?;
    let readers = Readers::beside(sidecar)?;
    let store = Arc::new(Store::with(data, mapped, &path, &config, meta, readers, lock::IMMUTABLE)?);
    store.is_finished.store(true, std::sync::atomic::Ordering::Relaxed);
    ReadTxn::of(store, None, state)
}

/// The directory of the file system in shared memory.
const SHARED_MEMORY: &str = "/dev/shm";

/// Where the shared-memory store of this name is.
///
/// # Errors
/// `InvalidArgument` for a name that is no file name.
pub fn shared_memory_path(name: &str) -> Result<PathBuf> {
    let is_name =
        !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\0']) && name.len() <= 200;
    match is_name {
        true => Ok(Path::new(SHARED_MEMORY).join(name)),
        false => Err(Error::invalid(format!(
            "{name:?} is no name for shared memory: 1 to 200 bytes without \"/\""
        ))),
    }
}

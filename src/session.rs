//! Sessions: who else has the store open, and which sidecar they use.
//!
//! Owns: finding the sidecar, and becoming one of those who have the store open. Promises: two processes that
//! have a store open use the same sidecar, whatever names they know the file by (hard links, symbolic
//! links, bind mounts, another name since, a descriptor alone); whoever cannot reach it is refused. Leaves
//! to others: what is in the sidecar ([`crate::readers`]).
//!
//! Locks on the data file say which session there is ([`crate::lock`]), so a sidecar is never believed because of its
//! name. Where the sidecar beside the file is not the one in use, an extended attribute of the file, written by
//! whoever began the session, says where that one was; it is a hint, judged like any other name.

use crate::descriptor;
use crate::error::{Error, Result};
use crate::format::MAGIC;
use crate::lock::{self, Mode};
use crate::readers::{MAX_PROCESSES, session_of};
use rustix::fs::XattrFlags;
use rustix::io::Errno;
use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

const HINT: &str = "user.mapleaf.lock-file";
/// So often, a millisecond apart, the sidecar is looked for.
const TRIES: usize = 100;

/// Where the sidecar may be.
pub enum Sidecars {
    /// Beside the file of this name, or where the hint says.
    Beside(PathBuf),
    /// It is this one.
    Given(File),
    /// Nowhere: one without a name serves, if nobody else has the store open.
    Nowhere,
}

/// What this process is among those who have the store open.
pub enum Standing {
    /// The first. The sidecar is locked ([`lock::ADMIN`]), to be begun anew.
    Alone(File),
    /// One of several. The sidecar is locked; it is the one in use.
    Among(File, u64),
    /// One of those who only read, without a sidecar; nobody may write meanwhile.
    Immutable,
}

/// How it wants to have it open.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// To read and write.
    Write,
    /// To read; without a sidecar where there can be none.
    Read,
    /// To read, without a sidecar.
    Immutable,
}

/// Says what this process is. When it is alone nobody else can open the store before it joins or is gone, but for
/// those who only read and know the file by another name ([`is_the_only_session`]).
///
/// # Errors
/// `Busy` when others have the store open and their sidecar cannot be found, or one reads without; `Io`.
pub fn approach(
    data: &File,
    sidecars: &Sidecars,
    wish: Wish,
    store_id: impl Fn() -> Result<[u8; 16]>,
) -> Result<Standing> {
    let io = |error| Error::io("lock the store", error);
    let mut tries = 0;
    'again: loop {
        if wish == Wish::Immutable {
            return join_immutable(data, true);
        }
        if lock::is_changing(data).map_err(io)? {
            lock::wait_for_change(data).map_err(io)?;
            continue;
        }
        let seems_alone = lock::is_alone_but_for(data, None).map_err(io)?;
        let mut found = open_all(data, sidecars, wish, seems_alone)?;
        if found.is_empty() && wish == Wish::Read && (seems_alone || is_immutable(data)?) {
            return join_immutable(data, false);
        }
        if seems_alone {
            // One is enough; it is beside the file if that can be.
            found.truncate(1);
        }
        for sidecar in found {
            lock::lock(&sidecar, lock::ADMIN, Mode::Exclusive).map_err(io)?;
            if seems_alone && !is_free(&sidecar, sidecars, tries)? {
                tries += 1;
                drop(sidecar);
                std::thread::sleep(Duration::from_millis(1));
                continue 'again;
            }
            let alone = match wish {
                Wish::Write => lock::try_be_alone(data).map_err(io)?,
                _ => lock::is_alone_but_for(data, None).map_err(io)?,
            };
            if alone && !seems_alone {
                // The others have just gone; then it may be another sidecar.
                lock::leave(data).map_err(io)?;
                continue 'again;
            }
            if alone {
                return Ok(Standing::Alone(sidecar));
            }
            if let Some(session) = session_of(&sidecar, &store_id()?)?
                && session != lock::IMMUTABLE
                && lock::is_session(data, session).map_err(io)?
            {
                return Ok(Standing::Among(sidecar, session));
            }
        }
        if wish == Wish::Read && is_immutable(data)? {
            return join_immutable(data, false);
        }
        // The others may just be coming or going.
        tries += 1;
        if tries > TRIES {
            return Err(unreachable_sidecar(data)?);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Whether a session can be begun in the sidecar, which is locked. One that the session of another store uses, which
/// had this name before, is left to it: it loses the name.
///
/// # Errors
/// `InvalidArgument` when it is a store; `Io`.
fn is_free(sidecar: &File, sidecars: &Sidecars, tries: usize) -> Result<bool> {
    let Sidecars::Beside(path) = sidecars else { return Ok(true) };
    let name = name_beside(path);
    let fail = |error| Error::io(format!("examine the lock file {}", name.display()), error);
    if !descriptor::is_at(sidecar, &name).map_err(fail)? {
        // Removed or replaced since it was opened.
        return Ok(false);
    }
    if lock::is_any_process(sidecar, MAX_PROCESSES).map_err(fail)? {
        // Who is just dying, or closing, lets its locks go one after the other.
        if tries >= TRIES {
            std::fs::remove_file(&name).map_err(fail)?;
        }
        return Ok(false);
    }
    let mut first = [0; 8];
    let is_store = sidecar.read_exact_at(&mut first, 0).is_ok() && first == MAGIC;
    match is_store {
        true => Err(Error::invalid(format!(
            "{} is a store, but its name is that of a lock file; give it another one",
            name.display()
        ))),
        false => Ok(true),
    }
}

/// Whether there is no other session than this one, which the caller has just begun without locking others out.
///
/// # Errors
/// `Io`.
pub fn is_the_only_session(data: &File, session: u64) -> Result<bool> {
    lock::is_alone_but_for(data, Some(session)).map_err(|error| Error::io("lock the store", error))
}

/// A number for a new session.
///
/// # Errors
/// `Io`.
pub fn new_number() -> Result<u64> {
    let mut bytes = [0; 8];
    rustix::io::retry_on_intr(|| rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()))
        .map_err(|error| Error::io("get random bytes", error.into()))?;
    Ok((u64::from_le_bytes(bytes) % lock::SESSION_LIMIT).max(lock::IMMUTABLE + 1))
}

/// The files that may be the sidecar and can be opened. When nobody `seems` to have the store open, one is made,
/// and what the others used does not matter.
fn open_all(data: &File, sidecars: &Sidecars, wish: Wish, seems_alone: bool) -> Result<Vec<File>> {
    let fail = |error| Error::io("open the lock file", error);
    let beside = match sidecars {
        Sidecars::Given(file) => return Ok(vec![file.try_clone().map_err(fail)?]),
        Sidecars::Nowhere if seems_alone => {
            return Ok(vec![descriptor::in_memory("mapleaf-lock").map_err(fail)?]);
        }
        Sidecars::Nowhere => None,
        Sidecars::Beside(path) => open(&name_beside(path), seems_alone, wish == Wish::Write)?,
    };
    let hint = match read_hint(data) {
        Some(hint) if !seems_alone => open(&hint, false, false)?,
        _ => None,
    };
    Ok(beside.into_iter().chain(hint).collect())
}

/// The name of the lock file of the store of this name.
pub fn name_beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-lock");
    name.into()
}

/// `None` where it is not there and is not to be made, and where it may not be written unless it `must`.
fn open(path: &Path, create: bool, must: bool) -> Result<Option<File>> {
    match OpenOptions::new().read(true).write(true).create(create).truncate(false).open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == ErrorKind::NotFound && !create => Ok(None),
        Err(error) if is_forbidden(&error) && !must => Ok(None),
        Err(error) => Err(Error::io(format!("open the lock file {}", path.display()), error)),
    }
}

fn is_forbidden(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem)
}

/// Leaves word where the sidecar is, if it is beside the file. Not every file system can.
pub fn leave_hint(data: &File, sidecar: &File, path: &Path) {
    let name = name_beside(path);
    if descriptor::is_at(sidecar, &name).unwrap_or(false) && read_hint(data).as_ref() != Some(&name) {
        let _ = rustix::fs::fsetxattr(data, HINT, name.as_os_str().as_bytes(), XattrFlags::empty());
    }
}

fn read_hint(data: &File) -> Option<PathBuf> {
    let mut buffer = vec![0; 4096];
    let len = rustix::fs::fgetxattr(data, HINT, &mut buffer[..]).ok()?;
    Some(PathBuf::from(OsStr::from_bytes(&buffer[..len])))
}

fn is_immutable(data: &File) -> Result<bool> {
    lock::is_session(data, lock::IMMUTABLE).map_err(|error| Error::io("lock the store", error))
}

/// Reads without a sidecar: nobody else has the store open who could write to it, nor can open it so. With
/// `or_unlocked`, also where the file system has no locks.
fn join_immutable(data: &File, or_unlocked: bool) -> Result<Standing> {
    let no_locks = |error: &io::Error| {
        [Errno::NOLCK, Errno::OPNOTSUPP, Errno::NOSYS, Errno::INVAL, Errno::IO]
            .iter()
            .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
    };
    let joined =
        lock::join(data, lock::IMMUTABLE).and_then(|()| lock::is_alone_but_for(data, Some(lock::IMMUTABLE)));
    match joined {
        Ok(true) => Ok(Standing::Immutable),
        Ok(false) => {
            let _ = lock::leave(data);
            Err(Error::Busy {
                detail: "the store is open elsewhere, and this process has no part in its lock file, so its snapshots \
                         would not be kept; open it read-only with a lock file that this process may write, or close it \
                         elsewhere"
                    .into(),
            })
        }
        Err(error) if or_unlocked && no_locks(&error) => Ok(Standing::Immutable),
        Err(error) => Err(Error::io("lock the store", error)),
    }
}

fn unreachable_sidecar(data: &File) -> Result<Error> {
    let detail = match is_immutable(data)? {
        true => {
            "another process reads the store as immutable, without a lock file, and would not notice changes; close it \
             there first"
        }
        false => {
            "another process has the store open, but the lock file that it uses was removed or replaced, or cannot be \
             reached from here; close the store everywhere, then open it again, or open a descriptor from \
             Database::share of that process"
        }
    };
    Ok(Error::Busy { detail: detail.into() })
}

//! Locks between processes: open-file-description (OFD) locks on single bytes.
//!
//! Owns: the `fcntl` calls. Promises: a lock belongs to the open file description, so the kernel
//! drops it when the last process that holds the description dies, it works between containers,
//! and closing another descriptor of the same file drops nothing. Bytes lie far behind any data, so
//! locking never touches the file's content.
//!
//! **Sessions.** From the first process that opens a store to the last that closes it is one session,
//! with a random number that the sidecar holds. Whoever has the store open holds the byte of that
//! session on the data file, shared. So whoever comes sees without trusting any name whether it is alone (nobody
//! holds any of the bytes) and, if not, whether the sidecar that it has found is the one in use.

#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

const BASE: i64 = 1 << 62;
/// On the data file: held for writing during a write txn.
pub const WRITER: i64 = BASE;
/// On the data file: held while something is flushed and published.
pub const FLUSH: i64 = BASE + 3;
/// On the sidecar: held while its slots are handed out or taken back.
pub const ADMIN: i64 = BASE + 2;
/// On the sidecar: byte `PROCESS + i` is held by the process with index `i` while it lives.
pub const PROCESS: i64 = BASE + (1 << 20);

const SESSIONS: i64 = BASE + (1 << 40);
/// Sessions have numbers below this.
pub const SESSION_LIMIT: u64 = 1 << 40;
/// The session of those who read without a sidecar.
pub const IMMUTABLE: u64 = 0;

/// How a byte is locked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Any number of holders.
    Shared,
    /// One holder.
    Exclusive,
}

/// Takes the lock if nobody is in the way; changes the mode of one that is held.
pub fn try_lock(file: &File, byte: i64, mode: Mode) -> io::Result<bool> {
    try_lock_range(file, byte, 1, mode)
}

fn try_lock_range(file: &File, start: i64, len: i64, mode: Mode) -> io::Result<bool> {
    match fcntl(file, libc::F_OFD_SETLK, start, len, lock_type(mode)) {
        Ok(_) => Ok(true),
        Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Takes the lock, waiting as long as it takes.
pub fn lock(file: &File, byte: i64, mode: Mode) -> io::Result<()> {
    fcntl(file, libc::F_OFD_SETLKW, byte, 1, lock_type(mode)).map(|_| ())
}

/// Lets the lock go.
pub fn unlock(file: &File, byte: i64) -> io::Result<()> {
    fcntl(file, libc::F_OFD_SETLK, byte, 1, libc::F_UNLCK).map(|_| ())
}

/// Whether someone else holds the byte in any mode.
pub fn is_held(file: &File, byte: i64) -> io::Result<bool> {
    Ok(fcntl(file, libc::F_OFD_GETLK, byte, 1, libc::F_WRLCK)? != libc::F_UNLCK)
}

/// Whether anyone has one of so many process indices on this sidecar.
pub fn is_any_process(sidecar: &File, count: usize) -> io::Result<bool> {
    Ok(fcntl(sidecar, libc::F_OFD_GETLK, PROCESS, count as i64, libc::F_WRLCK)? != libc::F_UNLCK)
}

// ---- sessions, on the data file ----

/// Becomes the only one who has the store open, if nobody else has.
pub fn try_be_alone(data: &File) -> io::Result<bool> {
    try_lock_range(data, SESSIONS, SESSION_LIMIT as i64 + 1, Mode::Exclusive)
}

/// Whether nobody else has the store open, in a session other than this one.
pub fn is_alone_but_for(data: &File, session: Option<u64>) -> io::Result<bool> {
    let is_free = |from: u64, to: u64| -> io::Result<bool> {
        Ok(from == to || held_as(data, from, to - from, libc::F_WRLCK)? == libc::F_UNLCK)
    };
    match session {
        None => is_free(0, SESSION_LIMIT),
        Some(session) => Ok(is_free(0, session)? && is_free(session + 1, SESSION_LIMIT)?),
    }
}

/// Whether others have the store open in this session. Who opens or closes it as the only one has all bytes, and is in none.
pub fn is_session(data: &File, session: u64) -> io::Result<bool> {
    Ok(session < SESSION_LIMIT && held_as(data, session, 1, libc::F_WRLCK)? == libc::F_RDLCK)
}

/// Whether somebody opens or closes the store as the only one, so that no session can be seen.
pub fn is_changing(data: &File) -> io::Result<bool> {
    Ok(held_as(data, 0, SESSION_LIMIT, libc::F_RDLCK)? != libc::F_UNLCK)
}

/// Waits until nobody does that.
pub fn wait_for_change(data: &File) -> io::Result<()> {
    // The byte behind the sessions, so that who waits does not look like one.
    let byte = SESSIONS + SESSION_LIMIT as i64;
    lock(data, byte, Mode::Shared)?;
    unlock(data, byte)
}

/// Has the store open in this session, among others.
pub fn join(data: &File, session: u64) -> io::Result<()> {
    lock(data, SESSIONS + session as i64, Mode::Shared)?;
    let unlock = |from: u64, to: u64| match from == to {
        true => Ok(0),
        false => fcntl(data, libc::F_OFD_SETLK, SESSIONS + from as i64, (to - from) as i64, libc::F_UNLCK),
    };
    unlock(0, session)?;
    unlock(session + 1, SESSION_LIMIT + 1).map(|_| ())
}

/// Has the store open no longer.
pub fn leave(data: &File) -> io::Result<()> {
    fcntl(data, libc::F_OFD_SETLK, SESSIONS, SESSION_LIMIT as i64 + 1, libc::F_UNLCK).map(|_| ())
}

fn held_as(data: &File, session: u64, len: u64, by: i32) -> io::Result<i32> {
    fcntl(data, libc::F_OFD_GETLK, SESSIONS + session as i64, len as i64, by)
}

fn lock_type(mode: Mode) -> i32 {
    match mode {
        Mode::Shared => libc::F_RDLCK,
        Mode::Exclusive => libc::F_WRLCK,
    }
}

/// One call; returns the lock type that the kernel wrote back.
fn fcntl(file: &File, command: i32, start: i64, len: i64, lock_type: i32) -> io::Result<i32> {
    let mut request = libc::flock {
        l_type: lock_type as i16,
        l_whence: libc::SEEK_SET as i16,
        l_start: start,
        l_len: len,
        l_pid: 0,
    };
    loop {
        // SAFETY: claim L1: the descriptor is open for as long as `file` is borrowed, and the kernel
        // reads and writes nothing but `request`, which lives until the call returns.
        let result = unsafe { libc::fcntl(file.as_raw_fd(), command, &raw mut request) };
        if result != -1 {
            return Ok(i32::from(request.l_type));
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_opens_or_closes_alone_is_in_no_session() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let (a, b) = (file.reopen().unwrap(), file.reopen().unwrap());
        assert!(try_be_alone(&a).unwrap() && is_changing(&b).unwrap());
        // A lock file may be left that names any of them.
        assert!(!is_session(&b, 7).unwrap() && !is_session(&b, IMMUTABLE).unwrap());
        join(&a, 7).unwrap();
        assert!(!is_changing(&b).unwrap() && is_session(&b, 7).unwrap());
        assert!(!is_session(&b, 8).unwrap() && !is_session(&b, IMMUTABLE).unwrap());
    }

    #[test]
    fn a_lock_belongs_to_its_file_description() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let (a, b) = (file.reopen().unwrap(), file.reopen().unwrap());
        assert!(try_lock(&a, WRITER, Mode::Exclusive).unwrap());
        assert!(!try_lock(&b, WRITER, Mode::Exclusive).unwrap());
        assert!(is_held(&b, WRITER).unwrap());
        assert!(!is_held(&a, WRITER).unwrap(), "one's own lock is not in one's own way");
        drop(file.reopen().unwrap());
        assert!(is_held(&b, WRITER).unwrap(), "closing another descriptor drops nothing");
        drop(a);
        assert!(try_lock(&b, WRITER, Mode::Exclusive).unwrap());
    }
}

//! Locks between processes: open-file-description (OFD) locks on single bytes.
//!
//! Owns: the `fcntl` calls. Promises: a lock belongs to the open file description, so the kernel
//! drops it when the last process that holds the description dies, it works between containers,
//! and closing another descriptor of the same file drops nothing. Bytes lie far behind any data, so
//! locking never touches the file's content.

#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

const BASE: i64 = 1 << 62;
/// On the data file: held for writing during a write txn.
pub const WRITER: i64 = BASE;
/// On the data file: held shared by everyone who has the store open.
pub const OPEN: i64 = BASE + 1;
/// On the data file: held while something is flushed and published.
pub const FLUSH: i64 = BASE + 3;
/// On the sidecar: held while its slots are handed out or taken back.
pub const ADMIN: i64 = BASE + 2;
/// On the sidecar: byte `PROCESS + i` is held by the process with index `i` while it lives.
pub const PROCESS: i64 = BASE + (1 << 20);

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
    match fcntl(file, libc::F_OFD_SETLK, byte, lock_type(mode)) {
        Ok(_) => Ok(true),
        Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Takes the lock, waiting as long as it takes.
pub fn lock(file: &File, byte: i64, mode: Mode) -> io::Result<()> {
    fcntl(file, libc::F_OFD_SETLKW, byte, lock_type(mode)).map(|_| ())
}

/// Lets the lock go.
pub fn unlock(file: &File, byte: i64) -> io::Result<()> {
    fcntl(file, libc::F_OFD_SETLK, byte, libc::F_UNLCK).map(|_| ())
}

/// Whether someone else holds the byte in any mode.
pub fn is_held(file: &File, byte: i64) -> io::Result<bool> {
    Ok(fcntl(file, libc::F_OFD_GETLK, byte, libc::F_WRLCK)? != libc::F_UNLCK)
}

fn lock_type(mode: Mode) -> i32 {
    match mode {
        Mode::Shared => libc::F_RDLCK,
        Mode::Exclusive => libc::F_WRLCK,
    }
}

/// One call on one byte; returns the lock type that the kernel wrote back.
fn fcntl(file: &File, command: i32, byte: i64, lock_type: i32) -> io::Result<i32> {
    let mut request = libc::flock {
        l_type: lock_type as i16,
        l_whence: libc::SEEK_SET as i16,
        l_start: byte,
        l_len: 1,
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

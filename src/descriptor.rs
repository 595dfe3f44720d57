//! Descriptors that stand for more than a file: opened anew, without a name, or several in one.
//!
//! Owns: opening the file behind a descriptor once more, so that it has locks of its own; files without a name;
//! and the parcel: one descriptor in which a message and other descriptors wait. Promises: what is
//! in a parcel stays open, with its locks, as long as the parcel does, in whatever process. Leaves
//! to others: what is put in ([`crate::handover`]).
//!
//! A parcel is one end of a pair of Unix sockets whose other end has sent one message with descriptors
//! (SCM_RIGHTS) and was closed. The kernel keeps what was sent, however the descriptor travels: by
//! inheritance, over another socket, past the death of whoever made it.

use rustix::fs::{FallocateFlags, FileType, MemfdFlags, SealFlags};
use rustix::io::{Errno, retry_on_intr};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};
use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Most bytes of a message in a parcel.
const MAX_MESSAGE: usize = 4096;
/// Most descriptors in a parcel.
const MAX_FILES: usize = 4;

/// The file behind the descriptor, opened once more: with an open file description, and so locks, of its own.
///
/// # Errors
/// The system's, also when this process may not open that file, or `/proc` is not mounted.
pub fn reopen(file: impl AsFd, write: bool) -> io::Result<File> {
    OpenOptions::new().read(true).write(write).open(proc_path(file))
}

/// The name under which the descriptor's file was opened, as far as the system knows it.
pub fn name(file: impl AsFd) -> io::Result<PathBuf> {
    std::fs::read_link(proc_path(file))
}

fn proc_path(file: impl AsFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_fd().as_raw_fd()))
}

/// Whether the file is the one of this name.
pub fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let here = file.metadata()?;
    let there = std::fs::metadata(path);
    Ok(there.is_ok_and(|there| (there.dev(), there.ino()) == (here.dev(), here.ino())))
}

/// Makes what lies behind `offset` empty, without changing the length: for files that keep it.
pub fn empty_from(file: &File, offset: u64) -> io::Result<()> {
    let rest = file.metadata()?.size().saturating_sub(offset);
    if rest > 0 {
        punch(file, offset, rest)?;
    }
    Ok(())
}

/// Gives the blocks of a range back, without changing the length; it reads as zeros.
pub fn punch(file: &File, offset: u64, len: u64) -> rustix::io::Result<()> {
    let how = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    retry_on_intr(|| rustix::fs::fallocate(file, how, offset, len))
}

/// Gives the range blocks of its own, zeros where there were none: a store through a mapping into a hole of a file on a full
/// disk ends the process.
pub fn reserve(file: &File, offset: u64, len: u64) -> io::Result<()> {
    if len == 0 {
        return Ok(());
    }
    match retry_on_intr(|| rustix::fs::fallocate(file, FallocateFlags::empty(), offset, len)) {
        Err(Errno::OPNOTSUPP) => file.write_all_at(&vec![0; len as usize], offset),
        other => Ok(other?),
    }
}

/// A file in memory that nobody can make shorter.
pub fn in_memory(name: &str) -> io::Result<File> {
    let file = rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    rustix::fs::fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::SEAL)?;
    Ok(file.into())
}

/// A file without a name in `directory`.
pub fn unlinked(directory: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).custom_flags(libc::O_TMPFILE).mode(0o600);
    options.open(directory)
}

/// Puts a message and descriptors into one.
pub fn pack(message: &[u8], files: &[&File]) -> io::Result<OwnedFd> {
    assert!(message.len() <= MAX_MESSAGE && files.len() <= MAX_FILES);
    let (here, parcel) =
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    let fds: Vec<_> = files.iter().map(|file| file.as_fd()).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FILES))];
    let mut rights = SendAncillaryBuffer::new(&mut space);
    assert!(rights.push(SendAncillaryMessage::ScmRights(&fds)));
    rustix::net::sendmsg(&here, &[IoSlice::new(message)], &mut rights, SendFlags::empty())?;
    Ok(parcel)
}

/// What is in a parcel; it stays in it unless it is taken out. `None` when it is empty or no parcel.
pub fn unpack(parcel: impl AsFd, take: bool) -> io::Result<Option<(Vec<u8>, Vec<File>)>> {
    if !is_socket(&parcel)? {
        return Ok(None);
    }
    let mut message = vec![0; MAX_MESSAGE];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FILES))];
    let mut rights = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    let flags = if take { flags } else { flags | RecvFlags::PEEK };
    let received = loop {
        match rustix::net::recvmsg(&parcel, &mut [IoSliceMut::new(&mut message)], &mut rights, flags) {
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN | Errno::NOTCONN) => return Ok(None),
            other => break other?,
        }
    };
    message.truncate(received.bytes);
    let mut files = Vec::new();
    for part in rights.drain() {
        if let RecvAncillaryMessage::ScmRights(fds) = part {
            files.extend(fds.map(File::from));
        }
    }
    Ok((received.bytes > 0).then_some((message, files)))
}

/// Whether the descriptor is a socket, as parcels are.
pub fn is_socket(fd: impl AsFd) -> io::Result<bool> {
    Ok(FileType::from_raw_mode(rustix::fs::fstat(fd)?.st_mode) == FileType::Socket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lock::{Mode, WRITER, is_held, try_lock};
    use std::io::{Read, Write};

    #[test]
    fn a_parcel_keeps_what_is_in_it_open_with_its_locks() {
        let named = tempfile::NamedTempFile::new().unwrap();
        let (inside, outside) = (named.reopen().unwrap(), named.reopen().unwrap());
        assert!(try_lock(&inside, WRITER, Mode::Exclusive).unwrap());
        let parcel = pack(b"hello", &[&inside]).unwrap();
        drop(inside);
        assert!(is_held(&outside, WRITER).unwrap(), "the parcel holds it");
        for _ in 0..3 {
            let (message, files) = unpack(&parcel, false).unwrap().unwrap();
            assert_eq!((&message[..], files.len()), (&b"hello"[..], 1));
        }
        let (_, mut files) = unpack(&parcel, true).unwrap().unwrap();
        files[0].write_all(b"same file").unwrap();
        assert!(unpack(&parcel, true).unwrap().is_none(), "it is empty");
        drop(parcel);
        assert!(is_held(&outside, WRITER).unwrap(), "what was taken out holds it");
        drop(files);
        assert!(!is_held(&outside, WRITER).unwrap());
        let mut text = String::new();
        reopen(&outside, false).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "same file");
        assert!(unpack(&outside, false).unwrap().is_none(), "a file is no parcel");
    }

    #[test]
    fn a_file_in_memory_cannot_be_made_shorter() {
        let file = in_memory("test").unwrap();
        file.set_len(10000).unwrap();
        assert!(file.set_len(5000).is_err());
        assert!(unlinked(Path::new("/tmp")).is_ok());
    }
}

//! The mark of settled meta slots: both are on the disk, byte for byte as they can be read now.
//!
//! Owns: an extended attribute of the data file. Promises: who finds the mark need not flush the slots before building
//! on them. Leaves to others: when it is left and taken away ([`crate::store`]).
//!
//! It is left by the last who closes a store, when each slot has been flushed since it was written last, and names what
//! the slots hold. It is gone before any byte of a slot is written again, so a slot whose flush has failed, or whose
//! writer was killed, is never found marked, whatever has become of the bytes in the cache. Nothing of this needs to
//! last: behind a power cut every older mark may be back, and it counts only if it names what the slots hold, which has
//! then come from the disk. A file that was replaced has none, one that was written over has other slots. Where a file
//! system has no such attributes there is no mark, and the slots are flushed.

use crate::format::{META_LEN, META_OFFSETS};
use rustix::fs::XattrFlags;
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

const NAME: &str = "user.mapleaf.settled";

/// Whether both slots are known to be on the disk as they can be read now.
pub fn is_left(data: &File) -> bool {
    let mut found = [0; 8];
    rustix::fs::fgetxattr(data, NAME, &mut found[..]) == Ok(found.len())
        && mark_of(data).is_ok_and(|mark| mark == found)
}

/// Says that they are. Where that is not possible the next to open the store flushes them.
pub fn leave(data: &File) {
    if let Ok(mark) = mark_of(data) {
        let _ = rustix::fs::fsetxattr(data, NAME, &mark[..], XattrFlags::empty());
    }
}

/// There is no mark when this returns.
///
/// # Errors
/// The system's, also when this process may not change the file's attributes and there is a mark.
pub fn take_away(data: &File) -> io::Result<()> {
    match rustix::fs::fremovexattr(data, NAME) {
        Ok(()) | Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
        Err(_) if !is_there(data) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Unless it is certain, yes. Needs no right to read the file.
fn is_there(data: &File) -> bool {
    let mut names = vec![0; 1 << 16];
    let len = rustix::fs::flistxattr(data, &mut names[..]).unwrap_or(usize::MAX);
    names.get(..len).is_none_or(|names| names.split(|byte| *byte == 0).any(|name| name == NAME.as_bytes()))
}

/// Slots have checksums of their own, which another sum must not cancel out.
fn mark_of(data: &File) -> io::Result<[u8; 8]> {
    let mut mark = 0xcbf2_9ce4_8422_2325u64;
    for offset in META_OFFSETS {
        let mut slot = [0; META_LEN];
        data.read_exact_at(&mut slot, offset)?;
        for word in slot.as_chunks().0 {
            mark = (mark ^ u64::from_le_bytes(*word)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
        }
    }
    Ok(mark.to_le_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_about_the_bytes_of_both_slots_and_of_this_file() {
        let file = tempfile::tempfile_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        file.set_len(64 << 10).unwrap();
        leave(&file);
        if !is_there(&file) {
            return println!("skipped: no extended attributes");
        }
        assert!(is_left(&file));
        file.write_all_at(&[1], 8000).unwrap();
        assert!(is_left(&file), "it is not about other bytes");
        for offset in META_OFFSETS.into_iter().flat_map(|slot| [slot, slot + META_LEN as u64 - 1]) {
            file.write_all_at(&[1], offset).unwrap();
            assert!(!is_left(&file), "{offset}");
            file.write_all_at(&[0], offset).unwrap();
            assert!(is_left(&file));
        }
        take_away(&file).unwrap();
        assert!(!is_left(&file));
        take_away(&file).unwrap();
        for forged in [&[][..], &[7; 7], &[7; 8], &[7; 9], &[0; 300]] {
            rustix::fs::fsetxattr(&file, NAME, forged, XattrFlags::empty()).unwrap();
            assert!(!is_left(&file));
        }
    }
}

//! The data file before it is a store that is open: creating one, telling one from a blank file, reading its
//! newest meta slot.
//!
//! Owns: creation. Promises: a store is there whole or not at all, whenever the power goes. Leaves to others: who
//! may do it ([`crate::session`]), and everything afterwards ([`crate::store`]).

use crate::disk::{Disk, Op, Verdict, within_limit};
use crate::error::{Error, Result};
use crate::format::{META_LEN, META_OFFSETS, MIN_PAGE_SIZE, Meta, meta_pages};
use crate::options::Config;
use rustix::io::retry_on_intr;
use rustix::rand::{GetRandomFlags, getrandom};
use std::fs::{File, OpenOptions};
use std::io::IoSlice;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use zerocopy::IntoBytes;

/// The shortest that a store can be: up to its second meta slot.
pub const MIN_LEN: u64 = META_OFFSETS[1] + META_LEN as u64;
/// A longer file of zeros is not what a cut during creation leaves.
const MAX_BLANK: u64 = 16 << 20;
/// A new store's length.
const FIRST_LEN: u64 = 64 << 10;

/// Magic numbers of file systems whose locks or mappings other machines do not see, with their names.
const NETWORK: [(u64, &str); 15] = [
    (0x6969, "NFS"),
    (0x517b, "SMB"),
    (0xff53_4d42, "CIFS"),
    (0xfe53_4d42, "SMB2"),
    (0x0102_1997, "9P"),
    (0x6573_5546, "FUSE"),
    (0x5346_414f, "AFS"),
    (0x6b41_4653, "AFS"),
    (0x7375_7245, "Coda"),
    (0x564c, "NCP"),
    (0x00c3_6400, "Ceph"),
    (0x0bd0_0bd0, "Lustre"),
    (0x4750_4653, "GPFS"),
    (0x786f_4256, "vboxsf"),
    (0xbacb_acbc, "vmhgfs"),
];

const OVERLAYFS: u64 = 0x794c_7630;

/// Refuses a file on a network file system, unless the options say otherwise.
///
/// # Errors
/// `NetworkFileSystem`; `Io`.
pub fn refuse_network(file: &File, path: &Path, config: &Config) -> Result<()> {
    if config.immutable || config.any_file_system {
        return Ok(());
    }
    let stat = rustix::fs::fstatfs(file)
        .map_err(|error| Error::io(format!("examine the file system of {}", path.display()), error.into()))?;
    // Magic numbers have 32 bits, whatever type they come in.
    match network_name(stat.f_type as u64 & 0xffff_ffff) {
        Some(name) => Err(Error::NetworkFileSystem { path: path.to_owned(), name }),
        None => Ok(()),
    }
}

fn network_name(magic: u64) -> Option<&'static str> {
    NETWORK.iter().find(|(known, _)| *known == magic).map(|(_, name)| *name)
}

/// Opens the file at `path`, or creates it where the options say so.
pub fn open_file(path: &Path, config: &Config) -> Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(!config.is_read_only());
    match options.open(path) {
        Err(error)
            if error.kind() == std::io::ErrorKind::NotFound && config.create && !config.is_read_only() =>
        {
            create_file(path, config)?;
            options.open(path)
        }
        other => other,
    }
    .and_then(|file| match config.read_only && !config.immutable && is_overlay(&file) {
        true => open_upper(path, &options),
        false => Ok(file),
    })
    .map_err(|error| Error::io(format!("open {}", path.display()), error))
}

fn is_overlay(file: &File) -> bool {
    rustix::fs::fstatfs(file).is_ok_and(|stat| stat.f_type as u64 & 0xffff_ffff == OVERLAYFS)
}

/// The first who opens a file of an overlay's lower layer to write makes a copy of it, and whoever had it open to read keeps
/// the old one. So it is opened to write once, where that is allowed, before it is opened to read.
fn open_upper(path: &Path, to_read: &OpenOptions) -> std::io::Result<File> {
    let _ = OpenOptions::new().read(true).write(true).open(path);
    to_read.open(path)
}

/// Creates the store so that it is there whole or not at all: in an unnamed file that gets its name
/// when it is on the disk. Where the file system has no unnamed files an empty file is created, and
/// filled by whoever opens it alone.
fn create_file(path: &Path, config: &Config) -> Result<()> {
    let directory = directory_of(path);
    let fail = |error| Error::io(format!("create {}", path.display()), error);
    refuse_network(&File::open(directory).map_err(fail)?, path, config)?;
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

/// Where the file of this name is.
pub fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Refuses what is neither a store nor a blank file to make one of, before anything is made beside it.
///
/// # Errors
/// `NotAStore`; `Io`.
pub fn refuse_others(file: &File, path: &Path, config: &Config) -> Result<()> {
    match read_meta(file, path, false) {
        Err(error @ Error::NotAStore { .. }) => {
            let may_create = config.create && !config.is_read_only();
            match may_create && is_blank(file).unwrap_or(false) {
                true => Ok(()),
                false => Err(error),
            }
        }
        other => other.map(drop),
    }
}

/// Makes a blank file a new store. The caller is alone.
///
/// # Errors
/// `Io`.
pub fn fill_if_blank(file: &File, path: &Path, config: &Config) -> Result<()> {
    let filled = is_blank(file).and_then(|blank| if blank { write_new_store(file, config) } else { Ok(()) });
    filled.map_err(|error| Error::io(format!("create {}", path.display()), error))
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
        let got = match file.read_at(&mut buffer, offset) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            other => other?,
        };
        if got == 0 {
            // It is said to be longer: whatever it is, it is not known to be blank.
            return Ok(false);
        }
        if buffer[..got].iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
        offset += got as u64;
    }
    Ok(true)
}

/// Fills a blank file: zeros first, flushed; then the meta, which makes it a store, in both slots.
fn write_new_store(file: &File, config: &Config) -> std::io::Result<()> {
    let page_count = (FIRST_LEN / config.page_size as u64).max(meta_pages(config.page_size) + 2);
    let len = page_count * config.page_size as u64;
    within_limit(len)?;
    let mut id = [0; 16];
    retry_on_intr(|| getrandom(&mut id, GetRandomFlags::empty()))?;
    let meta = Meta::new(config.page_size, page_count, id);
    let observe = |op: &Op<'_>| match config.observer.as_ref().map(|observer| observer.before(op)) {
        Some(Verdict::Fail(error)) => Err(error),
        _ => Ok(()),
    };
    observe(&Op::SetLen { len: 0 })?;
    match file.set_len(0) {
        // A sealed file keeps its length; it is blank, and written over.
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => {}
        other => other?,
    }
    let zeros = vec![0; FIRST_LEN as usize];
    for offset in (0..len).step_by(zeros.len()) {
        let part = &zeros[..zeros.len().min((len - offset) as usize)];
        observe(&Op::Write { offset, data: &[IoSlice::new(part)] })?;
        file.write_all_at(part, offset)?;
    }
    observe(&Op::Sync { offset: 0, len })?;
    file.sync_all()?;
    // The second slot first: zeros in any other place than the first slot of a new store are damage then.
    for offset in META_OFFSETS.into_iter().rev() {
        observe(&Op::Write { offset, data: &[IoSlice::new(meta.as_bytes())] })?;
        file.write_all_at(meta.as_bytes(), offset)?;
        observe(&Op::Sync { offset, len: META_LEN as u64 })?;
        file.sync_all()?;
    }
    Ok(())
}

/// What the two meta slots hold right now: a slot, or what is wrong with it (`None`: zeros).
pub fn slots_in(disk: &Disk) -> [Result<Meta, Option<String>>; 2] {
    META_OFFSETS.map(|offset| {
        let mut bytes = [0; META_LEN];
        disk.read_at(offset, &mut bytes).map_err(|error| Some(error.to_string()))?;
        Meta::parse(&bytes)
    })
}

/// What is wrong with the two slots. One that does not hold a meta is damage: a slot is one sector, so a power cut leaves the
/// old or the new one.
pub fn problems_of(slots: &[Result<Meta, Option<String>>; 2]) -> Vec<String> {
    // Creation writes the second slot, then the first; a cut may come between.
    let is_new = matches!(&slots[1], Ok(meta) if meta.txn.get() == 1);
    let problem = |(i, slot): (usize, &Result<_, Option<String>>)| match slot {
        Err(Some(reason)) => Some(format!("meta slot {i} cannot be read: {reason}")),
        Err(None) if i > 0 || !is_new => Some(format!("meta slot {i} is zeros, and was written once")),
        _ => None,
    };
    slots.iter().enumerate().filter_map(problem).collect()
}

/// The newest of the two slots that can be read. The length is judged only when `alone`: beside a
/// writer a slot may speak of growth that is just coming or going, and others start from the
/// published state.
pub fn read_meta(file: &File, path: &Path, alone: bool) -> Result<(Meta, usize)> {
    let len =
        file.metadata().map_err(|error| Error::io(format!("examine {}", path.display()), error))?.size();
    let mut found: Option<(Meta, usize)> = None;
    let mut reasons = Vec::new();
    for (slot, offset) in META_OFFSETS.into_iter().enumerate() {
        let mut bytes = [0; META_LEN];
        match file.read_exact_at(&mut bytes, offset) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof && len < MIN_LEN => {
                let needed = 2 * MIN_PAGE_SIZE;
                reasons.push(format!(
                    "slot {slot}: the file has {len} bytes, fewer than a store of {needed} has"
                ));
                continue;
            }
            // What is in it is not known: it may be the newest.
            Err(error) => {
                let doing = format!("read meta slot {slot} of {}", path.display());
                return Err(Error::io(doing, error));
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_file_systems_are_known_by_their_magic_numbers() {
        assert_eq!(network_name(0x6969), Some("NFS"));
        assert_eq!(network_name(0xff53_4d42), Some("CIFS"));
        for local in [0xef53, 0x5846_5342, 0x9123_683e, 0x0102_1994, 0x7371_7368, 0x794c_7630] {
            assert_eq!(network_name(local), None, "ext4, xfs, btrfs, tmpfs, squashfs, overlayfs");
        }
    }
}

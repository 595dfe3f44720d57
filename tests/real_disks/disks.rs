//! Disks that fail, under real file systems, without a device mapper.
//!
//! [`FragileDisk`]: an image in a tmpfs that can be filled to the brim. What was written once can be written again; a block
//! that was never written cannot, and the file system above is told EIO when it writes it back. Freeing the tmpfs heals
//! the disk. [`unreadable`]: a file of which given blocks cannot be read: it lies on btrfs, whose checksums of these are wrong.

use super::mounts::{BLOCK, Foreign, Kind, Mounted, Skip, for_data, power_cut, tmpfs};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

const SLACK: u64 = 8 << 20;
const MARK: &[u8; 25] = b"mapleaf: never written\n\n\n";

/// A disk that has a file system, and takes new blocks only as long as it is healthy.
pub struct FragileDisk {
    kind: Kind,
    image: PathBuf,
    /// In this order: the file system is unmounted before what it lies on.
    mounted: Option<Mounted>,
    ballast: File,
    below: Mounted,
    scratch: Mounted,
}

impl FragileDisk {
    /// A new file system, of which every block that files can get was never written. `at` is an empty directory.
    pub fn new(kind: Kind, options: &str, at: &Path) -> Skip<Self> {
        let below = tmpfs(kind.small() + SLACK, at.join("below"))?;
        let (image, ballast) = (below.join("image"), File::create(below.join("ballast")).unwrap());
        let file = File::create(&image).unwrap();
        file.set_len(kind.small()).unwrap();
        kind.make(&image)?;
        // Every block has its place, those of the journal too: mkfs makes holes where zeros are to be.
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, kind.small()).unwrap();
        drop(file);
        let mounted = kind.mount(&image, at.join("disk"))?;
        // Also what the first file of a directory needs.
        std::fs::write(mounted.join("first"), b"").unwrap();
        mark_free_space(&mounted, kind);
        drop(mounted);
        let holes = punch_marked(&image);
        assert!(holes > 1000, "{holes} blocks of {kind:?}");
        let mounted = kind.mount_with(&image, options, at.join("disk"))?;
        write_by_blocks(&mounted)?;
        let mounted = Some(mounted);
        let scratch = tmpfs(2 * kind.small(), at.join("scratch"))?;
        Ok(FragileDisk { kind, image, mounted, ballast, below, scratch })
    }

    /// Where a file of this name is on it.
    pub fn join(&self, name: &str) -> PathBuf {
        self.mounted.as_ref().expect("it is in use").join(name)
    }

    /// From now on only so many blocks can be written for the first time.
    pub fn fail_after(&self, blocks: u64) {
        let mut len = self.ballast.metadata().unwrap().len();
        loop {
            let free = rustix::fs::statvfs(&self.below.at).unwrap().f_bfree;
            if free <= blocks {
                return;
            }
            let more = (free - blocks) * BLOCK as u64;
            let reserved =
                rustix::fs::fallocate(&self.ballast, rustix::fs::FallocateFlags::empty(), len, more);
            len += if reserved.is_ok() { more } else { 0 };
        }
    }

    /// Whether the file system itself still takes new files.
    pub fn is_usable(&self) -> bool {
        std::fs::write(self.join("probe"), b"probe")
            .is_ok_and(|()| File::open(self.join("probe")).is_ok_and(|file| file.sync_all().is_ok()))
    }

    /// The disk takes everything again.
    pub fn heal(&self) {
        self.ballast.set_len(0).unwrap();
    }

    /// What the disk holds at this moment, for [`FragileDisk::after_power_cut`].
    pub fn cut_power(&self) {
        power_cut(&self.image, &self.scratch.join("image"));
    }

    /// The disk as it was at the last [`FragileDisk::cut_power`], mounted in a healthy machine. Nobody uses
    /// the one before any more.
    pub fn after_power_cut(mut self) -> Skip<(Mounted, Self)> {
        self.heal();
        self.mounted = None;
        let mounted = self.kind.mount(&self.scratch.join("image"), self.scratch.join("disk"))?;
        Ok((mounted, self))
    }
}

impl Drop for FragileDisk {
    fn drop(&mut self) {
        // Or xfs would try again for ever.
        self.heal();
    }
}

/// From now on each request to the loop device is for one block. The driver takes a request of which a part was written
/// for a success, so that larger ones would be lost without an error when the tmpfs is full in their middle.
fn write_by_blocks(mounted: &Mounted) -> Skip<()> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    let mut lines = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let line = lines.find(|fields| Path::new(fields[1]) == mounted.at).expect("it is mounted");
    let name = line[0].trim_start_matches("/dev/");
    let path = format!("/sys/block/{name}/queue/max_sectors_kb");
    std::fs::write(&path, "4").map_err(|error| format!("{path}: {error}"))
}

/// Fills all that files can have with a pattern, and frees it.
fn mark_free_space(mounted: &Mounted, kind: Kind) {
    let path = mounted.join("marks");
    let file = File::create(&path).unwrap();
    let mut block = [0x2e; 16 * BLOCK];
    block.chunks_mut(BLOCK).for_each(|block| block[..MARK.len()].copy_from_slice(MARK));
    let mut offset = 0;
    // Not all of it: btrfs needs room for what it says about it.
    let left = if kind == Kind::Btrfs { 100 << 20 } else { 4 << 20 };
    while mounted.free() > left
        && let Ok(len) = file.write_at(&block, offset)
    {
        offset += len as u64;
        if offset.is_multiple_of(8 << 20) {
            let _ = file.sync_all();
        }
    }
    let _ = file.sync_all();
    drop(file);
    std::fs::remove_file(path).unwrap();
    rustix::fs::syncfs(File::open(&mounted.at).unwrap()).unwrap();
}

/// Takes away from a file the blocks that have the pattern. Returns how many.
fn punch_marked(image: &Path) -> usize {
    let file = File::options().read(true).write(true).open(image).unwrap();
    let flags = rustix::fs::FallocateFlags::PUNCH_HOLE | rustix::fs::FallocateFlags::KEEP_SIZE;
    let mut marked = 0;
    for_blocks(&file, |offset, block| {
        if block.starts_with(MARK) {
            rustix::fs::fallocate(&file, flags, offset, BLOCK as u64).unwrap();
            marked += 1;
        }
    });
    marked
}

fn for_blocks(file: &File, mut each: impl FnMut(u64, &[u8])) {
    for_data(file, |offset, bytes| {
        for (i, block) in bytes.chunks(BLOCK).enumerate() {
            each(offset + (i * BLOCK) as u64, block);
        }
    });
}

/// A copy of the closed store `source`, on a file system of its own, of which these blocks of 4 KiB cannot be read: a read is
/// EIO, and touching them in a mapping is SIGBUS. No cache has them. `at` is an empty directory.
pub fn unreadable(source: &Path, blocks: &[u64], at: &Path) -> Skip<(Mounted, PathBuf)> {
    let image = at.join("image");
    let mounted = Kind::Btrfs.fresh(&image, Kind::Btrfs.small(), at.join("disk"))?;
    let path = mounted.join(source.file_name().unwrap().to_str().unwrap());
    std::fs::copy(source, &path).unwrap();
    File::open(&path).unwrap().sync_all().unwrap();
    drop(mounted);
    let wanted: Vec<Vec<u8>> = blocks.iter().map(|block| block_of(source, *block)).collect();
    let file = File::options().read(true).write(true).open(&image).unwrap();
    let mut spoiled = 0;
    for_blocks(&file, |offset, block| {
        if wanted.iter().any(|wanted| wanted == block) {
            let broken: Vec<u8> = block.iter().map(|byte| !byte).collect();
            file.write_all_at(&broken, offset).unwrap();
            spoiled += 1;
        }
    });
    assert_eq!(spoiled, blocks.len(), "each block is on the disk once, and no other is the same");
    file.sync_all().unwrap();
    Ok((Kind::Btrfs.mount(&image, at.join("disk"))?, path))
}

fn block_of(file: &Path, block: u64) -> Vec<u8> {
    let mut bytes = vec![0; BLOCK];
    File::open(file).unwrap().read_exact_at(&mut bytes, block * BLOCK as u64).unwrap();
    bytes
}

/// A copy of the closed store `source` on an ext4 whose disk ends, since it was mounted, somewhere inside the file. Returns
/// also the first block of the file that cannot be read.
pub fn cut_short(source: &Path, at: &Path) -> Skip<(Mounted, PathBuf, u64)> {
    let image = at.join("image");
    let kind = Kind::Ext4;
    let mounted = kind.fresh(&image, kind.small(), at.join("disk"))?;
    let mut front = Foreign::create(mounted.join("front"));
    front.fill_but(&mounted, 24 << 20);
    drop(front);
    let path = mounted.join(source.file_name().unwrap().to_str().unwrap());
    std::fs::copy(source, &path).unwrap();
    File::open(&path).unwrap().sync_all().unwrap();
    drop(mounted);
    let wanted = block_of(source, std::fs::metadata(source).unwrap().len() / BLOCK as u64 / 2);
    let file = File::options().read(true).write(true).open(&image).unwrap();
    let mut end = 0;
    for_blocks(&file, |offset, block| end = if block == wanted { offset } else { end });
    assert!(end > 0, "it is on the disk");
    let mounted = kind.mount(&image, at.join("disk"))?;
    file.set_len(end).unwrap();
    let count = std::fs::metadata(source).unwrap().len() / BLOCK as u64;
    let copy = File::open(&path).unwrap();
    let is_readable = |block: &u64| copy.read_exact_at(&mut [0; BLOCK], block * BLOCK as u64).is_ok();
    let first = (0..count).find(|block| !is_readable(block)).expect("its end cannot be read");
    Ok((mounted, path, first))
}

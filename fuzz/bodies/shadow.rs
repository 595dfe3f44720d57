//! What a disk would hold: a copy of the data file that knows which blocks were flushed.
//!
//! It watches through [`Observer`]. A write makes a new version of each 4-KiB block that it touches; a flush makes the
//! newest version of each block in its range the one on the disk, and the file's length with it. A power cut leaves
//! any version of each unflushed block, or sectors of two of them, and any length between the flushed one and the
//! newest. A failed flush takes the blocks for clean: each is on the disk or is not, and no later flush changes that
//! until it is written again; a block that had never been on the disk reads as zeros after a power cut, whatever is
//! written to it later, until the file is cut off before it (so it is on ext4), or it is punched out, which makes it new.

use super::input::Dice;
use mapleaf::{Observer, Op, Verdict};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Error, IoSlice};
use std::sync::Mutex;

const BLOCK: usize = 4096;
const SECTOR: usize = 512;

/// Which operation is to fail: so many of its kind still succeed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    Sync(u32),
    Write(u32),
    Short(u32),
    Grow(u32),
}

#[derive(Default)]
pub struct Shadow {
    state: Mutex<Disk>,
}

#[derive(Default, Clone)]
struct Disk {
    /// What is flushed; blocks behind its end are zeros.
    flushed: Vec<u8>,
    flushed_len: usize,
    /// The page cache.
    cache: Vec<u8>,
    /// Versions of unflushed blocks, oldest first.
    dirty: BTreeMap<usize, Vec<Vec<u8>>>,
    /// Blocks that were on the disk once.
    seasoned: BTreeSet<usize>,
    /// Blocks that read as zeros for good.
    cursed: BTreeSet<usize>,
    fault: Option<Fault>,
    dice: u64,
    /// Operations that failed.
    failed: u32,
}

impl Shadow {
    /// Of a file that is on the disk whole.
    pub fn of(file: &[u8]) -> Self {
        let disk = Disk {
            flushed: file.to_vec(),
            flushed_len: file.len(),
            cache: file.to_vec(),
            seasoned: (0..file.len().div_ceil(BLOCK)).collect(),
            ..Disk::default()
        };
        Shadow { state: Mutex::new(disk) }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, Disk> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Makes one operation fail.
    pub fn arm(&self, fault: Fault, dice: u64) {
        let mut state = self.state();
        (state.fault, state.dice) = (Some(fault), dice);
    }

    /// Nothing fails from now on. Returns how many operations did.
    pub fn disarm(&self) -> u32 {
        let mut state = self.state();
        state.fault = None;
        state.failed
    }

    /// What a power cut may leave.
    pub fn cut(&self, dice: &mut Dice) -> Vec<u8> {
        self.state().cut(dice)
    }

    /// Whether the file is what was written.
    pub fn assert_is(&self, file: &[u8]) {
        let state = self.state();
        assert!(state.cache == file, "something was written past the seam");
    }
}

impl Observer for Shadow {
    fn before(&self, op: &Op<'_>) -> Verdict {
        let mut state = self.state();
        let verdict = state.verdict(op);
        match (op, &verdict) {
            (Op::Sync { offset, len }, Verdict::Fail(_)) => state.lose(*offset as usize, *len as usize),
            (_, Verdict::Fail(_)) => {}
            (Op::Write { offset, data }, _) => state.write(*offset as usize, data),
            (Op::Sync { offset, len }, _) => state.sync(*offset as usize, *len as usize),
            (Op::SetLen { len }, _) => state.set_len(*len as usize),
            (Op::Reserve { offset, len }, _) => {
                let end = (offset + len) as usize;
                if end > state.cache.len() {
                    state.cache.resize(end, 0);
                }
            }
            (Op::Punch { offset, len }, _) => state.punch(*offset as usize, *len as usize),
        }
        verdict
    }
}

impl Disk {
    fn verdict(&mut self, op: &Op<'_>) -> Verdict {
        let of_kind = |fault: &Fault| match fault {
            Fault::Sync(_) => matches!(op, Op::Sync { .. }),
            Fault::Write(_) | Fault::Short(_) => matches!(op, Op::Write { .. }),
            Fault::Grow(_) => matches!(op, Op::Reserve { .. }),
        };
        let Some(fault) = self.fault.filter(of_kind) else { return Verdict::Proceed };
        let (Fault::Sync(left) | Fault::Write(left) | Fault::Short(left) | Fault::Grow(left)) = fault;
        if left > 0 {
            self.fault = Some(match fault {
                Fault::Sync(_) => Fault::Sync(left - 1),
                Fault::Write(_) => Fault::Write(left - 1),
                Fault::Short(_) => Fault::Short(left - 1),
                Fault::Grow(_) => Fault::Grow(left - 1),
            });
            return Verdict::Proceed;
        }
        self.fault = None;
        self.failed += 1;
        // EIO of a flush and of a write, ENOSPC of growth.
        match fault {
            Fault::Sync(_) | Fault::Write(_) => Verdict::Fail(Error::from_raw_os_error(5)),
            Fault::Grow(_) => Verdict::Fail(Error::from_raw_os_error(28)),
            Fault::Short(_) => Verdict::Short(Dice(self.dice).below(5000) as usize),
        }
    }

    fn write(&mut self, offset: usize, data: &[IoSlice<'_>]) {
        let bytes: Vec<u8> = data.iter().flat_map(|slice| slice.iter().copied()).collect();
        let end = offset + bytes.len();
        if end > self.cache.len() {
            self.cache.resize(end, 0);
        }
        self.cache[offset..end].copy_from_slice(&bytes);
        for block in offset / BLOCK..end.div_ceil(BLOCK) {
            let stop = self.cache.len().min((block + 1) * BLOCK);
            let mut version = self.cache[block * BLOCK..stop].to_vec();
            version.resize(BLOCK, 0);
            self.dirty.entry(block).or_default().push(version);
        }
    }

    fn put_on_disk(&mut self, block: usize, version: &[u8]) {
        let end = (block + 1) * BLOCK;
        if self.flushed.len() < end {
            self.flushed.resize(end, 0);
        }
        if !self.cursed.contains(&block) {
            self.flushed[block * BLOCK..end].copy_from_slice(version);
            self.seasoned.insert(block);
        }
    }

    fn taken(&mut self, offset: usize, len: usize) -> BTreeMap<usize, Vec<Vec<u8>>> {
        let mut taken = self.dirty.split_off(&(offset / BLOCK));
        self.dirty.append(&mut taken.split_off(&(offset + len).div_ceil(BLOCK)));
        taken
    }

    fn sync(&mut self, offset: usize, len: usize) {
        for (block, versions) in self.taken(offset, len) {
            self.put_on_disk(block, versions.last().expect("one at least"));
        }
        self.flushed_len = self.cache.len();
    }

    /// A flush that fails.
    fn lose(&mut self, offset: usize, len: usize) {
        let mut dice = Dice(self.dice);
        for (block, versions) in self.taken(offset, len) {
            if dice.below(2) == 0 {
                self.put_on_disk(block, versions.last().expect("one at least"));
            } else if !self.seasoned.contains(&block) {
                self.cursed.insert(block);
            }
        }
    }

    fn punch(&mut self, offset: usize, len: usize) {
        for block in offset / BLOCK..(offset + len).div_ceil(BLOCK) {
            self.cursed.remove(&block);
            self.seasoned.remove(&block);
        }
        self.write(offset, &[IoSlice::new(&vec![0; len])]);
    }

    fn set_len(&mut self, len: usize) {
        self.cache.resize(len, 0);
        let first_gone = len.div_ceil(BLOCK);
        drop(self.dirty.split_off(&first_gone));
        drop(self.cursed.split_off(&first_gone));
        drop(self.seasoned.split_off(&first_gone));
    }

    fn cut(&self, dice: &mut Dice) -> Vec<u8> {
        let mut disk = self.clone();
        // None, all, or any of them.
        let (style, blocks) = (dice.below(4), self.dirty.keys().copied().collect::<Vec<_>>());
        for block in blocks {
            let versions = &self.dirty[&block];
            let newest = versions.len() - 1;
            let chosen = match style {
                0 => continue,
                1 => newest,
                _ => match dice.below(3) {
                    0 => continue,
                    1 => newest,
                    _ => dice.below(versions.len() as u64) as usize,
                },
            };
            let mut version = versions[chosen].clone();
            if style == 3 && dice.below(2) == 0 {
                // Some sectors are those of before.
                let old = disk
                    .flushed
                    .get(block * BLOCK..(block + 1) * BLOCK)
                    .map_or(vec![0; BLOCK], <[u8]>::to_vec);
                let mask = dice.roll();
                for sector in (0..BLOCK / SECTOR).filter(|sector| mask >> sector & 1 == 1) {
                    let range = sector * SECTOR..(sector + 1) * SECTOR;
                    version[range.clone()].copy_from_slice(&old[range]);
                }
            }
            disk.put_on_disk(block, &version);
        }
        let (low, high) = (self.flushed_len.min(self.cache.len()), self.flushed_len.max(self.cache.len()));
        let len = match dice.below(3) {
            0 => self.flushed_len,
            1 => self.cache.len(),
            _ => low + dice.below(((high - low) / BLOCK) as u64 + 1) as usize * BLOCK,
        };
        disk.flushed.resize(len, 0);
        disk.flushed
    }
}

//! The simulated disk: what it may hold, after each event of a log.
//!
//! Owns: the model of the disk, described in [`crate`]. Leaves to others: which of the files that are
//! possible are looked at ([`crate::choice`]).
//!
//! Invariants:
//! 1. `versions` of a block are what the disk may hold now, oldest first; never empty.
//! 2. `cache` is what the page cache holds, and what a flush of a dirty block makes durable.
//! 3. `lengths` are what the file's length may be now, oldest first; the last is the present one.

use crate::event::Event;
use crate::pool::{BLOCK, Content, Image, Pool};
use std::collections::BTreeSet;

/// What happens to blocks whose flush fails. (Where the cache reverts them the log says so:
/// [`Recorder::reverting`](crate::Recorder::reverting).)
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FailedFlush {
    /// The cache keeps the new bytes and takes them for written: the disk may hold any version, and
    /// no later flush changes that unless the block is written again.
    Keeps,
    /// The same, and blocks that were never flushed before read as zeros from then on, whatever is
    /// written and flushed, until the file is cut below them, or they are punched out of it (ext4's unwritten extents).
    LosesFresh,
}

#[derive(Clone, Debug)]
pub(crate) struct Block {
    pub(crate) versions: Vec<Content>,
    /// When each of them was written: the number of the write.
    written: Vec<u64>,
    cache: Content,
    dirty: bool,
    was_flushed: bool,
    lost: bool,
    /// Versions before this one are gone with the next flush of anything: the file was cut here, or punched.
    cut_at: usize,
}

impl Block {
    fn new(content: Content, was_flushed: bool) -> Self {
        let (versions, written) = (vec![content], vec![0]);
        Block { versions, written, cache: content, dirty: false, was_flushed, lost: false, cut_at: 0 }
    }

    fn put(&mut self, content: Content, time: u64) {
        self.cache = content;
        self.dirty = true;
        if !self.lost {
            self.versions.push(content);
            self.written.push(time);
        }
    }

    fn only(&mut self, content: Content) {
        (self.versions, self.written, self.cut_at) = (vec![content], vec![0], 0);
    }

    fn cut(&mut self, time: u64) {
        self.cut_at = self.versions.len();
        self.versions.push(0);
        self.written.push(time);
        (self.cache, self.dirty, self.was_flushed, self.lost) = (0, false, false, false);
    }

    fn flushed(&mut self) {
        if self.dirty && !self.lost {
            self.only(self.cache);
        }
        // A reserved block that nobody has written stays unwritten.
        self.was_flushed |= self.dirty;
        self.dirty = false;
    }

    fn flush_failed(&mut self, rule: FailedFlush) {
        if self.dirty && !self.was_flushed && rule == FailedFlush::LosesFresh {
            self.lost = true;
            self.only(0);
        }
        self.dirty = false;
    }

    /// The cache has forgotten what it had, and shows what is on the disk.
    fn reverted(&mut self, content: Content) {
        (self.cache, self.dirty) = (content, false);
        if !self.lost {
            self.only(content);
        }
    }

    /// What the disk may hold, each once.
    pub(crate) fn choices(&self) -> Vec<Content> {
        let mut choices = Vec::with_capacity(1);
        for version in &self.versions {
            if !choices.contains(version) {
                choices.push(*version);
            }
        }
        choices
    }

    /// What it was after write number `time`, or the oldest that it may be.
    pub(crate) fn as_of(&self, time: u64) -> Content {
        let written = self.written.iter().zip(&self.versions);
        let last = written.take_while(|(written, _)| **written <= time).last();
        last.map_or(self.versions[0], |(_, content)| *content)
    }

    fn forget_before_cut(&mut self) {
        let gone = std::mem::take(&mut self.cut_at);
        self.versions.drain(..gone);
        self.written.drain(..gone);
    }
}

/// A disk with one file.
#[derive(Clone, Debug)]
pub struct Disk {
    pub(crate) blocks: Vec<Block>,
    pub(crate) lengths: Vec<u64>,
    rule: FailedFlush,
    /// Whether flushes succeed and do nothing.
    pub(crate) lies: bool,
    /// Number of writes so far.
    pub(crate) time: u64,
    /// Blocks that a record of the redo log was written to.
    pub(crate) logged: BTreeSet<usize>,
}

impl Disk {
    /// One on which `image` is durable.
    pub fn holding(image: &Image, rule: FailedFlush) -> Self {
        let blocks = image.blocks.iter().map(|content| Block::new(*content, true)).collect();
        Disk { blocks, lengths: vec![image.len], rule, lies: false, time: 0, logged: BTreeSet::new() }
    }

    /// One on which there is an empty file.
    pub fn empty() -> Self {
        Disk::holding(&Image::default(), FailedFlush::Keeps)
    }

    /// From now on flushes return success and do nothing: every version of a block, and every length, stays
    /// possible.
    pub fn lie(&mut self) {
        self.lies = true;
    }

    /// What a process sees that opens the file now, without a power cut.
    pub fn cached(&self) -> Image {
        let len = *self.lengths.last().expect("the present length");
        Image { len, blocks: self.blocks.iter().map(|block| block.cache).collect(), is_torn: false }
    }

    /// Carries out one event of the log.
    pub fn apply(&mut self, event: &Event, pool: &mut Pool) {
        match event {
            Event::Write { offset, data } => {
                if event.is_record() {
                    let (first, end) = (*offset as usize, *offset as usize + data.len());
                    self.logged.extend(first / BLOCK..end.div_ceil(BLOCK));
                }
                self.write(*offset as usize, data, pool);
            }
            Event::Sync { failed: true, offset, len } => {
                let rule = self.rule;
                self.in_range(*offset, *len).for_each(|block| block.flush_failed(rule));
            }
            Event::Sync { failed: false, .. } if self.lies => {}
            Event::Sync { failed: false, offset, len } => {
                // A flush makes the length durable, and with it every earlier cut.
                self.lengths.drain(..self.lengths.len() - 1);
                self.blocks.iter_mut().for_each(Block::forget_before_cut);
                self.in_range(*offset, *len).for_each(Block::flushed);
            }
            Event::Reverted { offset, data } => {
                let content = pool.add(data);
                self.blocks[*offset as usize / BLOCK].reverted(content);
            }
            Event::SetLen { len } => self.set_len(*len),
            Event::Reserve { end } => {
                self.note_len(*end.max(self.lengths.last().expect("the present length")))
            }
            Event::Punch { offset, len } => self.punch(*offset, *len),
            _ => {}
        }
    }

    /// The blocks of a range that a flush would write, each with what the disk may hold if that fails, oldest first.
    pub(crate) fn dirty(&self, offset: u64, len: u64) -> impl Iterator<Item = (usize, &[Content])> {
        let end = (offset + len).div_ceil(BLOCK as u64) as usize;
        let blocks = self.blocks.iter().enumerate().take(end).skip(offset as usize / BLOCK);
        blocks.filter(|(_, block)| block.dirty).map(|(at, block)| (at, &block.versions[block.cut_at..]))
    }

    fn in_range(&mut self, offset: u64, len: u64) -> impl Iterator<Item = &mut Block> {
        let end = (offset + len).div_ceil(BLOCK as u64) as usize;
        let end = end.min(self.blocks.len());
        let start = (offset as usize / BLOCK).min(end);
        self.blocks[start..end].iter_mut()
    }

    fn set_len(&mut self, len: u64) {
        assert_eq!(len % BLOCK as u64, 0, "a file has whole pages");
        let whole = len as usize / BLOCK;
        self.time += 1;
        let time = self.time;
        self.blocks.iter_mut().skip(whole).for_each(|block| block.cut(time));
        self.note_len(len);
    }

    fn punch(&mut self, offset: u64, len: u64) {
        assert_eq!((offset % BLOCK as u64, len % BLOCK as u64), (0, 0), "a hole has whole pages");
        self.time += 1;
        let time = self.time;
        self.in_range(offset, len).for_each(|block| block.cut(time));
    }

    fn note_len(&mut self, len: u64) {
        if self.lengths.last() != Some(&len) {
            self.lengths.push(len);
        }
        let whole = len as usize / BLOCK;
        self.blocks.resize(self.blocks.len().max(whole), Block::new(0, false));
    }

    fn write(&mut self, offset: usize, mut data: &[u8], pool: &mut Pool) {
        if data.is_empty() {
            return;
        }
        let end = (offset + data.len()).next_multiple_of(BLOCK) as u64;
        let len = *self.lengths.last().expect("the present length");
        self.note_len(len.max(end));
        let mut at = offset;
        self.time += 1;
        while !data.is_empty() {
            let (block, start) = (&mut self.blocks[at / BLOCK], at % BLOCK);
            let part = data.len().min(BLOCK - start);
            let mut bytes = pool.bytes(block.cache).to_vec();
            bytes[start..start + part].copy_from_slice(&data[..part]);
            block.put(pool.add(&bytes), self.time);
            data = &data[part..];
            at += part;
        }
    }
}

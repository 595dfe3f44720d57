//! The simulated disk: what a power cut may leave of a recorded log.
//!
//! Invariants:
//! 1. `versions` of a block are what the disk may hold now, oldest first; never empty.
//! 2. `cache` is what the page cache holds, and what a flush of a dirty block makes durable.
//! 3. `lengths` are what the file's length may be now, oldest first; the last is the present one.

use crate::recorder::Event;
use rand::Rng;
use rand::rngs::StdRng;
use std::collections::HashMap;

/// The unit in which the page cache reaches the disk.
pub const BLOCK: usize = 4096;
const SECTOR: usize = 512;

/// The bytes of one block, by number; equal bytes have equal numbers, zeros have 0.
pub type Content = u32;

/// All contents that were ever seen.
pub struct Pool {
    contents: Vec<Box<[u8]>>,
    by_checksum: HashMap<u32, Vec<Content>>,
}

impl Pool {
    pub fn new() -> Self {
        let mut pool = Pool { contents: Vec::new(), by_checksum: HashMap::new() };
        assert_eq!(pool.add(&[0; BLOCK]), 0);
        pool
    }

    pub fn add(&mut self, bytes: &[u8]) -> Content {
        let known = self.by_checksum.entry(crc32fast::hash(bytes)).or_default();
        if let Some(content) = known.iter().find(|content| *self.contents[**content as usize] == *bytes) {
            return *content;
        }
        known.push(self.contents.len() as Content);
        self.contents.push(bytes.into());
        self.contents.len() as Content - 1
    }

    pub fn bytes(&self, content: Content) -> &[u8] {
        &self.contents[content as usize]
    }

    /// A block of which some sectors are of one version and some of another.
    fn torn(&mut self, first: Content, second: Content, rng: &mut StdRng) -> Content {
        let mut bytes = self.bytes(first).to_vec();
        for at in (0..BLOCK).step_by(SECTOR) {
            if rng.random() {
                bytes[at..at + SECTOR].copy_from_slice(&self.bytes(second)[at..at + SECTOR]);
            }
        }
        self.add(&bytes)
    }
}

/// A file as a power cut left it.
#[derive(Clone, Debug)]
pub struct Image {
    pub len: u64,
    pub blocks: Vec<Content>,
}

impl Image {
    /// Equal for equal files.
    pub fn fingerprint(&self) -> u64 {
        let whole = self.blocks.iter().zip(0u64..).take_while(|(_, at)| at * (BLOCK as u64) < self.len);
        let blocks = whole.filter(|(content, _)| **content != 0);
        blocks.fold(mix(self.len), |hash, (content, at)| hash ^ mix(at << 32 | u64::from(*content) | 1 << 63))
    }
}

fn mix(number: u64) -> u64 {
    let number = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ number >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ number >> 31
}

/// What happens to blocks whose flush fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FailedFlush {
    /// The cache keeps the new bytes and takes them for written: the disk may hold any version, and
    /// no later flush changes that unless the block is written again.
    Keeps,
    /// The same, and blocks that were never flushed before read as zeros from then on, whatever is
    /// written and flushed, until the file is cut below them (ext4's unwritten extents).
    LosesFresh,
}

#[derive(Clone, Debug)]
struct Block {
    versions: Vec<Content>,
    cache: Content,
    dirty: bool,
    was_flushed: bool,
    lost: bool,
    /// Versions before this one are gone with the next flush of anything: the file was cut here.
    cut_at: usize,
}

impl Block {
    fn new(content: Content, was_flushed: bool) -> Self {
        let versions = vec![content];
        Block { versions, cache: content, dirty: false, was_flushed, lost: false, cut_at: 0 }
    }

    fn put(&mut self, content: Content) {
        self.cache = content;
        self.dirty = true;
        if !self.lost {
            self.versions.push(content);
        }
    }

    fn cut(&mut self) {
        self.cut_at = self.versions.len();
        self.versions.push(0);
        (self.cache, self.dirty, self.was_flushed, self.lost) = (0, false, false, false);
    }

    fn flushed(&mut self) {
        if self.dirty && !self.lost {
            self.versions = vec![self.cache];
            self.cut_at = 0;
        }
        // A reserved block that nobody has written stays unwritten.
        self.was_flushed |= self.dirty;
        self.dirty = false;
    }

    fn flush_failed(&mut self, rule: FailedFlush) {
        if self.dirty && !self.was_flushed && rule == FailedFlush::LosesFresh {
            self.lost = true;
            self.versions = vec![0];
            self.cut_at = 0;
        }
        self.dirty = false;
    }

    /// What the disk may hold, each once.
    fn choices(&self) -> Vec<Content> {
        let mut choices = Vec::with_capacity(1);
        for version in &self.versions {
            if !choices.contains(version) {
                choices.push(*version);
            }
        }
        choices
    }
}

/// A disk with one file.
#[derive(Clone, Debug)]
pub struct Disk {
    blocks: Vec<Block>,
    lengths: Vec<u64>,
    rule: FailedFlush,
}

impl Disk {
    /// One on which `image` is durable.
    pub fn holding(image: &Image, rule: FailedFlush) -> Self {
        let blocks = image.blocks.iter().map(|content| Block::new(*content, true)).collect();
        Disk { blocks, lengths: vec![image.len], rule }
    }

    /// One on which there is an empty file.
    pub fn empty() -> Self {
        Disk { blocks: Vec::new(), lengths: vec![0], rule: FailedFlush::Keeps }
    }

    /// What a process sees that opens the file now, without a power cut.
    pub fn cached(&self) -> Image {
        let len = *self.lengths.last().expect("the present length");
        Image { len, blocks: self.blocks.iter().map(|block| block.cache).collect() }
    }

    /// Carries out one event of the log.
    pub fn apply(&mut self, event: &Event, pool: &mut Pool) {
        match event {
            Event::Write { offset, data } => self.write(*offset as usize, data, pool),
            Event::Sync { failed: true, offset, len } => {
                let rule = self.rule;
                self.in_range(*offset, *len).for_each(|block| block.flush_failed(rule));
            }
            Event::Sync { failed: false, offset, len } => {
                // A flush makes the length durable, and with it every earlier cut.
                self.lengths.drain(..self.lengths.len() - 1);
                for block in &mut self.blocks {
                    block.versions.drain(..std::mem::take(&mut block.cut_at));
                }
                self.in_range(*offset, *len).for_each(Block::flushed);
            }
            Event::SetLen { len } => self.set_len(*len),
            Event::Reserve { end } => self.set_len(*end),
            Event::Started(_) | Event::Acknowledged(_) => {}
        }
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
        self.blocks.iter_mut().skip(whole).for_each(Block::cut);
        self.note_len(len);
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
        while !data.is_empty() {
            let (block, start) = (&mut self.blocks[at / BLOCK], at % BLOCK);
            let part = data.len().min(BLOCK - start);
            let mut bytes = pool.bytes(block.cache).to_vec();
            bytes[start..start + part].copy_from_slice(&data[..part]);
            block.put(pool.add(&bytes));
            data = &data[part..];
            at += part;
        }
    }

    /// The images that a cut now may leave: all of them if the uncertain blocks have at most
    /// `all_up_to` combinations, else the extreme ones and `samples` at random; and some with torn blocks.
    pub fn images(
        &self,
        all_up_to: u64,
        samples: usize,
        pool: &mut Pool,
        rng: &mut StdRng,
        visit: &mut dyn FnMut(Image),
    ) {
        let choices: Vec<Vec<Content>> = self.blocks.iter().map(Block::choices).collect();
        let open: Vec<usize> = (0..choices.len()).filter(|at| choices[*at].len() > 1).collect();
        let lengths = self.possible_lengths();
        let oldest: Vec<Content> = choices.iter().map(|choices| choices[0]).collect();
        let combinations = open
            .iter()
            .try_fold(1u64, |all, at| all.checked_mul(choices[*at].len() as u64))
            .unwrap_or(u64::MAX);
        let mut show = |blocks: &[Content], len: u64| visit(Image { len, blocks: blocks.to_vec() });
        if combinations <= all_up_to {
            for number in 0..combinations {
                let (mut blocks, mut rest) = (oldest.clone(), number as usize);
                for at in &open {
                    blocks[*at] = choices[*at][rest % choices[*at].len()];
                    rest /= choices[*at].len();
                }
                lengths.iter().for_each(|len| show(&blocks, *len));
            }
        } else {
            let newest: Vec<Content> = choices.iter().map(|choices| *choices.last().unwrap()).collect();
            let newest_len = *lengths.last().unwrap();
            lengths.iter().for_each(|len| show(&oldest, *len));
            lengths.iter().for_each(|len| show(&newest, *len));
            for sample in 0..samples {
                let len = lengths[rng.random_range(0..lengths.len())];
                let at = open[rng.random_range(0..open.len())];
                match sample % 4 {
                    // One block is missing, or came first.
                    0 => show(&with(&newest, at, oldest[at]), newest_len),
                    1 => show(&with(&oldest, at, newest[at]), len),
                    _ => {
                        let part = rng.random_range(0.05..0.95);
                        let pick = |old: (usize, &Content)| match rng.random_bool(part) {
                            true => choices[old.0][rng.random_range(0..choices[old.0].len())],
                            false => *old.1,
                        };
                        show(&oldest.iter().enumerate().map(pick).collect::<Vec<_>>(), len)
                    }
                }
            }
        }
        for _ in 0..if open.is_empty() { 0 } else { (samples / 3).max(1) } {
            let mut blocks = oldest.clone();
            for at in &open {
                let mut any = || choices[*at][rng.random_range(0..choices[*at].len())];
                let (first, second) = (any(), any());
                blocks[*at] = pool.torn(first, second, rng);
            }
            show(&blocks, *lengths.last().unwrap());
        }
    }

    /// Every length that the file had since the last flush, and one between each two.
    fn possible_lengths(&self) -> Vec<u64> {
        let mut lengths = self.lengths.clone();
        for pair in self.lengths.windows(2) {
            lengths.insert(0, (pair[0] + pair[1]) / 2 / BLOCK as u64 * BLOCK as u64);
        }
        let last = lengths.pop();
        lengths.retain(|len| Some(*len) != last);
        lengths.dedup();
        lengths.extend(last);
        lengths
    }
}

fn with(blocks: &[Content], at: usize, content: Content) -> Vec<Content> {
    let mut blocks = blocks.to_vec();
    blocks[at] = content;
    blocks
}

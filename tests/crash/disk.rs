//! The simulated disk: what a power cut may leave of a recorded log.
//!
//! Owns: the model of the disk, described in [`crate`], and the choice of images that stand for all.
//!
//! Invariants:
//! 1. `versions` of a block are what the disk may hold now, oldest first; never empty.
//! 2. `cache` is what the page cache holds, and what a flush of a dirty block makes durable.
//! 3. `lengths` are what the file's length may be now, oldest first; the last is the present one.

use crate::recorder::Event;
use rand::Rng;
use rand::rngs::StdRng;
use std::collections::{BTreeSet, HashMap};

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
        self.joined(first, second, &mut |_| rng.random())
    }

    /// `first`, but for the sectors that `is_second` names.
    pub fn joined(
        &mut self,
        first: Content,
        second: Content,
        is_second: &mut dyn FnMut(usize) -> bool,
    ) -> Content {
        let mut bytes = self.bytes(first).to_vec();
        for at in (0..BLOCK).step_by(SECTOR) {
            if is_second(at / SECTOR) {
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
    /// When each of them was written: the number of the write.
    written: Vec<u64>,
    cache: Content,
    dirty: bool,
    was_flushed: bool,
    lost: bool,
    /// Versions before this one are gone with the next flush of anything: the file was cut here.
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

    /// What it was after write number `time`, or the oldest that it may be.
    fn as_of(&self, time: u64) -> Content {
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
    blocks: Vec<Block>,
    lengths: Vec<u64>,
    rule: FailedFlush,
    /// Number of writes so far.
    time: u64,
    /// Blocks that a record of the redo log was written to.
    logged: BTreeSet<usize>,
}

/// How many images of a cut are looked at.
#[derive(Clone, Copy, Debug)]
pub struct Amount {
    /// Combinations of uncertain blocks up to which all are tried.
    pub all_up_to: u64,
    /// Samples where there are more.
    pub samples: usize,
}

impl Disk {
    /// One on which `image` is durable.
    pub fn holding(image: &Image, rule: FailedFlush) -> Self {
        let blocks = image.blocks.iter().map(|content| Block::new(*content, true)).collect();
        Disk { blocks, lengths: vec![image.len], rule, time: 0, logged: BTreeSet::new() }
    }

    /// One on which there is an empty file.
    pub fn empty() -> Self {
        Disk::holding(&Image { len: 0, blocks: Vec::new() }, FailedFlush::Keeps)
    }

    /// What a process sees that opens the file now, without a power cut.
    pub fn cached(&self) -> Image {
        let len = *self.lengths.last().expect("the present length");
        Image { len, blocks: self.blocks.iter().map(|block| block.cache).collect() }
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
            Event::Sync { failed: false, offset, len } => {
                // A flush makes the length durable, and with it every earlier cut.
                self.lengths.drain(..self.lengths.len() - 1);
                self.blocks.iter_mut().for_each(Block::forget_before_cut);
                self.in_range(*offset, *len).for_each(Block::flushed);
            }
            Event::SetLen { len } => self.set_len(*len),
            Event::Reserve { end } => self.set_len(*end),
            _ => {}
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
        self.time += 1;
        let time = self.time;
        self.blocks.iter_mut().skip(whole).for_each(|block| block.cut(time));
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

    /// The images that a cut now may leave: all of them if the uncertain blocks have few combinations,
    /// else the extreme ones, those of the log's blocks, and samples; and some with torn blocks.
    pub fn images(&self, amount: Amount, pool: &mut Pool, rng: &mut StdRng, visit: &mut dyn FnMut(Image)) {
        let uncertain = Uncertain::of(self);
        let mut show = |blocks: Vec<Content>, len: u64| visit(Image { len, blocks });
        if uncertain.combinations(&uncertain.open) <= amount.all_up_to {
            uncertain.each(&uncertain.oldest, &uncertain.open, &mut |blocks| {
                uncertain.lengths.iter().for_each(|len| show(blocks.to_vec(), *len));
            });
        } else {
            for len in &uncertain.lengths {
                show(uncertain.oldest.clone(), *len);
                show(uncertain.newest.clone(), *len);
            }
            self.log_images(&uncertain, &mut show);
            (0..amount.samples).for_each(|number| self.sample(number, &uncertain, rng, &mut show));
        }
        if !uncertain.open.is_empty() {
            (0..(amount.samples / 3).max(1)).for_each(|number| uncertain.torn(number, pool, rng, &mut show));
        }
    }

    /// Every combination of the log's blocks, if they are few, with all other blocks old, and new.
    fn log_images(&self, uncertain: &Uncertain, show: &mut dyn FnMut(Vec<Content>, u64)) {
        if uncertain.combinations(&uncertain.logged) <= 16 {
            for others in [&uncertain.oldest, &uncertain.newest] {
                uncertain
                    .each(others, &uncertain.logged, &mut |blocks| show(blocks.to_vec(), uncertain.len()));
            }
        }
    }

    fn sample(
        &self,
        number: usize,
        uncertain: &Uncertain,
        rng: &mut StdRng,
        show: &mut dyn FnMut(Vec<Content>, u64),
    ) {
        let Uncertain { choices, open, oldest, newest, .. } = uncertain;
        let len = uncertain.lengths[rng.random_range(0..uncertain.lengths.len())];
        let at = open[rng.random_range(0..open.len())];
        let mut any = |at: usize| choices[at][rng.random_range(0..choices[at].len())];
        match number % 5 {
            // One block is missing, or came first.
            0 => show(with(newest, at, oldest[at]), uncertain.len()),
            1 => show(with(oldest, at, any(at)), len),
            2 => {
                let others = if any(at) == oldest[at] { oldest } else { newest };
                let mut blocks = others.clone();
                uncertain.logged.iter().for_each(|at| blocks[*at] = any(*at));
                show(blocks, uncertain.len());
            }
            3 => show(self.window(rng), uncertain.len()),
            _ => {
                let part = rng.random_range(0.05..0.95);
                let pick = |old: (usize, &Content)| match rng.random_bool(part) {
                    true => choices[old.0][rng.random_range(0..choices[old.0].len())],
                    false => *old.1,
                };
                show(oldest.iter().enumerate().map(pick).collect(), len);
            }
        }
    }

    /// Everything up to one write is there, of the next few some, and nothing after them.
    fn window(&self, rng: &mut StdRng) -> Vec<Content> {
        let first = rng.random_range(0..=self.time);
        let first = first.max(self.time.saturating_sub(rng.random_range(0..40)));
        let end = (first + rng.random_range(0..6)).min(self.time);
        let pick = |block: &Block| block.as_of(if rng.random() { first } else { end });
        self.blocks.iter().map(pick).collect()
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

/// What a cut leaves open.
struct Uncertain {
    /// What each block may hold, oldest first.
    choices: Vec<Vec<Content>>,
    /// Blocks with a choice.
    open: Vec<usize>,
    /// Those of them that belong to the redo log.
    logged: Vec<usize>,
    oldest: Vec<Content>,
    newest: Vec<Content>,
    /// The present length is the last.
    lengths: Vec<u64>,
}

impl Uncertain {
    fn of(disk: &Disk) -> Self {
        let choices: Vec<Vec<Content>> = disk.blocks.iter().map(Block::choices).collect();
        let open: Vec<usize> = (0..choices.len()).filter(|at| choices[*at].len() > 1).collect();
        let logged = open.iter().copied().filter(|at| disk.logged.contains(at)).collect();
        let oldest = choices.iter().map(|choices| choices[0]).collect();
        let newest = choices.iter().map(|choices| choices[choices.len() - 1]).collect();
        Uncertain { choices, open, logged, oldest, newest, lengths: disk.possible_lengths() }
    }

    fn len(&self) -> u64 {
        self.lengths[self.lengths.len() - 1]
    }

    fn combinations(&self, blocks: &[usize]) -> u64 {
        let factors = blocks.iter().map(|at| self.choices[*at].len() as u64);
        factors.fold(1, u64::saturating_mul)
    }

    /// Every combination of `blocks`, with the others as they are in `others`.
    fn each(&self, others: &[Content], blocks: &[usize], visit: &mut dyn FnMut(&[Content])) {
        let mut contents = others.to_vec();
        for number in 0..self.combinations(blocks) as usize {
            let mut rest = number;
            for at in blocks {
                contents[*at] = self.choices[*at][rest % self.choices[*at].len()];
                rest /= self.choices[*at].len();
            }
            visit(&contents);
        }
    }

    /// All blocks torn, or one of a file that is whole but for it: one of the log, if there is one.
    fn torn(
        &self,
        number: usize,
        pool: &mut Pool,
        rng: &mut StdRng,
        show: &mut dyn FnMut(Vec<Content>, u64),
    ) {
        let (mut blocks, mut torn) = (self.oldest.clone(), &self.open[..]);
        if number % 2 == 1 {
            let some = if self.logged.is_empty() { torn } else { &self.logged };
            let at = rng.random_range(0..some.len());
            (blocks, torn) = (self.newest.clone(), &some[at..=at]);
        }
        for at in torn {
            let mut any = || self.choices[*at][rng.random_range(0..self.choices[*at].len())];
            let (first, second) = (any(), any());
            blocks[*at] = pool.torn(first, second, rng);
        }
        show(blocks, self.len());
    }
}

fn with(blocks: &[Content], at: usize, content: Content) -> Vec<Content> {
    let mut blocks = blocks.to_vec();
    blocks[at] = content;
    blocks
}

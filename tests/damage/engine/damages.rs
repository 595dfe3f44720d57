//! Ways to damage a good file, and what of it the damage hit.

use rand::prelude::*;
use std::ops::Range;

/// Bytes of a disk sector.
const SECTOR: usize = 512;
/// How often a damage that changes nothing is tried again.
const TRIES: usize = 1000;

/// A kind of damage.
#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord)]
pub enum Class {
    OneBit,
    ManyBits,
    Header,
    Zeroed,
    Random,
    Swapped,
    Misplaced,
    Stale,
    StaleSectors,
    Truncated,
    Tail,
    Meta,
    StaleMeta,
    Log,
    Several,
}

impl Class {
    /// All of them.
    pub const ALL: [Class; 15] = [
        Class::OneBit,
        Class::ManyBits,
        Class::Header,
        Class::Zeroed,
        Class::Random,
        Class::Swapped,
        Class::Misplaced,
        Class::Stale,
        Class::StaleSectors,
        Class::Truncated,
        Class::Tail,
        Class::Meta,
        Class::StaleMeta,
        Class::Log,
        Class::Several,
    ];

    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Class::OneBit => "one bit flipped",
            Class::ManyBits => "many bits flipped",
            Class::Header => "bytes of a page header",
            Class::Zeroed => "zeroed pages",
            Class::Random => "random pages",
            Class::Swapped => "swapped pages",
            Class::Misplaced => "a page in another's place",
            Class::Stale => "stale pages",
            Class::StaleSectors => "stale sectors",
            Class::Truncated => "truncation",
            Class::Tail => "garbage at the end",
            Class::Meta => "meta pages",
            Class::StaleMeta => "stale meta pages",
            Class::Log => "the redo log",
            Class::Several => "several at once",
        }
    }
}

/// A file before the damage, and what is known of it.
pub struct Good {
    pub page_size: usize,
    pub bytes: Vec<u8>,
    /// The same file, earlier.
    pub stages: Vec<Vec<u8>>,
    /// Where it says which state is the newest.
    pub slots: Vec<Range<usize>>,
    /// The redo log, if it has one.
    pub log: Vec<Range<usize>>,
}

impl Good {
    /// A file of mapleaf, from what [`super::shapes::Shape::make`] returned.
    pub fn mapleaf(page_size: usize, mut stages: Vec<Vec<u8>>) -> Self {
        let bytes = stages.pop().expect("the good file");
        let log = log_ranges(&bytes, page_size);
        Good { page_size, bytes, stages, slots: vec![0..SECTOR, 4096..4096 + SECTOR], log }
    }

    fn pages(&self) -> usize {
        self.bytes.len() / self.page_size
    }

    fn page(&self, page: usize) -> Range<usize> {
        page * self.page_size..(page + 1) * self.page_size
    }

    /// A page, mostly one that holds something.
    fn some_page(&self, random: &mut StdRng) -> Range<usize> {
        for _ in 0..20 {
            let page = self.page(random.random_range(0..self.pages()));
            if self.bytes[page.clone()].iter().any(|byte| *byte != 0) {
                return page;
            }
        }
        self.page(0)
    }

    /// A piece of `len` bytes, at a multiple of that, which was different in an earlier stage. Which stage.
    fn changed_piece(&self, random: &mut StdRng, len: usize) -> Option<(usize, usize)> {
        for _ in 0..200 {
            let stage = random.random_range(0..self.stages.len());
            let old = &self.stages[stage];
            let at = random.random_range(0..old.len().min(self.bytes.len()) / len) * len;
            if old[at..at + len] != self.bytes[at..at + len] {
                return Some((stage, at));
            }
        }
        None
    }

    /// Whether `damaged` differs from it in any of these ranges.
    pub fn is_hit(&self, damaged: &[u8], ranges: &[Range<usize>]) -> bool {
        ranges.iter().any(|range| damaged.get(range.clone()) != self.bytes.get(range.clone()))
    }
}

/// Byte ranges of the logs that the meta slots of a file of mapleaf name.
fn log_ranges(file: &[u8], page_size: usize) -> Vec<Range<usize>> {
    let word = |at: usize| u64::from_le_bytes(file[at..at + 8].try_into().expect("8 bytes")) as usize;
    let slot = if word(56) > word(4096 + 56) { 0 } else { 4096 };
    let extents = (0..16).map(|i| (word(slot + 136 + 16 * i), word(slot + 144 + 16 * i)));
    let used = extents.filter(|(_, pages)| *pages > 0);
    used.map(|(page, pages)| page * page_size..(page + pages) * page_size).collect()
}

/// The file with a damage of this class; always different from the good one.
pub fn damage(class: Class, good: &Good, random: &mut StdRng) -> Vec<u8> {
    for _ in 0..TRIES {
        let mut file = good.bytes.clone();
        match class {
            Class::Several => {
                for _ in 0..random.random_range(2..5) {
                    let class = Class::ALL[random.random_range(0..Class::ALL.len() - 1)];
                    one_damage(class, good, &mut file, random);
                }
            }
            class => one_damage(class, good, &mut file, random),
        }
        if file != good.bytes {
            return file;
        }
    }
    panic!("no damage of class {class:?} changes anything");
}

fn one_damage(class: Class, good: &Good, file: &mut Vec<u8>, random: &mut StdRng) {
    // What an earlier damage has cut off cannot be damaged further.
    let len = file.len();
    let inside = |range: Range<usize>| range.start.min(len)..range.end.min(len);
    let page = inside(good.some_page(random));
    match class {
        Class::OneBit => flip(file, page, 1, random),
        Class::ManyBits => {
            for _ in 0..random.random_range(1..6) {
                let page = inside(good.some_page(random));
                let count = random.random_range(1..40);
                flip(file, page, count, random);
            }
        }
        Class::Header => {
            let head = page.start..page.end.min(page.start + 80);
            for at in head.choose_multiple(random, 3) {
                file[at] = interesting(random);
            }
        }
        Class::Zeroed => {
            for _ in 0..random.random_range(1..4) {
                file[inside(good.some_page(random))].fill(0);
            }
        }
        Class::Random => random.fill_bytes(&mut file[page]),
        Class::Swapped => {
            let other = inside(good.some_page(random));
            if page.len() == other.len() {
                let bytes = file[page.clone()].to_vec();
                file.copy_within(other.clone(), page.start);
                file[other].copy_from_slice(&bytes);
            }
        }
        Class::Misplaced => {
            let other = inside(good.some_page(random));
            if page.len() == other.len() {
                file.copy_within(other, page.start);
            }
        }
        Class::Stale => {
            for _ in 0..*[1, 1, 1, 2, 5].choose(random).expect("not empty") {
                put_back(good, file, good.page_size, random);
            }
        }
        Class::StaleSectors => {
            for _ in 0..random.random_range(1..6) {
                put_back(good, file, SECTOR, random);
            }
        }
        Class::Truncated => file.truncate(cut_len(good, random).min(len)),
        Class::Tail => garbage_at_the_end(file, random),
        Class::Meta => {
            let both = random.random_bool(0.3);
            let first = random.random_range(0..good.slots.len());
            for (i, slot) in good.slots.iter().enumerate() {
                if both || i == first {
                    damage_slot(&mut file[inside(slot.clone())], random);
                }
            }
        }
        Class::StaleMeta => {
            for _ in 0..random.random_range(1..3) {
                let (from, to) = (good.slots.choose(random), good.slots.choose(random));
                let (from, to) = (from.expect("a slot").clone(), inside(to.expect("a slot").clone()));
                let stage = good.stages.choose(random).expect("an earlier stage");
                if to.len() == from.len() && stage.len() >= from.end {
                    file[to].copy_from_slice(&stage[from]);
                }
            }
        }
        Class::Log => damage_log(good, file, random),
        Class::Several => unreachable!("it consists of others"),
    }
}

fn flip(file: &mut [u8], range: Range<usize>, count: usize, random: &mut StdRng) {
    for _ in 0..count.min(range.len()) {
        file[random.random_range(range.clone())] ^= 1 << random.random_range(0..8);
    }
}

/// A byte with which lengths and counts go wrong.
fn interesting(random: &mut StdRng) -> u8 {
    match random.random_range(0..4) {
        0 => 0,
        1 => 0xff,
        2 => 0x80,
        _ => random.random(),
    }
}

/// Puts back what an earlier stage had in a piece of the file.
fn put_back(good: &Good, file: &mut [u8], len: usize, random: &mut StdRng) {
    if let Some((stage, at)) = good.changed_piece(random, len)
        && at + len <= file.len()
    {
        file[at..at + len].copy_from_slice(&good.stages[stage][at..at + len]);
    }
}

fn cut_len(good: &Good, random: &mut StdRng) -> usize {
    let len = good.bytes.len();
    match random.random_range(0..6) {
        0 => *[0, 1, 511, 512, 4095, 4096, 4608, 8191, 8192, 12_288].choose(random).expect("not empty"),
        1 => random.random_range(0..good.pages()) * good.page_size,
        2 => len - random.random_range(1..good.page_size),
        _ => random.random_range(0..len),
    }
}

fn garbage_at_the_end(file: &mut Vec<u8>, random: &mut StdRng) {
    let extra = match random.random_range(0..3) {
        0 => random.random_range(1..4096),
        1 => 4096 * random.random_range(1..64),
        _ => random.random_range(1..300_000),
    };
    let start = file.len();
    file.resize(start + extra, 0);
    match random.random_range(0..3) {
        0 => {}
        1 => file.copy_within(0..extra.min(start), start),
        _ => random.fill_bytes(&mut file[start..]),
    }
}

fn damage_slot(slot: &mut [u8], random: &mut StdRng) {
    match random.random_range(0..5) {
        0 => slot.fill(0),
        1 => random.fill_bytes(slot),
        2 if !slot.is_empty() => {
            let at = random.random_range(0..slot.len());
            slot[at] ^= 1 << random.random_range(0..8);
        }
        3 => {
            let half = slot.len() / 2;
            slot[half..].fill(0);
        }
        _ => {
            for _ in 0..random.random_range(1..10).min(slot.len()) {
                let at = random.random_range(0..slot.len());
                slot[at] = interesting(random);
            }
        }
    }
}

/// Mostly where the records are, which is at the beginning.
fn damage_log(good: &Good, file: &mut [u8], random: &mut StdRng) {
    let Some(extent) = good.log.choose(random).cloned() else { return };
    let extent = extent.start.min(file.len())..extent.end.min(file.len());
    let records =
        good.bytes[extent.clone()].iter().rposition(|byte| *byte != 0).map_or(SECTOR, |last| last + 1);
    let sectors = records.min(extent.len()) / SECTOR;
    if sectors == 0 {
        return;
    }
    let sector = |random: &mut StdRng| extent.start + random.random_range(0..sectors) * SECTOR;
    let at = sector(random);
    match random.random_range(0..6) {
        0 => flip(file, at..at + SECTOR, 1, random),
        1 => file[at..at + SECTOR].fill(0),
        2 => random.fill_bytes(&mut file[at..at + SECTOR]),
        3 => {
            let stage = good.stages.choose(random).expect("an earlier stage");
            if stage.len() >= at + SECTOR {
                file[at..at + SECTOR].copy_from_slice(&stage[at..at + SECTOR]);
            }
        }
        4 => {
            let other = sector(random);
            let bytes = file[at..at + SECTOR].to_vec();
            file.copy_within(other..other + SECTOR, at);
            file[other..other + SECTOR].copy_from_slice(&bytes);
        }
        _ => swap_records(file, extent, random),
    }
}

/// Two records that follow each other, the other way round; or one twice; or one left out.
fn swap_records(file: &mut [u8], log: Range<usize>, random: &mut StdRng) {
    let mut starts = vec![log.start];
    loop {
        let at = *starts.last().expect("the first");
        let Some(len) = file.get(at + 4..at + 8) else { break };
        let len = u32::from_le_bytes(len.try_into().expect("4 bytes")) as usize;
        if len < 24 || at + len > log.end {
            break;
        }
        starts.push(at + len);
    }
    if starts.len() < 3 {
        return;
    }
    let i = random.random_range(0..starts.len() - 2);
    let (first, second, end) = (starts[i], starts[i + 1], starts[i + 2]);
    match random.random_range(0..3) {
        0 => file[first..end].rotate_left(second - first),
        1 => file.copy_within(second..log.end, first),
        _ => file.copy_within(first..log.end - (second - first), second),
    }
}

/// Puts the checksums of meta slots, pages and log records right.
pub fn fix_checksums(good: &Good, file: &mut [u8]) {
    let crc = |bytes: &[u8]| crc32fast::hash(bytes).to_le_bytes();
    for slot in [0, 4096] {
        if file.len() >= slot + SECTOR {
            let checksum = crc(&file[slot + 12..slot + SECTOR]);
            file[slot + 8..slot + 12].copy_from_slice(&checksum);
        }
    }
    let first = 8192usize.div_ceil(good.page_size);
    let pages = file.chunks_exact_mut(good.page_size).zip(good.bytes.chunks_exact(good.page_size));
    // Large values and the log have no headers.
    for (page, _) in pages.skip(first).filter(|(_, before)| before[..4] == crc(&before[4..])) {
        let checksum = crc(&page[4..]);
        page[..4].copy_from_slice(&checksum);
    }
    fix_log(file, good.page_size);
}

/// Puts the chain of checksums right, in the first extent of the log.
fn fix_log(file: &mut [u8], page_size: usize) {
    let word =
        |at: usize| file.get(at..at + 8).map(|word| u64::from_le_bytes(word.try_into().expect("8 bytes")));
    let slot = if word(56) > word(4096 + 56) { 0 } else { 4096 };
    let (Some(seed), Some(page), Some(pages)) = (word(slot + 128), word(slot + 136), word(slot + 144)) else {
        return;
    };
    let start = (page as usize).saturating_mul(page_size).min(file.len());
    let end = start.saturating_add((pages as usize).saturating_mul(page_size)).min(file.len());
    let (mut at, mut chain) = (start, seed);
    while at + 24 <= end {
        let number = |from: usize| u32::from_le_bytes(file[from..from + 4].try_into().expect("4 bytes"));
        let (len, txn) = (number(at + 4) as usize, number(at + 8));
        if len < 24 || at + len > end {
            break;
        }
        let checksum = crc32fast::hash(&[&chain.to_le_bytes()[..], &file[at + 4..at + len]].concat());
        file[at..at + 4].copy_from_slice(&checksum.to_le_bytes());
        chain = u64::from(txn) << 32 ^ u64::from(checksum);
        at += len;
    }
}

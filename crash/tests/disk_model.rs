//! The disk model against brute force: a disk whose cache writes blocks back whenever it likes, played through in
//! every possible way. What it can hold in the end must be exactly what [`Disk::images`] builds.
//!
//! The model says what the disk *may hold*; the brute force says what *happens*: before and after every event any
//! dirty block may reach the disk, a truncation may or may not, a failed flush may have written any of its blocks.

use mapleaf_crash::{Amount, BLOCK, Disk, Event, FailedFlush, Image, Pool, SECTOR};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::BTreeSet;

const BLOCKS: usize = 3;
/// More than any of these logs has combinations.
const ALL: Amount = Amount { all_up_to: u64::MAX, samples: 0 };

/// One block: on the disk, and in the cache.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Cell {
    disk: u8,
    cache: u8,
    dirty: bool,
    /// A truncation took it, and has not reached the disk yet.
    cut: bool,
    /// Whether its space was ever written to, and what happens where that fails.
    was_flushed: bool,
    lost: bool,
}

const UNUSED: Cell = Cell { disk: 0, cache: 0, dirty: false, cut: false, was_flushed: false, lost: false };

/// One way in which everything may have happened.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Way {
    cells: [Cell; BLOCKS],
    /// The file's lengths in blocks, of which any may be the one on the disk; the last is the present one.
    lengths: Vec<usize>,
}

impl Way {
    fn len(&self) -> usize {
        self.lengths[self.lengths.len() - 1]
    }

    fn set_len(&mut self, len: usize) {
        if self.len() != len {
            self.lengths.push(len);
        }
    }
}

/// Everything that may happen by itself.
fn rest(ways: BTreeSet<Way>) -> BTreeSet<Way> {
    let mut all = ways.clone();
    let mut open: Vec<Way> = ways.into_iter().collect();
    while let Some(way) = open.pop() {
        for at in 0..BLOCKS {
            let mut next = way.clone();
            let cell = &mut next.cells[at];
            if cell.cut {
                // The truncation reaches the disk first.
                (cell.disk, cell.cut) = (0, false);
            } else if cell.dirty && !cell.lost {
                cell.disk = cell.cache;
            }
            if all.insert(next.clone()) {
                open.push(next);
            }
        }
    }
    all
}

/// What the event itself does, in one or several ways.
fn carry_out(way: &Way, event: &Event, rule: FailedFlush) -> Vec<Way> {
    let mut next = way.clone();
    match event {
        Event::Write { offset, data } => {
            let at = *offset as usize / BLOCK;
            (next.cells[at].cache, next.cells[at].dirty) = (data[0], true);
            next.set_len(way.len().max(at + 1));
        }
        Event::SetLen { len } | Event::Reserve { end: len } => {
            let len = *len as usize / BLOCK;
            for cell in &mut next.cells[len..] {
                *cell = Cell { disk: cell.disk, cut: true, ..UNUSED };
            }
            next.set_len(len);
        }
        Event::Sync { offset, len, failed: false } => {
            next.lengths.drain(..next.lengths.len() - 1);
            for cell in next.cells.iter_mut().filter(|cell| cell.cut) {
                (cell.disk, cell.cut) = (0, false);
            }
            for cell in in_range(&mut next.cells, *offset, *len).iter_mut().filter(|cell| cell.dirty) {
                if !cell.lost {
                    cell.disk = cell.cache;
                }
                (cell.dirty, cell.was_flushed) = (false, true);
            }
        }
        Event::Sync { offset, len, failed: true } => {
            for cell in in_range(&mut next.cells, *offset, *len).iter_mut().filter(|cell| cell.dirty) {
                if !cell.was_flushed && rule == FailedFlush::LosesFresh {
                    (cell.disk, cell.lost, cell.cut) = (0, true, false);
                }
                cell.dirty = false;
            }
        }
        other => panic!("{other:?}"),
    }
    vec![next]
}

fn in_range(cells: &mut [Cell; BLOCKS], offset: u64, len: u64) -> &mut [Cell] {
    let end = ((offset + len) as usize).div_ceil(BLOCK).min(BLOCKS);
    &mut cells[(offset as usize / BLOCK).min(end)..end]
}

/// Every file that a cut behind `log` can leave, as the first bytes of its blocks.
fn by_brute_force(log: &[Event], rule: FailedFlush) -> BTreeSet<Vec<u8>> {
    let first = Way { cells: [UNUSED; BLOCKS], lengths: vec![0] };
    let mut ways = rest(BTreeSet::from([first]));
    for event in log {
        ways = rest(ways.iter().flat_map(|way| carry_out(way, event, rule)).collect());
    }
    let files = |way: &Way| {
        let bytes: Vec<u8> = way.cells.iter().map(|cell| cell.disk).collect();
        let between = way.lengths.windows(2).map(|pair| (pair[0] + pair[1]) / 2);
        let lengths: Vec<usize> = way.lengths.iter().copied().chain(between).collect();
        lengths.into_iter().map(|len| bytes[..len].to_vec()).collect::<Vec<_>>()
    };
    ways.iter().flat_map(files).collect()
}

fn images(log: &[Event], rule: FailedFlush, amount: Amount, pool: &mut Pool) -> Vec<Image> {
    let mut disk = Disk::holding(&Image::default(), rule);
    log.iter().for_each(|event| disk.apply(event, pool));
    let (mut images, mut rng) = (Vec::new(), StdRng::seed_from_u64(1));
    disk.images(amount, pool, &mut rng, &mut |image| images.push(image));
    images
}

/// A log of some operations on whole blocks.
fn random_log(rng: &mut StdRng) -> Vec<Event> {
    let (mut log, mut len) = (Vec::new(), 0);
    for number in 0..rng.random_range(1..8) {
        let at = rng.random_range(0..BLOCKS);
        let offset = (at * BLOCK) as u64;
        log.push(match rng.random_range(0..9) {
            0..4 => Event::Write { offset, data: vec![number + 1; BLOCK] },
            4 | 5 => Event::Sync { offset, len: rng.random_range(1..3) * BLOCK as u64, failed: false },
            6 => Event::Sync { offset, len: rng.random_range(1..3) * BLOCK as u64, failed: true },
            7 => Event::SetLen { len: offset },
            _ => Event::Reserve { end: len.max(offset) },
        });
        match log[log.len() - 1] {
            Event::Write { .. } => len = len.max(offset + BLOCK as u64),
            Event::SetLen { len: new } | Event::Reserve { end: new } => len = new,
            _ => {}
        }
    }
    log
}

fn brief(log: &[Event]) -> Vec<String> {
    log.iter()
        .map(|event| match event {
            Event::Write { offset, data } => format!("write {} at {}", data[0], offset / BLOCK as u64),
            other => format!("{other:?}"),
        })
        .collect()
}

#[test]
fn the_images_are_exactly_what_a_disk_may_hold() {
    let first = std::env::var("MAPLEAF_SEED").map_or(0, |seed| seed.parse().unwrap());
    let (mut logs, mut files) = (0, 0);
    for seed in first..first + 3000 {
        let log = random_log(&mut StdRng::seed_from_u64(seed));
        for rule in [FailedFlush::Keeps, FailedFlush::LosesFresh] {
            let mut pool = Pool::default();
            // The first image of a torn block comes behind all others.
            let all = images(&log, rule, ALL, &mut pool);
            let whole = |file: &Vec<u8>| file.chunks(BLOCK).all(|block| block.iter().all(|b| *b == block[0]));
            let built = all.iter().map(|image| pool.file(image)).filter(whole);
            let built: BTreeSet<Vec<u8>> =
                built.map(|file| file.chunks(BLOCK).map(|block| block[0]).collect()).collect();
            let expected = by_brute_force(&log, rule);
            assert_eq!(built, expected, "seed {seed}, {rule:?}: {:#?}", brief(&log));
            (logs, files) = (logs + 1, files + expected.len());
        }
    }
    println!("{logs} logs, {files} files");
    assert!(files > 3 * logs);
}

#[test]
fn samples_and_torn_blocks_are_made_of_what_the_disk_may_hold() {
    for seed in 0..500 {
        let log = random_log(&mut StdRng::seed_from_u64(seed));
        let mut pool = Pool::default();
        let all = images(&log, FailedFlush::Keeps, ALL, &mut pool);
        let all: Vec<Vec<u8>> = all.iter().map(|image| pool.file(image)).collect();
        let sectors = |at: usize| all.iter().filter_map(move |file| file.get(at..at + SECTOR));
        for image in images(&log, FailedFlush::Keeps, Amount { all_up_to: 1, samples: 30 }, &mut pool) {
            let file = pool.file(&image);
            for at in (0..file.len()).step_by(SECTOR) {
                let sector = &file[at..at + SECTOR];
                assert!(sectors(at).any(|one| one == sector), "seed {seed}, {at}: {:#?}", brief(&log));
            }
        }
    }
}

#[test]
fn few_combinations_are_tried_all_and_many_are_sampled() {
    let write = |at: usize| Event::Write { offset: (at * BLOCK) as u64, data: vec![1; BLOCK] };
    let flush = Event::Sync { offset: 0, len: (12 * BLOCK) as u64, failed: false };
    let log: Vec<Event> =
        [Event::SetLen { len: 12 * BLOCK as u64 }, flush].into_iter().chain((0..10).map(write)).collect();
    let count = |all_up_to| {
        let mut pool = Pool::default();
        let images = images(&log, FailedFlush::Keeps, Amount { all_up_to, samples: 30 }, &mut pool);
        images.iter().map(Image::fingerprint).collect::<BTreeSet<_>>().len()
    };
    assert!(count(1024) >= 1024, "2^10, and torn ones");
    assert!((10..60).contains(&count(1023)));
}

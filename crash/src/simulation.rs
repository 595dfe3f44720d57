//! Cutting the power at every place of a log.
//!
//! Owns: [`Simulation`], for tests that judge each file by a closure. Promises: every place where the disk's
//! choices can differ is cut; the same file is shown twice only where more is acknowledged or started.

use crate::choice::Amount;
use crate::disk::{Disk, FailedFlush};
use crate::event::Event;
use crate::memory_directory;
use crate::pool::{Image, Pool};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::HashSet;
use std::path::Path;

const DEFAULT_SEED: u64 = 0x6d61_706c;

/// A file that a power cut may have left.
#[derive(Clone, Copy, Debug)]
pub struct Cut<'c> {
    /// The file, alone in its directory. What is done to it is gone with the next one.
    pub path: &'c Path,
    /// The power was cut before this event of the log.
    pub event: usize,
    /// The largest number that was acknowledged before; 0 if none.
    pub acknowledged: u64,
    /// The largest number that was started before; 0 if none.
    pub started: u64,
    /// What the choice of images followed; the environment variable `MAPLEAF_SEED` sets it.
    pub seed: u64,
}

/// A log, and the disk on which it is carried out.
pub struct Simulation {
    log: Vec<Event>,
    pool: Pool,
    disk: Disk,
    amount: Amount,
    seed: u64,
}

impl Simulation {
    /// The power is cut at every place of `log`, which begins without a file.
    pub fn new(log: Vec<Event>) -> Self {
        let given = std::env::var("MAPLEAF_SEED").ok().and_then(|seed| seed.parse().ok());
        Simulation {
            log,
            pool: Pool::default(),
            disk: Disk::empty(),
            amount: Amount { all_up_to: 256, samples: 20 },
            seed: given.unwrap_or(DEFAULT_SEED),
        }
    }

    /// The log begins with a file that holds these bytes, all on the disk; failed flushes follow `rule`.
    #[must_use]
    pub fn beginning_with(mut self, file: &[u8], rule: FailedFlush) -> Self {
        let image = self.pool.image(file);
        self.disk = Disk::holding(&image, rule);
        self
    }

    /// How many images are looked at, at each place.
    #[must_use]
    pub fn amount(mut self, amount: Amount) -> Self {
        self.amount = amount;
        self
    }

    /// The disk lies about flushes from the beginning.
    #[must_use]
    pub fn lying(mut self) -> Self {
        self.disk.lie();
        self
    }

    /// Shows every image to `judge`. Returns how many it has shown.
    pub fn each_image(&mut self, mut judge: impl FnMut(&Cut<'_>)) -> u64 {
        let directory = memory_directory();
        let path = directory.path().join("image.maple");
        let mut rng = StdRng::seed_from_u64(self.seed);
        let (mut disk, mut seen, mut shown) = (self.disk.clone(), HashSet::new(), 0);
        let (mut acknowledged, mut started) = (0, 0);
        for at in 0..=self.log.len() {
            let event = self.log.get(at);
            if !event.is_some_and(Event::is_mark) {
                for image in images(&disk, self.amount, &mut self.pool, &mut rng) {
                    if seen.insert((image.fingerprint(), acknowledged, started)) {
                        lay_out(&self.pool.file(&image), &path);
                        judge(&Cut { path: &path, event: at, acknowledged, started, seed: self.seed });
                        shown += 1;
                    }
                }
            }
            match event {
                Some(Event::Started(number)) => started = started.max(*number),
                Some(Event::Acknowledged(number)) => acknowledged = acknowledged.max(*number),
                Some(event) => disk.apply(event, &mut self.pool),
                None => {}
            }
        }
        shown
    }
}

fn images(disk: &Disk, amount: Amount, pool: &mut Pool, rng: &mut StdRng) -> Vec<Image> {
    let (mut images, mut own) = (Vec::new(), StdRng::seed_from_u64(rng.random()));
    disk.images(amount, pool, &mut own, &mut |image| images.push(image));
    images
}

/// The file, and nothing beside it.
fn lay_out(bytes: &[u8], path: &Path) {
    let directory = path.parent().expect("it is in a directory");
    for entry in std::fs::read_dir(directory).expect("it is readable").flatten() {
        std::fs::remove_file(entry.path()).expect("it can be emptied");
    }
    std::fs::write(path, bytes).expect("an image is written");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::BLOCK;

    fn write(block: usize, byte: u8) -> Event {
        Event::Write { offset: (block * BLOCK) as u64, data: vec![byte; BLOCK] }
    }

    #[test]
    fn each_file_is_shown_with_what_was_acknowledged_before_it() {
        let flush = Event::Sync { offset: 0, len: BLOCK as u64, failed: false };
        let log = vec![
            Event::Started(1),
            write(0, 1),
            flush,
            Event::Acknowledged(1),
            Event::Started(2),
            write(0, 2),
        ];
        let mut shown = Vec::new();
        let count = Simulation::new(log).each_image(|cut| {
            let bytes = std::fs::read(cut.path).unwrap();
            let first = bytes.first().copied();
            if bytes.iter().all(|byte| Some(*byte) == first) {
                shown.push((cut.event, first, cut.acknowledged, cut.started));
            }
        });
        assert!(count as usize >= shown.len());
        let expected = [
            (1, None, 0, 1),
            (2, None, 0, 1),
            (2, Some(0), 0, 1),
            (2, Some(1), 0, 1),
            (5, Some(1), 1, 2),
            (6, Some(2), 1, 2),
        ];
        shown.retain(|one| one.0 != 2);
        assert_eq!(shown, expected.into_iter().filter(|one| one.0 != 2).collect::<Vec<_>>());
    }

    #[test]
    fn what_a_lying_disk_was_told_to_flush_may_be_missing() {
        let flush = Event::Sync { offset: 0, len: BLOCK as u64, failed: false };
        let log = vec![write(0, 1), flush, Event::Acknowledged(1)];
        let lost = |simulation: Simulation| {
            let mut lost = 0;
            let mut simulation = simulation;
            simulation.each_image(|cut| {
                let is_lost = std::fs::read(cut.path).unwrap().first() != Some(&1);
                lost += u32::from(cut.acknowledged == 1 && is_lost);
            });
            lost
        };
        assert_eq!(lost(Simulation::new(log.clone())), 0);
        assert!(lost(Simulation::new(log).lying()) > 0);
    }
}

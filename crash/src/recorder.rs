//! The recording disk: an [`Observer`] that logs every operation and may make some of them fail.
//!
//! Owns: the log of events, in memory or in a file that several processes append to in turn; and the
//! faults: an error, a short write, a cache that forgets, the death of the process.
//!
//! Operations of several threads are logged one at a time, in the order in which each of them began; that is an order
//! in which they may have taken effect.

use crate::disk::{Disk, FailedFlush};
use crate::event::Event;
use crate::pool::{BLOCK, Content, Image, Pool};
use mapleaf::{Observer, Op, Verdict};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::fs::File;
use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// More failures than any store may run into: it tries again for ever.
const MAX_HITS: usize = 100_000;

/// How an operation fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Failure {
    /// EIO.
    Io,
    /// ENOSPC, of what takes space: writes and growth. Flushes and truncation work.
    Full,
    /// EIO, of flushes. Everything else works.
    Flush,
    /// A write takes only so many bytes, which is no failure.
    Short(usize),
}

/// A page cache that forgets what could not be flushed.
struct Reverting {
    /// The file in which the running process is to see that.
    path: PathBuf,
    /// What was on the disk when the log began.
    pool: Pool,
    before: Image,
}

#[derive(Default)]
struct State {
    log: Vec<Event>,
    stream: Option<(File, PathBuf)>,
    ops: usize,
    fault: Option<(Range<usize>, Failure)>,
    death: Option<usize>,
    /// A block that cannot be written, and whether the cache has something for it.
    bad: Option<(u64, bool)>,
    reverting: Option<Reverting>,
    reverts: usize,
    hits: usize,
    hit: Option<(usize, String)>,
}

impl State {
    /// Whether the operation flushes what was written to the bad block.
    fn hits_bad_block(&mut self, op: &Op<'_>) -> bool {
        let Some((block, dirty)) = &mut self.bad else { return false };
        let overlaps = |offset: u64, len: u64| offset < *block + 4096 && offset + len > *block;
        match op {
            Op::Write { offset, data } => {
                let len: usize = data.iter().map(|slice| slice.len()).sum();
                *dirty |= overlaps(*offset, len as u64);
                false
            }
            Op::Sync { offset, len } if overlaps(*offset, *len) => std::mem::take(dirty),
            _ => false,
        }
    }

    /// The errno with which the operation fails, if it does.
    fn error_of(&mut self, op: &Op<'_>, failure: Option<Failure>) -> Option<i32> {
        let takes_space = matches!(op, Op::Write { .. } | Op::Reserve { .. });
        match failure {
            Some(Failure::Io) => Some(libc::EIO),
            Some(Failure::Full) if takes_space => Some(libc::ENOSPC),
            Some(Failure::Flush) if matches!(op, Op::Sync { .. }) => Some(libc::EIO),
            _ => self.hits_bad_block(op).then_some(libc::EIO),
        }
    }

    fn push(&mut self, event: Event) {
        match &mut self.stream {
            Some((stream, _)) => stream.write_all(&event.encode()).expect("the log is written"),
            None => self.log.push(event),
        }
    }

    fn events(&self) -> Vec<Event> {
        match &self.stream {
            Some((_, path)) => Event::decode_all(&std::fs::read(path).expect("the log is readable")),
            None => self.log.clone(),
        }
    }

    /// Puts the dirty blocks of the range back to what is on the disk, in the file that the process reads: at even
    /// operations to what was flushed last, at odd ones each to any version, as if some had been written before.
    fn revert(&mut self, offset: u64, len: u64) {
        let events = self.events();
        let Some(Reverting { path, pool, before }) = &mut self.reverting else { return };
        // What is still without a name is gone with the call that failed.
        let Ok(file) = File::options().write(true).open(path) else { return };
        let mut disk = Disk::holding(before, FailedFlush::Keeps);
        events.iter().for_each(|event| disk.apply(event, pool));
        let mut rng = StdRng::seed_from_u64(self.ops as u64);
        let any = self.ops.is_multiple_of(2);
        let mut pick =
            |versions: &[Content]| versions[if any { rng.random_range(0..versions.len()) } else { 0 }];
        let reverted: Vec<Event> = disk
            .dirty(offset, len)
            .map(|(at, versions)| ((at * BLOCK) as u64, pool.bytes(pick(versions)).to_vec()))
            .map(|(offset, data)| Event::Reverted { offset, data })
            .collect();
        for event in &reverted {
            let Event::Reverted { offset, data } = event else { unreachable!("they are built above") };
            file.write_all_at(data, *offset).expect("the file can be written to");
        }
        self.reverts += usize::from(!reverted.is_empty());
        self.push(Event::Sync { offset, len, failed: true });
        reverted.into_iter().for_each(|event| self.push(event));
    }
}

/// Records what one open store does to its file.
#[derive(Default)]
pub struct Recorder {
    state: Mutex<State>,
}

impl Recorder {
    /// One whose operations with these numbers fail, counted from 0. For ever: `k..usize::MAX`.
    pub fn failing(numbers: Range<usize>, failure: Failure) -> Self {
        let recorder = Recorder::default();
        recorder.locked().fault = Some((numbers, failure));
        recorder
    }

    /// One that appends its log to the file at `path`, event by event.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn streaming(path: &Path) -> io::Result<Self> {
        let recorder = Recorder::default();
        let stream = File::options().append(true).create(true).open(path)?;
        recorder.locked().stream = Some((stream, path.to_owned()));
        Ok(recorder)
    }

    /// The same recorder, on a system whose page cache forgets what a failed flush could not write (btrfs): every
    /// dirty block of its range is as it is on the disk, in the file at `store` too, so that the process reads it. That
    /// is what was flushed last; in every other failure each block may also be any later version.
    /// What that file holds when the log begins, given as `before`, counts as flushed; nothing where it is created.
    #[must_use]
    pub fn reverting(self, store: &Path, before: &[u8]) -> Self {
        let mut pool = Pool::default();
        let before = pool.image(before);
        self.locked().reverting = Some(Reverting { path: store.to_owned(), pool, before });
        self
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds to the log what only the application knows.
    pub fn note(&self, event: Event) {
        self.locked().push(event);
    }

    /// The log so far.
    pub fn log(&self) -> Vec<Event> {
        self.locked().events()
    }

    /// Kills the process before it carries out operation `number`, counted from now on.
    pub fn die_at(&self, number: usize) {
        let mut state = self.locked();
        state.death = Some(state.ops + number);
    }

    /// Lets operation `number`, counted from now on, fail.
    pub fn fail_at(&self, number: usize) {
        let mut state = self.locked();
        let number = state.ops + number;
        state.fault = Some((number..number + 1, Failure::Io));
    }

    /// From now on, no operation fails.
    pub fn heal(&self) {
        self.locked().fault = None;
    }

    /// Whether the next operation may fail.
    pub fn is_failing(&self) -> bool {
        let state = self.locked();
        state.fault.as_ref().is_some_and(|(at, _)| at.contains(&state.ops))
    }

    /// From now on, the block in which `event` has written cannot be.
    ///
    /// # Panics
    /// When the event is no write.
    pub fn set_bad_block(&self, event: &Event) {
        let Event::Write { offset, .. } = event else { panic!("{event:?}") };
        self.locked().bad = Some((offset / 4096 * 4096, false));
    }

    /// Number of operations so far.
    pub fn ops(&self) -> usize {
        self.locked().ops
    }

    /// How many operations a failure was injected into.
    pub fn hits(&self) -> usize {
        self.locked().hits
    }

    /// How many flushes have put something back.
    pub fn reverts(&self) -> usize {
        self.locked().reverts
    }

    /// Where in the log the first failure was injected, and into what.
    pub fn hit(&self) -> Option<(usize, String)> {
        self.locked().hit.clone()
    }
}

impl Observer for Recorder {
    fn before(&self, op: &Op<'_>) -> Verdict {
        let mut state = self.locked();
        let number = state.ops;
        state.ops += 1;
        if state.death == Some(number) {
            die();
        }
        let fault = state.fault.as_ref().filter(|(at, _)| at.contains(&number)).map(|(_, failure)| *failure);
        let error = state.error_of(op, fault);
        let at = state.log.len();
        match op {
            Op::Sync { offset, len } if error.is_some() && state.reverting.is_some() => {
                state.revert(*offset, *len);
            }
            _ => Event::of(op, error.is_some()).into_iter().for_each(|event| state.push(event)),
        }
        let verdict = match (error, fault) {
            (Some(error), _) => Verdict::Fail(io::Error::from_raw_os_error(error)),
            (None, Some(Failure::Short(len))) if matches!(op, Op::Write { .. }) => Verdict::Short(len),
            _ => return Verdict::Proceed,
        };
        state.hits += 1;
        assert!(state.hits != MAX_HITS, "the store tries again for ever");
        state.hit.get_or_insert_with(|| (at, describe(op)));
        verdict
    }
}

fn die() -> ! {
    let own = rustix::process::getpid();
    rustix::process::kill_process(own, rustix::process::Signal::KILL).expect("it may kill itself");
    unreachable!("it was killed");
}

fn describe(op: &Op<'_>) -> String {
    match op {
        Op::Write { offset, data } => {
            format!("write of {} at {offset}", data.iter().map(|slice| slice.len()).sum::<usize>())
        }
        Op::Sync { offset, len } => format!("flush of {len} at {offset}"),
        Op::SetLen { len } => format!("truncation to {len}"),
        Op::Reserve { offset, len } => format!("growth by {len} from {offset}"),
        Op::Punch { offset, len } => format!("hole of {len} at {offset}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::IoSlice;

    fn write(recorder: &Recorder, file: &File, block: usize, byte: u8) {
        let (offset, data) = ((block * BLOCK) as u64, vec![byte; BLOCK]);
        let verdict = recorder.before(&Op::Write { offset, data: &[IoSlice::new(&data)] });
        assert!(matches!(verdict, Verdict::Proceed));
        file.write_all_at(&data, offset).unwrap();
    }

    fn flush(recorder: &Recorder, len: usize) -> bool {
        matches!(recorder.before(&Op::Sync { offset: 0, len: len as u64 }), Verdict::Proceed)
    }

    #[test]
    fn a_failed_flush_puts_the_blocks_of_its_range_back_in_the_file_and_in_the_log() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store");
        std::fs::write(&path, vec![9; 3 * BLOCK]).unwrap();
        let file = File::options().write(true).open(&path).unwrap();
        let recorder = Recorder::default().reverting(&path, &[9; 3 * BLOCK]);
        write(&recorder, &file, 0, 1);
        assert!(flush(&recorder, BLOCK));
        (0..3).for_each(|block| write(&recorder, &file, block, 2));
        write(&recorder, &file, 0, 3);
        recorder.fail_at(0);
        assert!(recorder.ops().is_multiple_of(2) && !flush(&recorder, 2 * BLOCK) && recorder.reverts() == 1);
        let now: Vec<u8> = std::fs::read(&path).unwrap().chunks(BLOCK).map(|block| block[0]).collect();
        assert_eq!(now, [1, 9, 2]);
        let mut disk = Disk::holding(&Image::default(), FailedFlush::Keeps);
        let mut pool = Pool::default();
        disk.apply(&Event::Write { offset: 0, data: vec![9; 3 * BLOCK] }, &mut pool);
        recorder.log().iter().for_each(|event| disk.apply(event, &mut pool));
        assert_eq!(pool.file(&disk.cached()), std::fs::read(&path).unwrap(), "the log says so");
    }

    #[test]
    fn from_the_failing_operation_on_those_fail_that_the_failure_is_for() {
        let data = [0; 8];
        let slices = [IoSlice::new(&data)];
        let ops = [
            Op::Write { offset: 0, data: &slices },
            Op::Sync { offset: 0, len: 8 },
            Op::SetLen { len: 0 },
            Op::Reserve { offset: 0, len: 4096 },
        ];
        let failing = |failure| {
            let recorder = Recorder::failing(4..usize::MAX, failure);
            let fails = |op: &Op<'_>| matches!(recorder.before(op), Verdict::Fail(_));
            assert!(!ops.iter().any(fails));
            [fails(&ops[0]), fails(&ops[1]), fails(&ops[2]), fails(&ops[3])]
        };
        assert_eq!(failing(Failure::Io), [true; 4]);
        assert_eq!(failing(Failure::Flush), [false, true, false, false]);
        assert_eq!(failing(Failure::Full), [true, false, false, true]);
    }
}

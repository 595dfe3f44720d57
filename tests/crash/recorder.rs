//! The recording disk: an [`Observer`] that logs every operation and may make one of them fail.
//!
//! Owns: the log of events, in memory or in a file that several processes append to in turn; and the
//! faults: an error, a short write, the death of the process.

use mapleaf::{Observer, Op, Verdict};
use std::fs::File;
use std::io::{self, Write};
use std::sync::Mutex;

/// One entry of the log.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The bytes reached the page cache.
    Write { offset: u64, data: Vec<u8> },
    /// A flush was asked for; `failed` if it returned an error.
    Sync { offset: u64, len: u64, failed: bool },
    /// The file got this length, by truncation or by growth.
    SetLen { len: u64 },
    /// Blocks were reserved up to this length.
    Reserve { end: u64 },
    /// The commit of this txn was asked for.
    Started(u64),
    /// This txn is on the disk: the call that waits for it returned success.
    Acknowledged(u64),
    /// This txn is seen by readers, but need not be on the disk.
    Committed(u64),
    /// The commit of this txn returned an error.
    Failed(u64),
    /// The next turn has begun: what failed before it is gone for good.
    Settled,
}

impl Event {
    /// Whether the disk has nothing to do with it.
    pub fn is_mark(&self) -> bool {
        !matches!(
            self,
            Event::Write { .. } | Event::Sync { .. } | Event::SetLen { .. } | Event::Reserve { .. }
        )
    }

    /// Whether it writes to the redo log, by the look of it: neither whole pages nor a meta slot.
    pub fn is_record(&self) -> bool {
        let Event::Write { offset, data } = self else { return false };
        let whole_pages = offset % 4096 == 0 && data.len() % 4096 == 0;
        !whole_pages && !self.is_meta_write() && data.len() % 8 == 0
    }

    /// Whether it writes a meta slot.
    pub fn is_meta_write(&self) -> bool {
        matches!(self, Event::Write { offset, data } if data.len() == 512 && [0, 4096].contains(offset))
    }

    /// Whether it flushes a meta slot.
    pub fn is_meta_flush(&self) -> bool {
        matches!(self, Event::Sync { offset: 0 | 4096, len: 512, .. })
    }

    fn encode(&self) -> Vec<u8> {
        let (kind, numbers, data): (u8, [u64; 2], &[u8]) = match self {
            Event::Write { offset, data } => (0, [*offset, 0], data),
            Event::Sync { offset, len, failed: false } => (1, [*offset, *len], &[]),
            Event::Sync { offset, len, failed: true } => (2, [*offset, *len], &[]),
            Event::SetLen { len } => (3, [*len, 0], &[]),
            Event::Reserve { end } => (4, [*end, 0], &[]),
            Event::Started(txn) => (5, [*txn, 0], &[]),
            Event::Acknowledged(txn) => (6, [*txn, 0], &[]),
            Event::Committed(txn) => (7, [*txn, 0], &[]),
            Event::Failed(txn) => (8, [*txn, 0], &[]),
            Event::Settled => (9, [0, 0], &[]),
        };
        let numbers = [numbers[0], numbers[1], data.len() as u64].map(u64::to_le_bytes).concat();
        [&[kind][..], &numbers, data].concat()
    }

    /// The events in a file that recorders have written.
    pub fn decode_all(mut bytes: &[u8]) -> Vec<Event> {
        let mut events = Vec::new();
        while let Some((head, rest)) = bytes.split_at_checked(25) {
            let number = |at: usize| u64::from_le_bytes(*head[at..].first_chunk().expect("8 bytes"));
            let (a, b, (data, rest)) = (number(1), number(9), rest.split_at(number(17) as usize));
            events.push(match head[0] {
                0 => Event::Write { offset: a, data: data.to_vec() },
                1 | 2 => Event::Sync { offset: a, len: b, failed: head[0] == 2 },
                3 => Event::SetLen { len: a },
                4 => Event::Reserve { end: a },
                5 => Event::Started(a),
                6 => Event::Acknowledged(a),
                7 => Event::Committed(a),
                8 => Event::Failed(a),
                _ => Event::Settled,
            });
            bytes = rest;
        }
        events
    }
}

/// How an operation fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Failure {
    /// EIO.
    Io,
    /// ENOSPC, of what takes space.
    Full,
    /// A write takes only so many bytes, which is no failure.
    Short(usize),
}

#[derive(Default)]
struct State {
    log: Vec<Event>,
    stream: Option<File>,
    ops: usize,
    fault: Option<(std::ops::Range<usize>, Failure)>,
    death: Option<usize>,
    /// A block that cannot be written, and whether the cache has something for it.
    bad: Option<(u64, bool)>,
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

    fn push(&mut self, event: Event) {
        match &mut self.stream {
            Some(stream) => stream.write_all(&event.encode()).expect("the log is written"),
            None => self.log.push(event),
        }
    }
}

/// Records what one open store does to its file.
#[derive(Default)]
pub struct Recorder {
    state: Mutex<State>,
}

impl Recorder {
    /// One whose operations with these numbers fail.
    pub fn failing(numbers: std::ops::Range<usize>, failure: Failure) -> Self {
        let recorder = Recorder::default();
        recorder.state.lock().unwrap().fault = Some((numbers, failure));
        recorder
    }

    /// One that writes its log to `stream`, event by event.
    pub fn streaming(stream: File) -> Self {
        let recorder = Recorder::default();
        recorder.state.lock().unwrap().stream = Some(stream);
        recorder
    }

    pub fn note(&self, event: Event) {
        self.state.lock().unwrap().push(event);
    }

    pub fn log(&self) -> Vec<Event> {
        self.state.lock().unwrap().log.clone()
    }

    /// Kills the process before it carries out operation `number`, counted from now on.
    pub fn die_at(&self, number: usize) {
        let mut state = self.state.lock().unwrap();
        state.death = Some(state.ops + number);
    }

    /// Lets operation `number`, counted from now on, fail.
    pub fn fail_at(&self, number: usize) {
        let mut state = self.state.lock().unwrap();
        let number = state.ops + number;
        state.fault = Some((number..number + 1, Failure::Io));
    }

    /// From now on, the block in which `event` has written cannot be.
    pub fn set_bad_block(&self, event: &Event) {
        let Event::Write { offset, .. } = event else { panic!("{event:?}") };
        self.state.lock().unwrap().bad = Some((offset / 4096 * 4096, false));
    }

    /// Number of operations so far.
    pub fn ops(&self) -> usize {
        self.state.lock().unwrap().ops
    }

    /// How many operations a failure was injected into.
    pub fn hits(&self) -> usize {
        self.state.lock().unwrap().hits
    }

    /// Where in the log the first failure was injected, and into what.
    pub fn hit(&self) -> Option<(usize, String)> {
        self.state.lock().unwrap().hit.clone()
    }
}

impl Observer for Recorder {
    fn before(&self, op: &Op<'_>) -> Verdict {
        let mut state = self.state.lock().unwrap();
        let number = state.ops;
        state.ops += 1;
        if state.death == Some(number) {
            die();
        }
        let fault = state.fault.as_ref().filter(|(at, _)| at.contains(&number)).map(|(_, failure)| *failure);
        let takes_space = matches!(op, Op::Write { .. } | Op::Reserve { .. });
        let error = match fault {
            Some(Failure::Io) => Some(libc::EIO),
            Some(Failure::Full) if takes_space => Some(libc::ENOSPC),
            _ => state.hits_bad_block(op).then_some(libc::EIO),
        };
        let at = state.log.len();
        if let Some(event) = event_of(op, error.is_some()) {
            state.push(event);
        }
        let verdict = match (error, fault) {
            (Some(error), _) => Verdict::Fail(io::Error::from_raw_os_error(error)),
            (None, Some(Failure::Short(len))) if matches!(op, Op::Write { .. }) => Verdict::Short(len),
            _ => return Verdict::Proceed,
        };
        state.hits += 1;
        state.hit.get_or_insert_with(|| (at, describe(op)));
        verdict
    }
}

fn event_of(op: &Op<'_>, fails: bool) -> Option<Event> {
    match op {
        Op::Write { offset, data } => {
            let mut data: Vec<u8> = data.iter().flat_map(|slice| slice.iter().copied()).collect();
            if fails {
                // Some of the bytes may have been taken; the disk is told so, the page cache is not.
                data.truncate(data.len() / 1024 * 512);
            }
            Some(Event::Write { offset: *offset, data })
        }
        Op::Sync { offset, len } => Some(Event::Sync { offset: *offset, len: *len, failed: fails }),
        Op::SetLen { .. } | Op::Reserve { .. } if fails => None,
        Op::SetLen { len } => Some(Event::SetLen { len: *len }),
        Op::Reserve { offset, len } => Some(Event::Reserve { end: offset + len }),
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
    }
}

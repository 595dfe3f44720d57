//! The recording disk: an [`Observer`] that logs every operation and may make one of them fail.

use mapleaf::{Observer, Op, Verdict};
use std::io;
use std::sync::Mutex;

/// One entry of the log.
#[derive(Clone, Debug)]
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
    /// The commit of this txn returned success.
    Acknowledged(u64),
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
    ops: usize,
    fault: Option<(std::ops::Range<usize>, Failure)>,
    hits: usize,
    hit: Option<(usize, String)>,
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

    pub fn note(&self, event: Event) {
        self.state.lock().unwrap().log.push(event);
    }

    pub fn log(&self) -> Vec<Event> {
        self.state.lock().unwrap().log.clone()
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
        let fault = state.fault.as_ref().filter(|(at, _)| at.contains(&number)).map(|(_, failure)| *failure);
        let takes_space = matches!(op, Op::Write { .. } | Op::Reserve { .. });
        let error = match fault {
            Some(Failure::Io) => Some(libc::EIO),
            Some(Failure::Full) if takes_space => Some(libc::ENOSPC),
            _ => None,
        };
        let at = state.log.len();
        match op {
            Op::Write { offset, data } => {
                let mut data: Vec<u8> = data.iter().flat_map(|slice| slice.iter().copied()).collect();
                if error.is_some() {
                    // Some of the bytes may have been taken; the disk is told so, the page cache is not.
                    data.truncate(data.len() / 1024 * 512);
                }
                state.log.push(Event::Write { offset: *offset, data });
            }
            Op::Sync { offset, len } => {
                state.log.push(Event::Sync { offset: *offset, len: *len, failed: error.is_some() })
            }
            Op::SetLen { len } if error.is_none() => state.log.push(Event::SetLen { len: *len }),
            Op::Reserve { offset, len } if error.is_none() => {
                state.log.push(Event::Reserve { end: offset + len })
            }
            Op::SetLen { .. } | Op::Reserve { .. } => {}
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

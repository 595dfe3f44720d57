//! The log: what a store did to its file, and what the application says about its own progress.
//!
//! Owns: [`Event`], its form in a file, and telling by their look what mapleaf's operations are for.

use mapleaf::Op;

/// One entry of the log.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The bytes reached the page cache.
    Write {
        /// Where the first byte went.
        offset: u64,
        /// What was written.
        data: Vec<u8>,
    },
    /// A flush was asked for.
    Sync {
        /// First byte.
        offset: u64,
        /// Number of bytes.
        len: u64,
        /// Whether it returned an error.
        failed: bool,
    },
    /// A failed flush has put this block of the page cache back to what is on the disk.
    Reverted {
        /// Where the block begins.
        offset: u64,
        /// What it holds now.
        data: Vec<u8>,
    },
    /// The file got this length, by truncation or by growth.
    SetLen {
        /// The new length.
        len: u64,
    },
    /// Blocks were reserved.
    Reserve {
        /// Up to here: where the file was shorter it has this length now.
        end: u64,
    },
    /// The blocks of a range were given back.
    Punch {
        /// First byte.
        offset: u64,
        /// Number of bytes.
        len: u64,
    },
    /// The commit of this txn was asked for.
    Started(u64),
    /// This txn is on the disk: the call that waits for it returned success.
    Acknowledged(u64),
    /// This txn is seen by readers, but need not be on the disk.
    Committed(u64),
    /// The commit of this txn returned an error.
    Failed(u64),
    /// The next turn to write has begun: what failed before it is gone for good.
    Settled,
}

impl Event {
    /// What an operation is in the log. Of a write that `fails` some of the bytes may have been taken: the disk is
    /// told so, the page cache is not. Nothing where the operation had no effect.
    pub(crate) fn of(op: &Op<'_>, fails: bool) -> Option<Event> {
        match op {
            Op::Write { offset, data } => {
                let mut data: Vec<u8> = data.iter().flat_map(|slice| slice.iter().copied()).collect();
                if fails {
                    data.truncate(data.len() / 1024 * 512);
                }
                Some(Event::Write { offset: *offset, data })
            }
            Op::Sync { offset, len } => Some(Event::Sync { offset: *offset, len: *len, failed: fails }),
            Op::SetLen { .. } | Op::Reserve { .. } | Op::Punch { .. } if fails => None,
            Op::SetLen { len } => Some(Event::SetLen { len: *len }),
            Op::Reserve { offset, len } => Some(Event::Reserve { end: offset + len }),
            Op::Punch { offset, len } => Some(Event::Punch { offset: *offset, len: *len }),
        }
    }

    /// Whether the disk has nothing to do with it.
    pub fn is_mark(&self) -> bool {
        match self {
            Event::Write { .. } | Event::Sync { .. } | Event::Reverted { .. } => false,
            Event::SetLen { .. } | Event::Reserve { .. } | Event::Punch { .. } => false,
            Event::Started(_) | Event::Acknowledged(_) | Event::Committed(_) => true,
            Event::Failed(_) | Event::Settled => true,
        }
    }

    /// Whether it writes to the redo log, by the look of it: neither whole pages nor a meta slot.
    pub fn is_record(&self) -> bool {
        let Event::Write { offset, data } = self else { return false };
        let whole_pages = offset % 4096 == 0 && data.len() % 4096 == 0;
        !whole_pages && !self.is_meta_write() && data.len() % 8 == 0
    }

    /// Whether it writes a meta slot.
    pub fn is_meta_write(&self) -> bool {
        matches!(self, Event::Write { offset, data } if (512..4096).contains(&data.len()) && [0, 4096].contains(offset))
    }

    /// Whether it flushes a meta slot.
    pub fn is_meta_flush(&self) -> bool {
        matches!(self, Event::Sync { offset: 0 | 4096, len: 512, .. })
    }

    /// As it stands in a file: kind, two numbers, length of the data, data.
    pub(crate) fn encode(&self) -> Vec<u8> {
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
            Event::Reverted { offset, data } => (10, [*offset, 0], data),
            Event::Punch { offset, len } => (11, [*offset, *len], &[]),
        };
        let numbers = [numbers[0], numbers[1], data.len() as u64].map(u64::to_le_bytes).concat();
        [&[kind][..], &numbers, data].concat()
    }

    /// The events in a file that recorders have written.
    ///
    /// # Panics
    /// When the file is something else.
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
                9 => Event::Settled,
                10 => Event::Reverted { offset: a, data: data.to_vec() },
                11 => Event::Punch { offset: a, len: b },
                kind => panic!("an event of kind {kind}"),
            });
            bytes = rest;
        }
        assert!(bytes.is_empty(), "{} bytes behind the last event", bytes.len());
        events
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_comes_back_from_a_file_as_it_was() {
        let events = [
            Event::Write { offset: 4096, data: vec![1, 2, 3] },
            Event::Sync { offset: 1, len: 2, failed: false },
            Event::Sync { offset: 3, len: 4, failed: true },
            Event::Reverted { offset: 8192, data: vec![7; 4096] },
            Event::SetLen { len: 5 },
            Event::Reserve { end: 6 },
            Event::Punch { offset: 7, len: 8 },
            Event::Started(7),
            Event::Acknowledged(8),
            Event::Committed(9),
            Event::Failed(10),
            Event::Settled,
        ];
        let bytes: Vec<u8> = events.iter().flat_map(Event::encode).collect();
        assert_eq!(Event::decode_all(&bytes), events);
    }
}

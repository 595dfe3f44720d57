//! What a redo record says: the changes of one txn, in the order in which they were made.
//!
//! Owns: the encoding of changes. Promises: carrying out the changes of all records on the state of the
//! checkpoint gives the contents of the last txn; pages may lie elsewhere. Leaves to others: where
//! records lie ([`crate::log`]) and carrying them out ([`crate::recover`]).
//!
//! ```text
//! change = 1 | table id, key length, value length | key | value        put
//!        | 2 | table id, key length | key                              delete
//!        | 3 | name length, record length | name | table record        create a table
//!        | 4 | name length | name                                      drop a table
//!        | 5 | length, length | name | new name                        rename a table
//!        | 6 | number                                                  set the user version
//!        | 7 | table id, key length, value length | key | value        delete a value of a multimap's key
//!        | 8 | table id, from length, 0 or to length + 1 | from | to   delete the keys from `from` up to, not including, `to`
//! ```
//! In a multimap a put adds a value and a delete removes all of the key's. Numbers are LEB128. A zero in the
//! place of the first byte ends the list.

use crate::space::record::{put_varint, varint};

/// One change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change<'b> {
    /// The entry has this value now.
    Put { table: u32, key: &'b [u8], value: &'b [u8] },
    /// The entry is gone.
    Delete { table: u32, key: &'b [u8] },
    /// There is a new, empty table; its catalog entry.
    Create { name: &'b str, record: &'b [u8] },
    /// The table is gone.
    Drop { name: &'b str },
    /// The table has another name.
    Rename { from: &'b str, to: &'b str },
    /// The application's number.
    UserVersion(u64),
    /// The key of a multimap does not have this value any more.
    DeleteValue { table: u32, key: &'b [u8], value: &'b [u8] },
    /// The entries whose keys are not below `from` and, where there is a `to`, below that are gone.
    DeleteRange { table: u32, from: &'b [u8], to: Option<&'b [u8]> },
}

impl Change<'_> {
    /// Bytes that it takes at least.
    fn payload(&self) -> usize {
        match self {
            Change::Put { key, value, .. } | Change::DeleteValue { key, value, .. } => {
                key.len() + value.len()
            }
            Change::Delete { key, .. } => key.len(),
            Change::Create { name, record } => name.len() + record.len(),
            Change::Drop { name } => name.len(),
            Change::Rename { from, to } => from.len() + to.len(),
            Change::UserVersion(_) => 1,
            Change::DeleteRange { from, to, .. } => from.len() + to.map_or(0, <[u8]>::len),
        }
    }

    /// Appends the change to a list.
    pub fn put_into(self, bytes: &mut Vec<u8>) {
        let mut head = |kind: u8, numbers: &[u64], parts: &[&[u8]]| {
            bytes.push(kind);
            numbers.iter().for_each(|number| put_varint(bytes, *number));
            parts.iter().for_each(|part| bytes.extend_from_slice(part));
        };
        let len = |bytes: &[u8]| bytes.len() as u64;
        match self {
            Change::Put { table, key, value } => {
                head(1, &[table.into(), len(key), len(value)], &[key, value]);
            }
            Change::Delete { table, key } => head(2, &[table.into(), len(key)], &[key]),
            Change::Create { name, record } => {
                head(3, &[len(name.as_bytes()), len(record)], &[name.as_bytes(), record]);
            }
            Change::Drop { name } => head(4, &[len(name.as_bytes())], &[name.as_bytes()]),
            Change::Rename { from, to } => {
                let (from, to) = (from.as_bytes(), to.as_bytes());
                head(5, &[len(from), len(to)], &[from, to]);
            }
            Change::UserVersion(version) => head(6, &[version], &[]),
            Change::DeleteRange { table, from, to } => {
                let to_len = to.map_or(0, |to| len(to) + 1);
                head(8, &[table.into(), len(from), to_len], &[from, to.unwrap_or_default()]);
            }
            Change::DeleteValue { table, key, value } => {
                head(7, &[table.into(), len(key), len(value)], &[key, value]);
            }
        }
    }
}

/// The next change of a list; `None` at its end, and an error where the bytes are none.
pub fn next_change<'b>(input: &mut &'b [u8]) -> Option<Result<Change<'b>, ()>> {
    let (kind, rest) = input.split_first()?;
    if *kind == 0 {
        return None;
    }
    *input = rest;
    Some(parse(*kind, input).ok_or(()))
}

fn parse<'b>(kind: u8, input: &mut &'b [u8]) -> Option<Change<'b>> {
    let id = |input: &mut &'b [u8]| u32::try_from(varint(input)?).ok();
    Some(match kind {
        1 => {
            let (table, key, value) = (id(input)?, varint(input)?, varint(input)?);
            Change::Put { table, key: take(input, key)?, value: take(input, value)? }
        }
        2 => {
            let (table, key) = (id(input)?, varint(input)?);
            Change::Delete { table, key: take(input, key)? }
        }
        3 => {
            let (name, record) = (varint(input)?, varint(input)?);
            Change::Create { name: text(input, name)?, record: take(input, record)? }
        }
        4 => {
            let name = varint(input)?;
            Change::Drop { name: text(input, name)? }
        }
        5 => {
            let (from, to) = (varint(input)?, varint(input)?);
            Change::Rename { from: text(input, from)?, to: text(input, to)? }
        }
        6 => Change::UserVersion(varint(input)?),
        8 => {
            let (table, from, to) = (id(input)?, varint(input)?, varint(input)?);
            let from = take(input, from)?;
            let to = to.checked_sub(1).map(|to| take(input, to));
            Change::DeleteRange { table, from, to: if let Some(to) = to { Some(to?) } else { None } }
        }
        7 => {
            let (table, key, value) = (id(input)?, varint(input)?, varint(input)?);
            Change::DeleteValue { table, key: take(input, key)?, value: take(input, value)? }
        }
        _ => return None,
    })
}

fn take<'b>(input: &mut &'b [u8], len: u64) -> Option<&'b [u8]> {
    let (taken, rest) = input.split_at_checked(usize::try_from(len).ok()?)?;
    *input = rest;
    Some(taken)
}

fn text<'b>(input: &mut &'b [u8], len: u64) -> Option<&'b str> {
    std::str::from_utf8(take(input, len)?).ok()
}

/// The changes of a txn under way, as long as they are few enough for the log.
#[derive(Debug)]
pub struct Redo {
    bytes: Vec<u8>,
    limit: usize,
    /// Whether all changes are in it.
    whole: bool,
}

impl Redo {
    /// Nothing changed yet; gives up at `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Redo { bytes: Vec::new(), limit, whole: true }
    }

    /// Adds a change.
    pub fn add(&mut self, change: Change<'_>) {
        if self.whole && self.bytes.len() + change.payload() <= self.limit {
            change.put_into(&mut self.bytes);
        } else {
            self.give_up();
        }
    }

    /// The txn will not be logged.
    pub fn give_up(&mut self) {
        (self.bytes, self.whole) = (Vec::new(), false);
    }

    /// The changes, if all of them are here.
    pub fn changes(&self) -> Option<&[u8]> {
        self.whole.then_some(&self.bytes[..])
    }

    /// How much there is, for [`Redo::roll_back`].
    pub fn mark(&self) -> usize {
        self.bytes.len()
    }

    /// Forgets what came after the mark.
    pub fn roll_back(&mut self, mark: usize) {
        self.bytes.truncate(mark);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHANGES: [Change<'_>; 10] = [
        Change::Create { name: "words", record: &[1, 2, 3] },
        Change::Put { table: 2, key: b"", value: b"" },
        Change::Put { table: 300, key: b"key", value: &[9; 200] },
        Change::Delete { table: 2, key: b"key" },
        Change::Rename { from: "words", to: "" },
        Change::UserVersion(u64::MAX),
        Change::DeleteRange { table: 2, from: b"", to: None },
        Change::DeleteRange { table: 300, from: b"key", to: Some(b"") },
        Change::Drop { name: "" },
        Change::DeleteValue { table: 300, key: b"key", value: b"value" },
    ];

    #[test]
    fn changes_are_read_back_and_zeros_end_them() {
        let mut bytes = Vec::new();
        CHANGES.into_iter().for_each(|change| change.put_into(&mut bytes));
        for zeros in 0..9 {
            let padded = [&bytes[..], &vec![0; zeros]].concat();
            let mut input = &padded[..];
            let read: Vec<Change<'_>> =
                std::iter::from_fn(|| next_change(&mut input)).map(|change| change.unwrap()).collect();
            assert_eq!(read, CHANGES);
        }
    }

    #[test]
    fn no_bytes_make_reading_changes_panic() {
        let mut bytes = Vec::new();
        CHANGES.into_iter().for_each(|change| change.put_into(&mut bytes));
        for at in 0..bytes.len() {
            for value in [0, 1, 5, 8, 0x7f, 0x80, 0xff] {
                let mut damaged = bytes.clone();
                damaged[at] = value;
                let mut input = &damaged[..];
                while let Some(Ok(_)) = next_change(&mut input) {}
            }
        }
    }

    #[test]
    fn a_list_that_grows_too_long_is_given_up_for_good() {
        let mut redo = Redo::new(15);
        let mark = redo.mark();
        redo.add(Change::Delete { table: 1, key: b"0123456789" });
        assert!(redo.changes().is_some());
        redo.add(Change::Delete { table: 1, key: b"0123456789" });
        redo.roll_back(mark);
        redo.add(Change::Delete { table: 1, key: b"" });
        assert_eq!(redo.changes(), None);
    }
}

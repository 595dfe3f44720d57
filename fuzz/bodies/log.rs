//! The redo log: any bytes to its parser, and files whose log is something else.
//!
//! Input: image, kind, then either bytes that are laid over the log, or records: txn, previous txn, changes. Kinds:
//! *rot* leaves checksums alone, so what opens is the state of one whole txn; *craft* gives each record the checksum
//! that continues the chain. The checkpoint is good in both, so whatever a log says, opening gives an error, or a
//! store that `verify` finds clean, that can be written to, and that is the same when it is opened again.

use super::image::{RECORD_HEAD, chain, image, log_ranges, newest_slot, read_log, word, write_log};
use super::input::Input;
use super::reading::{examine, read_all};
use mapleaf::{Error, Options};

pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let flags = input.u8();
    #[cfg(fuzzing)]
    if flags & 7 == 7 {
        return mapleaf::fuzzing::log(input.rest());
    }
    let image = image(["log", "sets", "holes", "wide"][usize::from(flags >> 3 & 3)]);
    let mut file = image.bytes.clone();
    let slot = newest_slot(&file).expect("a good image");
    let seed = word(&file, slot + 128);
    let mut log = read_log(&file, slot, image.page_size);
    assert!(!log.is_empty(), "the image has a log");
    let crafted = flags & 1 == 1;
    if flags & 2 == 0 {
        overlay(&mut log, seed, &mut input);
    } else {
        records(&mut log, word(&file, slot + 56), seed, &mut input);
    }
    if crafted {
        chain(&mut log, seed, true);
    }
    write_log(&mut file, slot, image.page_size, &log);
    let original = read_log(&image.bytes, slot, image.page_size);
    let is_prefix = {
        let (mut now, mut then) = (log.clone(), original.clone());
        let found = chain(&mut now, seed, false);
        chain(&mut then, seed, false).starts_with(&found)
            && found.last().is_none_or(|last| now[..last.end] == then[..last.end])
    };
    let path = super::scratch("log", "log.maple");
    std::fs::write(&path, &file).expect("room in shared memory");
    let options = Options::new().max_size(1 << 25).log_limit(0);
    // SAFETY: the file is this process's own.
    match unsafe { options.open(&path) } {
        Err(error) => {
            let is_fair = matches!(error, Error::Corrupt { .. } | Error::Full { .. });
            // A record behind the damage may know that there was more.
            let tells = error.to_string().contains("was on the disk");
            assert!(is_fair && (tells || !is_prefix), "{error:?}");
        }
        Ok(db) => {
            assert!(examine(&db, &mut input), "what was replayed is not clean: {:?}", db.verify(&mut |_| {}));
            let r = db.begin_read().expect("good");
            let expected = is_prefix.then(|| &image.states[r.user_version() as usize]);
            read_all(&r, expected, &mut input);
            let before = all(&r);
            drop(r);
            db.write(|w| {
                let words = w.tables()?.into_iter().find(|table| table.name == "words").map(|t| t.schema);
                match words.filter(|schema| schema.key_width.is_none() && schema.value_width.is_none()) {
                    Some(schema) if schema.multi => {
                        w.raw_put_value("words", b"behind", b"the log")?;
                        w.raw_delete_value("words", b"behind", b"the log").map(drop)
                    }
                    Some(_) => {
                        w.raw_put("words", b"behind", b"the log")?;
                        w.raw_delete("words", b"behind").map(drop)
                    }
                    None => Ok(()),
                }
            })
            .expect("it can be written to");
            db.close().expect("good");
            // SAFETY: as above.
            let db = unsafe { options.open(&path) }.expect("good");
            assert!(all(&db.begin_read().expect("good")) == before, "it is another store now");
            assert!(examine(&db, &mut input), "not clean any more");
        }
    }
    let _ = std::fs::remove_file(&path);
    let _ = std::fs::remove_file(path.with_extension("maple-lock"));
}

/// What a store holds: of each table the name, the number of entries, and all of them.
pub type Everything = Vec<(String, u64, Vec<(Vec<u8>, Vec<u8>)>)>;

/// All of it, of a store that is whole.
pub fn all(r: &mapleaf::ReadTxn) -> Everything {
    let owned = |entry: mapleaf::Result<(&[u8], &[u8])>| {
        let (key, value) = entry.expect("good");
        (key.to_vec(), value.to_vec())
    };
    let table = |info: mapleaf::TableInfo| {
        let entries = match info.schema.multi {
            true => r.raw_multi(&info.name).expect("good").expect("it is listed").iter().map(owned).collect(),
            false => {
                r.raw_table(&info.name).expect("good").expect("it is listed").iter().map(owned).collect()
            }
        };
        (info.name, info.len, entries)
    };
    r.tables().expect("good").into_iter().map(table).collect()
}

/// Bytes over those of the log, here and there.
fn overlay(log: &mut [u8], seed: u64, input: &mut Input<'_>) {
    let mut copy = log.to_vec();
    let records = chain(&mut copy, seed, false);
    while !input.is_empty() {
        let at = match input.u8() % 4 {
            0 => input.below(log.len()),
            // Within a record, near its head, or in its changes.
            _ => {
                let record = records.get(input.below(records.len())).cloned().unwrap_or(0..64);
                record.start + input.below(record.len())
            }
        };
        match input.u8() % 4 {
            0 => {
                let len = input.below(40);
                let bytes = input.bytes(len);
                let end = (at + bytes.len()).min(log.len());
                log[at..end].copy_from_slice(&bytes[..end - at]);
            }
            1 => {
                let end = (at + 8).min(log.len());
                log[at..end].copy_from_slice(&input.number().to_le_bytes()[..end - at]);
            }
            2 => log[at] = input.u8(),
            _ => {
                // A record in the place of another.
                let from = records.get(input.below(records.len())).cloned().unwrap_or(0..0);
                let end = (at + from.len()).min(log.len());
                let bytes = log[from.start..from.start + (end - at)].to_vec();
                log[at..end].copy_from_slice(&bytes);
            }
        }
    }
}

/// A log of records whose frames are good, most of them.
fn records(log: &mut [u8], checkpoint: u64, seed: u64, input: &mut Input<'_>) {
    let mut copy = log.to_vec();
    let known = chain(&mut copy, seed, false);
    log.fill(0);
    let (mut at, mut previous) = (0, checkpoint);
    while !input.is_empty() && at + RECORD_HEAD <= log.len() {
        let kind = input.u8();
        let txn = previous.wrapping_add(if kind % 16 == 15 { input.number() } else { 1 });
        let changes = match kind % 3 {
            0 if !known.is_empty() => {
                // The changes of a good record, perhaps out of their order.
                let record = known[input.below(known.len())].clone();
                copy[record.start + RECORD_HEAD..record.end].to_vec()
            }
            _ => {
                let len = input.below(200);
                let mut changes = Vec::new();
                structured(&mut changes, len, input);
                changes
            }
        };
        let len = (RECORD_HEAD + changes.len()).next_multiple_of(8);
        if at + len > log.len() {
            break;
        }
        log[at + 4..at + 8].copy_from_slice(&(len as u32).to_le_bytes());
        log[at + 8..at + 16].copy_from_slice(&txn.to_le_bytes());
        let said = if kind >= 250 { input.number() } else { previous };
        log[at + 16..at + 24].copy_from_slice(&said.to_le_bytes());
        let durable = if kind >= 240 { input.number() } else { checkpoint };
        log[at + 24..at + 32].copy_from_slice(&durable.to_le_bytes());
        log[at + RECORD_HEAD..][..changes.len()].copy_from_slice(&changes);
        (at, previous) = (at + len, txn);
    }
}

/// Changes as the log has them, with any numbers, names and bytes.
fn structured(changes: &mut Vec<u8>, len: usize, input: &mut Input<'_>) {
    let varint = |changes: &mut Vec<u8>, mut number: u64| {
        while number >= 0x80 {
            changes.push(number as u8 | 0x80);
            number >>= 7;
        }
        changes.push(number as u8);
    };
    let name = |input: &mut Input<'_>| -> Vec<u8> {
        let names: [&[u8]; 12] = [
            b"words", b"numbers", b"", b"blobs", b"new", b"t", b"made", b"\xff", b"tags", b"ids", b"mixed",
            b"files",
        ];
        names[input.below(12)].to_vec()
    };
    while changes.len() < len && !input.is_empty() {
        let kind = input.u8() % 11;
        changes.push(kind.min(9));
        match kind {
            1 | 2 | 7 | 8 => {
                varint(changes, u64::from(input.u8() % 12));
                let key = match input.u8() % 5 {
                    0 => format!("some/prefix/{:05}", u32::from(input.u8()) * 7919 % 100_003).into_bytes(),
                    1 => vec![0, 0, 0, 0, 0, 0, input.u8(), input.u8()],
                    2 => vec![0, 0, 0, input.u8()],
                    3 => b"many".to_vec(),
                    _ => {
                        let len = input.below(12);
                        input.bytes(len).to_vec()
                    }
                };
                varint(changes, key.len() as u64);
                if kind != 2 {
                    // A range ends before one byte less of it, or goes on to the end where there is none.
                    let value = vec![input.u8(); [0, 5, 8, 6, 100, 3000][input.below(6)]];
                    varint(changes, value.len() as u64);
                    changes.extend_from_slice(&key);
                    let less = usize::from(kind == 8).min(value.len());
                    changes.extend_from_slice(&value[less..]);
                } else {
                    changes.extend_from_slice(&key);
                }
            }
            3 => {
                let (name, record) = (name(input), table_record(input));
                varint(changes, name.len() as u64);
                varint(changes, record.len() as u64);
                changes.extend_from_slice(&name);
                changes.extend_from_slice(&record);
            }
            4 => {
                let name = name(input);
                varint(changes, name.len() as u64);
                changes.extend_from_slice(&name);
            }
            5 => {
                let (from, to) = (name(input), name(input));
                varint(changes, from.len() as u64);
                varint(changes, to.len() as u64);
                changes.extend_from_slice(&from);
                changes.extend_from_slice(&to);
            }
            6 => varint(changes, input.number()),
            _ => {
                let len = input.below(10);
                changes.extend_from_slice(input.bytes(len));
            }
        }
    }
}

/// A table's catalog entry, with numbers that may be anything.
fn table_record(input: &mut Input<'_>) -> Vec<u8> {
    let mut record = vec![1, 0, [1, 2, 4, 8, 16, 3][input.below(6)], 0];
    record.extend_from_slice(&(u32::from(input.u8() % 16)).to_le_bytes());
    let wild = input.u8();
    // A multimap.
    record[3] = wild >> 6 & 1;
    for i in 0..4 {
        let number = if wild >> i & 1 == 1 { input.number() } else { 0 };
        record.extend_from_slice(&number.to_le_bytes());
    }
    for _ in 0..2 {
        let width = [u32::MAX, 8, 0, 4, u32::from(input.u16()), u32::MAX - 1][input.below(6)];
        record.extend_from_slice(&width.to_le_bytes());
    }
    record.extend_from_slice(&[0; 8]);
    record.extend_from_slice(&[5, 0, 5, 0]);
    record.extend_from_slice(b"bytesbytes");
    if wild & 128 != 0 {
        let at = input.below(record.len());
        record[at] = input.u8();
    }
    record
}

/// For `make_seeds`: the bytes of the image's records.
pub fn known_changes(name: &str) -> Vec<Vec<u8>> {
    let image = image(name);
    let slot = newest_slot(&image.bytes).expect("a good image");
    let mut log = read_log(&image.bytes, slot, image.page_size);
    let found = chain(&mut log, word(&image.bytes, slot + 128), false);
    assert!(!log_ranges(&image.bytes, slot, image.page_size).is_empty());
    found.into_iter().map(|record| log[record].to_vec()).collect()
}

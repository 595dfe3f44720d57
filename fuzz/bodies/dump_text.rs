//! Dump text of the tool (`tools/src/dump_text.rs`), and what it says put into a store.
//!
//! Input: flags, then text. No text makes reading panic, and a fault lies inside the text. What is read, written, and
//! read again is the same, in either format; written again it is the same text; and cut off anywhere it is a fault. A
//! store that takes all records dumps to the same.

#[path = "../../tools/src/dump_text.rs"]
#[allow(dead_code)]
mod text;

use mapleaf::{Database, Schema};
use std::collections::BTreeMap;
use std::sync::OnceLock;
use text::{Format, Header, ReadError, Reader, Writer};

type Records = Vec<(Vec<u8>, Vec<u8>)>;
type Sections = Vec<(Header, Records)>;

pub fn run(bytes: &[u8]) {
    let Some((flags, text)) = bytes.split_first() else { return };
    let lenient = flags & 1 == 1;
    pairs(text, lenient);
    // In parts of an odd length, as input comes.
    let sections = match read(std::io::BufReader::with_capacity(7 + usize::from(*flags), text), lenient) {
        Ok(sections) => sections,
        Err(ReadError::Fault(fault)) => {
            let lines = text.iter().filter(|byte| **byte == b'\n').count() as u64;
            assert!(fault.offset <= text.len() as u64 && (1..=lines + 1).contains(&fault.line), "{fault}");
            assert!(fault.to_string().len() < 2000);
            return;
        }
        Err(ReadError::Io(error)) => panic!("{error}"),
    };
    for format in [Format::Bytevalue, Format::Print] {
        let right: Sections =
            sections.iter().map(|(header, records)| (normal(header, format), records.clone())).collect();
        let written = write(&right, flags & 2 != 0);
        let again = read(&written[..], false).expect("it was just written");
        assert!(again == right, "{again:?} is not {right:?}");
        assert!(write(&again, flags & 2 != 0) == written, "written again it is another");
        let cut = usize::from(*flags) * 31 % written.len();
        let is_border = written[..cut].ends_with(b"DATA=END\n") && right[0].0.section.is_none();
        assert!(is_border || read(&written[..cut], false).is_err(), "cut at {cut} of {}", written.len());
    }
    load(&sections);
}

fn read(input: impl std::io::BufRead, lenient: bool) -> Result<Sections, ReadError> {
    let mut reader = Reader::new(input, lenient);
    let mut sections = Sections::new();
    while let Some(header) = reader.next_section()? {
        let mut records = Records::new();
        while let Some((key, value)) = reader.next_record()? {
            records.push((key.to_vec(), value.to_vec()));
        }
        sections.push((header, records));
    }
    Ok(sections)
}

fn write(sections: &Sections, hex_backslash: bool) -> Vec<u8> {
    let mut written = Vec::new();
    let mut writer = Writer::new(&mut written).hex_backslash(hex_backslash);
    for (header, records) in sections {
        writer.begin_section(header).expect("room");
        for (key, value) in records {
            writer.record(key, value).expect("room");
        }
        writer.end_section().expect("room");
    }
    written
}

/// A header without what is read and not written.
fn normal(header: &Header, format: Format) -> Header {
    Header { format, lmdb: None, duplicates: false, foreign_order: Vec::new(), ..header.clone() }
}

/// Plain text pairs: what a text stands for is what its escaped form stands for.
fn pairs(input: &[u8], lenient: bool) {
    let mut reader = Reader::new(input, lenient);
    while let Ok(Some((key, value))) = reader.next_text_pair() {
        for bytes in [key, value] {
            assert_eq!(text::parse_escaped(text::escaped(bytes).as_bytes()).expect("it was escaped"), bytes);
        }
    }
    let _ = (text::parse_hex(input), text::parse_escaped(input));
}

fn load(sections: &Sections) {
    static STORE: OnceLock<Database> = OnceLock::new();
    let db = STORE.get_or_init(|| Database::in_memory().expect("memory"));
    let mut w = db.begin_write().expect("good");
    let mut right: BTreeMap<&str, BTreeMap<&[u8], &[u8]>> = BTreeMap::new();
    for (header, records) in sections {
        let name = header.database.as_deref().unwrap_or("");
        let schema = header.schema.clone().unwrap_or_else(Schema::bytes);
        if w.create_table(name, &schema).is_err() {
            return;
        }
        let entries = right.entry(name).or_default();
        for (key, value) in records {
            if w.raw_put(name, key, value).is_err() {
                return;
            }
            entries.insert(key, value);
        }
    }
    for (name, entries) in right {
        let view = w.raw_table(name).expect("good").expect("it was created");
        let dumped: Records =
            view.iter().map(|entry| entry.expect("good")).map(|(k, v)| (k.to_vec(), v.to_vec())).collect();
        let entries: Records = entries.into_iter().map(|(k, v)| (k.to_vec(), v.to_vec())).collect();
        assert!(dumped == entries, "table {name:?} holds something else");
    }
}

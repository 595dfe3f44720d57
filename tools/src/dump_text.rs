//! The dump text format of Berkeley DB and LMDB (`db_dump`, `mdb_dump`), both ways.
//!
//! Owns: the grammar, the position of every fault, and the extra header lines of this tool. Leaves to others: which
//! table a section goes to, and transactions ([`crate::commands::load`], [`crate::commands::dump`]).
//!
//! ```text
//! dump    = 1*section
//! section = header data
//! header  = "VERSION=3" LF *( name "=" value LF ) "HEADER=END" LF
//! data    = *( SP item LF SP item LF ) "DATA=END" LF   ; key line, then value line
//! item    = *hexpair                                   ; format=bytevalue
//!         / *( printable / "\\" / "\" hexpair )        ; format=print, printable is ASCII 0x20 to 0x7e
//! ```
//!
//! Extra header lines, written with `--compat mapleaf` only and only where they say something:
//! `mapleaf_key_type`, `mapleaf_value_type`, `mapleaf_key_width`, `mapleaf_value_width`, `mapleaf_value_align` (the stored
//! schema), `mapleaf_database` (a table name with a line feed in it, escaped as in format=print), and
//! `mapleaf_section=I/N` (of a dump of several tables, so that one cut between two sections is noticed).
//!
//! Promises:
//! 1. What [`Writer`] writes, [`Reader`] reads back, byte for byte (test `any_bytes_survive_both_formats`).
//! 2. Every proper prefix of a written dump is a [`Fault`] (test `every_cut_is_a_fault`). For dumps of other programs
//!    this holds too, but for a cut exactly between two sections, which nothing in their text shows.
//! 3. Memory: one key and one value, whatever the length of the input.

use mapleaf::Schema;
use std::fmt;
use std::io::{self, BufRead, Write};

/// Longest header line. Names are at most 512 bytes in mapleaf.
const MAX_HEADER_LINE: usize = 64 << 10;
/// Longest key that is read; every page size allows less.
const MAX_KEY: usize = 64 << 10;
/// Longest value that is read.
const MAX_VALUE: usize = 64 << 30;

/// How the items of a section are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// Two hex digits for every byte.
    Bytevalue,
    /// Printable ASCII as it is, everything else as `\xx`.
    Print,
}

/// The header of one section.
#[derive(Clone, PartialEq, Debug)]
pub struct Header {
    /// How its items are written.
    pub format: Format,
    /// The table; `None` without a `database=` line, which is the main table.
    pub database: Option<String>,
    /// `db_pagesize=`, where it is a number.
    pub page_size: Option<u64>,
    /// `mapsize=` and `maxreaders=`, which LMDB wants and Berkeley DB refuses. Written, not read.
    pub lmdb: Option<LmdbLines>,
    /// Whether keys may repeat (`duplicates=1` or `dupsort=1`), each time with another value: a multimap.
    pub duplicates: bool,
    /// Flags that gave the keys, or the values of one, another order than bytewise (`reversekey`, `integerkey`,
    /// `reversedup`, `integerdup`). Read, not written.
    pub foreign_order: Vec<&'static str>,
    /// The stored schema, where it is not plain bytes; of a multimap the same with its mark.
    pub schema: Option<Schema>,
    /// Which section of how many.
    pub section: Option<(u64, u64)>,
}

/// What LMDB needs to know before it creates a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LmdbLines {
    /// Bytes of the largest file that the loaded environment can have.
    pub mapsize: u64,
    /// Reader slots.
    pub maxreaders: u32,
}

impl Header {
    /// A section of the main table without anything optional.
    pub fn new(format: Format) -> Self {
        Header {
            format,
            database: None,
            page_size: None,
            lmdb: None,
            duplicates: false,
            foreign_order: Vec::new(),
            schema: None,
            section: None,
        }
    }
}

/// Where a dump is not what it must be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    /// Line, from 1.
    pub line: u64,
    /// Bytes of input before the fault.
    pub offset: u64,
    /// What the grammar wants there.
    pub expected: String,
    /// What is there.
    pub found: String,
    /// What to do about it.
    pub next: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Fault { line, offset, expected, found, next } = self;
        write!(f, "line {line}, byte {offset}: expected {expected}, found {found}; {next}")
    }
}

/// Why a dump could not be read.
#[derive(Debug)]
pub enum ReadError {
    /// The input failed.
    Io(io::Error),
    /// The text is not a dump.
    Fault(Fault),
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        ReadError::Io(error)
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReadError::Io(error) => write!(f, "cannot read: {error}"),
            ReadError::Fault(fault) => fault.fmt(f),
        }
    }
}

type Result<T, E = ReadError> = std::result::Result<T, E>;

const CUT: &str =
    "the input was cut off: make the dump again, and check that its program ended with exit code 0";
const END: &str = "the end of the input";

// ---- writing ----

/// Writes sections.
pub struct Writer<W> {
    output: W,
    format: Format,
    hex_backslash: bool,
    text: Vec<u8>,
}

/// Bytes of an item that are turned into text at a time.
const PART: usize = 16 << 10;

impl<W: Write> Writer<W> {
    /// A dump into `output`, which should be buffered.
    pub fn new(output: W) -> Self {
        Writer { output, format: Format::Bytevalue, hex_backslash: false, text: Vec::new() }
    }

    /// Whether format=print has a backslash as `\5c`, not as `\\`. Every tool reads both, but mdb_load up to 0.9.24 gets
    /// an item wrong that has `\\` behind another escape.
    pub fn hex_backslash(self, hex_backslash: bool) -> Self {
        Writer { hex_backslash, ..self }
    }

    /// Begins a section. The one before must have been ended.
    pub fn begin_section(&mut self, header: &Header) -> io::Result<()> {
        self.format = header.format;
        self.output.write_all(header_text(header).as_bytes())
    }

    /// A key and its value.
    pub fn record(&mut self, key: &[u8], value: &[u8]) -> io::Result<()> {
        self.item(key)?;
        self.item(value)
    }

    /// Ends the section.
    pub fn end_section(&mut self) -> io::Result<()> {
        self.output.write_all(b"DATA=END\n")
    }

    /// Gives the output back.
    #[cfg(test)]
    fn into_output(self) -> W {
        self.output
    }

    fn item(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.text.clear();
        self.text.push(b' ');
        for part in bytes.chunks(PART) {
            match self.format {
                Format::Bytevalue => write_hex(part, &mut self.text),
                Format::Print if self.hex_backslash => write_printable(part, b"\\5c", &mut self.text),
                Format::Print => write_escaped(part, &mut self.text),
            }
            if self.text.len() >= PART {
                self.output.write_all(&self.text)?;
                self.text.clear();
            }
        }
        self.text.push(b'\n');
        self.output.write_all(&self.text)
    }
}

fn header_text(header: &Header) -> String {
    let format = match header.format {
        Format::Bytevalue => "bytevalue",
        Format::Print => "print",
    };
    let mut lines = vec!["VERSION=3".to_owned(), format!("format={format}")];
    match header.database.as_deref() {
        Some(name) if fits_a_header_line(name) => lines.push(format!("database={name}")),
        Some(name) => lines.push(format!("mapleaf_database={}", escaped(name.as_bytes()))),
        None => {}
    }
    lines.push("type=btree".to_owned());
    lines.extend(
        header
            .lmdb
            .map(|LmdbLines { mapsize, maxreaders }| format!("mapsize={mapsize}\nmaxreaders={maxreaders}")),
    );
    lines.extend(header.duplicates.then(|| "duplicates=1\ndupsort=1".to_owned()));
    lines.extend(header.page_size.map(|size| format!("db_pagesize={size}")));
    lines.extend(header.schema.as_ref().map(schema_lines).unwrap_or_default());
    lines.extend(header.section.map(|(index, count)| format!("mapleaf_section={index}/{count}")));
    lines.push("HEADER=END\n".to_owned());
    lines.join("\n")
}

/// Whether a name can stand in a `database=` line.
pub fn fits_a_header_line(name: &str) -> bool {
    !name.contains(['\n', '\0'])
}

fn schema_lines(schema: &Schema) -> Vec<String> {
    let mut lines = vec![
        format!("mapleaf_key_type={}", escaped(schema.key_type.as_bytes())),
        format!("mapleaf_value_type={}", escaped(schema.value_type.as_bytes())),
    ];
    lines.extend(schema.key_width.map(|width| format!("mapleaf_key_width={width}")));
    lines.extend(schema.value_width.map(|width| format!("mapleaf_value_width={width}")));
    lines.push(format!("mapleaf_value_align={}", schema.value_align));
    lines
}

/// Appends two lower-case hex digits for every byte.
pub fn write_hex(bytes: &[u8], text: &mut Vec<u8>) {
    text.reserve(bytes.len() * 2);
    for byte in bytes {
        text.extend_from_slice(&hex_pair(*byte));
    }
}

/// Appends the bytes as format=print has them.
pub fn write_escaped(bytes: &[u8], text: &mut Vec<u8>) {
    write_printable(bytes, b"\\\\", text);
}

fn write_printable(bytes: &[u8], backslash: &[u8], text: &mut Vec<u8>) {
    text.reserve(bytes.len());
    for byte in bytes {
        match byte {
            b'\\' => text.extend_from_slice(backslash),
            0x20..=0x7e => text.push(*byte),
            _ => {
                text.push(b'\\');
                text.extend_from_slice(&hex_pair(*byte));
            }
        }
    }
}

/// The bytes as format=print has them.
pub fn escaped(bytes: &[u8]) -> String {
    let mut text = Vec::new();
    write_escaped(bytes, &mut text);
    text.into_iter().map(char::from).collect()
}

fn hex_pair(byte: u8) -> [u8; 2] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]
}

/// The bytes that an escaped text stands for. Unlike in a dump, any character may stand for itself.
///
/// # Errors
/// Expected and found.
pub fn parse_escaped(text: &[u8]) -> Result<Vec<u8>, String> {
    parse_with(Decoder::text(false), text)
}

/// The bytes that pairs of hex digits stand for.
///
/// # Errors
/// Expected and found.
pub fn parse_hex(text: &[u8]) -> Result<Vec<u8>, String> {
    parse_with(Decoder::of(Format::Bytevalue, false), text)
}

fn parse_with(mut decoder: Decoder, text: &[u8]) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    decoder
        .feed(text, &mut bytes)
        .and_then(|()| decoder.finish(&mut bytes))
        .map_err(|wrong| format!("expected {}, found {}", wrong.expected, wrong.found))?;
    Ok(bytes)
}

// ---- reading ----

/// Reads sections, or plain text pairs.
pub struct Reader<R> {
    input: R,
    /// Number of the line that begins at or holds the next byte, from 1.
    line: u64,
    /// Bytes read so far.
    offset: u64,
    lenient_backslash: bool,
    format: Format,
    in_section: bool,
    sections_read: u64,
    sections_promised: Option<u64>,
    key: Vec<u8>,
    value: Vec<u8>,
}

impl<R: BufRead> Reader<R> {
    /// A reader at the start of `input`. With `lenient_backslash` the items of format=print are read as LMDB before 0.9.25
    /// wrote them: a backslash stands for itself unless two lower-case hex digits of an unprintable byte follow.
    pub fn new(input: R, lenient_backslash: bool) -> Self {
        Reader {
            input,
            line: 1,
            offset: 0,
            lenient_backslash,
            format: Format::Bytevalue,
            in_section: false,
            sections_read: 0,
            sections_promised: None,
            key: Vec::new(),
            value: Vec::new(),
        }
    }

    /// Bytes read so far.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Line of the next byte, from 1.
    pub fn line(&self) -> u64 {
        self.line
    }

    /// The next section's header; `None` at the end of the input. All records of the section before must have been read.
    ///
    /// # Errors
    /// A fault where the header is not one, is cut, or is missing.
    pub fn next_section(&mut self) -> Result<Option<Header>> {
        assert!(!self.in_section, "the records of a section are read before the next section");
        if self.peek()?.is_none() {
            return match self.missing_section() {
                Some(expected) => Err(self.cut(expected)),
                None => Ok(None),
            };
        }
        let header = self.header()?;
        self.format = header.format;
        self.in_section = true;
        self.sections_read += 1;
        Ok(Some(header))
    }

    fn missing_section(&self) -> Option<String> {
        match self.sections_promised {
            _ if self.sections_read == 0 => Some("\"VERSION=3\", the first line of a dump".into()),
            Some(count) if self.sections_read < count => {
                Some(format!("section {} of {count}", self.sections_read + 1))
            }
            _ => None,
        }
    }

    /// The section's next key and value; `None` behind its last.
    ///
    /// # Errors
    /// A fault at the first byte that is not as the format wants it.
    pub fn next_record(&mut self) -> Result<Option<(&[u8], &[u8])>> {
        assert!(self.in_section, "records are in sections");
        let line = self.line;
        let expected = "a key line, which begins with a space, or \"DATA=END\"";
        if self.peek_or_cut(expected)? != b' ' {
            self.expect_line("DATA=END", expected)?;
            self.in_section = false;
            return Ok(None);
        }
        let mut key = std::mem::take(&mut self.key);
        self.record_line(&mut key, MAX_KEY)?;
        self.key = key;
        let expected = || format!("the value, on a line that begins with a space, of the key on line {line}");
        if self.peek()?.is_none() {
            return Err(self.cut(expected()));
        }
        if self.peek()? != Some(b' ') {
            let found = self.glimpse()?;
            return Err(self.fault(expected(), found, "the record is not whole: make the dump again"));
        }
        let mut value = std::mem::take(&mut self.value);
        self.record_line(&mut value, MAX_VALUE)?;
        self.value = value;
        Ok(Some((&self.key, &self.value)))
    }

    /// The next pair of plain text lines, a key and its value; `None` at the end of the input.
    ///
    /// # Errors
    /// A fault where the value or a line feed is missing, or an escape is not one.
    pub fn next_text_pair(&mut self) -> Result<Option<(&[u8], &[u8])>> {
        if self.peek()?.is_none() {
            return Ok(None);
        }
        let line = self.line;
        let mut key = std::mem::take(&mut self.key);
        self.item(Decoder::text(self.lenient_backslash), &mut key, MAX_KEY)?;
        self.key = key;
        if self.peek()?.is_none() {
            return Err(self.cut(format!("the value of the key on line {line}")));
        }
        let mut value = std::mem::take(&mut self.value);
        self.item(Decoder::text(self.lenient_backslash), &mut value, MAX_VALUE)?;
        self.value = value;
        Ok(Some((&self.key, &self.value)))
    }

    // ---- headers ----

    fn header(&mut self) -> Result<Header> {
        let expected = match self.sections_read {
            0 => "\"VERSION=3\", the first line of a dump",
            _ => "\"VERSION=3\" of another section, or the end of the input",
        };
        self.expect_line("VERSION=3", expected)?;
        let mut lines = HeaderLines::default();
        loop {
            let (line, offset) = (self.line, self.offset);
            let text = self.header_line("a header line or \"HEADER=END\"")?;
            if text == b"HEADER=END" {
                return lines.finish().map_err(|wrong| wrong.at(line, offset));
            }
            lines.take(&text).map_err(|wrong| wrong.at(line, offset))?;
            self.sections_promised = lines.section.map(|(_, count)| count).or(self.sections_promised);
        }
    }

    fn expect_line(&mut self, wanted: &str, expected: &str) -> Result<()> {
        let (line, offset) = (self.line, self.offset);
        let text = self.header_line(expected)?;
        if text == wanted.as_bytes() {
            return Ok(());
        }
        let next = match text.strip_suffix(b"\r") {
            Some(start) if start == wanted.as_bytes() => {
                "its lines end in CR LF: convert it (dos2unix) and load again"
            }
            _ if self.sections_read == 0 => {
                "give a dump of \"mapleaf dump\", mdb_dump or db_dump, or -T for pairs of text lines"
            }
            _ => "the dump is damaged here: make it again",
        };
        Err(ReadError::Fault(Fault {
            line,
            offset,
            expected: expected.into(),
            found: show(&text),
            next: next.into(),
        }))
    }

    /// A line without its line feed.
    fn header_line(&mut self, expected: &str) -> Result<Vec<u8>> {
        let mut text = Vec::new();
        loop {
            let part = self.input.fill_buf()?;
            if part.is_empty() {
                let found =
                    if text.is_empty() { END.into() } else { format!("{} and then {END}", show(&text)) };
                return Err(self.fault(expected, found, CUT));
            }
            let end = part.iter().position(|byte| *byte == b'\n');
            text.extend_from_slice(&part[..end.unwrap_or(part.len())]);
            let used = end.map_or(part.len(), |end| end + 1);
            self.input.consume(used);
            self.offset += used as u64;
            if text.len() > MAX_HEADER_LINE {
                return Err(self.fault(
                    expected,
                    format!("a line of more than {MAX_HEADER_LINE} bytes"),
                    "is it a dump?",
                ));
            }
            if end.is_some() {
                self.line += 1;
                return Ok(text);
            }
        }
    }

    // ---- items ----

    /// A line of a section, its leading space seen already.
    fn record_line(&mut self, bytes: &mut Vec<u8>, limit: usize) -> Result<()> {
        self.input.consume(1);
        self.offset += 1;
        self.item(Decoder::of(self.format, self.lenient_backslash), bytes, limit)
    }

    /// The rest of a line, decoded while it is read.
    fn item(&mut self, mut decoder: Decoder, bytes: &mut Vec<u8>, limit: usize) -> Result<()> {
        bytes.clear();
        loop {
            let part = self.input.fill_buf()?;
            if part.is_empty() {
                return Err(self.cut("a line feed"));
            }
            let end = part.iter().position(|byte| *byte == b'\n');
            let text = &part[..end.unwrap_or(part.len())];
            bytes.try_reserve(text.len()).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
            let fed = decoder.feed(text, bytes);
            let used = end.map_or(part.len(), |end| end + 1);
            let (start, text_len) = (self.offset, text.len());
            self.input.consume(used);
            let fed = fed.and_then(|()| if end.is_some() { decoder.finish(bytes) } else { Ok(()) });
            if let Err(wrong) = fed {
                self.offset = start + wrong.at.unwrap_or(text_len) as u64;
                return Err(self.fault(wrong.expected, wrong.found, wrong.next));
            }
            self.offset = start + used as u64;
            if bytes.len() > limit {
                return Err(self.fault(
                    format!("at most {limit} bytes"),
                    "a longer key or value",
                    "it cannot be stored: leave the record out",
                ));
            }
            if end.is_some() {
                self.line += 1;
                return Ok(());
            }
        }
    }

    // ---- looking ahead, and faults ----

    fn peek(&mut self) -> Result<Option<u8>> {
        Ok(self.input.fill_buf()?.first().copied())
    }

    fn peek_or_cut(&mut self, expected: &str) -> Result<u8> {
        match self.peek()? {
            Some(byte) => Ok(byte),
            None => Err(self.cut(expected)),
        }
    }

    fn glimpse(&mut self) -> Result<String> {
        let part = self.input.fill_buf()?;
        Ok(show(part.split(|byte| *byte == b'\n').next().unwrap_or_default()))
    }

    fn cut(&self, expected: impl Into<String>) -> ReadError {
        self.fault(expected, END, CUT)
    }

    fn fault(
        &self,
        expected: impl Into<String>,
        found: impl Into<String>,
        next: impl Into<String>,
    ) -> ReadError {
        let (line, offset) = (self.line, self.offset);
        ReadError::Fault(Fault {
            line,
            offset,
            expected: expected.into(),
            found: found.into(),
            next: next.into(),
        })
    }
}

/// At most 40 bytes of a line, quoted.
fn show(line: &[u8]) -> String {
    match line {
        [] => "an empty line".into(),
        _ if line.len() > 40 => format!("\"{}…\"", escaped(&line[..40])),
        _ => format!("\"{}\"", escaped(line)),
    }
}

// ---- header lines ----

/// Something wrong in one header line, its place still unknown.
struct WrongLine {
    expected: String,
    found: String,
    next: String,
}

impl WrongLine {
    fn new(expected: impl Into<String>, found: impl Into<String>, next: impl Into<String>) -> Self {
        WrongLine { expected: expected.into(), found: found.into(), next: next.into() }
    }

    fn at(self, line: u64, offset: u64) -> ReadError {
        let WrongLine { expected, found, next } = self;
        ReadError::Fault(Fault { line, offset, expected, found, next })
    }
}

/// The lines of a header as far as they were read.
#[derive(Default)]
struct HeaderLines {
    format: Option<Format>,
    database: Option<String>,
    page_size: Option<u64>,
    duplicates: bool,
    foreign_order: Vec<&'static str>,
    key_type: Option<String>,
    value_type: Option<String>,
    key_width: Option<usize>,
    value_width: Option<usize>,
    value_align: Option<usize>,
    section: Option<(u64, u64)>,
}

impl HeaderLines {
    fn take(&mut self, line: &[u8]) -> Result<(), WrongLine> {
        let wrong = |expected: &str, next: &str| WrongLine::new(expected, show(line), next);
        let split = line.iter().position(|byte| *byte == b'=').filter(|split| *split > 0);
        let Some(split) = split else {
            return Err(wrong(
                "a header line \"name=value\" or \"HEADER=END\"",
                "the header is damaged: make the dump again",
            ));
        };
        let (name, value) = (&line[..split], &line[split + 1..]);
        let text =
            || std::str::from_utf8(value).map_err(|_| wrong("UTF-8", "rename the table before the dump"));
        match name {
            b"format" => {
                self.format = Some(
                    format_of(value)
                        .ok_or_else(|| wrong("format=bytevalue or format=print", "dump in one of these"))?,
                )
            }
            b"type" if !matches!(value, b"btree" | b"hash") => {
                return Err(wrong(
                    "type=btree or type=hash",
                    "only keys with values can be loaded: dump another database",
                ));
            }
            b"database" => self.database = Some(text()?.to_owned()).filter(|name| !name.is_empty()),
            b"db_pagesize" => self.page_size = text()?.parse().ok(),
            b"duplicates" | b"dupsort" => self.duplicates |= value == b"1",
            b"reversekey" if value == b"1" => self.foreign_order.push("reversekey"),
            b"integerkey" if value == b"1" => self.foreign_order.push("integerkey"),
            b"reversedup" if value == b"1" => self.foreign_order.push("reversedup"),
            b"integerdup" if value == b"1" => self.foreign_order.push("integerdup"),
            _ => self
                .take_own(name, value)
                .ok_or_else(|| wrong("a value that mapleaf dump writes", "make the dump again"))?,
        }
        Ok(())
    }

    /// The lines that only this tool writes; others are passed over. `None` where the value is none of ours.
    fn take_own(&mut self, name: &[u8], value: &[u8]) -> Option<()> {
        let text = || String::from_utf8(parse_escaped(value).ok()?).ok();
        let number = || std::str::from_utf8(value).ok()?.parse().ok();
        match name {
            b"mapleaf_database" => self.database = Some(text()?),
            b"mapleaf_key_type" => self.key_type = Some(text()?),
            b"mapleaf_value_type" => self.value_type = Some(text()?),
            b"mapleaf_key_width" => self.key_width = Some(number()?),
            b"mapleaf_value_width" => self.value_width = Some(number()?),
            b"mapleaf_value_align" => {
                self.value_align = Some(number().filter(|align| matches!(align, 1 | 2 | 4 | 8 | 16))?)
            }
            b"mapleaf_section" => {
                let (index, count) = std::str::from_utf8(value).ok()?.split_once('/')?;
                self.section = Some((index.parse().ok()?, count.parse().ok()?));
            }
            _ => {}
        }
        Some(())
    }

    fn finish(self) -> Result<Header, WrongLine> {
        let Some(format) = self.format else {
            let next = "the header is damaged: make the dump again";
            return Err(WrongLine::new(
                "a line \"format=bytevalue\" or \"format=print\" before it",
                "\"HEADER=END\"",
                next,
            ));
        };
        let plain = Schema::bytes();
        let schema = Schema {
            key_type: self.key_type.unwrap_or(plain.key_type),
            value_type: self.value_type.unwrap_or(plain.value_type),
            key_width: self.key_width,
            value_width: self.value_width,
            value_align: self.value_align.unwrap_or(1),
            multi: self.duplicates,
        };
        let plain = Schema { multi: self.duplicates, ..Schema::bytes() };
        Ok(Header {
            format,
            database: self.database,
            page_size: self.page_size,
            lmdb: None,
            duplicates: self.duplicates,
            foreign_order: self.foreign_order,
            schema: Some(schema).filter(|schema| *schema != plain),
            section: self.section,
        })
    }
}

fn format_of(value: &[u8]) -> Option<Format> {
    match value {
        b"bytevalue" => Some(Format::Bytevalue),
        b"print" => Some(Format::Print),
        _ => None,
    }
}

// ---- items ----

/// Something wrong in an item: `at` is the place in the part that was fed, `None` its end.
struct WrongItem {
    at: Option<usize>,
    expected: &'static str,
    found: String,
    next: &'static str,
}

/// Turns the text of one item into bytes, part by part.
enum Decoder {
    Hex { high: Option<u8> },
    Print { state: Escape, any_byte: bool },
    Lenient { state: Escape, any_byte: bool },
}

/// What of an escape was seen so far.
#[derive(Clone, Copy)]
enum Escape {
    None,
    Backslash,
    Digit(u8),
}

impl Decoder {
    fn of(format: Format, lenient: bool) -> Self {
        match format {
            Format::Bytevalue => Decoder::Hex { high: None },
            Format::Print if lenient => Decoder::Lenient { state: Escape::None, any_byte: false },
            Format::Print => Decoder::Print { state: Escape::None, any_byte: false },
        }
    }

    /// For text that a person wrote: every byte may stand for itself.
    fn text(lenient: bool) -> Self {
        match lenient {
            true => Decoder::Lenient { state: Escape::None, any_byte: true },
            false => Decoder::Print { state: Escape::None, any_byte: true },
        }
    }

    fn feed(&mut self, text: &[u8], bytes: &mut Vec<u8>) -> Result<(), WrongItem> {
        match self {
            Decoder::Hex { high } => feed_hex(high, text, bytes),
            Decoder::Print { state, any_byte } => feed_print(state, *any_byte, text, bytes),
            Decoder::Lenient { state, any_byte } => feed_lenient(state, *any_byte, text, bytes),
        }
    }

    /// At the end of the item.
    fn finish(&mut self, bytes: &mut Vec<u8>) -> Result<(), WrongItem> {
        let expected = match self {
            Decoder::Hex { high: Some(_) } => "another hex digit, since bytes have two",
            Decoder::Print { state: Escape::Backslash | Escape::Digit(_), .. } => BAD_ESCAPE,
            Decoder::Lenient { state, .. } => {
                spell_out(*state, bytes);
                return Ok(());
            }
            _ => return Ok(()),
        };
        Err(WrongItem {
            at: None,
            expected,
            found: "the end of the line".into(),
            next: "the line is not whole: make the dump again",
        })
    }
}

fn feed_hex(high: &mut Option<u8>, text: &[u8], bytes: &mut Vec<u8>) -> Result<(), WrongItem> {
    for (at, byte) in text.iter().enumerate() {
        let digit = HEX[usize::from(*byte)];
        if digit == NO_DIGIT {
            return Err(WrongItem {
                at: Some(at),
                expected: "a hex digit",
                found: show(&[*byte]),
                next: "the line is damaged, or not in format=bytevalue: make the dump again",
            });
        }
        *high = match *high {
            None => Some(digit),
            Some(first) => {
                bytes.push(first << 4 | digit);
                None
            }
        };
    }
    Ok(())
}

const BAD_ESCAPE: &str = "\"\\\\\" or a backslash with two hex digits";

fn feed_print(state: &mut Escape, any_byte: bool, text: &[u8], bytes: &mut Vec<u8>) -> Result<(), WrongItem> {
    for (at, byte) in text.iter().enumerate() {
        let digit = HEX[usize::from(*byte)];
        *state = match *state {
            Escape::None if *byte == b'\\' => Escape::Backslash,
            Escape::None => {
                refuse_control(*byte, any_byte, at)?;
                bytes.push(*byte);
                Escape::None
            }
            Escape::Backslash if *byte == b'\\' => {
                bytes.push(b'\\');
                Escape::None
            }
            Escape::Backslash if digit != NO_DIGIT => Escape::Digit(*byte),
            Escape::Digit(first) if digit != NO_DIGIT => {
                bytes.push(HEX[usize::from(first)] << 4 | digit);
                Escape::None
            }
            Escape::Backslash | Escape::Digit(_) => {
                return Err(WrongItem {
                    at: Some(at),
                    expected: BAD_ESCAPE,
                    found: show(&[*byte]),
                    next: "LMDB before 0.9.25 did not escape backslashes in this format: for such a dump give --lenient-backslash",
                });
            }
        };
    }
    Ok(())
}

/// The exact inverse of what LMDB before 0.9.25 wrote, as far as there is one: a backslash and the two lower-case digits of an
/// unprintable byte are that byte, any other backslash was one in the data.
fn feed_lenient(
    state: &mut Escape,
    any_byte: bool,
    text: &[u8],
    bytes: &mut Vec<u8>,
) -> Result<(), WrongItem> {
    for (at, byte) in text.iter().enumerate() {
        let digit = if byte.is_ascii_uppercase() { NO_DIGIT } else { HEX[usize::from(*byte)] };
        *state = match *state {
            Escape::Backslash if digit != NO_DIGIT => Escape::Digit(*byte),
            Escape::Digit(first)
                if digit != NO_DIGIT && !is_printable(HEX[usize::from(first)] << 4 | digit) =>
            {
                bytes.push(HEX[usize::from(first)] << 4 | digit);
                Escape::None
            }
            before => {
                spell_out(before, bytes);
                if *byte == b'\\' {
                    Escape::Backslash
                } else {
                    refuse_control(*byte, any_byte, at)?;
                    bytes.push(*byte);
                    Escape::None
                }
            }
        };
    }
    Ok(())
}

/// What looked like an escape and was none.
fn spell_out(state: Escape, bytes: &mut Vec<u8>) {
    match state {
        Escape::None => {}
        Escape::Backslash => bytes.push(b'\\'),
        Escape::Digit(first) => bytes.extend_from_slice(&[b'\\', first]),
    }
}

/// No dump has raw control characters. Bytes from 0x80 on are taken as they are: some locales call them printable.
fn refuse_control(byte: u8, any_byte: bool, at: usize) -> Result<(), WrongItem> {
    if any_byte || byte >= 0x80 || is_printable(byte) {
        return Ok(());
    }
    Err(WrongItem {
        at: Some(at),
        expected: "a printable character",
        found: format!("byte {byte:02x}"),
        next: "control characters are written as a backslash and two hex digits; if lines end in CR LF, convert them (dos2unix)",
    })
}

fn is_printable(byte: u8) -> bool {
    (0x20..=0x7e).contains(&byte)
}

const NO_DIGIT: u8 = 0xff;

/// The value of every byte as a hex digit.
const HEX: [u8; 256] = {
    let mut table = [NO_DIGIT; 256];
    let mut digit = 0;
    while digit < 16 {
        table[b"0123456789abcdef"[digit] as usize] = digit as u8;
        table[b"0123456789ABCDEF"[digit] as usize] = digit as u8;
        digit += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::BufReader;

    type Records = Vec<(Vec<u8>, Vec<u8>)>;

    fn write(sections: &[(Header, Records)]) -> Vec<u8> {
        let mut writer = Writer::new(Vec::new());
        for (header, records) in sections {
            writer.begin_section(header).unwrap();
            for (key, value) in records {
                writer.record(key, value).unwrap();
            }
            writer.end_section().unwrap();
        }
        writer.into_output()
    }

    fn read_all<R: BufRead>(mut reader: Reader<R>) -> Result<Vec<(Header, Records)>> {
        let mut sections = Vec::new();
        while let Some(header) = reader.next_section()? {
            let mut records = Records::new();
            while let Some((key, value)) = reader.next_record()? {
                records.push((key.to_vec(), value.to_vec()));
            }
            sections.push((header, records));
        }
        Ok(sections)
    }

    fn read(text: &[u8]) -> Result<Vec<(Header, Records)>> {
        // Three bytes at a time, so that every construct is met across a border of parts.
        read_all(Reader::new(BufReader::with_capacity(3, text), false))
    }

    fn fault_of(text: &[u8]) -> Fault {
        match read(text) {
            Err(ReadError::Fault(fault)) => fault,
            other => panic!("{other:?} for {}", escaped(text)),
        }
    }

    /// Two sections in different formats with everything optional.
    fn sample() -> Vec<(Header, Records)> {
        let schema = Schema {
            key_type: "u64".into(),
            value_type: "(str,u8)".into(),
            key_width: Some(8),
            value_width: None,
            value_align: 4,
            multi: true,
        };
        let records = vec![
            (b"".to_vec(), b"".to_vec()),
            (b"a\\b\n".to_vec(), vec![0, 255]),
            (b"k".to_vec(), b"DATA=END".to_vec()),
        ];
        let first = Header { section: Some((1, 2)), page_size: Some(4096), ..Header::new(Format::Print) };
        let second = Header {
            database: Some("two\nlines".into()),
            schema: Some(schema),
            section: Some((2, 2)),
            duplicates: true,
            ..Header::new(Format::Bytevalue)
        };
        vec![(first, records.clone()), (second, records)]
    }

    #[test]
    fn sections_of_different_formats_follow_one_another() {
        assert_eq!(read(&write(&sample())).unwrap(), sample());
    }

    #[test]
    fn every_cut_is_a_fault() {
        let text = write(&sample());
        for len in 0..text.len() {
            let fault = fault_of(&text[..len]);
            assert_eq!(fault.offset, len as u64, "{fault}");
            let line = 1 + text[..len].iter().filter(|byte| **byte == b'\n').count() as u64;
            assert_eq!(fault.line, line, "cut at {len}: {fault}");
        }
    }

    #[test]
    fn headers_are_written_as_the_other_tools_want_them() {
        let lmdb = Some(LmdbLines { mapsize: 1 << 20, maxreaders: 126 });
        let header =
            Header { database: Some("t".into()), page_size: Some(4096), lmdb, ..Header::new(Format::Print) };
        let wanted = "VERSION=3\nformat=print\ndatabase=t\ntype=btree\nmapsize=1048576\nmaxreaders=126\ndb_pagesize=4096\nHEADER=END\n";
        assert_eq!(header_text(&header), wanted);
    }

    #[test]
    fn strange_headers_of_other_tools_are_read() {
        let text = b"VERSION=3\nformat=bytevalue\nduplicates=1\ntype=hash\nh_nelem=7\nchksum=1\nintegerkey=1\nHEADER=END\n 0A\n fF\nDATA=END\n";
        let sections = read(text).unwrap();
        assert!(sections[0].0.duplicates);
        assert_eq!(sections[0].0.foreign_order, ["integerkey"]);
        assert_eq!(sections[0].1, [(vec![10], vec![255])]);
    }

    #[test]
    fn faults_say_where_and_what() {
        let head = "VERSION=3\nformat=bytevalue\ntype=btree\nHEADER=END\n";
        let after = |text: &str| fault_of(format!("{head}{text}").as_bytes());
        for (fault, line, column, expected) in [
            (after(" 0g\n"), 5, 2, "a hex digit"),
            (after(" 00\n 0\nDATA=END\n"), 6, 6, "another hex digit, since bytes have two"),
            (
                after(" 00\nDATA=END\n"),
                6,
                4,
                "the value, on a line that begins with a space, of the key on line 5",
            ),
            (after("00\n"), 5, 0, "a key line, which begins with a space, or \"DATA=END\""),
            (after("DATA=END\n\n"), 6, 9, "\"VERSION=3\" of another section, or the end of the input"),
        ] {
            assert_eq!(
                (fault.line, fault.offset, fault.expected.as_str()),
                (line, head.len() as u64 + column, expected)
            );
        }
        assert!(fault_of(b"VERSION=3\r\n").next.contains("dos2unix"));
        assert!(
            fault_of(b"VERSION=3\nformat=print\nHEADER=END\n a\\q\n").next.contains("--lenient-backslash")
        );
        assert!(fault_of(b"VERSION=3\nformat=print\ntype=recno\n").expected.contains("type=btree"));
        assert_eq!(fault_of(b"VERSION=3\ntype=btree\nHEADER=END\n").line, 3);
    }

    #[test]
    fn old_lmdb_dumps_are_read_leniently() {
        let text = b"VERSION=3\nformat=print\nHEADER=END\n c:\\dir\\41\\\\\n \\00\\0A\\0\nDATA=END\n";
        let sections = read_all(Reader::new(BufReader::with_capacity(3, &text[..]), true)).unwrap();
        assert_eq!(sections[0].1, [(b"c:\\dir\\41\\\\".to_vec(), b"\0\\0A\\0".to_vec())]);
    }

    #[test]
    fn text_pairs_are_read_to_the_end() {
        let mut reader = Reader::new(&b"k\xc3\xa9\ty\n\\0av\\\\\n\n\n"[..], false);
        assert_eq!(reader.next_text_pair().unwrap(), Some((&b"k\xc3\xa9\ty"[..], &b"\nv\\"[..])));
        assert_eq!(reader.next_text_pair().unwrap(), Some((&b""[..], &b""[..])));
        assert_eq!(reader.next_text_pair().unwrap(), None);
        for half in ["k", "k\n", "k\nv"] {
            assert!(Reader::new(half.as_bytes(), false).next_text_pair().is_err(), "{half:?}");
        }
    }

    fn records() -> impl Strategy<Value = Records> {
        let bytes = || prop::collection::vec(any::<u8>(), 0..40);
        prop::collection::vec((bytes(), bytes()), 0..8)
    }

    proptest! {
        #[test]
        fn any_bytes_survive_both_formats(records in records()) {
            for format in [Format::Bytevalue, Format::Print] {
                let sections = vec![(Header::new(format), records.clone())];
                prop_assert_eq!(read(&write(&sections)).unwrap(), sections);
            }
        }

        #[test]
        fn any_cut_is_a_fault(records in records(), cut in any::<prop::sample::Index>(), print: bool) {
            let format = if print { Format::Print } else { Format::Bytevalue };
            let text = write(&[(Header::new(format), records)]);
            prop_assert!(read(&text[..cut.index(text.len())]).is_err());
        }

        #[test]
        fn noise_is_never_a_panic(noise in prop::collection::vec(any::<u8>(), 0..200), lenient: bool) {
            let mut text = b"VERSION=3\nformat=print\nHEADER=END\n ".to_vec();
            text.extend(&noise);
            let _ = read_all(Reader::new(&noise[..], lenient));
            let _ = read_all(Reader::new(&text[..], lenient));
        }

        #[test]
        fn long_items_are_written_in_parts(len in 0..3 * PART) {
            let value = vec![7; len];
            let sections = vec![(Header::new(Format::Print), vec![(b"k".to_vec(), value)])];
            prop_assert_eq!(read_all(Reader::new(&write(&sections)[..], false)).unwrap(), sections);
        }
    }
}

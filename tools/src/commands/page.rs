//! `mapleaf page`: one page byte by byte, labelled as in the format document.
//!
//! Every byte of the page is shown once, in order; what no field claims is "unused". Only runs of zeros are shortened.

use crate::cli::{JsonArg, LogArg};
use crate::failure::{Outcome, Result, tell};
use crate::output::{Output, print, print_json};
use crate::store::open_to_judge;
use mapleaf::{Field, PageDump};
use serde::Serialize;
use std::io::Write;
use std::path::PathBuf;

/// The arguments of page.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The page is shown as it is in the file now; exit code 1 when it is damaged. \"mapleaf stat\" tells how many there are.\n\nExamples:\n  mapleaf page app.maple 0        the meta slots\n  mapleaf page --json app.maple 7 | jq '.fields[] | {offset, label, value}'"
)]
pub struct Args {
    /// The store
    pub file: PathBuf,
    /// Which page, from 0
    number: u64,
    #[command(flatten)]
    log: LogArg,
    #[command(flatten)]
    json: JsonArg,
}

#[derive(Serialize)]
struct Document<'p> {
    page: u64,
    kind: &'p str,
    problems: &'p [String],
    fields: Vec<FieldDocument<'p>>,
    bytes: String,
}

#[derive(Serialize)]
struct FieldDocument<'p> {
    offset: usize,
    len: usize,
    label: &'p str,
    value: &'p str,
}

/// Runs it.
pub fn run(args: &Args) -> Result {
    let dump = open_to_judge(&args.file, args.log)?.page(args.number)?;
    match args.json.json {
        true => print_json(&document(&dump))?,
        false => print(|output| print_page(&dump, output))?,
    };
    if dump.problems.is_empty() {
        return Ok(Outcome::Fine);
    }
    tell(&format!(
        "{}: page {} is damaged; \"mapleaf verify\" lists all the damage",
        args.file.display(),
        dump.page
    ));
    Ok(Outcome::Problem)
}

fn document(dump: &PageDump) -> Document<'_> {
    Document {
        page: dump.page,
        kind: &dump.kind,
        problems: &dump.problems,
        fields: dump.fields.iter().map(field_document).collect(),
        bytes: dump.bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
    }
}

fn field_document(field: &Field) -> FieldDocument<'_> {
    FieldDocument { offset: field.offset, len: field.len, label: &field.label, value: &field.value }
}

fn print_page(dump: &PageDump, output: &mut Output) -> Result<()> {
    writeln!(output, "page {}: {}", dump.page, dump.kind)?;
    for problem in &dump.problems {
        writeln!(output, "problem: {problem}")?;
    }
    for line in lines(&dump.bytes, &dump.fields) {
        writeln!(output, "{line}")?;
    }
    Ok(())
}

/// The page as lines of `offset  bytes  label: value`.
pub fn lines(bytes: &[u8], fields: &[Field]) -> Vec<String> {
    let mut lines = Vec::new();
    let mut shown = 0;
    for field in fields {
        let end = field.offset.saturating_add(field.len).min(bytes.len());
        let start = field.offset.min(end);
        if start > shown {
            stretch(bytes, shown, start, "unused", &mut lines);
        }
        stretch(bytes, start, end, &format!("{}: {}", field.label, field.value), &mut lines);
        shown = shown.max(end);
    }
    if shown < bytes.len() {
        stretch(bytes, shown, bytes.len(), "unused", &mut lines);
    }
    lines
}

const ROW: usize = 8;

/// One field, with its label on its first line.
fn stretch(bytes: &[u8], start: usize, end: usize, label: &str, lines: &mut Vec<String>) {
    let (mut at, mut label) = (start, label);
    loop {
        let rest = &bytes[at..end];
        let zeros = rest.iter().take_while(|byte| **byte == 0).count();
        let (len, shown) = match zeros > ROW {
            true => (zeros, format!("00 × {zeros}")),
            false => (rest.len().min(ROW), hex_row(&rest[..rest.len().min(ROW)])),
        };
        lines.push(format!("{at:04x}  {shown:HEX_WIDTH$}  {label}").trim_end().to_owned());
        (at, label) = (at + len, "");
        if at >= end {
            return;
        }
    }
}

const HEX_WIDTH: usize = 3 * ROW - 1;

fn hex_row(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(offset: usize, len: usize, label: &str) -> Field {
        Field { offset, len, label: label.into(), value: "v".into() }
    }

    #[test]
    fn every_byte_is_shown_once() {
        let mut bytes = vec![0; 40];
        bytes[..12].copy_from_slice(b"abcdefghijkl");
        let wanted = "\
0000  61 62                    a: v
0002  63 64 65 66 67 68 69 6a  unused
000a  6b 6c                    b: v
000c  00 × 28                  unused";
        assert_eq!(lines(&bytes, &[field(0, 2, "a"), field(10, 2, "b")]).join("\n"), wanted);
    }

    #[test]
    fn fields_of_a_damaged_page_may_be_anywhere() {
        let fields =
            [field(0, 9, "long"), field(4, 2, "inside"), field(15, 9, "too long"), field(99, 1, "outside")];
        let wanted = "\
0000  01 01 01 01 01 01 01 01  long: v
0008  01
0004  01 01                    inside: v
0009  01 01 01 01 01 01        unused
000f  01                       too long: v
0010                           outside: v";
        assert_eq!(lines(&[1; 16], &fields).join("\n"), wanted);
    }
}

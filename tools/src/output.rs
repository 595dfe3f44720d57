//! Standard output, buffered, and flushed so that a failure of the last byte is seen; and files that are there whole or as they were.

use crate::failure::{Failure, Outcome, Result};
use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};
use indicatif::HumanCount;
use serde::Serialize;
use serde_json::{Value, json};
use std::cell::RefCell;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write, stdout};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What is printed to: buffered standard output, or what stands for it.
pub type Output = BufWriter<Box<dyn Write>>;

/// A sign in front of what came (green), went (red) or changed (yellow), where standard output takes colours.
pub fn painted(sign: &str) -> String {
    let color = match sign {
        "+" => AnsiColor::Green,
        "-" => AnsiColor::Red,
        _ => AnsiColor::Yellow,
    };
    let takes_colors = AutoStream::choice(&stdout()) != ColorChoice::Never;
    let style = if takes_colors { color.on_default() } else { Style::new() };
    format!("{style}{sign}{style:#}")
}

thread_local! {
    /// What is printed while [`captured`] runs.
    static CAPTURED: RefCell<Option<Vec<u8>>> = const { RefCell::new(None) };
}

/// Runs `work`; what it prints is returned, and not printed.
pub fn captured<T>(work: impl FnOnce() -> T) -> (T, Vec<u8>) {
    CAPTURED.set(Some(Vec::new()));
    let done = work();
    (done, CAPTURED.take().unwrap_or_default())
}

/// Standard output, or what [`captured`] returns.
struct Printed;

impl Write for Printed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        CAPTURED.with_borrow_mut(|captured| match captured {
            Some(captured) => captured.write(bytes),
            None => stdout().write(bytes),
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        stdout().flush()
    }
}

/// A count with its noun.
pub fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{} {}", HumanCount(count), plural(count, one, many))
}

/// The noun for so many.
pub fn plural<'n>(count: u64, one: &'n str, many: &'n str) -> &'n str {
    if count == 1 { one } else { many }
}

/// Lets `print` write to standard output, and flushes it.
pub fn print(print: impl FnOnce(&mut Output) -> Result<()>) -> Result {
    let mut output: Output = BufWriter::with_capacity(64 << 10, Box::new(Printed));
    print(&mut output)?;
    output.flush()?;
    Ok(Outcome::Fine)
}

/// Prints one JSON document, indented.
pub fn print_json(document: &impl Serialize) -> Result {
    print(|output| print_document(document, output))
}

/// The same to what is being printed to.
pub fn print_document(document: &impl Serialize, output: &mut Output) -> Result<()> {
    serde_json::to_writer_pretty(&mut *output, document)?;
    Ok(writeln!(output)?)
}

/// Prints one line.
pub fn print_line(line: &str) -> Result {
    print(|output| Ok(writeln!(output, "{line}")?))
}

/// Whether two names are of one file, which is there.
pub fn is_same(one: &Path, other: &Path) -> bool {
    let id = |path: &Path| fs::metadata(path).ok().map(|meta| (meta.dev(), meta.ino()));
    id(one).is_some() && id(one) == id(other)
}

/// Lets `write` write a file, under another name first, so that what fails takes nothing away. What is no file, such as a
/// pipe or a device, has nothing to lose and is written to. The store itself is refused.
pub fn replace_file<T>(
    path: &Path,
    store: Option<&Path>,
    write: impl FnOnce(&File) -> Result<T>,
) -> Result<T> {
    let fail = |error: io::Error| as_it_was(path, &error);
    if store.is_some_and(|store| is_same(path, store)) {
        return Err(Failure::Usage(format!("{}: that is the store itself", path.display())));
    }
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    if fs::metadata(&path).is_ok_and(|meta| !meta.is_file()) {
        return write(&File::options().write(true).open(&path).map_err(fail)?);
    }
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.part", std::process::id()));
    let part = PathBuf::from(name);
    let file = File::create_new(&part).map_err(fail)?;
    let finish = || file.sync_all().and_then(|()| fs::rename(&part, &path)).map_err(fail);
    let written = write(&file).and_then(|written| finish().map(|()| written));
    if written.is_err() {
        let _ = fs::remove_file(&part);
    }
    written
}

/// What `--json` says of a file that was written: its name and its length, and `more` of it.
pub fn print_written(path: &Path, more: &[(&str, u64)]) -> Result {
    let len = fs::metadata(path).map_or(0, |file| file.len());
    let mut document = json!({ "written": [path], "bytes": len });
    more.iter().for_each(|(name, count)| document[*name] = Value::from(*count));
    print_json(&document)
}

/// Standard output cannot be both.
pub fn taken(by: &str) -> Failure {
    Failure::Usage(format!("--json needs standard output, which {by} takes: give -o FILE"))
}

/// Writing to this file failed.
pub fn as_it_was(path: &Path, error: &io::Error) -> Failure {
    let left = if path.is_file() { "; the file is as it was" } else { "" };
    Failure::elsewhere(path.display().to_string(), format!("cannot write: {error}{left}"))
}

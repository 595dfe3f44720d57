//! Standard output, buffered, and flushed so that a failure of the last byte is seen; and files that are there whole or as they were.

use crate::failure::{Failure, Outcome, Result};
use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};
use serde::Serialize;
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

/// Lets `print` write to standard output, and flushes it.
pub fn print(print: impl FnOnce(&mut Output) -> Result<()>) -> Result {
    let mut output: Output = BufWriter::with_capacity(64 << 10, Box::new(stdout().lock()));
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

/// Lets `write` write a file, under another name first, so that what fails takes nothing away. What is no file, such as a
/// pipe or a device, has nothing to lose and is written to. The store itself is refused.
pub fn replace_file(path: &Path, store: &Path, write: impl FnOnce(&File) -> Result<()>) -> Result {
    let fail = |error: io::Error| as_it_was(path, &error);
    let id = |path: &Path| fs::metadata(path).ok().map(|meta| (meta.dev(), meta.ino()));
    if id(path).is_some() && id(path) == id(store) {
        return Err(Failure::Usage(format!("{}: that is the store itself", path.display())));
    }
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    if fs::metadata(&path).is_ok_and(|meta| !meta.is_file()) {
        write(&File::options().write(true).open(&path).map_err(fail)?)?;
        return Ok(Outcome::Fine);
    }
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.part", std::process::id()));
    let part = PathBuf::from(name);
    let file = File::create_new(&part).map_err(fail)?;
    let finish = || file.sync_all().and_then(|()| fs::rename(&part, &path)).map_err(fail);
    if let Err(failure) = write(&file).and_then(|()| finish()) {
        let _ = fs::remove_file(&part);
        return Err(failure);
    }
    Ok(Outcome::Fine)
}

/// Writing to this file failed.
pub fn as_it_was(path: &Path, error: &io::Error) -> Failure {
    Failure::elsewhere(path.display().to_string(), format!("cannot write: {error}; the file is as it was"))
}

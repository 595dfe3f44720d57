//! Standard output: buffered, and flushed so that a failure of the last byte is seen.

use crate::failure::{Outcome, Result};
use serde::Serialize;
use std::io::{BufWriter, StdoutLock, Write, stdout};

/// Buffered standard output.
pub type Output = BufWriter<StdoutLock<'static>>;

/// Lets `print` write to standard output, and flushes it.
pub fn print(print: impl FnOnce(&mut Output) -> Result<()>) -> Result {
    let mut output = BufWriter::with_capacity(64 << 10, stdout().lock());
    print(&mut output)?;
    output.flush()?;
    Ok(Outcome::Fine)
}

/// Prints one JSON document, indented.
pub fn print_json(document: &impl Serialize) -> Result {
    print(|output| {
        serde_json::to_writer_pretty(&mut *output, document)?;
        Ok(writeln!(output)?)
    })
}

/// Prints one line.
pub fn print_line(line: &str) -> Result {
    print(|output| Ok(writeln!(output, "{line}")?))
}

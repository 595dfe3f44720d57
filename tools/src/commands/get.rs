//! `mapleaf get`: the value at a key, or its values in a multimap.

use crate::cli::{Codecs, FormatArgs, JsonArg, LogArg, SnapshotArg, TableArg};
use crate::failure::{Failure, Result};
use crate::output::{Output, print, print_document};
use crate::store::{State, choose, open_to_read, shown};
use mapleaf::TableInfo;
use serde::Serialize;
use serde_json::{Value, json};
use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;

/// The arguments of get.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit code 1 when the key is not there. Of a multimap every value is printed, one a line.\n\nExamples:\n  mapleaf get app.maple greeting\n  mapleaf get app.maple -s images cat --raw > cat.png\n  mapleaf get app.maple --hex 00ff"
)]
pub struct Args {
    /// The store
    pub file: PathBuf,
    #[command(flatten)]
    what: What,
    #[command(flatten)]
    snapshot: SnapshotArg,
    #[command(flatten)]
    log: LogArg,
}

/// What is asked for, and how it is shown.
#[derive(Debug, clap::Args)]
pub struct What {
    /// The key
    #[arg(allow_negative_numbers = true)]
    key: OsString,
    /// Write the value's bytes as they are, without a line feed
    #[arg(long, conflicts_with_all = ["json", "value_format", "hex"])]
    raw: bool,
    #[command(flatten)]
    table: TableArg,
    #[command(flatten)]
    formats: FormatArgs,
    #[command(flatten)]
    json: JsonArg,
}

#[derive(Serialize)]
struct Document<'t> {
    table: &'t str,
    key: Value,
    value: Value,
    value_len: usize,
}

/// Runs it.
pub fn run(args: &Args) -> Result {
    let db = open_to_read(&args.file, args.log)?;
    let txn = args.snapshot.begin(&db)?;
    print(|output| args.what.print(State::Read(&txn), None, output))
}

impl What {
    /// Prints it; `usual` is the table where none is asked for.
    pub fn print(&self, state: State<'_>, usual: Option<&str>, output: &mut Output) -> Result<()> {
        let tables = state.tables()?;
        let table = choose(&tables, self.table.asked().or(usual))?;
        let codecs = self.formats.codecs(Some(table));
        let key = codecs.parse_key(&self.key)?;
        if table.schema.multi {
            return self.print_values(state, table, &codecs, &key, output);
        }
        let value = match state.table(&table.name)? {
            Some(view) => view.get(&key[..])?,
            None => None,
        };
        let Some(value) = value else {
            return Err(Failure::problem(format!("no key {:?} in table {}", self.key, shown(&table.name))));
        };
        let bad_value = |wrong| Failure::problem(format!("the value at {:?} has {wrong}", self.key));
        if self.raw {
            return Ok(output.write_all(value)?);
        }
        if !self.json.json {
            return Ok(writeln!(output, "{}", codecs.value.text(value).map_err(bad_value)?)?);
        }
        let document = Document {
            table: &table.name,
            key: codecs.key.json(&key).map_err(Failure::problem)?,
            value: codecs.value.json(value).map_err(bad_value)?,
            value_len: value.len(),
        };
        print_document(&document, output)
    }

    /// The values of a multimap's key, in order.
    fn print_values(
        &self,
        state: State<'_>,
        table: &TableInfo,
        codecs: &Codecs,
        key: &[u8],
        output: &mut Output,
    ) -> Result<()> {
        if self.raw {
            let table = shown(&table.name);
            return Err(Failure::Usage(format!("table {table} is a multimap; --raw is for a single value")));
        }
        let values = match state.multi(&table.name)? {
            Some(view) => view.values(key)?,
            None => return Err(Failure::problem(format!("no table {}", shown(&table.name)))),
        };
        if values.is_empty() {
            let table = shown(&table.name);
            return Err(Failure::problem(format!("no key {:?} in table {table}", self.key)));
        }
        let bad_value = |wrong| Failure::problem(format!("a value at {:?} has {wrong}", self.key));
        if self.json.json {
            let values = values.map(|value| codecs.value.json(value?).map_err(bad_value));
            let values = values.collect::<Result<Vec<Value>>>()?;
            let key = codecs.key.json(key).map_err(Failure::problem)?;
            return print_document(&json!({ "table": table.name, "key": key, "values": values }), output);
        }
        for value in values {
            writeln!(output, "{}", codecs.value.text(value?).map_err(bad_value)?)?;
        }
        Ok(())
    }
}

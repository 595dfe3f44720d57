//! `mapleaf put`: a value at a key, in a txn of its own.

use crate::cli::{FormatArgs, JsonArg, TableArg};
use crate::failure::{Failure, Result};
use crate::output::{print_json, print_line};
use crate::store::{MAIN, choose_if_any, open_to_write, shown};
use mapleaf::Schema;
use serde_json::json;
use std::ffi::OsString;
use std::io::Read;
use std::path::{Path, PathBuf};

/// The arguments of put.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Prints whether the key was there: \"inserted\" or \"replaced\".\n\nExamples:\n  mapleaf put --create app.maple greeting hello\n  mapleaf put app.maple -s images cat --value-file cat.png\n  date | mapleaf put app.maple now -\n  mapleaf put app.maple --key-format u64 7 seven"
)]
pub struct Args {
    /// The store
    pub file: PathBuf,
    /// The key
    #[arg(allow_negative_numbers = true)]
    key: OsString,
    /// The value; - takes the bytes of standard input
    #[arg(
        allow_negative_numbers = true,
        required_unless_present = "value_file",
        conflicts_with = "value_file"
    )]
    value: Option<OsString>,
    /// Take the bytes of this file as the value, whatever the format; - is standard input
    #[arg(long, value_name = "PATH")]
    value_file: Option<PathBuf>,
    /// Make the store, or the table, if it is not there
    #[arg(long)]
    create: bool,
    /// Bytes of a page of a new store: a power of two from 4096 to 65536
    #[arg(long, value_name = "BYTES", requires = "create", value_parser = super::load::parse_page_size)]
    page_size: Option<usize>,
    #[command(flatten)]
    table: TableArg,
    #[command(flatten)]
    formats: FormatArgs,
    #[command(flatten)]
    json: JsonArg,
}

/// Runs it.
pub fn run(args: &Args) -> Result {
    // What can be wrong with the command line alone is found before anything is created.
    let from_file = args.bytes_from_a_file()?;
    if !args.file.exists() {
        args.parse(None, from_file.as_deref())?;
    }
    let db = open_to_write(&args.file, args.create, args.page_size)?;
    let mut txn = db.begin_write()?;
    let tables = txn.tables()?;
    let table = choose_if_any(&tables, args.table.asked())?;
    let name = table.map_or(args.table.asked().unwrap_or(MAIN), |table| &table.name);
    let (key, value) = args.parse(table, from_file.as_deref())?;
    if table.is_none() {
        if !args.create {
            return Err(Failure::problem(format!("no table {}; --create makes it", shown(name))));
        }
        txn.create_table(name, &Schema::bytes())?;
    }
    let existed = txn.raw_put(name, &key, &value)?;
    txn.commit()?;
    match args.json.json {
        true => print_json(&json!({ "table": name, "existed": existed })),
        false => print_line(if existed { "replaced" } else { "inserted" }),
    }
}

impl Args {
    fn bytes_from_a_file(&self) -> Result<Option<Vec<u8>>> {
        let path = match (&self.value_file, &self.value) {
            (Some(path), _) => path.as_path(),
            (None, Some(value)) if value == "-" => Path::new("-"),
            _ => return Ok(None),
        };
        let mut bytes = Vec::new();
        let read = match path == Path::new("-") {
            true => std::io::stdin().lock().read_to_end(&mut bytes).map(|_| bytes),
            false => std::fs::read(path),
        };
        read.map(Some).map_err(|error| {
            Failure::elsewhere(path.display().to_string(), format!("cannot read the value: {error}"))
        })
    }

    fn parse(
        &self,
        table: Option<&mapleaf::TableInfo>,
        from_file: Option<&[u8]>,
    ) -> Result<(Vec<u8>, Vec<u8>)> {
        let codecs = self.formats.codecs(table);
        let key = codecs.parse_key(&self.key)?;
        let value = match (from_file, &self.value) {
            (Some(bytes), _) => bytes.to_vec(),
            (None, Some(typed)) => codecs.parse_value(typed)?,
            (None, None) => return Err(Failure::Usage("a value is missing".into())),
        };
        Ok((key, value))
    }
}

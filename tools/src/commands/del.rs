//! `mapleaf del`: removing a key, in a txn of its own.

use crate::cli::{FormatArgs, JsonArg, TableArg};
use crate::failure::{Failure, Result};
use crate::output::{print_json, print_line};
use crate::store::{choose, open_to_write, shown};
use serde_json::json;
use std::ffi::OsString;
use std::path::PathBuf;

/// The arguments of del.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit code 1 when the key is not there.\n\nExamples:\n  mapleaf del app.maple greeting\n  mapleaf del app.maple -s users --key-format u64 7"
)]
pub struct Args {
    /// The store
    pub file: PathBuf,
    /// The key
    #[arg(allow_negative_numbers = true)]
    key: OsString,
    #[command(flatten)]
    table: TableArg,
    #[command(flatten)]
    formats: FormatArgs,
    #[command(flatten)]
    json: JsonArg,
}

/// Runs it.
pub fn run(args: &Args) -> Result {
    let db = open_to_write(&args.file, false, None)?;
    let mut txn = db.begin_write()?;
    let tables = txn.tables()?;
    let table = choose(&tables, args.table.asked())?;
    let key = args.formats.codecs(Some(table)).parse_key(&args.key)?;
    if !txn.raw_delete(&table.name, &key)? {
        let table = shown(&table.name);
        return Err(Failure::problem(format!("no key {:?} in table {table}; nothing was deleted", args.key)));
    }
    txn.commit()?;
    match args.json.json {
        true => print_json(&json!({ "table": table.name, "deleted": true })),
        false => print_line("deleted"),
    }
}

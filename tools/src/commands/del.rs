//! `mapleaf del`: removing a key, or one of its values in a multimap, in a txn of its own.

use crate::cli::{FormatArgs, JsonArg, TableArg, TurnArg};
use crate::failure::{Failure, Result};
use crate::output::{Output, counted, print, print_document};
use crate::store::{choose, open_to_write, shown};
use mapleaf::WriteTxn;
use serde_json::json;
use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;

/// The arguments of del.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit code 1 when the key, or the value, is not there. Of a multimap all values of the key are removed where none is named; how many is printed.\n\nExamples:\n  mapleaf del app.maple greeting\n  mapleaf del app.maple -s tags rust 7\n  mapleaf del app.maple -s users 7"
)]
pub struct Args {
    /// The store
    pub file: PathBuf,
    #[command(flatten)]
    what: What,
    #[command(flatten)]
    turn: TurnArg,
}

/// What is deleted.
#[derive(Debug, clap::Args)]
pub struct What {
    /// The key
    #[arg(allow_negative_numbers = true)]
    key: OsString,
    /// The value to remove of those that a multimap has at the key
    #[arg(allow_negative_numbers = true)]
    value: Option<OsString>,
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
    let mut txn = args.turn.begin(&db)?;
    let deleted = args.what.delete(&mut txn, None)?;
    txn.commit()?;
    print(|output| args.what.print(&deleted, output))
}

/// What was done: in which table, and how many values went.
pub struct Deleted {
    table: String,
    is_multi: bool,
    values: u64,
}

impl What {
    /// Deletes it; `usual` is the table where none is asked for.
    pub fn delete(&self, txn: &mut WriteTxn, usual: Option<&str>) -> Result<Deleted> {
        let tables = txn.tables()?;
        let table = choose(&tables, self.table.asked().or(usual))?;
        let codecs = self.formats.codecs(Some(table));
        let key = codecs.parse_key(&self.key)?;
        let values = match &self.value {
            Some(_) if !table.schema.multi => {
                let table = shown(&table.name);
                return Err(Failure::Usage(format!(
                    "table {table} has one value for a key; leave out the value"
                )));
            }
            Some(value) => u64::from(txn.raw_delete_value(&table.name, &key, &codecs.parse_value(value)?)?),
            None if table.schema.multi => txn.raw_delete_values(&table.name, &key)?,
            None => u64::from(txn.raw_delete(&table.name, &key)?),
        };
        if values == 0 {
            let (table, what) =
                (shown(&table.name), if self.value.is_some() { "such value at" } else { "key" });
            return Err(Failure::problem(format!(
                "no {what} {:?} in table {table}; nothing was deleted",
                self.key
            )));
        }
        Ok(Deleted { table: table.name.clone(), is_multi: table.schema.multi, values })
    }

    /// Tells it.
    pub fn print(&self, Deleted { table, is_multi, values }: &Deleted, output: &mut Output) -> Result<()> {
        match (self.json.json, is_multi) {
            (true, _) => {
                print_document(&json!({ "table": table, "deleted": true, "values": values }), output)
            }
            (false, true) => Ok(writeln!(output, "deleted {}", counted(*values, "value", "values"))?),
            (false, false) => Ok(writeln!(output, "deleted")?),
        }
    }
}

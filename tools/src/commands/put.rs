//! `mapleaf put`: a value at a key, in a txn of its own.

use crate::cli::{FormatArgs, JsonArg, SchemaArgs, TableArg, TurnArg};
use crate::failure::{Failure, Result};
use crate::output::{Output, print, print_document};
use crate::store::{MAIN, choose_if_any, open_to_write, remove_new, shown};
use mapleaf::{Database, Schema, WriteTxn};
use serde_json::json;
use std::ffi::OsString;
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

/// The arguments of put.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Prints whether the key was there: \"inserted\" or \"replaced\"; of a multimap, whether the value was: \"inserted\" or \"there already\". A table that is made has the types that are named, else bytes.\n\nExamples:\n  mapleaf put --create app.maple greeting hello\n  mapleaf put app.maple -s images cat --value-file cat.png\n  date | mapleaf put app.maple now -\n  mapleaf put --create app.maple -s users --key-type u64 --value-type '(str,option(u8))' 7 '[\"Ann\",30]'\n  mapleaf put --create app.maple -s tags --key-type str --value-type u64 --multi rust 7\n  mapleaf put --create app.maple -s seen --value-type unit 192.0.2.1        keys only"
)]
pub struct Args {
    /// The store
    pub file: PathBuf,
    #[command(flatten)]
    what: What,
    /// Bytes of a page of a new store: a power of two from 4096 to 65536
    #[arg(long, value_name = "BYTES", requires = "create", value_parser = super::load::parse_page_size)]
    page_size: Option<usize>,
    #[command(flatten)]
    turn: TurnArg,
}

/// What is put.
#[derive(Debug, clap::Args)]
pub struct What {
    /// The key
    #[arg(allow_negative_numbers = true)]
    key: OsString,
    /// The value, which keys alone (values of type unit) do without; - takes the bytes of standard input
    #[arg(allow_negative_numbers = true, conflicts_with = "value_file")]
    value: Option<OsString>,
    /// Take the bytes of this file as the value, whatever the format; - is standard input
    #[arg(long, value_name = "PATH")]
    value_file: Option<PathBuf>,
    /// Make the store, or the table, if it is not there
    #[arg(long)]
    create: bool,
    #[command(flatten)]
    table: TableArg,
    #[command(flatten)]
    schema: SchemaArgs,
    #[command(flatten)]
    formats: FormatArgs,
    #[command(flatten)]
    json: JsonArg,
}

/// Runs it.
pub fn run(args: &Args) -> Result {
    let what = &args.what;
    let from_file = what.bytes_from_a_file()?;
    let existed = fs::symlink_metadata(&args.file).is_ok();
    let db = open_to_write(&args.file, what.create, args.page_size)?;
    let put = put(&db, args, from_file.as_deref());
    if put.is_err() && !existed {
        remove_new(&db, &args.file);
    }
    let put = put?;
    print(|output| what.print(&put, output))
}

fn put(db: &Database, args: &Args, from_file: Option<&[u8]>) -> Result<Put> {
    let mut txn = args.turn.begin(db)?;
    let put = args.what.put(&mut txn, None, from_file)?;
    txn.commit()?;
    Ok(put)
}

/// What was done: in which table, and whether the key was there, or the value of a multimap.
pub struct Put {
    table: String,
    is_multi: bool,
    existed: bool,
}

impl What {
    /// Puts it; `usual` is the table where none is asked for.
    pub fn put(&self, txn: &mut WriteTxn, usual: Option<&str>, from_file: Option<&[u8]>) -> Result<Put> {
        let tables = txn.tables()?;
        let asked = self.table.asked().or(usual);
        let table = choose_if_any(&tables, asked)?;
        let name = table.map_or(asked.unwrap_or(MAIN), |table| &table.name);
        let schema = match table {
            Some(table) => self.schema.expect(table).map(|()| table.schema.clone())?,
            None if self.create => self.schema.schema()?,
            None => return Err(Failure::problem(format!("no table {}; --create makes it", shown(name)))),
        };
        let (key, value) = self.parse(&schema, name, from_file)?;
        if table.is_none() {
            txn.create_table(name, &schema)?;
        }
        let existed = match schema.multi {
            true => !txn.raw_put_value(name, &key, &value)?,
            false => txn.raw_put(name, &key, &value)?,
        };
        Ok(Put { table: name.to_owned(), is_multi: schema.multi, existed })
    }

    /// Tells it.
    pub fn print(&self, Put { table, is_multi, existed }: &Put, output: &mut Output) -> Result<()> {
        if self.json.json {
            return print_document(&json!({ "table": table, "existed": existed }), output);
        }
        let told = match (existed, is_multi) {
            (false, _) => "inserted",
            (true, false) => "replaced",
            (true, true) => "there already",
        };
        Ok(writeln!(output, "{told}")?)
    }

    /// Whether the value is standard input.
    pub fn is_from_stdin(&self) -> bool {
        let path = self.value_file.as_ref().map(|path| path.as_os_str());
        path.or(self.value.as_deref()) == Some("-".as_ref())
    }

    /// The bytes of the file, or of standard input, that are the value.
    pub fn bytes_from_a_file(&self) -> Result<Option<Vec<u8>>> {
        let path = match (&self.value_file, &self.value) {
            (Some(path), _) => path.as_path(),
            (None, Some(value)) if value == "-" => Path::new("-"),
            _ => return Ok(None),
        };
        let mut bytes = Vec::new();
        let read = match path == Path::new("-") {
            true => std::io::stdin().lock().read_to_end(&mut bytes).map(|_| bytes),
            false => fs::read(path),
        };
        read.map(Some).map_err(|error| {
            let name =
                if path == Path::new("-") { "standard input".into() } else { path.display().to_string() };
            Failure::unread(name, &error)
        })
    }

    fn parse(&self, schema: &Schema, table: &str, from_file: Option<&[u8]>) -> Result<(Vec<u8>, Vec<u8>)> {
        let codecs = self.formats.codecs_of(&schema.key_type, &schema.value_type);
        let key = codecs.parse_key(&self.key)?;
        let value = match (from_file, &self.value) {
            (Some(bytes), _) => bytes.to_vec(),
            (None, Some(typed)) => codecs.parse_value(typed)?,
            (None, None) if schema.value_type == "unit" => Vec::new(),
            (None, None) => {
                let (table, of) = (shown(table), &schema.value_type);
                return Err(Failure::Usage(format!(
                    "the value is missing: table {table} has values of {of}"
                )));
            }
        };
        Ok((key, value))
    }
}

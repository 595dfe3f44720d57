//! `mapleaf import`: what other files hold, into tables.
//!
//! Promises: without `--batch` all is put in one txn or nothing is; what is wrong is named by line and column. What `mapleaf export`
//! wrote comes back byte by byte.

mod foreign;
mod lmdb;
#[cfg(feature = "redb")]
mod redb;
#[cfg(feature = "sqlite")]
mod sqlite;

use super::load::{Input, parse_page_size};
use crate::cli::{Codecs, FormatArgs, ReportArgs, SchemaArgs, TurnArg, order};
use crate::columns::Columns;
use crate::failure::{Failure, Result, tell};
use crate::formats::{Codec, type_name};
use crate::intake::{Counts, Intake, Into};
use crate::progress::Meter;
use crate::store::{MAIN, shown};
use crate::types::Type;
use clap::Subcommand;
use foreign::Foreign;
use mapleaf::Schema;
use serde_json::Value;
use std::cell::Cell;
use std::collections::HashMap;
use std::io::{BufRead, Read};
use std::path::PathBuf;
use std::rc::Rc;

/// The arguments of import.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The source comes first, then the store, which is made if it is not there; - is standard input. All is one txn: an error anywhere imports nothing, and a file that import made is removed again.\n\nExamples:\n  mapleaf import csv users.csv app.maple -s users --key-type u64\n  mapleaf import jsonl events.jsonl app.maple -s events --key id\n  mapleaf export jsonl -a app.maple | mapleaf import jsonl - copy.maple\n  mapleaf import lmdb ./old app.maple"
)]
pub struct Args {
    #[command(subcommand)]
    source: Source,
}

#[derive(Debug, Subcommand)]
enum Source {
    /// Fields with commas between them (RFC 4180)
    Csv(Text),
    /// Fields with tabs between them
    Tsv(Text),
    /// A JSON object on each line
    Jsonl(Lines),
    /// An environment of LMDB 0.9 or 1.0, or of lmdb-js: its directory, or its file
    #[command(after_help = LMDB)]
    Lmdb(Foreign),
    /// A file of redb
    #[cfg(feature = "redb")]
    #[command(after_help = REDB)]
    Redb(Foreign),
    /// A database of SQLite 3
    #[cfg(feature = "sqlite")]
    #[command(after_help = SQLITE)]
    Sqlite(Foreign),
}

const LMDB: &str = "\
A named database becomes the table of that name, the records of the main one the main table. Keys with several values \
(MDB_DUPSORT) become a multimap; integers (MDB_INTEGERKEY, MDB_INTEGERDUP) u32 or u64, in order; what was in reverse order is in plain \
order, as is what a comparison function of a program ordered.

Keys and values are kept as bytes: what a program made of them before (lmdb-js: keys in ordered-binary, values in msgpack, perhaps \
compressed) is for the program to undo. Files of 64-bit programs on little-endian machines are read; encrypted ones are not.

No lock is taken, and the environment may be on media that cannot be written. Programs may write to it meanwhile: the import is of \
one txn, begins again where they have reused its pages, and gives up after a few times. Then stop them, or import what mdb_copy makes.

Examples:
  mapleaf import lmdb ./old app.maple
  mapleaf import lmdb old.mdb app.maple -s users -s groups";

#[cfg(feature = "redb")]
const REDB: &str = "\
Numbers, bool, char, text, bytes, arrays of bytes, options and tuples of these become the types of the same names; of other types the bytes are \
kept, and that is told. Multimap tables become multimaps. No program may have the file open.

Examples:
  mapleaf import redb old.redb app.maple
  mapleaf import redb old.redb app.maple -s users";

#[cfg(feature = "sqlite")]
const SQLITE: &str = "\
The key of a row is its primary key, or its rowid; the value is its other columns, a tuple where there are several. Integers are i64, \
reals f64, text str, blobs bytes; a column that may be null is an option; one that holds several kinds of values is an enum of them. \
Indexes and views are left out.

Examples:
  mapleaf import sqlite app.db app.maple
  mapleaf import sqlite app.db app.maple -s users && mapleaf export csv app.maple -s users";

/// Where it goes.
#[derive(Debug, clap::Args)]
pub struct Target {
    /// The store; made if it is not there
    #[arg(value_name = "STORE")]
    store: PathBuf,
    /// Do not overwrite: keys that are there keep their values, are counted, and make the exit code 1
    #[arg(short = 'N', long = "no-overwrite")]
    no_overwrite: bool,
    /// Do not make the store if it is not there
    #[arg(long)]
    no_create: bool,
    /// Bytes of a page of a new store: a power of two from 4096 to 65536
    #[arg(long, value_name = "BYTES", value_parser = parse_page_size)]
    page_size: Option<usize>,
    /// Commit after every COUNT records; an error later does not undo them
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    batch: Option<u64>,
    #[command(flatten)]
    turn: TurnArg,
    #[command(flatten)]
    report: ReportArgs,
}

impl Target {
    /// Lets `put` put records, and tells how many.
    pub fn fill(&self, put: impl FnOnce(&mut Intake<'_>) -> Result<()>) -> Result<Counts> {
        let into = Into {
            file: &self.store,
            create: !self.no_create,
            page_size: self.page_size,
            batch: self.batch,
            no_overwrite: self.no_overwrite,
            turn: self.turn,
        };
        into.fill(put)
    }

    /// Tells what was done.
    pub fn print(&self, counts: &Counts) -> Result {
        counts.tell(&self.store, self.no_overwrite, self.report)
    }
}

/// Which table, and of which types it is made.
#[derive(Debug, clap::Args)]
struct Types {
    /// The table; by default the main table
    #[arg(short = 's', long = "table", value_name = "TABLE", display_order = order::TABLE)]
    table: Option<String>,
    #[command(flatten)]
    schema: SchemaArgs,
    #[command(flatten)]
    formats: FormatArgs,
}

/// CSV and TSV.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "A new table has keys of type str, and values of type str or, of several columns, a tuple of them, unless --key-type and --value-type say otherwise; a table that is there has its types. A tuple takes a column for each of its elements, a struct one for each of its fields, anything else one. Columns are taken in order, first those of the key, unless --key and --value name them.\n\nWhere a type is option(T), an empty field is None, and \"\" (two quotes in the field) an empty text.\n\nExamples:\n  mapleaf import csv users.csv app.maple -s users --key-type u64 --value-type '(str,option(u8))'\n  mapleaf import csv users.csv app.maple -s by_mail --key mail --value id --multi\n  mapleaf import csv --delimiter ';' prices.csv app.maple -s prices\n  cut -f1,3 words.txt | mapleaf import tsv --no-header - app.maple"
)]
struct Text {
    /// The file; - is standard input
    #[arg(value_name = "SOURCE")]
    source: PathBuf,
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    types: Types,
    /// The first line has no names, but a record; columns are called 1, 2, …
    #[arg(long)]
    no_header: bool,
    /// What is between the columns: a character of ASCII, or \t
    #[arg(short = 'd', long, value_name = "CHAR", value_parser = parse_delimiter)]
    delimiter: Option<u8>,
    /// The columns of the key, by name
    #[arg(long, value_name = "COLUMN", value_delimiter = ',')]
    key: Vec<String>,
    /// The columns of the value, by name; by default all others
    #[arg(long, value_name = "COLUMN", value_delimiter = ',')]
    value: Vec<String>,
}

fn parse_delimiter(text: &str) -> Result<u8, String> {
    match text.as_bytes() {
        b"\\t" => Ok(b'\t'),
        [byte] if byte.is_ascii() && !b"\"\n\r".contains(byte) => Ok(*byte),
        _ => Err("expected one character of ASCII, such as ';', or \\t".into()),
    }
}

/// JSON lines.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Each line is an object: {\"key\": …, \"value\": …}, with \"table\" where it is another than -s says; as mapleaf scan --json and mapleaf export jsonl print them. A line {\"table\": …, \"schema\": …} makes a table of those types.\n\nWith --key NAME the key is that field of any object, and the value the field --value NAME, or else the whole object as JSON.\n\nA new table gets its types from --key-type and --value-type, else from its first record: text is str, a whole number i64, another f64, true and false bool, a list of them a tuple; an object is kept as JSON in a str.\n\nExamples:\n  mapleaf import jsonl events.jsonl app.maple -s events --key id\n  mapleaf import jsonl ages.jsonl app.maple -s ages --key name --value age --value-type u8\n  mapleaf export jsonl -a app.maple | mapleaf import jsonl - copy.maple"
)]
struct Lines {
    /// The file; - is standard input
    #[arg(value_name = "SOURCE")]
    source: PathBuf,
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    types: Types,
    /// The field that is the key
    #[arg(long, value_name = "FIELD")]
    key: Option<String>,
    /// The field that is the value
    #[arg(long, value_name = "FIELD", requires = "key")]
    value: Option<String>,
}

impl Args {
    /// The store.
    pub fn file(&self) -> &PathBuf {
        match &self.source {
            Source::Csv(text) | Source::Tsv(text) => &text.target.store,
            Source::Jsonl(lines) => &lines.target.store,
            Source::Lmdb(foreign) => &foreign.target.store,
            #[cfg(feature = "redb")]
            Source::Redb(foreign) => &foreign.target.store,
            #[cfg(feature = "sqlite")]
            Source::Sqlite(foreign) => &foreign.target.store,
        }
    }
}

/// Runs it.
pub fn run(args: &Args) -> Result {
    match &args.source {
        Source::Csv(text) => text.run(b','),
        Source::Tsv(text) => text.run(b'\t'),
        Source::Jsonl(lines) => lines.run(),
        Source::Lmdb(foreign) => lmdb::run(foreign),
        #[cfg(feature = "redb")]
        Source::Redb(foreign) => redb::run(foreign),
        #[cfg(feature = "sqlite")]
        Source::Sqlite(foreign) => sqlite::run(foreign),
    }
}

/// A table that records are put into.
struct Table {
    name: String,
    multi: bool,
    key_type: String,
    value_type: String,
    codecs: Codecs,
}

impl Types {
    /// The table of this name, made if it is not there; of the types that are asked for, else of those.
    fn table(
        &self,
        intake: &mut Intake<'_>,
        name: &str,
        otherwise: impl FnOnce() -> Result<(String, String)>,
    ) -> Result<Table> {
        let stored = intake.txn()?.tables()?.into_iter().find(|stored| stored.name == name);
        let schema = match stored {
            Some(stored) => {
                self.schema.expect(&stored)?;
                stored.schema
            }
            None => {
                let (key_type, value_type) = match (&self.schema.key_type, &self.schema.value_type) {
                    (Some(key), Some(value)) => (key.clone(), value.clone()),
                    (key, value) => {
                        let (other_key, other_value) = otherwise()?;
                        (key.clone().unwrap_or(other_key), value.clone().unwrap_or(other_value))
                    }
                };
                schema_of(&key_type, &value_type, self.schema.multi)?
            }
        };
        intake.table(name, &schema)?;
        Ok(self.of(name, schema))
    }

    fn of(&self, name: &str, schema: Schema) -> Table {
        let codecs = self.formats.codecs_of(&schema.key_type, &schema.value_type);
        let Schema { key_type, value_type, multi, .. } = schema;
        Table { name: name.to_owned(), multi, key_type, value_type, codecs }
    }
}

/// The schema of a new table of these types.
pub fn schema_of(key_type: &str, value_type: &str, multi: bool) -> Result<Schema> {
    let known = |typed: &str, is_key: bool| {
        let name = type_name(typed);
        match Type::of(&name) {
            // How it is aligned its name does not say.
            Some(Type::Memory(_) | Type::Slice(_)) => Err(Failure::Usage(format!(
                "the type {name}: a table of plain memory can only be made by the program that has the type; import into \
                 that table"
            ))),
            Some(known) => Ok((known.width(), name)),
            None => Err(Failure::Usage(format!(
                "the type {name:?} of the {}: expected u8 to u128, i8 to i128, f32, f64, bool, char, str, bytes, time, \
                 duration, ipv4, ipv6, unit, '[u8;N]', '(A,B)', 'option(T)' or 'reverse(T)'",
                if is_key { "keys" } else { "values" }
            ))),
        }
    };
    let (key_width, key_type) = known(key_type, true)?;
    let (value_width, value_type) = known(value_type, false)?;
    Ok(Schema { key_type, value_type, key_width, value_width, value_align: 1, multi })
}

/// Counts the bytes that are read.
struct Counted<R> {
    reader: R,
    read: Rc<Cell<u64>>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        let count = self.reader.read(bytes)?;
        self.read.set(self.read.get() + count as u64);
        Ok(count)
    }
}

/// Columns of a file that make a key or a value.
struct Picked {
    columns: Columns,
    indices: Vec<usize>,
}

impl Picked {
    /// Their names.
    fn of(&self, names: &[String]) -> String {
        let names: Vec<&str> = self.indices.iter().map(|index| names[*index].as_str()).collect();
        if names.is_empty() { "none".into() } else { names.join(", ") }
    }
}

/// As a shell takes it.
fn spelled(delimiter: char) -> String {
    if delimiter == '\t' { "'\\t'".into() } else { format!("'{delimiter}'") }
}

impl Text {
    fn run(&self, usual: u8) -> Result {
        let delimiter = self.delimiter.unwrap_or(usual);
        let input = Input::open(Some(&self.source))?;
        let meter = Meter::new("importing", "bytes", input.len);
        let read = Rc::new(Cell::new(0));
        let mut reader = csv::ReaderBuilder::new()
            .delimiter(delimiter)
            .has_headers(!self.no_header)
            .from_reader(Counted { reader: input.reader, read: Rc::clone(&read) });
        let wrong = |error: csv::Error| Failure::elsewhere(&input.name, spoken(error));
        let counts = self.target.fill(|intake| {
            let names = self.names(&mut reader, &input.name)?;
            self.judge(&names, delimiter, &input.name)?;
            let (table, key, value) = self.pick(intake, &names, &input.name)?;
            intake.take_from(format!("key: {}; value: {}", key.of(&names), value.of(&names)));
            let mut record = csv::StringRecord::new();
            while reader.read_record(&mut record).map_err(wrong)? {
                let line = record.position().map_or(0, csv::Position::line);
                let bytes = |picked: &Picked, what: &str| {
                    let texts: Vec<&str> =
                        picked.indices.iter().map(|index| record.get(*index).unwrap_or_default()).collect();
                    picked.columns.bytes(&texts).map_err(|wrong| {
                        Failure::elsewhere(&input.name, format!("line {line}: the {what}: {wrong}"))
                    })
                };
                let (key, value) = (bytes(&key, "key")?, bytes(&value, "value")?);
                intake.put(&table.name, table.multi, &key, &value, || {
                    format!("record at line {line} of {}", input.name)
                })?;
                meter.set(read.get());
            }
            Ok(())
        });
        drop(meter);
        self.target.print(&counts?)
    }

    /// The names of the columns.
    fn names<R: Read>(&self, reader: &mut csv::Reader<R>, input: &str) -> Result<Vec<String>> {
        let header = reader.headers().map_err(|error| Failure::elsewhere(input, spoken(error)))?;
        if header.is_empty() {
            let names = "a line with the names of the columns (--no-header where there is none)";
            return Err(Failure::elsewhere(input, format!("line 1: expected {names}, found nothing")));
        }
        Ok(match self.no_header {
            true => (1..=header.len()).map(|number| number.to_string()).collect(),
            false => header.iter().map(|name| name.trim_start_matches('\u{feff}').to_owned()).collect(),
        })
    }

    /// A line that is one column may have others in it, and names that are numbers may be a record.
    fn judge(&self, names: &[String], delimiter: u8, input: &str) -> Result<()> {
        let is_set = self.types.schema.value_type.as_ref().is_some_and(|of| type_name(of) == "unit");
        if let ([only], None, false) = (names, self.delimiter, is_set)
            && let Some(other) = [',', ';', '|', '\t'].into_iter().find(|other| only.contains(*other))
        {
            let (other, is) = (spelled(other), spelled(char::from(delimiter)));
            return Err(Failure::elsewhere(
                input,
                format!(
                    "line 1: one column, {}; if {other} is between the columns, give --delimiter {other}, and if it is one column, \
                     --delimiter {is}",
                    shown(only)
                ),
            ));
        }
        if let (false, Some(number)) =
            (self.no_header, names.iter().find(|name| name.parse::<f64>().is_ok_and(f64::is_finite)))
        {
            tell(&format!(
                "{input}: line 1: {number} was taken for the name of a column; if the line is a record, give --no-header"
            ));
        }
        Ok(())
    }

    /// The table, and what of each record is the key and the value.
    fn pick(
        &self,
        intake: &mut Intake<'_>,
        names: &[String],
        input: &str,
    ) -> Result<(Table, Picked, Picked)> {
        let find = |wanted: &String| {
            names.iter().position(|name| name == wanted).ok_or_else(|| {
                Failure::elsewhere(input, format!("no column {wanted:?}; there are {}", names.join(", ")))
            })
        };
        let asked_key = self.key.iter().map(find).collect::<Result<Vec<_>>>()?;
        let asked_value = self.value.iter().map(find).collect::<Result<Vec<_>>>()?;
        let is_free = |index: &usize| !asked_key.contains(index) && !asked_value.contains(index);
        let free: Vec<usize> = (0..names.len()).filter(is_free).collect();
        let name = self.types.table.as_deref().unwrap_or(MAIN);
        let table = self.types.table(intake, name, || {
            let given = self
                .types
                .schema
                .key_type
                .as_ref()
                .map(|of| Columns::of(Codec::of_type(&type_name(of))).count());
            let keys = given.unwrap_or(asked_key.len().max(1));
            let left = if asked_key.is_empty() { free.len().saturating_sub(keys) } else { free.len() };
            let values = if asked_value.is_empty() { left } else { asked_value.len() };
            Ok((texts(keys)?, texts(values)?))
        })?;
        let (key, value) = (Columns::of(table.codecs.key.clone()), Columns::of(table.codecs.value.clone()));
        let mut free = free.into_iter();
        let keys = match asked_key.is_empty() {
            true => free.by_ref().take(key.count()).collect(),
            false => asked_key,
        };
        let values = match asked_value.is_empty() {
            // The value of a set is in no column.
            true if value.count() == 0 => Vec::new(),
            true => free.by_ref().collect(),
            false => asked_value,
        };
        if keys.len() != key.count() || values.len() != value.count() {
            return Err(Failure::elsewhere(
                input,
                format!(
                    "there are the columns {}; a key of type {} takes {}, a value of type {} takes {}: choose with --key, \
                     --value, --key-type and --value-type; --delimiter and --no-header say how the file is read",
                    names.join(", "),
                    table.key_type,
                    key.count(),
                    table.value_type,
                    value.count(),
                ),
            ));
        }
        Ok((table, Picked { columns: key, indices: keys }, Picked { columns: value, indices: values }))
    }
}

/// The type of so many columns of text.
fn texts(count: usize) -> Result<String> {
    match count {
        0 => Ok("unit".into()),
        1 => Ok("str".into()),
        2..=12 => Ok(format!("({})", vec!["str"; count].join(","))),
        _ => Err(Failure::Usage(format!(
            "{count} columns are more than a tuple has, which is 12: choose with --key and --value"
        ))),
    }
}

fn spoken(error: csv::Error) -> String {
    let line = error.position().map(|at| format!("line {}: ", at.line())).unwrap_or_default();
    let what = match error.into_kind() {
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("expected {expected_len} columns as in the first line, found {len}")
        }
        csv::ErrorKind::Utf8 { .. } => "expected UTF-8; convert it (iconv)".into(),
        csv::ErrorKind::Io(error) => format!("cannot read: {error}"),
        other => format!("{other:?}"),
    };
    format!("{line}{what}")
}

impl Lines {
    fn run(&self) -> Result {
        let Input { name: input, len, mut reader } = Input::open(Some(&self.source))?;
        let meter = Meter::new("importing", "bytes", len);
        let counts = self.target.fill(|intake| {
            let mut tables = HashMap::new();
            let (mut text, mut number, mut read) = (Vec::new(), 0_u64, 0);
            loop {
                text.clear();
                number += 1;
                let wrong = |what: String| Failure::elsewhere(&input, format!("line {number}: {what}"));
                let len = reader
                    .read_until(b'\n', &mut text)
                    .map_err(|error| wrong(format!("cannot read: {error}")))?;
                if len == 0 {
                    return Ok(());
                }
                read += len as u64;
                if text.trim_ascii().is_empty() {
                    continue;
                }
                let value = serde_json::from_slice(&text)
                    .map_err(|error| wrong(format!("expected a JSON object: {error}")))?;
                self.put(intake, &mut tables, value, &input, number)?;
                meter.set(read);
            }
        });
        drop(meter);
        self.target.print(&counts?)
    }

    fn put(
        &self,
        intake: &mut Intake<'_>,
        tables: &mut HashMap<String, Table>,
        line: Value,
        input: &str,
        number: u64,
    ) -> Result<()> {
        let wrong = |what: String| Failure::elsewhere(input, format!("line {number}: {what}"));
        let Value::Object(mut object) = line else {
            return Err(wrong(format!("expected a JSON object, found {line}")));
        };
        let asked = self.types.table.as_deref().unwrap_or(MAIN).to_owned();
        let name = match object.get("table") {
            Some(Value::String(name)) if self.key.is_none() => name.clone(),
            _ => asked,
        };
        if let (None, Some(schema)) = (&self.key, object.get("schema")) {
            let schema = parse_schema(schema).map_err(&wrong)?;
            let stored = intake.table(&name, &schema)?;
            if let Some(stored) = stored.filter(|stored| stored.schema != schema) {
                return Err(wrong(format!(
                    "table {} is stored as {}, here it is {schema}; import into another store, or drop or rename the table",
                    shown(&name),
                    stored.schema
                )));
            }
            tables.insert(name.clone(), self.types.of(&name, schema));
            return Ok(());
        }
        let field = |field: &str| {
            object.get(field).cloned().ok_or_else(|| wrong(format!("expected a field {field:?}, found none")))
        };
        let (key, value) = match (&self.key, &self.value) {
            (None, _) => (field("key")?, field("value")?),
            (Some(key), Some(value)) => (field(key)?, field(value)?),
            (Some(key), None) => (field(key)?, Value::Object(std::mem::take(&mut object))),
        };
        if !tables.contains_key(&name) {
            let infer = || {
                let of = |value: &Value, what: &str| {
                    inferred(value).ok_or_else(|| {
                        wrong(format!("{value} does not say which type it is; give --{what}-type"))
                    })
                };
                Ok((
                    self.types.schema.key_type.clone().map_or_else(|| of(&key, "key"), Ok)?,
                    self.types.schema.value_type.clone().map_or_else(|| of(&value, "value"), Ok)?,
                ))
            };
            tables.insert(name.clone(), self.types.table(intake, &name, infer)?);
        }
        let table = &tables[&name];
        let bytes = |codec: &Codec, value: &Value, what: &str| {
            bytes_of(codec, value).map_err(|what_is| wrong(format!("the {what}: {what_is}")))
        };
        let (key, value) =
            (bytes(&table.codecs.key, &key, "key")?, bytes(&table.codecs.value, &value, "value")?);
        intake.put(&table.name, table.multi, &key, &value, || format!("record at line {number} of {input}"))
    }
}

/// As the codec has it; an object or a list that is to be a text is kept as JSON.
fn bytes_of(codec: &Codec, value: &Value) -> Result<Vec<u8>, String> {
    match (codec, value) {
        (Codec::Typed(Type::Str, _), Value::Object(_) | Value::Array(_)) => {
            Ok(value.to_string().into_bytes())
        }
        _ => codec.of_json(value),
    }
}

/// The name of the type that such a value has.
fn inferred(value: &Value) -> Option<String> {
    Some(match value {
        Value::Null => return None,
        Value::Bool(_) => "bool".into(),
        Value::Number(number) if number.is_f64() => "f64".into(),
        Value::Number(_) => "i64".into(),
        Value::String(_) | Value::Object(_) => "str".into(),
        Value::Array(items) => {
            let items = Some(items).filter(|items| (2..=12).contains(&items.len()))?;
            format!("({})", items.iter().map(inferred).collect::<Option<Vec<_>>>()?.join(","))
        }
    })
}

/// What `mapleaf export jsonl` says of a table.
fn parse_schema(value: &Value) -> Result<Schema, String> {
    let wrong = |what: &str| format!("expected a schema with {what}, found {value}");
    let text = |field: &str| value[field].as_str().map(str::to_owned).ok_or_else(|| wrong(field));
    let width = |field: &str| match &value[field] {
        Value::Null => Ok(None),
        other => {
            other.as_u64().and_then(|width| usize::try_from(width).ok()).map(Some).ok_or_else(|| wrong(field))
        }
    };
    Ok(Schema {
        key_type: text("key_type")?,
        value_type: text("value_type")?,
        key_width: width("key_width")?,
        value_width: width("value_width")?,
        value_align: width("value_align")?.ok_or_else(|| wrong("value_align"))?,
        multi: value["multimap"].as_bool().ok_or_else(|| wrong("multimap"))?,
    })
}

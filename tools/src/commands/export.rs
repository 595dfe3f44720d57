//! `mapleaf export`: tables as CSV, TSV or JSON lines.
//!
//! Promises: what it writes, `mapleaf import` reads back byte by byte; a file written with `-o` is there whole or as it was before.

use super::scan::bad;
use crate::cli::{FormatArgs, LogArg, SnapshotArg, TableArg, order};
use crate::columns::Columns;
use crate::failure::{Failure, Outcome, Result};
use crate::output::{as_it_was, print, print_written, replace_file, taken};
use crate::progress::Meter;
use crate::store::{choose, open_to_read, pairs};
use clap::ValueEnum;
use mapleaf::{ReadTxn, Schema, TableInfo};
use serde::Serialize;
use serde_json::Value;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// The arguments of export.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "csv and tsv have a line of names first: key, value; of a tuple key.0, key.1, …; of a struct value.NAME. None is empty; a text that is there and empty, where there could be none, is \"\". Fields are in quotes where they need them. jsonl has one object on a line: for each table {\"table\": …, \"schema\": {…}}, from which import makes the table again, then {\"table\": …, \"key\": …, \"value\": …}.\n\nText is as it is; plain bytes are text in which \\xx is a byte and \\\\ a backslash (--hex and the other formats do it another way). Of a multimap a key comes with each of its values. The export is of one snapshot; others may write meanwhile.\n\nExamples:\n  mapleaf export csv app.maple -s users -o users.csv\n  mapleaf export jsonl -a app.maple | mapleaf import jsonl - copy.maple\n  mapleaf export tsv --no-header app.maple -s log | awk -F'\\t' '{ print $2 }'"
)]
pub struct Args {
    /// As what
    #[arg(value_enum)]
    kind: Kind,
    /// The store
    pub file: PathBuf,
    /// Write to this file, which is replaced when the export is whole; - is standard output
    #[arg(short = 'o', long, value_name = "PATH")]
    output: Option<PathBuf>,
    /// All tables (jsonl)
    #[arg(short = 'a', long = "all", conflicts_with = "table")]
    all: bool,
    /// Without the line of names; of jsonl without the lines of schemas
    #[arg(long)]
    no_header: bool,
    #[command(flatten)]
    table: TableArg,
    #[command(flatten)]
    formats: FormatArgs,
    #[command(flatten)]
    snapshot: SnapshotArg,
    #[command(flatten)]
    log: LogArg,
    /// Print as JSON what was written to the file of -o
    #[arg(long, overrides_with = "json", display_order = order::JSON)]
    json: bool,
}

/// What is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Kind {
    /// Fields with commas between them (RFC 4180)
    Csv,
    /// Fields with tabs between them
    Tsv,
    /// A JSON object on each line
    Jsonl,
}

/// Runs it.
pub fn run(args: &Args) -> Result {
    if args.all && args.kind != Kind::Jsonl {
        return Err(Failure::Usage("-a goes with jsonl; csv and tsv have one table".into()));
    }
    let path = args.output.as_deref().filter(|path| *path != Path::new("-"));
    if args.json && path.is_none() {
        return Err(taken("the export"));
    }
    let db = open_to_read(&args.file, args.log)?;
    let txn = args.snapshot.begin(&db)?;
    let tables = txn.tables()?;
    let chosen: Vec<&TableInfo> = match args.all {
        true => tables.iter().collect(),
        false => vec![choose(&tables, args.table.asked())?],
    };
    let export = |mut output: &mut dyn Write, meter: &Meter| -> Result<u64> {
        let mut done = 0;
        let mut count = || {
            done += 1;
            meter.set(done);
        };
        chosen.iter().try_for_each(|table| match args.kind {
            Kind::Jsonl => args.write_json(&txn, table, &mut output, &mut count),
            Kind::Csv => args.write_columns(&txn, table, b',', &mut output, &mut count),
            Kind::Tsv => args.write_columns(&txn, table, b'\t', &mut output, &mut count),
        })?;
        Ok(done)
    };
    let Some(path) = path else {
        return print(|output| export(output, &Meter::none()).map(drop));
    };
    let meter = Meter::new("exporting", "records", Some(chosen.iter().map(|table| table.len).sum()));
    let records = replace_file(path, Some(&args.file), |file| {
        let mut output = Noting { output: BufWriter::with_capacity(1 << 20, file), error: None };
        let written = export(&mut output, &meter).and_then(|records| Ok(output.flush().map(|()| records)?));
        match output.error {
            Some(error) => Err(as_it_was(path, &error)),
            None => written,
        }
    })?;
    drop(meter);
    match args.json {
        true => print_written(path, &[("tables", chosen.len() as u64), ("records", records)]),
        false => Ok(Outcome::Fine),
    }
}

/// Keeps the error of writing, to tell it with the file's name.
struct Noting<W> {
    output: W,
    error: Option<std::io::Error>,
}

impl<W: Write> Noting<W> {
    fn note<T>(&mut self, done: std::io::Result<T>) -> std::io::Result<T> {
        done.map_err(|error| {
            let kind = error.kind();
            self.error.get_or_insert(error);
            kind.into()
        })
    }
}

impl<W: Write> Write for Noting<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.output.write(bytes);
        self.note(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        let flushed = self.output.flush();
        self.note(flushed)
    }
}

impl Args {
    fn write_json(
        &self,
        txn: &ReadTxn,
        table: &TableInfo,
        mut output: &mut dyn Write,
        count: &mut dyn FnMut(),
    ) -> Result<()> {
        if !self.no_header {
            let line = SchemaLine { table: &table.name, schema: SchemaDocument::of(&table.schema) };
            serde_json::to_writer(&mut output, &line)?;
            writeln!(output)?;
        }
        let codecs = self.formats.codecs(Some(table));
        for pair in pairs(txn, table)? {
            let (key, value) = pair?;
            let key = codecs.key.json(key).map_err(|wrong| bad(table, "key", &wrong))?;
            let value = codecs.value.json(value).map_err(|wrong| bad(table, "value", &wrong))?;
            serde_json::to_writer(&mut output, &RecordLine { table: &table.name, key, value })?;
            writeln!(output)?;
            count();
        }
        Ok(())
    }

    fn write_columns(
        &self,
        txn: &ReadTxn,
        table: &TableInfo,
        delimiter: u8,
        output: &mut dyn Write,
        count: &mut dyn FnMut(),
    ) -> Result<()> {
        let codecs = self.formats.codecs(Some(table));
        let (keys, values) = (Columns::of(codecs.key), Columns::of(codecs.value));
        let mut writer = csv::WriterBuilder::new().delimiter(delimiter).from_writer(output);
        if !self.no_header {
            writer.write_record([keys.names("key"), values.names("value")].concat()).map_err(unwritten)?;
        }
        for pair in pairs(txn, table)? {
            let (key, value) = pair?;
            let key = keys.texts(key).map_err(|wrong| bad(table, "key", &wrong))?;
            let value = values.texts(value).map_err(|wrong| bad(table, "value", &wrong))?;
            writer.write_record(key.iter().chain(&value)).map_err(unwritten)?;
            count();
        }
        Ok(writer.flush()?)
    }
}

fn unwritten(error: csv::Error) -> Failure {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error.into(),
        other => Failure::problem(format!("cannot be written: {other:?}")),
    }
}

#[derive(Serialize)]
struct SchemaLine<'t> {
    table: &'t str,
    schema: SchemaDocument<'t>,
}

/// What import makes a table from.
#[derive(Serialize)]
struct SchemaDocument<'t> {
    key_type: &'t str,
    value_type: &'t str,
    key_width: Option<usize>,
    value_width: Option<usize>,
    value_align: usize,
    multimap: bool,
}

impl<'t> SchemaDocument<'t> {
    fn of(schema: &'t Schema) -> Self {
        let Schema { key_type, value_type, key_width, value_width, value_align, multi } = schema;
        SchemaDocument {
            key_type,
            value_type,
            key_width: *key_width,
            value_width: *value_width,
            value_align: *value_align,
            multimap: *multi,
        }
    }
}

#[derive(Serialize)]
struct RecordLine<'t> {
    table: &'t str,
    key: Value,
    value: Value,
}

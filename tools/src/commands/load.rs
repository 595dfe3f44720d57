//! `mapleaf load`: the text of a dump into the store.
//!
//! Promises: without `--batch` all is loaded in one txn or nothing is. A dump that is cut or damaged anywhere leaves the file as it
//! was; a file that this load made is removed again. Memory: the largest record, and what a write txn keeps.

use crate::cli::JsonArg;
use crate::dump_text::{Header, ReadError, Reader};
use crate::failure::{Failure, Outcome, Result, tell};
use crate::output::{print_json, print_line};
use crate::progress::Meter;
use crate::store::{MAIN, open_to_write, remove_new, shown};
use mapleaf::{Database, Schema, TableInfo, WriteTxn};
use serde_json::json;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, stdin};
use std::path::{Path, PathBuf};

/// The arguments of load.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "A section goes to the table of its database= line; without one to -s TABLE, or to the main table. Tables that are not there are made, with the types that a mapleaf dump names. A key that is there gets the new value, but for -N. A section in which keys repeat (duplicates=1) makes a multimap; in one a key gets each value.\n\nAll sections are one txn: an error anywhere loads nothing, and a file that load made is removed again. LMDB before 0.9.25 did not escape backslashes in format=print; --lenient-backslash reads such a dump as it was written (format=bytevalue, without -p, is never in doubt).\n\nExamples:\n  mapleaf load app.maple -f app.dump\n  mdb_dump -a -n old.mdb | mapleaf load app.maple\n  db_dump old.db | mapleaf load app.maple -s old\n  printf 'key\\nvalue\\n' | mapleaf load -T app.maple"
)]
pub struct Args {
    /// The store; made if it is not there
    pub file: PathBuf,
    /// Read from this file, not from standard input
    #[arg(short = 'f', long = "file", value_name = "PATH")]
    input: Option<PathBuf>,
    /// The input is pairs of text lines, a key and its value, with \xx for a byte and \\ for a backslash
    #[arg(short = 'T', long = "text")]
    text: bool,
    /// Do not overwrite: keys that are there keep their values and are counted
    #[arg(short = 'N', long = "no-overwrite")]
    no_overwrite: bool,
    /// The table of sections that name none, and of -T; by default the main table
    #[arg(short = 's', long = "table", value_name = "TABLE")]
    table: Option<String>,
    /// All tables (it always does)
    #[arg(short = 'a', long = "all")]
    _all: bool,
    /// Make the store if it is not there (it always does)
    #[arg(long = "create", conflicts_with = "no_create")]
    _create: bool,
    /// Do not make the store if it is not there
    #[arg(long)]
    no_create: bool,
    /// Bytes of a page of a new store: a power of two from 4096 to 65536; by default what the dump says
    #[arg(long, value_name = "BYTES", value_parser = parse_page_size)]
    page_size: Option<usize>,
    /// Commit after every COUNT records; an error later does not undo them
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    batch: Option<u64>,
    /// In format=print a backslash stands for itself unless two lower-case hex digits of an unprintable byte follow
    #[arg(long)]
    lenient_backslash: bool,
    #[command(flatten)]
    json: JsonArg,
}

/// A page size from the command line.
pub fn parse_page_size(text: &str) -> Result<usize, String> {
    let size = text.parse().ok().filter(|size| is_page_size(*size));
    size.ok_or_else(|| "expected a power of two from 4096 to 65536".into())
}

fn is_page_size(size: usize) -> bool {
    size.is_power_of_two() && (4096..=65536).contains(&size)
}

/// Runs it.
pub fn run(args: &Args) -> Result {
    let input = Input::open(args.input.as_deref())?;
    let name = input.name.clone();
    let meter = Meter::new("loading", "bytes", input.len);
    let mut reader = Reader::new(input.reader, args.lenient_backslash);
    // Before the store is made: most of what is not a dump is seen here.
    let first = match args.text {
        true => None,
        false => reader.next_section().map_err(|wrong| unreadable(wrong, &name).and("nothing was loaded"))?,
    };
    let existed = fs::symlink_metadata(&args.file).is_ok();
    let page_size = first
        .as_ref()
        .and_then(|header| usize::try_from(header.page_size?).ok())
        .filter(|size| is_page_size(*size));
    let db = open_to_write(&args.file, !args.no_create, args.page_size.or(page_size))?;
    let mut load = Load { args, db: &db, name: &name, meter: &meter, txn: None, counts: Counts::default() };
    let loaded = load.run(&mut reader, first);
    let counts = load.finish();
    drop(meter);
    if let Err(failure) = loaded {
        if !existed {
            remove_new(&db, &args.file);
        }
        return Err(failure.and(&counts.after_failure()));
    }
    counts.print(args)
}

/// Where the text comes from.
struct Input {
    name: String,
    len: Option<u64>,
    reader: Box<dyn BufRead>,
}

impl Input {
    fn open(path: Option<&Path>) -> Result<Self> {
        const BUFFER: usize = 256 << 10;
        let Some(path) = path.filter(|path| *path != Path::new("-")) else {
            return Ok(Input {
                name: "standard input".into(),
                len: None,
                reader: Box::new(BufReader::with_capacity(BUFFER, stdin())),
            });
        };
        let name = path.display().to_string();
        let file =
            File::open(path).map_err(|error| Failure::elsewhere(&name, format!("cannot read: {error}")))?;
        let len = file.metadata().ok().filter(fs::Metadata::is_file).map(|meta| meta.len());
        Ok(Input { name, len, reader: Box::new(BufReader::with_capacity(BUFFER, file)) })
    }
}

fn unreadable(error: ReadError, name: &str) -> Failure {
    Failure::elsewhere(name, error.to_string())
}

/// What was done.
#[derive(Default)]
struct Counts {
    loaded: u64,
    skipped: u64,
    committed: u64,
    tables: BTreeSet<String>,
}

impl Counts {
    fn after_failure(&self) -> String {
        match self.committed {
            0 => "nothing was loaded".into(),
            committed => format!("the first {committed} records were committed (--batch)"),
        }
    }

    fn print(&self, args: &Args) -> Result {
        let Counts { loaded, skipped, tables, .. } = self;
        if args.json.json {
            return print_json(&json!({ "loaded": loaded, "skipped": skipped, "tables": tables }));
        }
        let skipped =
            if args.no_overwrite { format!(", {skipped} skipped that were there") } else { String::new() };
        print_line(&format!("loaded {loaded} records into {} tables{skipped}", tables.len()))?;
        Ok(Outcome::Fine)
    }
}

/// One load under way.
struct Load<'l> {
    args: &'l Args,
    db: &'l Database,
    name: &'l str,
    meter: &'l Meter,
    txn: Option<WriteTxn>,
    counts: Counts,
}

/// A section's table, and how its records are put.
struct Target {
    table: String,
    /// Whether it is a multimap.
    multi: bool,
    /// The key before, where keys may repeat in the dump and not in the table; `None` anywhere else.
    previous: Option<Option<Vec<u8>>>,
    /// Whether the table was empty, so that any key that is there came from this section.
    was_empty: bool,
}

impl Load<'_> {
    fn run(&mut self, reader: &mut Reader<Box<dyn BufRead>>, first: Option<Header>) -> Result<()> {
        if self.args.text {
            self.load_text(reader)?;
        }
        let mut section = first;
        while let Some(header) = section {
            self.load_section(reader, &header)?;
            section = reader.next_section().map_err(|wrong| unreadable(wrong, self.name))?;
        }
        self.commit()
    }

    fn finish(self) -> Counts {
        self.counts
    }

    fn load_text(&mut self, reader: &mut Reader<Box<dyn BufRead>>) -> Result<()> {
        let mut target = self.target(None, None, false)?;
        loop {
            let line = reader.line();
            match reader.next_text_pair().map_err(|wrong| unreadable(wrong, self.name))? {
                Some((key, value)) => self.put(&mut target, line, key, value)?,
                None => return Ok(()),
            }
            self.meter.set(reader.offset());
        }
    }

    fn load_section(&mut self, reader: &mut Reader<Box<dyn BufRead>>, header: &Header) -> Result<()> {
        let mut target =
            self.target(header.database.as_deref(), header.schema.as_ref(), header.duplicates)?;
        for flag in &header.foreign_order {
            let table = shown(&target.table);
            let what = if flag.ends_with("dup") { "values" } else { "keys" };
            tell(&format!(
                "{}: table {table}: {flag}=1: {what} are kept as they are, their order becomes bytewise",
                self.name
            ));
        }
        loop {
            let line = reader.line();
            match reader.next_record().map_err(|wrong| unreadable(wrong, self.name))? {
                Some((key, value)) => self.put(&mut target, line, key, value)?,
                None => return Ok(()),
            }
            self.meter.set(reader.offset());
        }
    }

    /// Makes sure that the section's table is there.
    fn target(&mut self, named: Option<&str>, schema: Option<&Schema>, duplicates: bool) -> Result<Target> {
        let table = named.or(self.args.table.as_deref()).unwrap_or(MAIN).to_owned();
        let txn = open_txn(&mut self.txn, self.db)?;
        let tables = txn.tables()?;
        let stored = tables.iter().find(|stored| stored.name == table);
        let plain = Schema { multi: duplicates, ..Schema::bytes() };
        match stored {
            Some(stored) => check_schema(stored, schema)?,
            None => txn.create_table(&table, schema.unwrap_or(&plain))?,
        }
        let multi = stored.map_or(duplicates, |stored| stored.schema.multi);
        self.counts.tables.insert(table.clone());
        Ok(Target {
            table,
            multi,
            previous: (duplicates && !multi).then_some(None),
            was_empty: stored.is_none_or(|stored| stored.len == 0),
        })
    }

    fn put(&mut self, target: &mut Target, line: u64, key: &[u8], value: &[u8]) -> Result<()> {
        let txn = open_txn(&mut self.txn, self.db)?;
        if let Some(previous) = &mut target.previous {
            let repeated =
                previous.as_deref() == Some(key) || (target.was_empty && holds(txn, &target.table, key)?);
            if repeated {
                return Err(Failure::elsewhere(
                    self.name,
                    format!(
                        "line {line}: table {}: the key is there already, and the dump has several values for a key, the \
                         table one; load it into a new table, which becomes a multimap",
                        shown(&target.table)
                    ),
                ));
            }
            *previous = Some(key.to_vec());
        }
        let put = match self.args.no_overwrite {
            no_overwrite if target.multi => {
                // What is there already is not another record.
                txn.raw_put_value(&target.table, key, value).map(|is_new| is_new || !no_overwrite)
            }
            true => txn.raw_put_new(&target.table, key, value),
            false => txn.raw_put(&target.table, key, value).map(|_| true),
        };
        let put = put
            .map_err(|error| Failure::problem(format!("record at line {line} of {}: {error}", self.name)))?;
        self.counts.loaded += u64::from(put);
        self.counts.skipped += u64::from(!put);
        let records = self.counts.loaded + self.counts.skipped;
        if self.args.batch.is_some_and(|batch| records.is_multiple_of(batch)) {
            self.commit()?;
        }
        Ok(())
    }

    fn commit(&mut self) -> Result<()> {
        if let Some(txn) = self.txn.take() {
            txn.commit()?;
            self.counts.committed = self.counts.loaded;
        }
        Ok(())
    }
}

fn open_txn<'t>(txn: &'t mut Option<WriteTxn>, db: &Database) -> Result<&'t mut WriteTxn> {
    Ok(match txn {
        Some(txn) => txn,
        none => none.insert(db.begin_write()?),
    })
}

fn holds(txn: &WriteTxn, table: &str, key: &[u8]) -> Result<bool> {
    match txn.raw_table(table)? {
        Some(view) => Ok(view.contains(key)?),
        None => Ok(false),
    }
}

fn check_schema(stored: &TableInfo, dumped: Option<&Schema>) -> Result<()> {
    match dumped {
        Some(dumped) if *dumped != stored.schema => Err(Failure::problem(format!(
            "table {} is stored as {}, the dump has it as {dumped}; load it into another store, or drop or rename the table",
            shown(&stored.name),
            stored.schema,
        ))),
        _ => Ok(()),
    }
}

//! `mapleaf load`: the text of a dump into the store.
//!
//! Promises: without `--batch` all is loaded in one txn or nothing is. A dump that is cut or damaged anywhere leaves the file as it
//! was; a file that this load made is removed again. Memory: the largest record, and what a write txn keeps.

use crate::cli::{ReportArgs, TurnArg, order};
use crate::dump_text::{Header, ReadError, Reader};
use crate::failure::{Failure, Result, tell};
use crate::intake::{Intake, Into};
use crate::progress::Meter;
use crate::store::{MAIN, shown};
use mapleaf::{Schema, TableInfo, WriteTxn};
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
    /// Do not overwrite: keys that are there keep their values, are counted, and make the exit code 1
    #[arg(short = 'N', long = "no-overwrite")]
    no_overwrite: bool,
    /// The table of sections that name none, and of -T; by default the main table
    #[arg(short = 's', long = "table", value_name = "TABLE", display_order = order::TABLE)]
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
    turn: TurnArg,
    #[command(flatten)]
    report: ReportArgs,
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
    let page_size = first
        .as_ref()
        .and_then(|header| usize::try_from(header.page_size?).ok())
        .filter(|size| is_page_size(*size));
    let into = Into {
        file: &args.file,
        create: !args.no_create,
        page_size: args.page_size.or(page_size),
        batch: args.batch,
        no_overwrite: args.no_overwrite,
        turn: args.turn,
    };
    let counts = into.fill(|intake| {
        let mut load = Load { args, name: &name, meter: &meter, intake };
        load.run(&mut reader, first)
    });
    drop(meter);
    counts?.tell(&args.file, args.no_overwrite, args.report)
}

/// Where the text comes from.
pub struct Input {
    /// For messages.
    pub name: String,
    /// Where it is known.
    pub len: Option<u64>,
    /// The text.
    pub reader: Box<dyn BufRead>,
}

impl Input {
    /// This file, or standard input.
    pub fn open(path: Option<&Path>) -> Result<Self> {
        const BUFFER: usize = 256 << 10;
        let Some(path) = path.filter(|path| *path != Path::new("-")) else {
            return Ok(Input {
                name: "standard input".into(),
                len: None,
                reader: Box::new(BufReader::with_capacity(BUFFER, stdin())),
            });
        };
        let name = path.display().to_string();
        let file = File::open(path).map_err(|error| Failure::unread(&name, &error))?;
        let len = file.metadata().ok().filter(fs::Metadata::is_file).map(|meta| meta.len());
        Ok(Input { name, len, reader: Box::new(BufReader::with_capacity(BUFFER, file)) })
    }
}

fn unreadable(error: ReadError, name: &str) -> Failure {
    Failure::elsewhere(name, error.to_string())
}

/// One load under way.
struct Load<'l, 'd> {
    args: &'l Args,
    name: &'l str,
    meter: &'l Meter,
    intake: &'l mut Intake<'d>,
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

impl Load<'_, '_> {
    fn run(&mut self, reader: &mut Reader<Box<dyn BufRead>>, first: Option<Header>) -> Result<()> {
        if self.args.text {
            self.load_text(reader)?;
        }
        let mut section = first;
        while let Some(header) = section {
            self.load_section(reader, &header)?;
            section = reader.next_section().map_err(|wrong| unreadable(wrong, self.name))?;
        }
        Ok(())
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
        let plain = Schema { multi: duplicates, ..Schema::bytes() };
        let stored = self.intake.table(&table, schema.unwrap_or(&plain))?;
        if let (Some(stored), Some(dumped)) = (&stored, schema) {
            check_schema(stored, dumped)?;
        }
        let multi = stored.as_ref().map_or(duplicates, |stored| stored.schema.multi);
        Ok(Target {
            table,
            multi,
            previous: (duplicates && !multi).then_some(None),
            was_empty: stored.is_none_or(|stored| stored.len == 0),
        })
    }

    fn put(&mut self, target: &mut Target, line: u64, key: &[u8], value: &[u8]) -> Result<()> {
        if let Some(previous) = &mut target.previous {
            let repeated = previous.as_deref() == Some(key)
                || (target.was_empty && holds(self.intake.txn()?, &target.table, key)?);
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
        let name = self.name;
        self.intake
            .put(&target.table, target.multi, key, value, || format!("record at line {line} of {name}"))
    }
}

fn holds(txn: &WriteTxn, table: &str, key: &[u8]) -> Result<bool> {
    match txn.raw_table(table)? {
        Some(view) => Ok(view.contains(key)?),
        None => Ok(false),
    }
}

fn check_schema(stored: &TableInfo, dumped: &Schema) -> Result<()> {
    if *dumped == stored.schema {
        return Ok(());
    }
    Err(Failure::problem(format!(
        "table {} is stored as {}, the dump has it as {dumped}; load it into another store, or drop or rename the table",
        shown(&stored.name),
        stored.schema,
    )))
}

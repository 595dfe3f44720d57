//! `mapleaf dump`: tables as text, from one snapshot.
//!
//! Promises: a file written with `-o` is there whole or as it was before; a dump to standard output that could not be finished
//! has no `DATA=END`, so that no load takes it.

use crate::cli::{LogArg, SnapshotArg, TableArg, order};
use crate::dump_text::{Format, Header, LmdbLines, Writer, fits_a_header_line};
use crate::failure::{Failure, Outcome, Result, tell};
use crate::output::{as_it_was, print, print_json, print_written, replace_file, taken};
use crate::progress::Meter;
use crate::store::{MAIN, choose_if_any, open_to_read, pairs, shown};
use clap::ValueEnum;
use mapleaf::{Database, ReadTxn, Schema, TableInfo};
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// The arguments of dump.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Without -a and -s the main table is written, or the only table if there is just one. Others may write to the store meanwhile: the dump is of one snapshot.\n\n--compat says who shall read the dump. mapleaf: extra header lines keep the types of tables and the number of sections; mdb_load passes over them, db_load does not. bdb: the header that every tool reads. lmdb: with mapsize= and maxreaders=, which LMDB needs for more than 1 MiB, and with \\5c for a backslash, since mdb_load 0.9.24 misreads \\\\.\n\nExamples:\n  mapleaf dump -a app.maple -o app.dump\n  mapleaf dump -p app.maple -s users\n  mapleaf dump -a --compat lmdb app.maple | mdb_load -n new.mdb\n  mapleaf dump --compat bdb app.maple | db_load new.db"
)]
pub struct Args {
    /// The store
    pub file: PathBuf,
    /// Printable characters as they are (format=print), not everything in hex (format=bytevalue)
    #[arg(short = 'p', long = "print")]
    print: bool,
    /// All tables
    #[arg(short = 'a', long = "all", conflicts_with = "table")]
    all: bool,
    #[command(flatten)]
    table: TableArg,
    /// Only list the names of the named tables, one a line
    #[arg(short = 'l', long = "list", conflicts_with_all = ["print", "all", "table", "output", "mapsize"])]
    list: bool,
    /// Write to this file, which is replaced when the dump is whole; - is standard output
    #[arg(short, long, visible_short_alias = 'f', alias = "file", value_name = "PATH")]
    output: Option<PathBuf>,
    /// Who shall read it
    #[arg(long, value_enum, default_value_t = Compat::Mapleaf)]
    compat: Compat,
    /// mapsize= for --compat lmdb, by default four times the file, at least 1 MiB
    #[arg(long, value_name = "BYTES")]
    mapsize: Option<u64>,
    #[command(flatten)]
    snapshot: SnapshotArg,
    #[command(flatten)]
    log: LogArg,
    /// Print JSON: of -o what was written, of -l the names
    #[arg(long, overrides_with = "json", display_order = order::JSON)]
    json: bool,
}

/// Which tools shall read a dump.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Compat {
    Mapleaf,
    Bdb,
    Lmdb,
}

/// Runs it.
pub fn run(args: &Args) -> Result {
    if args.mapsize.is_some() && args.compat != Compat::Lmdb {
        return Err(Failure::Usage("--mapsize goes with --compat lmdb".into()));
    }
    let path = args.output.as_deref().filter(|path| *path != Path::new("-"));
    if args.json && path.is_none() && !args.list {
        return Err(taken("the dump"));
    }
    let db = open_to_read(&args.file, args.log)?;
    let txn = args.snapshot.begin(&db)?;
    let tables = txn.tables()?;
    if args.list {
        let mut names = tables.iter().map(|table| &table.name).filter(|name| *name != MAIN);
        return match args.json {
            true => print_json(&names.collect::<Vec<_>>()),
            false => print(|output| names.try_for_each(|name| Ok(writeln!(output, "{name}")?))),
        };
    }
    let dump = Dump::new(args, &db, &txn, &tables)?;
    match path {
        None => print(|output| {
            dump.write(output, &Meter::none()).map(drop).map_err(|stop| stop.into_failure(None))
        }),
        Some(path) => {
            let records = dump.write_file(path)?;
            match args.json {
                true => print_written(path, &[("tables", dump.sections.len() as u64), ("records", records)]),
                false => Ok(Outcome::Fine),
            }
        }
    }
}

/// What is written, and where from.
struct Dump<'d> {
    txn: &'d ReadTxn,
    store: &'d Path,
    /// Name, schema, and header of every section.
    sections: Vec<(&'d TableInfo, Header)>,
    /// An empty store is an empty main table.
    empty: Option<Header>,
    compat: Compat,
}

/// Why writing stopped.
enum Stop {
    Output(io::Error),
    Store(mapleaf::Error),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Stop::Output(error)
    }
}

impl From<mapleaf::Error> for Stop {
    fn from(error: mapleaf::Error) -> Self {
        Stop::Store(error)
    }
}

impl Stop {
    fn into_failure(self, path: Option<&Path>) -> Failure {
        match (self, path) {
            (Stop::Store(error), _) => Failure::from(error).and("the dump is not whole"),
            (Stop::Output(error), None) => error.into(),
            (Stop::Output(error), Some(path)) => as_it_was(path, &error),
        }
    }
}

impl<'d> Dump<'d> {
    fn new(args: &'d Args, db: &Database, txn: &'d ReadTxn, tables: &'d [TableInfo]) -> Result<Self> {
        let chosen: Vec<&TableInfo> = match args.all {
            true => tables.iter().collect(),
            false => choose_if_any(tables, args.table.asked())?.into_iter().collect(),
        };
        if let (Some(asked), []) = (args.table.asked(), &chosen[..]) {
            crate::store::choose(tables, Some(asked))?;
        }
        let plain = args.plain_header(db)?;
        let count = chosen.len() as u64;
        let section = |(index, table): (usize, &'d TableInfo)| {
            let index = (count > 1 && args.compat == Compat::Mapleaf).then_some((index as u64 + 1, count));
            Ok((table, Header { section: index, ..args.header(&plain, table)? }))
        };
        let sections = chosen.into_iter().enumerate().map(section).collect::<Result<Vec<_>>>()?;
        let empty = sections.is_empty().then_some(plain);
        Ok(Dump { txn, store: &args.file, sections, empty, compat: args.compat })
    }

    /// Returns how many records there are.
    fn write(&self, output: &mut impl Write, meter: &Meter) -> Result<u64, Stop> {
        let mut writer = Writer::new(output).hex_backslash(self.compat == Compat::Lmdb);
        if let Some(header) = &self.empty {
            writer.begin_section(header)?;
            writer.end_section()?;
        }
        let (mut done, mut too_long) = (0, 0u64);
        for (table, header) in &self.sections {
            writer.begin_section(header)?;
            for pair in pairs(self.txn, table)? {
                let (key, value) = pair?;
                writer.record(key, value)?;
                let is_too_long = table.schema.multi && value.len() > LMDB_KEY;
                too_long += u64::from(is_too_long || !(1..=LMDB_KEY).contains(&key.len()));
                done += 1;
                meter.set(done);
            }
            writer.end_section()?;
        }
        if self.compat == Compat::Lmdb && too_long > 0 {
            tell(&format!(
                "{}: {too_long} keys are empty or longer than {LMDB_KEY} bytes, or have a value among several that is longer: \
                 LMDB before 1.0 will refuse them",
                self.store.display()
            ));
        }
        Ok(done)
    }

    fn write_file(&self, path: &Path) -> Result<u64> {
        let total = self.sections.iter().map(|(table, _)| table.len).sum();
        let meter = Meter::new("dumping", "records", Some(total));
        replace_file(path, Some(self.store), |file| {
            self.write_to(file, &meter).map_err(|stop| stop.into_failure(Some(path)))
        })
    }

    fn write_to(&self, file: &File, meter: &Meter) -> Result<u64, Stop> {
        let mut output = BufWriter::with_capacity(1 << 20, file);
        let records = self.write(&mut output, meter)?;
        output.flush()?;
        Ok(records)
    }
}

/// Longest key of LMDB 0.9.
const LMDB_KEY: usize = 511;

impl Args {
    /// The header of a plain main table.
    fn plain_header(&self, db: &Database) -> Result<Header> {
        let format = if self.print { Format::Print } else { Format::Bytevalue };
        let mut header = Header { page_size: Some(db.page_size() as u64), ..Header::new(format) };
        if self.compat == Compat::Lmdb {
            let len = fs::metadata(&self.file).map_or(0, |meta| meta.len());
            let mapsize = self.mapsize.unwrap_or_else(|| (4 * len).next_multiple_of(1 << 20).max(1 << 20));
            header.lmdb = Some(LmdbLines { mapsize, maxreaders: 126 });
        }
        Ok(header)
    }

    fn header(&self, plain: &Header, table: &TableInfo) -> Result<Header> {
        let mut header = plain.clone();
        header.duplicates = table.schema.multi;
        if table.name != MAIN {
            header.database = Some(table.name.clone());
        }
        if self.compat == Compat::Mapleaf {
            let plain = Schema { multi: table.schema.multi, ..Schema::bytes() };
            header.schema = Some(table.schema.clone()).filter(|schema| *schema != plain);
        } else if !fits_a_header_line(&table.name) {
            return Err(Failure::problem(format!(
                "table {}: its name cannot stand in a dump for other tools; rename it, or dump with --compat mapleaf",
                shown(&table.name)
            )));
        }
        Ok(header)
    }
}

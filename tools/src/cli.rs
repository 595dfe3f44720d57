//! The command line: the list of commands, and the arguments that several of them share.

use crate::commands::{
    backup, bench, checkpoint, compact, completions, copy, del, diff, dump, explore, export, get, import,
    load, man, map, page, plot, put, readers, restore, salvage, scan, shell, snapshot, stat, table, tables,
    tree, trim, verify, watch,
};
use crate::failure::{Failure, Outcome, Result};
use crate::formats::{Codec, Format, type_name};
use crate::output::{print_json, print_line};
use crate::store::shown;
use clap::{Args, Parser, Subcommand};
use mapleaf::{Database, ReadTxn, Schema, TableInfo, WriteTxn};
use serde_json::Value;
use std::ffi::OsStr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Looks into, checks, fills and changes mapleaf stores.
#[derive(Debug, Parser)]
#[command(name = "mapleaf", version, after_help = EXAMPLES, max_term_width = 110)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXAMPLES: &str = "\
Examples:
  mapleaf put --create app.maple greeting hello      makes a store with a pair in its main table
  mapleaf get app.maple greeting
  mapleaf scan app.maple -s users --prefix an --limit 10
  mapleaf import lmdb ./old app.maple                takes over an LMDB environment
  mapleaf shell app.maple
  mapleaf verify app.maple && mapleaf stat --json app.maple

Without -s TABLE the main table is meant, whose name is empty (-s \"\"), or the only table.
Exit codes: 0 done; 1 a problem was found; 2 wrong use.
A store is a file, with a lock file FILE-lock beside it, which needs no backup.
\"mapleaf COMMAND --help\" has examples of each.";

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show what the store and its tables consist of
    Stat(stat::Args),
    /// Check every page, and that each is used once
    Verify(verify::Args),
    /// Rescue what is whole of a damaged store into a new one
    Salvage(salvage::Args),
    /// Write one state to a file or a pipe, or what changed since
    Backup(backup::Args),
    /// Make a new store from a backup, or from a chain of them
    Restore(restore::Args),
    /// Make the file shorter, while others work
    Compact(compact::Args),
    /// Give free space back to the file system, while others work
    Trim(trim::Args),
    /// Make another store of one state, while others work
    Copy(copy::Args),
    /// Write tables as text that load, mdb_load and db_load read
    Dump(dump::Args),
    /// Read the text of mapleaf dump, mdb_dump or db_dump
    Load(load::Args),
    /// Write tables as CSV, TSV or JSON lines
    Export(export::Args),
    /// Take over CSV, TSV, JSON lines, LMDB, redb or SQLite
    Import(import::Args),
    /// Print the value at a key
    Get(get::Args),
    /// Put a value at a key
    Put(put::Args),
    /// Delete a key and its value
    Del(del::Args),
    /// Print the pairs of a range of keys, in order
    Scan(scan::Args),
    /// Work line by line, with completion, history and txns
    Shell(shell::Args),
    /// Print what was changed since a snapshot, or between two
    Diff(diff::Args),
    /// Print what is committed, as it comes
    Watch(watch::Args),
    /// List the tables
    Tables(tables::Args),
    /// Make, drop and rename tables
    Table(table::Args),
    /// List who holds snapshots, and what that costs
    Readers(readers::Args),
    /// List, make and drop snapshots with names
    Snapshot(snapshot::Args),
    /// Print a page byte by byte, labelled
    Page(page::Args),
    /// Draw which page is what, in the terminal or as a picture
    Map(map::Args),
    /// Walk through a store page by page, in the terminal
    Explore(explore::Args),
    /// Draw a table's tree, in the terminal or as a picture
    Tree(tree::Args),
    /// Draw charts of what benchmarks found
    Plot(plot::Args),
    /// Bring what is in the log to its place
    Checkpoint(checkpoint::Args),
    /// Measure how fast a store is in a directory
    Bench(bench::Args),
    /// Print what a shell needs to complete command lines
    Completions(completions::Args),
    /// Print a page of the manual, or write all of them
    Man(man::Args),
}

impl Command {
    /// Runs it.
    pub fn run(&self) -> Result {
        match self {
            Command::Stat(args) => stat::run(args),
            Command::Verify(args) => verify::run(args),
            Command::Salvage(args) => salvage::run(args),
            Command::Backup(args) => backup::run(args),
            Command::Restore(args) => restore::run(args),
            Command::Compact(args) => compact::run(args),
            Command::Trim(args) => trim::run(args),
            Command::Copy(args) => copy::run(args),
            Command::Dump(args) => dump::run(args),
            Command::Load(args) => load::run(args),
            Command::Export(args) => export::run(args),
            Command::Import(args) => import::run(args),
            Command::Get(args) => get::run(args),
            Command::Put(args) => put::run(args),
            Command::Del(args) => del::run(args),
            Command::Scan(args) => scan::run(args),
            Command::Shell(args) => shell::run(args),
            Command::Diff(args) => diff::run(args),
            Command::Watch(args) => watch::run(args),
            Command::Tables(args) => tables::run(args),
            Command::Table(args) => table::run(args),
            Command::Readers(args) => readers::run(args),
            Command::Snapshot(args) => snapshot::run(args),
            Command::Page(args) => page::run(args),
            Command::Map(args) => map::run(args),
            Command::Explore(args) => explore::run(args),
            Command::Tree(args) => tree::run(args),
            Command::Plot(args) => plot::run(args),
            Command::Checkpoint(args) => checkpoint::run(args),
            Command::Bench(args) => bench::run(args),
            Command::Completions(args) => completions::run(args),
            Command::Man(args) => man::run(args),
        }
    }

    /// The store it works on, if it does.
    pub fn file(&self) -> Option<&PathBuf> {
        Some(match self {
            Command::Stat(args) => &args.file,
            Command::Verify(args) => &args.file,
            Command::Salvage(args) => &args.file,
            Command::Backup(args) => &args.file,
            Command::Restore(args) => args.file(),
            Command::Compact(args) => &args.file,
            Command::Trim(args) => &args.file,
            Command::Copy(args) => &args.file,
            Command::Dump(args) => &args.file,
            Command::Load(args) => &args.file,
            Command::Export(args) => &args.file,
            Command::Import(args) => args.file(),
            Command::Get(args) => &args.file,
            Command::Put(args) => &args.file,
            Command::Del(args) => &args.file,
            Command::Scan(args) => &args.file,
            Command::Shell(args) => &args.file,
            Command::Diff(args) => &args.file,
            Command::Watch(args) => &args.file,
            Command::Tables(args) => &args.file,
            Command::Table(args) => args.file(),
            Command::Readers(args) => &args.file,
            Command::Snapshot(args) => args.file(),
            Command::Page(args) => &args.file,
            Command::Map(args) => &args.file,
            Command::Explore(args) => &args.file,
            Command::Tree(args) => &args.file,
            Command::Plot(args) => args.file(),
            Command::Checkpoint(args) => &args.file,
            Command::Bench(_) | Command::Completions(_) | Command::Man(_) => return None,
        })
    }
}

/// Where shared arguments stand in the help: behind those of the command, in the same order everywhere.
pub mod order {
    /// `-s`
    pub const TABLE: usize = 900;
    /// `--snapshot`
    pub const SNAPSHOT: usize = 910;
    /// `--key-format` and its like.
    pub const FORMAT: usize = 920;
    /// `--ignore-log`
    pub const LOG: usize = 930;
    /// `--wait`
    pub const WAIT: usize = 940;
    /// `--color`
    pub const COLOR: usize = 950;
    /// `-q`
    pub const QUIET: usize = 960;
    /// `--json`
    pub const JSON: usize = 970;
}

/// `-s TABLE`.
#[derive(Debug, Args)]
pub struct TableArg {
    /// The table; by default the main table, or the only one
    #[arg(short = 's', long = "table", value_name = "TABLE", display_order = order::TABLE)]
    pub table: Option<String>,
}

impl TableArg {
    /// What was asked for.
    pub fn asked(&self) -> Option<&str> {
        self.table.as_deref()
    }
}

/// `--key-type`, `--value-type` and `--multi`: what a new table is made of.
#[derive(Debug, Args)]
pub struct SchemaArgs {
    /// The type of the keys of a new table, such as u64, str, '(str,u64)'
    #[arg(long, value_name = "TYPE")]
    pub key_type: Option<String>,
    /// The type of the values of a new table; unit where it has keys only
    #[arg(long, value_name = "TYPE")]
    pub value_type: Option<String>,
    /// Make a new table a multimap: a key has each of its values
    #[arg(long)]
    pub multi: bool,
}

impl SchemaArgs {
    /// That of a new table; what is not asked for is bytes.
    pub fn schema(&self) -> Result<Schema> {
        let name = |asked: &Option<String>| asked.clone().unwrap_or_else(|| "bytes".into());
        import::schema_of(&name(&self.key_type), &name(&self.value_type), self.multi)
    }

    /// Fails where a table that is there is not what is asked for.
    pub fn expect(&self, TableInfo { name, schema, .. }: &TableInfo) -> Result<()> {
        let differs = |asked: &Option<String>, stored: &str| {
            asked.as_ref().is_some_and(|asked| type_name(asked) != stored)
        };
        if !differs(&self.key_type, &schema.key_type)
            && !differs(&self.value_type, &schema.value_type)
            && (schema.multi || !self.multi)
        {
            return Ok(());
        }
        Err(Failure::problem(format!(
            "table {} is stored as {schema}; leave out --key-type, --value-type and --multi, or take another table",
            shown(name)
        )))
    }
}

/// `--ignore-log`.
#[derive(Clone, Copy, Debug, Args)]
pub struct LogArg {
    /// Where a log waits to be replayed, leave it, and show the last checkpoint
    #[arg(long, display_order = order::LOG)]
    pub ignore_log: bool,
}

/// `--snapshot NAME`.
#[derive(Debug, Args)]
pub struct SnapshotArg {
    /// As the store was when this snapshot was made ("mapleaf snapshot list" has the names)
    #[arg(long, value_name = "SNAPSHOT", display_order = order::SNAPSHOT)]
    snapshot: Option<String>,
}

impl SnapshotArg {
    /// What was asked for.
    pub fn asked(&self) -> Option<&str> {
        self.snapshot.as_deref()
    }

    /// Begins at the snapshot that was asked for, or at the newest state.
    pub fn begin(&self, db: &Database) -> Result<ReadTxn> {
        Ok(match &self.snapshot {
            Some(name) => db.read_snapshot(name)?,
            None => db.begin_read()?,
        })
    }
}

/// `--wait TIME`.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct TurnArg {
    /// Wait no longer than this, such as 2s, while another process writes; by default until it ends
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, display_order = order::WAIT)]
    wait: Option<Duration>,
}

impl TurnArg {
    /// Whether it ends.
    pub fn is_limited(self) -> bool {
        self.wait.is_some()
    }

    /// This one, where it is limited; else the other.
    pub fn or(self, other: TurnArg) -> TurnArg {
        if self.is_limited() { self } else { other }
    }

    /// The turn to write.
    pub fn begin(self, db: &Database) -> Result<WriteTxn> {
        let Some(wait) = self.wait else { return Ok(db.begin_write()?) };
        let deadline = Instant::now().checked_add(wait);
        let txn = match deadline {
            Some(deadline) => db.begin_write_deadline(deadline)?,
            None => Some(db.begin_write()?),
        };
        txn.ok_or_else(|| {
            let wait = humantime::format_duration(wait);
            Failure::problem(format!(
                "another process writes, and did not end within {wait}; nothing was done: try again, or wait longer"
            ))
        })
    }
}

/// `--json`.
#[derive(Clone, Copy, Debug, Args)]
pub struct JsonArg {
    /// Print JSON
    #[arg(long, overrides_with = "json", display_order = order::JSON)]
    pub json: bool,
}

/// How a command tells what it has done.
#[derive(Clone, Copy, Debug, Args)]
pub struct ReportArgs {
    /// Print nothing when all goes well
    #[arg(short, long, conflicts_with = "json", display_order = order::QUIET)]
    quiet: bool,
    #[command(flatten)]
    json: JsonArg,
}

impl ReportArgs {
    /// Whether JSON is asked for.
    pub fn is_json(self) -> bool {
        self.json.json
    }

    /// Whether nothing is to be said.
    pub fn is_quiet(self) -> bool {
        self.quiet
    }

    /// Tells it.
    pub fn tell(self, line: &str, document: &Value) -> Result {
        match self.is_json() {
            true => print_json(document),
            false if self.quiet => Ok(Outcome::Fine),
            false => print_line(line),
        }
    }
}

/// How keys and values are typed and shown.
#[derive(Clone, Debug, Args)]
pub struct FormatArgs {
    /// How keys are typed and shown: auto (by the stored type), utf8, hex, escaped (\xx for a byte), base64, or a type, such as u64,
    /// time, '(str,u8)' or 'option(str)'; a tuple is a list in JSON
    #[arg(long, value_name = "FORMAT", default_value_t = Format::Auto, conflicts_with = "hex", display_order = order::FORMAT)]
    key_format: Format,
    /// How values are typed and shown
    #[arg(long, value_name = "FORMAT", default_value_t = Format::Auto, conflicts_with = "hex", display_order = order::FORMAT)]
    value_format: Format,
    /// Both in hex
    #[arg(long, display_order = order::FORMAT)]
    hex: bool,
}

/// The codecs of one table's keys and values.
pub struct Codecs {
    /// Of its keys.
    pub key: Codec,
    /// Of its values.
    pub value: Codec,
}

impl FormatArgs {
    /// What the formats mean in this table, or, without one, in a table of plain bytes.
    pub fn codecs(&self, table: Option<&TableInfo>) -> Codecs {
        let (key_type, value_type) =
            table.map_or(("bytes", "bytes"), |table| (&table.schema.key_type, &table.schema.value_type));
        self.codecs_of(key_type, value_type)
    }

    /// What the formats mean where keys and values have these types.
    pub fn codecs_of(&self, key_type: &str, value_type: &str) -> Codecs {
        match self.hex {
            true => Codecs { key: Codec::Hex, value: Codec::Hex },
            false => {
                Codecs { key: self.key_format.codec(key_type), value: self.value_format.codec(value_type) }
            }
        }
    }
}

impl Codecs {
    /// The bytes of a key from the command line.
    pub fn parse_key(&self, typed: &OsStr) -> Result<Vec<u8>> {
        self.key.parse(typed).map_err(|wrong| refuse("key", &self.key, typed, &wrong))
    }

    /// The bytes that keys begin with, from the command line.
    pub fn parse_prefix(&self, typed: &OsStr) -> Result<Vec<u8>> {
        self.key.parse_prefix(typed).map_err(|wrong| refuse("prefix", &self.key, typed, &wrong))
    }

    /// The bytes of a value from the command line.
    pub fn parse_value(&self, typed: &OsStr) -> Result<Vec<u8>> {
        self.value.parse(typed).map_err(|wrong| refuse("value", &self.value, typed, &wrong))
    }
}

fn refuse(what: &str, codec: &Codec, typed: &OsStr, wrong: &str) -> Failure {
    Failure::Mistyped(match codec {
        Codec::Typed(_, name) => format!("{what} {typed:?}: {wrong}; the type is {name}"),
        _ => format!("{what} {typed:?}: {wrong}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;
    use std::collections::BTreeMap;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    /// What is shared is written the same way everywhere, and every command has examples.
    #[test]
    fn the_same_flag_is_the_same_thing() {
        let mut cli = Cli::command().disable_help_subcommand(true);
        cli.build();
        let mut known: BTreeMap<String, String> = BTreeMap::new();
        // In each command of its own meaning.
        let alone =
            ["from", "to", "count", "key", "value", "file", "all", "output", "table", "format", "create"];
        for command in cli.get_subcommands().flat_map(|one| one.get_subcommands().chain([one])) {
            let name = command.get_name();
            let is_part = ["list", "create", "drop", "redb", "sqlite", "help"].contains(&name);
            let examples = command
                .get_after_help()
                .is_some_and(|help| help.to_string().contains("Examples:\n  mapleaf"));
            assert!(examples || is_part, "{name} has no examples");
            for arg in command.get_arguments() {
                let Some(long) = arg.get_long().filter(|long| !alone.contains(long)) else { continue };
                let short = arg.get_short().map(String::from).unwrap_or_default();
                let values: Vec<&str> =
                    arg.get_value_names().unwrap_or_default().iter().map(|value| value.as_str()).collect();
                let is = format!("-{short} {}", values.join(" "));
                let before = known.entry(long.to_owned()).or_insert_with(|| is.clone());
                assert_eq!(*before, is, "--{long} of {name}");
            }
        }
    }
}

//! Opening stores, undoing their creation, and finding the table that a command line means.

use crate::cli::{Cli, LogArg};
use crate::dump_text::escaped;
use crate::failure::{Failure, Result, tell};
use crate::formats::is_harmless;
use crate::output::{counted, is_same};
use clap::CommandFactory;
use mapleaf::{Database, Error, MultiView, Options, ReadTxn, SnapshotInfo, TableInfo, TableView, WriteTxn};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

/// The table without a name.
pub const MAIN: &str = "";

/// Opens a store that is there, to read it. Others may write to it meanwhile. A log that waits to be replayed, as a killed
/// writer leaves it, is replayed where the file may be written, as by whatever else opens it.
pub fn open_to_read(path: &Path, log: LogArg) -> Result<Database> {
    match open_as(path, &to_read(log.ignore_log)) {
        Err(waits @ Error::LogToReplay { .. }) => match open_as(path, &to_write()) {
            Err(Error::Io { .. }) => Err(unopened(path, waits)),
            opened => opened.map_err(|error| unopened(path, error)),
        },
        opened => opened.map_err(|error| unopened(path, error)),
    }
}

/// Opens a store to judge it as it lies there: nothing is written, and of a log that waits it is told that it does.
pub fn open_to_judge(path: &Path, log: LogArg) -> Result<Database> {
    let opened = match open_as(path, &to_read(log.ignore_log)) {
        Err(Error::LogToReplay { txns }) => {
            tell(&format!(
                "{}: the store was not closed; this is its last checkpoint, without the {} in its log, which \"mapleaf checkpoint\" replays",
                path.display(),
                counted(txns as u64, "txn", "txns"),
            ));
            open_as(path, &to_read(true))
        }
        opened => opened,
    };
    opened.map_err(|error| unopened(path, error))
}

fn to_read(ignore_log: bool) -> Options {
    Options::new().create(false).read_only(true).ignore_log(ignore_log).guarded_reads(true)
}

fn to_write() -> Options {
    Options::new().create(false).guarded_reads(true)
}

/// Opens a store to change it; with `create` it is made if it is not there.
pub fn open_to_write(path: &Path, create: bool, page_size: Option<usize>) -> Result<Database> {
    let options = to_write().create(create);
    let opened = open_as(path, &page_size.into_iter().fold(options, Options::page_size));
    opened.map_err(|error| unopened(path, error))
}

#[allow(unsafe_code)]
fn open_as(path: &Path, options: &Options) -> mapleaf::Result<Database> {
    // What a list of readers shows: the command, or the program's name where that says it.
    let word = std::env::args_os().nth(1).and_then(|word| word.into_string().ok());
    let command = word.filter(|word| Cli::command().find_subcommand(word).is_some());
    let options = &command.iter().fold(options.clone(), |options, command| options.label(command));
    // SAFETY: whoever runs this tool on a file says, as the manual asks, that only mapleaf changes it meanwhile.
    unsafe { options.open(path) }
}

/// Why this is no store that can be opened.
pub fn unopened(path: &Path, error: Error) -> Failure {
    let failure = match error {
        Error::Io { source, .. } if source.kind() == io::ErrorKind::NotFound && !path.exists() => {
            Failure::problem(
                "no such file; check the path, or make a store with \"mapleaf load\" or \"mapleaf put --create\"",
            )
        }
        Error::Io { context, source } if context == format!("open {}", path.display()) && !path.is_dir() => {
            Failure::problem(format!("cannot open: {source}"))
        }
        Error::Io { .. } if path.is_dir() => {
            Failure::problem("a directory, and a store is a file; check the path")
        }
        Error::Busy { detail } => {
            let detail = detail.strip_prefix(&format!("{} ", path.display())).unwrap_or(&detail);
            Failure::problem(detail)
        }
        Error::NotAStore { detail } => Failure::problem(match beginning(path) {
            Some(found) => format!(
                "not a mapleaf store: it begins with {found}, a store with \"mapleaf\"; check the path"
            ),
            None => {
                let detail = detail.strip_prefix(&format!("{}: ", path.display())).unwrap_or(&detail);
                format!("not a mapleaf store, or both its meta slots are damaged: {detail}")
            }
        }),
        Error::LogToReplay { txns } => Failure::problem(format!(
            "the store was not closed, and may not be written here: its log has {} more than the tables; \
             run \"mapleaf checkpoint\" on a copy, or give --ignore-log to see its last checkpoint",
            counted(txns as u64, "txn", "txns"),
        )),
        other => other.into(),
    };
    failure.of(&path.display().to_string())
}

/// How a file begins that begins as no store does.
fn beginning(path: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(7).read_to_end(&mut bytes).ok()?;
    let text = std::str::from_utf8(&bytes).ok().filter(|text| text.chars().all(is_harmless));
    match &bytes[..] {
        b"mapleaf" => None,
        [] => Some("nothing".into()),
        _ => Some(text.map_or_else(|| format!("\"{}\"", escaped(&bytes)), shown)),
    }
}

/// Fails where something is that is to be made of `source`. What is made looks once more, when it gets its name.
pub fn expect_absent(path: &Path, source: &Path) -> Result<()> {
    match fs::symlink_metadata(path) {
        Ok(_) if is_same(path, source) => Err(Failure::elsewhere(
            path.display().to_string(),
            "that is the file that is to be read; choose another name",
        )),
        Ok(_) => Err(Failure::elsewhere(
            path.display().to_string(),
            "exists already; remove it, or choose another name",
        )),
        Err(_) => Ok(()),
    }
}

/// The table that is meant: the one asked for, else the main table, else the only one.
pub fn choose<'t>(tables: &'t [TableInfo], asked: Option<&str>) -> Result<&'t TableInfo> {
    match choose_if_any(tables, asked)? {
        Some(table) => Ok(table),
        None => Err(Failure::problem(format!("no table {}; {}", shown(asked.unwrap_or(MAIN)), list(tables)))),
    }
}

/// As [`choose`]; `None` where no table is there by that name, or none at all.
pub fn choose_if_any<'t>(tables: &'t [TableInfo], asked: Option<&str>) -> Result<Option<&'t TableInfo>> {
    let find = |name: &str| tables.iter().find(|table| table.name == name);
    match (asked, tables) {
        (Some(name), _) => Ok(find(name)),
        (None, [only]) => Ok(Some(only)),
        (None, _) => match find(MAIN) {
            None if !tables.is_empty() => {
                Err(Failure::problem(format!("which table? give -s TABLE; {}", list(tables))))
            }
            main => Ok(main),
        },
    }
}

fn list(tables: &[TableInfo]) -> String {
    const MOST: usize = 20;
    let names: Vec<String> = tables.iter().take(MOST).map(|table| shown(&table.name)).collect();
    match tables.len() {
        0 => "the store has no tables".into(),
        count if count > MOST => {
            format!("there are {count} tables: {}, …; \"mapleaf tables\" lists them", names.join(", "))
        }
        _ => format!("it has {}", names.join(", ")),
    }
}

/// A state to read: a snapshot, or a write txn as it is now.
#[derive(Clone, Copy)]
pub enum State<'t> {
    /// A snapshot.
    Read(&'t ReadTxn),
    /// With what it has changed.
    Write(&'t WriteTxn),
}

impl<'t> State<'t> {
    /// The tables.
    pub fn tables(self) -> mapleaf::Result<Vec<TableInfo>> {
        match self {
            State::Read(txn) => txn.tables(),
            State::Write(txn) => txn.tables(),
        }
    }

    /// The stored snapshots.
    pub fn snapshots(self) -> mapleaf::Result<Vec<SnapshotInfo>> {
        match self {
            State::Read(txn) => txn.snapshots(),
            State::Write(txn) => txn.snapshots(),
        }
    }

    /// A table that is no multimap.
    pub fn table(self, name: &str) -> mapleaf::Result<Option<TableView<'t, [u8], [u8]>>> {
        match self {
            State::Read(txn) => txn.raw_table(name),
            State::Write(txn) => txn.raw_table(name),
        }
    }

    /// A multimap.
    pub fn multi(self, name: &str) -> mapleaf::Result<Option<MultiView<'t, [u8], [u8]>>> {
        match self {
            State::Read(txn) => txn.raw_multi(name),
            State::Write(txn) => txn.raw_multi(name),
        }
    }
}

/// What a table has, as bytes.
pub type Pairs<'t> = Box<dyn Iterator<Item = mapleaf::Result<(&'t [u8], &'t [u8])>> + 't>;

/// The records of a table; a multimap's keys come with each of their values.
pub fn pairs<'t>(txn: &'t ReadTxn, table: &TableInfo) -> mapleaf::Result<Pairs<'t>> {
    Ok(match table.schema.multi {
        true => Box::new(txn.raw_multi(&table.name)?.into_iter().flat_map(|view| view.iter())),
        false => Box::new(txn.raw_table(&table.name)?.into_iter().flat_map(|view| view.iter())),
    })
}

/// A table name in quotes, so that the empty one is seen too.
pub fn shown(name: &str) -> String {
    format!("{name:?}")
}

/// Removes a store that this command made, and its lock file, unless someone has put something into it meanwhile. The turn to
/// write is held, so that nobody commits to a file that is going away. That it fails is not worth an error of its own.
pub fn remove_new(db: &Database, path: &Path) {
    let Ok(Some(txn)) = db.try_begin_write() else { return };
    if txn.user_version() != 0 || !txn.tables().is_ok_and(|tables| tables.is_empty()) {
        return;
    }
    let mut sidecar = path.as_os_str().to_owned();
    sidecar.push("-lock");
    let _ = fs::remove_file(path).and_then(|()| fs::remove_file(sidecar));
}

//! Called as `mdb_stat`, `mdb_dump`, `mdb_load` or `mdb_copy` (a link to the tool by that name), it takes the flags of LMDB's tools and
//! prints what they print, of mapleaf's files, so that scripts go on working.
//!
//! What LMDB has and mapleaf has not is passed over: `-n`, since a store is a file; a path that is a directory means the file
//! `data.mdb` in it, as there. Errors, and the codes at the end, are those of this tool: 0, or 1 for any problem.

use crate::cli::{Cli, LogArg};
use crate::failure::{Failure, Outcome, Result, misused};
use crate::output::{Output, print};
use crate::store::{MAIN, choose, open_to_read};
use clap::{ArgAction, Parser};
use mapleaf::{Database, Reader, Stats, TableInfo, TableStats};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Write, stdout};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// One of LMDB's tools.
#[derive(Debug)]
enum Alias {
    Stat(Stat),
    Dump(Dump),
    Load(Load),
    Copy(Copy),
}

/// Shows what the store and its tables consist of
#[derive(Debug, Parser)]
#[command(name = "mdb_stat", version, disable_version_flag = true)]
struct Stat {
    #[command(flatten)]
    common: Common,
    /// Information on the file
    #[arg(short = 'e')]
    environment: bool,
    /// The free pages; given more often, no more than that
    #[arg(short = 'f', action = ArgAction::Count)]
    free: u8,
    /// The readers; given twice, those of dead processes are freed
    #[arg(short = 'r', action = ArgAction::Count)]
    readers: u8,
    /// All tables
    #[arg(short = 'a', conflicts_with = "table")]
    all: bool,
    /// This table
    #[arg(short = 's', value_name = "TABLE")]
    table: Option<String>,
    /// The store
    path: PathBuf,
}

/// Writes tables as text
#[derive(Debug, Parser)]
#[command(name = "mdb_dump", version, disable_version_flag = true)]
struct Dump {
    #[command(flatten)]
    common: Common,
    /// List the tables
    #[arg(short = 'l')]
    list: bool,
    /// Printable characters as they are
    #[arg(short = 'p')]
    print: bool,
    /// All tables
    #[arg(short = 'a', conflicts_with = "table")]
    all: bool,
    /// This table
    #[arg(short = 's', value_name = "TABLE")]
    table: Option<String>,
    /// Write to this file
    #[arg(short = 'f', value_name = "FILE")]
    file: Option<PathBuf>,
    /// The store
    path: PathBuf,
}

/// Reads the text of a dump
#[derive(Debug, Parser)]
#[command(name = "mdb_load", version, disable_version_flag = true)]
struct Load {
    #[command(flatten)]
    common: Common,
    /// Put records behind the last of the table (any order is taken)
    #[arg(short = 'a')]
    append: bool,
    /// Read from this file
    #[arg(short = 'f', value_name = "FILE")]
    file: Option<PathBuf>,
    /// Into this table
    #[arg(short = 's', value_name = "TABLE")]
    table: Option<String>,
    /// Keys that are there keep their values
    #[arg(short = 'N')]
    no_overwrite: bool,
    /// Pairs of text lines
    #[arg(short = 'T')]
    text: bool,
    /// Do not wait for the disk (it always does, once)
    #[arg(short = 'Q')]
    quick: bool,
    /// The store
    path: PathBuf,
}

/// Makes a copy of a store
#[derive(Debug, Parser)]
#[command(name = "mdb_copy", version, disable_version_flag = true)]
struct Copy {
    #[command(flatten)]
    common: Common,
    /// Write every table anew, without free pages
    #[arg(short = 'c')]
    compact: bool,
    /// The store
    path: PathBuf,
    /// The copy, or the directory that it is made in; by default standard output
    to: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
struct Common {
    /// Print the version
    #[arg(short = 'V', action = ArgAction::Version)]
    version: Option<bool>,
    /// The path is a file (of a store it always is)
    #[arg(short = 'n')]
    no_directory: bool,
}

/// The exit code, if the tool is called by one of these names.
pub fn run(args: impl IntoIterator<Item = OsString>) -> Option<ExitCode> {
    let args: Vec<OsString> = args.into_iter().collect();
    let name = Path::new(args.first()?).file_name()?.to_str()?.to_owned();
    let parsed = match name.as_str() {
        "mdb_stat" => Stat::try_parse_from(args).map(Alias::Stat),
        "mdb_dump" => Dump::try_parse_from(args).map(Alias::Dump),
        "mdb_load" => Load::try_parse_from(args).map(Alias::Load),
        "mdb_copy" => Copy::try_parse_from(args).map(Alias::Copy),
        _ => return None,
    };
    let alias = match parsed {
        Ok(alias) => alias,
        Err(wrong) => return Some(misused(&wrong)),
    };
    Some(match alias.run() {
        Ok(Outcome::Fine) => ExitCode::SUCCESS,
        Ok(Outcome::Problem) => ExitCode::FAILURE,
        Err(failure) => failure.report(Some(alias.path())),
    })
}

/// A directory means the file in it.
fn file_of(path: &Path) -> PathBuf {
    if path.is_dir() { path.join("data.mdb") } else { path.to_owned() }
}

impl Alias {
    fn path(&self) -> &Path {
        match self {
            Alias::Stat(Stat { path, .. })
            | Alias::Dump(Dump { path, .. })
            | Alias::Load(Load { path, .. })
            | Alias::Copy(Copy { path, .. }) => path,
        }
    }

    fn run(&self) -> Result {
        match self {
            Alias::Stat(stat) => stat.run(),
            Alias::Dump(dump) => dump.run(),
            Alias::Load(load) => load.run(),
            Alias::Copy(copy) => copy.run(),
        }
    }
}

/// Runs a command of this tool.
fn command(words: &[&str], file: &Path, more: &[(&str, Option<&OsStr>)]) -> Result {
    let mut args: Vec<OsString> = vec!["mapleaf".into()];
    args.extend(words.iter().filter(|word| !word.is_empty()).map(OsString::from));
    for (flag, value) in more {
        if let Some(value) = value {
            args.extend([OsString::from(flag), value.to_os_string()]);
        }
    }
    args.extend(["--".into(), file.as_os_str().to_owned()]);
    Cli::try_parse_from(args).map_err(|error| Failure::Usage(error.to_string()))?.command.run()
}

fn given(is_given: bool, word: &str) -> &str {
    if is_given { word } else { "" }
}

impl Dump {
    fn run(&self) -> Result {
        let file = self.file.as_deref().map(Path::as_os_str);
        let table = self.table.as_deref().map(OsStr::new);
        let path = file_of(&self.path);
        if self.list {
            return command(&["dump", "-l"], &path, &[]);
        }
        let words = ["dump", "--compat=lmdb", given(self.print, "-p"), given(self.all, "-a")];
        command(&words, &path, &[("-f", file), ("-s", table)])
    }
}

impl Load {
    fn run(&self) -> Result {
        let file = self.file.as_deref().map(Path::as_os_str);
        let table = self.table.as_deref().map(OsStr::new);
        let words = ["load", "--quiet", given(self.no_overwrite, "-N"), given(self.text, "-T")];
        // There, too, it is no problem that a key is there.
        command(&words, &file_of(&self.path), &[("-f", file), ("-s", table)]).map(|_| Outcome::Fine)
    }
}

impl Copy {
    fn run(&self) -> Result {
        let from = file_of(&self.path);
        match &self.to {
            Some(to) => self.copy(&from, &file_of(to)),
            None => self.stream(&from),
        }
    }

    fn copy(&self, from: &Path, to: &Path) -> Result {
        let mut args: Vec<OsString> = vec!["mapleaf".into(), "copy".into(), "--quiet".into()];
        args.extend(self.compact.then(|| "--compact".into()));
        args.extend(["--".into(), from.as_os_str().to_owned(), to.as_os_str().to_owned()]);
        Cli::try_parse_from(args).map_err(|error| Failure::Usage(error.to_string()))?.command.run()
    }

    /// A store is made as a file, and only then known to be whole.
    fn stream(&self, from: &Path) -> Result {
        let fail = |error: io::Error| Failure::problem(format!("cannot make a copy to write from: {error}"));
        let place = tempfile::tempdir().map_err(fail)?;
        let to = place.path().join("copy");
        self.copy(from, &to)?;
        let mut copy = File::open(&to).map_err(fail)?;
        io::copy(&mut copy, &mut stdout().lock())?;
        Ok(Outcome::Fine)
    }
}

impl Stat {
    fn run(&self) -> Result {
        let db = open_to_read(&file_of(&self.path), LogArg { ignore_log: false })?;
        let stats = db.stats()?;
        let infos: Vec<TableInfo> = stats.tables.iter().map(|table| table.info.clone()).collect();
        if self.table.is_some() {
            choose(&infos, self.table.as_deref())?;
        }
        print(|output| {
            if self.environment {
                environment(&db, &stats, output)?;
            }
            if self.readers > 0 {
                self.readers(&db, output)?;
                // As LMDB has it: that was the question.
                if self.table.is_none() && !self.all && self.free == 0 {
                    return Ok(());
                }
            }
            if self.free > 0 {
                writeln!(output, "Freelist Status")?;
                tree(None, 0, output)?;
                writeln!(output, "  Free pages: {}", stats.free_pages)?;
            }
            let named = |name: &str| stats.tables.iter().find(|table| table.info.name == name);
            match &self.table {
                Some(name) => status(name, named(name), output),
                None => {
                    status(MAIN, named(MAIN), output)?;
                    let others = stats.tables.iter().filter(|table| self.all && table.info.name != MAIN);
                    others.into_iter().try_for_each(|table| status(&table.info.name, Some(table), output))
                }
            }
        })
    }

    fn readers(&self, db: &Database, output: &mut Output) -> Result<()> {
        writeln!(output, "Reader Table Status")?;
        list(&db.readers()?, output)?;
        if self.readers > 1 {
            writeln!(output, "  {} stale readers cleared.", db.reap()?)?;
            list(&db.readers()?, output)?;
        }
        Ok(())
    }
}

/// Without the one of this command.
fn list(readers: &[Reader], output: &mut Output) -> Result<()> {
    let others = readers.iter().filter(|reader| reader.is_dead || reader.pid != std::process::id());
    let others: Vec<&Reader> = others.collect();
    if others.is_empty() {
        return Ok(writeln!(output, "(no active readers)")?);
    }
    writeln!(output, "    pid     thread     txnid")?;
    others
        .into_iter()
        .try_for_each(|reader| Ok(writeln!(output, "{:10} {:x} {}", reader.pid, 0, reader.txn)?))
}

fn environment(db: &Database, stats: &Stats, output: &mut Output) -> Result<()> {
    let used = db.readers()?.iter().filter(|reader| reader.pid != std::process::id()).count();
    writeln!(output, "Environment Info")?;
    writeln!(output, "  Map address: (nil)")?;
    writeln!(output, "  Map size: {}", stats.page_count * stats.page_size)?;
    writeln!(output, "  Page size: {}", stats.page_size)?;
    writeln!(output, "  Max pages: {}", stats.page_count)?;
    writeln!(output, "  Number of pages used: {}", stats.page_count - stats.free_pages)?;
    writeln!(output, "  Last transaction ID: {}", stats.txn)?;
    writeln!(output, "  Max readers: {}", u32::MAX)?;
    Ok(writeln!(output, "  Number of readers used: {used}")?)
}

fn status(name: &str, table: Option<&TableStats>, output: &mut Output) -> Result<()> {
    writeln!(output, "Status of {}", if name == MAIN { "Main DB" } else { name })?;
    tree(table, table.map_or(0, |table| table.info.len), output)
}

fn tree(table: Option<&TableStats>, entries: u64, output: &mut Output) -> Result<()> {
    let pages = |of: &dyn Fn(usize) -> bool| -> u64 {
        let levels = table.into_iter().flat_map(|table| [&table.levels, &table.set_levels]);
        let counted = levels.flat_map(|levels| levels.iter().enumerate()).filter(|(level, _)| of(*level));
        counted.map(|(_, level)| level.pages).sum()
    };
    writeln!(output, "  Tree depth: {}", table.map_or(0, |table| table.info.levels))?;
    writeln!(output, "  Branch pages: {}", pages(&|level| level > 0))?;
    writeln!(output, "  Leaf pages: {}", pages(&|level| level == 0))?;
    writeln!(output, "  Overflow pages: {}", table.map_or(0, |table| table.info.overflow_pages))?;
    Ok(writeln!(output, "  Entries: {entries}")?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_lines_are_consistent() {
        [Stat::command(), Dump::command(), Load::command(), Copy::command()]
            .into_iter()
            .for_each(clap::Command::debug_assert);
    }
}
